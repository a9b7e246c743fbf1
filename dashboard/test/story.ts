// A made-up channel or two with a history: what tests look at and README shows. Some items are
// seen far more than others, days have a wave, and one video goes viral.

import type { SentEvent, Tally } from "./tally";

interface Video {
  item: string;
  title: string;
  channel: "slow-kitchen" | "night-sky";
  /** Views an hour in the middle of the day. */
  pace: number;
  /** By how many times its pace it has grown in the last hours. */
  rise?: number;
}

export const VIDEOS: Video[] = [
  { item: "bread-01", title: "Bread from four ingredients", channel: "slow-kitchen", pace: 9 },
  { item: "sky-07", title: "Saturn through a small telescope", channel: "night-sky", pace: 7, rise: 0.5 },
  { item: "soup-03", title: "The soup that waits for you", channel: "slow-kitchen", pace: 5 },
  { item: "sky-02", title: "Finding your first ten stars", channel: "night-sky", pace: 4 },
  { item: "sky-11", title: "A comet over the harbour", channel: "night-sky", pace: 1, rise: 24 },
  { item: "knife-02", title: "One knife, twelve cuts", channel: "slow-kitchen", pace: 3 },
  { item: "plum-05", title: "Plum cake, the slow way", channel: "slow-kitchen", pace: 2.4, rise: 1.6 },
  { item: "sky-09", title: "Why the Moon looks larger low down", channel: "night-sky", pace: 2 },
  { item: "salt-04", title: "What salt does, and when", channel: "slow-kitchen", pace: 1.5, rise: 0.3 },
  { item: "sky-05", title: "Photographing the Milky Way", channel: "night-sky", pace: 1.2, rise: 0.9 },
];

const CHANNELS = { "slow-kitchen": "The Slow Kitchen", "night-sky": "Night Sky at Home" };
const MINUTE_MS = 60_000;
const HOUR_MS = 60 * MINUTE_MS;

/** Chance that is the same every time. */
export function chance(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** More in the evening than at night, more at weekends. */
function wave(time: number): number {
  const date = new Date(time);
  const hour = date.getUTCHours() + date.getUTCMinutes() / 60;
  const weekend = [0, 6].includes(date.getUTCDay()) ? 1.35 : 1;
  return weekend * (0.95 + 0.7 * Math.sin(((hour - 13) / 24) * 2 * Math.PI));
}

/** How much of the traffic an item draws at a time before now. */
function share(video: Video, beforeMs: number): number {
  return video.pace * (1 + (video.rise ?? 0) * Math.exp(-beforeMs / (0.8 * HOUR_MS)));
}

function eventsOf(video: Video, time: number, random: () => number): SentEvent[] {
  const at = new Date(time).toISOString();
  const value = Math.round((20 + 400 * random() * random()) * 10) / 10;
  const events: SentEvent[] = [{ item: video.item, time: at, value }];
  if (random() < 0.06) events.push({ item: video.item, time: at, type: "like" });
  if (random() < 0.015) events.push({ item: video.item, time: at, type: "share" });
  return events;
}

/** Events of the past: by the hour, and by the minute, at a higher pace, for the newest two hours. */
function history(now: number, days: number, viewsPerMinute: number): SentEvent[] {
  const random = chance(7);
  const events: SentEvent[] = [];
  const newest = now - 2 * HOUR_MS;
  const draw = (video: Video, start: number, lengthMs: number, mean: number) => {
    for (let left = mean * (0.85 + 0.3 * random()); left > 0; left--) {
      if (left < 1 && random() > left) break;
      events.push(...eventsOf(video, start + Math.floor(random() * lengthMs), random));
    }
  };
  const all = VIDEOS.reduce((sum, video) => sum + share(video, 0), 0);
  for (const video of VIDEOS) {
    for (let start = now - days * 24 * HOUR_MS; start < newest; start += HOUR_MS) {
      draw(video, start, Math.min(HOUR_MS, newest - start), video.pace * wave(start));
    }
    for (let start = newest; start < now; start += MINUTE_MS) {
      const mean = (viewsPerMinute * share(video, now - start)) / all;
      draw(video, start, Math.min(MINUTE_MS, now - start), mean);
    }
  }
  return events;
}

/** Gives a server titles, channels and a past. */
export async function tell(tally: Tally, days: number, viewsPerMinute: number): Promise<void> {
  for (const { item, title, channel } of VIDEOS) {
    const attributes = { language: "en", length: "14 min" };
    const created = "2026-08-01T09:00:00Z";
    await tally.describe(item, { title, channel, channel_name: CHANNELS[channel], created, attributes });
  }
  await tally.send(history(Date.now(), days, viewsPerMinute));
}

/** Goes on sending until it is told to stop, about so many views a minute. */
export function goOn(tally: Tally, viewsPerMinute: number): () => Promise<void> {
  let goes = true;
  const random = chance(11);
  const all = VIDEOS.reduce((sum, video) => sum + share(video, 0), 0);
  const draw = () => {
    let at = random() * all;
    return VIDEOS.find((video) => (at -= share(video, 0)) < 0) ?? (VIDEOS[0] as Video);
  };
  const task = (async () => {
    let sentUntil = Date.now();
    let due = 0;
    for (let tick = 0; goes; tick++) {
      await new Promise((resolve) => setTimeout(resolve, 250));
      const now = Date.now();
      const swing = 1 + 0.12 * Math.sin(tick / 25) + 0.1 * (random() - 0.5);
      due += ((now - sentUntil) / MINUTE_MS) * viewsPerMinute * swing;
      sentUntil = now;
      const events: SentEvent[] = [];
      for (; due >= 1; due--) events.push(...eventsOf(draw(), now, random));
      if (events.length > 0) await tally.send(events);
    }
  })();
  // A failure is told to whoever stops it, not before.
  task.catch(() => {});
  return async () => {
    goes = false;
    await task;
  };
}
