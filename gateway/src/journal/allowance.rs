//! How often a commit may be made sooner because it is news to a rule; pure.
//!
//! What gathers is spared for the card's sake, and a value that swings over a limit a hundred times a second must not undo that. So it
//! is a bucket of tokens, one a commit, for the whole gateway: [`MOST`] at first, and one more every [`REFILL`]. That is 8 640 a day and at
//! most 9 240: of a page of 4 KiB, or two where a record crosses into the next, at most 75 MB. The last [`KEPT`] are for series that were not
//! in the news within the last minute: one that swings all the time takes none of those away.
//!
//! With none left, what is news gathers as everything else does.

use std::time::Duration;

use tokio::time::Instant;

use crate::model::News;

/// Commits that may be hastened one after the other.
pub(super) const MOST: u32 = 600;
/// Of these, for who was quiet before.
pub(super) const KEPT: u32 = 300;
/// After this there is one more.
const REFILL: Duration = Duration::from_secs(10);

/// What is left.
#[derive(Debug)]
pub(super) struct Allowance {
    left: u32,
    /// When the last one was added, or it was full.
    filled: Instant,
}

impl Allowance {
    pub(super) const fn new(now: Instant) -> Self {
        Self {
            left: MOST,
            filled: now,
        }
    }

    /// Takes one; `false`: there is none for this.
    pub(super) fn take(&mut self, news: News, now: Instant) -> bool {
        while self.left < MOST && now.saturating_duration_since(self.filled) >= REFILL {
            self.left += 1;
            self.filled += REFILL;
        }
        if self.left == MOST {
            self.filled = now;
        }
        let kept = match news {
            News::None => return false,
            News::Again => KEPT,
            News::Fresh => 0,
        };
        let there_is = self.left > kept;
        self.left -= u32::from(there_is);
        there_is
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn one_that_swings_all_the_time_leaves_some_for_others_and_gets_few_more() {
        let began = Instant::now();
        let mut allowance = Allowance::new(began);
        let of = |allowance: &mut Allowance, news, times: u32, at| {
            (0..times).filter(|_| allowance.take(news, at)).count()
        };
        assert_eq!(of(&mut allowance, News::None, 10, began), 0);
        assert_eq!(of(&mut allowance, News::Again, 10_000, began), 300);
        assert_eq!(of(&mut allowance, News::Fresh, 10_000, began), 300);
        assert!(!allowance.take(News::Fresh, began + REFILL / 2));
        let later = began + 3 * REFILL;
        assert_eq!(of(&mut allowance, News::Again, 9, later), 0, "not for it");
        assert_eq!(of(&mut allowance, News::Fresh, 9, later), 3);
        let much_later = began + 10_000 * REFILL;
        assert_eq!(of(&mut allowance, News::Fresh, 10_000, much_later), 600);
    }

    proptest! {
        /// Whoever asks however often: no more than a full bucket and what was added since.
        #[test]
        fn there_are_never_more_than_were_filled_in(
            asked in prop::collection::vec((0_u64..30_000, any::<bool>()), 0..2_000),
        ) {
            let began = Instant::now();
            let (mut allowance, mut now, mut taken) = (Allowance::new(began), began, 0_u64);
            for (pause_ms, fresh) in asked {
                now += Duration::from_millis(pause_ms);
                let news = if fresh { News::Fresh } else { News::Again };
                taken += u64::from(allowance.take(news, now));
            }
            let most = u64::from(MOST) + (now - began).as_secs() / REFILL.as_secs();
            prop_assert!(taken <= most, "{} of {}", taken, most);
        }
    }
}
