//! The bytes of the journal: pure, without files.
//!
//! All fixed-width numbers are little-endian. Checksums are CRC-32 (IEEE 802.3).
//!
//! ```text
//! segment file  "<first position, 20 digits>.seg"
//!   header   24  magic "gwjrnl\r\n" · version u32 · first position u64 · crc32 of the 20 bytes before
//!   record*
//!   summary      only once the segment is closed: sources varint · (source: string · archivable readings: varint)* ·
//!                stamped u8: 1 if a batch has stamps other than 0 and 1
//!   footer   44  only once the segment is closed: magic FE 'S' 'U' 'M' · records u64 · readings u64 ·
//!                last position u64 · bytes before the footer u32 · bytes before the summary u32 · crc32 of the
//!                summary · crc32 of the 40 bytes before
//! record
//!   header   28  magic FE 'R' 'E' 'C' · body length u32 · position u64 · readings u32 · crc32 of the body ·
//!                crc32 of the 24 bytes before
//!   body         version u8 = 2 · batch* up to the end
//! batch          stamps · source: string · readings: varint · reading*
//! stamps         0: of a clock that was set · 1 and signed: it jumped by so much before this batch ·
//!                2 and boot: arrivals before 2026 are times since this boot · 3, record varint, boot and signed: the
//!                right times of what that record holds, stamped since that boot, which was at this time
//! boot           16 bytes, the kernel's boot id
//! reading        series · flags u8 · time: signed, less the time before it in the record (first: less 0) ·
//!                received: signed, less time, absent if flag 0x40 · value
//! series         varint index into the record's series; the next free index defines it:
//!                device: string · metric: string · unit: 0, or 1 and string
//! string         varint index into the record's strings; the next free index defines it: length varint · UTF-8
//! flags          bits 0–2 kind (0 false, 1 true, 2 integer, 3 float, 4 text) · bits 3–4 quality
//!                (0 good, 1 uncertain, 2 bad) · 0x20 retained · 0x40 received equals time
//! value          nothing for booleans · signed varint · 8 bytes IEEE 754 · length varint and UTF-8
//! ```
//!
//! A record stands alone: its dictionary begins empty. The header has its own checksum, so that a damaged body is stepped
//! over exactly; a damaged header is found again by its magic, whose first byte never occurs in UTF-8 text.
//! Version 1, which older gateways wrote, has no `stamps` (all are of a clock that was set) and is read as well; so is their
//! footer, of 36 bytes: magic FE 'E' 'N' 'D' · records · readings · last position · bytes before the footer · crc32.
//! The summary is a cache: what it says follows from the records, and where there is none or it is damaged, they are read.
//! Positions grow from record to record and from file to file; what does not grow is void.
//! `Batch::peer` and `Batch::presence` are not written.

mod closing;

use std::hash::BuildHasher;

use foldhash::fast::RandomState;
use hashbrown::HashTable;
use smol_str::SmolStr;
use thiserror::Error;

pub(super) use self::closing::{FOOTER, Footer, OLD_FOOTER, Summary};
use super::varint::{Bytes, put, put_signed, put_text};
use crate::model::{
    Batch, Boot, DeviceId, Metric, Quality, Reading, SeriesKey, SourceName, Stamps, Timestamp,
    Unit, Value,
};

/// Length of a segment's header.
pub(super) const SEGMENT_HEADER: usize = 24;
/// Length of a record's header.
pub(super) const RECORD_HEADER: usize = 28;
/// What every record begins with.
pub(super) const RECORD_MAGIC: [u8; 4] = [0xfe, b'R', b'E', b'C'];

const SEGMENT_MAGIC: [u8; 8] = *b"gwjrnl\r\n";
const SEGMENT_VERSION: u32 = 1;
const BODY_VERSION: u8 = 2;
/// Without stamps.
const FIRST_BODY_VERSION: u8 = 1;

const KIND: u8 = 0x07;
const QUALITY_SHIFT: u8 = 3;
const RETAINED: u8 = 0x20;
const RECEIVED_IS_TIME: u8 = 0x40;

/// A body whose checksum holds but which this version can't read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub(super) enum Unreadable {
    /// Written by a newer gateway.
    #[error("the record has format version {0}, which is newer than this program")]
    Version(u8),
    /// Not what the format says.
    #[error("the record's body does not follow its format")]
    Malformed,
}

/// The start of a segment file.
pub(super) fn segment_header(first: u64) -> [u8; SEGMENT_HEADER] {
    let mut out = [0; SEGMENT_HEADER];
    out[..8].copy_from_slice(&SEGMENT_MAGIC);
    out[8..12].copy_from_slice(&SEGMENT_VERSION.to_le_bytes());
    out[12..20].copy_from_slice(&first.to_le_bytes());
    let crc = crc32fast::hash(&out[..20]);
    out[20..].copy_from_slice(&crc.to_le_bytes());
    out
}

/// The start of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    /// Length of the body.
    pub(super) body: u32,
    /// The record's number.
    pub(super) position: u64,
    /// Readings in it, known even if the body is damaged.
    pub(super) readings: u32,
    /// The body's checksum.
    pub(super) crc: u32,
}

impl Header {
    fn write(&self) -> [u8; RECORD_HEADER] {
        let mut out = [0; RECORD_HEADER];
        out[..4].copy_from_slice(&RECORD_MAGIC);
        out[4..8].copy_from_slice(&self.body.to_le_bytes());
        out[8..16].copy_from_slice(&self.position.to_le_bytes());
        out[16..20].copy_from_slice(&self.readings.to_le_bytes());
        out[20..24].copy_from_slice(&self.crc.to_le_bytes());
        let crc = crc32fast::hash(&out[..24]);
        out[24..].copy_from_slice(&crc.to_le_bytes());
        out
    }

    /// The header at the start of `bytes`, if there is a whole and undamaged one.
    pub(super) fn read(bytes: &[u8]) -> Option<Self> {
        let mut bytes = checked(bytes, RECORD_HEADER, RECORD_MAGIC)?;
        Some(Self {
            body: u32::from_le_bytes(bytes.array()?),
            position: u64::from_le_bytes(bytes.array()?),
            readings: u32::from_le_bytes(bytes.array()?),
            crc: u32::from_le_bytes(bytes.array()?),
        })
    }

    /// Length of the whole record.
    pub(super) const fn total(&self) -> u64 {
        RECORD_HEADER as u64 + self.body as u64
    }
}

/// What lies between a magic and the checksum that ends the first `length` bytes, if both hold.
fn checked(bytes: &[u8], length: usize, magic: [u8; 4]) -> Option<Bytes<'_>> {
    let (content, crc) = bytes.get(..length)?.split_last_chunk::<4>()?;
    let inner = content.strip_prefix(&magic)?;
    (crc32fast::hash(content) == u32::from_le_bytes(*crc)).then_some(Bytes(inner))
}

type Definition = (SmolStr, SmolStr, Option<SmolStr>);

/// Builds one record after the other in the same buffers.
#[derive(Debug, Default)]
pub(super) struct Encoder {
    out: Vec<u8>,
    hasher: RandomState,
    strings: Dictionary<SmolStr>,
    series: Dictionary<Definition>,
    time: i64,
    readings: u32,
}

impl Encoder {
    /// Forgets the record before and begins a new one.
    pub(super) fn begin(&mut self) {
        self.out.clear();
        self.out.resize(RECORD_HEADER, 0);
        self.out.push(BODY_VERSION);
        self.strings.clear();
        self.series.clear();
        self.time = 0;
        self.readings = 0;
    }

    /// Length of the record so far.
    pub(super) const fn len(&self) -> usize {
        self.out.len()
    }

    /// Readings in the record so far.
    pub(super) const fn readings(&self) -> u32 {
        self.readings
    }

    /// Adds a batch.
    pub(super) fn push(&mut self, batch: &Batch) {
        self.stamps(batch.stamps);
        self.string(&batch.source.0);
        put(&mut self.out, batch.readings.len() as u64);
        for reading in &batch.readings {
            self.reading(reading);
        }
    }

    /// The whole record, under this number.
    pub(super) fn finish(&mut self, position: u64) -> &[u8] {
        let (head, body) = self.out.split_at_mut(RECORD_HEADER);
        let header = Header {
            body: u32::try_from(body.len()).unwrap_or(u32::MAX),
            position,
            readings: self.readings,
            crc: crc32fast::hash(body),
        };
        head.copy_from_slice(&header.write());
        &self.out
    }

    fn stamps(&mut self, stamps: Stamps) {
        match stamps {
            Stamps::Set => self.out.push(0),
            Stamps::Jumped(by) => {
                self.out.push(1);
                put_signed(&mut self.out, by);
            }
            Stamps::SinceBoot(boot) => {
                self.out.push(2);
                self.out.extend_from_slice(&boot.0.to_le_bytes());
            }
            Stamps::Restamped {
                from,
                boot,
                booted_at,
            } => {
                self.out.push(3);
                put(&mut self.out, from);
                self.out.extend_from_slice(&boot.0.to_le_bytes());
                put_signed(&mut self.out, booted_at.0);
            }
        }
    }

    fn reading(&mut self, reading: &Reading) {
        self.readings = self.readings.saturating_add(1);
        self.define_series(reading);
        let kind = match reading.value {
            Value::Bool(false) => 0,
            Value::Bool(true) => 1,
            Value::Int(_) => 2,
            Value::Float(_) => 3,
            Value::Text(_) => 4,
        };
        let quality: u8 = match reading.quality {
            Quality::Good => 0,
            Quality::Uncertain => 1,
            Quality::Bad => 2,
        };
        let mut flags = kind | (quality << QUALITY_SHIFT);
        if reading.retained {
            flags |= RETAINED;
        }
        if reading.received == reading.time {
            flags |= RECEIVED_IS_TIME;
        }
        self.out.push(flags);
        put_signed(&mut self.out, reading.time.0.wrapping_sub(self.time));
        self.time = reading.time.0;
        if reading.received != reading.time {
            put_signed(
                &mut self.out,
                reading.received.0.wrapping_sub(reading.time.0),
            );
        }
        match &reading.value {
            Value::Bool(_) => {}
            Value::Int(i) => put_signed(&mut self.out, *i),
            Value::Float(f) => self.out.extend_from_slice(&f.to_le_bytes()),
            Value::Text(text) => put_text(&mut self.out, text),
        }
    }

    fn define_series(&mut self, reading: &Reading) {
        let key = &reading.series;
        let unit = reading.unit.as_ref().map(|u| &u.0);
        let hash = self.hasher.hash_one((&key.device.0, &key.metric.0, unit));
        let found = self.series.find(hash, |(device, metric, known)| {
            *device == key.device.0 && *metric == key.metric.0 && known.as_ref() == unit
        });
        if let Some(index) = found {
            put(&mut self.out, u64::from(index));
            return;
        }
        let definition = (key.device.0.clone(), key.metric.0.clone(), unit.cloned());
        let index = self.series.add(hash, definition);
        put(&mut self.out, u64::from(index));
        self.string(&key.device.0);
        self.string(&key.metric.0);
        match unit {
            None => self.out.push(0),
            Some(unit) => {
                self.out.push(1);
                self.string(unit);
            }
        }
    }

    fn string(&mut self, text: &SmolStr) {
        let hash = self.hasher.hash_one(text);
        if let Some(index) = self.strings.find(hash, |known| known == text) {
            put(&mut self.out, u64::from(index));
            return;
        }
        let index = self.strings.add(hash, text.clone());
        put(&mut self.out, u64::from(index));
        put_text(&mut self.out, text);
    }
}

/// Entries in the order of their first use, found again by hash.
#[derive(Debug)]
struct Dictionary<T> {
    entries: Vec<T>,
    by_hash: HashTable<(u64, u32)>,
}

impl<T> Default for Dictionary<T> {
    fn default() -> Self {
        Self {
            entries: Vec::new(),
            by_hash: HashTable::new(),
        }
    }
}

impl<T> Dictionary<T> {
    fn clear(&mut self) {
        self.entries.clear();
        self.by_hash.clear();
    }

    fn find(&self, hash: u64, same: impl Fn(&T) -> bool) -> Option<u32> {
        self.by_hash
            .find(hash, |(known, index)| {
                *known == hash && self.entries.get(*index as usize).is_some_and(&same)
            })
            .map(|(_, index)| *index)
    }

    fn add(&mut self, hash: u64, entry: T) -> u32 {
        // A record ends near 1 MiB or with one delivery of at most 16 MiB: far below the range of the index.
        let index = u32::try_from(self.entries.len()).unwrap_or(u32::MAX);
        self.entries.push(entry);
        self.by_hash
            .insert_unique(hash, (hash, index), |(known, _)| *known);
        index
    }
}

/// The batches of a record's body.
pub(super) fn decode(body: &[u8]) -> Result<Vec<Batch>, Unreadable> {
    let stamped = match body.first() {
        Some(&BODY_VERSION) => true,
        Some(&FIRST_BODY_VERSION) => false,
        Some(&version) => return Err(Unreadable::Version(version)),
        None => return Err(Unreadable::Malformed),
    };
    let mut decoder = Decoder {
        bytes: Bytes(&body[1..]),
        stamped,
        strings: Vec::new(),
        series: Vec::new(),
        time: 0,
    };
    let mut batches = Vec::new();
    while !decoder.bytes.is_empty() {
        batches.push(decoder.batch().ok_or(Unreadable::Malformed)?);
    }
    Ok(batches)
}

struct Decoder<'a> {
    bytes: Bytes<'a>,
    /// Whether batches say by what clock they were stamped.
    stamped: bool,
    strings: Vec<SmolStr>,
    series: Vec<(SeriesKey, Option<Unit>)>,
    time: i64,
}

impl Decoder<'_> {
    fn batch(&mut self) -> Option<Batch> {
        let stamps = if self.stamped {
            self.stamps()?
        } else {
            Stamps::Set
        };
        let source = SourceName(self.string()?);
        // A reading takes at least three bytes.
        let count = self.bytes.count(self.bytes.len() / 3)?;
        let mut readings = Vec::with_capacity(count);
        for _ in 0..count {
            readings.push(self.reading()?);
        }
        Some(Batch {
            source,
            peer: None,
            readings,
            presence: Vec::new(),
            stamps,
        })
    }

    fn stamps(&mut self) -> Option<Stamps> {
        Some(match self.bytes.byte()? {
            0 => Stamps::Set,
            1 => Stamps::Jumped(self.bytes.signed()?),
            2 => Stamps::SinceBoot(self.boot()?),
            3 => Stamps::Restamped {
                from: self.bytes.varint()?,
                boot: self.boot()?,
                booted_at: Timestamp(self.bytes.signed()?),
            },
            _ => return None,
        })
    }

    fn boot(&mut self) -> Option<Boot> {
        Some(Boot(u128::from_le_bytes(self.bytes.array()?)))
    }

    fn reading(&mut self) -> Option<Reading> {
        let (series, unit) = self.known_series()?;
        let flags = self.bytes.byte()?;
        let time = self.time.wrapping_add(self.bytes.signed()?);
        self.time = time;
        let received = if flags & RECEIVED_IS_TIME == 0 {
            time.wrapping_add(self.bytes.signed()?)
        } else {
            time
        };
        let value = match flags & KIND {
            0 => Value::Bool(false),
            1 => Value::Bool(true),
            2 => Value::Int(self.bytes.signed()?),
            3 => {
                let float = f64::from_le_bytes(self.bytes.array()?);
                float.is_finite().then_some(Value::Float(float))?
            }
            4 => Value::Text(self.bytes.text()?.into()),
            _ => return None,
        };
        let quality = match (flags >> QUALITY_SHIFT) & 3 {
            0 => Quality::Good,
            1 => Quality::Uncertain,
            2 => Quality::Bad,
            _ => return None,
        };
        Some(Reading {
            series,
            value,
            unit,
            quality,
            time: Timestamp(time),
            received: Timestamp(received),
            retained: flags & RETAINED != 0,
        })
    }

    fn known_series(&mut self) -> Option<(SeriesKey, Option<Unit>)> {
        let index = self.bytes.count(self.series.len())?;
        if index == self.series.len() {
            let device = DeviceId(self.string()?);
            let metric = Metric(self.string()?);
            let unit = match self.bytes.byte()? {
                0 => None,
                1 => Some(Unit(self.string()?)),
                _ => return None,
            };
            self.series.push((SeriesKey { device, metric }, unit));
        }
        self.series.get(index).cloned()
    }

    fn string(&mut self) -> Option<SmolStr> {
        let index = self.bytes.count(self.strings.len())?;
        if index == self.strings.len() {
            self.strings.push(self.bytes.text()?.into());
        }
        self.strings.get(index).cloned()
    }
}

#[cfg(test)]
pub(super) mod tests;
