/**
 * The REST answers that the page fetches. At most two requests are open at once: HTTP/1.1 gives a browser six
 * connections to a gateway, and other tabs hold streams.
 */
import type { AlertChange, AuditEntry, DeadLetters, Matcher, Points, Status, UndeliveredList } from "./wire";

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
    const answer = await ask(path, { signal });
    return (await answer.json()) as T;
  });
}

async function ask(path: string, init: RequestInit): Promise<Response> {
  const answer = await fetch(new URL(path, document.baseURI), { ...init, headers: { accept: "application/json" } });
  if (!answer.ok) throw new Error(`${path.split("?")[0]} answered ${answer.status}`);
  return answer;
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

/** The newest points that InfluxDB refused, at most `limit` of them. */
export function fetchDeadLetters(limit: number, signal: AbortSignal): Promise<DeadLetters> {
  return getJson<DeadLetters>(`api/v1/dead-letters?limit=${limit}`, signal);
}

/** Has one refused point sent again, or all. */
export async function replayDeadLetters(id: number | null): Promise<void> {
  await inTurn(() => ask(id === null ? "api/v1/dead-letters/replay" : `api/v1/dead-letters/${id}/replay`, { method: "POST" }));
}

/** Forgets one refused point, or all. */
export async function discardDeadLetters(id: number | null): Promise<void> {
  await inTurn(() => ask(id === null ? "api/v1/dead-letters" : `api/v1/dead-letters/${id}`, { method: "DELETE" }));
}

/** What a person asked for was not done; the message is the gateway's own. */
export class Refused extends Error {}

async function send(method: "POST" | "DELETE", path: string, body?: unknown): Promise<void> {
  let answer: Response;
  try {
    answer = await fetch(new URL(path, document.baseURI), {
      method,
      headers: { accept: "application/json", ...(body === undefined ? {} : { "content-type": "application/json" }) },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    });
  } catch {
    throw new Refused("No contact with the gateway: nothing was changed, or it is not known. Try again.");
  }
  if (answer.ok) return;
  const problem = (await answer.json().catch(() => null)) as { detail?: string } | null;
  throw new Refused(problem?.detail ?? `The gateway answered ${answer.status}.`);
}

/** What happened to an alert, the oldest change first. */
export async function fetchChanges(alert: string, signal: AbortSignal): Promise<AlertChange[]> {
  return (await getJson<{ changes: AlertChange[] }>(`api/v1/alerts/${encodeURIComponent(alert)}`, signal)).changes;
}

export function acknowledge(alert: string, by: string, comment: string): Promise<void> {
  return send("POST", `api/v1/alerts/${encodeURIComponent(alert)}/acknowledge`, { by, comment });
}

export function takeBackAcknowledgement(alert: string, by: string): Promise<void> {
  return send("DELETE", `api/v1/alerts/${encodeURIComponent(alert)}/acknowledge?by=${encodeURIComponent(by)}`);
}

export interface NewSilence {
  matchers: Matcher[];
  /** None: at once. */
  starts_at?: string;
  ends_at: string;
  created_by: string;
  comment: string;
}

export function createSilence(silence: NewSilence): Promise<void> {
  return send("POST", "api/v1/silences", silence);
}

export function endSilence(id: string, by: string): Promise<void> {
  return send("DELETE", `api/v1/silences/${encodeURIComponent(id)}?by=${encodeURIComponent(by)}`);
}

/** The newest deliveries that were given up, at most `limit` of them. */
export function fetchUndelivered(limit: number, signal: AbortSignal): Promise<UndeliveredList> {
  return getJson<UndeliveredList>(`api/v1/deliveries/dead-letters?limit=${limit}`, signal);
}

/** Has one of them sent again, or all; `message`: what instead. */
export function replayDeliveries(number: number | null, by: string, message?: unknown): Promise<void> {
  const one = number === null ? "" : `/${number}`;
  return send("POST", `api/v1/deliveries/dead-letters${one}/replay`, { by, ...(message === undefined ? {} : { message }) });
}

/** Forgets one of them, or all. */
export function discardDeliveries(number: number | null, by: string): Promise<void> {
  const one = number === null ? "" : `/${number}`;
  return send("DELETE", `api/v1/deliveries/dead-letters${one}?by=${encodeURIComponent(by)}`);
}

/** The newest lines of the audit trail. */
export async function fetchAudit(limit: number, signal: AbortSignal): Promise<AuditEntry[]> {
  return (await getJson<{ audit: AuditEntry[] }>(`api/v1/audit?limit=${limit}`, signal)).audit;
}
