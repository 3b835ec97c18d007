/** The loss account: for each source whether everything that came in is found again, and where. */
import type { ComponentChildren } from "preact";
import { numberText } from "../format";
import type { Account, ArchiveAccount } from "../wire";
import { Icon } from "./Icon";

const ARCHIVES: Record<string, string> = { history: "History on disk", influxdb: "InfluxDB" };

export function LossAccount({ rows }: { rows: Account[] }) {
  return (
    <section aria-labelledby="account-title" class="account">
      <h3 id="account-title">Readings since the gateway started</h3>
      <ul>
        {rows.map((row) => (
          <Source key={row.source} row={row} />
        ))}
      </ul>
    </section>
  );
}

function Source({ row }: { row: Account }) {
  const missing = differences(row);
  return (
    <li aria-label={row.source} class={missing.length > 0 ? "account-short" : ""}>
      <p class="account-source">
        {row.source}
        {row.removed && <span class="quiet"> no longer in the config</span>}
      </p>
      <p class={missing.length > 0 ? "account-missing" : "account-balances"}>
        <Icon name={missing.length > 0 ? "critical" : "good"} />
        <span>{missing.length > 0 ? missing.join("; ") : "All accounted for"}</span>
      </p>
      <dl>
        <Term word="Received" count={row.received} />
        <Term word="Accepted" count={row.accepted} />
        <Term word="Duplicates" count={row.duplicates} />
        <Term word="Rejected" count={sum(row.rejected)}>
          {reasons(row.rejected)}
        </Term>
        <Term word="Dropped" count={sum(row.dropped)}>
          {reasons(row.dropped)}
        </Term>
        <Term word="Waiting" count={row.waiting} />
        {row.archives.map((archive) => (
          <Term key={archive.archive} word={`${name(archive)}: archived`} count={archive.archived}>
            {archiveWords(archive)}
          </Term>
        ))}
      </dl>
    </li>
  );
}

function Term({ word, count, children }: { word: string; count: number; children?: ComponentChildren }) {
  return (
    <div>
      <dt>{word}</dt>
      <dd>
        {numberText(count)}
        {children !== undefined && children !== "" && <span class="reasons">{children}</span>}
      </dd>
    </div>
  );
}

/** What does not balance, in words; empty when all does. */
export function differences(row: Account): string[] {
  const words = (count: number, where: string) =>
    count > 0
      ? `${numberText(count)} missing ${where}: lost without being counted`
      : `${numberText(-count)} too many ${where}: counted twice`;
  const found: string[] = [];
  if (row.difference !== 0) found.push(words(row.difference, "before the disk"));
  for (const archive of row.archives) {
    if (archive.difference !== null && archive.difference !== 0) {
      found.push(words(archive.difference, `in ${name(archive)}`));
    }
  }
  return found;
}

const name = (archive: ArchiveAccount): string => ARCHIVES[archive.archive] ?? archive.archive;

function archiveWords(archive: ArchiveAccount): string {
  const parts: [number, string][] = [
    [archive.carried_over, "from before the start"],
    [archive.waiting, "waiting"],
    [archive.refused, "refused"],
    [archive.dropped, "dropped at the journal's limit"],
  ];
  const words = parts.filter(([count]) => count > 0).map(([count, word]) => `${numberText(count)} ${word}`);
  if (archive.difference === null) words.push("not reckoned until the next start");
  return words.join(", ");
}

const sum = (counts: Record<string, number>): number => Object.values(counts).reduce((total, count) => total + count, 0);

function reasons(counts: Record<string, number>): string {
  return Object.entries(counts)
    .filter(([, count]) => count > 0)
    .map(([reason, count]) => `${reason.replaceAll("_", " ")} ${numberText(count)}`)
    .join(", ");
}
