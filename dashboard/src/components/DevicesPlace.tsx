/** The inventory: every device with where it is, how it is heard, and its series. */
import { ageText, durationText, fullTimeText, isoTime } from "../format";
import { useSecond, useTopic } from "../hooks";
import { seriesHref } from "../place";
import { ROOT } from "../root";
import { metricText } from "../words";
import { Icon } from "./Icon";

export function DevicesPlace() {
  const store = useTopic("inventory");
  useSecond();
  const groups = store.groups();
  const now = store.now();
  return (
    <section aria-labelledby="devices-title">
      <h2 id="devices-title" tabIndex={-1}>
        Devices <span class="quiet">{groups.length > 0 && groups.length}</span>
      </h2>
      {groups.length === 0 ? (
        <p class="quiet">{store.version === "" ? "Not known yet." : "No device is known yet. It appears here with its first reading."}</p>
      ) : (
        <div class="scroll" role="region" aria-label="Inventory" tabIndex={0}>
          <table>
            <thead>
              <tr>
                {["Device", "Site", "Source", "State", "Last seen", "Clock", "Labels", "Series"].map((word) => (
                  <th key={word} scope="col">
                    {word}
                  </th>
                ))}
              </tr>
            </thead>
            <tbody>
              {groups.map(({ device, series }) => {
                const seen = Math.max(device.last_seen_ms ?? 0, ...series.map((one) => one.time ?? 0));
                return (
                  <tr key={device.id}>
                    <th scope="row">
                      {device.name}
                      {device.name !== device.id && <span class="reasons">{device.id}</span>}
                    </th>
                    <td>{device.site ?? "–"}</td>
                    <td>{device.source ?? "–"}</td>
                    <td class="state">
                      {device.online === false ? (
                        <span class="state-down">
                          <Icon name="down" />
                          offline
                        </span>
                      ) : device.online === true ? (
                        <span class="state-up">
                          <Icon name="good" />
                          online
                        </span>
                      ) : (
                        "–"
                      )}
                    </td>
                    <td>
                      {seen === 0 ? (
                        "never"
                      ) : (
                        <time dateTime={isoTime(seen)} title={fullTimeText(seen)}>
                          {ageText(seen, now)}
                        </time>
                      )}
                    </td>
                    <td>{clockText(device.clock_ahead_ms ?? null)}</td>
                    <td>{Object.entries(device.labels).map(([name, value]) => `${name}: ${value}`).join(", ") || "–"}</td>
                    <td>
                      <ul class="inline">
                        {series.map((one) => (
                          <li key={one.id}>
                            <a href={seriesHref(one, ROOT)}>{metricText(one.metric)}</a>
                          </li>
                        ))}
                      </ul>
                    </td>
                  </tr>
                );
              })}
            </tbody>
          </table>
        </div>
      )}
    </section>
  );
}

function clockText(ahead: number | null): string {
  if (ahead === null) return "–";
  return `${durationText(Math.abs(ahead))} ${ahead > 0 ? "ahead" : "behind"}`;
}
