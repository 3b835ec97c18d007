//! What to do with an SQLite file that is damaged: set it aside and begin a new one, loudly. The gateway never refuses to
//! start over data that it can do without; what was accepted is in the journal.

use std::path::{Path, PathBuf};

use rusqlite::{Connection, ErrorCode};

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
    if let Err(error) = std::fs::rename(path, with(".damaged")) {
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
