/** The alerts that fire or are pending, and what people do about them. */
import { useRef, useState } from "preact/hooks";
import { acknowledge, closeAlert, endSilence, takeBackAcknowledgement, takeOffShelf } from "../api";
import { ageText, fullTimeText, isoTime, timeText, valueWithUnit } from "../format";
import { useSecond, useStore, useTopic } from "../hooks";
import type { Alert, Silence } from "../wire";
import { metricText } from "../words";
import { AlertArchive } from "./AlertArchive";
import { AlertHistory, AlertMarks } from "./AlertLife";
import { AlertWatch } from "./AlertWatch";
import { AuditTrail } from "./AuditTrail";
import { Dialog } from "./Dialog";
import { Icon } from "./Icon";
import { ShelveDialog } from "./ShelveDialog";
import { SilenceDialog } from "./SilenceDialog";
import { Silences, silenceText } from "./Silences";

/** Rows shown at once; a storm says how many more there are. */
const SHOWN = 50;

/** What a person is about to do. */
type Asked =
  | { what: "acknowledge" | "take back" | "close" | "shelve" | "unshelve"; alert: Alert }
  | { what: "silence"; alert: Alert | null }
  | { what: "end"; silence: Silence };

export function Alerts() {
  const store = useTopic("alerts");
  const [asked, setAsked] = useState<Asked | null>(null);
  const silences = useRef<HTMLHeadingElement>(null);
  const title = useRef<HTMLHeadingElement>(null);
  useSecond();
  const active = store.activeAlerts();
  const ended = store.endedAlerts();
  return (
    <section class="alerts" id="alerts" aria-labelledby="alerts-title">
      <div class="place-head">
        <h2 id="alerts-title" ref={title} tabIndex={-1}>
          Alerts
        </h2>
        <AlertWatch />
      </div>
      {active.length === 0 ? (
        <p class="quiet">{store.version === "" ? "Not known yet." : "No alert is firing or pending."}</p>
      ) : (
        <ul class="alert-list">
          {active.slice(0, SHOWN).map((alert) => (
            <AlertRow key={alert.id} alert={alert} onAsk={setAsked} />
          ))}
        </ul>
      )}
      {active.length > SHOWN && <p class="quiet">And {active.length - SHOWN} more.</p>}
      {ended.length > 0 && (
        <details>
          <summary>{ended.length} resolved recently</summary>
          <ul class="alert-list">
            {ended.map((alert) => (
              <AlertRow key={alert.id} alert={alert} onAsk={setAsked} />
            ))}
          </ul>
        </details>
      )}
      <Silences
        heading={silences}
        onNew={() => setAsked({ what: "silence", alert: null })}
        onEnd={(silence) => setAsked({ what: "end", silence })}
      />
      <AlertArchive />
      <AuditTrail />
      {asked !== null && (
        <Ask
          asked={asked}
          onClose={() => {
            setAsked(null);
            // The button that was pressed goes with its silence, or its alert.
            if (asked.what === "end") silences.current?.focus();
            if (asked.what === "close") title.current?.focus();
          }}
        />
      )}
    </section>
  );
}

function Ask({ asked, onClose }: { asked: Asked; onClose: () => void }) {
  switch (asked.what) {
    case "acknowledge":
      return (
        <Dialog
          title="Acknowledge this alert"
          action="Acknowledge"
          onSubmit={(by, comment) => acknowledge(asked.alert.id, by, comment)}
          onClose={onClose}
          comment
        >
          <p class="quiet">{asked.alert.summary}</p>
        </Dialog>
      );
    case "take back":
      return (
        <Dialog
          title="Take back the acknowledgement"
          action="Take back"
          onSubmit={(by) => takeBackAcknowledgement(asked.alert.id, by)}
          onClose={onClose}
        >
          <p class="quiet">{asked.alert.summary}</p>
        </Dialog>
      );
    case "close":
      return (
        <Dialog
          title="Close this alert"
          action="Close alert"
          onSubmit={(by, comment) => closeAlert(asked.alert.id, by, comment)}
          onClose={onClose}
          comment
        >
          <p class="quiet">{asked.alert.summary}</p>
          <p class="quiet">It is over for everybody, and webhooks hear so. It fires again only after its condition was clear once.</p>
        </Dialog>
      );
    case "shelve":
      return <ShelveDialog alert={asked.alert} onClose={onClose} />;
    case "unshelve":
      return (
        <Dialog
          title="Take this alert off the shelf"
          action="Take off"
          onSubmit={(by) => takeOffShelf(asked.alert.id, by)}
          onClose={onClose}
        >
          <p class="quiet">{asked.alert.summary}. Webhooks then hear of it if it still fires.</p>
        </Dialog>
      );
    case "silence":
      return <SilenceDialog alert={asked.alert} onClose={onClose} />;
    case "end":
      return (
        <Dialog title="End this silence now" action="End now" onSubmit={(by) => endSilence(asked.silence.id, by)} onClose={onClose}>
          <p class="quiet">{silenceText(asked.silence)}. Webhooks then hear of what still fires.</p>
        </Dialog>
      );
  }
}

const SEVERITY = { critical: "Critical", warning: "Warning", info: "Info" };

function AlertRow({ alert, onAsk }: { alert: Alert; onAsk: (asked: Asked) => void }) {
  const store = useStore();
  const now = store.now();
  const series = store.series.get(alert.series);
  const device = series && store.devices.get(series.device);
  const since = alert.resolved_ms ?? alert.fired_ms ?? alert.began_ms;
  return (
    <li class={`alert alert-${alert.state} severity-${alert.severity}`}>
      <span class="alert-severity">
        <Icon name={alert.severity} />
        {SEVERITY[alert.severity]}
        {alert.state !== "firing" && <span class="alert-state">{alert.state}</span>}
      </span>
      <span class="alert-summary">
        {alert.summary}
        <span class="alert-series">
          {series === undefined ? alert.series : `${device?.name ?? series.device} · ${metricText(series.metric)}`}
          {" · rule "}
          {alert.rule}
        </span>
      </span>
      <span class="alert-value">{alert.value === null ? "" : valueWithUnit(alert.value, alert.unit)}</span>
      <time class="alert-since" dateTime={isoTime(since)} title={fullTimeText(since)}>
        {alert.state === "resolved" ? "ended" : "since"} {timeText(since, now)}
        <span class="alert-age">{ageText(since, now)}</span>
      </time>
      <AlertMarks alert={alert} />
      <People alert={alert} />
      <AlertHistory alert={alert} />
      {alert.state !== "resolved" && (
        <span class="alert-actions">
          {alert.state === "firing" && (
            <button
              type="button"
              onClick={() => onAsk({ what: alert.acknowledged === null ? "acknowledge" : "take back", alert })}
            >
              {alert.acknowledged === null ? "Acknowledge" : "Take back acknowledgement"}
              <span class="unseen"> of {`${alert.rule} on ${alert.series}`}</span>
            </button>
          )}
          <button type="button" onClick={() => onAsk({ what: "silence", alert })}>
            Silence
            <span class="unseen"> {`${alert.rule} on ${alert.series}`}</span>
          </button>
          <button type="button" onClick={() => onAsk({ what: alert.shelved === null ? "shelve" : "unshelve", alert })}>
            {alert.shelved === null ? "Shelve…" : "Take off the shelf"}
            <span class="unseen"> {`${alert.rule} on ${alert.series}`}</span>
          </button>
          {alert.state === "firing" && (
            <button type="button" onClick={() => onAsk({ what: "close", alert })}>
              Close…
              <span class="unseen"> {`${alert.rule} on ${alert.series}`}</span>
            </button>
          )}
        </span>
      )}
    </li>
  );
}

/** Who takes care of it, who silenced it until when, what explains it, and who is told next. */
function People({ alert }: { alert: Alert }) {
  const store = useTopic("silences");
  const now = store.now();
  const { acknowledged, escalates_ms, shelved } = alert;
  const [source] = alert.inhibited_by;
  if (acknowledged === null && alert.silenced_by.length === 0 && source === undefined && escalates_ms === null) return null;
  return (
    <span class="alert-people">
      {acknowledged !== null && (
        <span class="chip">
          <Icon name="good" />
          <span>
            Acknowledged by {acknowledged.by},{" "}
            <time dateTime={isoTime(acknowledged.at_ms)} title={fullTimeText(acknowledged.at_ms)}>
              {timeText(acknowledged.at_ms, now)}
            </time>
            {acknowledged.comment !== "" && `: ${acknowledged.comment}`}
          </span>
        </span>
      )}
      {shelved !== null && (
        <span class="chip">
          <Icon name="silent" />
          <span>
            Shelved by {shelved.by} until{" "}
            <time dateTime={isoTime(shelved.until_ms)} title={fullTimeText(shelved.until_ms)}>
              {timeText(shelved.until_ms, now)}
            </time>
            {shelved.comment !== "" && `: ${shelved.comment}`}
          </span>
        </span>
      )}
      {alert.silenced_by.filter((id) => id !== shelved?.silence).map((id) => {
        const silence = store.silence(id);
        return (
          <span key={id} class="chip">
            <Icon name="silent" />
            {silence === undefined ? "Silenced" : `Silenced by ${silence.created_by} until ${timeText(silence.ends_ms, now)}`}
          </span>
        );
      })}
      {source !== undefined && (
        <span class="chip">
          <Icon name="silent" />
          Nobody is told while {inhibitorText(store.alert(source))} fires
        </span>
      )}
      {escalates_ms !== null && (
        <span class="chip">
          <Icon name="wait" />
          <span>
            Goes to the next webhook at{" "}
            <time dateTime={isoTime(escalates_ms)} title={fullTimeText(escalates_ms)}>
              {timeText(escalates_ms, now)}
            </time>{" "}
            unless acknowledged
          </span>
        </span>
      )}
    </span>
  );
}

const inhibitorText = (alert: Alert | undefined): string =>
  alert === undefined ? "another alert" : `${alert.rule} on ${alert.series}`;
