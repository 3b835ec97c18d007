//! Commands that come over a socket, as the requests to the REST interface that they stand for: so rules, limits and login hold once.
//!
//! Pure: what is sent is read, and a request made of it. Who sends it is in `websocket`.

use std::fmt::Write as _;

use axum::{
    body::Body,
    http::{HeaderMap, HeaderValue, Method, Request, header},
};
use serde::Deserialize;
use serde_json::Value as JsonValue;

/// Characters of a client's own id for a command.
const MAX_ID_CHARS: usize = 64;
/// Headers of the handshake that say who it is, and from where: they go with each command.
const CREDENTIALS: [header::HeaderName; 4] = [
    header::HOST,
    header::ORIGIN,
    header::COOKIE,
    header::AUTHORIZATION,
];

/// What a client sends.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Sent {
    command: String,
    /// The client's own; it comes back with the answer.
    #[serde(default)]
    id: JsonValue,
    thing: Option<String>,
    target: Option<String>,
    version: Option<u64>,
    by: Option<String>,
    series: Option<OneOrMore>,
    labels: Option<OneOrMore>,
    types: Option<OneOrMore>,
    #[serde(default)]
    body: JsonValue,
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum OneOrMore {
    One(String),
    More(Vec<String>),
}

/// What is to be done.
#[derive(Debug)]
pub(super) enum Command {
    /// Hear this from now on; as pairs of a query.
    Subscribe(Vec<(&'static str, String)>),
    /// Hear nothing.
    Unsubscribe,
    /// Ask the REST interface.
    Ask(Box<Request<Body>>),
}

/// A command that can't be understood, in words for who wrote it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Misunderstood(pub(super) String);

/// Reads a command. Its id comes back also with what can't be understood, if it can be read.
pub(super) fn read(
    text: &str,
    credentials: &HeaderMap,
) -> (JsonValue, Result<Command, Misunderstood>) {
    let sent: Sent = match serde_json::from_str(text) {
        Ok(sent) => sent,
        Err(error) => {
            let id = serde_json::from_str::<JsonValue>(text).map_or(JsonValue::Null, |mut sent| {
                sent.get_mut("id").map(JsonValue::take).unwrap_or_default()
            });
            let said = format!("this is no command: {error}");
            return (checked_id(id).unwrap_or_default(), Err(Misunderstood(said)));
        }
    };
    match checked_id(sent.id.clone()) {
        Some(id) => (id, command(sent, credentials)),
        None => {
            let said = format!("`id` is a number, or a text of at most {MAX_ID_CHARS} characters");
            (JsonValue::Null, Err(Misunderstood(said)))
        }
    }
}

fn checked_id(id: JsonValue) -> Option<JsonValue> {
    let fine = match &id {
        JsonValue::Null | JsonValue::Number(_) => true,
        JsonValue::String(text) => text.chars().count() <= MAX_ID_CHARS,
        _ => false,
    };
    fine.then_some(id)
}

fn command(sent: Sent, credentials: &HeaderMap) -> Result<Command, Misunderstood> {
    let target = || {
        let target = sent.target.as_deref().filter(|target| !target.is_empty());
        target.map(escaped).ok_or_else(|| missing("target"))
    };
    let alert = |what: &str| Ok(format!("/api/v1/alerts/{}/{what}", target()?));
    let by = |path: String| match &sent.by {
        Some(by) => format!("{path}?by={}", escaped(by)),
        None => path,
    };
    let (method, path) = match sent.command.as_str() {
        "subscribe" => {
            let mut pairs = Vec::new();
            for (name, values) in [
                ("series", sent.series),
                ("labels", sent.labels),
                ("types", sent.types),
            ] {
                match values {
                    None => {}
                    Some(OneOrMore::One(value)) => pairs.push((name, value)),
                    Some(OneOrMore::More(values)) => {
                        pairs.extend(values.into_iter().map(|value| (name, value)));
                    }
                }
            }
            return Ok(Command::Subscribe(pairs));
        }
        "unsubscribe" => return Ok(Command::Unsubscribe),
        "acknowledge" => (Method::POST, alert("acknowledge")?),
        "unacknowledge" => (Method::DELETE, by(alert("acknowledge")?)),
        "close" => (Method::POST, alert("close")?),
        "shelve" => (Method::POST, alert("shelve")?),
        "unshelve" => (Method::DELETE, by(alert("shelve")?)),
        "silence" => (Method::POST, String::from("/api/v1/silences")),
        "create" => (Method::POST, collection(sent.thing.as_deref())?),
        "read" => {
            let all = collection(sent.thing.as_deref())?;
            let path = match sent.target {
                Some(_) => format!("{all}/{}", target()?),
                None => all,
            };
            (Method::GET, path)
        }
        "update" => {
            let all = collection(sent.thing.as_deref())?;
            (Method::PUT, format!("{all}/{}", target()?))
        }
        "delete" => {
            let all = collection(sent.thing.as_deref())?;
            (Method::DELETE, by(format!("{all}/{}", target()?)))
        }
        other => {
            let other: String = other.chars().take(40).collect();
            return Err(Misunderstood(format!(
                "there is no command {other:?}: use subscribe, unsubscribe, acknowledge, unacknowledge, close, shelve, \
                 unshelve, silence, create, read, update or delete"
            )));
        }
    };
    request(method, &path, sent.version, &sent.body, credentials).map(Command::Ask)
}

fn missing(key: &str) -> Misunderstood {
    Misunderstood(format!("this command needs `{key}`"))
}

fn collection(thing: Option<&str>) -> Result<String, Misunderstood> {
    let all = match thing {
        Some("rule") => "rules",
        Some("device") => "devices",
        Some("webhook") => "webhooks",
        Some("dashboard") => "dashboards",
        Some("silence") => "silences",
        _ => {
            return Err(Misunderstood(String::from(
                "`thing` is rule, device, webhook, dashboard or silence",
            )));
        }
    };
    Ok(format!("/api/v1/{all}"))
}

fn request(
    method: Method,
    path: &str,
    version: Option<u64>,
    body: &JsonValue,
    credentials: &HeaderMap,
) -> Result<Box<Request<Body>>, Misunderstood> {
    let mut request = Request::builder().method(method).uri(path);
    for name in &CREDENTIALS {
        for value in credentials.get_all(name) {
            request = request.header(name, value);
        }
    }
    if let Some(version) = version {
        request = request.header(header::IF_MATCH, format!("\"{version}\""));
    }
    let body = match body {
        JsonValue::Null => Body::empty(),
        body => {
            let json = HeaderValue::from_static("application/json");
            request = request.header(header::CONTENT_TYPE, json);
            Body::from(body.to_string())
        }
    };
    let request = request.body(body);
    request
        .map(Box::new)
        .map_err(|_| Misunderstood(String::from("`target` or `by` can't stand in a path")))
}

/// Percent-encoded but for the unreserved characters of RFC 3986.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            // Writing to a string cannot fail.
            let _ = write!(out, "%{byte:02X}");
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(text: &str) -> (Method, String, HeaderMap) {
        let mut credentials = HeaderMap::new();
        credentials.insert(header::COOKIE, HeaderValue::from_static("session=1"));
        credentials.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
        match read(text, &credentials).1 {
            Ok(Command::Ask(request)) => {
                let (parts, _) = request.into_parts();
                (parts.method, parts.uri.to_string(), parts.headers)
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_command_is_the_request_that_it_stands_for_with_the_credentials_of_its_socket() {
        let (method, path, headers) = asked(
            r#"{"command":"update","id":1,"thing":"device","target":"a b/ü","version":3,"body":{"by":"Ada"}}"#,
        );
        assert_eq!(
            (method, path.as_str()),
            (Method::PUT, "/api/v1/devices/a%20b%2F%C3%BC")
        );
        assert_eq!(headers[header::IF_MATCH], "\"3\"");
        assert_eq!(headers[header::COOKIE], "session=1");
        assert!(!headers.contains_key(header::UPGRADE));
        let (method, path, _) =
            asked(r#"{"command":"delete","thing":"rule","target":"r-1","by":"A&B"}"#);
        assert_eq!(
            (method, path.as_str()),
            (Method::DELETE, "/api/v1/rules/r-1?by=A%26B")
        );
        let (method, path, _) = asked(r#"{"command":"acknowledge","target":"x","body":{}}"#);
        assert_eq!(
            (method, path.as_str()),
            (Method::POST, "/api/v1/alerts/x/acknowledge")
        );
    }

    #[test]
    fn what_cannot_be_understood_is_said_with_the_id_that_it_came_with() {
        for (text, id, said) in [
            ("nonsense", "null", "no command"),
            ("[1]", "null", "no command"),
            (
                r#"{"command":"dance","id":"a"}"#,
                "\"a\"",
                "no command \"dance\"",
            ),
            (
                r#"{"command":"create","id":2,"thing":"user"}"#,
                "2",
                "`thing` is",
            ),
            (
                r#"{"command":"update","id":3,"thing":"rule"}"#,
                "3",
                "`target`",
            ),
            (
                r#"{"command":"update","id":4,"tgt":"x"}"#,
                "4",
                "unknown field `tgt`",
            ),
            (r#"{"command":"unsubscribe","id":{}}"#, "null", "`id` is"),
        ] {
            let (found, result) = read(text, &HeaderMap::new());
            let Misunderstood(words) = result.expect_err(text);
            assert!(words.contains(said), "{text}: {words}");
            assert_eq!(found.to_string(), id, "{text}");
        }
    }
}
