import type { Page } from "@playwright/test";
import { Gateway } from "./gateway";
import { expect, openPage, test as base } from "./test";

const CONFIG = `
[[rule]]
name = "hot"
series = "boiler/temperature"
above = 80
summary = "The boiler is hot"
keep_firing_for = "1h"
stale_after = "2s"

[[rule]]
name = "nervous"
series = "valve/position"
above = 50
summary = "The valve is open"
stale_after = "0s"
flapping = { fires = 2, within = "10m" }
`;

const test = base.extend<{}, { gateway: Gateway }>({
  gateway: [
    async ({}, use) => {
      const gateway = await Gateway.start(CONFIG);
      await use(gateway);
      await gateway.remove();
    },
    { scope: "worker", timeout: 60_000 },
  ],
});

async function push(page: Page, device: string, metric: string, value: number): Promise<void> {
  const answer = await page.request.post("/api/v1/readings", { data: { device, metric, value } });
  expect(answer.ok(), await answer.text()).toBe(true);
}

test("an alert says when it is clear and when it is stale, and what happened to it", async ({ page }) => {
  await push(page, "boiler", "temperature", 20);
  await openPage(page, "/alerts");
  const row = page.getByRole("region", { name: "Alerts" }).getByRole("listitem").filter({ hasText: "The boiler is hot" });
  await push(page, "boiler", "temperature", 91.5);
  await expect(row).toContainText("The boiler is hot");
  await push(page, "boiler", "temperature", 60);
  await expect(row).toContainText(/Condition over since/);
  // Nothing more comes.
  await expect(row).toContainText(/Stale: no reading since/);
  await row.getByText("What happened").click();
  await expect(row.getByRole("listitem")).toHaveText([/Fired: 91\.5/, /Condition over, still firing: 60/, /Marked stale: nothing was received/]);
  // The open list goes on.
  await push(page, "boiler", "temperature", 90);
  await expect(row.getByRole("listitem").last()).toHaveText(/True again: 90/);
  await expect(row).not.toContainText("Condition over since");
});

test("an alert that flaps is shown as one", async ({ page }) => {
  await push(page, "valve", "position", 10);
  await openPage(page, "/alerts");
  const row = page.getByRole("region", { name: "Alerts" }).getByRole("listitem").filter({ hasText: "The valve is open" });
  for (const value of [60, 10, 60, 10, 60]) await push(page, "valve", "position", value);
  await expect(row.filter({ hasText: "Flapping, told once" })).toHaveCount(1);
  await expect(row.first()).toContainText("flapping: fired 2 times in 10 min");
});
