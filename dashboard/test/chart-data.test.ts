import { describe, expect, it } from "vitest";
import { bucketColumns, rawColumns, summarise } from "../src/chart-data";
import { Ring } from "../src/ring";
import type { BucketPoints, RawPoints } from "../src/wire";

function ringOf(...points: [number, number][]): Ring {
  const ring = new Ring(64);
  for (const [time, value] of points) ring.put(time, value);
  return ring;
}
const head = { series: "a/b", unit: null, from_ms: 0, to_ms: 0 };
const raw = (t: number[], v: number[]): RawPoints => ({ ...head, to_ms: t.at(-1) ?? 0, bucket_ms: null, t, v });
const buckets = (width: number, t: number[], mean: number[], toMs: number): BucketPoints => ({
  ...head,
  to_ms: toMs,
  bucket_ms: width,
  t,
  mean,
  min: mean.map((value) => value - 1),
  max: mean.map((value) => value + 1),
  count: mean.map(() => 2),
});

describe("raw columns", () => {
  it("are in seconds and begin at the window's start", () => {
    const columns = rawColumns(null, ringOf([1000, 1], [2000, 2], [3000, 3]), 2000, 5000);
    expect(columns.x).toEqual([2, 3]);
    expect(columns.mid).toEqual([2, 3]);
  });

  it("have a null where the sensor was silent", () => {
    const columns = rawColumns(null, ringOf([1000, 1], [2000, 2], [60_000, 3]), 0, 5000);
    expect(columns.mid).toEqual([1, 2, null, 3]);
    expect(columns.x).toEqual([...columns.x].sort((a, b) => a - b));
  });

  it("take the fetched base only as far as the ring does not reach", () => {
    const base = raw([1000, 2000, 3000], [1, 2, 3]);
    const columns = rawColumns(base, ringOf([2000, 2], [3000, 3], [4000, 4]), 0, 5000);
    expect(columns.x).toEqual([1, 2, 3, 4]);
    expect(columns.mid).toEqual([1, 2, 3, 4]);
  });

  it("join a base that was measured at a slower pace", () => {
    const base = raw([0, 60_000, 120_000], [1, 2, 3]);
    expect(rawColumns(base, ringOf([121_000, 4], [122_000, 5]), 0, 5000).mid).toEqual([1, 2, 3, 4, 5]);
  });

  it("of nothing are empty", () => expect(rawColumns(null, new Ring(4), 0, 1000).x).toEqual([]));
});

describe("bucket columns", () => {
  it("carry the band of each bucket and go on with live points in buckets of the same width", () => {
    const base = buckets(10_000, [0, 10_000, 20_000], [5, 6, 7], 30_000);
    const columns = bucketColumns(base, ringOf([31_000, 8], [35_000, 10], [41_000, 9]), 0, 1000);
    expect(columns.x).toEqual([0, 10, 20, 30, 40]);
    expect(columns.mid).toEqual([5, 6, 7, 9, 9]);
    expect(columns.low).toEqual([4, 5, 6, 8, 9]);
    expect(columns.high).toEqual([6, 7, 8, 10, 9]);
  });

  it("put live points into a last bucket that was not over, and count no point twice", () => {
    const base = buckets(10_000, [0, 10_000], [5, 6], 14_000);
    // 12 s lies before the end of what was fetched: the base has it already.
    const columns = bucketColumns(base, ringOf([12_000, 100], [16_000, 9]), 0, 1000);
    expect(columns.x).toEqual([0, 10]);
    expect(columns.mid[1]).toBeCloseTo((6 * 2 + 9) / 3);
    expect(columns.high[1]).toBe(9);
  });

  it("have a null where buckets are missing or empty", () => {
    const base = buckets(10_000, [0, 10_000, 20_000, 90_000], [1, 2, 3, 4], 100_000);
    expect(bucketColumns(base, new Ring(4), 0, 1000).mid).toEqual([1, 2, 3, null, 4]);
    base.count[1] = 0;
    expect(bucketColumns(base, new Ring(4), 0, 1000).mid).toEqual([1, 3, null, 4]);
  });

  it("leave out what slid from the window", () => {
    const base = buckets(10_000, [0, 10_000, 20_000], [1, 2, 3], 30_000);
    expect(bucketColumns(base, new Ring(4), 15_000, 1000).x).toEqual([10, 20]);
  });
});

describe("the summary", () => {
  const columns = (mid: (number | null)[]) => ({
    x: mid.map((_, at) => at),
    mid,
    low: mid.map(() => null),
    high: mid.map(() => null),
  });

  it("says the range and the way", () => {
    expect(summarise(columns([1, 2, 3, 4, 5, 6]))).toEqual({ last: 6, min: 1, max: 6, trend: "rising" });
    expect(summarise(columns([6, 5, null, 4, 3, 2, 1]))?.trend).toBe("falling");
    expect(summarise(columns([1, 3, 1, 3, 1, 3, 1, 3, 1, 3, 1, 3]))?.trend).toBe("steady");
  });

  it("of a flat line is steady", () => expect(summarise(columns([2, 2, 2, 2, 2, 2]))?.trend).toBe("steady"));
  it("of nothing is none", () => expect(summarise(columns([null]))).toBeNull());
});
