/**
 * A rule being written: as fields or as text, the same rule either way, and tried on what was measured before it is saved. Mistakes
 * stand beside their fields, in the gateway's words, and the first of them gets the focus.
 */
import { useId, useState } from "preact/hooks";
import { Refused, saveRule } from "../api";
import { EMPTY, fieldsOf, parseRule, type RuleFields as Fields, ruleOf, writtenRule } from "../rule-form";
import type { Rule, RuleBody, RuleFault } from "../wire";
import { Dialog } from "./Dialog";
import { RuleConflict } from "./RuleConflict";
import { FaultList, RuleFields, RuleText } from "./RuleFields";
import { RuleTrial, Trouble } from "./RuleTrial";

interface RuleDialogProps {
  /** What it begins with. */
  given: RuleBody;
  /** The rule that is changed; none for a new one. */
  known: { id: string; version: number } | null;
  enabled: boolean;
  onClose: () => void;
}

export function RuleDialog({ given, known, enabled, onClose }: RuleDialogProps) {
  const [fields, setFields] = useState<Fields>(() => (Object.keys(given).length === 0 ? EMPTY : fieldsOf(given)));
  /** The text, while the rule is written as such. */
  const [written, setWritten] = useState<string | null>(null);
  const [inForce, setInForce] = useState(enabled);
  const [version, setVersion] = useState(known?.version ?? 0);
  const [faults, setFaults] = useState<readonly RuleFault[]>([]);
  const [theirs, setTheirs] = useState<Rule | null>(null);
  const [trouble, setTrouble] = useState("");
  const elsewhere = useId();

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
  const forget = () => {
    setFaults([]);
    setTrouble("");
  };
  const submit = async (by: string) => {
    forget();
    setTheirs(null);
    try {
      await saveRule(known === null ? null : { id: known.id, version }, rule(), inForce, by);
    } catch (error) {
      heed(error);
      throw error;
    }
  };
  const begin = (body: RuleBody) => {
    setFields(fieldsOf(body));
    if (written !== null) setWritten(writtenRule(body));
  };
  const asText = () => {
    setTrouble("");
    if (written === null) {
      setWritten(writtenRule(ruleOf(fields)));
      return;
    }
    try {
      setFields(fieldsOf(rule()));
      setWritten(null);
    } catch (error) {
      setTrouble(error instanceof Error ? error.message : String(error));
    }
  };

  return (
    <Dialog title={known === null ? "New rule" : "Change the rule"} action="Save" onSubmit={submit} onClose={onClose} wide>
      {theirs !== null && (
        <RuleConflict
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
        <>
          <RuleFields fields={fields} faults={faults} onChange={setFields} />
          <FaultList faults={faults} kind={fields.kind} id={elsewhere} />
        </>
      ) : (
        <RuleText written={written} faults={faults} onChange={setWritten} />
      )}
      {trouble !== "" && <Trouble words={trouble} />}
      <div class="rule-switches">
        <label class="choice">
          <input type="checkbox" checked={inForce} onChange={(event) => setInForce(event.currentTarget.checked)} />
          In force
        </label>
        <button type="button" aria-pressed={written !== null} onClick={asText}>
          Write it as text
        </button>
      </div>
      <RuleTrial rule={rule} onBegin={forget} onRefused={heed} />
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
