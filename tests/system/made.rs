//! Devices, webhooks and saved views that people make over the API: in force when it is answered, after a kill too, told to every
//! page, never lost to another one's change, and secrets never given back.

use reqwest::Method;
use serde_json::{Value, json};
use tests::{Events, Gateway, WebhookSink, eventually};

const LATER: i64 = 1_783_640_000_000;

/// Status, `ETag`, place and body of an answer.
async fn ask(
    gateway: &Gateway,
    method: Method,
    path: &str,
    version: Option<&str>,
    body: Value,
) -> (u16, String, Value) {
    let mut request = reqwest::Client::new().request(method, gateway.url(path));
    if let Some(version) = version {
        request = request.header("if-match", version);
    }
    if !body.is_null() {
        request = request.json(&body);
    }
    let response = request.send().await.unwrap();
    let status = response.status().as_u16();
    let tag = response.headers().get("etag");
    let tag = tag.map_or("", |tag| tag.to_str().unwrap()).to_owned();
    (status, tag, response.json().await.unwrap_or_default())
}

async fn push(gateway: &Gateway, device: &str, value: f64, at_s: i64) {
    let body = json!({"device": device, "metric": "temperature", "value": value, "time": LATER + at_s * 1_000, "unit": "Cel"});
    let (status, answer) = gateway
        .post("/api/v1/readings", "application/json", body.to_string())
        .await;
    assert_eq!(status, 200, "{answer}");
}

async fn trail(gateway: &Gateway) -> Vec<String> {
    let trail = gateway.get("/api/v1/audit").await;
    let entries = trail["audit"].as_array().unwrap().iter();
    let words = |entry: &Value| {
        let text = |key: &str| entry[key].as_str().unwrap().to_owned();
        format!("{} {} {}", text("by"), text("action"), text("target"))
    };
    entries.map(words).collect()
}

async fn ids(gateway: &Gateway, path: &str, key: &str) -> Vec<String> {
    let all = gateway.get(path).await;
    let all = all[key].as_array().unwrap().iter();
    all.map(|one| one["id"].as_str().unwrap().to_owned())
        .collect()
}

const DEVICES: &str = "[[device]]\nid = \"boiler\"\nname = \"Boiler\"\nlabels = { floor = \"1\" }\n[[rule]]\nname = \"hot\"\nmatch = { site = \"cellar\" }\nabove = 80\n";

#[tokio::test(flavor = "multi_thread")]
async fn what_people_say_of_a_device_is_in_force_at_once_and_after_a_kill_and_every_page_hears_it()
{
    let gateway = Gateway::start(DEVICES).await;
    let mut events = Events::open(&gateway, "types=device").await;
    let path = "/api/v1/devices/boiler";
    let (status, tag, shown) = ask(&gateway, Method::GET, path, None, Value::Null).await;
    assert_eq!((status, tag.as_str()), (200, "\"0\""));
    assert_eq!(
        (&shown["origin"], &shown["line"]),
        (&json!("file"), &json!(2))
    );

    let said = json!({"device": {"site": "cellar", "labels": {"kind": "gas"}, "note": "leaks"}, "by": "Ada"});
    let (status, ..) = ask(&gateway, Method::PUT, path, None, said.clone()).await;
    assert_eq!(status, 428);
    let (status, tag, changed) = ask(&gateway, Method::PUT, path, Some("\"0\""), said).await;
    assert_eq!((status, tag.as_str()), (200, "\"1\""), "{changed}");
    assert_eq!(changed["name"], "Boiler");
    assert_eq!(changed["labels"], json!({"floor": "1", "kind": "gas"}));
    assert_eq!(changed["configured"]["name"], "Boiler");
    assert_eq!(
        (&changed["origin"], &changed["created_by"]),
        (&json!("person"), &json!("Ada"))
    );
    let told = events
        .find("the site", |e| {
            e.kind == "device" && e.data["site"] == "cellar"
        })
        .await;
    assert_eq!(
        (&told.data["version"], &told.data["note"]),
        (&json!(1), &json!("leaks"))
    );

    // The rule is about devices of this site: what was answered holds for the next reading.
    push(&gateway, "boiler", 90.0, 0).await;
    eventually("the rule fires", || async {
        let alerts = gateway.get("/api/v1/alerts").await;
        (alerts["alerts"][0]["labels"]["kind"] == "gas").then_some(())
    })
    .await;

    // One that nobody configured or heard, and its end.
    let pump = json!({"device": {"id": "pump", "name": "The pump"}, "by": "Bob"});
    let (status, tag, made) = ask(
        &gateway,
        Method::POST,
        "/api/v1/devices",
        None,
        pump.clone(),
    )
    .await;
    assert_eq!(
        (status, tag.as_str(), &made["name"]),
        (201, "\"1\"", &json!("The pump"))
    );
    let (status, _, said) = ask(&gateway, Method::POST, "/api/v1/devices", None, pump).await;
    assert_eq!(status, 409, "{said}");
    events
        .find("the pump", |e| {
            e.data["id"] == "pump" && e.data["name"] == "The pump"
        })
        .await;
    let gateway = gateway.kill().await.start().await;
    let (_, tag, again) = ask(&gateway, Method::GET, path, None, Value::Null).await;
    assert_eq!((tag.as_str(), &again["note"]), ("\"1\"", &json!("leaks")));
    assert_eq!(
        ids(&gateway, "/api/v1/devices", "devices").await,
        ["boiler", "pump"]
    );
    let mut events = Events::open(&gateway, "types=device").await;
    let gone = "/api/v1/devices/pump?by=Cy";
    let (status, ..) = ask(&gateway, Method::DELETE, gone, Some("\"1\""), Value::Null).await;
    assert_eq!(status, 204);
    let told = events.find("its end", |e| e.data["deleted"] == true).await;
    assert_eq!(told.data, json!({"id": "pump", "deleted": true}));
    assert_eq!(
        ids(&gateway, "/api/v1/devices", "devices").await,
        ["boiler"]
    );
    // What the config says is left, and is not deleted here.
    let gone = "/api/v1/devices/boiler?by=Cy";
    let (status, ..) = ask(&gateway, Method::DELETE, gone, None, Value::Null).await;
    assert_eq!(status, 204);
    let left = gateway.get(path).await;
    assert_eq!(
        (&left["name"], &left["site"], &left["version"]),
        (&json!("Boiler"), &Value::Null, &json!(0))
    );
    let (status, _, said) = ask(&gateway, Method::DELETE, gone, None, Value::Null).await;
    assert_eq!(status, 405);
    assert!(
        said["detail"].as_str().unwrap().contains("gateway.toml:2"),
        "{said}"
    );
    let expected = [
        "Cy device_deleted boiler",
        "Cy device_deleted pump",
        "Bob device_created pump",
        "Ada device_created boiler",
    ];
    assert_eq!(trail(&gateway).await, expected);
    gateway.account("push", |row| row["accepted"] == 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_webhook_of_a_person_hears_of_alerts_and_never_says_its_secrets() {
    let first = WebhookSink::start().await;
    let second = WebhookSink::start().await;
    let config = "[[rule]]\nname = \"hot\"\nseries = \"*/temperature\"\nabove = 80\n[[webhook]]\nname = \"ops\"\nurl = \"http://127.0.0.1:1/\"\n";
    let gateway = Gateway::start(config).await;
    let mut events = Events::open(&gateway, "types=webhook").await;
    let hook = |url: &str| json!({"name": "night", "url": url, "token": "S3CRET", "headers": {"x-key": "S3CRET"}});
    let wish = json!({"webhook": hook(&first.url()), "by": "Ada"});
    let (status, tag, made) = ask(
        &gateway,
        Method::POST,
        "/api/v1/webhooks",
        None,
        wish.clone(),
    )
    .await;
    assert_eq!((status, tag.as_str()), (201, "\"1\""), "{made}");
    assert_eq!(made["secrets"], json!(["url", "token", "headers"]));
    let told = events.find("the webhook", |e| e.kind == "webhook").await;
    assert_eq!(
        (&told.data["id"], &told.data["has_token"]),
        (&json!("night"), &json!(true))
    );
    let (status, ..) = ask(&gateway, Method::POST, "/api/v1/webhooks", None, wish).await;
    assert_eq!(status, 409);
    push(&gateway, "boiler", 90.0, 0).await;
    eventually("it hears of the alert", || async {
        (first.accepted().first()?["rule"] == "hot").then_some(())
    })
    .await;
    assert_eq!(first.headers()[0]["authorization"], "Bearer S3CRET");

    // A change keeps the secrets that it does not speak of, at the same address alone.
    let mut gateway = gateway.kill().await.start().await;
    let path = "/api/v1/webhooks/night";
    let slower = json!({"webhook": {"timeout": "5s"}, "by": "Bob"});
    let (status, tag, changed) = ask(&gateway, Method::PUT, path, Some("\"1\""), slower).await;
    assert_eq!(
        (status, tag.as_str(), &changed["timeout_ms"]),
        (200, "\"2\"", &json!(5_000))
    );
    let moved = json!({"webhook": {"url": second.url()}, "by": "Eve"});
    let (status, _, said) = ask(&gateway, Method::PUT, path, Some("\"2\""), moved).await;
    assert_eq!(status, 422, "{said}");
    let keys: Vec<_> = said["errors"]
        .as_array()
        .unwrap()
        .iter()
        .map(|e| &e["key"])
        .collect();
    assert_eq!(keys, ["token", "headers"]);
    let moved =
        json!({"webhook": {"url": second.url(), "token": null, "headers": null}, "by": "Eve"});
    let (status, _, said) = ask(&gateway, Method::PUT, path, Some("\"2\""), moved).await;
    assert_eq!(status, 200, "{said}");
    push(&gateway, "oven", 95.0, 1).await;
    eventually("the other address hears of the next", || async {
        (second.accepted().first()?["series"] == "oven/temperature").then_some(())
    })
    .await;
    assert!(!second.headers()[0].contains_key("authorization"));

    // The config's own is not changed here; its name is taken.
    let taken = json!({"webhook": {"name": "ops", "url": "http://127.0.0.1:2/"}, "by": "Ada"});
    let (status, _, said) = ask(
        &gateway,
        Method::POST,
        "/api/v1/webhooks",
        None,
        taken.clone(),
    )
    .await;
    assert_eq!((status, &said["errors"][0]["key"]), (409, &json!("name")));
    assert!(
        said["detail"].as_str().unwrap().contains("gateway.toml:6"),
        "{said}"
    );
    let (status, ..) = ask(
        &gateway,
        Method::PUT,
        "/api/v1/webhooks/ops",
        Some("*"),
        taken,
    )
    .await;
    assert_eq!(status, 405);
    let bad = json!({"webhook": {"name": "x", "url": "http://127.0.0.1:2/", "token_file": "/etc/shadow", "tmeout": "5s"}, "by": "Ada"});
    let (status, _, said) = ask(&gateway, Method::POST, "/api/v1/webhooks", None, bad).await;
    assert_eq!(
        (status, &said["errors"][0]["key"]),
        (422, &json!("token_file"))
    );

    // A config that brings the name comes before; without it the person's is back.
    let before = gateway.reloads().await;
    gateway.write_config(&format!(
        "{config}[[webhook]]\nname = \"night\"\nurl = \"http://127.0.0.1:1/\"\n"
    ));
    gateway.signal(rustix::process::Signal::HUP);
    assert_eq!(gateway.reloaded(&before).await, "applied");
    let all = gateway.get("/api/v1/webhooks").await;
    let aside = &all["webhooks"][2];
    assert!(
        aside["problem"].as_str().unwrap().contains("gateway.toml"),
        "{all}"
    );
    assert_eq!(aside["in_force"], false);
    let before = gateway.reloads().await;
    gateway.write_config(config);
    gateway.signal(rustix::process::Signal::HUP);
    assert_eq!(gateway.reloaded(&before).await, "applied");

    let gone = format!("{path}?by=Cy");
    let (status, ..) = ask(&gateway, Method::DELETE, &gone, Some("\"3\""), Value::Null).await;
    assert_eq!(status, 204);
    events = Events::open(&gateway, "types=webhook").await;
    drop(events);
    assert_eq!(ids(&gateway, "/api/v1/webhooks", "webhooks").await, ["ops"]);
    let trail = gateway.get("/api/v1/audit").await.to_string();
    for (what, text) in [
        ("list", all.to_string()),
        ("trail", trail),
        ("log", gateway.log()),
    ] {
        assert!(!text.contains("S3CRET"), "{what}: {text}");
    }
    gateway.account("push", |row| row["accepted"] == 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn saved_views_are_there_after_a_kill_and_told_and_of_two_editors_the_second_is_shown_both() {
    let gateway = Gateway::start("").await;
    let mut events = Events::open(&gateway, "types=dashboard").await;
    let view = |tiles: &str| json!({"dashboard": {"name": "Wall", "layout": {"tiles": [tiles]}, "kiosk": true}, "by": "Ada"});
    let (status, tag, made) = ask(
        &gateway,
        Method::POST,
        "/api/v1/dashboards",
        None,
        view("a"),
    )
    .await;
    assert_eq!((status, tag.as_str()), (201, "\"1\""), "{made}");
    let id = made["id"].as_str().unwrap().to_owned();
    let told = events.find("the view", |e| e.kind == "dashboard").await;
    assert_eq!(
        (&told.data["id"], &told.data["kiosk"]),
        (&json!(id), &json!(true))
    );
    assert_eq!(told.data.get("layout"), None, "it may be long");
    let gateway = gateway.kill().await.start().await;
    let path = format!("/api/v1/dashboards/{id}");
    assert_eq!(gateway.get(&path).await, made);

    let (status, _, first) = ask(&gateway, Method::PUT, &path, Some("\"1\""), view("b")).await;
    assert_eq!((status, &first["version"]), (200, &json!(2)), "{first}");
    let (status, _, both) = ask(&gateway, Method::PUT, &path, Some("\"1\""), view("c")).await;
    assert_eq!(status, 412);
    assert_eq!(both["current"], first);
    assert_eq!(both["yours"]["dashboard"]["layout"]["tiles"], json!(["c"]));
    let (status, ..) = ask(&gateway, Method::PUT, &path, None, view("c")).await;
    assert_eq!(status, 428);
    let wide =
        json!({"dashboard": {"name": "x", "layout": {"a": "x".repeat(65_536)}}, "by": "Ada"});
    let (status, _, said) = ask(&gateway, Method::POST, "/api/v1/dashboards", None, wide).await;
    assert_eq!((status, &said["errors"][0]["key"]), (422, &json!("layout")));
    for n in 1..200 {
        let (status, _, said) = ask(
            &gateway,
            Method::POST,
            "/api/v1/dashboards",
            None,
            view("n"),
        )
        .await;
        assert_eq!(status, 201, "{n}: {said}");
    }
    let (status, _, said) = ask(
        &gateway,
        Method::POST,
        "/api/v1/dashboards",
        None,
        view("n"),
    )
    .await;
    assert_eq!(status, 409, "{said}");
    assert!((gateway.metric("gateway_dashboards_refused_total").await - 1.0).abs() < 0.1);
    let mut events = Events::open(&gateway, "types=dashboard").await;
    let (status, ..) = ask(
        &gateway,
        Method::DELETE,
        &format!("{path}?by=Cy"),
        Some("\"2\""),
        Value::Null,
    )
    .await;
    assert_eq!(status, 204);
    let told = events.find("its end", |e| e.kind == "dashboard").await;
    assert_eq!(told.data, json!({"id": id, "deleted": true}));
    assert_eq!(
        ids(&gateway, "/api/v1/dashboards", "dashboards")
            .await
            .len(),
        199
    );
}
