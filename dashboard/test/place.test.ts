import { describe, expect, it } from "vitest";
import { hrefOf, placeOf, PLACES, seriesHref } from "../src/place";

describe.each(["http://gateway.test/", "http://proxy.test/sensors/north/"])("below %s", (root) => {
  it.each(PLACES)("$name is found again by its address", ({ name }) => {
    expect(placeOf(hrefOf(name, root), root)).toEqual({ name });
    expect(placeOf(`${hrefOf(name, root)}?kiosk=1#x`, root)).toEqual({ name });
  });

  it.each([
    ["boiler", "temperature"],
    ["pi 50%", "cpu.usage_idle"],
    ["a/b", "c?d#e"],
    ["grün", "°C"],
  ])("the series %s of %s is found again by its address", (device, metric) => {
    const place = { name: "series", device, metric };
    expect(placeOf(seriesHref({ device, metric }, root), root)).toEqual(place);
    expect(placeOf(`${seriesHref({ device, metric }, root)}/?range=1h`, root)).toEqual(place);
  });

  it("an address that webhooks have sent leads to the alerts", () => {
    expect(placeOf(`${root}#alerts`, root)).toEqual({ name: "alerts" });
  });

  it("what is no place is nowhere", () => {
    for (const path of ["nothing", "alerts/history", "series", "series/a", "series/a/b/c", "overview"]) {
      expect(placeOf(root + path, root), path).toEqual({ name: "nowhere" });
    }
    expect(placeOf(`${root}series/%E0%A4%A/x`, root)).toEqual({ name: "series", device: "%E0%A4%A", metric: "x" });
  });
});

it("an address outside the page is nowhere", () => {
  expect(placeOf("http://proxy.test/other/", "http://proxy.test/sensors/")).toEqual({ name: "nowhere" });
});
