/** Draws a series as one small line: no axes, its range is in the words below it. */
import type { ChartColumns } from "./chart-data";
import { chartColours } from "./theme";

interface Frame {
  from: number;
  to: number;
  /** Whether the values are on and off. */
  stepped: boolean;
}

/** Draws the columns from `from` to `to` (epoch milliseconds) on the whole canvas, which is as large as it is shown. */
export function drawSpark(canvas: HTMLCanvasElement, columns: ChartColumns, { from, to, stepped }: Frame): void {
  const context = canvas.getContext("2d");
  if (context === null) return;
  const ratio = devicePixelRatio || 1;
  const { width, height } = canvas;
  context.clearRect(0, 0, width, height);
  const { x, mid, low, high } = columns;
  let [min, max] = [Infinity, -Infinity];
  for (let at = 0; at < x.length; at++) {
    const value = mid[at];
    if (value === null || value === undefined) continue;
    min = Math.min(min, low[at] ?? value);
    max = Math.max(max, high[at] ?? value);
  }
  if (min > max) return;
  if (stepped) [min, max] = [0, 1];
  const inset = 3 * ratio;
  // What never changed is a line in the middle.
  const span = max - min || 1;
  const middle = max === min ? 0.5 : 0;
  const across = (second: number) => ((second * 1000 - from) / (to - from)) * width;
  const down = (value: number) => height - inset - ((value - min) / span + middle) * (height - 2 * inset);
  const colours = chartColours();

  context.fillStyle = colours.band;
  context.strokeStyle = colours.line;
  context.lineWidth = 1.5 * ratio;
  context.lineJoin = "round";
  const runs: [number, number][] = [];
  for (let at = 0; at < x.length; at++) {
    if (mid[at] == null) continue;
    const last = runs.at(-1);
    if (last !== undefined && last[1] === at - 1) last[1] = at;
    else runs.push([at, at]);
  }
  for (const [first, last] of runs) {
    if (low[first] != null) {
      context.beginPath();
      for (let at = first; at <= last; at++) context.lineTo(across(x[at] ?? 0), down(high[at] ?? mid[at] ?? 0));
      for (let at = last; at >= first; at--) context.lineTo(across(x[at] ?? 0), down(low[at] ?? mid[at] ?? 0));
      context.fill();
    }
    context.beginPath();
    for (let at = first; at <= last; at++) {
      const [left, top] = [across(x[at] ?? 0), down(mid[at] ?? 0)];
      if (stepped && at > first) context.lineTo(left, down(mid[at - 1] ?? 0));
      context.lineTo(left, top);
    }
    context.stroke();
    // A reading between two gaps has no neighbour to be joined with; the newest one is marked as such.
    if (first === last || last === x.length - 1) {
      context.beginPath();
      context.arc(across(x[last] ?? 0), down(mid[last] ?? 0), 2 * ratio, 0, 2 * Math.PI);
      context.fillStyle = colours.line;
      context.fill();
      context.fillStyle = colours.band;
    }
  }
}
