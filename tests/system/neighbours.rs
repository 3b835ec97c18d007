//! Slow and dead neighbours: each costs its own function alone.

use std::{sync::Arc, time::Duration};

use serde_json::Value;
use tempfile::TempDir;
use tests::{
    Disk, Events, Gateway, HangingSink, Line, WebhookSink, eventually,
    onslaught::{self, Scale},
    peers,
};

const LISTENER: &str = "[[source]]\nname = \"l\"\ntype = \"mqtt_listener\"\nlisten = \"127.0.0.1:0\"\n[[source.mapping]]\n\
                        topic = \"t/{device}\"\nformat = \"number\"\nmetric = \"v\"\n";

fn rule_and_webhooks(hung: &[HangingSink], good: &WebhookSink) -> String {
    let mut config =
        String::from("[[rule]]\nname = \"high\"\nseries = \"*/v\"\nabove = 50\nclear = 40\n");
    for (i, sink) in hung.iter().enumerate() {
        config += &format!(
            "[[webhook]]\nname = \"hung-{i}\"\nurl = \"{}\"\n",
            sink.url()
        );
    }
    config + &format!("[[webhook]]\nname = \"good\"\nurl = \"{}\"\n", good.url())
}

#[tokio::test(flavor = "multi_thread")]
async fn two_hundred_browsers_that_stop_reading_and_webhooks_that_hang_cost_nobody_else() {
    let hung = [
        HangingSink::start().await,
        HangingSink::start().await,
        HangingSink::start().await,
    ];
    let good = WebhookSink::start().await;
    let gateway = Gateway::start(&format!("{LISTENER}{}", rule_and_webhooks(&hung, &good))).await;
    let scale = Scale {
        browsers: 200,
        ..Scale::default()
    };
    let stalled = onslaught::unleash(&gateway, scale).await;
    assert_eq!(stalled.len(), 200);
    eventually("all of them are served", || async {
        (gateway.metric("gateway_live_clients").await >= 200.0).then_some(())
    })
    .await;
    let mut reader = Events::open(&gateway, "series=d499/v&types=snapshot,readings").await;
    // Far more than the ring for slow clients holds.
    let before = gateway.memory("VmRSS");
    for i in 0..100 {
        let lines: String = (0..500)
            .map(|j| format!("m,device=d{j} v={i} {}\n", 1_763_640_000_000_i64 + i))
            .collect();
        let (status, answer) = gateway
            .post("/api/v2/write?precision=ms", "text/plain", lines)
            .await;
        assert_eq!(status, 204, "{answer}");
    }
    let last = 99.0;
    // It did not read meanwhile: where it fell behind it gets a snapshot.
    let is_last = |event: &tests::events::Event| {
        let values = event.data["series"]["d499/v"]["v"].as_array();
        event.data["series"][0]["v"] == last || values.is_some_and(|v| v.iter().any(|v| *v == last))
    };
    reader.find("the newest value", is_last).await;
    let port = gateway.listeners[0].port();
    if tests::installed("mosquitto_pub").is_some() {
        peers::publish(port, &["-q", "1", "-t", "t/other", "-m", "7"]).await;
        gateway.value("other/v", |v| v == 7.0).await;
        gateway.account("l", |row| row["accepted"] == 1).await;
    }
    eventually("the webhook that works hears of every alert", || async {
        (good.accepted().len() == 500).then_some(())
    })
    .await;
    for sink in &hung {
        assert!(sink.connections() > 0, "it was tried");
    }
    // What is kept for those who don't read is bounded: replay, one snapshot, and what the network layer holds for each.
    let grown = gateway.memory("VmRSS").saturating_sub(before);
    assert!(grown < 120_000_000, "grown by {grown} bytes");
    let row = gateway
        .account("push", |row| row["accepted"] == 50_000)
        .await;
    assert_eq!(row["rejected"], serde_json::json!({}), "{row}");
    let status = gateway.get("/api/v1/status").await;
    let webhook = |name: &str| -> Value {
        let all = status["webhooks"].as_array().unwrap();
        all.iter().find(|w| w["name"] == name).unwrap().clone()
    };
    assert_eq!(webhook("good")["waiting"], 0, "{status}");
    assert_eq!(webhook("hung-0")["waiting"], 500, "{status}");
    drop(stalled);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_takes_seconds_to_sync_delays_acknowledgements_and_loses_nothing() {
    if tests::installed("mosquitto_pub").is_none() {
        return;
    }
    let dir = Arc::new(TempDir::new().unwrap());
    let Some(disk) = Disk::mount(&dir.path().join("data")) else {
        return;
    };
    let link = dir.path().join("port");
    let mut line = Line::plug_in(&link);
    let serial = format!(
        "[[source]]\nname = \"s\"\ntype = \"serial\"\ndevice = \"{}\"\n[[source.mapping]]\nformat = \"key_value\"\n",
        link.display()
    );
    let gateway = Gateway::start_in(Arc::clone(&dir), &format!("{LISTENER}{serial}")).await;
    gateway.source_is("s", "up").await;
    disk.slow_sync(Duration::from_secs(2));
    let port = gateway.listeners[0].port();
    let at_once = std::iter::repeat_n("5\n", 500).collect::<String>();
    let mut publishing = tokio::process::Command::new("mosquitto_pub")
        .args([
            "-h",
            "127.0.0.1",
            "-p",
            &port.to_string(),
            "-q",
            "0",
            "-t",
            "t/fast",
            "-l",
        ])
        .stdin(std::process::Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut stdin = publishing.stdin.take().unwrap();
    tokio::io::AsyncWriteExt::write_all(&mut stdin, at_once.as_bytes())
        .await
        .unwrap();
    drop(stdin);
    for i in 0..500 {
        line.send(format!("t={i}\n"));
    }
    let syncs = disk.syncs();
    peers::publish(port, &["-q", "1", "-t", "t/sure", "-m", "1"]).await;
    assert!(disk.syncs() > syncs, "acknowledged without a sync");
    let (status, answer) = gateway
        .post("/api/v2/write", "text/plain", "m,device=pushed v=1")
        .await;
    assert_eq!(status, 204, "{answer}");
    assert!(publishing.wait().await.unwrap().success());
    // The page answers meanwhile, and nothing was dropped.
    gateway.account("l", |row| row["accepted"] == 501).await;
    let row = gateway.account("s", |row| row["accepted"] == 500).await;
    assert_eq!(row["dropped"]["queue_full"], 0, "{row}");
    gateway.account("push", |row| row["accepted"] == 1).await;
    disk.slow_sync(Duration::ZERO);
    let (status, _) = gateway.stop().await;
    assert!(status.success());
}
