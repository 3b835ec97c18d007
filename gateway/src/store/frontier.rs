//! How far the measured time of one series has come, as far as it can be believed.
//!
//! Windows close and rules judge against this frontier, so one reading with a wrong clock must not move it to where every
//! honest reading after it is late. Two rules keep it honest:
//!
//! - A reading that is ahead of its own arrival (and of the frontier) by more than the lateness is a *leap*: it moves nothing
//!   until a second one agrees. Then the device's clock is taken to be ahead by so much, and followed.
//! - A frontier ahead of the arrivals, and [`REWIND_AFTER`] readings in a row that are not and lie behind it, is a clock that was
//!   put right (the device's, or ours when it stamps the readings): the frontier goes back to them.
//!
//! A frontier that is not ahead of the arrivals never goes back: old readings are then only late.

use crate::model::Timestamp;

/// So many honest readings in a row behind a frontier from the future bring it back.
const REWIND_AFTER: u8 = 3;

/// What is known of the time of one series. All times and spans in nanoseconds.
#[derive(Debug, Default)]
pub(crate) struct Frontier {
    newest: Option<i64>,
    /// How far ahead of arrival this device's clock was confirmed to be.
    ahead_by: i64,
    /// An unconfirmed leap.
    leap: Option<i64>,
    /// Readings in a row that say that the frontier is wrong.
    against: u8,
}

/// What a reading means for the frontier.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// It is the newest now.
    Advanced,
    /// It was measured before the newest.
    Late,
    /// It says a time so far ahead that a second reading must agree first.
    Leap,
    /// The frontier was wrong and went back to this reading.
    Rewound,
}

impl Frontier {
    /// The newest measured time that is believed; none before the first reading.
    pub(crate) const fn newest(&self) -> Option<i64> {
        self.newest
    }

    /// The clock that stamps the readings was set by so much: the frontier goes with it. Where it is now; none before the first reading.
    pub(crate) fn moved(&mut self, by: i64) -> Option<Timestamp> {
        let newest = self.newest?.saturating_add(by);
        *self = Self {
            newest: Some(newest),
            ..Self::default()
        };
        Some(Timestamp(newest))
    }

    /// The clock that says the arrivals was set by so much; the device's was not.
    pub(crate) const fn clock_jumped(&mut self, by: i64) {
        let ahead_by = self.ahead_by.saturating_sub(by);
        self.ahead_by = if ahead_by > 0 { ahead_by } else { 0 };
        self.against = 0;
    }

    /// Takes the times of one reading.
    pub(crate) fn observe(&mut self, time: i64, received: i64, lateness: i64) -> Step {
        let Some(newest) = self.newest else {
            self.newest = Some(time);
            return Step::Advanced;
        };
        let soon = received.saturating_add(lateness);
        if time < newest {
            let wrong = time.saturating_add(lateness) < newest && soon < newest && time <= soon;
            self.against = if wrong { self.against + 1 } else { 0 };
            if self.against < REWIND_AFTER {
                return Step::Late;
            }
            *self = Self {
                newest: Some(time),
                ..Self::default()
            };
            return Step::Rewound;
        }
        self.against = 0;
        let believed =
            time <= soon.saturating_add(self.ahead_by) || time <= newest.saturating_add(lateness);
        let confirmed = self
            .leap
            .is_some_and(|leap| time >= leap.saturating_sub(lateness));
        if !believed && !confirmed {
            self.leap = Some(time);
            return Step::Leap;
        }
        if !believed {
            self.ahead_by = time.saturating_sub(received).max(0);
        }
        self.leap = None;
        self.newest = Some(time);
        Step::Advanced
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LATENESS: i64 = 30;

    fn steps(readings: &[(i64, i64)]) -> (Vec<Step>, Option<i64>) {
        let mut frontier = Frontier::default();
        let steps = readings
            .iter()
            .map(|(time, received)| frontier.observe(*time, *received, LATENESS))
            .collect();
        (steps, frontier.newest())
    }

    #[test]
    fn a_gap_is_no_leap_when_the_arrival_agrees() {
        assert_eq!(
            steps(&[(100, 100), (90_000, 90_001)]),
            (vec![Step::Advanced, Step::Advanced], Some(90_000))
        );
    }

    #[test]
    fn one_reading_from_the_future_moves_nothing() {
        assert_eq!(
            steps(&[(100, 100), (86_000, 110), (120, 120), (130, 130)]),
            (
                vec![Step::Advanced, Step::Leap, Step::Advanced, Step::Advanced],
                Some(130)
            )
        );
    }

    #[test]
    fn a_clock_that_stays_ahead_is_followed_from_its_second_reading() {
        let (steps, newest) = steps(&[
            (100, 100),
            (3_700, 110),
            (3_800, 210),
            (3_900, 310),
            (4_000, 410),
        ]);
        assert_eq!(steps[1], Step::Leap);
        assert_eq!(&steps[2..], [Step::Advanced; 3]);
        assert_eq!(newest, Some(4_000));
    }

    #[test]
    fn a_clock_put_right_brings_the_frontier_back_after_three_readings() {
        let (steps, newest) = steps(&[(9_000, 100), (110, 110), (120, 120), (130, 130)]);
        assert_eq!(
            steps,
            [Step::Advanced, Step::Late, Step::Late, Step::Rewound]
        );
        assert_eq!(newest, Some(130));
    }

    #[test]
    fn yesterdays_readings_sent_at_once_do_not_bring_it_back() {
        let mut readings = vec![(100_000, 100_000)];
        readings.extend((0..50).map(|n| (1_000 + n, 100_001)));
        assert_eq!(steps(&readings).1, Some(100_000));
    }
}
