import { gunzipSync } from "node:zlib";
import type { Page } from "@playwright/test";
import { expect, openPage, push, test as base } from "./test";
import { Gateway } from "./gateway";
import { type Answer, Receiver } from "./receiver";

/** An InfluxDB 3 that refuses points with a text, in its words, until it is told to take them. */
class Influx extends Receiver {
  readonly lines: string[] = [];
  refuses = true;

  protected hear(path: string, body: Buffer): Answer {
    if (!path.startsWith("/api/v2/write")) return { status: 404, words: "{}" };
    const lines = gunzipSync(body).toString().trimEnd().split("\n");
    const bad = (line: string) => this.refuses && line.includes('"');
    this.lines.push(...lines.filter((line) => !bad(line)));
    const data = lines.flatMap((line, at) =>
      bad(line) ? [{ line_number: at + 1, original_line: line, error_message: "invalid column type for column 'level'" }] : [],
    );
    if (data.length === 0) return { status: 204 };
    return { status: 400, words: JSON.stringify({ error: "partial write of line protocol occurred", data }) };
  }
}

const test = base.extend<{}, { influx: Influx }>({
  influx: [
    async ({}, use) => new Influx().during(use),
    { scope: "worker" },
  ],
  gateway: [
    async ({ influx }, use) => Gateway.during(`[influxdb]\nurl = "${influx.url}"\nbucket = "b"\nlinger = "0s"\n`, use),
    { scope: "worker", timeout: 60_000 },
  ],
});

const say = (page: Page, device: string, level: number | string): Promise<void> => push(page, { device, metric: "level", value: level });

test("points that InfluxDB refused are listed, sent again and discarded with the keyboard", async ({ page, influx }) => {
  await say(page, "tank", 1);
  for (const device of ["north", "south", "east", "west"]) await say(page, device, "high");
  await openPage(page, "/status");
  const letters = page.getByRole("region", { name: /refused by InfluxDB$/ }).first();
  const heading = letters.getByRole("heading");
  await heading.scrollIntoViewIfNeeded();
  await expect(heading).toHaveText("4 points refused by InfluxDB");
  const row = letters.getByRole("row").filter({ hasText: "north/level" });
  await expect(row).toContainText("from push");
  await expect(row).toContainText("invalid column type for column 'level'");
  await expect(row).toContainText('level="high"');

  // On a phone the table scrolls, and not the page.
  const size = page.viewportSize();
  await page.setViewportSize({ width: 360, height: 740 });
  expect(await page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth)).toBe(0);
  if (size !== null) await page.setViewportSize(size);

  // Refused again: it stays.
  await row.getByRole("button", { name: "Send again: north/level" }).focus();
  await page.keyboard.press("Enter");
  await expect(row).toContainText("2 times");
  await expect(heading).toBeFocused();

  influx.refuses = false;
  await row.getByRole("button", { name: "Send again: north/level" }).focus();
  await page.keyboard.press("Space");
  await expect(heading).toHaveText("3 points refused by InfluxDB");
  await expect(row).toHaveCount(0);
  expect(influx.lines.filter((line) => line.includes("device=north"))).toHaveLength(1);

  await letters.getByRole("button", { name: "Discard: south/level" }).focus();
  await page.keyboard.press("Enter");
  await expect(heading).toHaveText("2 points refused by InfluxDB");
  await expect(heading).toBeFocused();

  // All of them: discarding asks first.
  await letters.getByRole("button", { name: "Discard all…" }).click();
  await letters.getByRole("button", { name: "Keep them" }).click();
  await expect(heading).toHaveText("2 points refused by InfluxDB");
  await letters.getByRole("button", { name: "Send all again" }).click();
  await expect(letters).toHaveCount(0);
  expect(influx.lines.filter((line) => line.includes("device=south"))).toHaveLength(0);
  expect(influx.lines.filter((line) => /device=(east|west)/.test(line))).toHaveLength(2);

  influx.refuses = true;
  for (const device of ["up", "down"]) await say(page, device, "high");
  await expect(heading).toHaveText("2 points refused by InfluxDB");
  await letters.getByRole("button", { name: "Discard all…" }).click();
  await letters.getByRole("button", { name: "Discard all 2 for good" }).click();
  await expect(letters).toHaveCount(0);
  await expect(page.locator("[role=status], [role=alert], [role=log], [aria-live], output")).toHaveCount(2);
});
