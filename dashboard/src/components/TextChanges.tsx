/** A series of texts: what it said last, instead of a chart. */
import { useEffect, useReducer } from "preact/hooks";
import { fullTimeText, isoTime, timeText } from "../format";
import { onSecond, useStore } from "../hooks";
import { History } from "../history";
import type { Range } from "../ranges";
import type { SeriesState } from "../series";

const SHOWN = 3;

export function TextChanges({ series, range, active }: { series: SeriesState; range: Range; active: boolean }) {
  const store = useStore();
  const [, redraw] = useReducer<number, void>((count) => count + 1, 0);
  useEffect(() => {
    if (!active) return undefined;
    const history = new History(store, series, range, 500, redraw);
    history.keepUp();
    const stop = onSecond(() => history.keepUp());
    return () => {
      stop();
      history.stop();
    };
  }, [store, series, range, active]);

  const now = store.now();
  return (
    <ol class="changes">
      {series.changes.slice(0, SHOWN).map((change) => (
        <li key={change.t}>
          <time dateTime={isoTime(change.t)} title={fullTimeText(change.t)}>
            {timeText(change.t, now)}
          </time>
          <span>{change.v}</span>
        </li>
      ))}
    </ol>
  );
}
