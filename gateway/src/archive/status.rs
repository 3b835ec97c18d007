//! How the archive stands: for the status page, the live stream and the metrics.

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric},
    metrics::{counter::Counter, gauge::ConstGauge},
    registry::Registry,
};

use super::CURSOR;
use crate::journal::Journal;

/// How the archive stands.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct ArchiveStatus {
    /// `disabled`, `connecting`, `writing` or `failing`.
    pub state: &'static str,
    /// The last error in words, with what to do.
    pub detail: String,
    /// Readings written since the start of the process.
    pub written: u64,
    /// Readings that the server refused for good.
    pub refused: u64,
    /// Records of the journal not yet archived, in both lanes.
    pub lag_records: u64,
    /// What came in lately.
    pub fresh: FreshStatus,
    /// What was left behind while the archive was away.
    pub backfill: BackfillStatus,
    /// Points that the server refused for good and that are kept.
    pub dead_letters: u64,
}

/// The lane of fresh readings.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct FreshStatus {
    /// Records that wait.
    pub lag_records: u64,
    /// Readings in them, about.
    pub lag_readings: u64,
}

/// The lane of what was left behind.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct BackfillStatus {
    /// `idle` (nothing is left), `writing`, `paused` (fresh readings do not get through) or `failing`.
    pub state: &'static str,
    /// Records that wait.
    pub lag_records: u64,
    /// Readings in them, about.
    pub lag_readings: u64,
    /// Stretches of the journal in which they are.
    pub stretches: u64,
    /// Readings a second, as last measured; 0 when nothing is written.
    pub rate: u64,
    /// Readings written since the start of the process.
    pub written: u64,
}

impl ArchiveStatus {
    /// Without an archive; what was written `before` stays counted.
    #[must_use]
    pub fn disabled(before: &Self) -> Self {
        Self {
            state: "disabled",
            written: before.written,
            refused: before.refused,
            backfill: BackfillStatus {
                state: "idle",
                written: before.backfill.written,
                ..BackfillStatus::default()
            },
            ..Self::default()
        }
    }

    /// Puts in how much waits in the journal now.
    pub fn look(&mut self, journal: &Journal) {
        let backlog = journal.backlog(CURSOR);
        self.lag_records = backlog.records();
        self.fresh.lag_records = backlog.fresh.records;
        self.fresh.lag_readings = backlog.fresh.readings;
        self.backfill.lag_records = backlog.behind.records;
        self.backfill.lag_readings = backlog.behind.readings;
        self.backfill.stretches = backlog.stretches as u64;
    }
}

/// What the archive counts, over all archivers of the process.
#[derive(Clone, Debug, Default)]
pub struct Metrics {
    pub(super) written: Counter,
    pub(super) backfilled: Counter,
    pub(super) refused: Counter,
    pub(super) failures: Counter,
}

impl Metrics {
    /// Registers them, and the lag of the archive's cursor.
    #[must_use]
    pub fn new(journal: Journal, registry: &mut Registry) -> Self {
        let metrics = Self::default();
        for (name, help, counter) in [
            (
                "gateway_archive_written",
                "Readings that InfluxDB has stored",
                &metrics.written,
            ),
            (
                "gateway_archive_backfilled",
                "Those of them that had been left behind",
                &metrics.backfilled,
            ),
            (
                "gateway_archive_refused",
                "Readings that InfluxDB refused for good",
                &metrics.refused,
            ),
            (
                "gateway_archive_failures",
                "Writes to InfluxDB that failed and were tried again",
                &metrics.failures,
            ),
        ] {
            registry.register(name, help, counter.clone());
        }
        registry.register_collector(Box::new(Lag(journal)));
        metrics
    }
}

/// The lag as it is when somebody asks.
#[derive(Debug)]
struct Lag(Journal);

impl Collector for Lag {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let backlog = self.0.backlog(CURSOR);
        for (name, help, value) in [
            (
                "gateway_archive_lag_records",
                "Journal records not yet archived",
                backlog.records(),
            ),
            (
                "gateway_archive_backfill_lag_records",
                "Those of them that were left behind, to be back-filled",
                backlog.behind.records,
            ),
            (
                "gateway_archive_backfill_stretches",
                "Stretches of the journal that were left behind",
                backlog.stretches as u64,
            ),
        ] {
            let gauge = ConstGauge::new(i64::try_from(value).unwrap_or(i64::MAX));
            let metric = encoder.encode_descriptor(name, help, None, gauge.metric_type())?;
            gauge.encode(metric)?;
        }
        Ok(())
    }
}
