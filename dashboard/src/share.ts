/**
 * One stream for all tabs of a browser. HTTP/1.1 gives it six connections to a gateway; a stream in each tab would hang the
 * seventh.
 *
 * Whoever holds a lock leads: it has the stream, and passes on each event. The others follow. Who comes later, or missed
 * something, says hello and is told all that the leader knows. When the leader goes, or is silent for too long, another one gets
 * the lock and goes on after the last event that it saw.
 *
 * It promises: a follower applies the events of one stream in order, without a hole and none after a hole before it was told all
 * anew; what a new leader says follows on what the old one said, or is preceded by all that is known. Messages carry a term (one
 * leader's time) and a number within it, so that both can be seen. A tab that rests costs neither messages nor timers.
 *
 * Pure but for timers: the lock, the bus between tabs and the stream are handed in. Where a browser has no locks (they need
 * HTTPS or loopback), `main.tsx` gives each tab a stream of its own.
 */
import { DEAD_MS, type LinkState, type Position, STALE_MS } from "./stream";
import type { EventName, Events, SnapshotEvent } from "./wire";

/** What tabs say to each other. */
export type Message =
  /** Tell me all. */
  | { kind: "hello"; from: string }
  /** All, for one tab; null while the leader knows nothing itself. */
  | { kind: "known"; to: string; term: string; number: number; at: Position; state: LinkState; known: SnapshotEvent | null }
  /** I lead now, and go on after this. */
  | { kind: "lead"; term: string; after: Position }
  | { kind: "event"; term: string; number: number; at: Position; name: EventName; data: Events[EventName] }
  /** Also said when there is nothing else to say. */
  | { kind: "state"; term: string; number: number; state: LinkState };

export interface Bus {
  post(message: Message): void;
  close(): void;
}

/** The stream that a leader has: see `Stream`. */
export interface OwnStream {
  readonly state: LinkState;
  readonly position: Position;
  continueFrom(position: Position): void;
  start(): void;
  pause(): void;
  hurry(): void;
}

export interface ShareOptions {
  /** Of this tab; no other has it. */
  id: string;
  /** Joins the tabs that talk to each other. */
  openBus: (onMessage: (message: Message) => void) => Bus;
  /**
   * Asks for the lock, behind those who asked before or (`steal`) at once. `granted` is called when it is held, `lost` when
   * another one took it. The answer gives it back, or asks no more.
   */
  claim: (steal: boolean, granted: () => void, lost: () => void) => () => void;
  /** Makes the stream; called once. */
  stream: (onEvent: <N extends EventName>(name: N, data: Events[N]) => void, onState: (state: LinkState) => void) => OwnStream;
  onEvent: <N extends EventName>(name: N, data: Events[N]) => void;
  onState: (state: LinkState) => void;
  /** All that this tab knows; null before the first event. */
  known: () => SnapshotEvent | null;
  /** Whether one tab must go on to listen although none is seen: it has something to say then. */
  onWatch: () => boolean;
  now?: () => number;
}

/** A leader says something at least this often, in milliseconds. */
const SAY_MS = 5_000;
const CHECK_MS = 1_000;
/** The wait for an answer to a hello. */
const ANSWER_MS = 3_000;

const NOWHERE: Position = { id: "", epoch: null };

export class SharedStream {
  private readonly own: OwnStream;
  private readonly now: () => number;
  private bus: Bus | null = null;
  private giveBack: (() => void) | null = null;
  private leading = false;
  private term = "";
  private number = 0;
  /** Whether the next message of the term can be applied. */
  private current = false;
  private position = NOWHERE;
  private heardAt = 0;
  private askedAt = 0;
  private saidAt = 0;
  private said: LinkState = "connecting";
  private shown: LinkState = "connecting";
  private timer: ReturnType<typeof setInterval> | undefined;

  constructor(private readonly options: ShareOptions) {
    this.now = options.now ?? Date.now;
    this.own = options.stream(
      (name, data) => {
        this.options.onEvent(name, data);
        this.say({ kind: "event", term: this.term, number: ++this.number, at: this.own.position, name, data });
      },
      (state) => {
        this.show(state);
        this.say({ kind: "state", term: this.term, number: ++this.number, state });
      },
    );
  }

  /** Whether this tab has the stream. */
  get leads(): boolean {
    return this.leading;
  }

  /** Takes part: follows, and leads when it is this tab's turn. */
  start(): void {
    if (this.bus !== null) return;
    this.bus = this.options.openBus((message) => this.receive(message));
    this.timer = setInterval(() => this.check(), CHECK_MS);
    if (this.leading) return;
    this.heardAt = this.now();
    this.current = false;
    this.show("connecting");
    if (this.giveBack === null) this.claim(false);
    if (!this.leading) this.ask();
  }

  /** Nobody looks at this tab: it rests, unless it has to watch for the others. */
  rest(): void {
    if (!this.options.onWatch()) this.leave();
    else if (!this.leading) this.fallSilent();
  }

  /** Takes no part any more, and gives the stream to another tab. */
  leave(): void {
    this.fallSilent();
    this.stopLeading();
    this.giveBack?.();
    this.giveBack = null;
  }

  /** The network is said to be back. */
  hurry(): void {
    if (this.leading) this.own.hurry();
  }

  private fallSilent(): void {
    clearInterval(this.timer);
    this.bus?.close();
    this.bus = null;
  }

  private claim(steal: boolean): void {
    this.giveBack?.();
    let over = false;
    const giveBack = this.options.claim(
      steal,
      () => {
        if (!over) this.lead();
      },
      () => {
        if (over) return;
        over = true;
        this.giveBack = null;
        this.stopLeading();
        this.current = false;
        if (this.bus === null) return;
        this.heardAt = this.now();
        this.claim(false);
        this.ask();
      },
    );
    this.giveBack = () => {
      over = true;
      giveBack();
    };
  }

  private lead(): void {
    // A tab that watched in the background joins again, to pass on what it hears.
    if (this.bus === null) {
      this.bus = this.options.openBus((message) => this.receive(message));
      this.timer = setInterval(() => this.check(), CHECK_MS);
    }
    this.leading = true;
    this.term = `${this.options.id}/${this.now()}`;
    this.number = 0;
    this.own.continueFrom(this.position);
    this.say({ kind: "lead", term: this.term, after: this.position });
    this.own.start();
    this.show(this.own.state);
  }

  private stopLeading(): void {
    if (!this.leading) return;
    this.leading = false;
    this.own.pause();
    this.position = this.own.position;
  }

  private receive(message: Message): void {
    if (message.kind === "hello") {
      if (this.leading && message.from !== this.options.id) this.tellAll(message.from);
      return;
    }
    if (this.leading || (message.kind === "known" && message.to !== this.options.id)) return;
    this.heardAt = this.now();
    switch (message.kind) {
      case "known":
        this.askedAt = 0;
        this.follow(message.term, message.number, message.known !== null);
        this.position = message.known === null ? NOWHERE : message.at;
        this.said = message.state;
        this.show(message.state);
        if (message.known !== null) this.options.onEvent("snapshot", message.known);
        return;
      case "lead":
        if (this.current && same(message.after, this.position)) this.follow(message.term, 0, true);
        else this.ask();
        return;
      case "event":
        // A snapshot says all: it follows on anything.
        if (message.name !== "snapshot" && !(this.current && this.isNext(message))) {
          this.ask();
          return;
        }
        this.follow(message.term, message.number, true);
        this.position = message.at;
        this.said = "live";
        this.show("live");
        this.options.onEvent(message.name, message.data as never);
        return;
      case "state":
        if (!this.isNext(message)) {
          this.ask();
          return;
        }
        this.number = message.number;
        this.said = message.state;
        this.show(message.state);
        return;
    }
  }

  /** Whether nothing is missing before it. */
  private isNext(message: { term: string; number: number }): boolean {
    return message.term === this.term && message.number === this.number + 1;
  }

  private follow(term: string, number: number, current: boolean): void {
    this.term = term;
    this.number = number;
    this.current = current;
  }

  private ask(): void {
    this.current = false;
    const now = this.now();
    if (this.askedAt !== 0 && now - this.askedAt < ANSWER_MS && now >= this.askedAt) return;
    this.askedAt = now;
    this.bus?.post({ kind: "hello", from: this.options.id });
  }

  private tellAll(to: string): void {
    const known = this.options.known();
    const { position: at, state } = this.own;
    this.say({ kind: "known", to, term: this.term, number: this.number, at, state, known });
  }

  private say(message: Message): void {
    if (!this.leading) return;
    this.saidAt = this.now();
    this.bus?.post(message);
  }

  private check(): void {
    const now = this.now();
    if (this.leading) {
      if (now - this.saidAt >= SAY_MS || now < this.saidAt) {
        this.say({ kind: "state", term: this.term, number: ++this.number, state: this.own.state });
      }
      return;
    }
    const silent = now - this.heardAt;
    if (silent < 0) this.heardAt = now;
    if (silent > DEAD_MS) {
      // It hangs, or the browser stopped it. Its place is taken; it hears of that when it wakes.
      this.heardAt = now;
      this.show("down");
      this.claim(true);
    } else if (silent > STALE_MS && this.said === "live" && this.shown === "live") {
      this.show("stale");
    }
    if (!this.current && !this.leading) this.ask();
  }

  private show(state: LinkState): void {
    if (state === this.shown) return;
    this.shown = state;
    this.options.onState(state);
  }
}

function same(a: Position, b: Position): boolean {
  return a.id === b.id && a.epoch === b.epoch && a.id !== "";
}
