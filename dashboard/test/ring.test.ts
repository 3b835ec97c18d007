import { describe, expect, it } from "vitest";
import { Ring } from "../src/ring";

function points(ring: Ring): [number, number][] {
  const { t, v } = ring.since(-Infinity);
  return [...t].map((time, at) => [time, v[at] ?? NaN]);
}

/** Repeatable pseudo-random numbers in [0, 1). */
function numbers(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state * 1_664_525 + 1_013_904_223) % 4_294_967_296;
    return state / 4_294_967_296;
  };
}

describe("a ring of points", () => {
  it("holds the newest points and lets the oldest go", () => {
    const ring = new Ring(4);
    for (let time = 1; time <= 11; time++) ring.put(time, time * 10);
    expect(points(ring)).toEqual([
      [8, 80],
      [9, 90],
      [10, 100],
      [11, 110],
    ]);
    expect([ring.length, ring.first, ring.last]).toEqual([4, 8, 11]);
  });

  it("puts a late point where it belongs", () => {
    const ring = new Ring(8);
    for (const time of [1, 5, 3, 4, 2]) ring.put(time, time);
    expect(points(ring).map(([time]) => time)).toEqual([1, 2, 3, 4, 5]);
  });

  it("holds each time once, with the value that came last", () => {
    const ring = new Ring(8);
    ring.put(1, 1);
    ring.put(2, 2);
    expect(ring.put(1, 1)).toBe(false);
    expect(ring.put(1, 7)).toBe(true);
    expect(points(ring)).toEqual([
      [1, 7],
      [2, 2],
    ]);
  });

  it("takes no point that is older than all when it is full", () => {
    const ring = new Ring(2);
    ring.put(5, 5);
    ring.put(6, 6);
    expect(ring.put(1, 1)).toBe(false);
    expect(points(ring).map(([time]) => time)).toEqual([5, 6]);
  });

  it("takes no value that can't be drawn", () => {
    const ring = new Ring(2);
    expect(ring.put(1, NaN)).toBe(false);
    expect(ring.put(Infinity, 1)).toBe(false);
    expect(ring.length).toBe(0);
  });

  it("is always the newest of all that was put, in any order, however often", () => {
    const random = numbers(7);
    for (let round = 0; round < 200; round++) {
      const capacity = 1 + Math.floor(random() * 12);
      const ring = new Ring(capacity);
      const model = new Map<number, number>();
      for (let step = 0; step < 60; step++) {
        const time = Math.floor(random() * 30);
        const value = Math.floor(random() * 100);
        const kept = [...model.keys()].sort((a, b) => a - b);
        const oldest = kept[0];
        // A full ring forgets: a point older than its oldest stays out.
        const refused = kept.length === capacity && oldest !== undefined && time < oldest;
        ring.put(time, value);
        if (!refused) model.set(time, value);
        const sorted = [...model.entries()].sort((a, b) => a[0] - b[0]);
        while (sorted.length > capacity) {
          const [gone] = sorted.splice(0, 1);
          if (gone !== undefined) model.delete(gone[0]);
        }
        expect(points(ring)).toEqual(sorted);
      }
    }
  });

  it("gives the points from a time on, with or without it", () => {
    const ring = new Ring(8);
    for (let time = 1; time <= 5; time++) ring.put(time, time);
    expect([...ring.since(3).t]).toEqual([3, 4, 5]);
    expect([...ring.since(3, false).t]).toEqual([4, 5]);
    expect([...ring.since(9).t]).toEqual([]);
  });

  it("knows the usual interval despite a pause", () => {
    const ring = new Ring(16);
    expect(ring.usualInterval()).toBeNull();
    for (const time of [0, 1000, 2000, 3000, 60_000, 61_000]) ring.put(time, 1);
    expect(ring.usualInterval()).toBe(1000);
  });
});
