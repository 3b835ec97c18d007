/**
 * What the gateway says, as `docs/http-api.md` has it: live events and REST answers.
 *
 * Times ending in `_ms` and the columns `t` are epoch milliseconds. Types only, no behaviour.
 */

export type Value = number | boolean | string;
export type Quality = "good" | "uncertain" | "bad";
export type Severity = "info" | "warning" | "critical";

export interface Series {
  id: string;
  device: string;
  metric: string;
  unit: string | null;
  kind: "number" | "bool" | "text" | null;
  t: number | null;
  v: Value | null;
  quality: Quality;
  retained: boolean;
}

export interface Device {
  id: string;
  name: string;
  site: string | null;
  labels: Record<string, string>;
  source: string | null;
  last_seen_ms: number | null;
  online: boolean | null;
  clock_ahead_ms?: number | null;
}

export interface Alert {
  id: string;
  rule: string;
  series: string;
  state: "pending" | "firing" | "resolved" | "cancelled";
  severity: Severity;
  summary: string;
  value: Value | null;
  unit: string | null;
  labels: Record<string, string>;
  began_ms: number;
  fired_ms: number | null;
  resolved_ms: number | null;
  webhooks: string[];
  /** What changed last, and why; null in what an older gateway wrote. */
  change: AlertChange["change"];
  cause: AlertChange["cause"];
  rule_version: string;
  /** Firing, though its condition is over since then. */
  clear_since_ms: number | null;
  /** Firing, though nothing was received: its newest reading is of then. */
  stale_since_ms: number | null;
  /** It goes on firing until it calms. */
  flapping_since_ms: number | null;
  /** Pending until then at the earliest. */
  waits_until_ms: number | null;
  acknowledged: Acknowledgement | null;
  /** The active silences that match it. */
  silenced_by: string[];
  /** Who put it aside until when; that silence is in `silenced_by` too. */
  shelved: { silence: string; by: string; comment: string; until_ms: number } | null;
  /** Which routes have it; none: it is told by itself. */
  routes: { route: string; group_key: string }[];
  /** Alerts that fire and for the sake of which nobody is told; a few of them. */
  inhibited_by: string[];
  /** When the next step is told unless somebody acknowledges. */
  escalates_ms: number | null;
}

/** One change of an alert. Newer gateways may know more of `change` and `cause`. */
export interface AlertChange {
  number: number;
  at_ms: number;
  change: string | null;
  cause: string | null;
  state: Alert["state"];
  value: Value | null;
  unit: string | null;
  rule_version: string;
}

export interface Acknowledgement {
  by: string;
  comment: string;
  at_ms: number;
}

/** `name` is `rule`, `series`, `device`, `site`, `severity`, or `label.` and the name of a label. */
export interface Matcher {
  name: string;
  value: string;
  glob: boolean;
}

export interface Silence {
  id: string;
  version: number;
  state: "planned" | "active" | "ended";
  matchers: Matcher[];
  starts_ms: number;
  ends_ms: number;
  created_by: string;
  created_ms: number;
  changed_by: string | null;
  changed_ms: number | null;
  comment: string;
  /** Made by putting one alert aside. */
  shelving: boolean;
  /** Only at these hours: in between it is planned. */
  repeat: { days: string[]; from: string; to: string; zone: string } | null;
}

/** One line of `GET /api/v1/audit`. */
export interface AuditEntry {
  number: number;
  at_ms: number;
  by: string;
  action:
    | "alert_acknowledged"
    | "alert_unacknowledged"
    | "alert_closed"
    | "alert_expired"
    | "alert_shelved"
    | "alert_unshelved"
    | "silence_created"
    | "silence_changed"
    | "silence_ended"
    | "rule_created"
    | "rule_changed"
    | "rule_deleted"
    | "delivery_replayed"
    | "delivery_discarded";
  target: string;
  detail:
    | AlertDetail
    | Silence
    | RuleDetail
    | DeliveryDetail
    | { before: Silence; after: Silence }
    | { before: RuleDetail; after: RuleDetail };
}

/** What was done with a delivery that was given up; `deliveries`: with so many at once. */
export interface DeliveryDetail {
  webhook: string | null;
  deliveries?: number;
}

/** What a rule was, in the audit trail. */
export interface RuleDetail {
  name: string;
  enabled: boolean;
  rule: RuleBody;
}

/** A rule as it is written, by the keys of `[[rule]]`. */
export type RuleBody = Record<string, unknown>;

/** A rule of the config or of a person. */
export interface Rule {
  id: string;
  name: string;
  origin: "file" | "person";
  /** Of a person's rule. */
  version: number | null;
  /** Whether it is meant to be in force. */
  enabled: boolean;
  in_force: boolean;
  /** Why it is not in force although it is meant to be, or what is wrong all the same. */
  problem: string | null;
  file: string | null;
  line: number | null;
  created_by: string | null;
  created_ms: number | null;
  changed_by: string | null;
  changed_ms: number | null;
  rule: RuleBody;
}

/** One mistake in a rule; `key` is none when it is about the rule as a whole. */
export interface RuleFault {
  key: string | null;
  detail: string;
}

/** One alert that a rule would have raised. */
export interface DryInterval {
  began_ms: number;
  fired_ms: number | null;
  /** `null`: not over at the end of the range. */
  resolved_ms: number | null;
  state: Alert["state"];
  peak: number | null;
}

/** What a rule would have done over stored readings. */
export interface DryRun {
  from_ms: number;
  to_ms: number;
  points: number;
  matched: number;
  left_out: number;
  fired: number;
  intervals_left_out: number;
  notes: string[];
  series: { series: string; unit: string | null; points: number; intervals: DryInterval[] }[];
}

export interface AlertDetail {
  rule: string;
  series: string;
  summary: string;
  comment: string;
}

export interface Source {
  name: string;
  kind: "serial" | "mqtt" | "mqtt_listener" | "push";
  state: "connecting" | "up" | "down" | "stopped" | "removed";
  since_ms: number;
  detail: string;
  connects: number;
}

/** Where the gateway's config is from and how its changes went. */
export interface Config {
  file: string | null;
  loaded_at: string;
  reloads: number;
  /** Why the last change was refused; nothing of it is in force. */
  last_error: { at: string; faults: string[] } | null;
  /** Settings that were changed and hold only after a restart. */
  restart_needed: string[];
}

export interface Archive {
  state: "disabled" | "connecting" | "writing" | "failing";
  detail: string;
  written: number;
  refused: number;
  lag_records: number;
  backfill: {
    state: "idle" | "writing" | "paused" | "failing";
    lag_readings: number;
    rate: number;
  };
  dead_letters: number;
}

/** A point that InfluxDB refused for good. */
export interface DeadLetter {
  id: number;
  at_ms: number;
  source: string;
  series: string[];
  line: string;
  words: string;
  refusals: number;
  replaying: boolean;
}

export interface DeadLetters {
  total: number;
  dead_letters: DeadLetter[];
}

/** A delivery to a webhook that was given up. */
export interface Undelivered {
  number: number;
  id: string;
  webhook: string;
  message: { event: string; rule?: string; series?: string; alerts?: unknown[] };
  error: string | null;
  tries: number;
  created_ms: number;
  given_up_ms: number;
}

export interface UndeliveredList {
  total: number;
  dead_letters: Undelivered[];
}

/** One of `GET /api/v1/webhooks`. */
export interface ConfiguredWebhook {
  name: string;
  kind: string;
  /** Scheme and host. */
  url: string;
  /** None while the state can't be read. */
  status: {
    waiting: number;
    held: number;
    delivered: number;
    given_up: number;
    last_error: string | null;
  } | null;
}

/** What came of a test of a webhook. */
export interface Trial {
  webhook: string;
  kind: string;
  delivered: boolean;
  /** The receiver's own; none without an answer. */
  status: string | null;
  /** The beginning of its answer. */
  body: string;
  error: string | null;
  took_ms: number;
}

/** What the gateway knows now. */
export interface Known {
  version: string;
  site: string | null;
  series: Series[];
  devices: Device[];
  /** Pending or firing. */
  alerts: Alert[];
  /** Resolved last, the newest first. */
  ended: Alert[];
  silences: Silence[];
  status: Record<string, unknown>;
}

export interface SnapshotEvent extends Known {
  epoch: string | number;
  now_ms: number;
}

/** What was missed follows. Over a restart of the gateway it also says what is known now. */
export interface ResumeEvent extends Partial<Known> {
  epoch: string | number;
  now_ms: number;
  missed: number;
}

export interface Column {
  t: number[];
  v: Value[];
  q?: Quality[];
}

export interface ReadingsEvent {
  series: Record<string, Column>;
}

export type DeviceEvent = Device & { series: Series[] };

/** A rule that is new or changed, or one that is gone. */
export type RuleEvent = Rule | { id: string; deleted: true };

export interface StatusEvent {
  key: string;
  value: unknown;
}

export interface GapEvent {
  missed: number;
  from_ms: number;
  to_ms: number;
}

export interface ByeEvent {
  retry_ms: number;
}

/** Every event that this page listens to, by name. `window` is left out: the page draws points. */
export interface Events {
  snapshot: SnapshotEvent;
  resume: ResumeEvent;
  readings: ReadingsEvent;
  alert: Alert;
  silence: Silence;
  rule: RuleEvent;
  device: DeviceEvent;
  status: StatusEvent;
  gap: GapEvent;
  bye: ByeEvent;
}

export type EventName = keyof Events;

export const EVENT_NAMES: readonly EventName[] = [
  "snapshot",
  "resume",
  "readings",
  "alert",
  "silence",
  "rule",
  "device",
  "status",
  "gap",
  "bye",
];

interface PointsHead {
  series: string;
  unit: string | null;
  from_ms: number;
  to_ms: number;
  t: number[];
}

/** Every reading of the range, when they fit. */
export interface RawPoints extends PointsHead {
  bucket_ms: null;
  v: Value[];
}

/** One row per bucket of the range; `t` is where the bucket starts. */
export interface BucketPoints extends PointsHead {
  bucket_ms: number;
  min: number[];
  max: number[];
  mean: number[];
  count: number[];
}

export type Points = RawPoints | BucketPoints;

/** The aggregate of a series over one interval; texts have none of the numbers. */
export interface SeriesWindow {
  every_ms: number;
  over_ms: number;
  start_ms: number;
  end_ms: number;
  count: number;
  min: number | null;
  max: number | null;
  mean: number | null;
  stddev: number | null;
  p50: number | null;
  p95: number | null;
  p99: number | null;
  closed: boolean;
}

/** One row of the loss account. */
export interface Account {
  source: string;
  received: number;
  accepted: number;
  duplicates: number;
  rejected: Record<string, number>;
  dropped: Record<string, number>;
  waiting: number;
  /** Received and found nowhere. */
  difference: number;
  removed: boolean;
  archives: ArchiveAccount[];
}

/** What one archive did with a source's readings. */
export interface ArchiveAccount {
  archive: string;
  carried_over: number;
  archived: number;
  waiting: number;
  refused: number;
  dropped: number;
  /** `null`: not known until the next start. */
  difference: number | null;
}

/** What is written to disk, and what that costs the card. */
export interface Disk {
  written_bytes: number;
  per_day_bytes: number | null;
  per_day_syncs: number | null;
  card_life_years: number | null;
  device: { name: string; life_used_percent: number | null; spare: "normal" | "warning" | "urgent" | null } | null;
}

/** The part of `GET /api/v1/status` that the page shows. */
export interface Status {
  version: string;
  started: string;
  uptime_s: number;
  clock_trusted: boolean;
  clock: { jumps: number; last_jump: { at_ms: number; by_ms: number } | null };
  journal: { awaiting_clock: number };
  engine: { too_late: number };
  account: Account[];
  disk: Disk;
  webhooks: Webhook[];
  heartbeats: Heartbeat[];
}

/** How the deliveries to a webhook stand. */
export interface Webhook {
  name: string;
  waiting: number;
  dead_letters: number;
  last_error: string | null;
  /** Since when it fails whatever it is sent. */
  failing_since: string | null;
}

/** How a dead-man's switch outside takes the gateway's beats. */
export interface Heartbeat {
  name: string;
  last_error: string | null;
}
