//! What to do with an SQLite file that is damaged: set it aside and begin a new one, loudly. The gateway never refuses to
//! start over data that it can do without; what was accepted is in the journal.

use std::path::{Path, PathBuf};

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric},
    metrics::gauge::ConstGauge,
    registry::Registry,
};
use rusqlite::{Connection, ErrorCode};

const SUFFIX: &str = ".damaged";

/// The file is not what it should be, and trying again won't help.
#[must_use]
pub fn is_damage(error: &rusqlite::Error) -> bool {
    matches!(
        error.sqlite_error_code(),
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase)
    )
}

/// Syncs what an earlier process wrote. One that was killed between writing and syncing leaves changes in the log that can be read
/// and would be lost with the power; what follows from them (a delivery, a journal that lets go) must not come before.
///
/// # Errors
///
/// SQLite's; a full disk is none, as a checkpoint syncs the log before it needs room.
pub fn make_durable(connection: &Connection) -> rusqlite::Result<()> {
    match connection.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(())) {
        Err(error) if error.sqlite_error_code() == Some(ErrorCode::DiskFull) => {
            tracing::debug!(%error, "the log of a file stays beside it until there is room");
            Ok(())
        }
        other => other,
    }
}

/// Renames the file to `<name>.damaged` (only the last one is kept) and removes its log, so that a new one can be made
/// under its name. Every connection to it must be closed.
pub fn set_aside(path: &Path) {
    let with = |suffix: &str| {
        let mut name = path.as_os_str().to_owned();
        name.push(suffix);
        PathBuf::from(name)
    };
    if let Err(error) = std::fs::rename(path, with(SUFFIX)) {
        tracing::warn!(path = %path.display(), %error, "a damaged file cannot be renamed");
    }
    for suffix in ["-wal", "-shm"] {
        match std::fs::remove_file(with(suffix)) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                tracing::warn!(path = %path.display(), %error, suffix, "a file beside a damaged one stays");
            }
            _ => {}
        }
    }
}

/// The files that were set aside and still lie in a directory, for status and metrics: somebody should look at them, and
/// remove them. Nothing is held in memory; the directory is listed when somebody asks.
#[derive(Clone, Debug)]
pub struct SetAside {
    dir: PathBuf,
}

impl SetAside {
    /// Of this directory, registered as `gateway_damaged_files`.
    #[must_use]
    pub fn new(dir: &Path, registry: &mut Registry) -> Self {
        let set_aside = Self {
            dir: dir.to_owned(),
        };
        registry.register_collector(Box::new(set_aside.clone()));
        set_aside
    }

    /// Their names, in order. None when the directory can't be listed.
    #[must_use]
    pub fn names(&self) -> Vec<String> {
        let entries = std::fs::read_dir(&self.dir).into_iter().flatten();
        let mut names: Vec<String> = entries
            .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
            .filter(|name| name.ends_with(SUFFIX))
            .collect();
        names.sort_unstable();
        names
    }
}

impl Collector for SetAside {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let gauge = ConstGauge::new(i64::try_from(self.names().len()).unwrap_or(i64::MAX));
        let help = "Damaged files that were set aside and still lie in the data directory";
        let metric =
            encoder.encode_descriptor("gateway_damaged_files", help, None, gauge.metric_type())?;
        gauge.encode(metric)
    }
}
