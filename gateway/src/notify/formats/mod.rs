//! What receivers want to hear: one file a format, each from a [`Message`] to the parts of a request. Pure: no I/O, no clock.
//!
//! One delivery is one request: a group that a receiver can't take as a whole is one incident of that receiver, listing its worst alerts
//! and saying how many more there are.

pub(super) mod alertmanager;
pub(super) mod alertmanager_webhook;
pub(super) mod discord;
pub(super) mod email;
pub(super) mod json;
pub(super) mod mqtt;
pub(super) mod ntfy;
pub(super) mod opsgenie;
pub(super) mod pagerduty;
#[cfg(test)]
pub(super) mod samples;
pub(super) mod slack;
pub(super) mod teams;
pub(super) mod wording;

use std::collections::BTreeMap;

use serde_json::Value as Json;

use super::{Links, template::Fault};
use crate::{
    model::{Secret, Timestamp},
    state::{AlertMessage, Message},
};

/// A message on its way to one webhook.
#[derive(Clone, Copy, Debug)]
pub(super) struct Notice<'a> {
    /// The delivery's id.
    pub(super) id: &'a str,
    /// The webhook's name.
    pub(super) webhook: &'a str,
    pub(super) message: &'a Message,
    pub(super) links: &'a Links,
    /// Sent by a person who tries the webhook: each format says so.
    pub(super) test: bool,
    /// How long a link to acknowledge is good; none: there is none.
    pub(super) until: Option<Timestamp>,
    /// When it is sent.
    pub(super) now: Timestamp,
}

impl Notice<'_> {
    /// The addresses of one of its alerts by name.
    pub(super) fn links_of(&self, alert: &AlertMessage) -> BTreeMap<&'static str, String> {
        self.links.of(alert, self.webhook, self.until)
    }

    /// Where one can acknowledge, when the message is about one alert that fires.
    fn acknowledge(&self) -> Option<String> {
        match self.message.alerts() {
            [alert] => self.links_of(alert).remove("acknowledge"),
            _ => None,
        }
    }

    /// The same for all messages about the same alert, or the same group of a route.
    fn subject(&self) -> &str {
        match self.message {
            Message::Group(group) => &group.group_key,
            Message::Alert(alert) => &alert.alert_id,
        }
    }
}

/// What goes over HTTP.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Request {
    /// Instead of the configured address, when that is a template.
    pub(super) url: Option<Secret>,
    /// Appended to the path of the address, each one encoded as it must be.
    pub(super) path: Vec<String>,
    /// As `name=value`.
    pub(super) query: Option<(&'static str, &'static str)>,
    /// Further headers; they win over the configured ones.
    pub(super) headers: Vec<(String, String)>,
    pub(super) content_type: String,
    pub(super) body: String,
}

impl Request {
    /// A POST of JSON to the address itself.
    fn json(body: &Json) -> Self {
        Self {
            url: None,
            path: Vec::new(),
            query: None,
            headers: Vec::new(),
            content_type: String::from("application/json"),
            body: body.to_string(),
        }
    }
}

/// The formats that go over HTTP.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Format {
    /// Our own JSON, or what templates make.
    Json(json::Config),
    /// The body that Prometheus Alertmanager sends to its webhooks.
    AlertmanagerWebhook,
    /// The alerts API of Prometheus Alertmanager.
    Alertmanager(alertmanager::Config),
    /// Slack's incoming webhooks, and Mattermost's and Rocket.Chat's.
    Slack(slack::Config),
    /// A Workflows webhook of Microsoft Teams.
    Teams,
    /// A Discord webhook.
    Discord,
    /// ntfy.
    Ntfy(ntfy::Config),
    /// PagerDuty, Events API v2.
    PagerDuty(pagerduty::Config),
    /// Opsgenie, Alert API.
    Opsgenie(opsgenie::Config),
}

impl Format {
    /// What the config calls it.
    pub(super) const fn kind(&self) -> &'static str {
        match self {
            Self::Json(_) => "webhook",
            Self::AlertmanagerWebhook => "alertmanager_webhook",
            Self::Alertmanager(_) => "alertmanager",
            Self::Slack(_) => "slack",
            Self::Teams => "teams",
            Self::Discord => "discord",
            Self::Ntfy(_) => "ntfy",
            Self::PagerDuty(_) => "pagerduty",
            Self::Opsgenie(_) => "opsgenie",
        }
    }

    /// The request that tells this receiver.
    ///
    /// # Errors
    ///
    /// When a template can't say it.
    pub(super) fn request(&self, notice: &Notice<'_>) -> Result<Request, Fault> {
        Ok(match self {
            Self::Json(config) => return config.request(notice),
            Self::AlertmanagerWebhook => alertmanager_webhook::request(notice),
            Self::Alertmanager(config) => config.request(notice),
            Self::Slack(config) => config.request(notice),
            Self::Teams => teams::request(notice),
            Self::Discord => discord::request(notice),
            Self::Ntfy(config) => config.request(notice),
            Self::PagerDuty(config) => config.request(notice),
            Self::Opsgenie(config) => config.request(notice),
        })
    }

    /// What of its settings must never be shown.
    pub(super) fn secrets(&self) -> Vec<&Secret> {
        match self {
            Self::Ntfy(config) => vec![&config.topic],
            Self::PagerDuty(config) => vec![&config.routing_key],
            Self::Opsgenie(config) => vec![&config.api_key],
            _ => Vec::new(),
        }
    }
}

/// The headline, and the alerts on a line each, for templates.
pub(super) fn title_and_text(notice: &Notice<'_>) -> (String, String) {
    let measure = wording::Measure::Characters;
    let text = wording::listed(notice.message, (100, 10_000), measure, wording::line);
    (wording::headline(notice), text)
}
