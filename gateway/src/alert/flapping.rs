//! Many alerts within a time become one, which goes on firing until its condition leaves off changing.
//!
//! Counted is how often it fires: so the alert that begins to flap is told once, as one that fires, and those who hear of alerts need no
//! word of another kind. While it flaps, what its condition does is neither told nor written down; a restart finds it in the journal.

use super::{
    Flapping,
    condition::{nanos, span},
    record::Past,
};
use crate::model::Timestamp;

/// With this begins what a flapping alert's summary says besides.
pub(super) const WORDS: &str = " (flapping: ";

impl Flapping {
    /// What a flapping alert's summary says besides.
    pub(super) fn words(&self) -> String {
        let within = span(self.within);
        format!("{WORDS}fired {} times in {within})", self.fires)
    }
}

impl Past {
    /// Notes that it fired; whether that was once too often.
    pub(super) fn fires_too_often(&mut self, at: Timestamp, flapping: Flapping) -> bool {
        let from = at.0.saturating_sub(nanos(flapping.within));
        // What is after it is of a time that was taken back.
        self.fires.retain(|fired| fired.0 > from && fired.0 <= at.0);
        self.fires.push(at);
        let too_many = self.fires.len().saturating_sub(flapping.fires);
        self.fires.drain(..too_many);
        self.fires.len() >= flapping.fires
    }

    /// The clock jumped.
    pub(super) fn shift(&mut self, by: i64) {
        let all = [&mut self.began, &mut self.ended];
        let times = all.into_iter().flatten().chain(&mut self.fires);
        for time in times {
            *time = Timestamp(time.0.saturating_add(by));
        }
    }
}
