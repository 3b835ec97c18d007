//! Who takes care of alerts, and which webhooks hear of that: those of services that page people, so that these stop paging.
//!
//! An acknowledgement is one more message about its alert, in the outbox with all the others and after them, written in the transaction
//! that takes it: under an id of its own, so that it comes once. A webhook hears of it only if it hears that the alert fires. Of a group,
//! which is one incident to such a service, it hears when everything that it was told of the group and still fires is acknowledged.
//!
//! What it does not do: tell that an acknowledgement was taken back. Not all of these services know such a thing.

use rusqlite::{Connection, OptionalExtension, Transaction, params};
use smol_str::SmolStr;

use super::{
    AlertMessage, Delivery, Event, GroupMessage, Reason, Recipient, State, StateError, as_json,
    attention::{AttentionError, about, firing},
    audit::{self, Action},
    groups,
    metrics::WebhookLabel,
    names_of, outbox,
};
use crate::{
    alert::{Alert, route, silence::Acknowledgement},
    model::{SeriesKey, Timestamp},
};

impl State {
    /// Somebody takes care of a firing alert. The same acknowledgement again changes nothing.
    ///
    /// # Errors
    ///
    /// [`AttentionError`]
    pub async fn acknowledge(
        &self,
        alert: &str,
        by: String,
        comment: String,
    ) -> Result<Acknowledgement, AttentionError> {
        let (id, now) = (alert.to_owned(), self.moment());
        let recipients = self.recipients();
        let given = Acknowledgement {
            by,
            comment,
            at_ms: now.time.as_millis(),
        };
        let decided = self.decide(move |transaction| {
            let alert = match firing(transaction, &id)? {
                Ok(alert) => alert,
                Err(refused) => return Ok(Err(refused)),
            };
            if let Some(before) = of(transaction, &id)? {
                let again = before.by == given.by && before.comment == given.comment;
                return Ok(if again {
                    Ok((before, Vec::new()))
                } else {
                    Err(AttentionError::AcknowledgedBefore(before))
                });
            }
            transaction
                .prepare_cached(
                    "INSERT INTO acknowledgements (alert, at, by, comment) VALUES (?1, ?2, ?3, ?4)",
                )?
                .execute(params![id, now.time.0, given.by, given.comment])?;
            let detail = about(&alert, &given.comment);
            audit::add(
                transaction,
                now.time,
                &given.by,
                Action::Acknowledged,
                &id,
                &detail,
            )?;
            let told = tell(transaction, &recipients, &alert, &given, now.time)?;
            Ok(Ok((given, told)))
        });
        let (given, told) = decided.await?;
        for (webhook, given_up) in told {
            let label = WebhookLabel { webhook };
            self.metrics.queued.get_or_create(&label).inc();
            self.metrics.given_up.get_or_create(&label).inc_by(given_up);
        }
        Ok(given)
    }

    /// Who takes care of an alert; `None`: nobody.
    ///
    /// # Errors
    ///
    /// [`StateError`]
    pub async fn acknowledgement(
        &self,
        alert: &str,
    ) -> Result<Option<Acknowledgement>, StateError> {
        let id = alert.to_owned();
        self.with(move |connection| of(connection, &id)).await
    }

    /// Nobody takes care of it any more. Of an alert that is not acknowledged this is true already.
    ///
    /// # Errors
    ///
    /// [`AttentionError`]
    pub async fn unacknowledge(&self, alert: &str, by: String) -> Result<(), AttentionError> {
        let (id, now) = (alert.to_owned(), self.moment());
        self.decide(move |transaction| {
            let alert = match firing(transaction, &id)? {
                Ok(alert) => alert,
                Err(refused) => return Ok(Err(refused)),
            };
            let gone = transaction
                .prepare_cached("DELETE FROM acknowledgements WHERE alert = ?1")?
                .execute(params![id])?;
            if gone > 0 {
                groups::look_at(transaction, &id)?;
                let detail = about(&alert, "");
                audit::add(
                    transaction,
                    now.time,
                    &by,
                    Action::Unacknowledged,
                    &id,
                    &detail,
                )?;
            }
            Ok(Ok(()))
        })
        .await
    }
}

fn of(connection: &Connection, id: &str) -> rusqlite::Result<Option<Acknowledgement>> {
    connection
        .prepare_cached("SELECT by, comment, at FROM acknowledgements WHERE alert = ?1")?
        .query_row(params![id], |row| {
            Ok(Acknowledgement {
                by: row.get(0)?,
                comment: row.get(1)?,
                at_ms: Timestamp(row.get(2)?).as_millis(),
            })
        })
        .optional()
}

/// Adds what webhooks hear of an acknowledgement that was just given: to whom, and what that cost of older deliveries.
fn tell(
    transaction: &Transaction<'_>,
    recipients: &[Recipient],
    alert: &Alert,
    given: &Acknowledgement,
    now: Timestamp,
) -> rusqlite::Result<Vec<(String, u64)>> {
    let groups: Vec<i64> = transaction
        .prepare_cached("SELECT in_group FROM members WHERE alert = ?1")?
        .query_map(params![alert.id.as_str()], |row| row.get(0))?
        .collect::<rusqlite::Result<_>>()?;
    let mut told = Vec::new();
    for recipient in recipients.iter().filter(|r| r.hears_acknowledgements) {
        let mut added = false;
        if groups.is_empty() {
            added = tell_of_alert(transaction, recipient, alert, given, now)?;
        }
        for group in &groups {
            added |= tell_of_group(transaction, *group, &recipient.name, now)?;
        }
        if added {
            let given_up = outbox::give_up_oldest(transaction, &recipient.name, now)?;
            told.push((recipient.name.to_string(), given_up));
        }
    }
    Ok(told)
}

/// For an alert that is told by itself.
fn tell_of_alert(
    transaction: &Transaction<'_>,
    recipient: &Recipient,
    alert: &Alert,
    given: &Acknowledgement,
    now: Timestamp,
) -> rusqlite::Result<bool> {
    let Some(series) = SeriesKey::parse(&alert.series) else {
        return Ok(false);
    };
    let fired = outbox::how_it_stands(transaction, &alert.id, &recipient.name)?;
    let is_held = match fired.as_deref() {
        // Nobody there knows of it.
        Some("withdrawn" | "given_up") => return Ok(false),
        Some("held") => true,
        Some(_) => false,
        // Told long ago, or not one of those who hear of it.
        None if !names_of(recipient, alert) => return Ok(false),
        None => false,
    };
    let id = format!(
        "{}.acknowledged-{}.{}",
        alert.id, given.at_ms, recipient.name
    );
    let at = Timestamp::from_millis(given.at_ms);
    let mut message = AlertMessage::about(alert, &series, Event::Firing, at, Some(id.clone()));
    message.acknowledged = Some(given.clone());
    let delivery = Delivery {
        id,
        webhook: recipient.name.to_string(),
        body: as_json(&message)?,
        created: now,
        tries: 0,
    };
    outbox::add(transaction, &delivery, is_held, !is_held)
}

/// Adds what a webhook hears of a group when all that it was told of it and still fires is acknowledged; whether that is so and new.
pub(super) fn tell_of_group(
    transaction: &Transaction<'_>,
    group: i64,
    webhook: &SmolStr,
    now: Timestamp,
) -> rusqlite::Result<bool> {
    let mut members = transaction.prepare_cached(
        "SELECT a.body, k.by, k.comment, k.at FROM members m JOIN alerts a ON a.id = m.alert
         LEFT JOIN acknowledgements k ON k.alert = m.alert
         WHERE m.in_group = ?1 AND a.state = 'firing' AND ' ' || m.told || ' ' LIKE '% ' || ?2 || ' %'
         ORDER BY k.at, m.number",
    )?;
    let mut rows = members.query(params![group, webhook.as_str()])?;
    let (mut firing, mut newest) = (0, None);
    while let Some(row) = rows.next()? {
        let Some(at) = row.get::<_, Option<i64>>(3)? else {
            return Ok(false);
        };
        firing += 1;
        let body: String = row.get(0)?;
        let given = Acknowledgement {
            by: row.get(1)?,
            comment: row.get(2)?,
            at_ms: Timestamp(at).as_millis(),
        };
        newest = Some((body, given));
    }
    let Some((body, given)) = newest else {
        return Ok(false);
    };
    // One that can't be read was told as an error by who put the group together.
    let Ok(alert) = serde_json::from_str::<Alert>(&body) else {
        return Ok(false);
    };
    let Some(series) = SeriesKey::parse(&alert.series) else {
        return Ok(false);
    };
    let (route, key, labels): (String, String, String) = transaction
        .prepare_cached("SELECT route, key, labels FROM groups WHERE number = ?1")?
        .query_row(params![group], |row| {
            Ok((row.get(0)?, row.get(1)?, row.get(2)?))
        })?;
    let about_it = [(alert.id.as_str(), false)].into_iter();
    let id = route::message_id(&key, "acknowledged", given.at_ms, about_it);
    let id = format!("{id}.{webhook}");
    let at = Timestamp::from_millis(given.at_ms);
    let message = GroupMessage {
        id: id.clone(),
        event: Event::Firing,
        reason: Reason::Change,
        time: at.to_rfc3339(),
        route,
        group_key: key,
        group_labels: serde_json::from_str(&labels).unwrap_or_default(),
        alerts: vec![AlertMessage::about(
            &alert,
            &series,
            Event::Firing,
            at,
            None,
        )],
        more: 0,
        firing,
        acknowledged: Some(given),
    };
    let delivery = Delivery {
        id,
        webhook: webhook.to_string(),
        body: as_json(&message)?,
        created: now,
        tries: 0,
    };
    outbox::add(transaction, &delivery, false, true)
}

/// Acknowledgements go with their alerts.
pub(super) fn forget_acknowledgements(transaction: &Transaction<'_>) -> rusqlite::Result<()> {
    transaction.execute(
        "DELETE FROM acknowledgements WHERE alert NOT IN (SELECT id FROM alerts)",
        [],
    )?;
    Ok(())
}
