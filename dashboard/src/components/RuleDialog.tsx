/**
 * A rule being written: fields for the common conditions, a text for everything, and a dry run that shows on charts when it would have
 * fired, before it is saved. Mistakes stand beside their fields, in the gateway's words.
 */
import type { ComponentChildren } from "preact";
import { useEffect, useId, useRef, useState } from "preact/hooks";
import { dryRun, Refused, saveRule } from "../api";
import { useStore } from "../hooks";
import { type Range, RANGES } from "../ranges";
import {
  differingKeys,
  EMPTY,
  faultsOf,
  fieldsOf,
  type Kind,
  KINDS,
  parseRule,
  type RuleFields,
  ruleOf,
  writtenRule,
} from "../rule-form";
import type { DryRun, Rule, RuleBody, RuleFault } from "../wire";
import { Dialog } from "./Dialog";
import { DryRunResult } from "./DryRunResult";
import { RangeButtons } from "./RangeButtons";

const KIND_WORDS: Record<Kind, string> = {
  above: "is above a limit",
  below: "is below a limit",
  change_above: "changes by more than",
  no_data_for: "says nothing",
  other: "something else (as text)",
};
/** The label of the one value that each condition needs. */
const LIMIT_WORDS: Record<Exclude<Kind, "other">, string> = {
  above: "Fires above",
  below: "Fires below",
  change_above: "Fires when it changes by more than",
  no_data_for: "Fires after silence of, such as 10m",
};
/** A day: what people remember. */
const FIRST_RANGE = RANGES[2] ?? RANGES[0];

interface RuleDialogProps {
  /** What it begins with. */
  given: RuleBody;
  /** The rule that is changed; none for a new one. */
  known: { id: string; version: number } | null;
  enabled: boolean;
  onClose: () => void;
}

export function RuleDialog({ given, known, enabled, onClose }: RuleDialogProps) {
  const store = useStore();
  const [fields, setFields] = useState<RuleFields>(() => (Object.keys(given).length === 0 ? EMPTY : fieldsOf(given)));
  /** The text, while the rule is written as such. */
  const [written, setWritten] = useState<string | null>(null);
  const [inForce, setInForce] = useState(enabled);
  const [version, setVersion] = useState(known?.version ?? 0);
  const [faults, setFaults] = useState<readonly RuleFault[]>([]);
  const [theirs, setTheirs] = useState<Rule | null>(null);
  const [range, setRange] = useState<Range | undefined>(FIRST_RANGE);
  const [run, setRun] = useState<DryRun | null>(null);
  const [trouble, setTrouble] = useState("");
  const [trying, setTrying] = useState(false);
  const text = useRef<HTMLTextAreaElement>(null);

  const rule = (): RuleBody => {
    if (written === null) return ruleOf(fields);
    try {
      return parseRule(written);
    } catch (error) {
      throw new Refused(`The text is no JSON: ${error instanceof Error ? error.message : String(error)}`);
    }
  };
  /** What the gateway said about the rule, beside its fields. */
  const heed = (error: unknown) => {
    if (!(error instanceof Refused)) return;
    setFaults(error.faults);
    const current = error.current as Rule | null;
    if (current?.version != null) setTheirs(current);
  };
  const submit = async (by: string) => {
    setFaults([]);
    setTheirs(null);
    try {
      await saveRule(known === null ? null : { id: known.id, version }, rule(), inForce, by);
    } catch (error) {
      heed(error);
      throw error;
    }
  };
  const tryIt = async () => {
    setTrying(true);
    setFaults([]);
    setTrouble("");
    setRun(null);
    try {
      setRun(await dryRun(rule(), store.now() - (range?.ms ?? 0)));
    } catch (error) {
      heed(error);
      setTrouble(error instanceof Error ? error.message : String(error));
    }
    setTrying(false);
  };
  const begin = (body: RuleBody) => {
    setFields(fieldsOf(body));
    if (written !== null) setWritten(writtenRule(body));
  };
  const asText = () => {
    if (written === null) {
      setWritten(writtenRule(ruleOf(fields)));
      return;
    }
    try {
      setFields(fieldsOf(rule()));
      setWritten(null);
      setTrouble("");
    } catch (error) {
      setTrouble(error instanceof Error ? error.message : String(error));
      text.current?.focus();
    }
  };

  return (
    <Dialog title={known === null ? "New rule" : "Change the rule"} action="Save" onSubmit={submit} onClose={onClose} wide>
      {theirs !== null && (
        <Conflict
          theirs={theirs}
          mine={mineOf(rule)}
          onTakeTheirs={() => {
            begin(theirs.rule);
            setInForce(theirs.enabled);
            setVersion(theirs.version ?? 0);
            setTheirs(null);
          }}
          onKeepMine={() => {
            setVersion(theirs.version ?? 0);
            setTheirs(null);
          }}
        />
      )}
      {written === null ? (
        <Fields fields={fields} faults={faults} onChange={setFields} />
      ) : (
        <label>
          The rule as JSON, with the keys of [[rule]] in the config
          <textarea
            ref={text}
            name="rule"
            rows={12}
            spellcheck={false}
            autocapitalize="off"
            value={written}
            onInput={(event) => setWritten(event.currentTarget.value)}
          />
        </label>
      )}
      <Elsewhere faults={faults} shown={written === null ? shownKeys(fields) : []} />
      <div class="rule-switches">
        <label class="choice">
          <input type="checkbox" checked={inForce} onChange={(event) => setInForce(event.currentTarget.checked)} />
          In force
        </label>
        <button type="button" aria-pressed={written !== null} onClick={asText}>
          Write it as text
        </button>
      </div>
      <fieldset class="dry">
        <legend>Try it on what was measured</legend>
        <div class="dry-tools">
          {range !== undefined && <RangeButtons of="the dry run" value={range} onPick={setRange} />}
          <button type="button" disabled={trying} onClick={() => void tryIt()}>
            {trying ? "Trying…" : "Try it"}
          </button>
        </div>
        {trouble !== "" && <Trouble words={trouble} />}
        {run !== null && <DryRunResult run={run} />}
      </fieldset>
    </Dialog>
  );
}

/** What a person has written so far, where it can be read. */
function mineOf(rule: () => RuleBody): RuleBody {
  try {
    return rule();
  } catch {
    return {};
  }
}

function Trouble({ words }: { words: string }) {
  const ref = useRef<HTMLParagraphElement>(null);
  useEffect(() => ref.current?.focus(), [words]);
  return (
    <p ref={ref} class="refusal" tabIndex={-1}>
      {words}
    </p>
  );
}

/** The keys whose mistakes stand beside a field. */
function shownKeys({ kind }: RuleFields): string[] {
  const always = ["name", "series", "for", "severity", "summary", "webhooks"];
  if (kind === "other") return always;
  const also = kind === "change_above" ? ["over"] : kind === "no_data_for" ? [] : ["clear"];
  return [...always, kind, ...also];
}

/** Mistakes that no field stands for. */
function Elsewhere({ faults, shown }: { faults: readonly RuleFault[]; shown: string[] }) {
  const rest = faults.filter(({ key }) => key === null || !shown.includes(key));
  if (rest.length === 0) return null;
  return (
    <ul class="faults fault">
      {rest.map(({ key, detail }) => (
        <li key={`${key} ${detail}`}>
          {key !== null && <code>{key}</code>} {detail}
        </li>
      ))}
    </ul>
  );
}

interface FieldsProps {
  fields: RuleFields;
  faults: readonly RuleFault[];
  onChange: (fields: RuleFields) => void;
}

function Fields({ fields, faults, onChange }: FieldsProps) {
  const { kind } = fields;
  const input = (field: Exclude<keyof RuleFields, "rest" | "kind">, key: string, words: string, placeholder = "") => (
    <Field words={words} fault={faultsOf(faults, key)}>
      {(described) => (
        <input
          type="text"
          name={key}
          autocomplete="off"
          autocapitalize="off"
          spellcheck={field === "summary"}
          placeholder={placeholder}
          value={fields[field]}
          onInput={(event) => onChange({ ...fields, [field]: event.currentTarget.value })}
          {...described}
        />
      )}
    </Field>
  );
  const further = Object.keys(fields.rest);
  return (
    <>
      <div class="fields">
        {input("name", "name", "Name")}
        {input("series", "series", "Series", "*/temperature")}
        <label>
          Condition
          <select value={kind} onChange={(event) => onChange({ ...fields, kind: event.currentTarget.value as Kind })}>
            {KINDS.map((one) => (
              <option key={one} value={one}>
                {KIND_WORDS[one]}
              </option>
            ))}
          </select>
        </label>
        {kind !== "other" && input("limit", kind, LIMIT_WORDS[kind])}
        {(kind === "above" || kind === "below") && input("clear", "clear", "Over again at (empty: the same)")}
        {kind === "change_above" && input("over", "over", "Within, such as 10m")}
        {input("hold", "for", "True for (empty: at once)", "30s")}
        <Field words="Severity" fault={faultsOf(faults, "severity")}>
          {(described) => (
            <select value={fields.severity} onChange={(event) => onChange({ ...fields, severity: event.currentTarget.value })} {...described}>
              <option value="critical">critical</option>
              <option value="warning">warning</option>
              <option value="info">info</option>
            </select>
          )}
        </Field>
        {input("webhooks", "webhooks", "Webhooks (empty: all)")}
      </div>
      {input("summary", "summary", "What to do (said with the alert)")}
      {further.length > 0 && <p class="quiet">Also in the text: {further.join(", ")}.</p>}
    </>
  );
}

interface Described {
  "aria-invalid"?: true;
  "aria-describedby"?: string;
}

/** A field with what is wrong with it. */
function Field({ words, fault, children }: { words: string; fault: string; children: (described: Described) => ComponentChildren }) {
  const id = useId();
  return (
    <div>
      <label>
        {words}
        {children(fault === "" ? {} : { "aria-invalid": true, "aria-describedby": id })}
      </label>
      {fault !== "" && (
        <p class="fault" id={id}>
          {fault}
        </p>
      )}
    </div>
  );
}

interface ConflictProps {
  theirs: Rule;
  mine: RuleBody;
  onTakeTheirs: () => void;
  onKeepMine: () => void;
}

/** Two people changed the same rule: both versions, and which of them to go on with. */
function Conflict({ theirs, mine, onTakeTheirs, onKeepMine }: ConflictProps) {
  const keys = differingKeys(theirs.rule, mine);
  return (
    <section class="conflict" aria-label="Two versions">
      <p>
        {theirs.changed_by ?? "Somebody"} changed this rule meanwhile.{" "}
        {keys.length > 0 ? `The versions differ in ${keys.join(", ")}.` : "The versions say the same."}
      </p>
      <div class="both">
        <div>
          <h4>As it is now{theirs.enabled ? "" : " (disabled)"}</h4>
          <pre tabIndex={0}>{writtenRule(theirs.rule)}</pre>
          <button type="button" onClick={onTakeTheirs}>
            Go on with theirs
          </button>
        </div>
        <div>
          <h4>Yours</h4>
          <pre tabIndex={0}>{writtenRule(mine)}</pre>
          <button type="button" onClick={onKeepMine}>
            Go on with mine
          </button>
        </div>
      </div>
    </section>
  );
}
