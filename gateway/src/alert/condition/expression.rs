//! Expressions over newest values and aggregates: `when = "value > 30 and mean('5m') > metric('setpoint') + 2"`.
//!
//! The engine is `minijinja`, which writes messages too: one grammar for a person to learn, no second engine to keep well. It sees a small
//! part of its language: an expression is cut into tokens here first, and what is neither arithmetic, a comparison, `and`, `or`, `not`
//! nor one of the [names](Name) below is refused with its place. So there are no loops, filters, attributes, lists or texts that grow;
//! fuel and length bound what is left. The environment is empty: nothing of the system can be reached.
//!
//! Each call, such as `mean("5m")`, stands for one number that is looked up before the expression runs. One that there is none
//! for is no mistake until it is used: then the expression is undecided.

mod lexer;

use std::{
    fmt,
    ops::Range,
    sync::{
        Arc, LazyLock,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use minijinja::{
    Environment, UndefinedBehavior,
    value::{Object, Value as Cell},
};

use super::{
    Look, Undecided, Verdict,
    recent::{seconds, slope_of},
};
use crate::{
    alert::{Of, View},
    model::Value,
};

/// Bytes of one expression at most.
pub(crate) const MAX_BYTES: usize = 1_000;
/// Different values and aggregates that one expression may look up.
pub(crate) const MAX_NAMES: usize = 16;
/// Steps of one evaluation. No expression of [`MAX_BYTES`] needs as many: it holds should the engine ever learn to loop.
const FUEL: u64 = 2_000;

static ENGINE: LazyLock<Environment<'static>> = LazyLock::new(|| {
    let mut engine = Environment::empty();
    engine.set_undefined_behavior(UndefinedBehavior::Strict);
    engine.set_fuel(Some(FUEL));
    engine
});

/// A compiled expression that is true or false. Cheap to clone; equal to another with the same text.
#[derive(Clone)]
pub struct Expression(Arc<Compiled>);

struct Compiled {
    text: String,
    names: Vec<Name>,
    engine: minijinja::Expression<'static, 'static>,
}

/// What is wrong with an expression, and where in its text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Misfit {
    /// Bytes of the text.
    pub at: Range<usize>,
    /// For people.
    pub message: String,
}

/// What an expression looks up.
#[derive(Clone, Debug, PartialEq)]
enum Name {
    /// `value`, `metric("…")`, `series("…")` as a number; true is 1.
    Number(Of),
    /// The same where it stands alone or beside `and`, `or`, `not`: all but 0 is true.
    Truth(Of),
    /// `text()`, `text("…")`: the newest text.
    Text(Of),
    /// `age("…")`: by how many seconds the newest value of another series was measured before the reading.
    Age(Of),
    /// `mean("5m")`, `mean("5m", "…")` and so on.
    Aggregate(Aggregate, Of, Duration),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Aggregate {
    Mean,
    Min,
    Max,
    Count,
    Stddev,
    First,
    /// The slope per second.
    Rate,
}

/// The two expressions of a condition.
pub(super) struct When<'a> {
    pub(super) when: &'a Expression,
    pub(super) clear: &'a Option<Expression>,
}

impl Expression {
    /// The words of the language.
    pub const WORDS: [&str; 17] = [
        "value", "metric", "series", "text", "age", "mean", "min", "max", "count", "stddev",
        "first", "rate", "and", "or", "not", "true", "false",
    ];

    /// Reads an expression. `duration` reads a span of time as people write it in the config.
    ///
    /// # Errors
    ///
    /// The first thing that is wrong with it.
    pub fn compile(
        text: &str,
        duration: &dyn Fn(&str) -> Option<Duration>,
    ) -> Result<Self, Misfit> {
        let lexer::Read { rewritten, names } = lexer::read(text, duration)?;
        let whole = |message: String| Misfit {
            at: 0..text.len(),
            message,
        };
        let engine = ENGINE
            .compile_expression_owned(rewritten)
            .map_err(|error| {
                let why = error.detail().unwrap_or("it cannot be read");
                whole(format!("this is no expression: {why}"))
            })?;
        let expression = Self(Arc::new(Compiled {
            text: text.to_owned(),
            names,
            engine,
        }));
        // With any values: what must be said of it when it is a number is known now.
        let any = expression.0.names.iter().map(|name| match name {
            Name::Truth(_) => Some(Cell::from(true)),
            Name::Text(_) => Some(Cell::from("")),
            Name::Number(_) | Name::Age(_) | Name::Aggregate(..) => Some(Cell::from(1.0)),
        });
        if let Err(Undecided::Failed(why)) = expression.evaluate(any.collect())
            && why.starts_with(NO_ANSWER)
        {
            return Err(whole(format!("{why}: compare it, as in \"value > 30\"")));
        }
        Ok(expression)
    }

    /// As it was written.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.0.text
    }

    /// The other series that it looks up.
    pub(super) fn others(&self) -> impl Iterator<Item = &Of> {
        let names = self.0.names.iter().map(Name::of);
        names.filter(|of| **of != Of::Itself)
    }

    fn is_true(&self, value: &Value, look: &Look<'_, impl View>) -> Result<bool, Undecided> {
        let looked_up = self.0.names.iter().map(|name| name.look_up(value, look));
        self.evaluate(looked_up.collect())
    }

    fn evaluate(&self, values: Vec<Option<Cell>>) -> Result<bool, Undecided> {
        let around = Arc::new(Around {
            values,
            missed: AtomicUsize::new(usize::MAX),
        });
        let answer = self
            .0
            .engine
            .eval(Cell::from_dyn_object(Arc::clone(&around)));
        if let Some(missed) = self.0.names.get(around.missed.load(Ordering::Relaxed)) {
            return Err(Undecided::Missing(missed.of().clone()));
        }
        match answer {
            Ok(answer) => bool::try_from(answer.clone())
                .map_err(|_| Undecided::Failed(format!("{NO_ANSWER} {answer}"))),
            Err(error) => Err(Undecided::Failed(
                error.detail().unwrap_or("it fails").to_owned(),
            )),
        }
    }
}

const NO_ANSWER: &str = "it is neither true nor false, but";

/// Judges both expressions of a condition.
pub(super) fn judge(
    condition: &When<'_>,
    value: &Value,
    look: &Look<'_, impl View>,
) -> Result<Verdict, Undecided> {
    if condition.when.is_true(value, look)? {
        return Ok(Verdict::True);
    }
    match condition.clear {
        Some(clear) if !clear.is_true(value, look)? => Ok(Verdict::Between),
        _ => Ok(Verdict::Clear),
    }
}

impl Name {
    const fn of(&self) -> &Of {
        match self {
            Self::Number(of)
            | Self::Truth(of)
            | Self::Text(of)
            | Self::Age(of)
            | Self::Aggregate(_, of, _) => of,
        }
    }

    fn look_up(&self, value: &Value, look: &Look<'_, impl View>) -> Option<Cell> {
        let (view, time) = (look.view, look.time);
        let latest = |of: &Of| match of {
            Of::Itself => Some(value.clone()),
            _ => view.latest(of).map(|latest| latest.value),
        };
        match self {
            Self::Number(of) => match latest(of)? {
                Value::Bool(value) => Some(i64::from(value).into()),
                Value::Int(value) => Some(value.into()),
                Value::Float(value) => Some(value.into()),
                Value::Text(_) => None,
            },
            Self::Truth(of) => latest(of)?.as_f64().map(|number| (number != 0.0).into()),
            Self::Text(of) => match latest(of)? {
                Value::Text(text) => Some(text.as_str().into()),
                _ => None,
            },
            Self::Age(of) => {
                let latest = view.latest(of).filter(|latest| !latest.retained)?;
                Some(seconds(time.0.saturating_sub(latest.time.0)).into())
            }
            Self::Aggregate(Aggregate::Rate, of, over) => {
                slope_of(view, of, time, *over).map(Cell::from)
            }
            Self::Aggregate(aggregate, of, over) => {
                let stats = look.within(of, *over);
                if *aggregate == Aggregate::Count {
                    return Some(stats.count.into());
                }
                (stats.count > 0).then(|| {
                    Cell::from(match aggregate {
                        Aggregate::Min => stats.min,
                        Aggregate::Max => stats.max,
                        Aggregate::Stddev => stats.stddev(),
                        Aggregate::First => stats.first,
                        Aggregate::Mean | Aggregate::Count | Aggregate::Rate => stats.mean,
                    })
                })
            }
        }
    }
}

/// What one evaluation sees: the values of the names, by number.
#[derive(Debug)]
struct Around {
    values: Vec<Option<Cell>>,
    /// The first name that was used and has no value.
    missed: AtomicUsize,
}

impl Object for Around {
    fn get_value(self: &Arc<Self>, key: &Cell) -> Option<Cell> {
        let number: usize = key.as_str()?.strip_prefix('_')?.parse().ok()?;
        let value = self.values.get(number)?.clone();
        if value.is_none() {
            let first = self.missed.load(Ordering::Relaxed).min(number);
            self.missed.store(first, Ordering::Relaxed);
        }
        value
    }
}

impl PartialEq for Expression {
    fn eq(&self, other: &Self) -> bool {
        self.0.text == other.0.text
    }
}

impl fmt::Debug for Expression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Expression").field(&self.0.text).finish()
    }
}

impl fmt::Display for Misfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Misfit {}

#[cfg(test)]
pub(super) mod tests;
