//! What conditions remembered when the inventory was written down, on its way back to them.
//!
//! It holds for a record of the journal, and the replay may begin before that: until the replay is past the record, conditions take what it
//! brings as ever, and then what they remembered takes the place of that. So no reading counts twice, and a rule that is new has at
//! least what was replayed.

use std::collections::HashMap;

use crate::{
    alert::{Machine, Remembered},
    journal::Position,
    model::SeriesKey,
    store::{SeriesIndex, Store},
};

#[derive(Debug, Default)]
pub(super) struct Returning {
    /// They hold after this record.
    position: Position,
    /// Whether the replay is past it.
    is_past: bool,
    by_series: HashMap<SeriesKey, Vec<Remembered>>,
    unreadable: usize,
}

impl Returning {
    pub(super) fn new(position: Position, remembered: Vec<Remembered>) -> Self {
        let mut by_series: HashMap<SeriesKey, Vec<Remembered>> = HashMap::new();
        for one in remembered {
            by_series.entry(one.series.clone()).or_default().push(one);
        }
        Self {
            position,
            by_series,
            ..Self::default()
        }
    }

    /// The replay comes to this record: if that is the first one past the position, everything is given to the series that are known.
    pub(super) fn before(&mut self, next: Position, store: &Store, machine: &mut Machine) {
        if self.is_past || next <= self.position {
            return;
        }
        self.is_past = true;
        let known: Vec<SeriesIndex> = self
            .by_series
            .keys()
            .filter_map(|k| store.find(k))
            .collect();
        for series in known {
            self.found(series, store, machine);
        }
    }

    /// A series is known now.
    pub(super) fn found(&mut self, series: SeriesIndex, store: &Store, machine: &mut Machine) {
        if !self.is_past || self.by_series.is_empty() {
            return;
        }
        for remembered in self.by_series.remove(store.key(series)).unwrap_or_default() {
            self.unreadable += usize::from(machine.give_back(series, &remembered).is_err());
        }
    }

    /// The replay is over; what is left is of series that nobody knows any more.
    pub(super) fn end(&mut self, store: &Store, machine: &mut Machine) {
        self.before(Position(u64::MAX), store, machine);
        self.by_series = HashMap::new();
        if self.unreadable > 0 {
            tracing::warn!(
                rows = self.unreadable,
                "what conditions remembered of series cannot be read: they begin anew with what was replayed"
            );
        }
    }
}
