import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, test } from "@playwright/test";
import { freePort } from "./gateway";

test("a changed config that cannot be used is shown with its faults, until one that can be", async ({ page }) => {
  const folder = await mkdtemp(join(tmpdir(), "gateway-reload-"));
  const port = await freePort();
  const file = join(folder, "gateway.toml");
  const config = (rest: string) => writeFile(file, `data_dir = "data"\n${rest}\n[http]\nlisten = "127.0.0.1:${port}"\n`);
  await config("");
  const gateway = spawn(process.env["GATEWAY_BIN"] ?? "", ["run", "--config", file], { stdio: "ignore" });
  try {
    const url = `http://127.0.0.1:${port}`;
    await expect
      .poll(() => fetch(`${url}/readyz`).then((answer) => answer.ok, () => false), { timeout: 30_000 })
      .toBe(true);
    await page.goto(`${url}/status`);
    await expect(page.getByRole("status")).toHaveText("Live");
    const section = page.getByRole("region", { name: "Sources and status" });

    await config('sight = "x"\n[[rule]]\nname = "cold"');
    gateway.kill("SIGHUP");
    await expect(section).toContainText("The changed config was refused");
    await expect(section).toContainText("gateway.toml:2:1");
    await expect(section).toContainText("gateway.toml:3:1");

    await config("[journal]\nkeep = \"8 MiB\"");
    gateway.kill("SIGHUP");
    await expect(section).toContainText("in force after a restart of the gateway: journal");
    await expect(section).not.toContainText("refused");
  } finally {
    gateway.kill("SIGKILL");
    if (gateway.exitCode === null && gateway.signalCode === null) await once(gateway, "exit");
    await rm(folder, { recursive: true, force: true });
  }
});
