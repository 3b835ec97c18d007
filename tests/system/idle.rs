use std::time::Duration;

use serde_json::json;
use tests::{Events, Gateway, Mosquitto, eventually, free_port};
use tokio::time::{Instant, sleep};

/// Bytes that the process has made the file system write, without its log and its sockets.
fn written(gateway: &Gateway) -> u64 {
    let io = std::fs::read_to_string(format!("/proc/{}/io", gateway.pid())).unwrap();
    let line = io
        .lines()
        .find_map(|line| line.strip_prefix("write_bytes: "));
    line.unwrap().parse().unwrap()
}

/// An SD card wears out by what is written when nothing happens.
#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_with_connected_sources_and_no_data_writes_nothing_to_disk() {
    let Some(broker) = Mosquitto::start().await else {
        return;
    };
    let mapping = "[[source.mapping]]\ntopic = \"n/{device}\"\nfields = [{ path = \"v\" }]\n";
    let gateway = Gateway::start(&format!(
        "[history]\nflush_every = \"1s\"\n\
         [[rule]]\nname = \"hot\"\nseries = \"*/temperature\"\nabove = 80\nclear = 70\n\
         [[source]]\nname = \"plant\"\ntype = \"mqtt\"\nurl = \"mqtt://127.0.0.1:{}\"\n{mapping}\
         [[source]]\nname = \"listener\"\ntype = \"mqtt_listener\"\nlisten = \"127.0.0.1:{}\"\n{mapping}",
        broker.port,
        free_port()
    ))
    .await;
    gateway.source_is("plant", "up").await;
    // A page is open, and hears its beats.
    let mut events = Events::open(&gateway, "").await;
    let before = written(&gateway);
    let body = json!({ "device": "boiler", "metric": "temperature", "value": 90 });
    let (status, _) = gateway
        .post("/api/v1/readings", "application/json", body.to_string())
        .await;
    assert_eq!(status, 200);
    if written(&gateway) == before {
        println!("skipped: the temporary folder is in memory, where no write is counted");
        return;
    }
    eventually("the history has it", || async {
        let status = gateway.get("/api/v1/status").await;
        let lag = status["journal"]["cursors"]
            .as_array()?
            .iter()
            .map(|c| c[1].as_u64());
        lag.clone().all(|lag| lag == Some(0)).then_some(())
    })
    .await;
    // What was evaluated is noted within ten seconds of the last reading; then there is nothing more to note.
    let (mut last, mut since) = (written(&gateway), Instant::now());
    let begin = Instant::now();
    while since.elapsed() < Duration::from_secs(60) {
        let event = events.next().await.expect("the page stays open");
        assert_ne!(event.kind, "bye");
        let now = written(&gateway);
        if now != last {
            (last, since) = (now, Instant::now());
        }
        assert!(
            begin.elapsed() < Duration::from_secs(180),
            "it still writes: {now} bytes so far"
        );
        sleep(Duration::from_millis(200)).await;
    }
    assert!(
        since.duration_since(begin) < Duration::from_secs(30),
        "it went on writing for {:?}",
        since.duration_since(begin)
    );
    gateway.account("push", |a| a["accepted"] == 1).await;
}

/// Syncs of the journal while 200 messages come at QoS 1, 10 ms apart.
async fn syncs_of_a_stream(gateway: &Gateway, name: &str) -> u64 {
    let syncs = async || {
        let status = gateway.get("/api/v1/status").await;
        let syncs = status["disk"]["by_part"]["journal"]["syncs"].as_u64();
        syncs.expect("a count")
    };
    let before = syncs().await;
    let port = gateway.listeners[0].port();
    let options = rumqttc::MqttOptions::new(name, "127.0.0.1", port);
    let (client, mut polled) = rumqttc::AsyncClient::new(options, 300);
    let polling = tokio::spawn(async move { while polled.poll().await.is_ok() {} });
    let accepted = gateway.account_sum("accepted").await;
    for i in 0..200 {
        client
            .publish("n/d", rumqttc::QoS::AtLeastOnce, false, i.to_string())
            .await
            .unwrap();
        sleep(Duration::from_millis(10)).await;
    }
    gateway
        .account("plant", |row| {
            row["accepted"].as_u64() == Some(accepted + 200)
        })
        .await;
    polling.abort();
    syncs().await - before
}

#[tokio::test(flavor = "multi_thread")]
async fn acknowledged_readings_gather_longer_while_nobody_looks() {
    let gateway = Gateway::start(
        "[[source]]\nname = \"plant\"\ntype = \"mqtt_listener\"\nlisten = \"127.0.0.1:0\"\n\
         [[source.mapping]]\ntopic = \"n/{device}\"\nformat = \"number\"\nmetric = \"v\"\n",
    )
    .await;
    let unseen = syncs_of_a_stream(&gateway, "a").await;
    let mut events = Events::open(&gateway, "").await;
    let looking = tokio::spawn(async move { while events.next().await.is_some() {} });
    let seen = syncs_of_a_stream(&gateway, "b").await;
    looking.abort();
    assert!(unseen <= 20, "of 200 readings: {unseen}");
    assert!(seen > 2 * unseen, "{unseen} unseen, {seen} seen");
    eventually("the page is gone", || async {
        (gateway.metric("gateway_live_clients").await == 0.0).then_some(())
    })
    .await;
    let again = syncs_of_a_stream(&gateway, "c").await;
    assert!(seen > 2 * again, "{again} unseen again, {seen} seen");
}
