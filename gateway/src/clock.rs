//! The wall clock, as a value that is handed around, so that tests can set it.
//!
//! Timers use `tokio::time` (monotonic); this is only for stamping.

use std::{
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::{SystemTime, UNIX_EPOCH},
};

use crate::model::Timestamp;

/// No gateway can run before this program was written: an earlier clock was never set.
/// 2026-01-01T00:00:00Z.
const NOT_SET_BEFORE: Timestamp = Timestamp(1_767_225_600_000_000_000);

/// A source of wall-clock time. Cheap to clone; all clones agree.
#[derive(Clone, Debug, Default)]
pub struct Clock {
    manual: Option<Arc<AtomicI64>>,
}

impl Clock {
    /// The machine's clock.
    #[must_use]
    pub fn system() -> Self {
        Self::default()
    }

    /// A clock that stands at `now` until [`Clock::set`] moves it.
    #[must_use]
    pub fn manual(now: Timestamp) -> Self {
        Self {
            manual: Some(Arc::new(AtomicI64::new(now.0))),
        }
    }

    /// Moves a manual clock; does nothing to the machine's.
    pub fn set(&self, now: Timestamp) {
        if let Some(manual) = &self.manual {
            manual.store(now.0, Ordering::Release);
        }
    }

    /// The time now.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        if let Some(manual) = &self.manual {
            return Timestamp(manual.load(Ordering::Acquire));
        }
        #[expect(
            clippy::disallowed_methods,
            reason = "this is the one place that reads the wall clock"
        )]
        let since_epoch = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        Timestamp(i64::try_from(since_epoch.as_nanos()).unwrap_or(i64::MAX))
    }

    /// Whether the clock can have been set at all: a Pi without a clock chip boots in the past.
    #[must_use]
    pub fn is_trusted(&self) -> bool {
        self.now() >= NOT_SET_BEFORE
    }
}
