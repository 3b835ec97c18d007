/** The page: the header with the state of the link, the alerts, the devices with their series, the sources. */
import { useState } from "preact/hooks";
import { useTopic } from "../hooks";
import { LIVE, type Range } from "../ranges";
import { AlertAnnouncer, AlertCount, Alerts } from "./Alerts";
import { DeviceSection } from "./DeviceSection";
import { LinkBanner, LinkStatus } from "./LinkStatus";
import { RangeButtons } from "./RangeButtons";
import { Rules } from "./Rules";
import { StatusSection } from "./StatusSection";

export function App() {
  const { link } = useTopic("link");
  const [range, setRange] = useState<Range>(LIVE);
  return (
    <>
      <a class="skip" href="#devices">
        Skip to the devices
      </a>
      <header class="top">
        <Title />
        <LinkStatus />
        <AlertCount />
        <RangeButtons of="all charts" value={range} onPick={setRange} />
        <LinkBanner />
      </header>
      <AlertAnnouncer />
      <main class={`seen-${link}`}>
        <Alerts />
        <Devices range={range} />
        <Rules />
        <StatusSection />
      </main>
    </>
  );
}

function Title() {
  const { site } = useTopic("inventory");
  return <h1>{site ?? "Sensor gateway"}</h1>;
}

function Devices({ range }: { range: Range }) {
  const store = useTopic("inventory");
  const groups = store.groups();
  return (
    <section id="devices" aria-labelledby="devices-title" tabIndex={-1}>
      <h2 id="devices-title">
        Devices <span class="quiet">{groups.length > 0 && `${groups.length} with ${store.series.size} series`}</span>
      </h2>
      {groups.length === 0 && (
        <p class="quiet">
          {store.version === ""
            ? "Waiting for the gateway's first word."
            : "No device is known yet. It appears here with its first reading."}
        </p>
      )}
      <div class="devices">
        {groups.map((group) => (
          <DeviceSection key={group.device.id} group={group} range={range} />
        ))}
      </div>
    </section>
  );
}
