import { Gateway } from "./gateway";
import { expect, openPage, test as base, tiles } from "./test";

const CONFIG = `
[[rule]]
name = "hot"
series = "hall-7/temperature"
above = 80
[[device]]
id = "hall-7"
name = "Hall seven"
site = "north"
`;
const DEVICES = 100;
const METRICS = 10;

const test = base.extend<object, { gateway: Gateway }>({
  gateway: [
    async ({}, use) => {
      const gateway = await Gateway.start(CONFIG);
      await push(gateway, 0);
      await use(gateway);
      await gateway.remove();
    },
    { scope: "worker", timeout: 60_000 },
  ],
});

/** A reading of each of a thousand series. */
async function push(gateway: Gateway, turn: number): Promise<void> {
  const readings = Array.from({ length: DEVICES }, (_, device) => ({
    device: `hall-${device}`,
    values: Object.fromEntries([["temperature", 20 + ((device + turn) % 7)], ...Array.from({ length: METRICS - 1 }, (_, at) => [`metric_${at}`, at + turn])]),
  }));
  const answer = await fetch(`${gateway.url}/api/v1/readings`, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify(readings),
  });
  expect(answer.status, await answer.text()).toBe(200);
}

test("a thousand series are shown, and go on while they are scrolled through", async ({ page, gateway }) => {
  await openPage(page);
  await expect(tiles(page)).toHaveCount(DEVICES * METRICS);
  let talking = true;
  const talk = (async () => {
    for (let turn = 1; talking; turn++) {
      await push(gateway, turn);
      await page.waitForTimeout(500);
    }
  })();
  // From the top to the end in sixty steps of a frame each, as a person with a wheel.
  const frames = await page.evaluate(
    () =>
      new Promise<number[]>((done) => {
        const times: number[] = [];
        let last = performance.now();
        const step = (now: number) => {
          times.push(now - last);
          last = now;
          scrollBy(0, document.documentElement.scrollHeight / 60);
          if (times.length < 90) requestAnimationFrame(step);
          else done(times.sort((a, b) => a - b));
        };
        requestAnimationFrame(step);
      }),
  );
  talking = false;
  await talk;
  const at = (part: number) => Math.round(frames[Math.floor(frames.length * part)] ?? 0);
  test.info().annotations.push({ type: "frames", description: `median ${at(0.5)} ms, 95 % ${at(0.95)} ms, longest ${at(0.999)} ms` });
  console.log(`1,000 series scrolled: frame median ${at(0.5)} ms, 95 % ${at(0.95)} ms, longest ${at(0.999)} ms`);
  const last = tiles(page).last();
  await last.scrollIntoViewIfNeeded();
  await expect.poll(() => last.locator("canvas").getAttribute("data-points")).not.toBe(null);
  // What is out of view holds no pixels.
  const held = await page.evaluate(() => [...document.querySelectorAll("canvas")].filter(({ width }) => width > 0).length);
  expect(held).toBeLessThan(200);
});

test("search, state, site and order find a series, and the address says what was looked for", async ({ page, gateway }) => {
  await openPage(page);
  await page.getByRole("searchbox", { name: "Search devices and metrics" }).fill("seven temp");
  await expect(tiles(page)).toHaveCount(1);
  await expect(page.getByRole("heading", { name: /1 of 1000 series/ })).toBeVisible();
  await expect(page).toHaveURL(/search=seven/);
  await page.reload();
  await expect(tiles(page)).toHaveCount(1);
  await expect(tiles(page)).toHaveAccessibleName("Hall seven temperature");
  await page.getByRole("searchbox").fill("");
  await page.getByLabel("Site", { exact: true }).selectOption("north");
  await expect(tiles(page)).toHaveCount(METRICS);
  await page.getByLabel("Site", { exact: true }).selectOption("All sites");

  const hot = await fetch(`${gateway.url}/api/v1/readings`, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({ device: "hall-7", metric: "temperature", value: 95 }),
  });
  expect(hot.status).toBe(200);
  await page.getByLabel("State", { exact: true }).selectOption("With an alert");
  await expect(tiles(page)).toHaveCount(1);
  await expect(tiles(page).first()).toContainText("above 80");
  await page.getByLabel("State", { exact: true }).selectOption("Any state");
  await page.getByLabel("Order", { exact: true }).selectOption("Alerts first");
  await expect(tiles(page).first()).toHaveAccessibleName("Hall seven temperature");
  await expect(tiles(page).first().getByRole("heading")).toHaveText("Hall seven · Temperature");
});

test("favourites are marked by keyboard, kept in the browser, and shown alone", async ({ page, context }) => {
  await openPage(page, "/?search=hall-42");
  const star = page.getByRole("button", { name: "Favourite: hall-42 temperature" });
  await star.focus();
  await page.keyboard.press("Space");
  await expect(star).toHaveAttribute("aria-pressed", "true");
  const other = await context.newPage();
  await openPage(other, "/?favourites=1");
  await expect(tiles(other)).toHaveCount(1);
  await star.click();
  await expect(other.getByText("No series that is looked for is marked")).toBeVisible();
  await other.close();
});
