import type { Page } from "@playwright/test";
import { expect, openPage, test } from "./test";

async function pushCo2(page: Page, device: string, value: number): Promise<void> {
  const answer = await page.request.post("/api/v1/readings", { data: { device, metric: "co2", value } });
  expect(answer.ok(), await answer.text()).toBe(true);
}

/** What the page would have shown and sounded: the browser of these specs has neither screen nor speaker. */
async function record(page: Page): Promise<void> {
  await page.addInitScript(() => {
    const heard = { tones: 0, notes: [] as string[] };
    Object.assign(window, { heard });
    const start = OscillatorNode.prototype.start;
    OscillatorNode.prototype.start = function (when) {
      heard.tones++;
      start.call(this, when);
    };
    const Real = Notification;
    window.Notification = class extends EventTarget {
      static permission = "granted";
      static requestPermission = async () => "granted";
      constructor(_: string, options: { body: string }) {
        super();
        heard.notes.push(options.body);
      }
      onclick = null;
    } as unknown as typeof Real;
  });
}
const heard = (page: Page) => page.evaluate(() => (window as unknown as { heard: { tones: number; notes: string[] } }).heard);

test("a sound and a notification are off, and when switched on come once for a burst, from one tab", async ({ context, page }) => {
  await record(page);
  await openPage(page, "/alerts");
  const other = await context.newPage();
  await record(other);
  await openPage(other, "/alerts");
  const group = page.getByRole("group", { name: "When an alert begins" });
  await expect(group.getByRole("button", { name: "Sound" })).toHaveAttribute("aria-pressed", "false");
  await expect(group.getByRole("button", { name: "Notification" })).toHaveAttribute("aria-pressed", "false");
  await pushCo2(page, "quiet-room", 1900);
  await expect(page.getByRole("alert")).not.toHaveText("");
  expect(await heard(page)).toEqual({ tones: 0, notes: [] });

  await group.getByRole("button", { name: "Sound" }).click();
  await group.getByRole("button", { name: "Notification" }).click();
  await expect(group).toContainText("also while no tab is seen");
  // Within the announcer's quiet: one message, one sound.
  for (const device of ["room-1", "room-2", "room-3"]) await pushCo2(page, device, 1900);
  await expect.poll(async () => (await heard(page)).notes.length, { timeout: 20_000 }).toBe(1);
  const { tones, notes } = await heard(page);
  expect(tones).toBe(2);
  expect(notes[0]).toMatch(/new alerts|New alert/);
  expect((await heard(other)).notes, "one tab speaks for all").toEqual([]);
  await page.reload();
  await expect(group.getByRole("button", { name: "Notification" })).toHaveAttribute("aria-pressed", "true");
  for (const device of ["quiet-room", "room-1", "room-2", "room-3"]) await pushCo2(page, device, 600);
  await other.close();
});

test("alerts that are over are found in the history", async ({ page }) => {
  for (const value of [1900, 600]) await pushCo2(page, "archive-room", value);
  await openPage(page, "/alerts");
  await page.getByText("Alert history").click();
  const list = page.getByRole("list", { name: /Alert history/ });
  await expect(list.getByRole("listitem").filter({ hasText: "archive-room/co2" })).toContainText("fired for");
  await page.getByRole("searchbox", { name: "Search the history" }).fill("archive-room");
  await expect(list.getByRole("listitem")).toHaveCount(1);
});
