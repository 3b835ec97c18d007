//! What clients of server-sent events need from `GET /events`, each looked at on the wire.

use std::{collections::BTreeSet, io::Read as _, time::Duration};

use serde_json::{Value, json};
use tests::{Events, Gateway, eventually, onslaught::raise_own_limit, within};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::Instant,
};

/// One connection, byte by byte.
struct Wire {
    stream: TcpStream,
    head: String,
    /// What came after the head and was not looked at yet.
    body: Vec<u8>,
}

impl Wire {
    /// Sends a request and reads the head of the answer.
    async fn ask(gateway: &Gateway, request: impl AsRef<[u8]>) -> Self {
        let address = gateway.url("");
        let mut stream = TcpStream::connect(address.trim_start_matches("http://"))
            .await
            .unwrap();
        stream.write_all(request.as_ref()).await.unwrap();
        let mut wire = Self {
            stream,
            head: String::new(),
            body: Vec::new(),
        };
        let end = wire.find(b"\r\n\r\n").await;
        let head: Vec<u8> = wire.body.drain(..end).collect();
        wire.head = String::from_utf8(head).unwrap().to_ascii_lowercase();
        wire
    }

    /// `GET /events` with this query and these header lines.
    async fn events(gateway: &Gateway, query: &str, lines: &str) -> Self {
        Self::ask(
            gateway,
            format!("GET /events?{query} HTTP/1.1\r\nHost: localhost\r\n{lines}\r\n"),
        )
        .await
    }

    async fn more(&mut self) -> bool {
        let mut some = vec![0; 16 << 10];
        let read = within("something comes", self.stream.read(&mut some)).await;
        let read = read.unwrap_or(0);
        self.body.extend_from_slice(&some[..read]);
        read > 0
    }

    /// Reads on until this has come; gives the place behind it.
    async fn find(&mut self, what: &[u8]) -> usize {
        let shown = String::from_utf8_lossy(what).into_owned();
        within(&shown, async {
            loop {
                if let Some(at) = self.body.windows(what.len()).position(|w| w == what) {
                    return at + what.len();
                }
                let text = String::from_utf8_lossy(&self.body).into_owned();
                assert!(self.more().await, "closed before {shown}: {text}");
            }
        })
        .await
    }

    /// All up to the end of the connection.
    async fn rest(mut self) -> Vec<u8> {
        while self.more().await {}
        self.body
    }

    fn has(&self, line: &str) -> bool {
        self.head.lines().any(|l| l == line)
    }

    fn status(&self) -> &str {
        self.head.split(' ').nth(1).unwrap_or_default()
    }
}

/// The data of a chunked body (RFC 9112, 7.1), and whether its end has come.
fn dechunked(mut body: &[u8]) -> (Vec<u8>, bool) {
    let mut data = Vec::new();
    while let Some(end) = body.windows(2).position(|w| w == b"\r\n") {
        let size = usize::from_str_radix(std::str::from_utf8(&body[..end]).unwrap(), 16).unwrap();
        let Some(chunk) = body.get(end + 2..end + 2 + size) else {
            break;
        };
        if size == 0 {
            return (data, true);
        }
        data.extend_from_slice(chunk);
        let Some(rest) = body.get(end + 4 + size..) else {
            break;
        };
        body = rest;
    }
    (data, false)
}

async fn push(gateway: &Gateway, device: &str, value: impl Into<Value>) {
    let body = json!({ "device": device, "metric": "x", "value": value.into() });
    let answer = gateway
        .post("/api/v1/readings", "application/json", body.to_string())
        .await;
    assert_eq!(answer.0, 200, "{}", answer.1);
}

/// Texts of so many devices in one message.
async fn push_texts(gateway: &Gateway, devices: usize, text: &str) {
    let readings: Vec<_> = (0..devices)
        .map(|n| json!({ "device": format!("t{n}"), "metric": "x", "value": text }))
        .collect();
    let body = Value::from(readings).to_string();
    let answer = gateway
        .post("/api/v1/readings", "application/json", body)
        .await;
    assert_eq!(answer.0, 200, "{}", answer.1);
}

/// The values of one series in a `readings` event.
fn values(event: &tests::Event, series: &str) -> Vec<i64> {
    let values = event.data["series"][series]["v"].as_array();
    values
        .into_iter()
        .flatten()
        .filter_map(Value::as_i64)
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_answer_is_an_event_stream_without_a_length_and_its_first_bytes_come_at_once() {
    // Nothing happens here for 15 s: what comes is not waiting for anything.
    let gateway = Gateway::start("[live]\nbeat = \"15s\"\n").await;
    let begun = Instant::now();
    let mut wire = Wire::events(&gateway, "", "").await;
    for line in [
        "http/1.1 200 ok",
        "content-type: text/event-stream",
        "cache-control: no-cache, no-transform",
        "x-accel-buffering: no",
        "transfer-encoding: chunked",
    ] {
        assert!(wire.has(line), "{line} is not in {}", wire.head);
    }
    assert!(!wire.head.contains("content-length"), "{}", wire.head);
    wire.find(b"event: snapshot\n").await;
    wire.find(b"\n\n").await;
    assert!(
        begun.elapsed() < Duration::from_secs(7),
        "{:?}",
        begun.elapsed()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idle_stream_says_something_at_least_every_thirty_seconds() {
    let gateway = Gateway::start("[live]\nbeat = \"15s\"\n").await;
    let mut events = Events::open(&gateway, "types=alert").await;
    assert_eq!(events.next().await.unwrap().kind, "snapshot");
    for _ in 0..2 {
        let begun = Instant::now();
        let beat = events.next().await.unwrap();
        assert_eq!((beat.kind.as_str(), beat.id), ("status", None));
        assert_eq!(beat.data["key"], "beat");
        assert!(
            begun.elapsed() < Duration::from_secs(30),
            "{:?}",
            begun.elapsed()
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_payload_with_any_line_breaks_is_one_line_of_data() {
    let gateway = Gateway::start("").await;
    let mut wire = Wire::events(&gateway, "types=readings", "").await;
    let texts = [
        "one\ntwo",
        "one\rtwo",
        "one\r\ntwo",
        "\n\n",
        "\r\n\r\ndata: x\r\rid: 7\n\n",
    ];
    for text in texts {
        push(&gateway, "a", text).await;
    }
    push(&gateway, "a", "the end").await;
    wire.find(b"the end").await;
    wire.find(b"\n\n\r\n").await;
    let (body, _) = dechunked(&wire.body);
    assert!(!body.contains(&b'\r'));
    let body = String::from_utf8(body).unwrap();
    let mut heard = Vec::new();
    for event in body.split_terminator("\n\n") {
        let data: Vec<_> = event.lines().filter(|l| l.starts_with("data:")).collect();
        assert_eq!(data.len(), 1, "{event:?}");
        for line in event.lines() {
            let (name, _) = line.split_once(": ").unwrap();
            assert!(["event", "id", "data", "retry"].contains(&name), "{line}");
        }
        let data: Value = serde_json::from_str(&data[0]["data: ".len()..]).unwrap();
        let values = data["series"]["a/x"]["v"].as_array().cloned();
        heard.extend(values.into_iter().flatten());
    }
    assert_eq!(heard[..texts.len()], texts);
}

#[tokio::test(flavor = "multi_thread")]
async fn ids_are_short_and_printable_and_the_wait_is_digits_only() {
    let gateway = Gateway::start("").await;
    let mut wire = Wire::events(&gateway, "", "").await;
    for n in 0..5 {
        push(&gateway, "a", n).await;
        gateway.value("a/x", |v| v == n).await;
    }
    push(&gateway, "a", "the end").await;
    wire.find(b"the end").await;
    wire.find(b"\n\n\r\n").await;
    let (body, _) = dechunked(&wire.body);
    let body = String::from_utf8(body).unwrap();
    let field = |name: &str| -> Vec<String> {
        let lines = body.lines().filter_map(|l| l.strip_prefix(name));
        lines.map(str::to_owned).collect()
    };
    let ids = field("id: ");
    assert!(ids.len() >= 3, "{ids:?}");
    assert_eq!(
        ids.iter().collect::<BTreeSet<_>>().len(),
        ids.len(),
        "{ids:?}"
    );
    for id in ids {
        assert!(
            id.len() <= 96 && id.bytes().all(|b| b.is_ascii_graphic()),
            "{id}"
        );
    }
    let waits = field("retry: ");
    assert_eq!(waits.len(), 1, "{waits:?}");
    assert!(waits[0].bytes().all(|b| b.is_ascii_digit()), "{waits:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn any_last_event_id_ends_neither_in_an_error_nor_in_silence() {
    let gateway = Gateway::start("").await;
    push(&gateway, "a", 1).await;
    let huge = "9".repeat(60 << 10);
    let ids: [&[u8]; 10] = [
        b"",
        b" ",
        b"0",
        b"-1",
        b"000000000abc-1.2.0.3.4.5",
        b"000000000abc-99999999999999999999999.0.0.0.0.0",
        huge.as_bytes(),
        "é-日本語-🌡".as_bytes(),
        b"\xff\xfe\x80-\xc3\x28",
        b"tab\there",
    ];
    for id in ids {
        let request = [
            b"GET /events HTTP/1.1\r\nHost: localhost\r\nLast-Event-ID: ",
            id,
            b"\r\n\r\n",
        ];
        let mut wire = Wire::ask(&gateway, request.concat()).await;
        let shown = String::from_utf8_lossy(&id[..id.len().min(40)]);
        assert_eq!(wire.status(), "200", "{shown}");
        wire.find(b"event: snapshot\n").await;
    }
    for id in ["%00", "1%002", "%ff%fe", "%0d%0aevent:%20x", "%", &huge] {
        let mut wire = Wire::events(&gateway, &format!("last_event_id={id}"), "").await;
        assert_eq!(wire.status(), "200", "{}", &id[..id.len().min(40)]);
        wire.find(b"event: snapshot\n").await;
    }
    // That is no header at all (RFC 9110, 5.5), and said so.
    let request = b"GET /events HTTP/1.1\r\nHost: localhost\r\nLast-Event-ID: 1\x002\r\n\r\n";
    assert_eq!(Wire::ask(&gateway, request).await.status(), "400");
}

#[tokio::test(flavor = "multi_thread")]
async fn after_an_id_comes_everything_after_it_in_order_and_nothing_twice() {
    let gateway = Gateway::start("").await;
    let url = gateway.url("/events");
    let mut events = Events::open(&gateway, "").await;
    let mut heard = Vec::new();
    for n in 0..60 {
        push(&gateway, "a", n).await;
        if n % 7 != 0 {
            continue;
        }
        // Breaks off after any event, also after one with several values, and comes back with its id.
        while heard.last().is_none_or(|last| *last < n - 3) {
            let event = events.next().await.unwrap();
            heard.extend(values(&event, "a/x"));
        }
        let id = events.last_id.clone().unwrap();
        events = Events::try_open(&url, Some(&id)).await.unwrap();
        let first = events.next().await.unwrap();
        assert_eq!(first.kind, "resume");
        assert_eq!(first.id, Some(id));
    }
    while heard.last() != Some(&59) {
        let event = events.next().await.unwrap();
        heard.extend(values(&event, "a/x"));
    }
    assert_eq!(heard, (0..60).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_gone_is_said_to_be_gone() {
    let gateway = Gateway::start("[live]\nreplay = \"64 KiB\"\n").await;
    let mut events = Events::open(&gateway, "").await;
    events.next().await.unwrap();
    let id = events.last_id.clone().unwrap();
    drop(events);
    let text = "x".repeat(200);
    for n in 0..20 {
        push_texts(&gateway, 50, &format!("{n} {text}")).await;
    }
    gateway
        .value("t0/x", |v| v.as_str().is_some_and(|v| v.starts_with("19 ")))
        .await;
    eventually("the oldest is no longer there", || async {
        let mut events = Events::try_open(&gateway.url("/events"), Some(&id))
            .await
            .unwrap();
        (events.next().await.unwrap().kind == "snapshot").then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_client_too_many_is_accepted_told_when_to_come_back_and_closed() {
    let gateway = Gateway::start("[live]\nmax_clients = 1\n").await;
    let mut first = Events::open(&gateway, "").await;
    first.next().await.unwrap();
    let wire = Wire::events(&gateway, "", "Connection: close\r\n").await;
    assert_eq!(wire.status(), "200");
    assert!(wire.has("content-type: text/event-stream"));
    let body = String::from_utf8(wire.rest().await).unwrap();
    let wait = body.strip_prefix("retry: ").unwrap();
    let (wait, rest) = wait.split_once('\n').unwrap();
    assert!(wait.parse::<u64>().unwrap() >= 5000);
    assert_eq!(
        rest,
        format!("event: bye\ndata: {{\"retry_ms\":{wait}}}\n\n")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn switched_off_it_tells_every_client_to_stop_for_good() {
    let mut gateway = Gateway::start("").await;
    let mut events = Events::open(&gateway, "").await;
    events.next().await.unwrap();
    gateway.reload("[live]\nenabled = false\n").await;
    events.find("the end", |event| event.kind == "bye").await;
    assert_eq!(events.next().await, None);
    let wire = Wire::events(&gateway, "", "").await;
    assert_eq!(wire.status(), "204");
    gateway.reload("").await;
    let mut events = Events::open(&gateway, "").await;
    assert_eq!(events.next().await.unwrap().kind, "snapshot");
}

#[tokio::test(flavor = "multi_thread")]
async fn head_and_other_methods_start_no_stream_and_a_bad_filter_is_a_problem() {
    let gateway = Gateway::start("").await;
    let ask = async |method: &str, query: &str| {
        let line = format!("{method} /events?{query} HTTP/1.1\r\nHost: localhost\r\n");
        let request = format!("{line}Connection: close\r\nContent-Length: 0\r\n\r\n");
        Wire::ask(&gateway, request).await
    };
    let head = ask("HEAD", "").await;
    assert_eq!(head.status(), "200");
    assert!(head.has("content-type: text/event-stream"));
    assert!(head.rest().await.is_empty());
    for method in ["POST", "PUT", "DELETE", "PATCH"] {
        let refused = ask(method, "").await;
        assert_eq!(refused.status(), "405", "{method}");
        assert!(refused.has("allow: get,head"), "{}", refused.head);
        refused.rest().await;
    }
    for query in [
        "types=reading",
        "labels=site",
        "labels=:x",
        "series=a/b&types=,alarm",
    ] {
        let refused = ask("GET", query).await;
        assert_eq!(refused.status(), "400", "{query}");
        assert!(refused.has("content-type: application/problem+json"));
        let body: Value = serde_json::from_slice(&refused.rest().await).unwrap();
        assert_eq!(body["status"], 400);
        assert!(!body["detail"].as_str().unwrap().is_empty());
    }
    assert_eq!(gateway.metric("gateway_live_clients").await as i64, 0);
    assert_eq!(
        gateway.metric("gateway_live_snapshots_total").await as i64,
        0
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_http_1_0_client_gets_no_chunks_and_the_end_is_the_end_of_the_connection() {
    let gateway = Gateway::start("").await;
    let mut wire = Wire::ask(&gateway, "GET /events HTTP/1.0\r\n\r\n").await;
    assert_eq!(wire.status(), "200");
    assert!(!wire.head.contains("chunked") && !wire.head.contains("content-length"));
    wire.find(b"event: snapshot\n").await;
    assert!(
        wire.body.starts_with(b"retry: "),
        "a chunk begins with its size"
    );
    push(&gateway, "a", 7).await;
    wire.find(b"\"v\":[7]").await;
    gateway.signal(rustix::process::Signal::TERM);
    let body = String::from_utf8(wire.rest().await).unwrap();
    assert!(body.ends_with("\n\n"), "{body}");
    assert_eq!(body.matches("event: bye\n").count(), 1);
    assert!(
        body.split_terminator("\n\n")
            .all(|event| event.contains("event: ")),
        "{body}"
    );
    gateway.stop_waiting().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn gzip_comes_only_when_asked_for_whole_at_every_event_and_compressed_once_for_all() {
    let gateway = Gateway::start("").await;
    for n in 0..50 {
        push(&gateway, &format!("device-{n}"), n).await;
    }
    gateway.value("device-49/x", |v| v == 49).await;
    for lines in [
        "",
        "Accept-Encoding: br, deflate\r\n",
        "Accept-Encoding: gzip;q=0, *\r\n",
    ] {
        let mut plain = Wire::events(&gateway, "", lines).await;
        assert!(!plain.head.contains("content-encoding"), "{lines}");
        assert!(plain.has("vary: accept-encoding"), "{}", plain.head);
        plain.find(b"event: snapshot\n").await;
    }
    let lines = "Accept-Encoding: gzip, deflate, br\r\n";
    let mut zipped = Vec::new();
    for _ in 0..8 {
        let wire = Wire::events(&gateway, "series=a", lines).await;
        assert!(wire.has("content-encoding: gzip"), "{}", wire.head);
        zipped.push(wire);
    }
    // Each event can be read when it has come, with nothing behind it.
    let mut reader = zipped.pop().unwrap();
    let mut plain = Vec::new();
    let mut text = async |wanted: &str, reader: &mut Wire| loop {
        let (body, _) = dechunked(&reader.body);
        plain.clear();
        // It fails for want of an end, after all that has come.
        let end = flate2::read::GzDecoder::new(&body[..]).read_to_end(&mut plain);
        assert!(end.is_err(), "the stream goes on");
        let text = String::from_utf8(plain.clone()).unwrap();
        if text.contains(wanted) {
            assert!(text.ends_with("\n\n"), "{text}");
            return;
        }
        assert!(reader.more().await, "closed before {wanted}");
    };
    text("event: snapshot\n", &mut reader).await;
    let made = gateway.metric("gateway_live_frames_zipped_total").await;
    let long = "long enough to be worth it ".repeat(8);
    for n in 0..5 {
        push(&gateway, "a", format!("{n}: {long}")).await;
        text(&format!("{n}: {long}"), &mut reader).await;
    }
    for wire in &mut zipped {
        text(&format!("4: {long}"), wire).await;
    }
    // The first readings of a device bring an event about it, too.
    let made = gateway.metric("gateway_live_frames_zipped_total").await - made;
    assert!(
        (5.0..=8.0).contains(&made),
        "{made} pieces compressed for 8 listeners"
    );
    gateway.signal(rustix::process::Signal::TERM);
    let body = reader.rest().await;
    let (body, ended) = dechunked(&body);
    assert!(ended);
    let mut whole = String::new();
    flate2::read::GzDecoder::new(&body[..])
        .read_to_string(&mut whole)
        .expect("a whole gzip file, its checksum included");
    assert!(whole.contains("event: bye\n"));
    gateway.stop_waiting().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_of_another_origin_may_ask_only_if_the_config_says_so() {
    let preflight = |origin: &str| {
        format!(
            "OPTIONS /api/v1/rules/r-1 HTTP/1.1\r\nHost: localhost\r\nOrigin: {origin}\r\nAccess-Control-Request-Method: PUT\r\n\
             Access-Control-Request-Headers: authorization,content-type,if-match,last-event-id\r\n\r\n"
        )
    };
    let (ours, other) = ("https://dash.example.org", "https://evil.example.org");
    let gateway = Gateway::start("").await;
    for request in [
        preflight(ours),
        format!("GET /events HTTP/1.1\r\nHost: localhost\r\nOrigin: {ours}\r\n\r\n"),
    ] {
        let wire = Wire::ask(&gateway, request).await;
        assert!(!wire.head.contains("access-control-") && !wire.has("vary: origin"));
    }
    drop(gateway);

    let gateway = Gateway::start(&format!("[http]\nallowed_origins = [\"{ours}/\"]\n")).await;
    let allowed = format!("access-control-allow-origin: {ours}");
    let wire = Wire::ask(&gateway, preflight(ours)).await;
    assert_eq!(wire.status(), "204");
    for line in [
        allowed.as_str(),
        "access-control-allow-methods: get, head, post, put, patch, delete",
        "access-control-allow-headers: authorization, content-type, if-match, last-event-id",
        "access-control-allow-credentials: true",
        "vary: origin",
    ] {
        assert!(wire.has(line), "{line} is not in {}", wire.head);
    }
    let wire = Wire::ask(&gateway, preflight(other)).await;
    assert!(!wire.head.contains("access-control-"), "{}", wire.head);
    assert!(wire.has("vary: origin"));

    let origin = format!("Origin: {ours}\r\n");
    let mut wire = Wire::events(&gateway, "", &format!("{origin}Last-Event-ID: 0\r\n")).await;
    assert_eq!(wire.status(), "200");
    assert!(
        wire.has(&allowed) && wire.has("vary: origin"),
        "{}",
        wire.head
    );
    assert!(wire.has("access-control-expose-headers: etag, location, retry-after"));
    wire.find(b"event: snapshot\n").await;
    for (lines, answered) in [
        ("", false),
        ("Origin: null\r\n", false),
        (origin.as_str(), true),
    ] {
        let wire = Wire::events(&gateway, "", lines).await;
        assert_eq!(wire.has(&allowed), answered, "{lines}");
        assert!(wire.has("vary: origin"), "a cache must not mix them up");
    }

    let post = async |origin: &str| {
        let body = json!({ "device": "a", "metric": "x", "value": 1 }).to_string();
        let client = reqwest::Client::new();
        let request = client
            .post(gateway.url("/api/v1/readings"))
            .header("origin", origin);
        let request = request
            .header("content-type", "application/json")
            .body(body);
        request.send().await.unwrap()
    };
    assert_eq!(post(other).await.status(), 403);
    let answer = post(ours).await;
    assert_eq!(answer.status(), 200);
    assert_eq!(answer.headers()["access-control-allow-origin"], ours);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_filter_by_labels_lets_devices_through_as_they_are_labelled_now() {
    let config = |room: &str| {
        format!(
            "site = \"farm\"\n[[device]]\nid = \"a\"\nsite = \"attic\"\nlabels = {{ room = \"{room}\" }}\n\
             [[device]]\nid = \"b\"\nlabels = {{ room = \"north\" }}\n"
        )
    };
    let mut gateway = Gateway::start(&config("north")).await;
    for device in ["a", "b", "c"] {
        push(&gateway, device, 1).await;
    }
    gateway.value("c/x", |v| v == 1).await;
    let series = |event: &tests::Event| -> Vec<String> {
        let ids = event.data["series"].as_array().unwrap().iter();
        ids.map(|s| s["id"].as_str().unwrap().to_owned()).collect()
    };
    for (query, wanted) in [
        ("labels=site:attic", &["a/x"][..]),
        ("labels=site:farm", &["b/x", "c/x"]),
        ("labels=room:north", &["a/x", "b/x"]),
        ("labels=room:north,site:f*", &["b/x"]),
        ("labels=room:north&labels=site:attic&series=b", &[]),
    ] {
        let mut events = Events::open(&gateway, query).await;
        let mut heard = series(&events.next().await.unwrap());
        heard.sort();
        assert_eq!(heard, wanted, "{query}");
    }
    let mut events = Events::open(&gateway, "labels=room:north,site:attic").await;
    events.next().await.unwrap();
    for (device, value) in [("b", 2), ("c", 2), ("a", 2)] {
        push(&gateway, device, value).await;
    }
    let event = events
        .find("readings", |event| event.kind == "readings")
        .await;
    let heard = event.data["series"].as_object().unwrap().keys();
    assert_eq!(heard.collect::<Vec<_>>(), ["a/x"]);

    // A kill in between: what was missed is found by labels, too.
    let id = events.last_id.clone().unwrap();
    drop(events);
    push(&gateway, "b", 3).await;
    push(&gateway, "a", 3).await;
    gateway = gateway.kill().await.start().await;
    let url = gateway.url("/events?labels=room:north,site:attic");
    let mut events = Events::try_open(&url, Some(&id)).await.unwrap();
    assert_eq!(events.next().await.unwrap().kind, "resume");
    let event = events
        .find("what was missed", |event| event.kind == "readings")
        .await;
    assert_eq!(
        event.data["series"],
        json!({"a/x": event.data["series"]["a/x"]})
    );
    assert_eq!(values(&event, "a/x"), [3]);

    gateway.reload(&config("south")).await;
    let event = events
        .find("that it is elsewhere", |event| event.kind == "device")
        .await;
    assert_eq!(
        (&event.data["id"], &event.data["labels"]["room"]),
        (&json!("a"), &json!("south"))
    );
    push(&gateway, "a", 4).await;
    gateway.value("a/x", |v| v == 4).await;
    gateway.reload(&config("north")).await;
    let event = events
        .find("that it is back", |event| event.kind != "status")
        .await;
    assert_eq!(
        (event.kind.as_str(), series(&event)),
        ("device", vec!["a/x".to_owned()])
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_many_want_alike_is_cut_out_once() {
    let gateway = Gateway::start("").await;
    push(&gateway, "a", 0).await;
    push(&gateway, "b", 0).await;
    gateway.value("b/x", |v| v == 0).await;
    let mut listeners = Vec::new();
    for n in 0..30 {
        // Three filters, each written in more than one way.
        let query = [
            "series=a/x",
            "series=a/x,a/x",
            "series=b,a/x",
            "series=a/x&series=b/*",
            "",
            "types=readings",
        ][n % 6];
        let mut events = Events::open(&gateway, query).await;
        events.next().await.unwrap();
        listeners.push((query, events));
    }
    let cut = gateway.metric("gateway_live_frames_cut_total").await;
    let said = gateway.metric("gateway_live_events_total").await;
    for n in 1..=5 {
        // Two in one message: both are in one event.
        let both = json!([{ "device": "a", "metric": "x", "value": n }, { "device": "b", "metric": "x", "value": n }]);
        let answer = gateway
            .post("/api/v1/readings", "application/json", both.to_string())
            .await;
        assert_eq!(answer.0, 200, "{}", answer.1);
    }
    for (query, events) in &mut listeners {
        let mut last = 0;
        while last < 5 {
            let event = events.find(query, |event| event.kind == "readings").await;
            let Some(newest) = values(&event, "a/x").last().copied() else {
                // The value of `b` from before.
                continue;
            };
            last = newest;
            if last == 0 {
                continue;
            }
            assert_eq!(
                event.data["series"].get("b/x").is_some(),
                !query.starts_with("series=a/x") || query.contains('b'),
                "{query}"
            );
        }
    }
    let said = gateway.metric("gateway_live_events_total").await - said;
    let cut = gateway.metric("gateway_live_frames_cut_total").await - cut;
    assert!(
        said >= 1.0 && cut <= 2.0 * said,
        "{cut} cuts for {said} events and two filters that leave something out"
    );
    assert!(cut >= 1.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_fifty_at_once_those_that_stall_or_vanish_hold_up_nobody() {
    let gateway = Gateway::start("").await;
    push(&gateway, "a", 0).await;
    gateway.value("a/x", |v| v == 0).await;
    let mut opening = tokio::task::JoinSet::new();
    for _ in 0..50 {
        let url = gateway.url("/events");
        opening.spawn(async move {
            let mut events = Events::try_open(&url, None).await.expect("an answer");
            assert_eq!(events.next().await.unwrap().kind, "snapshot");
            events
        });
    }
    let mut readers = within("all fifty are answered", opening.join_all()).await;
    let stalled = readers.split_off(30);
    // Half of the others go without a word.
    drop(readers.split_off(15));
    let text = "y".repeat(240);
    for n in 1..=150 {
        push_texts(&gateway, 80, &format!("{n} {text}")).await;
        push(&gateway, "a", n).await;
    }
    for events in &mut readers {
        events
            .find("the newest value", |event| {
                values(event, "a/x").contains(&150)
            })
            .await;
    }
    eventually("who vanished is let go", || async {
        (gateway.metric("gateway_live_clients").await as i64 == 35).then_some(())
    })
    .await;
    drop((stalled, readers));
    eventually("all are let go", || async {
        (gateway.metric("gateway_live_clients").await as i64 == 0).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idle_client_costs_at_most_fifteen_kilobytes() {
    const CLIENTS: u64 = 800;
    if raise_own_limit() < 8_000 {
        println!("skipped: the system allows few open files");
        return;
    }
    for lines in ["", "Accept-Encoding: gzip\r\n"] {
        let gateway = Gateway::start("[live]\nmax_clients = 2000\n").await;
        for n in 0..20 {
            push(&gateway, &format!("d{n}"), n).await;
        }
        gateway.value("d19/x", |v| v == 19).await;
        let open = async |count: u64| {
            let mut held = Vec::new();
            for _ in 0..count {
                let mut wire = Wire::events(&gateway, "", lines).await;
                if wire.body.is_empty() {
                    wire.more().await;
                }
                wire.body = Vec::new();
                held.push(wire);
            }
            held
        };
        let warm = open(200).await;
        drop(warm);
        eventually("the first are gone", || async {
            (gateway.metric("gateway_live_clients").await as i64 == 0).then_some(())
        })
        .await;
        let before = gateway.memory("VmRSS");
        let _held = open(CLIENTS).await;
        let each = gateway.memory("VmRSS").saturating_sub(before) / CLIENTS;
        println!("{each} bytes for each of {CLIENTS} idle clients ({lines:?})");
        assert!(each <= 15_000, "{each} bytes for each of {CLIENTS} clients");
    }
}
