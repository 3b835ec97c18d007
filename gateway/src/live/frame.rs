//! One SSE frame as it is written: `event:`, `id:`, and one `data:` line of JSON.
//!
//! The JSON of readings, series and devices is written straight into the frame, without a tree in between; for what is
//! said seldom there is [`Frame::json`].

use std::sync::Arc;

use bytes::Bytes;
use serde::Serialize;

use super::{
    event::{Column, Several},
    filter::Kind,
    place::{Epoch, Place},
};
use crate::{
    model::{DeviceId, Quality, SeriesKey, Value},
    store::{Device, Point, SeriesInfo},
};

/// An event id.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Id<'a>(pub(crate) &'a Epoch, pub(crate) Place);

impl std::fmt::Display for Id<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}-{}", self.0.as_str(), self.1)
    }
}

/// A frame that is being written.
#[derive(Debug)]
pub(crate) struct Frame {
    out: Vec<u8>,
}

impl Frame {
    /// With `event:`, `id:` if it has one, and the start of `data:`.
    pub(crate) fn begin(kind: Kind, id: Option<Id<'_>>, capacity: usize) -> Self {
        let mut frame = Self {
            out: Vec::with_capacity(capacity),
        };
        frame.text("event: ");
        frame.text(kind.name());
        if let Some(id) = id {
            frame.text("\nid: ");
            frame.text(&id.to_string());
        }
        frame.text("\ndata: ");
        frame
    }

    /// The second part of a frame that was left open by [`Frame::open`].
    pub(crate) fn rest(capacity: usize) -> Self {
        Self {
            out: Vec::with_capacity(capacity),
        }
    }

    pub(crate) fn text(&mut self, json: &str) {
        self.out.extend_from_slice(json.as_bytes());
    }

    pub(crate) fn unsigned(&mut self, number: u64) {
        self.text(itoa::Buffer::new().format(number));
    }

    pub(crate) fn signed(&mut self, number: i64) {
        self.text(itoa::Buffer::new().format(number));
    }

    fn optional(&mut self, number: Option<i64>) {
        match number {
            Some(number) => self.signed(number),
            None => self.text("null"),
        }
    }

    pub(crate) fn float(&mut self, number: f64) {
        if number.is_finite() {
            self.text(zmij::Buffer::new().format_finite(number));
        } else {
            self.text("null");
        }
    }

    /// A JSON string. Everything below U+0020 is escaped, so a frame never has more than its one `data:` line.
    pub(crate) fn string(&mut self, text: &str) {
        self.out.push(b'"');
        self.inside(text);
        self.out.push(b'"');
    }

    fn inside(&mut self, text: &str) {
        const HEX: &[u8; 16] = b"0123456789abcdef";
        let bytes = text.as_bytes();
        let mut clean = 0;
        for (at, byte) in bytes.iter().enumerate() {
            if *byte >= 0x20 && *byte != b'"' && *byte != b'\\' {
                continue;
            }
            self.out.extend_from_slice(&bytes[clean..at]);
            clean = at + 1;
            match byte {
                b'"' | b'\\' => self.out.extend_from_slice(&[b'\\', *byte]),
                _ => self.out.extend_from_slice(&[
                    b'\\',
                    b'u',
                    b'0',
                    b'0',
                    HEX[usize::from(byte >> 4)],
                    HEX[usize::from(byte & 15)],
                ]),
            }
        }
        self.out.extend_from_slice(&bytes[clean..]);
    }

    pub(crate) fn key(&mut self, series: &SeriesKey) {
        self.out.push(b'"');
        self.inside(&series.device.0);
        self.out.push(b'/');
        self.inside(&series.metric.0);
        self.out.push(b'"');
    }

    fn value(&mut self, value: &Value) {
        match value {
            Value::Bool(true) => self.text("true"),
            Value::Bool(false) => self.text("false"),
            Value::Int(number) => self.signed(*number),
            Value::Float(number) => self.float(*number),
            Value::Text(text) => self.string(text),
        }
    }

    /// Anything else that has a JSON form; for what is said seldom.
    pub(crate) fn json(&mut self, value: &impl Serialize) {
        let start = self.out.len();
        if let Err(error) = serde_json::to_writer(&mut self.out, value) {
            tracing::debug!(%error, "a live event has no JSON form");
            self.out.truncate(start);
            self.text("null");
        }
    }

    pub(crate) fn column(&mut self, series: &SeriesKey, points: &[Point]) {
        self.key(series);
        self.text(":{\"t\":[");
        for (n, point) in points.iter().enumerate() {
            if n > 0 {
                self.text(",");
            }
            self.signed(point.time.as_millis());
        }
        self.text("],\"v\":[");
        for (n, point) in points.iter().enumerate() {
            if n > 0 {
                self.text(",");
            }
            self.value(&point.value);
        }
        if points.iter().any(|point| point.quality != Quality::Good) {
            self.text("],\"q\":[");
            for (n, point) in points.iter().enumerate() {
                if n > 0 {
                    self.text(",");
                }
                self.text(quality(point.quality));
            }
        }
        self.text("]}");
    }

    /// A Series object.
    pub(crate) fn series(&mut self, info: &SeriesInfo) {
        self.text("{\"id\":");
        self.key(&info.key);
        self.text(",\"device\":");
        self.string(&info.key.device.0);
        self.text(",\"metric\":");
        self.string(&info.key.metric.0);
        self.text(",\"unit\":");
        match &info.unit {
            Some(unit) => self.string(&unit.0),
            None => self.text("null"),
        }
        match &info.latest {
            Some(point) => {
                self.text(",\"kind\":");
                self.text(match point.value {
                    Value::Bool(_) => "\"bool\"",
                    Value::Int(_) | Value::Float(_) => "\"number\"",
                    Value::Text(_) => "\"text\"",
                });
                self.text(",\"t\":");
                self.signed(point.time.as_millis());
                self.text(",\"v\":");
                self.value(&point.value);
                self.text(",\"quality\":");
                self.text(quality(point.quality));
            }
            None => self.text(",\"kind\":null,\"t\":null,\"v\":null,\"quality\":\"good\""),
        }
        self.text(",\"retained\":");
        self.text(if info.retained { "true" } else { "false" });
        self.text(",\"too_late\":");
        self.unsigned(info.too_late);
        self.text("}");
    }

    /// A Device object but for its closing brace.
    pub(crate) fn device_open(&mut self, device: &Device) {
        self.text("{\"id\":");
        self.string(&device.id.0);
        self.text(",\"name\":");
        self.string(&device.name);
        self.text(",\"site\":");
        self.maybe(device.site.as_deref());
        self.text(",\"labels\":{");
        for (n, (name, value)) in device.labels.iter().enumerate() {
            if n > 0 {
                self.text(",");
            }
            self.string(name);
            self.text(":");
            self.string(value);
        }
        self.text("},\"note\":");
        self.maybe(device.note.as_deref());
        self.text(",\"version\":");
        self.unsigned(device.version);
        self.text(",\"source\":");
        self.maybe(device.source.as_deref());
        self.text(",\"last_seen_ms\":");
        self.optional(device.last_seen_ms);
        self.text(",\"online\":");
        self.text(match device.online {
            Some(true) => "true",
            Some(false) => "false",
            None => "null",
        });
        self.text(",\"clock_ahead_ms\":");
        self.optional(device.clock_ahead_ms);
    }

    /// A Device object.
    pub(crate) fn device(&mut self, device: &Device) {
        self.device_open(device);
        self.text("}");
    }

    /// Series, each written by `write`, parted by commas and remembered.
    pub(crate) fn several<'a, T>(
        &mut self,
        device: Option<DeviceId>,
        series: impl Iterator<Item = (u32, &'a Arc<SeriesKey>, T)>,
        mut write: impl FnMut(&mut Self, &SeriesKey, T),
    ) -> Several {
        // A frame holds what one tick changed; it can't come near the 4 GiB at which a place would saturate.
        let place = |frame: &Self| u32::try_from(frame.out.len()).unwrap_or(u32::MAX);
        let mut several = Several {
            before: None,
            device,
            columns: Vec::with_capacity(series.size_hint().0),
            start: place(self),
            end: 0,
        };
        for (number, key, what) in series {
            if !several.columns.is_empty() {
                self.text(",");
            }
            let start = place(self);
            write(self, key, what);
            several.columns.push(Column {
                number,
                series: Arc::clone(key),
                start,
                end: place(self),
            });
        }
        several.end = place(self);
        several
    }

    /// A JSON string or `null`.
    pub(crate) fn maybe(&mut self, text: Option<&str>) {
        match text {
            Some(text) => self.string(text),
            None => self.text("null"),
        }
    }

    /// The first part of a frame; the second follows from [`Frame::rest`].
    pub(crate) fn open(self) -> Bytes {
        Bytes::from(self.out)
    }

    /// The frame, closed by its blank line.
    pub(crate) fn end(mut self) -> Bytes {
        self.text("\n\n");
        Bytes::from(self.out)
    }
}

const fn quality(quality: Quality) -> &'static str {
    match quality {
        Quality::Good => "\"good\"",
        Quality::Uncertain => "\"uncertain\"",
        Quality::Bad => "\"bad\"",
    }
}
