/** The silences that are planned, active or over, and a way to end them. */
import type { RefObject } from "preact";
import { fullTimeText, isoTime, timeText } from "../format";
import { useStore, useTopic } from "../hooks";
import { matcherText, repeatText } from "../silence-form";
import type { Silence } from "../wire";
import { Icon } from "./Icon";

interface SilencesProps {
  heading: RefObject<HTMLHeadingElement | null>;
  onNew: () => void;
  onEnd: (silence: Silence) => void;
}

export function Silences({ heading, onNew, onEnd }: SilencesProps) {
  const store = useTopic("silences");
  const open = store.openSilences();
  const ended = store.endedSilences();
  return (
    <section class="silences" aria-labelledby="silences-title">
      <div class="silences-head">
        <h3 id="silences-title" ref={heading} tabIndex={-1}>
          Silences
        </h3>
        <button type="button" data-operate onClick={onNew}>
          New silence
        </button>
      </div>
      {open.length === 0 ? (
        <p class="quiet">None: webhooks hear of every alert.</p>
      ) : (
        <ul class="alert-list">
          {open.map((silence) => (
            <SilenceRow key={silence.id} silence={silence} onEnd={onEnd} />
          ))}
        </ul>
      )}
      {ended.length > 0 && (
        <details>
          <summary>{ended.length} ended silences</summary>
          <ul class="alert-list">
            {ended.map((silence) => (
              <SilenceRow key={silence.id} silence={silence} onEnd={onEnd} />
            ))}
          </ul>
        </details>
      )}
    </section>
  );
}

export const silenceText = (silence: Silence): string => silence.matchers.map(matcherText).join(", ");

function SilenceRow({ silence, onEnd }: { silence: Silence; onEnd: (silence: Silence) => void }) {
  const now = useStore().now();
  const what = silenceText(silence);
  return (
    <li class={`silence silence-${silence.state}`}>
      <span class="silence-state">
        <Icon name={silence.state === "active" ? "silent" : silence.state === "planned" ? "wait" : "good"} />
        {silence.state}
      </span>
      <span class="alert-summary">
        {what}
        <span class="alert-series">
          {silence.repeat !== null && `${repeatText(silence.repeat)}, `}by {silence.created_by}
          {silence.changed_by !== null && `, ${silence.state === "ended" ? "ended" : "changed"} by ${silence.changed_by}`}
          {silence.comment !== "" && `: ${silence.comment}`}
        </span>
      </span>
      <span class="alert-since">
        {silence.state === "planned" && silence.repeat === null && (
          <>
            from <Time at={silence.starts_ms} now={now} />{" "}
          </>
        )}
        {silence.state === "ended" ? "ended" : "until"} <Time at={silence.ends_ms} now={now} />
      </span>
      {silence.state !== "ended" && (
        <span class="alert-actions">
          <button type="button" data-operate onClick={() => onEnd(silence)}>
            End now
            <span class="unseen"> the silence of {what}</span>
          </button>
        </span>
      )}
    </li>
  );
}

function Time({ at, now }: { at: number; now: number }) {
  return (
    <time dateTime={isoTime(at)} title={fullTimeText(at)}>
      {timeText(at, now)}
    </time>
  );
}
