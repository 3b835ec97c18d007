//! A ledger against what an archive holds: is every acknowledged reading there, once, with its value?
//!
//! Archives are read in whole milliseconds, so readings are compared by their millisecond and value. A reading with a time in
//! its payload must be found at that time once, however often it was sent. A reading that is stamped on arrival is looked for
//! by its value among all that came in during the run, as often as it was acknowledged at least and as it was
//! handed over at most: a device with `sequence = true` makes that certain, because no two values are the same; for other
//! metrics a lost reading may hide behind an unacknowledged one of the same value.
//!
//! What it deliberately does not do: undo a gateway's unit conversion or calibration. Verify with a config that leaves values
//! as they come.

pub mod archive;
mod reckoning;

use std::{collections::BTreeMap, path::Path};

use serde::Serialize;

pub use self::archive::{Archive, ArchiveError};
use self::reckoning::{Account, Ask};
use crate::ledger::LedgerError;

/// What was sent against what is there.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Report {
    /// By device, in the order of their names.
    pub devices: BTreeMap<String, Verdict>,
    /// Lines of the ledger that could not be read, such as a torn last one.
    pub damaged_lines: u64,
    /// No acknowledged reading is missing, none repeated, nothing unexpected was stored.
    pub ok: bool,
}

/// The readings of one device.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Verdict {
    /// Distinct readings that were sent and are to be stored.
    pub sent: u64,
    /// Of these, acknowledged.
    pub acknowledged: u64,
    /// Of those sent, found.
    pub found: u64,
    /// Acknowledged, but not there: lost.
    pub missing: u64,
    /// Never acknowledged, and not there: nobody promised anything.
    pub unacknowledged_missing: u64,
    /// Stored more often than is right.
    pub repeated: u64,
    /// Stored, but never sent, or with another value, or sent as garbage.
    pub unexpected: u64,
    /// Readings that this archive can't hold: texts in VictoriaMetrics.
    pub unverifiable: u64,
    /// Messages that were to be refused: garbage, NaN.
    pub to_be_rejected: u64,
    /// The first few that are missing, repeated or unexpected, in words.
    pub examples: Vec<String>,
}

/// Why nothing can be said.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    /// The ledger can't be read.
    #[error("can't read what was sent")]
    Ledger(#[from] LedgerError),
    /// The archive can't be read.
    #[error("can't read what is stored of {device}/{metric}")]
    Archive {
        /// Whose.
        device: String,
        /// Which.
        metric: String,
        /// Why.
        source: ArchiveError,
    },
}

/// Holds the ledger against the archive.
///
/// # Errors
///
/// When one of them can't be read. What is missing is in the report, not an error.
pub async fn verify(ledger: &Path, archive: &Archive) -> Result<Report, VerifyError> {
    let account = Account::read(ledger)?;
    let mut report = Report {
        damaged_lines: account.damaged_lines(),
        ..Report::default()
    };
    for (device, rejects) in account.to_be_rejected() {
        report
            .devices
            .entry(device.clone())
            .or_default()
            .to_be_rejected = *rejects;
    }
    for series in account.series() {
        let verdict = report.devices.entry(series.device.to_owned()).or_default();
        let Ask { from_ms, to_ms, .. } = series.ask;
        let found = archive
            .points(
                series.device,
                series.metric,
                from_ms,
                to_ms,
                series.ask.count,
            )
            .await
            .map_err(|source| VerifyError::Archive {
                device: series.device.to_owned(),
                metric: series.metric.to_owned(),
                source,
            })?;
        series.judge(&found, archive.holds_texts(), verdict);
    }
    report.ok = report
        .devices
        .values()
        .all(|v| v.missing == 0 && v.repeated == 0 && v.unexpected == 0);
    Ok(report)
}

#[cfg(test)]
mod tests;
