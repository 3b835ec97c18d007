use std::{path::PathBuf, sync::Arc, time::Duration};

use serde_json::json;
use tempfile::TempDir;
use tests::{Disk, Gateway, Victoria, WebhookSink, disk::Survives, eventually, workspace_binary};

const LATER: i64 = 1_763_640_000_000;

async fn push(gateway: &Gateway, value: f64, at_ms: i64) -> u16 {
    let body =
        json!({ "device": "boiler", "metric": "temperature", "value": value, "time": at_ms });
    gateway
        .post("/api/v1/readings", "application/json", body.to_string())
        .await
        .0
}

/// A folder whose `data` is a disk that can be cut.
fn place() -> Option<(Arc<TempDir>, Disk)> {
    let dir = Arc::new(TempDir::new().unwrap());
    let disk = Disk::mount(&dir.path().join("data"))?;
    Some((dir, disk))
}

async fn crash(arguments: &[&str]) {
    let program: PathBuf = workspace_binary("crash");
    let done = tokio::process::Command::new(program)
        .args(arguments)
        .kill_on_drop(true)
        .output()
        .await
        .unwrap();
    let said = String::from_utf8_lossy(&done.stdout).into_owned();
    println!("{said}{}", String::from_utf8_lossy(&done.stderr));
    assert!(done.status.success());
    assert!(said.contains("nothing lost, nothing repeated") || said.contains("skipped"));
}

#[tokio::test(flavor = "multi_thread")]
async fn five_kills_under_load_lose_and_repeat_nothing() {
    crash(&["5", "--uptime", "2"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn five_power_cuts_under_load_lose_and_repeat_nothing() {
    crash(&["5", "--power-cut", "--uptime", "2"]).await;
}

/// The second life reads from the kernel's memory what the first one had written and not synced.
#[tokio::test(flavor = "multi_thread")]
async fn a_reading_that_a_killed_gateway_had_not_synced_is_synced_before_its_repeat_is_acknowledged()
 {
    let Some((dir, disk)) = place() else { return };
    let gateway = Gateway::start_in(dir, "").await;
    assert_eq!(push(&gateway, 1.0, LATER).await, 200);
    let syncs = disk.syncs();
    disk.slow_sync(Duration::from_secs(3600));
    let url = gateway.url("/api/v1/readings");
    let body =
        json!({ "device": "boiler", "metric": "temperature", "value": 2.0, "time": LATER + 1 });
    let pushing = tokio::spawn(async move {
        let request = reqwest::Client::new().post(url).json(&body);
        request.send().await.map(|response| response.status())
    });
    eventually("the record is written and being synced", || async {
        (disk.syncs() > syncs).then_some(())
    })
    .await;
    gateway.signal(rustix::process::Signal::KILL);
    disk.forsake_syncs();
    let stopped = gateway.kill().await;
    assert!(pushing.await.unwrap().is_err(), "it was not acknowledged");
    disk.slow_sync(Duration::ZERO);

    let gateway = stopped.start().await;
    assert_eq!(push(&gateway, 2.0, LATER + 1).await, 200);
    disk.power_cut(Survives::Nothing);
    let stopped = gateway.kill().await;
    disk.power_on();
    let gateway = stopped.start().await;
    gateway.value("boiler/temperature", |v| v == 2.0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_acknowledged_reading_survives_a_power_cut_without_any_other_file() {
    let Some((dir, disk)) = place() else { return };
    let gateway = Gateway::start_in(dir, "[history]\nenabled = false\n").await;
    assert_eq!(push(&gateway, 1.0, LATER).await, 200);
    disk.power_cut(Survives::Nothing);
    let stopped = gateway.kill().await;
    disk.power_on();
    let gateway = stopped.start().await;
    gateway.value("boiler/temperature", |v| v == 1.0).await;
}

/// Turns one bit in so many bytes, evenly over the file.
fn flip(file: &std::path::Path, every: usize) {
    let mut bytes = std::fs::read(file).unwrap();
    for at in (0..bytes.len()).step_by(every) {
        bytes[at] ^= 0x10;
    }
    std::fs::write(file, bytes).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn flipped_bits_in_every_file_cost_only_what_they_touch_and_are_told_in_log_status_and_metrics()
 {
    let Some(victoria) = Victoria::start().await else {
        return;
    };
    let webhook = WebhookSink::start().await;
    let config = format!(
        "[journal]\nsegment_size = \"64 KiB\"\n[history]\nflush_every = \"1s\"\n\
         [influxdb]\nurl = \"{}\"\nbucket = \"b\"\n\
         [[rule]]\nname = \"hot\"\nseries = \"*/temperature\"\nabove = 80\nclear = 70\n\
         [[webhook]]\nname = \"ops\"\nurl = \"{}\"\n",
        victoria.url(),
        webhook.url()
    );
    let gateway = Gateway::start(&config).await;
    for i in 0..300 {
        assert_eq!(push(&gateway, 90.0, LATER + i).await, 200);
    }
    eventually("all is archived", || async {
        let status = gateway.get("/api/v1/status").await;
        (status["archive"]["lag_records"] == 0 && status["history"]["stored"] == 300).then_some(())
    })
    .await;
    let (_, stopped) = gateway.stop().await;
    let data = stopped.dir.path().join("data");
    let mut segments: Vec<PathBuf> = std::fs::read_dir(data.join("journal"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|e| e == "seg"))
        .collect();
    segments.sort();
    // A few records in the middle, and the tail.
    flip(&segments[0], 5_000);
    let last = segments.last().unwrap();
    let length = std::fs::metadata(last).unwrap().len();
    let file = std::fs::File::options().write(true).open(last).unwrap();
    file.set_len(length - 20).unwrap();
    flip(&data.join("journal/influxdb.cursor"), 3);
    // After an orderly stop the file is whole without its log, which would otherwise hide what is flipped.
    let log = std::fs::metadata(data.join("state.sqlite-wal"));
    assert_eq!(log.map_or(0, |log| log.len()), 0);
    flip(&data.join("state.sqlite"), 64);
    flip(&data.join("history.sqlite"), 64);

    let gateway = stopped.start().await;
    let status = gateway.get("/api/v1/status").await;
    assert_eq!(
        status["damaged_files"],
        json!(["history.sqlite.damaged", "state.sqlite.damaged"])
    );
    let journal = &status["journal"];
    for figure in ["torn_bytes", "damaged_records", "unreadable_cursors"] {
        assert!(journal[figure].as_u64() > Some(0), "{figure}: {journal}");
    }
    let metrics = reqwest::get(gateway.url("/metrics")).await.unwrap();
    let metrics = metrics.text().await.unwrap();
    assert!(metrics.contains("gateway_damaged_files 2"), "{metrics}");
    for counter in [
        "torn_bytes_total",
        "damaged_records_total",
        "unreadable_cursors_total",
    ] {
        let name = format!("gateway_journal_{counter} ");
        let line = metrics.lines().find(|line| line.starts_with(&name));
        assert!(line.is_some_and(|line| !line.ends_with(" 0")), "{line:?}");
    }
    let log = gateway.log();
    assert_eq!(
        log.matches("is damaged: it is set aside").count(),
        2,
        "{log}"
    );
    assert!(log.contains("the journal was damaged"), "{log}");
    // Most of it is there, and it goes on.
    let path = format!(
        "/api/v1/series/boiler/temperature/points?from={LATER}&to={}",
        LATER + 1_000
    );
    let points = gateway.get(&path).await;
    assert!(points["v"].as_array().unwrap().len() > 200, "{points}");
    assert_eq!(push(&gateway, 91.0, LATER + 500).await, 200);
    gateway.value("boiler/temperature", |v| v == 91.0).await;
    gateway.account("push", |row| row["accepted"] == 1).await;
}
