import type { Page } from "@playwright/test";
import { expect, goTo, openPage, push, test as base } from "./test";
import { Gateway } from "./gateway";
import { type Answer, Receiver } from "./receiver";

/** A webhook receiver that refuses for good, until it is told not to. */
class Refusing extends Receiver {
  readonly taken: { id: string; summary: string }[] = [];
  refuses = true;

  protected hear(_path: string, body: Buffer): Answer {
    if (this.refuses) return { status: 422 };
    this.taken.push(JSON.parse(body.toString()) as { id: string; summary: string });
    return { status: 204 };
  }
}

const test = base.extend<{}, { receiver: Refusing }>({
  receiver: [
    async ({}, use) => new Refusing().during(use),
    { scope: "worker" },
  ],
  gateway: [
    async ({ receiver }, use) => Gateway.during(`[[rule]]\nname = "too hot"\nseries = "*/temperature"\nabove = 80\n[[webhook]]\nname = "ops"\nurl = "${receiver.url}/hook"\n`, use),
    { scope: "worker", timeout: 60_000 },
  ],
});

const fire = (page: Page, device: string): Promise<void> => push(page, { device, metric: "temperature", value: 90 });

test("messages that were not delivered are listed, sent again, changed and discarded with the keyboard", async ({ page, receiver, complaints }) => {
  complaints.allowFailedRequests();
  for (const device of ["north", "south", "east"]) await fire(page, device);
  await expect
    .poll(async () => ((await (await page.request.get("/api/v1/deliveries/dead-letters")).json()) as { total: number }).total)
    .toBe(3);
  await openPage(page, "/status");
  // What is asked for again and again is asked for where it is looked at.
  const list = page.getByRole("region", { name: /not delivered$/ }).first();
  const heading = list.getByRole("heading").first();
  await heading.scrollIntoViewIfNeeded();
  await expect(heading).toHaveText("3 messages not delivered");
  const row = list.getByRole("row").filter({ hasText: "too hot: north/temperature, firing" });
  await expect(row).toContainText("422");
  await expect(row).toContainText("after one try");

  // On a phone the table scrolls, and not the page.
  const size = page.viewportSize();
  await page.setViewportSize({ width: 360, height: 740 });
  expect(await page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth)).toBe(0);
  if (size !== null) await page.setViewportSize(size);

  receiver.refuses = false;
  await row.getByRole("button", { name: /^Send again/ }).focus();
  await page.keyboard.press("Enter");
  const dialog = page.getByRole("dialog");
  await dialog.getByLabel("Your name").fill("Ada");
  await dialog.getByRole("button", { name: "Send again" }).click();
  await expect(heading).toHaveText("2 messages not delivered");
  await expect(heading).toBeFocused();
  await expect.poll(() => receiver.taken.length).toBe(1);

  // Put right by hand: a slip is said where the person looks.
  await list.getByRole("button", { name: /^Change and send: .*south/ }).click();
  const message = dialog.getByLabel("The message");
  const written = JSON.parse(await message.inputValue()) as Record<string, unknown>;
  await message.fill("{");
  await dialog.getByRole("button", { name: "Send this" }).click();
  await expect(dialog).toContainText("This is not JSON");
  await message.fill(JSON.stringify({ ...written, alert_id: "other" }));
  await dialog.getByRole("button", { name: "Send this" }).click();
  await expect(dialog).toContainText("must stay about the same alert");
  await message.fill(JSON.stringify({ ...written, summary: "put right" }));
  await dialog.getByRole("button", { name: "Send this" }).click();
  await expect(heading).toHaveText("1 message not delivered");
  await expect.poll(() => receiver.taken.map((taken) => taken.summary)).toContain("put right");
  expect(receiver.taken.find((taken) => taken.summary === "put right")?.id).toMatch(/~1$/);

  await list.getByRole("button", { name: "Discard all…" }).click();
  await dialog.getByRole("button", { name: "Discard for good" }).click();
  await expect(list).toHaveCount(0);
  await goTo(page, "Alerts");
  await page.getByText("Audit trail").click();
  const trail = page.getByRole("list", { name: /Audit trail/ });
  await expect(trail.getByRole("listitem").first()).toContainText("Ada discarded 1 message to all webhooks");
});
