/** Hours of the week, as rules and silences have them: days, a time from and to, and whose clock. Pure. */

export const DAYS = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"] as const;
export type Day = (typeof DAYS)[number];

/** As a person fills them in. No day means every day; without times it is the whole day. */
export interface Hours {
  days: readonly Day[];
  from: string;
  to: string;
  zone: string;
}

const WORDS: Record<Day, string> = { mon: "Mon", tue: "Tue", wed: "Wed", thu: "Thu", fri: "Fri", sat: "Sat", sun: "Sun" };
export const dayWord = (day: Day): string => WORDS[day];

/** Nothing chosen yet, on this clock. */
export const noHours = (zone: string): Hours => ({ days: [], from: "", to: "", zone });

/** With a day more, or without it, in the order of the week. */
export function withDay(days: readonly Day[], day: Day): Day[] {
  return DAYS.filter((one) => (one === day ? !days.includes(day) : days.includes(one)));
}

/** Reads days as a rule names them, rows such as `sat-mon` among them; `null` if one of them is none. */
export function readDays(written: readonly unknown[]): Day[] | null {
  const chosen = new Set<number>();
  for (const word of written) {
    if (typeof word !== "string") return null;
    const [first = "", last = first] = word.split("-");
    const [from, to] = [DAYS.indexOf(first.trim() as Day), DAYS.indexOf(last.trim() as Day)];
    if (from < 0 || to < 0 || word.split("-").length > 2) return null;
    // From Saturday to Monday it goes over Sunday.
    for (let at = from; ; at = (at + 1) % DAYS.length) {
      chosen.add(at);
      if (at === to) break;
    }
  }
  return DAYS.filter((_, at) => chosen.has(at));
}

/** The rows of days that follow each other, round the end of the week: of Saturday, Sunday, Monday and Wednesday two. */
function rowsOf(days: readonly Day[]): Day[][] {
  const rows: Day[][] = [];
  for (const [at, day] of DAYS.entries()) {
    if (!days.includes(day)) continue;
    const before = DAYS[at - 1];
    const row = rows.at(-1);
    if (row !== undefined && before !== undefined && row.at(-1) === before) row.push(day);
    else rows.push([day]);
  }
  const [first, last] = [rows[0], rows.at(-1)];
  if (first !== undefined && last !== undefined && first !== last && first[0] === "mon" && last.at(-1) === "sun") {
    return [...rows.slice(1, -1), [...last, ...first]];
  }
  return rows;
}

/** As a rule names them, in few words: `mon-fri`, `sun`. */
export function writtenDays(days: readonly Day[]): string[] {
  return rowsOf(days).flatMap((row) => (row.length > 2 ? [`${row[0]}-${row.at(-1)}`] : row));
}

/** `Mon–Fri`, `Sat, Sun`, `Fri–Mon, Wed`, `every day`. */
export function daysText(days: readonly Day[]): string {
  if (days.length === 0 || days.length === DAYS.length) return "every day";
  return rowsOf(days)
    .flatMap((row) => (row.length > 2 ? [`${WORDS[row[0] ?? "mon"]}–${WORDS[row.at(-1) ?? "sun"]}`] : row.map(dayWord)))
    .join(", ");
}

/** `Mon–Fri 22:00–06:00 Europe/Berlin`. */
export function hoursText({ days, from, to, zone }: Hours): string {
  const whole = from === "" && to === "";
  return `${daysText(days)} ${whole ? "the whole day" : `${from || "00:00"}–${to || "24:00"}`} ${zone}`;
}

/** The viewer's time zone. */
export const ownZone = (): string => Intl.DateTimeFormat().resolvedOptions().timeZone;

/** The names that a browser knows; none in an old one. */
export function knownZones(): string[] {
  return typeof Intl.supportedValuesOf === "function" ? ["UTC", ...Intl.supportedValuesOf("timeZone")] : [];
}
