//! One message in, fields out. Pure; one file a format; a bad record never loses its good neighbours.
//!
//! The result is always "records and faults", never "records or an error". [`Decoded`] is filled, read and
//! filled again: once its buffers have grown, decoding a message allocates nothing.
//!
//! | file | what it reads |
//! |---|---|
//! | [`json`], [`csv`], [`key_value`], [`line_protocol`], [`number`] | a format each |
//! | [`readings`] | the gateway's own JSON |
//! | [`time`] | times in payloads |
//! | [`mapping`] | what the person says about messages, with [`topic`], [`path`] and [`template`] for its small languages |
//!
//! It does not know devices, units or what a value means: that is [`crate::normalise`].

use std::ops::Range;

pub mod csv;
pub mod json;
pub mod key_value;
pub mod line_protocol;
pub mod mapping;
pub mod number;
pub mod path;
pub mod readings;
pub mod template;
pub mod time;
pub mod topic;

pub use mapping::{Format, Mapping};

use crate::{
    model::Timestamp,
    rejects::{Reason, Reject},
};

/// Values and faults of one message; what comes after is one more fault and is not looked at.
pub const MAX_ITEMS: usize = 200_000;
/// Bytes of a path; a value under a longer one is a fault.
pub const MAX_PATH_BYTES: usize = 256;
/// Faults of one message that are described in words; the others are only counted.
const MAX_DESCRIBED_FAULTS: usize = 100;
/// Room for text that is kept from one message to the next, in bytes; a rare huge message gives its own back.
const KEPT_TEXT: usize = 1024 * 1024;
/// Room for fields, records and faults that is kept, in items.
const KEPT_ITEMS: usize = 16 * 1024;

/// A piece of [`Decoded`]'s text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Span {
    start: u32,
    end: u32,
}

/// What a field holds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Scalar {
    /// On or off.
    Bool(bool),
    /// A whole number.
    Int(i64),
    /// Any other number; may be NaN or infinite, which the next stage refuses.
    Float(f64),
    /// Text; [`Decoded::text`] has it.
    Text(Span),
}

/// What a field is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// It may become a reading.
    Value,
    /// It only tells who measured what: a measurement or a tag.
    Label,
}

/// One value in a payload.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Field {
    /// Where it was, steps joined with dots.
    pub path: Span,
    /// What was there.
    pub value: Scalar,
    /// Its unit as the sender wrote it, if it is written beside it.
    pub unit: Option<Span>,
    /// What it is for.
    pub role: Role,
}

/// What a format itself says about the time of a record.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum RecordTime {
    /// Nothing; the mapping may name a field.
    #[default]
    Unsaid,
    /// This.
    At(Timestamp),
}

/// Fields that belong together: a line, an element of an array, a whole message.
#[derive(Clone, Debug, PartialEq)]
pub struct Record {
    /// Which one of the message, from 0; what faults are reported by.
    pub index: usize,
    /// The device, where the format names one.
    pub device: Option<Span>,
    /// The time, where the format has one.
    pub time: RecordTime,
    fields: Range<usize>,
}

/// The records and faults of one message.
#[derive(Debug, Default)]
pub struct Decoded {
    text: String,
    fields: Vec<Field>,
    records: Vec<Record>,
    faults: Vec<Reject>,
    open_text: usize,
    open_fields: usize,
    full: bool,
    /// A path under construction; kept for its buffer.
    path: String,
    /// Fields being rearranged; kept for its buffer.
    spare: Vec<Field>,
}

/// Reads one message. What was in `out` before is forgotten. `local_offset_minutes` is for times without an offset.
pub fn decode(
    format: &Format,
    payload: &[u8],
    local_offset_minutes: Option<i32>,
    out: &mut Decoded,
) {
    out.clear();
    match format {
        Format::Json => json::decode(payload, out),
        Format::Number => number::decode(payload, out),
        Format::Csv(csv) => csv::decode(csv, payload, out),
        Format::KeyValue(pairs) => key_value::decode(pairs, payload, out),
        Format::LineProtocol { precision } => line_protocol::decode(*precision, payload, out),
        Format::Readings => readings::decode(payload, local_offset_minutes, out),
    }
}

impl Decoded {
    /// The records, in the order of the payload.
    #[must_use]
    pub fn records(&self) -> &[Record] {
        &self.records
    }

    /// The fields of a record, in the order of the payload.
    #[must_use]
    pub fn fields(&self, record: &Record) -> &[Field] {
        self.fields.get(record.fields.clone()).unwrap_or_default()
    }

    /// What could not be read. Beyond the first 100 the detail is empty.
    #[must_use]
    pub fn faults(&self) -> &[Reject] {
        &self.faults
    }

    /// Takes the faults out.
    pub fn drain_faults(&mut self) -> std::vec::Drain<'_, Reject> {
        self.faults.drain(..)
    }

    /// The text of a span of this message.
    #[must_use]
    pub fn text(&self, span: Span) -> &str {
        self.text
            .get(span.start as usize..span.end as usize)
            .unwrap_or_default()
    }

    /// The first field with this path in a record.
    #[must_use]
    pub fn find(&self, record: &Record, path: &str) -> Option<&Field> {
        self.fields(record)
            .iter()
            .find(|field| self.text(field.path) == path)
    }

    fn clear(&mut self) {
        self.text.clear();
        self.fields.clear();
        self.spare.clear();
        self.records.clear();
        self.faults.clear();
        self.text.shrink_to(KEPT_TEXT);
        self.fields.shrink_to(KEPT_ITEMS);
        self.spare.shrink_to(KEPT_ITEMS);
        self.records.shrink_to(KEPT_ITEMS);
        self.faults.shrink_to(KEPT_ITEMS);
        self.path.clear();
        self.open_text = 0;
        self.open_fields = 0;
        self.full = false;
    }

    /// Keeps text. Messages are far below 4 GiB; text beyond that would be lost as empty, never mixed up.
    fn keep(&mut self, text: &str) -> Span {
        let start = self.text.len();
        self.text.push_str(text);
        match (u32::try_from(start), u32::try_from(self.text.len())) {
            (Ok(start), Ok(end)) => Span { start, end },
            _ => Span::default(),
        }
    }

    /// Whether the message has given as much as it may. Says so once.
    fn is_full(&mut self, record: usize) -> bool {
        if !self.full && self.fields.len() + self.faults.len() >= MAX_ITEMS {
            self.full = true;
            self.faults.push(Reject {
                reason: Reason::TooLarge,
                detail: format!(
                    "more than {MAX_ITEMS} values in one message: the rest was not looked at"
                ),
                record,
            });
        }
        self.full
    }

    /// Adds a field to the open record.
    fn field(&mut self, path: &str, value: Scalar) {
        let path = self.keep(path);
        self.push(path, value, Role::Value);
    }

    /// Adds a text field to the open record.
    fn text_field(&mut self, path: &str, value: &str, role: Role) {
        let path = self.keep(path);
        let value = self.keep(value);
        self.push(path, Scalar::Text(value), role);
    }

    const fn open_len(&self) -> usize {
        self.fields.len() - self.open_fields
    }

    fn push(&mut self, path: Span, value: Scalar, role: Role) {
        self.fields.push(Field {
            path,
            value,
            unit: None,
            role,
        });
    }

    /// Closes the open record; one without fields leaves no trace.
    fn close(&mut self, index: usize, time: RecordTime) {
        if self.open_len() > 0 {
            self.records.push(Record {
                index,
                device: None,
                time,
                fields: self.open_fields..self.fields.len(),
            });
        }
        self.open_fields = self.fields.len();
        self.open_text = self.text.len();
    }

    /// Forgets the open record.
    fn abandon(&mut self) {
        self.fields.truncate(self.open_fields);
        self.text.truncate(self.open_text);
    }

    /// Reports a fault; `detail` is only written out for the first ones.
    fn fault(&mut self, reason: Reason, record: usize, detail: impl FnOnce() -> String) {
        if self.is_full(record) {
            return;
        }
        let detail = if self.faults.len() < MAX_DESCRIBED_FAULTS {
            detail()
        } else {
            String::new()
        };
        self.faults.push(Reject {
            reason,
            detail,
            record,
        });
    }
}

/// At most the first 40 characters, quoted, for a fault's detail.
pub(crate) fn excerpt(text: &str) -> String {
    let mut short: String = text.chars().take(40).collect();
    if short.len() < text.len() {
        short.push('…');
    }
    format!("{short:?}")
}

#[cfg(test)]
mod tests;
