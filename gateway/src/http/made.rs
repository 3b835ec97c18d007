//! What people make and change over the API: the words in which HTTP asks those who put it in force (the *desks*, in `app`), and
//! the handlers that devices, webhooks and dashboards share.

use std::sync::Arc;

use axum::{
    extract::{DefaultBodyLimit, Path, State, rejection::JsonRejection},
    http::{HeaderMap, HeaderValue, StatusCode, Uri, header},
    response::{IntoResponse, Response},
    routing::{MethodRouter, get, post},
    {Json, Router},
};
use serde::Serialize;
use serde_json::{Map, Value as JsonValue, json};
use tokio::sync::{mpsc, oneshot};

use super::{
    Api,
    alerts::{MAX_BODY, by},
    dashboards, devices,
    login::who,
    problem::Problem,
    versions::{created, expected, required, tagged},
    webhooks,
};
use crate::{
    model::Timestamp,
    state::{Made, MadeError, StateError, Thing, without_secrets},
};

/// Questions and changes that may wait for a desk; who comes with one more waits for room.
pub const MAX_REQUESTS: usize = 16;
/// Mistakes that one answer tells.
const MAX_FAULTS: usize = 50;
/// Beside a layout: its name, and who saves it.
const MAX_DASHBOARD_BODY: usize = dashboards::MAX_LAYOUT_BYTES + (8 << 10);

/// Where a thing is from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Origin {
    /// The config: it can't be changed here.
    File,
    /// A person made it here.
    Person,
}

/// What is wrong with a thing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct KeyFault {
    /// The key that it is about; none when it is about the whole.
    pub key: Option<String>,
    /// What is wrong and what to do.
    pub detail: String,
}

/// Why a thing was not taken. Nothing was changed then.
#[derive(Debug)]
pub enum Refusal {
    /// It is wrong, in at least one way.
    Wrong(Thing, Vec<KeyFault>),
    /// Another one has its name; who, in words.
    NameTaken(String),
    /// It is in the config: only there it can be changed.
    OfFile {
        /// What it is.
        thing: Thing,
        /// Its name.
        name: String,
        /// File and line.
        place: String,
        /// What it says there.
        current: JsonValue,
    },
    /// Somebody else changed it; what it is now.
    Changed(Thing, JsonValue),
    /// It is written down, but could not be put in force; why.
    NotInForce(String),
    /// Another reason.
    Not(MadeError),
}

impl From<StateError> for Refusal {
    fn from(error: StateError) -> Self {
        Self::Not(error.into())
    }
}

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Wrong(thing, mut faults) => {
                let detail = match &faults[..] {
                    [one] => one.detail.clone(),
                    many => format!("{} mistakes in the {}", many.len(), thing.name()),
                };
                faults.truncate(MAX_FAULTS);
                Self::new(StatusCode::UNPROCESSABLE_ENTITY, detail).saying("errors", json!(faults))
            }
            Refusal::NameTaken(detail) => {
                let errors = json!([{"key": "name", "detail": detail}]);
                Self::new(StatusCode::CONFLICT, detail).saying("errors", errors)
            }
            Refusal::OfFile {
                thing,
                name,
                place,
                current,
            } => {
                let or = match thing {
                    Thing::Rule => ", or make a copy of it here",
                    _ => "",
                };
                let thing = thing.name();
                let detail =
                    format!("the {thing} \"{name}\" stands in {place}: change it there{or}");
                Self::new(StatusCode::METHOD_NOT_ALLOWED, detail)
                    .with(header::ALLOW, HeaderValue::from_static("GET, HEAD"))
                    .saying("current", current)
            }
            Refusal::Changed(thing, current) => {
                let thing = thing.name();
                let detail = format!(
                    "the {thing} was changed meanwhile: look at what it is now, and decide again"
                );
                Self::new(StatusCode::PRECONDITION_FAILED, detail).saying("current", current)
            }
            Refusal::NotInForce(why) => Self::new(
                StatusCode::INTERNAL_SERVER_ERROR,
                format!("this is written down and could not be put in force: {why}"),
            ),
            Refusal::Not(error) => {
                let said = error.to_string();
                match error {
                    MadeError::State(error) => {
                        Self::not_durable("what people made cannot be read or written down", &error)
                    }
                    MadeError::Unknown(_) => Self::not_found(said),
                    MadeError::Changed(_) => Self::new(StatusCode::PRECONDITION_FAILED, said),
                    MadeError::TooMany(_) => Self::new(StatusCode::CONFLICT, said),
                    MadeError::Taken(_) => {
                        let errors = json!([{"key": "name", "detail": said}]);
                        Self::new(StatusCode::CONFLICT, said).saying("errors", errors)
                    }
                }
            }
        }
    }
}

/// Where answers go.
pub type Answer<T> = oneshot::Sender<Result<T, Refusal>>;

/// What a person wants a thing to be.
#[derive(Clone, Debug)]
pub struct MadeWish {
    /// By the keys of the config; a `null` takes away a secret that is kept.
    pub body: Map<String, JsonValue>,
    /// Whether it is to be in force; if not said it stays as it is, and a new one is.
    pub enabled: Option<bool>,
    /// Who says so.
    pub by: String,
}

/// A change of a device, webhook or dashboard.
#[derive(Debug)]
pub enum MadeRequest {
    /// Make one.
    Create {
        /// Of this kind.
        thing: Thing,
        /// What it is to be.
        wish: MadeWish,
        /// The new one.
        answer: Answer<Made>,
    },
    /// Change one.
    Change {
        /// Of this kind.
        thing: Thing,
        /// Which.
        id: String,
        /// If it is at this version still.
        version: Option<u64>,
        /// What it is to be.
        wish: MadeWish,
        /// As it is then.
        answer: Answer<Made>,
    },
    /// Delete one.
    Delete {
        /// Of this kind.
        thing: Thing,
        /// Which.
        id: String,
        /// If it is at this version still.
        version: Option<u64>,
        /// Who says so.
        by: String,
        /// What it was.
        answer: Answer<Made>,
    },
}

/// A device or webhook as it stands in the config, and as people made it.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// What it is.
    pub thing: Thing,
    /// Of a webhook its name.
    pub id: String,
    /// From the config alone, or a person said something.
    pub origin: Origin,
    /// What a person said.
    pub made: Option<Made>,
    /// Whether that is in force.
    pub in_force: bool,
    /// Why it is not, although it is meant to be.
    pub problem: Option<String>,
    /// What the config says, secrets included; none where it says nothing.
    pub configured: Option<Map<String, JsonValue>>,
    /// In which file; none for a config that is in no file, too.
    pub file: Option<String>,
    /// And on which line that begins.
    pub line: Option<usize>,
}

impl Entry {
    /// Where it stands in the config, in words.
    #[must_use]
    pub fn place(&self) -> String {
        place_of(self.file.as_deref(), self.line)
    }

    /// As it is shown: without secrets.
    #[must_use]
    pub fn shown(&self) -> Map<String, JsonValue> {
        let made = self.made.as_ref();
        // What the config says of a device stands beside what people say.
        let written = self
            .configured
            .as_ref()
            .filter(|_| self.thing != Thing::Device);
        let said = made.map(|made| &made.body).or(written);
        let (body, secrets) = said.map(without_secrets).unwrap_or_default();
        let name = body.get("name").and_then(JsonValue::as_str);
        let mut shown = object(json!({
            "id": self.id,
            "name": name.unwrap_or(&self.id),
            "origin": self.origin,
            "version": made.map(|made| made.version),
            "enabled": made.is_none_or(|made| made.enabled),
            "in_force": self.in_force,
            "problem": self.problem,
            "file": self.file,
            "line": self.line,
        }));
        shown.extend(people(made));
        shown.insert(self.thing.name().to_owned(), JsonValue::Object(body));
        match self.thing {
            Thing::Webhook => drop(shown.insert(String::from("secrets"), json!(secrets))),
            Thing::Device => {
                drop(shown.insert(String::from("configured"), json!(self.configured)));
            }
            Thing::Rule | Thing::Dashboard => {}
        }
        shown
    }
}

/// Who made and changed it, and when.
pub(super) fn people(made: Option<&Made>) -> Map<String, JsonValue> {
    object(json!({
        "created_by": made.map(|made| &made.created_by),
        "created_ms": made.map(|made| made.created.as_millis()),
        "changed_by": made.and_then(|made| made.changed_by.as_ref()),
        "changed_ms": made.and_then(|made| made.changed).map(Timestamp::as_millis),
    }))
}

pub(super) fn object(value: JsonValue) -> Map<String, JsonValue> {
    match value {
        JsonValue::Object(object) => object,
        _ => Map::new(),
    }
}

/// A file and a line, in words.
pub(super) fn place_of(file: Option<&str>, line: Option<usize>) -> String {
    let file = file.unwrap_or("the built-in config");
    match line {
        Some(line) => format!("{file}:{line}"),
        None => file.to_owned(),
    }
}

/// All devices and webhooks that the config or people speak of.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Entries {
    /// Those of the config first.
    pub webhooks: Vec<Entry>,
    /// Those of the config first; those that were only heard are not among them.
    pub devices: Vec<Entry>,
}

impl Entries {
    /// Those of a kind.
    pub fn iter_of(&self, thing: Thing) -> impl Iterator<Item = &Entry> {
        match thing {
            Thing::Device => self.devices.iter(),
            _ => self.webhooks.iter(),
        }
    }
}

/// The ways to the desks. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Desks {
    config: mpsc::Sender<MadeRequest>,
    dashboards: mpsc::Sender<MadeRequest>,
}

impl Desks {
    /// With the end of the desk of devices and webhooks, and that of dashboards.
    #[must_use]
    pub fn new() -> (
        Self,
        mpsc::Receiver<MadeRequest>,
        mpsc::Receiver<MadeRequest>,
    ) {
        let (config, asked) = mpsc::channel(MAX_REQUESTS);
        let (dashboards, saved) = mpsc::channel(MAX_REQUESTS);
        (Self { config, dashboards }, asked, saved)
    }

    async fn ask<T>(
        &self,
        thing: Thing,
        request: impl FnOnce(Answer<T>) -> MadeRequest,
    ) -> Result<T, Problem> {
        let desk = match thing {
            Thing::Dashboard => &self.dashboards,
            _ => &self.config,
        };
        ask(desk, request).await
    }
}

/// Puts a question to a desk.
pub(super) async fn ask<R, T>(
    desk: &mpsc::Sender<R>,
    request: impl FnOnce(Answer<T>) -> R,
) -> Result<T, Problem> {
    let stopping = || Problem::unavailable("the gateway is stopping");
    let (answer, answered) = oneshot::channel();
    let sent = desk.send(request(answer)).await;
    sent.map_err(|_| stopping())?;
    Ok(answered.await.map_err(|_| stopping())??)
}

pub(super) fn router() -> Router<Api> {
    let all = [
        (Thing::Device, "devices", MAX_BODY),
        (Thing::Webhook, "webhooks", MAX_BODY),
        (Thing::Dashboard, "dashboards", MAX_DASHBOARD_BODY),
    ];
    let mut router = Router::new();
    for (thing, path, most) in all {
        let list = post(move |api, body| create(thing, api, body));
        let one: MethodRouter<Api> = get(move |api, id| one(thing, api, id))
            .put(move |api, id, headers, body| change(thing, api, id, headers, body))
            .delete(move |api, id, headers, uri| delete(thing, api, id, headers, uri));
        router = router
            .route(
                &format!("/api/v1/{path}"),
                list.layer(DefaultBodyLimit::max(most)),
            )
            .route(
                &format!("/api/v1/{path}/{{id}}"),
                one.layer(DefaultBodyLimit::max(most)),
            );
    }
    router
}

const fn collection(thing: Thing) -> &'static str {
    match thing {
        Thing::Rule => "rules",
        Thing::Device => "devices",
        Thing::Webhook => "webhooks",
        Thing::Dashboard => "dashboards",
    }
}

/// What a person asks for: the thing under its name, `enabled`, and `by`.
fn wish(thing: Thing, asked: Map<String, JsonValue>) -> Result<MadeWish, Problem> {
    let wrong = |detail: String| Problem::new(StatusCode::UNPROCESSABLE_ENTITY, detail);
    let name = thing.name();
    let (mut body, mut enabled, mut said_by) = (None, None, String::new());
    for (key, value) in asked {
        match (key.as_str(), value) {
            (key, JsonValue::Object(thing)) if key == name => body = Some(thing),
            ("enabled", JsonValue::Bool(value)) if thing == Thing::Webhook => enabled = Some(value),
            ("by", JsonValue::String(value)) => said_by = value,
            (key, _) => {
                return Err(wrong(format!(
                    "`{key}` is unknown here or of the wrong kind: say {{\"{name}\": {{…}}, \"by\": \"…\"}}"
                )));
            }
        }
    }
    let body = body.ok_or_else(|| wrong(format!("`{name}` is missing")))?;
    let most = match thing {
        Thing::Rule | Thing::Webhook => 16 << 10,
        Thing::Device => 2 << 10,
        Thing::Dashboard => MAX_DASHBOARD_BODY,
    };
    let bytes = serde_json::to_string(&body).map_or(usize::MAX, |text| text.len());
    if bytes > most {
        return Err(Problem::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            format!("a {name} has at most {most} bytes, this one has {bytes}"),
        ));
    }
    if thing == Thing::Dashboard {
        let faults = dashboards::faults(&body);
        if !faults.is_empty() {
            return Err(Refusal::Wrong(thing, faults).into());
        }
    }
    Ok(MadeWish {
        body,
        enabled,
        by: who("by", &said_by)?,
    })
}

type Asked = Result<Json<Map<String, JsonValue>>, JsonRejection>;

/// As it is shown, with its version; `None` when there is none.
async fn shown(api: &Api, thing: Thing, id: &str) -> Result<Option<(u64, JsonValue)>, Problem> {
    match thing {
        Thing::Device => devices::shown(api, id).await,
        Thing::Webhook => Ok(webhooks::shown_by_name(api, id).await),
        Thing::Dashboard | Thing::Rule => dashboards::shown(api, id).await,
    }
}

async fn one(
    thing: Thing,
    State(api): State<Api>,
    Path(id): Path<String>,
) -> Result<Response, Problem> {
    let Some((version, body)) = shown(&api, thing, &id).await? else {
        return Err(Refusal::Not(MadeError::Unknown(thing)).into());
    };
    Ok(tagged(StatusCode::OK, tag(thing, version), &body))
}

/// A webhook of the config has none: it is not changed here. What is said of a device can be, whoever knows it.
const fn tag(thing: Thing, version: u64) -> Option<u64> {
    if version == 0 && !matches!(thing, Thing::Device) {
        None
    } else {
        Some(version)
    }
}

async fn create(thing: Thing, State(api): State<Api>, asked: Asked) -> Result<Response, Problem> {
    let wish = wish(thing, asked?.0)?;
    let ask = |answer| MadeRequest::Create {
        thing,
        wish,
        answer,
    };
    let made = api.parts.desks.ask(thing, ask).await?;
    let body = shown(&api, thing, &made.id).await?;
    let body = body.map_or(JsonValue::Null, |(_, body)| body);
    let version = Some(made.version);
    Ok(created(collection(thing), &made.id, version, &body))
}

async fn change(
    thing: Thing,
    State(api): State<Api>,
    Path(id): Path<String>,
    headers: HeaderMap,
    asked: Asked,
) -> Result<Response, Problem> {
    let version = required(&headers, thing.name())?;
    let wish = wish(thing, asked?.0)?;
    let (yours, _) = without_secrets(&wish.body);
    let yours = json!({thing.name(): yours, "enabled": wish.enabled});
    let ask = |answer| MadeRequest::Change {
        thing,
        id: id.clone(),
        version,
        wish,
        answer,
    };
    match api.parts.desks.ask(thing, ask).await {
        Ok(made) => {
            let body = shown(&api, thing, &id).await?;
            let body = body.map_or(JsonValue::Null, |(_, body)| body);
            Ok(tagged(StatusCode::OK, Some(made.version), &body))
        }
        Err(problem) if problem.status() == StatusCode::PRECONDITION_FAILED => {
            Err(problem.saying("yours", yours))
        }
        Err(problem) => Err(problem),
    }
}

async fn delete(
    thing: Thing,
    State(api): State<Api>,
    Path(id): Path<String>,
    headers: HeaderMap,
    uri: Uri,
) -> Result<Response, Problem> {
    let (version, by) = (expected(&headers, thing.name())?, by(&uri)?);
    let ask = |answer| MadeRequest::Delete {
        thing,
        id,
        version,
        by,
        answer,
    };
    api.parts.desks.ask(thing, ask).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// What is shown of devices and webhooks now.
pub(super) fn entries(api: &Api) -> Arc<Entries> {
    Arc::clone(&api.parts.configured.borrow().made)
}
