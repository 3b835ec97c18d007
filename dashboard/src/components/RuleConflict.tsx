/** Two people changed the same rule: both versions, and which of them to go on with. */
import { differingKeys, writtenRule } from "../rule-form";
import type { Rule, RuleBody } from "../wire";

interface ConflictProps {
  theirs: Rule;
  mine: RuleBody;
  onTakeTheirs: () => void;
  onKeepMine: () => void;
}

export function RuleConflict({ theirs, mine, onTakeTheirs, onKeepMine }: ConflictProps) {
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
