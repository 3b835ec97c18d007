/** Hours of the week: on which days, from when to when, on whose clock. */
import { useId } from "preact/hooks";
import { DAYS, dayWord, type Hours, knownZones, withDay } from "../hours";
import { Field } from "./Field";

interface HoursFieldsProps {
  words: string;
  hours: Hours;
  fault: string;
  onChange: (hours: Hours) => void;
  /** Takes them away, where they are some of several. */
  onRemove?: () => void;
}

const TIMES = [
  ["from", "From (empty: 00:00)", "22:00"],
  ["to", "To (empty: 24:00)", "06:00"],
] as const;

export function HoursFields({ words, hours, fault, onChange, onRemove }: HoursFieldsProps) {
  const zones = useId();
  return (
    <Field words={words} fault={fault} several>
      {(described) => (
        <>
          <div class="days" role="group" aria-label="Days (none: every day)">
            {DAYS.map((day) => (
              <label key={day} class="choice">
                <input
                  type="checkbox"
                  checked={hours.days.includes(day)}
                  onChange={() => onChange({ ...hours, days: withDay(hours.days, day) })}
                  {...described}
                />
                {dayWord(day)}
              </label>
            ))}
          </div>
          <div class="fields">
            {TIMES.map(([key, words, example]) => (
              <label key={key}>
                {words}
                <input
                  type="text"
                  name={key}
                  autocomplete="off"
                  maxLength={5}
                  placeholder={example}
                  value={hours[key]}
                  onInput={(event) => onChange({ ...hours, [key]: event.currentTarget.value })}
                  {...described}
                />
              </label>
            ))}
            <label>
              Time zone
              <input
                type="text"
                name="zone"
                autocomplete="off"
                autocapitalize="off"
                spellcheck={false}
                list={zones}
                value={hours.zone}
                onInput={(event) => onChange({ ...hours, zone: event.currentTarget.value })}
                {...described}
              />
            </label>
            <datalist id={zones}>
              {knownZones().map((zone) => (
                <option key={zone} value={zone} />
              ))}
            </datalist>
          </div>
          <p class="quiet">Without a day it is every day. What ends no later than it begins ends on the next day.</p>
          {onRemove !== undefined && (
            <button type="button" onClick={onRemove}>
              Remove<span class="unseen"> these hours</span>
            </button>
          )}
        </>
      )}
    </Field>
  );
}
