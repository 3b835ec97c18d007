/** What happened to an alert, and what is to be known of it before it is trusted, in words. */
import { valueWithUnit } from "./format";
import type { Alert, AlertChange } from "./wire";

const CHANGES: Record<string, string> = {
  began: "Became true",
  fired: "Fired",
  cleared: "Condition over, still firing",
  true_again: "True again",
  went_stale: "Marked stale",
  heard_again: "Received again",
  calmed: "No longer flapping, still firing",
  moved: "Times corrected",
  resolved: "Resolved",
};

const CAUSES: Record<string, string> = {
  waiting: "no reading said otherwise in time",
  silence: "nothing was received",
  rule: "its rule was changed or removed",
  dependence: "a rule that it depends on fires",
  clock: "the gateway's clock was set",
  gateway: "noticed by the gateway itself",
  person: "closed by hand",
  expiry: "fired for as long as its rule lets it",
};

/** `Fired: 91.5 °C`, `Resolved: its rule was changed or removed`. A word that this page does not know is shown as it is. */
export function changeText(change: AlertChange): string {
  const what = change.change ?? change.state;
  const text = CHANGES[what] ?? what.replaceAll("_", " ");
  return `${text}${because(change)}`;
}

function because({ cause, change, value, unit }: AlertChange): string {
  if (cause === null || cause === "") return "";
  if (cause !== "reading") return `: ${CAUSES[cause] ?? cause.replaceAll("_", " ")}`;
  return value === null || change === "heard_again" ? "" : `: ${valueWithUnit(value, unit)}`;
}

export interface Mark {
  kind: "stale" | "flapping" | "clear" | "waits";
  text: string;
  /** Since, or until, when. */
  at_ms: number;
}

/** What is marked on an alert, what matters most first. A mark ends with its time. */
export function marksOf(alert: Alert): Mark[] {
  const marks: [Mark["kind"], string, number | null][] = [
    ["stale", "Stale: no reading since", alert.stale_since_ms],
    ["flapping", "Flapping, told once: fires on until it calms, since", alert.flapping_since_ms],
    ["clear", "Condition over since", (alert.flapping_since_ms ?? null) === null ? alert.clear_since_ms : null],
    ["waits", "Fires at the earliest", alert.waits_until_ms],
  ];
  return marks.flatMap(([kind, text, at_ms]) => (at_ms === null || at_ms === undefined ? [] : [{ kind, text, at_ms }]));
}
