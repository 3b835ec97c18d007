//! All clients with one filter: what they hear of an event is cut out once for all of them.

use std::{
    collections::VecDeque,
    sync::{Mutex, PoisonError},
};

use super::{
    event::{About, Column, Event},
    filter::Filter,
    shared::Shared,
};
use bytes::Bytes;

/// Frames that a group of clients keeps after cutting them out.
const MAX_CUT: usize = 16;
/// Their bytes at most; the newest always stays.
const MAX_CUT_BYTES: usize = 64 << 10;

/// All clients with one filter.
#[derive(Debug)]
pub(super) struct Group {
    pub(super) filter: Filter,
    // std: held while one frame is cut, so that it is cut once. Never over an await.
    cuts: Mutex<Cuts>,
}

#[derive(Debug, Default)]
struct Cuts {
    /// By number of the series: whether it is wanted, once that was asked.
    wanted: Vec<Option<bool>>,
    /// The version of the labels that this was asked with.
    labels: u64,
    frames: VecDeque<(u64, Option<Bytes>)>,
    bytes: usize,
}

impl Group {
    pub(super) fn new(filter: Filter) -> Self {
        Self {
            filter,
            cuts: Mutex::default(),
        }
    }

    /// What these clients hear of an event, cut once for all of them; each cut is counted.
    pub(super) fn frame(&self, event: &Event, shared: &Shared) -> Option<Bytes> {
        if self.filter.is_everything() {
            return Some(event.frame.clone());
        }
        let cut = matches!(event.about, About::Several(_))
            && !self.filter.wants_all_series()
            && self.filter.wants(event.kind);
        let labels = shared.labels();
        if !cut {
            return event.frame_for(&self.filter, &labels, |_| false);
        }
        let mut cuts = self.cuts.lock().unwrap_or_else(PoisonError::into_inner);
        let cuts = &mut *cuts;
        if let Some((_, frame)) = cuts.frames.iter().find(|(n, _)| *n == event.sequence) {
            return frame.clone();
        }
        shared.metrics.cut.inc();
        if std::mem::replace(&mut cuts.labels, labels.version()) != labels.version() {
            cuts.wanted.clear();
        }
        let frame = event.frame_for(&self.filter, &labels, |column: &Column| {
            let number = column.number as usize;
            if cuts.wanted.len() <= number {
                cuts.wanted.resize(number + 1, None);
            }
            *cuts.wanted[number]
                .get_or_insert_with(|| self.filter.wants_series(&column.series, &labels))
        });
        cuts.bytes += frame.as_ref().map_or(0, Bytes::len);
        cuts.frames.push_back((event.sequence, frame.clone()));
        while cuts.frames.len() > 1 && (cuts.frames.len() > MAX_CUT || cuts.bytes > MAX_CUT_BYTES) {
            if let Some((_, Some(oldest))) = cuts.frames.pop_front() {
                cuts.bytes -= oldest.len();
            }
        }
        frame
    }
}
