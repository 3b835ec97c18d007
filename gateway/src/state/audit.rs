//! The audit trail: who did what to which alert, silence, rule, device, webhook, dashboard, delivery, user or token, and when. Written in the transaction that does it.
//!
//! Bounded: the newest [`KEPT_ENTRIES`].

use rusqlite::{Connection, Transaction, params};
use serde::Serialize;
use serde_json::Value as JsonValue;

use super::made::Thing;
use crate::model::Timestamp;

/// Entries that are kept.
pub const KEPT_ENTRIES: i64 = 10_000;

/// What somebody did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Action {
    Acknowledged,
    Unacknowledged,
    Closed,
    Expired,
    Shelved,
    Unshelved,
    SilenceCreated,
    SilenceChanged,
    SilenceEnded,
    DeliveryReplayed,
    DeliveryDiscarded,
    Created(Thing),
    Changed(Thing),
    Deleted(Thing),
    LoggedIn,
    LoggedOut,
    LoginFailed,
    UserCreated,
    UserChanged,
    UserDeleted,
    TokenCreated,
    TokenRevoked,
}

/// Which entries are about people: only admins see them.
const ABOUT_PEOPLE: &str = "action GLOB 'log*' OR action GLOB 'user_*' OR action GLOB 'token_*'";

impl Action {
    const fn name(self) -> &'static str {
        match self {
            Self::Acknowledged => "alert_acknowledged",
            Self::Unacknowledged => "alert_unacknowledged",
            Self::Closed => "alert_closed",
            Self::Expired => "alert_expired",
            Self::Shelved => "alert_shelved",
            Self::Unshelved => "alert_unshelved",
            Self::SilenceCreated => "silence_created",
            Self::SilenceChanged => "silence_changed",
            Self::SilenceEnded => "silence_ended",
            Self::DeliveryReplayed => "delivery_replayed",
            Self::DeliveryDiscarded => "delivery_discarded",
            Self::Created(Thing::Rule) => "rule_created",
            Self::Changed(Thing::Rule) => "rule_changed",
            Self::Deleted(Thing::Rule) => "rule_deleted",
            Self::Created(Thing::Device) => "device_created",
            Self::Changed(Thing::Device) => "device_changed",
            Self::Deleted(Thing::Device) => "device_deleted",
            Self::Created(Thing::Webhook) => "webhook_created",
            Self::Changed(Thing::Webhook) => "webhook_changed",
            Self::Deleted(Thing::Webhook) => "webhook_deleted",
            Self::Created(Thing::Dashboard) => "dashboard_created",
            Self::Changed(Thing::Dashboard) => "dashboard_changed",
            Self::Deleted(Thing::Dashboard) => "dashboard_deleted",
            Self::LoggedIn => "logged_in",
            Self::LoggedOut => "logged_out",
            Self::LoginFailed => "login_failed",
            Self::UserCreated => "user_created",
            Self::UserChanged => "user_changed",
            Self::UserDeleted => "user_deleted",
            Self::TokenCreated => "token_created",
            Self::TokenRevoked => "token_revoked",
        }
    }
}

/// One line of the trail, as `docs/http-api.md` describes it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct AuditEntry {
    /// Rises by one an entry, never reused.
    pub number: i64,
    /// When, RFC 3339.
    pub at: String,
    /// When, epoch milliseconds.
    pub at_ms: i64,
    /// Who, as they said; `gateway` for what it did itself.
    pub by: String,
    /// What was done: `alert_acknowledged`, `silence_created`, `rule_changed`, `delivery_replayed` and so on; `docs/http-api.md` has all.
    pub action: String,
    /// The id of the alert, silence, rule, device, webhook, dashboard or delivery.
    pub target: String,
    /// The thing as it was then: the alert's rule and series with the comment, the silence, or what was made, without secrets; of a changed one `before` and `after`.
    pub detail: JsonValue,
}

/// Adds an entry.
pub(super) fn add(
    transaction: &Transaction<'_>,
    now: Timestamp,
    by: &str,
    action: Action,
    target: &str,
    detail: &JsonValue,
) -> rusqlite::Result<()> {
    transaction
        .prepare_cached(
            "INSERT INTO audit (at, by, action, target, detail) VALUES (?1, ?2, ?3, ?4, ?5)",
        )?
        .execute(params![
            now.0,
            by,
            action.name(),
            target,
            detail.to_string()
        ])?;
    let newest = transaction.last_insert_rowid();
    transaction
        .prepare_cached("DELETE FROM audit WHERE number <= ?1")?
        .execute(params![newest - KEPT_ENTRIES])?;
    Ok(())
}

/// The newest first; those about people only if `people` says so.
pub(super) fn read(
    connection: &Connection,
    limit: usize,
    people: bool,
) -> rusqlite::Result<Vec<AuditEntry>> {
    let mut statement = connection.prepare_cached(&format!(
        "SELECT number, at, by, action, target, detail FROM audit WHERE ?2 OR NOT ({ABOUT_PEOPLE}) ORDER BY number DESC LIMIT ?1"
    ))?;
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let rows = statement.query_map(params![limit, people], |row| {
        let at = Timestamp(row.get(1)?);
        let detail: String = row.get(5)?;
        Ok(AuditEntry {
            number: row.get(0)?,
            at: at.to_rfc3339(),
            at_ms: at.as_millis(),
            by: row.get(2)?,
            action: row.get(3)?,
            target: row.get(4)?,
            detail: serde_json::from_str(&detail).unwrap_or(JsonValue::Null),
        })
    })?;
    rows.collect()
}
