mod clock;
mod conditions;
mod life;
mod remembered;

use std::sync::Arc;

use prometheus_client::registry::Registry;
use tokio::task::JoinHandle;

use super::*;
use crate::{
    alert::{AlertState, Condition, Life, Severity},
    model::{Batch, Presence, Quality, Reading, SourceName, Value},
};

const SECOND: i64 = 1_000_000_000;
/// Any time after clocks are trusted.
const START: i64 = 1_800_000_000;

struct Rig {
    committed: mpsc::Sender<Committed>,
    updates: mpsc::Receiver<Update>,
    decided: mpsc::Receiver<Decided>,
    engine: Engine,
    clock: Clock,
    registry: Registry,
    task: JoinHandle<()>,
}

fn clock() -> Clock {
    Clock::manual(Timestamp(START * SECOND))
}

fn config(rules: Vec<Rule>) -> Config {
    Config {
        rules,
        ..Config::default()
    }
}

fn booting(rules: Vec<Rule>, resumption: Resumption) -> Booting {
    Booting::new(config(rules), resumption, clock())
}

fn start_with(booting: Booting, update_room: usize, decided_room: usize) -> Rig {
    let (committed, for_engine) = mpsc::channel(1024);
    let (to_hub, updates) = mpsc::channel(update_room);
    let (to_state, decided) = mpsc::channel(decided_room);
    let clock = booting.clock.clone();
    let mut registry = Registry::default();
    let ends = Ends {
        committed: for_engine,
        updates: to_hub,
        decided: to_state,
    };
    let (engine, task) = booting.start(ends, &mut registry);
    Rig {
        committed,
        updates,
        decided,
        engine,
        clock,
        registry,
        task,
    }
}

fn start(rules: Vec<Rule>) -> Rig {
    start_with(booting(rules, Resumption::default()), 64, 64)
}

fn rule(name: &str, condition: Condition) -> Rule {
    Rule {
        name: name.into(),
        series: "*/temperature".into(),
        matching: BTreeMap::new(),
        condition,
        hold: Duration::ZERO,
        severity: Severity::Critical,
        summary: String::new(),
        webhooks: Vec::new(),
        labels: BTreeMap::from([(String::from("team"), String::from("heat"))]),
        life: Life::default(),
    }
}

fn hot() -> Rule {
    let condition = Condition::Above {
        limit: 90.0,
        clear: 80.0,
    };
    rule("hot", condition)
}

fn silent() -> Rule {
    let condition = Condition::NoDataFor {
        silence: Duration::from_secs(60),
    };
    rule("silent", condition)
}

/// Measured and arrived so many seconds after the start.
fn reading(series: &str, second: i64, value: f64) -> Reading {
    Reading {
        series: SeriesKey::parse(series).unwrap(),
        value: Value::Float(value),
        unit: None,
        quality: Quality::Good,
        time: Timestamp((START + second) * SECOND),
        received: Timestamp((START + second) * SECOND),
        retained: false,
    }
}

fn batch(readings: Vec<Reading>) -> Batch {
    Batch {
        source: SourceName("mqtt".into()),
        peer: Some("client-1".into()),
        readings,
        ..Batch::default()
    }
}

fn entry(position: u64, readings: Vec<Reading>) -> Entry {
    Entry {
        position: Position(position),
        batches: vec![Batch {
            peer: None,
            ..batch(readings)
        }],
    }
}

impl Rig {
    async fn commit(&self, position: u64, batch: Batch) {
        let record = Committed {
            position: Position(position),
            batches: Arc::from(vec![batch]),
        };
        self.committed.send(record).await.unwrap();
    }

    async fn read(&self, position: u64, series: &str, second: i64, value: f64) {
        self.commit(position, batch(vec![reading(series, second, value)]))
            .await;
    }

    /// The next update that `wanted` wants.
    async fn update<T>(&mut self, wanted: impl Fn(&Update) -> Option<T>) -> T {
        let search = async {
            loop {
                let update = self.updates.recv().await.expect("the engine has ended");
                if let Some(found) = wanted(&update) {
                    return found;
                }
            }
        };
        tokio::time::timeout(Duration::from_secs(600), search)
            .await
            .expect("no such update")
    }

    /// The next changes that are to be written down.
    async fn transitions(&mut self) -> Decided {
        loop {
            let decided = self.decided.recv().await.expect("the engine has ended");
            if !decided.transitions.is_empty() {
                return decided;
            }
        }
    }

    fn metrics(&self) -> String {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &self.registry).unwrap();
        text
    }
}

fn as_device(update: &Update) -> Option<Device> {
    match update {
        Update::Device(device) => Some(device.clone()),
        _ => None,
    }
}

fn values(update: &Update) -> Option<Vec<f64>> {
    match update {
        Update::Readings { readings, .. } => Some(
            readings
                .iter()
                .flat_map(|(_, points)| points)
                .filter_map(|point| point.value.as_f64())
                .collect(),
        ),
        _ => None,
    }
}

#[tokio::test(start_paused = true)]
async fn a_new_reading_tells_of_device_and_series_before_its_points() {
    let mut rig = start(vec![]);
    rig.read(1, "boiler/temperature", 0, 20.0).await;
    let device = rig.update(as_device).await;
    assert_eq!(
        (device.id.0.as_str(), device.online),
        ("boiler", Some(true))
    );
    rig.update(|update| matches!(update, Update::Series(_)).then_some(()))
        .await;
    assert_eq!(rig.update(values).await, [20.0]);
}

#[tokio::test(start_paused = true)]
async fn readings_come_at_once_when_idle_and_then_together_once_a_tick() {
    let mut rig = start(vec![]);
    let begin = tokio::time::Instant::now();
    rig.read(1, "a/x", 0, 1.0).await;
    assert_eq!(rig.update(values).await, [1.0]);
    assert_eq!(begin.elapsed(), Duration::ZERO);
    for n in 2..10 {
        rig.read(n, "a/x", n as i64, n as f64).await;
    }
    let together = rig.update(values).await;
    assert_eq!(together, [2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0]);
    let waited = begin.elapsed();
    let tick = Config::default().tick;
    assert!(waited >= tick && waited < tick + Duration::from_millis(10));
}

#[tokio::test(start_paused = true)]
async fn a_hub_that_takes_nothing_delays_neither_alerts_nor_answers_and_gets_the_newest() {
    let mut rig = start_with(booting(vec![hot()], Resumption::default()), 1, 64);
    for n in 1..=5_000 {
        rig.read(n, "boiler/temperature", n as i64, 20.0 + n as f64 / 1000.0)
            .await;
    }
    rig.read(5_001, "boiler/temperature", 5_001, 95.0).await;
    let decided = rig.transitions().await;
    assert_eq!(decided.position, Position(5_001));
    assert_eq!(rig.engine.series().await.unwrap().len(), 1);
    assert_eq!(decided.transitions[0].alert.state, AlertState::Firing);
    let points = rig.update(values).await;
    assert_eq!(points.last(), Some(&95.0));
    assert!(points.len() <= 256);
    rig.engine.status().await.unwrap();
    let metrics = rig.metrics();
    let conflated = metrics
        .lines()
        .find_map(|line| line.strip_prefix("gateway_live_points_conflated_total "))
        .unwrap();
    assert!(conflated.parse::<usize>().unwrap() >= 5_001 - 256 - 64);
}

#[tokio::test(start_paused = true)]
async fn while_changes_wait_to_be_written_down_questions_are_answered_and_nothing_more_is_taken() {
    let mut rig = start_with(booting(vec![hot()], Resumption::default()), 1024, 1);
    let mut values = [95.0, 10.0].into_iter().cycle();
    for n in 1..=8 {
        rig.read(n, "boiler/temperature", n as i64, values.next().unwrap())
            .await;
        // Each record is a round of its own.
        rig.engine.status().await.unwrap();
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let key = SeriesKey::parse("boiler/temperature").unwrap();
    let all = (Timestamp(i64::MIN), Timestamp(i64::MAX));
    let points = rig.engine.points(key, all.0, all.1).await.unwrap();
    assert_eq!(points.unwrap().len(), 2, "one is taken, one waits");

    let mut states = Vec::new();
    while states.len() < 8 {
        let decided = rig.transitions().await;
        states.extend(decided.transitions.iter().map(|t| t.alert.state));
    }
    let expected = [AlertState::Firing, AlertState::Resolved].repeat(4);
    assert_eq!(states, expected);
}

#[tokio::test(start_paused = true)]
async fn a_silent_series_fires_by_time_alone_and_resolves_when_it_speaks() {
    let mut rig = start(vec![silent()]);
    rig.read(7, "boiler/temperature", 0, 20.0).await;
    let begin = tokio::time::Instant::now();
    let fired = rig.transitions().await;
    let waited = begin.elapsed();
    assert!(waited >= Duration::from_secs(60) && waited < Duration::from_secs(61));
    assert_eq!(fired.position, Position(7));
    let alert = &fired.transitions[0].alert;
    assert_eq!(
        (alert.state, alert.value.clone()),
        (AlertState::Firing, None)
    );
    assert_eq!(rig.engine.alerts().await.unwrap().len(), 1);
    rig.read(8, "boiler/temperature", 90, 20.0).await;
    let resolved = rig.transitions().await;
    assert_eq!(resolved.transitions[0].alert.state, AlertState::Resolved);
    assert_eq!(resolved.transitions[0].alert.id, alert.id);
}

#[tokio::test(start_paused = true)]
async fn a_slow_state_does_not_make_a_sensor_silent_whose_readings_wait() {
    // What the task looks at first is left to chance.
    for _ in 0..20 {
        a_slow_state_and_readings_that_wait().await;
    }
}

async fn a_slow_state_and_readings_that_wait() {
    let rules = vec![hot(), silent()];
    let mut rig = start_with(booting(rules, Resumption::default()), 1024, 1);
    for (n, value) in [(1, 20.0), (2, 95.0), (3, 10.0), (4, 95.0)] {
        rig.read(n, "boiler/temperature", 0, value).await;
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    for n in 5..20 {
        tokio::time::sleep(Duration::from_secs(20)).await;
        rig.read(n, "boiler/temperature", 20 * n as i64, 20.0).await;
    }
    assert_eq!(rig.decided.len(), 1, "the state is slow");
    let mut rules = Vec::new();
    while rules.len() < 4 {
        let decided = rig.transitions().await;
        rules.extend(decided.transitions.into_iter().map(|t| t.alert.rule));
    }
    assert_eq!(rules, ["hot"; 4]);
    let begin = tokio::time::Instant::now();
    let fired = rig.transitions().await;
    assert_eq!(fired.transitions[0].alert.rule, "silent");
    assert!(begin.elapsed() >= Duration::from_secs(60));
}

#[tokio::test(start_paused = true)]
async fn a_wall_clock_that_jumps_fires_nothing() {
    let mut rig = start(vec![silent()]);
    rig.read(1, "boiler/temperature", 0, 20.0).await;
    rig.engine.status().await.unwrap();
    rig.clock.set(Timestamp((START + 14 * 86_400) * SECOND));
    for n in 2..20 {
        tokio::time::sleep(Duration::from_secs(30)).await;
        rig.read(n, "boiler/temperature", 30 * n as i64, 20.0).await;
    }
    rig.engine.status().await.unwrap();
    while let Ok(decided) = rig.decided.try_recv() {
        assert!(decided.transitions.is_empty());
    }
}

#[tokio::test(start_paused = true)]
async fn the_position_is_noted_now_and_then_when_it_moved() {
    let mut rig = start(vec![hot()]);
    rig.read(3, "boiler/temperature", 0, 20.0).await;
    let decided = rig.decided.recv().await.unwrap();
    assert_eq!(decided.position, Position(3));
    assert!(decided.transitions.is_empty());
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert!(rig.decided.try_recv().is_err(), "it did not move");
}

#[tokio::test(start_paused = true)]
async fn after_a_restart_it_says_what_it_knows_and_decides_nothing_twice() {
    let mut before = start(vec![hot()]);
    before.read(1, "boiler/temperature", 0, 20.0).await;
    before.read(2, "boiler/temperature", 1, 95.0).await;
    let fired = before.transitions().await;
    let alert = fired.transitions[0].alert.clone();

    let replay = |resumption| {
        let mut booting = booting(vec![hot()], resumption);
        booting.replay(&entry(1, vec![reading("boiler/temperature", 0, 20.0)]));
        booting.replay(&entry(2, vec![reading("boiler/temperature", 1, 95.0)]));
        start_with(booting, 64, 64)
    };

    // All was written down: the alert goes on, and nothing is decided.
    let mut after = replay(Resumption {
        memories: Vec::new(),
        alerts: vec![alert.clone()],
        evaluated: fired.position,
        ..Resumption::default()
    });
    assert_eq!(after.update(as_device).await.id.0, "boiler");
    let info = after
        .update(|update| match update {
            Update::Series(info) => Some(info.clone()),
            _ => None,
        })
        .await;
    assert_eq!(
        (info.points, info.latest.unwrap().value),
        (2, Value::Float(95.0))
    );
    let alerts = after.engine.alerts().await.unwrap();
    assert_eq!(alerts, std::slice::from_ref(&alert));
    // A record that was replayed and comes from the journal as well counts once.
    after.read(2, "boiler/temperature", 1, 95.0).await;
    after.read(3, "boiler/temperature", 2, 10.0).await;
    let resolved = after.transitions().await;
    assert_eq!(resolved.transitions.len(), 1);
    assert_eq!(resolved.transitions[0].alert.id, alert.id);
    assert_eq!(resolved.transitions[0].alert.state, AlertState::Resolved);
    assert_eq!(after.engine.status().await.unwrap().points, 3);

    // Nothing was written down: the same alert is made again, with the same id.
    let mut lost = replay(Resumption::default());
    let again = lost.transitions().await;
    assert_eq!(again.transitions, fired.transitions);
    assert_eq!(again.position, Position(2));
}

#[tokio::test(start_paused = true)]
async fn a_series_known_from_before_that_never_speaks_again_is_reported() {
    let mut booting = booting(vec![silent()], Resumption::default());
    booting.replay(&entry(1, vec![reading("boiler/temperature", -9_000, 20.0)]));
    let mut rig = start_with(booting, 64, 64);
    let begin = tokio::time::Instant::now();
    let fired = rig.transitions().await;
    let waited = begin.elapsed().as_secs();
    assert!((30..60).contains(&waited), "a fair chance, {waited}");
    assert_eq!(fired.transitions[0].alert.state, AlertState::Firing);
}

#[tokio::test(start_paused = true)]
async fn who_asks_for_the_inventory_after_a_start_that_read_all_gets_that_written_down_though_nothing_new_comes()
 {
    let mut booting = booting(vec![], Resumption::default());
    booting.replay(&entry(7, vec![reading("boiler/temperature", 0, 20.0)]));
    let mut rig = start_with(booting, 64, 64);
    let inventory = rig.engine.inventory(Position(0)).await.unwrap();
    assert_eq!(inventory.position, Position(7));
    let decided = tokio::time::timeout(Duration::from_secs(30), rig.decided.recv()).await;
    assert_eq!(decided.unwrap().unwrap().position, Position(7));
}

#[tokio::test(start_paused = true)]
async fn what_the_inventory_knows_is_as_if_its_newest_reading_had_been_replayed_but_in_no_window() {
    let series = |name: &str| SeriesKey::parse(name).unwrap();
    let before = start(vec![]);
    before.read(1, "boiler/temperature", 0, 20.0).await;
    before.read(2, "boiler/temperature", 1, 95.0).await;
    before.read(3, "boiler/temperature", -20, 1.0).await;
    before.read(4, "pump/temperature", 3, 7.0).await;
    before.engine.status().await.unwrap();
    let inventory = before.engine.inventory(Position(0)).await.unwrap();
    assert_eq!(inventory.position, Position(4));
    let later = before.engine.inventory(Position(2)).await.unwrap();
    let keys: Vec<_> = later.series.iter().map(|k| &k.reading.series).collect();
    assert_eq!(
        keys,
        [&series("pump/temperature")],
        "a late reading is none"
    );

    let mut booting = booting(vec![silent()], Resumption::default());
    for known in &inventory.series {
        booting.know(known);
    }
    assert!(booting.knows(&series("boiler/temperature")));
    assert!(!booting.knows(&series("boiler/other")));
    booting.replay(&entry(5, vec![reading("pump/temperature", 4, 8.0)]));
    let mut after = start_with(booting, 64, 64);
    let all = after.engine.series().await.unwrap();
    let latest: Vec<_> = all
        .iter()
        .map(|info| info.latest.clone().unwrap().value)
        .collect();
    assert_eq!(latest, [Value::Float(95.0), Value::Float(8.0)]);
    let devices = after.engine.devices().await.unwrap();
    assert_eq!(devices[0].source.as_deref(), Some("mqtt"));
    assert_eq!(devices[0].last_seen_ms, Some((START + 1) * 1_000));
    let windows = |name| after.engine.windows(series(name), None);
    let boiler = windows("boiler/temperature").await.unwrap().unwrap();
    assert!(boiler.is_empty(), "{boiler:?}");
    let pump = windows("pump/temperature").await.unwrap().unwrap();
    assert!(pump.iter().all(|(_, window)| window.count == 1), "{pump:?}");
    // It can be written down again, with nothing lost.
    let again = after.engine.inventory(Position(0)).await.unwrap();
    let known = |inventory: &Inventory| {
        let boiler = series("boiler/temperature");
        let mut all = inventory.series.iter();
        all.find(|k| k.reading.series == boiler).cloned()
    };
    assert_eq!(known(&again), known(&inventory));
    assert_eq!(again.series.len(), 2);
    // And its silence is reported.
    let fired = after.transitions().await;
    assert_eq!(fired.transitions[0].alert.state, AlertState::Firing);
}

#[tokio::test(start_paused = true)]
async fn an_alert_whose_rule_is_gone_is_resolved_at_the_start_and_says_why() {
    let mut before = start(vec![hot()]);
    before.read(2, "boiler/temperature", 1, 95.0).await;
    let fired = before.transitions().await;
    let resumption = Resumption {
        memories: Vec::new(),
        alerts: vec![fired.transitions[0].alert.clone()],
        evaluated: fired.position,
        ..Resumption::default()
    };
    let mut after = start_with(booting(vec![silent()], resumption), 64, 64);
    let ended = after.transitions().await;
    let alert = &ended.transitions[0].alert;
    assert_eq!(alert.state, AlertState::Resolved);
    assert!(
        alert.summary.contains("its rule was removed"),
        "{}",
        alert.summary
    );
    assert_eq!(ended.position, Position(2));
    assert!(after.engine.alerts().await.unwrap().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_device_goes_offline_with_its_connection_and_comes_back() {
    let mut rig = start(vec![]);
    rig.read(1, "pump/x", 0, 1.0).await;
    assert_eq!(rig.update(as_device).await.online, Some(true));
    for online in [false, true] {
        let presence = Presence {
            peer: "client-1".into(),
            online,
            at: Timestamp(START * SECOND),
        };
        let connection = Batch {
            presence: vec![presence],
            ..batch(vec![])
        };
        rig.commit(1, connection).await;
        assert_eq!(rig.update(as_device).await.online, Some(online));
    }
}

#[tokio::test(start_paused = true)]
async fn labels_come_from_device_site_and_rule() {
    let config = Config {
        rules: vec![hot()],
        devices: vec![DeviceConfig {
            id: "boiler".into(),
            name: Some("The boiler".into()),
            site: Some("cellar".into()),
            labels: BTreeMap::from([(String::from("kind"), String::from("gas"))]),
            ..DeviceConfig::default()
        }],
        ..Config::default()
    };
    let booting = Booting::new(config, Resumption::default(), clock());
    let mut rig = start_with(booting, 64, 64);
    rig.read(1, "boiler/temperature", 0, 95.0).await;
    let labels = rig.transitions().await.transitions.remove(0).alert.labels;
    let labels: Vec<_> = labels.iter().map(|(k, v)| format!("{k}={v}")).collect();
    assert_eq!(
        labels,
        ["device=boiler", "kind=gas", "site=cellar", "team=heat"]
    );
    assert_eq!(rig.engine.devices().await.unwrap()[0].name, "The boiler");
}

#[tokio::test(start_paused = true)]
async fn a_window_is_told_when_it_is_final_and_can_be_asked_for_while_open() {
    let mut rig = start(vec![]);
    let key = SeriesKey::parse("a/x").unwrap();
    for n in 0..10 {
        rig.read(n + 1, "a/x", 10 * n as i64, n as f64).await;
    }
    let (spec, window) = rig
        .update(|update| match update {
            Update::Window { spec, window, .. } => Some((*spec, window.clone())),
            _ => None,
        })
        .await;
    assert_eq!(spec, WindowSpec::tumbling(Duration::from_secs(60)));
    assert_eq!((window.count, window.mean, window.closed), (6, 2.5, true));
    let minutes = rig.engine.windows(key.clone(), Some(spec)).await.unwrap();
    let closed: Vec<_> = minutes.unwrap().iter().map(|(_, w)| w.closed).collect();
    assert_eq!(closed, [true, false]);
    let unknown = SeriesKey::parse("no/such").unwrap();
    assert_eq!(rig.engine.windows(unknown, None).await, Ok(None));
    let both = rig.engine.windows(key, None).await.unwrap().unwrap();
    assert_eq!(both.len(), 3);
}

#[tokio::test(start_paused = true)]
async fn it_ends_with_the_journal_after_its_last_words() {
    let mut rig = start(vec![hot()]);
    rig.read(1, "boiler/temperature", 0, 20.0).await;
    rig.update(values).await;
    rig.read(2, "boiler/temperature", 1, 21.0).await;
    rig.engine.status().await.unwrap();
    drop(rig.committed);
    let last = rig.decided.recv().await.unwrap();
    assert_eq!(last.position, Position(2));
    assert!(rig.decided.recv().await.is_none());
    let update = rig.updates.recv().await.unwrap();
    assert_eq!(values(&update), Some(vec![21.0]));
    assert!(rig.updates.recv().await.is_none());
    rig.task.await.unwrap();
    assert_eq!(rig.engine.status().await.unwrap_err(), Ended);
}

#[tokio::test(start_paused = true)]
async fn without_a_hub_and_without_a_state_it_goes_on() {
    let mut rig = start(vec![hot()]);
    rig.updates.close();
    rig.decided.close();
    for n in 1..100 {
        rig.read(n, "boiler/temperature", n as i64, 95.0 * (n % 2) as f64)
            .await;
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    assert_eq!(rig.engine.status().await.unwrap().points, 99);
}

#[tokio::test(start_paused = true)]
async fn what_it_counts_is_in_the_metrics() {
    let mut rig = start(vec![hot()]);
    rig.read(1, "boiler/temperature", 0, 95.0).await;
    rig.read(2, "boiler/temperature", 1, 96.0).await;
    rig.transitions().await;
    rig.update(values).await;
    let metrics = rig.metrics();
    for line in [
        "gateway_readings_applied_total 2",
        "gateway_series 1",
        "gateway_alerts{state=\"firing\"} 1",
        "gateway_alerts{state=\"pending\"} 0",
        "gateway_alert_transitions_total{state=\"firing\"} 1",
        "gateway_ring_bytes 48",
    ] {
        assert!(metrics.lines().any(|l| l == line), "{line} in {metrics}");
    }
}
