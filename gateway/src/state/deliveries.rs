//! The outbox as the notifiers see it: the file, and before it what is in memory while the file refuses.

use std::{
    collections::BTreeMap,
    sync::{MutexGuard, PoisonError},
    time::Duration,
};

use serde_json::json;
use tokio::{sync::watch, time::timeout};

use super::{
    Delivery, State, StateError, Verdict, WebhookLabel, outbox, record::hears, urgent::Urgent,
};
use crate::{alert, engine::Decided, model::Timestamp};

/// A disk that takes longer to write an outcome down does not hold up the next delivery.
const SETTLE_WITHIN: Duration = Duration::from_secs(5);

impl State {
    /// Of what can't be written down now, delivers the gateway's own alert all the same; the rest waits for the file.
    pub(crate) fn deliver_from_memory(&self, decided: &Decided) {
        for delivery in self.urgent_of(decided) {
            let (new, given_up) = self.urgent().add(delivery);
            if let Some(oldest) = given_up {
                let webhook = oldest.webhook;
                let label = WebhookLabel { webhook };
                self.metrics.given_up.get_or_create(&label).inc();
            }
            if new {
                self.added.send_modify(|n| *n += 1);
            }
        }
    }

    /// The deliveries that a decision brings about the gateway itself.
    pub(super) fn urgent_of(&self, decided: &Decided) -> Vec<Delivery> {
        let (recipients, now) = (self.recipients(), self.clock.now());
        let routing = self.routing();
        let own = decided
            .transitions
            .iter()
            .filter(|t| alert::is_own(&t.alert));
        own.flat_map(|transition| {
            let hearing = recipients.iter().filter(|r| hears(r, transition, &routing));
            hearing.filter_map(move |recipient| {
                outbox::delivery(recipient, transition, now)
                    .inspect_err(|error| tracing::error!(%error, "a delivery cannot be encoded"))
                    .ok()
            })
        })
        .collect()
    }

    pub(super) fn urgent(&self) -> MutexGuard<'_, Urgent> {
        self.urgent.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The oldest waiting delivery to this webhook that is about none of these subjects; those in memory first.
    ///
    /// # Errors
    ///
    /// [`StateError`]
    pub async fn next_delivery(
        &self,
        webhook: &str,
        but: Vec<String>,
    ) -> Result<Option<Delivery>, StateError> {
        let subjects = json!(but).to_string();
        loop {
            if let Some(delivery) = self.urgent().next(webhook, &but) {
                return Ok(Some(delivery));
            }
            let (name, subjects) = (webhook.to_owned(), subjects.clone());
            let (signals, moment) = (self.signals.clone(), self.moment());
            let next = self.with(move |connection| {
                // What must be held from now on must not go out. A full disk must not keep the others: `follow_clock` tells of it.
                if let Err(error) = signals.turn_now(connection, moment) {
                    tracing::debug!(%error, "silences cannot begin or end");
                }
                outbox::next(connection, &name, &subjects)
            });
            let Some(delivery) = next.await? else {
                return Ok(None);
            };
            // Over already, but the file did not take that.
            let Some(verdict) = self.urgent().verdict(&delivery.id) else {
                return Ok(Some(delivery));
            };
            self.settle_in_file(&delivery, verdict).await?;
        }
    }

    /// Writes down how a try went. A final outcome that can't be written, or not soon, is remembered, so that nobody
    /// is told twice and the next one does not wait.
    ///
    /// # Errors
    ///
    /// [`StateError`]
    pub async fn settle(&self, delivery: &Delivery, verdict: Verdict) -> Result<(), StateError> {
        if self.urgent().settle(&delivery.id, &verdict) {
            return Ok(());
        }
        let settling = self.settle_in_file(delivery, verdict.clone());
        let settled = match timeout(SETTLE_WITHIN, settling).await {
            Ok(Ok(())) => return Ok(()),
            Ok(Err(error)) => Err(error),
            Err(_) => Ok(()),
        };
        self.urgent().remember(&delivery.id, &verdict);
        settled
    }

    async fn settle_in_file(
        &self,
        delivery: &Delivery,
        verdict: Verdict,
    ) -> Result<(), StateError> {
        let label = WebhookLabel {
            webhook: delivery.webhook.clone(),
        };
        let counter = match &verdict {
            Verdict::Delivered => Some(self.metrics.delivered.get_or_create(&label).clone()),
            Verdict::GivenUp { .. } => Some(self.metrics.given_up.get_or_create(&label).clone()),
            Verdict::TryAgain { .. } => None,
        };
        let (id, now) = (delivery.id.clone(), self.clock.now());
        self.write(move |connection| outbox::settle(connection, &id, &verdict, now))
            .await?;
        self.urgent().forget(&delivery.id);
        if let Some(counter) = counter {
            counter.inc();
        }
        Ok(())
    }

    /// Whether this webhook fails whatever it is sent, and is only probed: for those who look at [`State::webhooks`].
    pub fn circuit_is(&self, webhook: &str, open: bool) {
        let mut circuits = self.circuits();
        if open != circuits.contains_key(webhook) {
            if open {
                circuits.insert(webhook.to_owned(), self.clock.now());
            } else {
                circuits.remove(webhook);
            }
            let label = WebhookLabel {
                webhook: webhook.to_owned(),
            };
            self.metrics
                .circuits_open
                .get_or_create(&label)
                .set(i64::from(open));
        }
    }

    pub(super) fn circuits(&self) -> MutexGuard<'_, BTreeMap<String, Timestamp>> {
        self.circuits.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes whenever deliveries were added or let go: wait on it instead of polling.
    #[must_use]
    pub fn deliveries_added(&self) -> watch::Receiver<u64> {
        self.added.subscribe()
    }
}
