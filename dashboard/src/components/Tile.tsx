/** One series: its value with unit and age, what is to be said about it, and its line; the way to its place. */
import { Component } from "preact";
import { useRef, useState } from "preact/hooks";
import { toggleFavourite } from "../favourites";
import { ageText, durationText, fullTimeText, isoTime, timeText, unitText, valueText } from "../format";
import { useSecond, useTopic, useVisible } from "../hooks";
import { seriesHref } from "../place";
import type { Range } from "../ranges";
import { ROOT } from "../root";
import type { Freshness, SeriesState } from "../series";
import type { Store } from "../store";
import { inSentence, metricText } from "../words";
import { Icon, type IconName } from "./Icon";
import { PointsTable } from "./PointsTable";
import { Sparkline } from "./Sparkline";
import { TextChanges } from "./TextChanges";

interface TileProps {
  series: SeriesState;
  deviceName: string;
  range: Range;
  /** Whether it is a person's favourite. */
  favourite: boolean;
  /** Of its heading. */
  level: 4 | 5;
  /** Whether it stands apart from its device, and names it. */
  apart: boolean;
}

/** A tile that is drawn anew for its own sake alone, however many there are. */
export class Tile extends Component<TileProps> {
  override shouldComponentUpdate(next: TileProps): boolean {
    return (Object.keys(next) as (keyof TileProps)[]).some((key) => next[key] !== this.props[key]);
  }
  override render() {
    return <TileFace {...this.props} />;
  }
}

function TileFace({ series, deviceName, range, favourite, level, apart }: TileProps) {
  const ref = useRef<HTMLElement>(null);
  const visible = useVisible(ref);
  const store = useTopic(visible ? `series/${series.id}` : null);
  useTopic(visible ? "link" : null);
  useSecond(visible);
  const [table, setTable] = useState(false);

  const name = `${deviceName} ${inSentence(series.metric)}`;
  const freshness = series.freshness(store.heardUntil());
  const alert = store.alertOn(series.id);
  const classes = [
    "tile",
    `tile-${freshness}`,
    series.quality !== "good" && freshness !== "none" && `tile-${series.quality}`,
    alert?.state === "firing" && `tile-firing severity-${alert.severity}`,
  ];
  const Heading = `h${level}` as "h5";

  return (
    <article ref={ref} class={classes.filter(Boolean).join(" ")} aria-label={name} data-series={series.id}>
      <div class="tile-head">
        <Heading class="tile-title">
          <a href={seriesHref(series, ROOT)}>
            {apart && `${deviceName} · `}
            {metricText(series.metric)}
          </a>
        </Heading>
        <button type="button" class="star" aria-pressed={favourite} title="Favourite" onClick={() => toggleFavourite(series.id)}>
          <Icon name={favourite ? "starred" : "star"} />
          <span class="unseen">Favourite: {name}</span>
        </button>
      </div>
      <p class="reading">
        <Reading series={series} />
        <Age series={series} store={store} freshness={freshness} />
      </p>
      <Notes series={series} store={store} freshness={freshness} />
      {series.kind === "text" ? (
        <TextChanges series={series} range={range} active={visible} />
      ) : (
        <Sparkline series={series} name={name} range={range} active={visible} />
      )}
      <div class="tile-actions">
        <button type="button" aria-expanded={table} onClick={() => setTable(!table)}>
          {table ? "Hide table" : "Show as table"}
          <span class="unseen"> of {name}</span>
        </button>
      </div>
      {table && <PointsTable series={series} name={name} range={range} />}
    </article>
  );
}

export function Reading({ series }: { series: SeriesState }) {
  const { value } = series;
  if (value === null) return <span class="value value-none">–</span>;
  const unit = typeof value === "number" ? unitText(series.unit) : "";
  return (
    <data class={`value${typeof value === "string" ? " value-text" : ""}`} value={String(value)}>
      {valueText(value, series.decimals)}
      {unit !== "" && <span class="unit">{unit}</span>}
    </data>
  );
}

export function Age({ series, store, freshness }: { series: SeriesState; store: Store; freshness: Freshness }) {
  if (series.time === null) return null;
  const now = store.now();
  const lastKnown = freshness === "retained" || store.link !== "live";
  return (
    <time class="age" dateTime={isoTime(series.time)} title={fullTimeText(series.time)}>
      {lastKnown && "last known, "}
      {ageText(series.time, now)}
    </time>
  );
}

/** All that a person must know before believing the value. */
export function Notes({ series, store, freshness }: { series: SeriesState; store: Store; freshness: Freshness }) {
  const alert = store.alertOn(series.id);
  const notes: { icon: IconName; kind: string; words: string }[] = [];
  if (alert !== null) {
    const word = alert.state === "firing" ? "" : "Pending: ";
    notes.push({ icon: alert.severity, kind: `${alert.state} severity-${alert.severity}`, words: word + alert.summary });
  }
  if (freshness === "none") notes.push({ icon: "wait", kind: "none", words: "No reading yet" });
  if (freshness === "retained") {
    notes.push({ icon: "kept", kind: "retained", words: "Kept by the broker; no new reading yet" });
  }
  if (freshness === "silent" && series.time !== null) {
    const usual = series.usualInterval();
    const habit = usual === null ? "" : `; usually every ${durationText(usual)}`;
    notes.push({
      icon: "silent",
      kind: "silent",
      words: `Silent since ${timeText(series.time, store.now())}${habit}`,
    });
  }
  if (freshness !== "none" && series.quality !== "good") {
    const bad = series.quality === "bad";
    notes.push({ icon: bad ? "down" : "question", kind: series.quality, words: bad ? "Bad reading" : "Uncertain reading" });
  }
  if (notes.length === 0) return null;
  return (
    <ul class="notes">
      {notes.map((note) => (
        <li key={note.kind} class={`chip chip-${note.kind}`}>
          <Icon name={note.icon} />
          {note.words}
        </li>
      ))}
    </ul>
  );
}
