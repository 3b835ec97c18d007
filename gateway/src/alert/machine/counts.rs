//! What a machine is told and tells in numbers: the moment it is asked at, how many alerts there are, how often a rule could not decide.

use std::time::Duration;

use crate::{
    alert::condition::Undecided,
    model::{SeriesKey, Timestamp},
};

/// Now, by both clocks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Moment {
    /// The wall clock, for stamps. It may jump.
    pub clock: Timestamp,
    /// How long the process runs, for waiting. It never jumps.
    pub uptime: Duration,
}

/// How many alerts there are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Pending now.
    pub pending: usize,
    /// Firing now.
    pub firing: usize,
    /// Alerts that did not begin because there were too many.
    pub refused: u64,
    /// Readings of which a condition could not be decided.
    pub undecided: u64,
}

/// How often a rule could not be decided, and the last time.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Troubles {
    /// Readings, since the start or since the rules were last changed.
    pub times: u64,
    last: Option<(SeriesKey, Undecided)>,
}

impl Troubles {
    pub(super) fn note(&mut self, series: &SeriesKey, why: Undecided) {
        self.times += 1;
        self.last = Some((series.clone(), why));
    }

    /// The last time, for people: `boiler/temperature: setpoint has no value that can be used`.
    #[must_use]
    pub fn last(&self) -> Option<String> {
        let (series, why) = self.last.as_ref()?;
        Some(format!("{series}: {why}"))
    }
}
