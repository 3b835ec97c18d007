//! When to try what: a delivery that fails rests alone, and its neighbours go on; a receiver that fails whatever it is sent is left alone
//! as a whole (a circuit breaker, after M. Nygard, "Release It!", 2007). Pure: it is handed the time.
//!
//! What holds:
//!
//! - Deliveries about one subject (an alert, or a group of alerts) stay in order: while one rests, the later ones about the same wait with it.
//! - One delivery that a receiver chokes on does not hold up the others: each failure rests its own subject, and only [`OPENS_AFTER`]
//!   failures in a row, whatever they were about, or a receiver that says when to come back, open the circuit.
//! - While the circuit is open nothing is tried; then one delivery is, and its success closes the circuit and ends all rests. Probes
//!   take turns, so that a circuit is not held open by the one delivery that never works.
//! - At most [`MAX_RESTING`] subjects rest; of more, the one that is due first is due at once.

use std::time::Duration;

use tokio::time::Instant;

use crate::backoff::{self, Backoff};

/// Failures in a row, over all deliveries, that open the circuit.
pub(super) const OPENS_AFTER: u32 = 5;
/// Subjects that rest at once.
pub(super) const MAX_RESTING: usize = 64;

/// When to try what, of one receiver.
#[derive(Debug)]
pub(super) struct Pace {
    config: backoff::Config,
    /// Failures since the last success.
    failures: u32,
    /// The waits of the receiver as a whole.
    backoff: Backoff,
    open_until: Option<Instant>,
    resting: Vec<Resting>,
}

#[derive(Debug)]
struct Resting {
    subject: String,
    until: Instant,
    backoff: Backoff,
}

/// Whether something may be tried.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Turn {
    /// The oldest delivery that is about none of these. When there is none, [`Pace::next_due`] says when to look again.
    Try {
        /// Subjects that rest.
        but: Vec<String>,
    },
    /// Nothing before this.
    Wait(Instant),
}

impl Pace {
    /// Nothing has failed yet.
    pub(super) fn new(config: backoff::Config) -> Self {
        Self {
            config,
            failures: 0,
            backoff: Backoff::new(config),
            open_until: None,
            resting: Vec::new(),
        }
    }

    /// What may be tried now.
    pub(super) fn turn(&self, now: Instant) -> Turn {
        match self.open_until {
            Some(until) if now < until => Turn::Wait(until),
            _ => Turn::Try {
                but: self
                    .resting
                    .iter()
                    .filter(|resting| now < resting.until)
                    .map(|resting| resting.subject.clone())
                    .collect(),
            },
        }
    }

    /// When the first rest is over; `None` when nothing rests.
    pub(super) fn next_due(&self, now: Instant) -> Option<Instant> {
        let due = self.resting.iter().map(|resting| resting.until);
        due.filter(|until| now < *until).min()
    }

    /// The receiver took a delivery about this. Says whether it had failed before.
    pub(super) fn succeeded(&mut self, subject: &str) -> bool {
        let again = self.failures > 0;
        if self.is_open() {
            // It was the receiver, not what it was sent.
            self.resting.clear();
        } else {
            self.forget(subject);
        }
        self.failures = 0;
        self.open_until = None;
        self.backoff.reset();
        again
    }

    /// A try failed and is to be made again, not before `after` if the receiver said so. Says whether that opened the circuit.
    pub(super) fn failed(&mut self, subject: &str, after: Option<Duration>, now: Instant) -> bool {
        let was_open = self.is_open();
        self.failures = self.failures.saturating_add(1);
        self.rest(subject, now);
        if after.is_some() || was_open || self.failures >= OPENS_AFTER {
            let wait = self.backoff.next_wait().max(after.unwrap_or_default());
            self.open_until = Some(now + wait);
        }
        !was_open && self.is_open()
    }

    /// There is nothing more to try about this: it was given up.
    pub(super) fn forget(&mut self, subject: &str) {
        self.resting.retain(|resting| resting.subject != subject);
    }

    /// Whether the receiver as a whole is left alone, or probed.
    pub(super) const fn is_open(&self) -> bool {
        self.open_until.is_some()
    }

    fn rest(&mut self, subject: &str, now: Instant) {
        let place = self.resting.iter().position(|r| r.subject == subject);
        let mut backoff = match place {
            Some(place) => self.resting.remove(place).backoff,
            None => Backoff::new(self.config),
        };
        let until = now + backoff.next_wait();
        if self.resting.len() >= MAX_RESTING {
            let first = (0..self.resting.len()).min_by_key(|at| self.resting[*at].until);
            if let Some(first) = first {
                self.resting.remove(first);
            }
        }
        self.resting.push(Resting {
            subject: subject.to_owned(),
            until,
            backoff,
        });
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const CONFIG: backoff::Config = backoff::Config {
        initial: Duration::from_secs(1),
        max: Duration::from_secs(300),
    };

    fn but(pace: &Pace, now: Instant) -> Vec<String> {
        match pace.turn(now) {
            Turn::Try { but } => but,
            Turn::Wait(_) => panic!("open"),
        }
    }

    #[test]
    fn a_delivery_that_fails_rests_and_its_neighbours_go_on() {
        let now = Instant::now();
        let mut pace = Pace::new(CONFIG);
        for _ in 0..100 {
            pace.failed("a", None, now);
            pace.succeeded("b");
        }
        assert!(!pace.is_open());
        assert_eq!(but(&pace, now), ["a"]);
        let due = pace.next_due(now).unwrap();
        assert!(due <= now + CONFIG.max);
        assert!(but(&pace, due).is_empty(), "then it is tried again");
        pace.succeeded("a");
        assert_eq!(pace.next_due(now), None);
    }

    #[test]
    fn failures_in_a_row_open_the_circuit_and_a_probe_that_works_closes_it() {
        let now = Instant::now();
        let mut pace = Pace::new(CONFIG);
        for n in 1..OPENS_AFTER {
            assert!(!pace.failed(&n.to_string(), None, now));
        }
        assert!(pace.failed("x", None, now), "now it opens");
        let Turn::Wait(until) = pace.turn(now) else {
            panic!("still closed");
        };
        let Turn::Try { but } = pace.turn(until) else {
            panic!("no probe");
        };
        assert!(but.len() <= OPENS_AFTER as usize);
        assert!(!pace.failed("y", None, until), "it was open");
        assert!(matches!(pace.turn(until), Turn::Wait(_)), "one probe");
        assert!(pace.succeeded("z"));
        assert_eq!(pace.turn(until), Turn::Try { but: Vec::new() });
    }

    #[test]
    fn a_receiver_that_says_when_is_not_asked_before() {
        let now = Instant::now();
        let mut pace = Pace::new(CONFIG);
        assert!(pace.failed("a", Some(Duration::from_secs(900)), now));
        let until = now + Duration::from_secs(900);
        assert_eq!(pace.turn(now), Turn::Wait(until));
        assert!(matches!(pace.turn(until), Turn::Try { .. }));
    }

    #[derive(Clone, Copy, Debug)]
    enum Step {
        Fail(u8),
        Succeed(u8),
        Later(u64),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            (0u8..100).prop_map(Step::Fail),
            (0u8..100).prop_map(Step::Succeed),
            (0u64..600).prop_map(Step::Later),
        ]
    }

    proptest! {
        /// Whatever happened, everything is tried again within the longest wait (twice, with the receiver's own), and no more than the bound rests.
        #[test]
        fn nothing_rests_for_ever(steps in prop::collection::vec(step(), 0..300)) {
            let mut now = Instant::now();
            let mut pace = Pace::new(CONFIG);
            for step in steps {
                match step {
                    Step::Fail(subject) => { pace.failed(&subject.to_string(), None, now); }
                    Step::Succeed(subject) => { pace.succeeded(&subject.to_string()); }
                    Step::Later(seconds) => now += Duration::from_secs(seconds),
                }
                prop_assert!(pace.resting.len() <= MAX_RESTING);
                if let Turn::Wait(until) = pace.turn(now) {
                    prop_assert!(until <= now + CONFIG.max);
                }
                let later = now + CONFIG.max;
                prop_assert_eq!(pace.turn(later), Turn::Try { but: Vec::new() });
            }
        }
    }
}
