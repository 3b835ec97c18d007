/** A new silence: which alerts, for how long, at which hours, who and why. Filled in from an alert where there is one. */
import { useState } from "preact/hooks";
import { createSilence, Refused } from "../api";
import { useStore } from "../hooks";
import { type Hours, noHours, ownZone } from "../hours";
import {
  baseTime,
  endOf,
  FIELDS,
  type Field,
  filledFrom,
  type Length,
  LENGTHS,
  localTime,
  matchersOf,
  REPEAT_LENGTHS,
  repeatOf,
  timesFault,
} from "../silence-form";
import type { Alert } from "../wire";
import { Dialog } from "./Dialog";
import { HoursFields } from "./HoursFields";

const NAMES: Record<Field, string> = { device: "Device", rule: "Rule", series: "Series", site: "Site", severity: "Severity" };
const WORDS: Record<Length, string> = {
  hour: "1 hour",
  hours: "4 hours",
  tomorrow: "Until tomorrow 8:00",
  month: "A month",
  year: "A year",
  custom: "Other times",
};

export function SilenceDialog({ alert, rule = "", onClose }: { alert: Alert | null; rule?: string; onClose: () => void }) {
  const store = useStore();
  const [given] = useState(() => (alert === null ? { ...filledFrom(null), rule } : filledFrom(alert)));
  const [filled, setFilled] = useState(given);
  const [length, setLength] = useState<Length>("hour");
  /** The hours of one that recurs. */
  const [hours, setHours] = useState<Hours | null>(null);
  const [fault, setFault] = useState("");
  const [from, setFrom] = useState("");
  const [until, setUntil] = useState("");

  const submit = async (by: string, comment: string) => {
    const wrong = hours === null ? "" : timesFault(hours);
    setFault(wrong);
    if (wrong !== "") throw new Refused(wrong);
    const ends = endOf(length, baseTime(store.now(), Date.now()), until);
    if (ends === null) throw new Refused("Say until when.");
    const matchers = matchersOf(filled, given);
    if (matchers.length === 0) throw new Refused("Say which alerts: fill in at least one of the fields.");
    const starts = length === "custom" ? localTime(from) : null;
    await createSilence({
      matchers,
      ...(starts === null ? {} : { starts_at: new Date(starts).toISOString() }),
      ends_at: new Date(ends).toISOString(),
      created_by: by,
      comment,
      ...(hours === null ? {} : { repeat: repeatOf(hours) }),
    });
  };

  return (
    <Dialog title="Silence alerts" action="Silence" onSubmit={submit} onClose={onClose} comment>
      <p class="quiet">Webhooks hear nothing of alerts that match all of this until it ends. An empty field means any; * stands for any letters.</p>
      <div class="fields">
        {FIELDS.map((field) => (
          <label key={field}>
            {NAMES[field]}
            {field === "severity" ? (
              <select value={filled.severity} onChange={(event) => setFilled({ ...filled, severity: event.currentTarget.value })}>
                <option value="">any</option>
                <option value="critical">critical</option>
                <option value="warning">warning</option>
                <option value="info">info</option>
              </select>
            ) : (
              <input
                type="text"
                name={field}
                autocomplete="off"
                autocapitalize="off"
                spellcheck={false}
                maxLength={256}
                value={filled[field]}
                onInput={(event) => setFilled({ ...filled, [field]: event.currentTarget.value })}
              />
            )}
          </label>
        ))}
      </div>
      <label class="choice">
        <input
          type="checkbox"
          checked={hours !== null}
          onChange={(event) => {
            const recurs = event.currentTarget.checked;
            setHours(recurs ? noHours(ownZone()) : null);
            setLength(recurs ? "month" : "hour");
          }}
        />
        Again and again, at certain hours
      </label>
      {hours !== null && <HoursFields words="At which hours" hours={hours} fault={fault} onChange={setHours} />}
      <fieldset>
        <legend>{hours === null ? "How long" : "For how long it recurs"}</legend>
        {(hours === null ? LENGTHS : REPEAT_LENGTHS).map((one) => (
          <label key={one} class="choice">
            <input type="radio" name="length" checked={length === one} onChange={() => setLength(one)} />
            {WORDS[one]}
          </label>
        ))}
      </fieldset>
      {length === "custom" && (
        <div class="fields">
          <label>
            From (empty: now)
            <input type="datetime-local" name="from" value={from} onInput={(event) => setFrom(event.currentTarget.value)} />
          </label>
          <label>
            Until
            <input type="datetime-local" name="until" required value={until} onInput={(event) => setUntil(event.currentTarget.value)} />
          </label>
        </div>
      )}
    </Dialog>
  );
}
