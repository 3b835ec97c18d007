use tempfile::TempDir;
use tokio::sync::mpsc;

use super::*;
use crate::{
    journal::{self, Journal},
    model::{Batch, DeviceId, Metric, Quality, Reading, SourceName, Value},
};

const DEADLINE: Duration = Duration::from_secs(30);
const START: i64 = 1_780_000_000_000;

fn key(metric: &str) -> SeriesKey {
    SeriesKey {
        device: DeviceId("boiler".into()),
        metric: Metric(metric.into()),
    }
}

fn reading(metric: &str, millis: i64, value: Value) -> Reading {
    Reading {
        series: key(metric),
        value,
        unit: None,
        quality: Quality::Good,
        time: Timestamp::from_millis(START + millis),
        received: Timestamp::from_millis(START + millis),
        retained: false,
    }
}

struct House {
    journal: Journal,
    history: History,
    stop: CancellationToken,
    task: tokio::task::JoinHandle<()>,
}

fn quick() -> Config {
    Config {
        flush_every: Duration::from_millis(10),
        ..Config::default()
    }
}

impl House {
    fn open(dir: &Path, config: Config) -> Self {
        Self::open_at(dir, config, Clock::system())
    }

    fn open_at(dir: &Path, config: Config, clock: Clock) -> Self {
        let (committed, _engine) = mpsc::channel(1);
        let journal_config = journal::Config {
            segment_bytes: 64 << 10,
            ..journal::Config::default()
        };
        let (journal, _) = Journal::open(
            journal_config,
            &dir.join("journal"),
            committed,
            &mut Registry::default(),
        )
        .unwrap();
        let history = History::open(config, dir, &mut Registry::default(), clock).unwrap();
        let stop = CancellationToken::new();
        let run = history.clone().run(journal.cursor("history"), stop.clone());
        Self {
            journal,
            history,
            stop,
            task: tokio::spawn(run),
        }
    }

    async fn submit(&self, readings: Vec<Reading>) {
        let (sender, durable) = tokio::sync::oneshot::channel();
        let batch = Batch {
            source: SourceName("test".into()),
            peer: None,
            readings,
            ..Batch::default()
        };
        let call: journal::OnDurable = Box::new(move |_| assert_eq!(sender.send(()), Ok(())));
        self.journal.submit(batch, call).await.unwrap();
        durable.await.unwrap();
    }

    async fn points(&self, metric: &str) -> Vec<Point> {
        let all = (Timestamp(i64::MIN), Timestamp(i64::MAX));
        self.history
            .points(key(metric), all.0, all.1, usize::MAX)
            .await
            .unwrap()
    }

    async fn until_stored(&self, metric: &str, n: usize) -> Vec<Point> {
        let mut seen = 0;
        let wait = async {
            loop {
                let points = self.points(metric).await;
                if points.len() == n {
                    return points;
                }
                seen = points.len();
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        match tokio::time::timeout(DEADLINE, wait).await {
            Ok(points) => points,
            Err(_) => panic!("{seen} of {n} points: {:?}", self.history.status()),
        }
    }

    async fn close(self) {
        self.journal.close().await;
        tokio::time::timeout(DEADLINE, self.task)
            .await
            .expect("ends with the journal")
            .unwrap();
    }

    /// As a kill would: nothing more is written.
    async fn kill(self) {
        self.task.abort();
        assert!(self.task.await.is_err_and(|e| e.is_cancelled()));
        self.journal.close().await;
    }
}

fn ints(points: &[Point]) -> Vec<i64> {
    points
        .iter()
        .map(|p| match p.value {
            Value::Int(n) => n,
            _ => panic!("not an integer"),
        })
        .collect()
}

fn by_time(points: &[Point]) -> bool {
    points.is_sorted_by(|a, b| a.time < b.time)
}

#[tokio::test]
async fn every_kind_of_value_and_quality_comes_back_as_it_was() {
    let dir = tempfile::tempdir().unwrap();
    let house = House::open(dir.path(), quick());
    let values = [
        Value::Float(21.53),
        Value::Int(i64::MIN),
        Value::Bool(true),
        Value::Text("open".into()),
        Value::Float(-0.0),
    ];
    let readings: Vec<Reading> = values
        .iter()
        .enumerate()
        .map(|(i, value)| Reading {
            quality: if i == 1 { Quality::Bad } else { Quality::Good },
            ..reading("mixed", i as i64, value.clone())
        })
        .collect();
    house.submit(readings.clone()).await;
    let points = house.until_stored("mixed", 5).await;
    for (point, reading) in points.iter().zip(&readings) {
        assert_eq!(point.time, reading.time);
        assert_eq!(point.value, reading.value);
        assert_eq!(point.quality, reading.quality);
    }
    assert!(matches!(points[4].value, Value::Float(f) if f.is_sign_negative()));
    house.close().await;
}

#[tokio::test]
async fn a_retained_message_is_not_stored() {
    let dir = tempfile::tempdir().unwrap();
    let house = House::open(dir.path(), quick());
    let retained = Reading {
        retained: true,
        ..reading("level", 0, Value::Int(1))
    };
    house
        .submit(vec![retained, reading("level", 1, Value::Int(2))])
        .await;
    assert_eq!(ints(&house.until_stored("level", 1).await), [2]);
}

#[tokio::test]
async fn a_kill_between_two_flushes_loses_and_doubles_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let slow = Config {
        flush_every: Duration::from_secs(3600),
        ..Config::default()
    };
    let mut n = 0;
    for _ in 0..4 {
        // A fast series is written early without the position, a slow one waits: both must come out whole.
        let house = House::open(dir.path(), slow);
        for _ in 0..30 {
            let fast = (0..20).map(|i| reading("fast", n * 20 + i, Value::Int(n * 20 + i)));
            let slow = [reading("slow", n, Value::Int(n))];
            house.submit(fast.chain(slow).collect()).await;
            n += 1;
        }
        house.kill().await;
    }
    let house = House::open(dir.path(), slow);
    house.stop.cancel();
    let (fast, slow) = (
        house.until_stored("fast", 2400).await,
        house.until_stored("slow", 120).await,
    );
    assert!(by_time(&fast) && by_time(&slow));
    assert_eq!(ints(&fast), (0..2400).collect::<Vec<_>>());
    assert_eq!(ints(&slow), (0..120).collect::<Vec<_>>());
    house.close().await;
}

#[tokio::test]
async fn late_and_shuffled_points_find_their_place_and_the_last_of_equals_wins() {
    let dir = tempfile::tempdir().unwrap();
    let house = House::open(dir.path(), quick());
    // A fixed permutation of 0..3000 (1201 and 3000 have no common divisor).
    let shuffled: Vec<i64> = (0..3000).map(|i| (i * 1201) % 3000).collect();
    for some in shuffled.chunks(37) {
        let readings = some
            .iter()
            .map(|n| reading("late", n * 1000, Value::Int(*n)));
        house.submit(readings.collect()).await;
    }
    let points = house.until_stored("late", 3000).await;
    assert_eq!(ints(&points), (0..3000).collect::<Vec<_>>());
    // Again, with other values for some.
    let again = (0..3000)
        .step_by(3)
        .map(|n| reading("late", n * 1000, Value::Int(-n)));
    house.submit(again.collect()).await;
    house.submit(vec![reading("end", 0, Value::Int(0))]).await;
    house.until_stored("end", 1).await;
    let points = house.points("late").await;
    assert!(by_time(&points));
    let expected: Vec<i64> = (0..3000).map(|n| if n % 3 == 0 { -n } else { n }).collect();
    assert_eq!(ints(&points), expected);
    house.close().await;
    // No fragments: chunks are well filled, and none is too long.
    let file = Connection::open(dir.path().join("history.sqlite")).unwrap();
    let (chunks, longest): (i64, i64) = file
        .query_row("SELECT count(*), max(count) FROM chunks", [], |r| {
            Ok((r.get(0)?, r.get(1)?))
        })
        .unwrap();
    assert!(longest <= db::CHUNK_POINTS as i64);
    assert!(chunks <= 40, "{chunks} chunks for 3000 points");
}

#[tokio::test]
async fn a_range_is_half_open_and_the_limit_keeps_the_newest() {
    let dir = tempfile::tempdir().unwrap();
    let house = House::open(dir.path(), quick());
    let readings = (0..1000).map(|n| reading("level", n, Value::Int(n)));
    house.submit(readings.collect()).await;
    house.until_stored("level", 1000).await;
    let at = |millis| Timestamp::from_millis(START + millis);
    let range = |from, to, limit| house.history.points(key("level"), at(from), at(to), limit);
    assert_eq!(ints(&range(100, 103, 10).await.unwrap()), [100, 101, 102]);
    assert_eq!(ints(&range(0, 900, 3).await.unwrap()), [897, 898, 899]);
    assert_eq!(range(2000, 3000, 3).await.unwrap(), []);
    assert_eq!(house.points("unknown").await, []);
    house.close().await;
}

#[tokio::test]
async fn old_points_go_but_a_clock_that_jumps_ahead_deletes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let config = Config {
        retention: Duration::from_secs(3600),
        ..quick()
    };
    let clock = Clock::manual(Timestamp::from_millis(START + 400 * 86_400_000));
    let house = House::open_at(dir.path(), config, clock.clone());
    house.submit(vec![reading("old", 0, Value::Int(1))]).await;
    house.until_stored("old", 1).await;
    let hour = 3_600_000;
    house
        .submit(vec![reading("new", hour - 1, Value::Int(2))])
        .await;
    house.until_stored("new", 1).await;
    assert_eq!(
        house.points("old").await.len(),
        1,
        "the clock alone is not believed"
    );
    clock.set(Timestamp::from_millis(START));
    house
        .submit(vec![reading("new", 2 * hour, Value::Int(3))])
        .await;
    house.until_stored("new", 2).await;
    assert_eq!(
        house.points("old").await.len(),
        1,
        "nor is one point from the future"
    );
    clock.set(Timestamp::from_millis(START + 2 * hour));
    house
        .submit(vec![reading("new", 2 * hour + 1, Value::Int(4))])
        .await;
    house.until_stored("new", 3).await;
    assert_eq!(
        house.points("old").await.len(),
        1,
        "nor is a clock that has just been set, even where the points agree"
    );
    clock.advance(STEADY);
    house
        .submit(vec![reading("new", 2 * hour + 2, Value::Int(5))])
        .await;
    house.until_stored("old", 0).await;
    // Whole chunks go: one that is still needed keeps its oldest point.
    assert_eq!(ints(&house.points("new").await), [2, 3, 4, 5]);
    house.close().await;
}

#[tokio::test]
async fn over_its_limit_the_file_loses_its_oldest_points() {
    let dir = tempfile::tempdir().unwrap();
    let max_bytes = 400_000;
    let config = Config {
        max_bytes,
        ..quick()
    };
    let house = House::open(dir.path(), config);
    let mut noise = fastrand::Rng::with_seed(7);
    let mut n = 0;
    for _ in 0..40 {
        let readings = (0..4000).map(|_| {
            n += 1;
            reading("noise", n, Value::Float(noise.f64()))
        });
        house.submit(readings.collect()).await;
    }
    house.close().await;
    let house = House::open(dir.path(), quick());
    let points = house.points("noise").await;
    assert!(by_time(&points));
    assert_eq!(
        points.last().unwrap().time,
        Timestamp::from_millis(START + n)
    );
    assert!(
        points.len() > 10_000 && points.len() < 60_000,
        "{}",
        points.len()
    );
    let bytes = std::fs::metadata(dir.path().join("history.sqlite"))
        .unwrap()
        .len();
    assert!(bytes <= max_bytes, "{bytes}");
    house.close().await;
}

#[tokio::test]
async fn a_file_that_is_no_database_is_set_aside_and_filled_anew_from_the_journal() {
    let dir = tempfile::tempdir().unwrap();
    let house = House::open(dir.path(), quick());
    let readings = (0..2000).map(|n| reading("level", n, Value::Int(n)));
    house.submit(readings.collect()).await;
    house.until_stored("level", 2000).await;
    house.close().await;
    let path = dir.path().join("history.sqlite");
    for nonsense in [
        vec![0xaa; 10_000],
        b"SQLite format 3\0 and then nothing".to_vec(),
    ] {
        std::fs::write(&path, &nonsense).unwrap();
        let house = House::open(dir.path(), quick());
        house.until_stored("level", 2000).await;
        let aside = std::fs::read(dir.path().join("history.sqlite.damaged")).unwrap();
        assert_eq!(aside, nonsense);
        house.close().await;
    }
}

#[tokio::test]
async fn damage_within_the_file_never_stops_it() {
    let dir: TempDir = tempfile::tempdir().unwrap();
    let house = House::open(dir.path(), quick());
    let readings = (0..5000).map(|n| reading("level", n, Value::Int(n * n)));
    house.submit(readings.collect()).await;
    house.until_stored("level", 5000).await;
    house.close().await;
    let path = dir.path().join("history.sqlite");
    let mut bytes = std::fs::read(&path).unwrap();
    // All but the first page.
    bytes[4096..].fill(0x5a);
    std::fs::write(&path, bytes).unwrap();
    let house = House::open(dir.path(), quick());
    house
        .submit(vec![reading("level", 9000, Value::Int(1))])
        .await;
    house.until_stored("level", 5001).await;
    house.close().await;
}

#[tokio::test]
async fn damage_met_while_writing_sets_the_file_aside_and_fills_a_new_one_from_the_journal() {
    let dir = tempfile::tempdir().unwrap();
    let house = House::open(dir.path(), quick());
    let readings = (0..2000).map(|n| reading("level", n, Value::Int(n)));
    house.submit(readings.collect()).await;
    house.until_stored("level", 2000).await;
    house.close().await;
    let path = dir.path().join("history.sqlite");
    // An index that opening does not touch, but every write does.
    let page: i64 = Connection::open(&path)
        .unwrap()
        .query_row(
            "SELECT rootpage FROM sqlite_master WHERE name = 'sqlite_autoindex_series_1'",
            [],
            |r| r.get(0),
        )
        .unwrap();
    let mut bytes = std::fs::read(&path).unwrap();
    let at = usize::try_from(page - 1).unwrap() * 4096;
    bytes[at..at + 4096].fill(0x5a);
    std::fs::write(&path, bytes).unwrap();
    let house = House::open(dir.path(), quick());
    house
        .submit(vec![reading("level", 9000, Value::Int(9000))])
        .await;
    let wait = async {
        while !dir.path().join("history.sqlite.damaged").exists() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(DEADLINE, wait)
        .await
        .expect("set aside");
    // Reading fails for a moment while the files change places.
    let all = || {
        let (from, to) = (Timestamp(i64::MIN), Timestamp(i64::MAX));
        house.history.points(key("level"), from, to, usize::MAX)
    };
    let wait = async {
        while all().await.map_or(0, |points| points.len()) != 2001 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(DEADLINE, wait)
        .await
        .expect("filled anew");
    assert_eq!(house.history.status().failing, None);
    house.close().await;
    let house = House::open(dir.path(), quick());
    assert_eq!(house.points("level").await.len(), 2001);
    house.close().await;
}
