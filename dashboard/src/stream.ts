/**
 * The live link: one EventSource to `/events`, kept up for weeks.
 *
 * A browser gives an EventSource up for good after any answer but 200, and says nothing when a connection is
 * silently dead. So this class closes a failed one itself and opens the next with back-off and jitter, always
 * with the id of the last event, and treats long silence as a failure. There is one way to reconnect.
 *
 * It promises: the first event handed on after each connection is `snapshot` or `resume`; nothing is handed on
 * after `stop` or while paused. It does not look into events beyond what the link itself needs.
 */
import { EVENT_NAMES, type ByeEvent, type EventName, type Events, type ResumeEvent, type SnapshotEvent } from "./wire";

/**
 * - `connecting`: no event yet, and nothing went wrong
 * - `live`: heard within the last 15 s
 * - `stale`: connected, but silent for longer; a beat comes at least every 15 s when all is well
 * - `down`: the connection failed; the next try is planned
 */
export type LinkState = "connecting" | "live" | "stale" | "down";

/** Silence after which the link is stale, in milliseconds. */
export const STALE_MS = 15_000;
/** Silence after which the connection is thought dead and replaced. */
export const DEAD_MS = 45_000;
const FIRST_RETRY_MS = 500;
const LONGEST_RETRY_MS = 15_000;
/** A link that was live for this long has earned a quick first retry again. */
const PROVEN_MS = 10_000;
const CHECK_MS = 1_000;

/** The part of EventSource that is used, so that tests can hand in their own. */
export interface Connection {
  addEventListener(type: string, listener: (event: MessageEvent<string>) => void): void;
  close(): void;
}

/** Where in the live stream somebody is: the id of the last event seen (empty: none), and its epoch. */
export interface Position {
  id: string;
  epoch: string | null;
}

export interface StreamOptions {
  /** The address of the stream. */
  url: string;
  open: (url: string) => Connection;
  onEvent: <N extends EventName>(name: N, data: Events[N]) => void;
  onState: (state: LinkState) => void;
  now?: () => number;
  /** In `[0, 1)`, for the jitter. */
  random?: () => number;
}

export class Stream {
  private readonly options: StreamOptions;
  private readonly now: () => number;
  private readonly random: () => number;
  private connection: Connection | null = null;
  private retryTimer: ReturnType<typeof setTimeout> | undefined;
  private checkTimer: ReturnType<typeof setInterval> | undefined;
  private running = false;
  private greeted = false;
  private failures = 0;
  private heardAt = 0;
  private liveSince = 0;
  private epoch: string | null = null;
  private lastId = "";
  private current: LinkState = "connecting";

  constructor(options: StreamOptions) {
    this.options = options;
    this.now = options.now ?? Date.now;
    this.random = options.random ?? Math.random;
  }

  get state(): LinkState {
    return this.current;
  }

  /** When the last event came, by this machine's clock; 0 before the first. */
  get lastHeard(): number {
    return this.heardAt;
  }

  /** How far this stream has handed events on. */
  get position(): Position {
    return { id: this.lastId, epoch: this.epoch };
  }

  /** Goes on from there with the next connection, as if this stream had been there itself. */
  continueFrom(position: Position): void {
    this.lastId = position.id;
    this.epoch = position.epoch;
  }

  /** Connects, or goes on after `pause`, from the last event that was seen. */
  start(): void {
    if (this.running) return;
    this.running = true;
    this.failures = 0;
    this.set("connecting");
    this.checkTimer = setInterval(() => this.check(), CHECK_MS);
    this.connect();
  }

  /** Lets go of the connection without forgetting the last event. */
  pause(): void {
    this.running = false;
    clearInterval(this.checkTimer);
    this.drop();
  }

  /** Tries at once instead of waiting out the back-off: the network is said to be back. */
  hurry(): void {
    if (!this.running || this.connection !== null) return;
    this.failures = 0;
    this.connect();
  }

  private connect(): void {
    this.drop();
    const url = new URL(this.options.url);
    url.searchParams.set("types", EVENT_NAMES.join(","));
    if (this.lastId !== "") url.searchParams.set("last_event_id", this.lastId);
    const connection = this.options.open(url.href);
    this.connection = connection;
    this.greeted = false;
    this.heardAt = this.now();
    for (const name of EVENT_NAMES) {
      connection.addEventListener(name, (event) => {
        if (connection === this.connection) this.receive(name, event);
      });
    }
    connection.addEventListener("error", () => {
      if (connection === this.connection) this.fail();
    });
  }

  private receive(name: EventName, event: MessageEvent<string>): void {
    let data: Events[EventName];
    try {
      data = JSON.parse(event.data) as Events[EventName];
    } catch {
      this.startAfresh();
      return;
    }
    if (name === "bye") {
      this.fail((data as ByeEvent).retry_ms);
      return;
    }
    if (!this.greeted && !this.greet(name, data)) {
      this.startAfresh();
      return;
    }
    this.heardAt = this.now();
    if (event.lastEventId !== "") this.lastId = event.lastEventId;
    // The state first: whoever draws this event draws it as live.
    this.set("live");
    this.options.onEvent(name, data as never);
  }

  /** Whether `name` may come first: a snapshot, or a resume of what this page has. */
  private greet(name: EventName, data: Events[EventName]): boolean {
    if (name === "snapshot") this.epoch = String((data as SnapshotEvent).epoch);
    else if (name !== "resume" || this.epoch !== String((data as ResumeEvent).epoch)) return false;
    this.greeted = true;
    this.liveSince = this.now();
    return true;
  }

  /** What came can't be continued from: ask for a snapshot. */
  private startAfresh(): void {
    this.lastId = "";
    this.fail();
  }

  private fail(retryMs?: number): void {
    if (this.greeted && this.now() - this.liveSince > PROVEN_MS) this.failures = 0;
    this.drop();
    this.set("down");
    const backOff = Math.min(LONGEST_RETRY_MS, FIRST_RETRY_MS * 2 ** this.failures);
    // Jitter, so that a wall of screens does not come back in one instant.
    const delay = (retryMs === undefined ? backOff : Math.min(retryMs, LONGEST_RETRY_MS)) * (0.5 + this.random() / 2);
    this.failures = Math.min(this.failures + 1, 16);
    this.retryTimer = setTimeout(() => this.connect(), delay);
  }

  private check(): void {
    if (this.connection === null) return;
    const silent = this.now() - this.heardAt;
    // A clock that was set back would otherwise hide silence for as long.
    if (silent < 0) this.heardAt = this.now();
    else if (silent > DEAD_MS) this.fail();
    else if (silent > STALE_MS && this.current === "live") this.set("stale");
  }

  private drop(): void {
    clearTimeout(this.retryTimer);
    this.connection?.close();
    this.connection = null;
    this.greeted = false;
  }

  private set(state: LinkState): void {
    if (state === this.current) return;
    this.current = state;
    this.options.onState(state);
  }
}
