//! What the journal holds for each archive at the start, without reading all of it.
//!
//! A closed segment says at its end how many readings of each source are in it ([`Summary`]). Where an archive has all of a segment
//! yet to do, that is believed; decoded are the segments of which it has a part to do, those without a summary, and those with
//! something that was stamped before the clock was set.
//!
//! Believed is not checked: damage in such a segment shows only when the archive reads it. What the summary promised and is not
//! there is then booked as dropped for that archive, once, so that the account balances.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
};

use super::{
    AwaitingClock, Entry, Journal, Position, Shared,
    cursor::Reader,
    disk::Disk,
    format::Summary,
    progress::{Progress, Share},
    segment::{self, Segment},
};
use crate::model::SourceName;

/// So many readings are in memory at a time.
const READINGS: usize = 4096;

/// Segments whose summaries were counted for an archive and that it has not been seen to differ from. Bounded by the segments.
#[derive(Debug, Default)]
pub(super) struct Believed(BTreeMap<String, BTreeSet<u64>>);

impl Believed {
    fn add(&mut self, cursor: &str, first: u64) {
        self.0.entry(cursor.to_owned()).or_default().insert(first);
    }

    /// Whether this one was counted by its summary; from here on it is not.
    pub(super) fn take(&mut self, cursor: &str, first: u64) -> bool {
        self.0.get_mut(cursor).is_some_and(|all| all.remove(&first))
    }

    /// Who counted this segment by its summary; from here on nobody does.
    pub(super) fn take_all(&mut self, first: u64) -> Vec<String> {
        let named = self.0.iter_mut();
        named
            .filter_map(|(name, all)| all.remove(&first).then(|| name.clone()))
            .collect()
    }
}

/// What the summary of a segment promises and its records no longer hold.
pub(super) fn missing(segment: &Segment, disk: &Disk) -> io::Result<Vec<(SourceName, u64)>> {
    let path = disk.path(&segment::name(segment.first));
    let gone = || io::Error::new(io::ErrorKind::InvalidData, "its summary is gone");
    let said = segment::summary(&path)?.ok_or_else(gone)?;
    let held = segment::summarise(&path, segment)?;
    let missing = said.sources.into_iter().map(|(source, count)| {
        let held = held.sources.get(&source).copied().unwrap_or_default();
        (source, count.saturating_sub(held))
    });
    Ok(missing.filter(|(_, count)| *count > 0).collect())
}

impl Journal {
    /// Counts what each of these archives has still to do, as `carried_over` of its books, and finds what waits for the clock. Blocking.
    /// Once, at the start, after the cursors were asked for and before [`Journal::replay`]. An archive is done up to the position that is
    /// given, or else with what its cursor says.
    pub fn take_stock(&self, archives: &[(&'static str, Option<Position>)]) {
        let (segments, archives): (Vec<Segment>, Vec<(&'static str, Progress)>) = {
            let index = self.shared.index();
            let progress = |name: &str| index.cursors.get(name).cloned().unwrap_or_default();
            let archives = archives.iter().map(|(name, done)| {
                (
                    *name,
                    done.map_or_else(|| progress(name), |p| Progress::at(p.0)),
                )
            });
            (index.segments.iter().copied().collect(), archives.collect())
        };
        let mut awaiting = AwaitingClock::default();
        for segment in segments.iter().filter(|s| s.records > 0) {
            let share = |progress: &Progress| progress.share(segment.first, segment.last);
            let whole = archives.iter().all(|(_, p)| share(p) != Share::Part);
            match self.summary(segment).filter(|s| whole && !s.stamped) {
                Some(summary) => {
                    let to_do = archives.iter().filter(|(_, p)| share(p) == Share::All);
                    for (name, _) in to_do {
                        self.believe(name, segment.first, &summary);
                    }
                }
                None => self.between(segment.first - 1, segment.last, &mut |entry| {
                    self.shared.note_stamps(entry.position.0, &entry.batches);
                    awaiting.note(&entry);
                    for (name, progress) in &archives {
                        if progress.is_undone(entry.position.0) {
                            self.shared.tallies.carried_over(name, &entry);
                        }
                    }
                }),
            }
        }
        let names: Vec<&str> = archives.iter().map(|(name, _)| *name).collect();
        awaiting.carry_over(&names, &self.shared.tallies);
    }

    fn summary(&self, segment: &Segment) -> Option<Summary> {
        let path = self.shared.disk.path(&segment::name(segment.first));
        segment::summary(&path).unwrap_or_else(|error| {
            tracing::debug!(%error, segment = segment.first, "a summary cannot be read: the segment is");
            None
        })
    }

    fn believe(&self, archive: &'static str, first: u64, summary: &Summary) {
        for (source, count) in &summary.sources {
            self.shared.tallies.carried(archive, source, *count);
        }
        self.shared.index().believed.add(archive, first);
    }

    /// Reads the kept records after `after` in order; blocking. Damaged ones are skipped. Readings that have only a time since boot
    /// are in it, and so are those with their right times, if they got them.
    pub fn replay(&self, after: Position, each: &mut dyn FnMut(Entry)) {
        self.between(after.0, u64::MAX, each);
    }

    fn between(&self, mut after: u64, until: u64, each: &mut dyn FnMut(Entry)) {
        let mut reader = Reader::default();
        let mut give_up = false;
        loop {
            match reader.read(&self.shared, (after, until), READINGS, give_up) {
                Ok(read) => {
                    give_up = false;
                    if read.entries.is_empty() {
                        return;
                    }
                    for entry in read.entries {
                        after = entry.position.0;
                        each(entry);
                    }
                }
                Err(error) => {
                    tracing::debug!(%error, "replaying a segment failed, trying once more");
                    give_up = true;
                }
            }
        }
    }

    /// Where a replay begins that is to find what [`Config::keep_bytes`](super::Config::keep_bytes) promises: all but the newest so
    /// many bytes lie up to here.
    #[must_use]
    pub fn kept_from(&self) -> Position {
        let index = self.shared.index();
        let mut bytes = 0;
        for segment in index.segments.iter().rev() {
            if bytes >= self.shared.config.keep_bytes {
                return Position(segment.last);
            }
            bytes += segment.size;
        }
        Position(index.before_oldest())
    }

    /// The last record before all that wait for the clock; `None` when none does.
    #[must_use]
    pub fn awaits_clock_from(&self) -> Option<Position> {
        let first = self.shared.unset().first()?;
        Some(Position(first.saturating_sub(1)))
    }

    /// Bytes on disk in the segments with records after this one, about: a segment counts in whole.
    #[must_use]
    pub fn bytes_after(&self, position: Position) -> u64 {
        let index = self.shared.index();
        let segments = index.segments.iter().rev();
        segments
            .take_while(|s| s.last > position.0)
            .map(|s| s.size)
            .sum()
    }

    /// Behind this record are at least so many readings, if there are so many, and about one segment more.
    #[must_use]
    pub fn before_newest(&self, readings: u64) -> Position {
        let index = self.shared.index();
        let mut found = 0;
        for segment in index.segments.iter().rev() {
            if found >= readings {
                return Position(segment.last);
            }
            found += segment.readings;
        }
        Position(index.before_oldest())
    }

    /// The oldest record that is kept, or the next one to come.
    #[must_use]
    pub fn oldest(&self) -> Position {
        Position(self.shared.index().before_oldest() + 1)
    }
}

impl Shared {
    /// A cursor met damage in a segment: what was counted for it and is not there is lost.
    pub(super) fn reckon_damage(&self, cursor: &str, first: u64) {
        let mut index = self.index();
        if !index.believed.take(cursor, first) {
            return;
        }
        // Under the lock, so that the segment can't be deleted meanwhile; this is rare.
        let Some(segment) = index.segments.iter().find(|s| s.first == first).copied() else {
            return;
        };
        let missing = missing(&segment, &self.disk);
        drop(index);
        match missing {
            Ok(missing) => {
                for (source, count) in &missing {
                    self.tallies.dropped(cursor, source, *count);
                }
                let readings: u64 = missing.iter().map(|(_, count)| count).sum();
                tracing::error!(
                    cursor,
                    segment = first,
                    readings,
                    "readings are lost: their records in the journal are damaged"
                );
            }
            Err(error) => {
                self.tallies.close(cursor);
                tracing::error!(cursor, segment = first, %error, "a damaged segment of the journal cannot be reckoned with: the account of this archive begins anew at the next start");
            }
        }
    }
}
