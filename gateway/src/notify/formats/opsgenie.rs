//! `kind = "opsgenie"`: the Alert API of Opsgenie, <https://docs.opsgenie.com/docs/alert-api>. An alert (or a group of a route) is one
//! alert there, by its `alias`; the end closes it, and an acknowledgement on the gateway acknowledges it. The answer is 202: it is worked off later.

use serde_json::{Map, Value as Json, json};

use super::{
    Notice, Request,
    wording::{self, Measure},
};
use crate::{alert::Severity, model::Secret, state::Event};

const SOURCE: &str = "Sensor gateway";
const MAX_MESSAGE: usize = 130;
const MAX_NOTE: usize = 25_000;
const MAX_USER: usize = 100;
const MAX_ALIAS: usize = 512;
const MAX_DESCRIPTION: usize = 15_000;
const MAX_LINES: usize = 100;
/// Tags, and characters of each.
const MAX_TAGS: (usize, usize) = (20, 50);
/// Characters of all keys and values of `details` together.
const MAX_DETAILS: usize = 8_000;

/// Whose alerts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// The key of the API integration.
    pub api_key: Secret,
}

impl Config {
    /// See [`super::Format::request`].
    pub(super) fn request(&self, notice: &Notice<'_>) -> Request {
        let message = notice.message;
        let alias = wording::clip(notice.subject(), MAX_ALIAS, Measure::Characters);
        let mut path = ["v2", "alerts"].map(ToOwned::to_owned).to_vec();
        let mut query = None;
        let body = if message.event() == Event::Resolved {
            path.extend([alias, String::from("close")]);
            query = Some(("identifierType", "alias"));
            json!({"source": SOURCE, "note": clipped(&wording::headline(notice), MAX_NOTE)})
        } else if let Some(given) = message.acknowledged() {
            path.extend([alias, String::from("acknowledge")]);
            query = Some(("identifierType", "alias"));
            json!({
                "source": SOURCE,
                "user": clipped(&given.by, MAX_USER),
                "note": clipped(&format!("Acknowledged {given}"), MAX_NOTE),
            })
        } else {
            create(notice, &alias)
        };
        let key = format!("GenieKey {}", self.api_key.0);
        Request {
            path,
            query,
            headers: vec![(String::from("authorization"), key)],
            ..Request::json(&body)
        }
    }
}

fn clipped(text: &str, room: usize) -> String {
    wording::clip(text, room, Measure::Characters)
}

fn create(notice: &Notice<'_>, alias: &str) -> Json {
    let message = notice.message;
    let ranked = wording::ranked(message);
    let mut description = wording::listed(
        message,
        (MAX_LINES, MAX_DESCRIPTION - 1_000),
        Measure::Characters,
        wording::line,
    );
    for url in [notice.acknowledge(), notice.links.page()]
        .into_iter()
        .flatten()
    {
        if url.chars().count() < 400 {
            description.push('\n');
            description.push_str(&url);
        }
    }
    let mut tags = vec![wording::severity(wording::worst(message)).to_owned()];
    if notice.test {
        tags.push(String::from("test"));
    }
    let mut details = Map::new();
    let mut used = 0;
    if let [alert] = message.alerts() {
        for (name, value) in &alert.labels {
            used += name.chars().count() + value.chars().count();
            if used > MAX_DETAILS {
                break;
            }
            details.insert(name.clone(), json!(value));
        }
    }
    debug_assert!(tags.len() <= MAX_TAGS.0 && tags.iter().all(|tag| tag.len() <= MAX_TAGS.1));
    json!({
        "message": clipped(&wording::headline(notice), MAX_MESSAGE),
        "alias": alias,
        "description": description,
        "tags": tags,
        "details": details,
        "entity": ranked.first().map(|alert| clipped(&alert.device, 512)),
        "source": SOURCE,
        "priority": match wording::worst(message) {
            Severity::Critical => "P1",
            Severity::Warning => "P3",
            Severity::Info => "P5",
        },
    })
}

#[cfg(test)]
mod tests {
    use super::{super::samples, *};
    use crate::notify::Links;

    fn request(message: &crate::state::Message) -> (Request, Json) {
        let config = Config {
            api_key: Secret(String::from("K3Y")),
        };
        let links = Links::new(Some("https://g.example"), None);
        let request = config.request(&samples::notice(message, &links));
        let body = serde_json::from_str(&request.body).unwrap();
        (request, body)
    }

    #[test]
    fn an_alert_is_made_and_its_end_closes_it_by_the_same_alias() {
        let (made, body) = request(&samples::firing());
        assert_eq!(made.path, ["v2", "alerts"]);
        assert_eq!(
            made.headers,
            [(String::from("authorization"), String::from("GenieKey K3Y"))]
        );
        assert_eq!(body["alias"], "k3v9-0");
        assert_eq!(body["priority"], "P1");
        assert_eq!(body["entity"], "boiler #1");
        assert_eq!(
            body["details"],
            json!({"site": "green & house", "team-name": "growing"})
        );
        assert!(
            body["description"]
                .as_str()
                .unwrap()
                .ends_with("\nhttps://g.example/#alerts")
        );
        let (closed, _) = request(&samples::resolved());
        assert_eq!(closed.path, ["v2", "alerts", "k3v9-0", "close"]);
        assert_eq!(closed.query, Some(("identifierType", "alias")));
    }

    #[test]
    fn what_is_acknowledged_here_is_acknowledged_there_with_who_and_why() {
        let (request, body) = request(&samples::acknowledged(samples::firing()));
        assert_eq!(request.path, ["v2", "alerts", "k3v9-0", "acknowledge"]);
        assert_eq!(request.query, Some(("identifierType", "alias")));
        assert_eq!(body["user"], "Ada");
        assert_eq!(
            body["note"],
            "Acknowledged by Ada at 2026-11-20T09:01:00Z: opens the vents"
        );
        let (request, _) = self::request(&samples::acknowledged(samples::group(3)));
        assert_eq!(request.path, ["v2", "alerts", "g7", "acknowledge"]);
    }

    #[test]
    fn a_storm_stays_below_the_limits() {
        let (_, body) = request(&samples::group(5_000));
        let count = |name: &str| body[name].as_str().unwrap().chars().count();
        assert!(count("message") <= MAX_MESSAGE && count("description") <= MAX_DESCRIPTION);
        assert_eq!(body["alias"], "g7");
    }
}
