//! Reads raw points from an archive: the gateway's own API, or VictoriaMetrics.

use std::time::Duration;

use reqwest::StatusCode;
use serde::Deserialize;

use crate::{signal::Value, transport::http};

/// What the gateway's API gives at most in one answer.
const PAGE: usize = 5_000;
/// Pages are planned this full, so that an uneven rate seldom overfills one.
const PLANNED: usize = 3_000;
const TIME_LIMIT: Duration = Duration::from_secs(60);

/// An archive that can be read.
#[derive(Clone, Debug)]
pub struct Archive {
    client: reqwest::Client,
    url: reqwest::Url,
    kind: Kind,
}

#[derive(Clone, Debug)]
enum Kind {
    Gateway,
    Victoria { measurement: String },
}

/// An archive that can't be read.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    /// The address can't be used.
    #[error("`{0}` is no http address")]
    Address(String),
    /// No HTTP client.
    #[error("can't set up the http client")]
    Client(#[source] crate::transport::TransportError),
    /// No answer, or a broken one.
    #[error("no usable answer")]
    Request(#[from] reqwest::Error),
    /// An error answer.
    #[error("the server answered {status}: {text}")]
    Status {
        /// Its code.
        status: StatusCode,
        /// What it said.
        text: String,
    },
    /// The answer is not what the documentation says.
    #[error("the answer is not understood")]
    Answer(#[from] serde_json::Error),
    /// So many points in one millisecond that they are never given raw.
    #[error("more than {PAGE} points at {0} ms since the epoch")]
    TooDense(i64),
}

/// The answer of `/api/v1/series/{device}/{metric}/points`.
#[derive(Deserialize)]
struct Points {
    bucket_ms: Option<i64>,
    t: Vec<i64>,
    v: Option<Vec<Value>>,
}

/// One line of `/api/v1/export`.
#[derive(Deserialize)]
struct Exported {
    values: Vec<Option<Value>>,
    timestamps: Vec<i64>,
}

impl Archive {
    /// A gateway's embedded archive and memory, by its HTTP API; `url` such as `http://127.0.0.1:8080`.
    ///
    /// # Errors
    ///
    /// When the address can't be used.
    pub fn gateway(url: &str) -> Result<Self, ArchiveError> {
        Self::new(url, Kind::Gateway)
    }

    /// VictoriaMetrics by `/api/v1/export`; `url` such as `http://127.0.0.1:8428`. A metric `m` is looked for as
    /// `<measurement>_m` with the label `device`, as VictoriaMetrics names what comes by line protocol. Start the
    /// server with `-dedup.minScrapeInterval=1ms`, so that a point written twice is one point as in InfluxDB; otherwise it
    /// is reported as repeated.
    ///
    /// # Errors
    ///
    /// When the address can't be used.
    pub fn victoria(url: &str, measurement: &str) -> Result<Self, ArchiveError> {
        let measurement = measurement.to_owned();
        Self::new(url, Kind::Victoria { measurement })
    }

    fn new(url: &str, kind: Kind) -> Result<Self, ArchiveError> {
        let parsed = reqwest::Url::parse(url)
            .ok()
            .filter(|url| url.has_host() && !url.cannot_be_a_base());
        Ok(Self {
            client: http::client().map_err(ArchiveError::Client)?,
            url: parsed.ok_or_else(|| ArchiveError::Address(url.to_owned()))?,
            kind,
        })
    }

    pub(super) const fn holds_texts(&self) -> bool {
        matches!(self.kind, Kind::Gateway)
    }

    /// All points of a series from `from_ms` to before `to_ms`, raw, as `(milliseconds, value)` in the order of time.
    /// `count` is how many are expected, for the size of the pages. A series that is not there has none.
    ///
    /// # Errors
    ///
    /// When the archive does not answer as documented.
    pub async fn points(
        &self,
        device: &str,
        metric: &str,
        from_ms: i64,
        to_ms: i64,
        count: usize,
    ) -> Result<Vec<(i64, Value)>, ArchiveError> {
        match &self.kind {
            Kind::Gateway => self.pages(device, metric, from_ms, to_ms, count).await,
            Kind::Victoria { measurement } => {
                let name = format!("{measurement}_{metric}");
                self.export(device, &name, from_ms, to_ms).await
            }
        }
    }

    async fn pages(
        &self,
        device: &str,
        metric: &str,
        from_ms: i64,
        to_ms: i64,
        count: usize,
    ) -> Result<Vec<(i64, Value)>, ArchiveError> {
        let mut points = Vec::with_capacity(count);
        let pages = i64::try_from(count.div_ceil(PLANNED))
            .unwrap_or(i64::MAX)
            .max(1);
        let mut width = ((to_ms - from_ms) / pages).max(1);
        let mut from = from_ms;
        while from < to_ms {
            let to = from.saturating_add(width).min(to_ms);
            let Some(page) = self.page(device, metric, from, to).await? else {
                return Ok(Vec::new());
            };
            let Some(values) = page.v.filter(|_| page.bucket_ms.is_none()) else {
                // Too many for raw points: look at half of it.
                if width == 1 {
                    return Err(ArchiveError::TooDense(from));
                }
                width = (width / 2).max(1);
                continue;
            };
            // Whether the end is included is left open, so it is cut off here and comes with the next page.
            let within = |(time, _): &(i64, Value)| (from..to).contains(time);
            points.extend(page.t.into_iter().zip(values).filter(within));
            from = to;
        }
        Ok(points)
    }

    /// `None` when there is no such series.
    async fn page(
        &self,
        device: &str,
        metric: &str,
        from_ms: i64,
        to_ms: i64,
    ) -> Result<Option<Points>, ArchiveError> {
        let mut url = self.url.clone();
        if let Ok(mut path) = url.path_segments_mut() {
            path.pop_if_empty()
                .extend(["api", "v1", "series", device, metric, "points"]);
        }
        url.query_pairs_mut()
            .append_pair("from", &from_ms.to_string())
            .append_pair("to", &to_ms.to_string())
            .append_pair("points", &PAGE.to_string());
        match self.get(url).await {
            Ok(body) => Ok(Some(serde_json::from_slice(&body)?)),
            Err(ArchiveError::Status {
                status: StatusCode::NOT_FOUND,
                ..
            }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    async fn export(
        &self,
        device: &str,
        name: &str,
        from_ms: i64,
        to_ms: i64,
    ) -> Result<Vec<(i64, Value)>, ArchiveError> {
        let quoted = |text: &str| text.replace('\\', "\\\\").replace('"', "\\\"");
        let selector = format!(
            "{{__name__=\"{}\",device=\"{}\"}}",
            quoted(name),
            quoted(device)
        );
        let mut url = self.url.clone();
        if let Ok(mut path) = url.path_segments_mut() {
            path.pop_if_empty().extend(["api", "v1", "export"]);
        }
        url.query_pairs_mut()
            .append_pair("match[]", &selector)
            .append_pair("start", &seconds(from_ms))
            .append_pair("end", &seconds(to_ms));
        let body = self.get(url).await?;
        let mut points = Vec::new();
        for line in body.split(|byte| *byte == b'\n').filter(|l| !l.is_empty()) {
            let series: Exported = serde_json::from_slice(line)?;
            points.extend(
                series
                    .timestamps
                    .into_iter()
                    .zip(series.values)
                    .filter(|(time, _)| (from_ms..to_ms).contains(time))
                    .map(|(time, value)| (time, value.unwrap_or(Value::Float(f64::NAN)))),
            );
        }
        points.sort_by_key(|(time, _)| *time);
        Ok(points)
    }

    async fn get(&self, url: reqwest::Url) -> Result<Vec<u8>, ArchiveError> {
        let response = self.client.get(url).timeout(TIME_LIMIT).send().await?;
        let status = response.status();
        if !status.is_success() {
            let text = response.text().await.unwrap_or_default();
            let text = text.chars().take(300).collect();
            return Err(ArchiveError::Status { status, text });
        }
        Ok(response.bytes().await?.to_vec())
    }
}

/// VictoriaMetrics takes seconds with decimals.
fn seconds(millis: i64) -> String {
    let sign = if millis < 0 { "-" } else { "" };
    let millis = millis.unsigned_abs();
    format!("{sign}{}.{:03}", millis / 1_000, millis % 1_000)
}
