//! Alerts that people closed while their condition was true, or that expired then, until it is clear: their rules raise no other ones
//! meanwhile.
//!
//! A row goes in the transaction that says how far the rules were evaluated, so that a start finds exactly what held there. Bounded: one
//! a rule and series, and the newest [`KEPT_CLOSED`].

use rusqlite::{Connection, OptionalExtension, Transaction, params};
use smol_str::SmolStr;

use super::{
    State, StateError, attention,
    audit::{self, Action},
};
use crate::{
    alert::{Alert, Closing, StillClosed},
    model::Timestamp,
};

/// Closed alerts that are remembered; of an older one its rule may raise another at the next start.
pub const KEPT_CLOSED: i64 = 10_000;
/// Who ended what expired, in the audit trail.
const GATEWAY: &str = "gateway";

impl State {
    /// Who closed this alert and why, while its condition was not clear since; `None`: nobody, or it was.
    ///
    /// # Errors
    ///
    /// [`StateError`]
    pub async fn closed_by(&self, alert: &str) -> Result<Option<(String, String)>, StateError> {
        let id = alert.to_owned();
        self.with(move |connection| {
            connection
                .prepare_cached("SELECT by, comment FROM closings WHERE alert = ?1")?
                .query_row(params![id], |row| Ok((row.get(0)?, row.get(1)?)))
                .optional()
        })
        .await
    }
}

/// Writes down what happened, with the line in the audit trail.
pub(super) fn write(
    transaction: &Transaction<'_>,
    closings: &[Closing],
    now: Timestamp,
) -> rusqlite::Result<()> {
    for closing in closings {
        match closing {
            Closing::Closed { alert, by, comment } => {
                remember(transaction, alert, (by, comment), now)?;
                let detail = attention::about(alert, comment);
                audit::add(transaction, now, by, Action::Closed, &alert.id, &detail)?;
            }
            Closing::Expired { alert, after } => {
                let comment = format!("it fired for {after}");
                remember(transaction, alert, (GATEWAY, &comment), now)?;
                let detail = attention::about(alert, &comment);
                audit::add(
                    transaction,
                    now,
                    GATEWAY,
                    Action::Expired,
                    &alert.id,
                    &detail,
                )?;
            }
            Closing::Cleared { rule, series } => {
                transaction
                    .prepare_cached("DELETE FROM closings WHERE rule = ?1 AND series = ?2")?
                    .execute(params![rule.as_str(), series.as_str()])?;
            }
        }
    }
    Ok(())
}

fn remember(
    transaction: &Transaction<'_>,
    alert: &Alert,
    (by, comment): (&str, &str),
    now: Timestamp,
) -> rusqlite::Result<()> {
    transaction
        .prepare_cached(
            "INSERT OR REPLACE INTO closings (rule, series, alert, at, by, comment) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
        )?
        .execute(params![
            alert.rule.as_str(),
            alert.series.as_str(),
            alert.id.as_str(),
            now.0,
            by,
            comment
        ])?;
    transaction.execute(
        "DELETE FROM closings WHERE at <= (SELECT at FROM closings ORDER BY at DESC LIMIT 1 OFFSET ?1)",
        params![KEPT_CLOSED],
    )?;
    Ok(())
}

/// What must not fire before it was clear.
pub(super) fn all(connection: &Connection) -> rusqlite::Result<Vec<StillClosed>> {
    let mut statement =
        connection.prepare_cached("SELECT alert, rule, series FROM closings ORDER BY at")?;
    let rows = statement.query_map([], |row| {
        let text = |column| row.get::<_, String>(column).map(SmolStr::from);
        Ok(StillClosed {
            alert: text(0)?,
            rule: text(1)?,
            series: text(2)?,
        })
    })?;
    rows.collect()
}
