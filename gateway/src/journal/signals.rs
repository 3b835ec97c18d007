//! What the writer and the handles tell each other: that the journal closes, and that the disk refuses.

use std::{io, sync::PoisonError, time::Duration};

use tokio::time::Instant;

use super::{Shared, disk::is_full};

impl Shared {
    pub(super) fn is_closing(&self) -> bool {
        *self
            .closing
            .0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn set_closing(&self) {
        *self
            .closing
            .0
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = true;
        self.closing.1.notify_all();
    }

    /// Sleeps, but not beyond the call to close.
    pub(super) fn wait_or_closing(&self, wait: Duration) {
        let closing = self
            .closing
            .0
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        drop(
            self.closing
                .1
                .wait_timeout_while(closing, wait, |closing| !*closing),
        );
    }

    pub(super) fn set_writing_since(&self, since: Option<Instant>) {
        *self
            .writing_since
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = since;
    }

    pub(super) fn set_failing(&self, error: Option<&io::Error>) {
        self.metrics.failing.set(i64::from(error.is_some()));
        *self.failing.lock().unwrap_or_else(PoisonError::into_inner) = error.map(|error| {
            if is_full(error) {
                format!("the disk is full ({error}): make room, it goes on by itself")
            } else {
                format!("writing failed ({error}): check the disk, it goes on by itself")
            }
        });
    }
}
