//! Silences on disk, and what they do to the outbox.
//!
//! Where a silence is in its life is a column, changed in the same transaction as the deliveries that follow from it: each edge takes
//! effect once, whenever the gateway is killed. Everything that reads or adds deliveries first takes the edges that are due
//! ([`turn`]), so that what is written down after an edge is under the rule of after it.
//!
//! Between two transactions this holds: a delivery is `held` if an active silence matches its alert, and `waiting` if none does.

use jiff::tz::TimeZone;
use rusqlite::{Connection, OptionalExtension, Row, Transaction, params};
use serde::Deserialize;
use smol_str::SmolStr;

use std::collections::BTreeMap;

use super::{alerts::as_json, groups};
use crate::{
    alert::{
        Severity,
        silence::{Facts, Matcher, Silence, SilenceState},
    },
    model::Timestamp,
};

/// Silences that are planned or active at most; one more is refused.
pub const MAX_SILENCES: i64 = 1_000;
/// Silences that are over and kept; the oldest go.
pub const KEPT_SILENCES: i64 = 1_000;

const COLUMNS: &str = "id, version, state, starts, ends, created_by, created, changed_by, changed, comment, matchers, shelving, repeat, turns";

/// Now, and whether the clock that says so is known to be set.
#[derive(Clone, Copy, Debug)]
pub(super) struct Now {
    pub(super) time: Timestamp,
    pub(super) clock_is_set: bool,
}

/// What matchers see, out of a delivery's body: of one alert, or of all of a group.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Told {
    Group { alerts: Vec<ToldAlert> },
    Alert(ToldAlert),
}

#[derive(Debug, Deserialize)]
struct ToldAlert {
    rule: SmolStr,
    series: SmolStr,
    severity: Severity,
    labels: BTreeMap<String, String>,
}

const fn name(state: SilenceState) -> &'static str {
    match state {
        SilenceState::Planned => "planned",
        SilenceState::Active => "active",
        SilenceState::Ended => "ended",
    }
}

fn from_row(row: &Row<'_>) -> rusqlite::Result<Silence> {
    let state: String = row.get(2)?;
    let matchers: String = row.get(10)?;
    let unreadable = |column, error: Box<dyn std::error::Error + Send + Sync>| {
        rusqlite::Error::FromSqlConversionFailure(column, rusqlite::types::Type::Text, error)
    };
    Ok(Silence {
        id: SmolStr::from(row.get::<_, String>(0)?),
        version: row.get::<_, i64>(1)?.unsigned_abs(),
        state: match state.as_str() {
            "planned" => SilenceState::Planned,
            "active" => SilenceState::Active,
            "ended" => SilenceState::Ended,
            other => return Err(unreadable(2, other.into())),
        },
        matchers: serde_json::from_str::<Vec<Matcher>>(&matchers)
            .map_err(|error| unreadable(10, Box::new(error)))?,
        starts: Timestamp(row.get(3)?),
        ends: Timestamp(row.get(4)?),
        created_by: row.get(5)?,
        created: Timestamp(row.get(6)?),
        changed_by: row.get(7)?,
        changed: row.get::<_, Option<i64>>(8)?.map(Timestamp),
        comment: row.get(9)?,
        shelving: row.get(11)?,
        repeat: row
            .get::<_, Option<String>>(12)?
            .map(|repeat| serde_json::from_str(&repeat))
            .transpose()
            .map_err(|error| unreadable(12, Box::new(error)))?,
        turns: row.get::<_, Option<i64>>(13)?.map(Timestamp),
    })
}

/// Those that `condition` names, which may end in an order and a limit.
fn read(connection: &Connection, condition: &str) -> rusqlite::Result<Vec<Silence>> {
    let mut statement =
        connection.prepare_cached(&format!("SELECT {COLUMNS} FROM silences WHERE {condition}"))?;
    let rows = statement.query_map([], from_row)?;
    let mut silences = Vec::new();
    for silence in rows {
        match silence {
            Ok(silence) => silences.push(silence),
            Err(error @ rusqlite::Error::FromSqlConversionFailure(..)) => {
                tracing::error!(%error, "a silence in the state file cannot be read and is left out");
            }
            Err(error) => return Err(error),
        }
    }
    Ok(silences)
}

/// Those that hold deliveries back now.
pub(super) fn active(connection: &Connection) -> rusqlite::Result<Vec<Silence>> {
    read(connection, "state = 'active'")
}

/// All that are planned or active, the next to end first, then the newest `ended` that are over.
pub(super) fn list(connection: &Connection, ended: i64) -> rusqlite::Result<Vec<Silence>> {
    let mut silences = read(
        connection,
        "state IN ('planned', 'active') ORDER BY state, ends, id",
    )?;
    silences.extend(read(
        connection,
        &format!("state = 'ended' ORDER BY ends DESC, id LIMIT {ended}"),
    )?);
    Ok(silences)
}

/// One of them.
pub(super) fn get(connection: &Connection, id: &str) -> rusqlite::Result<Option<Silence>> {
    connection
        .prepare_cached(&format!("SELECT {COLUMNS} FROM silences WHERE id = ?1"))?
        .query_row(params![id], from_row)
        .optional()
}

/// How many are planned or active.
pub(super) fn open(connection: &Connection) -> rusqlite::Result<i64> {
    connection.query_row(
        "SELECT count(*) FROM silences WHERE state IN ('planned', 'active')",
        [],
        |row| row.get(0),
    )
}

/// Writes one, new or changed, and forgets the oldest of those that are over.
pub(super) fn write(transaction: &Transaction<'_>, silence: &Silence) -> rusqlite::Result<()> {
    let matchers = serde_json::to_string(&silence.matchers)
        .map_err(|error| rusqlite::Error::ToSqlConversionFailure(Box::new(error)))?;
    let repeat = silence.repeat.as_ref().map(as_json).transpose()?;
    transaction
        .prepare_cached(&format!(
            "INSERT OR REPLACE INTO silences ({COLUMNS}) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14)"
        ))?
        .execute(params![
            silence.id.as_str(),
            i64::try_from(silence.version).unwrap_or(i64::MAX),
            name(silence.state),
            silence.starts.0,
            silence.ends.0,
            silence.created_by,
            silence.created.0,
            silence.changed_by,
            silence.changed.map(|at| at.0),
            silence.comment,
            matchers,
            silence.shelving,
            repeat,
            silence.turns.map(|at| at.0),
        ])?;
    transaction.execute(
        "DELETE FROM silences WHERE state = 'ended' AND id NOT IN
         (SELECT id FROM silences WHERE state = 'ended' ORDER BY ends DESC, id LIMIT ?1)",
        params![KEPT_SILENCES],
    )?;
    Ok(())
}

/// When time alone next changes one. One that can't be read never changes: its edge would be due for ever.
pub(super) fn next_edge(connection: &Connection) -> rusqlite::Result<Option<Timestamp>> {
    let open = read(connection, "state IN ('planned', 'active')")?;
    Ok(open.iter().filter_map(Silence::edge).min())
}

/// Where one that recurs is, as a person has just made it. While the clock is not set it waits for that.
pub(super) fn begin(silence: &mut Silence, now: Now) {
    if now.clock_is_set {
        silence.recur(zone, now.time, true);
    }
}

/// It was there when the silence was made; without it the silence holds nothing back.
fn zone(name: &str) -> Option<TimeZone> {
    match TimeZone::get(name) {
        Ok(zone) => Some(zone),
        Err(error) => {
            tracing::error!(%error, zone = name, "the time zone of a silence is not known any more: install tzdata");
            None
        }
    }
}

/// Takes the edges that are due by now, with all that follows for the outbox. Whether there were any.
pub(super) fn turn(transaction: &Transaction<'_>, now: Now) -> rusqlite::Result<bool> {
    let mut turned = false;
    for mut silence in read(transaction, "state IN ('planned', 'active')")? {
        if silence.repeat.is_some() {
            if now.clock_is_set && silence.recur(zone, now.time, false) {
                write(transaction, &silence)?;
                turned = true;
            }
            continue;
        }
        let state = silence
            .state
            .at(silence.starts, silence.ends, now.time, now.clock_is_set);
        if state != silence.state {
            silence.state = state;
            write(transaction, &silence)?;
            turned = true;
        }
    }
    if turned {
        hold_and_release(transaction, now.time)?;
    }
    Ok(turned)
}

/// Brings the outbox in line with the silences that are active: holds what waits and is silenced, lets go what is held and no longer is.
pub(super) fn hold_and_release(
    transaction: &Transaction<'_>,
    now: Timestamp,
) -> rusqlite::Result<()> {
    groups::look_at_held(transaction)?;
    let active = active(transaction)?;
    let mut deliveries = transaction.prepare_cached(
        "SELECT number, status, body FROM deliveries WHERE status IN ('waiting', 'held')",
    )?;
    let mut hold = Vec::new();
    let mut release = Vec::new();
    let mut rows = deliveries.query([])?;
    while let Some(row) = rows.next()? {
        let (number, status, body): (i64, String, String) = (row.get(0)?, row.get(1)?, row.get(2)?);
        match (status == "held", is_silenced(&active, &body)) {
            (false, true) => hold.push(number),
            (true, false) => release.push(number),
            _ => {}
        }
    }
    let mut held = transaction
        .prepare_cached("UPDATE deliveries SET status = 'held', changed = ?2 WHERE number = ?1")?;
    for number in hold {
        held.execute(params![number, now.0])?;
    }
    // Its time to be given up begins now: before, nobody could have tried it.
    let mut released = transaction.prepare_cached(
        "UPDATE deliveries SET status = 'waiting', offered = 1, created = ?2, changed = ?2 WHERE number = ?1",
    )?;
    for number in release {
        released.execute(params![number, now.0])?;
    }
    Ok(())
}

impl ToldAlert {
    fn is_silenced(&self, active: &[Silence]) -> bool {
        let facts = Facts {
            rule: &self.rule,
            series: &self.series,
            severity: self.severity,
            labels: &self.labels,
        };
        active.iter().any(|silence| silence.holds(facts))
    }
}

fn is_silenced(active: &[Silence], body: &str) -> bool {
    if active.is_empty() {
        return false;
    }
    match serde_json::from_str::<Told>(body) {
        // Of a group that is only silenced in part the others must hear.
        Ok(Told::Group { alerts }) => {
            !alerts.is_empty() && alerts.iter().all(|told| told.is_silenced(active))
        }
        Ok(Told::Alert(told)) => told.is_silenced(active),
        Err(error) => {
            tracing::error!(%error, "a delivery in the state file cannot be read: no silence holds it back");
            false
        }
    }
}
