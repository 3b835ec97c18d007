/** The alerts that fire or are pending, and the region that says new ones. The second of the two live regions. */
import { useLayoutEffect, useState } from "preact/hooks";
import { Announcer } from "../announcer";
import { ageText, fullTimeText, isoTime, timeText, valueWithUnit } from "../format";
import { useSecond, useStore, useTopic } from "../hooks";
import type { Alert } from "../wire";
import { metricText } from "../words";
import { Icon } from "./Icon";

/** Rows shown at once; a storm says how many more there are. */
const SHOWN = 50;

export function AlertAnnouncer() {
  const store = useStore();
  const [said, setSaid] = useState("");
  useLayoutEffect(() => {
    const announcer = new Announcer(setSaid);
    store.onFiring = (alert) => announcer.announce(alert);
    return () => {
      store.onFiring = () => {};
    };
  }, [store]);
  return (
    <div role="alert" class="unseen">
      {said}
    </div>
  );
}

/** In the header: how many fire, and the way to them. */
export function AlertCount() {
  const firing = useTopic("alerts")
    .activeAlerts()
    .filter((alert) => alert.state === "firing");
  const worst = firing[0];
  if (worst === undefined) return null;
  return (
    <a class={`count severity-${worst.severity}`} href="#alerts">
      <Icon name={worst.severity} />
      {firing.length} firing
    </a>
  );
}

export function Alerts() {
  const store = useTopic("alerts");
  useSecond();
  const active = store.activeAlerts();
  const ended = store.endedAlerts();
  return (
    <section class="alerts" id="alerts" aria-labelledby="alerts-title">
      <h2 id="alerts-title">Alerts</h2>
      {active.length === 0 ? (
        <p class="quiet">{store.version === "" ? "Not known yet." : "No alert is firing or pending."}</p>
      ) : (
        <ul class="alert-list">
          {active.slice(0, SHOWN).map((alert) => (
            <AlertRow key={alert.id} alert={alert} />
          ))}
        </ul>
      )}
      {active.length > SHOWN && <p class="quiet">And {active.length - SHOWN} more.</p>}
      {ended.length > 0 && (
        <details>
          <summary>{ended.length} resolved recently</summary>
          <ul class="alert-list">
            {ended.map((alert) => (
              <AlertRow key={alert.id} alert={alert} />
            ))}
          </ul>
        </details>
      )}
    </section>
  );
}

const SEVERITY = { critical: "Critical", warning: "Warning", info: "Info" };

function AlertRow({ alert }: { alert: Alert }) {
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
    </li>
  );
}
