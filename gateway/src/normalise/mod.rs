//! Fields become readings: which device and metric, canonical unit, calibration, validity, quality, time.
//!
//! Pure apart from the time that it is handed. It owns what must be known across messages: the series seen
//! so far (with their cap) and the last readings of each, to tell repeats.

use smol_str::SmolStr;

use crate::{
    decode::Mapping,
    model::{Reading, SourceName, Unit},
    rejects::Reject,
    source::Frame,
};

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
    /// is corrected by the nearest row's difference and marked `uncertain`. Empty: none.
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
pub struct Normaliser {}

impl Default for Config {
    fn default() -> Self {
        Self {
            max_series: 10_000,
            metrics: Vec::new(),
            calibrations: Vec::new(),
            max_future: std::time::Duration::from_secs(86_400),
            drop_repeats: true,
        }
    }
}

impl Normaliser {
    /// A stage that knows these sources; `Frame`s name theirs by index into `sources`.
    #[must_use]
    pub fn new(config: Config, sources: Vec<SourceMappings>) -> Self {
        let _ = (config, sources);
        Self {}
    }

    /// Decodes and normalises one frame, adding to `outcome`. `clock_trusted` says whether arrival times can be believed.
    pub fn frame(
        &mut self,
        source: usize,
        frame: &Frame,
        clock_trusted: bool,
        outcome: &mut Outcome,
    ) {
        let _ = (source, frame, clock_trusted, outcome);
    }

    /// Makes a series known, as the journal's replay finds it, so that the cap and the repeats survive a restart.
    pub fn remember(&mut self, reading: &Reading) {
        let _ = reading;
    }
}
