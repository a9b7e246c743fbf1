// Reads OpenMetrics text, and what quantiles a histogram's buckets give.

export interface Sample {
  labels: Record<string, string>;
  /** As written: counters may be above 2^53. */
  value: string;
}

const LINE = /^([a-zA-Z_:][\w:]*)(?:\{(.*)\})? (\S+)/;
const LABEL = /(\w+)="((?:[^"\\]|\\.)*)"/g;

export class Metrics {
  readonly #samples = new Map<string, Sample[]>();

  constructor(text: string) {
    for (const line of text.split("\n")) {
      const found = LINE.exec(line);
      if (found === null) continue;
      const [, name = "", labels = "", value = ""] = found;
      const list = this.#samples.get(name) ?? [];
      list.push({ labels: labelsOf(labels), value });
      this.#samples.set(name, list);
    }
  }

  all(name: string): Sample[] {
    return this.#samples.get(name) ?? [];
  }

  /** The sum over all labels; undefined where there is none. */
  sum(name: string): number | undefined {
    const samples = this.all(name);
    if (samples.length === 0) return undefined;
    return samples.reduce((sum, sample) => sum + Number(sample.value), 0);
  }

  /** The sum of a counter over all labels, in all its digits. */
  total(name: string): string {
    return this.all(name)
      .reduce((sum, sample) => sum + BigInt(sample.value), 0n)
      .toString();
  }

  max(name: string): number | undefined {
    const samples = this.all(name);
    if (samples.length === 0) return undefined;
    return Math.max(...samples.map((sample) => Number(sample.value)));
  }
}

function labelsOf(text: string): Record<string, string> {
  const labels: Record<string, string> = {};
  for (const [, name = "", value = ""] of text.matchAll(LABEL)) {
    labels[name] = value.replace(/\\(.)/g, (_, c: string) => (c === "n" ? "\n" : c));
  }
  return labels;
}

/** How many observations were at most a bound, in rising bounds; the last is infinite. */
export type Buckets = Map<number, number>;

/** The buckets of a histogram, added up over the labels that fit. */
export function bucketsOf(
  metrics: Metrics,
  name: string,
  fits: (labels: Record<string, string>) => boolean,
): Buckets {
  const buckets: Buckets = new Map();
  for (const { labels, value } of metrics.all(`${name}_bucket`)) {
    if (!fits(labels)) continue;
    const bound = labels.le === "+Inf" ? Infinity : Number(labels.le);
    buckets.set(bound, (buckets.get(bound) ?? 0) + Number(value));
  }
  return buckets;
}

/** What came between two readings. */
export function between(before: Buckets, after: Buckets): Buckets {
  return new Map([...after].map(([bound, count]) => [bound, count - (before.get(bound) ?? 0)]));
}

/** A quantile by linear interpolation within its bucket; null where nothing was observed. */
export function quantile(buckets: Buckets, q: number): number | null {
  const bounds = [...buckets].sort(([a], [b]) => a - b);
  const count = bounds.at(-1)?.[1] ?? 0;
  if (count <= 0) return null;
  const rank = q * count;
  let [lower, below] = [0, 0];
  for (const [bound, upTo] of bounds) {
    if (upTo >= rank) {
      if (bound === Infinity) return lower;
      return lower + ((bound - lower) * (rank - below)) / Math.max(upTo - below, 1);
    }
    [lower, below] = [bound, upTo];
  }
  return lower;
}
