/** The large chart's canvas: lines with their bands, two axes at most, alerts as marks, limits as lines. */
import uPlot from "uplot";
import "uplot/dist/uPlot.min.css";
import type { ChartColumns } from "./chart-data";
import { tickTexts } from "./format";
import type { Threshold } from "./thresholds";
import { chartColours } from "./theme";
import { tickSteps, tickText } from "./ticks";

export const HEIGHT = 340;
/** Of a character of an axis, in pixels; a little too much rather than too little. */
const LABEL_WIDTH = 6.2;
/** Lines differ by more than their colour. */
export const DASHES: readonly (readonly number[])[] = [[], [8, 4], [2, 3], [10, 3, 2, 3], [5, 5]];

/** What is drawn beside the lines; the chart reads it anew at each drawing. */
export interface Scene {
  /** In seconds. */
  from: number;
  to: number;
  utc: boolean;
  thresholds: readonly Threshold[];
  /** In seconds; `to` is `null` while it goes on. */
  marks: readonly { from: number; to: number | null; severity: string }[];
}

interface Line {
  right: boolean;
  bool: boolean;
}

export interface PlotEvents {
  /** A stretch was chosen, in seconds. */
  onSelect: (from: number, to: number) => void;
  /** The pointer is at this time, in seconds; or nowhere. */
  onPoint: (at: number | null) => void;
}

export function makePlot(element: HTMLElement, lines: readonly Line[], scene: Scene, events: PlotEvents): uPlot {
  const colour = (at: number) => () => chartColours().lines[at] ?? chartColours().line;
  const axis = { stroke: () => chartColours().text, ticks: { show: false }, font: chartColours().font };
  const steady = lines.every(({ bool }) => bool);
  const valueAxis = (right: boolean): uPlot.Axis => ({
    ...axis,
    scale: right ? "right" : "y",
    side: right ? 1 : 3,
    size: (_, values) => Math.max(24, ...(values ?? []).map((label) => label.length * LABEL_WIDTH + 10)),
    gap: 4,
    space: 40,
    grid: { show: !right, stroke: () => chartColours().grid, width: 1 },
    ...(steady ? { splits: () => [0, 1] } : {}),
    values: (_, splits, __, ___, step) => (steady ? splits.map((value) => (value === 1 ? "on" : "off")) : tickTexts(splits, step)),
  });
  const options: uPlot.Options = {
    width: Math.max(1, element.clientWidth),
    height: HEIGHT,
    legend: { show: false },
    cursor: { drag: { setScale: false, x: true, y: false }, points: { size: 7 }, y: false },
    padding: [8, 6, 0, 0],
    tzDate: (second) => (scene.utc ? uPlot.tzDate(new Date(second * 1000), "Etc/UTC") : new Date(second * 1000)),
    scales: {
      x: { time: true, range: () => [scene.from, scene.to] },
      y: steady ? { range: [-0.15, 1.15] } : { range: (_, min, max) => around(min, max) },
      right: { range: (_, min, max) => around(min, max) },
    },
    axes: [
      {
        ...axis,
        size: 22,
        gap: 4,
        space: 80,
        incrs: tickSteps,
        grid: { stroke: () => chartColours().grid, width: 1 },
        values: (chart, splits, __, ___, step) =>
          splits.map((second) => {
            const text = tickText(second * 1000, step, (scene.to - scene.from) * 1000, scene.utc);
            // Centred on its time, so the newest may not fit any more: half a word is worse than none.
            const room = ((scene.to - second) / (scene.to - scene.from)) * (chart.bbox.width / uPlot.pxRatio);
            return room < (text.length * LABEL_WIDTH) / 2 ? "" : text;
          }),
      },
      valueAxis(false),
      ...(lines.some(({ right }) => right) ? [valueAxis(true)] : []),
    ],
    series: [{}, ...lines.flatMap((line, at) => seriesOf(line, colour(at), DASHES[at] ?? []))],
    bands: lines.map((_, at) => ({ series: [2 + at * 3, 1 + at * 3], fill: () => chartColours().bands[at] ?? chartColours().band })),
    hooks: {
      drawClear: [(chart) => drawMarks(chart, scene)],
      draw: [(chart) => drawThresholds(chart, scene)],
      setCursor: [(chart) => events.onPoint(chart.cursor.idx == null ? null : (chart.data[0][chart.cursor.idx] ?? null))],
      setSelect: [
        (chart) => {
          const { left, width } = chart.select;
          if (width < 4) return;
          events.onSelect(chart.posToVal(left, "x"), chart.posToVal(left + width, "x"));
          chart.setSelect({ left: 0, width: 0, top: 0, height: 0 }, false);
        },
      ],
    },
  };
  return new uPlot(options, [[], ...lines.flatMap(() => [[], [], []])] as uPlot.AlignedData, element);
}

/** A flat line has room about it. */
function around(min: number | null, max: number | null): [number, number] {
  if (min === null || max === null) return [0, 1];
  const room = (max - min) * 0.06 || Math.abs(max) * 0.02 || 1;
  return [min - room, max + room];
}

function seriesOf({ right, bool }: Line, stroke: () => string, dash: readonly number[]): uPlot.Series[] {
  const scale = right ? "right" : "y";
  // The edges of the band carry no line of their own.
  const edge: uPlot.Series = { scale, width: 0, stroke: "transparent", points: { show: false } };
  const stepped = bool ? uPlot.paths.stepped?.({ align: 1 }) : undefined;
  const line: uPlot.Series = {
    scale,
    stroke,
    width: 1.5,
    dash: [...dash],
    // A reading between two gaps has no neighbour to be joined with: it is a dot.
    points: { show: true, size: 4, filter: (chart, at) => lonePoints(chart.data[at] ?? []) },
    ...(stepped === undefined ? {} : { paths: stepped }),
  };
  return [edge, edge, line];
}

/** Columns of several series on common times; what one has no point for is left out, and joins nothing and parts nothing. */
export function aligned(all: readonly ChartColumns[]): uPlot.AlignedData {
  const [only] = all;
  if (all.length === 1 && only !== undefined) return [only.x, only.low, only.high, only.mid];
  return uPlot.join(all.map(({ x, low, high, mid }) => [x, low, high, mid] as uPlot.AlignedData));
}

/** The indices of points without a neighbour on either side. */
function lonePoints(column: ArrayLike<number | null | undefined>): number[] {
  const lone: number[] = [];
  // What is undefined belongs to another series' time.
  let before: number | null = null;
  let candidate = -1;
  for (let at = 0; at < column.length; at++) {
    const value = column[at];
    if (value === undefined) continue;
    if (value === null) {
      if (candidate >= 0) lone.push(candidate);
      candidate = -1;
    } else {
      candidate = before === null ? at : -1;
    }
    before = value;
  }
  if (candidate >= 0) lone.push(candidate);
  return lone;
}

const tone = (severity: string): string => {
  const { critical, warning, info } = chartColours();
  return severity === "critical" ? critical : severity === "info" ? info : warning;
};

function drawMarks(chart: uPlot, scene: Scene): void {
  const { ctx, bbox } = chart;
  const place = (at: number) => Math.min(bbox.left + bbox.width, Math.max(bbox.left, chart.valToPos(at, "x", true)));
  const line = Math.max(1, Math.round(uPlot.pxRatio * 1.5));
  ctx.save();
  for (const { from, to, severity } of scene.marks) {
    if (from > scene.to || (to !== null && to < scene.from)) continue;
    const [left, right] = [place(from), place(to ?? scene.to)];
    ctx.fillStyle = tone(severity);
    ctx.globalAlpha = 0.14;
    ctx.fillRect(left, bbox.top, Math.max(line, right - left), bbox.height);
    ctx.globalAlpha = 1;
    ctx.fillRect(left, bbox.top, line, bbox.height);
  }
  ctx.restore();
}

function drawThresholds(chart: uPlot, scene: Scene): void {
  const { ctx, bbox } = chart;
  const ratio = uPlot.pxRatio;
  ctx.save();
  ctx.beginPath();
  ctx.rect(bbox.left, bbox.top, bbox.width, bbox.height);
  ctx.clip();
  ctx.font = `${11 * ratio}px ${chartColours().family}`;
  ctx.lineWidth = ratio;
  for (const { rule, what, side, value, severity } of scene.thresholds) {
    const top = Math.round(chart.valToPos(value, "y", true));
    if (top < bbox.top || top > bbox.top + bbox.height) continue;
    ctx.strokeStyle = ctx.fillStyle = tone(severity);
    ctx.setLineDash(what === "fires" ? [6 * ratio, 3 * ratio] : [2 * ratio, 4 * ratio]);
    ctx.beginPath();
    ctx.moveTo(bbox.left, top);
    ctx.lineTo(bbox.left + bbox.width, top);
    ctx.stroke();
    if (what === "fires") ctx.fillText(`${rule}: ${side} ${value}`, bbox.left + 6 * ratio, top - 4 * ratio);
  }
  ctx.restore();
}
