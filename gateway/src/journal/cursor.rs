//! Reading behind: a cursor opens the segment files itself, follows the tail, and writes down how far it is.
//!
//! A cursor sees durable records only. It reads in the blocking pool, and its memory is bound by one chunk of a file and
//! what the caller asks for (at least one record). Readings that have only a time since boot are left out: they come again, in a later
//! record, with their right times; an entry may so be left with no batches. When the byte limit took records that it had not read, it goes on
//! at the oldest that is left, and [`Cursor::missed`] grows.
//!
//! A reader that was kept waiting may [leave the backlog behind](Cursor::leave_backlog), read on at the newest record at once, and
//! [read the backlog](Cursor::read_behind) as it finds time. Front and stretches left behind are one note in
//! `<name>.cursor` (see `progress.rs`), replaced as a whole: after a crash both go on where they were.

use std::{
    io,
    sync::{Arc, PoisonError},
    time::Duration,
};

use tokio::{sync::watch, time::Instant};

use super::{
    Entry, Position, Shared, format,
    progress::{Progress, Stretch},
    segment::{self, MAX_POSITION, Scanner},
};

/// How often reading a segment is tried before it is given up as damaged.
const TRIES: u32 = 3;
const BETWEEN_TRIES: Duration = Duration::from_millis(200);
/// A note is shorter than this.
const MAX_NOTE: u64 = 4096;

/// A reader that remembers how far it is. The journal keeps what the slowest cursor still needs, within `max_bytes`.
#[derive(Debug)]
pub struct Cursor {
    name: String,
    shared: Arc<Shared>,
    durable: watch::Receiver<Position>,
    reader: Reader,
    /// Of what was left behind.
    reader_behind: Reader,
    missed: u64,
    /// When the place was written down last.
    saved: Option<Instant>,
}

impl Cursor {
    pub(super) fn new(name: &str, shared: Arc<Shared>) -> Self {
        let noted = shared.disk.open(&file_name(name)).and_then(read_note);
        let mut index = shared.index();
        let oldest = Progress::at(index.before_oldest());
        let progress = match noted {
            // Numbers beyond the next one are of another journal: that one is gone.
            Ok(noted) if noted.front < index.next => noted,
            Ok(noted) => {
                tracing::warn!(
                    cursor = name,
                    noted = noted.front,
                    "the cursor stands beyond the journal's end and begins anew"
                );
                oldest
            }
            Err(error) => {
                if error.kind() != io::ErrorKind::NotFound {
                    shared.metrics.unreadable_cursors.inc();
                    tracing::warn!(cursor = name, %error, "the cursor's position is unreadable and begins anew");
                }
                oldest
            }
        };
        let progress = index.cursors.entry(name.to_owned()).or_insert(progress);
        tracing::debug!(cursor = name, ?progress, "cursor opened");
        shared.give_up_hand(index, name);
        Self {
            name: name.to_owned(),
            durable: shared.durable.clone(),
            shared,
            reader: Reader::default(),
            reader_behind: Reader::default(),
            missed: 0,
            saved: None,
        }
    }

    /// Its front: everything up to here was done with, or left behind.
    #[must_use]
    pub fn position(&self) -> Position {
        self.progress(|progress| Position(progress.front))
    }

    /// The oldest stretch that was left behind.
    #[must_use]
    pub fn behind(&self) -> Option<Stretch> {
        self.progress(|progress| progress.stretches().first().copied())
    }

    fn progress<T>(&self, read: impl FnOnce(&mut Progress) -> T) -> T {
        read(
            self.shared
                .index()
                .cursors
                .entry(self.name.clone())
                .or_default(),
        )
    }

    /// Whether this record is still to be done.
    #[must_use]
    pub fn is_undone(&self, record: Position) -> bool {
        self.progress(|progress| progress.is_undone(record.0))
    }

    /// The newest durable record now.
    #[must_use]
    pub fn newest(&self) -> Position {
        *self.durable.borrow()
    }

    /// Where what it did is counted.
    #[must_use]
    pub fn tallies(&self) -> super::Tallies {
        self.shared.tallies.clone()
    }

    /// Records that went before this cursor read them, since it was made.
    #[must_use]
    pub const fn missed(&self) -> u64 {
        self.missed
    }

    /// Sets the position from the owner's own durable note of it (the history keeps its own). A position beyond the
    /// journal's end is of a journal that is gone: the cursor then stands before the oldest record.
    pub fn seek(&mut self, position: Position) {
        let mut index = self.shared.index();
        let position = if position.0 < index.next {
            position.0
        } else {
            index.before_oldest()
        };
        index
            .cursors
            .insert(self.name.clone(), Progress::at(position));
        self.shared.give_up_hand(index, &self.name);
    }

    /// Takes note that records were read, so that they are not counted as lost while they are on their way.
    fn take_in_hand(&self, take: impl FnOnce(&mut Progress)) {
        let mut index = self.shared.index();
        let progress = index.cursors.get(&self.name).cloned().unwrap_or_default();
        take(index.in_hand.entry(self.name.clone()).or_insert(progress));
    }

    /// The records after `after` (usually the last one read), up to about `max_readings` readings, waiting until there is
    /// at least one. Empty only when the journal is closed and all was read. Cancel-safe.
    pub async fn read(&mut self, after: Position, max_readings: usize) -> Vec<Entry> {
        let mut after = after;
        loop {
            let newest = *self.durable.borrow_and_update();
            if newest <= after {
                if self.durable.changed().await.is_err() {
                    return Vec::new();
                }
                continue;
            }
            let range = (after.0, MAX_POSITION);
            let mut reader = std::mem::take(&mut self.reader);
            let Some(read) = self.read_now(&mut reader, range, max_readings).await else {
                return Vec::new();
            };
            self.reader = reader;
            if let Some(last) = read.entries.last() {
                self.take_in_hand(|hand| hand.front = hand.front.max(last.position.0));
                return read.entries;
            }
            // All up to the end was damaged or is gone.
            after = after.max(Position(read.reached));
        }
    }

    /// The records after `after` in the [oldest stretch](Cursor::behind) that was left behind, up to about `max_readings`
    /// readings. Never waits for records: empty when there is none left of the stretch. Cancel-safe.
    pub async fn read_behind(&mut self, after: Position, max_readings: usize) -> Vec<Entry> {
        let Some(until) = self.behind().map(|stretch| stretch.until) else {
            return Vec::new();
        };
        let range = (after.0, until.0);
        let mut reader = std::mem::take(&mut self.reader_behind);
        let Some(read) = self.read_now(&mut reader, range, max_readings).await else {
            return Vec::new();
        };
        self.reader_behind = reader;
        if let Some(last) = read.entries.last() {
            self.take_in_hand(|hand| hand.fill(last.position.0));
        }
        read.entries
    }

    /// Reads what is there, trying again when the disk refuses. `None`: the runtime is going down.
    async fn read_now(
        &mut self,
        reader: &mut Reader,
        (after, until): (u64, u64),
        max_readings: usize,
    ) -> Option<Read> {
        let mut failures = 0;
        loop {
            let (shared, mut taken) = (Arc::clone(&self.shared), std::mem::take(reader));
            let name = self.name.clone();
            let give_up = failures >= TRIES;
            let read = tokio::task::spawn_blocking(move || {
                let mut read = taken.read(&shared, (after, until), max_readings, give_up);
                if let Ok(read) = &mut read {
                    let entries = read.entries.iter_mut();
                    entries.for_each(Entry::leave_provisional_out);
                }
                for first in std::mem::take(&mut taken.damaged) {
                    shared.reckon_damage(&name, first);
                }
                (taken, read)
            });
            let (taken, read) = read.await.ok()?;
            match read {
                Ok(read) => {
                    *reader = taken;
                    self.note_missed(&read);
                    return Some(read);
                }
                Err(error) => {
                    failures += 1;
                    if failures == 1 {
                        tracing::warn!(cursor = self.name, %error, "reading the journal failed, trying again");
                    }
                    tokio::time::sleep(BETWEEN_TRIES).await;
                }
            }
        }
    }

    fn note_missed(&mut self, read: &Read) {
        if read.missed > 0 {
            self.missed += read.missed;
            tracing::error!(
                cursor = self.name,
                records = read.missed,
                "the journal's byte limit took records before this cursor read them"
            );
        }
    }

    /// Everything up to `position` is done with, but for what was left behind, and may go; this is written down durably
    /// (atomically replaced file) every [`note_every`](super::Config::note_every), so that a restart goes on from about here.
    ///
    /// # Errors
    ///
    /// When it could not be written; the move holds in memory all the same.
    pub async fn advance(&mut self, position: Position) -> io::Result<()> {
        self.change(|progress| progress.front = position.0).await
    }

    /// The oldest stretch that was left behind is done with up to `position`. As durable as [`Cursor::advance`].
    ///
    /// # Errors
    ///
    /// As [`Cursor::advance`].
    pub async fn fill(&mut self, position: Position) -> io::Result<()> {
        self.change(|progress| progress.fill(position.0)).await
    }

    /// Moves on, and writes that down if it is time. Until then the journal keeps what the last note still needs.
    async fn change(&mut self, change: impl FnOnce(&mut Progress)) -> io::Result<()> {
        {
            let mut index = self.shared.index();
            let progress = index.cursors.entry(self.name.clone()).or_default();
            let before = progress.clone();
            change(progress);
            index.noted.entry(self.name.clone()).or_insert(before);
            index.forget_done(&self.name);
        }
        let every = self.shared.config.note_every;
        if self.saved.is_some_and(|saved| saved.elapsed() < every) {
            return Ok(());
        }
        self.save().await
    }

    /// Writes the place down now if it is further than its note.
    ///
    /// # Errors
    ///
    /// As [`Cursor::advance`].
    pub async fn note_down(&mut self) -> io::Result<()> {
        let is_further = self.shared.index().noted.contains_key(&self.name);
        if is_further {
            self.save().await
        } else {
            Ok(())
        }
    }

    /// Leaves everything between the position and the newest durable record behind, to be read later, and moves the position
    /// there. False when there is nothing to leave, or [`MAX_STRETCHES`](super::MAX_STRETCHES) wait already: then it is read in order.
    ///
    /// # Errors
    ///
    /// As [`Cursor::advance`].
    pub async fn leave_backlog(&mut self) -> io::Result<bool> {
        let newest = self.newest().0;
        {
            let mut index = self.shared.index();
            let progress = index.cursors.entry(self.name.clone()).or_default();
            let front = progress.front;
            if !progress.leave(newest) {
                return Ok(false);
            }
            // What is on its way of an older stretch stays in hand; what was read of this one is read again.
            if let Some(hand) = index.in_hand.get_mut(&self.name) {
                hand.front = front;
                if !hand.leave(newest) {
                    index.in_hand.remove(&self.name);
                }
            }
        }
        self.save().await.map(|()| true)
    }

    /// Writes the note as it is when its turn comes: an older one never follows a newer one, also when a predecessor of the
    /// same name was stopped while it wrote.
    async fn save(&mut self) -> io::Result<()> {
        self.saved = Some(Instant::now());
        let (shared, name) = (Arc::clone(&self.shared), self.name.clone());
        tokio::task::spawn_blocking(move || {
            let turn = shared.noting.lock().unwrap_or_else(PoisonError::into_inner);
            // One that was let go keeps the note that it had.
            let progress = shared.index().cursors.get(&name).cloned();
            if let Some(progress) = progress {
                let file = file_name(&name);
                shared.disk.replace(&file, progress.note().as_bytes())?;
                let mut index = shared.index();
                if index.cursors.get(&name) == Some(&progress) {
                    index.noted.remove(&name);
                } else {
                    index.noted.insert(name, progress);
                }
            }
            drop(turn);
            shared.sweep(0);
            Ok(())
        })
        .await
        .map_err(io::Error::other)?
    }
}

/// The names of cursors become file names: what is not a letter, digit or `-` is written as its code.
pub(super) fn file_name(name: &str) -> String {
    use std::fmt::Write as _;
    let mut out = String::new();
    for byte in name.bytes() {
        if byte.is_ascii_alphanumeric() || byte == b'-' {
            out.push(char::from(byte));
        } else if write!(out, "_{byte:02x}").is_err() {
            // Writing to a string never fails.
            return out;
        }
    }
    out + SUFFIX
}

const SUFFIX: &str = ".cursor";

fn read_note(file: std::fs::File) -> io::Result<Progress> {
    use std::io::Read as _;
    let mut text = String::new();
    file.take(MAX_NOTE).read_to_string(&mut text)?;
    Progress::read(&text)
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "not a cursor's position"))
}

/// The highest position that any cursor file in the directory notes.
pub(super) fn highest_noted(dir: &std::path::Path) -> io::Result<u64> {
    let mut highest = 0;
    for entry in std::fs::read_dir(dir)? {
        let entry = entry?;
        if entry
            .file_name()
            .to_str()
            .is_some_and(|n| n.ends_with(SUFFIX))
            && let Ok(progress) = std::fs::File::open(entry.path()).and_then(read_note)
        {
            highest = highest.max(progress.front);
        }
    }
    Ok(highest)
}

/// What one reading yielded.
#[derive(Debug, Default)]
pub(super) struct Read {
    pub(super) entries: Vec<Entry>,
    /// Everything up to here was looked at.
    pub(super) reached: u64,
    /// Records that were gone.
    pub(super) missed: u64,
}

/// Keeps the open file and the place in it between two reads.
#[derive(Debug, Default)]
pub(super) struct Reader {
    open: Option<(u64, Scanner)>,
    /// Segments in which damage was met. Bounded by the segments of one reading, if somebody takes them.
    damaged: Vec<u64>,
}

impl Reader {
    /// The next entries after `after`, up to `until`. With `give_up`, a segment that can't be read counts as damaged.
    pub(super) fn read(
        &mut self,
        shared: &Shared,
        (after, until): (u64, u64),
        max_readings: usize,
        give_up: bool,
    ) -> io::Result<Read> {
        let (segments, newest) = {
            let index = shared.index();
            let spans: Vec<_> = index.segments.iter().map(|s| (s.first, s.end)).collect();
            (spans, index.newest)
        };
        let mut read = Read::default();
        let containing = segments.partition_point(|(first, _)| *first <= after + 1);
        if let (0, Some((oldest, _))) = (containing, segments.first()) {
            read.missed = (oldest - 1).min(until).saturating_sub(after);
        }
        let mut readings = 0;
        for (at, &(first, end)) in segments
            .iter()
            .enumerate()
            .skip(containing.saturating_sub(1))
            .take_while(|(_, (first, _))| *first <= until)
        {
            let below = segments
                .get(at + 1)
                .map_or(MAX_POSITION, |(first, _)| *first);
            let result = self.read_segment(shared, (first, end, below), after, |entry| {
                if entry.position.0 > until {
                    return false;
                }
                readings += entry
                    .batches
                    .iter()
                    .map(|b| b.readings.len())
                    .sum::<usize>();
                read.entries.push(entry);
                readings < max_readings
            });
            match result {
                Ok(true) => {}
                Ok(false) => return Ok(read),
                Err(error) => {
                    self.open = None;
                    if !read.entries.is_empty() {
                        return Ok(read);
                    }
                    if !give_up {
                        return Err(error);
                    }
                    shared.metrics.damaged.inc();
                    self.damaged.push(first);
                    tracing::error!(segment = first, %error, "a segment cannot be read and is passed over");
                }
            }
        }
        read.reached = newest;
        Ok(read)
    }

    /// Hands the segment's entries over until `more` is false. True when the segment was read to its end.
    fn read_segment(
        &mut self,
        shared: &Shared,
        (first, end, below): (u64, u64, u64),
        after: u64,
        mut more: impl FnMut(Entry) -> bool,
    ) -> io::Result<bool> {
        let scanner = match &mut self.open {
            Some((open, scanner)) if *open == first && scanner.last() <= after => scanner,
            open => {
                let path = shared.disk.path(&segment::name(first));
                &mut open.insert((first, Scanner::open(&path, first, below)?)).1
            }
        };
        let before = scanner.tally().damaged;
        let (mut wanted, mut unreadable) = (true, false);
        while wanted {
            let Some((header, body)) = scanner.next(after, end)? else {
                break;
            };
            match format::decode(body) {
                Ok(batches) => {
                    wanted = more(Entry {
                        position: Position(header.position),
                        batches,
                    });
                }
                Err(error) => {
                    shared.metrics.damaged.inc();
                    unreadable = true;
                    tracing::warn!(position = header.position, %error, "a record of the journal is skipped");
                }
            }
        }
        let damaged = scanner.tally().damaged - before;
        if damaged > 0 {
            shared.metrics.damaged.inc_by(damaged);
            tracing::warn!(
                segment = first,
                damaged,
                "damaged records of the journal are skipped"
            );
        }
        if (damaged > 0 || unreadable) && self.damaged.last() != Some(&first) {
            self.damaged.push(first);
        }
        Ok(wanted)
    }
}
