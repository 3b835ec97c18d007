//! What slow and dead neighbours cost: ingest alone, and beside 200 browsers that stopped reading and three webhooks that
//! hang; and at a steady rate on a disk that takes two seconds to sync. Rounds alternate, so that a busy machine is busy
//! for both.

use std::{sync::Arc, time::Duration};

use rumqttc::QoS;
use tests::{
    Disk, Gateway, HangingSink, Mosquitto,
    onslaught::{self, Scale},
};
use tokio::time::Instant;

use crate::publisher::publish;

/// 2025-11-20T12:00:00Z
const FIRST_MS: i64 = 1_763_640_000_000;
/// Messages a second on the slow disk.
const STEADY: u64 = 500;
const STEADY_FOR: Duration = Duration::from_secs(60);

pub(crate) async fn run(messages: usize, rounds: usize) {
    println!(
        "\nneighbours: {messages} messages of two readings at QoS 1, mosquitto between, {rounds} rounds each"
    );
    println!(
        "{:<46} {:>12} {:>12} {:>12}  most memory",
        "", "min msg/s", "median", "max"
    );
    let (mut alone, mut beside) = (Vec::new(), Vec::new());
    let (mut alone_bytes, mut beside_bytes) = (0, 0);
    for _ in 0..rounds {
        for (with, rates, most) in [
            (false, &mut alone, &mut alone_bytes),
            (true, &mut beside, &mut beside_bytes),
        ] {
            let Some((rate, bytes)) = round(messages, with).await else {
                return;
            };
            rates.push(rate);
            *most = bytes.max(*most);
        }
    }
    let median = |rates: &mut Vec<f64>| {
        rates.sort_by(f64::total_cmp);
        crate::quantile(rates, 0.5)
    };
    let (one, other) = (median(&mut alone), median(&mut beside));
    print("alone", &alone, alone_bytes);
    print(
        "beside 200 stalled browsers, 3 hung webhooks",
        &beside,
        beside_bytes,
    );
    println!(
        "share of the rate that is left: {:.1} %",
        100.0 * other / one
    );

    let (mut quick, mut slow) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        for (sync, rates) in [
            (Duration::ZERO, &mut quick),
            (Duration::from_secs(2), &mut slow),
        ] {
            let Some(rate) = steady(sync).await else {
                return;
            };
            rates.push(rate);
        }
    }
    let (one, other) = (median(&mut quick), median(&mut slow));
    print(&format!("{STEADY} msg/s sent, a quick disk"), &quick, 0);
    print(&format!("{STEADY} msg/s sent, 2 s for each sync"), &slow, 0);
    println!(
        "share of the rate that is left: {:.1} %",
        100.0 * other / one
    );
}

fn print(name: &str, sorted: &[f64], bytes: u64) {
    let at = |share| crate::quantile(sorted, share);
    let memory = if bytes > 0 {
        format!("{} MB", bytes / 1_000_000)
    } else {
        String::new()
    };
    println!(
        "{name:<46} {:>12.0} {:>12.0} {:>12.0}  {memory}",
        at(0.0),
        at(0.5),
        at(1.0)
    );
}

fn source(port: u16) -> String {
    format!(
        "[[source]]\nname = \"bench\"\ntype = \"mqtt\"\nurl = \"mqtt://127.0.0.1:{port}\"\n[[source.mapping]]\ntopic = \"bench/{{device}}\"\ntime = \"t\"\n"
    )
}

async fn broker() -> Option<Mosquitto> {
    Mosquitto::start_with("max_queued_messages 0\nmax_inflight_messages 1000\n").await
}

/// Messages accepted a second, and the most memory.
async fn round(messages: usize, neighbours: bool) -> Option<(f64, u64)> {
    let broker = broker().await?;
    let mut config = source(broker.port);
    let mut hung = Vec::new();
    config += "[[rule]]\nname = \"high\"\nseries = \"*/temperature\"\nabove = 20\nclear = 10\n";
    if neighbours {
        for i in 0..3 {
            let sink = HangingSink::start().await;
            config += &format!(
                "[[webhook]]\nname = \"hung-{i}\"\nurl = \"{}\"\n",
                sink.url()
            );
            hung.push(sink);
        }
    }
    let gateway = Gateway::start(&config).await;
    gateway.source_is("bench", "up").await;
    let browsers = if neighbours { 200 } else { 0 };
    let stalled = onslaught::unleash(
        &gateway,
        Scale {
            browsers,
            ..Scale::default()
        },
    )
    .await;
    let began = Instant::now();
    publish(broker.port, QoS::AtLeastOnce, messages, FIRST_MS).await;
    let last = accepted(&gateway, 2 * messages as u64).await;
    let rate = crate::rate(messages, last - began);
    let bytes = gateway.memory("VmHWM");
    drop(stalled);
    Some((rate, bytes))
}

/// Messages accepted a second where [`STEADY`] are sent, on a disk that takes `sync` for each sync.
async fn steady(sync: Duration) -> Option<f64> {
    let broker = broker().await?;
    let dir = Arc::new(tempfile::TempDir::new().ok()?);
    let disk = Disk::mount(&dir.path().join("data"))?;
    let gateway = Gateway::start_in(dir, &source(broker.port)).await;
    gateway.source_is("bench", "up").await;
    disk.slow_sync(sync);
    let each = usize::try_from(STEADY / 10).unwrap_or(50);
    let rounds = usize::try_from(STEADY_FOR.as_secs() * 10).unwrap_or(200);
    let began = Instant::now();
    let mut ticks = tokio::time::interval(Duration::from_millis(100));
    for i in 0..rounds {
        ticks.tick().await;
        let first = FIRST_MS + i64::try_from(i * each).unwrap_or(0);
        publish(broker.port, QoS::AtLeastOnce, each, first).await;
    }
    let last = accepted(&gateway, 2 * (each * rounds) as u64).await;
    disk.slow_sync(Duration::ZERO);
    Some(crate::rate(each * rounds, last - began))
}

/// When so many readings were accepted, or no more came.
async fn accepted(gateway: &Gateway, wanted: u64) -> Instant {
    let (mut count, mut changed) = (0, Instant::now());
    while count < wanted && changed.elapsed() < Duration::from_secs(10) {
        let now = gateway
            .metric("gateway_readings_accepted_total{source=\"bench\"}")
            .await;
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a count"
        )]
        let now = now as u64;
        if now > count {
            (count, changed) = (now, Instant::now());
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    if count < wanted {
        println!("only {count} of {wanted} readings were accepted");
    }
    changed
}
