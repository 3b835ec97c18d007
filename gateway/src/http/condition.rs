//! A condition as `docs/http-api.md` describes it: the keys of the config, times in milliseconds, and the condition in words.

use serde_json::{Value as JsonValue, json};

use crate::alert::{Condition, Counted, Direction, Expression, Of, Side, phrase};

/// One condition.
pub(super) fn condition(condition: &Condition) -> JsonValue {
    let mut shown = keys(condition);
    if let Some(shown) = shown.as_object_mut() {
        shown.insert(String::from("text"), phrase(condition, None).into());
    }
    shown
}

fn keys(condition: &Condition) -> JsonValue {
    match condition {
        Condition::Above { limit, clear } => json!({"above": limit, "clear": clear}),
        Condition::Below { limit, clear } => json!({"below": limit, "clear": clear}),
        Condition::ChangeOver { limit, over } => {
            json!({"change": limit, "over_ms": over.as_millis()})
        }
        Condition::NoDataFor { silence } => json!({"no_data_ms": silence.as_millis()}),
        Condition::Outside { range, clear } => json!({"outside": range, "clear": clear}),
        Condition::Inside { range, clear } => json!({"inside": range, "clear": clear}),
        Condition::Equals { values, wanted } => {
            let key = if *wanted { "equals" } else { "not_equals" };
            json!({ key: values })
        }
        Condition::Rate {
            limit,
            clear,
            per,
            over,
            direction,
        } => json!({
            "rate_above": limit,
            "clear": clear,
            "per_ms": per.as_millis(),
            "over_ms": over.as_millis(),
            "direction": way(*direction, "rising", "falling"),
        }),
        Condition::Deviation {
            limit,
            clear,
            over,
            least,
            by,
            direction,
        } => json!({
            "deviation_above": limit,
            "clear": clear,
            "over_ms": over.as_millis(),
            "least": least,
            "by": by,
            "direction": way(*direction, "above", "below"),
        }),
        Condition::Percentile {
            side,
            limit,
            clear,
            over,
            least,
            by,
        } => json!({
            format!("{}_percentile", word(*side)): limit,
            "clear": clear,
            "over_ms": over.as_millis(),
            "least": least,
            "by": by,
        }),
        Condition::Versus {
            side,
            other,
            by,
            clear_by,
            max_age,
        } => {
            let what = match other {
                Of::Series(_) => "series",
                Of::Metric(_) | Of::Itself => "metric",
            };
            json!({
                format!("{}_{what}", word(*side)): other.to_string(),
                "by": by,
                "clear_by": clear_by,
                "max_age_ms": max_age.map(|age| age.as_millis()),
            })
        }
        Condition::Stuck {
            span,
            tolerance,
            least,
        } => json!({"stuck_ms": span.as_millis(), "tolerance": tolerance, "least": least}),
        Condition::Count {
            each,
            more_than,
            over,
            counted,
        } => {
            let mut shown = keys(each);
            if let Some(shown) = shown.as_object_mut() {
                let counted = match counted {
                    Counted::Readings => "readings",
                    Counted::Beginnings => "beginnings",
                };
                shown.insert(String::from("more_than"), json!(more_than));
                shown.insert(String::from("over_ms"), json!(over.as_millis()));
                shown.insert(String::from("counted"), json!(counted));
            }
            shown
        }
        Condition::Unusual { limit } => json!({"anomaly_above": limit}),
        Condition::When { when, clear } => json!({
            "when": when.text(),
            "clear_when": clear.as_ref().map(Expression::text),
        }),
    }
}

const fn way(direction: Direction, up: &'static str, down: &'static str) -> &'static str {
    match direction {
        Direction::Up => up,
        Direction::Down => down,
        Direction::Either => "either",
    }
}

const fn word(side: Side) -> &'static str {
    match side {
        Side::Above => "above",
        Side::Below => "below",
    }
}
