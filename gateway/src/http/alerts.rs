//! Alerts over REST: those of now and before with what people did about them, and acknowledging.

use std::time::Duration;

use axum::{
    Json, Router,
    extract::{DefaultBodyLimit, Path, State, rejection::JsonRejection},
    http::{StatusCode, Uri},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use serde::{Deserialize, Serialize};
use serde_json::json;

use tokio::time::{Instant, timeout, timeout_at};

use super::{Api, login::who, points, problem::Problem, times};
use crate::{
    alert::{
        self, Alert, AlertState,
        silence::{DraftError, MAX_SHELF, remark},
    },
    model::Timestamp,
    state::{AttentionError, ChangeEntry},
};

const MAX_ALERTS: usize = 1000;
const DEFAULT_ALERTS: usize = 100;
/// Of an answer with all alerts, acknowledgements are told of as many that are over.
const MAX_ENDED: i64 = 1000;
/// An end that takes longer to write down is not answered for.
const CLOSE_WITHIN: Duration = Duration::from_secs(10);
/// How often it is looked whether it is written down, when nobody says so.
const LOOK_AGAIN: Duration = Duration::from_millis(500);
/// Names and comments are short.
pub(super) const MAX_BODY: usize = 64 << 10;

pub(super) fn router() -> Router<Api> {
    Router::new()
        .route("/api/v1/alerts", get(alerts))
        .route("/api/v1/alerts/{id}", get(alert))
        .route(
            "/api/v1/alerts/{id}/acknowledge",
            post(acknowledge).delete(unacknowledge),
        )
        .route("/api/v1/alerts/{id}/close", post(close))
        .route("/api/v1/alerts/{id}/shelve", post(shelve).delete(unshelve))
        .layer(DefaultBodyLimit::max(MAX_BODY))
}

/// `limit` out of a query: 1 to 1 000, default 100.
pub(super) fn limit(uri: &Uri) -> Result<usize, Problem> {
    match points::query(uri).get("limit") {
        None => Ok(DEFAULT_ALERTS),
        Some(text) => text
            .parse()
            .ok()
            .filter(|n| (1..=MAX_ALERTS).contains(n))
            .ok_or_else(|| Problem::bad_request("limit must be 1 to 1000")),
    }
}

/// `by` out of a query, for requests without a body.
pub(super) fn by(uri: &Uri) -> Result<String, Problem> {
    let query = points::query(uri);
    let name = query.get("by").map_or("", String::as_str);
    Ok(who("by", name)?)
}

async fn alerts(State(api): State<Api>, uri: Uri) -> Result<Response, Problem> {
    let limit = limit(&uri)?;
    let unreadable = |error| Problem::internal("the alert history cannot be read", &error);
    let mut alerts: Vec<Alert> = match points::query(&uri)
        .get("state")
        .map_or("active", String::as_str)
    {
        "active" => {
            let mut alerts = api.parts.engine.alerts().await?;
            alerts.retain(|a| matches!(a.state, AlertState::Pending | AlertState::Firing));
            alerts.sort_by(|a, b| b.began_ms.cmp(&a.began_ms).then_with(|| a.id.cmp(&b.id)));
            alerts
        }
        "all" => api.parts.state.alerts(limit).await.map_err(unreadable)?,
        _ => return Err(Problem::bad_request("state must be active or all")),
    };
    alerts.truncate(limit);
    let attention = api
        .parts
        .state
        .attention(MAX_ENDED)
        .await
        .map_err(unreadable)?;
    let alerts: Vec<_> = alerts.iter().map(|alert| attention.to(alert)).collect();
    Ok(Json(json!({"alerts": alerts})).into_response())
}

/// An alert with all that happened to it.
async fn alert(State(api): State<Api>, Path(id): Path<String>) -> Result<Response, Problem> {
    let unreadable = |error| Problem::internal("the alert history cannot be read", &error);
    let found = api.parts.state.alert(id.clone()).await;
    let Some((alert, changes)) = found.map_err(unreadable)? else {
        return Err(refused(&api, &id, AttentionError::UnknownAlert).await);
    };
    let attention = api.parts.state.attention(MAX_ENDED).await;
    let attention = attention.map_err(unreadable)?;
    let changes: Vec<_> = changes
        .into_iter()
        .map(|change| ShownChange {
            at: Timestamp::from_millis(change.at_ms).to_rfc3339(),
            change,
        })
        .collect();
    Ok(Json(json!({"alert": attention.to(&alert), "changes": changes})).into_response())
}

#[derive(Debug, Serialize)]
struct ShownChange {
    at: String,
    #[serde(flatten)]
    change: ChangeEntry,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Acknowledge {
    #[serde(default)]
    by: String,
    #[serde(default)]
    comment: String,
}

async fn acknowledge(
    State(api): State<Api>,
    Path(id): Path<String>,
    body: Result<Json<Acknowledge>, JsonRejection>,
) -> Result<Response, Problem> {
    let Json(asked) = body?;
    let (by, comment) = (who("by", &asked.by)?, remark(&asked.comment)?);
    let done = api.parts.state.acknowledge(&id, by, comment).await;
    let acknowledged = or_refused(&api, &id, done).await?;
    Ok(Json(json!({"acknowledged": acknowledged})).into_response())
}

async fn unacknowledge(
    State(api): State<Api>,
    Path(id): Path<String>,
    uri: Uri,
) -> Result<Response, Problem> {
    let by = by(&uri)?;
    let done = api.parts.state.unacknowledge(&id, by).await;
    or_refused(&api, &id, done).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// Ends a firing alert although its condition is true. What is answered with 200 is durable.
async fn close(
    State(api): State<Api>,
    Path(id): Path<String>,
    body: Result<Json<Acknowledge>, JsonRejection>,
) -> Result<Response, Problem> {
    let Json(asked) = body?;
    let (by, comment) = (who("by", &asked.by)?, remark(&asked.comment)?);
    let state = &api.parts.state;
    let mut changed = state.attention_changed();
    let ends = api
        .parts
        .engine
        .close(id.clone(), by.clone(), comment.clone());
    let ends = ends.await?;
    let unreadable = |error| Problem::internal("the alert history cannot be read", &error);
    let deadline = Instant::now() + CLOSE_WITHIN;
    let unwritten = || Problem::unavailable("the end is not written down yet: try again");
    loop {
        changed.borrow_and_update();
        let found = timeout_at(deadline, state.one_alert(&id)).await;
        match found.map_err(|_| unwritten())?.map_err(unreadable)? {
            None if !ends => return Err(refused(&api, &id, AttentionError::UnknownAlert).await),
            Some(alert) if alert.state == AlertState::Pending => {
                return Err(AttentionError::NotFiring("pending").into());
            }
            Some(alert) if alert.state == AlertState::Resolved => {
                // The same once more is the same.
                let before = state.closed_by(&id).await.map_err(unreadable)?;
                if !ends && before != Some((by.clone(), comment.clone())) {
                    return Err(AttentionError::NotFiring("resolved").into());
                }
                let closed = json!({"by": by, "comment": comment, "at_ms": alert.resolved_ms});
                return Ok(Json(json!({"closed": closed})).into_response());
            }
            Some(alert) if alert::is_own(&alert) => {
                let detail = "the gateway ends this alert itself, when its disk is in order";
                return Err(Problem::new(StatusCode::CONFLICT, detail));
            }
            _ => {}
        }
        if Instant::now() >= deadline {
            return Err(unwritten());
        }
        if let Ok(Err(_)) = timeout(LOOK_AGAIN, changed.changed()).await {
            return Err(unwritten());
        }
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Shelve {
    #[serde(default)]
    by: String,
    #[serde(rename = "for")]
    span: String,
    #[serde(default)]
    comment: String,
}

async fn shelve(
    State(api): State<Api>,
    Path(id): Path<String>,
    body: Result<Json<Shelve>, JsonRejection>,
) -> Result<Response, Problem> {
    let Json(asked) = body?;
    let who = (who("by", &asked.by)?, remark(&asked.comment)?);
    let span = times::duration(&asked.span)
        .filter(|span| !span.is_zero() && *span <= MAX_SHELF)
        .ok_or_else(|| Problem::bad_request("for must be a time as in 30m or 8h, at most 24h"))?;
    let done = api.parts.state.shelve(&id, who, span).await;
    Ok(Json(or_refused(&api, &id, done).await?).into_response())
}

async fn unshelve(
    State(api): State<Api>,
    Path(id): Path<String>,
    uri: Uri,
) -> Result<Response, Problem> {
    let by = by(&uri)?;
    let done = api.parts.state.unshelve(&id, by).await;
    or_refused(&api, &id, done).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// What was done, or why not.
async fn or_refused<T>(api: &Api, id: &str, done: Result<T, AttentionError>) -> Result<T, Problem> {
    match done {
        Ok(done) => Ok(done),
        Err(error) => Err(refused(api, id, error).await),
    }
}

/// An alert that the engine knows and the file does not is about to be written down.
async fn refused(api: &Api, id: &str, error: AttentionError) -> Problem {
    let coming = matches!(error, AttentionError::UnknownAlert)
        && api
            .parts
            .engine
            .alerts()
            .await
            .is_ok_and(|alerts| alerts.iter().any(|alert| alert.id == id));
    if coming {
        return Problem::unavailable("the alert is not written down yet: try again");
    }
    error.into()
}

impl From<AttentionError> for Problem {
    fn from(error: AttentionError) -> Self {
        let said = error.to_string();
        match error {
            AttentionError::State(error) => {
                Self::not_durable("what people do about alerts cannot be written down", &error)
            }
            AttentionError::UnknownAlert | AttentionError::UnknownSilence => Self::not_found(said),
            AttentionError::NotFiring(_) | AttentionError::TooMany => {
                Self::new(StatusCode::CONFLICT, said)
            }
            AttentionError::AcknowledgedBefore(before) => {
                Self::new(StatusCode::CONFLICT, said).saying("acknowledged", json!(before))
            }
            AttentionError::Ended(silence) => {
                Self::new(StatusCode::CONFLICT, said).saying("current", json!(silence))
            }
            AttentionError::Changed(silence) => {
                Self::new(StatusCode::PRECONDITION_FAILED, said).saying("current", json!(silence))
            }
        }
    }
}

impl From<DraftError> for Problem {
    fn from(error: DraftError) -> Self {
        Self::bad_request(error.to_string())
    }
}

impl From<JsonRejection> for Problem {
    fn from(rejection: JsonRejection) -> Self {
        Self::new(rejection.status(), rejection.body_text())
    }
}
