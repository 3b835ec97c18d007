//! Real pseudo-terminals and a real mosquitto; HTTP against a responder on a socket.

use std::{
    io::Read as _,
    path::{Path, PathBuf},
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
    time::{sleep, timeout},
};

use super::*;
use crate::{
    ledger::{self, Entry},
    peers::{Broker, until},
    transport::session::{self, Heard, Peer},
};

const DEADLINE: Duration = Duration::from_secs(20);

fn entries(path: &Path) -> Vec<Entry> {
    let mut entries = Vec::new();
    ledger::read(path, |entry| entries.push(entry)).unwrap();
    entries
}

fn counts(path: &Path) -> (usize, usize, usize) {
    let entries = entries(path);
    let count = |wanted: fn(&Entry) -> bool| entries.iter().filter(|e| wanted(e)).count();
    (
        count(|e| matches!(e, Entry::Sent(_))),
        count(|e| matches!(e, Entry::Ack { .. })),
        count(|e| matches!(e, Entry::Again { .. })),
    )
}

/// A reader on the slave side, that knows nothing of terminals: it opens the path and reads.
fn reader(link: PathBuf) -> tokio::task::JoinHandle<Vec<u8>> {
    tokio::task::spawn_blocking(move || {
        let mut bytes = Vec::new();
        let mut port = std::fs::OpenOptions::new().read(true).open(link).unwrap();
        let mut chunk = [0; 256];
        // The end of a pseudo-terminal is an error (EIO) or an empty read.
        while let Ok(count @ 1..) = port.read(&mut chunk) {
            bytes.extend_from_slice(&chunk[..count]);
        }
        bytes
    })
}

fn serial_scenario(folder: &Path, more: &str) -> Scenario {
    Scenario::parse(&format!(
        r#"
        duration = "1s"
        [[device]]
        id = "wire"
        serial.link = "{}"
        format = "csv"
        sequence = true
        rate = 50
        signal = [{{ metric = "t", shape = "sine", noise = 0.1 }}]
        {more}
        "#,
        folder.join("ports/wire").display()
    ))
    .unwrap()
}

#[tokio::test]
async fn a_pseudo_terminal_carries_the_planned_bytes_untouched() {
    let folder = tempfile::tempdir().unwrap();
    let scenario = serial_scenario(folder.path(), "");
    let link = folder.path().join("ports/wire");
    let path = folder.path().join("ledger");
    let ledger = Ledger::open(&path, 1).unwrap();
    let mut plan: Vec<String> = Plan::new(&scenario, 0, 0)
        .unwrap()
        .flat_map(|tick| tick.actions)
        .filter_map(|action| match action {
            Action::Send(m) => Some(String::from_utf8(m.payload.to_vec()).unwrap()),
            Action::Disconnect(_) => None,
        })
        .collect();
    let running = tokio::spawn(run(scenario, CancellationToken::new(), Some(ledger)));
    until("the link", async || link.exists().then_some(())).await;
    let read = reader(link.clone());
    let summary = running.await.unwrap().unwrap();
    let bytes = String::from_utf8(timeout(DEADLINE, read).await.unwrap().unwrap()).unwrap();

    let tally = summary.devices[0].tally;
    let lines: Vec<&str> = bytes.lines().collect();
    assert_eq!(tally.sent, lines.len() as u64);
    assert!(tally.sent >= 40, "{tally:?}");
    assert_eq!(tally.sent + tally.unsent, 50);
    // What was sent before the reader came is gone; the rest is there to the byte, in order.
    let heard = plan.split_off(plan.len() - lines.len());
    assert_eq!(lines, heard);
    assert!(bytes.ends_with('\n') && !bytes.contains('\r'));
    assert_eq!(counts(&path), (lines.len(), 0, 0));
    assert!(!link.is_symlink(), "the link is taken away at the end");
}

#[tokio::test]
async fn an_unplugged_port_comes_back_as_another_terminal_under_the_same_link() {
    let folder = tempfile::tempdir().unwrap();
    let scenario = serial_scenario(
        folder.path(),
        "fault = [{ kind = \"disconnect\", every = \"400ms\", for = \"200ms\", times = 1 }]",
    );
    let link = folder.path().join("ports/wire");
    let running = tokio::spawn(run(scenario, CancellationToken::new(), None));
    until("the link", async || link.exists().then_some(())).await;
    let first = timeout(DEADLINE, reader(link.clone()))
        .await
        .unwrap()
        .unwrap();
    assert!(
        !running.is_finished(),
        "the first reader ends by the unplugging"
    );
    until("the new link", async || link.exists().then_some(())).await;
    let second = timeout(DEADLINE, reader(link)).await.unwrap().unwrap();
    let summary = running.await.unwrap().unwrap();
    let lines = |bytes: &[u8]| bytes.iter().filter(|byte| **byte == b'\n').count() as u64;
    let tally = summary.devices[0].tally;
    assert!(lines(&first) > 5 && lines(&second) > 5);
    assert_eq!(lines(&first) + lines(&second), tally.sent);
    assert!(
        tally.unsent >= 8,
        "what fell into the gap is counted: {tally:?}"
    );
}

#[tokio::test]
async fn a_file_in_the_place_of_the_link_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let link = folder.path().join("ports/wire");
    std::fs::create_dir_all(link.parent().unwrap()).unwrap();
    std::fs::write(&link, "precious").unwrap();
    let scenario = serial_scenario(folder.path(), "");
    let error = run(scenario, CancellationToken::new(), None)
        .await
        .unwrap_err();
    assert!(matches!(
        error,
        RunError::Link {
            source: TransportError::Occupied(_),
            ..
        }
    ));
    assert_eq!(std::fs::read_to_string(link).unwrap(), "precious");
}

fn peer(broker: &Broker, client_id: &str) -> Peer {
    Peer {
        host: String::from("127.0.0.1"),
        port: broker.port,
        client_id: client_id.to_owned(),
        login: None,
        version: crate::scenario::Version::V3,
        in_flight: 100,
    }
}

/// Subscribes, and gathers payloads until dropped.
async fn subscribe(
    broker: &Broker,
    filter: &str,
) -> (
    Arc<std::sync::Mutex<Vec<(String, String)>>>,
    tokio_util::task::AbortOnDropHandle<()>,
) {
    let mut options = rumqttc::MqttOptions::new("listener", "127.0.0.1", broker.port);
    options.set_max_packet_size(1 << 20, 1 << 20);
    let (client, mut events) = rumqttc::AsyncClient::new(options, 10);
    client
        .subscribe(filter, rumqttc::QoS::ExactlyOnce)
        .await
        .unwrap();
    loop {
        if let rumqttc::Event::Incoming(rumqttc::Packet::SubAck(_)) = events.poll().await.unwrap() {
            break;
        }
    }
    let heard = Arc::new(std::sync::Mutex::new(Vec::new()));
    let gathered = Arc::clone(&heard);
    let task = tokio::spawn(async move {
        let _client = client;
        while let Ok(event) = events.poll().await {
            if let rumqttc::Event::Incoming(rumqttc::Packet::Publish(publish)) = event {
                gathered.lock().unwrap().push((
                    publish.topic,
                    String::from_utf8_lossy(&publish.payload).into_owned(),
                ));
            }
        }
    });
    (heard, tokio_util::task::AbortOnDropHandle::new(task))
}

fn mqtt_scenario(port: u16, more: &str) -> Scenario {
    Scenario::parse(&format!(
        r#"
        duration = "1s"
        [[device]]
        id = "one"
        mqtt = {{ port = {port}, topic = "t/{{device}}", qos = 1 }}
        format = "json"
        time = "epoch_ms"
        sequence = true
        rate = 100
        signal = [{{ metric = "x" }}]
        {more}
        [[device]]
        id = "two"
        mqtt = {{ port = {port}, topic = "t/{{device}}/{{metric}}", qos = 2, version = "5" }}
        format = "number"
        rate = 20
        signal = [{{ metric = "a", shape = "counter" }}, {{ metric = "b", shape = "counter" }}]
        "#
    ))
    .unwrap()
}

#[tokio::test]
async fn mosquitto_gets_every_reading_and_acknowledges_it_in_both_versions() {
    let Some(broker) = Broker::start().await else {
        return;
    };
    let (heard, _task) = subscribe(&broker, "t/#").await;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ledger");
    let ledger = Ledger::open(&path, 1).unwrap();
    let summary = run(
        mqtt_scenario(broker.port, ""),
        CancellationToken::new(),
        Some(ledger),
    )
    .await
    .unwrap();
    assert_eq!(summary.devices[0].tally.acknowledged, 100);
    assert_eq!(summary.devices[1].tally.acknowledged, 40);
    assert_eq!(counts(&path), (140, 140, 0));
    until("everything heard", async || {
        (heard.lock().unwrap().len() == 140).then_some(())
    })
    .await;
    let heard = heard.lock().unwrap();
    assert!(heard.contains(&(String::from("t/two/b"), String::from("19.00"))));
}

#[tokio::test]
async fn what_a_broken_connection_left_unacknowledged_is_published_again() {
    let Some(broker) = Broker::start().await else {
        return;
    };
    let (heard, _task) = subscribe(&broker, "t/one").await;
    let scenario = mqtt_scenario(
        broker.port,
        "fault = [{ kind = \"disconnect\", every = \"200ms\", for = \"50ms\" }]",
    );
    let summary = run(scenario, CancellationToken::new(), None).await.unwrap();
    let tally = summary.devices[0].tally;
    assert_eq!(
        (tally.sent, tally.acknowledged, tally.unsent),
        (100, 100, 0)
    );
    until("each reading heard", async || {
        let heard = heard.lock().unwrap();
        let distinct: std::collections::HashSet<_> = heard.iter().map(|(_, p)| p.clone()).collect();
        (distinct.len() == 100).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_broker_that_is_away_is_waited_for_and_gets_everything() {
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = free.local_addr().unwrap().port();
    drop(free);
    let running = tokio::spawn(run(mqtt_scenario(port, ""), CancellationToken::new(), None));
    sleep(Duration::from_millis(300)).await;
    let Some(_broker) = Broker::start_at(port).await else {
        return;
    };
    let summary = running.await.unwrap().unwrap();
    assert_eq!(summary.devices[0].tally.acknowledged, 100);
    assert_eq!(summary.devices[0].tally.unsent, 0);
}

#[tokio::test]
async fn a_refused_publish_is_not_counted_as_acknowledged() {
    // A broker of two packets: CONNACK, then PUBACK with the reason "not authorised" (MQTT 5, 3.4.2.1).
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        let (mut socket, _) = listener.accept().await.unwrap();
        let mut bytes = [0; 1_024];
        let _connect = socket.read(&mut bytes).await.unwrap();
        socket.write_all(&[0x20, 3, 0, 0, 0]).await.unwrap();
        let _publish = socket.read(&mut bytes).await.unwrap();
        socket.write_all(&[0x40, 3, 0, 1, 0x87]).await.unwrap();
        let _disconnect = socket.read(&mut bytes).await;
    });
    let mut scenario = mqtt_scenario(port, "");
    scenario.devices.remove(0);
    scenario.devices[0].signals.truncate(1);
    scenario.duration = Some(Duration::from_millis(20));
    let crate::scenario::Transport::Mqtt(mqtt) = &mut scenario.devices[0].transport else {
        unreachable!()
    };
    mqtt.qos = crate::scenario::Qos::AtLeastOnce;
    let summary = run(scenario, CancellationToken::new(), None).await.unwrap();
    let tally = summary.devices[0].tally;
    assert_eq!((tally.sent, tally.acknowledged, tally.refused), (1, 0, 1));
}

#[tokio::test]
async fn a_session_hears_in_which_order_its_messages_went_out() {
    let Some(broker) = Broker::start().await else {
        return;
    };
    let (publisher, mut events) = session::open(&peer(&broker, "order"));
    assert_eq!(events.next().await.unwrap(), Heard::Connected);
    for _ in 0..3 {
        publisher
            .publish(
                "x",
                crate::scenario::Qos::AtLeastOnce,
                false,
                bytes::Bytes::from("1"),
            )
            .await
            .unwrap();
    }
    let mut out = Vec::new();
    let mut acknowledged = Vec::new();
    while acknowledged.len() < 3 {
        match timeout(DEADLINE, events.next()).await.unwrap().unwrap() {
            Heard::WentOut(pkid) => out.push(pkid),
            Heard::Acknowledged(pkid) => acknowledged.push(pkid),
            _ => {}
        }
    }
    assert_eq!(out, acknowledged);
}

/// Answers each POST with the next of the given answers, the last one for ever; hands the bodies out.
async fn responder(answers: &'static [&'static str]) -> (u16, Arc<std::sync::Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let bodies = Arc::new(std::sync::Mutex::new(Vec::new()));
    let gathered = Arc::clone(&bodies);
    tokio::spawn(async move {
        let mut answers = answers.iter();
        loop {
            let (mut socket, _) = listener.accept().await.unwrap();
            let mut request = Vec::new();
            let body = loop {
                let text = String::from_utf8_lossy(&request).into_owned();
                if let Some((head, body)) = text.split_once("\r\n\r\n") {
                    let length = head
                        .lines()
                        .find_map(|l| {
                            l.to_lowercase()
                                .strip_prefix("content-length: ")
                                .map(str::to_owned)
                        })
                        .map_or(0, |l| l.parse().unwrap());
                    if body.len() >= length {
                        break body.to_owned();
                    }
                }
                if socket.read_buf(&mut request).await.unwrap() == 0 {
                    break String::new();
                }
            };
            gathered.lock().unwrap().push(body);
            let answer = answers.next().unwrap_or(&"204 No Content");
            let answer =
                format!("HTTP/1.1 {answer}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
            socket.write_all(answer.as_bytes()).await.unwrap();
        }
    });
    (port, bodies)
}

#[tokio::test]
async fn http_repeats_the_same_body_until_it_is_taken_and_never_after_a_refusal() {
    let (port, bodies) = responder(&[
        "200 OK",
        "503 Service Unavailable\r\nretry-after: 0",
        "503 Service Unavailable",
        "200 OK",
        "422 Unprocessable Content",
        "200 OK",
    ])
    .await;
    let scenario = Scenario::parse(&format!(
        r#"
        duration = "40ms"
        [[device]]
        id = "web"
        http.url = "http://127.0.0.1:{port}/api/v1/readings"
        format = "json"
        interval = "10ms"
        signal = [{{ metric = "n", shape = "counter", decimals = 0 }}]
        "#
    ))
    .unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ledger");
    let ledger = Ledger::open(&path, 1).unwrap();
    let summary = run(scenario, CancellationToken::new(), Some(ledger))
        .await
        .unwrap();
    let tally = summary.devices[0].tally;
    assert_eq!(
        (tally.sent, tally.acknowledged, tally.refused, tally.again),
        (4, 3, 1, 2)
    );
    assert_eq!(counts(&path), (4, 3, 2));
    let of = |n: u32| format!("{{\"device\":\"web\",\"values\":{{\"n\":{n}}}}}");
    assert_eq!(
        *bodies.lock().unwrap(),
        [of(0), of(1), of(1), of(1), of(2), of(3)]
    );
}

#[tokio::test]
async fn stopping_ends_a_run_that_would_never_end() {
    let scenario = Scenario::parse(
        r#"
        [[device]]
        id = "web"
        http.url = "http://127.0.0.1:9/nobody"
        format = "json"
        interval = "10ms"
        signal = [{ metric = "n" }]
        "#,
    )
    .unwrap();
    let stop = CancellationToken::new();
    let running = tokio::spawn(run(scenario, stop.clone(), None));
    sleep(Duration::from_millis(100)).await;
    stop.cancel();
    let summary = timeout(DEADLINE, running).await.unwrap().unwrap().unwrap();
    assert_eq!(summary.devices[0].tally.acknowledged, 0);
}
