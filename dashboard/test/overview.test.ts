import { expect, it } from "vitest";
import { MOST_FAVOURITES, toggled } from "../src/favourites";
import { filtered, ordered, type Wanted, wantedOf } from "../src/overview";
import { SeriesState } from "../src/series";
import type { DeviceGroup } from "../src/store";
import type { Alert, Device, Series } from "../src/wire";

const NOW = 1_000_000_000;
const device = (id: string, site: string | null): Device =>
  ({ id, name: `The ${id}`, site, labels: { floor: "2" }, source: null, last_seen_ms: null, online: null });
const series = (id: string, t: number | null, over: Partial<Series> = {}): SeriesState => {
  const [device = "", metric = ""] = id.split("/");
  return new SeriesState({ id, device, metric, unit: null, kind: "number", t, v: t === null ? null : 1, quality: "good", retained: false, ...over });
};
const groups: DeviceGroup[] = [
  { device: device("boiler", "north"), series: [series("boiler/temperature", NOW), series("boiler/wind_speed", NOW - 3_600_000)] },
  { device: device("mill", null), series: [series("mill/pressure", NOW - 5, { quality: "bad" }), series("mill/door", null)] },
  { device: device("empty", "north"), series: [] },
];
const facts = {
  now: NOW,
  alertOn: (id: string) => (id === "mill/door" ? ({ severity: "critical", state: "firing" } as Alert) : null),
  isFavourite: (id: string) => id === "mill/pressure",
};
const find = (over: Partial<Wanted>) =>
  filtered(groups, { ...wantedOf(new URLSearchParams()), ...over }, facts).flatMap((group) => group.series.map(({ id }) => id));

it("shows everything, empty devices too, when nothing is looked for", () => {
  expect(filtered(groups, wantedOf(new URLSearchParams()), facts)).toEqual(groups);
});

it("finds by all words, in names, metrics, sites and labels", () => {
  expect(find({ search: "the BOIL wind sp" })).toEqual(["boiler/wind_speed"]);
  expect(find({ search: "north" })).toEqual(["boiler/temperature", "boiler/wind_speed"]);
  expect(find({ search: "nowhere" })).toEqual([]);
});

it("finds by state, site and favourites", () => {
  expect(find({ state: "alert" })).toEqual(["mill/door"]);
  expect(find({ state: "silent" })).toEqual(["boiler/wind_speed", "mill/door"]);
  expect(find({ state: "doubtful" })).toEqual(["mill/pressure"]);
  expect(find({ state: "good" })).toEqual(["boiler/temperature"]);
  expect(find({ site: "" })).toEqual(["mill/pressure", "mill/door"]);
  expect(find({ favourites: true })).toEqual(["mill/pressure"]);
});

it("orders by what fires, and by age", () => {
  const ids = (order: Wanted["order"]) => ordered(groups, order, facts).map((row) => row.series.id);
  expect(ids("alert")[0]).toBe("mill/door");
  expect(ids("oldest")).toEqual(["mill/door", "boiler/wind_speed", "mill/pressure", "boiler/temperature"]);
  expect(ids("newest")[0]).toBe("boiler/temperature");
});

it("reads what an address asks for, and no nonsense", () => {
  expect(wantedOf(new URLSearchParams("search=x&state=silent&site=&favourites=1&order=oldest"))).toEqual({
    search: "x",
    state: "silent",
    site: "",
    favourites: true,
    order: "oldest",
  });
  expect(wantedOf(new URLSearchParams("state=x&order=y"))).toMatchObject({ state: "all", order: "place", site: null });
});

it("keeps a bounded number of favourites", () => {
  let marked = new Set<string>();
  for (let id = 0; id < MOST_FAVOURITES + 5; id++) marked = toggled(marked, String(id));
  expect(marked.size).toBe(MOST_FAVOURITES);
  expect(marked.has("4")).toBe(false);
  expect(toggled(marked, "100").has("100")).toBe(false);
});
