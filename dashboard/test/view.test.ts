import { describe, expect, it } from "vitest";
import { between, boundsOf, LIVE_VIEW, panned, queryOf, SPANS, type View, viewOf, zoomed } from "../src/view";

const NOW = 1_800_000_000_000;
const HOUR = 3_600_000;

describe("a view", () => {
  it("is live until it is moved into the past, and again when it reaches now", () => {
    const past = panned({ span: HOUR, to: null }, -0.5, NOW);
    expect(past).toEqual({ span: HOUR, to: NOW - HOUR / 2 });
    expect(boundsOf(past, NOW)).toEqual({ from: NOW - 1.5 * HOUR, to: NOW - HOUR / 2 });
    expect(panned(past, 0.5, NOW)).toEqual({ span: HOUR, to: null });
  });

  it("keeps its middle when it is zoomed, and stays live when it is", () => {
    expect(zoomed({ span: HOUR, to: NOW - HOUR }, 0.5, NOW)).toEqual({ span: HOUR / 2, to: NOW - 1.25 * HOUR });
    expect(zoomed({ span: HOUR, to: null }, 0.5, NOW)).toEqual({ span: HOUR / 2, to: null });
    // It can't show the future.
    expect(zoomed({ span: HOUR, to: NOW - 1 }, 4, NOW).to).toBe(null);
  });

  it("is neither shorter than seconds nor longer than a year", () => {
    expect(zoomed({ span: 6_000, to: null }, 0.001, NOW).span).toBe(5_000);
    expect(zoomed({ span: SPANS[5].ms, to: null }, 2, NOW).span).toBe(SPANS[5].ms);
  });

  it("is what was dragged over, in either direction", () => {
    expect(between(NOW - HOUR, NOW - 2 * HOUR, NOW)).toEqual({ span: HOUR, to: NOW - HOUR });
    expect(between(NOW - HOUR, NOW + HOUR, NOW)).toEqual({ span: 2 * HOUR, to: null });
  });

  it.each<View>([LIVE_VIEW, { span: HOUR, to: null }, { span: 123_456, to: NOW }])("%o is found again in its address", (view) => {
    const query = new URLSearchParams();
    for (const [name, value] of Object.entries(queryOf(view))) if (value !== null) query.set(name, value);
    expect(viewOf(query)).toEqual(view);
  });

  it("is the usual one when the address makes no sense", () => {
    for (const query of ["span=x", "span=-1", "to=5", "span=Infinity"]) expect(viewOf(new URLSearchParams(query)), query).toEqual(LIVE_VIEW);
    expect(viewOf(new URLSearchParams("span=60000&to=x"))).toEqual({ span: 60_000, to: null });
  });
});
