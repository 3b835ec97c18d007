//! One destination: says a delivery in its words, sends it, and says how that ended. It tries once; when to try again is the
//! notifier's business.

use super::{
    Destination, Links, NotifyError, WebhookConfig,
    alertmanager::Pusher,
    formats::{Format, Notice},
    http::HttpSender,
    mqtt, smtp,
};
use crate::{
    clock::Clock,
    model::Timestamp,
    state::{Delivery, Message, State},
};

use std::time::Duration;

/// A link to acknowledge is good for a week after its message was made.
const ACKNOWLEDGE_FOR_MS: i64 = 7 * 86_400_000;

/// How one try ended, before it is judged.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// The receiver has it.
    Accepted,
    /// It may work later; the receiver may have said when.
    Later {
        /// What was wrong, without secrets.
        error: String,
        /// Not before this.
        after: Option<Duration>,
    },
    /// It will never work.
    Refused {
        /// What was wrong, without secrets.
        error: String,
    },
}

/// One try, with what the receiver said.
#[derive(Debug)]
pub(super) struct Tried {
    pub(super) answer: Answer,
    /// The status as the protocol words it: `204 No Content`, `250`, `PUBACK`; none without an answer.
    pub(super) status: Option<String>,
    /// The beginning of its answer, without our secrets.
    pub(super) said: String,
}

impl Tried {
    /// It can't be sent at all.
    pub(super) fn refused(error: String) -> Self {
        Self {
            answer: Answer::Refused { error },
            status: None,
            said: String::new(),
        }
    }

    /// There was no answer.
    pub(super) fn later(error: String, after: Option<Duration>) -> Self {
        Self {
            answer: Answer::Later { error, after },
            status: None,
            said: String::new(),
        }
    }
}

/// A destination, ready to be sent to.
#[derive(Debug)]
pub(super) struct Receiver {
    webhook: String,
    via: Via,
    hears_acknowledgements: bool,
    links: Links,
    clock: Clock,
}

#[derive(Debug)]
enum Via {
    Http(HttpSender, Box<Format>),
    Alertmanager(HttpSender, Pusher),
    Email(smtp::Mailer),
    Mqtt(Box<mqtt::Publisher>),
}

impl Receiver {
    /// Prepares it.
    ///
    /// # Errors
    ///
    /// [`NotifyError`]
    pub(super) fn new(
        config: &WebhookConfig,
        links: Links,
        clock: Clock,
    ) -> Result<Self, NotifyError> {
        let via = match &config.to {
            Destination::Http(endpoint, format) => {
                let sender = HttpSender::new(config, endpoint, format.secrets(), clock.clone())?;
                match format.as_ref() {
                    Format::Alertmanager(config) => {
                        Via::Alertmanager(sender, Pusher::new(config.clone()))
                    }
                    _ => Via::Http(sender, format.clone()),
                }
            }
            Destination::Email(mail) => Via::Email(smtp::Mailer::new(config, mail)?),
            Destination::Mqtt(broker) => Via::Mqtt(Box::new(mqtt::Publisher::new(config, broker)?)),
        };
        Ok(Self {
            webhook: config.name.to_string(),
            via,
            hears_acknowledgements: config.to.hears_acknowledgements(),
            links,
            clock,
        })
    }

    /// Tries once.
    pub(super) async fn send(&self, delivery: &Delivery) -> Answer {
        match Message::from_body(&delivery.body) {
            // Its kind was another when this was put into the outbox.
            Ok(message) if message.acknowledged().is_some() && !self.hears_acknowledgements => {
                Answer::Refused {
                    error: String::from("this kind of webhook does not take acknowledgements"),
                }
            }
            Ok(message) => {
                let attempt = self.attempt(&delivery.id, &message, Some(delivery.created));
                attempt.await.answer
            }
            Err(error) => Answer::Refused {
                error: format!("what the outbox holds can't be read: {error}"),
            },
        }
    }

    /// Tries once, and tells what the receiver said. `created`: when the delivery was made; none: a person tries the webhook.
    pub(super) async fn attempt(
        &self,
        id: &str,
        message: &Message,
        created: Option<Timestamp>,
    ) -> Tried {
        let notice = Notice {
            id,
            webhook: &self.webhook,
            message,
            links: &self.links,
            test: created.is_none(),
            // The same at each try. While the clock is not set, nobody knows when it would end.
            until: created.filter(|at| at.is_set()).map(|at| {
                Timestamp::from_millis(at.as_millis().saturating_add(ACKNOWLEDGE_FOR_MS))
            }),
            now: self.clock.now(),
        };
        // In a box each: what one kind needs must not make the task of every webhook larger.
        match &self.via {
            Via::Http(sender, format) => match format.request(&notice) {
                Ok(request) => Box::pin(sender.post(id, request)).await,
                Err(fault) => Tried::refused(fault.to_string()),
            },
            Via::Alertmanager(sender, pusher) => Box::pin(pusher.send(sender, &notice)).await,
            Via::Email(mailer) => Box::pin(mailer.send(&notice)).await,
            Via::Mqtt(publisher) => Box::pin(publisher.send(&notice)).await,
        }
    }

    /// Tells again what the receiver would forget; never ends. Most forget nothing.
    pub(super) async fn keep_reminded(&self, state: &State) {
        match &self.via {
            Via::Alertmanager(sender, pusher) => {
                let from = (self.webhook.as_str(), &self.links, &self.clock);
                Box::pin(pusher.keep_reminded(sender, state, from)).await;
            }
            Via::Http(..) | Via::Email(_) | Via::Mqtt(_) => std::future::pending().await,
        }
    }
}
