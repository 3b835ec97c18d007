/** What a dry run said, in words and as marks on a chart. Pure. */
import type { DryInterval } from "./wire";

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
