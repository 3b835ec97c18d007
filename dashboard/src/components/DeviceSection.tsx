/** One device: its name, where it is and whether it is there, and a tile for each of its series. */
import type { Range } from "../ranges";
import { durationText } from "../format";
import type { DeviceGroup } from "../store";
import { Icon } from "./Icon";
import { Tile } from "./Tile";

interface DeviceSectionProps {
  group: DeviceGroup;
  range: Range;
  isFavourite: (series: string) => boolean;
}

export function DeviceSection({ group: { device, series }, range, isFavourite }: DeviceSectionProps) {
  const title = `device/${device.id}`;
  const labels = Object.entries(device.labels);
  return (
    <section class="device" aria-labelledby={title} style={{ "--tiles": Math.max(1, series.length) }}>
      <div class="device-head">
        <h4 id={title}>{device.name}</h4>
        <span class="quiet">
          {[device.source && `via ${device.source}`, ...labels.map(([name, value]) => `${name}: ${value}`)]
            .filter(Boolean)
            .join(" · ")}
        </span>
        {device.online === false && (
          <span class="chip chip-offline">
            <Icon name="down" />
            Offline
          </span>
        )}
        {device.clock_ahead_ms != null && (
          <span class="quiet">
            its clock is {durationText(Math.abs(device.clock_ahead_ms))} {device.clock_ahead_ms > 0 ? "ahead" : "behind"}
          </span>
        )}
      </div>
      {series.map((one) => (
        <Tile
          key={one.id}
          series={one}
          deviceName={device.name}
          range={range}
          favourite={isFavourite(one.id)}
          level={5}
          apart={false}
        />
      ))}
      {series.length === 0 && <p class="quiet">No reading yet.</p>}
    </section>
  );
}
