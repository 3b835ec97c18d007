//! Signals, and stopping in order: sources first; everything behind them ends because its input ended.
//!
//! Each part that must finish registers a name; within the deadline the names of those still running are
//! logged every two seconds, and at the deadline they are named once more and left behind.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    sync::Notify,
    time::Instant,
};
use tokio_util::sync::CancellationToken;

/// How often the laggards are named.
const REPORT_EVERY: Duration = Duration::from_secs(2);

/// The parts that are still running, by name.
#[derive(Clone, Debug, Default)]
pub struct Parts {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    running: Mutex<BTreeMap<String, usize>>,
    changed: Notify,
}

/// Held by a running part; dropping it says that the part has ended.
#[derive(Debug)]
pub struct Part {
    name: String,
    parts: Parts,
}

impl Parts {
    /// A part begins; it counts as running until the returned value is dropped.
    #[must_use]
    pub fn register(&self, name: impl Into<String>) -> Part {
        let name = name.into();
        *self
            .shared
            .running
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .entry(name.clone())
            .or_default() += 1;
        Part {
            name,
            parts: self.clone(),
        }
    }

    /// The names of the parts that still run.
    #[must_use]
    pub fn running(&self) -> Vec<String> {
        self.shared
            .running
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .keys()
            .cloned()
            .collect()
    }

    /// Waits until all parts have ended, at most `deadline`.
    ///
    /// # Errors
    ///
    /// The names of those that had not.
    pub async fn ended_within(&self, deadline: Duration) -> Result<(), Vec<String>> {
        let until = Instant::now() + deadline;
        loop {
            let changed = self.shared.changed.notified();
            let running = self.running();
            if running.is_empty() {
                return Ok(());
            }
            let now = Instant::now();
            if now >= until {
                return Err(running);
            }
            if tokio::time::timeout(REPORT_EVERY.min(until - now), changed)
                .await
                .is_err()
            {
                tracing::info!(waiting_for = ?self.running(), "stopping");
            }
        }
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        let mut running = self
            .parts
            .shared
            .running
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = running.get_mut(&self.name) {
            *count -= 1;
            if *count == 0 {
                running.remove(&self.name);
            }
        }
        drop(running);
        self.parts.shared.changed.notify_one();
    }
}

/// SIGINT and SIGTERM. What comes after [`Signals::listen`] is kept until somebody waits for it.
#[derive(Debug)]
pub struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    /// From now on the signals no longer end the process by themselves.
    ///
    /// # Errors
    ///
    /// When the signal handlers can't be installed.
    pub fn listen() -> std::io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    /// Returns on either signal, which cancels `stop`, or when `stop` is cancelled by others.
    pub async fn wait(mut self, stop: CancellationToken) {
        let name = tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
            () = stop.cancelled() => return,
        };
        tracing::info!(signal = name, "stopping");
        stop.cancel();
    }
}

/// SIGHUP: read the config again. Those that come while nobody waits are one.
#[derive(Debug)]
pub struct Hangups(Signal);

impl Hangups {
    /// From now on the signal no longer ends the process.
    ///
    /// # Errors
    ///
    /// When the signal handler can't be installed.
    pub fn listen() -> std::io::Result<Self> {
        Ok(Self(signal(SignalKind::hangup())?))
    }

    /// Returns when there was one. Cancel-safe.
    pub async fn next(&mut self) {
        if self.0.recv().await.is_none() {
            // No more signals come when the runtime ends.
            std::future::pending::<()>().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn laggards_are_named_at_the_deadline() {
        let parts = Parts::default();
        let quick = parts.register("quick");
        let _slow = parts.register("slow");
        drop(quick);
        assert_eq!(
            parts.ended_within(Duration::from_secs(5)).await,
            Err(vec![String::from("slow")])
        );
    }

    #[tokio::test(start_paused = true)]
    async fn all_ended_is_told_at_once() {
        let parts = Parts::default();
        drop(parts.register("only"));
        assert_eq!(parts.ended_within(Duration::ZERO).await, Ok(()));
    }

    #[tokio::test]
    async fn a_signal_that_came_during_the_start_stops_afterwards() {
        let signals = Signals::listen().unwrap();
        rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::TERM)
            .unwrap();
        let stop = CancellationToken::new();
        let waited = tokio::time::timeout(Duration::from_secs(5), signals.wait(stop.clone()));
        waited.await.unwrap();
        assert!(stop.is_cancelled());
    }
}
