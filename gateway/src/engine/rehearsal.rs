//! What rules would have made of stored readings: the engine's own core over them, in the order in which they were measured, with
//! nobody who hears of it.
//!
//! Each reading counts as if it had arrived at the moment at which it was measured, and the time between two readings passes for
//! everything that waits: for a rule that must hold for a while, for silence. How late readings came, and in which order, is not
//! stored and can't be rehearsed.

use std::{collections::BTreeSet, time::Duration};

use smol_str::SmolStr;

use super::{
    Config, Resumption, UndecidedRule,
    core::{Core, labels},
    recent::Recorder,
};
use crate::{
    alert::{Machine, Moment, Of, Rule, Transition},
    journal::{Entry, Position},
    model::{Batch, Reading, SeriesKey, SourceName, Timestamp, Unit},
    store::{Device, Point},
};

/// A core of its own, as it was never disturbed by anything else.
#[derive(Debug)]
pub struct Rehearsal {
    core: Core,
    // It begins no record, and so keeps nothing.
    recorder: Recorder,
    source: SourceName,
    from: Timestamp,
    applied: u64,
}

impl Rehearsal {
    /// Those of these series that the rules of a config are about. `devices` are as the engine knows them.
    #[must_use]
    pub fn concerned(
        config: &Config,
        devices: &[Device],
        series: Vec<SeriesKey>,
    ) -> Vec<SeriesKey> {
        let mut machine = Machine::new(config.rules.clone(), 0);
        let mut about = series;
        let mut index = 0;
        about.retain(|key| {
            let device = devices.iter().find(|device| device.id == key.device);
            let labels = device.map(labels).unwrap_or_default();
            machine.watch(index, key, &labels, Moment::default());
            index += 1;
            machine.watches(index - 1)
        });
        about
    }

    /// The series that the conditions of these rules look at from these ones, be they among them or not.
    #[must_use]
    pub fn looked_at(rules: &[Rule], from: &[SeriesKey]) -> BTreeSet<SeriesKey> {
        if from.is_empty() {
            return BTreeSet::new();
        }
        let others = rules.iter().flat_map(|rule| rule.condition.others());
        others
            .flat_map(|of| match of {
                Of::Itself => Vec::new(),
                Of::Series(key) => vec![key.clone()],
                Of::Metric(metric) => from
                    .iter()
                    .map(|key| SeriesKey {
                        device: key.device.clone(),
                        metric: metric.clone(),
                    })
                    .collect(),
            })
            .collect()
    }

    /// Begins at a time with these series, of which nothing is known yet.
    #[must_use]
    pub fn new(mut config: Config, series: &[SeriesKey], from: Timestamp) -> Self {
        config.store.max_series = series.len();
        let now = Moment {
            clock: from,
            uptime: Duration::ZERO,
        };
        let mut core = Core::new(config, Resumption::default(), now);
        for key in series {
            core.expect(key, now);
        }
        Self {
            core,
            recorder: Recorder::default(),
            source: SourceName(SmolStr::new_static("history")),
            from,
            applied: 0,
        }
    }

    /// Lets the time pass up to a point, and takes it. Points come in the order of their times; those from before the beginning come with it.
    pub fn take(&mut self, series: &SeriesKey, unit: Option<&Unit>, point: &Point) {
        self.take_as(series, unit, point, false);
    }

    /// Takes a last-known value, of which it is not known since when it holds, as it came when one asked for it.
    pub fn take_retained(&mut self, series: &SeriesKey, unit: Option<&Unit>, point: &Point) {
        self.take_as(series, unit, point, true);
    }

    fn take_as(&mut self, series: &SeriesKey, unit: Option<&Unit>, point: &Point, retained: bool) {
        let received = if retained {
            self.from
        } else {
            point.time.max(self.from)
        };
        self.wait_until(received);
        self.applied += 1;
        let reading = Reading {
            series: series.clone(),
            value: point.value.clone(),
            unit: unit.cloned(),
            quality: point.quality,
            time: if retained { received } else { point.time },
            received,
            retained,
        };
        let entry = Entry {
            position: Position(self.applied),
            batches: vec![Batch {
                source: self.source.clone(),
                readings: vec![reading],
                ..Batch::default()
            }],
        };
        let now = self.at(received);
        self.core.replay(&entry, now, &mut self.recorder);
    }

    /// Lets the time pass, and does what waiting alone makes due.
    pub fn wait_until(&mut self, time: Timestamp) {
        let until = self.at(time).uptime;
        while let Some(due) = self.core.machine.next_timer()
            && due <= until
        {
            let nanos = i64::try_from(due.as_nanos()).unwrap_or(i64::MAX);
            self.core.tick(Moment {
                clock: Timestamp(self.from.0.saturating_add(nanos)),
                uptime: due,
            });
        }
    }

    /// What changed since this was last asked, in order.
    pub fn changes(&mut self) -> Vec<Transition> {
        self.core.take_transitions()
    }

    /// The rules that could not always be decided, with how often and why.
    pub fn undecided(&self) -> impl Iterator<Item = UndecidedRule> {
        self.core.undecided()
    }

    const fn at(&self, time: Timestamp) -> Moment {
        let passed = time.0.saturating_sub(self.from.0);
        Moment {
            clock: time,
            uptime: if passed > 0 {
                Duration::from_nanos(passed.unsigned_abs())
            } else {
                Duration::ZERO
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{
        alert::{AlertState, Condition, Expression, Flapping, Of, Rule, Side},
        model::{Metric, Quality, Value},
    };

    const BEGIN: i64 = 1_800_000_000_000;

    fn rule(condition: Condition, hold_s: u64) -> Rule {
        Rule {
            hold: Duration::from_secs(hold_s),
            ..Rule::plain("r", "a*/t", condition)
        }
    }

    fn key(text: &str) -> SeriesKey {
        SeriesKey::parse(text).unwrap()
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_millis(BEGIN + second * 1_000)
    }

    fn point(second: i64, value: f64) -> Point {
        Point {
            time: at(second),
            value: Value::Float(value),
            quality: Quality::Good,
        }
    }

    fn config(rule: Rule) -> Config {
        Config {
            rules: vec![rule],
            ..Config::default()
        }
    }

    fn said(changes: Vec<Transition>) -> Vec<(AlertState, i64)> {
        let second = |t: &Transition| (t.at.as_millis() - BEGIN) / 1_000;
        changes.iter().map(|t| (t.alert.state, second(t))).collect()
    }

    #[test]
    fn only_the_series_that_the_rule_is_about_are_concerned() {
        let above = Condition::Above {
            limit: 1.0,
            clear: 1.0,
        };
        let all = ["a1/t", "b/t", "a2/x", "a2/t"].map(key).to_vec();
        let about = Rehearsal::concerned(&config(rule(above, 0)), &[], all);
        assert_eq!(about, ["a1/t", "a2/t"].map(key));
    }

    #[test]
    fn silence_is_told_when_it_would_have_been_with_no_reading_to_say_so() {
        let silent = Condition::NoDataFor {
            silence: Duration::from_secs(60),
        };
        let series = [key("a1/t")];
        let mut rehearsal = Rehearsal::new(config(rule(silent, 0)), &series, at(0));
        for second in [10, 20, 200] {
            rehearsal.take(&series[0], None, &point(second, 1.0));
        }
        rehearsal.wait_until(at(300));
        let told = said(rehearsal.changes());
        use AlertState::{Firing, Resolved};
        assert_eq!(told, [(Firing, 80), (Resolved, 200), (Firing, 260)]);
    }

    #[test]
    fn what_holds_long_enough_fires_between_two_readings_as_it_would_have() {
        let above = Condition::Above {
            limit: 30.0,
            clear: 28.0,
        };
        let series = [key("a1/t")];
        let mut rehearsal = Rehearsal::new(config(rule(above, 90)), &series, at(0));
        for (second, value) in [(0, 20.0), (60, 31.0), (120, 32.0), (180, 31.0), (240, 20.0)] {
            rehearsal.take(&series[0], None, &point(second, value));
        }
        use AlertState::{Firing, Pending, Resolved};
        let told = said(rehearsal.changes());
        assert_eq!(told, [(Pending, 60), (Firing, 150), (Resolved, 240)]);
    }

    #[test]
    fn alerts_live_in_a_rehearsal_as_their_rule_says() {
        let above = Condition::Above {
            limit: 30.0,
            clear: 30.0,
        };
        let mut kept = rule(above, 0);
        kept.life.keep_firing_for = Duration::from_secs(60);
        let series = [key("a1/t")];
        let mut rehearsal = Rehearsal::new(config(kept), &series, at(0));
        // Over for less than a minute, and then for longer.
        for (second, value) in [(0, 31.0), (50, 20.0), (100, 31.0), (150, 20.0), (220, 20.0)] {
            rehearsal.take(&series[0], None, &point(second, value));
        }
        let changes = rehearsal.changes();
        let last = changes.last().map(|t| (t.alert.state, t.at));
        assert_eq!(last, Some((AlertState::Resolved, at(210))));
        let fired = changes.iter().filter(|t| t.alert.is_news()).count();
        assert_eq!(fired, 2, "it fired once and ended once");
    }

    proptest! {
        /// The same readings, sent to a core that runs as the gateway's own does: it wakes when something is due.
        #[test]
        fn a_rehearsal_says_what_was_said_live(
            values in proptest::collection::vec((0u8..4, 1i64..40, 0i32..60), 1..120),
            kind in 0u8..6,
            depends in any::<bool>(),
            hold in 0u64..60,
            (keep, min_on, min_off) in (0u64..90, 0u64..90, 0u64..90),
            flaps in any::<bool>(),
            at_most in 0u64..200,
        ) {
            let condition = match kind {
                0 => Condition::Above { limit: 30.0, clear: 25.0 },
                1 => Condition::Below { limit: 20.0, clear: 22.0 },
                2 => Condition::ChangeOver { limit: 15.0, over: Duration::from_secs(45) },
                3 => Condition::NoDataFor { silence: Duration::from_secs(30) },
                4 => Condition::Versus {
                    side: Side::Above,
                    other: Of::Metric(Metric("x".into())),
                    by: 5.0,
                    clear_by: 0.0,
                    max_age: (hold % 2 == 0).then(|| Duration::from_secs(60)),
                },
                _ => Condition::When {
                    when: Expression::compile("value > series('b/x') and mean('m', 'x') < 30", &|_| Some(Duration::from_secs(60))).unwrap(),
                    clear: None,
                },
            };
            let mut off = rule(Condition::Above { limit: 40.0, clear: 35.0 }, 10);
            off.name = "off".into();
            off.series = "a1/x".into();
            let mut rule = rule(condition, hold);
            rule.life.keep_firing_for = Duration::from_secs(keep);
            rule.life.min_on = Duration::from_secs(min_on);
            rule.life.min_off = Duration::from_secs(min_off);
            // A config refuses less than `min_on`.
            rule.life.resolve_after = Duration::from_secs(if at_most > min_on { at_most } else { 0 });
            rule.life.stale_after = Duration::from_secs(45);
            let minutes = |n: u64| Duration::from_secs(60 * n);
            rule.life.flapping = flaps.then(|| Flapping { fires: 3, within: minutes(5), calm: minutes(2) });
            let rules = if depends {
                rule.life.depends_on = vec!["off".into()];
                vec![rule, off]
            } else {
                vec![rule]
            };
            let config = || Config { rules: rules.clone(), ..Config::default() };
            let series = ["a1/t", "a2/t", "a1/x", "b/x"].map(key);
            let mut second = 0;
            let mut points = Vec::new();
            for (which, step, value) in values {
                second += step;
                points.push((usize::from(which), point(second, f64::from(value))));
            }
            let mut rehearsal = Rehearsal::new(config(), &series, at(0));
            for (which, point) in &points {
                rehearsal.take(&series[*which], None, point);
            }
            rehearsal.wait_until(at(second + 100));
            let rehearsed = rehearsal.changes();

            // Live: whole records, second by second.
            let now = |second: i64| Moment {
                clock: at(second),
                uptime: Duration::from_secs(second.unsigned_abs()),
            };
            let mut core = Core::new(config(), Resumption::default(), now(0));
            for key in &series {
                core.expect(key, now(0));
            }
            let mut outgoing = super::super::outgoing::Outgoing::new(Duration::from_millis(75));
            let mut points = points.into_iter().zip(1..).peekable();
            for tick in 0..=second + 100 {
                while let Some(due) = core.machine.next_timer() && due <= now(tick).uptime {
                    let nanos = i64::try_from(due.as_nanos()).unwrap();
                    core.tick(Moment { clock: Timestamp(at(0).0 + nanos), uptime: due });
                }
                while let Some(((which, point), number)) = points.next_if(|((_, p), _)| p.time == at(tick)) {
                    let batch = Batch {
                        source: SourceName("live".into()),
                        readings: vec![Reading {
                            series: series[which].clone(),
                            value: point.value,
                            unit: None,
                            quality: point.quality,
                            time: point.time,
                            received: point.time,
                            retained: false,
                        }],
                        ..Batch::default()
                    };
                    let committed = crate::journal::Committed {
                        position: Position(number),
                        batches: vec![batch].into(),
                    };
                    core.apply(&committed, now(tick), &mut outgoing);
                }
            }
            prop_assert_eq!(core.take_transitions(), rehearsed);
        }
    }
}
