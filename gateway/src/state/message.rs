//! What a webhook is told, as it stands in the outbox: one change of one alert, or a group of alerts. How it looks on the wire is the
//! webhook's business ([`crate::notify`]).
//!
//! Written as JSON and documented in `docs/webhooks.md`: a message about one alert is that alert's object itself, a message about a group
//! has `alerts`. Rows that an earlier version wrote are read the same way.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{
    alert::{Alert, Severity, silence::Acknowledgement},
    model::{SeriesKey, Timestamp, Value},
};

/// One delivery's content.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Message {
    /// Several alerts that a route put together. Tried first: only a group has `alerts`.
    Group(Box<GroupMessage>),
    /// One change of one alert.
    Alert(Box<AlertMessage>),
}

/// What happened to an alert, as outsiders read it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Event {
    /// It fires; of a group: at least one does.
    Firing,
    /// It is over; of a group: all are.
    Resolved,
}

/// One change of one alert.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AlertMessage {
    /// The delivery's id; in a group: `None`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// The alert's id.
    pub alert_id: String,
    /// What happened to it.
    pub event: Event,
    /// When, on measured time; RFC 3339.
    pub time: String,
    /// The rule's name.
    pub rule: String,
    /// How bad it is.
    pub severity: Severity,
    /// For people.
    pub summary: String,
    /// `device/metric`.
    pub series: String,
    /// The device's id.
    pub device: String,
    /// What is measured.
    pub metric: String,
    /// The value that caused the change; none for no-data.
    pub value: Option<Value>,
    /// The unit of `value`, UCUM.
    pub unit: Option<String>,
    /// Device labels, site and rule labels.
    pub labels: BTreeMap<String, String>,
    /// The same as `event`.
    pub state: Event,
    /// When the condition became true; RFC 3339.
    pub began: String,
    /// The same in epoch milliseconds.
    pub began_ms: i64,
    /// When it fired; RFC 3339.
    pub fired: Option<String>,
    /// The same in epoch milliseconds.
    pub fired_ms: Option<i64>,
    /// When it was over; RFC 3339.
    pub resolved: Option<String>,
    /// The same in epoch milliseconds.
    pub resolved_ms: Option<i64>,
    /// The message says nothing but this: somebody takes care of it. Only webhooks that know what to do with it hear of that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub acknowledged: Option<Acknowledgement>,
}

/// Alerts that a route put together.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct GroupMessage {
    /// The delivery's id.
    pub id: String,
    /// What happened.
    pub event: Event,
    /// Why this message is sent.
    pub reason: Reason,
    /// When the message was put together; RFC 3339.
    pub time: String,
    /// The name of the route.
    pub route: String,
    /// Stable for one group of one route, over all its messages: for receivers that thread or replace.
    pub group_key: String,
    /// What the alerts of the group have in common by definition.
    pub group_labels: BTreeMap<String, String>,
    /// What changed since the last message to this webhook, each change in one message; in a reminder or an escalation what fires still.
    pub alerts: Vec<AlertMessage>,
    /// Alerts of the group that are told by other messages of the same moment.
    #[serde(default)]
    pub more: u64,
    /// How many alerts of the group fire after this message, as far as this webhook was told.
    #[serde(default)]
    pub firing: u64,
    /// The message says nothing but this: somebody takes care of everything that fires; as in [`AlertMessage::acknowledged`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub acknowledged: Option<Acknowledgement>,
}

/// Why a group's message is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Reason {
    /// Something in the group changed.
    Change,
    /// It fires still: a reminder.
    Repeat,
    /// Nobody acknowledged it in time.
    Escalation,
}

impl AlertMessage {
    /// An alert as it stands, of this series; `at`: when `event` happened. `id`: of the delivery, if it is a message of its own.
    pub(super) fn about(
        alert: &Alert,
        series: &SeriesKey,
        event: Event,
        at: Timestamp,
        id: Option<String>,
    ) -> Self {
        let rfc3339 = |ms: i64| Timestamp::from_millis(ms).to_rfc3339();
        Self {
            id,
            alert_id: alert.id.to_string(),
            event,
            time: at.to_rfc3339(),
            rule: alert.rule.to_string(),
            severity: alert.severity,
            summary: alert.summary.clone(),
            series: alert.series.to_string(),
            device: series.device.0.to_string(),
            metric: series.metric.0.to_string(),
            value: alert.value.clone(),
            unit: alert.unit.as_ref().map(ToString::to_string),
            labels: alert.labels.clone(),
            state: event,
            began: rfc3339(alert.began_ms),
            began_ms: alert.began_ms,
            fired: alert.fired_ms.map(rfc3339),
            fired_ms: alert.fired_ms,
            resolved: alert.resolved_ms.map(rfc3339),
            resolved_ms: alert.resolved_ms,
            acknowledged: None,
        }
    }
}

impl Message {
    /// Reads what the outbox holds.
    ///
    /// # Errors
    ///
    /// When it is not what any version of the gateway writes.
    pub fn from_body(body: &str) -> Result<Self, serde_json::Error> {
        serde_json::from_str(body)
    }

    /// All alerts that it tells of.
    #[must_use]
    pub fn alerts(&self) -> &[AlertMessage] {
        match self {
            Self::Group(group) => &group.alerts,
            Self::Alert(alert) => std::slice::from_ref(alert),
        }
    }

    /// The alert or the group that it is about.
    #[must_use]
    pub fn subject(&self) -> &str {
        match self {
            Self::Group(group) => &group.group_key,
            Self::Alert(alert) => &alert.alert_id,
        }
    }

    /// Who takes care of what it is about, if it says that and nothing else.
    #[must_use]
    pub const fn acknowledged(&self) -> Option<&Acknowledgement> {
        match self {
            Self::Group(group) => group.acknowledged.as_ref(),
            Self::Alert(alert) => alert.acknowledged.as_ref(),
        }
    }

    /// Gives it the id of another delivery.
    pub(super) fn set_id(&mut self, id: &str) {
        match self {
            Self::Group(group) => id.clone_into(&mut group.id),
            Self::Alert(alert) => alert.id = Some(id.to_owned()),
        }
    }

    /// What happened: `resolved` only when all of them are.
    #[must_use]
    pub const fn event(&self) -> Event {
        match self {
            Self::Group(group) => group.event,
            Self::Alert(alert) => alert.event,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn alert() -> serde_json::Value {
        json!({
            "id": "1-2.firing.ops", "alert_id": "1-2", "event": "firing", "time": "2026-11-20T09:00:30Z", "rule": "too hot",
            "severity": "critical", "summary": "Open the vents", "series": "boiler/temperature", "device": "boiler",
            "metric": "temperature", "value": 91.5, "unit": "Cel", "labels": {"site": "greenhouse"}, "state": "firing",
            "began": "2026-11-20T09:00:00Z", "began_ms": 1_795_165_200_000_i64, "fired": "2026-11-20T09:00:30Z",
            "fired_ms": 1_795_165_230_000_i64, "resolved": null, "resolved_ms": null
        })
    }

    #[test]
    fn a_message_about_one_alert_is_the_object_that_the_first_version_wrote() {
        let message = Message::from_body(&alert().to_string()).unwrap();
        assert_eq!(message.alerts()[0].value, Some(Value::Float(91.5)));
        assert_eq!(serde_json::to_value(&message).unwrap(), alert());
    }

    #[test]
    fn a_message_about_a_group_is_told_apart_and_comes_back_as_it_was() {
        let mut member = alert();
        member.as_object_mut().unwrap().remove("id");
        let group = json!({
            "id": "9.1.ops", "event": "firing", "reason": "change", "time": "2026-11-20T09:00:30Z", "route": "night",
            "group_key": "9", "group_labels": {"site": "greenhouse"}, "alerts": [member], "more": 0, "firing": 1
        });
        let message = Message::from_body(&group.to_string()).unwrap();
        assert_eq!(message.event(), Event::Firing);
        assert!(matches!(message, Message::Group(_)));
        assert_eq!(serde_json::to_value(&message).unwrap(), group);
        assert!(Message::from_body("{}").is_err());
    }
}
