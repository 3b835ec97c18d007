import { expect, it } from "vitest";
import { globMatches, thresholdsOf } from "../src/thresholds";
import type { Device, Rule, RuleBody } from "../src/wire";

const rule = (body: RuleBody, over: Partial<Rule> = {}): Rule =>
  ({ id: "r", name: "hot", enabled: true, in_force: true, rule: body, ...over }) as Rule;
const device = { id: "boiler", site: "north", labels: { room: "cold store" } } as unknown as Device;
const series = { id: "boiler/temperature" };

it("patterns match as the gateway's do: neither wildcard crosses the slash", () => {
  expect(globMatches("*/temperature", "boiler/temperature")).toBe(true);
  expect(globMatches("*", "boiler/temperature")).toBe(false);
  expect(globMatches("b?iler/*", "boiler/temperature")).toBe(true);
  expect(globMatches("boiler?temperature", "boiler/temperature")).toBe(false);
  expect(globMatches("a.b/(c)", "a.b/(c)")).toBe(true);
  expect(globMatches("a.b/c", "axb/c")).toBe(false);
});

it("limits of rules in force are found, with where they clear", () => {
  const found = thresholdsOf([rule({ series: "*/temperature", above: 30, clear: 28, severity: "critical" })], series, device);
  expect(found.map(({ what, side, value, severity }) => [what, side, value, severity])).toEqual([
    ["fires", "above", 30, "critical"],
    ["clears", "above", 28, "critical"],
  ]);
});

it("rules for other series, off, or about something else than a value give none", () => {
  const none = [
    rule({ series: "*/humidity", above: 1 }),
    rule({ series: "*/temperature", above: 1 }, { in_force: false }),
    rule({ series: "*/temperature", no_data_for: "5m", clear: 3 }),
    rule({ match: { room: "warm*" }, below: 5 }),
    rule({ above: 5 }),
  ];
  expect(thresholdsOf(none, series, device)).toEqual([]);
  expect(thresholdsOf([rule({ match: { room: "cold*", site: "north" }, below: 5 })], series, device)).toHaveLength(1);
});
