//! Tries a webhook when a person asks for it: a message that says that it is a test goes straight to the receiver, not through the outbox,
//! once, and the person sees the receiver's real answer.

use serde::Serialize;
use tokio::time::Instant;

use super::{
    Links, NotifyError, WebhookConfig,
    receiver::{Answer, Receiver},
    samples,
};
use crate::clock::Clock;

/// What came of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Trial {
    /// The webhook's name.
    pub webhook: String,
    /// What it is.
    pub kind: &'static str,
    /// Whether the receiver took it.
    pub delivered: bool,
    /// Its status as the protocol words it, such as `204 No Content`, `250` or `PUBACK`; none without an answer.
    pub status: Option<String>,
    /// The first 500 bytes of its answer, without our secrets.
    pub body: String,
    /// Why it was not delivered; none if it was.
    pub error: Option<String>,
    /// How long it took, milliseconds.
    pub took_ms: u64,
}

/// Sends a test, once.
///
/// # Errors
///
/// [`NotifyError`] when the webhook can't be used at all.
pub async fn trial(
    config: &WebhookConfig,
    links: Links,
    clock: Clock,
) -> Result<Trial, NotifyError> {
    let receiver = Receiver::new(config, links, clock.clone())?;
    let now = clock.now();
    let id = format!("test-{}-{:08x}", now.as_millis(), fastrand::u32(..));
    let message = samples::test(&config.name, &id, now);
    let began = Instant::now();
    let tried = receiver.attempt(&id, &message, None).await;
    let error = match tried.answer {
        Answer::Accepted => None,
        Answer::Later { error, .. } | Answer::Refused { error } => Some(error),
    };
    Ok(Trial {
        webhook: config.name.to_string(),
        kind: config.to.kind(),
        delivered: error.is_none(),
        status: tried.status,
        body: tried.said,
        error,
        took_ms: u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX),
    })
}
