// Asks the server, and knows whether it answers.

import { Observable } from "../observable";
import { parseExact } from "./digits";
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

/** The answer as text. */
export async function askText(
  where: string,
  params: Record<string, string> = {},
  signal?: AbortSignal,
): Promise<string> {
  const query = new URLSearchParams(params).toString();
  const patience = new AbortController();
  const give_up = () => patience.abort();
  signal?.addEventListener("abort", give_up);
  const timer = setTimeout(give_up, PATIENCE_MS);
  try {
    const response = await fetch(query === "" ? where : `${where}?${query}`, {
      signal: patience.signal,
      cache: "no-store",
    });
    const text = await response.text();
    heard(true);
    if (!response.ok) throw problemOf(response.status, text);
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

function problemOf(status: number, text: string): Problem {
  let body: ProblemBody = {};
  try {
    body = JSON.parse(text) as ProblemBody;
  } catch {
    // Something between us and the server answered.
  }
  const detail = body.detail ?? body.title ?? `The server answered ${status}.`;
  return new Problem(status, body.code ?? "", detail);
}
