//! Live events for browsers: the hub turns the engine's updates into events, keeps a bounded replay of them, and
//! serves them over SSE ([`sse`]).
//!
//! - A reading is encoded once. Clients with the same filter share the frame that is cut out for it.
//! - A client is a position in the one bounded ring ([`Config::replay_bytes`]): one that stops reading costs nothing but its
//!   connection. When it reads again too late it hears `gap`, the newest value of what changed, and every alert,
//!   device and status event that it missed, or a new `snapshot`.
//! - The hub always takes what the engine says; no client can make it wait.
//!
//! Not here: who may connect (`http`), and commands from clients.

mod event;
mod filter;
mod frame;
mod group;
mod hub;
mod latest;
mod metrics;
mod ring;
mod snapshots;
pub mod sse;

use std::{sync::Arc, time::Duration};

use prometheus_client::registry::Registry;
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use crate::{alert::silence::Attention, clock::Clock, engine::Update};

/// Bounds of the hub.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Clients at most; one more is answered with `retry` and `bye`, and closed. Default 500.
    pub max_clients: usize,
    /// Bytes of encoded events kept for clients that come back and for slow ones. Default 4 MiB.
    pub replay_bytes: usize,
    /// Events that a client may be behind before it gets a `gap` and newest values instead. Default 256.
    pub client_queue: usize,
    /// An idle stream carries a `beat` event at least this often. Default 5 s; 100 ms to 15 s.
    pub beat: Duration,
    /// The name of the site, for `snapshot`. Default none.
    pub site: Option<String>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            max_clients: 500,
            replay_bytes: 4 << 20,
            client_queue: 256,
            beat: Duration::from_secs(5),
            site: None,
        }
    }
}

/// The handle: clients subscribe through it. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Hub {
    shared: Arc<hub::Shared>,
    commands: mpsc::Sender<hub::Command>,
}

impl Hub {
    /// Starts the hub's task. It ends when `updates` does, after a `bye` to every client; `stop` makes all streams
    /// end with `bye` at once.
    #[must_use]
    pub fn start(
        config: Config,
        updates: mpsc::Receiver<Update>,
        clock: Clock,
        stop: CancellationToken,
        registry: &mut Registry,
    ) -> (Self, tokio::task::JoinHandle<()>) {
        let (commands, asked) = mpsc::channel(hub::MAX_COMMANDS);
        let shared = Arc::new(hub::Shared::new(config, clock, &stop, registry));
        let task = tokio::spawn(hub::run(Arc::clone(&shared), updates, asked));
        (Self { shared, commands }, task)
    }

    /// Another name of the site, for the snapshots from now on.
    pub fn set_site(&self, site: Option<String>) {
        self.shared.set_site(site);
    }

    /// Says what people did since this was last called: each silence that is new or changed, and each alert that is acknowledged or
    /// silenced otherwise than before. Returns when it is said, or when the hub has ended.
    pub async fn attend(&self, attention: Attention) {
        let (answer, answered) = oneshot::channel();
        let said = hub::Command::Attend { attention, answer };
        // A hub that has ended has no clients to tell.
        if self.commands.send(said).await.is_ok() {
            drop(answered.await);
        }
    }

    /// Says something that is not from the engine to all clients: a source's link changed, the archive is behind.
    /// Never waits; conflated by `key` if the hub is busy. At most 1 024 keys: a further one is counted in
    /// `gateway_live_status_dropped_total` and not said.
    pub fn status(&self, key: &str, value: serde_json::Value) {
        self.shared.status(key, value);
    }
}

#[cfg(test)]
mod tests;
