//! How the gateway does: for people (`/api/v1/status`), for those who look for a lost reading (`/api/v1/rejects`), and
//! for machines (`/healthz`, `/readyz`).

use std::time::Duration;

use axum::{
    Json, Router,
    extract::State,
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use serde::Serialize;
use serde_json::json;
use tokio::time::timeout;

use super::{Api, ConfigStatus, Readiness, account, problem::Problem};
use crate::{
    archive::ArchiveStatus, clock::ClockStatus, engine::EngineStatus, heartbeat::HeartbeatStatus,
    history::HistoryStatus, journal::JournalStatus, model::Timestamp, source::SourceStatus,
    state::WebhookStatus, wear::DiskStatus,
};

/// A disk that hangs must not hide the status that says so.
const STATE_ANSWERS_WITHIN: Duration = Duration::from_secs(2);

pub(super) fn router() -> Router<Api> {
    Router::new()
        .route("/api/v1/status", get(status))
        .route("/api/v1/rejects", get(rejects))
        .route(
            "/healthz",
            get(async || ([(header::CACHE_CONTROL, "no-store")], "ok")),
        )
        .route("/readyz", get(readyz))
}

#[derive(Debug, Serialize)]
struct Status {
    version: &'static str,
    started: String,
    now: String,
    uptime_s: i64,
    clock_trusted: bool,
    config: ConfigStatus,
    clock: ClockStatus,
    sources: Vec<Source>,
    journal: JournalStatus,
    history: Option<HistoryStatus>,
    archive: ArchiveStatus,
    engine: EngineStatus,
    state: StateStatus,
    /// Names of files that were damaged and set aside.
    damaged_files: Vec<String>,
    disk: DiskStatus,
    webhooks: Vec<WebhookStatus>,
    heartbeats: Vec<HeartbeatStatus>,
    account: Vec<account::Line>,
}

/// Whether alerts and deliveries can be written down.
#[derive(Debug, Serialize)]
struct StateStatus {
    failing: Option<String>,
}

/// A source with the sums of its line of the account.
#[derive(Debug, Serialize)]
struct Source {
    #[serde(flatten)]
    status: SourceStatus,
    received: i64,
    accepted: u64,
    duplicates: u64,
    rejected: u64,
    dropped: u64,
    waiting: i64,
}

impl Source {
    fn new(status: SourceStatus, account: &[account::Line]) -> Self {
        let row = account
            .iter()
            .map(|line| &line.row)
            .find(|row| row.source == status.name)
            .cloned()
            .unwrap_or_default();
        Self {
            status,
            received: row.received,
            accepted: row.accepted,
            duplicates: row.duplicates,
            rejected: row.rejected.values().sum(),
            dropped: row.dropped.values().sum(),
            waiting: row.waiting,
        }
    }
}

async fn status(State(api): State<Api>) -> Result<Response, Problem> {
    let parts = &api.parts;
    let engine = parts.engine.status().await?;
    // A state that can't be read must not hide everything else.
    let webhooks = timeout(STATE_ANSWERS_WITHIN, parts.state.webhooks());
    let (webhooks, unreadable) = match webhooks.await {
        Ok(Ok(webhooks)) => (webhooks, None),
        Ok(Err(error)) => (Vec::new(), Some(crate::cause::chain(&error))),
        Err(_) => {
            let hangs = "the state file does not answer: the disk is slow, or hangs";
            (Vec::new(), Some(String::from(hangs)))
        }
    };
    let account = account::lines(parts).await;
    let journal = parts.journal.status();
    let mut archive = parts.archive.borrow().clone();
    if archive.state != "disabled" {
        // Its own figures are of its last report.
        archive.look(&parts.journal);
        archive.dead_letters = parts.letters.count();
    }
    let configured = parts.configured.borrow().clone();
    let now = parts.clock.now();
    let uptime = parts.clock.since(parts.started);
    let uptime_ms = i64::try_from(uptime.as_millis()).unwrap_or(i64::MAX);
    Ok(Json(Status {
        version: env!("CARGO_PKG_VERSION"),
        // By the clock as it is now, which may have been set since.
        started: Timestamp::from_millis(now.as_millis() - uptime_ms).to_rfc3339(),
        now: now.to_rfc3339(),
        uptime_s: uptime_ms / 1000,
        clock_trusted: parts.clock.is_trusted(),
        clock: parts.clock.status(),
        config: configured.config,
        sources: configured
            .sources
            .iter()
            .map(|source| Source::new(source.borrow().clone(), &account))
            .collect(),
        journal,
        history: parts.history.as_ref().map(crate::history::History::status),
        archive,
        engine,
        state: StateStatus {
            failing: unreadable.or_else(|| parts.state.failing()),
        },
        damaged_files: parts.set_aside.names(),
        disk: parts.disk.status(),
        webhooks,
        heartbeats: parts.heartbeats.statuses(),
        account,
    })
    .into_response())
}

async fn rejects(State(api): State<Api>) -> Response {
    Json(json!({"rejects": api.parts.rejects.samples()})).into_response()
}

async fn readyz(State(api): State<Api>) -> Response {
    let ready = api.parts.ready.borrow().clone();
    let mut response = match ready {
        Readiness::Ready => match api.parts.journal.failing() {
            None => "ready".into_response(),
            Some(why) => (StatusCode::SERVICE_UNAVAILABLE, why).into_response(),
        },
        Readiness::NotReady(why) => (StatusCode::SERVICE_UNAVAILABLE, why).into_response(),
    };
    response
        .headers_mut()
        .insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
