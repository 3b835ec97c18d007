/**
 * The small chart of a tile: a line over the range that ends now, and what it shows in words. It is drawn at most four times a
 * second, and not at all while out of view or when nothing would move; out of view it holds no pixels.
 */
import { useEffect, useRef, useState } from "preact/hooks";
import { captionOf, columnsOf } from "../chart-data";
import { onSecond, useStore } from "../hooks";
import { History } from "../history";
import { LIVE, type Range } from "../ranges";
import { RING_CAPACITY, type SeriesState } from "../series";
import { drawSpark } from "../spark";
import { onTheme } from "../theme";

/** The caption changes at most this often: words that flicker can't be read. */
const CAPTION_MS = 2_000;

interface SparklineProps {
  series: SeriesState;
  name: string;
  range: Range;
  active: boolean;
}

export function Sparkline({ series, name, range, active }: SparklineProps) {
  const store = useStore();
  const ref = useRef<HTMLCanvasElement>(null);
  const [caption, setCaption] = useState("");

  useEffect(() => {
    const canvas = ref.current;
    if (!active || canvas === null) return undefined;
    let drawnTo = 0;
    let captionAt = 0;
    let dirty = true;
    const points = range === LIVE ? RING_CAPACITY : Math.min(600, Math.max(100, canvas.clientWidth));
    const draw = () => {
      const now = store.heardUntil() || store.now();
      // A window that moved by less than a pixel looks the same.
      const still = now - drawnTo < range.ms / Math.max(100, canvas.width);
      if (document.hidden || canvas.width === 0 || (still && !dirty)) return;
      dirty = false;
      drawnTo = now;
      const columns = columnsOf(history.base, series, now - range.ms);
      // For the specs: a canvas can't be asked what it shows.
      canvas.dataset["points"] = String(columns.mid.filter((value) => value !== null).length);
      drawSpark(canvas, columns, { from: now - range.ms, to: now, stepped: series.kind === "bool" });
      if (Date.now() - captionAt > CAPTION_MS) {
        captionAt = Date.now();
        setCaption(captionOf(series, columns, history.failed));
      }
    };
    const history = new History(store, series, range, points, () => {
      captionAt = 0;
      redraw();
    });
    const redraw = () => {
      dirty = true;
      draw();
    };
    const resize = new ResizeObserver(() => {
      const ratio = devicePixelRatio || 1;
      const [width, height] = [Math.round(canvas.clientWidth * ratio), Math.round(canvas.clientHeight * ratio)];
      if (width === canvas.width && height === canvas.height) return;
      [canvas.width, canvas.height] = [width, height];
      redraw();
    });
    resize.observe(canvas);
    history.keepUp();
    const stops = [
      store.subscribe(`series/${series.id}`, redraw),
      onSecond(() => {
        history.keepUp();
        draw();
      }),
      onTheme(redraw),
    ];
    return () => {
      stops.forEach((stop) => stop());
      resize.disconnect();
      history.stop();
      canvas.width = 0;
    };
  }, [store, series, range, active]);

  return (
    <figure class="chart">
      <canvas ref={ref} class="spark" width={0} height={0} role="img" aria-label={`${name}, last ${range.long}`} />
      <figcaption>{caption || "\u00a0"}</figcaption>
    </figure>
  );
}
