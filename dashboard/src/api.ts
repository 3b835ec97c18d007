/**
 * The REST answers that the page fetches. At most two requests are open at once: HTTP/1.1 gives a browser six
 * connections to a gateway, and other tabs hold streams.
 */
import type { Points, Status } from "./wire";

/** Requests open at once. */
const AT_ONCE = 2;

let open = 0;
const waiting: (() => void)[] = [];

async function inTurn<T>(work: () => Promise<T>): Promise<T> {
  if (open >= AT_ONCE) await new Promise<void>((go) => waiting.push(go));
  else open++;
  try {
    return await work();
  } finally {
    const next = waiting.shift();
    if (next === undefined) open--;
    else next();
  }
}

async function getJson<T>(path: string, signal: AbortSignal): Promise<T> {
  return inTurn(async () => {
    signal.throwIfAborted();
    const answer = await fetch(new URL(path, document.baseURI), {
      headers: { accept: "application/json" },
      signal,
    });
    if (!answer.ok) throw new Error(`${path.split("?")[0]} answered ${answer.status}`);
    return (await answer.json()) as T;
  });
}

/** The points of a series from `from` (epoch milliseconds) until now, at most `points` of them. */
export function fetchPoints(
  series: { device: string; metric: string },
  from: number,
  points: number,
  signal: AbortSignal,
): Promise<Points> {
  const path = `api/v1/series/${encodeURIComponent(series.device)}/${encodeURIComponent(series.metric)}/points`;
  return getJson<Points>(`${path}?from=${Math.round(from)}&points=${points}`, signal);
}

export function fetchStatus(signal: AbortSignal): Promise<Status> {
  return getJson<Status>("api/v1/status", signal);
}
