import { expect, test } from "./test";

interface Heard {
  values: number[];
  greetings: string[];
}

test("an EventSource hears everything once over drops of its connection, and its stream comes packed", async ({
  page,
  gateway,
  door,
  complaints,
}) => {
  complaints.allowFailedRequests();
  const push = async (value: number): Promise<void> => {
    const answer = await fetch(`${gateway.url}/api/v1/readings`, {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify({ device: "own", metric: "count", value }),
    });
    expect(answer.status).toBe(200);
  };
  await page.goto("/");
  const answered = page.waitForResponse((answer) => answer.url().includes("series=own"));
  await page.evaluate(() => {
    const heard: Heard = { values: [], greetings: [] };
    Object.assign(window, { heard });
    const source = new EventSource("/events?series=own/count&types=readings");
    source.addEventListener("readings", (event) => {
      const { series } = JSON.parse((event as MessageEvent<string>).data) as { series: Record<string, { v: number[] }> };
      heard.values.push(...(series["own/count"]?.v ?? []));
    });
    for (const name of ["snapshot", "resume", "gap"]) source.addEventListener(name, () => heard.greetings.push(name));
  });
  const heard = (): Promise<Heard> => page.evaluate(() => (window as unknown as { heard: Heard }).heard);
  expect((await answered).headers()["content-encoding"]).toBe("gzip");
  await expect.poll(async () => (await heard()).greetings).toEqual(["snapshot"]);
  const expected: number[] = [];
  const greetings = ["snapshot"];
  for (let value = 1; value <= 30; value++) {
    await push(value);
    expected.push(value);
    if (value % 10 === 0 && value < 30) {
      await expect.poll(async () => (await heard()).values).toEqual(expected);
      // The browser waits for as long as `retry:` says; what is pushed meanwhile is missed.
      door.cut();
      greetings.push("resume");
    } else if (value % 10 === 3 && value > 10) {
      await expect.poll(async () => (await heard()).greetings, { timeout: 20_000 }).toEqual(greetings);
    }
  }
  await expect.poll(async () => (await heard()).values).toEqual(expected);
  expect((await heard()).greetings).toEqual(greetings);
});
