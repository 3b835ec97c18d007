/** Names as people read them. */

/** `wind_speed` → `Wind speed`. */
export function metricText(metric: string): string {
  const spaced = metric.replace(/[_.-]+/g, " ").trim();
  return spaced === "" ? metric : spaced.charAt(0).toUpperCase() + spaced.slice(1);
}
