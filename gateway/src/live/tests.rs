//! The hub and its streams, read the way a client reads them: through the router.

mod attention;

use std::collections::BTreeMap;

use axum::{
    Router,
    body::{Body, BodyDataStream},
    http::{Request, StatusCode, header},
};
use futures_util::StreamExt;
use proptest::prelude::*;
use serde_json::{Value as JsonValue, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
    time::timeout,
};
use tower::ServiceExt;

use super::*;
use crate::{
    alert::{Alert, AlertState, Marks, Severity},
    journal::Position,
    model::{DeviceId, Quality, SeriesKey, Timestamp, Unit, Value},
    store::{Device, Point, SeriesInfo, Window, WindowSpec},
};

const SOON: Duration = Duration::from_secs(10);

struct House {
    hub: Hub,
    updates: mpsc::Sender<Update>,
    stop: CancellationToken,
    task: JoinHandle<()>,
    router: Router,
    /// Changes of alerts said so far.
    changes: std::cell::Cell<u64>,
}

#[derive(Debug)]
struct Event {
    name: String,
    id: Option<String>,
    retry: Option<u64>,
    data: JsonValue,
}

/// A client's end of a stream.
struct Reader {
    body: BodyDataStream,
    text: String,
}

const RUN: u64 = 77;

fn past() -> Past {
    Past {
        epoch: 0xabc,
        run: RUN,
        ..Past::default()
    }
}

fn house(config: Config) -> House {
    house_after(past(), config)
}

fn house_after(past: Past, config: Config) -> House {
    let changes = past.newest_change;
    let (updates, heard) = mpsc::channel(16);
    let stop = CancellationToken::new();
    let clock = Clock::manual(Timestamp::from_millis(1_800_000_000_000));
    let mut registry = Registry::default();
    let (hub, task) = Hub::start(config, past, heard, clock, stop.clone(), &mut registry);
    let router = sse::router(hub.clone());
    House {
        hub,
        updates,
        stop,
        task,
        router,
        changes: std::cell::Cell::new(changes),
    }
}

impl House {
    async fn open(&self, path: &str, last_id: Option<&[u8]>) -> Reader {
        let mut request = Request::get(path);
        if let Some(id) = last_id {
            request = request.header("last-event-id", id);
        }
        let response = self
            .router
            .clone()
            .oneshot(request.body(Body::empty()).unwrap())
            .await
            .unwrap();
        assert_eq!(response.status(), StatusCode::OK);
        Reader {
            body: response.into_body().into_data_stream(),
            text: String::new(),
        }
    }

    /// Says it and waits until the hub has said it on: the hub takes updates whoever doesn't read.
    async fn say(&self, mut update: Update) {
        if let Update::Alert {
            number: Some(number),
            ..
        } = &mut update
        {
            *number = self.changes.get() + 1;
            self.changes.set(*number);
        }
        let before = self.hub.shared.newest().0;
        timeout(SOON, self.updates.send(update))
            .await
            .unwrap()
            .unwrap();
        self.newest(before + 1).await;
    }

    async fn newest(&self, sequence: u64) {
        let reached = async {
            while self.hub.shared.newest().0 < sequence {
                tokio::task::yield_now().await;
            }
        };
        timeout(SOON, reached).await.unwrap();
    }
}

impl Reader {
    async fn next(&mut self) -> Option<Event> {
        loop {
            if let Some((frame, rest)) = self.text.split_once("\n\n") {
                let event = parse(frame);
                self.text = rest.to_owned();
                return Some(event);
            }
            let chunk = timeout(SOON, self.body.next()).await.unwrap()?;
            self.text
                .push_str(std::str::from_utf8(&chunk.unwrap()).unwrap());
        }
    }

    async fn expect(&mut self, name: &str) -> Event {
        let event = self.next().await.unwrap();
        assert_eq!(event.name, name, "{event:?}");
        event
    }
}

fn parse(frame: &str) -> Event {
    let mut fields: BTreeMap<&str, &str> = BTreeMap::new();
    for line in frame.lines() {
        let (name, value) = line.split_once(": ").unwrap();
        assert!(fields.insert(name, value).is_none(), "twice: {name}");
    }
    Event {
        name: fields["event"].to_owned(),
        id: fields.get("id").map(|id| (*id).to_owned()),
        retry: fields.get("retry").map(|n| n.parse().unwrap()),
        data: serde_json::from_str(fields["data"]).unwrap(),
    }
}

fn readings(series: &[&str], ms: i64, value: f64) -> Update {
    Update::Readings {
        readings: series
            .iter()
            .map(|key| (SeriesKey::parse(key).unwrap(), vec![point(ms, value)]))
            .collect(),
        through: Position(ms.unsigned_abs()),
    }
}

fn point(ms: i64, value: f64) -> Point {
    Point {
        time: Timestamp::from_millis(ms),
        value: Value::Float(value),
        quality: Quality::Good,
    }
}

fn alert(id: &str, state: AlertState) -> Update {
    Update::Alert {
        alert: an_alert(id, state),
        number: Some(1),
    }
}

fn an_alert(id: &str, state: AlertState) -> Alert {
    Alert {
        id: id.into(),
        rule: "hot".into(),
        series: "a/t".into(),
        state,
        severity: Severity::Warning,
        summary: String::new(),
        value: None,
        unit: None,
        labels: BTreeMap::new(),
        began_ms: 0,
        fired_ms: None,
        resolved_ms: None,
        webhooks: Vec::new(),
        marks: Marks::default(),
    }
}

fn device(id: &str) -> Device {
    Device {
        id: DeviceId(id.into()),
        name: id.to_uppercase(),
        site: Some(String::from("roof")),
        labels: BTreeMap::from([(String::from("floor"), String::from("3"))]),
        note: None,
        version: 0,
        source: None,
        last_seen_ms: Some(7),
        online: Some(true),
        clock_ahead_ms: None,
    }
}

#[tokio::test]
async fn the_first_event_is_a_snapshot_of_all_that_is_known() {
    let house = house(Config {
        site: Some(String::from("north")),
        ..Config::default()
    });
    house.say(Update::Device(device("a"))).await;
    house
        .say(Update::Series(SeriesInfo {
            key: SeriesKey::parse("a/t").unwrap(),
            unit: Some(Unit("Cel".into())),
            latest: None,
            retained: false,
            points: 0,
            too_late: 0,
        }))
        .await;
    house.say(readings(&["a/t"], 5, 20.5)).await;
    house.say(alert("gone", AlertState::Firing)).await;
    house.say(alert("gone", AlertState::Resolved)).await;
    house.say(alert("there", AlertState::Firing)).await;
    house.hub.status("source/x", json!({"state": "up"}));
    house.newest(7).await;
    let first = house.open("/events", None).await.expect("snapshot").await;
    assert!((1000..3000).contains(&first.retry.unwrap()));
    let epoch = first.data["epoch"].as_str().unwrap();
    assert_eq!(epoch, "000000000abc");
    assert_eq!(first.id.unwrap(), format!("{epoch}-5.6.0.3.{RUN}.7"));
    assert_eq!(first.data["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(first.data["site"], "north");
    assert_eq!(first.data["now_ms"], 1_800_000_000_000_i64);
    assert_eq!(
        first.data["series"],
        json!([{"id": "a/t", "device": "a", "metric": "t", "unit": "Cel", "kind": "number", "t": 5, "v": 20.5,
            "quality": "good", "retained": false, "too_late": 0}])
    );
    assert_eq!(
        first.data["devices"],
        json!([{"id": "a", "name": "A", "note": null, "version": 0, "site": "roof", "labels": {"floor": "3"}, "source": null,
            "last_seen_ms": 1_800_000_000_000_i64, "online": true, "clock_ahead_ms": null}])
    );
    assert_eq!(first.data["alerts"].as_array().unwrap().len(), 1);
    assert_eq!(first.data["alerts"][0]["id"], "there");
    assert_eq!(first.data["status"], json!({"source/x": {"state": "up"}}));
}

#[tokio::test]
async fn every_kind_of_news_arrives_with_its_id_in_order() {
    let house = house(Config::default());
    let mut reader = house.open("/events", None).await;
    let snapshot = reader.expect("snapshot").await;
    assert_eq!(snapshot.id.unwrap(), "000000000abc-0.1.0.0.77.0");
    house.say(Update::Device(device("a"))).await;
    house.say(readings(&["a/t", "b/t"], 5, 1.0)).await;
    house
        .say(Update::Window {
            series: SeriesKey::parse("a/t").unwrap(),
            spec: WindowSpec::tumbling(Duration::from_secs(60)),
            position: Position(6),
            nth: 0,
            window: Window {
                start_ms: 0,
                end_ms: 60_000,
                count: 2,
                min: 1.0,
                max: 2.0,
                mean: 1.5,
                stddev: 0.5,
                first: 1.0,
                last: 2.0,
                p50: 1.0,
                p95: 2.0,
                p99: 2.0,
                closed: true,
            },
        })
        .await;
    house.say(alert("x", AlertState::Pending)).await;
    house.hub.status("archive", json!({"state": "writing"}));
    let mut names = Vec::new();
    for sequence in [
        "0.1.0.0.77.1",
        "5.6.0.0.77.2",
        "5.6.1.0.77.3",
        "5.6.1.1.77.4",
        "5.6.1.1.77.5",
    ] {
        let event = reader.next().await.unwrap();
        assert_eq!(event.id, Some(format!("000000000abc-{sequence}")));
        if event.name == "window" {
            assert_eq!(event.data["every_ms"], 60_000);
            assert_eq!(event.data["stddev"], 0.5);
        }
        names.push(event.name);
    }
    assert_eq!(names, ["device", "readings", "window", "alert", "status"]);
}

#[tokio::test]
async fn news_of_a_start_become_one_event_a_device() {
    let (updates, heard) = mpsc::channel(64);
    for metric in ["t", "h", "p"] {
        let info = SeriesInfo {
            key: SeriesKey::parse(&format!("a/{metric}")).unwrap(),
            unit: None,
            latest: None,
            retained: false,
            points: 0,
            too_late: 0,
        };
        updates.send(Update::Series(info)).await.unwrap();
    }
    updates.send(Update::Device(device("a"))).await.unwrap();
    let stop = CancellationToken::new();
    let clock = Clock::manual(Timestamp(0));
    let (hub, _task) = Hub::start(
        Config::default(),
        past(),
        heard,
        clock,
        stop,
        &mut Registry::default(),
    );
    let house = House {
        router: sse::router(hub.clone()),
        hub,
        updates,
        stop: CancellationToken::new(),
        task: tokio::spawn(async {}),
        changes: std::cell::Cell::default(),
    };
    house.newest(1).await;
    let snapshot = house.open("/events", None).await.expect("snapshot").await;
    assert_eq!(snapshot.data["devices"][0]["name"], "A");
    assert_eq!(snapshot.data["series"].as_array().unwrap().len(), 3);
    assert_eq!(house.hub.shared.newest().0, 1);
}

#[tokio::test]
async fn a_filter_leaves_other_series_out_of_device_news_and_snapshots() {
    let house = house(Config::default());
    let mut reader = house.open("/events?series=a/t", None).await;
    reader.expect("snapshot").await;
    house.say(Update::Device(device("b"))).await;
    house.say(Update::Device(device("a"))).await;
    for key in ["a/t", "a/h", "b/t"] {
        let info = SeriesInfo {
            key: SeriesKey::parse(key).unwrap(),
            unit: None,
            latest: None,
            retained: false,
            points: 0,
            too_late: 0,
        };
        house.say(Update::Series(info)).await;
    }
    for series in [vec![], vec!["a/t"], vec![]] {
        let event = reader.expect("device").await;
        assert_eq!(event.data["id"], "a");
        let said: Vec<&str> = event.data["series"]
            .as_array()
            .unwrap()
            .iter()
            .map(|info| info["id"].as_str().unwrap())
            .collect();
        assert_eq!(said, series);
    }
    let mut reader = house.open("/events?series=a/t", None).await;
    let snapshot = reader.expect("snapshot").await;
    assert_eq!(snapshot.data["series"].as_array().unwrap().len(), 1);
    assert_eq!(snapshot.data["devices"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn a_client_that_comes_back_gets_what_it_missed_once_and_in_order() {
    let house = house(Config::default());
    let mut reader = house.open("/events", None).await;
    reader.expect("snapshot").await;
    for ms in 1..=3 {
        house.say(readings(&["a/t"], ms, 0.0)).await;
    }
    let last = reader.expect("readings").await.id.unwrap();
    drop(reader);
    house.say(readings(&["a/t"], 4, 0.0)).await;
    for by_header in [true, false] {
        let mut reader = if by_header {
            house.open("/events", Some(last.as_bytes())).await
        } else {
            house
                .open(&format!("/events?last_event_id={last}"), None)
                .await
        };
        let resume = reader.expect("resume").await;
        assert_eq!(resume.data["missed"], 3);
        assert!(resume.retry.is_some());
        for ms in 2..=4 {
            let event = reader.expect("readings").await;
            assert_eq!(event.data["series"]["a/t"]["t"], json!([ms]));
        }
    }
    let newest = "000000000abc-4.5.0.0.77.4";
    let mut reader = house.open("/events", Some(newest.as_bytes())).await;
    assert_eq!(reader.expect("resume").await.data["missed"], 0);
    house.say(readings(&["a/t"], 5, 0.0)).await;
    let event = reader.expect("readings").await;
    assert_eq!(event.data["series"]["a/t"]["t"], json!([5]));
}

#[tokio::test]
async fn any_garbage_as_last_id_gets_a_snapshot() {
    let house = house(Config::default());
    house.say(readings(&["a/t"], 1, 0.0)).await;
    let epoch = "000000000abc";
    let huge = "9".repeat(8000);
    for garbage in [
        b"".to_vec(),
        b"0".to_vec(),
        b"-".to_vec(),
        b"\xff\xfe\x80".to_vec(),
        "ü-1".as_bytes().to_vec(),
        huge.clone().into_bytes(),
        format!("{epoch}-2").into_bytes(),
        format!("{epoch}-1.2.0.0.77.2").into_bytes(),
        format!("{epoch}-1.2.0.0.77.18446744073709551615").into_bytes(),
        format!("{epoch}-1.2.0.0.78.1").into_bytes(),
        format!("{epoch}-2.2.0.0.77.0").into_bytes(),
        format!("{epoch}-1.2.0.1.77.0").into_bytes(),
        format!("{epoch}-{huge}").into_bytes(),
        b"000000000000-1".to_vec(),
    ] {
        house
            .open("/events", Some(&garbage))
            .await
            .expect("snapshot")
            .await;
    }
    for query in [
        "last_event_id",
        "last_event_id=",
        "last_event_id=%FF%00",
        "&&=&%",
        "last_event_id=a&last_event_id=b",
    ] {
        house
            .open(&format!("/events?{query}"), None)
            .await
            .expect("snapshot")
            .await;
    }
}

#[tokio::test]
async fn a_reading_is_cut_once_for_all_who_filter_alike() {
    let house = house(Config::default());
    let mut readers = Vec::new();
    for n in 0..20 {
        let path = if n % 2 == 0 {
            "/events?series=a/*,b/x&types=readings"
        } else {
            "/events?types=readings&series=b/x&series=a"
        };
        readers.push(house.open(path, None).await);
    }
    for reader in &mut readers {
        reader.expect("snapshot").await;
    }
    house.say(alert("x", AlertState::Firing)).await;
    house.say(readings(&["c/t"], 1, 1.0)).await;
    house.say(readings(&["a/t", "c/t"], 2, 1.0)).await;
    for reader in &mut readers {
        let event = reader.expect("readings").await;
        assert_eq!(
            event.data,
            json!({"series": {"a/t": {"t": [2], "v": [1.0]}}})
        );
    }
    assert_eq!(house.hub.shared.metrics.cut.get(), 2, "one for each event");
}

#[tokio::test]
async fn a_slow_client_hears_of_the_gap_the_newest_values_and_every_alert() {
    let house = house(Config {
        client_queue: 8,
        ..Config::default()
    });
    let mut slow = house.open("/events", None).await;
    slow.expect("snapshot").await;
    house.say(readings(&["a/t", "b/t"], 1, 1.0)).await;
    slow.expect("readings").await;
    for ms in 2..=50 {
        house.say(readings(&["a/t"], ms, ms as f64)).await;
    }
    house.say(alert("x", AlertState::Pending)).await;
    house.say(alert("x", AlertState::Firing)).await;
    house.say(alert("x", AlertState::Resolved)).await;
    let gap = slow.expect("gap").await;
    assert_eq!(gap.data["missed"], 52);
    assert_eq!(gap.data["from_ms"], 1_800_000_000_000_i64);
    let newest = slow.expect("readings").await;
    assert_eq!(
        newest.data,
        json!({"series": {"a/t": {"t": [50], "v": [50.0]}}}),
        "b/t did not change"
    );
    for state in ["pending", "firing", "resolved"] {
        assert_eq!(slow.expect("alert").await.data["state"], state);
    }
    house.say(readings(&["a/t"], 51, 0.0)).await;
    let event = slow.expect("readings").await;
    assert_eq!(event.data["series"]["a/t"]["t"], json!([51]));
    assert_eq!(house.hub.shared.metrics.gaps.get(), 1);
}

#[tokio::test]
async fn readers_that_stall_cost_no_memory_and_hold_up_nobody() {
    let config = Config {
        replay_bytes: 64 << 10,
        ..Config::default()
    };
    let house = house(config.clone());
    let mut stalled = Vec::new();
    for _ in 0..50 {
        let mut reader = house.open("/events", None).await;
        reader.expect("snapshot").await;
        stalled.push(reader);
    }
    let keys: Vec<String> = (0..50).map(|n| format!("d{n}/t")).collect();
    let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
    for ms in 0..500 {
        house.say(readings(&keys, ms, 0.0)).await;
    }
    assert!(house.hub.shared.newest().1 <= config.replay_bytes);
    let mut reader = stalled.pop().unwrap();
    reader.expect("gap").await;
    let newest = reader.expect("readings").await;
    assert_eq!(newest.data["series"].as_object().unwrap().len(), 50);
    assert_eq!(newest.data["series"]["d7/t"]["t"], json!([499]));
}

#[tokio::test]
async fn after_too_many_alerts_a_slow_client_gets_a_snapshot() {
    let house = house(Config {
        client_queue: 8,
        ..Config::default()
    });
    let mut slow = house.open("/events", None).await;
    slow.expect("snapshot").await;
    for n in 0..5000 {
        house
            .updates
            .send(alert(&format!("x{n}"), AlertState::Resolved))
            .await
            .unwrap();
    }
    house
        .updates
        .send(alert("y", AlertState::Firing))
        .await
        .unwrap();
    house.newest(5001).await;
    slow.expect("gap").await;
    let snapshot = slow.expect("snapshot").await;
    assert_eq!(snapshot.data["alerts"][0]["id"], "y");
}

#[tokio::test(start_paused = true)]
async fn an_idle_stream_beats() {
    let house = house(Config::default());
    let mut reader = house.open("/events?types=alert", None).await;
    reader.expect("snapshot").await;
    let begin = tokio::time::Instant::now();
    for _ in 0..3 {
        let beat = reader.expect("status").await;
        assert_eq!(beat.id, None);
        assert_eq!(
            beat.data,
            json!({"key": "beat", "value": {"now_ms": 1_800_000_000_000_i64}})
        );
    }
    assert!(begin.elapsed() <= Duration::from_secs(15));
}

#[tokio::test]
async fn a_client_that_speaks_something_else_takes_whole_events_apart() {
    let house = house(Config::default());
    house.say(readings(&["a/t", "b/t"], 1, 1.0)).await;
    let filter = Filter::of(["a"], ["readings"]).unwrap();
    let mut client = house.hub.join(filter.clone(), []).await.unwrap();
    let snapshot = client.next_event().await.unwrap();
    assert_eq!(snapshot.kind(), "snapshot");
    let data: JsonValue = serde_json::from_slice(&snapshot.data()).unwrap();
    assert_eq!(data["series"][0]["id"], "a/t");
    // A wait that is given up loses nothing.
    let given_up = timeout(Duration::from_millis(1), client.next_event()).await;
    assert!(given_up.is_err());
    for ms in 2..=3 {
        house.say(readings(&["a/t", "b/t"], ms, 1.0)).await;
    }
    let heard = client.next_event().await.unwrap();
    assert_eq!(heard.kind(), "readings");
    assert_eq!(
        &heard.data()[..],
        br#"{"series":{"a/t":{"t":[2],"v":[1.0]}}}"#
    );
    drop(client);
    let mut client = house.hub.join(filter, heard.id()).await.unwrap();
    assert_eq!(client.next_event().await.unwrap().kind(), "resume");
    let missed = client.next_event().await.unwrap();
    assert_eq!(
        &missed.data()[..],
        br#"{"series":{"a/t":{"t":[3],"v":[1.0]}}}"#
    );
    house.stop.cancel();
    let bye = client.next_event().await.unwrap();
    assert_eq!((bye.kind(), bye.id()), ("bye", None));
    assert!(client.next_event().await.is_none());
    let late = house.hub.join(Filter::of([], []).unwrap(), []).await;
    assert!(late.is_err_and(|refused| refused.retry_ms >= 1000));
}

fn device_in(id: &str, room: &str) -> Device {
    Device {
        site: Some("attic".into()),
        labels: [("room".to_owned(), room.to_owned())].into(),
        ..device(id)
    }
}

#[tokio::test]
async fn who_wants_a_label_hears_of_devices_that_get_it_and_of_those_that_lose_it() {
    let house = house(Config::default());
    house.say(Update::Device(device_in("a", "north"))).await;
    house.say(readings(&["a/t", "a/u", "b/t"], 1, 1.0)).await;
    let mut north = house.open("/events?labels=room:north", None).await;
    let mut south = house.open("/events?labels=room:south", None).await;
    let ids = |event: &Event| -> Vec<JsonValue> {
        let series = event.data["series"].as_array().unwrap();
        series.iter().map(|s| s["id"].clone()).collect()
    };
    assert_eq!(ids(&north.expect("snapshot").await), ["a/t", "a/u"]);
    assert!(ids(&south.expect("snapshot").await).is_empty());
    house.say(Update::Device(device_in("a", "south"))).await;
    let lost = north.expect("device").await;
    assert_eq!(lost.data["labels"]["room"], "south");
    assert!(ids(&lost).is_empty());
    let come = south.expect("device").await;
    assert_eq!(
        ids(&come),
        ["a/t", "a/u"],
        "all that it has, as none was known"
    );
    house.say(readings(&["a/t", "b/t"], 2, 1.0)).await;
    let heard = south.expect("readings").await;
    assert_eq!(
        heard.data,
        json!({"series": {"a/t": {"t": [2], "v": [1.0]}}})
    );
    // Labels count as they are when a client looks: it has seen by now that the last reading is none of its.
    let nothing = timeout(Duration::from_millis(50), north.next()).await;
    assert!(nothing.is_err());
    house.say(Update::Device(device_in("a", "north"))).await;
    house.say(readings(&["a/t", "b/t"], 3, 1.0)).await;
    assert_eq!(ids(&north.expect("device").await), ["a/t", "a/u"]);
    let heard = north.expect("readings").await;
    assert_eq!(
        heard.data["series"]["a/t"]["t"],
        json!([3]),
        "not those meanwhile"
    );
}

#[tokio::test]
async fn who_wants_a_label_hears_what_was_missed_over_a_restart() {
    let house = house_after(
        Past {
            devices: vec![device_in("a", "north")],
            ..past()
        },
        Config::default(),
    );
    house.say(readings(&["a/t", "b/t"], 1, 1.0)).await;
    let mut reader = house
        .open("/events?labels=site:att*,room:north", None)
        .await;
    reader.expect("snapshot").await;
    house.say(readings(&["a/t", "b/t"], 2, 1.0)).await;
    let heard = reader.expect("readings").await;
    assert_eq!(
        heard.data,
        json!({"series": {"a/t": {"t": [2], "v": [1.0]}}})
    );
}

#[tokio::test]
async fn switched_off_streams_end_with_a_bye_and_who_comes_back_is_told_to_stop_for_good() {
    let house = house(Config::default());
    let mut reader = house.open("/events", None).await;
    reader.expect("snapshot").await;
    house.hub.enable(false);
    reader.expect("bye").await;
    assert!(reader.next().await.is_none());
    let request = || Request::get("/events").body(Body::empty()).unwrap();
    let answer = house.router.clone().oneshot(request()).await.unwrap();
    assert_eq!(answer.status(), StatusCode::NO_CONTENT);
    house.hub.enable(true);
    house.open("/events", None).await.expect("snapshot").await;
    house.stop.cancel();
    let answer = house.router.clone().oneshot(request()).await.unwrap();
    assert_eq!(answer.status(), StatusCode::OK, "a stop is not for good");
}

#[tokio::test]
async fn a_stop_ends_every_stream_with_a_bye() {
    let house = house(Config::default());
    let mut reader = house.open("/events", None).await;
    reader.expect("snapshot").await;
    house.stop.cancel();
    let bye = reader.expect("bye").await;
    assert_eq!(bye.data["retry_ms"].as_u64(), bye.retry);
    assert!(reader.next().await.is_none());
    let mut late = house.open("/events", None).await;
    late.expect("bye").await;
    assert!(late.next().await.is_none());
    house.say(readings(&["a/t"], 1, 0.0)).await;
    drop(house.updates);
    timeout(SOON, house.task).await.unwrap().unwrap();
}

#[tokio::test]
async fn the_end_of_the_engine_ends_every_stream() {
    let house = house(Config::default());
    let mut reader = house.open("/events", None).await;
    reader.expect("snapshot").await;
    drop(house.updates);
    reader.expect("bye").await;
    assert!(reader.next().await.is_none());
}

#[tokio::test]
async fn one_client_too_many_is_told_to_come_back_and_a_place_is_free_when_one_leaves() {
    let house = house(Config {
        max_clients: 1,
        ..Config::default()
    });
    let mut first = house.open("/events", None).await;
    first.expect("snapshot").await;
    let mut second = house.open("/events", None).await;
    let bye = second.expect("bye").await;
    assert!(bye.retry.unwrap() >= 5000);
    assert!(second.next().await.is_none());
    drop(first);
    house.open("/events", None).await.expect("snapshot").await;
    assert_eq!(house.hub.shared.metrics.clients.get(), 0);
}

#[tokio::test]
async fn status_news_are_said_once_and_their_keys_are_bounded() {
    let house = house(Config::default());
    let mut reader = house.open("/events?types=status", None).await;
    reader.expect("snapshot").await;
    house.hub.status("archive", json!({"state": "failing"}));
    assert_eq!(
        reader.expect("status").await.data["value"]["state"],
        "failing"
    );
    house.hub.status("archive", json!({"state": "failing"}));
    house.hub.status("archive", json!({"state": "writing"}));
    assert_eq!(
        reader.expect("status").await.data["value"]["state"],
        "writing"
    );
    for n in 0..3000 {
        house.hub.status(&format!("key{n}"), json!(n));
    }
    house.newest(2 + 1023).await;
    let first = house.open("/events", None).await.expect("snapshot").await;
    assert!(first.data["status"].as_object().unwrap().len() <= 1024);
}

#[tokio::test]
async fn an_unknown_type_is_answered_400_and_head_and_post_start_no_stream() {
    let house = house(Config::default());
    for (method, path, status) in [
        ("GET", "/events?types=reading", StatusCode::BAD_REQUEST),
        ("HEAD", "/events", StatusCode::OK),
        ("POST", "/events", StatusCode::METHOD_NOT_ALLOWED),
    ] {
        let request = Request::builder()
            .method(method)
            .uri(path)
            .body(Body::empty())
            .unwrap();
        let response = house.router.clone().oneshot(request).await.unwrap();
        assert_eq!(response.status(), status, "{method} {path}");
        if method == "HEAD" {
            assert_eq!(
                response.headers()[header::CONTENT_TYPE],
                "text/event-stream"
            );
        }
        let body = axum::body::to_bytes(response.into_body(), 10_000)
            .await
            .unwrap();
        assert_eq!(body.is_empty(), method != "GET");
    }
    assert_eq!(house.hub.shared.metrics.snapshots.get(), 0);
}

/// The head and the first bytes of the body, over a real socket.
async fn ask(address: std::net::SocketAddr, request: &str, until: &str) -> (TcpStream, String) {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut text = String::new();
    let mut some = vec![0; 4096];
    while !text.contains(until) {
        let n = timeout(SOON, stream.read(&mut some))
            .await
            .unwrap()
            .unwrap();
        assert!(n > 0, "closed after {text}");
        text.push_str(std::str::from_utf8(&some[..n]).unwrap());
    }
    (stream, text)
}

#[tokio::test]
async fn over_a_socket_the_stream_has_the_headers_it_needs_and_lets_the_server_stop() {
    let house = house(Config::default());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let stop = house.stop.clone();
    let router = house.router.clone();
    let server = tokio::spawn(async move {
        axum::serve(listener, router)
            .with_graceful_shutdown(async move { stop.cancelled().await })
            .await
    });
    let new = "GET /events HTTP/1.1\r\nHost: x\r\n\r\n";
    let (mut open, text) = ask(address, new, "\n\n").await;
    let head = text.split_once("\r\n\r\n").unwrap().0.to_ascii_lowercase();
    for line in [
        "http/1.1 200 ok",
        "content-type: text/event-stream",
        "cache-control: no-cache, no-transform",
        "x-accel-buffering: no",
        "transfer-encoding: chunked",
    ] {
        assert!(head.contains(line), "{line} is not in {head}");
    }
    assert!(!head.contains("content-length"), "{head}");
    let (_old, text) = ask(address, "GET /events HTTP/1.0\r\n\r\n", "event: snapshot").await;
    let head = text.split_once("\r\n\r\n").unwrap().0.to_ascii_lowercase();
    assert!(
        !head.contains("chunked") && !head.contains("content-length"),
        "{head}"
    );
    house.stop.cancel();
    let mut rest = String::new();
    timeout(SOON, open.read_to_string(&mut rest))
        .await
        .unwrap()
        .unwrap();
    assert!(rest.contains("event: bye"), "{rest}");
    timeout(Duration::from_secs(2), server)
        .await
        .unwrap()
        .unwrap()
        .unwrap();
}

#[tokio::test]
async fn a_client_that_vanishes_gives_its_place_back() {
    let house = house(Config {
        beat: Duration::from_millis(100),
        ..Config::default()
    });
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let router = house.router.clone();
    tokio::spawn(async move { axum::serve(listener, router).await });
    let (open, _) = ask(address, "GET /events HTTP/1.1\r\nHost: x\r\n\r\n", "\n\n").await;
    assert_eq!(house.hub.shared.metrics.clients.get(), 1);
    drop(open);
    let gone = async {
        while house.hub.shared.metrics.clients.get() > 0 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(SOON, gone).await.unwrap();
}

#[derive(Clone, Debug)]
enum Step {
    Reading(u8),
    Alert,
    Read(u8),
    ComeBack,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (0u8..4).prop_map(Step::Reading),
        1 => Just(Step::Alert),
        3 => (1u8..6).prop_map(Step::Read),
        1 => Just(Step::ComeBack),
    ]
}

/// What a page makes of the stream.
#[derive(Debug, Default)]
struct Page {
    last_id: Option<String>,
    values: BTreeMap<String, i64>,
    alerts: std::collections::BTreeSet<String>,
}

impl Page {
    fn hear(&mut self, event: &Event) {
        let sequence = |id: &str| id.rsplit_once('.').unwrap().1.parse::<u64>().unwrap();
        if let Some(id) = &event.id {
            if let Some(last) = &self.last_id {
                assert!(
                    sequence(id) >= sequence(last),
                    "backwards: {event:?} after {last}"
                );
            }
            self.last_id = Some(id.clone());
        }
        match event.name.as_str() {
            "snapshot" => {
                self.values.clear();
                for series in event.data["series"].as_array().unwrap() {
                    let id = series["id"].as_str().unwrap().to_owned();
                    self.values.insert(id, series["t"].as_i64().unwrap());
                }
                for alert in event.data["alerts"].as_array().unwrap() {
                    self.alerts.insert(alert["id"].as_str().unwrap().to_owned());
                }
            }
            "readings" => {
                for (id, columns) in event.data["series"].as_object().unwrap() {
                    let newest = columns["t"].as_array().unwrap().last().unwrap();
                    self.values.insert(id.clone(), newest.as_i64().unwrap());
                }
            }
            "alert" => {
                let id = event.data["id"].as_str().unwrap().to_owned();
                assert!(self.alerts.insert(id), "twice: {event:?}");
            }
            _ => {}
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Slow or quick, broken off or not: in the end the page shows what is, and heard of every alert once.
    #[test]
    fn a_page_always_ends_up_with_the_truth(
        steps in proptest::collection::vec(step(), 1..80),
        replay_bytes in 500usize..8000,
        client_queue in 1usize..12,
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
        runtime.block_on(async {
            let config = Config { replay_bytes, client_queue, ..Config::default() };
            let house = house(config);
            let mut page = Page::default();
            let mut reader = house.open("/events", None).await;
            let mut truth: BTreeMap<String, i64> = BTreeMap::new();
            let mut alerts = 0;
            for (step, ms) in steps.iter().zip(1..) {
                match step {
                    Step::Reading(n) => {
                        let key = format!("d{n}/t");
                        house.say(readings(&[&key], ms, 0.0)).await;
                        truth.insert(key, ms);
                    }
                    Step::Alert => {
                        house.say(alert(&format!("x{alerts}"), AlertState::Firing)).await;
                        alerts += 1;
                    }
                    Step::Read(n) => for _ in 0..*n {
                        let quiet = Duration::from_millis(1);
                        let Ok(chunk) = timeout(quiet, reader.next()).await else { break };
                        page.hear(&chunk.unwrap());
                    },
                    Step::ComeBack => {
                        let id = page.last_id.clone();
                        reader = house.open("/events", id.as_ref().map(|id| id.as_bytes())).await;
                    }
                }
            }
            house.say(alert("end", AlertState::Firing)).await;
            // Beats never end: a page that has not heard it after so many events never will.
            for _ in 0..500 {
                if page.alerts.contains("end") {
                    break;
                }
                page.hear(&reader.next().await.unwrap());
            }
            assert_eq!(page.values, truth);
            assert_eq!(page.alerts.len(), alerts + 1);
        });
    }
}

mod restart;
