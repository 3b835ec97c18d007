import type { Page } from "@playwright/test";
import type { Gateway } from "./gateway";
import { expect, expectNoDuplicates, numberTile, openPage, status, test, valueOf } from "./test";

/** Streams that the gateway serves now, by its own count. */
async function streams(gateway: Gateway): Promise<number> {
  const metrics = await (await fetch(`${gateway.url}/metrics`)).text();
  return Number(/^gateway_live_clients (\d+)/m.exec(metrics)?.[1] ?? NaN);
}

async function push(gateway: Gateway, value: number): Promise<void> {
  const answer = await fetch(`${gateway.url}/api/v1/readings`, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({ device: "tabs", metric: "count", value }),
  });
  expect(answer.status).toBe(200);
}

/** Twelve pages are drawn at once: what is in view of each is little. */
const SMALL = { width: 400, height: 300 };

/** The page shows this value; tiles out of view rest. */
async function expectValue(page: Page, value: number): Promise<void> {
  const tile = page.getByRole("article", { name: "tabs count" });
  await tile.scrollIntoViewIfNeeded();
  await expect.poll(() => valueOf(tile)).toBe(String(value));
}

test("twelve tabs over HTTP/1.1 share one stream, and go on when the one that has it is closed or dies", async ({ context, page, gateway }) => {
  test.slow();
  await push(gateway, 1);
  await page.setViewportSize(SMALL);
  await openPage(page);
  const pages = [page];
  for (let more = 1; more < 12; more++) {
    const other = await context.newPage();
    await other.setViewportSize(SMALL);
    // It can't say goodbye.
    if (more === 1) await other.addInitScript(() => addEventListener("pagehide", (event) => event.stopImmediatePropagation(), true));
    await openPage(other);
    pages.push(other);
  }
  await Promise.all(pages.map((each) => expectValue(each, 1)));
  expect(await streams(gateway)).toBe(1);
  await push(gateway, 2);
  await Promise.all(pages.map((each) => expectValue(each, 2)));

  // The first one leads. It is closed; what is said in the meantime comes to all.
  await page.close();
  await push(gateway, 3);
  const rest = pages.slice(1);
  await Promise.all(rest.map((each) => expectValue(each, 3)));
  for (const each of rest) await expect(status(each)).toHaveText("Live");
  await expect.poll(() => streams(gateway)).toBe(1);

  // The second one dies without a word.
  const second = rest.shift() as Page;
  await second.close();
  await push(gateway, 4);
  await Promise.all(rest.map((each) => expectValue(each, 4)));
  await expect.poll(() => streams(gateway)).toBe(1);
  const last = rest[0] as Page;
  await expectNoDuplicates(last, await numberTile(last));
  for (const each of rest) await each.close();
});

test("tabs that nobody sees give the stream up, and go on when they are seen again", async ({ context, page, gateway }) => {
  // The browser of these specs shows every tab: the page is told otherwise.
  await context.addInitScript(() => {
    let hidden = false;
    Object.defineProperty(document, "hidden", { get: () => hidden });
    Object.assign(window, {
      hide: (value: boolean) => {
        hidden = value;
        document.dispatchEvent(new Event("visibilitychange"));
      },
    });
  });
  const hide = (each: Page, hidden: boolean) => each.evaluate((value) => (window as unknown as { hide: (value: boolean) => void }).hide(value), hidden);
  await push(gateway, 1);
  await openPage(page);
  const other = await context.newPage();
  await openPage(other);
  await hide(page, true);
  await hide(other, true);
  await expect.poll(() => streams(gateway), { timeout: 30_000 }).toBe(0);
  await push(gateway, 5);
  await hide(other, false);
  await expectValue(other, 5);
  await hide(page, false);
  await expectValue(page, 5);
  expect(await streams(gateway)).toBe(1);
  await other.close();
});

test("without locks each tab has a stream of its own", async ({ context, page, gateway }) => {
  await context.addInitScript(() => Object.defineProperty(navigator, "locks", { value: undefined }));
  await push(gateway, 1);
  await openPage(page);
  const other = await context.newPage();
  await openPage(other);
  expect(await streams(gateway)).toBe(2);
  await push(gateway, 6);
  for (const each of [page, other]) await expectValue(each, 6);
  await other.close();
});
