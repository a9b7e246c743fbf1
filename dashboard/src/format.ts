// Numbers, times and sizes as people read them. Times are UTC everywhere.

const COMPACT = new Intl.NumberFormat("en", { notation: "compact", maximumFractionDigits: 1 });
const MONTHS = "Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec".split(" ");
const two = (n: number) => String(n).padStart(2, "0");

/** `12.3K`: for axes and rates, never for a count. */
export function compact(value: number): string {
  return COMPACT.format(value);
}

/** A rate a second. */
export function rate(value: number | null | undefined): string {
  if (value === null || value === undefined) return "–";
  if (value === 0) return "0";
  return value < 10 ? value.toFixed(1) : grouped(Math.round(value));
}

function grouped(value: number): string {
  return value.toLocaleString("en");
}

export function seconds(value: number | null | undefined): string {
  if (value === null || value === undefined) return "–";
  if (value === 0) return "0 ms";
  if (value < 0.001) return `${(value * 1000).toFixed(2)} ms`;
  if (value < 0.0995) return `${(value * 1000).toFixed(1)} ms`;
  if (value < 1) return `${Math.round(value * 1000)} ms`;
  if (value < 120) return `${value.toFixed(1)} s`;
  return value < 7200 ? `${Math.round(value / 60)} min` : `${Math.round(value / 3600)} h`;
}

export function bytes(value: number | undefined): string {
  if (value === undefined) return "–";
  const units = ["B", "KB", "MB", "GB", "TB", "PB"];
  let at = 0;
  for (; value >= 1000 && at < units.length - 1; at++) value /= 1000;
  return `${value < 10 && at > 0 ? value.toFixed(1) : Math.round(value)} ${units[at]}`;
}

export function percent(share: number): string {
  return `${(share * 100).toFixed(share < 0.1 && share > 0 ? 1 : 0)}%`;
}

export type Step = "second" | "minute" | "hour" | "day";

/** The start of a bucket: `21 Nov, 10:04`. */
export function moment(unixSeconds: number, step: Step): string {
  const date = new Date(unixSeconds * 1000);
  const day = `${date.getUTCDate()} ${MONTHS[date.getUTCMonth()]}`;
  const minute = `${two(date.getUTCHours())}:${two(date.getUTCMinutes())}`;
  if (step === "day") return `${day} ${date.getUTCFullYear()}`;
  return step === "second" ? `${minute}:${two(date.getUTCSeconds())}` : `${day}, ${minute}`;
}

/** A tick of a time axis, in the least that tells it from its neighbours. */
export function tick(unixSeconds: number, step: Step): string {
  const date = new Date(unixSeconds * 1000);
  const isMidnight = date.getUTCHours() === 0 && date.getUTCMinutes() === 0;
  if (step === "day" || (isMidnight && step === "hour")) {
    return `${date.getUTCDate()} ${MONTHS[date.getUTCMonth()]}`;
  }
  return `${two(date.getUTCHours())}:${two(date.getUTCMinutes())}`;
}

/** The time of day of an RFC 3339 text. */
export function clock(time: string): string {
  const date = new Date(time);
  return Number.isNaN(date.getTime()) ? time : `${date.toISOString().slice(11, 19)} UTC`;
}

/** Date and time of an RFC 3339 text. */
export function dateTime(time: string): string {
  const date = new Date(time);
  if (Number.isNaN(date.getTime())) return time;
  return `${moment(date.getTime() / 1000, "day")}, ${clock(time)}`;
}
