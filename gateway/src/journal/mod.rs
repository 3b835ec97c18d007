//! The durable log: a batch is accepted once its record is on disk, and everything that must survive a crash
//! is derived from it.
//!
//! [`Journal::submit`] takes a batch and calls back when it is durable; committed batches come out of the
//! `committed` channel in journal order for the engine; [`Cursor`]s read behind, at their own pace.
//!
//! | file | job |
//! |---|---|
//! | `format.rs` | the bytes, documented there; pure |
//! | `disk.rs` | the few file operations that the promises rest on |
//! | `segment.rs` | names of segment files, reading past damage, what a file holds at start |
//! | `writer.rs` | the one thread that writes: group commit, a failing disk |
//! | `rhythm.rs` | how far apart commits are, by who waits for them; pure |
//! | `allowance.rs` | how often news makes a commit come sooner; pure |
//! | `pace.rs` | who is held back by a commit that waits; pure |
//! | `signals.rs` | what writer and handles tell each other: closing, a disk that refuses |
//! | `cursor.rs` | reading behind |
//! | `progress.rs` | how far a cursor is, and what it left behind; pure |
//! | `recovery.rs` | taking the directory and finding what is in it |
//! | `retention.rs` | what may and must go |
//! | `stock.rs` | what archives have yet to do at the start, and the replay |
//! | `restamp.rs` | what came before the clock was set gets its right time |
//!
//! # Files of the directory
//!
//! `lock` (held with flock(2) while the journal is open) · `<20 digits>.seg` segments · `<name>.cursor` positions ·
//! `reserve` (room held back for a full disk, one segment long).
//!
//! # What holds
//!
//! 1. `on_durable` is called, and a record is seen by engine or cursor, only after fdatasync(2) of its bytes and, for a new
//!    segment, fsync(2) of the directory.
//! 2. Positions grow by one from record to record, and never repeat: the newest segment is never deleted, and after a torn or
//!    damaged tail the numbering skips all that could have been in it and goes on in a new segment.
//! 3. Opening never fails over the contents of a file. A torn tail is cut; damage elsewhere costs the records that it touches,
//!    met and counted when they are read (closed segments are trusted to their ends at start, so that a start is quick: `stock.rs`).
//! 4. The segments together never exceed `max_bytes`, but for a single delivery larger than that. The oldest go first, and
//!    readings that a cursor had not read are counted.
//! 5. A reading that was stamped with a time since boot is not seen by cursors; once the clock is set it is written again with its
//!    right time, once, and then is as any other. Until then its record is held as if a cursor stood before it.
//! 6. Waiting for the writer are at most [`MAX_WAITING`] batches; more wait in [`Journal::submit`]. Nothing is dropped.
//! 7. Three classes ([`Urgency`]): who does nothing else until it is answered is answered soon; what is acknowledged to who goes on
//!    meanwhile gathers as long as that holds nobody up; what nobody waits for gathers. So a card is not worn out by one
//!    sync a reading. What is [`News`] to a rule goes at once, as far as the allowance reaches. A commit takes along what came before it: order is
//!    that of submission.
//!
//! It does not encrypt or compress; it does not look into readings; it does not delete by age.

mod allowance;
mod cursor;
mod disk;
mod format;
mod metrics;
mod pace;
mod progress;
mod recovery;
mod restamp;
mod retention;
mod rhythm;
mod segment;
mod signals;
mod stock;
mod tally;
#[cfg(test)]
mod tests;
pub(crate) mod varint;
mod writer;

use std::{
    path::Path,
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use prometheus_client::registry::Registry;
use thiserror::Error;
use tokio::{
    sync::{mpsc, watch},
    time::Instant,
};
use tokio_util::sync::CancellationToken;

pub use self::{
    cursor::Cursor,
    progress::{MAX_STRETCHES, Stretch},
    rhythm::Rhythm,
    tally::{Tallies, Tally},
};
use self::{
    disk::Disk,
    metrics::Metrics,
    recovery::{lock, recover},
    restamp::Unset,
    retention::Index,
    tally::AwaitingClock,
    writer::{Submission, Writer},
};
use crate::{
    model::{Batch, News, Urgency},
    wear::Writes,
};

/// Batches that may wait for the writer. Their bytes are bounded by the door that they came through.
pub const MAX_WAITING: usize = 256;
/// A record that takes longer to become durable is told as trouble.
pub const SLOW: Duration = Duration::from_secs(10);
/// The largest segment: offsets in it are 32 bits wide.
const MAX_SEGMENT_BYTES: u64 = 64 << 20;

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
    /// The least time between two commits while somebody waits for the acknowledgement. Default [`Rhythm::Auto`]. What comes after
    /// a pause is committed at once.
    pub commit_prompt: Rhythm,
    /// The same while nobody waits. Default 1 s: at most so much of what was never acknowledged is lost with the power, and so
    /// late it is seen when traffic is dense. Each commit costs a card four blocks of 4 KiB at least.
    pub commit_patient: Duration,
    /// How often a moving cursor is written down. Default 60 s: so much is archived again after a crash, as the same points.
    pub note_every: Duration,
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
pub struct Journal {
    submissions: mpsc::Sender<Submission>,
    shared: Arc<Shared>,
}

/// What handles, cursors and the writer have in common.
#[derive(Debug)]
struct Shared {
    config: Config,
    disk: Disk,
    metrics: Metrics,
    tallies: Tallies,
    // std: held for a look or an unlink, never over an await.
    index: Mutex<Index>,
    /// Held while a cursor's note is written.
    noting: Mutex<()>,
    /// What waits for the clock. Locked before `index`, where both are.
    unset: Mutex<Unset>,
    failing: Mutex<Option<String>>,
    /// Since when the record under way is being written.
    writing_since: Mutex<Option<Instant>>,
    /// The newest durable record; its sender ends with the writer.
    durable: watch::Receiver<Position>,
    closing: (Mutex<bool>, Condvar),
    /// Somebody looks at what is committed.
    watched: AtomicBool,
    /// Nothing is patient from here on.
    hurried: AtomicBool,
    /// The writer no longer runs: the directory may be another's.
    closed: AtomicBool,
    ended: CancellationToken,
}

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
    /// Bytes of unfinished records that were cut off at the start.
    pub torn_bytes: u64,
    /// Damaged records that readers met since the start and skipped; each reader counts.
    pub damaged_records: u64,
    /// Cursor files that could not be read at the start: their readers began anew.
    pub unreadable_cursors: u64,
    /// Name and lag (records) of each cursor.
    pub cursors: Vec<(String, u64)>,
    /// Readings without a time of their own that came before the clock was set, and wait for that.
    pub awaiting_clock: u64,
}

/// So much of the journal.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Amount {
    /// Records.
    pub records: u64,
    /// Readings in them, about: exact for whole segments.
    pub readings: u64,
}

/// What a cursor has not done with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Backlog {
    /// Behind its front.
    pub fresh: Amount,
    /// Left behind.
    pub behind: Amount,
    /// Stretches in which that is.
    pub stretches: usize,
}

impl Backlog {
    /// Records, of both kinds.
    #[must_use]
    pub const fn records(&self) -> u64 {
        self.fresh.records + self.behind.records
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            max_bytes: 1 << 30,
            keep_bytes: 64 << 20,
            segment_bytes: 4 << 20,
            commit_prompt: Rhythm::Auto,
            commit_patient: Duration::from_secs(1),
            note_every: Duration::from_secs(60),
        }
    }
}

/// Gives the room back that the journal in `dir` holds for a full disk, for who can't start without; the journal makes it
/// again when there is room. True if there was any. Only while no journal is open there.
#[must_use]
pub fn release_reserve(dir: &Path) -> bool {
    std::fs::remove_file(dir.join(writer::RESERVE)).is_ok()
}

/// Whether there is, or was, a journal in `dir`.
#[must_use]
pub fn is_there(dir: &Path) -> bool {
    dir.join("lock").exists() || segment::list(dir).is_ok_and(|segments| !segments.is_empty())
}

impl Journal {
    /// Opens (or makes) the journal in `dir`, cuts a torn tail, and starts its one writer thread.
    /// Committed records are sent to `committed`; when that is full the writer waits (back-pressure).
    ///
    /// Ask for all cursors before the first submission: only cursors that are in use hold segments back.
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
        let segment_bytes = config.segment_bytes.clamp(1, MAX_SEGMENT_BYTES);
        let config = Config {
            segment_bytes,
            max_bytes: config.max_bytes.max(4 * segment_bytes),
            ..config
        };
        let refused = |source| OpenError::Directory {
            path: dir.display().to_string(),
            source,
        };
        disk::make_dir(dir).map_err(refused)?;
        let lock = lock(dir)?;
        let disk = Disk::new(dir);
        let recovered = recover(dir, &disk).map_err(refused)?;
        let recovery = recovered.recovery.clone();
        if recovery.torn_bytes > 0 || recovery.damaged_records > 0 {
            tracing::warn!(
                torn_bytes = recovery.torn_bytes,
                damaged_records = recovery.damaged_records,
                "the journal was damaged; what was whole is kept"
            );
        }
        let (durable, seen) = watch::channel(Position(recovered.index.newest));
        let (submissions, waiting) = mpsc::channel(MAX_WAITING);
        let metrics = Metrics::new(registry);
        metrics.set_size(recovered.index.bytes());
        metrics.torn.inc_by(recovery.torn_bytes);
        let tallies = Tallies::default();
        registry.register_collector(Box::new(tallies.clone()));
        let shared = Arc::new(Shared {
            config,
            disk,
            metrics,
            tallies,
            index: Mutex::new(recovered.index),
            noting: Mutex::default(),
            unset: Mutex::default(),
            failing: Mutex::default(),
            writing_since: Mutex::default(),
            durable: seen,
            closing: (Mutex::new(false), Condvar::new()),
            watched: AtomicBool::new(false),
            hurried: AtomicBool::new(false),
            closed: AtomicBool::new(false),
            ended: CancellationToken::new(),
        });
        let writer = Writer::new(
            Arc::clone(&shared),
            waiting,
            committed,
            durable,
            recovered.active,
            lock,
        )
        .map_err(refused)?;
        let ended = shared.ended.clone().drop_guard();
        std::thread::Builder::new()
            .name("journal".into())
            .spawn(move || {
                writer.run();
                drop(ended);
            })
            .map_err(refused)?;
        let journal = Self {
            submissions,
            shared,
        };
        Ok((journal, recovery))
    }

    /// Queues a batch, waiting for room. `on_durable` is called when it is on disk. A batch without readings is not
    /// written but keeps its place in the order towards the engine. While the disk refuses, submissions wait and the writer
    /// tries again; nothing is dropped here.
    ///
    /// # Errors
    ///
    /// [`Closed`] after [`Journal::close`].
    pub async fn submit(&self, batch: Batch, on_durable: OnDurable) -> Result<(), Closed> {
        self.submit_as(Urgency::Prompt, News::None, batch, on_durable)
            .await
    }

    /// As [`Journal::submit`], with its class, and whether it is news to a rule: then it goes at once, whatever its class, unless that was so too
    /// often.
    ///
    /// # Errors
    ///
    /// [`Closed`] after [`Journal::close`].
    pub async fn submit_as(
        &self,
        urgency: Urgency,
        news: News,
        batch: Batch,
        on_durable: OnDurable,
    ) -> Result<(), Closed> {
        self.submissions
            .send(Submission::Batch(urgency, news, batch, on_durable))
            .await
            .map_err(|_| Closed)
    }

    /// From now on everything is prompt: the gateway stops, and those who stop wait for what they delivered.
    pub fn hurry(&self) {
        self.shared.hurried.store(true, Ordering::Release);
        // Wakes a writer that waits for more; where there is no room for it, the writer has enough to do.
        drop(self.submissions.try_send(Submission::Hurry));
    }

    /// Whether somebody sees readings as they are committed; nobody, at first. Holds from the next commit on.
    pub fn set_watched(&self, watched: bool) {
        self.shared.watched.store(watched, Ordering::Release);
    }

    /// What each archive did with the readings of each source.
    #[must_use]
    pub fn tallies(&self) -> &Tallies {
        &self.shared.tallies
    }

    /// What was written to segments, and to the files of cursors, since the start.
    pub fn writes(&self) -> [(&'static str, Writes); 2] {
        let disk = &self.shared.disk;
        [
            ("journal", disk.writes.clone()),
            ("cursors", disk.replaced.clone()),
        ]
    }

    /// A cursor by this name, where it was left. A new name starts at the oldest kept record. One at a time by a name.
    #[must_use]
    pub fn cursor(&self, name: &str) -> Cursor {
        Cursor::new(name, Arc::clone(&self.shared))
    }

    /// The owner of the cursor by this name is gone for good: it no longer holds records back. Its position stays written
    /// down, for one that comes back.
    pub fn let_go(&self, cursor: &str) {
        self.shared.give_up_hand(self.shared.index(), cursor);
        let mut index = self.shared.index();
        index.cursors.remove(cursor);
        index.noted.remove(cursor);
    }

    /// Numbers up to `position` were given before, as another file notes; if the journal is younger than that, because its
    /// directory was deleted or put back, it numbers on behind them. Call before the first submission and the first cursor.
    pub fn number_after(&self, position: Position) {
        let mut index = self.shared.index();
        if position.0 >= index.next && position.0 < segment::MAX_POSITION {
            tracing::warn!(
                noted = position.0,
                next = index.next,
                "the journal ends before what is known of it: it was deleted or put back, and goes on behind that"
            );
            index.next = position.0 + 1;
        }
    }

    /// Size and rhythm as they are in force.
    #[must_use]
    pub fn config(&self) -> &Config {
        &self.shared.config
    }

    /// The newest durable record, and the number that the next one gets.
    #[must_use]
    pub fn newest_and_next(&self) -> (Position, Position) {
        let index = self.shared.index();
        (Position(index.newest), Position(index.next))
    }

    /// What this cursor has not done with; nothing for one that is not in use.
    #[must_use]
    pub fn backlog(&self, cursor: &str) -> Backlog {
        let index = self.shared.index();
        index
            .cursors
            .get(cursor)
            .map_or_else(Backlog::default, |progress| index.backlog(progress))
    }

    /// Why nothing becomes durable now: the last error, or that the disk takes longer than [`SLOW`]. `None` when writing works.
    #[must_use]
    pub fn failing(&self) -> Option<String> {
        let failing = self.shared.failing.lock();
        let error = failing.unwrap_or_else(PoisonError::into_inner).clone();
        error.or_else(|| {
            let since = self.shared.writing_since.lock();
            let took = since
                .unwrap_or_else(PoisonError::into_inner)
                .as_ref()?
                .elapsed();
            (took >= SLOW).then(|| {
                let seconds = took.as_secs();
                format!("the disk has not taken a record for {seconds} s: it is slow, or hangs")
            })
        })
    }

    /// For the status page.
    #[must_use]
    pub fn status(&self) -> JournalStatus {
        let awaiting_clock = self.shared.unset().readings();
        let index = self.shared.index();
        JournalStatus {
            awaiting_clock,
            bytes: index.bytes(),
            max_bytes: self.shared.config.max_bytes,
            segments: index.segments.len(),
            newest: index.newest,
            oldest: index.segments.front().map_or(0, |s| s.first),
            failing: self.failing(),
            dropped_unread: index.dropped_unread,
            torn_bytes: self.shared.metrics.torn.get(),
            damaged_records: self.shared.metrics.damaged.get(),
            unreadable_cursors: self.shared.metrics.unreadable_cursors.get(),
            cursors: index
                .cursors
                .iter()
                .map(|(name, at)| (name.clone(), index.backlog(at).records()))
                .collect(),
        }
    }

    /// Commits what was submitted, then ends the writer. Returns when it has ended. While the disk refuses, what waits is given
    /// up after one more try: it was never acknowledged.
    pub async fn close(&self) {
        self.shared.set_closing();
        // Refused only when the writer has ended already.
        if self.submissions.send(Submission::Close).await.is_err() {
            tracing::debug!("the journal was closed already");
        }
        self.shared.ended.cancelled().await;
    }
}

impl Shared {
    fn index(&self) -> MutexGuard<'_, Index> {
        self.index.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set_closed(&self) {
        self.closed.store(true, Ordering::Release);
    }
}
