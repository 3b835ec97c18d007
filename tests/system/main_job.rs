use serde_json::json;
use tests::{Events, Gateway, Line, Mosquitto, Victoria, WebhookSink, eventually, peers};

#[tokio::test(flavor = "multi_thread")]
async fn readings_from_every_source_reach_browser_webhook_and_archive() {
    let (Some(broker), Some(victoria)) = (Mosquitto::start().await, Victoria::start().await) else {
        return;
    };
    let webhook = WebhookSink::start().await;
    let lines = tempfile::tempdir().unwrap();
    let link = lines.path().join("sensor");
    let mut line = Line::plug_in(&link);
    let gateway = Gateway::start(&format!(
        r#"
        site = "lab"
        [influxdb]
        url = "{}"
        bucket = "b"
        linger = "0s"
        [[metric]]
        name = "temperature"
        unit = "Cel"
        [[source]]
        name = "bench"
        type = "serial"
        device = "{}"
        [[source.mapping]]
        format = "key_value"
        device = "bench"
        [[source]]
        name = "plant"
        type = "mqtt"
        url = "mqtt://127.0.0.1:{}"
        [[source.mapping]]
        topic = "plant/{{device}}/state"
        fields = [{{ path = "t", metric = "temperature", unit_path = "unit" }}]
        time = "at"
        [[source]]
        name = "listener"
        type = "mqtt_listener"
        listen = "127.0.0.1:0"
        [[source.mapping]]
        topic = "direct/{{device}}/{{metric}}"
        format = "number"
        metric = "{{metric}}"
        [[rule]]
        name = "too hot"
        series = "*/temperature"
        above = 80
        clear = 75
        severity = "critical"
        [[webhook]]
        name = "ops"
        url = "{}"
        "#,
        victoria.url(),
        link.display(),
        broker.port,
        webhook.url(),
    ))
    .await;
    let mut events = Events::open(&gateway, "").await;
    assert_eq!(events.next().await.unwrap().kind, "snapshot");

    // A serial line, a broker's message (in Fahrenheit, with its own time), a direct one, and both ways of HTTP push.
    eventually("the serial port is open", || async {
        let status = gateway.get("/api/v1/status").await;
        let sources = status["sources"].as_array()?.clone();
        sources
            .iter()
            .filter(|s| s["state"] == "up")
            .count()
            .ge(&4)
            .then_some(())
    })
    .await;
    line.send("temperature=21.5 humidity=40\n");
    broker
        .publish(&[
            "-q",
            "1",
            "-t",
            "plant/boiler/state",
            "-m",
            r#"{"t": 212.0, "unit": "F", "at": 1763640000123}"#,
        ])
        .await;
    peers::publish(
        gateway.listeners[0].port(),
        &["-q", "1", "-t", "direct/tank/level", "-m", "0.75"],
    )
    .await;
    let body = json!([{ "device": "door", "metric": "open", "value": true, "time": "2025-11-20T12:00:00Z" }]);
    let (status, answer) = gateway
        .post("/api/v1/readings", "application/json", body.to_string())
        .await;
    assert_eq!(status, 200, "{answer}");
    let (status, answer) = gateway
        .post(
            "/api/v2/write?precision=s",
            "text/plain",
            "weather,device=mast wind=3.5 1763640000\n",
        )
        .await;
    assert_eq!(status, 204, "{answer}");

    gateway.value("bench/temperature", |v| v == 21.5).await;
    gateway.value("bench/humidity", |v| v == 40.0).await;
    let boiler = gateway
        .value("boiler/temperature", |v| {
            v.as_f64().is_some_and(|v| (v - 100.0).abs() < 1e-9)
        })
        .await;
    assert_eq!(
        (boiler["unit"].as_str(), boiler["t"].as_i64()),
        (Some("Cel"), Some(1_763_640_000_123))
    );
    gateway.value("tank/level", |v| v == 0.75).await;
    gateway.value("door/open", |v| v == true).await;
    gateway.value("mast/wind", |v| v == 3.5).await;

    // The browser saw it, and the alert.
    let alert = events
        .find("the alert fires", |e| {
            e.kind == "alert" && e.data["state"] == "firing"
        })
        .await;
    assert_eq!(
        (alert.data["rule"].as_str(), alert.data["series"].as_str()),
        (Some("too hot"), Some("boiler/temperature"))
    );
    let delivered = eventually("the webhook hears of it", || async {
        webhook.accepted().first().cloned()
    })
    .await;
    assert_eq!(delivered["event"], "firing");
    assert_eq!(delivered["labels"]["site"], "lab");
    assert_eq!(delivered["alert_id"], alert.data["id"]);

    // It is over: once more everywhere.
    broker
        .publish(&[
            "-q",
            "1",
            "-t",
            "plant/boiler/state",
            "-m",
            r#"{"t": 20.0, "unit": "C", "at": 1763640060000}"#,
        ])
        .await;
    events
        .find("the alert is over", |e| {
            e.kind == "alert" && e.data["state"] == "resolved"
        })
        .await;
    eventually("the webhook hears of the end", || async {
        webhook
            .accepted()
            .iter()
            .any(|b| b["event"] == "resolved")
            .then_some(())
    })
    .await;
    assert_eq!(webhook.accepted().len(), 2, "each change once");

    // The archive has it at the time of measurement.
    let points = eventually("the archive has the boiler", || async {
        let points = victoria.points("boiler", "temperature").await;
        (points.len() == 2).then_some(points)
    })
    .await;
    assert_eq!(points[0].0, 1_763_640_000_123);
    assert!((points[0].1 - 100.0).abs() < 1e-9);
    assert_eq!(points[1], (1_763_640_060_000, 20.0));
    eventually("the archive has the rest", || async {
        (!victoria.points("mast", "wind").await.is_empty()
            && !victoria.points("tank", "level").await.is_empty())
        .then_some(())
    })
    .await;

    gateway.account("plant", |row| row["accepted"] == 2).await;
    gateway.account("bench", |row| row["accepted"] == 2).await;
    gateway.account("push", |row| row["accepted"] == 2).await;
    let (status, _) = gateway.stop().await;
    assert!(status.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_brokers_retained_message_is_a_last_known_value_and_no_new_reading() {
    let Some(broker) = Mosquitto::start().await else {
        return;
    };
    broker
        .publish(&[
            "-r",
            "-q",
            "1",
            "-t",
            "plant/old/state",
            "-m",
            r#"{"temperature": 99}"#,
        ])
        .await;
    let gateway = Gateway::start(&format!(
        "[[source]]\nname = \"plant\"\ntype = \"mqtt\"\nurl = \"mqtt://127.0.0.1:{}\"\n[[source.mapping]]\ntopic = \"plant/{{device}}/state\"\n\
         [[rule]]\nname = \"hot\"\nseries = \"*/temperature\"\nabove = 80\n",
        broker.port
    ))
    .await;
    let series = gateway.value("old/temperature", |v| v == 99).await;
    assert_eq!(series["retained"], true);
    broker
        .publish(&[
            "-q",
            "1",
            "-t",
            "plant/new/state",
            "-m",
            r#"{"temperature": 20}"#,
        ])
        .await;
    gateway.value("new/temperature", |v| v == 20).await;
    let row = gateway.account("plant", |row| row["accepted"] == 1).await;
    assert_eq!(
        (row["received"].as_u64(), row["retained"].as_u64()),
        (Some(1), Some(1))
    );
    assert_eq!(gateway.get("/api/v1/alerts").await["alerts"], json!([]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_that_vanishes_from_the_listener_is_known_as_such() {
    if tests::installed("mosquitto_pub").is_none() {
        return;
    }
    let gateway = Gateway::start(
        "[[source]]\nname = \"l\"\ntype = \"mqtt_listener\"\nlisten = \"127.0.0.1:0\"\n[[source.mapping]]\ntopic = \"s/{device}\"\nformat = \"number\"\nmetric = \"t\"\n",
    )
    .await;
    let port = gateway.listeners[0].port().to_string();
    let mut device = tokio::process::Command::new("mosquitto_pub")
        .args([
            "-h",
            "127.0.0.1",
            "-p",
            &port,
            "-i",
            "probe-7",
            "-q",
            "1",
            "-t",
            "s/probe",
            "-l",
        ])
        .stdin(std::process::Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    tokio::io::AsyncWriteExt::write_all(device.stdin.as_mut().unwrap(), b"4.2\n")
        .await
        .unwrap();
    gateway.value("probe/t", |v| v == 4.2).await;
    device.kill().await.unwrap();
    eventually("the device is known to be gone", || async {
        let devices = gateway.get("/api/v1/devices").await;
        let probe = devices["devices"]
            .as_array()?
            .iter()
            .find(|d| d["id"] == "probe")?
            .clone();
        (probe["online"] == false).then_some(())
    })
    .await;
}
