import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { type Connection, DEAD_MS, type LinkState, STALE_MS, Stream } from "../src/stream";

/** One connection as the stream sees it; the test plays the browser. */
class FakeConnection implements Connection {
  closed = false;
  private readonly listeners = new Map<string, (event: MessageEvent<string>) => void>();
  constructor(readonly url: URL) {}
  addEventListener(type: string, listener: (event: MessageEvent<string>) => void): void {
    this.listeners.set(type, listener);
  }
  close(): void {
    this.closed = true;
  }
  say(name: string, data: unknown, lastEventId = ""): void {
    const text = typeof data === "string" ? data : JSON.stringify(data);
    this.listeners.get(name)?.({ data: text, lastEventId } as MessageEvent<string>);
  }
  break(): void {
    this.listeners.get("error")?.({} as MessageEvent<string>);
  }
}

const snapshot = (epoch = "e1") => ({ epoch, now_ms: 0, version: "1", site: null, series: [], devices: [], alerts: [], ended: [], status: {} });

function setUp() {
  const connections: FakeConnection[] = [];
  const states: LinkState[] = [];
  const events: string[] = [];
  const stream = new Stream({
    url: "http://gateway.test/events",
    open: (url) => {
      const connection = new FakeConnection(new URL(url));
      connections.push(connection);
      return connection;
    },
    onEvent: (name) => events.push(name),
    onState: (state) => states.push(state),
    random: () => 0.999_999,
  });
  const last = () => {
    const connection = connections.at(-1);
    if (connection === undefined) throw new Error("no connection was opened");
    return connection;
  };
  return { stream, connections, states, events, last };
}

beforeEach(() => {
  vi.useFakeTimers();
});
afterEach(() => {
  vi.useRealTimers();
});

describe("the link", () => {
  it("is live with the first snapshot", () => {
    const { stream, states, events, last } = setUp();
    stream.start();
    expect(stream.state).toBe("connecting");
    last().say("snapshot", snapshot(), "e1-1");
    expect(states).toEqual(["live"]);
    expect(events).toEqual(["snapshot"]);
  });

  it("tries again by itself, later each time, after every failure", () => {
    const { stream, connections, states, last } = setUp();
    stream.start();
    const waits: number[] = [];
    for (let failure = 0; failure < 8; failure++) {
      const before = connections.length;
      last().break();
      expect(last().closed).toBe(true);
      let waited = 0;
      while (connections.length === before) {
        vi.advanceTimersByTime(100);
        waited += 100;
      }
      waits.push(waited);
    }
    expect(waits).toEqual([500, 1000, 2000, 4000, 8000, 15_000, 15_000, 15_000]);
    expect(states).toEqual(["down"]);
  });

  it("goes on after the last event that it saw", () => {
    const { stream, events, last } = setUp();
    stream.start();
    expect(last().url.searchParams.has("last_event_id")).toBe(false);
    last().say("snapshot", snapshot(), "e1-1");
    last().say("readings", { series: {} }, "e1-2");
    last().say("status", { key: "beat", value: { now_ms: 1 } }, "e1-2");
    last().break();
    vi.advanceTimersByTime(600);
    expect(last().url.searchParams.get("last_event_id")).toBe("e1-2");
    last().say("resume", { epoch: "e1", now_ms: 0, missed: 1 });
    last().say("readings", { series: {} }, "e1-3");
    expect(events).toEqual(["snapshot", "readings", "status", "resume", "readings"]);
    expect(stream.state).toBe("live");
  });

  it("asks for a snapshot when a resume is of another epoch", () => {
    const { stream, events, last } = setUp();
    stream.start();
    last().say("snapshot", snapshot("e1"), "e1-1");
    last().break();
    vi.advanceTimersByTime(600);
    last().say("resume", { epoch: "e2", now_ms: 0, missed: 0 });
    expect(stream.state).toBe("down");
    vi.advanceTimersByTime(2_000);
    expect(last().url.searchParams.has("last_event_id")).toBe(false);
    last().say("snapshot", snapshot("e2"), "e2-1");
    expect(events).toEqual(["snapshot", "snapshot"]);
  });

  it("hands nothing on that comes before a snapshot or a resume", () => {
    const { stream, events, last } = setUp();
    stream.start();
    last().say("readings", { series: {} }, "e1-9");
    expect(events).toEqual([]);
    expect(last().closed).toBe(true);
  });

  it("asks for a snapshot after an event that is no JSON", () => {
    const { stream, last } = setUp();
    stream.start();
    last().say("snapshot", snapshot(), "e1-1");
    last().say("readings", "{", "e1-2");
    vi.advanceTimersByTime(600);
    expect(last().url.searchParams.has("last_event_id")).toBe(false);
  });

  it("is stale after silence, and live again with the next beat", () => {
    const { stream, states, connections, last } = setUp();
    stream.start();
    last().say("snapshot", snapshot(), "e1-1");
    vi.advanceTimersByTime(STALE_MS + 2_000);
    expect(stream.state).toBe("stale");
    last().say("status", { key: "beat", value: { now_ms: 1 } });
    expect(states).toEqual(["live", "stale", "live"]);
    expect(connections).toHaveLength(1);
  });

  it("replaces a connection that is silent for too long", () => {
    const { stream, states, connections, last } = setUp();
    stream.start();
    last().say("snapshot", snapshot(), "e1-1");
    const first = last();
    vi.advanceTimersByTime(DEAD_MS + 2_000);
    expect(first.closed).toBe(true);
    expect(connections).toHaveLength(2);
    expect(states).toEqual(["live", "stale", "down"]);
  });

  it("gives a connection up that never says its first word", () => {
    const { stream, connections } = setUp();
    stream.start();
    vi.advanceTimersByTime(DEAD_MS + 2_000);
    expect(connections).toHaveLength(2);
  });

  it("comes back when a stopping gateway says so", () => {
    const { stream, connections, last } = setUp();
    stream.start();
    last().say("snapshot", snapshot(), "e1-1");
    last().say("bye", { retry_ms: 3_000 });
    expect(stream.state).toBe("down");
    vi.advanceTimersByTime(2_900);
    expect(connections).toHaveLength(1);
    vi.advanceTimersByTime(200);
    expect(connections).toHaveLength(2);
    expect(last().url.searchParams.get("last_event_id")).toBe("e1-1");
  });

  it("starts with a quick retry again once it was live for a while", () => {
    const { stream, connections, last } = setUp();
    stream.start();
    for (let failure = 0; failure < 5; failure++) {
      last().break();
      vi.advanceTimersByTime(15_000);
    }
    last().say("snapshot", snapshot(), "e1-1");
    vi.advanceTimersByTime(11_000);
    const before = connections.length;
    last().break();
    vi.advanceTimersByTime(600);
    expect(connections).toHaveLength(before + 1);
  });

  it("rests while it is paused and goes on where it was", () => {
    const { stream, connections, events, last } = setUp();
    stream.start();
    const first = last();
    first.say("snapshot", snapshot(), "e1-4");
    stream.pause();
    expect(first.closed).toBe(true);
    first.say("readings", { series: {} }, "e1-5");
    first.break();
    vi.advanceTimersByTime(600_000);
    expect(connections).toHaveLength(1);
    expect(events).toEqual(["snapshot"]);
    expect(vi.getTimerCount()).toBe(0);
    stream.start();
    stream.start();
    expect(connections).toHaveLength(2);
    expect(last().url.searchParams.get("last_event_id")).toBe("e1-4");
  });

  it("tries at once when the network is said to be back", () => {
    const { stream, connections, last } = setUp();
    stream.start();
    for (let failure = 0; failure < 5; failure++) {
      last().break();
      vi.advanceTimersByTime(15_000);
    }
    last().break();
    const before = connections.length;
    stream.hurry();
    expect(connections).toHaveLength(before + 1);
    stream.hurry();
    expect(connections).toHaveLength(before + 1);
  });

  it("asks for every event that it knows and no others", () => {
    const { stream, last } = setUp();
    stream.start();
    expect(last().url.searchParams.get("types")).toBe("snapshot,resume,readings,alert,silence,rule,device,status,gap,bye");
  });
});
