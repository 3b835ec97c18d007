/** What came of a dry run: in a sentence, on the chart of one series after the other, and as a table. */
import { useEffect, useRef, useState } from "preact/hooks";
import { fullTimeText, isoTime, timeText, valueWithUnit } from "../format";
import { verdictText } from "../dry-run";
import type { DryRun } from "../wire";
import { Lazy } from "./Lazy";

/** Rows shown; a rule that fires more often needs another look at its limit, not a longer table. */
const ROWS = 20;

export function DryRunResult({ run }: { run: DryRun }) {
  const verdict = useRef<HTMLParagraphElement>(null);
  // Those that would have fired most come first.
  const all = [...run.series].sort((a, b) => b.intervals.length - a.intervals.length);
  const [chosen, setChosen] = useState("");
  const one = all.find(({ series }) => series === chosen) ?? all[0];
  // Said by a screen reader without a further live region.
  useEffect(() => verdict.current?.focus(), [run]);
  return (
    <div class="dry-result">
      <p ref={verdict} class="verdict" tabIndex={-1}>
        {verdictText(run)}
      </p>
      {run.notes.map((note) => (
        <p key={note} class="quiet">
          {note}
        </p>
      ))}
      {run.intervals_left_out > 0 && <p class="quiet">The first {run.intervals_left_out} alerts are left out.</p>}
      {all.length > 1 && (
        <label>
          Series
          <select value={one?.series} onChange={(event) => setChosen(event.currentTarget.value)}>
            {all.map(({ series, intervals }) => (
              <option key={series} value={series}>
                {series} ({intervals.length})
              </option>
            ))}
          </select>
        </label>
      )}
      {one !== undefined && (
        <Lazy key={one.series} load={() => import("./charts").then((part) => part.DryRunChart)} props={{ run, one }} />
      )}
      {one !== undefined && one.intervals.length > 0 && <Intervals run={run} one={one} />}
    </div>
  );
}

function Intervals({ run, one }: { run: DryRun; one: DryRun["series"][number] }) {
  const rows = one.intervals.slice(-ROWS).reverse();
  const time = (at: number) => (
    <time dateTime={isoTime(at)} title={fullTimeText(at)}>
      {timeText(at, run.to_ms)}
    </time>
  );
  return (
    <details>
      <summary>
        As a table<span class="unseen"> of {one.series}</span>
      </summary>
      <div class="scroll">
        <table>
          <caption>
            {one.series}, the newest first{one.intervals.length > ROWS && `, the last ${ROWS} of ${one.intervals.length}`}
          </caption>
          <thead>
            <tr>
              {["True since", "Fired", "Over", "Peak"].map((word) => (
                <th scope="col" key={word}>
                  {word}
                </th>
              ))}
            </tr>
          </thead>
          <tbody>
            {rows.map((interval) => (
              <tr key={interval.began_ms}>
                <td>{time(interval.began_ms)}</td>
                <td>{interval.fired_ms === null ? "not long enough" : time(interval.fired_ms)}</td>
                <td>{interval.resolved_ms === null ? "not yet" : time(interval.resolved_ms)}</td>
                <td>{interval.peak === null ? "" : valueWithUnit(interval.peak, one.unit)}</td>
              </tr>
            ))}
          </tbody>
        </table>
      </div>
    </details>
  );
}
