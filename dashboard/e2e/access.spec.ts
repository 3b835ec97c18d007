import { expect, numberTile, openPage, test, tiles } from "./test";

test("the keyboard reaches and works everything", async ({ page }) => {
  await openPage(page);
  await page.keyboard.press("Tab");
  await expect(page.getByRole("link", { name: "Skip to the content" })).toBeFocused();

  // Tab on until the focus leaves the page or comes round.
  const unreached = () =>
    page.evaluate(() => {
      const seen = ((window as { reached?: Set<Element> }).reached ??= new Set());
      if (document.activeElement !== null) seen.add(document.activeElement);
      const all = document.querySelectorAll("a[href], button:not(:disabled), summary, [tabindex='0']");
      return [...all].filter((one) => !seen.has(one) && one.checkVisibility()).map((one) => one.textContent);
    });
  // Devices that appear meanwhile are reached in a second round.
  const most = 2 * (await page.locator("a[href], button, summary, [tabindex='0']").count()) + 50;
  let left = await unreached();
  for (let presses = 0; presses < most && left.length > 0; presses++) {
    await page.keyboard.press("Tab");
    left = await unreached();
  }
  expect(left).toEqual([]);

  const hour = page.getByRole("group", { name: "Range of all charts" }).getByRole("button", { name: "1 h" });
  await hour.focus();
  await page.keyboard.press("Enter");
  await expect(hour).toHaveAttribute("aria-pressed", "true");
  const outline = await hour.evaluate((button) => getComputedStyle(button).outlineStyle);
  expect(outline).not.toBe("none");

  const tile = await numberTile(page);
  await tile.getByRole("button", { name: /^Show as table/ }).focus();
  await page.keyboard.press("Space");
  await expect(tile.getByRole("table")).toBeVisible();
});

test("a chart can be read as a table, newest first, each time once", async ({ page }) => {
  await openPage(page);
  const tile = await numberTile(page);
  const name = (await tile.getAttribute("aria-label")) ?? "";
  const button = tile.getByRole("button", { name: `Show as table of ${name}` });
  await expect(button).toHaveAttribute("aria-expanded", "false");
  await button.click();
  const table = tile.getByRole("table", { name: new RegExp(`^${escape(name)}`) });
  await expect(table.getByRole("columnheader", { name: "Time" })).toBeVisible();
  const times = await table.locator("tbody time").evaluateAll((all) => all.map((one) => one.getAttribute("datetime") ?? ""));
  expect(times.length).toBeGreaterThan(0);
  expect(times.length).toBeLessThanOrEqual(25);
  expect(new Set(times).size).toBe(times.length);
  expect(times).toEqual([...times].sort().reverse());
  await expect(tile.getByRole("img").getByRole("table")).toHaveCount(0);
  await tile.getByRole("button", { name: `Hide table of ${name}` }).click();
  await expect(table).toHaveCount(0);
});

test("there are exactly two live regions, and charts say in words what they show", async ({ page }) => {
  await openPage(page);
  await expect(page.locator("[role=status], [role=alert], [role=log], [aria-live], output")).toHaveCount(2);
  await expect(page.locator("html")).toHaveAttribute("lang", "en");
  const tile = await numberTile(page);
  await expect(tile.locator("figcaption")).toHaveText(/ to .*, (rising|falling|steady)|No readings/);
  // Every tile has a name of its own.
  const names = await tiles(page).evaluateAll((all) => all.map((one) => one.getAttribute("aria-label") ?? ""));
  expect(names.every((name) => name !== "")).toBe(true);
});

test.describe("on a phone", () => {
  test.use({ viewport: { width: 360, height: 740 }, hasTouch: true, isMobile: true });

  test("nothing is wider than the screen", async ({ page }) => {
    await openPage(page);
    const overflow = () => page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
    expect(await overflow()).toBe(0);
    const tile = await numberTile(page);
    await tile.getByRole("button", { name: /^Show as table/ }).tap();
    await expect(tile.getByRole("table")).toBeVisible();
    expect(await overflow()).toBe(0);
    // Zoom is not blocked.
    await expect(page.locator("meta[name=viewport]")).not.toHaveAttribute("content", /user-scalable|maximum-scale/);
  });
});

for (const scheme of ["light", "dark"] as const) {
  test.describe(`in ${scheme}`, () => {
    test.use({ colorScheme: scheme });

    test("the page has the colours of the scheme, canvas included", async ({ page }) => {
      await openPage(page);
      const tile = await numberTile(page);
      const ground = await tile.evaluate((element) => getComputedStyle(element).backgroundColor);
      const lightness = (ground.match(/\d+/g) ?? []).slice(0, 3).reduce((sum, part) => sum + Number(part), 0) / 3;
      if (scheme === "dark") expect(lightness).toBeLessThan(60);
      else expect(lightness).toBeGreaterThan(200);
      await expect(tile.getByRole("img")).toBeVisible();
      await test.info().attach(`page-${scheme}`, { body: await page.screenshot(), contentType: "image/png" });
    });
  });
}

function escape(text: string): string {
  return text.replace(/[.*+?^${}()|[\]\\]/g, "\\$&");
}
