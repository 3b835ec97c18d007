//! Reading a scenario from TOML: defaults, bounds and what must fit together. Mistakes in syntax end the reading
//! at the first; mistakes in meaning are reported all at once.

use std::{collections::HashSet, fmt, ops::Range, time::Duration};

use serde::{
    Deserialize, Deserializer,
    de::{Error as _, Visitor},
};
use toml::Spanned;

use super::{
    Device, Fault, FaultKind, Format, Http, Kind, Mqtt, Scenario, Serial, Signal, TimeForm,
    Transport,
};

const LONGEST: Duration = Duration::from_secs(365 * 86_400);
const SHORTEST_INTERVAL: Duration = Duration::from_micros(100);
const MAX_NAME: usize = 128;
const MAX_DECIMALS: u8 = 9;
const MAX_DEPTH: u32 = 100;

/// A scenario that can't be used, with every reason that was found.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct ScenarioError {
    /// At least one.
    pub mistakes: Vec<Mistake>,
}

/// One thing wrong in a scenario file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mistake {
    /// From 1.
    pub line: usize,
    /// From 1, in characters.
    pub column: usize,
    /// What is wrong and what would be right.
    pub message: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default = "one_seed")]
    seed: u64,
    #[serde(default, deserialize_with = "maybe_span")]
    duration: Option<Duration>,
    #[serde(default)]
    device: Vec<Spanned<DeviceTable>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct DeviceTable {
    id: Spanned<String>,
    serial: Option<Serial>,
    mqtt: Option<Spanned<Mqtt>>,
    http: Option<Spanned<Http>>,
    format: Spanned<Format>,
    #[serde(default, deserialize_with = "maybe_interval")]
    interval: Option<Duration>,
    #[serde(default)]
    rate: Option<Spanned<f64>>,
    #[serde(default)]
    time: TimeForm,
    #[serde(default = "default_time_key")]
    time_key: String,
    #[serde(default)]
    sequence: bool,
    #[serde(default)]
    header: bool,
    #[serde(default = "default_measurement")]
    measurement: String,
    #[serde(default)]
    signal: Vec<Spanned<Signal>>,
    #[serde(default)]
    fault: Vec<Spanned<Fault>>,
}

/// Gathers mistakes and knows where they are.
struct Checker<'a> {
    text: &'a str,
    mistakes: Vec<Mistake>,
}

impl Scenario {
    /// Reads a scenario from TOML.
    ///
    /// # Errors
    ///
    /// What is wrong with it and where. Unknown keys are mistakes.
    pub fn parse(text: &str) -> Result<Self, ScenarioError> {
        let mut checker = Checker {
            text,
            mistakes: Vec::new(),
        };
        let file: File = match toml::from_str(text) {
            Ok(file) => file,
            Err(error) => {
                checker.add(&error.span().unwrap_or(0..0), error.message().to_owned());
                return Err(ScenarioError {
                    mistakes: checker.mistakes,
                });
            }
        };
        if file.device.is_empty() {
            checker.add(
                &(0..0),
                String::from("a scenario needs at least one [[device]]"),
            );
        }
        if let Some(first_over) = file.device.get(Self::MAX_DEVICES) {
            let most = Self::MAX_DEVICES;
            checker.add(&first_over.span(), format!("more than {most} devices"));
        }
        let mut ids = HashSet::new();
        let mut devices = Vec::with_capacity(file.device.len().min(Self::MAX_DEVICES));
        for table in file.device.into_iter().take(Self::MAX_DEVICES) {
            let span = table.span();
            if let Some(device) = checker.device(table.into_inner(), &span, &mut ids) {
                devices.push(device);
            }
        }
        if checker.mistakes.is_empty() {
            Ok(Self {
                seed: file.seed,
                duration: file.duration,
                devices,
            })
        } else {
            Err(ScenarioError {
                mistakes: checker.mistakes,
            })
        }
    }
}

impl Checker<'_> {
    fn add(&mut self, span: &Range<usize>, message: String) {
        let before = self.text.get(..span.start).unwrap_or_default();
        let line_start = before.rfind('\n').map_or(0, |at| at + 1);
        self.mistakes.push(Mistake {
            line: before.matches('\n').count() + 1,
            column: before[line_start..].chars().count() + 1,
            message,
        });
    }

    fn device(
        &mut self,
        table: DeviceTable,
        span: &Range<usize>,
        ids: &mut HashSet<String>,
    ) -> Option<Device> {
        let found_before = self.mistakes.len();
        let id_span = table.id.span();
        let id = table.id.into_inner();
        self.name(&id, "id", &id_span);
        if !ids.insert(id.clone()) {
            self.add(&id_span, format!("a second device with the id `{id}`"));
        }
        self.name(&table.time_key, "time_key", span);
        self.name(&table.measurement, "measurement", span);
        let format_span = table.format.span();
        let format = table.format.into_inner();
        let interval = self.interval(table.interval, table.rate, span);
        let transport = self.transport(table.serial, table.mqtt, table.http, span);
        self.signals(&table.signal, &table.time_key, table.sequence, format, span);
        let metrics = table.signal.len() + usize::from(table.sequence);
        match format {
            Format::Number if table.time != TimeForm::None => self.add(
                &format_span,
                String::from("the format `number` carries no time: leave `time` out"),
            ),
            Format::LineProtocol if matches!(table.time, TimeForm::Rfc3339 | TimeForm::EpochS) => {
                self.add(
                    &format_span,
                    String::from(
                        "line protocol takes whole numbers for times: epoch_ms, epoch_us or epoch_ns",
                    ),
                );
            }
            _ => {}
        }
        if table.header && format != Format::Csv {
            self.add(
                &format_span,
                String::from("`header` is for the format `csv`"),
            );
        }
        self.faults(&table.fault, &table.signal, table.time);
        let transport = transport?;
        let interval = interval?;
        if metrics > 1 && format == Format::Number {
            match &transport {
                Transport::Mqtt(mqtt) if mqtt.topic.contains("{metric}") => {}
                _ => self.add(
                    &format_span,
                    String::from(
                        "several metrics as bare numbers need an MQTT topic with `{metric}`",
                    ),
                ),
            }
        }
        if matches!(&transport, Transport::Mqtt(mqtt) if mqtt.topic.contains("{metric}"))
            && format != Format::Number
        {
            self.add(
                &format_span,
                String::from("a topic with `{metric}` is for the format `number`"),
            );
        }
        if matches!(transport, Transport::Http(_))
            && !matches!(format, Format::Json | Format::LineProtocol)
        {
            self.add(
                &format_span,
                String::from("over http the format is `json` or `line_protocol`"),
            );
        }
        (self.mistakes.len() == found_before).then(|| Device {
            id,
            transport,
            format,
            interval,
            time: table.time,
            time_key: table.time_key,
            sequence: table.sequence,
            header: table.header,
            measurement: table.measurement,
            signals: table.signal.into_iter().map(Spanned::into_inner).collect(),
            faults: table.fault.into_iter().map(Spanned::into_inner).collect(),
        })
    }

    fn interval(
        &mut self,
        interval: Option<Duration>,
        rate: Option<Spanned<f64>>,
        span: &Range<usize>,
    ) -> Option<Duration> {
        match (interval, rate) {
            (Some(interval), None) => Some(interval),
            (None, Some(rate)) => {
                let interval = Duration::try_from_secs_f64(1.0 / rate.get_ref())
                    .ok()
                    .filter(|interval| (SHORTEST_INTERVAL..=LONGEST).contains(interval));
                if interval.is_none() {
                    self.add(
                        &rate.span(),
                        String::from("rate is readings a second: above 0, at most 10000"),
                    );
                }
                interval
            }
            _ => {
                self.add(
                    span,
                    String::from("a device needs either `interval` or `rate`"),
                );
                None
            }
        }
    }

    fn transport(
        &mut self,
        serial: Option<Serial>,
        mqtt: Option<Spanned<Mqtt>>,
        http: Option<Spanned<Http>>,
        span: &Range<usize>,
    ) -> Option<Transport> {
        match (serial, mqtt, http) {
            (Some(serial), None, None) => Some(Transport::Serial(serial)),
            (None, Some(mqtt), None) => {
                let at = mqtt.span();
                let mqtt = mqtt.into_inner();
                if mqtt.topic.is_empty()
                    || mqtt.topic.len() > 1_024
                    || mqtt.topic.contains(['+', '#', '\0'])
                {
                    self.add(
                        &at,
                        String::from("a topic has 1 to 1024 bytes and no `+`, `#` or NUL"),
                    );
                }
                if mqtt.password.is_some() && mqtt.username.is_none() {
                    self.add(&at, String::from("a password needs a username"));
                }
                Some(Transport::Mqtt(mqtt))
            }
            (None, None, Some(http)) => {
                let at = http.span();
                let http = http.into_inner();
                if reqwest::Url::parse(&http.url).map_or(true, |url| {
                    !matches!(url.scheme(), "http" | "https") || !url.has_host()
                }) {
                    self.add(
                        &at,
                        String::from("url must be a whole http or https address"),
                    );
                }
                Some(Transport::Http(http))
            }
            _ => {
                self.add(
                    span,
                    String::from("a device needs exactly one of `serial`, `mqtt` and `http`"),
                );
                None
            }
        }
    }

    fn signals(
        &mut self,
        signals: &[Spanned<Signal>],
        time_key: &str,
        sequence: bool,
        format: Format,
        span: &Range<usize>,
    ) {
        if signals.is_empty() || signals.len() > Scenario::MAX_SIGNALS {
            let most = Scenario::MAX_SIGNALS;
            self.add(span, format!("a device has 1 to {most} signals"));
        }
        let mut metrics = HashSet::new();
        if sequence {
            metrics.insert(Scenario::SEQUENCE_METRIC);
        }
        for signal in signals {
            let at = signal.span();
            let signal = signal.get_ref();
            self.name(&signal.metric, "metric", &at);
            if signal.metric == time_key || !metrics.insert(&signal.metric) {
                let metric = &signal.metric;
                self.add(&at, format!("the name `{metric}` is already taken"));
            }
            if (signal.kind == Kind::Text) == signal.texts.is_empty() {
                self.add(&at, String::from("`texts` belongs to kind = \"text\""));
            }
            if matches!((signal.min, signal.max), (Some(min), Some(max)) if min > max) {
                self.add(&at, String::from("min is above max"));
            }
            if signal.texts.iter().any(|t| t.chars().any(char::is_control)) {
                self.add(&at, String::from("texts have no control characters"));
            }
            let plain = |text: &str| !text.contains([',', ';', '=', ' ', '"']) && !text.is_empty();
            if format == Format::KeyValue
                && !(plain(&signal.metric) && signal.texts.iter().all(|text| plain(text)))
            {
                self.add(
                    &at,
                    String::from(
                        "in key_value names and texts hold no blank, quote, `,`, `;` or `=`",
                    ),
                );
            }
        }
    }

    fn faults(&mut self, faults: &[Spanned<Fault>], signals: &[Spanned<Signal>], time: TimeForm) {
        if let Some(over) = faults.get(Scenario::MAX_SIGNALS) {
            self.add(&over.span(), String::from("too many faults of one device"));
        }
        for fault in faults {
            let at = fault.span();
            let fault = fault.get_ref();
            if fault.probability.is_some() == fault.every.is_some() {
                self.add(
                    &at,
                    String::from("a fault needs either `probability` or `every`"),
                );
            }
            if fault.every.is_some_and(|every| every.is_zero()) {
                self.add(&at, String::from("`every` is longer than nothing"));
            }
            if let Some(metric) = &fault.metric
                && !signals.iter().any(|s| &s.get_ref().metric == metric)
            {
                self.add(&at, format!("the device has no metric `{metric}`"));
            }
            if fault.kind == FaultKind::ClockJump && time == TimeForm::None {
                self.add(
                    &at,
                    String::from("a clock_jump shows only where the payload carries a `time`"),
                );
            }
        }
    }

    fn name(&mut self, name: &str, key: &str, span: &Range<usize>) {
        if name.is_empty()
            || name.len() > MAX_NAME
            || name.contains(['/', '+', '#'])
            || name.ends_with('\\')
            || name.chars().any(char::is_control)
        {
            self.add(
                span,
                format!(
                    "{key} has 1 to {MAX_NAME} bytes, no `/`, `+`, `#`, no control characters and no `\\` at its end"
                ),
            );
        }
    }
}

impl fmt::Display for ScenarioError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, mistake) in self.mistakes.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            write!(
                f,
                "line {}, column {}: {}",
                mistake.line, mistake.column, mistake.message
            )?;
        }
        Ok(())
    }
}

/// Reads `250ms`, `1.5s`, `2m`, `1h`, `1d`, `50us`; at most 365 days.
///
/// # Errors
///
/// What would be right.
pub fn parse_span(text: &str) -> Result<Duration, String> {
    let wrong = || format!("`{text}` is not a time span such as 250ms, 1.5s, 2m, 1h or 1d");
    let unit_at = text
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .ok_or_else(wrong)?;
    let (number, unit) = text.split_at(unit_at);
    let seconds = match unit {
        "us" => 1e-6,
        "ms" => 1e-3,
        "s" => 1.0,
        "m" => 60.0,
        "h" => 3_600.0,
        "d" => 86_400.0,
        _ => return Err(wrong()),
    };
    let number: f64 = number.parse().map_err(|_| wrong())?;
    Duration::try_from_secs_f64(number * seconds)
        .ok()
        .filter(|span| *span <= LONGEST)
        .ok_or_else(|| format!("`{text}` is longer than 365 days"))
}

struct SpanVisitor;

impl Visitor<'_> for SpanVisitor {
    type Value = Duration;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a time span in quotes such as \"250ms\", \"2s\" or \"1h\"")
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Duration, E> {
        parse_span(text).map_err(E::custom)
    }
}

fn span<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    deserializer.deserialize_str(SpanVisitor)
}

pub(super) fn maybe_span<'de, D: Deserializer<'de>>(d: D) -> Result<Option<Duration>, D::Error> {
    span(d).map(Some)
}

fn maybe_interval<'de, D: Deserializer<'de>>(d: D) -> Result<Option<Duration>, D::Error> {
    let interval = span(d)?;
    if interval < SHORTEST_INTERVAL {
        return Err(D::Error::custom("an interval is at least 100us"));
    }
    Ok(Some(interval))
}

pub(super) fn round_time<'de, D: Deserializer<'de>>(d: D) -> Result<Duration, D::Error> {
    let period = span(d)?;
    if period < Duration::from_millis(1) {
        return Err(D::Error::custom("a period is at least 1ms"));
    }
    Ok(period)
}

pub(super) fn signed_span<'de, D: Deserializer<'de>>(d: D) -> Result<i64, D::Error> {
    let text = String::deserialize(d)?;
    let (negative, digits) = text
        .strip_prefix('-')
        .map_or((false, text.strip_prefix('+').unwrap_or(&text)), |rest| {
            (true, rest)
        });
    let nanos = parse_span(digits).map_err(D::Error::custom)?.as_nanos();
    let nanos = i64::try_from(nanos).map_err(D::Error::custom)?;
    Ok(if negative { -nanos } else { nanos })
}

pub(super) fn finite<'de, D: Deserializer<'de>>(d: D) -> Result<f64, D::Error> {
    let number = f64::deserialize(d)?;
    if number.is_finite() && number.abs() <= 1e15 {
        Ok(number)
    } else {
        Err(D::Error::custom(
            "a finite number of at most 1e15 is needed",
        ))
    }
}

pub(super) fn maybe_finite<'de, D: Deserializer<'de>>(d: D) -> Result<Option<f64>, D::Error> {
    finite(d).map(Some)
}

pub(super) fn not_negative<'de, D: Deserializer<'de>>(d: D) -> Result<f64, D::Error> {
    let number = finite(d)?;
    if number < 0.0 {
        return Err(D::Error::custom("a standard deviation is not negative"));
    }
    Ok(number)
}

pub(super) fn maybe_chance<'de, D: Deserializer<'de>>(d: D) -> Result<Option<f64>, D::Error> {
    let chance = f64::deserialize(d)?;
    if (0.0..=1.0).contains(&chance) {
        Ok(Some(chance))
    } else {
        Err(D::Error::custom("a probability lies between 0 and 1"))
    }
}

pub(super) fn decimals<'de, D: Deserializer<'de>>(d: D) -> Result<u8, D::Error> {
    let decimals = u8::deserialize(d)?;
    if decimals > MAX_DECIMALS {
        return Err(D::Error::custom("at most 9 decimals"));
    }
    Ok(decimals)
}

pub(super) fn depth<'de, D: Deserializer<'de>>(d: D) -> Result<u32, D::Error> {
    let depth = u32::deserialize(d)?;
    if !(1..=MAX_DEPTH).contains(&depth) {
        return Err(D::Error::custom("1 to 100 messages may overtake"));
    }
    Ok(depth)
}

pub(super) fn default_host() -> String {
    String::from("127.0.0.1")
}

pub(super) const fn default_port() -> u16 {
    1883
}

pub(super) fn default_topic() -> String {
    String::from("sensors/{device}")
}

pub(super) const fn default_period() -> Duration {
    Duration::from_secs(60)
}

pub(super) const fn default_decimals() -> u8 {
    2
}

pub(super) const fn one() -> f64 {
    1.0
}

pub(super) const fn ten() -> f64 {
    10.0
}

pub(super) const fn one_hour() -> i64 {
    3_600_000_000_000
}

pub(super) const fn one_message() -> u32 {
    1
}

const fn one_seed() -> u64 {
    1
}

fn default_time_key() -> String {
    String::from("time")
}

fn default_measurement() -> String {
    String::from("sensor")
}
