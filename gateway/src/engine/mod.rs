//! The one task that owns the store, its windows and the alert states. No locks: others ask it by message.
//!
//! Readings are applied in journal order. What it says goes out by two channels: [`Update`]s for the live hub and
//! [`Decided`] for the durable state. Both are bounded; a full `Update` channel makes it conflate, a full `Decided` channel
//! makes it wait (alerts are never dropped). The live hub hears of an alert from who has written it down.
//!
//! Rules wait on the time since the process started, not on the wall clock: a clock that jumps fires and resolves nothing. What
//! runs on measured time, for readings that the gateway stamped itself, goes with the jump. While the clock is not set no rule runs:
//! readings without a time of their own are only shown, and come again, from the journal, once it is.
//! What arrives more than [`Config::judge_within`] after it was measured begins and ends no alert.
//! Timer-driven changes carry the newest applied position.
//!
//! What it does not do: read or write anything durable, know a browser or a webhook.

mod core;
mod inventory;
mod metrics;
mod outgoing;
mod outlook;
mod recent;
mod rehearsal;
mod returning;
mod task;
mod view;

use std::{collections::BTreeMap, time::Duration};

use serde::Serialize;
use smol_str::SmolStr;
use thiserror::Error;
use tokio::sync::{mpsc, oneshot};

use self::{core::Core, metrics::Metrics, outgoing::Outgoing, recent::Recorder, task::Task};
pub use self::{
    inventory::{Inventory, Known},
    outlook::Outlook,
    recent::{Recent, RecentRecord, Remember},
    rehearsal::Rehearsal,
};
use crate::{
    alert::{Alert, Awaited, Closing, Memory, Moment, Remembered, Rule, StillClosed, Transition},
    clock::Clock,
    journal::{Committed, Entry, Position},
    model::{SeriesKey, Timestamp},
    store::{self, Device, DeviceConfig, Point, SeriesInfo, Window, WindowSpec},
};

/// What the engine is built with.
#[derive(Clone, Debug)]
pub struct Config {
    /// Bounds and windows.
    pub store: store::Config,
    /// The rules.
    pub rules: Vec<Rule>,
    /// The devices of the config.
    pub devices: Vec<DeviceConfig>,
    /// The shortest time between two `readings` updates when traffic is dense. Default 75 ms (50 to 250).
    pub tick: Duration,
    /// A reading that arrives later than this after it was measured begins and ends no alert: yesterday's readings, sent today, are
    /// no news. What the device's clock is known to be off by is left out of account. Default 2 h.
    pub judge_within: Duration,
    /// The sources of which something is expected to come.
    pub sources: Vec<Awaited>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            store: store::Config::default(),
            rules: Vec::new(),
            devices: Vec::new(),
            tick: Duration::from_millis(75),
            judge_within: Duration::from_secs(7_200),
            sources: Vec::new(),
        }
    }
}

/// What the live hub hears.
#[derive(Clone, Debug)]
pub enum Update {
    /// New points of all series that changed in one tick.
    Readings {
        /// By series, oldest first.
        readings: Vec<(SeriesKey, Vec<Point>)>,
        /// All points of records up to this one have been said with it.
        through: Position,
    },
    /// A series, seen for the first time or with another unit.
    Series(SeriesInfo),
    /// A window that is now final.
    Window {
        /// Of which series.
        series: SeriesKey,
        /// Which kind.
        spec: WindowSpec,
        /// Its aggregates.
        window: Window,
        /// The record that closed it.
        position: Position,
        /// Its place among the windows that this record closed, from 0.
        nth: u64,
    },
    /// An alert changed (also to `pending` and `cancelled`).
    Alert {
        /// The alert after the change.
        alert: Alert,
        /// The number of the change in the durable state; `None` while it could not be written down: then it comes once more.
        number: Option<u64>,
    },
    /// The durable state was lost and begun anew: numbers of alerts say nothing any more.
    StateLost,
    /// A device is new or changed, or its connection came or vanished.
    Device(Device),
}

/// What must be written down before it counts.
#[derive(Clone, Debug)]
pub struct Decided {
    /// The journal was evaluated up to here.
    pub position: Position,
    /// What changed, in order.
    pub transitions: Vec<Transition>,
    /// What happened to alerts that people close, in order.
    pub closings: Vec<Closing>,
}

/// What the engine must know to go on where it was.
#[derive(Clone, Debug, Default)]
pub struct Resumption {
    /// Alerts that are pending or firing.
    pub alerts: Vec<Alert>,
    /// Alerts that people closed, and whose condition was not clear since.
    pub closed: Vec<StillClosed>,
    /// What rules remember of series: by rule and series.
    pub memories: Vec<(SmolStr, SmolStr, Memory)>,
    /// Rules were evaluated up to here; replayed records up to it only fill rings and windows.
    pub evaluated: Position,
}

/// Numbers for the status page.
#[derive(Clone, Debug, Default, Serialize)]
pub struct EngineStatus {
    /// Devices known.
    pub devices: usize,
    /// Series known.
    pub series: usize,
    /// Points in the rings.
    pub points: usize,
    /// Bytes of the rings, estimated.
    pub ring_bytes: usize,
    /// Readings that came too late for their window.
    pub too_late: u64,
    /// Readings left out of windows because their time leapt ahead and no second one agreed.
    pub left_out: u64,
    /// Alerts firing now.
    pub firing: usize,
    /// Alerts pending now.
    pub pending: usize,
    /// Times that a rule's condition could not be decided.
    pub undecided: u64,
    /// Of which rules, the first [`UNDECIDED_SHOWN`].
    pub undecided_rules: Vec<UndecidedRule>,
}

/// So many rules that could not be decided are named.
pub const UNDECIDED_SHOWN: usize = 20;

/// A rule whose condition could not always be decided.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct UndecidedRule {
    /// Its name.
    pub rule: String,
    /// Readings of which it could not, since the start or since the rules were changed.
    pub times: u64,
    /// Which series it was about the last time, and why.
    pub last: String,
}

/// The engine has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("the gateway is stopping")]
pub struct Ended;

/// How others ask the engine. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Engine {
    queries: mpsc::Sender<Query>,
    outlook: Outlook,
}

/// A question and where its answer goes.
#[derive(Debug)]
pub(crate) enum Query {
    Devices(oneshot::Sender<Vec<Device>>),
    Series(oneshot::Sender<Vec<SeriesInfo>>),
    Points {
        series: SeriesKey,
        from: Timestamp,
        to: Timestamp,
        answer: oneshot::Sender<Option<Vec<Point>>>,
    },
    Windows {
        series: SeriesKey,
        spec: Option<WindowSpec>,
        answer: oneshot::Sender<Option<Vec<(WindowSpec, Window)>>>,
    },
    Alerts(oneshot::Sender<Vec<Alert>>),
    Inventory {
        after: Position,
        answer: oneshot::Sender<Inventory>,
    },
    Close {
        alert: String,
        by: String,
        comment: String,
        answer: oneshot::Sender<bool>,
    },
    Reconfigure(Box<Config>, oneshot::Sender<()>),
    Status(oneshot::Sender<EngineStatus>),
    /// Nobody waits for an answer, nor for that of the next.
    Disk(Option<String>),
    Link {
        source: SmolStr,
        down: Option<String>,
    },
}

impl Engine {
    /// A handle whose questions go to `queries`.
    #[cfg(test)]
    pub(crate) fn asking(queries: mpsc::Sender<Query>) -> Self {
        Self {
            queries,
            outlook: Outlook::default(),
        }
    }

    /// What the rules hold of series, for who takes readings in.
    #[must_use]
    pub fn outlook(&self) -> Outlook {
        self.outlook.clone()
    }

    /// All devices, by id.
    ///
    /// # Errors
    ///
    /// [`Ended`] when the engine is gone; so for all questions.
    pub async fn devices(&self) -> Result<Vec<Device>, Ended> {
        self.ask(Query::Devices).await
    }

    /// All series, by key, with their newest point.
    ///
    /// # Errors
    ///
    /// [`Ended`]
    pub async fn series(&self) -> Result<Vec<SeriesInfo>, Ended> {
        self.ask(Query::Series).await
    }

    /// The points in memory with `from <= time < to`, by time. `None`: no such series.
    ///
    /// # Errors
    ///
    /// [`Ended`]
    pub async fn points(
        &self,
        series: SeriesKey,
        from: Timestamp,
        to: Timestamp,
    ) -> Result<Option<Vec<Point>>, Ended> {
        self.ask(|answer| Query::Points {
            series,
            from,
            to,
            answer,
        })
        .await
    }

    /// The windows in memory, open ones included, by spec and start. `None`: no such series.
    ///
    /// # Errors
    ///
    /// [`Ended`]
    pub async fn windows(
        &self,
        series: SeriesKey,
        spec: Option<WindowSpec>,
    ) -> Result<Option<Vec<(WindowSpec, Window)>>, Ended> {
        self.ask(|answer| Query::Windows {
            series,
            spec,
            answer,
        })
        .await
    }

    /// Alerts pending or firing.
    ///
    /// # Errors
    ///
    /// [`Ended`]
    pub async fn alerts(&self) -> Result<Vec<Alert>, Ended> {
        self.ask(Query::Alerts).await
    }

    /// The series whose newest reading came after this record, with that reading. Those that only wait for the clock are left out.
    ///
    /// # Errors
    ///
    /// [`Ended`]
    pub async fn inventory(&self, after: Position) -> Result<Inventory, Ended> {
        self.ask(|answer| Query::Inventory { after, answer }).await
    }

    /// Numbers for the status page.
    ///
    /// # Errors
    ///
    /// [`Ended`]
    pub async fn status(&self) -> Result<EngineStatus, Ended> {
        self.ask(Query::Status).await
    }

    /// Takes another config without letting go of anything: rules that ask the same keep their alerts, those of the others
    /// end with the reason; devices get their names and labels; cap, lateness and tick hold from now on. The windows and the
    /// memory of a series stay as they are: they are filled by the replay at a start. Returns when all of it is in force.
    ///
    /// # Errors
    ///
    /// [`Ended`]
    pub async fn reconfigure(&self, config: Config) -> Result<(), Ended> {
        self.ask(|answer| Query::Reconfigure(Box::new(config), answer))
            .await
    }

    /// Ends a firing alert although its condition is true, as [`crate::alert::Machine::close`] does; whether it fires. It counts once
    /// the durable state has it. The gateway's own alert is not ended so.
    ///
    /// # Errors
    ///
    /// [`Ended`]
    pub async fn close(&self, alert: String, by: String, comment: String) -> Result<bool, Ended> {
        self.ask(|answer| Query::Close {
            alert,
            by,
            comment,
            answer,
        })
        .await
    }

    /// Says what is wrong with the gateway's own disk, for the alert about it; `None`: nothing. Saying the same again changes nothing.
    ///
    /// # Errors
    ///
    /// [`Ended`]
    pub async fn disk(&self, problem: Option<String>) -> Result<(), Ended> {
        let said = self.queries.send(Query::Disk(problem)).await;
        said.map_err(|_| Ended)
    }

    /// Says how the link of a source stands: down, with the reason, or up (`None`). For the alert about it, and for whose silence it is.
    ///
    /// # Errors
    ///
    /// [`Ended`]
    pub async fn link(&self, source: SmolStr, down: Option<String>) -> Result<(), Ended> {
        let said = self.queries.send(Query::Link { source, down }).await;
        said.map_err(|_| Ended)
    }

    /// Whether it has ended.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        self.queries.is_closed()
    }

    async fn ask<T>(&self, question: impl FnOnce(oneshot::Sender<T>) -> Query) -> Result<T, Ended> {
        let (answer, answered) = oneshot::channel();
        self.queries
            .send(question(answer))
            .await
            .map_err(|_| Ended)?;
        answered.await.map_err(|_| Ended)
    }
}

/// The ends that the engine works between.
#[derive(Debug)]
pub struct Ends {
    /// From the journal, in order; its end is the engine's.
    pub committed: mpsc::Receiver<Committed>,
    /// To the live hub.
    pub updates: mpsc::Sender<Update>,
    /// To the durable state.
    pub decided: mpsc::Sender<Decided>,
}

/// Labels as alerts and archive tags carry them: the device's own, `site` and `device`.
pub type Labels = BTreeMap<String, String>;

/// Questions that may wait; who asks one more waits for room.
const QUERIES: usize = 64;

/// The engine before it runs: it takes the journal's replay first.
#[derive(Debug)]
pub struct Booting {
    core: Core,
    outgoing: Outgoing,
    recorder: Recorder,
    clock: Clock,
}

impl Booting {
    /// With nothing in it yet but the alerts of the run before. Those whose rule was removed or changed since are ended, and
    /// their summary says so.
    #[must_use]
    pub fn new(config: Config, resumption: Resumption, clock: Clock) -> Self {
        let outgoing = Outgoing::new(config.tick);
        let core = Core::new(config, resumption, at_start(&clock));
        Self {
            core,
            outgoing,
            recorder: Recorder::default(),
            clock,
        }
    }

    /// Applies one journalled record: rings and windows always; rules only beyond [`Resumption::evaluated`].
    pub fn replay(&mut self, entry: &Entry) {
        let now = at_start(&self.clock);
        self.recorder.begin(entry.position);
        self.core.replay(entry, now, &mut self.recorder);
        self.recorder.end();
    }

    /// Gives conditions back what they remembered after a record, once the replay is past that. Before the replay.
    pub fn give_back(&mut self, after: Position, remembered: Vec<Remembered>) {
        self.core.give_back(after, remembered);
    }

    /// Makes a series known of which the replay does not bring the newest reading, as an earlier run wrote it down: it is shown and its time is
    /// the newest of its series; it counts in no window. Before the replay, unless the series is not in that.
    pub fn know(&mut self, known: &Known) {
        self.core.know(known, at_start(&self.clock));
    }

    /// Whether the series is known by now, with a reading.
    #[must_use]
    pub fn knows(&self, series: &SeriesKey) -> bool {
        let store = &self.core.store;
        let found = store.find(series);
        found.is_some_and(|series| store.info(series).latest.is_some())
    }

    /// From now on, the newest records of the replay are kept for live clients.
    pub fn remember(&mut self, what: Remember) {
        self.recorder = Recorder::new(what);
    }

    /// All devices that are known by now.
    #[must_use]
    pub fn devices(&self) -> Vec<Device> {
        self.core.store.devices()
    }

    /// What was kept since [`Booting::remember`].
    #[must_use]
    pub fn recent(&mut self) -> Recent {
        self.recorder.finish()
    }

    /// Starts the task. It first says what it knows (all devices and series) to `ends.updates`, and ends when
    /// `ends.committed` does, after its last words. Records that the replay applied are not applied again.
    #[must_use]
    pub fn start(
        mut self,
        ends: Ends,
        registry: &mut prometheus_client::registry::Registry,
    ) -> (Engine, tokio::task::JoinHandle<()>) {
        self.core.end_replay();
        self.core.foretell_all();
        let (queries, asked) = mpsc::channel(QUERIES);
        let outlook = self.core.outlook.clone();
        let task = Task::new(self.core, self.outgoing, self.clock, Metrics::new(registry));
        (
            Engine { queries, outlook },
            tokio::spawn(task.run(ends, asked)),
        )
    }
}

/// Before the task runs, no time has passed: what is silent is silent from its start.
fn at_start(clock: &Clock) -> Moment {
    Moment {
        clock: clock.now(),
        uptime: Duration::ZERO,
    }
}

#[cfg(test)]
mod tests;
