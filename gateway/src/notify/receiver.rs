//! One destination: makes a request from a delivery, sends it, and says how that ended. It tries once; when to try again is the
//! notifier's business. Redirects are not followed.

use std::time::Duration;

use reqwest::{StatusCode, header};

use super::{
    NotifyError, WebhookConfig,
    addresses::{check_url, client},
};
use crate::{clock::Clock, model::Secret, state::Delivery};

/// How one try ended, before it is judged.
#[derive(Debug)]
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

/// A destination, ready to be sent to.
#[derive(Debug)]
pub(super) struct Receiver {
    client: reqwest::Client,
    url: String,
    token: Option<Secret>,
    clock: Clock,
}

impl Receiver {
    /// Prepares it.
    ///
    /// # Errors
    ///
    /// [`NotifyError`]
    pub(super) fn new(config: &WebhookConfig, clock: Clock) -> Result<Self, NotifyError> {
        let mut headers = header::HeaderMap::new();
        for (name, value) in &config.headers {
            let pair = (
                header::HeaderName::try_from(name),
                header::HeaderValue::try_from(value),
            );
            let (Ok(name), Ok(value)) = pair else {
                return Err(NotifyError::Header {
                    name: config.name.clone(),
                    header: name.clone(),
                });
            };
            headers.insert(name, value);
        }
        if let Ok(url) = reqwest::Url::parse(&config.url) {
            check_url(&url).map_err(|source| NotifyError::Address {
                name: config.name.clone(),
                source,
            })?;
        }
        let client = client(config.timeout)
            .default_headers(headers)
            .build()
            .map_err(|source| NotifyError::Client {
                name: config.name.clone(),
                source,
            })?;
        Ok(Self {
            client,
            url: config.url.clone(),
            token: config.token.clone(),
            clock,
        })
    }

    /// Tries once.
    pub(super) async fn send(&self, delivery: &Delivery) -> Answer {
        let mut request = self
            .client
            .post(&self.url)
            .header(header::CONTENT_TYPE, "application/json")
            .header("webhook-id", &delivery.id)
            .header(
                "webhook-timestamp",
                (self.clock.now().as_millis() / 1000).to_string(),
            )
            .body(delivery.body.clone());
        if let Some(token) = &self.token {
            request = request.bearer_auth(&token.0);
        }
        match request.send().await {
            // The address may hold a secret: it stays out of the text.
            Err(error) => Answer::Later {
                error: crate::cause::chain(&error.without_url()),
                after: None,
            },
            Ok(response) => judge(response.status(), response.headers()),
        }
    }
}

/// 2xx is delivered; 408, 425, 429 and 5xx are tried again; everything else is refused for good.
fn judge(status: StatusCode, headers: &header::HeaderMap) -> Answer {
    if status.is_success() {
        return Answer::Accepted;
    }
    let error = format!("the receiver answered {status}");
    let later = status.is_server_error()
        || [
            StatusCode::REQUEST_TIMEOUT,
            StatusCode::TOO_EARLY,
            StatusCode::TOO_MANY_REQUESTS,
        ]
        .contains(&status);
    if later {
        Answer::Later {
            error,
            after: crate::backoff::retry_after(headers),
        }
    } else {
        Answer::Refused { error }
    }
}

#[cfg(test)]
mod tests;
