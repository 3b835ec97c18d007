//! Which devices there are: those of the config from the start, the others from their first reading.
//!
//! Presence is known by peer (an MQTT client), readings by device: a device belongs to the peer that fed it last. There are at most
//! as many devices as configured ones and series together.

use std::{collections::BTreeMap, time::Duration};

use hashbrown::HashMap;
use smol_str::SmolStr;

use crate::{
    model::{DeviceId, Presence, SourceName, Timestamp},
    store::{Device, device_clock::DeviceClock},
};

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
    /// Metrics that must come from it: known, and missed, before they were ever received.
    pub expect: Vec<SmolStr>,
    /// How often it sends, at the longest.
    pub interval: Option<Duration>,
    /// What people should know of it.
    pub note: Option<String>,
    /// Of what people said of it: rises with each change; 0 if nobody said anything.
    pub version: u64,
}

/// The number of a device: from 0, configured ones first.
pub type DeviceIndex = u32;

/// All devices.
#[derive(Debug, Default)]
pub(crate) struct Devices {
    /// The site of devices that have none of their own.
    site: Option<String>,
    entries: Vec<Entry>,
    by_id: HashMap<DeviceId, DeviceIndex>,
    by_peer: HashMap<SmolStr, Vec<DeviceIndex>>,
}

#[derive(Debug)]
struct Entry {
    device: Device,
    configured: bool,
    peer: Option<SmolStr>,
    clock: DeviceClock,
}

impl Entry {
    /// One that was only configured is forgotten with that.
    const fn is_listed(&self) -> bool {
        self.configured || self.device.source.is_some() || self.device.last_seen_ms.is_some()
    }
}

impl Devices {
    /// The configured ones.
    pub(crate) fn new(configs: Vec<DeviceConfig>, site: Option<String>) -> Self {
        let mut devices = Self::default();
        devices.reconfigure(configs, site);
        devices
    }

    /// Takes these configured ones for those before: one that is configured no more is named by its id again. The devices
    /// that are new or changed by it.
    pub(crate) fn reconfigure(
        &mut self,
        configs: Vec<DeviceConfig>,
        site: Option<String>,
    ) -> Vec<DeviceIndex> {
        self.site = site;
        let known = self.entries.len();
        let mut configured: HashMap<DeviceIndex, DeviceConfig> = HashMap::new();
        for config in configs {
            let index = self.find_or_add(&DeviceId(config.id.clone()));
            configured.insert(index, config);
        }
        let mut changed = Vec::new();
        for (index, entry) in (0..).zip(&mut self.entries) {
            let config = configured.remove(&index);
            let was_listed = entry.is_listed() && (index as usize) < known;
            entry.configured = config.is_some();
            let config = config.unwrap_or_default();
            let device = &mut entry.device;
            let name = config.name.unwrap_or_else(|| device.id.0.to_string());
            let site = config.site.or_else(|| self.site.clone());
            let as_before = device.name == name
                && device.site == site
                && device.labels == config.labels
                && (&device.note, device.version) == (&config.note, config.version);
            (device.name, device.site, device.labels) = (name, site, config.labels);
            (device.note, device.version) = (config.note, config.version);
            if (!as_before || !was_listed) && entry.is_listed() {
                changed.push(index);
            }
        }
        changed
    }

    /// The number of a device, known or new.
    pub(crate) fn find_or_add(&mut self, id: &DeviceId) -> DeviceIndex {
        if let Some(index) = self.by_id.get(id) {
            return *index;
        }
        let index = DeviceIndex::try_from(self.entries.len()).unwrap_or(DeviceIndex::MAX);
        self.entries.push(Entry {
            device: Device {
                id: id.clone(),
                name: id.0.to_string(),
                site: self.site.clone(),
                labels: BTreeMap::new(),
                note: None,
                version: 0,
                source: None,
                last_seen_ms: None,
                online: None,
                clock_ahead_ms: None,
            },
            configured: false,
            peer: None,
            clock: DeviceClock::default(),
        });
        self.by_id.insert(id.clone(), index);
        index
    }

    /// A reading came with a time of its own: what its device's clock is ahead of ours, if that changed.
    pub(crate) fn said_time(
        &mut self,
        index: DeviceIndex,
        time: Timestamp,
        received: Timestamp,
    ) -> bool {
        let entry = &mut self.entries[index as usize];
        let news = entry.clock.observe(time.0, received.0);
        if news {
            entry.device.clock_ahead_ms = entry.clock.ahead_by().map(|by| by / 1_000_000);
        }
        news
    }

    /// By how much the device's clock is known to be ahead of ours, in nanoseconds.
    pub(crate) fn ahead_by(&self, index: DeviceIndex) -> i64 {
        self.entries[index as usize]
            .clock
            .ahead_by()
            .unwrap_or_default()
    }

    /// A reading of this device arrived earlier, and it is known only now when.
    pub(crate) fn was_heard(&mut self, index: DeviceIndex, received: Timestamp) {
        let device = &mut self.entries[index as usize].device;
        device.last_seen_ms = device.last_seen_ms.max(Some(received.as_millis()));
    }

    /// A reading of this device came, at this time if that is known; `true` if more than its time changed.
    pub(crate) fn heard(
        &mut self,
        index: DeviceIndex,
        source: &SourceName,
        peer: Option<&SmolStr>,
        received: Option<Timestamp>,
    ) -> bool {
        let entry = &mut self.entries[index as usize];
        let device = &mut entry.device;
        if let Some(received) = received {
            // Not the highest: a clock that was put back must not leave it in the future.
            device.last_seen_ms = Some(received.as_millis());
        }
        let mut changed = false;
        if device.source.as_deref() != Some(source.0.as_str()) {
            device.source = Some(source.0.to_string());
            changed = true;
        }
        // Who delivers is connected. Without a peer the source can't know, unless it did before.
        let online = peer.is_some().then_some(true);
        if online.is_some() && device.online != online {
            device.online = online;
            changed = true;
        }
        if entry.peer.as_ref() != peer {
            let old = std::mem::replace(&mut entry.peer, peer.cloned());
            if peer.is_none() {
                // Another kind of source feeds it now.
                changed |= entry.device.online.take().is_some();
            }
            self.moved(index, old, peer);
        }
        changed
    }

    /// A connection came or went: the devices that this changes.
    pub(crate) fn presence(&mut self, presence: &Presence) -> Vec<DeviceIndex> {
        let Some(fed) = self.by_peer.get(&presence.peer) else {
            return Vec::new();
        };
        let mut changed = Vec::new();
        for index in fed {
            let device = &mut self.entries[*index as usize].device;
            if device.online != Some(presence.online) {
                device.online = Some(presence.online);
                changed.push(*index);
            }
        }
        changed
    }

    /// A device by its number.
    pub(crate) fn get(&self, index: DeviceIndex) -> &Device {
        &self.entries[index as usize].device
    }

    /// All that are configured or were ever heard, by id.
    pub(crate) fn all(&self) -> Vec<Device> {
        let mut all: Vec<_> = self
            .entries
            .iter()
            .filter(|entry| entry.is_listed())
            .map(|entry| entry.device.clone())
            .collect();
        all.sort_unstable_by(|a, b| a.id.cmp(&b.id));
        all
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    fn moved(&mut self, index: DeviceIndex, old: Option<SmolStr>, new: Option<&SmolStr>) {
        if let Some(old) = old
            && let Some(fed) = self.by_peer.get_mut(&old)
        {
            fed.retain(|at| *at != index);
            if fed.is_empty() {
                self.by_peer.remove(&old);
            }
        }
        if let Some(new) = new {
            self.by_peer.entry(new.clone()).or_default().push(index);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(name: &str) -> SourceName {
        SourceName(name.into())
    }

    fn presence(peer: &str, online: bool) -> Presence {
        Presence {
            peer: peer.into(),
            online,
            at: Timestamp(0),
        }
    }

    #[test]
    fn a_device_goes_with_the_peer_that_fed_it_last() {
        let mut devices = Devices::default();
        let pump = devices.find_or_add(&DeviceId("pump".into()));
        let (a, b) = (SmolStr::new("a"), SmolStr::new("b"));
        assert!(devices.heard(pump, &source("mqtt"), Some(&a), Some(Timestamp(1))));
        assert_eq!(devices.get(pump).online, Some(true));
        assert!(!devices.heard(pump, &source("mqtt"), Some(&b), Some(Timestamp(2))));

        assert!(devices.presence(&presence("a", false)).is_empty());
        assert_eq!(devices.presence(&presence("b", false)), [pump]);
        assert_eq!(devices.get(pump).online, Some(false));
        assert!(devices.presence(&presence("b", false)).is_empty());
        assert_eq!(devices.presence(&presence("b", true)), [pump]);
        assert_eq!(devices.by_peer.len(), 1);
    }

    #[test]
    fn without_a_peer_nobody_knows_whether_it_is_online() {
        let mut devices = Devices::default();
        let pump = devices.find_or_add(&DeviceId("pump".into()));
        let a = SmolStr::new("a");
        devices.heard(pump, &source("mqtt"), Some(&a), Some(Timestamp(1)));
        assert!(devices.heard(pump, &source("serial"), None, Some(Timestamp(2))));
        assert_eq!(devices.get(pump).online, None);
        assert!(devices.by_peer.is_empty());
    }

    #[test]
    fn other_configured_devices_change_names_and_labels_and_nothing_that_was_heard() {
        let config = |id: &str, name: &str| DeviceConfig {
            id: id.into(),
            name: Some(name.to_owned()),
            site: None,
            labels: BTreeMap::from([("floor".to_owned(), name.to_owned())]),
            ..DeviceConfig::default()
        };
        let site = |name: &str| Some(name.to_owned());
        let mut devices = Devices::new(vec![config("a", "A"), config("b", "B")], site("hill"));
        let (a, heard) = (0, devices.find_or_add(&DeviceId("heard".into())));
        devices.heard(heard, &source("s"), None, Some(Timestamp(1)));
        devices.heard(
            a,
            &source("s"),
            Some(&"peer".into()),
            Some(Timestamp(5_000_000)),
        );
        assert_eq!(
            devices.reconfigure(vec![config("a", "A"), config("b", "B")], site("hill")),
            Vec::<DeviceIndex>::new()
        );
        let changed = devices.reconfigure(vec![config("b", "B"), config("new", "N")], site("hill"));
        assert_eq!(changed, [0, 3]);
        let a = devices.get(0);
        assert_eq!((a.name.as_str(), a.labels.len()), ("a", 0));
        assert_eq!((a.last_seen_ms, a.online), (Some(5), Some(true)));
        assert_eq!(
            devices
                .reconfigure(vec![config("b", "B"), config("new", "N")], None)
                .len(),
            4
        );
        assert_eq!(devices.get(heard).site, None);
    }

    #[test]
    fn a_device_that_was_only_configured_is_forgotten_with_that() {
        let config = |note: &str| DeviceConfig {
            id: "pump".into(),
            note: Some(note.to_owned()),
            ..DeviceConfig::default()
        };
        let mut devices = Devices::new(vec![config("leaks")], None);
        assert_eq!(devices.all().len(), 1);
        assert!(devices.reconfigure(Vec::new(), None).is_empty());
        assert!(devices.all().is_empty());
        assert_eq!(devices.reconfigure(vec![config("leaks")], None), [0]);
        assert_eq!(devices.reconfigure(vec![config("dry")], None), [0]);
        devices.heard(0, &source("s"), None, Some(Timestamp(1)));
        assert_eq!(devices.reconfigure(Vec::new(), None), [0]);
        assert_eq!(devices.all().len(), 1);
    }
}
