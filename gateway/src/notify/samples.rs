//! Messages that nobody raised: to try templates with when the config is read, and to try a webhook with when a person asks for it.

use std::collections::BTreeMap;

use crate::{
    alert::Severity,
    model::{Timestamp, Value},
    state::{AlertMessage, Event, GroupMessage, Message, Reason},
};

/// The rule of a test.
pub(super) const TEST_RULE: &str = "test";

/// An alert that fires.
pub(super) fn alert() -> AlertMessage {
    AlertMessage {
        id: None,
        alert_id: String::from("sample-1"),
        event: Event::Firing,
        time: String::from("2026-11-20T09:00:30Z"),
        rule: String::from("too hot"),
        severity: Severity::Critical,
        summary: String::from("Open the \"vents\""),
        series: String::from("boiler/temperature"),
        device: String::from("boiler"),
        metric: String::from("temperature"),
        value: Some(Value::Float(91.5)),
        unit: Some(String::from("Cel")),
        labels: BTreeMap::from([(String::from("site"), String::from("greenhouse"))]),
        state: Event::Firing,
        began: String::from("2026-11-20T09:00:00Z"),
        began_ms: 1_795_165_200_000,
        fired: Some(String::from("2026-11-20T09:00:30Z")),
        fired_ms: Some(1_795_165_230_000),
        resolved: None,
        resolved_ms: None,
        acknowledged: None,
    }
}

/// Its end, without a value and unit, as of missing data.
fn over() -> AlertMessage {
    AlertMessage {
        event: Event::Resolved,
        state: Event::Resolved,
        value: None,
        unit: None,
        resolved: Some(String::from("2026-11-20T09:05:00Z")),
        resolved_ms: Some(1_795_165_500_000),
        ..alert()
    }
}

/// All that a template must be able to say.
pub(super) fn all() -> [Message; 3] {
    let single = |alert: AlertMessage| {
        let id = Some(String::from("sample-1.firing.sample"));
        Message::Alert(Box::new(AlertMessage { id, ..alert }))
    };
    let group = GroupMessage {
        id: String::from("sample.1.sample"),
        event: Event::Firing,
        reason: Reason::Change,
        time: String::from("2026-11-20T09:05:00Z"),
        route: String::from("sample"),
        group_key: String::from("sample"),
        group_labels: BTreeMap::from([(String::from("site"), String::from("greenhouse"))]),
        alerts: vec![alert(), over()],
        more: 0,
        firing: 1,
        acknowledged: None,
    };
    [
        single(alert()),
        single(over()),
        Message::Group(Box::new(group)),
    ]
}

/// What a webhook is tried with: it says itself what it is, in each format.
pub(super) fn test(webhook: &str, id: &str, now: Timestamp) -> Message {
    let at = now.to_rfc3339();
    Message::Alert(Box::new(AlertMessage {
        id: Some(id.to_owned()),
        alert_id: id.to_owned(),
        event: Event::Firing,
        time: at.clone(),
        rule: String::from(TEST_RULE),
        severity: Severity::Info,
        summary: format!("A test of the webhook \"{webhook}\", sent by hand: nothing is wrong."),
        series: String::from("gateway/test"),
        device: String::from("gateway"),
        metric: String::from("test"),
        value: None,
        unit: None,
        labels: BTreeMap::from([(String::from("test"), String::from("true"))]),
        state: Event::Firing,
        began: at.clone(),
        began_ms: now.as_millis(),
        fired: Some(at),
        fired_ms: Some(now.as_millis()),
        resolved: None,
        resolved_ms: None,
        acknowledged: None,
    }))
}
