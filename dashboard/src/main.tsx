// Starts the dashboard: the frame stands in index.html, this fills it.

import { render } from "preact";
import { useEffect } from "preact/hooks";
import { door, key } from "./data/key";
import { startVitals } from "./data/vitals";
import { useObservable } from "./use-observable";
import { ChannelPage } from "./pages/channel";
import { HealthPage } from "./pages/health";
import { ItemPage } from "./pages/item";
import { KeyPage } from "./pages/key";
import { LostPage } from "./pages/lost";
import { OverviewPage } from "./pages/overview";
import { Connection } from "./parts/connection";
import { Tools } from "./parts/tools";
import { place, startRouter } from "./router";
import { followSystemTheme } from "./theme";

function Page() {
  const { route, params } = useObservable(place);
  const state = useObservable(door);
  useEffect(() => {
    for (const link of document.querySelectorAll("nav a[data-page]")) {
      if (link.getAttribute("data-page") === route.page) link.setAttribute("aria-current", "page");
      else link.removeAttribute("aria-current");
    }
  }, [route.page]);
  if (state !== "open") return <KeyPage door={state} />;
  switch (route.page) {
    case "overview":
      return <OverviewPage params={params} />;
    case "item":
      return <ItemPage key={route.item} item={route.item} params={params} />;
    case "channel":
      return <ChannelPage key={route.channel} channel={route.channel} params={params} />;
    case "health":
      return <HealthPage />;
    case "lost":
      return <LostPage />;
  }
}

/** Where there are keys a link to the metrics leads nowhere: it carries none. */
function followKeys(): void {
  const change = () => {
    document.documentElement.classList.toggle("keyed", key.value !== "" || door.value !== "open");
  };
  change();
  key.subscribe(change);
  door.subscribe(change);
}

function fill(id: string, content: Parameters<typeof render>[0]): void {
  const host = document.getElementById(id);
  if (host === null) return;
  host.replaceChildren();
  render(content, host);
}

followSystemTheme();
startRouter();
startVitals();
followKeys();
fill("tools", <Tools />);
fill("connection", <Connection />);
fill("main", <Page />);
