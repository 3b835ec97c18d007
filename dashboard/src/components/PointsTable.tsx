/**
 * The range of a chart as a table, for those who can't see a canvas or want the digits. It holds what was there
 * when it was opened, 25 rows a page, newest first: a table that moves can't be read.
 */
import { useEffect, useState } from "preact/hooks";
import { fetchPoints } from "../api";
import { fullTimeText, isoTime, timeText, unitText, valueText } from "../format";
import { useStore } from "../hooks";
import type { Range } from "../ranges";
import type { SeriesState } from "../series";
import type { Points, Value } from "../wire";

const ROWS = 25;
const MOST_POINTS = 1_000;

interface PointsTableProps {
  series: SeriesState;
  name: string;
  range: Pick<Range, "ms" | "long">;
  /** Where it ends; none: now. */
  to?: number | null;
}

export function PointsTable({ series, name, range, to = null }: PointsTableProps) {
  const store = useStore();
  const [points, setPoints] = useState<Points | "failed" | null>(null);
  const [asked, setAsked] = useState(0);
  const [page, setPage] = useState(0);
  useEffect(() => {
    const aborter = new AbortController();
    setPoints(null);
    setPage(0);
    fetchPoints(series, (to ?? store.now()) - range.ms, MOST_POINTS, aborter.signal, to).then(setPoints, () => {
      if (!aborter.signal.aborted) setPoints("failed");
    });
    return () => aborter.abort();
  }, [series, range.ms, to, asked]);

  if (points === null) return <p class="quiet">Fetching the table…</p>;
  const again = (
    <button type="button" onClick={() => setAsked(asked + 1)}>
      {points === "failed" ? "Try again" : "Refresh table"}
      <span class="unseen"> of {name}</span>
    </button>
  );
  if (points === "failed") return <p class="quiet">The table could not be fetched. {again}</p>;

  const total = points.t.length;
  const pages = Math.max(1, Math.ceil(total / ROWS));
  const rows = points.t
    .map((_, at) => at)
    .reverse()
    .slice(page * ROWS, (page + 1) * ROWS);
  const cell = (value: Value | null | undefined) => valueText(value ?? null, series.decimals);
  const unit = unitText(points.unit);
  const inUnit = unit === "" ? "" : ` in ${unit}`;
  const now = store.now();
  return (
    <div class="points">
      <table>
        <caption>
          {name}
          {inUnit}, {to === null ? `last ${range.long}` : range.long}, newest first
        </caption>
        <thead>
          <tr>
            <th scope="col">{points.bucket_ms === null ? "Time" : "From"}</th>
            {points.bucket_ms === null ? (
              <th scope="col">Value</th>
            ) : (
              ["Min", "Mean", "Max"].map((word) => (
                <th scope="col" key={word}>
                  {word}
                </th>
              ))
            )}
          </tr>
        </thead>
        <tbody>
          {rows.map((at) => {
            const time = points.t[at] ?? 0;
            return (
              <tr key={time}>
                <td>
                  <time dateTime={isoTime(time)} title={fullTimeText(time)}>
                    {timeText(time, now)}
                  </time>
                </td>
                {points.bucket_ms === null ? (
                  <td>{cell(points.v[at])}</td>
                ) : (
                  [points.min, points.mean, points.max].map((column, index) => <td key={index}>{cell(column[at])}</td>)
                )}
              </tr>
            );
          })}
        </tbody>
      </table>
      <div class="tile-actions">
        <button type="button" disabled={page === 0} onClick={() => setPage(page - 1)}>
          Newer
        </button>
        <span class="quiet">
          {total === 0 ? "No points" : `Page ${page + 1} of ${pages}`}
        </span>
        <button type="button" disabled={page + 1 >= pages} onClick={() => setPage(page + 1)}>
          Older
        </button>
        {again}
      </div>
    </div>
  );
}
