import { expect, expectNoReload, goTo, mark, openPage, push, status, test } from "./test";

test("the keyboard goes from place to place, and back, without loading the page anew", async ({ page }) => {
  await openPage(page);
  await mark(page);
  const places = page.getByRole("navigation", { name: "Places" });
  await expect(places.getByRole("link", { name: "Overview" })).toHaveAttribute("aria-current", "page");
  for (const title of ["Alerts", "Rules", "Devices", "Status"]) {
    await places.getByRole("link", { name: title, exact: true }).focus();
    await page.keyboard.press("Enter");
    await expect(page).toHaveURL(new RegExp(`/${title.toLowerCase()}$`));
    await expect(places.getByRole("link", { name: title, exact: true })).toHaveAttribute("aria-current", "page");
    await expect(page.locator("main h2"), "a screen reader says where it is").toBeFocused();
    await expect(page).toHaveTitle(new RegExp(`^${title} · `));
  }
  await page.goBack();
  await expect(page).toHaveTitle(/^Devices · /);
  await page.goForward();
  await expect(page).toHaveTitle(/^Status · /);
  await expectNoReload(page);
});

test("who comes back finds the overview where it was left", async ({ page }) => {
  await page.setViewportSize({ width: 400, height: 500 });
  await openPage(page);
  await page.evaluate(() => scrollTo(0, 700));
  // A real click would scroll first.
  await page.getByRole("navigation", { name: "Places" }).getByRole("link", { name: "Alerts" }).dispatchEvent("click");
  await expect(page).toHaveTitle(/^Alerts/);
  await expect.poll(() => page.evaluate(() => scrollY)).toBe(0);
  await page.goBack();
  await expect(page).toHaveTitle(/^Overview/);
  await expect.poll(() => page.evaluate(() => scrollY)).toBe(700);
});

test("each place has an address of its own, and so has each series", async ({ page }) => {
  for (const [path, heading] of [
    ["/alerts", "Alerts"],
    ["/#alerts", "Alerts"],
    ["/rules", "Rules"],
    ["/devices", "Devices"],
    ["/status/", "Sources and status"],
    ["/nowhere", "There is nothing here"],
  ] as const) {
    await page.goto(path);
    await expect(page.getByRole("main").getByRole("heading", { level: 2 })).toContainText(heading);
    await expect(status(page)).toHaveText("Live");
  }
  // Names with a dot, a slash and a percent sign.
  await push(page, { device: "pi 50%", metric: "cpu.usage_idle", value: 42 });
  await goTo(page, "Devices");
  await page.getByRole("row", { name: /pi 50%/ }).getByRole("link").click();
  await expect(page).toHaveTitle(/^pi 50% Cpu usage idle/);
  await page.reload();
  await expect(page.getByRole("main").getByRole("heading", { level: 2 })).toContainText("pi 50%");
  await expect(page.getByRole("img", { name: "pi 50% cpu usage idle, last 5 minutes" })).toBeVisible();
});

test("devices are listed with where they are, how they are heard and their series", async ({ page }) => {
  await openPage(page, "/devices");
  const rows = page.getByRole("region", { name: "Inventory" }).getByRole("row");
  await expect(rows.nth(1)).toBeVisible();
  await expect(rows.nth(0)).toContainText(/Device.*Site.*Source.*Last seen.*Clock.*Series/);
  await expect(rows.filter({ hasText: /now|\d+ s ago/ }).first()).toBeVisible();
});

test.describe("on a phone", () => {
  test.use({ viewport: { width: 360, height: 740 }, hasTouch: true, isMobile: true });

  test("all places fit the screen and are reached by touch", async ({ page }) => {
    await openPage(page);
    const overflow = () => page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
    const places = page.getByRole("navigation", { name: "Places" });
    for (const title of ["Alerts", "Rules", "Devices", "Status", "Overview"]) {
      const link = places.getByRole("link", { name: title, exact: true });
      const box = await link.boundingBox();
      expect((box?.x ?? 0) + (box?.width ?? 999), title).toBeLessThanOrEqual(360);
      expect(box?.height).toBeGreaterThanOrEqual(32);
      await link.tap();
      await expect(page).toHaveTitle(new RegExp(`^${title}`));
      await expect(page.locator("main h2")).toBeVisible();
      expect(await overflow(), title).toBe(0);
    }
  });
});
