import net from "node:net";
import { once } from "node:events";
import { expect, expectNoReload, mark, openPage, status, test, tiles } from "./test";

test.describe("with its service worker", () => {
  test.use({ serviceWorkers: "allow" });

  test("the page can be installed, and opened while the gateway is away, with the last known state as such", async ({ page, door, complaints }) => {
    complaints.allowFailedRequests();
    await openPage(page);
    const manifest = (await (await page.request.get("/manifest.webmanifest")).json()) as { icons: { src: string; type: string }[]; start_url: string };
    expect(manifest.start_url).toBe("./");
    for (const { src, type } of manifest.icons) expect((await page.request.get(`/${src}`)).headers()["content-type"]).toBe(type);
    const worker = await page.request.get("/sw.js");
    expect(worker.headers()["cache-control"], "an upgrade is seen at once").toContain("no-cache");
    await page.evaluate(() => navigator.serviceWorker.ready);
    await expect.poll(() => page.evaluate(async () => (await caches.keys()).some((name) => name.startsWith("page /")))).toBe(true);
    await expect.poll(() => page.evaluate(async () => (await caches.keys()).some((name) => name.startsWith("last-known /")))).toBe(true);
    const known = await tiles(page).count();

    // It is put away, which keeps what is known, and opened again while a proxy says 503.
    door.refuse();
    for (const path of ["/", "/series/nowhere/temperature", "/"]) {
      await page.goto(path);
      await expect(status(page), path).toHaveText("Down");
      await expect(page.getByText(/No contact with the gateway since .* Values are the last known/)).toBeVisible();
    }
    await expect(tiles(page)).toHaveCount(known);
    await expect(tiles(page).first().locator("time.age")).toContainText("last known");
    await page.getByRole("navigation", { name: "Places" }).getByRole("link", { name: "Devices" }).click();
    await expect(page.getByRole("region", { name: "Inventory" }), "every place is kept").toBeVisible();
    await test.info().attach("away", { body: await page.screenshot(), contentType: "image/png" });

    door.admitAll();
    await expect(status(page)).toHaveText("Live", { timeout: 20_000 });
    await expect(page.getByText(/No contact with the gateway/)).toHaveCount(0);
  });

  test("the page of the gateway is shown, never the kept one, while the gateway answers", async ({ page, door }) => {
    await openPage(page);
    await page.evaluate(() => navigator.serviceWorker.ready);
    await expect.poll(() => page.evaluate(async () => (await caches.keys()).filter((name) => name.startsWith("page /")).length)).toBe(1);
    // What is kept is made old: were it shown, there would be no page.
    await page.evaluate(async () => {
      const [name = ""] = (await caches.keys()).filter((one) => one.startsWith("page /"));
      await (await caches.open(name)).put(new URL("./", location.href), new Response("an old page", { headers: { "content-type": "text/html" } }));
    });
    await page.reload();
    await expect(status(page)).toHaveText("Live");
    expect(await page.evaluate(() => navigator.serviceWorker.controller !== null)).toBe(true);
    expect(page.url()).toContain(door.url);
  });
});

test("kiosk mode has no navigation and larger words, and is left with Escape", async ({ page }) => {
  await openPage(page);
  const size = () => page.locator("data.value").first().evaluate((value) => parseFloat(getComputedStyle(value).fontSize));
  const before = await size();
  await page.getByRole("button", { name: "Kiosk" }).click();
  await expect(page).toHaveURL(/kiosk=1/);
  await expect(page.getByRole("navigation")).toHaveCount(0);
  await expect(page.getByRole("search")).toBeHidden();
  expect(await size()).toBeGreaterThan(before * 1.3);
  await expect(status(page)).toHaveText("Live");
  await page.reload();
  await expect(page.getByRole("navigation")).toHaveCount(0);
  await expect(tiles(page).first()).toBeVisible();
  await test.info().attach("kiosk", { body: await page.screenshot(), contentType: "image/png" });
  await page.keyboard.press("Escape");
  await expect(page.getByRole("navigation")).toBeVisible();
  expect(await size()).toBe(before);
});

test("the page asks to be loaded anew when the gateway's version changed", async ({ page, gateway }) => {
  // A real gateway behind a relay that changes what it says of its version, as an upgrade would.
  let upgraded = false;
  const relay = net.createServer((client) => {
    const way = net.connect(gateway.port, "127.0.0.1");
    // Packed, the stream would not show its words to the relay.
    client.on("data", (bytes) => way.write(Buffer.from(bytes.toString("latin1").replace(/accept-encoding/gi, "x-not-passed-on"), "latin1")));
    way.on("data", (bytes) => {
      const text = bytes.toString("latin1");
      client.write(upgraded ? Buffer.from(text.replace(/"version":"\d/g, '"version":"9'), "latin1") : bytes);
    });
    for (const [one, other] of [[client, way], [way, client]] as const) {
      one.on("error", () => {});
      one.on("close", () => other.destroy());
    }
    sockets.add(client);
  });
  const sockets = new Set<net.Socket>();
  relay.listen(0, "127.0.0.1");
  await once(relay, "listening");
  const own = await page.context().browser()?.newContext();
  if (own === undefined) throw new Error("no browser");
  const other = await own.newPage();
  await openPage(other, `http://127.0.0.1:${(relay.address() as net.AddressInfo).port}/alerts`);
  await mark(other);
  await expect(other.getByText(/The gateway is version/)).toHaveCount(0);
  upgraded = true;
  // An upgrade ends every connection.
  for (const socket of sockets) socket.destroy();
  await gateway.kill();
  await gateway.run();
  await expect(other.getByText(/The gateway is version 9.* now, and this page is of version \d/)).toBeVisible({ timeout: 30_000 });
  await expectNoReload(other);
  await other.getByRole("button", { name: "Reload the page" }).click();
  await expect(status(other)).toHaveText("Live");
  expect(await other.evaluate(() => "marked" in window)).toBe(false);
  await own.close();
  for (const socket of sockets) socket.destroy();
  relay.close();
});
