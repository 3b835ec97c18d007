//! The ids of alerts: made from the rule (its name and what it asks), the series and the time of beginning, and from nothing else.
//!
//! `<rule>-<alert>`: eight hexadecimal digits of what the rule asks, so that an alert of a rule that was changed since is known
//! as such, and 24 of the whole. FNV-1a with 128 bits (<http://www.isthe.com/chongo/tech/comp/fnv/>): it needs no key and is the same in
//! every version and on every machine, which ids on disk must be.

use smol_str::{SmolStr, format_smolstr};

use crate::{
    alert::{Condition, Counted, Direction, Expression, Of, Rule, Side},
    model::{Timestamp, Value},
};

const OFFSET: u128 = 0x6c62_272e_07bb_0142_62b8_2175_6295_c58d;
const PRIME: u128 = 0x0000_0000_0100_0000_0000_0000_0000_013b;

struct Fnv(u128);

impl Fnv {
    fn bytes(&mut self, bytes: &[u8]) -> &mut Self {
        for byte in bytes {
            self.0 = (self.0 ^ u128::from(*byte)).wrapping_mul(PRIME);
        }
        self
    }

    /// With its length, so that `a`, `bc` and `ab`, `c` differ.
    fn text(&mut self, text: &str) -> &mut Self {
        self.bytes(&(text.len() as u64).to_le_bytes())
            .bytes(text.as_bytes())
    }

    /// A kind and its numbers. The first four kinds are on disk since the first version: two numbers each.
    fn condition(&mut self, condition: &Condition) -> &mut Self {
        let number = |number: f64| u128::from(number.to_bits());
        let (kind, numbers): (u8, &[u128]) = match condition {
            Condition::Above { limit, clear } => (0, &[number(*limit), number(*clear)]),
            Condition::Below { limit, clear } => (1, &[number(*limit), number(*clear)]),
            Condition::ChangeOver { limit, over } => (2, &[number(*limit), over.as_nanos()]),
            Condition::NoDataFor { silence } => (3, &[silence.as_nanos(), 0]),
            Condition::Outside { range, clear } => (4, &[*range, *clear].map(number_pair)),
            Condition::Inside { range, clear } => (5, &[*range, *clear].map(number_pair)),
            Condition::Equals { values, wanted } => {
                self.bytes(&[6, u8::from(*wanted)]);
                for value in values {
                    match value {
                        Value::Bool(value) => self.bytes(&[0, u8::from(*value)]),
                        Value::Int(value) => self.bytes(&[1]).bytes(&value.to_le_bytes()),
                        Value::Float(value) => {
                            self.bytes(&[2]).bytes(&value.to_bits().to_le_bytes())
                        }
                        Value::Text(value) => self.bytes(&[3]).text(value),
                    };
                }
                return self;
            }
            Condition::Rate {
                limit,
                clear,
                per,
                over,
                direction,
            } => (
                7,
                &[
                    number(*limit),
                    number(*clear),
                    per.as_nanos(),
                    over.as_nanos(),
                    way(*direction),
                ],
            ),
            Condition::Deviation {
                limit,
                clear,
                over,
                least,
                by,
                direction,
            } => (
                8,
                &[
                    number(*limit),
                    number(*clear),
                    over.as_nanos(),
                    u128::from(*least),
                    number(*by),
                    way(*direction),
                ],
            ),
            Condition::Percentile {
                side,
                limit,
                clear,
                over,
                least,
                by,
            } => (
                9,
                &[
                    side_number(*side),
                    number(*limit),
                    number(*clear),
                    over.as_nanos(),
                    u128::from(*least),
                    number(*by),
                ],
            ),
            Condition::Versus {
                side,
                other,
                by,
                clear_by,
                max_age,
            } => {
                match other {
                    Of::Itself => {}
                    Of::Metric(metric) => {
                        self.bytes(&[0]).text(&metric.0);
                    }
                    Of::Series(key) => {
                        self.bytes(&[1]).text(&key.to_string());
                    }
                }
                (
                    10,
                    &[
                        side_number(*side),
                        number(*by),
                        number(*clear_by),
                        max_age.map_or(u128::MAX, |age| age.as_nanos()),
                    ],
                )
            }
            Condition::Stuck {
                span,
                tolerance,
                least,
            } => (
                11,
                &[span.as_nanos(), number(*tolerance), u128::from(*least)],
            ),
            Condition::Count {
                each,
                more_than,
                over,
                counted,
            } => {
                self.condition(each);
                let counted = match counted {
                    Counted::Readings => 0,
                    Counted::Beginnings => 1,
                };
                (12, &[u128::from(*more_than), over.as_nanos(), counted])
            }
            Condition::Overdue => (15, &[]),
            Condition::Unusual { limit } => (14, &[number(*limit)]),
            Condition::When { when, clear } => {
                self.bytes(&[13]).text(when.text());
                return self.text(clear.as_ref().map_or("", Expression::text));
            }
        };
        self.bytes(&[kind]);
        for number in numbers {
            self.bytes(&number.to_le_bytes());
        }
        self
    }
}

fn number_pair(pair: (f64, f64)) -> u128 {
    u128::from(pair.0.to_bits()) << 64 | u128::from(pair.1.to_bits())
}

const fn way(direction: Direction) -> u128 {
    match direction {
        Direction::Up => 0,
        Direction::Down => 1,
        Direction::Either => 2,
    }
}

const fn side_number(side: Side) -> u128 {
    match side {
        Side::Above => 0,
        Side::Below => 1,
    }
}

/// What a rule asks, as 32 bits: its series, condition and hold; not its words, labels or webhooks.
pub(crate) fn fingerprint(rule: &Rule) -> u32 {
    let mut fnv = Fnv(OFFSET);
    fnv.text(&rule.series);
    for (label, pattern) in &rule.matching {
        fnv.text(label).text(pattern);
    }
    fnv.condition(&rule.condition)
        .bytes(&rule.hold.as_nanos().to_le_bytes());
    #[expect(clippy::cast_possible_truncation, reason = "folded first")]
    let folded = (fnv.0 ^ (fnv.0 >> 64) ^ (fnv.0 >> 32)) as u32;
    folded
}

/// All that a rule says, its words included, as eight hexadecimal digits: another rule under the same name is another version of it.
pub(crate) fn version(rule: &Rule) -> SmolStr {
    let mut fnv = Fnv(OFFSET);
    fnv.text(&format!("{rule:?}"));
    let folded = fnv.0 ^ (fnv.0 >> 64) ^ (fnv.0 >> 32);
    format_smolstr!("{:08x}", folded & 0xffff_ffff)
}

/// The id of the alert of a rule on a series that began then.
pub(crate) fn id(fingerprint: u32, rule: &str, series: &str, began: Timestamp) -> SmolStr {
    let mut fnv = Fnv(OFFSET);
    fnv.text(rule).text(series).bytes(&began.0.to_le_bytes());
    format_smolstr!("{fingerprint:08x}-{:024x}", fnv.0 >> 32)
}

/// The key of a group of a route, from the name of the route and what its alerts have in common: 24 hexadecimal digits.
pub(crate) fn group<'a>(route: &str, labels: impl Iterator<Item = (&'a str, &'a str)>) -> SmolStr {
    let mut fnv = Fnv(OFFSET);
    fnv.text(route);
    for (name, value) in labels {
        fnv.text(name).text(value);
    }
    format_smolstr!("{:024x}", fnv.0 >> 32)
}

/// The id of a message about a group, which it begins with, so that messages of one group go out in order: from all that makes it another message than any other, so that the same message made again after
/// the state file was lost has the same id. `moment` tells apart what says the same more than once.
pub(crate) fn message<'a>(
    group: &str,
    reason: &str,
    moment: i64,
    alerts: impl Iterator<Item = (&'a str, bool)>,
) -> SmolStr {
    let mut fnv = Fnv(OFFSET);
    fnv.text(group).text(reason).bytes(&moment.to_le_bytes());
    for (alert, is_over) in alerts {
        fnv.text(alert).bytes(&[u8::from(is_over)]);
    }
    format_smolstr!("{group}.{:016x}", fnv.0 >> 64)
}

/// Whether an alert with this id came from a rule that asks the same.
pub(crate) fn is_of(id: &str, fingerprint: u32) -> bool {
    id.split_once('-')
        .is_some_and(|(rule, _)| rule == format!("{fingerprint:08x}"))
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeMap, time::Duration};

    use super::*;
    use crate::{
        alert::{Life, Severity},
        model::{Metric, SeriesKey},
    };

    fn rule(limit: f64) -> Rule {
        Rule {
            name: "hot".into(),
            series: "*/temperature".into(),
            matching: BTreeMap::new(),
            condition: Condition::Above {
                limit,
                clear: limit,
            },
            hold: Duration::ZERO,
            severity: Severity::Warning,
            summary: String::new(),
            webhooks: Vec::new(),
            labels: BTreeMap::new(),
            life: Life::default(),
        }
    }

    #[test]
    fn an_id_is_the_same_for_ever() {
        // Ids are on disk: if this changes, alerts that fire over an upgrade are lost.
        assert_eq!(
            id(
                fingerprint(&rule(90.0)),
                "hot",
                "boiler/temperature",
                Timestamp(1)
            ),
            EXPECTED
        );
    }

    const EXPECTED: &str = "6b98884e-125a298c21504f0f8b59478f";

    #[test]
    fn a_rule_that_asks_something_else_is_told_apart_and_new_words_are_not() {
        let (old, new) = (fingerprint(&rule(90.0)), fingerprint(&rule(91.0)));
        let alert = id(old, "hot", "a/b", Timestamp(1));
        assert!(is_of(&alert, old) && !is_of(&alert, new));
        let mut reworded = rule(90.0);
        reworded.summary = "call the plumber".into();
        assert_eq!(fingerprint(&reworded), old);
        assert_ne!(version(&reworded), version(&rule(90.0)));
        assert_eq!(version(&rule(90.0)), version(&rule(90.0)));
    }

    #[test]
    fn every_kind_and_every_number_of_it_makes_another_fingerprint() {
        let over = Duration::from_secs(60);
        let expression = |text: &str| Expression::compile(text, &|_| None).unwrap();
        let equals = |value: Value, wanted| Condition::Equals {
            values: vec![value],
            wanted,
        };
        let rate = |direction| Condition::Rate {
            limit: 1.0,
            clear: 1.0,
            per: over,
            over,
            direction,
        };
        let deviation = |least, by| Condition::Deviation {
            limit: 1.0,
            clear: 1.0,
            over,
            least,
            by,
            direction: Direction::Up,
        };
        let percentile = |side, limit| Condition::Percentile {
            side,
            limit,
            clear: 1.0,
            over,
            least: 1,
            by: 0.0,
        };
        let versus = |other, max_age| Condition::Versus {
            side: Side::Above,
            other,
            by: 0.0,
            clear_by: 0.0,
            max_age,
        };
        let count = |more_than, counted| Condition::Count {
            each: Box::new(Condition::Above {
                limit: 1.0,
                clear: 1.0,
            }),
            more_than,
            over,
            counted,
        };
        let stuck = |tolerance| Condition::Stuck {
            span: over,
            tolerance,
            least: 3,
        };
        let outside = |high| Condition::Outside {
            range: (1.0, high),
            clear: (1.0, 2.0),
        };
        let when = |when, clear: Option<&str>| Condition::When {
            when: expression(when),
            clear: clear.map(expression),
        };
        let setpoint = || Of::Metric(Metric("a".into()));
        let conditions = [
            Condition::Above {
                limit: 1.0,
                clear: 1.0,
            },
            Condition::Below {
                limit: 1.0,
                clear: 1.0,
            },
            Condition::ChangeOver { limit: 1.0, over },
            Condition::NoDataFor { silence: over },
            outside(2.0),
            outside(3.0),
            Condition::Inside {
                range: (1.0, 2.0),
                clear: (1.0, 2.0),
            },
            equals(Value::Bool(true), true),
            equals(Value::Bool(true), false),
            equals(Value::Int(1), true),
            equals(Value::Text("1".into()), true),
            rate(Direction::Up),
            rate(Direction::Down),
            deviation(10, 0.0),
            deviation(11, 0.0),
            deviation(10, 0.5),
            percentile(Side::Above, 1.0),
            percentile(Side::Below, 1.0),
            percentile(Side::Above, 2.0),
            versus(setpoint(), None),
            versus(setpoint(), Some(over)),
            versus(Of::Series(SeriesKey::parse("a/b").unwrap()), None),
            stuck(0.0),
            stuck(0.5),
            count(1, Counted::Readings),
            count(2, Counted::Readings),
            count(1, Counted::Beginnings),
            Condition::Overdue,
            Condition::Unusual { limit: 0.5 },
            Condition::Unusual { limit: 0.6 },
            when("value > 1", None),
            when("value > 2", None),
            when("value > 1", Some("value < 0")),
        ];
        let of = |condition| Rule {
            condition,
            ..rule(1.0)
        };
        let mut prints: Vec<u32> = conditions
            .into_iter()
            .map(|condition| fingerprint(&of(condition)))
            .collect();
        let mut chosen = rule(1.0);
        chosen
            .matching
            .insert(String::from("site"), String::from("north"));
        prints.push(fingerprint(&chosen));
        let all = prints.len();
        prints.sort_unstable();
        prints.dedup();
        assert_eq!(prints.len(), all);
    }

    #[test]
    fn the_first_four_kinds_are_what_they_were() {
        // As the first version made them: alerts on disk are known by these.
        let over = Duration::from_secs(60);
        let (limit, clear) = (90.0, 80.0);
        for (condition, expected) in [
            (Condition::Above { limit, clear }, "e4e54e47"),
            (Condition::Below { limit, clear }, "b1764c9d"),
            (Condition::ChangeOver { limit, over }, "70c059b4"),
            (Condition::NoDataFor { silence: over }, "b868b79b"),
        ] {
            let rule = Rule {
                condition,
                ..rule(1.0)
            };
            assert_eq!(format!("{:08x}", fingerprint(&rule)), expected);
        }
    }
}
