import { apiSeries, expect, goTo, ink, numberTile, openPage, test, tiles, valueOf } from "./test";

test("every series of the gateway has a tile", async ({ page }) => {
  await openPage(page);
  await expect(async () => {
    const series = await apiSeries(page);
    expect(series.length).toBeGreaterThan(0);
    await expect(tiles(page)).toHaveCount(series.length, { timeout: 1_000 });
  }).toPass();
});

test("a tile shows a value with its unit and age, and a chart that carries ink", async ({ page }) => {
  await openPage(page);
  const tile = await numberTile(page);
  await expect(tile.locator("data")).toHaveText(/\d/);
  await expect(tile.locator(".unit")).toHaveText(/\S/);
  await expect(tile.locator("time.age")).toHaveText(/now|ago/);
  const chart = tile.getByRole("img", { name: /, last 5 minutes$/ });
  await expect.poll(() => ink(chart)).toBeGreaterThan(100);
});

test("values change by themselves", async ({ page }) => {
  await openPage(page);
  const values = () => page.locator("article data").evaluateAll((all) => all.map((one) => one.getAttribute("value")));
  const before = JSON.stringify(await values());
  await expect.poll(async () => JSON.stringify(await values())).not.toBe(before);
  const tile = await numberTile(page);
  expect(Number.isFinite(Number(await valueOf(tile)))).toBe(true);
});

test("devices are headed by their names, and sources say how they are", async ({ page }) => {
  await openPage(page);
  const devices = page.getByRole("region", { name: /^Overview/ });
  expect(await devices.getByRole("heading", { level: 3 }).count()).toBeGreaterThan(0);
  await goTo(page, "Status");
  const sources = page.getByRole("region", { name: "Sources", exact: true });
  await expect(sources.getByRole("row").nth(1)).toContainText(/up|connecting|down|stopped/);
  const account = page.getByRole("region", { name: "Readings since the gateway started" });
  await expect(account.getByRole("listitem").first()).toContainText(/\d/);
});

test("a chart reaches back into history when a longer range is chosen", async ({ page }) => {
  await openPage(page);
  const tile = await numberTile(page);
  const name = (await tile.getAttribute("aria-label")) ?? "";
  const asked = page.waitForRequest((request) => {
    const url = new URL(request.url());
    const from = Number(url.searchParams.get("from"));
    return url.pathname.endsWith("/points") && Date.now() - from > 23 * 3_600_000;
  });
  await page.getByRole("group", { name: "Range of all charts" }).getByRole("button", { name: "24 h" }).click();
  const answer = await (await asked).response();
  expect(answer?.status()).toBe(200);
  const chart = page.getByRole("img", { name: `${name}, last 24 hours` });
  await expect(chart).toBeVisible();
  await expect(tile.locator("figcaption")).toHaveText(/ to /);
});
