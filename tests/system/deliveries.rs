//! What a receiver does to its own deliveries costs no other delivery, loses nothing and repeats nothing beyond the id.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use serde_json::{Value, json};
use tests::{Gateway, MoodySink, WebhookSink, eventually, moody::Mood, sinks::Refusal};
use tokio::time::Instant;

const LATER: i64 = 1_763_640_000_000;

fn config(url: &str, more: &str) -> String {
    format!(
        "[[rule]]\nname = \"hot\"\nseries = \"*/temperature\"\nabove = 80\nclear = 70\n[[webhook]]\nname = \"ops\"\nurl = \"{url}\"\n{more}"
    )
}

async fn push(gateway: &Gateway, readings: &Value) {
    let (status, answer) = gateway
        .post("/api/v1/readings", "application/json", readings.to_string())
        .await;
    assert_eq!(status, 200, "{answer}");
}

fn reading(device: &str, value: f64, at_ms: i64) -> Value {
    json!({"device": device, "metric": "temperature", "value": value, "time": at_ms})
}

async fn webhook_is(gateway: &Gateway, wanted: impl Fn(&Value) -> bool) -> Value {
    eventually("the webhook stands so", || async {
        let status = gateway.get("/api/v1/status").await;
        let webhook = status["webhooks"][0].clone();
        wanted(&webhook).then_some(webhook)
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn one_alert_that_a_receiver_chokes_on_holds_up_no_other() {
    let sink = WebhookSink::start().await;
    let gateway = Gateway::start(&config(&sink.url(), "longest_wait = \"2s\"\n")).await;
    sink.choke_on("bad/temperature");
    push(&gateway, &reading("bad", 90.0, LATER)).await;
    push(&gateway, &reading("bad", 60.0, LATER + 1_000)).await;
    for device in 0..20 {
        push(&gateway, &reading(&format!("d{device}"), 90.0, LATER)).await;
    }
    eventually("all the others are told", || async {
        (sink.accepted().len() == 20).then_some(())
    })
    .await;
    webhook_is(&gateway, |webhook| webhook["waiting"] == 2).await;
    sink.relent();
    eventually("the one too, in order", || async {
        (sink.accepted().len() == 22).then_some(())
    })
    .await;
    let told = sink.accepted();
    let events: Vec<_> = told[20..].iter().map(|told| &told["event"]).collect();
    assert_eq!(events, ["firing", "resolved"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receiver_that_fails_whatever_it_is_sent_is_left_alone_and_shown_until_it_answers() {
    let sink = WebhookSink::start().await;
    let waits = "first_wait = \"50ms\"\nlongest_wait = \"500ms\"\n";
    let gateway = Gateway::start(&config(&sink.url(), waits)).await;
    sink.refuse(vec![Refusal::status(503); 30]);
    for device in 0..50 {
        push(&gateway, &reading(&format!("d{device}"), 90.0, LATER)).await;
    }
    let webhook = webhook_is(&gateway, |webhook| webhook["failing_since"].is_string()).await;
    assert!(
        webhook["last_error"].as_str().unwrap().contains("503"),
        "{webhook}"
    );
    assert!(
        gateway
            .metric("gateway_webhook_circuit_open{webhook=\"ops\"}")
            .await
            > 0.0
    );
    eventually("all are told in the end", || async {
        (sink.accepted().len() == 50).then_some(())
    })
    .await;
    let webhook = webhook_is(&gateway, |webhook| webhook["waiting"] == 0).await;
    assert_eq!(webhook["failing_since"], Value::Null);
    assert_eq!(
        sink.tries(),
        80,
        "one try for each refusal and each delivery"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_receiver_refused_is_listed_put_right_and_sent_again_also_after_a_crash() {
    let sink = WebhookSink::start().await;
    let gateway = Gateway::start(&config(&sink.url(), "")).await;
    sink.refuse([Refusal::status(422), Refusal::status(400)]);
    for device in ["a", "b"] {
        push(&gateway, &reading(device, 90.0, LATER)).await;
    }
    webhook_is(&gateway, |webhook| webhook["dead_letters"] == 2).await;
    let gateway = gateway.kill().await.start().await;
    let listed = gateway.get("/api/v1/deliveries/dead-letters").await;
    assert_eq!(listed["total"], 2);
    let letters = listed["dead_letters"].as_array().unwrap();
    assert_eq!(letters[1]["message"]["device"], "a");
    assert!(letters[1]["error"].as_str().unwrap().contains("422"));
    assert!(sink.accepted().is_empty());

    let replay = |number: &Value| format!("/api/v1/deliveries/dead-letters/{number}/replay");
    let mut message = letters[1]["message"].clone();
    message["summary"] = json!("Open the vents");
    let body = json!({"by": "Ada", "message": message}).to_string();
    let path = replay(&letters[1]["number"]);
    let (status, answer) = gateway.post(&path, "application/json", body.clone()).await;
    assert_eq!(status, 202, "{answer}");
    let (status, answer) = gateway.post(&path, "application/json", body).await;
    assert_eq!(status, 404, "only once: {answer}");
    let wrong = json!({"by": "Ada", "message": {"hello": 1}}).to_string();
    let path = replay(&letters[0]["number"]);
    let (status, answer) = gateway.post(&path, "application/json", wrong).await;
    assert_eq!(status, 422, "{answer}");
    let all = json!({"by": "Ada", "webhook": "ops"}).to_string();
    let path = "/api/v1/deliveries/dead-letters/replay";
    let (status, answer) = gateway.post(path, "application/json", all).await;
    assert_eq!((status, answer.as_str()), (202, "{\"replaying\":1}"));

    eventually("both are told", || async {
        (sink.accepted().len() == 2).then_some(())
    })
    .await;
    let told: BTreeMap<String, Value> = sink
        .accepted()
        .into_iter()
        .map(|told| (told["device"].as_str().unwrap().to_owned(), told))
        .collect();
    assert_eq!(told["a"]["summary"], "Open the vents");
    assert!(told["a"]["id"].as_str().unwrap().ends_with(".firing.ops~1"));
    assert_eq!(told["b"]["id"], letters[0]["id"], "as it was");
    let trail = gateway.get("/api/v1/audit").await;
    let actions: Vec<_> = trail["audit"]
        .as_array()
        .unwrap()
        .iter()
        .map(|entry| &entry["action"])
        .collect();
    assert_eq!(actions, ["delivery_replayed", "delivery_replayed"]);
    webhook_is(&gateway, |webhook| webhook["dead_letters"] == 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_heartbeat_beats_as_long_as_the_gateway_lives_and_a_changed_one_at_once() {
    let (first, second) = (WebhookSink::start().await, WebhookSink::start().await);
    let beat = |sink: &WebhookSink| {
        format!(
            "[[heartbeat]]\nname = \"cron\"\nurl = \"{}\"\nevery = \"1s\"\n",
            sink.url()
        )
    };
    let mut gateway = Gateway::start(&beat(&first)).await;
    eventually("it beats again and again", || async {
        (first.accepted().len() >= 2).then_some(())
    })
    .await;
    let body = first.accepted().remove(0);
    assert_eq!(
        (&body["status"], &body["heartbeat"], &body["alerts_firing"]),
        (&json!("ok"), &json!("cron"), &json!(0))
    );
    assert_eq!(gateway.reload(&beat(&second)).await, "applied");
    eventually("the other one hears it", || async {
        (!second.accepted().is_empty()).then_some(())
    })
    .await;
    let beats = first.tries();
    second.refuse(vec![Refusal::status(500); 2]);
    eventually("missed ones are shown, and it goes on", || async {
        let status = gateway.get("/api/v1/status").await;
        let beating = &status["heartbeats"][0];
        (beating["missed"] == 2 && beating["last_error"].is_null()).then_some(())
    })
    .await;
    assert_eq!(first.tries(), beats, "the first one hears nothing any more");
    gateway.kill().await;
    let beats = second.tries();
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    assert_eq!(second.tries(), beats, "a dead gateway is not heard");
}

/// How long the receiver misbehaves, and how many rounds are as many alerts as one answer lists.
const MOODY_FOR: Duration = Duration::from_secs(10);
const MOST_ROUNDS: i64 = 150;

#[tokio::test(flavor = "multi_thread")]
async fn whatever_a_receiver_does_and_whenever_the_gateway_is_killed_each_change_is_told_once_by_id_or_is_a_dead_letter()
 {
    let seed = 2026;
    let sink = MoodySink::start(seed).await;
    // The longest wait is a 600th of the usual one, so that ten seconds see as many tries as an hour and a half.
    let waits = "timeout = \"1s\"\nfirst_wait = \"2ms\"\nlongest_wait = \"500ms\"\n";
    let mut gateway = Gateway::start(&config(&sink.url(), waits)).await;
    let until = Instant::now() + MOODY_FOR;
    let (mut rounds, mut kills) = (0_i64, 0);
    while rounds < 6 || Instant::now() < until && rounds < MOST_ROUNDS {
        for (value, step) in [(90.0, 0), (60.0, 500)] {
            let readings: Vec<Value> = (0..5)
                .map(|device| reading(&format!("d{device}"), value, LATER + rounds * 1_000 + step))
                .collect();
            push(&gateway, &json!(readings)).await;
        }
        rounds += 1;
        if rounds % 3 == 0 {
            gateway = gateway.kill().await.start().await;
            kills += 1;
        }
    }
    let moods = sink.moods();
    sink.be_kind();
    webhook_is(&gateway, |webhook| webhook["waiting"] == 0).await;

    let listed = gateway
        .get("/api/v1/deliveries/dead-letters?limit=1000")
        .await;
    let ids = |items: &Value| -> BTreeSet<String> {
        let items = items.as_array().unwrap().iter();
        items
            .map(|item| item["id"].as_str().unwrap().to_owned())
            .collect()
    };
    let dead = ids(&listed["dead_letters"]);
    let alerts = gateway.get("/api/v1/alerts?state=all&limit=1000").await;
    let alerts = ids(&alerts["alerts"]);
    let expected: BTreeSet<String> = alerts
        .iter()
        .flat_map(|id| ["firing", "resolved"].map(|event| format!("{id}.{event}.ops")))
        .collect();
    assert_eq!(i64::try_from(expected.len()).unwrap(), rounds * 10);
    let mut told: BTreeMap<String, (usize, Value)> = BTreeMap::new();
    for (place, (id, body)) in sink.taken().into_iter().enumerate() {
        let (_, first) = told.entry(id).or_insert_with(|| (place, body.clone()));
        assert_eq!(*first, body, "under one id only one thing is said");
    }
    let known: BTreeSet<String> = told.keys().chain(&dead).cloned().collect();
    let lost: Vec<_> = expected.difference(&known).collect();
    let beyond: Vec<_> = known.difference(&expected).collect();
    println!(
        "{rounds} rounds, {kills} kills, {} changes: {} told, {} dead letters, lost {}, repeated beyond the id {}; {moods:?}",
        expected.len(),
        told.len(),
        dead.len(),
        lost.len(),
        beyond.len()
    );
    assert!(lost.is_empty() && beyond.is_empty(), "{lost:?} {beyond:?}");
    for id in &alerts {
        let place = |event: &str| {
            told.get(&format!("{id}.{event}.ops"))
                .map(|(place, _)| *place)
        };
        if let (Some(firing), Some(resolved)) = (place("firing"), place("resolved")) {
            assert!(firing < resolved, "{id} ended before it began");
        }
    }
    let refused: BTreeSet<String> = sink.refused_for_good().into_iter().collect();
    assert!(
        dead.is_subset(&refused),
        "nothing is given up that was not refused"
    );
    assert!(moods.contains_key(&Mood::Never(400)), "{moods:?}");
}
