//! Rules over REST: those of the config and those that people make, which are changed here. A rule of a person has an `ETag` of its
//! version, for `If-Match`.
//!
//! What a rule means is not known here: questions about that, and changes, go to the desk ([`Rules`]), which answers one after
//! the other.

use axum::{
    Json, Router,
    extract::{DefaultBodyLimit, Path, State, rejection::JsonRejection},
    http::{HeaderMap, StatusCode, Uri},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use prometheus_client::{metrics::counter::Counter, registry::Registry};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value as JsonValue, json};
use tokio::sync::mpsc;

use super::{
    Api,
    alerts::{MAX_BODY, by},
    dry_run,
    login::who,
    made::{self, Answer, MAX_REQUESTS, Origin, place_of},
    problem::Problem,
    versions::{created, expected, required, tagged},
};
use crate::{engine, state::Made};

/// Bytes of one rule, as compact JSON.
const MAX_RULE_BYTES: usize = 16 << 10;

/// A rule as it is shown.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RuleEntry {
    /// Of a person's rule `r-` and 16 digits; of one of the config `file:` and its name.
    pub id: String,
    /// Its name.
    pub name: String,
    /// `person` or `file`.
    pub origin: Origin,
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
        let (desk, asked) = mpsc::channel(MAX_REQUESTS);
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
        made::ask(&self.desk, request).await
    }
}

impl RuleEntry {
    /// A person's rule, not looked at yet.
    #[must_use]
    pub fn of_person(rule: &Made) -> Self {
        Self {
            id: rule.id.to_string(),
            name: rule.name().to_owned(),
            origin: Origin::Person,
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

/// Where a rule of the config stands, in words.
#[must_use]
pub fn place(rule: &RuleEntry) -> String {
    place_of(rule.file.as_deref(), rule.line)
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

fn answer(rule: &RuleEntry) -> Response {
    tagged(StatusCode::OK, rule.version, rule)
}

fn made(rule: &RuleEntry) -> Response {
    created("rules", &rule.id, rule.version, rule)
}

async fn list(State(api): State<Api>) -> Response {
    let rules = std::sync::Arc::clone(&api.parts.configured.borrow().rules);
    Json(json!({"rules": &*rules})).into_response()
}

async fn one(State(api): State<Api>, Path(id): Path<String>) -> Result<Response, Problem> {
    let rules = std::sync::Arc::clone(&api.parts.configured.borrow().rules);
    rules.iter().find(|rule| rule.id == id).map_or_else(
        || Err(Problem::not_found("there is no rule with this id")),
        |rule| Ok(answer(rule)),
    )
}

async fn create(
    State(api): State<Api>,
    asked: Result<Json<Asked>, JsonRejection>,
) -> Result<Response, Problem> {
    let wish = asked?.0.wish()?;
    let ask = |answer| RuleRequest::Create(wish, answer);
    Ok(made(&api.parts.rules.ask(ask).await?))
}

async fn change(
    State(api): State<Api>,
    Path(id): Path<String>,
    headers: HeaderMap,
    asked: Result<Json<Asked>, JsonRejection>,
) -> Result<Response, Problem> {
    let version = required(&headers, "rule")?;
    let wish = asked?.0.wish()?;
    let yours = json!({"rule": &wish.body, "enabled": wish.enabled});
    let ask = |answer| RuleRequest::Change {
        id,
        version,
        wish,
        answer,
    };
    match api.parts.rules.ask(ask).await {
        Ok(rule) => Ok(answer(&rule)),
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
    Ok(answer(&api.parts.rules.ask(ask).await?))
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
    Ok(made(&api.parts.rules.ask(ask).await?))
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
