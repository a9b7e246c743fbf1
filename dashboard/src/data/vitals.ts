// How the server does: /metrics is read all the time, and what it counts is made into rates. What
// came before the page was opened is asked for once.

import { Observable } from "../observable";
import { useObservable } from "../use-observable";
import { opened } from "./key";
import { type Buckets, Metrics, between, bucketsOf, quantile } from "./metrics";
import { repeat } from "./poll";
import { ask, askText, isForbidden, isMissing } from "./server";
import type { Activity } from "./wire";

const EVERY_MS = 2_000;
/** How far charts look back. */
export const SPAN_SECONDS = 600;
/** Over how many readings a latency is taken: single ones see too few requests. */
const LATENCY_READINGS = 15;

/** One reading. */
interface Reading {
  /** Unix milliseconds. */
  time: number;
  metrics: Metrics;
  accepted: number;
  rejected: number;
  requests: number;
  errors: number;
  writes: Buckets;
  reads: Buckets;
}

/** What is known of one moment; rates are per second since the moment before. */
export interface Moment {
  /** Unix milliseconds. */
  time: number;
  events: number | null;
  rejected: number | null;
  requests: number | null;
  errors: number | null;
  /** Seconds. */
  writeP99: number | null;
  /** Events that wait to be counted. */
  lag: number | null;
}

interface Spread {
  /** Seconds; null where there was no request. */
  median: number | null;
  p99: number | null;
}

export interface Vitals {
  metrics: Metrics;
  moments: Moment[];
  latency: { writes: Spread; reads: Spread };
}

const vitals = new Observable<Vitals | undefined>(undefined);
/** The newest readings of this process of the server. */
const readings: Reading[] = [];
let moments: Moment[] = [];
/** What came before has been asked for. */
let isPastKnown = false;

export function useVitals(): Vitals | undefined {
  return useObservable(vitals);
}

/** Reads as long as the page is open. */
export function startVitals(): void {
  void repeat(EVERY_MS, new AbortController().signal, async () => {
    await opened();
    try {
      if (!isPastKnown) moments = await askPast();
      isPastKnown = true;
      take(new Metrics(await askText("/metrics")));
    } catch {
      // The banner says that the server is away; the gap shows in the charts.
    }
  });
}

/** Nothing where the key is not for it, or the server remembers nothing: then the charts begin now. */
async function askPast(): Promise<Moment[]> {
  try {
    return before(await ask<Activity>("/v1/admin/activity"));
  } catch (error) {
    if (isForbidden(error) || isMissing(error)) return [];
    throw error;
  }
}

/** What the server remembers. */
function before({ samples }: Activity): Moment[] {
  const known = samples.map(({ time, accepted, lag_events }) => {
    return { time: Date.parse(time), accepted: Number(accepted), lag: Number(lag_events) };
  });
  const nothing = { rejected: null, requests: null, errors: null, writeP99: null };
  return known.slice(1).map(({ time, accepted, lag }, n) => {
    const last = known[n] as (typeof known)[number];
    return { ...nothing, time, lag, events: ((accepted - last.accepted) * 1000) / Math.max(time - last.time, 1) };
  });
}

const WRITES = /^\/v1\/(events|items\/\{item\}\/events)$/;
const READS = /^\/v1\/(items\/\{item\}\/(count|stats|report)|counts|top|trending|channels\/.*)$/;
const DURATION = "tally_http_request_duration_seconds";

function take(metrics: Metrics): void {
  const by = (method: string, routes: RegExp) =>
    bucketsOf(metrics, DURATION, (labels) => labels.method === method && routes.test(labels.route ?? ""));
  const now: Reading = {
    time: Date.now(),
    metrics,
    accepted: metrics.sum("tally_events_accepted_total") ?? 0,
    rejected: metrics.sum("tally_events_rejected_total") ?? 0,
    requests: metrics.sum("tally_http_requests_total") ?? 0,
    errors: metrics.sum("tally_errors_total") ?? 0,
    writes: by("POST", WRITES),
    reads: by("GET", READS),
  };
  // Counters that went back are those of a new process.
  if ((readings.at(-1)?.requests ?? 0) > now.requests) readings.length = 0;
  const last = readings.at(-1);
  const first = readings[0];
  readings.push(now);
  if (readings.length > LATENCY_READINGS) readings.shift();
  const lately = first === undefined ? null : quantile(between(first.writes, now.writes), 0.99);
  const from = now.time - SPAN_SECONDS * 1000;
  moments = moments.filter(({ time }) => time >= from);
  // The first reading of all tells no rate; what the server remembers does.
  if (last !== undefined || moments.length === 0) moments.push(momentOf(last, now, lately));
  vitals.set({ metrics, moments: [...moments], latency: { writes: spread(first?.writes, now.writes), reads: spread(first?.reads, now.reads) } });
}

/** Of the last half minute; with no request in it, of all since the start. */
function spread(before: Buckets | undefined, now: Buckets): Spread {
  const lately = before === undefined ? now : between(before, now);
  const buckets = quantile(lately, 0.5) === null ? now : lately;
  return { median: quantile(buckets, 0.5), p99: quantile(buckets, 0.99) };
}

function momentOf(last: Reading | undefined, now: Reading, writeP99: number | null): Moment {
  const rate = (what: "accepted" | "rejected" | "requests" | "errors") => {
    if (last === undefined || now.time <= last.time) return null;
    return ((now[what] - last[what]) * 1000) / (now.time - last.time);
  };
  return {
    time: now.time,
    events: rate("accepted"),
    rejected: rate("rejected"),
    requests: rate("requests"),
    errors: rate("errors"),
    writeP99,
    lag: now.metrics.sum("tally_partition_lag_events") ?? null,
  };
}
