import { once } from "node:events";
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { expect, openPage, test as base } from "./test";
import { Gateway } from "./gateway";

/** A receiver that answers as it is told to. */
class Receiver {
  readonly bodies: string[] = [];
  status = 200;
  words = "ok";

  private constructor(private readonly server: Server) {}

  static async start(): Promise<Receiver> {
    const server = createServer();
    const receiver = new Receiver(server);
    server.on("request", (request, answer) => {
      const parts: Buffer[] = [];
      request.on("data", (part: Buffer) => parts.push(part));
      request.on("end", () => {
        receiver.bodies.push(Buffer.concat(parts).toString());
        answer.writeHead(receiver.status).end(receiver.words);
      });
    });
    server.listen(0, "127.0.0.1");
    await once(server, "listening");
    return receiver;
  }

  get url(): string {
    return `http://127.0.0.1:${(this.server.address() as AddressInfo).port}`;
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
      const gateway = await Gateway.start(`[[webhook]]\nname = "chat"\nkind = "slack"\nurl = "${receiver.url}/services/SECRET"\n`);
      await use(gateway);
      await gateway.remove();
    },
    { scope: "worker", timeout: 60_000 },
  ],
});

test("a test is sent with the keyboard and the receiver's real answer is shown and read out", async ({ page, receiver }) => {
  const pushed = await page.request.post("/api/v1/readings", { data: { device: "tank", metric: "level", value: 1 } });
  expect(pushed.ok()).toBe(true);
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
