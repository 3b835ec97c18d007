/** What is to be known of an alert before it is trusted, and what happened to it, fetched when that is opened. */
import { useEffect, useState } from "preact/hooks";
import { changeText, type Mark, marksOf } from "../alert-words";
import { fetchChanges } from "../api";
import { fullTimeText, isoTime, timeText } from "../format";
import { useStore } from "../hooks";
import type { Alert, AlertChange } from "../wire";
import { Icon, type IconName } from "./Icon";

const ICONS: Record<Mark["kind"], IconName> = { stale: "silent", flapping: "warning", clear: "wait", waits: "wait" };

export function AlertMarks({ alert }: { alert: Alert }) {
  const now = useStore().now();
  const marks = marksOf(alert);
  if (marks.length === 0) return null;
  return (
    <span class="alert-people">
      {marks.map(({ kind, text, at_ms }) => (
        <span key={kind} class={kind === "stale" ? "chip chip-silent" : "chip"}>
          <Icon name={ICONS[kind]} />
          <span>
            {text}{" "}
            <time dateTime={isoTime(at_ms)} title={fullTimeText(at_ms)}>
              {timeText(at_ms, now)}
            </time>
          </span>
        </span>
      ))}
    </span>
  );
}

export function AlertHistory({ alert }: { alert: Alert }) {
  const store = useStore();
  const [open, setOpen] = useState(false);
  const [changes, setChanges] = useState<AlertChange[] | null>(null);
  const [failed, setFailed] = useState(false);
  // Each event about the alert brings another object: then there may be one more change.
  useEffect(() => {
    if (!open) return undefined;
    const aborter = new AbortController();
    fetchChanges(alert.id, aborter.signal).then(
      (fetched) => {
        setChanges(fetched);
        setFailed(false);
      },
      () => {
        if (!aborter.signal.aborted) setFailed(true);
      },
    );
    return () => aborter.abort();
  }, [open, alert]);
  return (
    <details class="alert-history" onToggle={(event) => setOpen(event.currentTarget.open)}>
      <summary>
        What happened
        <span class="unseen"> to {`${alert.rule} on ${alert.series}`}</span>
      </summary>
      {failed && <p class="quiet">This cannot be shown now. Close it and open it again.</p>}
      {changes !== null && (
        <ol>
          {changes.map((change) => (
            <li key={change.number}>
              <time dateTime={isoTime(change.at_ms)} title={fullTimeText(change.at_ms)}>
                {timeText(change.at_ms, store.now())}
              </time>
              {changeText(change)}
            </li>
          ))}
        </ol>
      )}
    </details>
  );
}
