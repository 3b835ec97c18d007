/**
 * What a rule can say: its conditions and keys, with the words that the form has for them. `docs/alerts.md` says what they mean; a test
 * holds the conditions to those that the gateway reads.
 */

/** How the value of a key is written in a field. */
export type Shape =
  | "text"
  /** A text of some length. */
  | "long"
  | "number"
  /** Two numbers: `[low, high]`. */
  | "pair"
  /** True, false, a number or a text, or a list of them. */
  | "values"
  /** Names with commas between. */
  | "list"
  /** `name = value`, one a line. */
  | "labels"
  | "choice"
  /** A table of its own. */
  | "table";

export interface KeySpec {
  key: string;
  shape: Shape;
  /** The label of its field. */
  words: string;
  /** What it may look like. */
  example?: string;
  /** The values of a `choice`; the empty one is what holds if it is not said. */
  choices?: readonly (readonly [value: string, words: string])[];
  /** Those of a `table`. */
  parts?: readonly KeySpec[];
}

export interface KindSpec {
  /** The key that says the condition. */
  key: string;
  /** What it is about. */
  group: string;
  words: string;
  /** The key itself, and those that go with it. */
  keys: readonly KeySpec[];
  /** Whether it looks at single values, so that it can be counted. */
  single?: true;
}

/** A condition that only the text can say. */
export const OTHER = "other";

const number = (key: string, words: string, example = ""): KeySpec => ({ key, shape: "number", words, example });
const text = (key: string, words: string, example = ""): KeySpec => ({ key, shape: "text", words, example });

const CLEAR = number("clear", "Over again at (empty: the same)");
const CLEAR_PAIR: KeySpec = { key: "clear", shape: "pair", words: "Over again (empty: the same)" };
const OVER = text("over", "In the last", "10m");
const LEAST = number("least", "Readings that there must be (empty: 10)");
const BY = number("by", "And by more than (empty: 0)");
const COMPARED = [
  number("by", "By more than (empty: 0)"),
  number("clear_by", "Over again at (empty: the same)"),
  text("max_age", "Measured at most so far apart (empty: any)", "1h"),
];
const direction = (up: string, down: string): KeySpec => ({
  key: "direction",
  shape: "choice",
  words: "Direction",
  choices: [
    ["", "either (not said)"],
    [up, up],
    [down, down],
    ["either", "either"],
  ],
});

/** What makes a count of a condition on single values. */
export const COUNT: readonly KeySpec[] = [
  number("more_than", "More often than", "12"),
  text("over", "In the last", "1h"),
  {
    key: "counted",
    shape: "choice",
    words: "What counts",
    choices: [
      ["", "each reading (not said)"],
      ["readings", "each reading"],
      ["beginnings", "each time it begins"],
    ],
  },
];

const VALUE = "Single values";
const CHANGE = "Change";
const USUAL = "What is usual";
const SERIES = "Another series";
const QUIET = "Nothing new";

/** In the order in which they are offered. */
export const KINDS: readonly KindSpec[] = [
  { key: "above", group: VALUE, words: "is above a limit", single: true, keys: [number("above", "Fires above"), CLEAR] },
  { key: "below", group: VALUE, words: "is below a limit", single: true, keys: [number("below", "Fires below"), CLEAR] },
  {
    key: "outside",
    group: VALUE,
    words: "is outside of a range",
    single: true,
    keys: [{ key: "outside", shape: "pair", words: "Fires outside of" }, CLEAR_PAIR],
  },
  {
    key: "inside",
    group: VALUE,
    words: "is inside of a range",
    single: true,
    keys: [{ key: "inside", shape: "pair", words: "Fires inside of" }, { ...CLEAR_PAIR, words: "Over again outside of (empty: the same)" }],
  },
  {
    key: "equals",
    group: VALUE,
    words: "is one of some values",
    single: true,
    keys: [{ key: "equals", shape: "values", words: "Fires when it is", example: "true, or error, fault" }],
  },
  {
    key: "not_equals",
    group: VALUE,
    words: "is none of some values",
    single: true,
    keys: [{ key: "not_equals", shape: "values", words: "Fires unless it is", example: "ok" }],
  },
  {
    key: "change_above",
    group: CHANGE,
    words: "changes by more than",
    keys: [number("change_above", "Fires when it changes by more than"), { ...OVER, words: "Within" }],
  },
  {
    key: "rate_above",
    group: CHANGE,
    words: "rises or falls faster than",
    keys: [
      number("rate_above", "Fires when it moves by more than"),
      text("per", "In each", "1m"),
      { ...OVER, words: "Judged by the last", example: "5m" },
      direction("rising", "falling"),
      CLEAR,
    ],
  },
  {
    key: "deviation_above",
    group: USUAL,
    words: "is far from its mean",
    keys: [
      number("deviation_above", "Fires beyond so many standard deviations", "3"),
      { ...OVER, words: "From the mean of the last", example: "1h" },
      { ...BY, words: "And further than (empty: 0)" },
      direction("above", "below"),
      LEAST,
      { ...CLEAR, words: "Over again within so many (empty: the same)" },
    ],
  },
  ...(["above", "below"] as const).map((side): KindSpec => ({
    key: `${side}_percentile`,
    group: USUAL,
    words: `is ${side} a percentile`,
    keys: [
      number(`${side}_percentile`, `Fires ${side} the percentile`, side === "above" ? "99" : "1"),
      { ...OVER, words: "Of the last", example: "1d" },
      BY,
      LEAST,
      { ...CLEAR, words: "Over again at the percentile (empty: the same)" },
    ],
  })),
  {
    key: "anomaly",
    group: USUAL,
    words: "is unlike all that was learned",
    keys: [
      {
        key: "anomaly",
        shape: "choice",
        words: "How little is enough",
        choices: [
          ["medium", "medium"],
          ["low", "low: only what is very new"],
          ["high", "high: also what is a little new"],
        ],
      },
    ],
  },
  { key: "anomaly_above", group: USUAL, words: "has a score above", keys: [number("anomaly_above", "Fires from the score (0 to 1)", "0.5")] },
  ...(["above", "below"] as const).map((side): KindSpec => ({
    key: `${side}_metric`,
    group: SERIES,
    words: `is ${side} another metric of its device`,
    keys: [text(`${side}_metric`, `Fires ${side} the metric`, "setpoint"), ...COMPARED],
  })),
  ...(["above", "below"] as const).map((side): KindSpec => ({
    key: `${side}_series`,
    group: SERIES,
    words: `is ${side} another series`,
    keys: [text(`${side}_series`, `Fires ${side} that of`, "boiler/return"), ...COMPARED],
  })),
  {
    key: "stuck_for",
    group: QUIET,
    words: "stays the same",
    keys: [
      text("stuck_for", "Fires after the same value for", "1h"),
      number("tolerance", "The same up to (empty: 0)"),
      { ...LEAST, words: "In at least so many readings (empty: 3)" },
    ],
  },
  { key: "no_data_for", group: QUIET, words: "says nothing", keys: [text("no_data_for", "Fires after silence of", "10m")] },
  {
    key: "when",
    group: "All else",
    words: "makes an expression true",
    keys: [
      { key: "when", shape: "long", words: "Fires when", example: "value < 0.4 and metric('running')" },
      { key: "clear_when", shape: "long", words: "Over again when (empty: when that is false)" },
    ],
  },
];

export const kindOf = (key: string): KindSpec | undefined => KINDS.find((kind) => kind.key === key);

/** What every rule says. */
export const NAME = text("name", "Name");
export const SERIES_KEY = text("series", "Series", "*/temperature");
export const HOLD = text("for", "True for (empty: at once)", "30s");
export const SEVERITY: KeySpec = {
  key: "severity",
  shape: "choice",
  words: "Severity",
  choices: [
    ["", "warning (not said)"],
    ["critical", "critical"],
    ["warning", "warning"],
    ["info", "info"],
  ],
};
export const WEBHOOKS: KeySpec = { key: "webhooks", shape: "list", words: "Webhooks (empty: all)" };
export const SUMMARY: KeySpec = { key: "summary", shape: "text", words: "What to do (said with the alert)" };

/** Which series, and what is said of them, by labels. */
export const LABELS: readonly KeySpec[] = [
  { key: "match", shape: "labels", words: "Only of devices with these labels, one a line", example: "site = north\nroom = cold*" },
  { key: "labels", shape: "labels", words: "Labels of its alerts, one a line", example: "team = growing" },
];

/** How its alerts live. */
export const LIFE: readonly KeySpec[] = [
  text("keep_firing_for", "Goes on firing after it is over for", "5m"),
  text("min_on", "Fires for at least", "1m"),
  text("min_off", "Fires again no sooner than after", "10m"),
  text("resolve_after", "Ends by itself after (empty: never)", "12h"),
  text("stale_after", "Stale after silence of (empty: 15m)", "15m"),
  { key: "depends_on", shape: "list", words: "Not while one of these rules fires", example: "sensor silent" },
];
export const FLAPPING: KeySpec = {
  key: "flapping",
  shape: "table",
  words: "Flapping",
  parts: [
    number("fires", "Fires so often (empty: 3)"),
    text("within", "Within", "10m"),
    text("calm", "Calm for (empty: the same)", "10m"),
  ],
};

/** When it may fire; it has fields of its own. */
export const DURING = "during";

/** Every key that the form has a field for, with a rule of this kind. */
export function specsOf(kind: string): KeySpec[] {
  const found = kindOf(kind);
  return [
    NAME,
    SERIES_KEY,
    ...LABELS,
    ...(found?.keys ?? []),
    ...(found?.single ? COUNT : []),
    HOLD,
    ...LIFE,
    FLAPPING,
    SEVERITY,
    SUMMARY,
    WEBHOOKS,
  ];
}

/** Every key that belongs to some condition. */
export const CONDITION_KEYS: ReadonlySet<string> = new Set(
  [...KINDS.flatMap(({ keys }) => keys), ...COUNT].map(({ key }) => key),
);
