/**
 * Going from place to place without loading the page anew: ordinary links, the browser's own back and forward, and what a
 * place keeps in the query of its address.
 */
import { useEffect, useReducer } from "preact/hooks";
import { placeOf } from "./place";
import { ROOT } from "./root";

const listeners = new Set<() => void>();
const tell = () => listeners.forEach((listener) => listener());

/** Shows another address; `replace` leaves no step to go back to. */
export function go(href: string, replace = false): void {
  if (href === location.href) return;
  if (replace) {
    history.replaceState(history.state, "", href);
  } else {
    // For who comes back: by then the browser has nothing yet to scroll.
    history.replaceState({ scrolled: scrollY }, "");
    history.pushState(null, "", href);
  }
  tell();
}

/**
 * Scrolls to where a place was left that is come back to; a new one is shown from its top. What is to be shown may take some
 * frames to be as high as it was.
 */
export function scrollBack(frames = 30): void {
  const wanted = (history.state as { scrolled?: number } | null)?.scrolled ?? 0;
  const before = scrollY;
  scrollTo(0, wanted);
  if (Math.abs(scrollY - wanted) < 1 || frames === 0) return;
  const reached = scrollY;
  requestAnimationFrame(() => {
    // Who scrolls meanwhile is not held back.
    if (scrollY === reached || scrollY === before) scrollBack(frames - 1);
  });
}

/** The address, kept up to date. */
export function useAddress(): URL {
  const [, redraw] = useReducer<number, void>((count) => count + 1, 0);
  useEffect(() => {
    listeners.add(redraw);
    return () => void listeners.delete(redraw);
  }, []);
  return new URL(location.href);
}

/** Changes parts of the query of the address; what is null is left out. */
export function setQuery(changes: Record<string, string | null>, replace = true): void {
  const url = new URL(location.href);
  for (const [name, value] of Object.entries(changes)) {
    if (value === null) url.searchParams.delete(name);
    else url.searchParams.set(name, value);
  }
  go(url.href, replace);
}

/** Takes clicks on links to places of the page, and the browser's back and forward. Called once. */
export function watchLinks(): void {
  history.scrollRestoration = "manual";
  addEventListener("popstate", tell);
  // A reload keeps the entry, and with it what it holds.
  addEventListener("pagehide", () => history.replaceState({ scrolled: scrollY }, ""));
  document.addEventListener("click", (event) => {
    if (event.defaultPrevented || event.button !== 0 || event.metaKey || event.ctrlKey || event.shiftKey || event.altKey) return;
    const link = event.target instanceof Element ? event.target.closest("a") : null;
    if (link === null || link.target !== "" || link.hasAttribute("download") || link.origin !== location.origin) return;
    const withinPage = link.hash !== "" && link.pathname === location.pathname && link.search === location.search;
    if (withinPage || placeOf(link.href, ROOT).name === "nowhere") return;
    event.preventDefault();
    go(link.href);
  });
}
