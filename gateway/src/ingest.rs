//! The one task between sources and journal: it takes deliveries in their order through decode and normalise,
//! hands what was accepted to the journal, and answers the source when that is durable.
//!
//! It never blocks for long: a journal that can't write makes [`Journal::submit`] wait, which fills the door and so
//! makes the sources wait or shed. It keeps the account: nothing comes in that is not found in it again.
//!
//! It is the one place in which the order of the journal is made, so it says there what the clock did: batches that were stamped before it
//! was set are marked so; once it is set, they get their right times before anything newer goes in; and a jump is noted on the first
//! batch after it, so that who reads the journal can tell a jump from time that passed.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, PoisonError, RwLock,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric},
    metrics::{MetricType, counter::ConstCounter, gauge::ConstGauge},
    registry::Registry,
};
use serde::Serialize;
use tokio::sync::mpsc;

use crate::{
    clock::{Clock, JUMP},
    journal::{Closed, Journal},
    model::{Batch, SourceName, Stamps, Timestamp},
    normalise::{self, Normaliser, Outcome, SourceMappings},
    rejects::{REASONS, Rejects},
    source::{Delivery, Receipt, StatusReporter},
};

/// Rejects that a receipt names one by one.
const MAX_NAMED_REJECTS: usize = 20;

/// How often it is asked whether the clock is set, while readings wait for that.
const ASK_CLOCK_EVERY: Duration = Duration::from_secs(1);

/// What became of everything that a source sent. Readings, except that a message refused or dropped before it was
/// decoded counts as one. `received = accepted + duplicates + rejected + dropped + waiting`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct AccountRow {
    /// Which source.
    pub source: SourceName,
    /// Everything that came in. Of retained messages only what was refused: bad input is a reject, wherever it comes from.
    pub received: u64,
    /// Durable.
    pub accepted: u64,
    /// Known already.
    pub duplicates: u64,
    /// Unusable, by reason.
    pub rejected: BTreeMap<&'static str, u64>,
    /// Lost, by reason.
    pub dropped: BTreeMap<&'static str, u64>,
    /// Decoded, on the way to the disk.
    pub waiting: u64,
    /// Last-known values from retained messages; not part of the sum.
    pub retained: u64,
    /// Whether the source was taken out of the config since; its row stays as long as the process.
    pub removed: bool,
}

/// The account of all sources. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Account {
    // std: held for a look only. Grows when a source comes by a change of the config, and never shrinks.
    sources: Arc<RwLock<Vec<Arc<SourceAccount>>>>,
    rejects: Rejects,
}

/// Another config while readings flow. It holds for every delivery that is taken after it.
#[derive(Clone, Debug)]
pub enum Change {
    /// The mappings of the source with this number; the next free number is a new source.
    Mappings(usize, SourceMappings),
    /// What holds for all readings.
    Settings(normalise::Config),
}

/// Changes that may wait for the ingest task; one more waits for room.
pub const MAX_CHANGES: usize = 64;

#[derive(Debug)]
struct SourceAccount {
    name: SourceName,
    status: StatusReporter,
    decoded: AtomicU64,
    accepted: AtomicU64,
    duplicates: AtomicU64,
    rejected_here: AtomicU64,
    retained: AtomicU64,
    removed: AtomicBool,
}

impl SourceAccount {
    fn new((name, status): (SourceName, StatusReporter)) -> Arc<Self> {
        Arc::new(Self {
            name,
            status,
            decoded: AtomicU64::new(0),
            accepted: AtomicU64::new(0),
            duplicates: AtomicU64::new(0),
            rejected_here: AtomicU64::new(0),
            retained: AtomicU64::new(0),
            removed: AtomicBool::new(false),
        })
    }
}

impl Account {
    /// An empty account over these sources (in the order in which deliveries number them), registered as
    /// `gateway_readings_received_total`, `…_accepted_total`, `…_duplicates_total`, `…_retained_total` and
    /// `gateway_readings_waiting`.
    #[must_use]
    pub fn new(
        sources: impl IntoIterator<Item = (SourceName, StatusReporter)>,
        rejects: Rejects,
        registry: &mut Registry,
    ) -> Self {
        let sources = sources.into_iter().map(SourceAccount::new).collect();
        let account = Self {
            sources: Arc::new(RwLock::new(sources)),
            rejects,
        };
        registry.register_collector(Box::new(account.clone()));
        account
    }

    /// Opens a row for the source with the next free number.
    pub fn add(&self, name: SourceName, status: StatusReporter) {
        self.sources
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .push(SourceAccount::new((name, status)));
    }

    /// Marks the row of a source as of one that is in the config no more, or is in it again.
    pub fn set_removed(&self, number: usize, removed: bool) {
        if let Some(source) = self.source(number) {
            source.removed.store(removed, Relaxed);
        }
    }

    fn source(&self, number: usize) -> Option<Arc<SourceAccount>> {
        let sources = self.sources.read().unwrap_or_else(PoisonError::into_inner);
        sources.get(number).cloned()
    }

    /// One row a source. The figures of a row are read one after the other: while readings flow they may be a few apart.
    #[must_use]
    pub fn rows(&self) -> Vec<AccountRow> {
        let sources = self.sources.read().unwrap_or_else(PoisonError::into_inner);
        sources
            .iter()
            .map(|source| {
                // Read what comes later in the way first, so that nothing seems to be negative.
                let accepted = source.accepted.load(Relaxed);
                let duplicates = source.duplicates.load(Relaxed);
                let rejected_here = source.rejected_here.load(Relaxed);
                let decoded = source.decoded.load(Relaxed);
                let rejected: BTreeMap<&'static str, u64> = REASONS
                    .iter()
                    .map(|reason| (reason.name(), self.rejects.count(&source.name, *reason)))
                    .filter(|(_, count)| *count > 0)
                    .collect();
                let refused_undecoded =
                    rejected.values().sum::<u64>().saturating_sub(rejected_here);
                let queue_full = source.status.dropped_queue_full.get();
                AccountRow {
                    source: source.name.clone(),
                    received: decoded + refused_undecoded + queue_full,
                    accepted,
                    duplicates,
                    rejected,
                    dropped: BTreeMap::from([("queue_full", queue_full)]),
                    waiting: decoded.saturating_sub(accepted + duplicates + rejected_here),
                    retained: source.retained.load(Relaxed),
                    removed: source.removed.load(Relaxed),
                }
            })
            .collect()
    }
}

impl Collector for Account {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let rows = self.rows();
        type Figure = fn(&AccountRow) -> u64;
        let counters: [(&str, &str, Figure); 4] = [
            (
                "gateway_readings_received",
                "Readings that came in: accepted + duplicates + rejected + dropped + waiting",
                |r| r.received,
            ),
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
        for (name, help, figure) in counters {
            let mut family = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
            for row in &rows {
                let labels = [("source", row.source.0.as_str())];
                ConstCounter::new(figure(row)).encode(family.encode_family(&labels)?)?;
            }
        }
        let help = "Readings decoded and on their way to the disk";
        let mut family =
            encoder.encode_descriptor("gateway_readings_waiting", help, None, MetricType::Gauge)?;
        for row in &rows {
            let labels = [("source", row.source.0.as_str())];
            ConstGauge::new(i64::try_from(row.waiting).unwrap_or(i64::MAX))
                .encode(family.encode_family(&labels)?)?;
        }
        Ok(())
    }
}

/// Takes deliveries until every source has let go of the door, then ends. What the journal no longer takes is left
/// unanswered, and so unacknowledged. A change goes before the deliveries that wait.
pub async fn run(
    mut normaliser: Normaliser,
    mut deliveries: mpsc::Receiver<Delivery>,
    mut changes: mpsc::Receiver<Change>,
    journal: Journal,
    account: Account,
    clock: Clock,
) {
    let mut stamper = Stamper::new(clock.clone());
    let mut outcome = Outcome::default();
    loop {
        let delivery = tokio::select! {
            biased;
            Some(change) = changes.recv() => {
                match change {
                    Change::Mappings(number, mappings) => normaliser.set_source(number, mappings),
                    Change::Settings(settings) => normaliser.reconfigure(settings),
                }
                continue;
            }
            delivery = deliveries.recv() => match delivery {
                Some(delivery) => delivery,
                None => return,
            },
            () = tokio::time::sleep(ASK_CLOCK_EVERY), if stamper.is_due(&journal) => {
                if stamper.restamp(&journal).await.is_err() {
                    return;
                }
                continue;
            }
        };
        let Some(source) = account.source(delivery.source) else {
            continue;
        };
        let latest = clock.latest();
        let mut receipt = Receipt::default();
        for frame in &delivery.frames {
            outcome.rejects.clear();
            normaliser.frame(delivery.source, frame, latest, &mut outcome);
            receipt.rejected += outcome.rejects.len();
            for reject in outcome.rejects.drain(..) {
                if receipt.rejects.len() < MAX_NAMED_REJECTS {
                    receipt.rejects.push(reject.clone());
                }
                account.rejects.record(
                    &source.name,
                    &frame.topic,
                    &frame.payload,
                    frame.arrived,
                    reject,
                );
            }
        }
        let readings = std::mem::take(&mut outcome.readings);
        receipt.duplicates = std::mem::take(&mut outcome.duplicates);
        let retained = readings.iter().filter(|r| r.retained).count();
        receipt.accepted = readings.len() - retained;
        source.decoded.fetch_add(
            (receipt.accepted + receipt.duplicates + receipt.rejected) as u64,
            Relaxed,
        );
        source
            .duplicates
            .fetch_add(receipt.duplicates as u64, Relaxed);
        source
            .rejected_here
            .fetch_add(receipt.rejected as u64, Relaxed);
        source.retained.fetch_add(retained as u64, Relaxed);

        let stamps = if readings.is_empty() {
            Stamps::Set
        } else {
            let arrivals = delivery.frames.iter().map(|frame| frame.arrived);
            stamper.stamps(arrivals)
        };
        // What came before the clock was set goes before what came after.
        if stamps_are_set(stamps) && stamper.restamp(&journal).await.is_err() {
            tracing::warn!("the journal is closed: the last deliveries stay unacknowledged");
            return;
        }
        let batch = Batch {
            stamps,
            source: source.name.clone(),
            peer: delivery.peer,
            readings,
            presence: delivery.presence,
        };
        let (done, room) = (delivery.done, delivery.room);
        let on_durable = Box::new(move |_| {
            source.accepted.fetch_add(receipt.accepted as u64, Relaxed);
            // A sender that no longer waits for its answer has lost nothing: the readings are durable.
            drop(done.send(receipt));
            drop(room);
        });
        if journal.submit(batch, on_durable).await.is_err() {
            tracing::warn!("the journal is closed: the last deliveries stay unacknowledged");
            return;
        }
    }
}

const fn stamps_are_set(stamps: Stamps) -> bool {
    !matches!(stamps, Stamps::SinceBoot(_))
}

/// Knows by what clock deliveries were stamped, and what the journal is still to be told about it.
#[derive(Debug)]
struct Stamper {
    clock: Clock,
    /// When the machine booted, by the clock that stamped the newest batch; `None` while that was not set.
    booted_at: Option<Timestamp>,
    /// Batches of a clock that was not set were submitted; the journal may not have them yet.
    submitted_unset: bool,
}

impl Stamper {
    fn new(clock: Clock) -> Self {
        Self {
            booted_at: clock.booted_at(),
            clock,
            submitted_unset: false,
        }
    }

    /// By what clock a delivery was stamped. Asked for each one that is journalled, in order.
    fn stamps(&mut self, arrivals: impl Iterator<Item = Timestamp>) -> Stamps {
        let mut newest = None;
        for arrived in arrivals {
            if !arrived.is_set() {
                self.submitted_unset = true;
                return Stamps::SinceBoot(self.clock.boot());
            }
            newest = Some(arrived);
        }
        let (Some(newest), Some(after)) = (newest, self.clock.booted_at()) else {
            return Stamps::Set;
        };
        let Some(before) = self.booted_at.replace(after) else {
            return Stamps::Set;
        };
        let by = after.0.saturating_sub(before.0);
        if i128::from(by).unsigned_abs() <= JUMP.as_nanos() {
            return Stamps::Set;
        }
        // What was stamped before the jump and waited in a queue still lies on the old side of it.
        let since_boot = self.clock.since_boot();
        let age = |booted_at: Timestamp| {
            let at = i128::from(newest.0) - i128::from(booted_at.0);
            (i128::from(since_boot) - at).unsigned_abs()
        };
        if age(before) < age(after) {
            self.booted_at = Some(before);
            return Stamps::Set;
        }
        Stamps::Jumped(by)
    }

    /// Whether [`Stamper::restamp`] may have something to do soon.
    fn is_due(&self, journal: &Journal) -> bool {
        self.submitted_unset || journal.awaits_clock()
    }

    /// Gives what came before the clock was set its right times, if it is set now.
    async fn restamp(&mut self, journal: &Journal) -> Result<(), Closed> {
        if self.is_due(journal) && self.clock.is_trusted() {
            journal.restamp(&self.clock).await?;
            self.submitted_unset = false;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Boot;

    const SET: Timestamp = Timestamp(1_800_000_000_000_000_000);
    const MINUTE: i64 = 60_000_000_000;

    fn stamps(stamper: &mut Stamper, arrived: Timestamp) -> Stamps {
        stamper.stamps(std::iter::once(arrived))
    }

    #[test]
    fn a_jump_is_noted_on_the_first_batch_that_was_stamped_after_it() {
        for by in [14 * 1_440 * MINUTE, -14 * 1_440 * MINUTE, 5_000_000_000] {
            let clock = Clock::manual(SET);
            let mut stamper = Stamper::new(clock.clone());
            assert_eq!(stamps(&mut stamper, clock.now()), Stamps::Set);
            clock.advance(Duration::from_secs(600));
            let queued = clock.now();
            clock.set(Timestamp(queued.0 + by));
            clock.advance(Duration::from_secs(1));
            assert_eq!(stamps(&mut stamper, queued), Stamps::Set);
            assert_eq!(stamps(&mut stamper, clock.now()), Stamps::Jumped(by));
            assert_eq!(stamps(&mut stamper, clock.now()), Stamps::Set);
        }
    }

    #[test]
    fn being_set_is_no_jump_and_what_was_stamped_before_is_told_apart() {
        let clock = Clock::manual_after_boot(Boot(9), Duration::from_secs(5), Timestamp(0));
        let mut stamper = Stamper::new(clock.clone());
        let queued = clock.now();
        assert_eq!(stamps(&mut stamper, queued), Stamps::SinceBoot(Boot(9)));
        clock.set(SET);
        assert_eq!(stamps(&mut stamper, queued), Stamps::SinceBoot(Boot(9)));
        assert_eq!(stamps(&mut stamper, clock.now()), Stamps::Set);
    }
}
