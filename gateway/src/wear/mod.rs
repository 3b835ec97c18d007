//! What the gateway writes to disk, and what that costs the card.
//!
//! | file | job |
//! |---|---|
//! | `mod.rs` | [`Writes`]: what one part of the gateway counts of its own writes |
//! | `sqlite.rs` | counting for the parts that write through SQLite |
//! | `meter.rs` | [`Meter`]: all parts together, what the kernel says, what a day comes to |
//! | `card.rs` | how long a card lasts with that, and what an eMMC says of itself |
//!
//! What holds: each part counts at the call that writes, so its figure does not depend on the kernel's for the whole process,
//! which is the truth that they are held to. Nothing here writes to disk. Memory is bounded: a sample a minute for six hours.
//!
//! It does not count what the file system adds for its own journal, nor what a card moves about inside: see `card.rs`.

pub mod card;
mod meter;
mod sqlite;

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering::Relaxed},
};

pub use self::{
    meter::{DiskStatus, Meter, PartStatus},
    sqlite::watch,
};

/// What the kernel writes at least: a page.
pub const PAGE: u64 = 4096;

/// What one part has written since the start of the process. Cheap to clone; clones count together.
#[derive(Clone, Debug, Default)]
#[must_use]
pub struct Writes {
    counts: Arc<Counts>,
}

#[derive(Debug, Default)]
struct Counts {
    bytes: AtomicU64,
    syncs: AtomicU64,
    in_place: AtomicU64,
}

impl Writes {
    /// `length` bytes were written at `offset` of a file, and are about to be synced: whole pages go to the disk.
    pub fn wrote(&self, offset: u64, length: u64) {
        if length > 0 {
            let pages = (offset + length).div_ceil(PAGE) - offset / PAGE;
            self.counts.bytes.fetch_add(pages * PAGE, Relaxed);
        }
    }

    /// So many calls of fsync(2) or fdatasync(2) were made.
    pub fn synced(&self, calls: u64) {
        self.counts.syncs.fetch_add(calls, Relaxed);
    }

    /// One of them was of a file that had not become longer: the file system had nothing to note of it.
    pub fn synced_in_place(&self) {
        self.synced(1);
        self.counts.in_place.fetch_add(1, Relaxed);
    }

    /// Bytes handed to the disk, in whole pages.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.counts.bytes.load(Relaxed)
    }

    /// Calls of fsync(2) and fdatasync(2).
    #[must_use]
    pub fn syncs(&self) -> u64 {
        self.counts.syncs.load(Relaxed)
    }

    /// Of these, those that the file system noted in its own journal.
    #[must_use]
    pub fn noted_syncs(&self) -> u64 {
        self.syncs()
            .saturating_sub(self.counts.in_place.load(Relaxed))
    }

    fn add_bytes(&self, bytes: u64) {
        self.counts.bytes.fetch_add(bytes, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_write_counts_as_the_pages_that_it_touches() {
        let written = |offset, length| {
            let writes = Writes::default();
            writes.wrote(offset, length);
            writes.bytes()
        };
        assert_eq!(written(0, 0), 0);
        assert_eq!(written(0, 1), PAGE);
        assert_eq!(written(PAGE - 1, 1), PAGE);
        assert_eq!(written(PAGE - 1, 2), 2 * PAGE);
        assert_eq!(written(100, 3 * PAGE), 4 * PAGE);
    }
}
