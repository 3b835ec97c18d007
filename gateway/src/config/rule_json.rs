//! Rules as JSON: the same keys as a `[[rule]]` has in the file, read by the same reader, so that what the file can say can be said
//! over the API too, and is refused with the same words.
//!
//! A rule in JSON becomes a little TOML document with one key a line; the line of a mistake then says which key it is about.

use std::fmt::Write as _;

use serde_json::{Map, Number, Value as JsonValue};
use smol_str::SmolStr;
use toml::de::{DeTable, DeValue};

use super::{Config, Mistake, Reporter, Table, mistake::report_syntax};
use crate::alert::Rule;

/// A rule as it was written, by the keys of `[[rule]]`.
pub type RuleBody = Map<String, JsonValue>;

/// A rule of the file, with its place.
#[derive(Clone, Debug, PartialEq)]
pub struct WrittenRule {
    /// Its name.
    pub name: SmolStr,
    /// The line of the file on which it begins, from 1.
    pub line: usize,
    /// What it says there.
    pub body: RuleBody,
}

/// What is wrong with a rule that came as JSON.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuleFault {
    /// The key that it is about; none when it is about the rule as a whole.
    pub key: Option<String>,
    /// What is wrong and what to do.
    pub detail: String,
}

/// Reads a rule against a config, as if it stood in the file behind the others: names that it must not take, and those that must be
/// there, are looked for, but for rules that it depends on. Unless it can't be read at all it is added to [`Config::rules`] and `engine.rules`, and given back with
/// what is wrong with it.
pub fn read_rule(config: &mut Config, body: &RuleBody) -> (Option<Rule>, Vec<RuleFault>) {
    let (text, keys) = document(body);
    let reporter = Reporter::new("rule", &text);
    let (root, errors) = DeTable::parse_recoverable(&text);
    report_syntax(&reporter, &errors);
    let before = config.engine.rules.len();
    // Whether the rules are there that it depends on can only be said by who knows all of them: `super::dependence_fault`.
    let _depending = super::rules(
        &mut Table::new(&reporter, "the rule", root.get_ref(), 0..0),
        config,
    );
    let fault = |mistake: Mistake| RuleFault {
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
    let rule = config.engine.rules.get(before).cloned();
    (rule, reporter.mistakes().into_iter().map(fault).collect())
}

/// As a TOML document with the keys that are on its lines from the second on. A key that is `null` is not there.
fn document(body: &RuleBody) -> (String, Vec<&str>) {
    let mut text = String::from("[[rule]]\n");
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
pub(super) fn body_of(table: &DeTable<'_>) -> RuleBody {
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

    fn body(value: JsonValue) -> RuleBody {
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
            let body: RuleBody = entries.into_iter().collect();
            let (text, keys) = document(&body);
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
}
