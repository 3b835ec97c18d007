//! Rules, their conditions and the alert state machine, silences and acknowledgements. Pure: readings and a `now` in, transitions out.
//!
//! What it does not do: keep values (the caller hands them in), write anything down, deliver anything, know who was told.

mod active;
mod condition;
mod dependence;
mod flapping;
mod identity;
mod life;
mod machine;
mod own;
mod record;
pub mod schedule;
pub mod silence;
mod slot;

use std::{collections::BTreeMap, time::Duration};

use serde::{Deserialize, Serialize};
use smol_str::SmolStr;

pub use self::{
    life::{Flapping, Life},
    machine::{Counts, Lapsed, Machine, Moment, lapse},
    own::{DISK_RULE, DISK_SERIES, Own, is_own},
    record::{Cause, Change, Marks, Memory},
};
use crate::model::{SeriesKey, Timestamp, Value};

/// A condition over series that can raise an alert.
#[derive(Clone, Debug, PartialEq)]
pub struct Rule {
    /// Unique; shown to people.
    pub name: SmolStr,
    /// A glob over `device/metric`; one alert per series that matches. `*` does not cross the `/`.
    pub series: SmolStr,
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

/// What must be true of a series.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Condition {
    /// Above `limit`; clear again only at or below `clear` (at most `limit`).
    Above {
        /// Fires over this.
        limit: f64,
        /// Clears at or under this.
        clear: f64,
    },
    /// Below `limit`; clear again only at or above `clear` (at least `limit`).
    Below {
        /// Fires under this.
        limit: f64,
        /// Clears at or over this.
        clear: f64,
    },
    /// The change over the last `over` is more than `limit` in either direction (per `over`, not per second): the newest value
    /// against the first one that is not bad in that time.
    ChangeOver {
        /// How much.
        limit: f64,
        /// In what time.
        over: Duration,
    },
    /// Nothing was received for this long (arrival, not measured time), for a series that is known: from its first reading, or
    /// because an earlier run knew it. Retained and bad readings don't count as data.
    NoDataFor {
        /// How long.
        silence: Duration,
    },
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
