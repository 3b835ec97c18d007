//! `GET /socket`: the live events over WebSocket (RFC 6455), with the same ids and the same resume as over SSE, and commands with answers.
//!
//! - An event is one text message: `{"event","id","data"}`. Its JSON is that of the shared frame, copied when it is sent and not
//!   kept: a socket that waits holds nothing of it.
//! - A slow reader is a slow client of the hub: newest values and a `gap`, alerts told again. One that takes nothing for
//!   [`SEND_WITHIN`], or answers no ping for [`SILENT_FOR`], is let go.
//! - Commands go through the same handlers as REST, as requests with the credentials of the socket's handshake (`command`); one
//!   after the other, at most [`MAX_COMMANDS`] waiting: one more is answered 429.
//!
//! A socket has one of the places for live clients while it is subscribed. It ends with the login that it came with. Not here: who may connect (`http`).

use std::{
    collections::VecDeque,
    pin::Pin,
    sync::{Arc, OnceLock},
    time::Duration,
};

use axum::{
    Extension, Router,
    body::{Body, to_bytes},
    extract::{
        Query, State,
        ws::{CloseFrame, Message, Utf8Bytes, WebSocket, WebSocketUpgrade, close_code},
    },
    http::{HeaderMap, Request, StatusCode, Uri, header},
    response::{IntoResponse, Response},
    routing::get,
};
use serde_json::{Value as JsonValue, json};
use tokio::{
    sync::Semaphore,
    time::{Instant, interval, timeout},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tower::ServiceExt as _;

use super::{
    Client, Filter, Hub, Refused, Said,
    command::{self, Command},
};
use crate::auth::Caller;

/// Bytes of one message from a client.
const MAX_MESSAGE: usize = 64 << 10;
/// Commands of one socket that wait.
const MAX_COMMANDS: usize = 16;
/// Bytes of an answer to a command; what is more is asked for over HTTP.
const MAX_ANSWER: usize = 1 << 20;
/// Bytes that a connection reads and gathers at once.
const BUFFER: usize = 4 << 10;
/// A message up to this size takes no room.
const SMALL: usize = 16 << 10;
/// Bytes of larger messages that sockets are about to take, over all of them.
const MAX_LARGE: usize = 32 << 20;
/// One that takes nothing for so long is let go.
const SEND_WITHIN: Duration = Duration::from_secs(30);
const PING_EVERY: Duration = Duration::from_secs(20);
/// One that says nothing for so long, not even to a ping, is gone.
const SILENT_FOR: Duration = Duration::from_secs(60);
/// What an answer to a command may take; that of HTTP is shorter.
const ANSWER_WITHIN: Duration = Duration::from_secs(60);

/// The sockets that there are, and what they speak with.
#[derive(Clone, Debug)]
pub struct Sockets {
    hub: Hub,
    api: Arc<OnceLock<Router>>,
    room: Arc<Semaphore>,
    tasks: TaskTracker,
}

impl Sockets {
    /// None is open yet.
    #[must_use]
    pub fn new(hub: Hub) -> Self {
        Self {
            hub,
            api: Arc::default(),
            room: Arc::new(Semaphore::new(MAX_LARGE)),
            tasks: TaskTracker::new(),
        }
    }

    /// The fragment with `GET /socket`.
    pub fn router(&self) -> Router {
        Router::new()
            .route("/socket", get(open))
            .with_state(self.clone())
    }

    /// Commands are for this, which is all that HTTP answers; before it is known they are answered 503.
    pub fn speak_to(&self, api: Router) {
        // Said once: there is one interface.
        let _again = self.api.set(api);
    }

    /// Returns when all have said goodbye; after the hub has ended, or told its clients to.
    pub async fn ended(&self) {
        self.tasks.close();
        self.tasks.wait().await;
    }
}

async fn open(
    State(sockets): State<Sockets>,
    uri: Uri,
    headers: HeaderMap,
    caller: Option<Extension<Caller>>,
    upgrade: WebSocketUpgrade,
) -> Response {
    let query: Vec<(String, String)> =
        Query::try_from_uri(&uri).map_or_else(|_| Vec::new(), |Query(query)| query);
    let pairs = query.iter().map(|(k, v)| (k.as_str(), v.as_str()));
    let filter = match Filter::parse(pairs.clone()) {
        Ok(filter) => filter,
        Err(error) => {
            let body = problem(StatusCode::BAD_REQUEST, &error.to_string());
            let kind = [(header::CONTENT_TYPE, "application/problem+json")];
            return (StatusCode::BAD_REQUEST, kind, body.to_string()).into_response();
        }
    };
    let heard: Vec<String> = pairs
        .filter(|(name, _)| *name == "last_event_id")
        .map(|(_, id)| id.to_owned())
        .collect();
    upgrade
        .max_message_size(MAX_MESSAGE)
        .max_frame_size(MAX_MESSAGE)
        .read_buffer_size(BUFFER)
        .write_buffer_size(BUFFER)
        .on_upgrade(async move |socket| {
            let tasks = sockets.tasks.clone();
            let joined = sockets.hub.join(filter, heard.iter().map(String::as_str));
            let joined = joined.await;
            let talk = Talk {
                sockets,
                headers,
                socket,
                logged_out: caller
                    .map(|Extension(caller)| caller.ended)
                    .unwrap_or_default(),
                waiting: VecDeque::new(),
                working: None,
            };
            // On the heap: each of many sockets has one.
            Box::pin(tasks.track_future(talk.run(joined))).await;
        })
}

/// A command under way: its answer.
type Work = Pin<Box<dyn Future<Output = JsonValue> + Send>>;

/// One socket.
struct Talk {
    sockets: Sockets,
    headers: HeaderMap,
    socket: WebSocket,
    /// Never, where nobody has to log in.
    logged_out: CancellationToken,
    waiting: VecDeque<(JsonValue, Box<Request<Body>>)>,
    working: Option<Work>,
}

/// It is over, and with which code.
struct Over(u16, &'static str);

impl Talk {
    async fn run(mut self, joined: Result<Client, Refused>) {
        let over = match joined {
            Ok(client) => self.talk(client).await,
            Err(Refused { retry_ms }) => {
                let bye = json!({"event": "bye", "id": null, "data": {"retry_ms": retry_ms}});
                match self.say(bye.to_string()).await {
                    Ok(()) => Over(close_code::AGAIN, "no place is free"),
                    Err(over) => over,
                }
            }
        };
        let close = Message::Close(Some(CloseFrame {
            code: over.0,
            reason: Utf8Bytes::from_static(over.1),
        }));
        // Whoever is gone needs no goodbye.
        if let Ok(Err(error)) = timeout(Duration::from_secs(2), self.socket.send(close)).await {
            tracing::trace!(%error, "a socket ended without a goodbye");
        }
    }

    async fn talk(&mut self, client: Client) -> Over {
        let mut client = Some(client);
        let mut heard_at = Instant::now();
        let mut pings = interval(PING_EVERY);
        pings.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            self.begin();
            let done = tokio::select! {
                // Answers first: they are few, and events go on for ever.
                biased;
                () = self.logged_out.cancelled() => {
                    return Over(close_code::POLICY, "the login has ended");
                }
                answer = of(self.working.as_mut()) => {
                    self.working = None;
                    self.say(answer.to_string()).await
                }
                message = self.socket.recv() => {
                    heard_at = Instant::now();
                    self.heard(message, &mut client).await
                }
                _ = pings.tick() => {
                    if heard_at.elapsed() > SILENT_FOR {
                        return Over(close_code::POLICY, "no answer to a ping");
                    }
                    self.send(Message::Ping(bytes::Bytes::new())).await
                }
                said = next(client.as_mut(), &self.sockets.hub) => match said {
                    Some(said) => self.tell(&said).await,
                    None => Err(Over(close_code::AWAY, "the stream ends")),
                },
            };
            if let Err(over) = done {
                return over;
            }
        }
    }

    async fn heard(
        &mut self,
        message: Option<Result<Message, axum::Error>>,
        client: &mut Option<Client>,
    ) -> Result<(), Over> {
        match message {
            None | Some(Ok(Message::Close(_))) => Err(Over(close_code::NORMAL, "")),
            Some(Ok(Message::Ping(_) | Message::Pong(_))) => Ok(()),
            Some(Ok(Message::Text(text))) => self.command(&text, client).await,
            Some(Ok(Message::Binary(_))) => {
                Err(Over(close_code::UNSUPPORTED, "messages are JSON texts"))
            }
            Some(Err(error)) if error.to_string().contains("too l") => {
                Err(Over(close_code::SIZE, "a message has at most 64 KiB"))
            }
            Some(Err(_)) => Err(Over(close_code::PROTOCOL, "this is no WebSocket")),
        }
    }

    async fn command(&mut self, text: &str, client: &mut Option<Client>) -> Result<(), Over> {
        let (id, read) = command::read(text, &self.headers);
        let answer = match read {
            Err(wrong) => refused(&id, StatusCode::BAD_REQUEST, &wrong.0),
            Ok(Command::Ask(_)) if self.waiting.len() >= MAX_COMMANDS => {
                let why = "too many commands wait: send the next when one is answered";
                refused(&id, StatusCode::TOO_MANY_REQUESTS, why)
            }
            Ok(Command::Ask(request)) => {
                self.waiting.push_back((id, request));
                return Ok(());
            }
            Ok(Command::Unsubscribe) => {
                *client = None;
                json!({"answer": id, "status": 200, "body": {}})
            }
            Ok(Command::Subscribe(wanted)) => {
                let pairs = wanted.iter().map(|(name, value)| (*name, value.as_str()));
                match Filter::parse(pairs) {
                    Err(error) => refused(&id, StatusCode::BAD_REQUEST, &error.to_string()),
                    Ok(filter) => {
                        // Its own place is free before another is taken.
                        *client = None;
                        match self.sockets.hub.join(filter, []).await {
                            Ok(joined) => {
                                *client = Some(joined);
                                json!({"answer": id, "status": 200, "body": {}})
                            }
                            Err(full) => {
                                refused(&id, StatusCode::SERVICE_UNAVAILABLE, &full.to_string())
                            }
                        }
                    }
                }
            }
        };
        self.say(answer.to_string()).await
    }

    /// The next command that waits, if none is under way.
    fn begin(&mut self) {
        if self.working.is_some() {
            return;
        }
        if let Some((id, request)) = self.waiting.pop_front() {
            let api = self.sockets.api.get().cloned();
            self.working = Some(Box::pin(ask(id, *request, api)));
        }
    }

    async fn tell(&mut self, said: &Said) -> Result<(), Over> {
        let data = said.data();
        let cost = if data.len() > SMALL { data.len() } else { 0 };
        let room = Arc::clone(&self.sockets.room);
        let Ok(_room) = room.try_acquire_many(u32::try_from(cost).unwrap_or(u32::MAX)) else {
            return Err(Over(close_code::AGAIN, "too much waits to be read"));
        };
        self.say(said.json()).await
    }

    async fn say(&mut self, text: String) -> Result<(), Over> {
        self.send(Message::Text(text.into())).await
    }

    /// Returns when the system has taken it: behind that nothing of it is held here.
    async fn send(&mut self, message: Message) -> Result<(), Over> {
        match timeout(SEND_WITHIN, self.socket.send(message)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err(Over(close_code::NORMAL, "")),
            Err(_) => Err(Over(close_code::POLICY, "nothing was read for too long")),
        }
    }
}

/// The answer of what is under way; never, if nothing is.
async fn of(working: Option<&mut Work>) -> JsonValue {
    match working {
        Some(working) => working.await,
        None => std::future::pending().await,
    }
}

/// The next event; only the end, if nothing is subscribed to.
async fn next(client: Option<&mut Client>, hub: &Hub) -> Option<Said> {
    if let Some(client) = client {
        return client.next_event().await;
    }
    hub.shared.closing.cancelled().await;
    None
}

/// Lets the REST interface do it.
async fn ask(id: JsonValue, request: Request<Body>, api: Option<Router>) -> JsonValue {
    let unavailable = StatusCode::SERVICE_UNAVAILABLE;
    let Some(api) = api else {
        return refused(&id, unavailable, "the gateway starts: try again");
    };
    let Ok(Ok(response)) = timeout(ANSWER_WITHIN, api.oneshot(request)).await else {
        return refused(&id, unavailable, "this took too long: try again later");
    };
    let (parts, body) = response.into_parts();
    let Ok(body) = to_bytes(body, MAX_ANSWER).await else {
        let why = "the answer is too long for a socket: ask for it over HTTP";
        return refused(&id, StatusCode::INSUFFICIENT_STORAGE, why);
    };
    let status = parts.status;
    let text = || JsonValue::String(String::from_utf8_lossy(&body).into_owned());
    let body = match body.is_empty() {
        true => JsonValue::Null,
        false => serde_json::from_slice(&body).unwrap_or_else(|_| text()),
    };
    let what = if status.is_success() { "body" } else { "error" };
    let tag = parts.headers.get(header::ETAG);
    let version: Option<u64> = tag
        .and_then(|tag| tag.to_str().ok())
        .and_then(|tag| tag.trim_matches('"').parse().ok());
    let mut answer = json!({"answer": id, "status": status.as_u16(), what: body});
    if let Some(version) = version {
        answer["version"] = json!(version);
    }
    answer
}

fn refused(id: &JsonValue, status: StatusCode, detail: &str) -> JsonValue {
    json!({"answer": id, "status": status.as_u16(), "error": problem(status, detail)})
}

/// A problem (RFC 9457) like those of the REST interface.
fn problem(status: StatusCode, detail: &str) -> JsonValue {
    json!({
        "type": "about:blank",
        "title": status.canonical_reason(),
        "status": status.as_u16(),
        "detail": detail,
    })
}
