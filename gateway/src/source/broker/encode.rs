//! What is said to clients, written straight into the connection's buffer: no packet is built first.
//!
//! Both versions share these layouts but for the properties and the reasons that MQTT 5 adds.

use bytes::{BufMut, Bytes, BytesMut};
use rumqttc::v5::mqttbytes::v5::{ConnAck, ConnAckProperties, ConnectReturnCode};

use super::{
    outbox::Parcel,
    packet::{Qos, Reason, Reply, Version},
};

/// What a client is told when it is welcome (3.2.2.3).
#[derive(Debug)]
pub(super) struct Welcome<'a> {
    pub(super) receive_maximum: u16,
    pub(super) max_packet_bytes: usize,
    /// If we chose its id.
    pub(super) assigned_client_id: Option<&'a str>,
    /// If it is another than the client asked for, in seconds.
    pub(super) keep_alive: Option<u16>,
}

/// CONNACK 0. No session is ever present.
pub(super) fn welcome(out: &mut BytesMut, version: Version, welcome: &Welcome<'_>) {
    if version == Version::V4 {
        out.put_slice(&[0x20, 2, 0, 0]);
        return;
    }
    let ack = ConnAck {
        session_present: false,
        code: ConnectReturnCode::Success,
        properties: Some(ConnAckProperties {
            session_expiry_interval: Some(0),
            receive_max: Some(welcome.receive_maximum),
            // Absent means that QoS 2 is taken; the value 2 is not allowed.
            max_qos: None,
            retain_available: Some(1),
            max_packet_size: u32::try_from(welcome.max_packet_bytes).ok(),
            assigned_client_identifier: welcome.assigned_client_id.map(String::from),
            topic_alias_max: Some(0),
            reason_string: None,
            user_properties: Vec::new(),
            wildcard_subscription_available: Some(1),
            subscription_identifiers_available: Some(1),
            shared_subscription_available: Some(0),
            server_keep_alive: welcome.keep_alive,
            response_information: None,
            server_reference: None,
            authentication_method: None,
            authentication_data: None,
        }),
    };
    // Fails only for a packet over 256 MB.
    if ack.write(out).is_err() {
        out.clear();
    }
}

/// A CONNACK that refuses. MQTT 3.1.1 has five reasons (3.1.1: 3.2.2.3); what fits none of them gets no answer.
pub(super) fn refusal(out: &mut BytesMut, version: Version, reason: Reason) {
    let code = match (version, reason) {
        (Version::V5, reason) => {
            out.put_slice(&[0x20, 3, 0, reason as u8, 0]);
            return;
        }
        (Version::V4, Reason::UnsupportedVersion) => 1,
        (Version::V4, Reason::ClientIdInvalid) => 2,
        (Version::V4, Reason::QuotaExceeded | Reason::ServerStopping) => 3,
        (Version::V4, Reason::BadCredentials) => 4,
        (Version::V4, Reason::NotAuthorised) => 5,
        (Version::V4, _) => return,
    };
    out.put_slice(&[0x20, 2, 0, code]);
}

/// The server's DISCONNECT; MQTT 3.1.1 has none and just closes.
pub(super) fn disconnect(out: &mut BytesMut, version: Version, reason: Reason) {
    if version == Version::V5 {
        out.put_slice(&[0xE0, 2, reason as u8, 0]);
    }
}

/// An answer.
pub(super) fn reply(out: &mut BytesMut, version: Version, reply: &Reply) {
    match reply {
        Reply::PubAck(id, reason) => acknowledgement(out, version, 0x40, *id, *reason),
        Reply::PubRec(id, reason) => acknowledgement(out, version, 0x50, *id, *reason),
        Reply::PubComp(id, reason) => acknowledgement(out, version, 0x70, *id, *reason),
        Reply::SubAck(id, granted) => {
            list(
                out,
                version,
                0x90,
                *id,
                granted.iter().map(|granted| match (granted, version) {
                    (Ok(qos), _) => *qos as u8,
                    (Err(reason), Version::V5) => *reason as u8,
                    (Err(_), Version::V4) => 0x80,
                }),
            );
        }
        // 0x11: no subscription existed.
        Reply::UnsubAck(id, existed) if version == Version::V5 => {
            list(
                out,
                version,
                0xB0,
                *id,
                existed
                    .iter()
                    .map(|existed| if *existed { 0 } else { 0x11 }),
            );
        }
        Reply::UnsubAck(id, _) => acknowledgement(out, version, 0xB0, *id, None),
        Reply::Pong => out.put_slice(&[0xD0, 0]),
    }
}

fn acknowledgement(
    out: &mut BytesMut,
    version: Version,
    head: u8,
    id: u16,
    reason: Option<Reason>,
) {
    match reason {
        Some(reason) if version == Version::V5 => {
            out.put_slice(&[head, 3]);
            out.put_u16(id);
            out.put_u8(reason as u8);
        }
        _ => {
            out.put_slice(&[head, 2]);
            out.put_u16(id);
        }
    }
}

fn list(
    out: &mut BytesMut,
    version: Version,
    head: u8,
    id: u16,
    codes: impl ExactSizeIterator<Item = u8>,
) {
    out.put_u8(head);
    let no_properties = usize::from(version == Version::V5);
    put_length(out, 2 + no_properties + codes.len());
    out.put_u16(id);
    out.put_bytes(0, no_properties);
    out.extend(codes);
}

/// A message. `id` counts only above QoS 0.
pub(super) fn publish(out: &mut BytesMut, version: Version, parcel: &Parcel, id: u16) {
    let message = &*parcel.message;
    out.reserve(publish_len(version, parcel));
    out.put_u8(0x30 | (parcel.qos as u8) << 1 | u8::from(parcel.retain));
    put_length(out, remaining_len(version, parcel));
    // Topics come from packets, where their length has 16 bits.
    out.put_u16(u16::try_from(message.topic.len()).unwrap_or(u16::MAX));
    out.put_slice(message.topic.as_bytes());
    if parcel.qos != Qos::AtMostOnce {
        out.put_u16(id);
    }
    if version == Version::V5 {
        put_length(
            out,
            properties_len(&message.properties, &parcel.identifiers),
        );
        out.put_slice(&message.properties);
        for identifier in &parcel.identifiers {
            out.put_u8(0x0B);
            put_length(out, *identifier as usize);
        }
    }
    out.put_slice(&message.payload);
}

/// How long the whole packet is that [`publish`] writes.
pub(super) fn publish_len(version: Version, parcel: &Parcel) -> usize {
    let remaining = remaining_len(version, parcel);
    1 + length_len(remaining) + remaining
}

fn remaining_len(version: Version, parcel: &Parcel) -> usize {
    let message = &parcel.message;
    let id = if parcel.qos == Qos::AtMostOnce { 0 } else { 2 };
    let properties = match version {
        Version::V4 => 0,
        Version::V5 => {
            let len = properties_len(&message.properties, &parcel.identifiers);
            length_len(len) + len
        }
    };
    2 + message.topic.len() + id + properties + message.payload.len()
}

fn properties_len(properties: &Bytes, identifiers: &[u32]) -> usize {
    properties.len()
        + identifiers
            .iter()
            .map(|identifier| 1 + length_len(*identifier as usize))
            .sum::<usize>()
}

const fn length_len(len: usize) -> usize {
    match len {
        0..128 => 1,
        128..16_384 => 2,
        16_384..2_097_152 => 3,
        _ => 4,
    }
}

/// A variable byte integer (1.5.5).
fn put_length(out: &mut BytesMut, mut len: usize) {
    loop {
        let low = (len & 0x7F) as u8;
        len >>= 7;
        if len == 0 {
            out.put_u8(low);
            return;
        }
        out.put_u8(low | 0x80);
    }
}
