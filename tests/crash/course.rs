//! The servers, the senders and the kills.

use std::{path::PathBuf, process::Stdio, sync::Arc, time::Duration};

use fastrand::Rng;
use tempfile::TempDir;
use tests::{
    Disk, Gateway, Mosquitto, Victoria, WebhookSink, disk::Survives, free_port, sinks::Refusal,
    workspace_binary,
};
use tokio::process::{Child, Command};

use crate::{
    Options,
    listener::Listener,
    people::People,
    reckoning::{self, Evidence},
    standing::Standing,
};

/// Every so many kills the senders pause, and the gateway is compared with itself.
const COMPARE_EVERY: u32 = 10;
/// One life in so many ends before the gateway is ready.
const EARLY: u32 = 3;

/// Everything that outlives the gateway.
struct Course {
    options: Options,
    chance: Rng,
    broker: Mosquitto,
    victoria: Victoria,
    webhook: WebhookSink,
    dir: Arc<TempDir>,
    disk: Option<Disk>,
    config: String,
    port: u16,
    ledger: PathBuf,
    /// Warnings and errors of all lives, without their times.
    trouble: Vec<String>,
    compared: u32,
    people: People,
    listener: Listener,
}

/// Runs it. `None`: a server is not installed. `Err`: what went wrong.
pub(crate) async fn run(options: Options) -> Option<Result<String, String>> {
    let broker = Mosquitto::start().await?;
    let victoria = Victoria::start().await?;
    let dir = Arc::new(TempDir::new().expect("a temporary folder"));
    let disk = if options.power_cut {
        Some(Disk::mount(&dir.path().join("data"))?)
    } else {
        None
    };
    let webhook = WebhookSink::start().await;
    let port = free_port();
    let course = Course {
        people: People::start(port, options.seed),
        listener: Listener::start(port, options.seed),
        chance: Rng::with_seed(options.seed),
        config: config(&broker, &victoria, &webhook),
        ledger: dir.path().join("ledger.jsonl"),
        port,
        options,
        broker,
        victoria,
        webhook,
        dir,
        disk,
        trouble: Vec::new(),
        compared: 0,
    };
    Some(Box::pin(course.through()).await)
}

/// Little is kept in memory and in the journal, and much is written often: so that each kill meets some of it. The journal
/// keeps some minutes, which is more than the windows reach back: they come back from it alone.
fn config(broker: &Mosquitto, victoria: &Victoria, webhook: &WebhookSink) -> String {
    format!(
        "stop_within = \"10s\"\n\
         [journal]\nmax_size = \"64 MiB\"\nkeep = \"4 MiB\"\nsegment_size = \"256 KiB\"\n\
         [store]\nmemory_per_series = \"1 KiB\"\nlateness = \"10s\"\nkept_windows = 4\n\
         [history]\nflush_every = \"1s\"\n\
         [influxdb]\nurl = \"{}\"\nbucket = \"b\"\nlinger = \"100ms\"\n\
         [[window]]\nevery = \"5s\"\n\
         [[source]]\nname = \"broker\"\ntype = \"mqtt\"\nurl = \"mqtt://127.0.0.1:{}\"\n\
         [[source.mapping]]\ntopic = \"sim/{{device}}\"\ntime = \"time\"\n\
         [[rule]]\nname = \"hot\"\nseries = \"kettle/temperature\"\nabove = 80\nclear = 40\n\
         [[webhook]]\nname = \"ops\"\nurl = \"{}\"\n",
        victoria.url(),
        broker.port,
        webhook.url()
    )
}

fn scenario(seed: u64, mqtt: u16, http: u16) -> String {
    let device = |id: &str, transport: &str, signal: &str, interval: &str| {
        format!(
            "[[device]]\nid = \"{id}\"\n{transport}\nformat = \"json\"\ntime = \"epoch_ms\"\nsequence = true\n\
             interval = \"{interval}\"\nsignal = [{signal}]\n"
        )
    };
    let by_mqtt = format!(
        "mqtt = {{ host = \"127.0.0.1\", port = {mqtt}, topic = \"sim/{{device}}\", qos = 1 }}"
    );
    let by_http = format!("http = {{ url = \"http://127.0.0.1:{http}/api/v1/readings\" }}");
    let counter = "{ metric = \"v\", shape = \"counter\", amplitude = 1 }";
    let square = "{ metric = \"temperature\", shape = \"square\", offset = 60, amplitude = 40, period = \"3s\" }";
    [
        format!("seed = {seed}\n"),
        device("mqtt-1", &by_mqtt, counter, "5ms"),
        device("mqtt-2", &by_mqtt, counter, "7ms"),
        device("http-1", &by_http, counter, "10ms"),
        device("kettle", &by_http, square, "50ms"),
    ]
    .concat()
}

impl Course {
    async fn through(mut self) -> Result<String, String> {
        // The broker keeps for the gateway what comes from now on.
        let gateway = self.start().await?;
        gateway.source_is("broker", "up").await;
        self.kill(gateway).await?;

        let file = self.dir.path().join("scenario.toml");
        let text = scenario(self.options.seed, self.broker.port, self.port);
        std::fs::write(&file, text).expect("the scenario can be written");
        let mut senders = Command::new(workspace_binary("sensor-sim"))
            .arg("run")
            .arg(&file)
            .arg("--ledger")
            .arg(&self.ledger)
            .env("SENSOR_SIM_LOG", "error")
            .stdout(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .expect("sensor-sim can be started");
        for kill in 1..=self.options.kills {
            if kill.is_multiple_of(COMPARE_EVERY) || kill == self.options.kills {
                self.compare(&senders).await?;
            } else {
                self.one_life().await?;
            }
            if kill.is_multiple_of(COMPARE_EVERY) {
                println!("{kill} kills");
            }
        }
        if let Some(disk) = &self.disk {
            disk.slow_sync(Duration::ZERO);
        }
        self.webhook.relent();
        let gateway = self.start().await?;
        signal(&senders, rustix::process::Signal::TERM);
        senders.wait().await.expect("it was started");
        let evidence = Evidence {
            options: self.options,
            gateway: &gateway,
            victoria: &self.victoria,
            webhook: &self.webhook,
            ledger: &self.ledger,
            compared: self.compared,
            people: &self.people,
            listener: &self.listener,
        };
        let reckoned = reckoning::reckon(evidence).await;
        self.note(&gateway.log());
        self.trouble.sort_unstable();
        let mut told = String::new();
        for same in self.trouble.chunk_by(|a, b| a == b) {
            told += &format!("{:>6} × {}\n", same.len(), same[0]);
        }
        print!("{told}");
        reckoned
    }

    async fn start(&self) -> Result<Gateway, String> {
        let started = Gateway::launch(Arc::clone(&self.dir), &self.config, self.port)
            .ready()
            .await;
        started.map_err(|log| format!("the gateway refused to start:\n{log}"))
    }

    async fn kill(&mut self, gateway: Gateway) -> Result<(), String> {
        self.cut();
        self.note(&gateway.log());
        gateway.kill().await;
        self.power_on();
        Ok(())
    }

    fn cut(&mut self) {
        let Some(disk) = &self.disk else { return };
        disk.power_cut(match self.chance.u8(..4) {
            0 => Survives::Nothing,
            // Only killed: what it had written and not synced is read by the next one, and may be cut off then.
            1 => return disk.forsake_syncs(),
            _ => Survives::Part {
                seed: self.chance.u64(..),
            },
        });
    }

    fn power_on(&mut self) {
        let Some(disk) = &self.disk else { return };
        disk.power_on();
        // A slow disk is cut in the middle of a sync more often.
        let takes = [0, 0, 2, 20][self.chance.usize(..4)];
        disk.slow_sync(Duration::from_millis(takes));
    }

    /// Starts it and kills it some time later.
    async fn one_life(&mut self) -> Result<(), String> {
        let most = u64::try_from(self.options.uptime.as_millis()).unwrap_or(3_000);
        let starting = Gateway::launch(Arc::clone(&self.dir), &self.config, self.port);
        if self.chance.u32(..EARLY) == 0 {
            tokio::time::sleep(Duration::from_millis(self.chance.u64(..400))).await;
            self.cut();
            let ended = starting.kill().await;
            self.power_on();
            let log = ended.or_else(|log| {
                // With the power gone it may well have given up.
                if self.disk.is_some() {
                    return Ok(log);
                }
                Err(format!("the gateway ended by itself:\n{log}"))
            })?;
            self.note(&log);
            return Ok(());
        }
        let ready = starting.ready().await;
        let gateway = ready.map_err(|log| format!("the gateway refused to start:\n{log}"))?;
        let uptime = if self.chance.bool() { most } else { most / 8 };
        tokio::time::sleep(Duration::from_millis(self.chance.u64(..uptime.max(1)))).await;
        self.kill(gateway).await
    }

    /// Lets the senders pause, and compares a killed gateway with what it says after its restart. Deliveries wait meanwhile.
    async fn compare(&mut self, senders: &Child) -> Result<(), String> {
        let gateway = self.start().await?;
        let rest = self.people.rest(&gateway).await;
        self.webhook
            .refuse((0..10_000).map(|_| Refusal::status(503)));
        tokio::time::sleep(self.options.uptime).await;
        signal(senders, rustix::process::Signal::STOP);
        let before = Standing::settled(&gateway).await;
        self.kill(gateway).await?;
        let gateway = self.start().await?;
        let after = Standing::settled(&gateway).await;
        let same = before.same_as(&after);
        drop(rest);
        self.webhook.relent();
        signal(senders, rustix::process::Signal::CONT);
        self.kill(gateway).await?;
        self.compared += 1;
        same
    }

    /// Remembers what it warned of.
    fn note(&mut self, log: &str) {
        for line in log.lines() {
            let entry: serde_json::Value = serde_json::from_str(line).unwrap_or_default();
            let level = entry["level"].as_str().unwrap_or("other");
            if level != "INFO" {
                let message = entry["message"].as_str().unwrap_or(line);
                self.trouble.push(format!("{level} {message}"));
            }
        }
    }
}

fn signal(child: &Child, signal: rustix::process::Signal) {
    let id = child
        .id()
        .and_then(|id| rustix::process::Pid::from_raw(i32::try_from(id).ok()?));
    rustix::process::kill_process(id.expect("it runs"), signal).expect("it can be signalled");
}
