//! Tokens over REST: everybody makes and revokes their own, an admin sees and revokes all. The secret is shown once, in the answer that
//! makes it.

use axum::{
    Json, Router,
    extract::{DefaultBodyLimit, Path, State, rejection::JsonRejection},
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
    routing::{delete, get},
};
use serde::Deserialize;
use serde_json::{Value as JsonValue, json};

use super::{caller::caller, sessions::MAX_BODY};
use crate::{
    auth::{Caller, NAME_RULE, Role, Scope, Token, is_name, secret},
    http::{Api, problem::Problem, times},
    model::Timestamp,
    state::{PeopleChange, PeopleError},
};

pub(super) fn router() -> Router<Api> {
    Router::new()
        .route("/api/v1/tokens", get(list).post(create))
        .route("/api/v1/tokens/{id}", delete(revoke))
        .layer(DefaultBodyLimit::max(MAX_BODY))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Asked {
    name: String,
    scopes: Vec<Scope>,
    /// A time, or how long from now (`+90d`); never without it.
    expires: Option<String>,
}

fn shown(token: &Token) -> JsonValue {
    json!({
        "id": token.number, "user": token.user, "name": token.name, "scopes": token.scopes,
        "created_ms": token.created.as_millis(), "expires_ms": token.expires.map(Timestamp::as_millis),
    })
}

/// The gate let nobody else through.
fn asking() -> Result<Caller, Problem> {
    caller().ok_or_else(|| Problem::new(StatusCode::UNAUTHORIZED, "log in first"))
}

async fn list(State(api): State<Api>) -> Result<Response, Problem> {
    let tokens = api.parts.login.desk()?.known().tokens();
    let caller = asking()?;
    let theirs = |token: &&Token| caller.role == Role::Admin || token.user == caller.name;
    let tokens: Vec<JsonValue> = tokens.iter().filter(theirs).map(shown).collect();
    Ok(Json(json!({"tokens": tokens})).into_response())
}

async fn create(
    State(api): State<Api>,
    asked: Result<Json<Asked>, JsonRejection>,
) -> Result<Response, Problem> {
    let desk = api.parts.login.desk()?;
    let caller = asking()?;
    let Asked {
        name,
        mut scopes,
        expires,
    } = asked?.0;
    if !is_name(&name) {
        return Err(Problem::bad_request(NAME_RULE));
    }
    scopes.sort();
    scopes.dedup();
    if scopes.is_empty() {
        let detail =
            "scopes must be a list with at least one of metrics, read, push, operate, admin";
        return Err(Problem::bad_request(detail));
    }
    if let Some(scope) = scopes.iter().find(|scope| scope.role() > caller.role) {
        let (needed, role) = (scope.role(), caller.role);
        let detail = format!(
            "a token with the scope \"{scope}\" needs the role {needed}, and {} is {role}",
            caller.name
        );
        return Err(Problem::new(StatusCode::FORBIDDEN, detail));
    }
    let now = api.parts.clock.now();
    let expires = match expires {
        None => None,
        Some(text) => Some(
            times::time(&text, now)
                .filter(|end| *end > now)
                .ok_or_else(|| Problem::bad_request("expires must be a time to come, as in 2027-01-31T00:00:00Z, epoch milliseconds, or +90d"))?,
        ),
    };
    let fresh = secret::fresh()
        .map_err(|_| Problem::unavailable("the system has no random numbers: try again"))?;
    let secret = format!("{}{fresh}", secret::TOKEN_PREFIX);
    let new = PeopleChange::CreateToken {
        print: secret::print(&secret),
        user: caller.name.clone(),
        name,
        scopes,
        expires,
    };
    let number = desk.change(new, caller.name).await?;
    let made = desk
        .known()
        .tokens()
        .into_iter()
        .find(|token| token.number == number);
    let made = made.ok_or(PeopleError::UnknownToken)?;
    let answer = json!({"token": shown(&made), "secret": secret});
    let mut response = (StatusCode::CREATED, Json(answer)).into_response();
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if let Ok(place) = HeaderValue::try_from(format!("/api/v1/tokens/{number}")) {
        headers.insert(header::LOCATION, place);
    }
    Ok(response)
}

async fn revoke(State(api): State<Api>, Path(id): Path<String>) -> Result<Response, Problem> {
    let desk = api.parts.login.desk()?;
    let caller = asking()?;
    let number: i64 = id.parse().map_err(|_| PeopleError::UnknownToken)?;
    let theirs = |token: &Token| {
        token.number == number && (caller.role == Role::Admin || token.user == caller.name)
    };
    // Of others it is not told that they are there.
    if !desk.known().tokens().iter().any(theirs) {
        return Err(PeopleError::UnknownToken.into());
    }
    let gone = PeopleChange::RevokeToken { number };
    desk.change(gone, caller.name).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}
