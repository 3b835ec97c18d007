/** Puts the page together: the store, the link, what the browser says about the tab, and the components. */
import { render } from "preact";
import "./style.css";
import { App } from "./components/App";
import { Gate } from "./components/Login";
import { StoreContext } from "./hooks";
import { keep, kept } from "./keepsake";
import { watchLinks } from "./navigation";
import { ROOT } from "./root";
import { askWho, currentSession, onSession } from "./session";
import { SharedStream } from "./share";
import { Store } from "./store";
import { Stream, type StreamOptions } from "./stream";
import { tabTools } from "./tabs";
import { isOnWatch, role } from "./watch";

/** A tab that nobody sees gives its connection up after this; it comes back where it left. */
const HIDDEN_MS = 10_000;
/** The last known state is kept this often, in milliseconds, and when the page is put away. */
const KEEP_MS = 60_000;
const SOON_MS = 2_000;
/** While there is no contact, it is asked so often whether a login is wanted. */
const ASK_AGAIN_MS = 15_000;

const store = new Store();
let asking: ReturnType<typeof setInterval> | undefined;
const ways = {
  onEvent: (name, data) => store.apply(name, data),
  onState: (state) => {
    store.setLink(state);
    // Soon after the first word, as a page that is put away may have no time left.
    if (state === "live") setTimeout(remember, SOON_MS);
    if (state === "down" && !store.isKnown) void recall();
    clearInterval(asking);
    if (state === "live" || state === "connecting") return;
    // The gateway may have ended the session: then it says so to who asks.
    void askWho();
    asking = setInterval(() => void askWho(), ASK_AGAIN_MS);
  },
} satisfies Pick<StreamOptions, "onEvent" | "onState">;
const stream = (handlers: Pick<StreamOptions, "onEvent" | "onState">) =>
  new Stream({ url: new URL("events", ROOT).href, open: (url) => new EventSource(url), ...handlers });

interface Link {
  /** Whether this tab has the stream. */
  readonly leads: boolean;
  start(): void;
  /** Nobody sees the tab. */
  rest(): void;
  /** The document is put away. */
  leave(): void;
  hurry(): void;
}

function alone(): Link {
  const own = stream(ways);
  return {
    leads: true,
    start: () => own.start(),
    rest: () => {
      if (!isOnWatch()) own.pause();
    },
    leave: () => own.pause(),
    hurry: () => own.hurry(),
  };
}

function together(tools: NonNullable<ReturnType<typeof tabTools>>): Link {
  let own: Stream | null = null;
  return new SharedStream({
    ...tools,
    ...ways,
    stream: (onEvent, onState) => (own = stream({ onEvent, onState })),
    known: () => store.snapshot(own?.position.epoch ?? null),
    onWatch: isOnWatch,
  });
}

const tools = tabTools(ROOT);
const link = tools === null ? alone() : together(tools);
role.leads = () => link.leads;

/** What was known at the last visit, while the gateway is away. */
async function recall(): Promise<void> {
  const then = await kept(ROOT);
  if (then !== null) store.recall(then);
}

function remember(): void {
  const mayKeep = link.leads && store.link === "live" && currentSession().state === "in";
  const known = mayKeep ? store.snapshot("kept") : null;
  if (known !== null) void keep(ROOT, known);
}
setInterval(() => {
  if (!document.hidden) remember();
}, KEEP_MS);

let hiding: ReturnType<typeof setTimeout> | undefined;
document.addEventListener("visibilitychange", () => {
  clearTimeout(hiding);
  if (document.hidden) remember();
  if (document.hidden) hiding = setTimeout(() => link.rest(), HIDDEN_MS);
  else link.start();
});
addEventListener("online", () => link.hurry());
// A page in the back-forward cache may hold no connection.
addEventListener("pagehide", () => {
  remember();
  link.leave();
});
addEventListener("pageshow", () => {
  if (!document.hidden) link.start();
});

watchLinks();
if (import.meta.env.PROD && "serviceWorker" in navigator) {
  // Without one the page works all the same, but not while the gateway is away.
  navigator.serviceWorker.register(new URL("sw.js", ROOT), { scope: ROOT }).catch(() => {});
}
const root = document.getElementById("app");
if (root !== null) {
  render(
    <StoreContext.Provider value={store}>
      <Gate>
        <App />
      </Gate>
    </StoreContext.Provider>,
    root,
  );
}
onSession(() => {
  if (currentSession().state === "out") link.leave();
  else if (!document.hidden || isOnWatch()) link.start();
});
void askWho();
// A page that is opened in the background waits until somebody looks.
if (!document.hidden || isOnWatch()) link.start();
