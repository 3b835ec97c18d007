/**
 * The large chart. A stretch is chosen by dragging, with the buttons or with the keyboard; the canvas says nothing to a screen
 * reader: its words and the table beside it do.
 */
import { useEffect, useRef, useState } from "preact/hooks";
import type uPlot from "uplot";
import { type ChartColumns, captionOf } from "../chart-data";
import { valueWithUnit } from "../format";
import { onSecond, useStore } from "../hooks";
import { aligned, HEIGHT, makePlot, type Scene } from "../plot";
import { onTheme } from "../theme";
import { instantText } from "../ticks";
import { type Trace, Traces } from "../traces";
import { between, boundsOf, LIVE_VIEW, panned, type View, zoomed } from "../view";

const CAPTION_MS = 2_000;

/** What is on the chart now, for exports. */
export interface Drawn {
  canvas: HTMLCanvasElement;
  columns: ChartColumns[];
  from: number;
  to: number;
}

interface SeriesPlotProps {
  traces: readonly Trace[];
  view: View;
  label: string;
  scene: Pick<Scene, "utc" | "thresholds" | "marks">;
  onView: (view: View) => void;
  /** Filled with a way to ask what is drawn. */
  drawn: { current: (() => Drawn | null) | null };
}

export function SeriesPlot({ traces, view, label, scene, onView, drawn }: SeriesPlotProps) {
  const store = useStore();
  const box = useRef<HTMLDivElement>(null);
  const now = useRef({ traces, view, scene, onView });
  now.current = { traces, view, scene, onView };
  const redraw = useRef<() => void>(() => {});
  const [caption, setCaption] = useState("");
  const [readout, setReadout] = useState("");

  // What the canvas is made of; all else is read at each drawing.
  const make = traces.map(({ series, right }) => `${series.id} ${right} ${series.kind}`).join("\n");
  useEffect(() => {
    const element = box.current;
    if (element === null) return undefined;
    let columns: ChartColumns[] = [];
    let bounds = { from: 0, to: 0 };
    let drawnTo = 0;
    let captionAt = 0;
    let dirty = true;
    const live: Scene = { from: 0, to: 1, ...now.current.scene };
    const fetched = new Traces(store, () => {
      captionAt = 0;
      redraw.current();
    });
    const plot: uPlot = makePlot(
      element,
      traces.map(({ series, right }) => ({ right, bool: series.kind === "bool" })),
      live,
      {
        onSelect: (from, to) => now.current.onView(between(from * 1000, to * 1000, store.now())),
        onPoint: (at) => setReadout(at === null ? "" : readoutOf(now.current.traces, columns, at, now.current.scene.utc)),
      },
    );
    const points = () => Math.min(2_000, Math.max(300, Math.round(element.clientWidth)));
    const draw = () => {
      const { traces: shown, view: wanted, scene: beside } = now.current;
      const at = store.heardUntil() || store.now();
      // A window that moved by less than a pixel looks the same.
      const still = wanted.to !== null || at - drawnTo < wanted.span / Math.max(100, plot.width);
      if (document.hidden || (still && !dirty)) return;
      dirty = false;
      drawnTo = at;
      bounds = boundsOf(wanted, at);
      Object.assign(live, beside, { from: bounds.from / 1000, to: bounds.to / 1000 });
      const parts = shown.map(({ series }) => fetched.columns(series, wanted, at));
      columns = parts.map((part) => part.columns);
      const [first] = parts;
      // For the specs: a canvas can't be asked what it shows.
      element.dataset["points"] = String(first?.columns.mid.filter((value) => value != null).length ?? 0);
      element.dataset["marks"] = String(beside.marks.length);
      element.dataset["limits"] = String(beside.thresholds.length);
      plot.setData(aligned(columns));
      if (Date.now() - captionAt < CAPTION_MS) return;
      captionAt = Date.now();
      setCaption(
        shown
          .map(({ series, name }, index) => `${shown.length > 1 ? `${name}: ` : ""}${captionOf(series, columns[index] ?? EMPTY, parts[index]?.failed ?? false)}`)
          .join(". "),
      );
    };
    const keepUp = () => {
      fetched.keepUp(now.current.traces, now.current.view, points());
      draw();
    };
    redraw.current = () => {
      dirty = true;
      keepUp();
    };
    drawn.current = () => {
      const canvas = element.querySelector("canvas");
      return canvas === null ? null : { canvas, columns, ...bounds };
    };
    const resize = new ResizeObserver(() => {
      const width = element.clientWidth;
      if (width > 0 && width !== plot.width) plot.setSize({ width, height: HEIGHT });
    });
    resize.observe(element);
    redraw.current();
    const onPoints = () => {
      if (now.current.view.to !== null) return;
      dirty = true;
      draw();
    };
    const stops = [
      ...traces.map(({ series }) => store.subscribe(`series/${series.id}`, onPoints)),
      store.subscribe("link", keepUp),
      onSecond(keepUp),
      onTheme(() => plot.redraw(false, true)),
    ];
    return () => {
      stops.forEach((stop) => stop());
      resize.disconnect();
      fetched.stop();
      plot.destroy();
      drawn.current = null;
      redraw.current = () => {};
    };
  }, [make]);

  useEffect(() => redraw.current(), [view.span, view.to, scene]);

  const onKeyDown = (event: KeyboardEvent) => {
    const next = KEYS[event.key]?.(view, store.now());
    if (next === undefined || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    onView(next);
  };
  return (
    <figure class="chart">
      <div
        ref={box}
        class="plot plot-place"
        role="img"
        tabIndex={0}
        aria-label={label}
        aria-keyshortcuts="ArrowLeft ArrowRight + - End"
        onKeyDown={onKeyDown}
      />
      <figcaption>{readout || caption || "\u00a0"}</figcaption>
    </figure>
  );
}

const EMPTY: ChartColumns = { x: [], mid: [], low: [], high: [] };

const KEYS: Record<string, (view: View, now: number) => View> = {
  ArrowLeft: (view, now) => panned(view, -0.5, now),
  ArrowRight: (view, now) => panned(view, 0.5, now),
  "+": (view, now) => zoomed(view, 0.5, now),
  "=": (view, now) => zoomed(view, 0.5, now),
  "-": (view, now) => zoomed(view, 2, now),
  End: (view) => ({ ...view, to: null }),
  Home: () => LIVE_VIEW,
};

/** The values of all lines at a time: of each the newest not after it. */
function readoutOf(traces: readonly Trace[], all: readonly ChartColumns[], second: number, utc: boolean): string {
  const values = traces.map(({ series, name }, index) => {
    const columns = all[index] ?? EMPTY;
    let at = columns.x.findLastIndex((time) => time <= second);
    if (at < 0) at = 0;
    const [value, low, high] = [columns.mid[at] ?? null, columns.low[at] ?? null, columns.high[at] ?? null];
    const shown = series.kind === "bool" && value !== null ? (value > 0.5 ? "on" : "off") : valueWithUnit(value, series.unit, series.decimals);
    const band = low === null || high === null || low === high ? "" : ` (${valueWithUnit(low, null, series.decimals)} to ${valueWithUnit(high, null, series.decimals)})`;
    return `${traces.length > 1 ? `${name}: ` : ""}${shown}${band}`;
  });
  return `${instantText(second * 1000, utc)}: ${values.join(", ")}`;
}
