//! Which series there are: each key is given a small number once, and everything else is found by number.
//!
//! Looking up borrows the key and allocates nothing. The number of series is capped; series are never forgotten while the process
//! runs, so a number stays good.

use std::hash::BuildHasher;

use foldhash::fast::RandomState;
use hashbrown::HashTable;

use crate::model::SeriesKey;

/// The number of a series: its place in the order in which they were first seen, from 0.
pub type SeriesIndex = u32;

/// Keys to numbers and back.
#[derive(Debug)]
pub(crate) struct Registry {
    max: usize,
    hasher: RandomState,
    numbers: HashTable<SeriesIndex>,
    keys: Vec<SeriesKey>,
}

impl Registry {
    /// Empty, for at most `max` series.
    pub(crate) fn new(max: usize) -> Self {
        Self {
            max: max.min(SeriesIndex::MAX as usize),
            hasher: RandomState::default(),
            numbers: HashTable::new(),
            keys: Vec::new(),
        }
    }

    /// A higher cap; a lower one changes nothing.
    pub(crate) fn raise_max(&mut self, max: usize) {
        self.max = self.max.max(max.min(SeriesIndex::MAX as usize));
    }

    /// The number of a known series.
    pub(crate) fn find(&self, key: &SeriesKey) -> Option<SeriesIndex> {
        self.numbers
            .find(self.hasher.hash_one(key), |at| {
                self.keys[*at as usize] == *key
            })
            .copied()
    }

    /// The number of a new series; `None` when there are too many. `key` must not be known yet.
    pub(crate) fn add(&mut self, key: &SeriesKey) -> Option<SeriesIndex> {
        debug_assert!(self.find(key).is_none());
        if self.keys.len() >= self.max {
            return None;
        }
        let index = SeriesIndex::try_from(self.keys.len()).ok()?;
        self.keys.push(key.clone());
        self.numbers
            .insert_unique(self.hasher.hash_one(key), index, |at| {
                self.hasher.hash_one(&self.keys[*at as usize])
            });
        Some(index)
    }

    /// The key of a number that [`Registry::add`] gave.
    pub(crate) fn key(&self, index: SeriesIndex) -> &SeriesKey {
        &self.keys[index as usize]
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.keys.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_get_numbers_in_order_up_to_the_cap() {
        let key = |n: usize| SeriesKey::parse(&format!("device-{n}/metric")).unwrap();
        let mut registry = Registry::new(100);
        for n in 0..100 {
            assert_eq!(registry.add(&key(n)), Some(n as u32));
        }
        assert_eq!(registry.add(&key(100)), None);
        assert_eq!(registry.len(), 100);
        for n in 0..100 {
            assert_eq!(registry.find(&key(n)), Some(n as u32));
            assert_eq!(registry.key(n as u32), &key(n));
        }
        assert_eq!(registry.find(&key(100)), None);
    }
}
