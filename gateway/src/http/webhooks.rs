//! Webhooks over REST: what they are and how they stand, and a test of one when a person asks for it.

use std::{sync::Arc, time::Duration};

use axum::{
    Json, Router,
    extract::{Path, State},
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use serde_json::{Value as JsonValue, json};
use tokio::{sync::Semaphore, time::timeout};

use super::{Api, problem::Problem};
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
    let configured = Arc::clone(&api.parts.configured.borrow().webhooks);
    let standing = match timeout(STATE_ANSWERS_WITHIN, api.parts.state.webhooks()).await {
        Ok(Ok(standing)) => standing,
        Ok(Err(_)) | Err(_) => Vec::new(),
    };
    let webhooks: Vec<JsonValue> = configured
        .iter()
        .map(|webhook| {
            let stands = standing.iter().find(|status| status.name == webhook.name);
            shown(webhook, stands)
        })
        .collect();
    Json(json!({"webhooks": webhooks})).into_response()
}

/// Without secrets: of tokens and keys that they are there, of headers the names, of the address the host, as many services put
/// their secret in the path.
fn shown(webhook: &WebhookConfig, stands: Option<&WebhookStatus>) -> JsonValue {
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
        "status": stands,
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
