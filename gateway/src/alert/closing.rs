//! Alerts that end while their condition is true, because a person closes them or because they fired for as long as their rule lets them
//! (`resolve_after`): such an alert is over, and its rule raises no other one on this series until the condition was clear once.
//!
//! What must be remembered for that goes to the durable state with the transitions, in their order, and comes back at the next start.

use smol_str::SmolStr;

use super::{Alert, Rule};
use crate::model::SeriesKey;

/// What happened to alerts that people close, or that fired for long enough.
#[derive(Clone, Debug, PartialEq)]
pub enum Closing {
    /// A person closed it; its end is among the transitions.
    Closed {
        /// As it was while it fired.
        alert: Box<Alert>,
        /// Who.
        by: String,
        /// Why. May be empty.
        comment: String,
    },
    /// It fired for as long as its rule lets it; its end is among the transitions.
    Expired {
        /// As it was while it fired.
        alert: Box<Alert>,
        /// How long that was, for people.
        after: String,
    },
    /// The condition of one that was closed or expired is clear, or its rule asks something else now: it may fire again.
    Cleared {
        /// The rule's name.
        rule: SmolStr,
        /// `device/metric`.
        series: SmolStr,
    },
}

/// An alert that was closed, or expired, in an earlier run, and whose condition was not clear since.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StillClosed {
    /// The alert's id.
    pub alert: SmolStr,
    /// The rule's name.
    pub rule: SmolStr,
    /// `device/metric`.
    pub series: SmolStr,
}

impl Closing {
    pub(super) fn cleared(rule: &Rule, series: &SeriesKey) -> Self {
        Self::Cleared {
            rule: rule.name.clone(),
            series: series.to_string().into(),
        }
    }
}

impl From<StillClosed> for Closing {
    /// It can't go on: its rule may fire again.
    fn from(closed: StillClosed) -> Self {
        Self::Cleared {
            rule: closed.rule,
            series: closed.series,
        }
    }
}
