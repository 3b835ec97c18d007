//! Saved views of the page over REST. What a layout means only the page knows.

use axum::{
    Json, Router,
    extract::State,
    response::{IntoResponse, Response},
    routing::get,
};
use serde_json::{Map, Value as JsonValue, json};

use super::{
    Api,
    made::{KeyFault, object, people},
    problem::Problem,
};
use crate::state::{Made, Thing};

/// Bytes of a layout, as compact JSON.
pub const MAX_LAYOUT_BYTES: usize = 64 << 10;
/// Bytes of a name.
const MAX_NAME_BYTES: usize = 100;

pub(super) fn router() -> Router<Api> {
    Router::new().route("/api/v1/dashboards", get(list))
}

/// What is wrong with one.
pub(super) fn faults(body: &Map<String, JsonValue>) -> Vec<KeyFault> {
    let mut faults = Vec::new();
    let mut fault = |key: &str, detail: String| {
        faults.push(KeyFault {
            key: Some(key.to_owned()),
            detail,
        });
    };
    let name = body.get("name").and_then(JsonValue::as_str);
    if !name.is_some_and(|name| !name.trim().is_empty() && name.len() <= MAX_NAME_BYTES) {
        fault(
            "name",
            format!("`name` is a text of 1 to {MAX_NAME_BYTES} bytes"),
        );
    }
    match body.get("layout") {
        Some(layout @ JsonValue::Object(_)) => {
            let bytes = layout.to_string().len();
            if bytes > MAX_LAYOUT_BYTES {
                let detail =
                    format!("a layout has at most {MAX_LAYOUT_BYTES} bytes, this one has {bytes}");
                fault("layout", detail);
            }
        }
        _ => fault("layout", String::from("`layout` is an object")),
    }
    if body.get("kiosk").is_some_and(|kiosk| !kiosk.is_boolean()) {
        fault("kiosk", String::from("`kiosk` is true or false"));
    }
    for key in body.keys() {
        if !["name", "layout", "kiosk"].contains(&key.as_str()) {
            fault(key, format!("unknown key `{key}` in a dashboard"));
        }
    }
    faults
}

/// A dashboard as lists and events show it: without its layout, which may be long.
#[must_use]
pub fn dashboard_listed(made: &Made) -> JsonValue {
    let kiosk = made.body.get("kiosk").and_then(JsonValue::as_bool);
    let mut shown = object(json!({
        "id": made.id,
        "name": made.name(),
        "kiosk": kiosk.unwrap_or(false),
        "version": made.version,
    }));
    shown.extend(people(Some(made)));
    JsonValue::Object(shown)
}

/// A dashboard with its layout.
#[must_use]
pub fn dashboard_shown(made: &Made) -> JsonValue {
    let mut shown = dashboard_listed(made);
    shown["layout"] = made.body.get("layout").cloned().unwrap_or_default();
    shown
}

async fn list(State(api): State<Api>) -> Result<Response, Problem> {
    let all = api.parts.state.made(Thing::Dashboard).await;
    let all = all.map_err(|error| Problem::internal("the dashboards cannot be read", &error))?;
    let all: Vec<JsonValue> = all.iter().map(dashboard_listed).collect();
    Ok(Json(json!({"dashboards": all})).into_response())
}

pub(super) async fn shown(api: &Api, id: &str) -> Result<Option<(u64, JsonValue)>, Problem> {
    let found = api.parts.state.one_made(Thing::Dashboard, id).await;
    let found =
        found.map_err(|error| Problem::internal("the dashboards cannot be read", &error))?;
    Ok(found.map(|made| (made.version, dashboard_shown(&made))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wrong_with_a_dashboard_is_said_for_each_key() {
        let wrong = |body: JsonValue| -> Vec<String> {
            let faults = faults(&object(body)).into_iter();
            faults.filter_map(|fault| fault.key).collect()
        };
        assert!(wrong(json!({"name": "wall", "layout": {"a": 1}, "kiosk": true})).is_empty());
        let long = json!({"name": "n", "layout": {"a": "x".repeat(MAX_LAYOUT_BYTES)}});
        assert_eq!(wrong(long), ["layout"]);
        let all = json!({"name": " ", "layout": [], "kiosk": 1, "colour": "red"});
        assert_eq!(wrong(all), ["name", "layout", "kiosk", "colour"]);
        assert_eq!(wrong(json!({})), ["name", "layout"]);
    }
}
