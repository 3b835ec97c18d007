import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { Announcer, QUIET_MS } from "../src/announcer";
import type { Alert, Severity } from "../src/wire";

const alert = (summary: string, severity: Severity = "warning") => ({ summary, severity }) as Alert;

beforeEach(() => {
  vi.useFakeTimers();
});
afterEach(() => {
  vi.useRealTimers();
});

describe("the announcer", () => {
  it("says a new alert at once", () => {
    const said: string[] = [];
    new Announcer((text) => said.push(text)).announce(alert("too hot", "critical"));
    vi.advanceTimersByTime(0);
    expect(said).toEqual(["New alert, critical: too hot"]);
  });

  it("says a storm as one number with the worst of it", () => {
    const said: string[] = [];
    const announcer = new Announcer((text) => said.push(text));
    announcer.announce(alert("first"));
    vi.advanceTimersByTime(0);
    for (let at = 0; at < 20; at++) announcer.announce(alert(`storm ${at}`, at === 7 ? "critical" : "info"));
    vi.advanceTimersByTime(QUIET_MS - 100);
    expect(said.filter((text) => text !== "")).toHaveLength(1);
    vi.advanceTimersByTime(200);
    expect(said.at(-1)).toBe("20 new alerts, 1 critical. storm 7");
  });

  it("empties the region before the same words come again, as only a change is read out", () => {
    const said: string[] = [];
    const announcer = new Announcer((text) => said.push(text));
    announcer.announce(alert("too hot"));
    vi.advanceTimersByTime(1_000);
    announcer.announce(alert("too hot"));
    vi.advanceTimersByTime(QUIET_MS);
    expect(said).toEqual(["New alert, warning: too hot", "", "New alert, warning: too hot"]);
  });
});
