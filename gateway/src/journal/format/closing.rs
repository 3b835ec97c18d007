//! How a segment ends once it is closed: a summary of its records, and the footer. See the parent for the bytes.

use std::collections::BTreeMap;

use super::checked;
use crate::{
    journal::varint::{Bytes, put, put_text},
    model::{Batch, SourceName, Stamps},
};

/// Length of a closed segment's footer.
pub(in crate::journal) const FOOTER: usize = 44;
/// Length of the footer that older gateways wrote.
pub(in crate::journal) const OLD_FOOTER: usize = 36;

const FOOTER_MAGIC: [u8; 4] = [0xfe, b'S', b'U', b'M'];
pub(super) const OLD_FOOTER_MAGIC: [u8; 4] = [0xfe, b'E', b'N', b'D'];

/// What is in a closed segment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::journal) struct Footer {
    /// Records.
    pub(in crate::journal) records: u64,
    /// Readings in them.
    pub(in crate::journal) readings: u64,
    /// The last position.
    pub(in crate::journal) last: u64,
    /// Where the footer begins: guards against a footer that was left in the middle of something else.
    pub(in crate::journal) offset: u32,
    /// Where the records end and the summary begins; `offset` if there is none.
    pub(in crate::journal) end: u32,
    /// The checksum of the summary.
    pub(in crate::journal) summary: u32,
}

impl Footer {
    pub(in crate::journal) fn write(&self) -> [u8; FOOTER] {
        let mut out = [0; FOOTER];
        out[..4].copy_from_slice(&FOOTER_MAGIC);
        out[4..12].copy_from_slice(&self.records.to_le_bytes());
        out[12..20].copy_from_slice(&self.readings.to_le_bytes());
        out[20..28].copy_from_slice(&self.last.to_le_bytes());
        out[28..32].copy_from_slice(&self.offset.to_le_bytes());
        out[32..36].copy_from_slice(&self.end.to_le_bytes());
        out[36..40].copy_from_slice(&self.summary.to_le_bytes());
        let crc = crc32fast::hash(&out[..40]);
        out[40..].copy_from_slice(&crc.to_le_bytes());
        out
    }

    pub(in crate::journal) fn read(bytes: &[u8]) -> Option<Self> {
        let mut bytes = checked(bytes, FOOTER, FOOTER_MAGIC)?;
        let footer = Self {
            records: u64::from_le_bytes(bytes.array()?),
            readings: u64::from_le_bytes(bytes.array()?),
            last: u64::from_le_bytes(bytes.array()?),
            offset: u32::from_le_bytes(bytes.array()?),
            end: u32::from_le_bytes(bytes.array()?),
            summary: u32::from_le_bytes(bytes.array()?),
        };
        (footer.end <= footer.offset).then_some(footer)
    }

    /// As older gateways wrote it.
    pub(in crate::journal) fn read_old(bytes: &[u8]) -> Option<Self> {
        let mut bytes = checked(bytes, OLD_FOOTER, OLD_FOOTER_MAGIC)?;
        let footer = Self {
            records: u64::from_le_bytes(bytes.array()?),
            readings: u64::from_le_bytes(bytes.array()?),
            last: u64::from_le_bytes(bytes.array()?),
            offset: u32::from_le_bytes(bytes.array()?),
            ..Self::default()
        };
        Some(Self {
            end: footer.offset,
            ..footer
        })
    }
}

/// What the records of a segment hold, as far as a start must know it of all of them. Bounded by the names of sources.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::journal) struct Summary {
    /// Readings that archives store, by source: neither last-known values nor what waits for the clock.
    pub(in crate::journal) sources: BTreeMap<SourceName, u64>,
    /// Whether something in it was stamped by a clock that was not set, or gave such readings their right times.
    pub(in crate::journal) stamped: bool,
}

impl Summary {
    /// Adds what a record holds.
    pub(in crate::journal) fn add(&mut self, batches: &[Batch]) {
        // What has no readings is not written.
        for batch in batches.iter().filter(|batch| !batch.readings.is_empty()) {
            self.stamped |= !matches!(batch.stamps, Stamps::Set | Stamps::Jumped(_));
            let count = batch.archivable();
            match self.sources.get_mut(&batch.source) {
                Some(known) => *known += count,
                None => drop(self.sources.insert(batch.source.clone(), count)),
            }
        }
    }

    pub(in crate::journal) fn write(&self) -> Vec<u8> {
        let mut out = Vec::new();
        put(&mut out, self.sources.len() as u64);
        for (source, count) in &self.sources {
            put_text(&mut out, &source.0);
            put(&mut out, *count);
        }
        out.push(u8::from(self.stamped));
        out
    }

    /// How long it is at most, as bytes.
    pub(in crate::journal) fn length(&self) -> usize {
        let names: usize = self.sources.keys().map(|source| source.0.len()).sum();
        // A count and a length take ten bytes each at most.
        names + self.sources.len() * 20 + 11
    }

    /// What [`Summary::write`] wrote, if it is whole.
    pub(in crate::journal) fn read(bytes: &[u8], crc: u32) -> Option<Self> {
        if crc32fast::hash(bytes) != crc {
            return None;
        }
        let mut bytes = Bytes(bytes);
        let mut summary = Self::default();
        // A source takes at least two bytes.
        for _ in 0..bytes.count(bytes.len() / 2)? {
            let source = SourceName(bytes.text()?.into());
            summary.sources.insert(source, bytes.varint()?);
        }
        summary.stamped = match bytes.byte()? {
            0 => false,
            1 => true,
            _ => return None,
        };
        bytes.is_empty().then_some(summary)
    }
}
