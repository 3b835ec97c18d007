//! The embedded MQTT listener: devices connect straight to the gateway when there is no broker.
//!
//! MQTT 3.1.1 and 5 on one port, on the packet codecs of `rumqttc`. PUBACK and PUBREC are sent only when the journal
//! holds the reading. What it does not do is refused with the protocol's reason code; the list is in `docs/mqtt-listener.md`.
//!
//! | file | what |
//! |---|---|
//! | `packet`, `v4`, `v5`, `encode` | bytes to one internal shape and back |
//! | `handshake`, `auth`, `registry` | who may stay; one connection a client id |
//! | `connection` | one task a connection: socket, timers, the order of its end |
//! | `session` | what to answer to a packet: pure |
//! | `conveyor` | what a connection has on its way to the disk |
//! | `router`, `topic`, `outbox` | subscriptions, retained messages, what waits for a subscriber |
//!
//! A packet that can't be used is a reject like any other bad input, its first bytes among the samples; a CONNECT is not
//! sampled, for the password in it, and one that is refused is counted by reason alone.
//!
//! No state outlives a connection but the retained messages, and nothing outlives the process.

mod auth;
mod connection;
mod conveyor;
mod encode;
mod handshake;
mod outbox;
mod packet;
mod registry;
mod router;
mod session;
mod topic;
mod v4;
mod v5;

#[cfg(test)]
mod tests;

use std::{net::SocketAddr, sync::Arc, time::Duration};

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::Registry,
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Semaphore,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{Intake, StatusReporter, shed};
use crate::{backoff::Backoff, model::Secret, rejects::Rejects};

/// Clients over the limit that are told so at once; more are closed without a word.
const MAX_REFUSALS: usize = 64;

/// Who may connect, and how much.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Default 127.0.0.1:1883.
    pub listen: SocketAddr,
    /// User names and passwords. Empty: anybody may connect (loopback only, unless the config says otherwise out loud).
    pub users: Vec<(String, Secret)>,
    /// Connections at once. Default 1 000.
    pub max_connections: usize,
    /// The largest packet, and the bytes of QoS 1 and 2 messages of one connection on their way to the disk before
    /// reading from it pauses. Default 256 KiB.
    pub max_packet_bytes: usize,
    /// Retained topics kept. Default 10 000; one more is refused.
    pub max_retained: usize,
    /// Bytes of retained messages. Default 8 MiB.
    pub max_retained_bytes: usize,
    /// Subscriptions of one connection. Default 100.
    pub max_subscriptions: usize,
    /// QoS 1 and 2 messages of one connection on their way to the disk before reading from it pauses. Default 1 000.
    pub max_unacknowledged: usize,
    /// Bytes that wait for a slow subscriber. Over it new QoS 0 messages to it are dropped and counted, and a QoS 1
    /// message closes its connection. Default 256 KiB.
    pub max_outgoing_bytes: usize,
    /// How long a new connection may take until its CONNECT is there. Default 10 s.
    pub connect_timeout: Duration,
    /// The longest keep-alive that is granted; a client that asks for none gets it in MQTT 5. Default 10 min.
    pub max_keep_alive: Duration,
    /// QoS 0 messages of one connection that wait for the gateway when it is busy; the oldest goes first. Default 1 000
    /// messages, 64 KiB.
    pub queue: shed::Config,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 1883)),
            users: Vec::new(),
            max_connections: 1_000,
            max_packet_bytes: 256 * 1024,
            max_retained: 10_000,
            max_retained_bytes: 8 << 20,
            max_subscriptions: 100,
            max_unacknowledged: 1_000,
            max_outgoing_bytes: 256 * 1024,
            connect_timeout: Duration::from_secs(10),
            max_keep_alive: Duration::from_secs(600),
            queue: shed::Config {
                max_frames: 1_000,
                max_bytes: 64 * 1024,
            },
        }
    }
}

/// How long the end of the gateway waits for what is on its way to the disk.
const FINISH_WITHIN: Duration = Duration::from_secs(5);
/// And then for the farewells.
const FAREWELLS_WITHIN: Duration = Duration::from_secs(2);

/// What all connections share.
#[derive(Debug)]
struct Hub {
    config: Config,
    intake: Intake,
    rejects: Rejects,
    status: StatusReporter,
    metrics: Metrics,
    router: router::Router,
    registry: Arc<registry::Registry>,
    /// QoS 1 and 2 bytes of all connections on their way to the disk.
    undurable_bytes: Arc<std::sync::atomic::AtomicUsize>,
    /// Cancelled when the gateway's end has waited long enough for the disk.
    give_up: CancellationToken,
}

/// Serves `listener` until `stop`: then takes no more, waits for what is on its way to the disk (at most five seconds),
/// acknowledges it, says goodbye (MQTT 5: reason 0x8B, server shutting down) and ends.
pub async fn run(
    config: Config,
    listener: TcpListener,
    intake: Intake,
    rejects: Rejects,
    status: StatusReporter,
    metrics: Metrics,
    stop: CancellationToken,
) {
    let address = listener
        .local_addr()
        .map_or_else(|_| config.listen.to_string(), |address| address.to_string());
    status.up(&*address);
    let hub = Arc::new(Hub {
        router: router::Router::new(router::Retention {
            max_topics: config.max_retained,
            max_bytes: config.max_retained_bytes,
            kept: metrics.retained.clone(),
            refused: metrics.retained_refused.clone(),
        }),
        registry: Arc::default(),
        undurable_bytes: Arc::default(),
        give_up: CancellationToken::new(),
        config,
        intake,
        rejects,
        status: status.clone(),
        metrics,
    });
    let connections = TaskTracker::new();
    accept(&listener, &address, &hub, &connections, &stop).await;
    drop(listener);
    connections.close();
    if tokio::time::timeout(FINISH_WITHIN, connections.wait())
        .await
        .is_err()
    {
        tracing::warn!(
            connections = connections.len(),
            "the disk was too slow: MQTT messages stay with their clients, unacknowledged"
        );
        hub.give_up.cancel();
        if tokio::time::timeout(FAREWELLS_WITHIN, connections.wait())
            .await
            .is_err()
        {
            tracing::warn!(
                connections = connections.len(),
                "MQTT connections did not end in time"
            );
        }
    }
    status.stopped();
}

async fn accept(
    listener: &TcpListener,
    address: &str,
    hub: &Arc<Hub>,
    connections: &TaskTracker,
    stop: &CancellationToken,
) {
    let seats = Arc::new(Semaphore::new(hub.config.max_connections));
    let refusals = Arc::new(Semaphore::new(MAX_REFUSALS));
    let mut backoff = Backoff::new(crate::backoff::Config {
        initial: Duration::from_millis(50),
        max: Duration::from_secs(1),
    });
    loop {
        let accepted = tokio::select! {
            () = stop.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        let stream = match accepted {
            Ok((stream, _)) => stream,
            Err(error) => {
                // Out of file descriptors, mostly: it passes when connections end.
                if hub
                    .status
                    .down(format!("cannot accept connections: {error}"))
                {
                    tracing::error!(%error, address, "cannot accept MQTT connections");
                }
                tokio::select! {
                    () = stop.cancelled() => return,
                    () = tokio::time::sleep(backoff.next_wait()) => continue,
                }
            }
        };
        if backoff.failures() > 0 {
            backoff.reset();
            hub.status.up(address);
        }
        if let Err(error) = stream.set_nodelay(true) {
            tracing::trace!(%error, "a connection was gone at once");
            continue;
        }
        if let Ok(seat) = Arc::clone(&seats).try_acquire_owned() {
            let (hub, stop) = (Arc::clone(hub), stop.clone());
            connections.spawn(async move {
                connection::serve(stream, hub, stop).await;
                drop(seat);
            });
        } else {
            hub.metrics.refused(packet::Reason::QuotaExceeded.name());
            if let Ok(turn) = Arc::clone(&refusals).try_acquire_owned() {
                let (hub, stop) = (Arc::clone(hub), stop.clone());
                connections.spawn(async move {
                    tokio::select! {
                        () = turn_away(stream, &hub) => {}
                        () = stop.cancelled() => {}
                    }
                    drop(turn);
                });
            }
        }
    }
}

/// Hears which protocol a client speaks that there is no room for, and tells it in its own words.
async fn turn_away(mut stream: TcpStream, hub: &Hub) {
    let mut inbox = bytes::BytesMut::new();
    let version = match handshake::greet(&mut stream, &mut inbox, &hub.config).await {
        Ok(guest) => guest.version,
        Err(handshake::Rebuff::Refused(version, _)) => version,
        Err(handshake::Rebuff::Silent(_)) => return,
    };
    handshake::refuse(stream, version, packet::Reason::QuotaExceeded).await;
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct ReasonLabel {
    reason: &'static str,
}

/// The listener's own counters.
#[derive(Clone, Debug)]
pub struct Metrics {
    connections: Gauge,
    refused: Family<ReasonLabel, Counter>,
    ended: Family<ReasonLabel, Counter>,
    messages_refused: Family<ReasonLabel, Counter>,
    outgoing: Counter,
    outgoing_dropped: Counter,
    retained: Gauge,
    retained_refused: Counter,
}

impl Metrics {
    /// Registers `gateway_listener_connections`, `gateway_listener_refused_total{reason}`,
    /// `gateway_listener_ended_total{reason}`, `gateway_listener_messages_refused_total{reason}`,
    /// `gateway_listener_outgoing_total`, `gateway_listener_outgoing_dropped_total`, `gateway_listener_retained` and
    /// `gateway_listener_retained_refused_total`.
    #[must_use]
    pub fn new(registry: &mut Registry) -> Self {
        let metrics = Self {
            connections: Gauge::default(),
            refused: Family::default(),
            ended: Family::default(),
            messages_refused: Family::default(),
            outgoing: Counter::default(),
            outgoing_dropped: Counter::default(),
            retained: Gauge::default(),
            retained_refused: Counter::default(),
        };
        registry.register(
            "gateway_listener_connections",
            "MQTT clients connected to the embedded listener",
            metrics.connections.clone(),
        );
        registry.register(
            "gateway_listener_refused",
            "Connections that were not let in",
            metrics.refused.clone(),
        );
        registry.register(
            "gateway_listener_ended",
            "Connections that ended, by how",
            metrics.ended.clone(),
        );
        registry.register(
            "gateway_listener_messages_refused",
            "Messages of clients that were not taken because of their topic",
            metrics.messages_refused.clone(),
        );
        registry.register(
            "gateway_listener_outgoing",
            "Messages passed on to subscribers",
            metrics.outgoing.clone(),
        );
        registry.register(
            "gateway_listener_outgoing_dropped",
            "Messages not passed on because the subscriber was slow or takes no packet so large",
            metrics.outgoing_dropped.clone(),
        );
        registry.register(
            "gateway_listener_retained",
            "Retained messages kept",
            metrics.retained.clone(),
        );
        registry.register(
            "gateway_listener_retained_refused",
            "Messages that were taken but not retained because the table is full",
            metrics.retained_refused.clone(),
        );
        metrics
    }

    /// The first of each reason is logged, the rest is counted: anybody can knock as often as they like.
    fn refused(&self, reason: &'static str) {
        if self.refused.get_or_create(&ReasonLabel { reason }).inc() == 0 {
            tracing::warn!(
                reason,
                "an MQTT client was not let in; more are counted in gateway_listener_refused_total"
            );
        }
    }

    fn ended(&self, reason: &'static str) {
        self.ended.get_or_create(&ReasonLabel { reason }).inc();
    }

    fn refused_message(&self, reason: packet::Reason) {
        let reason = reason.name();
        let count = self.messages_refused.get_or_create(&ReasonLabel { reason });
        if count.inc() == 0 {
            tracing::warn!(
                reason,
                "an MQTT message was not taken; more are counted in gateway_listener_messages_refused_total"
            );
        }
    }
}
