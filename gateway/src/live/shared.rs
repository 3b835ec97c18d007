//! What the hub's task and its clients share: the ring, the news of sources, and the places for clients.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard},
};

use bytes::Bytes;
use prometheus_client::registry::Registry;
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;

use super::{
    Config,
    labels::Labels,
    metrics::Metrics,
    place::Mark,
    ring::{At, Ring},
    zip::Zips,
};
use crate::clock::Clock;

/// Status keys at most.
pub(super) const MAX_STATUS_KEYS: usize = 1024;

/// What the hub's task and its clients share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) config: Config,
    pub(super) clock: Clock,
    pub(super) metrics: Metrics,
    /// Every stream ends with `bye` when this is cancelled.
    pub(super) closing: CancellationToken,
    pub(super) wake: watch::Sender<Wake>,
    pub(super) clients: watch::Sender<usize>,
    // std: held for a push or a look, never over an await.
    open: Mutex<CancellationToken>,
    labels: RwLock<Labels>,
    pub(super) zips: Zips,
    pub(super) ring: Mutex<Ring>,
    pub(super) site: Mutex<Option<String>>,
    pub(super) statuses: Mutex<BTreeMap<String, serde_json::Value>>,
    pub(super) status_said: Notify,
}

/// What clients wait for.
#[derive(Debug, Default)]
pub(super) struct Wake {
    /// Counts the beats.
    pub(super) beats: u64,
    /// The frame of the last one.
    pub(super) beat: Bytes,
}

/// One of the places for clients; free again when dropped.
#[derive(Debug)]
pub(super) struct Seat(Arc<Shared>);

impl Shared {
    pub(super) fn new(
        config: Config,
        clock: Clock,
        stop: &CancellationToken,
        registry: &mut Registry,
    ) -> Self {
        let closing = stop.child_token();
        let open = closing.child_token();
        if !config.enabled {
            open.cancel();
        }
        Self {
            open: Mutex::new(open),
            labels: RwLock::default(),
            zips: Zips::default(),
            ring: Mutex::new(Ring::new(config.replay_bytes)),
            site: Mutex::new(config.site.clone()),
            config,
            clock,
            metrics: Metrics::new(registry),
            closing,
            wake: watch::Sender::default(),
            clients: watch::Sender::default(),
            statuses: Mutex::default(),
            status_said: Notify::new(),
        }
    }

    /// What ends the streams of those who join now.
    pub(super) fn open(&self) -> CancellationToken {
        lock(&self.open).clone()
    }

    /// Whether there are live streams at all; when the gateway stops, there were.
    pub(super) fn is_enabled(&self) -> bool {
        self.closing.is_cancelled() || !lock(&self.open).is_cancelled()
    }

    pub(super) fn enable(&self, enabled: bool) {
        let mut open = lock(&self.open);
        if !enabled {
            open.cancel();
        } else if open.is_cancelled() {
            *open = self.closing.child_token();
        }
    }

    pub(super) fn labels(&self) -> RwLockReadGuard<'_, Labels> {
        self.labels.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn labels_mut(&self) -> RwLockWriteGuard<'_, Labels> {
        self.labels.write().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn set_site(&self, site: Option<String>) {
        *lock(&self.site) = site;
    }

    pub(super) fn status(&self, key: &str, value: serde_json::Value) {
        let mut statuses = lock(&self.statuses);
        if statuses.len() >= MAX_STATUS_KEYS && !statuses.contains_key(key) {
            self.metrics.status_dropped.inc();
            return;
        }
        statuses.insert(key.to_owned(), value);
        drop(statuses);
        self.status_said.notify_one();
    }

    /// A seat, unless all are taken.
    pub(super) fn seat(self: &Arc<Self>) -> Option<Seat> {
        let seated = self.clients.send_if_modified(|n| {
            let free = *n < self.config.max_clients;
            *n += usize::from(free);
            free
        });
        if !seated {
            return None;
        }
        self.metrics.clients.inc();
        Some(Seat(Arc::clone(self)))
    }

    pub(super) fn after(&self, mark: &Mark) -> Option<(u64, u64)> {
        lock(&self.ring).after(mark)
    }

    pub(super) fn at(&self, sequence: u64) -> At {
        lock(&self.ring).at(sequence)
    }

    /// The sequence of the newest event, and the bytes of the ring.
    #[cfg(test)]
    pub(super) fn newest(&self) -> (u64, usize) {
        let ring = lock(&self.ring);
        (ring.next() - 1, ring.bytes())
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.0.clients.send_modify(|n| *n -= 1);
        self.0.metrics.clients.dec();
    }
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
