//! What a condition says to people.

use std::{fmt::Write as _, time::Duration};

use super::{Condition, Counted, Direction, Side};
use crate::{
    alert::anomaly::Score,
    model::{SeriesKey, Unit, Value},
};

/// What an alert says when its rule has no words of its own: `boiler/temperature is 91.5 Cel: above 90 Cel`.
pub(crate) fn sentence(
    condition: &Condition,
    series: &SeriesKey,
    value: Option<&Value>,
    unit: Option<&Unit>,
) -> String {
    let mut text = series.to_string();
    if let Some(value) = value {
        let unit = match value {
            Value::Int(_) | Value::Float(_) => of(unit),
            Value::Bool(_) | Value::Text(_) => String::new(),
        };
        // Writing to a string cannot fail.
        let _ = write!(text, " is {}{unit}", shown(value));
    }
    text.push_str(": ");
    text.push_str(&phrase(condition, unit));
    text
}

/// How unusual a reading was, for people: `score 0.87, usual are 18.5 to 24 Cel`.
pub(crate) fn score(score: Score, unit: Option<&Unit>) -> String {
    let mut text = format!("score {:.2}", score.score);
    if let Some((low, high)) = score.expected {
        // Three digits of what lies between tell enough.
        let digits = (2.0 - (high - low).abs().log10().floor()).clamp(0.0, 6.0) as usize;
        let unit = of(unit);
        let _ = write!(text, ", usual are {low:.digits$} to {high:.digits$}{unit}");
    }
    text
}

/// The condition in words: `above 90 Cel`.
fn phrase(condition: &Condition, unit: Option<&Unit>) -> String {
    let unit = of(unit);
    match condition {
        Condition::Above { limit, .. } => format!("above {limit}{unit}"),
        Condition::Below { limit, .. } => format!("below {limit}{unit}"),
        Condition::ChangeOver { limit, over } => {
            format!("changed by more than {limit}{unit} in {}", span(*over))
        }
        Condition::NoDataFor { silence } => {
            format!("nothing was received for {}", span(*silence))
        }
        Condition::Overdue => String::from("nothing was received for much longer than usual"),
        Condition::Outside { range, .. } => format!("outside {} to {}{unit}", range.0, range.1),
        Condition::Inside { range, .. } => format!("inside {} to {}{unit}", range.0, range.1),
        Condition::Equals { values, wanted } => {
            let values: Vec<_> = values.iter().map(shown).collect();
            let not = if *wanted { "" } else { "not " };
            format!("{not}equal to {}", values.join(" or "))
        }
        Condition::Rate {
            limit,
            per,
            over,
            direction,
            ..
        } => {
            let way = match direction {
                Direction::Up => "rising",
                Direction::Down => "falling",
                Direction::Either => "changing",
            };
            let (per, over) = (span(*per), span(*over));
            format!("{way} by more than {limit}{unit} in {per}, over the last {over}")
        }
        Condition::Deviation {
            limit,
            over,
            direction,
            ..
        } => {
            let way = match direction {
                Direction::Up => "above",
                Direction::Down => "below",
                Direction::Either => "from",
            };
            let over = span(*over);
            format!("more than {limit} standard deviations {way} the mean of the last {over}")
        }
        Condition::Percentile {
            side,
            limit,
            over,
            by,
            ..
        } => {
            let (margin, over) = (margin(*by, &unit), span(*over));
            format!(
                "{margin}{} percentile {limit} of the last {over}",
                word(*side)
            )
        }
        Condition::Versus {
            side, other, by, ..
        } => format!("{}{} {other}", margin(*by, &unit), word(*side)),
        Condition::Stuck { span: length, .. } => format!("the same for {}", span(*length)),
        Condition::Count {
            each,
            more_than,
            over,
            counted,
        } => {
            let unit = (!unit.is_empty()).then(|| Unit(unit.trim_start().into()));
            let each = phrase(each, unit.as_ref());
            let what = match counted {
                Counted::Readings => "",
                Counted::Beginnings => "became ",
            };
            format!(
                "{what}{each} more than {more_than} times in {}",
                span(*over)
            )
        }
        Condition::Unusual { .. } => String::from("unlike what is usual"),
        Condition::When { when, .. } => when.text().to_owned(),
    }
}

fn shown(value: &Value) -> String {
    match value {
        Value::Bool(value) => value.to_string(),
        Value::Int(value) => value.to_string(),
        Value::Float(value) => value.to_string(),
        Value::Text(value) => format!("{value:?}"),
    }
}

fn of(unit: Option<&Unit>) -> String {
    unit.map_or_else(String::new, |unit| format!(" {}", unit.0))
}

fn margin(by: f64, unit: &str) -> String {
    if by == 0.0 {
        String::new()
    } else {
        format!("more than {by}{unit} ")
    }
}

const fn word(side: Side) -> &'static str {
    match side {
        Side::Above => "above",
        Side::Below => "below",
    }
}

/// `90 s`, `5 min`, `2 h`: in the largest unit that divides it.
pub(crate) fn span(span: Duration) -> String {
    let millis = span.as_millis();
    for (unit, length) in [("h", 3_600_000), ("min", 60_000), ("s", 1_000)] {
        if millis > 0 && millis.is_multiple_of(length) {
            return format!("{} {unit}", millis / length);
        }
    }
    format!("{millis} ms")
}
