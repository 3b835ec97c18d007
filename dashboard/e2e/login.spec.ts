/** Where people must log in: the first admin, the way in and out, what each role is offered, and what happens when a session ends meanwhile. */
import { expect, type Page } from "@playwright/test";
import { Gateway } from "./gateway";
import { test as base } from "./test";

const PASSWORD = "correct horse battery";
const RULE = '[[rule]]\nname = "hot"\nseries = "*/temperature"\nabove = 80\n';

const test = base.extend<{ asked: undefined }, { gateway: Gateway }>({
  gateway: [
    async ({}, use) => {
      const gateway = await Gateway.start(`login = "on"\n${RULE}`);
      await use(gateway);
      await gateway.remove();
    },
    { scope: "worker", timeout: 60_000 },
  ],
});

async function logIn(page: Page, name: string): Promise<void> {
  await page.getByLabel("Name").fill(name);
  await page.getByLabel("Password").fill(PASSWORD);
  await page.keyboard.press("Enter");
  await expect(page.getByRole("button", { name: "Sign out" })).toBeVisible();
}

/** Fits into the width of a phone, and everything on it can be reached. */
async function fits(page: Page): Promise<void> {
  const wide = await page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
  expect(wide).toBe(0);
}

test("people log in, are offered what their role may under their own name, and log out", async ({ page, gateway, door, complaints }) => {
  // Each 401 is an error to the browser's console.
  complaints.allowFailedRequests();
  await page.setViewportSize({ width: 360, height: 640 });

  // Without the link: a login that nobody has yet.
  await page.goto(door.url);
  await expect(page.getByRole("heading", { name: "Log in" })).toBeVisible();
  await expect(page.getByLabel("Name")).toBeFocused();
  await fits(page);
  await page.getByLabel("Name").fill("anna");
  await page.getByLabel("Password").fill("not the password");
  await page.keyboard.press("Enter");
  await expect(page.getByText("Name or password is wrong.")).toBeFocused();

  // With the link, by keyboard alone.
  const secret = gateway.setupSecret();
  await page.goto(`${door.url}/?first#setup=${secret}`);
  await expect(page.getByRole("heading", { name: "Make the first admin" })).toBeVisible();
  await fits(page);
  await page.keyboard.type("anna");
  await page.keyboard.press("Tab");
  await page.keyboard.type(PASSWORD);
  await page.keyboard.press("Tab");
  await page.keyboard.type("another one here");
  await page.keyboard.press("Enter");
  await expect(page.getByText("The two passwords are not the same.")).toBeFocused();
  await page.getByLabel("The same password again").fill(PASSWORD);
  await page.keyboard.press("Enter");
  await expect(page.getByRole("button", { name: "Sign out" })).toBeVisible();
  await expect(page.locator(".link-live")).toBeVisible();
  await fits(page);
  expect(page.url()).not.toContain("setup");

  // An admin may everything: here, make a viewer.
  const made = await page.evaluate(
    (password) =>
      fetch("/api/v1/users", {
        method: "POST",
        headers: { "content-type": "application/json" },
        body: JSON.stringify({ name: "vera", role: "viewer", password }),
      }).then((answer) => answer.status),
    PASSWORD,
  );
  expect(made).toBe(201);

  // Who is logged in says no name for what they do.
  await page.goto(`${door.url}/alerts`);
  await page.getByRole("button", { name: "New silence" }).click();
  const dialog = page.getByRole("dialog");
  await expect(dialog.getByRole("button", { name: "Cancel" })).toBeVisible();
  await expect(dialog.getByLabel("Your name")).toHaveCount(0);
  await dialog.getByRole("button", { name: "Cancel" }).click();

  await page.goto(`${door.url}/rules`);
  await expect(page.getByRole("button", { name: "New rule" })).toBeVisible();
  const kept = () => page.evaluate(async () => (await caches.keys()).filter((name) => name.startsWith("last-known")).length);
  // A page that is left keeps what it knows, for a visit while the gateway is away.
  await page.reload();
  await expect.poll(kept).toBe(1);
  await page.getByRole("button", { name: "Sign out" }).click();
  await expect(page.getByRole("heading", { name: "Log in" })).toBeVisible();
  await expect.poll(kept).toBe(0);

  // Back where she was; a viewer is offered nothing that the gateway would refuse.
  await logIn(page, "vera");
  await expect(page.getByText("hot").first()).toBeVisible();
  await expect(page.getByRole("button", { name: "New rule" })).toBeHidden();
  for (const button of await page.locator("[data-operate]").all()) await expect(button).toBeHidden();

  // The session ends elsewhere: the page asks for the login and comes back.
  await page.evaluate(() => fetch("/api/v1/logout", { method: "POST" }));
  await expect(page.getByRole("heading", { name: "Log in" })).toBeVisible({ timeout: 30_000 });
  await logIn(page, "vera");
  await expect(page.locator(".link-live")).toBeVisible();
});
