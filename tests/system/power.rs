use std::{path::PathBuf, sync::Arc, time::Duration};

use serde_json::json;
use tempfile::TempDir;
use tests::{Disk, Gateway, disk::Survives, eventually, workspace_binary};

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
