//! One record becomes readings: device, time, and for each field its metric, value, unit, quality.

use super::{
    Config, MAX_FIELDS, MAX_NAME_BYTES, MAX_TEXT_BYTES, Outcome, calibration,
    compiled::{self, Compiled, Rule, Sight, Topic},
    series::{self, AllSeries, Key, Series},
    unit,
};
use crate::{
    decode::{
        Decoded, Field, MAX_PATH_BYTES, Mapping, Record, RecordTime, Role, Scalar, Span, excerpt,
        number, time,
    },
    model::{Quality, Reading, SourceName, Timestamp, Unit, Value},
    rejects::{Reason, Reject},
    source::Frame,
};

/// All of the stage that does not depend on the source.
#[derive(Debug)]
pub(super) struct Rest {
    config: Config,
    /// The canonical unit of each entry of `config.metrics`, as a UCUM code.
    units: Vec<Option<Unit>>,
    series: AllSeries,
    device: String,
    metric: String,
}

/// A record on its way.
#[derive(Clone, Copy)]
pub(super) struct Context<'a> {
    pub(super) decoded: &'a Decoded,
    pub(super) record: &'a Record,
    pub(super) frame: &'a Frame,
    pub(super) source: &'a SourceName,
    pub(super) topic: &'a Topic,
    pub(super) retained: bool,
    /// The latest time that it can be now, if the clock was ever set.
    pub(super) latest: Option<Timestamp>,
}

/// When a record was measured.
#[derive(Clone, Copy)]
struct Measured {
    at: Timestamp,
    /// By the payload; else it is the arrival.
    said: bool,
    /// The payload's time was beyond belief.
    doubtful: bool,
}

type Refusal = (Reason, String);

fn canonical_units(config: &Config) -> Vec<Option<Unit>> {
    config
        .metrics
        .iter()
        .map(|entry| entry.unit.as_ref().and_then(|unit| unit::resolve(&unit.0)))
        .collect()
}

impl Rest {
    pub(super) fn new(config: Config) -> Self {
        Self {
            units: canonical_units(&config),
            series: AllSeries::new(config.max_series),
            config,
            device: String::new(),
            metric: String::new(),
        }
    }

    pub(super) fn reconfigure(&mut self, config: Config) {
        self.units = canonical_units(&config);
        self.series.reconfigure(&config);
        self.config = config;
    }

    pub(super) fn remember(&mut self, reading: &Reading) {
        let key = Key {
            device: &reading.series.device.0,
            metric: &reading.series.metric.0,
        };
        if self.series.get(key).is_none() {
            // Over the cap it stays unknown; its next reading will be refused.
            self.series
                .add(&reading.series, Series::new(key, &self.config));
        }
        // Where both are the same the payload had no time, and then no repeat can be told.
        if reading.time != reading.received
            && !reading.retained
            && let Some((_, series)) = self.series.get(key)
        {
            series.remember(reading.time, &reading.value);
        }
    }

    /// Turns the fields of one record into readings. An error concerns all of it.
    pub(super) fn record(
        &mut self,
        compiled: &mut Compiled,
        context: Context<'_>,
        outcome: &mut Outcome,
    ) -> Result<(), Refusal> {
        let fields = context.decoded.fields(context.record).len();
        if fields > MAX_FIELDS {
            return Err((
                Reason::TooLarge,
                format!("{fields} fields in one record are more than {MAX_FIELDS}"),
            ));
        }
        self.find_device(compiled, context)?;
        let measured = self.measured(&compiled.mapping, context)?;
        for field in context.decoded.fields(context.record) {
            match self.field(compiled, context, measured, field) {
                Ok(Fate::Reading(reading)) => outcome.readings.push(reading),
                Ok(Fate::Repeat) => outcome.duplicates += 1,
                Ok(Fate::Unwanted) => {}
                Err((reason, detail)) => outcome.rejects.push(Reject {
                    reason,
                    detail,
                    record: context.record.index,
                }),
            }
        }
        Ok(())
    }

    /// Leaves the device of the record in `self.device`.
    fn find_device(&mut self, compiled: &Compiled, context: Context<'_>) -> Result<(), Refusal> {
        self.device.clear();
        let told = match (context.record.device, &context.topic.device) {
            (Some(device), _) if compiled.mapping.device.is_empty() => {
                self.device.push_str(context.decoded.text(device));
                true
            }
            (_, Some(Ok(device))) => {
                self.device.push_str(device);
                true
            }
            (_, Some(Err(()))) => false,
            (_, None) => compiled.write_device(context.topic, context.sight(), &mut self.device),
        };
        if !told {
            return Err((
                Reason::NoIdentity,
                "topic and payload do not tell the device".into(),
            ));
        }
        tidy(&mut self.device);
        check_name(&self.device, "device")
    }

    fn measured(&self, mapping: &Mapping, context: Context<'_>) -> Result<Measured, Refusal> {
        let said = match (context.record.time, &mapping.time_path) {
            (RecordTime::At(at), _) => Some(at),
            (RecordTime::Unsaid, None) => None,
            (RecordTime::Unsaid, Some(path)) => context
                .decoded
                .find(context.record, path)
                .map(|field| read_time(field.value, mapping, context.decoded))
                .transpose()
                .map_err(|error| (Reason::BadTime, format!("field {path}: {error}")))?
                .flatten(),
        };
        let arrived = context.frame.arrived;
        let by_arrival = |doubtful| Measured {
            at: arrived,
            said: false,
            doubtful,
        };
        let Some(at) = said else {
            return Ok(by_arrival(false));
        };
        // A clock that was never set knows no future; one that was put back knows it from before.
        let limit = i128::try_from(self.config.max_future.as_nanos()).unwrap_or(i128::MAX);
        let too_far = context
            .latest
            .is_some_and(|latest| i128::from(at.0) - i128::from(latest.max(arrived).0) > limit);
        if too_far && self.config.restamp_future {
            return Ok(by_arrival(true));
        }
        if too_far {
            return Err((
                Reason::BadTime,
                format!("{} is too far in the future", at.to_rfc3339()),
            ));
        }
        Ok(Measured {
            at,
            said: true,
            doubtful: false,
        })
    }

    fn field(
        &mut self,
        compiled: &mut Compiled,
        context: Context<'_>,
        measured: Measured,
        field: &Field,
    ) -> Result<Fate, Refusal> {
        let path = context.decoded.text(field.path);
        if field.role == Role::Label {
            return Ok(Fate::Unwanted);
        }
        if path.len() > MAX_PATH_BYTES {
            return Err((
                Reason::TooLong,
                format!(
                    "the path {} is longer than {MAX_PATH_BYTES} bytes",
                    excerpt(path)
                ),
            ));
        }
        if compiled.plan(path).is_none() {
            compiled.learn(path, context.source);
        }
        let Some(plan) = compiled.plan(path) else {
            return Ok(Fate::Unwanted);
        };
        let rule = plan.rule.and_then(|rule| compiled.rules.get(rule));
        if plan.skip || (rule.is_none() && !compiled::is_free(&compiled.mapping, field.value)) {
            return Ok(Fate::Unwanted);
        }
        let metric = match &plan.metric {
            Some(metric) => metric.as_str(),
            None => {
                self.metric.clear();
                if !compiled.write_metric(
                    plan,
                    path,
                    context.topic,
                    context.sight(),
                    &mut self.metric,
                ) {
                    return Err((
                        Reason::NoIdentity,
                        format!("the metric of field {} can't be told", excerpt(path)),
                    ));
                }
                tidy(&mut self.metric);
                &self.metric
            }
        };
        let key = Key {
            device: &self.device,
            metric,
        };
        let settings = Settings {
            config: &self.config,
            units: &self.units,
            rule,
            path,
        };
        let mut fresh = None;
        let (known, series) = match self.series.get(key) {
            Some((known, series)) => (Some(known), series),
            None => {
                check_name(metric, "metric")?;
                (None, fresh.insert(Series::new(key, &self.config)))
            }
        };
        let Judged {
            value,
            unit,
            uncalibrated,
        } = settings.judge(field, context, series)?;
        if self.config.drop_repeats && measured.said && series.has_seen(measured.at, &value) {
            return Ok(Fate::Repeat);
        }
        let owned = known.cloned();
        let key = match owned {
            Some(key) => key,
            None => series::own(key),
        };
        if measured.said && !context.retained {
            series.remember(measured.at, &value);
        }
        if let Some(fresh) = fresh
            && self.series.add(&key, fresh).is_none()
        {
            return Err((
                Reason::TooManySeries,
                format!("{key} would be one series more than the limit"),
            ));
        }
        let unsure = uncalibrated || measured.doubtful;
        Ok(Fate::Reading(Reading {
            series: key,
            value,
            unit,
            quality: if unsure {
                Quality::Uncertain
            } else {
                Quality::Good
            },
            time: measured.at,
            received: context.frame.arrived,
            retained: context.retained,
        }))
    }
}

/// What became of a field.
enum Fate {
    Reading(Reading),
    Repeat,
    Unwanted,
}

/// What holds for one field.
struct Settings<'a> {
    config: &'a Config,
    units: &'a [Option<Unit>],
    rule: Option<&'a Rule>,
    path: &'a str,
}

struct Judged {
    value: Value,
    unit: Option<Unit>,
    /// The value lies outside of what its sensor was calibrated for.
    uncalibrated: bool,
}

impl Settings<'_> {
    fn judge(
        &self,
        field: &Field,
        context: Context<'_>,
        series: &mut Series,
    ) -> Result<Judged, Refusal> {
        let entry = series.metric.and_then(|at| self.config.metrics.get(at));
        let canonical = series
            .metric
            .and_then(|at| self.units.get(at))
            .and_then(Option::as_ref);
        let plain = |value| Judged {
            value,
            unit: None,
            uncalibrated: false,
        };
        let number = match field.value {
            Scalar::Bool(on) => return Ok(plain(Value::Bool(on))),
            Scalar::Text(span) => {
                let text = context.decoded.text(span);
                // What has a unit or a range is a number, also in quotes.
                let numeric = self.rule.is_some_and(|rule| rule.unit.is_some())
                    || entry
                        .is_some_and(|e| e.unit.is_some() || e.min.is_some() || e.max.is_some());
                if !numeric {
                    return self.text(text).map(plain);
                }
                number::number(text.trim()).ok_or_else(|| {
                    self.refuse(
                        Reason::WrongType,
                        format_args!("{} is not a number", excerpt(text)),
                    )
                })?
            }
            number => number,
        };
        let exact = match number {
            Scalar::Int(int) => Some(int),
            _ => None,
        };
        #[expect(
            clippy::cast_precision_loss,
            reason = "the exact integer is kept beside, and used unless it has to be corrected"
        )]
        let measured = match number {
            Scalar::Int(int) => int as f64,
            Scalar::Float(float) => float,
            Scalar::Bool(_) | Scalar::Text(_) => f64::NAN,
        };
        if !measured.is_finite() {
            return Err(self.refuse(Reason::NotFinite, format_args!("{measured}")));
        }
        let mut value = measured;
        let mut uncalibrated = false;
        if let Some(calibration) = series
            .calibration
            .and_then(|at| self.config.calibrations.get(at))
        {
            (value, uncalibrated) = calibration::apply(calibration, value);
        }
        let unit = match (self.said_unit(field, context), canonical) {
            (None, canonical) => canonical.cloned(),
            (Some(said), None) => Some(said),
            (Some(said), Some(canonical)) if said == *canonical => Some(said),
            (Some(said), Some(canonical)) => {
                value = self.convert(value, &said, canonical, series)?;
                Some(canonical.clone())
            }
        };
        if !value.is_finite() {
            return Err(self.refuse(
                Reason::NotFinite,
                format_args!("{measured} becomes {value}"),
            ));
        }
        if let Some(entry) = entry {
            let low = entry.min.is_some_and(|min| value < min);
            let high = entry.max.is_some_and(|max| value > max);
            if low || high {
                let side = if low { "below" } else { "above" };
                return Err(self.refuse(
                    Reason::OutOfRange,
                    format_args!("{value} is {side} the valid range"),
                ));
            }
        }
        #[expect(clippy::float_cmp, reason = "asks whether anything changed it at all")]
        let untouched = value == measured;
        Ok(Judged {
            value: match exact {
                Some(int) if untouched => Value::Int(int),
                _ => Value::Float(value),
            },
            unit,
            uncalibrated,
        })
    }

    fn text(&self, text: &str) -> Result<Value, Refusal> {
        if text.len() > MAX_TEXT_BYTES {
            return Err(self.refuse(
                Reason::WrongType,
                format_args!("text is longer than {MAX_TEXT_BYTES} bytes"),
            ));
        }
        Ok(Value::Text(text.into()))
    }

    /// The unit of a value as rule or payload say.
    fn said_unit(&self, field: &Field, context: Context<'_>) -> Option<Unit> {
        let written = |span: Span| unit::resolve(context.decoded.text(span));
        let beside =
            |path: &smol_str::SmolStr| match context.decoded.find(context.record, path)?.value {
                Scalar::Text(text) => written(text),
                _ => None,
            };
        // What the message says is nearer to the truth than what was once configured.
        let rule = self.rule;
        rule.and_then(|rule| rule.unit_path.as_ref())
            .and_then(beside)
            .or_else(|| rule.and_then(|rule| rule.unit.clone()))
            .or_else(|| field.unit.and_then(written))
    }

    fn convert(
        &self,
        value: f64,
        said: &Unit,
        canonical: &Unit,
        series: &mut Series,
    ) -> Result<f64, Refusal> {
        let conversion = match &series.conversion {
            Some((from, conversion)) if from == said => *conversion,
            _ => {
                let found = unit::conversion(said, canonical);
                series.conversion = Some((said.clone(), found));
                found
            }
        };
        conversion
            .map(|c| value * c.scale + c.offset)
            .ok_or_else(|| {
                self.refuse(
                    Reason::UnitMismatch,
                    format_args!("{} can't become {}", said.0, canonical.0),
                )
            })
    }

    fn refuse(&self, reason: Reason, what: std::fmt::Arguments<'_>) -> Refusal {
        (reason, format!("field {}: {what}", excerpt(self.path)))
    }
}

impl<'a> Context<'a> {
    fn sight(&self) -> Sight<'a> {
        Sight {
            source: self.source,
            topic: self.frame.topic.as_str(),
            decoded: self.decoded,
            record: self.record,
        }
    }
}

fn read_time(
    value: Scalar,
    mapping: &Mapping,
    decoded: &Decoded,
) -> Result<Option<Timestamp>, time::TimeError> {
    match value {
        Scalar::Int(int) => time::from_int(int, mapping.time_format),
        Scalar::Float(float) => time::from_float(float, mapping.time_format),
        Scalar::Text(text) => time::from_text(
            decoded.text(text),
            mapping.time_format,
            mapping.local_offset_minutes,
        ),
        Scalar::Bool(_) => Err(time::TimeError::Unreadable("a boolean".into())),
    }
}

/// Ids hold no slash: it parts device and metric.
fn tidy(name: &mut String) {
    if name.contains('/') {
        *name = name.replace('/', ".");
    }
}

fn check_name(name: &str, what: &str) -> Result<(), Refusal> {
    let wrong = if name.is_empty() {
        "is empty"
    } else if name.len() > MAX_NAME_BYTES {
        "is longer than 128 bytes"
    } else if name.contains(char::is_control) {
        "holds control characters"
    } else {
        return Ok(());
    };
    Err((
        Reason::NoIdentity,
        format!("the {what} {wrong}: {}", excerpt(name)),
    ))
}
