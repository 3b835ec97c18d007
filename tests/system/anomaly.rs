use std::{collections::BTreeSet, fmt::Write as _};

use serde_json::Value;
use tests::{Gateway, WebhookSink, eventually};

const MINUTE: i64 = 60_000;

/// Five days of a daily wave, a reading each five minutes, which then leaps to 60 for an hour and comes back.
fn line(reading: i64) -> String {
    let phase = reading as f64 / 288.0 * std::f64::consts::TAU;
    let value = if (1440..1452).contains(&reading) {
        60.0
    } else {
        25.0 + 5.0 * phase.sin() + ((reading * 7919) % 13) as f64 / 26.0
    };
    let begin = 1_790_000_000_000;
    format!(
        "m,device=boiler temperature={value} {}\n",
        begin + reading * 5 * MINUTE
    )
}

async fn send(gateway: &Gateway, readings: std::ops::Range<i64>) {
    let mut lines = String::new();
    for reading in readings {
        let _ = write!(lines, "{}", line(reading));
    }
    let (status, answer) = gateway
        .post("/api/v2/write?precision=ms", "text/plain", lines)
        .await;
    assert_eq!(status, 204, "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_series_never_did_is_told_once_with_what_was_usual_though_the_gateway_is_killed() {
    let webhook = WebhookSink::start().await;
    let config = format!(
        r#"
        [store]
        judge_within = "36500d"
        max_future = "36500d"
        [[rule]]
        name = "unlike itself"
        series = "*/temperature"
        anomaly = "medium"
        [[webhook]]
        name = "ops"
        url = "{}"
        "#,
        webhook.url()
    );
    let gateway = Gateway::start(&config).await;
    send(&gateway, 0..1000).await;
    let gateway = gateway.kill().await.start().await;
    send(&gateway, 1000..1445).await;
    let told = |state: &'static str| {
        let webhook = &webhook;
        move || async move {
            let all = webhook.accepted();
            all.into_iter().find(|it| it["state"] == state)
        }
    };
    let fired: Value = eventually("it fires", told("firing")).await;
    let text = fired.to_string();
    assert!(
        text.contains("boiler/temperature is 60: unlike what is usual (score 0.")
            && text.contains(", usual are 2"),
        "{text}"
    );
    let gateway = gateway.kill().await.start().await;
    send(&gateway, 1445..1500).await;
    eventually("it is over", told("resolved")).await;
    // The delivery that was under way at the kill may come twice, under one id.
    let all = webhook.accepted();
    let ids: BTreeSet<String> = all.iter().map(|told| told["id"].to_string()).collect();
    assert_eq!(ids.len(), 2, "{all:?}");
    gateway.account("push", |row| row["accepted"] == 55).await;
}
