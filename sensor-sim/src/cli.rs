//! The command line. Exit 0: done and well; 1: failed, or `verify` found something missing; 2: wrong use or a
//! scenario that can't be used.

use std::{
    io::Write as _,
    path::{Path, PathBuf},
    process::ExitCode,
    time::Duration,
};

use anyhow::Context as _;
use clap::{Args, Parser, Subcommand};
use serde::Serialize;
use tokio_util::sync::CancellationToken;

use crate::{
    ledger::Ledger,
    load,
    replay::{self, Target},
    run,
    scenario::{Qos, Scenario, Version},
    verify::{self, Archive, Report},
};

const DONE: u8 = 0;
const FAILED: u8 = 1;
const WRONG_USE: u8 = 2;

/// Simulated sensors with faults, and the ledger of what they sent.
#[derive(Debug, Parser)]
#[command(name = "sensor-sim", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run a scenario until its end, or until Ctrl-C; prints what became of the messages as JSON.
    Run {
        /// The scenario, TOML.
        scenario: PathBuf,
        /// Keep a ledger in this file (it goes on at its end).
        #[arg(long)]
        ledger: Option<PathBuf>,
        /// Instead of the scenario's own.
        #[arg(long)]
        seed: Option<u64>,
        /// Instead of the scenario's own, such as 30s.
        #[arg(long, value_parser = crate::scenario::parse_span)]
        duration: Option<Duration>,
    },
    /// Send a captured file again: .jsonl (MQTT), .csv, .lp, anything else as raw serial bytes.
    Replay(ReplayArgs),
    /// Send numbered MQTT messages as fast as they go; prints rate and latency as JSON.
    Load(LoadArgs),
    /// Hold a ledger against what an archive holds; exit 1 if something is missing or repeated.
    Verify(VerifyArgs),
}

#[derive(Debug, Args)]
struct ReplayArgs {
    /// The captured file.
    capture: PathBuf,
    #[command(flatten)]
    target: ReplayTarget,
    /// Quality of service.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u8).range(0..=2))]
    qos: u8,
    /// Bits a second of the serial line.
    #[arg(long, default_value_t = 9_600)]
    baud: u32,
    /// Faster than 1 or slower.
    #[arg(long, default_value_t = 1.0)]
    speed: f64,
    /// Messages a second for captures without times.
    #[arg(long, default_value_t = 10.0)]
    rate: f64,
    /// The column with the times of a CSV file.
    #[arg(long)]
    csv_time: Option<String>,
    /// The device of a CSV file.
    #[arg(long)]
    device: Option<String>,
    /// For the sizes of the chunks on a serial line.
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
struct ReplayTarget {
    /// To a broker.
    #[arg(long, value_name = "HOST:PORT", value_parser = host_port)]
    mqtt: Option<(String, u16)>,
    /// To a pseudo-terminal with this link.
    #[arg(long, value_name = "LINK")]
    serial: Option<PathBuf>,
    /// By POST.
    #[arg(long, value_name = "URL")]
    http: Option<String>,
}

#[derive(Debug, Args)]
struct LoadArgs {
    /// The broker.
    #[arg(long, value_name = "HOST:PORT", value_parser = host_port)]
    mqtt: (String, u16),
    /// TCP connections.
    #[arg(long, default_value_t = 1)]
    connections: u32,
    /// Topics, and so devices; at least one a connection.
    #[arg(long, default_value_t = 1)]
    topics: u32,
    /// Quality of service.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u8).range(0..=2))]
    qos: u8,
    /// Protocol 5 instead of 3.1.1.
    #[arg(long)]
    v5: bool,
    /// Messages in all.
    #[arg(long)]
    messages: u64,
    /// Messages a second in all.
    #[arg(long)]
    rate: Option<f64>,
    /// No message is sent later than this.
    #[arg(long, default_value = "60s", value_parser = crate::scenario::parse_span)]
    max_time: Duration,
    /// Unacknowledged messages of one connection.
    #[arg(long, default_value_t = 100)]
    in_flight: u16,
    /// Load a broker on another machine.
    #[arg(long)]
    allow_remote: bool,
    /// Keep a ledger in this file.
    #[arg(long)]
    ledger: Option<PathBuf>,
}

#[derive(Debug, Args)]
struct VerifyArgs {
    /// What `run` or `load` wrote.
    ledger: PathBuf,
    #[command(flatten)]
    archive: VerifyArchive,
    /// VictoriaMetrics: the measurement that the gateway writes.
    #[arg(long, default_value = "sensor")]
    measurement: String,
    /// Look again until nothing is missing, at most so long.
    #[arg(long, default_value = "0s", value_parser = crate::scenario::parse_span)]
    wait: Duration,
}

#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
struct VerifyArchive {
    /// A gateway's own archive, such as http://127.0.0.1:8080
    #[arg(long, value_name = "URL")]
    gateway: Option<String>,
    /// VictoriaMetrics, such as http://127.0.0.1:8428
    #[arg(long, value_name = "URL")]
    victoria: Option<String>,
}

/// Reads the arguments of the process, does what they say, and returns its exit code.
#[must_use]
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Nothing can be told if even this can't be printed.
            let _ = error.print();
            return if error.use_stderr() { WRONG_USE } else { DONE }.into();
        }
    };
    let filter = tracing_subscriber::EnvFilter::try_from_env("SENSOR_SIM_LOG")
        .unwrap_or_else(|_| "sensor_sim=info".into());
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .init();
    let runtime = match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => {
            complain(&anyhow::Error::new(error).context("can't start"));
            return FAILED.into();
        }
    };
    match runtime.block_on(Box::pin(obey(cli.command))) {
        Ok(code) => code.into(),
        Err(error) => {
            complain(&error);
            FAILED.into()
        }
    }
}

async fn obey(command: Command) -> anyhow::Result<u8> {
    let stop = CancellationToken::new();
    let _signals = tokio_util::task::AbortOnDropHandle::new(tokio::spawn(on_signal(stop.clone())));
    match command {
        Command::Run {
            scenario: path,
            ledger,
            seed,
            duration,
        } => {
            let text = match std::fs::read_to_string(&path) {
                Ok(text) => text,
                Err(error) => {
                    complain(
                        &anyhow::Error::new(error)
                            .context(format!("can't read {}", path.display())),
                    );
                    return Ok(WRONG_USE);
                }
            };
            let mut scenario = match Scenario::parse(&text) {
                Ok(scenario) => scenario,
                Err(error) => {
                    complain(&anyhow::anyhow!("{}:\n{error}", path.display()));
                    return Ok(WRONG_USE);
                }
            };
            scenario.seed = seed.unwrap_or(scenario.seed);
            scenario.duration = duration.or(scenario.duration);
            let ledger = open_ledger(ledger.as_deref(), scenario.seed)?;
            let summary = Box::pin(run::run(scenario, stop, ledger)).await?;
            print(&summary)?;
            Ok(DONE)
        }
        Command::Replay(args) => {
            print(&Box::pin(replay::replay(&args.into(), stop)).await?)?;
            Ok(DONE)
        }
        Command::Load(args) => {
            let outcome = tokio::select! {
                outcome = Box::pin(load::load(args.into())) => outcome?,
                () = stop.cancelled() => anyhow::bail!("stopped"),
            };
            print(&outcome)?;
            Ok(if outcome.broken_connections == 0 {
                DONE
            } else {
                FAILED
            })
        }
        Command::Verify(args) => {
            let report = verified(&args, &stop).await?;
            print(&report)?;
            Ok(if report.ok { DONE } else { FAILED })
        }
    }
}

async fn verified(args: &VerifyArgs, stop: &CancellationToken) -> anyhow::Result<Report> {
    let archive = match (&args.archive.gateway, &args.archive.victoria) {
        (Some(url), _) => Archive::gateway(url)?,
        (None, Some(url)) => Archive::victoria(url, &args.measurement)?,
        (None, None) => anyhow::bail!("either --gateway or --victoria is needed"),
    };
    let until = tokio::time::Instant::now() + args.wait;
    loop {
        let report = verify::verify(&args.ledger, &archive).await?;
        let may_heal = report.devices.values().any(|verdict| verdict.missing > 0);
        if !may_heal || tokio::time::Instant::now() >= until || stop.is_cancelled() {
            return Ok(report);
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}

fn open_ledger(path: Option<&Path>, seed: u64) -> anyhow::Result<Option<Ledger>> {
    Ok(path.map(|path| Ledger::open(path, seed)).transpose()?)
}

fn print(what: &impl Serialize) -> anyhow::Result<()> {
    let text = serde_json::to_string_pretty(what)?;
    writeln!(std::io::stdout(), "{text}").context("can't write to standard output")
}

fn complain(error: &anyhow::Error) {
    // Nothing can be told if even standard error is closed.
    let _ = writeln!(std::io::stderr(), "sensor-sim: {error:#}");
}

async fn on_signal(stop: CancellationToken) {
    use tokio::signal::unix::{SignalKind, signal};
    let (Ok(mut terminate), Ok(mut interrupt)) = (
        signal(SignalKind::terminate()),
        signal(SignalKind::interrupt()),
    ) else {
        tracing::warn!("can't listen for signals");
        return;
    };
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    stop.cancel();
}

fn host_port(text: &str) -> Result<(String, u16), String> {
    let wrong = || format!("`{text}` is not HOST:PORT");
    let (host, port) = text.rsplit_once(':').ok_or_else(wrong)?;
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let port = port.parse().map_err(|_| wrong())?;
    if host.is_empty() {
        return Err(wrong());
    }
    Ok((host.to_owned(), port))
}

fn quality(level: u8) -> Qos {
    // clap keeps it to 0..=2.
    Qos::try_from(level).unwrap_or_default()
}

impl From<ReplayArgs> for replay::Config {
    fn from(args: ReplayArgs) -> Self {
        let ReplayTarget { mqtt, serial, http } = args.target;
        let target = match (mqtt, serial, http) {
            (Some((host, port)), _, _) => Target::Mqtt {
                host,
                port,
                qos: quality(args.qos),
            },
            (_, Some(link), _) => Target::Serial {
                link,
                baud: args.baud,
            },
            (_, _, url) => Target::Http {
                url: url.unwrap_or_default(),
            },
        };
        Self {
            capture: args.capture,
            target,
            speed: args.speed,
            rate: args.rate,
            csv_time: args.csv_time,
            device: args.device,
            seed: args.seed,
        }
    }
}

impl From<LoadArgs> for load::Config {
    fn from(args: LoadArgs) -> Self {
        let (host, port) = args.mqtt;
        Self {
            host,
            port,
            connections: args.connections,
            topics: args.topics,
            qos: quality(args.qos),
            version: if args.v5 { Version::V5 } else { Version::V3 },
            messages: args.messages,
            rate: args.rate,
            max_time: args.max_time,
            in_flight: args.in_flight,
            allow_remote: args.allow_remote,
            ledger: args.ledger,
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_arguments_do_not_contradict_each_other() {
        Cli::command().debug_assert();
    }

    #[test]
    fn addresses_are_read_or_refused() {
        assert_eq!(host_port("h:1"), Ok((String::from("h"), 1)));
        assert_eq!(host_port("[::1]:1883"), Ok((String::from("::1"), 1_883)));
        for wrong in ["h", "h:", ":1", "h:99999"] {
            assert!(host_port(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_target_is_needed_and_only_one() {
        let parse = |args: &str| Cli::try_parse_from(args.split(' ')).is_ok();
        assert!(parse("sensor-sim replay x.bin --serial y"));
        assert!(!parse("sensor-sim replay x.bin"));
        assert!(!parse("sensor-sim replay x.bin --serial y --http z"));
        assert!(parse("sensor-sim verify l --victoria http://h --wait 30s"));
        assert!(!parse("sensor-sim verify l --wait 30s"));
        assert!(!parse("sensor-sim load --mqtt h:1 --messages 1 --qos 3"));
    }
}
