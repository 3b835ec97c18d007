/** The stretch of time that a chart shows, and what zooming and panning make of it. Pure; times are epoch milliseconds. */

export interface View {
  /** How long it is. */
  span: number;
  /** Where it ends; `null`: now, and it goes on with it. */
  to: number | null;
}

const MINUTE = 60_000;
const DAY = 24 * 60 * MINUTE;

/** The stretches that a button offers. */
export const SPANS = [
  { ms: 5 * MINUTE, short: "5 min", long: "5 minutes" },
  { ms: 60 * MINUTE, short: "1 h", long: "hour" },
  { ms: DAY, short: "24 h", long: "24 hours" },
  { ms: 7 * DAY, short: "7 d", long: "7 days" },
  { ms: 30 * DAY, short: "30 d", long: "30 days" },
  { ms: 366 * DAY, short: "1 y", long: "year" },
] as const;

export const LIVE_VIEW: View = { span: SPANS[0].ms, to: null };
const SHORTEST = 5_000;
const LONGEST = SPANS[5].ms;

const clamped = (span: number): number => Math.round(Math.min(LONGEST, Math.max(SHORTEST, span)));

export function boundsOf(view: View, now: number): { from: number; to: number } {
  const to = view.to ?? now;
  return { from: to - view.span, to };
}

/** Shows from one time to another, in either order. What reaches beyond now is live. */
export function between(one: number, other: number, now: number): View {
  const [from, to] = [Math.min(one, other), Math.max(one, other)];
  return placed(to, clamped(to - from), now);
}

/** `factor` below 1 shows less; the middle stays, but a live view stays live. */
export function zoomed(view: View, factor: number, now: number): View {
  const span = clamped(view.span * factor);
  return view.to === null ? { span, to: null } : placed(view.to - view.span / 2 + span / 2, span, now);
}

/** Moves by a part of its length: below 0 into the past. */
export function panned(view: View, part: number, now: number): View {
  return placed((view.to ?? now) + view.span * part, view.span, now);
}

function placed(to: number, span: number, now: number): View {
  return to >= now ? { span, to: null } : { span, to: Math.round(to) };
}

/** What an address says; the live five minutes when it says nothing that can be used. */
export function viewOf(query: URLSearchParams): View {
  const span = Number(query.get("span") ?? NaN);
  const to = Number(query.get("to") ?? NaN);
  if (!Number.isFinite(span) || span <= 0) return LIVE_VIEW;
  return { span: clamped(span), to: Number.isFinite(to) && to > 0 ? Math.round(to) : null };
}

export function queryOf(view: View): { span: string | null; to: string | null } {
  const usual = view.span === LIVE_VIEW.span && view.to === null;
  return { span: usual ? null : String(view.span), to: view.to === null ? null : String(view.to) };
}
