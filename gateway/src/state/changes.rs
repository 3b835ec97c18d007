//! What happened to each alert, change by change: the answer to "why did it fire, and what did it do since".
//!
//! Written in the transaction that records the change. Bounded: the [`KEPT_OF_ONE`] newest changes of an alert, the [`KEPT_CHANGES`] newest in
//! all; they go with their alert.

use rusqlite::{Connection, OptionalExtension, Transaction, params};
use serde::{Deserialize, Serialize};
use smol_str::SmolStr;

use super::{State, StateError};
use crate::{
    alert::{Alert, AlertState, Cause, Change, Transition},
    model::Value,
};

/// Changes of one alert that are kept.
pub const KEPT_OF_ONE: i64 = 100;
/// Changes of all alerts that are kept.
pub const KEPT_CHANGES: i64 = 50_000;

/// One change of an alert.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ChangeEntry {
    /// Its number among all changes.
    #[serde(default)]
    pub number: u64,
    /// When, on measured time (for silence by the clock), epoch milliseconds.
    pub at_ms: i64,
    /// What happened; `None` in what an earlier version wrote.
    pub change: Option<Change>,
    /// Why.
    pub cause: Option<Cause>,
    /// The alert's state after it.
    pub state: AlertState,
    /// The value after it.
    pub value: Option<Value>,
    /// The unit of `value`.
    pub unit: Option<SmolStr>,
    /// The rule at that time.
    pub rule_version: SmolStr,
}

pub(super) fn add(
    transaction: &Transaction<'_>,
    number: u64,
    transition: &Transition,
) -> rusqlite::Result<()> {
    let alert = &transition.alert;
    if alert.state == AlertState::Cancelled {
        transaction
            .prepare_cached("DELETE FROM changes WHERE alert = ?1")?
            .execute(params![alert.id.as_str()])?;
        return Ok(());
    }
    let entry = ChangeEntry {
        number,
        at_ms: transition.at.as_millis(),
        change: alert.marks.change,
        cause: alert.marks.cause,
        state: alert.state,
        value: alert.value.clone(),
        unit: alert.unit.clone(),
        rule_version: alert.marks.rule_version.clone(),
    };
    let body = serde_json::to_string(&entry)
        .map_err(|error| rusqlite::Error::ToSqlConversionFailure(Box::new(error)))?;
    transaction
        .prepare_cached("INSERT OR REPLACE INTO changes (number, alert, body) VALUES (?1, ?2, ?3)")?
        .execute(params![
            i64::try_from(number).unwrap_or(i64::MAX),
            alert.id.as_str(),
            body
        ])?;
    transaction
        .prepare_cached(
            "DELETE FROM changes WHERE alert = ?1 AND number <=
             (SELECT number FROM changes WHERE alert = ?1 ORDER BY number DESC LIMIT 1 OFFSET ?2)",
        )?
        .execute(params![alert.id.as_str(), KEPT_OF_ONE])?;
    Ok(())
}

/// `alerts_gone`: some alerts are forgotten, and their changes go with them.
pub(super) fn forget_old(transaction: &Transaction<'_>, alerts_gone: bool) -> rusqlite::Result<()> {
    transaction
        .prepare_cached(
            "DELETE FROM changes WHERE number <= (SELECT max(number) FROM changes) - ?1",
        )?
        .execute(params![KEPT_CHANGES])?;
    if alerts_gone {
        transaction.execute(
            "DELETE FROM changes WHERE alert NOT IN (SELECT id FROM alerts)",
            [],
        )?;
    }
    Ok(())
}

impl State {
    /// An alert of now or before with its changes, the oldest first; `None`: there is none with this id, or it was long ago.
    ///
    /// # Errors
    ///
    /// [`StateError`]
    pub async fn alert(&self, id: String) -> Result<Option<(Alert, Vec<ChangeEntry>)>, StateError> {
        self.with(move |connection| {
            let body: Option<String> = connection
                .query_row(
                    "SELECT body FROM alerts WHERE id = ?1",
                    params![id],
                    |row| row.get(0),
                )
                .optional()?;
            let Some(alert) = body.and_then(|body| readable(&body)) else {
                return Ok(None);
            };
            Ok(Some((alert, of(connection, &id)?)))
        })
        .await
    }
}

fn of(connection: &Connection, alert: &str) -> rusqlite::Result<Vec<ChangeEntry>> {
    let mut statement =
        connection.prepare_cached("SELECT body FROM changes WHERE alert = ?1 ORDER BY number")?;
    let rows = statement.query_map(params![alert], |row| row.get::<_, String>(0))?;
    let mut entries = Vec::new();
    for body in rows {
        entries.extend(readable(&body?));
    }
    Ok(entries)
}

fn readable<T: serde::de::DeserializeOwned>(body: &str) -> Option<T> {
    serde_json::from_str(body)
        .inspect_err(|error| {
            tracing::error!(%error, "a row of the state file cannot be read and is left out");
        })
        .ok()
}
