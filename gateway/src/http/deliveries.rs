//! Deliveries that were given up, over REST: to look at, to send again (as they are or put right), to discard.

use axum::{
    Json, Router,
    extract::{DefaultBodyLimit, Path, State, rejection::JsonRejection},
    http::{StatusCode, Uri},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use serde::Deserialize;
use serde_json::{Value as JsonValue, json};

use super::{
    Api,
    alerts::{by, limit},
    login::who,
    points,
    problem::Problem,
};
use crate::state::DeadLetterError;

/// A message with a full group in it.
const MAX_BODY: usize = 4 << 20;

pub(super) fn router() -> Router<Api> {
    Router::new()
        .route(
            "/api/v1/deliveries/dead-letters",
            get(list).delete(discard_all),
        )
        .route("/api/v1/deliveries/dead-letters/replay", post(replay_all))
        .route(
            "/api/v1/deliveries/dead-letters/{number}",
            axum::routing::delete(discard),
        )
        .route(
            "/api/v1/deliveries/dead-letters/{number}/replay",
            post(replay),
        )
        .layer(DefaultBodyLimit::max(MAX_BODY))
}

/// Who sends it again, and what instead of what it was.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Replay {
    #[serde(default)]
    by: String,
    message: Option<JsonValue>,
}

/// Who sends all of them again; of one webhook, or of all.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ReplayAll {
    #[serde(default)]
    by: String,
    webhook: Option<String>,
}

async fn list(State(api): State<Api>, uri: Uri) -> Result<Response, Problem> {
    let before = match points::query(&uri).get("before") {
        None => i64::MAX,
        Some(text) => text
            .parse()
            .map_err(|_| Problem::bad_request("before must be the number of a dead letter"))?,
    };
    let letters = api.parts.state.dead_letters(before, limit(&uri)?).await;
    let (total, letters) = letters.map_err(DeadLetterError::from)?;
    Ok(Json(json!({"total": total, "dead_letters": letters})).into_response())
}

async fn replay(
    State(api): State<Api>,
    Path(number): Path<String>,
    body: Result<Json<Replay>, JsonRejection>,
) -> Result<Response, Problem> {
    let Json(Replay { by, message }) = body?;
    let (number, by) = (parse(&number)?, who("by", &by)?);
    let state = &api.parts.state;
    state.replay_dead_letter(number, message, by).await?;
    Ok(replaying(1))
}

async fn replay_all(
    State(api): State<Api>,
    body: Result<Json<ReplayAll>, JsonRejection>,
) -> Result<Response, Problem> {
    let Json(ReplayAll { by, webhook }) = body?;
    let by = who("by", &by)?;
    Ok(replaying(
        api.parts.state.replay_dead_letters(webhook, by).await?,
    ))
}

async fn discard(
    State(api): State<Api>,
    Path(number): Path<String>,
    uri: Uri,
) -> Result<Response, Problem> {
    let (number, by) = (parse(&number)?, by(&uri)?);
    api.parts.state.discard_dead_letter(number, by).await?;
    Ok(Json(json!({"discarded": 1})).into_response())
}

async fn discard_all(State(api): State<Api>, uri: Uri) -> Result<Response, Problem> {
    let (webhook, by) = (points::query(&uri).get("webhook").cloned(), by(&uri)?);
    let discarded = api.parts.state.discard_dead_letters(webhook, by).await?;
    Ok(Json(json!({"discarded": discarded})).into_response())
}

fn replaying(deliveries: u64) -> Response {
    (StatusCode::ACCEPTED, Json(json!({"replaying": deliveries}))).into_response()
}

fn parse(number: &str) -> Result<i64, Problem> {
    number
        .parse()
        .map_err(|_| Problem::from(DeadLetterError::Unknown))
}

impl From<DeadLetterError> for Problem {
    fn from(error: DeadLetterError) -> Self {
        match error {
            DeadLetterError::State(error) => {
                Self::not_durable("the deliveries cannot be read or written", &error)
            }
            DeadLetterError::Unknown => Self::not_found(error.to_string()),
            DeadLetterError::Message(_) | DeadLetterError::Subject(_) => {
                Self::new(StatusCode::UNPROCESSABLE_ENTITY, error.to_string())
            }
        }
    }
}
