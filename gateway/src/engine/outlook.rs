//! What the rules hold of series, handed to who takes readings in: so that it can tell what is news before the engine has it.
//!
//! The engine writes it, in a few lines: which rules are about a series when that comes to be known, and how they stand when an alert
//! changes. Who takes readings in follows them in it. It is locked for one batch, or for one change; over a change of all rules as long as it
//! takes to write them out.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::time::Instant;

use super::core::Core;
use crate::{
    alert::{Foresight, Transition},
    model::{News, Reading},
    store::SeriesIndex,
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

    fn lock(&self) -> MutexGuard<'_, Foresight> {
        // What is in it is a guess at any time.
        self.foresight
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl Core {
    /// Tells those who take readings in what the rules hold of all series.
    pub(super) fn foretell_all(&self) {
        let mut foresight = Foresight::default();
        self.machine.foretell_all(&mut foresight);
        *self.outlook.lock() = foresight;
    }

    /// The same of one.
    pub(super) fn foretell(&self, series: SeriesIndex) {
        self.machine.foretell(series, &mut self.outlook.lock());
    }

    /// The same of those whose alerts changed.
    pub(super) fn foretell_changed(&self, transitions: &[Transition]) {
        if transitions.is_empty() {
            return;
        }
        let mut foresight = self.outlook.lock();
        for transition in transitions {
            if let Some(series) = self.store.find(&transition.series) {
                self.machine.foretell(series, &mut foresight);
            }
        }
    }
}
