//! Rules that people make over the API: in force when it is answered, after a kill too, one list with those of the file, checked
//! with exact words, and tried over stored readings before they are made.

use reqwest::Method;
use serde_json::{Value, json};
use tests::{Events, Gateway, WebhookSink, eventually};

const LATER: i64 = 1_783_640_000_000;

async fn push(gateway: &Gateway, device: &str, value: f64, at_s: i64) {
    push_all(gateway, device, &[(at_s, value)]).await;
}

async fn push_all(gateway: &Gateway, device: &str, points: &[(i64, f64)]) {
    let body: Vec<Value> = points
        .iter()
        .map(|(at_s, value)| {
            json!({"device": device, "metric": "temperature", "value": value, "time": LATER + at_s * 1_000, "unit": "Cel"})
        })
        .collect();
    let (status, answer) = gateway
        .post(
            "/api/v1/readings",
            "application/json",
            json!(body).to_string(),
        )
        .await;
    assert_eq!(status, 200, "{answer}");
}

/// Status, `ETag` and body of an answer.
async fn ask(
    gateway: &Gateway,
    method: Method,
    path: &str,
    version: Option<&str>,
    body: Value,
) -> (u16, Option<String>, Value) {
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
    let tag = tag.map(|tag| tag.to_str().unwrap().to_owned());
    (status, tag, response.json().await.unwrap_or_default())
}

async fn create(gateway: &Gateway, rule: Value) -> Value {
    let body = json!({"rule": rule, "by": "Ada"});
    let (status, _, made) = ask(gateway, Method::POST, "/api/v1/rules", None, body).await;
    assert_eq!(status, 201, "{made}");
    made
}

async fn refused(gateway: &Gateway, rule: Value) -> (u16, Value) {
    let body = json!({"rule": rule, "by": "Ada"});
    let (status, _, said) = ask(gateway, Method::POST, "/api/v1/rules", None, body).await;
    (status, said)
}

fn path(rule: &Value) -> String {
    format!("/api/v1/rules/{}", rule["id"].as_str().unwrap())
}

async fn alert(gateway: &Gateway, rule: &str, state: &str) -> Value {
    eventually(&format!("{rule} is {state}"), || async move {
        let all = gateway.get("/api/v1/alerts?state=all").await;
        let all = all["alerts"].as_array()?;
        let found = all
            .iter()
            .find(|a| a["rule"] == rule && a["state"] == state)?;
        Some(found.clone())
    })
    .await
}

/// Name, origin and whether it is in force.
async fn listed(gateway: &Gateway) -> Vec<(String, String, bool)> {
    let rules = gateway.get("/api/v1/rules").await;
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let rules = rules["rules"].as_array().unwrap().iter();
    rules
        .map(|r| (text(&r["name"]), text(&r["origin"]), r["in_force"] == true))
        .collect()
}

fn one(name: &str, origin: &str, in_force: bool) -> (String, String, bool) {
    (name.to_owned(), origin.to_owned(), in_force)
}

fn config(webhook: &WebhookSink) -> String {
    format!(
        "[[rule]]\nname = \"cold\"\nseries = \"*/temperature\"\nbelow = 2\n[[webhook]]\nname = \"ops\"\nurl = \"{}\"\n",
        webhook.url()
    )
}

fn hot(above: f64) -> Value {
    json!({"name": "hot", "series": "*/temperature", "above": above, "webhooks": ["ops"], "severity": "critical"})
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rule_that_a_person_makes_fires_at_once_and_after_a_kill_and_every_page_hears_of_it() {
    let webhook = WebhookSink::start().await;
    let gateway = Gateway::start(&config(&webhook)).await;
    let mut events = Events::open(&gateway, "types=rule").await;
    push(&gateway, "boiler", 90.0, 0).await;
    let made = create(&gateway, hot(80.0)).await;
    assert_eq!(made["version"], 1);
    assert_eq!(made["in_force"], true);
    let said = events.find("the new rule", |e| e.kind == "rule").await;
    assert_eq!(said.data, made);
    // No pause between the answer and the reading: what was answered is in force.
    push(&gateway, "boiler", 91.0, 1).await;
    let fired = alert(&gateway, "hot", "firing").await;
    eventually("the webhook hears of it", || async {
        let heard = webhook.accepted();
        (heard.first()?["rule"] == "hot").then_some(())
    })
    .await;

    let gateway = gateway.kill().await.start().await;
    let again = gateway.get(&path(&made)).await;
    assert_eq!(again, made);
    assert_eq!(alert(&gateway, "hot", "firing").await["id"], fired["id"]);
    push(&gateway, "oven", 95.0, 2).await;
    eventually("another one fires", || async {
        (webhook.accepted().len() == 2).then_some(())
    })
    .await;

    // Other words leave what fires as it is; another limit ends it.
    let mut events = Events::open(&gateway, "types=rule").await;
    let mut worded = hot(80.0);
    worded["summary"] = json!("Open the window");
    let change = json!({"rule": worded, "by": "Bob"});
    let (status, tag, changed) =
        ask(&gateway, Method::PUT, &path(&made), Some("\"1\""), change).await;
    assert_eq!((status, tag.as_deref()), (200, Some("\"2\"")), "{changed}");
    assert_eq!(changed["changed_by"], "Bob");
    alert(&gateway, "hot", "firing").await;
    let said = events.find("the change", |e| e.kind == "rule").await;
    assert_eq!(said.data, changed);
    let disable = format!("{}/disable", path(&made));
    let by = json!({"by": "Bob"});
    let (status, _, off) = ask(&gateway, Method::POST, &disable, None, by).await;
    assert_eq!(
        (status, &off["enabled"], &off["in_force"]),
        (200, &json!(false), &json!(false))
    );
    alert(&gateway, "hot", "resolved").await;
    let gateway = gateway.kill().await.start().await;
    push(&gateway, "boiler", 99.0, 3).await;
    push(&gateway, "boiler", 1.0, 4).await;
    alert(&gateway, "cold", "firing").await;
    let all = gateway.get("/api/v1/alerts").await;
    let firing: Vec<_> = all["alerts"]
        .as_array()
        .unwrap()
        .iter()
        .map(|a| &a["rule"])
        .collect();
    assert_eq!(firing, ["cold"], "what is disabled does not fire");

    let mut events = Events::open(&gateway, "types=rule").await;
    let gone = format!("{}?by=Cy", path(&made));
    let (status, ..) = ask(&gateway, Method::DELETE, &gone, Some("\"3\""), Value::Null).await;
    assert_eq!(status, 204);
    let said = events.find("its end", |e| e.kind == "rule").await;
    assert_eq!(said.data, json!({"id": made["id"], "deleted": true}));
    let gateway = gateway.kill().await.start().await;
    assert_eq!(listed(&gateway).await, [one("cold", "file", true)]);
    let trail = gateway.get("/api/v1/audit").await;
    let did: Vec<String> = trail["audit"]
        .as_array()
        .unwrap()
        .iter()
        .map(|e| {
            format!(
                "{} {}",
                e["by"].as_str().unwrap(),
                e["action"].as_str().unwrap()
            )
        })
        .collect();
    let expected = [
        "Cy rule_deleted",
        "Bob rule_changed",
        "Bob rule_changed",
        "Ada rule_created",
    ];
    assert_eq!(did, expected);
    gateway.account("push", |row| row["accepted"] == 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_who_change_a_rule_the_second_is_shown_both() {
    let webhook = WebhookSink::start().await;
    let gateway = Gateway::start(&config(&webhook)).await;
    let made = create(&gateway, hot(80.0)).await;
    let place = path(&made);
    let change = |above: f64| json!({"rule": hot(above), "by": "Bob"});
    let (status, ..) = ask(&gateway, Method::PUT, &place, None, change(81.0)).await;
    assert_eq!(status, 428);
    let (status, _, first) = ask(&gateway, Method::PUT, &place, Some("\"1\""), change(81.0)).await;
    assert_eq!(status, 200, "{first}");
    let second = ask(&gateway, Method::PUT, &place, Some("\"1\""), change(82.0)).await;
    let (status, _, both) = second;
    assert_eq!(status, 412, "{both}");
    assert_eq!(both["current"], first);
    assert_eq!(both["yours"]["rule"]["above"], 82.0);
    let gone = format!("{place}?by=Cy");
    let (status, ..) = ask(&gateway, Method::DELETE, &gone, Some("\"1\""), Value::Null).await;
    assert_eq!(status, 412);
    assert_eq!(gateway.get(&place).await, first, "nothing was changed");
    let (status, ..) = ask(&gateway, Method::DELETE, &gone, None, Value::Null).await;
    assert_eq!(status, 204);
    let (status, ..) = ask(&gateway, Method::PUT, &place, Some("*"), change(83.0)).await;
    assert_eq!(status, 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_is_said_for_each_key_and_a_rule_of_the_file_is_only_copied() {
    let webhook = WebhookSink::start().await;
    let gateway = Gateway::start(&config(&webhook)).await;
    let bad = json!({"name": "x", "series": "temperature", "abov": 5, "for": "soon"});
    let (status, said) = refused(&gateway, bad).await;
    assert_eq!(status, 422, "{said}");
    let about = |key: Value| {
        let errors = said["errors"].as_array().unwrap();
        let found = errors.iter().find(|e| e["key"] == key);
        let found = found.unwrap_or_else(|| panic!("nothing about {key}: {said:#}"));
        found["detail"].as_str().unwrap().to_owned()
    };
    assert!(about(json!("series")).contains("device/metric"));
    assert!(about(json!("abov")).contains("did you mean `above`"));
    assert!(about(json!("for")).contains("a duration such as"));
    assert!(about(Value::Null).contains("needs a condition, one of"));
    let mut other = hot(80.0);
    other["webhooks"] = json!(["opz"]);
    let (status, said) = refused(&gateway, other).await;
    assert_eq!(
        (status, &said["errors"][0]["key"]),
        (422, &json!("webhooks"))
    );
    assert!(
        said["detail"].as_str().unwrap().contains("did you mean"),
        "{said}"
    );

    // A name belongs to one rule.
    let (status, said) = refused(
        &gateway,
        json!({"name": "cold", "series": "a/b", "above": 1}),
    )
    .await;
    assert_eq!((status, &said["errors"][0]["key"]), (409, &json!("name")));
    assert!(
        said["detail"].as_str().unwrap().contains("gateway.toml:2"),
        "{said}"
    );
    create(&gateway, hot(80.0)).await;
    let (status, said) = refused(&gateway, hot(81.0)).await;
    assert_eq!(status, 409);
    assert!(said["detail"].as_str().unwrap().contains("Ada"), "{said}");

    // The file's rule says where it stands, and is not changed here.
    let file = gateway.get("/api/v1/rules/file:cold").await;
    assert_eq!((&file["line"], &file["version"]), (&json!(2), &Value::Null));
    assert!(file["file"].as_str().unwrap().ends_with("gateway.toml"));
    assert_eq!(
        file["rule"],
        json!({"name": "cold", "series": "*/temperature", "below": 2})
    );
    let put = json!({"rule": hot(1.0), "by": "Ada"});
    for (method, path, body) in [
        (Method::PUT, "/api/v1/rules/file:cold", put),
        (
            Method::DELETE,
            "/api/v1/rules/file:cold?by=Ada",
            Value::Null,
        ),
        (
            Method::POST,
            "/api/v1/rules/file:cold/disable",
            json!({"by": "Ada"}),
        ),
    ] {
        let (status, _, said) = ask(&gateway, method, path, Some("*"), body).await;
        assert_eq!(status, 405, "{path}: {said}");
        assert!(
            said["detail"].as_str().unwrap().contains("gateway.toml:2"),
            "{said}"
        );
    }
    let copy = |body: Value| {
        ask(
            &gateway,
            Method::POST,
            "/api/v1/rules/file:cold/duplicate",
            None,
            body,
        )
    };
    let (status, tag, first) = copy(json!({"by": "Ada"})).await;
    assert_eq!((status, tag.as_deref()), (201, Some("\"1\"")), "{first}");
    assert_eq!(
        (&first["name"], &first["enabled"]),
        (&json!("cold copy"), &json!(false))
    );
    assert_eq!(first["rule"]["below"], 2);
    let (_, _, second) = copy(json!({"by": "Ada"})).await;
    assert_eq!(second["name"], "cold copy 2");
    let (_, _, third) = copy(json!({"by": "Ada", "name": "frost", "enabled": true})).await;
    assert_eq!(
        (&third["name"], &third["in_force"]),
        (&json!("frost"), &json!(true))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rule_of_a_person_says_how_its_alerts_live_and_what_it_depends_on_as_one_of_the_file_does()
 {
    let webhook = WebhookSink::start().await;
    let gateway = Gateway::start(&config(&webhook)).await;
    let base = json!({"name": "base", "series": "*/humidity", "above": 90});
    let base = create(&gateway, base).await;
    let living = |on: &str| {
        json!({
            "name": "living", "series": "*/temperature", "above": 30, "keep_firing_for": "1h", "depends_on": [on],
            "flapping": {"fires": 3, "within": "10m"},
            "during": [{"days": ["mon-sun"], "from": "00:00", "to": "24:00", "zone": "Europe/Berlin"}],
        })
    };
    let (status, said) = refused(&gateway, living("bass")).await;
    assert_eq!(status, 422, "{said}");
    assert_eq!(said["errors"][0]["key"], "depends_on");
    let detail = said["errors"][0]["detail"].as_str().unwrap();
    assert!(detail.contains("did you mean `base`"), "{detail}");
    let made = create(&gateway, living("base")).await;
    assert_eq!(made["problem"], Value::Null);
    push_all(&gateway, "boiler", &[(0, 40.0), (1, 20.0)]).await;
    let fired = alert(&gateway, "living", "firing").await;
    assert_eq!(fired["change"], "cleared", "it is kept: {fired}");

    let gone = format!("{}?by=Ada", path(&base));
    let (status, ..) = ask(&gateway, Method::DELETE, &gone, None, Value::Null).await;
    assert_eq!(status, 204);
    let (_, _, left) = ask(&gateway, Method::GET, &path(&made), None, Value::Null).await;
    let problem = left["problem"].as_str().unwrap();
    assert!(problem.contains("no rule named \"base\""), "{problem}");
    assert_eq!(left["in_force"], true);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_takes_a_name_sets_the_persons_rule_aside_at_a_reload_as_at_a_start() {
    let webhook = WebhookSink::start().await;
    let plain = config(&webhook);
    let clash =
        format!("{plain}[[rule]]\nname = \"hot\"\nseries = \"*/temperature\"\nabove = 50\n");
    let mut gateway = Gateway::start(&plain).await;
    let made = create(&gateway, hot(80.0)).await;
    push(&gateway, "boiler", 90.0, 0).await;
    let first = alert(&gateway, "hot", "firing").await;
    let mut events = Events::open(&gateway, "types=rule").await;

    assert_eq!(gateway.reload(&clash).await, "applied");
    let said = events
        .find("it stands aside", |e| {
            e.kind == "rule" && e.data["id"] == made["id"]
        })
        .await;
    assert_eq!(
        (&said.data["in_force"], &said.data["enabled"]),
        (&json!(false), &json!(true))
    );
    assert!(
        said.data["problem"]
            .as_str()
            .unwrap()
            .contains("gateway.toml:9"),
        "{}",
        said.data
    );
    let expected = [
        one("cold", "file", true),
        one("hot", "file", true),
        one("hot", "person", false),
    ];
    assert_eq!(listed(&gateway).await, expected);
    assert_eq!(gateway.metric("gateway_rules_set_aside").await, 1.0);
    // The file's rule asks something else: what fired is over, and it judges the next reading.
    eventually("the alert of before is over", || async {
        let all = gateway.get("/api/v1/alerts?state=all").await;
        let all = all["alerts"].as_array()?;
        let old = all.iter().find(|a| a["id"] == first["id"])?;
        (old["state"] == "resolved").then_some(())
    })
    .await;
    let gateway = gateway.kill().await.start().await;
    assert_eq!(
        listed(&gateway).await,
        expected,
        "a start comes to the same end"
    );

    // Under another name it is in force again.
    let mut renamed = hot(80.0);
    renamed["name"] = json!("very hot");
    let change = json!({"rule": renamed, "by": "Ada"});
    let (status, _, said) = ask(&gateway, Method::PUT, &path(&made), Some("\"1\""), change).await;
    assert_eq!((status, &said["in_force"]), (200, &json!(true)), "{said}");
    push(&gateway, "boiler", 95.0, 1).await;
    alert(&gateway, "very hot", "firing").await;
    alert(&gateway, "hot", "firing").await;

    // A webhook that goes takes no rule with it.
    let mut gateway = gateway;
    assert_eq!(
        gateway
            .reload("[[rule]]\nname = \"cold\"\nseries = \"*/x\"\nbelow = 2\n")
            .await,
        "applied"
    );
    let lonely = gateway.get(&path(&made)).await;
    assert_eq!(lonely["in_force"], true);
    assert!(
        lonely["problem"]
            .as_str()
            .unwrap()
            .contains("no webhook named"),
        "{lonely}"
    );
    gateway.account("push", |row| row["accepted"] == 1).await;
}

/// The same readings, judged as they came and looked back at.
#[tokio::test(flavor = "multi_thread")]
async fn a_dry_run_says_when_the_rule_fired_live() {
    let rules = [
        json!({"name": "above", "series": "*/temperature", "above": 30, "clear": 25}),
        json!({"name": "below", "series": "b*/temperature", "below": 5}),
        json!({"name": "held", "series": "*/temperature", "above": 30, "clear": 28, "for": "3m"}),
        json!({"name": "jump", "series": "*/temperature", "change_above": 20, "over": "5m"}),
        json!({"name": "compared", "series": "*/temperature", "above_metric": "setpoint", "by": 8, "clear_by": 2}),
        json!({"name": "with another", "series": "a/temperature", "below_series": "b/temperature", "by": 5, "max_age": "10m"}),
        json!({"name": "expression", "series": "*/temperature", "when": "value > series('c/temperature') + 3 and mean('6m') < 30 and metric('setpoint') > 12"}),
        json!({"name": "dependent", "series": "*/temperature", "above": 30, "clear": 28, "depends_on": ["off"]}),
        json!({"name": "off", "series": "*/setpoint", "below": 14}),
    ];
    let gateway = Gateway::start("").await;
    // Those that others depend on come before them.
    for rule in rules.iter().rev() {
        create(&gateway, rule.clone()).await;
    }
    // One reading a minute for two hours: a wave, with jumps.
    let wave = |n: i64, phase: i64| {
        let turn =
            f64::from(i32::try_from((n + phase) % 40).unwrap()) / 40.0 * std::f64::consts::TAU;
        (turn.sin() * 20.0 + 18.0 + if n % 17 == 0 { 9.0 } else { 0.0 }).round()
    };
    // Setpoints come between, each half a minute before, and by turns 22 and 12.
    let devices = [("a", 0), ("b", 13), ("c", 29)];
    let mut readings = Vec::new();
    for n in 0..120 {
        for (at, (device, phase)) in (0..).zip(devices) {
            let time = LATER + n * 60_000 + at * 1_000;
            if (n + phase) % 15 == 0 {
                let value = if (n + phase) % 30 == 0 { 22 } else { 12 };
                readings.push(json!({"device": device, "metric": "setpoint", "value": value, "time": time - 30_000}));
            }
            readings.push(json!({"device": device, "metric": "temperature", "value": wave(n, phase), "time": time}));
        }
    }
    readings.sort_by_key(|reading| reading["time"].as_i64());
    let pushed = readings.len() as u64;
    // In blocks, in the order in which they were measured: each is judged as it comes.
    for block in readings.chunks(40) {
        let (status, _, said) = ask(
            &gateway,
            Method::POST,
            "/api/v1/readings",
            None,
            json!(block),
        )
        .await;
        assert_eq!(status, 200, "{said}");
    }
    push_all(&gateway, "end", &[(7_200, 0.0)]).await;
    gateway.value("end/temperature", |v| v == 0.0).await;
    let mut fired = 0;
    for rule in &rules {
        let asked =
            json!({"rule": rule, "from": LATER.to_string(), "to": (LATER + 7_200_000).to_string()});
        let (status, _, dry) =
            ask(&gateway, Method::POST, "/api/v1/rules/dry-run", None, asked).await;
        assert_eq!(status, 200, "{dry}");
        let mut rehearsed = Vec::new();
        for series in dry["series"].as_array().unwrap() {
            for one in series["intervals"].as_array().unwrap() {
                if !one["fired_ms"].is_null() {
                    let name = series["series"].as_str().unwrap().to_owned();
                    let times = ["began_ms", "fired_ms", "resolved_ms"].map(|key| one[key].clone());
                    let [began, fired, resolved] = times;
                    rehearsed.push((name, began, fired, resolved));
                }
            }
        }
        rehearsed.sort_by_key(|(series, began, ..)| (series.clone(), began.as_i64()));
        let live = eventually("all of it is written down", || async {
            let all = gateway.get("/api/v1/alerts?state=all&limit=1000").await;
            let mut live: Vec<(String, Value, Value, Value)> = all["alerts"]
                .as_array()?
                .iter()
                .filter(|a| a["rule"] == rule["name"] && !a["fired_ms"].is_null())
                .map(|a| {
                    let series = a["series"].as_str().unwrap().to_owned();
                    (
                        series,
                        a["began_ms"].clone(),
                        a["fired_ms"].clone(),
                        a["resolved_ms"].clone(),
                    )
                })
                .collect();
            live.sort_by_key(|(series, began, ..)| (series.clone(), began.as_i64()));
            let engine = gateway.get("/api/v1/status").await["engine"]["firing"].as_u64()?;
            let firing = all["alerts"]
                .as_array()?
                .iter()
                .filter(|a| a["state"] == "firing");
            // Alerts that began and ended may be on their way to the file.
            let is_all = firing.count() as u64 == engine && live.len() >= rehearsed.len();
            is_all.then_some(live)
        })
        .await;
        assert_eq!(rehearsed, live, "{rule}");
        assert_eq!(dry["fired"].as_u64().unwrap() as usize, live.len());
        assert!(
            !live.is_empty(),
            "the readings ask something of each rule: {rule}"
        );
        fired += live.len();
    }
    assert!(fired > 40, "and much of them all: {fired}");
    let of = |name: &str| {
        rules
            .iter()
            .find(|rule| rule["name"] == name)
            .unwrap()
            .clone()
    };
    let mut alone = of("dependent");
    alone["depends_on"] = json!([]);
    let mut odd = of("dependent");
    odd["depends_on"] = json!(["off", "gone", "dependent"]);
    let mut answers = Vec::new();
    for rule in [of("dependent"), alone, odd] {
        let asked =
            json!({"rule": rule, "from": LATER.to_string(), "to": (LATER + 7_200_000).to_string()});
        let (status, _, dry) =
            ask(&gateway, Method::POST, "/api/v1/rules/dry-run", None, asked).await;
        assert_eq!(status, 200, "{dry}");
        answers.push(dry);
    }
    assert!(
        answers[0]["fired"].as_u64() < answers[1]["fired"].as_u64(),
        "what it depends on holds some back"
    );
    assert_eq!(answers[0]["fired"], answers[2]["fired"]);
    let notes = answers[2]["notes"].to_string();
    assert!(
        notes.contains("without the rule \\\"gone\\\"") && notes.contains("there is no rule named"),
        "{notes}"
    );
    assert!(notes.contains("depend on each other"), "{notes}");

    // A rule that is not yet one changes nothing, and says what it was judged on.
    let silent = json!({"name": "silent", "series": "end/*", "no_data_for": "10m"});
    let asked =
        json!({"rule": silent, "from": LATER.to_string(), "to": (LATER + 9_000_000).to_string()});
    let (status, _, dry) = ask(&gateway, Method::POST, "/api/v1/rules/dry-run", None, asked).await;
    assert_eq!(status, 200, "{dry}");
    assert_eq!(
        dry["series"][0]["intervals"][0]["fired_ms"],
        LATER + 7_800_000
    );
    assert!(dry["notes"].to_string().contains("measured"), "{dry}");
    assert_eq!(listed(&gateway).await.len(), rules.len());
    let bad = json!({"rule": {"name": "x", "series": "end/*"}});
    let (status, _, said) = ask(&gateway, Method::POST, "/api/v1/rules/dry-run", None, bad).await;
    assert_eq!(
        (status, &said["errors"][0]["key"]),
        (422, &Value::Null),
        "{said}"
    );
    gateway
        .account("push", |row| row["accepted"] == pushed + 1)
        .await;
}
