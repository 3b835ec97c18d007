//! Readings as InfluxDB line protocol: one line per device and time, a field per metric, nanosecond times.
//!
//! Pure. Escaping follows the [reference](https://docs.influxdata.com/influxdb/v2/reference/syntax/line-protocol/):
//! commas and blanks in measurements; commas, blanks and equals signs in tags and field keys; quotes and backslashes in texts.
//! All numbers are written as floats: a sensor that says `21` and then `21.5` must not be two types of one field, which
//! InfluxDB would refuse. Units are not written; a metric has one unit, the configured canonical one. A quality other than good
//! is written beside the value as text field `<metric>_quality`. Lines remember where they came from, for the case that the
//! server refuses them; reading them again is the job of `parsed.rs`.

use std::{collections::BTreeMap, ops::Range};

use hashbrown::HashMap;
use smol_str::SmolStr;

use super::{Config, parsed};
use crate::{
    journal::Entry,
    model::{DeviceId, Quality, Reading, SourceName, Timestamp, Value},
    store::DeviceConfig,
};

/// Prefixes remembered; at the limit all are forgotten, which costs only their making anew.
const MAX_PREFIXES: usize = 20_000;

/// Turns journal entries into lines. Keeps escaped `measurement,device=…` prefixes, which are most of the work.
#[derive(Debug)]
pub struct Encoder {
    measurement: String,
    measurements: BTreeMap<String, String>,
    devices: HashMap<SmolStr, DeviceConfig, foldhash::fast::RandomState>,
    site: Option<String>,
    prefixes: HashMap<(SourceName, DeviceId), Box<[u8]>, foldhash::fast::RandomState>,
}

/// Lines ready to be sent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Lines {
    /// Each ends with a newline.
    pub text: Vec<u8>,
    lines: Vec<Line>,
}

/// One line of [`Lines`].
#[derive(Clone, Debug, PartialEq, Eq)]
struct Line {
    /// Where it begins in the text.
    start: usize,
    /// Readings in it.
    readings: u64,
    origin: Origin,
}

/// Where a line came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    /// The source of its readings.
    pub source: SourceName,
    /// Their device.
    pub device: DeviceId,
    /// The dead letter that it is, if it is tried once more.
    pub letter: Option<i64>,
}

impl Encoder {
    /// `devices` give the tags `site` and labels; `site` is that of devices which are not configured.
    #[must_use]
    pub fn new(config: &Config, devices: &[DeviceConfig], site: Option<String>) -> Self {
        Self {
            measurement: config.measurement.clone(),
            measurements: config.measurements.clone(),
            devices: devices.iter().map(|d| (d.id.clone(), d.clone())).collect(),
            site,
            prefixes: HashMap::default(),
        }
    }

    /// Adds an entry's readings to `lines`. Retained last-known values are no new points and are left out.
    pub fn encode(&mut self, entry: &Entry, lines: &mut Lines) {
        for batch in &entry.batches {
            let mut readings = batch.readings.iter().filter(|r| !r.retained).peekable();
            while let Some(first) = readings.next() {
                let origin = || Origin {
                    source: batch.source.clone(),
                    device: first.series.device.clone(),
                    letter: None,
                };
                lines.begin(origin());
                lines
                    .text
                    .extend_from_slice(self.prefix(&batch.source, &first.series.device));
                lines.text.push(b' ');
                lines.write(first);
                let mut last = first;
                // The fields of one message usually follow each other; the same metric twice is two points.
                while let Some(next) = readings
                    .next_if(|r| r.time == first.time && r.series.device == first.series.device)
                {
                    if next.series.metric == last.series.metric
                        || next.series.metric == first.series.metric
                    {
                        write_time(&mut lines.text, first.time);
                        lines.begin(origin());
                        lines
                            .text
                            .extend_from_slice(self.prefix(&batch.source, &next.series.device));
                        lines.text.push(b' ');
                    } else {
                        lines.text.push(b',');
                    }
                    lines.write(next);
                    last = next;
                }
                write_time(&mut lines.text, first.time);
            }
        }
    }

    fn prefix(&mut self, source: &SourceName, device: &DeviceId) -> &[u8] {
        if self.prefixes.len() >= MAX_PREFIXES {
            self.prefixes.clear();
        }
        self.prefixes
            .entry((source.clone(), device.clone()))
            .or_insert_with(|| {
                let measurement = self
                    .measurements
                    .get(source.0.as_str())
                    .unwrap_or(&self.measurement);
                let mut tags = BTreeMap::from([("device", device.0.as_str())]);
                let known = self.devices.get(&device.0);
                if let Some(site) = known
                    .and_then(|d| d.site.as_deref())
                    .or(self.site.as_deref())
                {
                    tags.insert("site", site);
                }
                for (label, value) in known.iter().flat_map(|d| &d.labels) {
                    tags.entry(label).or_insert(value);
                }
                let mut prefix = Vec::with_capacity(64);
                write_escaped(&mut prefix, measurement, b", ");
                for (tag, value) in tags
                    .into_iter()
                    .filter(|(tag, value)| !tag.is_empty() && !value.is_empty())
                {
                    prefix.push(b',');
                    write_escaped(&mut prefix, tag, b",= ");
                    prefix.push(b'=');
                    write_escaped(&mut prefix, value, b",= ");
                }
                prefix.into_boxed_slice()
            })
    }
}

impl Lines {
    /// How many lines.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.lines.len()
    }

    /// Whether there is nothing to send.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.lines.is_empty()
    }

    fn slice(&self, range: Range<usize>) -> &[u8] {
        let at = |line: usize| self.lines.get(line).map_or(self.text.len(), |l| l.start);
        &self.text[at(range.start)..at(range.end)]
    }

    /// The lines of these numbers, as a body to be sent.
    #[must_use]
    pub fn body(&self, numbers: &[usize]) -> Vec<u8> {
        let mut body = Vec::new();
        for &number in numbers {
            body.extend_from_slice(self.line(number));
        }
        body
    }

    /// The text of one line, its newline included.
    #[must_use]
    pub fn line(&self, number: usize) -> &[u8] {
        self.slice(number..number + 1)
    }

    /// How many readings are in a line.
    #[must_use]
    pub fn readings(&self, number: usize) -> u64 {
        self.lines.get(number).map_or(0, |line| line.readings)
    }

    /// Where a line came from.
    #[must_use]
    pub fn origin(&self, number: usize) -> Option<&Origin> {
        self.lines.get(number).map(|line| &line.origin)
    }

    /// Adds a line that was written before. Its readings were counted then.
    pub fn push(&mut self, line: &str, origin: Origin) {
        self.begin(origin);
        self.text.extend_from_slice(line.as_bytes());
        self.text.push(b'\n');
        let number = self.lines.len() - 1;
        let readings = parsed::fields(self.line(number)).len();
        self.lines[number].readings = readings as u64;
    }

    /// Adds one line for each reading of a line that has several, of the same point: together they say what it says. The
    /// numbers of the new lines; none if there is nothing to split.
    pub fn split(&mut self, number: usize) -> Range<usize> {
        let line = self.line(number).to_vec();
        let (first, fields) = (self.lines.len(), parsed::fields(&line));
        let (Some(origin), true) = (self.origin(number).cloned(), fields.len() > 1) else {
            return first..first;
        };
        let (head, tail) = parsed::ends(&line);
        for field in fields {
            self.begin(origin.clone());
            for part in [head, field.text, tail] {
                self.text.extend_from_slice(part);
            }
            if let Some(line) = self.lines.last_mut() {
                line.readings = 1;
            }
        }
        first..self.lines.len()
    }

    /// Forgets all lines, keeps the memory.
    pub fn clear(&mut self) {
        self.text.clear();
        self.lines.clear();
    }

    fn begin(&mut self, origin: Origin) {
        self.lines.push(Line {
            start: self.text.len(),
            readings: 0,
            origin,
        });
    }

    fn write(&mut self, reading: &Reading) {
        write_field(&mut self.text, reading);
        if let Some(line) = self.lines.last_mut() {
            line.readings += 1;
        }
    }
}

fn write_field(out: &mut Vec<u8>, reading: &Reading) {
    let metric = &reading.series.metric.0;
    write_escaped(out, metric, b",= ");
    out.push(b'=');
    write_value(out, &reading.value);
    let quality: &[u8] = match reading.quality {
        Quality::Good => return,
        Quality::Uncertain => b"uncertain",
        Quality::Bad => b"bad",
    };
    out.push(b',');
    write_escaped(out, metric, b",= ");
    out.extend_from_slice(b"_quality=\"");
    out.extend_from_slice(quality);
    out.push(b'"');
}

fn write_value(out: &mut Vec<u8>, value: &Value) {
    match value {
        Value::Bool(true) => out.extend_from_slice(b"true"),
        Value::Bool(false) => out.extend_from_slice(b"false"),
        Value::Int(i) => out.extend_from_slice(itoa::Buffer::new().format(*i).as_bytes()),
        Value::Float(f) => out.extend_from_slice(zmij::Buffer::new().format_finite(*f).as_bytes()),
        Value::Text(text) => {
            out.push(b'"');
            for byte in text.bytes() {
                if matches!(byte, b'"' | b'\\') {
                    out.push(b'\\');
                }
                out.push(byte);
            }
            out.push(b'"');
        }
    }
}

fn write_time(out: &mut Vec<u8>, time: Timestamp) {
    out.push(b' ');
    out.extend_from_slice(itoa::Buffer::new().format(time.0).as_bytes());
    out.push(b'\n');
}

/// A line break would end the line and can't be escaped everywhere: it becomes a blank. A backslash at the end would
/// escape what follows: a slash stands for it.
fn write_escaped(out: &mut Vec<u8>, text: &str, special: &[u8]) {
    for byte in text.bytes() {
        let byte = if matches!(byte, b'\n' | b'\r' | b'\t') {
            b' '
        } else {
            byte
        };
        if special.contains(&byte) {
            out.push(b'\\');
        }
        out.push(byte);
    }
    if text.ends_with('\\')
        && let Some(last) = out.last_mut()
    {
        *last = b'/';
    }
}

#[cfg(test)]
mod tests;
