//! The journal alone: readings a second durable, and how long a start takes with a gigabyte in it.

use std::{path::Path, sync::Arc, time::Duration};

use gateway::{
    journal::{Config, Journal, Position},
    model::{
        Batch, DeviceId, Metric, Quality, Reading, SeriesKey, SourceName, Timestamp, Unit, Value,
    },
};
use prometheus_client::registry::Registry;
use tests::{Gateway, eventually, free_port};
use tokio::{sync::mpsc, task::JoinHandle, time::Instant};

const BATCHES: i64 = 20_000;
const READINGS: i64 = 10;
const READY_WITHIN: Duration = Duration::from_secs(600);

pub(crate) async fn run() {
    println!("\njournal: the log alone, on the disk of the temporary folder");
    append().await;
    start().await;
    ready().await;
}

fn open(dir: &Path, config: Config) -> (Journal, JoinHandle<()>) {
    let (sender, mut committed) = mpsc::channel(64);
    let opened = Journal::open(config, dir, sender, &mut Registry::default());
    let (journal, _) = opened.expect("the journal opens");
    let drain = tokio::spawn(async move { while committed.recv().await.is_some() {} });
    (journal, drain)
}

fn batch(n: i64, readings: i64, value: &Value) -> Batch {
    let time = Timestamp::from_millis(1_763_640_000_000 + n);
    let reading = |i: i64| Reading {
        series: SeriesKey {
            device: DeviceId(format!("device-{}", n % 50).into()),
            metric: Metric(format!("metric{i}").into()),
        },
        value: value.clone(),
        unit: Some(Unit("Cel".into())),
        quality: Quality::Good,
        time,
        received: time,
        retained: false,
    };
    Batch {
        source: SourceName("bench".into()),
        peer: None,
        readings: (0..readings).map(reading).collect(),
        ..Batch::default()
    }
}

async fn append() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let (journal, drain) = open(dir.path(), Config::default());
    let batches: Vec<Batch> = (0..BATCHES)
        .map(|n| batch(n, READINGS, &Value::Float(20.5)))
        .collect();
    let began = Instant::now();
    for batch in batches {
        let taken = journal.submit(batch, Box::new(|_| ())).await;
        taken.expect("the journal is open");
    }
    journal.close().await;
    let seconds = began.elapsed().as_secs_f64();
    #[expect(clippy::cast_precision_loss, reason = "a rate for people")]
    let rate = (BATCHES * READINGS) as f64 / seconds;
    let status = journal.status();
    println!(
        "append, batches of {READINGS}: {rate:.0} readings/s durable, {} records, {} bytes",
        status.newest, status.bytes
    );
    drop(journal);
    drain.await.expect("it drains");
}

/// Long texts, so that a gigabyte is soon there.
async fn start() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let config = Config {
        max_bytes: 2 << 30,
        keep_bytes: 2 << 30,
        ..Config::default()
    };
    let (journal, drain) = open(dir.path(), config.clone());
    let long = batch(0, 1_000, &Value::Text("x".repeat(256).into()));
    while journal.status().bytes < 1 << 30 {
        let taken = journal.submit(long.clone(), Box::new(|_| ())).await;
        taken.expect("the journal is open");
    }
    journal.close().await;
    drop(journal);
    drain.await.expect("it drains");
    let began = Instant::now();
    let (journal, _drain) = open(dir.path(), config);
    let segments = journal.status().segments;
    println!(
        "open with 1 GiB in {segments} segments: {:?}",
        began.elapsed()
    );
    let mut readings = 0;
    let began = Instant::now();
    journal.replay(Position(0), &mut |entry| {
        readings += entry
            .batches
            .iter()
            .map(|b| b.readings.len())
            .sum::<usize>();
    });
    println!("replay of {readings} readings: {:?}", began.elapsed());
}

/// A whole gateway with a gigabyte of numbers in its journal, because InfluxDB was away.
async fn ready() {
    let dir = Arc::new(tempfile::tempdir().expect("a temporary folder"));
    let folder = dir.path().join("data/journal");
    std::fs::create_dir_all(&folder).expect("the folder can be made");
    // Without a cursor nothing else keeps it.
    let config = Config {
        keep_bytes: 1 << 30,
        ..Config::default()
    };
    let (journal, drain) = open(&folder, config);
    let mut n = 0;
    while journal.status().bytes < 1_000_000_000 {
        n += 1;
        let taken = journal.submit(batch(n, 200, &Value::Float(20.5)), Box::new(|_| ()));
        taken.await.expect("the journal is open");
    }
    journal.close().await;
    let bytes = journal.status().bytes;
    drop(journal);
    drain.await.expect("it drains");
    println!(
        "a gateway with {bytes} bytes in its journal, {} readings of {} series, of which InfluxDB has none",
        n * 200,
        50 * 200
    );
    // The state file is new: there is no inventory, and rules have to run over all of it.
    let gateway = until_ready(&dir, "ready with nothing but the journal").await;
    eventually("the inventory is written down", async || {
        let noted = gateway.metric("gateway_inventories_total").await;
        (noted > 0.0).then_some(())
    })
    .await;
    gateway.stop().await;
    for _ in 0..2 {
        let gateway = until_ready(&dir, "ready after a stop").await;
        gateway.stop().await;
    }
    let gateway = until_ready(&dir, "ready after a stop").await;
    gateway.kill().await;
    let gateway = until_ready(&dir, "ready after a kill").await;
    let account = gateway.get("/api/v1/account").await;
    assert_eq!(account["balanced"], true, "{account}");
    let carried = account["sources"]
        .as_array()
        .and_then(|all| all.iter().find(|row| row["source"] == "bench"))
        .and_then(|row| row["archives"].as_array())
        .and_then(|all| all.iter().find(|line| line["archive"] == "influxdb"))
        .and_then(|line| line["carried_over"].as_i64());
    assert_eq!(
        carried,
        Some(n * 200),
        "InfluxDB has them all yet to come: {account}"
    );
}

async fn until_ready(dir: &Arc<tempfile::TempDir>, what: &str) -> Gateway {
    let (port, nobody, began) = (free_port(), free_port(), Instant::now());
    let config = format!(
        "[[window]]\nevery = \"1m\"\n\n[[window]]\nevery = \"1h\"\n\n[influxdb]\nurl = \"http://127.0.0.1:{nobody}\"\norg = \"o\"\nbucket = \"b\"\n"
    );
    let starting = Gateway::launch(Arc::clone(dir), &config, port);
    let url = format!("http://127.0.0.1:{port}/readyz");
    while !reqwest::get(&url).await.is_ok_and(|a| a.status() == 200) {
        assert!(began.elapsed() < READY_WITHIN, "it does not get ready");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    println!("{what}: {:?}", began.elapsed());
    starting.ready().await.expect("it is ready")
}
