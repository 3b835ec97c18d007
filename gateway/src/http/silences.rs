//! Silences and the audit trail over REST. A silence has an `ETag` of what people decided, for `If-Match`.

use axum::{
    Json, Router,
    extract::{DefaultBodyLimit, Path, State, rejection::JsonRejection},
    http::{HeaderMap, StatusCode, Uri},
    response::{IntoResponse, Response},
    routing::get,
};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{
    Api,
    alerts::{MAX_BODY, by, limit},
    login::{caller, who},
    problem::Problem,
    times,
    versions::{created, expected, required, tagged},
};
use crate::{
    alert::silence::{Draft, Matcher, Repeat, Silence},
    auth::Need,
    model::Timestamp,
    state::{AttentionError, KEPT_SILENCES},
};

pub(super) fn router() -> Router<Api> {
    Router::new()
        .route("/api/v1/silences", get(list).post(create))
        .route("/api/v1/silences/{id}", get(one).put(change).delete(end))
        .route("/api/v1/audit", get(audit))
        .layer(DefaultBodyLimit::max(MAX_BODY))
}

/// A silence as a person asks for it. `created_by` says who makes it, `by` who changes it.
#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Asked {
    matchers: Vec<Matcher>,
    starts_at: Option<String>,
    ends_at: String,
    created_by: Option<String>,
    by: Option<String>,
    #[serde(default)]
    comment: String,
    repeat: Option<Repeat>,
}

impl Asked {
    /// Checked; `field` names the field that says who asks.
    fn draft(self, field: &'static str, now: Timestamp) -> Result<Draft, Problem> {
        let time = |field: &str, text: &str| {
            times::time(text, now).ok_or_else(|| {
                Problem::bad_request(format!(
                    "{field} must be a time as in 2026-11-20T16:00:00Z, epoch milliseconds, or +4h"
                ))
            })
        };
        let by = match field {
            "by" => self.by,
            _ => self.created_by,
        };
        if let Some(repeat) = &self.repeat
            && jiff::tz::TimeZone::get(&repeat.zone).is_err()
        {
            let detail = format!(
                "no time zone is called {:?}: they have names as Europe/Berlin",
                repeat.zone
            );
            return Err(Problem::bad_request(detail));
        }
        let draft = Draft {
            matchers: self.matchers,
            starts: self
                .starts_at
                .map(|text| time("starts_at", &text))
                .transpose()?,
            ends: time("ends_at", &self.ends_at)?,
            by: who(field, &by.unwrap_or_default())?,
            comment: self.comment,
            repeat: self.repeat,
        };
        Ok(draft.check(now, field)?)
    }
}

fn answer(silence: &Silence) -> Response {
    tagged(StatusCode::OK, Some(silence.version), silence)
}

async fn list(State(api): State<Api>) -> Result<Response, Problem> {
    let attention = api.parts.state.attention(KEPT_SILENCES).await;
    let attention =
        attention.map_err(|error| Problem::internal("the silences cannot be read", &error))?;
    Ok(Json(json!({"silences": attention.silences})).into_response())
}

async fn create(
    State(api): State<Api>,
    body: Result<Json<Asked>, JsonRejection>,
) -> Result<Response, Problem> {
    let Json(asked) = body?;
    let draft = asked.draft("created_by", api.parts.clock.now())?;
    let silence = api.parts.state.silence(draft).await?;
    Ok(created(
        "silences",
        &silence.id,
        Some(silence.version),
        &silence,
    ))
}

async fn one(State(api): State<Api>, Path(id): Path<String>) -> Result<Response, Problem> {
    let found = api.parts.state.one_silence(&id).await;
    let found = found.map_err(|error| Problem::internal("the silences cannot be read", &error))?;
    found.map_or_else(
        || Err(Problem::not_found("there is no silence with this id")),
        |silence| Ok(answer(&silence)),
    )
}

async fn change(
    State(api): State<Api>,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: Result<Json<Asked>, JsonRejection>,
) -> Result<Response, Problem> {
    let version = required(&headers, "silence")?;
    let Json(asked) = body?;
    let yours = json!(asked);
    let draft = asked.draft("by", api.parts.clock.now())?;
    match api.parts.state.change_silence(&id, version, draft).await {
        Ok(silence) => Ok(answer(&silence)),
        Err(error @ AttentionError::Changed(_)) => Err(Problem::from(error).saying("yours", yours)),
        Err(error) => Err(error.into()),
    }
}

async fn end(
    State(api): State<Api>,
    Path(id): Path<String>,
    headers: HeaderMap,
    uri: Uri,
) -> Result<Response, Problem> {
    let (version, by) = (expected(&headers, "silence")?, by(&uri)?);
    let silence = api.parts.state.end_silence(&id, version, by).await?;
    Ok(answer(&silence))
}

async fn audit(State(api): State<Api>, uri: Uri) -> Result<Response, Problem> {
    let (state, limit) = (&api.parts.state, limit(&uri)?);
    let entries = match caller() {
        Some(caller) if !caller.may(Need::Admin) => state.public_audit(limit).await,
        _ => state.audit(limit).await,
    };
    let entries =
        entries.map_err(|error| Problem::internal("the audit trail cannot be read", &error))?;
    Ok(Json(json!({"audit": entries})).into_response())
}
