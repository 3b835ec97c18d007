//! What a client that just arrived must know: the newest state of each series, device, alert and status.
//!
//! Bounded by the engine's own caps on series and devices; alerts while pending or firing, and the [`MAX_ENDED`] that ended last.

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    sync::Arc,
};

use bytes::Bytes;
use smol_str::SmolStr;

use super::{
    event::{self, Several},
    filter::{Filter, Kind},
    frame::{Frame, Id},
    labels::Labels,
};
use crate::{
    alert::{
        Alert, AlertState,
        route::Standing,
        silence::{Attended, Attention, Silence, SilenceState},
    },
    model::{DeviceId, Metric, SeriesKey},
    store::{Device, Point, SeriesInfo},
};

/// Resolved alerts that a snapshot tells of.
pub(crate) const MAX_ENDED: usize = 50;

#[derive(Debug, Default)]
pub(crate) struct Latest {
    numbers: HashMap<Arc<SeriesKey>, u32, foldhash::fast::RandomState>,
    series: Vec<Known>,
    devices: BTreeMap<DeviceId, Device>,
    alerts: BTreeMap<SmolStr, Alert>,
    /// The newest first.
    ended: VecDeque<Alert>,
    status: BTreeMap<String, serde_json::Value>,
    /// What people did; none before the first word of it.
    attention: Option<Arc<Attention>>,
}

/// What is news in what people did.
#[derive(Debug, Default)]
pub(crate) struct AttentionNews {
    /// Silences that are new or changed.
    pub(crate) silences: Vec<Silence>,
    /// Alerts that are acknowledged or silenced otherwise than before.
    pub(crate) alerts: Vec<Alert>,
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
                too_late: 0,
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

    /// New points of a series, said in the event `sequence` at `now_ms`.
    pub(crate) fn readings(&mut self, number: u32, points: &[Point], sequence: u64, now_ms: i64) {
        let Some(known) = self.series.get_mut(number as usize) else {
            return;
        };
        known.changed = sequence;
        // The engine says a device anew only when more than this changed.
        if let Some(device) = self.devices.get_mut(&known.key.device) {
            device.last_seen_ms = Some(now_ms);
        }
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

    /// A device that nobody configures any more, and that was never heard.
    pub(crate) fn forget_device(&mut self, device: &DeviceId) {
        self.devices.remove(device);
    }

    /// What an earlier run left: alerts in progress, and those that were resolved last, the newest first.
    pub(crate) fn alerts_of_before(&mut self, active: Vec<Alert>, ended: Vec<Alert>) {
        self.alerts = active.into_iter().map(|a| (a.id.clone(), a)).collect();
        self.ended = ended.into();
        self.ended.truncate(MAX_ENDED);
    }

    /// Remembers an alert while it matters.
    pub(crate) fn alert(&mut self, alert: &Alert) {
        match alert.state {
            AlertState::Pending | AlertState::Firing => {
                self.alerts.insert(alert.id.clone(), alert.clone());
            }
            AlertState::Resolved => {
                self.alerts.remove(&alert.id);
                self.ended.retain(|ended| ended.id != alert.id);
                self.ended.push_front(alert.clone());
                self.ended.truncate(MAX_ENDED);
            }
            AlertState::Cancelled => {
                self.alerts.remove(&alert.id);
            }
        }
    }

    /// An alert with what people did about it.
    pub(crate) fn attended<'a>(&'a self, alert: &'a Alert) -> Attended<'a> {
        attended(self.attention.as_deref(), alert)
    }

    /// What people did up to now; none before the first word of it.
    pub(crate) fn attention(&self) -> Option<Arc<Attention>> {
        self.attention.clone()
    }

    /// Takes what people did up to now. After a start all of it is news: clients of the run before may know it otherwise.
    pub(crate) fn attend(&mut self, attention: Attention) -> AttentionNews {
        let Some(before) = self.attention.take() else {
            let news = AttentionNews {
                silences: attention.silences.clone(),
                alerts: self.alerts.values().cloned().collect(),
            };
            self.attention = Some(Arc::new(attention));
            return news;
        };
        let by_id = |all: &'_ [Silence]| -> HashMap<SmolStr, Silence> {
            all.iter().map(|s| (s.id.clone(), s.clone())).collect()
        };
        let (old, new) = (by_id(&before.silences), by_id(&attention.silences));
        // Of those that ended only the last are kept; one that is gone ended with the many before them.
        let gone = before
            .silences
            .iter()
            .filter(|silence| {
                silence.state != SilenceState::Ended && !new.contains_key(&silence.id)
            })
            .map(|silence| Silence {
                state: SilenceState::Ended,
                ..silence.clone()
            });
        let silences: Vec<Silence> = attention
            .silences
            .iter()
            .filter(|silence| old.get(&silence.id) != Some(silence))
            .cloned()
            .chain(gone)
            .collect();
        // Asked are only the silences that changed, so that many alerts under many silences cost little.
        let silenced_otherwise = |alert: &Alert| {
            silences.iter().any(|silence| {
                let held = old.get(&silence.id).filter(|s| s.holds(alert.facts()));
                let holds = silence.holds(alert.facts());
                held.is_some() != holds || held.is_some_and(|s| s.shelving != silence.shelving)
            })
        };
        let alerts = self
            .alerts
            .values()
            .filter(|alert| {
                before.acknowledged.get(&alert.id) != attention.acknowledged.get(&alert.id)
                    || before.routed.standing(alert) != attention.routed.standing(alert)
                    || silenced_otherwise(alert)
            })
            .cloned()
            .collect();
        self.attention = Some(Arc::new(attention));
        AttentionNews { silences, alerts }
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

    /// The event that says that a device, and these series of it, are new or changed.
    pub(crate) fn device_event(
        &self,
        id: Id<'_>,
        device: &DeviceId,
        series: &[u32],
    ) -> (Bytes, Several) {
        let known = series.iter().filter_map(|number| {
            let known = self.series.get(*number as usize)?;
            Some((*number, &known.key, &known.info))
        });
        if let Some(device) = self.devices.get(device) {
            return event::device(id, device, known);
        }
        let unknown = Device {
            id: device.clone(),
            name: device.0.to_string(),
            site: None,
            labels: BTreeMap::new(),
            note: None,
            version: 0,
            source: None,
            last_seen_ms: None,
            online: None,
            clock_ahead_ms: None,
        };
        event::device(id, &unknown, known)
    }

    /// The numbers of all series of a device.
    pub(crate) fn series_of_device(&self, device: &DeviceId) -> Vec<u32> {
        let numbered = self.series.iter().zip(0..);
        numbered
            .filter(|(known, _)| known.key.device == *device)
            .map(|(_, number)| number)
            .collect()
    }

    /// Everything that the filter wants, as the rest of a `snapshot` after its time.
    pub(crate) fn snapshot(&self, site: Option<&str>, filter: &Filter, labels: &Labels) -> Bytes {
        let all = filter.wants(Kind::Snapshot);
        let measured = all
            || [Kind::Readings, Kind::Window, Kind::Device]
                .into_iter()
                .any(|kind| filter.wants(kind));
        let mut frame = Frame::rest(512 + self.series.len() * 200);
        frame.text(",\"version\":");
        frame.string(env!("CARGO_PKG_VERSION"));
        frame.text(",\"site\":");
        frame.maybe(site);
        frame.text(",\"series\":[");
        let series = self.series.iter().map(|known| &known.info);
        list(
            &mut frame,
            series.filter(|info| measured && filter.wants_series(&info.key, labels)),
            Frame::series,
        );
        frame.text("],\"devices\":[");
        let devices = self.devices.values();
        list(
            &mut frame,
            devices.filter(|device| measured && filter.wants_device(&device.id, labels)),
            Frame::device,
        );
        let wanted = |alert: &&Alert| {
            (all || filter.wants(Kind::Alert)) && filter.wants_series(&series_of(alert), labels)
        };
        frame.text("],\"alerts\":[");
        let alert = |frame: &mut Frame, alert: &Alert| frame.json(&self.attended(alert));
        list(&mut frame, self.alerts.values().filter(wanted), alert);
        frame.text("],\"ended\":[");
        list(&mut frame, self.ended.iter().filter(wanted), alert);
        frame.text("],\"silences\":[");
        list(
            &mut frame,
            self.attention
                .iter()
                .flat_map(|attention| &attention.silences)
                .filter(|_| all || filter.wants(Kind::Silence)),
            Frame::json,
        );
        frame.text("],\"status\":{");
        list(
            &mut frame,
            self.status
                .iter()
                .filter(|_| all || filter.wants(Kind::Status)),
            |frame, (key, value)| {
                frame.string(key);
                frame.text(":");
                frame.json(value);
            },
        );
        frame.text("}}");
        frame.end()
    }

    /// The newest value of each wanted series that changed after `sequence`; `None` if none did.
    pub(crate) fn changed_after(
        &self,
        sequence: u64,
        filter: &Filter,
        labels: &Labels,
    ) -> Option<Bytes> {
        if !filter.wants(Kind::Readings) {
            return None;
        }
        let changed: Vec<(u32, &Arc<SeriesKey>, &[Point])> = self
            .series
            .iter()
            .zip(0..)
            .filter(|(known, _)| {
                known.changed > sequence && filter.wants_series(&known.key, labels)
            })
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

/// Writes what there is, parted by commas.
fn list<T>(
    frame: &mut Frame,
    things: impl Iterator<Item = T>,
    mut write: impl FnMut(&mut Frame, T),
) {
    for (n, thing) in things.enumerate() {
        if n > 0 {
            frame.text(",");
        }
        write(frame, thing);
    }
}

/// An alert with what people did about it; nothing before the first word of that.
pub(crate) fn attended<'a>(attention: Option<&'a Attention>, alert: &'a Alert) -> Attended<'a> {
    match attention {
        Some(attention) => attention.to(alert),
        None => Attended {
            alert,
            acknowledged: None,
            silenced_by: Vec::new(),
            shelved: None,
            standing: Standing::default(),
        },
    }
}

/// The series that an alert is about. One that can't be read is about no series that anybody can name.
pub(crate) fn series_of(alert: &Alert) -> SeriesKey {
    SeriesKey::parse(&alert.series).unwrap_or_else(|| SeriesKey {
        device: DeviceId(alert.series.clone()),
        metric: Metric(SmolStr::default()),
    })
}
