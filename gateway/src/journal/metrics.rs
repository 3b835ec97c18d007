//! What the journal counts.

use std::sync::atomic::AtomicU64;

use prometheus_client::{
    metrics::{counter::Counter, gauge::Gauge, histogram::Histogram},
    registry::Registry,
};

/// All of it, registered under `gateway_journal_…`.
#[derive(Debug)]
pub(super) struct Metrics {
    pub(super) records: Counter,
    pub(super) readings: Counter,
    pub(super) written: Counter,
    pub(super) syncs: Counter,
    pub(super) sync_seconds: Histogram,
    pub(super) hastened: Counter,
    pub(super) not_hastened: Counter,
    pub(super) dropped_unread: Counter,
    pub(super) damaged: Counter,
    pub(super) torn: Counter,
    pub(super) unreadable_cursors: Counter,
    pub(super) failing: Gauge,
    size: Gauge<u64, AtomicU64>,
}

impl Metrics {
    pub(super) fn new(registry: &mut Registry) -> Self {
        let metrics = Self {
            records: Counter::default(),
            readings: Counter::default(),
            written: Counter::default(),
            syncs: Counter::default(),
            // From a disk with a battery-backed cache to an SD card in its worst moment.
            sync_seconds: Histogram::new([0.0005, 0.002, 0.01, 0.05, 0.2, 1.0, 5.0]),
            hastened: Counter::default(),
            not_hastened: Counter::default(),
            dropped_unread: Counter::default(),
            damaged: Counter::default(),
            torn: Counter::default(),
            unreadable_cursors: Counter::default(),
            failing: Gauge::default(),
            size: Gauge::default(),
        };
        registry.register(
            "gateway_journal_records",
            "Records made durable; each is one write and one sync",
            metrics.records.clone(),
        );
        registry.register(
            "gateway_journal_readings",
            "Readings made durable",
            metrics.readings.clone(),
        );
        registry.register(
            "gateway_journal_written_bytes",
            "Bytes of records written",
            metrics.written.clone(),
        );
        registry.register(
            "gateway_journal_syncs",
            "Calls of fdatasync for records",
            metrics.syncs.clone(),
        );
        registry.register(
            "gateway_journal_sync_seconds",
            "How long one such call took",
            metrics.sync_seconds.clone(),
        );
        registry.register(
            "gateway_journal_hastened",
            "Commits that did not gather because an alert begins or ends with them",
            metrics.hastened.clone(),
        );
        registry.register(
            "gateway_journal_not_hastened",
            "Commits that gathered though an alert begins or ends with them, because the allowance was used up",
            metrics.not_hastened.clone(),
        );
        registry.register(
            "gateway_journal_dropped_unread",
            "Readings that the byte limit took before every cursor had read them",
            metrics.dropped_unread.clone(),
        );
        registry.register(
            "gateway_journal_damaged_records",
            "Damaged records that a reader met and skipped",
            metrics.damaged.clone(),
        );
        registry.register(
            "gateway_journal_torn_bytes",
            "Bytes of unfinished records cut off at the start",
            metrics.torn.clone(),
        );
        registry.register(
            "gateway_journal_unreadable_cursors",
            "Cursor files that could not be read: their readers began anew",
            metrics.unreadable_cursors.clone(),
        );
        registry.register(
            "gateway_journal_failing",
            "1 while the disk refuses and submissions wait",
            metrics.failing.clone(),
        );
        registry.register(
            "gateway_journal_size_bytes",
            "Bytes of all segments on disk",
            metrics.size.clone(),
        );
        metrics
    }

    pub(super) fn set_size(&self, bytes: u64) {
        self.size.set(bytes);
    }
}
