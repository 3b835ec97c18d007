//! `kind = "slack"`: an incoming webhook of Slack, and of what takes the same: Mattermost and Rocket.Chat. Attachments and not blocks, as
//! only Slack itself knows those.
//! <https://docs.slack.dev/messaging/sending-messages-using-incoming-webhooks>,
//! <https://docs.slack.dev/legacy/legacy-messaging/legacy-secondary-message-attachments>,
//! <https://developers.mattermost.com/integrate/webhooks/incoming/>
//!
//! `&`, `<` and `>` are escaped; a text has at most 40 000 characters, the text of an attachment 3 000 here, as long ones are folded away.

use serde_json::json;

use super::{
    Notice, Request,
    wording::{self, Measure},
};

const MAX_TEXT: usize = 3_000;
const MAX_HEADLINE: usize = 300;
const MAX_LINES: usize = 30;

/// Where in the chat.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Config {
    /// Instead of the webhook's own channel, where the receiver allows that.
    pub channel: Option<String>,
    /// Under which name, where the receiver allows that.
    pub username: Option<String>,
}

/// <https://docs.slack.dev/messaging/formatting-message-text#escaping>
fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}

impl Config {
    /// See [`super::Format::request`].
    pub(super) fn request(&self, notice: &Notice<'_>) -> Request {
        let message = notice.message;
        let headline = wording::clip(
            &wording::headline(notice),
            MAX_HEADLINE,
            Measure::Characters,
        );
        let mut links = Vec::new();
        if let Some(url) = notice.acknowledge() {
            links.push(format!("<{}|Acknowledge>", escaped(&url)));
        }
        if let Some(url) = notice.links.page() {
            links.push(format!("<{}|Open the page>", escaped(&url)));
        }
        let links = links.join(" · ");
        let room = MAX_TEXT.saturating_sub(links.chars().count() + 1);
        let mut text = wording::listed(message, (MAX_LINES, room), Measure::Characters, |alert| {
            escaped(&wording::line(alert))
        });
        if !links.is_empty() {
            text.push('\n');
            text.push_str(&links);
        }
        let mut body = json!({
            "text": format!("*{}*", escaped(&headline)),
            "attachments": [{
                "color": format!("#{:06x}", wording::colour(message)),
                "fallback": escaped(&headline),
                "text": text,
                "mrkdwn_in": ["text"],
            }],
        });
        for (name, value) in [("channel", &self.channel), ("username", &self.username)] {
            if let Some(value) = value {
                body[name] = json!(value);
            }
        }
        Request::json(&body)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value as Json;

    use super::{super::samples, *};
    use crate::notify::Links;

    fn body(config: &Config, message: &crate::state::Message, links: &Links) -> Json {
        serde_json::from_str(&config.request(&samples::notice(message, links)).body).unwrap()
    }

    #[test]
    fn one_alert_is_a_text_and_a_coloured_attachment() {
        let config = Config {
            channel: Some(String::from("#alerts")),
            username: None,
        };
        let body = body(
            &config,
            &samples::firing(),
            &Links::new(Some("https://g.example/a&b"), None),
        );
        assert_eq!(
            body,
            json!({
                "text": "*FIRING: too hot on boiler #1/temperature*",
                "channel": "#alerts",
                "attachments": [{
                    "color": "#d00000",
                    "fallback": "FIRING: too hot on boiler #1/temperature",
                    "text": "critical: too hot, boiler #1/temperature = 91.5 °C. Open the \"vents\" &lt;now&gt; &amp; *run*\nfast\n\
                             <https://g.example/a&amp;b/#alerts|Open the page>",
                    "mrkdwn_in": ["text"],
                }],
            })
        );
        let body = self::body(&config, &samples::resolved(), &Links::default());
        assert_eq!(body["attachments"][0]["color"], "#2eb886");
    }

    #[test]
    fn a_storm_stays_below_the_limits() {
        let body = body(
            &Config::default(),
            &samples::group(5_000),
            &Links::default(),
        );
        let text = body["attachments"][0]["text"].as_str().unwrap();
        assert!(text.chars().count() <= MAX_TEXT);
        assert!(text.contains("\n… and 49"), "{text}");
        assert!(body.to_string().chars().count() < 40_000);
    }
}
