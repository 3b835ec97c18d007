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
    expect(said).toHaveLength(1);
    vi.advanceTimersByTime(200);
    expect(said[1]).toBe("20 new alerts, 1 critical. storm 7");
  });
});
