//! Going on where an earlier run of the gateway broke off.
//!
//! The order in which readings and alerts were said differs from run to run, so a place in this run's ring says nothing to such a
//! client. It reads the ring with its own mark beside it, and hears what the mark has not.

use bytes::Bytes;

use super::{
    event,
    frame::Id,
    place::{Epoch, Mark, News, Place},
};

/// What a client of an earlier run still has to hear of what was said before it came: the durable events that it has not heard, each
/// under an id that says what it has heard with it.
#[derive(Clone, Debug)]
pub(super) struct Retelling {
    pub(super) epoch: Epoch,
    pub(super) run: u64,
    pub(super) heard: Mark,
    /// The newest event when it came. From there on it hears what all hear.
    pub(super) until: u64,
}

impl Retelling {
    /// The frame for the client, if it has not heard the event.
    pub(super) fn tell(&mut self, news: News, frame: Option<Bytes>) -> Option<Bytes> {
        if news == News::Other || self.heard.has(news) {
            return None;
        }
        self.heard.hear(news);
        let place = Place {
            mark: self.heard,
            run: self.run,
            number: 0,
        };
        frame.map(|frame| event::under(Id(&self.epoch, place), &frame))
    }
}
