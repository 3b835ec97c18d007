//! Putting alerts aside: silences of exactly one rule and series, made and ended by the alert's id.

use std::time::Duration;

use rusqlite::{OptionalExtension, Transaction, params};
use serde_json::json;
use smol_str::format_smolstr;

use super::{
    AttentionError, MAX_SILENCES, State,
    attention::about,
    audit::{self, Action},
    silences, state_name,
};
use crate::{
    alert::{Alert, AlertState, silence::Silence},
    model::Timestamp,
};

impl State {
    /// Puts a pending or firing alert aside for `span` ([`crate::alert::silence::MAX_SHELF`] at most). One that is put aside already is from now on put
    /// aside by this.
    ///
    /// # Errors
    ///
    /// [`AttentionError`]
    pub async fn shelve(
        &self,
        alert: &str,
        (by, comment): (String, String),
        span: Duration,
    ) -> Result<Silence, AttentionError> {
        let (id, now) = (alert.to_owned(), self.moment().time);
        let result = self
            .decide(move |transaction| {
                let alert = match known(transaction, &id)? {
                    Some(alert)
                        if matches!(alert.state, AlertState::Pending | AlertState::Firing) =>
                    {
                        alert
                    }
                    Some(over) => {
                        return Ok(Err(AttentionError::NotFiring(state_name(over.state))));
                    }
                    None => return Ok(Err(AttentionError::UnknownAlert)),
                };
                end(transaction, &alert, &by, now)?;
                if silences::open(transaction)? >= MAX_SILENCES {
                    return Ok(Err(AttentionError::TooMany));
                }
                let new = format_smolstr!("s-{:016x}", fastrand::u64(..));
                let shelf = Silence::shelving(new, &alert, (by, comment), now, span);
                silences::write(transaction, &shelf)?;
                silences::hold_and_release(transaction, now)?;
                let mut detail = about(&alert, &shelf.comment);
                detail["until_ms"] = json!(shelf.ends.as_millis());
                let by = &shelf.created_by;
                audit::add(transaction, now, by, Action::Shelved, &id, &detail)?;
                Ok(Ok(shelf))
            })
            .await;
        if matches!(result, Err(AttentionError::TooMany)) {
            self.metrics.silences_refused.inc();
        }
        result
    }

    /// Takes it back, also of an alert that is over by now. Of one that is not put aside this is true already.
    ///
    /// # Errors
    ///
    /// [`AttentionError`]
    pub async fn unshelve(&self, alert: &str, by: String) -> Result<(), AttentionError> {
        let (id, now) = (alert.to_owned(), self.moment().time);
        self.decide(move |transaction| {
            let Some(alert) = known(transaction, &id)? else {
                return Ok(Err(AttentionError::UnknownAlert));
            };
            if end(transaction, &alert, &by, now)? {
                silences::hold_and_release(transaction, now)?;
                let detail = about(&alert, "");
                audit::add(transaction, now, &by, Action::Unshelved, &id, &detail)?;
            }
            Ok(Ok(()))
        })
        .await
    }
}

fn known(transaction: &Transaction<'_>, id: &str) -> rusqlite::Result<Option<Alert>> {
    let body: Option<String> = transaction
        .prepare_cached("SELECT body FROM alerts WHERE id = ?1")?
        .query_row(params![id], |row| row.get(0))
        .optional()?;
    Ok(body.and_then(|body| serde_json::from_str(&body).ok()))
}

/// Ends what puts this alert aside; whether anything did.
fn end(
    transaction: &Transaction<'_>,
    alert: &Alert,
    by: &str,
    now: Timestamp,
) -> rusqlite::Result<bool> {
    let mut ended = false;
    for shelf in silences::active(transaction)? {
        if shelf.shelves(alert) {
            silences::write(transaction, &shelf.end(by.to_owned(), now))?;
            ended = true;
        }
    }
    Ok(ended)
}
