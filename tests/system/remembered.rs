use std::fmt::Write as _;

use tests::{Gateway, WebhookSink, eventually};

const MINUTE: i64 = 60_000;
const BEGIN: i64 = 1_790_000_000_000;

/// A small journal, of which a start reads little.
fn config(webhook: &WebhookSink) -> String {
    format!(
        r#"
        [journal]
        segment_size = "64 KiB"
        keep = "64 KiB"
        [store]
        judge_within = "36500d"
        max_future = "36500d"
        [[rule]]
        name = "unlike itself"
        series = "*/temperature"
        anomaly = "medium"
        [[rule]]
        name = "often"
        series = "*/alarm"
        above = 0.5
        more_than = 4
        over = "30d"
        [[webhook]]
        name = "ops"
        url = "{}"
        "#,
        webhook.url()
    )
}

/// Five days of a daily wave, a reading each five minutes, which then leaps to 60 for an hour; and an alarm every 300 readings.
fn line(reading: i64) -> String {
    let phase = reading as f64 / 288.0 * std::f64::consts::TAU;
    let value = if (1440..1452).contains(&reading) {
        60.0
    } else {
        25.0 + 5.0 * phase.sin() + ((reading * 7919) % 13) as f64 / 26.0
    };
    let alarm = i64::from(reading % 300 == 1);
    let time = BEGIN + reading * 5 * MINUTE;
    format!("m,device=boiler temperature={value},alarm={alarm}i {time}\n")
}

async fn push(gateway: &Gateway, lines: String) {
    let path = "/api/v2/write?precision=ms";
    let (status, answer) = gateway.post(path, "text/plain", lines).await;
    assert_eq!(status, 204, "{answer}");
}

async fn send(gateway: &Gateway, readings: std::ops::Range<i64>) {
    let mut lines = String::new();
    for reading in readings {
        let _ = write!(lines, "{}", line(reading));
    }
    push(gateway, lines).await;
}

/// Other readings, until the inventory was written down after them.
async fn fill(gateway: &Gateway) {
    let inventories = async || gateway.metric("gateway_inventories_total").await;
    let before = inventories().await;
    for push_number in 0..20 {
        let time = BEGIN + push_number * 1_000;
        let lines = (0..1_000).map(|n| format!("m,device=other v={n}.5 {}\n", time + n));
        push(gateway, lines.collect()).await;
    }
    eventually("the inventory is written down", || async {
        (inventories().await > before).then_some(())
    })
    .await;
}

/// How many windows are in memory of what a rule counts.
async fn windows(gateway: &Gateway) -> usize {
    let answer = gateway.get("/api/v1/series/boiler/alarm/windows").await;
    answer["windows"].as_array().expect("windows").len()
}

/// What the webhook hears of all readings, with or without kills in between.
async fn told(killed: bool) -> Vec<String> {
    let webhook = WebhookSink::start().await;
    let mut gateway = Gateway::start(&config(&webhook)).await;
    for part in [0..700, 700..1440] {
        send(&gateway, part).await;
        // Twice: what was sent before is in the second inventory for sure.
        fill(&gateway).await;
        fill(&gateway).await;
        assert_ne!(windows(&gateway).await, 0);
        if killed {
            gateway = gateway.kill().await.start().await;
            let read = windows(&gateway).await;
            assert_eq!(read, 0, "it read what lies long before");
        }
    }
    for part in [1440..1445, 1445..1503] {
        send(&gateway, part).await;
        if killed {
            gateway = gateway.kill().await.start().await;
        }
    }
    let changes = || {
        let accepted = webhook.accepted().into_iter();
        let change = |body: serde_json::Value| {
            let text = |key: &str| body[key].to_string();
            let times = ["began_ms", "fired_ms", "resolved_ms"].map(text).join(" ");
            [text("rule"), text("state"), text("id"), times].join(" ")
        };
        let mut changes: Vec<String> = accepted.map(change).collect();
        changes.sort();
        changes
    };
    let changes = eventually("all of it is told", || async {
        let changes = changes();
        (changes.len() >= 3).then_some(changes)
    })
    .await;
    gateway.account("push", |_| true).await;
    changes
}

#[tokio::test(flavor = "multi_thread")]
async fn what_conditions_remember_outlives_a_kill_though_a_start_reads_only_the_end_of_the_journal()
{
    let (undisturbed, killed) = tokio::join!(told(false), told(true));
    let of = |rule: &str| undisturbed.iter().filter(|t| t.contains(rule)).count();
    assert!(
        of("often") > 0 && of("unlike itself") == 2,
        "{undisturbed:#?}"
    );
    assert_eq!(killed, undisturbed);
}
