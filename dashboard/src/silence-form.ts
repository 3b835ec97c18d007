/** From what a person fills in to a silence. Pure: the caller hands in the time. */
import { DAYS, type Hours, hoursText, readDays } from "./hours";
import type { Alert, Matcher, Silence } from "./wire";

/** What can be filled in. Empty means any. */
export const FIELDS = ["device", "rule", "series", "site", "severity"] as const;
export type Field = (typeof FIELDS)[number];
export type Filled = Record<Field, string>;

/** How long one lasts that does not recur. */
export const LENGTHS = ["hour", "hours", "tomorrow", "custom"] as const;
/** How long one goes on that recurs. */
export const REPEAT_LENGTHS = ["month", "year", "custom"] as const;
export type Length = (typeof LENGTHS)[number] | (typeof REPEAT_LENGTHS)[number];

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
    case "month":
    case "year": {
      const later = new Date(base);
      // The last of a month where the day is missing.
      const day = later.getDate();
      later.setDate(1);
      later.setMonth(later.getMonth() + (length === "year" ? 12 : 1));
      const last = new Date(later.getFullYear(), later.getMonth() + 1, 0).getDate();
      later.setDate(Math.min(day, last));
      return later.getTime();
    }
    case "custom":
      return localTime(custom);
  }
}

/** As the gateway wants the hours of one that recurs: every day by name, and both times. */
export function repeatOf({ days, from, to, zone }: Hours): NonNullable<Silence["repeat"]> {
  return {
    days: days.length === 0 ? [...DAYS] : [...days],
    from: from.trim() || "00:00",
    to: to.trim() || "24:00",
    zone: zone.trim(),
  };
}

/** What a field for a date with a time says, in the viewer's zone; `null` if it is empty. */
export function localTime(value: string): number | null {
  const time = new Date(value).getTime();
  return value === "" || Number.isNaN(time) ? null : time;
}

/** What is wrong with the times of these hours; nothing: they can be read. */
export function timesFault({ from, to }: Hours): string {
  const isTime = (text: string) => /^(?:(?:[01]\d|2[0-3]):[0-5]\d|24:00)?$/.test(text.trim());
  return isTime(from) && isTime(to) ? "" : "Times are written as in 08:00 or 22:30.";
}

/** Hours of the week in words: `Mon–Fri 22:00–06:00 Europe/Berlin`. */
export function repeatText(repeat: NonNullable<Silence["repeat"]>): string {
  const days = readDays(repeat.days);
  return days === null ? `${repeat.days.join(", ")} ${repeat.from}–${repeat.to} ${repeat.zone}` : hoursText({ ...repeat, days });
}

/** A matcher in words: `device boiler`, `rule like hot*`. */
export function matcherText({ name, value, glob }: Matcher): string {
  return `${name.replace(/^label\./, "")} ${glob ? "like " : ""}${value}`;
}
