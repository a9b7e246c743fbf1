// The total of an item as it moves: pushed by the server, or asked for where that does not work.

import { useEffect, useState } from "preact/hooks";
import { type Digits, parseExact } from "./digits";
import { pause, repeat } from "./poll";
import { Problem, ask, askEvents, heard, path } from "./server";
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
/** When a stream that broke is tried again, and one that was refused. */
const BROKEN_MS = 3_000;
const REFUSED_MS = 15_000;

export function useLiveTotal(item: string, type: string): LiveTotal {
  const [total, setTotal] = useState<LiveTotal>({ count: undefined, liveness: "waiting" });
  useEffect(() => {
    setTotal({ count: undefined, liveness: "waiting" });
    return whileShown(() => follow(item, type, setTotal));
  }, [item, type]);
  return total;
}

/**
 * Does something while the page is shown, until the returned function is called. A browser has few
 * connections to a server for all its pages, so a hidden one must not hold a stream.
 */
function whileShown(start: () => () => void): () => void {
  let stop: (() => void) | undefined;
  const change = () => {
    stop?.();
    stop = document.hidden ? undefined : start();
  };
  change();
  document.addEventListener("visibilitychange", change);
  return () => {
    document.removeEventListener("visibilitychange", change);
    stop?.();
  };
}

/** Tells every new total until the returned function is called. */
function follow(item: string, type: string, tell: (total: LiveTotal) => void): () => void {
  const items = path("v1", "items", item);
  let polling: AbortController | undefined;
  const stopPolling = () => {
    polling?.abort();
    polling = undefined;
  };
  const poll = () => {
    if (polling !== undefined) return;
    const { signal } = (polling = new AbortController());
    void repeat(POLL_MS, signal, async () => {
      const total = await ask<CountAnswer>(`${items}/count`, { type }, signal).then(
        ({ count }): LiveTotal => ({ count, liveness: "polling" }),
        (): LiveTotal => ({ count: undefined, liveness: "away" }),
      );
      if (!signal.aborted) tell(total);
    });
  };

  const stop = new AbortController();
  let silence = setTimeout(poll, SILENCE_MS);
  const listen = async () => {
    while (!stop.signal.aborted) {
      const isRefused = await askEvents(`${items}/live`, { type }, stop.signal, ({ event, data }) => {
        if (event !== "count" || stop.signal.aborted) return;
        clearTimeout(silence);
        stopPolling();
        heard(true);
        const { count } = parseExact(data) as CountAnswer;
        tell({ count, liveness: "live" });
      }).then(() => false, (error) => error instanceof Problem);
      if (stop.signal.aborted) return;
      clearTimeout(silence);
      silence = setTimeout(poll, isRefused ? 0 : POLL_MS);
      await pause(isRefused ? REFUSED_MS : BROKEN_MS, stop.signal);
    }
  };
  void listen();
  return () => {
    clearTimeout(silence);
    stop.abort();
    stopPolling();
  };
}
