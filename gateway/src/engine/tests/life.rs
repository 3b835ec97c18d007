//! The law of alerts, over the real way of a restart: the durable state in its file, the journal's replay, and the alerts, memories and
//! position that come back.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use proptest::prelude::*;
use smol_str::SmolStr;
use tempfile::TempDir;

use super::*;
use crate::{
    alert::{Alert, AlertState::*, Change, Flapping, schedule},
    engine::core::Core,
    model::Stamps,
    state::State,
};

#[derive(Clone, Debug)]
enum Op {
    /// Of this series, measured so many seconds before or after now, when so many have passed.
    Read(usize, i64, i64, f64),
    Wait(i64),
    /// The wall clock goes elsewhere; nothing else notices.
    Step(i64),
    /// The clock was set: what the gateway stamped moves.
    Jump(i64),
    /// So much of what waits is written down.
    Write(usize),
    /// The process dies after so much more was written down.
    Kill(usize),
    /// The config is read again; with or without other lives.
    Reload(bool),
}

const KEYS: [&str; 3] = ["pump/temperature", "pump/current", "well/temperature"];

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        12 => (0_usize..3, -5_i64..2, 0_i64..12, 70.0..110.0)
            .prop_map(|(series, late, step, value)| Op::Read(series, late, step, value)),
        3 => (0_i64..80).prop_map(Op::Wait),
        1 => (-7200_i64..7200).prop_map(Op::Step),
        1 => (1_i64..500).prop_map(Op::Jump),
        3 => (0_usize..8).prop_map(Op::Write),
        2 => (0_usize..8).prop_map(Op::Kill),
        1 => any::<bool>().prop_map(Op::Reload),
    ]
}

fn rules(other: bool) -> Vec<Rule> {
    let seconds = Duration::from_secs;
    let longer = if other { 2 } else { 1 };
    let plain = Life {
        stale_after: seconds(45),
        ..Life::default()
    };
    let named = |name: &str, life: Life| Rule {
        life,
        ..rule(name, hot().condition)
    };
    let all_week = schedule::Period {
        days: vec![jiff::civil::Weekday::Friday],
        from: jiff::civil::time(8, 1, 0, 0),
        to: jiff::civil::time(8, 4, 0, 0),
        zone: jiff::tz::TimeZone::UTC,
    };
    vec![
        named("hot", plain.clone()),
        Rule {
            hold: seconds(20),
            ..named(
                "kept",
                Life {
                    keep_firing_for: seconds(15 * longer),
                    min_on: seconds(25),
                    min_off: seconds(30 * longer),
                    ..plain.clone()
                },
            )
        },
        named(
            "flapping",
            Life {
                flapping: Some(Flapping {
                    fires: 2,
                    within: seconds(60),
                    calm: seconds(20 * longer),
                }),
                ..plain.clone()
            },
        ),
        named(
            "in hours",
            Life {
                during: schedule::Schedule(vec![all_week]),
                ..plain.clone()
            },
        ),
        Rule {
            life: Life {
                keep_firing_for: seconds(10),
                ..plain.clone()
            },
            ..silent()
        },
        Rule {
            hold: seconds(5),
            ..named(
                "dependent",
                Life {
                    depends_on: vec!["silent".into(), "hot".into()],
                    ..plain
                },
            )
        },
    ]
}

/// A gateway's engine with its journal and its state file.
struct Plant {
    core: Core,
    outgoing: Outgoing,
    state: State,
    dir: TempDir,
    journal: Vec<Entry>,
    /// Decided and not written down.
    waiting: VecDeque<Decided>,
    /// Written down, in order.
    log: Vec<Transition>,
    other: bool,
    clock: i64,
    uptime: i64,
}

fn opened(dir: &TempDir) -> State {
    State::open(dir.path(), &[], Clock::system(), &mut Registry::default()).unwrap()
}

impl Plant {
    async fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let state = opened(&dir);
        let now = Moment {
            clock: Timestamp(START * SECOND),
            uptime: Duration::ZERO,
        };
        Self {
            core: Core::new(config(rules(false)), Resumption::default(), now),
            outgoing: Outgoing::new(Duration::ZERO),
            state,
            dir,
            journal: Vec::new(),
            waiting: VecDeque::new(),
            log: Vec::new(),
            other: false,
            clock: START,
            uptime: 0,
        }
    }

    fn now(&self) -> Moment {
        Moment {
            clock: Timestamp(self.clock * SECOND),
            uptime: Duration::from_secs(self.uptime.unsigned_abs()),
        }
    }

    fn pass(&mut self, seconds: i64) {
        // Timers come when they are due, not when the next reading does.
        for _ in 0..seconds {
            self.clock += 1;
            self.uptime += 1;
            self.core.tick(self.now());
            self.decide();
        }
    }

    fn decide(&mut self) {
        let transitions = self.core.take_transitions();
        if !transitions.is_empty() {
            self.waiting.push_back(Decided {
                position: self.core.position(),
                transitions,
                closings: Vec::new(),
            });
        }
    }

    fn commit(&mut self, batch: Batch) {
        let position = Position(self.journal.len() as u64 + 1);
        self.journal.push(Entry {
            position,
            batches: vec![batch.clone()],
        });
        let committed = Committed {
            position,
            batches: Arc::from(vec![batch]),
        };
        let now = self.now();
        self.core.apply(&committed, now, &mut self.outgoing);
        self.decide();
    }

    async fn write(&mut self, rounds: usize) {
        for _ in 0..rounds {
            let Some(decided) = self.waiting.pop_front() else {
                return;
            };
            self.log.extend(decided.transitions.iter().cloned());
            self.state.record(decided).await.unwrap();
        }
    }

    async fn restart(&mut self) {
        self.waiting.clear();
        self.state = opened(&self.dir);
        let resumption = self.state.resumption().await.unwrap();
        self.uptime = 0;
        self.clock += 2;
        let now = self.now();
        self.core = Core::new(config(rules(self.other)), resumption, now);
        self.outgoing = Outgoing::new(Duration::ZERO);
        let mut recorder = Recorder::default();
        for entry in &self.journal {
            self.core.replay(entry, now, &mut recorder);
        }
        self.decide();
    }

    async fn run(&mut self, op: Op) {
        match op {
            Op::Read(series, late, step, value) => {
                self.pass(step);
                let mut reading = reading(KEYS[series], self.clock + late - START, value);
                reading.received = Timestamp(self.clock * SECOND);
                self.commit(batch(vec![reading]));
            }
            Op::Wait(seconds) => self.pass(seconds),
            Op::Step(by) => self.clock += by,
            Op::Jump(by) => {
                self.clock += by;
                self.commit(Batch {
                    stamps: Stamps::Jumped(by * SECOND),
                    ..batch(Vec::new())
                });
            }
            Op::Write(rounds) => self.write(rounds).await,
            Op::Kill(rounds) => {
                self.write(rounds).await;
                self.restart().await;
            }
            Op::Reload(other) => {
                self.other = other;
                let now = self.now();
                let config = config(rules(other));
                self.core.reconfigure(config, now, &mut self.outgoing);
                self.decide();
            }
        }
    }
}

/// What fires or is pending after these changes, by rule and series; every step must be allowed.
fn follow(log: &[Transition]) -> Result<BTreeMap<(SmolStr, SmolStr), Alert>, TestCaseError> {
    let mut open: BTreeMap<(SmolStr, SmolStr), Alert> = BTreeMap::new();
    let mut ids = BTreeSet::new();
    for told in log {
        let alert = &told.alert;
        let key = (alert.rule.clone(), alert.series.clone());
        let before = open.remove(&key);
        if let Some(before) = &before {
            prop_assert_eq!(&before.id, &alert.id, "one alert within another");
        } else {
            prop_assert!(ids.insert(alert.id.clone()), "one id for two: {}", alert.id);
        }
        let change = alert.marks.change.unwrap();
        let allowed = match (before.as_ref().map(|before| before.state), alert.state) {
            (None, Pending) => change == Change::Began,
            (None | Some(Pending), Firing) => change == Change::Fired,
            (Some(Pending), Cancelled) => change == Change::Cancelled,
            (Some(Firing), Resolved) => change == Change::Resolved,
            (Some(Firing), Firing) => change != Change::Fired,
            (Some(Pending), Pending) => change == Change::Moved,
            _ => false,
        };
        prop_assert!(allowed, "{:?} after {:?}", alert, before);
        if matches!(alert.state, Pending | Firing) {
            open.insert(key, alert.clone());
        }
    }
    Ok(open)
}

fn as_told(alert: &Alert) -> Alert {
    let mut alert = alert.clone();
    if alert.marks.flapping_since_ms.is_some() {
        alert.marks.clear_since_ms = None;
    }
    alert
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn nothing_fires_twice_or_is_lost_over_readings_kills_and_steps_of_the_clock(
        ops in prop::collection::vec(op(), 1..70),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let mut plant = Plant::new().await;
            for op in ops {
                plant.run(op).await;
                let all: Vec<Transition> = plant
                    .log
                    .iter()
                    .cloned()
                    .chain(plant.waiting.iter().flat_map(|d| d.transitions.clone()))
                    .collect();
                let open: BTreeMap<_, _> =
                    follow(&all)?.into_iter().map(|(key, alert)| (key, as_told(&alert))).collect();
                let held: BTreeMap<_, _> = plant
                    .core
                    .alerts()
                    .map(|alert| ((alert.rule.clone(), alert.series.clone()), as_told(alert)))
                    .collect();
                prop_assert_eq!(open, held);
            }
            // What is in the file is what was told.
            plant.write(usize::MAX).await;
            let kept = plant.state.resumption().await.unwrap();
            let told = follow(&plant.log)?;
            prop_assert_eq!(kept.alerts.len(), told.len());
            for alert in &kept.alerts {
                let key = (alert.rule.clone(), alert.series.clone());
                prop_assert_eq!(told.get(&key), Some(alert));
                let (_, changes) = plant.state.alert(alert.id.to_string()).await.unwrap().unwrap();
                let of_it = plant.log.iter().filter(|told| told.alert.id == alert.id).count();
                prop_assert_eq!(changes.len(), of_it.min(100));
            }
            Ok(())
        })?;
    }
}

/// An alert that is killed at any point comes to the same end, by the same changes, as one that is not.
#[tokio::test]
async fn a_life_that_is_killed_after_any_change_goes_on_as_if_it_was_not() {
    let ops = || {
        let mut ops = Vec::new();
        for (step, value) in [
            (1, 95.0),
            (21, 95.0),
            (3, 70.0),
            (2, 95.0),
            (4, 70.0),
            (16, 70.0),
            (2, 95.0),
            (3, 70.0),
            (1, 95.0),
            (40, 95.0),
            (50, 70.0),
            (30, 70.0),
        ] {
            ops.push(Op::Read(0, 0, step, value));
        }
        ops
    };
    let told = |plant: &Plant| -> Vec<(SmolStr, SmolStr, Option<Change>, i64)> {
        plant
            .log
            .iter()
            // Silence counts from the start of the process.
            .filter(|told| told.alert.rule != "silent" && told.alert.rule != "dependent")
            .filter(|told| {
                !matches!(
                    told.alert.marks.change,
                    Some(Change::WentStale | Change::HeardAgain)
                )
            })
            .map(|told| {
                let alert = &told.alert;
                (
                    alert.rule.clone(),
                    alert.id.clone(),
                    alert.marks.change,
                    told.at.0,
                )
            })
            .collect()
    };
    let mut whole = Plant::new().await;
    for op in ops() {
        whole.run(op).await;
    }
    whole.write(usize::MAX).await;
    let expected = told(&whole);
    assert!(expected.len() > 12, "{expected:?}");
    for kill_after in 0..ops().len() {
        let mut plant = Plant::new().await;
        for (at, op) in ops().into_iter().enumerate() {
            plant.run(op).await;
            plant.write(usize::MAX).await;
            if at == kill_after {
                // It is away for no time, so that the waits are the same.
                plant.clock -= 2;
                plant.restart().await;
            }
        }
        plant.write(usize::MAX).await;
        assert_eq!(told(&plant), expected, "killed after {kill_after}");
    }
}
