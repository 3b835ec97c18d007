//! Logging in and out, who one is, one's own password, and the first admin.

use axum::{
    Json, Router,
    extract::{DefaultBodyLimit, Request, State, rejection::JsonRejection},
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
    routing::{get, post, put},
};
use serde::Deserialize;
use serde_json::{Value as JsonValue, json};

use super::{caller::caller, desk::Desk, gate::address};
use crate::{
    auth::{Caller, NAME_RULE, Role, is_name},
    http::{Api, problem::Problem},
    state::PeopleChange,
};

/// A name and a password.
pub(super) const MAX_BODY: usize = 4 << 10;
/// The longest that browsers keep a cookie; when the session is over, the gateway knows.
const COOKIE_LASTS_S: u32 = 400 * 24 * 3_600;

pub(super) fn router() -> Router<Api> {
    Router::new()
        .route("/api/v1/login", post(log_in))
        .route("/api/v1/logout", post(log_out))
        .route("/api/v1/setup", post(set_up))
        .route("/api/v1/me", get(me))
        .route("/api/v1/me/password", put(own_password))
        .layer(DefaultBodyLimit::max(MAX_BODY))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct LogIn {
    name: String,
    password: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SetUp {
    token: String,
    name: String,
    password: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct OwnPassword {
    old: String,
    new: String,
}

async fn read<T: serde::de::DeserializeOwned>(request: Request) -> Result<T, Problem> {
    use axum::extract::FromRequest as _;
    let read: Result<Json<T>, JsonRejection> = Json::from_request(request, &()).await;
    Ok(read?.0)
}

async fn log_in(State(api): State<Api>, request: Request) -> Result<Response, Problem> {
    let desk = api.parts.login.desk()?;
    let from = address(request.extensions(), request.headers());
    let headers = request.headers().clone();
    let LogIn { name, password } = read(request).await?;
    let secret = desk.log_in(name.trim(), password, from).await?;
    Ok(logged_in(desk, &headers, name.trim(), &secret))
}

async fn set_up(State(api): State<Api>, request: Request) -> Result<Response, Problem> {
    let desk = api.parts.login.desk()?;
    let from = address(request.extensions(), request.headers());
    let headers = request.headers().clone();
    let SetUp {
        token,
        name,
        password,
    } = read(request).await?;
    let name = name.trim();
    desk.may_set_up(&token, from)?;
    if !is_name(name) {
        return Err(Problem::bad_request(NAME_RULE));
    }
    let hash = desk.new_password(name, password.clone()).await?;
    let first = PeopleChange::FirstAdmin {
        name: name.to_owned(),
        password: hash,
    };
    desk.change(first, name.to_owned()).await?;
    tracing::info!(user = name, "the first admin is there");
    let secret = desk.log_in(name, password, from).await?;
    Ok(logged_in(desk, &headers, name, &secret))
}

fn logged_in(desk: &Desk, headers: &HeaderMap, name: &str, secret: &str) -> Response {
    let role = desk.known().account(name).map(|account| account.role);
    let mut response = Json(json!({"name": name, "role": role})).into_response();
    set_cookie(&mut response, desk, headers, secret, COOKIE_LASTS_S);
    response
}

/// The cookie is for this host alone, out of reach of scripts, sent with no request of another site; and over TLS only, where the browser speaks
/// TLS, to us or to a proxy before us.
fn set_cookie(
    response: &mut Response,
    desk: &Desk,
    headers: &HeaderMap,
    secret: &str,
    lasts_s: u32,
) {
    let proxy_has_tls = headers
        .get("x-forwarded-proto")
        .is_some_and(|proto| proto == "https");
    let secure = if desk.is_tls() || proxy_has_tls {
        "; Secure"
    } else {
        ""
    };
    let cookie = format!(
        "{}={secret}; Path=/; Max-Age={lasts_s}; HttpOnly; SameSite=Strict{secure}",
        desk.cookie()
    );
    if let Ok(cookie) = HeaderValue::try_from(cookie) {
        response.headers_mut().insert(header::SET_COOKIE, cookie);
    }
    response
        .headers_mut()
        .insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
}

async fn log_out(State(api): State<Api>, headers: HeaderMap) -> Result<Response, Problem> {
    let desk = api.parts.login.desk()?;
    if let Some(caller) = caller() {
        desk.log_out(&caller).await;
    }
    let mut response = StatusCode::NO_CONTENT.into_response();
    set_cookie(&mut response, desk, &headers, "", 0);
    Ok(response)
}

async fn me() -> Response {
    let answer: JsonValue = caller().map_or_else(
        // Nobody has to log in: everybody may everything.
        || json!({"login": false, "name": null, "role": Role::Admin, "scopes": null}),
        |Caller {
             name, role, scopes, ..
         }| json!({"login": true, "name": name, "role": role, "scopes": scopes}),
    );
    let no_store = [(header::CACHE_CONTROL, "no-store")];
    (no_store, Json(answer)).into_response()
}

async fn own_password(State(api): State<Api>, request: Request) -> Result<Response, Problem> {
    let desk = api.parts.login.desk()?;
    let from = address(request.extensions(), request.headers());
    let OwnPassword { old, new } = read(request).await?;
    let Some(caller) = caller() else {
        return Err(desk.unauthorized(false));
    };
    let checked = desk.check(&caller.name, old, from).await;
    checked.map_err(|problem| match problem.status() {
        // A 401 would say that the session is over.
        StatusCode::UNAUTHORIZED => {
            Problem::new(StatusCode::FORBIDDEN, "the old password is wrong")
        }
        _ => problem,
    })?;
    let password = desk.new_password(&caller.name, new).await?;
    let change = PeopleChange::ChangeUser {
        name: caller.name.clone(),
        role: None,
        password: Some(password),
        keep: caller.session,
    };
    desk.change(change, caller.name).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}
