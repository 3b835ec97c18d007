/** The colours that canvases need, read from the style sheet once for each colour scheme. */

export interface ChartColours {
  line: string;
  band: string;
  grid: string;
  text: string;
  mark: string;
  critical: string;
  warning: string;
  info: string;
  /** Of several lines in one chart, and of their bands. */
  lines: string[];
  bands: string[];
  font: string;
  family: string;
}

const dark = matchMedia("(prefers-color-scheme: dark)");
let colours: ChartColours | null = null;

dark.addEventListener("change", () => {
  colours = null;
});

export function chartColours(): ChartColours {
  if (colours !== null) return colours;
  const style = getComputedStyle(document.documentElement);
  const read = (name: string) => style.getPropertyValue(name).trim();
  colours = {
    line: read("--chart-line"),
    band: read("--chart-band"),
    grid: read("--chart-grid"),
    text: read("--chart-text"),
    mark: read("--critical"),
    critical: read("--critical"),
    warning: read("--warning"),
    info: read("--info"),
    lines: [read("--chart-line"), read("--chart-2"), read("--chart-3"), read("--chart-4"), read("--chart-5")],
    bands: [read("--chart-band"), ...[2, 3, 4, 5].map((at) => `${read(`--chart-${at}`)}33`)],
    font: `11px ${read("--font")}`,
    family: read("--font"),
  };
  return colours;
}

/** Calls `listener` when the colour scheme changes. */
export function onTheme(listener: () => void): () => void {
  dark.addEventListener("change", listener);
  return () => dark.removeEventListener("change", listener);
}
