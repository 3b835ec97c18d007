//! Event ids: `<epoch>-<sequence>`, and what a sequence says.
//!
//! A sequence is `<readings>.<record>.<windows>.<alerts>.<run>.<number>`: a [`Mark`] of how much of the durable things its
//! listener has heard, and the place of the event in the stream of one run. Everything in a mark counts something that is on
//! disk before it is said: records of the journal and numbered changes of alerts. So a later run understands it without having
//! written anything down for it, whenever the earlier run was killed. The number after it means something only to its own run.

use std::fmt;

use crate::journal::Position;

/// The name of what the data directory holds, the first half of every event id. It changes when continuity is lost.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Epoch(String);

/// How much of what is durable a listener has heard.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Mark {
    /// The readings of all records up to this one.
    pub(crate) readings: u64,
    /// The windows that records before `.0` closed, and the first `.1` of those that record `.0` closed.
    pub(crate) windows: (u64, u64),
    /// The changes of alerts up to this number.
    pub(crate) alerts: u64,
}

/// What an event brings, in terms of a mark.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum News {
    /// The readings up to this record, and with them its windows.
    Readings(u64),
    /// One window: the record that closed it, and its place among those that this record closed, from 0.
    Window(u64, u64),
    /// The change of an alert that has this number.
    Alert(u64),
    /// Something that is not durable: it is said anew in each run.
    Other,
}

/// The second half of an event id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) mark: Mark,
    /// A name for the run, made at random.
    pub(crate) run: u64,
    /// The number of the event in its run, from 1; 0 says that only the mark counts.
    pub(crate) number: u64,
}

/// A run before this one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EarlierRun {
    /// Its name.
    pub run: u64,
    /// The newest record when the run after it began: it can't have said anything about a later one.
    pub journal: Position,
    /// The newest change of an alert at that time.
    pub alerts: u64,
}

impl Epoch {
    pub(crate) fn new(number: u64) -> Self {
        Self(format!("{:012x}", number & 0xffff_ffff_ffff))
    }

    /// One that no file knows: its ids are good for this run alone.
    pub(crate) fn random() -> Self {
        Self::new(fastrand::u64(..))
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

impl Mark {
    /// All that there is up to this record and this change of an alert.
    pub(crate) const fn all_up_to(journal: Position, alerts: u64) -> Self {
        Self {
            readings: journal.0,
            windows: (journal.0.saturating_add(1), 0),
            alerts,
        }
    }

    /// Whether the news was heard. What is not durable never was.
    pub(crate) fn has(&self, news: News) -> bool {
        match news {
            News::Readings(record) => record <= self.readings,
            News::Window(record, nth) => (record, nth) < self.windows,
            News::Alert(number) => number <= self.alerts,
            News::Other => false,
        }
    }

    pub(crate) fn hear(&mut self, news: News) {
        match news {
            News::Readings(record) => {
                self.readings = self.readings.max(record);
                self.windows = self.windows.max((record.saturating_add(1), 0));
            }
            News::Window(record, nth) => {
                self.windows = self.windows.max((record, nth.saturating_add(1)));
            }
            News::Alert(number) => self.alerts = self.alerts.max(number),
            News::Other => {}
        }
    }

    /// Whether all that `other` has heard was heard.
    pub(crate) fn covers(&self, other: &Self) -> bool {
        self.readings >= other.readings
            && self.windows >= other.windows
            && self.alerts >= other.alerts
    }
}

impl Place {
    /// Reads an id; `None` for text that is none.
    pub(crate) fn parse(id: &str) -> Option<(&str, Self)> {
        let (epoch, sequence) = id.trim().split_once('-')?;
        let mut numbers = [0; 6];
        let mut parts = sequence.split('.');
        for number in &mut numbers {
            let digits = parts.next()?;
            if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
                return None;
            }
            *number = digits.parse().ok()?;
        }
        if parts.next().is_some() {
            return None;
        }
        let [readings, record, windows, alerts, run, number] = numbers;
        let mark = Mark {
            readings,
            windows: (record, windows),
            alerts,
        };
        Some((epoch, Self { mark, run, number }))
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Mark {
            readings,
            windows: (record, windows),
            alerts,
        } = self.mark;
        write!(
            f,
            "{readings}.{record}.{windows}.{alerts}.{}.{}",
            self.run, self.number
        )
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn text_that_is_no_id_is_none() {
        assert!(Place::parse("00ff-1.2.0.3.4.5").is_some());
        for garbage in [
            "",
            "-",
            "00ff",
            "00ff-",
            "00ff-42",
            "00ff-1.2.0.3.4",
            "00ff-1.2.0.3.4.5.6",
            "00ff-1.2.0.3.4.",
            "00ff-1.2.0.3.4.+5",
            "00ff-1.2.0.3.4.-5",
            "00ff-1.2.0.3.4.99999999999999999999999",
        ] {
            assert_eq!(Place::parse(garbage), None, "{garbage}");
        }
    }

    #[test]
    fn readings_bring_the_windows_of_their_records() {
        let mut mark = Mark::all_up_to(Position(7), 3);
        assert!(mark.has(News::Window(7, 99)) && !mark.has(News::Window(8, 0)));
        mark.hear(News::Window(8, 0));
        assert!(mark.has(News::Window(8, 0)) && !mark.has(News::Window(8, 1)));
        assert!(!mark.has(News::Readings(8)), "only its window was heard");
        mark.hear(News::Readings(9));
        assert!(mark.has(News::Window(9, 5)) && !mark.has(News::Window(10, 0)));
        assert!(!mark.has(News::Alert(4)) && !mark.has(News::Other));
    }

    proptest! {
        #[test]
        fn an_id_comes_back_as_it_was(epoch in any::<u64>(), n in any::<[u64; 6]>()) {
            let mark = Mark { readings: n[0], windows: (n[1], n[2]), alerts: n[3] };
            let place = Place { mark, run: n[4], number: n[5] };
            let epoch = Epoch::new(epoch);
            let id = format!("{}-{place}", epoch.as_str());
            prop_assert_eq!(Place::parse(&id), Some((epoch.as_str(), place)));
        }
    }
}
