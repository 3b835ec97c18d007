use std::{
    io::Write as _,
    process::{Command, Stdio},
};

use serde_json::{Value, json};
use tests::{
    Alertmanager, Gateway, MailServer, Mosquitto, WebhookSink, eventually, installed,
    receivers::MAIL_LOGIN, sinks::Refusal, within, workspace_binary,
};

const LATER: i64 = 1_763_640_000_000;
const RULE: &str = "[[rule]]\nname = \"hot\"\nseries = \"*/temperature\"\nabove = 80\nclear = 70\nsummary = \"Open the <vents>\"\n";

async fn push(gateway: &Gateway, value: f64, at_ms: i64) {
    let body =
        json!({ "device": "boiler", "metric": "temperature", "value": value, "time": at_ms });
    let (status, answer) = gateway
        .post("/api/v1/readings", "application/json", body.to_string())
        .await;
    assert_eq!(status, 200, "{answer}");
}

async fn fires(gateway: &Gateway) {
    push(gateway, 91.5, LATER).await;
}

async fn is_over(gateway: &Gateway) {
    push(gateway, 60.0, LATER + 1_000).await;
}

/// The readings that were pushed are all accounted for.
async fn balances(gateway: &Gateway, readings: u64) {
    gateway
        .account("push", |line| {
            line["accepted"] == readings && line["difference"] == 0
        })
        .await;
}

async fn told(sink: &WebhookSink, deliveries: usize) -> Vec<Value> {
    eventually("the webhook hears of it", || async {
        (sink.accepted().len() >= deliveries).then(|| sink.accepted())
    })
    .await
}

async fn test_of(gateway: &Gateway, name: &str) -> Value {
    let path = format!("/api/v1/webhooks/{name}/test");
    let (status, answer) = gateway.post(&path, "application/json", String::new()).await;
    assert_eq!(status, 200, "{answer}");
    serde_json::from_str(&answer).unwrap()
}

/// What an independent implementation says of a signature.
fn python_verifies(key: &str, id: &str, timestamp: &str, body: &[u8], signature: &str) -> bool {
    const VERIFY: &str = "import base64, hashlib, hmac, sys\n\
        key, id, timestamp, signature = sys.argv[1:5]\n\
        body = sys.stdin.buffer.read()\n\
        signed = id.encode() + b'.' + timestamp.encode() + b'.' + body\n\
        key = base64.b64decode(key.removeprefix('whsec_'))\n\
        wanted = 'v1,' + base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()\n\
        sys.exit(0 if wanted in signature.split(' ') else 1)";
    let mut python = Command::new("python3")
        .args(["-c", VERIFY, key, id, timestamp, signature])
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    python.stdin.take().unwrap().write_all(body).unwrap();
    python.wait().unwrap().success()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signed_webhook_verifies_with_each_of_two_keys_by_an_independent_implementation() {
    if installed("python3").is_none() {
        return;
    }
    let keys = [
        "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
        "whsec_c2VjcmV0LXRoYXQtaXMtbG9uZy1lbm91Z2gtZm9yLXRoaXM=",
    ];
    let dir = std::sync::Arc::new(tempfile::TempDir::new().unwrap());
    std::fs::write(dir.path().join("keys"), keys.join("\n")).unwrap();
    let sink = WebhookSink::start().await;
    let config = format!(
        "[http]\npublic_url = \"https://sensors.example\"\n{RULE}[[webhook]]\nname = \"ops\"\nurl = \"{}\"\nsigning_keys_file = \"keys\"\n",
        sink.url()
    );
    let gateway = Gateway::start_in(dir, &config).await;
    fires(&gateway).await;
    let bodies = told(&sink, 1).await;
    assert_eq!(
        bodies[0]["links"]["page"],
        "https://sensors.example/#alerts"
    );
    let headers = &sink.headers()[0];
    let text = |name: &str| headers[name].to_str().unwrap();
    let (_, body) = &sink.raw()[0];
    assert_eq!(text("webhook-id"), bodies[0]["id"]);
    for key in keys {
        let verified = python_verifies(
            key,
            text("webhook-id"),
            text("webhook-timestamp"),
            body,
            text("webhook-signature"),
        );
        assert!(verified, "{key}");
    }
    // What the message links to is this gateway's, and does what it says.
    let link = bodies[0]["links"]["acknowledge"].as_str().unwrap();
    let path = link.strip_prefix("https://sensors.example").unwrap();
    let (status, answer) = gateway
        .post(path, "application/x-www-form-urlencoded", String::new())
        .await;
    assert_eq!(status, 200, "{answer}");
    let alerts = gateway.get("/api/v1/alerts").await;
    assert!(alerts["alerts"][0]["acknowledged"].is_object(), "{alerts}");
    let mut changed = body.to_vec();
    changed.push(b' ');
    let forged = python_verifies(
        keys[0],
        text("webhook-id"),
        text("webhook-timestamp"),
        &changed,
        text("webhook-signature"),
    );
    assert!(!forged);
    balances(&gateway, 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn each_kind_of_chat_and_pager_gets_a_body_that_its_api_takes() {
    let kinds = [
        (
            "template",
            "url = \"URL/in/{{ device }}?s={{ severity }}\"\nbody = '{\"say\": {{ title }}}'\nheaders = { x-rule = \"{{ rule }}\" }",
        ),
        ("amhook", "kind = \"alertmanager_webhook\"\nurl = \"URL\""),
        (
            "slack",
            "kind = \"slack\"\nurl = \"URL/services/T0/B0/SECRETPATH\"",
        ),
        (
            "teams",
            "kind = \"teams\"\nurl = \"URL/workflows/SECRETPATH\"",
        ),
        (
            "discord",
            "kind = \"discord\"\nurl = \"URL/api/webhooks/1/SECRETPATH\"",
        ),
        (
            "ntfy",
            "kind = \"ntfy\"\nurl = \"URL\"\ntopic = \"greenhouse\"",
        ),
        (
            "pagerduty",
            "kind = \"pagerduty\"\nurl = \"URL/v2/enqueue\"\nrouting_key_file = \"key\"",
        ),
        (
            "opsgenie",
            "kind = \"opsgenie\"\nurl = \"URL\"\napi_key_file = \"key\"",
        ),
    ];
    let dir = std::sync::Arc::new(tempfile::TempDir::new().unwrap());
    std::fs::write(dir.path().join("key"), "SECRETKEY\n").unwrap();
    let mut config = String::from(RULE);
    let mut sinks = Vec::new();
    for (name, keys) in kinds {
        let sink = WebhookSink::start().await;
        let keys = keys.replace("URL", &format!("http://{}", sink.address));
        config.push_str(&format!("[[webhook]]\nname = \"{name}\"\n{keys}\n"));
        sinks.push((name, sink));
    }
    let gateway = Gateway::start_in(dir, &config).await;
    fires(&gateway).await;
    is_over(&gateway).await;
    for (name, sink) in &sinks {
        let bodies = told(sink, 2).await;
        let paths: Vec<String> = sink.raw().into_iter().map(|(path, _)| path).collect();
        let (fired, over) = (&bodies[0], &bodies[1]);
        match *name {
            "template" => {
                assert_eq!(paths[0], "/in/boiler?s=warning");
                assert_eq!(fired["say"], "FIRING: hot on boiler/temperature");
                assert_eq!(sink.headers()[0]["x-rule"], "hot");
            }
            "amhook" => {
                assert_eq!(
                    (&fired["version"], &fired["status"]),
                    (&json!("4"), &json!("firing"))
                );
                assert_eq!(over["status"], "resolved");
                assert_eq!(fired["groupKey"], over["groupKey"]);
                assert_eq!(
                    fired["alerts"][0]["fingerprint"],
                    over["alerts"][0]["fingerprint"]
                );
            }
            "slack" => {
                assert_eq!(fired["text"], "*FIRING: hot on boiler/temperature*");
                let text = fired["attachments"][0]["text"].as_str().unwrap();
                assert!(text.contains("Open the &lt;vents&gt;"), "{text}");
            }
            "teams" => {
                let card = &fired["attachments"][0]["content"];
                assert_eq!(card["type"], "AdaptiveCard");
                assert_eq!(card["body"][0]["text"], "FIRING: hot on boiler/temperature");
            }
            "discord" => {
                assert_eq!(
                    fired["embeds"][0]["title"],
                    "FIRING: hot on boiler/temperature"
                );
                assert_eq!(fired["allowed_mentions"], json!({"parse": []}));
            }
            "ntfy" => {
                assert_eq!(paths[0], "/");
                assert_eq!(
                    (&fired["topic"], &fired["priority"]),
                    (&json!("greenhouse"), &json!(4))
                );
                assert_eq!(over["tags"], json!(["white_check_mark"]));
            }
            "pagerduty" => {
                assert_eq!(fired["event_action"], "trigger");
                assert_eq!(over["event_action"], "resolve");
                assert_eq!(fired["dedup_key"], over["dedup_key"]);
                assert_eq!(fired["routing_key"], "SECRETKEY");
            }
            _ => {
                let alias = fired["alias"].as_str().unwrap();
                assert_eq!(paths[0], "/v2/alerts");
                assert_eq!(
                    paths[1],
                    format!("/v2/alerts/{alias}/close?identifierType=alias")
                );
                assert_eq!(sink.headers()[0]["authorization"], "GenieKey SECRETKEY");
            }
        }
    }
    let shown = gateway.get("/api/v1/webhooks").await;
    for (name, _) in &sinks {
        let webhooks = shown["webhooks"].as_array().unwrap();
        let one = webhooks.iter().find(|w| w["name"] == *name).unwrap();
        assert_eq!(one["status"]["delivered"], 2, "{one}");
        assert!(one["url"].as_str().unwrap().ends_with("/…"), "{one}");
    }
    for text in [
        shown.to_string(),
        gateway.get("/api/v1/status").await.to_string(),
        gateway.log(),
    ] {
        assert!(!text.contains("SECRET"), "{text}");
    }
    balances(&gateway, 2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn discord_is_left_alone_for_as_long_as_the_body_of_its_429_says() {
    let sink = WebhookSink::start().await;
    sink.refuse([Refusal {
        status: 429,
        retry_after: None,
        body: r#"{"message": "You are being rate limited.", "retry_after": 3.5, "global": false}"#,
    }]);
    let config = format!(
        "{RULE}[[webhook]]\nname = \"ops\"\nkind = \"discord\"\nurl = \"{}\"\n",
        sink.url()
    );
    let gateway = Gateway::start(&config).await;
    let began = tokio::time::Instant::now();
    fires(&gateway).await;
    told(&sink, 1).await;
    assert!(
        began.elapsed().as_secs_f64() >= 3.0,
        "{:?}",
        began.elapsed()
    );
    assert_eq!(sink.tries(), 2);
    balances(&gateway, 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_real_alertmanager_knows_what_fires_over_restarts_of_both_until_it_is_over() {
    let Some(mut alertmanager) = Alertmanager::start().await else {
        return;
    };
    let config = format!(
        "{RULE}labels = {{ team = \"growing\" }}\n[[webhook]]\nname = \"am\"\nkind = \"alertmanager\"\nurl = \"{}\"\nresend_every = \"5s\"\n",
        alertmanager.url()
    );
    let gateway = Gateway::start(&config).await;
    fires(&gateway).await;
    let known = async |alertmanager: &Alertmanager| {
        eventually("Alertmanager knows the alert", || async {
            alertmanager
                .alerts()
                .await
                .filter(|alerts| alerts.len() == 1)
        })
        .await
    };
    let alerts = known(&alertmanager).await;
    assert_eq!(
        alerts[0]["labels"],
        json!({"alertname": "hot", "device": "boiler", "metric": "temperature", "severity": "warning", "team": "growing"})
    );
    assert_eq!(alerts[0]["status"]["state"], "active");
    assert_eq!(alerts[0]["annotations"]["summary"], "Open the <vents>");

    // It forgets everything when it ends; a gateway that was killed remembers what it had told.
    alertmanager.restart().await;
    known(&alertmanager).await;
    let gateway = gateway.kill().await.start().await;
    alertmanager.restart().await;
    known(&alertmanager).await;

    // Other labels of the rule are no other alert.
    let changed = config.replace("growing", "cooking");
    let mut gateway = gateway;
    gateway.reload(&changed).await;
    is_over(&gateway).await;
    eventually("Alertmanager knows that it is over", || async {
        alertmanager.alerts().await.filter(Vec::is_empty)
    })
    .await;
    // And no reminder brings it back: another alert is told again meanwhile.
    let body =
        json!({ "device": "oven", "metric": "temperature", "value": 99.0, "time": LATER + 2_000 });
    gateway
        .post("/api/v1/readings", "application/json", body.to_string())
        .await;
    let told_at = known(&alertmanager).await[0]["updatedAt"].clone();
    let alerts = eventually("a reminder came", || async {
        let alerts = alertmanager.alerts().await?;
        (alerts.last()?["updatedAt"] != told_at).then_some(alerts)
    })
    .await;
    let devices: Vec<_> = alerts.iter().map(|a| &a["labels"]["device"]).collect();
    assert_eq!(devices, ["oven"]);
    balances(&gateway, 2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn mails_go_over_starttls_with_a_login_are_tried_again_and_make_one_thread() {
    let Some(server) = MailServer::start(&["451 not now"]).await else {
        return;
    };
    let dir = std::sync::Arc::new(tempfile::TempDir::new().unwrap());
    std::fs::write(dir.path().join("password"), MAIL_LOGIN.1).unwrap();
    let config = format!(
        "{RULE}[[webhook]]\nname = \"mail\"\nkind = \"email\"\nhost = \"localhost\"\nport = {}\nca_file = \"{}\"\n\
         username = \"{}\"\npassword_file = \"password\"\nfrom = \"Gateway <gateway@sensors.example>\"\nto = [\"a@b.example\", \"c@d.example\"]\n",
        server.port,
        server.ca_file().display(),
        MAIL_LOGIN.0,
    );
    let gateway = Gateway::start_in(dir, &config).await;
    fires(&gateway).await;
    is_over(&gateway).await;
    let mails = eventually("two mails came", || async {
        Some(server.mails()).filter(|mails| mails.len() == 2)
    })
    .await;
    let header = |mail: &str, name: &str| {
        mail.lines()
            .find_map(|line| {
                line.strip_prefix(&format!("{name}: "))
                    .map(ToOwned::to_owned)
            })
            .unwrap_or_else(|| panic!("{name} is not in\n{mail}"))
    };
    assert_eq!(
        header(&mails[0], "Subject"),
        "FIRING: hot on boiler/temperature"
    );
    assert_eq!(
        header(&mails[1], "Subject"),
        "RESOLVED: hot on boiler/temperature"
    );
    assert!(header(&mails[0], "Message-ID").ends_with(".firing.mail@sensors.example>"));
    assert_ne!(
        header(&mails[0], "Message-ID"),
        header(&mails[1], "Message-ID")
    );
    assert_eq!(
        header(&mails[0], "References"),
        header(&mails[1], "References")
    );
    assert!(mails[0].contains("text/plain") && mails[0].contains("text/html"));
    assert!(mails[0].contains("Open the &lt;vents&gt;"), "{}", mails[0]);
    let answer = test_of(&gateway, "mail").await;
    assert_eq!(
        (&answer["delivered"], &answer["status"]),
        (&json!(true), &json!("250")),
        "{answer}"
    );
    assert!(!gateway.log().contains(MAIL_LOGIN.1));
    balances(&gateway, 2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_real_broker_gets_alerts_on_their_topics_with_both_versions_of_mqtt() {
    let Some(mosquitto) = Mosquitto::start().await else {
        return;
    };
    let webhook = |name: &str, more: &str| {
        format!(
            "[[webhook]]\nname = \"{name}\"\nkind = \"mqtt\"\nurl = \"mqtt://127.0.0.1:{}\"\ntopic = \"{name}/{{{{ device }}}}/{{{{ rule }}}}\"\n{more}\n",
            mosquitto.port
        )
    };
    let config = format!(
        "{RULE}{}{}",
        webhook("old", "retain = true"),
        webhook(
            "new",
            "version = \"5\"\nretain = true\nbody = '{\"say\": {{ title }}}'"
        ),
    );
    let gateway = Gateway::start(&config).await;
    fires(&gateway).await;
    eventually("both are told", || async {
        let shown = gateway.get("/api/v1/webhooks").await;
        let webhooks = shown["webhooks"].as_array().unwrap();
        webhooks
            .iter()
            .all(|webhook| webhook["status"]["delivered"] == 1)
            .then_some(())
    })
    .await;
    let port = mosquitto.port.to_string();
    let retained = within("the retained messages come", async {
        tokio::process::Command::new("mosquitto_sub")
            .args([
                "-h",
                "127.0.0.1",
                "-p",
                &port,
                "-t",
                "#",
                "-C",
                "2",
                "-W",
                "30",
                "-F",
                "%t %p",
            ])
            .output()
            .await
            .unwrap()
    })
    .await;
    let text = String::from_utf8(retained.stdout).unwrap();
    let payload = |topic: &str| -> Value {
        let line = text.lines().find_map(|line| line.strip_prefix(topic));
        serde_json::from_str(line.unwrap_or_else(|| panic!("{topic} is not in\n{text}"))).unwrap()
    };
    assert_eq!(payload("old/boiler/hot ")["event"], "firing");
    assert_eq!(
        payload("new/boiler/hot ")["say"],
        "FIRING: hot on boiler/temperature"
    );
    let answer = test_of(&gateway, "old").await;
    assert_eq!(
        (&answer["delivered"], &answer["status"]),
        (&json!(true), &json!("PUBACK"))
    );
    balances(&gateway, 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_delivery_waits_for_a_broker_that_is_away() {
    let Some(mut mosquitto) = Mosquitto::start().await else {
        return;
    };
    mosquitto.stop().await;
    let config = format!(
        "{RULE}[[webhook]]\nname = \"bus\"\nkind = \"mqtt\"\nurl = \"mqtt://127.0.0.1:{}\"\ntopic = \"alerts\"\n",
        mosquitto.port
    );
    let gateway = Gateway::start(&config).await;
    fires(&gateway).await;
    let stands = async |wanted: &str, value: u64| {
        eventually("it stands so", || async {
            let shown = gateway.get("/api/v1/webhooks").await;
            let status = shown["webhooks"][0]["status"].clone();
            (status[wanted] == value && (wanted != "waiting" || status["last_error"].is_string()))
                .then_some(status)
        })
        .await
    };
    stands("waiting", 1).await;
    mosquitto.start_again().await;
    stands("delivered", 1).await;
    balances(&gateway, 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_test_shows_the_real_answer_and_goes_round_the_outbox() {
    let sink = WebhookSink::start().await;
    let config = format!(
        "[[webhook]]\nname = \"ops\"\nurl = \"{}\"\n[[webhook]]\nname = \"chat\"\nkind = \"slack\"\nurl = \"http://{}/services/SECRETPATH\"\n",
        sink.url(),
        sink.address
    );
    let gateway = Gateway::start(&config).await;
    let answer = test_of(&gateway, "ops").await;
    assert_eq!(
        (&answer["delivered"], &answer["status"]),
        (&json!(true), &json!("204 No Content"))
    );
    let body = &sink.accepted()[0];
    assert_eq!(
        (&body["test"], &body["rule"]),
        (&json!(true), &json!("test"))
    );
    assert_eq!(body["labels"]["test"], "true");

    sink.refuse([Refusal {
        status: 403,
        retry_after: None,
        body: "invalid_token at /services/SECRETPATH",
    }]);
    let answer = test_of(&gateway, "chat").await;
    assert_eq!(
        (&answer["delivered"], &answer["status"]),
        (&json!(false), &json!("403 Forbidden"))
    );
    assert_eq!(answer["body"], "invalid_token at …");
    assert!(
        answer["error"].as_str().unwrap().contains("invalid_token"),
        "{answer}"
    );

    let (status, _) = gateway
        .post(
            "/api/v1/webhooks/nobody/test",
            "application/json",
            String::new(),
        )
        .await;
    assert_eq!(status, 404);
    let shown = gateway.get("/api/v1/webhooks").await;
    assert_eq!(shown["webhooks"][0]["status"]["delivered"], 0);
    assert_eq!(shown["webhooks"][0]["kind"], "webhook");

    // The same from the command line.
    let file = gateway.dir.path().join("gateway.toml");
    let run = |name: &str| {
        let output = Command::new(workspace_binary("gateway"))
            .args(["webhook", "test", name, "--config"])
            .arg(&file)
            .output()
            .unwrap();
        let said = [output.stdout, output.stderr].concat();
        (output.status.code(), String::from_utf8(said).unwrap())
    };
    let (code, said) = run("chat");
    assert_eq!(code, Some(0), "{said}");
    assert!(
        said.contains("chat (slack, http://") && said.contains("204 No Content after"),
        "{said}"
    );
    let chat = sink.accepted().pop().unwrap();
    assert_eq!(chat["text"], "*[TEST] FIRING: test on gateway/test*");
    sink.refuse([Refusal::status(500)]);
    let (code, said) = run("ops");
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("500 Internal Server Error"), "{said}");
    let (code, said) = run("nobody");
    assert_eq!(code, Some(2), "{said}");
    assert!(
        said.contains("it has ops, chat") && !said.contains("SECRET"),
        "{said}"
    );
}

/// What a service took, in order and each once: a kill may repeat the one that was under way, under the same id.
fn once(sink: &WebhookSink) -> Vec<(String, Value)> {
    let mut seen = Vec::new();
    let mut taken = Vec::new();
    for ((headers, body), (path, _)) in
        std::iter::zip(sink.headers(), sink.accepted()).zip(sink.raw())
    {
        let id = headers["webhook-id"].clone();
        if !seen.contains(&id) {
            seen.push(id);
            taken.push((path, body));
        }
    }
    taken
}

#[tokio::test(flavor = "multi_thread")]
async fn an_acknowledgement_reaches_those_who_page_people_once_and_in_order_over_a_kill_and_nobody_else()
 {
    let (pager, genie, plain) = (
        WebhookSink::start().await,
        WebhookSink::start().await,
        WebhookSink::start().await,
    );
    let dir = std::sync::Arc::new(tempfile::TempDir::new().unwrap());
    std::fs::write(dir.path().join("key"), "SECRETKEY\n").unwrap();
    let config = format!(
        "{RULE}[[webhook]]\nname = \"pd\"\nkind = \"pagerduty\"\nurl = \"http://{}/v2/enqueue\"\nrouting_key_file = \"key\"\n\
         [[webhook]]\nname = \"og\"\nkind = \"opsgenie\"\nurl = \"http://{}\"\napi_key_file = \"key\"\n\
         [[webhook]]\nname = \"ops\"\nurl = \"{}\"\n",
        pager.address,
        genie.address,
        plain.url()
    );
    // Both services are away when it happens.
    pager.choke_on("");
    genie.choke_on("");
    let gateway = Gateway::start_in(dir, &config).await;
    fires(&gateway).await;
    told(&plain, 1).await;
    let alerts = gateway.get("/api/v1/alerts").await;
    let id = alerts["alerts"][0]["id"].as_str().unwrap().to_owned();
    let given = json!({"by": "Ada", "comment": "opens the vents"}).to_string();
    let path = format!("/api/v1/alerts/{id}/acknowledge");
    let (status, answer) = gateway.post(&path, "application/json", given.clone()).await;
    assert_eq!(status, 200, "{answer}");
    let gateway = gateway.kill().await.start().await;
    pager.relent();
    genie.relent();
    eventually("both know who takes care of it", || async {
        (once(&pager).len() >= 2 && once(&genie).len() >= 2).then_some(())
    })
    .await;
    let gateway = gateway.kill().await.start().await;
    let (status, answer) = gateway.post(&path, "application/json", given).await;
    assert_eq!(status, 200, "the same is the same: {answer}");
    is_over(&gateway).await;
    eventually("all know that it is over", || async {
        (once(&pager).len() >= 3 && once(&genie).len() >= 3 && once(&plain).len() >= 2)
            .then_some(())
    })
    .await;
    let actions: Vec<Value> = once(&pager)
        .into_iter()
        .map(|(_, body)| {
            assert_eq!(body["dedup_key"], id);
            body["event_action"].clone()
        })
        .collect();
    assert_eq!(actions, ["trigger", "acknowledge", "resolve"]);
    let taken = once(&genie);
    let paths: Vec<&str> = taken.iter().map(|(path, _)| path.as_str()).collect();
    assert_eq!(
        paths,
        [
            String::from("/v2/alerts"),
            format!("/v2/alerts/{id}/acknowledge?identifierType=alias"),
            format!("/v2/alerts/{id}/close?identifierType=alias"),
        ]
    );
    assert_eq!(taken[1].1["user"], "Ada");
    let note = taken[1].1["note"].as_str().unwrap();
    assert!(note.ends_with(": opens the vents"), "{note}");
    let events: Vec<Value> = once(&plain)
        .into_iter()
        .map(|(_, body)| body["event"].clone())
        .collect();
    assert_eq!(events, ["firing", "resolved"]);
    balances(&gateway, 1).await;
}
