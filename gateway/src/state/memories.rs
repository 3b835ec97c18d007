//! What rules remember of series, so that a restart goes on from exactly there: when the last alert began and was over, how often it fired
//! lately, where the one under way stands. Written in the transaction that records the change.
//!
//! Bounded: those of alerts under way, and the [`KEPT_MEMORIES`] newest others.

use rusqlite::{Connection, Transaction, params};
use smol_str::SmolStr;

use crate::alert::{AlertState, Memory, Transition};

/// Memories of alerts that are over; of an older one a rule knows nothing any more.
pub const KEPT_MEMORIES: i64 = 20_000;

pub(super) fn write(
    transaction: &Transaction<'_>,
    number: u64,
    transition: &Transition,
) -> rusqlite::Result<()> {
    let alert = &transition.alert;
    let Some(memory) = &transition.memory else {
        // Its rule asks something else now.
        if matches!(alert.state, AlertState::Resolved | AlertState::Cancelled) {
            transaction
                .prepare_cached("DELETE FROM memories WHERE rule = ?1 AND series = ?2")?
                .execute(params![alert.rule.as_str(), alert.series.as_str()])?;
        }
        return Ok(());
    };
    let body = serde_json::to_string(memory)
        .map_err(|error| rusqlite::Error::ToSqlConversionFailure(Box::new(error)))?;
    transaction
        .prepare_cached(
            "INSERT OR REPLACE INTO memories (rule, series, number, open, body) VALUES (?1, ?2, ?3, ?4, ?5)",
        )?
        .execute(params![
            alert.rule.as_str(),
            alert.series.as_str(),
            i64::try_from(number).unwrap_or(i64::MAX),
            memory.is_open(),
            body
        ])?;
    Ok(())
}

pub(super) fn forget_old(transaction: &Transaction<'_>) -> rusqlite::Result<()> {
    transaction
        .prepare_cached(
            "DELETE FROM memories WHERE open = 0 AND number <=
             (SELECT number FROM memories WHERE open = 0 ORDER BY number DESC LIMIT 1 OFFSET ?1)",
        )?
        .execute(params![KEPT_MEMORIES])?;
    Ok(())
}

pub(super) fn all(connection: &Connection) -> rusqlite::Result<Vec<(SmolStr, SmolStr, Memory)>> {
    let mut statement = connection.prepare("SELECT rule, series, body FROM memories")?;
    let rows = statement.query_map([], |row| {
        Ok((
            row.get::<_, String>(0)?,
            row.get::<_, String>(1)?,
            row.get::<_, String>(2)?,
        ))
    })?;
    let mut memories = Vec::new();
    for row in rows {
        let (rule, series, body) = row?;
        match serde_json::from_str(&body) {
            Ok(memory) => memories.push((rule.into(), series.into(), memory)),
            Err(error) => {
                tracing::error!(%error, rule, series, "what a rule remembers of a series cannot be read and is left out");
            }
        }
    }
    Ok(memories)
}
