//! The history's SQLite file: series, their chunks, and how far the journal is in it.
//!
//! ```sql
//! series(id, key)                          -- key is device/metric
//! chunks(series, start, end, count, blob)  -- times in nanoseconds, first and last point included
//! meta(key, value)                         -- 'position': everything up to this record of the journal is in
//! ```
//!
//! What holds: the chunks of a series never overlap, and none has more than [`CHUNK_POINTS`] points; so a point has one chunk
//! where it belongs, and storing it twice stores it once. The position moves in the transaction that stores the
//! points, with `synchronous=FULL`: once it is read back, it survives a power cut, and the journal may forget. (NORMAL would
//! save one sync per flush, but could roll back to a position whose records the journal has let go.)
//! Points and position are written together every few minutes only: this is what spares an SD card.
//!
//! Chunks stay below a quarter of a page, so that SQLite keeps them in the tree (a `WITHOUT ROWID` row is stored locally up to
//! about 1 000 bytes of a 4 KiB page).

use std::path::Path;

use foldhash::HashMap;
use rusqlite::{Connection, OptionalExtension, Transaction, params};

use super::chunk;
use crate::{
    damage::{is_damage, make_durable, set_aside},
    journal::Position,
    model::{SeriesKey, Timestamp},
    store::Point,
    wear::{self, Writes},
};

/// Points in a chunk at most.
pub(super) const CHUNK_POINTS: usize = 256;
/// Pages in the log before it goes into the file: SQLite's own figure.
const CHECKPOINT_PAGES: u32 = 1_000;
/// How many chunks are deleted at a time when the file is over its limit.
const CHUNKS_AT_A_TIME: i64 = 16;
/// Ids of so many series are remembered.
const MAX_IDS: usize = 20_000;
const SCHEMA_VERSION: i64 = 1;
const SCHEMA: &str = "
    CREATE TABLE series (id INTEGER PRIMARY KEY, key TEXT NOT NULL UNIQUE);
    CREATE TABLE chunks (
        series INTEGER NOT NULL, start INTEGER NOT NULL, end INTEGER NOT NULL,
        count INTEGER NOT NULL, blob BLOB NOT NULL,
        PRIMARY KEY (series, start)
    ) WITHOUT ROWID;
    CREATE INDEX chunks_by_end ON chunks (end);
    CREATE TABLE meta (key TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
    PRAGMA user_version = 1;
";

/// The connection that writes.
#[derive(Debug)]
pub(super) struct Db {
    connection: Connection,
    ids: HashMap<SeriesKey, i64>,
}

/// What a write did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Written {
    pub(super) damaged_chunks: u64,
}

impl Db {
    /// Opens or makes the file. One that is no database of ours is renamed to `<name>.damaged` (replacing an older one)
    /// and a new one begun.
    pub(super) fn open(path: &Path, writes: &Writes) -> rusqlite::Result<Self> {
        match Self::open_as_is(path, writes) {
            Err(error) if is_damage(&error) => {
                tracing::error!(
                    path = %path.display(), %error,
                    "the history file is damaged: it is set aside and a new one begun"
                );
                set_aside(path);
                Self::open_as_is(path, writes)
            }
            other => other,
        }
    }

    fn open_as_is(path: &Path, writes: &Writes) -> rusqlite::Result<Self> {
        let mut connection = Connection::open(path)?;
        let version: i64 = connection.pragma_query_value(None, "user_version", |r| r.get(0))?;
        // Only in an empty file does it mean anything, and it would write to every other one: the disk may be full.
        if version == 0 {
            connection.pragma_update(None, "auto_vacuum", "INCREMENTAL")?;
        }
        connection.pragma_update_and_check(None, "journal_mode", "WAL", |_| Ok(()))?;
        connection.pragma_update(None, "synchronous", "FULL")?;
        make_durable(&connection)?;
        wear::watch(&mut connection, writes, CHECKPOINT_PAGES)?;
        match version {
            0 => {
                let make = connection.transaction()?;
                make.execute_batch(SCHEMA)?;
                make.commit()?;
            }
            SCHEMA_VERSION => {}
            _ => {
                return Err(rusqlite::Error::SqliteFailure(
                    rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_NOTADB),
                    Some(format!(
                        "it has schema version {version}, not {SCHEMA_VERSION}"
                    )),
                ));
            }
        }
        let db = Self {
            connection,
            ids: HashMap::default(),
        };
        // A damaged root shows here rather than at the first flush.
        db.position()?;
        db.connection.query_row(
            "SELECT count(*) FROM (SELECT 1 FROM chunks LIMIT 1)",
            [],
            |_| Ok(()),
        )?;
        Ok(db)
    }

    /// Lets go of the file: every use from now on fails.
    pub(super) fn close(&mut self) -> rusqlite::Result<()> {
        self.connection = Connection::open_in_memory()?;
        self.ids.clear();
        Ok(())
    }

    /// Everything up to here is in the file; `None` when it is new.
    pub(super) fn position(&self) -> rusqlite::Result<Option<Position>> {
        let noted: Option<i64> = self
            .connection
            .query_row("SELECT value FROM meta WHERE key = 'position'", [], |r| {
                r.get(0)
            })
            .optional()?;
        Ok(noted.map(|p| Position(p.cast_unsigned())))
    }

    /// Stores points (any order; of equal times the last wins) and, if given, the position, all or nothing.
    pub(super) fn write<'a>(
        &mut self,
        points: impl Iterator<Item = (&'a SeriesKey, &'a [Point])>,
        position: Option<Position>,
    ) -> rusqlite::Result<Written> {
        let mut written = Written::default();
        if self.ids.len() > MAX_IDS {
            self.ids.clear();
        }
        let mut fresh = Vec::new();
        let transaction = self.connection.transaction()?;
        for (key, points) in points {
            let id = match self.ids.get(key) {
                Some(id) => *id,
                None => {
                    let id = series_id(&transaction, key)?;
                    fresh.push((key.clone(), id));
                    id
                }
            };
            store(&transaction, id, &merge(Vec::new(), points), &mut written)?;
        }
        if let Some(position) = position {
            transaction
                .prepare_cached("INSERT OR REPLACE INTO meta (key, value) VALUES ('position', ?1)")?
                .execute([position.0.cast_signed()])?;
        }
        transaction.commit()?;
        // Only now: an id from a transaction that failed was never given.
        self.ids.extend(fresh);
        Ok(written)
    }

    /// The newest point's time.
    pub(super) fn newest(&self) -> rusqlite::Result<Option<Timestamp>> {
        self.connection
            .query_row("SELECT max(end) FROM chunks", [], |r| {
                r.get::<_, Option<i64>>(0)
            })
            .map(|t| t.map(Timestamp))
    }

    /// Deletes chunks that end before `cutoff`, and series that have none left. Returns how many points went.
    pub(super) fn delete_before(&mut self, cutoff: Timestamp) -> rusqlite::Result<u64> {
        let transaction = self.connection.transaction()?;
        let points: i64 = transaction.query_row(
            "SELECT coalesce(sum(count), 0) FROM chunks WHERE end < ?1",
            [cutoff.0],
            |r| r.get(0),
        )?;
        if points > 0 {
            transaction.execute("DELETE FROM chunks WHERE end < ?1", [cutoff.0])?;
            transaction.execute(
                "DELETE FROM series WHERE NOT EXISTS (SELECT 1 FROM chunks WHERE series = id)",
                [],
            )?;
            self.ids.clear();
        }
        transaction.commit()?;
        Ok(points.cast_unsigned())
    }

    /// Deletes the oldest chunks of all series until the file needs at most `max_bytes`. Returns how many points went.
    pub(super) fn delete_over(&mut self, max_bytes: u64) -> rusqlite::Result<u64> {
        let mut points = 0;
        while self.used()? > max_bytes {
            let transaction = self.connection.transaction()?;
            let (end, some): (Option<i64>, i64) = transaction.query_row(
                "SELECT max(end), coalesce(sum(count), 0)
                 FROM (SELECT end, count FROM chunks ORDER BY end LIMIT ?1)",
                [CHUNKS_AT_A_TIME],
                |r| Ok((r.get(0)?, r.get(1)?)),
            )?;
            let Some(end) = end else {
                break;
            };
            transaction.execute(
                "DELETE FROM chunks WHERE (series, start) IN
                 (SELECT series, start FROM chunks WHERE end <= ?1 ORDER BY end LIMIT ?2)",
                [end, CHUNKS_AT_A_TIME],
            )?;
            transaction.commit()?;
            points += some.cast_unsigned();
        }
        if self.bytes()? > max_bytes {
            // The limit was lowered, or a flush went over it: give the free pages back. Each step frees one.
            let mut vacuum = self.connection.prepare("PRAGMA incremental_vacuum")?;
            let mut steps = vacuum.query([])?;
            while steps.next()?.is_some() {}
        }
        Ok(points)
    }

    /// Size of the file without its write-ahead log.
    pub(super) fn bytes(&self) -> rusqlite::Result<u64> {
        Ok(self.pragma("page_count")? * self.pragma("page_size")?)
    }

    fn used(&self) -> rusqlite::Result<u64> {
        let pages = self.pragma("page_count")? - self.pragma("freelist_count")?;
        Ok(pages * self.pragma("page_size")?)
    }

    fn pragma(&self, name: &str) -> rusqlite::Result<u64> {
        self.connection
            .pragma_query_value(None, name, |r| r.get::<_, i64>(0))
            .map(i64::cast_unsigned)
    }
}

/// A connection that only reads.
pub(super) fn open_reader(path: &Path) -> rusqlite::Result<Connection> {
    let connection = Connection::open(path)?;
    connection.pragma_update(None, "query_only", true)?;
    Ok(connection)
}

/// The newest `limit` points with `from <= time < to`, by time.
pub(super) fn read(
    connection: &Connection,
    series: &SeriesKey,
    from: Timestamp,
    to: Timestamp,
    limit: usize,
) -> rusqlite::Result<Vec<Point>> {
    let mut statement = connection.prepare_cached(
        "SELECT blob, end FROM chunks WHERE series = (SELECT id FROM series WHERE key = ?1)
         AND start < ?2 ORDER BY start DESC",
    )?;
    let mut rows = statement.query(params![series.to_string(), to.0])?;
    let mut newest_first = Vec::new();
    while let Some(row) = rows.next()? {
        // Chunks don't overlap: all that follow end earlier still.
        if row.get::<_, i64>(1)? < from.0 {
            break;
        }
        let blob = row.get_ref(0)?.as_blob()?;
        let Some(points) = chunk::decode(blob) else {
            tracing::debug!(%series, "a damaged chunk is left out");
            continue;
        };
        let within = points
            .into_iter()
            .rev()
            .filter(|p| p.time >= from && p.time < to);
        newest_first.extend(within);
        if newest_first.len() >= limit {
            newest_first.truncate(limit);
            break;
        }
    }
    newest_first.reverse();
    Ok(newest_first)
}

fn series_id(transaction: &Transaction<'_>, key: &SeriesKey) -> rusqlite::Result<i64> {
    let key = key.to_string();
    transaction
        .prepare_cached("INSERT OR IGNORE INTO series (key) VALUES (?1)")?
        .execute([&key])?;
    transaction
        .prepare_cached("SELECT id FROM series WHERE key = ?1")?
        .query_row([&key], |r| r.get(0))
}

struct Chunk {
    start: i64,
    end: i64,
    count: usize,
    blob: Vec<u8>,
}

/// `points` are by time, each time once.
fn store(
    transaction: &Transaction<'_>,
    series: i64,
    points: &[Point],
    written: &mut Written,
) -> rusqlite::Result<()> {
    let mut rest = points;
    while let Some(first) = rest.first() {
        let at_or_before = "SELECT start, end, count, blob FROM chunks
            WHERE series = ?1 AND start <= ?2 ORDER BY start DESC LIMIT 1";
        let behind = "SELECT start, end, count, blob FROM chunks
            WHERE series = ?1 AND start > ?2 ORDER BY start LIMIT 1";
        let before = chunk_at(transaction, at_or_before, series, first.time.0)?;
        let after = chunk_at(transaction, behind, series, first.time.0)?;
        let here = after.as_ref().map_or(rest.len(), |after| {
            rest.partition_point(|p| p.time.0 < after.start)
        });
        let is_newest = after.is_none();
        let (here, later) = rest.split_at(here);
        rest = later;
        // A full chunk is not rewritten for what comes behind it; a small one takes in what comes before it.
        let into = match before {
            Some(chunk) if chunk.count < CHUNK_POINTS || first.time.0 <= chunk.end => Some(chunk),
            Some(_) => None,
            None => after.filter(|chunk| chunk.count + here.len() <= CHUNK_POINTS),
        };
        let merged = match into {
            None => here.to_vec(),
            Some(chunk) => {
                transaction
                    .prepare_cached("DELETE FROM chunks WHERE series = ?1 AND start = ?2")?
                    .execute([series, chunk.start])?;
                let known = chunk::decode(&chunk.blob).unwrap_or_else(|| {
                    written.damaged_chunks += 1;
                    Vec::new()
                });
                merge(known, here)
            }
        };
        insert(transaction, series, &merged, is_newest)?;
    }
    Ok(())
}

fn chunk_at(
    transaction: &Transaction<'_>,
    sql: &str,
    series: i64,
    time: i64,
) -> rusqlite::Result<Option<Chunk>> {
    transaction
        .prepare_cached(sql)?
        .query_row([series, time], |r| {
            Ok(Chunk {
                start: r.get(0)?,
                end: r.get(1)?,
                count: usize::try_from(r.get::<_, i64>(2)?).unwrap_or(CHUNK_POINTS),
                blob: r.get(3)?,
            })
        })
        .optional()
}

fn insert(
    transaction: &Transaction<'_>,
    series: i64,
    points: &[Point],
    is_newest: bool,
) -> rusqlite::Result<()> {
    // At the end chunks are filled up, for more will follow; in the middle halves leave room on both sides.
    let size = if is_newest {
        CHUNK_POINTS
    } else {
        points
            .len()
            .div_ceil(points.len().div_ceil(CHUNK_POINTS).max(1))
    };
    let mut statement = transaction.prepare_cached(
        "INSERT INTO chunks (series, start, end, count, blob) VALUES (?1, ?2, ?3, ?4, ?5)",
    )?;
    for piece in points.chunks(size.max(1)) {
        let (Some(first), Some(last)) = (piece.first(), piece.last()) else {
            continue;
        };
        statement.execute(params![
            series,
            first.time.0,
            last.time.0,
            i64::try_from(piece.len()).unwrap_or(i64::MAX),
            chunk::encode(piece)
        ])?;
    }
    Ok(())
}

/// Both by time, each time once; of equals the last of `more` stays.
fn merge(mut points: Vec<Point>, more: &[Point]) -> Vec<Point> {
    points.extend_from_slice(more);
    // Stable, so that equals stay in the order in which they came.
    points.sort_by_key(|p| p.time);
    let mut merged: Vec<Point> = Vec::with_capacity(points.len());
    for point in points {
        match merged.last_mut() {
            Some(last) if last.time == point.time => *last = point,
            _ => merged.push(point),
        }
    }
    merged
}
