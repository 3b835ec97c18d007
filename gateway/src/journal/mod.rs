//! The durable log: a batch is accepted once its record is on disk, and everything that must survive a crash
//! is derived from it.
//!
//! Seam for the other rooms (the on-disk format is documented in `format.rs`):
//! [`Journal::submit`] takes a batch and calls back when it is durable; committed batches come out of the
//! `committed` channel in journal order for the engine; [`Cursor`]s read behind, at their own pace.

use std::{path::Path, sync::Arc, time::Duration};

use prometheus_client::registry::Registry;
use thiserror::Error;
use tokio::sync::mpsc;

use crate::model::Batch;

/// A place in the journal: the number of a record, from 1, never reused. Position 0 is before everything.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    serde::Serialize,
    serde::Deserialize,
)]
#[serde(transparent)]
pub struct Position(pub u64);

/// Size and rhythm of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Hard limit over all segments. At the limit the oldest segment goes, whether archived or not, and what was
    /// unarchived in it is counted. Default 1 GiB, at least four segments.
    pub max_bytes: u64,
    /// What is kept even when every cursor is past, so that a restart finds its windows again. Default 64 MiB.
    pub keep_bytes: u64,
    /// A segment is closed at this size. Default 4 MiB; 64 KiB to 64 MiB.
    pub segment_bytes: u64,
    /// How long a commit may wait for more when traffic is dense. Default 2 ms. A lone batch is committed at once.
    pub gather: Duration,
}

/// Batches of one record, as they went to disk.
#[derive(Clone, Debug)]
pub struct Committed {
    /// The record.
    pub position: Position,
    /// What is in it, in order.
    pub batches: Arc<[Batch]>,
}

/// Called on the journal's thread when the batch is durable; must return at once. Dropped uncalled if the journal
/// stops before that.
pub type OnDurable = Box<dyn FnOnce(Position) + Send>;

/// What opening found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recovery {
    /// Whole records found.
    pub records: u64,
    /// Bytes cut off a torn tail.
    pub torn_bytes: u64,
    /// Damaged records skipped in the middle.
    pub damaged_records: u64,
}

/// Why the journal can't be opened.
#[derive(Debug, Error)]
pub enum OpenError {
    /// The directory can't be made, listed or written.
    #[error("cannot use the journal directory {path}")]
    Directory {
        /// Which.
        path: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// Another process holds it.
    #[error("another gateway is using {path}: stop it, or set another data_dir")]
    Locked {
        /// Which.
        path: String,
    },
}

/// The journal is closed: nothing more is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("the journal is closed")]
pub struct Closed;

/// The handle: cheap to clone.
#[derive(Clone, Debug)]
pub struct Journal {}

/// A reader that remembers how far it is. The journal keeps what the slowest cursor still needs, within `max_bytes`.
#[derive(Debug)]
pub struct Cursor {}

/// One record as a cursor reads it.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// The record.
    pub position: Position,
    /// What is in it.
    pub batches: Vec<Batch>,
}

/// Sizes for the status page.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct JournalStatus {
    /// On disk now.
    pub bytes: u64,
    /// The limit.
    pub max_bytes: u64,
    /// Segment files.
    pub segments: usize,
    /// The newest durable record.
    pub newest: u64,
    /// The oldest kept record.
    pub oldest: u64,
    /// `None` when writing works; else the error in words. Submissions wait meanwhile.
    pub failing: Option<String>,
    /// Readings lost to the byte limit before every cursor had read them.
    pub dropped_unread: u64,
    /// Name and lag (records) of each cursor.
    pub cursors: Vec<(String, u64)>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            max_bytes: 1 << 30,
            keep_bytes: 64 << 20,
            segment_bytes: 4 << 20,
            gather: Duration::from_millis(2),
        }
    }
}

impl Journal {
    /// Opens (or makes) the journal in `dir`, cuts a torn tail, and starts its one writer thread.
    /// Committed records are sent to `committed`; when that is full the writer waits (back-pressure).
    ///
    /// # Errors
    ///
    /// Only what makes every write impossible; damage is repaired and reported in [`Recovery`].
    pub fn open(
        config: Config,
        dir: &Path,
        committed: mpsc::Sender<Committed>,
        registry: &mut Registry,
    ) -> Result<(Self, Recovery), OpenError> {
        let _ = (config, dir, committed, registry);
        Ok((Self {}, Recovery::default()))
    }

    /// Queues a batch, waiting for room. `on_durable` is called when it is on disk. A batch without readings is not
    /// written but keeps its place in the order towards the engine. While the disk refuses, submissions wait and the writer
    /// tries again; nothing is dropped here.
    ///
    /// # Errors
    ///
    /// [`Closed`] after [`Journal::close`].
    pub async fn submit(&self, batch: Batch, on_durable: OnDurable) -> Result<(), Closed> {
        let _ = (batch, on_durable);
        Err(Closed)
    }

    /// A cursor by this name, where it was left. A new name starts at the oldest kept record.
    #[must_use]
    pub fn cursor(&self, name: &str) -> Cursor {
        let _ = name;
        Cursor {}
    }

    /// Reads all kept records in order, for the replay at start; blocking. Damaged ones are skipped.
    pub fn replay(&self, each: &mut dyn FnMut(Entry)) {
        let _ = each;
    }

    /// For the status page.
    #[must_use]
    pub fn status(&self) -> JournalStatus {
        JournalStatus::default()
    }

    /// Commits what was submitted, then ends the writer. Returns when it has ended.
    pub async fn close(&self) {}
}

impl Cursor {
    /// Where it stands: everything up to here was done with.
    #[must_use]
    pub fn position(&self) -> Position {
        Position::default()
    }

    /// Sets the position from the owner's own durable note of it (the history keeps its own).
    pub fn seek(&mut self, position: Position) {
        let _ = position;
    }

    /// The records after `after` (usually the last one read), up to about `max_readings` readings, waiting until there is
    /// at least one. Empty only when the journal is closed and all was read. Cancel-safe.
    pub async fn read(&mut self, after: Position, max_readings: usize) -> Vec<Entry> {
        let _ = (after, max_readings);
        Vec::new()
    }

    /// Everything up to `position` is done with and may go; the position is written down durably (atomically replaced
    /// file), so that a restart goes on from here.
    ///
    /// # Errors
    ///
    /// When it could not be written; the move holds in memory all the same.
    pub async fn advance(&mut self, position: Position) -> std::io::Result<()> {
        let _ = position;
        Ok(())
    }
}
