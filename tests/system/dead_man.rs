//! Silence is told whatever falls silent: a sensor that never spoke, one that stopped before a restart, a whole port or broker.

use std::{collections::BTreeSet, future::Future, sync::Arc, time::Duration};

use gateway::clock::Clock;
use serde_json::json;
use tests::{FakeClock, Gateway, Line, Mosquitto, WebhookSink, eventually};

/// As [`eventually`], for what may take as long as silence takes.
async fn at_last<T, F: Future<Output = Option<T>>>(what: &str, mut state: impl FnMut() -> F) -> T {
    let asked = async {
        loop {
            if let Some(value) = state().await {
                return value;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    let found = tokio::time::timeout(Duration::from_secs(120), asked).await;
    found.unwrap_or_else(|_| panic!("waited in vain: {what}"))
}

/// What the webhook was told, in order: `series event`. A delivery that was under way at a kill may come twice, under one id.
fn told(webhook: &WebhookSink) -> Vec<String> {
    let accepted = webhook.accepted();
    let text = |body: &serde_json::Value, key: &str| body[key].as_str().unwrap_or("-").to_owned();
    let mut ids = BTreeSet::new();
    let told = accepted
        .iter()
        .filter(|body| ids.insert(body["id"].to_string()))
        .map(|body| format!("{} {}", text(body, "series"), text(body, "event")));
    told.collect()
}

async fn hears(webhook: &WebhookSink, what: &str) {
    at_last(what, || async {
        told(webhook).iter().any(|t| t == what).then_some(())
    })
    .await;
}

async fn push(gateway: &Gateway, device: &str, metric: &str) {
    let now = Clock::system().now().as_millis();
    let body = json!({ "device": device, "metric": metric, "value": 1, "time": now });
    let path = "/api/v1/readings";
    let (status, answer) = gateway
        .post(path, "application/json", body.to_string())
        .await;
    assert_eq!(status, 200, "{answer}");
}

fn hook(webhook: &WebhookSink) -> String {
    format!("[[webhook]]\nname = \"ops\"\nurl = \"{}\"\n", webhook.url())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sensor_that_was_never_seen_is_missed_and_its_first_reading_ends_that() {
    let webhook = WebhookSink::start().await;
    let config = format!(
        "[[device]]\nid = \"cellar\"\nexpect = [\"temperature\", \"humidity\"]\n\
         [[rule]]\nname = \"silent\"\nseries = \"cellar/*\"\nno_data_for = \"2s\"\n{}",
        hook(&webhook)
    );
    let gateway = Gateway::start(&config).await;
    hears(&webhook, "cellar/temperature firing").await;
    hears(&webhook, "cellar/humidity firing").await;
    let said = webhook.accepted()[0]["summary"].to_string();
    assert!(said.contains("never received"), "{said}");
    // Over a kill it is the same alert.
    let gateway = gateway.kill().await.start().await;
    push(&gateway, "cellar", "temperature").await;
    hears(&webhook, "cellar/temperature resolved").await;
    let told = told(&webhook);
    let firing = told.iter().filter(|t| *t == "cellar/humidity firing");
    assert_eq!(firing.count(), 1, "{told:?}");
    gateway
        .account("push", |row| row["accepted"] == row["received"])
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sensor_that_stopped_before_a_kill_is_told_in_time_once() {
    let Some(clock) = FakeClock::off_by(0) else {
        return;
    };
    let webhook = WebhookSink::start().await;
    let config = format!(
        "[[rule]]\nname = \"silent\"\nseries = \"*/*\"\nno_data_for = \"10m\"\n{}",
        hook(&webhook)
    );
    let dir = Arc::new(tempfile::tempdir().unwrap());
    let gateway = Gateway::start_under(&clock, Arc::clone(&dir), &config).await;
    push(&gateway, "stopped", "v").await;
    push(&gateway, "goes-on", "v").await;
    gateway.value("goes-on/v", |value| !value.is_null()).await;
    drop(gateway.kill().await);
    // Nine and a half minutes later.
    clock.set(570);
    let gateway = Gateway::start_under(&clock, Arc::clone(&dir), &config).await;
    push(&gateway, "goes-on", "v").await;
    let ready = tokio::time::Instant::now();
    at_last("the one that stopped is told", || async {
        (!told(&webhook).is_empty()).then_some(())
    })
    .await;
    assert!(ready.elapsed() > Duration::from_secs(20), "a fair chance");
    drop(gateway.kill().await);
    let gateway = Gateway::start_under(&clock, dir, &config).await;
    push(&gateway, "stopped", "v").await;
    hears(&webhook, "stopped/v resolved").await;
    assert_eq!(told(&webhook), ["stopped/v firing", "stopped/v resolved"]);
    gateway
        .account("push", |row| row["accepted"] == row["received"])
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn how_often_a_sensor_sends_is_learned_and_a_kill_does_not_forget_it() {
    let Some(clock) = FakeClock::off_by(0) else {
        return;
    };
    let webhook = WebhookSink::start().await;
    let config = format!(
        "[[rule]]\nname = \"silent\"\nseries = \"*/*\"\nno_data_for = \"auto\"\n{}",
        hook(&webhook)
    );
    let dir = Arc::new(tempfile::tempdir().unwrap());
    let gateway = Gateway::start_under(&clock, Arc::clone(&dir), &config).await;
    // A gap counts when it is a second or more: that long it takes, and not until something is so.
    let mut pace = tokio::time::interval(Duration::from_millis(1_050));
    pace.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    for beat in 0..19 {
        pace.tick().await;
        push(&gateway, "stops", "v").await;
        push(&gateway, "goes-on", "v").await;
        if beat < 5 {
            push(&gateway, "rare", "v").await;
        }
    }
    drop(gateway.kill().await);
    // An hour without power: a fair chance for all, and then each by what was learned of it.
    clock.set(3_600);
    let gateway = Gateway::start_under(&clock, dir, &config).await;
    // On a machine that stood still now and then the gaps were longer than that.
    let is_told = async {
        let mut beat = tokio::time::interval(Duration::from_secs(2));
        while told(&webhook).is_empty() {
            beat.tick().await;
            push(&gateway, "goes-on", "v").await;
        }
    };
    let waited = tokio::time::timeout(Duration::from_secs(300), is_told).await;
    assert!(waited.is_ok(), "nothing is told");
    let said = webhook.accepted()[0]["summary"]
        .as_str()
        .unwrap()
        .to_owned();
    assert!(said.contains("(it usually comes at least every "), "{said}");
    push(&gateway, "stops", "v").await;
    hears(&webhook, "stops/v resolved").await;
    // Of the one that came five times nobody knows what is usual.
    assert_eq!(told(&webhook), ["stops/v firing", "stops/v resolved"]);
    gateway
        .account("push", |row| row["accepted"] == row["received"])
        .await;
}

/// Readings of the sensors `m0` up to `m<most>` on one line.
fn readings(most: usize) -> String {
    let pairs: Vec<String> = (0..most).map(|i| format!("m{i}=1")).collect();
    format!("{}\n", pairs.join(" "))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_with_ten_sensors_that_falls_silent_or_is_pulled_is_one_alert() {
    let webhook = WebhookSink::start().await;
    let dir = tempfile::tempdir().unwrap();
    let link = dir.path().join("usb");
    let mut line = Line::plug_in(&link);
    let config = format!(
        "[[source]]\nname = \"port\"\ntype = \"serial\"\ndevice = \"{}\"\n\
         [[source.mapping]]\nformat = \"key_value\"\n\
         [[rule]]\nname = \"silent\"\nseries = \"*/*\"\nno_data_for = \"4s\"\n{}",
        link.display(),
        hook(&webhook)
    );
    let gateway = Gateway::start(&config).await;
    gateway.source_is("port", "up").await;
    line.send(readings(10));
    hears(&webhook, "gateway/port firing").await;
    line.send(readings(10));
    hears(&webhook, "gateway/port resolved").await;
    line.unplug();
    at_last("it is told again", || async {
        (told(&webhook).len() == 3).then_some(())
    })
    .await;
    assert_eq!(
        told(&webhook),
        [
            "gateway/port firing",
            "gateway/port resolved",
            "gateway/port firing"
        ],
        "one cause, one alert"
    );
    let last = webhook.accepted()[2]["summary"].to_string();
    assert!(last.contains("Nothing can come"), "{last}");
    line.plug_in_again();
    gateway.source_is("port", "up").await;
    at_last("the one that does not come back is told", || {
        line.send(readings(9));
        let told = told(&webhook);
        async move { (told.len() >= 5).then_some(()) }
    })
    .await;
    assert_eq!(
        told(&webhook)[3..],
        ["gateway/port resolved", "port/m9 firing"]
    );
    gateway
        .account("port", |row| row["accepted"] == row["received"])
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_is_gone_is_one_alert_and_who_does_not_come_back_with_it_is_another() {
    let Some(mut broker) = Mosquitto::start().await else {
        return;
    };
    let webhook = WebhookSink::start().await;
    let config = format!(
        "[[source]]\nname = \"plant\"\ntype = \"mqtt\"\nurl = \"mqtt://127.0.0.1:{}\"\n\
         [[source.mapping]]\ntopic = \"n/#\"\nformat = \"json\"\ndevice = \"plant\"\n\
         [[rule]]\nname = \"silent\"\nseries = \"*/*\"\nno_data_for = \"6s\"\n{}",
        broker.port,
        hook(&webhook)
    );
    let gateway = Gateway::start(&config).await;
    gateway.source_is("plant", "up").await;
    let all: serde_json::Map<_, _> = (0..10).map(|i| (format!("m{i}"), json!(1))).collect();
    let whole = serde_json::Value::from(all.clone()).to_string();
    broker.publish(&["-t", "n/x", "-r", "-m", &whole]).await;
    gateway.account("plant", |row| row["accepted"] == 10).await;
    broker.stop().await;
    hears(&webhook, "gateway/plant firing").await;
    // What the broker retained is no sign of life.
    broker.start_again().await;
    gateway.source_is("plant", "up").await;
    eventually("the retained message is there", || async {
        let metrics = gateway.account("plant", |row| !row.is_null()).await;
        (metrics["retained"].as_u64() > Some(0)).then_some(())
    })
    .await;
    assert_eq!(told(&webhook), ["gateway/plant firing"]);
    let nine: serde_json::Map<_, _> = all.into_iter().filter(|(name, _)| name != "m9").collect();
    let nine = serde_json::Value::from(nine).to_string();
    at_last("the one that does not come back is told", || {
        let (told, nine, broker) = (told(&webhook), &nine, &broker);
        async move {
            broker.publish(&["-t", "n/x", "-m", nine]).await;
            (told.len() >= 3).then_some(())
        }
    })
    .await;
    assert_eq!(
        told(&webhook),
        [
            "gateway/plant firing",
            "gateway/plant resolved",
            "plant/m9 firing"
        ]
    );
    gateway.account("plant", |row| row["waiting"] == 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_that_never_connects_is_told_though_nothing_ever_came_from_it() {
    let webhook = WebhookSink::start().await;
    let config = format!(
        "[[source]]\nname = \"plant\"\ntype = \"mqtt\"\nurl = \"mqtt://127.0.0.1:{}\"\ndown_for = \"2s\"\n\
         [[source.mapping]]\ntopic = \"n/#\"\n{}",
        tests::free_port(),
        hook(&webhook)
    );
    let gateway = Gateway::start(&config).await;
    hears(&webhook, "gateway/plant firing").await;
    // Taken out of the config while the gateway is down, it is not waited for any more.
    let stopped = gateway.kill().await;
    let _gateway = stopped.start_with(&hook(&webhook)).await;
    hears(&webhook, "gateway/plant resolved").await;
    assert_eq!(told(&webhook).len(), 2);
}
