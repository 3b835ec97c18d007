//! Templates (minijinja): a body, a header's value, an address, a topic, made from a message.
//!
//! A template reads nothing but what it is given, and ends: it includes no files, and has a bound for its steps ([`FUEL`]) and its output
//! ([`MAX_OUTPUT`]). A word that is not there is a mistake, found when the config is read, as each template is tried with sample
//! messages; a label that an alert does not have is empty. What is put in is escaped for where it stands ([`Escape`]).

use std::{collections::BTreeMap, fmt, io, sync::Arc};

use minijinja::{
    AutoEscape, Environment, Error, Output, State, UndefinedBehavior, Value,
    value::{Enumerator, Object, ObjectRepr, Serde},
};
use thiserror::Error;

use super::{Links, formats::Notice, samples};
use crate::{model::Timestamp, state::AlertMessage};

/// Steps that one rendering may take: enough for thousands of alerts.
const FUEL: u64 = 2_000_000;
/// Bytes that one rendering may make.
const MAX_OUTPUT: usize = 1 << 20;

/// For where a value stands, and so how it is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Escape {
    /// As JSON: texts with their quotes.
    Json,
    /// As it is.
    Plain,
    /// In an address: percent-encoded.
    Url,
    /// In a header: on one line.
    Header,
    /// In an MQTT topic: without `/`, `+`, `#`.
    Topic,
}

/// A template that can be read.
#[derive(Clone, PartialEq, Eq)]
pub struct Template {
    source: Arc<str>,
    escape: Escape,
}

/// What is wrong with a template, or kept it from being rendered.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{message}")]
pub struct Fault {
    /// From 1.
    pub line: usize,
    /// In characters, from 1.
    pub column: usize,
    /// What, and what to do.
    pub message: String,
}

impl fmt::Debug for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // An address may hold a secret.
        f.debug_struct("Template")
            .field("escape", &self.escape)
            .finish_non_exhaustive()
    }
}

impl Template {
    /// Whether a text is more than itself.
    #[must_use]
    pub fn is_in(text: &str) -> bool {
        ["{{", "{%", "{#"].iter().any(|mark| text.contains(mark))
    }

    /// Reads a template and tries it with sample messages: one alert, its end without a value, and a group.
    ///
    /// # Errors
    ///
    /// What is wrong with it, with its place.
    pub fn new(source: &str, escape: Escape) -> Result<Self, Fault> {
        let template = Self {
            source: source.into(),
            escape,
        };
        for message in samples::all() {
            let (links, id) = (Links::new(Some("https://gateway.example"), None), "sample");
            let notice = Notice {
                id,
                webhook: "sample",
                message: &message,
                links: &links,
                test: false,
                until: None,
                now: Timestamp::default(),
            };
            let text = template.render(&context(&notice))?;
            if escape == Escape::Json
                && let Err(error) = serde_json::from_str::<serde_json::Value>(&text)
            {
                let message = format!(
                    "what it makes is not JSON ({error}): values bring their own quotes, so write {{{{ summary }}}} and not \
                     \"{{{{ summary }}}}\", and join texts with {{{{ \"a\" ~ b }}}}; or set `content_type`"
                );
                return Err(Fault {
                    line: 1,
                    column: 1,
                    message,
                });
            }
        }
        Ok(template)
    }

    /// What it makes of a message.
    ///
    /// # Errors
    ///
    /// When it needs what the message does not have, or too much.
    pub(super) fn render(&self, context: &Value) -> Result<String, Fault> {
        let mut environment = Environment::new();
        environment.set_undefined_behavior(UndefinedBehavior::Strict);
        environment.set_fuel(Some(FUEL));
        environment.set_debug(true);
        environment.add_filter("urlencode", |text: String| percent_encoded(&text));
        let escape = self.escape;
        environment.set_auto_escape_callback(move |_| match escape {
            Escape::Json => AutoEscape::Json,
            _ => AutoEscape::None,
        });
        environment.set_formatter(
            move |out: &mut Output<'_>, state: &mut State<'_, '_>, value: &Value| {
                if escape == Escape::Json {
                    return minijinja::escape_formatter(out, state, value);
                }
                if value.is_none() {
                    return Ok(());
                }
                let text = value.to_string();
                out.write_str(&match escape {
                    Escape::Url => percent_encoded(&text),
                    Escape::Topic => in_one_level(&text),
                    Escape::Header => on_one_line(&text),
                    Escape::Json | Escape::Plain => text,
                })
                .map_err(Error::from)
            },
        );
        let mut made = Bounded(Vec::new());
        let rendered = environment
            .template_from_str(&self.source)
            .and_then(|template| {
                template
                    .render_captured_to(context.clone(), &mut made)
                    .map(drop)
            });
        if let Err(error) = rendered {
            return Err(self.fault(&error));
        }
        Ok(String::from_utf8_lossy(&made.0).into_owned())
    }

    fn fault(&self, error: &Error) -> Fault {
        let start = error.range().map_or_else(
            || {
                let lines = error.line().unwrap_or(1).saturating_sub(1);
                self.source
                    .match_indices('\n')
                    .nth(lines.wrapping_sub(1))
                    .map_or(0, |(at, _)| at + 1)
            },
            |range| range.start,
        );
        let before = self.source.get(..start).unwrap_or_default();
        let line = before.rsplit('\n').next().unwrap_or_default();
        let said = match error.detail() {
            Some(detail) => format!("{}: {detail}", error.kind()),
            None => error.kind().to_string(),
        };
        let word = error
            .range()
            .and_then(|range| self.source.get(range))
            .filter(|_| error.kind() == minijinja::ErrorKind::UndefinedError)
            .map(|word| format!(", \"{word}\""))
            .unwrap_or_default();
        Fault {
            line: before.matches('\n').count() + 1,
            column: line.chars().count() + 1,
            message: format!("the template: {said}{word}"),
        }
    }
}

/// Output that ends at [`MAX_OUTPUT`].
struct Bounded(Vec<u8>);

impl io::Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.0.len() + bytes.len() > MAX_OUTPUT {
            return Err(io::Error::other("it makes more than 1 MiB"));
        }
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// All but the unreserved characters of RFC 3986 as `%XX`. A value of nothing but dots would be another folder of the address.
fn percent_encoded(text: &str) -> String {
    use fmt::Write as _;
    if !text.is_empty() && text.bytes().all(|b| b == b'.') {
        return "_".repeat(text.len());
    }
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            let _ = write!(encoded, "%{byte:02X}");
        }
    }
    encoded
}

fn in_one_level(text: &str) -> String {
    text.chars()
        .map(|c| {
            if "/+#".contains(c) || c.is_control() {
                '_'
            } else {
                c
            }
        })
        .collect()
}

fn on_one_line(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect()
}

/// The labels or links of an alert: one that it does not have is empty, so that one alert without it is not lost.
#[derive(Debug)]
struct Labels(BTreeMap<String, String>);

impl Object for Labels {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        ObjectRepr::Map
    }

    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        let name = key.as_str()?;
        Some(Value::from(self.0.get(name).map_or("", String::as_str)))
    }

    fn enumerate(self: &Arc<Self>) -> Enumerator {
        let names: Vec<Value> = self
            .0
            .keys()
            .map(|name| Value::from(name.as_str()))
            .collect();
        Enumerator::Values(names)
    }
}

fn labels(labels: &BTreeMap<String, String>) -> Value {
    Value::from_object(Labels(labels.clone()))
}

fn alert(alert: &AlertMessage, notice: &Notice<'_>) -> BTreeMap<String, Value> {
    let mut fields = fields(Value::from(Serde(alert)));
    fields.insert(String::from("labels"), labels(&alert.labels));
    let links = notice.links_of(alert).into_iter();
    let links = links.map(|(name, url)| (name.to_owned(), url)).collect();
    fields.insert(String::from("links"), labels(&links));
    let value = super::formats::wording::value(alert);
    fields.insert(String::from("value_text"), Value::from(value));
    fields
}

fn fields(of: Value) -> BTreeMap<String, Value> {
    let mut fields = BTreeMap::new();
    if let Ok(names) = of.try_iter() {
        for name in names {
            if let (Some(name), Ok(value)) = (name.as_str(), of.get_item(&name)) {
                fields.insert(name.to_owned(), value);
            }
        }
    }
    fields
}

/// What a template sees: the fields of the message as `docs/webhooks.md` shows them; of a group also those of its worst alert, so that one
/// template does for both. `alerts` is always there, and so are `title`, `text`, `webhook`, `test` and `links`.
pub(super) fn context(notice: &Notice<'_>) -> Value {
    let message = notice.message;
    let ranked = super::formats::wording::ranked(message);
    let mut context = ranked
        .first()
        .map(|worst| alert(worst, notice))
        .unwrap_or_default();
    context.extend(fields(Value::from(Serde(message))));
    if let Some(worst) = ranked.first() {
        context.insert(String::from("labels"), labels(&worst.labels));
    }
    let alerts: Vec<Value> = ranked
        .iter()
        .map(|one| Value::from(alert(one, notice)))
        .collect();
    let (title, text) = super::formats::title_and_text(notice);
    let more = super::formats::wording::elsewhere(message);
    for (name, value) in [
        ("alerts", Value::from(alerts)),
        ("more", Value::from(more)),
        ("title", Value::from(title)),
        ("text", Value::from(text)),
        ("id", Value::from(notice.id)),
        ("webhook", Value::from(notice.webhook)),
        ("test", Value::from(notice.test)),
    ] {
        context.insert(name.to_owned(), value);
    }
    Value::from(context)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fault(source: &str, escape: Escape) -> Fault {
        Template::new(source, escape).unwrap_err()
    }

    #[test]
    fn mistakes_are_found_when_it_is_read_with_line_and_column() {
        let unknown = fault("{\n  \"a\": {{ sumary }}\n}", Escape::Json);
        assert_eq!((unknown.line, unknown.column), (2, 11), "{unknown}");
        assert!(unknown.message.contains("sumary"), "{unknown}");
        let syntax = fault("ab {{ rule ", Escape::Plain);
        assert_eq!(syntax.line, 1, "{syntax}");
        let filter = fault("\n\n  {{ rule | shout }}", Escape::Plain);
        assert_eq!(filter.line, 3, "{filter}");
        assert!(filter.message.contains("shout"), "{filter}");
    }

    #[test]
    fn a_body_that_is_not_json_is_a_mistake() {
        let quoted = fault(r#"{"a": "{{ summary }}"}"#, Escape::Json);
        assert!(quoted.message.contains("is not JSON"), "{quoted}");
        assert!(Template::new(r#"{"a": {{ summary }}, "v": {{ value }}}"#, Escape::Json).is_ok());
        assert!(Template::new("{{ summary }}", Escape::Plain).is_ok());
    }

    #[test]
    fn a_template_includes_nothing_and_ends() {
        for source in [
            "{% include \"/etc/passwd\" %}",
            "{% import \"a\" as a %}",
            "{% extends \"a\" %}",
        ] {
            fault(source, Escape::Plain);
        }
        let endless = "{% for a in range(100000) %}{% for b in range(100000) %}{{ b }}{% endfor %}{% endfor %}";
        let endless = fault(endless, Escape::Plain);
        assert!(
            endless.message.contains("fuel") || endless.message.contains("write"),
            "{endless}"
        );
        fault("{{ \"x\" * 100000000 }}", Escape::Plain);
    }

    #[test]
    fn values_can_not_leave_their_place() {
        assert_eq!(
            percent_encoded("a/../b?x=1&y#ü"),
            "a%2F..%2Fb%3Fx%3D1%26y%23%C3%BC"
        );
        assert_eq!(percent_encoded(".."), "__");
        assert_eq!(in_one_level("a/+/#\0"), "a_____");
        assert_eq!(on_one_line("a\r\nx-evil: 1"), "a  x-evil: 1");
    }

    #[test]
    fn a_label_that_is_not_there_is_empty_and_the_others_can_be_listed() {
        let template = Template::new(
            "{% for a in alerts %}{{ a.labels.nobody }}{% for k, v in a.labels|items %}{{ k }}={{ v }};{% endfor %}{% endfor %}",
            Escape::Plain,
        )
        .unwrap();
        let (message, links) = (crate::notify::formats::samples::firing(), Links::default());
        let notice = crate::notify::formats::samples::notice(&message, &links);
        assert_eq!(
            template.render(&context(&notice)).unwrap(),
            "site=green & house;team-name=growing;"
        );
    }
}
