//! The runs of the gateway on this data, and the numbered changes of alerts: what makes the ids of live events continuous over a
//! restart. One row is written when a run begins, one for each change of an alert, and nothing while nothing happens.
//!
//! Bounded: the [`KEPT_RUNS`] newest runs and the [`KEPT_TRANSITIONS`] newest changes.

use rusqlite::{Connection, OptionalExtension, Transaction, params};

use super::{KEPT_ENDED, KEPT_RUNS, KEPT_TRANSITIONS};
use crate::{
    alert::{Alert, Transition},
    journal::Position,
};

/// Where the journal stands when a run begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct JournalAtStart {
    /// Its newest record.
    pub newest: Position,
    /// The number that its next record gets.
    pub next: Position,
    /// Other files note that there were records up to this one.
    pub noted: Position,
    /// Whether its directory is new.
    pub is_new: bool,
}

/// A run of the gateway.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Run {
    /// Its name, made at random.
    pub run: u64,
    /// The journal's newest record when it began.
    pub journal: Position,
    /// The number of its first record.
    pub next: Position,
    /// The newest change of an alert when it began.
    pub told: u64,
}

/// A change of an alert as it was written down.
#[derive(Clone, Debug, PartialEq)]
pub struct Told {
    /// Its number.
    pub number: u64,
    /// The journal was evaluated up to here.
    pub position: Position,
    /// The alert after it.
    pub alert: Alert,
}

/// What a run begins with.
#[derive(Clone, Debug, PartialEq)]
pub struct Beginning {
    /// The name of the data's continuity.
    pub epoch: u64,
    /// All kept runs in it by age, this one last.
    pub runs: Vec<Run>,
    /// The newest changes of alerts, by number and without a hole.
    pub told: Vec<Told>,
    /// Alerts that were resolved last, the newest first.
    pub ended: Vec<Alert>,
}

/// What became of the changes that were to be written down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Recorded {
    /// The number of the first; the others follow it.
    pub first: u64,
    /// The name of the data's continuity; none after the file had to be begun anew since the run began.
    pub epoch: Option<u64>,
}

pub(super) fn begin(
    connection: &mut Connection,
    journal: JournalAtStart,
) -> rusqlite::Result<Beginning> {
    let transaction = connection.transaction()?;
    let before = runs(&transaction)?;
    let told: Option<i64> =
        transaction.query_row("SELECT max(number) FROM transitions", [], |row| row.get(0))?;
    // What was noted and is missing is told once: the next run begins its numbers behind it.
    let missing = journal.noted > journal.newest
        && before.last().is_none_or(|last| last.next <= journal.noted);
    let put_back = before
        .last()
        .is_some_and(|last| last.journal > journal.newest);
    let lost = journal.is_new || missing || put_back;
    let epoch = match epoch(&transaction)? {
        Some(epoch) if !lost => epoch,
        other => {
            if other.is_some() {
                tracing::warn!("records of the journal are missing: browsers begin anew");
            }
            transaction.execute("DELETE FROM runs", [])?;
            let new = fastrand::u64(1..1 << 48);
            transaction.execute(
                "INSERT INTO meta (key, value) VALUES ('epoch', ?1) ON CONFLICT (key) DO UPDATE SET value = excluded.value",
                params![signed(new)],
            )?;
            new
        }
    };
    transaction.execute(
        "INSERT INTO runs (run, journal, next, told) VALUES (?1, ?2, ?3, ?4)",
        params![
            signed(fastrand::u64(1..1 << 48)),
            signed(journal.newest.0),
            signed(journal.next.0),
            told.unwrap_or_default()
        ],
    )?;
    transaction.execute(
        "DELETE FROM runs WHERE number <= (SELECT max(number) FROM runs) - ?1",
        params![KEPT_RUNS],
    )?;
    let beginning = Beginning {
        epoch,
        runs: runs(&transaction)?,
        told: transitions(&transaction)?,
        ended: super::read_alerts(
            &transaction,
            "state = 'resolved' ORDER BY changed DESC",
            KEPT_ENDED,
        )?,
    };
    transaction.commit()?;
    Ok(beginning)
}

/// Numbers a change of an alert.
pub(super) fn number(
    transaction: &Transaction<'_>,
    transition: &Transition,
    position: Position,
) -> rusqlite::Result<u64> {
    let body = super::as_json(&transition.alert)?;
    transaction
        .prepare_cached("INSERT INTO transitions (position, body) VALUES (?1, ?2)")?
        .execute(params![signed(position.0), body])?;
    Ok(transaction.last_insert_rowid().unsigned_abs())
}

pub(super) fn forget_old(transaction: &Transaction<'_>) -> rusqlite::Result<()> {
    transaction
        .prepare_cached(
            "DELETE FROM transitions WHERE number <= (SELECT max(number) FROM transitions) - ?1",
        )?
        .execute(params![KEPT_TRANSITIONS])?;
    Ok(())
}

pub(super) fn epoch(connection: &Connection) -> rusqlite::Result<Option<u64>> {
    connection
        .prepare_cached("SELECT value FROM meta WHERE key = 'epoch'")?
        .query_row([], |row| unsigned(row, 0))
        .optional()
}

fn runs(connection: &Connection) -> rusqlite::Result<Vec<Run>> {
    connection
        .prepare("SELECT run, journal, next, told FROM runs ORDER BY number")?
        .query_map([], |row| {
            Ok(Run {
                run: unsigned(row, 0)?,
                journal: Position(unsigned(row, 1)?),
                next: Position(unsigned(row, 2)?),
                told: unsigned(row, 3)?,
            })
        })?
        .collect()
}

fn transitions(connection: &Connection) -> rusqlite::Result<Vec<Told>> {
    let mut statement =
        connection.prepare("SELECT number, position, body FROM transitions ORDER BY number")?;
    let rows = statement.query_map([], |row| {
        Ok((
            unsigned(row, 0)?,
            unsigned(row, 1)?,
            row.get::<_, String>(2)?,
        ))
    })?;
    let mut told = Vec::new();
    for row in rows {
        let (number, position, body) = row?;
        match serde_json::from_str(&body) {
            Ok(alert) => told.push(Told {
                number,
                position: Position(position),
                alert,
            }),
            Err(error) => {
                tracing::error!(%error, number, "a change of an alert in the state file cannot be read: who has not heard it begins anew");
                told.clear();
            }
        }
    }
    Ok(told)
}

fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

fn unsigned(row: &rusqlite::Row<'_>, column: usize) -> rusqlite::Result<u64> {
    row.get::<_, i64>(column).map(i64::unsigned_abs)
}
