//! Reading behind: a cursor opens the segment files itself, follows the tail, and writes down how far it is.
//!
//! A cursor sees durable records only. It reads in the blocking pool, and its memory is bound by one chunk of a file and
//! what the caller asks for (at least one record). When the byte limit took records that it had not read, it goes on
//! at the oldest that is left, and [`Cursor::missed`] grows.
//! Its position is kept in `<name>.cursor`: the number, a space, the CRC-32 of its digits.

use std::{io, sync::Arc, time::Duration};

use tokio::sync::watch;

use super::{
    Entry, Position, Shared, format,
    segment::{self, MAX_POSITION, Scanner},
};

/// How often reading a segment is tried before it is given up as damaged.
const TRIES: u32 = 3;
const BETWEEN_TRIES: Duration = Duration::from_millis(200);

/// A reader that remembers how far it is. The journal keeps what the slowest cursor still needs, within `max_bytes`.
#[derive(Debug)]
pub struct Cursor {
    name: String,
    shared: Arc<Shared>,
    durable: watch::Receiver<Position>,
    reader: Option<Reader>,
    missed: u64,
}

impl Cursor {
    pub(super) fn new(name: &str, shared: Arc<Shared>) -> Self {
        let noted = shared.disk.open(&file_name(name)).and_then(read_note);
        let mut index = shared.index();
        let oldest = index.before_oldest();
        let position = match noted {
            // Numbers beyond the next one are of another journal: that one is gone.
            Ok(noted) if noted < index.next => noted,
            Ok(noted) => {
                tracing::warn!(
                    cursor = name,
                    noted,
                    "the cursor stands beyond the journal's end and begins anew"
                );
                oldest
            }
            Err(error) => {
                if error.kind() != io::ErrorKind::NotFound {
                    tracing::warn!(cursor = name, %error, "the cursor's position is unreadable and begins anew");
                }
                oldest
            }
        };
        let position = *index.cursors.entry(name.to_owned()).or_insert(position);
        drop(index);
        tracing::debug!(cursor = name, position, "cursor opened");
        Self {
            name: name.to_owned(),
            durable: shared.durable.clone(),
            shared,
            reader: None,
            missed: 0,
        }
    }

    /// Where it stands: everything up to here was done with.
    #[must_use]
    pub fn position(&self) -> Position {
        Position(
            self.shared
                .index()
                .cursors
                .get(&self.name)
                .copied()
                .unwrap_or_default(),
        )
    }

    /// The newest durable record now.
    #[must_use]
    pub fn newest(&self) -> Position {
        *self.durable.borrow()
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
        index.cursors.insert(self.name.clone(), position);
    }

    /// The records after `after` (usually the last one read), up to about `max_readings` readings, waiting until there is
    /// at least one. Empty only when the journal is closed and all was read. Cancel-safe.
    pub async fn read(&mut self, after: Position, max_readings: usize) -> Vec<Entry> {
        let mut after = after;
        let mut failures = 0;
        loop {
            let newest = *self.durable.borrow_and_update();
            if newest <= after {
                if self.durable.changed().await.is_err() {
                    return Vec::new();
                }
                continue;
            }
            let mut reader = self.reader.take().unwrap_or_default();
            let shared = Arc::clone(&self.shared);
            let give_up = failures >= TRIES;
            let read = tokio::task::spawn_blocking(move || {
                let batch = reader.read(&shared, after.0, max_readings, give_up);
                (reader, batch)
            });
            let Ok((reader, read)) = read.await else {
                // The runtime is going down.
                return Vec::new();
            };
            match read {
                Ok(read) => {
                    self.reader = Some(reader);
                    self.note_missed(&read);
                    if !read.entries.is_empty() {
                        return read.entries;
                    }
                    // All up to the end was damaged or is gone.
                    after = after.max(Position(read.reached));
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

    /// Everything up to `position` is done with and may go; the position is written down durably (atomically replaced
    /// file), so that a restart goes on from here.
    ///
    /// # Errors
    ///
    /// When it could not be written; the move holds in memory all the same.
    pub async fn advance(&mut self, position: Position) -> io::Result<()> {
        self.shared
            .index()
            .cursors
            .insert(self.name.clone(), position.0);
        let shared = Arc::clone(&self.shared);
        let name = file_name(&self.name);
        tokio::task::spawn_blocking(move || {
            shared.disk.replace(&name, note(position.0).as_bytes())?;
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

fn note(position: u64) -> String {
    let digits = position.to_string();
    format!("{digits} {:08x}\n", crc32fast::hash(digits.as_bytes()))
}

fn read_note(mut file: std::fs::File) -> io::Result<u64> {
    use std::io::Read as _;
    let mut text = String::new();
    file.by_ref().take(64).read_to_string(&mut text)?;
    text.split_once(' ')
        .and_then(|(digits, _)| digits.parse().ok())
        .filter(|position| *position < MAX_POSITION && note(*position) == text)
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
            && let Ok(position) = std::fs::File::open(entry.path()).and_then(read_note)
        {
            highest = highest.max(position);
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
}

impl Reader {
    /// The next entries after `after`. With `give_up`, a segment that can't be read counts as damaged.
    pub(super) fn read(
        &mut self,
        shared: &Shared,
        after: u64,
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
            read.missed = oldest - after - 1;
        }
        let mut readings = 0;
        for (at, &(first, end)) in segments
            .iter()
            .enumerate()
            .skip(containing.saturating_sub(1))
        {
            let below = segments
                .get(at + 1)
                .map_or(MAX_POSITION, |(first, _)| *first);
            let result = self.read_segment(shared, (first, end, below), after, |entry| {
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
        let mut wanted = true;
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
        Ok(wanted)
    }
}
