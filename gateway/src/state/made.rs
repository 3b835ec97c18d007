//! What people make over the API, as they wrote it: rules, devices, webhooks, dashboards. Each change is durable, with its line in the
//! audit trail, when the call returns.
//!
//! What it does not do: know what a thing means, or whether its name is free. Who applies things checks that before, one change
//! after the other.
//!
//! Bounded: [`Thing::most`] of each; one more is refused.

use rusqlite::{Connection, OptionalExtension, Row, Transaction, params};
use serde_json::{Map, Value as JsonValue, json};
use smol_str::{SmolStr, format_smolstr};
use thiserror::Error;

use super::{
    State, StateError,
    audit::{self, Action},
};
use crate::model::Timestamp;

/// What people make.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Thing {
    /// A condition that raises alerts, by the keys of `[[rule]]`.
    Rule,
    /// What a person says of a device, by the keys of `[[device]]`.
    Device,
    /// A destination for alerts, by the keys of `[[webhook]]`, its secrets included.
    Webhook,
    /// A saved view: `name`, `layout`, `kiosk`.
    Dashboard,
}

/// Keys of a webhook that are written and never shown: addresses too, as many services put their secret into the path.
pub const SECRET_KEYS: [&str; 8] = [
    "url",
    "token",
    "signing_keys",
    "headers",
    "topic",
    "password",
    "routing_key",
    "api_key",
];

/// Bytes up to which the layout of a dashboard is told in the audit trail.
const MAX_TOLD_LAYOUT: usize = 2 << 10;

impl Thing {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Rule, Self::Device, Self::Webhook, Self::Dashboard];

    /// As the file, the API and problems call it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Rule => "rule",
            Self::Device => "device",
            Self::Webhook => "webhook",
            Self::Dashboard => "dashboard",
        }
    }

    /// How many of them people may make.
    #[must_use]
    pub const fn most(self) -> i64 {
        match self {
            Self::Rule => 1_000,
            Self::Device => 10_000,
            Self::Webhook => 100,
            Self::Dashboard => 200,
        }
    }

    /// How the random id of a new one begins; none for what has the id that its maker says.
    const fn prefix(self) -> Option<&'static str> {
        match self {
            Self::Rule => Some("r"),
            Self::Dashboard => Some("d"),
            Self::Device | Self::Webhook => None,
        }
    }
}

/// Something that a person made.
#[derive(Clone, Debug, PartialEq)]
pub struct Made {
    /// Which kind of thing.
    pub thing: Thing,
    /// Stable. Of a device or webhook what its maker calls it; of others letters, digits and `-`.
    pub id: SmolStr,
    /// Rises by one with each change, and is above that of one by this id that was deleted.
    pub version: u64,
    /// Whether it is to be in force.
    pub enabled: bool,
    /// As it was written, secrets included.
    pub body: Map<String, JsonValue>,
    /// Who made it, as they said.
    pub created_by: String,
    /// When.
    pub created: Timestamp,
    /// Who changed it last.
    pub changed_by: Option<String>,
    /// When.
    pub changed: Option<Timestamp>,
}

/// What a person wants a thing to be.
#[derive(Clone, Debug, PartialEq)]
pub struct MadeDraft {
    /// By the keys of the config.
    pub body: Map<String, JsonValue>,
    /// Whether it is to be in force.
    pub enabled: bool,
    /// Who says so.
    pub by: String,
}

/// Why a change was not written. Nothing was changed then.
#[derive(Debug, Error)]
pub enum MadeError {
    /// The file can't be used.
    #[error(transparent)]
    State(#[from] StateError),
    /// None has this id, or it was deleted.
    #[error("there is no {} with this id: it may have been deleted", .0.name())]
    Unknown(Thing),
    /// There is one by this id.
    #[error("there is a {} with this id: change that one", .0.thing.name())]
    Taken(Box<Made>),
    /// Somebody else changed it.
    #[error("the {} was changed meanwhile: look at what it is now, and decide again", .0.thing.name())]
    Changed(Box<Made>),
    /// The bound.
    #[error("there are {} {}s of people, and no more are taken: delete one first", .0.most(), .0.name())]
    TooMany(Thing),
}

impl Made {
    /// Its name; the id of one without.
    #[must_use]
    pub fn name(&self) -> &str {
        let name = self.body.get("name");
        name.and_then(JsonValue::as_str).unwrap_or(&self.id)
    }

    /// For the audit trail: without secrets.
    fn told(&self) -> JsonValue {
        match self.thing {
            Thing::Rule => {
                json!({"name": self.name(), "enabled": self.enabled, "rule": self.body})
            }
            Thing::Device => json!({"name": self.name(), "device": self.body}),
            Thing::Webhook => {
                let (body, secrets) = without_secrets(&self.body);
                json!({"name": self.name(), "enabled": self.enabled, "webhook": body, "secrets": secrets})
            }
            Thing::Dashboard => {
                let mut body = self.body.clone();
                let bytes = body
                    .get("layout")
                    .map_or(0, |layout| layout.to_string().len());
                if bytes > MAX_TOLD_LAYOUT {
                    body.remove("layout");
                }
                json!({"name": self.name(), "dashboard": body, "layout_bytes": bytes})
            }
        }
    }
}

/// What may be shown of a webhook, and which secrets it has.
#[must_use]
pub fn without_secrets(body: &Map<String, JsonValue>) -> (Map<String, JsonValue>, Vec<String>) {
    let mut shown = body.clone();
    let secrets = SECRET_KEYS
        .iter()
        .filter(|key| shown.remove(**key).is_some())
        .map(|key| (*key).to_owned())
        .collect();
    (shown, secrets)
}

impl State {
    /// All of a kind, in the order in which they were made.
    ///
    /// # Errors
    ///
    /// [`StateError`]
    pub async fn made(&self, thing: Thing) -> Result<Vec<Made>, StateError> {
        self.with(move |connection| list(connection, thing)).await
    }

    /// One of them.
    ///
    /// # Errors
    ///
    /// [`StateError`]
    pub async fn one_made(&self, thing: Thing, id: &str) -> Result<Option<Made>, StateError> {
        let id = id.to_owned();
        self.with(move |connection| find(connection, thing, &id))
            .await
    }

    /// Makes one; under this id, or under one made at random.
    ///
    /// # Errors
    ///
    /// [`MadeError::TooMany`], [`MadeError::Taken`], or that the file can't be written.
    pub async fn make(
        &self,
        thing: Thing,
        id: Option<&str>,
        draft: MadeDraft,
    ) -> Result<Made, MadeError> {
        let now = self.moment().time;
        let id = id.map_or_else(
            || {
                format_smolstr!(
                    "{}-{:016x}",
                    thing.prefix().unwrap_or("x"),
                    fastrand::u64(..)
                )
            },
            SmolStr::new,
        );
        let made = self
            .decide_made(move |transaction| {
                if let Some(taken) = find(transaction, thing, &id)? {
                    return Ok(Err(MadeError::Taken(Box::new(taken))));
                }
                let count: i64 = transaction
                    .prepare_cached("SELECT count(*) FROM made WHERE thing = ?1")?
                    .query_row(params![thing.name()], |row| row.get(0))?;
                if count >= thing.most() {
                    return Ok(Err(MadeError::TooMany(thing)));
                }
                let before = match thing.prefix() {
                    Some(_) => 0,
                    None => newest_gone(transaction)?,
                };
                let made = Made {
                    thing,
                    id,
                    version: before.saturating_add(1),
                    enabled: draft.enabled,
                    body: draft.body,
                    created_by: draft.by,
                    created: now,
                    changed_by: None,
                    changed: None,
                };
                write(transaction, &made)?;
                let (by, id) = (&made.created_by, &made.id);
                let action = Action::Created(thing);
                audit::add(transaction, now, by, action, id, &made.told())?;
                Ok(Ok(made))
            })
            .await;
        if matches!(made, Err(MadeError::TooMany(_))) {
            self.metrics.refused(thing).inc();
        }
        made
    }

    /// Changes one, if it is still at `version` (any, if none is given). What is the same already stays at its version.
    ///
    /// # Errors
    ///
    /// [`MadeError`]
    pub async fn change_made(
        &self,
        thing: Thing,
        id: &str,
        version: Option<u64>,
        draft: MadeDraft,
    ) -> Result<Made, MadeError> {
        let (id, now) = (id.to_owned(), self.moment().time);
        self.decide_made(move |transaction| {
            let before = match current(transaction, thing, &id, version)? {
                Ok(made) => made,
                Err(refused) => return Ok(Err(refused)),
            };
            if (&before.body, before.enabled) == (&draft.body, draft.enabled) {
                return Ok(Ok(before));
            }
            let after = Made {
                version: before.version.saturating_add(1),
                enabled: draft.enabled,
                body: draft.body,
                changed_by: Some(draft.by.clone()),
                changed: Some(now),
                ..before.clone()
            };
            write(transaction, &after)?;
            let detail = json!({"before": before.told(), "after": after.told()});
            let action = Action::Changed(thing);
            audit::add(transaction, now, &draft.by, action, &id, &detail)?;
            Ok(Ok(after))
        })
        .await
    }

    /// Deletes one, if it is still at `version` (any, if none is given).
    ///
    /// # Errors
    ///
    /// [`MadeError`]
    pub async fn delete_made(
        &self,
        thing: Thing,
        id: &str,
        version: Option<u64>,
        by: String,
    ) -> Result<Made, MadeError> {
        let (id, now) = (id.to_owned(), self.moment().time);
        self.decide_made(move |transaction| {
            let gone = match current(transaction, thing, &id, version)? {
                Ok(made) => made,
                Err(refused) => return Ok(Err(refused)),
            };
            transaction
                .prepare_cached("DELETE FROM made WHERE thing = ?1 AND id = ?2")?
                .execute(params![thing.name(), id])?;
            note_gone(transaction, gone.version)?;
            let action = Action::Deleted(thing);
            audit::add(transaction, now, &by, action, &id, &gone.told())?;
            Ok(Ok(gone))
        })
        .await
    }

    /// Does `work` in one transaction; a refusal changes nothing.
    async fn decide_made(
        &self,
        work: impl FnOnce(&Transaction<'_>) -> rusqlite::Result<Result<Made, MadeError>>
        + Send
        + 'static,
    ) -> Result<Made, MadeError> {
        self.write(move |connection| {
            let transaction = connection.transaction()?;
            let decided = work(&transaction)?;
            if decided.is_ok() {
                transaction.commit()?;
            }
            Ok(decided)
        })
        .await?
    }
}

const COLUMNS: &str = "thing, id, version, enabled, body, created_by, created, changed_by, changed";

fn list(connection: &Connection, thing: Thing) -> rusqlite::Result<Vec<Made>> {
    let mut statement = connection.prepare_cached(&format!(
        "SELECT {COLUMNS} FROM made WHERE thing = ?1 ORDER BY number"
    ))?;
    let rows = statement.query_map(params![thing.name()], |row| from_row(row, thing))?;
    let mut all = Vec::new();
    for made in rows {
        match made {
            Ok(made) => all.push(made),
            Err(error @ rusqlite::Error::FromSqlConversionFailure(..)) => {
                tracing::error!(%error, thing = thing.name(), "what a person made cannot be read in the state file and is left out");
            }
            Err(error) => return Err(error),
        }
    }
    Ok(all)
}

fn find(connection: &Connection, thing: Thing, id: &str) -> rusqlite::Result<Option<Made>> {
    connection
        .prepare_cached(&format!(
            "SELECT {COLUMNS} FROM made WHERE thing = ?1 AND id = ?2"
        ))?
        .query_row(params![thing.name(), id], |row| from_row(row, thing))
        .optional()
}

/// The thing, if it is the one that was meant.
fn current(
    transaction: &Transaction<'_>,
    thing: Thing,
    id: &str,
    version: Option<u64>,
) -> rusqlite::Result<Result<Made, MadeError>> {
    Ok(match find(transaction, thing, id)? {
        None => Err(MadeError::Unknown(thing)),
        Some(made) if version.is_some_and(|version| version != made.version) => {
            Err(MadeError::Changed(Box::new(made)))
        }
        Some(made) => Ok(made),
    })
}

/// The highest version of what was deleted: who still holds it must not take one that was made anew under its id for that one.
fn newest_gone(transaction: &Transaction<'_>) -> rusqlite::Result<u64> {
    let version: Option<i64> = transaction
        .prepare_cached("SELECT value FROM meta WHERE key = 'made_gone'")?
        .query_row([], |row| row.get(0))
        .optional()?;
    Ok(version.unwrap_or(0).unsigned_abs())
}

fn note_gone(transaction: &Transaction<'_>, version: u64) -> rusqlite::Result<()> {
    transaction
        .prepare_cached(
            "INSERT INTO meta (key, value) VALUES ('made_gone', ?1)
             ON CONFLICT (key) DO UPDATE SET value = max(value, excluded.value)",
        )?
        .execute(params![i64::try_from(version).unwrap_or(i64::MAX)])?;
    Ok(())
}

fn write(transaction: &Transaction<'_>, made: &Made) -> rusqlite::Result<()> {
    let body = JsonValue::Object(made.body.clone()).to_string();
    transaction
        .prepare_cached(&format!(
            "INSERT INTO made ({COLUMNS}) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)
             ON CONFLICT (thing, id) DO UPDATE SET version = excluded.version, enabled = excluded.enabled, body = excluded.body,
             changed_by = excluded.changed_by, changed = excluded.changed"
        ))?
        .execute(params![
            made.thing.name(),
            made.id.as_str(),
            i64::try_from(made.version).unwrap_or(i64::MAX),
            made.enabled,
            body,
            made.created_by,
            made.created.0,
            made.changed_by,
            made.changed.map(|at| at.0),
        ])?;
    Ok(())
}

fn from_row(row: &Row<'_>, thing: Thing) -> rusqlite::Result<Made> {
    let body: String = row.get(4)?;
    Ok(Made {
        thing,
        id: SmolStr::from(row.get::<_, String>(1)?),
        version: row.get::<_, i64>(2)?.unsigned_abs(),
        enabled: row.get(3)?,
        body: serde_json::from_str(&body).map_err(|error| {
            let text = rusqlite::types::Type::Text;
            rusqlite::Error::FromSqlConversionFailure(4, text, Box::new(error))
        })?,
        created_by: row.get(5)?,
        created: Timestamp(row.get(6)?),
        changed_by: row.get(7)?,
        changed: row.get::<_, Option<i64>>(8)?.map(Timestamp),
    })
}
