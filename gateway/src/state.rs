//! What was decided, in one SQLite file: alerts, their history, the webhook outbox. One thread owns the connection.

use std::path::Path;

use prometheus_client::registry::Registry;
use serde::Serialize;
use thiserror::Error;

use crate::{
    alert::Alert,
    engine::{Decided, Resumption},
    notify::WebhookConfig,
};

/// Why the state can't be used.
#[derive(Debug, Error)]
pub enum StateError {
    /// SQLite said no.
    #[error("the state file {path} cannot be used")]
    Database {
        /// Which file.
        path: String,
        /// Why.
        #[source]
        source: rusqlite::Error,
    },
    /// The state's thread has ended.
    #[error("the state is closed")]
    Closed,
}

/// How the deliveries to one webhook stand.
#[derive(Clone, Debug, Default, Serialize)]
pub struct WebhookStatus {
    /// Its name.
    pub name: String,
    /// Deliveries waiting, the one being tried included.
    pub waiting: u64,
    /// Delivered since the file was made.
    pub delivered: u64,
    /// Given up.
    pub given_up: u64,
    /// What the last failure said; none if the last try worked.
    pub last_error: Option<String>,
}

/// The handle: cheap to clone.
#[derive(Clone, Debug)]
pub struct State {}

impl State {
    /// Opens (or makes) `state.sqlite` in `dir`.
    ///
    /// # Errors
    ///
    /// When it can't be opened or migrated.
    pub fn open(
        dir: &Path,
        webhooks: &[WebhookConfig],
        registry: &mut Registry,
    ) -> Result<Self, StateError> {
        let _ = (dir, webhooks, registry);
        Ok(Self {})
    }

    /// What the engine needs to go on.
    ///
    /// # Errors
    ///
    /// [`StateError`]
    pub async fn resumption(&self) -> Result<Resumption, StateError> {
        Ok(Resumption::default())
    }

    /// Writes transitions and their deliveries in one transaction; durable when it returns.
    ///
    /// # Errors
    ///
    /// [`StateError`]
    pub async fn record(&self, decided: Decided) -> Result<(), StateError> {
        let _ = decided;
        Ok(())
    }

    /// Past and current alerts, newest first, at most `limit`.
    ///
    /// # Errors
    ///
    /// [`StateError`]
    pub async fn alerts(&self, limit: usize) -> Result<Vec<Alert>, StateError> {
        let _ = limit;
        Ok(Vec::new())
    }

    /// For the status page, by name.
    ///
    /// # Errors
    ///
    /// [`StateError`]
    pub async fn webhooks(&self) -> Result<Vec<WebhookStatus>, StateError> {
        Ok(Vec::new())
    }
}
