use serde_json::json;
use tests::{
    Events, Gateway, Mosquitto, WebhookSink, eventually, free_port, sinks::Refusal,
    workspace_binary,
};

const LATER: i64 = 1_763_640_000_000;

async fn push(gateway: &Gateway, value: f64, at_ms: i64) {
    let body =
        json!({ "device": "boiler", "metric": "temperature", "value": value, "time": at_ms });
    let (status, answer) = gateway
        .post("/api/v1/readings", "application/json", body.to_string())
        .await;
    assert_eq!(status, 200, "{answer}");
}

fn config(webhook: &WebhookSink) -> String {
    format!(
        "[[rule]]\nname = \"hot\"\nseries = \"*/temperature\"\nabove = 80\nclear = 70\n[[webhook]]\nname = \"ops\"\nurl = \"{}\"\n",
        webhook.url()
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn after_kill_nine_points_windows_and_alerts_are_there_and_no_alert_is_repeated() {
    let webhook = WebhookSink::start().await;
    let gateway = Gateway::start(&config(&webhook)).await;
    for i in 0..10 {
        push(&gateway, 90.0 + f64::from(i), LATER + i64::from(i) * 1_000).await;
    }
    eventually("the webhook hears of it", || async {
        (webhook.accepted().len() == 1).then_some(())
    })
    .await;
    let before = gateway
        .get("/api/v1/series/boiler/temperature/windows")
        .await;
    let alerts = gateway.get("/api/v1/alerts").await;

    let gateway = gateway.kill().await.start().await;
    assert_eq!(
        gateway
            .get("/api/v1/series/boiler/temperature/windows")
            .await,
        before
    );
    assert_eq!(gateway.get("/api/v1/alerts").await, alerts);
    let points = gateway
        .get(&format!(
            "/api/v1/series/boiler/temperature/points?from={LATER}&to={}",
            LATER + 60_000
        ))
        .await;
    assert_eq!(points["v"].as_array().unwrap().len(), 10);

    // It ends once, and the beginning was not told again.
    push(&gateway, 60.0, LATER + 20_000).await;
    eventually("the end is told", || async {
        (webhook.accepted().len() == 2).then_some(())
    })
    .await;
    let told: Vec<_> = webhook
        .accepted()
        .iter()
        .map(|b| b["event"].clone())
        .collect();
    assert_eq!(told, ["firing", "resolved"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_delivery_that_waits_survives_a_restart() {
    let webhook = WebhookSink::start().await;
    webhook.refuse((0..1).map(|_| Refusal::status(503)));
    let gateway = Gateway::start(&config(&webhook)).await;
    push(&gateway, 90.0, LATER).await;
    eventually("it was tried", || async {
        (webhook.tries() >= 1).then_some(())
    })
    .await;
    webhook.refuse([Refusal::status(503)]);
    let gateway = gateway.kill().await.start().await;
    eventually("it arrives", || async {
        (!webhook.accepted().is_empty()).then_some(())
    })
    .await;
    assert_eq!(webhook.accepted().len(), 1);
    assert!(webhook.headers()[0].contains_key("webhook-id"));
    let status = gateway.get("/api/v1/status").await;
    assert_eq!(status["webhooks"][0]["name"], "ops");
}

#[tokio::test(flavor = "multi_thread")]
async fn sigterm_stops_in_order_ends_the_streams_and_loses_nothing() {
    let gateway = Gateway::start("").await;
    let mut events = Events::open(&gateway, "").await;
    assert_eq!(events.next().await.unwrap().kind, "snapshot");
    push(&gateway, 21.0, LATER).await;
    events.find("the reading", |e| e.kind == "readings").await;
    gateway.signal(rustix::process::Signal::TERM);
    events.find("the goodbye", |e| e.kind == "bye").await;
    assert_eq!(events.next().await, None, "the stream ends");
    let (status, stopped) = gateway.stop_waiting().await;
    assert!(status.success());
    let gateway = stopped.start().await;
    gateway.value("boiler/temperature", |v| v == 21.0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_killed_gateway_acknowledged_to_the_broker_is_there_and_the_rest_comes_again() {
    let Some(broker) = Mosquitto::start().await else {
        return;
    };
    let gateway = Gateway::start(&format!(
        "[[source]]\nname = \"plant\"\ntype = \"mqtt\"\nurl = \"mqtt://127.0.0.1:{}\"\n[[source.mapping]]\ntopic = \"n/{{device}}\"\ntime = \"t\"\nfields = [{{ path = \"v\" }}]\n",
        broker.port
    ))
    .await;
    gateway.source_is("plant", "up").await;
    let port = broker.port;
    let publishing = tokio::spawn(async move {
        let lines: String = (0..2_000)
            .map(|i| format!("{{\"t\": {}, \"v\": {i}}}\n", LATER + i))
            .collect();
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), lines).unwrap();
        let input = std::fs::File::open(file.path()).unwrap();
        let status = tokio::process::Command::new("mosquitto_pub")
            .args([
                "-h",
                "127.0.0.1",
                "-p",
                &port.to_string(),
                "-q",
                "1",
                "-t",
                "n/d",
                "-l",
            ])
            .stdin(input)
            .status()
            .await
            .unwrap();
        assert!(status.success());
    });
    gateway
        .value("d/v", |v| v.as_f64().is_some_and(|v| v >= 50.0))
        .await;
    let mut gateway = gateway.kill().await.start().await;
    gateway
        .value("d/v", |v| v.as_f64().is_some_and(|v| v >= 700.0))
        .await;
    gateway = gateway.kill().await.start().await;
    publishing.await.unwrap();
    gateway.value("d/v", |v| v == 1_999.0).await;
    let path = format!(
        "/api/v1/series/d/v/points?from={LATER}&to={}&points=5000",
        LATER + 10_000
    );
    let gateway = &gateway;
    let values = eventually("all are there", || {
        let path = path.clone();
        async move {
            let points = gateway.get(&path).await;
            let mut values: Vec<i64> = points["v"]
                .as_array()?
                .iter()
                .filter_map(|v| v.as_f64())
                .map(|v| v as i64)
                .collect();
            values.sort_unstable();
            values.dedup();
            (values.len() == 2_000).then_some(values)
        }
    })
    .await;
    assert_eq!(values, (0..2_000).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread")]
async fn with_damaged_state_and_history_files_it_starts_says_so_and_has_all_again_from_the_journal()
{
    let webhook = WebhookSink::start().await;
    let gateway = Gateway::start(&config(&webhook)).await;
    push(&gateway, 90.0, LATER).await;
    eventually("the webhook hears of it", || async {
        (webhook.accepted().len() == 1).then_some(())
    })
    .await;
    let (_, stopped) = gateway.stop().await;
    let data = stopped.dir.path().join("data");
    for name in ["state.sqlite", "history.sqlite"] {
        // SQLite would mend the file from its log.
        drop(std::fs::remove_file(data.join(format!("{name}-wal"))));
        std::fs::write(
            data.join(name),
            "this is no database, and long enough to show it",
        )
        .unwrap();
    }
    let gateway = stopped.start().await;
    for name in ["state.sqlite.damaged", "history.sqlite.damaged"] {
        assert!(data.join(name).exists(), "{name}");
    }
    assert_eq!(gateway.log().matches("\"level\":\"ERROR\"").count(), 2);
    let alerts = gateway.get("/api/v1/alerts").await;
    assert_eq!(alerts["alerts"][0]["state"], "firing", "{alerts}");
    // Told again, under the same id.
    eventually("the webhook hears of it again", || async {
        (webhook.accepted().len() == 2).then_some(())
    })
    .await;
    let ids: Vec<_> = webhook.accepted().iter().map(|b| b["id"].clone()).collect();
    assert_eq!(ids[0], ids[1]);
}

#[tokio::test(flavor = "multi_thread")]
async fn after_the_journal_was_deleted_rules_run_and_survive_the_next_crash() {
    let webhook = WebhookSink::start().await;
    let gateway = Gateway::start(&config(&webhook)).await;
    for i in 0..50 {
        push(&gateway, 20.0, LATER + i * 1_000).await;
    }
    let (_, stopped) = gateway.stop().await;
    std::fs::remove_dir_all(stopped.dir.path().join("data/journal")).unwrap();
    let gateway = stopped.start().await;
    push(&gateway, 21.0, LATER + 100_000).await;
    let newest = gateway.get("/api/v1/status").await["journal"]["newest"].clone();
    assert!(
        newest.as_u64() > Some(50),
        "numbers are not given again: {newest}"
    );
    push(&gateway, 90.0, LATER + 101_000).await;
    let gateway = gateway.kill().await.start().await;
    eventually("the webhook hears of it", || async {
        (webhook.accepted().len() == 1).then_some(())
    })
    .await;
    let path = format!(
        "/api/v1/series/boiler/temperature/points?from={LATER}&to={}",
        LATER + 200_000
    );
    let points = gateway.get(&path).await;
    assert_eq!(points["v"].as_array().unwrap().len(), 52, "{points}");
}

#[tokio::test(flavor = "multi_thread")]
async fn sigterm_with_a_webhook_and_an_archive_that_hang_ends_in_time_and_well() {
    // Accepts, and never answers.
    let hanging = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = hanging.local_addr().unwrap();
    let holding = tokio::spawn(async move {
        let mut held = Vec::new();
        while let Ok((connection, _)) = hanging.accept().await {
            held.push(connection);
        }
    });
    let gateway = Gateway::start(&format!(
        "[[rule]]\nname = \"hot\"\nseries = \"*/temperature\"\nabove = 80\nclear = 70\n[[webhook]]\nname = \"ops\"\nurl = \"http://{address}/\"\n\
         [influxdb]\nurl = \"http://{address}\"\nbucket = \"b\"\n"
    ))
    .await;
    let mut events = Events::open(&gateway, "").await;
    for i in 0..20 {
        push(&gateway, 90.0, LATER + i * 1_000).await;
    }
    // The lag is told while the archive hangs.
    let status = gateway.get("/api/v1/status").await;
    assert_eq!(
        status["archive"]["lag_records"],
        status["journal"]["newest"]
    );
    let (status, stopped) = gateway.stop().await;
    assert!(status.success());
    while events.next().await.is_some() {}
    holding.abort();
    let webhook = WebhookSink::start().await;
    let gateway = stopped.start_with(&config(&webhook)).await;
    eventually("the webhook hears of it", || async {
        (webhook.accepted().len() == 1).then_some(())
    })
    .await;
    gateway.value("boiler/temperature", |v| v == 90.0).await;
}

/// `sensor-sim` repeats what was not acknowledged and keeps the ledger; the gateway is killed three times meanwhile.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_acknowledged_by_listener_and_push_is_there_once_after_three_kills() {
    let (mqtt, http) = (free_port(), free_port());
    let config = format!(
        "[[source]]\nname = \"l\"\ntype = \"mqtt_listener\"\nlisten = \"127.0.0.1:{mqtt}\"\n[[source.mapping]]\ntopic = \"sim/{{device}}\"\ntime = \"time\"\n"
    );
    let dir = std::sync::Arc::new(tempfile::tempdir().unwrap());
    let mut gateway = Gateway::start_at(dir, &config, http).await;
    let scenario = dir_file(&gateway, "scenario.toml");
    let ledger = dir_file(&gateway, "ledger.jsonl");
    let device = |id: &str, transport: &str| {
        format!(
            "[[device]]\nid = \"{id}\"\n{transport}\nformat = \"json\"\ntime = \"epoch_ms\"\nsequence = true\ninterval = \"5ms\"\n\
             signal = [{{ metric = \"v\", shape = \"counter\", amplitude = 1 }}]\n"
        )
    };
    let by_mqtt = format!("mqtt = {{ port = {mqtt}, topic = \"sim/{{device}}\", qos = 1 }}");
    let by_http = format!("http = {{ url = \"http://127.0.0.1:{http}/api/v1/readings\" }}");
    let text = format!(
        "seed = 3\nduration = \"6s\"\n{}{}",
        device("m", &by_mqtt),
        device("h", &by_http)
    );
    std::fs::write(&scenario, text).unwrap();
    let simulator = workspace_binary("sensor-sim");
    let mut running = tokio::process::Command::new(&simulator)
        .arg("run")
        .arg(&scenario)
        .arg("--ledger")
        .arg(&ledger)
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    for kill in 1..=3 {
        gateway
            .value("m/seq", |v| {
                v.as_f64().is_some_and(|v| v >= f64::from(kill * 200))
            })
            .await;
        gateway = gateway.kill().await.start_at(http).await;
    }
    assert!(running.wait().await.unwrap().success());
    for series in ["m/seq", "h/seq"] {
        gateway.value(series, |v| v.as_f64() > Some(1_000.0)).await;
    }
    let verified = tokio::process::Command::new(&simulator)
        .arg("verify")
        .arg(&ledger)
        .arg("--gateway")
        .arg(gateway.url(""))
        .output()
        .await
        .unwrap();
    let said = String::from_utf8_lossy(&verified.stdout).into_owned();
    assert!(verified.status.success(), "{said}");
    println!("{said}");
}

fn dir_file(gateway: &Gateway, name: &str) -> std::path::PathBuf {
    gateway.dir.path().join(name)
}
