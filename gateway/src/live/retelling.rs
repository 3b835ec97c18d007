//! Going on where an earlier run of the gateway broke off.
//!
//! The order in which readings and alerts were said differs from run to run, so a place in this run's ring says nothing to such a
//! client. It reads the ring with its own mark beside it, and hears what the mark has not.

use std::sync::Arc;

use bytes::Bytes;

use super::{
    event::{self, About, Event},
    frame::Id,
    latest,
    place::{Epoch, Mark, News, Place},
};
use crate::alert::silence::Attention;

/// What a client of an earlier run still has to hear of what was said before it came: the durable events that it has not heard, each
/// under an id that says what it has heard with it.
#[derive(Clone, Debug)]
pub(super) struct Retelling {
    pub(super) epoch: Epoch,
    pub(super) run: u64,
    pub(super) heard: Mark,
    /// The newest event that was in the `resume`. What is not durable is told from there on.
    pub(super) known: u64,
    /// The newest event when it came. From there on it hears what all hear.
    pub(super) until: u64,
    /// What people had done when it came. An old change of an alert is told with this, as the `resume` was: who acknowledged it later
    /// is not said by another event that the client would hear.
    pub(super) attention: Option<Arc<Attention>>,
}

impl Retelling {
    /// The frame for the client, if it has not heard the event.
    pub(super) fn tell(&mut self, event: &Event, frame: Option<Bytes>) -> Option<Bytes> {
        let heard = match event.news {
            News::Other => event.sequence <= self.known,
            news => self.heard.has(news),
        };
        if heard {
            return None;
        }
        self.heard.hear(event.news);
        let place = Place {
            mark: self.heard,
            run: self.run,
            number: 0,
        };
        let id = Id(&self.epoch, place);
        frame.map(|frame| match &event.about {
            About::Alert { alert, .. } => event::alert(
                Some(id),
                &latest::attended(self.attention.as_deref(), alert),
            ),
            _ => event::under(id, &frame),
        })
    }
}
