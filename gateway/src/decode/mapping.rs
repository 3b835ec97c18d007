//! What the person says about the messages of a source: which topics, which format, which fields, and how
//! device, metric and time are found. Written in the config, checked there, used by decode and normalise.

use smol_str::SmolStr;

use super::{path::PathPattern, template::Template, topic::TopicPattern};
use crate::model::{Metric, Unit};

/// How the payload is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Format {
    /// JSON of any shape: a scalar, an object, nested objects and arrays. Paths are joined with dots; array
    /// elements have their index. An array of objects at the top is one record an element.
    Json,
    /// One bare number (or `true`/`false`/`on`/`off`), surrounding blanks allowed. The field is named `value`.
    Number,
    /// Comma-separated (RFC 4180), one record a line.
    Csv(Csv),
    /// `key=value` pairs.
    KeyValue(KeyValue),
    /// InfluxDB line protocol: the measurement and tags are paths `measurement` and `tag.NAME`, fields by name.
    LineProtocol {
        /// What an integer time stands for; [`TimeFormat::EpochNanos`] if the sender says nothing.
        precision: TimeFormat,
    },
    /// The gateway's own JSON for `POST /api/v1/readings`: one object or an array of
    /// `{"device","metric","value","time"?,"unit"?}`, or `{"device","time"?,"values":{metric:value}}`.
    Readings,
}

/// Columns of a CSV line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Csv {
    /// The field names in order; an empty name skips its column. Empty: the first line of each payload names them
    /// (for a serial line: every line, so name them there).
    pub columns: Vec<SmolStr>,
    /// Default `,`.
    pub delimiter: u8,
}

/// How `key=value` pairs are parted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyValue {
    /// Between pairs, besides blanks. Default `,` and `;`.
    pub separators: Vec<u8>,
    /// Between key and value. Default `=`; `:` is common too.
    pub assign: u8,
}

/// How a time is written in a payload.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TimeFormat {
    /// RFC 3339 when it is text; an epoch number told by its size: s below 1e11, ms below 1e14, µs below 1e17, else ns.
    #[default]
    Auto,
    /// Whole or decimal seconds since the epoch.
    EpochSeconds,
    /// Milliseconds since the epoch.
    EpochMillis,
    /// Microseconds since the epoch.
    EpochMicros,
    /// Nanoseconds since the epoch.
    EpochNanos,
    /// RFC 3339 with an offset or `Z`. Text without an offset is refused unless [`Mapping::local_offset_minutes`] is set
    /// (`Auto` lets the arrival count instead).
    Rfc3339,
}

/// One field that becomes a reading.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FieldRule {
    /// The path in the payload, with `*` for one step: `ENERGY.Power`, `*.Temperature`.
    pub path: SmolStr,
    /// The metric; may hold templates: `{1}` is what the first `*` stood for. `None`: as [`Mapping::metric`] says.
    pub metric: Option<Metric>,
    /// Its unit, a UCUM code. `None`: as the payload or the metric's settings say.
    pub unit: Option<Unit>,
    /// Where in the same record its unit is written, if it is: `TempUnit`.
    pub unit_path: Option<SmolStr>,
}

/// How the messages of one source (or one subscription) become readings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mapping {
    /// Which topics: an MQTT filter whose levels may be named: `tele/{device}/SENSOR`, `plant/{site}/{device}/{rest...}`.
    /// A named level matches like `+`, a last `{name...}` like `#`; elsewhere it stands for one or more levels. Plain `+`
    /// and `#` work too. Empty: every message.
    pub topic: SmolStr,
    /// How the payload is written.
    pub format: Format,
    /// The device: text with templates `{name}` (from the topic), `{topic}`, `{source}`, `{field:PATH}` (from the payload);
    /// `{field:tag.host|source}` is the first of them that is there.
    /// Slashes in the result become `.`. Default `{device}` where the topic names one, else `{source}`.
    pub device: SmolStr,
    /// The metric of fields whose rule names none: templates as above and `{path}`. Default `{path}`, dots kept.
    pub metric: SmolStr,
    /// Fields that become readings; the first rule that matches wins.
    pub fields: Vec<FieldRule>,
    /// Whether numbers and booleans without a rule become readings too. Default: exactly when `fields` is empty.
    pub flatten: bool,
    /// Whether texts without a rule become readings too. Default false.
    pub text: bool,
    /// Paths that never become readings; `*` for one step, a last `**` for all below.
    pub ignore: Vec<SmolStr>,
    /// Where the time is. `None`: the time of arrival.
    pub time_path: Option<SmolStr>,
    /// How it is written.
    pub time_format: TimeFormat,
    /// For times without an offset: minutes east of UTC. `None`: such times are not used and the arrival counts
    /// (with [`TimeFormat::Rfc3339`]: are refused).
    pub local_offset_minutes: Option<i32>,
    /// Messages to accept and leave: they match, and give nothing (availability, commands).
    pub skip: bool,
    /// Whether a broker's retained message counts as a new reading. Default false: it is a last known value.
    pub retained_is_new: bool,
}

impl Mapping {
    /// What is wrong with it: the name of the key, and a sentence for the person who wrote it. Units are not looked at.
    #[must_use]
    pub fn check(&self) -> Vec<(&'static str, String)> {
        let mut wrong = Vec::new();
        let names: Vec<SmolStr> = match TopicPattern::parse(&self.topic) {
            Ok(pattern) => pattern.names().cloned().collect(),
            Err(error) => {
                wrong.push(("topic", error.to_string()));
                Vec::new()
            }
        };
        let names: Vec<&SmolStr> = names.iter().collect();
        let template = |text: &str, path: bool, stars: usize| {
            Template::parse(text)
                .and_then(|template| template.check(&names, path, stars))
                .err()
                .map(|error| error.to_string())
        };
        wrong.extend(template(&self.device, false, 0).map(|e| ("device", e)));
        wrong.extend(template(&self.metric, true, 0).map(|e| ("metric", e)));
        for rule in &self.fields {
            match PathPattern::parse(&rule.path) {
                Ok(path) => wrong.extend(
                    rule.metric
                        .as_ref()
                        .and_then(|metric| template(&metric.0, true, path.stars()))
                        .map(|e| ("fields", format!("{}: {e}", rule.path))),
                ),
                Err(error) => wrong.push(("fields", error.to_string())),
            }
        }
        for path in &self.ignore {
            if let Err(error) = PathPattern::parse(path) {
                wrong.push(("ignore", error.to_string()));
            }
        }
        if self.local_offset_minutes.is_some_and(|m| m.abs() > 26 * 60) {
            wrong.push(("local_offset_minutes", "must be within a day".into()));
        }
        wrong.extend(self.check_format());
        wrong
    }

    fn check_format(&self) -> Option<(&'static str, String)> {
        match &self.format {
            Format::Csv(csv) if matches!(csv.delimiter, b'"' | b'\n' | b'\r') => {
                Some(("delimiter", "can't be a quote or a line end".into()))
            }
            Format::KeyValue(pairs)
                if pairs.assign.is_ascii_whitespace()
                    || pairs.separators.contains(&pairs.assign) =>
            {
                Some((
                    "assign",
                    "must differ from blanks and from the separators".into(),
                ))
            }
            Format::LineProtocol {
                precision: TimeFormat::Rfc3339,
            } => Some(("precision", "must be one of s, ms, us, ns".into())),
            _ => None,
        }
    }
}

impl Default for Mapping {
    fn default() -> Self {
        Self {
            topic: SmolStr::default(),
            format: Format::Json,
            device: SmolStr::default(),
            metric: SmolStr::new_static("{path}"),
            fields: Vec::new(),
            flatten: true,
            text: false,
            ignore: Vec::new(),
            time_path: None,
            time_format: TimeFormat::Auto,
            local_offset_minutes: None,
            skip: false,
            retained_is_new: false,
        }
    }
}

impl Default for Csv {
    fn default() -> Self {
        Self {
            columns: Vec::new(),
            delimiter: b',',
        }
    }
}

impl Default for KeyValue {
    fn default() -> Self {
        Self {
            separators: vec![b',', b';'],
            assign: b'=',
        }
    }
}
