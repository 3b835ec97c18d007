//! What both protocol versions have in common: one shape of a packet, cut from the stream and named alike.
//!
//! `v4` and `v5` turn bytes into [`Incoming`] with the codecs of `rumqttc`; everything after
//! them knows one protocol. Two duties are taken from those codecs because they don't do them: packets are cut from the stream
//! here (an error inside a whole packet must never be read as "more bytes needed"), and the flags of the fixed
//! header and of CONNECT are checked here. Not checked, since the codecs hide them: the reserved bits of subscription options.
//!
//! Section numbers are those of MQTT 5.0 (OASIS, 2019) unless they say 3.1.1.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use smol_str::SmolStr;

use super::{v4, v5};

/// Payloads up to this size are copied out of the read buffer: a slice of a few bytes would pin the whole of it.
const COPY_PAYLOAD_BYTES: usize = 1024;

/// Which protocol a connection speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Version {
    /// MQTT 3.1.1.
    V4,
    /// MQTT 5.
    V5,
}

/// How often a message is delivered.
#[expect(clippy::enum_variant_names, reason = "the names of the protocol")]
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Qos {
    AtMostOnce,
    AtLeastOnce,
    ExactlyOnce,
}

/// Why something is refused; the numbers are the reason codes of MQTT 5 (2.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub(super) enum Reason {
    Malformed = 0x81,
    ProtocolError = 0x82,
    UnsupportedVersion = 0x84,
    ClientIdInvalid = 0x85,
    BadCredentials = 0x86,
    NotAuthorised = 0x87,
    ServerStopping = 0x8B,
    BadAuthenticationMethod = 0x8C,
    KeepAliveTimeout = 0x8D,
    TakenOver = 0x8E,
    TopicFilterInvalid = 0x8F,
    TopicNameInvalid = 0x90,
    PacketIdNotFound = 0x92,
    ReceiveMaximumExceeded = 0x93,
    TopicAliasInvalid = 0x94,
    PacketTooLarge = 0x95,
    QuotaExceeded = 0x97,
    SharedSubscriptions = 0x9E,
}

impl Reason {
    /// The name in metrics and logs.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Malformed => "malformed",
            Self::ProtocolError => "protocol_error",
            Self::UnsupportedVersion => "unsupported_version",
            Self::ClientIdInvalid => "client_id_invalid",
            Self::BadCredentials => "bad_credentials",
            Self::NotAuthorised => "not_authorised",
            Self::ServerStopping => "stopping",
            Self::BadAuthenticationMethod => "bad_authentication_method",
            Self::KeepAliveTimeout => "keep_alive_timeout",
            Self::TakenOver => "taken_over",
            Self::TopicFilterInvalid => "topic_filter_invalid",
            Self::TopicNameInvalid => "topic_name_invalid",
            Self::PacketIdNotFound => "packet_id_not_found",
            Self::ReceiveMaximumExceeded => "receive_maximum_exceeded",
            Self::TopicAliasInvalid => "topic_alias_invalid",
            Self::PacketTooLarge => "packet_too_large",
            Self::QuotaExceeded => "quota_exceeded",
            Self::SharedSubscriptions => "shared_subscriptions",
        }
    }
}

/// An application message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Message {
    pub(super) topic: SmolStr,
    pub(super) payload: Bytes,
    pub(super) qos: Qos,
    pub(super) retain: bool,
    /// The properties that go on to subscribers, as MQTT 5 encodes them, without their length. Empty: none.
    pub(super) properties: Bytes,
    /// How long a retained copy is kept; none: until it is replaced.
    pub(super) expiry: Option<Duration>,
}

/// The first packet of a client (3.1).
#[derive(Debug)]
pub(super) struct Connect {
    pub(super) client_id: String,
    /// Clean session or clean start: the client expects nothing of an earlier connection.
    pub(super) clean: bool,
    /// In seconds; 0: none.
    pub(super) keep_alive: u16,
    pub(super) will: Option<Message>,
    /// User and password.
    pub(super) login: Option<(String, String)>,
    /// How many QoS 1 messages the client takes before it acknowledges one.
    pub(super) receive_maximum: u16,
    /// The largest packet that the client takes.
    pub(super) max_packet_bytes: usize,
    /// It asked for enhanced authentication (4.12).
    pub(super) enhanced_authentication: bool,
}

/// One filter of a SUBSCRIBE (3.8.3).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Filter {
    pub(super) path: SmolStr,
    pub(super) qos: Qos,
    pub(super) no_local: bool,
    pub(super) retain_as_published: bool,
    pub(super) retained: SendRetained,
}

/// When a subscription gets the retained messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SendRetained {
    Always,
    IfNew,
    Never,
}

/// What a connected client can say.
#[derive(Debug)]
pub(super) enum Incoming {
    Publish {
        duplicate: bool,
        /// 0 at QoS 0.
        id: u16,
        message: Message,
    },
    PubAck(u16),
    PubRel(u16),
    Subscribe {
        id: u16,
        filters: Vec<Filter>,
        identifier: Option<u32>,
    },
    Unsubscribe {
        id: u16,
        filters: Vec<String>,
    },
    Ping,
    Disconnect {
        /// It says goodbye, but wants its will to be published (0x04).
        with_will: bool,
    },
}

/// What is said to a connected client, apart from messages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Reply {
    PubAck(u16, Option<Reason>),
    PubRec(u16, Option<Reason>),
    PubComp(u16, Option<Reason>),
    SubAck(u16, Vec<Result<Qos, Reason>>),
    /// Per filter: whether it was there.
    UnsubAck(u16, Vec<bool>),
    Pong,
}

/// A first packet that gets no answer, or only one that says "not this version".
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NotConnect {
    /// No CONNECT of any MQTT: nothing is answered.
    Foreign,
    /// MQTT 3.1 or older: CONNACK 1 of 3.1.1.
    TooOld,
    /// Newer than 5: CONNACK 0x84.
    TooNew,
    /// Over the limit on packets.
    TooLarge,
}

/// Looks for a whole CONNECT at the head of `buffer` and says which protocol it speaks. `None`: more bytes are needed.
///
/// # Errors
///
/// [`NotConnect`] as soon as it is certain.
pub(super) fn first(buffer: &[u8], max_bytes: usize) -> Result<Option<Version>, NotConnect> {
    if buffer.first().is_some_and(|&byte| byte != 0x10) {
        return Err(NotConnect::Foreign);
    }
    let Some((header, remaining)) = fixed_header(buffer).map_err(|_| NotConnect::Foreign)? else {
        return Ok(None);
    };
    if header + remaining > max_bytes {
        return Err(NotConnect::TooLarge);
    }
    let Some(packet) = buffer.get(header..header + remaining) else {
        return Ok(None);
    };
    match packet {
        [0, 4, b'M', b'Q', b'T', b'T', 4, ..] => Ok(Some(Version::V4)),
        [0, 4, b'M', b'Q', b'T', b'T', 5, ..] => Ok(Some(Version::V5)),
        [0, 4, b'M', b'Q', b'T', b'T', level, ..] if *level > 5 => Err(NotConnect::TooNew),
        [0, 4, b'M', b'Q', b'T', b'T', ..] | [0, 6, b'M', b'Q', b'I', b's', b'd', b'p', ..] => {
            Err(NotConnect::TooOld)
        }
        _ => Err(NotConnect::Foreign),
    }
}

/// Cuts the next whole packet from `buffer`. `None`: more bytes are needed.
///
/// # Errors
///
/// [`Reason::PacketTooLarge`] as soon as the header is there; [`Reason::Malformed`] for a length of five bytes.
pub(super) fn cut(buffer: &mut BytesMut, max_bytes: usize) -> Result<Option<BytesMut>, Reason> {
    let Some((header, remaining)) = fixed_header(buffer)? else {
        return Ok(None);
    };
    let total = header + remaining;
    if total > max_bytes {
        return Err(Reason::PacketTooLarge);
    }
    Ok((buffer.len() >= total).then(|| buffer.split_to(total)))
}

/// The length of the fixed header and the remaining length (2.1.4).
fn fixed_header(buffer: &[u8]) -> Result<Option<(usize, usize)>, Reason> {
    let mut remaining = 0;
    for (at, &byte) in buffer.iter().skip(1).take(4).enumerate() {
        remaining |= usize::from(byte & 0x7F) << (7 * at);
        if byte & 0x80 == 0 {
            return Ok(Some((at + 2, remaining)));
        }
    }
    if buffer.len() >= 5 {
        return Err(Reason::Malformed);
    }
    Ok(None)
}

impl Version {
    /// Reads one whole packet that [`first`] found to be a CONNECT of this version.
    pub(super) fn connect(self, packet: BytesMut) -> Result<Connect, Reason> {
        // Behind the protocol's name and level.
        let flags = fixed_header(&packet)?.and_then(|(header, _)| packet.get(header + 7));
        let flags = *flags.ok_or(Reason::Malformed)?;
        let (reserved, password_alone) = (flags & 0x01 != 0, flags & 0xC0 == 0x40);
        if reserved || (password_alone && self == Self::V4) {
            return Err(Reason::Malformed);
        }
        match self {
            Self::V4 => v4::connect(packet),
            Self::V5 => v5::connect(packet),
        }
    }

    /// Reads one whole packet of a connected client, as [`cut`] cut it.
    pub(super) fn decode(self, packet: BytesMut) -> Result<Incoming, Reason> {
        let Some(&head) = packet.first() else {
            return Err(Reason::Malformed);
        };
        let (kind, flags) = (head >> 4, head & 0x0F);
        let right_flags = match kind {
            3 => {
                let qos = (flags >> 1) & 3;
                qos != 3 && !(qos == 0 && flags & 8 != 0)
            }
            6 | 8 | 10 => flags == 2,
            4 | 12 | 14 => flags == 0,
            // A second CONNECT, what only servers say, PUBREC and PUBCOMP (nothing is sent at QoS 2), AUTH.
            _ => return Err(Reason::ProtocolError),
        };
        if !right_flags {
            return Err(Reason::Malformed);
        }
        if kind == 12 {
            return if packet.len() == 2 {
                Ok(Incoming::Ping)
            } else {
                Err(Reason::Malformed)
            };
        }
        match self {
            Self::V4 => v4::decode(packet),
            Self::V5 => v5::decode(packet),
        }
    }
}

/// The payload as a message keeps it.
pub(super) fn keep(payload: Bytes) -> Bytes {
    if payload.len() <= COPY_PAYLOAD_BYTES {
        Bytes::copy_from_slice(&payload)
    } else {
        payload
    }
}
