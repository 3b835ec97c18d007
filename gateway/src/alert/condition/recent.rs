//! Numbers about the last stretch of a series: mean and deviation, slope, rank. Made anew from the view for each reading, in one pass
//! and without memory of their own.
//!
//! What memory no longer holds reading by reading comes as closed windows. They count with their mean and deviation (merged by
//! Chan, Golub and LeVeque, 1979), at the middle of their time, and in a rank as if their values were spread evenly between
//! the percentiles that are known of them.

use std::time::Duration;

use super::{Side, nanos};
use crate::{
    alert::{Of, View},
    model::Timestamp,
    store::{Sample, Window},
};

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

impl Stats {
    const NONE: Self = Self {
        count: 0,
        mean: 0.0,
        m2: 0.0,
        min: f64::INFINITY,
        max: f64::NEG_INFINITY,
        first: 0.0,
    };

    /// Of the numbers with `from <= time <= to`.
    pub(super) fn within(view: &impl View, of: &Of, from: Timestamp, to: Timestamp) -> Self {
        let mut stats = Self::NONE;
        view.samples(of, from, to, |sample| stats.take(&sample));
        stats
    }

    /// As [`Stats::within`] of the judged series, without the newest.
    pub(super) fn before(view: &impl View, from: Timestamp, to: Timestamp) -> Self {
        let (mut stats, mut newest) = (Self::NONE, true);
        view.samples(&Of::Itself, from, to, |sample| {
            if !std::mem::replace(&mut newest, false) {
                stats.take(&sample);
            }
        });
        stats
    }

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

    fn take(&mut self, sample: &Sample) {
        match sample {
            Sample::Point { number, .. } => {
                self.count += 1;
                let before = number - self.mean;
                self.mean += before / float(self.count);
                self.m2 += before * (number - self.mean);
                self.min = self.min.min(*number);
                self.max = self.max.max(*number);
                self.first = *number;
            }
            Sample::Window(window) => {
                let (ours, theirs) = (float(self.count), float(window.count));
                let all = ours + theirs;
                let apart = window.mean - self.mean;
                self.count += window.count;
                self.mean += apart * theirs / all;
                self.m2 +=
                    window.stddev * window.stddev * theirs + apart * apart * ours * theirs / all;
                self.min = self.min.min(window.min);
                self.max = self.max.max(window.max);
                self.first = window.first;
            }
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
