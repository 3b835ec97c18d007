/** Alerts that are over, further back than what live events tell; fetched when it is opened. */
import { useEffect, useState } from "preact/hooks";
import { fetchAlerts } from "../api";
import { durationText, fullTimeText, isoTime, timeText } from "../format";
import { useStore } from "../hooks";
import type { Alert } from "../wire";
import { Icon } from "./Icon";

const STEPS = [100, 1_000];

export function AlertArchive() {
  const store = useStore();
  const [open, setOpen] = useState(false);
  const [step, setStep] = useState(0);
  const [search, setSearch] = useState("");
  const [alerts, setAlerts] = useState<Alert[] | "failed" | null>(null);
  const limit = STEPS[step] ?? 1_000;
  useEffect(() => {
    if (!open) return undefined;
    const aborter = new AbortController();
    fetchAlerts(limit, aborter.signal).then(setAlerts, () => {
      if (!aborter.signal.aborted) setAlerts("failed");
    });
    return () => aborter.abort();
  }, [open, limit]);
  const words = search.toLowerCase().split(/\s+/).filter(Boolean);
  const over = alerts === null || alerts === "failed" ? [] : alerts.filter(({ state }) => state === "resolved" || state === "cancelled");
  const shown = over.filter(({ rule, series, summary, severity }) => {
    const text = `${rule} ${series} ${summary} ${severity}`.toLowerCase();
    return words.every((word) => text.includes(word));
  });
  return (
    <details onToggle={(event) => setOpen(event.currentTarget.open)}>
      <summary>Alert history</summary>
      {alerts === null && <p class="quiet">Fetching…</p>}
      {alerts === "failed" && <p class="quiet">The history could not be fetched. Close it and open it again.</p>}
      {over.length > 0 && (
        <div class="filters">
          <input type="search" aria-label="Search the history" placeholder="Search" value={search} onInput={(event) => setSearch(event.currentTarget.value)} />
          <span class="quiet">
            {shown.length} of the last {over.length}
          </span>
          {step + 1 < STEPS.length && Array.isArray(alerts) && alerts.length >= limit && (
            <button type="button" onClick={() => setStep(step + 1)}>
              Look further back
            </button>
          )}
        </div>
      )}
      {alerts !== null && alerts !== "failed" && over.length === 0 && <p class="quiet">No alert is over yet.</p>}
      {shown.length > 0 && (
        <ol class="audit" aria-label="Alert history, newest first">
          {shown.map((alert) => (
            <li key={alert.id} class={`severity-${alert.severity}`}>
              <time dateTime={isoTime(alert.began_ms)} title={fullTimeText(alert.began_ms)}>
                {timeText(alert.fired_ms ?? alert.began_ms, store.now())}
              </time>
              <Icon name={alert.severity} />
              <span>
                {alert.summary}{" "}
                <span class="quiet">
                  {alert.rule} on {alert.series}
                  {alert.fired_ms === null
                    ? ", never fired"
                    : alert.resolved_ms !== null && `, fired for ${durationText(alert.resolved_ms - alert.fired_ms)}`}
                </span>
              </span>
            </li>
          ))}
        </ol>
      )}
    </details>
  );
}
