/** The signs beside words. Each has its own shape, so that colour is never alone; each is hidden from screen readers. */

const PATHS = {
  // Octagon, triangle and circle, as on signs.
  critical: "M5.3 1h5.4L15 5.3v5.4L10.7 15H5.3L1 10.7V5.3zM8 4.2v4.6M8 11.2v.6",
  warning: "M8 1.6 15.2 14.4H.8zM8 6v4M8 12v.6",
  info: "M8 1a7 7 0 1 1 0 14A7 7 0 0 1 8 1zM8 7v4.6M8 4.4V5",
  good: "M2 8.6 6.2 12.8 14 4",
  wait: "M8 1a7 7 0 1 1 0 14A7 7 0 0 1 8 1zM8 4v4.4l3 1.8",
  silent: "M3 8h10",
  down: "M3.5 3.5l9 9M12.5 3.5l-9 9",
  question: "M5.2 5.4A2.8 2.8 0 1 1 8 8.4v1.8M8 12.4v.6",
  star: "M8 1.8l1.9 4 4.3.5-3.2 3 .9 4.3L8 11.5l-3.9 2.1.9-4.3-3.2-3 4.3-.5z",
  starred: "M8 1.8l1.9 4 4.3.5-3.2 3 .9 4.3L8 11.5l-3.9 2.1.9-4.3-3.2-3 4.3-.5z",
  kept: "M4 1.6h8v12.8L8 11.2l-4 3.2z",
} as const;

export type IconName = keyof typeof PATHS;

export function Icon({ name }: { name: IconName }) {
  return (
    <svg class={name === "starred" ? "icon icon-filled" : "icon"} viewBox="0 0 16 16" aria-hidden="true" focusable="false">
      <path d={PATHS[name]} />
    </svg>
  );
}
