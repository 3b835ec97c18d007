import type { Locator, Page } from "@playwright/test";
import { expect, goTo, openPage, push, test } from "./test";

/** Readings of a device of the spec's own over the last half hour: three hot stretches of five minutes. */
async function pushHistory(page: Page, device: string): Promise<void> {
  const now = Date.now();
  const readings = Array.from({ length: 60 }, (_, n) => ({
    device,
    metric: "pressure",
    value: [10, 30, 50].some((start) => n >= start && n < start + 5) ? 9 + (n % 5) : 2,
    time: now - (60 - n) * 30_000,
  }));
  await push(page, readings);
}

const say = (page: Page, device: string, value: number): Promise<void> => push(page, { device, metric: "pressure", value });

const rules = (page: Page): Locator => page.getByRole("region", { name: "Rules" });
const row = (page: Page, name: string): Locator => rules(page).getByRole("listitem").filter({ hasText: name });
const dialog = (page: Page): Locator => page.getByRole("dialog");
const alerts = (page: Page): Locator => page.getByRole("region", { name: "Alerts" });

async function openRules(page: Page): Promise<void> {
  await openPage(page, "/rules");
  await expect(rules(page).getByRole("listitem").first()).toBeVisible();
}

test("a rule is tried on what was measured, saved, and fires; on the other page too", async ({ page, browser, door, complaints }) => {
  // What is refused is no trouble of the page.
  complaints.allowFailedRequests();
  await pushHistory(page, "press");
  const other = await browser.newPage({ baseURL: door.url });
  await openRules(page);
  await openRules(other);

  await rules(page).getByRole("button", { name: "New rule" }).click();
  await dialog(page).getByLabel("Name", { exact: true }).fill("press too high");
  await dialog(page).getByLabel("Series").fill("press");
  await dialog(page).getByLabel("Fires above").fill("8");
  await dialog(page).getByLabel("Your name").fill("Ada");
  // Mistakes stand beside their fields.
  await dialog(page).getByRole("button", { name: "Save" }).click();
  await expect(dialog(page).getByLabel("Series")).toHaveAttribute("aria-invalid", "true");
  await expect(dialog(page).getByLabel("Series")).toHaveAccessibleDescription(/pattern over device\/metric/);
  await dialog(page).getByLabel("Series").fill("press/*");

  const hour = dialog(page).getByRole("button", { name: "1 h", exact: true });
  await hour.click();
  await dialog(page).getByRole("button", { name: "Try it" }).click();
  const verdict = dialog(page).getByText(/^Would have fired/);
  await expect(verdict).toHaveText("Would have fired 3 times on 1 of 1 series.");
  await expect(verdict).toBeFocused();
  const chart = dialog(page).getByRole("img", { name: /press\/pressure with 3 marks/ });
  await expect(chart).toHaveAttribute("data-marks", "3");
  // The marks are drawn: red where the rule fires, and nowhere else.
  await expect
    .poll(() =>
      chart.locator("canvas").evaluate((canvas: HTMLCanvasElement) => {
        const { data } = canvas.getContext("2d")?.getImageData(0, 0, canvas.width, canvas.height) ?? { data: [] };
        let red = 0;
        for (let at = 0; at < data.length; at += 4) {
          if ((data[at] ?? 0) > 150 && (data[at + 1] ?? 0) < 60 && (data[at + 3] ?? 0) === 255) red++;
        }
        return red;
      }),
    )
    .toBeGreaterThan(100);
  await dialog(page).getByText("As a table").click();
  await expect(dialog(page).getByRole("row")).toHaveCount(4);
  await expect(dialog(page).getByRole("row").nth(1)).toContainText("13");
  await test.info().attach("dry-run", { body: await page.screenshot(), contentType: "image/png" });
  await expect(row(other, "press too high"), "nothing is saved yet").toHaveCount(0);

  await dialog(page).getByRole("button", { name: "Save" }).click();
  await expect(dialog(page)).toHaveCount(0);
  for (const each of [page, other]) {
    await expect(row(each, "press too high")).toContainText("by Ada");
    await expect(row(each, "press too high")).toContainText("above 8");
    await expect(row(each, "press too high")).toContainText("quiet");
  }
  await say(page, "press", 12);
  for (const each of [page, other]) {
    await expect(row(each, "press too high")).toContainText("1 firing");
  }

  // Two change it at once: the second sees both, and decides.
  for (const each of [page, other]) await row(each, "press too high").getByRole("button", { name: /^Change/ }).click();
  await dialog(page).getByLabel("Fires above").fill("9");
  await dialog(page).getByRole("button", { name: "Save" }).click();
  await expect(dialog(page)).toHaveCount(0);
  await dialog(other).getByLabel("Fires above").fill("7");
  await dialog(other).getByLabel("Your name").fill("Bob");
  await dialog(other).getByRole("button", { name: "Save" }).click();
  const conflict = dialog(other).getByRole("region", { name: "Two versions" });
  await expect(conflict).toContainText("Ada changed this rule meanwhile. The versions differ in above.");
  await expect(conflict).toContainText('"above": 9');
  await expect(conflict).toContainText('"above": 7');
  await conflict.getByRole("button", { name: "Go on with mine" }).click();
  await dialog(other).getByRole("button", { name: "Save" }).click();
  await expect(dialog(other)).toHaveCount(0);
  await expect(row(page, "press too high")).toContainText("above 7");
  await expect(row(page, "press too high")).toContainText("changed by Bob");

  await row(page, "press too high").getByRole("button", { name: /^Disable/ }).click();
  await dialog(page).getByRole("button", { name: "Disable" }).click();
  await expect(row(other, "press too high")).toContainText("disabled");
  await row(page, "press too high").getByRole("button", { name: /^Delete/ }).click();
  await dialog(page).getByRole("button", { name: "Delete" }).click();
  await expect(row(other, "press too high")).toHaveCount(0);
  await expect(rules(page).getByRole("heading", { name: /Rules/ })).toBeFocused();
  await goTo(page, "Alerts");
  await expect(alerts(page).getByText("rule press too high").first()).toBeAttached();
  await page.getByText("Audit trail").click();
  const trail = page.getByRole("list", { name: /Audit trail/ }).getByRole("listitem");
  await expect(trail.nth(0)).toContainText("Ada deleted the rule press too high");
  await expect(trail.nth(1)).toContainText("Ada disabled the rule press too high");
});

test("a rule of the config is read-only, and can be copied and silenced", async ({ page }) => {
  await openRules(page);
  const first = rules(page).getByRole("listitem").first();
  await expect(first).toContainText("read only");
  await expect(first).toContainText(/:\d+/);
  await expect(first.getByRole("button", { name: /^Change|^Delete|^Disable/ })).toHaveCount(0);
  await first.getByRole("button", { name: /^Silence/ }).click();
  await expect(dialog(page).getByLabel("Rule")).not.toHaveValue("");
  await page.keyboard.press("Escape");
  await first.getByRole("button", { name: /^Copy/ }).click();
  await expect(dialog(page).getByLabel("Name", { exact: true })).toHaveValue(/ copy$/);
  await dialog(page).getByRole("button", { name: "Write it as text" }).click();
  const text = dialog(page).getByLabel(/The rule as JSON/);
  await expect(text).toHaveValue(/"name": ".* copy"/);
  await text.fill("{");
  await dialog(page).getByRole("button", { name: "Try it" }).click();
  await expect(dialog(page).getByText(/The text is no JSON/)).toBeFocused();
  await page.keyboard.press("Escape");
  await expect(dialog(page)).toHaveCount(0);
});

for (const colorScheme of ["light", "dark"] as const) {
  test.describe(`on a phone in ${colorScheme}`, () => {
    test.use({ viewport: { width: 360, height: 740 }, hasTouch: true, isMobile: true, colorScheme });

    test("a rule can be tried by touch, and nothing is wider than the screen", async ({ page }) => {
      const device = `pump-${colorScheme}`;
      await pushHistory(page, device);
      await openRules(page);
      const overflow = () => page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
      expect(await overflow()).toBe(0);
      await test.info().attach(`rules-${colorScheme}`, { body: await page.screenshot(), contentType: "image/png" });
      await rules(page).getByRole("button", { name: "New rule" }).tap();
      await dialog(page).getByLabel("Name", { exact: true }).fill(`pump ${colorScheme}`);
      await dialog(page).getByLabel("Series").fill(`${device}/pressure`);
      await dialog(page).getByLabel("Fires above").fill("8");
      await dialog(page).getByRole("button", { name: "Try it" }).tap();
      await expect(dialog(page).getByText(/^Would have fired 3 times/)).toBeVisible();
      await expect(dialog(page).getByRole("img", { name: /with 3 marks/ })).toBeVisible();
      const box = await dialog(page).boundingBox();
      expect(box?.width).toBeLessThanOrEqual(360);
      expect(await overflow()).toBe(0);
      const inside = await dialog(page).evaluate((element) => element.scrollWidth - element.clientWidth);
      expect(inside).toBe(0);
      await test.info().attach(`try-${colorScheme}`, { body: await page.screenshot(), contentType: "image/png" });
      await page.keyboard.press("Escape");
    });
  });
}
