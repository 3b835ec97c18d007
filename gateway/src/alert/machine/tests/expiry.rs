//! An alert that fired for as long as its rule lets it is over by itself, once, and stays over until its condition was clear.

use proptest::prelude::*;

use super::*;
use crate::alert::{Cause, Change, Closing, Flapping, StillClosed};

const LIMIT: u64 = 100;

fn limited(condition: Condition, life: Life) -> Rule {
    Rule {
        life: Life {
            resolve_after: Duration::from_secs(LIMIT),
            stale_after: Duration::ZERO,
            ..life
        },
        ..rule("hot", condition, 0)
    }
}

/// For the law.
pub(super) fn expiring() -> Rule {
    Rule {
        life: Life {
            resolve_after: Duration::from_secs(35),
            keep_firing_for: Duration::from_secs(10),
            ..Life::default()
        },
        ..rule("expiring", ABOVE, 3)
    }
}

/// What the durable state has of closings.
pub(super) fn still_closed<'a>(all: impl Iterator<Item = &'a Closing>) -> Vec<StillClosed> {
    let mut still: BTreeMap<String, StillClosed> = BTreeMap::new();
    for closing in all {
        match closing {
            Closing::Closed { alert, .. } | Closing::Expired { alert, .. } => {
                let (id, rule, series) =
                    (alert.id.clone(), alert.rule.clone(), alert.series.clone());
                let closed = StillClosed {
                    alert: id,
                    rule: rule.clone(),
                    series,
                };
                still.insert(rule.to_string(), closed);
            }
            Closing::Cleared { rule, .. } => {
                still.remove(rule.as_str());
            }
        }
    }
    still.into_values().collect()
}

/// Nothing that expires fired for longer than it may, nor ended twice.
pub(super) fn holds(log: &[Transition]) -> Result<(), TestCaseError> {
    let mut ended = std::collections::HashSet::new();
    for told in log.iter().filter(|told| told.alert.rule == "expiring") {
        let alert = &told.alert;
        if alert.state != Resolved {
            continue;
        }
        prop_assert!(ended.insert(alert.id.clone()), "{} ended twice", alert.id);
        let fired = alert.fired_ms.unwrap();
        if alert.marks.cause == Some(Cause::Expiry) {
            // Less where a reading from before that shows when it was true, after waiting said that it fires.
            let lasted = alert.resolved_ms.unwrap() - fired;
            prop_assert!((30_000..=35_000).contains(&lasted), "{lasted}");
        }
    }
    Ok(())
}

type Told = (Change, Cause, i64);

fn what(told: &Transition) -> Told {
    let marks = &told.alert.marks;
    let (change, cause) = (marks.change.unwrap(), marks.cause.unwrap());
    (change, cause, told.at.0 / SECOND)
}

type Row = (Step, &'static [Told]);

fn run(table: &[(&str, Rule, &[Row])]) {
    for (name, rule, rows) in table {
        let mut bench = Bench::new(vec![rule.clone()], 0);
        for (at, (step, expected)) in rows.iter().enumerate() {
            let changes: Vec<_> = bench.step(step).iter().map(what).collect();
            assert_eq!(changes, *expected, "{name}: step {at}");
        }
    }
}

use Cause::{Expiry, Reading as ByReading, Silence};
use Change::{Cleared, Fired, Resolved as Over, WentStale};

#[test]
fn an_alert_fires_at_most_for_as_long_as_its_rule_lets_it() {
    run(&[
        (
            "readings show it, and it fires again only after it was clear",
            limited(ABOVE, Life::default()),
            &[
                (Read(1, 95.0), &[(Fired, ByReading, 1)]),
                (Read(100, 95.0), &[]),
                (Read(101, 95.0), &[(Over, Expiry, 101)]),
                (Read(102, 96.0), &[]),
                (Read(103, 85.0), &[]),
                (Read(104, 96.0), &[]),
                (Wait(500), &[]),
                (Read(501, 80.0), &[]),
                (Read(502, 95.0), &[(Fired, ByReading, 502)]),
            ],
        ),
        (
            "waiting shows it when no reading comes, counted from when it fired",
            limited(ABOVE, Life::default()),
            &[
                (Read(1, 95.0), &[(Fired, ByReading, 1)]),
                (Read(60, 95.0), &[]),
                (Wait(100), &[]),
                (Wait(101), &[(Over, Expiry, 101)]),
                (Wait(900), &[]),
            ],
        ),
        (
            "what can't be decided does not put it off, and an alert that is stale ends too",
            limited(
                ABOVE,
                Life {
                    stale_after: Duration::from_secs(50),
                    ..Life::default()
                },
            ),
            &[
                (Read(1, 95.0), &[(Fired, ByReading, 1)]),
                (Text(90), &[]),
                (Retained(95, 10.0), &[]),
                (Wait(101), &[(Over, Expiry, 101)]),
            ],
        ),
        (
            "clear by then is an end as ever",
            limited(ABOVE, Life::default()),
            &[
                (Read(1, 95.0), &[(Fired, ByReading, 1)]),
                (Read(99, 80.0), &[(Over, ByReading, 99)]),
                (Wait(150), &[]),
                (Read(151, 95.0), &[(Fired, ByReading, 151)]),
                (Wait(251), &[(Over, Expiry, 251)]),
            ],
        ),
        (
            "what only stays, as its rule keeps it, ends too, and may begin again at once",
            limited(
                ABOVE,
                Life {
                    keep_firing_for: Duration::from_secs(80),
                    ..Life::default()
                },
            ),
            &[
                (Read(1, 95.0), &[(Fired, ByReading, 1)]),
                (Read(50, 70.0), &[(Cleared, ByReading, 50)]),
                (Wait(101), &[(Over, Expiry, 101)]),
                (Read(102, 95.0), &[(Fired, ByReading, 102)]),
            ],
        ),
        (
            "an alert that flaps ends, and begins anew only after it was clear",
            limited(
                ABOVE,
                Life {
                    flapping: Some(Flapping {
                        fires: 2,
                        within: Duration::from_secs(60),
                        calm: Duration::from_secs(600),
                    }),
                    ..Life::default()
                },
            ),
            &[
                (Read(1, 95.0), &[(Fired, ByReading, 1)]),
                (Read(2, 70.0), &[(Over, ByReading, 2)]),
                (Read(3, 95.0), &[(Fired, ByReading, 3)]),
                (Read(50, 70.0), &[]),
                (Read(60, 95.0), &[]),
                (Wait(103), &[(Over, Expiry, 103)]),
                (Read(104, 95.0), &[]),
                (Read(105, 70.0), &[]),
                (Read(106, 95.0), &[(Fired, ByReading, 106)]),
            ],
        ),
        (
            "silence fires as long, and again only after something was heard",
            limited(SILENT, Life::default()),
            &[
                (Wait(60), &[(Fired, Silence, 60)]),
                (Wait(159), &[]),
                (Wait(160), &[(Over, Expiry, 160)]),
                (Wait(900), &[]),
                (Read(901, 1.0), &[]),
                (Wait(961), &[(Fired, Silence, 961)]),
            ],
        ),
        (
            "what was sent late shows it by what it says, or after a moment in which the rest may come",
            limited(ABOVE, Life::default()),
            &[
                (Wait(1000), &[]),
                (Late(1, 95.0), &[(Fired, ByReading, 1)]),
                (Wait(1029), &[]),
                (Late(60, 95.0), &[]),
                (Wait(1058), &[]),
                (Late(99, 70.0), &[(Over, ByReading, 99)]),
                (Late(110, 95.0), &[(Fired, ByReading, 110)]),
                (Late(209, 95.0), &[]),
                (Late(210, 95.0), &[(Over, Expiry, 210)]),
                (Late(211, 70.0), &[]),
                (Late(212, 95.0), &[(Fired, ByReading, 212)]),
                (Wait(1087), &[]),
                (Wait(1088), &[(Over, Expiry, 312)]),
            ],
        ),
    ]);
}

#[test]
fn what_expires_says_so_and_is_told_as_closed_until_it_is_clear() {
    let mut bench = Bench::new(vec![limited(ABOVE, Life::default())], 0);
    let fired = bench.step(&Read(1, 95.0)).remove(0).alert;
    let over = bench.step(&Wait(101)).remove(0).alert;
    assert_eq!(over.id, fired.id);
    assert_eq!(over.resolved_ms, Some(101_000));
    let said = " (ended by itself: it fired for 100 s)";
    assert_eq!(over.summary, format!("{}{said}", fired.summary));
    let after = String::from("100 s");
    let alert = Box::new(fired);
    assert_eq!(
        bench.machine.take_closings(),
        [Closing::Expired { alert, after }]
    );
    assert_eq!(bench.machine.counts(), Counts::default());
    bench.step(&Read(200, 80.0));
    let still = bench.machine.take_closings();
    assert!(matches!(&still[..], [Closing::Cleared { .. }]), "{still:?}");
}

#[test]
fn a_stale_alert_is_marked_before_it_expires() {
    let mut hot = limited(ABOVE, Life::default());
    hot.life.stale_after = Duration::from_secs(50);
    let mut bench = Bench::new(vec![hot], 0);
    bench.step(&Read(1, 95.0));
    assert_eq!(what(&bench.step(&Wait(51))[0]), (WentStale, Silence, 51));
    let over = bench.step(&Wait(101)).remove(0);
    assert_eq!(what(&over), (Over, Expiry, 101));
    assert_eq!(over.alert.marks.stale_since_ms, None);
}

/// A time at which the clock is set.
const SET: i64 = 1_800_000_000;

fn again(rule: &Rule, told: &Transition, at: i64) -> Bench {
    let mut bench = Bench::new(Vec::new(), at);
    bench.machine = Machine::new(vec![rule.clone()], 100);
    let memory = told.memory.as_deref().unwrap().clone();
    let (name, series) = (told.alert.rule.clone(), told.alert.series.clone());
    bench.machine.remember([(name, series, memory)]);
    let now = bench.moment();
    bench.machine.watch(0, &key(), &BTreeMap::new(), now);
    bench.machine.resume(0, told.alert.clone(), now).unwrap();
    bench
}

#[test]
fn a_restart_does_not_begin_the_time_anew() {
    for (condition, begin) in [(ABOVE, true), (SILENT, false)] {
        let hot = limited(condition, Life::default());
        let mut before = Bench::new(vec![hot.clone()], SET - 60);
        let fired = match begin {
            true => before.step(&Read(SET, 95.0)),
            false => before.step(&Wait(SET)),
        };
        assert_eq!(what(&fired[0]).0, Fired);
        for replayed in [false, true] {
            // Of what is left of its time, the time without power counts.
            let mut soon = again(&hot, &fired[0], SET + 20);
            if replayed && begin {
                soon.take(&reading(SET, 95.0), true);
            }
            assert_eq!(soon.step(&Wait(SET + 99)), []);
            assert_eq!(what(&soon.step(&Wait(SET + 100))[0]).1, Expiry);
            // Over long ago: those who were not heard meanwhile get a moment.
            let mut late = again(&hot, &fired[0], SET + 5_000);
            if replayed && begin {
                late.take(&reading(SET, 95.0), true);
            }
            assert_eq!(late.step(&Wait(SET + 5_029)), []);
            assert_eq!(what(&late.step(&Wait(SET + 5_030))[0]).1, Expiry);
            assert_eq!(late.step(&Wait(SET + 9_000)), []);
        }
    }
}

#[test]
fn a_clock_that_is_set_takes_the_end_with_it() {
    let hot = limited(ABOVE, Life::default());
    let mut bench = Bench::new(vec![hot], 0);
    bench.step(&Read(1, 95.0));
    let (mut out, now) = (Vec::new(), bench.moment());
    bench.machine.clock_jumped(0, 1_000 * SECOND, now, &mut out);
    assert_eq!(out[0].alert.marks.change, Some(Change::Moved));
    assert_eq!(bench.take(&reading(1_100, 95.0), false), []);
    let over = bench.take(&reading(1_101, 95.0), false);
    assert_eq!(what(&over[0]), (Over, Expiry, 1_101));
}

#[test]
fn another_limit_counts_from_the_same_beginning() {
    let hot = limited(ABOVE, Life::default());
    let mut bench = Bench::new(vec![hot.clone()], 0);
    bench.step(&Read(1, 95.0));
    bench.now = 60;
    let mut other = hot;
    other.life.resolve_after = Duration::from_secs(50);
    assert_eq!(bench.machine.set_rules(vec![other], bench.moment()), []);
    assert_eq!(what(&bench.tick()[0]), (Over, Expiry, 51));
}
