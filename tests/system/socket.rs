//! The live events over WebSocket, and commands: the same events and ids as over SSE, the same rules as over REST.

use std::time::Duration;

use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use tests::{Events, Gateway, eventually, within};
use tokio_tungstenite::{
    MaybeTlsStream, WebSocketStream, connect_async,
    tungstenite::{
        self, Message, client::IntoClientRequest as _, protocol::frame::coding::CloseCode,
    },
};

type Stream = WebSocketStream<MaybeTlsStream<tokio::net::TcpStream>>;

/// An open socket and what it said that nobody asked for yet.
struct Socket {
    stream: Stream,
    said: Vec<Value>,
}

fn address(gateway: &Gateway, query: &str) -> String {
    gateway
        .url(&format!("/socket?{query}"))
        .replacen("http", "ws", 1)
}

impl Socket {
    /// One for whom the system keeps as little as it can.
    async fn narrow(gateway: &Gateway) -> Self {
        let address = address(gateway, "");
        let host = gateway.url("").replacen("http://", "", 1);
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(4_096).unwrap();
        let host = host.trim_end_matches('/').parse().unwrap();
        let stream = MaybeTlsStream::Plain(socket.connect(host).await.unwrap());
        let (stream, _) = tokio_tungstenite::client_async(address, stream)
            .await
            .unwrap();
        let said = Vec::new();
        Self { stream, said }
    }

    async fn open(gateway: &Gateway, query: &str) -> Self {
        let (stream, _) = connect_async(address(gateway, query)).await.unwrap();
        let said = Vec::new();
        Self { stream, said }
    }

    /// The next text, as JSON; `None` at the end, with its code.
    async fn next(&mut self) -> Result<Value, Option<CloseCode>> {
        loop {
            match within("a message", self.stream.next()).await {
                Some(Ok(Message::Text(text))) => return Ok(serde_json::from_str(&text).unwrap()),
                Some(Ok(Message::Close(close))) => return Err(close.map(|close| close.code)),
                Some(Ok(_)) => {}
                Some(Err(_)) | None => return Err(None),
            }
        }
    }

    async fn find(&mut self, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        if let Some(at) = self.said.iter().position(&wanted) {
            return self.said.remove(at);
        }
        let find = async {
            loop {
                let said = self.next().await.unwrap();
                if wanted(&said) {
                    return said;
                }
                self.said.push(said);
            }
        };
        within(what, find).await
    }

    async fn send(&mut self, message: Value) {
        let text = Message::text(message.to_string());
        self.stream.send(text).await.unwrap();
    }

    async fn ask(&mut self, message: Value) -> Value {
        let id = message["id"].clone();
        self.send(message).await;
        self.find("the answer", |said| said.get("answer") == Some(&id))
            .await
    }
}

async fn push(gateway: &Gateway, values: impl IntoIterator<Item = f64>) {
    for value in values {
        let body = json!({"device": "boiler", "metric": "temperature", "value": value});
        let pushed = gateway.post("/api/v1/readings", "application/json", body.to_string());
        let (status, answer) = pushed.await;
        assert_eq!(status, 200, "{answer}");
    }
}

const HOT: &str = "[[rule]]\nname = \"hot\"\nseries = \"*/temperature\"\nabove = 80\n";

#[tokio::test(flavor = "multi_thread")]
async fn a_socket_says_what_sse_says_and_resumes_after_a_kill_with_nothing_twice_or_lost() {
    let gateway = Gateway::start("").await;
    let types = "types=readings";
    let mut events = Events::open(&gateway, types).await;
    let mut socket = Socket::open(&gateway, types).await;
    let first = socket.next().await.unwrap();
    assert_eq!(first["event"], "snapshot");
    events.find("the snapshot", |e| e.kind == "snapshot").await;
    push(&gateway, [1.0, 2.0]).await;
    let mut last = String::new();
    for value in [1.0, 2.0] {
        let is_it = |data: &Value| data["series"]["boiler/temperature"]["v"] == json!([value]);
        let said = socket.find("a reading", |s| is_it(&s["data"])).await;
        let heard = events.find("a reading", |e| is_it(&e.data)).await;
        assert_eq!(said["data"], heard.data);
        assert_eq!(said["id"].as_str(), heard.id.as_deref());
        last = heard.id.unwrap();
    }
    drop(socket);
    push(&gateway, [3.0]).await;
    let gateway = gateway.kill().await.start().await;
    let mut socket = Socket::open(&gateway, &format!("{types}&last_event_id={last}")).await;
    let first = socket.next().await.unwrap();
    assert_eq!(
        (&first["event"], &first["data"]["missed"]),
        (&json!("resume"), &json!(1))
    );
    push(&gateway, [4.0]).await;
    let mut heard = Vec::new();
    while heard.len() < 2 {
        let said = socket.next().await.unwrap();
        if said["event"] == "readings" {
            heard.push(said["data"]["series"]["boiler/temperature"]["v"][0].clone());
        }
    }
    assert_eq!(heard, [3.0, 4.0]);

    // The gateway says goodbye, in both words.
    let (_, stopped) = gateway.stop().await;
    let bye = socket.find("the bye", |s| s["event"] == "bye").await;
    assert!(bye["data"]["retry_ms"].is_u64());
    assert_eq!(socket.next().await, Err(Some(CloseCode::Away)));
    drop(stopped);
}

#[tokio::test(flavor = "multi_thread")]
async fn commands_do_what_rest_does_with_its_answers_and_refusals() {
    let gateway = Gateway::start(HOT).await;
    let mut socket = Socket::open(&gateway, "").await;
    push(&gateway, [90.0]).await;
    let alert = socket
        .find("the alert", |s| {
            s["event"] == "alert" && s["data"]["state"] == "firing"
        })
        .await;
    let target = alert["data"]["id"].clone();
    let body = json!({"by": "Ada"});
    let ask = json!({"command": "acknowledge", "id": 1, "target": target, "body": body});
    let answer = eventually_written(&mut socket, ask).await;
    assert_eq!(
        (&answer["status"], &answer["body"]["acknowledged"]["by"]),
        (&json!(200), &json!("Ada"))
    );
    socket
        .find("the acknowledged alert", |s| {
            s["data"]["acknowledged"]["by"] == "Ada"
        })
        .await;

    let rule = json!({"name": "cold", "series": "*/temperature", "below": 2});
    let create = json!({"command": "create", "id": "a", "thing": "rule", "body": {"rule": rule, "by": "Ada"}});
    let made = socket.ask(create).await;
    assert_eq!(
        (&made["status"], &made["version"]),
        (&json!(201), &json!(1)),
        "{made}"
    );
    let said = socket.find("the rule", |s| s["event"] == "rule").await;
    assert_eq!(said["data"], made["body"]);
    let id = made["body"]["id"].clone();
    let update = |n: i64, version: Value, below: i64| {
        let rule = json!({"name": "cold", "series": "*/temperature", "below": below});
        json!({"command": "update", "id": n, "thing": "rule", "target": id, "version": version, "body": {"rule": rule, "by": "Bob"}})
    };
    assert_eq!(socket.ask(update(2, Value::Null, 3)).await["status"], 428);
    assert_eq!(socket.ask(update(3, json!(1), 3)).await["version"], 2);
    let late = socket.ask(update(4, json!(1), 4)).await;
    assert_eq!(
        (&late["status"], &late["error"]["current"]["version"]),
        (&json!(412), &json!(2))
    );
    assert_eq!(late["error"]["yours"]["rule"]["below"], 4);
    let wrong = json!({"command": "create", "id": 5, "thing": "webhook", "body": {"webhook": {"name": "x"}, "by": "Ada"}});
    let wrong = socket.ask(wrong).await;
    assert_eq!(
        (&wrong["status"], &wrong["error"]["errors"][0]["key"]),
        (&json!(422), &json!("url"))
    );
    let silence = json!({"command": "silence", "id": 6, "body": {"matchers": [{"name": "rule", "value": "hot"}], "ends_at": "+1h", "created_by": "Ada"}});
    assert_eq!(socket.ask(silence).await["status"], 201);
    socket
        .find("the silence", |s| s["event"] == "silence")
        .await;
    let gone = json!({"command": "delete", "id": 7, "thing": "rule", "target": id, "by": "Cy"});
    assert_eq!(socket.ask(gone).await["status"], 204);

    // Another filter begins with a snapshot; none is silent but for answers.
    let other = json!({"command": "subscribe", "id": 8, "series": ["pump/*"], "types": "readings"});
    assert_eq!(socket.ask(other).await["status"], 200);
    socket.said.clear();
    let snapshot = socket
        .find("a snapshot", |s| s["event"] == "snapshot")
        .await;
    assert_eq!(snapshot["data"]["series"], json!([]));
    assert_eq!(
        socket
            .ask(json!({"command": "subscribe", "id": 9, "types": "nonsense"}))
            .await["status"],
        400
    );
    assert_eq!(
        socket
            .ask(json!({"command": "unsubscribe", "id": 10}))
            .await["status"],
        200
    );
    eventually("its place is free", || async {
        (gateway.metric("gateway_live_clients").await < 0.5).then_some(())
    })
    .await;
    let read = socket
        .ask(json!({"command": "read", "id": 11, "thing": "rule"}))
        .await;
    assert_eq!(read["body"]["rules"].as_array().unwrap().len(), 1);
}

/// It fires before it is written down.
async fn eventually_written(socket: &mut Socket, ask: Value) -> Value {
    loop {
        let answer = socket.ask(ask.clone()).await;
        if answer["status"] != 503 {
            return answer;
        }
        tokio::task::yield_now().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn garbage_is_answered_and_what_is_too_much_ends_the_socket_alone() {
    let gateway = Gateway::start("[live]\nmax_clients = 2\n").await;
    let mut socket = Socket::open(&gateway, "types=alert").await;
    for text in ["nonsense", "[]", "{\"command\":\"dance\"}", ""] {
        socket.stream.send(Message::text(text)).await.unwrap();
        let said = socket
            .find("the answer", |s| s.get("answer").is_some())
            .await;
        assert_eq!(
            (&said["status"], &said["answer"]),
            (&json!(400), &Value::Null),
            "{text}"
        );
    }
    let mut other = Socket::open(&gateway, "types=alert").await;
    assert_eq!(other.next().await.unwrap()["event"], "snapshot");

    // No place is free: it is told, and closed.
    let mut third = Socket::open(&gateway, "types=alert").await;
    assert_eq!(third.next().await.unwrap()["event"], "bye");
    assert_eq!(third.next().await, Err(Some(CloseCode::Again)));

    let long = Message::text("x".repeat(70_000));
    // The gateway may hang up while it is still being sent.
    drop(socket.stream.send(long).await);
    let end = loop {
        if let Err(end) = socket.next().await {
            break end;
        }
    };
    assert!(matches!(end, None | Some(CloseCode::Size)), "{end:?}");
    other
        .stream
        .send(Message::binary(vec![1, 2]))
        .await
        .unwrap();
    let end = loop {
        if let Err(end) = other.next().await {
            break end;
        }
    };
    assert_eq!(end, Some(CloseCode::Unsupported));
    eventually("both places are free", || async {
        (gateway.metric("gateway_live_clients").await < 0.5).then_some(())
    })
    .await;

    // A page of a stranger gets no socket, its own does.
    let host = gateway.url("").replacen("http://", "", 1);
    for (origin, status) in [
        ("https://evil.example".to_owned(), 403),
        (format!("http://{host}"), 101),
    ] {
        let mut request = address(&gateway, "").into_client_request().unwrap();
        let value = origin.parse().unwrap();
        request.headers_mut().insert("origin", value);
        let got = match connect_async(request).await {
            Ok((_, response)) => response.status().as_u16(),
            Err(tungstenite::Error::Http(response)) => response.status().as_u16(),
            Err(error) => panic!("{error}"),
        };
        assert_eq!(got, status, "{origin}");
    }
    let refused = connect_async(address(&gateway, "types=nonsense")).await;
    assert!(matches!(refused, Err(tungstenite::Error::Http(r)) if r.status() == 400));
    // Not a handshake at all.
    let plain = reqwest::get(gateway.url("/socket")).await.unwrap();
    assert!(plain.status().is_client_error(), "{}", plain.status());
}

#[tokio::test(flavor = "multi_thread")]
async fn who_reads_slowly_hears_a_gap_the_newest_value_and_every_alert_and_keeps_up_nobody() {
    let gateway = Gateway::start(HOT).await;
    let mut slow = Socket::narrow(&gateway).await;
    assert_eq!(slow.next().await.unwrap()["event"], "snapshot");
    let mut quick = Events::open(&gateway, "types=readings").await;
    // Far more than the system takes for one that does not read: 350 events of 80 KB.
    let device = "d".repeat(90);
    let mut rounds = 0;
    let gaps = || gateway.metric("gateway_live_gaps_total");
    push(&gateway, [90.0]).await;
    while gaps().await < 0.5 {
        assert!(rounds < 5_000, "it never fell behind");
        // It reads at last.
        if rounds > 350 && slow.said.len() < 400 {
            let some = slow.next().await.unwrap();
            slow.said.push(some);
        }
        let body: Vec<Value> = (0..2_000)
            .map(|n| json!({"device": format!("{device}{}", n % 50), "metric": "m", "value": rounds * 2_000 + n}))
            .collect();
        let pushed = gateway.post(
            "/api/v1/readings",
            "application/json",
            json!(body).to_string(),
        );
        assert_eq!(pushed.await.0, 200);
        rounds += 1;
    }
    slow.find("the alert", |s| {
        s["event"] == "alert" && s["data"]["state"] == "firing"
    })
    .await;
    let gap = slow.find("the gap", |s| s["event"] == "gap").await;
    assert!(gap["data"]["missed"].as_u64().unwrap() >= 256, "{gap}");
    push(&gateway, [1234.5]).await;
    let newest = |data: &Value| data["series"]["boiler/temperature"]["v"] == json!([1234.5]);
    slow.find("the newest value", |s| newest(&s["data"])).await;
    quick.find("the newest value", |e| newest(&e.data)).await;
    let vanished = Socket::open(&gateway, "").await;
    drop(vanished);
    drop(slow);
    eventually("both are let go", || async {
        (gateway.metric("gateway_live_clients").await < 1.5).then_some(())
    })
    .await;
    tokio::time::timeout(
        Duration::from_secs(30),
        gateway.account("push", |row| row["difference"] == 0),
    )
    .await
    .unwrap();
}
