//! How far a device's clock is off, from the times that it says and when its readings arrive.
//!
//! Readings that come late (buffered, on a slow line) and a clock that is behind look the same one by one. A clock is believed to be off
//! only when [`READINGS`] in a row, over at least [`OVER`] of arrival, say times that are off by the same amount, give or take
//! [`TOLERANCE`]: what was buffered catches up, a wrong clock does not. Pure; all times in nanoseconds.

use super::window::nanos;
use std::time::Duration;

/// What transport and jitter may add. A clock that is off by less than twice this is right.
const TOLERANCE: Duration = Duration::from_secs(60);
/// So many readings must agree.
const READINGS: u32 = 5;
/// Over so long a time.
const OVER: Duration = Duration::from_secs(10);

/// What is known of one device's clock.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct DeviceClock {
    /// The readings that agree so far.
    run: Option<Run>,
    ahead_by: Option<i64>,
}

#[derive(Clone, Copy, Debug)]
struct Run {
    since: i64,
    readings: u32,
    first_lag: i64,
    /// The smallest delay, which has the least transport in it. Negative when the device is ahead.
    lag: i64,
}

impl DeviceClock {
    /// By how much the device's clock is ahead of ours (negative: behind); `None` when it is right, or not known to be wrong.
    pub(crate) const fn ahead_by(&self) -> Option<i64> {
        self.ahead_by
    }

    /// Takes a reading with a time of its own. True when there is news.
    pub(crate) fn observe(&mut self, time: i64, received: i64) -> bool {
        let lag = received.saturating_sub(time);
        let tolerance = nanos(TOLERANCE);
        let run = match &mut self.run {
            Some(run)
                if lag.saturating_sub(run.first_lag).unsigned_abs() <= tolerance.unsigned_abs() =>
            {
                run.readings = run.readings.saturating_add(1);
                run.lag = run.lag.min(lag);
                run
            }
            other => other.insert(Run {
                since: received,
                readings: 1,
                first_lag: lag,
                lag,
            }),
        };
        if run.readings < READINGS || received.saturating_sub(run.since) < nanos(OVER) {
            return false;
        }
        let off = run.lag.unsigned_abs() > 2 * tolerance.unsigned_abs();
        let ahead_by = off.then_some(run.lag.saturating_neg());
        let news = match (self.ahead_by, ahead_by) {
            (Some(before), Some(now)) => {
                now.saturating_sub(before).unsigned_abs() > tolerance.unsigned_abs()
            }
            (before, now) => before.is_some() != now.is_some(),
        };
        if news {
            self.ahead_by = ahead_by;
        }
        news
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: i64 = 1_000_000_000;
    const HOUR: i64 = 3_600 * SECOND;

    /// Readings as `(time, received)` in seconds; how often there was news, and what is known in the end.
    fn known(readings: impl Iterator<Item = (i64, i64)>) -> (usize, Option<i64>) {
        let mut clock = DeviceClock::default();
        let news = readings
            .filter(|(time, received)| clock.observe(time * SECOND, received * SECOND))
            .count();
        (news, clock.ahead_by())
    }

    #[test]
    fn a_clock_that_is_an_hour_off_is_known_after_a_while_and_told_once() {
        for off in [3_600, -3_600] {
            let readings = (0..100).map(|n| (1_000_000 + n * 5 + off, 1_000_000 + n * 5));
            assert_eq!(known(readings), (1, Some(off * SECOND)));
        }
    }

    #[test]
    fn what_was_buffered_for_a_day_is_no_wrong_clock() {
        let burst = (0..1_440).map(|n| (n * 60, 86_400 + n / 100));
        assert_eq!(known(burst), (0, None));
    }

    #[test]
    fn a_clock_that_is_put_right_is_told_too() {
        let wrong = (0..10).map(|n| (n * 5, n * 5 + 3_600));
        let right = (10..30).map(|n| (n * 5 + 3_600, n * 5 + 3_600));
        assert_eq!(known(wrong.chain(right)), (2, None));
    }

    #[test]
    fn jitter_is_no_news() {
        let readings = (0..100).map(|n| (n * 30, n * 30 + 3_600 + (n % 4) * 10));
        assert_eq!(known(readings), (1, Some(-HOUR)));
    }
}
