/** All devices with their series. */
import { useState } from "preact/hooks";
import { useTopic } from "../hooks";
import { LIVE, type Range } from "../ranges";
import { DeviceSection } from "./DeviceSection";
import { RangeButtons } from "./RangeButtons";

export function Overview() {
  const store = useTopic("inventory");
  const [range, setRange] = useState<Range>(LIVE);
  const groups = store.groups();
  return (
    <section aria-labelledby="overview-title">
      <div class="place-head">
        <h2 id="overview-title" tabIndex={-1}>
          Overview <span class="quiet">{groups.length > 0 && `${groups.length} devices with ${store.series.size} series`}</span>
        </h2>
        <RangeButtons of="all charts" value={range} onPick={setRange} />
      </div>
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
