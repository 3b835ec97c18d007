//! How alerts live beyond their condition: every transition of the machine, by table.

use jiff::{
    civil::{Weekday, time},
    tz::TimeZone,
};

use super::*;
use crate::alert::{
    Cause, Change, Flapping,
    schedule::{Period, Schedule},
};

fn living(condition: Condition, hold: u64, life: Life) -> Rule {
    Rule {
        life,
        ..rule("hot", condition, hold)
    }
}

/// Rules of all kinds of life, for the law.
pub(super) fn kept() -> Rule {
    Rule {
        life: Life {
            keep_firing_for: seconds(20),
            min_on: seconds(30),
            min_off: seconds(25),
            stale_after: seconds(40),
            ..fresh()
        },
        ..rule("kept", ABOVE, 5)
    }
}

pub(super) fn flapping_soon() -> Rule {
    Rule {
        life: flapping(2),
        ..rule("flapping", ABOVE, 0)
    }
}

/// Of the time in which the law begins, hours are from 1 020 s to 1 140 s.
pub(super) fn in_hours() -> Rule {
    let mut life = hours();
    life.during.0[0].from = time(0, 17, 0, 0);
    life.during.0[0].to = time(0, 19, 0, 0);
    Rule {
        life,
        ..rule("in hours", ABOVE, 10)
    }
}

pub(super) fn dependent() -> Rule {
    Rule {
        life: Life {
            depends_on: vec!["hot".into()],
            keep_firing_for: seconds(10),
            ..fresh()
        },
        ..rule("dependent", CHANGE, 0)
    }
}

const fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// Never stale, so that waits end alone what they end.
fn fresh() -> Life {
    Life {
        stale_after: Duration::ZERO,
        ..Life::default()
    }
}

fn flapping(fires: usize) -> Life {
    Life {
        flapping: Some(Flapping {
            fires,
            within: seconds(60),
            calm: seconds(30),
        }),
        ..fresh()
    }
}

/// From the second 100 to the second 200 of a day that is no other than the first of the epoch, a Thursday.
fn hours() -> Life {
    Life {
        during: Schedule(vec![Period {
            days: vec![Weekday::Thursday],
            from: time(0, 1, 40, 0),
            to: time(0, 3, 20, 0),
            zone: TimeZone::UTC,
        }]),
        ..fresh()
    }
}

use Cause::{Clock, Dependence, Reading as ByReading, Silence, Waiting};
use Change::{
    Began, Calmed, Cancelled as Nothing, Cleared, Fired, HeardAgain, Moved, Resolved as Over,
    TrueAgain, WentStale,
};

type Row = (Step, &'static [(Change, Cause, i64)]);

fn run(table: &[(&str, Rule, &[Row])]) {
    for (name, rule, rows) in table {
        let mut bench = Bench::new(vec![rule.clone()], 0);
        for (at, (step, expected)) in rows.iter().enumerate() {
            let changes: Vec<_> = bench.step(step).iter().map(what).collect();
            assert_eq!(changes, *expected, "{name}: step {at}");
        }
    }
}

fn what(told: &Transition) -> (Change, Cause, i64) {
    let marks = &told.alert.marks;
    (
        marks.change.unwrap(),
        marks.cause.unwrap(),
        told.at.0 / SECOND,
    )
}

#[test]
fn an_alert_stays_for_as_long_as_its_rule_says() {
    let keep = Life {
        keep_firing_for: seconds(10),
        ..fresh()
    };
    let min_on = Life {
        min_on: seconds(20),
        ..fresh()
    };
    let min_off = Life {
        min_off: seconds(20),
        ..fresh()
    };
    run(&[
        (
            "clear is not over before `keep_firing_for`, and true again is the same alert",
            living(ABOVE, 0, keep.clone()),
            &[
                (Read(1, 95.0), &[(Fired, ByReading, 1)]),
                (Read(2, 70.0), &[(Cleared, ByReading, 2)]),
                (Read(5, 85.0), &[]),
                (Read(9, 70.0), &[]),
                (Read(11, 95.0), &[(TrueAgain, ByReading, 11)]),
                (Read(12, 70.0), &[(Cleared, ByReading, 12)]),
                (Read(21, 85.0), &[]),
                (Read(22, 85.0), &[(Over, ByReading, 22)]),
                (Read(23, 95.0), &[(Fired, ByReading, 23)]),
            ],
        ),
        (
            "when no reading comes after it is clear, waiting ends it",
            living(ABOVE, 0, keep.clone()),
            &[
                (Read(1, 95.0), &[(Fired, ByReading, 1)]),
                (Read(2, 70.0), &[(Cleared, ByReading, 2)]),
                (Read(4, 75.0), &[]),
                (Wait(11), &[]),
                (Wait(12), &[(Over, Waiting, 12)]),
            ],
        ),
        (
            "yesterday's readings end nothing by waiting, and late ones nothing at all",
            living(ABOVE, 0, keep.clone()),
            &[
                (Wait(1000), &[]),
                (Late(1, 95.0), &[(Fired, ByReading, 1)]),
                (Late(2, 70.0), &[(Cleared, ByReading, 2)]),
                (Wait(1100), &[]),
                (Late(1, 95.0), &[]),
                (Late(11, 75.0), &[]),
                (Late(3, 95.0), &[]),
                (Late(12, 75.0), &[(Over, ByReading, 12)]),
            ],
        ),
        (
            "it fires for `min_on` at least",
            living(ABOVE, 0, min_on),
            &[
                (Read(1, 95.0), &[(Fired, ByReading, 1)]),
                (Read(2, 70.0), &[(Cleared, ByReading, 2)]),
                (Read(20, 70.0), &[]),
                (Wait(21), &[(Over, Waiting, 21)]),
                (Read(30, 95.0), &[(Fired, ByReading, 30)]),
                (Read(60, 70.0), &[(Over, ByReading, 60)]),
            ],
        ),
        (
            "after it was over the next one is pending until `min_off` is over",
            living(ABOVE, 0, min_off.clone()),
            &[
                (Read(1, 95.0), &[(Fired, ByReading, 1)]),
                (Read(10, 70.0), &[(Over, ByReading, 10)]),
                (Read(12, 95.0), &[(Began, ByReading, 12)]),
                (Read(14, 70.0), &[(Nothing, ByReading, 14)]),
                (Read(20, 95.0), &[(Began, ByReading, 20)]),
                (Read(29, 95.0), &[]),
                (Wait(30), &[(Fired, Waiting, 30)]),
                (Read(35, 70.0), &[(Over, ByReading, 35)]),
                (Read(55, 95.0), &[(Fired, ByReading, 55)]),
            ],
        ),
        (
            "a time that is taken back does not make `min_off` wait for years",
            living(ABOVE, 0, min_off),
            &[
                (Read(1, 95.0), &[(Fired, ByReading, 1)]),
                (Read(2, 70.0), &[(Over, ByReading, 2)]),
            ],
        ),
        (
            "silence that ends is over only after `keep_firing_for`",
            living(SILENT, 0, keep),
            &[
                (Wait(60), &[(Fired, Silence, 60)]),
                (Read(70, 1.0), &[(Cleared, ByReading, 70)]),
                (Wait(79), &[]),
                (Wait(80), &[(Over, Waiting, 80)]),
            ],
        ),
        (
            "and is there again when nothing more comes",
            living(
                SILENT,
                0,
                Life {
                    keep_firing_for: seconds(300),
                    ..fresh()
                },
            ),
            &[
                (Wait(60), &[(Fired, Silence, 60)]),
                (Read(70, 1.0), &[(Cleared, ByReading, 70)]),
                (Read(80, 1.0), &[]),
                (Wait(139), &[]),
                (Wait(140), &[(TrueAgain, Silence, 140)]),
                (Wait(900), &[]),
                (Read(901, 1.0), &[(Cleared, ByReading, 901)]),
            ],
        ),
    ]);
}

#[test]
fn many_alerts_become_one_that_is_told_once_and_ends_when_it_calms() {
    run(&[
        (
            "the third within its time flaps, and what it does then is not told",
            living(ABOVE, 0, flapping(3)),
            &[
                (Read(1, 95.0), &[(Fired, ByReading, 1)]),
                (Read(2, 70.0), &[(Over, ByReading, 2)]),
                (Read(3, 95.0), &[(Fired, ByReading, 3)]),
                (Read(4, 70.0), &[(Over, ByReading, 4)]),
                (Read(5, 95.0), &[(Fired, ByReading, 5)]),
                (Read(6, 70.0), &[]),
                (Read(7, 95.0), &[]),
                (Read(20, 70.0), &[]),
                (Read(49, 95.0), &[]),
                (Read(50, 70.0), &[]),
                (Read(79, 70.0), &[]),
                (Read(80, 70.0), &[(Over, ByReading, 80)]),
                // It begins to count anew.
                (Read(81, 95.0), &[(Fired, ByReading, 81)]),
                (Read(82, 70.0), &[(Over, ByReading, 82)]),
            ],
        ),
        (
            "it calms by waiting as well",
            living(ABOVE, 0, flapping(2)),
            &[
                (Read(1, 95.0), &[(Fired, ByReading, 1)]),
                (Read(2, 70.0), &[(Over, ByReading, 2)]),
                (Read(3, 95.0), &[(Fired, ByReading, 3)]),
                (Read(4, 70.0), &[]),
                (Wait(33), &[]),
                (Wait(34), &[(Over, Waiting, 34)]),
            ],
        ),
        (
            "if it stays true it fires on, no longer flapping",
            living(ABOVE, 0, flapping(2)),
            &[
                (Read(1, 95.0), &[(Fired, ByReading, 1)]),
                (Read(2, 70.0), &[(Over, ByReading, 2)]),
                (Read(3, 95.0), &[(Fired, ByReading, 3)]),
                (Read(4, 70.0), &[]),
                (Read(5, 95.0), &[]),
                (Read(34, 95.0), &[]),
                (Read(35, 95.0), &[(Calmed, ByReading, 35)]),
                (Read(36, 70.0), &[(Over, ByReading, 36)]),
            ],
        ),
        (
            "too slowly it does not flap",
            living(ABOVE, 0, flapping(2)),
            &[
                (Read(1, 95.0), &[(Fired, ByReading, 1)]),
                (Read(2, 70.0), &[(Over, ByReading, 2)]),
                (Read(61, 95.0), &[(Fired, ByReading, 61)]),
                (Read(62, 70.0), &[(Over, ByReading, 62)]),
            ],
        ),
    ]);
    let mut bench = Bench::new(vec![living(ABOVE, 0, flapping(2))], 0);
    bench.take(&reading(1, 95.0), false);
    bench.take(&reading(2, 70.0), false);
    let told = bench.take(&reading(3, 95.0), false).remove(0).alert;
    assert_eq!(told.marks.flapping_since_ms, Some(3000));
    assert_eq!(
        told.summary,
        "boiler/temperature is 95 Cel: above 90 Cel (flapping: fired 2 times in 1 min)"
    );
    bench.now = 3;
    let calmed = bench.take(&reading(40, 95.0), false).remove(0).alert;
    assert_eq!(calmed.marks.flapping_since_ms, None);
    assert!(!calmed.summary.contains("flapping"), "{}", calmed.summary);
}

#[test]
fn outside_of_its_hours_a_rule_fires_nothing_and_what_fires_stays() {
    run(&[
        (
            "what is true before is pending, and fires as the hours begin",
            living(ABOVE, 0, hours()),
            &[
                (Read(50, 95.0), &[(Began, ByReading, 50)]),
                (Read(80, 95.0), &[]),
                (Wait(99), &[]),
                (Wait(100), &[(Fired, Waiting, 100)]),
                // It goes on over the end of the hours until it is clear.
                (Wait(250), &[]),
                (Read(260, 95.0), &[]),
                (Read(300, 70.0), &[(Over, ByReading, 300)]),
                (Read(301, 95.0), &[(Began, ByReading, 301)]),
                (Read(302, 70.0), &[(Nothing, ByReading, 302)]),
            ],
        ),
        (
            "a reading in the hours fires",
            living(ABOVE, 0, hours()),
            &[
                (Read(99, 95.0), &[(Began, ByReading, 99)]),
                (Read(100, 95.0), &[(Fired, ByReading, 100)]),
            ],
        ),
        (
            "what must last and does not before the hours are over waits for the next ones",
            living(ABOVE, 30, hours()),
            &[
                (Read(180, 95.0), &[(Began, ByReading, 180)]),
                (Read(199, 95.0), &[]),
                (Read(211, 95.0), &[]),
                (Wait(100_000), &[]),
                (Read(100_001, 70.0), &[(Nothing, ByReading, 100_001)]),
            ],
        ),
        (
            "readings of the hours that come late, in their order, count; hours are measured time",
            living(ABOVE, 0, hours()),
            &[
                (Wait(500), &[]),
                (Late(90, 95.0), &[(Began, ByReading, 90)]),
                (Late(210, 95.0), &[]),
                (Late(220, 70.0), &[(Nothing, ByReading, 220)]),
            ],
        ),
        (
            "silence keeps to the hours too",
            living(SILENT, 0, hours()),
            &[
                (Wait(60), &[(Began, Silence, 60)]),
                (Wait(100), &[(Fired, Silence, 100)]),
                (Read(230, 1.0), &[(Over, ByReading, 230)]),
                (Wait(290), &[(Began, Silence, 290)]),
                (Read(299, 1.0), &[(Nothing, ByReading, 299)]),
            ],
        ),
    ]);
    let mut bench = Bench::new(vec![living(ABOVE, 0, hours())], 0);
    let pending = bench.step(&Read(50, 95.0)).remove(0).alert;
    assert_eq!(pending.marks.waits_until_ms, Some(100_000));
    bench.now = 100;
    assert_eq!(bench.tick()[0].alert.marks.waits_until_ms, None);
}

#[test]
fn silence_marks_what_fires_and_ends_nothing() {
    let stale = Life {
        stale_after: seconds(60),
        ..Life::default()
    };
    run(&[
        (
            "the mark comes with silence and goes with the next reading",
            living(ABOVE, 0, stale.clone()),
            &[
                (Read(1, 95.0), &[(Fired, ByReading, 1)]),
                (Read(30, 95.0), &[]),
                (Wait(89), &[]),
                (Wait(90), &[(WentStale, Silence, 90)]),
                (Wait(100_000), &[]),
                (Retained(100_001, 70.0), &[]),
                (Bad(100_002, 70.0), &[]),
                (Late(20, 70.0), &[(HeardAgain, ByReading, 100_002)]),
                (Wait(100_062), &[(WentStale, Silence, 100_062)]),
                (Read(100_100, 95.0), &[(HeardAgain, ByReading, 100_100)]),
                (Read(100_101, 70.0), &[(Over, ByReading, 100_101)]),
            ],
        ),
        (
            "a reading that ends it does that alone",
            living(ABOVE, 0, stale.clone()),
            &[
                (Read(1, 95.0), &[(Fired, ByReading, 1)]),
                (Wait(61), &[(WentStale, Silence, 61)]),
                (Read(70, 70.0), &[(Over, ByReading, 70)]),
            ],
        ),
        (
            "what is pending or over is not stale",
            living(ABOVE, 3600, stale),
            &[
                (Read(1, 95.0), &[(Began, ByReading, 1)]),
                (Wait(2000), &[]),
                (Read(2001, 70.0), &[(Nothing, ByReading, 2001)]),
                (Wait(4000), &[]),
            ],
        ),
    ]);
    // An alert about the silence of the series marks the others on it at once.
    let never_alone = Life {
        stale_after: seconds(100_000),
        ..Life::default()
    };
    let rules = vec![rule("silent", SILENT, 0), living(ABOVE, 0, never_alone)];
    let mut bench = Bench::new(rules, 0);
    bench.step(&Read(5, 95.0));
    let told = bench.step(&Wait(65));
    assert_eq!(
        told.iter().map(what).collect::<Vec<_>>(),
        [(Fired, Silence, 65), (WentStale, Silence, 65)]
    );
    assert_eq!(told[1].alert.marks.stale_since_ms, Some(5000));
    assert_eq!(told[1].alert.state, Firing);
    let told = bench.step(&Read(70, 95.0));
    assert_eq!(
        told.iter().map(what).collect::<Vec<_>>(),
        [(Over, ByReading, 70), (HeardAgain, ByReading, 70)]
    );
    assert_eq!(told[1].alert.marks.stale_since_ms, None);
}

/// Two series of one device, and one of another.
struct Plant {
    machine: Machine,
}

const KEYS: [&str; 3] = ["pump/temperature", "pump/current", "well/temperature"];

impl Plant {
    fn new(rules: Vec<Rule>) -> Self {
        let mut machine = Machine::new(rules, 100);
        for (series, key) in (0..).zip(KEYS) {
            let key = SeriesKey::parse(key).unwrap();
            machine.watch(series, &key, &BTreeMap::new(), Moment::default());
        }
        Self { machine }
    }

    fn now(second: i64) -> Moment {
        Moment {
            clock: Timestamp(second * SECOND),
            uptime: Duration::from_secs(second.unsigned_abs()),
        }
    }

    fn read(&mut self, series: u32, second: i64, value: f64) -> Vec<(SmolStr, Change, Cause)> {
        let mut out = Vec::new();
        let reading = Reading {
            series: SeriesKey::parse(KEYS[series as usize]).unwrap(),
            ..reading(second, value)
        };
        let now = Self::now(second);
        self.machine
            .observe(series, &reading, true, now, &History(&[]), &mut out);
        out.iter().map(named).collect()
    }

    fn wait(&mut self, second: i64) -> Vec<(SmolStr, Change, Cause)> {
        let mut out = Vec::new();
        self.machine.tick(Self::now(second), &mut out);
        out.iter().map(named).collect()
    }
}

fn named(told: &Transition) -> (SmolStr, Change, Cause) {
    let (change, cause, _) = what(told);
    let on = format!("{} {}", told.alert.rule, told.alert.series);
    (on.into(), change, cause)
}

fn on(name: &str, series: &str, condition: Condition, hold: u64, depends_on: &[&str]) -> Rule {
    Rule {
        series: series.into(),
        life: Life {
            depends_on: depends_on.iter().copied().map(SmolStr::from).collect(),
            ..fresh()
        },
        ..rule(name, condition, hold)
    }
}

#[test]
fn while_a_rule_fires_for_a_device_those_that_depend_on_it_stand_back() {
    let mut plant = Plant::new(vec![
        // Written before what it depends on, which comes first all the same.
        on("hot", "*/temperature", ABOVE, 0, &["off"]),
        on("warm", "*/temperature", ABOVE, 10, &["off"]),
        on(
            "off",
            "*/current",
            Condition::Below {
                limit: 1.0,
                clear: 1.0,
            },
            0,
            &[],
        ),
    ]);
    let warm = "warm pump/temperature".into();
    let hot: SmolStr = "hot pump/temperature".into();
    assert_eq!(
        plant.read(0, 1, 95.0),
        [
            (hot.clone(), Fired, ByReading),
            (SmolStr::clone(&warm), Began, ByReading)
        ]
    );
    // What fires stays, what is pending comes to nothing.
    assert_eq!(
        plant.read(1, 2, 0.0),
        [
            ("off pump/current".into(), Fired, ByReading),
            (warm, Nothing, Dependence)
        ]
    );
    assert_eq!(plant.read(0, 3, 70.0), [(hot.clone(), Over, ByReading)]);
    assert_eq!(plant.read(0, 4, 95.0), []);
    assert_eq!(plant.wait(100), []);
    // Another device is not held back.
    assert_eq!(
        plant.read(2, 101, 95.0)[0],
        ("hot well/temperature".into(), Fired, ByReading)
    );
    // Free again, the next reading begins it.
    assert_eq!(
        plant.read(1, 102, 5.0),
        [("off pump/current".into(), Over, ByReading)]
    );
    assert_eq!(plant.read(0, 103, 95.0)[0], (hot, Fired, ByReading));
}

#[test]
fn of_a_device_that_is_silent_only_that_is_told() {
    let long = Condition::NoDataFor {
        silence: seconds(60),
    };
    let mut plant = Plant::new(vec![
        on("sensor silent", "pump/temperature", SILENT, 0, &["silent"]),
        on("silent", "pump/current", long, 0, &[]),
    ]);
    // Both are due at one moment: what the other depends on comes first.
    assert_eq!(
        plant.wait(60),
        [("silent pump/current".into(), Fired, Silence)]
    );
    assert_eq!(plant.wait(5000), []);
    // When the device is there again, the sensor has its whole time.
    assert_eq!(
        plant.read(1, 5001, 3.0),
        [("silent pump/current".into(), Over, ByReading)]
    );
    plant.read(1, 5050, 3.0);
    assert_eq!(plant.wait(5060), []);
    assert_eq!(
        plant.wait(5061),
        [("sensor silent pump/temperature".into(), Fired, Silence)]
    );
}

#[test]
fn what_an_alert_depends_on_is_known_after_a_restart_and_goes_with_its_rule() {
    let rules = || {
        vec![
            on("hot", "*/temperature", ABOVE, 0, &["off"]),
            on(
                "off",
                "*/current",
                Condition::Below {
                    limit: 1.0,
                    clear: 1.0,
                },
                0,
                &[],
            ),
        ]
    };
    let mut before = Plant::new(rules());
    before.read(1, 2, 0.0);
    let off = before.machine.alerts().next().unwrap().clone();
    let mut after = Plant::new(rules());
    after.machine.resume(1, off, Moment::default()).unwrap();
    assert_eq!(after.read(0, 4, 95.0), []);
    let alone = vec![on("hot", "*/temperature", ABOVE, 0, &["off"])];
    assert_eq!(after.machine.set_rules(alone, Plant::now(5)).len(), 1);
    assert_eq!(after.read(0, 6, 95.0).len(), 1);
}

#[test]
fn a_device_with_other_labels_frees_those_that_depended_on_its_alert() {
    let off = Condition::Below {
        limit: 1.0,
        clear: 1.0,
    };
    let mut chosen = on("off", "*/current", off, 0, &[]);
    chosen
        .matching
        .insert(String::from("site"), String::from("north"));
    let rules = || {
        let hot = on("hot", "*/temperature", ABOVE, 0, &["off"]);
        vec![hot, chosen.clone()]
    };
    let mut machine = Machine::new(rules(), 100);
    let site = |name: &str| BTreeMap::from([(String::from("site"), name.to_owned())]);
    for (series, key) in (0..).zip(KEYS) {
        let key = SeriesKey::parse(key).unwrap();
        machine.watch(series, &key, &site("north"), Moment::default());
    }
    let mut plant = Plant { machine };
    assert_eq!(plant.read(1, 1, 0.0).len(), 1);
    assert_eq!(plant.read(0, 2, 95.0), []);
    for series in 0..3 {
        plant.machine.relabel(series, site("south"));
    }
    let lapsed = plant.machine.set_rules(rules(), Plant::now(3));
    assert_eq!(lapsed.len(), 1);
    assert_eq!(lapsed[0].1.1, "its rule is no longer about this series");
    assert_eq!(plant.machine.counts().firing, 0);
    assert_eq!(plant.read(0, 4, 95.0).len(), 1);
}

#[test]
fn a_jump_of_the_clock_is_recalled_unless_it_was_written_down_since() {
    let keep = Life {
        min_on: seconds(100),
        min_off: seconds(100),
        ..fresh()
    };
    let rule = living(ABOVE, 0, keep);
    let mut before = Bench::new(vec![rule.clone()], 0);
    before.machine.begin_record(1);
    before.machine.next_of_record();
    let fired = before.step(&Read(1, 95.0));
    // The record with the jump, and the reading behind it.
    let jump = |bench: &mut Bench| {
        bench.machine.begin_record(2);
        bench.machine.next_of_record();
        bench.machine.recall_clock_jump(0, 1000 * SECOND);
    };
    let mut after = restarted(&rule, &fired, 1050);
    jump(&mut after);
    assert_eq!(
        after.take(&reading(1060, 70.0), false)[0].alert.state,
        Firing
    );
    let over = after.take(&reading(1101, 70.0), false);
    assert_eq!(what(&over[0]), (Over, ByReading, 1101));
    // It went with it.
    let mut again = restarted(&rule, &over, 1150);
    jump(&mut again);
    let pending = again.take(&reading(1151, 95.0), false);
    assert_eq!(pending[0].alert.marks.waits_until_ms, Some(1_201_000));
}

#[test]
fn what_a_condition_looks_back_on_may_be_missing_when_readings_are_recalled() {
    let change = Condition::ChangeOver {
        limit: 10.0,
        over: seconds(60),
    };
    let keep = Life {
        keep_firing_for: seconds(60),
        ..fresh()
    };
    let rule = living(change, 0, keep);
    let mut before = Bench::new(vec![rule.clone()], 0);
    before.step(&Read(1, 50.0));
    let fired = before.step(&Read(2, 70.0));
    assert_eq!(what(&fired[0]), (Fired, ByReading, 2));
    before.step(&Read(30, 70.0));
    // All that is left of the readings is the newest.
    let mut after = restarted(&rule, &fired, 31);
    after.machine.begin_record(9);
    after.take(&reading(30, 70.0), true);
    after.now = 100;
    assert_eq!(after.tick(), []);
    assert_eq!(after.machine.counts().firing, 1);
}

#[test]
fn a_clock_that_jumps_takes_every_wait_with_it() {
    let keep = Life {
        keep_firing_for: seconds(10),
        ..fresh()
    };
    let mut bench = Bench::new(vec![living(ABOVE, 0, keep)], 0);
    bench.step(&Read(1, 95.0));
    bench.step(&Read(2, 70.0));
    let mut out = Vec::new();
    let now = bench.moment();
    bench.machine.clock_jumped(0, 1000 * SECOND, now, &mut out);
    assert_eq!(what(&out[0]), (Moved, Clock, 1002));
    assert_eq!(out[0].alert.marks.clear_since_ms, Some(1_002_000));
    assert_eq!(bench.take(&reading(1011, 70.0), false), []);
    assert_eq!(
        bench.take(&reading(1012, 70.0), false)[0].alert.state,
        Resolved
    );
}

/// What a restart brings back: the last of each.
fn restarted(rule: &Rule, told: &[Transition], at: i64) -> Bench {
    let mut bench = Bench::new(Vec::new(), at);
    bench.machine = Machine::new(vec![rule.clone()], 100);
    let last = told.last().unwrap();
    let memory = last.memory.as_deref().unwrap();
    // As it comes out of the file.
    let memory: Memory = serde_json::from_str(&serde_json::to_string(memory).unwrap()).unwrap();
    bench
        .machine
        .remember([(last.alert.rule.clone(), last.alert.series.clone(), memory)]);
    let now = bench.moment();
    bench.machine.watch(0, &key(), &BTreeMap::new(), now);
    if matches!(last.alert.state, Pending | Firing) {
        bench.machine.resume(0, last.alert.clone(), now).unwrap();
    }
    bench
}

#[test]
fn every_wait_goes_on_over_a_restart() {
    let keep = living(
        ABOVE,
        0,
        Life {
            keep_firing_for: seconds(60),
            min_off: seconds(60),
            ..fresh()
        },
    );
    let mut before = Bench::new(vec![keep.clone()], 0);
    let mut told = before.step(&Read(1, 95.0));
    told.extend(before.step(&Read(2, 70.0)));
    before.step(&Read(4, 70.0));
    // `keep_firing_for` from when it was clear, as the readings of before show.
    let mut after = restarted(&keep, &told, 30);
    for (time, value) in [(1, 95.0), (2, 70.0), (4, 70.0)] {
        after.take(&reading(time, value), true);
    }
    after.now = 30 + 57;
    assert_eq!(after.tick(), []);
    after.now = 30 + 58;
    let over = after.tick();
    assert_eq!(what(&over[0]), (Over, Waiting, 62));
    // `min_off` from then.
    let mut again = restarted(&keep, &over, 100);
    let pending = again.step(&Read(101, 95.0));
    assert_eq!(what(&pending[0]), (Began, ByReading, 101));
    assert_eq!(pending[0].alert.marks.waits_until_ms, Some(122_000));
    let mut again = restarted(&keep, &pending, 110);
    again.take(&reading(101, 95.0), true);
    assert_eq!(
        again
            .step(&Read(122, 95.0))
            .iter()
            .map(what)
            .collect::<Vec<_>>(),
        [(Fired, ByReading, 122)]
    );

    // How often it fired, and how an alert that flaps stands.
    let flaps = living(ABOVE, 0, flapping(3));
    let mut before = Bench::new(vec![flaps.clone()], 0);
    let mut told = Vec::new();
    for (time, value) in [(1, 95.0), (2, 70.0), (3, 95.0), (4, 70.0)] {
        told.extend(before.step(&Read(time, value)));
    }
    let mut after = restarted(&flaps, &told, 5);
    let told = after.step(&Read(6, 95.0));
    assert_eq!(told[0].alert.marks.flapping_since_ms, Some(6000));
    for (time, value) in [(7, 70.0), (8, 95.0), (20, 70.0)] {
        assert_eq!(after.step(&Read(time, value)), []);
    }
    let mut after = restarted(&flaps, &told, 21);
    for (time, value) in [(6, 95.0), (7, 70.0), (8, 95.0), (20, 70.0)] {
        after.take(&reading(time, value), true);
    }
    assert_eq!(after.step(&Read(49, 70.0)), []);
    assert_eq!(
        after
            .step(&Read(50, 70.0))
            .iter()
            .map(what)
            .collect::<Vec<_>>(),
        [(Over, ByReading, 50)]
    );

    // Stale stays stale until something new is received.
    let stale = living(
        ABOVE,
        0,
        Life {
            stale_after: seconds(60),
            ..fresh()
        },
    );
    let mut before = Bench::new(vec![stale.clone()], 0);
    let mut told = before.step(&Read(1, 95.0));
    told.extend(before.step(&Wait(61)));
    let mut after = restarted(&stale, &told, 70);
    after.take(&reading(1, 95.0), true);
    assert_eq!(
        after.machine.alerts().next().unwrap().marks.stale_since_ms,
        Some(1000)
    );
    after.now = 500;
    assert_eq!(after.tick(), []);
    assert_eq!(
        what(&after.step(&Read(501, 95.0))[0]),
        (HeardAgain, ByReading, 501)
    );
}

#[test]
fn an_alert_that_begins_again_at_the_same_time_after_a_restart_has_another_id() {
    let hot = rule("hot", ABOVE, 0);
    let mut before = Bench::new(vec![hot.clone()], 0);
    let mut told = before.take(&reading(7, 95.0), false);
    told.extend(before.take(&reading(7, 10.0), false));
    let mut after = restarted(&hot, &told, 7);
    let again = after.take(&reading(7, 95.0), false).remove(0);
    assert_ne!(again.alert.id, told[0].alert.id);
}

#[test]
fn other_settings_of_its_life_leave_an_alert_alone_and_hold_from_now_on() {
    let keep = |keep: u64| {
        living(
            ABOVE,
            0,
            Life {
                keep_firing_for: seconds(keep),
                ..fresh()
            },
        )
    };
    let mut bench = Bench::new(vec![keep(600)], 0);
    let fired = bench.step(&Read(1, 95.0));
    bench.step(&Read(2, 70.0));
    bench.now = 100;
    assert_eq!(bench.machine.set_rules(vec![keep(60)], bench.moment()), []);
    let over = bench.tick();
    assert_eq!(what(&over[0]), (Over, Waiting, 62));
    assert_eq!(over[0].alert.id, fired[0].alert.id);
    assert_ne!(
        over[0].alert.marks.rule_version,
        fired[0].alert.marks.rule_version
    );
    // What flaps calms when its rule no longer asks for that.
    let mut bench = Bench::new(vec![living(ABOVE, 0, flapping(2))], 0);
    for (time, value) in [(1, 95.0), (2, 70.0), (3, 95.0)] {
        bench.step(&Read(time, value));
    }
    let plain = vec![living(ABOVE, 0, fresh())];
    assert_eq!(bench.machine.set_rules(plain, bench.moment()), []);
    assert_eq!(what(&bench.step(&Wait(4))[0]).0, Calmed);
}
