//! What a condition must remember of one series where the store can't tell, because its rings are too short: since when a value is
//! the same, when something happened, and what is usual.
//!
//! Fed by each reading that is judged and by each that a replay recalls, in measured order; readings behind come to neither. At the
//! beginning nothing is known of what was before: until that can no longer matter, an alert of an earlier run is left as it is.
//!
//! Bounds: one a slot, made with the first reading; a value and two times, [`MAX_COUNT`] times of 8 bytes at most, 1.6 KiB of what is usual, or 64
//! gaps between arrivals.

pub(crate) mod arrivals;
mod bytes;

use std::collections::VecDeque;

use self::arrivals::Arrivals;
use super::{Condition, Counted, Verdict, nanos, same, single};
use crate::{
    alert::anomaly::{Detector, Mood, Score, Tuning},
    model::{Timestamp, Value},
};

/// Events that a rule may count at most: 4 KiB a series.
pub(crate) const MAX_COUNT: u32 = 500;

/// The memory of one rule on one series.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Memory {
    /// Of [`Condition::Stuck`].
    Run(Run),
    /// Of [`Condition::Count`].
    Events(Events),
    /// Of [`Condition::Unusual`].
    Learned(Box<Learned>),
    /// Of [`Condition::Overdue`]; fed by arrivals.
    Arrivals(Arrivals),
}

/// What is usual, and what the newest reading was to that.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Learned {
    detector: Detector,
    score: Score,
    mood: Mood,
}

/// Readings that all have one value.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Run {
    /// The first of them.
    value: Value,
    since: Timestamp,
    newest: Timestamp,
    readings: u32,
    /// Whether the value may have been the same before: nothing is known of it, or there was a gap.
    open: bool,
}

/// When something happened, lately.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Events {
    /// The newest, one more than the rule allows.
    times: VecDeque<i64>,
    /// The first reading that was seen.
    began: Timestamp,
    /// Whether it is under way; none: not known.
    under_way: Option<bool>,
}

/// Remembers a reading, if the condition has a memory. The memory is made with the first.
pub(crate) fn recall(
    condition: &Condition,
    memory: &mut Option<Box<Memory>>,
    value: &Value,
    time: Timestamp,
) {
    match (condition, memory.as_deref_mut()) {
        (Condition::Stuck { .. }, None) => {
            *memory = Some(Box::new(Memory::Run(Run::new(value, time, true))));
        }
        (
            Condition::Stuck {
                span, tolerance, ..
            },
            Some(Memory::Run(run)),
        ) => run.take(value, time, nanos(*span), *tolerance),
        (Condition::Count { .. }, None) => {
            let mut events = Events {
                times: VecDeque::new(),
                began: time,
                under_way: None,
            };
            events.take(condition, value, time);
            *memory = Some(Box::new(Memory::Events(events)));
        }
        (Condition::Count { .. }, Some(Memory::Events(events))) => {
            events.take(condition, value, time);
        }
        (Condition::Unusual { limit }, None) => {
            let mut learned = Learned::new();
            learned.take(*limit, value, time);
            *memory = Some(Box::new(Memory::Learned(Box::new(learned))));
        }
        (Condition::Unusual { limit }, Some(Memory::Learned(learned))) => {
            learned.take(*limit, value, time);
        }
        _ => {}
    }
}

/// Remembers that something was received, if the condition has a memory of that. The memory is made with the first.
pub(crate) fn arrived(condition: &Condition, memory: &mut Option<Box<Memory>>, at: Timestamp) {
    match (condition, memory.as_deref_mut()) {
        (Condition::Overdue, None) => {
            *memory = Some(Box::new(Memory::Arrivals(Arrivals::new(at))));
        }
        (Condition::Overdue, Some(Memory::Arrivals(arrivals))) => arrivals.take(at),
        _ => {}
    }
}

impl Memory {
    /// How often something usually comes, and for how long nothing may, once that is learned.
    pub(crate) fn usual(&self) -> Option<arrivals::Usual> {
        match self {
            Self::Arrivals(arrivals) => arrivals.usual(),
            Self::Run(_) | Self::Events(_) | Self::Learned(_) => None,
        }
    }

    /// What it says now.
    pub(super) fn verdict(&self, condition: &Condition, time: Timestamp) -> Verdict {
        match (condition, self) {
            (Condition::Stuck { span, least, .. }, Self::Run(run)) => {
                let long = run.newest.0.saturating_sub(run.since.0) >= nanos(*span);
                Verdict::of(long && run.readings >= *least, !run.open)
            }
            (
                Condition::Count {
                    more_than, over, ..
                },
                Self::Events(events),
            ) => {
                let from = time.0.saturating_sub(nanos(*over));
                let count = events.times.iter().filter(|at| **at > from).count();
                Verdict::of(count > *more_than as usize, events.began.0 <= from)
            }
            (Condition::Unusual { .. }, Self::Learned(learned)) => match learned.mood {
                Mood::Learning => Verdict::Nothing,
                Mood::Strange => Verdict::True,
                Mood::Uneasy => Verdict::Between,
                Mood::Calm => Verdict::Clear,
            },
            _ => Verdict::Nothing,
        }
    }

    /// How unusual the newest reading was, if that is what it remembers.
    pub(crate) fn score(&self) -> Option<Score> {
        match self {
            Self::Learned(learned) => Some(learned.score),
            Self::Run(_) | Self::Events(_) | Self::Arrivals(_) => None,
        }
    }

    /// The clock that stamps the readings jumped by so many nanoseconds.
    pub(crate) fn clock_jumped(&mut self, by: i64) {
        let moved = |time: &mut Timestamp| time.0 = time.0.saturating_add(by);
        match self {
            Self::Run(run) => {
                moved(&mut run.since);
                moved(&mut run.newest);
            }
            Self::Events(events) => {
                moved(&mut events.began);
                for time in &mut events.times {
                    *time = time.saturating_add(by);
                }
            }
            Self::Learned(learned) => learned.detector.clock_jumped(by),
            Self::Arrivals(arrivals) => arrivals.clock_jumped(by),
        }
    }
}

impl Learned {
    const fn new() -> Self {
        Self {
            detector: Detector::new(),
            score: Score::LEARNING,
            mood: Mood::Learning,
        }
    }

    /// Texts are not learned.
    fn take(&mut self, limit: f64, value: &Value, time: Timestamp) {
        let Some(number) = value.as_f64() else {
            return;
        };
        let tuning = Tuning::default();
        self.score = self.detector.read(&tuning, time, number);
        self.mood = self.detector.mood(&tuning, self.score, limit);
    }
}

impl Run {
    fn new(value: &Value, time: Timestamp, open: bool) -> Self {
        Self {
            value: value.clone(),
            since: time,
            newest: time,
            readings: 1,
            open,
        }
    }

    fn take(&mut self, value: &Value, time: Timestamp, span: i64, tolerance: f64) {
        let is_same = same(&self.value, value, tolerance);
        let follows = (0..=span).contains(&time.0.saturating_sub(self.newest.0));
        if is_same && follows {
            self.newest = time;
            self.readings = self.readings.saturating_add(1);
        } else {
            *self = Self::new(value, time, is_same);
        }
    }
}

impl Events {
    fn take(&mut self, condition: &Condition, value: &Value, time: Timestamp) {
        let Condition::Count {
            each,
            more_than,
            counted,
            ..
        } = condition
        else {
            return;
        };
        // The time of the series was taken back: what lies ahead now was of another time.
        while self.times.back().is_some_and(|newest| *newest > time.0) {
            self.times.pop_back();
        }
        self.began = self.began.min(time);
        let verdict = single(each, value);
        let happened = match counted {
            Counted::Readings => verdict == Verdict::True,
            Counted::Beginnings => verdict == Verdict::True && self.under_way == Some(false),
        };
        match verdict {
            Verdict::True => self.under_way = Some(true),
            Verdict::Clear => self.under_way = Some(false),
            Verdict::Between | Verdict::Nothing => {}
        }
        if happened {
            if self.times.len() > *more_than as usize {
                self.times.pop_front();
            }
            self.times.push_back(time.0);
        }
    }
}
