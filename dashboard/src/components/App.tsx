/** The page: the header with the state of the link and the ways to all places, and the place that is open. */
import type { ComponentChildren } from "preact";
import { useEffect, useRef } from "preact/hooks";
import { useTopic } from "../hooks";
import { scrollBack, useAddress } from "../navigation";
import { hrefOf, type Place, placeOf, PLACES } from "../place";
import { ROOT } from "../root";
import { metricText } from "../words";
import { AlertAnnouncer, AlertCount } from "./AlertNotices";
import { KioskLeave } from "./Kiosk";
import { Lazy } from "./Lazy";
import { LinkBanner, LinkStatus } from "./LinkStatus";
import { Overview } from "./Overview";
import { Upgrade } from "./Upgrade";

export function App() {
  const { link } = useTopic("link");
  const address = useAddress();
  const place = placeOf(address.href, ROOT);
  const kiosk = address.searchParams.get("kiosk") === "1";
  const key = place.name === "series" ? `series/${place.device}/${place.metric}` : place.name;
  return (
    <>
      <a class="skip" href="#content">
        Skip to the content
      </a>
      <header class="top">
        <Title place={place} />
        <LinkStatus />
        <AlertCount />
        {kiosk ? <KioskLeave /> : <Navigation place={place} />}
        <LinkBanner />
        <Upgrade />
      </header>
      <AlertAnnouncer />
      <main id="content" class={`seen-${link}`} tabIndex={-1}>
        <Arrival key={key}>{(arrived) => <Open place={place} onShown={arrived} />}</Arrival>
      </main>
    </>
  );
}

function Title({ place }: { place: Place }) {
  const store = useTopic("inventory");
  const gateway = store.site ?? "Sensor gateway";
  const here =
    place.name === "series"
      ? `${store.devices.get(place.device)?.name ?? place.device} ${metricText(place.metric)}`
      : PLACES.find(({ name }) => name === place.name)?.title;
  useEffect(() => {
    document.title = here === undefined ? gateway : `${here} · ${gateway}`;
  }, [here, gateway]);
  return <h1>{gateway}</h1>;
}

function Navigation({ place }: { place: Place }) {
  const current = place.name === "series" ? "overview" : place.name;
  return (
    <nav class="places" aria-label="Places">
      <ul>
        {PLACES.map(({ name, title }) => (
          <li key={name}>
            <a href={hrefOf(name, ROOT)} aria-current={name === current ? (name === place.name ? "page" : "true") : undefined}>
              {title}
            </a>
          </li>
        ))}
      </ul>
    </nav>
  );
}

/** Whether a place was open before this one. */
let opened = false;

/**
 * After a step to another place the focus stands on its heading, so that a keyboard goes on from there and a screen reader says
 * where it is; with the first place it stays where the browser has it.
 */
function Arrival({ children }: { children: (arrived: () => void) => ComponentChildren }) {
  const arrived = useRef(() => {
    if (opened) document.querySelector<HTMLElement>("main h2")?.focus({ preventScroll: true });
    scrollBack();
    opened = true;
  });
  return <>{children(arrived.current)}</>;
}

function Open({ place, onShown }: { place: Place; onShown: () => void }) {
  switch (place.name) {
    case "overview":
      return <Shown onShown={onShown} children={<Overview />} />;
    case "series":
      return <Lazy load={() => import("./charts").then((part) => part.SeriesPlace)} props={place} onShown={onShown} />;
    case "alerts":
      return <Lazy load={() => import("./places").then((part) => part.Alerts)} props={{}} onShown={onShown} />;
    case "rules":
      return <Lazy load={() => import("./places").then((part) => part.Rules)} props={{}} onShown={onShown} />;
    case "devices":
      return <Lazy load={() => import("./places").then((part) => part.DevicesPlace)} props={{}} onShown={onShown} />;
    case "status":
      return <Lazy load={() => import("./places").then((part) => part.StatusSection)} props={{}} onShown={onShown} />;
    case "nowhere":
      return <Shown onShown={onShown} children={<Nowhere />} />;
  }
}

function Shown({ onShown, children }: { onShown: () => void; children: ComponentChildren }) {
  useEffect(onShown, []);
  return <>{children}</>;
}

function Nowhere() {
  return (
    <section aria-labelledby="nowhere-title">
      <h2 id="nowhere-title" tabIndex={-1}>
        There is nothing here
      </h2>
      <p>
        The page has no place at this address. <a href={ROOT}>To the overview</a>
      </p>
    </section>
  );
}
