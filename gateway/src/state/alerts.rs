//! The table of alerts: one row each, as it stands after its last change.

use rusqlite::{Connection, Transaction, params};

use crate::alert::{Alert, AlertState, Transition};

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

pub(super) fn as_json(alert: &Alert) -> rusqlite::Result<String> {
    serde_json::to_string(alert)
        .map_err(|error| rusqlite::Error::ToSqlConversionFailure(Box::new(error)))
}

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

pub(super) const fn state_name(state: AlertState) -> &'static str {
    match state {
        AlertState::Pending => "pending",
        AlertState::Firing => "firing",
        AlertState::Resolved => "resolved",
        AlertState::Cancelled => "cancelled",
    }
}
