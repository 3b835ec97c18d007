//! To InfluxDB: a cursor over the journal. InfluxDB being away for a week is a cursor that stands still.
//!
//! Lines go out in journal order, gzipped, in batches; the cursor moves on when the server has stored them (or has refused single
//! points for good, which are counted and told). Points are idempotent: after a crash the last batch is sent again, and
//! is the same points. Nothing is held in memory but the batch under way.

pub mod influx;
pub mod line;

use std::{collections::BTreeMap, ops::Range, path::PathBuf, time::Duration};

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric},
    metrics::{counter::Counter, gauge::ConstGauge},
    registry::Registry,
};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use self::{
    influx::{Answer, ClientError, Influx},
    line::{Encoder, Lines},
};
use crate::{
    backoff::Backoff,
    journal::{Cursor, Journal, Position},
    model::Secret,
    store::DeviceConfig,
};

/// Where the archive is and how it is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Base address, a path prefix included: `https://influx.example.org:8086`.
    pub url: String,
    /// Organisation.
    pub org: String,
    /// Bucket; made at start if it is missing and the token may.
    pub bucket: String,
    /// The token itself, already read from its file or environment variable. Never printed.
    pub token: Option<Secret>,
    /// A PEM file with the CA, if it is not a public one.
    pub ca_file: Option<PathBuf>,
    /// The measurement of readings whose source has none of its own. Default `sensor`.
    pub measurement: String,
    /// Per source another measurement.
    pub measurements: BTreeMap<String, String>,
    /// Lines in one request at most. Default 5 000.
    pub batch_lines: usize,
    /// How long a request may take. Default 30 s.
    pub timeout: Duration,
    /// How long a batch may wait to fill. Default 1 s.
    pub linger: Duration,
    /// The waits after failures; a `Retry-After` is honoured instead where it is longer.
    pub backoff: crate::backoff::Config,
}

/// How the archive stands, for the status page.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct ArchiveStatus {
    /// `disabled`, `connecting`, `writing` or `failing`.
    pub state: &'static str,
    /// The last error in words, with what to do.
    pub detail: String,
    /// Points written since the start of the process.
    pub written: u64,
    /// Points that the server refused for good.
    pub refused: u64,
    /// Records of the journal not yet archived.
    pub lag_records: u64,
}

/// The name of the archive's cursor in the journal.
pub const CURSOR: &str = "influxdb";
/// How often the lag is told when nothing else is.
const TELL_LAG_EVERY: Duration = Duration::from_secs(5);
/// A refused point is logged this often at most; all are counted.
const LOG_REFUSED_EVERY: u64 = 100;

/// The archiver, ready to run.
#[derive(Debug)]
pub struct Archiver {
    config: Config,
    influx: Influx,
    encoder: Encoder,
    cursor: Cursor,
    journal: Journal,
    status: watch::Sender<ArchiveStatus>,
    metrics: Metrics,
    backoff: Backoff,
}

/// The archive's counters, over all archivers of the process.
#[derive(Clone, Debug, Default)]
pub struct Metrics {
    written: Counter,
    refused: Counter,
    failures: Counter,
}

impl Metrics {
    /// Registers `gateway_archive_written_total`, `gateway_archive_refused_total`, `gateway_archive_failures_total` and
    /// `gateway_archive_lag_records`.
    #[must_use]
    pub fn new(journal: Journal, registry: &mut Registry) -> Self {
        let metrics = Self::default();
        registry.register(
            "gateway_archive_written",
            "Readings that InfluxDB has stored",
            metrics.written.clone(),
        );
        registry.register(
            "gateway_archive_refused",
            "Readings that InfluxDB refused for good",
            metrics.refused.clone(),
        );
        registry.register(
            "gateway_archive_failures",
            "Writes to InfluxDB that failed and were tried again",
            metrics.failures.clone(),
        );
        registry.register_collector(Box::new(Lag(journal)));
        metrics
    }
}

/// The lag as it is when somebody asks.
#[derive(Debug)]
struct Lag(Journal);

impl Collector for Lag {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let lag = i64::try_from(self.0.lag(CURSOR)).unwrap_or(i64::MAX);
        let gauge = ConstGauge::new(lag);
        let metric = encoder.encode_descriptor(
            "gateway_archive_lag_records",
            "Journal records not yet archived",
            None,
            gauge.metric_type(),
        )?;
        gauge.encode(metric)
    }
}

impl Archiver {
    /// Prepares the archive; nothing is sent yet. `status` and `metrics` may be those of an archiver before this one, which
    /// must have ended: what it wrote stays counted.
    ///
    /// # Errors
    ///
    /// [`ClientError`]
    pub fn new(
        config: Config,
        devices: &[DeviceConfig],
        site: Option<String>,
        journal: Journal,
        status: watch::Sender<ArchiveStatus>,
        metrics: Metrics,
    ) -> Result<Self, ClientError> {
        let influx = Influx::new(config.clone())?;
        let encoder = Encoder::new(&config, devices, site);
        let backoff = Backoff::new(config.backoff);
        Ok(Self {
            config,
            influx,
            encoder,
            cursor: journal.cursor(CURSOR),
            journal,
            status,
            metrics,
            backoff,
        })
    }

    /// Writes until the journal is closed and all of it is written, or until `stop`. What was not written then is
    /// written after the next start.
    pub async fn run(mut self, stop: CancellationToken) {
        let (journal, status) = (self.journal.clone(), self.status.clone());
        self.report("connecting", String::new());
        // Ends between two awaits: the cursor moves only after a success, so nothing is skipped.
        let archiving = async {
            tokio::select! {
                () = self.archive_all() => {}
                () = tell_lag(journal, status) => {}
            }
        };
        stop.run_until_cancelled(archiving).await;
    }

    async fn archive_all(&mut self) {
        if let Err(error) = self.influx.ensure_bucket().await {
            tracing::info!(
                bucket = self.config.bucket,
                error,
                "could not look the bucket up; writing will tell"
            );
        }
        let mut lines = Lines::default();
        loop {
            lines.clear();
            let Some(last) = self.gather(&mut lines).await else {
                return;
            };
            self.store(&lines, 0..lines.len()).await;
            if let Err(error) = self.cursor.advance(last).await {
                // The points are stored; at worst they are sent again after a restart, and are the same points.
                tracing::warn!(%error, "cannot write down how far the archive is");
            }
            self.report("writing", String::new());
        }
    }

    /// Fills `lines` with the next batch: what is there, and what comes within the linger. `None` at the journal's end.
    async fn gather(&mut self, lines: &mut Lines) -> Option<Position> {
        let mut last = self.cursor.position();
        let linger = tokio::time::sleep(self.config.linger);
        tokio::pin!(linger);
        let mut any = false;
        while lines.len() < self.config.batch_lines {
            let room = self.config.batch_lines - lines.len();
            let read = self.cursor.read(last, room);
            let entries = if any {
                tokio::select! {
                    entries = read => entries,
                    () = &mut linger => break,
                }
            } else {
                read.await
            };
            let Some(newest) = entries.last() else { break };
            last = newest.position;
            for entry in &entries {
                self.encoder.encode(entry, lines);
            }
            if !any {
                any = true;
                linger
                    .as_mut()
                    .reset(tokio::time::Instant::now() + self.config.linger);
            }
        }
        any.then_some(last)
    }

    /// Sends lines until each is stored or refused for good.
    async fn store(&mut self, lines: &Lines, all: Range<usize>) {
        // Halves that wait, the first to be sent on top: order is kept.
        let mut waiting = vec![all];
        while let Some(range) = waiting.pop() {
            if range.is_empty() {
                continue;
            }
            let halves = |waiting: &mut Vec<Range<usize>>| {
                let middle = range.start + range.len() / 2;
                waiting.push(middle..range.end);
                waiting.push(range.start..middle);
            };
            match self.influx.write(lines.slice(range.clone())).await {
                Answer::Stored => {
                    let share = lines.readings(range.clone());
                    self.metrics.written.inc_by(share);
                    self.status.send_modify(|s| s.written += share);
                    if self.backoff.failures() > 0 {
                        tracing::info!("InfluxDB takes readings again");
                    }
                    self.backoff.reset();
                }
                Answer::TooLarge | Answer::BadPoints(_) if range.len() > 1 => halves(&mut waiting),
                Answer::TooLarge => self.refuse(lines, &range, "413: a single line is too large"),
                Answer::BadPoints(words) => self.refuse(lines, &range, &words),
                Answer::Later { error, after } => {
                    waiting.push(range);
                    self.fail(error, after).await;
                }
                Answer::Misconfigured(error) => {
                    waiting.push(range);
                    self.fail(error, None).await;
                }
            }
        }
    }

    fn refuse(&self, lines: &Lines, range: &Range<usize>, words: &str) {
        let share = lines.readings(range.clone());
        if self.metrics.refused.get().is_multiple_of(LOG_REFUSED_EVERY) {
            let line = String::from_utf8_lossy(lines.slice(range.clone()));
            tracing::error!(line = %line.trim_end(), answer = words, "InfluxDB refused a point for good");
        }
        self.metrics.refused.inc_by(share);
        self.status.send_modify(|s| s.refused += share);
    }

    async fn fail(&mut self, error: String, after: Option<Duration>) {
        if self.backoff.failures() == 0 {
            tracing::warn!(
                error,
                "InfluxDB does not take readings; they wait in the journal"
            );
        }
        self.metrics.failures.inc();
        self.report("failing", error);
        let wait = self.backoff.next_wait().max(after.unwrap_or_default());
        tokio::time::sleep(wait).await;
    }

    fn report(&self, state: &'static str, detail: String) {
        let lag = self.journal.lag(CURSOR);
        self.status.send_if_modified(|status| {
            let changed = status.state != state || status.detail != detail;
            (status.state, status.detail, status.lag_records) = (state, detail, lag);
            changed
        });
    }
}

/// The lag grows while a request hangs and between two tries, when the archiver itself says nothing.
async fn tell_lag(journal: Journal, status: watch::Sender<ArchiveStatus>) {
    loop {
        tokio::time::sleep(TELL_LAG_EVERY).await;
        let lag = journal.lag(CURSOR);
        status.send_if_modified(|status| std::mem::replace(&mut status.lag_records, lag) != lag);
    }
}

#[cfg(test)]
mod tests;
