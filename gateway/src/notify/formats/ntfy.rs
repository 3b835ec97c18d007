//! `kind = "ntfy"`: published as JSON to an ntfy server, <https://docs.ntfy.sh/publish/#publish-as-json>. A message has at most 4 096 bytes
//! (a longer one becomes an attachment).

use serde_json::{Value as Json, json};

use super::{
    Notice, Request,
    wording::{self, Measure},
};
use crate::{alert::Severity, model::Secret, state::Event};

const MAX_MESSAGE: usize = 4_000;
const MAX_TITLE: usize = 250;
const MAX_LINES: usize = 20;

/// Where on the server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// The topic. On a public server it is as good as a password.
    pub topic: Secret,
}

impl Config {
    /// See [`super::Format::request`].
    pub(super) fn request(&self, notice: &Notice<'_>) -> Request {
        let message = notice.message;
        let (priority, tag) = match (message.event(), wording::worst(message)) {
            (Event::Resolved, _) => (3, "white_check_mark"),
            (Event::Firing, Severity::Critical) => (5, "rotating_light"),
            (Event::Firing, Severity::Warning) => (4, "warning"),
            (Event::Firing, Severity::Info) => (3, "information_source"),
        };
        let mut tags = vec![tag];
        if notice.test {
            tags.push("test");
        }
        let text = wording::listed(
            message,
            (MAX_LINES, MAX_MESSAGE),
            Measure::Bytes,
            wording::line,
        );
        let mut body = json!({
            "topic": self.topic.0,
            "title": wording::clip(&wording::headline(notice), MAX_TITLE, Measure::Bytes),
            "message": text,
            "priority": priority,
            "tags": tags,
        });
        let mut actions: Vec<Json> = Vec::new();
        if let Some(url) = notice.acknowledge() {
            // The phone does it itself: opening the link would only ask once more.
            actions.push(
                json!({"action": "http", "label": "Acknowledge", "url": url, "method": "POST", "clear": true}),
            );
        }
        if let Some(page) = notice.links.page() {
            body["click"] = json!(page);
            actions.push(json!({"action": "view", "label": "Open the page", "url": page}));
        }
        if !actions.is_empty() {
            body["actions"] = json!(actions);
        }
        Request::json(&body)
    }
}

#[cfg(test)]
mod tests {
    use super::{super::samples, *};
    use crate::notify::Links;

    fn body(message: &crate::state::Message, links: &Links) -> Json {
        let config = Config {
            topic: Secret(String::from("greenhouse-7f3")),
        };
        serde_json::from_str(&config.request(&samples::notice(message, links)).body).unwrap()
    }

    #[test]
    fn one_alert_has_priority_tag_click_and_action() {
        assert_eq!(
            body(
                &samples::firing(),
                &Links::new(Some("https://g.example"), None)
            ),
            json!({
                "topic": "greenhouse-7f3",
                "title": "FIRING: too hot on boiler #1/temperature",
                "message": "critical: too hot, boiler #1/temperature = 91.5 °C. Open the \"vents\" <now> & *run*\nfast",
                "priority": 5,
                "tags": ["rotating_light"],
                "click": "https://g.example/#alerts",
                "actions": [{"action": "view", "label": "Open the page", "url": "https://g.example/#alerts"}],
            })
        );
        let over = body(&samples::resolved(), &Links::default());
        assert_eq!(
            (&over["priority"], &over["tags"][0]),
            (&json!(3), &json!("white_check_mark"))
        );
        assert!(over.get("click").is_none() && over.get("actions").is_none());
    }

    #[test]
    fn what_fires_has_a_button_that_acknowledges() {
        let signer = crate::notify::Signer::new(&[7; crate::notify::KEY_BYTES]);
        let links = Links::new(Some("https://g.example"), Some(signer));
        let action = body(&samples::firing(), &links)["actions"][0].clone();
        assert_eq!(
            (&action["action"], &action["method"]),
            (&json!("http"), &json!("POST"))
        );
        let url = action["url"].as_str().unwrap();
        assert!(
            url.starts_with("https://g.example/acknowledge/k3v9-0.ops."),
            "{url}"
        );
        assert_eq!(
            body(&samples::resolved(), &links)["actions"]
                .as_array()
                .unwrap()
                .len(),
            1
        );
    }

    #[test]
    fn a_storm_stays_below_4096_bytes() {
        let body = body(&samples::group(5_000), &Links::default());
        let text = body["message"].as_str().unwrap();
        assert!(
            text.len() <= 4_096 && text.ends_with("… and 4980 more"),
            "{text}"
        );
    }
}
