//! The newest snapshots, for many clients that arrive at once, and the bytes of all that wait to be read.
//!
//! A snapshot of a full store is megabytes, and a client that stops reading may hold one for as long as its connection is
//! let idle. So what is held is counted for as long as anybody holds it, the network's layers included: above
//! [`MANY_BYTES`] a client gets the last snapshot again and reads the events since from the ring; above [`MAX_BYTES`] it is
//! sent away until others have read theirs.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use bytes::Bytes;

use super::{filter::Filter, place::Mark, ring::Ring};

/// Snapshots kept, of as many filters.
const MAX_KEPT: usize = 8;
/// Bytes that wait, above which snapshots are no longer made for each event.
const MANY_BYTES: usize = 16 << 20;
/// Bytes that wait, above which none is made.
const MAX_BYTES: usize = 64 << 20;
/// A snapshot serves again while it is at most so many events old; below what a client may be behind.
const MAX_AGE: u64 = 128;

#[derive(Debug, Default)]
pub(super) struct Snapshots {
    kept: HashMap<Filter, Snapshot>,
    bytes: Arc<AtomicUsize>,
}

/// A snapshot without its head, and the newest event that is in it.
#[derive(Clone, Debug)]
pub(super) struct Snapshot {
    pub(super) sequence: u64,
    /// What all events up to that one brought.
    pub(super) mark: Mark,
    pub(super) rest: Bytes,
}

impl Snapshots {
    /// Whether too much waits already.
    pub(super) fn is_full(&self) -> bool {
        self.bytes.load(Ordering::Acquire) > MAX_BYTES
    }

    /// One that will do, now that `newest` is the newest event.
    pub(super) fn find(&self, filter: &Filter, newest: u64, ring: &Ring) -> Option<Snapshot> {
        let oldest = if self.bytes.load(Ordering::Acquire) > MANY_BYTES {
            newest.saturating_sub(MAX_AGE)
        } else {
            newest
        };
        let known = self.kept.get(filter)?;
        let will_do = known.sequence >= oldest && ring.reaches_back_to(known.sequence);
        will_do.then(|| known.clone())
    }

    /// Keeps a new one for those who come after.
    pub(super) fn keep(
        &mut self,
        filter: &Filter,
        newest: u64,
        mark: Mark,
        rest: Bytes,
    ) -> Snapshot {
        let snapshot = Snapshot {
            sequence: newest,
            mark,
            rest: self.count(rest),
        };
        self.kept.retain(|_, old| old.sequence + MAX_AGE >= newest);
        if self.kept.len() >= MAX_KEPT {
            self.kept.clear();
        }
        self.kept.insert(filter.clone(), snapshot.clone());
        snapshot
    }

    /// Keeps none of them: something changed without an event.
    pub(super) fn forget(&mut self) {
        self.kept.clear();
    }

    /// The same bytes, counted until the last who holds them lets go.
    pub(super) fn count(&self, bytes: Bytes) -> Bytes {
        self.bytes.fetch_add(bytes.len(), Ordering::AcqRel);
        Bytes::from_owner(Counted {
            bytes,
            all: Arc::clone(&self.bytes),
        })
    }
}

struct Counted {
    bytes: Bytes,
    all: Arc<AtomicUsize>,
}

impl AsRef<[u8]> for Counted {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.all.fetch_sub(self.bytes.len(), Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::live::{
        event::{About, Event},
        place::News,
    };

    fn ring_of(events: u64) -> Ring {
        let mut ring = Ring::new(1 << 20);
        for sequence in 1..=events {
            ring.push(Arc::new(Event {
                sequence,
                at_ms: 0,
                kind: crate::live::filter::Kind::Status,
                news: News::Other,
                about: About::Everyone,
                frame: Bytes::new(),
            }));
        }
        ring
    }

    #[test]
    fn while_little_waits_a_snapshot_serves_until_the_next_event() {
        let (mut snapshots, filter) = (Snapshots::default(), Filter::of([], []).unwrap());
        snapshots.keep(&filter, 7, Mark::default(), Bytes::from_static(b"{}"));
        assert_eq!(snapshots.find(&filter, 7, &ring_of(7)).unwrap().sequence, 7);
        assert!(snapshots.find(&filter, 8, &ring_of(8)).is_none());
    }

    #[test]
    fn while_much_waits_an_older_one_serves_and_in_the_end_none_is_made() {
        let (mut snapshots, filter) = (Snapshots::default(), Filter::of([], []).unwrap());
        let much = snapshots.count(Bytes::from(vec![0; MANY_BYTES + 1]));
        snapshots.keep(&filter, 7, Mark::default(), Bytes::from_static(b"{}"));
        assert_eq!(
            snapshots.find(&filter, 70, &ring_of(70)).unwrap().sequence,
            7
        );
        assert!(
            snapshots
                .find(&filter, 7 + MAX_AGE + 1, &ring_of(200))
                .is_none()
        );
        assert!(!snapshots.is_full());
        let more = snapshots.count(Bytes::from(vec![0; MAX_BYTES]));
        assert!(snapshots.is_full());
        drop((much, more));
        assert!(!snapshots.is_full());
    }
}
