/** All series by site and device; or those that a person looks for, in an order of their choice. What is looked for stands in the address. */
import { useEffect, useReducer } from "preact/hooks";
import { isFavourite, onFavourites } from "../favourites";
import { useSecond, useTopic } from "../hooks";
import { setQuery, useAddress } from "../navigation";
import { filtered, isNarrowed, type Order, ordered, type StateFilter, wantedOf } from "../overview";
import { LIVE, RANGES } from "../ranges";
import type { DeviceGroup } from "../store";
import { DeviceSection } from "./DeviceSection";
import { KioskButton } from "./Kiosk";
import { RangeButtons } from "./RangeButtons";
import { Tile } from "./Tile";

const STATE_WORDS: Record<StateFilter, string> = {
  all: "Any state",
  alert: "With an alert",
  silent: "Silent",
  doubtful: "Uncertain or bad",
  good: "All well",
};

const ORDER_WORDS: Record<Order, string> = {
  place: "By site and device",
  alert: "Alerts first",
  oldest: "Oldest reading first",
  newest: "Newest reading first",
};

export function Overview() {
  const store = useTopic("inventory");
  const query = useAddress().searchParams;
  const wanted = wantedOf(query);
  const moves = wanted.state !== "all" || wanted.order !== "place";
  useTopic(moves ? "alerts" : null);
  useSecond(moves);
  const [, redraw] = useReducer<number, void>((count) => count + 1, 0);
  useEffect(() => onFavourites(redraw), []);

  const range = RANGES.find(({ short }) => short === query.get("range")) ?? LIVE;
  const all = store.groups();
  const facts = { now: store.heardUntil(), alertOn: (id: string) => store.alertOn(id), isFavourite };
  const groups = filtered(all, wanted, facts);
  const shown = groups.reduce((sum, { series }) => sum + series.length, 0);
  const sites = [...new Set(all.map(({ device }) => device.site ?? ""))];
  return (
    <section aria-labelledby="overview-title">
      <div class="place-head">
        <h2 id="overview-title" tabIndex={-1}>
          Overview{" "}
          <span class="quiet">
            {all.length > 0 &&
              (isNarrowed(wanted) ? `${shown} of ${store.series.size} series` : `${all.length} devices with ${store.series.size} series`)}
          </span>
        </h2>
        <RangeButtons of="all charts" value={range} onPick={({ short }) => setQuery({ range: short === LIVE.short ? null : short })} />
      </div>
      <form class="filters" role="search" onSubmit={(event) => event.preventDefault()}>
        <input
          type="search"
          aria-label="Search devices and metrics"
          placeholder="Search"
          value={wanted.search}
          onInput={(event) => setQuery({ search: event.currentTarget.value || null })}
        />
        <Choice name="State" value={wanted.state} words={STATE_WORDS} onPick={(state) => setQuery({ state: state === "all" ? null : state })} />
        {sites.length > 1 && (
          <select
            aria-label="Site"
            value={wanted.site === null ? "*" : wanted.site}
            onChange={({ currentTarget: { value } }) => setQuery({ site: value === "*" ? null : value })}
          >
            <option value="*">All sites</option>
            {sites.map((site) => (
              <option key={site} value={site}>
                {site === "" ? "No site" : site}
              </option>
            ))}
          </select>
        )}
        <Choice name="Order" value={wanted.order} words={ORDER_WORDS} onPick={(order) => setQuery({ order: order === "place" ? null : order })} />
        <button type="button" aria-pressed={wanted.favourites} onClick={() => setQuery({ favourites: wanted.favourites ? null : "1" })}>
          Favourites
        </button>
        <KioskButton />
      </form>
      {all.length === 0 && (
        <p class="quiet">
          {store.version === ""
            ? "Waiting for the gateway's first word."
            : "No device is known yet. It appears here with its first reading."}
        </p>
      )}
      {all.length > 0 && groups.length === 0 && (
        <p class="quiet">
          {wanted.favourites ? "No series that is looked for is marked as a favourite." : "No series is as it is looked for."}
        </p>
      )}
      {wanted.order === "place" ? (
        bySite(groups).map(([site, members]) => (
          <section key={site} class="site" aria-label={site === "" ? "No site" : site}>
            <h3 class={sites.length === 1 && site === "" ? "unseen" : undefined}>{site === "" ? "No site" : site}</h3>
            <div class="devices">
              {members.map((group) => (
                <DeviceSection key={group.device.id} group={group} range={range} isFavourite={isFavourite} />
              ))}
            </div>
          </section>
        ))
      ) : (
        <section class="site" aria-label={ORDER_WORDS[wanted.order]}>
          <h3>{ORDER_WORDS[wanted.order]}</h3>
          <div class="devices">
            {ordered(groups, wanted.order, facts).map(({ series, device }) => (
              <Tile
                key={series.id}
                series={series}
                deviceName={device.name}
                range={range}
                favourite={isFavourite(series.id)}
                level={4}
                apart
              />
            ))}
          </div>
        </section>
      )}
    </section>
  );
}

interface ChoiceProps<T extends string> {
  name: string;
  value: T;
  words: Record<T, string>;
  onPick: (value: T) => void;
}

function Choice<T extends string>({ name, value, words, onPick }: ChoiceProps<T>) {
  return (
    <select aria-label={name} value={value} onChange={(event) => onPick(event.currentTarget.value as T)}>
      {(Object.entries(words) as [T, string][]).map(([one, word]) => (
        <option key={one} value={one}>
          {word}
        </option>
      ))}
    </select>
  );
}

function bySite(groups: readonly DeviceGroup[]): [string, DeviceGroup[]][] {
  const sites = new Map<string, DeviceGroup[]>();
  for (const group of groups) {
    const site = group.device.site ?? "";
    const members = sites.get(site);
    if (members === undefined) sites.set(site, [group]);
    else members.push(group);
  }
  return [...sites];
}
