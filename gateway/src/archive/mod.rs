//! To InfluxDB: a cursor over the journal. InfluxDB being away for a week is a cursor that stands still.

pub mod influx;
pub mod line;

use std::{collections::BTreeMap, path::PathBuf, time::Duration};

use crate::model::Secret;

/// Where the archive is and how it is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Base address, a path prefix included: `https://influx.example.org:8086`.
    pub url: String,
    /// Organisation.
    pub org: String,
    /// Bucket; made at start if it is missing and the token may.
    pub bucket: String,
    /// The token itself, already read from its file or environment variable. Never printed.
    pub token: Option<Secret>,
    /// A PEM file with the CA, if it is not a public one.
    pub ca_file: Option<PathBuf>,
    /// The measurement of readings whose source has none of its own. Default `sensor`.
    pub measurement: String,
    /// Per source another measurement.
    pub measurements: BTreeMap<String, String>,
    /// Lines in one request at most. Default 5 000.
    pub batch_lines: usize,
    /// How long a request may take. Default 30 s.
    pub timeout: Duration,
    /// How long a batch may wait to fill. Default 1 s.
    pub linger: Duration,
    /// The waits after failures; a `Retry-After` is honoured instead where it is longer.
    pub backoff: crate::backoff::Config,
}

/// How the archive stands, for the status page.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct ArchiveStatus {
    /// `disabled`, `connecting`, `writing` or `failing`.
    pub state: &'static str,
    /// The last error in words, with what to do.
    pub detail: String,
    /// Points written since the start of the process.
    pub written: u64,
    /// Points that the server refused for good.
    pub refused: u64,
    /// Records of the journal not yet archived.
    pub lag_records: u64,
}
