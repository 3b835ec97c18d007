//! What a signal says over time: pure, seeded, repeatable. Time comes in as an argument.
//!
//! The same seed gives the same values on the same platform; sine and logarithm may differ in the last bit between
//! platforms, which the rounding to a few decimals almost always hides.

use std::{f64::consts::TAU, time::Duration};

use rand_chacha::{
    ChaCha8Rng,
    rand_core::{RngCore, SeedableRng},
};
use serde::{Deserialize, Serialize};

use crate::scenario::{Kind, Shape, Signal};

const NANOS_A_DAY: i64 = 86_400_000_000_000;
/// The hour of the lowest point of a daily curve is 03:00, so the sine crosses its middle upwards at 09:00.
const DAILY_MIDDLE: f64 = 9.0 / 24.0;
/// A walk takes this many standard steps from its middle to its bound.
const STEPS_TO_BOUND: f64 = 20.0;

/// A value as it is sent and as the ledger keeps it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Value {
    /// On or off.
    Bool(bool),
    /// A whole number.
    Int(i64),
    /// A decimal number; NaN only where a fault made it so.
    Float(f64),
    /// A short text.
    Text(String),
}

/// A signal on its way through time.
#[derive(Debug)]
pub struct Course {
    signal: Signal,
    rng: ChaCha8Rng,
    walked: f64,
}

/// One moment of a run.
#[derive(Clone, Copy, Debug)]
pub struct Moment {
    /// Since the start.
    pub elapsed: Duration,
    /// The true time, in nanoseconds since the epoch.
    pub time_ns: i64,
    /// How many readings came before.
    pub index: u64,
}

/// The source of chance for one purpose of one device. Purposes do not disturb each other: adding a fault leaves the
/// values of the signals as they were.
#[must_use]
pub fn chance(seed: u64, purpose: &[&str]) -> ChaCha8Rng {
    let mut stream: u64 = 0xcbf2_9ce4_8422_2325;
    for part in purpose {
        for byte in part.bytes().chain([0]) {
            stream = (stream ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
    }
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    rng.set_stream(stream);
    rng
}

/// An even draw from 0 (included) to 1 (excluded), with 53 bits.
#[must_use]
#[expect(
    clippy::cast_precision_loss,
    reason = "53 bits are just what a float holds"
)]
pub fn draw(rng: &mut ChaCha8Rng) -> f64 {
    (rng.next_u64() >> 11) as f64 / (1_u64 << 53) as f64
}

/// A draw from the standard normal distribution (Box and Muller, 1958).
#[must_use]
pub fn draw_normal(rng: &mut ChaCha8Rng) -> f64 {
    let radius = (-2.0 * (1.0 - draw(rng)).ln()).sqrt();
    radius * (TAU * draw(rng)).cos()
}

impl Course {
    /// At the start of its course; `rng` is its own.
    #[must_use]
    pub const fn new(signal: Signal, rng: ChaCha8Rng) -> Self {
        Self {
            signal,
            rng,
            walked: 0.0,
        }
    }

    /// What it is the course of.
    #[must_use]
    pub const fn signal(&self) -> &Signal {
        &self.signal
    }

    /// The value at the next reading, before rounding and before faults. Call it once a reading, in order: a walk
    /// goes on from where it was.
    #[expect(
        clippy::cast_precision_loss,
        reason = "a counter past 2^53 has long left what a float can count"
    )]
    pub fn next(&mut self, moment: Moment) -> f64 {
        let s = &self.signal;
        let rounds = moment.elapsed.as_secs_f64() / s.period.as_secs_f64();
        let base = match s.shape {
            Shape::Constant => s.offset,
            Shape::Sine => s.offset + s.amplitude * (TAU * rounds).sin(),
            Shape::RandomWalk => {
                let bound = s.amplitude.abs();
                self.walked += draw_normal(&mut self.rng) * bound / STEPS_TO_BOUND;
                if self.walked.abs() > bound {
                    self.walked =
                        (2.0 * bound - self.walked.abs()).max(-bound) * self.walked.signum();
                }
                s.offset + self.walked
            }
            Shape::Saw => s.offset + s.amplitude * rounds.fract(),
            Shape::Square if rounds.fract() < 0.5 => s.offset + s.amplitude,
            Shape::Square => s.offset - s.amplitude,
            Shape::DailyCurve => {
                let of_day = moment.time_ns.rem_euclid(NANOS_A_DAY) as f64 / NANOS_A_DAY as f64;
                s.offset + s.amplitude * (TAU * (of_day - DAILY_MIDDLE)).sin()
            }
            Shape::Counter => s.offset + s.amplitude * moment.index as f64,
        };
        let drift = s.drift_per_hour * moment.elapsed.as_secs_f64() / 3_600.0;
        let noise = if s.noise > 0.0 {
            draw_normal(&mut self.rng) * s.noise
        } else {
            0.0
        };
        self.bounded(base + drift + noise)
    }

    fn bounded(&self, value: f64) -> f64 {
        let value = self.signal.min.map_or(value, |min| value.max(min));
        self.signal.max.map_or(value, |max| value.min(max))
    }

    /// A number as this signal sends it: rounded to its decimals, or as a switch or a text.
    #[must_use]
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "casts of floats saturate, and that is what is wanted at the edge"
    )]
    pub fn quantise(&self, number: f64) -> Value {
        match self.signal.kind {
            Kind::Boolean => Value::Bool(number >= 0.5),
            Kind::Text => {
                let last = self.signal.texts.len().saturating_sub(1);
                let text = self.signal.texts.get((number.max(0.0) as usize).min(last));
                Value::Text(text.cloned().unwrap_or_default())
            }
            Kind::Integer if number.is_finite() => Value::Int(number.round() as i64),
            Kind::Integer | Kind::Number => Value::Float(round_to(number, self.signal.decimals)),
        }
    }
}

/// The number that is left when it is printed with so many decimals; never negative zero.
fn round_to(number: f64, decimals: u8) -> f64 {
    let printed = format!("{number:.*}", usize::from(decimals));
    printed.parse::<f64>().unwrap_or(number) + 0.0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn moment(seconds: u64, index: u64) -> Moment {
        Moment {
            elapsed: Duration::from_secs(seconds),
            time_ns: i64::try_from(seconds).unwrap() * 1_000_000_000,
            index,
        }
    }

    fn course(shape: Shape, change: impl FnOnce(&mut Signal)) -> Course {
        let mut signal = Signal::new("m", None, shape);
        signal.offset = 10.0;
        signal.amplitude = 4.0;
        change(&mut signal);
        Course::new(signal, chance(7, &["d", "m"]))
    }

    fn at(shape: Shape, seconds: u64, index: u64) -> f64 {
        course(shape, |_| ()).next(moment(seconds, index))
    }

    #[test]
    fn shapes_have_their_turning_points_where_the_book_says() {
        assert_eq!(at(Shape::Constant, 5, 0), 10.0);
        assert!((at(Shape::Sine, 15, 0) - 14.0).abs() < 1e-9);
        assert!((at(Shape::Sine, 45, 0) - 6.0).abs() < 1e-9);
        assert_eq!(at(Shape::Saw, 30, 0), 12.0);
        assert_eq!(at(Shape::Saw, 60, 0), 10.0);
        assert_eq!(at(Shape::Square, 29, 0), 14.0);
        assert_eq!(at(Shape::Square, 30, 0), 6.0);
        assert_eq!(at(Shape::Counter, 0, 3), 22.0);
        assert!((at(Shape::DailyCurve, 3 * 3_600, 0) - 6.0).abs() < 1e-9);
        assert!((at(Shape::DailyCurve, 15 * 3_600, 0) - 14.0).abs() < 1e-9);
    }

    #[test]
    fn a_walk_stays_within_its_bound() {
        let mut walk = course(Shape::RandomWalk, |_| ());
        for index in 0..20_000 {
            let value = walk.next(moment(index, index));
            assert!((6.0..=14.0).contains(&value), "{value}");
        }
    }

    #[test]
    fn noise_has_the_deviation_that_was_asked_for() {
        let mut noisy = course(Shape::Constant, |s| s.noise = 2.0);
        let values: Vec<f64> = (0..20_000).map(|i| noisy.next(moment(i, i))).collect();
        let mean = values.iter().sum::<f64>() / 20_000.0;
        let variance = values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / 20_000.0;
        assert!((mean - 10.0).abs() < 0.1, "{mean}");
        assert!((variance.sqrt() - 2.0).abs() < 0.1, "{variance}");
    }

    #[test]
    fn drift_and_bounds_are_kept() {
        let mut drifting = course(Shape::Constant, |s| {
            s.drift_per_hour = 2.0;
            s.max = Some(11.0);
        });
        assert_eq!(drifting.next(moment(1_800, 0)), 11.0);
        assert_eq!(drifting.next(moment(3_600, 1)), 11.0);
    }

    #[test]
    fn values_are_rounded_as_they_are_printed() {
        let number = course(Shape::Constant, |s| s.decimals = 1);
        assert_eq!(number.quantise(21.449), Value::Float(21.4));
        assert_eq!(number.quantise(-0.01).clone(), Value::Float(0.0));
        let text = course(Shape::Constant, |s| {
            s.kind = Kind::Text;
            s.texts = vec![String::from("ok"), String::from("hot")];
        });
        assert_eq!(text.quantise(-3.0), Value::Text(String::from("ok")));
        assert_eq!(text.quantise(99.0), Value::Text(String::from("hot")));
        let switch = course(Shape::Constant, |s| s.kind = Kind::Boolean);
        assert_eq!(switch.quantise(0.5), Value::Bool(true));
    }

    #[test]
    fn purposes_have_chance_of_their_own() {
        let first = chance(1, &["a", "b"]).next_u64();
        assert_eq!(first, chance(1, &["a", "b"]).next_u64());
        assert_ne!(first, chance(1, &["ab", ""]).next_u64());
        assert_ne!(first, chance(2, &["a", "b"]).next_u64());
    }
}
