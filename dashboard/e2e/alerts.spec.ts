import type { Page } from "@playwright/test";
import { expect, openPage, push, test } from "./test";

/** Pushes a reading of a device of the spec's own. The demo's rule for stuffy air fires above 1200 and clears below 1000. */
const pushCo2 = (page: Page, device: string, value: number): Promise<void> => push(page, { device, metric: "co2", value });

test("a firing alert is in the list with its severity in words, and counted in the header", async ({ page }) => {
  // Before the page is opened: it comes with the snapshot.
  await pushCo2(page, "office", 1850);
  await openPage(page);
  await expect(page.getByRole("article", { name: "office CO₂" })).toContainText("Open the vents");
  await page.getByRole("banner").getByRole("link", { name: /\d+ firing/ }).click();
  const list = page.getByRole("region", { name: "Alerts" });
  const row = list.getByRole("listitem").filter({ hasText: "office" });
  await expect(row).toContainText("Warning");
  await expect(row).toContainText("Open the vents");
  await expect(row).toContainText(/1,850\sppm/);
  await expect(row).toContainText("since");

  await pushCo2(page, "office", 600);
  await expect(row.filter({ visible: true })).toHaveCount(0);
  await list.getByText(/\d+ resolved recently/).click();
  await expect(row).toContainText("resolved");
});

test("an alert that begins while the page is open is said in the alert region", async ({ page }) => {
  await openPage(page);
  await expect(page.getByRole("alert")).toHaveText("");
  await pushCo2(page, "workshop", 1900);
  // One of the demo's own may begin at the same moment.
  await expect(page.getByRole("alert")).toHaveText(/New alert, warning: .*Open the vents|\d+ new alerts/);
  await pushCo2(page, "workshop", 600);
});
