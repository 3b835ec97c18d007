//! One series: its newest point, its ring, its windows and the time that it has come to.

use crate::{
    model::{Quality, Reading, Timestamp, Unit},
    store::{
        Config, Order, Point, SAMPLED_POINTS, Sample, Window, WindowSpec,
        devices::DeviceIndex,
        frontier::{Frontier, Step},
        ring::Ring,
        window::{Windows, nanos},
    },
};

/// All that is held of one series.
#[derive(Debug)]
pub(crate) struct Series {
    pub(crate) device: DeviceIndex,
    pub(crate) unit: Option<Unit>,
    pub(crate) latest: Option<Point>,
    /// When that arrived, as far as is known.
    arrived: Timestamp,
    pub(crate) retained: bool,
    pub(crate) ring: Ring,
    windows: Box<[Windows]>,
    frontier: Frontier,
    /// The value of the unconfirmed leap: it counts in windows only when a second reading agrees on the time.
    leap: Option<(Timestamp, Option<f64>)>,
    /// `latest` has only a time since boot.
    provisional: bool,
    /// The newest reading had no time of its own: the series runs on the gateway's clock.
    on_our_clock: bool,
    /// Where the time of the series was taken back to: points before it are of another time, and not compared with.
    since: Timestamp,
    /// Readings that came too late for a window.
    pub(crate) too_late: u64,
}

/// What one reading did.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Change {
    pub(crate) order: Order,
    /// Whether it went into the ring.
    pub(crate) stored: bool,
    /// Whether the unit changed, or a retained value was taken for want of a better one.
    pub(crate) shown_anew: bool,
    /// Whether it came too late for a window.
    pub(crate) too_late: bool,
    /// Whether an earlier leap was found to be an outlier, and left out of the windows.
    pub(crate) left_out: bool,
}

impl Series {
    pub(crate) fn new(device: DeviceIndex, config: &Config) -> Self {
        Self {
            device,
            unit: None,
            latest: None,
            arrived: Timestamp::default(),
            retained: false,
            ring: Ring::new(config.bytes_per_series),
            windows: config
                .windows
                .iter()
                .map(|spec| Windows::new(*spec, config.kept_windows))
                .collect(),
            frontier: Frontier::default(),
            leap: None,
            provisional: false,
            on_our_clock: false,
            since: Timestamp(i64::MIN),
            too_late: 0,
        }
    }

    /// Takes a reading that is shown and nothing else: it has no right time yet.
    pub(crate) fn show(&mut self, reading: &Reading) {
        self.take_unit(reading);
        if reading.retained && self.latest.is_some() && !self.retained {
            return;
        }
        self.latest = Some(Point {
            quality: match reading.quality {
                Quality::Good => Quality::Uncertain,
                other => other,
            },
            ..point(reading)
        });
        self.retained = reading.retained;
        self.provisional = true;
    }

    /// Takes the newest reading of an earlier run, of which the others are gone: it counts in no window, as it would be alone in it.
    pub(crate) fn know(&mut self, reading: &Reading, config: &Config) {
        self.take_unit(reading);
        self.latest = Some(point(reading));
        self.arrived = reading.received;
        self.retained = reading.retained;
        if reading.retained {
            return;
        }
        let lateness = nanos(config.lateness);
        self.frontier
            .observe(reading.time.0, reading.received.0, lateness);
        self.on_our_clock = reading.time == reading.received;
        self.ring
            .push(reading.time, &reading.value, reading.quality);
        for windows in &mut self.windows {
            windows.advance(reading.time.0, lateness, &mut |_| ());
        }
    }

    /// The newest point and when it arrived; `None` before the first, and while it has only a time since boot.
    pub(crate) fn known(&self) -> Option<(&Point, Timestamp)> {
        let latest = self.latest.as_ref().filter(|_| !self.provisional)?;
        Some((latest, self.arrived))
    }

    /// The gateway's clock jumped by `by`. A series on that clock goes with it, so that the jump is no time that passed; one on
    /// its device's clock stays, and is ahead of ours by so much less.
    pub(crate) fn clock_jumped(
        &mut self,
        by: i64,
        config: &Config,
        closed: &mut impl FnMut(WindowSpec, &Window),
    ) {
        if !self.on_our_clock {
            self.frontier.clock_jumped(by);
            return;
        }
        let Some(newest) = self.frontier.moved(by) else {
            return;
        };
        self.leap = None;
        if by < 0 {
            self.rewind(newest, newest, config, closed);
            self.since = Timestamp(newest.0.saturating_add(1));
        }
    }

    /// Whether the newest reading had no time of its own.
    pub(crate) const fn is_on_our_clock(&self) -> bool {
        self.on_our_clock
    }

    /// The first number in memory with `from <= time <= to`, on the time that the series runs on now.
    pub(crate) fn first_number(&self, from: Timestamp, to: Timestamp) -> Option<f64> {
        self.ring.first_number(from.max(self.since), to)
    }

    /// See [`crate::store::Store::samples`].
    pub(crate) fn samples(&self, from: Timestamp, to: Timestamp, mut each: impl FnMut(Sample)) {
        let from = from.max(self.since);
        let mut oldest = to;
        let points = self.ring.numbers_back(from, to).take(SAMPLED_POINTS);
        // From inside of the iterator, which goes through the two halves of the ring without asking at each point which one it is in.
        points.for_each(|(time, number)| {
            oldest = Timestamp(time);
            each(Sample::Point {
                time: Timestamp(time),
                number,
            });
        });
        if self.ring.reaches(from) && self.ring.len() <= SAMPLED_POINTS {
            return;
        }
        let mut end_ms = oldest.as_millis();
        let mut span = 0;
        while let Some(windows) = self
            .windows
            .iter()
            .filter(|windows| windows.is_tumbling() && windows.span() > span)
            .min_by_key(|windows| windows.span())
        {
            span = windows.span();
            for window in windows.closed_back(from, end_ms) {
                end_ms = window.start_ms;
                each(Sample::Window(window));
            }
        }
    }

    /// The newest point, if it has a right time, and whether it is only a retained value.
    pub(crate) fn settled(&self) -> Option<(&Point, bool)> {
        let latest = self.latest.as_ref().filter(|_| !self.provisional)?;
        Some((latest, self.retained))
    }

    fn rewind(
        &mut self,
        frontier: Timestamp,
        keep_to: Timestamp,
        config: &Config,
        closed: &mut impl FnMut(WindowSpec, &Window),
    ) {
        self.ring.forget_after(keep_to);
        for (windows, spec) in self.windows.iter_mut().zip(&config.windows) {
            windows.rewind(frontier.0, nanos(config.lateness), &mut |window| {
                closed(*spec, window);
            });
        }
    }

    /// Takes one reading; hands windows that are final now to `closed`. `received` is its arrival, as far as that is known.
    pub(crate) fn apply(
        &mut self,
        reading: &Reading,
        received: Timestamp,
        config: &Config,
        closed: &mut impl FnMut(WindowSpec, &Window),
    ) -> Change {
        let mut change = Change {
            order: Order::Retained,
            stored: false,
            shown_anew: self.take_unit(reading),
            too_late: false,
            left_out: false,
        };
        if reading.retained {
            if self.latest.is_none() || self.retained {
                self.retained = true;
                self.latest = Some(point(reading));
                self.arrived = reading.received;
                change.shown_anew = true;
            }
            return change;
        }
        let lateness = nanos(config.lateness);
        let step = self.frontier.observe(reading.time.0, received.0, lateness);
        self.on_our_clock = reading.time == reading.received;
        if step == Step::Rewound {
            let soon = Timestamp(received.0.saturating_add(lateness));
            self.rewind(reading.time, soon, config, closed);
            self.since = reading.time;
            change.shown_anew = true;
        }
        if self.provisional {
            // Any time is better than none.
            self.provisional = false;
            self.latest = Some(point(reading));
            self.arrived = reading.received;
            change.shown_anew = true;
        }
        change.stored = self
            .ring
            .push(reading.time, &reading.value, reading.quality);
        let number = (reading.quality != Quality::Bad)
            .then(|| reading.value.as_f64())
            .flatten();
        match step {
            Step::Leap => {
                change.order = Order::Unconfirmed;
                change.left_out = self.leap.replace((reading.time, number)).is_some();
            }
            Step::Late => {
                change.order = Order::Late;
                change.too_late = !self.count(reading.time, number);
            }
            Step::Advanced | Step::Rewound => {
                change.order = Order::InOrder;
                if step == Step::Rewound {
                    change.order = Order::Rewound;
                }
                if let Some((time, number)) = self.leap.take() {
                    if time <= reading.time {
                        change.too_late |= !self.count(time, number);
                    } else {
                        change.left_out = true;
                    }
                }
                change.too_late |= !self.count(reading.time, number);
                for (windows, spec) in self.windows.iter_mut().zip(&config.windows) {
                    windows.advance(reading.time.0, lateness, &mut |window| {
                        closed(*spec, window);
                    });
                }
                self.latest = Some(point(reading));
                self.arrived = reading.received;
                self.retained = false;
            }
        }
        self.too_late += u64::from(change.too_late);
        change
    }

    /// The newest measured time that is believed.
    pub(crate) fn newest(&self) -> Option<Timestamp> {
        self.frontier.newest().map(Timestamp)
    }

    /// The windows in memory by spec and start, of one spec or of all.
    pub(crate) fn windows(
        &self,
        config: &Config,
        only: Option<WindowSpec>,
    ) -> Vec<(WindowSpec, Window)> {
        self.windows
            .iter()
            .zip(&config.windows)
            .filter(|(_, spec)| only.is_none_or(|only| only == **spec))
            .flat_map(|(windows, spec)| windows.all().map(|window| (*spec, window)))
            .collect()
    }

    fn take_unit(&mut self, reading: &Reading) -> bool {
        let changes = reading.unit.is_some() && reading.unit != self.unit;
        if changes {
            self.unit.clone_from(&reading.unit);
        }
        changes
    }

    /// Counts a number in all windows; `false` if it was too late for one.
    fn count(&mut self, time: Timestamp, number: Option<f64>) -> bool {
        let Some(number) = number else { return true };
        let mut in_time = true;
        for windows in &mut self.windows {
            in_time &= windows.add(time.0, number);
        }
        in_time
    }
}

fn point(reading: &Reading) -> Point {
    Point {
        time: reading.time,
        value: reading.value.clone(),
        quality: reading.quality,
    }
}
