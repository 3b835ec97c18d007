//! Servers that take what the gateway sends, strictly, and fail when told to.

use std::{
    collections::{HashMap, VecDeque},
    io::Read as _,
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use axum::{
    Router,
    body::Bytes,
    extract::{Query, State},
    http::{HeaderMap, StatusCode, Uri},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use flate2::read::GzDecoder;
use serde_json::Value;
use tokio::net::TcpListener;

/// An answer to give instead of taking what comes: status, headers, body.
#[derive(Clone, Debug)]
pub struct Refusal {
    /// The status.
    pub status: u16,
    /// `Retry-After`, in seconds.
    pub retry_after: Option<u64>,
    /// The body.
    pub body: &'static str,
}

impl Refusal {
    /// A status without words.
    #[must_use]
    pub const fn status(status: u16) -> Self {
        Self {
            status,
            retry_after: None,
            body: "",
        }
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = (status, self.body).into_response();
        if let Some(value) = self.retry_after.and_then(|s| s.to_string().parse().ok()) {
            response.headers_mut().insert("retry-after", value);
        }
        response
    }
}

async fn serve(router: Router) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(async move { axum::serve(listener, router).await });
    address
}

/// A webhook receiver.
#[derive(Clone, Debug)]
pub struct WebhookSink {
    /// Where it listens.
    pub address: SocketAddr,
    shared: Arc<Mutex<Hooks>>,
}

#[derive(Debug, Default)]
struct Hooks {
    refusals: VecDeque<Refusal>,
    tries: usize,
    /// What it answers 500 to, whenever a body has this text in it.
    chokes_on: Option<String>,
    accepted: Vec<(HeaderMap, Value)>,
    /// Path, query and bytes of the same.
    raw: Vec<(String, Bytes)>,
}

impl WebhookSink {
    /// Starts one.
    pub async fn start() -> Self {
        let shared = Arc::new(Mutex::new(Hooks::default()));
        let router = Router::new()
            .fallback(post(Self::take))
            .with_state(Arc::clone(&shared));
        Self {
            address: serve(router).await,
            shared,
        }
    }

    async fn take(
        State(shared): State<Arc<Mutex<Hooks>>>,
        uri: Uri,
        headers: HeaderMap,
        body: Bytes,
    ) -> Response {
        let mut hooks = shared.lock().expect("the sink");
        hooks.tries += 1;
        if let Some(refusal) = hooks.refusals.pop_front() {
            return refusal.into_response();
        }
        if let Some(text) = &hooks.chokes_on
            && String::from_utf8_lossy(&body).contains(text)
        {
            return StatusCode::INTERNAL_SERVER_ERROR.into_response();
        }
        match serde_json::from_slice(&body) {
            Ok(json) => {
                hooks.accepted.push((headers, json));
                hooks.raw.push((uri.to_string(), body));
                StatusCode::NO_CONTENT.into_response()
            }
            Err(_) => StatusCode::BAD_REQUEST.into_response(),
        }
    }

    /// Refuses the next deliveries so.
    pub fn refuse(&self, refusals: impl IntoIterator<Item = Refusal>) {
        self.shared
            .lock()
            .expect("the sink")
            .refusals
            .extend(refusals);
    }

    /// Answers 500 whenever a body has this text in it.
    pub fn choke_on(&self, text: &str) {
        self.shared.lock().expect("the sink").chokes_on = Some(text.to_owned());
    }

    /// Takes everything again, whatever was to be refused.
    pub fn relent(&self) {
        let mut hooks = self.shared.lock().expect("the sink");
        hooks.refusals.clear();
        hooks.chokes_on = None;
    }

    /// The bodies taken so far.
    #[must_use]
    pub fn accepted(&self) -> Vec<Value> {
        self.shared
            .lock()
            .expect("the sink")
            .accepted
            .iter()
            .map(|(_, body)| body.clone())
            .collect()
    }

    /// The headers of the deliveries taken so far.
    #[must_use]
    pub fn headers(&self) -> Vec<HeaderMap> {
        self.shared
            .lock()
            .expect("the sink")
            .accepted
            .iter()
            .map(|(headers, _)| headers.clone())
            .collect()
    }

    /// Path with query, and body as it came, of the deliveries taken so far.
    #[must_use]
    pub fn raw(&self) -> Vec<(String, Bytes)> {
        self.shared.lock().expect("the sink").raw.clone()
    }

    /// Tries so far, refused ones included.
    #[must_use]
    pub fn tries(&self) -> usize {
        self.shared.lock().expect("the sink").tries
    }

    /// Its address for the config.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}/hook", self.address)
    }
}

/// A webhook receiver that takes connections and requests, and never answers.
#[derive(Clone, Debug)]
pub struct HangingSink {
    address: SocketAddr,
    connections: Arc<Mutex<Vec<tokio::net::TcpStream>>>,
}

impl HangingSink {
    /// Starts one.
    ///
    /// # Panics
    ///
    /// When there is no free port.
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let sink = Self {
            address: listener.local_addr().expect("an address"),
            connections: Arc::default(),
        };
        let connections = Arc::clone(&sink.connections);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                connections.lock().expect("the sink").push(stream);
            }
        });
        sink
    }

    /// Connections that came so far.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.connections.lock().expect("the sink").len()
    }

    /// Its address for the config.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}/hook", self.address)
    }
}

/// In whose words a sink refuses points that it does not want: those with a text field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Manner {
    /// InfluxDB 2 OSS: 422, the good are stored, `dropped=N`.
    Oss2,
    /// InfluxDB 1.x: 400, the good are stored, `dropped=N` and no field.
    V1,
    /// InfluxDB Cloud: 400, the good are stored, `(N written)` and the first bad line.
    Cloud,
    /// InfluxDB 3: 400, the good are stored, the bad are numbered.
    V3,
    /// InfluxDB 3 without partial writes: 400, nothing is stored, the first bad line is numbered.
    V3Atomic,
}

impl Manner {
    /// The answer to `lines` of which those with these indices (at least one) are bad, and whether the good are stored.
    fn refuse(self, lines: &[&str], bad: &[usize]) -> (Response, bool) {
        let first = lines[bad[0]];
        let field = first
            .split(['=', ','])
            .zip(first.split(['=', ',']).skip(1))
            .find(|(_, value)| value.starts_with('"'))
            .map_or("", |(key, _)| key.rsplit(' ').next().unwrap_or(key));
        let measurement = first.split([',', ' ']).next().unwrap_or_default();
        let numbered = |i: &usize| {
            serde_json::json!({"line_number": i + 1, "original_line": lines[*i],
                "error_message": "invalid column type for column, expected float, got string"})
        };
        let (status, body) = match self {
            Self::Oss2 => (
                422,
                serde_json::json!({"code": "unprocessable entity", "message": format!(
                "failure writing points to database: partial write: field type conflict: input field \"{field}\" on measurement \"{measurement}\" is type string, already exists as type float dropped={}", bad.len())}),
            ),
            Self::V1 => (
                400,
                serde_json::json!({"error": format!("partial write: points beyond retention policy dropped={}", bad.len())}),
            ),
            Self::Cloud => (
                400,
                serde_json::json!({"code": "invalid", "message": format!(
                "partial write error ({} written): unable to parse '{first}': schema: field type for field \"{field}\" not permitted by schema", lines.len() - bad.len())}),
            ),
            Self::V3 => (
                400,
                serde_json::json!({"error": "partial write of line protocol occurred",
                "data": bad.iter().map(numbered).collect::<Vec<_>>()}),
            ),
            Self::V3Atomic => (
                400,
                serde_json::json!({"error": "line protocol parsing error", "data": numbered(&bad[0])}),
            ),
        };
        let status = StatusCode::from_u16(status).unwrap_or_default();
        (
            (status, axum::Json(body)).into_response(),
            self != Self::V3Atomic,
        )
    }
}

/// An InfluxDB that parses every line and refuses what a real one would.
#[derive(Clone, Debug)]
pub struct InfluxSink {
    /// Where it listens.
    pub address: SocketAddr,
    shared: Arc<Mutex<Lines>>,
}

#[derive(Debug, Default)]
struct Lines {
    refusals: VecDeque<Refusal>,
    requests: usize,
    lines: Vec<String>,
    faults: Vec<String>,
    buckets: Vec<String>,
    cut_answers: bool,
    outage: Option<Refusal>,
    texts: Option<Manner>,
}

impl InfluxSink {
    /// Starts one.
    pub async fn start() -> Self {
        let shared = Arc::new(Mutex::new(Lines::default()));
        let router = Router::new()
            .route("/api/v2/write", post(Self::take))
            .route(
                "/api/v2/buckets",
                get(Self::buckets).post(Self::make_bucket),
            )
            .route("/api/v2/orgs", get(Self::organisations))
            .layer(axum::extract::DefaultBodyLimit::max(64 << 20))
            .with_state(Arc::clone(&shared));
        Self {
            address: serve(router).await,
            shared,
        }
    }

    async fn take(
        State(shared): State<Arc<Mutex<Lines>>>,
        Query(query): Query<HashMap<String, String>>,
        headers: HeaderMap,
        body: Bytes,
    ) -> Response {
        let mut sink = shared.lock().expect("the sink");
        sink.requests += 1;
        if let Some(refusal) = sink.outage.clone() {
            return refusal.into_response();
        }
        if let Some(refusal) = sink.refusals.pop_front() {
            return refusal.into_response();
        }
        let mut text = String::new();
        let unzipped = headers.get("content-encoding").is_some_and(|e| e == "gzip")
            && GzDecoder::new(&body[..]).read_to_string(&mut text).is_ok();
        let mut faults = Vec::new();
        if !unzipped {
            faults.push(String::from("the body is not gzip"));
        }
        if query.get("precision").is_none_or(|p| p != "ns") || !query.contains_key("bucket") {
            faults.push(format!("the query is wrong: {query:?}"));
        }
        for line in influxdb_line_protocol::parse_lines(&text) {
            match line {
                Ok(line) if line.timestamp.is_none() => {
                    faults.push(format!("a line without a time: {line}"))
                }
                Ok(_) => {}
                Err(error) => faults.push(error.to_string()),
            }
        }
        if !faults.is_empty() {
            sink.faults.extend(faults);
            return (
                StatusCode::BAD_REQUEST,
                "{\"code\":\"invalid\",\"message\":\"unable to parse\"}",
            )
                .into_response();
        }
        let lines: Vec<&str> = text.lines().collect();
        let is_bad = |line: &str| line.contains('"');
        let bad: Vec<usize> = (0..lines.len()).filter(|i| is_bad(lines[*i])).collect();
        if let (Some(manner), false) = (sink.texts, bad.is_empty()) {
            let (answer, stored) = manner.refuse(&lines, &bad);
            if stored {
                let good = lines.into_iter().filter(|line| !is_bad(line));
                sink.lines.extend(good.map(ToOwned::to_owned));
            }
            return answer;
        }
        sink.lines.extend(lines.into_iter().map(ToOwned::to_owned));
        StatusCode::NO_CONTENT.into_response()
    }

    /// Answers every request so, until it is told otherwise.
    pub fn be_away(&self, outage: Option<Refusal>) {
        self.shared.lock().expect("the sink").outage = outage;
    }

    /// Refuses points with a text in these words; `None`: takes them.
    pub fn refuse_texts(&self, manner: Option<Manner>) {
        self.shared.lock().expect("the sink").texts = manner;
    }

    /// Answers to questions about buckets break off in the middle from now on.
    pub fn cut_answers(&self) {
        self.shared.lock().expect("the sink").cut_answers = true;
    }

    /// The buckets that were made.
    #[must_use]
    pub fn made_buckets(&self) -> Vec<String> {
        self.shared.lock().expect("the sink").buckets.clone()
    }

    async fn buckets(State(shared): State<Arc<Mutex<Lines>>>) -> Response {
        if shared.lock().expect("the sink").cut_answers {
            let halves = futures_util::stream::iter([
                Ok(Bytes::from("{\"buckets\":")),
                Err(std::io::Error::other("cut")),
            ]);
            return Response::new(axum::body::Body::from_stream(halves));
        }
        axum::Json(serde_json::json!({ "buckets": [] })).into_response()
    }

    async fn organisations() -> Response {
        axum::Json(serde_json::json!({ "orgs": [{ "id": "0123456789abcdef", "name": "o" }] }))
            .into_response()
    }

    async fn make_bucket(State(shared): State<Arc<Mutex<Lines>>>, body: Bytes) -> Response {
        let body: Value = serde_json::from_slice(&body).unwrap_or_default();
        let (Some(name), Some("0123456789abcdef")) =
            (body["name"].as_str(), body["orgID"].as_str())
        else {
            return StatusCode::UNPROCESSABLE_ENTITY.into_response();
        };
        shared
            .lock()
            .expect("the sink")
            .buckets
            .push(name.to_owned());
        (StatusCode::CREATED, axum::Json(body)).into_response()
    }

    /// Refuses the next requests so.
    pub fn refuse(&self, refusals: impl IntoIterator<Item = Refusal>) {
        self.shared
            .lock()
            .expect("the sink")
            .refusals
            .extend(refusals);
    }

    /// The lines stored so far, in their order.
    #[must_use]
    pub fn lines(&self) -> Vec<String> {
        self.shared.lock().expect("the sink").lines.clone()
    }

    /// What was wrong with what came.
    #[must_use]
    pub fn faults(&self) -> Vec<String> {
        self.shared.lock().expect("the sink").faults.clone()
    }

    /// Requests so far.
    #[must_use]
    pub fn requests(&self) -> usize {
        self.shared.lock().expect("the sink").requests
    }

    /// Its address for the config.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }
}
