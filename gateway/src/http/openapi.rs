//! The interface as a document that programs read (OpenAPI 3.1) at `/api/openapi.json`, and as a page for people at `/api/docs`.
//!
//! It is made of one table, `operations::ALL`, and of the schemas in `openapi/schemas.json`. Tests hold it to the code: each row of
//! [`super::NEEDS`], and so each route, is in it with just its methods, and answers of a running gateway are as it says.
//!
//! Not in it: the live streams beyond their first answer; `docs/http-api.md` describes their events.

mod operations;

use std::sync::LazyLock;

use axum::{
    Router,
    http::{HeaderValue, header},
    response::{IntoResponse, Response},
    routing::get,
};
use bytes::Bytes;
use serde_json::{Map, Value as JsonValue, json};

use self::operations::{ALL, Body, Operation};
use super::Api;

const SCHEMAS: &str = include_str!("openapi/schemas.json");
const PAGE: &str = include_str!("openapi/docs.html");
const SCRIPT: &str = include_str!("openapi/docs.js");
const STYLE: &str = include_str!("openapi/docs.css");

/// Made when it is first asked for.
static DOCUMENT: LazyLock<Bytes> = LazyLock::new(|| Bytes::from(document().to_string()));

pub(super) fn router() -> Router<Api> {
    let asset = |kind: &'static str, text: &'static str| {
        get(async move || served(kind, Bytes::from_static(text.as_bytes())))
    };
    Router::new()
        .route(
            "/api/openapi.json",
            get(async || served("application/json", DOCUMENT.clone())),
        )
        .route("/api/docs", asset("text/html; charset=utf-8", PAGE))
        .route(
            "/api/docs.js",
            asset("text/javascript; charset=utf-8", SCRIPT),
        )
        .route("/api/docs.css", asset("text/css; charset=utf-8", STYLE))
}

fn served(kind: &'static str, body: Bytes) -> Response {
    let kind = HeaderValue::from_static(kind);
    ([(header::CONTENT_TYPE, kind)], body).into_response()
}

/// The whole document.
fn document() -> JsonValue {
    let components: JsonValue = serde_json::from_str(SCHEMAS).unwrap_or_default();
    let mut paths = Map::new();
    for operation in ALL {
        let path = paths
            .entry(operation.path)
            .or_insert_with(|| JsonValue::Object(Map::new()));
        path[operation.method] = described(operation);
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Sensor gateway",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "Readings in, live events out, alerts in between. Times are RFC 3339 with Z unless a field ends in _ms. Errors are application/problem+json (RFC 9457).",
            "license": {"name": "MIT OR Apache-2.0", "identifier": "MIT OR Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "paths": paths,
        "components": components,
    })
}

fn described(operation: &Operation) -> JsonValue {
    let in_path = operation.path.split('{').skip(1).map(|rest| {
        let name = rest.split('}').next().unwrap_or_default();
        json!({"name": name, "in": "path", "required": true, "schema": {"type": "string", "minLength": 1}})
    });
    let others = operation
        .parameters
        .iter()
        .map(|name| json!({"$ref": format!("#/components/parameters/{name}")}));
    let mut answers = Map::new();
    for (status, what, words) in operation.answers {
        answers.insert(status.to_string(), answer(what, words));
    }
    let common = [
        (400, "The path can't be read"),
        (401, "Nobody is logged in, where one must be"),
        (
            403,
            "The role is not enough, or a page of another origin asks",
        ),
        (421, "The gateway does not go by the name in Host"),
        (503, "Not now: see Retry-After"),
    ];
    for (status, words) in common {
        answers
            .entry(status.to_string())
            .or_insert_with(|| answer("problem", words));
    }
    let mut described = json!({
        "operationId": id(operation),
        "summary": operation.summary,
        "tags": [operation.tag],
        "parameters": in_path.chain(others).collect::<Vec<_>>(),
        "responses": answers,
    });
    match &operation.body {
        Body::None => {}
        Body::Json { schema, example } => {
            let example: JsonValue = serde_json::from_str(example).unwrap_or_default();
            described["requestBody"] = json!({
                "required": true,
                "content": {"application/json": {"schema": reference(schema), "example": example}},
            });
        }
        Body::Text { example } => {
            described["requestBody"] = json!({
                "required": true,
                "content": {"text/plain": {"schema": {"type": "string"}, "example": example}},
            });
        }
    }
    described
}

/// `get_api_v1_rules_id`
fn id(operation: &Operation) -> String {
    let words = operation.path.split(|c: char| !c.is_ascii_alphanumeric());
    let words = words.filter(|word| !word.is_empty());
    let all: Vec<&str> = std::iter::once(operation.method).chain(words).collect();
    all.join("_")
}

/// `""`: nothing; `problem`; `text`, `html` or `events`; else the name of a schema.
fn answer(what: &str, words: &str) -> JsonValue {
    let (kind, schema) = match what {
        "" => return json!({"description": words}),
        "problem" => ("application/problem+json", reference("Problem")),
        "text" => ("text/plain", json!({"type": "string"})),
        "script" => ("text/javascript", json!({"type": "string"})),
        "style" => ("text/css", json!({"type": "string"})),
        "html" => ("text/html", json!({"type": "string"})),
        "metrics" => ("application/openmetrics-text", json!({"type": "string"})),
        "events" => ("text/event-stream", json!({"type": "string"})),
        schema => ("application/json", reference(schema)),
    };
    json!({"description": words, "content": {kind: {"schema": schema}}})
}

fn reference(schema: &str) -> JsonValue {
    json!({"$ref": format!("#/components/schemas/{schema}")})
}

#[cfg(test)]
mod tests {
    use super::*;

    /// All names that `$ref` points to.
    fn references(value: &JsonValue, found: &mut Vec<String>) {
        match value {
            JsonValue::Object(object) => {
                for (key, value) in object {
                    match value {
                        JsonValue::String(to) if key == "$ref" => found.push(to.clone()),
                        value => references(value, found),
                    }
                }
            }
            JsonValue::Array(items) => items.iter().for_each(|item| references(item, found)),
            _ => {}
        }
    }

    #[test]
    fn the_document_is_whole_and_each_of_its_references_leads_somewhere() {
        let document = document();
        let mut found = Vec::new();
        references(&document, &mut found);
        assert!(found.len() > 100);
        for reference in found {
            let pointer = reference.trim_start_matches('#');
            assert!(document.pointer(pointer).is_some(), "{reference}");
        }
        let mut ids: Vec<String> = ALL.iter().map(id).collect();
        ids.sort();
        let all = ids.len();
        ids.dedup();
        assert_eq!(ids.len(), all, "two operations have one id");
        for operation in ALL {
            if let Body::Json { example, .. } = &operation.body {
                let parsed = serde_json::from_str::<JsonValue>(example);
                assert!(parsed.is_ok(), "{}: {example}", operation.path);
            }
        }
    }

    #[test]
    fn each_route_is_in_the_document_with_just_its_methods() {
        let mut table: Vec<(String, &str)> = ALL
            .iter()
            .map(|operation| (operation.method.to_uppercase(), operation.path))
            .collect();
        table.sort();
        let mut routes: Vec<(String, &str)> = crate::http::NEEDS
            .iter()
            .map(|(method, path, _)| ((*method).to_owned(), *path))
            .collect();
        routes.sort();
        assert_eq!(table, routes);
    }

    #[test]
    fn the_page_asks_no_other_host_and_runs_nothing_inline() {
        for text in [PAGE, SCRIPT, STYLE] {
            assert!(
                !text.contains("//cdn") && !text.contains("https://"),
                "{text}"
            );
        }
        assert!(!PAGE.contains("<style") && !PAGE.contains("style=") && !PAGE.contains("onclick"));
        assert!(PAGE.contains("<script src=\"docs.js\"") || PAGE.contains("src=\"/api/docs.js\""));
    }
}
