//! When a series, or a whole source, was last heard of, and since when it counts as silent.
//!
//! It runs on the time since the process started. What was heard by an earlier run carries how long ago that was by the wall clock, so
//! that a deadline goes on over a restart; but every sender gets a fair chance after a start, however long the gateway was off.

use std::time::Duration;

/// After a start nothing counts as silent before this (or before its deadline, if that is shorter).
pub(super) const FAIR_CHANCE: Duration = Duration::from_secs(30);
/// A device that says how often it sends is silent after so many times that.
const INTERVALS: u32 = 3;
/// No silence is shorter.
const SHORTEST: Duration = Duration::from_millis(1);

/// The last arrival.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Heard {
    /// When, by the time of the process; for what an earlier run heard, when that was told.
    at: Duration,
    /// How long ago it was then; zero if it came in this run, or if nobody knows.
    before: Duration,
    /// Nothing ever came, as far as is known.
    pub(super) never: bool,
    /// How often its device says that it sends; zero: it says nothing.
    pub(super) interval: Duration,
}

impl Heard {
    /// Not heard yet; waiting for it begins now.
    pub(super) const fn never(now: Duration) -> Self {
        Self {
            at: now,
            before: Duration::ZERO,
            never: true,
            interval: Duration::ZERO,
        }
    }

    /// Something came now.
    pub(super) const fn now(&mut self, now: Duration) {
        (self.at, self.before, self.never) = (now, Duration::ZERO, false);
    }

    /// An earlier run heard of it, so long ago if that is known. What is newer stays.
    pub(super) fn earlier(&mut self, now: Duration, ago: Option<Duration>) {
        let was_never = std::mem::replace(&mut self.never, false);
        let Some(ago) = ago else { return };
        let news = Self {
            at: now,
            before: ago,
            ..*self
        };
        if was_never || news.moment() > self.moment() {
            *self = news;
        }
    }

    /// The same for one who looks only since `start`: its silence counts from then at the earliest. Zero: who always looked.
    pub(super) fn since(mut self, start: Duration) -> Self {
        if !start.is_zero() && nanos(start) > self.moment() {
            (self.at, self.before) = (self.at.max(start), Duration::ZERO);
        }
        self
    }

    /// When it came, in nanoseconds of the process's time; before zero if in an earlier run.
    pub(super) fn moment(&self) -> i128 {
        nanos(self.at) - nanos(self.before)
    }

    /// How long it may be silent under a rule that waits for `silence`.
    pub(super) fn patience(&self, silence: Duration) -> Duration {
        silence
            .max(self.interval.saturating_mul(INTERVALS))
            .max(SHORTEST)
    }

    /// When it has been silent for too long.
    pub(super) fn deadline(&self, silence: Duration) -> Duration {
        self.after(self.patience(silence))
    }

    /// When nothing came for so long; with a fair chance after a start.
    pub(super) fn after(&self, span: Duration) -> Duration {
        let rest = if self.before.is_zero() {
            span
        } else {
            span.saturating_sub(self.before).max(span.min(FAIR_CHANCE))
        };
        self.at.saturating_add(rest)
    }

    /// Whether it has been silent for too long, fair chance or not.
    pub(super) fn is_overdue(&self, silence: Duration, now: Duration) -> bool {
        nanos(now) - self.moment() >= nanos(self.patience(silence))
    }
}

fn nanos(span: Duration) -> i128 {
    i128::try_from(span.as_nanos()).unwrap_or(i128::MAX / 4)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deadline_goes_on_over_a_restart_and_leaves_a_fair_chance() {
        // Silence of the rule, interval of the device, how long ago it was heard (none: unknown), deadline: all in seconds.
        let table = [
            (600, 0, Some(540), 60),
            (600, 0, Some(590), 30),
            (600, 0, Some(3_600), 30),
            (600, 0, Some(0), 600),
            (600, 0, None, 600),
            (10, 0, Some(3_600), 10),
            (10, 0, Some(1), 10),
            (10, 100, Some(200), 100),
            (10, 100, Some(290), 30),
            (600, 100, Some(0), 600),
            (0, 0, Some(9), 0),
        ];
        for (silence, interval, ago, deadline) in table {
            let mut heard = Heard::never(Duration::ZERO);
            heard.interval = Duration::from_secs(interval);
            heard.earlier(Duration::ZERO, ago.map(Duration::from_secs));
            assert!(!heard.never);
            let due = heard.deadline(Duration::from_secs(silence));
            assert_eq!(due.as_secs(), deadline, "{silence} {interval} {ago:?}");
        }
    }

    #[test]
    fn who_looks_again_counts_from_then_and_from_what_came_later() {
        let secs = Duration::from_secs;
        let mut heard = Heard::never(secs(10));
        heard.earlier(secs(10), Some(secs(540)));
        assert_eq!(heard.since(Duration::ZERO), heard);
        assert_eq!(heard.since(secs(50)).deadline(secs(600)), secs(650));
        assert_eq!(heard.since(secs(5)).deadline(secs(10)), secs(20));
        assert!(!heard.since(secs(50)).is_overdue(secs(600), secs(649)));
        assert!(Heard::never(secs(1)).since(secs(2)).never);
        heard.now(secs(60));
        assert_eq!(heard.since(secs(50)), heard);
    }

    #[test]
    fn what_came_last_counts_and_one_reading_now_ends_what_was_before() {
        let secs = Duration::from_secs;
        let mut heard = Heard::never(Duration::ZERO);
        heard.earlier(Duration::ZERO, Some(secs(5)));
        heard.earlier(Duration::ZERO, Some(secs(90)));
        assert_eq!(heard.deadline(secs(100)), secs(95));
        assert!(heard.is_overdue(secs(4), secs(0)) && !heard.is_overdue(secs(6), secs(0)));
        heard.now(secs(7));
        assert_eq!(heard.deadline(secs(100)), secs(107));
        heard.earlier(secs(8), None);
        assert_eq!(heard.deadline(secs(100)), secs(107));
    }
}
