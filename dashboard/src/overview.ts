/** Which series the overview shows, and in which order. Pure. */
import type { SeriesState } from "./series";
import type { DeviceGroup } from "./store";
import type { Alert, Device } from "./wire";

/** What can be asked of a series' state. */
export const STATES = ["all", "alert", "silent", "doubtful", "good"] as const;
export type StateFilter = (typeof STATES)[number];

/** `place`: by site, device and metric; `alert`: what fires first; `oldest`: the oldest reading first. */
export const ORDERS = ["place", "alert", "oldest", "newest"] as const;
export type Order = (typeof ORDERS)[number];

export interface Wanted {
  search: string;
  state: StateFilter;
  /** `null`: all of them; empty: those without. */
  site: string | null;
  favourites: boolean;
  order: Order;
}

export interface Row {
  series: SeriesState;
  device: Device;
}

interface Facts {
  /** The gateway's time when it was last heard. */
  now: number;
  alertOn: (series: string) => Alert | null;
  isFavourite: (series: string) => boolean;
}

/** What the query of an address asks for; what it does not say, or says wrongly, is the default. */
export function wantedOf(query: URLSearchParams): Wanted {
  return {
    search: query.get("search") ?? "",
    state: STATES.find((state) => state === query.get("state")) ?? "all",
    site: query.get("site"),
    favourites: query.get("favourites") === "1",
    order: ORDERS.find((order) => order === query.get("order")) ?? "place",
  };
}

/** Whether anything is asked for that not every series has. */
export function isNarrowed(wanted: Wanted): boolean {
  return wanted.search.trim() !== "" || wanted.state !== "all" || wanted.site !== null || wanted.favourites;
}

/** The groups with those of their series that are wanted; a device without a series only when all are. */
export function filtered(groups: readonly DeviceGroup[], wanted: Wanted, facts: Facts): DeviceGroup[] {
  if (!isNarrowed(wanted)) return [...groups];
  const words = wanted.search.toLowerCase().split(/\s+/).filter(Boolean);
  return groups
    .filter(({ device }) => wanted.site === null || (device.site ?? "") === wanted.site)
    .map(({ device, series }) => {
      const place = [device.id, device.name, device.site ?? "", ...Object.values(device.labels)].join(" ").toLowerCase();
      return {
        device,
        series: series.filter((one) => {
          const text = `${place} ${one.metric} ${one.metric.replace(/_/g, " ")}`.toLowerCase();
          return words.every((word) => text.includes(word)) && isIn(one, wanted, facts);
        }),
      };
    })
    .filter(({ series }) => series.length > 0);
}

function isIn(series: SeriesState, { state, favourites }: Wanted, facts: Facts): boolean {
  if (favourites && !facts.isFavourite(series.id)) return false;
  const freshness = series.freshness(facts.now);
  switch (state) {
    case "all":
      return true;
    case "alert":
      return facts.alertOn(series.id) !== null;
    case "silent":
      return freshness !== "fresh";
    case "doubtful":
      return series.quality !== "good";
    case "good":
      return freshness === "fresh" && series.quality === "good" && facts.alertOn(series.id) === null;
  }
}

/** All series of the groups in one row, in another order than by place. */
export function ordered(groups: readonly DeviceGroup[], order: Order, facts: Facts): Row[] {
  const rows = groups.flatMap(({ device, series }) => series.map((one) => ({ series: one, device })));
  const time = ({ series }: Row) => series.time ?? -Infinity;
  switch (order) {
    case "place":
      return rows;
    case "alert": {
      const rank = new Map(rows.map((row) => [row, urgency(facts.alertOn(row.series.id))]));
      return rows.sort((a, b) => (rank.get(a) ?? 9) - (rank.get(b) ?? 9));
    }
    case "oldest":
      return rows.sort((a, b) => time(a) - time(b) || 0);
    case "newest":
      return rows.sort((a, b) => time(b) - time(a) || 0);
  }
}

function urgency(alert: Alert | null): number {
  if (alert === null) return 9;
  return { critical: 0, warning: 1, info: 2 }[alert.severity] + (alert.state === "firing" ? 0 : 3);
}
