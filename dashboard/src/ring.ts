/**
 * The newest points of one series, in columns of fixed capacity, in order of time, each time once.
 *
 * Applying the same points again changes nothing, so that a snapshot, a resume and a fetched range may
 * overlap freely. When it is full the oldest point makes room.
 */
export class Ring {
  readonly capacity: number;
  // Twice the capacity: live points append, and only every `capacity` of them are moved to the front,
  // so that the columns stay contiguous and a window of them is a view, not a copy.
  private readonly times: Float64Array;
  private readonly values: Float64Array;
  private start = 0;
  private end = 0;

  constructor(capacity: number) {
    this.capacity = capacity;
    this.times = new Float64Array(capacity * 2);
    this.values = new Float64Array(capacity * 2);
  }

  get length(): number {
    return this.end - this.start;
  }

  /** The oldest time, or `null` when empty. */
  get first(): number | null {
    return this.length === 0 ? null : (this.times[this.start] ?? null);
  }

  /** The newest time, or `null` when empty. */
  get last(): number | null {
    return this.length === 0 ? null : (this.times[this.end - 1] ?? null);
  }

  /** Adds a point, or replaces the value at its time. Returns whether anything changed. */
  put(time: number, value: number): boolean {
    if (!Number.isFinite(time) || !Number.isFinite(value)) return false;
    const last = this.last;
    if (last === null || time > last) {
      this.makeRoom();
      this.times[this.end] = time;
      this.values[this.end] = value;
      this.end++;
      return true;
    }
    const at = this.indexOf(time);
    if (this.times[at] === time) {
      if (this.values[at] === value) return false;
      this.values[at] = value;
      return true;
    }
    if (at === this.start && this.length === this.capacity) return false;
    const shift = this.makeRoom();
    this.times.copyWithin(at - shift + 1, at - shift, this.end);
    this.values.copyWithin(at - shift + 1, at - shift, this.end);
    this.times[at - shift] = time;
    this.values[at - shift] = value;
    this.end++;
    return true;
  }

  /** Views of the points with `from < t` (or `from <= t` when `inclusive`). Valid until the next `put`. */
  since(from: number, inclusive = true): { t: Float64Array; v: Float64Array } {
    let at = this.indexOf(from);
    if (!inclusive) while (at < this.end && (this.times[at] ?? 0) <= from) at++;
    return { t: this.times.subarray(at, this.end), v: this.values.subarray(at, this.end) };
  }

  /** The median step between the newest points in milliseconds; `null` while there are fewer than four. */
  usualInterval(): number | null {
    const count = Math.min(this.length, 32);
    if (count < 4) return null;
    const steps: number[] = [];
    for (let at = this.end - count + 1; at < this.end; at++) {
      steps.push((this.times[at] ?? 0) - (this.times[at - 1] ?? 0));
    }
    steps.sort((a, b) => a - b);
    return steps[steps.length >> 1] ?? null;
  }

  /** The first index whose time is not before `time`. */
  private indexOf(time: number): number {
    let low = this.start;
    let high = this.end;
    while (low < high) {
      const middle = (low + high) >> 1;
      if ((this.times[middle] ?? 0) < time) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  /** Leaves space for one more at the end; returns by how many places the points moved to the front. */
  private makeRoom(): number {
    if (this.length === this.capacity) this.start++;
    if (this.end < this.times.length) return 0;
    const shift = this.start;
    this.times.copyWithin(0, this.start, this.end);
    this.values.copyWithin(0, this.start, this.end);
    this.start = 0;
    this.end -= shift;
    return shift;
  }
}
