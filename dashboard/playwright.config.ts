import { defineConfig } from "@playwright/test";

// The specs run against a real gateway: GATEWAY_BIN names the binary, CHROMIUM the browser (Debian's by default).
export default defineConfig({
  testDir: "e2e",
  outputDir: "test-results",
  // One gateway, which some specs kill: one after another.
  workers: 1,
  timeout: 60_000,
  expect: { timeout: 15_000 },
  forbidOnly: true,
  reporter: [["list"]],
  use: {
    // The browser asks a service worker before Playwright: only the spec that is about it lets it in.
    serviceWorkers: "block",
    screenshot: "only-on-failure",
    trace: "retain-on-failure",
    locale: "en-GB",
    launchOptions: {
      executablePath: process.env["CHROMIUM"] ?? "/usr/bin/chromium",
      args: [
        "--no-sandbox",
        "--disable-gpu",
        "--disable-quic",
        "--no-first-run",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
      ],
    },
  },
});
