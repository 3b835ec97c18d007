//! MQTT 3.1.1 in: the codec's packets in our shape.

use bytes::{Bytes, BytesMut};
use rumqttc::mqttbytes::{
    QoS,
    v4::{LastWill, Packet},
};

use super::packet::{Connect, Filter, Incoming, Message, Qos, Reason, SendRetained, keep};

/// See [`super::packet::Version::connect`].
pub(super) fn connect(packet: BytesMut) -> Result<Connect, Reason> {
    let Packet::Connect(connect) = read(packet)? else {
        return Err(Reason::ProtocolError);
    };
    Ok(Connect {
        client_id: connect.client_id,
        clean: connect.clean_session,
        keep_alive: connect.keep_alive,
        will: connect.last_will.map(will),
        login: connect.login.map(|login| (login.username, login.password)),
        receive_maximum: u16::MAX,
        max_packet_bytes: usize::MAX,
        enhanced_authentication: false,
    })
}

/// See [`super::packet::Version::decode`].
pub(super) fn decode(packet: BytesMut) -> Result<Incoming, Reason> {
    Ok(match read(packet)? {
        Packet::Publish(publish) => Incoming::Publish {
            duplicate: publish.dup,
            id: publish.pkid,
            message: Message {
                topic: publish.topic.into(),
                payload: keep(publish.payload),
                qos: qos(publish.qos),
                retain: publish.retain,
                properties: Bytes::new(),
                expiry: None,
            },
        },
        Packet::PubAck(ack) => Incoming::PubAck(ack.pkid),
        Packet::PubRel(release) => Incoming::PubRel(release.pkid),
        Packet::Subscribe(subscribe) => Incoming::Subscribe {
            id: subscribe.pkid,
            filters: subscribe
                .filters
                .into_iter()
                .map(|filter| Filter {
                    path: filter.path.into(),
                    qos: qos(filter.qos),
                    no_local: false,
                    retain_as_published: false,
                    retained: SendRetained::Always,
                })
                .collect(),
            identifier: None,
        },
        Packet::Unsubscribe(unsubscribe) => Incoming::Unsubscribe {
            id: unsubscribe.pkid,
            filters: unsubscribe.topics,
        },
        Packet::Disconnect => Incoming::Disconnect { with_will: false },
        _ => return Err(Reason::ProtocolError),
    })
}

/// Any error of the codec is one: the packet is whole, so "more bytes needed" is an error too.
fn read(mut packet: BytesMut) -> Result<Packet, Reason> {
    Packet::read(&mut packet, usize::MAX).map_err(|_| Reason::Malformed)
}

fn will(will: LastWill) -> Message {
    Message {
        topic: will.topic.into(),
        payload: keep(will.message),
        qos: qos(will.qos),
        retain: will.retain,
        properties: Bytes::new(),
        expiry: None,
    }
}

const fn qos(qos: QoS) -> Qos {
    match qos {
        QoS::AtMostOnce => Qos::AtMostOnce,
        QoS::AtLeastOnce => Qos::AtLeastOnce,
        QoS::ExactlyOnce => Qos::ExactlyOnce,
    }
}
