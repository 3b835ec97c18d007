//! Which segments may go, and how many unread readings go with them.
//!
//! Two rules, the first stronger: no more than `max_bytes` on disk, whoever still needs what is in there; and what every
//! cursor has read goes as soon as `keep_bytes` remain. The newest segment always stays: its name carries the numbering on.
//! Only cursors that were asked for since the start count; a file of a cursor that nobody uses any more holds nothing.

use std::{
    collections::{BTreeMap, VecDeque},
    io,
    sync::{MutexGuard, atomic::Ordering},
};

use super::{
    Amount, Backlog, Config, Entry, Position, Shared,
    disk::Disk,
    format,
    progress::Progress,
    restamp,
    segment::{self, Scanner, Segment},
    stock::{self, Believed},
    tally::{by_source, provisional_by_source},
};
use crate::model::SourceName;

/// What is on disk, and who has read how far.
#[derive(Debug, Default)]
pub(super) struct Index {
    /// Oldest first; records are added to the last one only.
    pub(super) segments: VecDeque<Segment>,
    /// How far the cursors are that are in use.
    pub(super) cursors: BTreeMap<String, Progress>,
    /// What is written down of those that are further than that: after a crash they are here again.
    pub(super) noted: BTreeMap<String, Progress>,
    /// How far they will be with what they have read and not done with yet: the byte limit can't take that from them.
    pub(super) in_hand: BTreeMap<String, Progress>,
    /// What the byte limit took of records in hand, by cursor and record: lost if the hand is given up. Bounded by what is in hand.
    taken: BTreeMap<String, BTreeMap<u64, Vec<(SourceName, u64)>>>,
    /// What was counted at the start without being read.
    pub(super) believed: Believed,
    /// The number that the next record gets.
    pub(super) next: u64,
    /// The newest durable record.
    pub(super) newest: u64,
    /// Readings that went before every cursor had read them.
    pub(super) dropped_unread: u64,
}

/// What a sweep did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Swept {
    pub(super) segments: usize,
    pub(super) dropped_unread: u64,
    /// The same by cursor and source, last-known values apart.
    pub(super) lost: BTreeMap<(String, SourceName), u64>,
    /// What waited for the clock, by source: no archive will have it.
    pub(super) provisional: BTreeMap<SourceName, u64>,
}

impl Index {
    /// Bytes on disk.
    pub(super) fn bytes(&self) -> u64 {
        self.segments.iter().map(|s| s.size).sum()
    }

    /// Where a cursor begins that has never read anything.
    pub(super) fn before_oldest(&self) -> u64 {
        self.segments
            .front()
            .map_or(self.next, |s| s.first)
            .saturating_sub(1)
    }

    fn slowest(&self) -> u64 {
        self.cursors
            .values()
            .chain(self.noted.values())
            .map(Progress::slowest)
            .min()
            .unwrap_or(u64::MAX)
    }

    /// What is kept of the records after `after`, up to and with `until`. Readings are exact for whole segments, and
    /// taken to be spread evenly in one.
    pub(super) fn amount(&self, after: u64, until: u64) -> Amount {
        let (after, until) = (after.max(self.before_oldest()), until.min(self.newest));
        let mut amount = Amount {
            records: until.saturating_sub(after),
            readings: 0,
        };
        for segment in &self.segments {
            let (before, last) = (segment.first.saturating_sub(1), segment.last);
            let common = until.min(last).saturating_sub(after.max(before));
            if common > 0 {
                amount.readings += segment.readings * common / (last - before);
            }
        }
        amount
    }

    /// What a cursor that is so far has not done with.
    pub(super) fn backlog(&self, progress: &Progress) -> Backlog {
        let mut backlog = Backlog {
            fresh: self.amount(progress.front, self.newest),
            stretches: progress.stretches().len(),
            ..Backlog::default()
        };
        for stretch in progress.stretches() {
            let amount = self.amount(stretch.after.0, stretch.until.0);
            backlog.behind.records += amount.records;
            backlog.behind.readings += amount.readings;
        }
        backlog
    }

    /// How far each cursor has read.
    fn reading(&self) -> impl Iterator<Item = (&str, &Progress)> {
        self.cursors
            .iter()
            .map(|(name, progress)| (name.as_str(), self.in_hand.get(name).unwrap_or(progress)))
    }

    /// Readings of a segment that some cursor has not read.
    fn unread(&self, segment: &Segment, disk: &Disk) -> u64 {
        let mut ranges: Vec<(u64, u64)> = self
            .reading()
            .flat_map(|(_, progress)| progress.undone())
            .map(|(after, until)| {
                (
                    after.max(segment.first.saturating_sub(1)),
                    until.min(segment.last),
                )
            })
            .filter(|(after, until)| after < until)
            .collect();
        ranges.sort_unstable();
        let (mut unread, mut counted) = (0, 0);
        for (after, until) in ranges {
            let after = after.max(counted);
            if after < until {
                // If even the headers can't be read, nobody else could have read them.
                let up_to_end = readings_up_to(segment, until, disk).unwrap_or(segment.readings);
                unread +=
                    up_to_end.saturating_sub(readings_up_to(segment, after, disk).unwrap_or(0));
                counted = until;
            }
        }
        unread.min(segment.readings)
    }

    /// Adds up what of a segment each cursor has not read, by source, and notes what it has in hand.
    fn lose(&mut self, segment: &Segment, disk: &Disk, swept: &mut Swept) -> io::Result<()> {
        let path = disk.path(&segment::name(segment.first));
        let mut scanner = Scanner::open(&path, segment.first, segment.last + 1)?;
        let mut damaged = false;
        while let Some((header, body)) = scanner.next(0, segment.end)? {
            let Ok(batches) = format::decode(body) else {
                damaged = true;
                continue;
            };
            let entry = Entry {
                position: Position(header.position),
                batches,
            };
            for (name, progress) in &self.cursors {
                if !progress.is_undone(header.position) {
                    continue;
                }
                let hand = self.in_hand.get(name);
                if name == restamp::CURSOR {
                    if hand.is_none_or(|hand| hand.is_undone(header.position)) {
                        for (source, count) in provisional_by_source(&entry) {
                            *swept.provisional.entry(source.clone()).or_default() += count;
                        }
                    }
                    continue;
                }
                if hand.is_some_and(|hand| !hand.is_undone(header.position)) {
                    let taken = self.taken.entry(name.clone()).or_default();
                    let sources = by_source(&entry).map(|(source, count)| (source.clone(), count));
                    taken.insert(header.position, sources.collect());
                    continue;
                }
                for (source, count) in by_source(&entry) {
                    let lost = swept.lost.entry((name.clone(), source.clone()));
                    *lost.or_default() += count;
                }
            }
        }
        let believers = self.believed.take_all(segment.first);
        if (damaged || scanner.tally().damaged > 0) && !believers.is_empty() {
            for (source, count) in stock::missing(segment, disk)? {
                for name in &believers {
                    *swept
                        .lost
                        .entry((name.clone(), source.clone()))
                        .or_default() += count;
                }
            }
        }
        Ok(())
    }

    /// What is done with is not lost, though it was taken.
    pub(super) fn forget_done(&mut self, cursor: &str) {
        if let (Some(taken), Some(progress)) =
            (self.taken.get_mut(cursor), self.cursors.get(cursor))
        {
            taken.retain(|position, _| progress.is_undone(*position));
        }
    }

    /// A cursor will not do with what it has in hand: what was taken of that is lost.
    fn give_up_hand(&mut self, cursor: &str) -> Vec<(SourceName, u64)> {
        self.forget_done(cursor);
        self.in_hand.remove(cursor);
        let taken = self.taken.remove(cursor).unwrap_or_default();
        let lost: Vec<_> = taken.into_values().flatten().collect();
        self.dropped_unread += lost.iter().map(|(_, count)| count).sum::<u64>();
        lost
    }

    /// Whether the oldest segment must or may go when `incoming` bytes are about to be added.
    fn oldest_goes(&self, config: &Config, incoming: u64) -> Option<Segment> {
        let oldest = *self.segments.front().filter(|_| self.segments.len() > 1)?;
        let bytes = self.bytes();
        let over = bytes + incoming > config.max_bytes;
        let spare = oldest.last <= self.slowest() && bytes - oldest.size >= config.keep_bytes;
        (over || spare).then_some(oldest)
    }

    /// Deletes what must and may go.
    pub(super) fn sweep(&mut self, config: &Config, disk: &Disk, incoming: u64) -> Swept {
        let mut swept = Swept::default();
        while let Some(oldest) = self.oldest_goes(config, incoming) {
            let unread = self.unread(&oldest, disk);
            let is_done = |progress: &Progress| oldest.last <= progress.slowest();
            if !self.cursors.values().all(is_done)
                && let Err(error) = self.lose(&oldest, disk, &mut swept)
            {
                tracing::debug!(%error, segment = oldest.first, "what is lost with a segment cannot be read");
            }
            match disk.remove(&segment::name(oldest.first)) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    tracing::debug!(%error, segment = oldest.first, "a segment cannot be deleted");
                    break;
                }
                _ => {}
            }
            self.segments.pop_front();
            self.believed.take_all(oldest.first);
            swept.segments += 1;
            swept.dropped_unread += unread;
        }
        self.dropped_unread += swept.dropped_unread;
        swept
    }
}

impl Shared {
    /// Deletes what must and may go, so that `incoming` bytes fit. Nothing once the journal is closed.
    pub(super) fn sweep(&self, incoming: u64) {
        if self.closed.load(Ordering::Acquire) {
            return;
        }
        let mut unset = self.unset();
        let mut index = self.index();
        let swept = index.sweep(&self.config, &self.disk, incoming);
        if swept.segments > 0 {
            self.metrics.set_size(index.bytes());
        }
        drop(index);
        unset.lose(swept.provisional.values().sum());
        drop(unset);
        for ((cursor, source), count) in &swept.lost {
            self.tallies.dropped(cursor, source, *count);
        }
        for (source, count) in &swept.provisional {
            self.tallies.dropped_everywhere(source, *count);
        }
        self.tell_lost(swept.dropped_unread);
    }

    /// A cursor begins anew, or goes: what the byte limit took of what it has in hand is lost to it.
    pub(super) fn give_up_hand(&self, mut index: MutexGuard<'_, Index>, cursor: &str) {
        let lost = index.give_up_hand(cursor);
        drop(index);
        for (source, count) in &lost {
            self.tallies.dropped(cursor, source, *count);
        }
        self.tell_lost(lost.iter().map(|(_, count)| count).sum());
    }

    fn tell_lost(&self, readings: u64) {
        if readings > 0 {
            self.metrics.dropped_unread.inc_by(readings);
            tracing::error!(
                readings,
                "the journal is at its limit: readings went before they were archived"
            );
        }
    }
}

/// Readings in the records of a segment up to and with `position`.
fn readings_up_to(segment: &Segment, position: u64, disk: &Disk) -> std::io::Result<u64> {
    if position < segment.first {
        return Ok(0);
    }
    if position >= segment.last {
        return Ok(segment.readings);
    }
    let path = disk.path(&segment::name(segment.first));
    let mut scanner = Scanner::open(&path, segment.first, position + 1)?;
    // Everything is stepped over, so only headers are looked at.
    scanner.next(u64::MAX, segment.end)?;
    Ok(scanner.tally().readings)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn index(sizes: &[u64], cursors: &[(&str, u64)]) -> Index {
        let mut index = Index::default();
        for (i, &size) in sizes.iter().enumerate() {
            let first = i as u64 * 10 + 1;
            index.segments.push_back(Segment {
                last: first + 9,
                size,
                end: size,
                records: 10,
                readings: 100,
                ..Segment::new(first)
            });
        }
        index.cursors = cursors
            .iter()
            .map(|(name, at)| ((*name).to_owned(), Progress::at(*at)))
            .collect();
        index
    }

    fn swept(index: &mut Index, max_bytes: u64, keep_bytes: u64, incoming: u64) -> Swept {
        let dir = tempfile::tempdir().unwrap();
        let config = Config {
            max_bytes,
            keep_bytes,
            ..Config::default()
        };
        index.sweep(&config, &Disk::new(dir.path()), incoming)
    }

    #[test]
    fn what_all_have_read_goes_down_to_what_is_kept() {
        let mut index = index(&[100; 5], &[("a", 50), ("b", 30)]);
        let done = swept(&mut index, 10_000, 250, 0);
        assert_eq!((done.segments, done.dropped_unread), (2, 0));
    }

    #[test]
    fn what_one_has_not_read_stays_within_the_limit() {
        let mut index = index(&[100; 5], &[("a", 50), ("b", 0)]);
        assert_eq!(swept(&mut index, 10_000, 0, 0), Swept::default());
    }

    #[test]
    fn at_the_limit_the_oldest_goes_and_the_unread_in_it_is_counted() {
        let mut index = index(&[100; 5], &[("a", 10)]);
        let done = swept(&mut index, 500, 500, 200);
        assert_eq!((done.segments, done.dropped_unread), (2, 100));
        assert_eq!(index.dropped_unread, 100);
    }

    #[test]
    fn what_was_left_behind_holds_its_segments_and_only_it_counts_as_unread() {
        let mut index = index(&[100; 5], &[("a", 10), ("b", 50)]);
        index.newest = 50;
        let progress = index.cursors.get_mut("a").unwrap();
        assert!(progress.leave(20));
        progress.front = 50;
        assert_eq!(
            index.amount(10, 20),
            Amount {
                records: 10,
                readings: 100
            }
        );
        assert_eq!(
            index.amount(15, 23),
            Amount {
                records: 8,
                readings: 80
            }
        );
        // The first segment is read; the second is held.
        assert_eq!(swept(&mut index, 10_000, 0, 0).segments, 1);
        // The limit takes the second, and the third, which was read.
        let done = swept(&mut index, 200, 200, 0);
        assert_eq!((done.segments, done.dropped_unread), (2, 100));
    }

    #[test]
    fn what_two_cursors_have_not_read_counts_once() {
        let mut index = index(&[100; 3], &[("a", 0), ("b", 0)]);
        let done = swept(&mut index, 200, 200, 0);
        assert_eq!((done.segments, done.dropped_unread), (1, 100));
    }

    #[test]
    fn the_newest_segment_stays_whatever_happens() {
        let mut index = index(&[100; 3], &[]);
        assert_eq!(swept(&mut index, 10, 0, 1_000).segments, 2);
        assert_eq!(index.segments.len(), 1);
    }
}
