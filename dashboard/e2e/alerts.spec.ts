import type { Page } from "@playwright/test";
import { expect, openPage, test } from "./test";

interface ApiAlert {
  summary: string;
  severity: string;
  state: string;
}

/** The demo's faults raise an alert now and then: this is how long that may take. */
const FAULT_MS = 180_000;

async function firing(page: Page): Promise<ApiAlert[]> {
  const answer = await page.request.get("/api/v1/alerts?state=active");
  expect(answer.ok()).toBe(true);
  return ((await answer.json()) as { alerts: ApiAlert[] }).alerts.filter((alert) => alert.state === "firing");
}

test("a firing alert is in the list with its severity in words, and counted in the header", async ({ page }) => {
  test.setTimeout(FAULT_MS + 30_000);
  await openPage(page);
  const list = page.getByRole("region", { name: "Alerts" });
  await expect(async () => {
    const [alert] = await firing(page);
    expect(alert, "no alert fires yet").toBeDefined();
    const row = list.getByRole("listitem").filter({ hasText: alert?.summary ?? "" });
    await expect(row.first()).toContainText(/Critical|Warning|Info/, { timeout: 2_000 });
    await expect(row.first()).toContainText("since", { timeout: 2_000 });
    await expect(page.getByRole("banner").getByRole("link", { name: /\d+ firing/ })).toBeVisible({ timeout: 2_000 });
  }).toPass({ timeout: FAULT_MS });
});

test("an alert that begins while the page is open is said in the alert region", async ({ page }) => {
  test.setTimeout(FAULT_MS + 30_000);
  await openPage(page);
  await expect(page.getByRole("alert")).toHaveText(/New alert, (info|warning|critical): \S|\d+ new alerts/, {
    timeout: FAULT_MS,
  });
});
