//! One POST a message, over a kept connection. 2xx is an acknowledgement; 408, 429, 5xx and a broken connection are
//! tried again with the same body, after `Retry-After` (at most 30 s) or a back-off; any other answer is a refusal for
//! good. A device sends one message at a time, so it falls behind its plan while the server is away, and catches up later.

use std::time::Duration;

use reqwest::{StatusCode, header};
use tokio::time::{Instant, sleep, sleep_until};

use super::{Account, TransportError};
use crate::{
    backoff::Backoff,
    plan::Message,
    scenario::{Format, Http},
};

const TIME_LIMIT: Duration = Duration::from_secs(30);
const LONGEST_RETRY_AFTER: u64 = 30;

/// The HTTP client of one device.
#[derive(Debug)]
pub struct HttpLink {
    client: reqwest::Client,
    url: String,
    content_type: &'static str,
    account: Account,
    offline_until: Instant,
}

/// An HTTP client on rustls with ring, with a time limit.
///
/// # Errors
///
/// When TLS can't be set up.
pub fn client() -> Result<reqwest::Client, TransportError> {
    // An error says that a provider is installed already, which is as good.
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder()
        .timeout(TIME_LIMIT)
        .build()
        .map_err(TransportError::Http)
}

/// How a POST ended.
#[derive(Debug)]
pub enum Answer {
    /// 2xx
    Acknowledged,
    /// It may work later; after so long, if the server said.
    Later(Option<Duration>, String),
    /// It will never work.
    Refused(String),
}

/// Posts once.
pub async fn post(
    client: &reqwest::Client,
    url: &str,
    content_type: &'static str,
    body: bytes::Bytes,
) -> Answer {
    let request = client
        .post(url)
        .header(header::CONTENT_TYPE, content_type)
        .body(body);
    let response = match request.send().await {
        Ok(response) => response,
        Err(error) => return Answer::Later(None, error.to_string()),
    };
    let status = response.status();
    if status.is_success() {
        // The body is read so that the connection can be used again; what it says does not matter.
        let _ = response.bytes().await;
        return Answer::Acknowledged;
    }
    let wait = response
        .headers()
        .get(header::RETRY_AFTER)
        .and_then(|after| after.to_str().ok()?.parse::<u64>().ok())
        .map(|seconds| Duration::from_secs(seconds.min(LONGEST_RETRY_AFTER)));
    let text = response.text().await.unwrap_or_default();
    let text = format!("{status}: {text}");
    if status.is_server_error()
        || matches!(
            status,
            StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS
        )
    {
        Answer::Later(wait, text)
    } else {
        Answer::Refused(text)
    }
}

impl HttpLink {
    pub(super) fn open(
        http: &Http,
        format: Format,
        account: Account,
    ) -> Result<Self, TransportError> {
        Ok(Self {
            client: client()?,
            url: http.url.clone(),
            content_type: match format {
                Format::Json => "application/json",
                _ => "text/plain; charset=utf-8",
            },
            account,
            offline_until: Instant::now(),
        })
    }

    pub(super) fn disconnect(&mut self, lasts: Duration) {
        self.offline_until = Instant::now() + lasts;
    }

    pub(super) async fn send(&mut self, message: Message) -> Result<(), TransportError> {
        sleep_until(self.offline_until).await;
        let parcel = self.account.parcel(message);
        self.account.sent(&parcel)?;
        let mut backoff = Backoff::default();
        let mut reported = false;
        loop {
            let body = parcel.message.payload.clone();
            match post(&self.client, &self.url, self.content_type, body).await {
                Answer::Acknowledged => {
                    self.account.acknowledged(parcel.id)?;
                    return Ok(());
                }
                Answer::Refused(answer) => {
                    tracing::debug!(device = %self.account.device, answer, "a message was refused");
                    self.account.refused(parcel.id, &answer)?;
                    return Ok(());
                }
                Answer::Later(wait, error) => {
                    if !std::mem::replace(&mut reported, true) {
                        tracing::warn!(
                            device = %self.account.device, url = %self.url, error,
                            "can't deliver, trying again"
                        );
                    }
                    sleep(wait.unwrap_or_else(|| backoff.next_wait())).await;
                    self.account.again(parcel.id)?;
                }
            }
        }
    }
}
