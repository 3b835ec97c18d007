/**
 * The last known state, kept in the browser for a page that is opened while the gateway is away. One snapshot, without points;
 * the browser's cache holds it, where there is one (HTTPS or loopback).
 */
import type { SnapshotEvent } from "./wire";

const NAME = "last-known";

/** Keeps what is known for next time; what can't be kept is not. */
export async function keep(root: string, known: SnapshotEvent): Promise<void> {
  try {
    const cache = await caches.open(`${NAME} ${new URL(root).pathname}`);
    await cache.put(new URL(NAME, root), new Response(JSON.stringify(known), { headers: { "content-type": "application/json" } }));
  } catch {
    // No cache, or no room in it: then the page opens empty.
  }
}

/** What was kept last; `null` when nothing was. */
export async function kept(root: string): Promise<SnapshotEvent | null> {
  try {
    const cache = await caches.open(`${NAME} ${new URL(root).pathname}`);
    const answer = await cache.match(new URL(NAME, root));
    return answer === undefined ? null : ((await answer.json()) as SnapshotEvent);
  } catch {
    return null;
  }
}

/** Somebody logged out: what they saw is not left behind for whoever comes next. */
export async function forget(root: string): Promise<void> {
  try {
    await caches.delete(`${NAME} ${new URL(root).pathname}`);
  } catch {
    // No cache: nothing was kept.
  }
}
