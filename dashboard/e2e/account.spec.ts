import type { Locator, Page } from "@playwright/test";
import { expect, openPage, test } from "./test";

/** One good reading and one of no known shape. */
const PUSHED = [{ device: "spec", metric: "count", value: 1 }, { device: "spec", metric: "count" }];

function openAccount(page: Page): Locator {
  return page.getByRole("region", { name: "Readings since the gateway started" });
}

test("the account says for each source where everything is, in words, on a phone too", async ({ page }) => {
  await page.setViewportSize({ width: 360, height: 740 });
  await page.request.post("/api/v1/readings", { data: PUSHED });
  await openPage(page, "/status");
  const account = openAccount(page);
  const push = account.getByRole("listitem", { name: "push" });
  await expect(push).toContainText("All accounted for");
  await expect(push).toContainText(/Rejected\s*1/);
  await expect(push).toContainText(/History on disk: archived/);
  const overflow = await page.evaluate(() => document.documentElement.scrollWidth - window.innerWidth);
  expect(overflow).toBeLessThanOrEqual(0);
});

test("an account that does not balance says so", async ({ page, door }) => {
  await page.route(`${door.url}/api/v1/status`, async (route) => {
    const answer = await route.fetch();
    const status = (await answer.json()) as { account: { source: string; difference: number }[] };
    for (const row of status.account) if (row.source === "push") row.difference = 12;
    await route.fulfill({ response: answer, json: status });
  });
  await openPage(page, "/status");
  const account = openAccount(page);
  const push = account.getByRole("listitem", { name: "push" });
  await expect(push).toContainText("12 missing before the disk: lost without being counted");
  await expect(push).not.toContainText("All accounted for");
});

test("what is written to disk is among the facts", async ({ page }) => {
  await openPage(page, "/status");
  openAccount(page);
  const section = page.getByRole("region", { name: "Sources and status" });
  await expect(section).toContainText(/[\d.,]+ [kMG]?B (a day are written|written) to disk/);
});
