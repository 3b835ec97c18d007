/**
 * One series: a large chart from live to a year back, others beside it, and what rules, alerts and windows say of it. What is
 * shown stands in the address, so that it can be shared.
 */
import { useEffect, useMemo, useRef, useState } from "preact/hooks";
import { fetchAlerts, fetchRules } from "../api";
import { csvOf, fileName, save } from "../export";
import { unitText } from "../format";
import { useSecond, useTopic } from "../hooks";
import { go, setQuery, useAddress } from "../navigation";
import { DASHES } from "../plot";
import type { SeriesState } from "../series";
import type { Store } from "../store";
import { chartColours } from "../theme";
import { thresholdsOf } from "../thresholds";
import { instantText } from "../ticks";
import { MOST_TRACES, type Trace } from "../traces";
import { boundsOf, panned, queryOf, SPANS, type View, viewOf, zoomed } from "../view";
import type { Alert, Rule } from "../wire";
import { inSentence, metricText } from "../words";
import { KioskButton } from "./Kiosk";
import { PointsTable } from "./PointsTable";
import { AlertsOfSeries, ThresholdList, Windows } from "./SeriesFacts";
import { type Drawn, SeriesPlot } from "./SeriesPlot";
import { TextChanges } from "./TextChanges";
import { Age, Notes, Reading } from "./Tile";

const UTC_KEY = "utc";

export function SeriesPlace({ device, metric }: { device: string; metric: string }) {
  const store = useTopic("inventory");
  const deviceName = store.devices.get(device)?.name ?? device;
  const series = store.series.get(`${device}/${metric}`);
  const site = store.devices.get(device)?.site;
  return (
    <section aria-labelledby="series-title">
      <h2 id="series-title" tabIndex={-1}>
        {deviceName} <span class="quiet">{[metricText(metric), site].filter(Boolean).join(" · ")}</span>
      </h2>
      {series === undefined ? (
        <p class="quiet">{store.version === "" ? "Waiting for the gateway's first word." : "The gateway knows no such series."}</p>
      ) : (
        <>
          <Now series={series} />
          {series.kind === "text" ? (
            <TextChanges series={series} range={{ ms: SPANS[2].ms, short: "24 h", long: "24 hours", refreshMs: 300_000 }} active />
          ) : (
            <Charted series={series} store={store} />
          )}
          <Windows series={series} />
        </>
      )}
    </section>
  );
}

function Now({ series }: { series: SeriesState }) {
  const store = useTopic(`series/${series.id}`);
  useTopic("link");
  useSecond();
  const freshness = series.freshness(store.heardUntil());
  return (
    <div class={`tile tile-now tile-${freshness}`}>
      <p class="reading">
        <Reading series={series} />
        <Age series={series} store={store} freshness={freshness} />
      </p>
      <Notes series={series} store={store} freshness={freshness} />
    </div>
  );
}

const nameOf = (store: Store, series: SeriesState): string =>
  `${store.devices.get(series.device)?.name ?? series.device} ${inSentence(series.metric)}`;

function Charted({ series, store }: { series: SeriesState; store: Store }) {
  const query = useAddress().searchParams;
  const view = viewOf(query);
  const [utc, setUtc] = useState(() => localStorageOf(UTC_KEY) === "1");
  const [table, setTable] = useState(false);
  const alerts = useAlerts(store);
  const rules = useRules(store);
  const drawn = useRef<(() => Drawn | null) | null>(null);

  const rights = new Set(query.getAll("right"));
  const others = query.getAll("with").flatMap((id) => store.series.get(id) ?? []);
  const traces: Trace[] = [series, ...others.filter((one) => one !== series && one.kind !== "text")]
    .slice(0, MOST_TRACES)
    .map((one, at) => ({ series: one, name: nameOf(store, one), right: at > 0 && rights.has(one.id) }));

  const now = store.now();
  const bounds = boundsOf(view, now);
  const own = useMemo(
    () => alerts.filter((alert) => traces.some((trace) => trace.series.id === alert.series) && alert.fired_ms !== null),
    [alerts, traces.map((trace) => trace.series.id).join("\n")],
  );
  const thresholds = useMemo(() => thresholdsOf(rules, series, store.devices.get(series.device)), [rules, series]);
  const scene = useMemo(
    () => ({
      utc,
      thresholds,
      marks: own.map(({ fired_ms, resolved_ms, severity }) => ({
        from: (fired_ms ?? 0) / 1000,
        to: resolved_ms === null ? null : resolved_ms / 1000,
        severity,
      })),
    }),
    [utc, thresholds, own],
  );
  const setView = (next: View) => setQuery(queryOf(next));
  const name = nameOf(store, series);
  const known = SPANS.find(({ ms }) => ms === view.span);
  const stretch =
    view.to === null && known !== undefined ? `last ${known.long}` : `${instantText(bounds.from, utc)} to ${view.to === null ? "now" : instantText(bounds.to, utc)}`;
  const title = traces.map((trace) => trace.name).join(", ");

  return (
    <>
      <div class="plot-tools">
        <div class="ranges" role="group" aria-label={`Range of ${name}`}>
          {SPANS.map((span) => (
            <button
              key={span.short}
              type="button"
              aria-pressed={view.to === null && view.span === span.ms}
              title={`Last ${span.long}`}
              onClick={() => setView({ span: span.ms, to: null })}
            >
              {span.short}
            </button>
          ))}
        </div>
        <div class="tool-row" role="group" aria-label="Move the chart">
          <button type="button" onClick={() => setView(panned(view, -0.5, now))}>
            ← Earlier
          </button>
          <button type="button" disabled={view.to === null} onClick={() => setView(panned(view, 0.5, now))}>
            Later →
          </button>
          <button type="button" onClick={() => setView(zoomed(view, 0.5, now))}>
            Zoom in
          </button>
          <button type="button" onClick={() => setView(zoomed(view, 2, now))}>
            Zoom out
          </button>
          <button type="button" aria-pressed={view.to === null} onClick={() => setView({ ...view, to: null })}>
            Live
          </button>
        </div>
      </div>
      <SeriesPlot traces={traces} view={view} label={`${title}, ${stretch}`} scene={scene} onView={setView} drawn={drawn} />
      <Legend traces={traces} series={series} store={store} />
      <div class="tool-row">
        <button
          type="button"
          aria-pressed={utc}
          onClick={() => {
            setUtc(!utc);
            remember(UTC_KEY, utc ? "0" : "1");
          }}
        >
          Times in UTC
        </button>
        <button type="button" onClick={() => exportCsv(traces, drawn.current?.() ?? null)}>
          Save as CSV
        </button>
        <button type="button" onClick={() => exportPng(traces, drawn.current?.() ?? null, title, utc)}>
          Save as picture
        </button>
        <KioskButton />
        <button type="button" aria-expanded={table} onClick={() => setTable(!table)}>
          {table ? "Hide table" : "Show as table"}
          <span class="unseen"> of {name}</span>
        </button>
      </div>
      {table && <PointsTable series={series} name={name} range={{ ms: view.span, long: known?.long ?? stretch }} to={view.to} />}
      <ThresholdList thresholds={thresholds} unit={series.unit} />
      <AlertsOfSeries
        alerts={own.filter((alert) => (alert.fired_ms ?? 0) <= bounds.to && (alert.resolved_ms ?? Infinity) >= bounds.from)}
        utc={utc}
      />
    </>
  );
}

/** Which line is which, and the ways to add and take away. */
function Legend({ traces, series, store }: { traces: readonly Trace[]; series: SeriesState; store: Store }) {
  const [typed, setTyped] = useState("");
  const change = (ids: readonly string[], rights: readonly string[]) => {
    const url = new URL(location.href);
    url.searchParams.delete("with");
    url.searchParams.delete("right");
    for (const id of ids) url.searchParams.append("with", id);
    for (const id of rights) url.searchParams.append("right", id);
    go(url.href, true);
  };
  const ids = traces.slice(1).map((trace) => trace.series.id);
  const rights = traces.filter((trace) => trace.right).map((trace) => trace.series.id);
  const add = (id: string) => {
    setTyped(id);
    const other = store.series.get(id);
    if (other === undefined || other.kind === "text" || other === series || ids.includes(id)) return;
    // Of another unit it would lie flat beside the first.
    change([...ids, id], other.unit === series.unit && other.kind === series.kind ? rights : [...rights, id]);
    setTyped("");
  };
  const colours = chartColours();
  return (
    <div class="legend">
      <ul>
        {traces.map(({ series: one, name, right }, at) => (
          <li key={one.id}>
            <svg class="swatch" viewBox="0 0 28 8" aria-hidden="true">
              <path d="M0 4h28" stroke={colours.lines[at]} stroke-width="2.5" stroke-dasharray={(DASHES[at] ?? []).join(" ")} />
            </svg>
            <span>
              {name}
              {unitText(one.unit) !== "" && <span class="quiet"> {unitText(one.unit)}</span>}
            </span>
            {at > 0 && (
              <>
                <button
                  type="button"
                  aria-pressed={right}
                  onClick={() => change(ids, right ? rights.filter((id) => id !== one.id) : [...rights, one.id])}
                >
                  Own axis<span class="unseen"> for {name}</span>
                </button>
                <button
                  type="button"
                  onClick={() =>
                    change(
                      ids.filter((id) => id !== one.id),
                      rights.filter((id) => id !== one.id),
                    )
                  }
                >
                  Remove<span class="unseen"> {name}</span>
                </button>
              </>
            )}
          </li>
        ))}
      </ul>
      {traces.length < MOST_TRACES && (
        <label class="compare">
          Compare with
          <input type="search" list="compare-series" placeholder="device/metric" value={typed} onInput={(event) => add(event.currentTarget.value)} />
          <datalist id="compare-series">
            {[...store.series.values()]
              .filter((one) => one !== series && one.kind !== "text" && !ids.includes(one.id))
              .map((one) => (
                <option key={one.id} value={one.id}>
                  {nameOf(store, one)}
                </option>
              ))}
          </datalist>
        </label>
      )}
    </div>
  );
}

function exportCsv(traces: readonly Trace[], drawn: Drawn | null): void {
  if (drawn === null) return;
  const shown = traces.map(({ series, name }, at) => ({
    id: series.id,
    name,
    unit: series.unit,
    columns: drawn.columns[at] ?? { x: [], mid: [], low: [], high: [] },
  }));
  const text = csvOf(shown, drawn.from, drawn.to);
  save(fileName(traces[0]?.series.id ?? "", drawn.from, drawn.to, "csv"), new Blob([text], { type: "text/csv" }));
}

/** The canvas on the page's ground, with its title and range in words. */
function exportPng(traces: readonly Trace[], drawn: Drawn | null, title: string, utc: boolean): void {
  if (drawn === null) return;
  const { canvas: chart, from, to } = drawn;
  const ratio = devicePixelRatio || 1;
  const [margin, line] = [12 * ratio, 18 * ratio];
  const picture = document.createElement("canvas");
  picture.width = chart.width + 2 * margin;
  picture.height = chart.height + 2 * margin + line * (traces.length + 1);
  const context = picture.getContext("2d");
  if (context === null) return;
  const style = getComputedStyle(document.documentElement);
  const colours = chartColours();
  context.fillStyle = style.getPropertyValue("--surface");
  context.fillRect(0, 0, picture.width, picture.height);
  context.font = `${12 * ratio}px ${colours.family}`;
  traces.forEach(({ name, series }, at) => {
    const top = margin + line * (at + 0.7);
    context.strokeStyle = colours.lines[at] ?? colours.line;
    context.lineWidth = 2 * ratio;
    context.setLineDash((DASHES[at] ?? []).map((length) => length * ratio));
    context.beginPath();
    context.moveTo(margin, top - 4 * ratio);
    context.lineTo(margin + 28 * ratio, top - 4 * ratio);
    context.stroke();
    context.fillStyle = style.getPropertyValue("--ink");
    context.fillText(`${name} ${unitText(series.unit)}`, margin + 36 * ratio, top);
  });
  context.fillText(`${instantText(from, utc)} – ${instantText(to, utc)}`, margin, margin + line * (traces.length + 0.7));
  context.drawImage(chart, margin, margin + line * (traces.length + 1));
  picture.toBlob((blob) => {
    if (blob !== null) save(fileName(title, from, to, "png"), blob);
  });
}

/** Alerts of all series, fetched again when one changes. */
function useAlerts(store: Store): Alert[] {
  const [alerts, setAlerts] = useState<Alert[]>([]);
  useRefreshed(store, "alerts", (signal) => fetchAlerts(1_000, signal).then(setAlerts));
  return alerts;
}

function useRules(store: Store): Rule[] {
  const [rules, setRules] = useState<Rule[]>([]);
  useRefreshed(store, "rules", (signal) => fetchRules(signal).then(setRules));
  return rules;
}

/** Does `work` now and when the topic changes, not more often than every two seconds; the last answer stays when it fails. */
function useRefreshed(store: Store, topic: "alerts" | "rules", work: (signal: AbortSignal) => Promise<void>): void {
  useEffect(() => {
    let aborter = new AbortController();
    let timer: ReturnType<typeof setTimeout> | undefined;
    const refresh = () => {
      timer = undefined;
      aborter.abort();
      aborter = new AbortController();
      work(aborter.signal).catch(() => {});
    };
    refresh();
    const stop = store.subscribe(topic, () => (timer ??= setTimeout(refresh, 2_000)));
    return () => {
      stop();
      clearTimeout(timer);
      aborter.abort();
    };
  }, [store]);
}

function localStorageOf(key: string): string | null {
  try {
    return localStorage.getItem(key);
  } catch {
    return null;
  }
}

function remember(key: string, value: string): void {
  try {
    localStorage.setItem(key, value);
  } catch {
    // Then it holds until the page is closed.
  }
}
