//! Rules that people made, as they wrote them. Each change is durable, with its line in the audit trail, when the call returns.
//!
//! What it does not do: know what a rule means, or whether its name is free. Who applies rules checks that before, one change
//! after the other.
//!
//! Bounded: [`MAX_RULES`]; one more is refused.

use rusqlite::{Connection, OptionalExtension, Row, Transaction, params};
use serde_json::{Map, Value as JsonValue, json};
use smol_str::{SmolStr, format_smolstr};
use thiserror::Error;

use super::{
    State, StateError,
    audit::{self, Action},
};
use crate::model::Timestamp;

/// Rules that people may make.
pub const MAX_RULES: i64 = 1_000;

const COLUMNS: &str = "id, version, enabled, body, created_by, created, changed_by, changed";

/// A rule that a person made.
#[derive(Clone, Debug, PartialEq)]
pub struct OwnRule {
    /// Stable; letters, digits and `-`.
    pub id: SmolStr,
    /// Rises by one with each change; from 1.
    pub version: u64,
    /// Whether it is to be in force.
    pub enabled: bool,
    /// As it was written, by the keys of `[[rule]]`.
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

/// What a person wants a rule to be.
#[derive(Clone, Debug, PartialEq)]
pub struct RuleDraft {
    /// By the keys of `[[rule]]`.
    pub body: Map<String, JsonValue>,
    /// Whether it is to be in force.
    pub enabled: bool,
    /// Who says so.
    pub by: String,
}

/// Why a rule was not written. Nothing was changed then.
#[derive(Debug, Error)]
pub enum RuleError {
    /// The file can't be used.
    #[error(transparent)]
    State(#[from] StateError),
    /// No rule has this id, or it was deleted.
    #[error("there is no rule with this id: it may have been deleted")]
    Unknown,
    /// Somebody else changed it.
    #[error("the rule was changed meanwhile: look at what it is now, and decide again")]
    Changed(Box<OwnRule>),
    /// The bound.
    #[error("there are {MAX_RULES} rules of people, and no more are taken: delete one first")]
    TooMany,
}

impl OwnRule {
    /// Its name; empty in a body without one, which no check lets through.
    #[must_use]
    pub fn name(&self) -> &str {
        let name = self.body.get("name");
        name.and_then(JsonValue::as_str).unwrap_or_default()
    }

    /// For the audit trail.
    fn told(&self) -> JsonValue {
        json!({"name": self.name(), "enabled": self.enabled, "rule": self.body})
    }
}

impl State {
    /// All rules that people made, in the order in which they were made.
    ///
    /// # Errors
    ///
    /// [`StateError`]
    pub async fn rules(&self) -> Result<Vec<OwnRule>, StateError> {
        self.with(|connection| list(connection)).await
    }

    /// Makes one.
    ///
    /// # Errors
    ///
    /// [`RuleError::TooMany`], or that the file can't be written.
    pub async fn create_rule(&self, draft: RuleDraft) -> Result<OwnRule, RuleError> {
        let now = self.moment().time;
        let made = self
            .decide_rule(move |transaction| {
                let count: i64 =
                    transaction.query_row("SELECT count(*) FROM rules", [], |row| row.get(0))?;
                if count >= MAX_RULES {
                    return Ok(Err(RuleError::TooMany));
                }
                let rule = OwnRule {
                    id: format_smolstr!("r-{:016x}", fastrand::u64(..)),
                    version: 1,
                    enabled: draft.enabled,
                    body: draft.body,
                    created_by: draft.by,
                    created: now,
                    changed_by: None,
                    changed: None,
                };
                write(transaction, &rule)?;
                let (by, id) = (&rule.created_by, &rule.id);
                audit::add(transaction, now, by, Action::RuleCreated, id, &rule.told())?;
                Ok(Ok(rule))
            })
            .await;
        if matches!(made, Err(RuleError::TooMany)) {
            self.metrics.rules_refused.inc();
        }
        made
    }

    /// Changes one, if it is still at `version` (any, if none is given). What is the same already stays at its version.
    ///
    /// # Errors
    ///
    /// [`RuleError`]
    pub async fn change_rule(
        &self,
        id: &str,
        version: Option<u64>,
        draft: RuleDraft,
    ) -> Result<OwnRule, RuleError> {
        let (id, now) = (id.to_owned(), self.moment().time);
        self.decide_rule(move |transaction| {
            let before = match current(transaction, &id, version)? {
                Ok(rule) => rule,
                Err(refused) => return Ok(Err(refused)),
            };
            if (&before.body, before.enabled) == (&draft.body, draft.enabled) {
                return Ok(Ok(before));
            }
            let after = OwnRule {
                version: before.version.saturating_add(1),
                enabled: draft.enabled,
                body: draft.body,
                changed_by: Some(draft.by.clone()),
                changed: Some(now),
                ..before.clone()
            };
            write(transaction, &after)?;
            let detail = json!({"before": before.told(), "after": after.told()});
            let by = &draft.by;
            audit::add(transaction, now, by, Action::RuleChanged, &id, &detail)?;
            Ok(Ok(after))
        })
        .await
    }

    /// Deletes one, if it is still at `version` (any, if none is given).
    ///
    /// # Errors
    ///
    /// [`RuleError`]
    pub async fn delete_rule(
        &self,
        id: &str,
        version: Option<u64>,
        by: String,
    ) -> Result<OwnRule, RuleError> {
        let (id, now) = (id.to_owned(), self.moment().time);
        self.decide_rule(move |transaction| {
            let gone = match current(transaction, &id, version)? {
                Ok(rule) => rule,
                Err(refused) => return Ok(Err(refused)),
            };
            transaction
                .prepare_cached("DELETE FROM rules WHERE id = ?1")?
                .execute(params![id])?;
            let detail = gone.told();
            audit::add(transaction, now, &by, Action::RuleDeleted, &id, &detail)?;
            Ok(Ok(gone))
        })
        .await
    }

    /// Does `work` in one transaction; a refusal changes nothing.
    async fn decide_rule(
        &self,
        work: impl FnOnce(&Transaction<'_>) -> rusqlite::Result<Result<OwnRule, RuleError>>
        + Send
        + 'static,
    ) -> Result<OwnRule, RuleError> {
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

fn list(connection: &Connection) -> rusqlite::Result<Vec<OwnRule>> {
    let mut statement =
        connection.prepare_cached(&format!("SELECT {COLUMNS} FROM rules ORDER BY number"))?;
    let rows = statement.query_map([], from_row)?;
    let mut rules = Vec::new();
    for rule in rows {
        match rule {
            Ok(rule) => rules.push(rule),
            Err(error @ rusqlite::Error::FromSqlConversionFailure(..)) => {
                tracing::error!(%error, "a rule in the state file cannot be read and is left out");
            }
            Err(error) => return Err(error),
        }
    }
    Ok(rules)
}

/// The rule, if it is the one that was meant.
fn current(
    transaction: &Transaction<'_>,
    id: &str,
    version: Option<u64>,
) -> rusqlite::Result<Result<OwnRule, RuleError>> {
    let found = transaction
        .prepare_cached(&format!("SELECT {COLUMNS} FROM rules WHERE id = ?1"))?
        .query_row(params![id], from_row)
        .optional()?;
    Ok(match found {
        None => Err(RuleError::Unknown),
        Some(rule) if version.is_some_and(|version| version != rule.version) => {
            Err(RuleError::Changed(Box::new(rule)))
        }
        Some(rule) => Ok(rule),
    })
}

fn write(transaction: &Transaction<'_>, rule: &OwnRule) -> rusqlite::Result<()> {
    let body = JsonValue::Object(rule.body.clone()).to_string();
    transaction
        .prepare_cached(&format!(
            "INSERT INTO rules ({COLUMNS}) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)
             ON CONFLICT (id) DO UPDATE SET version = excluded.version, enabled = excluded.enabled, body = excluded.body,
             changed_by = excluded.changed_by, changed = excluded.changed"
        ))?
        .execute(params![
            rule.id.as_str(),
            i64::try_from(rule.version).unwrap_or(i64::MAX),
            rule.enabled,
            body,
            rule.created_by,
            rule.created.0,
            rule.changed_by,
            rule.changed.map(|at| at.0),
        ])?;
    Ok(())
}

fn from_row(row: &Row<'_>) -> rusqlite::Result<OwnRule> {
    let body: String = row.get(3)?;
    Ok(OwnRule {
        id: SmolStr::from(row.get::<_, String>(0)?),
        version: row.get::<_, i64>(1)?.unsigned_abs(),
        enabled: row.get(2)?,
        body: serde_json::from_str(&body).map_err(|error| {
            let text = rusqlite::types::Type::Text;
            rusqlite::Error::FromSqlConversionFailure(3, text, Box::new(error))
        })?,
        created_by: row.get(4)?,
        created: Timestamp(row.get(5)?),
        changed_by: row.get(6)?,
        changed: row.get::<_, Option<i64>>(7)?.map(Timestamp),
    })
}
