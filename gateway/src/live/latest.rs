//! What a client that just arrived must know: the newest state of each series, device, alert and status.
//!
//! Bounded by the engine's own caps on series and devices; alerts only while pending or firing.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use bytes::Bytes;
use smol_str::SmolStr;

use super::{
    event::{self, Epoch, Frame},
    filter::{Filter, Kind},
};
use crate::{
    alert::{Alert, AlertState},
    model::{DeviceId, Metric, SeriesKey},
    store::{Device, Point, SeriesInfo},
};

#[derive(Debug, Default)]
pub(crate) struct Latest {
    numbers: HashMap<Arc<SeriesKey>, u32, foldhash::fast::RandomState>,
    series: Vec<Known>,
    devices: BTreeMap<DeviceId, Device>,
    alerts: BTreeMap<SmolStr, Alert>,
    status: BTreeMap<String, serde_json::Value>,
}

/// A series as it was last heard of.
#[derive(Debug)]
struct Known {
    key: Arc<SeriesKey>,
    info: SeriesInfo,
    /// The sequence of the `readings` event that changed it last.
    changed: u64,
}

impl Latest {
    /// The number of a series and its shared key; a new one is made known.
    pub(crate) fn number(&mut self, key: &SeriesKey) -> (u32, Arc<SeriesKey>) {
        if let Some((key, number)) = self.numbers.get_key_value(key) {
            return (*number, Arc::clone(key));
        }
        let key = Arc::new(key.clone());
        let number = u32::try_from(self.series.len()).unwrap_or(u32::MAX);
        self.series.push(Known {
            key: Arc::clone(&key),
            info: SeriesInfo {
                key: (*key).clone(),
                unit: None,
                latest: None,
                retained: false,
                points: 0,
            },
            changed: 0,
        });
        self.numbers.insert(Arc::clone(&key), number);
        (number, key)
    }

    /// A series as the engine describes it.
    pub(crate) fn describe(&mut self, info: SeriesInfo) -> u32 {
        let (number, _) = self.number(&info.key);
        if let Some(known) = self.series.get_mut(number as usize) {
            known.info = info;
        }
        number
    }

    /// New points of a series, said in the event `sequence`.
    pub(crate) fn readings(&mut self, number: u32, points: &[Point], sequence: u64) {
        let Some(known) = self.series.get_mut(number as usize) else {
            return;
        };
        known.changed = sequence;
        let Some(newest) = points.iter().max_by_key(|point| point.time) else {
            return;
        };
        let info = &mut known.info;
        let older = info
            .latest
            .as_ref()
            .is_none_or(|latest| latest.time <= newest.time);
        if older || info.retained {
            info.latest = Some(newest.clone());
            info.retained = false;
        }
    }

    pub(crate) fn device(&mut self, device: Device) {
        self.devices.insert(device.id.clone(), device);
    }

    /// Remembers an alert while it matters.
    pub(crate) fn alert(&mut self, alert: &Alert) {
        match alert.state {
            AlertState::Pending | AlertState::Firing => {
                self.alerts.insert(alert.id.clone(), alert.clone());
            }
            AlertState::Resolved | AlertState::Cancelled => {
                self.alerts.remove(&alert.id);
            }
        }
    }

    /// Whether there is room for the key.
    pub(crate) fn has_room_for(&self, key: &str, max_keys: usize) -> bool {
        self.status.len() < max_keys || self.status.contains_key(key)
    }

    /// Whether it is news.
    pub(crate) fn status(&mut self, key: &str, value: &serde_json::Value) -> bool {
        if self.status.get(key) == Some(value) {
            return false;
        }
        self.status.insert(key.to_owned(), value.clone());
        true
    }

    /// The frame that says that a device, and these series of it, are new or changed.
    pub(crate) fn device_frame(&self, id: (&Epoch, u64), device: &DeviceId, series: &[u32]) -> Bytes {
        let mut frame = Frame::begin(Kind::Device, Some(id), 256 + series.len() * 200);
        let unknown;
        let device = match self.devices.get(device) {
            Some(device) => device,
            None => {
                unknown = Device {
                    id: device.clone(),
                    name: device.0.to_string(),
                    site: None,
                    labels: BTreeMap::new(),
                    source: None,
                    last_seen_ms: None,
                    online: None,
                };
                &unknown
            }
        };
        let mut infos = series
            .iter()
            .filter_map(|number| self.series.get(*number as usize))
            .map(|known| &known.info);
        frame.device(device, Some(&mut infos));
        frame.end()
    }

    /// Everything that the filter wants.
    pub(crate) fn snapshot(
        &self,
        id: (&Epoch, u64),
        now_ms: i64,
        site: Option<&str>,
        filter: &Filter,
    ) -> Bytes {
        let all = filter.wants(Kind::Snapshot);
        let measured = all || filter.wants(Kind::Readings) || filter.wants(Kind::Window);
        let mut frame = Frame::begin(Kind::Snapshot, Some(id), 512 + self.series.len() * 200);
        frame.text("{\"epoch\":");
        frame.string(id.0.as_str());
        frame.text(",\"now_ms\":");
        frame.signed(now_ms);
        frame.text(",\"version\":");
        frame.string(env!("CARGO_PKG_VERSION"));
        frame.text(",\"site\":");
        frame.maybe(site);
        frame.text(",\"series\":[");
        let mut first = true;
        for known in &self.series {
            if (measured || filter.wants(Kind::Device)) && filter.wants_series(&known.key) {
                frame.text(if first { "" } else { "," });
                first = false;
                frame.series(&known.info);
            }
        }
        frame.text("],\"devices\":[");
        first = true;
        for device in self.devices.values() {
            if (measured || filter.wants(Kind::Device)) && filter.wants_device(&device.id) {
                frame.text(if first { "" } else { "," });
                first = false;
                frame.device(device, None);
            }
        }
        frame.text("],\"alerts\":[");
        first = true;
        for alert in self.alerts.values() {
            if (all || filter.wants(Kind::Alert)) && filter.wants_series(&series_of(alert)) {
                frame.text(if first { "" } else { "," });
                first = false;
                frame.json(alert);
            }
        }
        frame.text("],\"status\":{");
        first = true;
        for (key, value) in &self.status {
            if all || filter.wants(Kind::Status) {
                frame.text(if first { "" } else { "," });
                first = false;
                frame.string(key);
                frame.text(":");
                frame.json(value);
            }
        }
        frame.text("}}");
        frame.end()
    }

    /// The newest value of each wanted series that changed after `sequence`; `None` if none did.
    pub(crate) fn changed_after(&self, sequence: u64, filter: &Filter) -> Option<Bytes> {
        if !filter.wants(Kind::Readings) {
            return None;
        }
        let changed: Vec<(u32, &Arc<SeriesKey>, &[Point])> = self
            .series
            .iter()
            .zip(0..)
            .filter(|(known, _)| known.changed > sequence && filter.wants_series(&known.key))
            .filter_map(|(known, number)| {
                let newest = known.info.latest.as_ref()?;
                Some((number, &known.key, std::slice::from_ref(newest)))
            })
            .collect();
        if changed.is_empty() {
            return None;
        }
        let capacity = 64 + changed.len() * 64;
        Some(event::readings(None, changed.into_iter(), capacity).0)
    }
}

/// The series that an alert is about. One that can't be read is about no series that anybody can name.
pub(crate) fn series_of(alert: &Alert) -> SeriesKey {
    SeriesKey::parse(&alert.series).unwrap_or_else(|| SeriesKey {
        device: DeviceId(alert.series.clone()),
        metric: Metric(SmolStr::default()),
    })
}
