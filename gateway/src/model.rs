//! The nouns of the gateway: newtypes and plain structs that every stage shares.
//!
//! Nothing here does I/O, reads a clock or knows a format. The words are those of the design.

use std::fmt;

use serde::{Deserialize, Serialize};
use smol_str::SmolStr;

/// Nanoseconds since the Unix epoch (UTC). Negative before 1970; covers 1677 to 2262.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Timestamp(pub i64);

/// The id of a device: what a person would point at. Free text without `/`, at most 128 bytes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct DeviceId(pub SmolStr);

/// What is measured, such as `temperature`. Free text without `/`, at most 128 bytes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Metric(pub SmolStr);

/// The name of a configured source.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SourceName(pub SmolStr);

/// A UCUM code in its case-sensitive form, such as `Cel`, `%`, `V`, `hPa` (<https://ucum.org>).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Unit(pub SmolStr);

/// One metric of one device: the unit of storage, windows and charts. Written `device/metric`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SeriesKey {
    /// The device that measures.
    pub device: DeviceId,
    /// What it measures.
    pub metric: Metric,
}

/// What was measured. Floats are always finite: NaN and infinities are rejects.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Value {
    /// On or off.
    Bool(bool),
    /// A whole number; kept exact.
    Int(i64),
    /// A finite 64-bit float.
    Float(f64),
    /// A short text, at most 256 bytes.
    Text(SmolStr),
}

/// How far a reading can be trusted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Quality {
    /// Nothing is known against it.
    #[default]
    Good,
    /// The clock was not set, or the value lies outside the calibrated range.
    Uncertain,
    /// Kept, but never alerted on as a value.
    Bad,
}

/// One value of one series at one time.
#[derive(Clone, Debug, PartialEq)]
pub struct Reading {
    /// Which series it belongs to.
    pub series: SeriesKey,
    /// What was measured.
    pub value: Value,
    /// In which unit, if anybody said.
    pub unit: Option<Unit>,
    /// How far it can be trusted.
    pub quality: Quality,
    /// When it was measured: from the payload, else the time of arrival.
    pub time: Timestamp,
    /// When it reached the gateway.
    pub received: Timestamp,
    /// A broker's retained message: the last known value, not a new measurement. It is shown, but
    /// neither alerted on, nor aggregated, nor archived.
    pub retained: bool,
}

/// One run of the machine, from boot to power-off: the kernel's boot id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Boot(pub u128);

/// By what clock a batch was stamped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Stamps {
    /// One that was set.
    #[default]
    Set,
    /// One that was set, and has jumped by so many nanoseconds since the batch before this one.
    Jumped(i64),
    /// One that was not set: arrivals before 2026 are times since this boot. See [`Batch::is_provisional`].
    SinceBoot(Boot),
    /// The right times of what came in an earlier record, when the clock was not set.
    Restamped {
        /// The earlier record.
        from: u64,
        /// Since which boot its stamps counted.
        boot: Boot,
        /// When that was, as far as is known: what was added to each stamp.
        booted_at: Timestamp,
    },
}

/// A device (or its connection) appeared or vanished. Not durable: after a restart nobody is connected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Presence {
    /// Who, as the source knows it: an MQTT client id. Readings that came from it name it as their peer.
    pub peer: SmolStr,
    /// Connected, or gone: with a goodbye or without.
    pub online: bool,
    /// When that was noticed.
    pub at: Timestamp,
}

/// What one delivery of one source became: the unit that is journalled and applied as a whole.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Batch {
    /// Where it came from.
    pub source: SourceName,
    /// The client that sent it, where the source knows one. Not journalled.
    pub peer: Option<SmolStr>,
    /// Accepted readings, in the order of arrival.
    pub readings: Vec<Reading>,
    /// Connections that came or went. Not journalled.
    pub presence: Vec<Presence>,
    /// By what clock it was stamped.
    pub stamps: Stamps,
}

/// Whether somebody waits for a batch to be durable.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Urgency {
    /// A sender does nothing else until it is answered (HTTP): commit soon.
    #[default]
    Prompt,
    /// A sender wants an acknowledgement of each message, and goes on meanwhile as far as it may (QoS 1 and 2): it may gather as
    /// long as that holds nobody up.
    Steady {
        /// Messages in the batch, rejects included.
        messages: u32,
    },
    /// Nobody waits: it may gather.
    Patient,
}

/// Whether a batch is news beside that it came: an alert would begin or end with one of its readings, as far as can be told before any rule
/// has seen it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum News {
    /// No.
    #[default]
    None,
    /// Of a series that was in the news within the last minute.
    Again,
    /// Of one that was not.
    Fresh,
}

/// A secret that does not print itself.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(pub String);

impl Batch {
    /// Whether the time of a reading of this batch is only a time since boot, stamped before the clock was set: it is shown, and waits
    /// for its right time before it is archived or judged. What came with a time of its own is not; retained values never count.
    #[must_use]
    pub fn is_provisional(&self, reading: &Reading) -> bool {
        matches!(self.stamps, Stamps::SinceBoot(_))
            && reading.time == reading.received
            && !reading.retained
            && !reading.received.is_set()
    }

    /// How many of its readings archives store as they are: not those that wait for the clock, nor retained values.
    #[must_use]
    pub fn archivable(&self) -> u64 {
        let stored = |r: &&Reading| !r.retained && !self.is_provisional(r);
        self.readings.iter().filter(stored).count() as u64
    }
}

impl Timestamp {
    /// Whether a clock that shows this was set: no gateway can run before 2026, when this program was written. What is stamped
    /// while the clock is not set is a time since boot, as if that had been in 1970.
    #[must_use]
    pub const fn is_set(self) -> bool {
        self.0 >= 1_767_225_600_000_000_000
    }

    /// From whole milliseconds since the epoch; saturates at the ends of the range.
    #[must_use]
    pub const fn from_millis(millis: i64) -> Self {
        Self(millis.saturating_mul(1_000_000))
    }

    /// Whole milliseconds since the epoch, rounded towards the past.
    #[must_use]
    pub const fn as_millis(self) -> i64 {
        self.0.div_euclid(1_000_000)
    }

    /// RFC 3339 in UTC with `Z`, with as many digits of the second as are needed.
    #[must_use]
    pub fn to_rfc3339(self) -> String {
        jiff::Timestamp::from_nanosecond(i128::from(self.0))
            .map_or_else(|_| String::from("invalid"), |t| t.to_string())
    }
}

impl fmt::Display for SeriesKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.device.0, self.metric.0)
    }
}

impl SeriesKey {
    /// Reads `device/metric`; the last `/` divides. `None` without one, or if a side is empty.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (device, metric) = text.rsplit_once('/')?;
        (!device.is_empty() && !metric.is_empty()).then(|| Self {
            device: DeviceId(device.into()),
            metric: Metric(metric.into()),
        })
    }
}

impl Value {
    /// The number that charts, windows and thresholds see: booleans are 0 and 1, text is none.
    #[must_use]
    #[expect(
        clippy::cast_precision_loss,
        reason = "charts and windows are floats; the exact integer is kept beside"
    )]
    pub const fn as_f64(&self) -> Option<f64> {
        match self {
            Self::Bool(b) => Some(if *b { 1.0 } else { 0.0 }),
            Self::Int(i) => Some(*i as f64),
            Self::Float(f) => Some(*f),
            Self::Text(_) => None,
        }
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}
