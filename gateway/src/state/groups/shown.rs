//! What people see of groups.

use std::collections::{BTreeMap, HashMap};

use rusqlite::{Connection, params};
use serde::Serialize;
use smol_str::SmolStr;

use crate::state::{State, StateError, steady};

/// An open group, as it is shown.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct GroupShown {
    /// Of which route.
    pub route: String,
    /// Its key, as in its messages.
    pub group_key: String,
    /// What its alerts have in common.
    pub group_labels: BTreeMap<String, String>,
    /// Alerts in it that fire.
    pub firing: u64,
    /// Alerts in it that are over, and of whose end somebody is still to hear.
    pub over: u64,
    /// When it may say something next, if nothing changes; epoch milliseconds. None: not by time, or the clock is not set.
    pub next_ms: Option<i64>,
}

impl State {
    /// The open groups, at most `limit`, those first that may say something next.
    ///
    /// # Errors
    ///
    /// [`StateError`]
    pub async fn groups(&self, limit: usize) -> Result<Vec<GroupShown>, StateError> {
        let steady = self.groups.steady.clone();
        self.with(move |connection| {
            let mut statement = connection.prepare_cached(
                "SELECT g.route, g.key, g.labels, g.due, count(*) FILTER (WHERE a.state = 'firing'),
                 count(*) FILTER (WHERE a.state <> 'firing')
                 FROM groups g LEFT JOIN members m ON m.in_group = g.number LEFT JOIN alerts a ON a.id = m.alert
                 GROUP BY g.number ORDER BY g.due, g.number LIMIT ?1",
            )?;
            let limit = i64::try_from(limit).unwrap_or(i64::MAX);
            let groups = statement.query_map(params![limit], |row| {
                let (labels, due): (String, i64) = (row.get(2)?, row.get(3)?);
                let next = Some(due).filter(|due| *due < i64::MAX);
                let next = next.and_then(|due| steady.wall(steady::read(due)));
                Ok(GroupShown {
                    route: row.get(0)?,
                    group_key: row.get(1)?,
                    group_labels: serde_json::from_str(&labels).unwrap_or_default(),
                    firing: row.get::<_, i64>(4)?.unsigned_abs(),
                    over: row.get::<_, i64>(5)?.unsigned_abs(),
                    next_ms: next.map(|at| at.as_millis()),
                })
            })?;
            groups.collect()
        })
        .await
    }
}

/// The alerts that others inhibit, with some of these.
pub(in crate::state) fn inhibited(
    connection: &Connection,
) -> rusqlite::Result<HashMap<SmolStr, Vec<SmolStr>>> {
    let mut statement = connection
        .prepare_cached("SELECT alert, inhibited_by FROM members WHERE inhibited_by <> ''")?;
    let rows = statement.query_map([], |row| {
        let by: String = row.get(1)?;
        let by = by.split_whitespace().map(SmolStr::from).collect();
        Ok((SmolStr::from(row.get::<_, String>(0)?), by))
    })?;
    rows.collect()
}

/// When alerts go one step on unless somebody acknowledges, epoch milliseconds.
pub(in crate::state) fn escalates(
    connection: &Connection,
) -> rusqlite::Result<HashMap<SmolStr, i64>> {
    let mut statement = connection.prepare_cached(
        "SELECT alert, min(escalates_ms) FROM members WHERE escalates_ms IS NOT NULL GROUP BY alert",
    )?;
    let rows = statement.query_map([], |row| {
        Ok((SmolStr::from(row.get::<_, String>(0)?), row.get(1)?))
    })?;
    rows.collect()
}
