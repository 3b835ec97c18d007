import { Gateway } from "./gateway";
import { expect, openPage, test as base } from "./test";

/** An archive that nobody answers for. */
const CONFIG = `
[influxdb]
url = "http://127.0.0.1:1"
org = "o"
bucket = "b"
`;

const test = base.extend<object, { gateway: Gateway }>({
  gateway: [
    async ({}, use) => {
      const gateway = await Gateway.start(CONFIG);
      await use(gateway);
      await gateway.remove();
    },
    { scope: "worker", timeout: 60_000 },
  ],
});

async function push(gateway: Gateway, device: string, ages: readonly number[]): Promise<void> {
  const now = Date.now();
  const answer = await fetch(`${gateway.url}/api/v1/readings`, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify(ages.map((age) => ({ device, metric: "level", value: age, time: now - age }))),
  });
  expect(answer.status, await answer.text()).toBe(200);
}

test("a sensor that fell silent says since when, and is not mistaken for one that speaks", async ({ page, gateway }) => {
  await push(gateway, "gone", [70, 68, 66, 64, 62, 60].map((seconds) => seconds * 1_000));
  await push(gateway, "here", [5, 4, 3, 2, 1, 0].map((seconds) => seconds * 1_000));
  await openPage(page);
  const gone = page.getByRole("article", { name: "gone level" });
  await expect(gone).toContainText(/Silent since .*; usually every 2 s/);
  await expect(gone.locator("time.age")).toHaveText(/^1 min ago/);
  await expect(gone.locator("time.age")).not.toContainText("last known");
  await expect(page.getByRole("article", { name: "here level" })).not.toContainText("Silent");
  await page.getByLabel("State", { exact: true }).selectOption("Silent");
  await expect(page.getByRole("article")).toHaveCount(1);
});

for (const hours of [-3, 5]) {
  test(`ages are right on a device whose clock is ${Math.abs(hours)} hours ${hours < 0 ? "behind" : "ahead"}, and it is told`, async ({ page, gateway }) => {
    await page.clock.install({ time: Date.now() + hours * 3_600_000 });
    await push(gateway, "clocked", [0]);
    await openPage(page);
    const age = page.getByRole("article", { name: "clocked level" }).locator("time.age");
    await expect(age).toHaveText(/^(now|\d+ s ago)$/);
    await page.getByRole("link", { name: "Status" }).click();
    const direction = hours < 0 ? "behind" : "ahead of";
    await expect(page.getByText(new RegExp(`This device's clock is .*h.* ${direction} the gateway's`))).toBeVisible();
  });
}

test("an archive that is away is told where archives are told, and readings go on", async ({ page, gateway }) => {
  await push(gateway, "kept", [0]);
  await openPage(page, "/status");
  await expect(page.getByText(/InfluxDB: (failing; readings wait on the gateway's disk|connecting)/)).toBeVisible();
  await expect(page.getByRole("status")).toHaveText("Live");
});
