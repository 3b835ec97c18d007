use std::{sync::Arc, time::Duration};

use gateway::clock::Clock;
use serde_json::{Value, json};
use tests::{FakeClock, Gateway, InfluxSink, Victoria, WebhookSink, eventually, peers};

const DAY: i64 = 86_400;

fn now_ms() -> i64 {
    Clock::system().now().as_millis()
}

fn config(archive: &str, webhook: &WebhookSink) -> String {
    format!(
        r#"
        [influxdb]
        url = "{}"
        bucket = "b"
        linger = "0s"
        [store]
        judge_within = "2h"
        [history]
        flush_every = "1s"
        [[source]]
        name = "listener"
        type = "mqtt_listener"
        listen = "127.0.0.1:0"
        [[source.mapping]]
        topic = "{{device}}/{{metric}}"
        format = "number"
        metric = "{{metric}}"
        [[rule]]
        name = "hot"
        series = "*/temperature"
        above = 80
        [[rule]]
        name = "long hot"
        series = "*/temperature"
        above = 80
        for = "1h"
        [[rule]]
        name = "silent"
        series = "*/*"
        no_data_for = "1h"
        [[webhook]]
        name = "ops"
        url = "{}"
        "#,
        archive,
        webhook.url()
    )
}

/// Pushes a value that has no time of its own; gives the true time.
async fn push(gateway: &Gateway, device: &str, value: f64) -> i64 {
    let body = json!({ "device": device, "metric": "temperature", "value": value });
    let at = now_ms();
    let (status, answer) = gateway
        .post("/api/v1/readings", "application/json", body.to_string())
        .await;
    assert_eq!(status, 200, "{answer}");
    at
}

async fn status(gateway: &Gateway) -> Value {
    gateway.get("/api/v1/status").await
}

fn rules(webhook: &WebhookSink) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let all = webhook.accepted();
    all.iter()
        .map(|b| (text(&b["rule"]), text(&b["event"])))
        .collect()
}

/// As the archive has them: each value once, within a second of its time.
fn assert_right(found: &[(i64, f64)], expected: &[(i64, f64)]) {
    assert_eq!(found.len(), expected.len(), "{found:?} for {expected:?}");
    for (found, expected) in found.iter().zip(expected) {
        assert_eq!(found.1.to_bits(), expected.1.to_bits());
        assert!(
            (found.0 - expected.0).abs() < 1_000,
            "{found:?} for {expected:?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_boot_in_1970_ends_with_the_right_times_in_archive_history_and_alerts() {
    let Some(clock) = FakeClock::off_by(100 - now_ms() / 1_000) else {
        return;
    };
    let Some(victoria) = Victoria::start().await else {
        return;
    };
    let webhook = WebhookSink::start().await;
    let config = config(&victoria.url(), &webhook);
    let dir = Arc::new(tempfile::tempdir().unwrap());
    let gateway = Gateway::start_under(&clock, Arc::clone(&dir), &config).await;
    assert_eq!(status(&gateway).await["clock"]["trusted"], false);
    let mut expected = Vec::new();
    for value in [20.0, 95.0, 96.0] {
        expected.push((push(&gateway, "boiler", value).await, value));
        // The times must differ by more than they may be wrong by.
        tokio::time::sleep(Duration::from_millis(1_100)).await;
    }
    // What says its own time waits for nobody.
    let own = now_ms();
    let body = json!({ "device": "gps", "metric": "speed", "value": 3.0, "time": own });
    gateway
        .post("/api/v1/readings", "application/json", body.to_string())
        .await;
    eventually("it is archived", || async {
        let points = victoria.points("gps", "speed").await;
        (points == [(own, 3.0)]).then_some(())
    })
    .await;
    let shown = gateway.value("boiler/temperature", |v| v == 96.0).await;
    assert_eq!(shown["quality"], "uncertain");
    assert_eq!(status(&gateway).await["journal"]["awaiting_clock"], 3);

    // The process dies before the clock is set, and a sensor speaks MQTT after it.
    drop(gateway.kill().await);
    let gateway = Gateway::start_under(&clock, dir, &config).await;
    let at = now_ms();
    let port = gateway.listeners[0].port();
    peers::publish(port, &["-q", "1", "-t", "boiler/temperature", "-m", "97"]).await;
    expected.push((at, 97.0));
    gateway
        .account("listener", |row| row["accepted"] == 1)
        .await;
    assert_eq!(status(&gateway).await["journal"]["awaiting_clock"], 4);
    assert_eq!(victoria.points("boiler", "temperature").await, []);
    assert_eq!(rules(&webhook), []);

    clock.set(0);
    expected.push((push(&gateway, "boiler", 30.0).await, 30.0));
    let found = eventually("all is archived", || async {
        let points = victoria.points("boiler", "temperature").await;
        (points.len() >= expected.len()).then_some(points)
    })
    .await;
    assert_right(&found, &expected);
    let gateway = &gateway;
    let history = eventually("all is in the history", || async move {
        let points = gateway
            .get("/api/v1/series/boiler/temperature/points")
            .await;
        (points["t"].as_array()?.len() >= 5).then_some(points)
    })
    .await;
    let column = |name: &str| history[name].as_array().unwrap().clone();
    let history: Vec<_> = column("t")
        .iter()
        .zip(&column("v"))
        .map(|(t, v)| (t.as_i64().unwrap(), v.as_f64().unwrap()))
        .collect();
    assert_right(&history, &expected);
    // The rules saw them in their time: hot from the second reading on, over with the last.
    eventually("the alert is told", || async {
        (rules(&webhook).len() == 2).then_some(())
    })
    .await;
    let told = webhook.accepted();
    assert_eq!(
        (&told[0]["event"], &told[1]["event"]),
        (&json!("firing"), &json!("resolved"))
    );
    let began = told[0]["began_ms"].as_i64().unwrap();
    assert!(
        (began - expected[1].0).abs() < 1_000,
        "{began} for {expected:?}"
    );
    let status = status(gateway).await;
    assert_eq!(
        (&status["clock"]["trusted"], &status["clock"]["jumps"]),
        (&json!(true), &json!(0))
    );
    assert_eq!(status["journal"]["awaiting_clock"], 0);
    gateway.account("push", |row| row["accepted"] == 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn jumps_of_two_weeks_fire_and_clear_nothing_and_are_told() {
    let Some(clock) = FakeClock::off_by(0) else {
        return;
    };
    let archive = InfluxSink::start().await;
    let webhook = WebhookSink::start().await;
    let dir = Arc::new(tempfile::tempdir().unwrap());
    let gateway = Gateway::start_under(&clock, dir, &config(&archive.url(), &webhook)).await;
    let firing = |rule: &str| (rule.to_owned(), String::from("firing"));
    push(&gateway, "boiler", 95.0).await;
    push(&gateway, "quiet", 20.0).await;
    eventually("it fires", || async {
        (rules(&webhook) == [firing("hot")]).then_some(())
    })
    .await;
    let mut expected = 0;
    for (jumps, days) in [(1, -14), (2, 14), (3, 0)] {
        clock.set(days * DAY);
        let gateway = &gateway;
        eventually("the jump is noticed", || async move {
            (status(gateway).await["clock"]["jumps"] == jumps).then_some(())
        })
        .await;
        for n in 0..5 {
            push(gateway, "boiler", 95.0 + f64::from(n)).await;
            expected += 1;
        }
        // Another device with a right clock is not refused, whatever ours says.
        let body = json!({ "device": "gps", "metric": "speed", "value": jumps, "time": now_ms() });
        let (code, answer) = gateway
            .post("/api/v1/readings", "application/json", body.to_string())
            .await;
        assert_eq!(code, 200, "{answer}");
    }
    // Alerts and deliveries go on: the next one is told, and it is the only one.
    push(&gateway, "pump", 95.0).await;
    eventually("the next alert is told", || async {
        (rules(&webhook).len() > 1).then_some(())
    })
    .await;
    assert_eq!(rules(&webhook), [firing("hot"), firing("hot")]);
    let alerts = gateway.get("/api/v1/alerts").await;
    let pending = alerts["alerts"].as_array().unwrap().iter();
    let pending: Vec<_> = pending
        .filter(|a| a["state"] == "pending")
        .map(|a| &a["rule"])
        .collect();
    assert_eq!(pending, ["long hot", "long hot"]);
    eventually("all is archived", || async {
        let lines = archive.lines();
        let of = |device: &str| lines.iter().filter(|line| line.contains(device)).count();
        (of("device=boiler") == expected + 1 && of("device=gps") == 3).then_some(())
    })
    .await;
    let by = |jump: &Value| jump["by_ms"].as_i64().unwrap();
    let last = &status(&gateway).await["clock"]["last_jump"];
    assert!((by(last) + 14 * DAY * 1_000).abs() < 1_000, "{last}");
    let metrics = reqwest::get(gateway.url("/metrics"))
        .await
        .unwrap()
        .text()
        .await
        .unwrap();
    eventually("each jump is logged once", || async {
        (gateway.log().matches("the clock jumped").count() == 3).then_some(())
    })
    .await;
    assert!(metrics.contains("gateway_clock_jumps_total"), "{metrics}");
    gateway
        .account("push", |row| row["accepted"] == expected + 6)
        .await;
}
