//! Benchmarks of the whole gateway against real peers on this machine. `tests/run bench` builds and runs them.
//!
//! Each figure is one line of a table; nothing is judged here. Machines are noisy: saturation runs alternate between the
//! gateway and a bare rumqttc loop that only counts, and the medians are printed with their spread.

mod demo;
mod drain;
mod fanout;
mod journal;
mod latency;
mod memory;
mod nab;
mod neighbours;
mod publisher;
mod rules;
mod saturation;
mod webhook;
mod writes;

use std::time::Duration;

const HELP: &str =
    "bench [saturation] [latency] [webhook] [journal] [drain] [neighbours] [fanout] [memory] [demo] [writes] [rules] [nab] [--messages N] [--rounds N]
      [--demo-minutes N] [--live-rate N] [--outage-seconds N] [--points N] [--writes-minutes N] [--writes-rate N]
      [--rules-seconds N] [--fanout-seconds N]
Without a name all run. Defaults: 200000 messages, 3 rounds, 5 minutes of demo and of writes (at 10, 100 and 1000 readings/s); drain: 1000 readings/s live, 120
seconds; memory: 700 points a series (full); rules: 20 seconds each; fanout: 10 seconds each.";

fn main() {
    let mut names = Vec::new();
    let (mut messages, mut rounds, mut minutes) = (200_000_usize, 3_usize, 5_u64);
    let (mut live_rate, mut outage) = (1_000_usize, 120_u64);
    let mut points = 700_usize;
    let mut writes_minutes = 5;
    let mut writes_rate = None;
    let mut rules_seconds = 20;
    let mut fanout_seconds = 10;
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        let mut number = || arguments.next().and_then(|n| n.parse::<u64>().ok());
        let known = match argument.as_str() {
            "saturation" | "latency" | "webhook" | "journal" | "drain" | "neighbours"
            | "fanout" | "memory" | "demo" | "writes" | "rules" | "nab" => {
                names.push(argument.clone());
                true
            }
            "--messages" => number()
                .map(|n| messages = usize::try_from(n).unwrap_or(messages))
                .is_some(),
            "--rounds" => number()
                .map(|n| rounds = usize::try_from(n).unwrap_or(rounds))
                .is_some(),
            "--points" => number()
                .map(|n| points = usize::try_from(n).unwrap_or(points))
                .is_some(),
            "--demo-minutes" => number().map(|n| minutes = n).is_some(),
            "--live-rate" => number()
                .map(|n| live_rate = usize::try_from(n).unwrap_or(live_rate))
                .is_some(),
            "--outage-seconds" => number().map(|n| outage = n).is_some(),
            "--rules-seconds" => number().map(|n| rules_seconds = n).is_some(),
            "--fanout-seconds" => number().map(|n| fanout_seconds = n).is_some(),
            "--writes-minutes" => number().map(|n| writes_minutes = n).is_some(),
            "--writes-rate" => number().map(|n| writes_rate = Some(n)).is_some(),
            _ => false,
        };
        if !known {
            eprintln!("{HELP}");
            std::process::exit(2);
        }
    }
    drop(rustls::crypto::ring::default_provider().install_default());
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(async {
        let wanted = |name: &str| names.is_empty() || names.iter().any(|n| n == name);
        if wanted("saturation") {
            saturation::run(messages, rounds).await;
        }
        if wanted("latency") {
            latency::run(Duration::from_secs(30)).await;
        }
        if wanted("webhook") {
            webhook::run(Duration::from_secs(20)).await;
        }
        if wanted("journal") {
            journal::run().await;
        }
        if wanted("drain") {
            drain::run(live_rate, Duration::from_secs(outage)).await;
        }
        if wanted("neighbours") {
            neighbours::run(messages, rounds).await;
        }
        if wanted("fanout") {
            fanout::run(Duration::from_secs(fanout_seconds), rounds).await;
        }
        if wanted("memory") {
            memory::run(points).await;
        }
        if wanted("demo") {
            demo::run(Duration::from_secs(60 * minutes)).await;
        }
        if wanted("nab") {
            nab::run();
        }
        if wanted("writes") {
            writes::run(Duration::from_secs(60 * writes_minutes), writes_rate).await;
        }
        if wanted("rules") {
            rules::run(Duration::from_secs(rules_seconds)).await;
        }
    });
}

#[expect(clippy::cast_precision_loss, reason = "a rate for people")]
fn rate(messages: usize, elapsed: Duration) -> f64 {
    messages as f64 / elapsed.as_secs_f64()
}

/// A value of a sorted list at a share between 0 and 1 (nearest rank).
#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a rank in a list"
)]
fn quantile(sorted: &[f64], share: f64) -> f64 {
    let rank = (share * sorted.len() as f64).ceil() as usize;
    sorted
        .get(rank.saturating_sub(1).min(sorted.len().saturating_sub(1)))
        .copied()
        .unwrap_or(f64::NAN)
}
