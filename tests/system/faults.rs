use serde_json::json;
use tests::{Events, Gateway, Line, Mosquitto};

#[tokio::test(flavor = "multi_thread")]
async fn garbage_is_counted_shown_and_costs_no_neighbour() {
    let gateway = Gateway::start("[[metric]]\nname = \"t\"\nmin = 0\nmax = 50\n").await;
    let body = json!([
        { "device": "a", "metric": "t", "value": 20 },
        { "device": "a", "metric": "t", "value": 99 },
        { "device": "a", "metric": "t" },
        { "metric": "t", "value": 1 },
        { "device": "a", "metric": "t", "value": 21 },
    ]);
    let (status, answer) = gateway
        .post("/api/v1/readings", "application/json", body.to_string())
        .await;
    let answer: serde_json::Value = serde_json::from_str(&answer).unwrap();
    assert_eq!(
        (status, &answer["accepted"], &answer["rejected"]),
        (200, &json!(2), &json!(3))
    );
    assert_eq!(
        gateway
            .post("/api/v1/readings", "application/json", "{not json")
            .await
            .0,
        422
    );
    let (status, answer) = gateway
        .post(
            "/api/v2/write",
            "text/plain",
            "ok,device=a v=1 1763640000000000000\nbroken\nok,device=a v=nan\n",
        )
        .await;
    assert_eq!(status, 422, "{answer}");
    gateway.value("a/v", |v| v == 1.0).await;

    gateway
        .account("push", |row| {
            row["accepted"] == 3 && row["rejected"]["out_of_range"] == 1
        })
        .await;
    let rejects = gateway.get("/api/v1/rejects").await;
    let reasons: Vec<_> = rejects["rejects"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|r| r["reason"].as_str())
        .collect();
    assert!(
        reasons.contains(&"malformed") && reasons.contains(&"out_of_range"),
        "{reasons:?}"
    );
    let metrics = reqwest::get(gateway.url("/metrics"))
        .await
        .unwrap()
        .text()
        .await
        .unwrap();
    assert!(
        metrics.contains("gateway_rejected_total{source=\"push\",reason=\"out_of_range\"} 1"),
        "{metrics}"
    );
    assert!(
        metrics.contains("gateway_readings_accepted_total{source=\"push\"} 3"),
        "{metrics}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_that_is_pulled_and_comes_back_as_another_tty_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let link = dir.path().join("by-id-sensor");
    let mut line = Line::plug_in(&link);
    let gateway = Gateway::start(&format!(
        "[[source]]\nname = \"bench\"\ntype = \"serial\"\ndevice = \"{}\"\nmax_line_bytes = 64\n[[source.mapping]]\nformat = \"key_value\"\n",
        link.display()
    ))
    .await;
    gateway.source_is("bench", "up").await;
    line.send("t=1\n");
    gateway.value("bench/t", |v| v == 1.0).await;
    line.send(b"\xff\xfe\x00garbage without end ");
    line.send([b'x'; 500]);
    line.send("\nt=2\n");
    gateway.value("bench/t", |v| v == 2.0).await;
    line.send("t=3");
    line.unplug();
    gateway.source_is("bench", "down").await;
    line.plug_in_again();
    gateway.source_is("bench", "up").await;
    line.send("t=4\n");
    gateway.value("bench/t", |v| v == 4.0).await;
    let losses = gateway.log().matches("\"level\":\"WARN\"").count();
    assert!(
        losses <= 3,
        "an outage is reported once:\n{}",
        gateway.log()
    );
    gateway.account("bench", |row| row["accepted"] == 3).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_restarts_costs_nothing() {
    let Some(mut broker) = Mosquitto::start().await else {
        return;
    };
    let gateway = Gateway::start(&format!(
        "[[source]]\nname = \"plant\"\ntype = \"mqtt\"\nurl = \"mqtt://127.0.0.1:{}\"\n[[source.mapping]]\ntopic = \"n/{{device}}\"\nformat = \"number\"\nmetric = \"v\"\n",
        broker.port
    ))
    .await;
    gateway.source_is("plant", "up").await;
    broker.publish(&["-q", "1", "-t", "n/d", "-m", "1"]).await;
    gateway.value("d/v", |v| v == 1.0).await;
    broker.stop().await;
    broker.start_again().await;
    broker.publish(&["-q", "1", "-t", "n/d", "-m", "2"]).await;
    gateway.value("d/v", |v| v == 2.0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn browsers_that_stop_reading_slow_nobody_down() {
    let gateway = Gateway::start("").await;
    let mut stalled = Vec::new();
    for _ in 0..20 {
        let mut events = Events::open(&gateway, "").await;
        assert_eq!(events.next().await.unwrap().kind, "snapshot");
        stalled.push(events);
    }
    for i in 0..50 {
        let lines: String = (0..500)
            .map(|j| format!("m,device=d{j} v={i} {}\n", 1_763_640_000_000_i64 + i))
            .collect();
        assert_eq!(
            gateway
                .post("/api/v2/write?precision=ms", "text/plain", lines)
                .await
                .0,
            204
        );
    }
    gateway.value("d499/v", |v| v == 49.0).await;
    let mut late = Events::open(&gateway, "series=d7/v").await;
    let newest = |event: &tests::events::Event| match event.kind.as_str() {
        "snapshot" => event.data["series"][0]["v"] == 49.0,
        "readings" => event.data["series"]["d7/v"]["v"]
            .as_array()
            .is_some_and(|v| v.iter().any(|v| v == 49.0)),
        _ => false,
    };
    late.find("the newest value", newest).await;
}
