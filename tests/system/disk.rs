use std::{sync::Arc, time::Duration};

use serde_json::{Value, json};
use tempfile::TempDir;
use tests::{
    Disk, Events, Gateway, Line, WebhookSink,
    disk::{Failure, Survives},
    eventually,
};

const LATER: i64 = 1_763_640_000_000;

async fn push(gateway: &Gateway, value: f64, at_ms: i64) -> u16 {
    let body =
        json!({ "device": "boiler", "metric": "temperature", "value": value, "time": at_ms });
    gateway
        .post("/api/v1/readings", "application/json", body.to_string())
        .await
        .0
}

/// A folder whose `data` is a disk that fails on command.
/// Pushes the same value again and again until the disk is really full: what fits into the room that the journal has taken already
/// is still durable.
async fn fill(gateway: &Gateway, value: f64, from_ms: i64) {
    for n in 0..5_000 {
        match push(gateway, value, from_ms + n).await {
            200 => {}
            status => return assert_eq!(status, 503),
        }
    }
    panic!("the disk is never full");
}

fn place() -> Option<(Arc<TempDir>, Disk)> {
    let dir = Arc::new(TempDir::new().unwrap());
    let disk = Disk::mount(&dir.path().join("data"))?;
    Some((dir, disk))
}

fn config(webhook: &WebhookSink) -> String {
    format!(
        "[history]\nflush_every = \"1s\"\n\
         [[rule]]\nname = \"hot\"\nseries = \"*/temperature\"\nabove = 80\nclear = 70\n\
         [[webhook]]\nname = \"ops\"\nurl = \"{}\"\n",
        webhook.url()
    )
}

/// `(rule, event)` of everything that the webhook took.
fn told(webhook: &WebhookSink) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let accepted = webhook.accepted();
    accepted
        .iter()
        .map(|body| (text(&body["rule"]), text(&body["event"])))
        .collect()
}

async fn hears(webhook: &WebhookSink, rule: &str, event: &str) {
    eventually(
        &format!("the webhook hears {event} of {rule}"),
        || async move {
            let wanted = (rule.to_owned(), event.to_owned());
            told(webhook).contains(&wanted).then_some(())
        },
    )
    .await;
}

async fn ready(gateway: &Gateway) -> (u16, String) {
    let response = reqwest::get(gateway.url("/readyz")).await.unwrap();
    (response.status().as_u16(), response.text().await.unwrap())
}

async fn becomes_ready(gateway: &Gateway) {
    eventually("it is ready again", || async {
        (ready(gateway).await.0 == 200).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn on_a_full_disk_nothing_is_acknowledged_who_cannot_wait_is_counted_and_room_heals_all() {
    let Some((dir, disk)) = place() else { return };
    let webhook = WebhookSink::start().await;
    let link = dir.path().join("tty");
    let mut line = Line::plug_in(&link);
    let config = format!(
        "{}[[source]]\nname = \"bench\"\ntype = \"serial\"\ndevice = \"{}\"\nmax_waiting_messages = 100\n\
         [[source.mapping]]\nformat = \"key_value\"\ndevice = \"bench\"\n",
        config(&webhook),
        link.display()
    );
    let gateway = Gateway::start_in(dir, &config).await;
    let mut events = Events::open(&gateway, "types=alert").await;
    gateway.source_is("bench", "up").await;
    assert_eq!(push(&gateway, 20.0, LATER).await, 200);

    disk.full();
    fill(&gateway, 21.0, LATER + 1_000).await;
    hears(&webhook, "disk", "firing").await;
    events
        .find("the page hears of it", |e| {
            e.kind == "alert" && e.data["rule"] == "disk" && e.data["state"] == "firing"
        })
        .await;
    let (status, why) = ready(&gateway).await;
    assert!(status == 503 && why.contains("full"), "{status} {why}");
    let failing = gateway.get("/api/v1/status").await["journal"]["failing"].clone();
    assert!(failing.as_str().unwrap().contains("make room"), "{failing}");
    let alerts = gateway.get("/api/v1/alerts").await;
    assert_eq!(alerts["alerts"][0]["series"], "gateway/disk", "{alerts}");
    let mut sent = 0;
    let dropped = |gateway: &Gateway| {
        let path = gateway.url("/api/v1/status");
        async move {
            let status: Value = reqwest::get(path).await.unwrap().json().await.unwrap();
            status["sources"][0]["dropped"].as_u64().unwrap()
        }
    };
    while dropped(&gateway).await == 0 {
        assert!(sent < 2_000_000, "nothing is ever dropped");
        for _ in 0..500 {
            line.send(format!("v={sent}\n"));
            sent += 1;
        }
    }

    disk.capacity(None);
    becomes_ready(&gateway).await;
    assert_eq!(push(&gateway, 90.0, LATER + 20_000).await, 200);
    hears(&webhook, "disk", "resolved").await;
    hears(&webhook, "hot", "firing").await;
    let row = gateway.account("bench", |row| row["accepted"] != 0).await;
    assert!(row["dropped"]["queue_full"].as_u64() > Some(0), "{row}");
    gateway.account("push", |_| true).await;
    let status = gateway.get("/api/v1/status").await;
    for part in ["journal", "history", "state"] {
        assert_eq!(status[part]["failing"], Value::Null, "{part}");
    }
    assert_eq!(told(&webhook).len(), 3, "each once: {:?}", told(&webhook));
}

#[tokio::test(flavor = "multi_thread")]
async fn it_starts_on_a_full_disk_says_so_and_goes_on_once_there_is_room() {
    let Some((dir, disk)) = place() else { return };
    let webhook = WebhookSink::start().await;
    let gateway = Gateway::start_in(dir, &config(&webhook)).await;
    assert_eq!(push(&gateway, 20.0, LATER).await, 200);
    disk.full();
    fill(&gateway, 20.0, LATER + 1_000).await;
    let stopped = gateway.kill().await;
    // What was given back for the last one is taken by somebody else.
    disk.full();
    let gateway = stopped.start().await;
    gateway.value("boiler/temperature", |v| v == 20.0).await;
    fill(&gateway, 20.0, LATER + 10_000).await;
    assert_eq!(ready(&gateway).await.0, 503);
    disk.capacity(None);
    becomes_ready(&gateway).await;
    assert_eq!(push(&gateway, 90.0, LATER + 20_000).await, 200);
    hears(&webhook, "hot", "firing").await;
}

async fn fails_so(failure: Failure) {
    let Some((dir, disk)) = place() else { return };
    let webhook = WebhookSink::start().await;
    let gateway = Gateway::start_in(dir, &config(&webhook)).await;
    assert_eq!(push(&gateway, 20.0, LATER).await, 200);
    disk.fail(Some(failure));
    assert_eq!(push(&gateway, 21.0, LATER + 1_000).await, 503);
    // The file of alerts can't be written either.
    hears(&webhook, "disk", "firing").await;
    assert_eq!(ready(&gateway).await.0, 503);
    eventually("the state says why", || async {
        let status = gateway.get("/api/v1/status").await;
        status["state"]["failing"].as_str().map(|_| ())
    })
    .await;
    let silence = json!({"matchers": [{"name": "rule", "value": "hot"}], "ends_at": "+4h", "created_by": "Ada"});
    let asked = reqwest::Client::new()
        .post(gateway.url("/api/v1/silences"))
        .json(&silence);
    let answer = asked.send().await.unwrap();
    assert_eq!(
        answer.status(),
        503,
        "what people do is not promised either"
    );
    assert!(answer.headers().contains_key("retry-after"));
    let silences = gateway.get("/api/v1/silences").await;
    assert_eq!(silences["silences"], json!([]));
    disk.fail(None);
    becomes_ready(&gateway).await;
    assert_eq!(push(&gateway, 90.0, LATER + 2_000).await, 200);
    hears(&webhook, "disk", "resolved").await;
    hears(&webhook, "hot", "firing").await;
    gateway.account("push", |_| true).await;
    let before = told(&webhook);
    assert_eq!(before.len(), 3, "each once: {before:?}");
    // What was delivered from memory is written down: the next one tells nothing again, and the power may fail.
    eventually("everything is written down", || async {
        let status = gateway.get("/api/v1/status").await;
        let webhook = &status["webhooks"][0];
        (webhook["waiting"] == 0 && webhook["delivered"] == 3).then_some(())
    })
    .await;
    disk.power_cut(Survives::Nothing);
    let stopped = gateway.kill().await;
    disk.power_on();
    let gateway = stopped.start().await;
    gateway.value("boiler/temperature", |v| v == 90.0).await;
    assert_eq!(push(&gateway, 60.0, LATER + 3_000).await, 200);
    hears(&webhook, "hot", "resolved").await;
    assert_eq!(told(&webhook).len(), 4, "{:?}", told(&webhook));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_read_only_disk_is_told_from_memory_and_all_goes_on_when_it_can_be_written() {
    fails_so(Failure::ReadOnly).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_refuses_writes_is_told_from_memory_and_all_goes_on_when_it_takes_them() {
    fails_so(Failure::Writes).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_whose_syncs_fail_loses_nothing_that_was_acknowledged() {
    fails_so(Failure::Syncs).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_hangs_is_told_although_the_outbox_hangs_too() {
    let Some((dir, disk)) = place() else { return };
    let webhook = WebhookSink::start().await;
    let gateway = Gateway::start_in(dir, &config(&webhook)).await;
    assert_eq!(push(&gateway, 20.0, LATER).await, 200);
    disk.slow_sync(Duration::from_secs(3600));
    assert_eq!(push(&gateway, 21.0, LATER + 1_000).await, 503);
    hears(&webhook, "disk", "firing").await;
    let (status, why) = ready(&gateway).await;
    assert!(status == 503 && why.contains("slow"), "{status} {why}");
    let status = gateway.get("/api/v1/status").await;
    assert!(status["journal"]["failing"].is_string(), "{status}");
    disk.slow_sync(Duration::ZERO);
    becomes_ready(&gateway).await;
    assert_eq!(push(&gateway, 22.0, LATER + 2_000).await, 200);
    hears(&webhook, "disk", "resolved").await;
    gateway.account("push", |_| true).await;
    assert_eq!(told(&webhook).len(), 2, "each once: {:?}", told(&webhook));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_disk_delays_the_answer_and_loses_nothing() {
    let Some((dir, disk)) = place() else { return };
    let gateway = Gateway::start_in(dir, "").await;
    disk.slow_sync(Duration::from_secs(2));
    let pushes = (0..20).map(|i| push(&gateway, f64::from(i), LATER + i64::from(i)));
    let answers = futures_util::future::join_all(pushes).await;
    assert_eq!(answers, [200; 20]);
    disk.power_cut(Survives::Nothing);
    let stopped = gateway.kill().await;
    disk.power_on();
    disk.slow_sync(Duration::ZERO);
    let gateway = stopped.start().await;
    let path = format!(
        "/api/v1/series/boiler/temperature/points?from={LATER}&to={}",
        LATER + 100
    );
    let points = gateway.get(&path).await;
    assert_eq!(points["v"].as_array().unwrap().len(), 20);
}

/// Silence fires by the clock, so that there is something to write down when nothing can be.
#[tokio::test(flavor = "multi_thread")]
async fn sigterm_while_alerts_cannot_be_written_down_ends_in_time_and_the_next_start_tells_them() {
    let Some((dir, disk)) = place() else { return };
    let webhook = WebhookSink::start().await;
    let config = format!(
        "stop_within = \"15s\"\n[[rule]]\nname = \"silent\"\nseries = \"*/*\"\nno_data_for = \"2s\"\n\
         [[webhook]]\nname = \"ops\"\nurl = \"{}\"\n",
        webhook.url()
    );
    let gateway = Gateway::start_in(dir, &config).await;
    assert_eq!(push(&gateway, 20.0, LATER).await, 200);
    disk.fail(Some(Failure::ReadOnly));
    eventually("the alert cannot be written down", || async {
        let status = gateway.get("/api/v1/status").await;
        status["state"]["failing"].as_str().map(|_| ())
    })
    .await;
    let (status, stopped) = gateway.stop().await;
    assert!(status.success(), "nobody was late");
    disk.fail(None);
    let _gateway = stopped.start().await;
    hears(&webhook, "silent", "firing").await;
}

/// More pushes than the journal's queue has room for.
#[tokio::test(flavor = "multi_thread")]
async fn sigterm_while_hundreds_of_pushes_wait_for_a_disk_that_refuses_ends_in_time() {
    let Some((dir, disk)) = place() else { return };
    let gateway = Gateway::start_in(dir, "stop_within = \"10s\"\n").await;
    disk.fail(Some(Failure::ReadOnly));
    let url = gateway.url("/api/v1/readings");
    let client = reqwest::Client::new();
    let pushes: Vec<_> = (0..700)
        .map(|i| {
            let body = json!({ "device": "d", "metric": "m", "value": i, "time": LATER + i });
            tokio::spawn(client.post(&url).json(&body).send())
        })
        .collect();
    eventually("more wait than the queue holds", || async {
        (gateway.account_sum("waiting").await > 300).then_some(())
    })
    .await;
    let (_, stopped) = gateway.stop().await;
    for push in pushes {
        let answer = push.await.unwrap();
        assert!(answer.is_err() || answer.is_ok_and(|a| a.status() != 200));
    }
    disk.fail(None);
    let gateway = stopped.start().await;
    assert_eq!(push(&gateway, 1.0, LATER).await, 200);
}
