/**
 * The places of the page and their addresses. Pure.
 *
 * What a place shows beside its name (a range, a search) stands in the query, so that an address can be shared.
 */
import type { Series } from "./wire";

export type Place =
  | { name: "overview" | "alerts" | "rules" | "devices" | "status" }
  | { name: "series"; device: string; metric: string }
  | { name: "nowhere" };

/** The places in the order of the navigation. */
export const PLACES = [
  { name: "overview", title: "Overview" },
  { name: "alerts", title: "Alerts" },
  { name: "rules", title: "Rules" },
  { name: "devices", title: "Devices" },
  { name: "status", title: "Status" },
] as const;

export type PlaceName = (typeof PLACES)[number]["name"];

/** The place at an address below `root`, which ends with a slash. */
export function placeOf(href: string, root: string): Place {
  const url = new URL(href);
  const base = new URL(root).pathname;
  if (!url.pathname.startsWith(base)) return { name: "nowhere" };
  const [first = "", ...rest] = url.pathname
    .slice(base.length)
    .replace(/\/+$/, "")
    .split("/")
    .map(decoded);
  // Webhooks have told people this address since before there were places.
  if (first === "" || first === "index.html") return { name: url.hash === "#alerts" ? "alerts" : "overview" };
  if (first === "series" && rest.length === 2) return { name: "series", device: rest[0] ?? "", metric: rest[1] ?? "" };
  const known = PLACES.find(({ name }) => name === first && name !== "overview" && rest.length === 0);
  return { name: known?.name ?? "nowhere" };
}

/** The address of a place. */
export function hrefOf(name: PlaceName, root: string): string {
  return name === "overview" ? root : root + name;
}

/** The address of a series' place. */
export function seriesHref(series: Pick<Series, "device" | "metric">, root: string): string {
  return `${root}series/${encodeURIComponent(series.device)}/${encodeURIComponent(series.metric)}`;
}

function decoded(part: string): string {
  try {
    return decodeURIComponent(part);
  } catch {
    return part;
  }
}
