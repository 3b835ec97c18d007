/** Series that a person marked, remembered in this browser. At most 200: the one marked first gives way. */

const KEY = "favourites";
/** How many are kept. */
export const MOST_FAVOURITES = 200;

const listeners = new Set<() => void>();
let favourites: Set<string> | null = null;

function read(): Set<string> {
  try {
    const kept: unknown = JSON.parse(localStorage.getItem(KEY) ?? "[]");
    const ids = Array.isArray(kept) ? kept.filter((id): id is string => typeof id === "string") : [];
    return new Set(ids.slice(-MOST_FAVOURITES));
  } catch {
    // Nothing usable is there, or the browser forbids it.
    return new Set();
  }
}

export function isFavourite(series: string): boolean {
  return (favourites ??= read()).has(series);
}

/** Adds `series` to the marked ones or takes it away; the oldest go when there are too many. Pure. */
export function toggled(marked: ReadonlySet<string>, series: string): Set<string> {
  const next = new Set(marked);
  if (!next.delete(series)) next.add(series);
  return new Set([...next].slice(-MOST_FAVOURITES));
}

export function toggleFavourite(series: string): void {
  favourites = toggled(read(), series);
  try {
    localStorage.setItem(KEY, JSON.stringify([...favourites]));
  } catch {
    // Then they hold until the page is closed.
  }
  listeners.forEach((listener) => listener());
}

/** Calls `listener` when one is marked or no more so, in another tab too. */
export function onFavourites(listener: () => void): () => void {
  const elsewhere = (event: StorageEvent) => {
    if (event.key !== KEY) return;
    favourites = null;
    listener();
  };
  listeners.add(listener);
  addEventListener("storage", elsewhere);
  return () => {
    listeners.delete(listener);
    removeEventListener("storage", elsewhere);
  };
}
