// The answers of the API, as far as the dashboard reads them. Times are RFC 3339 in UTC.

import type { Digits } from "./digits";

export interface Numbers {
  count: Digits;
  /** null where no event carries a value. */
  sum: Digits | null;
  average: Digits | null;
}

export interface TypeTotal extends Numbers {
  type: string;
}

export interface Point extends Numbers {
  time: string;
}

export interface Details {
  item: string;
  title?: string;
  channel?: string;
  channel_name?: string;
  created?: string;
  attributes?: Record<string, string>;
}

export interface ItemReport {
  item: string;
  details: Details | null;
  start: string;
  end: string;
  as_of: string;
  /** Of all time. */
  totals: TypeTotal[];
}

export interface CountAnswer {
  count: Digits;
  as_of: string;
}

export interface StatsAnswer {
  item: string;
  type: string;
  start: string;
  end: string;
  /** `minute`, `hour`, `day` or `total`: coarser than asked for where that is all that is kept. */
  step: string;
  total: Numbers;
  series: Point[];
  as_of: string;
  status: string;
}

export interface RankedItem {
  item: string;
  title?: string;
  count: Digits;
}

export interface TopAnswer {
  start: string;
  end: string;
  items: RankedItem[];
  as_of: string;
}

export interface TrendingItem extends RankedItem {
  before: Digits;
  score: Digits;
}

export interface TrendingAnswer {
  start: string;
  end: string;
  before_start: string;
  items: TrendingItem[];
}

export interface ChannelReport {
  channel: string;
  channel_name?: string;
  /** How many items the channel has. */
  items: Digits;
  start: string;
  end: string;
  as_of: string;
  /** Of all time. */
  totals: TypeTotal[];
  views: Numbers & { type: string; series: Point[] };
  top: RankedItem[];
}

export interface Partition {
  partition: Digits;
  durable_offset: Digits;
  next_offset: Digits;
  checkpoint_offset: Digits;
  /** null where no raw events are kept. */
  archived_offset: Digits | null;
  lag_events: Digits;
  /** Over the last ten seconds or so. */
  events_per_second: Digits;
  append_time: string;
  checkpoint_age_ms: Digits;
  counted: Digits;
  duplicates: Digits;
  dead_letters: Digits;
  is_stopped: boolean;
}

export interface RoutingRule {
  item?: string;
  prefix?: string;
  strategy: "item" | "item_and_minute" | "spread" | "pinned" | "dedicated";
  over?: Digits;
  partitions?: Digits[];
  is_automatic?: boolean;
  effective?: string;
}

export interface Routing {
  version: Digits;
  partitions: Digits;
  rules: RoutingRule[];
}

export interface Activity {
  /** Oldest first; the numbers are since the server's start. */
  samples: { time: string; accepted: Digits; lag_events: Digits }[];
}

export interface Audit {
  kind: string;
  time: string;
  result: "equal" | "different" | "failed";
  expected: Digits;
  found: Digits;
  drift: Digits;
  duration_ms: Digits;
  detail?: string;
}

export interface DeadLetter {
  partition: Digits;
  offset: Digits;
  append_time: string;
  reason: string;
  state: "open" | "replaying" | "replayed" | "dropped";
  item?: string;
  type?: string;
}

/** RFC 9457. */
export interface ProblemBody {
  code?: string;
  detail?: string;
  title?: string;
}
