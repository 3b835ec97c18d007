//! The alert about the gateway's own disk: rule `disk`, series `gateway/disk`. It is raised by those who write, not by a reading,
//! and goes the way of every other alert. One at a time; what it says is what was wrong when it began.
//!
//! A rule of the config may have the same name: ids tell them apart.

use std::collections::BTreeMap;

use crate::{
    alert::{Alert, AlertState, Cause, Change, Marks, Severity, Transition, identity},
    model::{SeriesKey, Timestamp},
};

/// The name of the built-in rule.
pub const DISK_RULE: &str = "disk";
/// The series that it is about.
pub const DISK_SERIES: &str = "gateway/disk";
/// Of ids of this rule, in the place of what a configured rule asks.
const FINGERPRINT: u32 = 0xd15c_0001;

/// Whether the disk is in order, as far as an alert says.
#[derive(Debug, Default)]
pub struct Own {
    alert: Option<Alert>,
}

/// Whether this alert is the one about the gateway's own disk.
#[must_use]
pub fn is_own(alert: &Alert) -> bool {
    identity::is_of(&alert.id, FINGERPRINT) && alert.series == DISK_SERIES
}

impl Own {
    /// Takes up the alert of an earlier run; `Err` gives back one that is another's.
    ///
    /// # Errors
    ///
    /// The alert itself.
    pub fn resume(&mut self, alert: Alert) -> Result<(), Box<Alert>> {
        if is_own(&alert) && alert.state == AlertState::Firing && self.alert.is_none() {
            self.alert = Some(alert);
            return Ok(());
        }
        Err(Box::new(alert))
    }

    /// What is wrong now, in words; `None`: nothing. Gives the change, if it is one.
    pub fn judged(&mut self, problem: Option<String>, now: Timestamp) -> Option<Transition> {
        let series = SeriesKey::parse(DISK_SERIES)?;
        let alert = match (problem, self.alert.take()) {
            (Some(problem), None) => {
                let alert = begun(problem, now);
                self.alert = Some(alert.clone());
                alert
            }
            (None, Some(mut alert)) => {
                alert.state = AlertState::Resolved;
                alert.resolved_ms = Some(now.as_millis());
                alert.marks.change = Some(Change::Resolved);
                alert
            }
            (_, unchanged) => {
                self.alert = unchanged;
                return None;
            }
        };
        Some(Transition {
            alert,
            series,
            at: now,
            memory: None,
        })
    }

    /// The alert, while it fires.
    #[must_use]
    pub const fn alert(&self) -> Option<&Alert> {
        self.alert.as_ref()
    }
}

fn begun(problem: String, now: Timestamp) -> Alert {
    Alert {
        id: identity::id(FINGERPRINT, DISK_RULE, DISK_SERIES, now),
        rule: DISK_RULE.into(),
        series: DISK_SERIES.into(),
        state: AlertState::Firing,
        severity: Severity::Critical,
        summary: problem,
        value: None,
        unit: None,
        labels: BTreeMap::from([(String::from("device"), String::from("gateway"))]),
        began_ms: now.as_millis(),
        fired_ms: Some(now.as_millis()),
        resolved_ms: None,
        webhooks: Vec::new(),
        marks: Marks {
            change: Some(Change::Fired),
            cause: Some(Cause::Gateway),
            ..Marks::default()
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trouble_fires_once_and_ends_once_and_is_taken_up_by_the_next_run() {
        let mut own = Own::default();
        assert_eq!(own.judged(None, Timestamp(1)), None);
        let fired = own.judged(Some("full".into()), Timestamp(2)).unwrap();
        assert_eq!(fired.alert.state, AlertState::Firing);
        assert!(is_own(&fired.alert));
        assert_eq!(own.judged(Some("still".into()), Timestamp(3)), None);
        let mut next = Own::default();
        next.resume(own.alert().unwrap().clone()).unwrap();
        assert!(next.resume(fired.alert.clone()).is_err(), "only one");
        let over = next.judged(None, Timestamp(4)).unwrap();
        assert_eq!(over.alert.id, fired.alert.id);
        assert_eq!(over.alert.state, AlertState::Resolved);
        assert!(next.alert().is_none());
    }

    #[test]
    fn an_alert_of_a_rule_with_the_same_name_is_not_taken_for_it() {
        let mut alert = begun("x".into(), Timestamp(1));
        alert.id = identity::id(7, DISK_RULE, DISK_SERIES, Timestamp(1));
        assert!(Own::default().resume(alert).is_err());
    }
}
