/**
 * What the page knows of the gateway: devices, series, alerts, status. Events are applied idempotently, so that
 * a snapshot, a resume and a repeated event leave the same state.
 *
 * Readers subscribe to topics and are told at most four times a second, however fast events come.
 * Bounded: one fixed ring a series, as many series as the gateway has (which caps them), 50 past alerts.
 */
import { SeriesState } from "./series";
import type { LinkState } from "./stream";
import type { Alert, Archive, Config, Device, EventName, Events, GapEvent, Known, Series, Silence, SnapshotEvent, Source } from "./wire";

/** The shortest time between two notices to the same reader, in milliseconds. */
export const TICK_MS = 250;
/** Alerts that ended, kept to be shown. */
export const ENDED_CAPACITY = 50;
/** Silences that are over, kept to be shown. */
export const OVER_CAPACITY = 50;

/** What can change: the link, the alerts, the silences, the rules, what people did, the status, which series there are, or one series. */
export type Topic = "link" | "alerts" | "silences" | "rules" | "audit" | "status" | "inventory" | `series/${string}`;

export interface DeviceGroup {
  device: Device;
  series: SeriesState[];
}

const text = new Intl.Collator(undefined, { numeric: true, sensitivity: "base" });

export class Store {
  readonly series = new Map<string, SeriesState>();
  readonly devices = new Map<string, Device>();
  readonly sources = new Map<string, Source>();
  archive: Archive | null = null;
  config: Config | null = null;
  link: LinkState = "connecting";
  version = "";
  site: string | null = null;
  /** Rises whenever points may be missing between what is held and what comes: charts then fetch their range again. */
  generation = 0;
  /** Events that the gateway skipped for this page because it was slow, since the page was opened. */
  skipped = 0;
  /** Gateway's clock minus this machine's, in milliseconds; 0 until the first event that says it. */
  clockOffset = 0;
  /** Told of each alert that began to fire while the page watched. */
  onFiring: (alert: Alert) => void = () => {};

  private readonly alerts = new Map<string, Alert>();
  private readonly silences = new Map<string, Silence>();
  private ended: Alert[] = [];
  /** Those of `alerts` that fired. */
  private readonly fired = new Set<string>();
  private readonly listeners = new Map<Topic, Set<() => void>>();
  private readonly dirty = new Set<Topic>();
  private timer: ReturnType<typeof setTimeout> | undefined;
  private lastTick = 0;
  private known = false;
  private heard = 0;

  constructor(private readonly wallClock: () => number = Date.now) {}

  /** Whether the gateway said anything since the page was opened. */
  get isKnown(): boolean {
    return this.known;
  }

  /** The gateway's time now, as well as this machine can tell. */
  now(): number {
    return this.wallClock() + this.clockOffset;
  }

  /** The gateway's time when it was last heard: nothing can be said about sensors after it. */
  heardUntil(): number {
    return this.link === "live" ? this.now() : this.heard;
  }

  setLink(state: LinkState): void {
    this.link = state;
    this.touch("link");
  }

  subscribe(topic: Topic, listener: () => void): () => void {
    let set = this.listeners.get(topic);
    if (set === undefined) this.listeners.set(topic, (set = new Set()));
    set.add(listener);
    return () => {
      set.delete(listener);
      if (set.size === 0) this.listeners.delete(topic);
    };
  }

  apply<N extends EventName>(name: N, data: Events[N]): void {
    const event = { name, data } as { [K in EventName]: { name: K; data: Events[K] } }[EventName];
    switch (event.name) {
      case "snapshot":
        this.noteClock(event.data.now_ms, true);
        this.learn(event.data);
        this.generation++;
        break;
      case "resume":
        // Over a restart the clock may be another, and what is not kept anywhere is said anew. Points go on: none is missing.
        this.noteClock(event.data.now_ms, isKnown(event.data));
        if (isKnown(event.data)) this.learn(event.data);
        break;
      case "readings":
        for (const [id, column] of Object.entries(event.data.series)) {
          const series = this.series.get(id) ?? this.adopt(unknownSeries(id));
          series.apply(column);
          this.touch(`series/${id}`);
        }
        break;
      case "alert":
        this.takeAlert(event.data);
        break;
      case "silence":
        this.takeSilence(event.data);
        this.touch("audit");
        break;
      case "rule":
        // The list is fetched by who shows it.
        this.touch("rules");
        this.touch("audit");
        break;
      case "device": {
        const { series, ...device } = event.data;
        this.devices.set(device.id, device);
        for (const one of series) this.describe(one);
        this.touch("inventory");
        break;
      }
      case "status":
        this.status(event.data.key, event.data.value);
        break;
      case "gap":
        this.gap(event.data);
        break;
      case "bye":
        break;
    }
    this.heard = this.now();
  }

  /** Takes the last known state of an earlier visit, until the gateway says something. */
  recall(then: SnapshotEvent): void {
    if (this.known) return;
    this.learn(then);
    this.known = false;
    this.heard = then.now_ms;
    this.generation++;
    this.touch("link");
  }

  /** All that is known, as the gateway would say it in a snapshot; null before the first word. */
  snapshot(epoch: string | null): SnapshotEvent | null {
    if (!this.known) return null;
    const status: Record<string, unknown> = {};
    for (const [name, source] of this.sources) status[`source/${name}`] = source;
    if (this.archive !== null) status["archive"] = this.archive;
    if (this.config !== null) status["config"] = this.config;
    return {
      epoch: epoch ?? "",
      now_ms: this.now(),
      version: this.version,
      site: this.site,
      series: [...this.series.values()].map((series) => series.described()),
      devices: [...this.devices.values()],
      alerts: [...this.alerts.values()],
      ended: this.ended,
      silences: [...this.silences.values()],
      status,
    };
  }

  /** All devices with their series, by site and name. */
  groups(): DeviceGroup[] {
    const groups = new Map<string, DeviceGroup>();
    for (const series of this.series.values()) {
      let group = groups.get(series.device);
      if (group === undefined) {
        const device = this.devices.get(series.device) ?? unknownDevice(series.device);
        groups.set(series.device, (group = { device, series: [] }));
      }
      group.series.push(series);
    }
    for (const device of this.devices.values()) {
      if (!groups.has(device.id)) groups.set(device.id, { device, series: [] });
    }
    const sorted = [...groups.values()];
    for (const group of sorted) group.series.sort((a, b) => text.compare(a.metric, b.metric));
    return sorted.sort(
      (a, b) =>
        text.compare(a.device.site ?? "", b.device.site ?? "") ||
        text.compare(a.device.name, b.device.name) ||
        text.compare(a.device.id, b.device.id),
    );
  }

  /** Firing before pending, worst first, then newest first. */
  activeAlerts(): Alert[] {
    return [...this.alerts.values()].sort(byUrgency);
  }

  /** A pending or firing alert. */
  alert(id: string): Alert | undefined {
    return this.alerts.get(id);
  }

  /** Alerts that ended last, newest first. */
  endedAlerts(): readonly Alert[] {
    return this.ended;
  }

  /** Active ones before planned ones, the next to end first. */
  openSilences(): Silence[] {
    return [...this.silences.values()]
      .filter((silence) => silence.state !== "ended")
      .sort((a, b) => text.compare(a.state, b.state) || a.ends_ms - b.ends_ms);
  }

  /** The last that ended first. */
  endedSilences(): Silence[] {
    return [...this.silences.values()].filter((silence) => silence.state === "ended").sort((a, b) => b.ends_ms - a.ends_ms);
  }

  silence(id: string): Silence | undefined {
    return this.silences.get(id);
  }

  /** The worst active alert on a series: firing before pending. */
  alertOn(series: string): Alert | null {
    let worst: Alert | null = null;
    for (const alert of this.alerts.values()) {
      if (alert.series === series && (worst === null || byUrgency(alert, worst) < 0)) worst = alert;
    }
    return worst;
  }

  private learn(now: Known): void {
    this.version = now.version;
    this.site = now.site;
    const ids = new Set(now.series.map((series) => series.id));
    for (const id of this.series.keys()) if (!ids.has(id)) this.series.delete(id);
    for (const series of now.series) this.describe(series);
    this.devices.clear();
    for (const device of now.devices) this.devices.set(device.id, device);

    const active = new Set(now.alerts.filter(isActive).map((alert) => alert.id));
    for (const id of this.alerts.keys()) if (!active.has(id)) this.forget(id);
    this.end(now.ended, active);
    for (const alert of now.alerts) this.takeAlert(alert);

    this.silences.clear();
    for (const silence of now.silences) this.takeSilence(silence);

    this.sources.clear();
    this.archive = null;
    this.config = null;
    for (const [key, value] of Object.entries(now.status)) this.status(key, value);
    this.known = true;
    this.touch("inventory");
    this.touch("alerts");
    this.touch("silences");
    this.touch("rules");
    this.touch("audit");
    this.touch("status");
  }

  private describe(series: Series): void {
    const known = this.series.get(series.id);
    if (known === undefined) this.adopt(series);
    else known.describe(series);
    this.touch(`series/${series.id}`);
  }

  private adopt(series: Series): SeriesState {
    const state = new SeriesState(series);
    this.series.set(series.id, state);
    this.touch("inventory");
    return state;
  }

  private takeAlert(alert: Alert): void {
    const before = this.alerts.get(alert.id);
    if (isActive(alert)) {
      // An alert begins once: this is what was missed of one that is over.
      if (this.ended.some((old) => old.id === alert.id)) return;
      this.alerts.set(alert.id, alert);
      // What already fires when the page opens is in the list; only what begins is announced, and once.
      if (alert.state === "firing" && !this.fired.has(alert.id)) {
        this.fired.add(alert.id);
        if (this.known && alert.silenced_by.length === 0 && alert.inhibited_by.length === 0) this.onFiring(alert);
      }
      if (before?.acknowledged?.at_ms !== alert.acknowledged?.at_ms) this.touch("audit");
    } else {
      this.forget(alert.id);
      // A pending alert that never fired is no news.
      if (alert.state === "resolved") this.end([alert]);
      if (isClosedByHand(alert)) this.touch("audit");
    }
    this.touch("alerts");
    this.touch(`series/${alert.series}`);
  }

  private forget(alert: string): void {
    this.alerts.delete(alert);
    this.fired.delete(alert);
  }

  /** Adds alerts to those that ended; what is active again had not. */
  private end(alerts: readonly Alert[], active: ReadonlySet<string> = new Set()): void {
    const ids = new Set(alerts.map((alert) => alert.id));
    this.ended = [...alerts, ...this.ended.filter((old) => !ids.has(old.id))]
      .filter((alert) => !active.has(alert.id))
      .sort((a, b) => (b.resolved_ms ?? 0) - (a.resolved_ms ?? 0))
      .slice(0, ENDED_CAPACITY);
  }

  private takeSilence(silence: Silence): void {
    this.silences.set(silence.id, silence);
    for (const over of this.endedSilences().slice(OVER_CAPACITY)) this.silences.delete(over.id);
    this.touch("silences");
  }

  private status(key: string, value: unknown): void {
    if (key === "beat") {
      this.noteClock((value as { now_ms: number }).now_ms);
      return;
    }
    if (key.startsWith("source/")) this.sources.set(key.slice("source/".length), value as Source);
    else if (key === "archive") this.archive = value as Archive;
    else if (key === "config") this.config = value as Config;
    this.touch("status");
  }

  private gap(gap: GapEvent): void {
    this.skipped += gap.missed;
    this.generation++;
    this.touch("status");
    for (const id of this.series.keys()) this.touch(`series/${id}`);
  }

  /**
   * Each stamp is late by its way here, so the largest difference seen is the best; one that differs by more
   * than two seconds means that a clock was set.
   */
  private noteClock(gatewayNow: number, afresh = false): void {
    const offset = gatewayNow - this.wallClock();
    if (afresh || offset > this.clockOffset || this.clockOffset - offset > 2_000) this.clockOffset = offset;
  }

  private touch(topic: Topic): void {
    if (!this.listeners.has(topic)) return;
    this.dirty.add(topic);
    if (this.timer !== undefined) return;
    const wait = Math.max(0, Math.min(TICK_MS, this.lastTick + TICK_MS - this.wallClock()));
    this.timer = setTimeout(() => this.flush(), wait);
  }

  private flush(): void {
    this.timer = undefined;
    this.lastTick = this.wallClock();
    const topics = [...this.dirty];
    this.dirty.clear();
    for (const topic of topics) {
      for (const listener of this.listeners.get(topic) ?? []) listener();
    }
  }
}

const RANK = { critical: 0, warning: 1, info: 2 };

function byUrgency(a: Alert, b: Alert): number {
  return (
    Number(a.state !== "firing") - Number(b.state !== "firing") ||
    RANK[a.severity] - RANK[b.severity] ||
    b.began_ms - a.began_ms
  );
}

function isKnown<T extends Partial<Known>>(event: T): event is T & Known {
  return event.series !== undefined;
}

/** Its summary says who closed it. */
const isClosedByHand = (alert: Alert): boolean => alert.state === "resolved" && alert.summary.includes("(closed by ");

function isActive(alert: Alert): boolean {
  return alert.state === "pending" || alert.state === "firing";
}

/** A series of which a reading came before its description. */
function unknownSeries(id: string): Series {
  const slash = id.lastIndexOf("/");
  return {
    id,
    device: id.slice(0, Math.max(0, slash)),
    metric: id.slice(slash + 1),
    unit: null,
    kind: null,
    t: null,
    v: null,
    quality: "good",
    retained: false,
  };
}

function unknownDevice(id: string): Device {
  return { id, name: id, site: null, labels: {}, source: null, last_seen_ms: null, online: null };
}
