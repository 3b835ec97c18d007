/** The dry run of a rule that is being written: over which range, and what came of it. */
import { useEffect, useRef, useState } from "preact/hooks";
import { dryRun } from "../api";
import { useStore } from "../hooks";
import { type Range, RANGES } from "../ranges";
import type { DryRun, RuleBody } from "../wire";
import { DryRunResult } from "./DryRunResult";
import { focusWrong } from "./Field";
import { RangeButtons } from "./RangeButtons";

/** A day: what people remember. */
const FIRST_RANGE = RANGES[2] ?? RANGES[0];

interface RuleTrialProps {
  /** The rule as it is written by now; an error says why it can't be read. */
  rule: () => RuleBody;
  onBegin: () => void;
  /** What the gateway found wrong. */
  onRefused: (error: unknown) => void;
}

export function RuleTrial({ rule, onBegin, onRefused }: RuleTrialProps) {
  const store = useStore();
  const [range, setRange] = useState<Range | undefined>(FIRST_RANGE);
  const [run, setRun] = useState<DryRun | null>(null);
  const [trouble, setTrouble] = useState("");
  const [trying, setTrying] = useState(false);
  const tryIt = async () => {
    setTrying(true);
    onBegin();
    setTrouble("");
    setRun(null);
    try {
      setRun(await dryRun(rule(), store.now() - (range?.ms ?? 0)));
    } catch (error) {
      onRefused(error);
      setTrouble(error instanceof Error ? error.message : String(error));
    }
    setTrying(false);
  };
  return (
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
  );
}

/** Why something was not done; it gets the focus, unless a field has what is wrong. */
export function Trouble({ words }: { words: string }) {
  const ref = useRef<HTMLParagraphElement>(null);
  useEffect(() => focusWrong(ref.current), [words]);
  return (
    <p ref={ref} class="refusal" tabIndex={-1}>
      {words}
    </p>
  );
}
