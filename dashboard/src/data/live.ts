// The total of an item as it moves: pushed by the server, or asked for where that does not work.

import { useEffect, useState } from "preact/hooks";
import { type Digits, parseExact } from "./digits";
import { repeat } from "./poll";
import { ask, heard, path } from "./server";
import type { CountAnswer } from "./wire";

/** How the newest total came. */
export type Liveness = "waiting" | "live" | "polling" | "away";

export interface LiveTotal {
  count: Digits | undefined;
  liveness: Liveness;
}

const POLL_MS = 1_000;
/** A stream that says nothing for so long is asked beside: proxies may hold it back. */
const SILENCE_MS = 5_000;

export function useLiveTotal(item: string, type: string): LiveTotal {
  const [total, setTotal] = useState<LiveTotal>({ count: undefined, liveness: "waiting" });
  useEffect(() => {
    setTotal({ count: undefined, liveness: "waiting" });
    return follow(item, type, setTotal);
  }, [item, type]);
  return total;
}

/** Tells every new total until the returned function is called. */
export function follow(item: string, type: string, tell: (total: LiveTotal) => void): () => void {
  const stop = new AbortController();
  const items = path("v1", "items", item);
  let polling: AbortController | undefined;
  const poll = () => {
    if (polling !== undefined || stop.signal.aborted) return;
    const mine = (polling = new AbortController());
    void repeat(POLL_MS, mine.signal, async () => {
      try {
        const { count } = await ask<CountAnswer>(`${items}/count`, { type }, mine.signal);
        if (!mine.signal.aborted) tell({ count, liveness: "polling" });
      } catch {
        if (!mine.signal.aborted) tell({ count: undefined, liveness: "away" });
      }
    });
  };
  const stopPolling = () => {
    polling?.abort();
    polling = undefined;
  };
  const stream = new EventSource(`${items}/live?${new URLSearchParams({ type })}`);
  let silence = setTimeout(poll, SILENCE_MS);
  stream.addEventListener("count", (event) => {
    clearTimeout(silence);
    stopPolling();
    heard(true);
    const { count } = parseExact((event as MessageEvent<string>).data) as CountAnswer;
    tell({ count, liveness: "live" });
  });
  // The browser connects again by itself, except where the answer was no stream.
  stream.addEventListener("error", () => {
    clearTimeout(silence);
    silence = setTimeout(poll, stream.readyState === EventSource.CLOSED ? 0 : POLL_MS);
  });
  return () => {
    stop.abort();
    clearTimeout(silence);
    stream.close();
    stopPolling();
  };
}
