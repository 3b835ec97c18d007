//! Devices over REST: what they sent, what the config says of them, and what people said.

use axum::{
    Json, Router,
    extract::State,
    response::{IntoResponse, Response},
    routing::get,
};
use serde_json::{Value as JsonValue, json};

use super::{
    Api,
    made::{entries, object, people},
    problem::Problem,
};

pub(super) fn router() -> Router<Api> {
    Router::new().route("/api/v1/devices", get(list))
}

async fn list(State(api): State<Api>) -> Result<Response, Problem> {
    let devices = api.parts.engine.devices().await?;
    Ok(Json(json!({"devices": devices})).into_response())
}

/// A device as it is, beside where that is from; its version is 0 while nobody said anything.
pub(super) async fn shown(api: &Api, id: &str) -> Result<Option<(u64, JsonValue)>, Problem> {
    let devices = api.parts.engine.devices().await?;
    let device = devices.into_iter().find(|device| device.id.0 == id);
    let entries = entries(api);
    let entry = entries.devices.iter().find(|entry| entry.id == id);
    if device.is_none() && entry.is_none() {
        return Ok(None);
    }
    let mut shown = match entry {
        Some(entry) => entry.shown(),
        None => {
            let mut shown = object(json!({
                "origin": "heard", "enabled": true, "in_force": true, "problem": null,
                "file": null, "line": null, "device": {}, "configured": null,
            }));
            shown.extend(people(None));
            shown
        }
    };
    let made = entry.and_then(|entry| entry.made.as_ref());
    let version = made.map_or(0, |made| made.version);
    if let Some(device) = device {
        shown.extend(object(json!(device)));
    }
    shown.insert(String::from("version"), json!(version));
    Ok(Some((version, JsonValue::Object(shown))))
}
