import { describe, expect, it } from "vitest";
import { baseTime, endOf, filledFrom, localTime, matchersOf, matcherText, repeatOf, repeatText, timesFault } from "../src/silence-form";
import type { Alert } from "../src/wire";

const NOON = new Date(2026, 10, 20, 12, 0, 0).getTime();
const alert = { series: "hall/boiler*/temperature", rule: "hot?" } as Alert;

describe("what a person fills in", () => {
  it("begins with the device and the rule of the alert, which match as they stand", () => {
    const given = filledFrom(alert);
    expect(matchersOf(given, given)).toEqual([
      { name: "device", value: "hall/boiler*", glob: false },
      { name: "rule", value: "hot?", glob: false },
    ]);
  });
  it("is a pattern where a person wrote one, and left out where it is empty", () => {
    const given = filledFrom(alert);
    const filled = { ...given, device: " boiler-* ", rule: "", severity: "critical" };
    expect(matchersOf(filled, given)).toEqual([
      { name: "device", value: "boiler-*", glob: true },
      { name: "severity", value: "critical", glob: false },
    ]);
    const nothing = filledFrom(null);
    expect(matchersOf(nothing, nothing)).toEqual([]);
  });
  it("reads in words", () => {
    expect(matcherText({ name: "device", value: "boiler", glob: false })).toBe("device boiler");
    const hours = { days: ["mon", "tue", "wed", "thu", "fri"], from: "22:00", to: "06:00", zone: "Europe/Berlin" };
    expect(repeatText(hours)).toBe("Mon–Fri 22:00–06:00 Europe/Berlin");
    expect(repeatText({ ...hours, days: ["mon", "tue", "wed", "thu", "fri", "sat", "sun"] })).toBe("every day 22:00–06:00 Europe/Berlin");
    expect(repeatText({ ...hours, days: ["someday"] }), "of another version").toBe("someday 22:00–06:00 Europe/Berlin");
    expect(matcherText({ name: "label.team", value: "h*", glob: true })).toBe("team like h*");
  });
});

describe("a silence that recurs", () => {
  it("names its days and both of its times", () => {
    const zone = "Europe/Berlin";
    expect(repeatOf({ days: ["sat"], from: " 22:00", to: "06:00", zone })).toEqual({ days: ["sat"], from: "22:00", to: "06:00", zone });
    const always = { days: ["mon", "tue", "wed", "thu", "fri", "sat", "sun"], from: "00:00", to: "24:00", zone };
    expect(repeatOf({ days: [], from: "", to: "", zone })).toEqual(always);
  });
  it("says which times can't be read", () => {
    const hours = { days: [], from: "22:00", to: "24:00", zone: "UTC" };
    for (const from of ["", "00:00", "23:59", "24:00", " 08:30 "]) expect(timesFault({ ...hours, from })).toBe("");
    for (const from of ["8:00", "24:01", "25:00", "08:60", "late", "0800"]) expect(timesFault({ ...hours, from })).not.toBe("");
  });
  it("goes on for a month or a year, to the same day or the last one", () => {
    const at = (...parts: [number, number, number]) => new Date(...parts, 9, 30).getTime();
    expect(endOf("month", at(2026, 10, 20), "")).toBe(at(2026, 11, 20));
    expect(endOf("month", at(2027, 0, 31), "")).toBe(at(2027, 1, 28));
    expect(endOf("year", at(2028, 1, 29), "")).toBe(at(2029, 1, 28));
  });
});

describe("the end", () => {
  it("is counted from the gateway's time, or from the viewer's when the gateway's clock is not set", () => {
    expect(baseTime(NOON, 5)).toBe(NOON);
    expect(baseTime(90_000, NOON)).toBe(NOON);
  });
  it("is in an hour, in four, or on the next day at eight in the viewer's zone", () => {
    expect(endOf("hour", NOON, "")).toBe(NOON + 3_600_000);
    expect(endOf("hours", NOON, "")).toBe(NOON + 4 * 3_600_000);
    const tomorrow = new Date(2026, 10, 21, 8, 0, 0).getTime();
    expect(endOf("tomorrow", NOON, "")).toBe(tomorrow);
    expect(endOf("tomorrow", new Date(2026, 10, 20, 0, 1).getTime(), "")).toBe(tomorrow);
    const newYear = new Date(2026, 11, 31, 23, 0).getTime();
    expect(endOf("tomorrow", newYear, "")).toBe(new Date(2027, 0, 1, 8).getTime());
  });
  it("is what the field says, and nothing when it says nothing", () => {
    expect(endOf("custom", NOON, "2026-11-22T09:30")).toBe(new Date(2026, 10, 22, 9, 30).getTime());
    expect(endOf("custom", NOON, "")).toBeNull();
    expect(localTime("soon")).toBeNull();
  });
});
