//! How fast a backlog is archived after an outage, beside live readings at a fixed rate: HTTP push, VictoriaMetrics behind a
//! door that refuses connections.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use serde_json::Value;
use tests::{Door, Gateway, Victoria, Way, eventually};
use tokio::time::Instant;

const TICK: Duration = Duration::from_millis(100);
const DEVICES: usize = 50;
const TRIES_AGAIN_WITHIN: Duration = Duration::from_secs(120);
/// 2025-11-20T12:00:00Z
const FIRST_MS: usize = 1_763_640_000_000;

pub(crate) async fn run(rate: usize, outage: Duration) {
    let Some(victoria) = Victoria::start().await else {
        return;
    };
    let door = Door::open(([127, 0, 0, 1], victoria.port).into()).await;
    let config = format!("[influxdb]\nurl = \"{}\"\nbucket = \"b\"\n", door.url());
    let gateway = Arc::new(Gateway::start(&config).await);
    let (pushed, stop) = (
        Arc::new(AtomicUsize::new(0)),
        Arc::new(AtomicBool::new(false)),
    );
    door.stand(Way::Refused).await;
    let began = Instant::now();
    let live = {
        let (gateway, pushed, stop) =
            (Arc::clone(&gateway), Arc::clone(&pushed), Arc::clone(&stop));
        tokio::spawn(async move { live(&gateway, rate, &pushed, &stop).await })
    };
    tokio::time::sleep(outage).await;
    let during = pushed.load(Ordering::Relaxed);
    let rate_away = per_second(during, began.elapsed());
    door.stand(Way::Open).await;
    // After a long outage the next try may be a minute away.
    let returned = Instant::now();
    while archive(&gateway).await["backfill"]["state"] != "writing" {
        assert!(
            returned.elapsed() < TRIES_AGAIN_WITHIN,
            "nothing is back-filled"
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    // What was stored before this look is left out of the figure.
    let (first, since) = (archive(&gateway).await, Instant::now());
    let (backfilled, live_before) = (
        number(&first["backfill"]["written"]),
        pushed.load(Ordering::Relaxed),
    );
    let (mut slowest, mut last) = (0, first);
    while last["backfill"]["state"] != "idle" {
        tokio::time::sleep(Duration::from_millis(50)).await;
        last = archive(&gateway).await;
        slowest = slowest.max(number(&last["fresh"]["lag_readings"]));
    }
    let elapsed = since.elapsed();
    let drained = number(&last["backfill"]["written"]) - backfilled;
    let live_rate = per_second(pushed.load(Ordering::Relaxed) - live_before, elapsed);
    stop.store(true, Ordering::Relaxed);
    live.await.expect("it pushes");
    let all = pushed.load(Ordering::Relaxed);
    eventually("all is archived", || async {
        (archive(&gateway).await["lag_records"] == 0).then_some(())
    })
    .await;
    let mut stored = 0;
    for device in 0..DEVICES {
        stored += victoria.points(&format!("d{device}"), "v").await.len();
    }
    let drain_rate = per_second(drained, elapsed);
    println!(
        "\ndrain: {} s without the archive, then the backlog beside {rate} readings/s live",
        outage.as_secs()
    );
    println!("live while away {rate_away:.0}/s, while draining {live_rate:.0}/s");
    println!(
        "drained {drained} readings in {:.1} s: {drain_rate:.0}/s, {:.1} times the live rate; fresh readings that waited at most: {slowest}",
        elapsed.as_secs_f64(),
        drain_rate / live_rate
    );
    println!(
        "lost {}, repeated {}",
        all.saturating_sub(stored),
        stored.saturating_sub(all)
    );
}

/// Pushes `rate` readings a second, each with a time of its own.
async fn live(gateway: &Gateway, rate: usize, pushed: &AtomicUsize, stop: &AtomicBool) {
    let mut ticks = tokio::time::interval(TICK);
    let began = Instant::now();
    while !stop.load(Ordering::Relaxed) {
        ticks.tick().await;
        let due = usize::try_from(began.elapsed().as_millis()).unwrap_or(0) * rate / 1_000;
        let from = pushed.load(Ordering::Relaxed);
        if due == from {
            continue;
        }
        let lines: String = (from..due)
            .map(|i| format!("m,device=d{} v={i} {}\n", i % DEVICES, FIRST_MS + i))
            .collect();
        let (status, body) = gateway
            .post("/api/v2/write?precision=ms", "text/plain", lines)
            .await;
        assert_eq!(status, 204, "{body}");
        pushed.store(due, Ordering::Relaxed);
    }
}

async fn archive(gateway: &Gateway) -> Value {
    gateway.get("/api/v1/status").await["archive"].clone()
}

fn number(value: &Value) -> usize {
    value
        .as_u64()
        .and_then(|n| usize::try_from(n).ok())
        .unwrap_or(0)
}

#[expect(clippy::cast_precision_loss, reason = "a rate for people")]
fn per_second(count: usize, elapsed: Duration) -> f64 {
    count as f64 / elapsed.as_secs_f64()
}
