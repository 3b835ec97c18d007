//! `kind = "teams"`: an Adaptive Card for a Workflows webhook of Microsoft Teams ("Post to a channel when a webhook request is received");
//! the connectors of Office 365 are retired.
//! <https://learn.microsoft.com/microsoftteams/platform/webhooks-and-connectors/how-to/add-incoming-webhook>,
//! <https://adaptivecards.io/explorer/>. A message has at most 28 KB.

use serde_json::{Value as Json, json};

use super::{
    Notice, Request,
    wording::{self, Measure},
};
use crate::{
    alert::Severity,
    state::{AlertMessage, Event},
};

/// Bytes of the list, of the 28 KB that a message may have; JSON may double some.
const MAX_LIST: usize = 8_000;
const MAX_LINES: usize = 30;
const MAX_HEADLINE: usize = 300;
const MAX_FACT: usize = 500;

/// Text blocks read a part of Markdown.
fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        if "\\*_[]()`#~".contains(c) {
            escaped.push('\\');
        }
        escaped.push(c);
    }
    escaped
}

fn facts(alert: &AlertMessage) -> Vec<Json> {
    let mut facts = vec![
        ("Rule", alert.rule.clone()),
        ("Severity", wording::severity(alert.severity).to_owned()),
        ("Series", alert.series.clone()),
    ];
    facts.extend(wording::value(alert).map(|value| ("Value", value)));
    facts.push((
        "Since",
        alert.fired.clone().unwrap_or_else(|| alert.began.clone()),
    ));
    facts.extend(alert.resolved.clone().map(|at| ("Resolved", at)));
    facts
        .into_iter()
        .map(|(title, value)| {
            let value = wording::clip(&value, MAX_FACT, Measure::Characters);
            json!({"title": title, "value": escaped(&value)})
        })
        .collect()
}

/// See [`super::Format::request`].
pub(super) fn request(notice: &Notice<'_>) -> Request {
    let message = notice.message;
    let colour = match (message.event(), wording::worst(message)) {
        (Event::Resolved, _) => "good",
        (Event::Firing, Severity::Critical) => "attention",
        (Event::Firing, Severity::Warning) => "warning",
        (Event::Firing, Severity::Info) => "accent",
    };
    let headline = wording::clip(
        &wording::headline(notice),
        MAX_HEADLINE,
        Measure::Characters,
    );
    let mut blocks = vec![json!({
        "type": "TextBlock", "text": escaped(&headline), "weight": "bolder", "size": "medium", "color": colour, "wrap": true,
    })];
    if let [alert] = message.alerts() {
        if !alert.summary.is_empty() {
            let summary = wording::clip(&alert.summary, MAX_LIST, Measure::Bytes);
            blocks.push(json!({"type": "TextBlock", "text": escaped(&summary), "wrap": true}));
        }
        blocks.push(json!({"type": "FactSet", "facts": facts(alert)}));
    } else {
        // A single line break is none in Markdown.
        let list = wording::listed(message, (MAX_LINES, MAX_LIST), Measure::Bytes, |alert| {
            escaped(&wording::line(alert))
        });
        blocks.push(json!({"type": "TextBlock", "text": list.replace('\n', "\n\n"), "wrap": true}));
    }
    let mut actions = Vec::new();
    for (title, url) in [
        ("Acknowledge", notice.acknowledge()),
        ("Open the page", notice.links.page()),
    ] {
        actions
            .extend(url.map(|url| json!({"type": "Action.OpenUrl", "title": title, "url": url})));
    }
    Request::json(&json!({
        "type": "message",
        "attachments": [{
            "contentType": "application/vnd.microsoft.card.adaptive",
            "contentUrl": null,
            "content": {
                "$schema": "http://adaptivecards.io/schemas/adaptive-card.json",
                "type": "AdaptiveCard",
                "version": "1.4",
                "msteams": {"width": "Full"},
                "body": blocks,
                "actions": actions,
            },
        }],
    }))
}

#[cfg(test)]
mod tests {
    use super::{super::samples, *};
    use crate::notify::Links;

    fn body(message: &crate::state::Message) -> Json {
        let links = Links::new(Some("https://g.example"), None);
        serde_json::from_str(&request(&samples::notice(message, &links)).body).unwrap()
    }

    #[test]
    fn one_alert_is_a_card_with_its_facts() {
        let body = body(&samples::firing());
        assert_eq!(body["type"], "message");
        let attachment = &body["attachments"][0];
        assert_eq!(
            attachment["contentType"],
            "application/vnd.microsoft.card.adaptive"
        );
        let card = &attachment["content"];
        assert_eq!(
            (&card["type"], &card["version"]),
            (&json!("AdaptiveCard"), &json!("1.4"))
        );
        assert_eq!(
            card["body"][0]["text"],
            "FIRING: too hot on boiler \\#1/temperature"
        );
        assert_eq!(card["body"][0]["color"], "attention");
        assert_eq!(
            card["body"][1]["text"],
            "Open the \"vents\" <now> & \\*run\\*\nfast"
        );
        assert_eq!(
            card["body"][2]["facts"][3],
            json!({"title": "Value", "value": "91.5 °C"})
        );
        assert_eq!(
            card["actions"],
            json!([{"type": "Action.OpenUrl", "title": "Open the page", "url": "https://g.example/#alerts"}])
        );
    }

    #[test]
    fn a_storm_stays_below_28_kilobytes() {
        let body = body(&samples::group(5_000));
        assert!(
            body.to_string().len() < 28 * 1024,
            "{}",
            body.to_string().len()
        );
        let text = body["attachments"][0]["content"]["body"][1]["text"]
            .as_str()
            .unwrap();
        assert!(text.ends_with("\n\n… and 4970 more"), "{text}");
    }
}
