import { describe, expect, it } from "vitest";
import {
  bytesText,
  ageText,
  decimalsOf,
  durationText,
  isoTime,
  numberText,
  rangeTexts,
  tickTexts,
  unitText,
  valueText,
  valueWithUnit,
} from "../src/format";
import { inSentence, metricText } from "../src/words";

describe("units", () => {
  it.each([
    ["Cel", "°C"],
    ["[degF]", "°F"],
    ["%", "%"],
    ["1", ""],
    ["V", "V"],
    ["hPa", "hPa"],
    ["kW.h", "kWh"],
    ["m3/h", "m³/h"],
    ["m/s2", "m/s²"],
    ["ug/m3", "µg/m³"],
    ["uS/cm", "µS/cm"],
    ["[ppm]", "ppm"],
    ["{rpm}", "rpm"],
    ["{pulses}", "pulses"],
    ["N.m", "N·m"],
    ["dB[mW]", "dBm"],
  ])("%s is shown as %s", (code, shown) => expect(unitText(code)).toBe(shown));

  it("says nothing when there is none", () => expect(unitText(null)).toBe(""));
});

describe("numbers", () => {
  it.each([
    [21, 0],
    [21.4, 1],
    [21.43, 2],
    [21.4375, 2],
    [101.337, 1],
    [0.012345, 4],
    [0, 0],
    [-0.5, 1],
    [0.1 + 0.2, 1],
  ])("%d needs %d decimals", (value, decimals) => expect(decimalsOf(value)).toBe(decimals));

  it("hold their width while they change", () => {
    expect(numberText(21, 2, "en")).toBe("21.00");
    expect(numberText(0, 2, "en")).toBe("0.00");
  });

  it("do not pretend to digits that their size makes senseless", () => expect(numberText(1013.25, 4, "en")).toBe("1,013.3"));

  it("of an axis all have the decimals of its step", () => {
    expect(tickTexts([37.5, 40], 2.5, "en")).toEqual(["37.5", "40.0"]);
    expect(tickTexts([18204, 18204.02], 0.02, "en")).toEqual(["18,204.00", "18,204.02"]);
    expect(tickTexts([-200, 0], 200, "en")).toEqual(["-200", "0"]);
  });

  it("of a range never read the same when they differ", () => {
    expect(rangeTexts(17.81, 18.05, 2, "en")).toEqual(["17.81", "18.05"]);
    expect(rangeTexts(18204.012, 18204.043, 4, "en")).toEqual(["18,204.012", "18,204.043"]);
    expect(rangeTexts(3, 3, 0, "en")).toEqual(["3", "3"]);
  });

  it("follow the viewer's locale", () => {
    expect(numberText(1013.25, 2, "de")).toBe("1.013,3");
    expect(numberText(21.5, 1, "fr")).toBe("21,5");
  });

  it("are never minus zero", () => expect(numberText(-0.001, 1, "en")).toBe("0.0"));
});

describe("values", () => {
  it("of switches are words", () => {
    expect(valueText(true)).toBe("on");
    expect(valueText(false)).toBe("off");
  });
  it("that are not there are a dash, not a zero", () => expect(valueText(null)).toBe("–"));
  it("carry their unit as people write it", () => {
    expect(valueWithUnit(21.5, "Cel")).toBe("21.5\u00a0°C");
    expect(valueWithUnit(48, "%")).toBe("48%");
    expect(valueWithUnit(true, "Cel")).toBe("on");
    expect(valueWithUnit("idle", null)).toBe("idle");
  });
});

describe("ages", () => {
  const now = Date.UTC(2026, 0, 31, 12, 0, 0);
  it.each([
    [0, "now"],
    [1_400, "now"],
    [12_300, "12 s ago"],
    [61_000, "1 min ago"],
    [2 * 3_600_000 + 5 * 60_000, "2 h 5 min ago"],
    [3_600_000 * 26, "1 d 2 h ago"],
    [86_400_000 * 9, "9 d ago"],
  ])("%d ms is %s", (age, text) => expect(ageText(now - age, now)).toBe(text));

  it("of the future say so", () => expect(ageText(now + 90_000, now)).toBe("1 min ahead"));
  it("below a second keep a digit", () => expect(durationText(250)).toBe("0.3 s"));
  it("of no time give an empty attribute", () => expect(isoTime(NaN)).toBe(""));
});

describe("amounts of data", () => {
  it.each([
    [0, "0 B"],
    [999, "999 B"],
    [1_500, "1.5 kB"],
    [812_345_678, "812 MB"],
    [999_700_000, "1.0 GB"],
    [37_142_000_000, "37 GB"],
  ])("%s bytes are %s", (bytes, text) => expect(bytesText(bytes, "en")).toBe(text));
});

describe("names", () => {
  it.each([
    ["temperature", "Temperature"],
    ["wind_speed", "Wind speed"],
    ["co2", "CO₂"],
    ["ph", "pH"],
    ["_", "_"],
  ])("%s becomes %s", (metric, title) => expect(metricText(metric)).toBe(title));
  it("stay small within a sentence", () => expect(inSentence("soil.moisture")).toBe("soil moisture"));
});
