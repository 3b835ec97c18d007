/** Who did what and when, fetched when it is opened and again when somebody did something. */
import { useEffect, useState } from "preact/hooks";
import { fetchAudit } from "../api";
import { fullTimeText, isoTime, timeText } from "../format";
import { useStore } from "../hooks";
import type { AuditEntry } from "../wire";
import { silenceText } from "./Silences";

const SHOWN = 50;

const DONE: Record<AuditEntry["action"], string> = {
  alert_acknowledged: "acknowledged",
  alert_unacknowledged: "took back the acknowledgement of",
  alert_closed: "closed",
  alert_expired: "ended by itself",
  alert_shelved: "shelved",
  alert_unshelved: "took off the shelf",
  silence_created: "silenced",
  silence_changed: "changed the silence of",
  silence_ended: "ended the silence of",
  delivery_replayed: "sent again",
  delivery_discarded: "discarded",
  rule_created: "made the rule",
  rule_changed: "changed the rule",
  rule_deleted: "deleted the rule",
};

export function AuditTrail() {
  const store = useStore();
  const [open, setOpen] = useState(false);
  const [entries, setEntries] = useState<AuditEntry[] | null>(null);
  useEffect(() => {
    if (!open) return undefined;
    const aborter = new AbortController();
    // The last answer stays when one fails; the next change asks again.
    const refresh = () => void fetchAudit(SHOWN, aborter.signal).then(setEntries, () => {});
    refresh();
    const stop = store.subscribe("audit", refresh);
    return () => {
      stop();
      aborter.abort();
    };
  }, [open, store]);
  return (
    <details onToggle={(event) => setOpen(event.currentTarget.open)}>
      <summary>Audit trail</summary>
      {entries !== null && entries.length === 0 && <p class="quiet">Nobody has done anything yet.</p>}
      {entries !== null && entries.length > 0 && (
        <ol class="audit" aria-label="Audit trail, newest first">
          {entries.map((entry) => (
            <li key={entry.number}>
              <time dateTime={isoTime(entry.at_ms)} title={fullTimeText(entry.at_ms)}>
                {timeText(entry.at_ms, store.now())}
              </time>
              <span>
                <strong>{entry.by}</strong> {doneText(entry)} {subjectText(entry)}
              </span>
            </li>
          ))}
        </ol>
      )}
    </details>
  );
}

/** Switching a rule on or off is a change that says more. */
function doneText({ action, detail }: AuditEntry): string {
  if (action === "rule_changed" && "after" in detail && "enabled" in detail.after && "enabled" in detail.before) {
    if (detail.after.enabled !== detail.before.enabled) return detail.after.enabled ? "enabled the rule" : "disabled the rule";
  }
  return DONE[action];
}

function subjectText({ detail, target }: AuditEntry): string {
  if ("webhook" in detail) {
    const to = detail.webhook === null ? "all webhooks" : `webhook ${detail.webhook}`;
    const many = detail.deliveries === 1 ? "1 message" : `${detail.deliveries} messages`;
    return detail.deliveries === undefined ? `the message ${target} to ${to}` : `${many} to ${to}`;
  }
  const subject = "after" in detail ? detail.after : detail;
  if ("enabled" in subject) return subject.name;
  const [what, comment] =
    "matchers" in subject ? [silenceText(subject), subject.comment] : [`${subject.rule} on ${subject.series}`, subject.comment];
  return comment === "" ? what : `${what}: ${comment}`;
}
