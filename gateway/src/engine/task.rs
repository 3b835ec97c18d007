//! The engine's task: between the journal, those who ask, the live hub and the durable state.
//!
//! Its one wait is for the durable state: while a [`Decided`] waits to be taken, no further record and no timer is looked at, so that at
//! most one round of changes can be lost and is made again after a crash. Questions and the live hub are served all the while.
//!
//! Silence is judged only when no record waits: after a slow disk, the readings that prove a sensor alive come before its timer.
//! Under load that never lets up, the timers get their turn every [`PATIENCE`].

use std::time::Duration;

use tokio::{
    sync::mpsc,
    time::{Instant, sleep_until},
};

use super::{
    Config, Decided, Ends, EngineStatus, Query, UNDECIDED_SHOWN, core::Core, metrics::Metrics,
    outgoing::Outgoing,
};
use crate::{alert::Moment, clock::Clock, journal::Committed, journal::Position};

/// How often the position is written down when nothing else is, so that a restart has little to evaluate again.
const NOTE_POSITION_EVERY: Duration = Duration::from_secs(60);
/// Records taken in one round.
const ROUND: usize = 64;
/// How long records that never stop waiting may put the timers off.
const PATIENCE: Duration = Duration::from_secs(5);
/// How often it is asked whether the clock is set, while rules wait for that.
const ASK_CLOCK_EVERY: Duration = Duration::from_secs(1);
/// A lasting stream of late readings is told once in this time.
const REPORT_LATE_EVERY: Duration = Duration::from_secs(3600);

pub(super) struct Task {
    pub(super) core: Core,
    pub(super) outgoing: Outgoing,
    pub(super) clock: Clock,
    pub(super) metrics: Metrics,
    pub(super) started: Instant,
    undecided: Option<Decided>,
    noted: Position,
    /// Since when records have always been waiting.
    busy_since: Option<Instant>,
    late_reported: Option<Instant>,
    late_seen: u64,
}

impl Task {
    /// Ready to run: what is known waits to be said, what the replay changed waits to be written down.
    pub(super) fn new(core: Core, outgoing: Outgoing, clock: Clock, metrics: Metrics) -> Self {
        let mut task = Self {
            // What the replay went through is not written down yet.
            noted: core.evaluated(),
            late_seen: core.store.counts().too_late,
            core,
            outgoing,
            clock,
            metrics,
            started: Instant::now(),
            undecided: None,
            busy_since: None,
            late_reported: None,
        };
        task.say_everything();
        task.decide();
        task
    }

    pub(super) async fn run(mut self, ends: Ends, mut queries: mpsc::Receiver<Query>) {
        let Ends {
            mut committed,
            updates,
            decided,
        } = ends;
        let mut records = Vec::with_capacity(ROUND);
        let mut note_at = Instant::now() + NOTE_POSITION_EVERY;
        loop {
            let now = Instant::now();
            let due = self.outgoing.due(now);
            let free = self.undecided.is_none();
            let timer = self
                .core
                .machine
                .next_timer()
                .filter(|_| free)
                .map(|uptime| self.started + uptime)
                // No rule runs on a clock that is not set.
                .map(|at| match self.clock.is_trusted() {
                    true => at,
                    false => at.max(now + ASK_CLOCK_EVERY),
                });
            let later = due.filter(|due| *due > now);
            let wake = [Some(note_at), timer, later]
                .into_iter()
                .flatten()
                .min()
                .unwrap_or(note_at);
            tokio::select! {
                taken = committed.recv_many(&mut records, ROUND), if free => {
                    if taken == 0 {
                        break;
                    }
                    self.take(&records, committed.is_empty());
                    records.clear();
                }
                Some(query) = queries.recv() => match query {
                    Query::Reconfigure(config, answer) => {
                        self.reconfigure(*config);
                        let _waited_for_or_not = answer.send(());
                    }
                    query => self.answer(query),
                },
                permit = updates.reserve(), if due.is_some_and(|due| due <= now) => match permit {
                    Ok(permit) => {
                        if let Some(update) = self.outgoing.next(now, &self.core.store) {
                            permit.send(update);
                        }
                        self.count();
                    }
                    Err(_) => self.outgoing.mute(),
                },
                permit = decided.reserve(), if self.undecided.is_some() => match (permit, self.undecided.take()) {
                    (Ok(permit), Some(changes)) => {
                        self.noted = changes.position;
                        permit.send(changes);
                        // A change of the config may have had to wait for its turn.
                        self.decide();
                    }
                    (Err(_), Some(changes)) if !changes.transitions.is_empty() => {
                        tracing::error!(
                            lost = changes.transitions.len(),
                            "changes of alerts cannot be written down: the state is closed"
                        );
                    }
                    _ => {}
                },
                () = sleep_until(wake) => {
                    if free && committed.is_empty() {
                        self.tick(self.now());
                        self.decide();
                    }
                    if Instant::now() >= note_at {
                        note_at = Instant::now() + NOTE_POSITION_EVERY;
                        self.note_position();
                        self.report_late();
                    }
                    self.count();
                }
            }
        }
        self.note_position();
        if let Some(changes) = self.undecided.take()
            && let Err(unsent) = decided.send(changes).await
        {
            tracing::error!(
                lost = unsent.0.transitions.len(),
                "the last changes of alerts cannot be written down: the state is closed"
            );
        }
        while let Some(update) = self.outgoing.next(Instant::now(), &self.core.store) {
            if updates.send(update).await.is_err() {
                break;
            }
        }
    }

    fn now(&self) -> Moment {
        Moment {
            clock: self.clock.now(),
            uptime: self.started.elapsed(),
        }
    }

    fn tick(&mut self, now: Moment) {
        if now.clock.is_set() {
            self.core.tick(now);
        }
    }

    fn take(&mut self, records: &[Committed], all: bool) {
        let now = self.now();
        for record in records {
            self.core.apply(record, now, &mut self.outgoing);
        }
        let busy_since = *self.busy_since.get_or_insert_with(Instant::now);
        if all || busy_since.elapsed() >= PATIENCE {
            self.busy_since = None;
            self.tick(now);
        }
        self.decide();
        self.count();
    }

    fn reconfigure(&mut self, config: Config) {
        self.outgoing.set_tick(config.tick);
        let now = self.now();
        self.core.reconfigure(config, now, &mut self.outgoing);
        // What still waits to be written down goes first; what changed here follows with the next round.
        if self.undecided.is_none() {
            self.decide();
        }
    }

    /// Puts what changed where the durable state takes it.
    fn decide(&mut self) {
        let transitions = self.core.take_transitions();
        let closings = self.core.machine.take_closings();
        if transitions.is_empty() && closings.is_empty() {
            return;
        }
        self.metrics.transitions(&transitions);
        let position = self.core.position();
        match &mut self.undecided {
            // The alert about the disk and what people close come while others wait: they must not replace them.
            Some(waiting) => {
                waiting.position = position;
                waiting.transitions.extend(transitions);
                waiting.closings.extend(closings);
            }
            None => {
                self.undecided = Some(Decided {
                    position,
                    transitions,
                    closings,
                });
            }
        }
    }

    fn note_position(&mut self) {
        let position = self.core.position();
        if self.undecided.is_none() && position != self.noted {
            self.undecided = Some(Decided {
                position,
                transitions: Vec::new(),
                closings: Vec::new(),
            });
        }
    }

    fn say_everything(&mut self) {
        for series in self.core.store.all_series() {
            if let Some(index) = self.core.store.find(&series.key) {
                self.outgoing.series(index);
            }
        }
        for device in 0..u32::try_from(self.core.store.devices_known()).unwrap_or(u32::MAX) {
            self.outgoing.device(device);
        }
    }

    fn count(&mut self) {
        self.metrics
            .bring_up_to_date(&self.core, self.outgoing.dropped());
    }

    fn report_late(&mut self) {
        let late = self.core.store.counts().too_late;
        let quiet = self
            .late_reported
            .is_none_or(|at| at.elapsed() >= REPORT_LATE_EVERY);
        if late > self.late_seen && quiet {
            tracing::warn!(
                readings = late - self.late_seen,
                "readings came too late for their windows; they are kept and archived, but not in these aggregates"
            );
            self.late_reported = Some(Instant::now());
            self.late_seen = late;
        }
    }

    /// Who asked and went away misses nothing: an answer that cannot be given is dropped.
    fn answer(&mut self, query: Query) {
        let store = &self.core.store;
        match query {
            Query::Devices(answer) => drop(answer.send(store.devices())),
            Query::Series(answer) => drop(answer.send(store.all_series())),
            Query::Points {
                series,
                from,
                to,
                answer,
            } => {
                let found = store.find(&series);
                drop(answer.send(found.map(|series| store.points(series, from, to))));
            }
            Query::Windows {
                series,
                spec,
                answer,
            } => {
                let found = store.find(&series);
                drop(answer.send(found.map(|series| store.windows(series, spec))));
            }
            Query::Alerts(answer) => {
                drop(answer.send(self.core.alerts().cloned().collect()));
            }
            Query::Inventory { after, answer } => {
                // It is written down only behind what was decided by then.
                self.note_position();
                drop(answer.send(self.core.inventory(after)));
            }
            Query::Status(answer) => drop(answer.send(self.status())),
            // The loop does this one itself: it changes what the others look at.
            Query::Reconfigure(_, answer) => drop(answer),
            Query::Link { source, down } => {
                let now = self.now();
                self.core.link(&source, down, now);
                // Otherwise the next round does it.
                if self.undecided.is_none() {
                    self.tick(now);
                    self.decide();
                }
            }
            Query::Close {
                alert,
                by,
                comment,
                answer,
            } => {
                let closed = self.core.close(&alert, &by, &comment, self.now());
                self.decide();
                // Who asked and went away misses nothing.
                let _gone = answer.send(closed);
            }
            Query::Disk(problem) => {
                self.core.disk(problem, self.now());
                self.decide();
            }
        }
    }

    fn status(&self) -> EngineStatus {
        let (store, alerts) = (&self.core.store, self.core.counts());
        EngineStatus {
            devices: store.devices_known(),
            series: store.series_known(),
            points: store.points_held(),
            ring_bytes: store.ring_bytes(),
            too_late: store.counts().too_late,
            left_out: store.counts().left_out,
            firing: alerts.firing,
            pending: alerts.pending,
            undecided: alerts.undecided,
            undecided_rules: self.core.undecided().take(UNDECIDED_SHOWN).collect(),
        }
    }
}
