//! One MQTT connection, from CONNECT to its end, in protocol 3.1.1 or 5, by rumqttc. It never reconnects: a new
//! connection is a new session, so that nothing of the old one is left over.
//!
//! Poll [`Events::next`] in one place and never drop its future half-way: rumqttc may lose a write then.

use std::time::Duration;

use bytes::Bytes;
use rumqttc::{Outgoing, Packet, v5};

use crate::scenario::{Qos, Version};

const KEEP_ALIVE: Duration = Duration::from_secs(30);
const CONNECT_SECONDS: u64 = 5;
const MAX_PACKET: usize = 16 * 1024 * 1024;
/// Requests that wait for the poll; publishing waits when it is full.
const REQUESTS: usize = 16;

/// Where and as whom to connect.
#[derive(Clone, Debug)]
pub struct Peer {
    /// Name or address.
    pub host: String,
    /// Usually 1883.
    pub port: u16,
    /// The broker throws out an older connection with the same one.
    pub client_id: String,
    /// User and password.
    pub login: Option<(String, String)>,
    /// Protocol version.
    pub version: Version,
    /// How many messages may wait for their acknowledgement.
    pub in_flight: u16,
}

/// The sending half.
#[derive(Clone, Debug)]
pub enum Publisher {
    /// 3.1.1
    V3(rumqttc::AsyncClient),
    /// 5
    V5(v5::AsyncClient),
}

/// The polling half.
pub enum Events {
    /// 3.1.1
    V3(Box<rumqttc::EventLoop>),
    /// 5
    V5(Box<v5::EventLoop>),
}

/// What a poll brought.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Heard {
    /// The broker took the connection.
    Connected,
    /// The next message in order of publishing went out, with this packet id (0 at quality 0).
    WentOut(u16),
    /// The message with this packet id is acknowledged in full.
    Acknowledged(u16),
    /// The broker refused it.
    Refused(u16, String),
    /// DISCONNECT went out.
    SaidGoodbye,
    /// Nothing of interest.
    Other,
}

/// The connection ended or never began.
#[derive(Debug, thiserror::Error)]
pub enum SessionError {
    /// Protocol 3.1.1.
    #[error("the mqtt connection failed: {0}")]
    V3(#[from] Box<rumqttc::ConnectionError>),
    /// Protocol 5.
    #[error("the mqtt connection failed: {0}")]
    V5(#[from] Box<v5::ConnectionError>),
    /// The other half is gone.
    #[error("the mqtt connection has ended")]
    Ended,
}

/// How many messages may wait for their acknowledgement: mosquitto breaks a connection of protocol 3.1.1 with more than
/// 20 unfinished messages of quality 2 (its `max_inflight_messages`), which only protocol 5 can tell the client.
#[must_use]
pub fn window(qos: Qos, asked: u16) -> u16 {
    match qos {
        Qos::ExactlyOnce => asked.min(20),
        Qos::AtMostOnce | Qos::AtLeastOnce => asked,
    }
}

/// A new connection; it is made when it is first polled. A clean session.
#[must_use]
pub fn open(peer: &Peer) -> (Publisher, Events) {
    match peer.version {
        Version::V3 => {
            let mut options = rumqttc::MqttOptions::new(&peer.client_id, &peer.host, peer.port);
            options
                .set_keep_alive(KEEP_ALIVE)
                .set_clean_session(true)
                .set_max_packet_size(MAX_PACKET, MAX_PACKET)
                .set_inflight(peer.in_flight.max(1));
            if let Some((user, password)) = &peer.login {
                options.set_credentials(user, password);
            }
            let (client, mut events) = rumqttc::AsyncClient::new(options, REQUESTS);
            let mut network = rumqttc::NetworkOptions::new();
            network.set_connection_timeout(CONNECT_SECONDS);
            network.set_tcp_nodelay(true);
            events.set_network_options(network);
            (Publisher::V3(client), Events::V3(Box::new(events)))
        }
        Version::V5 => {
            let mut options = v5::MqttOptions::new(&peer.client_id, &peer.host, peer.port);
            options
                .set_keep_alive(KEEP_ALIVE)
                .set_clean_start(true)
                .set_connection_timeout(CONNECT_SECONDS)
                .set_outgoing_inflight_upper_limit(peer.in_flight.max(1));
            let mut network = rumqttc::NetworkOptions::new();
            network.set_connection_timeout(CONNECT_SECONDS);
            network.set_tcp_nodelay(true);
            options.set_network_options(network);
            if let Some((user, password)) = &peer.login {
                options.set_credentials(user, password);
            }
            let (client, events) = v5::AsyncClient::new(options, REQUESTS);
            (Publisher::V5(client), Events::V5(Box::new(events)))
        }
    }
}

impl Publisher {
    /// Queues a message; waits while the queue or the window of unacknowledged messages is full.
    ///
    /// # Errors
    ///
    /// When the polling half is gone.
    pub async fn publish(
        &self,
        topic: &str,
        qos: Qos,
        retain: bool,
        payload: Bytes,
    ) -> Result<(), SessionError> {
        match self {
            Self::V3(client) => client
                .publish_bytes(topic, qos.into(), retain, payload)
                .await
                .map_err(|_| SessionError::Ended),
            Self::V5(client) => client
                .publish_bytes(topic, qos.into(), retain, payload)
                .await
                .map_err(|_| SessionError::Ended),
        }
    }

    /// Queues a DISCONNECT.
    ///
    /// # Errors
    ///
    /// When the polling half is gone.
    pub async fn goodbye(&self) -> Result<(), SessionError> {
        match self {
            Self::V3(client) => client.disconnect().await.map_err(|_| SessionError::Ended),
            Self::V5(client) => client.disconnect().await.map_err(|_| SessionError::Ended),
        }
    }
}

impl Events {
    /// Drives the connection to its next event.
    ///
    /// # Errors
    ///
    /// When the connection ended; do not poll again.
    pub async fn next(&mut self) -> Result<Heard, SessionError> {
        match self {
            Self::V3(events) => match events.poll().await.map_err(Box::new)? {
                rumqttc::Event::Incoming(packet) => Ok(match packet {
                    Packet::ConnAck(_) => Heard::Connected,
                    Packet::PubAck(ack) => Heard::Acknowledged(ack.pkid),
                    Packet::PubComp(ack) => Heard::Acknowledged(ack.pkid),
                    _ => Heard::Other,
                }),
                rumqttc::Event::Outgoing(outgoing) => Ok(outgoing.into()),
            },
            Self::V5(events) => match events.poll().await.map_err(Box::new)? {
                v5::Event::Incoming(packet) => Ok(heard_v5(packet)),
                v5::Event::Outgoing(outgoing) => Ok(outgoing.into()),
            },
        }
    }
}

fn heard_v5(packet: v5::Incoming) -> Heard {
    use v5::mqttbytes::v5::{Packet, PubAckReason, PubCompReason, PubRecReason};
    match packet {
        Packet::ConnAck(_) => Heard::Connected,
        Packet::PubAck(ack) => match ack.reason {
            PubAckReason::Success | PubAckReason::NoMatchingSubscribers => {
                Heard::Acknowledged(ack.pkid)
            }
            reason => Heard::Refused(ack.pkid, format!("{reason:?}")),
        },
        Packet::PubRec(rec) => match rec.reason {
            PubRecReason::Success | PubRecReason::NoMatchingSubscribers => Heard::Other,
            reason => Heard::Refused(rec.pkid, format!("{reason:?}")),
        },
        Packet::PubComp(ack) => match ack.reason {
            PubCompReason::Success => Heard::Acknowledged(ack.pkid),
            reason => Heard::Refused(ack.pkid, format!("{reason:?}")),
        },
        _ => Heard::Other,
    }
}

impl From<Outgoing> for Heard {
    fn from(outgoing: Outgoing) -> Self {
        match outgoing {
            Outgoing::Publish(pkid) => Self::WentOut(pkid),
            Outgoing::Disconnect => Self::SaidGoodbye,
            _ => Self::Other,
        }
    }
}

impl From<Qos> for rumqttc::QoS {
    fn from(qos: Qos) -> Self {
        match qos {
            Qos::AtMostOnce => Self::AtMostOnce,
            Qos::AtLeastOnce => Self::AtLeastOnce,
            Qos::ExactlyOnce => Self::ExactlyOnce,
        }
    }
}

impl From<Qos> for v5::mqttbytes::QoS {
    fn from(qos: Qos) -> Self {
        match qos {
            Qos::AtMostOnce => Self::AtMostOnce,
            Qos::AtLeastOnce => Self::AtLeastOnce,
            Qos::ExactlyOnce => Self::ExactlyOnce,
        }
    }
}

impl std::fmt::Debug for Events {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Events")
    }
}
