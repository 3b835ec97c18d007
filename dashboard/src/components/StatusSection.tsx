/** Where readings come from and where they go: sources, archive, and the account of what was lost and why. */
import { useEffect, useRef, useState } from "preact/hooks";
import { fetchStatus } from "../api";
import { bytesText, durationText, fullTimeText, isoTime, numberText, timeText } from "../format";
import { useSecond, useTopic, useVisible } from "../hooks";
import type { Archive, Config, Disk, Source, Status } from "../wire";
import { DeadLetterList } from "./DeadLetterList";
import { Icon, type IconName } from "./Icon";
import { LossAccount } from "./LossAccount";
import { UndeliveredList } from "./UndeliveredList";
import { Webhooks } from "./Webhooks";

const REFRESH_MS = 15_000;

export function StatusSection() {
  const ref = useRef<HTMLElement>(null);
  const visible = useVisible(ref);
  const store = useTopic("status");
  const { link } = useTopic("link");
  useSecond(visible);
  const account = useAccount(visible && link === "live");
  const offset = Math.abs(store.clockOffset);

  return (
    <section ref={ref} class="status" aria-labelledby="status-title">
      <h2 id="status-title" tabIndex={-1}>Sources and status</h2>
      {store.sources.size > 0 && <Sources sources={[...store.sources.entries()]} now={store.now()} />}
      <ul class="facts">
        {store.archive !== null && <ArchiveFact archive={store.archive} />}
        {store.config !== null && <ConfigFacts config={store.config} now={store.now()} />}
        {account !== null && <DiskFact disk={account.disk} />}
        {account?.webhooks.filter((webhook) => webhook.failing_since !== null).map((webhook) => (
          <li key={webhook.name}>
            <Icon name="warning" />
            Webhook {webhook.name} fails whatever it is sent, since {timeText(Date.parse(webhook.failing_since ?? ""), store.now())}
            {webhook.last_error !== null && `: ${webhook.last_error}`}; {numberText(webhook.waiting)} messages wait for it.
          </li>
        ))}
        {account?.heartbeats.filter((heartbeat) => heartbeat.last_error !== null).map((heartbeat) => (
          <li key={heartbeat.name}>
            <Icon name="warning" />
            Heartbeat {heartbeat.name} is missed: {heartbeat.last_error}
          </li>
        ))}
        {account !== null && !account.clock_trusted && (
          <li>
            <Icon name="warning" />
            The gateway's clock is not set: rules wait for it, and so do {numberText(account.journal.awaiting_clock)} readings
            without a time of their own.
          </li>
        )}
        {account !== null && account.clock.last_jump !== null && (
          <li>
            <Icon name="info" />
            The gateway's clock jumped {durationText(Math.abs(account.clock.last_jump.by_ms))}{" "}
            {account.clock.last_jump.by_ms < 0 ? "back" : "ahead"} ({numberText(account.clock.jumps)} jumps since the start).
          </li>
        )}
        {account !== null && account.engine.too_late > 0 && (
          <li>
            <Icon name="info" />
            {numberText(account.engine.too_late)} readings came too late for their windows: they are stored and archived.
          </li>
        )}
        {offset > 5_000 && (
          <li>
            <Icon name="warning" />
            This device's clock is {durationText(offset)} {store.clockOffset > 0 ? "behind" : "ahead of"} the gateway's;
            ages are by the gateway's.
          </li>
        )}
        {store.skipped > 0 && (
          <li>
            <Icon name="info" />
            {numberText(store.skipped)} events were skipped for this page because it was slow; charts fetched them again.
          </li>
        )}
        {store.version !== "" && (
          <li>
            <Icon name="info" />
            Gateway {store.version}
            {account !== null && `, up for ${durationText(account.uptime_s * 1000)}`}
          </li>
        )}
      </ul>
      <Webhooks active={visible && link === "live"} />
      {store.archive !== null && (
        <DeadLetterList count={store.archive.dead_letters} active={visible && link === "live"} now={store.now()} />
      )}
      {account !== null && (
        <UndeliveredList
          count={account.webhooks.reduce((sum, webhook) => sum + webhook.dead_letters, 0)}
          active={visible && link === "live"}
          now={store.now()}
        />
      )}
      {account !== null && account.account.length > 0 && <LossAccount rows={account.account} />}
    </section>
  );
}

/** `GET /api/v1/status`, again and again while `active`; the last answer stays when one fails. */
function useAccount(active: boolean): Status | null {
  const [status, setStatus] = useState<Status | null>(null);
  useEffect(() => {
    if (!active) return undefined;
    const aborter = new AbortController();
    const refresh = () => {
      if (!document.hidden) fetchStatus(aborter.signal).then(setStatus, () => {});
    };
    refresh();
    const timer = setInterval(refresh, REFRESH_MS);
    return () => {
      clearInterval(timer);
      aborter.abort();
    };
  }, [active]);
  return status;
}

const KINDS: Record<Source["kind"], string> = {
  serial: "serial port",
  mqtt: "MQTT broker",
  mqtt_listener: "MQTT listener",
  push: "HTTP push",
};

const STATES: Record<Source["state"], { icon: IconName; word: string }> = {
  connecting: { icon: "wait", word: "connecting" },
  up: { icon: "good", word: "up" },
  down: { icon: "down", word: "down" },
  stopped: { icon: "silent", word: "stopped" },
  removed: { icon: "silent", word: "removed" },
};

function Sources({ sources, now }: { sources: [string, Source][]; now: number }) {
  return (
    <div class="scroll" role="region" aria-label="Sources" tabIndex={0}>
      <table>
        <thead>
          <tr>
            <th scope="col">Source</th>
            <th scope="col">State</th>
            <th scope="col">Since</th>
            <th scope="col">Detail</th>
          </tr>
        </thead>
        <tbody>
          {sources.map(([name, source]) => (
            <tr key={name}>
              <th scope="row">
                {name}
                <span class="quiet"> {KINDS[source.kind] ?? source.kind}</span>
              </th>
              <td class={`state state-${source.state}`}>
                <Icon name={STATES[source.state]?.icon ?? "question"} />
                {STATES[source.state]?.word ?? source.state}
              </td>
              <td>
                <time dateTime={isoTime(source.since_ms)} title={fullTimeText(source.since_ms)}>
                  {timeText(source.since_ms, now)}
                </time>
              </td>
              <td class="detail">{source.detail}</td>
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}

function ArchiveFact({ archive }: { archive: Archive }) {
  const words = {
    disabled: "No InfluxDB is configured; history is kept on the gateway's disk",
    connecting: "InfluxDB: connecting",
    writing: "InfluxDB: writing",
    failing: "InfluxDB: failing; readings wait on the gateway's disk",
  }[archive.state];
  const icon: IconName = { disabled: "info", connecting: "wait", writing: "good", failing: "warning" }[
    archive.state
  ] as IconName;
  const counts = [
    archive.state === "disabled" ? "" : `${numberText(archive.written)} written`,
    archive.lag_records > 0 ? `${numberText(archive.lag_records)} waiting` : "",
    backfillText(archive),
    archive.refused > 0 ? `${numberText(archive.refused)} refused` : "",
    archive.detail,
  ];
  return (
    <li>
      <Icon name={icon} />
      {[words, ...counts].filter(Boolean).join(", ")}
    </li>
  );
}

function ConfigFacts({ config, now }: { config: Config; now: number }) {
  return (
    <>
      {config.last_error !== null && (
        <li>
          <Icon name="warning" />
          <div>
            The changed config was refused at {timeText(Date.parse(config.last_error.at), now)}; the one before stays in force.
            <ul class="faults">
              {config.last_error.faults.map((fault) => (
                <li key={fault}>{fault}</li>
              ))}
            </ul>
          </div>
        </li>
      )}
      {config.restart_needed.length > 0 && (
        <li>
          <Icon name="wait" />
          Changed in the config, and in force after a restart of the gateway: {config.restart_needed.join(", ")}
        </li>
      )}
    </>
  );
}

/** What waited during an outage, and how fast it is caught up with. */
function backfillText({ backfill }: Archive): string {
  if (backfill.state === "idle") return "";
  const left = `back-fill: about ${numberText(backfill.lag_readings)} readings left`;
  if (backfill.state === "paused") return `${left}, paused until new readings get through`;
  if (backfill.state === "failing") return `${left}, failing`;
  return backfill.rate > 0 ? `${left}, ${numberText(backfill.rate)} a second` : left;
}

/** What is written to disk in a day, and how long the card lasts with it. */
function DiskFact({ disk }: { disk: Disk }) {
  const worn = disk.device !== null && (disk.device.spare === "urgent" || (disk.device.life_used_percent ?? 0) >= 90);
  const words = [
    disk.per_day_bytes === null
      ? `${bytesText(disk.written_bytes)} written to disk since the start`
      : `${bytesText(disk.per_day_bytes)} a day are written to disk`,
    disk.card_life_years === null ? "" : `the card lasts about ${numberText(disk.card_life_years, 1)} years with that`,
    disk.device?.life_used_percent == null
      ? ""
      : `${disk.device.name} says that up to ${disk.device.life_used_percent} % of its life is used`,
  ];
  return (
    <li>
      <Icon name={worn || (disk.card_life_years ?? 100) < 2 ? "warning" : "info"} />
      {words.filter(Boolean).join("; ")}
    </li>
  );
}
