//! One series: its newest point, its ring, its windows and the time that it has come to.

use crate::{
    model::{Quality, Reading, Timestamp, Unit},
    store::{
        Config, Order, Point, Window, WindowSpec,
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
    pub(crate) retained: bool,
    pub(crate) ring: Ring,
    windows: Box<[Windows]>,
    frontier: Frontier,
    /// The value of the unconfirmed leap: it counts in windows only when a second reading agrees on the time.
    leap: Option<(Timestamp, Option<f64>)>,
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
            retained: false,
            ring: Ring::new(config.bytes_per_series),
            windows: config
                .windows
                .iter()
                .map(|spec| Windows::new(*spec, config.kept_windows))
                .collect(),
            frontier: Frontier::default(),
            leap: None,
        }
    }

    /// Takes one reading; hands windows that are final now to `closed`.
    pub(crate) fn apply(
        &mut self,
        reading: &Reading,
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
                change.shown_anew = true;
            }
            return change;
        }
        let lateness = nanos(config.lateness);
        let step = self
            .frontier
            .observe(reading.time.0, reading.received.0, lateness);
        if step == Step::Rewound {
            let soon = Timestamp(reading.received.0.saturating_add(lateness));
            self.ring.forget_after(soon);
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
                    for (windows, spec) in self.windows.iter_mut().zip(&config.windows) {
                        windows.rewind(reading.time.0, lateness, &mut |window| {
                            closed(*spec, window);
                        });
                    }
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
                self.retained = false;
            }
        }
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
