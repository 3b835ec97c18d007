//! Messages for the tests of the formats, with all that is hard to write: quotes, `<`, `&`, Markdown, a line break.

use std::collections::BTreeMap;

use super::Notice;
use crate::{
    alert::Severity,
    model::Timestamp,
    notify::{Links, samples},
    state::{AlertMessage, Event, GroupMessage, Message, Reason},
};

/// 2026-11-20T09:01:00Z.
pub(crate) const NOW: Timestamp = Timestamp(1_795_165_260_000_000_000);

pub(crate) fn alert(n: usize) -> AlertMessage {
    let event = if n % 3 == 2 {
        Event::Resolved
    } else {
        Event::Firing
    };
    let severity = if n % 3 == 1 {
        Severity::Warning
    } else {
        Severity::Critical
    };
    AlertMessage {
        alert_id: format!("k3v9-{n}"),
        event,
        severity,
        summary: String::from("Open the \"vents\" <now> & *run*\nfast"),
        series: format!("boiler #{}/temperature", n + 1),
        device: format!("boiler #{}", n + 1),
        labels: BTreeMap::from([
            (String::from("site"), String::from("green & house")),
            (String::from("team-name"), String::from("growing")),
        ]),
        state: event,
        resolved: (event == Event::Resolved).then(|| String::from("2026-11-20T09:00:45Z")),
        resolved_ms: (event == Event::Resolved).then_some(1_795_165_245_000),
        ..samples::alert()
    }
}

pub(crate) fn firing() -> Message {
    let id = Some(String::from("k3v9-0.firing.ops"));
    Message::Alert(Box::new(AlertMessage { id, ..alert(0) }))
}

pub(crate) fn resolved() -> Message {
    Message::Alert(Box::new(AlertMessage {
        id: Some(String::from("k3v9-0.resolved.ops")),
        event: Event::Resolved,
        state: Event::Resolved,
        resolved: Some(String::from("2026-11-20T09:00:45Z")),
        resolved_ms: Some(1_795_165_245_000),
        ..alert(0)
    }))
}

pub(crate) fn group(alerts: usize) -> Message {
    Message::Group(Box::new(GroupMessage {
        id: String::from("g7.1.ops"),
        event: Event::Firing,
        reason: Reason::Change,
        time: String::from("2026-11-20T09:00:30Z"),
        route: String::from("night"),
        group_key: String::from("g7"),
        group_labels: BTreeMap::from([(String::from("site"), String::from("green & house"))]),
        alerts: (0..alerts).map(alert).collect(),
        more: 0,
        firing: 1,
        acknowledged: None,
    }))
}

pub(crate) fn notice<'a>(message: &'a Message, links: &'a Links) -> Notice<'a> {
    let id = match message {
        Message::Group(group) => &group.id,
        Message::Alert(alert) => alert.id.as_deref().unwrap_or_default(),
    };
    Notice {
        id,
        webhook: "ops",
        message,
        links,
        test: false,
        until: Some(NOW),
        now: NOW,
    }
}

/// Somebody takes care of it, and nothing else is said.
pub(crate) fn acknowledged(mut message: Message) -> Message {
    let given = Some(crate::alert::silence::Acknowledgement {
        by: String::from("Ada"),
        comment: String::from("opens the vents"),
        at_ms: 1_795_165_260_000,
    });
    match &mut message {
        Message::Group(group) => group.acknowledged = given,
        Message::Alert(alert) => alert.acknowledged = given,
    }
    message
}
