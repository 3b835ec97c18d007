import { expect, it } from "vitest";
import { csvOf, fileName } from "../src/export";

const T = Date.UTC(2026, 0, 31, 12);
const columns = { x: [T / 1000 - 60, T / 1000, T / 1000 + 1, T / 1000 + 2], mid: [9, 1.5, null, 2], low: [null, 1, null, null], high: [null, 2, null, null] };

it("a file holds the points that are shown, with their band, and gaps hold nothing", () => {
  expect(csvOf([{ id: "a/b", name: "A b", unit: "Cel", columns }], T, T + 5_000)).toBe(
    "time,series,unit,value,min,max\r\n2026-01-31T12:00:00.000Z,a/b,Cel,1.5,1,2\r\n2026-01-31T12:00:02.000Z,a/b,Cel,2,,\r\n",
  );
});

it("names can neither break a row nor become a formula", () => {
  const text = csvOf([{ id: '=cmd|"x",1/y', name: "", unit: null, columns: { ...columns, x: [T / 1000], mid: [1] } }], T, T);
  expect(text.split("\r\n")[1]).toBe('2026-01-31T12:00:00.000Z,"\'=cmd|""x"",1/y",,1,,');
});

it("files are named by what they hold", () => {
  expect(fileName("Kühlraum 3/temp: °C", T, T + 60_000, "csv")).toBe("Kühlraum-3-temp-C_2026-01-31T1200_2026-01-31T1201.csv");
  expect(fileName("../..", T, T, "png")).toBe("series_2026-01-31T1200_2026-01-31T1200.png");
});
