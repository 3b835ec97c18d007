//! `gateway demo`: everything with simulated devices. No config, no hardware, no other server.
//!
//! The devices are those of `sensor_sim::Scenario::demo`, on real pseudo-terminals and real MQTT connections in this
//! process; the config is `config/demo.toml` with the places filled in.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
};

use anyhow::Context as _;
use sensor_sim::Scenario;
use tokio_util::sync::CancellationToken;

use super::{DemoArguments, Failure, log, run};
use crate::{
    app::App,
    config::{self, Config, SourceKind, Surroundings},
};

const CONFIG: &str = include_str!("../../../config/demo.toml");
const PAGE: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 8080);
const MQTT: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 1883);

pub(super) fn demo(arguments: DemoArguments) -> Result<(), Failure> {
    let temporary = match &arguments.data_dir {
        Some(_) => None,
        None => Some(TemporaryFolder::new()?),
    };
    let data_dir = arguments
        .data_dir
        .clone()
        .or_else(|| temporary.as_ref().map(|t| t.0.clone()))
        .unwrap_or_default();
    let serial_dir = data_dir.join("serial");
    std::fs::create_dir_all(&serial_dir)
        .with_context(|| format!("cannot make the folder {}", serial_dir.display()))?;
    let mut config = read(&data_dir)?;
    config.http.listen = arguments.listen.unwrap_or_else(|| usual_or_free(PAGE));
    config.http.login = !config.http.listen.ip().is_loopback();
    for source in &mut config.sources {
        match &mut source.kind {
            SourceKind::Serial(port) => port.device = serial_dir.join(&port.device),
            SourceKind::Listener(listener) => {
                listener.listen = arguments.mqtt.unwrap_or_else(|| usual_or_free(MQTT))
            }
            SourceKind::Mqtt(_) => {}
        }
    }
    // What the simulation does to the sensors is no news here: the page shows it.
    config.log.level = String::from("warn,sensor_sim=error,gateway::source::serial=error");
    // Nobody changes the level: the demo has no file.
    let _level = log::init(&config.log);
    run::runtime()?.block_on(async {
        let stop = CancellationToken::new();
        run::live(config, None, stop.clone(), |app| {
            let mqtt = app.listeners.first().map_or(MQTT, |(_, address)| *address);
            let scenario = Scenario::demo(mqtt.port(), &serial_dir);
            let simulation = tokio::spawn(async move {
                if let Err(error) = sensor_sim::run(scenario, stop, None).await {
                    tracing::error!(error = %crate::cause::chain(&error), "the simulation ended");
                }
            });
            introduce(app, mqtt, &serial_dir);
            // The devices go first: one whose last message nobody acknowledges would wait for a gateway that is gone.
            // A panic in the simulation was printed already.
            async { drop(simulation.await) }
        })
        .await
    })
}

fn read(data_dir: &Path) -> Result<Config, Failure> {
    let around = Surroundings {
        folder: Path::new(""),
        read_file: &|_| Err(std::io::Error::from(std::io::ErrorKind::NotFound)),
        environment: &|_| None,
    };
    let config = config::parse("config/demo.toml", CONFIG, &around)
        .map_err(|mistakes| Failure::Config(mistakes.to_string()))?;
    Ok(Config {
        data_dir: data_dir.to_owned(),
        ..config
    })
}

/// The usual address, or a free port beside it when another program has it.
fn usual_or_free(usual: SocketAddr) -> SocketAddr {
    match std::net::TcpListener::bind(usual) {
        Ok(_) => usual,
        Err(_) => SocketAddr::new(usual.ip(), 0),
    }
}

fn introduce(app: &App, mqtt: SocketAddr, serial_dir: &Path) {
    let (page, port) = (app.http_address, mqtt.port());
    println!(
        "The gateway runs with twelve simulated devices: three on serial lines, nine over MQTT.

  Page      http://{page}
  MQTT      {mqtt}
  Serial    {}

Try next:
  mosquitto_pub -p {port} -t my/sensor -m '{{\"temperature\": 21.4}}'     a reading of your own, on the page at once
  mosquitto_sub -p {port} -v -t 'greenhouse/#'                          what the simulated devices say
  curl -N http://{page}/events                              the live stream
  curl http://{page}/api/v1/status                          sources, journal, archive, losses
  curl -X POST http://{page}/api/v2/write --data 'shed,device=shed temperature=12.5'

Every two minutes the freezer warms up and raises an alert. Stop with Ctrl-C.",
        serial_dir.display(),
    );
}

/// A folder for one run, removed at the end.
struct TemporaryFolder(PathBuf);

impl TemporaryFolder {
    fn new() -> anyhow::Result<Self> {
        let path = std::env::temp_dir().join(format!("gateway-demo-{}", std::process::id()));
        std::fs::create_dir_all(&path)
            .with_context(|| format!("cannot make the folder {}", path.display()))?;
        Ok(Self(path))
    }
}

impl Drop for TemporaryFolder {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_dir_all(&self.0) {
            eprintln!("could not remove {}: {error}", self.0.display());
        }
    }
}
