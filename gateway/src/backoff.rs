//! How long to wait before trying again: exponential, with full jitter, bounded.
//!
//! Jitter as in "Exponential Backoff And Jitter" (M. Brooker, AWS, 2015): a hundred gateways that lost the
//! same server must not come back in step.

use std::time::Duration;

/// The shape of the waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Config {
    /// The longest first wait. Default 500 ms.
    pub initial: Duration,
    /// No wait is longer. Default 60 s.
    pub max: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            initial: Duration::from_millis(500),
            max: Duration::from_secs(60),
        }
    }
}

/// Counts failures in a row and says how long to wait after each.
#[derive(Clone, Debug)]
pub struct Backoff {
    config: Config,
    failures: u32,
}

impl Backoff {
    /// No failure yet.
    #[must_use]
    pub const fn new(config: Config) -> Self {
        Self {
            config,
            failures: 0,
        }
    }

    /// Another failure: the wait before the next try, between half and the whole of the current step.
    pub fn next_wait(&mut self) -> Duration {
        let step = self
            .config
            .initial
            .saturating_mul(1 << self.failures.min(20))
            .min(self.config.max);
        self.failures = self.failures.saturating_add(1);
        step.mul_f64(0.5 + fastrand::f64() / 2.0)
    }

    /// It worked: the next failure starts from the beginning.
    pub const fn reset(&mut self) {
        self.failures = 0;
    }

    /// Failures in a row so far.
    #[must_use]
    pub const fn failures(&self) -> u32 {
        self.failures
    }
}

/// What a `Retry-After` header asks for, in seconds (RFC 9110, 10.2.3); at most an hour. A date is not taken: the clocks
/// may differ, and the usual waits then apply.
#[must_use]
pub fn retry_after(headers: &reqwest::header::HeaderMap) -> Option<Duration> {
    let seconds: u64 = headers
        .get(reqwest::header::RETRY_AFTER)?
        .to_str()
        .ok()?
        .trim()
        .parse()
        .ok()?;
    Some(Duration::from_secs(seconds.min(3_600)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_to_the_maximum_and_start_again_after_a_success() {
        let mut backoff = Backoff::new(Config {
            initial: Duration::from_millis(100),
            max: Duration::from_secs(1),
        });
        let waits: Vec<_> = (0..40).map(|_| backoff.next_wait()).collect();
        assert!(waits[0] <= Duration::from_millis(100) && waits[0] >= Duration::from_millis(50));
        assert!(waits[39] <= Duration::from_secs(1) && waits[39] >= Duration::from_millis(500));
        backoff.reset();
        assert!(backoff.next_wait() <= Duration::from_millis(100));
    }
}
