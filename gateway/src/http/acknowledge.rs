//! The page behind the link in a message (`/acknowledge/TOKEN`): one alert, one button, no login and no script.
//!
//! Opening the link changes nothing: mail scanners and chat previews open every link. `POST` acknowledges, from the button or straight from
//! a receiver that has buttons of its own (ntfy, Slack). The token says which alert ([`crate::notify::Signer`]); programs that don't ask for
//! HTML get JSON.

use std::sync::LazyLock;

use axum::{
    Json, Router,
    extract::{DefaultBodyLimit, Path, State},
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{Html, IntoResponse, Response},
    routing::get,
};
use minijinja::{AutoEscape, Environment, Value, context, value::Serde};
use serde_json::json;

use super::{Api, points, problem::Problem};
use crate::{
    alert::{
        Alert, AlertState,
        silence::{person, remark},
    },
    notify::{Claim, TokenError},
    state::AttentionError,
};

/// A name and a comment.
const MAX_BODY: usize = 16 << 10;
const TEMPLATE: &str = "acknowledge";

static PAGES: LazyLock<Environment<'static>> = LazyLock::new(|| {
    let mut pages = Environment::new();
    pages.set_auto_escape_callback(|_| AutoEscape::Html);
    if let Err(error) = pages.add_template(TEMPLATE, include_str!("acknowledge.html")) {
        tracing::error!(%error, "the page for acknowledging cannot be used");
    }
    pages
});

pub(super) fn router() -> Router<Api> {
    Router::new()
        .route("/acknowledge/{token}", get(show).post(acknowledge))
        .layer(DefaultBodyLimit::max(MAX_BODY))
}

/// What the page says.
struct Page<'a> {
    status: StatusCode,
    title: &'a str,
    alert: Option<&'a Alert>,
    said: String,
    /// Whether there is a button.
    asks: bool,
}

impl Page<'_> {
    fn answer(self) -> Response {
        let filled = PAGES.get_template(TEMPLATE).and_then(|template| {
            template.render(context! {
                title => self.title,
                alert => self.alert.map(|alert| Value::from(Serde(alert))),
                said => self.said,
                asks => self.asks,
            })
        });
        let mut response = match filled {
            Ok(page) => (self.status, Html(page)).into_response(),
            Err(error) => Problem::internal("the page cannot be made", &error).into_response(),
        };
        response
            .headers_mut()
            .insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        response
    }
}

async fn show(State(api): State<Api>, Path(token): Path<String>) -> Response {
    let claim = match read(&api, &token) {
        Ok(claim) => claim,
        Err(error) => return unusable(error).answer(),
    };
    let alert = match api.parts.state.one_alert(&claim.alert).await {
        Ok(alert) => alert,
        Err(error) => {
            return Problem::internal("the alert cannot be read", &error).into_response();
        }
    };
    let acknowledged = match api.parts.state.acknowledgement(&claim.alert).await {
        Ok(acknowledged) => acknowledged,
        Err(error) => {
            return Problem::internal("the alert cannot be read", &error).into_response();
        }
    };
    let (title, said, asks) = match (&alert, acknowledged) {
        (None, _) => ("Alert unknown", "It was long ago.".to_owned(), false),
        (Some(_), Some(before)) => ("Acknowledged", before.to_string(), false),
        (Some(alert), None) if alert.state != AlertState::Firing => (
            "Alert over",
            "There is nothing to acknowledge any more.".to_owned(),
            false,
        ),
        (Some(_), None) => ("Acknowledge this alert?", String::new(), true),
    };
    Page {
        status: StatusCode::OK,
        title,
        alert: alert.as_ref(),
        said,
        asks,
    }
    .answer()
}

async fn acknowledge(
    State(api): State<Api>,
    Path(token): Path<String>,
    headers: HeaderMap,
    body: String,
) -> Result<Response, Problem> {
    let html = headers
        .get_all(header::ACCEPT)
        .iter()
        .filter_map(|accept| accept.to_str().ok())
        .any(|accept| accept.contains("text/html"));
    let claim = match read(&api, &token) {
        Ok(claim) => claim,
        Err(error) if html => return Ok(unusable(error).answer()),
        Err(error) => return Err(error.into()),
    };
    let given = points::pairs(&body);
    let field = |name: &str| given.get(name).map_or("", String::as_str).trim();
    let by = match field("by") {
        "" => format!("link to {}", claim.webhook),
        by => by.to_owned(),
    };
    let (by, comment) = (person("by", &by)?, remark(field("comment"))?);
    let state = &api.parts.state;
    let acknowledged = match state.acknowledge(&claim.alert, by, comment).await {
        // The second press of a button asks for what is so already.
        Err(AttentionError::AcknowledgedBefore(before)) => before,
        Err(error) if html => return Ok(refused(&api, &claim, &error).await.answer()),
        other => other?,
    };
    if !html {
        return Ok(Json(json!({"acknowledged": acknowledged})).into_response());
    }
    let alert = state.one_alert(&claim.alert).await.ok().flatten();
    Ok(Page {
        status: StatusCode::OK,
        title: "Acknowledged",
        alert: alert.as_ref(),
        said: acknowledged.to_string(),
        asks: false,
    }
    .answer())
}

fn read(api: &Api, token: &str) -> Result<Claim, TokenError> {
    api.parts.signer.read(token, api.parts.clock.now())
}

fn unusable(error: TokenError) -> Page<'static> {
    Page {
        status: status(error),
        title: "This link cannot be used",
        alert: None,
        said: error.to_string(),
        asks: false,
    }
}

async fn refused(api: &Api, claim: &Claim, error: &AttentionError) -> Page<'static> {
    let known = matches!(api.parts.state.one_alert(&claim.alert).await, Ok(Some(_)));
    let (status, title) = match error {
        AttentionError::NotFiring(_) => (StatusCode::CONFLICT, "Alert over"),
        _ if !known => (StatusCode::NOT_FOUND, "Alert unknown"),
        _ => (StatusCode::SERVICE_UNAVAILABLE, "Not now"),
    };
    Page {
        status,
        title,
        alert: None,
        said: error.to_string(),
        asks: false,
    }
}

const fn status(error: TokenError) -> StatusCode {
    match error {
        TokenError::Forged => StatusCode::NOT_FOUND,
        TokenError::Expired => StatusCode::GONE,
    }
}

impl From<TokenError> for Problem {
    fn from(error: TokenError) -> Self {
        Self::new(status(error), error.to_string())
    }
}
