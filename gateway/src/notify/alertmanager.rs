//! Keeps Prometheus Alertmanager told: it forgets what fires unless it hears of it again (see [`super::formats::alertmanager`]).
//!
//! What was told stands in memory, and comes back from the outbox after a restart, as far as that still has it. One thing at a
//! time goes to Alertmanager: a reminder that overtook the end of its alert would make it fire again. Bounded by the alerts
//! that fire at once.

use std::{collections::BTreeMap, time::Duration};

use serde_json::Value as Json;
use tokio::{
    sync::Mutex,
    time::{sleep, timeout},
};

use super::{
    Links,
    formats::{
        Notice,
        alertmanager::{Config, labels_of},
    },
    http::HttpSender,
    receiver::{Answer, Tried},
};
use crate::{
    clock::Clock,
    state::{AlertMessage, Event, State},
};

/// Alerts in one request of a reminder.
const AT_ONCE: usize = 500;
/// A disk that hangs must not hold up what is news.
const STATE_ANSWERS_WITHIN: Duration = Duration::from_secs(5);

/// What Alertmanager was told.
#[derive(Debug)]
pub(super) struct Pusher {
    config: Config,
    /// By the alert's id. tokio's: held while something is sent.
    told: Mutex<BTreeMap<String, Told>>,
}

#[derive(Debug)]
struct Told {
    alert: AlertMessage,
    /// Under these it is known, whatever the rule's labels have become.
    labels: BTreeMap<String, String>,
}

impl Pusher {
    /// Nothing was told.
    pub(super) fn new(config: Config) -> Self {
        Self {
            config,
            told: Mutex::default(),
        }
    }

    /// Tells something new.
    pub(super) async fn send(&self, sender: &HttpSender, notice: &Notice<'_>) -> Tried {
        let mut told = self.told.lock().await;
        let request = self.config.request_known_as(notice, |alert| {
            told.get(&alert.alert_id)
                .map_or_else(|| labels_of(alert), |told| told.labels.clone())
        });
        let tried = sender.post(notice.id, request).await;
        if tried.answer == Answer::Accepted && !notice.test {
            for alert in notice.message.alerts() {
                note(&mut told, alert);
            }
        }
        tried
    }

    /// Tells what fires again and again; never ends.
    pub(super) async fn keep_reminded(
        &self,
        sender: &HttpSender,
        state: &State,
        (webhook, links, clock): (&str, &Links, &Clock),
    ) {
        let mut failing = false;
        loop {
            match self.remind(sender, state, (webhook, links, clock)).await {
                Ok(()) => failing = false,
                Err(error) if !failing => {
                    failing = true;
                    tracing::warn!(
                        webhook,
                        error,
                        "Alertmanager can't be reminded of what fires; trying again"
                    );
                }
                Err(_) => {}
            }
            sleep(self.config.resend_every).await;
        }
    }

    async fn remind(
        &self,
        sender: &HttpSender,
        state: &State,
        (webhook, links, clock): (&str, &Links, &Clock),
    ) -> Result<(), String> {
        let mut told = self.told.lock().await;
        // With the lock: what ends from now on is told after this.
        let (firing, recalled) = match timeout(STATE_ANSWERS_WITHIN, state.told_of(webhook)).await {
            Ok(Ok(known)) => known,
            Ok(Err(error)) => return Err(crate::cause::chain(&error)),
            Err(_) => return Err(String::from("the state file does not answer")),
        };
        for alert in recalled {
            if !told.contains_key(&alert.alert_id) {
                note(&mut told, &alert);
            }
        }
        told.retain(|id, _| firing.contains(id));
        let now = clock.now();
        let alerts: Vec<Json> = told
            .values()
            .map(|told| {
                let about = (now, links.page(), false);
                self.config.alert(&told.alert, &told.labels, about)
            })
            .collect();
        for alerts in alerts.chunks(AT_ONCE) {
            let id = format!("reminder-{}.{webhook}", now.as_millis());
            match sender.post(&id, Config::post(alerts)).await.answer {
                Answer::Accepted => {}
                Answer::Later { error, .. } | Answer::Refused { error } => return Err(error),
            }
        }
        Ok(())
    }
}

fn note(told: &mut BTreeMap<String, Told>, alert: &AlertMessage) {
    match alert.event {
        Event::Firing => {
            told.entry(alert.alert_id.clone())
                .and_modify(|told| told.alert = alert.clone())
                .or_insert_with(|| Told {
                    labels: labels_of(alert),
                    alert: alert.clone(),
                });
        }
        Event::Resolved => {
            told.remove(&alert.alert_id);
        }
    }
}
