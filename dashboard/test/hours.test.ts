import { describe, expect, it } from "vitest";
import { DAYS, type Day, daysText, hoursText, readDays, withDay, writtenDays } from "../src/hours";

/** Every choice of days. */
const CHOICES = Array.from({ length: 128 }, (_, bits) => DAYS.filter((_, at) => bits & (1 << at)));

describe("days of the week", () => {
  it("are read as they are written, whichever they are", () => {
    for (const days of CHOICES) {
      expect(readDays(writtenDays(days))).toEqual(days);
      expect(readDays([...days].reverse())).toEqual(days);
    }
    expect(readDays(["sat-mon"])).toEqual(["mon", "sat", "sun"]);
    for (const odd of [["monday"], [1], ["mon-"], ["mon-fri-sat"], [""]]) expect(readDays(odd)).toBeNull();
  });
  it("read in few words", () => {
    const words = (...days: Day[]) => daysText(DAYS.filter((day) => days.includes(day)));
    expect(words("mon", "tue", "wed", "thu", "fri")).toBe("Mon–Fri");
    expect(words("sat", "sun")).toBe("Sat, Sun");
    expect(words("fri", "sat", "sun", "mon", "wed")).toBe("Wed, Fri–Mon");
    expect(words("tue")).toBe("Tue");
    expect(words()).toBe("every day");
    expect(words(...DAYS)).toBe("every day");
  });
  it("go in and out by one, in the order of the week", () => {
    expect(withDay(["fri"], "mon")).toEqual(["mon", "fri"]);
    expect(withDay(["mon", "fri"], "mon")).toEqual(["fri"]);
  });
});

describe("hours", () => {
  it("say days, times and whose clock", () => {
    const night = { days: ["mon", "tue", "wed"] as Day[], from: "22:00", to: "06:00", zone: "Europe/Berlin" };
    expect(hoursText(night)).toBe("Mon–Wed 22:00–06:00 Europe/Berlin");
    expect(hoursText({ ...night, days: [], to: "" })).toBe("every day 22:00–24:00 Europe/Berlin");
    expect(hoursText({ ...night, from: "", to: "" })).toBe("Mon–Wed the whole day Europe/Berlin");
  });
});
