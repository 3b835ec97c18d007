/** What every spec starts from: a gateway, a door to it, a page that has to keep quiet, and the words to find things by. */
import { test as base, expect, type Locator, type Page } from "@playwright/test";
import { Door, Gateway } from "./gateway";

/** What the browser complained of. Every spec ends with a check that there is nothing. */
export class Complaints {
  readonly list: string[] = [];
  private cutsAreMeant = false;

  /** For specs that break the connection: the browser reports each failed request as an error. */
  allowFailedRequests(): void {
    this.cutsAreMeant = true;
  }

  add(text: string): void {
    if (this.cutsAreMeant && text.startsWith("console: Failed to load resource")) return;
    // It is the specs that read canvases, and let no service worker in.
    if (text.includes("willReadFrequently") || text.includes("blocked by Playwright")) return;
    this.list.push(text);
  }
}

interface TestFixtures {
  door: Door;
  complaints: Complaints;
  quiet: void;
}

export const test = base.extend<TestFixtures, { gateway: Gateway }>({
  gateway: [
    async ({}, use) => Gateway.during(null, use),
    { scope: "worker", timeout: 60_000 },
  ],

  door: async ({ gateway }, use) => {
    const door = await Door.open(gateway.port);
    await use(door);
    await door.close();
  },

  baseURL: async ({ door }, use) => use(door.url),

  complaints: async ({}, use) => use(new Complaints()),

  quiet: [
    async ({ page, door, complaints }, use) => {
      page.on("console", (message) => {
        if (message.type() === "error" || message.type() === "warning") complaints.add(`console: ${message.text()}`);
      });
      page.on("pageerror", (error) => complaints.add(`error: ${error.message}`));
      page.on("request", (request) => {
        if (!request.url().startsWith(`${door.url}/`)) complaints.add(`foreign request: ${request.url()}`);
      });
      await use();
      expect(complaints.list).toEqual([]);
    },
    { auto: true },
  ],
});

export { expect };

export const status = (page: Page): Locator => page.getByRole("status");
export const tiles = (page: Page): Locator => page.getByRole("article");

/** Opens a place of the page and waits until it is live and shows something: tiles on the overview. */
export async function openPage(page: Page, place = "/"): Promise<void> {
  await page.goto(place);
  await expect(status(page)).toHaveText("Live");
  await expect(place.startsWith("/?") || place === "/" ? tiles(page).first() : page.locator("main h2")).toBeVisible();
}

/** Goes to another place as people do, without loading the page anew. */
export async function goTo(page: Page, title: "Overview" | "Alerts" | "Rules" | "Devices" | "Status"): Promise<void> {
  await page.getByRole("navigation", { name: "Places" }).getByRole("link", { name: title, exact: true }).click();
  await expect(page.locator("main h2")).toBeFocused();
}

/** Pushes readings, as a device does. */
export async function push(page: Page, readings: object | object[]): Promise<void> {
  const answer = await page.request.post("/api/v1/readings", { data: readings });
  expect(answer.ok(), await answer.text()).toBe(true);
}

export interface ApiSeries {
  id: string;
  device: string;
  metric: string;
  kind: "number" | "bool" | "text" | null;
  t: number | null;
}

export async function apiSeries(page: Page): Promise<ApiSeries[]> {
  const answer = await page.request.get("/api/v1/series");
  expect(answer.ok()).toBe(true);
  return ((await answer.json()) as { series: ApiSeries[] }).series;
}

/** The first tile that shows a number with a chart: the one with the most frequent readings in view. */
export async function numberTile(page: Page): Promise<Locator> {
  const tile = tiles(page)
    .filter({ has: page.getByRole("img") })
    .filter({ has: page.locator("data .unit") })
    .first();
  await tile.scrollIntoViewIfNeeded();
  await expect(tile.getByRole("img")).toBeVisible();
  return tile;
}

/** The value of a tile as the gateway sent it. */
export const valueOf = async (tile: Locator): Promise<string | null> => tile.locator("data").getAttribute("value");

/** Marks this document: the mark is gone after a reload. */
export async function mark(page: Page): Promise<void> {
  await page.evaluate(() => Object.assign(window, { marked: true }));
}

export async function expectNoReload(page: Page): Promise<void> {
  expect(await page.evaluate(() => "marked" in window)).toBe(true);
}

/** The chart holds what the gateway holds: every point once. */
export async function expectNoDuplicates(page: Page, tile: Locator): Promise<void> {
  const series = await tile.getAttribute("data-series");
  const [device, metric] = (series ?? "").split(/\/(?=[^/]*$)/);
  const path = `/api/v1/series/${encodeURIComponent(device ?? "")}/${encodeURIComponent(metric ?? "")}/points`;
  await expect(async () => {
    const drawn = Number(await tile.getByRole("img").getAttribute("data-points"));
    const answer = await page.request.get(`${path}?from=${Date.now() - 5 * 60_000}&points=5000`);
    const { t } = (await answer.json()) as { t: number[] };
    expect(new Set(t).size).toBe(t.length);
    expect(drawn).toBeGreaterThan(0);
    // The answer is newer than what was drawn, and the window slid a little.
    expect(drawn).toBeLessThanOrEqual(t.length + 5);
    // What does not fit the page's columns is drawn in buckets.
    if (t.length <= 1_000) expect(drawn).toBeGreaterThanOrEqual(t.length - 20);
  }).toPass();
}

/** How many pixels of a chart's canvas carry ink. */
export async function ink(chart: Locator): Promise<number> {
  return chart.evaluate((element) => {
    const canvas = element instanceof HTMLCanvasElement ? element : element.querySelector("canvas");
    if (canvas === null) return 0;
    const context = canvas.getContext("2d");
    if (context === null) return 0;
    const { data } = context.getImageData(0, 0, canvas.width, canvas.height);
    let count = 0;
    for (let at = 3; at < data.length; at += 4) if ((data[at] ?? 0) > 0) count++;
    return count;
  });
}
