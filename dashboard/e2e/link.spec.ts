import { expect, expectNoDuplicates, expectNoReload, mark, numberTile, openPage, status, test } from "./test";

test("the page recovers from kill -9 and a restart, without a reload and without a point twice", async ({
  page,
  gateway,
  complaints,
}) => {
  complaints.allowFailedRequests();
  await openPage(page);
  await mark(page);
  const tile = await numberTile(page);
  await gateway.kill();
  await expect(status(page)).toHaveText("Down");
  await expect(page.getByText(/No contact with the gateway since/)).toBeVisible();
  await expect(tile.locator("time.age")).toContainText("last known");
  const before = await tile.locator("time.age").getAttribute("datetime");
  await gateway.run();
  await expect(status(page)).toHaveText("Live", { timeout: 20_000 });
  await expect(page.getByText(/No contact with the gateway/)).toHaveCount(0);
  await expect.poll(() => tile.locator("time.age").getAttribute("datetime")).not.toBe(before);
  await expectNoDuplicates(page, tile);
  await expectNoReload(page);
});

test("the page recovers when a stopping gateway said goodbye", async ({ page, gateway, complaints }) => {
  complaints.allowFailedRequests();
  await openPage(page);
  await mark(page);
  await gateway.stop();
  await expect(status(page)).toHaveText("Down");
  await gateway.run();
  await expect(status(page)).toHaveText("Live", { timeout: 20_000 });
  await expectNoReload(page);
});

test("the page recovers from a time of 503, which ends an EventSource for good", async ({ page, door, complaints }) => {
  complaints.allowFailedRequests();
  await openPage(page);
  await mark(page);
  const refused = page.waitForResponse((answer) => answer.url().includes("/events") && answer.status() === 503);
  door.refuse();
  await refused;
  await expect(status(page)).toHaveText("Down");
  door.admitAll();
  await expect(status(page)).toHaveText("Live", { timeout: 20_000 });
  await expectNoReload(page);
});

test("a dropped connection is resumed after the last event", async ({ page, door, complaints }) => {
  complaints.allowFailedRequests();
  await openPage(page);
  await mark(page);
  const tile = await numberTile(page);
  const resumed = page.waitForRequest((request) => /\/events\?.*last_event_id=./.test(request.url()));
  door.cut();
  await resumed;
  await expect(status(page)).toHaveText("Live");
  const before = await tile.locator("time.age").getAttribute("datetime");
  await expect.poll(() => tile.locator("time.age").getAttribute("datetime")).not.toBe(before);
  await expectNoDuplicates(page, tile);
  await expectNoReload(page);
});

test("silence is called stale, in words, and ends with the next event", async ({ page, gateway }) => {
  await page.clock.install();
  await openPage(page);
  gateway.suspend();
  try {
    await expect(async () => {
      // What was on its way when the gateway fell silent may still make it live once.
      await page.clock.fastForward(17_000);
      await expect(status(page)).toHaveText("Stale", { timeout: 2_000 });
    }).toPass();
    await expect(page.getByText(/the gateway has been silent since .* Values are the last known/)).toBeVisible();
  } finally {
    gateway.wake();
  }
  await expect(status(page)).toHaveText("Live");
});

test("a snapshot that comes before the browser's first frame is shown", async ({ page }) => {
  // A busy browser draws late: frames, and the timers that stand in for them, are held back.
  await page.addInitScript(() => {
    const [frame, timer] = [window.requestAnimationFrame, window.setTimeout];
    window.requestAnimationFrame = (draw) => timer(() => frame(draw), 1_500);
    window.setTimeout = ((run: () => void, wait = 0) =>
      timer(run, wait >= 20 && wait <= 120 ? 1_500 : wait)) as typeof window.setTimeout;
  });
  await openPage(page);
});
