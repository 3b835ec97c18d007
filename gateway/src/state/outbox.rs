//! The durable outbox: one row a change of an alert and webhook, made in the transaction that records the change.
//!
//! The id of a delivery is made from the alert, its state and the webhook, so that a replay after a crash adds nothing
//! twice and a receiver can drop repeats. Deliveries to one webhook about one alert go out in the order in which they
//! were made.
//!
//! `waiting` ones go out; `held` ones stay until no silence matches their alert any more; `delivered`, `given_up` (dead letters) and
//! `withdrawn` ones are done with. `offered` says that one stood in the queue: from then on a try may have reached the receiver.

use rusqlite::{Connection, OptionalExtension, Transaction, params};

use super::{
    KEPT_DEAD_LETTERS, KEPT_DELIVERIES, MAX_WAITING, Recipient, WebhookStatus,
    message::{AlertMessage, Event},
    state_name,
};
use crate::{
    alert::{AlertState, Transition, silence},
    model::Timestamp,
};

/// Of what is delivered only the id is of use; a body of more bytes goes at once, as that of a large group.
const LARGE_BODY: i64 = 64 << 10;

/// A delivery that waits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delivery {
    /// Stable over all tries and restarts.
    pub id: String,
    /// To whom.
    pub webhook: String,
    /// A [`super::Message`] as JSON.
    pub body: String,
    /// When the change happened to be recorded.
    pub created: Timestamp,
    /// Tries so far.
    pub tries: u32,
}

impl Delivery {
    /// What it is about: an alert, or a group of alerts. Deliveries about one subject go out in order.
    #[must_use]
    pub fn subject(&self) -> &str {
        subject(&self.id)
    }
}

/// The first part of a delivery's id; the file computes the same (`schema.rs`).
pub(super) fn subject(id: &str) -> &str {
    id.split_once('.').map_or(id, |(subject, _)| subject)
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

/// An alert is over: what it fired and is still held may be withdrawn. Gives the webhooks that will not hear of it.
pub(super) fn withdraw(
    transaction: &Transaction<'_>,
    recipients: &[Recipient],
    alert: &str,
    now: Timestamp,
) -> rusqlite::Result<Vec<String>> {
    let held: Vec<(i64, String, bool)> = transaction
        .prepare_cached(
            // All ids that begin with the alert's; `/` comes after `.`.
            "SELECT number, webhook, offered FROM deliveries WHERE id >= ?1 || '.' AND id < ?1 || '/' AND status = 'held'",
        )?
        .query_map(params![alert], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?
        .collect::<rusqlite::Result<_>>()?;
    let mut withdrawn = Vec::new();
    for (number, webhook, offered) in held {
        let hears_end = recipients
            .iter()
            .any(|r| r.name == webhook && r.send_resolved);
        if silence::is_withdrawn(offered, hears_end) {
            transaction
                .prepare_cached(
                    "UPDATE deliveries SET status = 'withdrawn', changed = ?2 WHERE number = ?1",
                )?
                .execute(params![number, now.0])?;
            count(transaction, &webhook, "withdrawn", 1)?;
            withdrawn.push(webhook);
        }
    }
    Ok(withdrawn)
}

/// Whether this is the end of an alert of whose beginning this webhook was not told, because a silence held it back: then nobody hears
/// of the end either.
pub(super) fn was_withdrawn(
    transaction: &Transaction<'_>,
    recipient: &Recipient,
    transition: &Transition,
) -> rusqlite::Result<bool> {
    let alert = &transition.alert;
    if alert.state != AlertState::Resolved {
        return Ok(false);
    }
    let fired = how_it_stands(transaction, &alert.id, &recipient.name)?;
    Ok(fired.as_deref() == Some("withdrawn"))
}

/// How the delivery stands that told this webhook that an alert fires; none: there is none, or it was long ago.
pub(super) fn how_it_stands(
    transaction: &Transaction<'_>,
    alert: &str,
    webhook: &str,
) -> rusqlite::Result<Option<String>> {
    let fired = format!("{alert}.{}.{webhook}", state_name(AlertState::Firing));
    transaction
        .prepare_cached("SELECT status FROM deliveries WHERE id = ?1")?
        .query_row(params![fired], |row| row.get(0))
        .optional()
}

/// The delivery of a change that somebody hears of.
pub(super) fn delivery(
    recipient: &Recipient,
    transition: &Transition,
    now: Timestamp,
) -> rusqlite::Result<Delivery> {
    let alert = &transition.alert;
    let event = match alert.state {
        AlertState::Resolved | AlertState::Cancelled => Event::Resolved,
        AlertState::Firing | AlertState::Pending => Event::Firing,
    };
    let id = format!(
        "{}.{}.{}",
        alert.id,
        state_name(alert.state),
        recipient.name
    );
    let message = AlertMessage::about(
        alert,
        &transition.series,
        event,
        transition.at,
        Some(id.clone()),
    );
    let body = serde_json::to_string(&message)
        .map_err(|error| rusqlite::Error::ToSqlConversionFailure(Box::new(error)))?;
    Ok(Delivery {
        id,
        webhook: recipient.name.to_string(),
        body,
        created: now,
        tries: 0,
    })
}

/// Adds a delivery unless it is there, held if an active silence matches its alert. `offered`: a try may have reached the receiver,
/// or soon does. Says whether it is new.
pub(super) fn add(
    transaction: &Transaction<'_>,
    delivery: &Delivery,
    silenced: bool,
    offered: bool,
) -> rusqlite::Result<bool> {
    let Delivery {
        id,
        webhook,
        body,
        created,
        ..
    } = delivery;
    let new = transaction
        .prepare_cached(
            "INSERT INTO deliveries (id, webhook, status, body, created, changed, tries, offered) VALUES (?1, ?2, ?3, ?4, ?5, ?5, 0, ?6)
             ON CONFLICT (id) DO NOTHING",
        )?
        .execute(params![
            id,
            webhook,
            if silenced { "held" } else { "waiting" },
            body,
            created.0,
            offered
        ])?
        > 0;
    Ok(new)
}

/// Gives up the oldest when more than [`MAX_WAITING`] wait or are held. Says how many.
pub(super) fn give_up_oldest(
    transaction: &Transaction<'_>,
    webhook: &str,
    now: Timestamp,
) -> rusqlite::Result<u64> {
    let given_up = transaction
        .prepare_cached(
            "UPDATE deliveries SET status = 'given_up', changed = ?3, error = 'too many deliveries were waiting'
             WHERE number <= (SELECT number FROM deliveries WHERE webhook = ?1 AND status IN ('waiting', 'held') ORDER BY number DESC LIMIT 1 OFFSET ?2)
             AND webhook = ?1 AND status IN ('waiting', 'held')",
        )?
        .execute(params![webhook, MAX_WAITING, now.0])?;
    count(transaction, webhook, "given_up", given_up)?;
    Ok(given_up as u64)
}

/// The oldest waiting delivery to `webhook` that is about none of these subjects (a JSON list), and for which no older one about the same
/// subject stands in the way. A message of a group that a silence holds keeps no later one back: that is about other alerts.
pub(super) fn next(
    connection: &Connection,
    webhook: &str,
    but: &str,
) -> rusqlite::Result<Option<Delivery>> {
    connection
        .prepare_cached(
            "SELECT id, webhook, body, created, tries FROM deliveries AS next WHERE webhook = ?1 AND status = 'waiting'
             AND subject NOT IN (SELECT value FROM json_each(?2))
             AND NOT EXISTS (SELECT 1 FROM deliveries AS older WHERE older.webhook = ?1 AND older.status IN ('waiting', 'held')
                             AND older.subject = next.subject AND older.number < next.number
                             AND (older.status = 'waiting' OR older.body ->> 'group_key' IS NULL))
             ORDER BY number LIMIT 1",
        )?
        .query_row(params![webhook, but], |row| {
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

/// Whether a reminder about this group has not been delivered yet.
pub(super) fn reminder_waits(
    connection: &Connection,
    webhook: &str,
    group: &str,
) -> rusqlite::Result<bool> {
    connection
        .prepare_cached(
            "SELECT EXISTS (SELECT 1 FROM deliveries WHERE webhook = ?1 AND subject = ?2 AND status IN ('waiting', 'held')
             AND body ->> 'reason' = 'repeat')",
        )?
        .query_row(params![webhook, group], |row| row.get(0))
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
        Verdict::TryAgain { .. } => ("waiting", verdict.error()),
        Verdict::GivenUp { .. } => ("given_up", verdict.error()),
    };
    let transaction = connection.transaction()?;
    // One that was held while it was tried stays held. What was written down before, by a try that a slow disk held up, counts
    // once, and what was given up or withdrawn meanwhile is done with.
    let webhook: Option<String> = transaction
        .prepare_cached(
            "UPDATE deliveries SET error = ?3, changed = ?4, tries = tries + 1,
             status = CASE WHEN ?2 = 'waiting' THEN status ELSE ?2 END,
             body = CASE WHEN ?2 = 'delivered' AND length(body) > ?5 THEN '' ELSE body END
             WHERE id = ?1 AND status IN ('waiting', 'held') RETURNING webhook",
        )?
        .query_row(params![id, status, error, now.0, LARGE_BODY], |row| {
            row.get(0)
        })
        .optional()?;
    if let Some(webhook) = webhook.filter(|_| status != "waiting") {
        count(&transaction, &webhook, status, 1)?;
        prune(&transaction)?;
    }
    transaction.commit()
}

/// Forgets the oldest that are done with. They stay for a while: their ids keep a replay from delivering again. Dead letters have a bound of
/// their own, so that a busy day does not take them away.
pub(super) fn prune(transaction: &Transaction<'_>) -> rusqlite::Result<()> {
    for (statuses, kept) in [
        ("'delivered', 'withdrawn'", KEPT_DELIVERIES),
        ("'given_up'", KEPT_DEAD_LETTERS),
    ] {
        transaction
            .prepare_cached(&format!(
                "DELETE FROM deliveries WHERE status IN ({statuses}) AND number <=
                 (SELECT number FROM deliveries WHERE status IN ({statuses}) ORDER BY number DESC LIMIT 1 OFFSET ?1)"
            ))?
            .execute(params![kept])?;
    }
    Ok(())
}

impl Verdict {
    fn error(&self) -> Option<&str> {
        match self {
            Self::Delivered => None,
            Self::TryAgain { error } | Self::GivenUp { error } => Some(error),
        }
    }
}

/// Counts deliveries that are done with: `delivered`, `given_up` or `withdrawn`.
fn count(
    transaction: &Transaction<'_>,
    webhook: &str,
    how: &str,
    deliveries: usize,
) -> rusqlite::Result<()> {
    if deliveries == 0 {
        return Ok(());
    }
    let deliveries = i64::try_from(deliveries).unwrap_or(i64::MAX);
    let of = |column: &str| if how == column { deliveries } else { 0 };
    transaction
        .prepare_cached(
            "INSERT INTO delivered (webhook, delivered, given_up, withdrawn) VALUES (?1, ?2, ?3, ?4) ON CONFLICT (webhook)
             DO UPDATE SET delivered = delivered + excluded.delivered, given_up = given_up + excluded.given_up,
             withdrawn = withdrawn + excluded.withdrawn",
        )?
        .execute(params![webhook, of("delivered"), of("given_up"), of("withdrawn")])?;
    Ok(())
}

/// How the deliveries to one webhook stand.
pub(super) fn status(connection: &Connection, name: String) -> rusqlite::Result<WebhookStatus> {
    let (delivered, given_up, withdrawn): (i64, i64, i64) = connection
        .query_row(
            "SELECT delivered, given_up, withdrawn FROM delivered WHERE webhook = ?1",
            params![name],
            |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)),
        )
        .optional()?
        .unwrap_or_default();
    let in_status = |status: &str| -> rusqlite::Result<i64> {
        connection.query_row(
            "SELECT count(*) FROM deliveries WHERE webhook = ?1 AND status = ?2",
            params![name, status],
            |row| row.get(0),
        )
    };
    let (waiting, held) = (in_status("waiting")?, in_status("held")?);
    let dead_letters = in_status("given_up")?;
    let last_error = connection
        .query_row("SELECT error FROM deliveries WHERE webhook = ?1 AND tries > 0 ORDER BY changed DESC LIMIT 1", params![name], |row| row.get(0))
        .optional()?
        .flatten();
    Ok(WebhookStatus {
        name,
        waiting: waiting.unsigned_abs(),
        held: held.unsigned_abs(),
        delivered: delivered.unsigned_abs(),
        given_up: given_up.unsigned_abs(),
        withdrawn: withdrawn.unsigned_abs(),
        dead_letters: dead_letters.unsigned_abs(),
        last_error,
        failing_since: None,
    })
}
