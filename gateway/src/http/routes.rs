//! Routes and their open groups over REST; read-only.

use axum::{
    Json, Router,
    extract::State,
    response::{IntoResponse, Response},
    routing::get,
};
use serde_json::json;

use super::{Api, problem::Problem};

/// Open groups that are told of.
const MAX_GROUPS: usize = 1_000;

pub(super) fn router() -> Router<Api> {
    Router::new().route("/api/v1/routes", get(routes))
}

async fn routes(State(api): State<Api>) -> Result<Response, Problem> {
    let routing = api.parts.state.routing();
    let groups = api.parts.state.groups(MAX_GROUPS).await;
    let groups =
        groups.map_err(|error| Problem::internal("the groups of alerts cannot be read", &error))?;
    let answer = json!({"routes": routing.routes, "inhibit": routing.inhibits, "groups": groups});
    Ok(Json(answer).into_response())
}
