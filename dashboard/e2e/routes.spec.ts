import type { Page } from "@playwright/test";
import { expect, openPage, push, test as base } from "./test";
import { Gateway } from "./gateway";

const CONFIG = `
[[rule]]
name = "hot"
series = "*/temperature"
above = 80
[[rule]]
name = "line down"
series = "*/down"
above = 0
[[webhook]]
name = "ops"
url = "http://127.0.0.1:1/"
[[route]]
name = "all"
webhooks = ["ops"]
group_wait = "0s"
group_interval = "0s"
escalate = [{ after = "10m", webhooks = ["ops"] }]
[[inhibit]]
source = [{ name = "rule", value = "line down" }]
target = [{ name = "rule", value = "hot" }]
equal = ["device"]
`;

const test = base.extend<{}, { gateway: Gateway }>({
  gateway: [
    async ({}, use) => Gateway.during(CONFIG, use),
    { scope: "worker", timeout: 60_000 },
  ],
});

const say = (page: Page, device: string, metric: string, value: number): Promise<void> => push(page, { device, metric, value });

test("an alert shows when it goes one step on, and which other one keeps it quiet", async ({ page }) => {
  await say(page, "oven", "temperature", 20);
  await openPage(page, "/alerts");
  const alert = page
    .getByRole("region", { name: "Alerts" })
    .getByRole("listitem")
    .filter({ hasText: /rule hot/ });
  await say(page, "oven", "temperature", 90);
  await expect(alert).toContainText(/Goes to the next webhook at .* unless acknowledged/);

  await say(page, "oven", "down", 1);
  await expect(alert).toContainText("Nobody is told while line down on oven/down fires");
  await expect(alert).not.toContainText("Goes to the next webhook");

  await say(page, "oven", "down", 0);
  await expect(alert).toContainText("Goes to the next webhook");
  await expect(alert).not.toContainText("Nobody is told");
  await alert.getByRole("button", { name: /^Acknowledge/ }).click();
  const dialog = page.getByRole("dialog");
  await dialog.getByLabel("Your name").fill("Ada");
  await dialog.getByRole("button", { name: "Acknowledge" }).click();
  await expect(alert).toContainText("Acknowledged by Ada");
  await expect(alert).not.toContainText("Goes to the next webhook");
});
