mod close;
mod expiry;
mod life;
mod overdue;

use proptest::prelude::*;

use super::*;
use crate::{
    alert::{AlertState, Condition, Latest, Life, Of, Severity},
    model::{Timestamp, Unit, Value},
    store::Sample,
};

const SECOND: i64 = 1_000_000_000;
const ABOVE: Condition = Condition::Above {
    limit: 90.0,
    clear: 80.0,
};
const SILENT: Condition = Condition::NoDataFor {
    silence: Duration::from_secs(60),
};
const CHANGE: Condition = Condition::ChangeOver {
    limit: 5.0,
    over: Duration::from_secs(10),
};

fn rule(name: &str, condition: Condition, hold: u64) -> Rule {
    Rule {
        name: name.into(),
        series: "*/temperature".into(),
        matching: BTreeMap::new(),
        condition,
        hold: Duration::from_secs(hold),
        severity: Severity::Warning,
        summary: String::new(),
        webhooks: Vec::new(),
        labels: BTreeMap::from([(String::from("team"), String::from("heat"))]),
        life: Life::default(),
    }
}

fn key() -> SeriesKey {
    SeriesKey::parse("boiler/temperature").unwrap()
}

fn reading(time: i64, value: f64) -> Reading {
    Reading {
        series: key(),
        value: Value::Float(value),
        unit: Some(Unit("Cel".into())),
        quality: Quality::Good,
        time: Timestamp(time * SECOND),
        received: Timestamp(time * SECOND),
        retained: false,
    }
}

/// One series under rules, with the history that a store would keep.
struct Bench {
    machine: Machine,
    history: Vec<(Timestamp, f64)>,
    newest: Timestamp,
    /// The wall clock when the process started, in seconds.
    started: i64,
    now: i64,
}

/// Of one series alone.
struct History<'a>(&'a [(Timestamp, f64)]);

impl View for History<'_> {
    fn first_number(&self, from: Timestamp, to: Timestamp) -> Option<f64> {
        let inside = self.0.iter().find(|(time, _)| *time >= from)?;
        (inside.0 <= to).then_some(inside.1)
    }

    fn samples(&self, of: &Of, from: Timestamp, to: Timestamp, mut each: impl FnMut(Sample)) {
        let inside = self
            .0
            .iter()
            .rev()
            .filter(|(time, _)| (from..=to).contains(time));
        for (time, number) in inside.filter(|_| *of == Of::Itself) {
            let (time, number) = (*time, *number);
            each(Sample::Point { time, number });
        }
    }

    fn latest(&self, _: &Of) -> Option<Latest> {
        None
    }
}

impl Bench {
    fn new(rules: Vec<Rule>, started: i64) -> Self {
        let mut machine = Machine::new(rules, 100);
        let labels = BTreeMap::from([(String::from("device"), String::from("boiler"))]);
        let now = Moment {
            clock: Timestamp(started * SECOND),
            uptime: Duration::ZERO,
        };
        machine.watch(0, &key(), &labels, now);
        Self {
            machine,
            history: Vec::new(),
            newest: Timestamp(i64::MIN),
            started,
            now: started,
        }
    }

    fn moment(&self) -> Moment {
        Moment {
            clock: Timestamp(self.now * SECOND),
            uptime: Duration::from_secs(u64::try_from(self.now - self.started).unwrap()),
        }
    }

    /// What is taken next is the only reading of this record.
    fn record(&mut self, number: usize) {
        self.machine.begin_record(u64::try_from(number).unwrap());
        self.machine.next_of_record();
    }

    fn take(&mut self, reading: &Reading, recall: bool) -> Vec<Transition> {
        let mut out = Vec::new();
        let in_order = !reading.retained && reading.time >= self.newest;
        if in_order {
            self.newest = reading.time;
        }
        if let (Some(number), false) = (reading.value.as_f64(), reading.quality == Quality::Bad) {
            let at = self
                .history
                .partition_point(|(time, _)| *time <= reading.time);
            self.history.insert(at, (reading.time, number));
        }
        let now = self.moment();
        let view = History(&self.history);
        if recall {
            self.machine.recall(0, reading, in_order, now, &view);
        } else {
            self.machine
                .observe(0, reading, in_order, now, &view, &mut out);
        }
        out
    }

    /// Does one step of a table.
    fn step(&mut self, step: &Step) -> Vec<Transition> {
        let (now, taken) = match *step {
            Read(time, value) => (time, Some(reading(time, value))),
            Late(time, value) => (self.now, Some(reading(time, value))),
            Bad(time, value) => (
                time,
                Some(Reading {
                    quality: Quality::Bad,
                    ..reading(time, value)
                }),
            ),
            Retained(time, value) => (
                time,
                Some(Reading {
                    retained: true,
                    ..reading(time, value)
                }),
            ),
            Text(time) => (
                time,
                Some(Reading {
                    value: Value::Text("x".into()),
                    ..reading(time, 0.0)
                }),
            ),
            Wait(time) => (time, None),
        };
        self.now = now;
        match taken {
            Some(reading) => self.take(&reading, false),
            None => self.tick(),
        }
    }

    fn tick(&mut self) -> Vec<Transition> {
        let mut out = Vec::new();
        let now = self.moment();
        self.machine.tick(now, &mut out);
        out
    }
}

/// One step of the table and what it must change: state and time in seconds.
enum Step {
    /// Measured and arrived at this second.
    Read(i64, f64),
    /// Measured then, arrives now.
    Late(i64, f64),
    Bad(i64, f64),
    Retained(i64, f64),
    Text(i64),
    /// It is this second now.
    Wait(i64),
}

use AlertState::{Cancelled, Firing, Pending, Resolved};
use Step::{Bad, Late, Read, Retained, Text, Wait};

type Row = (Step, &'static [(AlertState, i64)]);

#[test]
fn the_table_of_the_machine() {
    let table: &[(&str, Rule, &[Row])] = &[
        (
            "without hold it fires at once, and clears only at `clear`",
            rule("hot", ABOVE, 0),
            &[
                (Read(1, 90.0), &[]),
                (Read(2, 90.1), &[(Firing, 2)]),
                (Read(3, 95.0), &[]),
                (Read(4, 85.0), &[]),
                (Read(5, 80.0), &[(Resolved, 5)]),
                (Read(6, 85.0), &[]),
                (Read(7, 91.0), &[(Firing, 7)]),
            ],
        ),
        (
            "with hold it is pending first, and a reading at the end of hold fires it",
            rule("hot", ABOVE, 10),
            &[
                (Read(1, 95.0), &[(Pending, 1)]),
                (Read(6, 85.0), &[]),
                (Read(11, 95.0), &[(Firing, 11)]),
                (Wait(500), &[]),
                (Read(501, 10.0), &[(Resolved, 501)]),
            ],
        ),
        (
            "what clears before hold is over came to nothing",
            rule("hot", ABOVE, 10),
            &[
                (Read(1, 95.0), &[(Pending, 1)]),
                (Read(9, 80.0), &[(Cancelled, 9)]),
                (Read(12, 95.0), &[(Pending, 12)]),
                (Wait(21), &[]),
                (Wait(22), &[(Firing, 22)]),
            ],
        ),
        (
            "when no further reading comes, waiting fires it",
            rule("hot", ABOVE, 10),
            &[
                (Read(1, 95.0), &[(Pending, 1)]),
                (Read(4, 96.0), &[]),
                (Wait(10), &[]),
                (Wait(11), &[(Firing, 11)]),
            ],
        ),
        (
            "yesterday's readings fire nothing by waiting, only by what they show",
            rule("hot", ABOVE, 10),
            &[
                (Wait(1000), &[]),
                (Late(1, 95.0), &[(Pending, 1)]),
                (Wait(1100), &[]),
                (Late(8, 95.0), &[]),
                (Wait(1200), &[]),
                (Late(11, 95.0), &[(Firing, 11)]),
            ],
        ),
        (
            "late, bad, retained and text readings neither begin nor end it",
            rule("hot", ABOVE, 0),
            &[
                (Read(10, 50.0), &[]),
                (Late(5, 99.0), &[]),
                (Bad(11, 99.0), &[]),
                (Retained(12, 99.0), &[]),
                (Text(13), &[]),
                (Read(14, 99.0), &[(Firing, 14)]),
                (Late(6, 50.0), &[]),
                (Bad(15, 50.0), &[]),
                (Retained(16, 50.0), &[]),
                (Text(17), &[]),
                (Read(18, 50.0), &[(Resolved, 18)]),
            ],
        ),
        (
            "below is above upside down",
            rule(
                "cold",
                Condition::Below {
                    limit: 5.0,
                    clear: 8.0,
                },
                0,
            ),
            &[
                (Read(1, 4.0), &[(Firing, 1)]),
                (Read(2, 7.9), &[]),
                (Read(3, 8.0), &[(Resolved, 3)]),
            ],
        ),
        (
            "a change counts over its time in both directions",
            rule("jump", CHANGE, 0),
            &[
                (Read(1, 50.0), &[]),
                (Read(6, 55.0), &[]),
                (Read(11, 55.5), &[(Firing, 11)]),
                (Read(12, 55.5), &[(Resolved, 12)]),
                (Read(13, 40.0), &[(Firing, 13)]),
            ],
        ),
        (
            "silence fires after its time, counted from the last arrival of data",
            rule("silent", SILENT, 0),
            &[
                (Wait(59), &[]),
                (Read(59, 1.0), &[]),
                (Wait(118), &[]),
                (Retained(118, 1.0), &[]),
                (Bad(118, 1.0), &[]),
                (Wait(119), &[(Firing, 119)]),
                (Wait(900), &[]),
                (Retained(901, 1.0), &[]),
                (Text(902), &[(Resolved, 902)]),
                (Wait(962), &[(Firing, 962)]),
                (Late(3, 1.0), &[(Resolved, 962)]),
            ],
        ),
        (
            "silence with hold is pending first",
            rule("silent", SILENT, 10),
            &[
                (Wait(60), &[(Pending, 60)]),
                (Read(65, 1.0), &[(Cancelled, 65)]),
                (Wait(125), &[(Pending, 125)]),
                (Wait(134), &[]),
                (Wait(135), &[(Firing, 135)]),
                (Read(140, 1.0), &[(Resolved, 140)]),
            ],
        ),
    ];
    for (name, rule, rows) in table {
        let mut bench = Bench::new(vec![rule.clone()], 0);
        for (at, (step, expected)) in rows.iter().enumerate() {
            let out = bench.step(step);
            let changes: Vec<_> = out
                .iter()
                .map(|change| (change.alert.state, change.at.0 / SECOND))
                .collect();
            assert_eq!(changes, *expected, "{name}: step {at}");
        }
    }
}

#[test]
fn an_alert_says_what_is_needed_to_act() {
    let mut bench = Bench::new(vec![rule("hot", ABOVE, 0)], 0);
    let alert = bench.take(&reading(7, 91.5), false).remove(0).alert;
    assert_eq!(
        alert.summary,
        "boiler/temperature is 91.5 Cel: above 90 Cel"
    );
    assert_eq!(alert.value, Some(Value::Float(91.5)));
    assert_eq!(alert.unit.as_deref(), Some("Cel"));
    assert_eq!((alert.began_ms, alert.fired_ms), (7000, Some(7000)));
    assert_eq!(alert.labels["device"], "boiler");
    assert_eq!(alert.labels["team"], "heat");
    assert!(
        alert
            .id
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || c == '-')
    );
}

#[test]
fn two_alerts_that_begin_at_one_time_have_two_ids() {
    let mut bench = Bench::new(vec![rule("hot", ABOVE, 0)], 0);
    let mut ids = Vec::new();
    for value in [95.0, 10.0, 95.0, 10.0, 95.0] {
        let changes = bench.take(&reading(7, value), false);
        ids.extend(changes.into_iter().map(|change| change.alert.id));
    }
    ids.dedup();
    assert_eq!(ids.len(), 3, "{ids:?}");
}

#[test]
fn over_the_cap_alerts_are_counted_and_begin_when_there_is_room() {
    let rules = vec![rule("hot", ABOVE, 0), rule("silent", SILENT, 0)];
    let mut bench = Bench::new(rules, 0);
    bench.machine.max_alerts = 1;
    assert_eq!(bench.take(&reading(1, 95.0), false).len(), 1);
    bench.now = 61;
    assert!(bench.tick().is_empty());
    assert_eq!(bench.machine.counts().refused, 1);
    // Only silence is left once the other alert is over.
    bench.machine.max_alerts = 2;
    bench.now = 62;
    assert_eq!(bench.tick()[0].alert.rule, "silent");
}

#[test]
fn an_alert_of_a_removed_or_changed_rule_is_ended_and_says_so() {
    let hot = rule("hot", ABOVE, 0);
    let mut before = Bench::new(vec![hot.clone()], 0);
    let alert = before.take(&reading(7, 95.0), false).remove(0).alert;

    let mut same = Bench::new(vec![hot], 0);
    assert_eq!(same.machine.resume(0, alert.clone(), same.moment()), Ok(()));
    assert_eq!(same.machine.alerts().count(), 1);

    let elsewhere = Rule {
        series: "*/pressure".into(),
        ..rule("hot", ABOVE, 0)
    };
    for (rules, why) in [
        (vec![], "removed"),
        (vec![rule("hot", ABOVE, 5)], "changed"),
        (vec![rule("hot", CHANGE, 0)], "changed"),
        (vec![elsewhere], "changed"),
    ] {
        let mut after = Bench::new(rules, 100);
        let now = after.moment();
        let lapsed = after.machine.resume(0, alert.clone(), now).unwrap_err();
        let transition = lapse(lapsed, key(), now.clock);
        assert_eq!(transition.alert.state, Resolved);
        assert_eq!(transition.alert.resolved_ms, Some(100_000));
        assert!(transition.alert.summary.contains(why), "{why}");
        assert_eq!(after.machine.alerts().count(), 0);
    }
}

#[test]
fn a_pending_alert_goes_on_over_a_restart() {
    let rules = || vec![rule("hot", ABOVE, 60)];
    let mut before = Bench::new(rules(), 0);
    let pending = before.take(&reading(1, 95.0), false).remove(0).alert;
    let id = pending.id.clone();

    let mut after = Bench::new(rules(), 31);
    let now = after.moment();
    after.machine.resume(0, pending, now).unwrap();
    after.take(&reading(1, 95.0), true);
    after.take(&reading(21, 95.0), true);
    after.now = 70;
    assert!(after.tick().is_empty(), "40 s were left at the start");
    after.now = 71;
    let fired = after.tick();
    assert_eq!((fired[0].alert.state, &fired[0].alert.id), (Firing, &id));
}

#[test]
fn a_burst_of_buffered_readings_brings_the_time_forward_and_leaves_few_timers() {
    let mut bench = Bench::new(vec![rule("hot", ABOVE, 3600)], 10_000);
    for time in 7_000..10_000 {
        bench.take(&reading(time, 95.0), false);
        assert!(bench.machine.timers.len() <= 2 + SPARE_TIMERS);
    }
    bench.now = 10_000 + 3600 - 2_999 - 1;
    assert!(bench.tick().is_empty());
    bench.now += 1;
    assert_eq!(bench.tick()[0].alert.state, Firing);
}

#[derive(Clone, Debug)]
enum Op {
    Read(i64, f64),
    Wait(i64),
    /// The process dies; of what was decided, this share was written down.
    Crash(prop::sample::Index),
    /// The config is read again.
    Reload,
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        8 => (-8_i64..15, 70.0..110.0).prop_map(|(step, value)| Op::Read(step, value)),
        2 => (0_i64..90).prop_map(Op::Wait),
        1 => any::<prop::sample::Index>().prop_map(Op::Crash),
        1 => Just(Op::Reload),
    ]
}

/// The state in which a log of changes leaves each rule, if every step of it is allowed.
fn follow(log: &[Transition]) -> Result<BTreeMap<String, Alert>, TestCaseError> {
    let mut active: BTreeMap<String, Alert> = BTreeMap::new();
    let mut ids = HashSet::new();
    for told in log {
        let alert = &told.alert;
        let change = alert.marks.change.unwrap();
        let before = active.remove(alert.rule.as_str());
        let moved = change == Change::Moved;
        let same = before.as_ref().is_none_or(|before| {
            before.id == alert.id && (moved || before.began_ms == alert.began_ms)
        });
        prop_assert!(same, "{:?} in the middle of {:?}", alert, before);
        prop_assert!(
            before.is_some() || ids.insert(alert.id.clone()),
            "one id for two"
        );
        let allowed = match change {
            Change::Began => before.is_none() && alert.state == Pending,
            Change::Fired => {
                before.is_none_or(|before| before.state == Pending) && alert.state == Firing
            }
            Change::Cancelled => {
                before.is_some_and(|before| before.state == Pending) && alert.state == Cancelled
            }
            Change::Resolved => {
                before.is_some_and(|before| before.state == Firing) && alert.state == Resolved
            }
            Change::Moved => before.is_some_and(|before| before.state == alert.state),
            Change::Cleared
            | Change::TrueAgain
            | Change::WentStale
            | Change::HeardAgain
            | Change::Calmed => {
                before.is_some_and(|before| before.state == Firing) && alert.state == Firing
            }
        };
        prop_assert!(allowed, "{:?}", log);
        if alert.rule == "dependent" && change == Change::Fired {
            let hot = active.get("hot").is_some_and(|hot| hot.state == Firing);
            prop_assert!(!hot, "it does not stand back: {:?}", log);
        }
        if matches!(alert.state, Pending | Firing) {
            active.insert(alert.rule.to_string(), alert.clone());
        }
    }
    Ok(active)
}

#[test]
fn other_rules_end_what_they_no_longer_ask_and_leave_the_rest_alone() {
    let mut bench = Bench::new(
        vec![
            rule("gone", ABOVE, 0),
            rule("hot", ABOVE, 60),
            rule("other", ABOVE, 0),
        ],
        0,
    );
    bench.take(&reading(0, 95.0), false);
    assert_eq!(
        bench.machine.counts(),
        Counts {
            pending: 1,
            firing: 2,
            ..Counts::default()
        }
    );
    let mut reworded = rule("hot", ABOVE, 60);
    reworded.summary = "call the plumber".into();
    let rules = vec![
        rule("silent", SILENT, 0),
        rule("other", CHANGE, 0),
        reworded,
    ];
    bench.now = 10;
    let lapsed = bench.machine.set_rules(rules, bench.moment());
    let ended: Vec<_> = lapsed
        .into_iter()
        .map(|(_, lapsed)| (lapsed.0.rule, lapsed.1))
        .collect();
    assert_eq!(
        ended,
        [
            ("gone".into(), "its rule was removed"),
            ("other".into(), "its rule was changed")
        ]
    );
    assert_eq!(
        bench.machine.counts(),
        Counts {
            pending: 1,
            firing: 0,
            ..Counts::default()
        }
    );
    // The wait goes on from where it was, and so does the silence.
    bench.now = 60;
    let changes: Vec<_> = bench
        .tick()
        .into_iter()
        .map(|t| (t.alert.rule, t.alert.state))
        .collect();
    assert!(changes.contains(&("hot".into(), Firing)), "{changes:?}");
    assert!(changes.contains(&("silent".into(), Firing)), "{changes:?}");
    // No rules any more.
    assert_eq!(bench.machine.set_rules(Vec::new(), bench.moment()).len(), 2);
    assert_eq!(bench.machine.counts(), Counts::default());
    assert_eq!(bench.machine.next_timer(), None);
}

/// What an alert that flaps does is not told.
fn as_told(mut alert: Alert) -> Alert {
    if alert.marks.flapping_since_ms.is_some() {
        alert.marks.clear_since_ms = None;
    }
    alert
}

/// After how many records, and what changed.
type Decided = (usize, Vec<Transition>, Vec<Closing>);

/// What the durable state has of what was told.
fn memories(log: &[Transition]) -> Vec<(SmolStr, SmolStr, Memory)> {
    let mut memories = BTreeMap::new();
    for told in log {
        let memory = told.memory.as_deref().unwrap().clone();
        memories.insert((told.alert.rule.clone(), told.alert.series.clone()), memory);
    }
    memories
        .into_iter()
        .map(|((rule, series), memory)| (rule, series, memory))
        .collect()
}

proptest! {
    #[test]
    fn no_readings_waits_and_crashes_fire_twice_or_lose_an_alert(
        ops in prop::collection::vec(op(), 1..80),
    ) {
        let rules = || vec![
            rule("hot", ABOVE, 0),
            rule("hot for long", ABOVE, 20),
            rule("jump", CHANGE, 0),
            rule("silent", SILENT, 0),
            rule("silent for long", SILENT, 15),
            life::kept(),
            life::flapping_soon(),
            life::in_hours(),
            life::dependent(),
            expiry::expiring(),
        ];
        let mut bench = Bench::new(rules(), 1000);
        // The journal, and what was decided: after how many records, and what.
        let mut journal: Vec<Reading> = Vec::new();
        let mut decided: Vec<Decided> = Vec::new();
        for op in ops {
            match op {
                Op::Read(step, value) => {
                    bench.now += step.max(0);
                    let out = bench.tick();
                    decided.push((journal.len(), out, bench.machine.take_closings()));
                    let reading = reading(bench.now + step.min(0), value);
                    journal.push(reading.clone());
                    bench.record(journal.len());
                    let out = bench.take(&reading, false);
                    decided.push((journal.len(), out, bench.machine.take_closings()));
                }
                Op::Wait(seconds) => {
                    bench.now += seconds;
                    let out = bench.tick();
                    decided.push((journal.len(), out, bench.machine.take_closings()));
                }
                Op::Reload => {
                    // The same rules in another order, and one more that is about nothing here.
                    let mut again = rules();
                    again.rotate_left(2);
                    again.insert(1, Rule { series: "*/pressure".into(), ..rule("else", ABOVE, 0) });
                    prop_assert_eq!(bench.machine.set_rules(again, bench.moment()), vec![]);
                }
                Op::Crash(share) => {
                    let hot = |decided: &[Decided]| -> Vec<_> {
                        decided
                            .iter()
                            .flat_map(|(_, changes, _)| changes)
                            .filter(|told| told.alert.rule == "hot" && told.alert.is_news())
                            .map(|change| (change.alert.id.clone(), change.alert.state))
                            .collect()
                    };
                    let before = hot(&decided);
                    decided.truncate(share.index(decided.len() + 1));
                    let evaluated = decided.last().map_or(0, |(position, ..)| *position);
                    let log: Vec<_> = decided.iter().flat_map(|(_, c, _)| c.clone()).collect();
                    bench = Bench::new(rules(), bench.now + 3);
                    let now = bench.moment();
                    bench.machine = Machine::new(rules(), 100);
                    bench.machine.remember(memories(&log));
                    bench.machine.watch(0, &key(), &BTreeMap::new(), now);
                    for alert in follow(&log)?.into_values() {
                        prop_assert_eq!(bench.machine.resume(0, alert, now), Ok(()));
                    }
                    for closed in expiry::still_closed(decided.iter().flat_map(|(.., c)| c)) {
                        bench.machine.resume_closed(0, closed);
                    }
                    for (at, reading) in journal.iter().enumerate() {
                        bench.record(at + 1);
                        let out = bench.take(reading, at < evaluated);
                        decided.push((at.max(evaluated), out, bench.machine.take_closings()));
                    }
                    // What readings alone decide is decided again, with the same ids.
                    prop_assert_eq!(hot(&decided), before);
                }
            }
            let log: Vec<_> = decided.iter().flat_map(|(_, c, _)| c.clone()).collect();
            expiry::holds(&log)?;
            let active: BTreeMap<_, _> = follow(&log)?
                .into_iter()
                .map(|(rule, alert)| (rule, as_told(alert)))
                .collect();
            let held: BTreeMap<_, _> = bench
                .machine
                .alerts()
                .map(|alert| (alert.rule.to_string(), as_told(alert.clone())))
                .collect();
            prop_assert_eq!(&active, &held);
            let firing = held.values().filter(|alert| alert.state == Firing).count();
            let counts = bench.machine.counts();
            prop_assert_eq!((counts.firing, counts.pending), (firing, held.len() - firing));
            prop_assert!(bench.machine.timers.len() <= 2 * 10 + SPARE_TIMERS);
            if let Some(newest) = journal.iter().enumerate().max_by_key(|(at, r)| (r.time, *at)) {
                let value = newest.1.value.as_f64().unwrap();
                if value > 90.0 {
                    prop_assert!(active.contains_key("hot"));
                } else if value <= 80.0 {
                    prop_assert!(!active.contains_key("hot"));
                }
            }
        }
    }
}
