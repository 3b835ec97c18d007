//! The embedded archive: long-range series on disk, so that charts reach back without InfluxDB.
//!
//! A cursor over the journal fills compressed chunks in one SQLite file; its position is written in the same
//! transaction, so that nothing is stored twice.
//!
//! | file | job |
//! |---|---|
//! | `chunk.rs` | points as bytes; pure |
//! | `db.rs` | the SQLite file: tables, merging late points, deletion, reading a range |
//! | `writer.rs` | following the journal, when what is written |
//!
//! What holds: of points with the same time the last one wins, so reading the journal twice doubles nothing. Bad readings
//! are stored with their quality; retained messages are not. What is not yet flushed is in the engine's memory, and after a
//! restart in the journal. Deletion by age trusts neither the clock nor the points alone: what counts as now is the
//! earlier of the machine's clock and the newest stored time, and nothing goes before the clock has been set and without a jump for
//! [`STEADY`]: a clock that leaps ahead for a moment takes the points with it, but not the history. The file may go over `max_bytes` by what one flush brings.
//! There are no roll-ups: a range is read from its points.

mod chunk;
mod db;
#[cfg(test)]
mod tests;
mod writer;

use std::{
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use prometheus_client::{
    metrics::{counter::Counter, gauge::Gauge},
    registry::Registry,
};
use rusqlite::Connection;
use thiserror::Error;
use tokio_util::sync::CancellationToken;

use self::db::Db;
use crate::{
    clock::Clock,
    damage,
    journal::{Cursor, Position},
    model::{SeriesKey, Timestamp},
    store::Point,
    wear::Writes,
};

/// The name of the history's cursor in the journal.
pub const CURSOR: &str = "history";

/// What is kept, and how often it is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Config {
    /// Points older than this are deleted, chunk by chunk. Default 365 days.
    pub retention: Duration,
    /// The file's limit; over it the oldest points of all series go. Default 2 GiB.
    pub max_bytes: u64,
    /// How long new points may wait (in the journal) before they are written. Default 5 minutes: every flush rewrites a page
    /// or two per series, so this decides how long an SD card lives. Fast series are written earlier.
    pub flush_every: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            retention: Duration::from_secs(365 * 86_400),
            max_bytes: 2 << 30,
            flush_every: Duration::from_secs(300),
        }
    }
}

/// So long the clock must go without a jump before anything is deleted for its age.
const STEADY: Duration = Duration::from_secs(3_600);

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
pub struct History {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    // std: held for a look only.
    config: Mutex<Config>,
    path: PathBuf,
    clock: Clock,
    metrics: Metrics,
    bytes: AtomicU64,
    failing: Mutex<Option<String>>,
    // std, both: used in the blocking pool only.
    db: Mutex<Db>,
    reader: Mutex<Connection>,
    writes: Writes,
}

#[derive(Debug, Default)]
struct Metrics {
    points: Counter,
    flushes: Counter,
    deleted: Counter,
    damaged_chunks: Counter,
    failing: Gauge,
    bytes: Gauge,
}

impl Metrics {
    fn new(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        for (name, help, counter) in [
            ("points", "Points written to the history", &metrics.points),
            (
                "flushes",
                "Transactions that wrote points",
                &metrics.flushes,
            ),
            (
                "deleted_points",
                "Points deleted for their age or the limit of the file",
                &metrics.deleted,
            ),
            (
                "damaged_chunks",
                "Chunks that could not be read and were replaced",
                &metrics.damaged_chunks,
            ),
        ] {
            registry.register(format!("gateway_history_{name}"), help, counter.clone());
        }
        registry.register(
            "gateway_history_failing",
            "1 while the history cannot be written",
            metrics.failing.clone(),
        );
        registry.register(
            "gateway_history_size_bytes",
            "Size of the history file",
            metrics.bytes.clone(),
        );
        metrics
    }
}

impl History {
    /// Opens (or makes) `history.sqlite` in `dir`. A file that is no database is set aside (renamed to
    /// `history.sqlite.damaged`) and a new one begun: the gateway never refuses to start over data that it can do without.
    ///
    /// # Errors
    ///
    /// When the directory can't be written.
    pub fn open(
        config: Config,
        dir: &Path,
        registry: &mut Registry,
        clock: Clock,
    ) -> Result<Self, HistoryError> {
        let path = dir.join("history.sqlite");
        let refused = |source| HistoryError::Database {
            path: path.display().to_string(),
            source,
        };
        if let Err(error) = std::fs::create_dir_all(dir) {
            tracing::debug!(%error, "the history's directory cannot be made");
        }
        let writes = Writes::default();
        let db = Db::open(&path, &writes).map_err(refused)?;
        let reader = db::open_reader(&path).map_err(refused)?;
        let shared = Shared {
            config: Mutex::new(config),
            clock,
            metrics: Metrics::new(registry),
            bytes: AtomicU64::new(0),
            failing: Mutex::default(),
            db: Mutex::new(db),
            reader: Mutex::new(reader),
            writes,
            path,
        };
        shared.note_size(&shared.db());
        Ok(Self {
            shared: Arc::new(shared),
        })
    }

    /// Other limits and times, from the next flush on.
    pub fn reconfigure(&self, config: Config) {
        *self
            .shared
            .config
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = config;
    }

    /// How much of the journal the file holds; 0 for nothing.
    #[must_use]
    pub fn position(&self) -> Position {
        self.shared.position().unwrap_or_default()
    }

    /// Follows the journal until `stop` or its end, then writes what is durable by then and ends. The cursor is the history's
    /// own; its position comes from the file.
    pub async fn run(self, cursor: Cursor, stop: CancellationToken) {
        writer::run(self.shared, cursor, stop).await;
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
        let shared = Arc::clone(&self.shared);
        tokio::task::spawn_blocking(move || {
            let reader = shared.reader.lock().unwrap_or_else(PoisonError::into_inner);
            db::read(&reader, &series, from, to, limit).map_err(|source| HistoryError::Database {
                path: shared.path.display().to_string(),
                source,
            })
        })
        .await
        .map_err(|_| HistoryError::Closed)?
    }

    /// What was written to the file since the start.
    pub fn writes(&self) -> Writes {
        self.shared.writes.clone()
    }

    /// For the status page.
    #[must_use]
    pub fn status(&self) -> HistoryStatus {
        HistoryStatus {
            bytes: self.shared.bytes.load(Ordering::Relaxed),
            stored: self.shared.metrics.points.get(),
            failing: self
                .shared
                .failing
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .clone(),
        }
    }
}

impl Shared {
    fn config(&self) -> Config {
        *self.config.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn db(&self) -> MutexGuard<'_, Db> {
        self.db.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What the file holds of the journal; `None` for nothing.
    fn position(&self) -> Option<Position> {
        self.db().position().unwrap_or_else(|error| {
            tracing::warn!(%error, "the history's position is unreadable: the journal is read from its start");
            None
        })
    }

    /// Deletes what is too old and what is too much.
    fn retain(&self, db: &mut Db) -> rusqlite::Result<()> {
        let mut deleted = 0;
        if self.clock.steady_for() >= STEADY
            && let Some(newest) = db.newest()?
        {
            let now = self.clock.now().min(newest);
            let age = i64::try_from(self.config().retention.as_nanos()).unwrap_or(i64::MAX);
            deleted += db.delete_before(Timestamp(now.0.saturating_sub(age)))?;
        }
        deleted += db.delete_over(self.config().max_bytes)?;
        self.metrics.deleted.inc_by(deleted);
        self.note_size(db);
        Ok(())
    }

    fn note_size(&self, db: &Db) {
        let bytes = db.bytes().unwrap_or_default();
        self.bytes.store(bytes, Ordering::Relaxed);
        self.metrics
            .bytes
            .set(i64::try_from(bytes).unwrap_or(i64::MAX));
    }

    fn set_failing(&self, error: Option<&rusqlite::Error>) {
        self.metrics.failing.set(i64::from(error.is_some()));
        *self.failing.lock().unwrap_or_else(PoisonError::into_inner) =
            error.map(ToString::to_string);
    }

    /// The file turned out to be damaged while it was in use: sets it aside and begins a new one.
    fn begin_anew(&self, damage: &rusqlite::Error) {
        tracing::error!(
            path = %self.path.display(), error = %damage,
            "the history file is damaged: it is set aside and a new one begun"
        );
        let mut db = self.db();
        let mut reader = self.reader.lock().unwrap_or_else(PoisonError::into_inner);
        // Closed first: SQLite deletes a log by its name when a connection ends, and that must not be the new file's.
        let begun = db.close().and_then(|()| {
            *reader = Connection::open_in_memory()?;
            damage::set_aside(&self.path);
            *db = Db::open(&self.path, &self.writes)?;
            *reader = db::open_reader(&self.path)?;
            Ok(())
        });
        drop(reader);
        drop(db);
        // Otherwise the next flush fails again, and this is tried again.
        self.set_failing(begun.as_ref().err());
    }
}
