//! `kind = "alertmanager_webhook"`: the body that Prometheus Alertmanager sends to its webhooks, version 4, so that what was built to
//! receive from it receives from the gateway.
//! <https://prometheus.io/docs/alerting/latest/configuration/#webhook_config>

use std::collections::BTreeMap;

use serde_json::{Value as Json, json};

use super::{
    Notice, Request,
    alertmanager::{annotations, ends_at, fingerprint, labels, starts_at},
    wording,
};
use crate::state::{Event, Message};

/// The pairs that all have.
fn shared(mut all: impl Iterator<Item = BTreeMap<String, String>>) -> BTreeMap<String, String> {
    let mut shared = all.next().unwrap_or_default();
    for one in all {
        shared.retain(|name, value| one.get(name) == Some(value));
    }
    shared
}

fn status(event: Event) -> &'static str {
    match event {
        Event::Firing => "firing",
        Event::Resolved => "resolved",
    }
}

/// See [`super::Format::request`].
pub(super) fn request(notice: &Notice<'_>) -> Request {
    let message = notice.message;
    let alerts: Vec<Json> = message
        .alerts()
        .iter()
        .map(|alert| {
            let labels = labels(alert);
            json!({
                "status": status(alert.event),
                "startsAt": starts_at(alert),
                "endsAt": ends_at(alert).unwrap_or_else(|| String::from("0001-01-01T00:00:00Z")),
                "generatorURL": notice.links.page().unwrap_or_default(),
                "fingerprint": format!("{:016x}", fingerprint(&labels)),
                "annotations": annotations(alert),
                "labels": labels,
            })
        })
        .collect();
    let group_labels = match message {
        Message::Group(group) => group.group_labels.clone(),
        Message::Alert(alert) => BTreeMap::from([(String::from("alertname"), alert.rule.clone())]),
    };
    let common = shared(message.alerts().iter().map(labels));
    let mut annotated = shared(message.alerts().iter().map(annotations));
    if notice.test {
        annotated.insert(String::from("test"), String::from("true"));
    }
    Request::json(&json!({
        "version": "4",
        "groupKey": notice.subject(),
        "truncatedAlerts": wording::elsewhere(message),
        "status": status(message.event()),
        "receiver": notice.webhook,
        "groupLabels": group_labels,
        "commonLabels": common,
        "commonAnnotations": annotated,
        "externalURL": notice.links.page().unwrap_or_default(),
        "alerts": alerts,
    }))
}

#[cfg(test)]
mod tests {
    use super::{super::samples, *};
    use crate::notify::Links;

    #[test]
    fn a_group_is_the_documented_body() {
        let (message, links) = (
            samples::group(3),
            Links::new(Some("https://g.example"), None),
        );
        let body = request(&samples::notice(&message, &links)).body;
        let body: Json = serde_json::from_str(&body).unwrap();
        let keys: Vec<_> = body.as_object().unwrap().keys().cloned().collect();
        assert_eq!(
            keys,
            [
                "alerts",
                "commonAnnotations",
                "commonLabels",
                "externalURL",
                "groupKey",
                "groupLabels",
                "receiver",
                "status",
                "truncatedAlerts",
                "version"
            ]
        );
        assert_eq!(body["version"], "4");
        assert_eq!(body["groupKey"], "g7");
        assert_eq!(body["status"], "firing");
        assert_eq!(body["receiver"], "ops");
        assert_eq!(body["groupLabels"], json!({"site": "green & house"}));
        assert_eq!(
            body["commonLabels"],
            json!({"alertname": "too hot", "metric": "temperature", "site": "green & house", "team_name": "growing"})
        );
        let first = &body["alerts"][0];
        assert_eq!(first["status"], "firing");
        assert_eq!(first["startsAt"], "2026-11-20T09:00:30Z");
        assert_eq!(first["endsAt"], "0001-01-01T00:00:00Z");
        assert_eq!(first["labels"]["device"], "boiler #1");
        assert_eq!(first["fingerprint"].as_str().unwrap().len(), 16);
        let third = &body["alerts"][2];
        assert_eq!(third["status"], "resolved");
        assert_eq!(third["endsAt"], "2026-11-20T09:00:45Z");
    }

    #[test]
    fn one_alert_is_a_group_of_one() {
        let (message, links) = (samples::resolved(), Links::default());
        let body = request(&samples::notice(&message, &links)).body;
        let body: Json = serde_json::from_str(&body).unwrap();
        assert_eq!(body["status"], "resolved");
        assert_eq!(body["groupKey"], "k3v9-0");
        assert_eq!(body["alerts"].as_array().unwrap().len(), 1);
        assert_eq!(body["commonAnnotations"], body["alerts"][0]["annotations"]);
    }
}
