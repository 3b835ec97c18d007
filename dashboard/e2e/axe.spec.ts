import AxeBuilder from "@axe-core/playwright";
import { mkdir } from "node:fs/promises";
import { expect, openPage, test } from "./test";

const PLACES = ["/", "/?order=alert", "/alerts", "/rules", "/devices", "/status", "/?kiosk=1"];

for (const scheme of ["light", "dark"] as const) {
  for (const [width, height] of [
    [1280, 800],
    [360, 740],
  ] as const) {
    test.describe(`${scheme} at ${width}`, () => {
      test.use({ colorScheme: scheme, viewport: { width, height } });

      test("axe finds nothing to object to on any place", async ({ page }) => {
        test.slow();
        const fired = await page.request.post("/api/v1/readings", { data: { device: "axe", metric: "co2", value: 1900 } });
        expect(fired.ok()).toBe(true);
        await mkdir("test-results/places", { recursive: true });
        await openPage(page);
        const [series = ""] = await page.locator("article h5 a").evaluateAll((all) => all.map((one) => (one as HTMLAnchorElement).pathname));
        for (const place of [...PLACES, `${series}?span=3600000`]) {
          await openPage(page, place).catch(async () => expect(page.locator("main h2")).toBeVisible());
          // What is fetched is there, and lines are drawn.
          await expect(page.getByText(/^(Loading|Fetching)/).filter({ visible: true })).toHaveCount(0);
          if (/^\/(\?|$)/.test(place)) await expect(page.locator("canvas[data-points]").first()).toBeVisible();
          if (place.startsWith("/series")) await expect.poll(() => page.locator(".plot").getAttribute("data-points")).toMatch(/[1-9]/);
          const name = place.replace(/\W+/g, "-").replace(/^-|-$/g, "") || "overview";
          await page.screenshot({ path: `test-results/places/${name}-${scheme}-${width}.png`, fullPage: place !== "/" });
          const { violations } = await new AxeBuilder({ page }).withTags(["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]).analyze();
          const found = violations.map(({ id, nodes }) => `${id}: ${nodes.map(({ target }) => target.join(" ")).slice(0, 3).join(" | ")}`);
          expect(found, place).toEqual([]);
        }
        await page.request.post("/api/v1/readings", { data: { device: "axe", metric: "co2", value: 600 } });
      });
    });
  }
}
