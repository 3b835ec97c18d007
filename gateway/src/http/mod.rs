//! One router of fragments: the REST interface, the status page's numbers, the dashboard's files, and what other
//! rooms bring (live events, push, metrics).
//!
//! Every answer carries the security headers; every request passes the [`guard`], and then the gate of the [`login`]. Errors are
//! problem answers (RFC 9457). Not here: TLS.

mod account;
mod acknowledge;
mod alerts;
mod api;
mod cors;
mod dashboards;
mod deliveries;
mod devices;
mod dry_run;
mod guard;
mod handover;
mod letters;
mod login;
mod made;
mod needs;
mod openapi;
mod page;
mod points;
pub mod problem;
mod routes;
mod rules;
mod serve;
mod silences;
mod status;
mod times;
mod versions;
mod webhooks;

use std::{sync::Arc, time::Duration};

use axum::{
    Router,
    body::{self, Body, HttpBody as _},
    extract::{Request, State},
    http::{Method, StatusCode, header},
    middleware::{self, Next},
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tower_http::{CompressionLevel, compression::CompressionLayer};

use self::problem::Problem;
pub use self::{
    dashboards::{MAX_LAYOUT_BYTES, dashboard_listed, dashboard_shown},
    login::{Login, LoginConfig},
    made::{
        Answer, Desks, Entries, Entry, KeyFault, MAX_REQUESTS, MadeRequest, MadeWish, Origin,
        Refusal,
    },
    needs::NEEDS,
    rules::{RuleEntry, RuleRequest, RuleToRehearse, RuleWish, Rules, place as rule_place},
    serve::{Metrics, serve},
    webhooks::webhook_shown,
};
use crate::{
    archive::{ArchiveStatus, DeadLetters},
    clock::Clock,
    damage::SetAside,
    engine::Engine,
    heartbeat::Heartbeats,
    history::History,
    ingest::Account,
    journal::Journal,
    model::Timestamp,
    notify::{Links, Signer, WebhookConfig},
    rejects::Rejects,
    source::SourceStatus,
    state,
    wear::Meter,
};

/// Bytes of answers that may wait to be read, over all connections; further ones are answered 503.
const MAX_ANSWER_BYTES: usize = 64 << 20;
/// Bytes of a refusal in plain words.
const MAX_REFUSAL_BYTES: usize = 4 << 10;
/// An answer up to this size takes no room.
const SMALL_ANSWER_BYTES: u64 = 16 << 10;

/// Bounds and whom it answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Connections at most; one more is answered 503. Default 1 024. Must be above the live hub's clients.
    pub max_connections: usize,
    /// A connection on which nothing moved for this long is closed. Default 75 s; above the live beat.
    pub idle_after: Duration,
    /// How long an answer may take, streams apart. Default 45 s; above what a push may wait for its body and the disk.
    pub answer_within: Duration,
    /// How long open requests may go on when the gateway stops. Default 5 s.
    pub drain_within: Duration,
    /// Further host names that it answers to: of a reverse proxy, of the machine. Default none.
    pub hosts: Vec<String>,
    /// Origins of other pages that may read answers and change things, each as browsers write it, `https://host`. Default none.
    pub origins: Vec<String>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            max_connections: 1024,
            idle_after: Duration::from_secs(75),
            answer_within: Duration::from_secs(45),
            drain_within: Duration::from_secs(5),
            hosts: Vec::new(),
            origins: Vec::new(),
        }
    }
}

/// Whether the gateway can do its work, for `/readyz`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Readiness {
    /// The journal is replayed and the sources are started.
    Ready,
    /// Not yet, or no more; why, in words.
    NotReady(String),
}

/// What the config in force says, swapped as a whole when it changes.
#[derive(Clone, Debug, Default)]
pub struct Configured {
    /// How each source stands, those included that were taken out of the config since the start.
    pub sources: Arc<[watch::Receiver<SourceStatus>]>,
    /// The rules, of the config and of people.
    pub rules: Arc<[RuleEntry]>,
    /// The webhooks in force, of the config and of people.
    pub webhooks: Arc<[WebhookConfig]>,
    /// The devices and webhooks of the config and of people, as they are shown.
    pub made: Arc<Entries>,
    /// Where it is from and how its changes went.
    pub config: ConfigStatus,
}

/// Where the config is from and how its changes went.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct ConfigStatus {
    /// The file; none without one (`gateway demo`).
    pub file: Option<String>,
    /// When what is in force was loaded, RFC 3339.
    pub loaded_at: String,
    /// How often a changed config was applied since the start.
    pub reloads: u64,
    /// Why the last change was refused; none once one was taken.
    pub last_error: Option<RefusedConfig>,
    /// Settings that were changed and hold only after a restart.
    pub restart_needed: Vec<&'static str>,
}

/// A changed config that was not taken. Nothing of it is in force.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct RefusedConfig {
    /// When, RFC 3339.
    pub at: String,
    /// All that is wrong with it, each with its place where it has one: `gateway.toml:3:5: …`.
    pub faults: Vec<String>,
}

/// The handles that the fragments need.
#[derive(Clone, Debug)]
pub struct Parts {
    /// Series, devices, windows, open alerts.
    pub engine: Engine,
    /// Past alerts, webhook deliveries.
    pub state: state::State,
    /// Long ranges, when the embedded archive is on.
    pub history: Option<History>,
    /// Sizes and lags.
    pub journal: Journal,
    /// Damaged files beside the good ones.
    pub set_aside: SetAside,
    /// Samples of what could not be used.
    pub rejects: Rejects,
    /// The loss account.
    pub account: Account,
    /// How the archive stands.
    pub archive: watch::Receiver<ArchiveStatus>,
    /// What the config in force says.
    pub configured: watch::Receiver<Configured>,
    /// Who takes changes of rules.
    pub rules: Rules,
    /// Who takes changes of devices, webhooks and dashboards.
    pub desks: Desks,
    /// What messages to people link to.
    pub links: Links,
    /// What the archive refused for good.
    pub letters: DeadLetters,
    /// Dead-man's switches outside.
    pub heartbeats: Heartbeats,
    /// What is written to disk.
    pub disk: Meter,
    /// Knows the links in messages again.
    pub signer: Signer,
    /// Who must log in.
    pub login: Login,
    /// For `now`.
    pub clock: Clock,
    /// When the process started.
    pub started: Timestamp,
    /// For `/readyz`.
    pub ready: watch::Receiver<Readiness>,
}

/// What the handlers share.
#[derive(Clone, Debug)]
struct Api {
    parts: Parts,
    /// Range queries at once; each may hold many points.
    ranges: Arc<Semaphore>,
    /// Dry runs at once.
    dry_runs: Arc<Semaphore>,
}

/// The whole interface. `fragments` are the routers of other rooms: live events, push, metrics. `address` is where it
/// will listen: on loopback it answers only to loopback names and [`Config::hosts`].
pub fn router(
    config: &Config,
    address: std::net::SocketAddr,
    parts: Parts,
    fragments: impl IntoIterator<Item = Router>,
) -> Router {
    let login = parts.login.clone();
    let api = Api {
        parts,
        ranges: Arc::new(Semaphore::new(points::MAX_RANGES)),
        dry_runs: Arc::new(Semaphore::new(dry_run::MAX_RUNS)),
    };
    let mut router = api::router()
        .merge(alerts::router())
        .merge(acknowledge::router())
        .merge(routes::router())
        .merge(silences::router())
        .merge(rules::router())
        .merge(status::router())
        .merge(account::router())
        .merge(points::router())
        .merge(letters::router())
        .merge(deliveries::router())
        .merge(webhooks::router())
        .merge(login::router())
        .merge(openapi::router())
        .merge(devices::router())
        .merge(dashboards::router())
        .merge(made::router())
        .with_state(api);
    for fragment in fragments {
        router = router.merge(fragment);
    }
    #[cfg(all(debug_assertions, not(test)))]
    assert_eq!(
        needs::without_row(&router),
        Vec::<String>::new(),
        "each route needs a row in http/needs.rs that says who may ask for it"
    );
    router = router.layer(middleware::from_fn(as_problem));
    // The page's files lie in the program and take no memory.
    router = router.layer(middleware::from_fn_with_state(
        Arc::new(Semaphore::new(MAX_ANSWER_BYTES)),
        in_room,
    ));
    let compression = CompressionLayer::new().quality(CompressionLevel::Fastest);
    router
        .fallback(fallback)
        .method_not_allowed_fallback(async || {
            Problem::new(
                StatusCode::METHOD_NOT_ALLOWED,
                "this path has other methods: see Allow",
            )
        })
        .layer(middleware::from_fn_with_state(
            config.answer_within,
            in_time,
        ))
        .layer(compression)
        .layer(middleware::from_fn_with_state(login, login::gate))
        .layer(middleware::from_fn_with_state(
            Arc::new(guard::Guard::new(address, &config.hosts, &config.origins)),
            guard::guard,
        ))
}

/// Answers that wait to be read take room, all together [`MAX_ANSWER_BYTES`]: who asks for much and does not read it takes
/// room from others who do so, and no more memory. Streams have no length, and bounds of their own.
async fn in_room(State(room): State<Arc<Semaphore>>, request: Request, next: Next) -> Response {
    let response = next.run(request).await;
    let bytes = response.body().size_hint().exact().unwrap_or(0);
    if bytes <= SMALL_ANSWER_BYTES {
        return response;
    }
    let cost = u32::try_from(bytes).unwrap_or(u32::MAX);
    let Ok(place) = room.try_acquire_many_owned(cost) else {
        return Problem::unavailable("too many large answers wait to be read: try again later")
            .into_response();
    };
    let (parts, body) = response.into_parts();
    match body::to_bytes(body, usize::MAX).await {
        // The place goes with the bytes themselves: what the network layer still holds of them counts.
        Ok(bytes) => Response::from_parts(
            parts,
            Body::from(Bytes::from_owner(Held {
                bytes,
                _place: place,
            })),
        ),
        Err(error) => {
            tracing::error!(%error, "an answer could not be put together");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}

/// Bytes and the room that they take.
struct Held {
    bytes: Bytes,
    _place: OwnedSemaphorePermit,
}

impl AsRef<[u8]> for Held {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

/// What the framework refuses in plain words (a path that is no UTF-8) is told as every other refusal.
async fn as_problem(request: Request, next: Next) -> Response {
    let is_api = request.uri().path().starts_with("/api/v1/");
    let response = next.run(request).await;
    let kind = response.headers().get(header::CONTENT_TYPE);
    let is_plain = kind.is_some_and(|kind| kind.as_bytes().starts_with(b"text/plain"));
    if !(is_api && is_plain && response.status().is_client_error()) {
        return response;
    }
    let status = response.status();
    let words = body::to_bytes(response.into_body(), MAX_REFUSAL_BYTES).await;
    let words = words.unwrap_or_default();
    Problem::new(status, String::from_utf8_lossy(&words)).into_response()
}

/// The page for people, a problem for programs.
async fn fallback(request: Request) -> Response {
    let path = request.uri().path();
    let reads = matches!(*request.method(), Method::GET | Method::HEAD);
    if path == "/api" || path.starts_with("/api/") || !reads {
        return Problem::not_found("there is nothing at this path").into_response();
    }
    page::file(path, request.headers())
}

/// The answer must begin in time; what it streams after that may take as long as it moves.
async fn in_time(State(within): State<Duration>, request: Request, next: Next) -> Response {
    tokio::time::timeout(within, next.run(request))
        .await
        .unwrap_or_else(|_| {
            Problem::unavailable("this took too long: try again later").into_response()
        })
}

#[cfg(test)]
mod tests;
