import type { Page } from "@playwright/test";
import { Gateway } from "./gateway";
import { expect, openPage, push, test as base } from "./test";

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
    async ({}, use) => Gateway.during(CONFIG, use),
    { scope: "worker", timeout: 60_000 },
  ],
});

const say = (page: Page, device: string, metric: string, value: number): Promise<void> => push(page, { device, metric, value });

test("an alert says when it is clear and when it is stale, and what happened to it", async ({ page }) => {
  await say(page, "boiler", "temperature", 20);
  await openPage(page, "/alerts");
  const row = page.getByRole("region", { name: "Alerts" }).getByRole("listitem").filter({ hasText: "The boiler is hot" });
  await say(page, "boiler", "temperature", 91.5);
  await expect(row).toContainText("The boiler is hot");
  await say(page, "boiler", "temperature", 60);
  await expect(row).toContainText(/Condition over since/);
  // Nothing more comes.
  await expect(row).toContainText(/Stale: no reading since/);
  await row.getByText("What happened").click();
  await expect(row.getByRole("listitem")).toHaveText([/Fired: 91\.5/, /Condition over, still firing: 60/, /Marked stale: nothing was received/]);
  // The open list goes on.
  await say(page, "boiler", "temperature", 90);
  await expect(row.getByRole("listitem").last()).toHaveText(/True again: 90/);
  await expect(row).not.toContainText("Condition over since");
});

test("an alert that flaps is shown as one", async ({ page }) => {
  await say(page, "valve", "position", 10);
  await openPage(page, "/alerts");
  const row = page.getByRole("region", { name: "Alerts" }).getByRole("listitem").filter({ hasText: "The valve is open" });
  for (const value of [60, 10, 60, 10, 60]) await say(page, "valve", "position", value);
  await expect(row.filter({ hasText: "Flapping, told once" })).toHaveCount(1);
  await expect(row.first()).toContainText("flapping: fired 2 times in 10 min");
});
