//! Any bytes: nothing panics, nothing grows without bound.

use bytes::BytesMut;
use proptest::prelude::*;

use super::super::{
    packet::{self, Incoming, Version},
    session::{Effect, Session, Terms},
};

fn version() -> impl Strategy<Value = Version> {
    prop_oneof![Just(Version::V4), Just(Version::V5)]
}

/// A packet with a right header and any body: gets past the framing far more often than noise does.
fn framed() -> impl Strategy<Value = Vec<u8>> {
    (
        prop_oneof![
            prop::sample::select(vec![
                0x10, 0x30, 0x31, 0x32, 0x34, 0x3A, 0x40, 0x62, 0x82, 0xA2, 0xC0, 0xE0
            ]),
            any::<u8>()
        ],
        prop::collection::vec(prop_oneof![0..8u8, any::<u8>()], 0..64),
    )
        .prop_map(|(head, body)| super::packet(head, &body))
}

fn session(version: Version) -> Session {
    Session::new(Terms {
        version,
        max_subscriptions: 5,
        receive_maximum: 10,
        client_receive_maximum: 3,
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn any_first_bytes_are_decided_or_wait_for_more(
        mut bytes in prop::collection::vec(any::<u8>(), 0..64),
        connect in any::<bool>(),
        level in 3..7u8,
    ) {
        if connect {
            let mut body = vec![0, 4, b'M', b'Q', b'T', b'T', level];
            body.append(&mut bytes);
            bytes = super::packet(0x10, &body);
        }
        if let Ok(Some(version)) = packet::first(&bytes, 1000) {
            let mut buffer = BytesMut::from(&bytes[..]);
            let packet = packet::cut(&mut buffer, 1000).unwrap().unwrap();
            // Refused or taken: both are fine.
            let _either = version.connect(packet);
        }
    }

    #[test]
    fn any_bytes_in_a_session_end_it_or_are_answered(
        version in version(),
        packets in prop::collection::vec(prop_oneof![
            9 => framed(),
            1 => prop::collection::vec(any::<u8>(), 0..20)
        ], 0..40),
    ) {
        let mut session = session(version);
        let mut buffer = BytesMut::new();
        for bytes in packets {
            buffer.extend_from_slice(&bytes);
            loop {
                let packet = match packet::cut(&mut buffer, 200) {
                    Ok(Some(packet)) => packet,
                    Ok(None) => break,
                    // The connection would end here; go on with a new one.
                    Err(_) => {
                        buffer.clear();
                        break;
                    }
                };
                match version.decode(packet).and_then(|packet| session.handle(packet)) {
                    Ok(Effect::WhenDurable(taken)) => {
                        let mut out = BytesMut::new();
                        let reply = session.answer(taken.answer);
                        super::super::encode::reply(&mut out, version, &reply);
                        prop_assert!(!out.is_empty());
                    }
                    Ok(Effect::Subscribe(granted, _)) => prop_assert!(granted.len() <= 200),
                    Ok(_) | Err(_) => {}
                }
            }
            prop_assert!(buffer.len() <= 200 + 64);
        }
    }

    /// Cutting is the same whatever pieces the bytes come in.
    #[test]
    fn any_chunking_cuts_the_same_packets(
        packets in prop::collection::vec(framed(), 1..10),
        chunk in 1..20usize,
    ) {
        let stream = packets.concat();
        let (mut buffer, mut cut) = (BytesMut::new(), Vec::new());
        for piece in stream.chunks(chunk) {
            buffer.extend_from_slice(piece);
            while let Some(packet) = packet::cut(&mut buffer, 1000).unwrap() {
                cut.push(packet.to_vec());
            }
        }
        prop_assert_eq!(cut, packets);
    }

    /// What we write is what an independent reader of the protocol reads.
    #[test]
    fn a_publish_that_is_read_back_is_the_same(
        version in version(),
        topic in "[a-zé]{1,20}(/[a-z]{0,5}){0,3}",
        payload in prop::collection::vec(any::<u8>(), 0..300),
        qos in 0..3u8,
        id in 1..u16::MAX,
    ) {
        let bytes = super::publish(version, &topic, qos, id, &payload);
        let Ok(Incoming::Publish { id: read_id, message, .. }) =
            version.decode(BytesMut::from(&bytes[..]))
        else {
            return Err(TestCaseError::fail("not a publish"));
        };
        prop_assert_eq!(message.topic.as_str(), topic);
        prop_assert_eq!(&message.payload[..], &payload[..]);
        let parcel = super::super::outbox::Parcel {
            qos: message.qos,
            retain: false,
            identifiers: Vec::new(),
            message: std::sync::Arc::new(message),
        };
        let mut out = BytesMut::new();
        super::super::encode::publish(&mut out, version, &parcel, read_id);
        prop_assert_eq!(super::super::encode::publish_len(version, &parcel), out.len());
        prop_assert_eq!(&out[..], &bytes[..]);
    }
}
