import { RANGES, type Range } from "../ranges";

/** Chooses how far charts reach back. `of` names what it is for, for those who can't see where it stands. */
export function RangeButtons({ of, value, onPick }: { of: string; value: Range; onPick: (range: Range) => void }) {
  return (
    <div class="ranges" role="group" aria-label={`Range of ${of}`}>
      {RANGES.map((range) => (
        <button
          key={range.short}
          type="button"
          aria-pressed={range === value}
          title={`Last ${range.long}`}
          onClick={() => onPick(range)}
        >
          {range.short}
        </button>
      ))}
    </div>
  );
}
