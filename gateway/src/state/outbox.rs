//! The durable outbox: one row a change of an alert and webhook, made in the transaction that records the change.
//!
//! The id of a delivery is made from the alert, its state and the webhook, so that a replay after a crash adds nothing
//! twice and a receiver can drop repeats. Deliveries to one webhook go out in the order in which they were made.

use rusqlite::{Connection, OptionalExtension, Transaction, params};
use serde::Serialize;

use super::{KEPT_DELIVERIES, MAX_WAITING, Recipient, WebhookStatus, state_name};
use crate::{
    alert::{Alert, Transition},
    model::Timestamp,
};

/// A delivery that waits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delivery {
    /// Stable over all tries and restarts.
    pub id: String,
    /// To whom.
    pub webhook: String,
    /// The JSON body.
    pub body: String,
    /// When the change happened to be recorded.
    pub created: Timestamp,
    /// Tries so far.
    pub tries: u32,
}

/// How a try went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The receiver has it.
    Delivered,
    /// Not now.
    TryAgain {
        /// Why, for the status page.
        error: String,
    },
    /// Never: refused for good, or tried for too long.
    GivenUp {
        /// Why, for the status page.
        error: String,
    },
}

/// What a webhook gets. Documented in `docs/webhooks.md`.
#[derive(Debug, Serialize)]
struct Body<'a> {
    id: &'a str,
    event: &'a str,
    time: String,
    device: &'a str,
    metric: &'a str,
    began: String,
    fired: Option<String>,
    resolved: Option<String>,
    #[serde(flatten)]
    alert: &'a Alert,
}

/// The delivery of a change.
pub(super) fn delivery(
    recipient: &Recipient,
    transition: &Transition,
    now: Timestamp,
) -> rusqlite::Result<Delivery> {
    let alert = &transition.alert;
    let event = state_name(alert.state);
    let id = format!("{}.{event}.{}", alert.id, recipient.name);
    let rfc3339 = |ms: i64| Timestamp::from_millis(ms).to_rfc3339();
    let body = Body {
        id: &id,
        event,
        time: transition.at.to_rfc3339(),
        device: &transition.series.device.0,
        metric: &transition.series.metric.0,
        began: rfc3339(alert.began_ms),
        fired: alert.fired_ms.map(rfc3339),
        resolved: alert.resolved_ms.map(rfc3339),
        alert,
    };
    let mut body = serde_json::to_value(&body)
        .map_err(|error| rusqlite::Error::ToSqlConversionFailure(Box::new(error)))?;
    if let Some(object) = body.as_object_mut() {
        // The alert's own id stands under a name of its own; the routing is nobody's business outside.
        object.remove("webhooks");
        object.insert(String::from("id"), id.as_str().into());
        object.insert(String::from("alert_id"), alert.id.as_str().into());
    }
    Ok(Delivery {
        id,
        webhook: recipient.name.to_string(),
        body: body.to_string(),
        created: now,
        tries: 0,
    })
}

/// Adds a delivery unless it is there. Says whether it is new, and how many old ones were given up for it.
pub(super) fn add(
    transaction: &Transaction<'_>,
    delivery: &Delivery,
) -> rusqlite::Result<(bool, u64)> {
    let Delivery {
        id,
        webhook,
        body,
        created,
        ..
    } = delivery;
    let new = transaction
        .prepare_cached(
            "INSERT INTO deliveries (id, webhook, status, body, created, changed, tries) VALUES (?1, ?2, 'waiting', ?3, ?4, ?4, 0)
             ON CONFLICT (id) DO NOTHING",
        )?
        .execute(params![id, webhook, body, created.0])?
        > 0;
    let given_up = if new {
        give_up_oldest(transaction, webhook, *created)?
    } else {
        0
    };
    Ok((new, given_up))
}

fn give_up_oldest(
    transaction: &Transaction<'_>,
    webhook: &str,
    now: Timestamp,
) -> rusqlite::Result<u64> {
    let given_up = transaction
        .prepare_cached(
            "UPDATE deliveries SET status = 'given_up', changed = ?3, error = 'too many deliveries were waiting'
             WHERE number <= (SELECT number FROM deliveries WHERE webhook = ?1 AND status = 'waiting' ORDER BY number DESC LIMIT 1 OFFSET ?2)
             AND webhook = ?1 AND status = 'waiting'",
        )?
        .execute(params![webhook, MAX_WAITING, now.0])?;
    count(
        transaction,
        webhook,
        0,
        i64::try_from(given_up).unwrap_or(i64::MAX),
    )?;
    Ok(given_up as u64)
}

/// The oldest waiting delivery to `webhook`.
pub(super) fn next(connection: &Connection, webhook: &str) -> rusqlite::Result<Option<Delivery>> {
    connection
        .prepare_cached(
            "SELECT id, webhook, body, created, tries FROM deliveries WHERE webhook = ?1 AND status = 'waiting' ORDER BY number LIMIT 1",
        )?
        .query_row(params![webhook], |row| {
            Ok(Delivery {
                id: row.get(0)?,
                webhook: row.get(1)?,
                body: row.get(2)?,
                created: Timestamp(row.get(3)?),
                tries: row.get(4)?,
            })
        })
        .optional()
}

/// Writes down how a try went.
pub(super) fn settle(
    connection: &mut Connection,
    id: &str,
    verdict: &Verdict,
    now: Timestamp,
) -> rusqlite::Result<()> {
    let (status, error) = match verdict {
        Verdict::Delivered => ("delivered", None),
        Verdict::TryAgain { error } => ("waiting", Some(error)),
        Verdict::GivenUp { error } => ("given_up", Some(error)),
    };
    let transaction = connection.transaction()?;
    let changed = transaction
        .prepare_cached(
            "UPDATE deliveries SET status = ?2, error = ?3, changed = ?4, tries = tries + 1 WHERE id = ?1 AND status = 'waiting'",
        )?
        .execute(params![id, status, error, now.0])?
        > 0;
    // What was written down before, by a try that a slow disk held up, counts once.
    if changed && status != "waiting" {
        let webhook: String = transaction.query_row(
            "SELECT webhook FROM deliveries WHERE id = ?1",
            params![id],
            |row| row.get(0),
        )?;
        count(
            &transaction,
            &webhook,
            i64::from(status == "delivered"),
            i64::from(status == "given_up"),
        )?;
        // Finished ones stay for a while: their ids keep a replay from delivering again.
        transaction.execute(
            "DELETE FROM deliveries WHERE status <> 'waiting' AND number <=
             (SELECT number FROM deliveries WHERE status <> 'waiting' ORDER BY number DESC LIMIT 1 OFFSET ?1)",
            params![KEPT_DELIVERIES],
        )?;
    }
    transaction.commit()
}

fn count(
    transaction: &Transaction<'_>,
    webhook: &str,
    delivered: i64,
    given_up: i64,
) -> rusqlite::Result<()> {
    if delivered + given_up > 0 {
        transaction
            .prepare_cached(
                "INSERT INTO delivered (webhook, delivered, given_up) VALUES (?1, ?2, ?3) ON CONFLICT (webhook)
                 DO UPDATE SET delivered = delivered + excluded.delivered, given_up = given_up + excluded.given_up",
            )?
            .execute(params![webhook, delivered, given_up])?;
    }
    Ok(())
}

/// How the deliveries to one webhook stand.
pub(super) fn status(connection: &Connection, name: String) -> rusqlite::Result<WebhookStatus> {
    let (delivered, given_up): (i64, i64) = connection
        .query_row(
            "SELECT delivered, given_up FROM delivered WHERE webhook = ?1",
            params![name],
            |row| Ok((row.get(0)?, row.get(1)?)),
        )
        .optional()?
        .unwrap_or_default();
    let waiting: i64 = connection.query_row(
        "SELECT count(*) FROM deliveries WHERE webhook = ?1 AND status = 'waiting'",
        params![name],
        |row| row.get(0),
    )?;
    let last_error = connection
        .query_row("SELECT error FROM deliveries WHERE webhook = ?1 AND tries > 0 ORDER BY changed DESC LIMIT 1", params![name], |row| row.get(0))
        .optional()?
        .flatten();
    Ok(WebhookStatus {
        name,
        waiting: waiting.unsigned_abs(),
        delivered: delivered.unsigned_abs(),
        given_up: given_up.unsigned_abs(),
        last_error,
    })
}
