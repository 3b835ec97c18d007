import { describe, expect, it } from "vitest";
import { marksOf, verdictText } from "../src/dry-run";
import type { DryInterval } from "../src/wire";

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
