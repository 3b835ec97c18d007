/**
 * The chart of one series over a range that ends now. The canvas is made when it is first seen and then only fed;
 * it is drawn at most four times a second, and not at all while out of view or when nothing would move.
 *
 * A canvas says nothing to a screen reader: the caption and the tile's table say it in words.
 */
import { useEffect, useRef, useState } from "preact/hooks";
import uPlot from "uplot";
import "uplot/dist/uPlot.min.css";
import { bucketColumns, type ChartColumns, rawColumns, summarise } from "../chart-data";
import { rangeTexts, tickTexts, timeText, valueWithUnit, withUnit } from "../format";
import { onSecond, useStore } from "../hooks";
import { History } from "../history";
import { LIVE, type Range } from "../ranges";
import { RING_CAPACITY, type SeriesState } from "../series";
import { chartColours, onTheme } from "../theme";

const SMALL_HEIGHT = 96;
const LARGE_HEIGHT = 280;
/** Of a character of an axis, in pixels; a little too much rather than too little. */
const LABEL_WIDTH = 6.2;
/** The caption changes at most this often: words that flicker can't be read. */
const CAPTION_MS = 2_000;

interface ChartProps {
  series: SeriesState;
  name: string;
  range: Range;
  large: boolean;
  active: boolean;
}

export function Chart({ series, name, range, large, active }: ChartProps) {
  const store = useStore();
  const box = useRef<HTMLDivElement>(null);
  const plot = useRef<{ draw: () => void; keepUp: () => void } | null>(null);
  const [caption, setCaption] = useState("");
  const [readout, setReadout] = useState("");
  const [seen, setSeen] = useState(active);
  if (active && !seen) setSeen(true);

  useEffect(() => {
    const element = box.current;
    if (!seen || element === null) return undefined;

    let drawnTo = 0;
    let captionAt = 0;
    let dirty = true;
    const window = { from: 0, to: 0 };
    const chart = new uPlot(
      chartOptions(series, range, large, element.clientWidth, window, (at) => setReadout(at)),
      [[], [], [], []],
      element,
    );
    const points = range === LIVE ? RING_CAPACITY : Math.min(1_500, Math.max(200, element.clientWidth));
    const history = new History(store, series, range, points, () => {
      dirty = true;
      captionAt = 0;
      draw();
    });

    const draw = () => {
      const now = store.heardUntil() || store.now();
      // A window that moved by less than a pixel looks the same.
      const still = now - drawnTo < range.ms / Math.max(100, chart.width);
      if (document.hidden || (still && !dirty)) return;
      dirty = false;
      drawnTo = now;
      window.to = now / 1000;
      window.from = (now - range.ms) / 1000;
      const columns = columnsOf(series, history, now - range.ms);
      // For the specs: a canvas can't be asked what it shows.
      element.dataset["points"] = String(columns.mid.filter((value) => value !== null).length);
      chart.setData([columns.x, columns.low, columns.high, columns.mid]);
      if (Date.now() - captionAt > CAPTION_MS) {
        captionAt = Date.now();
        setCaption(captionOf(series, columns, history.failed));
      }
    };

    const resize = new ResizeObserver(() => {
      const width = element.clientWidth;
      if (width > 0 && width !== chart.width) chart.setSize({ width, height: chart.height });
    });
    resize.observe(element);
    plot.current = {
      draw: () => {
        dirty = true;
        draw();
      },
      keepUp: () => {
        history.keepUp();
        draw();
      },
    };
    const stopTheme = onTheme(() => chart.redraw(false, true));
    return () => {
      stopTheme();
      resize.disconnect();
      history.stop();
      chart.destroy();
      plot.current = null;
    };
  }, [seen]);

  useEffect(() => {
    if (!active) return undefined;
    plot.current?.draw();
    plot.current?.keepUp();
    const stops = [
      store.subscribe(`series/${series.id}`, () => plot.current?.draw()),
      onSecond(() => plot.current?.keepUp()),
    ];
    return () => stops.forEach((stop) => stop());
  }, [store, series, active, seen]);

  return (
    <figure class="chart">
      <div ref={box} class={large ? "plot plot-large" : "plot"} role="img" aria-label={`${name}, last ${range.long}`} />
      <figcaption>{readout || caption || "\u00a0"}</figcaption>
    </figure>
  );
}

function columnsOf(series: SeriesState, history: History, from: number): ChartColumns {
  const { base } = history;
  const gap = series.gapAfter();
  return base === null || base.bucket_ms === null
    ? rawColumns(base, series.ring, from, gap)
    : bucketColumns(base, series.ring, from, gap);
}

function captionOf(series: SeriesState, columns: ChartColumns, failed: boolean): string {
  const trouble = failed ? "Older points could not be fetched. " : "";
  const summary = summarise(columns);
  if (summary === null) return `${trouble}No readings in this range`;
  if (series.kind === "bool") {
    const switches = columns.mid.filter((v, at) => at > 0 && v !== null && v !== columns.mid[at - 1]).length;
    const changes = switches === 0 ? "no change" : `changed ${switches === 1 ? "once" : `${switches} times`}`;
    return `${trouble}${summary.last > 0.5 ? "On" : "Off"}, ${changes}`;
  }
  const [min, max] = rangeTexts(summary.min, summary.max, series.decimals);
  return `${trouble}${min} to ${withUnit(max, series.unit)}, ${summary.trend}`;
}

function chartOptions(
  series: SeriesState,
  range: Range,
  large: boolean,
  width: number,
  window: { from: number; to: number },
  readOut: (text: string) => void,
): uPlot.Options {
  const bool = series.kind === "bool";
  const stepped = bool ? uPlot.paths.stepped?.({ align: 1 }) : undefined;
  const line: uPlot.Series = {
    stroke: () => chartColours().line,
    width: 1.5,
    // A reading between two gaps has no neighbour to be joined with: it is a dot.
    points: { show: true, size: 3, filter: (chart, at) => lonePoints(chart.data[at] ?? []) },
    ...(stepped === undefined ? {} : { paths: stepped }),
  };
  // The edges of the band carry no line of their own.
  const edge: uPlot.Series = { width: 0, stroke: "transparent", points: { show: false } };
  const axis = { stroke: () => chartColours().text, ticks: { show: false }, font: chartColours().font };
  return {
    width: Math.max(1, width),
    height: large ? LARGE_HEIGHT : SMALL_HEIGHT,
    legend: { show: false },
    cursor: { show: large, drag: { setScale: false, x: false, y: false }, points: { size: 6 } },
    padding: [6, 4, 0, 0],
    scales: {
      x: { time: true, range: () => [window.from, window.to] },
      y: bool ? { range: [-0.15, 1.15] } : {},
    },
    axes: [
      {
        ...axis,
        size: 20,
        gap: 4,
        space: large ? 80 : 64,
        incrs: TICK_STEPS,
        grid: { show: large, stroke: () => chartColours().grid, width: 1 },
        values: (chart, splits, __, ___, step) =>
          splits.map((second) => {
            const text = tickText(second * 1000, step, range);
            // Centred on its time, so the newest may not fit any more: half a word is worse than none.
            const room = ((window.to - second) / (window.to - window.from)) * (chart.bbox.width / uPlot.pxRatio);
            return room < text.length * LABEL_WIDTH / 2 ? "" : text;
          }),
      },
      {
        ...axis,
        size: (_, values) => Math.max(22, ...(values ?? []).map((label) => label.length * LABEL_WIDTH + 10)),
        gap: 4,
        space: large ? 40 : 22,
        grid: { stroke: () => chartColours().grid, width: 1 },
        ...(bool ? { splits: () => [0, 1] } : {}),
        values: (_, splits, __, ___, step) =>
          bool ? splits.map((value) => (value === 1 ? "on" : "off")) : tickTexts(splits, step),
      },
    ],
    series: [{}, edge, edge, line],
    bands: [{ series: [2, 1], fill: () => chartColours().band }],
    hooks: {
      setCursor: [
        (chart) => {
          const at = chart.cursor.idx;
          const time = at == null ? undefined : chart.data[0][at];
          const value = at == null ? undefined : chart.data[3]?.[at];
          if (!large || time === undefined || value == null) readOut("");
          else readOut(`${timeText(time * 1000, Date.now())}: ${valueWithUnit(value, series.unit, series.decimals)}`);
        },
      ],
    },
  };
}

/** The indices of points without a neighbour on either side. */
function lonePoints(column: ArrayLike<number | null | undefined>): number[] {
  const lone: number[] = [];
  for (let at = 0; at < column.length; at++) {
    if (column[at] != null && column[at - 1] == null && column[at + 1] == null) lone.push(at);
  }
  return lone;
}

const MINUTE = 60;
const HOUR = 60 * MINUTE;
const DAY = 24 * HOUR;
/** Steps of the time axis in seconds. */
const TICK_STEPS = [
  ...[1, 2, 5, 10, 15, 30],
  ...[MINUTE, 2 * MINUTE, 5 * MINUTE, 10 * MINUTE, 15 * MINUTE, 30 * MINUTE],
  ...[HOUR, 2 * HOUR, 3 * HOUR, 6 * HOUR, 12 * HOUR],
  ...[DAY, 2 * DAY, 7 * DAY],
];

const clock = new Intl.DateTimeFormat(undefined, { hour: "numeric", minute: "2-digit" });
const clockWithSeconds = new Intl.DateTimeFormat(undefined, { hour: "numeric", minute: "2-digit", second: "2-digit" });
const day = new Intl.DateTimeFormat(undefined, { weekday: "short", day: "numeric" });

function tickText(time: number, stepSeconds: number, range: Range): string {
  if (stepSeconds < 60) return clockWithSeconds.format(time);
  const midnight = new Date(time).getHours() === 0 && new Date(time).getMinutes() === 0;
  const days = range.ms > 36 * 3_600_000 || stepSeconds >= 86_400;
  return days && midnight ? day.format(time) : clock.format(time);
}
