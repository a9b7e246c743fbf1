// The server's health: the four golden signals, and what an operator asks next.

import { useMemo } from "preact/hooks";
import { grouped } from "../data/digits";
import { usePolled } from "../data/poll";
import { Problem, ask, askText } from "../data/server";
import { type Moment, SPAN_SECONDS, type Vitals, useVitals } from "../data/vitals";
import type { Audit, DeadLetter, Partition, Routing } from "../data/wire";
import { bytes, compact, percent, rate, seconds } from "../format";
import { Chart } from "../parts/chart";
import { Card, PageTitle } from "../parts/frame";
import { PartitionHeat, RulesTable } from "../parts/heat";
import { AuditsTable, DeadLettersTable, PartitionsTable } from "../parts/operation";

const EVERY_MS = 2_000;
const SELDOM_MS = 5_000;
const AUDITS = "20";
const LETTERS = "20";

export function HealthPage() {
  const vitals = useVitals();
  const ready = usePolled("ready", EVERY_MS, askReady);
  const partitions = usePolled("partitions", EVERY_MS, (signal) =>
    ask<{ partitions: Partition[] }>("/v1/admin/partitions", {}, signal));
  const routing = usePolled("routing", SELDOM_MS, (signal) => ask<Routing>("/v1/admin/routing", {}, signal));
  const audits = usePolled("audits", SELDOM_MS, (signal) =>
    ask<{ audits: Audit[] }>("/v1/admin/audits", { limit: AUDITS }, signal));
  const letters = usePolled("letters", SELDOM_MS, (signal) =>
    ask<{ dead_letters: DeadLetter[] }>("/v1/admin/dead-letters", { limit: LETTERS }, signal));
  return (
    <>
      <PageTitle title="Health">
        <p class="note"><Readiness state={ready.error ? "The server does not answer" : ready.data} /></p>
      </PageTitle>
      <div class="signals">
        <Latency vitals={vitals} />
        <Traffic vitals={vitals} />
        <Errors vitals={vitals} />
        <Saturation vitals={vitals} />
      </div>
      <Card title="Heat" note="events per second of each partition, over the last ten seconds">
        <PartitionHeat {...partitions} />
      </Card>
      <Card title="Routing rules" note="items that do not go by their name alone">
        <RulesTable {...routing} />
      </Card>
      <Card title="Partitions" note="how far each has been counted">
        <PartitionsTable {...partitions} />
      </Card>
      <Card title="Audits" note="marked events, sent and asked for; hours, counted again">
        <AuditsTable {...audits} />
      </Card>
      <Card title="Dead letters" note="what could not be counted, and why">
        <DeadLettersTable {...letters} />
      </Card>
    </>
  );
}

/** Empty where the server is ready, and else why not. */
async function askReady(signal: AbortSignal): Promise<string> {
  try {
    await askText("/readyz", {}, signal);
    return "";
  } catch (error) {
    if (error instanceof Problem) return error.message;
    throw error;
  }
}

function Readiness({ state }: { state: string | undefined }) {
  if (state === undefined) return null;
  if (state === "") return <span class="mark good">Ready: takes events and answers questions</span>;
  return <span class="mark bad">Not ready: {state}</span>;
}

type Seen = { vitals: Vitals | undefined };

function Latency({ vitals }: Seen) {
  const writes = vitals?.latency.writes;
  const reads = vitals?.latency.reads;
  return (
    <Signal title="Latency" value={seconds(writes?.p99)} of="p99 of requests with events"
      vitals={vitals} pick={(moment) => moment.writeP99} axis={seconds} text={seconds}>
      <Fact name="Events, median" value={seconds(writes?.median)} />
      <Fact name="Questions, p99" value={seconds(reads?.p99)} />
      <Fact name="Questions, median" value={seconds(reads?.median)} />
    </Signal>
  );
}

function Traffic({ vitals }: Seen) {
  const newest = vitals?.moments.at(-1);
  return (
    <Signal title="Traffic" value={rate(newest?.events)} of="events per second"
      vitals={vitals} pick={(moment) => moment.events} axis={compact} text={rate}>
      <Fact name="Requests per second" value={rate(newest?.requests)} />
      <Fact name="Accepted since the start" value={total(vitals, "tally_events_accepted_total")} />
      <Fact name="Repeats" value={total(vitals, "tally_events_duplicate_total")} />
    </Signal>
  );
}

function Errors({ vitals }: Seen) {
  const newest = vitals?.moments.at(-1);
  const refused = [...(vitals?.metrics.all("tally_events_rejected_total") ?? [])]
    .sort((a, b) => Number(b.value) - Number(a.value))
    .slice(0, 3);
  const failures = vitals?.metrics.sum("tally_errors_total");
  return (
    <Signal title="Errors" value={rate(newest?.errors)} of="failed requests per second"
      tone={newest?.errors ? "bad" : undefined}
      vitals={vitals} pick={(moment) => moment.errors} axis={compact} text={rate}>
      <Fact name="Failed since the start" value={failures === undefined ? "0" : grouped(String(failures))} />
      <Fact name="Events refused per second" value={rate(newest?.rejected)} />
      {refused.map(({ labels, value }) => (
        <Fact key={labels.code} name={`Refused: ${labels.code}`} value={grouped(value)} />
      ))}
    </Signal>
  );
}

function Saturation({ vitals }: Seen) {
  const metrics = vitals?.metrics;
  const lag = metrics?.sum("tally_partition_lag_events");
  const fill = metrics?.sum("tally_queue_fill_ratio");
  return (
    <Signal title="Saturation" value={lag === undefined ? "–" : grouped(String(lag))} of="events wait to be counted"
      vitals={vitals} pick={(moment) => moment.lag} axis={compact} text={(value) => grouped(String(value ?? 0))}>
      <Fact name="Oldest of them waits" value={seconds(metrics?.sum("tally_freshness_seconds"))} />
      <Fact name="Queue in use" value={fill === undefined ? "–" : percent(fill)} />
      <Fact name="Disk free" value={bytes(metrics?.sum("tally_disk_free_bytes"))} />
      <Fact name="Memory against repeats" value={bytes(metrics?.sum("tally_dedup_bytes"))} />
      <Fact name="Last flush" value={`${seconds(metrics?.max("tally_checkpoint_age_seconds"))} ago`} />
    </Signal>
  );
}

function total(vitals: Vitals | undefined, name: string): string {
  return vitals === undefined ? "–" : grouped(vitals.metrics.total(name));
}

interface SignalProps extends Seen {
  title: string;
  value: string;
  of: string;
  tone?: "bad" | undefined;
  pick: (moment: Moment) => number | null;
  axis: (value: number) => string;
  text: (value: number | null | undefined) => string;
  children: preact.ComponentChildren;
}

function Signal({ title, value, of, tone, vitals, pick, axis, text, children }: SignalProps) {
  const moments = vitals?.moments;
  const drawn = useMemo(() => {
    const known = moments ?? [];
    const values = known.map(pick);
    const line = { label: of, values, text: (n: number) => text(values[n]) };
    return { times: known.map((moment) => Math.round(moment.time / 1000)), lines: [line] };
  }, [moments]);
  return (
    <Card title={title} class={`signal ${tone ?? ""}`}>
      <p class="signal-value"><b>{value}</b> <span class="note">{of}</span></p>
      {drawn.times.length > 1
        ? <Chart title={`${title}: ${of}`} step="second" height={110} span={SPAN_SECONDS} axis={axis} table={false} {...drawn} />
        : <div class="waiting short" aria-hidden="true" />}
      <dl class="facts">{children}</dl>
    </Card>
  );
}

function Fact({ name, value }: { name: string; value: string }) {
  return <div><dt>{name}</dt><dd>{value}</dd></div>;
}

