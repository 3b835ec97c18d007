//! Which segments may go, and how many unread readings go with them.
//!
//! Two rules, the first stronger: no more than `max_bytes` on disk, whoever still needs what is in there; and what every
//! cursor has read goes as soon as `keep_bytes` remain. The newest segment always stays: its name carries the numbering on.
//! Only cursors that were asked for since the start count; a file of a cursor that nobody uses any more holds nothing.

use std::collections::{BTreeMap, VecDeque};

use super::{
    Config,
    disk::Disk,
    segment::{self, Scanner, Segment},
};

/// What is on disk, and who has read how far.
#[derive(Debug, Default)]
pub(super) struct Index {
    /// Oldest first; records are added to the last one only.
    pub(super) segments: VecDeque<Segment>,
    /// The positions of the cursors that are in use.
    pub(super) cursors: BTreeMap<String, u64>,
    /// The number that the next record gets.
    pub(super) next: u64,
    /// The newest durable record.
    pub(super) newest: u64,
    /// Readings that went before every cursor had read them.
    pub(super) dropped_unread: u64,
}

/// What a sweep did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Swept {
    pub(super) segments: usize,
    pub(super) dropped_unread: u64,
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
        self.cursors.values().copied().min().unwrap_or(u64::MAX)
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
            let unread = unread(&oldest, self.slowest(), disk);
            match disk.remove(&segment::name(oldest.first)) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    tracing::debug!(%error, segment = oldest.first, "a segment cannot be deleted");
                    break;
                }
                _ => {}
            }
            self.segments.pop_front();
            swept.segments += 1;
            swept.dropped_unread += unread;
        }
        self.dropped_unread += swept.dropped_unread;
        swept
    }
}

/// Readings of a segment that lie behind the slowest cursor.
fn unread(segment: &Segment, slowest: u64, disk: &Disk) -> u64 {
    if slowest >= segment.last {
        return 0;
    }
    if slowest < segment.first {
        return segment.readings;
    }
    let counted = Scanner::open(
        &disk.path(&segment::name(segment.first)),
        segment.first,
        slowest + 1,
    )
    .and_then(|mut scanner| {
        // Everything is stepped over, so only headers are looked at.
        scanner.next(u64::MAX, segment.end)?;
        Ok(scanner.tally().readings)
    });
    // If even the headers can't be read, nobody else could have read them.
    segment.readings - counted.unwrap_or(0).min(segment.readings)
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
            .map(|(name, at)| ((*name).to_owned(), *at))
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
    fn the_newest_segment_stays_whatever_happens() {
        let mut index = index(&[100; 3], &[]);
        assert_eq!(swept(&mut index, 10, 0, 1_000).segments, 2);
        assert_eq!(index.segments.len(), 1);
    }
}
