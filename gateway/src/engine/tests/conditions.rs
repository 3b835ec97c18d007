//! Conditions that look at more than one value, through the real store, over restarts and reloads.

use std::collections::HashMap;

use super::*;
use crate::{
    alert::{Counted, Direction, Expression, Of, Side},
    model::{Metric, Stamps},
};

fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn setpoint() -> Of {
    Of::Metric(Metric("setpoint".into()))
}

fn above_setpoint() -> Rule {
    let condition = Condition::Versus {
        side: Side::Above,
        other: setpoint(),
        by: 2.0,
        clear_by: 1.0,
        max_age: Some(secs(60)),
    };
    rule("above setpoint", condition)
}

fn minutes(text: &str) -> Option<Duration> {
    let minutes: u64 = text.strip_suffix('m')?.parse().ok()?;
    Some(secs(60 * minutes))
}

/// Time stands still until nobody has anything left to do.
async fn settled() {
    tokio::time::sleep(Duration::from_millis(1)).await;
}

/// One rule of each kind that looks back, compares or remembers.
fn looking_back() -> Vec<Rule> {
    let over = secs(40);
    let above = Condition::Above {
        limit: 27.0,
        clear: 26.0,
    };
    vec![
        above_setpoint(),
        rule(
            "rising",
            Condition::Rate {
                limit: 2.0,
                clear: 1.0,
                per: secs(60),
                over,
                direction: Direction::Either,
            },
        ),
        rule(
            "unusual",
            Condition::Deviation {
                limit: 1.5,
                clear: 1.0,
                over,
                least: 5,
                by: 0.0,
                direction: Direction::Either,
            },
        ),
        rule(
            "rarely so high",
            Condition::Percentile {
                side: Side::Above,
                limit: 90.0,
                clear: 50.0,
                over: secs(3_000),
                least: 5,
                by: 0.0,
            },
        ),
        rule(
            "stuck",
            Condition::Stuck {
                span: secs(10),
                tolerance: 0.6,
                least: 3,
            },
        ),
        rule(
            "often high",
            Condition::Count {
                each: Box::new(above.clone()),
                more_than: 4,
                over,
                counted: Counted::Readings,
            },
        ),
        rule(
            "up and down",
            Condition::Count {
                each: Box::new(above),
                more_than: 1,
                over: secs(120),
                counted: Counted::Beginnings,
            },
        ),
        rule(
            "expression",
            Condition::When {
                when: Expression::compile(
                    "value > mean('1m') and rate('2m') > 0 and value > metric('setpoint')",
                    &minutes,
                )
                .unwrap(),
                clear: None,
            },
        ),
    ]
}

/// In a flat stretch, not yet long enough to be stuck, the clock of the gateway is set an hour ahead.
const JUMP_AT: i64 = 182;

/// A walk with flat stretches and a setpoint now and then.
fn course() -> Vec<Batch> {
    let mut random = 7_u32;
    let mut value = 25.0;
    let mut batches = Vec::new();
    for at in 0..600_i64 {
        random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let drawn = f64::from(random >> 16) / 65_536.0;
        if (at / 30) % 3 != 0 {
            value = (value + 2.0 * (drawn - 0.5) + (25.0 - value) / 20.0).clamp(20.0, 30.0);
        }
        let second = 2 * at + if at < JUMP_AT { 0 } else { 3600 };
        batches.push(batch(vec![reading("boiler/temperature", second, value)]));
        if at == JUMP_AT {
            batches.last_mut().unwrap().stamps = Stamps::Jumped(3600 * SECOND);
        }
        if at % 25 == 0 {
            let setpoint = reading("boiler/setpoint", second, 24.0 + drawn);
            batches.push(batch(vec![setpoint]));
        }
        // A few come late: they judge nothing, and are remembered by the store alone.
        if at % 40 == 39 {
            let late = reading("boiler/temperature", second - 20, 30.0);
            batches.push(batch(vec![late]));
        }
    }
    batches
}

/// What changes, in order, when the gateway is restarted after so many records.
async fn lived(
    rules: Vec<Rule>,
    batches: &[Batch],
    restart_after: Option<usize>,
) -> Vec<Transition> {
    let mut config = config(rules);
    // So short a ring that windows have to help.
    config.store.bytes_per_series = 60 * store::POINT_BYTES;
    let boot = |resumption| Booting::new(config.clone(), resumption, clock());
    let mut rig = start_with(boot(Resumption::default()), 4096, 1024);
    let mut transitions = Vec::new();
    let mut memories = HashMap::new();
    for (at, batch) in batches.iter().enumerate() {
        if restart_after == Some(at) {
            let alerts = rig.engine.alerts().await.unwrap();
            let mut booting = boot(Resumption {
                alerts,
                memories: memories
                    .drain()
                    .map(|((rule, series), memory)| (rule, series, memory))
                    .collect(),
                evaluated: Position(at as u64),
                ..Resumption::default()
            });
            for (position, batch) in (1..).map(Position).zip(&batches[..at]) {
                let batches = vec![batch.clone()];
                booting.replay(&Entry { position, batches });
            }
            rig = start_with(booting, 4096, 1024);
        }
        rig.commit(at as u64 + 1, batch.clone()).await;
        settled().await;
        while let Ok(decided) = rig.decided.try_recv() {
            // As the state keeps them.
            for told in &decided.transitions {
                let of = (told.alert.rule.clone(), told.alert.series.clone());
                memories.extend(told.memory.as_deref().map(|memory| (of, memory.clone())));
            }
            transitions.extend(decided.transitions);
        }
    }
    transitions
}

#[tokio::test(start_paused = true)]
async fn conditions_that_look_back_say_the_same_with_a_restart_and_without() {
    let batches = course();
    let expected = lived(looking_back(), &batches, None).await;
    for rule in looking_back() {
        let changes = expected.iter().filter(|t| t.alert.rule == rule.name);
        assert!(changes.count() >= 3, "{} is hardly tested", rule.name);
    }
    for restart_after in [1, 33, 170, 193, 196, 197, 250, 333, 480, 555] {
        let found = lived(looking_back(), &batches, Some(restart_after)).await;
        assert_eq!(
            found.len(),
            expected.len(),
            "restarted after {restart_after}"
        );
        for (found, expected) in found.iter().zip(&expected) {
            assert_eq!(found, expected, "restarted after {restart_after}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_unlike_the_usual_begins_one_alert_that_says_why_with_a_restart_and_without() {
    let mut rule = rule("unusual", Condition::Unusual { limit: 0.5 });
    rule.summary = String::from("Look at the boiler");
    // A day and more of a wave between 20 and 30, a reading each five minutes; then it stays away for 20 readings.
    let value = |at: i64| match at {
        400..420 => 60.0,
        _ => 25.0 + 5.0 * (at as f64 / 20.0).sin(),
    };
    // The clock of the gateway is set an hour ahead while nothing is the matter, and once more in the middle.
    let batches: Vec<Batch> = (0..500)
        .map(|at| {
            let ahead = 3600 * (i64::from(at >= 380) + i64::from(at >= 410));
            let temperature = reading("boiler/temperature", 300 * at + ahead, value(at));
            let mut batch = batch(vec![temperature]);
            if at == 380 || at == 410 {
                batch.stamps = Stamps::Jumped(3600 * SECOND);
            }
            batch
        })
        .collect();
    let expected = lived(vec![rule.clone()], &batches, None).await;
    let states: Vec<_> = expected.iter().map(|it| (it.alert.state, it.at)).collect();
    // Calm begins after it came back: 24 readings later, which are two hours.
    let times = [400, 420 + 24].map(|at: usize| batches[at].readings[0].time);
    assert_eq!(
        states,
        [
            (AlertState::Firing, times[0]),
            (AlertState::Resolved, times[1])
        ]
    );
    let said = &expected[0].alert.summary;
    assert!(
        said.starts_with("Look at the boiler (score 0.") && said.contains(", usual are 2"),
        "{said}"
    );
    for restart_after in [1, 299, 380, 381, 399, 401, 411, 421, 443] {
        let found = lived(vec![rule.clone()], &batches, Some(restart_after)).await;
        assert_eq!(found, expected, "restarted after {restart_after}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_can_not_be_decided_is_counted_and_shown_and_leaves_the_alert_alone() {
    let mut rig = start(vec![above_setpoint()]);
    rig.read(1, "boiler/temperature", 0, 30.0).await;
    settled().await;
    let status = rig.engine.status().await.unwrap();
    assert_eq!(status.undecided, 1);
    assert_eq!(status.undecided_rules.len(), 1);
    assert_eq!(status.undecided_rules[0].rule, "above setpoint");
    assert_eq!(
        status.undecided_rules[0].last,
        "boiler/temperature: setpoint has no value that can be used"
    );
    rig.read(2, "boiler/setpoint", 1, 20.0).await;
    rig.read(3, "boiler/temperature", 2, 30.0).await;
    let fired = rig.transitions().await;
    assert_eq!(fired.transitions[0].alert.state, AlertState::Firing);
    assert_eq!(
        fired.transitions[0].alert.summary,
        "boiler/temperature is 30: more than 2 above setpoint"
    );
    // The setpoint is too old now: the alert stays, though the value would clear it.
    rig.read(4, "boiler/temperature", 62, 10.0).await;
    settled().await;
    let status = rig.engine.status().await.unwrap();
    assert_eq!((status.undecided, status.firing), (2, 1));
    assert_eq!(status.undecided_rules[0].times, 2);
    assert!(
        status.undecided_rules[0].last.contains("too old"),
        "{status:?}"
    );
    rig.read(5, "boiler/setpoint", 63, 20.0).await;
    rig.read(6, "boiler/temperature", 64, 20.5).await;
    let resolved = rig.transitions().await;
    assert_eq!(resolved.transitions[0].alert.state, AlertState::Resolved);
    tokio::time::sleep(secs(61)).await;
    assert!(
        rig.metrics().contains("gateway_rules_undecided_total 2"),
        "{}",
        rig.metrics()
    );
}

#[tokio::test(start_paused = true)]
async fn a_rule_by_label_is_about_the_devices_that_have_it_now() {
    let device = |id: &str, site: &str| DeviceConfig {
        id: id.into(),
        site: Some(site.into()),
        ..DeviceConfig::default()
    };
    let mut north = hot();
    north.series = "*/*".into();
    north.matching = BTreeMap::from([
        (String::from("site"), String::from("nor*")),
        (String::from("device"), String::from("b*")),
    ]);
    let placed = |site| Config {
        devices: vec![device("boiler", site), device("barn", "south")],
        ..config(vec![north.clone()])
    };
    let booting = Booting::new(placed("north"), Resumption::default(), clock());
    let mut rig = start_with(booting, 64, 64);
    for (position, series) in (1..).zip(["barn/temperature", "boiler/temperature", "loft/x"]) {
        rig.read(position, series, 0, 95.0).await;
    }
    let fired = rig.transitions().await.transitions;
    let alert = &fired[0].alert;
    assert_eq!(
        (fired.len(), alert.series.as_str()),
        (1, "boiler/temperature")
    );

    // The device moves: its alert ends, and says why.
    rig.engine.reconfigure(placed("south")).await.unwrap();
    let ended = rig.transitions().await.transitions;
    assert_eq!(ended[0].alert.id, alert.id);
    assert_eq!(ended[0].alert.state, AlertState::Resolved);
    assert!(
        ended[0]
            .alert
            .summary
            .contains("no longer about this series"),
        "{}",
        ended[0].alert.summary
    );
    assert_eq!(rig.engine.status().await.unwrap().firing, 0);

    // And back: it is chosen again.
    rig.engine.reconfigure(placed("north")).await.unwrap();
    rig.read(4, "boiler/temperature", 1, 96.0).await;
    let again = rig.transitions().await.transitions;
    assert_eq!(again[0].alert.state, AlertState::Firing);
}
