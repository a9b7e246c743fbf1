// The pages while events come in, while the server is away, and how soon they are there.

import { expect, test } from "@playwright/test";
import { Watch, numberOf } from "./page";
import { Tally } from "./tally";

let tally: Tally;
test.beforeEach(async () => {
  tally = await Tally.start();
});
test.afterEach(async () => tally.stop());

/** The item that `tally load` sends most. */
async function busiest(): Promise<string> {
  for (;;) {
    const { items } = await (await fetch(`${tally.url}/v1/top?limit=1`)).json();
    if (items.length > 0) return items[0].item;
  }
}

test("the number on the page equals the API while 10,000 events a second come in", async ({ page }) => {
  const watch = await Watch.over(page, tally.url);
  const stop = tally.load(["--rate", "10000", "--duration", "60s", "--items", "1000"]);
  try {
    const item = await busiest();
    await page.goto(`${tally.url}/items/${encodeURIComponent(item)}`);
    const shown = page.getByTestId("live-count");
    await expect(page.getByText("live", { exact: true })).toBeVisible();
    let compared = 0;
    let last = 0n;
    for (const until = Date.now() + 8_000; Date.now() < until; compared++) {
      // What is shown lies between what the API said before and what it says soon after.
      const before = await tally.count(item);
      await expect.poll(async () => numberOf(await shown.innerText()), { timeout: 3_000, intervals: [50] })
        .toBeGreaterThanOrEqual(before);
      const number = numberOf(await shown.innerText());
      expect(number).toBeLessThanOrEqual(await tally.count(item));
      expect(number).toBeGreaterThanOrEqual(last);
      last = number;
    }
    expect(compared).toBeGreaterThan(5);
    expect(last).toBeGreaterThan(0n);
    await page.goto(`${tally.url}/`);
    await expect.poll(async () => numberOf(await page.locator(".tile b").first().innerText()), { timeout: 20_000 })
      .toBeGreaterThan(5_000n);
    await page.goto(`${tally.url}/items/${encodeURIComponent(item)}`);
    await stop();
    // When nothing comes any more, they are the same.
    await expect.poll(async () => numberOf(await shown.innerText()) - (await tally.count(item))).toBe(0n);
  } finally {
    await stop();
  }
  watch.expectNothing();
});

test("where pushing fails the total is asked for", async ({ page }) => {
  await tally.send([{ item: "v" }]);
  await page.route(/\/live\?/, (route) => route.abort());
  await page.goto(`${tally.url}/items/v`);
  await expect(page.getByText("asked every second")).toBeVisible();
  await expect(page.getByTestId("live-count")).toHaveText("1");
  await tally.send([{ item: "v" }, { item: "v" }]);
  await expect(page.getByTestId("live-count")).toHaveText("3");
});

test("a page that nobody sees asks nothing", async ({ page }) => {
  const hide = (isHidden: boolean) =>
    page.evaluate((hidden) => {
      Object.defineProperty(document, "hidden", { configurable: true, get: () => hidden });
      document.dispatchEvent(new Event("visibilitychange"));
    }, isHidden);
  await tally.send([{ item: "v" }]);
  await page.goto(`${tally.url}/items/v`);
  await expect(page.getByText("live", { exact: true })).toBeVisible();
  await hide(true);
  // What was asked before is answered, and every pause between questions has passed.
  await page.waitForTimeout(6_000);
  const asked: string[] = [];
  page.on("request", (request) => asked.push(request.url()));
  await tally.send([{ item: "v" }]);
  await page.waitForTimeout(6_000);
  expect(asked).toEqual([]);
  await expect(page.getByTestId("live-count")).toHaveText("1");
  await hide(false);
  await expect(page.getByTestId("live-count")).toHaveText("2");
});

test("a server that goes away is told, and so is that it is back", async ({ page }) => {
  await tally.send([{ item: "v" }, { item: "v" }]);
  await page.goto(`${tally.url}/items/v`);
  await expect(page.getByTestId("live-count")).toHaveText("2");
  await tally.halt();
  const status = page.locator("#connection");
  await expect(status).toContainText("The server has not answered since");
  await page.screenshot({ path: "test-results/pages/away.png" });
  // What was known stays.
  await expect(page.getByTestId("live-count")).toHaveText("2");
  await tally.again();
  await expect(status).toContainText("answers again");
  await expect(status).toBeEmpty();
  await tally.send([{ item: "v" }]);
  await expect(page.getByTestId("live-count")).toHaveText("3");
});

test("a server without events says how to begin, and shows the first one", async ({ page }) => {
  await page.goto(`${tally.url}/`);
  await expect(page.getByText("Nothing has been counted yet.")).toBeVisible();
  await expect(page.locator("pre")).toHaveText(`curl -X POST ${tally.url}/v1/items/hello/events`);
  await fetch(`${tally.url}/v1/items/hello/events`, { method: "POST" });
  const top = page.getByRole("region", { name: "Most counted" });
  await expect(top.getByRole("listitem")).toHaveText(/hello.*1/);
});

test("what gets into a page all the same is not run", async ({ page }) => {
  const watch = await Watch.over(page, tally.url);
  await page.goto(`${tally.url}/`);
  await page.evaluate(() => {
    const script = document.createElement("script");
    script.textContent = "document.title = 'owned'";
    document.body.append(script);
  });
  await expect.poll(() => watch.faults.length).toBeGreaterThan(0);
  expect(watch.faults.join()).toContain("script-src");
  await expect(page).toHaveTitle("Tally");
});

test("the overview is light and soon there", async ({ browser }) => {
  await tally.send(Array.from({ length: 50 }, (_, n) => ({ item: `item ${n % 12}`, value: n })));
  const paints: number[] = [];
  let weight = 0;
  for (let load = 0; load < 7; load++) {
    const context = await browser.newContext();
    const page = await context.newPage();
    const watch = await Watch.over(page, tally.url);
    await page.goto(`${tally.url}/`);
    await expect(page.getByRole("region", { name: "Most counted" }).getByRole("listitem").first()).toBeVisible();
    const paint = await page.evaluate(() => performance.getEntriesByName("first-contentful-paint")[0]?.startTime);
    paints.push(paint ?? Infinity);
    const parts = [/^\/$/, /^\/assets\/app-/, /^\/assets\/style-/, /^\/v1\/top$/, /^\/metrics$/];
    await expect(async () => {
      const weights = await watch.weights();
      weight = [...weights.values()].reduce((sum, bytes) => sum + bytes, 0);
      for (const part of parts) {
        expect([...weights].some(([path, bytes]) => part.test(path) && bytes > 0), `${part}`).toBe(true);
      }
    }).toPass({ timeout: 20_000 });
    await context.close();
  }
  paints.sort((a, b) => a - b);
  const median = paints[3] ?? Infinity;
  console.log(`first contentful paint of the overview: median ${median.toFixed(0)} ms of ${paints.map((ms) => ms.toFixed(0)).join(", ")}`);
  console.log(`weight of the overview, answers included: ${(weight / 1000).toFixed(1)} KB`);
  expect(weight).toBeLessThan(200_000);
});

test("the page tells the browser what it may do", async () => {
  const page = await fetch(`${tally.url}/items/any`);
  const policy = page.headers.get("content-security-policy") ?? "";
  expect(policy).toContain("default-src 'none'");
  expect(policy).not.toContain("unsafe");
  expect(page.headers.get("x-content-type-options")).toBe("nosniff");
  expect(page.headers.get("referrer-policy")).toBe("no-referrer");
  const html = await page.text();
  expect(html).not.toMatch(/<script(?![^>]* src=)|<style|style=| on\w+=|https?:/);
  const script = /"(\/assets\/app-[^"]+)"/.exec(html)?.[1] ?? "";
  const asset = await fetch(tally.url + script);
  expect(asset.headers.get("cache-control")).toContain("immutable");
  const tag = asset.headers.get("etag") ?? "";
  const again = await fetch(tally.url + script, { headers: { "if-none-match": tag } });
  expect(again.status).toBe(304);
});
