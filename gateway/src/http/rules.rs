//! Rules over REST: those of the config and those that people make, which are changed here. A rule of a person has an `ETag` of its
//! version, for `If-Match`.
//!
//! What a rule means is not known here: questions about that, and changes, go to the desk ([`Rules`]), which answers one after
//! the other.

use axum::{
    Json, Router,
    extract::{DefaultBodyLimit, Path, State, rejection::JsonRejection},
    http::{HeaderMap, HeaderValue, StatusCode, Uri, header},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use prometheus_client::{metrics::counter::Counter, registry::Registry};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value as JsonValue, json};
use tokio::sync::{mpsc, oneshot};

use super::{
    Api,
    alerts::{MAX_BODY, by},
    dry_run,
    login::who,
    problem::Problem,
    silences::expected,
};
use crate::{
    engine,
    state::{OwnRule, RuleError, StateError},
};

/// Questions and changes that may wait for the desk; who comes with one more waits for room.
pub const MAX_RULE_REQUESTS: usize = 16;
/// Bytes of one rule, as compact JSON.
const MAX_RULE_BYTES: usize = 16 << 10;
/// Mistakes that one answer tells.
const MAX_FAULTS: usize = 50;

/// A rule as it is shown.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RuleEntry {
    /// Of a person's rule `r-` and 16 digits; of one of the config `file:` and its name.
    pub id: String,
    /// Its name.
    pub name: String,
    /// `person` or `file`.
    pub origin: RuleOrigin,
    /// Of a person's rule: rises by one with each change.
    pub version: Option<u64>,
    /// Whether it is meant to be in force.
    pub enabled: bool,
    /// Whether it is.
    pub in_force: bool,
    /// Why it is not in force although it is meant to be, or what is wrong with it all the same.
    pub problem: Option<String>,
    /// Of a rule of the config: in which file it stands; none for a config that is in no file.
    pub file: Option<String>,
    /// And on which line it begins.
    pub line: Option<usize>,
    /// Who made it.
    pub created_by: Option<String>,
    /// When, epoch milliseconds.
    pub created_ms: Option<i64>,
    /// Who changed it last.
    pub changed_by: Option<String>,
    /// When.
    pub changed_ms: Option<i64>,
    /// What it says, by the keys of `[[rule]]`.
    pub rule: Map<String, JsonValue>,
}

/// Where a rule is from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum RuleOrigin {
    /// The config: it can't be changed here.
    File,
    /// A person made it here.
    Person,
}

/// What is wrong with a rule.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RuleFault {
    /// The key that it is about; none when it is about the rule as a whole.
    pub key: Option<String>,
    /// What is wrong and what to do.
    pub detail: String,
}

/// Why a rule was not taken. Nothing was changed then.
#[derive(Debug)]
pub enum RuleRefusal {
    /// It is wrong, in at least one way.
    Wrong(Vec<RuleFault>),
    /// Another rule has its name; who, in words.
    NameTaken(String),
    /// It is in the config: only there it can be changed.
    OfFile(Box<RuleEntry>),
    /// Somebody else changed it; what it is now.
    Changed(Box<RuleEntry>),
    /// Another reason.
    Not(RuleError),
}

/// Where answers go.
pub type Answer<T> = oneshot::Sender<Result<T, RuleRefusal>>;

/// A question to the desk, or a change.
#[derive(Debug)]
pub enum RuleRequest {
    /// Read a rule, for a rehearsal of it. Whether its name is free is not asked.
    Read(Map<String, JsonValue>, Answer<Box<RuleToRehearse>>),
    /// Make one.
    Create(RuleWish, Answer<RuleEntry>),
    /// Make one that says the same as another.
    Duplicate {
        /// Of which.
        id: String,
        /// Its own name; none: that of the other, and "copy".
        name: Option<String>,
        /// Whether it is in force at once.
        enabled: bool,
        /// Who says so.
        by: String,
        /// The new one.
        answer: Answer<RuleEntry>,
    },
    /// Change one.
    Change {
        /// Which.
        id: String,
        /// If it is at this version still.
        version: Option<u64>,
        /// What it is to be.
        wish: RuleWish,
        /// As it is then.
        answer: Answer<RuleEntry>,
    },
    /// Delete one.
    Delete {
        /// Which.
        id: String,
        /// If it is at this version still.
        version: Option<u64>,
        /// Who says so.
        by: String,
        /// When it is gone.
        answer: Answer<()>,
    },
}

/// A rule that was read, and what it needs to be rehearsed.
#[derive(Clone, Debug)]
pub struct RuleToRehearse {
    /// The engine's settings, in which the rule is the first one. Behind it are those in force that it depends on, over however many.
    pub config: engine::Config,
    /// What must be known of those that are not there.
    pub notes: Vec<String>,
}

/// What a person wants a rule to be; what is not said stays as it is.
#[derive(Clone, Debug)]
pub struct RuleWish {
    /// By the keys of `[[rule]]`.
    pub body: Option<Map<String, JsonValue>>,
    /// Whether it is to be in force; a new one is, unless this says otherwise.
    pub enabled: Option<bool>,
    /// Who says so.
    pub by: String,
}

/// The way to the desk. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Rules {
    desk: mpsc::Sender<RuleRequest>,
    refused_dry_runs: Counter,
}

impl Rules {
    /// With the desk's end. Registers `gateway_dry_runs_refused_total`.
    #[must_use]
    pub fn new(registry: &mut Registry) -> (Self, mpsc::Receiver<RuleRequest>) {
        let (desk, asked) = mpsc::channel(MAX_RULE_REQUESTS);
        let refused_dry_runs = Counter::default();
        registry.register(
            "gateway_dry_runs_refused",
            "Dry runs of rules refused: another was under way, or it was too much",
            refused_dry_runs.clone(),
        );
        let rules = Self {
            desk,
            refused_dry_runs,
        };
        (rules, asked)
    }

    pub(super) fn refused_dry_run(&self) {
        self.refused_dry_runs.inc();
    }

    pub(super) async fn ask<T>(
        &self,
        request: impl FnOnce(Answer<T>) -> RuleRequest,
    ) -> Result<T, Problem> {
        let stopping = || Problem::unavailable("the gateway is stopping");
        let (answer, answered) = oneshot::channel();
        let sent = self.desk.send(request(answer)).await;
        sent.map_err(|_| stopping())?;
        Ok(answered.await.map_err(|_| stopping())??)
    }
}

impl RuleEntry {
    /// A person's rule, not looked at yet.
    #[must_use]
    pub fn of_person(rule: &OwnRule) -> Self {
        Self {
            id: rule.id.to_string(),
            name: rule.name().to_owned(),
            origin: RuleOrigin::Person,
            version: Some(rule.version),
            enabled: rule.enabled,
            in_force: false,
            problem: None,
            file: None,
            line: None,
            created_by: Some(rule.created_by.clone()),
            created_ms: Some(rule.created.as_millis()),
            changed_by: rule.changed_by.clone(),
            changed_ms: rule.changed.map(crate::model::Timestamp::as_millis),
            rule: rule.body.clone(),
        }
    }
}

impl From<StateError> for RuleRefusal {
    fn from(error: StateError) -> Self {
        Self::Not(error.into())
    }
}

impl From<RuleRefusal> for Problem {
    fn from(refusal: RuleRefusal) -> Self {
        match refusal {
            RuleRefusal::Wrong(mut faults) => {
                let detail = match &faults[..] {
                    [one] => one.detail.clone(),
                    many => format!("{} mistakes in the rule", many.len()),
                };
                faults.truncate(MAX_FAULTS);
                Self::new(StatusCode::UNPROCESSABLE_ENTITY, detail).saying("errors", json!(faults))
            }
            RuleRefusal::NameTaken(detail) => {
                let errors = json!([{"key": "name", "detail": detail}]);
                Self::new(StatusCode::CONFLICT, detail).saying("errors", errors)
            }
            RuleRefusal::OfFile(rule) => {
                let place = place(&rule);
                let detail = format!(
                    "the rule \"{}\" stands in {place}: change it there, or make a copy of it here",
                    rule.name
                );
                Self::new(StatusCode::METHOD_NOT_ALLOWED, detail)
                    .with(header::ALLOW, HeaderValue::from_static("GET, HEAD"))
                    .saying("current", json!(rule))
            }
            RuleRefusal::Changed(rule) => Self::new(
                StatusCode::PRECONDITION_FAILED,
                "the rule was changed meanwhile: look at what it is now, and decide again",
            )
            .saying("current", json!(rule)),
            RuleRefusal::Not(error) => {
                let said = error.to_string();
                match error {
                    RuleError::State(error) => {
                        Self::not_durable("the rules cannot be read or written down", &error)
                    }
                    RuleError::Unknown => Self::not_found(said),
                    RuleError::Changed(_) => Self::new(StatusCode::PRECONDITION_FAILED, said),
                    RuleError::TooMany => Self::new(StatusCode::CONFLICT, said),
                }
            }
        }
    }
}

/// Where a rule of the config stands, in words.
#[must_use]
pub fn place(rule: &RuleEntry) -> String {
    let file = rule.file.as_deref().unwrap_or("the built-in config");
    match rule.line {
        Some(line) => format!("{file}:{line}"),
        None => file.to_owned(),
    }
}

pub(super) fn router() -> Router<Api> {
    Router::new()
        .route("/api/v1/rules", get(list).post(create))
        .route("/api/v1/rules/dry-run", post(dry_run::dry_run))
        .route("/api/v1/rules/{id}", get(one).put(change).delete(delete))
        .route("/api/v1/rules/{id}/enable", post(enable))
        .route("/api/v1/rules/{id}/disable", post(disable))
        .route("/api/v1/rules/{id}/duplicate", post(duplicate))
        .layer(DefaultBodyLimit::max(MAX_BODY))
}

/// A rule as a person asks for it.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Asked {
    rule: Map<String, JsonValue>,
    enabled: Option<bool>,
    #[serde(default)]
    by: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct AskedCopy {
    name: Option<String>,
    #[serde(default)]
    enabled: bool,
    #[serde(default)]
    by: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct By {
    #[serde(default)]
    by: String,
}

impl Asked {
    fn wish(self) -> Result<RuleWish, Problem> {
        Ok(RuleWish {
            body: Some(body(self.rule)?),
            enabled: self.enabled,
            by: who("by", &self.by)?,
        })
    }
}

/// What was written of a rule, if it is not too much.
pub(super) fn body(mut rule: Map<String, JsonValue>) -> Result<Map<String, JsonValue>, Problem> {
    rule.retain(|_, value| !value.is_null());
    let bytes = serde_json::to_string(&rule).map_or(usize::MAX, |text| text.len());
    if bytes > MAX_RULE_BYTES {
        return Err(Problem::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            format!("a rule has at most {MAX_RULE_BYTES} bytes, this one has {bytes}"),
        ));
    }
    Ok(rule)
}

/// With its version, if it has one, as a strong `ETag`.
fn answer(status: StatusCode, rule: &RuleEntry) -> Response {
    let mut response = (status, Json(rule)).into_response();
    if let Some(version) = rule.version
        && let Ok(tag) = HeaderValue::try_from(format!("\"{version}\""))
    {
        response.headers_mut().insert(header::ETAG, tag);
    }
    response
}

fn created(rule: &RuleEntry) -> Response {
    let mut response = answer(StatusCode::CREATED, rule);
    if let Ok(place) = HeaderValue::try_from(format!("/api/v1/rules/{}", rule.id)) {
        response.headers_mut().insert(header::LOCATION, place);
    }
    response
}

async fn list(State(api): State<Api>) -> Response {
    let rules = std::sync::Arc::clone(&api.parts.configured.borrow().rules);
    Json(json!({"rules": &*rules})).into_response()
}

async fn one(State(api): State<Api>, Path(id): Path<String>) -> Result<Response, Problem> {
    let rules = std::sync::Arc::clone(&api.parts.configured.borrow().rules);
    rules.iter().find(|rule| rule.id == id).map_or_else(
        || Err(Problem::not_found("there is no rule with this id")),
        |rule| Ok(answer(StatusCode::OK, rule)),
    )
}

async fn create(
    State(api): State<Api>,
    asked: Result<Json<Asked>, JsonRejection>,
) -> Result<Response, Problem> {
    let wish = asked?.0.wish()?;
    let ask = |answer| RuleRequest::Create(wish, answer);
    Ok(created(&api.parts.rules.ask(ask).await?))
}

async fn change(
    State(api): State<Api>,
    Path(id): Path<String>,
    headers: HeaderMap,
    asked: Result<Json<Asked>, JsonRejection>,
) -> Result<Response, Problem> {
    if !headers.contains_key(header::IF_MATCH) {
        return Err(Problem::new(
            StatusCode::PRECONDITION_REQUIRED,
            "say in If-Match which version you change: the ETag that came with it, or *",
        ));
    }
    let version = expected(&headers, "rule")?;
    let wish = asked?.0.wish()?;
    let yours = json!({"rule": &wish.body, "enabled": wish.enabled});
    let ask = |answer| RuleRequest::Change {
        id,
        version,
        wish,
        answer,
    };
    match api.parts.rules.ask(ask).await {
        Ok(rule) => Ok(answer(StatusCode::OK, &rule)),
        Err(problem) if problem.status() == StatusCode::PRECONDITION_FAILED => {
            Err(problem.saying("yours", yours))
        }
        Err(problem) => Err(problem),
    }
}

async fn enable(
    State(api): State<Api>,
    Path(id): Path<String>,
    headers: HeaderMap,
    asked: Result<Json<By>, JsonRejection>,
) -> Result<Response, Problem> {
    switch(&api, id, &headers, asked, true).await
}

async fn disable(
    State(api): State<Api>,
    Path(id): Path<String>,
    headers: HeaderMap,
    asked: Result<Json<By>, JsonRejection>,
) -> Result<Response, Problem> {
    switch(&api, id, &headers, asked, false).await
}

async fn switch(
    api: &Api,
    id: String,
    headers: &HeaderMap,
    asked: Result<Json<By>, JsonRejection>,
    enabled: bool,
) -> Result<Response, Problem> {
    let version = expected(headers, "rule")?;
    let wish = RuleWish {
        body: None,
        enabled: Some(enabled),
        by: who("by", &asked?.0.by)?,
    };
    let ask = |answer| RuleRequest::Change {
        id,
        version,
        wish,
        answer,
    };
    Ok(answer(StatusCode::OK, &api.parts.rules.ask(ask).await?))
}

async fn duplicate(
    State(api): State<Api>,
    Path(id): Path<String>,
    asked: Result<Json<AskedCopy>, JsonRejection>,
) -> Result<Response, Problem> {
    let AskedCopy { name, enabled, by } = asked?.0;
    let by = who("by", &by)?;
    let ask = |answer| RuleRequest::Duplicate {
        id,
        name,
        enabled,
        by,
        answer,
    };
    Ok(created(&api.parts.rules.ask(ask).await?))
}

async fn delete(
    State(api): State<Api>,
    Path(id): Path<String>,
    headers: HeaderMap,
    uri: Uri,
) -> Result<Response, Problem> {
    let (version, by) = (expected(&headers, "rule")?, by(&uri)?);
    let ask = |answer| RuleRequest::Delete {
        id,
        version,
        by,
        answer,
    };
    api.parts.rules.ask(ask).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}
