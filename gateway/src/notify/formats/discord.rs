//! `kind = "discord"`: a webhook of a Discord channel.
//! <https://discord.com/developers/docs/resources/webhook#execute-webhook>; the limits of embeds (10 of them, title 256, description 4 096,
//! 6 000 characters in all): <https://discord.com/developers/docs/resources/message#embed-object-embed-limits>
//!
//! Nobody is pinged, whatever a text says. A 429 says in its body how long to wait, in seconds with a fraction:
//! <https://discord.com/developers/docs/topics/rate-limits>

use std::time::Duration;

use serde_json::{Value as Json, json};

use super::{
    Notice, Request,
    wording::{self, Measure},
};
use crate::state::{AlertMessage, Event};

const MAX_TITLE: usize = 256;
/// Of one alert alone.
const MAX_DESCRIPTION: usize = 4_096;
/// Of the 6 000 characters of all embeds.
const MAX_LIST: usize = 4_000;
const MAX_LINES: usize = 25;

/// <https://support.discord.com/hc/en-us/articles/210298617>
fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        if "\\*_~`|>#[]()<".contains(c) {
            escaped.push('\\');
        }
        escaped.push(c);
    }
    escaped
}

fn fields(alert: &AlertMessage) -> Vec<Json> {
    let mut fields = vec![
        ("Severity", wording::severity(alert.severity).to_owned()),
        ("Series", alert.series.clone()),
    ];
    fields.extend(wording::value(alert).map(|value| ("Value", value)));
    fields
        .into_iter()
        .map(|(name, value)| {
            let value = wording::clip(&escaped(&value), 300, Measure::Characters);
            json!({"name": name, "value": value, "inline": true})
        })
        .collect()
}

/// See [`super::Format::request`].
pub(super) fn request(notice: &Notice<'_>) -> Request {
    let message = notice.message;
    let title = wording::clip(&wording::headline(notice), MAX_TITLE, Measure::Characters);
    let links: Vec<String> = [
        ("Acknowledge", notice.acknowledge()),
        ("Open the page", notice.links.page()),
    ]
    .into_iter()
    .filter_map(|(word, url)| Some(format!("[{word}]({})", url?)))
    .collect();
    let links = links.join(" · ");
    let room = MAX_LIST - links.chars().count().min(1_000) - 1;
    let mut embed = json!({"title": title, "color": wording::colour(message)});
    let mut description = if let [alert] = message.alerts() {
        embed["fields"] = json!(fields(alert));
        embed["timestamp"] = json!(alert.time);
        wording::clip(&escaped(&alert.summary), room, Measure::Characters)
    } else {
        wording::listed(message, (MAX_LINES, room), Measure::Characters, |alert| {
            let line = escaped(&wording::line(alert));
            if alert.event == Event::Firing {
                format!("• {line}")
            } else {
                line
            }
        })
    };
    if !links.is_empty() && links.chars().count() <= 1_000 {
        if !description.is_empty() {
            description.push('\n');
        }
        description.push_str(&links);
    }
    debug_assert!(description.chars().count() <= MAX_DESCRIPTION);
    embed["description"] = json!(description);
    Request::json(&json!({
        "embeds": [embed],
        "allowed_mentions": {"parse": []},
    }))
}

/// How long a 429 says to wait, in its body; at most an hour.
pub(in crate::notify) fn retry_after(body: &str) -> Option<Duration> {
    let body: Json = serde_json::from_str(body).ok()?;
    let seconds = body.get("retry_after")?.as_f64()?;
    (seconds >= 0.0).then(|| Duration::from_secs_f64(seconds.min(3_600.0)))
}

#[cfg(test)]
mod tests {
    use super::{super::samples, *};
    use crate::notify::Links;

    fn embed(message: &crate::state::Message) -> Json {
        let links = Links::new(Some("https://g.example"), None);
        let body: Json =
            serde_json::from_str(&request(&samples::notice(message, &links)).body).unwrap();
        assert_eq!(body["allowed_mentions"], json!({"parse": []}));
        assert_eq!(body["embeds"].as_array().unwrap().len(), 1);
        body["embeds"][0].clone()
    }

    #[test]
    fn one_alert_is_an_embed_with_its_fields() {
        let embed = embed(&samples::firing());
        assert_eq!(embed["title"], "FIRING: too hot on boiler #1/temperature");
        assert_eq!(embed["color"], 0xd0_00_00);
        assert_eq!(embed["timestamp"], "2026-11-20T09:00:30Z");
        assert_eq!(
            embed["description"],
            "Open the \"vents\" \\<now\\> & \\*run\\*\nfast\n[Open the page](https://g.example/#alerts)"
        );
        assert_eq!(
            embed["fields"][2],
            json!({"name": "Value", "value": "91.5 °C", "inline": true})
        );
    }

    #[test]
    fn a_storm_stays_below_the_limits() {
        let embed = embed(&samples::group(5_000));
        let count = |text: &Json| text.as_str().unwrap().chars().count();
        assert!(count(&embed["title"]) <= MAX_TITLE);
        assert!(count(&embed["description"]) <= MAX_DESCRIPTION);
        assert!(count(&embed["title"]) + count(&embed["description"]) <= 6_000);
        assert!(embed["description"].as_str().unwrap().contains("… and 49"));
    }

    #[test]
    fn the_wait_of_a_429_is_read_from_its_body() {
        let body =
            r#"{"message": "You are being rate limited.", "retry_after": 64.57, "global": false}"#;
        assert_eq!(retry_after(body), Some(Duration::from_secs_f64(64.57)));
        assert_eq!(
            retry_after(r#"{"retry_after": 1e9}"#),
            Some(Duration::from_secs(3_600))
        );
        assert_eq!(retry_after(r#"{"retry_after": -1}"#), None);
        assert_eq!(retry_after("busy"), None);
    }
}
