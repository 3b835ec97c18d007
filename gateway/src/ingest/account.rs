//! The loss account: what came in by each source, and where all of it is found again.
//!
//! `received = accepted + duplicates + rejected + dropped + waiting`, and every term is counted where it happens, none is
//! derived from the others: *received* by the source when a message comes, before anything can be lost; *rejected* by who
//! refuses; *dropped* by the queue that drops; *waiting* by who holds; *duplicates* by normalise; *accepted* by the journal's
//! answer. So something that vanishes on the way shows as a difference that is not 0.
//!
//! A message counts as one until it is decoded, then as the readings that it holds (a message that is refused or dropped as a
//! whole stays one). The terms are read one after the other: while readings flow, a few may be between two of them.
//! Who asks looks again until they are not.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, PoisonError, RwLock,
        atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering::Relaxed},
    },
};

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric},
    metrics::{
        MetricType,
        counter::ConstCounter,
        gauge::{ConstGauge, Gauge},
    },
    registry::Registry,
};
use serde::Serialize;

use crate::{
    model::SourceName,
    rejects::{REASONS, Rejects},
    source::StatusReporter,
};

/// What became of everything that a source sent since the start of the process. Readings, except that a message refused or
/// dropped before it was decoded counts as one.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct AccountRow {
    /// Which source.
    pub source: SourceName,
    /// Everything that came in. Of retained messages only what was refused: bad input is a reject, wherever it comes from.
    pub received: i64,
    /// Durable.
    pub accepted: u64,
    /// Known already.
    pub duplicates: u64,
    /// Unusable, by reason.
    pub rejected: BTreeMap<&'static str, u64>,
    /// Lost, by reason.
    pub dropped: BTreeMap<&'static str, u64>,
    /// On the way to the disk.
    pub waiting: i64,
    /// Last-known values from retained messages; not part of the sum.
    pub retained: u64,
    /// Whether the source was taken out of the config since; its row stays as long as the process.
    pub removed: bool,
    /// Received, but in none of the others: 0 unless something was lost without being counted.
    pub difference: i64,
}

/// The account of all sources. Cheap to clone. A row stays for the life of the process.
#[derive(Clone, Debug)]
pub struct Account {
    // std: held for a look only. Grows when a source comes by a change of the config, and never shrinks.
    sources: Arc<RwLock<Vec<Arc<SourceAccount>>>>,
    rejects: Rejects,
}

/// One source's counters.
#[derive(Debug)]
pub(super) struct SourceAccount {
    pub(super) name: SourceName,
    status: StatusReporter,
    /// By how much the readings are more than the messages that they came in.
    more: AtomicI64,
    pub(super) accepted: AtomicU64,
    pub(super) duplicates: AtomicU64,
    pub(super) retained: AtomicU64,
    removed: AtomicBool,
}

impl SourceAccount {
    /// So many messages turned out to hold so many readings.
    pub(super) fn unpacked(&self, messages: usize, readings: usize) {
        let count = |n: usize| i64::try_from(n).unwrap_or(i64::MAX);
        self.more
            .fetch_add(count(readings) - count(messages), Relaxed);
    }

    /// Where who holds something counts it.
    pub(super) const fn waiting(&self) -> &Gauge {
        &self.status.waiting
    }

    fn row(&self, rejects: &Rejects) -> AccountRow {
        let rejected: BTreeMap<&'static str, u64> = REASONS
            .iter()
            .map(|reason| (reason.name(), rejects.count(&self.name, *reason)))
            .filter(|(_, count)| *count > 0)
            .collect();
        let signed = |n: u64| i64::try_from(n).unwrap_or(i64::MAX);
        let mut row = AccountRow {
            source: self.name.clone(),
            received: signed(self.status.messages.get()) + self.more.load(Relaxed),
            accepted: self.accepted.load(Relaxed),
            duplicates: self.duplicates.load(Relaxed),
            rejected,
            dropped: BTreeMap::from([("queue_full", self.status.dropped_queue_full.get())]),
            waiting: self.status.waiting.get(),
            retained: self.retained.load(Relaxed),
            removed: self.removed.load(Relaxed),
            difference: 0,
        };
        let found = row.accepted
            + row.duplicates
            + row.rejected.values().sum::<u64>()
            + row.dropped.values().sum::<u64>();
        row.difference = row.received - signed(found) - row.waiting;
        row
    }
}

impl Account {
    /// An empty account over these sources (in the order in which deliveries number them), registered as
    /// `gateway_readings_received_total`, `…_accepted_total`, `…_duplicates_total`, `…_retained_total`,
    /// `gateway_readings_waiting` and `gateway_readings_difference`.
    #[must_use]
    pub fn new(
        sources: impl IntoIterator<Item = (SourceName, StatusReporter)>,
        rejects: Rejects,
        registry: &mut Registry,
    ) -> Self {
        let account = Self {
            sources: Arc::default(),
            rejects,
        };
        for (name, status) in sources {
            account.add(name, status);
        }
        registry.register_collector(Box::new(account.clone()));
        account
    }

    /// Opens a row for the source with the next free number.
    pub fn add(&self, name: SourceName, status: StatusReporter) {
        self.sources
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .push(Arc::new(SourceAccount {
                name,
                status,
                more: AtomicI64::new(0),
                accepted: AtomicU64::new(0),
                duplicates: AtomicU64::new(0),
                retained: AtomicU64::new(0),
                removed: AtomicBool::new(false),
            }));
    }

    /// Marks the row of a source as of one that is in the config no more, or is in it again.
    pub fn set_removed(&self, number: usize, removed: bool) {
        if let Some(source) = self.source(number) {
            source.removed.store(removed, Relaxed);
        }
    }

    pub(super) fn source(&self, index: usize) -> Option<Arc<SourceAccount>> {
        self.sources
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .get(index)
            .cloned()
    }

    pub(super) const fn rejects(&self) -> &Rejects {
        &self.rejects
    }

    /// One row a source, as of this moment.
    #[must_use]
    pub fn rows(&self) -> Vec<AccountRow> {
        let sources = self.sources.read().unwrap_or_else(PoisonError::into_inner);
        sources
            .iter()
            .map(|source| source.row(&self.rejects))
            .collect()
    }
}

impl Collector for Account {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let rows = self.rows();
        let unsigned = |n: i64| u64::try_from(n).unwrap_or_default();
        type Figure = fn(&AccountRow) -> u64;
        let counters: [(&str, &str, Figure); 3] = [
            (
                "gateway_readings_accepted",
                "Readings that are durable",
                |r| r.accepted,
            ),
            (
                "gateway_readings_duplicates",
                "Readings that were known already",
                |r| r.duplicates,
            ),
            (
                "gateway_readings_retained",
                "Last-known values from retained messages",
                |r| r.retained,
            ),
        ];
        let name = "gateway_readings_received";
        let help = "Readings that came in: accepted + duplicates + rejected + dropped + waiting";
        let mut family = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
        for row in &rows {
            let labels = [("source", row.source.0.as_str())];
            ConstCounter::new(unsigned(row.received)).encode(family.encode_family(&labels)?)?;
        }
        for (name, help, figure) in counters {
            let mut family = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
            for row in &rows {
                let labels = [("source", row.source.0.as_str())];
                ConstCounter::new(figure(row)).encode(family.encode_family(&labels)?)?;
            }
        }
        type Level = fn(&AccountRow) -> i64;
        let gauges: [(&str, &str, Level); 2] = [
            (
                "gateway_readings_waiting",
                "Messages and readings on their way to the disk",
                |r| r.waiting,
            ),
            (
                "gateway_readings_difference",
                "Received but found nowhere; a few while readings flow, 0 at rest unless something was lost uncounted",
                |r| r.difference,
            ),
        ];
        for (name, help, figure) in gauges {
            let mut family = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
            for row in &rows {
                let labels = [("source", row.source.0.as_str())];
                ConstGauge::new(figure(row)).encode(family.encode_family(&labels)?)?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{clock::Clock, source::status::SourceMetrics};

    #[test]
    fn a_message_that_nobody_has_is_a_difference() {
        let mut registry = Registry::default();
        let metrics = SourceMetrics::new(&mut registry);
        let name = SourceName("s".into());
        let (reporter, _) = metrics.reporter(name.clone(), "push", Clock::system());
        let account = Account::new(
            [(name, reporter.clone())],
            Rejects::new(&mut registry),
            &mut registry,
        );
        let difference = || account.rows()[0].difference;
        reporter.received(10);
        assert_eq!(difference(), 1, "it came in and is nowhere");
        reporter.waiting.inc();
        assert_eq!(difference(), 0, "it waits");
        reporter.waiting.dec();
        let source = account.source(0).unwrap();
        source.unpacked(1, 3);
        source.accepted.fetch_add(2, Relaxed);
        assert_eq!(difference(), 1, "one of three readings is nowhere");
        source.duplicates.fetch_add(1, Relaxed);
        assert_eq!(difference(), 0);
        reporter.dropped_queue_full.inc();
        assert_eq!(difference(), -1, "what never came in was dropped");
    }
}
