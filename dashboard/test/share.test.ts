import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { type Bus, type Message, type OwnStream, SharedStream, type ShareOptions } from "../src/share";
import { DEAD_MS, type LinkState, type Position, STALE_MS } from "../src/stream";
import type { EventName, Events, SnapshotEvent } from "../src/wire";

/** The gateway: numbered events, and streams that go on after a number. */
class Gateway {
  readonly log: string[] = [];
  readonly streams = new Set<FakeStream>();
  say(text: string): void {
    this.log.push(text);
    for (const stream of this.streams) stream.catchUp();
  }
}

class FakeStream implements OwnStream {
  state: LinkState = "connecting";
  position: Position = { id: "", epoch: null };
  constructor(
    private readonly gateway: Gateway,
    private readonly onEvent: <N extends EventName>(name: N, data: Events[N]) => void,
    private readonly onState: (state: LinkState) => void,
  ) {}
  continueFrom(position: Position): void {
    this.position = position;
  }
  start(): void {
    this.gateway.streams.add(this);
    this.set("connecting");
    this.set("live");
    if (this.position.id === "") {
      this.position = { id: String(this.gateway.log.length), epoch: "e" };
      this.onEvent("snapshot", snapshotOf(this.gateway.log));
    }
    this.catchUp();
  }
  pause(): void {
    this.gateway.streams.delete(this);
  }
  hurry(): void {}
  catchUp(): void {
    while (Number(this.position.id) < this.gateway.log.length) {
      const text = this.gateway.log[Number(this.position.id)] ?? "";
      this.position = { id: String(Number(this.position.id) + 1), epoch: "e" };
      this.onEvent("status", { key: text, value: null });
    }
  }
  set(state: LinkState): void {
    this.state = state;
    this.onState(state);
  }
}

const snapshotOf = (log: readonly string[]): SnapshotEvent =>
  ({ epoch: "e", now_ms: 0, status: Object.fromEntries(log.map((text) => [text, null])) }) as unknown as SnapshotEvent;

/** One browser: its bus and its lock. */
class Browser {
  readonly gateway = new Gateway();
  private readonly ears = new Map<string, (message: Message) => void>();
  private holder: { id: string; lost: () => void } | null = null;
  private queue: { id: string; granted: () => void; lost: () => void }[] = [];
  said = 0;
  /** Whose messages are held back, as those of a tab that hangs. */
  readonly hanging = new Set<string>();

  tab(id: string, onWatch = () => false) {
    const seen: string[] = [];
    const states: LinkState[] = [];
    let log: string[] | null = null;
    const options: ShareOptions = {
      id,
      openBus: (onMessage): Bus => {
        this.ears.set(id, onMessage);
        return {
          post: (message) => {
            if (this.hanging.has(id)) return;
            this.said++;
            const copy = structuredClone(message);
            for (const [other, hear] of [...this.ears]) if (other !== id && !this.hanging.has(other)) hear(copy);
          },
          close: () => this.ears.delete(id),
        };
      },
      claim: (steal, granted, lost) => {
        const me = { id, granted, lost };
        if (steal) {
          const before = this.holder;
          this.holder = me;
          before?.lost();
          granted();
        } else {
          this.queue.push(me);
          this.next();
        }
        return () => {
          this.queue = this.queue.filter((other) => other !== me);
          if (this.holder === me) this.holder = null;
          this.next();
        };
      },
      stream: (onEvent, onState) => new FakeStream(this.gateway, onEvent, onState),
      onEvent: (name, data) => {
        seen.push(name);
        if (name === "snapshot") log = Object.keys((data as SnapshotEvent).status);
        else if (name === "status") log?.push((data as Events["status"]).key);
      },
      onState: (state) => states.push(state),
      known: () => (log === null ? null : snapshotOf(log)),
      onWatch,
    };
    const shared = new SharedStream(options);
    return { shared, seen, states, log: () => log, state: () => states.at(-1) };
  }

  /** As when a tab is closed or killed: its lock is free, and it says nothing. */
  kill(id: string): void {
    this.ears.delete(id);
    this.hanging.add(id);
    this.queue = this.queue.filter((other) => other.id !== id);
    for (const stream of [...this.gateway.streams]) if (this.holder?.id === id) stream.pause();
    if (this.holder?.id === id) this.holder = null;
    this.next();
  }

  private next(): void {
    if (this.holder !== null) return;
    const first = this.queue.shift();
    if (first === undefined) return;
    this.holder = first;
    first.granted();
  }
}

beforeEach(() => vi.useFakeTimers());
afterEach(() => vi.useRealTimers());

describe("tabs", () => {
  it("share one stream, and each hears all", () => {
    const browser = new Browser();
    browser.gateway.say("a");
    const tabs = ["1", "2", "3", "4"].map((id) => browser.tab(id));
    for (const tab of tabs) tab.shared.start();
    browser.gateway.say("b");
    browser.gateway.say("c");
    expect(browser.gateway.streams.size).toBe(1);
    expect(tabs.map((tab) => tab.shared.leads)).toEqual([true, false, false, false]);
    for (const tab of tabs) {
      expect(tab.log()).toEqual(["a", "b", "c"]);
      expect(tab.seen).toEqual(["snapshot", "status", "status"]);
      expect(tab.state()).toBe("live");
    }
  });

  it("go on without a hole or a repeat when the one that leads dies, again and again", () => {
    const browser = new Browser();
    const tabs = new Map(["1", "2", "3", "4"].map((id) => [id, browser.tab(id)]));
    for (const tab of tabs.values()) tab.shared.start();
    for (const id of ["1", "2", "3"]) {
      browser.gateway.say(`before ${id} dies`);
      browser.kill(id);
      tabs.delete(id);
      browser.gateway.say(`after ${id} died`);
      expect(browser.gateway.streams.size).toBe(1);
      for (const tab of tabs.values()) {
        expect(tab.log()).toEqual(browser.gateway.log);
        expect(tab.seen.filter((name) => name === "snapshot"), "it resumed").toHaveLength(1);
      }
    }
  });

  it("hear what was said between the death of one and the turn of the next", () => {
    const browser = new Browser();
    const [first, second, third] = [browser.tab("1"), browser.tab("2"), browser.tab("3")];
    for (const tab of [first, second, third]) tab.shared.start();
    browser.gateway.say("a");
    for (const stream of browser.gateway.streams) browser.gateway.streams.delete(stream);
    browser.gateway.say("nobody hears this");
    browser.kill("1");
    expect(second.log()).toEqual(["a", "nobody hears this"]);
    expect(third.log()).toEqual(["a", "nobody hears this"]);
  });

  it("one that missed a message asks for all, and has it", () => {
    const browser = new Browser();
    const [first, second] = [browser.tab("1"), browser.tab("2")];
    first.shared.start();
    second.shared.start();
    browser.gateway.say("a");
    browser.hanging.add("2");
    browser.gateway.say("b");
    browser.hanging.delete("2");
    expect(second.log()).toEqual(["a"]);
    vi.advanceTimersByTime(3_000);
    browser.gateway.say("c");
    expect(second.log()).toEqual(["a", "b", "c"]);
    expect(second.seen.filter((name) => name === "snapshot")).toHaveLength(2);
  });

  it("one that missed something before the leader died does not go on as if nothing was", () => {
    const browser = new Browser();
    const tabs = ["1", "2", "3"].map((id) => browser.tab(id));
    for (const tab of tabs) tab.shared.start();
    browser.gateway.say("a");
    browser.hanging.add("3");
    browser.gateway.say("b");
    browser.hanging.delete("3");
    browser.kill("1");
    browser.gateway.say("c");
    vi.advanceTimersByTime(4_000);
    for (const tab of tabs.slice(1)) expect(tab.log()).toEqual(["a", "b", "c"]);
  });

  it("take the place of a leader that hangs, which follows when it wakes", () => {
    const browser = new Browser();
    const [first, second] = [browser.tab("1"), browser.tab("2")];
    first.shared.start();
    second.shared.start();
    browser.gateway.say("a");
    browser.hanging.add("1");
    vi.advanceTimersByTime(STALE_MS + 2_000);
    expect(second.state()).toBe("stale");
    vi.advanceTimersByTime(DEAD_MS);
    expect(second.shared.leads).toBe(true);
    expect(first.shared.leads).toBe(false);
    browser.hanging.delete("1");
    browser.gateway.say("b");
    vi.advanceTimersByTime(4_000);
    expect(browser.gateway.streams.size).toBe(1);
    for (const tab of [first, second]) {
      expect(tab.log()).toEqual(["a", "b"]);
      expect(tab.state()).toBe("live");
    }
  });

  it("follow a leader whose gateway is away, without fighting for its place", () => {
    const browser = new Browser();
    const [first, second] = [browser.tab("1"), browser.tab("2")];
    first.shared.start();
    second.shared.start();
    for (const stream of browser.gateway.streams) stream.set("down");
    expect(second.state()).toBe("down");
    vi.advanceTimersByTime(600_000);
    expect(first.shared.leads).toBe(true);
    expect(second.state()).toBe("down");
    for (const stream of browser.gateway.streams) stream.set("live");
    expect(second.state()).toBe("live");
  });

  it("that nobody sees cost nothing, give the stream away, and come back where all is", () => {
    const browser = new Browser();
    const [first, second] = [browser.tab("1"), browser.tab("2")];
    first.shared.start();
    second.shared.start();
    browser.gateway.say("a");
    first.shared.rest();
    expect(second.shared.leads).toBe(true);
    second.shared.rest();
    expect(browser.gateway.streams.size).toBe(0);
    expect(vi.getTimerCount()).toBe(0);
    browser.gateway.say("b");
    const before = browser.said;
    vi.advanceTimersByTime(600_000);
    expect(browser.said).toBe(before);
    first.shared.start();
    second.shared.start();
    for (const tab of [first, second]) expect(tab.log()).toEqual(["a", "b"]);
    expect(browser.gateway.streams.size).toBe(1);
  });

  it("one keeps watch when it is asked to, though nobody sees any", () => {
    const browser = new Browser();
    const [first, second] = [browser.tab("1", () => true), browser.tab("2", () => true)];
    first.shared.start();
    second.shared.start();
    first.shared.rest();
    second.shared.rest();
    browser.gateway.say("a");
    expect(first.log()).toEqual(["a"]);
    browser.kill("1");
    browser.gateway.say("b");
    expect(second.shared.leads).toBe(true);
    // It was not listening; it went on after what it had seen.
    expect(second.log()).toEqual(["a", "b"]);
  });

  it("that come while the leader knows nothing yet begin with its first snapshot", () => {
    const browser = new Browser();
    const [first, second] = [browser.tab("1"), browser.tab("2")];
    vi.spyOn(FakeStream.prototype, "start").mockImplementationOnce(() => {});
    first.shared.start();
    second.shared.start();
    expect(second.log()).toBe(null);
    vi.restoreAllMocks();
    first.shared.leave();
    browser.gateway.say("a");
    expect(second.log()).toEqual(["a"]);
    expect(second.seen[0]).toBe("snapshot");
  });
});
