//! One MQTT broker (rumqttc, MQTT 3.1.1 or 5): subscribes on every connection, acknowledges when durable.
//!
//! - QoS 1 and 2: PUBACK and PUBREC go out, in order, only when everything in the message is on disk. A message that was
//!   not acknowledged, or whose acknowledgement was lost, comes again after a lost connection or a restart; within a run it
//!   is then recognised, counted and not delivered twice. After a crash it is delivered again: readings with their own
//!   time are then known as repeats, readings stamped on arrival are stored once more (at most what the broker
//!   had open, see below). QoS 0: through a [`shed::Shed`], which drops its oldest when the gateway is behind.
//! - With `max_unacknowledged` messages on their way to the disk, reading pauses: the broker waits, the connection
//!   stays, pings and acknowledgements go on. QoS 0 messages wait behind the others meanwhile. Pauses are counted, and
//!   the status names one that lasts.
//! - QoS 0 goes its own way beside QoS 1 and 2: the order holds within each, not between them.
//! - A broker holds back once its own limit of unacknowledged messages is reached (mosquitto: `max_inflight_messages`,
//!   20 by default), so over MQTT 3.1.1 it sends at most that many for each write to the disk: raise it there. Over
//!   MQTT 5 `max_unacknowledged` is told to the broker as the receive maximum.
//! - A lost connection is tried again with back-off and jitter. An outage is logged once; the status says what is wrong
//!   and what to do. Refused subscriptions are in the status, too.
//! - A message over `max_packet_bytes` is a reject, and acknowledged like one that was stored: it would come for ever.
//!
//! - A filter that was taken out of the configuration is unsubscribed from, where the broker kept it in its session; what was
//!   queued there for it still comes, and becomes `no_mapping` rejects.
//!
//! It publishes nothing.
//!
//! | file | what |
//! |---|---|
//! | `session` | the one task that polls |
//! | `link` | the two protocol versions of rumqttc behind one shape, and its traps |
//! | `unacked` | which message waits for an acknowledgement; pure |
//! | `disk` | deliveries and their receipts |
//! | `filters` | what the broker's session holds, on disk |
//! | `trouble`, `tls` | errors in words; whom to trust |

mod disk;
mod filters;
mod link;
mod session;
mod tls;
mod trouble;
mod unacked;

#[cfg(test)]
mod tests;

use std::{path::PathBuf, time::Duration};

use smol_str::SmolStr;
use tokio::{
    task::JoinSet,
    time::{Instant, sleep, timeout_at},
};
use tokio_util::sync::CancellationToken;
use tracing::warn;

use self::session::{Books, STOP_AFTER, Session};
use super::{Intake, StatusReporter, shed};
use crate::{backoff::Backoff, model::Secret, rejects::Rejects};

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
    /// Where it is written down which filters the broker's session holds; none: not at all. Default none.
    pub session_file: Option<PathBuf>,
}

impl Config {
    /// The defaults for a broker; nothing is subscribed to yet.
    #[must_use]
    pub fn new(host: String, port: u16, client_id: String) -> Self {
        Self {
            host,
            port,
            client_id,
            username: None,
            password: None,
            tls: None,
            keep_alive: Duration::from_secs(30),
            persistent_session: true,
            version: Version::default(),
            max_packet_bytes: 1 << 20,
            subscriptions: Vec::new(),
            backoff: crate::backoff::Config::default(),
            queue: shed::Config::default(),
            max_unacknowledged: 10_000,
            session_file: None,
        }
    }
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
    rejects: Rejects,
    status: StatusReporter,
    stop: CancellationToken,
) {
    if let Some((link, requests)) = prepare(&config, &intake, &status, &stop).await {
        let mut tasks = JoinSet::new();
        let queue = shed::Shed::counting(
            config.queue,
            status.dropped_queue_full.clone(),
            status.waiting.clone(),
        );
        tasks.spawn({
            let (queue, intake) = (queue.clone(), intake.clone());
            async move {
                if queue.forward(&intake).await.is_err() {
                    tracing::debug!("the gateway takes no more messages");
                }
            }
        });
        // Each batch holds at least one message; the session pauses or gives up the connection long before this.
        let capacity = config.max_unacknowledged + usize::from(u16::MAX) + 1024;
        let (to_disk, settled) = disk::start(intake.clone(), status.clone(), capacity, &mut tasks);
        let filters = {
            let config = config.clone();
            // It fails only if reading panics; then nothing was subscribed to before.
            let opening = tokio::task::spawn_blocking(move || filters::Filters::open(&config));
            opening.await.unwrap_or_default()
        };
        let session = Session {
            config: &config,
            source: intake.source(),
            rejects: &rejects,
            status: &status,
            queue: &queue,
            to_disk,
            settled,
            requests,
            books: Books::default(),
            filters,
        };
        session.run(link, &stop).await;
        queue.close();
        let deadline = Instant::now() + STOP_AFTER;
        while let Ok(Some(ended)) = timeout_at(deadline, tasks.join_next()).await {
            if let Err(error) = ended {
                warn!(source = %intake.source().0, %error, "a task of the source failed");
            }
        }
        if !tasks.is_empty() {
            let lost = queue.give_up();
            warn!(source = %intake.source().0, lost, "QoS 0 messages were not on disk in time and are lost");
        }
    }
    status.stopped();
}

/// Reads the certificates, again and again while that fails. `None` when the gateway stops.
async fn prepare(
    config: &Config,
    intake: &Intake,
    status: &StatusReporter,
    stop: &CancellationToken,
) -> Option<(link::Link, link::Requests)> {
    let mut backoff = Backoff::new(config.backoff);
    while !stop.is_cancelled() {
        match link::prepare(config) {
            Ok(prepared) => return Some(prepared),
            Err(trouble) => {
                let problem = trouble.in_full();
                if status.down(format!("{}:{}: {problem}", config.host, config.port)) {
                    warn!(source = %intake.source().0, %problem, "TLS can't be set up, trying again");
                }
            }
        }
        tokio::select! {
            () = stop.cancelled() => {}
            () = sleep(backoff.next_wait()) => {}
        }
    }
    None
}
