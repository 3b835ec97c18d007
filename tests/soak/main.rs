//! Everything at once, with faults, for hours: does anything grow, is anything lost?
//!
//! A gateway with sensors on a broker, on its listener, over HTTP and on serial lines, browsers, a webhook and an archive runs
//! while its neighbours fail in turn. Memory, descriptors, threads and files are sampled all the time; at the end the
//! faults cease, everything must arrive, and the sensors' ledger is held against both archives. `tests/run soak 30m` builds
//! and runs it. The last line is the verdict; the exit code says the same.

mod curve;
mod faults;
mod plant;

use std::{process::ExitCode, time::Duration};

use tokio::time::Instant;

use crate::{curve::Curve, faults::Faults, plant::Plant};

const HELP: &str = "soak [TIME] [--seed N]
TIME is such as 90s, 30m (the default) or 8h; the same seed gives the same order of faults.";

/// How long everything may take to arrive when the faults have ceased.
const SETTLE_WITHIN: Duration = Duration::from_secs(300);
const SAMPLE_EVERY: Duration = Duration::from_secs(5);

fn main() -> ExitCode {
    let (mut time, mut seed) = (Duration::from_secs(1_800), fastrand::u64(..));
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        let known = match argument.as_str() {
            "--seed" => arguments
                .next()
                .and_then(|n| n.parse().ok())
                .map(|n| seed = n),
            span => sensor_sim::scenario::parse_span(span)
                .ok()
                .map(|span| time = span),
        };
        if known.is_none() {
            eprintln!("{HELP}");
            return ExitCode::from(2);
        }
    }
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    if runtime.block_on(soak(time, seed)) {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

/// Runs all of it; true if nothing was lost and nothing grew.
async fn soak(time: Duration, seed: u64) -> bool {
    println!("soak: {} s, seed {seed}", time.as_secs());
    let Some(mut plant) = Plant::start(seed, time).await else {
        return false;
    };
    let mut faults = Faults::new(seed);
    let mut curve = Curve::default();
    let until = Instant::now() + time;
    while Instant::now() < until {
        let next_sample = Instant::now() + SAMPLE_EVERY;
        curve.take(&plant).await;
        faults.step(&mut plant).await;
        tokio::time::sleep_until(next_sample).await;
    }
    faults.cease(&mut plant).await;
    plant.sensors_end().await;
    let settled = plant.settle(SETTLE_WITHIN).await;
    curve.take(&plant).await;
    curve.print();
    println!("\nfaults: {faults}");
    let mut wrong = curve.growth();
    if let Err(waiting) = settled {
        wrong.push(waiting);
    }
    wrong.extend(plant.reconcile().await);
    wrong.extend(plant.account().await);
    if wrong.is_empty() {
        println!("soak: nothing lost, nothing repeated, nothing grew");
    } else {
        println!("soak: FAILED (seed {seed}): {}", wrong.join("; "));
    }
    wrong.is_empty()
}
