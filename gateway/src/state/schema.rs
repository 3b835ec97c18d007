//! The tables, and how older files become newer ones. `user_version` is the format of the file.

use std::{cmp::Ordering, path::Path};

use rusqlite::Connection;

use super::StateError;
use crate::{
    damage,
    wear::{self, Writes},
};

/// Pages in the log before it goes into the file: SQLite's own figure.
const CHECKPOINT_PAGES: u32 = 1_000;

/// One step a format; a file of format n gets the steps from n on. Steps are never changed once released.
const STEPS: &[&str] = &["
    CREATE TABLE meta (key TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
    CREATE TABLE alerts (id TEXT PRIMARY KEY, state TEXT NOT NULL, changed INTEGER NOT NULL, body TEXT NOT NULL) WITHOUT ROWID;
    CREATE INDEX alerts_by_change ON alerts (changed);
    CREATE TABLE deliveries (
        number INTEGER PRIMARY KEY AUTOINCREMENT,
        id TEXT NOT NULL UNIQUE,
        webhook TEXT NOT NULL,
        status TEXT NOT NULL,
        body TEXT NOT NULL,
        created INTEGER NOT NULL,
        changed INTEGER NOT NULL,
        tries INTEGER NOT NULL,
        error TEXT
    );
    CREATE INDEX deliveries_waiting ON deliveries (webhook, status, number);
    CREATE TABLE delivered (webhook TEXT PRIMARY KEY, delivered INTEGER NOT NULL, given_up INTEGER NOT NULL) WITHOUT ROWID;
", "
    ALTER TABLE deliveries ADD COLUMN offered INTEGER NOT NULL DEFAULT 1;
    ALTER TABLE delivered ADD COLUMN withdrawn INTEGER NOT NULL DEFAULT 0;
    CREATE TABLE acknowledgements (alert TEXT PRIMARY KEY, at INTEGER NOT NULL, by TEXT NOT NULL, comment TEXT NOT NULL) WITHOUT ROWID;
    CREATE TABLE silences (
        id TEXT PRIMARY KEY,
        version INTEGER NOT NULL,
        state TEXT NOT NULL,
        starts INTEGER NOT NULL,
        ends INTEGER NOT NULL,
        created_by TEXT NOT NULL,
        created INTEGER NOT NULL,
        changed_by TEXT,
        changed INTEGER,
        comment TEXT NOT NULL,
        matchers TEXT NOT NULL
    ) WITHOUT ROWID;
    CREATE INDEX silences_by_state ON silences (state, ends);
    CREATE TABLE audit (
        number INTEGER PRIMARY KEY AUTOINCREMENT,
        at INTEGER NOT NULL,
        by TEXT NOT NULL,
        action TEXT NOT NULL,
        target TEXT NOT NULL,
        detail TEXT NOT NULL
    );
", "
    CREATE TABLE transitions (number INTEGER PRIMARY KEY AUTOINCREMENT, position INTEGER NOT NULL, body TEXT NOT NULL);
    CREATE TABLE runs (
        number INTEGER PRIMARY KEY AUTOINCREMENT,
        run INTEGER NOT NULL,
        journal INTEGER NOT NULL,
        next INTEGER NOT NULL,
        told INTEGER NOT NULL
    );
", "
    ALTER TABLE deliveries ADD COLUMN subject TEXT GENERATED ALWAYS AS (substr(id, 1, instr(id || '.', '.') - 1)) VIRTUAL;
    CREATE INDEX deliveries_order ON deliveries (webhook, subject, number) WHERE status IN ('waiting', 'held');
", "
    CREATE TABLE secrets (name TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID;
", "
    CREATE TABLE series (
        device TEXT NOT NULL,
        metric TEXT NOT NULL,
        source TEXT NOT NULL,
        unit TEXT,
        time INTEGER NOT NULL,
        received INTEGER NOT NULL,
        kind TEXT NOT NULL,
        value ANY NOT NULL,
        quality TEXT NOT NULL,
        retained INTEGER NOT NULL,
        position INTEGER NOT NULL,
        PRIMARY KEY (device, metric)
    ) STRICT, WITHOUT ROWID;
", "
    CREATE TABLE rules (
        number INTEGER PRIMARY KEY AUTOINCREMENT,
        id TEXT NOT NULL UNIQUE,
        version INTEGER NOT NULL,
        enabled INTEGER NOT NULL,
        body TEXT NOT NULL,
        created_by TEXT NOT NULL,
        created INTEGER NOT NULL,
        changed_by TEXT,
        changed INTEGER
    );
", GROUPS, STEADY, LIVES, REMEMBERED, CLOSINGS, SHELVING, REPEATS, PEOPLE, MADE];

/// The groups of routes and the alerts in them. Times are those of [`super::steady`]; `gate` is before which no change is told, `due` when
/// to look next, at the latest of all times for never.
const GROUPS: &str = "
    CREATE TABLE groups (
        number INTEGER PRIMARY KEY AUTOINCREMENT,
        route TEXT NOT NULL,
        key TEXT NOT NULL,
        labels TEXT NOT NULL,
        gate INTEGER NOT NULL,
        waits INTEGER NOT NULL,
        due INTEGER NOT NULL,
        held INTEGER NOT NULL,
        UNIQUE (route, key)
    );
    CREATE INDEX groups_due ON groups (due);
    CREATE TABLE members (
        number INTEGER PRIMARY KEY,
        in_group INTEGER NOT NULL,
        alert TEXT NOT NULL,
        told TEXT NOT NULL,
        since INTEGER,
        said INTEGER,
        steps INTEGER NOT NULL,
        inhibited_by TEXT NOT NULL,
        escalates_ms INTEGER,
        UNIQUE (in_group, alert)
    );
    CREATE INDEX members_by_alert ON members (alert);
    CREATE INDEX alerts_by_state ON alerts (state, changed);
";

/// The time that never jumps.
pub(super) const STEADY: &str = "
    CREATE TABLE steady (
        only_row INTEGER PRIMARY KEY CHECK (only_row = 1),
        boot TEXT NOT NULL,
        since_boot INTEGER NOT NULL,
        wall INTEGER,
        steady INTEGER NOT NULL
    );
";

/// What happened to each alert, and what rules remember of series.
const LIVES: &str = "
    CREATE TABLE changes (number INTEGER PRIMARY KEY, alert TEXT NOT NULL, body TEXT NOT NULL);
    CREATE INDEX changes_by_alert ON changes (alert, number);
    CREATE TABLE memories (
        rule TEXT NOT NULL,
        series TEXT NOT NULL,
        number INTEGER NOT NULL,
        open INTEGER NOT NULL,
        body TEXT NOT NULL,
        PRIMARY KEY (rule, series)
    ) WITHOUT ROWID;
    CREATE INDEX memories_by_age ON memories (open, number);
";

/// What conditions remember, as of the inventory.
const REMEMBERED: &str = "
    CREATE TABLE remembered (
        rule TEXT NOT NULL,
        series TEXT NOT NULL,
        fingerprint INTEGER NOT NULL,
        checksum INTEGER NOT NULL,
        body BLOB NOT NULL,
        PRIMARY KEY (rule, series)
    ) STRICT;
";

/// What people closed, by the rule and the series that may not fire.
const CLOSINGS: &str = "
    CREATE TABLE closings (
        rule TEXT NOT NULL,
        series TEXT NOT NULL,
        alert TEXT NOT NULL,
        at INTEGER NOT NULL,
        by TEXT NOT NULL,
        comment TEXT NOT NULL,
        PRIMARY KEY (rule, series)
    ) WITHOUT ROWID;
    CREATE INDEX closings_by_alert ON closings (alert);
";

/// Silences that shelve one alert.
const SHELVING: &str = "
    ALTER TABLE silences ADD COLUMN shelving INTEGER NOT NULL DEFAULT 0;
";

/// Silences that recur, and when they next begin or end.
const REPEATS: &str = "
    ALTER TABLE silences ADD COLUMN repeat TEXT;
    ALTER TABLE silences ADD COLUMN turns INTEGER;
";

/// Who is known: users, sessions, tokens.
const PEOPLE: &str = "
    CREATE TABLE users (
        name TEXT PRIMARY KEY,
        role TEXT NOT NULL,
        password TEXT NOT NULL,
        created INTEGER NOT NULL,
        changed INTEGER
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE sessions (
        print BLOB PRIMARY KEY,
        user TEXT NOT NULL,
        created INTEGER NOT NULL,
        used INTEGER NOT NULL
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE tokens (
        number INTEGER PRIMARY KEY AUTOINCREMENT,
        print BLOB NOT NULL UNIQUE,
        user TEXT NOT NULL,
        name TEXT NOT NULL,
        scopes TEXT NOT NULL,
        created INTEGER NOT NULL,
        expires INTEGER,
        UNIQUE (user, name)
    ) STRICT;
";

/// What people make: rules are one kind of it.
const MADE: &str = "
    CREATE TABLE made (
        number INTEGER PRIMARY KEY AUTOINCREMENT,
        thing TEXT NOT NULL,
        id TEXT NOT NULL,
        version INTEGER NOT NULL,
        enabled INTEGER NOT NULL,
        body TEXT NOT NULL,
        created_by TEXT NOT NULL,
        created INTEGER NOT NULL,
        changed_by TEXT,
        changed INTEGER,
        UNIQUE (thing, id)
    );
    INSERT INTO made (thing, id, version, enabled, body, created_by, created, changed_by, changed)
        SELECT 'rule', id, version, enabled, body, created_by, created, changed_by, changed FROM rules ORDER BY number;
    DROP TABLE rules;
";

/// A file as an earlier version made it.
#[cfg(test)]
pub(super) fn of_format(path: &Path, format: usize) -> Connection {
    let connection = Connection::open(path).unwrap();
    for step in &STEPS[..format] {
        connection.execute_batch(step).unwrap();
    }
    connection
        .pragma_update(None, "user_version", i64::try_from(format).unwrap())
        .unwrap();
    connection
}

/// Opens the file, brings it to the newest format and sets how it is written. One that is damaged is set aside and a new one
/// begun.
pub(super) fn open(path: &Path, writes: &Writes) -> Result<Connection, StateError> {
    match open_as_is(path, writes) {
        Err(StateError::Database { source, .. }) if damage::is_damage(&source) => {
            tracing::error!(
                path = %path.display(), error = %source,
                "the state file is damaged: it is set aside and a new one begun; waiting deliveries are lost, and \
                 the rules run over the kept journal again"
            );
            damage::set_aside(path);
            open_as_is(path, writes)
        }
        other => other,
    }
}

/// Opens the file for a process beside the gateway, or makes it. Nothing is brought up to date or set aside: that is the gateway's
/// alone, which may be running.
pub(super) fn open_beside(path: &Path) -> Result<Connection, StateError> {
    if !path.exists() {
        return open_as_is(path, &Writes::default());
    }
    let failed = |source| StateError::Database {
        path: path.display().to_string(),
        source,
    };
    let connection = Connection::open(path).map_err(failed)?;
    connection
        .execute_batch("PRAGMA synchronous = FULL; PRAGMA busy_timeout = 5000;")
        .map_err(failed)?;
    let known = i64::try_from(STEPS.len()).unwrap_or(i64::MAX);
    let found: i64 = connection
        .pragma_query_value(None, "user_version", |row| row.get(0))
        .map_err(failed)?;
    let path = path.display().to_string();
    match found.cmp(&known) {
        Ordering::Equal => Ok(connection),
        Ordering::Greater => Err(StateError::Newer { path, found, known }),
        Ordering::Less => Err(StateError::Older { path, found, known }),
    }
}

fn open_as_is(path: &Path, writes: &Writes) -> Result<Connection, StateError> {
    let failed = |source| StateError::Database {
        path: path.display().to_string(),
        source,
    };
    let mut connection = Connection::open(path).map_err(failed)?;
    // FULL: what is answered must survive a power cut. Alerts are rare, so its cost doesn't matter.
    connection
        .execute_batch(
            "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA busy_timeout = 5000;",
        )
        .map_err(failed)?;
    damage::make_durable(&connection).map_err(failed)?;
    wear::watch(&mut connection, writes, CHECKPOINT_PAGES).map_err(failed)?;
    let known = i64::try_from(STEPS.len()).unwrap_or(i64::MAX);
    let found: i64 = connection
        .pragma_query_value(None, "user_version", |row| row.get(0))
        .map_err(failed)?;
    if found > known {
        return Err(StateError::Newer {
            path: path.display().to_string(),
            found,
            known,
        });
    }
    let done = usize::try_from(found).unwrap_or(0);
    // Nothing is written without need: the disk may be full.
    if found < known {
        let transaction = connection.transaction().map_err(failed)?;
        for step in &STEPS[done..] {
            transaction.execute_batch(step).map_err(failed)?;
        }
        transaction
            .pragma_update(None, "user_version", known)
            .map_err(failed)?;
        transaction.commit().map_err(failed)?;
    }
    // Damage anywhere shows here rather than when an alert is to be written. The file is small.
    let verdict: String = connection
        .pragma_query_value(None, "quick_check", |row| row.get(0))
        .map_err(failed)?;
    if verdict == "ok" {
        Ok(connection)
    } else {
        let code = rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_CORRUPT);
        Err(failed(rusqlite::Error::SqliteFailure(code, Some(verdict))))
    }
}
