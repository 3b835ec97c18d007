//! Fields become readings: which device and metric, canonical unit, calibration, validity, quality, time.
//!
//! Pure apart from the time that it is handed. It owns what must be known across messages: the series seen
//! so far (with their cap) and the last readings of each, to tell repeats. All of its memory is bounded:
//!
//! | what | bound | when full |
//! |---|---|---|
//! | series | [`Config::max_series`] | the reading is a reject, `too_many_series` |
//! | readings remembered a series | [`REMEMBERED_READINGS`] | the oldest is forgotten |
//! | topics a source, paths a mapping | 4 096 each | forgotten and learnt again |
//!
//! A value goes through, in this order: type, finite, calibration, unit, valid range, repeat, cap on series.
//! Once topics, paths and series are known, a message costs no allocation but what its readings need.
//!
//! It does not correct times later (the journal does, once the clock is set) and does not judge lateness.

mod calibration;
mod compiled;
mod record;
mod series;
pub mod unit;

use smol_str::SmolStr;

pub use self::series::REMEMBERED_READINGS;
use self::{
    compiled::Source,
    record::{Context, Rest},
};
use crate::{
    decode::{self, Decoded, Mapping, excerpt},
    model::{Reading, SourceName, Timestamp, Unit},
    rejects::{Reason, Reject},
    source::Frame,
};

/// Longest device id and metric, in bytes.
pub const MAX_NAME_BYTES: usize = 128;
/// Fields of one record; a record with more is a reject. Fields are looked for beside each other, which takes the square of their
/// number: a megabyte that is one record would hold up everybody for minutes.
pub const MAX_FIELDS: usize = 1_000;
/// Longest text value, in bytes.
pub const MAX_TEXT_BYTES: usize = 256;

/// What holds for all readings.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// Series over all sources; the first reading over it is a reject. Default 10 000.
    pub max_series: usize,
    /// Per metric: canonical unit and valid range.
    pub metrics: Vec<MetricConfig>,
    /// Per series: calibration. The first entry whose pattern matches is used.
    pub calibrations: Vec<Calibration>,
    /// How far in the future a payload's time may lie before it is refused. Default one day.
    pub max_future: std::time::Duration,
    /// Whether a reading from further in the future gets the time of its arrival and is marked `uncertain`, instead of being refused.
    /// Default false.
    pub restamp_future: bool,
    /// Whether a reading with the same series, payload time and value as one of the last few is dropped as a repeat. Default true.
    pub drop_repeats: bool,
}

/// What holds for one metric.
#[derive(Clone, Debug, PartialEq)]
pub struct MetricConfig {
    /// The metric, or a glob over metrics: `*temperature`.
    pub metric: SmolStr,
    /// The canonical unit: readings in another are converted. A reading without a unit is taken to be in this one.
    pub unit: Option<Unit>,
    /// Lowest valid value, in the canonical unit.
    pub min: Option<f64>,
    /// Highest valid value, in the canonical unit.
    pub max: Option<f64>,
}

/// The correction of one or more series; applied before the unit is converted, in the unit of the sensor.
#[derive(Clone, Debug, PartialEq)]
pub struct Calibration {
    /// A glob over `device/metric`.
    pub series: SmolStr,
    /// `value * gain + offset`. Default 1 and 0.
    pub gain: f64,
    /// See `gain`.
    pub offset: f64,
    /// Measured and true value, ascending by measured; between two rows the line through them. A value outside the table
    /// is corrected by the nearest row's difference and marked `uncertain`. Used before gain and offset. Empty: none.
    pub table: Vec<(f64, f64)>,
}

/// A source as normalise knows it.
#[derive(Clone, Debug, PartialEq)]
pub struct SourceMappings {
    /// Its name.
    pub name: SourceName,
    /// In order; the first whose topic matches is used.
    pub mappings: Vec<Mapping>,
}

/// What one frame gave. Reused between frames.
#[derive(Debug, Default)]
pub struct Outcome {
    /// Accepted readings, in the order of the payload.
    pub readings: Vec<Reading>,
    /// What could not be used.
    pub rejects: Vec<Reject>,
    /// Repeats that were dropped.
    pub duplicates: usize,
}

/// The stage with its memory. One owner: the ingest task.
#[derive(Debug)]
pub struct Normaliser {
    sources: Vec<Source>,
    rest: Rest,
    decoded: Decoded,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            max_series: 10_000,
            metrics: Vec::new(),
            calibrations: Vec::new(),
            max_future: std::time::Duration::from_secs(86_400),
            restamp_future: false,
            drop_repeats: true,
        }
    }
}

impl Config {
    /// What is wrong with it: where, and a sentence for the person who wrote it.
    #[must_use]
    pub fn check(&self) -> Vec<(String, String)> {
        let mut wrong = Vec::new();
        for (at, entry) in self.metrics.iter().enumerate() {
            if let Some(unit) = entry.unit.as_ref().filter(|unit| !unit::is_known(&unit.0)) {
                wrong.push((
                    format!("metrics[{at}].unit"),
                    format!(
                        "\"{0}\" is no unit; write {{{0}}} for a unit of your own",
                        unit.0
                    ),
                ));
            }
            if let (Some(min), Some(max)) = (entry.min, entry.max)
                && min > max
            {
                wrong.push((format!("metrics[{at}].min"), "is above max".into()));
            }
        }
        for (at, entry) in self.calibrations.iter().enumerate() {
            let finite = entry.gain.is_finite()
                && entry.offset.is_finite()
                && entry
                    .table
                    .iter()
                    .all(|(x, y)| x.is_finite() && y.is_finite());
            if !finite {
                wrong.push((
                    format!("calibrations[{at}]"),
                    "has a number that is not finite".into(),
                ));
            }
            if !entry.table.is_sorted_by(|a, b| a.0 < b.0) {
                wrong.push((
                    format!("calibrations[{at}].table"),
                    "must ascend by the measured value".into(),
                ));
            }
        }
        wrong
    }
}

impl Normaliser {
    /// A stage that knows these sources; `Frame`s name theirs by index into `sources`. A mapping that did not pass
    /// [`Mapping::check`] takes no message.
    #[must_use]
    pub fn new(config: Config, sources: Vec<SourceMappings>) -> Self {
        Self {
            sources: sources.into_iter().map(Source::new).collect(),
            rest: Rest::new(config),
            decoded: Decoded::default(),
        }
    }

    /// Other mappings for the source with this number, from the next frame on; the next free number makes a source known. What
    /// is remembered of its topics is learnt again, the series stay.
    pub fn set_source(&mut self, number: usize, mappings: SourceMappings) {
        match self.sources.get_mut(number) {
            Some(source) => *source = Source::new(mappings),
            None => self.sources.push(Source::new(mappings)),
        }
    }

    /// Other settings, from the next frame on. The series and their last readings stay known, over a lower cap too.
    pub fn reconfigure(&mut self, config: Config) {
        self.rest.reconfigure(config);
    }

    /// Decodes and normalises one frame, adding to `outcome`. `latest` is the latest time that it can be now; none while the clock was
    /// never set: then no time of a payload can be told to be of the future.
    /// An empty payload holds nothing: that is how retained messages are cleared.
    pub fn frame(
        &mut self,
        source: usize,
        frame: &Frame,
        latest: Option<Timestamp>,
        outcome: &mut Outcome,
    ) {
        let found = self
            .sources
            .get_mut(source)
            .and_then(|source| source.find(&frame.topic));
        let Some((source, topic, compiled)) = found else {
            outcome.rejects.push(Reject {
                reason: Reason::NoMapping,
                detail: format!("no mapping takes topic {}", excerpt(&frame.topic)),
                record: 0,
            });
            return;
        };
        if compiled.mapping.skip || frame.payload.is_empty() {
            return;
        }
        decode::decode(
            &compiled.mapping.format,
            &frame.payload,
            compiled.mapping.local_offset_minutes,
            &mut self.decoded,
        );
        for record in self.decoded.records() {
            let context = Context {
                decoded: &self.decoded,
                record,
                frame,
                source,
                topic,
                retained: frame.retained && !compiled.mapping.retained_is_new,
                latest,
            };
            if let Err((reason, detail)) = self.rest.record(compiled, context, outcome) {
                outcome.rejects.push(Reject {
                    reason,
                    detail,
                    record: record.index,
                });
            }
        }
        outcome.rejects.extend(self.decoded.drain_faults());
    }

    /// Makes a series known, as the journal's replay finds it, so that the cap and the repeats survive a restart.
    pub fn remember(&mut self, reading: &Reading) {
        self.rest.remember(reading);
    }
}

#[cfg(test)]
mod tests;
