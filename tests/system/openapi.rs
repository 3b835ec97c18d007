//! The document that describes the interface is true: what it gives as examples is taken, and what is answered is as it says.

use std::collections::BTreeMap;

use reqwest::Method;
use serde_json::{Value, json};
use tests::Gateway;

const CONFIG: &str = "[[device]]\nid = \"cellar\"\n[[rule]]\nname = \"cold\"\nseries = \"*/temperature\"\nbelow = -20\n[[webhook]]\nname = \"ops\"\nurl = \"http://127.0.0.1:1/\"\n";

/// What in a value is not as its schema says: the keywords that the document uses.
fn faults(root: &Value, schema: &Value, value: &Value, at: &str, found: &mut Vec<String>) {
    if let Some(to) = schema["$ref"].as_str() {
        let to = root.pointer(to.trim_start_matches('#')).unwrap();
        return faults(root, to, value, at, found);
    }
    if let Some(any) = schema["anyOf"].as_array() {
        let fits = any.iter().any(|one| {
            let mut wrong = Vec::new();
            faults(root, one, value, at, &mut wrong);
            wrong.is_empty()
        });
        if !fits {
            found.push(format!("{at}: {value} is none of {any:?}"));
        }
        return;
    }
    if let Some(words) = schema["enum"].as_array()
        && !words.contains(value)
    {
        found.push(format!("{at}: {value} is not among {words:?}"));
    }
    let is = |kind: &str| match kind {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "integer" => value.is_i64() || value.is_u64(),
        "number" => value.is_number(),
        "boolean" => value.is_boolean(),
        "null" => value.is_null(),
        other => panic!("the test does not know the type {other}"),
    };
    let fits = match &schema["type"] {
        Value::String(kind) => is(kind),
        Value::Array(kinds) => kinds.iter().any(|kind| is(kind.as_str().unwrap())),
        _ => true,
    };
    if !fits {
        found.push(format!("{at}: {value} is no {}", schema["type"]));
    }
    for key in schema["required"].as_array().into_iter().flatten() {
        if value.get(key.as_str().unwrap()).is_none() {
            found.push(format!("{at}: {key} is missing"));
        }
    }
    if let Some(object) = value.as_object() {
        for (key, value) in object {
            match (
                schema["properties"].get(key),
                &schema["additionalProperties"],
            ) {
                (Some(one), _) => faults(root, one, value, &format!("{at}.{key}"), found),
                (None, Value::Bool(false)) => found.push(format!("{at}: {key} is unknown")),
                (None, all @ Value::Object(_)) => {
                    faults(root, all, value, &format!("{at}.{key}"), found);
                }
                _ => {}
            }
        }
    }
    for (n, item) in value.as_array().into_iter().flatten().enumerate() {
        if let Some(items) = schema.get("items") {
            faults(root, items, item, &format!("{at}[{n}]"), found);
        }
    }
}

/// Asks, and gives what is not as the document says, with the answer.
async fn ask(
    gateway: &Gateway,
    root: &Value,
    method: &str,
    path: &str,
    asked: &str,
    body: Option<&Value>,
    wrong: &mut Vec<String>,
) -> (u16, Value) {
    let described = &root["paths"][path][method];
    let method_name = Method::from_bytes(method.to_uppercase().as_bytes()).unwrap();
    let mut request = reqwest::Client::new().request(method_name, gateway.url(asked));
    let place = format!("{method} {asked}");
    match body {
        Some(Value::String(text)) => request = request.body(text.clone()),
        Some(body) => {
            let schema = &described["requestBody"]["content"]["application/json"]["schema"];
            faults(root, schema, body, &format!("{place} sent"), wrong);
            request = request.json(body);
        }
        None => {}
    }
    if described["parameters"].to_string().contains("if_match\"") {
        request = request.header("if-match", "*");
    }
    let response = request.send().await.unwrap();
    let status = response.status().as_u16();
    let kind = response.headers().get("content-type");
    let kind = kind.map_or("", |kind| kind.to_str().unwrap()).to_owned();
    let text = if kind.starts_with("text/event-stream") {
        String::new()
    } else {
        response.text().await.unwrap()
    };
    let answer = &described["responses"][status.to_string()];
    if answer.is_null() {
        wrong.push(format!("{place}: {status} is not in the document: {text}"));
        return (status, Value::Null);
    }
    let Some(content) = answer["content"].as_object() else {
        if !text.is_empty() {
            wrong.push(format!("{place}: {status} has a body: {text}"));
        }
        return (status, Value::Null);
    };
    let (expected, of) = content.iter().next().unwrap();
    if !kind.starts_with(expected.as_str()) {
        wrong.push(format!(
            "{place}: {status} is {kind:?}, not {expected}: {text}"
        ));
    }
    let value = serde_json::from_str(&text).unwrap_or(Value::Null);
    if expected.ends_with("json") {
        faults(
            root,
            &of["schema"],
            &value,
            &format!("{place} {status}"),
            wrong,
        );
    }
    (status, value)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_document_gives_as_examples_is_taken_and_every_answer_is_as_it_says() {
    let gateway = Gateway::start(CONFIG).await;
    let root = gateway.get("/api/openapi.json").await;
    assert_eq!(root["openapi"], "3.1.0");
    let push = &root["paths"]["/api/v1/readings"]["post"]["requestBody"]["content"];
    let reading = &push["application/json"]["example"];
    let mut wrong = Vec::new();
    let path = "/api/v1/readings";
    let pushed = ask(
        &gateway,
        &root,
        "post",
        path,
        path,
        Some(reading),
        &mut wrong,
    )
    .await;
    assert_eq!(pushed.0, 200);

    // First what makes things, then what needs them, at last what takes them away.
    let mut made: BTreeMap<String, String> = BTreeMap::new();
    let paths = root["paths"].as_object().unwrap();
    let mut statuses = BTreeMap::new();
    for method in ["post", "get", "put", "delete"] {
        for (path, operations) in paths {
            let described = &operations[method];
            // Who logs in is tested with a login; a socket with one who speaks it.
            let apart = path == "/socket" || described["tags"][0] == "login";
            if described.is_null() || apart {
                continue;
            }
            let content = described["requestBody"]["content"].as_object();
            let body = content.map(|content| &content.values().next().unwrap()["example"]);
            let collection = path.split("/{").next().unwrap();
            let id = made.get(collection).map_or("none", String::as_str);
            let mut asked = path
                .replace("{device}/{metric}", "boiler/temperature")
                .replace("{id}", id)
                .replace("{name}", "ops")
                .replace("{number}", "7")
                .replace("{token}", "x");
            if described["parameters"].to_string().contains("/by\"") {
                asked.push_str("?by=Ada");
            }
            let (status, value) =
                ask(&gateway, &root, method, path, &asked, body, &mut wrong).await;
            if let (201, Some(id)) = (status, value["id"].as_str()) {
                made.entry(path.clone()).or_insert_with(|| id.to_owned());
            }
            statuses.insert(format!("{method} {path}"), status);
        }
    }
    assert_eq!(wrong, Vec::<String>::new(), "{statuses:#?}");
    for (what, status) in [
        ("post /api/v1/rules", 201),
        ("post /api/v1/devices", 201),
        ("post /api/v1/webhooks", 201),
        ("post /api/v1/dashboards", 201),
        ("post /api/v1/silences", 201),
        ("post /api/v1/rules/dry-run", 200),
        ("post /api/v2/write", 204),
        ("get /api/v1/devices/{id}", 200),
        ("get /api/v1/rules/{id}", 200),
        ("get /api/v1/series/{device}/{metric}/points", 200),
        ("put /api/v1/webhooks/{id}", 200),
        ("put /api/v1/dashboards/{id}", 200),
        ("put /api/v1/silences/{id}", 200),
        ("delete /api/v1/devices/{id}", 204),
        ("delete /api/v1/rules/{id}", 204),
        ("get /api/docs", 200),
    ] {
        assert_eq!(statuses[what], status, "{what}: the example is not taken");
    }
    // What is not as it must be.
    for (method, path, asked, body) in [
        (
            "post",
            "/api/v1/rules",
            "/api/v1/rules",
            Some(json!({"rule": 1})),
        ),
        (
            "post",
            "/api/v1/devices",
            "/api/v1/devices",
            Some(json!({"device": {"id": ""}, "by": "Ada"})),
        ),
        ("get", "/api/v1/rules/{id}", "/api/v1/rules/%FF", None),
        ("get", "/api/v1/alerts", "/api/v1/alerts?limit=0", None),
        ("get", "/events", "/events?types=nonsense", None),
    ] {
        let mut told = Vec::new();
        let (status, _) = ask(
            &gateway,
            &root,
            method,
            path,
            asked,
            body.as_ref(),
            &mut told,
        )
        .await;
        assert!((400..500).contains(&status), "{asked}: {status}");
        told.retain(|fault| !fault.contains(" sent"));
        assert_eq!(told, Vec::<String>::new());
    }
}
