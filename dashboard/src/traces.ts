/**
 * The series of a large chart over its view: what was fetched of each, and its live points. At most five.
 *
 * It fetches anew when the view changed, when points may be missing (after a snapshot or a gap, or when live points overran what
 * is held), and now and then for readings that come late.
 */
import { fetchPoints } from "./api";
import { bucketColumns, type ChartColumns, columnsOf, rawColumns } from "./chart-data";
import { Ring } from "./ring";
import type { SeriesState } from "./series";
import type { Store } from "./store";
import { boundsOf, type View } from "./view";
import type { Points } from "./wire";

/** Series in one chart. */
export const MOST_TRACES = 5;
const RETRY_MS = 10_000;

export interface Trace {
  series: SeriesState;
  name: string;
  /** Whether it has the axis on the right. */
  right: boolean;
}

interface Fetched {
  base: Points | null;
  key: string;
  generation: number;
  at: number;
  nextTry: number;
  failed: boolean;
  aborter: AbortController | null;
}

const NO_RING = new Ring(1);

export class Traces {
  private readonly fetched = new Map<string, Fetched>();

  constructor(
    private readonly store: Store,
    private readonly onChange: () => void,
  ) {}

  /** Fetches what there is need of; cheap. `points` is how many columns of pixels there are. */
  keepUp(traces: readonly Trace[], view: View, points: number): void {
    const ids = new Set(traces.map(({ series }) => series.id));
    for (const [id, one] of this.fetched) {
      if (ids.has(id)) continue;
      one.aborter?.abort();
      this.fetched.delete(id);
    }
    if (this.store.link !== "live") return;
    for (const { series } of traces) this.keepUpOne(series, view, points);
  }

  /** What a chart draws of a series, and the fetched points alone. */
  columns(series: SeriesState, view: View, now: number): { columns: ChartColumns; base: Points | null; failed: boolean } {
    const one = this.fetched.get(series.id);
    const base = one?.base ?? null;
    const { from } = boundsOf(view, now);
    const failed = one?.failed ?? false;
    if (view.to === null) return { columns: columnsOf(base, series, from), base, failed };
    if (base === null) return { columns: { x: [], mid: [], low: [], high: [] }, base, failed };
    const columns = base.bucket_ms === null ? rawColumns(base, NO_RING, from, 0) : bucketColumns(base, NO_RING, from, 0);
    return { columns, base, failed };
  }

  stop(): void {
    for (const one of this.fetched.values()) one.aborter?.abort();
    this.fetched.clear();
  }

  private keepUpOne(series: SeriesState, view: View, points: number): void {
    const now = Date.now();
    const key = `${view.span}/${view.to}/${points}`;
    let one = this.fetched.get(series.id);
    if (one === undefined) {
      one = { base: null, key: "", generation: -1, at: 0, nextTry: 0, failed: false, aborter: null };
      this.fetched.set(series.id, one);
    }
    const { ring } = series;
    const overrun = one.base !== null && ring.length === ring.capacity && (ring.first ?? 0) > one.base.to_ms;
    const old = view.to === null && now - one.at > Math.min(15 * 60_000, Math.max(30_000, view.span / 60));
    const changed = one.key !== key || one.generation !== this.store.generation;
    if (!changed && (one.aborter !== null || now < one.nextTry || !(one.base === null || old || (view.to === null && overrun)))) return;
    const mine = one;
    mine.aborter?.abort();
    const aborter = new AbortController();
    mine.aborter = aborter;
    mine.key = key;
    mine.generation = this.store.generation;
    const { from, to } = boundsOf(view, this.store.now());
    fetchPoints(series, from, points, aborter.signal, view.to === null ? null : to).then(
      (fetched) => {
        if (aborter.signal.aborted) return;
        mine.aborter = null;
        mine.base = fetched;
        mine.at = Date.now();
        mine.failed = false;
        if (view.to === null && fetched.bucket_ms === null) series.backfill(fetched);
        this.onChange();
      },
      () => {
        if (aborter.signal.aborted) return;
        mine.aborter = null;
        mine.nextTry = Date.now() + RETRY_MS;
        mine.failed = true;
        this.onChange();
      },
    );
  }
}
