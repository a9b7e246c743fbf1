// What every test asks of a page: that it breaks no rule while it is looked at.

import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { type Page, expect } from "@playwright/test";

const AXE = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");

/** Notes what must not happen on a page: other hosts, refused by policy, thrown errors. */
export class Watch {
  readonly faults: string[] = [];
  /** Of each path that was asked for: bytes that came over the wire, heads included. */
  readonly #weights = new Map<string, Promise<number>>();

  static async over(page: Page, url: string): Promise<Watch> {
    const watch = new Watch();
    page.on("request", (request) => {
      const asked = request.url();
      if (!asked.startsWith(url) && !asked.startsWith("data:")) watch.faults.push(`asks ${asked}`);
    });
    page.on("pageerror", (error) => watch.faults.push(`throws ${error.message}`));
    page.on("console", (message) => {
      const text = message.text();
      if (/Content.Security.Policy/i.test(text)) watch.faults.push(text);
    });
    page.on("requestfinished", (request) => {
      const weight = request.sizes().then((sizes) => sizes.responseBodySize + sizes.responseHeadersSize);
      // A page that is closed meanwhile can no longer say.
      watch.#weights.set(new URL(request.url()).pathname, weight.catch(() => 0));
    });
    await page.addInitScript(() => {
      document.addEventListener("securitypolicyviolation", (event) => {
        console.error(`Content Security Policy: ${event.violatedDirective} ${event.blockedURI}`);
      });
    });
    return watch;
  }

  /** Bytes by path, so far. */
  async weights(): Promise<Map<string, number>> {
    const each = [...this.#weights].map(async ([path, weight]) => [path, await weight] as const);
    return new Map(await Promise.all(each));
  }

  expectNothing(): void {
    expect(this.faults).toEqual([]);
  }
}

interface Finding {
  id: string;
  impact: string | null;
  nodes: { html: string; failureSummary?: string }[];
}

/** axe finds nothing serious or critical. */
export async function expectAccessible(page: Page, where: string): Promise<void> {
  await page.evaluate(AXE);
  const findings = await page.evaluate(async () => {
    const axe = (window as unknown as { axe: { run: () => Promise<{ violations: Finding[] }> } }).axe;
    return (await axe.run()).violations;
  });
  const grave = findings.filter(({ impact }) => impact === "serious" || impact === "critical");
  const told = grave.map(({ id, nodes }) => `${where}: ${id}: ${nodes[0]?.html} ${nodes[0]?.failureSummary}`);
  expect(told).toEqual([]);
}

/** Nothing sticks out of the screen. */
export async function expectNoSideways(page: Page): Promise<void> {
  expect(await page.evaluate(() => document.documentElement.scrollWidth - innerWidth)).toBeLessThanOrEqual(0);
}

/** `1,234,567` as a number; -1 where there is none yet. */
export function numberOf(text: string): bigint {
  return /^[\d,]+$/.test(text) ? BigInt(text.replaceAll(",", "")) : -1n;
}
