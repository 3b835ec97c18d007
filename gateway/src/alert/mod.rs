//! Rules, their conditions and the alert state machine, routes, silences and acknowledgements. Pure: readings and a `now` in, transitions out.
//!
//! What it does not do: keep values (the caller hands them in), write anything down, deliver anything, know who was told.

mod active;
pub mod anomaly;
mod closing;
mod condition;
mod dependence;
mod flapping;
mod foresight;
mod heard;
mod identity;
mod life;
mod links;
mod machine;
mod own;
mod record;
pub mod route;
pub mod schedule;
pub mod silence;
mod slot;
mod view;

use std::{collections::BTreeMap, time::Duration};

use serde::{Deserialize, Serialize};
use smol_str::SmolStr;

pub(crate) use self::condition::MAX_COUNT;
pub use self::{
    closing::{Closing, StillClosed},
    condition::{Condition, Counted, Direction, Expression, Misfit, Side},
    foresight::Foresight,
    life::{Flapping, Life},
    links::Awaited,
    machine::{Counts, Lapsed, Machine, Moment, Remembered, Troubles, Unreadable, lapse},
    own::{DISK_RULE, DISK_SERIES, Own, SOURCE_RULE, is_own},
    record::{Cause, Change, Marks, Memory},
    view::{Latest, Of, View},
};
use crate::{
    glob,
    model::{SeriesKey, Timestamp, Value},
};

/// A condition over series that can raise an alert.
#[derive(Clone, Debug, PartialEq)]
pub struct Rule {
    /// Unique; shown to people.
    pub name: SmolStr,
    /// A glob over `device/metric`; one alert per series that matches. `*` does not cross the `/`.
    pub series: SmolStr,
    /// Labels that the series' device must have, each as a pattern (`*` and `?`, neither crosses a `/`); `device` and `site` are
    /// labels too. Empty: any.
    pub matching: BTreeMap<String, String>,
    /// What must be true.
    pub condition: Condition,
    /// How long it must be true (on measured time) before `pending` becomes `firing`. Default zero: at once, without `pending`.
    pub hold: Duration,
    /// How bad it is.
    pub severity: Severity,
    /// For people: what to do. May be empty.
    pub summary: String,
    /// Names of the webhooks that hear of it; empty: all.
    pub webhooks: Vec<SmolStr>,
    /// Added to the alert's labels.
    pub labels: BTreeMap<String, String>,
    /// How long its alerts live beyond what the condition says.
    pub life: Life,
}

impl Rule {
    /// One that says no more than it must: a warning, at once, to all.
    #[cfg(test)]
    pub(crate) fn plain(name: &str, series: &str, condition: Condition) -> Self {
        Self {
            name: name.into(),
            series: series.into(),
            matching: BTreeMap::new(),
            condition,
            hold: Duration::ZERO,
            severity: Severity::Warning,
            summary: String::new(),
            webhooks: Vec::new(),
            labels: BTreeMap::new(),
            life: Life::default(),
        }
    }

    /// Whether it is about a series of this name, whose device has these labels.
    #[must_use]
    pub fn is_about(&self, series: &str, labels: &BTreeMap<String, String>) -> bool {
        glob::matches(&self.series, series)
            && self.matching.iter().all(|(label, pattern)| {
                labels
                    .get(label)
                    .is_some_and(|value| glob::matches(pattern, value))
            })
    }
}

/// How bad an alert is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Good to know.
    Info,
    /// Look at it today.
    #[default]
    Warning,
    /// Get up.
    Critical,
}

/// Where an alert is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AlertState {
    /// True, but not yet for long enough. Nobody is told.
    Pending,
    /// True for long enough.
    Firing,
    /// Was firing, is over.
    Resolved,
    /// Was pending, came to nothing. Nobody is told.
    Cancelled,
}

/// One alert: one rule true for one series. The `id` is made from rule, series and the time at which it began, so that a
/// replay after a crash makes the same alert again, not a second one.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Alert {
    /// Stable; letters, digits and `-`.
    pub id: SmolStr,
    /// The rule's name.
    pub rule: SmolStr,
    /// `device/metric`.
    pub series: SmolStr,
    /// Where it is in its life.
    pub state: AlertState,
    /// How bad it is.
    pub severity: Severity,
    /// What it says, for people: rule summary or a sentence made from the condition.
    pub summary: String,
    /// The value that caused the last change; none for no-data.
    pub value: Option<Value>,
    /// The unit of `value`.
    pub unit: Option<SmolStr>,
    /// Device labels, site and rule labels.
    pub labels: BTreeMap<String, String>,
    /// When the condition became true (measured time), epoch milliseconds.
    pub began_ms: i64,
    /// When it fired.
    pub fired_ms: Option<i64>,
    /// When it was over.
    pub resolved_ms: Option<i64>,
    /// Which webhooks hear of it; empty: all.
    pub webhooks: Vec<SmolStr>,
    /// What changed last and why, and how far what it says can be trusted.
    #[serde(flatten)]
    pub marks: Marks,
}

/// A change of an alert: durable as a whole, in this order. What happened and why is in the alert's marks.
#[derive(Clone, Debug, PartialEq)]
pub struct Transition {
    /// The alert after the change; `alert.state` is the new state.
    pub alert: Alert,
    /// For which series.
    pub series: SeriesKey,
    /// The measured time (or the clock, for no-data) at which it changed.
    pub at: Timestamp,
    /// What the rule remembers of the series after it; `None`: nothing.
    pub memory: Option<Box<Memory>>,
}
