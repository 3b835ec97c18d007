/**
 * Between a rule as it is written and the fields that a person fills in. Pure.
 *
 * The form knows the common conditions. All else that a rule says (labels, rarer conditions) is kept as it is, and can be changed
 * in the text.
 */
import type { DryInterval, RuleBody, RuleFault } from "./wire";

/** What can be asked with the fields; `other` is a condition that only the text can say. */
export const KINDS = ["above", "below", "change_above", "no_data_for", "other"] as const;
export type Kind = (typeof KINDS)[number];

export interface RuleFields {
  name: string;
  series: string;
  kind: Kind;
  limit: string;
  clear: string;
  over: string;
  hold: string;
  severity: string;
  summary: string;
  webhooks: string;
  /** What the form does not know. */
  rest: RuleBody;
}

const CONDITIONS = ["above", "below", "change_above", "no_data_for"] as const;

/** A rule that nobody has filled in. */
export const EMPTY: RuleFields = {
  name: "",
  series: "",
  kind: "above",
  limit: "",
  clear: "",
  over: "",
  hold: "",
  severity: "warning",
  summary: "",
  webhooks: "",
  rest: {},
};

const text = (value: unknown): string => (typeof value === "string" || typeof value === "number" ? String(value) : "");

/** The fields of a rule. */
export function fieldsOf(rule: RuleBody): RuleFields {
  const kinds = CONDITIONS.filter((key) => key in rule);
  const kind = kinds.length === 1 ? (kinds[0] ?? "other") : "other";
  const rest: RuleBody = { ...rule };
  const take = (key: string): unknown => {
    const value = rest[key];
    delete rest[key];
    return value;
  };
  const fields: RuleFields = {
    ...EMPTY,
    name: text(take("name")),
    series: text(take("series")),
    kind,
    hold: text(take("for")),
    severity: text(take("severity") ?? "warning"),
    summary: text(take("summary")),
  };
  if (Array.isArray(rest["webhooks"])) fields.webhooks = (take("webhooks") as unknown[]).map(text).join(", ");
  if (kind !== "other") {
    fields.limit = text(take(kind));
    if (kind === "above" || kind === "below") fields.clear = text(take("clear"));
    if (kind === "change_above") fields.over = text(take("over"));
  }
  return { ...fields, rest };
}

/** The rule that the fields say. What is empty is left out; what is no number is left for the gateway to say so. */
export function ruleOf(fields: RuleFields): RuleBody {
  const rule: RuleBody = {};
  const put = (key: string, value: string, numeric = false) => {
    const given = value.trim();
    if (given === "") return;
    const number = Number(given.replace(",", "."));
    rule[key] = numeric && Number.isFinite(number) ? number : given;
  };
  put("name", fields.name);
  put("series", fields.series);
  if (fields.kind !== "other") put(fields.kind, fields.limit, fields.kind !== "no_data_for");
  if (fields.kind === "above" || fields.kind === "below") put("clear", fields.clear, true);
  if (fields.kind === "change_above") put("over", fields.over);
  put("for", fields.hold);
  put("severity", fields.severity);
  put("summary", fields.summary);
  const webhooks = fields.webhooks
    .split(",")
    .map((name) => name.trim())
    .filter((name) => name !== "");
  if (webhooks.length > 0) rule["webhooks"] = webhooks;
  return { ...rule, ...fields.rest };
}

/** Reads the text; an error says what is wrong with it. */
export function parseRule(written: string): RuleBody {
  const rule: unknown = JSON.parse(written);
  if (typeof rule !== "object" || rule === null || Array.isArray(rule)) throw new Error("a rule is { … } with its keys in it");
  return rule as RuleBody;
}

export const writtenRule = (rule: RuleBody): string => JSON.stringify(rule, null, 2);

/** The mistakes about one key. */
export const faultsOf = (faults: readonly RuleFault[], key: string): string =>
  faults
    .filter((fault) => fault.key === key)
    .map((fault) => fault.detail)
    .join(" ");

/** What a rule asks, in one line: `above 30, clear 28, for 30s`. */
export function conditionText(rule: RuleBody): string {
  const words = new Set(["name", "series", "severity", "summary", "webhooks", "labels"]);
  return Object.entries(rule)
    .filter(([key]) => !words.has(key))
    .map(([key, value]) => `${key.replaceAll("_", " ")} ${typeof value === "string" ? value : JSON.stringify(value)}`)
    .join(", ");
}

/** The keys in which two rules differ. */
export function differingKeys(one: RuleBody, other: RuleBody): string[] {
  const keys = new Set([...Object.keys(one), ...Object.keys(other)]);
  return [...keys].filter((key) => JSON.stringify(one[key]) !== JSON.stringify(other[key]));
}

/** Where on a chart an alert would have fired, from and until, in seconds. Those that came to nothing have no mark. */
export function marksOf(intervals: readonly DryInterval[], toMs: number): { from: number; to: number }[] {
  return intervals.flatMap(({ fired_ms, resolved_ms }) =>
    fired_ms === null ? [] : [{ from: fired_ms / 1000, to: (resolved_ms ?? toMs) / 1000 }],
  );
}

/** `Would have fired 3 times on 2 of 5 series.` */
export function verdictText(run: { fired: number; matched: number; series: { intervals: DryInterval[] }[] }): string {
  if (run.matched === 0) return "No series matches.";
  const series = run.series.filter(({ intervals }) => intervals.some(({ fired_ms }) => fired_ms !== null)).length;
  if (run.fired === 0) return `Would not have fired on ${run.matched === 1 ? "the series" : `any of ${run.matched} series`} that it is about.`;
  const times = run.fired === 1 ? "once" : `${run.fired} times`;
  return `Would have fired ${times} on ${series} of ${run.matched} series.`;
}
