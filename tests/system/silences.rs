//! Acknowledgements and silences come back as they were, and no delivery is lost or repeated at the edges of a silence.

use std::{
    collections::BTreeMap,
    time::{SystemTime, UNIX_EPOCH},
};

use reqwest::Method;
use serde_json::{Value, json};
use tests::{Events, Gateway, WebhookSink, eventually, sinks::Refusal};

const LATER: i64 = 1_763_640_000_000;

fn config(webhook: &WebhookSink) -> String {
    format!(
        "[[rule]]\nname = \"hot\"\nseries = \"*/temperature\"\nabove = 80\nclear = 70\n[[webhook]]\nname = \"ops\"\nurl = \"{}\"\n",
        webhook.url()
    )
}

async fn push(gateway: &Gateway, device: &str, value: f64, at_s: i64) {
    let body = json!({ "device": device, "metric": "temperature", "value": value, "time": LATER + at_s * 1_000 });
    let (status, answer) = gateway
        .post("/api/v1/readings", "application/json", body.to_string())
        .await;
    assert_eq!(status, 200, "{answer}");
}

async fn ask(gateway: &Gateway, method: Method, path: &str, body: Option<Value>) -> (u16, Value) {
    let mut request = reqwest::Client::new().request(method, gateway.url(path));
    if let Some(body) = body {
        request = request.header("if-match", "*").json(&body);
    }
    let response = request.send().await.unwrap();
    let status = response.status().as_u16();
    (status, response.json().await.unwrap_or_default())
}

async fn silence(gateway: &Gateway, devices: &str, more: Value) -> Value {
    let mut asked = json!({
        "matchers": [{"name": "device", "value": devices, "glob": true}],
        "ends_at": "+1h",
        "created_by": "Ada",
        "comment": "the boiler is being changed",
    });
    for (field, value) in more.as_object().unwrap() {
        asked[field] = value.clone();
    }
    let (status, made) = ask(gateway, Method::POST, "/api/v1/silences", Some(asked)).await;
    assert_eq!(status, 201, "{made}");
    made
}

/// The alert of a device once the file has it in this state.
async fn alert_is(gateway: &Gateway, device: &str, state: &str) -> Value {
    let series = format!("{device}/temperature");
    let series = &series;
    eventually(&format!("{series} is {state}"), || async move {
        let all = gateway.get("/api/v1/alerts?state=all").await;
        let found = all["alerts"]
            .as_array()?
            .iter()
            .find(|a| a["series"] == **series)?;
        (found["state"] == state).then(|| found.clone())
    })
    .await
}

/// What the receiver took, as `device.event`, in order.
fn told(webhook: &WebhookSink) -> Vec<String> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    webhook
        .accepted()
        .iter()
        .map(|body| format!("{}.{}", text(&body["device"]), text(&body["event"])))
        .collect()
}

async fn is_told(webhook: &WebhookSink, expected: &[&str]) {
    eventually(&format!("the webhook hears {expected:?}"), || async {
        let mut told = told(webhook);
        // A kill may repeat the one that was under way.
        told.dedup();
        (told == expected).then_some(())
    })
    .await;
}

async fn held(gateway: &Gateway) -> (Value, Value) {
    let status = gateway.get("/api/v1/status").await;
    let webhook = &status["webhooks"][0];
    (webhook["held"].clone(), webhook["withdrawn"].clone())
}

#[tokio::test(flavor = "multi_thread")]
async fn acknowledgements_and_silences_come_back_after_a_kill_and_every_page_hears_of_them() {
    let webhook = WebhookSink::start().await;
    let gateway = Gateway::start(&config(&webhook)).await;
    let mut events = Events::open(&gateway, "types=alert,silence").await;
    push(&gateway, "boiler", 90.0, 0).await;
    let alert = alert_is(&gateway, "boiler", "firing").await;
    let path = format!(
        "/api/v1/alerts/{}/acknowledge",
        alert["id"].as_str().unwrap()
    );
    let given = json!({"by": "Ada", "comment": "on my way"});
    let (status, answer) = ask(&gateway, Method::POST, &path, Some(given.clone())).await;
    assert_eq!(status, 200, "{answer}");
    let said = events
        .find("the acknowledgement", |e| {
            e.kind == "alert" && !e.data["acknowledged"].is_null()
        })
        .await;
    assert_eq!(said.data["acknowledged"], answer["acknowledged"]);
    assert_eq!(said.data["state"], "firing");
    let made = silence(&gateway, "boil*", json!({})).await;
    let said = events.find("the silence", |e| e.kind == "silence").await;
    assert_eq!(said.data, made);
    let said = events
        .find("the alert under it", |e| e.kind == "alert")
        .await;
    assert_eq!(said.data["silenced_by"], json!([made["id"]]));

    let paths = ["/api/v1/alerts", "/api/v1/silences", "/api/v1/audit"];
    let mut before = Vec::new();
    for path in paths {
        before.push(gateway.get(path).await);
    }
    let gateway = gateway.kill().await.start().await;
    for (path, before) in paths.iter().zip(before) {
        assert_eq!(gateway.get(path).await, before, "{path}");
    }
    let mut events = Events::open(&gateway, "").await;
    let snapshot = events.next().await.unwrap().data;
    assert_eq!(snapshot["silences"], json!([made]));
    let shown = eventually("the alert is in a snapshot", || async {
        let mut events = Events::open(&gateway, "").await;
        let snapshot = events.next().await?.data;
        snapshot["alerts"].as_array()?.first().cloned()
    })
    .await;
    assert_eq!(shown["acknowledged"], answer["acknowledged"]);
    assert_eq!(shown["silenced_by"], json!([made["id"]]));

    // The same again is the same; somebody else is told who was first.
    let again = ask(&gateway, Method::POST, &path, Some(given)).await;
    assert_eq!(again, (200, answer));
    let (status, _) = ask(&gateway, Method::POST, &path, Some(json!({"by": "Bob"}))).await;
    assert_eq!(status, 409);
    // It ends and fires anew: that is another alert, which nobody has acknowledged.
    push(&gateway, "boiler", 60.0, 10).await;
    alert_is(&gateway, "boiler", "resolved").await;
    push(&gateway, "boiler", 95.0, 20).await;
    let anew = alert_is(&gateway, "boiler", "firing").await;
    assert_ne!(anew["id"], alert["id"]);
    assert_eq!(anew["acknowledged"], Value::Null);
    gateway.account("push", |row| row["accepted"] == 2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_silence_holds_is_held_over_a_kill_and_told_once_when_it_ends() {
    let webhook = WebhookSink::start().await;
    let gateway = Gateway::start(&config(&webhook)).await;
    let made = silence(&gateway, "b*", json!({})).await;
    push(&gateway, "b1", 90.0, 0).await;
    push(&gateway, "b2", 90.0, 0).await;
    alert_is(&gateway, "b2", "firing").await;
    push(&gateway, "b2", 60.0, 10).await;
    alert_is(&gateway, "b1", "firing").await;
    alert_is(&gateway, "b2", "resolved").await;
    // Another device's alert goes out meanwhile, and is behind them in the queue.
    push(&gateway, "fan", 90.0, 0).await;
    is_told(&webhook, &["fan.firing"]).await;
    let gateway = gateway.kill().await.start().await;
    assert_eq!(held(&gateway).await, (json!(1), json!(1)));
    push(&gateway, "fan", 60.0, 10).await;
    is_told(&webhook, &["fan.firing", "fan.resolved"]).await;
    let path = format!("/api/v1/silences/{}?by=Bob", made["id"].as_str().unwrap());
    let (status, ended) = ask(&gateway, Method::DELETE, &path, None).await;
    assert_eq!((status, &ended["state"]), (200, &json!("ended")));
    is_told(&webhook, &["fan.firing", "fan.resolved", "b1.firing"]).await;
    let gateway = gateway.kill().await.start().await;
    push(&gateway, "b1", 60.0, 10).await;
    is_told(
        &webhook,
        &["fan.firing", "fan.resolved", "b1.firing", "b1.resolved"],
    )
    .await;
    assert_eq!(held(&gateway).await, (json!(0), json!(1)));
    gateway.account("push", |row| row["accepted"] == 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn at_the_edges_nothing_is_lost_or_repeated_also_when_the_gateway_is_dead_as_they_pass() {
    let webhook = WebhookSink::start().await;
    let gateway = Gateway::start(&config(&webhook)).await;
    push(&gateway, "told", 90.0, 0).await;
    is_told(&webhook, &["told.firing"]).await;
    // The receiver is away when this one fires: it waits when the silence begins.
    webhook.refuse((0..1_000).map(|_| Refusal::status(503)));
    push(&gateway, "tried", 90.0, 0).await;
    alert_is(&gateway, "tried", "firing").await;
    let tries = webhook.tries();
    eventually("it was tried", || async {
        (webhook.tries() > tries).then_some(())
    })
    .await;

    // Begins while the gateway is dead.
    let made = silence(&gateway, "*", json!({"starts_at": "+1500ms"})).await;
    assert_eq!(made["state"], "planned");
    let stopped = gateway.kill().await;
    passed(&made["starts_ms"]).await;
    let gateway = stopped.start().await;
    let path = format!("/api/v1/silences/{}", made["id"].as_str().unwrap());
    let (gateway_ref, path_ref) = (&gateway, &path);
    eventually("the silence is active", || async move {
        (gateway_ref.get(path_ref).await["state"] == "active").then_some(())
    })
    .await;
    webhook.relent();
    push(&gateway, "told", 60.0, 10).await;
    push(&gateway, "short", 90.0, 0).await;
    push(&gateway, "still", 90.0, 0).await;
    alert_is(&gateway, "short", "firing").await;
    push(&gateway, "short", 60.0, 10).await;
    push(&gateway, "tried", 60.0, 10).await;
    for device in ["told", "short", "tried"] {
        alert_is(&gateway, device, "resolved").await;
    }
    alert_is(&gateway, "still", "firing").await;
    let gateway = gateway.kill().await.start().await;
    assert_eq!(held(&gateway).await, (json!(4), json!(1)));
    assert_eq!(told(&webhook), ["told.firing"]);

    // Ends while the gateway is dead.
    let shorter = json!({
        "matchers": [{"name": "device", "value": "*", "glob": true}],
        "ends_at": "+1500ms",
        "by": "Bob",
    });
    let (status, changed) = ask(&gateway, Method::PUT, &path, Some(shorter)).await;
    assert_eq!(status, 200, "{changed}");
    let stopped = gateway.kill().await;
    passed(&changed["ends_ms"]).await;
    let gateway = stopped.start().await;
    let expected = [
        "told.firing",
        "tried.firing",
        "told.resolved",
        "still.firing",
        "tried.resolved",
    ];
    is_told(&webhook, &expected).await;
    let gateway = gateway.kill().await.start().await;
    push(&gateway, "still", 60.0, 10).await;
    eventually("the last end is told", || async {
        (told(&webhook).last()? == "still.resolved").then_some(())
    })
    .await;
    let mut times: BTreeMap<String, usize> = BTreeMap::new();
    for body in webhook.accepted() {
        *times.entry(body["id"].to_string()).or_default() += 1;
    }
    assert_eq!(times.len(), 6, "{times:?}");
    let trail = gateway.get("/api/v1/audit").await;
    let actions: Vec<_> = trail["audit"]
        .as_array()
        .unwrap()
        .iter()
        .map(|e| (&e["by"], &e["action"]))
        .collect();
    assert_eq!(
        actions,
        [
            (&json!("Bob"), &json!("silence_changed")),
            (&json!("Ada"), &json!("silence_created"))
        ]
    );
    gateway.account("push", |row| row["accepted"] == 1).await;
}

/// Waits until the wall clock is past this.
#[expect(
    clippy::disallowed_methods,
    reason = "this program is no part of the gateway"
)]
async fn passed(ms: &Value) {
    let until = ms.as_u64().unwrap();
    eventually("its time comes", || async {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        (now.as_millis() > u128::from(until)).then_some(())
    })
    .await;
}
