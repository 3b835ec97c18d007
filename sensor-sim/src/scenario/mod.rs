//! A scenario: which devices there are, what they measure, how they send it and what goes wrong with them.
//!
//! Built by hand, by [`Scenario::demo`], or read from TOML by [`Scenario::parse`], which is strict: an unknown
//! key or a value out of range is refused with its line and column. All times in it are relative to the start of
//! the run; nothing here reads a clock or a file.

mod demo;
mod file;
#[cfg(test)]
mod tests;

use std::{path::PathBuf, time::Duration};

pub use file::parse_span;
pub use file::{Mistake, ScenarioError};
use serde::Deserialize;

/// What is simulated. The same scenario with the same start gives the same bytes.
#[derive(Clone, Debug, PartialEq)]
pub struct Scenario {
    /// Where all chance comes from. Default 1.
    pub seed: u64,
    /// How long the run lasts. `None`: until it is stopped.
    pub duration: Option<Duration>,
    /// At most [`Scenario::MAX_DEVICES`], with distinct ids.
    pub devices: Vec<Device>,
}

/// One virtual device: what a person would point at.
#[derive(Clone, Debug, PartialEq)]
pub struct Device {
    /// Its id, as it is named in topics, payloads and the ledger: 1 to 128 bytes, no `/` and no control characters.
    pub id: String,
    /// How its bytes travel.
    pub transport: Transport,
    /// How a reading is written.
    pub format: Format,
    /// Between two readings: 100 µs to 365 days.
    pub interval: Duration,
    /// Whether, and how, the payload says when it was measured.
    pub time: TimeForm,
    /// The name of the time in the payload. Default `time`. Line protocol has its own place for it.
    pub time_key: String,
    /// Adds the metric `seq`, which counts the ticks of the device from 1: it makes every reading certain to tell
    /// from its neighbours. Default false.
    pub sequence: bool,
    /// CSV only: each payload begins with a line that names the columns. Default false.
    pub header: bool,
    /// Line protocol only: the measurement. Default `sensor`.
    pub measurement: String,
    /// What it measures, in the order in which it is written. At least one.
    pub signals: Vec<Signal>,
    /// What goes wrong with it.
    pub faults: Vec<Fault>,
}

/// How the bytes of a device travel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Transport {
    /// A pseudo-terminal, one line a reading.
    Serial(Serial),
    /// A connection of its own to a broker.
    Mqtt(Mqtt),
    /// One POST a reading.
    Http(Http),
}

/// A pseudo-terminal that takes the place of a serial port.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Serial {
    /// A symbolic link that is kept pointing at the terminal, so that the port has a lasting name. Its folder is
    /// made if it is missing. `None`: the path is only logged.
    pub link: Option<PathBuf>,
}

/// A broker and where to publish on it.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mqtt {
    /// Name or address of the broker. Default `127.0.0.1`.
    #[serde(default = "file::default_host")]
    pub host: String,
    /// Default 1883.
    #[serde(default = "file::default_port")]
    pub port: u16,
    /// Where to publish. `{device}` stands for the id; `{metric}` for the metric and makes sense for
    /// [`Format::Number`] only, which needs it when there is more than one metric. Default `sensors/{device}`.
    #[serde(default = "file::default_topic")]
    pub topic: String,
    /// 0, 1 or 2. Default 1.
    #[serde(default)]
    pub qos: Qos,
    /// Whether the broker keeps the last message. Default false.
    #[serde(default)]
    pub retain: bool,
    /// Default: none.
    pub username: Option<String>,
    /// Default: none. A test secret; do not use a real one.
    pub password: Option<String>,
    /// Default [`Version::V3`].
    #[serde(default)]
    pub version: Version,
}

/// Where to post.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Http {
    /// The whole address, with `?precision=` if the format needs one.
    pub url: String,
}

/// MQTT quality of service.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(try_from = "u8")]
pub enum Qos {
    /// At most once; never acknowledged.
    AtMostOnce,
    /// At least once; acknowledged by PUBACK.
    #[default]
    AtLeastOnce,
    /// Exactly once; acknowledged by PUBCOMP.
    ExactlyOnce,
}

/// MQTT protocol version.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
pub enum Version {
    /// 3.1.1.
    #[default]
    #[serde(rename = "3.1.1")]
    V3,
    /// 5.
    #[serde(rename = "5")]
    V5,
}

/// How a reading is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Format {
    /// `{"time":…,"temperature":21.5}`. Over HTTP in the form of `POST /api/v1/readings`:
    /// `{"device":…,"time":…,"values":{"temperature":21.5}}`.
    Json,
    /// `21.5`: one message a metric. Carries no time.
    Number,
    /// `21.5,47`: the time first if there is one, then the metrics in order, `seq` last. RFC 4180.
    Csv,
    /// `temperature=21.5,humidity=47`: the time first if there is one, `seq` last.
    KeyValue,
    /// `sensor,device=bench temperature=21.5,humidity=47 1700000000000000000` (InfluxDB).
    LineProtocol,
}

/// How a time is written in a payload.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TimeForm {
    /// Not at all: the time of arrival counts.
    #[default]
    None,
    /// `2026-05-01T12:00:00.25Z`, with as many digits as are needed.
    Rfc3339,
    /// Seconds since the epoch, with three decimals.
    EpochS,
    /// Whole milliseconds.
    EpochMs,
    /// Whole microseconds.
    EpochUs,
    /// Whole nanoseconds.
    EpochNs,
}

/// What one metric of a device does over time.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Signal {
    /// What is measured.
    pub metric: String,
    /// In which unit (UCUM). For people and for who writes the matching config; it is not sent.
    pub unit: Option<String>,
    /// Its course. Default constant.
    #[serde(default)]
    pub shape: Shape,
    /// The middle of the course, or where a saw and a counter begin. Default 0.
    #[serde(default, deserialize_with = "file::finite")]
    pub offset: f64,
    /// How far it goes from the middle; for a saw its height, for a counter its step, for a walk its bound. Default 1.
    #[serde(default = "file::one", deserialize_with = "file::finite")]
    pub amplitude: f64,
    /// How long one round takes: 1 ms to 365 days. Default 60 s; a daily curve always takes a day.
    #[serde(
        default = "file::default_period",
        deserialize_with = "file::round_time"
    )]
    pub period: Duration,
    /// Standard deviation of Gaussian noise on top. Default 0.
    #[serde(default, deserialize_with = "file::not_negative")]
    pub noise: f64,
    /// A steady creep, per hour. Default 0.
    #[serde(default, deserialize_with = "file::finite")]
    pub drift_per_hour: f64,
    /// Never less. Default: no bound.
    #[serde(default, deserialize_with = "file::maybe_finite")]
    pub min: Option<f64>,
    /// Never more. Default: no bound.
    #[serde(default, deserialize_with = "file::maybe_finite")]
    pub max: Option<f64>,
    /// How many decimals are sent, at most 9. Default 2.
    #[serde(
        default = "file::default_decimals",
        deserialize_with = "file::decimals"
    )]
    pub decimals: u8,
    /// What kind of value is sent. Default a number.
    #[serde(default)]
    pub kind: Kind,
    /// For [`Kind::Text`]: the value, rounded down and held within bounds, picks one of these.
    #[serde(default)]
    pub texts: Vec<String>,
}

/// The course of a signal.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Shape {
    /// Stays at the offset.
    #[default]
    Constant,
    /// `offset + amplitude · sin(2π t / period)`.
    Sine,
    /// Wanders by steps with a standard deviation of a twentieth of the amplitude, and turns back at `offset ± amplitude`.
    RandomWalk,
    /// Climbs from the offset by the amplitude once a period, then falls back.
    Saw,
    /// `offset + amplitude` in the first half of a period, `offset − amplitude` in the second.
    Square,
    /// A sine over 24 hours of UTC with its lowest point at 03:00 and its highest at 15:00.
    DailyCurve,
    /// `offset + amplitude · n` for the n-th reading from 0.
    Counter,
}

/// What kind of value a signal sends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// A decimal number.
    #[default]
    Number,
    /// A whole number (`7i` in line protocol).
    Integer,
    /// True from 0.5 up.
    Boolean,
    /// One of [`Signal::texts`].
    Text,
}

/// One trouble of a device: what, when, how long.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fault {
    /// What goes wrong.
    pub kind: FaultKind,
    /// Only on this metric, for spike, stuck, drift and not-a-number. Default: all numbers of the device.
    pub metric: Option<String>,
    /// The chance at each reading that it begins, 0 to 1. Either this or `every`.
    #[serde(default, deserialize_with = "file::maybe_chance")]
    pub probability: Option<f64>,
    /// It begins this long after its last beginning; the first time after `after`, or after one `every`.
    #[serde(default, deserialize_with = "file::maybe_span")]
    pub every: Option<Duration>,
    /// It does not begin earlier than this after the start. Default 0.
    #[serde(default, deserialize_with = "file::maybe_span")]
    pub after: Option<Duration>,
    /// How long it lasts. Default: one reading.
    #[serde(default, rename = "for", deserialize_with = "file::maybe_span")]
    pub lasts: Option<Duration>,
    /// How often it happens at most. Default: no limit.
    pub times: Option<u32>,
    /// Spike: what is added. Drift: what is added at its end, growing evenly. Default 10.
    #[serde(default = "file::ten", deserialize_with = "file::finite")]
    pub magnitude: f64,
    /// Clock jump: how far the device's clock is off, such as `-2h`. Default one hour ahead.
    #[serde(default = "file::one_hour", deserialize_with = "file::signed_span")]
    pub jump: i64,
    /// Reordering: how many messages overtake the one that is held back, 1 to 100. Default 1.
    #[serde(default = "file::one_message", deserialize_with = "file::depth")]
    pub depth: u32,
}

/// What goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FaultKind {
    /// Nothing is sent.
    DropOut,
    /// A step up by the magnitude, and back.
    Spike,
    /// The value of the first moment is sent again and again.
    Stuck,
    /// The value creeps away by the magnitude, and jumps back.
    Drift,
    /// NaN where a number should be.
    NotANumber,
    /// Instead of the reading bytes that are no text in any of the formats.
    Garbage,
    /// The message is sent twice.
    Duplicate,
    /// The message is held back until others have overtaken it.
    Reorder,
    /// The device's clock is wrong. Only where the payload carries a time.
    ClockJump,
    /// Serial: unplugged. MQTT: the TCP connection breaks without a word. HTTP: nothing is posted meanwhile.
    Disconnect,
}

impl Scenario {
    /// More devices than this are refused.
    pub const MAX_DEVICES: usize = 10_000;
    /// More signals of one device than this are refused, and more faults.
    pub const MAX_SIGNALS: usize = 256;
    /// The metric that [`Device::sequence`] adds.
    pub const SEQUENCE_METRIC: &'static str = "seq";
}

impl Device {
    /// A device with the defaults of the file format and no signals yet.
    #[must_use]
    pub fn new(id: &str, transport: Transport, format: Format, interval: Duration) -> Self {
        Self {
            id: id.to_owned(),
            transport,
            format,
            interval,
            time: TimeForm::None,
            time_key: String::from("time"),
            sequence: false,
            header: false,
            measurement: String::from("sensor"),
            signals: Vec::new(),
            faults: Vec::new(),
        }
    }
}

impl Signal {
    /// A signal with the defaults of the file format.
    #[must_use]
    pub fn new(metric: &str, unit: Option<&str>, shape: Shape) -> Self {
        Self {
            metric: metric.to_owned(),
            unit: unit.map(str::to_owned),
            shape,
            offset: 0.0,
            amplitude: 1.0,
            period: file::default_period(),
            noise: 0.0,
            drift_per_hour: 0.0,
            min: None,
            max: None,
            decimals: file::default_decimals(),
            kind: Kind::Number,
            texts: Vec::new(),
        }
    }
}

impl Fault {
    /// A fault with the defaults of the file format, that never begins until `probability` or `every` is set.
    #[must_use]
    pub fn new(kind: FaultKind) -> Self {
        Self {
            kind,
            metric: None,
            probability: None,
            every: None,
            after: None,
            lasts: None,
            times: None,
            magnitude: file::ten(),
            jump: file::one_hour(),
            depth: 1,
        }
    }
}

impl TimeForm {
    /// What a time becomes when it is written in this form and read again: nanoseconds cut to its resolution.
    #[must_use]
    pub const fn cut(self, time_ns: i64) -> i64 {
        let step = match self {
            Self::None | Self::Rfc3339 | Self::EpochNs => 1,
            Self::EpochUs => 1_000,
            Self::EpochMs | Self::EpochS => 1_000_000,
        };
        time_ns - time_ns.rem_euclid(step)
    }
}

impl TryFrom<u8> for Qos {
    type Error = String;

    fn try_from(level: u8) -> Result<Self, String> {
        match level {
            0 => Ok(Self::AtMostOnce),
            1 => Ok(Self::AtLeastOnce),
            2 => Ok(Self::ExactlyOnce),
            _ => Err(format!("qos is 0, 1 or 2, not {level}")),
        }
    }
}
