//! The hub's task: it takes what the engine says, writes it into the ring, and answers clients that arrive or
//! have fallen behind.

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    sync::{Arc, Weak},
    time::Duration,
};

use bytes::Bytes;
use tokio::sync::mpsc;

use super::{
    Past, Topic,
    asked::{CaughtUp, Command, Joined},
    event::{self, About, Event},
    filter::{Filter, Kind},
    frame::{Frame, Id},
    group::Group,
    labels::Tags,
    latest::Latest,
    place::{EarlierRun, Epoch, Mark, News, Place},
    retelling::Retelling,
    shared::{MAX_STATUS_KEYS, Shared, lock},
    snapshots::{Snapshot, Snapshots},
};
use crate::{
    alert::{Alert, silence::Attention},
    engine::{RecentRecord, Update},
    journal::Position,
    model::{DeviceId, SeriesKey},
    store::Point,
};

/// Questions from clients that may wait; more make the asking clients wait.
pub(super) const MAX_COMMANDS: usize = 64;
/// Updates taken at once, so that device and series news of a start become few events.
const MAX_UPDATES: usize = 64;
/// Alert, device and status events kept beyond the ring for clients that fell behind.
const MAX_KEPT: usize = 4096;
/// Their bytes at most.
const MAX_KEPT_BYTES: usize = 1 << 20;

/// What is to be said of a device.
#[derive(Debug, Default)]
struct DeviceNews {
    series: Vec<u32>,
    /// The labels that it had when this was said last, if it has others now.
    before: Option<Arc<Tags>>,
}

/// The task. Ends when `updates` does.
pub(super) async fn run(
    shared: Arc<Shared>,
    past: Past,
    mut updates: mpsc::Receiver<Update>,
    mut commands: mpsc::Receiver<Command>,
) {
    let mut state = State::new(Arc::clone(&shared), past);
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
    epoch: Epoch,
    run: u64,
    /// The runs before this one, the newest last.
    runs: Vec<EarlierRun>,
    /// What all that was said so far brought.
    mark: Mark,
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
    devices: BTreeMap<DeviceId, DeviceNews>,
}

impl State {
    fn new(shared: Arc<Shared>, past: Past) -> Self {
        let Past {
            epoch,
            run,
            runs,
            devices,
            recent,
            changes,
            newest_change,
            active,
            ended,
        } = past;
        // Before anything is said: who wants it for its labels must hear of the past too.
        for device in &devices {
            shared.labels_mut().set(device);
        }
        let untold = changes.first().map_or(newest_change, |c| c.number - 1);
        let mark = Mark::all_up_to(recent.after, untold);
        lock(&shared.ring).begin_after(mark);
        let mut state = Self {
            shared,
            epoch: Epoch::new(epoch),
            run,
            runs,
            mark,
            latest: Latest::default(),
            newest: 0,
            kept: VecDeque::new(),
            kept_bytes: 0,
            kept_after: 0,
            groups: HashMap::new(),
            snapshots: Snapshots::default(),
            devices: BTreeMap::new(),
        };
        state.latest.alerts_of_before(active, ended);
        let mut changes = changes.into_iter().peekable();
        for record in recent.records {
            while let Some(change) = changes.next_if(|c| c.position < record.position) {
                state.say_alert(&change.alert, Some(change.number));
            }
            state.retell(record);
        }
        for change in changes {
            state.say_alert(&change.alert, Some(change.number));
        }
        state.mark = Mark::all_up_to(recent.to, newest_change);
        state
    }

    /// Says a record of an earlier run as that run has said it.
    fn retell(&mut self, record: RecentRecord) {
        let RecentRecord {
            position,
            windows,
            readings,
        } = record;
        for ((series, spec, window), nth) in windows.into_iter().zip(0..) {
            let news = News::Window(position.0, nth);
            let frame = event::window(self.next_id(news), &series, spec, &window);
            self.publish(Kind::Window, news, About::Series(series), frame);
        }
        if !readings.is_empty() {
            self.readings(&readings, position);
        }
    }

    fn update(&mut self, update: Update) {
        match update {
            Update::Series(info) => {
                let device = info.key.device.clone();
                let number = self.latest.describe(info);
                let news = self.devices.entry(device).or_default();
                if !news.series.contains(&number) {
                    news.series.push(number);
                }
            }
            Update::Device(device) => {
                let before = self.shared.labels_mut().set(&device);
                let news = self.devices.entry(device.id.clone()).or_default();
                if before.is_some() {
                    // Who wants it only from now on knows none of its series.
                    news.series = self.latest.series_of_device(&device.id);
                    news.before = news.before.take().or(before);
                }
                self.latest.device(device);
            }
            Update::Readings { readings, through } => {
                self.flush_devices();
                self.readings(&readings, through);
            }
            Update::Window {
                series,
                spec,
                window,
                position,
                nth,
            } => {
                self.flush_devices();
                let news = News::Window(position.0, nth);
                let frame = event::window(self.next_id(news), &series, spec, &window);
                self.publish(Kind::Window, news, About::Series(series), frame);
            }
            Update::Alert { alert, number } => {
                self.flush_devices();
                self.latest.alert(&alert);
                self.say_alert(&alert, number);
            }
            // What is numbered from now on can't be told from what was: no id of before may be understood.
            Update::StateLost => {
                self.epoch = Epoch::random();
                self.runs.clear();
            }
        }
    }

    fn readings(&mut self, readings: &[(SeriesKey, Vec<Point>)], through: Position) {
        let news = News::Readings(through.0);
        let sequence = self.newest + 1;
        let now_ms = self.shared.clock.now().as_millis();
        let mut known = Vec::with_capacity(readings.len());
        let mut points = 0;
        for (key, new) in readings {
            let (number, key) = self.latest.number(key);
            self.latest.readings(number, new, sequence, now_ms);
            points += new.len();
            known.push((number, key));
        }
        let columns = known
            .iter()
            .zip(readings)
            .map(|((number, key), (_, points))| (*number, key, &points[..]));
        let (frame, several) = event::readings(
            Some(self.next_id(news)),
            columns,
            160 + readings.len() * 48 + points * 24,
        );
        self.publish(Kind::Readings, news, About::Several(several), frame);
    }

    /// A change of an alert. One that could not be written down is said without an id: it comes again.
    fn say_alert(&mut self, alert: &Alert, number: Option<u64>) {
        let news = number.map_or(News::Other, News::Alert);
        let id = number.is_some().then(|| self.next_id(news));
        let frame = event::alert(id, &self.latest.attended(alert));
        self.publish(Kind::Alert, news, About::alert(alert), frame);
    }

    fn attend(&mut self, attention: Attention) {
        let said = self.latest.attend(attention);
        // The silence first: whoever is told of an alert that it silences knows it.
        for silence in said.silences {
            self.say(Kind::Silence, &silence);
        }
        for alert in said.alerts {
            let id = self.next_id(News::Other);
            let frame = event::alert(Some(id), &self.latest.attended(&alert));
            self.publish(Kind::Alert, News::Other, About::alert(&alert), frame);
        }
        // What changed without an event, as an acknowledgement of an alert that is over, is in the next snapshot.
        self.snapshots.forget();
    }

    fn say(&mut self, kind: Kind, thing: &impl serde::Serialize) {
        let frame = event::made(self.next_id(News::Other), kind, thing);
        self.publish(kind, News::Other, About::Everyone, frame);
    }

    fn flush_devices(&mut self) {
        for (device, news) in std::mem::take(&mut self.devices) {
            let id = self.next_id(News::Other);
            let (frame, mut several) = self.latest.device_event(id, &device, &news.series);
            several.before = news.before;
            self.publish(Kind::Device, News::Other, About::Several(several), frame);
        }
    }

    fn statuses(&mut self) {
        let said = std::mem::take(&mut *lock(&self.shared.statuses));
        for (key, value) in said {
            if !self.latest.has_room_for(&key, MAX_STATUS_KEYS) {
                self.shared.metrics.status_dropped.inc();
            } else if self.latest.status(&key, &value) {
                let frame = event::status(Some(self.next_id(News::Other)), &key, &value);
                self.publish(Kind::Status, News::Other, About::Everyone, frame);
            }
        }
    }

    /// The id of the next event, which brings this.
    fn next_id(&self, news: News) -> Id<'_> {
        let mut mark = self.mark;
        mark.hear(news);
        self.id(mark, self.newest + 1)
    }

    const fn id(&self, mark: Mark, number: u64) -> Id<'_> {
        let place = Place {
            mark,
            run: self.run,
            number,
        };
        Id(&self.epoch, place)
    }

    fn publish(&mut self, kind: Kind, news: News, about: About, frame: Bytes) {
        self.newest += 1;
        self.mark.hear(news);
        let event = Arc::new(Event {
            sequence: self.newest,
            at_ms: self.shared.clock.now().as_millis(),
            kind,
            news,
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
                heard,
                answer,
            } => match self.join(filter, &heard) {
                Some(joined) => drop(answer.send(joined)),
                None => self.refuse(),
            },
            Command::CatchUp {
                group,
                after,
                from_ms,
                retelling,
                answer,
            } => match self.catch_up(&group, after, from_ms, retelling) {
                Some(caught_up) => drop(answer.send(caught_up)),
                None => self.refuse(),
            },
            Command::Attend { attention, answer } => {
                self.attend(attention);
                self.wake();
                // Who asked may be gone; it is said all the same.
                let _gone = answer.send(());
            }
            Command::Made {
                topic,
                news,
                answer,
            } => {
                for thing in news {
                    if let (Topic::Device, Some(gone)) = (topic, thing["id"].as_str()) {
                        self.latest.forget_device(&DeviceId(gone.into()));
                    }
                    self.say(topic.into(), &thing);
                }
                self.wake();
                // As above.
                let _gone = answer.send(());
            }
        }
    }

    /// Not answered, the client hears `bye` and when to come back.
    fn refuse(&self) {
        self.shared.metrics.refused.inc();
    }

    /// `None` when too much waits to be read already.
    fn join(&mut self, filter: Filter, heard: &[(String, Place)]) -> Option<Joined> {
        let heard = heard
            .iter()
            .find(|(epoch, _)| epoch == self.epoch.as_str())
            .map(|(_, place)| *place);
        let mut joined = Joined {
            first: VecDeque::new(),
            next: self.newest + 1,
            resumed: true,
            retelling: None,
            group: self.group(filter.clone()),
        };
        if let Some(place) = heard
            && place.run == self.run
            && place.number > 0
            && lock(&self.shared.ring).reaches_back_to(place.number)
        {
            joined.next = place.number + 1;
            let mut head = self.greeting(Kind::Resume, place, self.newest - place.number);
            head.text("}");
            joined.first.push_back(head.end());
        } else if let Some(place) = heard
            && self.understands(&place)
            && let Some((next, missed)) = self.shared.after(&place.mark)
        {
            let known = self.known(&filter, &place.mark)?;
            joined.next = next.min(known.sequence + 1);
            joined.retelling = Some(Retelling {
                epoch: self.epoch.clone(),
                run: self.run,
                heard: place.mark,
                known: known.sequence,
                until: self.newest,
                attention: self.latest.attention(),
            });
            let head = self.greeting(Kind::Resume, place, missed).open();
            joined.first.extend([head, known.rest]);
        } else {
            joined.resumed = false;
            let (frames, sequence) = self.snapshot(&filter)?;
            joined.first.extend(frames);
            joined.next = sequence + 1;
        }
        Some(joined)
    }

    /// Whether the mark in the id of an earlier run, or of this one, says something about what is on disk now.
    fn understands(&self, place: &Place) -> bool {
        if place.run == self.run {
            return place.number == 0 && self.mark.covers(&place.mark);
        }
        self.runs.iter().any(|earlier| {
            earlier.run == place.run
                && Mark::all_up_to(earlier.journal, earlier.alerts).covers(&place.mark)
        })
    }

    fn catch_up(
        &mut self,
        group: &Group,
        after: u64,
        from_ms: i64,
        mut retelling: Option<Retelling>,
    ) -> Option<CaughtUp> {
        let to_ms = self.shared.clock.now().as_millis();
        let missed = self.newest.saturating_sub(after);
        let mut frames = VecDeque::from([event::gap(missed, from_ms, to_ms)]);
        let mut sequence = self.newest;
        if after >= self.kept_after {
            if self.snapshots.is_full() {
                return None;
            }
            let changed = self
                .latest
                .changed_after(after, &group.filter, &self.shared.labels());
            frames.extend(changed.map(|frame| self.snapshots.count(frame)));
            let first = self.kept.partition_point(|event| event.sequence <= after);
            frames.extend(self.kept.range(first..).filter_map(|event| {
                let frame = group.frame(event, &self.shared);
                match &mut retelling {
                    Some(retelling) if event.sequence <= retelling.until => {
                        retelling.tell(event, frame)
                    }
                    _ => frame,
                }
            }));
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
        let Snapshot {
            sequence,
            mark,
            rest,
        } = self.known(filter, &Mark::default())?;
        let place = Place {
            mark,
            run: self.run,
            number: sequence,
        };
        let head = self.greeting(Kind::Snapshot, place, 0).open();
        Some(([head, rest], sequence))
    }

    /// The beginning of a `snapshot` or `resume`.
    fn greeting(&self, kind: Kind, place: Place, missed: u64) -> Frame {
        let mut frame = Frame::begin(kind, Some(Id(&self.epoch, place)), 224);
        frame.text("{\"epoch\":");
        frame.string(self.epoch.as_str());
        frame.text(",\"now_ms\":");
        frame.signed(self.shared.clock.now().as_millis());
        if kind == Kind::Resume {
            frame.text(",\"missed\":");
            frame.unsigned(missed);
        }
        frame
    }

    /// What is known, as the rest of a greeting that was left open, for a listener that heard `mark`: nothing that it heard is
    /// newer. `None` when too much waits to be read already.
    fn known(&mut self, filter: &Filter, mark: &Mark) -> Option<Snapshot> {
        let known = self
            .snapshots
            .find(filter, self.newest, &lock(&self.shared.ring))
            .filter(|known| known.mark.covers(mark));
        if known.is_some() {
            return known;
        }
        if self.snapshots.is_full() {
            return None;
        }
        let site = lock(&self.shared.site).clone();
        let rest = self
            .latest
            .snapshot(site.as_deref(), filter, &self.shared.labels());
        Some(self.snapshots.keep(filter, self.newest, self.mark, rest))
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
