//! Alerts come in groups, and a kill or other routes lose none and repeat none; a storm is a handful of messages.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};
use tests::{Events, Gateway, WebhookSink, eventually, sinks::Refusal};

const LATER: i64 = 1_763_640_000_000;
const STORM: usize = 10_000;

fn config(webhooks: &[(&str, &WebhookSink)], routes: &str) -> String {
    let mut text = String::from(
        "[[rule]]\nname = \"hot\"\nseries = \"*/temperature\"\nabove = 80\nclear = 70\n\
         [[rule]]\nname = \"down\"\nseries = \"*/down\"\nabove = 0\n",
    );
    for (name, sink) in webhooks {
        text += &format!("[[webhook]]\nname = \"{name}\"\nurl = \"{}\"\n", sink.url());
    }
    text + routes
}

fn reading(device: &str, metric: &str, value: f64, at_s: i64) -> Value {
    json!({ "device": device, "metric": metric, "value": value, "time": LATER + at_s * 1_000 })
}

async fn push(gateway: &Gateway, readings: Vec<Value>) {
    let (status, answer) = gateway
        .post(
            "/api/v1/readings",
            "application/json",
            json!(readings).to_string(),
        )
        .await;
    assert_eq!(status, 200, "{answer}");
}

async fn hot(gateway: &Gateway, device: &str, value: f64, at_s: i64) {
    push(gateway, vec![reading(device, "temperature", value, at_s)]).await;
}

/// What a receiver heard: by id of the message, which a kill may repeat; each as `reason: device.event …`.
fn heard(sink: &WebhookSink) -> Vec<String> {
    let mut seen = BTreeSet::new();
    let mut heard = Vec::new();
    for body in sink.accepted() {
        if !seen.insert(body["id"].as_str().unwrap().to_owned()) {
            continue;
        }
        let one = std::slice::from_ref(&body);
        let alerts = body["alerts"].as_array().map_or(one, Vec::as_slice);
        let mut told: Vec<String> = alerts
            .iter()
            .map(|a| {
                let text = |field: &str| a[field].as_str().unwrap().to_owned();
                format!("{}.{}", text("device"), text("event"))
            })
            .collect();
        told.sort();
        let reason = body["reason"].as_str().unwrap_or("alone");
        heard.push(format!("{reason}: {}", told.join(" ")));
    }
    heard
}

async fn hears(sink: &WebhookSink, expected: &[&str]) {
    eventually(&format!("the webhook hears {expected:?}"), || async {
        let heard = heard(sink);
        assert!(heard.len() <= expected.len(), "{heard:?}");
        (heard == expected).then_some(())
    })
    .await;
}

async fn are_firing(gateway: &Gateway, count: usize) {
    eventually(&format!("{count} alerts fire"), || async {
        let groups = gateway.get("/api/v1/routes").await["groups"].clone();
        let firing: u64 = groups
            .as_array()?
            .iter()
            .filter_map(|g| g["firing"].as_u64())
            .sum();
        (firing == count as u64).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_is_told_after_a_kill_in_its_wait_and_its_end_once_and_nobody_is_told_twice() {
    let (ops, boss) = (WebhookSink::start().await, WebhookSink::start().await);
    let routes = "[[route]]\nname = \"all\"\nwebhooks = [\"ops\"]\ngroup_wait = \"2s\"\ngroup_interval = \"2s\"\n\
                  escalate = [{ after = \"4s\", webhooks = [\"boss\"] }]\n";
    let gateway = Gateway::start(&config(&[("ops", &ops), ("boss", &boss)], routes)).await;
    hot(&gateway, "boiler", 90.0, 0).await;
    hot(&gateway, "oven", 90.0, 0).await;
    are_firing(&gateway, 2).await;
    let gateway = gateway.kill().await.start().await;
    hears(&ops, &["change: boiler.firing oven.firing"]).await;
    let shown = eventually("it is shown when it escalates", || async {
        let alerts = gateway.get("/api/v1/alerts").await;
        let alert = alerts["alerts"].as_array()?.first()?.clone();
        (!alert["escalates_ms"].is_null()).then_some(alert)
    })
    .await;
    assert_eq!(shown["routes"][0]["route"], "all");
    let body = ops.accepted().pop().unwrap();
    assert_eq!(shown["routes"][0]["group_key"], body["group_key"]);
    assert_eq!(
        (&body["firing"], &body["event"]),
        (&json!(2), &json!("firing"))
    );
    assert_eq!(body["group_labels"], json!({"rule": "hot"}));
    // Somebody takes care of one before its time is up.
    let oven = gateway.get("/api/v1/alerts").await["alerts"]
        .as_array()
        .unwrap()
        .iter()
        .find(|alert| alert["series"] == "oven/temperature")
        .unwrap()
        .clone();
    let path = format!(
        "/api/v1/alerts/{}/acknowledge",
        oven["id"].as_str().unwrap()
    );
    let (status, answer) = gateway
        .post(&path, "application/json", json!({"by": "Ada"}).to_string())
        .await;
    assert_eq!(status, 200, "{answer}");
    let gateway = gateway.kill().await.start().await;
    hears(&boss, &["escalation: boiler.firing"]).await;
    hot(&gateway, "boiler", 20.0, 60).await;
    hot(&gateway, "oven", 20.0, 60).await;
    let gateway = gateway.kill().await.start().await;
    // In one message or, when the kill came between, in two.
    eventually("all ends are told", || async {
        let ends = |sink: &WebhookSink| {
            let all = heard(sink).join(" ");
            all.matches(".resolved").count()
        };
        assert!(ends(&ops) <= 2 && ends(&boss) <= 1);
        (ends(&ops) == 2 && ends(&boss) == 1).then_some(())
    })
    .await;
    assert_eq!(ops.accepted().last().unwrap()["event"], "resolved");
    eventually("the group is forgotten", || async {
        let routes = gateway.get("/api/v1/routes").await;
        assert_eq!(routes["routes"][0]["escalate"][0]["after_ms"], 4_000);
        routes["groups"].as_array()?.is_empty().then_some(())
    })
    .await;
    gateway.account("push", |row| row["waiting"] == 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_another_alert_explains_is_shown_as_such_and_told_when_that_is_over() {
    let ops = WebhookSink::start().await;
    let routes = "[[route]]\nname = \"all\"\nwebhooks = [\"ops\"]\ngroup_wait = \"1s\"\ngroup_interval = \"1s\"\n\
                  [[inhibit]]\nsource = [{ name = \"rule\", value = \"down\" }]\ntarget = [{ name = \"rule\", value = \"hot\" }]\nequal = [\"device\"]\n";
    let gateway = Gateway::start(&config(&[("ops", &ops)], routes)).await;
    let mut events = Events::open(&gateway, "types=alert").await;
    push(&gateway, vec![reading("boiler", "down", 1.0, 0)]).await;
    hears(&ops, &["change: boiler.firing"]).await;
    hot(&gateway, "boiler", 90.0, 1).await;
    hot(&gateway, "oven", 90.0, 1).await;
    let said = events
        .find("the alert that is explained", |e| {
            e.data["inhibited_by"]
                .as_array()
                .is_some_and(|by| by.len() == 1)
        })
        .await;
    assert_eq!(said.data["series"], "boiler/temperature");
    hears(&ops, &["change: boiler.firing", "change: oven.firing"]).await;
    push(&gateway, vec![reading("boiler", "down", 0.0, 2)]).await;
    eventually("it is told", || async {
        let mut heard = heard(&ops).split_off(2);
        heard.sort();
        assert!(heard.len() <= 2, "{heard:?}");
        (heard == ["change: boiler.firing", "change: boiler.resolved"]).then_some(())
    })
    .await;
    events
        .find("the alert that nothing explains", |e| {
            e.data["series"] == "boiler/temperature" && e.data["inhibited_by"] == json!([])
        })
        .await;
    gateway.account("push", |row| row["accepted"] == 4).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn other_routes_while_alerts_fire_repeat_nothing_and_their_ends_are_told() {
    let (ops, boss) = (WebhookSink::start().await, WebhookSink::start().await);
    let webhooks = [("ops", &ops), ("boss", &boss)];
    let route = |name: &str, rest: &str| {
        format!(
            "[[route]]\nname = \"{name}\"\ngroup_wait = \"0s\"\ngroup_interval = \"1s\"\n{rest}"
        )
    };
    let mut gateway = Gateway::start(&config(&webhooks, "")).await;
    hot(&gateway, "a", 90.0, 0).await;
    hears(&ops, &["alone: a.firing"]).await;
    hears(&boss, &["alone: a.firing"]).await;
    let one = config(&webhooks, &route("one", "webhooks = [\"ops\"]\n"));
    assert_eq!(gateway.reload(&one).await, "applied");
    hot(&gateway, "b", 90.0, 1).await;
    hears(&ops, &["alone: a.firing", "change: b.firing"]).await;
    let two = route(
        "two",
        "webhooks = [\"boss\", \"ops\"]\ngroup_by = [\"series\"]\n",
    );
    assert_eq!(gateway.reload(&config(&webhooks, &two)).await, "applied");
    hears(&boss, &["alone: a.firing", "change: b.firing"]).await;
    // Taken out again: what was told through groups ends through them.
    assert_eq!(gateway.reload(&config(&webhooks, "")).await, "applied");
    hot(&gateway, "c", 90.0, 2).await;
    hears(
        &ops,
        &["alone: a.firing", "change: b.firing", "alone: c.firing"],
    )
    .await;
    hot(&gateway, "b", 20.0, 3).await;
    let last = [
        "alone: a.firing",
        "change: b.firing",
        "alone: c.firing",
        "change: b.resolved",
    ];
    hears(&ops, &last).await;
    hears(&boss, &last).await;
    let refused = config(&webhooks, &route("bad", "webhooks = [\"nobody\"]\n"));
    assert_eq!(gateway.reload(&refused).await, "refused");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_storm_of_ten_thousand_alerts_is_a_handful_of_messages_with_each_of_them_once() {
    let ops = WebhookSink::start().await;
    // Away at first, so that the gateway is killed with all of it in hand.
    ops.refuse(std::iter::repeat_n(Refusal::status(503), 1_000));
    let routes = "[[route]]\nname = \"all\"\nwebhooks = [\"ops\"]\ngroup_wait = \"5s\"\ngroup_interval = \"5s\"\n";
    let gateway = Gateway::start(&config(&[("ops", &ops)], routes)).await;
    let storm = |gateway: Gateway, value: f64, at_s: i64| async move {
        let all: Vec<Value> = (0..STORM)
            .map(|n| reading(&format!("d{n}"), "temperature", value, at_s))
            .collect();
        for part in all.chunks(1_000) {
            push(&gateway, part.to_vec()).await;
        }
        gateway
    };
    let gateway = storm(gateway, 90.0, 0).await;
    are_firing(&gateway, STORM).await;
    let gateway = gateway.kill().await.start().await;
    ops.relent();
    let told = |event: &'static str| {
        let ops = &ops;
        async move {
            eventually(&format!("each is told as {event}"), || async {
                let mut told: BTreeMap<String, usize> = BTreeMap::new();
                let mut seen = BTreeSet::new();
                for body in ops.accepted() {
                    if !seen.insert(body["id"].as_str()?.to_owned()) {
                        continue;
                    }
                    for alert in body["alerts"].as_array()? {
                        if alert["event"] == event {
                            *told
                                .entry(alert["alert_id"].as_str()?.to_owned())
                                .or_default() += 1;
                        }
                    }
                }
                assert!(
                    told.values().all(|times| *times == 1),
                    "a change was told twice"
                );
                (told.len() == STORM).then_some(seen.len())
            })
            .await
        }
    };
    let messages = told("firing").await;
    assert!(messages <= 20, "{messages} messages");
    let gateway = storm(gateway, 20.0, 60).await;
    let messages = told("resolved").await;
    assert!(messages <= 40, "{messages} messages");
    let status = gateway.get("/api/v1/status").await;
    assert_eq!(status["webhooks"][0]["given_up"], 0);
    gateway.account("push", |row| row["waiting"] == 0).await;
    println!("storm: {STORM} alerts and their ends in {messages} messages");
}
