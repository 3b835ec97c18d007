//! The wall clock, as a value that is handed around, so that tests can set it; and what is known of its truth.
//!
//! Timers use `tokio::time` (monotonic); this is for stamping, and for what must know how the wall clock moved.
//!
//! - A clock that was never set (earlier than 2026, as on a machine without a clock chip) is not read at all: [`Clock::now`]
//!   then counts from the boot (CLOCK_BOOTTIME), as if the machine had booted in 1970. Such a stamp says by itself what it is
//!   ([`Timestamp::is_set`]), does not jump when somebody sets the clock half right, and becomes the right time by adding the time of the boot,
//!   which is known to the nanosecond as soon as the clock is set ([`Clock::booted_at`]).
//! - While it is set, wall clock and time since boot go at one rate (the kernel steers both), so that their difference moves
//!   only when somebody sets the clock: a *jump*, if by more than a second.
//!
//! It does not judge whether a clock that was set was set right, and never corrects one.

mod timeline;
mod watch;

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicI64, Ordering},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use serde::Serialize;

use self::timeline::Timeline;
pub use self::{timeline::JUMP, watch::watch};
use crate::model::{Boot, Timestamp};

/// A source of wall-clock time. Cheap to clone; all clones agree.
#[derive(Clone, Debug)]
pub struct Clock {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    manual: Option<Manual>,
    boot: Boot,
    // std: held for a look.
    timeline: Mutex<Timeline>,
}

/// Nanoseconds since the epoch and since boot.
#[derive(Debug)]
struct Manual {
    wall: AtomicI64,
    since_boot: AtomicI64,
}

/// What the status page shows of the clock.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ClockStatus {
    /// Whether it was set since the boot, as far as can be told.
    pub trusted: bool,
    /// How often it jumped by more than a second since the start of the process. Being set for the first time is no jump.
    pub jumps: u64,
    /// The last jump.
    pub last_jump: Option<Jump>,
}

/// The wall clock was set while the process ran.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Jump {
    /// When it was noticed, by the clock after it; epoch milliseconds.
    pub at_ms: i64,
    /// By how much, milliseconds; negative: back.
    pub by_ms: i64,
}

impl Clock {
    /// The machine's clock.
    #[must_use]
    pub fn system() -> Self {
        Self::new(None, machine_boot())
    }

    /// A clock that stands at `now` until [`Clock::set`] or [`Clock::advance`] moves it, on a machine that booted an hour ago (or
    /// in 1970, if `now` is that of a clock that was not set).
    #[must_use]
    pub fn manual(now: Timestamp) -> Self {
        let since_boot = if now.is_set() {
            3_600_000_000_000
        } else {
            now.0
        };
        let manual = Manual {
            wall: AtomicI64::new(now.0),
            since_boot: AtomicI64::new(since_boot),
        };
        Self::new(Some(manual), Boot(1))
    }

    /// A manual clock of another boot of the machine, so long after it.
    #[must_use]
    pub fn manual_after_boot(boot: Boot, since_boot: Duration, now: Timestamp) -> Self {
        let manual = Manual {
            wall: AtomicI64::new(now.0),
            since_boot: AtomicI64::new(nanos(since_boot)),
        };
        Self::new(Some(manual), boot)
    }

    fn new(manual: Option<Manual>, boot: Boot) -> Self {
        let clock = Self {
            shared: Arc::new(Shared {
                manual,
                boot,
                timeline: Mutex::default(),
            }),
        };
        drop(clock.looked_at());
        clock
    }

    /// Sets a manual clock, as an operator or NTP would: time since boot does not change. Does nothing to the machine's.
    pub fn set(&self, now: Timestamp) {
        if let Some(manual) = &self.shared.manual {
            manual.wall.store(now.0, Ordering::Release);
            if !now.is_set() {
                manual.since_boot.store(now.0, Ordering::Release);
            }
        }
    }

    /// Lets time pass on a manual clock. Does nothing to the machine's.
    pub fn advance(&self, by: Duration) {
        if let Some(manual) = &self.shared.manual {
            manual.wall.fetch_add(nanos(by), Ordering::AcqRel);
            manual.since_boot.fetch_add(nanos(by), Ordering::AcqRel);
        }
    }

    /// The time now; while the clock is not set, the time since boot.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        let wall = self.wall();
        if wall.is_set() {
            wall
        } else {
            Timestamp(self.since_boot())
        }
    }

    /// Whether the clock can have been set at all: a Pi without a clock chip boots in the past.
    #[must_use]
    pub fn is_trusted(&self) -> bool {
        self.wall().is_set()
    }

    /// Which run of the machine this is.
    #[must_use]
    pub fn boot(&self) -> Boot {
        self.shared.boot
    }

    /// Nanoseconds since the machine booted, sleep included. Never jumps.
    #[must_use]
    pub fn since_boot(&self) -> i64 {
        if let Some(manual) = &self.shared.manual {
            return manual.since_boot.load(Ordering::Acquire);
        }
        let time = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
        time.tv_sec
            .saturating_mul(1_000_000_000)
            .saturating_add(time.tv_nsec)
    }

    /// When the machine booted, by the clock as it is set now; `None` while it is not set. What was stamped with a time since
    /// this boot has the right time when this is added.
    #[must_use]
    pub fn booted_at(&self) -> Option<Timestamp> {
        let wall = self.wall();
        wall.is_set()
            .then(|| Timestamp(wall.0.saturating_sub(self.since_boot())))
    }

    /// The latest time that it can be, with a clock that may have jumped back by mistake: the furthest ahead of what the clock
    /// showed in the last day of this process, and the time that passed since. `None` while it was never set.
    #[must_use]
    pub fn latest(&self) -> Option<Timestamp> {
        let since_boot = self.since_boot();
        self.looked_at().latest(since_boot).map(Timestamp)
    }

    /// How long ago the clock showed `stamp`, whatever it did since. A stamp from before this process is taken by the clock as it
    /// was at the start; one that can't be told, because the clock was not set, is of now.
    #[must_use]
    pub fn since(&self, stamp: Timestamp) -> Duration {
        let since_boot = self.since_boot();
        self.looked_at().since(stamp.0, since_boot)
    }

    /// For how long the clock has been set, without a jump, as far as this process has seen.
    #[must_use]
    pub fn steady_for(&self) -> Duration {
        let since_boot = self.since_boot();
        self.looked_at().steady_for(since_boot)
    }

    /// For the status page.
    #[must_use]
    pub fn status(&self) -> ClockStatus {
        let timeline = self.looked_at();
        ClockStatus {
            trusted: self.is_trusted(),
            jumps: timeline.jumps(),
            last_jump: timeline.last_jump(),
        }
    }

    /// A jump that was not told yet, each once.
    fn untold(&self) -> Option<Jump> {
        self.looked_at().untold()
    }

    /// The timeline as of now.
    fn looked_at(&self) -> MutexGuard<'_, Timeline> {
        let booted_at = self.booted_at();
        let since_boot = self.since_boot();
        let mut timeline = self.timeline();
        timeline.look(booted_at.map(|t| t.0), since_boot);
        timeline
    }

    fn timeline(&self) -> MutexGuard<'_, Timeline> {
        self.shared
            .timeline
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn wall(&self) -> Timestamp {
        if let Some(manual) = &self.shared.manual {
            return Timestamp(manual.wall.load(Ordering::Acquire));
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
}

impl Default for Clock {
    fn default() -> Self {
        Self::system()
    }
}

/// The kernel's id of this boot; where there is none (no `/proc`), one of this process alone.
fn machine_boot() -> Boot {
    let told = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok();
    let digits: Option<String> =
        told.map(|id| id.chars().filter(char::is_ascii_hexdigit).collect());
    let id = digits.and_then(|digits| u128::from_str_radix(&digits, 16).ok());
    Boot(id.unwrap_or_else(|| fastrand::u128(1..)))
}

fn nanos(span: Duration) -> i64 {
    i64::try_from(span.as_nanos()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SET: Timestamp = Timestamp(1_800_000_000_000_000_000);
    const DAY: Duration = Duration::from_secs(86_400);

    fn ago(back: Duration) -> Timestamp {
        Timestamp(SET.0 - nanos(back))
    }

    #[test]
    fn until_it_is_set_it_counts_from_the_boot_and_then_tells_when_that_was() {
        let clock = Clock::manual_after_boot(Boot(7), Duration::from_secs(5), Timestamp(9));
        assert_eq!(clock.now(), Timestamp(5_000_000_000));
        assert!(!clock.is_trusted() && !clock.now().is_set());
        assert_eq!(clock.booted_at(), None);
        assert_eq!(clock.latest(), None);

        clock.advance(Duration::from_secs(90));
        clock.set(SET);
        assert_eq!(clock.now(), SET);
        assert_eq!(clock.booted_at(), Some(ago(Duration::from_secs(95))));
        let status = clock.status();
        assert!(status.trusted && status.jumps == 0, "{status:?}");
    }

    #[test]
    fn a_jump_is_told_once_and_counted() {
        let clock = Clock::manual(SET);
        clock.advance(DAY);
        assert_eq!(clock.untold(), None, "passing time is no jump");
        clock.set(ago(14 * DAY));
        let jump = Jump {
            at_ms: ago(14 * DAY).as_millis(),
            by_ms: -15 * 86_400_000,
        };
        assert_eq!(clock.status().last_jump, Some(jump));
        assert_eq!(clock.untold(), Some(jump));
        assert_eq!(clock.untold(), None);
        assert_eq!(clock.status().jumps, 1);
    }

    #[test]
    fn less_than_a_second_is_no_jump() {
        let clock = Clock::manual(SET);
        for _ in 0..5 {
            clock.set(Timestamp(clock.now().0 + 900_000_000));
            assert_eq!(clock.untold(), None);
        }
    }

    #[test]
    fn how_long_ago_something_was_does_not_change_by_a_jump() {
        let clock = Clock::manual(SET);
        let before = clock.now();
        clock.advance(Duration::from_secs(60));
        clock.set(Timestamp(SET.0 + nanos(14 * DAY)));
        let between = clock.now();
        assert_eq!(clock.since(before), Duration::from_secs(60));
        clock.advance(Duration::from_secs(60));
        clock.set(ago(DAY));
        assert_eq!(clock.since(before), Duration::from_secs(120));
        assert_eq!(clock.since(between), Duration::from_secs(60));
        assert_eq!(clock.since(clock.now()), Duration::ZERO);
        // From before this process: by the clock as it was at the start.
        assert_eq!(
            clock.since(ago(10 * DAY)),
            10 * DAY + Duration::from_secs(120)
        );
    }

    #[test]
    fn the_latest_that_it_can_be_does_not_follow_a_jump_back_for_a_day() {
        let clock = Clock::manual(SET);
        clock.set(ago(14 * DAY));
        clock.advance(Duration::from_secs(60));
        let a_minute_on = Timestamp(SET.0 + 60_000_000_000);
        assert_eq!(clock.latest(), Some(a_minute_on));
        clock.advance(DAY + JUMP);
        assert_eq!(clock.latest(), Some(clock.now()));
    }

    #[test]
    fn it_is_steady_from_its_last_jump_on() {
        let clock = Clock::manual(Timestamp(1));
        clock.advance(DAY);
        assert_eq!(clock.steady_for(), Duration::ZERO);
        clock.set(SET);
        assert_eq!(clock.steady_for(), Duration::ZERO);
        clock.advance(DAY);
        assert_eq!(clock.steady_for(), DAY);
        clock.set(SET);
        assert_eq!(clock.steady_for(), Duration::ZERO);
    }

    #[test]
    fn the_machine_knows_its_boot() {
        let (one, two) = (Clock::system(), Clock::system());
        assert_eq!(one.boot(), two.boot());
        assert!(one.since_boot() > 0);
    }
}
