import { describe, expect, it } from "vitest";
import { changeText, marksOf } from "../src/alert-words";
import type { Alert, AlertChange } from "../src/wire";

const change = (over: Partial<AlertChange>): AlertChange => ({
  number: 1,
  at_ms: 0,
  change: "fired",
  cause: "reading",
  state: "firing",
  value: 91.5,
  unit: "Cel",
  rule_version: "0a1b2c3d",
  ...over,
});

describe("changes of an alert", () => {
  it("are said with what caused them", () => {
    expect(changeText(change({}))).toMatch(/^Fired: 91\.5\s°C$/);
    expect(changeText(change({ change: "cleared" }))).toMatch(/^Condition over, still firing: 91\.5\s°C$/);
    expect(changeText(change({ change: "fired", cause: "waiting" }))).toBe("Fired: no reading said otherwise in time");
    expect(changeText(change({ change: "went_stale", cause: "silence" }))).toBe("Marked stale: nothing was received");
    expect(changeText(change({ change: "heard_again" }))).toBe("Received again");
    expect(changeText(change({ change: "resolved", cause: "rule" }))).toBe("Resolved: its rule was changed or removed");
    expect(changeText(change({ value: null, cause: "silence" }))).toBe("Fired: nothing was received");
  });

  it("that this page does not know are shown as they are", () => {
    expect(changeText(change({ change: "taken_over", cause: "some_person" }))).toBe("taken over: some person");
    expect(changeText(change({ change: null, cause: null }))).toBe("firing");
  });
});

describe("marks on an alert", () => {
  const alert = (over: Partial<Alert>): Alert =>
    ({
      clear_since_ms: null,
      stale_since_ms: null,
      flapping_since_ms: null,
      waits_until_ms: null,
      ...over,
    }) as Alert;

  it("are none by default, and none from a gateway that does not know them", () => {
    expect(marksOf(alert({}))).toEqual([]);
    expect(marksOf({} as Alert)).toEqual([]);
  });

  it("say in words what it is about", () => {
    expect(marksOf(alert({ stale_since_ms: 5, clear_since_ms: 4 })).map((mark) => [mark.kind, mark.text, mark.at_ms])).toEqual([
      ["stale", "Stale: no reading since", 5],
      ["clear", "Condition over since", 4],
    ]);
    expect(marksOf(alert({ waits_until_ms: 7 }))[0]?.text).toBe("Fires at the earliest");
  });

  it("leave out what an alert that flaps does", () => {
    expect(marksOf(alert({ flapping_since_ms: 5, clear_since_ms: 6 })).map((mark) => mark.kind)).toEqual(["flapping"]);
  });
});
