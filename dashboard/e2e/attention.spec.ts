import type { Locator, Page } from "@playwright/test";
import { expect, openPage, push, test } from "./test";

/** Pushes a reading of a device of the spec's own. The demo's rule for stuffy air fires above 1200 and clears below 1000. */
const pushCo2 = (page: Page, device: string, value: number): Promise<void> => push(page, { device, metric: "co2", value });

const alerts = (page: Page): Locator => page.getByRole("region", { name: "Alerts" });
const silences = (page: Page): Locator => page.getByRole("region", { name: "Silences" });
const alertOf = (page: Page, device: string): Locator =>
  alerts(page).getByRole("listitem").filter({ hasText: "Open the vents" }).filter({ hasText: new RegExp(`^.*${device}`) });
const dialog = (page: Page): Locator => page.getByRole("dialog");

test("what one person does about an alert is seen on the other page", async ({ page, browser, door }) => {
  await pushCo2(page, "lab", 1900);
  const other = await browser.newPage({ baseURL: door.url });
  await openPage(page, "/alerts");
  await openPage(other, "/alerts");

  await alertOf(page, "lab").getByRole("button", { name: /^Acknowledge/ }).click();
  await expect(dialog(page)).toContainText("Open the vents");
  await dialog(page).getByLabel("Your name").fill("Ada");
  await dialog(page).getByLabel("Comment").fill("opening the window");
  await dialog(page).getByRole("button", { name: "Acknowledge" }).click();
  await expect(dialog(page)).toHaveCount(0);
  for (const each of [page, other]) {
    await expect(alertOf(each, "lab")).toContainText(/Acknowledged by Ada, .*: opening the window/);
  }

  await alertOf(page, "lab").getByRole("button", { name: /^Silence/ }).click();
  await expect(dialog(page).getByLabel("Device")).toHaveValue("lab");
  await expect(dialog(page).getByLabel("Rule")).not.toHaveValue("");
  await expect(dialog(page).getByLabel("Your name"), "the browser remembers it").toHaveValue("Ada");
  await dialog(page).getByLabel("4 hours").check();
  await dialog(page).getByRole("button", { name: "Silence" }).click();
  for (const each of [page, other]) {
    await expect(alertOf(each, "lab")).toContainText("Silenced by Ada until");
    await expect(silences(each).getByRole("listitem").filter({ hasText: "device lab" })).toContainText(/active.*until/);
  }

  // A page that is opened now knows it from its snapshot.
  await other.reload();
  await expect(alertOf(other, "lab")).toContainText("Silenced by Ada until");
  await expect(alertOf(other, "lab")).toContainText("Acknowledged by Ada");
  await page.getByText("Audit trail").click();
  const trail = page.getByRole("list", { name: /Audit trail/ });
  await expect(trail.getByRole("listitem").first()).toContainText(/Ada silenced device lab/);

  await silences(other).getByRole("listitem").filter({ hasText: "device lab" }).getByRole("button", { name: /^End now/ }).click();
  await dialog(other).getByLabel("Your name").fill("Bob");
  await dialog(other).getByRole("button", { name: "End now" }).click();
  await expect(silences(other).getByRole("heading", { name: "Silences" })).toBeFocused();
  await expect(alertOf(page, "lab")).not.toContainText("Silenced");
  await expect(trail.getByRole("listitem").first()).toContainText(/Bob ended the silence of device lab/);
  await expect(trail).toContainText(/Ada acknowledged .* on lab\/co2: opening the window/);
  await silences(page).getByText(/\d+ ended silence/).click();
  await expect(silences(page).getByRole("listitem").filter({ hasText: "ended by Bob" }).first()).toBeVisible();

  await alertOf(other, "lab").getByRole("button", { name: /^Take back/ }).click();
  await dialog(other).getByRole("button", { name: "Take back" }).click();
  await expect(alertOf(page, "lab")).not.toContainText("Acknowledged");
  await pushCo2(page, "lab", 600);
  await other.close();
});

test("the keyboard alone acknowledges, and the focus comes back", async ({ page }) => {
  await pushCo2(page, "attic", 1900);
  await openPage(page, "/alerts");
  const button = alertOf(page, "attic").getByRole("button").first();
  await button.focus();
  await page.keyboard.press("Enter");
  await expect(dialog(page).getByLabel("Your name")).toBeFocused();
  await page.keyboard.press("Escape");
  await expect(dialog(page)).toHaveCount(0);
  await expect(button).toBeFocused();
  await page.keyboard.press("Enter");
  await expect(dialog(page).getByLabel("Your name")).toBeFocused();
  await page.keyboard.type("Grace");
  await page.keyboard.press("Tab");
  await page.keyboard.type("on it");
  await page.keyboard.press("Enter");
  await expect(alertOf(page, "attic")).toContainText("Acknowledged by Grace");
  await expect(button).toBeFocused();
  await expect(button).toHaveText(/^Take back acknowledgement/);
  await pushCo2(page, "attic", 600);
});

test("who comes second is told who was first, and what makes no silence says why", async ({ page, complaints }) => {
  complaints.allowFailedRequests();
  await pushCo2(page, "cellar", 1900);
  await openPage(page, "/alerts");
  await alertOf(page, "cellar").getByRole("button", { name: /^Acknowledge/ }).click();
  const all = (await (await page.request.get("/api/v1/alerts")).json()) as { alerts: { id: string; series: string }[] };
  const id = all.alerts.find(({ series }) => series === "cellar/co2")?.id;
  const first = await page.request.post(`/api/v1/alerts/${id}/acknowledge`, { data: { by: "Ada" } });
  expect(first.ok()).toBe(true);
  await dialog(page).getByLabel("Your name").fill("Bob");
  await dialog(page).getByRole("button", { name: "Acknowledge" }).click();
  const refusal = dialog(page).getByText("acknowledged already, by Ada");
  await expect(refusal).toBeFocused();
  await expect(page.locator("[role=status], [role=alert], [role=log], [aria-live], output")).toHaveCount(2);
  await dialog(page).getByRole("button", { name: "Cancel" }).click();

  await silences(page).getByRole("button", { name: "New silence" }).click();
  await dialog(page).getByRole("button", { name: "Silence" }).click();
  await expect(dialog(page).getByText("Say which alerts")).toBeFocused();
  await dialog(page).getByLabel("Site").fill("nowhere");
  await dialog(page).getByLabel("Other times").check();
  await dialog(page).getByLabel("Until", { exact: true }).fill("2020-01-01T08:00");
  await dialog(page).getByRole("button", { name: "Silence" }).click();
  await expect(dialog(page).getByText("ends_at must be later")).toBeFocused();
  await dialog(page).getByLabel(/^From/).fill("2098-01-01T08:00");
  await dialog(page).getByLabel("Until", { exact: true }).fill("2099-01-01T08:00");
  await dialog(page).getByRole("button", { name: "Silence" }).click();
  const planned = silences(page).getByRole("listitem").filter({ hasText: "site nowhere" });
  await expect(planned).toContainText(/planned.*from.*2098.*until.*2099/);
  await planned.getByRole("button", { name: /^End now/ }).click();
  await dialog(page).getByRole("button", { name: "End now" }).click();
  await expect(planned.filter({ visible: true })).toHaveCount(0);
  await pushCo2(page, "cellar", 600);
});

for (const colorScheme of ["light", "dark"] as const) {
  test.describe(`on a phone in ${colorScheme}`, () => {
    test.use({ viewport: { width: 360, height: 740 }, hasTouch: true, isMobile: true, colorScheme });

    test("an alert can be acknowledged and silenced by touch, and nothing is wider than the screen", async ({ page }) => {
      const device = `shed-${colorScheme}`;
      await pushCo2(page, device, 1900);
      await openPage(page, "/alerts");
      const overflow = () => page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
      await alertOf(page, device).getByRole("button", { name: /^Acknowledge/ }).tap();
      await dialog(page).getByLabel("Your name").fill("Ada");
      await dialog(page).getByLabel("Comment").fill("a comment that is somewhat longer than the screen of a phone is wide");
      await dialog(page).getByRole("button", { name: "Acknowledge" }).tap();
      await expect(alertOf(page, device)).toContainText("Acknowledged by Ada");
      await alertOf(page, device).getByRole("button", { name: /^Silence/ }).tap();
      await dialog(page).getByLabel("Other times").check();
      const box = await dialog(page).boundingBox();
      expect(box?.width).toBeLessThanOrEqual(360);
      expect(await overflow()).toBe(0);
      await test.info().attach(`silence-${colorScheme}`, { body: await page.screenshot(), contentType: "image/png" });
      await dialog(page).getByLabel("1 hour").check();
      await dialog(page).getByRole("button", { name: "Silence" }).tap();
      await expect(alertOf(page, device)).toContainText("Silenced by Ada until");
      expect(await overflow()).toBe(0);
      await alerts(page).scrollIntoViewIfNeeded();
      await test.info().attach(`alerts-${colorScheme}`, { body: await page.screenshot(), contentType: "image/png" });
      await pushCo2(page, device, 600);
    });
  });
}

test("a kill of the gateway takes nothing of it from the page", async ({ page, gateway, complaints }) => {
  complaints.allowFailedRequests();
  await pushCo2(page, "depot", 1900);
  await openPage(page, "/alerts");
  const all = (await (await page.request.get("/api/v1/alerts")).json()) as { alerts: { id: string; series: string }[] };
  const id = all.alerts.find(({ series }) => series === "depot/co2")?.id;
  const acknowledged = await page.request.post(`/api/v1/alerts/${id}/acknowledge`, { data: { by: "Ada", comment: "on it" } });
  expect(acknowledged.ok()).toBe(true);
  const matchers = [{ name: "device", value: "depot" }];
  const made = await page.request.post("/api/v1/silences", { data: { matchers, ends_at: "+1h", created_by: "Bob" } });
  expect(made.status()).toBe(201);
  const shown = async () => {
    await expect(alertOf(page, "depot")).toContainText(/Acknowledged by Ada, .*: on it/);
    await expect(alertOf(page, "depot")).toContainText("Silenced by Bob until");
    await expect(silences(page).getByRole("listitem").filter({ hasText: "device depot" })).toContainText("active");
  };
  await shown();
  await gateway.kill();
  await expect(page.getByRole("status")).toHaveText("Down");
  await gateway.run();
  await expect(page.getByRole("status")).toHaveText("Live");
  await shown();
  await page.reload();
  await shown();
  await pushCo2(page, "depot", 600);
});

test("an alert is shelved and taken back, and one that is closed stays over until its condition was clear", async ({ page, browser, door }) => {
  await pushCo2(page, "loft", 1900);
  const other = await browser.newPage({ baseURL: door.url });
  await openPage(page, "/alerts");
  await openPage(other, "/alerts");
  await alertOf(page, "loft").getByRole("button", { name: /^Shelve/ }).click();
  await dialog(page).getByLabel("8 hours").check();
  await dialog(page).getByLabel("Your name").fill("Ada");
  await dialog(page).getByLabel("Comment").fill("chatters");
  await dialog(page).getByRole("button", { name: "Shelve" }).click();
  await expect(dialog(page)).toHaveCount(0);
  for (const each of [page, other]) {
    await expect(alertOf(each, "loft")).toContainText(/Shelved by Ada until .*: chatters/);
    await expect(alertOf(each, "loft")).not.toContainText("Silenced by");
  }
  await alertOf(other, "loft").getByRole("button", { name: /^Take off the shelf/ }).click();
  await dialog(other).getByLabel("Your name").fill("Bob");
  await dialog(other).getByRole("button", { name: "Take off" }).click();
  await expect(alertOf(page, "loft")).not.toContainText("Shelved");

  await page.getByText("Audit trail").click();
  const trail = page.getByRole("list", { name: /Audit trail/ });
  await expect(trail.getByRole("listitem").first()).toContainText(/Bob took off the shelf .* on loft\/co2/);
  await alertOf(page, "loft").getByRole("button", { name: /^Close/ }).click();
  await dialog(page).getByLabel("Comment").fill("the sensor lies");
  await dialog(page).getByRole("button", { name: "Close alert" }).click();
  await expect(page.getByRole("heading", { name: "Alerts" })).toBeFocused();
  for (const each of [page, other]) {
    await expect(alertOf(each, "loft").getByRole("button", { name: /^Close/ })).toHaveCount(0);
    await each.getByText(/resolved recently/).click();
    await expect(alertOf(each, "loft").first()).toContainText("(closed by Ada: the sensor lies)");
  }
  await expect(trail.getByRole("listitem").first()).toContainText(/Ada closed .* on loft\/co2: the sensor lies/);
  await pushCo2(page, "loft", 600);
  await pushCo2(page, "loft", 1900);
  await expect(alertOf(other, "loft").getByRole("button", { name: /^Close/ })).toHaveCount(1);
  await pushCo2(page, "loft", 600);
  await other.close();
});
