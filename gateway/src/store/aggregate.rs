//! The aggregates of a set of values: count, extremes, mean, deviation, first and last, percentiles.
//!
//! Mean and deviation by Welford (1962), merged by Chan, Golub and LeVeque (1979). Percentiles are exact up to
//! [`EXACT_VALUES`] values, beyond that from a DDSketch (Masson, Rim and Lee, VLDB 2019) with 1 % relative error; both take
//! the value of rank `floor(q * (count - 1))`. Below 1e-9 a sketch knows only zero, and it holds 1 % over a span
//! of about seventeen orders of magnitude: beyond that the smallest values blur first.
//!
//! The order in which values come decides nothing but rounding, and which of equal times is first or last.

use sketches_ddsketch::{Config, DDSketch};

use crate::store::Window;

/// Up to so many values are kept as they are: most windows of slow sensors never need a sketch (1 KiB).
pub const EXACT_VALUES: usize = 64;
/// So many values go into a sketch at a time: with many series each visit to one costs more than what is done there.
const AT_A_TIME: usize = 32;

/// Relative error of the sketch.
const SKETCH_ERROR: f64 = 0.01;
/// Bins of the sketch on each side of zero: 16 KiB at most.
const SKETCH_BINS: u32 = 2048;
/// What is nearer to zero counts as zero in the sketch.
const SKETCH_MIN: f64 = 1e-9;

/// Aggregates of at least one value.
#[derive(Clone, Debug)]
pub(crate) struct Aggregate {
    count: u64,
    min: f64,
    max: f64,
    mean: f64,
    /// Sum of the squared distances from the mean.
    m2: f64,
    first: Timed,
    last: Timed,
    percentiles: Percentiles,
}

#[derive(Clone, Copy, Debug)]
struct Timed {
    time: i64,
    value: f64,
}

#[derive(Clone)]
enum Percentiles {
    Exact(Vec<f64>),
    Sketch(Sketched),
}

/// A sketch, and what is not in it yet.
#[derive(Clone)]
struct Sketched {
    sketch: Box<DDSketch>,
    fresh: Vec<f64>,
}

impl Aggregate {
    /// Of one finite value, measured at `time`.
    pub(crate) fn of(time: i64, value: f64) -> Self {
        Self {
            count: 1,
            min: value,
            max: value,
            mean: value,
            m2: 0.0,
            first: Timed { time, value },
            last: Timed { time, value },
            percentiles: Percentiles::Exact(vec![value]),
        }
    }

    /// One more finite value.
    pub(crate) fn add(&mut self, time: i64, value: f64) {
        self.count += 1;
        self.min = self.min.min(value);
        self.max = self.max.max(value);
        let before = value - self.mean;
        self.mean += before / count_f64(self.count);
        self.m2 += before * (value - self.mean);
        if time < self.first.time {
            self.first = Timed { time, value };
        }
        if time >= self.last.time {
            self.last = Timed { time, value };
        }
        self.percentiles.add(value);
    }

    /// All of `later`, whose values arrived after ours.
    pub(crate) fn merge(&mut self, later: &Self) {
        let (ours, theirs) = (count_f64(self.count), count_f64(later.count));
        let all = ours + theirs;
        let apart = later.mean - self.mean;
        self.mean += apart * theirs / all;
        self.m2 += later.m2 + apart * apart * ours * theirs / all;
        self.count += later.count;
        self.min = self.min.min(later.min);
        self.max = self.max.max(later.max);
        if later.first.time < self.first.time {
            self.first = later.first;
        }
        if later.last.time >= self.last.time {
            self.last = later.last;
        }
        self.percentiles.merge(&later.percentiles);
    }

    /// Makes ready to be read often, or for the last time.
    pub(crate) fn settle(&mut self) {
        if let Percentiles::Sketch(sketched) = &mut self.percentiles {
            sketched.settle();
        }
    }

    /// As a window from `start_ms` to `end_ms`. Every number in it is finite.
    pub(crate) fn window(&self, start_ms: i64, end_ms: i64, closed: bool) -> Window {
        let [p50, p95, p99] = self
            .percentiles
            .at([0.50, 0.95, 0.99])
            .map(|value| value.clamp(self.min, self.max));
        // Values near the largest float overflow on the way; what comes out must stay a number all the same.
        let mean = if self.mean.is_nan() {
            f64::midpoint(self.min, self.max)
        } else {
            self.mean.clamp(self.min, self.max)
        };
        let variance = (self.m2 / count_f64(self.count)).max(0.0);
        let stddev = if variance.is_finite() {
            variance.sqrt()
        } else {
            f64::MAX
        };
        Window {
            start_ms,
            end_ms,
            count: self.count,
            min: self.min,
            max: self.max,
            mean,
            stddev,
            first: self.first.value,
            last: self.last.value,
            p50,
            p95,
            p99,
            closed,
        }
    }
}

impl Percentiles {
    fn add(&mut self, value: f64) {
        match self {
            Self::Exact(values) if values.len() < EXACT_VALUES => values.push(value),
            Self::Exact(values) => {
                let mut fresh = Vec::with_capacity(AT_A_TIME);
                fresh.push(value);
                *self = Self::Sketch(Sketched {
                    sketch: Box::new(sketch_of(values)),
                    fresh,
                });
            }
            Self::Sketch(sketched) => {
                sketched.fresh.push(value);
                if sketched.fresh.len() >= AT_A_TIME {
                    sketched.settle();
                }
            }
        }
    }

    fn merge(&mut self, other: &Self) {
        match (&mut *self, other) {
            (_, Self::Exact(values)) => {
                for value in values {
                    self.add(*value);
                }
            }
            (Self::Exact(values), Self::Sketch(theirs)) => {
                let mut sketched = theirs.clone();
                sketched.fresh.append(values);
                sketched.settle();
                *self = Self::Sketch(sketched);
            }
            (Self::Sketch(ours), Self::Sketch(theirs)) => {
                let merged = ours.sketch.merge(&theirs.sketch);
                debug_assert!(merged.is_ok(), "all sketches have one configuration");
                ours.fresh.extend_from_slice(&theirs.fresh);
                ours.settle();
            }
        }
    }

    fn at<const N: usize>(&self, quantiles: [f64; N]) -> [f64; N] {
        match self {
            Self::Exact(values) => {
                let mut values = values.clone();
                values.sort_unstable_by(f64::total_cmp);
                quantiles.map(|q| values[rank(q, values.len())])
            }
            Self::Sketch(sketched) if sketched.fresh.is_empty() => {
                // Never empty, and the quantiles are ours: neither the error nor `None` can come.
                quantiles.map(|q| {
                    let found = sketched.sketch.quantile(q).ok();
                    found.flatten().unwrap_or_default()
                })
            }
            Self::Sketch(sketched) => {
                let mut all = sketched.clone();
                all.settle();
                Self::Sketch(all).at(quantiles)
            }
        }
    }
}

impl std::fmt::Debug for Percentiles {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Exact(values) => f.debug_tuple("Exact").field(&values.len()).finish(),
            Self::Sketch(sketched) => f
                .debug_tuple("Sketch")
                .field(&(sketched.sketch.count() + sketched.fresh.len()))
                .finish(),
        }
    }
}

impl Sketched {
    /// Puts what is fresh into the sketch.
    fn settle(&mut self) {
        for value in self.fresh.drain(..) {
            self.sketch.add(value);
        }
    }
}

fn sketch_of(values: &[f64]) -> DDSketch {
    let mut sketch = DDSketch::new(Config::new(SKETCH_ERROR, SKETCH_BINS, SKETCH_MIN));
    for value in values {
        sketch.add(*value);
    }
    sketch
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "0 <= q < 1 and at most EXACT_VALUES values"
)]
fn rank(q: f64, count: usize) -> usize {
    (q * count_f64(count as u64 - 1)) as usize
}

#[expect(
    clippy::cast_precision_loss,
    reason = "exact up to 2^53 readings in one window"
)]
const fn count_f64(count: u64) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn of(values: &[(i64, f64)]) -> Aggregate {
        let mut aggregate = Aggregate::of(values[0].0, values[0].1);
        for (time, value) in &values[1..] {
            aggregate.add(*time, *value);
        }
        aggregate
    }

    fn close(a: f64, b: f64, scale: f64) -> bool {
        (a - b).abs() <= 1e-9 * scale.max(1.0)
    }

    #[test]
    fn of_equal_times_first_is_the_first_to_arrive_and_last_the_last() {
        let window = of(&[(5, 1.0), (5, 2.0), (5, 3.0)]).window(0, 1, true);
        assert_eq!((window.first, window.last), (1.0, 3.0));
    }

    #[test]
    fn the_deviation_is_that_of_the_population() {
        let values = [2.0, 4.0, 4.0, 4.0, 5.0, 5.0, 7.0, 9.0].map(|value| (0, value));
        let window = of(&values).window(0, 1, true);
        assert_eq!((window.mean, window.stddev), (5.0, 2.0));
    }

    #[test]
    fn the_largest_floats_still_give_numbers() {
        let window = of(&[(0, f64::MAX), (1, f64::MIN), (2, f64::MAX)]).window(0, 1, true);
        for number in [window.mean, window.stddev, window.p50, window.p99] {
            assert!(number.is_finite(), "{window:?}");
        }
    }

    proptest! {
        #[test]
        fn merged_parts_equal_the_whole(
            values in prop::collection::vec((0_i64..100, -1e6..1e6), 2..300),
            cut in any::<prop::sample::Index>(),
        ) {
            let cut = cut.index(values.len() - 1) + 1;
            let whole = of(&values).window(0, 1, true);
            let mut parts = of(&values[..cut]);
            parts.merge(&of(&values[cut..]));
            let parts = parts.window(0, 1, true);
            prop_assert_eq!((parts.count, parts.min, parts.max), (whole.count, whole.min, whole.max));
            prop_assert_eq!((parts.first, parts.last), (whole.first, whole.last));
            prop_assert_eq!((parts.p50, parts.p95, parts.p99), (whole.p50, whole.p95, whole.p99));
            prop_assert!(close(parts.mean, whole.mean, 1e6));
            prop_assert!(close(parts.stddev, whole.stddev, 1e6));
        }

        #[test]
        fn percentiles_are_within_one_percent_of_the_value_at_their_rank(
            values in prop::collection::vec(prop_oneof![-1e6..-1e-3, 1e-3..1e6, Just(0.0)], 1..400),
        ) {
            let timed: Vec<_> = values.iter().map(|value| (0, *value)).collect();
            let window = of(&timed).window(0, 1, true);
            let mut sorted = values;
            sorted.sort_unstable_by(f64::total_cmp);
            for (q, found) in [(0.50, window.p50), (0.95, window.p95), (0.99, window.p99)] {
                let exact = sorted[rank(q, sorted.len())];
                prop_assert!(
                    (found - exact).abs() <= 0.010_001 * exact.abs(),
                    "p{q} of {} is {exact}, not {found}", sorted.len()
                );
            }
        }

        #[test]
        fn no_finite_values_make_it_panic_or_leave_their_range(
            values in prop::collection::vec(any::<f64>().prop_filter("finite", |v| v.is_finite()), 1..300),
        ) {
            let timed: Vec<_> = values.iter().map(|value| (0, *value)).collect();
            let window = of(&timed).window(0, 1, true);
            for number in [window.mean, window.p50, window.p95, window.p99] {
                prop_assert!(number >= window.min && number <= window.max, "{:?}", window);
            }
            prop_assert!(window.stddev.is_finite());
        }
    }
}
