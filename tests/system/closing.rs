//! What people do about one alert: from the link in its message, closing it by hand, putting it aside.

use reqwest::Method;
use serde_json::{Value, json};
use tests::{Events, Gateway, WebhookSink, eventually};

const LATER: i64 = 1_763_640_000_000;

fn config(webhook: &WebhookSink, more: &str) -> String {
    format!(
        "{more}\n[[rule]]\nname = \"hot\"\nseries = \"*/temperature\"\nabove = 80\nclear = 70\n[[webhook]]\nname = \"ops\"\nurl = \"{}\"\n",
        webhook.url()
    )
}

async fn push(gateway: &Gateway, value: f64, at_s: i64) {
    let body = json!({ "device": "boiler", "metric": "temperature", "value": value, "time": LATER + at_s * 1_000 });
    let (status, answer) = gateway
        .post("/api/v1/readings", "application/json", body.to_string())
        .await;
    assert_eq!(status, 200, "{answer}");
}

async fn ask(gateway: &Gateway, method: Method, path: &str, body: Option<Value>) -> (u16, Value) {
    let mut request = reqwest::Client::new().request(method, gateway.url(path));
    if let Some(body) = body {
        request = request.json(&body);
    }
    let response = request.send().await.unwrap();
    let status = response.status().as_u16();
    (status, response.json().await.unwrap_or_default())
}

/// The alert that is in this state, once the file has one.
async fn one_is(gateway: &Gateway, state: &str) -> Value {
    eventually(&format!("an alert is {state}"), || async move {
        let all = gateway.get("/api/v1/alerts?state=all").await;
        let mut all = all["alerts"].as_array()?.iter();
        all.find(|alert| alert["state"] == state).cloned()
    })
    .await
}

/// All readings so far were seen by the rules.
async fn evaluated(gateway: &Gateway, at_s: i64) {
    eventually("the reading was seen", || async move {
        let points = gateway.get("/api/v1/series").await;
        let all = points["series"].as_array()?;
        let newest = all.iter().find(|s| s["id"] == "boiler/temperature")?;
        (newest["t"] == LATER + at_s * 1_000).then_some(())
    })
    .await;
}

async fn told(webhook: &WebhookSink, expected: &[&str]) {
    eventually(&format!("the webhook hears {expected:?}"), || async {
        let accepted = webhook.accepted();
        let mut told: Vec<&str> = accepted
            .iter()
            .filter_map(|b| b["event"].as_str())
            .collect();
        // A kill may repeat the one that was under way.
        told.dedup();
        (told == expected).then_some(())
    })
    .await;
}

fn path(alert: &Value, what: &str) -> String {
    format!("/api/v1/alerts/{}/{what}", alert["id"].as_str().unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_link_in_a_message_acknowledges_when_its_button_is_pressed_and_not_when_it_is_opened() {
    let webhook = WebhookSink::start().await;
    let config = config(&webhook, "[http]\npublic_url = \"https://sensors.example\"");
    let gateway = Gateway::start(&config).await;
    push(&gateway, 90.0, 0).await;
    told(&webhook, &["firing"]).await;
    let link = webhook.accepted()[0]["links"]["acknowledge"].clone();
    let link = link.as_str().unwrap();
    let local = link.strip_prefix("https://sensors.example").unwrap();
    // The key that it is signed with comes back after a kill.
    let gateway = gateway.kill().await.start().await;
    let page = reqwest::get(gateway.url(local)).await.unwrap();
    assert_eq!(page.status(), 200);
    let page = page.text().await.unwrap();
    assert!(page.contains("Acknowledge this alert?"), "{page}");
    assert_eq!(
        one_is(&gateway, "firing").await["acknowledged"],
        Value::Null
    );
    let forged = format!("{}A", &local[..local.len() - 1]);
    let forged = if forged == local {
        local[..local.len() - 2].to_owned()
    } else {
        forged
    };
    let (status, _) = ask(&gateway, Method::POST, &forged, None).await;
    assert_eq!(status, 404);
    assert_eq!(
        one_is(&gateway, "firing").await["acknowledged"],
        Value::Null
    );
    let (status, answer) = ask(&gateway, Method::POST, local, None).await;
    assert_eq!(status, 200, "{answer}");
    let alert = one_is(&gateway, "firing").await;
    assert_eq!(alert["acknowledged"]["by"], "link to ops");
    assert_eq!(alert["acknowledged"], answer["acknowledged"]);
    // The message that it is over needs no such link.
    push(&gateway, 60.0, 10).await;
    told(&webhook, &["firing", "resolved"]).await;
    let last = webhook.accepted().pop().unwrap();
    assert!(last["links"].get("acknowledge").is_none(), "{last}");
    assert_eq!(last["links"]["page"], "https://sensors.example/#alerts");
    gateway.account("push", |row| row["accepted"] == 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_person_closed_stays_over_after_a_kill_until_its_condition_was_clear() {
    let webhook = WebhookSink::start().await;
    let gateway = Gateway::start(&config(&webhook, "")).await;
    push(&gateway, 90.0, 0).await;
    let alert = one_is(&gateway, "firing").await;
    let given = json!({"by": "Ada", "comment": "the sensor lies"});
    let close = path(&alert, "close");
    let (status, answer) = ask(&gateway, Method::POST, &close, Some(given.clone())).await;
    assert_eq!(status, 200, "{answer}");
    assert_eq!(answer["closed"]["by"], "Ada");
    // At once: what was answered must not need another moment.
    let gateway = gateway.kill().await.start().await;
    let over = one_is(&gateway, "resolved").await;
    assert_eq!(over["id"], alert["id"]);
    let summary = over["summary"].as_str().unwrap();
    assert!(
        summary.ends_with("(closed by Ada: the sensor lies)"),
        "{summary}"
    );
    told(&webhook, &["firing", "resolved"]).await;
    // True still, before and after one more kill: it does not fire.
    push(&gateway, 95.0, 10).await;
    evaluated(&gateway, 10).await;
    let gateway = gateway.kill().await.start().await;
    push(&gateway, 96.0, 20).await;
    evaluated(&gateway, 20).await;
    assert_eq!(gateway.get("/api/v1/alerts").await["alerts"], json!([]));
    let (status, again) = ask(&gateway, Method::POST, &close, Some(given)).await;
    assert_eq!((status, &again), (200, &answer), "the same is the same");
    let bob = json!({"by": "Bob"});
    let (status, refused) = ask(&gateway, Method::POST, &close, Some(bob.clone())).await;
    assert_eq!(status, 409, "{refused}");
    let nobody = ask(
        &gateway,
        Method::POST,
        "/api/v1/alerts/1-2/close",
        Some(bob),
    )
    .await;
    assert_eq!(nobody.0, 404);
    let trail = gateway.get("/api/v1/audit").await;
    let lines = trail["audit"].as_array().unwrap();
    assert_eq!(lines.len(), 1, "{trail}");
    assert_eq!(lines[0]["action"], "alert_closed");
    assert_eq!(lines[0]["target"], alert["id"]);
    assert_eq!(lines[0]["detail"]["comment"], "the sensor lies");

    // Clear once, it may fire again.
    push(&gateway, 60.0, 30).await;
    evaluated(&gateway, 30).await;
    push(&gateway, 97.0, 40).await;
    let anew = one_is(&gateway, "firing").await;
    assert_ne!(anew["id"], alert["id"]);
    // Every open page hears of it.
    let mut events = Events::open(&gateway, "types=alert").await;
    let bob = json!({"by": "Bob"});
    let (status, _) = ask(&gateway, Method::POST, &path(&anew, "close"), Some(bob)).await;
    assert_eq!(status, 200);
    let said = events
        .find("the end", |e| {
            e.kind == "alert" && e.data["state"] == "resolved"
        })
        .await;
    assert_eq!(said.data["id"], anew["id"]);
    told(&webhook, &["firing", "resolved", "firing", "resolved"]).await;
    gateway.account("push", |row| row["accepted"] == 3).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_alert_that_is_put_aside_is_quiet_until_somebody_takes_it_back() {
    let webhook = WebhookSink::start().await;
    let gateway = Gateway::start(&config(&webhook, "")).await;
    push(&gateway, 90.0, 0).await;
    let alert = one_is(&gateway, "firing").await;
    told(&webhook, &["firing"]).await;
    let mut events = Events::open(&gateway, "types=alert,silence").await;
    let shelve = path(&alert, "shelve");
    for wrong in ["25h", "0s", "tomorrow"] {
        let asked = json!({"by": "Ada", "for": wrong});
        let (status, _) = ask(&gateway, Method::POST, &shelve, Some(asked)).await;
        assert_eq!(status, 400, "{wrong}");
    }
    let asked = json!({"by": "Ada", "for": "8h", "comment": "chatters"});
    let (status, made) = ask(&gateway, Method::POST, &shelve, Some(asked)).await;
    assert_eq!((status, &made["shelving"]), (200, &json!(true)), "{made}");
    let said = events
        .find("the alert that is put aside", |e| {
            e.kind == "alert" && !e.data["shelved"].is_null()
        })
        .await;
    assert_eq!(said.data["shelved"]["by"], "Ada");
    let gateway = gateway.kill().await.start().await;
    let shown = gateway.get("/api/v1/alerts").await["alerts"][0]["shelved"].clone();
    assert_eq!(shown["until_ms"], made["ends_ms"]);
    // It is over and fires again: nobody hears.
    push(&gateway, 60.0, 10).await;
    one_is(&gateway, "resolved").await;
    push(&gateway, 91.0, 20).await;
    let again = one_is(&gateway, "firing").await;
    assert_eq!(again["shelved"], shown);
    assert_eq!(webhook.accepted().len(), 1);
    let back = format!("{}?by=Bob", path(&again, "shelve"));
    let (status, _) = ask(&gateway, Method::DELETE, &back, None).await;
    assert_eq!(status, 204);
    told(&webhook, &["firing", "resolved", "firing"]).await;
    let alerts = gateway.get("/api/v1/alerts").await;
    assert_eq!(alerts["alerts"][0]["shelved"], Value::Null);
    gateway.account("push", |row| row["accepted"] == 2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_silence_that_recurs_holds_only_in_its_hours_and_comes_back_after_a_kill() {
    let webhook = WebhookSink::start().await;
    let gateway = Gateway::start(&config(&webhook, "")).await;
    let silence = |days: Value| {
        json!({
            "matchers": [{"name": "device", "value": "boiler"}], "ends_at": "+2w", "created_by": "Ada",
            "repeat": {"days": days, "from": "00:00", "to": "24:00", "zone": "Pacific/Kiritimati"},
        })
    };
    let all = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];
    let (status, always) = ask(
        &gateway,
        Method::POST,
        "/api/v1/silences",
        Some(silence(json!(all))),
    )
    .await;
    assert_eq!(
        (status, &always["state"]),
        (201, &json!("active")),
        "{always}"
    );
    push(&gateway, 90.0, 0).await;
    let alert = one_is(&gateway, "firing").await;
    assert_eq!(alert["silenced_by"], json!([always["id"]]));
    let gateway = gateway.kill().await.start().await;
    let kept = gateway.get("/api/v1/silences").await;
    assert_eq!(kept["silences"], json!([always]));
    assert_eq!(webhook.tries(), 0);
    // Neither today nor tomorrow, wherever one is: it waits, and the webhook hears.
    let today = always["created_ms"].as_u64().unwrap() / 86_400_000;
    // The epoch began on a Thursday.
    let in_three_days = all[usize::try_from((today + 3 + 3) % 7).unwrap()];
    let mut later = silence(json!([in_three_days]));
    later["by"] = later.as_object_mut().unwrap().remove("created_by").unwrap();
    let path = format!("/api/v1/silences/{}", always["id"].as_str().unwrap());
    let changed = reqwest::Client::new()
        .put(gateway.url(&path))
        .header("if-match", "*")
        .json(&later)
        .send()
        .await
        .unwrap();
    assert_eq!(changed.status(), 200);
    let changed: Value = changed.json().await.unwrap();
    assert_eq!(changed["state"], "planned");
    told(&webhook, &["firing"]).await;
    gateway.account("push", |row| row["accepted"] == 0).await;
}
