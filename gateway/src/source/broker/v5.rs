//! MQTT 5 in: the codec's packets in our shape, and around what the codec of `rumqttc` 0.25.1 gets wrong:
//!
//! - it refuses a DISCONNECT without a body, which is the usual one, and one with a reason but no properties: read here;
//! - it writes a DISCONNECT without properties one byte longer than it says: written in [`super::encode`].

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use rumqttc::v5::mqttbytes::{
    QoS,
    v5::{LastWill, Packet, PublishProperties, RetainForwardRule},
};
use smol_str::SmolStr;

use super::packet::{Connect, Filter, Incoming, Message, Qos, Reason, SendRetained, keep};

/// See [`super::packet::Version::connect`].
pub(super) fn connect(packet: BytesMut) -> Result<Connect, Reason> {
    let Packet::Connect(connect, last_will, login) = read(packet)? else {
        return Err(Reason::ProtocolError);
    };
    let (mut receive_maximum, mut max_packet_bytes, mut enhanced_authentication) =
        (None, None, false);
    if let Some(properties) = connect.properties {
        receive_maximum = properties.receive_maximum;
        max_packet_bytes = properties.max_packet_size;
        enhanced_authentication = properties.authentication_method.is_some();
    }
    if receive_maximum == Some(0) || max_packet_bytes == Some(0) {
        return Err(Reason::ProtocolError);
    }
    Ok(Connect {
        client_id: connect.client_id,
        clean: connect.clean_start,
        keep_alive: connect.keep_alive,
        will: last_will.map(will).transpose()?,
        login: login.map(|login| (login.username, login.password)),
        receive_maximum: receive_maximum.unwrap_or(u16::MAX),
        max_packet_bytes: max_packet_bytes.map_or(usize::MAX, |bytes| bytes as usize),
        enhanced_authentication,
    })
}

/// See [`super::packet::Version::decode`].
pub(super) fn decode(packet: BytesMut) -> Result<Incoming, Reason> {
    if packet.first() == Some(&0xE0) && packet.len() <= 3 {
        return disconnect(packet.get(2).copied());
    }
    Ok(match read(packet)? {
        Packet::Publish(publish) => {
            let (properties, expiry) = forwarded(publish.properties.unwrap_or_default())?;
            Incoming::Publish {
                duplicate: publish.dup,
                id: publish.pkid,
                message: Message {
                    topic: topic(&publish.topic)?,
                    payload: keep(publish.payload),
                    qos: qos(publish.qos),
                    retain: publish.retain,
                    properties,
                    expiry,
                },
            }
        }
        Packet::PubAck(ack) => Incoming::PubAck(ack.pkid),
        Packet::PubRel(release) => Incoming::PubRel(release.pkid),
        Packet::Subscribe(subscribe) => {
            let identifier = subscribe.properties.and_then(|properties| properties.id);
            if identifier == Some(0) {
                return Err(Reason::ProtocolError);
            }
            Incoming::Subscribe {
                id: subscribe.pkid,
                filters: subscribe
                    .filters
                    .into_iter()
                    .map(|filter| Filter {
                        path: filter.path.into(),
                        qos: qos(filter.qos),
                        no_local: filter.nolocal,
                        retain_as_published: filter.preserve_retain,
                        retained: match filter.retain_forward_rule {
                            RetainForwardRule::OnEverySubscribe => SendRetained::Always,
                            RetainForwardRule::OnNewSubscribe => SendRetained::IfNew,
                            RetainForwardRule::Never => SendRetained::Never,
                        },
                    })
                    .collect(),
                identifier: identifier
                    .map(u32::try_from)
                    .transpose()
                    .map_err(|_| Reason::Malformed)?,
            }
        }
        Packet::Unsubscribe(unsubscribe) => Incoming::Unsubscribe {
            id: unsubscribe.pkid,
            filters: unsubscribe.filters,
        },
        Packet::Disconnect(packet) => return disconnect(Some(packet.reason_code as u8)),
        _ => return Err(Reason::ProtocolError),
    })
}

const fn disconnect(reason: Option<u8>) -> Result<Incoming, Reason> {
    match reason {
        None | Some(0) => Ok(Incoming::Disconnect { with_will: false }),
        // Every other reason of a client is an error of some kind: the will is due (3.1.2.5).
        Some(4 | 0x80..) => Ok(Incoming::Disconnect { with_will: true }),
        Some(_) => Err(Reason::Malformed),
    }
}

/// Any error of the codec is one: the packet is whole, so "more bytes needed" is an error too.
fn read(mut packet: BytesMut) -> Result<Packet, Reason> {
    Packet::read(&mut packet, None).map_err(|_| Reason::Malformed)
}

fn will(will: LastWill) -> Result<Message, Reason> {
    let of_will = will.properties;
    let (properties, expiry) =
        forwarded(
            of_will.map_or_else(PublishProperties::default, |p| PublishProperties {
                payload_format_indicator: p.payload_format_indicator,
                message_expiry_interval: p.message_expiry_interval,
                response_topic: p.response_topic,
                correlation_data: p.correlation_data,
                user_properties: p.user_properties,
                content_type: p.content_type,
                ..PublishProperties::default()
            }),
        )?;
    Ok(Message {
        topic: topic(&will.topic)?,
        payload: keep(will.message),
        qos: qos(will.qos),
        retain: will.retain,
        properties,
        expiry,
    })
}

/// What of a message's properties goes on to subscribers, encoded once for all of them, and how long it is kept.
fn forwarded(properties: PublishProperties) -> Result<(Bytes, Option<Duration>), Reason> {
    if properties.topic_alias.is_some() {
        // We said that we take none.
        return Err(Reason::TopicAliasInvalid);
    }
    if !properties.subscription_identifiers.is_empty() {
        return Err(Reason::ProtocolError);
    }
    if properties == PublishProperties::default() {
        return Ok((Bytes::new(), None));
    }
    let mut encoded = BytesMut::new();
    properties
        .write(&mut encoded)
        .map_err(|_| Reason::Malformed)?;
    // The codec puts the length first: one byte, and one more for each whose high bit is set.
    let length_bytes = encoded.iter().take_while(|byte| **byte & 0x80 != 0).count() + 1;
    let expiry = properties
        .message_expiry_interval
        .map(|seconds| Duration::from_secs(u64::from(seconds)));
    Ok((encoded.split_off(length_bytes).freeze(), expiry))
}

fn topic(bytes: &[u8]) -> Result<SmolStr, Reason> {
    std::str::from_utf8(bytes)
        .map(SmolStr::from)
        .map_err(|_| Reason::Malformed)
}

const fn qos(qos: QoS) -> Qos {
    match qos {
        QoS::AtMostOnce => Qos::AtMostOnce,
        QoS::AtLeastOnce => Qos::AtLeastOnce,
        QoS::ExactlyOnce => Qos::ExactlyOnce,
    }
}
