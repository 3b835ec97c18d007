//! Whether one value makes a condition true, and the sentence that says so.

use std::{fmt::Write as _, time::Duration};

use crate::{
    alert::Condition,
    model::{SeriesKey, Timestamp, Unit, Value},
};

/// What a value says about a condition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It is true.
    True,
    /// It is over.
    Clear,
    /// Between `limit` and `clear`: it stays as it was.
    Between,
    /// It says nothing: not a number, or the condition is not about values.
    Nothing,
}

/// Judges the newest value of a series. `earliest` gives the first number of the series in a span of time, both ends included.
pub(crate) fn judge(
    condition: &Condition,
    value: &Value,
    time: Timestamp,
    earliest: impl Fn(Timestamp, Timestamp) -> Option<f64>,
) -> Verdict {
    let Some(number) = value.as_f64() else {
        return Verdict::Nothing;
    };
    let (is_true, is_clear) = match *condition {
        Condition::Above { limit, clear } => (number > limit, number <= clear),
        Condition::Below { limit, clear } => (number < limit, number >= clear),
        Condition::ChangeOver { limit, over } => {
            let from = Timestamp(time.0.saturating_sub(nanos(over)));
            // With one point there is no change yet.
            let change = earliest(from, time).map_or(0.0, |earlier| number - earlier);
            (change.abs() > limit, change.abs() <= limit)
        }
        Condition::NoDataFor { .. } => return Verdict::Nothing,
    };
    match (is_true, is_clear) {
        (true, _) => Verdict::True,
        (_, true) => Verdict::Clear,
        _ => Verdict::Between,
    }
}

/// What an alert says when its rule has no words of its own: `boiler/temperature is 91.5 Cel: above 90 Cel`.
pub(crate) fn sentence(
    condition: &Condition,
    series: &SeriesKey,
    value: Option<&Value>,
    unit: Option<&Unit>,
) -> String {
    let unit = unit.map_or_else(String::new, |unit| format!(" {}", unit.0));
    let mut text = series.to_string();
    // Writing to a string cannot fail.
    let _ = match value {
        Some(Value::Bool(value)) => write!(text, " is {value}"),
        Some(Value::Int(value)) => write!(text, " is {value}{unit}"),
        Some(Value::Float(value)) => write!(text, " is {value}{unit}"),
        Some(Value::Text(value)) => write!(text, " is {value:?}"),
        None => Ok(()),
    };
    let _ = match condition {
        Condition::Above { limit, .. } => write!(text, ": above {limit}{unit}"),
        Condition::Below { limit, .. } => write!(text, ": below {limit}{unit}"),
        Condition::ChangeOver { limit, over } => {
            write!(
                text,
                ": changed by more than {limit}{unit} in {}",
                span(*over)
            )
        }
        Condition::NoDataFor { silence } => {
            write!(text, ": nothing was received for {}", span(*silence))
        }
    };
    text
}

/// Whole nanoseconds; 292 years at most.
pub(crate) fn nanos(span: Duration) -> i64 {
    i64::try_from(span.as_nanos()).unwrap_or(i64::MAX)
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

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(condition: Condition, value: f64) -> Verdict {
        judge(
            &condition,
            &Value::Float(value),
            Timestamp(100),
            |from, to| {
                assert_eq!((from.0, to.0), (90, 100));
                Some(10.0)
            },
        )
    }

    #[test]
    fn each_condition_judges_at_its_edges() {
        use Verdict::{Between, Clear, Nothing, True};
        let above = Condition::Above {
            limit: 90.0,
            clear: 85.0,
        };
        let below = Condition::Below {
            limit: 5.0,
            clear: 8.0,
        };
        let change = Condition::ChangeOver {
            limit: 3.0,
            over: Duration::from_nanos(10),
        };
        let silent = Condition::NoDataFor {
            silence: Duration::from_secs(1),
        };
        for (condition, value, expected) in [
            (above, 90.1, True),
            (above, 90.0, Between),
            (above, 85.1, Between),
            (above, 85.0, Clear),
            (below, 4.9, True),
            (below, 5.0, Between),
            (below, 8.0, Clear),
            (change, 13.0, Clear),
            (change, 13.1, True),
            (change, 6.9, True),
            (silent, 1.0, Nothing),
        ] {
            assert_eq!(verdict(condition, value), expected, "{condition:?} {value}");
        }
        let text = Value::Text("hot".into());
        assert_eq!(judge(&above, &text, Timestamp(0), |_, _| None), Nothing);
    }

    #[test]
    fn the_sentence_names_series_value_unit_and_limit() {
        let series = SeriesKey::parse("boiler/temperature").unwrap();
        let unit = Unit("Cel".into());
        let above = Condition::Above {
            limit: 90.0,
            clear: 90.0,
        };
        assert_eq!(
            sentence(&above, &series, Some(&Value::Float(91.5)), Some(&unit)),
            "boiler/temperature is 91.5 Cel: above 90 Cel"
        );
        let silent = Condition::NoDataFor {
            silence: Duration::from_secs(300),
        };
        assert_eq!(
            sentence(&silent, &series, None, None),
            "boiler/temperature: nothing was received for 5 min"
        );
    }
}
