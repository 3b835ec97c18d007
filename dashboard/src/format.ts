/**
 * Numbers, units, times and ages as people read them. Pure: the caller hands in the time and the locale.
 *
 * Numbers and times follow the viewer's locale; the words are English, as the page is.
 */
import type { Value } from "./wire";

/** UCUM codes (https://ucum.org) that people write differently. What is not here is tidied by rule. */
const UNITS: Record<string, string> = {
  "1": "",
  Cel: "°C",
  "[degF]": "°F",
  "%": "%",
  "%{RH}": "% RH",
  deg: "°",
  "[ppm]": "ppm",
  "[ppb]": "ppb",
  "10*-6": "ppm",
  "10*-9": "ppb",
  "m[H2O]": "m H₂O",
  "[psi]": "psi",
  "[in_i]": "in",
  "[ft_i]": "ft",
  "[mi_i]": "mi",
  "[mi_i]/h": "mph",
  "[kn_i]": "kn",
  "[gal_us]": "gal",
  "[pH]": "pH",
  "dB[mW]": "dBm",
  "B[mW]": "Bm",
  "{rpm}": "rpm",
  "{rev}/min": "rpm",
  "/min": "per min",
  "/s": "per s",
  kat: "kat",
  Ohm: "Ω",
  kOhm: "kΩ",
  MOhm: "MΩ",
  ar: "a",
};

const SUPERSCRIPT: Record<string, string> = { "2": "²", "3": "³", "4": "⁴" };

/** A UCUM code in its usual form: `Cel` → `°C`, `m3/h` → `m³/h`, `kW.h` → `kWh`. Empty for none. */
export function unitText(code: string | null): string {
  if (code === null) return "";
  const known = UNITS[code];
  if (known !== undefined) return known;
  return code
    .replace(/\{([^}]*)\}/g, "$1")
    .replace(/^u(?=[A-Za-z])/, "µ")
    .replace(/\/u(?=[A-Za-z])/g, "/µ")
    .replace(/([A-Za-z])([234])(?!\d)/g, (_, letter: string, digit: string) => letter + SUPERSCRIPT[digit])
    .replace(/(?<=[A-Za-z])\.h\b/g, "h")
    .replace(/\./g, "·");
}

/** The most decimals that make sense for a magnitude: about four digits in all. */
function decimalsByMagnitude(value: number): number {
  const size = Math.abs(value);
  if (size >= 1000) return 1;
  if (size >= 100) return 1;
  if (size >= 1) return 2;
  if (size === 0) return 0;
  return Math.min(6, 2 - Math.floor(Math.log10(size)));
}

/** How many decimals `value` needs to be shown, at most what its magnitude makes sensible. */
export function decimalsOf(value: number): number {
  const most = decimalsByMagnitude(value);
  for (let decimals = 0; decimals < most; decimals++) {
    const scaled = value * 10 ** decimals;
    if (Math.abs(scaled - Math.round(scaled)) < 1e-6 * Math.max(1, Math.abs(scaled))) return decimals;
  }
  return most;
}

const numberFormats = new Map<string, Intl.NumberFormat>();

/**
 * A number in the viewer's locale. `decimals` holds the width still while a value changes; without it,
 * as many as the value needs.
 */
export function numberText(value: number, decimals = decimalsOf(value), locale?: string): string {
  return fixedText(value, Math.min(decimals, Math.max(decimalsByMagnitude(value), value === 0 ? decimals : 0)), locale);
}

/** The numbers of an axis that has one every `step`: all with as many decimals as the step needs to be told apart. */
export function tickTexts(values: readonly number[], step: number, locale?: string): string[] {
  let digits = 0;
  while (digits < 6 && Math.abs(step * 10 ** digits - Math.round(step * 10 ** digits)) > 1e-6) digits++;
  return values.map((value) => fixedText(value, digits, locale));
}

/** The smallest and largest value of a range; when they differ but would read the same, with decimals that show it. */
export function rangeTexts(min: number, max: number, decimals: number, locale?: string): [string, string] {
  const texts: [string, string] = [numberText(min, decimals, locale), numberText(max, decimals, locale)];
  if (texts[0] !== texts[1] || !(max > min)) return texts;
  const digits = Math.min(6, Math.max(0, Math.ceil(1 - Math.log10(max - min))));
  return [fixedText(min, digits, locale), fixedText(max, digits, locale)];
}

function fixedText(value: number, digits: number, locale?: string): string {
  const key = `${locale ?? ""}/${digits}`;
  let format = numberFormats.get(key);
  if (format === undefined) {
    format = new Intl.NumberFormat(locale, { minimumFractionDigits: digits, maximumFractionDigits: digits });
    numberFormats.set(key, format);
  }
  // "-0" would look like a sensor fault.
  return format.format(Math.abs(value) < 0.5 * 10 ** -digits ? 0 : value);
}

/** Any value without its unit: numbers in the viewer's locale, booleans as on and off. */
export function valueText(value: Value | null, decimals?: number, locale?: string): string {
  if (value === null) return "–";
  if (typeof value === "boolean") return value ? "on" : "off";
  if (typeof value === "string") return value;
  return numberText(value, decimals, locale);
}

/** A value with its unit, as in a sentence: `21.4 °C`, `48%`, `on`. */
export function valueWithUnit(value: Value | null, unit: string | null, decimals?: number): string {
  return withUnit(valueText(value, decimals), typeof value === "number" ? unit : null);
}

/** A number's text with the unit behind it. */
export function withUnit(text: string, unit: string | null): string {
  const shown = unitText(unit);
  if (shown === "") return text;
  return shown === "°" || shown.startsWith("%") ? text + shown : `${text}\u00a0${shown}`;
}

/** How long something takes or took: `0.4 s`, `12 s`, `3 min`, `2 h 5 min`, `4 d`. */
export function durationText(millis: number): string {
  const seconds = Math.max(0, millis) / 1000;
  if (seconds < 1) return `${(Math.round(seconds * 10) / 10).toLocaleString()} s`;
  if (seconds < 60) return `${Math.floor(seconds)} s`;
  const minutes = Math.floor(seconds / 60);
  if (minutes < 60) return `${minutes} min`;
  const hours = Math.floor(minutes / 60);
  if (hours < 24) return minutes % 60 === 0 ? `${hours} h` : `${hours} h ${minutes % 60} min`;
  const days = Math.floor(hours / 24);
  return days < 7 && hours % 24 !== 0 ? `${days} d ${hours % 24} h` : `${days} d`;
}

/** An amount of data as makers of disks count: `812 MB`. */
export function bytesText(bytes: number, locale?: string): string {
  const units = ["B", "kB", "MB", "GB", "TB"];
  let [value, unit] = [bytes, 0];
  while (value >= 999.5 && unit < units.length - 1) {
    value /= 1000;
    unit += 1;
  }
  return `${fixedText(value, unit > 0 && value < 9.95 ? 1 : 0, locale)} ${units[unit]}`;
}

/** How old a time is: `now`, `12 s ago`. A time ahead of the clock says so: it is a fault worth seeing. */
export function ageText(time: number, now: number): string {
  const age = now - time;
  if (age < -2000) return `${durationText(-age)} ahead`;
  if (age < 1500) return "now";
  return `${durationText(age)} ago`;
}

const clock = new Intl.DateTimeFormat(undefined, { hour: "numeric", minute: "2-digit", second: "2-digit" });
const dayAndClock = new Intl.DateTimeFormat(undefined, {
  year: "numeric",
  month: "short",
  day: "numeric",
  hour: "numeric",
  minute: "2-digit",
  second: "2-digit",
});

/** A time in the viewer's zone: the clock for today, else with the day. */
export function timeText(time: number, now: number): string {
  const sameDay = new Date(time).toDateString() === new Date(now).toDateString();
  return (sameDay ? clock : dayAndClock).format(time);
}

/** The time in full, in the viewer's zone and in UTC: for tooltips. */
export function fullTimeText(time: number): string {
  return `${dayAndClock.format(time)} (${new Date(time).toISOString()})`;
}

/** For `datetime=` and `value=` attributes; empty when the time is not one. */
export function isoTime(time: number): string {
  const date = new Date(time);
  return Number.isNaN(date.getTime()) ? "" : date.toISOString();
}
