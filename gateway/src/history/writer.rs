//! Follows the journal and fills the file: gathers points, writes them every [`super::Config::flush_every`].
//!
//! In memory wait at most [`MAX_WAITING`] points and what one read of the cursor brings; when that is reached they are written
//! early, and while the file refuses, the cursor stands still: the journal keeps what comes. A series with a whole
//! chunk of points is written early on its own, without moving the position, so that a fast series never waits longer
//! than its points stay in the engine's memory; after a crash these points are stored again over themselves.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use foldhash::HashMap;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::{
    Shared,
    db::{CHUNK_POINTS, Written},
};
use crate::{
    backoff::{self, Backoff},
    damage::is_damage,
    journal::{Cursor, Entry, Position, Tallies},
    model::{SeriesKey, SourceName},
    store::Point,
};

/// Points that wait for their flush at most.
pub(super) const MAX_WAITING: usize = 50_000;
/// Readings asked of the cursor at a time.
const READ: usize = 5_000;
/// The waits while the file refuses; short, so that a disk with room again is noticed soon.
const RETRY: backoff::Config = backoff::Config {
    initial: Duration::from_millis(500),
    max: Duration::from_secs(5),
};
/// How often the last flush is tried when stopping; what is left stays in the journal.
const LAST_TRIES: u32 = 3;

/// Points on their way to the file.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    series: HashMap<SeriesKey, Vec<Point>>,
    points: usize,
    /// Since the last write of all: readings taken from the journal, by source.
    taken: BTreeMap<SourceName, u64>,
    /// All up to here are in the file or here.
    position: Position,
    /// The file's own position is older.
    moved: bool,
    /// Some series has a whole chunk.
    hot: bool,
}

impl Waiting {
    fn add(&mut self, entry: Entry) {
        self.position = entry.position;
        self.moved = true;
        for batch in &entry.batches {
            let stored = batch.readings.iter().filter(|r| !r.retained).count() as u64;
            match self.taken.get_mut(&batch.source) {
                Some(taken) => *taken += stored,
                None => drop(self.taken.insert(batch.source.clone(), stored)),
            }
        }
        let readings = entry.batches.into_iter().flat_map(|b| b.readings);
        // A retained message is a last-known value, not a measurement.
        for reading in readings.filter(|r| !r.retained) {
            let points = self.series.entry(reading.series).or_default();
            points.push(Point {
                time: reading.time,
                value: reading.value,
                quality: reading.quality,
            });
            self.points += 1;
            self.hot |= points.len() >= CHUNK_POINTS;
        }
    }

    fn is_full(&self) -> bool {
        self.points >= MAX_WAITING
    }
}

/// How much of what waits is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Flush {
    /// All, and the position.
    All,
    /// The series with a whole chunk.
    Hot,
}

/// Until `stop` or the end of the journal.
pub(super) async fn run(shared: Arc<Shared>, mut cursor: Cursor, stop: CancellationToken) {
    let mut follower = Follower {
        tallies: cursor.tallies(),
        shared,
        waiting: Waiting::default(),
        due: None,
        backoff: Backoff::new(RETRY),
    };
    follower.begin(&mut cursor);
    loop {
        let due = follower.due;
        tokio::select! {
            biased;
            () = stop.cancelled() => break,
            () = tokio::time::sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => {
                follower.flush(Flush::All, &mut cursor).await;
            }
            entries = cursor.read(follower.waiting.position, READ), if !follower.waiting.is_full() => {
                if entries.is_empty() {
                    break;
                }
                follower.add(entries);
                if follower.waiting.hot && follower.backoff.failures() == 0 {
                    follower.flush(Flush::Hot, &mut cursor).await;
                }
            }
        }
    }
    follower.finish(cursor).await;
}

struct Follower {
    shared: Arc<Shared>,
    waiting: Waiting,
    /// When all that waits is to be written; none when nothing waits.
    due: Option<Instant>,
    backoff: Backoff,
    tallies: Tallies,
}

impl Follower {
    /// Sets the cursor to what the file says.
    fn begin(&mut self, cursor: &mut Cursor) {
        // Without a position the file is new: everything that the journal still has goes into it.
        let noted = self.shared.position().unwrap_or(Position(u64::MAX));
        cursor.seek(noted);
        self.waiting = Waiting {
            position: cursor.position(),
            ..Waiting::default()
        };
        self.due = None;
    }

    fn add(&mut self, entries: Vec<Entry>) {
        for entry in entries {
            self.waiting.add(entry);
        }
        let now = Instant::now();
        if self.backoff.failures() > 0 {
            // The next try is set already.
        } else if self.waiting.is_full() {
            self.due = Some(now);
        } else if self.due.is_none() {
            self.due = Some(now + self.shared.config().flush_every);
        }
    }

    async fn flush(&mut self, what: Flush, cursor: &mut Cursor) {
        let shared = Arc::clone(&self.shared);
        let waiting = std::mem::take(&mut self.waiting);
        let position = waiting.position;
        let done = tokio::task::spawn_blocking(move || shared.write(waiting, what == Flush::All));
        let Ok((waiting, result)) = done.await else {
            // The runtime goes down, or SQLite panicked: what waited is still in the journal.
            self.tallies.close(super::CURSOR);
            self.begin(cursor);
            return;
        };
        self.waiting = waiting;
        match result {
            Ok(()) => {
                if self.backoff.failures() > 0 {
                    tracing::info!("the history can be written again");
                    self.backoff.reset();
                }
                if what == Flush::All {
                    self.due = None;
                    cursor.seek(position);
                    for (source, count) in std::mem::take(&mut self.waiting.taken) {
                        self.tallies.archived(super::CURSOR, &source, count);
                    }
                }
            }
            Err(error) if is_damage(&error) => {
                self.shared.begin_anew(&error);
                self.tallies.close(super::CURSOR);
                self.begin(cursor);
            }
            Err(error) => {
                if self.backoff.failures() == 0 {
                    tracing::error!(%error, "the history cannot be written; the journal keeps what comes");
                }
                self.due = Some(Instant::now() + self.backoff.next_wait());
            }
        }
    }

    /// Takes what is durable by now and writes it.
    async fn finish(mut self, mut cursor: Cursor) {
        let newest = cursor.newest();
        while self.waiting.position < newest && self.backoff.failures() < LAST_TRIES {
            if self.waiting.is_full() {
                self.flush(Flush::All, &mut cursor).await;
                continue;
            }
            let read = cursor.read(self.waiting.position, READ);
            // Damaged records at the very end would be waited for.
            match tokio::time::timeout(std::time::Duration::from_secs(1), read).await {
                Ok(entries) if !entries.is_empty() => self.add(entries),
                _ => break,
            }
        }
        let mut tries = 0;
        while self.waiting.moved && tries < LAST_TRIES {
            self.flush(Flush::All, &mut cursor).await;
            tries += 1;
        }
        if self.waiting.moved {
            tracing::warn!(
                points = self.waiting.points,
                "the history ends behind the journal and catches up at the next start"
            );
        }
    }
}

impl Shared {
    /// Writes what waits; gives back what still does.
    fn write(&self, mut waiting: Waiting, all: bool) -> (Waiting, rusqlite::Result<()>) {
        let goes = |points: &Vec<Point>| all || points.len() >= CHUNK_POINTS;
        let mut db = self.db();
        let chosen = waiting
            .series
            .iter()
            .filter(|(_, points)| goes(points))
            .map(|(key, points)| (key, points.as_slice()));
        let result = db
            .write(chosen, all.then_some(waiting.position))
            .and_then(|written| {
                let before = waiting.points;
                waiting.series.retain(|_, points| !goes(points));
                waiting.points = waiting.series.values().map(Vec::len).sum();
                waiting.hot = false;
                waiting.moved &= !all;
                self.note_written(written, before - waiting.points);
                if all { self.retain(&mut db) } else { Ok(()) }
            });
        self.set_failing(result.as_ref().err());
        (waiting, result)
    }

    fn note_written(&self, written: Written, points: usize) {
        self.metrics.points.inc_by(points as u64);
        self.metrics.flushes.inc();
        if written.damaged_chunks > 0 {
            self.metrics.damaged_chunks.inc_by(written.damaged_chunks);
            tracing::error!(
                chunks = written.damaged_chunks,
                "damaged chunks of the history were replaced"
            );
        }
    }
}
