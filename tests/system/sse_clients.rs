//! The clients of server-sent events that people use, against the real gateway: each is cut off twice in the middle, and
//! hears everything once and in order. `tests/clients` says which they are; the browser's own is in `dashboard/e2e/sse.spec.ts`.

use std::{
    path::{Path, PathBuf},
    process::Stdio,
};

use serde_json::{Value, json};
use tests::{Door, Gateway, Way, eventually, installed, repository, within};
use tokio::{
    io::{AsyncBufReadExt as _, BufReader, Lines},
    process::{Child, ChildStdout, Command},
};

const VALUES: i64 = 30;
/// The connection is cut after so many; some are pushed before the client can be back.
const CUTS: [i64; 2] = [10, 20];

fn clients() -> PathBuf {
    repository().join("tests/clients")
}

/// A program with its package; `None`, and a line that says so, where `tests/run` could not install it.
fn script(program: &Path, name: &str, package: &Path) -> Option<Command> {
    if !program.exists() || !package.exists() {
        println!(
            "skipped: {} is not installed (tests/run installs it where it may)",
            package.display()
        );
        return None;
    }
    let mut command = Command::new(program);
    command.arg(clients().join(name));
    Some(command)
}

fn node(name: &str, package: &str) -> Option<Command> {
    let package = clients().join("node_modules").join(package);
    script(&installed("node")?, name, &package)
}

fn python(name: &str, package: &str) -> Option<Command> {
    let venv = repository().join("target/stream-clients");
    let folders = std::fs::read_dir(venv.join("lib")).ok();
    let lib = folders.and_then(|mut folders| Some(folders.next()?.ok()?.path()));
    let package = lib.unwrap_or_default().join("site-packages").join(package);
    script(&venv.join("bin/python"), name, &package)
}

struct Heard {
    lines: Lines<BufReader<ChildStdout>>,
    _child: Child,
    values: Vec<i64>,
    greetings: Vec<String>,
    /// Those who say events as they stand on the wire say their fields one by one.
    event: String,
    id: Option<String>,
}

impl Heard {
    fn begin(mut command: Command) -> Self {
        let child = command.stdout(Stdio::piped()).kill_on_drop(true).spawn();
        let mut child = child.expect("it can be started");
        let out = child.stdout.take().expect("its output");
        Self {
            lines: BufReader::new(out).lines(),
            _child: child,
            values: Vec::new(),
            greetings: Vec::new(),
            event: String::new(),
            id: None,
        }
    }

    fn note(&mut self, event: &str, data: &Value) {
        if event == "readings" {
            let values = data["series"]["a/x"]["v"].as_array();
            self.values
                .extend(values.into_iter().flatten().filter_map(Value::as_i64));
        } else if ["snapshot", "resume", "gap"].contains(&event) {
            self.greetings.push(event.to_owned());
        }
    }

    /// One line of output; `false` at its end.
    async fn line(&mut self) -> bool {
        let line = within("the client says something", self.lines.next_line()).await;
        let Some(line) = line.expect("text") else {
            return false;
        };
        if let Ok(Value::Object(said)) = serde_json::from_str(&line) {
            let event = said["event"].as_str().unwrap_or_default().to_owned();
            self.note(&event, &said["data"]);
        } else if let Some(event) = line.strip_prefix("event: ") {
            event.clone_into(&mut self.event);
        } else if let Some(id) = line.strip_prefix("id: ") {
            self.id = Some(id.to_owned());
        } else if let Some(data) = line.strip_prefix("data: ") {
            let (event, data) = (self.event.clone(), serde_json::from_str(data));
            self.note(&event, &data.expect("JSON"));
        }
        true
    }

    async fn until(&mut self, value: i64) {
        within(&format!("the value {value}"), async {
            while self.values.last() != Some(&value) {
                assert!(self.line().await, "the client ended: {:?}", self.values);
            }
        })
        .await;
    }
}

async fn push(gateway: &Gateway, value: i64) {
    let body = json!({ "device": "a", "metric": "x", "value": value }).to_string();
    let answer = gateway
        .post("/api/v1/readings", "application/json", body)
        .await;
    assert_eq!(answer.0, 200, "{}", answer.1);
}

/// A gateway and a door to it. Clients hear of the series `a/x` alone.
async fn house() -> (Gateway, Door, String) {
    let gateway = Gateway::start("").await;
    let behind = gateway.url("");
    let behind = behind.trim_start_matches("http://").parse().unwrap();
    let door = Door::open(behind).await;
    let url = format!("{}/events?series=a/x&types=readings", door.url());
    (gateway, door, url)
}

/// A client that comes back by itself.
async fn comes_back(command: Option<Command>) {
    let Some(mut command) = command else { return };
    let (gateway, door, url) = house().await;
    command.arg(&url);
    let mut heard = Heard::begin(command);
    eventually("it listens", || async {
        (gateway.metric("gateway_live_clients").await as i64 == 1).then_some(())
    })
    .await;
    for value in 1..=VALUES {
        push(&gateway, value).await;
        if CUTS.contains(&value) {
            heard.until(value).await;
            door.stand(Way::Refused).await;
        } else if CUTS.contains(&(value - 3)) {
            door.stand(Way::Open).await;
        }
    }
    heard.until(VALUES).await;
    assert_eq!(heard.values, (1..=VALUES).collect::<Vec<_>>());
    assert_eq!(heard.greetings, ["snapshot", "resume", "resume"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn eventsource_of_npm() {
    comes_back(node("eventsource.mjs", "eventsource")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn fetch_event_source_of_npm() {
    comes_back(node(
        "fetch-event-source.mjs",
        "@microsoft/fetch-event-source",
    ))
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sseclient_py_of_pypi() {
    comes_back(python("with_requests.py", "sseclient")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn httpx_sse_of_pypi() {
    comes_back(python("with_httpx.py", "httpx_sse")).await;
}

/// curl says what comes and ends with the connection; whoever calls it comes back with the last id.
async fn curl(arguments: &[&str]) {
    let Some(program) = installed("curl") else {
        return;
    };
    let (gateway, door, url) = house().await;
    let call = |id: Option<&str>| {
        let mut command = Command::new(&program);
        command.args(["--silent", "--no-buffer", "--max-time", "120"]);
        command.args(arguments);
        if let Some(id) = id {
            command.args(["--header", &format!("Last-Event-ID: {id}")]);
        }
        command.arg(&url);
        Heard::begin(command)
    };
    let mut heard = call(None);
    while heard.greetings.is_empty() {
        assert!(heard.line().await, "curl ended");
    }
    let (mut values, mut greetings) = (Vec::new(), Vec::new());
    for value in 1..=VALUES {
        push(&gateway, value).await;
        if !CUTS.contains(&value) {
            continue;
        }
        heard.until(value).await;
        door.stand(Way::Refused).await;
        while heard.line().await {}
        door.stand(Way::Open).await;
        let again = call(heard.id.as_deref());
        let before = std::mem::replace(&mut heard, again);
        values.extend(before.values);
        greetings.extend(before.greetings);
    }
    heard.until(VALUES).await;
    values.extend(heard.values);
    greetings.extend(heard.greetings);
    assert_eq!(values, (1..=VALUES).collect::<Vec<_>>());
    assert_eq!(greetings, ["snapshot", "resume", "resume"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn curl_plain() {
    curl(&[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn curl_with_a_compressed_stream() {
    curl(&["--compressed"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn curl_over_http_1_0() {
    curl(&["--http1.0"]).await;
}
