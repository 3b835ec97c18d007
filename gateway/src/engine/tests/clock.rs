//! What clocks do to rules, windows and what is shown: ours that is not set or jumps, a device's that is off.

use smol_str::SmolStr;

use super::*;
use crate::{
    alert::Change,
    model::{Boot, Stamps},
};

const WEEKS: i64 = 14 * 86_400;

fn held(seconds: u64) -> Rule {
    Rule {
        hold: Duration::from_secs(seconds),
        ..hot()
    }
}

/// Measured at the first, arrived at the second, in seconds after the start.
fn came_late(measured: i64, arrived: i64, value: f64) -> Batch {
    let mut batch = batch(vec![reading("boiler/temperature", measured, value)]);
    batch.readings[0].received = Timestamp((START + arrived) * SECOND);
    batch
}

/// Stamped so many seconds after a boot, by a clock that was not set.
fn since_boot(second: i64, value: f64) -> Batch {
    let mut batch = batch(vec![reading("boiler/temperature", 0, value)]);
    let at = Timestamp(second * SECOND);
    (batch.readings[0].time, batch.readings[0].received) = (at, at);
    batch.stamps = Stamps::SinceBoot(Boot(1));
    batch
}

impl Rig {
    /// Time is paused: it goes on when nobody has anything to do.
    async fn idle(&self) {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }

    /// Names and states of all changes of state so far.
    async fn changes(&mut self) -> Vec<(SmolStr, AlertState)> {
        self.idle().await;
        let mut changes = Vec::new();
        while let Ok(decided) = self.decided.try_recv() {
            let all = decided.transitions.into_iter();
            changes.extend(
                all.filter(|t| !matches!(t.alert.marks.change, Some(Change::WentStale)))
                    .map(|t| (t.alert.rule, t.alert.state)),
            );
        }
        changes
    }
}

#[tokio::test(start_paused = true)]
async fn before_the_clock_is_set_values_are_shown_and_no_rule_runs() {
    let clock = Clock::manual(Timestamp(5 * SECOND));
    let booting = Booting::new(
        config(vec![hot(), silent()]),
        Resumption::default(),
        clock.clone(),
    );
    let mut rig = start_with(booting, 64, 64);
    rig.commit(1, since_boot(5, 95.0)).await;
    let shown = rig
        .update(|update| match update {
            Update::Series(info) => info.latest.clone(),
            _ => None,
        })
        .await;
    assert_eq!(
        (shown.value, shown.quality),
        (Value::Float(95.0), Quality::Uncertain)
    );
    // Silent for longer than the rule allows; but by which clock would that be told?
    tokio::time::sleep(Duration::from_secs(50)).await;
    rig.commit(2, since_boot(55, 96.0)).await;
    tokio::time::sleep(Duration::from_secs(40)).await;
    assert_eq!(rig.changes().await, []);
    let series = SeriesKey::parse("boiler/temperature").unwrap();
    let windows = rig.engine.windows(series.clone(), None).await.unwrap();
    assert_eq!(windows, Some(Vec::new()));

    // Set: the same comes again, at its right times.
    clock.set(Timestamp((START + 95) * SECOND));
    let mut again = batch(vec![
        reading("boiler/temperature", 5, 95.0),
        reading("boiler/temperature", 55, 20.0),
    ]);
    again.stamps = Stamps::Restamped {
        from: 1,
        boot: Boot(1),
        booted_at: Timestamp(START * SECOND),
    };
    rig.commit(3, again).await;
    tokio::time::sleep(Duration::from_secs(10)).await;
    let hot = |state| (SmolStr::new("hot"), state);
    assert_eq!(
        rig.changes().await,
        [hot(AlertState::Firing), hot(AlertState::Resolved)]
    );
    let windows = rig.engine.windows(series, None).await.unwrap().unwrap();
    assert_eq!(windows.iter().map(|(_, w)| w.count).sum::<u64>(), 4);
    let info = rig.engine.series().await.unwrap().remove(0);
    assert_eq!(info.latest.unwrap().time, Timestamp((START + 55) * SECOND));
    // And silence is noticed from now on.
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(rig.changes().await, [("silent".into(), AlertState::Firing)]);
}

/// Pending for a minute of five, then the clock jumps.
async fn pending_while_the_clock_jumps(by: i64) {
    let mut rig = start(vec![held(300), silent()]);
    for n in 0..3 {
        rig.read(n + 1, "boiler/temperature", 30 * n as i64, 95.0)
            .await;
        tokio::time::sleep(Duration::from_secs(30)).await;
    }
    let pending = [("hot".into(), AlertState::Pending)];
    assert_eq!(rig.changes().await, pending);
    rig.clock.set(Timestamp((START + 90 + by) * SECOND));
    for n in 3..10 {
        let mut jumped = batch(vec![reading("boiler/temperature", 30 * n + by, 95.0)]);
        if n == 3 {
            jumped.stamps = Stamps::Jumped(by * SECOND);
        }
        rig.commit(n.unsigned_abs() + 1, jumped).await;
        let again = if n == 3 { &pending[..] } else { &[] };
        assert_eq!(rig.changes().await, again, "reading {n}");
        tokio::time::sleep(Duration::from_secs(30)).await;
    }
    rig.read(11, "boiler/temperature", 300 + by, 95.0).await;
    assert_eq!(rig.changes().await, [("hot".into(), AlertState::Firing)]);
    let alert = rig.engine.alerts().await.unwrap().remove(0);
    assert_eq!(alert.began_ms, (START + by) * 1_000);
}

#[tokio::test(start_paused = true)]
async fn a_jump_ahead_does_not_count_as_time_for_which_a_rule_held() {
    pending_while_the_clock_jumps(WEEKS).await;
}

#[tokio::test(start_paused = true)]
async fn a_jump_back_does_not_begin_a_pending_alert_anew() {
    pending_while_the_clock_jumps(-WEEKS).await;
}

#[tokio::test(start_paused = true)]
async fn an_alert_that_fires_goes_on_over_jumps_in_both_directions() {
    let change = Condition::ChangeOver {
        limit: 50.0,
        over: Duration::from_secs(3_600),
    };
    let mut rig = start(vec![hot(), rule("leap", change)]);
    // Two weeks ago it was cold, and what was measured then is still in memory.
    for n in 0..20 {
        rig.read(n + 1, "boiler/temperature", 60 * n as i64 - WEEKS, 20.0)
            .await;
    }
    rig.read(30, "boiler/temperature", 0, 95.0).await;
    assert_eq!(rig.changes().await, [("hot".into(), AlertState::Firing)]);
    let mut position = 31;
    for by in [-WEEKS + 1_200, WEEKS, 0] {
        for n in 0..5 {
            let mut batch = batch(vec![reading("boiler/temperature", 60 + by + n, 95.0)]);
            if n == 0 {
                let before = [0, -WEEKS + 1_200, WEEKS][(position as usize - 31) / 5];
                batch.stamps = Stamps::Jumped((by - before) * SECOND);
            }
            rig.commit(position, batch).await;
            position += 1;
        }
        rig.idle().await;
        let info = rig.engine.series().await.unwrap().remove(0);
        assert_eq!(
            info.latest.unwrap().time,
            Timestamp((START + 64 + by) * SECOND),
            "it goes on at once"
        );
    }
    assert_eq!(rig.changes().await, []);
}

#[tokio::test(start_paused = true)]
async fn a_device_with_a_right_clock_is_judged_on_while_ours_is_two_weeks_back() {
    let mut rig = start(vec![hot()]);
    rig.commit(1, came_late(-1, 0, 20.0)).await;
    let mut jumped = came_late(120, 120 - WEEKS, 95.0);
    jumped.stamps = Stamps::Jumped(-WEEKS * SECOND);
    rig.commit(2, jumped).await;
    assert_eq!(rig.changes().await, [("hot".into(), AlertState::Firing)]);
    let mut back = came_late(240, 241, 20.0);
    back.stamps = Stamps::Jumped(WEEKS * SECOND);
    rig.commit(3, back).await;
    assert_eq!(rig.changes().await, [("hot".into(), AlertState::Resolved)]);
    assert_eq!(rig.engine.status().await.unwrap().left_out, 0);
}

#[tokio::test(start_paused = true)]
async fn what_was_buffered_since_yesterday_begins_and_ends_no_alert_but_is_data() {
    let mut rig = start(vec![hot(), silent()]);
    const DAY: i64 = 86_400;
    rig.commit(1, came_late(-DAY - 60, -DAY - 60, 95.0)).await;
    assert_eq!(rig.changes().await, [("hot".into(), AlertState::Firing)]);
    // All of a day at once, cold and hot again, up to three hours ago.
    for n in 0..21 {
        let value = if n % 2 == 0 { 20.0 } else { 95.0 };
        rig.commit(2 + n, came_late(-DAY + 3_600 * n as i64, 0, value))
            .await;
    }
    assert_eq!(rig.changes().await, []);
    let series = SeriesKey::parse("boiler/temperature").unwrap();
    let windows = rig.engine.windows(series, None).await.unwrap().unwrap();
    let hours = windows.iter().filter(|(s, _)| s.every.as_secs() == 3_600);
    assert_eq!(hours.map(|(_, w)| w.count).sum::<u64>(), 22);
    // Behind the newest they are late: counted, and shown to be.
    rig.commit(30, came_late(0, 0, 95.0)).await;
    for n in 0..7 {
        rig.commit(31 + n, came_late(-DAY + 60 * n as i64, 0, 20.0))
            .await;
    }
    assert_eq!(rig.changes().await, []);
    assert_eq!(rig.engine.status().await.unwrap().too_late, 7);
    assert_eq!(rig.engine.series().await.unwrap()[0].too_late, 7);
    // It is today's reading that ends it.
    rig.commit(40, came_late(1, 1, 20.0)).await;
    assert_eq!(rig.changes().await, [("hot".into(), AlertState::Resolved)]);
}

#[tokio::test(start_paused = true)]
async fn a_device_whose_clock_is_three_hours_off_is_known_and_its_alerts_run_on_its_own_time() {
    for off in [-3 * 3_600, 3 * 3_600] {
        let mut rig = start(vec![held(60), silent()]);
        let mut position = 0;
        for n in 0..10 {
            position += 1;
            rig.commit(position, came_late(5 * n + off, 5 * n, 20.0))
                .await;
        }
        rig.idle().await;
        let device = rig.engine.devices().await.unwrap().remove(0);
        assert_eq!(device.clock_ahead_ms, Some(off * 1_000));
        for n in 10..30 {
            position += 1;
            rig.commit(position, came_late(5 * n + off, 5 * n, 95.0))
                .await;
        }
        let hot = |state| (SmolStr::new("hot"), state);
        assert_eq!(
            rig.changes().await,
            [hot(AlertState::Pending), hot(AlertState::Firing)]
        );
        let alert = rig.engine.alerts().await.unwrap().remove(0);
        assert_eq!(alert.began_ms, (START + 50 + off) * 1_000);
        tokio::time::sleep(Duration::from_secs(61)).await;
        assert_eq!(rig.changes().await, [("silent".into(), AlertState::Firing)]);
    }
}

#[tokio::test(start_paused = true)]
async fn windows_that_a_jump_back_closes_are_numbered_the_same_in_each_run() {
    let read = |series: &str, second| batch(vec![reading(series, second, 20.0)]);
    let mut jumped = read("c/temperature", 60 - WEEKS);
    jumped.stamps = Stamps::Jumped(-WEEKS * SECOND);
    let records = [
        read("b/temperature", 0),
        read("a/temperature", 1),
        read("c/temperature", 2),
        jumped,
    ];
    // An alert of before makes its series the first in this run, whatever the journal says.
    let mut booting = booting(vec![], Resumption::default());
    booting.core.store.expect(&records[2].readings[0].series);
    let mut rig = start_with(booting, 64, 64);
    for (record, position) in records.iter().zip(1..) {
        rig.commit(position, record.clone()).await;
    }
    rig.idle().await;
    let mut said = Vec::new();
    while let Ok(update) = rig.updates.try_recv() {
        if let Update::Window {
            series,
            spec,
            window,
            position: Position(4),
            nth,
        } = update
        {
            assert_eq!(nth, said.len() as u64);
            said.push((series, spec, window));
        }
    }
    assert!(said.len() > 2, "{said:?}");

    let mut again = self::booting(vec![], Resumption::default());
    again.remember(Remember {
        newest: Position(4),
        bytes: usize::MAX,
        ..Remember::default()
    });
    for (record, position) in records.into_iter().zip(1..) {
        again.replay(&Entry {
            position: Position(position),
            batches: vec![record],
        });
    }
    let recent = again.recent();
    assert_eq!(recent.records[3].windows, said);
}
