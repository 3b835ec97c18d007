//! What came before the clock was set gets its right time.
//!
//! A batch that was stamped by a clock that was not set ([`Stamps::SinceBoot`]) is journalled as it is, with the boot that its stamps
//! count from. Once the clock is set, the readings in it that have no time of their own are submitted again as
//! [`Stamps::Restamped`]: each stamp and the time of the boot. All of one old record goes into one new record, which names the old
//! one, so that after a crash it is known which are done: nothing is restamped twice.
//!
//! - This boot, before or after a restart of the process: exact.
//! - An earlier boot whose clock was never set: nobody can know. Its readings are placed so that the last of them lies directly
//!   before the boot that came next, and are marked `uncertain`. The last [`MAX_BOOTS`] boots are told apart; what is older is
//!   placed before them.
//!
//! What waits is on disk; in memory is one chunk of it. Its records are held by an entry among the cursors, [`CURSOR`], as long as there
//! are any; the journal's byte limit takes them as it takes what no cursor has read, and counts them.

use std::{
    collections::VecDeque,
    sync::{Arc, MutexGuard, PoisonError},
};

use tokio::sync::oneshot;

use super::{
    Closed, Entry, Journal, Shared, cursor::Reader, progress::Progress, writer::Submission,
};
use crate::{
    clock::Clock,
    model::{Batch, Boot, Quality, Stamps, Timestamp},
};

/// Boots without a clock that are told apart.
const MAX_BOOTS: usize = 64;
/// Holds the records that wait for the clock.
pub(super) const CURSOR: &str = "clock";
/// So many readings are in memory at a time.
const READINGS: usize = 4096;

/// What waits for the clock.
#[derive(Debug, Default)]
pub(super) struct Unset {
    /// No record before this one waits.
    first: Option<u64>,
    /// No record after this one waits.
    last: u64,
    readings: u64,
    /// In the order in which they came.
    boots: VecDeque<Stay>,
}

/// What is known of a boot.
#[derive(Clone, Copy, Debug)]
struct Stay {
    boot: Boot,
    /// The latest stamp, nanoseconds since the boot.
    last: i64,
    /// When it was, if a part of it was restamped already.
    booted_at: Option<Timestamp>,
}

impl Unset {
    pub(super) const fn first(&self) -> Option<u64> {
        self.first
    }

    pub(super) const fn readings(&self) -> u64 {
        self.readings
    }

    /// A record is durable, or was found at start.
    pub(super) fn note(&mut self, position: u64, batches: &[Batch]) {
        // All copies of one original are in one record.
        let first = self.first;
        for batch in batches {
            match batch.stamps {
                Stamps::Set | Stamps::Jumped(_) => {}
                Stamps::SinceBoot(boot) => {
                    let waiting = batch.readings.iter().filter(|r| batch.is_provisional(r));
                    let waiting = waiting.count() as u64;
                    if waiting > 0 {
                        self.first.get_or_insert(position);
                        self.last = self.last.max(position);
                        self.readings += waiting;
                        self.stay(boot, latest(batch), None);
                    }
                }
                Stamps::Restamped {
                    from,
                    boot,
                    booted_at,
                } => {
                    // An original that is gone already was never counted here.
                    if first.is_some_and(|first| first <= from) {
                        self.readings = self.readings.saturating_sub(batch.readings.len() as u64);
                        self.first = (from < self.last).then_some(from + 1);
                    }
                    self.stay(boot, 0, Some(booted_at));
                }
            }
        }
    }

    /// The byte limit took so many readings that waited.
    pub(super) const fn lose(&mut self, readings: u64) {
        self.readings = self.readings.saturating_sub(readings);
    }

    fn stay(&mut self, boot: Boot, last: i64, booted_at: Option<Timestamp>) {
        if let Some(stay) = self.boots.iter_mut().rfind(|stay| stay.boot == boot) {
            stay.last = stay.last.max(last);
            stay.booted_at = stay.booted_at.or(booted_at);
            return;
        }
        if self.boots.len() == MAX_BOOTS {
            self.boots.pop_front();
        }
        self.boots.push_back(Stay {
            boot,
            last,
            booted_at,
        });
    }

    /// When `boot` was, and whether that is known rather than chosen. `now` is the boot that runs, and when that was.
    fn booted_at(&self, boot: Boot, last: i64, now: (Boot, Timestamp)) -> (Timestamp, bool) {
        if boot == now.0 {
            return (now.1, true);
        }
        let mut next = now.1;
        for stay in self.boots.iter().rev().filter(|stay| stay.boot != now.0) {
            let before = Timestamp(next.0.saturating_sub(stay.last).saturating_sub(1));
            let booted_at = stay.booted_at.unwrap_or(before);
            if stay.boot == boot {
                return (booted_at, stay.booted_at.is_some());
            }
            next = booted_at;
        }
        (
            Timestamp(next.0.saturating_sub(last).saturating_sub(1)),
            false,
        )
    }
}

/// The latest stamp since boot in a batch.
fn latest(batch: &Batch) -> i64 {
    let waiting = batch.readings.iter().filter(|r| batch.is_provisional(r));
    waiting.map(|r| r.time.0).max().unwrap_or_default()
}

impl Entry {
    /// Keeps what has its right time.
    pub(super) fn leave_provisional_out(&mut self) {
        self.batches.retain_mut(|batch| {
            if matches!(batch.stamps, Stamps::SinceBoot(_)) {
                let mut readings = std::mem::take(&mut batch.readings);
                readings.retain(|reading| !batch.is_provisional(reading));
                batch.readings = readings;
            }
            !batch.readings.is_empty()
        });
    }
}

impl Shared {
    pub(super) fn unset(&self) -> MutexGuard<'_, Unset> {
        self.unset.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes note of what waits for the clock in a record, and of what no longer does.
    pub(super) fn note_stamps(&self, position: u64, batches: &[Batch]) {
        if batches
            .iter()
            .all(|batch| matches!(batch.stamps, Stamps::Set | Stamps::Jumped(_)))
        {
            return;
        }
        let mut unset = self.unset();
        unset.note(position, batches);
        self.hold(&unset);
    }

    fn hold(&self, unset: &Unset) {
        let mut index = self.index();
        match unset.first {
            Some(first) => index
                .cursors
                .insert(CURSOR.to_owned(), Progress::at(first - 1)),
            None => {
                index.in_hand.remove(CURSOR);
                index.cursors.remove(CURSOR)
            }
        };
    }

    /// What was read to be restamped is not lost when its segment goes.
    fn take_unset_in_hand(&self, front: u64) {
        let mut index = self.index();
        let hand = index.in_hand.entry(CURSOR.to_owned()).or_default();
        hand.front = hand.front.max(front);
    }

    /// What was to be restamped and could not be read is gone.
    fn give_up_unset(&self) {
        let mut unset = self.unset();
        if unset.readings > 0 {
            tracing::error!(
                readings = unset.readings,
                "readings from before the clock was set are gone: the journal was damaged or at its limit"
            );
        }
        (unset.first, unset.readings) = (None, 0);
        self.hold(&unset);
    }
}

impl Journal {
    /// Whether durable readings wait for the clock.
    #[must_use]
    pub fn awaits_clock(&self) -> bool {
        self.shared.unset().first.is_some()
    }

    /// Submits what waits for the clock again, with the right times; returns when that is durable. What is submitted after it comes after it.
    /// Does nothing while the clock is not set. One at a time, by the one who submits.
    ///
    /// # Errors
    ///
    /// [`Closed`]; what was not done is done after the next start.
    pub async fn restamp(&self, clock: &Clock) -> Result<(), Closed> {
        let Some(booted_at) = clock.booted_at() else {
            return Ok(());
        };
        // What was submitted before this is durable then.
        self.reach().await?;
        let Some(first) = self.shared.unset().first else {
            return Ok(());
        };
        let until = self.shared.durable.borrow().0;
        let mut after = first - 1;
        let mut restamped = 0;
        let (mut reader, mut give_up) = (Reader::default(), false);
        while after < until {
            let shared = Arc::clone(&self.shared);
            let read = tokio::task::spawn_blocking(move || {
                let read = reader.read(&shared, (after, until), READINGS, give_up);
                (reader, read)
            });
            // The runtime goes down: the next start goes on here.
            let Ok((back, read)) = read.await else {
                return Err(Closed);
            };
            reader = back;
            give_up = read.is_err();
            match read {
                Ok(read) => {
                    after = read.entries.last().map_or(read.reached, |e| e.position.0);
                    self.shared.take_unset_in_hand(after);
                    for entry in read.entries {
                        restamped += self.restamp_entry(entry, (clock.boot(), booted_at)).await?;
                    }
                }
                Err(error) => {
                    tracing::warn!(%error, "reading the journal failed, trying once more");
                }
            }
        }
        self.reach().await?;
        self.shared.give_up_unset();
        tracing::info!(
            readings = restamped,
            "readings from before the clock was set have their right times now"
        );
        Ok(())
    }

    async fn restamp_entry(&self, entry: Entry, now: (Boot, Timestamp)) -> Result<usize, Closed> {
        let batches: Vec<Batch> = {
            let unset = self.shared.unset();
            let all = entry.batches.into_iter();
            all.filter_map(|batch| restamped(batch, entry.position.0, &unset, now))
                .collect()
        };
        let readings = batches.iter().map(|batch| batch.readings.len()).sum();
        if readings > 0 {
            self.submissions
                .send(Submission::Restamped(batches, Box::new(|_| ())))
                .await
                .map_err(|_| Closed)?;
        }
        Ok(readings)
    }

    /// Returns when all that was submitted before is durable.
    async fn reach(&self) -> Result<(), Closed> {
        let (done, reached) = oneshot::channel();
        let on_durable = Box::new(move |_| {
            // Whoever waited may be gone.
            done.send(()).unwrap_or_default();
        });
        self.submit(Batch::default(), on_durable).await?;
        reached.await.map_err(|_| Closed)
    }
}

/// What waits in a batch, with its right times; none if nothing does.
fn restamped(batch: Batch, from: u64, unset: &Unset, now: (Boot, Timestamp)) -> Option<Batch> {
    let Stamps::SinceBoot(boot) = batch.stamps else {
        return None;
    };
    let (booted_at, known) = unset.booted_at(boot, latest(&batch), now);
    let mut readings = Vec::new();
    for reading in &batch.readings {
        if !batch.is_provisional(reading) {
            continue;
        }
        let mut reading = reading.clone();
        reading.time = Timestamp(reading.time.0.saturating_add(booted_at.0));
        reading.received = reading.time;
        if !known && reading.quality == Quality::Good {
            reading.quality = Quality::Uncertain;
        }
        readings.push(reading);
    }
    (!readings.is_empty()).then_some(Batch {
        readings,
        stamps: Stamps::Restamped {
            from,
            boot,
            booted_at,
        },
        ..batch
    })
}
