use std::{io::Write as _, path::PathBuf};

use serde_json::Value;
use tests::{Gateway, InfluxSink, eventually};

const READINGS: usize = 1_000;
const PUSHES: usize = 60;
/// More than a segment of 64 KiB, after which the inventory is written again.
const MORE: usize = 20;
/// Where the bodies of a segment's first record begin: behind the headers of segment and record.
const FIRST_BODY: usize = 24 + 28;

/// `keep` is a small part of what the journal holds while InfluxDB is away.
fn config(influxdb: &str) -> String {
    format!(
        "[journal]\nsegment_size = \"64 KiB\"\nkeep = \"128 KiB\"\n[history]\nflush_every = \"1s\"\n\
         [influxdb]\nurl = \"{influxdb}\"\norg = \"o\"\nbucket = \"b\"\nlinger = \"0s\"\n\
         [[rule]]\nname = \"silent\"\nseries = \"old/*\"\nno_data_for = \"1s\"\n"
    )
}

async fn push(gateway: &Gateway, lines: String) {
    let path = "/api/v2/write?precision=ms";
    let (status, body) = gateway.post(path, "text/plain", lines).await;
    assert_eq!(status, 204, "{body}");
}

fn archive<'a>(row: &'a Value, name: &str) -> &'a Value {
    let archives = row["archives"].as_array().expect("archives");
    let found = archives.iter().find(|archive| archive["archive"] == name);
    found.unwrap_or_else(|| panic!("no {name}: {row}"))
}

async fn inventories(gateway: &Gateway) -> f64 {
    gateway.metric("gateway_inventories_total").await
}

/// Another byte in the first record of the second segment, which holds readings that no start needs to look at.
fn damage(data: PathBuf) {
    let mut segments: Vec<PathBuf> = std::fs::read_dir(data.join("journal"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|e| e == "seg"))
        .collect();
    segments.sort();
    assert!(segments.len() > 4, "{segments:?}");
    let mut bytes = std::fs::read(&segments[1]).unwrap();
    bytes[FIRST_BODY + 10] ^= 0xff;
    let mut file = std::fs::File::create(&segments[1]).unwrap();
    file.write_all(&bytes).unwrap();
}

#[tokio::test]
async fn a_start_reads_the_end_of_the_journal_and_knows_and_counts_what_lies_before() {
    let away = config("http://127.0.0.1:1");
    let gateway = Gateway::start(&away).await;
    push(
        &gateway,
        String::from("m,device=old v=42.5 1763640000000\n"),
    )
    .await;
    let batch = |n: usize| -> String {
        let time = 1_763_640_000_000 + n * READINGS;
        let line = |i: usize| format!("m,device=new v={i}.5 {}\n", time + i);
        (0..READINGS).map(line).collect()
    };
    for n in 0..PUSHES {
        push(&gateway, batch(n)).await;
    }
    // The first inventory that is seen now may have been under way before; the second one is of what was pushed by now.
    let mut pushes = PUSHES;
    for _ in 0..2 {
        let before = inventories(&gateway).await;
        for _ in 0..MORE {
            push(&gateway, batch(pushes)).await;
            pushes += 1;
        }
        eventually("the inventory is written down", || async {
            (inventories(&gateway).await > before).then_some(())
        })
        .await;
    }
    let sent = (pushes * READINGS + 1) as u64;
    let row = gateway
        .account("push", |row| {
            row["accepted"] == sent && archive(row, "history")["archived"] == sent
        })
        .await;
    assert_eq!(archive(&row, "influxdb")["waiting"], sent);
    let points = |status: &Value| status["engine"]["points"].as_u64();
    let held = gateway.get("/api/v1/status").await;
    let stopped = gateway.kill().await;
    damage(stopped.dir.path().join("data"));

    let gateway = stopped.start().await;
    let status = gateway.get("/api/v1/status").await;
    assert_eq!(
        points(&status),
        points(&held),
        "the ring of the busy series is full again"
    );
    gateway.value("old/v", |v| *v == 42.5).await;
    gateway.value("new/v", |v| *v == 999.5).await;
    eventually("the silence of the old series is told", || async {
        let alerts = gateway.get("/api/v1/alerts").await;
        let all = alerts["alerts"].as_array()?.clone();
        all.into_iter()
            .find(|a| a["series"] == "old/v" && a["state"] == "firing")
    })
    .await;
    let is_carried = |row: &Value| archive(row, "influxdb")["carried_over"] == sent;
    gateway.account("push", is_carried).await;

    // InfluxDB is back: the damage is met, and costs only itself.
    let sink = InfluxSink::start().await;
    let (_, stopped) = gateway.stop().await;
    let gateway = stopped.start_with(&config(&sink.url())).await;
    let row = gateway.account_archived("push", is_carried).await;
    let dropped = archive(&row, "influxdb")["dropped"].as_u64().unwrap();
    assert!((1..=READINGS as u64).contains(&dropped), "{row:#}");
    assert_eq!(sink.lines().len() as u64, sent - dropped);
    assert!(gateway.get("/api/v1/status").await["journal"]["damaged_records"] != 0);
}
