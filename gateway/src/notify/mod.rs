//! Webhooks: deliveries come from the durable outbox in [`crate::state`], at least once, in order, with back-off.
//!
//! One task a webhook, so that one that hangs delays nobody else. A delivery keeps its id over all tries; receivers can
//! drop repeats by it (`webhook-id`, after the Standard Webhooks convention). Redirects are not followed.

mod receiver;

use std::{collections::BTreeMap, time::Duration};

use smol_str::SmolStr;
use thiserror::Error;
use tokio_util::sync::CancellationToken;

use self::receiver::{Answer, Receiver};
use crate::{
    backoff::Backoff,
    clock::Clock,
    model::Secret,
    state::{Delivery, State, StateError, Verdict},
};

/// The waits while the outbox can't be read or written; short, so that a disk with room again is noticed soon.
const OUTBOX_RETRY: crate::backoff::Config = crate::backoff::Config {
    initial: Duration::from_millis(500),
    max: Duration::from_secs(5),
};

/// A destination for alerts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WebhookConfig {
    /// Unique; rules name it.
    pub name: SmolStr,
    /// Where to POST. `http` or `https`.
    pub url: String,
    /// Sent as `Authorization: Bearer …`.
    pub token: Option<Secret>,
    /// Further headers.
    pub headers: BTreeMap<String, String>,
    /// How long one try may take. Default 10 s.
    pub timeout: Duration,
    /// The waits between tries. Default 1 s to 5 min.
    pub backoff: crate::backoff::Config,
    /// After this long without success a delivery is given up, counted and shown. Default 24 h.
    pub give_up_after: Duration,
    /// Whether `resolved` is told too. Default true.
    pub send_resolved: bool,
}

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
    /// A header that HTTP does not allow.
    #[error("the header \"{header}\" of the webhook \"{name}\" is not allowed in HTTP")]
    Header {
        /// Which webhook.
        name: SmolStr,
        /// Which header.
        header: String,
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
    pub fn new(config: WebhookConfig, state: State, clock: Clock) -> Result<Self, NotifyError> {
        let receiver = Receiver::new(&config, clock.clone())?;
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
        stop.run_until_cancelled(self.deliver_all(&leave)).await;
    }

    async fn deliver_all(&self, leave: &CancellationToken) {
        let mut added = self.state.deliveries_added();
        let mut backoff = Backoff::new(self.config.backoff);
        let mut unreadable = Backoff::new(OUTBOX_RETRY);
        while !leave.is_cancelled() {
            added.borrow_and_update();
            let next = tokio::select! {
                next = self.state.next_delivery(&self.config.name) => next,
                // A disk that hangs must not hide what is in memory.
                changed = added.changed() => match changed {
                    Ok(()) => continue,
                    Err(_) => return,
                },
                () = leave.cancelled() => return,
            };
            let delivered = match next {
                Ok(Some(delivery)) => self.deliver(delivery, &mut backoff).await,
                Ok(None) => {
                    unreadable.reset();
                    match leave.run_until_cancelled(added.changed()).await {
                        Some(Ok(())) => continue,
                        Some(Err(_)) | None => return,
                    }
                }
                Err(error) => Err(error),
            };
            match delivered {
                Ok(wait) => {
                    unreadable.reset();
                    leave.run_until_cancelled(tokio::time::sleep(wait)).await;
                }
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

    /// Tries a delivery. Says how long to wait before the next try.
    async fn deliver(
        &self,
        delivery: Delivery,
        backoff: &mut Backoff,
    ) -> Result<Duration, StateError> {
        let (verdict, wait) = match self.receiver.send(&delivery).await {
            Answer::Accepted => {
                if backoff.failures() > 0 {
                    tracing::info!(webhook = %self.config.name, "the webhook answers again");
                }
                backoff.reset();
                (Verdict::Delivered, Duration::ZERO)
            }
            Answer::Refused { error } => {
                tracing::error!(webhook = %self.config.name, id = delivery.id, error, "delivery refused and given up");
                (Verdict::GivenUp { error }, Duration::ZERO)
            }
            Answer::Later { error, after } => {
                if self.is_too_old(&delivery) {
                    tracing::error!(webhook = %self.config.name, id = delivery.id, error, "delivery given up");
                    (Verdict::GivenUp { error }, Duration::ZERO)
                } else {
                    if backoff.failures() == 0 {
                        tracing::warn!(webhook = %self.config.name, error, "delivery failed, trying again");
                    }
                    let wait = backoff.next_wait().max(after.unwrap_or_default());
                    (Verdict::TryAgain { error }, wait)
                }
            }
        };
        self.state.settle(&delivery, verdict).await?;
        Ok(wait)
    }

    /// A clock that jumped ahead makes nothing old: time is counted as it passed, and for a while after a start or a jump nothing is
    /// given up.
    fn is_too_old(&self, delivery: &Delivery) -> bool {
        let limit = self.config.give_up_after;
        self.clock.since(delivery.created) > limit && self.clock.steady_for() >= limit.min(STEADY)
    }
}
