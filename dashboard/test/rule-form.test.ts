import { describe, expect, it } from "vitest";
import {
  conditionText,
  differingKeys,
  EMPTY,
  faultsOf,
  fieldsOf,
  marksOf,
  parseRule,
  ruleOf,
  verdictText,
  writtenRule,
} from "../src/rule-form";
import type { DryInterval, RuleBody } from "../src/wire";

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

describe("the form of a rule", () => {
  it("gives every rule back as it was, with what it does not know", () => {
    const rules: RuleBody[] = [
      HOT,
      { name: "dry", series: "*/humidity", below: 30, severity: "warning", labels: { team: "growing" } },
      { name: "jump", series: "a/b", change_above: 5, over: "10m", severity: "info" },
      { name: "silent", series: "*/*", no_data_for: "10m", severity: "warning" },
      { name: "odd", series: "a/b", stuck_for: "2h", severity: "warning" },
      { name: "two", series: "a/b", above: 5, below: 1, severity: "warning" },
    ];
    for (const rule of rules) expect(ruleOf(fieldsOf(rule))).toEqual(rule);
    expect(fieldsOf(rules[4] ?? {}).kind).toBe("other");
  });
  it("leaves out what is empty, and what is no number to the gateway's words", () => {
    const fields = { ...EMPTY, name: " hot ", series: "a/b", limit: "30,5", clear: "warm", webhooks: "ops, ,night " };
    expect(ruleOf(fields)).toEqual({
      name: "hot",
      series: "a/b",
      above: 30.5,
      clear: "warm",
      severity: "warning",
      webhooks: ["ops", "night"],
    });
  });
  it("drops the keys of a condition that was left", () => {
    const fields = { ...fieldsOf(HOT), kind: "no_data_for" as const, limit: "5m" };
    const rule = ruleOf(fields);
    expect(rule["no_data_for"]).toBe("5m");
    expect("above" in rule || "clear" in rule).toBe(false);
  });
  it("reads the text that it writes, and says what is no rule", () => {
    expect(parseRule(writtenRule(HOT))).toEqual(HOT);
    expect(() => parseRule("[1]")).toThrow("a rule is");
    expect(() => parseRule("{")).toThrow();
  });
  it("puts mistakes beside their keys", () => {
    const faults = [
      { key: "name", detail: "taken" },
      { key: null, detail: "needs one of" },
      { key: "name", detail: "too long" },
    ];
    expect(faultsOf(faults, "name")).toBe("taken too long");
    expect(faultsOf(faults, "series")).toBe("");
  });
});

describe("a rule in words", () => {
  it("says what it asks and not what it says", () => {
    expect(conditionText(HOT)).toBe("above 30, clear 28.5, for 30s");
    expect(conditionText({ name: "s", series: "a/b", no_data_for: "5m" })).toBe("no data for 5m");
  });
  it("names the keys in which two versions differ", () => {
    expect(differingKeys(HOT, { ...HOT, above: 31, labels: {} })).toEqual(["above", "labels"]);
    expect(differingKeys(HOT, { ...HOT, webhooks: ["ops", "night"] })).toEqual([]);
  });
});

describe("a dry run", () => {
  const interval = (fired_ms: number | null, resolved_ms: number | null): DryInterval => ({
    began_ms: 0,
    fired_ms,
    resolved_ms,
    state: "resolved",
    peak: null,
  });
  it("has a mark for each that fired, until it was over or the range ends", () => {
    const intervals = [interval(1_000, 4_000), interval(null, 5_000), interval(7_000, null)];
    expect(marksOf(intervals, 9_000)).toEqual([
      { from: 1, to: 4 },
      { from: 7, to: 9 },
    ]);
  });
  it("is told in one sentence", () => {
    const of = (fired: number, ...series: DryInterval[][]) => ({
      fired,
      matched: series.length,
      series: series.map((intervals) => ({ intervals })),
    });
    expect(verdictText(of(0))).toBe("No series matches.");
    expect(verdictText(of(0, [interval(null, 1)]))).toBe("Would not have fired on the series that it is about.");
    expect(verdictText(of(0, [], []))).toBe("Would not have fired on any of 2 series that it is about.");
    expect(verdictText(of(1, [interval(1, 2)], []))).toBe("Would have fired once on 1 of 2 series.");
    expect(verdictText(of(3, [interval(1, 2), interval(3, 4)], [interval(1, null)]))).toBe(
      "Would have fired 3 times on 2 of 2 series.",
    );
  });
});
