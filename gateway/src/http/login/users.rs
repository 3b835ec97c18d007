//! Users over REST, for admins.

use axum::{
    Json, Router,
    extract::{DefaultBodyLimit, Path, State, rejection::JsonRejection},
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
    routing::{get, put},
};
use serde::Deserialize;
use serde_json::{Value as JsonValue, json};

use super::{caller::who, desk::Desk, sessions::MAX_BODY};
use crate::{
    auth::{Account, NAME_RULE, Role, is_name},
    http::{Api, problem::Problem},
    state::{PeopleChange, PeopleError},
};

pub(super) fn router() -> Router<Api> {
    Router::new()
        .route("/api/v1/users", get(list).post(create))
        .route("/api/v1/users/{name}", put(change).delete(delete))
        .layer(DefaultBodyLimit::max(MAX_BODY))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Asked {
    name: String,
    role: Role,
    password: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct AskedChange {
    role: Option<Role>,
    password: Option<String>,
}

fn shown(account: &Account, sessions: usize) -> JsonValue {
    json!({
        "name": account.name, "role": account.role, "created_ms": account.created.as_millis(),
        "changed_ms": account.changed.map(crate::model::Timestamp::as_millis), "sessions": sessions,
    })
}

fn one(desk: &Desk, name: &str) -> Result<JsonValue, Problem> {
    let known = desk.known();
    let account = known.account(name).ok_or(PeopleError::UnknownUser)?;
    Ok(shown(account, known.sessions_of(name)))
}

async fn list(State(api): State<Api>) -> Result<Response, Problem> {
    let known = api.parts.login.desk()?.known();
    let users: Vec<JsonValue> = known
        .accounts()
        .map(|account| shown(account, known.sessions_of(&account.name)))
        .collect();
    Ok(Json(json!({"users": users})).into_response())
}

async fn create(
    State(api): State<Api>,
    asked: Result<Json<Asked>, JsonRejection>,
) -> Result<Response, Problem> {
    let desk = api.parts.login.desk()?;
    let Asked {
        name,
        role,
        password,
    } = asked?.0;
    if !is_name(&name) {
        return Err(Problem::bad_request(NAME_RULE));
    }
    let password = desk.new_password(&name, password).await?;
    let new = PeopleChange::CreateUser {
        name: name.clone(),
        role,
        password,
    };
    desk.change(new, who("by", "")?).await?;
    let mut response = (StatusCode::CREATED, Json(one(desk, &name)?)).into_response();
    if let Ok(place) = HeaderValue::try_from(format!("/api/v1/users/{name}")) {
        response.headers_mut().insert(header::LOCATION, place);
    }
    Ok(response)
}

async fn change(
    State(api): State<Api>,
    Path(name): Path<String>,
    asked: Result<Json<AskedChange>, JsonRejection>,
) -> Result<Response, Problem> {
    let desk = api.parts.login.desk()?;
    let AskedChange { role, password } = asked?.0;
    if desk.known().account(&name).is_none() {
        return Err(PeopleError::UnknownUser.into());
    }
    let password = match password {
        Some(password) => Some(desk.new_password(&name, password).await?),
        None => None,
    };
    // An admin who gives themselves a new password here stays logged in where they do it.
    let keep = super::caller().and_then(|caller| caller.session);
    let change = PeopleChange::ChangeUser {
        name: name.clone(),
        role,
        password,
        keep,
    };
    desk.change(change, who("by", "")?).await?;
    Ok(Json(one(desk, &name)?).into_response())
}

async fn delete(State(api): State<Api>, Path(name): Path<String>) -> Result<Response, Problem> {
    let desk = api.parts.login.desk()?;
    let gone = PeopleChange::DeleteUser { name };
    desk.change(gone, who("by", "")?).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}
