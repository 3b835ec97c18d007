//! The dead letters over REST: what InfluxDB refused for good, to look at, to have sent again, to discard.

use axum::{
    Json, Router,
    extract::{Path, State},
    http::{StatusCode, Uri},
    response::{IntoResponse, Response},
    routing::{delete, get, post},
};
use serde_json::json;

use super::{Api, points, problem::Problem};
use crate::archive::letters::LettersError;

const MAX_LISTED: usize = 1_000;
const DEFAULT_LISTED: usize = 100;

pub(super) fn router() -> Router<Api> {
    Router::new()
        .route("/api/v1/dead-letters", get(list).delete(discard_all))
        .route("/api/v1/dead-letters/replay", post(replay_all))
        .route("/api/v1/dead-letters/{id}", delete(discard))
        .route("/api/v1/dead-letters/{id}/replay", post(replay))
}

async fn list(State(api): State<Api>, uri: Uri) -> Result<Response, Problem> {
    let query = points::query(&uri);
    let limit = match query.get("limit") {
        None => DEFAULT_LISTED,
        Some(text) => text
            .parse()
            .ok()
            .filter(|n| (1..=MAX_LISTED).contains(n))
            .ok_or_else(|| Problem::bad_request("limit must be 1 to 1000"))?,
    };
    let before = match query.get("before") {
        None => i64::MAX,
        Some(text) => text
            .parse()
            .map_err(|_| Problem::bad_request("before must be the id of a dead letter"))?,
    };
    let letters = &api.parts.letters;
    let listed = letters.list(before, limit).await.map_err(unusable)?;
    Ok(Json(json!({"total": letters.count(), "dead_letters": listed})).into_response())
}

async fn replay_all(State(api): State<Api>) -> Result<Response, Problem> {
    must_be_archived(&api)?;
    let marked = api.parts.letters.replay(None).await.map_err(unusable)?;
    Ok((StatusCode::ACCEPTED, Json(json!({"replaying": marked}))).into_response())
}

async fn replay(State(api): State<Api>, Path(id): Path<String>) -> Result<Response, Problem> {
    must_be_archived(&api)?;
    let id = parse(&id)?;
    match api.parts.letters.replay(Some(id)).await.map_err(unusable)? {
        0 => Err(unknown()),
        marked => Ok((StatusCode::ACCEPTED, Json(json!({"replaying": marked}))).into_response()),
    }
}

async fn discard_all(State(api): State<Api>) -> Result<Response, Problem> {
    let discarded = api.parts.letters.discard(None).await.map_err(unusable)?;
    Ok(Json(json!({"discarded": discarded})).into_response())
}

async fn discard(State(api): State<Api>, Path(id): Path<String>) -> Result<Response, Problem> {
    let id = parse(&id)?;
    match api
        .parts
        .letters
        .discard(Some(id))
        .await
        .map_err(unusable)?
    {
        0 => Err(unknown()),
        discarded => Ok(Json(json!({"discarded": discarded})).into_response()),
    }
}

fn must_be_archived(api: &Api) -> Result<(), Problem> {
    if api.parts.archive.borrow().state == "disabled" {
        return Err(Problem::new(
            StatusCode::CONFLICT,
            "no InfluxDB is configured: there is nowhere to send them",
        ));
    }
    Ok(())
}

fn parse(id: &str) -> Result<i64, Problem> {
    id.parse().map_err(|_| unknown())
}

fn unknown() -> Problem {
    Problem::not_found("there is no dead letter with this id (any more)")
}

fn unusable(error: LettersError) -> Problem {
    Problem::not_durable("the dead letters cannot be read or written", &error)
}
