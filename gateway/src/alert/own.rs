//! An alert that the gateway raises about itself, not because of a reading: rule `disk` on series `gateway/disk`, and rule `source` on
//! series `gateway/<source>`. It goes the way of every other alert. One at a time of each; what it says is what was wrong when
//! it began.
//!
//! A rule of the config may have the same name: ids tell them apart.

use std::collections::BTreeMap;

use smol_str::SmolStr;

use crate::{
    alert::{Alert, AlertState, Cause, Change, Marks, Severity, Transition, identity},
    model::{SeriesKey, Timestamp},
};

/// The name of the built-in rule about the disk.
pub const DISK_RULE: &str = "disk";
/// The series that it is about.
pub const DISK_SERIES: &str = "gateway/disk";
/// The name of the built-in rule about sources.
pub const SOURCE_RULE: &str = "source";
/// Of ids of the rule about the disk, in the place of what a configured rule asks.
const DISK_FINGERPRINT: u32 = 0xd15c_0001;
/// The same of the rule about sources.
const SOURCE_FINGERPRINT: u32 = 0x50ce_0001;

/// Whether something of the gateway's own is in order, as far as an alert says. The default: the disk.
#[derive(Debug)]
pub struct Own {
    rule: &'static str,
    fingerprint: u32,
    series: SmolStr,
    labels: BTreeMap<String, String>,
    alert: Option<Alert>,
}

/// Whether this alert is the one about the gateway's own disk.
#[must_use]
pub fn is_own(alert: &Alert) -> bool {
    identity::is_of(&alert.id, DISK_FINGERPRINT) && alert.series == DISK_SERIES
}

/// The source that this alert is about, if it is one of the gateway's own about a source.
#[must_use]
pub(super) fn source_of(alert: &Alert) -> Option<&str> {
    identity::is_of(&alert.id, SOURCE_FINGERPRINT)
        .then(|| alert.series.strip_prefix("gateway/"))
        .flatten()
}

impl Default for Own {
    fn default() -> Self {
        Self::new(DISK_RULE, DISK_FINGERPRINT, DISK_SERIES.into())
    }
}

impl Own {
    fn new(rule: &'static str, fingerprint: u32, series: SmolStr) -> Self {
        Self {
            rule,
            fingerprint,
            series,
            labels: BTreeMap::from([(String::from("device"), String::from("gateway"))]),
            alert: None,
        }
    }

    /// About the source of this name.
    #[must_use]
    pub fn source(name: &str) -> Self {
        let series = format!("gateway/{name}").into();
        let mut own = Self::new(SOURCE_RULE, SOURCE_FINGERPRINT, series);
        own.labels.insert(String::from("source"), name.to_owned());
        own
    }

    /// Takes up the alert of an earlier run; `Err` gives back one that is another's.
    ///
    /// # Errors
    ///
    /// The alert itself.
    pub fn resume(&mut self, alert: Alert) -> Result<(), Box<Alert>> {
        let ours = identity::is_of(&alert.id, self.fingerprint) && alert.series == self.series;
        if ours && alert.state == AlertState::Firing && self.alert.is_none() {
            self.alert = Some(alert);
            return Ok(());
        }
        Err(Box::new(alert))
    }

    /// What is wrong now, in words; `None`: nothing. Gives the change, if it is one.
    pub fn judged(&mut self, problem: Option<String>, now: Timestamp) -> Option<Transition> {
        let series = SeriesKey::parse(&self.series)?;
        // Not over before it began, should the clock not be set.
        let began = self.alert.as_ref().map_or(i64::MIN, |alert| alert.began_ms);
        let now = if now.as_millis() < began {
            Timestamp::from_millis(began)
        } else {
            now
        };
        let alert = match (problem, self.alert.take()) {
            (Some(problem), None) => {
                let alert = self.begun(problem, now);
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

    fn begun(&self, problem: String, now: Timestamp) -> Alert {
        Alert {
            id: identity::id(self.fingerprint, self.rule, &self.series, now),
            rule: self.rule.into(),
            series: self.series.clone(),
            state: AlertState::Firing,
            severity: Severity::Critical,
            summary: problem,
            value: None,
            unit: None,
            labels: self.labels.clone(),
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
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trouble_fires_once_and_ends_once_and_is_taken_up_by_the_next_run() {
        for new in [Own::default, || Own::source("plant")] {
            let mut own = new();
            assert_eq!(own.judged(None, Timestamp(1)), None);
            let fired = own.judged(Some("full".into()), Timestamp(2)).unwrap();
            assert_eq!(fired.alert.state, AlertState::Firing);
            assert_eq!(own.judged(Some("still".into()), Timestamp(3)), None);
            let mut next = new();
            next.resume(own.alert().unwrap().clone()).unwrap();
            assert!(next.resume(fired.alert.clone()).is_err(), "only one");
            let over = next.judged(None, Timestamp(4)).unwrap();
            assert_eq!(over.alert.id, fired.alert.id);
            assert_eq!(over.alert.state, AlertState::Resolved);
            assert!(next.alert().is_none());
        }
    }

    #[test]
    fn an_alert_of_a_rule_with_the_same_name_is_not_taken_for_it() {
        let mut alert = Own::default().begun("x".into(), Timestamp(1));
        assert!(is_own(&alert));
        alert.id = identity::id(7, DISK_RULE, DISK_SERIES, Timestamp(1));
        assert!(Own::default().resume(alert).is_err());
    }

    #[test]
    fn a_source_alert_says_which_source_and_is_not_the_one_about_the_disk() {
        let alert = Own::source("disk").begun("x".into(), Timestamp(1));
        assert_eq!(alert.series, DISK_SERIES);
        assert_eq!(source_of(&alert), Some("disk"));
        assert_eq!(alert.labels["source"], "disk");
        assert!(!is_own(&alert));
        assert!(Own::default().resume(alert).is_err());
    }
}
