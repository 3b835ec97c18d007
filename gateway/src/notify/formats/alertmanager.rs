//! `kind = "alertmanager"`: alerts pushed to Prometheus Alertmanager, `POST /api/v2/alerts`.
//! <https://github.com/prometheus/alertmanager/blob/main/api/v2/openapi.yaml>
//!
//! Alertmanager knows an alert by its labels, forgets all of them when it restarts, and takes one for over when its `endsAt` passes. So
//! what fires is sent with an end that is far away ([`Config::forget_after`]) and sent again every [`Config::resend_every`]: a
//! gateway that is away for a night resolves nothing, and an Alertmanager that was restarted knows everything again a minute later.

use std::{collections::BTreeMap, time::Duration};

use serde_json::{Value as Json, json};

use super::{Notice, Request, wording};
use crate::{
    model::Timestamp,
    state::{AlertMessage, Event},
};

/// How long Alertmanager keeps what it is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// What fires is sent again so often. Default 1 min.
    pub resend_every: Duration,
    /// Alertmanager takes an alert for over when it has heard nothing of it for this long. Default one day.
    pub forget_after: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            resend_every: Duration::from_secs(60),
            forget_after: Duration::from_secs(86_400),
        }
    }
}

/// What an alert is called in Prometheus: rule, device, metric, severity, and its labels, with names as Prometheus allows them.
pub(super) fn labels(alert: &AlertMessage) -> BTreeMap<String, String> {
    let mut labels: BTreeMap<String, String> = alert
        .labels
        .iter()
        .filter(|(_, value)| !value.is_empty())
        .map(|(name, value)| (label_name(name), value.clone()))
        .collect();
    for (name, value) in [
        ("alertname", alert.rule.as_str()),
        ("device", &alert.device),
        ("metric", &alert.metric),
        ("severity", wording::severity(alert.severity)),
    ] {
        if !value.is_empty() {
            labels.insert(name.to_owned(), value.to_owned());
        }
    }
    labels
}

/// `[a-zA-Z_][a-zA-Z0-9_]*`; what is not allowed becomes `_`.
fn label_name(name: &str) -> String {
    let mut safe: String = name
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() { c } else { '_' })
        .collect();
    if safe.starts_with(|c: char| c.is_ascii_digit()) || safe.is_empty() {
        safe.insert(0, '_');
    }
    safe
}

/// What people read.
pub(super) fn annotations(alert: &AlertMessage) -> BTreeMap<String, String> {
    let mut annotations = BTreeMap::from([
        (String::from("summary"), alert.summary.clone()),
        (String::from("alert_id"), alert.alert_id.clone()),
    ]);
    if let Some(value) = wording::value(alert) {
        annotations.insert(String::from("value"), value);
    }
    annotations
}

/// When it fired.
pub(super) fn starts_at(alert: &AlertMessage) -> String {
    alert.fired.clone().unwrap_or_else(|| alert.began.clone())
}

/// When it was over, if it is; never before it began, which Alertmanager refuses.
pub(super) fn ends_at(alert: &AlertMessage) -> Option<String> {
    if alert.event == Event::Firing {
        return None;
    }
    let began = alert.fired_ms.unwrap_or(alert.began_ms);
    let resolved = alert.resolved_ms.unwrap_or(began);
    Some(Timestamp::from_millis(resolved.max(began)).to_rfc3339())
}

/// As Prometheus makes it (`model.LabelSet.Fingerprint`): FNV-1a of the sorted pairs, each name and value followed by 0xff.
pub(super) fn fingerprint(labels: &BTreeMap<String, String>) -> u64 {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    let mut add = |byte: u8| {
        hash ^= u64::from(byte);
        hash = hash.wrapping_mul(0x0100_0000_01b3);
    };
    for (name, value) in labels {
        for text in [name, value] {
            text.bytes().for_each(&mut add);
            add(0xff);
        }
    }
    hash
}

impl Config {
    /// One alert as the API takes it. `known_as`: the labels under which Alertmanager has it.
    pub(in crate::notify) fn alert(
        &self,
        alert: &AlertMessage,
        known_as: &BTreeMap<String, String>,
        (now, page, test): (Timestamp, Option<String>, bool),
    ) -> Json {
        let mut entry = json!({
            "labels": known_as,
            "annotations": annotations(alert),
            "startsAt": starts_at(alert),
        });
        let forget_after = if test { TEST_ENDS } else { self.forget_after };
        let forgotten = || {
            // Without a clock that is set, Alertmanager's own timeout counts, which is longer than the wait before the next sending.
            now.is_set().then(|| {
                let after = i64::try_from(forget_after.as_nanos()).unwrap_or(i64::MAX);
                Timestamp(now.0.saturating_add(after)).to_rfc3339()
            })
        };
        if let Some(end) = ends_at(alert).or_else(forgotten) {
            entry["endsAt"] = json!(end);
        }
        if let Some(page) = page {
            entry["generatorURL"] = json!(page);
        }
        entry
    }

    /// A POST of these alerts.
    pub(in crate::notify) fn post(alerts: &[Json]) -> Request {
        Request {
            path: ["api", "v2", "alerts"].map(ToOwned::to_owned).to_vec(),
            ..Request::json(&json!(alerts))
        }
    }

    /// See [`super::Format::request`].
    pub(super) fn request(&self, notice: &Notice<'_>) -> Request {
        self.request_known_as(notice, labels)
    }

    /// As [`super::Format::request`], with the labels under which Alertmanager has each alert.
    pub(in crate::notify) fn request_known_as(
        &self,
        notice: &Notice<'_>,
        known_as: impl Fn(&AlertMessage) -> BTreeMap<String, String>,
    ) -> Request {
        let alerts: Vec<Json> = notice
            .message
            .alerts()
            .iter()
            .map(|alert| {
                let mut labels = known_as(alert);
                if notice.test {
                    labels.insert(String::from("test"), String::from("true"));
                }
                self.alert(
                    alert,
                    &labels,
                    (notice.now, notice.links.page(), notice.test),
                )
            })
            .collect();
        Self::post(&alerts)
    }
}

/// A test is over by itself.
const TEST_ENDS: Duration = Duration::from_secs(300);

/// The labels of an alert, for who remembers them.
pub(in crate::notify) fn labels_of(alert: &AlertMessage) -> BTreeMap<String, String> {
    labels(alert)
}

#[cfg(test)]
mod tests {
    use super::{super::samples, *};
    use crate::notify::Links;

    fn body(message: &crate::state::Message) -> Json {
        let links = Links::new(Some("https://g.example"), None);
        let request = Config::default().request(&samples::notice(message, &links));
        assert_eq!(request.path, ["api", "v2", "alerts"]);
        serde_json::from_str(&request.body).unwrap()
    }

    #[test]
    fn what_fires_has_an_end_far_away_and_what_is_over_its_real_one() {
        assert_eq!(
            body(&samples::firing()),
            json!([{
                "labels": {"alertname": "too hot", "device": "boiler #1", "metric": "temperature", "severity": "critical",
                           "site": "green & house", "team_name": "growing"},
                "annotations": {"alert_id": "k3v9-0", "summary": "Open the \"vents\" <now> & *run*\nfast", "value": "91.5 °C"},
                "startsAt": "2026-11-20T09:00:30Z",
                "endsAt": "2026-11-21T09:01:00Z",
                "generatorURL": "https://g.example/#alerts",
            }])
        );
        assert_eq!(
            body(&samples::resolved())[0]["endsAt"],
            "2026-11-20T09:00:45Z"
        );
        assert_eq!(
            body(&samples::resolved())[0]["labels"],
            body(&samples::firing())[0]["labels"],
            "or Alertmanager takes it for another alert"
        );
    }

    #[test]
    fn an_end_is_never_before_the_beginning() {
        let mut alert = samples::alert(2);
        alert.resolved_ms = Some(alert.fired_ms.unwrap() - 5_000);
        assert_eq!(ends_at(&alert), Some(starts_at(&alert)));
    }

    #[test]
    fn label_names_are_those_that_prometheus_allows() {
        assert_eq!(label_name("team-name"), "team_name");
        assert_eq!(label_name("1st"), "_1st");
        assert_eq!(label_name("größe"), "gr__e");
        assert_eq!(label_name(""), "_");
    }

    #[test]
    fn a_fingerprint_is_the_one_that_prometheus_makes() {
        // model/labelset_test.go and fnv: no labels is the offset basis.
        assert_eq!(fingerprint(&BTreeMap::new()), 0xcbf2_9ce4_8422_2325);
        let one = BTreeMap::from([(String::from("a"), String::from("b"))]);
        assert_ne!(fingerprint(&one), fingerprint(&BTreeMap::new()));
    }
}
