//! How alerts live beyond their condition holds over kills and reloads, and those who hear of alerts hear of each once.

use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};
use tests::{Events, Gateway, WebhookSink, eventually};

#[expect(
    clippy::disallowed_methods,
    reason = "the gateway under test runs on this clock"
)]
fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    i64::try_from(since.as_millis()).unwrap()
}

fn config(rules: &[(&str, &str)], webhook: &WebhookSink) -> String {
    let mut text = format!("[[webhook]]\nname = \"ops\"\nurl = \"{}\"\n", webhook.url());
    for (name, more) in rules {
        text += &format!(
            "[[rule]]\nname = \"{name}\"\nseries = \"*/temperature\"\nabove = 80\nclear = 70\n{more}\n"
        );
    }
    text
}

async fn push(gateway: &Gateway, value: f64, at_ms: i64) {
    let body =
        json!({ "device": "boiler", "metric": "temperature", "value": value, "time": at_ms });
    let (status, answer) = gateway
        .post("/api/v1/readings", "application/json", body.to_string())
        .await;
    assert_eq!(status, 200, "{answer}");
}

/// The newest alert of a rule, once the file has it as wanted.
async fn alert(gateway: &Gateway, rule: &str, wanted: impl Fn(&Value) -> bool) -> Value {
    let wanted = &wanted;
    eventually(&format!("the alert of {rule}"), || async move {
        let all = gateway.get("/api/v1/alerts?state=all").await;
        let mut of_it: Vec<Value> = all["alerts"]
            .as_array()?
            .iter()
            .filter(|alert| alert["rule"] == rule)
            .cloned()
            .collect();
        of_it.sort_by_key(|alert| alert["began_ms"].as_i64());
        of_it.pop().filter(wanted)
    })
    .await
}

async fn changes(gateway: &Gateway, alert: &Value) -> Vec<Value> {
    let id = alert["id"].as_str().unwrap();
    let shown = gateway.get(&format!("/api/v1/alerts/{id}")).await;
    shown["changes"].as_array().unwrap().clone()
}

fn words(changes: &[Value]) -> Vec<(&str, &str)> {
    let text = |value: &'_ Value| -> Option<String> { value.as_str().map(str::to_owned) };
    assert!(
        changes
            .iter()
            .all(|change| text(&change["change"]).is_some())
    );
    changes
        .iter()
        .map(|change| {
            (
                change["change"].as_str().unwrap_or_default(),
                change["cause"].as_str().unwrap_or_default(),
            )
        })
        .collect()
}

/// What the receiver took of a rule, in order; a kill may repeat the one that was under way.
fn told(webhook: &WebhookSink, rule: &str) -> Vec<Value> {
    let mut told: Vec<Value> = webhook
        .accepted()
        .into_iter()
        .filter(|body| body["rule"] == rule)
        .collect();
    told.dedup_by_key(|body| body["id"].clone());
    told
}

fn events(told: &[Value]) -> Vec<&str> {
    told.iter()
        .filter_map(|body| body["event"].as_str())
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_alert_that_flaps_or_is_kept_is_told_once_however_often_the_gateway_is_killed() {
    let webhook = WebhookSink::start().await;
    let rules = config(
        &[
            (
                "flaps",
                "flapping = { fires = 2, within = \"10m\", calm = \"1m\" }",
            ),
            ("kept", "keep_firing_for = \"1m\"\nmin_off = \"5m\""),
        ],
        &webhook,
    );
    let mut gateway = Gateway::start(&rules).await;
    let start = now_ms() - 1_200_000;
    let at = |second: i64| start + second * 1_000;
    // Each reading is followed by a kill, with whatever was written down by then.
    for (second, value) in [
        (0, 90.0),
        (1, 60.0),
        (2, 90.0),
        (10, 60.0),
        (20, 90.0),
        (30, 60.0),
    ] {
        push(&gateway, value, at(second)).await;
        gateway = gateway.kill().await.start().await;
    }
    let flaps = alert(&gateway, "flaps", |alert| alert["state"] == "firing").await;
    assert_eq!(flaps["flapping_since_ms"], at(2));
    let kept = alert(&gateway, "kept", |alert| alert["change"] == "cleared").await;
    assert_eq!(
        (&kept["state"], &kept["clear_since_ms"]),
        (&json!("firing"), &json!(at(30)))
    );
    // A minute after the last change both are over; one second before they are not.
    push(&gateway, 60.0, at(89)).await;
    gateway = gateway.kill().await.start().await;
    push(&gateway, 60.0, at(90)).await;
    for rule in ["flaps", "kept"] {
        let over = alert(&gateway, rule, |alert| alert["state"] == "resolved").await;
        assert_eq!(over["resolved_ms"], at(90), "{over}");
    }
    // What is true too soon after it was over is pending, over a kill as well.
    push(&gateway, 90.0, at(100)).await;
    let pending = alert(&gateway, "kept", |alert| alert["state"] == "pending").await;
    assert_eq!(pending["waits_until_ms"], at(390), "{pending}");
    gateway = gateway.kill().await.start().await;
    push(&gateway, 90.0, at(389)).await;
    push(&gateway, 90.0, at(390)).await;
    let again = alert(&gateway, "kept", |alert| alert["state"] == "firing").await;
    assert_eq!(again["id"], pending["id"]);

    let shown = changes(&gateway, &kept).await;
    let by_reading: Vec<&str> = words(&shown).iter().map(|(change, _)| *change).collect();
    assert_eq!(
        by_reading,
        [
            "fired",
            "cleared",
            "true_again",
            "cleared",
            "true_again",
            "cleared",
            "resolved"
        ]
    );
    assert!(shown.iter().all(|change| change["cause"] == "reading"));
    assert!(
        shown
            .iter()
            .all(|change| change["rule_version"] == kept["rule_version"])
    );
    assert_eq!(shown[0]["value"], 90.0);
    assert_eq!(
        words(&changes(&gateway, &flaps).await),
        [("fired", "reading"), ("resolved", "reading")]
    );
    eventually("all of it is told", || async {
        (told(&webhook, "kept").len() == 3 && told(&webhook, "flaps").len() >= 5).then_some(())
    })
    .await;
    assert_eq!(
        events(&told(&webhook, "kept")),
        ["firing", "resolved", "firing"]
    );
    let flaps = told(&webhook, "flaps");
    assert_eq!(
        events(&flaps),
        ["firing", "resolved", "firing", "resolved", "firing"]
    );
    let said = flaps[2]["summary"].as_str().unwrap();
    assert!(said.contains("flapping: fired 2 times in 10 min"), "{said}");
    gateway.account("push", |row| row["accepted"] == 2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_alert_whose_sensor_went_silent_fires_on_marked_stale_until_a_reading_comes() {
    let webhook = WebhookSink::start().await;
    let rules = config(&[("hot", "stale_after = \"1s\"")], &webhook);
    let gateway = Gateway::start(&rules).await;
    let mut live = Events::open(&gateway, "types=alert").await;
    let measured = now_ms() - 2_000;
    push(&gateway, 90.0, measured).await;
    let stale = live
        .find("the mark", |event| {
            event.kind == "alert" && !event.data["stale_since_ms"].is_null()
        })
        .await
        .data;
    assert_eq!(stale["state"], "firing");
    assert_eq!(stale["stale_since_ms"], measured);
    assert_eq!(
        (&stale["change"], &stale["cause"]),
        (&json!("went_stale"), &json!("silence"))
    );
    drop(live);
    let gateway = gateway.kill().await.start().await;
    let after = alert(&gateway, "hot", |alert| alert["state"] == "firing").await;
    assert_eq!(after["stale_since_ms"], measured, "{after}");
    let mut live = Events::open(&gateway, "types=alert").await;
    push(&gateway, 90.0, now_ms() - 1_000).await;
    let heard = live
        .find("the mark is gone", |event| {
            event.kind == "alert" && event.data["change"] == "heard_again"
        })
        .await
        .data;
    assert_eq!(
        (&heard["state"], &heard["stale_since_ms"]),
        (&json!("firing"), &Value::Null)
    );
    push(&gateway, 60.0, now_ms()).await;
    let over = alert(&gateway, "hot", |alert| alert["state"] == "resolved").await;
    assert_eq!(over["id"], stale["id"]);
    eventually("both are told", || async {
        (webhook.accepted().len() == 2).then_some(())
    })
    .await;
    assert_eq!(events(&told(&webhook, "hot")), ["firing", "resolved"]);
    gateway.account("push", |row| row["accepted"] == 2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rule_that_lets_its_alerts_live_otherwise_keeps_them() {
    let webhook = WebhookSink::start().await;
    let start = now_ms() - 600_000;
    // Hours that are not now: they begin in two.
    let hour = now_ms() / 3_600_000 % 24;
    let hours = format!(
        "during = {{ from = \"{:02}:00\", to = \"{:02}:00\", zone = \"UTC\" }}",
        (hour + 2) % 24,
        (hour + 3) % 24
    );
    let before = config(
        &[
            ("kept", "keep_firing_for = \"1h\""),
            ("later", &hours),
            ("worded", ""),
        ],
        &webhook,
    );
    let mut gateway = Gateway::start(&before).await;
    push(&gateway, 90.0, start).await;
    push(&gateway, 60.0, start + 1_000).await;
    let kept = alert(&gateway, "kept", |alert| alert["change"] == "cleared").await;
    push(&gateway, 90.0, start + 2_000).await;
    let later = alert(&gateway, "later", |alert| alert["state"] == "pending").await;
    assert!(later["waits_until_ms"].as_i64() > Some(start), "{later}");
    let worded = alert(&gateway, "worded", |alert| alert["state"] == "firing").await;
    push(&gateway, 75.0, start + 3_000).await;

    let after = config(
        &[
            ("kept", "keep_firing_for = \"5s\""),
            ("later", ""),
            ("worded", "summary = \"Call Ada\"\nseverity = \"critical\""),
        ],
        &webhook,
    );
    gateway.reload(&after).await;
    // Nothing ended, and what is measured from now on is judged by the new settings.
    push(&gateway, 75.0, start + 4_000).await;
    let fired = alert(&gateway, "later", |alert| alert["state"] == "firing").await;
    assert_eq!(fired["id"], later["id"]);
    assert_ne!(fired["rule_version"], later["rule_version"]);
    push(&gateway, 60.0, start + 10_000).await;
    push(&gateway, 60.0, start + 15_000).await;
    let over = alert(&gateway, "kept", |alert| alert["state"] == "resolved").await;
    assert_eq!(
        (&over["id"], &over["resolved_ms"]),
        (&kept["id"], &json!(start + 15_000))
    );
    let over = alert(&gateway, "worded", |alert| alert["state"] == "resolved").await;
    assert_eq!(
        (&over["id"], &over["severity"]),
        (&worded["id"], &json!("warning"))
    );
    assert_ne!(over["rule_version"], worded["rule_version"]);
    push(&gateway, 90.0, start + 20_000).await;
    let next = alert(&gateway, "worded", |alert| alert["state"] == "firing").await;
    assert_eq!(
        (&next["severity"], &next["summary"]),
        (&json!("critical"), &json!("Call Ada"))
    );
    gateway.account("push", |row| row["accepted"] == 8).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_alert_that_fires_for_too_long_ends_once_by_itself_over_kills_and_not_again_before_it_was_clear()
 {
    let webhook = WebhookSink::start().await;
    let rules = config(&[("hot", "resolve_after = \"8s\"")], &webhook);
    let gateway = Gateway::start(&rules).await;
    push(&gateway, 90.0, now_ms()).await;
    let fired = alert(&gateway, "hot", |alert| alert["state"] == "firing").await;
    // In the wait, of which the rest is left: no further reading comes.
    let gateway = gateway.kill().await.start().await;
    let over = alert(&gateway, "hot", |alert| alert["state"] == "resolved").await;
    assert_eq!(
        (&over["id"], &over["cause"]),
        (&fired["id"], &json!("expiry"))
    );
    assert_eq!(
        over["resolved_ms"].as_i64(),
        fired["fired_ms"].as_i64().map(|fired| fired + 8_000)
    );
    let summary = over["summary"].as_str().unwrap();
    assert!(
        summary.ends_with("(ended by itself: it fired for 8 s)"),
        "{summary}"
    );
    let gateway = gateway.kill().await.start().await;
    let at = now_ms();
    push(&gateway, 95.0, at).await;
    let gateway = gateway.kill().await.start().await;
    // True still, then clear, then true: only that fires.
    push(&gateway, 96.0, at + 1).await;
    push(&gateway, 60.0, at + 2).await;
    push(&gateway, 97.0, at + 3).await;
    let again = alert(&gateway, "hot", |alert| alert["state"] == "firing").await;
    assert_eq!(again["began_ms"], at + 3, "{again}");
    let all = gateway.get("/api/v1/alerts?state=all").await;
    assert_eq!(all["alerts"].as_array().unwrap().len(), 2, "{all}");
    assert_eq!(
        words(&changes(&gateway, &fired).await),
        [("fired", "reading"), ("resolved", "expiry")]
    );
    let trail = gateway.get("/api/v1/audit").await;
    let ended = &trail["audit"][0];
    assert_eq!(
        (&ended["action"], &ended["by"], &ended["target"]),
        (&json!("alert_expired"), &json!("gateway"), &fired["id"])
    );
    eventually("all of it is told", || async {
        let told = told(&webhook, "hot");
        (events(&told) == ["firing", "resolved", "firing"]).then_some(())
    })
    .await;
    gateway.account("push", |row| row["accepted"] == 3).await;
}
