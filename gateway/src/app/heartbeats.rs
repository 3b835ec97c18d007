//! The heartbeats that run, begun and ended as the config says.

use tokio_util::sync::CancellationToken;

use super::StartError;
use crate::{
    clock::Clock,
    disk::Writers,
    engine::Engine,
    heartbeat::{Config, Heartbeat, Heartbeats},
    shutdown::Parts,
};

/// What they are built with, and the word that ends them.
#[derive(Debug)]
pub(super) struct Beating {
    engine: Engine,
    writers: Writers,
    clock: Clock,
    all: Heartbeats,
    /// Ends the gateway.
    stop: CancellationToken,
    /// Ends those that run now.
    running: CancellationToken,
}

impl Beating {
    /// None runs yet.
    pub(super) fn new(
        engine: Engine,
        writers: Writers,
        clock: Clock,
        all: Heartbeats,
        stop: CancellationToken,
    ) -> Self {
        Self {
            engine,
            writers,
            clock,
            all,
            running: stop.child_token(),
            stop,
        }
    }

    /// Does all that can fail.
    pub(super) fn prepare(&self, configs: &[Config]) -> Result<Vec<Heartbeat>, StartError> {
        let prepare = |config: &Config| {
            Heartbeat::new(
                config.clone(),
                self.engine.clone(),
                self.writers.clone(),
                self.clock.clone(),
                self.all.clone(),
            )
            .map_err(|source| StartError::Heartbeat {
                name: config.name.to_string(),
                source,
            })
        };
        configs.iter().map(prepare).collect()
    }

    /// Ends those that run and begins these. They keep nothing, so that a beat more at a change is all that is seen of it.
    pub(super) fn change(&mut self, heartbeats: Vec<Heartbeat>, parts: &Parts) {
        self.running.cancel();
        self.running = self.stop.child_token();
        self.all
            .expect(heartbeats.iter().map(|heartbeat| heartbeat.name().clone()));
        for heartbeat in heartbeats {
            let (part, stop) = (parts.register("heartbeat"), self.running.clone());
            tokio::spawn(async move {
                heartbeat.run(stop).await;
                drop(part);
            });
        }
    }
}
