//! What is kept of the times at which a rule could not be decided.

use crate::{alert::condition::Undecided, model::SeriesKey};

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
