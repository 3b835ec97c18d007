/** Puts one alert aside for a while. */
import { useState } from "preact/hooks";
import { shelve } from "../api";
import type { Alert } from "../wire";
import { Dialog } from "./Dialog";

/** A day is the most that the gateway takes. */
const TIMES = { "1h": "1 hour", "8h": "8 hours", "24h": "24 hours" };

export function ShelveDialog({ alert, onClose }: { alert: Alert; onClose: () => void }) {
  const [span, setSpan] = useState("1h");
  return (
    <Dialog
      title="Shelve this alert"
      action="Shelve"
      onSubmit={(by, comment) => shelve(alert.id, span, by, comment)}
      onClose={onClose}
      comment
    >
      <p class="quiet">{alert.summary}</p>
      <p class="quiet">
        Webhooks hear nothing of {alert.rule} on {alert.series} for this time, also if it ends and fires again.
      </p>
      <fieldset>
        <legend>How long</legend>
        {Object.entries(TIMES).map(([value, words]) => (
          <label key={value} class="choice">
            <input type="radio" name="span" checked={span === value} onChange={() => setSpan(value)} />
            {words}
          </label>
        ))}
      </fieldset>
    </Dialog>
  );
}
