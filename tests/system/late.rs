use gateway::clock::Clock;

use serde_json::json;
use tests::{Gateway, Victoria, WebhookSink, eventually};

/// Late within the allowance is tested with real captures in `windows`.
#[tokio::test(flavor = "multi_thread")]
async fn what_comes_too_late_for_its_window_is_kept_archived_counted_and_fires_nothing() {
    let Some(victoria) = Victoria::start().await else {
        return;
    };
    let webhook = WebhookSink::start().await;
    let gateway = Gateway::start(&format!(
        r#"
        [influxdb]
        url = "{}"
        bucket = "b"
        linger = "0s"
        [store]
        judge_within = "2h"
        [[rule]]
        name = "hot"
        series = "*/temperature"
        above = 80
        [[webhook]]
        name = "ops"
        url = "{}"
        "#,
        victoria.url(),
        webhook.url()
    ))
    .await;
    let now = Clock::system().now().as_millis();
    let minute = 60_000;
    // The newest, one within the lateness, ten of the last day, hot ones among them, in no order.
    let mut readings = vec![(now, 20.0), (now - 10_000, 21.0)];
    for n in [7, 2, 9, 1, 4, 10, 3, 8, 6, 5_i32] {
        let back = i64::from(n) * 120 * minute;
        readings.push((now - back, f64::from(n) * 10.0));
    }
    let body: Vec<_> = readings
        .iter()
        .map(|(time, value)| json!({"device": "boiler", "metric": "temperature", "value": value, "time": time}))
        .collect();
    let (status, answer) = gateway
        .post(
            "/api/v1/readings",
            "application/json",
            json!(body).to_string(),
        )
        .await;
    assert_eq!(status, 200, "{answer}");
    readings.sort_by_key(|r| r.0);
    eventually("all are archived", || async {
        (victoria.points("boiler", "temperature").await == readings).then_some(())
    })
    .await;
    let series = gateway.value("boiler/temperature", |v| v == 20.0).await;
    assert_eq!(series["too_late"], 10);
    assert_eq!(
        gateway.get("/api/v1/status").await["engine"]["too_late"],
        10
    );
    let path = format!(
        "/api/v1/series/boiler/temperature/points?from={}&to={}",
        now - 1_440 * minute,
        now + 1
    );
    let points = gateway.get(&path).await;
    let times: Vec<_> = readings.iter().map(|(time, _)| json!(time)).collect();
    assert_eq!(points["t"], json!(times));
    let windows = gateway
        .get("/api/v1/series/boiler/temperature/windows?every=1m&over=1m")
        .await;
    let counted = windows["windows"].as_array().unwrap().iter();
    assert_eq!(counted.filter_map(|w| w["count"].as_u64()).sum::<u64>(), 2);
    let metrics = reqwest::get(gateway.url("/metrics")).await.unwrap();
    let metrics = metrics.text().await.unwrap();
    assert!(
        metrics.contains("gateway_readings_too_late_total 10"),
        "{metrics}"
    );
    assert_eq!(
        gateway.get("/api/v1/alerts?state=all").await["alerts"],
        json!([])
    );
    assert_eq!(webhook.tries(), 0);
    gateway.account("push", |row| row["accepted"] == 12).await;
}
