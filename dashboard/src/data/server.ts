// Asks the server, with the key where there is one, and knows whether it answers.

import { Observable } from "../observable";
import { parseExact } from "./digits";
import { EventParser, type ServerEvent } from "./event-stream";
import { headersWith, key, refused } from "./key";
import type { ProblemBody } from "./wire";

/** Longest wait for an answer. */
const PATIENCE_MS = 10_000;

/** The server answered that it will not or cannot. */
export class Problem extends Error {
  constructor(
    readonly status: number,
    readonly code: string,
    detail: string,
  ) {
    super(detail);
  }
}

/** The key is good, and not for this. */
export function isForbidden(error: unknown): boolean {
  return error instanceof Problem && error.code === "forbidden";
}

/** This server has none of it: a node that only answers questions. */
export function isMissing(error: unknown): boolean {
  return error instanceof Problem && error.code === "not_found";
}

/** No answer came. */
export class Away extends Error {}

/** Since when no answer has come, in Unix milliseconds; null while answers come. */
export const awaySince = new Observable<number | null>(null);

/** Tells that the server answered just now, or that it did not. */
export function heard(isThere: boolean): void {
  if (isThere) awaySince.set(null);
  else if (awaySince.value === null) awaySince.set(Date.now());
}

/** The path of a resource; every part is encoded. */
export function path(...parts: string[]): string {
  return `/${parts.map(encodeURIComponent).join("/")}`;
}

/** The answer as JSON with exact digits. */
export async function ask<T>(
  where: string,
  params: Record<string, string> = {},
  signal?: AbortSignal,
): Promise<T> {
  return parseExact(await askText(where, params, signal)) as T;
}

/** The answer as text; `used` is the key it is asked with. */
export async function askText(
  where: string,
  params: Record<string, string> = {},
  signal?: AbortSignal,
  used = key.value,
): Promise<string> {
  const patience = new AbortController();
  const give_up = () => patience.abort();
  signal?.addEventListener("abort", give_up);
  const timer = setTimeout(give_up, PATIENCE_MS);
  try {
    const response = await send(where, params, patience.signal, used);
    const text = await response.text();
    heard(true);
    if (!response.ok) throw problemOf(response.status, text, used);
    return text;
  } catch (error) {
    if (error instanceof Problem || signal?.aborted) throw error;
    heard(false);
    throw new Away("The server does not answer.");
  } finally {
    clearTimeout(timer);
    signal?.removeEventListener("abort", give_up);
  }
}

/**
 * Tells the events of a stream until it ends, breaks or is stopped; a problem where the server will
 * not send one.
 */
export async function askEvents(
  where: string,
  params: Record<string, string>,
  signal: AbortSignal,
  tell: (event: ServerEvent) => void,
): Promise<void> {
  const used = key.value;
  const response = await send(where, params, signal, used);
  if (!response.ok) throw problemOf(response.status, await response.text(), used);
  const kind = response.headers.get("content-type") ?? "";
  if (response.body === null || !/^text\/event-stream\b/i.test(kind)) {
    // Something between us and the server answered.
    await response.body?.cancel();
    throw new Problem(response.status, "", "The answer is no stream of events.");
  }
  const reader = response.body.getReader();
  const decoder = new TextDecoder();
  const parser = new EventParser();
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done || signal.aborted) return;
      for (const event of parser.push(decoder.decode(value, { stream: true }))) tell(event);
    }
  } finally {
    // What cannot be read must not go on coming.
    await reader.cancel().catch(() => {});
  }
}

function send(
  where: string,
  params: Record<string, string>,
  signal: AbortSignal,
  used: string,
): Promise<Response> {
  const query = new URLSearchParams(params).toString();
  return fetch(query === "" ? where : `${where}?${query}`, {
    signal,
    cache: "no-store",
    headers: headersWith(used),
  });
}

function problemOf(status: number, text: string, used: string): Problem {
  let body: ProblemBody = {};
  try {
    body = JSON.parse(text) as ProblemBody;
  } catch {
    // Something between us and the server answered.
  }
  const detail = body.detail ?? body.title ?? `The server answered ${status}.`;
  if (body.code === "unauthorized") refused(used);
  return new Problem(status, body.code ?? "", detail);
}
