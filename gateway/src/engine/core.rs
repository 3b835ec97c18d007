//! What the engine owns: the store and the alert machine, and how far it has come. No channels, no timers.

use super::{Config, Labels, Resumption, outgoing::Outgoing, recent::Recorder};
use crate::{
    alert::{Alert, Counts, Lapsed, Machine, Moment, Own, Transition, lapse},
    journal::{Committed, Entry, Position},
    model::{Batch, SeriesKey},
    store::{Device, Order, Point, SeriesIndex, Store},
};

/// Alerts at once; more are counted, and begin when there is room.
const MAX_ALERTS: usize = 10_000;

/// How readings are taken.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Mode {
    /// Rules were evaluated by an earlier run.
    Recall,
    /// Rules are evaluated; nobody listens yet.
    Replay,
    /// Rules are evaluated and everything is said.
    Live,
}

#[derive(Debug)]
pub(super) struct Core {
    pub(super) store: Store,
    pub(super) machine: Machine,
    own: Own,
    /// Rules were evaluated up to here by an earlier run.
    evaluated: Position,
    /// The newest record that the replay applied: it must not be applied again.
    replayed: Position,
    /// The newest record that was applied.
    position: Position,
    /// What changed and was not handed on yet.
    transitions: Vec<Transition>,
}

impl Core {
    /// With the alerts of an earlier run; those whose rule asks something else now are ended.
    pub(super) fn new(config: Config, resumption: Resumption, now: Moment) -> Self {
        let mut core = Self {
            store: Store::new(config.store, config.devices),
            machine: Machine::new(config.rules, MAX_ALERTS),
            own: Own::default(),
            evaluated: resumption.evaluated,
            replayed: Position::default(),
            position: resumption.evaluated,
            transitions: Vec::new(),
        };
        for alert in resumption.alerts {
            let Err(alert) = core.own.resume(alert) else {
                continue;
            };
            let alert = *alert;
            let Some(key) = SeriesKey::parse(&alert.series) else {
                tracing::warn!(alert = %alert.id, series = %alert.series, "an alert names no series, and is forgotten");
                continue;
            };
            let resumed = match core.store.expect(&key) {
                Some(series) => {
                    core.watch(series, now);
                    core.machine.resume(series, alert, now)
                }
                None => Err(Lapsed(Box::new(alert), "there are too many series")),
            };
            if let Err(lapsed) = resumed {
                core.transitions.push(lapse(lapsed, key, now.clock));
            }
        }
        core
    }

    /// Applies a record of an earlier run.
    pub(super) fn replay(
        &mut self,
        entry: &Entry,
        now: Moment,
        outgoing: &mut Outgoing,
        recorder: &mut Recorder,
    ) {
        let mode = if entry.position > self.evaluated {
            Mode::Replay
        } else {
            Mode::Recall
        };
        for batch in &entry.batches {
            self.batch(batch, mode, now, outgoing, Some(recorder));
        }
        self.replayed = entry.position;
        self.position = entry.position.max(self.evaluated);
    }

    /// Applies a record as it comes from the journal.
    pub(super) fn apply(&mut self, committed: &Committed, now: Moment, outgoing: &mut Outgoing) {
        let known = committed.position <= self.replayed;
        outgoing.begin(committed.position);
        for batch in &*committed.batches {
            if !known {
                self.batch(batch, Mode::Live, now, outgoing, None);
                // Connections alone are not in the journal, and have no position of their own.
                if !batch.readings.is_empty() {
                    self.position = committed.position;
                }
            }
            for presence in &batch.presence {
                for device in self.store.presence(presence) {
                    outgoing.device(device);
                }
            }
        }
    }

    /// Takes other rules, devices, cap and lateness. The alerts of rules that are gone or ask something else end.
    pub(super) fn reconfigure(&mut self, config: Config, now: Moment, outgoing: &mut Outgoing) {
        let Config {
            store,
            rules,
            devices,
            ..
        } = config;
        for device in self
            .store
            .reconfigure(devices, store.site, store.max_series, store.lateness)
        {
            outgoing.device(device);
        }
        for (key, lapsed) in self.machine.set_rules(rules, now) {
            self.transitions.push(lapse(lapsed, key, now.clock));
        }
        for series in
            0..SeriesIndex::try_from(self.store.series_known()).unwrap_or(SeriesIndex::MAX)
        {
            self.machine
                .relabel(series, labels(self.store.device_of(series)));
            self.watch(series, now);
        }
    }

    /// Does what waiting alone makes due.
    pub(super) fn tick(&mut self, now: Moment) {
        self.machine.tick(now, &mut self.transitions);
    }

    /// What is wrong with the gateway's own disk; `None`: nothing.
    pub(super) fn disk(&mut self, problem: Option<String>, now: Moment) {
        self.transitions.extend(self.own.judged(problem, now.clock));
    }

    /// All alerts, pending and firing.
    pub(super) fn alerts(&self) -> impl Iterator<Item = &Alert> {
        self.machine.alerts().chain(self.own.alert())
    }

    /// How many there are.
    pub(super) fn counts(&self) -> Counts {
        let counts = self.machine.counts();
        Counts {
            firing: counts.firing + usize::from(self.own.alert().is_some()),
            ..counts
        }
    }

    /// What changed since this was last asked, in order.
    pub(super) fn take_transitions(&mut self) -> Vec<Transition> {
        std::mem::take(&mut self.transitions)
    }

    /// The newest record that was applied.
    pub(super) const fn position(&self) -> Position {
        self.position
    }

    fn batch(
        &mut self,
        batch: &Batch,
        mode: Mode,
        now: Moment,
        outgoing: &mut Outgoing,
        mut recorder: Option<&mut Recorder>,
    ) {
        for reading in &batch.readings {
            let applied = self.store.apply(
                &batch.source,
                batch.peer.as_ref(),
                reading,
                |spec, window| {
                    if let Some(recorder) = &mut recorder {
                        recorder.window(&reading.series, spec, window);
                    } else {
                        outgoing.window(reading.series.clone(), spec, window.clone());
                    }
                },
            );
            let Some(applied) = applied else { continue };
            let series = applied.series;
            if applied.new_series {
                self.watch(series, now);
            }
            let in_order = matches!(applied.order, Order::InOrder | Order::Rewound);
            if mode == Mode::Recall {
                self.machine.recall(series, reading, in_order, now);
            } else {
                let store = &self.store;
                self.machine.observe(
                    series,
                    reading,
                    in_order,
                    now,
                    |from, to| store.first_number(series, from, to),
                    &mut self.transitions,
                );
            }
            let point = || Point {
                time: reading.time,
                value: reading.value.clone(),
                quality: reading.quality,
            };
            if let Some(recorder) = &mut recorder {
                if applied.stored {
                    recorder.point(series, &reading.series, point());
                }
                continue;
            }
            if applied.device_changed {
                outgoing.device(applied.device);
            }
            if applied.new_series || applied.series_changed {
                outgoing.series(series);
            }
            if applied.stored {
                outgoing.point(series, point());
            }
        }
    }

    fn watch(&mut self, series: SeriesIndex, now: Moment) {
        let labels = labels(self.store.device_of(series));
        self.machine
            .watch(series, self.store.key(series), &labels, now);
    }
}

fn labels(device: &Device) -> Labels {
    let mut labels = device.labels.clone();
    if let Some(site) = &device.site {
        labels.insert(String::from("site"), site.clone());
    }
    labels.insert(String::from("device"), device.id.0.to_string());
    labels
}
