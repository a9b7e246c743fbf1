// Series of the API as charts take them, and the ranges that pages offer.

import type { Line } from "../parts/chart";
import type { Step } from "../format";
import { grouped } from "./digits";
import { ask, path } from "./server";
import type { Numbers, Point, StatsAnswer } from "./wire";

export type Measure = keyof Numbers;

export interface Range {
  name: string;
  step: Exclude<Step, "second">;
  stepMs: number;
  steps: number;
  /** How often to ask again. */
  everyMs: number;
}

const MINUTE_MS = 60_000;

export const RANGES: Record<string, Range> = {
  "60m": { name: "60 minutes", step: "minute", stepMs: MINUTE_MS, steps: 60, everyMs: 2_000 },
  "48h": { name: "48 hours", step: "hour", stepMs: 60 * MINUTE_MS, steps: 48, everyMs: 5_000 },
  "90d": { name: "90 days", step: "day", stepMs: 1440 * MINUTE_MS, steps: 90, everyMs: 10_000 },
};

export const MEASURES = [["count", "Count"], ["sum", "Sum"], ["average", "Average"]] as const;

/** The newest buckets of a range, the one that still grows included. */
export function askSeries(
  item: string,
  type: string,
  range: Range,
  signal: AbortSignal,
): Promise<StatsAnswer> {
  const end = (Math.floor(Date.now() / range.stepMs) + 1) * range.stepMs;
  const start = end - range.steps * range.stepMs;
  const params = { type, step: range.step, start: String(start), end: String(end) };
  return ask<StatsAnswer>(path("v1", "items", item, "stats"), params, signal);
}

/** Times of a series in Unix seconds. */
export function timesOf(series: Point[]): number[] {
  return series.map((point) => Date.parse(point.time) / 1000);
}

/** One measure of a series, at these times. */
export function lineOf(label: string, series: Point[], measure: Measure, times: number[]): Line {
  const points = new Map(series.map((point) => [Date.parse(point.time) / 1000, point]));
  const at = (time: number | undefined) => points.get(time ?? 0)?.[measure] ?? null;
  return {
    label,
    values: times.map((time) => {
      const digits = at(time);
      return digits === null ? null : Number(digits);
    }),
    text: (n) => shown(at(times[n])),
  };
}

/** A number that may be missing, in all its digits. */
export function shown(digits: string | null | undefined): string {
  return digits === null || digits === undefined ? "–" : grouped(digits);
}
