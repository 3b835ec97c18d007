//! The condition of a `[[rule]]`: flat keys, of which one says the kind and others go with it.

use std::time::Duration;

use smol_str::SmolStr;

use super::{
    pattern,
    reader::{Placed, Table, did_you_mean},
    scalar::{self, Patience, Values},
};
use crate::{
    alert::{Condition, Counted, Direction, Expression, MAX_COUNT, Of, Side, anomaly::Sensitivity},
    model::{Metric, SeriesKey},
};

/// The key that says the kind, and those that may go with it.
const KINDS: [(&str, &[&str]); 20] = [
    ("above", &["clear", "more_than", "over", "counted"]),
    ("below", &["clear", "more_than", "over", "counted"]),
    ("outside", &["clear", "more_than", "over", "counted"]),
    ("inside", &["clear", "more_than", "over", "counted"]),
    ("equals", &["more_than", "over", "counted"]),
    ("not_equals", &["more_than", "over", "counted"]),
    ("change_above", &["over"]),
    ("rate_above", &["clear", "per", "over", "direction"]),
    (
        "deviation_above",
        &["clear", "over", "least", "by", "direction"],
    ),
    ("above_percentile", &["clear", "over", "least", "by"]),
    ("below_percentile", &["clear", "over", "least", "by"]),
    ("above_metric", &["by", "clear_by", "max_age"]),
    ("below_metric", &["by", "clear_by", "max_age"]),
    ("above_series", &["by", "clear_by", "max_age"]),
    ("below_series", &["by", "clear_by", "max_age"]),
    ("stuck_for", &["tolerance", "least"]),
    ("no_data_for", &[]),
    ("anomaly", &[]),
    ("anomaly_above", &[]),
    ("when", &["clear_when"]),
];

/// All that go with something.
const OPTIONS: [&str; 12] = [
    "clear",
    "more_than",
    "over",
    "counted",
    "per",
    "direction",
    "least",
    "by",
    "clear_by",
    "max_age",
    "tolerance",
    "clear_when",
];

/// Readings that a window must have, unless the rule says.
const LEAST: u32 = 10;
/// Readings that must say the same before a value is stuck, unless the rule says.
const LEAST_STUCK: u32 = 3;

/// Reads the condition of a rule; `None` if it cannot be made out, which is reported.
pub(super) fn read(table: &mut Table<'_>) -> Option<Condition> {
    let kinds: Vec<_> = KINDS.iter().filter(|(kind, _)| table.know(kind)).collect();
    for option in OPTIONS {
        table.know(option);
    }
    let [(kind, allowed)] = kinds[..] else {
        let named = |kinds: &mut dyn Iterator<Item = &str>, joint: &str| {
            let named: Vec<_> = kinds.map(|kind| format!("`{kind}`")).collect();
            named.join(joint)
        };
        let message = if kinds.is_empty() {
            let all = named(&mut KINDS.iter().map(|(kind, _)| *kind), ", ");
            format!(
                "{} needs a condition, one of {all}: none is given",
                table.name
            )
        } else {
            let given = named(&mut kinds.iter().map(|(kind, _)| *kind), " and ");
            format!(
                "{} has one condition, but more than one is given: {given}",
                table.name
            )
        };
        table.report(table.span(), message);
        return None;
    };
    for option in OPTIONS {
        if table.has(option) && !allowed.contains(&option) {
            let with: Vec<_> = KINDS
                .iter()
                .filter(|(_, options)| options.contains(&option))
                .map(|(kind, _)| format!("`{kind}`"))
                .collect();
            let message = format!(
                "`{option}` goes with {}, not with `{kind}`",
                with.join(", ")
            );
            table.report(table.span_of(option), message);
        }
    }
    let condition = match *kind {
        "above" | "below" => threshold(table, kind),
        "outside" | "inside" => range(table, kind),
        "equals" | "not_equals" => equals(table, kind),
        "change_above" => change(table),
        "rate_above" => rate(table),
        "deviation_above" => deviation(table),
        "above_percentile" | "below_percentile" => percentile(table, kind),
        "stuck_for" => stuck(table),
        "no_data_for" => {
            let patience = table.placed::<Patience>("no_data_for")?;
            match patience.value {
                Patience::Learned => Some(Condition::Overdue),
                Patience::For(silence) if silence < Duration::from_secs(1) => {
                    let message = "`no_data_for` must be at least \"1s\"";
                    table.report(patience.span, message);
                    None
                }
                Patience::For(silence) => Some(Condition::NoDataFor { silence }),
            }
        }
        "anomaly" | "anomaly_above" => unusual(table, kind),
        "when" => when(table),
        _ => versus(table, kind),
    }?;
    counted(table, kind, condition)
}

fn threshold(table: &mut Table<'_>, kind: &'static str) -> Option<Condition> {
    let limit = table.placed::<f64>(kind)?.value;
    let clear = table.placed::<f64>("clear");
    let above = kind == "above";
    if let Some(clear) = &clear
        && (if above {
            clear.value > limit
        } else {
            clear.value < limit
        })
    {
        table.report(
            clear.span.clone(),
            format!(
                "`clear` must not be {kind} the limit of {limit}: it would never fire for long"
            ),
        );
    }
    let clear = clear.map_or(limit, |clear| clear.value);
    Some(if above {
        Condition::Above { limit, clear }
    } else {
        Condition::Below { limit, clear }
    })
}

fn range(table: &mut Table<'_>, kind: &'static str) -> Option<Condition> {
    let range = pair(table, kind)?;
    let clear = if table.has("clear") {
        let clear = pair(table, "clear")?;
        let (inner, outer, why) = if kind == "outside" {
            (&clear, &range, "lie within")
        } else {
            (&range, &clear, "hold")
        };
        if inner.value.0 < outer.value.0 || inner.value.1 > outer.value.1 {
            let (low, high) = range.value;
            table.report(
                clear.span,
                format!("`clear` must {why} [{low}, {high}]: it would never fire for long"),
            );
        }
        clear.value
    } else {
        range.value
    };
    let range = range.value;
    Some(if kind == "outside" {
        Condition::Outside { range, clear }
    } else {
        Condition::Inside { range, clear }
    })
}

fn pair(table: &mut Table<'_>, key: &'static str) -> Option<Placed<(f64, f64)>> {
    let pair = table.placed::<(f64, f64)>(key)?;
    if pair.value.0 > pair.value.1 {
        table.report(
            pair.span.clone(),
            format!("`{key}` is [low, high]: the first must not be above the second"),
        );
        return None;
    }
    Some(pair)
}

fn equals(table: &mut Table<'_>, kind: &'static str) -> Option<Condition> {
    let Placed { value, span } = table.placed::<Values>(kind)?;
    if value.0.is_empty() {
        table.report(span, format!("`{kind}` needs at least one value"));
    }
    Some(Condition::Equals {
        values: value.0,
        wanted: kind == "equals",
    })
}

fn change(table: &mut Table<'_>) -> Option<Condition> {
    let limit = more_than_zero(table, "change_above", "it is taken in both directions");
    let over = time(table, "over", "change_above");
    Some(Condition::ChangeOver {
        limit: limit?,
        over: over?,
    })
}

fn rate(table: &mut Table<'_>) -> Option<Condition> {
    let limit = more_than_zero(
        table,
        "rate_above",
        "which way it goes is said by `direction`",
    );
    let clear = clear_up_to(table, limit);
    let per = time(table, "per", "rate_above");
    let over = time(table, "over", "rate_above");
    let direction = direction(table, "rising", "falling");
    let limit = limit?;
    Some(Condition::Rate {
        limit,
        clear: clear.unwrap_or(limit),
        per: per?,
        over: over?,
        direction,
    })
}

fn deviation(table: &mut Table<'_>) -> Option<Condition> {
    let limit = more_than_zero(
        table,
        "deviation_above",
        "it is a number of standard deviations",
    );
    let clear = clear_up_to(table, limit);
    let over = time(table, "over", "deviation_above");
    let least = least(table, LEAST, 2);
    let by = margin(table, "by").unwrap_or(0.0);
    let direction = direction(table, "above", "below");
    let limit = limit?;
    Some(Condition::Deviation {
        limit,
        clear: clear.unwrap_or(limit),
        over: over?,
        least,
        by,
        direction,
    })
}

fn percentile(table: &mut Table<'_>, kind: &'static str) -> Option<Condition> {
    let limit = table.placed::<f64>(kind);
    let clear = table.placed::<f64>("clear");
    for value in limit.iter().chain(&clear) {
        if !(0.0..=100.0).contains(&value.value) {
            table.report(value.span.clone(), "a percentile lies between 0 and 100");
        }
    }
    let above = kind == "above_percentile";
    if let (Some(limit), Some(clear)) = (&limit, &clear)
        && (if above {
            clear.value > limit.value
        } else {
            clear.value < limit.value
        })
    {
        let side = if above { "above" } else { "below" };
        table.report(
            clear.span.clone(),
            format!(
                "`clear` must not be {side} {}: it would never fire for long",
                limit.value
            ),
        );
    }
    let over = time(table, "over", kind);
    let least = least(table, LEAST, 1);
    let by = margin(table, "by").unwrap_or(0.0);
    let limit = limit?.value;
    Some(Condition::Percentile {
        side: if above { Side::Above } else { Side::Below },
        limit,
        clear: clear.map_or(limit, |clear| clear.value),
        over: over?,
        least,
        by,
    })
}

fn versus(table: &mut Table<'_>, kind: &'static str) -> Option<Condition> {
    let other = table.placed::<SmolStr>(kind);
    let by = table.optional::<f64>("by").unwrap_or(0.0);
    let clear_by = table.placed::<f64>("clear_by");
    if let Some(clear_by) = &clear_by
        && clear_by.value > by
    {
        table.report(
            clear_by.span.clone(),
            format!("`clear_by` must not be above `by` ({by}): it would never fire for long"),
        );
    }
    let max_age = match table.has("max_age") {
        true => Some(time(table, "max_age", kind)?),
        false => None,
    };
    let other = other?;
    let named = other.value.as_str();
    let of = if kind.ends_with("_metric") {
        pattern::check_side(table, &other, "another metric of the same device");
        let is_one = !named.is_empty() && !named.contains(['/', '*', '?']);
        is_one.then(|| Of::Metric(Metric(named.into())))
    } else {
        let key = SeriesKey::parse(named);
        key.filter(|_| named.matches('/').count() == 1 && !named.contains(['*', '?']))
            .map(Of::Series)
    };
    let Some(of) = of else {
        let example = if kind.ends_with("_metric") {
            "one metric of the same device, such as \"setpoint\""
        } else {
            "one series, such as \"boiler/return\"; for the same device's there is `above_metric` or `below_metric`"
        };
        table.report(
            other.span,
            format!("`{kind}` names {example}, found \"{named}\""),
        );
        return None;
    };
    Some(Condition::Versus {
        side: if kind.starts_with("above") {
            Side::Above
        } else {
            Side::Below
        },
        other: of,
        by,
        clear_by: clear_by.map_or(by, |clear_by| clear_by.value),
        max_age,
    })
}

fn stuck(table: &mut Table<'_>) -> Option<Condition> {
    let span = time(table, "stuck_for", "")?;
    Some(Condition::Stuck {
        span,
        tolerance: margin(table, "tolerance").unwrap_or(0.0),
        least: least(table, LEAST_STUCK, 2),
    })
}

/// In words or as a score.
fn unusual(table: &mut Table<'_>, kind: &'static str) -> Option<Condition> {
    let limit = if kind == "anomaly" {
        let words = [
            ("low", Sensitivity::Low),
            ("medium", Sensitivity::Medium),
            ("high", Sensitivity::High),
        ];
        table.choice(kind, &words)?.limit()
    } else {
        let limit = table.placed::<f64>(kind)?;
        if limit.value <= 0.0 || limit.value >= 1.0 {
            table.report(
                limit.span,
                format!(
                    "`{kind}` must be above 0 and below 1, found {}: it is a score; 0.5 is what `anomaly = \"medium\"` means",
                    limit.value
                ),
            );
            return None;
        }
        limit.value
    };
    Some(Condition::Unusual { limit })
}

fn when(table: &mut Table<'_>) -> Option<Condition> {
    let when = expression(table, "when");
    let clear = expression(table, "clear_when");
    Some(Condition::When { when: when?, clear })
}

fn expression(table: &mut Table<'_>, key: &'static str) -> Option<Expression> {
    let Placed { value, span } = table.placed::<String>(key)?;
    match Expression::compile(&value, &scalar::duration) {
        Ok(expression) => Some(expression),
        Err(misfit) => {
            let written = value.get(misfit.at.clone()).unwrap_or_default();
            let mean = did_you_mean(written, Expression::WORDS.into_iter());
            let mean = if Expression::WORDS.contains(&written) {
                String::new()
            } else {
                mean
            };
            let at = table.reporter.inside(span, &value, misfit.at);
            table.report(
                at,
                format!("`{key}` in {}: {}{mean}", table.name, misfit.message),
            );
            None
        }
    }
}

/// `more_than = 5` and `over = "1h"` make a count of a condition on single values.
fn counted(table: &mut Table<'_>, kind: &str, each: Condition) -> Option<Condition> {
    let more_than = table.placed::<i64>("more_than");
    let counted = [
        ("readings", Counted::Readings),
        ("beginnings", Counted::Beginnings),
    ];
    let what = table.choice("counted", &counted);
    if !each.is_single() {
        return Some(each);
    }
    let Some(more_than) = more_than else {
        for key in ["over", "counted"] {
            if table.has(key) && !table.has("more_than") {
                let message = format!(
                    "`{key}` goes with `{kind}` only together with `more_than`: how often it may be so in that time"
                );
                table.report(table.span_of(key), message);
            }
        }
        return Some(each);
    };
    let over = time(table, "over", "more_than");
    let Some(count) = u32::try_from(more_than.value)
        .ok()
        .filter(|count| (1..MAX_COUNT).contains(count))
    else {
        table.report(
            more_than.span,
            format!(
                "`more_than` must be between 1 and {}, found {}",
                MAX_COUNT - 1,
                more_than.value
            ),
        );
        return None;
    };
    Some(Condition::Count {
        each: Box::new(each),
        more_than: count,
        over: over?,
        counted: what.unwrap_or(Counted::Readings),
    })
}

/// A time of at least a second, which `kind` needs.
fn time(table: &mut Table<'_>, key: &'static str, kind: &str) -> Option<Duration> {
    if !table.has(key) {
        let message = format!(
            "{}: `{kind}` needs `{key}`, such as {key} = \"10m\"",
            table.name
        );
        table.report_missing(key, message);
        return None;
    }
    let time = table.placed::<Duration>(key)?;
    if time.value < Duration::from_secs(1) {
        table.report(time.span, format!("`{key}` must be at least \"1s\""));
        return None;
    }
    Some(time.value)
}

fn more_than_zero(table: &mut Table<'_>, key: &'static str, why: &str) -> Option<f64> {
    let limit = table.placed::<f64>(key)?;
    if limit.value <= 0.0 {
        table.report(limit.span, format!("`{key}` must be more than 0: {why}"));
        return None;
    }
    Some(limit.value)
}

/// `clear`, which must not be above the limit, nor below 0.
fn clear_up_to(table: &mut Table<'_>, limit: Option<f64>) -> Option<f64> {
    let clear = table.placed::<f64>("clear")?;
    if clear.value < 0.0 || limit.is_some_and(|limit| clear.value > limit) {
        let limit = limit.unwrap_or_default();
        table.report(
            clear.span,
            format!("`clear` must be between 0 and the limit of {limit}"),
        );
    }
    Some(clear.value)
}

fn margin(table: &mut Table<'_>, key: &'static str) -> Option<f64> {
    let margin = table.placed::<f64>(key)?;
    if margin.value < 0.0 {
        table.report(margin.span, format!("`{key}` must not be below 0"));
        return None;
    }
    Some(margin.value)
}

fn least(table: &mut Table<'_>, default: u32, min: i64) -> u32 {
    let mut least = default;
    table.set_number("least", &mut least, min, 100_000);
    least
}

fn direction(table: &mut Table<'_>, up: &'static str, down: &'static str) -> Direction {
    let ways = [
        (up, Direction::Up),
        (down, Direction::Down),
        ("either", Direction::Either),
    ];
    table
        .choice("direction", &ways)
        .unwrap_or(Direction::Either)
}
