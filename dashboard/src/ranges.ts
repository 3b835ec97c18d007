/** The ranges that charts offer. */
export interface Range {
  ms: number;
  /** On the button. */
  short: string;
  /** In a sentence: "last …". */
  long: string;
  /** After how long a fetched base is fetched again, for readings that came late. */
  refreshMs: number;
}

const MINUTE = 60_000;

export const LIVE: Range = { ms: 5 * MINUTE, short: "5 min", long: "5 minutes", refreshMs: Infinity };

export const RANGES: readonly Range[] = [
  LIVE,
  { ms: 60 * MINUTE, short: "1 h", long: "hour", refreshMs: MINUTE },
  { ms: 24 * 60 * MINUTE, short: "24 h", long: "24 hours", refreshMs: 5 * MINUTE },
  { ms: 7 * 24 * 60 * MINUTE, short: "7 d", long: "7 days", refreshMs: 15 * MINUTE },
];
