//! The whole router, with a task that answers for the engine.

mod attention;
mod dry_run;
mod login;

use std::{collections::BTreeMap, net::SocketAddr};

use axum::{
    body::Body,
    http::{HeaderMap, Request, header},
};
use prometheus_client::registry::Registry;
use serde_json::{Value as JsonValue, json};
use tokio::sync::mpsc;
use tower::ServiceExt;

use super::*;
use crate::{
    alert::{Alert, AlertState, Marks, Severity},
    engine::{EngineStatus, Query},
    model::{DeviceId, Quality, Secret, SeriesKey, SourceName, Unit, Value},
    notify::{Destination, Endpoint, Format, KEY_BYTES},
    rejects::{Reason, Reject},
    source::{LinkState, status::SourceMetrics},
    store::{Device, Point, SeriesInfo, Window, WindowSpec},
};

const NOW_MS: i64 = 1_800_000_000_000;

fn key() -> SeriesKey {
    SeriesKey::parse("a b/t").unwrap()
}

fn point(ms: i64) -> Point {
    Point {
        time: Timestamp::from_millis(ms),
        value: Value::Float(1.5),
        quality: Quality::Good,
    }
}

fn info() -> SeriesInfo {
    SeriesInfo {
        key: key(),
        unit: Some(Unit("Cel".into())),
        latest: Some(point(NOW_MS)),
        retained: false,
        points: 1,
        too_late: 0,
    }
}

fn alert() -> Alert {
    Alert {
        id: "hot-1".into(),
        rule: "hot".into(),
        series: "a b/t".into(),
        state: AlertState::Firing,
        severity: Severity::Critical,
        summary: String::from("cool it"),
        value: Some(Value::Float(99.0)),
        unit: None,
        labels: BTreeMap::new(),
        began_ms: 1,
        fired_ms: Some(2),
        resolved_ms: None,
        webhooks: Vec::new(),
        marks: Marks::default(),
    }
}

/// Answers for an engine that knows one device with one series: a point a second over the last ten minutes.
async fn answer(mut queries: mpsc::Receiver<Query>) {
    while let Some(query) = queries.recv().await {
        match query {
            Query::Link { .. } => {}
            Query::Reconfigure(_, answer) => drop(answer),
            Query::Inventory { answer, .. } => drop(answer),
            Query::Devices(answer) => drop(answer.send(vec![Device {
                id: DeviceId("a b".into()),
                name: String::from("A"),
                site: None,
                labels: BTreeMap::new(),
                note: None,
                version: 0,
                source: None,
                last_seen_ms: None,
                online: None,
                clock_ahead_ms: None,
            }])),
            Query::Series(answer) => drop(answer.send(vec![info()])),
            Query::Points {
                series,
                from,
                to,
                answer,
            } => {
                // Who looks far back finds more than anybody can judge.
                let far = from < Timestamp::from_millis(NOW_MS - 300 * 86_400_000);
                let count = if far { 1_000_001 } else { 600 };
                let points = (0..count)
                    .map(|s| point(NOW_MS - (count - s) * 1000))
                    .filter(|p| from <= p.time && p.time < to);
                drop(answer.send((series == key()).then(|| points.collect())));
            }
            Query::Windows {
                series,
                spec,
                answer,
            } => {
                let spec = spec.unwrap_or(WindowSpec::tumbling(Duration::from_secs(60)));
                let window = Window {
                    start_ms: 0,
                    end_ms: 60_000,
                    count: 1,
                    min: 1.0,
                    max: 1.0,
                    mean: 1.0,
                    stddev: 0.0,
                    first: 1.0,
                    last: 1.0,
                    p50: 1.0,
                    p95: 1.0,
                    p99: 1.0,
                    closed: false,
                };
                drop(answer.send((series == key()).then(|| vec![(spec, window)])));
            }
            Query::Alerts(answer) => drop(answer.send(vec![alert()])),
            Query::Status(answer) => drop(answer.send(EngineStatus::default())),
            // It fires for as long as the test says.
            Query::Close { answer, .. } => {
                let _waited_for = answer.send(false);
            }
            Query::Disk(_) => {}
        }
    }
}

/// A desk that takes every rule for one about all series, and lets nobody change any.
async fn desk(mut asked: mpsc::Receiver<RuleRequest>) {
    while let Some(request) = asked.recv().await {
        if let RuleRequest::Read(_, answer) = request {
            let above = crate::alert::Condition::Above {
                limit: 1.0,
                clear: 1.0,
            };
            let rule = crate::alert::Rule::plain("hot", "*/*", above);
            let config = crate::engine::Config {
                rules: vec![rule],
                ..crate::engine::Config::default()
            };
            let notes = Vec::new();
            drop(answer.send(Ok(Box::new(RuleToRehearse { config, notes }))));
        }
    }
}

struct House {
    router: Router,
    ready: watch::Sender<Readiness>,
    rejects: Rejects,
    _dir: tempfile::TempDir,
    _committed: mpsc::Receiver<crate::journal::Committed>,
}

fn house_at(address: &str, hosts: &[&str]) -> House {
    house_with(address, hosts, Vec::new())
}

fn house_with(address: &str, hosts: &[&str], mut fragments: Vec<Router>) -> House {
    let dir = tempfile::tempdir().unwrap();
    let mut registry = Registry::default();
    let (queries, asked) = mpsc::channel(8);
    tokio::spawn(answer(asked));
    let (committed, kept) = mpsc::channel(8);
    let (journal, _) = Journal::open(
        crate::journal::Config::default(),
        dir.path(),
        committed,
        &mut registry,
    )
    .unwrap();
    let clock = Clock::manual(Timestamp::from_millis(NOW_MS));
    let name = SourceName("mqtt".into());
    let (reporter, source) =
        SourceMetrics::new(&mut registry).reporter(name, "mqtt", clock.clone());
    reporter.up("somewhere");
    let rejects = Rejects::new(&mut registry);
    let (ready, readiness) = watch::channel(Readiness::Ready);
    let webhook = WebhookConfig {
        name: "slack".into(),
        to: Destination::Http(
            Box::new(Endpoint {
                token: Some(Secret(String::from("SECRET"))),
                headers: BTreeMap::from([(String::from("X-Key"), String::from("SECRET"))]),
                ..Endpoint::new("https://me:pw@hooks.example.org/services/SECRET")
            }),
            Box::new(Format::Teams),
        ),
        timeout: Duration::from_secs(10),
        backoff: crate::backoff::Config::default(),
        give_up_after: Duration::from_secs(86_400),
        send_resolved: true,
    };
    let rule = RuleEntry {
        id: String::from("file:hot"),
        name: String::from("hot"),
        origin: Origin::File,
        version: None,
        enabled: true,
        in_force: true,
        problem: None,
        file: Some(String::from("gateway.toml")),
        line: Some(12),
        created_by: None,
        created_ms: None,
        changed_by: None,
        changed_ms: None,
        rule: json!({"name": "hot", "series": "*/t", "above": 30})
            .as_object()
            .unwrap()
            .clone(),
    };
    let hook = Entry {
        thing: state::Thing::Webhook,
        id: webhook.name.to_string(),
        origin: Origin::File,
        made: None,
        in_force: true,
        problem: None,
        configured: None,
        file: None,
        line: None,
    };
    let (rules, asked) = Rules::new(&mut registry);
    tokio::spawn(desk(asked));
    let parts = Parts {
        login: Login::off(),
        engine: Engine::asking(queries),
        state: state::State::open(dir.path(), &[], Clock::system(), &mut registry).unwrap(),
        history: None,
        journal,
        set_aside: crate::damage::SetAside::new(dir.path(), &mut registry),
        rejects: rejects.clone(),
        account: Account::new([], rejects.clone(), &mut registry),
        archive: watch::channel(ArchiveStatus::default()).1,
        configured: watch::channel(Configured {
            sources: Arc::new([source]),
            rules: Arc::new([rule]),
            webhooks: Arc::new([webhook]),
            made: Arc::new(Entries {
                webhooks: vec![hook],
                devices: Vec::new(),
            }),
            config: ConfigStatus::default(),
        })
        .1,
        rules,
        desks: Desks::new().0,
        links: Links::default(),
        letters: DeadLetters::new(dir.path(), Clock::system(), &mut registry),
        signer: Signer::new(&[7; KEY_BYTES]),
        heartbeats: crate::heartbeat::Heartbeats::new(&mut registry),
        disk: crate::wear::Meter::new(
            crate::wear::card::Config::default(),
            dir.path(),
            Vec::new(),
            &mut registry,
        ),
        clock,
        started: Timestamp::from_millis(NOW_MS - 90_000),
        ready: readiness,
    };
    let config = Config {
        hosts: hosts.iter().map(|host| (*host).to_owned()).collect(),
        ..Config::default()
    };
    let never = Router::new().route(
        "/never",
        axum::routing::get(async || std::future::pending::<()>().await),
    );
    let posts = Router::new().route("/post", axum::routing::post(async || "taken"));
    let address: SocketAddr = address.parse().unwrap();
    fragments.extend([never, posts]);
    House {
        router: router(&config, address, parts, fragments),
        ready,
        rejects,
        _dir: dir,
        _committed: kept,
    }
}

fn house() -> House {
    house_at("127.0.0.1:8080", &[])
}

impl House {
    async fn send(&self, request: Request<Body>) -> (StatusCode, HeaderMap, Vec<u8>) {
        let response = self.router.clone().oneshot(request).await.unwrap();
        let (head, body) = response.into_parts();
        let body = axum::body::to_bytes(body, 10 << 20).await.unwrap();
        (head.status, head.headers, body.to_vec())
    }

    async fn get(&self, path: &str) -> (StatusCode, HeaderMap, Vec<u8>) {
        self.send(Request::get(path).body(Body::empty()).unwrap())
            .await
    }

    async fn json(&self, path: &str) -> JsonValue {
        let (status, _, body) = self.get(path).await;
        assert_eq!(status, StatusCode::OK, "{path}");
        serde_json::from_slice(&body).unwrap()
    }

    /// The answer must be a problem with this status.
    async fn problem(&self, request: Request<Body>, status: u16) -> (HeaderMap, JsonValue) {
        let (got, headers, body) = self.send(request).await;
        assert_eq!(got.as_u16(), status, "{}", String::from_utf8_lossy(&body));
        assert_eq!(headers[header::CONTENT_TYPE], "application/problem+json");
        let json: JsonValue = serde_json::from_slice(&body).unwrap();
        assert_eq!(json["status"], status);
        (headers, json)
    }
}

fn get(path: &str) -> Request<Body> {
    Request::get(path).body(Body::empty()).unwrap()
}

fn with(method: &str, path: &str, headers: &[(&str, &str)]) -> Request<Body> {
    let mut request = Request::builder().method(method).uri(path);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.body(Body::empty()).unwrap()
}

#[tokio::test]
async fn the_inventory_is_listed() {
    let house = house();
    assert_eq!(
        house.json("/api/v1/devices").await["devices"][0]["id"],
        "a b"
    );
    assert_eq!(
        house.json("/api/v1/series").await,
        json!({"series": [{"id": "a b/t", "device": "a b", "metric": "t", "unit": "Cel", "kind": "number",
            "t": NOW_MS, "v": 1.5, "quality": "good", "retained": false, "too_late": 0}]})
    );
    assert_eq!(
        house.json("/api/v1/alerts").await["alerts"][0]["id"],
        "hot-1"
    );
    let rule = &house.json("/api/v1/rules").await["rules"][0];
    assert_eq!(rule["rule"]["above"], 30);
    assert_eq!(
        (&rule["file"], &rule["line"]),
        (&json!("gateway.toml"), &json!(12))
    );
    assert_eq!(house.json("/api/v1/rules/file:hot").await, *rule);
    house.problem(get("/api/v1/rules/r-0"), 404).await;
}

#[tokio::test]
async fn webhooks_are_shown_without_their_secrets() {
    let house = house();
    let (_, _, body) = house.get("/api/v1/webhooks").await;
    let text = String::from_utf8(body).unwrap();
    assert!(!text.contains("SECRET") && !text.contains("pw"), "{text}");
    assert!(text.contains("https://hooks.example.org/…"), "{text}");
    assert!(text.contains("\"kind\":\"teams\""), "{text}");
}

#[tokio::test]
async fn a_range_is_raw_when_it_fits_and_reduced_when_not() {
    let house = house();
    let raw = house.json("/api/v1/series/a%20b/t/points?from=-10s").await;
    assert_eq!(raw["bucket_ms"], JsonValue::Null);
    assert_eq!(raw["t"].as_array().unwrap().len(), 10);
    assert_eq!(
        (&raw["unit"], &raw["series"]),
        (&json!("Cel"), &json!("a b/t"))
    );
    let few = house.json("/api/v1/series/a%20b/t/points?points=20").await;
    assert!(few["bucket_ms"].as_i64().unwrap() >= 60_000);
    let counts: i64 = few["count"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(JsonValue::as_i64)
        .sum();
    assert_eq!(counts, 600);
    assert!(few["t"].as_array().unwrap().len() <= 20);
}

#[tokio::test]
async fn windows_are_told_with_their_kind() {
    let house = house();
    let answer = house
        .json("/api/v1/series/a%20b/t/windows?every=1m&over=5m")
        .await;
    let window = &answer["windows"][0];
    assert_eq!(
        (&window["every_ms"], &window["over_ms"]),
        (&json!(60_000), &json!(300_000))
    );
    assert_eq!(window["closed"], false);
}

#[tokio::test]
async fn wrong_questions_get_problem_answers() {
    let house = house();
    for (path, status) in [
        ("/api/v1/series/nobody/t/points", 404),
        ("/api/v1/series/nobody/t/windows", 404),
        ("/api/v1/series/a%20b/t/points?from=yesterday", 400),
        ("/api/v1/series/a%20b/t/points?from=now&to=-1h", 400),
        ("/api/v1/series/a%20b/t/points?points=0", 400),
        ("/api/v1/series/a%20b/t/points?points=5001", 400),
        ("/api/v1/series/%FF/t/points", 400),
        ("/api/v1/series/a%20b/t/windows?every=x", 400),
        ("/api/v1/alerts?state=old", 400),
        ("/api/v1/alerts?limit=0", 400),
        ("/api/v1/nothing", 404),
        ("/api", 404),
    ] {
        house.problem(get(path), status).await;
    }
    let (headers, _) = house
        .problem(with("DELETE", "/api/v1/devices", &[]), 405)
        .await;
    assert!(headers[header::ALLOW].to_str().unwrap().contains("GET"));
    house.problem(with("POST", "/nothing", &[]), 404).await;
}

#[tokio::test]
async fn the_status_tells_of_sources_uptime_and_the_account() {
    let house = house();
    let status = house.json("/api/v1/status").await;
    assert_eq!(status["uptime_s"], 90);
    assert_eq!(status["started"], "2027-01-15T07:58:30Z");
    assert_eq!(status["clock_trusted"], true);
    assert_eq!(status["sources"][0]["state"], json!(LinkState::Up));
    assert_eq!(status["sources"][0]["detail"], "somewhere");
    assert_eq!(status["history"], JsonValue::Null);
    assert!(status["journal"]["max_bytes"].is_u64());
    assert!(status["account"].is_array());
}

#[tokio::test]
async fn rejects_are_shown_newest_first() {
    let house = house();
    for (n, reason) in [Reason::Malformed, Reason::NotFinite]
        .into_iter()
        .enumerate()
    {
        let reject = Reject {
            reason,
            detail: String::from("x"),
            record: n,
        };
        house.rejects.record(
            &SourceName("mqtt".into()),
            "t",
            b"\xffpayload",
            Timestamp(0),
            reject,
        );
    }
    let samples = house.json("/api/v1/rejects").await;
    assert_eq!(samples["rejects"][0]["reason"], "not_finite");
    assert_eq!(samples["rejects"][1]["reason"], "malformed");
}

#[tokio::test]
async fn health_is_always_ok_and_readiness_says_why_not() {
    let house = house();
    assert_eq!(house.get("/healthz").await.2, b"ok");
    assert_eq!(house.get("/readyz").await.2, b"ready");
    house
        .ready
        .send(Readiness::NotReady(String::from("stopping")))
        .unwrap();
    let (status, _, body) = house.get("/readyz").await;
    assert_eq!(
        (status, &body[..]),
        (StatusCode::SERVICE_UNAVAILABLE, &b"stopping"[..])
    );
    assert_eq!(house.get("/healthz").await.0, StatusCode::OK);
}

#[tokio::test]
async fn the_page_is_served_for_its_own_places_and_files_are_cached_by_name() {
    let house = house();
    let (status, index, body) = house.get("/").await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(index[header::CACHE_CONTROL], "no-cache");
    assert!(
        index[header::CONTENT_TYPE]
            .to_str()
            .unwrap()
            .starts_with("text/html")
    );
    assert_eq!(house.get("/alerts").await.2, body);
    for (place, up) in [
        ("/series/boiler/temperature", "../../"),
        ("/series/pi/cpu.usage_idle", "../../"),
        ("/series/pi/cpu.usage_idle/", "../../../"),
    ] {
        let (status, _, deep) = house.get(place).await;
        let (deep, index) = (String::from_utf8(deep).unwrap(), std::str::from_utf8(&body));
        assert_eq!(status, StatusCode::OK, "{place}");
        assert!(deep.contains(&format!("src=\"{up}assets/")), "{deep}");
        assert_eq!(
            deep.replace(&format!("=\"{up}"), "=\"./"),
            index.unwrap(),
            "{place}"
        );
    }
    house.problem(get("/missing.js"), 404).await;
    let etag = index[header::ETAG].to_str().unwrap();
    let (status, _, body) = house
        .send(with(
            "GET",
            "/",
            &[("if-none-match", &format!("\"x\", W/{etag}"))],
        ))
        .await;
    assert_eq!((status, body.len()), (StatusCode::NOT_MODIFIED, 0));
    let (status, _, body) = house.send(with("HEAD", "/", &[])).await;
    assert_eq!((status, body.len()), (StatusCode::OK, 0));
}

#[tokio::test]
async fn every_answer_carries_the_security_headers() {
    let house = house();
    for path in ["/", "/api/v1/series", "/api/v1/nothing", "/healthz"] {
        let (_, headers, _) = house.get(path).await;
        let policy = headers[header::CONTENT_SECURITY_POLICY].to_str().unwrap();
        assert!(policy.starts_with("default-src 'self'") && !policy.contains("unsafe"));
        assert_eq!(headers[header::X_CONTENT_TYPE_OPTIONS], "nosniff");
        assert!(headers.contains_key(header::REFERRER_POLICY));
    }
}

#[tokio::test]
async fn on_loopback_only_loopback_names_and_configured_ones_are_answered() {
    let house = house_at("127.0.0.1:8080", &["Pi.local"]);
    for host in [
        "localhost",
        "LOCALHOST:8080",
        "127.0.0.1:1",
        "[::1]:8080",
        "[::1]",
        "pi.local:80",
    ] {
        let (status, ..) = house.send(with("GET", "/healthz", &[("host", host)])).await;
        assert_eq!(status, StatusCode::OK, "{host}");
    }
    for host in [
        "evil.example",
        "localhost.evil.example",
        "127.0.0.1.evil.example:8080",
        "10.0.0.1",
        "",
    ] {
        house
            .problem(with("GET", "/healthz", &[("host", host)]), 421)
            .await;
    }
    house
        .problem(with("GET", "http://evil.example/healthz", &[]), 421)
        .await;
    let wide = house_at("0.0.0.0:8080", &[]);
    let (status, ..) = wide
        .send(with("GET", "/healthz", &[("host", "10.0.0.1")]))
        .await;
    assert_eq!(status, StatusCode::OK);
}

#[tokio::test]
async fn a_foreign_page_cannot_post() {
    let house = house_at("127.0.0.1:8080", &["gw.example"]);
    let host = ("host", "localhost:8080");
    for (headers, status) in [
        (vec![host], 200),
        (vec![host, ("origin", "http://localhost:8080")], 200),
        (vec![host, ("sec-fetch-site", "same-origin")], 200),
        (vec![host, ("origin", "http://evil.example")], 403),
        (vec![host, ("origin", "http://localhost:9090")], 403),
        (vec![host, ("origin", "https://GW.example")], 200),
        (
            vec![host, ("origin", "https://gw.example.evil.example")],
            403,
        ),
        (vec![host, ("origin", "null")], 403),
        (vec![host, ("sec-fetch-site", "cross-site")], 403),
    ] {
        let (got, ..) = house.send(with("POST", "/post", &headers)).await;
        assert_eq!(got.as_u16(), status, "{headers:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_does_not_come_is_given_up() {
    house().problem(get("/never"), 503).await;
}

#[tokio::test]
async fn long_json_is_packed_for_those_who_ask() {
    let house = house();
    let path = "/api/v1/series/a%20b/t/points";
    let (_, headers, packed) = house
        .send(with("GET", path, &[("accept-encoding", "gzip")]))
        .await;
    assert_eq!(headers[header::CONTENT_ENCODING], "gzip");
    let (_, headers, plain) = house.get(path).await;
    assert!(!headers.contains_key(header::CONTENT_ENCODING));
    assert!(packed.len() * 3 < plain.len());
}

#[tokio::test]
async fn a_live_stream_passes_at_once_and_ends_with_the_server() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let stop = tokio_util::sync::CancellationToken::new();
    let (_updates, heard) = mpsc::channel(1);
    let (hub, _task) = crate::live::Hub::start(
        crate::live::Config::default(),
        crate::live::Past::default(),
        heard,
        Clock::manual(Timestamp(0)),
        stop.clone(),
        &mut Registry::default(),
    );
    let router = house_with(
        &address.to_string(),
        &[],
        vec![crate::live::sse::router(hub)],
    )
    .router;
    let token = stop.clone();
    let server = tokio::spawn(async move {
        serve(
            listener,
            router,
            &Config::default(),
            None,
            Metrics::default(),
            token,
        )
        .await
    });
    let mut client = tokio::net::TcpStream::connect(address).await.unwrap();
    let request = format!("GET /events HTTP/1.1\r\nHost: {address}\r\n\r\n");
    client.write_all(request.as_bytes()).await.unwrap();
    let mut text = String::new();
    let mut some = [0; 4096];
    while !text.contains("\"status\":{}}") {
        let reading = tokio::time::timeout(Duration::from_secs(10), client.read(&mut some));
        let n = reading.await.unwrap().unwrap();
        text.push_str(std::str::from_utf8(&some[..n]).unwrap());
    }
    assert!(!text.contains("content-encoding"), "{text}");
    assert!(text.contains("event: snapshot"), "{text}");
    stop.cancel();
    let mut rest = String::new();
    let reading = tokio::time::timeout(Duration::from_secs(10), client.read_to_string(&mut rest));
    reading.await.unwrap().unwrap();
    assert!(rest.contains("event: bye"), "{rest}");
    tokio::time::timeout(Duration::from_secs(2), server)
        .await
        .unwrap()
        .unwrap();
}
