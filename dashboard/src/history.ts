/**
 * The fetched part of a chart: asks for a range when it is first seen, and again when points may be missing:
 * after a snapshot or a gap, when live points have overrun what is held, and now and then for late readings.
 */
import { fetchPoints } from "./api";
import type { Range } from "./ranges";
import type { SeriesState } from "./series";
import type { Store } from "./store";
import type { Points } from "./wire";

/** The wait after a failed fetch, in milliseconds. */
const RETRY_MS = 10_000;

export class History {
  /** What was fetched last for this range; kept while a newer one is on its way. */
  base: Points | null = null;
  failed = false;
  private generation = -1;
  private nextTry = 0;
  private fetchedAt = 0;
  private aborter: AbortController | null = null;

  constructor(
    private readonly store: Store,
    private readonly series: SeriesState,
    private readonly range: Range,
    private readonly points: number,
    private readonly onChange: () => void,
  ) {}

  /** Fetches if there is need. Cheap; call it every second while the chart is seen. */
  keepUp(): void {
    const now = Date.now();
    if (this.aborter !== null || this.store.link !== "live" || now < this.nextTry || !this.needed(now)) return;
    const aborter = new AbortController();
    const generation = this.store.generation;
    this.aborter = aborter;
    fetchPoints(this.series, this.store.now() - this.range.ms, this.points, aborter.signal).then(
      (points) => {
        if (aborter.signal.aborted) return;
        this.aborter = null;
        this.base = points;
        this.generation = generation;
        this.fetchedAt = Date.now();
        this.failed = false;
        if (points.bucket_ms === null) this.series.backfill(points);
        this.onChange();
      },
      () => {
        if (aborter.signal.aborted) return;
        this.aborter = null;
        this.nextTry = Date.now() + RETRY_MS;
        this.failed = true;
        this.onChange();
      },
    );
  }

  /** Lets go of a fetch on its way. */
  stop(): void {
    this.aborter?.abort();
    this.aborter = null;
  }

  private needed(now: number): boolean {
    if (this.base === null || this.generation !== this.store.generation) return true;
    if (now - this.fetchedAt > this.range.refreshMs) return true;
    // The ring has let go of points that came after the base.
    const oldest = this.series.ring.first;
    return oldest !== null && oldest > this.base.to_ms && this.series.ring.length === this.series.ring.capacity;
  }
}
