//! What a reading costs the disk: bytes and syncs per 1,000 readings at 10, 100 and 1,000 readings a second, by class, with
//! InfluxDB (a sink) and history on.
//!
//! Every row is a gateway of its own with 50 devices, all at once, so that the figures are ready in minutes. Bytes are the
//! kernel's for the process; the first half minute (schemas, the first segment) does not count. Where loop devices can be
//! mounted (root), each gateway has an ext4 of its own, and what reached its device tells what the file system adds.

use std::{
    path::{Path, PathBuf},
    process::Command,
    sync::Arc,
    time::Duration,
};

use rumqttc::{AsyncClient, MqttOptions, QoS};
use serde_json::Value;
use tempfile::TempDir;
use tests::{Events, Gateway, InfluxSink, Mosquitto};

const DEVICES: usize = 50;
const WARM_UP: Duration = Duration::from_secs(30);

/// How it comes.
#[derive(Clone, Copy, PartialEq)]
enum Way {
    /// To the gateway's own listener.
    Listener,
    /// The same, with a page open.
    Watched,
    /// Through mosquitto by MQTT 3.1.1, with its 20 messages in flight.
    Mosquitto,
    /// By MQTT 5, where the gateway says how many.
    Mosquitto5,
}

#[derive(Clone, Copy)]
struct Row {
    class: &'static str,
    way: Way,
    qos: QoS,
    journal: &'static str,
    per_second: u64,
}

const fn row(class: &'static str, way: Way, qos: QoS, journal: &'static str) -> Row {
    Row {
        class,
        way,
        qos,
        journal,
        per_second: 0,
    }
}

const ROWS: [Row; 8] = [
    row("QoS 0, 1s (default)", Way::Listener, QoS::AtMostOnce, ""),
    row("QoS 1, auto (default)", Way::Listener, QoS::AtLeastOnce, ""),
    row("  with a page open", Way::Watched, QoS::AtLeastOnce, ""),
    row("  through mosquitto", Way::Mosquitto, QoS::AtLeastOnce, ""),
    row("  the same, MQTT 5", Way::Mosquitto5, QoS::AtLeastOnce, ""),
    row(
        "QoS 1, 2ms",
        Way::Listener,
        QoS::AtLeastOnce,
        "[journal]\ncommit_prompt = \"2ms\"\n",
    ),
    row(
        "QoS 1, 250ms",
        Way::Listener,
        QoS::AtLeastOnce,
        "[journal]\ncommit_prompt = \"250ms\"\n",
    ),
    row(
        "QoS 1, 1s",
        Way::Listener,
        QoS::AtLeastOnce,
        "[journal]\ncommit_prompt = \"1s\"\n",
    ),
];

/// At 10, 100 and 1,000 readings a second, or at one rate only.
pub(crate) async fn run(time: Duration, only: Option<u64>) {
    println!(
        "\nwrites: one message a reading, {DEVICES} devices, archive and history on, {} s of it",
        time.as_secs()
    );
    println!(
        "class                  rate/s   readings   syncs/1000   bytes/1000   MB/day (process)   MB/day (device)   by part: MB/day, syncs/day"
    );
    let rates = [10, 100, 1_000].into_iter();
    let rates = rates.filter(|rate| only.is_none_or(|only| only == *rate));
    let rows: Vec<_> = rates
        .flat_map(|per_second| ROWS.map(|row| Row { per_second, ..row }))
        .map(|row| tokio::spawn(measure(row, time)))
        .collect();
    for row in rows {
        println!("{}", row.await.expect("a row"));
    }
}

async fn measure(row: Row, time: Duration) -> String {
    let sink = InfluxSink::start().await;
    let dir = Arc::new(TempDir::new().expect("a temporary folder"));
    let device = Ext4::mount(dir.path());
    let broker = match row.way {
        Way::Mosquitto | Way::Mosquitto5 => match Mosquitto::start().await {
            Some(broker) => Some(broker),
            None => return format!("{}: skipped", row.class),
        },
        Way::Listener | Way::Watched => None,
    };
    let source = broker.as_ref().map_or_else(
        || String::from("type = \"mqtt_listener\"\nlisten = \"127.0.0.1:0\""),
        |broker| {
            let port = broker.port;
            let version = if row.way == Way::Mosquitto5 {
                "5"
            } else {
                "3.1.1"
            };
            format!("type = \"mqtt\"\nversion = \"{version}\"\nurl = \"mqtt://127.0.0.1:{port}\"")
        },
    );
    let gateway = Gateway::start_in(
        dir,
        &format!(
            "{}[history]\nflush_every = \"5m\"\n[influxdb]\nurl = \"{}\"\nbucket = \"bench\"\n[[source]]\nname = \"bench\"\n{source}\n[[source.mapping]]\ntopic = \"bench/{{device}}\"\nformat = \"json\"\ntime = \"t\"\n",
            row.journal,
            sink.url()
        ),
    )
    .await;
    let port = match &broker {
        Some(broker) => broker.port,
        None => gateway.listeners[0].port(),
    };
    let page = match row.way {
        Way::Watched => Some(Events::open(&gateway, "").await),
        _ => None,
    };
    let reading =
        page.map(|mut page| tokio::spawn(async move { while page.next().await.is_some() {} }));
    let publishing = tokio::spawn(publish(port, row.qos, row.per_second));
    tokio::time::sleep(WARM_UP).await;
    let before = Figures::read(&gateway, device.as_ref()).await;
    tokio::time::sleep(time).await;
    let after = Figures::read(&gateway, device.as_ref()).await;
    publishing.abort();
    if let Some(reading) = reading {
        reading.abort();
    }
    after.since(&before, &row, time)
}

/// One reading a message, evenly in time.
async fn publish(port: u16, qos: QoS, per_second: u64) {
    let mut options = MqttOptions::new("bench", "127.0.0.1", port);
    options.set_inflight(2_000);
    let (client, mut polled) = AsyncClient::new(options, 4_000);
    tokio::spawn(async move { while polled.poll().await.is_ok() {} });
    let mut ticks =
        tokio::time::interval(Duration::from_secs(1) / u32::try_from(per_second).unwrap_or(1));
    for i in 0_usize.. {
        ticks.tick().await;
        #[expect(clippy::cast_precision_loss, reason = "any number does")]
        let value = 20.0 + (i % 997) as f64 / 100.0;
        let topic = format!("bench/d{}", i % DEVICES);
        let payload = format!("{{\"temperature\":{value}}}");
        if client.publish(topic, qos, false, payload).await.is_err() {
            return;
        }
    }
}

/// An ext4 in a file, mounted on a folder.
struct Ext4 {
    mount: PathBuf,
    stat: PathBuf,
    _image: tempfile::NamedTempFile,
}

impl Ext4 {
    fn mount(dir: &Path) -> Option<Self> {
        let image = tempfile::NamedTempFile::new().ok()?;
        image.as_file().set_len(256 << 20).ok()?;
        let quiet = |program: &str, arguments: &[&str]| {
            Command::new(program)
                .args(arguments)
                .output()
                .ok()
                .filter(|out| out.status.success())
                .map(|out| String::from_utf8_lossy(&out.stdout).trim().to_owned())
        };
        let path = image.path().to_str()?;
        quiet(
            "mkfs.ext4",
            // Blocks of 4 KiB, as on a card: a small image would get 1 KiB, and a journal that costs a quarter.
            &[
                "-q",
                "-b",
                "4096",
                "-E",
                "lazy_itable_init=0,lazy_journal_init=0",
                path,
            ],
        )?;
        let device = quiet("losetup", &["--find", "--show", path])?;
        if quiet("mount", &[&device, dir.to_str()?]).is_none() {
            quiet("losetup", &["--detach", &device]);
            return None;
        }
        // Goes with the last mount.
        quiet("losetup", &["--detach", &device]);
        Some(Self {
            mount: dir.to_owned(),
            stat: Path::new("/sys/block")
                .join(Path::new(&device).file_name()?)
                .join("stat"),
            _image: image,
        })
    }

    fn written(&self) -> u64 {
        // Sectors of 512 bytes, the seventh field (Documentation/block/stat.rst).
        std::fs::read_to_string(&self.stat)
            .ok()
            .and_then(|text| text.split_whitespace().nth(6)?.parse::<u64>().ok())
            .unwrap_or_default()
            * 512
    }
}

impl Drop for Ext4 {
    fn drop(&mut self) {
        let mount = Command::new("umount")
            .arg("--lazy")
            .arg(&self.mount)
            .status();
        if !mount.is_ok_and(|status| status.success()) {
            eprintln!("{} stays mounted", self.mount.display());
        }
    }
}

struct Figures {
    readings: u64,
    disk: Value,
    process: u64,
    device: Option<u64>,
}

impl Figures {
    async fn read(gateway: &Gateway, device: Option<&Ext4>) -> Self {
        let status = gateway.get("/api/v1/status").await;
        let io = std::fs::read_to_string(format!("/proc/{}/io", gateway.pid())).unwrap_or_default();
        let process = io
            .lines()
            .find_map(|line| line.strip_prefix("write_bytes:")?.trim().parse().ok());
        Self {
            readings: status["account"][0]["accepted"]
                .as_u64()
                .unwrap_or_default(),
            disk: status["disk"].clone(),
            process: process.unwrap_or_default(),
            device: device.map(Ext4::written),
        }
    }

    fn since(&self, before: &Self, row: &Row, time: Duration) -> String {
        let number = |value: &Value| value.as_u64().unwrap_or_default();
        let readings = self.readings - before.readings;
        let syncs = number(&self.disk["syncs"]) - number(&before.disk["syncs"]);
        let bytes = self.process - before.process;
        #[expect(clippy::cast_precision_loss, reason = "a table for people")]
        let (mb_a_day, per_thousand, a_day) = (
            |bytes: u64| bytes as f64 / time.as_secs_f64() * 86_400.0 / 1e6,
            |n: u64| n as f64 * 1_000.0 / readings.max(1) as f64,
            |n: u64| n as f64 / time.as_secs_f64() * 86_400.0,
        );
        let parts: Vec<String> = ["journal", "cursors", "state", "history"]
            .iter()
            .map(|part| {
                let of = |key: &str| {
                    number(&self.disk["by_part"][part][key])
                        - number(&before.disk["by_part"][part][key])
                };
                format!(
                    "{part} {:.0}, {:.0}",
                    mb_a_day(of("written_bytes")),
                    a_day(of("syncs"))
                )
            })
            .collect();
        let device = self.device.zip(before.device).map_or_else(
            || String::from("not measured"),
            |(now, then)| format!("{:.0}", mb_a_day(now - then)),
        );
        format!(
            "{:<22} {:>6} {readings:>10} {:>12.1} {:>12.0} {:>18.0} {device:>17}   {}",
            row.class,
            row.per_second,
            per_thousand(syncs),
            per_thousand(bytes),
            mb_a_day(bytes),
            parts.join(" · ")
        )
    }
}
