/** From what a person fills in to a silence. Pure: the caller hands in the time. */
import type { Alert, Matcher, Silence } from "./wire";

/** What can be filled in. Empty means any. */
export const FIELDS = ["device", "rule", "series", "site", "severity"] as const;
export type Field = (typeof FIELDS)[number];
export type Filled = Record<Field, string>;

export const LENGTHS = ["hour", "hours", "tomorrow", "custom"] as const;
export type Length = (typeof LENGTHS)[number];

const HOUR_MS = 3_600_000;
/** No gateway can run before this: an earlier clock was never set. */
const NOT_SET_BEFORE = Date.UTC(2026, 0, 1);

/** Filled in from an alert: its device and its rule. */
export function filledFrom(alert: Alert | null): Filled {
  const slash = alert?.series.lastIndexOf("/") ?? -1;
  return {
    device: alert?.series.slice(0, Math.max(0, slash)) ?? "",
    rule: alert?.rule ?? "",
    series: "",
    site: "",
    severity: "",
  };
}

/** `*` and `?` make a pattern, unless they stand in a name that was filled in from an alert. */
export function matchersOf(filled: Filled, given: Filled): Matcher[] {
  return FIELDS.filter((name) => filled[name].trim() !== "").map((name) => {
    const value = filled[name].trim();
    return { name, value, glob: value !== given[name] && /[*?]/.test(value) };
  });
}

/** The time to count from: the gateway's, unless its clock is not set. */
export function baseTime(gatewayNow: number, ownNow: number): number {
  return gatewayNow < NOT_SET_BEFORE ? ownNow : gatewayNow;
}

/** When it ends; `custom` is the value of a field for a date with a time. `null` if that is none. */
export function endOf(length: Length, base: number, custom: string): number | null {
  switch (length) {
    case "hour":
      return base + HOUR_MS;
    case "hours":
      return base + 4 * HOUR_MS;
    case "tomorrow": {
      const morning = new Date(base);
      morning.setDate(morning.getDate() + 1);
      morning.setHours(8, 0, 0, 0);
      return morning.getTime();
    }
    case "custom":
      return localTime(custom);
  }
}

/** What a field for a date with a time says, in the viewer's zone; `null` if it is empty. */
export function localTime(value: string): number | null {
  const time = new Date(value).getTime();
  return value === "" || Number.isNaN(time) ? null : time;
}

/** Hours of the week in words: `mon, tue 22:00–06:00 Europe/Berlin`. */
export function repeatText({ days, from, to, zone }: NonNullable<Silence["repeat"]>): string {
  return `${days.length === 7 ? "every day" : days.join(", ")} ${from}–${to} ${zone}`;
}

/** A matcher in words: `device boiler`, `rule like hot*`. */
export function matcherText({ name, value, glob }: Matcher): string {
  return `${name.replace(/^label\./, "")} ${glob ? "like " : ""}${value}`;
}
