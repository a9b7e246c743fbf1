// Which page an address is, and going to another one without loading the document again.

import { Observable } from "./observable";
import { path } from "./data/server";

export type Route =
  | { page: "overview" | "health" | "lost" }
  | { page: "item"; item: string }
  | { page: "channel"; channel: string };

export interface Place {
  route: Route;
  /** Parameters, which say what of a page is shown. */
  params: URLSearchParams;
}

export const place = new Observable<Place>(placeOf(location));

export function placeOf(address: { pathname: string; search: string }): Place {
  return { route: routeOf(address.pathname), params: new URLSearchParams(address.search) };
}

function routeOf(pathname: string): Route {
  if (pathname === "/") return { page: "overview" };
  if (pathname === "/health") return { page: "health" };
  const [, kind, encoded, ...more] = pathname.split("/");
  if (encoded === undefined || encoded === "" || more.length > 0) return { page: "lost" };
  try {
    const name = decodeURIComponent(encoded);
    if (kind === "items") return { page: "item", item: name };
    if (kind === "channels") return { page: "channel", channel: name };
  } catch {
    // Not what encodeURIComponent makes.
  }
  return { page: "lost" };
}

/** Addresses of pages. */
export const to = {
  item: (item: string, params: Record<string, string> = {}) => address(path("items", item), params),
  channel: (channel: string) => path("channels", channel),
};

function address(where: string, params: Record<string, string>): string {
  const query = new URLSearchParams(params).toString();
  return query === "" ? where : `${where}?${query}`;
}

/** Goes to a page of the dashboard, as a link does. */
export function go(where: string): void {
  history.pushState(null, "", where);
  place.set(placeOf(location));
  scrollTo(0, 0);
  // A new page is read from its start, also by those who do not see it.
  requestAnimationFrame(() => document.querySelector<HTMLElement>("h1")?.focus());
}

/** Shows something else of the same page: no step back, and the focus stays. */
export function setParams(changes: Record<string, string | null>): void {
  const params = new URLSearchParams(location.search);
  for (const [name, value] of Object.entries(changes)) {
    if (value === null) params.delete(name);
    else params.set(name, value);
  }
  history.replaceState(null, "", address(location.pathname, Object.fromEntries(params)));
  place.set(placeOf(location));
}

/** Follows links within the dashboard, and the browser's back and forward. */
export function startRouter(): void {
  addEventListener("popstate", () => place.set(placeOf(location)));
  document.addEventListener("click", (event) => {
    const link = (event.target as Element | null)?.closest?.("a");
    const isPlain = event.button === 0 && !event.metaKey && !event.ctrlKey && !event.shiftKey;
    if (!link || !isPlain || event.altKey || event.defaultPrevented) return;
    const url = new URL(link.href);
    const isPage = url.origin === location.origin && routeOf(url.pathname).page !== "lost";
    if (!isPage || url.hash !== "" || link.target !== "") return;
    event.preventDefault();
    go(url.pathname + url.search);
  });
}
