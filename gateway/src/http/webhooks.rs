//! Webhooks over REST: what they are and how they stand, and a test of one when a person asks for it. Who makes and changes them: `made`.

use std::{sync::Arc, time::Duration};

use axum::{
    Json, Router,
    extract::{Path, State},
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use serde_json::{Map, Value as JsonValue, json};
use tokio::{sync::Semaphore, time::timeout};

use super::{
    Api,
    made::{Entry, entries, object},
    problem::Problem,
};
use crate::{
    notify::{self, Destination, WebhookConfig},
    state::WebhookStatus,
};

/// Tests under way at once.
const MAX_TESTS: usize = 4;
/// A test is not waited for longer, whatever the webhook's `timeout` is.
const TEST_WITHIN: Duration = Duration::from_secs(30);
/// A state that can't be read must not hide what is configured.
const STATE_ANSWERS_WITHIN: Duration = Duration::from_secs(2);

pub(super) fn router() -> Router<Api> {
    let tests = Arc::new(Semaphore::new(MAX_TESTS));
    Router::new().route("/api/v1/webhooks", get(list)).route(
        "/api/v1/webhooks/{name}/test",
        post(move |state, name| test(state, name, Arc::clone(&tests))),
    )
}

async fn list(State(api): State<Api>) -> Response {
    let entries = entries(&api);
    let mut webhooks = Vec::with_capacity(entries.webhooks.len());
    let standing = standing(&api).await;
    let configured = Arc::clone(&api.parts.configured.borrow().webhooks);
    for entry in &entries.webhooks {
        webhooks.push(with_status(entry, &configured, &standing));
    }
    Json(json!({"webhooks": webhooks})).into_response()
}

async fn standing(api: &Api) -> Vec<WebhookStatus> {
    match timeout(STATE_ANSWERS_WITHIN, api.parts.state.webhooks()).await {
        Ok(Ok(standing)) => standing,
        Ok(Err(_)) | Err(_) => Vec::new(),
    }
}

/// One of them, with its version; 0 is that of the config.
pub(super) async fn shown_by_name(api: &Api, name: &str) -> Option<(u64, JsonValue)> {
    let entries = entries(api);
    // A person's may stand aside for the config's by the same name.
    let entry = entries.webhooks.iter().find(|entry| entry.id == name)?;
    let configured = Arc::clone(&api.parts.configured.borrow().webhooks);
    let version = entry.made.as_ref().map_or(0, |made| made.version);
    let shown = with_status(entry, &configured, &standing(api).await);
    Some((version, JsonValue::Object(shown)))
}

fn with_status(
    entry: &Entry,
    configured: &[WebhookConfig],
    standing: &[WebhookStatus],
) -> Map<String, JsonValue> {
    let mut shown = webhook_shown(entry, configured);
    let stands = standing.iter().find(|status| status.name == entry.id);
    shown.insert(
        String::from("status"),
        json!(stands.filter(|_| entry.in_force)),
    );
    shown
}

/// A webhook of the config or of a person as it is shown, apart from how its deliveries stand.
#[must_use]
pub fn webhook_shown(entry: &Entry, configured: &[WebhookConfig]) -> Map<String, JsonValue> {
    let mut all = entry.shown();
    let webhook = configured.iter().find(|webhook| webhook.name == entry.id);
    if let Some(webhook) = webhook.filter(|_| entry.in_force) {
        all.extend(object(shown(webhook)));
    }
    all
}

/// Without secrets: of tokens and keys that they are there, of headers the names, of the address the host, as many services put
/// their secret in the path.
fn shown(webhook: &WebhookConfig) -> JsonValue {
    let (has_token, headers) = match &webhook.to {
        Destination::Http(endpoint, _) => (
            endpoint.token.is_some(),
            endpoint.headers.keys().cloned().collect(),
        ),
        Destination::Email(_) | Destination::Mqtt(_) => (false, Vec::new()),
    };
    json!({
        "name": webhook.name,
        "kind": webhook.to.kind(),
        "url": webhook.to.shown(),
        "has_token": has_token,
        "signed": webhook.to.is_signed(),
        "headers": headers,
        "timeout_ms": webhook.timeout.as_millis(),
        "give_up_after_ms": webhook.give_up_after.as_millis(),
        "send_resolved": webhook.send_resolved,
    })
}

async fn test(
    State(api): State<Api>,
    Path(name): Path<String>,
    tests: Arc<Semaphore>,
) -> Result<Response, Problem> {
    let Ok(_place) = tests.try_acquire() else {
        return Err(Problem::unavailable(
            "other tests are under way: try again when they are through",
        ));
    };
    let configured = Arc::clone(&api.parts.configured.borrow().webhooks);
    let Some(webhook) = configured.iter().find(|webhook| webhook.name == name) else {
        return Err(Problem::not_found("there is no webhook of this name"));
    };
    let (links, clock) = (api.parts.links.clone(), api.parts.clock.clone());
    match timeout(TEST_WITHIN, notify::trial(webhook, links, clock)).await {
        Ok(Ok(trial)) => {
            let no_store = (header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
            Ok(([no_store], Json(trial)).into_response())
        }
        Ok(Err(error)) => Err(Problem::internal("the webhook can't be used", &error)),
        Err(_) => Err(Problem::new(
            StatusCode::GATEWAY_TIMEOUT,
            "the receiver did not answer within 30 seconds",
        )),
    }
}
