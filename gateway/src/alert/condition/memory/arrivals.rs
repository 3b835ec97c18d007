//! How often something usually comes of a series, learned from when it came, and for how long nothing may come.
//!
//! Usual is the 90th percentile (nearest rank: definition 1 of Hyndman and Fan, "Sample Quantiles in Statistical Packages", The American
//! Statistician 50(4), 1996) of the last [`KEPT`] gaps, exactly: a few long ones, of outages and restarts, change nothing, and a series that
//! is slower from now on is known as such after seven of its gaps. Time is cut into stretches of at least half of the median gap and a second,
//! and of each only the longest gap counts: what was held back on the way and comes all at once, or comes twice, is one arrival, and makes
//! nothing seem quicker than it is. One that is quicker from now on is known as such after half of [`KEPT`] of its old gaps at most.
//!
//! Arrivals are on the wall clock, as the journal has them: a replay learns the same.
//!
//! Bounds: [`KEPT`] gaps of four bytes. What it costs: a sort of them for each gap that counts.

use std::{collections::VecDeque, time::Duration};

use crate::{alert::anomaly::Input, model::Timestamp};

/// Gaps that are remembered.
const KEPT: usize = 64;
/// Gaps that there must be before it says anything.
const LEAST: usize = 16;
/// So many usual gaps without anything are too many.
const TIMES: u32 = 3;
/// It is never due sooner …
const SOONEST: Duration = Duration::from_secs(30);
/// … or later than this.
const LATEST: Duration = Duration::from_secs(7 * 86_400);
/// No stretch is shorter, in milliseconds.
const STRETCH: i64 = 1_000;

/// What is usual.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Usual {
    /// Something comes at least so often.
    pub(crate) gap: Duration,
    /// Nothing may come for so long.
    pub(crate) patience: Duration,
}

/// When something came. See the module.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Arrivals {
    last: Timestamp,
    /// The beginning of this stretch.
    began: Timestamp,
    /// The longest gap of this stretch so far, in milliseconds.
    longest: u32,
    /// The oldest first, in milliseconds.
    gaps: VecDeque<u32>,
    /// Of the gaps: median and 90th percentile, in milliseconds.
    ranks: (u32, u32),
}

impl Arrivals {
    pub(super) const fn new(at: Timestamp) -> Self {
        Self {
            last: at,
            began: at,
            longest: 0,
            gaps: VecDeque::new(),
            ranks: (0, 0),
        }
    }

    /// Something came.
    pub(super) fn take(&mut self, at: Timestamp) {
        let gap = at.0.saturating_sub(self.last.0) / 1_000_000;
        self.last = at;
        if gap < 0 {
            // The clock went back: nobody knows how long that was.
            (self.began, self.longest) = (at, 0);
            return;
        }
        self.longest = self.longest.max(u32::try_from(gap).unwrap_or(u32::MAX));
        let stretch = at.0.saturating_sub(self.began.0) / 1_000_000;
        if stretch < (i64::from(self.ranks.0) / 2).max(STRETCH) {
            return;
        }
        if self.gaps.len() == KEPT {
            self.gaps.pop_front();
        }
        self.gaps.push_back(self.longest);
        (self.began, self.longest) = (at, 0);
        self.rank();
    }

    fn rank(&mut self) {
        let mut sorted: Vec<u32> = self.gaps.iter().copied().collect();
        sorted.sort_unstable();
        let at = |percent: usize| {
            let rank = (sorted.len() * percent).div_ceil(100);
            sorted.get(rank.saturating_sub(1)).copied().unwrap_or(0)
        };
        self.ranks = (at(50), at(90));
    }

    /// What is usual, once there were enough.
    pub(super) fn usual(&self) -> Option<Usual> {
        (self.gaps.len() >= LEAST).then(|| {
            let gap = Duration::from_millis(u64::from(self.ranks.1));
            Usual {
                gap,
                patience: gap.saturating_mul(TIMES).clamp(SOONEST, LATEST),
            }
        })
    }

    /// The clock that stamps arrivals jumped by so many nanoseconds.
    pub(super) const fn clock_jumped(&mut self, by: i64) {
        self.last = Timestamp(self.last.0.saturating_add(by));
        self.began = Timestamp(self.began.0.saturating_add(by));
    }

    /// All of it, 280 bytes at most.
    pub(super) fn write(&self, out: &mut Vec<u8>) {
        out.extend(self.last.0.to_le_bytes());
        out.extend(self.began.0.to_le_bytes());
        out.extend(self.longest.to_le_bytes());
        for gap in &self.gaps {
            out.extend(gap.to_le_bytes());
        }
    }

    /// What `write` wrote; `None` if it is something else.
    pub(super) fn read(mut input: Input<'_>) -> Option<Self> {
        let (last, began) = (input.time()?, input.time()?);
        let mut arrivals = Self {
            began,
            longest: input.half()?,
            ..Self::new(last)
        };
        while !input.0.is_empty() {
            arrivals.gaps.push_back(input.half()?);
        }
        arrivals.rank();
        (arrivals.gaps.len() <= KEPT).then_some(arrivals)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SECOND: i64 = 1_000_000_000;

    fn at(millis: i64) -> Timestamp {
        Timestamp(1_800_000_000 * SECOND + millis * 1_000_000)
    }

    struct Bench {
        arrivals: Arrivals,
        now: i64,
    }

    impl Bench {
        fn new() -> Self {
            let arrivals = Arrivals::new(at(0));
            Self { arrivals, now: 0 }
        }

        fn after(&mut self, millis: i64) -> &mut Self {
            self.now += millis;
            self.arrivals.take(at(self.now));
            self
        }

        fn every(&mut self, millis: i64, times: usize) -> &mut Self {
            for _ in 0..times {
                self.after(millis);
            }
            self
        }

        /// Gap and patience in seconds.
        fn usual(&self) -> Option<(u64, u64)> {
            let usual = self.arrivals.usual()?;
            Some((usual.gap.as_secs(), usual.patience.as_secs()))
        }
    }

    #[test]
    fn it_says_nothing_before_it_has_seen_enough_and_then_three_times_what_is_usual() {
        let mut bench = Bench::new();
        assert_eq!(bench.every(60_000, LEAST - 1).usual(), None);
        assert_eq!(bench.every(60_000, 1).usual(), Some((60, 180)));
        assert_eq!(bench.every(60_000, 500).usual(), Some((60, 180)));
        assert_eq!(bench.arrivals.gaps.len(), KEPT);
        // Neither sooner nor later than that.
        assert_eq!(Bench::new().every(100, 1_000).usual(), Some((0, 30)));
        let week = 7 * 86_400;
        let daily = 5 * 86_400_000;
        let usual = Bench::new().every(daily, 20).usual();
        assert_eq!(usual, Some((5 * 86_400, week)));
    }

    #[test]
    fn a_burst_makes_nothing_seem_quicker_not_even_before_it_is_learned() {
        // Held back for an hour, and then all at once, with whatever times it says.
        let mut bench = Bench::new();
        bench.every(600_000, 40);
        for _ in 0..10 {
            bench.after(3_600_000).every(5, 200);
        }
        bench.every(600_000, 30);
        assert_eq!(bench.usual(), Some((3_600, 10_800)));
        assert_eq!(bench.every(600_000, 60).usual(), Some((600, 1_800)));
        // What is measured each ten seconds and sent together each ten minutes comes each ten minutes.
        let mut bench = Bench::new();
        for _ in 0..40 {
            bench.after(600_000).every(1, 59);
        }
        let (gap, _) = bench.usual().unwrap();
        assert!((595..=600).contains(&gap), "{gap}");
        let mut bench = Bench::new();
        assert_eq!(bench.every(1, 900).usual(), None);
    }

    #[test]
    fn outages_change_nothing_and_another_pace_is_learned_in_time() {
        let mut bench = Bench::new();
        bench.every(10_000, 58);
        for _ in 0..6 {
            bench.after(7_200_000);
        }
        assert_eq!(bench.usual(), Some((10, 30)));
        // Slower from now on.
        let mut bench = Bench::new();
        bench.every(10_000, 200).every(300_000, 6);
        assert_eq!(bench.usual(), Some((10, 30)));
        assert_eq!(bench.every(300_000, 1).usual(), Some((300, 900)));
        // Quicker from now on.
        let mut bench = Bench::new();
        bench.every(600_000, 64);
        bench.every(10_000, 60 * 32);
        assert_eq!(bench.every(10_000, 64).usual(), Some((10, 30)));
    }

    #[test]
    fn a_clock_that_is_set_is_no_gap() {
        let mut bench = Bench::new();
        bench.every(60_000, 30);
        bench.arrivals.clock_jumped(3_600 * SECOND);
        bench.now += 3_600_000;
        bench.every(60_000, 1);
        assert!(bench.arrivals.gaps.iter().all(|gap| *gap == 60_000));
        // One that went back without a word.
        bench.after(-7_200_000).every(60_000, 3);
        assert!(bench.arrivals.gaps.iter().all(|gap| *gap == 60_000));
    }

    proptest! {
        /// Whatever is held back and comes at once, however often the memory is written down and read again: what is learned lies
        /// within what the device does.
        #[test]
        fn what_is_learned_is_what_the_device_does(
            seconds in 2_i64..3_600,
            steps in prop::collection::vec((80_i64..=120, prop::option::weighted(0.2, 1_usize..50), prop::bool::weighted(0.1)), 20..120),
        ) {
            let mut bench = Bench::new();
            for (percent, burst, restart) in steps {
                bench.after(seconds * 10 * percent);
                bench.every(1, burst.unwrap_or(0));
                if restart {
                    let mut bytes = Vec::new();
                    bench.arrivals.write(&mut bytes);
                    prop_assert!(bytes.len() <= 280);
                    let read = Arrivals::read(Input(&bytes));
                    prop_assert_eq!(read.as_ref(), Some(&bench.arrivals));
                    bench.arrivals = read.unwrap();
                }
            }
            let usual = bench.arrivals.usual().unwrap();
            let gap = i64::try_from(usual.gap.as_millis()).unwrap();
            // A burst takes 50 ms of the next gap.
            prop_assert!((seconds * 800 - 50..=seconds * 1_200).contains(&gap), "{} of {} s", gap, seconds);
            prop_assert!(usual.patience >= SOONEST && usual.patience <= LATEST);
            prop_assert!(usual.patience >= usual.gap.saturating_mul(TIMES).min(LATEST));
        }

        #[test]
        fn whatever_bytes_there_are_it_does_not_panic(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
            if let Some(mut arrivals) = Arrivals::read(Input(&bytes)) {
                arrivals.take(at(0));
                prop_assert!(arrivals.gaps.len() <= KEPT);
            }
        }
    }
}
