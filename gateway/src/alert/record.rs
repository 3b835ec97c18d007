//! What is written down of an alert beyond its state: what changed last and why, marks, and what its rule remembers of this series.
//!
//! All of it is written with the change that it belongs to, in one transaction, so that a restart goes on from exactly there.

use serde::{Deserialize, Serialize};
use smol_str::SmolStr;

use super::{Alert, AlertState, slot::Slot};
use crate::model::Timestamp;

/// What happened to an alert.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Change {
    /// It is pending.
    Began,
    /// It fires.
    Fired,
    /// Its condition is over; it goes on firing for as long as its rule says.
    Cleared,
    /// Its condition is true again before that was over.
    TrueAgain,
    /// Nothing was received for too long: what it says may no longer be so.
    WentStale,
    /// Something was received again.
    HeardAgain,
    /// It does not flap any more, and fires still.
    Calmed,
    /// The gateway's clock was set, and its times with it.
    Moved,
    /// It is over.
    Resolved,
    /// It came to nothing while it was pending.
    Cancelled,
}

/// Why it happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    /// A reading.
    Reading,
    /// Time passed and no reading said otherwise.
    Waiting,
    /// Nothing was received.
    Silence,
    /// Its rule was changed or removed, or is no longer about this series.
    Rule,
    /// A rule that it depends on fires.
    Dependence,
    /// The gateway's clock was set.
    Clock,
    /// The gateway itself noticed it: the alert about its disk.
    Gateway,
    /// A person closed it.
    Person,
    /// It fired for as long as its rule lets it.
    Expiry,
}

/// What is marked on an alert. All times are epoch milliseconds. A part of the alert's own object in JSON.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Marks {
    /// What changed last; `None` in what an earlier version wrote.
    pub change: Option<Change>,
    /// Why.
    pub cause: Option<Cause>,
    /// The rule at that change: eight hexadecimal digits made from all that it says. Another version of the gateway may make others.
    pub rule_version: SmolStr,
    /// Firing, though its condition is over since then (measured time).
    pub clear_since_ms: Option<i64>,
    /// Firing, though nothing was received: the newest reading that was judged is of then (measured time).
    pub stale_since_ms: Option<i64>,
    /// It fired so often that it goes on firing until it calms, since then (measured time).
    pub flapping_since_ms: Option<i64>,
    /// Pending until then at the earliest, as its rule is outside of its hours or was over only just (measured time).
    pub waits_until_ms: Option<i64>,
}

/// What a rule remembers of a series. Opaque: it goes to the durable state and comes back.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Memory {
    /// What the rule asked.
    pub(super) question: u32,
    pub(super) past: Past,
    /// Of the alert under way.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) phase: Option<Phase>,
}

/// What a rule remembers of its alerts that are over.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Past {
    /// When the last alert began: no two have one beginning.
    pub(super) began: Option<Timestamp>,
    /// When the last firing one was over.
    pub(super) ended: Option<Timestamp>,
    /// When it fired lately, oldest first; only for rules that look for flapping, and then at most [`super::Flapping::fires`].
    pub(super) fires: Vec<Timestamp>,
    /// The last reading before it was written down.
    pub(super) place: Place,
}

/// Where an alert under way stands, to the nanosecond.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Phase {
    pub(super) began: Timestamp,
    /// When it fired; of no meaning while it is pending.
    pub(super) fired: Timestamp,
    /// Since when its condition is as it is.
    pub(super) since: Timestamp,
    /// Whether its condition is over.
    pub(super) clear: bool,
    /// The last reading before it was written down.
    #[serde(default)]
    pub(super) place: Place,
}

/// Which reading: the journal's record, and which reading of it. In the order in which readings are applied, whatever times they carry.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) struct Place(pub(super) u64, pub(super) u32);

impl Memory {
    /// Whether there is an alert under way.
    #[must_use]
    pub const fn is_open(&self) -> bool {
        self.phase.is_some()
    }

    pub(super) fn of(slot: &Slot, question: u32) -> Self {
        Self {
            question,
            past: slot.past.as_deref().cloned().unwrap_or_default(),
            phase: slot.active.as_ref().map(|active| active.phase),
        }
    }
}

impl Alert {
    /// Whether those who hear of alerts are told of its last change: that it fires, and that it is over.
    #[must_use]
    pub const fn is_news(&self) -> bool {
        match self.marks.change {
            Some(change) => matches!(change, Change::Fired | Change::Resolved),
            None => matches!(self.state, AlertState::Firing | AlertState::Resolved),
        }
    }
}

impl Phase {
    /// Of an alert without a memory, as an earlier version left it.
    pub(super) const fn of(alert: &Alert) -> Self {
        let began = Timestamp::from_millis(alert.began_ms);
        let fired = match alert.fired_ms {
            Some(ms) => Timestamp::from_millis(ms),
            None => began,
        };
        Self {
            began,
            fired,
            since: match alert.marks.clear_since_ms {
                Some(ms) => Timestamp::from_millis(ms),
                None => began,
            },
            clear: alert.marks.clear_since_ms.is_some(),
            place: Place(0, 0),
        }
    }

    pub(super) const fn shift(&mut self, by: i64) {
        self.began = Timestamp(self.began.0.saturating_add(by));
        self.fired = Timestamp(self.fired.0.saturating_add(by));
        self.since = Timestamp(self.since.0.saturating_add(by));
    }
}
