//! What must be exact, byte for byte.

use super::*;
use crate::source::shed;

const BOTH: [Version; 2] = [Version::V4, Version::V5];

#[tokio::test]
async fn a_message_is_acknowledged_only_when_its_receipt_is_there() {
    for version in BOTH {
        let mut listener = Listener::start(Config::default()).await;
        let mut client = Raw::connect(listener.address, version, "dev").await;
        client.publish("t/1", 1, 7, "21.5").await;
        let delivery = listener.frames().await;
        assert_eq!(delivery.peer.as_deref(), Some("dev"));
        assert_eq!(delivery.frames[0].topic, "t/1");
        assert_eq!(&delivery.frames[0].payload[..], b"21.5");
        assert!(!delivery.frames[0].retained);
        assert!(client.is_silent().await);
        accept(delivery);
        assert_eq!(client.packet().await, [0x40, 2, 0, 7]);
        client.publish("t/1", 2, 8, "22").await;
        let delivery = listener.frames().await;
        assert!(client.is_silent().await);
        accept(delivery);
        assert_eq!(client.packet().await, [0x50, 2, 0, 8]);
        client.send(&[0x62, 2, 0, 8]).await;
        assert_eq!(client.packet().await, [0x70, 2, 0, 8]);
    }
}

#[tokio::test]
async fn a_receipt_that_never_comes_is_no_acknowledgement() {
    let mut listener = Listener::start(Config::default()).await;
    let mut client = Raw::connect(listener.address, Version::V5, "dev").await;
    client.publish("t", 1, 1, "x").await;
    drop(listener.frames().await);
    // The gateway is stopping: nothing but the goodbye.
    assert_eq!(client.packet().await, [0xE0, 2, 0x8B, 0]);
    assert!(client.packet().await.is_empty());
}

#[tokio::test]
async fn many_messages_are_under_way_at_once_and_acknowledged_in_their_order() {
    let mut listener = Listener::start(Config::default()).await;
    let mut client = Raw::connect(listener.address, Version::V4, "dev").await;
    let mut held = Vec::new();
    for id in 1..=5 {
        client.publish("t", 1, id, "x").await;
        held.push(listener.frames().await);
    }
    // The last is durable first: its acknowledgement waits for those before it.
    let first = held.remove(0);
    held.into_iter().rev().for_each(accept);
    assert!(client.is_silent().await);
    accept(first);
    for id in 1..=5 {
        assert_eq!(client.packet().await, [0x40, 2, 0, id]);
    }
}

#[tokio::test]
async fn one_client_that_waits_for_the_disk_holds_up_no_other() {
    let mut listener = Listener::start(Config::default()).await;
    let mut waits = Raw::connect(listener.address, Version::V4, "waits").await;
    waits.publish("t", 1, 1, "x").await;
    let held = listener.frames().await;
    let mut other = Raw::connect(listener.address, Version::V4, "other").await;
    other.publish("t", 1, 1, "x").await;
    let delivery = listener.frames().await;
    assert_eq!(delivery.peer.as_deref(), Some("other"));
    accept(delivery);
    assert_eq!(other.packet().await, [0x40, 2, 0, 1]);
    assert!(waits.is_silent().await);
    accept(held);
    assert_eq!(waits.packet().await, [0x40, 2, 0, 1]);
}

#[tokio::test]
async fn what_is_read_at_once_is_delivered_at_once() {
    let mut listener = Listener::start(Config::default()).await;
    let mut client = Raw::connect(listener.address, Version::V4, "dev").await;
    let mut all = Vec::new();
    for id in 1..=20 {
        all.extend(publish(Version::V4, "t", 1, id, b"x"));
    }
    client.send(&all).await;
    let delivery = listener.frames().await;
    assert_eq!(delivery.frames.len(), 20);
    accept(delivery);
    for id in 1..=20 {
        assert_eq!(client.packet().await, [0x40, 2, 0, id]);
    }
}

#[tokio::test]
async fn a_qos_2_message_comes_once_however_often_it_is_sent() {
    let mut listener = Listener::start(Config::default()).await;
    let mut client = Raw::connect(listener.address, Version::V5, "dev").await;
    let mut again = publish(Version::V5, "t", 2, 5, b"x");
    client.send(&again).await;
    again[0] |= 0x08;
    client.send(&again).await;
    client.ping().await;
    let delivery = listener.frames().await;
    assert_eq!(delivery.frames.len(), 1);
    accept(delivery);
    assert_eq!(client.packet().await, [0x50, 2, 0, 5]);
    client.send(&again).await;
    assert_eq!(client.packet().await, [0x50, 2, 0, 5]);
    client.send(&[0x62, 2, 0, 5]).await;
    assert_eq!(client.packet().await, [0x70, 2, 0, 5]);
    // Once more: unknown by now.
    client.send(&[0x62, 2, 0, 5]).await;
    assert_eq!(client.packet().await, [0x70, 3, 0, 5, 0x92]);
    // The id is free: this is another message.
    client.publish("t", 2, 5, "y").await;
    let delivery = listener.frames().await;
    assert_eq!(&delivery.frames[0].payload[..], b"y");
}

#[tokio::test]
async fn a_repeated_qos_1_message_that_is_under_way_is_not_taken_twice() {
    let mut listener = Listener::start(Config::default()).await;
    let mut client = Raw::connect(listener.address, Version::V4, "dev").await;
    client.publish("t", 1, 5, "x").await;
    let delivery = listener.frames().await;
    let mut again = publish(Version::V4, "t", 1, 5, b"x");
    again[0] |= 0x08;
    client.send(&again).await;
    client.publish("t", 1, 6, "y").await;
    client.ping().await;
    accept(delivery);
    let delivery = listener.frames().await;
    assert_eq!(&delivery.frames[0].payload[..], b"y");
    accept(delivery);
    assert_eq!(client.packet().await, [0x40, 2, 0, 5]);
    assert_eq!(client.packet().await, [0x40, 2, 0, 6]);
}

#[tokio::test]
async fn reading_pauses_at_the_bound_of_unacknowledged_messages() {
    let config = Config {
        max_unacknowledged: 10,
        ..Config::default()
    };
    let mut listener = Listener::start(config).await;
    let mut client = Raw::connect(listener.address, Version::V4, "dev").await;
    let mut all = Vec::new();
    for id in 1..=30 {
        all.extend(publish(Version::V4, "t", 1, id, b"x"));
    }
    client.send(&all).await;
    let mut acknowledged = 0;
    while acknowledged < 30 {
        let delivery = listener.frames().await;
        assert!(delivery.frames.len() <= 10);
        assert!(client.is_silent().await);
        let more = delivery.frames.len();
        accept(delivery);
        for _ in 0..more {
            acknowledged += 1;
            assert_eq!(client.packet().await, [0x40, 2, 0, acknowledged]);
        }
    }
}

#[tokio::test]
async fn a_stalled_disk_drops_the_oldest_at_qos_0_and_counts_it() {
    let config = Config {
        queue: shed::Config {
            max_frames: 5,
            max_bytes: 1000,
        },
        ..Config::default()
    };
    let mut listener = Listener::start(config).await;
    let mut client = Raw::connect(listener.address, Version::V4, "dev").await;
    // Nobody takes deliveries: the door fills up, then the queue.
    for n in 0..200 {
        client.publish("t", 0, 0, &n.to_string()).await;
        // Each in a read of its own.
        client.ping().await;
    }
    let received = listener.metric("gateway_messages_total{source=\"listener\"}");
    let dropped = listener
        .metric("gateway_messages_dropped_total{source=\"listener\",reason=\"queue_full\"}");
    assert_eq!(received, 200);
    assert!(dropped > 100, "{dropped}");
    let mut taken = Vec::new();
    while taken.len() < (received - dropped) as usize {
        let delivery = listener.frames().await;
        taken.extend(delivery.frames.iter().map(|frame| frame.payload.clone()));
        accept(delivery);
    }
    assert_eq!(&taken.last().unwrap()[..], b"199");
    assert_eq!(&taken[0][..], b"0");
}

#[tokio::test]
async fn a_client_is_welcomed_with_the_limits() {
    let listener = Listener::start(Config::default()).await;
    let (_raw, connack) = Raw::greet(
        listener.address,
        Version::V5,
        &connect(Version::V5, "", 3600),
    )
    .await;
    let mut bytes = bytes::BytesMut::from(&connack[..]);
    let rumqttc::v5::mqttbytes::v5::Packet::ConnAck(ack) =
        rumqttc::v5::mqttbytes::v5::Packet::read(&mut bytes, None).unwrap()
    else {
        panic!("{connack:x?}");
    };
    assert!(!ack.session_present);
    let terms = ack.properties.unwrap();
    assert_eq!(terms.session_expiry_interval, Some(0));
    assert_eq!(terms.receive_max, Some(1000));
    assert_eq!(terms.max_packet_size, Some(256 * 1024));
    assert_eq!(terms.server_keep_alive, Some(600));
    assert_eq!(terms.shared_subscription_available, Some(0));
    assert_eq!(terms.topic_alias_max, Some(0));
    assert_eq!(terms.max_qos, None);
    assert!(
        terms
            .assigned_client_identifier
            .unwrap()
            .starts_with("anonymous-")
    );
    let status = listener.status.borrow().clone();
    assert_eq!(status.state, LinkState::Up);
    assert_eq!(status.detail, listener.address.to_string());
}

#[tokio::test]
async fn who_may_not_stay_is_told_why() {
    let config = Config {
        users: vec![(
            String::from("ann"),
            crate::model::Secret(String::from("secret")),
        )],
        ..Config::default()
    };
    let listener = Listener::start(config).await;
    let login = |name: &str, password: &str| {
        let mut rest = Vec::new();
        string(&mut rest, name);
        string(&mut rest, password);
        rest
    };
    for (version, packet, answer) in [
        (
            Version::V4,
            connect(Version::V4, "a", 60),
            vec![0x20, 2, 0, 5],
        ),
        (
            Version::V5,
            connect(Version::V5, "a", 60),
            vec![0x20, 3, 0, 0x87, 0],
        ),
        (
            Version::V4,
            connect_with(Version::V4, "a", 60, 0xC2, &login("ann", "wrong")),
            vec![0x20, 2, 0, 4],
        ),
        (
            Version::V5,
            connect_with(Version::V5, "a", 60, 0xC2, &login("ann", "wrong")),
            vec![0x20, 3, 0, 0x86, 0],
        ),
        (
            Version::V4,
            connect_with(Version::V4, "", 60, 0xC0, &login("ann", "secret")),
            vec![0x20, 2, 0, 2],
        ),
        // MQTT 3.1, MQTT 6.
        (
            Version::V4,
            b"\x10\x10\0\x06MQIsdp\x03\x02\0\x3c\0\x02ab".to_vec(),
            vec![0x20, 2, 0, 1],
        ),
        (
            Version::V5,
            b"\x10\x0d\0\x04MQTT\x06\x02\0\x3c\0\0\x00".to_vec(),
            vec![0x20, 3, 0, 0x84, 0],
        ),
        // A CONNECT that ends too early.
        (
            Version::V5,
            b"\x10\x0b\0\x04MQTT\x05\x02\0\x3c\x05".to_vec(),
            vec![0x20, 3, 0, 0x81, 0],
        ),
        // A reserved flag; a password without a user.
        (
            Version::V5,
            connect_with(Version::V5, "a", 60, 0x03, &[]),
            vec![0x20, 3, 0, 0x81, 0],
        ),
        (
            Version::V4,
            connect_with(Version::V4, "a", 60, 0x42, &login("", "")),
            Vec::new(),
        ),
        // A length far over the limit.
        (Version::V4, b"\x10\xff\xff\xff\x7f".to_vec(), Vec::new()),
        // Not MQTT at all.
        (Version::V4, b"GET / HTTP/1.1\r\n\r\n".to_vec(), Vec::new()),
    ] {
        let (mut raw, said) = Raw::greet(listener.address, version, &packet).await;
        assert_eq!(said, answer, "{packet:x?}");
        assert!(raw.packet().await.is_empty());
    }
    let right = connect_with(Version::V4, "a", 60, 0xC2, &login("ann", "secret"));
    let (_raw, said) = Raw::greet(listener.address, Version::V4, &right).await;
    assert_eq!(said, [0x20, 2, 0, 0]);
}

#[tokio::test]
async fn one_connection_too_many_is_refused_and_a_free_place_is_taken() {
    let config = Config {
        max_connections: 1,
        ..Config::default()
    };
    let mut listener = Listener::start(config).await.accept_all();
    let mut first = Raw::connect(listener.address, Version::V4, "a").await;
    for (version, answer) in [
        (Version::V4, vec![0x20, 2, 0, 3]),
        (Version::V5, vec![0x20, 3, 0, 0x97, 0]),
    ] {
        let (_raw, said) = Raw::greet(listener.address, version, &connect(version, "b", 60)).await;
        assert_eq!(said, answer);
    }
    first.send(&[0xE0, 0]).await;
    listener
        .until(|seen| seen.presence.iter().any(|presence| !presence.online))
        .await;
    listener
        .until_metric("gateway_listener_connections", 0)
        .await;
    within(async {
        loop {
            let (_raw, said) = Raw::greet(
                listener.address,
                Version::V4,
                &connect(Version::V4, "c", 60),
            )
            .await;
            if said == [0x20, 2, 0, 0] {
                break;
            }
        }
    })
    .await;
}

#[tokio::test]
async fn a_silent_connection_is_closed() {
    let config = Config {
        connect_timeout: Duration::from_millis(50),
        ..Config::default()
    };
    let listener = Listener::start(config).await.accept_all();
    let mut stream = TcpStream::connect(listener.address).await.unwrap();
    let mut byte = [0];
    assert_eq!(within(stream.read(&mut byte)).await.unwrap(), 0);
    // And one that keeps its keep-alive of a second only once.
    let (mut raw, _) =
        Raw::greet(listener.address, Version::V5, &connect(Version::V5, "a", 1)).await;
    raw.ping().await;
    assert_eq!(raw.packet().await, [0xE0, 2, 0x8D, 0]);
}

#[tokio::test]
async fn what_breaks_the_protocol_ends_the_connection_with_its_reason() {
    let config = Config {
        max_packet_bytes: 1000,
        max_unacknowledged: 3,
        ..Config::default()
    };
    let listener = Listener::start(config).await.accept_all();
    let too_large = publish(Version::V5, "t", 0, 0, &[0; 1000]);
    let mut alias = Vec::new();
    string(&mut alias, "t");
    alias.extend([3, 0x23, 0, 1]);
    let three_and_one: Vec<u8> = (1..=4)
        .flat_map(|id| publish(Version::V5, "t", 2, id, b"x"))
        .collect();
    for (packet, reason) in [
        (too_large, 0x95),
        (packet(0x30, &alias), 0x94),
        (three_and_one, 0x93),
        // A second CONNECT, a SUBACK, an AUTH.
        (connect(Version::V5, "again", 60), 0x82),
        (vec![0x90, 3, 0, 1, 0], 0x82),
        (vec![0xF0, 0], 0x82),
        // A PUBREL for a message that is not there is no error; with wrong flags it is.
        (vec![0x60, 2, 0, 1], 0x81),
        // QoS 3, a wildcard in a topic, no topic, packet id 0, a length of five bytes, a ping with a body.
        (publish(Version::V5, "t", 3, 1, b"x"), 0x81),
        (publish(Version::V5, "a/+", 0, 0, b"x"), 0x81),
        (publish(Version::V5, "", 0, 0, b"x"), 0x81),
        (publish(Version::V5, "t", 1, 0, b"x"), 0x81),
        (vec![0x30, 0xFF, 0xFF, 0xFF, 0xFF, 1], 0x81),
        (vec![0xC0, 1, 0], 0x81),
        // An UNSUBSCRIBE of nothing.
        (vec![0xA2, 3, 0, 1, 0], 0x82),
    ] {
        let mut raw = Raw::connect(listener.address, Version::V5, "bad").await;
        raw.send(&packet).await;
        let mut said = raw.packet().await;
        while said.first() == Some(&0x50) {
            said = raw.packet().await;
        }
        assert_eq!(said, [0xE0, 2, reason, 0], "{packet:x?}");
        assert!(raw.packet().await.is_empty());
    }
}

#[tokio::test]
async fn what_can_not_be_used_is_a_reject_with_its_bytes_but_never_with_a_password() {
    let config = Config {
        max_packet_bytes: 1000,
        ..Config::default()
    };
    let listener = Listener::start(config).await;
    let rejects = listener.rejects.clone();
    let listener = listener.accept_all();
    for packet in [
        publish(Version::V5, "t", 0, 0, &[b'l'; 1000]),
        publish(Version::V5, "t", 3, 1, b"qos-three"),
        connect(Version::V5, "secret-again", 60),
    ] {
        let mut raw = Raw::connect(listener.address, Version::V5, "bad").await;
        raw.send(&packet).await;
        while !raw.packet().await.is_empty() {}
    }
    let mut raw = Raw::connect(listener.address, Version::V5, "five").await;
    raw.publish("$SYS/x", 0, 0, "x").await;
    raw.publish("$SYS/x", 1, 1, "x").await;
    assert_eq!(raw.packet().await[0], 0x40);
    let source = SourceName("listener".into());
    assert_eq!(rejects.count(&source, crate::rejects::Reason::TooLarge), 1);
    assert_eq!(rejects.count(&source, crate::rejects::Reason::Malformed), 2);
    assert_eq!(rejects.count(&source, crate::rejects::Reason::NoMapping), 2);
    let samples = rejects.samples();
    assert!(samples.iter().any(|s| s.payload.contains("qos-three")));
    assert!(samples.iter().all(|s| !s.payload.contains("secret")));
    let line = "gateway_messages_total{source=\"listener\"}";
    assert_eq!(metric(&listener.registry, line), 5);
}

#[tokio::test]
async fn topics_that_are_not_taken_are_refused_and_never_acknowledged_as_taken() {
    let listener = Listener::start(Config::default()).await.accept_all();
    let deep = "a/".repeat(40);
    let mut v5 = Raw::connect(listener.address, Version::V5, "five").await;
    v5.publish("$SYS/x", 1, 1, "x").await;
    assert_eq!(v5.packet().await, [0x40, 3, 0, 1, 0x90]);
    v5.publish(&deep, 2, 2, "x").await;
    assert_eq!(v5.packet().await, [0x50, 3, 0, 2, 0x90]);
    v5.publish("$SYS/x", 0, 0, "x").await;
    v5.publish("good", 1, 3, "x").await;
    assert_eq!(v5.packet().await, [0x40, 2, 0, 3]);
    let mut v4 = Raw::connect(listener.address, Version::V4, "four").await;
    v4.publish("$SYS/x", 1, 1, "x").await;
    assert!(v4.packet().await.is_empty());
    let frames: Vec<_> = listener
        .seen
        .lock()
        .unwrap()
        .frames
        .iter()
        .map(|(_, frame)| frame.topic.clone())
        .collect();
    assert_eq!(frames, ["good"]);
    listener
        .until_metric(
            "gateway_listener_messages_refused_total{reason=\"topic_name_invalid\"}",
            3,
        )
        .await;
}

#[tokio::test]
async fn subscriptions_are_granted_up_to_qos_1_and_refused_with_the_reason() {
    let config = Config {
        max_subscriptions: 2,
        ..Config::default()
    };
    let listener = Listener::start(config).await.accept_all();
    let mut v5 = Raw::connect(listener.address, Version::V5, "five").await;
    assert_eq!(v5.subscribe(1, "a/#", 2).await, [0x90, 4, 0, 1, 0, 1]);
    assert_eq!(
        v5.subscribe(2, "$share/g/a", 1).await,
        [0x90, 4, 0, 2, 0, 0x9E]
    );
    assert_eq!(v5.subscribe(3, "a#", 1).await, [0x90, 4, 0, 3, 0, 0x8F]);
    assert_eq!(v5.subscribe(4, "b", 0).await, [0x90, 4, 0, 4, 0, 0]);
    assert_eq!(v5.subscribe(5, "c", 0).await, [0x90, 4, 0, 5, 0, 0x97]);
    // The same filter again is no new one.
    assert_eq!(v5.subscribe(6, "b", 1).await, [0x90, 4, 0, 6, 0, 1]);
    let mut v4 = Raw::connect(listener.address, Version::V4, "four").await;
    assert_eq!(
        v4.subscribe(1, "$share/g/a", 1).await,
        [0x90, 3, 0, 1, 0x80]
    );
    // A packet that repeats a filter is held to the same number.
    v5.send(&packet(0x82, b"\0\x08\0\0\x01b\0\0\x01b\0\0\x01b\0"))
        .await;
    assert_eq!(v5.packet().await, [0x90, 6, 0, 8, 0, 0, 0, 0x97]);
    // UNSUBSCRIBE: one that is there, one that is not.
    v5.send(&packet(0xA2, b"\0\x07\0\0\x01b\0\x01z")).await;
    assert_eq!(v5.packet().await, [0xB0, 5, 0, 7, 0, 0, 0x11]);
}

#[tokio::test]
async fn subscribers_get_qos_0_at_once_and_qos_1_when_it_is_durable() {
    let mut listener = Listener::start(Config::default()).await;
    let mut sub = Raw::connect(listener.address, Version::V4, "sub").await;
    accept(listener.delivery().await);
    sub.subscribe(1, "t/+", 1).await;
    let mut client = Raw::connect(listener.address, Version::V5, "dev").await;
    accept(listener.delivery().await);
    client.publish("t/0", 0, 0, "x").await;
    assert_eq!(sub.packet().await, publish(Version::V4, "t/0", 0, 0, b"x"));
    accept(listener.frames().await);
    client.publish("t/1", 2, 1, "y").await;
    let delivery = listener.frames().await;
    assert!(sub.is_silent().await);
    accept(delivery);
    assert_eq!(sub.packet().await, publish(Version::V4, "t/1", 1, 1, b"y"));
}

#[tokio::test]
async fn properties_and_subscription_identifiers_reach_an_mqtt_5_subscriber() {
    let listener = Listener::start(Config::default()).await.accept_all();
    let mut sub = Raw::connect(listener.address, Version::V5, "sub").await;
    sub.send(&packet(0x82, b"\0\x01\x02\x0b\x07\0\x01#\0"))
        .await;
    assert_eq!(sub.packet().await, [0x90, 4, 0, 1, 0, 0]);
    let mut client = Raw::connect(listener.address, Version::V5, "dev").await;
    client
        .send(&packet(0x30, b"\0\x01t\x07\x26\0\x01k\0\x01vx"))
        .await;
    assert_eq!(
        sub.packet().await,
        packet(0x30, b"\0\x01t\x09\x26\0\x01k\0\x01v\x0b\x07x")
    );
}

#[tokio::test]
async fn a_window_of_unacknowledged_messages_holds_the_rest_back() {
    let listener = Listener::start(Config::default()).await.accept_all();
    // Receive maximum 2.
    let mut hello = connect_with(Version::V5, "sub", 60, 2, &[]);
    let at = hello.len() - 6;
    hello.splice(at..=at, [3, 0x21, 0, 2]);
    hello[1] += 3;
    let (mut sub, said) = Raw::greet(listener.address, Version::V5, &hello).await;
    assert_eq!(said[3], 0);
    sub.subscribe(1, "#", 1).await;
    let mut client = Raw::connect(listener.address, Version::V4, "dev").await;
    for id in 1..=3 {
        client.publish("t", 1, id, "x").await;
    }
    for id in 1..=2 {
        assert_eq!(sub.packet().await, publish(Version::V5, "t", 1, id, b"x"));
    }
    assert!(sub.is_silent().await);
    sub.send(&[0x40, 2, 0, 1]).await;
    assert_eq!(sub.packet().await, publish(Version::V5, "t", 1, 3, b"x"));
}

#[tokio::test]
async fn a_slow_subscriber_loses_qos_0_counted_and_is_closed_at_qos_1() {
    let config = Config {
        max_outgoing_bytes: 1000,
        ..Config::default()
    };
    let mut listener = Listener::start(config).await.accept_all();
    // It takes one QoS 1 message and never acknowledges it: the rest waits.
    let mut hello = connect_with(Version::V5, "sub", 60, 2, &[]);
    let at = hello.len() - 6;
    hello.splice(at..=at, [3, 0x21, 0, 1]);
    hello[1] += 3;
    let (mut sub, _) = Raw::greet(listener.address, Version::V5, &hello).await;
    sub.subscribe(1, "one/#", 1).await;
    sub.subscribe(2, "zero/#", 0).await;
    let mut client = Raw::connect(listener.address, Version::V4, "dev").await;
    client.publish("one/1", 1, 1, "x").await;
    client.publish("one/1", 1, 2, "x").await;
    for n in 0..100 {
        client.publish("zero/1", 0, 0, &n.to_string()).await;
    }
    listener.until(|seen| seen.frames.len() == 102).await;
    assert!(
        metric(
            &listener.registry,
            "gateway_listener_outgoing_dropped_total"
        ) > 50
    );
    client.publish("one/1", 1, 3, &"x".repeat(900)).await;
    let mut said = sub.packet().await;
    while said[0] & 0xF0 == 0x30 {
        said = sub.packet().await;
    }
    assert_eq!(said, [0xE0, 2, 0x97, 0]);
}

#[tokio::test]
async fn all_retained_messages_reach_a_subscriber_whatever_its_outbox_holds() {
    let config = Config {
        max_outgoing_bytes: 1000,
        ..Config::default()
    };
    let mut listener = Listener::start(config).await.accept_all();
    let mut client = Raw::connect(listener.address, Version::V4, "dev").await;
    for n in 0..500 {
        let mut kept = publish(Version::V4, &format!("t/{n}"), 0, 0, b"x");
        kept[0] |= 1;
        client.send(&kept).await;
    }
    listener.until(|seen| seen.frames.len() == 500).await;
    assert!(
        listener
            .seen
            .lock()
            .unwrap()
            .frames
            .iter()
            .all(|(_, frame)| !frame.retained)
    );
    let mut sub = Raw::connect(listener.address, Version::V4, "sub").await;
    sub.subscribe(1, "#", 0).await;
    let mut topics = std::collections::BTreeSet::new();
    for _ in 0..500 {
        let packet = sub.packet().await;
        assert_eq!(packet[0], 0x31);
        topics.insert(packet);
    }
    assert_eq!(topics.len(), 500);
}

#[tokio::test]
async fn a_client_id_has_one_connection_and_the_old_one_is_told() {
    let mut listener = Listener::start(Config::default()).await.accept_all();
    let mut watcher = Raw::connect(listener.address, Version::V4, "watcher").await;
    watcher.subscribe(1, "gone/#", 0).await;
    let mut will = vec![0];
    string(&mut will, "gone/dev");
    string(&mut will, "bye");
    let hello = connect_with(Version::V5, "dev", 60, 0x06, &will);
    let (mut old, _) = Raw::greet(listener.address, Version::V5, &hello).await;
    let mut new = Raw::connect(listener.address, Version::V4, "dev").await;
    assert_eq!(old.packet().await, [0xE0, 2, 0x8E, 0]);
    assert!(old.packet().await.is_empty());
    // The will of the old connection comes before the first word of the new one.
    new.publish("gone/not", 0, 0, "x").await;
    assert_eq!(
        watcher.packet().await,
        publish(Version::V4, "gone/dev", 0, 0, b"bye")
    );
    assert_eq!(
        watcher.packet().await,
        publish(Version::V4, "gone/not", 0, 0, b"x")
    );
    listener.until(|seen| seen.frames.len() == 2).await;
    // The device is online throughout.
    assert!(
        listener
            .seen
            .lock()
            .unwrap()
            .presence
            .iter()
            .all(|presence| presence.online)
    );
}

#[tokio::test]
async fn a_goodbye_takes_the_will_along_unless_it_asks_for_it() {
    let mut listener = Listener::start(Config::default()).await.accept_all();
    let mut will = vec![0];
    string(&mut will, "gone/dev");
    string(&mut will, "bye");
    let hello = connect_with(Version::V5, "dev", 60, 0x06, &will);
    for goodbye in [&[0xE0, 0][..], &[0xE0, 1, 0], &[0xE0, 2, 0, 0]] {
        let (mut raw, _) = Raw::greet(listener.address, Version::V5, &hello).await;
        raw.send(goodbye).await;
        assert!(raw.packet().await.is_empty());
    }
    let (mut raw, _) = Raw::greet(listener.address, Version::V5, &hello).await;
    raw.send(&[0xE0, 1, 4]).await;
    assert!(raw.packet().await.is_empty());
    listener
        .until(|seen| seen.presence.iter().filter(|p| !p.online).count() == 4)
        .await;
    let seen = listener.seen.lock().unwrap();
    assert_eq!(seen.frames.len(), 1);
    assert_eq!(seen.frames[0].1.topic, "gone/dev");
}

#[tokio::test]
async fn stopping_acknowledges_what_becomes_durable_and_says_goodbye() {
    let mut listener = Listener::start(Config::default()).await;
    let mut v5 = Raw::connect(listener.address, Version::V5, "five").await;
    v5.publish("t", 1, 9, "x").await;
    let delivery = listener.frames().await;
    listener.stop.cancel();
    assert!(v5.is_silent().await);
    accept(delivery);
    assert_eq!(v5.packet().await, [0x40, 2, 0, 9]);
    assert_eq!(v5.packet().await, [0xE0, 2, 0x8B, 0]);
    assert!(v5.packet().await.is_empty());
    drop(v5);
    within(listener.running).await.unwrap();
    assert_eq!(listener.status.borrow().state, LinkState::Stopped);
    assert!(TcpStream::connect(listener.address).await.is_err());
}

#[tokio::test]
async fn stopping_does_not_wait_for_ever_and_acknowledges_nothing_that_is_not_durable() {
    let mut listener = Listener::start(Config::default()).await;
    let mut client = Raw::connect(listener.address, Version::V5, "five").await;
    client.publish("t", 1, 9, "x").await;
    let _never_durable = listener.frames().await;
    listener.stop.cancel();
    assert_eq!(client.packet().await, [0xE0, 2, 0x8B, 0]);
    assert!(client.packet().await.is_empty());
    drop(client);
    within(listener.running).await.unwrap();
}

#[tokio::test]
async fn messages_of_a_client_that_left_at_once_are_still_taken() {
    let mut listener = Listener::start(Config::default()).await.accept_all();
    let mut all = connect(Version::V4, "hasty", 60);
    all.extend(publish(Version::V4, "t", 0, 0, b"1"));
    all.extend(publish(Version::V4, "t", 1, 1, b"2"));
    all.extend([0xE0, 0]);
    let mut stream = TcpStream::connect(listener.address).await.unwrap();
    stream.write_all(&all).await.unwrap();
    drop(stream);
    listener
        .until(|seen| seen.frames.len() == 2 && seen.presence.iter().any(|p| !p.online))
        .await;
}
