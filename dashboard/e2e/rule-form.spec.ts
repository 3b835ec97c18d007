import type { Locator, Page } from "@playwright/test";
import { expect, goTo, openPage, push, test } from "./test";

const rules = (page: Page): Locator => page.getByRole("region", { name: "Rules" });
const row = (page: Page, name: string): Locator => rules(page).getByRole("listitem").filter({ hasText: name });
const dialog = (page: Page): Locator => page.getByRole("dialog");
const alerts = (page: Page): Locator => page.getByRole("region", { name: "Alerts" });
const alertOf = (page: Page, rule: string): Locator => alerts(page).getByRole("listitem").filter({ hasText: `rule ${rule}` });
const field = (page: Page, label: string | RegExp): Locator => dialog(page).getByLabel(label, { exact: true });

async function openRules(page: Page): Promise<void> {
  await openPage(page, "/rules");
  await expect(rules(page).getByRole("listitem").first()).toBeVisible();
}

async function begin(page: Page, name: string, series: string, kind: string): Promise<void> {
  await rules(page).getByRole("button", { name: "New rule" }).click();
  await field(page, "Name").fill(name);
  await field(page, "Series").fill(series);
  await field(page, "Condition").selectOption(kind);
  await field(page, "Your name").fill("Ada");
}

async function save(page: Page): Promise<void> {
  await dialog(page).getByRole("button", { name: "Save" }).click();
  await expect(dialog(page)).toHaveCount(0);
}

/** As the gateway holds it. */
async function ruleOf(page: Page, name: string): Promise<unknown> {
  const { rules } = (await (await page.request.get("/api/v1/rules")).json()) as { rules: { name: string; rule: Record<string, unknown> }[] };
  return rules.find((rule) => rule.name === name)?.rule;
}

test("rules of every kind are made with the fields, and fire", async ({ page }) => {
  await openRules(page);
  const now = Date.now();

  await begin(page, "form range", "vat/temperature", "is outside of a range");
  await dialog(page).getByRole("group", { name: "Fires outside of" }).getByLabel("lowest").fill("2");
  await dialog(page).getByRole("group", { name: "Fires outside of" }).getByLabel("highest").fill("8,5");
  await dialog(page).getByRole("group", { name: /^Over again/ }).getByLabel("lowest").fill("3");
  await dialog(page).getByRole("group", { name: /^Over again/ }).getByLabel("highest").fill("8");
  await save(page);
  expect(await ruleOf(page, "form range")).toEqual({
    name: "form range",
    series: "vat/temperature",
    severity: "warning",
    outside: [2, 8.5],
    clear: [3, 8],
  });

  await begin(page, "form starts", "vat/state", "is one of some values");
  await field(page, "Fires when it is").fill("error, fault");
  await dialog(page).getByText("Only when it happens often").click();
  await field(page, "More often than").fill("1");
  await field(page, "In the last").fill("1h");
  await field(page, "What counts").selectOption("each time it begins");
  await save(page);
  expect(await ruleOf(page, "form starts")).toMatchObject({ equals: ["error", "fault"], more_than: 1, over: "1h", counted: "beginnings" });

  await begin(page, "form slope", "vat/level", "rises or falls faster than");
  await field(page, "Fires when it moves by more than").fill("2");
  await field(page, "In each").fill("1m");
  await field(page, "Judged by the last").fill("5m");
  await field(page, "Direction").selectOption("falling");
  await save(page);

  await begin(page, "form compared", "vat/temperature", "is above another metric of its device");
  await field(page, "Fires above the metric").fill("setpoint");
  await field(page, "By more than (empty: 0)").fill("5");
  await save(page);

  await begin(page, "form expression", "vat/level", "makes an expression true");
  await field(page, "Fires when").fill("value < 3 and metric('temperature') > 10");
  await save(page);

  await begin(page, "form percentile", "vat/level", "is above a percentile");
  await field(page, "Fires above the percentile").fill("99");
  await field(page, "Of the last").fill("1h");
  await save(page);
  await begin(page, "form stuck", "vat/level", "stays the same");
  await field(page, "Fires after the same value for").fill("1h");
  await save(page);
  await begin(page, "form learned", "vat/level", "is unlike all that was learned");
  await field(page, "How little is enough").selectOption("high: also what is a little new");
  await save(page);
  expect(await ruleOf(page, "form learned")).toMatchObject({ anomaly: "high" });
  await begin(page, "form silent", "vat/level", "says nothing");
  await field(page, "Fires after silence of").fill("20m");
  await save(page);

  const at = (minutes: number) => now - (10 - minutes) * 60_000;
  await push(page, [
    { device: "vat", metric: "setpoint", value: 6, time: at(0) },
    { device: "vat", metric: "temperature", value: 12, time: at(0) },
    ...[9, 6, 4, 2].map((value, n) => ({ device: "vat", metric: "level", value, time: at(n + 1) })),
    ...["error", "ok", "fault", "ok", "error"].map((value, n) => ({ device: "vat", metric: "state", value, time: at(n) })),
  ]);
  await goTo(page, "Alerts");
  for (const name of ["form range", "form starts", "form slope", "form compared", "form expression"]) {
    await expect(alertOf(page, name).first(), name).toBeVisible();
  }
  await goTo(page, "Rules");
  // Each opens again as it was written.
  for (const name of ["form range", "form starts", "form slope", "form compared", "form expression", "form percentile", "form learned"]) {
    const before = await ruleOf(page, name);
    await row(page, name).getByRole("button", { name: /^Change/ }).click();
    await save(page);
    expect(await ruleOf(page, name)).toEqual(before);
  }
});

test("how its alerts live is said with the fields too, and the text is another view of the same", async ({ page }) => {
  await openRules(page);
  await begin(page, "form life", "press/pressure", "is above a limit");
  await field(page, "Fires above").fill("5");
  await dialog(page).getByText("Labels", { exact: true }).click();
  await field(page, "Only of devices with these labels, one a line").fill("kind = press*\nhall = 2");
  await field(page, "Labels of its alerts, one a line").fill("team = growing");
  await dialog(page).getByText("How its alerts live").click();
  await field(page, "Goes on firing after it is over for").fill("5m");
  await field(page, "Fires for at least").fill("1m");
  await dialog(page).getByRole("group", { name: "Flapping" }).getByLabel("Within").fill("10m");
  await dialog(page).getByRole("button", { name: "Only at certain hours" }).click();
  const hours = dialog(page).getByRole("group", { name: "It fires only" });
  for (const day of ["Mon", "Tue", "Wed", "Thu", "Fri"]) await hours.getByLabel(day).check();
  await hours.getByLabel(/^From/).fill("08:00");
  await hours.getByLabel(/^To/).fill("18:00");
  await hours.getByLabel("Time zone").fill("Europe/Berlin");
  const text = dialog(page).getByLabel(/The rule as JSON/);
  const asText = dialog(page).getByRole("button", { name: "Write it as text" });
  const expected = {
    name: "form life",
    series: "press/pressure",
    above: 5,
    severity: "warning",
    match: { kind: "press*", hall: "2" },
    labels: { team: "growing" },
    keep_firing_for: "5m",
    min_on: "1m",
    flapping: { within: "10m" },
    during: { days: ["mon-fri"], from: "08:00", to: "18:00", zone: "Europe/Berlin" },
  };
  await asText.click();
  expect(JSON.parse(await text.inputValue())).toEqual(expected);
  // A key that the fields don't know comes through them, and is refused where it stands.
  await text.fill(JSON.stringify({ ...expected, odd: [1, { a: null }] }));
  await asText.click();
  await expect(dialog(page).getByText("Also in the text: odd.")).toBeVisible();
  await field(page, "Fires above").fill("6");
  await asText.click();
  expect(JSON.parse(await text.inputValue())).toEqual({ ...expected, above: 6, odd: [1, { a: null }] });
  await text.fill(JSON.stringify(expected));
  await asText.click();
  await save(page);
  expect(await ruleOf(page, "form life")).toEqual(expected);
});

test("what is wrong stands at its field, and the first one gets the focus", async ({ page, complaints }) => {
  complaints.allowFailedRequests();
  await openRules(page);
  await begin(page, "form wrong", "press", "rises or falls faster than");
  await field(page, "Fires when it moves by more than").fill("much");
  await field(page, "True for (empty: at once)").fill("long");
  await dialog(page).getByRole("button", { name: "Save" }).click();
  await expect(field(page, "Series")).toBeFocused();
  await expect(field(page, "Series")).toHaveAccessibleDescription(/pattern over device\/metric/);
  await expect(field(page, "Fires when it moves by more than")).toHaveAccessibleDescription(/expected a number, found "much"/);
  await expect(field(page, "In each"), "what is missing is said where it is missing").toHaveAccessibleDescription(/needs `per`/);
  await expect(field(page, "True for (empty: at once)")).toHaveAccessibleDescription(/duration/);
  await field(page, "Series").fill("press/*");
  await dialog(page).getByRole("button", { name: "Try it" }).click();
  await expect(field(page, "Fires when it moves by more than")).toBeFocused();

  // What is folded away is opened when something is wrong in it.
  await field(page, "Condition").selectOption("is above a limit");
  await field(page, "Fires above").fill("5");
  await field(page, "True for (empty: at once)").fill("");
  await dialog(page).getByText("How its alerts live").click();
  await field(page, "Not while one of these rules fires").fill("nobody");
  await dialog(page).getByRole("button", { name: "Only at certain hours" }).click();
  await field(page, "Time zone").fill("Europe/Nowhere");
  await dialog(page).getByText("How its alerts live").click();
  await expect(field(page, "Time zone")).toBeHidden();
  await dialog(page).getByRole("button", { name: "Save" }).click();
  await expect(dialog(page).getByLabel("Mon", { exact: true })).toBeFocused();
  await expect(field(page, "Time zone")).toHaveAccessibleDescription(/no time zone "Europe\/Nowhere"/);
  await field(page, "Time zone").fill("UTC");
  await dialog(page).getByRole("button", { name: "Save" }).click();
  await expect(field(page, "Not while one of these rules fires")).toBeFocused();
  await expect(field(page, "Not while one of these rules fires")).toHaveAccessibleDescription(/no rule named "nobody"/);
  // In the text it stands below.
  await dialog(page).getByRole("button", { name: "Write it as text" }).click();
  await dialog(page).getByRole("button", { name: "Save" }).click();
  await expect(dialog(page).getByLabel(/The rule as JSON/)).toBeFocused();
  await expect(dialog(page).getByLabel(/The rule as JSON/)).toHaveAccessibleDescription(/depends_on.*nobody/);
  await page.keyboard.press("Escape");
  await expect(dialog(page)).toHaveCount(0);
});

test("a silence that recurs is made with the fields, and read in words", async ({ page, browser, door, complaints }) => {
  complaints.allowFailedRequests();
  const other = await browser.newPage({ baseURL: door.url });
  await openPage(page, "/alerts");
  await openPage(other, "/alerts");
  const silences = (page: Page) => page.getByRole("region", { name: "Silences" });
  await silences(page).getByRole("button", { name: "New silence" }).click();
  await field(page, "Site").fill("mill");
  await dialog(page).getByLabel("Again and again, at certain hours").check();
  const hours = dialog(page).getByRole("group", { name: "At which hours" });
  for (const day of ["Mon", "Tue", "Wed", "Thu", "Fri"]) await hours.getByLabel(day).check();
  await hours.getByLabel(/^From/).fill("late");
  await hours.getByLabel(/^To/).fill("06:00");
  await hours.getByLabel("Time zone").fill("Europe/Berlin");
  await field(page, "A year").check();
  await field(page, "Your name").fill("Ada");
  await dialog(page).getByRole("button", { name: "Silence" }).click();
  await expect(hours.getByLabel("Mon")).toBeFocused();
  await expect(hours.getByLabel(/^From/)).toHaveAccessibleDescription(/Times are written as in 08:00/);
  await hours.getByLabel(/^From/).fill("22:00");
  await dialog(page).getByRole("button", { name: "Silence" }).click();
  await expect(dialog(page)).toHaveCount(0);
  for (const each of [page, other]) {
    await expect(silences(each).getByRole("listitem").filter({ hasText: "site mill" })).toContainText("Mon–Fri 22:00–06:00 Europe/Berlin");
  }
  const { silences: all } = (await (await page.request.get("/api/v1/silences")).json()) as { silences: { repeat: unknown; matchers: { value: string }[] }[] };
  expect(all.find(({ matchers }) => matchers[0]?.value === "mill")?.repeat).toEqual({
    days: ["mon", "tue", "wed", "thu", "fri"],
    from: "22:00",
    to: "06:00",
    zone: "Europe/Berlin",
  });
  await other.close();
});

for (const colorScheme of ["light", "dark"] as const) {
  test.describe(`on a phone in ${colorScheme}`, () => {
    test.use({ viewport: { width: 360, height: 740 }, hasTouch: true, isMobile: true, colorScheme });

    test("nothing of the form is wider than the screen, whatever is asked", async ({ page }) => {
      await openRules(page);
      await rules(page).getByRole("button", { name: "New rule" }).tap();
      const inside = () => dialog(page).evaluate((element) => element.scrollWidth - element.clientWidth);
      for (const more of ["Labels", "How its alerts live"]) await dialog(page).getByText(more, { exact: true }).tap();
      await dialog(page).getByRole("button", { name: "Only at certain hours" }).tap();
      const kinds = await field(page, "Condition").locator("option").allTextContents();
      expect(kinds.length).toBeGreaterThan(20);
      for (const kind of kinds) {
        await field(page, "Condition").selectOption(kind);
        expect(await inside(), kind).toBe(0);
      }
      await field(page, "Condition").selectOption("is outside of a range");
      await test.info().attach(`form-${colorScheme}`, { body: await page.screenshot(), contentType: "image/png" });
      await page.keyboard.press("Escape");
      await goTo(page, "Alerts");
      await page.getByRole("button", { name: "New silence" }).tap();
      await dialog(page).getByLabel("Again and again, at certain hours").check();
      expect(await inside()).toBe(0);
      await test.info().attach(`hours-${colorScheme}`, { body: await page.screenshot(), contentType: "image/png" });
      await page.keyboard.press("Escape");
    });
  });
}
