//! A time that goes on over restarts and never jumps: what waits in the state file waits by it, whatever the wall clock does.
//!
//! It counts the time that passed. Within a boot of the machine that is known to the nanosecond, over restarts of the gateway too. Over a
//! reboot it is taken from the wall clock, if that was set before and is set now; until it is set only the time since the boot counts, and
//! where it never was, the time without power does not count at all.
//!
//! It is noted in the file with every change of what waits by it. What it is not: a time of day.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use rusqlite::{Connection, OptionalExtension, Transaction, params};

use crate::{
    clock::Clock,
    model::{Boot, Timestamp},
};

/// One moment by all clocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Anchor {
    boot: Boot,
    since_boot: i64,
    /// None while the clock was not set.
    wall: Option<i64>,
    steady: i64,
}

/// The time of a state file. Cheap to clone; all clones agree.
#[derive(Clone, Debug)]
pub(super) struct Steady {
    clock: Clock,
    // std: held for a look.
    anchor: Arc<Mutex<Anchor>>,
}

impl Steady {
    /// Goes on from what the file notes.
    pub(super) fn new(clock: Clock, connection: &Connection) -> rusqlite::Result<Self> {
        let noted = connection
            .query_row(
                "SELECT boot, since_boot, wall, steady FROM steady",
                [],
                |row| {
                    let boot: String = row.get(0)?;
                    Ok(Anchor {
                        boot: Boot(u128::from_str_radix(&boot, 16).unwrap_or_default()),
                        since_boot: row.get(1)?,
                        wall: row.get(2)?,
                        steady: row.get(3)?,
                    })
                },
            )
            .optional()?;
        let anchor = noted.unwrap_or_else(|| at_boot(&clock, 0));
        Ok(Self {
            clock,
            anchor: Arc::new(Mutex::new(anchor)),
        })
    }

    /// Now.
    pub(super) fn now(&self) -> Duration {
        let (now, _) = self.look();
        Duration::from_nanos(now.max(0).unsigned_abs())
    }

    /// When that is by the wall clock, as far as is known today; none while it is not set.
    pub(super) fn wall(&self, at: Duration) -> Option<Timestamp> {
        if !self.clock.is_trusted() {
            return None;
        }
        let (now, _) = self.look();
        let left = stored(at).saturating_sub(now);
        Some(Timestamp(self.clock.now().0.saturating_add(left)))
    }

    /// Notes it in the file, unless the time without power is not known yet.
    pub(super) fn note(&self, transaction: &Transaction<'_>) -> rusqlite::Result<()> {
        let (_, Some(anchor)) = self.look() else {
            return Ok(());
        };
        transaction
            .prepare_cached(
                "INSERT INTO steady (only_row, boot, since_boot, wall, steady) VALUES (1, ?1, ?2, ?3, ?4)
                 ON CONFLICT (only_row) DO UPDATE SET boot = excluded.boot, since_boot = excluded.since_boot, wall = excluded.wall,
                 steady = excluded.steady",
            )?
            .execute(params![format!("{:032x}", anchor.boot.0), anchor.since_boot, anchor.wall, anchor.steady])?;
        Ok(())
    }

    /// The time, and what can be noted of it.
    fn look(&self) -> (i64, Option<Anchor>) {
        let mut anchor = self.anchor.lock().unwrap_or_else(PoisonError::into_inner);
        if anchor.boot != self.clock.boot() {
            let before = anchor.steady;
            match (anchor.wall, self.clock.booted_at()) {
                // It may be known later.
                (Some(_), None) => {
                    return (before.saturating_add(self.clock.since_boot()), None);
                }
                (Some(wall), Some(booted)) => {
                    let without_power = booted.0.saturating_sub(wall).max(0);
                    *anchor = at_boot(&self.clock, before.saturating_add(without_power));
                }
                (None, _) => *anchor = at_boot(&self.clock, before),
            }
        }
        let since_boot = self.clock.since_boot();
        let now = Anchor {
            boot: anchor.boot,
            since_boot,
            wall: self.clock.is_trusted().then(|| self.clock.now().0),
            steady: anchor
                .steady
                .saturating_add(since_boot.saturating_sub(anchor.since_boot)),
        };
        (now.steady, Some(now))
    }
}

/// This boot began at that steady time.
fn at_boot(clock: &Clock, steady: i64) -> Anchor {
    Anchor {
        boot: clock.boot(),
        since_boot: 0,
        wall: None,
        steady,
    }
}

/// As the file has it.
pub(super) fn stored(at: Duration) -> i64 {
    i64::try_from(at.as_nanos()).unwrap_or(i64::MAX)
}

/// Out of the file.
pub(super) fn read(at: i64) -> Duration {
    Duration::from_nanos(at.max(0).unsigned_abs())
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: i64 = 1_000_000_000;
    const SET: Timestamp = Timestamp(1_800_000_000 * SECOND);
    const HOUR: Duration = Duration::from_secs(3_600);

    fn file() -> Connection {
        let connection = Connection::open_in_memory().unwrap();
        connection
            .execute_batch(crate::state::schema::STEADY)
            .unwrap();
        connection
    }

    fn noted(steady: &Steady, file: &mut Connection) {
        let transaction = file.transaction().unwrap();
        steady.note(&transaction).unwrap();
        transaction.commit().unwrap();
    }

    #[test]
    fn a_clock_that_is_set_changes_nothing_and_a_restart_goes_on() {
        let mut file = file();
        let clock = Clock::manual(SET);
        let steady = Steady::new(clock.clone(), &file).unwrap();
        let begun = steady.now();
        clock.set(Timestamp(SET.0 + 86_400 * SECOND));
        clock.set(Timestamp(SET.0 - 86_400 * SECOND));
        assert_eq!(steady.now(), begun);
        clock.advance(HOUR);
        assert_eq!(steady.now(), begun + HOUR);
        noted(&steady, &mut file);
        clock.advance(HOUR);
        let again = Steady::new(clock, &file).unwrap();
        assert_eq!(again.now(), begun + 2 * HOUR);
    }

    #[test]
    fn the_time_without_power_counts_once_the_clock_is_set() {
        let mut file = file();
        let before = Clock::manual_after_boot(Boot(1), HOUR, SET);
        let steady = Steady::new(before, &file).unwrap();
        let noted_at = steady.now();
        noted(&steady, &mut file);
        // Two hours later, one minute after the next boot, with a clock that begins in 1970.
        let minute = Duration::from_secs(60);
        let clock = Clock::manual_after_boot(Boot(2), minute, Timestamp(60 * SECOND));
        let steady = Steady::new(clock.clone(), &file).unwrap();
        assert_eq!(steady.now(), noted_at + minute);
        assert_eq!(steady.wall(noted_at), None);
        // What is noted now must not make the time without power be forgotten.
        noted(&steady, &mut file);
        clock.set(Timestamp(SET.0 + 7_200 * SECOND));
        assert_eq!(steady.now(), noted_at + 2 * HOUR);
        assert_eq!(
            Steady::new(clock.clone(), &file).unwrap().now(),
            noted_at + 2 * HOUR
        );
        // Set again, much later: that is a jump.
        noted(&steady, &mut file);
        clock.set(Timestamp(SET.0 + 900_000 * SECOND));
        assert_eq!(steady.now(), noted_at + 2 * HOUR);
        assert_eq!(
            steady.wall(noted_at + 3 * HOUR),
            Some(Timestamp(SET.0 + 903_600 * SECOND))
        );
    }

    #[test]
    fn without_a_clock_no_time_passes_without_power() {
        let mut file = file();
        let before = Clock::manual_after_boot(Boot(1), HOUR, Timestamp(3_600 * SECOND));
        let steady = Steady::new(before, &file).unwrap();
        let noted_at = steady.now();
        noted(&steady, &mut file);
        let clock = Clock::manual_after_boot(Boot(2), HOUR, SET);
        let steady = Steady::new(clock, &file).unwrap();
        assert_eq!(steady.now(), noted_at + HOUR);
    }
}
