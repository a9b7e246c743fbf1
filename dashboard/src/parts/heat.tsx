// How evenly events fall on partitions: a cell for each, filled by what it was given of late.

import type { Polled } from "../data/poll";
import type { Partition, Routing, RoutingRule } from "../data/wire";
import { grouped } from "../data/digits";
import { dateTime, rate } from "../format";
import { Empty, Waiting } from "./frame";

/** From here on a partition stands out. */
const HOT = 2;

export function PartitionHeat({ data, error }: Polled<{ partitions: Partition[] }>) {
  if (data === undefined) return <Waiting error={error} />;
  const rates = data.partitions.map((row) => Number(row.events_per_second));
  const all = rates.reduce((sum, one) => sum + one, 0);
  const most = Math.max(...rates, 0);
  const skew = all > 0 ? (most * rates.length) / all : 0;
  return (
    <>
      <p class="note">
        {all === 0
          ? "Nothing came in during the last seconds."
          : <>The busiest gets <b class={skew >= HOT ? "mark bad" : undefined}>{skew.toFixed(1)} ×</b> an even share.</>}
      </p>
      <ol class="heat" aria-label="Events per second of each partition">
        {data.partitions.map((row, at) => (
          <li key={row.partition}>
            <span class="heat-fill" style={{ height: `${most > 0 ? ((rates[at] ?? 0) / most) * 100 : 0}%` }} />
            <b>{row.partition}</b>
            <span>{rate(rates[at])}/s</span>
          </li>
        ))}
      </ol>
    </>
  );
}

export function RulesTable({ data, error }: Polled<Routing>) {
  if (data === undefined) return <Waiting error={error} />;
  if (data.rules.length === 0) {
    return <Empty><p>None: every item goes to one of {grouped(data.partitions)} partitions by its name. Hot items are spread by themselves; <code>tally routing</code> gives rules.</p></Empty>;
  }
  return (
    <div class="scroll" role="region" aria-label="Routing rules" tabIndex={0}>
      <table>
        <thead>
          <tr>
            <th scope="col">Of</th>
            <th scope="col">Goes</th>
            <th scope="col">For events from</th>
            <th scope="col">Made by</th>
          </tr>
        </thead>
        <tbody>
          {data.rules.map((rule) => (
            <tr key={`${rule.item ?? ""} ${rule.prefix ?? ""}`}>
              <th scope="row">{rule.item ?? `${rule.prefix ?? ""}…`}</th>
              <td>{goes(rule)}</td>
              <td>{rule.effective === undefined ? "–" : dateTime(rule.effective)}</td>
              <td>{rule.is_automatic ? "the server" : "people"}</td>
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}

function goes(rule: RoutingRule): string {
  const to = (rule.partitions ?? []).join(", ");
  switch (rule.strategy) {
    case "item": return "by item";
    case "item_and_minute": return "by item and minute";
    case "spread": return `by id over ${rule.over ?? "several"}`;
    case "pinned": return `to ${to}`;
    case "dedicated": return `to ${to}, alone`;
  }
}
