// The overview: how much comes in, what is counted most, what grows.

import { useEffect, useMemo, useState } from "preact/hooks";
import { grouped, toBigInt } from "../data/digits";
import { keyOption } from "../data/key";
import { usePolled } from "../data/poll";
import { ask, path } from "../data/server";
import { SPAN_SECONDS, type Vitals, useVitals } from "../data/vitals";
import type { ItemReport, TopAnswer, TrendingAnswer, TrendingItem } from "../data/wire";
import { clock, compact, percent, rate, seconds } from "../format";
import { Chart } from "../parts/chart";
import { Card, Choice, Command, Empty, PageTitle, Select, Tile, Waiting } from "../parts/frame";
import { Ranking } from "../parts/ranking";
import { offer } from "../parts/tools";
import { setParams } from "../router";

const WINDOWS = [["15m", "15 min"], ["1h", "1 h"], ["24h", "24 h"], ["7d", "7 d"]] as const;
/** How often lists are asked for: long windows cost the server more, and change less. */
const EVERY_MS: Record<string, number> = { "15m": 2_000, "1h": 2_000, "24h": 5_000, "7d": 20_000 };
const LIMIT = "10";
const USUAL_TYPES = ["view", "like", "share"];

export function OverviewPage({ params }: { params: URLSearchParams }) {
  const vitals = useVitals();
  const type = params.get("type") ?? "view";
  const asked = params.get("window");
  const window = WINDOWS.some(([value]) => value === asked) ? (asked as string) : "1h";
  const everyMs = EVERY_MS[window] ?? 5_000;
  const question = { type, window, limit: LIMIT };
  const top = usePolled(`top ${type} ${window}`, everyMs, (signal) =>
    ask<TopAnswer>("/v1/top", question, signal));
  const trending = usePolled(`trending ${type} ${window}`, 2 * everyMs, (signal) =>
    ask<TrendingAnswer>("/v1/trending", question, signal));
  useEffect(() => offer(top.data?.items ?? []), [top.data]);
  // The answer ranks all that was expected to be less; only growth is news.
  const growing = trending.data?.items.filter(({ count, before }) => toBigInt(count) > toBigInt(before));
  const types = useTypes(top.data?.items[0]?.item, type);
  const isEmpty = top.data?.items.length === 0;
  const isNew = isEmpty && vitals?.metrics.sum("tally_events_accepted_total") === 0;
  return (
    <>
      <PageTitle title="Overview">
        <p class="note">{top.data && <>as of {clock(top.data.as_of)}</>}</p>
      </PageTitle>
      <Figures vitals={vitals} />
      <Card title="Events per second" note="accepted, the last ten minutes">
        <Traffic vitals={vitals} />
      </Card>
      <div class="controls">
        <Select label="Event type" options={types.map((name) => [name, name] as const)} chosen={type}
          choose={(value) => setParams({ type: value === "view" ? null : value })} />
        <Choice label="Window" options={WINDOWS} chosen={window}
          choose={(value) => setParams({ window: value === "1h" ? null : value })} />
      </div>
      <div class="columns">
        <Card title="Most counted" note={`${type} events, the last ${windowName(window)}`}>
          {top.data === undefined ? <Waiting error={top.error} />
            : isNew ? <FirstSteps />
            : isEmpty ? <Empty><p>No {type} events in the last {windowName(window)}. Choose a longer window.</p></Empty>
            : <Ranking items={top.data.items} type={type} />}
        </Card>
        <Card title="Trending" note={`against the ${windowName(window)} before`}>
          {growing === undefined ? <Waiting error={trending.error} />
            : growing.length === 0
            ? <Empty><p>Nothing grows right now. Items show here when they are counted more often than in the window before.</p></Empty>
            : <Ranking items={growing} type={type} figure={(item) => <Growth item={item} />} />}
        </Card>
      </div>
    </>
  );
}

function windowName(window: string): string {
  const names: Record<string, string> = { "15m": "15 minutes", "1h": "hour", "24h": "24 hours", "7d": "7 days" };
  return names[window] ?? window;
}

function Figures({ vitals }: { vitals: Vitals | undefined }) {
  const metrics = vitals?.metrics;
  const count = (name: string) => (metrics === undefined ? "–" : grouped(metrics.total(name)));
  const lag = metrics?.sum("tally_partition_lag_events");
  return (
    <dl class="tiles">
      <Tile label="Events per second" value={rate(vitals?.moments.at(-1)?.events)} note="accepted now" />
      <Tile label="Counted" value={count("tally_events_counted_total")} note="since the start" />
      <Tile label="Repeats" value={count("tally_events_duplicate_total")} note="recognised, not counted" />
      <Tile label="Waiting to be counted" value={lag === undefined ? "–" : grouped(String(lag))}
        note={lag === 0 ? "all that is durable is counted" : `since ${seconds(metrics?.sum("tally_freshness_seconds"))}`} />
    </dl>
  );
}

function Traffic({ vitals }: { vitals: Vitals | undefined }) {
  const moments = vitals?.moments;
  const chart = useMemo(() => {
    const known = moments ?? [];
    return {
      times: known.map((moment) => Math.round(moment.time / 1000)),
      lines: [{
        label: "Events per second",
        values: known.map((moment) => moment.events),
        text: (n: number) => rate(known[n]?.events),
      }],
    };
  }, [moments]);
  if (chart.times.length < 2) return <div class="waiting" aria-hidden="true" />;
  return <Chart title="Events per second" step="second" axis={compact} height={180} span={SPAN_SECONDS} {...chart} />;
}

/** Event types to choose from: the usual ones, and those of the item that is counted most. */
function useTypes(item: string | undefined, chosen: string): string[] {
  const [found, setFound] = useState<string[]>([]);
  useEffect(() => {
    if (item === undefined) return;
    const stop = new AbortController();
    ask<ItemReport>(path("v1", "items", item, "report"), { hours: "1" }, stop.signal)
      .then((report) => setFound(report.totals.map((total) => total.type)))
      .catch(() => {}); // The usual ones are offered anyway.
    return () => stop.abort();
  }, [item]);
  return [...new Set([...USUAL_TYPES, ...found, chosen])];
}

/** How much more than before, and from how many to how many. */
function Growth({ item }: { item: TrendingItem }) {
  const [before, count] = [Number(item.before), Number(item.count)];
  return (
    <>
      <b class="up">{before === 0 ? "new" : `+${percent(count / before - 1)}`}</b>
      <span class="from"> {grouped(item.before)} → {grouped(item.count)}</span>
    </>
  );
}

function FirstSteps() {
  return (
    <Empty>
      <p><strong>Nothing has been counted yet.</strong> Send an event, and it shows here within a second:</p>
      <Command text={`curl -X POST ${location.origin}/v1/items/hello/events${keyOption()}`} />
      <p>Or let <code>tally load --rate 1000 --duration 60s</code> make some up.</p>
    </Empty>
  );
}
