/** The rules, of the config and of people: what is in force, what fires, and the ways to make, change, try, copy and silence them. */
import { useEffect, useRef, useState } from "preact/hooks";
import { deleteRule, fetchRules, switchRule } from "../api";
import { fullTimeText, isoTime, timeText } from "../format";
import { useStore, useTopic, useVisible } from "../hooks";
import { conditionText } from "../rule-form";
import type { Rule, RuleBody } from "../wire";
import { Dialog } from "./Dialog";
import { Icon } from "./Icon";
import { RuleDialog } from "./RuleDialog";
import { SilenceDialog } from "./SilenceDialog";

/** Rows shown at once; more can be asked for. */
const SHOWN = 30;

/** What a person is about to do. */
type Asked =
  | { what: "write"; given: RuleBody; known: { id: string; version: number } | null; enabled: boolean }
  | { what: "switch" | "delete" | "silence"; rule: Rule };

export function Rules() {
  const store = useStore();
  const ref = useRef<HTMLElement>(null);
  const heading = useRef<HTMLHeadingElement>(null);
  const visible = useVisible(ref);
  const [rules, setRules] = useState<Rule[] | null>(null);
  const [asked, setAsked] = useState<Asked | null>(null);
  const [all, setAll] = useState(false);
  const [seen, setSeen] = useState(false);
  if (visible && !seen) setSeen(true);
  useEffect(() => {
    if (!seen) return undefined;
    let aborter = new AbortController();
    const refresh = () => {
      aborter.abort();
      aborter = new AbortController();
      // The last answer stays when one fails; the next change, or contact again, asks anew.
      void fetchRules(aborter.signal).then(setRules, () => {});
    };
    refresh();
    const stop = store.subscribe("rules", refresh);
    return () => {
      stop();
      aborter.abort();
    };
  }, [seen, store]);
  const shown = rules === null ? [] : all ? rules : rules.slice(0, SHOWN);
  return (
    <section class="rules" id="rules" ref={ref} aria-labelledby="rules-title">
      <div class="silences-head">
        <h2 id="rules-title" ref={heading} tabIndex={-1}>
          Rules <span class="quiet">{rules !== null && rules.length > 0 && rules.length}</span>
        </h2>
        <button type="button" data-operate onClick={() => setAsked({ what: "write", given: {}, known: null, enabled: true })}>
          New rule
        </button>
      </div>
      {rules === null && <p class="quiet">Fetching the rules…</p>}
      {rules !== null && rules.length === 0 && <p class="quiet">There is no rule: nothing can fire.</p>}
      {shown.length > 0 && (
        <ul class="alert-list">
          {shown.map((rule) => (
            <RuleRow key={rule.id} rule={rule} onAsk={setAsked} />
          ))}
        </ul>
      )}
      {rules !== null && shown.length < rules.length && (
        <button type="button" class="more" onClick={() => setAll(true)}>
          Show all {rules.length} rules
        </button>
      )}
      {asked !== null && (
        <Ask
          asked={asked}
          onClose={() => {
            setAsked(null);
            // The button that was pressed goes with its rule.
            if (asked.what === "delete") heading.current?.focus();
          }}
        />
      )}
    </section>
  );
}

function Ask({ asked, onClose }: { asked: Asked; onClose: () => void }) {
  switch (asked.what) {
    case "write":
      return <RuleDialog given={asked.given} known={asked.known} enabled={asked.enabled} onClose={onClose} />;
    case "silence":
      return <SilenceDialog alert={null} rule={asked.rule.name} onClose={onClose} />;
    case "switch": {
      const { rule } = asked;
      const action = rule.enabled ? "Disable" : "Enable";
      return (
        <Dialog title={`${action} “${rule.name}”`} action={action} onSubmit={(by) => switchRule(rule.id, !rule.enabled, by)} onClose={onClose}>
          <p class="quiet">
            {rule.enabled ? "It watches nothing until it is enabled again; what fires because of it ends." : "It watches from now on."}
          </p>
        </Dialog>
      );
    }
    case "delete": {
      const { rule } = asked;
      return (
        <Dialog
          title={`Delete “${rule.name}”`}
          action="Delete"
          onSubmit={(by) => deleteRule(rule.id, rule.version ?? 0, by)}
          onClose={onClose}
        >
          <p class="quiet">What fires because of it ends. The audit trail keeps what it said.</p>
        </Dialog>
      );
    }
  }
}

function RuleRow({ rule, onAsk }: { rule: Rule; onAsk: (asked: Asked) => void }) {
  const store = useTopic("alerts");
  const active = store.activeAlerts().filter((alert) => alert.rule === rule.name && rule.in_force);
  const firing = active.filter((alert) => alert.state === "firing").length;
  const pending = active.length - firing;
  const severity = rule.rule["severity"];
  const tone = severity === "critical" || severity === "info" ? severity : "warning";
  const version = rule.version;
  const name = <span class="unseen"> {`the rule ${rule.name}`}</span>;
  return (
    <li class={`rule ${rule.in_force ? "rule-in-force" : "rule-off"} severity-${tone}`}>
      <span class="silence-state">
        <Icon name={firing > 0 ? tone : rule.in_force ? "good" : rule.enabled ? "down" : "silent"} />
        {firing > 0 ? `${firing} firing` : rule.in_force ? "quiet" : rule.enabled ? "not in force" : "disabled"}
        {pending > 0 && <span class="alert-state">{pending} pending</span>}
      </span>
      <span class="alert-summary">
        {rule.name}
        <span class="alert-series">
          {typeof rule.rule["series"] === "string" && `${rule.rule["series"]}: `}
          {conditionText(rule.rule)}
        </span>
        {rule.problem !== null && (
          <span class="chip chip-problem">
            <Icon name="warning" />
            {rule.problem}
          </span>
        )}
      </span>
      <Origin rule={rule} />
      <span class="alert-actions">
        {version !== null && (
          <>
            <button
              type="button"
              data-operate
              onClick={() => onAsk({ what: "write", given: rule.rule, known: { id: rule.id, version }, enabled: rule.enabled })}
            >
              Change{name}
            </button>
            <button type="button" data-operate onClick={() => onAsk({ what: "switch", rule })}>
              {rule.enabled ? "Disable" : "Enable"}
              {name}
            </button>
          </>
        )}
        <button
          type="button"
          data-operate
          onClick={() => onAsk({ what: "write", given: { ...rule.rule, name: `${rule.name} copy` }, known: null, enabled: true })}
        >
          Copy{name}
        </button>
        <button type="button" data-operate onClick={() => onAsk({ what: "silence", rule })}>
          Silence{name}
        </button>
        {version !== null && (
          <button type="button" data-operate onClick={() => onAsk({ what: "delete", rule })}>
            Delete{name}
          </button>
        )}
      </span>
    </li>
  );
}

/** In which file it stands, or who made it. */
function Origin({ rule }: { rule: Rule }) {
  const now = useStore().now();
  if (rule.origin === "file") {
    const file = rule.file?.split("/").at(-1) ?? "built-in config";
    return (
      <span class="alert-since" title={rule.file ?? undefined}>
        {file}:{rule.line}
        <span class="alert-age">read only</span>
      </span>
    );
  }
  const [by, at] = rule.changed_ms === null ? [rule.created_by, rule.created_ms] : [rule.changed_by, rule.changed_ms];
  return (
    <span class="alert-since">
      {rule.changed_ms === null ? "by" : "changed by"} {by}
      {at !== null && (
        <time class="alert-age" dateTime={isoTime(at)} title={fullTimeText(at)}>
          {timeText(at, now)}
        </time>
      )}
    </span>
  );
}
