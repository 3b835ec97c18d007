//! The store as rules see it.

use crate::{
    alert::{Latest, Of, View},
    model::{Quality, SeriesKey, Timestamp},
    store::{Sample, SeriesIndex, Store},
};

/// The store, from where one series stands.
#[derive(Clone, Copy)]
pub(super) struct StoreView<'a> {
    pub(super) store: &'a Store,
    pub(super) series: SeriesIndex,
}

impl StoreView<'_> {
    fn find(&self, of: &Of) -> Option<SeriesIndex> {
        match of {
            Of::Itself => Some(self.series),
            Of::Metric(metric) => self.store.find(&SeriesKey {
                device: self.store.key(self.series).device.clone(),
                metric: metric.clone(),
            }),
            Of::Series(key) => self.store.find(key),
        }
    }
}

impl View for StoreView<'_> {
    fn first_number(&self, from: Timestamp, to: Timestamp) -> Option<f64> {
        self.store.first_number(self.series, from, to)
    }

    fn samples(&self, of: &Of, from: Timestamp, to: Timestamp, each: impl FnMut(Sample)) {
        if let Some(series) = self.find(of) {
            self.store.samples(series, from, to, each);
        }
    }

    fn latest(&self, of: &Of) -> Option<Latest> {
        let (point, retained) = self.store.latest(self.find(of)?)?;
        (point.quality != Quality::Bad).then(|| Latest {
            value: point.value.clone(),
            time: point.time,
            retained,
        })
    }
}
