//! Comma-separated values (RFC 4180), one record a line.
//!
//! Cells are understood as [`super::number`] says: numbers, on and off, else text. Empty cells say nothing. A line with
//! another number of cells than there are columns is refused, its neighbours are not. A line that repeats the
//! names of the columns is a heading, which devices print when they start, and is passed over.

use super::{Decoded, RecordTime, excerpt, mapping::Csv, number};
use crate::rejects::Reason;

pub(super) fn decode(config: &Csv, payload: &[u8], out: &mut Decoded) {
    if payload.contains(&b'"') {
        quoted(config, payload, out);
    } else {
        plain(config, payload, out);
    }
}

/// Without quotes a line is only split; that needs no reader, whose tables would cost more than the line.
fn plain(config: &Csv, payload: &[u8], out: &mut Decoded) {
    let mut columns = Columns::new(config);
    let lines = payload
        .split(|&b| b == b'\n' || b == b'\r')
        .filter(|line| !line.is_empty());
    for (index, line) in lines.enumerate() {
        if out.is_full(index) {
            return;
        }
        columns.record(index, || line.split(|&b| b == config.delimiter), out);
    }
}

fn quoted(config: &Csv, payload: &[u8], out: &mut Decoded) {
    let mut reader = csv::ReaderBuilder::new()
        .has_headers(false)
        .flexible(true)
        .delimiter(config.delimiter)
        .buffer_capacity(payload.len().clamp(16, 8192))
        .from_reader(payload);
    let mut columns = Columns::new(config);
    let mut record = csv::ByteRecord::new();
    for index in 0.. {
        if out.is_full(index) {
            return;
        }
        match reader.read_byte_record(&mut record) {
            Ok(true) => columns.record(index, || record.iter(), out),
            Ok(false) => return,
            Err(error) => {
                out.fault(Reason::Malformed, index, || format!("not CSV: {error}"));
                return;
            }
        }
    }
}

/// The names of the columns: from the config, or from the first line.
struct Columns<'a> {
    named: &'a [smol_str::SmolStr],
    heading: Option<Vec<String>>,
}

impl<'a> Columns<'a> {
    fn new(config: &'a Csv) -> Self {
        Self {
            named: &config.columns,
            heading: None,
        }
    }

    fn record<'c, I: Iterator<Item = &'c [u8]>>(
        &mut self,
        index: usize,
        cells: impl Fn() -> I,
        out: &mut Decoded,
    ) {
        if cells().any(|cell| std::str::from_utf8(cell).is_err()) {
            out.fault(Reason::NotUtf8, index, || "not text".into());
            return;
        }
        let text = || cells().map(|cell| std::str::from_utf8(cell).unwrap_or_default().trim());
        match &self.heading {
            Some(names) => fill(names.iter().map(String::as_str), text, index, out),
            None if self.named.is_empty() => {
                self.heading = Some(text().map(String::from).collect());
            }
            None => fill(
                self.named.iter().map(|name| name.as_str()),
                text,
                index,
                out,
            ),
        }
    }
}

fn fill<'n, 'c, I: Iterator<Item = &'c str>>(
    names: impl Iterator<Item = &'n str> + Clone,
    cells: impl Fn() -> I,
    index: usize,
    out: &mut Decoded,
) {
    let (expected, found) = (names.clone().count(), cells().count());
    if expected != found {
        out.fault(Reason::Malformed, index, || {
            format!(
                "{found} cells where {expected} columns are named: {}",
                excerpt(&cells().collect::<Vec<_>>().join(","))
            )
        });
        return;
    }
    if names.clone().eq(cells()) {
        return;
    }
    for (name, cell) in names.zip(cells()) {
        if !name.is_empty() && !cell.is_empty() {
            number::cell(name, cell, out);
        }
    }
    out.close(index, RecordTime::Unsaid);
}
