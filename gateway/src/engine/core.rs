//! What the engine owns: the store and the alert machine, and how far it has come. No channels, no timers.

use std::{collections::HashMap, time::Duration};

use smol_str::SmolStr;

use super::{
    Config, Inventory, Known, Labels, Resumption, UndecidedRule, outgoing::Outgoing,
    outlook::Outlook, recent::Recorder, returning::Returning, view::StoreView,
};
use crate::{
    alert::{Alert, Awaited, Counts, Lapsed, Machine, Moment, Own, Remembered, Transition, lapse},
    journal::{Committed, Entry, Position},
    model::{Batch, DeviceId, Metric, Quality, Reading, SeriesKey, Stamps, Timestamp},
    store::{
        Applied, Arrival, Device, DeviceConfig, Order, Point, SeriesIndex, Store, Window,
        WindowSpec,
    },
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

/// Who hears what a record brings.
enum Ear<'a> {
    /// The live hub.
    Hub(&'a mut Outgoing),
    /// The memory of what earlier runs said, during the replay.
    Memory(&'a mut Recorder),
}

#[derive(Debug)]
pub(super) struct Core {
    pub(super) store: Store,
    pub(super) machine: Machine,
    own: Own,
    /// How often devices say that they send.
    intervals: HashMap<SmolStr, Duration>,
    /// Rules were evaluated up to here by an earlier run.
    evaluated: Position,
    /// The newest record that the replay applied: it must not be applied again.
    replayed: Position,
    /// The newest record that was applied.
    position: Position,
    /// The record that is being applied.
    applying: Position,
    /// The record that the newest reading of each series came with.
    newest: Vec<Position>,
    /// Up to here what conditions remember may have changed otherwise than by the newest reading of its series.
    remade: Position,
    returning: Returning,
    /// What arrives later than this after it was measured is not judged, in nanoseconds.
    judge_within: i64,
    /// What changed and was not handed on yet.
    transitions: Vec<Transition>,
    pub(super) outlook: Outlook,
}

impl Core {
    /// With the alerts of an earlier run; those whose rule asks something else now are ended.
    pub(super) fn new(config: Config, resumption: Resumption, now: Moment) -> Self {
        let mut core = Self {
            intervals: intervals(&config.devices),
            store: Store::new(config.store, config.devices.clone()),
            machine: Machine::new(config.rules, MAX_ALERTS),
            own: Own::default(),
            evaluated: resumption.evaluated,
            replayed: Position::default(),
            position: resumption.evaluated,
            applying: Position::default(),
            newest: Vec::new(),
            remade: resumption.evaluated,
            returning: Returning::default(),
            judge_within: nanos(config.judge_within),
            transitions: Vec::new(),
            outlook: Outlook::default(),
        };
        core.machine.remember(resumption.memories);
        for alert in resumption.alerts {
            let Err(alert) = core.own.resume(alert) else {
                continue;
            };
            let Err(alert) = core.machine.resume_source(*alert) else {
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
                // Not before it began, should the clock not be set.
                let alert = &lapsed.0;
                let known = Timestamp::from_millis(alert.fired_ms.unwrap_or(alert.began_ms));
                core.transitions
                    .push(lapse(lapsed, key, now.clock.max(known)));
            }
        }
        for closed in resumption.closed {
            let key = SeriesKey::parse(&closed.series);
            match key.and_then(|key| core.store.expect(&key)) {
                Some(series) => {
                    core.watch(series, now);
                    core.machine.resume_closed(series, closed);
                }
                None => core.machine.forget_closed(closed),
            }
        }
        core.await_all(&config.devices, config.sources, now);
        core
    }

    /// Applies a record of an earlier run.
    pub(super) fn replay(&mut self, entry: &Entry, now: Moment, recorder: &mut Recorder) {
        let mode = if entry.position > self.evaluated {
            Mode::Replay
        } else {
            Mode::Recall
        };
        self.returning
            .before(entry.position, &self.store, &mut self.machine);
        self.applying = entry.position;
        self.machine.begin_record(entry.position.0);
        for batch in &entry.batches {
            self.batch(batch, mode, now, &mut Ear::Memory(recorder));
        }
        self.replayed = entry.position;
        self.position = entry.position.max(self.evaluated);
        self.remade = self.position;
    }

    /// Gives conditions back what they remembered after a record, once the replay is past that.
    pub(super) fn give_back(&mut self, after: Position, remembered: Vec<Remembered>) {
        self.returning = Returning::new(after, remembered);
    }

    /// Nothing more is replayed.
    pub(super) fn end_replay(&mut self) {
        self.returning.end(&self.store, &mut self.machine);
    }

    /// Applies a record as it comes from the journal.
    pub(super) fn apply(&mut self, committed: &Committed, now: Moment, outgoing: &mut Outgoing) {
        let known = committed.position <= self.replayed;
        outgoing.begin(committed.position);
        self.applying = committed.position;
        // Connections alone are not in the journal, and have no position of their own.
        if !known && committed.batches.iter().any(|b| !b.readings.is_empty()) {
            self.machine.begin_record(committed.position.0);
        }
        for batch in &*committed.batches {
            if !known {
                self.batch(batch, Mode::Live, now, &mut Ear::Hub(outgoing));
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

    /// Makes a series known by what an earlier run wrote down of it.
    pub(super) fn know(&mut self, known: &Known, now: Moment) {
        let Some(series) = self.store.know(&known.source, &known.reading) else {
            return;
        };
        self.set_newest(series, known.position);
        self.watch(series, now);
        let store = &self.store;
        let view = StoreView { store, series };
        self.machine.begin_record(known.position.0);
        self.machine
            .recall(series, &known.reading, true, now, &view);
        let source = self.machine.source(&known.source.0);
        self.machine
            .belongs(self.store.device_number(series), source);
        // When the data before a retained value came is not written down.
        let ago = (!known.reading.retained).then(|| ago(&known.reading, now));
        self.machine.heard_before(series, ago.flatten(), now);
        self.machine.source_spoke_before(source, ago.flatten(), now);
        self.returning.found(series, &self.store, &mut self.machine);
    }

    /// The series whose newest reading came after this record, and what conditions remember of them; of all, where more than readings changed
    /// that.
    pub(super) fn inventory(&self, after: Position) -> Inventory {
        let changed = (0..).zip(&self.newest).filter(|(_, at)| **at > after);
        let known = changed.filter_map(|(series, at)| {
            let (source, reading) = self.store.known(series)?;
            Some(Known {
                source,
                reading,
                position: *at,
            })
        });
        let remembers_all = after <= self.remade;
        let remembered = (0..)
            .zip(&self.newest)
            .filter(|(_, at)| remembers_all || **at > after)
            .flat_map(|(series, _)| self.machine.remembered(series));
        Inventory {
            position: self.position,
            series: known.collect(),
            remembered: remembered.collect(),
            remembers_all,
        }
    }

    fn set_newest(&mut self, series: SeriesIndex, position: Position) {
        let at = series as usize;
        if self.newest.len() <= at {
            self.newest.resize(at + 1, Position::default());
        }
        self.newest[at] = position;
    }

    /// Takes other rules, devices, cap, lateness and age up to which readings are judged. The alerts of rules that are gone or ask something else end.
    pub(super) fn reconfigure(&mut self, config: Config, now: Moment, outgoing: &mut Outgoing) {
        let Config {
            store,
            rules,
            devices,
            judge_within,
            sources,
            ..
        } = config;
        self.intervals = intervals(&devices);
        self.judge_within = nanos(judge_within);
        self.remade = self.position;
        for device in self.store.reconfigure(
            devices.clone(),
            store.site,
            store.max_series,
            store.lateness,
        ) {
            outgoing.device(device);
        }
        let known = 0..SeriesIndex::try_from(self.store.series_known()).unwrap_or(SeriesIndex::MAX);
        // Before the rules, which may choose by label.
        for series in known.clone() {
            self.machine
                .relabel(series, labels(self.store.device_of(series)));
        }
        for (key, lapsed) in self.machine.set_rules(rules, now) {
            self.transitions.push(lapse(lapsed, key, now.clock));
        }
        for series in known {
            self.watch(series, now);
        }
        self.await_all(&devices, sources, now);
        self.foretell_all();
    }

    /// What must come, and from where.
    fn await_all(&mut self, devices: &[DeviceConfig], sources: Vec<Awaited>, now: Moment) {
        for device in devices {
            for metric in &device.expect {
                let key = SeriesKey {
                    device: DeviceId(device.id.clone()),
                    metric: Metric(metric.clone()),
                };
                if !self.expect(&key, now) {
                    tracing::warn!(series = %key, "there are too many series: nobody misses this one, raise `max_series`");
                }
            }
        }
        self.machine
            .await_sources(sources, now, &mut self.transitions);
    }

    /// How the link of a source stands: down, with the reason, or up.
    pub(super) fn link(&mut self, source: &str, down: Option<String>, now: Moment) {
        self.machine.link(source, down, now);
    }

    /// Does what waiting alone makes due.
    pub(super) fn tick(&mut self, now: Moment) {
        self.machine.tick(now, &mut self.transitions);
    }

    /// What is wrong with the gateway's own disk; `None`: nothing.
    pub(super) fn disk(&mut self, problem: Option<String>, now: Moment) {
        self.transitions.extend(self.own.judged(problem, now.clock));
    }

    /// A person ends a firing alert; whether there is one.
    pub(super) fn close(&mut self, alert: &str, by: &str, comment: &str, now: Moment) -> bool {
        self.machine
            .close(alert, by, comment, now, &mut self.transitions)
    }

    /// All alerts, pending and firing.
    pub(super) fn alerts(&self) -> impl Iterator<Item = &Alert> {
        self.machine
            .alerts()
            .chain(self.own.alert())
            .chain(self.machine.source_alerts())
    }

    /// How many there are.
    pub(super) fn counts(&self) -> Counts {
        let counts = self.machine.counts();
        Counts {
            firing: counts.firing
                + usize::from(self.own.alert().is_some())
                + self.machine.source_alerts().count(),
            ..counts
        }
    }

    /// The rules that could not always be decided.
    pub(super) fn undecided(&self) -> impl Iterator<Item = UndecidedRule> {
        self.machine
            .undecided()
            .map(|(rule, troubles)| UndecidedRule {
                rule: rule.name.to_string(),
                times: troubles.times,
                last: troubles.last().unwrap_or_default(),
            })
    }

    /// What changed since this was last asked, in order.
    pub(super) fn take_transitions(&mut self) -> Vec<Transition> {
        let transitions = std::mem::take(&mut self.transitions);
        self.foretell_changed(&transitions);
        transitions
    }

    /// Up to where rules were evaluated by an earlier run, and that is written down.
    pub(super) const fn evaluated(&self) -> Position {
        self.evaluated
    }

    /// The newest record that was applied.
    pub(super) const fn position(&self) -> Position {
        self.position
    }

    fn batch(&mut self, batch: &Batch, mode: Mode, now: Moment, ear: &mut Ear<'_>) {
        if let Stamps::Jumped(by) = batch.stamps {
            self.clock_jumped(by, mode, now, ear);
        }
        let source = self.machine.source(&batch.source.0);
        for reading in &batch.readings {
            self.machine.next_of_record();
            let shown = matches!(batch.stamps, Stamps::SinceBoot(_)) && reading.retained
                || batch.is_provisional(reading);
            let applied = if shown {
                let peer = batch.peer.as_ref();
                self.store.show(&batch.source, peer, reading)
            } else {
                self.apply_reading(batch, reading, mode, ear)
            };
            let Some(applied) = applied else { continue };
            if applied.series_changed || matches!(applied.order, Order::InOrder | Order::Rewound) {
                self.set_newest(applied.series, self.applying);
            }
            if applied.new_series {
                self.watch(applied.series, now);
                self.returning
                    .found(applied.series, &self.store, &mut self.machine);
                if mode == Mode::Live {
                    self.foretell(applied.series);
                }
            }
            self.judge(batch, reading, &applied, mode, now);
            self.heard(batch, source, reading, &applied, mode, now);
            ear.reading(reading, &applied);
        }
    }

    /// Where a reading came from, and when: for what is missed when none comes.
    fn heard(
        &mut self,
        batch: &Batch,
        source: u32,
        reading: &Reading,
        applied: &Applied,
        mode: Mode,
        now: Moment,
    ) {
        self.machine.belongs(applied.device, source);
        if reading.retained {
            return;
        }
        if mode != Mode::Live {
            let ago = ago(reading, now);
            self.machine.source_spoke_before(source, ago, now);
            if reading.quality != Quality::Bad {
                self.machine.heard_before(applied.series, ago, now);
            }
        } else if !matches!(batch.stamps, Stamps::Restamped { .. }) {
            self.machine.source_spoke(source, now);
        }
    }

    fn apply_reading(
        &mut self,
        batch: &Batch,
        reading: &Reading,
        mode: Mode,
        ear: &mut Ear<'_>,
    ) -> Option<Applied> {
        let arrival = match batch.stamps {
            Stamps::Set | Stamps::Jumped(_) => Arrival::Now,
            Stamps::SinceBoot(_) if reading.received.is_set() => Arrival::Now,
            Stamps::SinceBoot(_) => Arrival::Untimed,
            Stamps::Restamped { .. } => Arrival::Earlier,
        };
        let applied = self.store.apply(
            &batch.source,
            batch.peer.as_ref(),
            reading,
            arrival,
            |spec, window| ear.window(&reading.series, spec, window),
        )?;
        if applied.clock_news && mode == Mode::Live {
            let device = self.store.device(applied.device);
            match device.clock_ahead_ms {
                Some(ahead_ms) => tracing::warn!(
                    device = %device.id.0,
                    ahead_seconds = ahead_ms / 1_000,
                    "the clock of a device is off; its readings keep the times that it says"
                ),
                None => {
                    tracing::info!(device = %device.id.0, "the clock of a device is right again");
                }
            }
        }
        Some(applied)
    }

    /// Lets the rules see a reading. While the clock is not set they only hear that there is data.
    fn judge(
        &mut self,
        batch: &Batch,
        reading: &Reading,
        applied: &Applied,
        mode: Mode,
        now: Moment,
    ) {
        let series = applied.series;
        if matches!(batch.stamps, Stamps::SinceBoot(_)) && !reading.received.is_set() {
            self.machine.hear(series, reading, now);
            return;
        }
        // A replay before the clock is set has no better time than that of the arrival.
        let clock = if now.clock.is_set() {
            now.clock
        } else {
            reading.received
        };
        let now = Moment { clock, ..now };
        let in_order = matches!(applied.order, Order::InOrder | Order::Rewound);
        let judged = in_order && applied.age <= self.judge_within;
        let store = &self.store;
        let view = StoreView { store, series };
        if mode == Mode::Recall {
            self.machine.recall(series, reading, judged, now, &view);
            return;
        }
        let out = &mut self.transitions;
        self.machine
            .observe(series, reading, judged, now, &view, out);
    }

    /// The gateway's clock was set while it ran: what is on that clock goes with it.
    fn clock_jumped(&mut self, by: i64, mode: Mode, now: Moment, ear: &mut Ear<'_>) {
        self.machine.next_of_record();
        self.remade = self.remade.max(self.applying);
        let mut closed = Vec::new();
        let moved = self.store.clock_jumped(by, |series, spec, window| {
            closed.push((series.clone(), spec, window.clone()));
        });
        // Series are numbered otherwise in each run; ids of events count the windows of a record, so these need an order of their own.
        closed.sort_by(|(a, ..), (b, ..)| a.cmp(b));
        for (series, spec, window) in &closed {
            ear.window(series, *spec, window);
        }
        for series in moved {
            // Alerts that were taken up from an earlier run have moved already.
            if mode == Mode::Recall {
                self.machine.recall_clock_jump(series, by);
            } else {
                let out = &mut self.transitions;
                self.machine.clock_jumped(series, by, now, out);
            }
        }
    }

    /// Makes a series known before its first reading; `false` when there are too many.
    pub(super) fn expect(&mut self, key: &SeriesKey, now: Moment) -> bool {
        let series = self.store.expect(key);
        if let Some(series) = series {
            self.watch(series, now);
        }
        series.is_some()
    }

    fn watch(&mut self, series: SeriesIndex, now: Moment) {
        let labels = labels(self.store.device_of(series));
        self.machine
            .watch(series, self.store.key(series), &labels, now);
        let interval = self.intervals.get(&self.store.device_of(series).id.0);
        self.machine.place(
            series,
            self.store.device_number(series),
            interval.copied().unwrap_or_default(),
        );
    }
}

fn intervals(devices: &[DeviceConfig]) -> HashMap<SmolStr, Duration> {
    let with = devices
        .iter()
        .filter_map(|device| Some((device.id.clone(), device.interval?)));
    with.collect()
}

/// How long ago a reading of an earlier run came; `None` when one of both times is not that of a clock that was set, or is ahead.
fn ago(reading: &Reading, now: Moment) -> Option<Duration> {
    let both_set = now.clock.is_set() && reading.received.is_set();
    let ago = now.clock.0.checked_sub(reading.received.0)?;
    let ago = u64::try_from(ago).ok().filter(|_| both_set)?;
    Some(Duration::from_nanos(ago))
}

/// The labels that alerts on a device's series carry.
pub(super) fn labels(device: &Device) -> Labels {
    let mut labels = device.labels.clone();
    if let Some(site) = &device.site {
        labels.insert(String::from("site"), site.clone());
    }
    labels.insert(String::from("device"), device.id.0.to_string());
    labels
}

impl Ear<'_> {
    fn window(&mut self, series: &SeriesKey, spec: WindowSpec, window: &Window) {
        match self {
            Self::Hub(outgoing) => outgoing.window(series.clone(), spec, window.clone()),
            Self::Memory(recorder) => recorder.window(series, spec, window),
        }
    }

    fn reading(&mut self, reading: &Reading, applied: &Applied) {
        let point = applied.stored.then(|| Point {
            time: reading.time,
            value: reading.value.clone(),
            quality: reading.quality,
        });
        match self {
            Self::Hub(outgoing) => {
                if applied.device_changed {
                    outgoing.device(applied.device);
                }
                if applied.new_series || applied.series_changed {
                    outgoing.series(applied.series);
                }
                if let Some(point) = point {
                    outgoing.point(applied.series, point);
                }
            }
            Self::Memory(recorder) => {
                if let Some(point) = point {
                    recorder.point(applied.series, &reading.series, point);
                }
            }
        }
    }
}

fn nanos(span: Duration) -> i64 {
    i64::try_from(span.as_nanos()).unwrap_or(i64::MAX)
}
