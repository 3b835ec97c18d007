//! Live events for browsers: the hub turns the engine's updates into events, keeps a bounded replay of them, and
//! hands them to clients ([`Hub::join`]): over SSE ([`sse`]).
//!
//! - A reading is encoded once. Clients with the same filter share the frame that is cut out for it.
//! - A client is a position in the one bounded ring ([`Config::replay_bytes`]): one that stops reading costs nothing but its
//!   connection. When it reads again too late it hears `gap`, the newest value of what changed, and every alert,
//!   device and status event that it missed, or a new `snapshot`.
//! - The hub always takes what the engine says; no client can make it wait.
//!
//! # Event ids over a restart
//!
//! A restart, or a kill at any moment, is invisible: a client that comes back with the last id that it heard is told what it missed,
//! nothing twice, or gets a `snapshot`. Nothing is written down for that while events are said:
//!
//! 1. An event is said only about what is durable: records of the journal, with the windows that they close, and changes of
//!    alerts that have their number in the state file. Devices, series and status are not durable; they are said anew.
//! 2. An id says how much of that its listener has heard (`place.rs`), beside the number of the event in this run.
//! 3. At a start the replay makes the newest events again, record by record, into the ring ([`Past`]). A client of an earlier
//!    run gets what is known now with its `resume`, and then each event of the ring that its id does not cover
//!    (`retelling.rs`), under ids that keep count for it alone: earlier runs said the same things in another order.
//! 4. When the ring does not reach back to the id, the answer is a `snapshot`: behind a hole in the journal, too.
//!
//! The epoch is in the state file. It changes when the journal is new, or ends before what other files note of it. Each start
//! writes down a random name for its run and where journal and changes of alerts stand. So an id is not believed when its run is unknown,
//! or when it speaks of more than there was when the run after it began: then records were lost, or put back, unnoticed.
//! When the state file is lost while the gateway runs, ids go on in an epoch that no file knows.
//!
//! Not here: who may connect (`http`), and commands from clients.

mod asked;
mod client;
mod command;
mod event;
mod filter;
mod frame;
mod group;
mod hub;
mod labels;
mod latest;
mod metrics;
mod place;
mod retelling;
mod ring;
mod shared;
mod snapshots;
pub mod sse;
pub mod websocket;
mod zip;

use std::{sync::Arc, time::Duration};

use prometheus_client::registry::Registry;
use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;

pub use self::{
    client::{Client, Refused, Said},
    filter::{Filter, FilterError},
    place::EarlierRun,
};
use crate::{
    alert::{Alert, silence::Attention},
    clock::Clock,
    engine::{Recent, Update},
    journal::Position,
    store::Device,
};

/// Bounds of the hub.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Whether there are live streams; if not, who asks for one is told to stop for good. Default true.
    pub enabled: bool,
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
            enabled: true,
            max_clients: 500,
            replay_bytes: 4 << 20,
            client_queue: 256,
            beat: Duration::from_secs(5),
            site: None,
        }
    }
}

/// What people make, as a live event is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Topic {
    /// `rule`
    Rule,
    /// `device`
    Device,
    /// `webhook`
    Webhook,
    /// `dashboard`
    Dashboard,
}

/// What earlier runs said, as far as it can be made again, and how their ids are understood.
#[derive(Clone, Debug, Default)]
pub struct Past {
    /// The name of the data's continuity, the first half of each event id (48 bits count).
    pub epoch: u64,
    /// A name for this run that no other has, made at random.
    pub run: u64,
    /// The runs before it in this epoch.
    pub runs: Vec<EarlierRun>,
    /// All devices, for their labels; they are said only when the engine says them.
    pub devices: Vec<Device>,
    /// The newest records of the journal.
    pub recent: Recent,
    /// The newest changes of alerts, by number and without a hole.
    pub changes: Vec<Change>,
    /// The number of the newest change; 0 if there never was one.
    pub newest_change: u64,
    /// Alerts pending or firing.
    pub active: Vec<Alert>,
    /// Alerts that were resolved last, the newest first.
    pub ended: Vec<Alert>,
}

/// A change of an alert, as it was written down.
#[derive(Clone, Debug, PartialEq)]
pub struct Change {
    /// Its number, from 1.
    pub number: u64,
    /// The journal was evaluated up to here.
    pub position: Position,
    /// The alert after it.
    pub alert: Alert,
}

/// The handle: clients subscribe through it. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Hub {
    shared: Arc<shared::Shared>,
    commands: mpsc::Sender<asked::Command>,
}

impl Hub {
    /// Starts the hub's task. It ends when `updates` does, after a `bye` to every client; `stop` makes all streams
    /// end with `bye` at once.
    #[must_use]
    pub fn start(
        config: Config,
        past: Past,
        updates: mpsc::Receiver<Update>,
        clock: Clock,
        stop: CancellationToken,
        registry: &mut Registry,
    ) -> (Self, tokio::task::JoinHandle<()>) {
        let (commands, asked) = mpsc::channel(hub::MAX_COMMANDS);
        let shared = Arc::new(shared::Shared::new(config, clock, &stop, registry));
        let task = tokio::spawn(hub::run(Arc::clone(&shared), past, updates, asked));
        (Self { shared, commands }, task)
    }

    /// Another name of the site, for the snapshots from now on.
    pub fn set_site(&self, site: Option<String>) {
        self.shared.set_site(site);
    }

    /// Switches live streams off, which ends those there are, or on again.
    pub fn enable(&self, enabled: bool) {
        self.shared.enable(enabled);
    }

    /// Whether live streams are switched on.
    #[must_use]
    pub fn is_enabled(&self) -> bool {
        self.shared.is_enabled()
    }

    /// How many clients are listening, and each change of that.
    #[must_use]
    pub fn clients(&self) -> watch::Receiver<usize> {
        self.shared.clients.subscribe()
    }

    /// Says what people did since this was last called: each silence that is new or changed, and each alert that is acknowledged or
    /// silenced otherwise than before. Returns when it is said, or when the hub has ended.
    pub async fn attend(&self, attention: Attention) {
        let (answer, answered) = oneshot::channel();
        let said = asked::Command::Attend { attention, answer };
        // A hub that has ended has no clients to tell.
        if self.commands.send(said).await.is_ok() {
            drop(answered.await);
        }
    }

    /// Says which of the things that people make are new, changed or gone (`{"id","deleted":true}`). Returns when it is said, or when the
    /// hub has ended. Devices are said by the engine; only that one is gone is said here.
    pub async fn made(&self, topic: Topic, news: Vec<serde_json::Value>) {
        if news.is_empty() {
            return;
        }
        let (answer, answered) = oneshot::channel();
        let said = asked::Command::Made {
            topic,
            news,
            answer,
        };
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
