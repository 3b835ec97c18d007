//! What a rule asks of a series, and what one reading says to it. [docs/alerts.md](../../../../docs/alerts.md) says it for people.
//!
//! - A condition looks at the newest reading, at what the store holds ([`View`]), and, where that can't say it, at a small
//!   [`Memory`] of its own. The memory is fed by every reading that is judged and by every one that a replay recalls, so a
//!   restart changes nothing.
//! - What can't be decided (another series that is missing or too old, an expression that fails) is neither true nor clear: it
//!   is counted, and the alert stays as it was.
//! - The cost of a look is bounded: [`crate::store::SAMPLED_POINTS`] points, [`expression::MAX_NAMES`] names of an expression.

mod expression;
mod memory;
mod recent;
mod sentence;

use std::{fmt, time::Duration};

pub use self::expression::{Expression, Misfit};
pub(super) use self::recent::Look;
use self::{
    expression::When,
    recent::{rank, slope},
};
pub(crate) use self::{
    memory::{MAX_COUNT, Memory, arrivals::Usual, arrived, recall},
    sentence::{score, sentence, span},
};
use crate::{
    alert::{Latest, Of, View},
    model::{Timestamp, Value},
};

/// What must be true of a series.
#[derive(Clone, Debug, PartialEq)]
pub enum Condition {
    /// Above `limit`; clear again only at or below `clear` (at most `limit`).
    Above {
        /// Fires over this.
        limit: f64,
        /// Clears at or under this.
        clear: f64,
    },
    /// Below `limit`; clear again only at or above `clear` (at least `limit`).
    Below {
        /// Fires under this.
        limit: f64,
        /// Clears at or over this.
        clear: f64,
    },
    /// The change over the last `over` is more than `limit` in either direction (per `over`, not per second): the newest value
    /// against the first one that is not bad in that time.
    ChangeOver {
        /// How much.
        limit: f64,
        /// In what time.
        over: Duration,
    },
    /// Nothing was received for this long (arrival, not measured time), for a series that is known: from its first reading, or
    /// because an earlier run knew it. Retained and bad readings don't count as data.
    NoDataFor {
        /// How long.
        silence: Duration,
    },
    /// Nothing was received for much longer than is usual for the series, which is learned ([`memory::arrivals`]); as
    /// [`Condition::NoDataFor`] otherwise.
    Overdue,
    /// Outside a range; clear again only inside `clear`, which lies in it. The ends belong to both ranges.
    Outside {
        /// Fires below its first or above its second.
        range: (f64, f64),
        /// Clears from its first to its second.
        clear: (f64, f64),
    },
    /// Inside a range, its ends included; clear again only outside `clear`, which holds it.
    Inside {
        /// Fires from its first to its second.
        range: (f64, f64),
        /// Clears below its first or above its second.
        clear: (f64, f64),
    },
    /// One of these values, or none of them. Numbers and booleans are compared as numbers (true is 1), texts letter by letter;
    /// a text and a number are never equal.
    Equals {
        /// Which.
        values: Vec<Value>,
        /// Whether it must be one of them, or must not.
        wanted: bool,
    },
    /// The slope of the last `over`: the straight line with the least squares through all readings, each at its own measured
    /// time. Says nothing until they span half of `over`.
    Rate {
        /// More than so much in each `per`.
        limit: f64,
        /// Clears at or under this.
        clear: f64,
        /// The time that the limit is for.
        per: Duration,
        /// The time that is looked at.
        over: Duration,
        /// Rising, falling or either.
        direction: Direction,
    },
    /// Further than `limit` standard deviations (of the population) from the mean of the last `over`, in which the reading
    /// itself does not count.
    Deviation {
        /// In standard deviations.
        limit: f64,
        /// Clears at or under this.
        clear: f64,
        /// The time that is looked at.
        over: Duration,
        /// Readings that must be in it; with fewer it says nothing.
        least: u32,
        /// Further than this, too; at or under it, it is clear.
        by: f64,
        /// Above the mean, below it, or either.
        direction: Direction,
    },
    /// Beyond a percentile (nearest rank) of the last `over`, in which the reading itself does not count.
    Percentile {
        /// Above it or below it.
        side: Side,
        /// Which, 0 to 100.
        limit: f64,
        /// Clears when it is no longer beyond this one.
        clear: f64,
        /// The time that is looked at.
        over: Duration,
        /// Readings that must be in it; with fewer it says nothing.
        least: u32,
        /// Beyond it by more than this.
        by: f64,
    },
    /// Above or below the newest value of another series. Judged with each reading of the rule's own series.
    Versus {
        /// Above it or below it.
        side: Side,
        /// Which series.
        other: Of,
        /// By more than this.
        by: f64,
        /// Clears at or under this difference (at most `by`).
        clear_by: f64,
        /// How far apart both may have been measured; none: the other's value holds until it changes. A retained value has no
        /// age, and serves only without this.
        max_age: Option<Duration>,
    },
    /// The same value for this long, while readings arrive.
    Stuck {
        /// How long.
        span: Duration,
        /// Numbers are the same up to this far from the first of them.
        tolerance: f64,
        /// Readings that there must be in it.
        least: u32,
    },
    /// A condition on single values was true more often than this.
    Count {
        /// Which: one that looks at the value alone.
        each: Box<Condition>,
        /// More often than this.
        more_than: u32,
        /// In the last so much: `time - over < measured <= time`.
        over: Duration,
        /// What counts.
        counted: Counted,
    },
    /// Unlike what is usual for the series, which is learned ([`crate::alert::anomaly`]).
    Unusual {
        /// Fires at this score, above 0 and below 1; clears after a while below half of it.
        limit: f64,
    },
    /// An expression, for what the others can't say.
    When {
        /// What must be true.
        when: Expression,
        /// What must be true for it to be over; none: that `when` is false.
        clear: Option<Expression>,
    },
}

/// Which way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// Rising; above.
    Up,
    /// Falling; below.
    Down,
    /// Both count.
    Either,
}

/// Over or under.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// Over.
    Above,
    /// Under.
    Below,
}

/// What a count counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Counted {
    /// Each reading of which the condition is true.
    Readings,
    /// Each time that it became true.
    Beginnings,
}

/// What a value says about a condition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It is true.
    True,
    /// It is over.
    Clear,
    /// Between `limit` and `clear`: it stays as it was.
    Between,
    /// It says nothing: not a number, too few of them, or the condition is not about values.
    Nothing,
}

/// Why a condition could not be decided.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Undecided {
    /// Another series has no usable value.
    Missing(Of),
    /// Another series was measured too long before or after.
    TooOld(Of),
    /// An expression failed, in the words of its engine.
    Failed(String),
}

/// Judges the newest value of a series. `memory` is that of the rule on this series.
pub(super) fn judge(
    condition: &Condition,
    memory: &mut Option<Box<Memory>>,
    value: &Value,
    look: &Look<'_, impl View>,
) -> Result<Verdict, Undecided> {
    let (view, time) = (look.view, look.time);
    let number = value.as_f64();
    let (is_true, is_clear) = match condition {
        Condition::NoDataFor { .. } | Condition::Overdue => return Ok(Verdict::Nothing),
        Condition::Unusual { .. } if number.is_none() => return Ok(Verdict::Nothing),
        Condition::Stuck { .. } | Condition::Count { .. } | Condition::Unusual { .. } => {
            recall(condition, memory, value, time);
            return Ok(memory
                .as_ref()
                .map_or(Verdict::Nothing, |memory| memory.verdict(condition, time)));
        }
        Condition::When { when, clear } => {
            return expression::judge(&When { when, clear }, value, look);
        }
        Condition::ChangeOver { limit, over } => {
            let Some(number) = number else {
                return Ok(Verdict::Nothing);
            };
            // With one point there is no change yet.
            let earlier = view.first_number(look.back(*over), time);
            let change = earlier.map_or(0.0, |earlier| number - earlier);
            (change.abs() > *limit, change.abs() <= *limit)
        }
        Condition::Rate {
            limit,
            clear,
            per,
            over,
            direction,
        } => {
            if number.is_none() {
                return Ok(Verdict::Nothing);
            }
            let Some(slope) = slope(view, time, *over) else {
                return Ok(Verdict::Nothing);
            };
            let rate = direction.of(slope * per.as_secs_f64());
            (rate > *limit, rate <= *clear)
        }
        Condition::Deviation {
            limit,
            clear,
            over,
            least,
            by,
            direction,
        } => {
            let stats = look.before(*over);
            let Some(number) = number.filter(|_| stats.count >= u64::from(*least)) else {
                return Ok(Verdict::Nothing);
            };
            let (apart, sigma) = (direction.of(number - stats.mean), stats.stddev());
            (
                apart > limit * sigma && apart > *by,
                apart <= clear * sigma || apart <= *by,
            )
        }
        Condition::Percentile {
            side,
            limit,
            clear,
            over,
            least,
            by,
        } => {
            let Some(number) = number else {
                return Ok(Verdict::Nothing);
            };
            let rank = rank(view, look.back(*over), time, *side, number, *by);
            if rank.count < u64::from(*least) {
                return Ok(Verdict::Nothing);
            }
            (
                rank.is_beyond(*side, *limit),
                !rank.is_beyond(*side, *clear),
            )
        }
        Condition::Versus {
            side,
            other,
            by,
            clear_by,
            max_age,
        } => {
            let Some(number) = number else {
                return Ok(Verdict::Nothing);
            };
            let theirs = other_value(other, time, *max_age, view)?;
            let apart = match side {
                Side::Above => number - theirs,
                Side::Below => theirs - number,
            };
            (apart > *by, apart <= *clear_by)
        }
        Condition::Above { .. }
        | Condition::Below { .. }
        | Condition::Outside { .. }
        | Condition::Inside { .. }
        | Condition::Equals { .. } => return Ok(single(condition, value)),
    };
    Ok(Verdict::of(is_true, is_clear))
}

/// Judges what needs the value alone; all others say nothing.
pub(super) fn single(condition: &Condition, value: &Value) -> Verdict {
    if let Condition::Equals { values, wanted } = condition {
        let is_one = values.iter().any(|one| same(one, value, 0.0));
        return Verdict::of(is_one == *wanted, true);
    }
    let Some(number) = value.as_f64() else {
        return Verdict::Nothing;
    };
    let within = |range: &(f64, f64)| (range.0..=range.1).contains(&number);
    match condition {
        Condition::Above { limit, clear } => Verdict::of(number > *limit, number <= *clear),
        Condition::Below { limit, clear } => Verdict::of(number < *limit, number >= *clear),
        Condition::Outside { range, clear } => Verdict::of(!within(range), within(clear)),
        Condition::Inside { range, clear } => Verdict::of(within(range), !within(clear)),
        _ => Verdict::Nothing,
    }
}

/// Whether two values are the same: numbers and booleans up to `tolerance`, texts letter by letter.
fn same(one: &Value, other: &Value, tolerance: f64) -> bool {
    match (one, other) {
        (Value::Int(one), Value::Int(other)) if tolerance == 0.0 => one == other,
        (Value::Text(one), Value::Text(other)) => one == other,
        _ => match (one.as_f64(), other.as_f64()) {
            (Some(one), Some(other)) => (one - other).abs() <= tolerance,
            _ => false,
        },
    }
}

fn other_value(
    other: &Of,
    time: Timestamp,
    max_age: Option<Duration>,
    view: &impl View,
) -> Result<f64, Undecided> {
    let Some(Latest {
        value,
        time: theirs,
        retained,
    }) = view.latest(other)
    else {
        return Err(Undecided::Missing(other.clone()));
    };
    if let Some(max_age) = max_age
        && (retained || time.0.abs_diff(theirs.0) > nanos(max_age).unsigned_abs())
    {
        return Err(Undecided::TooOld(other.clone()));
    }
    value
        .as_f64()
        .ok_or_else(|| Undecided::Missing(other.clone()))
}

/// Whole nanoseconds; 292 years at most.
pub(crate) fn nanos(span: Duration) -> i64 {
    i64::try_from(span.as_nanos()).unwrap_or(i64::MAX)
}

impl Condition {
    /// Whether it is about silence, and not about values.
    #[must_use]
    pub const fn is_silence(&self) -> bool {
        matches!(self, Self::NoDataFor { .. } | Self::Overdue)
    }

    /// Whether it learns from all readings that there are, not only from the last ones.
    #[must_use]
    pub const fn learns(&self) -> bool {
        matches!(self, Self::Unusual { .. } | Self::Overdue)
    }

    /// The other series that it looks at, as it names them.
    #[must_use]
    pub fn others(&self) -> Vec<&Of> {
        match self {
            Self::Versus { other, .. } => vec![other],
            Self::When { when, clear } => {
                let both = std::iter::once(when).chain(clear);
                both.flat_map(Expression::others).collect()
            }
            _ => Vec::new(),
        }
    }

    /// Whether it looks at single values only, so that it can be counted.
    #[must_use]
    pub const fn is_single(&self) -> bool {
        matches!(
            self,
            Self::Above { .. }
                | Self::Below { .. }
                | Self::Outside { .. }
                | Self::Inside { .. }
                | Self::Equals { .. }
        )
    }
}

impl Direction {
    /// How far something goes this way.
    fn of(self, distance: f64) -> f64 {
        match self {
            Self::Up => distance,
            Self::Down => -distance,
            Self::Either => distance.abs(),
        }
    }
}

impl Verdict {
    const fn of(is_true: bool, is_clear: bool) -> Self {
        match (is_true, is_clear) {
            (true, _) => Self::True,
            (_, true) => Self::Clear,
            _ => Self::Between,
        }
    }
}

impl fmt::Display for Undecided {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing(of) => write!(f, "{of} has no value that can be used"),
            Self::TooOld(of) => write!(f, "the value of {of} is too old"),
            Self::Failed(why) => f.write_str(why),
        }
    }
}

#[cfg(test)]
mod tests;
