import { readFile } from "node:fs/promises";
import type { Locator, Page } from "@playwright/test";
import { Gateway } from "./gateway";
import { expect, ink, openPage, test as base } from "./test";

const CONFIG = `
[[rule]]
name = "press too high"
series = "press/pressure"
above = 8
clear = 6
severity = "critical"
`;

const test = base.extend<object, { gateway: Gateway }>({
  gateway: [
    async ({}, use) => {
      const gateway = await Gateway.start(CONFIG);
      await use(gateway);
      await gateway.remove();
    },
    { scope: "worker", timeout: 60_000 },
  ],
});

const MINUTE = 60_000;

/** Forty minutes of readings, one every ten seconds, with a hole of ten minutes and one hot stretch. */
async function pushHistory(page: Page, now: number): Promise<void> {
  const readings = [];
  for (let age = 40 * MINUTE; age > 0; age -= 10_000) {
    if (age < 25 * MINUTE && age > 15 * MINUTE) continue;
    const hot = age < 35 * MINUTE && age > 32 * MINUTE;
    const time = now - age;
    readings.push({ device: "press", metric: "pressure", value: hot ? 9 : 2 + Math.sin(age / 100_000), unit: "bar", time });
    readings.push({ device: "press", metric: "temperature", value: 20 + age / MINUTE / 10, unit: "Cel", time });
    readings.push({ device: "mill", metric: "pressure", value: 4, unit: "bar", time });
  }
  const answer = await page.request.post("/api/v1/readings", { data: readings });
  expect(answer.ok(), await answer.text()).toBe(true);
}

const plot = (page: Page): Locator => page.getByRole("img", { name: /^press pressure/ });
const range = (page: Page): Locator => page.getByRole("group", { name: "Range of press pressure" });
const points = async (page: Page): Promise<number> => Number(await plot(page).getAttribute("data-points"));

test("a series is shown large, zoomed by dragging, buttons and keys, and comes back to live", async ({ page }) => {
  await pushHistory(page, Date.now());
  await openPage(page);
  await page.getByRole("article", { name: "press pressure" }).getByRole("link", { name: "Pressure" }).click();
  await expect(page).toHaveURL(/\/series\/press\/pressure$/);
  await expect(plot(page)).toHaveAccessibleName("press pressure, last 5 minutes");

  await range(page).getByRole("button", { name: "1 h" }).click();
  await expect(plot(page)).toHaveAccessibleName("press pressure, last hour");
  await expect.poll(() => points(page)).toBeGreaterThan(150);
  const all = await points(page);
  await expect.poll(() => ink(plot(page))).toBeGreaterThan(2_000);
  await expect(page.locator("figcaption")).toHaveText(/1\.00 to 9\.00\sbar/);

  const box = await plot(page).boundingBox();
  if (box === null) throw new Error("no box");
  const drag = async (from: number, to: number) => {
    await page.mouse.move(box.x + box.width * from, box.y + box.height / 2);
    await page.mouse.down();
    await page.mouse.move(box.x + box.width * to, box.y + box.height / 2, { steps: 5 });
    await page.mouse.up();
  };
  await drag(0.3, 0.6);
  await expect(page).toHaveURL(/span=\d+&to=\d+/);
  await expect.poll(() => points(page)).toBeLessThan(all);
  const zoomed = new URL(page.url()).searchParams;
  expect(Number(zoomed.get("span"))).toBeGreaterThan(10 * MINUTE);
  expect(Number(zoomed.get("span"))).toBeLessThan(30 * MINUTE);

  // The same by the keyboard alone.
  await plot(page).focus();
  await page.keyboard.press("-");
  await expect.poll(() => Number(new URL(page.url()).searchParams.get("span"))).toBeGreaterThan(Number(zoomed.get("span")) * 1.9);
  await page.keyboard.press("+");
  await page.keyboard.press("ArrowLeft");
  await expect.poll(() => Number(new URL(page.url()).searchParams.get("to"))).toBeLessThan(Number(zoomed.get("to")));
  const address = page.url();
  await page.reload();
  await expect(page, "the address is what is shown").toHaveURL(address);
  await expect.poll(() => points(page)).toBeGreaterThan(0);
  await page.getByRole("group", { name: "Move the chart" }).getByRole("button", { name: "Live" }).click();
  await expect(page).not.toHaveURL(/to=/);
  await plot(page).focus();
  await page.keyboard.press("Home");
  await expect(plot(page)).toHaveAccessibleName("press pressure, last 5 minutes");
});

test("a year is down-sampled by the gateway to the width of the chart", async ({ page }) => {
  await pushHistory(page, Date.now());
  await openPage(page, "/series/press/pressure");
  const asked = page.waitForRequest((request) => {
    const url = new URL(request.url());
    return url.pathname.endsWith("/points") && Date.now() - Number(url.searchParams.get("from")) > 364 * 24 * 60 * MINUTE;
  });
  await range(page).getByRole("button", { name: "1 y" }).click();
  const request = await asked;
  const width = (await plot(page).boundingBox())?.width ?? 0;
  expect(Number(new URL(request.url()).searchParams.get("points"))).toBeLessThanOrEqual(Math.round(width) + 1);
  expect((await request.response())?.status()).toBe(200);
});

test("gaps are gaps, limits are lines, alerts are marks, and all of it is said in words", async ({ page }) => {
  await pushHistory(page, Date.now());
  await openPage(page, `/series/press/pressure?span=${60 * MINUTE}`);
  await expect.poll(() => points(page)).toBeGreaterThan(150);
  await expect(plot(page)).toHaveAttribute("data-limits", "2");
  await expect.poll(() => plot(page).getAttribute("data-marks")).toBe("1");
  await expect(page.getByRole("region", { name: "Limits" })).toContainText(/press too high fires above 8\sbar/);
  await expect(page.getByRole("region", { name: "Alerts in this range" })).toContainText(/for 2 min: press\/pressure is 9 bar/);

  // Ten minutes without a reading: between its edges the line carries no ink.
  const inked = (from: number, to: number) =>
    plot(page).evaluate(
      (element, [first, last]) => {
        const canvas = element.querySelector("canvas") as HTMLCanvasElement;
        const context = canvas.getContext("2d") as CanvasRenderingContext2D;
        const colour = getComputedStyle(document.documentElement).getPropertyValue("--chart-line").trim();
        const [red = 0, green = 0, blue = 0] = [1, 3, 5].map((at) => parseInt(colour.slice(at, at + 2), 16));
        const over = element.querySelector(".u-over") as HTMLElement;
        const ratio = canvas.width / element.clientWidth;
        const left = (over.offsetLeft + over.offsetWidth * (first ?? 0)) * ratio;
        const width = over.offsetWidth * ((last ?? 0) - (first ?? 0)) * ratio;
        const { data } = context.getImageData(left, 0, width, over.offsetHeight * ratio);
        let count = 0;
        for (let at = 0; at < data.length; at += 4) {
          if (Math.abs((data[at] ?? 0) - red) + Math.abs((data[at + 1] ?? 0) - green) + Math.abs((data[at + 2] ?? 0) - blue) < 30) count++;
        }
        return count;
      },
      [from, to],
    );
  // Of the last hour the hole is from 35 to 45 minutes after its beginning.
  await expect.poll(() => inked(0.62, 0.72)).toBe(0);
  expect(await inked(0.4, 0.55)).toBeGreaterThan(20);
  expect(await inked(0.8, 0.95)).toBeGreaterThan(20);
  await test.info().attach("series", { body: await page.screenshot({ fullPage: true }), contentType: "image/png" });
});

test("others are compared on the same axis or their own, and the address says so", async ({ page }) => {
  await pushHistory(page, Date.now());
  await openPage(page, `/series/press/pressure?span=${60 * MINUTE}`);
  const compare = page.getByLabel("Compare with");
  await compare.fill("mill/pressure");
  await compare.fill("press/temperature");
  await expect(page).toHaveURL(/with=mill%2Fpressure&with=press%2Ftemperature&right=press%2Ftemperature/);
  await expect(page.getByRole("img", { name: /^press pressure, mill pressure, press temperature, last hour/ })).toBeVisible();
  await expect(page.locator("figcaption")).toHaveText(/press pressure: .*mill pressure: 4 to 4\sbar.*press temperature: /);
  await expect(page.getByRole("button", { name: "Own axis for press temperature" })).toHaveAttribute("aria-pressed", "true");
  await expect(page.getByRole("button", { name: "Own axis for mill pressure" })).toHaveAttribute("aria-pressed", "false");
  await page.reload();
  await expect(page.locator(".u-axis")).toHaveCount(3);
  await test.info().attach("compare", { body: await page.screenshot({ fullPage: true }), contentType: "image/png" });
  await page.getByRole("button", { name: "Own axis for press temperature" }).click();
  await expect(page.locator(".u-axis")).toHaveCount(2);
  await page.getByRole("button", { name: "Remove mill pressure" }).click();
  await expect(page).not.toHaveURL(/mill/);
});

test("what is shown is saved as CSV and as a picture, in UTC when asked for", async ({ page }) => {
  const now = Date.now();
  await pushHistory(page, now);
  await openPage(page, `/series/press/pressure?span=${10 * MINUTE}&to=${now - 30 * MINUTE}`);
  await expect.poll(() => points(page)).toBeGreaterThan(55);
  const shown = await points(page);
  const saved = page.waitForEvent("download");
  await page.getByRole("button", { name: "Save as CSV" }).click();
  const csv = await saved;
  expect(csv.suggestedFilename()).toMatch(/^press-pressure_.*\.csv$/);
  const lines = (await readFile(await csv.path(), "utf8")).trim().split("\r\n");
  expect(lines[0]).toBe("time,series,unit,value,min,max");
  expect(lines.length - 1).toBeGreaterThanOrEqual(shown - 2);
  for (const line of lines.slice(1)) expect(line).toMatch(/^\d{4}-\d\d-\d\dT[\d:.]+Z,press\/pressure,bar,[\d.]+,,$/);
  await page.getByRole("button", { name: "Times in UTC" }).click();
  await expect(plot(page)).toHaveAccessibleName(/UTC to .* UTC$/);
  const drawn = page.waitForEvent("download");
  await page.getByRole("button", { name: "Save as picture" }).click();
  const picture = await readFile(await (await drawn).path());
  expect(picture.subarray(1, 4).toString()).toBe("PNG");
  await test.info().attach("export", { body: picture, contentType: "image/png" });
});
