//! Where devices are and what labels they carry, as it is now, for filters. Bounded by the engine's cap on devices.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use crate::{model::DeviceId, store::Device};

/// The site and the labels of one device.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Tags {
    site: Option<String>,
    labels: BTreeMap<String, String>,
}

/// Those of all devices.
#[derive(Debug, Default)]
pub(crate) struct Labels {
    devices: HashMap<DeviceId, Arc<Tags>>,
    /// Another one after each change.
    version: u64,
}

impl Tags {
    /// The value of a label; `site` is the site.
    pub(crate) fn value(&self, name: &str) -> Option<&str> {
        match (name, &self.site) {
            ("site", Some(site)) => Some(site),
            _ => self.labels.get(name).map(String::as_str),
        }
    }
}

impl Labels {
    /// Takes what a device has now, and gives back what it had, if that was something else.
    pub(crate) fn set(&mut self, device: &Device) -> Option<Arc<Tags>> {
        let before = self.devices.get(&device.id);
        let same = |tags: &Arc<Tags>| tags.site == device.site && tags.labels == device.labels;
        if before.is_some_and(same) {
            return None;
        }
        self.version += 1;
        let tags = Tags {
            site: device.site.clone(),
            labels: device.labels.clone(),
        };
        self.devices.insert(device.id.clone(), Arc::new(tags))
    }

    pub(crate) fn of(&self, device: &DeviceId) -> Option<&Tags> {
        self.devices.get(device).map(AsRef::as_ref)
    }

    pub(crate) const fn version(&self) -> u64 {
        self.version
    }
}
