//! The gateway with all its neighbours, every one of them real.

use std::{
    path::{Path, PathBuf},
    process::Stdio,
    sync::Arc,
    time::Duration,
};

use serde_json::Value;
use tempfile::TempDir;
use tests::{Gateway, Mosquitto, Victoria, WebhookSink, free_port, workspace_binary};
use tokio::{
    process::{Child, Command},
    time::{Instant, sleep, timeout},
};

/// Sensors on each way in.
const BY_BROKER: usize = 4;
const BY_LISTENER: usize = 3;
const BY_HTTP: usize = 2;
/// A busy gateway answers late; one that is held does not answer.
const PATIENCE: Duration = Duration::from_secs(2);

/// What runs.
pub(crate) struct Plant {
    pub(crate) broker: Mosquitto,
    pub(crate) archive: Victoria,
    pub(crate) webhook: WebhookSink,
    pub(crate) gateway: Gateway,
    sensors: Child,
    ledger: PathBuf,
    config: String,
    reloads: usize,
}

impl Plant {
    /// Starts everything; `None` if a peer is not installed.
    pub(crate) async fn start(seed: u64, time: Duration) -> Option<Self> {
        let (broker, archive) = (Mosquitto::start().await?, Victoria::start().await?);
        let webhook = WebhookSink::start().await;
        let dir = Arc::new(TempDir::new().expect("a temporary folder"));
        let (listener, http) = (free_port(), free_port());
        let scenario = scenario(seed, time, dir.path(), broker.port, listener, http);
        let file = dir.path().join("scenario.toml");
        std::fs::write(&file, scenario).expect("the scenario can be written");
        let ledger = dir.path().join("ledger.jsonl");
        let config = config(
            dir.path(),
            broker.port,
            listener,
            &webhook.url(),
            &archive.url(),
        );
        let gateway = Gateway::start_at(dir, &config, http).await;
        // Before the gateway's session is there, the broker keeps nothing for it.
        gateway.source_is("broker", "up").await;
        let sensors = Command::new(workspace_binary("sensor-sim"))
            .arg("run")
            .arg(&file)
            .arg("--ledger")
            .arg(&ledger)
            .env("SENSOR_SIM_LOG", "error")
            .stdout(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .expect("sensor-sim can be started");
        Some(Self {
            gateway,
            broker,
            archive,
            webhook,
            sensors,
            ledger,
            config,
            reloads: 0,
        })
    }

    /// Journal records not yet archived; `None` from a gateway that does not answer.
    pub(crate) async fn lag(&self) -> Option<u64> {
        let status = self.status().await?;
        status["archive"]["lag_records"].as_u64()
    }

    async fn status(&self) -> Option<Value> {
        let answer = timeout(PATIENCE, self.gateway.get("/api/v1/status")).await;
        answer.ok()
    }

    /// Gives it another config, in turns with and without one more rule and device.
    pub(crate) async fn reload(&mut self) {
        self.reloads += 1;
        let more = "[[rule]]\nname = \"more\"\nseries = \"*/seq\"\nbelow = 0\n[[device]]\nid = \"broker-0\"\nname = \"Renamed\"\n";
        let more = if self.reloads.is_multiple_of(2) {
            ""
        } else {
            more
        };
        let came = self.gateway.reload(&format!("{}{more}", self.config)).await;
        assert_eq!(came, "applied", "what came of a reload");
    }

    /// Waits until the sensors have sent all and heard that it was taken.
    pub(crate) async fn sensors_end(&mut self) {
        let ended = self.sensors.wait().await.expect("they were started");
        assert!(ended.success(), "sensor-sim failed: {ended}");
    }

    /// Waits until nothing is on its way any more; else says what is.
    pub(crate) async fn settle(&self, within: Duration) -> Result<(), String> {
        let until = Instant::now() + within;
        loop {
            let status = self.status().await.unwrap_or_default();
            let sources_wait = status["account"].as_array().is_none_or(|rows| {
                rows.iter()
                    .any(|row| row["waiting"].as_u64().is_none_or(|waiting| waiting > 0))
            });
            let lag = status["archive"]["lag_records"].as_u64();
            if lag == Some(0) && !sources_wait {
                return Ok(());
            }
            if Instant::now() > until {
                return Err(format!("still on its way after {within:?}: {status}"));
            }
            sleep(Duration::from_millis(500)).await;
        }
    }

    /// Holds the sensors' ledger against both archives; says what is wrong.
    pub(crate) async fn reconcile(&self) -> Vec<String> {
        let mut wrong = Vec::new();
        for (archive, url) in [
            ("--gateway", self.gateway.url("")),
            ("--victoria", self.archive.url()),
        ] {
            let said = Command::new(workspace_binary("sensor-sim"))
                .arg("verify")
                .arg(&self.ledger)
                .args([archive, &url, "--wait", "30s"])
                .output()
                .await
                .expect("sensor-sim can be started");
            let report: Value = serde_json::from_slice(&said.stdout).unwrap_or_default();
            let sum = |figure: &str| -> u64 {
                let devices = report["devices"].as_object();
                devices.map_or(0, |all| {
                    all.values().filter_map(|d| d[figure].as_u64()).sum()
                })
            };
            println!(
                "{archive}: {} sent, {} acknowledged, {} found, {} lost, {} repeated, {} unexpected",
                sum("sent"),
                sum("acknowledged"),
                sum("found"),
                sum("missing"),
                sum("repeated"),
                sum("unexpected")
            );
            if !said.status.success() {
                let words = String::from_utf8_lossy(&said.stderr).into_owned();
                wrong.push(format!("{archive}: {report} {words}"));
            }
        }
        wrong
    }

    /// The account of every source must balance.
    pub(crate) async fn account(&self) -> Vec<String> {
        let status = self.status().await.unwrap_or_default();
        let rows = status["account"].as_array().cloned().unwrap_or_default();
        rows.iter()
            .inspect(|row| println!("account: {row}"))
            .filter(|row| !balances(row))
            .map(|row| format!("the account does not balance: {row}"))
            .collect()
    }
}

fn balances(row: &Value) -> bool {
    let sum = |map: &Value| {
        map.as_object()
            .map_or(0, |m| m.values().filter_map(Value::as_u64).sum::<u64>())
    };
    let number = |key: &str| row[key].as_u64().unwrap_or_default();
    number("received")
        == number("accepted")
            + number("duplicates")
            + number("waiting")
            + sum(&row["rejected"])
            + sum(&row["dropped"])
}

fn config(folder: &Path, broker: u16, listener: u16, webhook: &str, archive: &str) -> String {
    let serial = |name: &str, mapping: &str| {
        format!(
            "[[source]]\nname = \"{name}\"\ntype = \"serial\"\ndevice = \"{}\"\nbaud_rate = 115200\n[[source.mapping]]\n{mapping}\n",
            folder.join(name).display()
        )
    };
    let lines = serial(
        "csv",
        "format = \"csv\"\ncolumns = [\"level\", \"seq\"]\ndevice = \"csv\"",
    );
    let pairs = serial("pairs", "format = \"key_value\"\ndevice = \"pairs\"");
    format!(
        "[[source]]\nname = \"broker\"\ntype = \"mqtt\"\nurl = \"mqtt://127.0.0.1:{broker}\"\n[[source.mapping]]\ntopic = \"soak/{{device}}\"\ntime = \"time\"\n\
         [[source]]\nname = \"listener\"\ntype = \"mqtt_listener\"\nlisten = \"127.0.0.1:{listener}\"\n[[source.mapping]]\ntopic = \"soak/{{device}}\"\ntime = \"time\"\n\
         {lines}{pairs}\
         [[window]]\nevery = \"10s\"\n[[window]]\nevery = \"1m\"\n\
         [[rule]]\nname = \"high\"\nseries = \"*/level\"\nabove = 60\nclear = 40\n\
         [[rule]]\nname = \"silent\"\nseries = \"*/seq\"\nno_data_for = \"5s\"\n\
         [[webhook]]\nname = \"ops\"\nurl = \"{webhook}\"\n\
         [influxdb]\nurl = \"{archive}\"\nbucket = \"soak\"\n"
    )
}

fn scenario(
    seed: u64,
    time: Duration,
    folder: &Path,
    broker: u16,
    listener: u16,
    http: u16,
) -> String {
    let mut text = format!("seed = {seed}\nduration = \"{}s\"\n", time.as_secs());
    let mut device = |id: &str, way: &str, format: &str, faults: &str| {
        text += &format!(
            "[[device]]\nid = \"{id}\"\n{way}\n{format}\nsequence = true\ninterval = \"50ms\"\n\
             signal = [{{ metric = \"level\", shape = \"sine\", offset = 50, amplitude = 30, period = \"30s\", noise = 0.5, decimals = 2 }}]\n\
             fault = [{faults}]\n"
        );
    };
    let json = "format = \"json\"\ntime = \"epoch_ms\"";
    let network = "{ kind = \"duplicate\", probability = 0.01 }, { kind = \"reorder\", probability = 0.01, depth = 3 }, { kind = \"disconnect\", every = \"45s\", for = \"2s\" }, { kind = \"drop_out\", every = \"70s\", for = \"8s\" }";
    let wire = "{ kind = \"garbage\", probability = 0.002 }, { kind = \"disconnect\", every = \"60s\", for = \"3s\" }";
    for (name, port, count) in [
        ("broker", broker, BY_BROKER),
        ("listener", listener, BY_LISTENER),
    ] {
        for index in 0..count {
            let way = format!("mqtt = {{ port = {port}, topic = \"soak/{{device}}\", qos = 1 }}");
            device(&format!("{name}-{index}"), &way, json, network);
        }
    }
    for index in 0..BY_HTTP {
        let way = format!("http = {{ url = \"http://127.0.0.1:{http}/api/v1/readings\" }}");
        device(&format!("http-{index}"), &way, json, network);
    }
    for (name, format) in [("csv", "csv"), ("pairs", "key_value")] {
        let way = format!("serial = {{ link = \"{}\" }}", folder.join(name).display());
        device(name, &way, &format!("format = \"{format}\""), wire);
    }
    text
}
