//! Numbers about the last stretch of a series: mean and deviation, slope, rank. Made anew from the view for each reading, in one pass
//! and without memory of their own, so that no rounding error adds up from reading to reading. Rules that ask the same of a reading
//! share the pass ([`Look`]).
//!
//! Mean and deviation are made of shifted sums (Chan, Golub and LeVeque, "Algorithms for Computing the Sample Variance", The American
//! Statistician 37, 1983): of `x - k` and of its square, where `k` is one of the numbers. No division a number, which
//! is where an update by Welford spends its time. Since `k` is one of n numbers, `(mean - k)² <= (n - 1) σ²`: what cancels out in the
//! variance is at most n times as large as that, and its relative error at most about n² ulp, 4e-9 for [`crate::store::SAMPLED_POINTS`].
//! It is that bad only when `k` alone lies apart from all others; else it is some n ulp, however far the numbers lie from 0.
//!
//! What memory no longer holds reading by reading comes as closed windows. They count with their mean and deviation, at the middle of their
//! time, and in a rank as if their values were spread evenly between the percentiles that are known of them.

use std::{cell::RefCell, time::Duration};

use super::{Side, nanos};
use crate::{
    alert::{Of, View},
    model::Timestamp,
    store::{Sample, Window},
};

/// Windows of which one look keeps the aggregates; those of more are made anew for each rule.
const KEPT: usize = 4;

/// One reading's look at a store, for all rules about its series.
pub(in crate::alert) struct Look<'a, V> {
    pub(super) view: &'a V,
    /// The time of the reading that is judged.
    pub(super) time: Timestamp,
    kept: RefCell<[Option<(Span, Stats)>; KEPT]>,
}

/// A stretch of the judged series before the reading.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Span {
    over: Duration,
    /// Whether the reading itself counts.
    with_newest: bool,
}

/// Aggregates of some numbers.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Stats {
    pub(super) count: u64,
    pub(super) mean: f64,
    /// Sum of the squared distances from the mean.
    m2: f64,
    pub(super) min: f64,
    pub(super) max: f64,
    /// The one that was measured first.
    pub(super) first: f64,
}

/// What a pass adds up.
struct Sums {
    count: u64,
    /// The first number that came.
    shift: f64,
    /// Of the distances from `shift`, and of their squares.
    sum: f64,
    squares: f64,
    min: f64,
    max: f64,
    first: f64,
}

impl<'a, V: View> Look<'a, V> {
    /// The view holds the reading already.
    pub(in crate::alert) const fn new(view: &'a V, time: Timestamp) -> Self {
        Self {
            view,
            time,
            kept: RefCell::new([None; KEPT]),
        }
    }

    /// Of the last `over` of a series, the judged one or another.
    pub(super) fn within(&self, of: &Of, over: Duration) -> Stats {
        match of {
            Of::Itself => self.of_itself(Span {
                over,
                with_newest: true,
            }),
            other => {
                let mut sums = Sums::NONE;
                let take = |sample| sums.take(&sample);
                self.view.samples(other, self.back(over), self.time, take);
                sums.stats()
            }
        }
    }

    /// Of the last `over` of the judged series, without the newest.
    pub(super) fn before(&self, over: Duration) -> Stats {
        self.of_itself(Span {
            over,
            with_newest: false,
        })
    }

    fn of_itself(&self, span: Span) -> Stats {
        let known = |kept: &&(Span, Stats)| kept.0 == span;
        if let Some((_, stats)) = self.kept.borrow().iter().flatten().find(known) {
            return *stats;
        }
        let (mut sums, mut skips) = (Sums::NONE, !span.with_newest);
        let from = self.back(span.over);
        self.view.samples(&Of::Itself, from, self.time, |sample| {
            if !std::mem::replace(&mut skips, false) {
                sums.take(&sample);
            }
        });
        let stats = sums.stats();
        if let Some(free) = self
            .kept
            .borrow_mut()
            .iter_mut()
            .find(|kept| kept.is_none())
        {
            *free = Some((span, stats));
        }
        stats
    }

    /// So long before the reading.
    pub(super) fn back(&self, over: Duration) -> Timestamp {
        Timestamp(self.time.0.saturating_sub(nanos(over)))
    }
}

impl Sums {
    const NONE: Self = Self {
        count: 0,
        shift: 0.0,
        sum: 0.0,
        squares: 0.0,
        min: f64::INFINITY,
        max: f64::NEG_INFINITY,
        first: 0.0,
    };

    #[inline]
    fn take(&mut self, sample: &Sample) {
        match sample {
            Sample::Point { number, .. } => {
                if self.count == 0 {
                    self.shift = *number;
                }
                let apart = number - self.shift;
                self.count += 1;
                self.sum += apart;
                self.squares += apart * apart;
                self.min = self.min.min(*number);
                self.max = self.max.max(*number);
                self.first = *number;
            }
            Sample::Window(window) => {
                if self.count == 0 {
                    self.shift = window.mean;
                }
                let (apart, count) = (window.mean - self.shift, float(window.count));
                self.count += window.count;
                self.sum += count * apart;
                self.squares += count * (apart * apart + window.stddev * window.stddev);
                self.min = self.min.min(window.min);
                self.max = self.max.max(window.max);
                self.first = window.first;
            }
        }
    }

    fn stats(&self) -> Stats {
        let off = self.sum / float(self.count.max(1));
        // Numbers that lie further apart than the largest float is long.
        let (mean, m2) = if off.is_finite() {
            (self.shift + off, self.squares - off * self.sum)
        } else {
            (self.min.midpoint(self.max), f64::INFINITY)
        };
        Stats {
            count: self.count,
            mean,
            m2,
            min: self.min,
            max: self.max,
            first: self.first,
        }
    }
}

impl Stats {
    /// The standard deviation of the population; 0 of nothing.
    pub(super) fn stddev(&self) -> f64 {
        let variance = self.m2 / float(self.count.max(1));
        // Values near the largest float overflow on the way.
        if variance.is_finite() {
            variance.max(0.0).sqrt()
        } else {
            f64::MAX
        }
    }
}

/// The slope of the judged series in the last `over`, per second, by least squares. None until the readings span half of `over`.
pub(super) fn slope(view: &impl View, time: Timestamp, over: Duration) -> Option<f64> {
    slope_of(view, &Of::Itself, time, over)
}

/// As [`slope`], of any series.
pub(super) fn slope_of(view: &impl View, of: &Of, time: Timestamp, over: Duration) -> Option<f64> {
    let over = nanos(over);
    let from = Timestamp(time.0.saturating_sub(over));
    let mut oldest = time;
    // Weighted means and co-moments, updated as Welford (1962) does, so that large values lose no digits.
    let (mut weight, mut x_mean, mut y_mean, mut xx, mut xy) = (0.0, 0.0, 0.0, 0.0, 0.0);
    view.samples(of, from, time, |sample| {
        let (at, number, count) = match sample {
            Sample::Point { time, number } => {
                oldest = oldest.min(time);
                (time.0, number, 1.0)
            }
            Sample::Window(window) => {
                let (start, end) = ends(&window);
                oldest = oldest.min(Timestamp(start));
                (start.midpoint(end), window.mean, float(window.count))
            }
        };
        let x = seconds(at.saturating_sub(time.0));
        weight += count;
        let (x_off, y_off) = (x - x_mean, number - y_mean);
        x_mean += x_off * count / weight;
        y_mean += y_off * count / weight;
        xx += count * x_off * (x - x_mean);
        xy += count * x_off * (number - y_mean);
    });
    let long_enough = time.0.saturating_sub(oldest.0) >= over / 2;
    let slope = xy / xx;
    (long_enough && xx > 0.0 && slope.is_finite()).then_some(slope)
}

/// Where a number stands among others.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Rank {
    /// How many others there are.
    pub(super) count: u64,
    /// Above: how many lie under the number. Below: how many lie at it or under it.
    under: f64,
}

/// The rank of `number`, brought nearer by `by`, among the numbers with `from <= time <= to` but the newest.
pub(super) fn rank(
    view: &impl View,
    from: Timestamp,
    to: Timestamp,
    side: Side,
    number: f64,
    by: f64,
) -> Rank {
    let number = match side {
        Side::Above => number - by,
        Side::Below => number + by,
    };
    let is_under = |other: f64| match side {
        Side::Above => other < number,
        Side::Below => other <= number,
    };
    let mut rank = Rank {
        count: 0,
        under: 0.0,
    };
    let mut newest = true;
    view.samples(&Of::Itself, from, to, |sample| {
        if std::mem::replace(&mut newest, false) {
            return;
        }
        match sample {
            Sample::Point { number, .. } => {
                rank.count += 1;
                rank.under += f64::from(u8::from(is_under(number)));
            }
            Sample::Window(window) => {
                rank.count += window.count;
                rank.under += float(window.count) * share_under(&window, number, &is_under);
            }
        }
    });
    rank
}

impl Rank {
    /// Whether the number lies beyond the percentile of nearest rank: the smallest value of which at least so many per cent of the
    /// values are at it or under it.
    pub(super) fn is_beyond(&self, side: Side, percentile: f64) -> bool {
        let place = (percentile / 100.0 * float(self.count)).ceil().max(1.0);
        match side {
            Side::Above => self.under >= place,
            Side::Below => self.under < place,
        }
    }
}

/// The share of a window's values that lie under `number`, between its known percentiles as if spread evenly.
fn share_under(window: &Window, number: f64, is_under: &impl Fn(f64) -> bool) -> f64 {
    if is_under(window.max) {
        return 1.0;
    }
    if !is_under(window.min) {
        return 0.0;
    }
    let known = [
        (window.min, 0.0),
        (window.p50, 0.50),
        (window.p95, 0.95),
        (window.p99, 0.99),
        (window.max, 1.0),
    ];
    let Some(pair) = known
        .windows(2)
        .rev()
        .find(|pair| is_under(pair[0].0) && !is_under(pair[1].0))
    else {
        return 0.5;
    };
    let ((low, at_low), (high, at_high)) = (pair[0], pair[1]);
    let part = (number - low) / (high - low);
    at_low
        + (at_high - at_low)
            * if part.is_finite() {
                part.clamp(0.0, 1.0)
            } else {
                0.0
            }
}

const fn ends(window: &Window) -> (i64, i64) {
    (
        Timestamp::from_millis(window.start_ms).0,
        Timestamp::from_millis(window.end_ms).0,
    )
}

#[expect(
    clippy::cast_precision_loss,
    reason = "a span: a part in 2^53 of it is nothing"
)]
pub(super) fn seconds(nanos: i64) -> f64 {
    nanos as f64 / 1e9
}

#[expect(
    clippy::cast_precision_loss,
    reason = "exact up to 2^53 readings in one look"
)]
const fn float(count: u64) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::alert::Latest;

    /// Numbers, oldest first, one a second from 1 s on; how often somebody looked.
    struct Held(Vec<f64>, RefCell<usize>);

    impl View for Held {
        fn first_number(&self, _: Timestamp, _: Timestamp) -> Option<f64> {
            None
        }

        fn samples(&self, of: &Of, from: Timestamp, to: Timestamp, mut each: impl FnMut(Sample)) {
            *self.1.borrow_mut() += 1;
            let timed = (1..).map(|at| at * 1_000_000_000).zip(&self.0);
            let timed: Vec<_> = timed.filter(|_| *of == Of::Itself).collect();
            for (time, number) in timed.into_iter().rev() {
                if (from.0..=to.0).contains(&time) {
                    let (time, number) = (Timestamp(time), *number);
                    each(Sample::Point { time, number });
                }
            }
        }

        fn latest(&self, _: &Of) -> Option<Latest> {
            None
        }
    }

    fn held(numbers: &[f64]) -> (Held, Timestamp) {
        let now = i64::try_from(numbers.len()).unwrap() * 1_000_000_000;
        (Held(numbers.to_vec(), RefCell::new(0)), Timestamp(now))
    }

    const ALL: Duration = Duration::from_secs(1 << 20);

    /// By the two passes of the textbook, with the second one's correction for the rounding of the first one's mean.
    fn two_passes(numbers: &[f64]) -> (f64, f64) {
        let n = float(numbers.len() as u64);
        let mean = numbers.iter().map(|x| x / n).sum::<f64>();
        let apart = numbers.iter().map(|x| x - mean);
        let rest: f64 = apart.clone().sum();
        let m2 = apart.map(|x| x * x).sum::<f64>() - rest * rest / n;
        (mean + rest / n, (m2 / n).max(0.0).sqrt())
    }

    /// Numbers of any size with noise of any size, some with one that lies far apart.
    fn numbers() -> impl Strategy<Value = Vec<f64>> {
        let base = prop_oneof![Just(0.0), -1e3..1e3, Just(1e9), Just(-1e9), Just(1e12)];
        let noise = prop_oneof![Just(1e-3), Just(1.0), Just(1e6)];
        let spike = prop::option::of((any::<prop::sample::Index>(), -1e9..1e9_f64));
        let noises = prop::collection::vec(-1.0..1.0_f64, 1..700);
        (base, noise, noises, spike).prop_map(|(base, noise, noises, spike)| {
            let mut numbers: Vec<f64> = noises.iter().map(|x| base + noise * x).collect();
            if let Some((place, height)) = spike {
                let place = place.index(numbers.len());
                numbers[place] += height;
            }
            numbers
        })
    }

    proptest! {
        #[test]
        fn mean_and_deviation_are_those_of_two_passes(numbers in numbers()) {
            let (view, now) = held(&numbers);
            let stats = Look::new(&view, now).within(&Of::Itself, ALL);
            let (mean, stddev) = two_passes(&numbers);
            let size = numbers.iter().fold(0.0_f64, |size, x| size.max(x.abs()));
            prop_assert!((stats.mean - mean).abs() <= 1e-14 * size + 1e-9 * stddev, "{} {mean}", stats.mean);
            // n² ulp for n = 700, and what the numbers themselves are rounded by.
            let apart = (stats.stddev() - stddev).abs();
            prop_assert!(apart <= 1e-9 * stddev + 1e-18 * size, "{} {stddev}", stats.stddev());
            prop_assert_eq!(stats.count, numbers.len() as u64);
        }

        /// However the numbers fall into windows, up to what these are rounded by.
        #[test]
        fn windows_count_as_the_numbers_in_them(numbers in prop::collection::vec(990.0..1010.0_f64, 8..200)) {
            let mut sums = Sums::NONE;
            let (older, newer) = numbers.split_at(numbers.len() / 2);
            for number in newer.iter().rev() {
                sums.take(&Sample::Point { time: Timestamp(0), number: *number });
            }
            for part in older.chunks(7).rev() {
                let (mean, stddev) = two_passes(part);
                let mut window = window(mean, stddev);
                window.count = part.len() as u64;
                sums.take(&Sample::Window(window));
            }
            let (mean, stddev) = two_passes(&numbers);
            let stats = sums.stats();
            prop_assert!((stats.mean - mean).abs() <= 1e-9);
            prop_assert!((stats.stddev() - stddev).abs() <= 1e-9 * stddev);
        }
    }

    fn window(mean: f64, stddev: f64) -> Window {
        Window {
            start_ms: 0,
            end_ms: 1,
            count: 1,
            min: mean,
            max: mean,
            mean,
            stddev,
            first: mean,
            last: mean,
            p50: mean,
            p95: mean,
            p99: mean,
            closed: true,
        }
    }

    #[test]
    fn what_does_not_vary_has_no_deviation_and_what_is_too_large_has_the_largest() {
        let (view, now) = held(&[0.1; 600]);
        assert_eq!(Look::new(&view, now).within(&Of::Itself, ALL).stddev(), 0.0);
        let (view, now) = held(&[f64::MAX; 600]);
        let stats = Look::new(&view, now).within(&Of::Itself, ALL);
        assert_eq!((stats.mean, stats.stddev()), (f64::MAX, 0.0));
        let (view, now) = held(&[f64::MAX, f64::MIN]);
        let stats = Look::new(&view, now).within(&Of::Itself, ALL);
        assert_eq!((stats.mean, stats.stddev()), (0.0, f64::MAX));
        let (view, now) = held(&[]);
        let stats = Look::new(&view, now).within(&Of::Itself, ALL);
        assert_eq!((stats.count, stats.stddev()), (0, 0.0));
    }

    #[test]
    fn rules_that_ask_the_same_of_a_reading_look_once() {
        let (view, now) = held(&[1.0, 2.0, 3.0, 10.0]);
        let look = Look::new(&view, now);
        for _ in 0..10 {
            assert_eq!(look.before(ALL).mean, 2.0);
            assert_eq!(look.within(&Of::Itself, ALL).mean, 4.0);
            assert_eq!(look.before(Duration::from_secs(1)).mean, 3.0);
        }
        assert_eq!(*view.1.borrow(), 3, "three that differ");
        for seconds in 10..20 {
            assert_eq!(look.before(Duration::from_secs(seconds)).mean, 2.0);
        }
        assert_eq!(look.before(ALL).mean, 2.0, "more than it keeps");
    }
}
