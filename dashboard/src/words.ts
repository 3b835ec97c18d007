/** Names as people read them. */

/** Abbreviations that keep their own capitals. */
const SHORT: Record<string, string> = {
  co: "CO",
  co2: "CO₂",
  nox: "NOx",
  ph: "pH",
  pm1: "PM1",
  pm10: "PM10",
  rssi: "RSSI",
  voc: "VOC",
  tvoc: "TVOC",
  uv: "UV",
};

/** `wind_speed` → `wind speed`, `co2` → `CO₂`: as it stands in a sentence. */
export function inSentence(metric: string): string {
  const words = metric.split(/[_.-]+/).filter((word) => word !== "");
  if (words.length === 0) return metric;
  return words.map((word) => SHORT[word.toLowerCase()] ?? word).join(" ");
}

/** The same as a title: `Wind speed`, but `pH`. */
export function metricText(metric: string): string {
  const text = inSentence(metric);
  const first = text.split(" ")[0] ?? "";
  return Object.values(SHORT).includes(first) ? text : text.charAt(0).toUpperCase() + text.slice(1);
}
