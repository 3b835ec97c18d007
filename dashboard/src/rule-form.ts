/**
 * Between a rule as it is written and the fields that a person fills in. Pure.
 *
 * A rule comes out of its fields as it went in: what a field can't show exactly as it is written stays beside the fields, and can be
 * changed in the text. What is filled in counts more than what stayed there.
 */
import { DAYS, type Hours, hoursText, readDays, writtenDays } from "./hours";
import { CONDITION_KEYS, COUNT, DURING, type KeySpec, kindOf, KINDS, OTHER, specsOf } from "./rule-keys";
import type { RuleBody, RuleFault } from "./wire";

/** What may be filled in for one key, by where it stands in it: `""` for all of it, `0` and `1` for a pair, names for a table. */
type Parts = Record<string, string>;

export interface RuleFields {
  /** The key of its condition, or `other`. */
  kind: string;
  /** What stands in the fields, by key, and by `key.part` where a key has several. */
  texts: Readonly<Record<string, string>>;
  /** When it may fire. */
  during: readonly Period[];
  /** Whether they are written as a list, even where there is one. */
  duringList: boolean;
  /** What the fields don't say. */
  rest: RuleBody;
}

/** Hours as a rule has them, with how their days were written. */
export interface Period extends Hours {
  written?: readonly string[];
}

/** A rule that nobody has filled in. */
export const EMPTY: RuleFields = { kind: "above", texts: { severity: "warning" }, during: [], duringList: false, rest: {} };

const same = (one: unknown, other: unknown): boolean => JSON.stringify(one) === JSON.stringify(other);
const isTable = (value: unknown): value is Record<string, unknown> =>
  typeof value === "object" && value !== null && !Array.isArray(value);
const sorted = (table: Record<string, unknown>): [string, unknown][] => Object.entries(table).sort(([a], [b]) => (a < b ? -1 : 1));
/** Whether two values are the same, tables in whatever order. */
const alike = (one: unknown, other: unknown): boolean =>
  isTable(one) && isTable(other) ? same(sorted(one), sorted(other)) : same(one, other);

const numberOf = (text: string): number | string | undefined => {
  const given = text.trim();
  if (given === "") return undefined;
  const number = Number(given.replace(",", "."));
  return Number.isFinite(number) ? number : given;
};

/** One of the values that a series may be equal to. In quotes it is a text whatever it looks like. */
function valueOf(word: string): unknown {
  const given = word.trim();
  if (given === "true" || given === "false") return given === "true";
  if (given.startsWith('"')) {
    try {
      return JSON.parse(given);
    } catch {
      return given;
    }
  }
  const number = Number(given);
  return given !== "" && Number.isFinite(number) ? number : given;
}

function wordOf(value: unknown): string {
  if (typeof value !== "string") return String(value);
  const plain = value !== "" && value === value.trim() && !/[",]/.test(value) && valueOf(value) === value;
  return plain ? value : JSON.stringify(value);
}

/** What stands in the fields of a key with this value; `null`: no fields can show it. */
function shown(spec: KeySpec, value: unknown): Parts | null {
  switch (spec.shape) {
    case "text":
    case "long":
      return typeof value === "string" ? { "": value } : null;
    case "number":
      return typeof value === "number" || typeof value === "string" ? { "": String(value) } : null;
    case "choice":
      return spec.choices?.some(([choice]) => choice === value) ? { "": String(value) } : null;
    case "list":
      return Array.isArray(value) && value.every((one) => typeof one === "string") ? { "": value.join(", ") } : null;
    case "values":
      if (!Array.isArray(value)) return isTable(value) ? null : { "": wordOf(value) };
      return { "": value.map(wordOf).join(", ") + (value.length === 1 ? "," : "") };
    case "labels":
      if (!isTable(value)) return null;
      return { "": Object.entries(value).map(([name, one]) => `${name} = ${String(one)}`).join("\n") };
    case "pair":
      if (!Array.isArray(value) || value.length > 2) return null;
      return Object.fromEntries(value.map((one, at) => [String(at), String(one)]));
    case "table": {
      if (!isTable(value)) return null;
      const parts: Parts = {};
      for (const [key, one] of Object.entries(value)) {
        const part = spec.parts?.find((part) => part.key === key);
        const text = part === undefined ? null : shown(part, one)?.[""];
        if (text == null) return null;
        parts[key] = text;
      }
      return parts;
    }
  }
}

/** The value of a key that stands in its fields; `undefined`: they are empty. What is no number is left for the gateway to say so. */
function written(spec: KeySpec, parts: Parts): unknown {
  const text = (parts[""] ?? "").trim();
  const all = <T>(list: T[]): T[] | undefined => (list.length === 0 ? undefined : list);
  switch (spec.shape) {
    case "text":
    case "long":
    case "choice":
      return text === "" ? undefined : text;
    case "number":
      return numberOf(text);
    case "list":
      return all(text.split(",").map((one) => one.trim()).filter((one) => one !== ""));
    case "values": {
      const words = text.match(/\s*"(?:[^"\\]|\\.)*"\s*(?=,|$)|[^,]+/g) ?? [];
      const values = words.filter((word) => word.trim() !== "").map(valueOf);
      return values.length === 1 && !text.endsWith(",") ? values[0] : all(values);
    }
    case "labels": {
      const lines = text.split("\n").filter((line) => line.trim() !== "");
      const entries = lines.map((line): [string, string] => {
        const [name = "", ...value] = line.split("=");
        return [name.trim(), value.join("=").trim()];
      });
      return entries.length === 0 ? undefined : Object.fromEntries(entries);
    }
    case "pair":
      return all([parts["0"] ?? "", parts["1"] ?? ""].map(numberOf).filter((one) => one !== undefined));
    case "table": {
      const entries = (spec.parts ?? []).map((part) => [part.key, written(part, { "": parts[part.key] ?? "" })] as const);
      const given = entries.filter(([, value]) => value !== undefined);
      return given.length === 0 ? undefined : Object.fromEntries(given);
    }
  }
}

/** The parts that a key has fields for. */
export function partsOf(spec: KeySpec): string[] {
  if (spec.shape === "pair") return ["0", "1"];
  return spec.shape === "table" ? (spec.parts ?? []).map(({ key }) => key) : [""];
}

/** Under which name the text of a part is kept, and its field is called. */
export const fieldName = (key: string, part: string): string => (part === "" ? key : `${key}.${part}`);

function given(fields: RuleFields, spec: KeySpec): unknown {
  const parts = partsOf(spec).map((part): [string, string] => [part, fields.texts[fieldName(spec.key, part)] ?? ""]);
  return written(spec, Object.fromEntries(parts));
}

/** Whether something stands in one of these fields. */
export const isFilled = (fields: RuleFields, specs: readonly KeySpec[]): boolean =>
  specs.some((spec) => given(fields, spec) !== undefined);

/** The fields of a rule. */
export function fieldsOf(rule: RuleBody): RuleFields {
  const kinds = KINDS.filter(({ key }) => key in rule);
  const kind = kinds.length === 1 ? (kinds[0]?.key ?? OTHER) : OTHER;
  const rest: RuleBody = { ...rule };
  const texts: Record<string, string> = {};
  for (const spec of specsOf(kind)) {
    if (!(spec.key in rest)) continue;
    const value = rest[spec.key];
    const parts = shown(spec, value);
    if (parts === null || !alike(written(spec, parts), value)) continue;
    for (const [part, text] of Object.entries(parts)) texts[fieldName(spec.key, part)] = text;
    delete rest[spec.key];
  }
  const fields: RuleFields = { kind, texts, during: [], duringList: false, rest };
  const during = rest[DURING];
  const list = Array.isArray(during);
  const periods = (list ? during : [during]).map(periodOf);
  if (during === undefined || periods.includes(null)) return fields;
  const shownHours: RuleFields = { ...fields, during: periods.filter((period) => period !== null), duringList: list };
  const back = writtenDuring(shownHours);
  const exact = list ? Array.isArray(back) && back.length === during.length && during.every((one, at) => alike(one, back[at])) : alike(back, during);
  if (!exact) return fields;
  delete rest[DURING];
  return shownHours;
}

function periodOf(value: unknown): Period | null {
  if (!isTable(value)) return null;
  const clock = (key: string) => (typeof value[key] === "string" ? value[key] : "");
  const times = { from: clock("from"), to: clock("to"), zone: clock("zone") };
  if (!("days" in value)) return { days: [], ...times };
  const days = Array.isArray(value["days"]) ? readDays(value["days"]) : null;
  return days === null ? null : { days, ...times, written: value["days"] as string[] };
}

function writtenDuring({ during, duringList }: RuleFields): unknown {
  const periods = during.map(({ days, from, to, zone, written }) => {
    // Nobody's way to write the days is changed unless the days are.
    const kept = written !== undefined && same(readDays(written), DAYS.filter((day) => days.includes(day)));
    const period: Record<string, unknown> = {};
    if (kept) period["days"] = written;
    else if (days.length > 0) period["days"] = writtenDays(days);
    for (const [key, text] of Object.entries({ from, to, zone })) if (text.trim() !== "") period[key] = text.trim();
    return period;
  });
  if (periods.length === 0) return undefined;
  return duringList || periods.length > 1 ? periods : periods[0];
}

/** The rule that the fields say. What is empty is left out. */
export function ruleOf(fields: RuleFields): RuleBody {
  const rule: RuleBody = {};
  for (const spec of specsOf(fields.kind)) {
    const value = given(fields, spec);
    if (value !== undefined) rule[spec.key] = value;
  }
  const during = writtenDuring(fields);
  if (during !== undefined) rule[DURING] = during;
  return { ...rule, ...Object.fromEntries(Object.entries(fields.rest).filter(([key]) => !(key in rule))) };
}

/** With another condition: what belongs to the one before goes, wherever it stands, but for what both have. */
export function withKind(fields: RuleFields, kind: string): RuleFields {
  const texts = { ...fields.texts };
  for (const { key, choices } of specsOf(kind)) {
    if (choices === undefined || choices.some(([choice]) => choice === (texts[key] ?? ""))) continue;
    // A choice of the other condition is none here.
    texts[key] = choices[0]?.[0] ?? "";
  }
  const kept = Object.entries(fields.rest).filter(([key]) => kind === OTHER || !CONDITION_KEYS.has(key));
  return { ...fields, kind, texts, rest: Object.fromEntries(kept) };
}

/** Reads the text; an error says what is wrong with it. */
export function parseRule(written: string): RuleBody {
  const rule: unknown = JSON.parse(written);
  if (!isTable(rule)) throw new Error("a rule is { … } with its keys in it");
  return rule;
}

export const writtenRule = (rule: RuleBody): string => JSON.stringify(rule, null, 2);

/** The mistakes about one key. */
export const faultsOf = (faults: readonly RuleFault[], key: string): string =>
  faults
    .filter((fault) => fault.key === key)
    .map((fault) => fault.detail)
    .join(" ");

/** Mistakes that no field stands for. */
export function faultsElsewhere(faults: readonly RuleFault[], kind: string): RuleFault[] {
  const keys = new Set([...specsOf(kind).map(({ key }) => key), DURING]);
  return faults.filter(({ key }) => key === null || !keys.has(key));
}

/** What a rule asks, in one line, the condition first: `above 30, clear 28, for 30s`. */
export function conditionText(rule: RuleBody): string {
  const { kind, during } = fieldsOf(rule);
  const said = new Set(["name", "series", "severity", "summary", "webhooks", "labels"]);
  const first = [...(kindOf(kind)?.keys ?? []), ...COUNT].map(({ key }) => key);
  const keys = new Set([...first, ...Object.keys(rule)]);
  return [...keys]
    .filter((key) => key in rule && !said.has(key))
    .map((key) => {
      const words = key === DURING && during.length > 0 ? during.map(hoursText).join(" and ") : valueText(rule[key]);
      return `${key.replaceAll("_", " ")} ${words}`;
    })
    .join(", ");
}

function valueText(value: unknown): string {
  if (typeof value === "string") return value;
  if (!isTable(value)) return JSON.stringify(value);
  return Object.entries(value)
    .map(([key, one]) => `${key} ${valueText(one)}`)
    .join(" ");
}

/** The keys in which two rules differ. */
export function differingKeys(one: RuleBody, other: RuleBody): string[] {
  const keys = new Set([...Object.keys(one), ...Object.keys(other)]);
  return [...keys].filter((key) => !alike(one[key], other[key]));
}
