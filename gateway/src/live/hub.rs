//! The hub's task: it takes what the engine says, writes it into the ring, and answers clients that arrive or
//! have fallen behind.

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use prometheus_client::registry::Registry;
use tokio::sync::{Notify, mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;

use super::{
    Config,
    event::{self, About, Epoch, Event},
    filter::{Filter, Kind},
    frame::Frame,
    group::Group,
    latest::{self, Latest},
    metrics::Metrics,
    ring::{At, Ring},
    snapshots::Snapshots,
};
use crate::{
    alert::{Alert, silence::Attention},
    clock::Clock,
    engine::Update,
    model::DeviceId,
};

/// Questions from clients that may wait; more make the asking clients wait.
pub(super) const MAX_COMMANDS: usize = 64;
/// Status keys at most.
const MAX_STATUS_KEYS: usize = 1024;
/// Updates taken at once, so that device and series news of a start become few events.
const MAX_UPDATES: usize = 64;
/// Alert, device and status events kept beyond the ring for clients that fell behind.
const MAX_KEPT: usize = 4096;
/// Their bytes at most.
const MAX_KEPT_BYTES: usize = 1 << 20;

/// What the hub's task and its clients share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) config: Config,
    pub(super) clock: Clock,
    pub(super) epoch: Epoch,
    pub(super) metrics: Metrics,
    /// Every stream ends with `bye` when this is cancelled.
    pub(super) closing: CancellationToken,
    pub(super) wake: watch::Sender<Wake>,
    clients: AtomicUsize,
    // std: held for a push or a look, never over an await.
    ring: Mutex<Ring>,
    site: Mutex<Option<String>>,
    statuses: Mutex<BTreeMap<String, serde_json::Value>>,
    status_said: Notify,
}

/// What clients wait for.
#[derive(Debug, Default)]
pub(super) struct Wake {
    /// Counts the beats.
    pub(super) beats: u64,
    /// The frame of the last one.
    pub(super) beat: Bytes,
}

/// A client's question to the hub, or what people did.
#[derive(Debug)]
pub(super) enum Command {
    /// A client arrives; `after` is the last sequence that it heard, if it was of this epoch.
    Join {
        filter: Filter,
        after: Option<u64>,
        answer: oneshot::Sender<Joined>,
    },
    /// A client has fallen behind; the last that it heard was `after`, said at `from_ms`.
    CatchUp {
        group: Arc<Group>,
        after: u64,
        from_ms: i64,
        answer: oneshot::Sender<CaughtUp>,
    },
    /// People acknowledged or silenced, or time began or ended a silence.
    Attend {
        attention: Attention,
        answer: oneshot::Sender<()>,
    },
}

#[derive(Debug)]
pub(super) struct Joined {
    pub(super) group: Arc<Group>,
    /// `snapshot` or `resume`, perhaps in two parts, without its `retry:`.
    pub(super) first: VecDeque<Bytes>,
    /// What to read next.
    pub(super) next: u64,
    pub(super) resumed: bool,
}

#[derive(Debug)]
pub(super) struct CaughtUp {
    pub(super) frames: VecDeque<Bytes>,
    pub(super) next: u64,
}

/// One of the places for clients; free again when dropped.
#[derive(Debug)]
pub(super) struct Seat(Arc<Shared>);

impl Shared {
    pub(super) fn new(
        config: Config,
        clock: Clock,
        stop: &CancellationToken,
        registry: &mut Registry,
    ) -> Self {
        Self {
            ring: Mutex::new(Ring::new(config.replay_bytes)),
            site: Mutex::new(config.site.clone()),
            config,
            clock,
            epoch: Epoch::random(),
            metrics: Metrics::new(registry),
            closing: stop.child_token(),
            wake: watch::Sender::default(),
            clients: AtomicUsize::new(0),
            statuses: Mutex::default(),
            status_said: Notify::new(),
        }
    }

    pub(super) fn set_site(&self, site: Option<String>) {
        *lock(&self.site) = site;
    }

    pub(super) fn status(&self, key: &str, value: serde_json::Value) {
        let mut statuses = lock(&self.statuses);
        if statuses.len() >= MAX_STATUS_KEYS && !statuses.contains_key(key) {
            self.metrics.status_dropped.inc();
            return;
        }
        statuses.insert(key.to_owned(), value);
        drop(statuses);
        self.status_said.notify_one();
    }

    /// A seat, unless all are taken.
    pub(super) fn seat(self: &Arc<Self>) -> Option<Seat> {
        self.clients
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |n| {
                (n < self.config.max_clients).then_some(n + 1)
            })
            .ok()?;
        self.metrics.clients.inc();
        Some(Seat(Arc::clone(self)))
    }

    pub(super) fn at(&self, sequence: u64) -> At {
        lock(&self.ring).at(sequence)
    }

    /// The sequence of the newest event, and the bytes of the ring.
    #[cfg(test)]
    pub(super) fn newest(&self) -> (u64, usize) {
        let ring = lock(&self.ring);
        (ring.next() - 1, ring.bytes())
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.0.clients.fetch_sub(1, Ordering::AcqRel);
        self.0.metrics.clients.dec();
    }
}

/// The task. Ends when `updates` does.
pub(super) async fn run(
    shared: Arc<Shared>,
    mut updates: mpsc::Receiver<Update>,
    mut commands: mpsc::Receiver<Command>,
) {
    let mut state = State::new(Arc::clone(&shared));
    // A client beats when it heard nothing since the beat before, so silence lasts at most two of these.
    let beat = shared
        .config
        .beat
        .clamp(Duration::from_millis(100), Duration::from_secs(15))
        / 2;
    let mut beats = tokio::time::interval(beat);
    beats.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut taken = Vec::with_capacity(MAX_UPDATES);
    let mut asked = true;
    loop {
        tokio::select! {
            n = updates.recv_many(&mut taken, MAX_UPDATES) => {
                if n == 0 {
                    break;
                }
                for update in taken.drain(..) {
                    state.update(update);
                }
                state.flush_devices();
                state.wake();
            }
            command = commands.recv(), if asked => match command {
                Some(command) => state.answer(command),
                None => asked = false,
            },
            () = shared.status_said.notified() => {
                state.statuses();
                state.wake();
            }
            _ = beats.tick() => {
                let frame = event::beat(shared.clock.now().as_millis());
                shared.wake.send_modify(|wake| {
                    wake.beats += 1;
                    wake.beat = frame;
                });
            }
        }
    }
    shared.closing.cancel();
}

/// What the task alone owns.
#[derive(Debug)]
struct State {
    shared: Arc<Shared>,
    latest: Latest,
    /// The sequence of the newest event.
    newest: u64,
    kept: VecDeque<Arc<Event>>,
    kept_bytes: usize,
    /// Everything kept after this sequence is complete.
    kept_after: u64,
    groups: HashMap<Filter, Weak<Group>>,
    snapshots: Snapshots,
    /// Device and series news not yet said.
    devices: BTreeMap<DeviceId, Vec<u32>>,
}

impl State {
    fn new(shared: Arc<Shared>) -> Self {
        Self {
            shared,
            latest: Latest::default(),
            newest: 0,
            kept: VecDeque::new(),
            kept_bytes: 0,
            kept_after: 0,
            groups: HashMap::new(),
            snapshots: Snapshots::default(),
            devices: BTreeMap::new(),
        }
    }

    fn update(&mut self, update: Update) {
        match update {
            Update::Series(info) => {
                let device = info.key.device.clone();
                let number = self.latest.describe(info);
                let news = self.devices.entry(device).or_default();
                if !news.contains(&number) {
                    news.push(number);
                }
            }
            Update::Device(device) => {
                self.devices.entry(device.id.clone()).or_default();
                self.latest.device(device);
            }
            Update::Readings(readings) => {
                self.flush_devices();
                let sequence = self.newest + 1;
                let now_ms = self.shared.clock.now().as_millis();
                let mut known = Vec::with_capacity(readings.len());
                let mut points = 0;
                for (key, new) in &readings {
                    let (number, key) = self.latest.number(key);
                    self.latest.readings(number, new, sequence, now_ms);
                    points += new.len();
                    known.push((number, key));
                }
                let columns = known
                    .iter()
                    .zip(&readings)
                    .map(|((number, key), (_, points))| (*number, key, &points[..]));
                let (frame, several) = event::readings(
                    Some((&self.shared.epoch, sequence)),
                    columns,
                    96 + readings.len() * 48 + points * 24,
                );
                self.publish(Kind::Readings, About::Several(several), frame);
            }
            Update::Window {
                series,
                spec,
                window,
            } => {
                self.flush_devices();
                let frame = event::window(self.next_id(), &series, spec, &window);
                self.publish(Kind::Window, About::Series(series), frame);
            }
            Update::Alert(alert) => {
                self.flush_devices();
                self.latest.alert(&alert);
                self.say_alert(&alert);
            }
        }
    }

    fn say_alert(&mut self, alert: &Alert) {
        let mut frame = Frame::begin(Kind::Alert, Some(self.next_id()), 512);
        frame.json(&self.latest.attended(alert));
        let frame = frame.end();
        self.publish(Kind::Alert, About::Series(latest::series_of(alert)), frame);
    }

    fn attend(&mut self, attention: Attention) {
        let news = self.latest.attend(attention);
        // The silence first: whoever is told of an alert that it silences knows it.
        for silence in news.silences {
            let mut frame = Frame::begin(Kind::Silence, Some(self.next_id()), 512);
            frame.json(&silence);
            let frame = frame.end();
            self.publish(Kind::Silence, About::Everyone, frame);
        }
        for alert in news.alerts {
            self.say_alert(&alert);
        }
        // What changed without an event, as an acknowledgement of an alert that is over, is in the next snapshot.
        self.snapshots.forget();
    }

    fn flush_devices(&mut self) {
        for (device, series) in std::mem::take(&mut self.devices) {
            let (frame, several) = self.latest.device_event(self.next_id(), &device, &series);
            self.publish(Kind::Device, About::Several(several), frame);
        }
    }

    fn statuses(&mut self) {
        let said = std::mem::take(&mut *lock(&self.shared.statuses));
        for (key, value) in said {
            if !self.latest.has_room_for(&key, MAX_STATUS_KEYS) {
                self.shared.metrics.status_dropped.inc();
            } else if self.latest.status(&key, &value) {
                let frame = event::status(Some(self.next_id()), &key, &value);
                self.publish(Kind::Status, About::Everyone, frame);
            }
        }
    }

    fn next_id(&self) -> (&Epoch, u64) {
        (&self.shared.epoch, self.newest + 1)
    }

    fn publish(&mut self, kind: Kind, about: About, frame: Bytes) {
        self.newest += 1;
        let event = Arc::new(Event {
            sequence: self.newest,
            at_ms: self.shared.clock.now().as_millis(),
            kind,
            about,
            frame,
        });
        if !matches!(kind, Kind::Readings | Kind::Window) {
            self.keep(Arc::clone(&event));
        }
        self.shared.metrics.events.inc();
        lock(&self.shared.ring).push(event);
    }

    fn keep(&mut self, event: Arc<Event>) {
        self.kept_bytes += event.cost();
        self.kept.push_back(event);
        while self.kept.len() > MAX_KEPT || self.kept_bytes > MAX_KEPT_BYTES {
            let Some(oldest) = self.kept.pop_front() else {
                break;
            };
            self.kept_bytes -= oldest.cost();
            self.kept_after = oldest.sequence;
        }
    }

    fn wake(&self) {
        let bytes = lock(&self.shared.ring).bytes();
        self.shared
            .metrics
            .replay_bytes
            .set(i64::try_from(bytes).unwrap_or(i64::MAX));
        self.shared.wake.send_modify(|_| {});
    }

    /// An asker that is gone meanwhile needs no answer.
    fn answer(&mut self, command: Command) {
        match command {
            Command::Join {
                filter,
                after,
                answer,
            } => match self.join(filter, after) {
                Some(joined) => drop(answer.send(joined)),
                None => self.refuse(),
            },
            Command::CatchUp {
                group,
                after,
                from_ms,
                answer,
            } => match self.catch_up(&group, after, from_ms) {
                Some(caught_up) => drop(answer.send(caught_up)),
                None => self.refuse(),
            },
            Command::Attend { attention, answer } => {
                self.attend(attention);
                self.wake();
                // Who asked may be gone; it is said all the same.
                let _gone = answer.send(());
            }
        }
    }

    /// Not answered, the client hears `bye` and when to come back.
    fn refuse(&self) {
        self.shared.metrics.refused.inc();
    }

    fn join(&mut self, filter: Filter, after: Option<u64>) -> Option<Joined> {
        let after = after.filter(|after| lock(&self.shared.ring).reaches_back_to(*after));
        let (first, next) = match after {
            Some(after) => {
                let mut frame = Frame::begin(Kind::Resume, Some((&self.shared.epoch, after)), 128);
                frame.text("{\"epoch\":");
                frame.string(self.shared.epoch.as_str());
                frame.text(",\"now_ms\":");
                frame.signed(self.shared.clock.now().as_millis());
                frame.text(",\"missed\":");
                frame.unsigned(self.newest - after);
                frame.text("}");
                (VecDeque::from([frame.end()]), after + 1)
            }
            None => {
                let (frames, sequence) = self.snapshot(&filter)?;
                (VecDeque::from(frames), sequence + 1)
            }
        };
        Some(Joined {
            group: self.group(filter),
            first,
            next,
            resumed: after.is_some(),
        })
    }

    fn catch_up(&mut self, group: &Group, after: u64, from_ms: i64) -> Option<CaughtUp> {
        let mut frame = Frame::begin(Kind::Gap, None, 128);
        frame.text("{\"missed\":");
        frame.unsigned(self.newest.saturating_sub(after));
        frame.text(",\"from_ms\":");
        frame.signed(from_ms);
        frame.text(",\"to_ms\":");
        frame.signed(self.shared.clock.now().as_millis());
        frame.text("}");
        let mut frames = VecDeque::from([frame.end()]);
        let mut sequence = self.newest;
        if after >= self.kept_after {
            if self.snapshots.is_full() {
                return None;
            }
            let changed = self.latest.changed_after(after, &group.filter);
            frames.extend(changed.map(|frame| self.snapshots.count(frame)));
            let first = self.kept.partition_point(|event| event.sequence <= after);
            frames.extend(
                self.kept
                    .range(first..)
                    .filter_map(|event| group.frame(event, &self.shared.metrics.cut)),
            );
        } else {
            let (snapshot, of) = self.snapshot(&group.filter)?;
            frames.extend(snapshot);
            sequence = of;
        }
        Some(CaughtUp {
            frames,
            next: sequence + 1,
        })
    }

    /// A `snapshot` in two parts, the time of each and what many have in common, and the newest event that is in it. `None`
    /// when too much waits to be read already.
    fn snapshot(&mut self, filter: &Filter) -> Option<([Bytes; 2], u64)> {
        let known = self
            .snapshots
            .find(filter, self.newest, &lock(&self.shared.ring));
        let snapshot = match known {
            Some(known) => known,
            None if self.snapshots.is_full() => return None,
            None => {
                let site = lock(&self.shared.site).clone();
                let rest = self.latest.snapshot(site.as_deref(), filter);
                self.snapshots.keep(filter, self.newest, rest)
            }
        };
        let id = (&self.shared.epoch, snapshot.sequence);
        let mut head = Frame::begin(Kind::Snapshot, Some(id), 160);
        head.text("{\"epoch\":");
        head.string(self.shared.epoch.as_str());
        head.text(",\"now_ms\":");
        head.signed(self.shared.clock.now().as_millis());
        Some(([head.open(), snapshot.rest], snapshot.sequence))
    }

    fn group(&mut self, filter: Filter) -> Arc<Group> {
        if let Some(group) = self.groups.get(&filter).and_then(Weak::upgrade) {
            return group;
        }
        // Filters are the clients' choice: those that nobody has any more must go.
        self.groups.retain(|_, group| group.strong_count() > 0);
        let group = Arc::new(Group::new(filter.clone()));
        self.groups.insert(filter, Arc::downgrade(&group));
        group
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
