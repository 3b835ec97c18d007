//! Live events for browsers: the hub turns the engine's updates into events, each encoded once for all who want
//! the same, keeps a bounded replay, and serves them over SSE (`sse.rs`).

use prometheus_client::registry::Registry;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::{clock::Clock, engine::Update};

/// Bounds of the hub.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Clients at most; one more is answered 503 with `Retry-After`. Default 500.
    pub max_clients: usize,
    /// Bytes of encoded events kept for clients that come back. Default 4 MiB.
    pub replay_bytes: usize,
    /// Events that a client may be behind before it gets a `gap` and newest values instead. Default 256.
    pub client_queue: usize,
    /// An idle stream carries a `beat` comment or event at least this often. Default 5 s, at most 15 s.
    pub beat: std::time::Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            max_clients: 500,
            replay_bytes: 4 << 20,
            client_queue: 256,
            beat: std::time::Duration::from_secs(5),
        }
    }
}

/// The handle: clients subscribe through it. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Hub {}

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
        let _ = (config, updates, clock, stop, registry);
        (Self {}, tokio::spawn(async {}))
    }

    /// Says something that is not from the engine to all clients: a source's link changed, the archive is behind.
    /// Never waits; conflated by `key` if the hub is busy.
    pub fn status(&self, key: &str, value: serde_json::Value) {
        let _ = (key, value);
    }
}
