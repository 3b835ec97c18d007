/**
 * The REST answers that the page fetches. At most two requests are open at once: HTTP/1.1 gives a browser six
 * connections to a gateway, and other tabs hold streams.
 */
import { ROOT } from "./root";
import type { Alert, AlertChange, AuditEntry, ConfiguredWebhook, DeadLetters, DryRun, Matcher, Points, Rule, RuleBody, RuleFault, SeriesWindow, Silence, Status, Trial, UndeliveredList } from "./wire";

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
  const answer = await fetch(new URL(path, ROOT), { ...init, headers: { accept: "application/json" } });
  if (!answer.ok) throw new Error(`${path.split("?")[0]} answered ${answer.status}`);
  return answer;
}

/** The points of a series from `from` (epoch milliseconds) until `to` (none: now), at most `points` of them. */
export function fetchPoints(
  series: { device: string; metric: string },
  from: number,
  points: number,
  signal: AbortSignal,
  to: number | null = null,
): Promise<Points> {
  const until = to === null ? "" : `&to=${Math.round(to)}`;
  return getJson<Points>(`${seriesPath(series)}/points?from=${Math.round(from)}${until}&points=${points}`, signal);
}

const seriesPath = ({ device, metric }: { device: string; metric: string }): string =>
  `api/v1/series/${encodeURIComponent(device)}/${encodeURIComponent(metric)}`;

/** The aggregates of a series, of all configured windows. */
export async function fetchWindows(series: { device: string; metric: string }, signal: AbortSignal): Promise<SeriesWindow[]> {
  return (await getJson<{ windows: SeriesWindow[] }>(`${seriesPath(series)}/windows`, signal)).windows;
}

/** Alerts that are or were, newest first, at most `limit` of them. */
export async function fetchAlerts(limit: number, signal: AbortSignal): Promise<Alert[]> {
  return (await getJson<{ alerts: Alert[] }>(`api/v1/alerts?state=all&limit=${limit}`, signal)).alerts;
}

export function fetchStatus(signal: AbortSignal): Promise<Status> {
  return getJson<Status>("api/v1/status", signal);
}

export async function fetchWebhooks(signal: AbortSignal): Promise<ConfiguredWebhook[]> {
  return (await getJson<{ webhooks: ConfiguredWebhook[] }>("api/v1/webhooks", signal)).webhooks;
}

/** Sends a test to a webhook and waits for what it answers. */
export async function testWebhook(name: string): Promise<Trial> {
  const path = `api/v1/webhooks/${encodeURIComponent(name)}/test`;
  const answer = await request("POST", path);
  return (await answer.json()) as Trial;
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
export class Refused extends Error {
  constructor(
    message: string,
    /** What is wrong with a rule. */
    readonly faults: readonly RuleFault[] = [],
    /** What it is now, when somebody else was first. */
    readonly current: unknown = null,
  ) {
    super(message);
  }
}

async function request(method: "POST" | "PUT" | "DELETE", path: string, body?: unknown, version?: number): Promise<Response> {
  let answer: Response;
  try {
    answer = await fetch(new URL(path, ROOT), {
      method,
      headers: {
        accept: "application/json",
        ...(body === undefined ? {} : { "content-type": "application/json" }),
        ...(version === undefined ? {} : { "if-match": `"${version}"` }),
      },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    });
  } catch {
    throw new Refused("No contact with the gateway: nothing was changed, or it is not known. Try again.");
  }
  if (answer.ok) return answer;
  const problem = (await answer.json().catch(() => null)) as { detail?: string; errors?: RuleFault[]; current?: unknown } | null;
  throw new Refused(problem?.detail ?? `The gateway answered ${answer.status}.`, problem?.errors, problem?.current);
}

async function send(...asked: Parameters<typeof request>): Promise<void> {
  await request(...asked);
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

/** Ends a firing alert although its condition is true. */
export function closeAlert(alert: string, by: string, comment: string): Promise<void> {
  return send("POST", `api/v1/alerts/${encodeURIComponent(alert)}/close`, { by, comment });
}

/** Puts an alert aside for a time as in `8h`. */
export function shelve(alert: string, span: string, by: string, comment: string): Promise<void> {
  return send("POST", `api/v1/alerts/${encodeURIComponent(alert)}/shelve`, { by, for: span, comment });
}

export function takeOffShelf(alert: string, by: string): Promise<void> {
  return send("DELETE", `api/v1/alerts/${encodeURIComponent(alert)}/shelve?by=${encodeURIComponent(by)}`);
}

export interface NewSilence {
  matchers: Matcher[];
  /** None: at once. */
  starts_at?: string;
  ends_at: string;
  created_by: string;
  comment: string;
  /** Only at these hours of the week; none: all the time. */
  repeat?: NonNullable<Silence["repeat"]>;
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

/** All rules, those of the config first. */
export async function fetchRules(signal: AbortSignal): Promise<Rule[]> {
  return (await getJson<{ rules: Rule[] }>("api/v1/rules", signal)).rules;
}

const rulePath = (id: string): string => `api/v1/rules/${encodeURIComponent(id)}`;

/** Makes a rule, or changes one that is still at this version. */
export async function saveRule(known: { id: string; version: number } | null, rule: RuleBody, enabled: boolean, by: string): Promise<void> {
  const body = { rule, enabled, by };
  if (known === null) await send("POST", "api/v1/rules", body);
  else await send("PUT", rulePath(known.id), body, known.version);
}

export async function switchRule(id: string, on: boolean, by: string): Promise<void> {
  await send("POST", `${rulePath(id)}/${on ? "enable" : "disable"}`, { by });
}

export async function deleteRule(id: string, version: number, by: string): Promise<void> {
  await send("DELETE", `${rulePath(id)}?by=${encodeURIComponent(by)}`, undefined, version);
}

/** What a rule would have done since `from` (epoch milliseconds). */
export async function dryRun(rule: RuleBody, from: number): Promise<DryRun> {
  return (await (await request("POST", "api/v1/rules/dry-run", { rule, from: String(Math.round(from)) })).json()) as DryRun;
}
