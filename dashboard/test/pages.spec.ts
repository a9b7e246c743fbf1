// Every page, as it is used: what it shows, how it looks on a phone and in the dark, and that it
// can be worked without a mouse.

import { type Page, expect, test } from "@playwright/test";
import { Watch, expectAccessible, expectNoSideways } from "./page";
import { VIDEOS, tell } from "./story";
import { Tally } from "./tally";

const EVIL = `<img src=x onerror="document.title='owned'">`;
const VIRAL = "sky-11";
let tally: Tally;

test.beforeAll(async () => {
  tally = await Tally.start(["--max-event-age", "100d"]);
  await tell(tally, 30, 60);
  await tally.describe("evil", { title: EVIL, channel: EVIL, channel_name: `${EVIL} & sons`, attributes: { [EVIL]: EVIL } });
  const evil = Array.from({ length: 500 }, () => ({ item: "evil", value: 1 }));
  await tally.send([...evil, { item: EVIL }, { item: "a/b ?#%", value: 2.5 }]);
  await tally.send([{ item: "exact", value: 9007199254.740993 }, { item: "exact", value: 0.1 }, { item: "exact", value: 0.2 }]);
});
test.afterAll(async () => tally?.stop());

let watch: Watch;
test.beforeEach(async ({ page }) => {
  watch = await Watch.over(page, tally.url);
});
test.afterEach(() => watch.expectNothing());

async function open(page: Page, where: string): Promise<void> {
  await page.goto(tally.url + where);
  await expect(page.locator("h1")).toBeVisible();
}

const liveCount = (page: Page) => page.getByTestId("live-count");

test("the overview shows what comes in, what is counted most and what grows", async ({ page }) => {
  await open(page, "/");
  const top = page.getByRole("region", { name: "Most counted" });
  await expect(top.getByRole("listitem").first()).toContainText("A comet over the harbour");
  await expect(page.getByRole("region", { name: "Trending" })).toContainText("A comet over the harbour");
  await expect(page.locator(".tile", { hasText: "Events per second" })).toContainText(/\d/);
  await expect(page.locator(".chart canvas").first()).toBeVisible();
  await page.getByText("24 h", { exact: true }).click();
  await expect(page).toHaveURL(/window=24h/);
  await page.getByLabel("Event type").selectOption("like");
  await expect(page).toHaveURL(/type=like/);
  await expect(async () => {
    const likes = await (await fetch(`${tally.url}/v1/top?type=like&window=24h&limit=1`)).json();
    const most = likes.items[0].count.toLocaleString("en");
    expect(await top.getByRole("listitem").first().innerText()).toContain(most);
  }).toPass();
  // The address says what is shown.
  await page.reload();
  await expect(page.getByLabel("Event type")).toHaveValue("like");
});

test("an item's page shows its details, its numbers by type, and its past", async ({ page }) => {
  await open(page, "/");
  await page.getByRole("region", { name: "Most counted" }).getByRole("link", { name: "A comet" }).click();
  await expect(page).toHaveURL(`${tally.url}/items/${VIRAL}`);
  await expect(page.getByRole("heading", { level: 1 })).toHaveText("A comet over the harbour");
  await expect(page.getByRole("heading", { level: 1 })).toBeFocused();
  await expect(page).toHaveTitle("A comet over the harbour · Tally");
  await expect(page.getByText("live", { exact: true })).toBeVisible();
  const count = await tally.count(VIRAL);
  await expect(liveCount(page)).toHaveText(count.toLocaleString("en"));
  await expect(page.getByRole("region", { name: "By type" }).getByRole("row")).toHaveCount(4);
  for (const [range, points] of [["48 hours", 48], ["90 days", 90], ["60 minutes", 60]] as const) {
    await page.getByText(range, { exact: true }).first().click();
    const chart = page.locator(".plot");
    await expect(chart).toHaveAttribute("aria-label", new RegExp(`, ${points} points\\..* UTC`));
  }
  await page.getByText("Show as a table").click();
  await expect(page.locator("details.numbers tbody tr")).toHaveCount(60);
  await page.getByText("Average", { exact: true }).last().click();
  await page.getByRole("link", { name: "Night Sky at Home" }).click();
  await expect(page.getByRole("heading", { level: 1 })).toHaveText("Night Sky at Home");
  await page.goBack();
  await expect(page.getByRole("heading", { level: 1 })).toHaveText("A comet over the harbour");
});

test("an item's chart says what the API says", async ({ page }) => {
  await open(page, `/items/${VIRAL}?range=48h`);
  await page.getByText("Show as a table").click();
  const rows = page.locator("details.numbers tbody tr");
  await expect(rows).toHaveCount(48);
  // Once more where an hour began between the two.
  await expect(async () => {
    const shown = await rows.locator("td").allTextContents();
    const end = (Math.floor(Date.now() / 3_600_000) + 1) * 3_600_000;
    const stats = `/v1/items/${VIRAL}/stats?step=hour&start=${end - 48 * 3_600_000}&end=${end}`;
    const answer = (await (await fetch(tally.url + stats)).json()) as { series: { count: number }[] };
    expect(shown.reverse()).toEqual(answer.series.map(({ count }) => count.toLocaleString("en")));
  }).toPass();
});

test("two items are compared", async ({ page }) => {
  await open(page, `/items/${VIRAL}`);
  await page.getByLabel("Compare with item").fill("bread-01");
  await page.getByRole("button", { name: "Compare" }).click();
  await expect(page).toHaveURL(/with=bread-01/);
  await expect(page.locator(".legend li")).toHaveText(["A comet over the harbour", "Bread from four ingredients"]);
  await expect(page.getByRole("region", { name: "Side by side" }).getByRole("row")).toHaveCount(3);
  await page.getByText("Show as a table").click();
  await expect(page.locator("details.numbers thead th")).toHaveCount(3);
  await page.getByRole("button", { name: /Stop comparing/ }).click();
  await expect(page.locator(".legend")).toHaveCount(0);
});

test("a channel's page adds up its items", async ({ page }) => {
  await open(page, "/channels/night-sky");
  await expect(page.getByRole("heading", { level: 1 })).toHaveText("Night Sky at Home");
  await expect(page.locator(".tile", { hasText: "Items" })).toContainText("5");
  await expect(page.getByRole("region", { name: "Most viewed" }).getByRole("listitem")).toHaveCount(5);
  await page.getByText("7 days", { exact: true }).click();
  await expect(page.locator(".plot")).toHaveAttribute("aria-label", /, 16[89] points\./);
});

test("the health page shows signals, partitions and audits", async ({ page }) => {
  await open(page, "/health");
  await expect(page.getByText("Ready: takes events")).toBeVisible();
  for (const name of ["Latency", "Traffic", "Errors", "Saturation"]) {
    await expect(page.getByRole("region", { name, exact: true })).toBeVisible();
  }
  await expect(page.getByRole("region", { name: "Partitions" }).first().getByText("counting").first()).toBeVisible();
  await fetch(`${tally.url}/v1/admin/audits`, { method: "POST" });
  await expect(page.getByRole("region", { name: "Audits" }).first().getByText("equal").first()).toBeVisible();
  await expect(page.getByText("None: everything in the log could be counted.")).toBeVisible();
});

test("names and titles are never run", async ({ page }) => {
  await open(page, "/items/evil");
  await expect(page.getByRole("heading", { level: 1 })).toHaveText(EVIL);
  await expect(page).toHaveTitle(`${EVIL} · Tally`);
  await expect(page.getByRole("link", { name: `${EVIL} & sons` })).toBeVisible();
  await expect(page.locator(".attributes dt")).toHaveText(EVIL);
  await page.getByLabel("Compare with item").fill(EVIL);
  await page.getByRole("button", { name: "Compare" }).click();
  await expect(page.locator(".legend li").last()).toHaveText(EVIL);
  await page.getByRole("link", { name: `${EVIL} & sons` }).click();
  await expect(page.getByRole("heading", { level: 1 })).toHaveText(`${EVIL} & sons`);
  await open(page, "/");
  await expect(page.getByRole("region", { name: "Most counted" }).getByText(EVIL).first()).toBeVisible();
  await expect(page.locator(`#offered option[value="evil"]`)).toHaveText(EVIL);
  expect(await page.locator("img:not(.brand img)").count()).toBe(0);
});

test("any name can be gone to, and digits stay exact", async ({ page }) => {
  await open(page, "/");
  await page.keyboard.press("/");
  await expect(page.getByLabel("Go to an item")).toBeFocused();
  await page.keyboard.type("a/b ?#%");
  await page.keyboard.press("Enter");
  await expect(page.getByRole("heading", { level: 1 })).toHaveText("a/b ?#%");
  await expect(liveCount(page)).toHaveText("1");
  await page.reload();
  await expect(page.getByRole("heading", { level: 1 })).toHaveText("a/b ?#%");
  // 0.1 + 0.2 and more digits than a double has.
  await open(page, "/items/exact");
  await expect(page.locator(".figures")).toContainText("9,007,199,255.040993");
  // A title that was seen finds its item.
  await open(page, "/");
  await expect(page.locator("#offered option")).not.toHaveCount(0);
  await page.getByLabel("Go to an item").fill("a comet over the harbour");
  await page.keyboard.press("Enter");
  await expect(page).toHaveURL(`${tally.url}/items/${VIRAL}`);
});

test("empty places say what to do", async ({ page }) => {
  await open(page, "/items/nobody-saw-this");
  await expect(page.getByText("No event of this item has come yet.")).toBeVisible();
  await expect(page.locator("pre")).toContainText(`curl -X POST '${tally.url}/v1/items/nobody-saw-this/events'`);
  await open(page, "/channels/nobody");
  await expect(page.getByText("No item says that it belongs to this channel.")).toBeVisible();
  await open(page, "/items/%FF");
  await expect(page.getByText("There is nothing at this address.")).toBeVisible();
});

const PAGES = {
  overview: "/",
  item: `/items/${VIRAL}?with=bread-01`,
  evil: "/items/evil",
  unknown: "/items/nobody-saw-this",
  channel: "/channels/night-sky",
  health: "/health",
};
const SIZES = { desktop: { width: 1280, height: 860 }, phone: { width: 360, height: 740 } };

for (const [size, viewport] of Object.entries(SIZES)) {
  for (const colorScheme of ["light", "dark"] as const) {
    test(`pages are accessible and fit: ${size}, ${colorScheme}`, async ({ browser }) => {
      const page = await browser.newPage({ viewport, colorScheme, reducedMotion: "reduce" });
      watch = await Watch.over(page, tally.url);
      for (const [name, where] of Object.entries(PAGES)) {
        await open(page, where);
        await expect(page.locator(".waiting")).toHaveCount(0);
        for (const details of await page.locator("details.numbers summary").all()) await details.click();
        await expectAccessible(page, `${name} ${size} ${colorScheme}`);
        await expectNoSideways(page);
        await page.screenshot({ path: `test-results/pages/${name}-${size}-${colorScheme}.png`, fullPage: true });
      }
      const ground = await page.evaluate(() => getComputedStyle(document.documentElement).backgroundColor);
      expect(ground).toBe(colorScheme === "dark" ? "rgb(16, 19, 26)" : "rgb(246, 247, 249)");
      await page.close();
    });
  }
}

test("all of it works by keyboard", async ({ page }) => {
  await open(page, "/");
  await page.keyboard.press("Tab");
  await expect(page.getByText("Skip to the content")).toBeFocused();
  await page.keyboard.press("Enter");
  await expect(page.locator("main")).toBeFocused();
  await expect(page.getByRole("region", { name: "Most counted" }).getByRole("link").first()).toBeVisible();
  const hour = page.getByRole("radio", { name: "1 h", exact: true });
  await hour.focus();
  await page.keyboard.press("ArrowRight");
  await expect(page.getByRole("radio", { name: "24 h" })).toBeChecked();
  await expect(page).toHaveURL(/window=24h/);
  const top = page.getByRole("region", { name: "Most counted" });
  await expect(top).toContainText("the last 24 hours");
  await expect(top.getByRole("link").first()).toBeVisible();
  await page.keyboard.press("Tab");
  await expect(top.getByRole("link").first()).toBeFocused();
  await page.keyboard.press("Enter");
  await expect(page.getByRole("heading", { level: 1 })).toBeFocused();
  await page.getByText("Show as a table").focus();
  await page.keyboard.press("Enter");
  await expect(page.locator("details.numbers tbody tr")).toHaveCount(60);
  await page.keyboard.press("Tab");
  await expect(page.locator("details.numbers .scroll")).toBeFocused();
});

test("the theme is chosen, kept, and there before the first paint", async ({ page }) => {
  await page.emulateMedia({ colorScheme: "light" });
  await open(page, "/");
  const html = page.locator("html");
  await expect(html).toHaveAttribute("data-theme", "light");
  const button = page.getByRole("button", { name: /^Theme: as the system/ });
  await button.click();
  await page.getByRole("button", { name: /^Theme: light/ }).click();
  await expect(html).toHaveAttribute("data-theme", "dark");
  await page.goto(`${tally.url}/health`);
  await expect(html).toHaveAttribute("data-theme", "dark");
  await page.getByRole("button", { name: /^Theme: dark/ }).click();
  await page.emulateMedia({ colorScheme: "dark" });
  await expect(html).toHaveAttribute("data-theme", "dark");
});

test("every video of the story has its page", async ({ page }) => {
  for (const { item, title } of VIDEOS) {
    await page.goto(`${tally.url}/items/${item}`);
    await expect(page.getByRole("heading", { level: 1 })).toHaveText(title);
  }
});
