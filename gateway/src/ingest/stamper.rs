//! What the clock did, as the journal is told.
//!
//! Ingest is the one place in which the order of the journal is made, so it says there: batches that were stamped before the clock
//! was set are marked so; once it is set, they get their right times before anything newer goes in; and a jump is noted on the
//! first batch after it, so that who reads the journal can tell a jump from time that passed.

use crate::{
    clock::{Clock, JUMP},
    journal::{Closed, Journal},
    model::{Stamps, Timestamp},
};

/// Whether the clock was set.
pub(super) const fn are_set(stamps: Stamps) -> bool {
    !matches!(stamps, Stamps::SinceBoot(_))
}

/// Knows by what clock deliveries were stamped, and what the journal is still to be told about it.
#[derive(Debug)]
pub(super) struct Stamper {
    clock: Clock,
    /// When the machine booted, by the clock that stamped the newest batch; `None` while that was not set.
    booted_at: Option<Timestamp>,
    /// Batches of a clock that was not set were submitted; the journal may not have them yet.
    submitted_unset: bool,
}

impl Stamper {
    pub(super) fn new(clock: Clock) -> Self {
        Self {
            booted_at: clock.booted_at(),
            clock,
            submitted_unset: false,
        }
    }

    /// By what clock a delivery was stamped. Asked for each one that is journalled, in order.
    pub(super) fn stamps(&mut self, arrivals: impl Iterator<Item = Timestamp>) -> Stamps {
        let mut newest = None;
        for arrived in arrivals {
            if !arrived.is_set() {
                self.submitted_unset = true;
                return Stamps::SinceBoot(self.clock.boot());
            }
            newest = Some(arrived);
        }
        let (Some(newest), Some(after)) = (newest, self.clock.booted_at()) else {
            return Stamps::Set;
        };
        let Some(before) = self.booted_at.replace(after) else {
            return Stamps::Set;
        };
        let by = after.0.saturating_sub(before.0);
        if i128::from(by).unsigned_abs() <= JUMP.as_nanos() {
            return Stamps::Set;
        }
        // What was stamped before the jump and waited in a queue still lies on the old side of it.
        let since_boot = self.clock.since_boot();
        let age = |booted_at: Timestamp| {
            let at = i128::from(newest.0) - i128::from(booted_at.0);
            (i128::from(since_boot) - at).unsigned_abs()
        };
        if age(before) < age(after) {
            self.booted_at = Some(before);
            return Stamps::Set;
        }
        Stamps::Jumped(by)
    }

    /// Whether [`Stamper::restamp`] may have something to do soon.
    pub(super) fn is_due(&self, journal: &Journal) -> bool {
        self.submitted_unset || journal.awaits_clock()
    }

    /// Gives what came before the clock was set its right times, if it is set now.
    pub(super) async fn restamp(&mut self, journal: &Journal) -> Result<(), Closed> {
        if self.is_due(journal) && self.clock.is_trusted() {
            journal.restamp(&self.clock).await?;
            self.submitted_unset = false;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::model::Boot;

    const SET: Timestamp = Timestamp(1_800_000_000_000_000_000);
    const MINUTE: i64 = 60_000_000_000;

    fn stamps(stamper: &mut Stamper, arrived: Timestamp) -> Stamps {
        stamper.stamps(std::iter::once(arrived))
    }

    #[test]
    fn a_jump_is_noted_on_the_first_batch_that_was_stamped_after_it() {
        for by in [14 * 1_440 * MINUTE, -14 * 1_440 * MINUTE, 5_000_000_000] {
            let clock = Clock::manual(SET);
            let mut stamper = Stamper::new(clock.clone());
            assert_eq!(stamps(&mut stamper, clock.now()), Stamps::Set);
            clock.advance(Duration::from_secs(600));
            let queued = clock.now();
            clock.set(Timestamp(queued.0 + by));
            clock.advance(Duration::from_secs(1));
            assert_eq!(stamps(&mut stamper, queued), Stamps::Set);
            assert_eq!(stamps(&mut stamper, clock.now()), Stamps::Jumped(by));
            assert_eq!(stamps(&mut stamper, clock.now()), Stamps::Set);
        }
    }

    #[test]
    fn being_set_is_no_jump_and_what_was_stamped_before_is_told_apart() {
        let clock = Clock::manual_after_boot(Boot(9), Duration::from_secs(5), Timestamp(0));
        let mut stamper = Stamper::new(clock.clone());
        let queued = clock.now();
        assert_eq!(stamps(&mut stamper, queued), Stamps::SinceBoot(Boot(9)));
        clock.set(SET);
        assert_eq!(stamps(&mut stamper, queued), Stamps::SinceBoot(Boot(9)));
        assert_eq!(stamps(&mut stamper, clock.now()), Stamps::Set);
    }
}
