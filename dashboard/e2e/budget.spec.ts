import { gzipSync } from "node:zlib";
import { expect, openPage, test, tiles } from "./test";

const KIB = 1024;

test("the page is small, and asks nobody else", async ({ page }) => {
  const sizes = { script: 0, stylesheet: 0 };
  const bodies: Promise<void>[] = [];
  page.on("response", (answer) => {
    const kind = answer.request().resourceType();
    if (kind !== "script" && kind !== "stylesheet") return;
    bodies.push(answer.body().then((body) => void (sizes[kind] += gzipSync(body).length)));
  });
  await openPage(page);
  await Promise.all(bodies);
  expect(sizes.script).toBeGreaterThan(0);
  expect(sizes.script).toBeLessThanOrEqual(60 * KIB);
  expect(sizes.stylesheet).toBeGreaterThan(0);
  expect(sizes.stylesheet).toBeLessThanOrEqual(8 * KIB);
});

test("hashed files are kept for good, the index is asked for each time", async ({ page }) => {
  const index = await page.request.get("/");
  expect(index.headers()["content-type"]).toContain("text/html");
  expect(index.headers()["cache-control"]).toContain("no-cache");
  const script = /src="\.\/(assets\/[^"]+\.js)"/.exec(await index.text())?.[1];
  const asset = await page.request.get(`/${script}`);
  expect(asset.ok()).toBe(true);
  expect(asset.headers()["cache-control"]).toContain("immutable");
  const again = await page.request.get(`/${script}`, { headers: { "if-none-match": asset.headers()["etag"] ?? "" } });
  expect(again.status()).toBe(304);
});

test("the content security policy allows nothing inline", async ({ page }) => {
  const policy = (await page.request.get("/")).headers()["content-security-policy"] ?? "";
  expect(policy).toContain("default-src 'self'");
  expect(policy).not.toContain("unsafe-inline");
  // A violation would be a console error, which ends every spec.
  await openPage(page);
});

test("neither nodes nor heap grow while values change", async ({ page }) => {
  // The demo says something once a second; a device that says more gives the page as many changes as it draws.
  const say = async (value: number) => {
    const answer = await page.request.post("/api/v1/readings", { data: { device: "spinner", values: { a: value, b: -value } } });
    expect(answer.ok()).toBe(true);
  };
  await say(0);
  await openPage(page);
  await page.getByRole("article", { name: "spinner a" }).scrollIntoViewIfNeeded();
  let talking = true;
  const talk = (async () => {
    for (let value = 1; talking; value++) await say(value);
  })();
  const cdp = await page.context().newCDPSession(page);
  await cdp.send("Performance.enable");
  const measure = async () => {
    await cdp.send("HeapProfiler.collectGarbage");
    const { metrics } = await cdp.send("Performance.getMetrics");
    const metric = (name: string) => metrics.find((one) => one.name === name)?.value ?? NaN;
    return { nodes: metric("Nodes"), heap: metric("JSHeapUsedSize") };
  };
  /** Until the values in view have changed this many times. */
  const changes = (count: number) =>
    tiles(page)
      .first()
      .evaluate(
        (_, wanted) =>
          new Promise<void>((done) => {
            let seen = 0;
            const observer = new MutationObserver(() => {
              if (++seen < wanted) return;
              observer.disconnect();
              done();
            });
            observer.observe(document.querySelector("main") ?? document.body, {
              subtree: true,
              attributes: true,
              attributeFilter: ["value"],
            });
          }),
        count,
      );
  await changes(30);
  const before = await measure();
  await changes(60);
  const after = await measure();
  talking = false;
  await talk;
  expect(after.nodes).toBeLessThan(before.nodes * 1.1 + 100);
  expect(after.heap).toBeLessThan(before.heap * 1.2 + 3_000_000);
});
