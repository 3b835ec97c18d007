//! The law of a restart: whatever was said, wherever the gateway was killed and wherever a client stood, what the client has in the
//! end is what a client has that heard everything. The engine and the hub are real; the disk is two lists.

use std::collections::{BTreeSet, VecDeque};

use super::*;
use crate::{
    engine::{self, Booting, Ends, Engine, Remember, Resumption},
    journal::{Committed, Entry},
    model::{Batch, Reading, SourceName},
    store,
};

const SECOND: i64 = 1_000_000_000;
const START: i64 = 1_800_000_000 * SECOND;

/// What survives a kill.
#[derive(Debug, Default)]
struct Disk {
    records: Vec<Vec<Reading>>,
    changes: Vec<Change>,
    /// By age: the run, and what was on disk when it began.
    runs: Vec<(u64, usize, usize)>,
}

/// A gateway, as far as live clients are concerned.
struct Gateway {
    house: House,
    committed: mpsc::Sender<Committed>,
    engine: Engine,
    engine_task: JoinHandle<()>,
}

fn engine_config() -> engine::Config {
    let sliding = WindowSpec {
        every: Duration::from_secs(1),
        over: Duration::from_secs(3),
    };
    engine::Config {
        store: store::Config {
            windows: vec![WindowSpec::tumbling(Duration::from_secs(2)), sliding],
            lateness: Duration::ZERO,
            kept_windows: 10_000,
            ..store::Config::default()
        },
        tick: Duration::from_millis(2),
        ..engine::Config::default()
    }
}

fn batch(readings: &[Reading]) -> Batch {
    Batch {
        source: SourceName("push".into()),
        peer: None,
        readings: readings.to_vec(),
        ..Batch::default()
    }
}

impl Disk {
    fn newest(&self) -> Position {
        Position(self.records.len() as u64)
    }

    fn write(&mut self, readings: Vec<Reading>) -> Committed {
        let batches = Arc::from(vec![batch(&readings)]);
        self.records.push(readings);
        Committed {
            position: self.newest(),
            batches,
        }
    }

    fn change(&mut self) -> Update {
        let number = self.changes.len() as u64 + 1;
        let state = if number.is_multiple_of(2) {
            AlertState::Resolved
        } else {
            AlertState::Firing
        };
        let change = Change {
            number,
            position: self.newest(),
            alert: an_alert(&format!("x{number}"), state),
        };
        self.changes.push(change.clone());
        Update::Alert {
            alert: change.alert,
            number: Some(number),
        }
    }

    fn start(&mut self, config: Config) -> Gateway {
        let run = self.runs.len() as u64 + 1;
        self.runs
            .push((run, self.records.len(), self.changes.len()));
        let clock = Clock::manual(Timestamp(START));
        let mut booting = Booting::new(engine_config(), Resumption::default(), clock.clone());
        booting.remember(Remember {
            newest: self.newest(),
            bytes: config.replay_bytes,
            ..Remember::default()
        });
        for (readings, position) in self.records.iter().zip(1..) {
            booting.replay(&Entry {
                position: Position(position),
                batches: vec![batch(readings)],
            });
        }
        let earlier = self.runs.iter().zip(&self.runs[1..]);
        let past = Past {
            epoch: 0xabc,
            run,
            runs: earlier
                .map(|((run, ..), (_, records, changes))| EarlierRun {
                    run: *run,
                    journal: Position(*records as u64),
                    alerts: *changes as u64,
                })
                .collect(),
            recent: booting.recent(),
            changes: self.changes.clone(),
            newest_change: self.changes.len() as u64,
            ..Past::default()
        };
        let mut house = house_after(past, config);
        let (committed, for_engine) = mpsc::channel(16);
        let (decided, _) = mpsc::channel(16);
        let ends = Ends {
            committed: for_engine,
            updates: house.updates.clone(),
            decided,
        };
        let (engine, engine_task) = booting.start(ends, &mut Registry::default());
        house.changes = std::cell::Cell::new(0);
        Gateway {
            house,
            committed,
            engine,
            engine_task,
        }
    }

    /// The windows that all records close, by series, length and start.
    fn windows(&self) -> BTreeSet<String> {
        let mut booting = Booting::new(
            engine_config(),
            Resumption::default(),
            Clock::manual(Timestamp(START)),
        );
        booting.remember(Remember {
            newest: self.newest(),
            bytes: usize::MAX,
            ..Remember::default()
        });
        for (readings, position) in self.records.iter().zip(1..) {
            booting.replay(&Entry {
                position: Position(position),
                batches: vec![batch(readings)],
            });
        }
        let recent = booting.recent();
        let windows = recent.records.iter().flat_map(|record| &record.windows);
        windows
            .map(|(series, spec, window)| {
                window_name(&series.to_string(), spec.over.as_millis(), window.start_ms)
            })
            .collect()
    }

    fn points(&self) -> BTreeSet<String> {
        let readings = self.records.iter().flatten();
        readings
            .map(|r| format!("{} at {}", r.series, r.time.as_millis()))
            .collect()
    }
}

fn window_name(series: &str, over_ms: u128, start_ms: i64) -> String {
    format!("{series} over {over_ms} from {start_ms}")
}

impl Gateway {
    fn kill(self) {
        self.engine_task.abort();
        self.house.task.abort();
        self.house.stop.cancel();
    }
}

/// A client with all that it ever heard.
#[derive(Default)]
struct Listener {
    reader: Option<Reader>,
    last_id: Option<String>,
    snapshots: usize,
    gaps: usize,
    windows: BTreeSet<String>,
    points: BTreeSet<String>,
    newest: BTreeMap<String, i64>,
    changes: VecDeque<String>,
}

impl Listener {
    /// Hears at most so many events of what there is. False when nothing more comes.
    async fn read(&mut self, gateway: &Gateway, events: usize) -> bool {
        for _ in 0..events {
            let reader = match &mut self.reader {
                Some(reader) => reader,
                None => {
                    let id = self.last_id.as_ref().map(|id| id.as_bytes());
                    let reader = gateway.house.open("/events", id).await;
                    self.reader.insert(reader)
                }
            };
            match timeout(Duration::from_millis(20), reader.next()).await {
                Err(_) => return false,
                Ok(None) => self.reader = None,
                Ok(Some(event)) if event.name == "bye" => self.reader = None,
                Ok(Some(event)) => self.hear(&event),
            }
        }
        true
    }

    fn hear(&mut self, event: &Event) {
        if event.id.is_some() {
            self.last_id.clone_from(&event.id);
        }
        match event.name.as_str() {
            "snapshot" | "resume" | "device" => {
                if event.name == "snapshot" {
                    self.snapshots += 1;
                }
                for series in event.data["series"].as_array().into_iter().flatten() {
                    let id = series["id"].as_str().unwrap().to_owned();
                    if let Some(t) = series["t"].as_i64() {
                        let newest = self.newest.entry(id).or_default();
                        *newest = t.max(*newest);
                    }
                }
            }
            "gap" => self.gaps += 1,
            "readings" => {
                for (id, columns) in event.data["series"].as_object().unwrap() {
                    for t in columns["t"].as_array().unwrap() {
                        let t = t.as_i64().unwrap();
                        // What stands for others after a gap may come once more.
                        if event.id.is_some() {
                            let new = self.points.insert(format!("{id} at {t}"));
                            assert!(new, "twice: {event:?}");
                        }
                        let newest = self.newest.entry(id.clone()).or_default();
                        *newest = t.max(*newest);
                    }
                }
            }
            "window" => {
                let name = window_name(
                    event.data["series"].as_str().unwrap(),
                    event.data["over_ms"].as_u64().unwrap().into(),
                    event.data["start_ms"].as_i64().unwrap(),
                );
                assert!(self.windows.insert(name), "twice: {event:?}");
            }
            "alert" => self
                .changes
                .push_back(event.data["id"].as_str().unwrap().to_owned()),
            _ => {}
        }
    }
}

#[derive(Clone, Debug)]
enum Act {
    /// Readings: of which series, so many seconds after the one before.
    Record(Vec<(u8, u8)>),
    Alert,
    Read(usize, usize),
    BreakOff(usize),
    /// Killed; perhaps a record and a change of an alert were written down and nobody was told.
    Kill(bool, bool),
}

fn act() -> impl Strategy<Value = Act> {
    let record = proptest::collection::vec((0u8..3, 0u8..3), 1..6);
    prop_oneof![
        8 => record.prop_map(Act::Record),
        2 => Just(Act::Alert),
        6 => (0usize..3, 1usize..8).prop_map(|(who, n)| Act::Read(who, n)),
        2 => (0usize..3).prop_map(Act::BreakOff),
        1 => (any::<bool>(), any::<bool>()).prop_map(|(r, a)| Act::Kill(r, a)),
    ]
}

/// Plays it, and lets everybody hear the rest. What was on disk, and what each client has.
async fn play(acts: Vec<Act>, config: Config) -> (Disk, Vec<Listener>) {
    let mut disk = Disk::default();
    let mut gateway = disk.start(config.clone());
    let mut listeners: Vec<Listener> = (0..3).map(|_| Listener::default()).collect();
    for listener in &mut listeners {
        listener.read(&gateway, 1).await;
    }
    let mut second = 0;
    for act in acts {
        match act {
            Act::Record(readings) => {
                let readings = readings_at(&readings, &mut second);
                let record = disk.write(readings);
                gateway.committed.send(record).await.unwrap();
            }
            Act::Alert => {
                let change = disk.change();
                gateway.house.updates.send(change).await.unwrap();
            }
            Act::Read(who, events) => {
                listeners[who].read(&gateway, events).await;
            }
            Act::BreakOff(who) => listeners[who].reader = None,
            Act::Kill(record, alert) => {
                if record {
                    disk.write(readings_at(&[(0, 1), (1, 2)], &mut second));
                }
                if alert {
                    disk.change();
                }
                gateway.kill();
                gateway = disk.start(config.clone());
            }
        }
    }
    // The last records were taken and said.
    gateway.engine.status().await.unwrap();
    tokio::time::sleep(Duration::from_millis(20)).await;
    for listener in &mut listeners {
        while listener.read(&gateway, 100).await {}
    }
    gateway.kill();
    (disk, listeners)
}

fn readings_at(wanted: &[(u8, u8)], second: &mut i64) -> Vec<Reading> {
    let mut readings = Vec::new();
    for (series, after) in wanted {
        // A nanosecond apart at least would do; a millisecond is what clients see.
        *second += i64::from(*after) * 1000 + 1;
        let time = Timestamp(START + *second * 1_000_000);
        readings.push(Reading {
            series: SeriesKey::parse(&format!("d{series}/t")).unwrap(),
            value: Value::Float(*second as f64),
            unit: None,
            quality: Quality::Good,
            time,
            received: time,
            retained: false,
        });
    }
    readings
}

fn newest(disk: &Disk) -> BTreeMap<String, i64> {
    let mut newest = BTreeMap::new();
    for reading in disk.records.iter().flatten() {
        newest.insert(reading.series.to_string(), reading.time.as_millis());
    }
    newest
}

fn in_order(changes: &VecDeque<String>) -> bool {
    let number = |id: &String| id[1..].parse::<u64>().unwrap();
    changes.iter().map(number).is_sorted_by(|a, b| a < b)
}

fn run(test: impl Future<Output = ()>) {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .start_paused(true)
        .build()
        .unwrap()
        .block_on(test);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    /// With room for all that was missed, each client hears every point, window and change exactly once, over any number of kills.
    #[test]
    fn whoever_comes_back_after_kills_has_what_one_has_who_never_left(
        acts in proptest::collection::vec(act(), 1..60),
    ) {
        run(async {
            let config = Config { client_queue: 1_000_000, ..Config::default() };
            let (disk, listeners) = play(acts, config).await;
            for listener in listeners {
                assert_eq!((listener.snapshots, listener.gaps), (1, 0));
                assert_eq!(listener.windows, disk.windows());
                assert_eq!(listener.points, disk.points());
                assert_eq!(listener.newest, newest(&disk));
                let all: Vec<_> = disk.changes.iter().map(|c| c.alert.id.as_str()).collect();
                assert_eq!(listener.changes, all);
            }
        });
    }

    /// With too little room nothing comes twice and the newest values are true; who misses something hears `snapshot` or `gap`.
    #[test]
    fn whoever_was_away_for_too_long_is_told_so_and_hears_nothing_twice(
        acts in proptest::collection::vec(act(), 1..60),
        replay_bytes in 500usize..20_000,
        client_queue in 1usize..12,
    ) {
        run(async {
            let config = Config { replay_bytes, client_queue, ..Config::default() };
            let (disk, listeners) = play(acts, config).await;
            for listener in listeners {
                assert_eq!(listener.newest, newest(&disk));
                assert!(in_order(&listener.changes), "{:?}", listener.changes);
                if listener.snapshots == 1 {
                    assert_eq!(listener.changes.len(), disk.changes.len());
                    if listener.gaps == 0 {
                        assert_eq!(listener.windows, disk.windows());
                        assert_eq!(listener.points, disk.points());
                    }
                }
            }
        });
    }
}

#[tokio::test]
async fn the_alerts_that_ended_while_a_page_was_away_are_in_its_snapshot() {
    let mut past = past();
    past.ended = (0..60)
        .map(|n| an_alert(&format!("old{n}"), AlertState::Resolved))
        .collect();
    let house = house_after(past, Config::default());
    house.say(alert("new", AlertState::Firing)).await;
    house.say(alert("new", AlertState::Resolved)).await;
    house.say(alert("nothing", AlertState::Cancelled)).await;
    let snapshot = house.open("/events", None).await.expect("snapshot").await;
    let ended = snapshot.data["ended"].as_array().unwrap();
    assert_eq!(ended.len(), 50);
    assert_eq!(
        (&ended[0]["id"], &ended[1]["id"]),
        (&json!("new"), &json!("old0"))
    );
}

#[tokio::test]
async fn an_alert_that_could_not_be_written_down_is_said_without_an_id_and_once_more_when_it_is() {
    let house = house(Config::default());
    let mut reader = house.open("/events", None).await;
    reader.expect("snapshot").await;
    let unwritten = Update::Alert {
        alert: an_alert("x", AlertState::Firing),
        number: None,
    };
    house.say(unwritten).await;
    assert_eq!(reader.expect("alert").await.id, None);
    house.say(alert("x", AlertState::Firing)).await;
    assert_eq!(
        reader.expect("alert").await.id.unwrap(),
        "000000000abc-0.1.0.1.77.2"
    );
}

#[tokio::test]
async fn when_the_state_is_begun_anew_no_id_of_before_is_understood() {
    let house = house(Config::default());
    let mut reader = house.open("/events", None).await;
    let before = reader.expect("snapshot").await.id.unwrap();
    house.updates.send(Update::StateLost).await.unwrap();
    house.say(readings(&["a/t"], 1, 0.0)).await;
    let id = reader.expect("readings").await.id.unwrap();
    assert!(!id.starts_with("000000000abc"));
    let mut again = house.open("/events", Some(before.as_bytes())).await;
    again.expect("snapshot").await;
    let mut again = house.open("/events", Some(id.as_bytes())).await;
    again.expect("resume").await;
}

#[tokio::test]
async fn a_resume_that_shares_an_older_body_is_followed_by_what_is_newer_than_that() {
    let before = house(Config::default());
    let mut reader = before.open("/events", None).await;
    let heard = reader.expect("snapshot").await.id.unwrap();
    let after = Past {
        run: RUN + 1,
        runs: vec![EarlierRun {
            run: RUN,
            journal: Position(0),
            alerts: 0,
        }],
        ..past()
    };
    let house = house_after(after, Config::default());
    house.hub.status("big", json!("x".repeat(17 << 20)));
    house.newest(1).await;
    // So much waits to be read now that bodies are shared.
    let _unread = house.open("/events", None).await;
    house.hub.status("small", json!(5));
    house.newest(2).await;
    house.say(readings(&["a/t"], 1, 0.0)).await;
    let mut reader = house.open("/events", Some(heard.as_bytes())).await;
    let resume = reader.expect("resume").await;
    assert_eq!(resume.data["status"]["small"], JsonValue::Null);
    assert_eq!(resume.data["missed"], 1);
    let status = reader.expect("status").await;
    assert_eq!(status.data, json!({"key": "small", "value": 5}));
    let told = reader.expect("readings").await;
    assert_eq!(told.data["series"]["a/t"]["t"], json!([1]));
    house.say(readings(&["a/t"], 2, 0.0)).await;
    let told = reader.expect("readings").await;
    assert_eq!(told.data["series"]["a/t"]["t"], json!([2]));
}
