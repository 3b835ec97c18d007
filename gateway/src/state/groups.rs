//! The groups of routes: which alerts are in them, what each webhook was last told, and when they are looked at next. What a group then
//! has to say is decided in [`crate::alert::route`].
//!
//! An alert joins its groups in the transaction that records that it fires, and a look at a group writes what it says into the outbox in the
//! transaction that notes what was told: after a kill at any moment nothing is lost, and nothing is told twice but under its old id.
//!
//! Waits run on [`super::steady`]: a wall clock that jumps fires no reminder.
//!
//! Bounded: [`MAX_MEMBERS`] alerts in groups; one more is told by itself, as if no route had it, and counted. A group that holds nothing is
//! forgotten once its interval is over.

mod looking;
mod regroup;
mod shown;

use std::{
    collections::{HashMap, HashSet},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicI64, Ordering},
    },
    time::Duration,
};

use rusqlite::{Connection, OptionalExtension, Transaction, params};
use smol_str::SmolStr;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

pub use self::shown::GroupShown;
pub(super) use self::shown::{escalates, inhibited};
use super::{
    State, StateError,
    metrics::WebhookLabel,
    outbox, steady,
    steady::{Steady, stored},
};
use crate::{
    alert::{
        self, AlertState, Transition,
        route::{Route, Routing},
    },
    cause,
};

/// Alerts in groups, each counted in each of its groups.
pub const MAX_MEMBERS: i64 = 50_000;
/// How soon groups are looked at whose alerts may be inhibited no longer: once for many changes.
const INHIBITION_WITHIN: Duration = Duration::from_secs(1);
/// How late a look may be when the machine slept, and how soon one that failed is tried again.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// When the next look is due, and who waits for it.
#[derive(Clone, Debug)]
pub(super) struct Looks {
    next: Arc<AtomicI64>,
    changed: watch::Sender<u64>,
}

impl Looks {
    fn new() -> Self {
        Self {
            // The first look reads the file.
            next: Arc::new(AtomicI64::new(i64::MIN)),
            changed: watch::Sender::new(0),
        }
    }

    /// Reads it anew, after a commit.
    pub(super) fn read(&self, connection: &Connection) {
        let next = connection
            .prepare_cached("SELECT min(due) FROM groups")
            .and_then(|mut statement| statement.query_row([], |row| row.get::<_, Option<i64>>(0)))
            .map(|next| next.unwrap_or(i64::MAX))
            .unwrap_or_else(|error| {
                tracing::warn!(%error, "it cannot be read when the next group of alerts is due");
                i64::MIN
            });
        self.set(next);
    }

    /// The file was begun anew.
    pub(super) fn begun_anew(&self) {
        self.set(i64::MAX);
    }

    fn set(&self, next: i64) {
        if self.next.swap(next, Ordering::AcqRel) != next {
            self.changed.send_modify(|n| *n += 1);
        }
    }

    fn next(&self) -> i64 {
        self.next.load(Ordering::Acquire)
    }
}

/// What the state knows of groups without asking the file.
#[derive(Clone, Debug)]
pub(super) struct Groups {
    // std: held for a look only.
    routing: Arc<Mutex<Arc<Routing>>>,
    steady: Steady,
    pub(super) looks: Looks,
    /// The routes changed, and the groups do not know it yet.
    unsorted: Arc<AtomicBool>,
}

impl Groups {
    pub(super) fn new(steady: Steady) -> Self {
        Self {
            routing: Arc::default(),
            steady,
            looks: Looks::new(),
            unsorted: Arc::default(),
        }
    }

    pub(super) fn routing(&self) -> Arc<Routing> {
        let held = self.routing.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(&held)
    }

    /// For one transaction that records changes.
    pub(super) fn enter(&self) -> Entering {
        Entering {
            routing: self.routing(),
            steady: self.steady.clone(),
            now: self.steady.now(),
            numbers: HashMap::new(),
            waiting: HashSet::new(),
            members: None,
            sources_changed: false,
            ungrouped: 0,
        }
    }
}

/// Alerts on their way into groups, in one transaction.
#[derive(Debug)]
pub(super) struct Entering {
    pub(super) routing: Arc<Routing>,
    steady: Steady,
    now: Duration,
    /// Groups by the key, each asked for once.
    numbers: HashMap<SmolStr, i64>,
    /// Groups that were told already that something changed.
    waiting: HashSet<i64>,
    members: Option<i64>,
    sources_changed: bool,
    /// Alerts that found no room.
    pub(super) ungrouped: u64,
}

impl Entering {
    /// Whether this was recorded before, and more after it: a replay, of which groups have nothing left.
    pub(super) fn is_past(
        &self,
        transaction: &Transaction<'_>,
        transition: &Transition,
    ) -> rusqlite::Result<bool> {
        let ends = matches!(
            transition.alert.state,
            AlertState::Firing | AlertState::Resolved
        );
        if self.routing.routes.is_empty() || !ends || alert::is_own(&transition.alert) {
            return Ok(false);
        }
        let over = transaction
            .prepare_cached("SELECT state = 'resolved' FROM alerts WHERE id = ?1")?
            .query_row(params![transition.alert.id.as_str()], |row| row.get(0))
            .optional()?;
        Ok(over.unwrap_or_default())
    }

    /// Takes a change that is written down. False: groups have nothing to do with it, it is told by itself.
    pub(super) fn take(
        &mut self,
        transaction: &Transaction<'_>,
        transition: &Transition,
    ) -> rusqlite::Result<bool> {
        let alert = &transition.alert;
        let told = matches!(alert.state, AlertState::Firing | AlertState::Resolved);
        if !told || alert::is_own(alert) {
            return Ok(false);
        }
        let inhibits = &self.routing.inhibits;
        self.sources_changed |= inhibits.iter().any(|i| i.is_source(alert.facts()));
        if alert.state == AlertState::Resolved {
            return self.is_over(transaction, &alert.id);
        }
        let routing = Arc::clone(&self.routing);
        let routes = routing.of(alert);
        if routes.is_empty() || !self.have_room(transaction, routes.len())? {
            return Ok(false);
        }
        for route in routes {
            let group = route.group(alert.facts());
            let number = match self.numbers.get(&group.key) {
                Some(number) => *number,
                None => {
                    let number = open(
                        transaction,
                        route,
                        &group,
                        self.now.saturating_add(route.group_wait),
                    )?;
                    self.numbers.insert(group.key, number);
                    self.waiting.insert(number);
                    number
                }
            };
            transaction
                .prepare_cached(
                    "INSERT INTO members (in_group, alert, told, steps, inhibited_by) VALUES (?1, ?2, '', 0, '')
                     ON CONFLICT (in_group, alert) DO NOTHING",
                )?
                .execute(params![number, alert.id.as_str()])?;
        }
        Ok(true)
    }

    fn is_over(&mut self, transaction: &Transaction<'_>, alert: &str) -> rusqlite::Result<bool> {
        let groups: Vec<(i64, String)> = transaction
            .prepare_cached(
                "SELECT g.number, g.route FROM members m JOIN groups g ON g.number = m.in_group WHERE m.alert = ?1",
            )?
            .query_map(params![alert], |row| Ok((row.get(0)?, row.get(1)?)))?
            .collect::<rusqlite::Result<_>>()?;
        for (number, route) in &groups {
            if self.waiting.insert(*number) {
                let wait = self
                    .routing
                    .named(route)
                    .map_or(Duration::ZERO, |r| r.group_wait);
                let at = stored(self.now.saturating_add(wait));
                transaction
                    .prepare_cached(
                        "UPDATE groups SET gate = CASE waits WHEN 1 THEN gate ELSE max(gate, ?2) END, waits = 1,
                         due = min(due, CASE waits WHEN 1 THEN gate ELSE max(gate, ?2) END) WHERE number = ?1",
                    )?
                    .execute(params![number, at])?;
            }
        }
        Ok(!groups.is_empty())
    }

    fn have_room(&mut self, transaction: &Transaction<'_>, more: usize) -> rusqlite::Result<bool> {
        let members = match self.members {
            Some(members) => members,
            None => transaction
                .prepare_cached("SELECT count(*) FROM members")?
                .query_row([], |row| row.get(0))?,
        };
        let after = members.saturating_add(i64::try_from(more).unwrap_or(i64::MAX));
        let fits = after <= MAX_MEMBERS;
        self.members = Some(if fits { after } else { members });
        self.ungrouped += u64::from(!fits);
        Ok(fits)
    }

    /// After the last change. Whether [`Looks::read`] is to be asked after the commit.
    pub(super) fn finish(&self, transaction: &Transaction<'_>) -> rusqlite::Result<bool> {
        if self.sources_changed {
            let soon = stored(self.now.saturating_add(INHIBITION_WITHIN));
            transaction
                .prepare_cached("UPDATE groups SET due = ?1 WHERE due > ?1")?
                .execute(params![soon])?;
        }
        let touched = self.sources_changed || !self.waiting.is_empty();
        if touched {
            self.steady.note(transaction)?;
        }
        Ok(touched)
    }
}

/// The number of a group, made if it is not there. What is new in it can be told at `at`, or when it could be told anyway.
fn open(
    transaction: &Transaction<'_>,
    route: &Route,
    group: &alert::route::GroupOf,
    at: Duration,
) -> rusqlite::Result<i64> {
    let labels = serde_json::to_string(&group.labels)
        .map_err(|error| rusqlite::Error::ToSqlConversionFailure(Box::new(error)))?;
    transaction
        .prepare_cached(
            "INSERT INTO groups (route, key, labels, gate, waits, due, held) VALUES (?1, ?2, ?3, ?4, 1, ?4, 0)
             ON CONFLICT (route, key) DO UPDATE SET gate = CASE waits WHEN 1 THEN gate ELSE max(gate, ?4) END, waits = 1,
             due = min(due, CASE waits WHEN 1 THEN gate ELSE max(gate, ?4) END) RETURNING number",
        )?
        .query_row(
            params![route.name.as_str(), group.key.as_str(), labels, stored(at)],
            |row| row.get(0),
        )
}

/// A silence began, ended or changed: what it held may be told. Takes effect with [`Looks::read`] after the commit.
pub(super) fn look_at_held(transaction: &Transaction<'_>) -> rusqlite::Result<()> {
    transaction.execute("UPDATE groups SET due = 0 WHERE held = 1", [])?;
    Ok(())
}

/// Somebody takes care of an alert, or does not any more. As [`look_at_held`].
pub(super) fn look_at(transaction: &Transaction<'_>, alert: &str) -> rusqlite::Result<()> {
    transaction
        .prepare_cached(
            "UPDATE groups SET due = 0 WHERE number IN (SELECT in_group FROM members WHERE alert = ?1)",
        )?
        .execute(params![alert])?;
    Ok(())
}

impl State {
    /// The routes in force from the next change on. Open groups go on; alerts that other routes have now go to the groups of those, with
    /// what was told of them. Without routes each alert is told by itself.
    ///
    /// # Errors
    ///
    /// [`StateError`] when the groups can't be changed now; the routes hold all the same, and the groups follow as soon as they can.
    pub async fn set_routes(&self, routing: Routing) -> Result<(), StateError> {
        {
            let mut held = self
                .groups
                .routing
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            *held = Arc::new(routing);
        }
        self.groups.unsorted.store(true, Ordering::Release);
        self.look_at_groups().await
    }

    /// The routes in force.
    #[must_use]
    pub fn routing(&self) -> Arc<Routing> {
        self.groups.routing()
    }

    /// Looks at groups when they are due, until `stop`.
    pub async fn follow_groups(self, stop: CancellationToken) {
        let mut changed = self.groups.looks.changed.subscribe();
        let mut told = false;
        while !stop.is_cancelled() {
            changed.borrow_and_update();
            let mut wait = Duration::MAX;
            let unsorted = self.groups.unsorted.load(Ordering::Acquire);
            if unsorted || self.groups.looks.next() <= stored(self.groups.steady.now()) {
                match self.look_at_groups().await {
                    Ok(()) => told = false,
                    Err(StateError::Closed) => return,
                    Err(error) => {
                        if !std::mem::replace(&mut told, true) {
                            tracing::error!(error = %cause::chain(&error), "groups of alerts cannot be told; trying again");
                        }
                        wait = LOOK_EVERY;
                    }
                }
            }
            let next = self.groups.looks.next();
            if next < i64::MAX {
                let left = steady::read(next).saturating_sub(self.groups.steady.now());
                // A timer stands still while the machine sleeps.
                wait = wait.min(left.min(LOOK_EVERY));
            }
            tokio::select! {
                () = tokio::time::sleep(wait), if wait < Duration::MAX => {}
                changed = changed.changed() => if changed.is_err() {
                    return;
                },
                () = stop.cancelled() => return,
            }
        }
    }

    /// Looks at all groups that are due.
    ///
    /// # Errors
    ///
    /// [`StateError`]; what was to be looked at stays due.
    pub async fn look_at_groups(&self) -> Result<(), StateError> {
        loop {
            let (groups, signals) = (self.groups.clone(), self.signals.clone());
            let (recipients, moment) = (self.recipients(), self.moment());
            let metrics = self.metrics.clone();
            let (added, more) = self
                .write(move |connection| {
                    signals.turn_now(connection, moment)?;
                    // Before it is read which routes there are: who changes them sets it after.
                    let unsorted = groups.unsorted.swap(false, Ordering::AcqRel);
                    let around = looking::Around {
                        routing: &groups.routing(),
                        recipients: &recipients,
                        steady: &groups.steady,
                        now: groups.steady.now(),
                        wall: moment.time,
                    };
                    let looked = (|| {
                        let transaction = connection.transaction()?;
                        if unsorted {
                            regroup::regroup(&transaction, &around)?;
                        }
                        let mut done = looking::look_at_due(&transaction, &around)?;
                        for webhook in done.added.keys() {
                            let given_up =
                                outbox::give_up_oldest(&transaction, webhook, moment.time)?;
                            done.given_up += given_up;
                            if given_up > 0 {
                                let label = WebhookLabel {
                                    webhook: webhook.clone(),
                                };
                                metrics.given_up.get_or_create(&label).inc_by(given_up);
                            }
                        }
                        transaction.commit()?;
                        Ok(done)
                    })();
                    let done: looking::Done = match looked {
                        Ok(done) => done,
                        Err(error) => {
                            groups.unsorted.fetch_or(unsorted, Ordering::AcqRel);
                            return Err(error);
                        }
                    };
                    groups.looks.read(connection);
                    if unsorted || done.shown_otherwise {
                        signals.told_otherwise();
                    }
                    for (webhook, messages) in &done.added {
                        let label = WebhookLabel {
                            webhook: webhook.clone(),
                        };
                        metrics.queued.get_or_create(&label).inc_by(*messages);
                    }
                    metrics.untold.inc_by(done.untold);
                    Ok((!done.added.is_empty(), done.more))
                })
                .await?;
            if added {
                self.added.send_modify(|n| *n += 1);
            }
            if !more {
                return Ok(());
            }
        }
    }
}
