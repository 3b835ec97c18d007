//! The recent points of one series, in a bound of bytes, ordered by measured time.
//!
//! A point in order is appended in constant time; a late one is put at its place; of equal times all are kept, in the order of
//! arrival. When the bound is reached the oldest go (they are in the journal and the history all the same), and a point older
//! than everything in a full ring is not taken.
//!
//! A point takes [`POINT_BYTES`]; a text takes its own bytes besides.

use std::collections::VecDeque;

use smol_str::SmolStr;

use crate::{
    model::{Quality, Timestamp, Value},
    store::Point,
};

/// What one point costs in a ring, texts apart.
pub const POINT_BYTES: usize = size_of::<Slot>();

/// What a text costs besides: its box, and its bytes when they do not fit in it.
const TEXT_BYTES: usize = size_of::<SmolStr>();

/// Recent points of one series.
#[derive(Debug)]
pub(crate) struct Ring {
    slots: VecDeque<Slot>,
    max_bytes: usize,
    text_bytes: usize,
}

/// A point packed into 24 bytes: the quality sits in the padding, and the rare text is behind a pointer.
#[derive(Clone, Debug)]
struct Slot {
    time: i64,
    cell: Cell,
}

#[derive(Clone, Debug)]
enum Cell {
    Bool(Quality, bool),
    Int(Quality, i64),
    Float(Quality, f64),
    Text(Quality, Box<SmolStr>),
}

impl Ring {
    /// An empty ring. It holds at least one point, however small the bound.
    pub(crate) const fn new(max_bytes: usize) -> Self {
        Self {
            slots: VecDeque::new(),
            max_bytes,
            text_bytes: 0,
        }
    }

    /// Takes a point; `false` if it is older than all of a full ring.
    pub(crate) fn push(&mut self, time: Timestamp, value: &Value, quality: Quality) -> bool {
        let slot = Slot::new(time, value, quality);
        let in_order = self.slots.back().is_none_or(|last| last.time <= slot.time);
        let full = self.bytes() + POINT_BYTES + slot.text_bytes() > self.max_bytes;
        if full && !in_order && self.slots.front().is_some_and(|old| slot.time < old.time) {
            return false;
        }
        while !self.slots.is_empty()
            && self.bytes() + POINT_BYTES + slot.text_bytes() > self.max_bytes
        {
            self.evict();
        }
        if self.slots.len() == self.slots.capacity() {
            // Doubling as usual, but never beyond the bound: `VecDeque` alone would round up to twice as much.
            let most = (self.max_bytes / POINT_BYTES).max(1);
            let more = self.slots.len().max(4);
            self.slots
                .reserve_exact(more.min(most.saturating_sub(self.slots.len())).max(1));
        }
        self.text_bytes += slot.text_bytes();
        if in_order {
            self.slots.push_back(slot);
        } else {
            let place = self.slots.partition_point(|old| old.time <= slot.time);
            self.slots.insert(place, slot);
        }
        true
    }

    /// How many points are in it.
    pub(crate) fn len(&self) -> usize {
        self.slots.len()
    }

    /// What its points take, in bytes.
    pub(crate) fn bytes(&self) -> usize {
        self.slots.len() * POINT_BYTES + self.text_bytes
    }

    /// The points with `from <= time < to`, by time.
    pub(crate) fn range(&self, from: Timestamp, to: Timestamp) -> Vec<Point> {
        let start = self.slots.partition_point(|slot| slot.time < from.0);
        let end = self.slots.partition_point(|slot| slot.time < to.0);
        self.slots
            .range(start..end.max(start))
            .map(Slot::point)
            .collect()
    }

    /// The first number with `from <= time <= to` that is not bad.
    pub(crate) fn first_number(&self, from: Timestamp, to: Timestamp) -> Option<f64> {
        let start = self.slots.partition_point(|slot| slot.time < from.0);
        self.slots
            .range(start..)
            .take_while(|slot| slot.time <= to.0)
            .find_map(Slot::number)
    }

    /// The numbers with `from <= time <= to` that are not bad, newest first.
    pub(crate) fn numbers_back(
        &self,
        from: Timestamp,
        to: Timestamp,
    ) -> impl Iterator<Item = (i64, f64)> {
        let end = self.slots.partition_point(|slot| slot.time <= to.0);
        self.slots
            .range(..end)
            .rev()
            .take_while(move |slot| slot.time >= from.0)
            .filter_map(|slot| slot.number().map(|number| (slot.time, number)))
    }

    /// Whether nothing from `time` on can have been let go.
    pub(crate) fn reaches(&self, time: Timestamp) -> bool {
        self.slots.front().is_some_and(|slot| slot.time < time.0)
    }

    /// Forgets every point after `time`; returns how many.
    pub(crate) fn forget_after(&mut self, time: Timestamp) -> usize {
        let keep = self.slots.partition_point(|slot| slot.time <= time.0);
        let forgotten = self.slots.len() - keep;
        for slot in self.slots.drain(keep..) {
            self.text_bytes -= slot.text_bytes();
        }
        forgotten
    }

    fn evict(&mut self) {
        if let Some(old) = self.slots.pop_front() {
            self.text_bytes -= old.text_bytes();
        }
    }
}

impl Slot {
    fn new(time: Timestamp, value: &Value, quality: Quality) -> Self {
        let cell = match value {
            Value::Bool(value) => Cell::Bool(quality, *value),
            Value::Int(value) => Cell::Int(quality, *value),
            Value::Float(value) => Cell::Float(quality, *value),
            Value::Text(value) => Cell::Text(quality, Box::new(value.clone())),
        };
        Self { time: time.0, cell }
    }

    fn point(&self) -> Point {
        let (quality, value) = match &self.cell {
            Cell::Bool(quality, value) => (*quality, Value::Bool(*value)),
            Cell::Int(quality, value) => (*quality, Value::Int(*value)),
            Cell::Float(quality, value) => (*quality, Value::Float(*value)),
            Cell::Text(quality, value) => (*quality, Value::Text((**value).clone())),
        };
        Point {
            time: Timestamp(self.time),
            value,
            quality,
        }
    }

    #[expect(
        clippy::cast_precision_loss,
        reason = "a change is judged on floats; the exact integer stays in the ring"
    )]
    fn number(&self) -> Option<f64> {
        match self.cell {
            Cell::Bool(Quality::Bad, _)
            | Cell::Int(Quality::Bad, _)
            | Cell::Float(Quality::Bad, _)
            | Cell::Text(..) => None,
            Cell::Bool(_, value) => Some(if value { 1.0 } else { 0.0 }),
            Cell::Int(_, value) => Some(value as f64),
            Cell::Float(_, value) => Some(value),
        }
    }

    fn text_bytes(&self) -> usize {
        match &self.cell {
            Cell::Text(_, text) if text.is_heap_allocated() => TEXT_BYTES + text.len(),
            Cell::Text(..) => TEXT_BYTES,
            _ => 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn push(ring: &mut Ring, time: i64, value: f64) -> bool {
        ring.push(Timestamp(time), &Value::Float(value), Quality::Good)
    }

    fn all(ring: &Ring) -> Vec<(i64, Value)> {
        ring.range(Timestamp(i64::MIN), Timestamp(i64::MAX))
            .into_iter()
            .map(|point| (point.time.0, point.value))
            .collect()
    }

    #[test]
    fn a_point_is_twenty_four_bytes() {
        assert_eq!(POINT_BYTES, 24);
    }

    #[test]
    fn a_late_point_goes_to_its_place_and_equal_times_keep_the_order_of_arrival() {
        let mut ring = Ring::new(1024);
        for (time, value) in [(1, 1.0), (3, 3.0), (2, 2.0), (3, 3.5), (2, 2.5)] {
            assert!(push(&mut ring, time, value));
        }
        let values: Vec<_> = all(&ring).into_iter().map(|(_, value)| value).collect();
        assert_eq!(values, [1.0, 2.0, 2.5, 3.0, 3.5].map(Value::Float));
    }

    #[test]
    fn a_full_ring_lets_the_oldest_go_and_refuses_what_is_older_still() {
        let mut ring = Ring::new(3 * POINT_BYTES);
        for time in 10..14 {
            assert!(push(&mut ring, time, 0.0));
        }
        assert!(!push(&mut ring, 5, 0.0));
        assert!(push(&mut ring, 12, 1.0));
        let times: Vec<_> = all(&ring).into_iter().map(|(time, _)| time).collect();
        assert_eq!(times, [12, 12, 13]);
    }

    #[test]
    fn the_change_is_measured_from_the_first_number_that_is_not_bad() {
        let mut ring = Ring::new(1024);
        ring.push(Timestamp(1), &Value::Float(9.0), Quality::Bad);
        ring.push(Timestamp(2), &Value::Text("x".into()), Quality::Good);
        ring.push(Timestamp(3), &Value::Int(4), Quality::Uncertain);
        assert_eq!(ring.first_number(Timestamp(0), Timestamp(3)), Some(4.0));
        assert_eq!(ring.first_number(Timestamp(0), Timestamp(2)), None);
    }

    fn value() -> impl Strategy<Value = Value> {
        prop_oneof![
            any::<i64>().prop_map(Value::Int),
            any::<bool>().prop_map(Value::Bool),
            (-1e9..1e9).prop_map(Value::Float),
            ".{0,60}".prop_map(|text| Value::Text(text.into())),
        ]
    }

    proptest! {
        #[test]
        fn it_is_always_ordered_within_its_bound_and_holds_the_newest(
            bytes in 24_usize..2000,
            points in prop::collection::vec((0_i64..50, value()), 1..120),
        ) {
            let mut ring = Ring::new(bytes);
            for (time, value) in &points {
                ring.push(Timestamp(*time), value, Quality::Good);
                prop_assert!(ring.bytes() <= bytes.max(POINT_BYTES + TEXT_BYTES + 240));
                prop_assert!(ring.len() == 1 || ring.bytes() <= bytes);
            }
            let held = all(&ring);
            prop_assert!(held.is_sorted_by_key(|(time, _)| *time));
            prop_assert!(!held.is_empty());
            let texts: usize = ring.slots.iter().map(Slot::text_bytes).sum();
            prop_assert_eq!(texts, ring.text_bytes);
        }

        #[test]
        fn what_fits_is_exactly_what_was_pushed_in_stable_order_of_time(
            points in prop::collection::vec((0_i64..20, value()), 0..60),
        ) {
            let mut ring = Ring::new(1 << 20);
            for (time, value) in &points {
                prop_assert!(ring.push(Timestamp(*time), value, Quality::Good));
            }
            let mut expected = points;
            expected.sort_by_key(|(time, _)| *time);
            prop_assert_eq!(all(&ring), expected);
        }
    }
}
