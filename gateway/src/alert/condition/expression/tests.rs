use std::collections::BTreeMap;

use proptest::prelude::*;

use super::{super::tests::Held, *};
use crate::{alert::condition::tests::SECOND, model::Timestamp};

/// Times in whole seconds, as `5s`.
fn seconds_of(text: &str) -> Option<Duration> {
    let seconds = text.strip_suffix('s')?.parse().ok()?;
    Some(Duration::from_secs(seconds))
}

pub(in crate::alert::condition) fn compile(text: &str) -> Result<Expression, Misfit> {
    Expression::compile(text, &seconds_of)
}

fn held() -> Held {
    Held::seconds(&[10.0, 20.0, 30.0])
        .with("setpoint", -5, Value::Int(25))
        .with("door", -1, Value::Bool(true))
        .with("pump/running", -7, Value::Int(0))
        .with("state", 0, Value::Text("error".into()))
}

fn answer(text: &str, value: &Value) -> Result<bool, Undecided> {
    compile(text)
        .unwrap_or_else(|misfit| panic!("{text}: {misfit:?}"))
        .is_true(value, &Look::new(&held(), Timestamp(0)))
}

#[test]
fn values_aggregates_and_other_series_are_looked_up() {
    for (text, expected) in [
        ("value == 30", true),
        ("value > 29.5 and value < 30.5", true),
        ("not value > 30", true),
        ("value - metric('setpoint') > 5", false),
        ("value - metric('setpoint') >= 5", true),
        ("(value - metric(\"setpoint\")) * 2 == 10", true),
        (
            "mean('10s') == 20 and min('10s') == 10 and max('10s') == 30",
            true,
        ),
        ("count('1s') == 2 and first('1s') == 20", true),
        ("stddev('10s') > 8.16 and stddev('10s') < 8.17", true),
        ("rate('2s') == 10", true),
        ("metric('door')", true),
        ("metric('door') and not series('pump/running')", true),
        ("metric('door') == true and (metric('door')) > 0", true),
        ("metric('door') + 1 == 2", true),
        ("series('pump/running') == false", true),
        ("age('pump/running') == 7 and age('setpoint') > 4.9", true),
        ("text('state') == 'error'", true),
        ("text('state') != \"ok\" and value > 3", true),
        ("-value < 0 or true", true),
        ("value % 7 == 2", true),
        ("value / 4 == 7.5", true),
        ("value >= 3e1", true),
    ] {
        assert_eq!(answer(text, &Value::Float(30.0)), Ok(expected), "{text}");
    }
    assert_eq!(
        answer("text() == 'on'", &Value::Text("on".into())),
        Ok(true)
    );
    assert_eq!(answer("value", &Value::Bool(true)), Ok(true));
}

#[test]
fn what_is_missing_or_fails_is_undecided_and_only_where_it_is_used() {
    let missing = |name: &str| {
        Err(Undecided::Missing(Of::Metric(crate::model::Metric(
            name.into(),
        ))))
    };
    let value = Value::Float(30.0);
    assert_eq!(answer("value > metric('gone')", &value), missing("gone"));
    assert_eq!(answer("metric('gone')", &value), missing("gone"));
    assert_eq!(answer("not metric('gone')", &value), missing("gone"));
    assert_eq!(
        answer("value > 40 and metric('gone') > 3", &value),
        Ok(false)
    );
    assert_eq!(answer("value > 20 or metric('gone') > 3", &value), Ok(true));
    // A text is no number, and a number no text.
    assert_eq!(answer("metric('state') > 3", &value), missing("state"));
    assert_eq!(
        answer("text('setpoint') == 'x'", &value),
        missing("setpoint")
    );
    assert_eq!(
        answer("value > 3", &Value::Text("x".into())),
        Err(Undecided::Missing(Of::Itself))
    );
    for failing in ["1 / (value - 30) > 2", "value % (value - 30) > 1"] {
        assert!(
            matches!(answer(failing, &value), Err(Undecided::Failed(_))),
            "{failing}"
        );
    }
    // Too few readings for a slope.
    assert_eq!(
        answer("rate('100s') > 0", &value),
        Err(Undecided::Missing(Of::Itself))
    );
}

#[test]
fn what_means_nothing_is_refused_with_its_place() {
    for (text, at, part) in [
        ("vaule > 3", "vaule", "there is no `vaule`"),
        ("value > humidity", "humidity", "metric(\"humidity\")"),
        ("value = 3", "=", "equal is =="),
        ("value > 3 && value < 5", "&", "`and`"),
        ("value | abs", "|", "`|`"),
        ("value ** 2 > 3", "*", "`*`"),
        ("value > 3 # x", "#", "`#`"),
        ("mean > 3", "mean", "needs its ( )"),
        ("mean('5 apples') > 3", "'5 apples'", "mean(\"5m\")"),
        ("mean('0s') > 3", "'0s'", "at least \"1s\""),
        ("mean(5) > 3", "5", "a text in quotes"),
        ("mean('5s', 'a/b', 'c') > 1", "mean", "is used as in"),
        (
            "metric('a/b') > 1",
            "'a/b'",
            "one metric of the same device",
        ),
        ("series('a') > 1", "'a'", "device/metric"),
        ("series('*/a') > 1", "'*/a'", "a pattern has no meaning"),
        ("max('5s' > 1", ">", "lacks its `)`"),
        ("value > 3x", "3x", "is no number"),
        ("value > 'abc'", "'abc'", "compared with a text"),
        ("text() > 'abc'", "text", "compared with a text"),
        ("text() == 'a' * 100000000", "'a'", "compared with a text"),
        ("('a' == 'b') == text()", "text", "compared with a text"),
        ("text() == 'abc", "'abc", "closing quote"),
        ("value.real > 3", ".", "`.`"),
        ("[value] > 3", "[", "`[`"),
    ] {
        let misfit = compile(text).unwrap_err();
        assert_eq!(&text[misfit.at.clone()], at, "{text}: {misfit}");
        assert!(misfit.message.contains(part), "{text}: {misfit}");
    }
    for (text, part) in [
        ("", "an expression is needed"),
        ("value >", "this is no expression"),
        ("value > 3 value", "this is no expression"),
        ("(value > 3", "this is no expression"),
        ("range(3)", "there is no `range`"),
        ("value + 3", "neither true nor false"),
        ("mean('5s')", "neither true nor false"),
    ] {
        let misfit = compile(text).unwrap_err();
        assert!(misfit.message.contains(part), "{text}: {misfit}");
    }
}

#[test]
fn cost_is_bounded_by_length_names_and_depth() {
    let deep = format!("{}value{} > 3", "(".repeat(490), ")".repeat(490));
    assert!(compile(&deep).is_err());
    let long = format!("value > 3{}", " and value > 3".repeat(200));
    assert!(
        compile(&long)
            .unwrap_err()
            .message
            .contains("at most 1000 bytes")
    );
    let many: Vec<String> = (0..17).map(|n| format!("metric('m{n}')")).collect();
    let misfit = compile(&many.join(" or ")).unwrap_err();
    assert!(misfit.message.contains("at most 16"), "{misfit}");
    // The longest that is allowed has fuel enough.
    let most = format!("value > 3{}", " or 1>2".repeat(141));
    assert_eq!(answer(&most, &Value::Float(1.0)), Ok(false));
}

#[test]
fn an_expression_equals_another_with_the_same_text() {
    assert_eq!(compile("value > 3"), compile("value > 3"));
    assert_ne!(compile("value > 3"), compile("value > 4"));
}

proptest! {
    #[test]
    fn no_text_makes_it_panic(
        text in prop_oneof![
            ".{0,40}",
            "[a-z0-9'\"()<>=!+*/ .-]{0,60}",
            "((value|metric\\('a'\\)|text\\(\\)|'x'|3|true|and|or|not|==|>|\\+|-|\\(|\\)) ?){1,12}",
        ],
    ) {
        if let Ok(expression) = compile(&text) {
            let held = Held { points: vec![(-SECOND, 1.0), (0, 2.0)], others: BTreeMap::new() };
            let _either = expression.is_true(&Value::Float(2.0), &Look::new(&held, Timestamp(0)));
        }
    }
}
