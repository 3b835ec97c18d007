//! One connection: its socket, its timers, and the order of its end.
//!
//! One task does it all. Reading pauses while too much is on its way to the disk or too much waits to be written, so one
//! client can hold only its own bounds. When the connection ends, what it sent is still taken to the disk, then its will is
//! published if it did not say goodbye, then its presence ends.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use bytes::BytesMut;
use smol_str::SmolStr;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::Instant,
};
use tokio_util::sync::CancellationToken;

use super::{
    super::{Stopped, shed::Shed},
    Hub,
    conveyor::{Bounds, Conveyor},
    encode,
    handshake::{self, Guest, Rebuff},
    outbox::{Outbox, Parcel},
    packet::{self, Message, Reason, Version},
    registry::Membership,
    router::Grant,
    session::{Answer, Effect, Session, Taken, Terms},
};
use crate::{
    model::{Presence, Timestamp},
    rejects::{self, MAX_SAMPLE_BYTES, Reject},
};

/// Bytes that may wait to be written before no more messages are added and reading pauses.
const MAX_OUT_BYTES: usize = 64 * 1024;
/// The read buffer starts with this much room …
const MIN_READ_BYTES: usize = 2 * 1024;
/// … and grows to this much when a client fills it.
const MAX_READ_BYTES: usize = 64 * 1024;
/// How long a new connection waits for the end of the one whose client id it takes.
const TAKE_OVER_WITHIN: Duration = Duration::from_secs(5);

/// How a connection ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Goodbye { with_will: bool },
    Vanished,
    Closed(Reason),
    Stopping,
}

enum Event {
    Stop,
    TakenOver,
    Settled(Result<Vec<Taken>, Stopped>),
    Written(std::io::Result<usize>),
    Received(std::io::Result<usize>),
    Outgoing,
    KeepAlive,
}

struct Connection {
    hub: Arc<Hub>,
    membership: Membership,
    version: Version,
    session: Session,
    conveyor: Conveyor,
    outbox: Arc<Outbox>,
    inbox: BytesMut,
    out: BytesMut,
    at_once: Vec<Message>,
    /// Topics whose retained message a new subscription still has to get.
    retained_due: VecDeque<(SmolStr, Grant)>,
    /// The largest packet that the client takes.
    client_max_bytes: usize,
    will: Option<Message>,
    /// One and a half times what was agreed; none: it may stay silent for ever (MQTT 3.1.1 only).
    patience: Option<Duration>,
}

/// The first bytes of a packet, kept on the stack while it is read: it may have to be shown as a reject.
struct Head {
    bytes: [u8; MAX_SAMPLE_BYTES],
    kept: usize,
    /// Of them all, as far as they have come.
    packet_bytes: usize,
}

impl Head {
    fn of(packet: &[u8]) -> Self {
        let mut bytes = [0; MAX_SAMPLE_BYTES];
        // A second CONNECT holds a password.
        let is_connect = packet.first().is_some_and(|first| first >> 4 == 1);
        let kept = if is_connect {
            0
        } else {
            packet.len().min(MAX_SAMPLE_BYTES)
        };
        bytes[..kept].copy_from_slice(&packet[..kept]);
        Self {
            bytes,
            kept,
            packet_bytes: packet.len(),
        }
    }

    fn bytes(&self) -> &[u8] {
        &self.bytes[..self.kept]
    }
}

/// Serves one client until it goes, or until `stop`.
pub(super) async fn serve(mut stream: TcpStream, hub: Arc<Hub>, stop: CancellationToken) {
    let mut inbox = BytesMut::with_capacity(MIN_READ_BYTES);
    let greeted = tokio::select! {
        greeted = handshake::greet(&mut stream, &mut inbox, &hub.config) => greeted,
        () = stop.cancelled() => return,
    };
    let guest = match greeted {
        Ok(guest) => guest,
        Err(Rebuff::Silent(why)) => {
            hub.metrics.refused(why);
            return;
        }
        Err(Rebuff::Refused(version, reason)) => {
            hub.metrics.refused(reason.name());
            tracing::debug!(reason = reason.name(), "MQTT client refused");
            return handshake::refuse(stream, version, reason).await;
        }
    };
    let (membership, former) = hub.registry.enter(guest.client_id.clone());
    if let Some(former) = former
        && tokio::time::timeout(TAKE_OVER_WITHIN, former.cancelled())
            .await
            .is_err()
    {
        tracing::debug!(client = %guest.client_id, "former connection still ends");
    }
    let connection = Connection::new(Arc::clone(&hub), guest, membership, inbox);
    hub.metrics.connections.inc();
    connection.run(stream, stop).await;
    hub.metrics.connections.dec();
}

impl Connection {
    fn new(hub: Arc<Hub>, guest: Guest, membership: Membership, inbox: BytesMut) -> Self {
        let Guest {
            version,
            connect,
            client_id,
            assigned,
        } = guest;
        let config = &hub.config;
        let receive_maximum = u16::try_from(config.max_unacknowledged)
            .unwrap_or(u16::MAX)
            .max(1);
        let max_keep_alive = u16::try_from(config.max_keep_alive.as_secs())
            .unwrap_or(u16::MAX)
            .max(1);
        let imposed = (version == Version::V5
            && (connect.keep_alive == 0 || connect.keep_alive > max_keep_alive))
            .then_some(max_keep_alive);
        let keep_alive = Duration::from_secs(imposed.unwrap_or(connect.keep_alive).into());
        let mut out = BytesMut::new();
        encode::welcome(
            &mut out,
            version,
            &encode::Welcome {
                receive_maximum,
                max_packet_bytes: config.max_packet_bytes,
                assigned_client_id: assigned.then_some(client_id.as_str()),
                keep_alive: imposed,
            },
        );
        let outbox = Arc::new(Outbox::new(
            config.max_outgoing_bytes,
            hub.metrics.outgoing_dropped.clone(),
        ));
        hub.router.join(membership.key(), Arc::clone(&outbox));
        let conveyor = Conveyor::new(
            hub.intake.clone(),
            hub.status.clone(),
            client_id,
            Bounds {
                messages: receive_maximum.into(),
                bytes: config.max_packet_bytes,
                together: Arc::clone(&hub.undurable_bytes),
            },
            Shed::counting(
                config.queue,
                hub.status.dropped_queue_full.clone(),
                hub.status.waiting.clone(),
            ),
        );
        let session = Session::new(Terms {
            version,
            max_subscriptions: config.max_subscriptions,
            receive_maximum: receive_maximum.into(),
            client_receive_maximum: connect.receive_maximum,
        });
        Self {
            membership,
            version,
            session,
            conveyor,
            outbox,
            inbox,
            out,
            at_once: Vec::new(),
            retained_due: VecDeque::new(),
            client_max_bytes: connect.max_packet_bytes,
            will: connect.will,
            patience: (!keep_alive.is_zero()).then(|| keep_alive * 3 / 2),
            hub,
        }
    }

    async fn run(mut self, mut stream: TcpStream, stop: CancellationToken) {
        self.push_presence(true);
        let end = self.converse(&mut stream, &stop).await;
        self.finish(stream, end).await;
    }

    async fn converse(&mut self, stream: &mut TcpStream, stop: &CancellationToken) -> End {
        let (mut reader, mut writer) = stream.split();
        let mut heard = Instant::now();
        let mut read_bytes = MIN_READ_BYTES;
        let mut was_full = false;
        let keep_alive = tokio::time::sleep(self.patience.unwrap_or_default());
        tokio::pin!(keep_alive);
        loop {
            if let Err(end) = self.take_in() {
                return end;
            }
            if self.outbox.has_overflowed() {
                return End::Closed(Reason::QuotaExceeded);
            }
            self.give_out();
            let full = self.conveyor.is_full();
            if full && !was_full {
                self.hub.status.pauses.inc();
            }
            was_full = full;
            if full {
                // It is us who don't listen.
                heard = Instant::now();
            }
            let may_read = !full && self.out.len() < MAX_OUT_BYTES;
            if may_read {
                self.inbox.reserve(read_bytes);
            }
            let room = self.inbox.capacity() - self.inbox.len();
            let event = tokio::select! {
                biased;
                () = stop.cancelled() => Event::Stop,
                () = self.membership.taken_over().cancelled() => Event::TakenOver,
                settled = self.conveyor.settled() => Event::Settled(settled),
                written = writer.write_buf(&mut self.out), if !self.out.is_empty() => Event::Written(written),
                received = reader.read_buf(&mut self.inbox), if may_read => Event::Received(received),
                () = self.outbox.filled() => Event::Outgoing,
                () = keep_alive.as_mut(), if self.patience.is_some() => Event::KeepAlive,
            };
            match event {
                Event::Stop | Event::Settled(Err(Stopped)) => return End::Stopping,
                Event::TakenOver => return End::Closed(Reason::TakenOver),
                Event::Settled(Ok(taken)) => self.acknowledge(&taken),
                Event::Written(Ok(1..)) | Event::Outgoing => {}
                Event::Received(Ok(bytes @ 1..)) => {
                    heard = Instant::now();
                    read_bytes = if bytes >= room {
                        (read_bytes * 2).min(MAX_READ_BYTES)
                    } else {
                        MIN_READ_BYTES
                    };
                }
                Event::Received(Ok(0) | Err(_)) | Event::Written(Ok(0) | Err(_)) => {
                    return End::Vanished;
                }
                Event::KeepAlive => {
                    let due = heard + self.patience.unwrap_or_default();
                    if Instant::now() >= due {
                        return End::Closed(Reason::KeepAliveTimeout);
                    }
                    keep_alive.as_mut().reset(due);
                }
            }
        }
    }

    /// Handles the packets that were read, as far as there is room for what they bring.
    fn take_in(&mut self) -> Result<(), End> {
        let arrived = self.hub.status.now();
        let result = loop {
            if self.conveyor.is_full() || self.out.len() >= MAX_OUT_BYTES {
                break Ok(());
            }
            match packet::cut(&mut self.inbox, self.hub.config.max_packet_bytes) {
                Ok(None) => break Ok(()),
                Ok(Some(packet)) => {
                    if let Err(end) = self.take_one(packet, arrived) {
                        break Err(end);
                    }
                }
                Err(reason) => {
                    let head = Head::of(&self.inbox);
                    self.reject(reason, &head, arrived);
                    break Err(End::Closed(reason));
                }
            }
        };
        self.pass_on();
        result
    }

    fn take_one(&mut self, packet: BytesMut, arrived: Timestamp) -> Result<(), End> {
        let head = Head::of(&packet);
        let effect = match self
            .version
            .decode(packet)
            .and_then(|packet| self.session.handle(packet))
        {
            Ok(effect) => effect,
            Err(reason) => {
                self.reject(reason, &head, arrived);
                return Err(End::Closed(reason));
            }
        };
        match effect {
            Effect::None => {}
            Effect::AtOnce(message) => {
                self.conveyor.push_at_once(&message, arrived);
                self.at_once.push(message);
            }
            Effect::WhenDurable(taken) => {
                if let Some(reason) = taken.answer.refused {
                    self.refuse_message(reason, &head, arrived);
                }
                self.conveyor.push(taken, arrived);
            }
            Effect::Refused(reason) => self.refuse_message(reason, &head, arrived),
            Effect::Reply(reply) => encode::reply(&mut self.out, self.version, &reply),
            Effect::Subscribe(granted, reply) => {
                // What came before the subscription is not for it.
                self.pass_on();
                encode::reply(&mut self.out, self.version, &reply);
                let key = self.membership.key();
                for granted in granted {
                    self.hub
                        .router
                        .subscribe(key, &granted.filter, granted.grant);
                    if granted.send_retained {
                        let topics = self.hub.router.retained_topics(&granted.filter);
                        self.retained_due
                            .extend(topics.into_iter().map(|topic| (topic, granted.grant)));
                    }
                    if self.retained_due.len() > 2 * self.hub.config.max_retained {
                        return Err(End::Closed(Reason::QuotaExceeded));
                    }
                }
            }
            Effect::Unsubscribe(filters, reply) => {
                self.pass_on();
                for filter in filters {
                    self.hub.router.unsubscribe(self.membership.key(), &filter);
                }
                encode::reply(&mut self.out, self.version, &reply);
            }
            Effect::Goodbye { with_will } => return Err(End::Goodbye { with_will }),
        }
        Ok(())
    }

    fn refuse_message(&self, reason: Reason, head: &Head, arrived: Timestamp) {
        self.hub.metrics.refused_message(reason);
        self.reject(reason, head, arrived);
    }

    /// A packet that can't be used, with its first bytes.
    fn reject(&self, reason: Reason, head: &Head, arrived: Timestamp) {
        let hub = &self.hub;
        hub.status.received(head.packet_bytes);
        let reject = Reject {
            reason: match reason {
                Reason::PacketTooLarge => rejects::Reason::TooLarge,
                Reason::TopicNameInvalid => rejects::Reason::NoMapping,
                _ => rejects::Reason::Malformed,
            },
            detail: format!(
                "MQTT packet of client {}: {} (0x{:02X})",
                self.membership.client_id(),
                reason.name(),
                reason as u8
            ),
            record: 0,
        };
        hub.rejects
            .record(hub.intake.source(), "", head.bytes(), arrived, reject);
    }

    /// QoS 0 goes to subscribers as it comes.
    fn pass_on(&mut self) {
        self.hub
            .router
            .publish(self.membership.key(), self.at_once.iter());
        self.at_once.clear();
    }

    /// These are durable: the client hears it, and subscribers get them.
    fn acknowledge(&mut self, taken: &[Taken]) {
        for Taken { answer, .. } in taken {
            self.answer(*answer);
        }
        self.hub.router.publish(
            self.membership.key(),
            taken.iter().filter_map(|taken| taken.message.as_ref()),
        );
    }

    fn answer(&mut self, answer: Answer) {
        let reply = self.session.answer(answer);
        encode::reply(&mut self.out, self.version, &reply);
    }

    /// Adds messages for the client to what is written, retained and new ones in turn, as far as there is room.
    fn give_out(&mut self) {
        let mut given = true;
        while given && self.out.len() < MAX_OUT_BYTES {
            given = false;
            if let Some((topic, grant)) = self.retained_due.front() {
                match self.hub.router.retained(topic) {
                    Some(message) => {
                        let qos = grant.qos.min(message.qos);
                        if qos == packet::Qos::AtMostOnce || self.session.has_window() {
                            let parcel = Parcel {
                                message,
                                qos,
                                retain: true,
                                identifiers: grant.identifier.into_iter().collect(),
                            };
                            self.retained_due.pop_front();
                            self.give(&parcel);
                            given = true;
                        }
                    }
                    // Deleted since.
                    None => {
                        self.retained_due.pop_front();
                        given = true;
                    }
                }
            }
            if let Some(parcel) = self.outbox.pop(self.session.has_window()) {
                self.give(&parcel);
                given = true;
            }
        }
    }

    fn give(&mut self, parcel: &Parcel) {
        if encode::publish_len(self.version, parcel) > self.client_max_bytes {
            // The client said that it takes no such packet (3.1.2.11.4).
            self.hub.metrics.outgoing_dropped.inc();
            return;
        }
        let id = match parcel.qos {
            packet::Qos::AtMostOnce => 0,
            _ => self.session.open(),
        };
        encode::publish(&mut self.out, self.version, parcel, id);
        self.hub.metrics.outgoing.inc();
    }

    async fn finish(mut self, mut stream: TcpStream, end: End) {
        self.hub.router.leave(self.membership.key());
        let (name, will_is_due) = match end {
            End::Goodbye { with_will } => ("goodbye", with_will),
            End::Vanished => ("vanished", true),
            End::Closed(reason) => (reason.name(), true),
            // The devices have not vanished: we have.
            End::Stopping => (Reason::ServerStopping.name(), false),
        };
        self.hub.metrics.ended(name);
        tracing::debug!(client = %self.membership.client_id(), end = name, "MQTT connection ended");
        match end {
            End::Goodbye { .. } | End::Vanished => drop(stream),
            End::Closed(reason) => {
                encode::disconnect(&mut self.out, self.version, reason);
                let linger = reason != Reason::TakenOver;
                handshake::farewell(&mut stream, &self.out, linger).await;
                drop(stream);
            }
            End::Stopping => {
                self.drain().await;
                encode::disconnect(&mut self.out, self.version, Reason::ServerStopping);
                handshake::farewell(&mut stream, &self.out, true).await;
                return self.conveyor.abandon();
            }
        }
        self.drain().await;
        let arrived = self.hub.status.now();
        if let Some(will) = self.will.take().filter(|_| will_is_due) {
            self.conveyor.push_at_once(&will, arrived);
            self.at_once.push(will);
            self.pass_on();
        }
        if end != End::Closed(Reason::TakenOver) {
            self.push_presence(false);
        }
        self.drain().await;
        self.conveyor.abandon();
    }

    /// Waits for what is on its way to the disk; once the gateway stops, not for long.
    async fn drain(&mut self) {
        let hub = Arc::clone(&self.hub);
        while !self.conveyor.is_idle() {
            tokio::select! {
                settled = self.conveyor.settled() => match settled {
                    Ok(taken) => self.acknowledge(&taken),
                    Err(Stopped) => return,
                },
                () = hub.give_up.cancelled() => return,
            }
        }
    }

    fn push_presence(&mut self, online: bool) {
        self.conveyor.push_presence(Presence {
            peer: self.membership.client_id().clone(),
            online,
            at: self.hub.status.now(),
        });
    }
}
