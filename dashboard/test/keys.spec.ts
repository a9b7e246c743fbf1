// The pages of a server that asks for keys: the form, what a key opens, and where the key goes.

import { type Page, expect, test } from "@playwright/test";
import { Watch, expectAccessible, expectNoSideways } from "./page";
import { type Key, Tally } from "./tally";

let tally: Tally;
let reader: Key;
let admin: Key;
let sender: Key;

test.beforeAll(async () => {
  tally = await Tally.start();
  await tally.send([{ item: "v" }, { item: "v" }]);
  sender = await tally.makeKey("write");
  reader = await tally.makeKey("read");
  admin = await tally.makeKey("read,admin");
  tally.headers = { authorization: `Bearer ${sender.secret}` };
});
test.afterAll(async () => tally?.stop());

const asks = (page: Page) => page.getByRole("heading", { level: 1, name: "This server asks for a key" });
const field = (page: Page) => page.getByLabel("Key", { exact: true });
const liveCount = (page: Page) => page.getByTestId("live-count");

async function enter(page: Page, secret: string): Promise<void> {
  await expect(asks(page)).toBeVisible();
  await field(page).fill(secret);
  await page.keyboard.press("Enter");
}

/** Statuses of what the page asks for from now on, by path; and every address, with the document's own. */
function listenTo(page: Page): { statuses: Map<string, number>; addresses: string[] } {
  const heard = { statuses: new Map<string, number>(), addresses: [] as string[] };
  page.on("request", (request) => heard.addresses.push(request.url()));
  page.on("framenavigated", (frame) => heard.addresses.push(frame.url()));
  page.on("response", (response) => heard.statuses.set(new URL(response.url()).pathname, response.status()));
  return heard;
}

test("a page asks for a key, says when it is wrong, and works with a good one", async ({ page }) => {
  const watch = await Watch.over(page, tally.url);
  const { addresses } = listenTo(page);
  await page.goto(`${tally.url}/items/v`);
  await expect(asks(page)).toBeVisible();
  await expect(field(page)).toBeFocused();
  await expect(field(page)).toHaveAttribute("type", "password");
  await expect(field(page)).toHaveAttribute("autocomplete", "off");
  const fault = page.getByRole("alert");
  const wrong = `tk_${reader.id}_${"0".repeat(64)}`;
  for (const typed of [wrong, "no key at all", "tk_…"]) {
    await enter(page, typed);
    await expect(fault).toContainText("does not open this server");
    await expect(field(page)).toBeFocused();
    await field(page).fill("");
    await page.reload();
    await expect(fault).toBeEmpty();
  }
  await enter(page, sender.secret);
  await expect(fault).toContainText("lacks the scope read");
  expect(await page.evaluate(() => sessionStorage.length)).toBe(0);

  await enter(page, `  ${reader.secret} `);
  await expect(page.getByRole("heading", { level: 1, name: "v" })).toBeFocused();
  await expect(page.getByText("live", { exact: true })).toBeVisible();
  await expect(liveCount(page)).toHaveText("2");
  await tally.send([{ item: "v" }]);
  await expect(liveCount(page)).toHaveText("3");
  await page.reload();
  await expect(liveCount(page)).toHaveText("3");

  // The tab's storage has it, and nothing that lasts or is written down does.
  const kept = await page.evaluate(() => [Object.values(sessionStorage), Object.values(localStorage), document.cookie]);
  expect(kept).toEqual([[reader.secret], [], ""]);
  expect(await page.context().cookies()).toEqual([]);
  expect(await page.content()).not.toContain(reader.secret);
  expect(addresses.length).toBeGreaterThan(5);
  for (const address of addresses) {
    for (const part of [reader.secret, sender.secret, wrong]) expect(decodeURIComponent(address)).not.toContain(part);
  }
  watch.expectNothing();
});

test("the form can be seen, read out and worked by keyboard", async ({ page }) => {
  for (const [scheme, width] of [["light", 1280], ["dark", 1280], ["dark", 390]] as const) {
    await page.emulateMedia({ colorScheme: scheme });
    await page.setViewportSize({ width, height: 860 });
    await page.goto(tally.url);
    await expect(asks(page)).toBeVisible();
    await expectAccessible(page, `key, ${scheme}`);
    await page.keyboard.type("tk_wrong");
    await page.keyboard.press("Tab");
    await expect(page.getByRole("button", { name: "Open" })).toBeFocused();
    await page.keyboard.press("Space");
    await expect(page.getByRole("alert")).toContainText("does not open this server");
    await expect(field(page)).toHaveAttribute("aria-invalid", "true");
    await expectAccessible(page, `wrong key, ${scheme}`);
    await expectNoSideways(page);
    await page.screenshot({ path: `test-results/pages/key-${scheme}-${width}.png` });
  }
});

test("with read alone the rest works, and what is for admin says so", async ({ page }) => {
  const watch = await Watch.over(page, tally.url);
  const { statuses } = listenTo(page);
  await page.goto(`${tally.url}/health`);
  await enter(page, reader.secret);
  for (const name of ["Partitions", "Audits", "Dead letters"]) {
    await expect(page.getByRole("region", { name }).first()).toContainText("The key lacks a scope: this needs a key with the scope admin.");
  }
  await expect(page.getByText("Ready: takes events")).toBeVisible();
  await expect(page.locator(".signal", { hasText: "Traffic" })).toContainText(/Accepted since the start\s*\d/);
  await expectAccessible(page, "health with read alone");
  expect(statuses.get("/v1/admin/activity")).toBe(403);
  await page.getByRole("link", { name: "Overview" }).click();
  await expect(page.getByRole("region", { name: "Most counted" }).getByRole("listitem").first()).toContainText("v");
  // The rate is that of /metrics, whose chart begins when the page does.
  const rate = page.locator(".tile", { hasText: "Events per second" }).locator("b");
  await expect(async () => {
    await tally.send(Array.from({ length: 500 }, () => ({ item: "many" })));
    expect(Number((await rate.innerText()).replaceAll(",", ""))).toBeGreaterThan(0);
  }).toPass();
  await expect(page.locator(".chart canvas").first()).toBeVisible();
  // What was forbidden is not asked for again.
  const asked: string[] = [];
  page.on("request", (request) => asked.push(new URL(request.url()).pathname));
  await page.waitForTimeout(5_000);
  expect(asked).toContain("/metrics");
  expect(asked.filter((path) => path.startsWith("/v1/admin/"))).toEqual([]);
  watch.expectNothing();
});

test("with admin too everything is shown, and the key can be forgotten", async ({ page }) => {
  const watch = await Watch.over(page, tally.url);
  const { statuses } = listenTo(page);
  await page.goto(`${tally.url}/health`);
  await enter(page, admin.secret);
  await expect(page.getByRole("region", { name: "Partitions" }).first()).toContainText("counting");
  await expect(page.locator(".signal canvas").first()).toBeVisible();
  expect(statuses.get("/v1/admin/activity")).toBe(200);
  await expect(page.getByRole("link", { name: "Metrics" })).toBeHidden();
  await expectAccessible(page, "health with admin");
  await page.setViewportSize({ width: 390, height: 860 });
  // Charts follow the width once they see it.
  await expect(() => expectNoSideways(page)).toPass();
  await page.getByRole("button", { name: "Forget key" }).click();
  await expect(asks(page)).toBeVisible();
  await expect(page.getByRole("button", { name: "Forget key" })).toHaveCount(0);
  expect(await page.evaluate(() => sessionStorage.length)).toBe(0);
  watch.expectNothing();
});

test("a key that is revoked closes the page, which asks nothing until there is another", async ({ page }) => {
  const guest = await tally.makeKey("read");
  await page.goto(`${tally.url}/items/v`);
  await enter(page, guest.secret);
  await expect(page.getByText("live", { exact: true })).toBeVisible();
  await tally.revoke(guest);
  await expect(asks(page)).toBeVisible();
  await expect(page.getByRole("alert")).toContainText("no longer takes the key");
  expect(await page.evaluate(() => sessionStorage.length)).toBe(0);
  const asked: string[] = [];
  page.on("request", (request) => asked.push(request.url()));
  await page.waitForTimeout(4_000);
  expect(asked).toEqual([]);
  await enter(page, reader.secret);
  await expect(page.getByText("live", { exact: true })).toBeVisible();
});

test("with a key, too, the total is asked for where pushing fails, and a hidden page holds no stream", async ({ page }) => {
  await page.route(/\/live\?/, (route) => route.abort());
  await page.goto(`${tally.url}/items/polled`);
  await enter(page, reader.secret);
  await expect(page.getByText("asked every second")).toBeVisible();
  await tally.send([{ item: "polled" }]);
  await expect(liveCount(page)).toHaveText("1");
  await page.unroute(/\/live\?/);
  await expect(page.getByText("live", { exact: true })).toBeVisible();
  const ended = page.waitForEvent("requestfailed", (request) => request.url().includes("/live?"));
  await page.evaluate(() => {
    Object.defineProperty(document, "hidden", { configurable: true, get: () => true });
    document.dispatchEvent(new Event("visibilitychange"));
  });
  await ended;
});

test("the first key of a server closes the pages that are open", async ({ page }) => {
  const other = await Tally.start();
  try {
    await other.send([{ item: "v" }]);
    await page.goto(`${other.url}/items/v`);
    await expect(liveCount(page)).toHaveText("1");
    await expect(page.getByRole("button", { name: "Forget key" })).toHaveCount(0);
    await expect(page.getByRole("link", { name: "Metrics" })).toBeVisible();
    const first = await other.makeKey("read");
    await expect(asks(page)).toBeVisible();
    await enter(page, first.secret);
    await expect(liveCount(page)).toHaveText("1");
  } finally {
    await other.stop();
  }
});
