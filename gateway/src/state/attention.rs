//! What people do about alerts: acknowledge (`acknowledged.rs`), silence. Each is durable, with its line in the audit trail, when the call returns.
//!
//! What it does not do: tell anybody. Who shows alerts watches [`State::attention_changed`] and reads [`State::attention`] anew.

use std::sync::{
    Arc,
    atomic::{AtomicI64, Ordering},
};

use rusqlite::{Connection, OptionalExtension, Transaction, params};
use serde_json::json;
use smol_str::{SmolStr, format_smolstr};
use thiserror::Error;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::{
    State, StateError,
    audit::{self, Action, AuditEntry},
    groups::{self, Looks},
    silences::{self, MAX_SILENCES, Now},
};
use crate::{
    alert::{
        Alert, AlertState,
        route::Routed,
        silence::{Acknowledgement, Attention, Draft, Silence, SilenceState},
    },
    model::Timestamp,
};

/// How late an edge may be noticed at most when the wall clock jumps, or the machine slept.
const LOOK_EVERY: std::time::Duration = std::time::Duration::from_secs(1);

/// Why something was not done. Nothing was changed then.
#[derive(Debug, Error)]
pub enum AttentionError {
    /// The file can't be used.
    #[error(transparent)]
    State(#[from] StateError),
    /// No alert has this id, or it was long ago.
    #[error("there is no alert with this id")]
    UnknownAlert,
    /// Only firing alerts are acknowledged.
    #[error("the alert is not firing: it is {0}")]
    NotFiring(&'static str),
    /// Somebody was first.
    #[error("the alert is acknowledged already, by {}", .0.by)]
    AcknowledgedBefore(Acknowledgement),
    /// No silence has this id, or it was long ago.
    #[error("there is no silence with this id")]
    UnknownSilence,
    /// It can't be changed any more.
    #[error("the silence has ended: make a new one")]
    Ended(Box<Silence>),
    /// Somebody else changed it.
    #[error("the silence was changed meanwhile: look at what it is now, and decide again")]
    Changed(Box<Silence>),
    /// The bound.
    #[error("{MAX_SILENCES} silences are planned or active, and no more are taken: end one first")]
    TooMany,
}

/// What the thread tells those who wait, and what it knows without asking the file.
#[derive(Clone, Debug)]
pub(super) struct Signals {
    /// When time alone next changes a silence; the end of time when nothing is planned.
    next_edge: Arc<AtomicI64>,
    changed: watch::Sender<u64>,
    /// Deliveries were added or let go.
    added: watch::Sender<u64>,
    looks: Looks,
}

impl Signals {
    pub(super) fn new(added: watch::Sender<u64>, looks: Looks) -> Self {
        Self {
            // The first look reads the file.
            next_edge: Arc::new(AtomicI64::new(i64::MIN)),
            changed: watch::Sender::new(0),
            added,
            looks,
        }
    }

    /// Whether an edge is due.
    fn due(&self, now: Now) -> bool {
        now.clock_is_set && now.time.0 >= self.next_edge.load(Ordering::Acquire)
    }

    /// Takes the edges that are due, as the first thing in a transaction.
    pub(super) fn turn(&self, transaction: &Transaction<'_>, now: Now) -> rusqlite::Result<()> {
        if self.due(now) {
            silences::turn(transaction, now)?;
        }
        Ok(())
    }

    /// After the commit of a transaction that began with [`Signals::turn`] at the same `now`.
    pub(super) fn turned(&self, connection: &Connection, now: Now) {
        if self.due(now) {
            self.changed_now(connection);
        }
    }

    /// As [`Signals::turn`], with a transaction of its own.
    pub(super) fn turn_now(&self, connection: &mut Connection, now: Now) -> rusqlite::Result<()> {
        if self.due(now) {
            let transaction = connection.transaction()?;
            self.turn(&transaction, now)?;
            transaction.commit()?;
            self.turned(connection, now);
        }
        Ok(())
    }

    /// The file was set aside and a new one begun.
    pub(super) fn begun_anew(&self) {
        self.next_edge.store(i64::MIN, Ordering::Release);
        self.looks.begun_anew();
        self.told_otherwise();
    }

    /// What people see of alerts changed, by what their groups did.
    pub(super) fn told_otherwise(&self) {
        self.changed.send_modify(|n| *n += 1);
    }

    /// People, or time, changed something: it is committed.
    fn changed_now(&self, connection: &Connection) {
        match silences::next_edge(connection) {
            Ok(edge) => {
                let edge = edge.map_or(i64::MAX, |edge| edge.0);
                self.next_edge.store(edge, Ordering::Release);
            }
            // The next look reads it again.
            Err(error) => {
                self.next_edge.store(i64::MIN, Ordering::Release);
                tracing::warn!(%error, "it cannot be read when the next silence begins or ends");
            }
        }
        self.looks.read(connection);
        self.told_otherwise();
        self.added.send_modify(|n| *n += 1);
    }
}

impl State {
    /// One alert, of now or before; `None`: there is none by this id, or it was long ago.
    ///
    /// # Errors
    ///
    /// [`StateError`]
    pub async fn one_alert(&self, id: &str) -> Result<Option<Alert>, StateError> {
        let id = id.to_owned();
        self.with(move |connection| {
            let body: Option<String> = connection
                .prepare_cached("SELECT body FROM alerts WHERE id = ?1")?
                .query_row(params![id], |row| row.get(0))
                .optional()?;
            Ok(body.and_then(|body| serde_json::from_str(&body).ok()))
        })
        .await
    }

    /// A new silence, from a checked draft.
    ///
    /// # Errors
    ///
    /// [`AttentionError::TooMany`], or that the file can't be written.
    pub async fn silence(&self, draft: Draft) -> Result<Silence, AttentionError> {
        let now = self.moment();
        let result = self
            .decide(move |transaction| {
                if silences::open(transaction)? >= MAX_SILENCES {
                    return Ok(Err(AttentionError::TooMany));
                }
                let id = format_smolstr!("s-{:016x}", fastrand::u64(..));
                let mut silence = Silence::new(id, draft, now.time);
                silences::begin(&mut silence, now);
                silences::write(transaction, &silence)?;
                silences::hold_and_release(transaction, now.time)?;
                let (by, detail) = (&silence.created_by, json!(silence));
                audit::add(
                    transaction,
                    now.time,
                    by,
                    Action::SilenceCreated,
                    &silence.id,
                    &detail,
                )?;
                Ok(Ok(silence))
            })
            .await;
        if matches!(result, Err(AttentionError::TooMany)) {
            self.metrics.silences_refused.inc();
        }
        result
    }

    /// Changes a silence, if it is still at `version` (any, if none is given).
    ///
    /// # Errors
    ///
    /// [`AttentionError`]
    pub async fn change_silence(
        &self,
        id: &str,
        version: Option<u64>,
        draft: Draft,
    ) -> Result<Silence, AttentionError> {
        let (id, now) = (id.to_owned(), self.moment());
        self.decide(move |transaction| {
            let before = match current(transaction, &id, version)? {
                Ok(silence) => silence,
                Err(refused) => return Ok(Err(refused)),
            };
            if before.state == SilenceState::Ended {
                return Ok(Err(AttentionError::Ended(Box::new(before))));
            }
            let by = draft.by.clone();
            let mut after = before.change(draft, now.time);
            silences::begin(&mut after, now);
            silences::write(transaction, &after)?;
            silences::hold_and_release(transaction, now.time)?;
            let detail = json!({"before": before, "after": after});
            audit::add(
                transaction,
                now.time,
                &by,
                Action::SilenceChanged,
                &id,
                &detail,
            )?;
            Ok(Ok(after))
        })
        .await
    }

    /// Ends a silence now, if it is still at `version` (any, if none is given). One that has ended stays as it is.
    ///
    /// # Errors
    ///
    /// [`AttentionError`]
    pub async fn end_silence(
        &self,
        id: &str,
        version: Option<u64>,
        by: String,
    ) -> Result<Silence, AttentionError> {
        let (id, now) = (id.to_owned(), self.moment());
        self.decide(move |transaction| {
            let before = match current(transaction, &id, version)? {
                Ok(silence) => silence,
                Err(refused) => return Ok(Err(refused)),
            };
            if before.state == SilenceState::Ended {
                return Ok(Ok(before));
            }
            let after = before.end(by.clone(), now.time);
            silences::write(transaction, &after)?;
            silences::hold_and_release(transaction, now.time)?;
            audit::add(
                transaction,
                now.time,
                &by,
                Action::SilenceEnded,
                &id,
                &json!(after),
            )?;
            Ok(Ok(after))
        })
        .await
    }

    /// One silence.
    ///
    /// # Errors
    ///
    /// [`StateError`]
    pub async fn one_silence(&self, id: &str) -> Result<Option<Silence>, StateError> {
        let id = id.to_owned();
        self.with(move |connection| silences::get(connection, &id))
            .await
    }

    /// All silences that are planned or active with the last `ended` ones, and who acknowledged the alerts that fire and the last
    /// `ended` ones.
    ///
    /// # Errors
    ///
    /// [`StateError`]
    pub async fn attention(&self, ended: i64) -> Result<Attention, StateError> {
        let routing = self.routing();
        self.with(move |connection| {
            let silences = silences::list(connection, ended)?;
            let mut statement = connection.prepare_cached(
                "SELECT alert, by, comment, at FROM acknowledgements
                 WHERE alert IN (SELECT id FROM alerts WHERE state <> 'resolved')
                 OR alert IN (SELECT id FROM alerts WHERE state = 'resolved' ORDER BY changed DESC LIMIT ?1)",
            )?;
            let acknowledged = statement
                .query_map(params![ended], |row| {
                    Ok((SmolStr::from(row.get::<_, String>(0)?), Acknowledgement {
                        by: row.get(1)?,
                        comment: row.get(2)?,
                        at_ms: Timestamp(row.get(3)?).as_millis(),
                    }))
                })?
                .collect::<rusqlite::Result<_>>()?;
            let routed = Routed {
                routing,
                inhibited: groups::inhibited(connection)?,
                escalates: groups::escalates(connection)?,
            };
            Ok(Attention { silences, acknowledged, routed })
        })
        .await
    }

    /// Changes whenever [`State::attention`] may say something else.
    #[must_use]
    pub fn attention_changed(&self) -> watch::Receiver<u64> {
        self.signals.changed.subscribe()
    }

    /// The audit trail, newest first, at most `limit` entries.
    ///
    /// # Errors
    ///
    /// [`StateError`]
    pub async fn audit(&self, limit: usize) -> Result<Vec<AuditEntry>, StateError> {
        self.with(move |connection| audit::read(connection, limit, true))
            .await
    }

    /// The same without what is about users, logins and tokens, for those who may not see that.
    ///
    /// # Errors
    ///
    /// [`StateError`]
    pub async fn public_audit(&self, limit: usize) -> Result<Vec<AuditEntry>, StateError> {
        self.with(move |connection| audit::read(connection, limit, false))
            .await
    }

    /// Begins and ends silences at their times, until `stop`. By the wall clock, as people mean it: a clock that jumps is noticed within
    /// a second; while the clock is not known to be set, nothing begins or ends.
    pub async fn follow_clock(self, stop: CancellationToken) {
        let mut changed = self.attention_changed();
        let mut told = false;
        while !stop.is_cancelled() {
            let now = self.moment();
            changed.borrow_and_update();
            if self.signals.due(now) {
                let signals = self.signals.clone();
                let turned = self
                    .write(move |connection| signals.turn_now(connection, now))
                    .await;
                if let Err(StateError::Closed) = turned {
                    return;
                }
                match turned {
                    Err(error) if !told => {
                        tracing::error!(error = %crate::cause::chain(&error), "silences cannot begin or end; trying again");
                        told = true;
                    }
                    Err(_) => {}
                    Ok(()) => told = false,
                }
            }
            let edge = self.signals.next_edge.load(Ordering::Acquire);
            let left = edge
                .saturating_sub(self.clock.now().0)
                .max(0)
                .unsigned_abs();
            // A due edge that could not be written is tried again after a while, not at once.
            let wait = match std::time::Duration::from_nanos(left).min(LOOK_EVERY) {
                std::time::Duration::ZERO => LOOK_EVERY,
                wait => wait,
            };
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                changed = changed.changed() => if changed.is_err() {
                    return;
                },
                () = stop.cancelled() => return,
            }
        }
    }

    /// Now, for silences.
    pub(super) fn moment(&self) -> Now {
        Now {
            time: self.clock.now(),
            clock_is_set: self.clock.is_trusted(),
        }
    }

    /// Does `work` in one transaction, after the edges that are due; a refusal changes nothing.
    pub(super) async fn decide<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Transaction<'_>) -> rusqlite::Result<Result<T, AttentionError>>
        + Send
        + 'static,
    ) -> Result<T, AttentionError> {
        let (signals, now) = (self.signals.clone(), self.moment());
        self.write(move |connection| {
            signals.turn_now(connection, now)?;
            let transaction = connection.transaction()?;
            let decided = work(&transaction)?;
            if decided.is_ok() {
                transaction.commit()?;
                signals.changed_now(connection);
            }
            Ok(decided)
        })
        .await?
    }
}

/// The alert, if it fires.
pub(super) fn firing(
    transaction: &Transaction<'_>,
    id: &str,
) -> rusqlite::Result<Result<Alert, AttentionError>> {
    let body: Option<String> = transaction
        .prepare_cached("SELECT body FROM alerts WHERE id = ?1")?
        .query_row(params![id], |row| row.get(0))
        .optional()?;
    let alert: Option<Alert> = body.and_then(|body| serde_json::from_str(&body).ok());
    Ok(match alert {
        None => Err(AttentionError::UnknownAlert),
        Some(alert) if alert.state == AlertState::Firing => Ok(alert),
        Some(alert) => Err(AttentionError::NotFiring(super::state_name(alert.state))),
    })
}

/// The silence, if it is the one that was meant.
fn current(
    transaction: &Transaction<'_>,
    id: &str,
    version: Option<u64>,
) -> rusqlite::Result<Result<Silence, AttentionError>> {
    Ok(match silences::get(transaction, id)? {
        None => Err(AttentionError::UnknownSilence),
        Some(silence) if version.is_some_and(|version| version != silence.version) => {
            Err(AttentionError::Changed(Box::new(silence)))
        }
        Some(silence) => Ok(silence),
    })
}

pub(super) fn about(alert: &Alert, comment: &str) -> serde_json::Value {
    json!({"rule": alert.rule, "series": alert.series, "summary": alert.summary, "comment": comment})
}
