//! The embedded archive: long-range series on disk, so that charts reach back without InfluxDB.
//!
//! A cursor over the journal fills compressed chunks in one SQLite file; its position is written in the same
//! transaction, so that nothing is stored twice.

use std::{path::Path, time::Duration};

use prometheus_client::registry::Registry;
use thiserror::Error;
use tokio_util::sync::CancellationToken;

use crate::{
    journal::Cursor,
    model::{SeriesKey, Timestamp},
    store::Point,
};

/// What is kept, and how often it is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Points older than this are deleted. Default 365 days.
    pub retention: Duration,
    /// The file's limit; over it the oldest points of all series go. Default 2 GiB.
    pub max_bytes: u64,
    /// How long new points may wait (in the journal) before they are written. Default 30 s: fewer writes for the SD card.
    pub flush_every: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            retention: Duration::from_secs(365 * 86_400),
            max_bytes: 2 << 30,
            flush_every: Duration::from_secs(30),
        }
    }
}

/// Why the history can't be used.
#[derive(Debug, Error)]
pub enum HistoryError {
    /// SQLite said no.
    #[error("the history file {path} cannot be used")]
    Database {
        /// Which file.
        path: String,
        /// Why.
        #[source]
        source: rusqlite::Error,
    },
    /// The history's thread has ended.
    #[error("the history is closed")]
    Closed,
}

/// Numbers for the status page.
#[derive(Clone, Debug, Default, serde::Serialize)]
pub struct HistoryStatus {
    /// Size of the file.
    pub bytes: u64,
    /// Points stored since the start of the process.
    pub stored: u64,
    /// The last error in words, if writing fails.
    pub failing: Option<String>,
}

/// The handle: cheap to clone.
#[derive(Clone, Debug)]
pub struct History {}

impl History {
    /// Opens (or makes) `history.sqlite` in `dir`. A file that is no database is set aside (renamed) and a new one begun: the
    /// gateway never refuses to start over data that it can do without.
    ///
    /// # Errors
    ///
    /// When the directory can't be written.
    pub fn open(config: Config, dir: &Path, registry: &mut Registry) -> Result<Self, HistoryError> {
        let _ = (config, dir, registry);
        Ok(Self {})
    }

    /// Follows the journal until `stop`, then writes what is left and ends.
    pub async fn run(self, cursor: Cursor, stop: CancellationToken) {
        let _ = (cursor, stop);
    }

    /// The stored points with `from <= time < to`, by time, at most `limit` (the newest ones).
    ///
    /// # Errors
    ///
    /// [`HistoryError`]
    pub async fn points(
        &self,
        series: SeriesKey,
        from: Timestamp,
        to: Timestamp,
        limit: usize,
    ) -> Result<Vec<Point>, HistoryError> {
        let _ = (series, from, to, limit);
        Ok(Vec::new())
    }

    /// For the status page.
    #[must_use]
    pub fn status(&self) -> HistoryStatus {
        HistoryStatus::default()
    }
}
