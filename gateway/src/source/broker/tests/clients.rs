//! Real clients: `mosquitto_pub` and `mosquitto_sub` in both versions, and rumqttc with many messages under way.

use std::{
    io::{BufRead, BufReader},
    process::{Child, Command, Stdio},
    sync::mpsc as blocking,
};

use rumqttc::{AsyncClient, Event, MqttOptions, Packet, QoS};

use super::*;
use crate::model::Secret;

const VERSIONS: [&str; 2] = ["mqttv311", "mqttv5"];

fn mosquitto_is_here() -> bool {
    let here = ["mosquitto_pub", "mosquitto_sub"].iter().all(|program| {
        Command::new(program)
            .arg("--help")
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .is_ok()
    });
    if !here {
        println!("skipped: mosquitto_pub and mosquitto_sub are not installed");
    }
    here
}

/// Runs `mosquitto_pub` to its end; says whether it was content.
async fn mosquitto_pub(address: SocketAddr, version: &str, arguments: &[&str]) -> bool {
    let mut command = Command::new("mosquitto_pub");
    command
        .args([
            "-h",
            "127.0.0.1",
            "-p",
            &address.port().to_string(),
            "-V",
            version,
        ])
        .args(arguments)
        .stderr(Stdio::null());
    within(tokio::task::spawn_blocking(move || command.status()))
        .await
        .unwrap()
        .unwrap()
        .success()
}

/// A running `mosquitto_sub` that has its subscription.
struct Subscriber {
    process: Child,
    lines: blocking::Receiver<String>,
}

impl Subscriber {
    async fn start(address: SocketAddr, version: &str, arguments: &[&str]) -> Self {
        // Debug output says when the subscription stands; stdbuf brings it line by line.
        let mut process = Command::new("stdbuf")
            .args(["-oL", "mosquitto_sub", "-d", "-F", "=%t|%p|%q|%r"])
            .args([
                "-h",
                "127.0.0.1",
                "-p",
                &address.port().to_string(),
                "-V",
                version,
            ])
            .args(arguments)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let out = BufReader::new(process.stdout.take().unwrap());
        let (sender, lines) = blocking::sync_channel(1000);
        std::thread::spawn(move || {
            for line in out.lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    break;
                }
            }
        });
        let mut subscriber = Self { process, lines };
        while !subscriber.line().await.starts_with("Subscribed") {}
        subscriber
    }

    /// The next message as `topic|payload|qos|retain`.
    async fn message(&mut self) -> String {
        loop {
            if let Some(message) = self.line().await.strip_prefix('=') {
                return message.to_owned();
            }
        }
    }

    async fn line(&mut self) -> String {
        within(async {
            loop {
                match self.lines.try_recv() {
                    Ok(line) => return line,
                    Err(blocking::TryRecvError::Empty) => {
                        tokio::time::sleep(Duration::from_millis(5)).await;
                    }
                    Err(gone) => panic!("mosquitto_sub ended: {gone}"),
                }
            }
        })
        .await
    }
}

impl Drop for Subscriber {
    /// SIGKILL: it has no time to say goodbye.
    fn drop(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }
}

#[tokio::test]
async fn mosquitto_pub_delivers_at_every_qos_in_both_versions() {
    if !mosquitto_is_here() {
        return;
    }
    let mut listener = Listener::start(Config::default()).await.accept_all();
    let mut expected = 0;
    for version in VERSIONS {
        for qos in ["0", "1", "2"] {
            let topic = format!("{version}/{qos}");
            let arguments = ["-i", "pub", "-t", &topic, "-m", "21.5", "-q", qos];
            assert!(mosquitto_pub(listener.address, version, &arguments).await);
            expected += 1;
            listener.until(|seen| seen.frames.len() == expected).await;
            let seen = listener.seen.lock().unwrap();
            let (peer, frame) = seen.frames.last().unwrap();
            assert_eq!(peer, "pub");
            assert_eq!(frame.topic, topic);
            assert_eq!(&frame.payload[..], b"21.5");
        }
    }
}

#[tokio::test]
async fn mosquitto_sub_hears_wildcards_and_retained_messages_in_both_versions() {
    if !mosquitto_is_here() {
        return;
    }
    let listener = Listener::start(Config::default()).await.accept_all();
    let address = listener.address;
    for version in VERSIONS {
        let kept = ["-t", "plant/1/state", "-m", "kept", "-r", "-q", "1"];
        assert!(mosquitto_pub(address, version, &kept).await);
        let mut sub =
            Subscriber::start(address, version, &["-t", "plant/+/state", "-q", "1"]).await;
        assert_eq!(sub.message().await, "plant/1/state|kept|1|1");
        for (qos, granted) in [("0", "0"), ("1", "1"), ("2", "1")] {
            for from in VERSIONS {
                let arguments = ["-t", "plant/2/state", "-m", from, "-q", qos];
                assert!(mosquitto_pub(address, from, &arguments).await);
                let expected = format!("plant/2/state|{from}|{granted}|0");
                assert_eq!(sub.message().await, expected);
            }
        }
        let other = ["-t", "plant/2/other", "-m", "no"];
        assert!(mosquitto_pub(address, version, &other).await);
        // An empty payload deletes; it is passed on as any message.
        let gone = ["-t", "plant/1/state", "-n", "-r"];
        assert!(mosquitto_pub(address, version, &gone).await);
        assert_eq!(sub.message().await, "plant/1/state||0|0");
        let mut late = Subscriber::start(address, version, &["-t", "#"]).await;
        let last = ["-t", "last", "-m", "x"];
        assert!(mosquitto_pub(address, version, &last).await);
        assert_eq!(late.message().await, "last|x|0|0");
    }
}

#[tokio::test]
async fn a_killed_client_is_known_to_have_vanished_and_its_will_is_published() {
    if !mosquitto_is_here() {
        return;
    }
    let mut listener = Listener::start(Config::default()).await.accept_all();
    let address = listener.address;
    let mut watcher = Subscriber::start(address, "mqttv311", &["-t", "lwt/#"]).await;
    for version in VERSIONS {
        let topic = format!("lwt/{version}");
        let dev = Subscriber::start(
            address,
            version,
            &[
                "-i",
                version,
                "-t",
                "cmd",
                "--will-topic",
                &topic,
                "--will-payload",
                "Offline",
                "--will-retain",
            ],
        )
        .await;
        listener
            .until(|seen| seen.presence.iter().any(|p| p.peer == version && p.online))
            .await;
        drop(dev);
        assert_eq!(watcher.message().await, format!("{topic}|Offline|0|0"));
        listener
            .until(|seen| seen.presence.iter().any(|p| p.peer == version && !p.online))
            .await;
        // The will is a message of the device like any other.
        let seen = listener.seen.lock().unwrap();
        assert!(
            seen.frames
                .iter()
                .any(|(peer, frame)| peer == version && frame.topic == topic)
        );
    }
    let mut late = Subscriber::start(address, "mqttv5", &["-t", "lwt/mqttv5"]).await;
    assert_eq!(late.message().await, "lwt/mqttv5|Offline|0|1");
}

#[tokio::test]
async fn only_the_right_password_lets_mosquitto_in() {
    if !mosquitto_is_here() {
        return;
    }
    let config = Config {
        users: vec![(String::from("ann"), Secret(String::from("pässword")))],
        ..Config::default()
    };
    let listener = Listener::start(config).await.accept_all();
    for version in VERSIONS {
        let message = ["-t", "t", "-m", "x", "-q", "1"];
        assert!(!mosquitto_pub(listener.address, version, &message).await);
        let wrong = [&message[..], &["-u", "ann", "-P", "password"]].concat();
        assert!(!mosquitto_pub(listener.address, version, &wrong).await);
        let right = [&message[..], &["-u", "ann", "-P", "pässword"]].concat();
        assert!(mosquitto_pub(listener.address, version, &right).await);
    }
    assert_eq!(listener.seen.lock().unwrap().frames.len(), 2);
}

#[tokio::test]
async fn mosquitto_pub_waits_as_long_as_the_receipt_is_held_back() {
    if !mosquitto_is_here() {
        return;
    }
    let mut listener = Listener::start(Config::default()).await;
    let address = listener.address;
    let publishing = tokio::spawn(async move {
        mosquitto_pub(address, "mqttv5", &["-t", "t", "-m", "x", "-q", "2"]).await
    });
    let delivery = listener.frames().await;
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert!(!publishing.is_finished());
    accept(delivery);
    assert!(publishing.await.unwrap());
}

#[tokio::test]
async fn rumqttc_sends_thousands_at_every_qos_and_all_arrive_in_order() {
    const MESSAGES: usize = 3_000;
    let mut listener = Listener::start(Config::default()).await.accept_all();
    let mut options = MqttOptions::new("many", "127.0.0.1", listener.address.port());
    options.set_inflight(200);
    let (client, mut events) = AsyncClient::new(options, 100);
    let polling = tokio::spawn(async move {
        let mut completed = 0;
        while completed < 2 * MESSAGES {
            if let Event::Incoming(Packet::PubAck(_) | Packet::PubComp(_)) =
                events.poll().await.unwrap()
            {
                completed += 1;
            }
        }
    });
    for n in 0..MESSAGES {
        for (topic, qos) in [("1", QoS::AtLeastOnce), ("2", QoS::ExactlyOnce)] {
            client
                .publish(topic, qos, false, n.to_string())
                .await
                .unwrap();
        }
    }
    within(polling).await.unwrap();
    listener
        .until(|seen| seen.frames.len() == 2 * MESSAGES)
        .await;
    let seen = listener.seen.lock().unwrap();
    for topic in ["1", "2"] {
        let numbers: Vec<usize> = seen
            .frames
            .iter()
            .filter(|(_, frame)| frame.topic == topic)
            .map(|(_, frame)| {
                std::str::from_utf8(&frame.payload)
                    .unwrap()
                    .parse()
                    .unwrap()
            })
            .collect();
        assert_eq!(numbers, (0..MESSAGES).collect::<Vec<_>>());
    }
    let received = metric(
        &listener.registry,
        "gateway_messages_total{source=\"listener\"}",
    );
    assert_eq!(received, 2 * MESSAGES as u64);
}

#[tokio::test]
async fn rumqttc_subscribes_in_mqtt_5_and_hears_what_is_published() {
    use rumqttc::v5::{
        AsyncClient, Event, MqttOptions,
        mqttbytes::{QoS, v5::Packet},
    };
    let listener = Listener::start(Config::default()).await.accept_all();
    let options = MqttOptions::new("five", "127.0.0.1", listener.address.port());
    let (client, mut events) = AsyncClient::new(options, 100);
    client.subscribe("t/#", QoS::AtLeastOnce).await.unwrap();
    client
        .publish("t/a", QoS::AtLeastOnce, false, "x")
        .await
        .unwrap();
    let heard = within(async {
        loop {
            if let Event::Incoming(Packet::Publish(publish)) = events.poll().await.unwrap() {
                break publish;
            }
        }
    })
    .await;
    assert_eq!(&heard.topic[..], b"t/a");
    assert_eq!(heard.qos, QoS::AtLeastOnce);
}
