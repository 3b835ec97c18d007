import type { Page } from "@playwright/test";
import { Gateway } from "./gateway";
import { expect, expectNoDuplicates, expectNoReload, goTo, mark, numberTile, openPage, status, test as base, valueOf } from "./test";

const CONFIG = `
[[rule]]
name = "hot"
series = "boiler/temperature"
above = 80
clear = 70
`;

const test = base.extend<object, { gateway: Gateway }>({
  gateway: [
    async ({}, use) => Gateway.during(CONFIG, use),
    { scope: "worker", timeout: 60_000 },
  ],
});

async function push(gateway: Gateway, value: number): Promise<void> {
  const answer = await fetch(`${gateway.url}/api/v1/readings`, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({ device: "boiler", metric: "temperature", value, unit: "Cel" }),
  });
  expect(answer.status).toBe(200);
}

/** How each stream of the page began. */
async function recordGreetings(page: Page): Promise<() => Promise<string[]>> {
  await page.addInitScript(() => {
    const greetings: string[] = [];
    Object.assign(window, { greetings });
    window.EventSource = class extends EventSource {
      constructor(url: string | URL) {
        super(url);
        for (const name of ["snapshot", "resume"]) this.addEventListener(name, () => greetings.push(name));
      }
    };
  });
  return () => page.evaluate(() => (window as unknown as { greetings: string[] }).greetings);
}

test("a page goes on over kills of the gateway with what changed while it was away", async ({
  page,
  gateway,
  door,
  complaints,
}) => {
  complaints.allowFailedRequests();
  const greetings = await recordGreetings(page);
  for (const value of [20, 21, 22, 90]) await push(gateway, value);
  await openPage(page);
  await mark(page);
  const alerts = page.getByRole("region", { name: "Alerts" });
  const tile = await numberTile(page);
  await expect(page.getByRole("banner").getByRole("link", { name: "1 firing" })).toBeVisible();
  await expect.poll(() => valueOf(tile)).toBe("90");

  door.refuse();
  await expect(status(page)).toHaveText("Down");
  await gateway.kill();
  await gateway.run();
  for (const value of [60, 61]) await push(gateway, value);
  await gateway.kill();
  await gateway.run();
  for (const value of [62, 63]) await push(gateway, value);
  door.admitAll();

  await expect(status(page)).toHaveText("Live", { timeout: 20_000 });
  await expect.poll(() => valueOf(tile)).toBe("63");
  await expect(page.getByRole("banner").getByRole("link", { name: /firing/ })).toHaveCount(0);
  await expect(tile.getByRole("img")).toHaveAttribute("data-points", "8");
  await expectNoDuplicates(page, tile);
  expect(await greetings()).toEqual(["snapshot", "resume"]);
  await expectNoReload(page);

  await goTo(page, "Alerts");
  await expect(alerts.getByText("1 resolved recently")).toBeVisible();

  // Who opens the page now hears of what ended before.
  await page.reload();
  await expect(alerts.getByText("1 resolved recently")).toBeVisible();
});
