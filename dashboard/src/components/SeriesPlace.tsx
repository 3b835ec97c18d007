/** One series, with a large chart. */
import { useState } from "preact/hooks";
import { useTopic } from "../hooks";
import { LIVE, type Range } from "../ranges";
import { inSentence, metricText } from "../words";
import { Chart } from "./Chart";
import { PointsTable } from "./PointsTable";
import { RangeButtons } from "./RangeButtons";

export function SeriesPlace({ device, metric }: { device: string; metric: string }) {
  const store = useTopic("inventory");
  const [range, setRange] = useState<Range>(LIVE);
  const series = store.series.get(`${device}/${metric}`);
  const deviceName = store.devices.get(device)?.name ?? device;
  const name = `${deviceName} ${inSentence(metric)}`;
  return (
    <section aria-labelledby="series-title">
      <div class="place-head">
        <h2 id="series-title" tabIndex={-1}>
          {deviceName} <span class="quiet">{metricText(metric)}</span>
        </h2>
        <RangeButtons of={name} value={range} onPick={setRange} />
      </div>
      {series === undefined ? (
        <p class="quiet">{store.version === "" ? "Waiting for the gateway's first word." : "The gateway knows no such series."}</p>
      ) : (
        <>
          <Chart key={range.short} series={series} name={name} range={range} large active />
          <PointsTable series={series} name={name} range={range} />
        </>
      )}
    </section>
  );
}
