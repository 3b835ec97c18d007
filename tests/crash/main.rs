//! Kills the gateway again and again under load, or cuts its power, and holds what is left to the ledger of what was
//! acknowledged. `tests/run crash` builds and runs it.
//!
//! Real parts: mosquitto with a persistent session at QoS 1, HTTP push, VictoriaMetrics, a webhook receiver, `sensor-sim` with its
//! ledger and its `verify`. With `--power-cut` the gateway's data lie on a disk that throws away what was not
//! synced. Kills come at random times: also during the start and the replay. Every tenth time the senders pause first, and the
//! restarted gateway must say the same as the killed one: series, windows, alerts, silences, the audit trail, deliveries that wait.
//! Meanwhile people make silences and acknowledge alerts, and a page listens that comes back with the last id that it heard.
//!
//! | file | job |
//! |---|---|
//! | `main.rs` | options, verdict |
//! | `course.rs` | the servers, the senders and the kills |
//! | `people.rs` | who makes silences and acknowledges, and what was promised to them |
//! | `listener.rs` | a page that is open over all kills |
//! | `standing.rs` | what a gateway says of itself, before and after |
//! | `reckoning.rs` | the end: ledger against archives, alerts against readings |
//!
//! What chance decides comes from `--seed`, which is printed; what the machine's scheduler decides does not repeat.

mod course;
mod listener;
mod people;
mod reckoning;
mod standing;

use std::{process::ExitCode, time::Duration};

const HELP: &str = "crash [KILLS] [--power-cut] [--seed N] [--uptime SECONDS]
KILLS: 100. --seed: by chance, and printed. --uptime: of a life at most, 3. Exit code 0: nothing lost, nothing repeated.";

/// What is to be done.
#[derive(Clone, Copy, Debug)]
struct Options {
    kills: u32,
    power_cut: bool,
    seed: u64,
    uptime: Duration,
}

fn options() -> Option<Options> {
    let mut options = Options {
        kills: 100,
        power_cut: false,
        seed: fastrand::u64(..1_000_000),
        uptime: Duration::from_secs(3),
    };
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--power-cut" => options.power_cut = true,
            "--seed" => options.seed = arguments.next()?.parse().ok()?,
            "--uptime" => options.uptime = Duration::from_secs(arguments.next()?.parse().ok()?),
            kills => options.kills = kills.parse().ok()?,
        }
    }
    Some(options)
}

fn main() -> ExitCode {
    let Some(options) = options() else {
        eprintln!("{HELP}");
        return ExitCode::from(2);
    };
    let Options { kills, seed, .. } = options;
    let cut = if options.power_cut {
        " --power-cut"
    } else {
        ""
    };
    println!(
        "crash {kills}{cut} --seed {seed} --uptime {}",
        options.uptime.as_secs()
    );
    drop(rustls::crypto::ring::default_provider().install_default());
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    match runtime.block_on(Box::pin(course::run(options))) {
        None => {
            println!("skipped");
            ExitCode::SUCCESS
        }
        Some(Ok(line)) => {
            println!("{line}\nnothing lost, nothing repeated");
            ExitCode::SUCCESS
        }
        Some(Err(problem)) => {
            println!("{problem}\nFAILED; again with: crash {kills}{cut} --seed {seed}");
            ExitCode::FAILURE
        }
    }
}
