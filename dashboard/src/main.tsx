/** Puts the page together: the store, the link, what the browser says about the tab, and the components. */
import { render } from "preact";
import "./style.css";
import { App } from "./components/App";
import { StoreContext } from "./hooks";
import { watchLinks } from "./navigation";
import { ROOT } from "./root";
import { SharedStream } from "./share";
import { Store } from "./store";
import { Stream, type StreamOptions } from "./stream";
import { tabTools } from "./tabs";
import { isOnWatch } from "./watch";

/** A tab that nobody sees gives its connection up after this; it comes back where it left. */
const HIDDEN_MS = 10_000;

const store = new Store();
const ways = {
  onEvent: (name, data) => store.apply(name, data),
  onState: (state) => store.setLink(state),
} satisfies Pick<StreamOptions, "onEvent" | "onState">;
const stream = (handlers: Pick<StreamOptions, "onEvent" | "onState">) =>
  new Stream({ url: new URL("events", ROOT).href, open: (url) => new EventSource(url), ...handlers });

interface Link {
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

let hiding: ReturnType<typeof setTimeout> | undefined;
document.addEventListener("visibilitychange", () => {
  clearTimeout(hiding);
  if (document.hidden) hiding = setTimeout(() => link.rest(), HIDDEN_MS);
  else link.start();
});
addEventListener("online", () => link.hurry());
// A page in the back-forward cache may hold no connection.
addEventListener("pagehide", () => link.leave());
addEventListener("pageshow", () => {
  if (!document.hidden) link.start();
});

watchLinks();
const root = document.getElementById("app");
if (root !== null) {
  render(
    <StoreContext.Provider value={store}>
      <App />
    </StoreContext.Provider>,
    root,
  );
}
// A page that is opened in the background waits until somebody looks.
if (!document.hidden || isOnWatch()) link.start();
