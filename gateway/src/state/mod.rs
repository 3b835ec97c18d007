//! What was decided, in one SQLite file (`state.sqlite`): alerts, their groups, the outbox of deliveries to webhooks, and what people did:
//! acknowledgements, silences, rules, devices, webhooks, dashboards, who is known, the audit trail; and the inventory of series.
//!
//! One thread owns the connection; callers await its answer. Every write is a transaction with `synchronous=FULL`: when a call
//! returns, the change survives a power cut. Bounded: [`KEPT_ALERTS`] ended alerts, [`KEPT_TRANSITIONS`] of their changes,
//! [`MAX_WAITING`] waiting deliveries a webhook (the oldest is given up, and counted), [`KEPT_DELIVERIES`] finished ones, [`KEPT_DEAD_LETTERS`] dead letters,
//! [`MAX_SILENCES`] silences and [`Thing::most`] of what people make (one more is refused) and [`KEPT_SILENCES`] that are over, [`KEPT_ENTRIES`] lines of the trail,
//! [`KEPT_CLOSED`] alerts that people closed and whose condition is still true, [`KEPT_RUNS`] runs, [`MAX_MEMBERS`] alerts in the groups of routes, and as many series as the cap on series allows, with what
//! conditions remember of them (4 KiB each at most).

mod acknowledged;
mod alerts;
mod attention;
mod audit;
mod changes;
mod closings;
mod dead_letters;
mod deliveries;
mod groups;
mod inventory;
mod made;
mod memories;
mod message;
mod metrics;
mod outbox;
mod people;
mod record;
mod recorder;
mod remembered;
mod runs;
mod schema;
mod secrets;
mod shelving;
mod silences;
mod steady;
mod told;
mod urgent;

use std::{
    collections::BTreeMap,
    path::Path,
    sync::{Arc, Mutex, PoisonError},
};

use prometheus_client::registry::Registry;
use rusqlite::{Connection, OptionalExtension};
use serde::Serialize;
use smol_str::SmolStr;
use thiserror::Error;
use tokio::sync::{mpsc, oneshot, watch};

use self::{
    alerts::{as_json, read_alerts, state_name},
    groups::Groups,
    metrics::{Metrics, WebhookLabel},
    record::names_of,
    steady::Steady,
    urgent::Urgent,
};
pub use self::{
    attention::AttentionError,
    audit::{AuditEntry, KEPT_ENTRIES},
    changes::{ChangeEntry, KEPT_CHANGES, KEPT_OF_ONE},
    closings::KEPT_CLOSED,
    dead_letters::{DeadLetter, DeadLetterError},
    groups::{GroupShown, MAX_MEMBERS},
    inventory::keep_inventory,
    made::{Made, MadeDraft, MadeError, SECRET_KEYS, Thing, without_secrets},
    memories::KEPT_MEMORIES,
    message::{AlertMessage, Event, GroupMessage, Message, Reason},
    outbox::{Delivery, Verdict},
    people::{PeopleChange, PeopleError, PeopleFile},
    recorder::write_down,
    runs::{Beginning, JournalAtStart, Recorded, Run, Told},
    silences::{KEPT_SILENCES, MAX_SILENCES},
};
use crate::{
    cause, clock::Clock, damage, engine::Resumption, journal::Position, model::Timestamp,
    wear::Writes,
};

/// Ended alerts that are kept.
pub const KEPT_ALERTS: i64 = 10_000;
/// Deliveries to one webhook that may wait.
pub const MAX_WAITING: i64 = 10_000;
/// Finished deliveries that are kept, over all webhooks.
pub const KEPT_DELIVERIES: i64 = 1_000;
/// Dead letters that are kept, over all webhooks.
pub const KEPT_DEAD_LETTERS: i64 = 1_000;
/// Runs of the gateway that are remembered: browsers of older ones begin anew.
pub const KEPT_RUNS: i64 = 1_000;
/// Changes of alerts that are remembered for browsers that were away.
pub const KEPT_TRANSITIONS: i64 = 1_000;
/// Resolved alerts that a browser is told of when it begins.
const KEPT_ENDED: usize = 50;
/// Questions and writes that may wait for the thread; more wait in their callers.
const MAX_QUEUED: usize = 64;

/// Why the state can't be used.
#[derive(Debug, Error)]
pub enum StateError {
    /// SQLite said no.
    #[error("the state file {path} cannot be used")]
    Database {
        /// Which file.
        path: String,
        /// Why.
        #[source]
        source: rusqlite::Error,
    },
    /// The file was written by a newer gateway.
    #[error(
        "the state file {path} has format {found}, this gateway knows up to {known}: install the newer gateway again"
    )]
    Newer {
        /// Which file.
        path: String,
        /// Its format.
        found: i64,
        /// Ours.
        known: i64,
    },
    /// The file was written by an older gateway, and only the gateway itself brings it up to date.
    #[error(
        "the state file {path} has format {found}, and this program needs {known}: start the gateway of this version first"
    )]
    Older {
        /// Which file.
        path: String,
        /// Its format.
        found: i64,
        /// Ours.
        known: i64,
    },
    /// The thread can't be started.
    #[error("cannot start the thread of the state")]
    Thread(#[source] std::io::Error),
    /// The state's thread has ended.
    #[error("the state is closed")]
    Closed,
}

impl StateError {
    /// Whether making room on the disk is the answer.
    #[must_use]
    pub fn is_full_disk(&self) -> bool {
        matches!(
            self,
            Self::Database { source, .. } if source.sqlite_error_code() == Some(rusqlite::ErrorCode::DiskFull)
        )
    }
}

/// How the deliveries to one webhook stand.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct WebhookStatus {
    /// Its name.
    pub name: String,
    /// Deliveries waiting, the one being tried included.
    pub waiting: u64,
    /// Deliveries held back by silences.
    pub held: u64,
    /// Delivered since the file was made.
    pub delivered: u64,
    /// Given up.
    pub given_up: u64,
    /// Held back by a silence until their alert was over, and never sent.
    pub withdrawn: u64,
    /// Given up, or refused for good, and kept to be looked at and sent again.
    pub dead_letters: u64,
    /// What the last failure said; none if the last try worked.
    pub last_error: Option<String>,
    /// Since when it fails whatever it is sent and is only probed, RFC 3339; none while it is not known to.
    pub failing_since: Option<String>,
}

/// Who hears of alerts, as far as the outbox must know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recipient {
    /// The webhook's name.
    pub name: SmolStr,
    /// Whether it hears of the end too.
    pub send_resolved: bool,
    /// Whether it hears that somebody takes care of what fires.
    pub hears_acknowledgements: bool,
}

/// True when the file turned out to be damaged.
type Work = Box<dyn FnOnce(&mut Connection) -> bool + Send>;

/// The handle: cheap to clone. The thread ends when the last one is gone.
#[derive(Clone, Debug)]
pub struct State {
    work: mpsc::Sender<Work>,
    path: String,
    /// std: held for a look only.
    recipients: Arc<Mutex<Arc<[Recipient]>>>,
    clock: Clock,
    metrics: Metrics,
    /// Changes whenever deliveries were added or let go.
    added: watch::Sender<u64>,
    signals: attention::Signals,
    groups: Groups,
    /// Why the last use failed. std: held for a look only.
    failing: Arc<Mutex<Option<String>>>,
    // std: held for a look only.
    urgent: Arc<Mutex<Urgent>>,
    /// Webhooks that fail whatever they are sent, and since when. std: held for a look only.
    circuits: Arc<Mutex<BTreeMap<String, Timestamp>>>,
    writes: Writes,
}

impl State {
    /// Opens (or makes) `state.sqlite` in `dir`. A file that is damaged is set aside (renamed to `state.sqlite.damaged`),
    /// now or when it turns out, and a new one begun: the rules then run over the kept journal again.
    ///
    /// # Errors
    ///
    /// When the directory can't be written, or the file was written by a newer gateway.
    pub fn open(
        dir: &Path,
        recipients: &[Recipient],
        clock: Clock,
        registry: &mut Registry,
    ) -> Result<Self, StateError> {
        let path = dir.join("state.sqlite");
        let writes = Writes::default();
        let mut connection = schema::open(&path, &writes)?;
        let (work, mut queued) = mpsc::channel::<Work>(MAX_QUEUED);
        let shown = path.display().to_string();
        let added = watch::Sender::new(0);
        let steady = Steady::new(clock.clone(), &connection);
        let groups = Groups::new(steady.map_err(|source| StateError::Database {
            path: shown.clone(),
            source,
        })?);
        let signals = attention::Signals::new(added.clone(), groups.looks.clone());
        let told = signals.clone();
        let counted = writes.clone();
        std::thread::Builder::new()
            .name(String::from("state"))
            .spawn(move || {
                let mut damaged = false;
                while let Some(work) = queued.blocking_recv() {
                    // Until a new file is there, everything fails and is tried again by those who asked.
                    damaged = work(&mut connection) || damaged;
                    if damaged && begin_anew(&mut connection, &path, &counted) {
                        damaged = false;
                        told.begun_anew();
                    }
                }
            })
            .map_err(StateError::Thread)?;
        let metrics = Metrics::new(registry);
        Ok(Self {
            work,
            path: shown,
            recipients: Arc::new(Mutex::new(recipients.into())),
            clock,
            metrics,
            added,
            signals,
            groups,
            failing: Arc::default(),
            urgent: Arc::default(),
            circuits: Arc::default(),
            writes,
        })
    }

    /// What the engine needs to go on: alerts in progress, and up to where rules were evaluated.
    ///
    /// # Errors
    ///
    /// [`StateError`]
    pub async fn resumption(&self) -> Result<Resumption, StateError> {
        self.with(|connection| {
            let alerts = read_alerts(
                connection,
                "state IN ('pending', 'firing') ORDER BY changed",
                usize::MAX,
            )?;
            Ok(Resumption {
                alerts,
                memories: memories::all(connection)?,
                closed: closings::all(connection)?,
                evaluated: evaluated(connection)?,
            })
        })
        .await
    }

    /// Up to where rules were evaluated, and what came of it written down.
    ///
    /// # Errors
    ///
    /// [`StateError`]
    async fn evaluated(&self) -> Result<Position, StateError> {
        self.with(|connection| evaluated(connection)).await
    }

    /// Writes down that a run begins, and gives what is needed to go on with the ids of live events. Once a run, after
    /// [`State::resumption`].
    ///
    /// # Errors
    ///
    /// [`StateError`]; nothing was written then.
    pub async fn begin_run(&self, journal: JournalAtStart) -> Result<Beginning, StateError> {
        self.write(move |connection| runs::begin(connection, journal))
            .await
    }

    /// Who hears of alerts from the next change on. What waits for one that is not among them stays, and goes out when it comes
    /// back, unless it is too old by then. Gives the names of those that are gone and have deliveries waiting, with how many.
    ///
    /// # Errors
    ///
    /// [`StateError`] when they can't be counted; the recipients hold all the same.
    pub async fn set_recipients(
        &self,
        recipients: Vec<Recipient>,
    ) -> Result<Vec<(String, u64)>, StateError> {
        let old = {
            let mut held = self
                .recipients
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            std::mem::replace(&mut *held, recipients.clone().into())
        };
        let gone: Vec<String> = old
            .iter()
            .filter(|old| recipients.iter().all(|new| new.name != old.name))
            .map(|old| old.name.to_string())
            .collect();
        if gone.is_empty() {
            return Ok(Vec::new());
        }
        self.with(move |connection| {
            let mut waiting = Vec::new();
            for name in gone {
                let status = outbox::status(connection, name)?;
                waiting.extend((status.waiting > 0).then_some((status.name, status.waiting)));
            }
            Ok(waiting)
        })
        .await
    }

    fn recipients(&self) -> Arc<[Recipient]> {
        let held = self
            .recipients
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        Arc::clone(&held)
    }

    /// How the deliveries stand, one row a configured webhook.
    ///
    /// # Errors
    ///
    /// [`StateError`]
    pub async fn webhooks(&self) -> Result<Vec<WebhookStatus>, StateError> {
        let names: Vec<String> = self
            .recipients()
            .iter()
            .map(|r| r.name.to_string())
            .collect();
        let circuits = self.circuits().clone();
        self.with(move |connection| {
            names
                .into_iter()
                .map(|name| {
                    let failing_since = circuits.get(&name).map(|at| at.to_rfc3339());
                    let status = outbox::status(connection, name)?;
                    Ok(WebhookStatus {
                        failing_since,
                        ..status
                    })
                })
                .collect()
        })
        .await
    }

    /// Why the last write failed; `None` when it worked. Alerts and deliveries wait meanwhile.
    #[must_use]
    pub fn failing(&self) -> Option<String> {
        let failing = self.failing.lock().unwrap_or_else(PoisonError::into_inner);
        failing.clone()
    }

    /// Moves what stands in the write-ahead log into the file itself, so that after an orderly stop the file alone is whole: for who
    /// copies it. Nothing is lost without it: the next start reads the log.
    pub async fn fold_log(&self) {
        let folded = self
            .with(|connection| {
                connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))
            })
            .await;
        if let Err(error) = folded {
            tracing::debug!(error = %cause::chain(&error), "the log of the state file stays beside it");
        }
    }

    /// What was written to the file since the start.
    pub fn writes(&self) -> Writes {
        self.writes.clone()
    }

    async fn with<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, StateError> {
        let (answer, answered) = oneshot::channel();
        let work: Work = Box::new(move |connection| {
            let result = work(connection);
            let damaged = result.as_ref().err().is_some_and(damage::is_damage);
            // Whoever asked may be gone; the work is done all the same.
            drop(answer.send(result));
            damaged
        });
        self.work.send(work).await.map_err(|_| StateError::Closed)?;
        let result = answered.await.map_err(|_| StateError::Closed)?;
        result.map_err(|source| {
            self.metrics.failures.inc();
            StateError::Database {
                path: self.path.clone(),
                source,
            }
        })
    }

    /// As [`State::with`], for writes: they tell whether the state works.
    async fn write<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, StateError> {
        let result = self.with(work).await;
        let error = result.as_ref().err().map(|error| cause::chain(error));
        self.metrics.failing.set(i64::from(error.is_some()));
        *self.failing.lock().unwrap_or_else(PoisonError::into_inner) = error;
        result
    }
}

fn evaluated(connection: &Connection) -> rusqlite::Result<Position> {
    let evaluated: Option<i64> = connection
        .query_row(
            "SELECT value FROM meta WHERE key = 'evaluated'",
            [],
            |row| row.get(0),
        )
        .optional()?;
    Ok(Position(evaluated.unwrap_or_default().unsigned_abs()))
}

/// The file turned out to be damaged while it was in use: opens it again, which sets it aside if need be. True if that worked.
fn begin_anew(connection: &mut Connection, path: &Path, writes: &Writes) -> bool {
    // Closed first: SQLite deletes a log by its name when a connection ends, and that must not be the new file's. The
    // one in memory has no tables: what is asked of it fails.
    let begun = Connection::open_in_memory()
        .map(|nothing| *connection = nothing)
        .map_err(|source| StateError::Database {
            path: path.display().to_string(),
            source,
        })
        .and_then(|()| schema::open(path, writes));
    match begun {
        Ok(begun) => {
            *connection = begun;
            true
        }
        Err(error) => {
            tracing::error!(error = %cause::chain(&error), "the state file cannot be opened again");
            false
        }
    }
}

#[cfg(test)]
mod tests;
