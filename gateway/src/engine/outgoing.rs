//! What waits to be said to the live hub.
//!
//! Devices and series are marked and said as they are when their turn comes; points are gathered per series and said together,
//! at once after a quiet time and then at most every tick; windows queue in order. In one turn the order is devices,
//! series, windows, readings, so that nobody hears of a point whose series they don't know, and that with the readings of a record
//! all its windows are said.
//!
//! Bounds, when the hub does not take what waits: marks are one per device and series; of windows the oldest go beyond
//! [`MAX_WINDOWS`]; of a series with more than [`MAX_POINTS_PER_SERIES`] points every second one goes, and over [`MAX_POINTS`] in
//! all each series keeps its newest. All that is counted.

use std::{collections::VecDeque, time::Duration};

use tokio::time::Instant;

use super::Update;
use crate::{
    journal::Position,
    model::SeriesKey,
    store::{DeviceIndex, Point, SeriesIndex, Store, Window, WindowSpec},
};

const MAX_WINDOWS: usize = 4_096;
const MAX_POINTS_PER_SERIES: usize = 256;
const MAX_POINTS: usize = 65_536;

/// What was left out so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Dropped {
    pub(super) points: u64,
    pub(super) windows: u64,
}

#[derive(Debug)]
pub(super) struct Outgoing {
    tick: Duration,
    devices: Marks,
    series: Marks,
    windows: VecDeque<Update>,
    points: Vec<Vec<Point>>,
    /// The series that have points waiting, in the order of their first.
    touched: Vec<SeriesIndex>,
    waiting_points: usize,
    /// The record that is being taken, and how many windows it closed so far.
    record: (Position, u64),
    /// The newest record of which points were gathered.
    through: Position,
    readings_said: Option<Instant>,
    dropped: Dropped,
    /// Nobody listens any more.
    muted: bool,
}

/// Numbers, each once, in the order in which they were first marked.
#[derive(Debug, Default)]
struct Marks {
    marked: Vec<bool>,
    order: VecDeque<u32>,
}

impl Outgoing {
    pub(super) const fn new(tick: Duration) -> Self {
        Self {
            tick,
            devices: Marks::new(),
            series: Marks::new(),
            windows: VecDeque::new(),
            points: Vec::new(),
            touched: Vec::new(),
            waiting_points: 0,
            record: (Position(0), 0),
            through: Position(0),
            readings_said: None,
            dropped: Dropped {
                points: 0,
                windows: 0,
            },
            muted: false,
        }
    }

    /// The shortest time between two words about readings, from now on.
    pub(super) const fn set_tick(&mut self, tick: Duration) {
        self.tick = tick;
    }

    pub(super) fn device(&mut self, device: DeviceIndex) {
        if !self.muted {
            self.devices.mark(device);
        }
    }

    pub(super) fn series(&mut self, series: SeriesIndex) {
        if !self.muted {
            self.series.mark(series);
        }
    }

    /// What comes now is from this record.
    pub(super) const fn begin(&mut self, position: Position) {
        self.record = (position, 0);
    }

    pub(super) fn window(&mut self, series: SeriesKey, spec: WindowSpec, window: Window) {
        if self.muted {
            return;
        }
        if self.windows.len() == MAX_WINDOWS {
            self.windows.pop_front();
            self.dropped.windows += 1;
        }
        self.windows.push_back(Update::Window {
            series,
            spec,
            window,
            position: self.record.0,
            nth: self.record.1,
        });
        self.record.1 += 1;
    }

    pub(super) fn point(&mut self, series: SeriesIndex, point: Point) {
        if self.muted {
            return;
        }
        let at = series as usize;
        if self.points.len() <= at {
            self.points.resize_with(at + 1, Vec::new);
        }
        if self.points[at].is_empty() {
            self.touched.push(series);
        }
        if self.points[at].len() >= MAX_POINTS_PER_SERIES {
            self.halve(at);
        }
        if self.waiting_points >= MAX_POINTS {
            self.keep_newest();
        }
        self.points[at].push(point);
        self.waiting_points += 1;
        self.through = self.record.0;
    }

    /// When the next word may be said; none if there is nothing to say.
    pub(super) fn due(&self, now: Instant) -> Option<Instant> {
        if !(self.devices.order.is_empty()
            && self.series.order.is_empty()
            && self.windows.is_empty())
        {
            return Some(now);
        }
        (!self.touched.is_empty()).then(|| {
            self.readings_said
                .map_or(now, |said| (said + self.tick).max(now))
        })
    }

    /// The next word, whether it is due or not.
    pub(super) fn next(&mut self, now: Instant, store: &Store) -> Option<Update> {
        if let Some(device) = self.devices.take() {
            return Some(Update::Device(store.device(device).clone()));
        }
        if let Some(series) = self.series.take() {
            return Some(Update::Series(store.info(series)));
        }
        if let Some(window) = self.windows.pop_front() {
            return Some(window);
        }
        if self.touched.is_empty() {
            return None;
        }
        self.readings_said = Some(now);
        self.waiting_points = 0;
        let readings = std::mem::take(&mut self.touched)
            .into_iter()
            .map(|series| {
                let mut points = std::mem::take(&mut self.points[series as usize]);
                if !points.is_sorted_by_key(|point| point.time) {
                    points.sort_by_key(|point| point.time);
                }
                (store.key(series).clone(), points)
            })
            .collect();
        Some(Update::Readings {
            readings,
            through: self.through,
        })
    }

    /// Nobody listens any more: forgets what waits and takes nothing more.
    pub(super) fn mute(&mut self) {
        *self = Self {
            muted: true,
            dropped: self.dropped,
            ..Self::new(self.tick)
        };
    }

    pub(super) const fn dropped(&self) -> Dropped {
        self.dropped
    }

    /// Every second point of a series goes; the newest stays.
    fn halve(&mut self, at: usize) {
        let points = &mut self.points[at];
        let before = points.len();
        let mut from_the_end = before;
        points.retain(|_| {
            from_the_end -= 1;
            from_the_end.is_multiple_of(2)
        });
        let gone = before - points.len();
        self.left_out(gone);
    }

    fn keep_newest(&mut self) {
        let mut gone = 0;
        for series in &self.touched {
            let points = &mut self.points[*series as usize];
            let most = points.len().saturating_sub(1);
            gone += points.drain(..most).len();
        }
        self.left_out(gone);
    }

    fn left_out(&mut self, points: usize) {
        self.waiting_points -= points;
        self.dropped.points += points as u64;
    }
}

impl Marks {
    const fn new() -> Self {
        Self {
            marked: Vec::new(),
            order: VecDeque::new(),
        }
    }

    fn mark(&mut self, number: u32) {
        let at = number as usize;
        if self.marked.len() <= at {
            self.marked.resize(at + 1, false);
        }
        if !self.marked[at] {
            self.marked[at] = true;
            self.order.push_back(number);
        }
    }

    fn take(&mut self) -> Option<u32> {
        let number = self.order.pop_front()?;
        self.marked[number as usize] = false;
        Some(number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        model::{Quality, Reading, SourceName, Timestamp, Value},
        store,
    };

    fn point(time: i64) -> Point {
        Point {
            time: Timestamp(time),
            value: Value::Int(time),
            quality: Quality::Good,
        }
    }

    fn store(series: u32) -> Store {
        let mut store = Store::new(store::Config::default(), Vec::new());
        for n in 0..series {
            let reading = Reading {
                series: SeriesKey::parse(&format!("d{n}/x")).unwrap(),
                value: Value::Int(0),
                unit: None,
                quality: Quality::Good,
                time: Timestamp(0),
                received: Timestamp(0),
                retained: false,
            };
            store.apply(
                &SourceName("s".into()),
                None,
                &reading,
                crate::store::Arrival::Now,
                |_, _| (),
            );
        }
        store
    }

    fn readings(update: Option<Update>) -> Vec<(SeriesKey, Vec<Point>)> {
        match update {
            Some(Update::Readings { readings, .. }) => readings,
            other => panic!("readings were expected, not {other:?}"),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn readings_go_at_once_after_a_quiet_time_and_then_once_a_tick() {
        let store = store(1);
        let tick = Duration::from_millis(100);
        let mut outgoing = Outgoing::new(tick);
        let start = Instant::now();
        assert_eq!(outgoing.due(start), None);
        outgoing.point(0, point(1));
        assert_eq!(outgoing.due(start), Some(start));
        readings(outgoing.next(start, &store));
        outgoing.point(0, point(3));
        outgoing.point(0, point(2));
        assert_eq!(outgoing.due(start), Some(start + tick));
        outgoing.series(0);
        assert_eq!(outgoing.due(start), Some(start), "only readings wait");
        assert!(matches!(
            outgoing.next(start, &store),
            Some(Update::Series(_))
        ));
        let said = readings(outgoing.next(start + tick, &store));
        assert_eq!(said[0].1, [point(2), point(3)]);
        assert!(outgoing.next(start, &store).is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn a_series_that_nobody_takes_is_thinned_and_keeps_its_newest() {
        let store = store(1);
        let mut outgoing = Outgoing::new(Duration::ZERO);
        for time in 0..100_000 {
            outgoing.point(0, point(time));
            assert!(outgoing.points[0].len() <= MAX_POINTS_PER_SERIES);
        }
        let said = readings(outgoing.next(Instant::now(), &store));
        assert_eq!(said[0].1.last(), Some(&point(99_999)));
        assert!(said[0].1.len() > MAX_POINTS_PER_SERIES / 4);
        assert_eq!(outgoing.dropped().points, 100_000 - said[0].1.len() as u64);
    }

    #[tokio::test(start_paused = true)]
    async fn many_series_that_nobody_takes_keep_at_least_their_newest() {
        let store = store(1_000);
        let mut outgoing = Outgoing::new(Duration::ZERO);
        for time in 0..200 {
            for series in 0..1_000 {
                outgoing.point(series, point(time));
                assert!(outgoing.waiting_points <= MAX_POINTS);
            }
        }
        let said = readings(outgoing.next(Instant::now(), &store));
        assert_eq!(said.len(), 1_000);
        let told: usize = said.iter().map(|(_, points)| points.len()).sum();
        assert!(
            said.iter()
                .all(|(_, points)| points.last() == Some(&point(199)))
        );
        assert_eq!(outgoing.dropped().points, 200_000 - told as u64);
    }

    #[tokio::test(start_paused = true)]
    async fn of_windows_that_nobody_takes_the_oldest_go() {
        let store = store(1);
        let mut outgoing = Outgoing::new(Duration::ZERO);
        let spec = WindowSpec::tumbling(Duration::from_secs(1));
        let window = |start_ms| Window {
            start_ms,
            end_ms: start_ms + 1,
            count: 1,
            min: 0.0,
            max: 0.0,
            mean: 0.0,
            stddev: 0.0,
            first: 0.0,
            last: 0.0,
            p50: 0.0,
            p95: 0.0,
            p99: 0.0,
            closed: true,
        };
        for start in 0..5_000 {
            outgoing.window(store.key(0).clone(), spec, window(start));
        }
        assert_eq!(outgoing.windows.len(), MAX_WINDOWS);
        assert_eq!(outgoing.dropped().windows, 5_000 - MAX_WINDOWS as u64);
        outgoing.mute();
        assert!(outgoing.due(Instant::now()).is_none());
    }
}
