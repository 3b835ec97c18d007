//! How far a cursor is: everything up to its front is done with, but for the stretches that it left behind.
//!
//! Pure. A reader that was kept waiting may leave a backlog behind, go on at the newest record, and read the backlog later;
//! this is the account of it. As a note it is one line: the front, each stretch as `after-until`, and the CRC-32 of all that, with
//! blanks between: `900 100-400 500-700 1a2b3c4d`.

use super::{Position, segment::MAX_POSITION};

/// Stretches that a cursor may leave behind at a time. One more is not left: it is read in order.
pub const MAX_STRETCHES: usize = 32;

/// Records that were left behind, to be read later: those after `after`, up to and with `until`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stretch {
    /// Done with up to here.
    pub after: Position,
    /// The last one of them.
    pub until: Position,
}

/// The places of one cursor. Stretches are in order, apart from each other, and before the front.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Progress {
    pub(super) front: u64,
    stretches: Vec<Stretch>,
}

/// How much of some records is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Share {
    All,
    Part,
    None,
}

impl Progress {
    /// With nothing left behind.
    pub(super) const fn at(front: u64) -> Self {
        Self {
            front,
            stretches: Vec::new(),
        }
    }

    pub(super) fn stretches(&self) -> &[Stretch] {
        &self.stretches
    }

    /// Everything up to here is done with, and may go.
    pub(super) fn slowest(&self) -> u64 {
        self.stretches.first().map_or(self.front, |s| s.after.0)
    }

    /// Leaves what is between the front and `newest` behind. False when there is nothing, or no room for another stretch.
    pub(super) fn leave(&mut self, newest: u64) -> bool {
        if newest <= self.front {
            return false;
        }
        let (until, waiting) = (Position(newest), self.stretches.len());
        match self.stretches.last_mut() {
            Some(last) if last.until.0 == self.front => last.until = until,
            _ if waiting >= MAX_STRETCHES => return false,
            _ => self.stretches.push(Stretch {
                after: Position(self.front),
                until,
            }),
        }
        self.front = newest;
        true
    }

    /// The oldest stretch is done with up to `position`.
    pub(super) fn fill(&mut self, position: u64) {
        if let Some(oldest) = self.stretches.first_mut() {
            oldest.after = oldest.after.max(Position(position));
            if oldest.after >= oldest.until {
                self.stretches.remove(0);
            }
        }
    }

    /// What is not done with, as ranges after one position up to and with another.
    pub(super) fn undone(&self) -> impl Iterator<Item = (u64, u64)> {
        self.stretches
            .iter()
            .map(|s| (s.after.0, s.until.0))
            .chain([(self.front, MAX_POSITION)])
    }

    /// Whether this record is not done with.
    pub(super) fn is_undone(&self, record: u64) -> bool {
        self.undone()
            .any(|(after, until)| after < record && record <= until)
    }

    /// How much is to be done of the records from `first` to `last`.
    pub(super) fn share(&self, first: u64, last: u64) -> Share {
        let mut share = Share::None;
        for (after, until) in self.undone() {
            if after < first && last <= until {
                return Share::All;
            }
            if after < last && first <= until {
                share = Share::Part;
            }
        }
        share
    }

    pub(super) fn note(&self) -> String {
        use std::fmt::Write as _;
        let mut text = self.front.to_string();
        for stretch in &self.stretches {
            // Writing to a string never fails.
            let _ = write!(text, " {}-{}", stretch.after.0, stretch.until.0);
        }
        format!("{text} {:08x}\n", crc32fast::hash(text.as_bytes()))
    }

    /// Reads a note; `None` if it is none.
    pub(super) fn read(note: &str) -> Option<Self> {
        let (text, _) = note.rsplit_once(' ')?;
        let mut words = text.split(' ');
        let mut progress = Self::at(words.next()?.parse().ok()?);
        for word in words {
            let (after, until) = word.split_once('-')?;
            progress.stretches.push(Stretch {
                after: Position(after.parse().ok()?),
                until: Position(until.parse().ok()?),
            });
        }
        let ends = progress
            .stretches
            .iter()
            .flat_map(|s| [s.after.0, s.until.0])
            .chain([progress.front]);
        let whole = progress.front < MAX_POSITION
            && progress.stretches.len() <= MAX_STRETCHES
            && ends.is_sorted()
            && progress.stretches.iter().all(|s| s.after < s.until)
            && progress.note() == note;
        whole.then_some(progress)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// What is done with, by the definition, up to `newest`.
    fn undone(progress: &Progress, newest: u64) -> Vec<u64> {
        progress
            .undone()
            .flat_map(|(after, until)| after + 1..=until.min(newest))
            .collect()
    }

    #[test]
    fn a_note_of_before_there_were_stretches_is_read() {
        let note = format!("17 {:08x}\n", crc32fast::hash(b"17"));
        assert_eq!(Progress::read(&note), Some(Progress::at(17)));
        assert_eq!(Progress::read("17 00000000\n"), None);
    }

    #[test]
    fn a_backlog_behind_which_nothing_was_read_makes_the_stretch_longer() {
        let mut progress = Progress::at(10);
        assert!(progress.leave(20) && progress.leave(30));
        assert_eq!(progress.stretches().len(), 1);
        assert!(!progress.leave(30));
    }

    #[test]
    fn beyond_the_bound_no_stretch_is_left_behind() {
        let mut progress = Progress::at(0);
        for i in 1..=MAX_STRETCHES as u64 {
            assert!(progress.leave(i * 10));
            progress.front += 1;
        }
        let before = progress.clone();
        assert!(!progress.leave(100_000));
        assert_eq!(progress, before);
        assert_eq!(Progress::read(&before.note()), Some(before));
    }

    proptest! {
        /// Whatever is read, left and filled: each record is either done with once or still to be done, and the note says which.
        #[test]
        fn nothing_is_skipped_and_nothing_is_done_twice(steps in prop::collection::vec((0..3_u8, 1..20_u64), 0..60)) {
            let mut progress = Progress::default();
            let (mut newest, mut done) = (0, Vec::new());
            for (step, n) in steps {
                match step {
                    0 => {
                        newest += n;
                        progress.leave(newest);
                    }
                    1 => {
                        newest += n;
                        let to = newest.min(progress.front + n);
                        done.extend(progress.front + 1..=to);
                        progress.front = to;
                    }
                    _ => if let Some(oldest) = progress.stretches().first().copied() {
                        let to = (oldest.after.0 + n).min(oldest.until.0);
                        done.extend(oldest.after.0 + 1..=to);
                        progress.fill(to);
                    }
                }
                prop_assert_eq!(Progress::read(&progress.note()), Some(progress.clone()));
            }
            let mut all = undone(&progress, newest);
            prop_assert!(all.first().is_none_or(|first| *first == progress.slowest() + 1));
            all.extend(done);
            all.sort_unstable();
            prop_assert_eq!(all, (1..=newest).collect::<Vec<_>>());
        }
    }
}
