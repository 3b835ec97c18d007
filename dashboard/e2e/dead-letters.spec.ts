import { once } from "node:events";
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { gunzipSync } from "node:zlib";
import type { Page } from "@playwright/test";
import { expect, openPage, test as base } from "./test";
import { Gateway } from "./gateway";

/** An InfluxDB 3 that refuses points with a text, in its words, until it is told to take them. */
class Influx {
  readonly lines: string[] = [];
  refuses = true;

  private constructor(private readonly server: Server) {}

  static async start(): Promise<Influx> {
    const server = createServer();
    const influx = new Influx(server);
    server.on("request", (request, answer) => {
      const parts: Buffer[] = [];
      request.on("data", (part: Buffer) => parts.push(part));
      request.on("end", () => {
        if (!request.url?.startsWith("/api/v2/write")) return answer.writeHead(404).end("{}");
        const lines = gunzipSync(Buffer.concat(parts)).toString().trimEnd().split("\n");
        const bad = (line: string) => influx.refuses && line.includes('"');
        influx.lines.push(...lines.filter((line) => !bad(line)));
        const data = lines.flatMap((line, at) =>
          bad(line) ? [{ line_number: at + 1, original_line: line, error_message: "invalid column type for column 'level'" }] : [],
        );
        if (data.length === 0) return answer.writeHead(204).end();
        return answer.writeHead(400).end(JSON.stringify({ error: "partial write of line protocol occurred", data }));
      });
    });
    server.listen(0, "127.0.0.1");
    await once(server, "listening");
    return influx;
  }

  get url(): string {
    return `http://127.0.0.1:${(this.server.address() as AddressInfo).port}`;
  }

  async stop(): Promise<void> {
    this.server.closeAllConnections();
    this.server.close();
    await once(this.server, "close");
  }
}

const test = base.extend<{}, { influx: Influx }>({
  influx: [
    async ({}, use) => {
      const influx = await Influx.start();
      await use(influx);
      await influx.stop();
    },
    { scope: "worker" },
  ],
  gateway: [
    async ({ influx }, use) => {
      const gateway = await Gateway.start(`[influxdb]\nurl = "${influx.url}"\nbucket = "b"\nlinger = "0s"\n`);
      await use(gateway);
      await gateway.remove();
    },
    { scope: "worker", timeout: 60_000 },
  ],
});

async function push(page: Page, device: string, level: number | string): Promise<void> {
  const answer = await page.request.post("/api/v1/readings", { data: { device, metric: "level", value: level } });
  expect(answer.ok(), await answer.text()).toBe(true);
}

test("points that InfluxDB refused are listed, sent again and discarded with the keyboard", async ({ page, influx }) => {
  await push(page, "tank", 1);
  for (const device of ["north", "south", "east", "west"]) await push(page, device, "high");
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
  for (const device of ["up", "down"]) await push(page, device, "high");
  await expect(heading).toHaveText("2 points refused by InfluxDB");
  await letters.getByRole("button", { name: "Discard all…" }).click();
  await letters.getByRole("button", { name: "Discard all 2 for good" }).click();
  await expect(letters).toHaveCount(0);
  await expect(page.locator("[role=status], [role=alert], [role=log], [aria-live], output")).toHaveCount(2);
});
