//! How the wall clock moved against the time since boot: pure. All times in nanoseconds.
//!
//! A stretch is a time in which the difference between the two (the time of the boot, by the wall clock) did not move by more than
//! [`JUMP`]. The last [`KEPT`] stretches are kept; the oldest go.

use std::{collections::VecDeque, time::Duration};

use super::{Jump, nanos};
use crate::model::Timestamp;

/// A clock that moves by more than this between two looks has jumped.
pub const JUMP: Duration = Duration::from_secs(1);
/// Stretches that are remembered.
const KEPT: usize = 32;
/// For so long a clock that was ahead counts in [`Timeline::latest`].
const REMEMBERED: Duration = Duration::from_secs(86_400);

/// What was seen of the clock.
#[derive(Debug, Default)]
pub(super) struct Timeline {
    /// Oldest first.
    stretches: VecDeque<Stretch>,
    jumps: u64,
    last: Option<Jump>,
    /// Jumps that nobody told yet; of more than [`KEPT`] the oldest go untold, though counted.
    untold: VecDeque<Jump>,
}

#[derive(Clone, Copy, Debug)]
struct Stretch {
    /// When the machine booted, by the wall clock; `None` while that is not set.
    booted_at: Option<i64>,
    /// From this time since boot on.
    from: i64,
}

impl Timeline {
    /// Takes a look at the two clocks.
    pub(super) fn look(&mut self, booted_at: Option<i64>, since_boot: i64) {
        let Some(now) = self.stretches.back_mut() else {
            self.begin(booted_at, since_boot);
            return;
        };
        let moved = match (now.booted_at, booted_at) {
            (Some(before), Some(after)) => after.saturating_sub(before),
            (None, None) => 0,
            _ => {
                self.begin(booted_at, since_boot);
                return;
            }
        };
        if moved.unsigned_abs() <= nanos(JUMP).unsigned_abs() {
            // Small steps are followed, so that many of them don't add up to a jump.
            now.booted_at = booted_at;
            return;
        }
        self.begin(booted_at, since_boot);
        self.jumps += 1;
        let wall = Timestamp(booted_at.unwrap_or_default().saturating_add(since_boot));
        let jump = Jump {
            at_ms: wall.as_millis(),
            by_ms: moved / 1_000_000,
        };
        self.last = Some(jump);
        if self.untold.len() == KEPT {
            self.untold.pop_front();
        }
        self.untold.push_back(jump);
    }

    /// A jump that was not told yet.
    pub(super) fn untold(&mut self) -> Option<Jump> {
        self.untold.pop_front()
    }

    pub(super) const fn jumps(&self) -> u64 {
        self.jumps
    }

    pub(super) const fn last_jump(&self) -> Option<Jump> {
        self.last
    }

    pub(super) fn latest(&self, since_boot: i64) -> Option<i64> {
        let remembered = since_boot.saturating_sub(nanos(REMEMBERED));
        self.with_ends(since_boot)
            .filter(|(_, end)| *end >= remembered)
            .filter_map(|(stretch, _)| stretch.booted_at)
            .max()
            .map(|booted_at| booted_at.saturating_add(since_boot))
    }

    pub(super) fn since(&self, stamp: i64, since_boot: i64) -> Duration {
        if !Timestamp(stamp).is_set() {
            let unset = self
                .stretches
                .iter()
                .any(|s| s.booted_at.is_none() && (s.from..=since_boot).contains(&stamp));
            let passed = if unset {
                since_boot.saturating_sub(stamp)
            } else {
                0
            };
            return Duration::from_nanos(passed.max(0).unsigned_abs());
        }
        // The youngest stretch in which the clock showed this.
        let slack = nanos(JUMP);
        let shown = self
            .with_ends(since_boot)
            .filter_map(|(stretch, end)| {
                let at = stamp.saturating_sub(stretch.booted_at?);
                (stretch.from.saturating_sub(slack)..=end.saturating_add(slack))
                    .contains(&at)
                    .then_some(at)
            })
            .last();
        let first = || self.stretches.iter().find_map(|s| s.booted_at);
        let at = shown
            .or_else(|| first().map(|booted_at| stamp.saturating_sub(booted_at)))
            .unwrap_or(since_boot);
        Duration::from_nanos(since_boot.saturating_sub(at).max(0).unsigned_abs())
    }

    pub(super) fn steady_for(&self, since_boot: i64) -> Duration {
        let since = self
            .stretches
            .back()
            .filter(|stretch| stretch.booted_at.is_some())
            .map_or(since_boot, |stretch| stretch.from);
        Duration::from_nanos(since_boot.saturating_sub(since).max(0).unsigned_abs())
    }

    /// Each stretch and when it ended.
    fn with_ends(&self, since_boot: i64) -> impl Iterator<Item = (Stretch, i64)> + '_ {
        let ends = self
            .stretches
            .iter()
            .skip(1)
            .map(|next| next.from)
            .chain([since_boot]);
        self.stretches.iter().copied().zip(ends)
    }

    fn begin(&mut self, booted_at: Option<i64>, since_boot: i64) {
        if self.stretches.len() == KEPT {
            self.stretches.pop_front();
        }
        self.stretches.push_back(Stretch {
            booted_at,
            from: since_boot,
        });
    }
}
