//! Silences that recur: within their start and end they are active only at certain hours of certain days, and planned between these.
//!
//! Each edge has its time written down before it comes, and is taken once that time is there. A clock that is set back is before it, so
//! that it takes no edge a second time. Pure: the time zone is handed in.

use jiff::{
    civil::{Time, Weekday},
    tz::TimeZone,
};
use serde::{Deserialize, Serialize};

use super::{DraftError, Silence, SilenceState};
use crate::{
    alert::schedule::{Period, Schedule},
    model::Timestamp,
};

const DAYS: [(&str, Weekday); 7] = [
    ("mon", Weekday::Monday),
    ("tue", Weekday::Tuesday),
    ("wed", Weekday::Wednesday),
    ("thu", Weekday::Thursday),
    ("fri", Weekday::Friday),
    ("sat", Weekday::Saturday),
    ("sun", Weekday::Sunday),
];

/// Hours of the week, as a person wrote them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Repeat {
    /// On which days it begins: `mon`, `tue` and so on.
    pub days: Vec<String>,
    /// When it begins, as in `22:00`.
    pub from: String,
    /// When it ends; not after `from`: on the next day. `24:00` is midnight.
    pub to: String,
    /// Whose clock, as in `Europe/Berlin`.
    pub zone: String,
}

impl Repeat {
    /// Checks what a person wrote, but for the zone.
    ///
    /// # Errors
    ///
    /// [`DraftError::Hours`]
    pub fn check(&self) -> Result<(), DraftError> {
        let fine = self.period(TimeZone::UTC).is_some();
        fine.then_some(()).ok_or(DraftError::Hours)
    }

    /// Where a silence with these hours is at `now`, and when that next changes.
    #[must_use]
    pub fn stands(
        &self,
        zone: TimeZone,
        (starts, ends): (Timestamp, Timestamp),
        now: Timestamp,
    ) -> (SilenceState, Timestamp) {
        if now >= ends {
            return (SilenceState::Ended, ends);
        }
        if now < starts {
            return (SilenceState::Planned, starts);
        }
        let Some(period) = self.period(zone) else {
            return (SilenceState::Planned, ends);
        };
        let after = Timestamp(now.0.saturating_add(1));
        let ending = Schedule(vec![closing(&period)]);
        let open = Schedule(vec![period]);
        let (state, edge) = if open.is_open(now) {
            (SilenceState::Active, ending.next(after))
        } else {
            (SilenceState::Planned, open.next(after))
        };
        (state, edge.map_or(ends, |edge| edge.min(ends)))
    }

    fn period(&self, zone: TimeZone) -> Option<Period> {
        let day = |word: &String| DAYS.iter().find(|(name, _)| name == word);
        let days: Option<Vec<Weekday>> = self.days.iter().map(|d| Some(day(d)?.1)).collect();
        Some(Period {
            days: days.filter(|days| (1..=DAYS.len()).contains(&days.len()))?,
            from: clock(&self.from)?,
            to: clock(&self.to)?,
            zone,
        })
    }
}

/// The first nanosecond after each time of a period: when it ends.
fn closing(period: &Period) -> Period {
    let next_day = period.to <= period.from;
    let days = period.days.iter();
    Period {
        days: days
            .map(|day| if next_day { day.next() } else { *day })
            .collect(),
        from: period.to,
        to: period.to.wrapping_add(jiff::SignedDuration::from_nanos(1)),
        zone: period.zone.clone(),
    }
}

/// `08:00`; `24:00` is the midnight at the end.
fn clock(text: &str) -> Option<Time> {
    let (hour, minute) = text.split_once(':')?;
    let digits = |text: &str| text.len() == 2 && text.bytes().all(|b| b.is_ascii_digit());
    if !(digits(hour) && digits(minute)) {
        return None;
    }
    match (hour.parse().ok()?, minute.parse().ok()?) {
        (24, 0) => Some(Time::midnight()),
        (hour, minute) => Time::new(hour, minute, 0, 0).ok(),
    }
}

impl Silence {
    /// Takes the edge of one that recurs, if it is due at `now`; whether anything changed. `afresh`: as a person has just made it.
    pub fn recur(
        &mut self,
        zone: impl FnOnce(&str) -> Option<TimeZone>,
        now: Timestamp,
        afresh: bool,
    ) -> bool {
        let Some(repeat) = &self.repeat else {
            return false;
        };
        let due = now >= self.ends || self.turns.is_none_or(|turns| now >= turns);
        if !(due || afresh) || self.state == SilenceState::Ended {
            return false;
        }
        let span = (self.starts, self.ends);
        let (state, turns) = match zone(&repeat.zone) {
            Some(zone) => repeat.stands(zone, span, now),
            // It holds nothing back, and ends in its time.
            None if now >= self.ends => (SilenceState::Ended, self.ends),
            None => (SilenceState::Planned, self.ends),
        };
        let before = (self.state, self.turns);
        (self.state, self.turns) = (state, Some(turns));
        before != (self.state, self.turns)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::alert::silence::{Draft, Matcher};

    fn nights() -> Repeat {
        Repeat {
            days: ["mon", "tue", "wed", "thu", "fri"].map(String::from).into(),
            from: String::from("22:00"),
            to: String::from("06:00"),
            zone: String::from("Europe/Berlin"),
        }
    }

    fn at(text: &str) -> Timestamp {
        let time: jiff::Timestamp = text.parse().unwrap();
        Timestamp(i64::try_from(time.as_nanosecond()).unwrap())
    }

    fn zone(name: &str) -> Option<TimeZone> {
        TimeZone::get(name).ok()
    }

    fn silence(repeat: Repeat, starts: Timestamp, ends: Timestamp) -> Silence {
        let draft = Draft {
            matchers: vec![Matcher {
                name: String::from("device"),
                value: String::from("boiler"),
                glob: false,
            }],
            starts: Some(starts),
            ends,
            by: String::from("Ada"),
            comment: String::new(),
            repeat: Some(repeat),
        };
        let mut silence = Silence::new("s-1".into(), draft, starts);
        silence.recur(zone, starts, true);
        silence
    }

    #[test]
    fn it_is_active_in_its_hours_alone_also_over_the_night_on_which_clocks_change() {
        // Friday noon; the clocks go forward in the night to Sunday, and Friday's night ends on Saturday.
        let mut one = silence(
            nights(),
            at("2026-03-27T11:00:00Z"),
            at("2026-04-01T12:00:00Z"),
        );
        let mut seen = Vec::new();
        while one.state != SilenceState::Ended {
            let turns = one.edge().unwrap();
            seen.push((one.state, turns.to_rfc3339()));
            assert!(one.recur(zone, turns, false), "{seen:?}");
        }
        let edges: Vec<_> = seen
            .iter()
            .map(|(state, at)| (*state == SilenceState::Active, &at[..16]))
            .collect();
        assert_eq!(
            edges,
            [
                (false, "2026-03-27T21:00"),
                (true, "2026-03-28T05:00"),
                (false, "2026-03-30T20:00"),
                (true, "2026-03-31T04:00"),
                (false, "2026-03-31T20:00"),
                (true, "2026-04-01T04:00"),
                (false, "2026-04-01T12:00"),
            ]
        );
    }

    #[test]
    fn what_is_no_time_of_the_week_is_refused() {
        assert_eq!(nights().check(), Ok(()));
        for wrong in [
            Repeat {
                days: Vec::new(),
                ..nights()
            },
            Repeat {
                days: vec![String::from("monday")],
                ..nights()
            },
            Repeat {
                from: String::from("8:00"),
                ..nights()
            },
            Repeat {
                to: String::from("25:00"),
                ..nights()
            },
        ] {
            assert_eq!(wrong.check(), Err(DraftError::Hours));
        }
    }

    proptest! {
        /// However the clock goes, what was taken is not taken back before the next edge is there; and a clock that only goes forward has
        /// it active just in its hours.
        #[test]
        fn edges_go_forward_only(steps in prop::collection::vec(-200_000_i64..200_000, 1..60), from in 0_i8..24, to in 0_i8..24) {
            let clock = |hour| format!("{hour:02}:30");
            let repeat = Repeat { from: clock(from), to: clock(to), ..nights() };
            let starts = at("2026-10-20T12:00:00Z");
            let mut one = silence(repeat.clone(), starts, at("2026-12-01T12:00:00Z"));
            let period = repeat.period(zone("Europe/Berlin").unwrap()).unwrap();
            let open = Schedule(vec![period]);
            let (mut now, mut newest) = (starts, starts);
            for step in steps {
                now = Timestamp(now.0 + step * 1_000_000_000);
                let before = one.clone();
                one.recur(zone, now, false);
                if now < before.edge().unwrap_or(Timestamp(i64::MAX)) {
                    prop_assert_eq!(&one, &before);
                }
                if one.state == SilenceState::Ended {
                    return Ok(());
                }
                prop_assert!(one.turns > before.turns || one == before);
                if now >= newest {
                    newest = now;
                    prop_assert_eq!(one.state == SilenceState::Active, open.is_open(now), "{}", now.to_rfc3339());
                }
            }
        }
    }
}
