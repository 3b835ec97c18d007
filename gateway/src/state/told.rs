//! What a webhook was told of what fires, as far as the outbox still has it: for receivers that forget and must be told again.

use std::collections::{BTreeMap, BTreeSet};

use rusqlite::params;

use super::{AlertMessage, Event, Message, State, StateError};

impl State {
    /// The ids of all alerts that fire, and, of those, the last that this webhook was told, unless it was told of the end. Only
    /// the last [`super::KEPT_DELIVERIES`] deliveries are known.
    ///
    /// # Errors
    ///
    /// [`StateError`]
    pub async fn told_of(
        &self,
        webhook: &str,
    ) -> Result<(BTreeSet<String>, Vec<AlertMessage>), StateError> {
        let webhook = webhook.to_owned();
        self.with(move |connection| {
            let firing: BTreeSet<String> = connection
                .prepare_cached("SELECT id FROM alerts WHERE state = 'firing'")?
                .query_map([], |row| row.get(0))?
                .collect::<rusqlite::Result<_>>()?;
            let bodies: Vec<String> = connection
                .prepare_cached(
                    "SELECT body FROM deliveries WHERE webhook = ?1 AND status = 'delivered' ORDER BY number",
                )?
                .query_map(params![webhook], |row| row.get(0))?
                .collect::<rusqlite::Result<_>>()?;
            let mut told = BTreeMap::new();
            // What can't be read was told in words that nobody knows any more.
            for message in bodies.iter().filter_map(|body| Message::from_body(body).ok()) {
                for alert in message.alerts() {
                    if alert.event == Event::Firing && firing.contains(&alert.alert_id) {
                        told.insert(alert.alert_id.clone(), alert.clone());
                    } else {
                        told.remove(&alert.alert_id);
                    }
                }
            }
            Ok((firing, told.into_values().collect()))
        })
        .await
    }
}
