//! What a reading would change, said before it is durable and so before any rule has seen it: whether an alert would begin or end with it.
//!
//! It is a guess that costs little, for who decides how soon something is committed; nothing that is true depends on it. It knows the conditions
//! that one value decides (limits, ranges, equality), and silence, which any reading ends. Whether such a condition holds is
//! followed from reading to reading, and set right by the machine whenever an alert of the series changes ([`Machine::foretell`]).
//!
//! It does not know conditions that look back or at other series, nor hours, dependence, `min_on` or readings that are too late to be judged. A rule
//! with `for` begins by waiting, and one with `keep_firing_for` ends so: nothing of that hangs on when a reading is committed.
//!
//! Bounds: a test for each rule, and 8 bytes for each pair of rule and series that it knows. A reading of a series that no such rule is
//! about costs one look-up.

use std::{collections::HashMap, time::Duration};

#[cfg(doc)]
use super::Machine;
use super::{
    Condition, Rule,
    active::is_silence,
    condition::{Verdict, single},
};
use crate::model::{News, Quality, Reading, SeriesKey};

/// A series that was in the news this long ago is so again.
const AGAIN: Duration = Duration::from_secs(60);

/// What rules hold of series.
#[derive(Debug, Default)]
pub struct Foresight {
    /// By the number of the rule; none for what it does not know.
    tests: Vec<Option<Test>>,
    series: HashMap<SeriesKey, Foreseen, foldhash::fast::RandomState>,
}

#[derive(Debug)]
struct Test {
    /// None: silence, which a reading can only end.
    condition: Option<Condition>,
    /// An alert begins with the reading, and not by waiting.
    begins: bool,
    /// The same for its end.
    ends: bool,
}

#[derive(Debug)]
struct Foreseen {
    /// When it was in the news last.
    told: Option<Duration>,
    slots: Box<[Known]>,
}

#[derive(Debug)]
struct Known {
    rule: u32,
    holds: Holds,
}

/// Whether a condition holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Holds {
    /// No.
    No,
    /// By what was read since the machine said something.
    Seen,
    /// The machine has an alert of it that fires, or that a person closed.
    Fires,
}

impl Test {
    fn of(rule: &Rule) -> Option<Self> {
        let condition = match is_silence(rule) {
            true => None,
            false => Some(rule.condition.clone()).filter(Condition::is_single),
        };
        let known = is_silence(rule) || condition.is_some();
        known.then(|| Self {
            condition,
            begins: rule.hold.is_zero(),
            ends: rule.life.keep_firing_for.is_zero(),
        })
    }
}

impl Known {
    /// Follows a reading; whether it is news.
    fn sees(&mut self, test: &Test, reading: &Reading) -> bool {
        let verdict = match &test.condition {
            Some(condition) => single(condition, &reading.value),
            None => Verdict::Clear,
        };
        let (holds, is_news) = match (self.holds, verdict) {
            (Holds::No, Verdict::True) => (Holds::Seen, test.begins),
            // What only waited to begin is over, and nobody was told.
            (Holds::Seen, Verdict::Clear) => (Holds::No, test.begins && test.ends),
            (Holds::Fires, Verdict::Clear) => (Holds::No, test.ends),
            (holds, _) => (holds, false),
        };
        self.holds = holds;
        is_news
    }
}

impl Foresight {
    /// Follows readings, in their order; whether one of them would begin or end an alert. `now` is any time that only goes forward.
    pub fn news(&mut self, readings: &[Reading], now: Duration) -> News {
        if self.series.is_empty() {
            return News::None;
        }
        let each = readings.iter().map(|reading| self.reading(reading, now));
        each.max().unwrap_or_default()
    }

    fn reading(&mut self, reading: &Reading, now: Duration) -> News {
        if reading.retained || reading.quality == Quality::Bad {
            return News::None;
        }
        let Some(foreseen) = self.series.get_mut(&reading.series) else {
            return News::None;
        };
        let mut is_news = false;
        for known in &mut foreseen.slots {
            if let Some(Some(test)) = self.tests.get(known.rule as usize) {
                is_news |= known.sees(test, reading);
            }
        }
        if !is_news {
            return News::None;
        }
        let before = foreseen.told.replace(now);
        if before.is_some_and(|before| now.saturating_sub(before) < AGAIN) {
            News::Again
        } else {
            News::Fresh
        }
    }

    /// Takes other rules, by number; nothing is known of any series then.
    pub(super) fn set_rules<'a>(&mut self, rules: impl Iterator<Item = &'a Rule>) {
        self.tests = rules.map(Test::of).collect();
        self.series.clear();
    }

    /// What the machine holds of a series, by the number of the rule.
    pub(super) fn set(&mut self, series: &SeriesKey, slots: impl Iterator<Item = (u32, Holds)>) {
        let tests = &self.tests;
        let is_known = |rule: u32| matches!(tests.get(rule as usize), Some(Some(_)));
        let slots: Box<[Known]> = slots
            .filter(|(rule, _)| is_known(*rule))
            .map(|(rule, holds)| Known { rule, holds })
            .collect();
        match self.series.get_mut(series) {
            Some(foreseen) => foreseen.slots = slots,
            None if slots.is_empty() => {}
            None => {
                let foreseen = Foreseen { told: None, slots };
                self.series.insert(series.clone(), foreseen);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;
    use crate::{
        alert::{Life, Severity},
        model::{Timestamp, Value},
    };

    fn rule(condition: Condition) -> Rule {
        Rule {
            name: "r".into(),
            series: "a/t".into(),
            matching: BTreeMap::new(),
            condition,
            hold: Duration::ZERO,
            severity: Severity::Warning,
            summary: String::new(),
            webhooks: Vec::new(),
            labels: BTreeMap::new(),
            life: Life::default(),
        }
    }

    fn hot() -> Condition {
        Condition::Above {
            limit: 80.0,
            clear: 70.0,
        }
    }

    fn key() -> SeriesKey {
        SeriesKey::parse("a/t").unwrap()
    }

    fn reading(value: Value) -> Reading {
        Reading {
            series: key(),
            value,
            unit: None,
            quality: Quality::Good,
            time: Timestamp(0),
            received: Timestamp(0),
            retained: false,
        }
    }

    fn of(rules: &[Rule], holds: Holds) -> Foresight {
        let mut foresight = Foresight::default();
        foresight.set_rules(rules.iter());
        foresight.set(&key(), (0..).zip(rules).map(|(rule, _)| (rule, holds)));
        foresight
    }

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    /// Which of these values are news, a minute apart.
    fn news(foresight: &mut Foresight, values: &[f64]) -> Vec<bool> {
        let news = (0..).zip(values).map(|(nth, value)| {
            let reading = reading(Value::Float(*value));
            foresight.news(&[reading], at(60 * nth)) != News::None
        });
        news.collect()
    }

    #[test]
    fn news_is_what_begins_or_ends_an_alert_and_nothing_between() {
        let mut foresight = of(&[rule(hot())], Holds::No);
        let values = [20.0, 90.0, 95.0, 75.0, 90.0, 70.0, 60.0, 75.0, 81.0];
        assert_eq!(
            news(&mut foresight, &values),
            [false, true, false, false, false, true, false, false, true]
        );
        let inside = Condition::Inside {
            range: (1.0, 2.0),
            clear: (0.0, 3.0),
        };
        let mut foresight = of(&[rule(inside)], Holds::No);
        assert_eq!(
            news(&mut foresight, &[5.0, 1.5, 2.5, 3.5]),
            [false, true, false, true]
        );
        let door = Condition::Equals {
            values: vec![Value::Text("open".into())],
            wanted: true,
        };
        let mut foresight = of(&[rule(door)], Holds::No);
        let texts = ["shut", "open", "open", "shut"].map(|text| reading(Value::Text(text.into())));
        let each = texts.map(|text| foresight.news(&[text], at(0)));
        assert_eq!(
            each,
            [News::None, News::Fresh, News::None, News::Again],
            "a text"
        );
    }

    #[test]
    fn what_the_machine_says_goes_before_what_was_guessed() {
        let mut foresight = of(&[rule(hot())], Holds::Fires);
        assert_eq!(
            news(&mut foresight, &[90.0, 60.0, 60.0]),
            [false, true, false]
        );
        foresight.set(&key(), [(0, Holds::Fires)].into_iter());
        assert_eq!(news(&mut foresight, &[60.0]), [true]);
        foresight.set(&key(), std::iter::empty());
        assert_eq!(news(&mut foresight, &[90.0]), [false], "no rule about it");
        foresight.set_rules([rule(hot())].iter());
        assert_eq!(news(&mut foresight, &[90.0]), [false], "not known yet");
    }

    #[test]
    fn any_reading_ends_a_silence_that_fires_and_none_begins_one() {
        let silent = Condition::NoDataFor { silence: at(60) };
        let mut foresight = of(&[rule(silent.clone())], Holds::No);
        assert_eq!(news(&mut foresight, &[1.0, 2.0]), [false, false]);
        let mut foresight = of(&[rule(silent)], Holds::Fires);
        assert_eq!(news(&mut foresight, &[1.0, 2.0]), [true, false]);
    }

    #[test]
    fn what_begins_or_ends_by_waiting_is_no_news() {
        let mut waits = rule(hot());
        waits.hold = at(60);
        let mut foresight = of(&[waits.clone()], Holds::No);
        assert_eq!(
            news(&mut foresight, &[90.0, 60.0]),
            [false, false],
            "it only waited"
        );
        let mut foresight = of(&[waits], Holds::Fires);
        assert_eq!(news(&mut foresight, &[90.0, 60.0]), [false, true]);
        let mut keeps = rule(hot());
        keeps.life.keep_firing_for = at(60);
        let mut foresight = of(&[keeps], Holds::No);
        assert_eq!(news(&mut foresight, &[90.0, 60.0]), [true, false]);
    }

    #[test]
    fn what_looks_back_is_not_known_and_bad_and_retained_readings_say_nothing() {
        let change = Condition::ChangeOver {
            limit: 1.0,
            over: at(60),
        };
        let mut foresight = of(&[rule(change)], Holds::No);
        assert!(
            foresight.series.is_empty(),
            "so it costs nothing for this series"
        );
        assert_eq!(news(&mut foresight, &[1.0, 90.0]), [false, false]);
        let mut foresight = of(&[rule(hot())], Holds::No);
        let mut hot = reading(Value::Float(90.0));
        hot.quality = Quality::Bad;
        assert_eq!(foresight.news(&[hot.clone()], at(0)), News::None);
        hot.quality = Quality::Good;
        hot.retained = true;
        assert_eq!(foresight.news(&[hot], at(0)), News::None);
    }

    #[test]
    fn a_series_that_is_in_the_news_all_the_time_is_told_from_one_that_was_quiet() {
        let mut foresight = of(&[rule(hot())], Holds::No);
        let mut flip = |hot: bool, seconds| {
            let value = if hot { 90.0 } else { 60.0 };
            foresight.news(&[reading(Value::Float(value))], at(seconds))
        };
        assert_eq!(flip(true, 0), News::Fresh);
        assert_eq!(flip(false, 59), News::Again);
        assert_eq!(flip(true, 118), News::Again, "counted from the last");
        assert_eq!(flip(false, 178), News::Fresh);
    }

    proptest! {
        /// Whatever is read, news is exactly what flips a condition: as many beginnings as ends, or one more.
        #[test]
        fn news_comes_in_turns(values in prop::collection::vec(60.0..100.0_f64, 0..60)) {
            let mut foresight = of(&[rule(hot())], Holds::No);
            let mut holds = false;
            for value in values {
                let flips = if holds { value <= 70.0 } else { value > 80.0 };
                let said = foresight.news(&[reading(Value::Float(value))], at(0));
                prop_assert_eq!(said != News::None, flips);
                holds ^= flips;
            }
        }
    }
}
