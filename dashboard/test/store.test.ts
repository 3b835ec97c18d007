import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { ENDED_CAPACITY, OVER_CAPACITY, Store, TICK_MS } from "../src/store";
import type { Alert, Device, Series, Silence, SnapshotEvent } from "../src/wire";

const T0 = Date.UTC(2026, 0, 31, 12, 0, 0);

const series = (id: string, over: Partial<Series> = {}): Series => {
  const [device = "", metric = ""] = id.split("/");
  return { id, device, metric, unit: "Cel", kind: "number", t: T0, v: 20, quality: "good", retained: false, ...over };
};
const device = (id: string, over: Partial<Device> = {}): Device => ({
  id,
  name: id,
  site: null,
  labels: {},
  source: null,
  last_seen_ms: null,
  online: null,
  ...over,
});
const alert = (id: string, over: Partial<Alert> = {}): Alert => ({
  id,
  rule: "hot",
  series: "boiler/temperature",
  state: "firing",
  severity: "warning",
  summary: "too hot",
  value: 70,
  unit: "Cel",
  labels: {},
  began_ms: T0,
  fired_ms: T0,
  resolved_ms: null,
  webhooks: [],
  change: "fired",
  cause: "reading",
  rule_version: "0a1b2c3d",
  clear_since_ms: null,
  stale_since_ms: null,
  flapping_since_ms: null,
  waits_until_ms: null,
  acknowledged: null,
  silenced_by: [],
  shelved: null,
  routes: [],
  inhibited_by: [],
  escalates_ms: null,
  ...over,
});
const snapshot = (over: Partial<SnapshotEvent> = {}): SnapshotEvent => ({
  epoch: "e1",
  now_ms: T0,
  version: "1",
  site: "Site",
  series: [series("boiler/temperature")],
  devices: [device("boiler")],
  alerts: [],
  ended: [],
  silences: [],
  status: {},
  ...over,
});
const readings = (id: string, t: number[], v: (number | string | boolean)[]) => ({ series: { [id]: { t, v } } });

function pointsOf(store: Store, id: string): [number, number][] {
  const ring = store.series.get(id)?.ring.since(0);
  return ring === undefined ? [] : [...ring.t].map((time, at) => [time - T0, ring.v[at] ?? NaN]);
}

beforeEach(() => {
  vi.useFakeTimers({ now: T0 });
});
afterEach(() => {
  vi.useRealTimers();
});

describe("a resume over a restart", () => {
  it("says what is known, keeps the points and lets charts stand", () => {
    const store = new Store();
    store.apply("snapshot", snapshot({ status: { "source/gone": { name: "gone" } } }));
    store.apply("readings", readings("boiler/temperature", [T0 + 1000], [21]));
    const before = store.generation;
    const { epoch, now_ms, ...known } = snapshot({
      version: "2",
      series: [series("boiler/temperature", { t: T0 + 3000, v: 23 }), series("boiler/pressure")],
    });
    store.apply("resume", { epoch, now_ms, missed: 2, ...known });
    store.apply("readings", readings("boiler/temperature", [T0 + 2000, T0 + 3000], [22, 23]));
    expect(pointsOf(store, "boiler/temperature")).toEqual([
      [0, 20],
      [1000, 21],
      [2000, 22],
      [3000, 23],
    ]);
    expect(store.generation).toBe(before);
    expect(store.version).toBe("2");
    expect([...store.series.keys()]).toEqual(["boiler/temperature", "boiler/pressure"]);
    expect(store.sources.size).toBe(0);
  });
});

describe("readings", () => {
  it("extend their series and set its newest value", () => {
    const store = new Store();
    store.apply("snapshot", snapshot());
    store.apply("readings", readings("boiler/temperature", [T0 + 1000, T0 + 2000], [21, 22.5]));
    expect(pointsOf(store, "boiler/temperature")).toEqual([
      [0, 20],
      [1000, 21],
      [2000, 22.5],
    ]);
    expect(store.series.get("boiler/temperature")?.value).toBe(22.5);
  });

  it("applied again by a snapshot, a resume or a fetch leave no second point", () => {
    const store = new Store();
    store.apply("snapshot", snapshot());
    const batch = readings("boiler/temperature", [T0 + 1000, T0 + 2000], [21, 22]);
    store.apply("readings", batch);
    const before = pointsOf(store, "boiler/temperature");
    store.apply("resume", { epoch: "e1", now_ms: T0, missed: 1 });
    store.apply("readings", batch);
    store.apply("snapshot", snapshot({ epoch: "e2", series: [series("boiler/temperature", { t: T0 + 2000, v: 22 })] }));
    store.series.get("boiler/temperature")?.backfill({
      series: "boiler/temperature",
      unit: "Cel",
      from_ms: T0,
      to_ms: T0 + 2000,
      bucket_ms: null,
      t: [T0, T0 + 1000, T0 + 2000],
      v: [20, 21, 22],
    });
    expect(pointsOf(store, "boiler/temperature")).toEqual(before);
  });

  it("that come late are points, but not the newest value", () => {
    const store = new Store();
    store.apply("snapshot", snapshot());
    store.apply("readings", readings("boiler/temperature", [T0 + 2000], [22]));
    store.apply("readings", readings("boiler/temperature", [T0 + 1000], [99]));
    expect(store.series.get("boiler/temperature")?.value).toBe(22);
    expect(pointsOf(store, "boiler/temperature")).toHaveLength(3);
  });

  it("of a series that nobody described make it known", () => {
    const store = new Store();
    store.apply("snapshot", snapshot());
    store.apply("readings", readings("pump/state", [T0], ["running"]));
    const pump = store.series.get("pump/state");
    expect([pump?.device, pump?.metric, pump?.kind, pump?.value]).toEqual(["pump", "state", "text", "running"]);
    expect(store.groups().map((group) => group.device.id)).toEqual(["boiler", "pump"]);
  });

  it("carry their quality", () => {
    const store = new Store();
    store.apply("snapshot", snapshot());
    store.apply("readings", { series: { "boiler/temperature": { t: [T0 + 1, T0 + 2], v: [1, 2], q: ["good", "bad"] } } });
    expect(store.series.get("boiler/temperature")?.quality).toBe("bad");
    store.apply("readings", readings("boiler/temperature", [T0 + 3], [3]));
    expect(store.series.get("boiler/temperature")?.quality).toBe("good");
  });

  it("of texts are kept as changes, a bounded number", () => {
    const store = new Store();
    store.apply("snapshot", snapshot({ series: [series("pump/state", { kind: "text", t: T0, v: "idle" })] }));
    store.apply("readings", readings("pump/state", [T0 + 1000, T0 + 2000], ["idle", "running"]));
    expect(store.series.get("pump/state")?.changes.map((change) => change.v)).toEqual(["running", "idle"]);
    for (let at = 0; at < 100; at++) store.apply("readings", readings("pump/state", [T0 + 3000 + at], [`s${at}`]));
    expect(store.series.get("pump/state")?.changes).toHaveLength(12);
  });

  it("of texts that are fetched after newer ones are no second change", () => {
    const store = new Store();
    store.apply("snapshot", snapshot({ series: [series("pump/state", { kind: "text", t: T0 + 5000, v: "running" })] }));
    const state = store.series.get("pump/state");
    state?.backfill({
      series: "pump/state",
      unit: null,
      from_ms: T0,
      to_ms: T0 + 5000,
      bucket_ms: null,
      t: [T0, T0 + 3000, T0 + 4000, T0 + 5000],
      v: ["idle", "running", "running", "running"],
    });
    expect(state?.changes).toEqual([
      { t: T0 + 3000, v: "running" },
      { t: T0, v: "idle" },
    ]);
  });

  it("of switches are zeros and ones", () => {
    const store = new Store();
    store.apply("snapshot", snapshot({ series: [series("door/open", { kind: "bool", v: false })] }));
    store.apply("readings", readings("door/open", [T0 + 1], [true]));
    expect(pointsOf(store, "door/open")).toEqual([
      [0, 0],
      [1, 1],
    ]);
  });
});

describe("freshness", () => {
  const after = (store: Store, ms: number) => store.series.get("boiler/temperature")?.freshness(T0 + ms);

  it("is silent when a sensor is quiet for much longer than it uses to be", () => {
    const store = new Store();
    store.apply("snapshot", snapshot());
    const times = [1, 2, 3, 4, 5, 6].map((second) => T0 + second * 1000);
    store.apply("readings", readings("boiler/temperature", times, times.map(() => 20)));
    expect(after(store, 20_000)).toBe("fresh");
    expect(after(store, 23_000)).toBe("silent");
  });

  it("leaves a sensor of unknown habit a quarter of an hour", () => {
    const store = new Store();
    store.apply("snapshot", snapshot());
    expect(after(store, 14 * 60_000)).toBe("fresh");
    expect(after(store, 16 * 60_000)).toBe("silent");
  });

  it("does not blame the sensor for the silence of the link", () => {
    const store = new Store();
    store.setLink("live");
    store.apply("snapshot", snapshot());
    store.setLink("down");
    vi.advanceTimersByTime(3_600_000);
    expect(store.heardUntil()).toBe(T0);
    expect(store.series.get("boiler/temperature")?.freshness(store.heardUntil())).toBe("fresh");
  });

  it("of a retained value ends with the first reading, and the value is no point", () => {
    const store = new Store();
    store.apply("snapshot", snapshot({ series: [series("boiler/temperature", { retained: true })] }));
    expect(after(store, 0)).toBe("retained");
    expect(pointsOf(store, "boiler/temperature")).toEqual([]);
    store.apply("readings", readings("boiler/temperature", [T0 + 1000], [21]));
    expect(after(store, 1000)).toBe("fresh");
  });

  it("of a series without any reading is none", () => {
    const store = new Store();
    store.apply("snapshot", snapshot({ series: [series("boiler/temperature", { t: null, v: null, kind: null })] }));
    expect(after(store, 0)).toBe("none");
  });
});

describe("snapshots", () => {
  it("take away what is no longer there", () => {
    const store = new Store();
    store.apply("snapshot", snapshot({ alerts: [alert("a")], status: { "source/tty": { name: "tty" } } }));
    store.apply("snapshot", snapshot({ epoch: "e2", series: [series("pump/power")], devices: [device("pump")] }));
    expect([...store.series.keys()]).toEqual(["pump/power"]);
    expect([...store.devices.keys()]).toEqual(["pump"]);
    expect(store.activeAlerts()).toEqual([]);
    expect(store.sources.size).toBe(0);
  });

  it("and gaps make charts fetch their range again", () => {
    const store = new Store();
    store.apply("snapshot", snapshot());
    const first = store.generation;
    store.apply("snapshot", snapshot({ epoch: "e2" }));
    store.apply("gap", { missed: 12, from_ms: T0, to_ms: T0 + 1 });
    expect(store.generation).toBe(first + 2);
    expect(store.skipped).toBe(12);
  });
});

describe("devices", () => {
  it("come by site and name, numbers in their order", () => {
    const store = new Store();
    const devices = [
      device("c", { name: "Sensor 10", site: "A" }),
      device("b", { name: "Sensor 2", site: "A" }),
      device("a", { name: "Alone", site: "B" }),
    ];
    store.apply("snapshot", snapshot({ devices, series: [] }));
    expect(store.groups().map((group) => group.device.id)).toEqual(["b", "c", "a"]);
  });

  it("change with their event, which brings their new series", () => {
    const store = new Store();
    store.apply("snapshot", snapshot());
    store.apply("device", { ...device("boiler", { name: "Big boiler", online: false }), series: [series("boiler/flow")] });
    const group = store.groups()[0];
    expect(group?.device.name).toBe("Big boiler");
    expect(group?.device.online).toBe(false);
    expect(group?.series.map((one) => one.metric)).toEqual(["flow", "temperature"]);
  });
});

describe("alerts", () => {
  it("come firing first, worst first, newest first", () => {
    const store = new Store();
    store.apply(
      "snapshot",
      snapshot({
        alerts: [
          alert("pending", { state: "pending", severity: "critical" }),
          alert("old", { began_ms: T0 - 1000 }),
          alert("new"),
          alert("critical", { severity: "critical" }),
        ],
      }),
    );
    expect(store.activeAlerts().map((one) => one.id)).toEqual(["critical", "new", "old", "pending"]);
    expect(store.alertOn("boiler/temperature")?.id).toBe("critical");
  });

  it("are announced once, when they begin to fire, and not those that were there before the page", () => {
    const store = new Store();
    const said: string[] = [];
    store.onFiring = (one) => said.push(one.id);
    store.apply("snapshot", snapshot({ alerts: [alert("before")] }));
    store.apply("alert", alert("before"));
    store.apply("alert", alert("a", { state: "pending" }));
    expect(said).toEqual([]);
    store.apply("alert", alert("a"));
    store.apply("alert", alert("a", { value: 71 }));
    expect(said).toEqual(["a"]);
    // Fired while the page was away: the next snapshot brings it.
    store.apply("snapshot", snapshot({ epoch: "e2", alerts: [alert("before"), alert("a"), alert("b")] }));
    expect(said).toEqual(["a", "b"]);
  });

  it("that ended while the page was away are in a snapshot's list, also without having been known", () => {
    const store = new Store();
    store.apply("snapshot", snapshot({ alerts: [alert("a")] }));
    store.apply(
      "snapshot",
      snapshot({
        alerts: [alert("c")],
        ended: [
          alert("b", { state: "resolved", resolved_ms: T0 + 2 }),
          alert("a", { state: "resolved", resolved_ms: T0 + 1 }),
        ],
      }),
    );
    expect(store.activeAlerts().map((one) => one.id)).toEqual(["c"]);
    expect(store.endedAlerts().map((one) => one.id)).toEqual(["b", "a"]);
  });

  it("that a restart tells of are announced once, and not at all when they are over", () => {
    const store = new Store();
    const announced: string[] = [];
    store.onFiring = (one) => announced.push(one.id);
    store.apply("snapshot", snapshot({ alerts: [alert("old")] }));
    const over = alert("over", { state: "resolved", resolved_ms: T0 });
    const { epoch, now_ms, ...known } = snapshot({ alerts: [alert("new")], ended: [over] });
    store.apply("resume", { epoch, now_ms, missed: 5, ...known });
    store.apply("alert", alert("new", { state: "pending" }));
    store.apply("alert", alert("over"));
    store.apply("alert", over);
    store.apply("alert", alert("new"));
    expect(announced).toEqual(["new"]);
    expect(store.activeAlerts().map((one) => one.id)).toEqual(["new"]);
    expect(store.endedAlerts().map((one) => one.id)).toEqual(["over"]);
  });

  it("that ended move to a bounded list, and cancelled ones vanish", () => {
    const store = new Store();
    store.apply("snapshot", snapshot({ alerts: [alert("a"), alert("b", { state: "pending" })] }));
    store.apply("alert", alert("a", { state: "resolved", resolved_ms: T0 + 1 }));
    store.apply("alert", alert("a", { state: "resolved", resolved_ms: T0 + 1 }));
    store.apply("alert", alert("b", { state: "cancelled" }));
    expect(store.activeAlerts()).toEqual([]);
    expect(store.endedAlerts().map((one) => one.id)).toEqual(["a"]);
    for (let at = 0; at < 200; at++) store.apply("alert", alert(`x${at}`, { state: "resolved" }));
    expect(store.endedAlerts()).toHaveLength(ENDED_CAPACITY);
  });
});

describe("status", () => {
  it("is kept by key", () => {
    const store = new Store();
    store.apply("snapshot", snapshot({ status: { archive: { state: "disabled" } } }));
    store.apply("status", { key: "source/tty0", value: { name: "tty0", state: "down" } });
    expect(store.sources.get("tty0")?.state).toBe("down");
    expect(store.archive?.state).toBe("disabled");
    const last_error = { at: "2026-11-20T12:00:00Z", faults: ["gateway.toml:3:1: unknown key"] };
    store.apply("status", { key: "config", value: { file: "gateway.toml", last_error, restart_needed: [] } });
    expect(store.config?.last_error).toEqual(last_error);
  });

  it("takes the gateway's clock from the beat: the quickest way, or a clock that was set", () => {
    const store = new Store();
    store.apply("snapshot", snapshot({ now_ms: T0 - 60_000 }));
    expect(store.clockOffset).toBe(-60_000);
    store.apply("status", { key: "beat", value: { now_ms: T0 - 60_500 } });
    expect(store.clockOffset).toBe(-60_000);
    store.apply("status", { key: "beat", value: { now_ms: T0 - 59_900 } });
    expect(store.clockOffset).toBe(-59_900);
    store.apply("status", { key: "beat", value: { now_ms: T0 - 3_600_000 } });
    expect(store.clockOffset).toBe(-3_600_000);
  });
});

describe("readers", () => {
  it("are told at most four times a second, whatever comes", () => {
    const store = new Store();
    store.apply("snapshot", snapshot());
    let told = 0;
    const stop = store.subscribe("series/boiler/temperature", () => told++);
    for (let at = 0; at < 100; at++) {
      store.apply("readings", readings("boiler/temperature", [T0 + at * 10], [at]));
      vi.advanceTimersByTime(10);
    }
    vi.advanceTimersByTime(TICK_MS);
    expect(told).toBeGreaterThanOrEqual(4);
    expect(told).toBeLessThanOrEqual(5);
    stop();
    store.apply("readings", readings("boiler/temperature", [T0 + 9999], [1]));
    vi.advanceTimersByTime(1000);
    expect(told).toBeLessThanOrEqual(5);
    expect(vi.getTimerCount()).toBe(0);
  });
});

describe("silences", () => {
  const silence = (id: string, over: Partial<Silence> = {}): Silence => ({
    id,
    version: 1,
    state: "active",
    matchers: [{ name: "device", value: "boiler", glob: false }],
    starts_ms: T0,
    ends_ms: T0 + 1000,
    created_by: "Ada",
    created_ms: T0,
    changed_by: null,
    changed_ms: null,
    comment: "",
    shelving: false,
    repeat: null,
    ...over,
  });

  it("come with the snapshot and with their own events, and a snapshot replaces them", () => {
    const store = new Store();
    store.apply("snapshot", snapshot({ silences: [silence("a", { state: "planned" }), silence("b", { ends_ms: T0 + 9 })] }));
    store.apply("silence", silence("c"));
    expect(store.openSilences().map(({ id }) => id)).toEqual(["b", "c", "a"]);
    store.apply("silence", silence("b", { state: "ended", version: 2 }));
    expect(store.openSilences().map(({ id }) => id)).toEqual(["c", "a"]);
    expect(store.endedSilences().map(({ id }) => id)).toEqual(["b"]);
    store.apply("snapshot", snapshot({ silences: [silence("d")] }));
    expect([store.openSilences(), store.endedSilences()]).toEqual([[silence("d")], []]);
  });

  it("that are over are kept up to a bound", () => {
    const store = new Store();
    for (let n = 0; n < OVER_CAPACITY + 5; n++) store.apply("silence", silence(`s${n}`, { state: "ended", ends_ms: T0 + n }));
    expect(store.endedSilences()).toHaveLength(OVER_CAPACITY);
    expect(store.endedSilences()[0]?.id).toBe(`s${OVER_CAPACITY + 4}`);
  });

  it("keep what they match from being announced, but not from being shown", () => {
    const store = new Store();
    const announced: string[] = [];
    store.onFiring = ({ id }) => announced.push(id);
    store.apply("snapshot", snapshot());
    store.apply("alert", alert("a", { silenced_by: ["s"] }));
    store.apply("alert", alert("c", { inhibited_by: ["d"] }));
    store.apply("alert", alert("b"));
    expect(announced).toEqual(["b"]);
    expect(store.activeAlerts()).toHaveLength(3);
  });

  it("and acknowledgements make the audit trail new, and other changes of alerts don't", () => {
    const store = new Store();
    store.apply("snapshot", snapshot({ alerts: [alert("a")] }));
    vi.runAllTimers();
    let told = 0;
    store.subscribe("audit", () => told++);
    store.apply("alert", alert("a", { value: 71 }));
    vi.runAllTimers();
    expect(told).toBe(0);
    store.apply("alert", alert("a", { acknowledged: { by: "Ada", comment: "", at_ms: T0 } }));
    vi.runAllTimers();
    expect(told).toBe(1);
    store.apply("silence", silence("s"));
    vi.runAllTimers();
    expect(told).toBe(2);
    store.apply("alert", alert("a", { state: "resolved" }));
    vi.runAllTimers();
    expect(told, "it ended by itself").toBe(2);
    store.apply("alert", alert("b", { state: "resolved", summary: "too hot (closed by Ada)" }));
    vi.runAllTimers();
    expect(told).toBe(3);
  });
});

describe("what is passed on", () => {
  const source = { name: "push", kind: "push", state: "up", since_ms: T0, detail: "", connects: 1 } as const;

  it("to another tab says all that a snapshot of the gateway said, and what came after", () => {
    const store = new Store();
    expect(store.snapshot("e1"), "nothing is known yet").toBe(null);
    const said = snapshot({ alerts: [alert("a")], ended: [alert("old", { state: "resolved", resolved_ms: T0 })], silences: [], status: { "source/push": source } });
    store.apply("snapshot", said);
    expect(store.snapshot("e1")).toEqual(said);
    store.apply("readings", readings("boiler/temperature", [T0 + 1_000], [25]));
    store.apply("alert", alert("a", { state: "resolved", resolved_ms: T0 + 1 }));
    const other = new Store();
    other.apply("snapshot", store.snapshot("e1") ?? snapshot());
    expect(other.series.get("boiler/temperature")?.value).toBe(25);
    expect(other.activeAlerts()).toEqual([]);
    expect(other.endedAlerts().map(({ id }) => id)).toEqual(["a", "old"]);
    expect(other.snapshot("e1")).toEqual(store.snapshot("e1"));
  });

  it("from an earlier visit is shown as of then, is not passed on, and gives way to the gateway's word", () => {
    const store = new Store();
    const fired: string[] = [];
    store.onFiring = ({ id }) => fired.push(id);
    store.setLink("down");
    store.recall(snapshot({ now_ms: T0 - 3_600_000, alerts: [alert("a")] }));
    expect(store.isKnown).toBe(false);
    expect(store.heardUntil()).toBe(T0 - 3_600_000);
    expect(store.snapshot("e1")).toBe(null);
    store.setLink("live");
    store.apply("snapshot", snapshot({ alerts: [alert("a"), alert("b")] }));
    expect(fired, "what fires already is no news").toEqual([]);
    store.recall(snapshot({ series: [] }));
    expect(store.series.size, "too late").toBe(1);
  });
});
