use std::collections::BTreeMap;

use proptest::prelude::*;

use super::{expression::tests::compile, *};
use crate::{
    alert::{Latest, Of, View},
    model::{Metric, SeriesKey, Unit},
    store::Sample,
};

pub(super) const SECOND: i64 = 1_000_000_000;

/// What a store would hold: the judged series by time, and others' newest values by name.
#[derive(Clone, Debug, Default)]
pub(super) struct Held {
    pub(super) points: Vec<(i64, f64)>,
    pub(super) others: BTreeMap<String, Latest>,
}

impl Held {
    /// One point a second up to now, which is second 0.
    pub(super) fn seconds(values: &[f64]) -> Self {
        let first = 1 - i64::try_from(values.len()).unwrap();
        Self {
            points: (first..)
                .map(|at| at * SECOND)
                .zip(values.iter().copied())
                .collect(),
            others: BTreeMap::new(),
        }
    }

    pub(super) fn with(mut self, name: &str, time: i64, value: impl Into<Value>) -> Self {
        let latest = Latest {
            value: value.into(),
            time: Timestamp(time * SECOND),
            retained: false,
        };
        self.others.insert(name.into(), latest);
        self
    }

    fn judge(&self, condition: &Condition) -> Result<Verdict, Undecided> {
        let (time, number) = self.points.last().unwrap();
        judge(
            condition,
            &mut None,
            &Value::Float(*number),
            &Look::new(self, Timestamp(*time)),
        )
    }
}

impl View for Held {
    fn first_number(&self, from: Timestamp, to: Timestamp) -> Option<f64> {
        let inside = self.points.iter().find(|(time, _)| *time >= from.0)?;
        (inside.0 <= to.0).then_some(inside.1)
    }

    fn samples(&self, of: &Of, from: Timestamp, to: Timestamp, mut each: impl FnMut(Sample)) {
        for (time, number) in self.points.iter().rev().filter(|_| *of == Of::Itself) {
            if (from.0..=to.0).contains(time) {
                let (time, number) = (Timestamp(*time), *number);
                each(Sample::Point { time, number });
            }
        }
    }

    fn latest(&self, of: &Of) -> Option<Latest> {
        self.others.get(&of.to_string()).cloned()
    }
}

fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn setpoint() -> Of {
    Of::Metric(Metric("setpoint".into()))
}

#[test]
fn conditions_on_single_values_judge_at_their_edges() {
    use Verdict::{Between, Clear, Nothing, True};
    let above = Condition::Above {
        limit: 90.0,
        clear: 85.0,
    };
    let below = Condition::Below {
        limit: 5.0,
        clear: 8.0,
    };
    let outside = Condition::Outside {
        range: (10.0, 20.0),
        clear: (12.0, 18.0),
    };
    let inside = Condition::Inside {
        range: (10.0, 20.0),
        clear: (8.0, 22.0),
    };
    let equals = |values: &[Value], wanted| Condition::Equals {
        values: values.to_vec(),
        wanted,
    };
    let open = equals(&[Value::Bool(true)], true);
    let bad = equals(
        &[Value::Text("error".into()), Value::Text("fault".into())],
        true,
    );
    let not_ok = equals(&[Value::Text("ok".into())], false);
    let silent = Condition::NoDataFor { silence: secs(1) };
    let text = |text: &str| Value::Text(text.into());
    for (condition, value, expected) in [
        (&above, Value::Float(90.1), True),
        (&above, Value::Float(90.0), Between),
        (&above, Value::Float(85.1), Between),
        (&above, Value::Int(85), Clear),
        (&above, text("hot"), Nothing),
        (&below, Value::Float(4.9), True),
        (&below, Value::Float(5.0), Between),
        (&below, Value::Float(8.0), Clear),
        (&outside, Value::Float(9.9), True),
        (&outside, Value::Float(10.0), Between),
        (&outside, Value::Float(12.0), Clear),
        (&outside, Value::Float(18.0), Clear),
        (&outside, Value::Float(18.1), Between),
        (&outside, Value::Float(20.0), Between),
        (&outside, Value::Float(20.1), True),
        (&inside, Value::Float(10.0), True),
        (&inside, Value::Float(20.0), True),
        (&inside, Value::Float(20.1), Between),
        (&inside, Value::Float(22.0), Between),
        (&inside, Value::Float(22.1), Clear),
        (&inside, Value::Float(7.9), Clear),
        (&open, Value::Bool(true), True),
        (&open, Value::Int(1), True),
        (&open, Value::Bool(false), Clear),
        (&open, text("true"), Clear),
        (&bad, text("fault"), True),
        (&bad, text("Fault"), Clear),
        (&not_ok, text("ok"), Clear),
        (&not_ok, text("warming up"), True),
        (&not_ok, Value::Int(7), True),
        (&silent, Value::Float(1.0), Nothing),
    ] {
        let verdict = judge(
            condition,
            &mut None,
            &value,
            &Look::new(&Held::default(), Timestamp(0)),
        );
        assert_eq!(verdict, Ok(expected), "{condition:?} {value:?}");
    }
}

#[test]
fn large_whole_numbers_are_equal_only_to_themselves() {
    let big = (1_i64 << 53) + 1;
    assert!(same(&Value::Int(big), &Value::Int(big), 0.0));
    assert!(!same(&Value::Int(big), &Value::Int(big - 1), 0.0));
}

#[test]
fn a_change_counts_over_its_time_in_both_directions() {
    let change = Condition::ChangeOver {
        limit: 3.0,
        over: secs(2),
    };
    for (values, expected) in [
        (&[10.0][..], Verdict::Clear),
        (&[10.0, 11.0, 13.0], Verdict::Clear),
        (&[10.0, 11.0, 13.1], Verdict::True),
        (&[10.0, 11.0, 6.9], Verdict::True),
        (&[0.0, 10.0, 11.0, 13.0], Verdict::Clear),
    ] {
        assert_eq!(
            Held::seconds(values).judge(&change),
            Ok(expected),
            "{values:?}"
        );
    }
}

#[test]
fn a_rate_is_the_slope_whenever_the_readings_came() {
    let rate = |limit, direction| Condition::Rate {
        limit,
        clear: limit / 2.0,
        per: secs(60),
        over: secs(10),
        direction,
    };
    // 0.5 a second is 30 a minute, at times as uneven as can be.
    let uneven = Held {
        points: [-100, -10, -9, -9, -3, 0]
            .map(|at| {
                (
                    at * SECOND,
                    if at == -100 { 900.0 } else { 0.5 * at as f64 },
                )
            })
            .to_vec(),
        ..Held::default()
    };
    for (limit, direction, expected) in [
        (29.9, Direction::Up, Verdict::True),
        (30.1, Direction::Up, Verdict::Between),
        (60.1, Direction::Up, Verdict::Clear),
        (29.9, Direction::Either, Verdict::True),
        (29.9, Direction::Down, Verdict::Clear),
    ] {
        let verdict = uneven.judge(&rate(limit, direction));
        assert_eq!(verdict, Ok(expected), "{limit} {direction:?}");
    }
    let falling: Vec<f64> = (0..11).map(|at| 1e9 - f64::from(at)).collect();
    let falling = Held::seconds(&falling);
    assert_eq!(
        falling.judge(&rate(59.9, Direction::Down)),
        Ok(Verdict::True)
    );
    assert_eq!(
        falling.judge(&rate(60.1, Direction::Down)),
        Ok(Verdict::Between)
    );
}

#[test]
fn a_rate_says_nothing_until_the_readings_span_half_its_time() {
    let rate = Condition::Rate {
        limit: 1.0,
        clear: 1.0,
        per: secs(1),
        over: secs(10),
        direction: Direction::Either,
    };
    let steep =
        |count: u8| Held::seconds(&(0..count).map(|n| 5.0 * f64::from(n)).collect::<Vec<_>>());
    assert_eq!(steep(1).judge(&rate), Ok(Verdict::Nothing));
    assert_eq!(steep(5).judge(&rate), Ok(Verdict::Nothing));
    assert_eq!(steep(6).judge(&rate), Ok(Verdict::True));
}

#[test]
fn a_deviation_leaves_the_reading_itself_out_and_needs_enough_others() {
    let deviation = |limit, by, direction| Condition::Deviation {
        limit,
        clear: 1.0,
        over: secs(100),
        least: 8,
        by,
        direction,
    };
    // Mean 5, deviation 2.
    let usual = [2.0, 4.0, 4.0, 4.0, 5.0, 5.0, 7.0, 9.0];
    let then = |value: f64| Held::seconds(&[&usual[..], &[value]].concat());
    use Direction::{Down, Either, Up};
    for (value, limit, by, direction, expected) in [
        (11.1, 3.0, 0.0, Either, Verdict::True),
        (11.0, 3.0, 0.0, Either, Verdict::Between),
        (7.1, 3.0, 0.0, Either, Verdict::Between),
        (7.0, 3.0, 0.0, Either, Verdict::Clear),
        (-1.1, 3.0, 0.0, Either, Verdict::True),
        (-1.1, 3.0, 0.0, Up, Verdict::Clear),
        (-1.1, 3.0, 0.0, Down, Verdict::True),
        (11.1, 3.0, 6.2, Up, Verdict::Clear),
        (11.1, 3.0, 6.0, Up, Verdict::True),
    ] {
        let verdict = then(value).judge(&deviation(limit, by, direction));
        assert_eq!(verdict, Ok(expected), "{value} {limit} {by} {direction:?}");
    }
    let few = Held::seconds(&[2.0, 4.0, 4.0, 4.0, 5.0, 5.0, 7.0, 99.0]);
    assert_eq!(
        few.judge(&deviation(3.0, 0.0, Either)),
        Ok(Verdict::Nothing)
    );
    // What never changed deviates with its first other value.
    let still = Held::seconds(&[4.0; 9]);
    assert_eq!(
        still.judge(&deviation(3.0, 0.0, Either)),
        Ok(Verdict::Clear)
    );
    let mut stirred = still;
    stirred.points.last_mut().unwrap().1 = 4.1;
    assert_eq!(
        stirred.judge(&deviation(3.0, 0.0, Either)),
        Ok(Verdict::True)
    );
}

#[test]
fn a_percentile_is_that_of_nearest_rank_without_the_reading_itself() {
    let percentile = |side, limit, clear, by| Condition::Percentile {
        side,
        limit,
        clear,
        over: secs(100),
        least: 10,
        by,
    };
    let then = |value: f64| {
        let mut values: Vec<f64> = (1..=10).map(f64::from).collect();
        values.push(value);
        Held::seconds(&values)
    };
    use Side::{Above, Below};
    for (value, side, limit, clear, by, expected) in [
        // The 90th of 1 to 10 is 9, the 50th is 5, the 91st is 10, the 0th is 1.
        (9.1, Above, 90.0, 50.0, 0.0, Verdict::True),
        (9.0, Above, 90.0, 50.0, 0.0, Verdict::Between),
        (5.0, Above, 90.0, 50.0, 0.0, Verdict::Clear),
        (10.0, Above, 91.0, 91.0, 0.0, Verdict::Clear),
        (10.1, Above, 100.0, 100.0, 0.0, Verdict::True),
        (11.0, Above, 90.0, 90.0, 2.0, Verdict::Clear),
        (11.1, Above, 90.0, 90.0, 2.0, Verdict::True),
        (0.9, Below, 0.0, 0.0, 0.0, Verdict::True),
        (1.0, Below, 10.0, 10.0, 0.0, Verdict::Clear),
        (1.9, Below, 20.0, 40.0, 0.0, Verdict::True),
        (2.0, Below, 20.0, 40.0, 0.0, Verdict::Between),
        (4.0, Below, 20.0, 40.0, 0.0, Verdict::Clear),
    ] {
        let verdict = then(value).judge(&percentile(side, limit, clear, by));
        assert_eq!(verdict, Ok(expected), "{value} {side:?} {limit} {by}");
    }
    let mut few = then(99.0);
    few.points.remove(0);
    let verdict = few.judge(&percentile(Above, 90.0, 90.0, 0.0));
    assert_eq!(verdict, Ok(Verdict::Nothing));
}

#[test]
fn two_series_are_compared_by_their_difference() {
    let versus = |side, max_age| Condition::Versus {
        side,
        other: setpoint(),
        by: 2.0,
        clear_by: 1.0,
        max_age,
    };
    let held = |value, time| Held::seconds(&[value]).with("setpoint", time, Value::Float(20.0));
    use Side::{Above, Below};
    for (value, side, expected) in [
        (22.1, Above, Verdict::True),
        (22.0, Above, Verdict::Between),
        (21.0, Above, Verdict::Clear),
        (17.9, Below, Verdict::True),
        (18.0, Below, Verdict::Between),
        (19.0, Below, Verdict::Clear),
    ] {
        let verdict = held(value, -9_999).judge(&versus(side, None));
        assert_eq!(verdict, Ok(expected), "{value} {side:?}");
    }
    let fresh = versus(Above, Some(secs(60)));
    for (time, expected) in [
        (-60, Ok(Verdict::True)),
        (-61, Err(Undecided::TooOld(setpoint()))),
        (60, Ok(Verdict::True)),
        (61, Err(Undecided::TooOld(setpoint()))),
    ] {
        assert_eq!(held(30.0, time).judge(&fresh), expected, "{time}");
    }
    let mut retained = held(30.0, 0);
    retained.others.get_mut("setpoint").unwrap().retained = true;
    assert_eq!(retained.judge(&fresh), Err(Undecided::TooOld(setpoint())));
    assert_eq!(retained.judge(&versus(Above, None)), Ok(Verdict::True));
    let missing = Err(Undecided::Missing(setpoint()));
    assert_eq!(Held::seconds(&[30.0]).judge(&fresh), missing);
    let text = Held::seconds(&[30.0]).with("setpoint", 0, Value::Text("off".into()));
    assert_eq!(text.judge(&fresh), missing);
}

/// Judges readings one after the other, as `(second, value)`.
fn judged(condition: &Condition, readings: &[(i64, f64)]) -> Vec<Verdict> {
    let mut memory = None;
    readings
        .iter()
        .map(|(time, value)| {
            let (value, time) = (Value::Float(*value), Timestamp(time * SECOND));
            judge(
                condition,
                &mut memory,
                &value,
                &Look::new(&Held::default(), time),
            )
            .unwrap()
        })
        .collect()
}

#[test]
fn a_value_is_stuck_while_readings_say_the_same_for_long_enough() {
    use Verdict::{Between, Clear, True};
    let stuck = Condition::Stuck {
        span: secs(10),
        tolerance: 0.5,
        least: 3,
    };
    for (name, readings, expected) in [
        (
            "what was before is not known, until the value changes",
            &[
                (0, 5.0),
                (5, 5.2),
                (9, 5.0),
                (10, 4.5),
                (11, 5.6),
                (12, 5.6),
            ][..],
            &[Between, Between, Between, True, Clear, Clear][..],
        ),
        (
            "creeping is measured from the first value",
            &[
                (0, 9.0),
                (1, 5.0),
                (4, 5.4),
                (8, 5.5),
                (12, 5.6),
                (16, 5.9),
                (22, 6.1),
            ],
            &[Between, Clear, Clear, Clear, Clear, Clear, True],
        ),
        (
            "two readings are too few",
            &[(0, 9.0), (1, 5.0), (11, 5.0), (12, 5.0)],
            &[Between, Clear, Clear, True],
        ),
        (
            "silence is not the same value, and ends nothing",
            &[
                (0, 9.0),
                (1, 5.0),
                (6, 5.0),
                (11, 5.0),
                (22, 5.0),
                (27, 5.0),
                (32, 5.0),
                (33, 9.0),
            ],
            &[Between, Clear, Clear, True, Between, Between, True, Clear],
        ),
        (
            "a time that is taken back begins anew",
            &[
                (20, 9.0),
                (21, 5.0),
                (26, 5.0),
                (0, 5.0),
                (5, 5.0),
                (10, 5.0),
            ],
            &[Between, Clear, Clear, Between, Between, True],
        ),
    ] {
        assert_eq!(judged(&stuck, readings), expected, "{name}");
    }
}

#[test]
fn texts_and_booleans_get_stuck_too() {
    let stuck = Condition::Stuck {
        span: secs(2),
        tolerance: 0.0,
        least: 2,
    };
    for value in [Value::Text("ok".into()), Value::Bool(true)] {
        let mut memory = None;
        for (time, expected) in [(0, Verdict::Between), (2, Verdict::True)] {
            let time = Timestamp(time * SECOND);
            let verdict = judge(
                &stuck,
                &mut memory,
                &value,
                &Look::new(&Held::default(), time),
            );
            assert_eq!(verdict, Ok(expected), "{value:?}");
        }
    }
}

fn count(counted: Counted) -> Condition {
    Condition::Count {
        each: Box::new(Condition::Above {
            limit: 0.5,
            clear: 0.1,
        }),
        more_than: 2,
        over: secs(10),
        counted,
    }
}

#[test]
fn events_are_counted_in_the_last_stretch_of_measured_time() {
    use Verdict::{Between, Clear, True};
    for (name, counted, readings, expected) in [
        (
            "each reading that is true counts, and leaves after its time",
            Counted::Readings,
            &[
                (0, 1.0),
                (1, 1.0),
                (2, 0.0),
                (9, 1.0),
                (10, 0.0),
                (11, 1.0),
                (12, 1.0),
            ][..],
            &[Between, Between, Between, True, Clear, Clear, True][..],
        ),
        (
            "what was before the first reading may matter until it can't",
            Counted::Readings,
            &[(0, 0.0), (9, 0.0), (10, 0.0)],
            &[Between, Between, Clear],
        ),
        (
            "only beginnings count, and between is no end",
            Counted::Beginnings,
            &[
                (0, 1.0),
                (1, 0.0),
                (2, 1.0),
                (3, 1.0),
                (4, 0.3),
                (5, 1.0),
                (6, 0.0),
                (7, 1.0),
                (8, 0.0),
                (9, 1.0),
            ],
            &[
                Between, Between, Between, Between, Between, Between, Between, Between, Between,
                True,
            ],
        ),
        (
            "a time that is taken back takes the events ahead with it",
            Counted::Readings,
            &[(100, 1.0), (101, 1.0), (50, 1.0), (51, 1.0), (52, 1.0)],
            &[Between, Between, Between, Between, True],
        ),
    ] {
        assert_eq!(judged(&count(counted), readings), expected, "{name}");
    }
}

#[test]
fn a_memory_as_bytes_is_small_comes_back_as_it_was_and_fits_its_condition_alone() {
    let stuck = Condition::Stuck {
        span: secs(10),
        tolerance: 0.0,
        least: 2,
    };
    let often = Condition::Count {
        each: Box::new(Condition::Above {
            limit: 0.5,
            clear: 0.1,
        }),
        more_than: MAX_COUNT,
        over: secs(10_000),
        counted: Counted::Readings,
    };
    let unusual = Condition::Unusual { limit: 0.5 };
    let conditions = [stuck.clone(), often.clone(), unusual.clone()];
    let mut all = Vec::new();
    for value in [
        Value::Bool(true),
        Value::Int(i64::MIN),
        Value::Float(-0.1),
        Value::Text("zu \u{1f525}".into()),
        Value::Text("".into()),
    ] {
        all.push((&stuck, vec![value; 3]));
    }
    all.push((&often, vec![Value::Int(1); 700]));
    all.push((&often, vec![Value::Text("neither".into())]));
    for readings in [1, 20, 700] {
        let wave = (0..readings).map(|n| Value::Float(f64::from(n % 40)));
        all.push((&unusual, wave.collect()));
    }
    for (condition, values) in all {
        let mut memory = None;
        for (second, value) in (0..).zip(&values) {
            let time = Timestamp(second * 300 * SECOND);
            judge(
                condition,
                &mut memory,
                value,
                &Look::new(&Held::default(), time),
            )
            .unwrap();
        }
        let memory = *memory.unwrap();
        let bytes = memory.to_bytes();
        assert!(bytes.len() <= 4096, "{}", bytes.len());
        for other in &conditions {
            let fits = (other == condition).then_some(&memory);
            assert_eq!(Memory::from_bytes(&bytes, other).as_ref(), fits);
        }
        for (at, wrong) in [(0, 2), (1, 3)] {
            let mut bytes = bytes.clone();
            bytes[at] = wrong;
            assert_eq!(Memory::from_bytes(&bytes, condition), None);
        }
        let is_text = matches!(values[0], Value::Text(_));
        if !is_text {
            assert_eq!(
                Memory::from_bytes(&bytes[..bytes.len() - 1], condition),
                None
            );
        }
    }
    let few = count(Counted::Readings);
    let mut memory = None;
    for second in 0..10 {
        recall(&often, &mut memory, &Value::Int(1), Timestamp(second));
    }
    let bytes = memory.unwrap().to_bytes();
    assert_eq!(Memory::from_bytes(&bytes, &few), None, "more than it keeps");
}

#[test]
fn what_is_remembered_goes_with_a_clock_that_jumps() {
    let stuck = Condition::Stuck {
        span: secs(10),
        tolerance: 0.0,
        least: 2,
    };
    for (condition, expected) in [
        (stuck, Verdict::True),
        (count(Counted::Readings), Verdict::True),
    ] {
        let mut memory = None;
        for time in [0, 5, 9] {
            recall(
                &condition,
                &mut memory,
                &Value::Int(1),
                Timestamp(time * SECOND),
            );
        }
        memory.as_mut().unwrap().clock_jumped(3600 * SECOND);
        // A second later by a clock that was set an hour ahead.
        let time = Timestamp((3600 + 10) * SECOND);
        let verdict = judge(
            &condition,
            &mut memory,
            &Value::Int(1),
            &Look::new(&Held::default(), time),
        );
        assert_eq!(verdict, Ok(expected), "{condition:?}");
    }
}

#[test]
fn an_expression_is_true_clear_or_between() {
    let when = |clear: Option<&str>| Condition::When {
        when: compile("value > metric('setpoint') + 2").unwrap(),
        clear: clear.map(|clear| compile(clear).unwrap()),
    };
    let held = |value| Held::seconds(&[value]).with("setpoint", 0, Value::Int(20));
    assert_eq!(held(22.5).judge(&when(None)), Ok(Verdict::True));
    assert_eq!(held(22.0).judge(&when(None)), Ok(Verdict::Clear));
    let margin = when(Some("value < metric('setpoint')"));
    assert_eq!(held(22.5).judge(&margin), Ok(Verdict::True));
    assert_eq!(held(21.0).judge(&margin), Ok(Verdict::Between));
    assert_eq!(held(19.0).judge(&margin), Ok(Verdict::Clear));
    let missing = Held::seconds(&[22.5]).judge(&margin);
    assert_eq!(missing, Err(Undecided::Missing(setpoint())));
}

#[test]
fn the_sentence_names_series_value_unit_and_what_was_asked() {
    let series = SeriesKey::parse("boiler/temperature").unwrap();
    let unit = Unit("Cel".into());
    let number = Value::Float(91.5);
    let above = Condition::Above {
        limit: 90.0,
        clear: 90.0,
    };
    for (condition, value, expected) in [
        (above.clone(), Some(&number), " is 91.5 Cel: above 90 Cel"),
        (
            Condition::NoDataFor { silence: secs(300) },
            None,
            ": nothing was received for 5 min",
        ),
        (
            Condition::Outside {
                range: (2.0, 8.5),
                clear: (3.0, 8.0),
            },
            Some(&number),
            " is 91.5 Cel: outside 2 to 8.5 Cel",
        ),
        (
            Condition::Equals {
                values: vec![Value::Text("error".into()), Value::Bool(true)],
                wanted: false,
            },
            Some(&Value::Text("ok".into())),
            " is \"ok\": not equal to \"error\" or true",
        ),
        (
            Condition::Rate {
                limit: 2.0,
                clear: 1.0,
                per: secs(60),
                over: secs(300),
                direction: Direction::Up,
            },
            Some(&number),
            " is 91.5 Cel: rising by more than 2 Cel in 1 min, over the last 5 min",
        ),
        (
            Condition::Deviation {
                limit: 3.0,
                clear: 3.0,
                over: secs(3600),
                least: 10,
                by: 0.0,
                direction: Direction::Either,
            },
            Some(&number),
            " is 91.5 Cel: more than 3 standard deviations from the mean of the last 1 h",
        ),
        (
            Condition::Percentile {
                side: Side::Above,
                limit: 99.0,
                clear: 99.0,
                over: secs(3600),
                least: 10,
                by: 1.5,
            },
            Some(&number),
            " is 91.5 Cel: more than 1.5 Cel above percentile 99 of the last 1 h",
        ),
        (
            Condition::Versus {
                side: Side::Below,
                other: setpoint(),
                by: 0.0,
                clear_by: 0.0,
                max_age: None,
            },
            Some(&number),
            " is 91.5 Cel: below setpoint",
        ),
        (
            Condition::Stuck {
                span: secs(90),
                tolerance: 0.0,
                least: 3,
            },
            Some(&Value::Bool(true)),
            " is true: the same for 90 s",
        ),
        (
            Condition::Count {
                each: Box::new(above),
                more_than: 5,
                over: secs(3600),
                counted: Counted::Readings,
            },
            Some(&number),
            " is 91.5 Cel: above 90 Cel more than 5 times in 1 h",
        ),
        (
            Condition::When {
                when: compile("value > 3").unwrap(),
                clear: None,
            },
            Some(&number),
            " is 91.5 Cel: value > 3",
        ),
    ] {
        let said = sentence(&condition, &series, value, Some(&unit));
        assert_eq!(said, format!("boiler/temperature{expected}"));
    }
}

fn any_condition() -> impl Strategy<Value = Condition> {
    let number = || -20.0..20.0_f64;
    let range = || (number(), 0.0..20.0_f64).prop_map(|(low, wide)| (low, low + wide));
    let margin = || 0.0..5.0_f64;
    prop_oneof![
        (number(), margin()).prop_map(|(limit, by)| Condition::Above {
            limit,
            clear: limit - by
        }),
        (number(), margin()).prop_map(|(limit, by)| Condition::Below {
            limit,
            clear: limit + by
        }),
        (range(), 0.0..0.5_f64).prop_map(|(range, part)| {
            let by = (range.1 - range.0) * part;
            Condition::Outside {
                range,
                clear: (range.0 + by, range.1 - by),
            }
        }),
        (range(), margin()).prop_map(|(range, by)| Condition::Inside {
            range,
            clear: (range.0 - by, range.1 + by)
        }),
    ]
}

proptest! {
    #[test]
    fn no_number_is_true_and_clear_at_once_and_a_step_over_the_margin_is_needed(
        condition in any_condition(),
        numbers in prop::collection::vec(-40.0..40.0_f64, 2..40),
    ) {
        // A condition with the same limits and no margin is true exactly where this one is.
        let without = match condition.clone() {
            Condition::Above { limit, .. } => Condition::Above { limit, clear: limit },
            Condition::Below { limit, .. } => Condition::Below { limit, clear: limit },
            Condition::Outside { range, .. } => Condition::Outside { range, clear: range },
            Condition::Inside { range, .. } => Condition::Inside { range, clear: range },
            other => other,
        };
        for number in numbers {
            let value = Value::Float(number);
            let (with, plain) = (single(&condition, &value), single(&without, &value));
            prop_assert_ne!(plain, Verdict::Between);
            prop_assert_eq!(with == Verdict::True, plain == Verdict::True);
            if with == Verdict::Clear {
                prop_assert_eq!(plain, Verdict::Clear);
            }
        }
    }

    #[test]
    fn a_memory_that_was_replayed_equals_the_one_that_lived(
        stuck in any::<bool>(),
        beginnings in any::<bool>(),
        readings in prop::collection::vec((-3_i64..20, prop_oneof![Just(0.0), Just(0.3), Just(1.0)]), 1..60),
        cut in any::<prop::sample::Index>(),
        jump in prop::option::of(-100_i64..100),
    ) {
        let condition = if stuck {
            Condition::Stuck { span: secs(10), tolerance: 0.4, least: 3 }
        } else {
            count(if beginnings { Counted::Beginnings } else { Counted::Readings })
        };
        let cut = cut.index(readings.len());
        let mut now = 1_000;
        let mut timed = Vec::new();
        for (step, value) in readings {
            now += step;
            timed.push((Value::Float(value), Timestamp(now * SECOND)));
        }
        // One life judges all; the other is restarted at the cut, and recalls what was before.
        let (mut lived, mut replayed) = (None, None);
        for (at, (value, time)) in timed.iter().enumerate() {
            let one = judge(&condition, &mut lived, value, &Look::new(&Held::default(), *time));
            if at < cut {
                recall(&condition, &mut replayed, value, *time);
            } else {
                let other = judge(&condition, &mut replayed, value, &Look::new(&Held::default(), *time));
                prop_assert_eq!(one, other);
            }
            if let (Some(by), true) = (jump, at == cut / 2) {
                for memory in [&mut lived, &mut replayed] {
                    memory.as_mut().unwrap().clock_jumped(by * SECOND);
                }
            }
            prop_assert_eq!(&lived, &replayed);
        }
    }

    #[test]
    fn a_count_is_what_counting_says(
        readings in prop::collection::vec((0_i64..6, any::<bool>()), 1..80),
    ) {
        let mut now = 0;
        let mut timed = Vec::new();
        for (step, is_true) in readings {
            now += step;
            timed.push((now, f64::from(u8::from(is_true))));
        }
        let verdicts = judged(&count(Counted::Readings), &timed);
        for (at, (now, _)) in timed.iter().enumerate() {
            let counted = timed[..=at]
                .iter()
                .filter(|(time, value)| *time > now - 10 && *value > 0.5)
                .count();
            prop_assert_eq!(verdicts[at] == Verdict::True, counted > 2);
        }
    }

    #[test]
    fn a_percentile_is_what_sorting_says(
        numbers in prop::collection::vec(-50_i32..50, 2..40),
        newest in -60_i32..60,
        percentile in 0.0..=100.0_f64,
    ) {
        let mut values: Vec<f64> = numbers.iter().map(|n| f64::from(*n)).collect();
        let mut sorted = values.clone();
        sorted.sort_unstable_by(f64::total_cmp);
        let place = (percentile / 100.0 * sorted.len() as f64).ceil().max(1.0) as usize;
        let border = sorted[place - 1];
        values.push(f64::from(newest));
        let held = Held::seconds(&values);
        for (side, beyond) in [
            (Side::Above, f64::from(newest) > border),
            (Side::Below, f64::from(newest) < border),
        ] {
            let condition = Condition::Percentile {
                side, limit: percentile, clear: percentile, over: secs(1_000), least: 1, by: 0.0,
            };
            let expected = if beyond { Verdict::True } else { Verdict::Clear };
            prop_assert_eq!(held.judge(&condition), Ok(expected));
        }
    }
}

#[test]
fn a_score_is_said_with_what_is_usual() {
    use super::sentence::score;
    use crate::alert::anomaly::Score;
    let said = |expected, unit: Option<&str>| {
        let found = Score {
            score: 0.872,
            expected,
            learning: false,
        };
        score(found, unit.map(|unit| Unit(unit.into())).as_ref())
    };
    assert_eq!(
        said(Some((18.512, 24.049)), Some("Cel")),
        "score 0.87, usual are 18.51 to 24.05 Cel"
    );
    assert_eq!(
        said(Some((101_325.4, 102_400.0)), None),
        "score 0.87, usual are 101325 to 102400"
    );
    assert_eq!(said(None, Some("Cel")), "score 0.87");
    assert_eq!(
        said(Some((1.0, 1.0)), None),
        "score 0.87, usual are 1.000000 to 1.000000"
    );
}
