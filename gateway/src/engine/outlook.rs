//! What the rules hold of series, handed to who takes readings in: so that it can tell what is news before the engine has it.
//!
//! The engine writes it, in a few lines: which rules are about a series when that comes to be known, and how they stand when an alert
//! changes. Who takes readings in follows them in it. It is locked for one batch, or for one change; over a change of all rules as long as it
//! takes to write them out (10 ms for 10 000).

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::time::Instant;

use crate::{
    alert::Foresight,
    model::{News, Reading},
};

/// A handle; cheap to clone.
#[derive(Clone, Debug)]
pub struct Outlook {
    foresight: Arc<Mutex<Foresight>>,
    began: Instant,
}

impl Default for Outlook {
    fn default() -> Self {
        Self {
            foresight: Arc::default(),
            began: Instant::now(),
        }
    }
}

impl Outlook {
    /// Whether an alert would begin or end with one of these readings, which come now.
    #[must_use]
    pub fn news(&self, readings: &[Reading]) -> News {
        self.lock().news(readings, self.began.elapsed())
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Foresight> {
        // What is in it is a guess at any time.
        self.foresight
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}
