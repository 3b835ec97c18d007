//! The in-memory store: which devices and series there are, their recent points in rings, their windows.
//!
//! Pure: it takes readings and a `now`, and returns what happened. One owner: the engine.

use std::{collections::BTreeMap, time::Duration};

use serde::Serialize;
use smol_str::SmolStr;

use crate::model::{DeviceId, Quality, SeriesKey, Timestamp, Unit, Value};

/// Bounds and windows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Bytes of recent points per series. Default 32 KiB (about 1 300 points). The oldest go first.
    pub bytes_per_series: usize,
    /// Series at most; must not be below the normaliser's cap. Default 10 000.
    pub max_series: usize,
    /// The windows that every numeric series has. Default: 1 minute and 1 hour tumbling.
    pub windows: Vec<WindowSpec>,
    /// How late (against the newest measured time of its series) a reading may come and still count in its window. Default 30 s.
    pub lateness: Duration,
    /// Closed windows kept per series and spec. Default 120.
    pub kept_windows: usize,
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
    /// The source that it was last heard on.
    pub source: Option<String>,
    /// Newest arrival, epoch milliseconds.
    pub last_seen_ms: Option<i64>,
    /// `false` when its connection vanished without a goodbye; `None` when its source can't know.
    pub online: Option<bool>,
}

/// A configured device; also how archive tags learn site and labels.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeviceConfig {
    /// Its id, as the mappings yield it.
    pub id: SmolStr,
    /// For people.
    pub name: Option<String>,
    /// Where it is.
    pub site: Option<String>,
    /// Free labels.
    pub labels: BTreeMap<String, String>,
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
            bytes_per_series: 32 * 1024,
            max_series: 10_000,
            windows: vec![
                WindowSpec::tumbling(Duration::from_secs(60)),
                WindowSpec::tumbling(Duration::from_secs(3600)),
            ],
            lateness: Duration::from_secs(30),
            kept_windows: 120,
        }
    }
}
