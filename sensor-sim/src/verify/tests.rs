//! A planted loss and a planted repeat against an API that answers as `docs/http-api.md` says.

use std::{
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
};

use super::*;
use crate::{
    ledger::{Entry, Ledger, Sent},
    peers::Victoria,
    plan::{Expect, Reading},
    signal::Value,
};

const START: i64 = 1_767_225_600_000;

/// A gateway's points API over a list of points, with its page size and its buckets.
async fn gateway(points: Vec<(i64, String)>) -> (String, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let asked = Arc::new(Mutex::new(Vec::new()));
    let log = Arc::clone(&asked);
    tokio::spawn(async move {
        loop {
            let (mut socket, _) = listener.accept().await.unwrap();
            let mut request = Vec::new();
            while !request.ends_with(b"\r\n\r\n") {
                socket.read_buf(&mut request).await.unwrap();
            }
            let request = String::from_utf8(request).unwrap();
            let target = request.split(' ').nth(1).unwrap().to_owned();
            log.lock().unwrap().push(target.clone());
            let (path, query) = target.split_once('?').unwrap();
            let number = |key: &str| -> i64 {
                let value = query.split('&').find_map(|p| p.strip_prefix(key));
                value.unwrap().strip_prefix('=').unwrap().parse().unwrap()
            };
            let (status, body) = if path == "/api/v1/series/d/m/points" {
                // The end is included, which the reader must stand.
                let within: Vec<_> = points
                    .iter()
                    .filter(|(t, _)| (number("from")..=number("to")).contains(t))
                    .collect();
                if within.len() as i64 > number("points") {
                    (
                        "200 OK",
                        String::from(
                            r#"{"bucket_ms":1000,"t":[1],"min":[1],"max":[1],"mean":[1],"count":[9]}"#,
                        ),
                    )
                } else {
                    let t: Vec<_> = within.iter().map(|(t, _)| t.to_string()).collect();
                    let v: Vec<_> = within.iter().map(|(_, v)| v.clone()).collect();
                    (
                        "200 OK",
                        format!(
                            r#"{{"bucket_ms":null,"t":[{}],"v":[{}]}}"#,
                            t.join(","),
                            v.join(",")
                        ),
                    )
                }
            } else {
                ("404 Not Found", String::from("{}"))
            };
            let answer = format!(
                "HTTP/1.1 {status}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
                body.len()
            );
            socket.write_all(answer.as_bytes()).await.unwrap();
        }
    });
    (address, asked)
}

struct Book {
    _folder: tempfile::TempDir,
    path: PathBuf,
    ledger: Ledger,
    next: u64,
}

impl Book {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ledger");
        let ledger = Ledger::open(&path, 1).unwrap();
        Self {
            _folder: folder,
            path,
            ledger,
            next: 0,
        }
    }

    fn send(&mut self, time_ms: Option<i64>, value: Value, acknowledged: bool) -> u64 {
        self.enter(time_ms, Some(value), Expect::Stored, false, acknowledged)
    }

    fn enter(
        &mut self,
        time_ms: Option<i64>,
        value: Option<Value>,
        expect: Expect,
        copy: bool,
        acknowledged: bool,
    ) -> u64 {
        let id = self.next;
        self.next += 1;
        let at = (START + i64::try_from(id).unwrap()) * 1_000_000;
        self.ledger
            .enter(&Entry::Sent(Sent {
                id,
                at,
                device: String::from("d"),
                transport: String::from("mqtt"),
                time: time_ms.map(|ms| ms * 1_000_000),
                copy,
                expect,
                readings: vec![Reading {
                    metric: String::from("m"),
                    value,
                    expect,
                }],
            }))
            .unwrap();
        if acknowledged {
            self.ledger.enter(&Entry::Ack { id, at }).unwrap();
        }
        id
    }

    async fn against(&self, points: Vec<(i64, String)>) -> Verdict {
        self.ledger.flush().unwrap();
        let (url, _) = gateway(points).await;
        judged(&self.path, &url).await.1
    }
}

async fn judged(path: &Path, url: &str) -> (bool, Verdict) {
    let report = verify(path, &Archive::gateway(url).unwrap()).await.unwrap();
    (report.ok, report.devices["d"].clone())
}

fn point(ms: i64, value: impl ToString) -> (i64, String) {
    (START + ms, value.to_string())
}

#[tokio::test]
async fn everything_there_once_is_well() {
    let mut book = Book::new();
    for n in 0..100 {
        book.send(Some(START + n), Value::Int(n), true);
    }
    book.send(Some(START + 100), Value::Float(0.1), true);
    book.ledger.flush().unwrap();
    let mut points: Vec<_> = (0..100).map(|n| point(n, format!("{n}.0"))).collect();
    points.push(point(100, "0.10000000000000001"));
    let (url, _) = gateway(points).await;
    let (ok, verdict) = judged(&book.path, &url).await;
    assert!(ok, "{verdict:?}");
    assert_eq!(
        (verdict.sent, verdict.acknowledged, verdict.found),
        (101, 101, 101)
    );
}

#[tokio::test]
async fn a_planted_loss_a_repeat_and_a_wrong_value_are_found() {
    let mut book = Book::new();
    for n in 0..10 {
        book.send(Some(START + n), Value::Int(n), n != 9);
    }
    let points = vec![
        point(0, 0),
        point(1, 1),
        point(2, 2),
        point(2, 2),
        point(4, 4),
        point(5, 55),
        point(6, 6),
        point(7, 7),
        point(8, 8),
    ];
    let verdict = book.against(points).await;
    assert_eq!(
        verdict.missing, 2,
        "3 is lost and 5 has another value: {verdict:?}"
    );
    assert_eq!(verdict.unacknowledged_missing, 1, "9 was never promised");
    assert_eq!(verdict.repeated, 1);
    assert_eq!(verdict.unexpected, 1);
    assert_eq!(verdict.found, 7);
    assert!(
        verdict
            .examples
            .iter()
            .any(|e| e.starts_with("missing: d/m = 3 at 2026-01-01T00:00:00.003Z")),
        "{:?}",
        verdict.examples
    );
}

#[tokio::test]
async fn a_series_that_is_not_there_is_all_missing() {
    let mut book = Book::new();
    book.send(Some(START), Value::Int(1), true);
    book.ledger.flush().unwrap();
    // Nothing is known under the path of another device.
    let (url, _) = gateway(Vec::new()).await;
    let (ok, verdict) = judged(&book.path, &format!("{url}/elsewhere")).await;
    assert!(!ok);
    assert_eq!(verdict.missing, 1);
}

#[tokio::test]
async fn a_copy_with_a_time_is_to_be_stored_once() {
    let mut book = Book::new();
    book.send(Some(START), Value::Int(1), false);
    book.enter(Some(START), Some(Value::Int(1)), Expect::Stored, true, true);
    let once = book.against(vec![point(0, 1)]).await;
    assert_eq!(
        (once.sent, once.acknowledged, once.missing, once.repeated),
        (1, 1, 0, 0)
    );
    let twice = book.against(vec![point(0, 1), point(0, 1)]).await;
    assert_eq!(twice.repeated, 1);
    let never = book.against(Vec::new()).await;
    assert_eq!(
        never.missing, 1,
        "the copy was acknowledged, so the reading is promised"
    );
}

#[tokio::test]
async fn a_nan_must_not_be_stored_and_garbage_is_counted() {
    let mut book = Book::new();
    book.enter(Some(START), None, Expect::Rejected, false, true);
    book.enter(
        Some(START + 1),
        Some(Value::Int(5)),
        Expect::Either,
        false,
        true,
    );
    let clean = book.against(Vec::new()).await;
    assert_eq!(
        (clean.to_be_rejected, clean.missing, clean.unexpected),
        (1, 0, 0)
    );
    let stored = book.against(vec![point(0, 0)]).await;
    assert_eq!(stored.unexpected, 1);
    let neighbour = book.against(vec![point(1, 5)]).await;
    assert_eq!((neighbour.unexpected, neighbour.repeated), (0, 0));
}

#[tokio::test]
async fn readings_without_a_time_are_matched_by_value_as_often_as_they_were_sent() {
    let mut book = Book::new();
    for value in [1, 2, 2, 3] {
        book.send(None, Value::Int(value), true);
    }
    let again = book.send(None, Value::Int(4), true);
    book.ledger
        .enter(&Entry::Again {
            id: again,
            at: START * 1_000_000,
        })
        .unwrap();
    let found = vec![
        point(900, 1),
        point(901, 2),
        point(903, 3),
        point(904, 3),
        point(905, 4),
        point(906, 4),
    ];
    let verdict = book.against(found).await;
    assert_eq!(verdict.missing, 1, "one of the two 2s: {verdict:?}");
    assert_eq!(
        verdict.repeated, 1,
        "3 twice; 4 was handed over twice, so it may be there twice"
    );
    assert_eq!((verdict.sent, verdict.found, verdict.unexpected), (5, 4, 0));
}

#[tokio::test]
async fn texts_and_switches_are_compared_too() {
    let mut book = Book::new();
    book.send(Some(START), Value::Bool(true), true);
    book.send(Some(START + 1), Value::Text(String::from("ok")), true);
    let verdict = book
        .against(vec![point(0, "true"), point(1, "\"ok\"")])
        .await;
    assert_eq!(
        (verdict.found, verdict.missing, verdict.unexpected),
        (2, 0, 0)
    );
}

#[tokio::test]
async fn more_than_a_page_is_read_in_pages_that_shrink_until_they_are_raw() {
    let mut book = Book::new();
    let mut points = Vec::new();
    for n in 0..12_000 {
        // All within 3 s, at the far end of a long hour: an even plan of pages overfills.
        let ms = if n == 0 { 0 } else { 3_600_000 + n / 4 };
        book.send(Some(START + ms), Value::Int(n), true);
        points.push(point(ms, n));
    }
    book.ledger.flush().unwrap();
    let (url, asked) = gateway(points).await;
    let (ok, verdict) = judged(&book.path, &url).await;
    assert!(ok, "{:?}", verdict.examples);
    assert_eq!(verdict.found, 12_000);
    let asked = asked.lock().unwrap().len();
    assert!(asked > 4 && asked < 5_000, "{asked} pages");
}

#[tokio::test]
async fn what_victoria_metrics_took_is_found_there_and_a_planted_loss_too() {
    let Some(victoria) = Victoria::start().await else {
        return;
    };
    let scenario = crate::Scenario::parse(&format!(
        r#"
        duration = "500ms"
        [[device]]
        id = "d"
        http.url = "{}/api/v2/write"
        format = "line_protocol"
        time = "epoch_ns"
        sequence = true
        rate = 100
        signal = [
            {{ metric = "t", shape = "sine", noise = 0.5 }},
            {{ metric = "on", kind = "boolean", shape = "square", period = "100ms", offset = 0.5, amplitude = 0.5 }},
            {{ metric = "note", kind = "text", texts = ["a"] }},
        ]
        fault = [{{ kind = "duplicate", probability = 0.2 }}]
        "#,
        victoria.url
    ))
    .unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ledger");
    let ledger = Ledger::open(&path, 1).unwrap();
    crate::run(
        scenario,
        tokio_util::sync::CancellationToken::new(),
        Some(ledger.clone()),
    )
    .await
    .unwrap();
    victoria.flush().await;
    let archive = Archive::victoria(&victoria.url, "sensor").unwrap();
    let report = verify(&path, &archive).await.unwrap();
    let verdict = &report.devices["d"];
    assert!(report.ok, "{verdict:?}");
    assert_eq!(
        (verdict.sent, verdict.found, verdict.unverifiable),
        (150, 150, 50)
    );

    let at = crate::clock::now_ns();
    ledger
        .enter(&Entry::Sent(Sent {
            id: 9_999,
            at,
            device: String::from("d"),
            transport: String::from("http"),
            time: Some(at),
            copy: false,
            expect: Expect::Stored,
            readings: vec![Reading {
                metric: String::from("seq"),
                value: Some(Value::Int(77)),
                expect: Expect::Stored,
            }],
        }))
        .unwrap();
    ledger.enter(&Entry::Ack { id: 9_999, at }).unwrap();
    ledger.flush().unwrap();
    let report = verify(&path, &archive).await.unwrap();
    assert!(!report.ok);
    assert_eq!(report.devices["d"].missing, 1);
}
