//! What rules cost: 10 000 of them over 1 000 series at 10 000 readings a second, ten rules a series, as a share of one core.
//!
//! In the process, on the engine alone: records go in as the journal hands them on, updates and decisions are taken and thrown away.
//! Every ring is full before, so that a rule that looks back has far to look. The row without rules is what the engine costs anyway.

use std::{fmt::Write as _, path::Path, sync::Arc, time::Duration};

use gateway::{
    clock::Clock,
    config::{self, Surroundings},
    engine::{self, Booting, Ends, Resumption, Update},
    journal::{Committed, Entry, Position},
    model::{Batch, Quality, Reading, SeriesKey, SourceName, Timestamp, Value},
};
use prometheus_client::registry::Registry;
use rustix::time::{ClockId, clock_gettime};
use tokio::{sync::mpsc, time::Instant};

const SERIES: usize = 1_000;
const RULES: usize = 10_000;
const PER_SECOND: usize = 10_000;
/// Readings of one record.
const RECORD: usize = 100;
/// Points of each series before it begins, five seconds apart: the rings are full, and windows lie behind them.
const BEFORE: usize = 1_400;
const BEFORE_STEP: i64 = 5_000_000_000;
/// The metric that others are compared with, beside those that are judged.
const SETPOINT: &str = "setpoint";

/// The ten rules of a series when each asks something else.
const MIXED: [&str; 10] = [
    "above = 60\nclear = 55",
    "outside = [-10, 60]",
    "rate_above = 500\nper = \"1m\"\nover = \"5m\"",
    "deviation_above = 6\nover = \"1h\"",
    "above_percentile = 99.9\nover = \"1h\"\nby = 20",
    "above_metric = \"setpoint\"\nby = 30\nmax_age = \"1d\"",
    "stuck_for = \"10m\"",
    "above = 21\nmore_than = 400\nover = \"10s\"",
    "when = \"value > 60 or value > metric('setpoint') + 30 and mean('5m') < 10\"",
    "no_data_for = \"10m\"",
];

pub(crate) async fn run(time: Duration) {
    println!(
        "\nrules: {RULES} over {SERIES} series, {PER_SECOND} readings/s in records of {RECORD}, rings full, the engine in this process, {} s each",
        time.as_secs()
    );
    println!(
        "{:<34} {:>12} {:>14} {:>12} {:>12}",
        "", "read config", "watch series", "CPU share", "of rules"
    );
    let same = |rule| vec![rule; 10];
    let deviations: [String; 10] =
        std::array::from_fn(|nth| format!("deviation_above = 6\nover = \"{}m\"", 60 - nth));
    let each_its_own = deviations.iter().map(String::as_str).collect();
    let mut idle = None;
    for (name, kinds) in [
        ("no rules", Vec::new()),
        ("a limit", same(MIXED[0])),
        ("each of ten kinds", MIXED.to_vec()),
        ("an expression", same(MIXED[8])),
        ("a deviation over 1 h", same(MIXED[3])),
        ("deviations over ten times", each_its_own),
    ] {
        let row = measure(&kinds, time).await;
        let share = 100.0 * row.share;
        let idle = *idle.get_or_insert(share);
        println!(
            "{name:<34} {:>10.2} s {:>12.2} s {share:>10.1} % {:>10.1} %",
            row.read.as_secs_f64(),
            row.watch.as_secs_f64(),
            share - idle
        );
    }
}

struct Row {
    read: Duration,
    watch: Duration,
    share: f64,
}

async fn measure(kinds: &[&str], time: Duration) -> Row {
    let began = Instant::now();
    let config = read(kinds);
    let read = began.elapsed();
    let (updates, mut told) = mpsc::channel(256);
    let (decided, mut changes) = mpsc::channel(64);
    let (committed, for_engine) = mpsc::channel(64);
    let mut booting = Booting::new(config, Resumption::default(), Clock::system());
    let now = Clock::system().now().0;
    let began = Instant::now();
    booting.replay(&entry(
        1,
        batch(0, now - BEFORE_STEP * i64::try_from(BEFORE).unwrap_or(0)),
    ));
    let watch = began.elapsed();
    for nth in 1..BEFORE {
        let back = i64::try_from(BEFORE - nth).unwrap_or(0);
        let position = nth as u64 + 1;
        booting.replay(&entry(position, batch(nth, now - BEFORE_STEP * back)));
    }
    let (engine, task) = booting.start(
        Ends {
            committed: for_engine,
            updates,
            decided,
        },
        &mut Registry::default(),
    );
    let taken = tokio::spawn(async move {
        loop {
            tokio::select! {
                update = told.recv() => match update {
                    Some(Update::Readings { .. }) | Some(_) => {}
                    None => break,
                },
                Some(_) = changes.recv() => {}
            }
        }
    });
    let records = PER_SECOND / RECORD * usize::try_from(time.as_secs()).unwrap_or(1);
    let gap = Duration::from_secs(1) / u32::try_from(PER_SECOND / RECORD).unwrap_or(1);
    let mut ready: Vec<Committed> = (0..records)
        .map(|nth| {
            let offset = gap * u32::try_from(nth).unwrap_or(u32::MAX);
            let at = now + i64::try_from(offset.as_nanos()).unwrap_or(0);
            let from = nth * RECORD % SERIES;
            let readings = (from..from + RECORD).map(|series| reading(series, nth, at));
            Committed {
                position: Position((BEFORE + nth) as u64 + 10),
                batches: Arc::from(vec![batch_of(readings.collect())]),
            }
        })
        .collect();
    engine.status().await.expect("a running engine");
    let (wall, cpu) = (Instant::now(), cpu_time());
    let mut ticks = tokio::time::interval(gap);
    for record in ready.drain(..) {
        ticks.tick().await;
        committed.send(record).await.expect("a running engine");
    }
    let status = engine.status().await.expect("a running engine");
    let share = (cpu_time() - cpu).as_secs_f64() / wall.elapsed().as_secs_f64();
    assert_eq!(status.undecided, 0, "{:?}", status.undecided_rules);
    assert_eq!(status.series, 2 * SERIES, "every series is known");
    drop((committed, engine));
    task.await.expect("an engine that ends");
    taken.await.expect("what it says");
    Row { read, watch, share }
}

/// As a person would write them: each rule about one series.
fn read(kinds: &[&str]) -> engine::Config {
    let mut text = String::new();
    let per_series = RULES / SERIES;
    for series in (0..SERIES).filter(|_| !kinds.is_empty()) {
        for nth in 0..per_series {
            let kind = kinds[nth % kinds.len()];
            // Writing to a string cannot fail.
            let _ = writeln!(
                text,
                "[[rule]]\nname = \"{series}-{nth}\"\nseries = \"device-{series}/temperature\"\n{kind}"
            );
        }
    }
    let around = Surroundings {
        folder: Path::new("/"),
        read_file: &|_| Err(std::io::Error::from(std::io::ErrorKind::NotFound)),
        environment: &|_| None,
    };
    let config = config::parse("rules.toml", &text, &around);
    config.expect("rules without a mistake").engine
}

fn entry(position: u64, batch: Batch) -> Entry {
    Entry {
        position: Position(position),
        batches: vec![batch],
    }
}

/// One reading of every series; with the first, and now and then, of what they are compared with.
fn batch(nth: usize, at: i64) -> Batch {
    let mut readings: Vec<_> = (0..SERIES).map(|series| reading(series, nth, at)).collect();
    if nth.is_multiple_of(100) {
        let setpoints = readings.clone().into_iter().map(|mut reading| {
            reading.series.metric.0 = SETPOINT.into();
            reading
        });
        readings.splice(0..0, setpoints);
    }
    batch_of(readings)
}

fn batch_of(readings: Vec<Reading>) -> Batch {
    Batch {
        source: SourceName("bench".into()),
        readings,
        ..Batch::default()
    }
}

/// Between 15 and 25, never twice the same.
#[expect(clippy::cast_precision_loss, reason = "any number does")]
fn reading(series: usize, nth: usize, at: i64) -> Reading {
    let value = 20.0 + 5.0 * ((nth * 37 + series * 11) as f64 * 0.618).sin();
    Reading {
        series: SeriesKey::parse(&format!("device-{series}/temperature")).expect("a series"),
        value: Value::Float(value),
        unit: None,
        quality: Quality::Good,
        time: Timestamp(at),
        received: Timestamp(at),
        retained: false,
    }
}

fn cpu_time() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(
        u64::try_from(time.tv_sec).unwrap_or(0),
        u32::try_from(time.tv_nsec).unwrap_or(0),
    )
}
