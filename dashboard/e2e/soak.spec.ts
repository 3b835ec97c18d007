import { Gateway } from "./gateway";
import { expect, goTo, openPage, test as base, tiles } from "./test";

/** Weeks are made short: readings come as fast as the gateway takes them, and a person walks about all the time. */
const SOAK_MS = Number(process.env["SOAK_SECONDS"] ?? 15) * 1_000;
const SERIES = 50;

const test = base.extend<object, { gateway: Gateway }>({
  gateway: [
    async ({}, use) => {
      const gateway = await Gateway.start("");
      await use(gateway);
      await gateway.remove();
    },
    { scope: "worker", timeout: 60_000 },
  ],
});

function talk(gateway: Gateway, everyMs: number): () => Promise<void> {
  let talking = true;
  const done = (async () => {
    for (let turn = 0; talking; turn++) {
      const began = Date.now();
      const readings = Array.from({ length: 5 }, (_, device) => ({
        device: `d${device}`,
        values: Object.fromEntries(Array.from({ length: SERIES / 5 }, (_, at) => [`m${at}`, Math.sin(turn / 9 + at) * 10])),
      }));
      await fetch(`${gateway.url}/api/v1/readings`, {
        method: "POST",
        headers: { "content-type": "application/json" },
        body: JSON.stringify(readings),
      }).catch(() => null);
      await new Promise((go) => setTimeout(go, Math.max(0, everyMs - (Date.now() - began))));
    }
  })();
  return () => {
    talking = false;
    return done;
  };
}

test("nothing grows while readings come and a person walks about", async ({ page, gateway }) => {
  test.setTimeout(SOAK_MS * 3 + 120_000);
  const hush = talk(gateway, 20);
  await openPage(page);
  await expect(tiles(page)).toHaveCount(SERIES);
  const cdp = await page.context().newCDPSession(page);
  await cdp.send("Performance.enable");
  const measure = async () => {
    await cdp.send("HeapProfiler.collectGarbage");
    const { metrics } = await cdp.send("Performance.getMetrics");
    const metric = (name: string) => metrics.find((one) => one.name === name)?.value ?? NaN;
    return { nodes: metric("Nodes"), heap: metric("JSHeapUsedSize"), listeners: metric("JSEventListeners") };
  };
  const walk = async () => {
    await tiles(page).first().getByRole("link").click();
    await expect(page.getByRole("img")).toBeVisible();
    for (const title of ["Alerts", "Rules", "Devices", "Status", "Overview"] as const) await goTo(page, title);
    await expect(tiles(page)).toHaveCount(SERIES);
    await page.evaluate(() => scrollTo(0, document.documentElement.scrollHeight));
  };
  // Everything was there once, and rings are full of what they hold.
  for (let round = 0; round < 3; round++) await walk();
  const before = await measure();
  const end = Date.now() + SOAK_MS;
  let rounds = 0;
  for (; Date.now() < end; rounds++) await walk();
  const after = await measure();
  await hush();
  console.log(`${rounds} rounds: nodes ${before.nodes} to ${after.nodes}, listeners ${before.listeners} to ${after.listeners}, heap ${Math.round(before.heap / 1e5) / 10} to ${Math.round(after.heap / 1e5) / 10} MB`);
  expect(after.nodes).toBeLessThan(before.nodes * 1.15 + 300);
  expect(after.listeners).toBeLessThan(before.listeners * 1.15 + 50);
  // Fifty rings of 16 KB may still fill.
  expect(after.heap).toBeLessThan(before.heap * 1.25 + 3_000_000);
});

test("fifty live charts: what they cost the processor", async ({ page, gateway }) => {
  await page.setViewportSize({ width: 1920, height: 2600 });
  const hush = talk(gateway, 250);
  await openPage(page);
  await expect(tiles(page)).toHaveCount(SERIES);
  await expect(page.locator("canvas[data-points]")).toHaveCount(SERIES, { timeout: 30_000 });
  const cdp = await page.context().newCDPSession(page);
  await cdp.send("Performance.enable");
  const busy = async () => {
    const { metrics } = await cdp.send("Performance.getMetrics");
    const metric = (name: string) => metrics.find((one) => one.name === name)?.value ?? NaN;
    return { task: metric("TaskDuration"), at: metric("Timestamp") };
  };
  const drawn = () => page.locator("canvas").evaluateAll((all) => all.reduce((sum, one) => sum + Number((one as HTMLElement).dataset["points"] ?? 0), 0));
  const [before, points] = [await busy(), await drawn()];
  await expect.poll(drawn, { timeout: 30_000, intervals: [1_000] }).toBeGreaterThan(points + SERIES * 20);
  const after = await busy();
  await hush();
  const share = (after.task - before.task) / (after.at - before.at);
  console.log(`${SERIES} live charts at 4 readings/s each: ${(share * 100).toFixed(1)} % of a core on the page's main thread`);
  expect(share).toBeGreaterThan(0);
});
