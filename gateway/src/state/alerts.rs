//! Alerts on disk: one row each, as it was after its last change.

use rusqlite::{Connection, Transaction, params};
use serde::Serialize;

use super::{KEPT_ALERTS, State, StateError};
use crate::alert::{Alert, AlertState, Transition};

impl State {
    /// Past and current alerts, the latest change first, at most `limit`.
    ///
    /// # Errors
    ///
    /// [`StateError`]
    pub async fn alerts(&self, limit: usize) -> Result<Vec<Alert>, StateError> {
        self.with(move |connection| read_alerts(connection, "true ORDER BY changed DESC", limit))
            .await
    }
}

/// Writes an alert as it is after a change. One that came to nothing goes.
pub(super) fn write_alert(
    transaction: &Transaction<'_>,
    transition: &Transition,
) -> rusqlite::Result<()> {
    let alert = &transition.alert;
    if alert.state == AlertState::Cancelled {
        transaction
            .prepare_cached("DELETE FROM alerts WHERE id = ?1")?
            .execute(params![alert.id.as_str()])?;
        return Ok(());
    }
    let body = as_json(alert)?;
    transaction
        .prepare_cached(
            "INSERT INTO alerts (id, state, changed, body) VALUES (?1, ?2, ?3, ?4)
             ON CONFLICT (id) DO UPDATE SET state = excluded.state, changed = excluded.changed, body = excluded.body",
        )?
        .execute(params![alert.id.as_str(), state_name(alert.state), transition.at.0, body])?;
    Ok(())
}

/// Forgets the oldest that are over, but for those that a group has still to tell. Says how many.
pub(super) fn forget_old(transaction: &Transaction<'_>) -> rusqlite::Result<usize> {
    transaction
        .prepare_cached(
            "DELETE FROM alerts WHERE state = 'resolved' AND changed <=
             (SELECT changed FROM alerts WHERE state = 'resolved' ORDER BY changed DESC LIMIT 1 OFFSET ?1)
             AND NOT EXISTS (SELECT 1 FROM members WHERE alert = alerts.id)",
        )?
        .execute(params![KEPT_ALERTS])
}

/// As a column has it.
pub(super) fn as_json(of: &impl Serialize) -> rusqlite::Result<String> {
    serde_json::to_string(of)
        .map_err(|error| rusqlite::Error::ToSqlConversionFailure(Box::new(error)))
}

/// Those that `condition` names, which may end in an order.
pub(super) fn read_alerts(
    connection: &Connection,
    condition: &'static str,
    limit: usize,
) -> rusqlite::Result<Vec<Alert>> {
    let mut statement = connection.prepare_cached(&format!(
        "SELECT body FROM alerts WHERE {condition} LIMIT ?1"
    ))?;
    let rows = statement.query_map(params![i64::try_from(limit).unwrap_or(i64::MAX)], |row| {
        row.get::<_, String>(0)
    })?;
    let mut alerts = Vec::new();
    for body in rows {
        match serde_json::from_str(&body?) {
            Ok(alert) => alerts.push(alert),
            Err(error) => {
                tracing::error!(%error, "an alert in the state file cannot be read and is left out")
            }
        }
    }
    Ok(alerts)
}

/// As columns and ids have it.
pub(super) const fn state_name(state: AlertState) -> &'static str {
    match state {
        AlertState::Pending => "pending",
        AlertState::Firing => "firing",
        AlertState::Resolved => "resolved",
        AlertState::Cancelled => "cancelled",
    }
}
