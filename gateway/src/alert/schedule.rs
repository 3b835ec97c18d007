//! When a rule may fire: times of the week, each on the clock of a place. Pure: a time zone is a value here, looked up when the config was
//! read.
//!
//! What holds:
//!
//! - A period begins on its `days` at `from` and ends at `to`; one whose end is not after its beginning ends on the next day. `from`
//!   belongs to it, `to` does not.
//! - On the day on which clocks change, a time that does not exist is as long after midnight as it would be without the change, and one that
//!   exists twice is the first of the two (RFC 5545, section 3.3.5).

use jiff::{
    SignedDuration,
    civil::{Date, Time, Weekday},
    tz::TimeZone,
};

use crate::model::Timestamp;

/// Days to look ahead: a week, and the one on which a period that began before midnight ends.
const AHEAD: i64 = 8;

/// Times of the week; without any it is always time.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Schedule(pub Vec<Period>);

/// One stretch of time on some days of the week.
#[derive(Clone, Debug, PartialEq)]
pub struct Period {
    /// The days on which it begins.
    pub days: Vec<Weekday>,
    /// When it begins, on the clock of `zone`.
    pub from: Time,
    /// When it ends; not after `from`: on the next day.
    pub to: Time,
    /// Whose clock.
    pub zone: TimeZone,
}

impl Schedule {
    /// Whether a rule may fire then.
    #[must_use]
    pub fn is_open(&self, at: Timestamp) -> bool {
        self.0.is_empty() || self.0.iter().any(|period| period.next(at) == Some(at))
    }

    /// The first moment from `at` on at which a rule may fire; `None` if there is none.
    #[must_use]
    pub fn next(&self, at: Timestamp) -> Option<Timestamp> {
        if self.0.is_empty() {
            return Some(at);
        }
        self.0.iter().filter_map(|period| period.next(at)).min()
    }
}

impl Period {
    /// The first moment from `at` on that lies in it.
    fn next(&self, at: Timestamp) -> Option<Timestamp> {
        let today = jiff::Timestamp::from_nanosecond(at.0.into())
            .ok()?
            .to_zoned(self.zone.clone())
            .date();
        (-1..=AHEAD)
            .filter_map(|days| {
                let date = today
                    .checked_add(SignedDuration::from_hours(24 * days))
                    .ok()?;
                let (from, to) = self.on(date)?;
                (at < to).then(|| from.max(at))
            })
            .min()
    }

    /// From when to when it is, beginning on that day; `None` on other days.
    fn on(&self, date: Date) -> Option<(Timestamp, Timestamp)> {
        if !self.days.contains(&date.weekday()) {
            return None;
        }
        let last = if self.to > self.from {
            date
        } else {
            date.tomorrow().ok()?
        };
        let (from, to) = (self.moment(date, self.from)?, self.moment(last, self.to)?);
        (from < to).then_some((from, to))
    }

    fn moment(&self, date: Date, time: Time) -> Option<Timestamp> {
        let zoned = self.zone.to_zoned(date.to_datetime(time)).ok()?;
        i64::try_from(zoned.timestamp().as_nanosecond())
            .ok()
            .map(Timestamp)
    }
}

#[cfg(test)]
mod tests {
    use jiff::civil::time;
    use proptest::prelude::*;

    use super::*;

    const WEEKDAYS: [Weekday; 5] = [
        Weekday::Monday,
        Weekday::Tuesday,
        Weekday::Wednesday,
        Weekday::Thursday,
        Weekday::Friday,
    ];
    const ALL: [Weekday; 7] = [
        Weekday::Monday,
        Weekday::Tuesday,
        Weekday::Wednesday,
        Weekday::Thursday,
        Weekday::Friday,
        Weekday::Saturday,
        Weekday::Sunday,
    ];

    fn period(days: &[Weekday], from: (i8, i8), to: (i8, i8)) -> Period {
        Period {
            days: days.to_vec(),
            from: time(from.0, from.1, 0, 0),
            to: time(to.0, to.1, 0, 0),
            zone: TimeZone::get("Europe/Berlin").unwrap(),
        }
    }

    fn at(text: &str) -> Timestamp {
        let timestamp: jiff::Timestamp = text.parse().unwrap();
        Timestamp(i64::try_from(timestamp.as_nanosecond()).unwrap())
    }

    fn next(period: &Period, from: &str) -> String {
        Schedule(vec![period.clone()])
            .next(at(from))
            .unwrap()
            .to_rfc3339()
    }

    #[test]
    fn working_hours_are_those_of_the_place_in_summer_as_in_winter() {
        let work = Schedule(vec![period(&WEEKDAYS, (8, 0), (18, 0))]);
        for (moment, open) in [
            // Friday, 16 January 2026; Berlin is an hour ahead.
            ("2026-01-16T06:59:59.999Z", false),
            ("2026-01-16T07:00:00Z", true),
            ("2026-01-16T16:59:59.999Z", true),
            ("2026-01-16T17:00:00Z", false),
            ("2026-01-17T10:00:00Z", false),
            // Thursday, 16 July 2026; two hours.
            ("2026-07-16T06:00:00Z", true),
            ("2026-07-16T16:00:00Z", false),
        ] {
            assert_eq!(work.is_open(at(moment)), open, "{moment}");
        }
        // Over a weekend, and over the one on which the clocks go forward (29 March 2026).
        let work = &work.0[0];
        assert!(next(work, "2026-01-16T17:00:00Z").starts_with("2026-01-19T07:00:00"));
        assert!(next(work, "2026-03-27T17:00:00Z").starts_with("2026-03-30T06:00:00"));
        assert!(next(work, "2026-10-23T16:00:00Z").starts_with("2026-10-26T07:00:00"));
        assert!(next(work, "2026-01-16T12:00:00Z").starts_with("2026-01-16T12:00:00"));
    }

    #[test]
    fn a_night_ends_on_the_next_day_and_is_longer_or_shorter_when_clocks_change() {
        let night = period(&[Weekday::Saturday], (22, 0), (6, 0));
        let length = |date: Date| {
            let (from, to) = night.on(date).unwrap();
            (to.0 - from.0) / 3_600_000_000_000
        };
        assert_eq!(length(jiff::civil::date(2026, 1, 17)), 8);
        assert_eq!(length(jiff::civil::date(2026, 3, 28)), 7);
        assert_eq!(length(jiff::civil::date(2026, 10, 24)), 9);
        let schedule = Schedule(vec![night]);
        // Sunday, five in the morning, and eight.
        assert!(schedule.is_open(at("2026-01-18T04:00:00Z")));
        assert!(!schedule.is_open(at("2026-01-18T07:00:00Z")));
        assert!(
            !schedule.is_open(at("2026-01-18T22:00:00Z")),
            "Sunday night"
        );
    }

    #[test]
    fn a_time_that_does_not_exist_or_exists_twice_has_its_place() {
        let early = period(&ALL, (2, 30), (4, 0));
        // The clocks go from 2 to 3: 2:30 is what 3:30 is.
        assert!(next(&early, "2026-03-29T00:00:00Z").starts_with("2026-03-29T01:30:00"));
        // From 3 back to 2: it begins at the first 2:30 and goes on through the second.
        assert!(next(&early, "2026-10-25T00:00:00Z").starts_with("2026-10-25T00:30:00"));
        assert!(Schedule(vec![early]).is_open(at("2026-10-25T01:15:00Z")));
    }

    #[test]
    fn a_day_from_a_time_to_the_same_time_is_a_whole_day_and_without_periods_it_is_always_time() {
        let all = Schedule(vec![period(&ALL, (0, 0), (0, 0))]);
        for hour in 0..24 * 8 {
            assert!(all.is_open(Timestamp(
                1_800_000_000_000_000_000 + hour * 3_600_000_000_000
            )));
        }
        assert!(Schedule::default().is_open(Timestamp(i64::MAX)));
        assert_eq!(
            Schedule(vec![period(&[], (0, 0), (0, 0))]).next(Timestamp(0)),
            None
        );
        // The ends of time.
        assert_eq!(all.next(Timestamp(i64::MAX)), all.next(Timestamp(i64::MAX)));
    }

    proptest! {
        #[test]
        fn what_comes_next_is_open_and_nothing_between_is(
            now in 1_700_000_000_i64..1_900_000_000,
            from in (0_i8..24, 0_i8..60),
            to in (0_i8..24, 0_i8..60),
            days in prop::sample::subsequence(ALL.to_vec(), 1..=7),
            share in 0.0..1.0_f64,
        ) {
            let schedule = Schedule(vec![period(&days, from, to), period(&[Weekday::Sunday], (1, 0), (5, 0))]);
            let now = Timestamp(now * 1_000_000_000);
            let next = schedule.next(now).unwrap();
            prop_assert!(next >= now && schedule.is_open(next));
            #[expect(clippy::cast_possible_truncation, clippy::cast_precision_loss, reason = "any moment between")]
            let between = Timestamp(now.0 + ((next.0 - now.0) as f64 * share) as i64);
            prop_assert!(between >= next || !schedule.is_open(between));
        }
    }
}
