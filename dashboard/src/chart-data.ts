/**
 * The columns that a chart draws: a fetched base, then the live points after it, with a `null` wherever the
 * sensor was silent, so that a gap is a gap and no line. Pure.
 */
import { rangeTexts, withUnit } from "./format";
import type { Ring } from "./ring";
import { type SeriesState, toNumber } from "./series";
import type { BucketPoints, Points, RawPoints } from "./wire";

/** The columns: seconds since the epoch, the value (mean of a bucket), and the bucket's band. */
export interface ChartColumns {
  x: number[];
  mid: (number | null)[];
  low: (number | null)[];
  high: (number | null)[];
}

/** The newest, smallest and largest value of a window, and which way it goes. */
export interface Summary {
  last: number;
  min: number;
  max: number;
  trend: "rising" | "falling" | "steady";
}

/** Three times the median step: what lies further apart is a gap. */
function usualGap(times: readonly number[]): number {
  const steps: number[] = [];
  for (let at = 1; at < times.length; at++) steps.push((times[at] ?? 0) - (times[at - 1] ?? 0));
  steps.sort((a, b) => a - b);
  return (steps[steps.length >> 1] ?? 0) * 3;
}

class Builder {
  readonly columns: ChartColumns = { x: [], mid: [], low: [], high: [] };
  private previous: number | null = null;

  constructor(public gapMs: number) {}

  add(time: number, mid: number, low: number | null, high: number | null): void {
    const { columns } = this;
    if (this.previous !== null && time - this.previous > this.gapMs) {
      columns.x.push((this.previous + this.gapMs / 2) / 1000);
      columns.mid.push(null);
      columns.low.push(null);
      columns.high.push(null);
    }
    this.previous = time;
    columns.x.push(time / 1000);
    columns.mid.push(mid);
    columns.low.push(low);
    columns.high.push(high);
  }
}

/**
 * The points since `from`: a fetched base as far as the ring does not reach back, then the ring's. Two further
 * apart than `gapMs` are not joined.
 */
export function rawColumns(base: RawPoints | null, ring: Ring, from: number, gapMs: number): ChartColumns {
  const builder = new Builder(gapMs);
  const ringStart = ring.first ?? Infinity;
  // An older range may have been measured, or kept, at another pace than the present one.
  if (base !== null) builder.gapMs = Math.max(gapMs, usualGap(base.t));
  for (let at = 0; base !== null && at < base.t.length; at++) {
    const time = base.t[at] ?? 0;
    if (time >= ringStart) break;
    const value = toNumber(base.v[at] ?? null);
    if (time >= from && value !== null) builder.add(time, value, null, null);
  }
  builder.gapMs = gapMs;
  const { t, v } = ring.since(from);
  for (let at = 0; at < t.length; at++) builder.add(t[at] ?? 0, v[at] ?? 0, null, null);
  return builder.columns;
}

/** A down-sampled base since `from`, and the ring's points after it in buckets of the same width. */
export function bucketColumns(base: BucketPoints, ring: Ring, from: number, gapMs: number): ChartColumns {
  const width = base.bucket_ms;
  const builder = new Builder(Math.max(gapMs, width * 1.5, usualGap(base.t)));
  const tail = ring.since(base.to_ms, false);
  const origin = base.t[0] ?? base.from_ms;

  let start = NaN;
  let low = 0;
  let high = 0;
  let sum = 0;
  let count = 0;
  const close = () => {
    if (count > 0 && start + width >= from) builder.add(start, sum / count, low, high);
    count = 0;
  };
  const merge = (at: number, min: number, max: number, mean: number, weight: number) => {
    if (count > 0 && at !== start) close();
    if (count === 0) {
      [start, low, high, sum] = [at, min, max, 0];
    }
    low = Math.min(low, min);
    high = Math.max(high, max);
    sum += mean * weight;
    count += weight;
  };

  for (let at = 0; at < base.t.length; at++) {
    const [weight, mean] = [base.count[at] ?? 0, base.mean[at] ?? null];
    if (weight === 0 || mean === null) continue;
    merge(base.t[at] ?? 0, base.min[at] ?? mean, base.max[at] ?? mean, mean, weight);
  }
  for (let at = 0; at < tail.t.length; at++) {
    const value = tail.v[at] ?? 0;
    const bucket = origin + Math.floor(((tail.t[at] ?? 0) - origin) / width) * width;
    merge(bucket, value, value, value, 1);
  }
  close();
  return builder.columns;
}

/** What the columns say in one line; `null` when there is nothing in them. */
export function summarise(columns: ChartColumns): Summary | null {
  let min = Infinity;
  let max = -Infinity;
  const values: number[] = [];
  for (let at = 0; at < columns.mid.length; at++) {
    const mid = columns.mid[at];
    if (mid === null || mid === undefined) continue;
    values.push(mid);
    min = Math.min(min, columns.low[at] ?? mid);
    max = Math.max(max, columns.high[at] ?? mid);
  }
  const last = values.at(-1);
  if (last === undefined) return null;
  // The last fifth against the first: a change of less than a quarter of the span is noise.
  const part = Math.max(1, Math.floor(values.length / 5));
  const mean = (some: number[]) => some.reduce((sum, value) => sum + value, 0) / some.length;
  const change = values.length < 5 ? 0 : mean(values.slice(-part)) - mean(values.slice(0, part));
  const noise = (max - min) / 4;
  const trend = change > noise ? "rising" : change < -noise ? "falling" : "steady";
  return { last, min, max, trend };
}

/** The columns of a series since `from`, with the fetched base if there is one. */
export function columnsOf(base: Points | null, series: SeriesState, from: number): ChartColumns {
  const gap = series.gapAfter();
  return base === null || base.bucket_ms === null
    ? rawColumns(base, series.ring, from, gap)
    : bucketColumns(base, series.ring, from, gap);
}

/** What a chart shows, in words. */
export function captionOf(series: SeriesState, columns: ChartColumns, failed: boolean): string {
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
