//! The inventory: which series there are, whose they are, the newest reading of each, and what conditions remember of it, as of a record of
//! the journal.
//!
//! It spares a start the whole journal: what is older than the tail that fills rings and windows is known from here. Written down are the
//! series that changed since, whenever the journal grew by a part of what it keeps: idle means no writes, and a start never has
//! to read much more than `keep` for it.
//!
//! Rows stay for as long as the journal holds a reading of the series. Those that it no longer holds stay too while they take less than
//! half of `max_series`; of more the oldest go at the next start, so that series that never come again leave room for new ones.

use std::time::Duration;

use rusqlite::{
    Connection, OptionalExtension, Row, Transaction, params,
    types::{ToSqlOutput, Value as Sql, ValueRef},
};
use tokio_util::sync::CancellationToken;

use super::{State, StateError, remembered};
use crate::{
    cause,
    engine::{Engine, Inventory, Known},
    journal::{Journal, Position},
    model::{DeviceId, Metric, Quality, Reading, SeriesKey, SourceName, Timestamp, Unit, Value},
};

/// How often it is looked whether the journal has grown enough.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// It is written down when the journal grew by this share of what it keeps, and by a segment at least.
const SHARE: u64 = 4;

/// How often it is asked whether what was decided is written down, and how long it waits in between.
const ASKED_AGAIN: u32 = 20;
const ASK_AGAIN: Duration = Duration::from_millis(100);

impl State {
    /// The inventory as it was written down last; `None` if it never was. `oldest` is the journal's oldest record, `max_series` the
    /// cap on series: see the module for what is forgotten here.
    ///
    /// # Errors
    ///
    /// [`StateError`]
    pub async fn inventory(
        &self,
        oldest: Position,
        max_series: usize,
    ) -> Result<Option<Inventory>, StateError> {
        self.with(move |connection| {
            let Some(position) = noted(connection)? else {
                return Ok(None);
            };
            let spare = i64::try_from(max_series / 2).unwrap_or(i64::MAX);
            // Nothing is written without need: the disk may be full.
            let gone: i64 = connection.query_row(
                "SELECT count(*) FROM series WHERE position < ?1",
                params![signed(oldest)],
                |row| row.get(0),
            )?;
            if gone > spare {
                connection.execute(
                    "DELETE FROM series WHERE (device, metric) IN (SELECT device, metric FROM series \
                     WHERE position < ?1 ORDER BY position LIMIT ?2)",
                    params![signed(oldest), gone - spare],
                )?;
            }
            let mut statement = connection.prepare(
                "SELECT device, metric, source, unit, time, received, kind, value, quality, retained, position FROM series",
            )?;
            let rows = statement.query_map([], read)?;
            let mut series = Vec::new();
            for row in rows {
                match row? {
                    Some(known) => series.push(known),
                    None => tracing::warn!("a series of the inventory cannot be read and is left out"),
                }
            }
            let (remembered, remembers_all) = remembered::read(connection)?;
            Ok(Some(Inventory {
                position,
                series,
                remembered,
                remembers_all,
            }))
        })
        .await
    }

    /// Writes down what changed since the inventory of `since`. False, and nothing is written, when that is not the one in the file: then
    /// all of it is wanted (`since` 0).
    ///
    /// # Errors
    ///
    /// [`StateError`]; nothing was written then.
    pub async fn note_inventory(
        &self,
        since: Position,
        inventory: Inventory,
    ) -> Result<bool, StateError> {
        let inventories = self.metrics.inventories.clone();
        self.write(move |connection| {
            let transaction = connection.transaction()?;
            let is_next = since == Position(0) || noted(&transaction)? == Some(since);
            if !is_next {
                return Ok(false);
            }
            for known in &inventory.series {
                write(&transaction, known)?;
            }
            remembered::write(&transaction, &inventory.remembered, inventory.remembers_all)?;
            transaction.execute(
                "INSERT INTO meta (key, value) VALUES ('inventory', ?1) ON CONFLICT (key) DO UPDATE SET value = excluded.value",
                params![signed(inventory.position)],
            )?;
            transaction.commit()?;
            inventories.inc();
            Ok(true)
        })
        .await
    }
}

/// Writes the inventory down as the journal grows, until `stop`. `noted` is what [`State::inventory`] gave.
pub async fn keep_inventory(
    state: State,
    engine: Engine,
    journal: Journal,
    noted: Option<Position>,
    stop: CancellationToken,
) {
    let (mut noted, mut failed) = (noted.unwrap_or_default(), false);
    let config = journal.config();
    let enough = (config.keep_bytes / SHARE).max(config.segment_bytes);
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(LOOK_EVERY) => {}
        }
        if journal.bytes_after(noted) <= enough {
            continue;
        }
        let Ok(inventory) = engine.inventory(noted).await else {
            return;
        };
        let position = inventory.position;
        if !is_evaluated(&state, position).await {
            continue;
        }
        match state.note_inventory(noted, inventory).await {
            Ok(true) => (noted, failed) = (position, false),
            // The file was begun anew.
            Ok(false) => noted = Position(0),
            Err(StateError::Closed) => return,
            Err(error) if !failed => {
                failed = true;
                tracing::warn!(error = %cause::chain(&error), "the inventory cannot be written down; trying again");
            }
            Err(_) => {}
        }
    }
}

/// Waits a moment until all that rules made of the records up to `position` is written down; false if it still is not. What conditions
/// remember must not be ahead of that: after a restart rules run again over what was not written down.
pub(super) async fn is_evaluated(state: &State, position: Position) -> bool {
    for _ in 0..ASKED_AGAIN {
        match state.evaluated().await {
            Ok(evaluated) if evaluated < position => tokio::time::sleep(ASK_AGAIN).await,
            // Writing will say what is wrong.
            _ => return true,
        }
    }
    false
}

fn noted(connection: &Connection) -> rusqlite::Result<Option<Position>> {
    let noted: Option<i64> = connection
        .query_row(
            "SELECT value FROM meta WHERE key = 'inventory'",
            [],
            |row| row.get(0),
        )
        .optional()?;
    Ok(noted.map(|position| Position(position.unsigned_abs())))
}

fn signed(position: Position) -> i64 {
    i64::try_from(position.0).unwrap_or(i64::MAX)
}

fn write(transaction: &Transaction<'_>, known: &Known) -> rusqlite::Result<()> {
    let reading = &known.reading;
    let (kind, value) = match &reading.value {
        Value::Bool(on) => ("bool", ToSqlOutput::Owned(Sql::Integer(i64::from(*on)))),
        Value::Int(int) => ("int", ToSqlOutput::Owned(Sql::Integer(*int))),
        Value::Float(float) => ("float", ToSqlOutput::Owned(Sql::Real(*float))),
        Value::Text(text) => (
            "text",
            ToSqlOutput::Borrowed(ValueRef::Text(text.as_bytes())),
        ),
    };
    let quality = match reading.quality {
        Quality::Good => "good",
        Quality::Uncertain => "uncertain",
        Quality::Bad => "bad",
    };
    transaction
        .prepare_cached(
            "INSERT OR REPLACE INTO series (device, metric, source, unit, time, received, kind, value, quality, retained, position)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)",
        )?
        .execute(params![
            reading.series.device.0.as_str(),
            reading.series.metric.0.as_str(),
            known.source.0.as_str(),
            reading.unit.as_ref().map(|unit| unit.0.as_str()),
            reading.time.0,
            reading.received.0,
            kind,
            value,
            quality,
            reading.retained,
            signed(known.position),
        ])?;
    Ok(())
}

/// `None` if it is not as we write it.
fn read(row: &Row<'_>) -> rusqlite::Result<Option<Known>> {
    let kind: String = row.get(6)?;
    let value = match (kind.as_str(), row.get_ref(7)?) {
        ("bool", ValueRef::Integer(on)) => Value::Bool(on != 0),
        ("int", ValueRef::Integer(int)) => Value::Int(int),
        ("float", ValueRef::Real(float)) if float.is_finite() => Value::Float(float),
        ("text", text @ ValueRef::Text(_)) => Value::Text(text.as_str()?.into()),
        _ => return Ok(None),
    };
    let quality: String = row.get(8)?;
    let quality = match quality.as_str() {
        "good" => Quality::Good,
        "uncertain" => Quality::Uncertain,
        "bad" => Quality::Bad,
        _ => return Ok(None),
    };
    let text = |at: usize| row.get::<_, String>(at);
    let unit: Option<String> = row.get(3)?;
    Ok(Some(Known {
        source: SourceName(text(2)?.into()),
        reading: Reading {
            series: SeriesKey {
                device: DeviceId(text(0)?.into()),
                metric: Metric(text(1)?.into()),
            },
            value,
            unit: unit.map(|unit| Unit(unit.into())),
            quality,
            time: Timestamp(row.get(4)?),
            received: Timestamp(row.get(5)?),
            retained: row.get(9)?,
        },
        position: Position(row.get::<_, i64>(10)?.unsigned_abs()),
    }))
}
