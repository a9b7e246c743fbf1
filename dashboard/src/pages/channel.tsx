// A channel: all its items together, hour by hour, and the best of them.

import { useEffect, useMemo } from "preact/hooks";
import { grouped } from "../data/digits";
import { keyOption } from "../data/key";
import { usePolled } from "../data/poll";
import { lineOf, shown, timesOf } from "../data/series";
import { ask, path } from "../data/server";
import type { ChannelReport } from "../data/wire";
import { clock, compact } from "../format";
import { Chart } from "../parts/chart";
import { Card, Choice, Command, Empty, PageTitle, Tile, Waiting } from "../parts/frame";
import { Ranking } from "../parts/ranking";
import { offer } from "../parts/tools";
import { Totals } from "../parts/totals";
import { setParams } from "../router";

const EVERY_MS = 5_000;
const HOURS = [["24", "24 hours"], ["48", "48 hours"], ["168", "7 days"]] as const;
const HOURS_DEFAULT = "48";

interface Props {
  channel: string;
  params: URLSearchParams;
}

export function ChannelPage({ channel, params }: Props) {
  const asked = params.get("hours");
  const [hours, name] = HOURS.find(([value]) => value === (asked ?? HOURS_DEFAULT)) ?? HOURS[1];
  const { data, error } = usePolled(`channel ${channel} ${hours}`, EVERY_MS, (signal) =>
    ask<ChannelReport>(path("v1", "channels", channel, "report"), { hours }, signal));
  useEffect(() => offer(data?.top ?? []), [data]);
  return (
    <>
      <PageTitle title={data?.channel_name ?? channel}>
        <p class="note">
          Channel {data?.channel_name !== undefined && <code>{channel}</code>}
          {data && <> · as of {clock(data.as_of)}</>}
        </p>
      </PageTitle>
      <div class="controls">
        <Choice label="Range" options={HOURS} chosen={hours}
          choose={(value) => setParams({ hours: value === HOURS_DEFAULT ? null : value })} />
      </div>
      {data === undefined ? <Waiting error={error} />
        : data.items === "0" ? <NoItems channel={channel} />
        : <Report data={data} name={name} />}
    </>
  );
}

function Report({ data, name }: { data: ChannelReport; name: string }) {
  const drawn = useMemo(() => {
    const times = timesOf(data.views.series);
    return { times, lines: [lineOf("Views", data.views.series, "count", times)] };
  }, [data]);
  return (
    <>
      <dl class="tiles three">
        <Tile label="Items" value={grouped(data.items)} />
        <Tile label="Views" value={shown(data.views.count)} note={`the last ${name}`} />
        <Tile label="Average" value={shown(data.views.average)}
          note={`value of a view, ${shown(data.views.sum)} in all`} />
      </dl>
      <Card title="Views by hour" note={`all items, the last ${name}`}>
        <Chart title="Views by hour" step="hour" grows whole axis={compact} {...drawn} />
      </Card>
      <div class="columns">
        <Card title="Most viewed" note={`the last ${name}`}>
          {data.top.length === 0 ? <Empty><p>No views in the last {name}.</p></Empty>
            : <Ranking items={data.top} type="view" />}
        </Card>
        <Card title="By type" note="of all time">
          {data.totals.length === 0 ? <Empty><p>No events yet.</p></Empty>
            : <Totals first="Type" rows={data.totals.map((row) => ({ ...row, key: row.type, name: row.type }))} />}
        </Card>
      </div>
    </>
  );
}

function NoItems({ channel }: { channel: string }) {
  const details = JSON.stringify({ title: "A title", channel }).replace(/'/g, "'\\''");
  return (
    <Empty>
      <p><strong>No item says that it belongs to this channel.</strong> Say it in the item's details:</p>
      <Command text={`curl -X PUT ${location.origin}/v1/items/hello${keyOption()} -H 'Content-Type: application/json' -d '${details}'`} />
    </Empty>
  );
}
