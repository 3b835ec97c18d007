use std::collections::BTreeSet;

use serde_json::Value;
use tests::{
    Door, Events, Gateway, InfluxSink, Victoria, Way, WebhookSink, eventually, sinks::Refusal,
};

const BATCH: usize = 20;

fn config(url: &str, rate: usize) -> String {
    format!(
        "[influxdb]\nurl = \"{url}\"\norg = \"o\"\nbucket = \"b\"\nlinger = \"0s\"\ntimeout = \"1s\"\nbatch_lines = {BATCH}\nbackfill_rate = {rate}\n"
    )
}

fn with_alerts(config: &str, hook: &WebhookSink) -> String {
    format!(
        "{config}[[webhook]]\nname = \"ops\"\nurl = \"{}\"\n[[rule]]\nname = \"hot\"\nseries = \"d/hot\"\nabove = 30\n",
        hook.url()
    )
}

/// Numbered readings, each in a record of its own.
async fn push(gateway: &Gateway, range: std::ops::Range<usize>) {
    for i in range {
        push_as(gateway, "v", i, i).await;
    }
}

async fn push_as(gateway: &Gateway, metric: &str, value: usize, time: usize) {
    let line = format!("m,device=d {metric}={value} {}\n", 1_763_640_000_000 + time);
    let (status, body) = gateway
        .post("/api/v2/write?precision=ms", "text/plain", line)
        .await;
    assert_eq!(status, 204, "{body}");
}

/// The numbers that a sink has stored, in its order.
fn numbers(sink: &InfluxSink) -> Vec<usize> {
    assert_eq!(sink.faults(), Vec::<String>::new());
    let number = |line: String| {
        let value = line.split(" v=").nth(1)?.split(' ').next()?;
        value.trim_end_matches(".0").parse().ok()
    };
    sink.lines().into_iter().filter_map(number).collect()
}

async fn stored(sink: &InfluxSink, what: &str, wanted: impl Fn(&[usize]) -> bool) -> Vec<usize> {
    eventually(what, || async {
        let numbers = numbers(sink);
        wanted(&numbers).then_some(numbers)
    })
    .await
}

async fn archive_is(gateway: &Gateway, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
    eventually(what, || async {
        let archive = gateway.get("/api/v1/status").await["archive"].clone();
        wanted(&archive).then_some(archive)
    })
    .await
}

async fn metric(gateway: &Gateway, name: &str) -> u64 {
    let text = reqwest::get(gateway.url("/metrics")).await.unwrap();
    let text = text.text().await.unwrap();
    let value = text
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    value
        .and_then(|v| v.parse().ok())
        .unwrap_or_else(|| panic!("{name} is not there"))
}

/// The archive goes away and comes back; `go` is told which.
async fn outage(sink: &InfluxSink, door: &Door, go: impl AsyncFn(bool)) {
    let hook = WebhookSink::start().await;
    // So slow that nothing of the backlog but its first reading gets through unless it is told to be faster.
    let gateway = Gateway::start(&with_alerts(&config(&door.url(), 1), &hook)).await;
    push(&gateway, 0..5).await;
    stored(sink, "the first readings are stored", |n| n.len() == 5).await;

    go(true).await;
    let mut events = Events::open(&gateway, "types=readings,alert").await;
    push(&gateway, 5..105).await;
    push_as(&gateway, "hot", 99, 105).await;
    // Page and alerts do not notice.
    let is_104 = |v: &Value| {
        v.as_array()
            .is_some_and(|v| v.contains(&104.into()) || v.contains(&104.0.into()))
    };
    events
        .find("the page gets the readings", |e| {
            e.kind == "readings" && is_104(&e.data["series"]["d/v"]["v"])
        })
        .await;
    eventually("the webhook hears of the alert", || async {
        (hook.accepted().len() == 1).then_some(())
    })
    .await;
    archive_is(&gateway, "the status tells it", |a| {
        a["state"] == "failing" && a["fresh"]["lag_records"] == 101 && a["detail"] != ""
    })
    .await;

    go(false).await;
    let archive = archive_is(&gateway, "the backlog is left behind", |a| {
        a["state"] == "writing" && a["backfill"]["state"] == "writing"
    })
    .await;
    assert_eq!(archive["backfill"]["stretches"], 1);
    // What comes now is stored at once; of the backlog there are the batch that was under way and the little that the rate lets by.
    push(&gateway, 106..116).await;
    let first = stored(sink, "fresh readings are stored", |n| n.contains(&115)).await;
    assert!(!first.contains(&104), "the backlog went first: {first:?}");
    let waiting = metric(&gateway, "gateway_archive_backfill_lag_records").await;
    assert!((1..=101).contains(&waiting), "{waiting}");

    // Killed in the middle of the back-fill.
    let gateway = gateway.kill().await;
    let fast = with_alerts(&config(&door.url(), 10_000), &hook);
    let gateway = gateway.start_with(&fast).await;
    let all: BTreeSet<usize> = (0..116).filter(|i| *i != 105).collect();
    let numbers = stored(sink, "everything is stored", |n| {
        n.iter().copied().collect::<BTreeSet<_>>() == all
    })
    .await;
    // Each lane is in order; what was under way when it was killed may come again, one batch a lane.
    let (mut seen, mut behind, mut fresh) = (BTreeSet::new(), Vec::new(), Vec::new());
    for n in numbers.iter().copied().filter(|n| seen.insert(*n)) {
        if n < 106 { &mut behind } else { &mut fresh }.push(n);
    }
    assert!(behind.is_sorted() && fresh.is_sorted(), "{numbers:?}");
    let twice = numbers.len() - all.len();
    assert!(twice <= 2 * BATCH, "{twice} came twice: {numbers:?}");
    archive_is(&gateway, "nothing is left", |a| {
        a["backfill"]["state"] == "idle" && a["lag_records"] == 0 && a["state"] == "writing"
    })
    .await;
    gateway.account("push", |row| row["waiting"] == 0).await;
    assert_eq!(hook.accepted().len(), 1);
}

async fn outage_at_the_door(way: Way) {
    let sink = InfluxSink::start().await;
    let door = Door::open(sink.address).await;
    outage(&sink, &door, async |away| {
        door.stand(if away { way } else { Way::Open }).await;
    })
    .await;
}

async fn outage_in_words(refusal: Refusal) {
    let sink = InfluxSink::start().await;
    let door = Door::open(sink.address).await;
    outage(&sink, &door, async |away| {
        sink.be_away(away.then(|| refusal.clone()));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_connection_delays_only_the_archive_and_fresh_readings_go_first_after_it() {
    outage_at_the_door(Way::Refused).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hanging_archive_delays_only_itself_and_fresh_readings_go_first_after_it() {
    outage_at_the_door(Way::Hanging).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_that_are_reset_delay_only_the_archive_and_fresh_readings_go_first_after_it() {
    outage_at_the_door(Way::Reset).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn too_many_requests_delay_only_the_archive_and_fresh_readings_go_first_after_it() {
    outage_in_words(Refusal {
        status: 429,
        retry_after: Some(1),
        body: "",
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_archive_that_errs_delays_only_itself_and_fresh_readings_go_first_after_it() {
    outage_in_words(Refusal::status(503)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outage_during_a_backfill_leaves_a_second_stretch_and_nothing_is_lost_or_repeated() {
    let sink = InfluxSink::start().await;
    let door = Door::open(sink.address).await;
    let gateway = Gateway::start(&config(&door.url(), 1)).await;
    let (mut from, mut stretches) = (0, 0);
    for _ in 0..3 {
        sink.be_away(Some(Refusal::status(503)));
        push(&gateway, from..from + 100).await;
        archive_is(&gateway, "it is away", |a| a["state"] == "failing").await;
        sink.be_away(None);
        stretches += 1;
        archive_is(&gateway, "the backlog is left behind", |a| {
            a["backfill"]["stretches"] == stretches && a["fresh"]["lag_records"] == 0
        })
        .await;
        push(&gateway, from + 100..from + 105).await;
        from += 105;
        stored(&sink, "fresh readings are stored", |n| {
            n.contains(&(from - 1))
        })
        .await;
    }
    // Stopped in good order, it goes on where it was: nothing comes twice.
    let (_, gateway) = gateway.stop().await;
    let before = numbers(&sink).len();
    assert!(before < 250, "the backlog was not held back: {before}");
    let gateway = gateway.start_with(&config(&door.url(), 10_000)).await;
    let mut numbers = stored(&sink, "everything is stored", |n| n.len() >= from).await;
    let back = &numbers[before..];
    assert!(back.is_sorted(), "the oldest goes first: {back:?}");
    numbers.sort_unstable();
    assert_eq!(numbers, (0..from).collect::<Vec<_>>());
    archive_is(&gateway, "nothing is left", |a| {
        a["backfill"]["state"] == "idle"
    })
    .await;
    gateway.account("push", |row| row["waiting"] == 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_with_a_backlog_archives_what_is_fresh_first() {
    let sink = InfluxSink::start().await;
    let door = Door::open(sink.address).await;
    door.stand(Way::Refused).await;
    let gateway = Gateway::start(&config(&door.url(), 10)).await;
    push(&gateway, 0..100).await;
    let gateway = gateway.kill().await;
    door.stand(Way::Open).await;
    let gateway = gateway.start().await;
    push(&gateway, 100..110).await;
    let first = stored(&sink, "fresh readings are stored", |n| n.contains(&109)).await;
    assert!(!first.contains(&99), "{first:?}");
    let mut numbers = stored(&sink, "everything is stored", |n| n.len() >= 110).await;
    let behind: Vec<usize> = numbers.iter().copied().filter(|n| *n < 100).collect();
    assert!(behind.is_sorted(), "{behind:?}");
    numbers.sort_unstable();
    assert_eq!(numbers, (0..110).collect::<Vec<_>>());
    gateway.account("push", |row| row["waiting"] == 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_real_server_gets_everything_though_the_gateway_is_killed_during_the_backfill() {
    let Some(mut victoria) = Victoria::start().await else {
        return;
    };
    let gateway = Gateway::start(&config(&victoria.url(), 100)).await;
    push(&gateway, 0..10).await;
    eventually("the first points are stored", || async {
        (victoria.points("d", "v").await.len() == 10).then_some(())
    })
    .await;
    victoria.stop().await;
    push(&gateway, 10..310).await;
    archive_is(&gateway, "it is away", |a| a["state"] == "failing").await;
    victoria.start_again().await;
    archive_is(&gateway, "the back-fill has begun", |a| {
        a["backfill"]["written"].as_u64() > Some(0) && a["backfill"]["lag_records"] != 0
    })
    .await;
    let gateway = gateway.kill().await.start().await;
    push(&gateway, 310..330).await;
    let points = eventually("all points are stored", || async {
        let points = victoria.points("d", "v").await;
        let values: BTreeSet<i64> = points.iter().map(|p| p.0).collect();
        (values.len() == 330).then_some(points)
    })
    .await;
    // VictoriaMetrics keeps a point that was sent twice: at most what was under way.
    assert!(points.len() <= 330 + 2 * BATCH, "{}", points.len());
    gateway.account("push", |row| row["waiting"] == 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn at_the_journals_limit_the_oldest_unarchived_goes_and_is_counted_and_alerts_stay() {
    let sink = InfluxSink::start().await;
    let hook = WebhookSink::start().await;
    sink.be_away(Some(Refusal::status(503)));
    let config = with_alerts(&config(&sink.url(), 10_000), &hook)
        + "[journal]\nsegment_size = \"64 KiB\"\nmax_size = \"1 MiB\"\nkeep = \"0 B\"\n";
    let gateway = Gateway::start(&config).await;
    push_as(&gateway, "hot", 99, 0).await;
    eventually("the webhook hears of the alert", || async {
        (hook.accepted().len() == 1).then_some(())
    })
    .await;
    let mut pushed = 0;
    while gateway.get("/api/v1/status").await["journal"]["dropped_unread"] == 0 {
        let lines: String = (pushed..pushed + 5_000)
            .map(|i| format!("m,device=d v={i} {}\n", 1_763_640_000_000_u64 + i as u64))
            .collect();
        let answer = gateway
            .post("/api/v2/write?precision=ms", "text/plain", lines)
            .await;
        assert_eq!(answer.0, 204, "{}", answer.1);
        pushed += 5_000;
    }
    let status = gateway.get("/api/v1/status").await;
    let dropped = status["journal"]["dropped_unread"].as_u64().unwrap();
    assert_eq!(
        metric(&gateway, "gateway_journal_dropped_unread_total").await,
        dropped
    );
    assert!(
        status["journal"]["bytes"].as_u64() <= Some(1 << 20),
        "{status}"
    );
    let alerts = gateway.get("/api/v1/alerts").await;
    assert_eq!(alerts["alerts"][0]["state"], "firing");

    sink.be_away(None);
    archive_is(&gateway, "everything is archived", |a| {
        a["lag_records"] == 0
    })
    .await;
    let dropped = gateway.get("/api/v1/status").await["journal"]["dropped_unread"].clone();
    let dropped = usize::try_from(dropped.as_u64().unwrap()).unwrap();
    let mut archived = numbers(&sink);
    archived.sort_unstable();
    assert_eq!(
        archived,
        (pushed - archived.len()..pushed).collect::<Vec<_>>(),
        "the oldest went, and only they"
    );
    // The alert's reading was on its way all the time: the limit did not take it.
    assert_eq!(archived.len() + dropped, pushed);
    gateway.account("push", |row| row["waiting"] == 0).await;
    let gateway = gateway.kill().await.start().await;
    assert_eq!(
        gateway.get("/api/v1/alerts").await["alerts"][0]["state"],
        "firing"
    );
    assert_eq!(hook.accepted().len(), 1);
}
