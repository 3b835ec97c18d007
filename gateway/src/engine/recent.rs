//! The newest records of the replay as they are told to live clients: their readings, and the windows that they closed.
//!
//! Bounded: only records after [`Recent::after`] as it was asked for, and of these the newest that fit into a number of bytes.
//! What is here has no hole: where records are missing, only those behind the hole count.

use std::collections::{HashMap, VecDeque};

use crate::{
    journal::Position,
    model::SeriesKey,
    store::{Point, SeriesIndex, Window, WindowSpec},
};

/// One record.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RecentRecord {
    /// Which.
    pub position: Position,
    /// The windows that it closed, in order.
    pub windows: Vec<(SeriesKey, WindowSpec, Window)>,
    /// Its points, oldest first per series.
    pub readings: Vec<(SeriesKey, Vec<Point>)>,
}

/// What the replay remembers for live clients.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Recent {
    /// All that was said about records after this one is in `records`.
    pub after: Position,
    /// The newest record of the replay.
    pub to: Position,
    /// In order; records that said nothing are left out.
    pub records: VecDeque<RecentRecord>,
}

/// What to remember.
#[derive(Clone, Debug, Default)]
pub struct Remember {
    /// Only what comes after this record.
    pub after: Position,
    /// The newest record that the journal has.
    pub newest: Position,
    /// Bytes at most, as they are in memory.
    pub bytes: usize,
    /// Where numbers of the journal were left out on purpose: after the first comes the second.
    pub breaks: Vec<(Position, Position)>,
}

/// Takes the replay, record by record.
#[derive(Debug, Default)]
pub(super) struct Recorder {
    recent: Recent,
    asked: Remember,
    bytes: usize,
    begun: bool,
    current: Option<RecentRecord>,
    /// Where the series of `current` are in its readings.
    touched: HashMap<SeriesIndex, usize, foldhash::fast::RandomState>,
}

impl RecentRecord {
    fn bytes(&self) -> usize {
        let points: usize = self.readings.iter().map(|(_, points)| points.len()).sum();
        size_of::<Self>()
            + self.windows.len() * size_of::<(SeriesKey, WindowSpec, Window)>()
            + self.readings.len() * size_of::<(SeriesKey, Vec<Point>)>()
            + points * size_of::<Point>()
    }
}

impl Recorder {
    pub(super) fn new(asked: Remember) -> Self {
        let recent = Recent {
            after: asked.newest,
            to: asked.newest,
            records: VecDeque::new(),
        };
        Self {
            recent,
            asked,
            ..Self::default()
        }
    }

    /// A record begins.
    pub(super) fn begin(&mut self, position: Position) {
        let expected = if self.begun { self.recent.to.0 + 1 } else { 0 };
        let skipped = (self.recent.to, position);
        if position.0 != expected && !(self.begun && self.asked.breaks.contains(&skipped)) {
            self.recent.records.clear();
            self.bytes = 0;
            let before = Position(position.0.saturating_sub(1));
            self.recent.after = before.max(self.asked.after);
        }
        self.begun = true;
        self.recent.to = position;
        self.current = (position > self.asked.after).then(|| RecentRecord {
            position,
            ..RecentRecord::default()
        });
        self.touched.clear();
    }

    pub(super) fn window(&mut self, key: &SeriesKey, spec: WindowSpec, window: &Window) {
        if let Some(record) = &mut self.current {
            record.windows.push((key.clone(), spec, window.clone()));
        }
    }

    pub(super) fn point(&mut self, series: SeriesIndex, key: &SeriesKey, point: Point) {
        let Some(record) = &mut self.current else {
            return;
        };
        let at = *self.touched.entry(series).or_insert_with(|| {
            record.readings.push((key.clone(), Vec::new()));
            record.readings.len() - 1
        });
        if let Some((_, points)) = record.readings.get_mut(at) {
            points.push(point);
        }
    }

    /// The record is complete.
    pub(super) fn end(&mut self) {
        let Some(mut record) = self.current.take() else {
            return;
        };
        if record.readings.is_empty() && record.windows.is_empty() {
            return;
        }
        for (_, points) in &mut record.readings {
            points.sort_by_key(|point| point.time);
        }
        self.bytes += record.bytes();
        self.recent.records.push_back(record);
        while self.bytes > self.asked.bytes {
            let Some(oldest) = self.recent.records.pop_front() else {
                break;
            };
            self.bytes -= oldest.bytes();
            self.recent.after = oldest.position;
        }
    }

    /// All of it. Records at the journal's end that the replay did not see are a hole too.
    pub(super) fn finish(&mut self) -> Recent {
        let mut recent = std::mem::take(&mut self.recent);
        if recent.to < self.asked.newest {
            recent.records.clear();
            recent.after = self.asked.newest;
            recent.to = self.asked.newest;
        }
        recent
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        model::{Quality, Timestamp, Value},
        store::SeriesIndex,
    };

    fn replay(asked: Remember, positions: impl IntoIterator<Item = u64>) -> Recent {
        let key = SeriesKey::parse("a/x").unwrap();
        let mut recorder = Recorder::new(asked);
        for position in positions {
            recorder.begin(Position(position));
            for time in [2, 1] {
                let point = Point {
                    time: Timestamp(time),
                    value: Value::Int(0),
                    quality: Quality::Good,
                };
                recorder.point(0 as SeriesIndex, &key, point);
            }
            recorder.end();
        }
        recorder.finish()
    }

    fn positions(recent: &Recent) -> Vec<u64> {
        recent.records.iter().map(|r| r.position.0).collect()
    }

    fn asked(newest: u64) -> Remember {
        Remember {
            newest: Position(newest),
            bytes: 1 << 20,
            ..Remember::default()
        }
    }

    #[test]
    fn everything_since_the_beginning_is_there_when_it_fits() {
        let recent = replay(asked(3), 1..=3);
        assert_eq!((recent.after, recent.to), (Position(0), Position(3)));
        assert_eq!(positions(&recent), [1, 2, 3]);
        let times: Vec<_> = recent.records[0].readings[0]
            .1
            .iter()
            .map(|p| p.time.0)
            .collect();
        assert_eq!(times, [1, 2], "by time");
        let nothing = replay(asked(0), []);
        assert_eq!((nothing.after, nothing.to), (Position(0), Position(0)));
    }

    #[test]
    fn what_is_too_old_or_too_much_is_left_out_and_that_is_known() {
        let recent = replay(
            Remember {
                after: Position(5),
                ..asked(8)
            },
            3..=8,
        );
        assert_eq!(
            (recent.after, positions(&recent)),
            (Position(5), vec![6, 7, 8])
        );
        let recent = replay(asked(8), 3..=8);
        assert_eq!(recent.after, Position(2), "the journal begins behind that");
        let bytes = 3 * recent.records[0].bytes();
        let recent = replay(
            Remember {
                bytes,
                ..asked(100)
            },
            1..=100,
        );
        assert_eq!(
            (recent.after, positions(&recent)),
            (Position(97), vec![98, 99, 100])
        );
    }

    #[test]
    fn behind_a_hole_it_begins_anew_but_not_behind_numbers_that_were_never_given() {
        let holed = [1, 2, 5, 6];
        let recent = replay(asked(6), holed);
        assert_eq!(
            (recent.after, positions(&recent)),
            (Position(4), vec![5, 6])
        );
        let breaks = vec![(Position(2), Position(5))];
        let recent = replay(Remember { breaks, ..asked(6) }, holed);
        assert_eq!(
            (recent.after, positions(&recent)),
            (Position(0), vec![1, 2, 5, 6])
        );
        let recent = replay(asked(9), holed);
        assert_eq!(
            (recent.after, recent.to),
            (Position(9), Position(9)),
            "its end is missing"
        );
        assert!(recent.records.is_empty());
    }
}
