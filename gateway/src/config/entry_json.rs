//! Rules, devices and webhooks as JSON: the same keys as a `[[rule]]`, `[[device]]` or `[[webhook]]` has in the file, read by the same
//! reader, so that what the file can say can be said over the API too, and is refused with the same words.
//!
//! What comes as JSON becomes a little TOML document with one key a line; the line of a mistake then says which key it is about.
//!
//! A secret stands in the file that it is read from, or in the environment; over the API it is said itself ([`read_webhook`]).

use std::{fmt::Write as _, io, path::Path};

use serde_json::{Map, Number, Value as JsonValue};
use smol_str::SmolStr;
use toml::de::{DeTable, DeValue};

use super::{
    Config, Mistake, Reporter, Surroundings, Table, mistake::report_syntax, secret, section,
    webhook,
};
use crate::{alert::Rule, notify::WebhookConfig, store::DeviceConfig};

/// A table as it was written, by its keys.
pub type Body = Map<String, JsonValue>;

/// A table of the file, with its place.
#[derive(Clone, Debug, PartialEq)]
pub struct Written {
    /// Its name, or the id of a device.
    pub name: SmolStr,
    /// The line of the file on which it begins, from 1.
    pub line: usize,
    /// What it says there.
    pub body: Body,
}

/// What is wrong with what came as JSON.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyFault {
    /// The key that it is about; none when it is about the whole.
    pub key: Option<String>,
    /// What is wrong and what to do.
    pub detail: String,
}

/// Reads a rule against a config, as if it stood in the file behind the others: names that it must not take, and those that must be
/// there, are looked for, but for rules that it depends on. Unless it can't be read at all it is added to [`Config::rules`] and `engine.rules`, and given back with
/// what is wrong with it.
pub fn read_rule(config: &mut Config, body: &Body) -> (Option<Rule>, Vec<KeyFault>) {
    let (text, keys) = document("rule", body);
    let reporter = Reporter::new("rule", &text);
    let (root, errors) = DeTable::parse_recoverable(&text);
    report_syntax(&reporter, &errors);
    let before = config.engine.rules.len();
    // Whether the rules are there that it depends on can only be said by who knows all of them: `super::dependence_fault`.
    let _depending = super::rules(
        &mut Table::new(&reporter, "the rule", root.get_ref(), 0..0),
        config,
    );
    let rule = config.engine.rules.get(before).cloned();
    (rule, faults(&reporter, &keys))
}

/// Reads what is said of a device, by the keys of `[[device]]`; its `id` among them.
pub fn read_device(body: &Body) -> (Option<DeviceConfig>, Vec<KeyFault>) {
    read_one("device", body, section::device)
}

/// Reads a webhook, by the keys of `[[webhook]]`. What the file may not hold itself stands here as it is: `token`, `password`,
/// `signing_keys`, `routing_key`, `api_key`. Files and variables of the gateway's machine are not named: whoever could have one sent to
/// an address of theirs could read it.
pub fn read_webhook(body: &Body) -> (Option<WebhookConfig>, Vec<KeyFault>) {
    let outside: Vec<KeyFault> = body
        .keys()
        .filter(|key| key.ends_with("_file") || key.ends_with("_env"))
        .map(|key| KeyFault {
            key: Some(key.clone()),
            detail: format!("`{key}` is for the config file: here say the thing itself; secrets are kept and not given back"),
        })
        .collect();
    if !outside.is_empty() {
        return (None, outside);
    }
    let mut renamed = Body::new();
    let mut wrong = Vec::new();
    for (key, value) in body {
        match (secret::variable(key), value) {
            (Some(variable), JsonValue::String(_)) => {
                renamed.insert(variable.to_owned(), JsonValue::String(key.clone()));
            }
            (Some(_), JsonValue::Null) | (None, _) => {
                renamed.insert(key.clone(), value.clone());
            }
            (Some(_), _) => wrong.push(KeyFault {
                key: Some(key.clone()),
                detail: format!("`{key}` must be a text"),
            }),
        }
    }
    if !wrong.is_empty() {
        return (None, wrong);
    }
    let environment = |key: &str| body.get(key)?.as_str().map(str::to_owned);
    let around = Surroundings {
        folder: Path::new(""),
        read_file: &|_| Err(io::ErrorKind::PermissionDenied.into()),
        environment: &environment,
    };
    let (read, mut faults) = read_one("webhook", &renamed, |table| webhook::read(table, &around));
    for fault in &mut faults {
        for (key, file, variable) in secret::KEYS {
            if fault.key.as_deref() == Some(variable) {
                fault.key = Some(key.to_owned());
            }
            // In words of the file, which mislead here.
            fault.detail = fault
                .detail
                .replace(&format!("`{file}` or `{variable}`"), &format!("`{key}`"))
                .replace(&format!("`{variable}`"), &format!("`{key}`"))
                .replace(
                    &format!("the environment variable {key} is not set"),
                    &format!("`{key}` is empty"),
                );
        }
    }
    (read.map(|(webhook, _)| webhook), faults)
}

fn read_one<T>(
    head: &'static str,
    body: &Body,
    read: impl FnOnce(Table<'_>) -> Option<T>,
) -> (Option<T>, Vec<KeyFault>) {
    let (text, keys) = document(head, body);
    let reporter = Reporter::new(head, &text);
    let (root, errors) = DeTable::parse_recoverable(&text);
    report_syntax(&reporter, &errors);
    let mut root = Table::new(&reporter, "this", root.get_ref(), 0..0);
    let thing = root.tables(head).pop().and_then(read);
    (thing, faults(&reporter, &keys))
}

/// The mistakes, with the keys that they are about.
fn faults(reporter: &Reporter, keys: &[&str]) -> Vec<KeyFault> {
    let fault = |mistake: Mistake| KeyFault {
        // The first line is the head of the table.
        key: match mistake.missing {
            Some(key) => Some(key.to_owned()),
            None => mistake
                .line
                .checked_sub(2)
                .and_then(|at| keys.get(at))
                .map(|key| (*key).to_owned()),
        },
        detail: mistake.message,
    };
    reporter.mistakes().into_iter().map(fault).collect()
}

/// As a TOML document with the keys that are on its lines from the second on. A key that is `null` is not there.
fn document<'a>(head: &str, body: &'a Body) -> (String, Vec<&'a str>) {
    let mut text = format!("[[{head}]]\n");
    let mut keys = Vec::new();
    for (key, value) in body.iter().filter(|(_, value)| !value.is_null()) {
        quote(&mut text, key);
        text.push_str(" = ");
        inline(&mut text, value);
        text.push('\n');
        keys.push(key.as_str());
    }
    (text, keys)
}

fn inline(text: &mut String, value: &JsonValue) {
    match value {
        // Nothing that a key could want; the reader says so.
        JsonValue::Null => text.push_str("{}"),
        JsonValue::Bool(value) => text.push_str(if *value { "true" } else { "false" }),
        JsonValue::Number(number) => push_number(text, number),
        JsonValue::String(value) => quote(text, value),
        JsonValue::Array(items) => {
            text.push('[');
            for item in items {
                inline(text, item);
                text.push_str(", ");
            }
            text.push(']');
        }
        JsonValue::Object(entries) => {
            text.push('{');
            for (n, (key, value)) in entries.iter().enumerate() {
                if n > 0 {
                    text.push_str(", ");
                }
                quote(text, key);
                text.push_str(" = ");
                inline(text, value);
            }
            text.push('}');
        }
    }
}

fn push_number(text: &mut String, number: &Number) {
    let written = match (number.as_i64(), number.as_f64()) {
        (Some(whole), _) => write!(text, "{whole}"),
        // With a point or an exponent, as TOML wants it.
        (None, Some(float)) => write!(text, "{float:?}"),
        (None, None) => write!(text, "{number}"),
    };
    // Writing to a string cannot fail.
    let _ = written;
}

/// As a basic string on one line.
fn quote(text: &mut String, value: &str) {
    text.push('"');
    for c in value.chars() {
        match c {
            '"' | '\\' => text.extend(['\\', c]),
            c if c.is_control() => {
                // Writing to a string cannot fail.
                let _ = write!(text, "\\U{:08X}", u32::from(c));
            }
            c => text.push(c),
        }
    }
    text.push('"');
}

/// What a table of the file says, as JSON.
pub(super) fn body_of(table: &DeTable<'_>) -> Body {
    let entries = table.iter();
    entries
        .map(|(key, value)| (key.get_ref().to_string(), as_json(value.get_ref())))
        .collect()
}

fn as_json(value: &DeValue<'_>) -> JsonValue {
    match value {
        DeValue::String(text) => JsonValue::String(text.to_string()),
        DeValue::Boolean(value) => JsonValue::Bool(*value),
        DeValue::Integer(whole) => {
            let digits = whole.as_str().replace('_', "");
            i64::from_str_radix(&digits, whole.radix()).map_or(JsonValue::Null, JsonValue::from)
        }
        DeValue::Float(float) => {
            let float: Option<f64> = float.as_str().replace('_', "").parse().ok();
            float.map_or(JsonValue::Null, JsonValue::from)
        }
        DeValue::Array(items) => items.iter().map(|item| as_json(item.get_ref())).collect(),
        DeValue::Table(table) => JsonValue::Object(body_of(table)),
        DeValue::Datetime(time) => JsonValue::String(time.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use std::{path::Path, time::Duration};

    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::{
        alert::{Condition, Severity},
        config::{Surroundings, parse},
    };

    fn config(text: &str) -> Config {
        let around = Surroundings {
            folder: Path::new(""),
            read_file: &|_| Ok(String::from("# secret")),
            environment: &|_| None,
        };
        parse("gateway.toml", text, &around).unwrap()
    }

    fn body(value: JsonValue) -> Body {
        value.as_object().unwrap().clone()
    }

    fn faults(text: &str, value: JsonValue) -> Vec<(Option<String>, String)> {
        let (_, faults) = read_rule(&mut config(text), &body(value));
        faults.into_iter().map(|f| (f.key, f.detail)).collect()
    }

    const OPS: &str = "[[webhook]]\nname = \"ops\"\nurl = \"http://a/b\"\n";

    #[test]
    fn each_rule_of_the_full_example_is_the_same_rule_as_json() {
        const FULL: &str = include_str!("../../../config/full.toml");
        let full = config(FULL);
        assert!(full.rules.len() > 3);
        for (written, rule) in full.rules.iter().zip(&full.engine.rules) {
            assert_eq!(written.name, rule.name);
            let line = FULL.lines().nth(written.line - 1).unwrap();
            assert_eq!(line, "[[rule]]", "line {}", written.line);
            let mut alone = Config {
                rules: Vec::new(),
                ..full.clone()
            };
            alone.engine.rules.clear();
            let (read, faults) = read_rule(&mut alone, &written.body);
            assert_eq!((read.as_ref(), faults), (Some(rule), Vec::new()));
        }
    }

    #[test]
    fn a_rule_has_the_keys_of_the_file() {
        let rule = json!({
            "name": "too hot", "series": "*/temperature", "above": 30, "clear": 28.5, "for": "30s", "severity": "critical",
            "summary": "say \"open\"\nthe vents \\ now", "webhooks": ["ops"], "labels": {"team": "growing"}, "below": null,
        });
        let mut config = config(OPS);
        let (rule, faults) = read_rule(&mut config, &body(rule));
        assert_eq!(faults, []);
        let rule = rule.unwrap();
        assert_eq!(rule.hold, Duration::from_secs(30));
        assert_eq!(rule.severity, Severity::Critical);
        assert_eq!(rule.summary, "say \"open\"\nthe vents \\ now");
        assert_eq!(rule.labels["team"], "growing");
        assert!(
            matches!(rule.condition, Condition::Above { limit, clear } if (limit, clear) == (30.0, 28.5))
        );
        assert_eq!(config.engine.rules, [rule]);
    }

    #[test]
    fn each_mistake_names_its_key() {
        let found = faults(
            OPS,
            json!({"series": "temperature", "abov": 30, "for": "soon", "severity": "bad", "webhooks": ["op"]}),
        );
        let of = |key: Option<&str>| {
            let key = key.map(ToOwned::to_owned);
            let found = found.iter().find(|(k, _)| *k == key);
            found
                .unwrap_or_else(|| panic!("nothing about {key:?}: {found:#?}"))
                .1
                .clone()
        };
        assert!(of(Some("name")).contains("needs `name`"));
        assert!(of(Some("series")).contains("device/metric"));
        assert!(of(Some("abov")).contains("did you mean `above`"));
        assert!(of(Some("for")).contains("a duration such as"));
        assert!(of(Some("severity")).contains("\"critical\""));
        assert!(of(None).contains("needs a condition, one of"));
        // Whether a webhook is there is asked of a rule that can be read.
        let found = faults(
            OPS,
            json!({"name": "a", "series": "a/b", "above": 1, "webhooks": ["op"]}),
        );
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].0.as_deref(), Some("webhooks"));
        assert!(found[0].1.contains("no webhook named \"op\""));
    }

    #[test]
    fn a_name_that_the_file_has_is_taken() {
        let text = "[[rule]]\nname = \"hot\"\nseries = \"*/t\"\nabove = 1\n";
        let found = faults(
            text,
            json!({"name": "hot", "series": "a/b", "no_data_for": "5m"}),
        );
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].0.as_deref(), Some("name"));
    }

    fn any_json() -> impl Strategy<Value = JsonValue> {
        let leaf = prop_oneof![
            Just(JsonValue::Null),
            any::<bool>().prop_map(JsonValue::from),
            any::<i64>().prop_map(JsonValue::from),
            any::<u64>().prop_map(JsonValue::from),
            any::<f64>().prop_map(JsonValue::from),
            any::<String>().prop_map(JsonValue::from),
        ];
        leaf.prop_recursive(3, 16, 4, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..4).prop_map(JsonValue::from),
                proptest::collection::btree_map(any::<String>(), inner, 0..4)
                    .prop_map(|map| JsonValue::Object(map.into_iter().collect())),
            ]
        })
    }

    proptest! {
        /// Whatever a client sends is a document without a fault of its own: what is said is about its contents.
        #[test]
        fn any_json_becomes_a_document_that_can_be_read(entries in proptest::collection::btree_map(any::<String>(), any_json(), 0..6)) {
            let body: Body = entries.into_iter().collect();
            let (text, keys) = document("rule", &body);
            let (root, errors) = DeTable::parse_recoverable(&text);
            prop_assert!(errors.is_empty(), "{text}: {errors:?}");
            let table = root.get_ref().get("rule").unwrap().get_ref().as_array().unwrap();
            let back = body_of(table.first().unwrap().get_ref().as_table().unwrap());
            prop_assert_eq!(back.keys().len(), keys.len());
            for key in keys {
                if let Some(text) = body[key].as_str() {
                    prop_assert_eq!(back[key].as_str(), Some(text));
                }
            }
            let (_, _) = read_rule(&mut Config::default(), &body);
        }
    }

    #[test]
    fn a_webhook_says_its_secrets_itself_and_names_no_files() {
        let read = |value: JsonValue| {
            let (webhook, faults) = read_webhook(&body(value));
            let told: Vec<_> = faults
                .into_iter()
                .map(|f| (f.key.unwrap_or_default(), f.detail))
                .collect();
            (webhook, told)
        };
        let (webhook, faults) = read(
            json!({"name": "ops", "url": "https://h.example/x", "token": "s3cret", "timeout": "5s"}),
        );
        assert_eq!(faults, []);
        let webhook = webhook.unwrap();
        let crate::notify::Destination::Http(endpoint, _) = &webhook.to else {
            panic!("{webhook:?}");
        };
        assert_eq!(endpoint.token.as_ref().unwrap().0, "s3cret");
        assert_eq!(webhook.timeout, Duration::from_secs(5));
        for key in ["token_file", "url_env", "ca_file", "body_file"] {
            let (webhook, faults) =
                read(json!({"name": "ops", "url": "https://h.example/x", key: "/etc/passwd"}));
            assert!(webhook.is_none());
            assert_eq!(faults[0].0, key);
        }
        let (_, faults) = read(json!({"name": "pd", "kind": "pagerduty"}));
        assert_eq!(faults.len(), 1);
        assert!(faults[0].1.ends_with("needs `routing_key`"), "{faults:?}");
        let (_, faults) = read(json!({"name": "a b", "url": "nonsense", "tokn": "x", "token": ""}));
        let keys: Vec<_> = faults.iter().map(|f| f.0.as_str()).collect();
        assert_eq!(keys, ["name", "token", "tokn", "url"], "{faults:?}");
        assert!(!format!("{faults:?}").contains("environment"), "{faults:?}");
    }

    #[test]
    fn a_device_is_read_as_in_the_file() {
        let (device, faults) = read_device(&body(
            json!({"id": "pump", "labels": {"floor": "2"}, "interval": "10s", "note": "leaks"}),
        ));
        assert_eq!(faults, []);
        let device = device.unwrap();
        assert_eq!(device.interval, Some(Duration::from_secs(10)));
        assert_eq!(device.note.as_deref(), Some("leaks"));
        let (_, faults) = read_device(&body(
            json!({"id": "a/b", "labels": {"floor": 2}, "colour": "red"}),
        ));
        let keys: Vec<_> = faults.iter().filter_map(|f| f.key.as_deref()).collect();
        assert_eq!(keys, ["colour", "id", "labels"], "{faults:?}");
    }
}
