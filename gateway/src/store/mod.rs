//! The in-memory store: which devices and series there are, their recent points in rings, their windows.
//!
//! Pure: it takes readings and returns what happened; the only time that it knows is in the readings. One owner: the engine.
//!
//! Everything runs on measured time. How far a series has come is decided by its `frontier`, which a single wrong
//! clock cannot move; a reading behind it is *late*: it takes its place in the ring, counts in its window as long as that is
//! open, and is told apart so that rules leave it alone. What comes too late for its window is counted, never dropped in silence.
//!
//! What it does not do: judge values (the `alert` room), keep more than memory holds (journal and history do).

mod aggregate;
mod device_clock;
mod devices;
mod frontier;
mod registry;
mod ring;
mod series;
mod window;

use std::{collections::BTreeMap, time::Duration};

use serde::Serialize;
use smol_str::SmolStr;

pub use self::{
    aggregate::EXACT_VALUES,
    devices::{DeviceConfig, DeviceIndex},
    registry::SeriesIndex,
    ring::POINT_BYTES,
};
use self::{devices::Devices, registry::Registry, series::Series};
use crate::model::{
    DeviceId, Presence, Quality, Reading, SeriesKey, SourceName, Timestamp, Unit, Value,
};

/// Bounds and windows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Bytes of recent points per series. Default 16 KiB (about 680 points). The oldest go first.
    pub bytes_per_series: usize,
    /// Series at most; must not be below the normaliser's cap. Default 10 000.
    pub max_series: usize,
    /// The windows that every numeric series has. Default: 1 minute and 1 hour tumbling.
    pub windows: Vec<WindowSpec>,
    /// How late (against the newest measured time of its series) a reading may come and still count in its window. Default 30 s.
    pub lateness: Duration,
    /// Closed windows kept per series and spec. Default 60.
    pub kept_windows: usize,
    /// The site of devices that have none of their own. Default none.
    pub site: Option<String>,
}

/// A tumbling (`every == over`) or sliding (`every < over`) window over measured time, aligned to the epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct WindowSpec {
    /// A new one starts this often.
    pub every: Duration,
    /// How long one is; a multiple of `every`.
    pub over: Duration,
}

/// What is known of a device, from the config and from what it sent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Device {
    /// Its id.
    pub id: DeviceId,
    /// For people; the id if none was given.
    pub name: String,
    /// Where it is, if configured.
    pub site: Option<String>,
    /// Labels for rules, routes and archive tags.
    pub labels: BTreeMap<String, String>,
    /// What people should know of it.
    pub note: Option<String>,
    /// Of what people said of it: rises with each change; 0 if nobody said anything.
    pub version: u64,
    /// The source that it was last heard on.
    pub source: Option<String>,
    /// Newest arrival, epoch milliseconds.
    pub last_seen_ms: Option<i64>,
    /// `false` when its connection vanished without a goodbye; `None` when its source can't know.
    pub online: Option<bool>,
    /// By how much its clock is steadily ahead of the gateway's, in milliseconds (negative: behind); `None` within two minutes, or while
    /// it says no times.
    pub clock_ahead_ms: Option<i64>,
}

/// One point of a series.
#[derive(Clone, Debug, PartialEq)]
pub struct Point {
    /// When it was measured.
    pub time: Timestamp,
    /// What was measured.
    pub value: Value,
    /// How far it can be trusted.
    pub quality: Quality,
}

/// A piece of the recent past of a series, for aggregates over any span.
#[derive(Clone, Debug, PartialEq)]
pub enum Sample {
    /// One number.
    Point {
        /// When it was measured.
        time: Timestamp,
        /// What.
        number: f64,
    },
    /// What the ring no longer holds point by point, as a closed window that lies whole in the span.
    Window(Window),
}

/// A series as lists and snapshots show it.
#[derive(Clone, Debug, PartialEq)]
pub struct SeriesInfo {
    /// `device/metric`.
    pub key: SeriesKey,
    /// The unit of its newest reading.
    pub unit: Option<Unit>,
    /// Its newest point by measured time; may be a retained last-known value.
    pub latest: Option<Point>,
    /// Whether `latest` is only a retained last-known value.
    pub retained: bool,
    /// Points held in memory.
    pub points: usize,
    /// Readings that came too late for at least one of their windows, since the start or the replay.
    pub too_late: u64,
}

/// The aggregates of one window of one series.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Window {
    /// Start, epoch milliseconds, included.
    pub start_ms: i64,
    /// End, epoch milliseconds, excluded.
    pub end_ms: i64,
    /// Readings in it.
    pub count: u64,
    /// Lowest value.
    pub min: f64,
    /// Highest value.
    pub max: f64,
    /// Arithmetic mean.
    pub mean: f64,
    /// Population standard deviation (Welford's method; merged by Chan et al., 1979).
    pub stddev: f64,
    /// The value with the earliest measured time; of equals the first to arrive.
    pub first: f64,
    /// The value with the latest measured time; of equals the last to arrive.
    pub last: f64,
    /// Median, from a DDSketch with 1 % relative error.
    pub p50: f64,
    /// 95th percentile.
    pub p95: f64,
    /// 99th percentile.
    pub p99: f64,
    /// Whether it is final: the allowed lateness is over.
    pub closed: bool,
}

/// Where a reading stands in the time of its series.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// The newest of its series.
    InOrder,
    /// The newest, after the time of the series had to be taken back: it had run ahead by a wrong clock.
    Rewound,
    /// Measured before the newest of its series.
    Late,
    /// So far ahead of its arrival that a second reading must agree before it counts.
    Unconfirmed,
    /// A retained last-known value: shown, nothing else.
    Retained,
}

/// What is known of how a reading arrived.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arrival {
    /// Just now, at the time that it says.
    Now,
    /// Just now, but the gateway's clock was not set: only the measured time is known.
    Untimed,
    /// Earlier: it was shown then, and its times are known only now.
    Earlier,
}

/// What one reading changed.
#[derive(Clone, Copy, Debug)]
pub struct Applied {
    /// Its series.
    pub series: SeriesIndex,
    /// Its device.
    pub device: DeviceIndex,
    /// Whether the series was unknown before.
    pub new_series: bool,
    /// Whether what lists show of the series changed beyond a new point: its unit, or a retained value.
    pub series_changed: bool,
    /// Whether the device is new, or changed beyond the time at which it was last seen.
    pub device_changed: bool,
    /// Where it stands in time.
    pub order: Order,
    /// Whether it is in the ring now. Not so for retained values, nor for what is older than a full ring.
    pub stored: bool,
    /// How long after it was measured it arrived, nanoseconds, apart from what its device's clock is known to be wrong by.
    pub age: i64,
    /// Whether its device's clock was just found to be off, or right again.
    pub clock_news: bool,
}

/// What was counted since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Readings taken.
    pub applied: u64,
    /// Readings refused because there are too many series.
    pub refused: u64,
    /// Readings too late for at least one of their windows.
    pub too_late: u64,
    /// Readings left out of the windows because no second one confirmed their leap ahead in time.
    pub left_out: u64,
    /// Windows closed.
    pub closed: u64,
}

/// The store. See the module.
#[derive(Debug)]
pub struct Store {
    config: Config,
    registry: Registry,
    devices: Devices,
    series: Vec<Series>,
    counts: Counts,
    ring_bytes: usize,
    points: usize,
}

impl Store {
    /// With the configured devices, and no series yet. Window specs with no length are left out.
    #[must_use]
    pub fn new(mut config: Config, devices: Vec<DeviceConfig>) -> Self {
        config.windows.retain(|spec| !spec.every.is_zero());
        Self {
            registry: Registry::new(config.max_series),
            devices: Devices::new(devices, config.site.take()),
            series: Vec::new(),
            counts: Counts::default(),
            ring_bytes: 0,
            points: 0,
            config,
        }
    }

    /// Takes other devices, another site, cap and lateness for those before; everything held stays. A lower cap is left to the
    /// normaliser, so that nothing that it still accepts is missing here. The devices that changed by it.
    pub fn reconfigure(
        &mut self,
        devices: Vec<DeviceConfig>,
        site: Option<String>,
        max_series: usize,
        lateness: Duration,
    ) -> Vec<DeviceIndex> {
        self.registry.raise_max(max_series);
        self.config.lateness = lateness;
        self.devices.reconfigure(devices, site)
    }

    /// Takes one reading of a batch of `source` and `peer`, and hands the windows that became final to `closed`. `None`: there
    /// are too many series; it was counted and nothing else.
    pub fn apply(
        &mut self,
        source: &SourceName,
        peer: Option<&SmolStr>,
        reading: &Reading,
        arrival: Arrival,
        mut closed: impl FnMut(WindowSpec, &Window),
    ) -> Option<Applied> {
        let (index, new_series) = self.find_or_add(&reading.series)?;
        let series = &mut self.series[index as usize];
        let before = (series.ring.bytes(), series.ring.len());
        let counts = &mut self.counts;
        let received = match arrival {
            Arrival::Now | Arrival::Earlier => reading.received,
            Arrival::Untimed => reading.time,
        };
        let change = series.apply(reading, received, &self.config, &mut |spec, window| {
            counts.closed += 1;
            closed(spec, window);
        });
        self.ring_bytes = self.ring_bytes + series.ring.bytes() - before.0;
        self.points = self.points + series.ring.len() - before.1;
        counts.applied += 1;
        counts.too_late += u64::from(change.too_late);
        counts.left_out += u64::from(change.left_out);
        let device = series.device;
        let mut device_changed = match arrival {
            Arrival::Now => self.devices.heard(device, source, peer, Some(received)),
            Arrival::Untimed => self.devices.heard(device, source, peer, None),
            Arrival::Earlier => {
                self.devices.was_heard(device, received);
                false
            }
        };
        let clock_news = arrival == Arrival::Now
            && !reading.retained
            && reading.time != received
            && self.devices.said_time(device, reading.time, received);
        device_changed |= clock_news;
        let lag = received.0.saturating_sub(reading.time.0);
        Some(Applied {
            series: index,
            device,
            new_series,
            series_changed: change.shown_anew,
            device_changed,
            order: change.order,
            stored: change.stored,
            age: lag.saturating_add(self.devices.ahead_by(device)),
            clock_news,
        })
    }

    /// Takes a reading that has no right time yet: it is shown, as `uncertain`, and counts in nothing. `None` as for [`Store::apply`].
    pub fn show(
        &mut self,
        source: &SourceName,
        peer: Option<&SmolStr>,
        reading: &Reading,
    ) -> Option<Applied> {
        let (index, new_series) = self.find_or_add(&reading.series)?;
        let series = &mut self.series[index as usize];
        series.show(reading);
        let device = series.device;
        Some(Applied {
            series: index,
            device,
            new_series,
            series_changed: true,
            device_changed: self.devices.heard(device, source, peer, None),
            order: Order::Retained,
            stored: false,
            age: 0,
            clock_news: false,
        })
    }

    /// The gateway's clock jumped by so many nanoseconds: series without times of their own go with it. Hands the windows that this
    /// ends to `closed`, and gives the series that went.
    pub fn clock_jumped(
        &mut self,
        by: i64,
        mut closed: impl FnMut(&SeriesKey, WindowSpec, &Window),
    ) -> Vec<SeriesIndex> {
        let mut moved = Vec::new();
        for (index, series) in (0..).zip(&mut self.series) {
            let before = (series.ring.bytes(), series.ring.len());
            let (key, counts) = (self.registry.key(index), &mut self.counts);
            series.clock_jumped(by, &self.config, &mut |spec, window| {
                counts.closed += 1;
                closed(key, spec, window);
            });
            self.ring_bytes = self.ring_bytes + series.ring.bytes() - before.0;
            self.points = self.points + series.ring.len() - before.1;
            if series.is_on_our_clock() {
                moved.push(index);
            }
        }
        moved
    }

    /// Makes a series known without a reading, as an alert of an earlier run names it. `None` when there are too many.
    pub fn expect(&mut self, key: &SeriesKey) -> Option<SeriesIndex> {
        self.registry.find(key).or_else(|| self.add(key))
    }

    /// Makes a series known with its newest reading, as an earlier run wrote it down: it counts in no window. `None` when there are too many.
    pub fn know(&mut self, source: &SourceName, reading: &Reading) -> Option<SeriesIndex> {
        let index = self.expect(&reading.series)?;
        let series = &mut self.series[index as usize];
        let before = (series.ring.bytes(), series.ring.len());
        series.know(reading, &self.config);
        self.ring_bytes = self.ring_bytes + series.ring.bytes() - before.0;
        self.points = self.points + series.ring.len() - before.1;
        let device = series.device;
        self.devices
            .heard(device, source, None, Some(reading.received));
        Some(index)
    }

    /// What is to be written down of a series for [`Store::know`]: its device's source, and its newest reading. `None` when it has none, or
    /// only one that waits for the clock.
    #[must_use]
    pub fn known(&self, index: SeriesIndex) -> Option<(SourceName, Reading)> {
        let series = self.series.get(index as usize)?;
        let (latest, received) = series.known()?;
        let source = self.devices.get(series.device).source.as_deref()?;
        let reading = Reading {
            series: self.registry.key(index).clone(),
            value: latest.value.clone(),
            unit: series.unit.clone(),
            quality: latest.quality,
            time: latest.time,
            received,
            retained: series.retained,
        };
        Some((SourceName(source.into()), reading))
    }

    /// A connection came or went: the devices that this changed.
    pub fn presence(&mut self, presence: &Presence) -> Vec<DeviceIndex> {
        self.devices.presence(presence)
    }

    /// The number of a known series.
    #[must_use]
    pub fn find(&self, key: &SeriesKey) -> Option<SeriesIndex> {
        self.registry.find(key)
    }

    /// The key of a series.
    #[must_use]
    pub fn key(&self, series: SeriesIndex) -> &SeriesKey {
        self.registry.key(series)
    }

    /// The device of a series.
    #[must_use]
    pub fn device_of(&self, series: SeriesIndex) -> &Device {
        self.devices.get(self.series[series as usize].device)
    }

    /// The number of the device of a series.
    #[must_use]
    pub fn device_number(&self, series: SeriesIndex) -> DeviceIndex {
        self.series[series as usize].device
    }

    /// A device by its number.
    #[must_use]
    pub fn device(&self, device: DeviceIndex) -> &Device {
        self.devices.get(device)
    }

    /// A series as lists show it.
    #[must_use]
    pub fn info(&self, index: SeriesIndex) -> SeriesInfo {
        let series = &self.series[index as usize];
        SeriesInfo {
            key: self.registry.key(index).clone(),
            unit: series.unit.clone(),
            latest: series.latest.clone(),
            retained: series.retained,
            points: series.ring.len(),
            too_late: series.too_late,
        }
    }

    /// All devices, by id.
    #[must_use]
    pub fn devices(&self) -> Vec<Device> {
        self.devices.all()
    }

    /// All series, by key.
    #[must_use]
    pub fn all_series(&self) -> Vec<SeriesInfo> {
        let mut all: Vec<_> = (0..)
            .take(self.series.len())
            .map(|at| self.info(at))
            .collect();
        all.sort_unstable_by(|a, b| a.key.cmp(&b.key));
        all
    }

    /// The points in memory with `from <= time < to`, by time.
    #[must_use]
    pub fn points(&self, series: SeriesIndex, from: Timestamp, to: Timestamp) -> Vec<Point> {
        self.series[series as usize].ring.range(from, to)
    }

    /// The first number (not bad) of a series in memory with `from <= time <= to`.
    #[must_use]
    pub fn first_number(&self, series: SeriesIndex, from: Timestamp, to: Timestamp) -> Option<f64> {
        self.series[series as usize].first_number(from, to)
    }

    /// The numbers (not bad) of a series in memory with `from <= time <= to`, newest first: at most [`SAMPLED_POINTS`] points, and for
    /// what lies before them the closed tumbling windows, the finest that reach so far back.
    pub fn samples(
        &self,
        series: SeriesIndex,
        from: Timestamp,
        to: Timestamp,
        each: impl FnMut(Sample),
    ) {
        self.series[series as usize].samples(from, to, each);
    }

    /// The newest point of a series, and whether it is only a retained last-known value. None while it has no right time.
    #[must_use]
    pub fn latest(&self, series: SeriesIndex) -> Option<(&Point, bool)> {
        self.series[series as usize].settled()
    }

    /// The newest measured time of a series that is believed.
    #[must_use]
    pub fn newest(&self, series: SeriesIndex) -> Option<Timestamp> {
        self.series[series as usize].newest()
    }

    /// The windows in memory, open ones included, by spec and start; of one spec or of all.
    #[must_use]
    pub fn windows(
        &self,
        series: SeriesIndex,
        only: Option<WindowSpec>,
    ) -> Vec<(WindowSpec, Window)> {
        self.series[series as usize].windows(&self.config, only)
    }

    /// What was counted.
    #[must_use]
    pub const fn counts(&self) -> Counts {
        self.counts
    }

    /// Bytes of all rings.
    #[must_use]
    pub const fn ring_bytes(&self) -> usize {
        self.ring_bytes
    }

    /// Points in all rings.
    #[must_use]
    pub const fn points_held(&self) -> usize {
        self.points
    }

    /// How many series are known.
    #[must_use]
    pub fn series_known(&self) -> usize {
        self.registry.len()
    }

    /// How many devices are known.
    #[must_use]
    pub fn devices_known(&self) -> usize {
        self.devices.len()
    }

    fn find_or_add(&mut self, key: &SeriesKey) -> Option<(SeriesIndex, bool)> {
        if let Some(index) = self.registry.find(key) {
            return Some((index, false));
        }
        let added = self.add(key);
        if added.is_none() {
            self.counts.refused += 1;
        }
        added.map(|index| (index, true))
    }

    fn add(&mut self, key: &SeriesKey) -> Option<SeriesIndex> {
        let index = self.registry.add(key)?;
        let device = self.devices.find_or_add(&key.device);
        self.series.push(Series::new(device, &self.config));
        Some(index)
    }
}

/// Points that one look at the recent past visits at most, so that a large ring makes no rule slow.
pub const SAMPLED_POINTS: usize = 4_096;

impl WindowSpec {
    /// A window that starts when the one before ends.
    #[must_use]
    pub const fn tumbling(every: Duration) -> Self {
        Self { every, over: every }
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            bytes_per_series: 16 * 1024,
            max_series: 10_000,
            windows: vec![
                WindowSpec::tumbling(Duration::from_secs(60)),
                WindowSpec::tumbling(Duration::from_secs(3600)),
            ],
            lateness: Duration::from_secs(30),
            kept_windows: 60,
            site: None,
        }
    }
}

#[cfg(test)]
mod tests;
