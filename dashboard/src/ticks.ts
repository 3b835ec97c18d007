/** The times on an axis, in the viewer's zone or in UTC. */

const MINUTE = 60;
const HOUR = 60 * MINUTE;
const DAY = 24 * HOUR;

/** Steps of a time axis in seconds. */
export const tickSteps = [
  ...[1, 2, 5, 10, 15, 30],
  ...[MINUTE, 2 * MINUTE, 5 * MINUTE, 10 * MINUTE, 15 * MINUTE, 30 * MINUTE],
  ...[HOUR, 2 * HOUR, 3 * HOUR, 6 * HOUR, 12 * HOUR],
  ...[DAY, 2 * DAY, 7 * DAY, 14 * DAY, 30 * DAY, 61 * DAY],
];

const formats = new Map<string, Intl.DateTimeFormat>();

function format(name: string, options: Intl.DateTimeFormatOptions, utc: boolean): Intl.DateTimeFormat {
  const key = `${name}${utc}`;
  let found = formats.get(key);
  if (found === undefined) formats.set(key, (found = new Intl.DateTimeFormat(undefined, utc ? { ...options, timeZone: "UTC" } : options)));
  return found;
}

/** One time of an axis that has one every `stepSeconds` and is `span` milliseconds long. */
export function tickText(time: number, stepSeconds: number, span: number, utc = false): string {
  const at = new Date(time);
  const midnight = utc ? at.getUTCHours() + at.getUTCMinutes() === 0 : at.getHours() + at.getMinutes() === 0;
  if (stepSeconds < 60) return format("second", { hour: "numeric", minute: "2-digit", second: "2-digit" }, utc).format(time);
  if (stepSeconds > 2 * DAY || (stepSeconds >= DAY && span > 8 * DAY * 1000)) {
    return format("date", { day: "numeric", month: "short" }, utc).format(time);
  }
  const days = span > 36 * HOUR * 1000 || stepSeconds >= DAY;
  return days && midnight
    ? format("day", { weekday: "short", day: "numeric" }, utc).format(time)
    : format("minute", { hour: "numeric", minute: "2-digit" }, utc).format(time);
}

/** A time in full, in the viewer's zone or in UTC, and which of the two. */
export function instantText(time: number, utc: boolean): string {
  const options: Intl.DateTimeFormatOptions = {
    year: "numeric",
    month: "short",
    day: "numeric",
    hour: "numeric",
    minute: "2-digit",
    second: "2-digit",
  };
  return format("instant", options, utc).format(time) + (utc ? " UTC" : "");
}
