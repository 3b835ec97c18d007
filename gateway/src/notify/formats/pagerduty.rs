//! `kind = "pagerduty"`: the Events API v2 of PagerDuty, <https://developer.pagerduty.com/docs/send-alert-event>. An alert is one incident,
//! and so is a group of a route: `dedup_key` is the alert's id, or the key of the group, so that its end resolves it, and
//! an acknowledgement on the gateway acknowledges it.

use serde_json::{Value as Json, json};

use super::{
    Notice, Request,
    wording::{self, Measure},
};
use crate::{
    alert::Severity,
    model::Secret,
    state::{Event, Message},
};

/// The limit of `payload.summary`.
const MAX_SUMMARY: usize = 1_024;
/// The limit of an event is 512 KB.
const MAX_LIST: usize = 50_000;
const MAX_LINES: usize = 200;

/// Which service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// The integration key of the service.
    pub routing_key: Secret,
}

impl Config {
    /// See [`super::Format::request`].
    pub(super) fn request(&self, notice: &Notice<'_>) -> Request {
        let message = notice.message;
        let mut body = json!({
            "routing_key": self.routing_key.0,
            "event_action": match message.event() {
                Event::Firing if message.acknowledged().is_some() => "acknowledge",
                Event::Firing => "trigger",
                Event::Resolved => "resolve",
            },
            "dedup_key": wording::clip(notice.subject(), 255, Measure::Characters),
        });
        if message.event() == Event::Resolved || message.acknowledged().is_some() {
            return Request::json(&body);
        }
        let ranked = wording::ranked(message);
        let source = ranked
            .first()
            .map_or("gateway", |alert| alert.series.as_str());
        let class = ranked.first().map_or("", |alert| alert.rule.as_str());
        let mut details = json!({
            "alerts": wording::listed(message, (MAX_LINES, MAX_LIST), Measure::Bytes, wording::line),
        });
        if let Message::Alert(alert) = message {
            details["labels"] = json!(alert.labels);
            details["value"] = json!(wording::value(alert));
            details["summary"] = json!(alert.summary);
        }
        if notice.test {
            details["test"] = json!(true);
        }
        body["payload"] = json!({
            "summary": wording::clip(&summary(notice), MAX_SUMMARY, Measure::Characters),
            "source": source,
            "severity": match wording::worst(message) {
                Severity::Info => "info",
                Severity::Warning => "warning",
                Severity::Critical => "critical",
            },
            "timestamp": ranked.first().map(|alert| alert.time.clone()),
            "class": class,
            "custom_details": details,
        });
        body["client"] = json!("Sensor gateway");
        if let Some(page) = notice.links.page() {
            body["client_url"] = json!(page);
        }
        let links: Vec<Json> = notice
            .acknowledge()
            .map(|url| json!({"href": url, "text": "Acknowledge on the gateway"}))
            .into_iter()
            .collect();
        if !links.is_empty() {
            body["links"] = json!(links);
        }
        Request::json(&body)
    }
}

/// The state is PagerDuty's own; what is the matter comes first on a phone.
fn summary(notice: &Notice<'_>) -> String {
    match notice.message.alerts() {
        [alert] if notice.test => format!("[TEST] {}", wording::line(alert)),
        [alert] => wording::line(alert),
        _ => wording::headline(notice),
    }
}

#[cfg(test)]
mod tests {
    use super::{super::samples, *};
    use crate::notify::Links;

    fn body(message: &Message) -> Json {
        let config = Config {
            routing_key: Secret(String::from("R0UT1NG")),
        };
        let links = Links::new(Some("https://g.example"), None);
        serde_json::from_str(&config.request(&samples::notice(message, &links)).body).unwrap()
    }

    #[test]
    fn an_alert_triggers_and_its_end_resolves_the_same_incident() {
        let body = body(&samples::firing());
        assert_eq!(body["event_action"], "trigger");
        assert_eq!(body["dedup_key"], "k3v9-0");
        assert_eq!(body["routing_key"], "R0UT1NG");
        assert_eq!(body["client_url"], "https://g.example/#alerts");
        let payload = &body["payload"];
        assert_eq!(payload["severity"], "critical");
        assert_eq!(payload["source"], "boiler #1/temperature");
        assert_eq!(payload["timestamp"], "2026-11-20T09:00:30Z");
        assert!(
            payload["summary"]
                .as_str()
                .unwrap()
                .starts_with("critical: too hot, boiler #1")
        );
        assert_eq!(
            self::body(&samples::resolved()),
            json!({"routing_key": "R0UT1NG", "event_action": "resolve", "dedup_key": "k3v9-0"})
        );
    }

    #[test]
    fn what_is_acknowledged_here_is_acknowledged_there() {
        for (message, key) in [(samples::firing(), "k3v9-0"), (samples::group(3), "g7")] {
            assert_eq!(
                body(&samples::acknowledged(message)),
                json!({"routing_key": "R0UT1NG", "event_action": "acknowledge", "dedup_key": key})
            );
        }
    }

    #[test]
    fn a_storm_is_one_incident_below_the_limits() {
        let body = body(&samples::group(5_000));
        assert_eq!(body["dedup_key"], "g7");
        assert!(body.to_string().len() < 512 * 1024);
        assert!(body["payload"]["summary"].as_str().unwrap().chars().count() <= MAX_SUMMARY);
        let list = body["payload"]["custom_details"]["alerts"]
            .as_str()
            .unwrap();
        assert!(list.ends_with("… and 4800 more"), "{list}");
    }
}
