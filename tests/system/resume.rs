use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
};

use serde_json::{Value, json};
use tests::{DEADLINE, Event, Events, Gateway, eventually, free_port};

const LATER: i64 = 1_763_640_000_000;
const CONFIG: &str = "[store]\njudge_within = \"36500d\"\nlateness = \"0s\"\nkept_windows = 10000\n[[window]]\nevery = \"1s\"\n\
    [[rule]]\nname = \"hot\"\nseries = \"boiler/temperature\"\nabove = 80\nclear = 70\n";

async fn push(gateway: &Gateway, value: f64, at_ms: i64) {
    let body =
        json!({ "device": "boiler", "metric": "temperature", "value": value, "time": at_ms });
    let (status, answer) = gateway
        .post("/api/v1/readings", "application/json", body.to_string())
        .await;
    assert_eq!(status, 200, "{answer}");
}

/// Opens a stream after the last id, by header or by query.
async fn open(url: &str, last_id: Option<&str>, by_header: bool) -> Option<Events> {
    match last_id {
        Some(id) if !by_header => {
            let sign = if url.contains('?') { '&' } else { '?' };
            Events::try_open(&format!("{url}{sign}last_event_id={id}"), None).await
        }
        id => Events::try_open(url, id).await,
    }
}

/// What a client has heard, event by event.
#[derive(Debug, Default)]
struct Heard {
    first: Vec<String>,
    epochs: BTreeSet<String>,
    points: BTreeMap<i64, f64>,
    windows: Vec<(i64, Value)>,
    alerts: Vec<(String, String)>,
    last_id: Option<String>,
}

impl Heard {
    fn hear(&mut self, event: &Event) {
        let data = &event.data;
        if let Some(id) = &event.id {
            self.last_id = Some(id.clone());
        }
        match event.kind.as_str() {
            "snapshot" | "resume" => {
                self.first.push(event.kind.clone());
                self.epochs
                    .insert(data["epoch"].as_str().unwrap().to_owned());
            }
            "readings" => {
                let column = &data["series"]["boiler/temperature"];
                let values = column["v"].as_array().into_iter().flatten();
                for (t, v) in column["t"].as_array().into_iter().flatten().zip(values) {
                    let before = self.points.insert(t.as_i64().unwrap(), v.as_f64().unwrap());
                    assert_eq!(before, None, "twice: {event:?}");
                }
            }
            "window" => self
                .windows
                .push((data["start_ms"].as_i64().unwrap(), data["count"].clone())),
            "alert" => {
                let text = |name: &str| data[name].as_str().unwrap().to_owned();
                self.alerts.push((text("id"), text("state")));
            }
            "gap" => panic!("this client is quick: {event:?}"),
            _ => {}
        }
    }

    /// Hears until `enough`.
    async fn until(&mut self, events: &mut Events, enough: impl Fn(&Self) -> bool) {
        while !enough(self) {
            let event = events.next().await.expect("the stream goes on");
            self.hear(&event);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_stop_and_after_a_kill_a_client_hears_what_it_missed_and_nothing_twice() {
    let port = free_port();
    let dir = Arc::new(tempfile::tempdir().unwrap());
    let mut gateway = Gateway::start_at(dir, CONFIG, port).await;
    let url = gateway.url("/events");
    let mut heard = Heard::default();
    let mut events = open(&url, None, true).await.unwrap();
    push(&gateway, 90.0, LATER).await;
    heard
        .until(&mut events, |h| h.points.len() == 1 && h.alerts.len() == 1)
        .await;
    for round in 1..=4_i64 {
        drop(events);
        let at = LATER + round * 10_000;
        let value = if round % 2 == 1 { 60.0 } else { 90.0 };
        push(&gateway, value, at).await;
        gateway.value("boiler/temperature", |v| *v == value).await;
        let stopped = if round <= 2 {
            gateway.stop().await.1
        } else {
            gateway.kill().await
        };
        gateway = stopped.start_at(port).await;
        push(&gateway, value, at + 1).await;
        let id = heard.last_id.clone();
        events = open(&url, id.as_deref(), round % 2 == 0).await.unwrap();
        let expected = 1 + usize::try_from(round).unwrap();
        heard
            .until(&mut events, |h| {
                h.points.len() == 2 * expected - 1
                    && h.alerts.len() == expected
                    && h.windows.len() >= expected - 1
            })
            .await;
        assert_eq!(heard.first.last().unwrap(), "resume");
        assert_eq!(heard.first.len(), expected);
    }
    assert_eq!(heard.epochs.len(), 1);
    let states: Vec<_> = heard
        .alerts
        .iter()
        .map(|(_, state)| state.as_str())
        .collect();
    assert_eq!(
        states,
        ["firing", "resolved", "firing", "resolved", "firing"]
    );
    let starts: Vec<_> = heard
        .windows
        .iter()
        .map(|(start, _)| start - LATER)
        .collect();
    assert_eq!(starts, [0, 10_000, 20_000, 30_000]);
}

/// Says what a client on the page hears until the sentinel, over any number of broken connections.
async fn follow(
    url: String,
    by_header: bool,
    done: Arc<AtomicI64>,
    alerts: Arc<AtomicI64>,
    opened: tokio::sync::oneshot::Sender<()>,
) -> Heard {
    let mut heard = Heard::default();
    let mut opened = Some(opened);
    let last = |heard: &Heard| heard.windows.last().map(|(start, _)| *start);
    loop {
        let Some(mut events) = open(&url, heard.last_id.as_deref(), by_header).await else {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
            continue;
        };
        while let Some(event) = events.next().await {
            heard.hear(&event);
            if let Some(opened) = opened.take() {
                opened.send(()).unwrap();
            }
            let end = done.load(Ordering::SeqCst);
            let changes = alerts.load(Ordering::SeqCst);
            // The windows of a record are told before its readings.
            let all_points = url.contains("types=") || heard.points.contains_key(&(end + 2_000));
            if end > 0
                && last(&heard) == Some(end)
                && all_points
                && heard.alerts.len() as i64 >= changes
            {
                return heard;
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_resume_over_many_kills_under_load_and_miss_nothing() {
    const KILLS: i64 = 12;
    let port = free_port();
    let dir = Arc::new(tempfile::tempdir().unwrap());
    let mut gateway = Gateway::start_at(dir, CONFIG, port).await;
    let done = Arc::new(AtomicI64::new(0));
    let alerts = Arc::new(AtomicI64::new(0));
    let mut clients = Vec::new();
    for n in 0..5 {
        // One hears of windows and alerts alone.
        let url = gateway.url(if n == 4 {
            "/events?types=window,alert"
        } else {
            "/events"
        });
        let (opened, is_open) = tokio::sync::oneshot::channel();
        clients.push(tokio::spawn(follow(
            url,
            n % 2 == 0,
            Arc::clone(&done),
            Arc::clone(&alerts),
            opened,
        )));
        is_open.await.unwrap();
    }
    // Each reading is sent until it is acknowledged.
    let pushed = Arc::new(AtomicI64::new(0));
    let stop = Arc::new(AtomicI64::new(0));
    let (counter, stopping, url) = (
        Arc::clone(&pushed),
        Arc::clone(&stop),
        gateway.url("/api/v1/readings"),
    );
    let load = tokio::spawn(async move {
        let client = reqwest::Client::new();
        for n in 0.. {
            let value = if n / 30 % 2 == 1 { 90.0 } else { 60.0 };
            let reading = json!({ "device": "boiler", "metric": "temperature", "value": value, "time": LATER + n * 100 });
            loop {
                let answer = client.post(&url).json(&reading).send().await;
                if answer.is_ok_and(|answer| answer.status() == 200) {
                    break;
                }
                tokio::time::sleep(std::time::Duration::from_millis(10)).await;
            }
            counter.store(n + 1, Ordering::SeqCst);
            if stopping.load(Ordering::SeqCst) == 1 {
                return n;
            }
        }
        unreachable!("it is stopped before that")
    });
    for kill in 1..=KILLS {
        eventually("readings are pushed", || async {
            (pushed.load(Ordering::SeqCst) >= kill * 47).then_some(())
        })
        .await;
        gateway = gateway.kill().await.start_at(port).await;
    }
    stop.store(1, Ordering::SeqCst);
    let newest = load.await.unwrap();
    // A reading far ahead closes all windows before it.
    let last = (LATER + newest * 100) / 1000 * 1000;
    push(&gateway, 60.0, last + 60_000).await;
    let ended = eventually("all alerts end", || async {
        let all = gateway.get("/api/v1/alerts?state=all&limit=1000").await;
        let all = all["alerts"].as_array()?.clone();
        all.iter()
            .all(|a| a["state"] == "resolved")
            .then_some(all.len())
    })
    .await;
    assert!(ended > 5);
    alerts.store(2 * ended as i64, Ordering::SeqCst);
    // The last reading closes the window of that one, and ends the test for who has heard both.
    done.store(last + 60_000, Ordering::SeqCst);
    push(&gateway, 60.0, last + 62_000).await;
    let all = gateway
        .get(&format!(
            "/api/v1/series/boiler/temperature/points?from={LATER}&to={}&points=5000",
            last + 1_000
        ))
        .await;
    let all: Vec<i64> = all["t"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(Value::as_i64)
        .collect();
    assert_eq!(
        all,
        (0..=newest).map(|n| LATER + n * 100).collect::<Vec<_>>()
    );
    let mut kept = Vec::new();
    for (client, n) in clients.into_iter().zip(0..) {
        let heard = tokio::time::timeout(DEADLINE, client)
            .await
            .expect("it hears the end")
            .unwrap();
        let (snapshots, resumes) = heard.first.split_at(1);
        assert_eq!(snapshots, ["snapshot"], "{n}");
        assert_eq!(resumes, vec!["resume"; resumes.len()], "{n}");
        assert_eq!(heard.epochs.len(), 1, "{n}");
        let starts: Vec<i64> = heard
            .windows
            .iter()
            .map(|(start, _)| *start)
            .take_while(|start| *start <= last)
            .collect();
        assert_eq!(
            starts,
            (LATER..=last).step_by(1000).collect::<Vec<_>>(),
            "{n}"
        );
        for (start, count) in heard.windows.iter().filter(|(start, _)| *start < last) {
            assert_eq!(*count, 10, "{n}: window {start}");
        }
        if n < 4 {
            let points: Vec<i64> = heard
                .points
                .keys()
                .copied()
                .take_while(|t| *t < last + 1_000)
                .collect();
            assert!(points == all, "{n}: {} of {}", points.len(), all.len());
        }
        assert_eq!(heard.alerts.len(), 2 * ended, "{n}: {:?}", heard.alerts);
        kept.push(heard.alerts);
    }
    assert!(kept.iter().all(|alerts| *alerts == kept[0]));
    let push = gateway.account("push", |a| a["waiting"] == 0).await;
    assert!(push["accepted"].as_u64() > Some(0));
}

/// The epoch and the last id of a client that heard one reading of a fresh gateway.
async fn listen_once(gateway: &Gateway) -> (String, String) {
    let mut events = Events::open(gateway, "").await;
    let epoch = events.next().await.unwrap().data["epoch"]
        .as_str()
        .unwrap()
        .to_owned();
    push(gateway, 21.0, LATER).await;
    events.find("the reading", |e| e.kind == "readings").await;
    (epoch, events.last_id.unwrap())
}

/// After `harm` to its files, a client begins anew, in another epoch, and goes on in that one after the next start.
async fn loses_continuity(graceful: bool, harm: impl Fn(&Path)) {
    let gateway = Gateway::start(CONFIG).await;
    let (epoch, id) = listen_once(&gateway).await;
    let stopped = if graceful {
        gateway.stop().await.1
    } else {
        gateway.kill().await
    };
    harm(&stopped.dir.path().join("data"));
    let gateway = stopped.start().await;
    let mut events = Events::open(&gateway, &format!("last_event_id={id}")).await;
    let first = events.next().await.unwrap();
    assert_eq!(first.kind, "snapshot");
    let other = first.data["epoch"].as_str().unwrap().to_owned();
    assert_ne!(other, epoch);
    let id = first.id.unwrap();
    let gateway = gateway.kill().await.start().await;
    let mut events = Events::open(&gateway, &format!("last_event_id={id}")).await;
    let first = events.next().await.unwrap();
    assert_eq!(
        (first.kind.as_str(), first.data["epoch"].as_str()),
        ("resume", Some(other.as_str()))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn when_the_journal_was_deleted_the_epoch_changes() {
    for graceful in [true, false] {
        loses_continuity(graceful, |data| {
            std::fs::remove_dir_all(data.join("journal")).unwrap()
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn when_the_state_was_deleted_or_damaged_the_epoch_changes() {
    loses_continuity(true, |data| {
        for name in ["state.sqlite", "state.sqlite-wal", "state.sqlite-shm"] {
            drop(std::fs::remove_file(data.join(name)));
        }
    })
    .await;
    loses_continuity(true, |data| {
        drop(std::fs::remove_file(data.join("state.sqlite-wal")));
        std::fs::write(data.join("state.sqlite"), "no database at all").unwrap();
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn when_an_older_journal_was_put_back_the_epoch_changes_and_no_number_means_two_things() {
    let gateway = Gateway::start(CONFIG).await;
    let (epoch, _) = listen_once(&gateway).await;
    let (_, stopped) = gateway.stop().await;
    let data = stopped.dir.path().join("data");
    let copy = |from: &str, to: &str| {
        std::fs::create_dir_all(data.join(to)).unwrap();
        for file in std::fs::read_dir(data.join(from)).unwrap() {
            let file = file.unwrap();
            std::fs::copy(file.path(), data.join(to).join(file.file_name())).unwrap();
        }
    };
    copy("journal", "copy");
    let gateway = stopped.start().await;
    let mut events = Events::open(&gateway, "").await;
    for n in 1..=5 {
        push(&gateway, 22.0 + n as f64, LATER + n * 1_000).await;
    }
    events
        .find("the last", |e| {
            e.data["series"]["boiler/temperature"]["t"]
                .as_array()
                .is_some_and(|t| t.last() == Some(&json!(LATER + 5_000)))
        })
        .await;
    let id = events.last_id.clone().unwrap();
    let (_, stopped) = gateway.stop().await;
    std::fs::remove_dir_all(data.join("journal")).unwrap();
    copy("copy", "journal");
    let gateway = stopped.start().await;
    let mut events = Events::open(&gateway, &format!("last_event_id={id}")).await;
    let first = events.next().await.unwrap();
    assert_eq!(first.kind, "snapshot");
    assert_ne!(first.data["epoch"], epoch.as_str());
}

#[tokio::test(flavor = "multi_thread")]
async fn who_was_away_for_longer_than_is_kept_gets_a_snapshot() {
    let gateway = Gateway::start(&format!("{CONFIG}[live]\nreplay = \"64 KiB\"\n")).await;
    let (epoch, id) = listen_once(&gateway).await;
    let lines: String = (1..=3_000)
        .map(|n| format!("boiler temperature={n} {}\n", LATER + n * 10))
        .collect();
    for chunk in lines.as_bytes().chunks(3_000) {
        // Cut anywhere: half a line is a reject, and costs nothing else.
        gateway
            .post(
                "/write?precision=ms",
                "text/plain",
                String::from_utf8_lossy(chunk).into_owned(),
            )
            .await;
    }
    let gateway = gateway.kill().await.start().await;
    let mut events = Events::open(&gateway, &format!("last_event_id={id}")).await;
    let first = events.next().await.unwrap();
    assert_eq!(first.kind, "snapshot");
    assert_eq!(first.data["epoch"], epoch.as_str(), "nothing was lost");
}
