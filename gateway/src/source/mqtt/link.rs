//! MQTT 3.1.1 and 5 of rumqttc behind one shape: a [`Link`] that is polled, and the [`Requests`] that it works off.
//!
//! rumqttc's event loop is polled by one task alone and no poll is dropped before it is done (a poll that is dropped
//! can lose a packet between its state and the wire), but for the last one when the gateway stops. While a poll is
//! under way, acknowledgements can be requested; between two polls MQTT 3.1.1 also allows writing them straight to the
//! network, many in one flush, which costs half as much. MQTT 5 keeps its network private in rumqttc 0.25.1.
//!
//! What is put right here, each found in rumqttc 0.25.1:
//!
//! - A PUBREL whose PUBLISH this process never saw (PUBREC went out before a restart, or the connection was lost in
//!   between) is an error to it, and the broker repeats it on each connection: it would never connect again. Every
//!   connection starts from a state in which all ids are known, so each PUBREL is answered with PUBCOMP.
//! - Events and requests of the old connection outlive it: [`Link::forget`] clears both, so that no acknowledgement
//!   crosses over to a connection on which its packet id means something else.
//! - A DISCONNECT of MQTT 5 without a length of properties (mosquitto sends it so) is swallowed, reason and all: what is
//!   seen is a closed connection. So a session that was taken over is also guessed from how often that happens.
//! - MQTT 5 with a server keep-alive of 0 would ping without end.

use std::{net::Ipv6Addr, time::Duration};

use bytes::Bytes;
use rumqttc::{Transport, v5};
use smol_str::SmolStr;
use tokio::time::timeout;

use super::{
    Config, Version, tls,
    trouble::Trouble,
    unacked::{Ack, Guarantee},
};

/// A packet over this is not even read: the bound of memory for one packet. Below it, and over the configured maximum,
/// a message is a reject; above it, it would come again for ever, and the status says so.
pub(super) const HARD_PACKET_BYTES: usize = 16 * 1024 * 1024;
/// For our own packets: only the subscription is ever long.
const OUTGOING_PACKET_BYTES: usize = 1024 * 1024;
/// Connecting, TLS and CONNACK included, and one flush may take this long.
const NETWORK_TIMEOUT: Duration = Duration::from_secs(15);
/// We never publish: the smallest window will do.
const OUTGOING_WINDOW: u16 = 16;
/// More requests than can be asked for at once: one acknowledgement a packet id, a subscription, a disconnection.
const REQUESTS: usize = u16::MAX as usize + 16;

/// What one poll brought.
#[derive(Debug)]
pub(super) enum Event {
    /// CONNACK: the connection stands.
    Connected {
        /// Whether the broker kept our session.
        session_present: bool,
    },
    /// PUBLISH.
    Message(Message),
    /// SUBACK: for each filter, in order, whether it was taken or why not.
    Subscribed(Vec<Result<(), String>>),
    /// PUBREL: the broker knows that we have this QoS 2 message.
    Released(u16),
    /// A requested acknowledgement is on the wire.
    Acknowledged,
    /// A ping is on the wire.
    Pinged,
    /// The broker answered a ping.
    PingAnswered,
    /// UNSUBACK, for one filter.
    Unsubscribed,
    /// Our DISCONNECT is on the wire.
    Disconnected,
    /// Nothing of interest.
    Other,
}

/// A PUBLISH.
#[derive(Debug)]
pub(super) struct Message {
    /// `None` if it is not UTF-8.
    pub(super) topic: Option<SmolStr>,
    pub(super) payload: Bytes,
    /// `None` at QoS 0.
    pub(super) guarantee: Option<Guarantee>,
    /// Packet id; 0 at QoS 0.
    pub(super) id: u16,
    /// The broker says that it sent it before.
    pub(super) again: bool,
    pub(super) retained: bool,
}

/// The connection, or the attempt at one.
pub(super) enum Link {
    V4 {
        eventloop: Box<rumqttc::EventLoop>,
        fresh: Box<rumqttc::MqttState>,
        max: usize,
    },
    V5 {
        eventloop: Box<v5::EventLoop>,
        fresh: Box<v5::MqttState>,
        keep_alive: Duration,
        max: usize,
    },
}

/// What the link should send; it does so in its next polls. Never waits.
#[derive(Clone)]
pub(super) enum Requests {
    V4(rumqttc::AsyncClient),
    V5(v5::AsyncClient),
}

/// Prepares a link; nothing is sent before the first poll.
pub(super) fn prepare(config: &Config) -> Result<(Link, Requests), Trouble> {
    let transport = match &config.tls {
        None => Transport::tcp(),
        Some(tls) => Transport::tls_with_config(tls::client_config(tls)?.into()),
    };
    // rumqttc joins host and port with a colon; a bare IPv6 address needs its brackets (not so in a certificate's
    // name: TLS to an IPv6 address without a name is not possible with it).
    let host = match config.host.parse::<Ipv6Addr>() {
        Ok(address) if config.tls.is_none() => format!("[{address}]"),
        _ => config.host.clone(),
    };
    let id = config.client_id.as_str();
    let persistent = config.persistent_session && !id.is_empty();
    let keep_alive = config
        .keep_alive
        .clamp(Duration::from_secs(5), Duration::from_secs(u16::MAX.into()));
    let max = HARD_PACKET_BYTES.max(config.max_packet_bytes);
    let mut network = rumqttc::NetworkOptions::new();
    network.set_tcp_nodelay(true);
    network.set_connection_timeout(NETWORK_TIMEOUT.as_secs());
    let credentials = config.username.as_ref().map(|user| {
        let password = config.password.as_ref().map(|secret| secret.0.clone());
        (user.clone(), password.unwrap_or_default())
    });
    Ok(match config.version {
        Version::V4 => {
            let mut options = rumqttc::MqttOptions::new(id, host, config.port);
            options
                .set_transport(transport)
                .set_keep_alive(keep_alive)
                .set_clean_session(!persistent)
                .set_max_packet_size(max, OUTGOING_PACKET_BYTES)
                .set_inflight(OUTGOING_WINDOW)
                .set_manual_acks(true);
            if let Some((user, password)) = credentials {
                options.set_credentials(user, password);
            }
            let (client, mut eventloop) = rumqttc::AsyncClient::new(options, REQUESTS);
            eventloop.set_network_options(network);
            (
                Link::V4 {
                    eventloop: Box::new(eventloop),
                    fresh: Box::new(fresh_v4()),
                    max,
                },
                Requests::V4(client),
            )
        }
        Version::V5 => {
            let mut options = v5::MqttOptions::new(id, host, config.port);
            let receive_maximum = config.max_unacknowledged.clamp(1, u16::MAX.into());
            options
                .set_transport(transport)
                .set_keep_alive(keep_alive)
                .set_clean_start(!persistent)
                // Kept until we come back, as MQTT 3.1.1 does; brokers may set an earlier end.
                .set_session_expiry_interval(persistent.then_some(u32::MAX))
                .set_receive_maximum(u16::try_from(receive_maximum).ok())
                .set_max_packet_size(u32::try_from(max).ok())
                .set_outgoing_inflight_upper_limit(OUTGOING_WINDOW)
                .set_connection_timeout(NETWORK_TIMEOUT.as_secs())
                .set_network_options(network)
                .set_manual_acks(true);
            if let Some((user, password)) = credentials {
                options.set_credentials(user, password);
            }
            let (client, eventloop) = v5::AsyncClient::new(options, REQUESTS);
            (
                Link::V5 {
                    eventloop: Box::new(eventloop),
                    fresh: Box::new(fresh_v5()),
                    keep_alive,
                    max,
                },
                Requests::V5(client),
            )
        }
    })
}

impl Link {
    /// Drives the connection until something happens. Not to be dropped before it is done, unless it is the last one.
    pub(super) async fn poll(&mut self) -> Result<Event, Trouble> {
        match self {
            Self::V4 {
                eventloop,
                fresh,
                max,
            } => {
                let event = eventloop
                    .poll()
                    .await
                    .map_err(|error| Trouble::of_v4(error, *max))?;
                let event = of_v4(event);
                if matches!(event, Event::Connected { .. }) {
                    eventloop.state.clone_from(fresh);
                }
                Ok(event)
            }
            Self::V5 {
                eventloop,
                fresh,
                keep_alive,
                max,
            } => {
                let event = eventloop
                    .poll()
                    .await
                    .map_err(|error| Trouble::of_v5(error, *max))?;
                let event = of_v5(event);
                if matches!(event, Event::Connected { .. }) {
                    eventloop.state.clone_from(fresh);
                    if eventloop.options.keep_alive().is_zero() {
                        eventloop.options.set_keep_alive(*keep_alive);
                    }
                }
                Ok(event)
            }
        }
    }

    /// What an earlier poll read beside what it returned.
    pub(super) fn buffered(&mut self) -> Option<Event> {
        match self {
            Self::V4 { eventloop, .. } => eventloop.state.events.pop_front().map(of_v4),
            Self::V5 { eventloop, .. } => eventloop.state.events.pop_front().map(of_v5),
        }
    }

    /// How often we ping; a broker of MQTT 5 may have changed it.
    pub(super) fn keep_alive(&self) -> Duration {
        match self {
            Self::V4 { eventloop, .. } => eventloop.mqtt_options.keep_alive(),
            Self::V5 { eventloop, .. } => eventloop.options.keep_alive(),
        }
    }

    /// Whether acknowledgements can be written between polls.
    pub(super) const fn writes_directly(&self) -> bool {
        matches!(self, Self::V4 { .. })
    }

    /// Writes acknowledgements in order and flushes once. Only between polls, and only where it
    /// [`Link::writes_directly`]; elsewhere, and without a connection, nothing is written.
    pub(super) async fn write(&mut self, acks: impl Iterator<Item = Ack>) -> Result<(), Trouble> {
        let packets = acks.map(|ack| match ack.guarantee {
            Guarantee::AtLeastOnce => rumqttc::Packet::PubAck(rumqttc::PubAck::new(ack.id)),
            Guarantee::ExactlyOnce => rumqttc::Packet::PubRec(rumqttc::PubRec::new(ack.id)),
        });
        self.write_packets(packets).await
    }

    /// Tells the broker that we are alive, between polls; only where it [`Link::writes_directly`].
    pub(super) async fn write_ping(&mut self) -> Result<(), Trouble> {
        self.write_packets(std::iter::once(rumqttc::Packet::PingReq))
            .await
    }

    /// Says goodbye, between polls; only where it [`Link::writes_directly`].
    pub(super) async fn write_disconnect(&mut self) -> Result<(), Trouble> {
        self.write_packets(std::iter::once(rumqttc::Packet::Disconnect))
            .await
    }

    async fn write_packets(
        &mut self,
        packets: impl Iterator<Item = rumqttc::Packet>,
    ) -> Result<(), Trouble> {
        let Self::V4 { eventloop, max, .. } = self else {
            return Ok(());
        };
        let Some(network) = eventloop.network.as_mut() else {
            return Ok(());
        };
        let write = async {
            for packet in packets {
                network.write(packet).await?;
            }
            network.flush().await
        };
        match timeout(NETWORK_TIMEOUT, write).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(Trouble::of_v4(error.into(), *max)),
            Err(_) => Err(Trouble::TimedOut),
        }
    }

    /// After a pause in polling: the answer to the last ping is behind what was not read, so it is not late.
    pub(super) fn forgive_ping(&mut self) {
        match self {
            Self::V4 { eventloop, .. } => eventloop.state.await_pingresp = false,
            Self::V5 { eventloop, .. } => eventloop.state.await_pingresp = false,
        }
    }

    /// Drops the connection and everything that belonged to it: events, requests, packet ids.
    pub(super) fn forget(&mut self) {
        match self {
            Self::V4 {
                eventloop, fresh, ..
            } => {
                eventloop.clean();
                eventloop.pending.clear();
                eventloop.state.clone_from(fresh);
            }
            Self::V5 {
                eventloop, fresh, ..
            } => {
                eventloop.clean();
                eventloop.pending.clear();
                eventloop.state.clone_from(fresh);
            }
        }
    }
}

impl Requests {
    /// Asks for an acknowledgement. False if there is no room, which [`REQUESTS`] rules out.
    pub(super) fn acknowledge(&self, ack: Ack) -> bool {
        match self {
            Self::V4(client) => {
                let mut publish = rumqttc::Publish::new("", qos_v4(ack.guarantee), Vec::new());
                publish.pkid = ack.id;
                client.try_ack(&publish).is_ok()
            }
            Self::V5(client) => {
                let mut publish =
                    v5::mqttbytes::v5::Publish::new("", qos_v5(ack.guarantee), Vec::new(), None);
                publish.pkid = ack.id;
                client.try_ack(&publish).is_ok()
            }
        }
    }

    /// Asks for subscriptions, all in one packet; they must be valid filters. False if there is no room.
    pub(super) fn subscribe(&self, filters: &[super::Subscription]) -> bool {
        match self {
            Self::V4(client) => client
                .try_subscribe_many(filters.iter().map(|s| {
                    let qos = match s.qos {
                        0 => rumqttc::QoS::AtMostOnce,
                        1 => rumqttc::QoS::AtLeastOnce,
                        _ => rumqttc::QoS::ExactlyOnce,
                    };
                    rumqttc::SubscribeFilter::new(s.filter.to_string(), qos)
                }))
                .is_ok(),
            Self::V5(client) => client
                .try_subscribe_many(filters.iter().map(|s| {
                    let qos = match s.qos {
                        0 => v5::mqttbytes::QoS::AtMostOnce,
                        1 => v5::mqttbytes::QoS::AtLeastOnce,
                        _ => v5::mqttbytes::QoS::ExactlyOnce,
                    };
                    v5::mqttbytes::v5::Filter::new(s.filter.as_str(), qos)
                }))
                .is_ok(),
        }
    }

    /// Asks for the end of a subscription. False if there is no room.
    pub(super) fn unsubscribe(&self, filter: &str) -> bool {
        match self {
            Self::V4(client) => client.try_unsubscribe(filter).is_ok(),
            Self::V5(client) => client.try_unsubscribe(filter).is_ok(),
        }
    }

    /// Asks for a goodbye. False if there is no room.
    pub(super) fn disconnect(&self) -> bool {
        match self {
            Self::V4(client) => client.try_disconnect().is_ok(),
            Self::V5(client) => client.try_disconnect().is_ok(),
        }
    }
}

fn of_v4(event: rumqttc::Event) -> Event {
    use rumqttc::{Event as E, Packet, QoS, SubscribeReasonCode};
    match event {
        E::Incoming(Packet::Publish(publish)) => Event::Message(Message {
            topic: Some(SmolStr::new(&publish.topic)),
            payload: publish.payload,
            guarantee: match publish.qos {
                QoS::AtMostOnce => None,
                QoS::AtLeastOnce => Some(Guarantee::AtLeastOnce),
                QoS::ExactlyOnce => Some(Guarantee::ExactlyOnce),
            },
            id: publish.pkid,
            again: publish.dup,
            retained: publish.retain,
        }),
        E::Incoming(Packet::ConnAck(connack)) => Event::Connected {
            session_present: connack.session_present,
        },
        E::Incoming(Packet::SubAck(suback)) => Event::Subscribed(
            suback
                .return_codes
                .into_iter()
                .map(|code| match code {
                    SubscribeReasonCode::Success(_) => Ok(()),
                    SubscribeReasonCode::Failure => Err(String::from("refused")),
                })
                .collect(),
        ),
        E::Incoming(Packet::PubRel(release)) => Event::Released(release.pkid),
        E::Incoming(Packet::PingResp) => Event::PingAnswered,
        E::Incoming(Packet::UnsubAck(_)) => Event::Unsubscribed,
        E::Outgoing(outgoing) => of_outgoing(&outgoing),
        E::Incoming(_) => Event::Other,
    }
}

fn of_v5(event: v5::Event) -> Event {
    use v5::{
        Event as E,
        mqttbytes::{
            QoS,
            v5::{Packet, SubscribeReasonCode},
        },
    };
    match event {
        E::Incoming(Packet::Publish(publish)) => Event::Message(Message {
            topic: std::str::from_utf8(&publish.topic).ok().map(SmolStr::new),
            payload: publish.payload,
            guarantee: match publish.qos {
                QoS::AtMostOnce => None,
                QoS::AtLeastOnce => Some(Guarantee::AtLeastOnce),
                QoS::ExactlyOnce => Some(Guarantee::ExactlyOnce),
            },
            id: publish.pkid,
            again: publish.dup,
            retained: publish.retain,
        }),
        E::Incoming(Packet::ConnAck(connack)) => Event::Connected {
            session_present: connack.session_present,
        },
        E::Incoming(Packet::SubAck(suback)) => Event::Subscribed(
            suback
                .return_codes
                .into_iter()
                .map(|code| match code {
                    SubscribeReasonCode::Success(_) => Ok(()),
                    code => Err(format!("{code:?}")),
                })
                .collect(),
        ),
        E::Incoming(Packet::PubRel(release)) => Event::Released(release.pkid),
        E::Incoming(Packet::PingResp(_)) => Event::PingAnswered,
        E::Incoming(Packet::UnsubAck(_)) => Event::Unsubscribed,
        E::Outgoing(outgoing) => of_outgoing(&outgoing),
        E::Incoming(_) => Event::Other,
    }
}

const fn of_outgoing(outgoing: &rumqttc::Outgoing) -> Event {
    use rumqttc::Outgoing;
    match outgoing {
        Outgoing::PubAck(_) | Outgoing::PubRec(_) => Event::Acknowledged,
        Outgoing::PingReq => Event::Pinged,
        Outgoing::Disconnect => Event::Disconnected,
        _ => Event::Other,
    }
}

const fn qos_v4(guarantee: Guarantee) -> rumqttc::QoS {
    match guarantee {
        Guarantee::AtLeastOnce => rumqttc::QoS::AtLeastOnce,
        Guarantee::ExactlyOnce => rumqttc::QoS::ExactlyOnce,
    }
}

const fn qos_v5(guarantee: Guarantee) -> v5::mqttbytes::QoS {
    match guarantee {
        Guarantee::AtLeastOnce => v5::mqttbytes::QoS::AtLeastOnce,
        Guarantee::ExactlyOnce => v5::mqttbytes::QoS::ExactlyOnce,
    }
}

/// A state in which every packet id counts as a QoS 2 message that waits for its PUBREL.
fn fresh_v4() -> rumqttc::MqttState {
    let mut state = rumqttc::MqttState::new(OUTGOING_WINDOW, true);
    for id in 1..=u16::MAX {
        let mut publish = rumqttc::Publish::new("", rumqttc::QoS::ExactlyOnce, Vec::new());
        publish.pkid = id;
        // With manual acknowledgements this notes the id and can't fail.
        let _ = state.handle_incoming_packet(rumqttc::Packet::Publish(publish));
        state.events.clear();
    }
    state
}

/// As [`fresh_v4`].
fn fresh_v5() -> v5::MqttState {
    use v5::mqttbytes::{
        QoS,
        v5::{Packet, Publish},
    };
    let mut state = v5::MqttState::new(OUTGOING_WINDOW, true);
    for id in 1..=u16::MAX {
        let mut publish = Publish::new("", QoS::ExactlyOnce, Vec::new(), None);
        publish.pkid = id;
        // With manual acknowledgements this notes the id and can't fail.
        let _ = state.handle_incoming_packet(Packet::Publish(publish));
        state.events.clear();
    }
    state
}
