//! What conditions remember of series, a row each, written with the inventory and as of the same record. A row has a checksum: one that was
//! damaged is left out, and its condition begins anew.
//!
//! Bounded: as many rows as there are conditions with a memory, 4 KiB each.

use rusqlite::{Connection, OptionalExtension, Row, Transaction, params};

use crate::{alert::Remembered, model::SeriesKey};

/// Writes what changed, or in place of everything all that there is.
pub(super) fn write(
    transaction: &Transaction<'_>,
    remembered: &[Remembered],
    is_all: bool,
) -> rusqlite::Result<()> {
    if is_all {
        transaction.execute("DELETE FROM remembered", [])?;
        transaction.execute(
            "INSERT INTO meta (key, value) VALUES ('remembered', 1) ON CONFLICT (key) DO NOTHING",
            [],
        )?;
    }
    let mut statement = transaction.prepare_cached(
        "INSERT INTO remembered (rule, series, fingerprint, checksum, body) VALUES (?1, ?2, ?3, ?4, ?5)
         ON CONFLICT (rule, series) DO UPDATE SET
         fingerprint = excluded.fingerprint, checksum = excluded.checksum, body = excluded.body",
    )?;
    for one in remembered {
        statement.execute(params![
            one.rule.as_str(),
            one.series.to_string(),
            one.fingerprint,
            crc32fast::hash(&one.bytes),
            one.bytes,
        ])?;
    }
    Ok(())
}

/// What is there, and whether it is all that conditions remembered: a file of before this was written has nothing.
pub(super) fn read(connection: &Connection) -> rusqlite::Result<(Vec<Remembered>, bool)> {
    let noted: Option<i64> = connection
        .query_row(
            "SELECT value FROM meta WHERE key = 'remembered'",
            [],
            |row| row.get(0),
        )
        .optional()?;
    let mut statement =
        connection.prepare("SELECT rule, series, fingerprint, checksum, body FROM remembered")?;
    let mut rows = statement.query([])?;
    let (mut remembered, mut damaged) = (Vec::new(), 0_usize);
    while let Some(row) = rows.next()? {
        match one(row) {
            Some(one) => remembered.push(one),
            None => damaged += 1,
        }
    }
    if damaged > 0 {
        tracing::warn!(
            rows = damaged,
            "what conditions remembered of series is damaged: they begin anew with what is replayed"
        );
    }
    Ok((remembered, noted.is_some()))
}

/// `None` if it is not as we wrote it.
fn one(row: &Row<'_>) -> Option<Remembered> {
    let text = |at: usize| row.get::<_, String>(at).ok();
    let bytes: Vec<u8> = row.get(4).ok()?;
    if crc32fast::hash(&bytes) != row.get::<_, u32>(3).ok()? {
        return None;
    }
    Some(Remembered {
        rule: text(0)?.into(),
        series: SeriesKey::parse(&text(1)?)?,
        fingerprint: row.get(2).ok()?,
        bytes,
    })
}
