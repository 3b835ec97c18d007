//! Webhooks: deliveries come from the durable outbox in [`crate::state`], at least once, with back-off and a circuit breaker ([`pace`]).
//!
//! One task a webhook, so that one that hangs delays nobody else, and one delivery at a time, in order for each alert. A delivery keeps its
//! id over all tries; receivers can drop repeats by it (`webhook-id`, after the Standard Webhooks convention). What is given up
//! stays in the outbox as a dead letter.

mod addresses;
mod alertmanager;
mod config;
mod formats;
mod http;
mod links;
pub mod mqtt;
mod pace;
mod receiver;
mod samples;
mod signature;
pub mod smtp;
mod template;
mod token;
mod trial;

use std::time::Duration;

use smol_str::SmolStr;
use thiserror::Error;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

pub use self::{
    addresses::{Refused, check_url, client},
    config::{Destination, Endpoint, WebhookConfig},
    formats::{
        Format, alertmanager::Config as AlertmanagerConfig, json::Config as JsonConfig,
        mqtt::Publishing, ntfy::Config as NtfyConfig, opsgenie::Config as OpsgenieConfig,
        pagerduty::Config as PagerDutyConfig, slack::Config as SlackConfig,
    },
    links::Links,
    signature::SigningKey,
    template::{Escape, Fault, Template},
    token::{Claim, KEY_BYTES, Signer, TokenError},
    trial::{Trial, trial},
};
use self::{
    pace::{Pace, Turn},
    receiver::{Answer, Receiver},
};
use crate::{
    backoff::Backoff,
    clock::Clock,
    state::{Delivery, State, StateError, Verdict},
};

/// The waits while the outbox can't be read or written; short, so that a disk with room again is noticed soon.
const OUTBOX_RETRY: crate::backoff::Config = crate::backoff::Config {
    initial: Duration::from_millis(500),
    max: Duration::from_secs(5),
};

/// The clock is believed in what it says of an earlier run once it has gone so long without a jump.
const STEADY: Duration = Duration::from_secs(3_600);

/// Why a webhook can't be used at all.
#[derive(Debug, Error)]
pub enum NotifyError {
    /// The HTTP client can't be built from these settings.
    #[error("cannot prepare the webhook \"{name}\"")]
    Client {
        /// Which.
        name: SmolStr,
        /// Why.
        #[source]
        source: reqwest::Error,
    },
    /// The address is one that webhooks may not reach.
    #[error("the webhook \"{name}\" cannot be used")]
    Address {
        /// Which webhook.
        name: SmolStr,
        /// Why.
        #[source]
        source: Refused,
    },
    /// A header that HTTP does not allow.
    #[error("the header \"{header}\" of the webhook \"{name}\" is not allowed in HTTP")]
    Header {
        /// Which webhook.
        name: SmolStr,
        /// Which header.
        header: String,
    },
    /// The mail server can't be used with these settings.
    #[error("cannot prepare the mail server of the webhook \"{name}\": {reason}")]
    Mail {
        /// Which webhook.
        name: SmolStr,
        /// Why.
        reason: String,
    },
    /// TLS to the broker can't be used with these settings.
    #[error("cannot prepare TLS to the broker of the webhook \"{name}\": {reason}")]
    Tls {
        /// Which webhook.
        name: SmolStr,
        /// Why.
        reason: String,
    },
}

/// One webhook, ready to run.
#[derive(Debug)]
pub struct Notifier {
    config: WebhookConfig,
    receiver: Receiver,
    state: State,
    clock: Clock,
}

impl Notifier {
    /// Prepares a webhook.
    ///
    /// # Errors
    ///
    /// [`NotifyError`]
    pub fn new(
        config: WebhookConfig,
        links: Links,
        state: State,
        clock: Clock,
    ) -> Result<Self, NotifyError> {
        let receiver = Receiver::new(&config, links, clock.clone())?;
        Ok(Self {
            config,
            receiver,
            state,
            clock,
        })
    }

    /// Delivers until `stop`, which ends a try that is under way (it counts as not made), or until `leave`, which lets that try
    /// come to its end.
    pub async fn run(self, stop: CancellationToken, leave: CancellationToken) {
        // Ends between two awaits: what was not settled is tried again after the restart, with the same id.
        let delivering = async {
            tokio::select! {
                () = self.deliver_all(&leave) => {}
                () = self.receiver.keep_reminded(&self.state) => {}
            }
        };
        stop.run_until_cancelled(delivering).await;
    }

    async fn deliver_all(&self, leave: &CancellationToken) {
        let mut added = self.state.deliveries_added();
        let mut pace = Pace::new(self.config.backoff);
        let mut unreadable = Backoff::new(OUTBOX_RETRY);
        while !leave.is_cancelled() {
            let now = Instant::now();
            let but = match pace.turn(now) {
                Turn::Try { but } => but,
                Turn::Wait(until) => {
                    leave.run_until_cancelled(sleep_until(until)).await;
                    continue;
                }
            };
            added.borrow_and_update();
            let next = tokio::select! {
                next = self.state.next_delivery(&self.config.name, but) => next,
                // A disk that hangs must not hide what is in memory.
                changed = added.changed() => match changed {
                    Ok(()) => continue,
                    Err(_) => return,
                },
                () = leave.cancelled() => return,
            };
            let delivered = match next {
                Ok(Some(delivery)) => self.deliver(delivery, &mut pace).await,
                Ok(None) => {
                    unreadable.reset();
                    tokio::select! {
                        changed = added.changed() => match changed {
                            Ok(()) => continue,
                            Err(_) => return,
                        },
                        () = rested(pace.next_due(now)) => continue,
                        () = leave.cancelled() => return,
                    }
                }
                Err(error) => Err(error),
            };
            match delivered {
                Ok(()) => unreadable.reset(),
                Err(StateError::Closed) => return,
                Err(error) => {
                    if unreadable.failures() == 0 {
                        tracing::error!(webhook = %self.config.name, error = %crate::cause::chain(&error), "cannot use the outbox; trying again");
                    }
                    // An alert about the disk comes from memory, and does not wait for it.
                    let told = tokio::time::timeout(unreadable.next_wait(), added.changed());
                    if let Some(Ok(Err(_))) = leave.run_until_cancelled(told).await {
                        return;
                    }
                }
            }
        }
    }

    /// Tries a delivery and writes down how that went.
    async fn deliver(&self, delivery: Delivery, pace: &mut Pace) -> Result<(), StateError> {
        let subject = delivery.subject();
        let webhook = &self.config.name;
        let verdict = match self.receiver.send(&delivery).await {
            Answer::Accepted => {
                if pace.succeeded(subject) {
                    tracing::info!(%webhook, "the webhook answers again");
                }
                Verdict::Delivered
            }
            Answer::Refused { error } => {
                tracing::error!(%webhook, id = delivery.id, error, "delivery refused and given up");
                // It answers: what it says of one delivery says nothing of the others.
                pace.succeeded(subject);
                Verdict::GivenUp { error }
            }
            Answer::Later { error, .. } if self.is_too_old(&delivery) => {
                tracing::error!(%webhook, id = delivery.id, error, "delivery given up");
                pace.forget(subject);
                Verdict::GivenUp { error }
            }
            Answer::Later { error, after } => {
                if delivery.tries == 0 && !pace.is_open() {
                    tracing::warn!(%webhook, id = delivery.id, error, "delivery failed, trying again");
                }
                if pace.failed(subject, after, Instant::now()) {
                    tracing::warn!(%webhook, error, "the webhook fails whatever it is sent: it is tried now and then until it answers");
                }
                Verdict::TryAgain { error }
            }
        };
        self.state.circuit_is(webhook, pace.is_open());
        self.state.settle(&delivery, verdict).await
    }

    /// A clock that jumped ahead makes nothing old: time is counted as it passed, and for a while after a start or a jump nothing is
    /// given up.
    fn is_too_old(&self, delivery: &Delivery) -> bool {
        let limit = self.config.give_up_after;
        self.clock.since(delivery.created) > limit && self.clock.steady_for() >= limit.min(STEADY)
    }
}

/// Ends when the first rest does; never, when nothing rests.
async fn rested(due: Option<Instant>) {
    match due {
        Some(due) => sleep_until(due).await,
        None => std::future::pending().await,
    }
}
