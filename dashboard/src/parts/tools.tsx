// The right of the header: a way to any item, a way to forget the key, and the choice of light or dark.

import { useEffect, useRef } from "preact/hooks";
import { forget, key } from "../data/key";
import { Observable } from "../observable";
import { useObservable } from "../use-observable";
import { go, to } from "../router";
import { chooseNextTheme, theme } from "../theme";

/** Items seen so far with their titles: what the search offers. */
const seen = new Observable<ReadonlyMap<string, string>>(new Map());
const SEEN_MAX = 100;

/** Offers items in the search. */
export function offer(items: readonly { item: string; title?: string }[]): void {
  if (items.every(({ item, title }) => seen.value.get(item) === (title ?? ""))) return;
  const all = new Map(seen.value);
  for (const { item, title } of items) all.set(item, title ?? "");
  seen.set(new Map([...all].slice(-SEEN_MAX)));
}

/** An item by what was typed: its name, or a title that was seen. */
function itemOf(typed: string): string {
  for (const [item, title] of seen.value) {
    if (title !== "" && title.toLowerCase() === typed.toLowerCase()) return item;
  }
  return typed;
}

const THEME_NAMES = { system: "as the system", light: "light", dark: "dark" };

export function Tools() {
  const field = useRef<HTMLInputElement>(null);
  const offered = useObservable(seen);
  const chosen = useObservable(theme);
  const used = useObservable(key);
  useEffect(() => focusBySlash(field), []);
  return (
    <>
      <form
        role="search"
        onSubmit={(event) => {
          event.preventDefault();
          const typed = field.current?.value.trim() ?? "";
          if (typed === "") return;
          go(to.item(itemOf(typed)));
          if (field.current) field.current.value = "";
        }}
      >
        <input ref={field} type="search" name="item" list="offered" autocomplete="off"
          aria-label="Go to an item" placeholder="Go to an item  /" spellcheck={false} />
        <datalist id="offered">
          {[...offered].map(([item, title]) => (
            <option key={item} value={item}>{title === "" ? item : title}</option>
          ))}
        </datalist>
      </form>
      {used !== "" && <button type="button" onClick={forget}>Forget key</button>}
      <button type="button" class="theme" onClick={chooseNextTheme}
        aria-label={`Theme: ${THEME_NAMES[chosen]}. Change`}
        title={`Theme: ${THEME_NAMES[chosen]}`}>
        <svg viewBox="0 0 20 20" width="18" height="18" aria-hidden="true">
          <circle cx="10" cy="10" r="7" fill="none" stroke="currentColor" stroke-width="1.6" />
          {chosen !== "light" && (
            <path d={chosen === "dark" ? "M10 3a7 7 0 0 1 0 14a7 7 0 0 1 0-14z" : "M10 3a7 7 0 0 1 0 14z"}
              fill="currentColor" />
          )}
        </svg>
      </button>
    </>
  );
}

/** `/` goes to the field, as in many places; not while something is typed. */
function focusBySlash(field: { current: HTMLInputElement | null }): () => void {
  const pressed = (event: KeyboardEvent) => {
    const within = event.target as HTMLElement;
    const isTyping = within.matches?.("input:not([type=radio]), select, textarea");
    if (event.key !== "/" || isTyping || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    field.current?.focus();
  };
  document.addEventListener("keydown", pressed);
  return () => document.removeEventListener("keydown", pressed);
}
