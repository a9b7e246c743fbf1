// Asks again and again while somebody looks.

import { useEffect, useRef, useState } from "preact/hooks";
import { isForbidden } from "./server";

export interface Polled<T> {
  /** The newest answer; kept while later questions fail. */
  data: T | undefined;
  /** Why the newest question failed. */
  error: Error | undefined;
}

/**
 * The answer to a question, asked again `everyMs` after each answer. A hidden page asks nothing.
 * Another `key` is another question: what was known is forgotten. So it is where the server's key
 * is not for this, which is not asked again.
 */
export function usePolled<T>(
  key: string,
  everyMs: number,
  question: (signal: AbortSignal) => Promise<T>,
): Polled<T> {
  const [known, setKnown] = useState<Polled<T> & { key: string }>(unknown(key));
  const asked = useRef(question);
  asked.current = question;
  useEffect(() => {
    const stop = new AbortController();
    const put = (change: Partial<Polled<T>>) => {
      if (stop.signal.aborted) return;
      setKnown((last) => ({ ...(last.key === key ? last : unknown<T>(key)), ...change }));
    };
    void repeat(everyMs, stop.signal, async () => {
      try {
        put({ data: await asked.current(stop.signal), error: undefined });
      } catch (error) {
        if (!isForbidden(error)) return put({ error: error as Error });
        put({ data: undefined, error: error as Error });
        stop.abort();
      }
    });
    return () => stop.abort();
  }, [key, everyMs]);
  return known.key === key ? known : unknown(key);
}

function unknown<T>(key: string): Polled<T> & { key: string } {
  return { key, data: undefined, error: undefined };
}

/** Runs a task, waits, and so on until it is stopped; rests while the page is hidden. */
export async function repeat(
  everyMs: number,
  signal: AbortSignal,
  task: () => Promise<void>,
): Promise<void> {
  while (!signal.aborted) {
    await task();
    await pause(everyMs, signal);
    while (document.hidden && !signal.aborted) await shown(signal);
  }
}

/** Waits so long, or until it is stopped. */
export function pause(ms: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) return resolve();
    const timer = setTimeout(resolve, ms);
    signal.addEventListener("abort", () => (clearTimeout(timer), resolve()), { once: true });
  });
}

function shown(signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const done = () => resolve();
    document.addEventListener("visibilitychange", done, { once: true });
    signal.addEventListener("abort", done, { once: true });
  });
}
