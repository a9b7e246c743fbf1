// The pages in Debian's Chromium, against a real server that each file starts for itself.

import { defineConfig } from "@playwright/test";

const browser = process.env.CHROMIUM;
if (browser === undefined) throw new Error("CHROMIUM names the browser; scripts/test-dashboard sets it");

export default defineConfig({
  testDir: "test",
  outputDir: "test-results",
  workers: 1,
  timeout: 120_000,
  expect: { timeout: 20_000 },
  reporter: "list",
  forbidOnly: true,
  use: {
    launchOptions: { executablePath: browser },
    viewport: { width: 1280, height: 860 },
    timezoneId: "America/St_Johns", // pages say UTC wherever the reader is
    locale: "de-DE",
  },
  projects: [
    { name: "tests", testMatch: "*.spec.ts" },
    { name: "screenshots", testMatch: "screenshots.ts" },
  ],
});
