/** What the browser has for tabs that share one stream: a channel between them, and a lock that one of them holds. */
import type { Bus, Message, ShareOptions } from "./share";

/** Tabs of another version of the page may speak otherwise: they don't meet. */
const PROTOCOL = 1;

/** The tools for pages below `root`; null where the browser lacks one, as over plain HTTP beyond loopback. */
export function tabTools(root: string): Pick<ShareOptions, "id" | "openBus" | "claim"> | null {
  const locks = (navigator as { locks?: LockManager }).locks;
  if (locks === undefined || typeof BroadcastChannel === "undefined") return null;
  const name = `sensor-gateway/${PROTOCOL}/${new URL(root).pathname}`;
  return {
    id: crypto.randomUUID(),
    openBus(onMessage): Bus {
      const channel = new BroadcastChannel(name);
      channel.onmessage = (event: MessageEvent<Message>) => onMessage(event.data);
      return { post: (message) => channel.postMessage(message), close: () => channel.close() };
    },
    claim(steal, granted, lost) {
      const aborter = new AbortController();
      let release = () => {};
      const held = () =>
        new Promise<void>((done) => {
          release = done;
          if (aborter.signal.aborted) done();
          else granted();
        });
      // The browser takes no signal with a theft, which does not wait anyway.
      const over = steal ? locks.request(name, { steal }, held) : locks.request(name, { signal: aborter.signal }, held);
      over.catch(lost);
      return () => {
        aborter.abort();
        release();
      };
    },
  };
}
