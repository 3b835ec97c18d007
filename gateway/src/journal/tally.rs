//! What each archive did with the readings of each source, for the loss account.
//!
//! An archive counts what it has stored and what was refused for good when that is certain; the byte limit counts what it
//! took from an archive; the start counts what an archive had still to do (`stock.rs`), so that the sum holds over restarts.
//! Last-known values (retained messages) are not archived and not counted.
//!
//! Bounded by the names of archives (two) and of sources.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric},
    metrics::{MetricType, counter::ConstCounter},
};

use super::{Entry, Position};
use crate::model::{SourceName, Stamps};

/// One archive and one source, since the start of the process. Readings.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// In the journal at the start and not known to be archived. A killed process may have archived some of them.
    pub carried_over: u64,
    /// Stored.
    pub archived: u64,
    /// Refused for good: dead letters.
    pub refused: u64,
    /// Went at the journal's byte limit before this archive had them, or were damaged in it.
    pub dropped: u64,
}

/// One archive's tallies, by source.
type Books = BTreeMap<SourceName, Tally>;

/// The tallies of all archives. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Tallies {
    // std: held for a look.
    archives: Arc<Mutex<BTreeMap<&'static str, Books>>>,
}

impl Tallies {
    /// Opens the books of an archive, before stock is taken. What an archive without books does is not counted.
    pub fn open(&self, archive: &'static str) {
        self.lock().entry(archive).or_default();
    }

    /// The archive begins anew in the middle: what it does from here on can't be reckoned with what it did.
    pub fn close(&self, archive: &str) {
        self.lock().remove(archive);
    }

    /// Of one archive, by source; `None` without books.
    #[must_use]
    pub fn of(&self, archive: &str) -> Option<BTreeMap<SourceName, Tally>> {
        self.lock().get(archive).cloned()
    }

    /// The archive had not done with this record at the start.
    pub(super) fn carried_over(&self, archive: &str, entry: &Entry) {
        for (source, count) in by_source(entry) {
            self.carried(archive, source, count);
        }
    }

    /// The archive had not done with so many readings of a source at the start.
    pub(super) fn carried(&self, archive: &str, source: &SourceName, count: u64) {
        self.change(archive, source, |tally| tally.carried_over += count);
    }

    /// So many readings of a source are stored.
    pub fn archived(&self, archive: &str, source: &SourceName, count: u64) {
        self.change(archive, source, |tally| tally.archived += count);
    }

    /// So many readings of a source were refused for good.
    pub fn refused(&self, archive: &str, source: &SourceName, count: u64) {
        self.change(archive, source, |tally| tally.refused += count);
    }

    /// The byte limit, or damage, took so many readings of a source that the archive had not done with.
    pub(super) fn dropped(&self, archive: &str, source: &SourceName, count: u64) {
        self.change(archive, source, |tally| tally.dropped += count);
    }

    /// The byte limit took so many readings of a source that no archive could have yet.
    pub(super) fn dropped_everywhere(&self, source: &SourceName, count: u64) {
        for books in self.lock().values_mut() {
            books.entry(source.clone()).or_default().dropped += count;
        }
    }

    fn change(&self, archive: &str, source: &SourceName, change: impl FnOnce(&mut Tally)) {
        let mut archives = self.lock();
        let Some(books) = archives.get_mut(archive) else {
            return;
        };
        match books.get_mut(source) {
            Some(tally) => change(tally),
            None => change(books.entry(source.clone()).or_default()),
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<&'static str, Books>> {
        self.archives.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Collector for Tallies {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let archives = self.lock().clone();
        let help = "What archives did with readings; carried_over: had still to do at the start";
        let name = "gateway_archive_readings";
        let mut family = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
        for (archive, books) in &archives {
            for (source, tally) in books {
                for (outcome, count) in [
                    ("carried_over", tally.carried_over),
                    ("archived", tally.archived),
                    ("refused", tally.refused),
                    ("dropped", tally.dropped),
                ] {
                    let labels = [
                        ("archive", *archive),
                        ("source", source.0.as_str()),
                        ("outcome", outcome),
                    ];
                    ConstCounter::new(count).encode(family.encode_family(&labels)?)?;
                }
            }
        }
        Ok(())
    }
}

/// The readings of a record that archives store.
pub(super) fn by_source(entry: &Entry) -> impl Iterator<Item = (&SourceName, u64)> {
    entry
        .batches
        .iter()
        .map(|batch| (&batch.source, batch.archivable()))
}

/// The readings of a record that wait for the clock.
pub(super) fn provisional_by_source(entry: &Entry) -> impl Iterator<Item = (&SourceName, u64)> {
    entry.batches.iter().filter_map(|batch| {
        let waiting = batch.readings.iter().filter(|r| batch.is_provisional(r));
        let count = waiting.count() as u64;
        (count > 0).then_some((&batch.source, count))
    })
}

/// What of the kept journal still waits for the clock: archives have it yet to do, wherever they are. Bounded by the records
/// in the journal that wait.
#[derive(Debug, Default)]
pub(super) struct AwaitingClock(BTreeMap<Position, BTreeMap<SourceName, u64>>);

impl AwaitingClock {
    /// The next record, in order.
    pub(super) fn note(&mut self, entry: &Entry) {
        for batch in &entry.batches {
            if let Stamps::Restamped { from, .. } = batch.stamps {
                self.0.remove(&Position(from));
                continue;
            }
            let waiting = batch.readings.iter().filter(|r| batch.is_provisional(r));
            let count = waiting.count() as u64;
            if count > 0 {
                let sources = self.0.entry(entry.position).or_default();
                *sources.entry(batch.source.clone()).or_default() += count;
            }
        }
    }

    /// There are no more records: each of these archives has the rest to do.
    pub(super) fn carry_over(self, archives: &[&str], tallies: &Tallies) {
        for (source, count) in self.0.into_values().flatten() {
            for archive in archives {
                tallies.change(archive, &source, |tally| tally.carried_over += count);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{
        Batch, Boot, DeviceId, Metric, Quality, Reading, SeriesKey, Timestamp, Value,
    };

    #[test]
    fn only_archives_with_books_are_counted() {
        let source = SourceName("s".into());
        let tallies = Tallies::default();
        tallies.archived("history", &source, 1);
        assert_eq!(tallies.of("history"), None);
        tallies.open("history");
        tallies.archived("history", &source, 2);
        tallies.refused("history", &source, 1);
        let empty = Entry {
            position: Position(1),
            batches: vec![Batch {
                source: source.clone(),
                ..Batch::default()
            }],
        };
        tallies.carried_over("history", &empty);
        tallies.dropped("history", &source, 3);
        let tally = Tally {
            archived: 2,
            refused: 1,
            dropped: 3,
            ..Tally::default()
        };
        let books = tallies.of("history").unwrap();
        assert_eq!(books.get(&source), Some(&tally));
        tallies.close("history");
        assert_eq!(tallies.of("history"), None);
    }

    #[test]
    fn what_waits_for_the_clock_is_carried_over_once_and_not_when_it_was_restamped() {
        let source = SourceName("s".into());
        let stamped = |position: u64, stamps: Stamps, time: i64| Entry {
            position: Position(position),
            batches: vec![Batch {
                source: source.clone(),
                readings: vec![Reading {
                    time: Timestamp(time),
                    received: Timestamp(time),
                    ..reading()
                }],
                stamps,
                ..Batch::default()
            }],
        };
        let boot = Boot(7);
        let restamped = Stamps::Restamped {
            from: 1,
            boot,
            booted_at: Timestamp(1_800_000_000_000_000_000),
        };
        let kept = [
            stamped(1, Stamps::SinceBoot(boot), 5),
            stamped(2, Stamps::SinceBoot(boot), 6),
            stamped(3, restamped, 1_800_000_000_000_000_005),
        ];
        let tallies = Tallies::default();
        tallies.open("history");
        let mut awaiting = AwaitingClock::default();
        for entry in &kept {
            awaiting.note(entry);
            tallies.carried_over("history", entry);
        }
        awaiting.carry_over(&["history"], &tallies);
        // The restamped one, and the one that still waits.
        assert_eq!(tallies.of("history").unwrap()[&source].carried_over, 2);
    }

    fn reading() -> Reading {
        Reading {
            series: SeriesKey {
                device: DeviceId("d".into()),
                metric: Metric("m".into()),
            },
            value: Value::Float(1.0),
            unit: None,
            quality: Quality::Good,
            time: Timestamp(0),
            received: Timestamp(0),
            retained: false,
        }
    }
}
