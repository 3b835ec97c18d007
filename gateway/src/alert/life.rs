//! How long an alert of a rule lives beyond what its condition says: it may stay, wait, flap, keep to hours, or stand back for another.
//!
//! None of this is part of what a rule asks: when it changes, the alerts of the rule go on (`docs/alerts.md`).

use std::time::Duration;

use smol_str::SmolStr;

use super::schedule::Schedule;

/// What a rule says about the life of its alerts. By default an alert lives as its condition does.
#[derive(Clone, Debug, PartialEq)]
pub struct Life {
    /// So long an alert goes on firing after it is clear (measured time); true again within that, it is still the same alert. Default zero.
    pub keep_firing_for: Duration,
    /// An alert that fired goes on firing for at least so long (measured time). Default zero.
    pub min_on: Duration,
    /// The next alert fires no sooner than so long after one was over (measured time); it is pending until then. Default zero.
    pub min_off: Duration,
    /// An alert that fired for so long (measured time) is over by itself, whatever its condition says; the next one begins only after that
    /// was clear. Zero: never. Default zero.
    pub resolve_after: Duration,
    /// When many alerts become one. Default: never.
    pub flapping: Option<Flapping>,
    /// A firing alert is marked stale when nothing was received for so long (arrival). Zero: never. Default 15 min. Not for silence itself.
    pub stale_after: Duration,
    /// When it may fire. Default: always.
    pub during: Schedule,
    /// Names of rules: while one of them fires for the same device, this one raises no alert. Default: none.
    pub depends_on: Vec<SmolStr>,
}

/// When many alerts become one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flapping {
    /// It fires so many times (2 to 100) …
    pub fires: usize,
    /// … within this (measured time).
    pub within: Duration,
    /// It is over when its condition did not change for so long (measured time).
    pub calm: Duration,
}

impl Default for Life {
    fn default() -> Self {
        Self {
            keep_firing_for: Duration::ZERO,
            min_on: Duration::ZERO,
            min_off: Duration::ZERO,
            resolve_after: Duration::ZERO,
            flapping: None,
            stale_after: Duration::from_secs(900),
            during: Schedule::default(),
            depends_on: Vec::new(),
        }
    }
}

impl Life {
    /// For how long the condition must stay as it is for flapping to be over.
    pub(super) fn calm(&self) -> Duration {
        self.flapping
            .map_or(Duration::ZERO, |flapping| flapping.calm)
    }
}
