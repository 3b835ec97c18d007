//! The series seen so far: their cap, the settings that apply to each, and their last readings, to tell repeats.

use foldhash::fast::RandomState;
use hashbrown::{Equivalent, HashMap};
use smol_str::SmolStr;

use super::{Config, unit::Conversion};
use crate::{
    glob,
    model::{DeviceId, Metric, SeriesKey, Timestamp, Unit, Value},
};

/// Last readings of a series that a repeat is looked for in.
pub const REMEMBERED_READINGS: usize = 8;

/// All series, at most [`Config::max_series`].
#[derive(Debug)]
pub(super) struct AllSeries {
    known: HashMap<SeriesKey, Series, RandomState>,
    max: usize,
}

/// What is known of one series.
#[derive(Debug)]
pub(super) struct Series {
    /// Index into the metrics' settings.
    pub(super) metric: Option<usize>,
    /// Index into the calibrations.
    pub(super) calibration: Option<usize>,
    /// The unit that its sender last used, and the way from it to the canonical one.
    pub(super) conversion: Option<(Unit, Option<Conversion>)>,
    seen: [Seen; REMEMBERED_READINGS],
    next: usize,
}

/// A reading, as far as it is needed to know it again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Seen {
    time: i64,
    /// 0: nothing yet; else the kind of the value.
    kind: u8,
    /// The value itself, or the hash of a text.
    bits: u64,
}

/// A key that is not owned.
#[derive(Clone, Copy, Debug, Hash)]
pub(super) struct Key<'a> {
    pub(super) device: &'a str,
    pub(super) metric: &'a str,
}

impl Equivalent<SeriesKey> for Key<'_> {
    fn equivalent(&self, key: &SeriesKey) -> bool {
        self.device == key.device.0 && self.metric == key.metric.0
    }
}

impl AllSeries {
    pub(super) fn new(max: usize) -> Self {
        Self {
            known: HashMap::default(),
            max,
        }
    }

    /// Which settings apply to each is found anew; what was read of each stays known.
    pub(super) fn reconfigure(&mut self, config: &Config) {
        self.max = config.max_series;
        for (key, series) in &mut self.known {
            let key = Key {
                device: &key.device.0,
                metric: &key.metric.0,
            };
            *series = Series {
                seen: series.seen,
                next: series.next,
                ..Series::new(key, config)
            };
        }
    }

    pub(super) fn get(&mut self, key: Key<'_>) -> Option<(&SeriesKey, &mut Series)> {
        self.known.get_key_value_mut(&key)
    }

    /// Adds a series; `None` when the cap is reached.
    pub(super) fn add(&mut self, key: &SeriesKey, series: Series) -> Option<&mut Series> {
        if self.known.len() >= self.max {
            return None;
        }
        Some(self.known.entry(key.clone()).insert(series).into_mut())
    }
}

impl Series {
    pub(super) fn new(key: Key<'_>, config: &Config) -> Self {
        let metric = config
            .metrics
            .iter()
            .position(|entry| glob::matches(&entry.metric, key.metric));
        let calibration = (!config.calibrations.is_empty())
            .then(|| format!("{}/{}", key.device, key.metric))
            .and_then(|name| {
                config
                    .calibrations
                    .iter()
                    .position(|entry| glob::matches(&entry.series, &name))
            });
        Self {
            metric,
            calibration,
            conversion: None,
            seen: [Seen::default(); REMEMBERED_READINGS],
            next: 0,
        }
    }

    /// Whether a reading is one of the last few.
    pub(super) fn has_seen(&self, time: Timestamp, value: &Value) -> bool {
        self.seen.contains(&Seen::of(time, value))
    }

    pub(super) fn remember(&mut self, time: Timestamp, value: &Value) {
        if let Some(place) = self.seen.get_mut(self.next) {
            *place = Seen::of(time, value);
        }
        self.next = (self.next + 1) % REMEMBERED_READINGS;
    }
}

impl Seen {
    fn of(time: Timestamp, value: &Value) -> Self {
        let (kind, bits) = match value {
            Value::Bool(on) => (1, u64::from(*on)),
            Value::Int(int) => (2, int.cast_unsigned()),
            Value::Float(float) => (3, float.to_bits()),
            Value::Text(text) => (4, hash(text)),
        };
        Self {
            time: time.0,
            kind,
            bits,
        }
    }
}

/// Two texts that collide in 64 bits, at the same time in the same series, would be taken for one.
fn hash(text: &SmolStr) -> u64 {
    use std::hash::BuildHasher as _;
    foldhash::quality::FixedState::default().hash_one(text)
}

/// Owns a key.
pub(super) fn own(key: Key<'_>) -> SeriesKey {
    SeriesKey {
        device: DeviceId(key.device.into()),
        metric: Metric(key.metric.into()),
    }
}
