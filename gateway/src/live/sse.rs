//! `GET /events`: the live stream as server-sent events
//! (<https://html.spec.whatwg.org/multipage/server-sent-events.html>).
//!
//! The answer is always 200 with a stream, as any other status makes an `EventSource` give up for good: when all places
//! are taken, the stream says `retry` and `bye`, and ends. Only a filter that can't be understood is answered 400.

use std::{collections::VecDeque, convert::Infallible, sync::Arc};

use axum::{
    Router,
    body::Body,
    extract::{Query, State},
    http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, header},
    response::{IntoResponse, Response},
    routing::get,
};
use bytes::Bytes;
use tokio::sync::{oneshot, watch};

use super::{
    Hub, event,
    filter::Filter,
    group::Group,
    hub::{CaughtUp, Command, Joined},
    place::Place,
    retelling::Retelling,
    ring::At,
    shared::{Seat, Shared, Wake},
};

/// The wait before a client comes back, in milliseconds; spread, so that they don't all come at once.
const RETRY_MS: std::ops::Range<u64> = 1000..3000;
/// The same when all places are taken.
const RETRY_FULL_MS: std::ops::Range<u64> = 5000..10_000;
/// Ids of one request that are looked at.
const MAX_IDS: usize = 4;

/// The fragment with `GET /events`.
pub fn router(hub: Hub) -> Router {
    Router::new().route("/events", get(events)).with_state(hub)
}

async fn events(State(hub): State<Hub>, method: Method, uri: Uri, headers: HeaderMap) -> Response {
    // Undecodable bytes in the query become U+FFFD; so no query makes this fail.
    let query: Vec<(String, String)> =
        Query::try_from_uri(&uri).map_or_else(|_| Vec::new(), |Query(query)| query);
    let values = |name: &'static str| {
        query
            .iter()
            .filter(move |(key, _)| key == name)
            .map(|(_, value)| value.as_str())
    };
    let filter = match Filter::parse(values("series"), values("types")) {
        Ok(filter) => filter,
        Err(error) => return bad_filter(&error.to_string()),
    };
    if method == Method::HEAD {
        return stream(Body::empty());
    }
    let shared = &hub.shared;
    let Some(seat) = shared.seat() else {
        shared.metrics.refused.inc();
        return stream(Body::from(event::bye(fastrand::u64(RETRY_FULL_MS))));
    };
    let header = headers.get("last-event-id").and_then(|id| id.to_str().ok());
    let heard = header
        .into_iter()
        .chain(values("last_event_id"))
        .filter_map(Place::parse)
        .map(|(epoch, place)| (epoch.to_owned(), place))
        .take(MAX_IDS)
        .collect();
    let (answer, answered) = oneshot::channel();
    let join = Command::Join {
        filter,
        heard,
        answer,
    };
    let joined = tokio::select! {
        joined = async {
            hub.commands.send(join).await.ok()?;
            answered.await.ok()
        } => joined,
        () = shared.closing.cancelled() => None,
    };
    let Some(joined) = joined else {
        return stream(Body::from(event::bye(fastrand::u64(RETRY_MS))));
    };
    let client = Client::new(hub, seat, joined);
    stream(Body::from_stream(futures_util::stream::unfold(
        client,
        async |mut client| {
            let frame = client.next().await?;
            Some((Ok::<_, Infallible>(frame), client))
        },
    )))
}

fn stream(body: Body) -> Response {
    let mut response = Response::new(body);
    let headers = response.headers_mut();
    for (name, value) in [
        (header::CONTENT_TYPE, "text/event-stream"),
        (header::CACHE_CONTROL, "no-cache, no-transform"),
        // nginx buffers answers unless told not to.
        (header::HeaderName::from_static("x-accel-buffering"), "no"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    response
}

/// A problem answer (RFC 9457) like those of the REST interface.
fn bad_filter(detail: &str) -> Response {
    let body = serde_json::json!({
        "type": "about:blank", "title": "Bad Request", "status": 400, "detail": detail,
    });
    (
        StatusCode::BAD_REQUEST,
        [(header::CONTENT_TYPE, "application/problem+json")],
        body.to_string(),
    )
        .into_response()
}

/// One client: a position in the ring.
#[derive(Debug)]
struct Client {
    hub: Hub,
    group: Arc<Group>,
    /// Said before anything from the ring.
    backlog: VecDeque<Bytes>,
    /// What to read next from the ring.
    next: u64,
    /// What it still has to hear of earlier runs.
    retelling: Option<Retelling>,
    /// When the last event that it read was said.
    heard_ms: i64,
    /// Whether it has read all there was once; what it missed before it came does not count as being slow.
    caught_up: bool,
    wake: watch::Receiver<Wake>,
    beats: u64,
    /// Whether anything was said since the last beat.
    said: bool,
    ended: bool,
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
    fn new(hub: Hub, seat: Seat, mut joined: Joined) -> Self {
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
            retelling: joined.retelling,
            heard_ms: hub.shared.clock.now().as_millis(),
            caught_up: !joined.resumed,
            wake: hub.shared.wake.subscribe(),
            beats: 0,
            said: true,
            ended: false,
            hub,
            _seat: seat,
        }
    }

    /// The next frame; `None` after `bye`. Cancel-safe only together with the client, as a dropped body is.
    async fn next(&mut self) -> Option<Bytes> {
        if self.ended {
            return None;
        }
        let shared = Arc::clone(&self.hub.shared);
        loop {
            if shared.closing.is_cancelled() {
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
                        () = shared.closing.cancelled() => return Some(self.bye()),
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
                let mut frame = self.group.frame(&event, &shared.metrics.cut);
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
            retelling: self.retelling.clone(),
            answer,
        };
        tokio::select! {
            caught_up = async {
                self.hub.commands.send(ask).await.ok()?;
                answered.await.ok()
            } => caught_up,
            () = shared.closing.cancelled() => None,
        }
    }

    fn bye(&mut self) -> Bytes {
        self.ended = true;
        event::bye(fastrand::u64(RETRY_MS))
    }
}
