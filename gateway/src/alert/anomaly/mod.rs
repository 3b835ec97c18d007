//! Learns what is usual for a series and scores how unusual a reading is, without a threshold in the unit of the series.
//!
//! It keeps which pairs of neighbouring values the series has had (`map.rs`). A reading is as unusual as its pair is far from the
//! nearest known one, as a share of the range that the series is known to have. That is the contextual detector of Smirnov
//! (CAD OSE, 2016: a coarse value is an anomaly when it never followed the coarse values before it) with the distance of Burnaev
//! and Ishimtsev (*Conformalized density- and distance-based anomaly detection in time-series data*, arXiv:1608.04585, 2016: how
//! far the nearest neighbour in the space of delayed values is), on a grid, so that memory and time a reading are constant.
//!
//! A score is from 0 (seen before) to below 1; 0.5 is a twelfth of the known range away from anything known. Nothing is scored
//! until enough was learned. The same readings give the same scores, also when the state was written down and read between any two.
//!
//! What it does not do: learn the time of day or the week, see that something is missing, or see what creeps in over days.

mod bytes;
mod map;
#[cfg(test)]
mod tests;

use std::time::Duration;

pub(in crate::alert) use self::bytes::Input;
use self::map::Map;
use crate::model::Timestamp;

/// Values beyond this say nothing: differences of them would not be numbers.
const LARGEST: f64 = 1e300;
/// A score of one half is this part of the known range.
const PARTS: f64 = 12.0;

/// How long it learns and remembers. Each span is over when both its readings and its time are, so that it fits sensors that
/// speak each second and each hour.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Tuning {
    /// Nothing is scored before. Default 300 readings and a day.
    pub learns: Span,
    /// What is new becomes known after three to four of these. Default 24 readings and two hours.
    pub recent: Span,
    /// What was not seen again is forgotten after one to two of these. Default 5 000 readings and 14 days.
    pub remembers: Span,
    /// An alert is over after this long without a score of half its limit. Default 24 readings and half an hour.
    pub calm: Span,
    /// Scores are lower by half when this many readings were seen, by little when there were many more: the fewer readings, the
    /// more is new by chance. Default 300.
    pub doubt: f64,
    /// A reading this many usual steps after the one before does not follow it. Default 10.
    pub gap: f64,
}

/// So many readings, and so much measured time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// Readings.
    pub readings: u64,
    /// Time.
    pub time: Duration,
}

/// How much an alert takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Sensitivity {
    /// Only what is far from anything known.
    Low,
    /// The best for most series.
    #[default]
    Medium,
    /// A little that is new is enough: more alerts, more of them about nothing.
    High,
}

/// How unusual a reading is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Score {
    /// From 0 to 1. 0 while it learns.
    pub score: f64,
    /// Between which values it was expected, if anything was: those that came after a value like the one before. What lies outside
    /// isn't always unusual, nor all within usual.
    pub expected: Option<(f64, f64)>,
    /// Whether it still learns, and scores nothing.
    pub learning: bool,
}

/// What a score says about an alert.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mood {
    /// It still learns.
    Learning,
    /// At or above the limit.
    Strange,
    /// Below the limit, but not calm for long enough.
    Uneasy,
    /// Calm.
    Calm,
}

/// What is learned of one series.
#[derive(Clone, Debug, PartialEq)]
pub struct Detector {
    map: Map,
    /// How many readings.
    seen: u64,
    first: Timestamp,
    last: Timestamp,
    value: f64,
    /// The usual nanoseconds between two readings; 0 before two.
    step: f64,
    /// When the newest of the bitmaps of what was seen lately was begun, and when the generation was.
    turned: Mark,
    forgot: Mark,
    /// The last reading that was not calm.
    uneasy: Option<Mark>,
}

/// A reading, by its number and its measured time.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Mark {
    reading: u64,
    at: Timestamp,
}

impl Score {
    /// Of nothing yet.
    pub const LEARNING: Self = Self {
        score: 0.0,
        expected: None,
        learning: true,
    };
}

impl Sensitivity {
    /// At which score an alert begins.
    #[must_use]
    pub const fn limit(self) -> f64 {
        match self {
            Self::Low => 0.65,
            Self::Medium => 0.5,
            Self::High => 0.35,
        }
    }
}

impl Default for Tuning {
    fn default() -> Self {
        const HOUR: u64 = 3_600;
        let span = |readings, seconds| Span {
            readings,
            time: Duration::from_secs(seconds),
        };
        Self {
            learns: span(300, 24 * HOUR),
            recent: span(24, 2 * HOUR),
            remembers: span(5_000, 14 * 24 * HOUR),
            calm: span(24, 1800),
            doubt: 300.0,
            gap: 10.0,
        }
    }
}

impl Default for Detector {
    fn default() -> Self {
        Self::new()
    }
}

impl Detector {
    /// Nothing learned.
    #[must_use]
    pub const fn new() -> Self {
        let never = Mark {
            reading: 0,
            at: Timestamp(0),
        };
        Self {
            map: Map::new(),
            seen: 0,
            first: Timestamp(0),
            last: Timestamp(0),
            value: 0.0,
            step: 0.0,
            turned: never,
            forgot: never,
            uneasy: None,
        }
    }

    /// Scores a reading, then learns it. Readings come in the order of their time; one that is not a number of a sane size is not
    /// learned and scores nothing.
    pub fn read(&mut self, tuning: &Tuning, time: Timestamp, value: f64) -> Score {
        if !value.is_finite() || value.abs() > LARGEST {
            return Score {
                score: 0.0,
                expected: None,
                learning: self.learning(tuning),
            };
        }
        self.seen = self.seen.saturating_add(1);
        let now = Mark {
            reading: self.seen,
            at: time,
        };
        if self.seen == 1 {
            (self.first, self.last, self.value) = (time, time, value);
            (self.turned, self.forgot) = (now, now);
        }
        let before = self.value_before(tuning, time, value);
        (self.last, self.value) = (time, value);
        let learning = self.learning(tuning);
        let (score, expected) = if learning {
            (0.0, None)
        } else {
            let trust = self.seen as f64 / (self.seen as f64 + tuning.doubt);
            let away = PARTS * trust * self.map.distance(before, value);
            (1.0 - 1.0 / (1.0 + away), self.map.after(before))
        };
        self.map.see(before, value);
        if self.turned.over(tuning.recent, now) {
            self.map.turn();
            self.turned = now;
        }
        if self.forgot.over(tuning.remembers, now) {
            self.map.forget();
            self.forgot = now;
        }
        Score {
            score,
            expected,
            learning,
        }
    }

    /// What the score of the newest reading says at this limit. To be asked once after each reading.
    pub fn mood(&mut self, tuning: &Tuning, score: Score, limit: f64) -> Mood {
        let now = Mark {
            reading: self.seen,
            at: self.last,
        };
        if score.learning {
            return Mood::Learning;
        }
        if score.score >= limit / 2.0 && score.score > 0.0 {
            self.uneasy = Some(now);
        }
        match self.uneasy {
            _ if score.score >= limit => Mood::Strange,
            Some(mark) if !mark.over(tuning.calm, now) => Mood::Uneasy,
            _ => Mood::Calm,
        }
    }

    /// The clock that stamps the readings jumped.
    pub fn clock_jumped(&mut self, by: i64) {
        let marks = [&mut self.turned.at, &mut self.forgot.at];
        let uneasy = self.uneasy.as_mut().map(|mark| &mut mark.at);
        for time in [&mut self.first, &mut self.last]
            .into_iter()
            .chain(marks)
            .chain(uneasy)
        {
            *time = Timestamp(time.0.saturating_add(by));
        }
    }

    fn learning(&self, tuning: &Tuning) -> bool {
        let first = Mark {
            reading: 0,
            at: self.first,
        };
        let now = Mark {
            reading: self.seen,
            at: self.last,
        };
        !first.over(tuning.learns, now)
    }

    /// What the value follows: itself after a gap. Learns the usual step.
    fn value_before(&mut self, tuning: &Tuning, time: Timestamp, value: f64) -> f64 {
        let step = time.0.saturating_sub(self.last.0) as f64;
        if step <= 0.0 {
            return self.value;
        }
        if self.step == 0.0 {
            self.step = step;
        }
        let gap = step > tuning.gap * self.step;
        self.step += 0.02 * (step.min(4.0 * self.step) - self.step);
        if gap { value } else { self.value }
    }
}

impl Mark {
    fn over(self, span: Span, now: Self) -> bool {
        let time = i64::try_from(span.time.as_nanos()).unwrap_or(i64::MAX);
        now.reading.saturating_sub(self.reading) >= span.readings
            && now.at.0.saturating_sub(self.at.0) >= time
    }
}
