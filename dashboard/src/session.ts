/**
 * Who looks at the page: asked of the gateway at the start and whenever contact is lost, and told to those who listen. Until the gateway says otherwise
 * everybody may everything, so that a page without a login shows at once.
 */
import { forget } from "./keepsake";
import { ROOT } from "./root";

export type Role = "viewer" | "operator" | "admin";

export interface Me {
  /** Whether people must log in. */
  login: boolean;
  name: string | null;
  role: Role;
}

/** In; or out, where `setup` is the secret of the link that makes the first admin. */
export type Session = { state: "in"; me: Me } | { state: "out"; setup: string | null };

/** The secret stands behind this in the address, which no server sees. */
const SETUP = "#setup=";

let session: Session = { state: "in", me: { login: false, name: null, role: "admin" } };
const listeners = new Set<() => void>();
let asking = false;

export function currentSession(): Session {
  return session;
}

/** The name with which somebody logged in; `null` where nobody has to: then people say theirs. */
export function ownName(): string | null {
  return session.state === "in" ? session.me.name : null;
}

export function onSession(listener: () => void): () => void {
  listeners.add(listener);
  return () => listeners.delete(listener);
}

function change(next: Session): void {
  session = next;
  // The style sheet hides what this role may not do.
  document.documentElement.dataset["role"] = next.state === "in" ? next.me.role : "none";
  for (const listener of [...listeners]) listener();
}

/** The gateway answered 401. */
export function loggedOut(): void {
  if (session.state === "out") return;
  const hash = location.hash;
  change({ state: "out", setup: hash.startsWith(SETUP) ? hash.slice(SETUP.length) : null });
}

// Somebody opens the link of the first admin in a tab that asks for a login already.
addEventListener("hashchange", () => {
  if (session.state === "out" && location.hash.startsWith(SETUP)) {
    change({ state: "out", setup: location.hash.slice(SETUP.length) });
  }
});

/** Asks the gateway who looks at the page. Without contact everything stays as it was. */
export async function askWho(): Promise<void> {
  if (asking || session.state === "out") return;
  asking = true;
  try {
    const answer = await fetch(new URL("api/v1/me", ROOT), { headers: { accept: "application/json" } });
    if (answer.status === 401) loggedOut();
    else if (answer.ok) change({ state: "in", me: (await answer.json()) as Me });
  } catch {
    // The state of the link says it.
  } finally {
    asking = false;
  }
}

async function enter(path: string, body: unknown): Promise<void> {
  let answer: Response;
  try {
    answer = await fetch(new URL(path, ROOT), {
      method: "POST",
      headers: { accept: "application/json", "content-type": "application/json" },
      body: JSON.stringify(body),
    });
  } catch {
    throw new Error("No contact with the gateway. Try again.");
  }
  const said = (await answer.json().catch(() => null)) as { name?: string; role?: Role; detail?: string } | null;
  if (!answer.ok || said?.name === undefined || said.role === undefined) {
    const wait = answer.headers.get("retry-after");
    const after = answer.status === 429 && wait !== null ? ` Try again in ${wait} s.` : "";
    throw new Error(`${sentence(said?.detail ?? `The gateway answered ${answer.status}`)}${after}`);
  }
  if (location.hash.startsWith(SETUP)) history.replaceState(history.state, "", location.pathname + location.search);
  change({ state: "in", me: { login: true, name: said.name, role: said.role } });
}

function sentence(text: string): string {
  return `${text.charAt(0).toUpperCase()}${text.slice(1)}${text.endsWith(".") ? "" : "."}`;
}

/** Logs in; a refusal is an error whose message is for people. */
export function logIn(name: string, password: string): Promise<void> {
  return enter("api/v1/login", { name, password });
}

/** Makes the first admin and logs in as them. */
export function setUp(token: string, name: string, password: string): Promise<void> {
  return enter("api/v1/setup", { token, name, password });
}

/** The session ends here even if the gateway can't be told: then it ends there by itself. */
export async function logOut(): Promise<void> {
  await fetch(new URL("api/v1/logout", ROOT), { method: "POST" }).catch(() => undefined);
  loggedOut();
  await forget(ROOT);
}
