//! Tumbling and sliding windows of one series, over measured time, aligned to the epoch.
//!
//! Values go into panes, one per `every`; a window is `over / every` panes in a row, so that a tumbling window is one pane. A
//! window closes when the frontier of its series is past its end by the lateness; then it is final. Windows without values are
//! absent. Only readings move the frontier: the last window of a series that fell silent stays open, and can be asked for.
//!
//! Bounds: panes lie between the frontier and `lateness + over` before it, so there are at most
//! `(lateness + over) / every + 2`, whatever jumps the time makes, and closing visits only panes that exist. Closed windows are
//! kept in a ring of `kept`, the oldest go.

use std::collections::VecDeque;

use crate::{
    model::Timestamp,
    store::{Window, WindowSpec, aggregate::Aggregate},
};

/// All windows of one kind of one series. Times in nanoseconds.
#[derive(Debug)]
pub(crate) struct Windows {
    every: i64,
    over: i64,
    kept: usize,
    /// Every window that ends at or before this is closed. A multiple of `every`.
    closed_to: i64,
    /// By start; none empty.
    panes: VecDeque<Pane>,
    /// By start.
    closed: VecDeque<Row>,
}

/// What a closed window costs in memory.
#[cfg(test)]
const WINDOW_BYTES: usize = size_of::<Row>();

/// A closed window without what follows from its kind: its end, and that it is closed. Most of a full store is these.
#[derive(Clone, Debug)]
struct Row {
    start_ms: i64,
    count: u64,
    min: f64,
    max: f64,
    mean: f64,
    stddev: f64,
    first: f64,
    last: f64,
    p50: f64,
    p95: f64,
    p99: f64,
}

#[derive(Debug)]
struct Pane {
    start: i64,
    aggregate: Aggregate,
}

impl Windows {
    /// Empty. `over` is taken down to a multiple of `every`, which is at least a millisecond.
    pub(crate) fn new(spec: WindowSpec, kept: usize) -> Self {
        let every = nanos(spec.every).max(1_000_000);
        let over = nanos(spec.over);
        Self {
            every,
            over: (over - over % every).max(every),
            kept,
            closed_to: i64::MIN,
            panes: VecDeque::new(),
            closed: VecDeque::new(),
        }
    }

    /// Takes one value; `false` if it came too late for a window that it belongs to. (A sliding window that is still open counts it
    /// all the same.)
    pub(crate) fn add(&mut self, time: i64, value: f64) -> bool {
        let start = self.align(time);
        if start.saturating_add(self.over) <= self.closed_to {
            return false;
        }
        // Nearly always the newest pane: look from the back.
        let place = self
            .panes
            .iter()
            .rposition(|pane| pane.start <= start)
            .map_or(0, |at| at + 1);
        match place
            .checked_sub(1)
            .and_then(|at| self.panes.get_mut(at))
            .filter(|pane| pane.start == start)
        {
            Some(pane) => pane.aggregate.add(time, value),
            None => self.panes.insert(
                place,
                Pane {
                    start,
                    aggregate: Aggregate::of(time, value),
                },
            ),
        }
        start.saturating_add(self.every) > self.closed_to
    }

    /// The series has come to `frontier`: closes what is final and hands each window to `closed`, by start.
    pub(crate) fn advance(
        &mut self,
        frontier: i64,
        lateness: i64,
        closed: &mut impl FnMut(&Window),
    ) {
        let final_to = frontier.saturating_sub(lateness);
        // The common case, without a division: nothing ends before the next boundary.
        if final_to < self.closed_to.saturating_add(self.every) && self.closed_to != i64::MIN {
            return;
        }
        self.close_to(self.align(final_to), closed);
    }

    /// The time of the series went back to `frontier`: what is open is closed as it is, what was closed in the false future is
    /// forgotten, and windows from here on may close again.
    pub(crate) fn rewind(
        &mut self,
        frontier: i64,
        lateness: i64,
        closed: &mut impl FnMut(&Window),
    ) {
        self.close_to(i64::MAX, closed);
        self.panes.clear();
        self.closed_to = self.align(frontier.saturating_sub(lateness));
        let frontier_ms = frontier.div_euclid(1_000_000);
        self.closed.retain(|window| window.start_ms <= frontier_ms);
    }

    /// The closed windows that are kept, then the open ones, each by start.
    pub(crate) fn all(&self) -> impl Iterator<Item = Window> + '_ {
        let span_ms = self.over.div_euclid(1_000_000);
        self.closed
            .iter()
            .map(move |row| row.window(span_ms))
            .chain(self.open())
    }

    fn open(&self) -> impl Iterator<Item = Window> + '_ {
        let first = self
            .panes
            .front()
            .map(|pane| pane.start.saturating_add(self.every).max(self.next_end()));
        let last = self
            .panes
            .back()
            .map(|pane| pane.start.saturating_add(self.over));
        std::iter::successors(first, |end| end.checked_add(self.every))
            .take_while(move |end| last.is_some_and(|last| *end <= last))
            .filter_map(|end| self.window(end, false))
    }

    /// Whether one starts when the one before ends.
    pub(crate) const fn is_tumbling(&self) -> bool {
        self.every == self.over
    }

    /// How long one is, in nanoseconds.
    pub(crate) const fn span(&self) -> i64 {
        self.over
    }

    /// The closed ones that start at or after `from` and end at or before `end_ms`, newest first.
    pub(crate) fn closed_back(&self, from: Timestamp, end_ms: i64) -> impl Iterator<Item = Window> {
        let span_ms = self.over.div_euclid(1_000_000);
        let end = self
            .closed
            .partition_point(|row| row.start_ms.saturating_add(span_ms) <= end_ms);
        self.closed
            .range(..end)
            .rev()
            .take_while(move |row| Timestamp::from_millis(row.start_ms) >= from)
            .map(move |row| row.window(span_ms))
    }

    fn close_to(&mut self, to: i64, closed: &mut impl FnMut(&Window)) {
        while let Some(first) = self.panes.front() {
            // Steps over holes: the first pane that is left lies in the next window that has values.
            let end = self.next_end().max(first.start.saturating_add(self.every));
            if end > to || end == self.closed_to {
                break;
            }
            for pane in &mut self.panes {
                if pane.start < end {
                    pane.aggregate.settle();
                }
            }
            if let Some(window) = self.window(end, true) {
                closed(&window);
                self.keep(&window);
            }
            self.closed_to = end;
            while self
                .panes
                .front()
                .is_some_and(|pane| pane.start.saturating_add(self.over) <= end)
            {
                self.panes.pop_front();
            }
        }
        self.closed_to = self.closed_to.max(to);
    }

    /// The window that ends at `end`; none if it has no values.
    fn window(&self, end: i64, closed: bool) -> Option<Window> {
        let start = end.saturating_sub(self.over);
        let mut panes = self
            .panes
            .iter()
            .skip_while(|pane| pane.start < start)
            .take_while(|pane| pane.start < end);
        let first = panes.next()?;
        let (start_ms, end_ms) = (start.div_euclid(1_000_000), end.div_euclid(1_000_000));
        let Some(second) = panes.next() else {
            return Some(first.aggregate.window(start_ms, end_ms, closed));
        };
        let mut all = first.aggregate.clone();
        all.merge(&second.aggregate);
        for pane in panes {
            all.merge(&pane.aggregate);
        }
        Some(all.window(start_ms, end_ms, closed))
    }

    fn keep(&mut self, window: &Window) {
        let place = self
            .closed
            .partition_point(|kept| kept.start_ms < window.start_ms);
        if let Some(kept) = self.closed.get_mut(place)
            && kept.start_ms == window.start_ms
        {
            // Only after the time went back: the same interval, lived through again.
            *kept = Row::of(window);
            return;
        }
        let mut place = place;
        if self.closed.len() >= self.kept {
            if place == 0 {
                // Older than all that are kept.
                return;
            }
            self.closed.pop_front();
            place -= 1;
        }
        if self.closed.len() == self.closed.capacity() {
            // Doubling as usual, but never beyond what is kept.
            let more = self.closed.len().max(4);
            self.closed
                .reserve_exact(more.min(self.kept - self.closed.len()));
        }
        self.closed.insert(place, Row::of(window));
    }

    const fn next_end(&self) -> i64 {
        self.closed_to.saturating_add(self.every)
    }

    const fn align(&self, time: i64) -> i64 {
        time.saturating_sub(time.rem_euclid(self.every))
    }
}

impl Row {
    const fn of(window: &Window) -> Self {
        Self {
            start_ms: window.start_ms,
            count: window.count,
            min: window.min,
            max: window.max,
            mean: window.mean,
            stddev: window.stddev,
            first: window.first,
            last: window.last,
            p50: window.p50,
            p95: window.p95,
            p99: window.p99,
        }
    }

    const fn window(&self, span_ms: i64) -> Window {
        Window {
            start_ms: self.start_ms,
            end_ms: self.start_ms.saturating_add(span_ms),
            count: self.count,
            min: self.min,
            max: self.max,
            mean: self.mean,
            stddev: self.stddev,
            first: self.first,
            last: self.last,
            p50: self.p50,
            p95: self.p95,
            p99: self.p99,
            closed: true,
        }
    }
}

/// Whole nanoseconds; 292 years at most.
pub(crate) fn nanos(span: std::time::Duration) -> i64 {
    i64::try_from(span.as_nanos()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests;
