/** One series as the page knows it: its newest reading and the points of the last minutes. Pure. */
import { decimalsOf } from "./format";
import { Ring } from "./ring";
import type { Column, Quality, RawPoints, Series, Value } from "./wire";

/** Points kept for each series: five minutes at three readings a second. 16 KiB a column. */
export const RING_CAPACITY = 1_024;
/** Changes kept of a series of texts. */
export const CHANGES_CAPACITY = 12;

/**
 * How far the shown value can be taken as what the sensor measures now:
 * - `fresh`: came when it was expected
 * - `silent`: the sensor has been quiet for much longer than it usually is
 * - `retained`: a broker's last known value; no reading has come yet
 * - `none`: nothing has ever come
 */
export type Freshness = "fresh" | "silent" | "retained" | "none";

/** The value as charts see it: booleans are 0 and 1, texts are none. */
export function toNumber(value: Value | null): number | null {
  if (typeof value === "number") return value;
  if (typeof value === "boolean") return value ? 1 : 0;
  return null;
}

export class SeriesState {
  readonly id: string;
  readonly device: string;
  readonly metric: string;
  unit: string | null;
  kind: Series["kind"];
  time: number | null = null;
  value: Value | null = null;
  quality: Quality = "good";
  retained = false;
  /** Decimals that the value is shown with: they only grow, so that the width holds still. */
  decimals = 0;
  /** The last changes of a text, newest first. */
  readonly changes: { t: number; v: string }[] = [];
  private points: Ring | null = null;

  constructor(series: Series) {
    this.id = series.id;
    this.device = series.device;
    this.metric = series.metric;
    this.unit = series.unit;
    this.kind = series.kind;
    this.describe(series);
  }

  /** The points; made when the first is put, so that a thousand quiet series cost nothing. */
  get ring(): Ring {
    this.points ??= new Ring(RING_CAPACITY);
    return this.points;
  }

  /** Takes what a snapshot or a device event says. An older reading than the newest known is left alone. */
  describe(series: Series): void {
    this.unit = series.unit;
    this.kind = series.kind;
    if (series.t === null || series.v === null) return;
    if (this.time !== null && series.t < this.time) return;
    this.retained = series.retained;
    this.take(series.t, series.v, series.quality);
  }

  /** As a snapshot says it. */
  described(): Series {
    const { id, device, metric, unit, kind, time: t, value: v, quality, retained } = this;
    return { id, device, metric, unit, kind, t, v, quality, retained };
  }

  /** Takes the readings of one tick. */
  apply(column: Column): void {
    for (let at = 0; at < column.t.length; at++) {
      const time = column.t[at];
      const value = column.v[at];
      if (time === undefined || value === undefined || value === null) continue;
      if (this.time === null || time > this.time) this.retained = false;
      this.take(time, value, column.q?.[at] ?? "good");
    }
  }

  /** Merges a fetched range of raw points. */
  backfill(points: RawPoints): void {
    for (let at = 0; at < points.t.length; at++) {
      const time = points.t[at];
      const value = points.v[at];
      if (time === undefined || value === undefined || value === null) continue;
      this.remember(time, value);
    }
  }

  /** How the value stands at `now`, which is when the gateway was last heard: silence of the link is not the sensor's. */
  freshness(now: number): Freshness {
    if (this.time === null) return "none";
    if (this.retained) return "retained";
    return now - this.time > this.patience() ? "silent" : "fresh";
  }

  /** How long the sensor may be quiet, in milliseconds: by its own habit, else a quarter of an hour. */
  patience(): number {
    const usual = this.points?.usualInterval() ?? null;
    return usual === null ? 15 * 60_000 : Math.max(usual * 5, usual + 15_000);
  }

  /** The step in milliseconds beyond which two points of a chart are not joined. */
  gapAfter(): number {
    const usual = this.points?.usualInterval() ?? null;
    return usual === null ? 15 * 60_000 : Math.max(usual * 3, usual + 5_000);
  }

  /** The usual step between readings in milliseconds, once there are enough. */
  usualInterval(): number | null {
    return this.points?.usualInterval() ?? null;
  }

  private take(time: number, value: Value, quality: Quality): void {
    if (!this.retained) this.remember(time, value);
    if (this.time !== null && time < this.time) return;
    this.time = time;
    this.value = value;
    this.quality = quality;
    if (typeof value === "number") this.decimals = Math.max(this.decimals, decimalsOf(value));
    this.kind ??= typeof value === "number" ? "number" : typeof value === "boolean" ? "bool" : "text";
  }

  private remember(time: number, value: Value): void {
    const number = toNumber(value);
    if (number !== null) {
      this.ring.put(time, number);
      if (typeof value === "number") this.decimals = Math.max(this.decimals, decimalsOf(value));
    } else if (typeof value === "string") {
      this.rememberText(time, value);
    }
  }

  private rememberText(time: number, text: string): void {
    const at = this.changes.findIndex((change) => change.t <= time);
    const older = at === -1 ? undefined : this.changes[at];
    if (older?.v === text) return;
    // Fetched points come after what is newer: the change was at the earliest of them.
    const newer = this.changes[(at === -1 ? this.changes.length : at) - 1];
    if (newer?.v === text && older?.t !== time) {
      newer.t = time;
      return;
    }
    if (older?.t === time) older.v = text;
    else this.changes.splice(at === -1 ? this.changes.length : at, 0, { t: time, v: text });
    if (this.changes.length > CHANGES_CAPACITY) this.changes.pop();
  }
}
