//! The dead letters: points that InfluxDB refused for good, in one SQLite file (`dead-letters.sqlite`), until somebody has them
//! sent again or discards them.
//!
//! A letter is durable before the archive goes on behind it (`synchronous=FULL`). Bounded: [`MAX_LETTERS`] and [`MAX_BYTES`]; when
//! full the oldest goes, as the newest says what is wrong now, and is counted. The same line is one letter, however often it is
//! refused. A damaged file is set aside and a new one begun; one that can't be used is tried again with every use, and the archive
//! waits meanwhile. Sending is not done here: letters are marked, and the archiver takes those that are.

use std::{
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use prometheus_client::{
    metrics::{counter::Counter, gauge::Gauge},
    registry::Registry,
};
use rusqlite::{Connection, Row, Transaction, params};
use serde::Serialize;
use thiserror::Error;
use tokio::sync::watch;

use crate::{
    clock::Clock,
    damage::{is_damage, set_aside},
};

/// Letters that are kept.
pub const MAX_LETTERS: u64 = 10_000;
/// Bytes of their lines and words.
pub const MAX_BYTES: u64 = 8 << 20;

const SCHEMA_VERSION: i64 = 1;
const SCHEMA: &str = "
    CREATE TABLE letters (
        id INTEGER PRIMARY KEY AUTOINCREMENT, at_ms INTEGER NOT NULL, source TEXT NOT NULL, series TEXT NOT NULL,
        line TEXT NOT NULL UNIQUE, words TEXT NOT NULL, refusals INTEGER NOT NULL, replaying INTEGER NOT NULL
    );
    CREATE INDEX letters_replaying ON letters (id) WHERE replaying;
    PRAGMA user_version = 1;
";
const COLUMNS: &str = "id, at_ms, source, series, line, words, refusals, replaying";

/// The file can't be used.
#[derive(Debug, Error)]
#[error("the dead letters {path} cannot be read or written: check the disk")]
pub struct LettersError {
    path: String,
    #[source]
    source: rusqlite::Error,
}

/// A point that was refused.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Letter {
    /// Its number, never given twice.
    pub id: i64,
    /// When it was refused last.
    pub at_ms: i64,
    /// Where its readings came from.
    pub source: String,
    /// Its series, as `device/metric`.
    pub series: Vec<String>,
    /// The point in line protocol.
    pub line: String,
    /// What the server said, last.
    pub words: String,
    /// How often it was refused.
    pub refusals: u64,
    /// Whether it waits to be sent again.
    pub replaying: bool,
}

/// A refusal to be written down.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Refused {
    /// The letter, if it is one that was sent again.
    pub(super) letter: Option<i64>,
    pub(super) source: String,
    pub(super) series: Vec<String>,
    pub(super) line: String,
    pub(super) words: String,
}

/// The handle: cheap to clone.
#[derive(Clone, Debug)]
pub struct DeadLetters {
    path: PathBuf,
    clock: Clock,
    // std: held in the blocking pool, for one transaction.
    connection: Arc<Mutex<Option<Connection>>>,
    limits: (u64, u64),
    kept: Gauge,
    dropped: Counter,
    /// Changes when letters were marked to be sent again.
    marked: watch::Sender<u64>,
}

impl DeadLetters {
    /// Those in `dir`. A file that can't be opened now is opened when it is needed.
    #[must_use]
    pub fn new(dir: &Path, clock: Clock, registry: &mut Registry) -> Self {
        let letters = Self {
            path: dir.join("dead-letters.sqlite"),
            clock,
            connection: Arc::default(),
            limits: (MAX_LETTERS, MAX_BYTES),
            kept: Gauge::default(),
            dropped: Counter::default(),
            marked: watch::Sender::new(0),
        };
        registry.register(
            "gateway_archive_dead_letters",
            "Points that InfluxDB refused for good and that are kept",
            letters.kept.clone(),
        );
        registry.register(
            "gateway_archive_dead_letters_dropped",
            "Dead letters that went because there were too many",
            letters.dropped.clone(),
        );
        if let Err(error) = letters.run(|_| Ok(())) {
            tracing::warn!(error = %crate::cause::chain(&error), "the dead letters cannot be opened yet");
        }
        letters
    }

    /// How many there are.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.kept.get().unsigned_abs()
    }

    /// The newest `limit` letters with an id below `before`.
    ///
    /// # Errors
    ///
    /// [`LettersError`]
    pub async fn list(&self, before: i64, limit: usize) -> Result<Vec<Letter>, LettersError> {
        self.with(move |transaction| {
            let select =
                format!("SELECT {COLUMNS} FROM letters WHERE id < ?1 ORDER BY id DESC LIMIT ?2");
            read(transaction, &select, before, limit)
        })
        .await
    }

    /// Marks a letter, or all, to be sent again. How many there were.
    ///
    /// # Errors
    ///
    /// [`LettersError`]
    pub async fn replay(&self, id: Option<i64>) -> Result<usize, LettersError> {
        let marked = self
            .with(move |transaction| {
                transaction.execute(
                    "UPDATE letters SET replaying = 1 WHERE ?1 IS NULL OR id = ?1",
                    params![id],
                )
            })
            .await?;
        if marked > 0 {
            self.marked.send_modify(|n| *n += 1);
        }
        Ok(marked)
    }

    /// Forgets a letter, or all. How many there were.
    ///
    /// # Errors
    ///
    /// [`LettersError`]
    pub async fn discard(&self, id: Option<i64>) -> Result<usize, LettersError> {
        self.with(move |transaction| {
            transaction.execute(
                "DELETE FROM letters WHERE ?1 IS NULL OR id = ?1",
                params![id],
            )
        })
        .await
    }

    /// The oldest letters that wait to be sent again.
    pub(super) async fn waiting(&self, limit: usize) -> Result<Vec<Letter>, LettersError> {
        self.with(move |transaction| {
            let select = format!(
                "SELECT {COLUMNS} FROM letters WHERE replaying AND id > ?1 ORDER BY id LIMIT ?2"
            );
            read(transaction, &select, 0, limit)
        })
        .await
    }

    /// Writes down what was refused, and forgets the letters that are stored now; both or none.
    pub(super) async fn settle(
        &self,
        refused: Vec<Refused>,
        stored: Vec<i64>,
    ) -> Result<(), LettersError> {
        let (now, limits) = (self.clock.now().as_millis(), self.limits);
        let dropped = self
            .with(move |transaction| {
                for id in &stored {
                    transaction
                        .prepare_cached("DELETE FROM letters WHERE id = ?1")?
                        .execute(params![id])?;
                }
                for refused in &refused {
                    write(transaction, refused, now)?;
                }
                keep(transaction, limits)
            })
            .await?;
        if dropped > 0 {
            self.dropped.inc_by(dropped);
            tracing::error!(
                dropped,
                "there are too many dead letters: the oldest were dropped"
            );
        }
        Ok(())
    }

    /// Changes when letters were marked to be sent again.
    pub(super) fn marked(&self) -> watch::Receiver<u64> {
        self.marked.subscribe()
    }

    async fn with<T: Send + 'static>(
        &self,
        work: impl Fn(&Transaction<'_>) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, LettersError> {
        let this = self.clone();
        match tokio::task::spawn_blocking(move || this.run(work)).await {
            Ok(result) => result,
            // The work panicked, or the runtime is going down.
            Err(_) => Err(self.error(rusqlite::Error::InvalidQuery)),
        }
    }

    fn run<T>(
        &self,
        work: impl Fn(&Transaction<'_>) -> rusqlite::Result<T>,
    ) -> Result<T, LettersError> {
        let mut connection = self
            .connection
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let result = self.transact(&mut connection, &work).or_else(|error| {
            if !is_damage(&error) {
                return Err(error);
            }
            tracing::error!(
                path = %self.path.display(), %error,
                "the file of dead letters is damaged: it is set aside and a new one begun"
            );
            *connection = None;
            set_aside(&self.path);
            self.transact(&mut connection, &work)
        });
        result.map_err(|error| self.error(error))
    }

    fn transact<T>(
        &self,
        connection: &mut Option<Connection>,
        work: &impl Fn(&Transaction<'_>) -> rusqlite::Result<T>,
    ) -> rusqlite::Result<T> {
        let connection = match connection {
            Some(connection) => connection,
            None => connection.insert(open(&self.path)?),
        };
        let transaction = connection.transaction()?;
        let done = work(&transaction)?;
        let kept: i64 = transaction.query_row("SELECT count(*) FROM letters", [], |r| r.get(0))?;
        transaction.commit()?;
        self.kept.set(kept);
        Ok(done)
    }

    fn error(&self, source: rusqlite::Error) -> LettersError {
        LettersError {
            path: self.path.display().to_string(),
            source,
        }
    }
}

fn open(path: &Path) -> rusqlite::Result<Connection> {
    let mut connection = Connection::open(path)?;
    connection.pragma_update_and_check(None, "journal_mode", "WAL", |_| Ok(()))?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    let version: i64 = connection.pragma_query_value(None, "user_version", |r| r.get(0))?;
    if version == 0 {
        let make = connection.transaction()?;
        make.execute_batch(SCHEMA)?;
        make.commit()?;
    } else if version != SCHEMA_VERSION {
        return Err(rusqlite::Error::SqliteFailure(
            rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_NOTADB),
            Some(format!("it has version {version}, not {SCHEMA_VERSION}")),
        ));
    }
    Ok(connection)
}

fn read(
    transaction: &Transaction<'_>,
    select: &str,
    id: i64,
    limit: usize,
) -> rusqlite::Result<Vec<Letter>> {
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let mut select = transaction.prepare_cached(select)?;
    let letters = select.query_map(params![id, limit], letter)?;
    letters.collect()
}

fn letter(row: &Row<'_>) -> rusqlite::Result<Letter> {
    let series: String = row.get(3)?;
    Ok(Letter {
        id: row.get(0)?,
        at_ms: row.get(1)?,
        source: row.get(2)?,
        series: series.lines().map(ToOwned::to_owned).collect(),
        line: row.get(4)?,
        words: row.get(5)?,
        refusals: row.get::<_, i64>(6)?.unsigned_abs(),
        replaying: row.get(7)?,
    })
}

/// A letter that was discarded while it was sent again stays away.
fn write(transaction: &Transaction<'_>, refused: &Refused, now: i64) -> rusqlite::Result<()> {
    if let Some(id) = refused.letter {
        transaction
            .prepare_cached("UPDATE letters SET at_ms = ?2, words = ?3, refusals = refusals + 1, replaying = 0 WHERE id = ?1")?
            .execute(params![id, now, refused.words])?;
        return Ok(());
    }
    transaction
        .prepare_cached(
            "INSERT INTO letters (at_ms, source, series, line, words, refusals, replaying) VALUES (?1, ?2, ?3, ?4, ?5, 1, 0)
             ON CONFLICT (line) DO UPDATE SET at_ms = excluded.at_ms, words = excluded.words, refusals = refusals + 1",
        )?
        .execute(params![
            now,
            refused.source,
            refused.series.join("\n"),
            refused.line,
            refused.words
        ])?;
    Ok(())
}

/// Lets the oldest go until the rest is within the limits. How many went.
fn keep(transaction: &Transaction<'_>, (letters, bytes): (u64, u64)) -> rusqlite::Result<u64> {
    let dropped = transaction
        .prepare_cached(
            "DELETE FROM letters WHERE id <= (
                 SELECT max(id) FROM (
                     SELECT id, row_number() OVER newest AS letters,
                            sum(length(CAST(line AS BLOB)) + length(CAST(words AS BLOB))) OVER newest AS bytes
                     FROM letters WINDOW newest AS (ORDER BY id DESC)
                 ) WHERE letters > ?1 OR bytes > ?2
             )",
        )?
        .execute(params![
            i64::try_from(letters).unwrap_or(i64::MAX),
            i64::try_from(bytes).unwrap_or(i64::MAX)
        ])?;
    Ok(dropped as u64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Timestamp;

    fn letters(dir: &Path, limits: (u64, u64)) -> DeadLetters {
        let clock = Clock::manual(Timestamp::from_millis(5));
        let mut letters = DeadLetters::new(dir, clock, &mut Registry::default());
        letters.limits = limits;
        letters
    }

    fn refused(line: &str) -> Refused {
        Refused {
            letter: None,
            source: String::from("plant"),
            series: vec![String::from("d/a"), String::from("d/b")],
            line: line.to_owned(),
            words: String::from("no"),
        }
    }

    async fn lines(letters: &DeadLetters) -> Vec<String> {
        let all = letters.list(i64::MAX, 100).await.unwrap();
        all.into_iter().map(|l| l.line).collect()
    }

    #[tokio::test]
    async fn letters_outlive_the_process_and_the_same_line_is_one() {
        let dir = tempfile::tempdir().unwrap();
        let first = letters(dir.path(), (10, 1_000));
        for line in ["m a=1 1", "m a=2 2", "m a=1 1"] {
            first.settle(vec![refused(line)], vec![]).await.unwrap();
        }
        drop(first);
        let again = letters(dir.path(), (10, 1_000));
        assert_eq!(again.count(), 2);
        let all = again.list(i64::MAX, 10).await.unwrap();
        assert_eq!(
            all[1],
            Letter {
                id: 1,
                at_ms: 5,
                source: String::from("plant"),
                series: vec![String::from("d/a"), String::from("d/b")],
                line: String::from("m a=1 1"),
                words: String::from("no"),
                refusals: 2,
                replaying: false,
            }
        );
        assert_eq!(again.list(all[0].id, 10).await.unwrap(), all[1..]);
    }

    #[tokio::test]
    async fn over_the_limit_of_letters_or_bytes_the_oldest_goes_and_is_counted() {
        let dir = tempfile::tempdir().unwrap();
        let by_count = letters(dir.path(), (2, 1_000));
        for line in ["m a=1 1", "m a=2 2", "m a=3 3"] {
            by_count.settle(vec![refused(line)], vec![]).await.unwrap();
        }
        assert_eq!(lines(&by_count).await, ["m a=3 3", "m a=2 2"]);
        assert_eq!((by_count.count(), by_count.dropped.get()), (2, 1));
        // Each is nine bytes with its words.
        let by_bytes = letters(dir.path(), (10, 17));
        by_bytes.settle(vec![], vec![]).await.unwrap();
        assert_eq!(lines(&by_bytes).await, ["m a=3 3"]);
        assert_eq!(by_bytes.dropped.get(), 1);
    }

    #[tokio::test]
    async fn marked_letters_wait_until_they_are_stored_or_refused_again() {
        let dir = tempfile::tempdir().unwrap();
        let letters = letters(dir.path(), (10, 1_000));
        let three = ["m a=1 1", "m a=2 2", "m a=3 3"].map(refused);
        letters.settle(three.to_vec(), vec![]).await.unwrap();
        assert_eq!(letters.replay(Some(7)).await.unwrap(), 0);
        assert_eq!(letters.replay(Some(2)).await.unwrap(), 1);
        assert_eq!(letters.waiting(10).await.unwrap().len(), 1);
        assert_eq!(letters.replay(None).await.unwrap(), 3);
        letters.discard(Some(3)).await.unwrap();
        let again = |id| Refused {
            letter: Some(id),
            words: String::from("still no"),
            ..refused("")
        };
        letters
            .settle(vec![again(2), again(3)], vec![1])
            .await
            .unwrap();
        let left = letters.list(i64::MAX, 10).await.unwrap();
        assert_eq!(left.len(), 1);
        assert_eq!(
            (left[0].words.as_str(), left[0].refusals, left[0].replaying),
            ("still no", 2, false)
        );
        assert_eq!(letters.discard(None).await.unwrap(), 1);
        assert_eq!(letters.count(), 0);
    }

    #[tokio::test]
    async fn a_damaged_file_is_set_aside_at_the_start_and_later() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("dead-letters.sqlite");
        std::fs::write(&path, "no database, but long enough to be looked at as one").unwrap();
        let letters = letters(dir.path(), (10, 1_000));
        letters
            .settle(vec![refused("m a=1 1")], vec![])
            .await
            .unwrap();
        assert_eq!(lines(&letters).await.len(), 1);
        assert!(dir.path().join("dead-letters.sqlite.damaged").exists());
    }

    #[tokio::test]
    async fn a_file_that_cannot_be_made_is_an_error_until_it_can() {
        let dir = tempfile::tempdir().unwrap();
        let there = dir.path().join("not yet");
        let letters = letters(&there, (10, 1_000));
        assert!(
            letters
                .settle(vec![refused("m a=1 1")], vec![])
                .await
                .is_err()
        );
        std::fs::create_dir(&there).unwrap();
        letters
            .settle(vec![refused("m a=1 1")], vec![])
            .await
            .unwrap();
        assert_eq!(lines(&letters).await.len(), 1);
    }
}
