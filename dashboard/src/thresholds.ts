/** Which rules watch a series, and the limits of theirs that a chart can show as lines. Pure. */
import type { SeriesState } from "./series";
import type { Device, Rule, Severity } from "./wire";

export interface Threshold {
  rule: string;
  /** `fires` at a limit, `clears` beyond one. */
  what: "fires" | "clears";
  side: "above" | "below";
  value: number;
  severity: Severity;
}

/** Whether `text` matches a pattern: `*` is any run of characters and `?` one, neither crosses the `/`. */
export function globMatches(pattern: string, text: string): boolean {
  const source = pattern.replace(/[.+^${}()|[\]\\]/g, "\\$&").replace(/\*+/g, "[^/]*").replace(/\?/g, "[^/]");
  return new RegExp(`^${source}$`, "u").test(text);
}

/** Whether the rule is in force for the series. */
function watches({ rule, in_force }: Rule, series: Pick<SeriesState, "id">, device: Device | undefined): boolean {
  const { series: pattern, match } = rule;
  if (!in_force || (typeof pattern !== "string" && match === undefined)) return false;
  if (typeof pattern === "string" && !globMatches(pattern, series.id)) return false;
  return Object.entries((match ?? {}) as Record<string, unknown>).every(([name, wanted]) => {
    const is = name === "site" ? device?.site : name === "device" ? device?.id : device?.labels[name];
    return typeof wanted === "string" && is != null && globMatches(wanted, is);
  });
}

/** The limits on a series, of all rules in force; only those that are plain numbers of its value. */
export function thresholdsOf(rules: readonly Rule[], series: Pick<SeriesState, "id">, device: Device | undefined): Threshold[] {
  return rules
    .filter((rule) => watches(rule, series, device))
    .flatMap(({ name, rule }) => {
      const side = "above" in rule ? "above" : "below";
      const limits = [["fires", rule[side]] as const, ["clears", rule["clear"]] as const];
      if (typeof rule[side] !== "number") return [];
      const severity = rule["severity"] === "critical" || rule["severity"] === "info" ? rule["severity"] : "warning";
      return limits.flatMap(([what, value]) => (typeof value === "number" ? [{ rule: name, what, side, value, severity } satisfies Threshold] : []));
    });
}
