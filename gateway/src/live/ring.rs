//! The one place where events wait for clients, live or coming back.
//!
//! Bounded in bytes; the oldest go first. A client is only a position here, so a slow one costs nothing: when its
//! position is gone it is told so, and goes on with a catch-up.

use std::{collections::VecDeque, sync::Arc};

use super::{
    event::Event,
    place::{Mark, News},
};

/// The newest events, without holes in their sequence.
#[derive(Debug)]
pub(crate) struct Ring {
    events: VecDeque<Arc<Event>>,
    bytes: usize,
    max_bytes: usize,
    /// The sequence that the next event gets.
    next: u64,
    /// What is not here, or had to go: who has heard all this misses nothing that is not here.
    gone: Mark,
}

/// What stands at a position.
#[derive(Debug)]
pub(crate) enum At {
    /// This event; `behind` more stand after it.
    Event { event: Arc<Event>, behind: u64 },
    /// Nothing yet: all was read.
    End,
    /// It had to go.
    Gone,
}

impl Ring {
    pub(crate) const fn new(max_bytes: usize) -> Self {
        Self {
            events: VecDeque::new(),
            bytes: 0,
            max_bytes,
            next: 1,
            gone: Mark {
                readings: 0,
                windows: (0, 0),
                alerts: 0,
            },
        }
    }

    /// The sequence that the next event must carry.
    #[cfg(test)]
    pub(crate) const fn next(&self) -> u64 {
        self.next
    }

    pub(crate) const fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether everything after `sequence` is still here.
    pub(crate) fn reaches_back_to(&self, sequence: u64) -> bool {
        sequence < self.next && sequence + 1 >= self.first()
    }

    /// Adds an event that carries the next sequence. The newest always stays, however big.
    pub(crate) fn push(&mut self, event: Arc<Event>) {
        debug_assert_eq!(event.sequence, self.next);
        self.next += 1;
        self.bytes += event.cost();
        self.events.push_back(event);
        while self.bytes > self.max_bytes && self.events.len() > 1 {
            if let Some(oldest) = self.events.pop_front() {
                self.bytes -= oldest.cost();
                self.gone.hear(oldest.news);
            }
        }
    }

    /// Nothing up to `mark` was ever here.
    pub(crate) const fn begin_after(&mut self, mark: Mark) {
        self.gone = mark;
    }

    /// The place to go on from for a listener of an earlier run that heard `mark`, and how many durable events it has missed;
    /// `None` if one of them is no longer here.
    pub(crate) fn after(&self, mark: &Mark) -> Option<(u64, u64)> {
        if !mark.covers(&self.gone) {
            return None;
        }
        let mut first = self.next;
        let mut missed = 0;
        for event in &self.events {
            if event.news != News::Other && !mark.has(event.news) {
                first = first.min(event.sequence);
                missed += 1;
            }
        }
        Some((first, missed))
    }

    pub(crate) fn at(&self, sequence: u64) -> At {
        if sequence >= self.next {
            return At::End;
        }
        sequence
            .checked_sub(self.first())
            .and_then(|index| self.events.get(usize::try_from(index).ok()?))
            .map_or(At::Gone, |event| At::Event {
                event: Arc::clone(event),
                behind: self.next - 1 - sequence,
            })
    }

    fn first(&self) -> u64 {
        self.next - self.events.len() as u64
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::live::{event::About, filter::Kind};

    fn push(ring: &mut Ring, bytes: usize) {
        ring.push(Arc::new(Event {
            sequence: ring.next(),
            at_ms: 0,
            kind: Kind::Status,
            news: News::Other,
            about: About::Everyone,
            frame: Bytes::from(vec![b'x'; bytes]),
        }));
    }

    #[test]
    fn the_oldest_go_when_the_bytes_are_used_up() {
        let mut ring = Ring::new(10_000);
        for _ in 0..100 {
            push(&mut ring, 1000);
        }
        assert!(ring.bytes() <= 10_000);
        assert!(matches!(ring.at(1), At::Gone));
        assert!(matches!(ring.at(100), At::Event { behind: 0, .. }));
        assert!(matches!(ring.at(101), At::End));
        assert!(ring.reaches_back_to(100));
        assert!(!ring.reaches_back_to(101), "that was never said");
        assert!(!ring.reaches_back_to(1));
    }

    #[test]
    fn the_newest_stays_even_when_it_is_too_big() {
        let mut ring = Ring::new(10);
        push(&mut ring, 1000);
        push(&mut ring, 1000);
        assert!(matches!(ring.at(2), At::Event { .. }));
        assert!(matches!(ring.at(1), At::Gone));
    }

    #[test]
    fn an_empty_ring_reaches_back_to_its_beginning() {
        assert!(Ring::new(10).reaches_back_to(0));
        assert!(matches!(Ring::new(10).at(1), At::End));
    }
}
