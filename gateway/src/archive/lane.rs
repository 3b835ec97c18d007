//! One lane to the server: a batch of lines, what of it is still to be sent, and when.

use std::{collections::BTreeMap, time::Duration};

use tokio::time::Instant;

use super::{
    letters::Refused,
    line::Lines,
    parsed,
    refusal::is_about_a_type,
    settle::{Item, Settled},
};
use crate::{
    backoff::{self, Backoff},
    journal::Position,
    model::SourceName,
};

/// How long the rate of a lane is measured over, at least.
const MEASURE: Duration = Duration::from_secs(1);

/// Which lane: those before go first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Which {
    /// What comes in, as it comes.
    Fresh,
    /// Dead letters that are sent again.
    Replay,
    /// What was left behind.
    Backfill,
}

/// A lane. It fills a batch, closes it, sends it, and is done with it; then it begins the next.
#[derive(Debug)]
pub(super) struct Lane {
    pub(super) lines: Lines,
    /// The newest record in the batch.
    pub(super) reached: Option<Position>,
    /// When the batch is closed though it is not full.
    pub(super) close_at: Option<Instant>,
    closed: bool,
    /// What is to be sent, the next on top.
    items: Vec<Item>,
    /// Refused for good, but not yet written down.
    pub(super) refused: Vec<Refused>,
    /// Letters that are stored now, not yet written down.
    pub(super) letters: Vec<i64>,
    /// How the readings of this batch fared so far, by source: first how many were stored, then how many refused. Counted for good
    /// when the cursor moves over the batch: one that is given up before that is sent again as a whole.
    pub(super) fared: BTreeMap<SourceName, (u64, u64)>,
    pub(super) backoff: Backoff,
    /// Nothing is sent before.
    pub(super) not_before: Instant,
    /// The next batch is not begun before.
    begin_at: Instant,
    /// What the last failure said.
    pub(super) error: String,
    /// Since when, and how much was stored since then.
    measured: Option<(Instant, u64)>,
}

/// How many readings of a body were stored, and how many were refused for good.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counted {
    pub(super) stored: u64,
    pub(super) refused: u64,
}

impl Lane {
    pub(super) fn new(backoff: backoff::Config) -> Self {
        let now = Instant::now();
        Self {
            lines: Lines::default(),
            reached: None,
            close_at: None,
            closed: false,
            items: Vec::new(),
            refused: Vec::new(),
            letters: Vec::new(),
            fared: BTreeMap::new(),
            backoff: Backoff::new(backoff),
            not_before: now,
            begin_at: now,
            error: String::new(),
            measured: None,
        }
    }

    /// Whether more may be added to the batch.
    pub(super) const fn is_open(&self) -> bool {
        !self.closed
    }

    pub(super) const fn is_failing(&self) -> bool {
        self.backoff.failures() > 0
    }

    /// Nothing is added any more: now it is sent.
    pub(super) fn close(&mut self) {
        self.closed = true;
        if !self.lines.is_empty() {
            self.items = vec![Item::Send((0..self.lines.len()).collect())];
        }
    }

    pub(super) fn next(&mut self) -> Option<Item> {
        self.items.pop()
    }

    pub(super) fn put_back(&mut self, item: Item) {
        self.items.push(item);
    }

    /// Whether every line is stored, or refused and written down.
    pub(super) fn is_done(&self) -> bool {
        self.closed && self.items.is_empty() && self.is_written_down()
    }

    pub(super) fn is_written_down(&self) -> bool {
        self.refused.is_empty() && self.letters.is_empty()
    }

    /// Begins the next batch.
    pub(super) fn clear(&mut self) {
        self.lines.clear();
        (self.reached, self.close_at, self.closed) = (None, None, false);
    }

    /// Takes in what came out of sending an item. Of a line that is refused for the type of one field, the others are sent again
    /// without it: only bad readings are lost to the archive.
    pub(super) fn take(&mut self, settled: Settled) -> Counted {
        let mut counted = Counted::default();
        for line in settled.stored {
            let readings = self.lines.readings(line);
            counted.stored += readings;
            if let Some(origin) = self.lines.origin(line) {
                self.letters.extend(origin.letter);
                self.fared.entry(origin.source.clone()).or_default().0 += readings;
            }
        }
        let mut single = Vec::new();
        for (line, words) in settled.refused {
            let Some(origin) = self.lines.origin(line).cloned() else {
                continue;
            };
            if origin.letter.is_none() && is_about_a_type(&words) {
                let split = self.lines.split(line);
                if !split.is_empty() {
                    single.extend(split);
                    continue;
                }
            }
            // A letter was counted when it was refused first.
            if origin.letter.is_none() {
                let readings = self.lines.readings(line);
                counted.refused += readings;
                self.fared.entry(origin.source.clone()).or_default().1 += readings;
            }
            let text = self.lines.line(line);
            let series = parsed::fields(text)
                .iter()
                .map(|field| format!("{}/{}", origin.device.0, field.metric()))
                .collect();
            self.refused.push(Refused {
                letter: origin.letter,
                source: origin.source.0.to_string(),
                series,
                line: String::from_utf8_lossy(text).trim_end().to_owned(),
                words,
            });
        }
        self.items.extend(settled.next.into_iter().rev());
        if !single.is_empty() {
            self.items.push(Item::Send(single));
        }
        counted
    }

    /// When it is this lane's turn to send, or to begin a batch if there is work for one.
    pub(super) fn turn(&self, has_work: bool) -> Option<Instant> {
        if self.closed {
            Some(self.not_before)
        } else {
            has_work.then(|| self.not_before.max(self.begin_at))
        }
    }

    /// The next batch begins this much later than this one.
    pub(super) fn pace(&mut self, wait: Duration) {
        let now = Instant::now();
        self.begin_at = now + wait;
        self.measured.get_or_insert((now, 0));
    }

    /// Readings a second, once enough time went by to say it.
    pub(super) fn measure(&mut self, stored: u64) -> Option<u64> {
        let (since, count) = self.measured.as_mut()?;
        *count += stored;
        let elapsed = since.elapsed();
        if elapsed < MEASURE {
            return None;
        }
        let rate = u128::from(*count) * 1_000 / elapsed.as_millis().max(1);
        self.measured = Some((Instant::now(), 0));
        Some(u64::try_from(rate).unwrap_or(u64::MAX))
    }

    /// Nothing is written for a while.
    pub(super) const fn measure_anew(&mut self) {
        self.measured = None;
    }
}
