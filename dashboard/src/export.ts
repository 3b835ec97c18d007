/** What a chart shows, as files. The columns are handed in; only `save` touches the document. */
import type { ChartColumns } from "./chart-data";

export interface Shown {
  /** `device/metric`. */
  id: string;
  name: string;
  unit: string | null;
  columns: ChartColumns;
}

/** One row a point, RFC 4180; times in UTC. A mean has the smallest and largest value beside it. */
export function csvOf(shown: readonly Shown[], from: number, to: number): string {
  const rows = ["time,series,unit,value,min,max"];
  for (const { id, unit, columns } of shown) {
    for (let at = 0; at < columns.x.length; at++) {
      const [time, value] = [(columns.x[at] ?? 0) * 1000, columns.mid[at]];
      if (value == null || time < from || time > to) continue;
      const cells = [new Date(Math.round(time)).toISOString(), field(id), field(unit ?? ""), value, columns.low[at] ?? "", columns.high[at] ?? ""];
      rows.push(cells.join(","));
    }
  }
  return rows.join("\r\n") + "\r\n";
}

/** Names are what devices say of themselves: none may become a formula of who opens the file. */
function field(text: string): string {
  const harmless = /^[=+\-@\t\r]/.test(text) ? `'${text}` : text;
  return /[",\r\n]/.test(harmless) ? `"${harmless.replace(/"/g, '""')}"` : harmless;
}

/** A name for a file: what is not a letter, digit, dot or dash is a dash. */
export function fileName(title: string, from: number, to: number, end: string): string {
  const stamp = (time: number) => new Date(time).toISOString().slice(0, 16).replace(/[:]/g, "");
  const safe = title.replace(/[^\p{L}\p{N}.]+/gu, "-").replace(/^[-.]+|-+$/g, "").slice(0, 80) || "series";
  return `${safe}_${stamp(from)}_${stamp(to)}.${end}`;
}

/** Hands a file to the person. */
export function save(name: string, content: Blob): void {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(content);
  link.download = name;
  link.click();
  // The browser has taken it by then.
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}
