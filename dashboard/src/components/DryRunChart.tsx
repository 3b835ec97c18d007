/** The readings of one series over the range of a dry run, with a mark where the rule would have fired and a band until it was over. */
import { useEffect, useRef, useState } from "preact/hooks";
import uPlot from "uplot";
import "uplot/dist/uPlot.min.css";
import { fetchPoints } from "../api";
import { bucketColumns, rawColumns } from "../chart-data";
import { tickTexts } from "../format";
import { Ring } from "../ring";
import { marksOf } from "../dry-run";
import { chartColours, onTheme } from "../theme";
import type { DryRun, Points } from "../wire";

const HEIGHT = 180;

interface DryRunChartProps {
  run: DryRun;
  one: DryRun["series"][number];
}

export function DryRunChart({ run, one }: DryRunChartProps) {
  const box = useRef<HTMLDivElement>(null);
  const [failed, setFailed] = useState(false);
  const marks = marksOf(one.intervals, run.to_ms);

  useEffect(() => {
    const element = box.current;
    if (element === null) return undefined;
    const [from, to] = [run.from_ms / 1000, run.to_ms / 1000];
    const axis = { stroke: () => chartColours().text, ticks: { show: false }, font: chartColours().font };
    const chart = new uPlot(
      {
        width: Math.max(1, element.clientWidth),
        height: HEIGHT,
        legend: { show: false },
        cursor: { show: false },
        padding: [6, 4, 0, 0],
        scales: { x: { time: true, range: () => [from, to] } },
        axes: [
          { ...axis, size: 20, gap: 4, space: 80, grid: { show: false }, values: (_, splits) => splits.map((at) => timeText(at, to - from)) },
          {
            ...axis,
            size: (_, values) => Math.max(22, ...(values ?? []).map((label) => label.length * 6.2 + 10)),
            gap: 4,
            space: 30,
            grid: { stroke: () => chartColours().grid, width: 1 },
            values: (_, splits, __, ___, step) => tickTexts(splits, step),
          },
        ],
        series: [{}, { stroke: () => chartColours().line, width: 1.5, points: { show: false } }],
        hooks: { draw: [(drawn) => drawMarks(drawn, marks)] },
      },
      [[], []],
      element,
    );
    element.dataset["marks"] = String(marks.length);
    const aborter = new AbortController();
    const slash = one.series.lastIndexOf("/");
    const series = { device: one.series.slice(0, slash), metric: one.series.slice(slash + 1) };
    setFailed(false);
    fetchPoints(series, run.from_ms, Math.max(200, element.clientWidth), aborter.signal).then(
      (points) => chart.setData(columnsOf(points)),
      () => {
        if (!aborter.signal.aborted) setFailed(true);
      },
    );
    const resize = new ResizeObserver(() => {
      const width = element.clientWidth;
      if (width > 0 && width !== chart.width) chart.setSize({ width, height: HEIGHT });
    });
    resize.observe(element);
    const stopTheme = onTheme(() => chart.redraw(false, true));
    return () => {
      aborter.abort();
      resize.disconnect();
      stopTheme();
      chart.destroy();
    };
  }, [run, one]);

  const fired = marks.length === 1 ? "1 mark" : `${marks.length} marks`;
  return (
    <figure class="chart">
      <div ref={box} class="plot dry-plot" role="img" aria-label={`${one.series} with ${fired} where the rule would have fired`} />
      {failed && <figcaption>The readings could not be fetched; the marks are right all the same.</figcaption>}
    </figure>
  );
}

function columnsOf(points: Points): [number[], (number | null)[]] {
  const nothing = new Ring(1);
  const columns =
    points.bucket_ms === null ? rawColumns(points, nothing, points.from_ms, 0) : bucketColumns(points, nothing, points.from_ms, 0);
  return [columns.x, columns.mid];
}

function drawMarks(chart: uPlot, marks: readonly { from: number; to: number }[]): void {
  const { ctx, bbox } = chart;
  const place = (at: number) => Math.min(bbox.left + bbox.width, Math.max(bbox.left, chart.valToPos(at, "x", true)));
  const line = Math.max(1, Math.round(uPlot.pxRatio * 1.5));
  ctx.save();
  ctx.fillStyle = chartColours().mark;
  for (const { from, to } of marks) {
    const [left, right] = [place(from), place(to)];
    ctx.globalAlpha = 0.18;
    ctx.fillRect(left, bbox.top, Math.max(line, right - left), bbox.height);
    ctx.globalAlpha = 1;
    ctx.fillRect(left, bbox.top, line, bbox.height);
  }
  ctx.restore();
}

const clock = new Intl.DateTimeFormat(undefined, { hour: "numeric", minute: "2-digit" });
const day = new Intl.DateTimeFormat(undefined, { weekday: "short", day: "numeric" });

function timeText(second: number, span: number): string {
  const date = new Date(second * 1000);
  return span > 36 * 3600 && date.getHours() === 0 && date.getMinutes() === 0 ? day.format(date) : clock.format(date);
}
