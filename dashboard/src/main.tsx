/** Puts the page together: the store, the link, what the browser says about the tab, and the components. */
import { render } from "preact";
import "./style.css";
import { App } from "./components/App";
import { StoreContext } from "./hooks";
import { watchLinks } from "./navigation";
import { ROOT } from "./root";
import { Store } from "./store";
import { Stream } from "./stream";

/** A tab that nobody sees gives its connection up after this; it comes back where it left. */
const HIDDEN_MS = 10_000;

const store = new Store();
const stream = new Stream({
  url: new URL("events", ROOT).href,
  open: (url) => new EventSource(url),
  onEvent: (name, data) => store.apply(name, data),
  onState: (state) => store.setLink(state),
});

let hiding: ReturnType<typeof setTimeout> | undefined;
document.addEventListener("visibilitychange", () => {
  clearTimeout(hiding);
  if (document.hidden) hiding = setTimeout(() => stream.pause(), HIDDEN_MS);
  else stream.start();
});
addEventListener("online", () => stream.hurry());
// A page in the back-forward cache may hold no connection.
addEventListener("pagehide", () => stream.pause());
addEventListener("pageshow", () => {
  if (!document.hidden) stream.start();
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
stream.start();
