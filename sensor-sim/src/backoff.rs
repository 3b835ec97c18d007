//! How long to wait before trying again: doubling, jittered, bounded.

use std::time::Duration;

const FIRST: Duration = Duration::from_millis(100);
const LONGEST: Duration = Duration::from_secs(5);

/// Counts failures in a row. The first wait is at most 100 ms, no wait is longer than 5 s: a simulated device is
/// impatient, because a test waits for it.
#[derive(Debug, Default)]
pub struct Backoff {
    failures: u32,
}

impl Backoff {
    /// Another failure: the wait before the next try, between half and the whole of the current step.
    pub fn next_wait(&mut self) -> Duration {
        let step = FIRST
            .saturating_mul(1 << self.failures.min(10))
            .min(LONGEST);
        self.failures = self.failures.saturating_add(1);
        step.mul_f64(0.5 + fastrand::f64() / 2.0)
    }

    /// It worked: the next failure is a first one.
    pub fn reset(&mut self) {
        self.failures = 0;
    }
}
