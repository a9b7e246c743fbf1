// The pictures of README: a server with a past, looked at while events come in.

import { expect, test } from "@playwright/test";
import { goOn, tell } from "./story";
import { Tally } from "./tally";

const FOLDER = "../docs/images";
const VIEWS_PER_MINUTE = 1_800;
/** So long events come in before they are looked at, for the charts of the last minutes. */
const WARM_MS = 610_000;
const PAGES = { overview: "/", item: "/items/sky-11?with=bread-01" };

test("pictures for README", async ({ browser }) => {
  test.setTimeout(900_000);
  const tally = await Tally.start(["--max-event-age", "100d"]);
  let stop: () => Promise<void> = async () => {};
  try {
    await tell(tally, 90, VIEWS_PER_MINUTE);
    // A server that has just started has not seen the past come in all at once.
    await tally.halt();
    await tally.again();
    stop = goOn(tally, VIEWS_PER_MINUTE);
    await new Promise((resolve) => setTimeout(resolve, WARM_MS));
    for (const colorScheme of ["light", "dark"] as const) {
      const page = await browser.newPage({ viewport: { width: 1200, height: 900 }, colorScheme });
      for (const [name, where] of Object.entries(PAGES)) {
        await page.goto(tally.url + where);
        await expect(page.locator(".waiting")).toHaveCount(0);
        // A few answers later rates and bars stand still.
        await page.waitForTimeout(6_000);
        await page.screenshot({ path: `${FOLDER}/${name}-${colorScheme}.png`, fullPage: true });
      }
      await page.close();
    }
  } finally {
    await stop();
    await tally.stop();
  }
});
