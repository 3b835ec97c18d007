use serde_json::json;
use tests::{Events, Gateway};

async fn push(gateway: &Gateway, series: &str, value: i64) {
    let (device, metric) = series.split_once('/').unwrap();
    let body = json!({ "device": device, "metric": metric, "value": value });
    assert_eq!(
        gateway
            .post("/api/v1/readings", "application/json", body.to_string())
            .await
            .0,
        200
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_comes_back_gets_exactly_what_it_missed() {
    let gateway = Gateway::start("").await;
    let mut events = Events::open(&gateway, "").await;
    assert_eq!(events.next().await.unwrap().kind, "snapshot");
    push(&gateway, "a/x", 1).await;
    events
        .find("the first reading", |e| e.kind == "readings")
        .await;
    let id = events.last_id.clone().unwrap();
    drop(events);
    push(&gateway, "a/x", 2).await;
    push(&gateway, "a/x", 3).await;
    gateway.value("a/x", |v| v == 3).await;

    let mut events = Events::open(&gateway, &format!("last_event_id={id}")).await;
    assert_eq!(events.next().await.unwrap().kind, "resume");
    let mut missed = Vec::new();
    while missed.last() != Some(&3) {
        let event = events
            .find("what was missed", |e| e.kind == "readings")
            .await;
        missed.extend(
            event.data["series"]["a/x"]["v"]
                .as_array()
                .unwrap()
                .iter()
                .filter_map(|v| v.as_f64())
                .map(|v| v as i64),
        );
    }
    assert_eq!(missed, [2, 3]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_id_of_another_life_or_of_nobody_gives_a_snapshot() {
    let gateway = Gateway::start("").await;
    for id in ["nonsense", "0-1", "", "%00%ff", "9999999999999999999999-1"] {
        let mut events = Events::open(&gateway, &format!("last_event_id={id}")).await;
        assert_eq!(events.next().await.unwrap().kind, "snapshot", "{id}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_filter_lets_only_its_series_and_types_through() {
    let gateway = Gateway::start("").await;
    push(&gateway, "a/x", 1).await;
    push(&gateway, "b/x", 1).await;
    let mut events = Events::open(&gateway, "series=a/*&types=snapshot,readings").await;
    let snapshot = events.next().await.unwrap();
    let ids: Vec<_> = snapshot.data["series"]
        .as_array()
        .unwrap()
        .iter()
        .map(|s| s["id"].clone())
        .collect();
    assert_eq!(ids, ["a/x"]);
    push(&gateway, "b/x", 2).await;
    push(&gateway, "a/x", 2).await;
    let event = events
        .find("the next reading", |e| e.kind != "status")
        .await;
    assert_eq!(event.kind, "readings");
    assert_eq!(
        event.data["series"]
            .as_object()
            .unwrap()
            .keys()
            .collect::<Vec<_>>(),
        ["a/x"]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_and_its_files_come_from_the_binary() {
    let gateway = Gateway::start("").await;
    let page = reqwest::get(gateway.url("/")).await.unwrap();
    assert_eq!(page.status(), 200);
    assert!(
        page.headers()["content-security-policy"]
            .to_str()
            .unwrap()
            .contains("default-src 'self'")
    );
    let html = page.text().await.unwrap();
    let script = html
        .split("src=\"")
        .nth(1)
        .and_then(|s| s.split('"').next())
        .expect("a script");
    let script = reqwest::get(gateway.url(&format!("/{}", script.trim_start_matches(['.', '/']))))
        .await
        .unwrap();
    assert_eq!(script.status(), 200);
    assert!(
        script.headers()["cache-control"]
            .to_str()
            .unwrap()
            .contains("immutable")
    );
    for path in ["/healthz", "/readyz", "/metrics"] {
        assert_eq!(
            reqwest::get(gateway.url(path)).await.unwrap().status(),
            200,
            "{path}"
        );
    }
    assert_eq!(
        reqwest::get(gateway.url("/api/v1/nothing"))
            .await
            .unwrap()
            .status(),
        404
    );
}
