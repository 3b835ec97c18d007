//! Sends a request over HTTP, once, and says how that ended. Redirects are not followed, and of an answer only its beginning is read.

use std::time::Duration;

use reqwest::{StatusCode, Url, header};

use super::{
    Endpoint, NotifyError, WebhookConfig,
    addresses::{check_url, client},
    formats::{Request, discord},
    receiver::{Answer, Tried},
    signature,
};
use crate::{clock::Clock, model::Secret};

/// Bytes of an answer that are read.
const MAX_READ: usize = 500;
/// Characters of an answer that an error repeats.
const MAX_SAID: usize = 200;
/// A shorter secret could stand in a text by chance.
const MIN_SECRET: usize = 6;

/// An address, ready to be sent to.
#[derive(Debug)]
pub(super) struct HttpSender {
    client: reqwest::Client,
    endpoint: Endpoint,
    /// What must not be repeated from an answer.
    secrets: Vec<Secret>,
    /// Whether a 429 says in its body how long to wait.
    waits_in_body: bool,
    clock: Clock,
}

impl HttpSender {
    /// Prepares it. `secrets` are those of the format.
    ///
    /// # Errors
    ///
    /// [`NotifyError`]
    pub(super) fn new(
        config: &WebhookConfig,
        endpoint: &Endpoint,
        secrets: Vec<&Secret>,
        clock: Clock,
    ) -> Result<Self, NotifyError> {
        let mut headers = header::HeaderMap::new();
        for (name, value) in &endpoint.headers {
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
        if let Ok(url) = Url::parse(&endpoint.url.0) {
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
        let mut secrets: Vec<Secret> = secrets.into_iter().cloned().collect();
        secrets.extend(endpoint.token.clone());
        secrets.push(endpoint.url.clone());
        if let Ok(url) = Url::parse(&endpoint.url.0) {
            secrets.push(Secret(url.path().to_owned()));
            secrets.extend(url.query().map(|query| Secret(query.to_owned())));
        }
        secrets.retain(|secret| secret.0.len() >= MIN_SECRET);
        // The whole before its parts.
        secrets.sort_by_key(|secret| std::cmp::Reverse(secret.0.len()));
        Ok(Self {
            client,
            endpoint: endpoint.clone(),
            secrets,
            waits_in_body: config.to.kind() == "discord",
            clock,
        })
    }

    /// Tries once. `id` is the delivery's.
    pub(super) async fn post(&self, id: &str, request: Request) -> Tried {
        let url = match self.address(&request) {
            Ok(url) => url,
            Err(error) => return Tried::refused(error),
        };
        let timestamp = (self.clock.now().as_millis() / 1000).to_string();
        let mut headers = header::HeaderMap::new();
        let mut all = vec![
            ("content-type", request.content_type.as_str()),
            ("webhook-id", id),
            ("webhook-timestamp", &timestamp),
        ];
        let keys = &self.endpoint.signing_keys;
        let signature = signature::sign(keys, id, &timestamp, &request.body);
        all.extend(signature.as_deref().map(|s| ("webhook-signature", s)));
        let bearer = self
            .endpoint
            .token
            .as_ref()
            .map(|token| format!("Bearer {}", token.0));
        all.extend(bearer.as_deref().map(|bearer| ("authorization", bearer)));
        all.extend(
            request
                .headers
                .iter()
                .map(|(name, value)| (name.as_str(), value.as_str())),
        );
        for (name, value) in all {
            let (Ok(name), Ok(value)) = (
                header::HeaderName::try_from(name),
                header::HeaderValue::try_from(value),
            ) else {
                return Tried::refused(format!("the header \"{name}\" can't be sent over HTTP"));
            };
            headers.insert(name, value);
        }
        let sent = self
            .client
            .post(url)
            .headers(headers)
            .body(request.body)
            .send();
        match sent.await {
            // The address may hold a secret: it stays out of the text.
            Err(error) => Tried::later(crate::cause::chain(&error.without_url()), None),
            Ok(mut response) => {
                let (status, headers) = (response.status(), response.headers().clone());
                let mut body = Vec::new();
                // What does not come any more is not missed: the status counts.
                while let Ok(Some(chunk)) = response.chunk().await {
                    body.extend_from_slice(&chunk);
                    if body.len() >= MAX_READ {
                        body.truncate(MAX_READ);
                        break;
                    }
                }
                let body = self.scrubbed(&String::from_utf8_lossy(&body));
                let wait = self
                    .waits_in_body
                    .then(|| discord::retry_after(&body))
                    .flatten();
                Tried {
                    answer: judge(status, &headers, &body, wait),
                    status: Some(status.to_string()),
                    said: body,
                }
            }
        }
    }

    fn address(&self, request: &Request) -> Result<Url, String> {
        let base = request.url.as_ref().unwrap_or(&self.endpoint.url);
        let mut url =
            Url::parse(&base.0).map_err(|error| format!("the address can't be used: {error}"))?;
        if !request.path.is_empty() {
            let Ok(mut path) = url.path_segments_mut() else {
                return Err(String::from("the address can't have a path"));
            };
            path.pop_if_empty().extend(&request.path);
        }
        if let Some((name, value)) = request.query {
            url.query_pairs_mut().append_pair(name, value);
        }
        Ok(url)
    }

    /// A text of the receiver without what is secret.
    fn scrubbed(&self, text: &str) -> String {
        let mut text = text.to_owned();
        for secret in &self.secrets {
            text = text.replace(&secret.0, "…");
        }
        text
    }
}

/// 2xx is delivered; 408, 425, 429 and 5xx are tried again; everything else is refused for good.
fn judge(
    status: StatusCode,
    headers: &header::HeaderMap,
    body: &str,
    wait: Option<Duration>,
) -> Answer {
    if status.is_success() {
        return Answer::Accepted;
    }
    let mut error = format!("the receiver answered {status}");
    let said: String = body
        .split_whitespace()
        .collect::<Vec<_>>()
        .join(" ")
        .chars()
        .take(MAX_SAID)
        .collect();
    if !said.is_empty() {
        error.push_str(": ");
        error.push_str(&said);
    }
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
            after: crate::backoff::retry_after(headers).max(wait),
        }
    } else {
        Answer::Refused { error }
    }
}

#[cfg(test)]
mod tests;
