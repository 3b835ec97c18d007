import { once } from "node:events";
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import type { Page } from "@playwright/test";
import { expect, goTo, openPage, test as base } from "./test";
import { Gateway } from "./gateway";

/** A webhook receiver that refuses for good, until it is told not to. */
class Receiver {
  readonly taken: { id: string; summary: string }[] = [];
  refuses = true;

  private constructor(private readonly server: Server) {}

  static async start(): Promise<Receiver> {
    const server = createServer();
    const receiver = new Receiver(server);
    server.on("request", (request, answer) => {
      const parts: Buffer[] = [];
      request.on("data", (part: Buffer) => parts.push(part));
      request.on("end", () => {
        if (receiver.refuses) return answer.writeHead(422).end();
        receiver.taken.push(JSON.parse(Buffer.concat(parts).toString()) as { id: string; summary: string });
        return answer.writeHead(204).end();
      });
    });
    server.listen(0, "127.0.0.1");
    await once(server, "listening");
    return receiver;
  }

  get url(): string {
    return `http://127.0.0.1:${(this.server.address() as AddressInfo).port}/hook`;
  }

  async stop(): Promise<void> {
    this.server.closeAllConnections();
    this.server.close();
    await once(this.server, "close");
  }
}

const test = base.extend<{}, { receiver: Receiver }>({
  receiver: [
    async ({}, use) => {
      const receiver = await Receiver.start();
      await use(receiver);
      await receiver.stop();
    },
    { scope: "worker" },
  ],
  gateway: [
    async ({ receiver }, use) => {
      const gateway = await Gateway.start(
        `[[rule]]\nname = "too hot"\nseries = "*/temperature"\nabove = 80\n[[webhook]]\nname = "ops"\nurl = "${receiver.url}"\n`,
      );
      await use(gateway);
      await gateway.remove();
    },
    { scope: "worker", timeout: 60_000 },
  ],
});

async function fire(page: Page, device: string): Promise<void> {
  const answer = await page.request.post("/api/v1/readings", { data: { device, metric: "temperature", value: 90 } });
  expect(answer.ok(), await answer.text()).toBe(true);
}

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
