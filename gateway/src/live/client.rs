//! One listener: a place in the ring, whatever it speaks. [`sse`](super::sse) writes what it pulls as it is; others take
//! each event apart ([`Said`]).
//!
//! A client that stops pulling costs nothing but itself; the ring does not wait for it.

use std::{collections::VecDeque, sync::Arc};

use bytes::{Bytes, BytesMut};
use thiserror::Error;
use tokio::sync::{oneshot, watch};
use tokio_util::sync::CancellationToken;

use super::{
    Hub,
    asked::{CaughtUp, Command, Joined},
    event,
    filter::Filter,
    group::Group,
    place::Place,
    retelling::Retelling,
    ring::At,
    shared::{Seat, Shared, Wake},
};

/// The wait before a client comes back, in milliseconds; spread, so that they don't all come at once.
const RETRY_MS: std::ops::Range<u64> = 1000..3000;
/// The same when all places are taken.
const RETRY_FULL_MS: std::ops::Range<u64> = 5000..10_000;
/// Ids of one client that are looked at.
const MAX_IDS: usize = 4;

/// No place is free, or the gateway stops.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("no place is free for a live client: come back in {retry_ms} ms")]
pub struct Refused {
    /// When to come back, milliseconds from now.
    pub retry_ms: u64,
}

/// One event as it was said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Said(Bytes);

impl Said {
    /// The name of the event: `snapshot`, `readings`, `bye`, …
    #[must_use]
    pub fn kind(&self) -> &str {
        std::str::from_utf8(self.field(b"event: ")).unwrap_or_default()
    }

    /// Its id, to come back with; the beat, `gap` and `bye` have none.
    #[must_use]
    pub fn id(&self) -> Option<&str> {
        let id = self.field(b"id: ");
        std::str::from_utf8(id).ok().filter(|id| !id.is_empty())
    }

    /// What it says: JSON on one line, shared with all who hear the same.
    #[must_use]
    pub fn data(&self) -> Bytes {
        self.0.slice_ref(self.field(b"data: "))
    }

    /// All of it as one JSON object: `{"event","id","data"}`.
    pub(super) fn json(&self) -> String {
        let (kind, data) = (self.kind(), self.field(b"data: "));
        let mut json = String::with_capacity(data.len() + 96);
        json.push_str("{\"event\":\"");
        json.push_str(kind);
        json.push_str("\",\"id\":");
        match self.id() {
            // An id has letters, digits, `-` and `.` only.
            Some(id) => json.extend(["\"", id, "\""]),
            None => json.push_str("null"),
        }
        json.push_str(",\"data\":");
        json.push_str(std::str::from_utf8(data).unwrap_or("null"));
        json.push('}');
        json
    }

    /// The rest of the line that begins so. The data is the last line and has no line break in it, so no field is found in it.
    fn field(&self, name: &[u8]) -> &[u8] {
        let mut lines = self.0.split(|b| *b == b'\n');
        lines
            .find_map(|line| line.strip_prefix(name))
            .unwrap_or_default()
    }
}

impl Hub {
    /// A place for one more listener. `heard` are the ids that it comes with, as text from anywhere: the first that is one of
    /// ours counts; with none it hears a `snapshot` first. Dropping the client frees its place.
    ///
    /// # Errors
    ///
    /// When all places are taken, live streams are switched off, too much waits to be read, or the gateway stops.
    pub async fn join<'a>(
        &self,
        filter: Filter,
        heard: impl IntoIterator<Item = &'a str>,
    ) -> Result<Client, Refused> {
        let shared = &self.shared;
        let Some(seat) = shared.seat() else {
            shared.metrics.refused.inc();
            return Err(Refused {
                retry_ms: fastrand::u64(RETRY_FULL_MS),
            });
        };
        let heard = heard
            .into_iter()
            .filter_map(Place::parse)
            .map(|(epoch, place)| (epoch.to_owned(), place))
            .take(MAX_IDS)
            .collect();
        let open = shared.open();
        let (answer, answered) = oneshot::channel();
        let join = Command::Join {
            filter,
            heard,
            answer,
        };
        let joined = tokio::select! {
            joined = async {
                self.commands.send(join).await.ok()?;
                answered.await.ok()
            } => joined,
            () = open.cancelled() => None,
        };
        let joined = joined.ok_or_else(|| Refused {
            retry_ms: fastrand::u64(RETRY_MS),
        })?;
        Ok(Client::new(self.clone(), seat, joined, open))
    }
}

/// One client: a position in the ring.
#[derive(Debug)]
pub struct Client {
    hub: Hub,
    group: Arc<Group>,
    /// Said before anything from the ring.
    backlog: VecDeque<Bytes>,
    /// What to read next from the ring.
    next: u64,
    /// What it still has to hear of earlier runs.
    retelling: Option<Box<Retelling>>,
    /// When the last event that it read was said.
    heard_ms: i64,
    /// Whether it has read all there was once; what it missed before it came does not count as being slow.
    caught_up: bool,
    wake: watch::Receiver<Wake>,
    beats: u64,
    /// Whether anything was said since the last beat.
    said: bool,
    ended: bool,
    /// Cancelled when the stream is to end.
    open: CancellationToken,
    /// What [`Client::next_event`] has of an event that comes in parts.
    part: BytesMut,
    _seat: Seat,
}

/// What to do next.
enum Step {
    Say(Bytes),
    Skip,
    Wait,
    CatchUp,
}

impl Client {
    fn new(hub: Hub, seat: Seat, mut joined: Joined, open: CancellationToken) -> Self {
        let metrics = &hub.shared.metrics;
        if joined.resumed {
            metrics.resumes.inc();
        } else {
            metrics.snapshots.inc();
        }
        if let Some(first) = joined.first.front_mut() {
            *first = event::with_retry(fastrand::u64(RETRY_MS), first);
        }
        Self {
            group: joined.group,
            backlog: joined.first,
            next: joined.next,
            retelling: joined.retelling.map(Box::new),
            heard_ms: hub.shared.clock.now().as_millis(),
            caught_up: !joined.resumed,
            wake: hub.shared.wake.subscribe(),
            beats: 0,
            said: true,
            ended: false,
            open,
            part: BytesMut::new(),
            hub,
            _seat: seat,
        }
    }

    /// The next event, whole; `None` after `bye`. Waits while there is none: beats come in between. May be dropped at any
    /// await and called again; nothing is lost.
    pub async fn next_event(&mut self) -> Option<Said> {
        loop {
            let next = self.next().await?;
            let whole = next.ends_with(b"\n\n");
            if whole && self.part.is_empty() {
                return Some(Said(next));
            }
            self.part.extend_from_slice(&next);
            if whole {
                return Some(Said(self.part.split().freeze()));
            }
        }
    }

    /// The next SSE frame, or a part of one; a part that ends with an empty line is the last of its frame. `None` after `bye`. May
    /// be dropped at any await, as above.
    pub async fn next(&mut self) -> Option<Bytes> {
        if self.ended {
            return None;
        }
        let shared = Arc::clone(&self.hub.shared);
        loop {
            if self.open.is_cancelled() {
                return Some(self.bye());
            }
            if let Some(frame) = self.backlog.pop_front() {
                self.said = true;
                return Some(frame);
            }
            match self.step(&shared) {
                Step::Say(frame) => {
                    self.said = true;
                    return Some(frame);
                }
                // What others want can be much; a turn for the others.
                Step::Skip => tokio::task::consume_budget().await,
                Step::CatchUp => match self.catch_up(&shared).await {
                    Some(caught_up) => {
                        self.backlog = caught_up.frames;
                        self.next = caught_up.next;
                        self.retelling = None;
                        self.caught_up = true;
                    }
                    None => return Some(self.bye()),
                },
                Step::Wait => {
                    if let Some(beat) = self.beat() {
                        return Some(beat);
                    }
                    tokio::select! {
                        changed = self.wake.changed() => if changed.is_err() {
                            return Some(self.bye());
                        },
                        () = self.open.cancelled() => return Some(self.bye()),
                    }
                }
            }
        }
    }

    fn step(&mut self, shared: &Shared) -> Step {
        // Marked as seen before the look into the ring, so that nothing said in between is slept through.
        self.wake.mark_unchanged();
        match shared.at(self.next) {
            At::Event { behind, .. }
                if self.caught_up && behind >= shared.config.client_queue as u64 =>
            {
                Step::CatchUp
            }
            At::Event { event, .. } => {
                self.next += 1;
                self.heard_ms = event.at_ms;
                let mut frame = self.group.frame(&event, shared);
                if let Some(retelling) = &mut self.retelling {
                    if event.sequence <= retelling.until {
                        frame = retelling.tell(&event, frame);
                    } else {
                        self.retelling = None;
                    }
                }
                frame.map_or(Step::Skip, Step::Say)
            }
            At::Gone => Step::CatchUp,
            At::End => {
                self.caught_up = true;
                Step::Wait
            }
        }
    }

    /// The beat, if one is due and nothing else was said since the one before.
    fn beat(&mut self) -> Option<Bytes> {
        let wake = self.wake.borrow();
        if wake.beats == self.beats {
            return None;
        }
        self.beats = wake.beats;
        let due = !std::mem::replace(&mut self.said, false);
        due.then(|| wake.beat.clone())
    }

    async fn catch_up(&self, shared: &Shared) -> Option<CaughtUp> {
        shared.metrics.gaps.inc();
        let (answer, answered) = oneshot::channel();
        let ask = Command::CatchUp {
            group: Arc::clone(&self.group),
            after: self.next - 1,
            from_ms: self.heard_ms,
            retelling: self.retelling.as_deref().cloned(),
            answer,
        };
        tokio::select! {
            caught_up = async {
                self.hub.commands.send(ask).await.ok()?;
                answered.await.ok()
            } => caught_up,
            () = self.open.cancelled() => None,
        }
    }

    fn bye(&mut self) -> Bytes {
        self.ended = true;
        event::bye(fastrand::u64(RETRY_MS))
    }
}
