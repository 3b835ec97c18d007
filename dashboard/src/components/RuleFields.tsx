/**
 * A rule as fields: which series, what is asked of them, and how its alerts live. What is seldom said is folded away, unless something
 * stands in it or is wrong with it. The keys and their words are in `rule-keys.ts`.
 */
import type { ComponentChildren } from "preact";
import { useId, useState } from "preact/hooks";
import { noHours, ownZone } from "../hours";
import { faultsElsewhere, faultsOf, fieldName, isFilled, partsOf, type RuleFields as Fields, withKind } from "../rule-form";
import {
  COUNT,
  DURING,
  FLAPPING,
  HOLD,
  type KeySpec,
  KINDS,
  kindOf,
  LABELS,
  LIFE,
  NAME,
  OTHER,
  SERIES_KEY,
  SEVERITY,
  SUMMARY,
  WEBHOOKS,
} from "../rule-keys";
import type { RuleFault } from "../wire";
import { type Described, Field } from "./Field";
import { HoursFields } from "./HoursFields";

interface FieldsProps {
  fields: Fields;
  faults: readonly RuleFault[];
  onChange: (fields: Fields) => void;
}

const GROUPS = [...new Set(KINDS.map(({ group }) => group))];

export function RuleFields({ fields, faults, onChange }: FieldsProps) {
  const kind = kindOf(fields.kind);
  const keys = kind?.keys ?? [];
  const isLong = ({ shape }: KeySpec) => shape === "long";
  const further = Object.keys(fields.rest);
  const one = (spec: KeySpec) => <KeyField key={spec.key} spec={spec} fields={fields} faults={faults} onChange={onChange} />;
  const more = { fields, faults };
  return (
    <>
      <div class="fields">
        {one(NAME)}
        {one(SERIES_KEY)}
        <Field words="Condition" fault="">
          {({ id }) => (
            <select id={id} name="kind" value={fields.kind} onChange={(event) => onChange(withKind(fields, event.currentTarget.value))}>
              {GROUPS.map((group) => (
                <optgroup key={group} label={group}>
                  {KINDS.filter((kind) => kind.group === group).map(({ key, words }) => (
                    <option key={key} value={key}>
                      {words}
                    </option>
                  ))}
                </optgroup>
              ))}
              <option value={OTHER}>something else (as text)</option>
            </select>
          )}
        </Field>
        {keys.filter((spec) => !isLong(spec)).map(one)}
      </div>
      {keys.filter(isLong).map(one)}
      <div class="fields">
        {one(HOLD)}
        {one(SEVERITY)}
        {one(WEBHOOKS)}
      </div>
      {one(SUMMARY)}
      {kind?.single === true && (
        <More words="Only when it happens often" specs={COUNT} {...more}>
          <div class="fields">{COUNT.map(one)}</div>
        </More>
      )}
      <More words="Labels" specs={LABELS} {...more}>
        <div class="fields">{LABELS.map(one)}</div>
      </More>
      <More words="How its alerts live" specs={[...LIFE, FLAPPING]} also={DURING} filled={fields.during.length > 0} {...more}>
        <div class="fields">{LIFE.map(one)}</div>
        {one(FLAPPING)}
        <During fields={fields} faults={faults} onChange={onChange} />
      </More>
      {further.length > 0 && <p class="quiet">Also in the text: {further.join(", ")}.</p>}
    </>
  );
}

interface MoreProps {
  words: string;
  specs: readonly KeySpec[];
  /** A key in it that has fields of its own. */
  also?: string;
  filled?: boolean;
  fields: Fields;
  faults: readonly RuleFault[];
  children: ComponentChildren;
}

function More({ words, specs, also, filled = false, fields, faults, children }: MoreProps) {
  const [open, setOpen] = useState(() => filled || isFilled(fields, specs));
  const isWrong = faults.some(({ key }) => key !== null && (key === also || specs.some((spec) => spec.key === key)));
  return (
    <details class="more-fields" open={open || isWrong} onToggle={(event) => setOpen(event.currentTarget.open)}>
      <summary>{words}</summary>
      {children}
    </details>
  );
}

function KeyField({ spec, fields, faults, onChange }: FieldsProps & { spec: KeySpec }) {
  const { key, shape, words } = spec;
  const input = (part: string, of: KeySpec, described: Described) => {
    const name = fieldName(key, part);
    const text = fields.texts[name] ?? "";
    const write = (value: string) => onChange({ ...fields, texts: { ...fields.texts, [name]: value } });
    if (of.shape === "choice") {
      const choices = of.choices ?? [];
      return (
        <select name={name} value={text} onChange={(event) => write(event.currentTarget.value)} {...described}>
          {choices.every(([choice]) => choice !== text) && <option value={text}>as in the text</option>}
          {choices.map(([choice, words]) => (
            <option key={choice} value={choice}>
              {words}
            </option>
          ))}
        </select>
      );
    }
    const shared = {
      name,
      autocomplete: "off",
      autocapitalize: "off",
      spellcheck: key === SUMMARY.key,
      placeholder: of.example ?? "",
      value: text,
      ...described,
    } as const;
    const long = of.shape === "long" || of.shape === "labels";
    return long ? (
      <textarea rows={2} {...shared} onInput={(event) => write(event.currentTarget.value)} />
    ) : (
      <input type="text" {...shared} onInput={(event) => write(event.currentTarget.value)} />
    );
  };
  const several = shape === "pair" || shape === "table";
  return (
    <Field words={words} fault={faultsOf(faults, key)} several={several}>
      {(described) =>
        several ? (
          <div class={shape === "pair" ? "pair" : "fields"}>
            {partsOf(spec).map((part, at) => (
              <label key={part}>
                {spec.parts?.[at]?.words ?? (at === 0 ? "lowest" : "highest")}
                {input(part, spec.parts?.[at] ?? { ...spec, shape: "number" }, described)}
              </label>
            ))}
          </div>
        ) : (
          input("", spec, described)
        )
      }
    </Field>
  );
}

/** When it may fire: none or more hours of the week. */
function During({ fields, faults, onChange }: FieldsProps) {
  const { during } = fields;
  const put = (during: Fields["during"]) => onChange({ ...fields, during });
  return (
    <>
      {during.map((hours, at) => (
        <HoursFields
          key={at}
          words={during.length === 1 ? "It fires only" : `It fires only, or (${at + 1})`}
          hours={hours}
          fault={faultsOf(faults, DURING)}
          onChange={(changed) => put(during.map((one, other) => (other === at ? { ...one, ...changed } : one)))}
          onRemove={() => put(during.filter((_, other) => other !== at))}
        />
      ))}
      <button type="button" onClick={() => put([...during, noHours(ownZone())])}>
        {during.length === 0 ? "Only at certain hours" : "At other hours too"}
      </button>
    </>
  );
}

/** Mistakes that no field stands for; in the text, all of them. */
export function FaultList({ faults, kind, id }: { faults: readonly RuleFault[]; kind: string | null; id: string }) {
  const rest = kind === null ? faults : faultsElsewhere(faults, kind);
  if (rest.length === 0) return null;
  return (
    <ul class="faults fault" id={id}>
      {rest.map(({ key, detail }) => (
        <li key={`${key} ${detail}`}>
          {key !== null && <code>{key}</code>} {detail}
        </li>
      ))}
    </ul>
  );
}

/** The same rule as text. */
export function RuleText({ written, faults, onChange }: { written: string; faults: readonly RuleFault[]; onChange: (written: string) => void }) {
  const id = useId();
  const described: Described = faults.length === 0 ? {} : { "aria-invalid": true, "aria-describedby": id };
  return (
    <>
      <label>
        The rule as JSON, with the keys of [[rule]] in the config
        <textarea
          name="rule"
          rows={12}
          spellcheck={false}
          autocapitalize="off"
          value={written}
          onInput={(event) => onChange(event.currentTarget.value)}
          {...described}
        />
      </label>
      <FaultList faults={faults} kind={null} id={id} />
    </>
  );
}
