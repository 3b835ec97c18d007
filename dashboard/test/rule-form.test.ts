import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import {
  conditionText,
  differingKeys,
  EMPTY,
  faultsElsewhere,
  faultsOf,
  fieldsOf,
  parseRule,
  ruleOf,
  withKind,
  writtenRule,
} from "../src/rule-form";
import { COUNT, KINDS } from "../src/rule-keys";
import type { RuleBody } from "../src/wire";

const HOT: RuleBody = {
  name: "hot",
  series: "*/temperature",
  above: 30,
  clear: 28.5,
  for: "30s",
  severity: "critical",
  summary: "Open the vents",
  webhooks: ["ops", "night"],
};

/** Every condition, each with all that goes with it. */
const CONDITIONS: RuleBody[] = [
  { above: 30, clear: 28 },
  { below: -5.5, clear: -4, more_than: 12, over: "1h", counted: "beginnings" },
  { outside: [16, 28], clear: [18, 26] },
  { inside: [40, 60.5], clear: [35, 65] },
  { equals: true },
  { equals: ["error", "fault"], more_than: 3, over: "5m" },
  { equals: ["error"] },
  { not_equals: "ok" },
  { equals: [1, "1", true, "true", "a, b", 'say "x"', " x", ""] },
  { change_above: 5, over: "10m" },
  { rate_above: 2, per: "1m", over: "5m", direction: "falling", clear: 1 },
  { deviation_above: 4, over: "1h", least: 30, by: 50, direction: "above", clear: 3 },
  { above_percentile: 99, over: "1d", least: 100, by: 3, clear: 95 },
  { below_percentile: 1, over: "1d" },
  { anomaly: "medium" },
  { anomaly_above: 0.7 },
  { above_metric: "setpoint", by: 2, clear_by: -1, max_age: "1h" },
  { below_metric: "setpoint", by: 3 },
  { above_series: "boiler/return" },
  { below_series: "hall 1/temp.max", by: -2 },
  { stuck_for: "6h", tolerance: 0.01, least: 10 },
  { no_data_for: "10m" },
  { no_data_for: "auto" },
  { when: "value < 0.4 and metric('running')", clear_when: "value > 0.6 or not metric('running')" },
];

/** How alerts may live, and the other keys. */
const LIFE: RuleBody = {
  match: { site: "north", room: "cold*" },
  labels: { team: "growing", page: "a = b" },
  for: "30s",
  keep_firing_for: "5m",
  min_on: "1m",
  min_off: "10m",
  resolve_after: "12h",
  stale_after: "0s",
  depends_on: ["sensor silent", "off"],
  flapping: { fires: 3, within: "10m", calm: "5m" },
  during: [
    { days: ["mon-fri"], from: "08:00", to: "18:00", zone: "Europe/Berlin" },
    { days: ["sat", "sun"], zone: "UTC" },
  ],
};

describe("the form of a rule", () => {
  it("has fields for all that a rule can say, and gives it back as it was", () => {
    for (const condition of CONDITIONS) {
      for (const life of [{}, LIFE]) {
        const rule = { name: "r", series: "*/*", ...condition, ...life, severity: "info" };
        const fields = fieldsOf(rule);
        expect(fields.rest, JSON.stringify(rule)).toEqual({});
        expect(fields.kind in condition).toBe(true);
        expect(ruleOf(fields)).toEqual(rule);
        expect(fieldsOf(ruleOf(fields))).toEqual(fields);
      }
    }
  });
  it("knows the conditions that the gateway reads, each with what goes with it", () => {
    const source = readFileSync(new URL("../../gateway/src/config/condition.rs", import.meta.url), "utf8");
    const table = /const KINDS[^=]*= \[([\s\S]*?)\n\];/.exec(source)?.[1] ?? "";
    const read = [...table.matchAll(/\(\s*"(\w+)",\s*&\[([^\]]*)\],?\s*\)/g)].map(([, key, with_]) => [
      key,
      [...(with_ ?? "").matchAll(/"(\w+)"/g)].map(([, option]) => option).sort(),
    ]);
    const shown = KINDS.map(({ key, keys, single }) => [
      key,
      [...keys.filter((spec) => spec.key !== key), ...(single ? COUNT : [])].map((spec) => spec.key).sort(),
    ]);
    expect(read.length).toBeGreaterThan(15);
    expect(Object.fromEntries(shown)).toEqual(Object.fromEntries(read));
  });
  it("keeps what it can't show as it is written, whatever that is", () => {
    const keys = [...new Set([...CONDITIONS, LIFE, HOT].flatMap((rule) => Object.keys(rule))), "unknown"];
    const parts = ["a", " a", "1", "-0.5", "1,5", "", "x=y", "true", '"q', "mon-fri", "10m", "rising", "above", "__proto__"];
    // Pseudo-random, and the same in each run.
    let seed = 7;
    const next = (below: number) => {
      seed = (seed * 1_103_515_245 + 12_345) % 2 ** 31;
      return Math.floor((seed / 2 ** 31) * below);
    };
    const pick = <T>(from: readonly T[]): T => from[next(from.length)] as T;
    const scalar = () => pick<() => unknown>([() => pick(parts), () => next(100) - 50, () => next(1000) / 8, () => true, () => false, () => null])();
    const value = (depth: number): unknown => {
      const kind = next(depth > 2 ? 4 : 7);
      if (kind < 4) return scalar();
      if (kind === 4) return Array.from({ length: next(4) }, () => value(depth + 1));
      return Object.fromEntries(Array.from({ length: next(4) }, () => [pick([...parts, "fires", "within", "calm", "days", "from", "to", "zone"]), value(depth + 1)]));
    };
    const well = Object.assign({}, ...CONDITIONS, LIFE, HOT) as RuleBody;
    for (let n = 0; n < 2_000; n++) {
      const rule: RuleBody = {};
      for (let k = next(9); k > 0; k--) {
        const key = pick(keys);
        rule[key] = next(2) === 0 ? (well[key] ?? value(0)) : value(0);
      }
      const back = ruleOf(fieldsOf(rule));
      expect(back, JSON.stringify(rule)).toEqual(rule);
      expect(fieldsOf(back)).toEqual(fieldsOf(rule));
    }
  });
  it("leaves out what is empty, and what is no number to the gateway's words", () => {
    const texts = { name: " hot ", series: "a/b", above: "30,5", clear: "warm", webhooks: "ops, ,night ", "flapping.within": " " };
    expect(ruleOf({ ...EMPTY, texts: { ...EMPTY.texts, ...texts } })).toEqual({
      name: "hot",
      series: "a/b",
      above: 30.5,
      clear: "warm",
      severity: "warning",
      webhooks: ["ops", "night"],
    });
  });
  it("lets what is filled in count more than what stood in the text", () => {
    const odd = fieldsOf({ name: "x", above: [3], flapping: { fires: "many", odd: 1 } });
    expect(odd.rest).toEqual({ above: [3], flapping: { fires: "many", odd: 1 } });
    expect(ruleOf({ ...odd, texts: { ...odd.texts, above: "3" } })).toMatchObject({ above: 3, flapping: { odd: 1 } });
  });
  it("drops the keys of a condition that was left, and keeps all else", () => {
    const rule = { ...HOT, labels: { team: "a" }, odd: 1 };
    const silent = withKind(fieldsOf(rule), "no_data_for");
    const changed = ruleOf({ ...silent, texts: { ...silent.texts, no_data_for: "5m" } });
    expect(changed).toMatchObject({ no_data_for: "5m", labels: { team: "a" }, odd: 1, webhooks: ["ops", "night"] });
    expect("above" in changed || "clear" in changed).toBe(false);
    // Two conditions are a mistake that only the text can say; choosing one ends it.
    const two = fieldsOf({ name: "two", series: "a/b", above: 5, below: 1, clear_by: 3 });
    expect(two.kind).toBe("other");
    expect(Object.keys(ruleOf(withKind(two, "above")))).toEqual(["name", "series"]);
  });
  it("takes no choice of one condition for one of another", () => {
    const falling = fieldsOf({ rate_above: 1, per: "1m", over: "1m", direction: "falling" });
    expect(ruleOf(withKind(falling, "deviation_above"))).toEqual({ over: "1m" });
    const either = fieldsOf({ rate_above: 1, direction: "either" });
    expect(ruleOf(withKind(either, "deviation_above"))).toEqual({ direction: "either" });
    expect(ruleOf(withKind(EMPTY, "anomaly"))).toMatchObject({ anomaly: "medium" });
  });
  it("changes how days are written only where the days change", () => {
    const days = ["mon", "tue", "wed", "thu", "fri"];
    const fields = fieldsOf({ during: { days, zone: "UTC" } });
    expect(ruleOf(fields)).toEqual({ during: { days, zone: "UTC" } });
    const during = fields.during.map((period) => ({ ...period, days: [...period.days, "sat" as const] }));
    expect(ruleOf({ ...fields, during })).toEqual({ during: { days: ["mon-sat"], zone: "UTC" } });
  });
  it("reads the text that it writes, and says what is no rule", () => {
    expect(parseRule(writtenRule(HOT))).toEqual(HOT);
    expect(() => parseRule("[1]")).toThrow("a rule is");
    expect(() => parseRule("{")).toThrow();
  });
  it("puts mistakes beside their keys, and those that have no field elsewhere", () => {
    const faults = [
      { key: "name", detail: "taken" },
      { key: null, detail: "needs one of" },
      { key: "name", detail: "too long" },
      { key: "over", detail: "goes with" },
    ];
    expect(faultsOf(faults, "name")).toBe("taken too long");
    expect(faultsOf(faults, "series")).toBe("");
    expect(faultsElsewhere(faults, "change_above").map(({ key }) => key)).toEqual([null]);
    expect(faultsElsewhere(faults, "no_data_for").map(({ key }) => key)).toEqual([null, "over"]);
  });
});

describe("a rule in words", () => {
  it("says what it asks and not what it says", () => {
    expect(conditionText(HOT)).toBe("above 30, clear 28.5, for 30s");
    expect(conditionText({ name: "s", series: "a/b", no_data_for: "5m" })).toBe("no data for 5m");
    // As the gateway sends it, by the alphabet.
    const long = {
      clear: [4, 7],
      during: { days: ["mon-fri"], from: "08:00", to: "18:00", zone: "Europe/Berlin" },
      flapping: { within: "10m" },
      match: { site: "north" },
      name: "n",
      outside: [3, 8],
    };
    expect(conditionText(long)).toBe(
      "outside [3,8], clear [4,7], during Mon–Fri 08:00–18:00 Europe/Berlin, flapping within 10m, match site north",
    );
    expect(conditionText({ above: 1, below: 2, during: "always" })).toBe("above 1, below 2, during always");
  });
  it("names the keys in which two versions differ", () => {
    expect(differingKeys(HOT, { ...HOT, above: 31, labels: {} })).toEqual(["above", "labels"]);
    expect(differingKeys({ ...HOT, labels: { a: "1", b: "2" } }, { ...HOT, labels: { b: "2", a: "1" } })).toEqual([]);
  });
});
