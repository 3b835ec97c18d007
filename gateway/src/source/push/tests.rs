//! Through the router, with a task behind the door that answers as the ingest task does.

use std::io::Write;

use axum::http::Request;
use prometheus_client::registry::Registry;
use serde_json::{Value as JsonValue, json};
use tokio::sync::mpsc;
use tower::ServiceExt;

use super::*;
use crate::{
    clock::Clock,
    model::{SourceName, Timestamp},
    source::{Delivery, intake::Door, status::SourceMetrics},
};

struct House {
    router: Router,
    deliveries: mpsc::Receiver<Delivery>,
    rejects: Rejects,
    reporter: StatusReporter,
    door: Door,
}

fn house(config: Config) -> House {
    let mut registry = Registry::default();
    let (door, deliveries) = Door::new();
    let name = SourceName("push".into());
    let clock = Clock::manual(Timestamp(42));
    let (reporter, _status) =
        SourceMetrics::new(&mut registry).reporter(name.clone(), "push", clock);
    let rejects = Rejects::new(&mut registry);
    let intake = door.intake(0, name).counting(reporter.waiting.clone());
    let router = router(config, intake, reporter.clone(), rejects.clone());
    House {
        router,
        deliveries,
        rejects,
        reporter,
        door,
    }
}

fn request(path: &str, headers: &[(&str, &str)], body: impl Into<Body>) -> Request<Body> {
    let mut request = Request::post(path);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.body(body.into()).unwrap()
}

async fn ask(router: &Router, request: Request<Body>) -> (StatusCode, HeaderMap, JsonValue) {
    let response = router.clone().oneshot(request).await.unwrap();
    let (head, body) = response.into_parts();
    let body = axum::body::to_bytes(body, 1 << 20).await.unwrap();
    let json = if body.is_empty() {
        JsonValue::Null
    } else {
        serde_json::from_slice(&body).unwrap()
    };
    (head.status, head.headers, json)
}

/// Sends a request and answers its one delivery with `receipt`.
async fn deliver(
    house: &mut House,
    request: Request<Body>,
    receipt: Receipt,
) -> (Frame, StatusCode, JsonValue) {
    let answering = async {
        let delivery = house.deliveries.recv().await.unwrap();
        delivery.done.send(receipt).unwrap();
        delivery.frames
    };
    let (mut frames, (status, _, json)) = tokio::join!(answering, ask(&house.router, request));
    assert_eq!(frames.len(), 1);
    (frames.remove(0), status, json)
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut packer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    packer.write_all(bytes).unwrap();
    packer.finish().unwrap()
}

fn receipt(accepted: usize, rejected: usize) -> Receipt {
    let reject = Reject {
        reason: Reason::NotFinite,
        detail: String::from("field \"t\" is NaN"),
        record: 1,
    };
    Receipt {
        accepted,
        duplicates: 0,
        rejected,
        rejects: vec![reject; rejected],
    }
}

#[tokio::test]
async fn readings_are_answered_when_they_are_durable() {
    let mut house = house(Config::default());
    let post = request(
        "/api/v1/readings",
        &[("content-type", "application/json")],
        "[1]",
    );
    let (frame, status, json) = deliver(&mut house, post, receipt(2, 1)).await;
    assert_eq!(
        (&frame.topic[..], &frame.payload[..]),
        ("/api/v1/readings", &b"[1]"[..])
    );
    assert_eq!(frame.arrived, Timestamp(42));
    assert_eq!(status, StatusCode::OK);
    assert_eq!(
        json,
        json!({"accepted": 2, "duplicates": 0, "rejected": 1,
            "rejects": [{"record": 1, "reason": "not_finite", "detail": "field \"t\" is NaN"}]})
    );
    let (_, status, json) = deliver(
        &mut house,
        request("/api/v1/readings", &[], "x"),
        receipt(0, 1),
    )
    .await;
    assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY);
    assert_eq!(json["rejected"], 1);
}

#[tokio::test]
async fn lines_are_answered_204_or_the_refused_ones_are_named() {
    let mut house = house(Config::default());
    for (path, topic) in [
        ("/api/v2/write?bucket=b&org=o", "/api/v2/write/ns"),
        ("/api/v2/write?precision=us", "/api/v2/write/us"),
        ("/write?db=x&precision=ms", "/api/v2/write/ms"),
        ("/write?precision=s", "/api/v2/write/s"),
        ("/write?precision=n", "/api/v2/write/ns"),
    ] {
        let (frame, status, json) =
            deliver(&mut house, request(path, &[], "m f=1"), receipt(1, 0)).await;
        assert_eq!((&frame.topic[..], status), (topic, StatusCode::NO_CONTENT));
        assert_eq!(json, JsonValue::Null);
    }
    let (_, status, json) = deliver(
        &mut house,
        request("/api/v2/write", &[], "m f=1\nx"),
        receipt(1, 1),
    )
    .await;
    assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY);
    let message = json["message"].as_str().unwrap();
    assert!(message.contains("line 2: field \"t\" is NaN"), "{message}");
    assert_eq!(json["status"], 422);
}

#[tokio::test]
async fn gzip_is_unpacked_small_or_big_and_in_members() {
    let mut house = house(Config::default());
    let noise: Vec<u8> = std::iter::repeat_with(|| fastrand::u8(..))
        .take(100_000)
        .collect();
    let mut members = gzip(b"m f=1\n");
    members.extend(gzip(b"m f=2\n"));
    for (packed, plain) in [
        (gzip(b"m f=1"), b"m f=1".to_vec()),
        (gzip(&noise), noise),
        (members, b"m f=1\nm f=2\n".to_vec()),
    ] {
        let post = request("/write", &[("content-encoding", "gzip")], packed);
        let (frame, status, _) = deliver(&mut house, post, receipt(1, 0)).await;
        assert_eq!(status, StatusCode::NO_CONTENT);
        assert_eq!(frame.payload, plain);
    }
}

#[tokio::test]
async fn what_cannot_be_taken_says_why_and_reaches_nobody() {
    let mut house = house(Config {
        max_body_bytes: 1024,
        ..Config::default()
    });
    let bomb = gzip(&vec![b'x'; 1 << 20]);
    let mut torn = gzip(b"m f=1");
    torn.truncate(torn.len() - 4);
    let endless = || {
        let chunk = || Ok::<_, std::convert::Infallible>(Bytes::from_static(&[b'x'; 600]));
        Body::from_stream(futures_util::stream::repeat_with(chunk))
    };
    let json = [("content-type", "text/csv")];
    let gz = [("content-encoding", "gzip")];
    for (request, status) in [
        (
            request("/write", &[("content-length", "1025")], vec![b'x'; 1025]),
            413,
        ),
        (request("/write", &[], endless()), 413),
        (request("/write", &gz, bomb), 413),
        (request("/write", &gz, torn), 400),
        (request("/write", &gz, "plain"), 400),
        (request("/write", &[("content-encoding", "br")], "x"), 415),
        (
            request(
                "/write",
                &[("content-type", "application/json; charset=utf-8")],
                "{}",
            ),
            415,
        ),
        (request("/api/v1/readings", &json, "x"), 415),
        (request("/write?precision=h", &[], "x"), 400),
        (request("/write?precision=%FF", &[], "x"), 400),
    ] {
        let (got, headers, body) = ask(&house.router, request).await;
        assert_eq!(got.as_u16(), status, "{body}");
        assert_eq!(headers[header::CONTENT_TYPE], "application/problem+json");
        assert_eq!(body["status"], status);
        assert!(body["detail"].as_str().unwrap().len() > 10);
    }
    assert!(house.deliveries.try_recv().is_err());
    let source = SourceName("push".into());
    assert_eq!(house.rejects.count(&source, Reason::TooLarge), 3);
    assert_eq!(house.rejects.count(&source, Reason::Malformed), 2);
}

#[tokio::test]
async fn a_sender_that_writes_all_before_it_reads_hears_that_it_was_too_much() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let house = house(Config::default());
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let serving = tokio::spawn(async move { axum::serve(listener, house.router).await });
    let size = 20 << 20;
    let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
    let head = format!("POST /write HTTP/1.1\r\nHost: localhost\r\nContent-Length: {size}\r\n\r\n");
    stream.write_all(head.as_bytes()).await.unwrap();
    stream.write_all(&vec![b'x'; size]).await.unwrap();
    let mut answer = [0; 12];
    stream.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"HTTP/1.1 413");
    serving.abort();
}

#[tokio::test(start_paused = true)]
async fn without_durability_in_time_the_sender_hears_503_and_when() {
    let mut house = house(Config::default());
    let (status, headers, _) = ask(&house.router, request("/write", &[], "m f=1")).await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(headers[header::RETRY_AFTER], "5");
    drop(house.deliveries.recv().await);
    house.deliveries.close();
    let (status, headers, _) = ask(&house.router, request("/write", &[], "m f=1")).await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(headers.contains_key(header::RETRY_AFTER));
}

#[tokio::test(start_paused = true)]
async fn a_body_that_trickles_is_given_up() {
    let house = house(Config::default());
    let never = futures_util::stream::pending::<Result<Bytes, std::convert::Infallible>>();
    let (status, _, _) = ask(
        &house.router,
        request("/write", &[], Body::from_stream(never)),
    )
    .await;
    assert_eq!(status, StatusCode::REQUEST_TIMEOUT);
}

#[tokio::test(start_paused = true)]
async fn bodies_in_flight_are_bounded_together() {
    let max = 16 << 20;
    let house = house(Config {
        max_body_bytes: max,
        ..Config::default()
    });
    let held =
        || {
            let big = futures_util::stream::iter([Ok::<_, std::convert::Infallible>(Bytes::from(
                vec![b'x'; max],
            ))]);
            Body::from_stream(big.chain(futures_util::stream::pending()))
        };
    let first = tokio::spawn(house.router.clone().oneshot(request("/write", &[], held())));
    let second = tokio::spawn(house.router.clone().oneshot(request("/write", &[], held())));
    tokio::task::yield_now().await;
    let (status, headers, _) = ask(&house.router, request("/write", &[], "m f=1")).await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(headers.contains_key(header::RETRY_AFTER));
    for open in [first, second] {
        assert_eq!(
            open.await.unwrap().unwrap().status(),
            StatusCode::REQUEST_TIMEOUT
        );
    }
}

#[test]
fn every_topic_of_this_source_has_its_mapping() {
    let mappings = mappings();
    let topics: Vec<&str> = mappings.iter().map(|mapping| &mapping.topic[..]).collect();
    assert_eq!(
        topics,
        [
            "/api/v1/readings",
            "/api/v2/write/ns",
            "/api/v2/write/us",
            "/api/v2/write/ms",
            "/api/v2/write/s"
        ]
    );
    assert_eq!(mappings[0].format, Format::Readings);
    assert_eq!(
        mappings[3].format,
        Format::LineProtocol {
            precision: TimeFormat::EpochMillis
        }
    );
}

#[tokio::test]
async fn a_body_before_a_full_door_is_not_yet_received_and_does_not_wait() {
    let mut house = house(Config::default());
    let full = house.door.fill();
    let figures = {
        let reporter = house.reporter.clone();
        move || (reporter.messages.get(), reporter.waiting.get())
    };
    let body = r#"{"a":1}"#;
    let asking = tokio::spawn({
        let router = house.router.clone();
        async move { ask(&router, request("/api/v1/readings", &[], body)).await }
    });
    // One thread: it goes as far as it can.
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    assert!(!asking.is_finished());
    assert_eq!(figures(), (0, 0));
    drop(full);
    let delivery = house.deliveries.recv().await.unwrap();
    assert_eq!(figures(), (1, 1));
    delivery.done.send(Receipt::default()).unwrap();
    asking.await.unwrap();
}
