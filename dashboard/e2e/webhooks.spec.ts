import { expect, openPage, push, test as base } from "./test";
import { Gateway } from "./gateway";
import { type Answer, Receiver } from "./receiver";

/** A receiver that answers as it is told to. */
class Told extends Receiver {
  readonly bodies: string[] = [];
  status = 200;
  words = "ok";

  protected hear(_path: string, body: Buffer): Answer {
    this.bodies.push(body.toString());
    return { status: this.status, words: this.words };
  }
}

const test = base.extend<{}, { receiver: Told }>({
  receiver: [
    async ({}, use) => new Told().during(use),
    { scope: "worker" },
  ],
  gateway: [
    async ({ receiver }, use) => Gateway.during(`[[webhook]]\nname = "chat"\nkind = "slack"\nurl = "${receiver.url}/services/SECRET"\n`, use),
    { scope: "worker", timeout: 60_000 },
  ],
});

test("a test is sent with the keyboard and the receiver's real answer is shown and read out", async ({ page, receiver }) => {
  await push(page, { device: "tank", metric: "level", value: 1 });
  await openPage(page, "/status");
  const table = page.getByRole("region", { name: "Webhooks" }).first();
  const row = table.getByRole("row").filter({ hasText: "chat" });
  await expect(row).toContainText("Slack, http://127.0.0.1");
  await expect(row).toContainText("nothing sent yet");
  await expect(page.getByText("SECRET")).toHaveCount(0);

  await row.getByRole("button", { name: "Send a test to chat" }).focus();
  await page.keyboard.press("Enter");
  const outcome = page.getByText("Test delivered to chat: 200 OK");
  await expect(outcome).toBeFocused();
  await expect(page.locator("pre")).toHaveText("ok");
  expect(receiver.bodies[0]).toContain("[TEST]");

  receiver.status = 403;
  receiver.words = "invalid_token";
  await row.getByRole("button", { name: "Send a test to chat" }).focus();
  await page.keyboard.press("Space");
  await expect(page.getByText("Test not delivered to chat: 403 Forbidden")).toBeFocused();
  await expect(page.locator("pre")).toHaveText("invalid_token");

  // On a phone the table scrolls, and not the page; and no live region was added.
  await page.setViewportSize({ width: 360, height: 740 });
  expect(await page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth)).toBe(0);
  await expect(page.locator("[role=status], [role=alert], [role=log], [aria-live], output")).toHaveCount(2);
});
