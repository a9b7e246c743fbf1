// Starts the dashboard: the frame stands in index.html, this fills it.

import { render } from "preact";
import { useEffect } from "preact/hooks";
import { startVitals } from "./data/vitals";
import { useObservable } from "./use-observable";
import { ChannelPage } from "./pages/channel";
import { HealthPage } from "./pages/health";
import { ItemPage } from "./pages/item";
import { LostPage } from "./pages/lost";
import { OverviewPage } from "./pages/overview";
import { Connection } from "./parts/connection";
import { Tools } from "./parts/tools";
import { place, startRouter } from "./router";
import { followSystemTheme } from "./theme";

function Page() {
  const { route, params } = useObservable(place);
  useEffect(() => {
    for (const link of document.querySelectorAll("nav a[data-page]")) {
      if (link.getAttribute("data-page") === route.page) link.setAttribute("aria-current", "page");
      else link.removeAttribute("aria-current");
    }
  }, [route.page]);
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

function fill(id: string, content: Parameters<typeof render>[0]): void {
  const host = document.getElementById(id);
  if (host === null) return;
  host.replaceChildren();
  render(content, host);
}

followSystemTheme();
startRouter();
startVitals();
fill("tools", <Tools />);
fill("connection", <Connection />);
fill("main", <Page />);
