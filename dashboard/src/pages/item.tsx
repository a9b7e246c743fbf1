// An item: what it is, its total as it moves, how it went, and beside another one.

import { useEffect, useMemo } from "preact/hooks";
import { keyOption } from "../data/key";
import { useLiveTotal } from "../data/live";
import { usePolled } from "../data/poll";
import { MEASURES, type Measure, RANGES, type Range, askSeries, lineOf, shown, timesOf } from "../data/series";
import { ask, path } from "../data/server";
import type { Details, ItemReport, StatsAnswer } from "../data/wire";
import { compact, dateTime } from "../format";
import { Chart } from "../parts/chart";
import { CompareForm } from "../parts/compare-form";
import { Card, Choice, Command, Empty, PageTitle, Select, Waiting } from "../parts/frame";
import { LiveNumber } from "../parts/live-number";
import { offer } from "../parts/tools";
import { Totals } from "../parts/totals";
import { setParams, to } from "../router";

const REPORT_EVERY_MS = 5_000;
const RANGE_DEFAULT = "60m";

interface Props {
  item: string;
  params: URLSearchParams;
}

export function ItemPage({ item, params }: Props) {
  const type = params.get("type") ?? "view";
  const other = params.get("with");
  const rangeKey = RANGES[params.get("range") ?? ""] ? (params.get("range") as string) : RANGE_DEFAULT;
  const range = RANGES[rangeKey] as Range;
  const wanted = MEASURES.find(([measure]) => measure === params.get("measure"));
  const measure: Measure = wanted?.[0] ?? "count";
  const report = useReport(item);
  const total = useLiveTotal(item, type);
  const own = useSeries(item, type, range);
  const another = useSeries(other, type, range);
  const otherReport = useReport(other);
  const details = report.data?.details ?? null;
  const title = details?.title ?? item;
  const otherTitle = other === null ? "" : (otherReport.data?.details?.title ?? other);
  useEffect(() => {
    if (details !== null) offer([details]);
  }, [details]);
  const types = [...new Set(["view", ...(report.data?.totals ?? []).map((row) => row.type), type])];
  const isUnknown = report.data?.totals.length === 0 && total.count === "0";
  return (
    <>
      <PageTitle title={title}>
        <DetailsLine item={item} details={details} />
      </PageTitle>
      <div class="lead">
        <LiveNumber total={total} label={`${type} events in all`} />
        <RangeFigures series={own.data} range={range} />
      </div>
      <div class="controls">
        <Select label="Event type" options={types.map((name) => [name, name] as const)} chosen={type}
          choose={(value) => setParams({ type: value === "view" ? null : value })} />
        <Choice label="Range" options={Object.entries(RANGES).map(([key, { name }]) => [key, name] as const)}
          chosen={rangeKey} choose={(value) => setParams({ range: value === RANGE_DEFAULT ? null : value })} />
        <Choice label="Measure" options={MEASURES} chosen={measure}
          choose={(value) => setParams({ measure: value === "count" ? null : value })} />
      </div>
      <Card title={chartTitle(measure, type, range)} note={coverage(own.data, range)}
        tools={<CompareForm other={other} otherTitle={otherTitle} item={item} />}>
        {isUnknown && other === null ? <NoEvents item={item} />
          : <SeriesChart title={chartTitle(measure, type, range)} measure={measure}
              own={{ name: title, answer: own.data, error: own.error }}
              other={other === null ? null : { name: otherTitle, answer: another.data, error: another.error }} />}
      </Card>
      <div class="columns">
        {other !== null && (
          <Card title="Side by side" class="wide" note={`${type} events, the last ${range.name}`}>
            <Totals first="Item" rows={[
              { key: "own", name: <span class="line-1">{title}</span>, ...numbersOf(own.data) },
              { key: "other", name: <a class="line-2" href={to.item(other)}>{otherTitle}</a>, ...numbersOf(another.data) },
            ]} />
          </Card>
        )}
        <Card title="By type" note="of all time">
          {report.data === undefined ? <Waiting error={report.error} />
            : report.data.totals.length === 0 ? <Empty><p>No events yet.</p></Empty>
            : <Totals first="Type" rows={report.data.totals.map((row) => ({ ...row, key: row.type, name: row.type }))} />}
        </Card>
        {details?.attributes && Object.keys(details.attributes).length > 0 && (
          <Card title="Details"><Attributes all={details.attributes} /></Card>
        )}
      </div>
    </>
  );
}

/** Details and totals; the hours of the report are not looked at. */
function useReport(item: string | null) {
  return usePolled<ItemReport | undefined>(`report ${item}`, REPORT_EVERY_MS, async (signal) =>
    item === null ? undefined
      : ask<ItemReport>(path("v1", "items", item, "report"), { hours: "1" }, signal));
}

function useSeries(item: string | null, type: string, range: Range) {
  return usePolled<StatsAnswer | undefined>(`series ${item} ${type} ${range.step}`, range.everyMs, async (signal) =>
    item === null ? undefined : askSeries(item, type, range, signal));
}

const NOTHING = { count: "0", sum: null, average: null };

function numbersOf(answer: StatsAnswer | undefined) {
  return answer?.total ?? NOTHING;
}

function chartTitle(measure: Measure, type: string, range: Range): string {
  if (measure === "count") return `${capital(type)} events by ${range.step}`;
  return `${capital(measure)} of ${type} values by ${range.step}`;
}

function capital(text: string): string {
  return text.slice(0, 1).toUpperCase() + text.slice(1);
}

/** What the answer covers, where that is less fine than what was asked for. */
function coverage(answer: StatsAnswer | undefined, range: Range): string {
  const newest = `the last ${range.name}`;
  if (answer === undefined || answer.step === range.step) return newest;
  return `${newest}, by ${answer.step}: finer ones are no longer kept`;
}

interface Drawn {
  name: string;
  answer: StatsAnswer | undefined;
  error: Error | undefined;
}

function SeriesChart({ title, measure, own, other }: { title: string; measure: Measure; own: Drawn; other: Drawn | null }) {
  const drawn = useMemo(() => {
    if (own.answer === undefined) return null;
    const times = timesOf(own.answer.series);
    const lines = [lineOf(own.name, own.answer.series, measure, times)];
    if (other?.answer) lines.push(lineOf(other.name, other.answer.series, measure, times));
    return { times, lines };
  }, [own.answer, own.name, other?.answer, other?.name, measure]);
  if (drawn === null || own.answer === undefined) return <Waiting error={own.error} />;
  const step = own.answer.step === "total" ? "day" : (own.answer.step as Range["step"]);
  return (
    <Chart title={title} step={step} grows height={280} axis={compact} whole={measure === "count"} {...drawn} />
  );
}

function DetailsLine({ item, details }: { item: string; details: Details | null }) {
  return (
    <p class="note details-line">
      {details?.title !== undefined && <code>{item}</code>}
      {details?.channel !== undefined && (
        <span>in <a href={to.channel(details.channel)}>{details.channel_name ?? details.channel}</a></span>
      )}
      {details?.created !== undefined && <span>created {dateTime(details.created)}</span>}
    </p>
  );
}

function RangeFigures({ series, range }: { series: StatsAnswer | undefined; range: Range }) {
  const { count, sum, average } = series?.total ?? { count: undefined, sum: null, average: null };
  return (
    <dl class="figures" aria-label={`The last ${range.name}`}>
      <div><dt>Count, {range.name}</dt><dd>{shown(count)}</dd></div>
      <div><dt>Sum</dt><dd>{shown(sum)}</dd></div>
      <div><dt>Average</dt><dd>{shown(average)}</dd></div>
    </dl>
  );
}

function NoEvents({ item }: { item: string }) {
  return (
    <Empty>
      <p><strong>No event of this item has come yet.</strong> Check how its name is written, or send one:</p>
      <Command text={`curl -X POST '${location.origin}${path("v1", "items", item, "events")}'${keyOption()}`} />
    </Empty>
  );
}

function Attributes({ all }: { all: Record<string, string> }) {
  return (
    <dl class="attributes">
      {Object.entries(all).map(([name, value]) => (
        <div key={name}><dt>{name}</dt><dd>{value}</dd></div>
      ))}
    </dl>
  );
}
