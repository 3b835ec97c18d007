//! Segment files: their names, reading records out of them past any damage, and what is found in them at start.

use std::{
    fs::File,
    io,
    ops::Range,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
};

use super::format::{
    self, FOOTER, Footer, Header, OLD_FOOTER, RECORD_HEADER, RECORD_MAGIC, SEGMENT_HEADER, Summary,
    segment_header,
};

/// How much is read from a file at a time.
const CHUNK: usize = 256 * 1024;
const SUFFIX: &str = ".seg";
const DIGITS: usize = 20;
/// Numbers that no journal reaches; a file name beyond them is not one of ours.
pub(super) const MAX_POSITION: u64 = 1 << 62;

/// A segment file and what is durable in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Segment {
    /// Its name: no position in it is smaller.
    pub(super) first: u64,
    /// The newest position in it; `first - 1` when it is empty.
    pub(super) last: u64,
    /// Where its records end.
    pub(super) end: u64,
    /// Its length on disk: zeros may follow the records of one that is being written.
    pub(super) size: u64,
    /// Records in it.
    pub(super) records: u64,
    /// Readings in them.
    pub(super) readings: u64,
}

impl Segment {
    /// One that is about to be written.
    pub(super) const fn new(first: u64) -> Self {
        Self {
            first,
            last: first.saturating_sub(1),
            end: SEGMENT_HEADER as u64,
            size: SEGMENT_HEADER as u64,
            records: 0,
            readings: 0,
        }
    }
}

/// The file of the segment that begins with `first`.
pub(super) fn name(first: u64) -> String {
    format!("{first:0DIGITS$}{SUFFIX}")
}

/// The first positions of the segment files in `dir`, in order. Other files are none of ours.
pub(super) fn list(dir: &Path) -> io::Result<Vec<u64>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir)? {
        if let Some(first) = entry?
            .file_name()
            .to_str()
            .and_then(|n| n.strip_suffix(SUFFIX))
            .filter(|digits| digits.len() == DIGITS)
            .and_then(|digits| digits.parse().ok())
            .filter(|first| (1..MAX_POSITION).contains(first))
        {
            found.push(first);
        }
    }
    found.sort_unstable();
    Ok(found)
}

/// What a scan has met so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Tally {
    /// Whole records.
    pub(super) records: u64,
    /// Readings in them.
    pub(super) readings: u64,
    /// Records whose body is damaged, and stretches without any record.
    pub(super) damaged: u64,
}

/// Walks through the records of one file.
#[derive(Debug)]
pub(super) struct Scanner {
    file: File,
    /// Positions from here on are void.
    below: u64,
    last: u64,
    /// `buffer[at..]` is what the file holds from `offset` on.
    offset: u64,
    buffer: Vec<u8>,
    at: usize,
    tally: Tally,
    in_junk: bool,
}

impl Scanner {
    /// At the first record. `below` is where the next segment begins.
    pub(super) fn open(path: &Path, first: u64, below: u64) -> io::Result<Self> {
        Ok(Self {
            file: File::open(path)?,
            below,
            last: first.saturating_sub(1),
            offset: SEGMENT_HEADER as u64,
            buffer: Vec::new(),
            at: 0,
            tally: Tally::default(),
            in_junk: false,
        })
    }

    /// Where the next record is looked for.
    pub(super) const fn offset(&self) -> u64 {
        self.offset
    }

    /// The newest position that was returned or stepped over.
    pub(super) const fn last(&self) -> u64 {
        self.last
    }

    pub(super) const fn tally(&self) -> Tally {
        self.tally
    }

    /// The next whole record before file offset `end`. Records up to `after` are stepped over by their headers alone.
    pub(super) fn next(&mut self, after: u64, end: u64) -> io::Result<Option<(Header, &[u8])>> {
        let Some((header, body)) = self.advance(after, end)? else {
            return Ok(None);
        };
        Ok(Some((header, &self.buffer[body])))
    }

    fn advance(&mut self, after: u64, end: u64) -> io::Result<Option<(Header, Range<usize>)>> {
        loop {
            self.fill(RECORD_HEADER, end)?;
            let rest = &self.buffer[self.at..];
            if rest.len() < RECORD_HEADER {
                if !rest.is_empty() {
                    let n = rest.len();
                    self.junk(n);
                }
                return Ok(None);
            }
            let Some(header) = Header::read(rest).filter(|h| self.offset + h.total() <= end) else {
                let n = 1 + to_next_magic(&rest[1..]);
                self.junk(n);
                continue;
            };
            if header.position <= self.last || header.position >= self.below {
                self.step(header.total());
                continue;
            }
            self.in_junk = false;
            if header.position <= after {
                self.last = header.position;
                self.tally.records += 1;
                self.tally.readings += u64::from(header.readings);
                self.step(header.total());
                continue;
            }
            let length = RECORD_HEADER + header.body as usize;
            self.fill(length, end)?;
            let body = self.at + RECORD_HEADER..self.at + length;
            if body.end > self.buffer.len() {
                // The file is shorter than it was a moment ago.
                return Ok(None);
            }
            self.last = header.position;
            let whole = crc32fast::hash(&self.buffer[body.clone()]) == header.crc;
            self.step(header.total());
            if whole {
                self.tally.records += 1;
                self.tally.readings += u64::from(header.readings);
                return Ok(Some((header, body)));
            }
            self.tally.damaged += 1;
        }
    }

    fn junk(&mut self, bytes: usize) {
        if !self.in_junk {
            self.in_junk = true;
            self.tally.damaged += 1;
        }
        self.step(bytes as u64);
    }

    fn step(&mut self, bytes: u64) {
        self.offset += bytes;
        self.at = usize::try_from(bytes)
            .map_or(usize::MAX, |n| self.at.saturating_add(n))
            .min(self.buffer.len());
        // A step beyond the buffer leaves it empty; the next fill reads at the new offset.
    }

    /// Sees to it that `n` bytes are in the buffer, or all that there are before `end`.
    fn fill(&mut self, n: usize, end: u64) -> io::Result<()> {
        if self.buffer.len() - self.at >= n {
            return Ok(());
        }
        self.buffer.drain(..self.at);
        self.at = 0;
        let from = self.offset + self.buffer.len() as u64;
        let wanted = (n - self.buffer.len()).max(CHUNK) as u64;
        let more = usize::try_from(wanted.min(end.saturating_sub(from))).unwrap_or(usize::MAX);
        let mut length = self.buffer.len();
        self.buffer.resize(length + more, 0);
        while length < self.buffer.len() {
            match self
                .file
                .read_at(&mut self.buffer[length..], self.offset + length as u64)
            {
                Ok(0) => break,
                Ok(got) => length += got,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    self.buffer.truncate(length);
                    return Err(error);
                }
            }
        }
        self.buffer.truncate(length);
        Ok(())
    }
}

fn to_next_magic(bytes: &[u8]) -> usize {
    let whole = bytes
        .windows(RECORD_MAGIC.len())
        .position(|w| w == RECORD_MAGIC);
    whole.unwrap_or_else(|| {
        // The magic may begin in the last bytes and go on beyond them.
        (bytes.len().saturating_sub(RECORD_MAGIC.len() - 1)..bytes.len())
            .find(|&at| RECORD_MAGIC.starts_with(&bytes[at..]))
            .unwrap_or(bytes.len())
    })
}

/// What a file holds, found at start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) segment: Segment,
    pub(super) damaged: u64,
    /// Bytes behind the last whole record that are no footer.
    pub(super) torn: u64,
    /// Nothing more is written to it.
    pub(super) closed: bool,
}

/// Reads the footer of a closed segment, or else all of it.
pub(super) fn inspect(path: &PathBuf, first: u64, below: u64) -> io::Result<Found> {
    let size = std::fs::metadata(path)?.len();
    if let Some(footer) =
        footer(path, size)?.filter(|f| f.last >= first.saturating_sub(1) && f.last < below)
    {
        return Ok(Found {
            segment: Segment {
                first,
                last: footer.last,
                end: u64::from(footer.end),
                size,
                records: footer.records,
                readings: footer.readings,
            },
            damaged: 0,
            torn: 0,
            closed: true,
        });
    }
    let mut scanner = Scanner::open(path, first, below)?;
    let mut segment = Segment::new(first);
    let mut damaged = 0;
    while let Some((header, _)) = scanner.next(0, size)? {
        segment.last = header.position;
        segment.end = scanner.offset();
        // Damage behind the last whole record is a torn tail, and not counted here.
        damaged = scanner.tally().damaged;
    }
    segment.records = scanner.tally().records;
    segment.readings = scanner.tally().readings;
    segment.size = size;
    Ok(Found {
        segment,
        damaged,
        torn: written_after(path, segment.end)?.saturating_sub(segment.end),
        closed: !has_header(path, first)?,
    })
}

/// Where the file's bytes behind `end` stop being anything but the zeros that it was made longer with; `end` if that is all.
fn written_after(path: &Path, end: u64) -> io::Result<u64> {
    let file = File::open(path)?;
    let (mut offset, mut last) = (end, end);
    let mut chunk = vec![0; CHUNK];
    loop {
        let read = match file.read_at(&mut chunk, offset) {
            Ok(0) => return Ok(last),
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        if let Some(at) = chunk[..read].iter().rposition(|byte| *byte != 0) {
            last = offset + at as u64 + 1;
        }
        offset += read as u64;
    }
}

/// Records are only ever added behind a whole header.
fn has_header(path: &Path, first: u64) -> io::Result<bool> {
    let mut bytes = [0; SEGMENT_HEADER];
    match File::open(path)?.read_exact_at(&mut bytes, 0) {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
        other => other.map(|()| bytes == segment_header(first)),
    }
}

/// The footer at the end of a file of this size, if it was closed.
fn footer(path: &Path, size: u64) -> io::Result<Option<Footer>> {
    let file = File::open(path)?;
    let mut bytes = [0; FOOTER];
    let length = bytes.len().min(usize::try_from(size).unwrap_or(FOOTER));
    let tail = &mut bytes[FOOTER - length..];
    file.read_exact_at(tail, size - length as u64)?;
    let begins = |footer: &Footer, length: usize| {
        u64::from(footer.offset) + length as u64 == size && footer.end as usize >= SEGMENT_HEADER
    };
    let old = || Footer::read_old(tail.get(tail.len().checked_sub(OLD_FOOTER)?..)?);
    Ok(Footer::read(tail)
        .filter(|footer| begins(footer, FOOTER))
        .or_else(|| old().filter(|footer| begins(footer, OLD_FOOTER))))
}

/// The summary of a closed segment; `None` if there is none, or it is damaged.
pub(super) fn summary(path: &Path) -> io::Result<Option<Summary>> {
    let size = std::fs::metadata(path)?.len();
    let Some(footer) = footer(path, size)? else {
        return Ok(None);
    };
    let mut bytes = vec![0; (footer.offset - footer.end) as usize];
    File::open(path)?.read_exact_at(&mut bytes, u64::from(footer.end))?;
    Ok(Summary::read(&bytes, footer.summary))
}

/// What the records of a segment hold that can be read now.
pub(super) fn summarise(path: &Path, segment: &Segment) -> io::Result<Summary> {
    let mut scanner = Scanner::open(path, segment.first, segment.last.saturating_add(1))?;
    let mut summary = Summary::default();
    while let Some((_, body)) = scanner.next(0, segment.end)? {
        // One that this version can't read is none for any reader.
        if let Ok(batches) = format::decode(body) {
            summary.add(&batches);
        }
    }
    Ok(summary)
}
