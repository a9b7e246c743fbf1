// The key of this tab: what is sent with every question, where the server asks for one. It is kept
// in the session's storage alone, which ends with the tab, and never stands in an address.

import { Observable } from "../observable";

/** Whether the server lets this tab in; `refuses`: it no longer takes the key that there was. */
export type Door = "open" | "asks" | "refuses";

const KEPT_AS = "tally-key";

/** Empty where there is none. */
export const key = new Observable<string>(kept());

export const door = new Observable<Door>("open");

function kept(): string {
  try {
    return sessionStorage.getItem(KEPT_AS) ?? "";
  } catch {
    return ""; // Browsers may forbid to ask.
  }
}

function keep(value: string): void {
  try {
    if (value === "") sessionStorage.removeItem(KEPT_AS);
    else sessionStorage.setItem(KEPT_AS, value);
  } catch {
    // Then the key lasts as long as the page.
  }
}

/** A header takes printable ASCII only; nothing else can be a key. */
export function isPossibleKey(typed: string): boolean {
  return /^[\x21-\x7e]+$/.test(typed);
}

export function headersWith(used: string): Record<string, string> {
  return used === "" ? {} : { Authorization: `Bearer ${used}` };
}

/** The server takes this key. */
export function enter(good: string): void {
  keep(good);
  key.set(good);
  door.set("open");
}

/** The server asked for a key, or did not take this one; answers to an older key tell nothing. */
export function refused(used: string): void {
  if (door.value !== "open" || used !== key.value) return;
  keep("");
  key.set("");
  door.set(used === "" ? "asks" : "refuses");
}

/** Forgets the key, and with the document all that was read by it. */
export function forget(): void {
  keep("");
  location.reload();
}

/** Waits until the server lets this tab in. */
export function opened(): Promise<void> {
  return new Promise((resolve) => {
    if (door.value === "open") return resolve();
    const stop = door.subscribe(() => {
      if (door.value !== "open") return;
      stop();
      resolve();
    });
  });
}

/** What a command to copy needs where there are keys; never the key itself. */
export function keyOption(): string {
  return key.value === "" ? "" : ` -H 'Authorization: Bearer tk_…'`;
}
