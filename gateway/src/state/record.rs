//! Writing changes of alerts down, with all that follows from them for webhooks, in one transaction.

use rusqlite::params;

use super::{
    Recipient, Recorded, State, StateError, WebhookLabel, acknowledged,
    alerts::{forget_old, write_alert},
    changes, closings, memories, outbox, runs, silences,
};
use crate::{
    alert::{self, Alert, AlertState, Transition, route::Routing},
    engine::Decided,
};

impl State {
    /// Writes transitions and the deliveries that follow from them in one transaction, and numbers the transitions; durable when it
    /// returns.
    /// What is there already (a replay after a crash) is not written twice.
    ///
    /// # Errors
    ///
    /// [`StateError`]; nothing was written then.
    pub async fn record(&self, decided: Decided) -> Result<Recorded, StateError> {
        let (recipients, metrics) = (self.recipients(), self.metrics.clone());
        let (signals, moment) = (self.signals.clone(), self.moment());
        let now = moment.time;
        let mut entering = self.groups.enter();
        let looks = self.groups.looks.clone();
        let urgent: Vec<String> = self
            .urgent_of(&decided)
            .into_iter()
            .map(|delivery| delivery.id)
            .collect();
        let told: Vec<String> = {
            let memory = self.urgent();
            urgent
                .iter()
                .filter(|id| memory.knows(id))
                .cloned()
                .collect()
        };
        let (added, recorded) = self
            .write(move |connection| {
                let transaction = connection.transaction()?;
                let mut added: Vec<&str> = Vec::new();
                let mut silences = Vec::new();
                if !decided.transitions.is_empty() {
                    signals.turn(&transaction, moment)?;
                    silences = silences::active(&transaction)?;
                }
                let mut withdrawn: Vec<String> = Vec::new();
                let mut finished = Vec::new();
                let mut first = None;
                for transition in &decided.transitions {
                    let is_past = entering.is_past(&transaction, transition)?;
                    if !is_past {
                        write_alert(&transaction, transition)?;
                    }
                    let number = runs::number(&transaction, transition, decided.position)?;
                    first.get_or_insert(number);
                    if is_past {
                        continue;
                    }
                    changes::add(&transaction, number, transition)?;
                    memories::write(&transaction, number, transition)?;
                    // Marks come and go, and nobody is told.
                    if !transition.alert.is_news() || entering.take(&transaction, transition)? {
                        continue;
                    }
                    let silenced = silences.iter().any(|s| s.holds(transition.alert.facts()));
                    if transition.alert.state == AlertState::Resolved {
                        withdrawn.extend(outbox::withdraw(&transaction, &recipients, &transition.alert.id, now)?);
                    }
                    for recipient in recipients.iter().filter(|r| hears(r, transition, &entering.routing)) {
                        if outbox::was_withdrawn(&transaction, recipient, transition)? {
                            continue;
                        }
                        let delivery = outbox::delivery(recipient, transition, now)?;
                        // What memory had before the file may be told already.
                        let offered = !silenced || told.contains(&delivery.id);
                        let new = outbox::add(&transaction, &delivery, silenced, offered)?;
                        added.extend(new.then_some(recipient.name.as_str()));
                    }
                }
                // Once for all of a storm.
                for recipient in recipients.iter().filter(|r| added.contains(&r.name.as_str())) {
                    let given_up = outbox::give_up_oldest(&transaction, &recipient.name, now)?;
                    finished.push((recipient.name.to_string(), given_up));
                }
                if finished.iter().any(|(_, given_up)| *given_up > 0) || !withdrawn.is_empty() {
                    outbox::prune(&transaction)?;
                }
                closings::write(&transaction, &decided.closings, now)?;
                let grouped = entering.finish(&transaction)?;
                let position = i64::try_from(decided.position.0).unwrap_or(i64::MAX);
                transaction.execute(
                    "INSERT INTO meta (key, value) VALUES ('evaluated', ?1) ON CONFLICT (key) DO UPDATE SET value = max(value, excluded.value)",
                    params![position],
                )?;
                if !decided.transitions.is_empty() {
                    let gone = forget_old(&transaction)?;
                    runs::forget_old(&transaction)?;
                    changes::forget_old(&transaction, gone > 0)?;
                    memories::forget_old(&transaction)?;
                    if gone > 0 {
                        acknowledged::forget_acknowledgements(&transaction)?;
                    }
                }
                let recorded = Recorded {
                    first: first.unwrap_or_default(),
                    epoch: runs::epoch(&transaction)?,
                };
                transaction.commit()?;
                if !decided.transitions.is_empty() {
                    signals.turned(connection, moment);
                }
                if !decided.closings.is_empty() {
                    signals.told_otherwise();
                }
                if grouped {
                    looks.read(connection);
                }
                // Only now: a transaction that fails is tried again.
                for (webhook, given_up) in finished {
                    metrics.given_up.get_or_create(&WebhookLabel { webhook }).inc_by(given_up);
                }
                for webhook in withdrawn {
                    metrics.withdrawn.get_or_create(&WebhookLabel { webhook }).inc();
                }
                metrics.ungrouped.inc_by(entering.ungrouped);
                for webhook in &added {
                    metrics.queued.get_or_create(&WebhookLabel { webhook: (*webhook).to_owned() }).inc();
                }
                Ok((added.len(), recorded))
            })
            .await?;
        for id in &urgent {
            self.urgent().recorded(id);
        }
        if added > 0 {
            self.added.send_modify(|n| *n += 1);
        }
        Ok(recorded)
    }
}

/// Whether this recipient hears of this change, of an alert that is in no group. The gateway's own alerts are never grouped: they go at
/// once to all webhooks of the routes that take them.
pub(super) fn hears(recipient: &Recipient, transition: &Transition, routing: &Routing) -> bool {
    let alert = &transition.alert;
    if !alert.is_news() {
        return false;
    }
    let named = || {
        let routes = if alert::is_own(alert) {
            routing.of(alert)
        } else {
            Vec::new()
        };
        if routes.is_empty() {
            return names_of(recipient, alert);
        }
        let mut webhooks = routes.iter().flat_map(|route| &route.webhooks);
        webhooks.any(|webhook| *webhook == recipient.name)
    };
    match alert.state {
        AlertState::Firing => named(),
        AlertState::Resolved => recipient.send_resolved && named(),
        AlertState::Pending | AlertState::Cancelled => false,
    }
}

/// Whether the alert's rule lets this recipient hear of it.
pub(super) fn names_of(recipient: &Recipient, alert: &Alert) -> bool {
    alert.webhooks.is_empty() || alert.webhooks.contains(&recipient.name)
}
