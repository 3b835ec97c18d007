/** What is known of a series beside its points: its limits, its alerts, its windows. */
import { useEffect, useState } from "preact/hooks";
import { fetchWindows } from "../api";
import { durationText, fullTimeText, isoTime, numberText, timeText, valueWithUnit } from "../format";
import { useStore } from "../hooks";
import { hrefOf } from "../place";
import { ROOT } from "../root";
import type { SeriesState } from "../series";
import type { Threshold } from "../thresholds";
import { instantText } from "../ticks";
import type { Alert, SeriesWindow } from "../wire";
import { Icon } from "./Icon";

const REFRESH_MS = 15_000;
/** Alerts listed; the others are on their own place. */
const SHOWN = 20;

export function ThresholdList({ thresholds, unit }: { thresholds: readonly Threshold[]; unit: string | null }) {
  if (thresholds.length === 0) return null;
  return (
    <section class="facts-of" aria-labelledby="limits-title">
      <h3 id="limits-title">Limits</h3>
      <ul class="facts">
        {thresholds.map((one) => (
          <li key={`${one.rule} ${one.what}`} class={`severity-${one.severity}`}>
            <Icon name={one.severity} />
            <span>
              {one.rule} {one.what === "fires" ? `fires ${one.side}` : `is over ${one.side === "above" ? "at or below" : "at or above"}`}{" "}
              {valueWithUnit(one.value, unit)}
            </span>
          </li>
        ))}
      </ul>
    </section>
  );
}

export function AlertsOfSeries({ alerts, utc }: { alerts: readonly Alert[]; utc: boolean }) {
  return (
    <section class="facts-of" aria-labelledby="series-alerts-title">
      <h3 id="series-alerts-title">Alerts in this range</h3>
      {alerts.length === 0 ? (
        <p class="quiet">None.</p>
      ) : (
        <ul class="facts">
          {alerts.slice(0, SHOWN).map((alert) => (
            <li key={alert.id} class={`severity-${alert.severity}`}>
              <Icon name={alert.severity} />
              <span>
                {instantText(alert.fired_ms ?? alert.began_ms, utc)},{" "}
                {alert.resolved_ms === null
                  ? "firing since then"
                  : `for ${durationText(alert.resolved_ms - (alert.fired_ms ?? alert.began_ms))}`}
                : {alert.summary}
              </span>
            </li>
          ))}
        </ul>
      )}
      {alerts.length > SHOWN && (
        <p class="quiet">
          And {alerts.length - SHOWN} more: <a href={hrefOf("alerts", ROOT)}>all alerts</a>
        </p>
      )}
    </section>
  );
}

/** The newest aggregates of each configured window. */
export function Windows({ series }: { series: SeriesState }) {
  const store = useStore();
  const [windows, setWindows] = useState<SeriesWindow[]>([]);
  useEffect(() => {
    const aborter = new AbortController();
    const refresh = () => {
      if (!document.hidden) fetchWindows(series, aborter.signal).then(setWindows, () => {});
    };
    refresh();
    const timer = setInterval(refresh, REFRESH_MS);
    return () => {
      clearInterval(timer);
      aborter.abort();
    };
  }, [series]);
  const newest = new Map<string, SeriesWindow>();
  for (const window of windows) {
    const kind = `${window.every_ms}/${window.over_ms}`;
    if (window.closed && window.end_ms > (newest.get(kind)?.end_ms ?? 0)) newest.set(kind, window);
  }
  if (newest.size === 0) return null;
  const cell = (value: number | null) => (value === null ? "–" : numberText(value, Math.min(series.decimals + 1, 6)));
  return (
    <section class="facts-of" aria-labelledby="windows-title">
      <h3 id="windows-title">Windows</h3>
      <div class="scroll" role="region" aria-label="Windows of this series" tabIndex={0}>
        <table>
          <thead>
            <tr>
              {["Over", "Until", "Count", "Min", "Mean", "Max", "Deviation", "Median", "95 %", "99 %"].map((word) => (
                <th key={word} scope="col">
                  {word}
                </th>
              ))}
            </tr>
          </thead>
          <tbody>
            {[...newest].map(([kind, window]) => (
              <tr key={kind}>
                <th scope="row">{durationText(window.over_ms)}</th>
                <td>
                  <time dateTime={isoTime(window.end_ms)} title={fullTimeText(window.end_ms)}>
                    {timeText(window.end_ms, store.now())}
                  </time>
                </td>
                <td>{numberText(window.count)}</td>
                {[window.min, window.mean, window.max, window.stddev, window.p50, window.p95, window.p99].map((value, at) => (
                  <td key={at}>{cell(value)}</td>
                ))}
              </tr>
            ))}
          </tbody>
        </table>
      </div>
    </section>
  );
}
