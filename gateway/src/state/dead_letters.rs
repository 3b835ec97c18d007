//! Dead letters: deliveries that were given up, or that their receiver refused for good. They stay in the outbox to be looked at, sent again
//! (as they are, or put right by hand) or discarded.
//!
//! Bounded: the newest [`super::KEPT_DEAD_LETTERS`]. What people do with them is in the audit trail, in the same transaction.

use rusqlite::{Connection, OptionalExtension, Row, Transaction, params};
use serde::Serialize;
use serde_json::{Value as JsonValue, json};
use thiserror::Error;

use super::{
    State, StateError,
    audit::{self, Action},
    message::Message,
    silences,
};
use crate::model::Timestamp;

/// A delivery that was given up.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct DeadLetter {
    /// Names it; rises with the time at which the delivery was made.
    pub number: i64,
    /// The delivery's id, which receivers know as `webhook-id`.
    pub id: String,
    /// To whom it was to go.
    pub webhook: String,
    /// What it says, as `docs/webhooks.md` describes it.
    pub message: JsonValue,
    /// Why it was given up: the receiver's answer, or ours.
    pub error: Option<String>,
    /// How often it was tried.
    pub tries: u32,
    /// When it was made, epoch milliseconds.
    pub created_ms: i64,
    /// When it was given up, epoch milliseconds.
    pub given_up_ms: i64,
}

/// Why nothing was done with a dead letter.
#[derive(Debug, Error)]
pub enum DeadLetterError {
    /// The file can't be used.
    #[error(transparent)]
    State(#[from] StateError),
    /// There is none by this number, or somebody was first.
    #[error("there is no dead letter with this number (any more)")]
    Unknown,
    /// What it was changed to is no message.
    #[error("this is not a message: {0}")]
    Message(String),
    /// A message about something else under the same name would be taken for a repeat.
    #[error("the message must stay about the same alert: it was about {0}")]
    Subject(String),
}

impl State {
    /// The dead letters, the newest first: at most `limit` with a number below `before`, and how many there are in all.
    ///
    /// # Errors
    ///
    /// [`StateError`]
    pub async fn dead_letters(
        &self,
        before: i64,
        limit: usize,
    ) -> Result<(u64, Vec<DeadLetter>), StateError> {
        self.with(move |connection| {
            let total: i64 = connection.query_row(
                "SELECT count(*) FROM deliveries WHERE status = 'given_up'",
                [],
                |row| row.get(0),
            )?;
            let mut statement = connection.prepare_cached(&format!(
                "SELECT {COLUMNS} FROM deliveries WHERE status = 'given_up' AND number < ?1 ORDER BY number DESC LIMIT ?2"
            ))?;
            let limit = i64::try_from(limit).unwrap_or(i64::MAX);
            let letters = statement.query_map(params![before, limit], from_row)?;
            Ok((total.unsigned_abs(), letters.collect::<rusqlite::Result<_>>()?))
        })
        .await
    }

    /// Puts one back into the outbox, in its old place among those about the same alert. `message`: what to send instead; it then gets a new
    /// id, so that a receiver that remembers the old one takes it.
    ///
    /// # Errors
    ///
    /// [`DeadLetterError`]; nothing was changed then.
    pub async fn replay_dead_letter(
        &self,
        number: i64,
        message: Option<JsonValue>,
        by: String,
    ) -> Result<(), DeadLetterError> {
        let now = self.clock.now();
        self.decide_letter(move |transaction| {
            let Some(letter) = one(transaction, number)? else {
                return Ok(Err(DeadLetterError::Unknown));
            };
            let (mut id, mut body) = (letter.id.clone(), None);
            if let Some(message) = message {
                id = next_id(transaction, &letter.id)?;
                body = match put_right(&letter, message, &id) {
                    Ok(body) => Some(body),
                    Err(refused) => return Ok(Err(refused)),
                };
            }
            transaction
                .prepare_cached(
                    "UPDATE deliveries SET status = 'waiting', offered = 1, id = ?2, body = coalesce(?3, body), created = ?4, changed = ?4,
                     tries = 0 WHERE number = ?1",
                )?
                .execute(params![number, id, body, now.0])?;
            // A silence may hold it back now.
            silences::hold_and_release(transaction, now)?;
            let detail = json!({"webhook": letter.webhook, "error": letter.error, "changed": body.is_some(), "sent_as": id});
            audit::add(transaction, now, &by, Action::DeliveryReplayed, &letter.id, &detail)?;
            Ok(Ok(()))
        })
        .await
    }

    /// Puts all of them back as they are, or all to one webhook. Says how many.
    ///
    /// # Errors
    ///
    /// [`StateError`]; nothing was changed then.
    pub async fn replay_dead_letters(
        &self,
        webhook: Option<String>,
        by: String,
    ) -> Result<u64, DeadLetterError> {
        let now = self.clock.now();
        self.decide_letter(move |transaction| {
            let replayed = transaction.execute(
                "UPDATE deliveries SET status = 'waiting', offered = 1, created = ?2, changed = ?2, tries = 0
                 WHERE status = 'given_up' AND (?1 IS NULL OR webhook = ?1)",
                params![webhook, now.0],
            )?;
            silences::hold_and_release(transaction, now)?;
            all(transaction, now, &by, Action::DeliveryReplayed, webhook.as_deref(), replayed)
        })
        .await
    }

    /// Forgets one.
    ///
    /// # Errors
    ///
    /// [`DeadLetterError`]; nothing was changed then.
    pub async fn discard_dead_letter(
        &self,
        number: i64,
        by: String,
    ) -> Result<(), DeadLetterError> {
        let now = self.clock.now();
        self.decide_letter(move |transaction| {
            let Some(letter) = one(transaction, number)? else {
                return Ok(Err(DeadLetterError::Unknown));
            };
            transaction
                .prepare_cached("DELETE FROM deliveries WHERE number = ?1")?
                .execute(params![number])?;
            let detail = json!({"webhook": letter.webhook, "error": letter.error, "message": letter.message});
            audit::add(transaction, now, &by, Action::DeliveryDiscarded, &letter.id, &detail)?;
            Ok(Ok(()))
        })
        .await
    }

    /// Forgets all of them, or all to one webhook. Says how many.
    ///
    /// # Errors
    ///
    /// [`StateError`]; nothing was changed then.
    pub async fn discard_dead_letters(
        &self,
        webhook: Option<String>,
        by: String,
    ) -> Result<u64, DeadLetterError> {
        let now = self.clock.now();
        self.decide_letter(move |transaction| {
            let discarded = transaction.execute(
                "DELETE FROM deliveries WHERE status = 'given_up' AND (?1 IS NULL OR webhook = ?1)",
                params![webhook],
            )?;
            all(
                transaction,
                now,
                &by,
                Action::DeliveryDiscarded,
                webhook.as_deref(),
                discarded,
            )
        })
        .await
    }

    /// Does `work` in one transaction, and wakes the notifiers; a refusal changes nothing.
    async fn decide_letter<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Transaction<'_>) -> rusqlite::Result<Result<T, DeadLetterError>>
        + Send
        + 'static,
    ) -> Result<T, DeadLetterError> {
        let done = self
            .write(move |connection| {
                let transaction = connection.transaction()?;
                let done = work(&transaction)?;
                if done.is_ok() {
                    transaction.commit()?;
                }
                Ok(done)
            })
            .await??;
        self.added.send_modify(|n| *n += 1);
        Ok(done)
    }
}

const COLUMNS: &str = "number, id, webhook, body, error, tries, created, changed";

fn from_row(row: &Row<'_>) -> rusqlite::Result<DeadLetter> {
    let body: String = row.get(3)?;
    Ok(DeadLetter {
        number: row.get(0)?,
        id: row.get(1)?,
        webhook: row.get(2)?,
        // One that can't be read is still shown, and can be put right.
        message: serde_json::from_str(&body).unwrap_or(JsonValue::String(body)),
        error: row.get(4)?,
        tries: row.get(5)?,
        created_ms: Timestamp(row.get(6)?).as_millis(),
        given_up_ms: Timestamp(row.get(7)?).as_millis(),
    })
}

fn one(connection: &Connection, number: i64) -> rusqlite::Result<Option<DeadLetter>> {
    connection
        .prepare_cached(&format!(
            "SELECT {COLUMNS} FROM deliveries WHERE number = ?1 AND status = 'given_up'"
        ))?
        .query_row(params![number], from_row)
        .optional()
}

/// The id of what is sent instead of a delivery: the first that is free.
fn next_id(connection: &Connection, id: &str) -> rusqlite::Result<String> {
    let base = id.split_once("~").map_or(id, |(base, _)| base);
    let mut statement = connection.prepare_cached("SELECT 1 FROM deliveries WHERE id = ?1")?;
    let mut number = 1_u32;
    loop {
        let next = format!("{base}~{number}");
        // The one that is replaced counts too: its id was used.
        if next != id && !statement.exists(params![next])? {
            return Ok(next);
        }
        number += 1;
    }
}

/// What was written by hand, checked, under its new id.
fn put_right(letter: &DeadLetter, message: JsonValue, id: &str) -> Result<String, DeadLetterError> {
    let wrong = |error: serde_json::Error| DeadLetterError::Message(error.to_string());
    let mut message: Message = serde_json::from_value(message).map_err(wrong)?;
    let before: Option<Message> = serde_json::from_value(letter.message.clone()).ok();
    if let Some(before) = before
        && before.subject() != message.subject()
    {
        return Err(DeadLetterError::Subject(before.subject().to_owned()));
    }
    message.set_id(id);
    serde_json::to_string(&message).map_err(wrong)
}

fn all(
    transaction: &Transaction<'_>,
    now: Timestamp,
    by: &str,
    action: Action,
    webhook: Option<&str>,
    letters: usize,
) -> rusqlite::Result<Result<u64, DeadLetterError>> {
    if letters > 0 {
        let detail = json!({"webhook": webhook, "deliveries": letters});
        audit::add(transaction, now, by, action, "all", &detail)?;
    }
    Ok(Ok(letters as u64))
}
