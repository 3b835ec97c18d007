//! The client: `POST /api/v2/write`, and the only file that names `influxdb2`, which looks up and makes the bucket.
//!
//! Writing is our own request because `influxdb2` hides `Retry-After`, has no time limits, drops a path prefix and can't
//! take a compressed body.

use std::{io::Write as _, time::Duration};

use flate2::{Compression, write::GzEncoder};
use influxdb2::{
    api::{buckets::ListBucketsRequest, organization::ListOrganizationRequest},
    models::PostBucketRequest,
};
use reqwest::{StatusCode, Url, header};
use thiserror::Error;

use super::{Config, refusal::Refusal, settle::Verdict};
use crate::{backoff::retry_after, cause};

/// How much of an answer's body is read: InfluxDB 3 names every bad line of a batch in it.
const MAX_ANSWER_BYTES: usize = 4 << 20;
/// How much of it is shown.
const MAX_WORDS: usize = 1_000;

/// Why the client can't be built.
#[derive(Debug, Error)]
pub enum ClientError {
    /// The address is no address.
    #[error("the InfluxDB address \"{url}\" cannot be used")]
    Url {
        /// What was configured.
        url: String,
    },
    /// The CA file can't be read.
    #[error("cannot read the CA file {path}")]
    CaFile {
        /// Which.
        path: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The HTTP client refuses these settings.
    #[error("cannot prepare the InfluxDB client")]
    Http(#[source] reqwest::Error),
}

/// How a write went, and what the archiver should do about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// What is in the body fared so.
    Final(Verdict),
    /// Send the same again later; the server may have said when.
    Later {
        /// In words.
        error: String,
        /// `Retry-After`.
        after: Option<Duration>,
    },
    /// Something is wrong that is not in the points: keep everything, tell the operator, try again.
    Misconfigured(String),
}

/// A connection to one server.
#[derive(Debug)]
pub struct Influx {
    config: Config,
    http: reqwest::Client,
    write_url: Url,
}

impl Influx {
    /// Prepares the client; nothing is sent.
    ///
    /// # Errors
    ///
    /// [`ClientError`]
    pub fn new(config: Config) -> Result<Self, ClientError> {
        let bad_url = || ClientError::Url {
            url: config.url.clone(),
        };
        let mut write_url = Url::parse(&config.url).map_err(|_| bad_url())?;
        // Appending keeps a path prefix of a reverse proxy.
        write_url
            .path_segments_mut()
            .map_err(|()| bad_url())?
            .pop_if_empty()
            .extend(["api", "v2", "write"]);
        write_url
            .query_pairs_mut()
            .append_pair("org", &config.org)
            .append_pair("bucket", &config.bucket)
            .append_pair("precision", "ns");
        let mut builder = reqwest::Client::builder()
            .timeout(config.timeout)
            .connect_timeout(config.timeout.min(Duration::from_secs(10)))
            .redirect(reqwest::redirect::Policy::none())
            .user_agent(concat!("sensor-gateway/", env!("CARGO_PKG_VERSION")));
        if let Some(path) = &config.ca_file {
            let pem = std::fs::read(path).map_err(|source| ClientError::CaFile {
                path: path.display().to_string(),
                source,
            })?;
            for certificate in
                reqwest::Certificate::from_pem_bundle(&pem).map_err(ClientError::Http)?
            {
                builder = builder.add_root_certificate(certificate);
            }
        }
        let http = builder.build().map_err(ClientError::Http)?;
        Ok(Self {
            config,
            http,
            write_url,
        })
    }

    /// Makes sure that the bucket is there, where the server manages buckets and the token may. Best effort: servers such
    /// as InfluxDB 1 and VictoriaMetrics have none, and writing tells the rest.
    pub async fn ensure_bucket(&self) -> Result<(), String> {
        let (url, org, bucket) = (
            self.config.url.clone(),
            self.config.org.clone(),
            self.config.bucket.clone(),
        );
        let token = self
            .config
            .token
            .as_ref()
            .map(|t| t.0.clone())
            .unwrap_or_default();
        // A task of its own: influxdb2 panics on truncated bodies, and has no time limit.
        let look_up = tokio::spawn(async move {
            let client = influxdb2::Client::new(url, org.clone(), token);
            let request = ListBucketsRequest {
                name: Some(bucket.clone()),
                org: Some(org.clone()),
                ..ListBucketsRequest::default()
            };
            match client.list_buckets(Some(request)).await {
                Ok(found) if !found.buckets.is_empty() => return Ok(()),
                // "Not found" is how InfluxDB 2 says that no bucket has this name.
                Ok(_) | Err(influxdb2::RequestError::Http { status: _, .. }) => {}
                Err(error) => return Err(error.to_string()),
            }
            let request = ListOrganizationRequest {
                org: Some(org),
                ..ListOrganizationRequest::default()
            };
            let organisations = client
                .list_organizations(request)
                .await
                .map_err(|error| error.to_string())?;
            let id = organisations
                .orgs
                .first()
                .and_then(|o| o.id.clone())
                .ok_or("the organisation is not there")?;
            client
                .create_bucket(Some(PostBucketRequest::new(id, bucket)))
                .await
                .map_err(|error| error.to_string())
        });
        match tokio::time::timeout(self.config.timeout, look_up).await {
            Ok(Ok(result)) => result,
            Ok(Err(panic)) => Err(format!("the answer could not be read ({panic})")),
            Err(_) => Err(String::from("no answer in time")),
        }
    }

    /// Writes lines, gzipped.
    pub async fn write(&self, lines: &[u8]) -> Answer {
        let mut request = self
            .http
            .post(self.write_url.clone())
            .header(header::CONTENT_TYPE, "text/plain; charset=utf-8")
            .header(header::CONTENT_ENCODING, "gzip")
            .body(gzip(lines));
        if let Some(token) = &self.config.token {
            request = request.header(header::AUTHORIZATION, format!("Token {}", token.0));
        }
        let response = match request.send().await {
            Ok(response) => response,
            Err(error) => {
                return Answer::Later {
                    error: cause::chain(&error.without_url()),
                    after: None,
                };
            }
        };
        let (status, after) = (response.status(), retry_after(response.headers()));
        if status.is_success() {
            return Answer::Final(Verdict::Stored);
        }
        judge(status, after, &beginning(response).await)
    }
}

/// The beginning of an answer's body. One that can't be read leaves the status, which decides.
async fn beginning(mut response: reqwest::Response) -> String {
    let mut body = Vec::new();
    while body.len() < MAX_ANSWER_BYTES
        && let Ok(Some(chunk)) = response.chunk().await
    {
        body.extend_from_slice(&chunk);
    }
    body.truncate(MAX_ANSWER_BYTES);
    String::from_utf8_lossy(&body).into_owned()
}

/// Level 3: above it compression costs more than everything else on the way together.
fn gzip(lines: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::with_capacity(lines.len() / 4), Compression::new(3));
    // Writing into memory cannot fail.
    let _ = encoder.write_all(lines);
    encoder.finish().unwrap_or_default()
}

/// What an answer other than success means. Verdicts as in Telegraf's `influxdb_v2` output, except that a refused body is
/// searched for its bad points only if the words speak of points (see [`Refusal`]).
pub(super) fn judge(status: StatusCode, after: Option<Duration>, body: &str) -> Answer {
    let words = || {
        let body = body.trim();
        let body = &body[..body.floor_char_boundary(MAX_WORDS)];
        if body.is_empty() {
            status.to_string()
        } else {
            format!("{status}: {body}")
        }
    };
    if matches!(status.as_u16(), 400 | 422)
        && let Some(refusal) = Refusal::read(body)
    {
        return Answer::Final(Verdict::Refused(refusal));
    }
    match status.as_u16() {
        413 => Answer::Final(Verdict::TooLarge),
        401 | 403 => Answer::Misconfigured(format!(
            "{}: check the token and its rights on the bucket",
            words()
        )),
        404 => Answer::Misconfigured(format!("{}: check org and bucket", words())),
        408 | 425 | 429 | 500..=599 => Answer::Later {
            error: words(),
            after,
        },
        _ => Answer::Misconfigured(words()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_prefix_of_the_address_is_kept() {
        drop(rustls::crypto::ring::default_provider().install_default());
        let influx =
            Influx::new(super::super::tests::config("http://proxy.example/influx/")).unwrap();
        assert_eq!(
            influx.write_url.as_str(),
            "http://proxy.example/influx/api/v2/write?org=farm&bucket=plant&precision=ns"
        );
    }
}
