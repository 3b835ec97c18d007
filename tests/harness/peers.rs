//! Debian's own servers as peers: mosquitto, VictoriaMetrics.

use std::{
    path::{Path, PathBuf},
    process::Stdio,
};

use tempfile::TempDir;
use tokio::{
    net::TcpStream,
    process::{Child, Command},
};

use crate::{gateway::free_port, wait::eventually};

/// The path of a program of the system; `None` (and a line that says so) if it is not installed.
#[must_use]
pub fn installed(program: &str) -> Option<PathBuf> {
    let found = ["/usr/bin", "/usr/sbin", "/usr/local/bin"]
        .iter()
        .map(|dir| Path::new(dir).join(program))
        .find(|path| path.exists());
    if found.is_none() {
        println!("skipped: {program} is not installed (tests/run installs it where it may)");
    }
    found
}

pub(crate) async fn listening(port: u16) {
    eventually(&format!("somebody listens on port {port}"), || async move {
        TcpStream::connect(("127.0.0.1", port)).await.ok()
    })
    .await;
}

/// A mosquitto broker on a free port.
#[derive(Debug)]
pub struct Mosquitto {
    child: Child,
    /// Its port.
    pub port: u16,
    dir: TempDir,
    program: PathBuf,
}

impl Mosquitto {
    /// Starts one that keeps sessions and retained messages on disk; `None` if it is not installed.
    pub async fn start() -> Option<Self> {
        Self::start_with("max_queued_messages 100000\n").await
    }

    /// As [`Mosquitto::start`], with further lines in its config.
    pub async fn start_with(lines: &str) -> Option<Self> {
        let program = installed("mosquitto")?;
        let dir = TempDir::new().expect("a temporary folder");
        let port = free_port();
        let config = format!(
            "listener {port} 127.0.0.1\nallow_anonymous true\npersistence true\npersistence_location {}/\nlog_type error\nuser root\n{lines}",
            dir.path().display()
        );
        std::fs::write(dir.path().join("mosquitto.conf"), config)
            .expect("the config can be written");
        let child = Self::spawn(&program, dir.path());
        listening(port).await;
        Some(Self {
            child,
            port,
            dir,
            program,
        })
    }

    fn spawn(program: &Path, dir: &Path) -> Child {
        Command::new(program)
            .arg("-c")
            .arg(dir.join("mosquitto.conf"))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .expect("mosquitto can be started")
    }

    /// Stops it in good order, so that it writes its sessions down.
    pub async fn stop(&mut self) {
        if let Some(id) = self
            .child
            .id()
            .and_then(|id| rustix::process::Pid::from_raw(i32::try_from(id).ok()?))
        {
            rustix::process::kill_process(id, rustix::process::Signal::TERM)
                .expect("it can be signalled");
        }
        self.child.wait().await.expect("it was started");
    }

    /// Deletes what it has written down: sessions and retained messages. It must be stopped.
    pub fn forget(&self) {
        drop(std::fs::remove_file(self.dir.path().join("mosquitto.db")));
    }

    /// Starts it again on the same port with what it had written down.
    pub async fn start_again(&mut self) {
        self.child = Self::spawn(&self.program, self.dir.path());
        listening(self.port).await;
    }

    /// Publishes with mosquitto_pub and waits until it has.
    pub async fn publish(&self, arguments: &[&str]) {
        publish(self.port, arguments).await;
    }
}

/// Runs mosquitto_pub against a port.
///
/// # Panics
///
/// When it fails.
pub async fn publish(port: u16, arguments: &[&str]) {
    let status = Command::new("mosquitto_pub")
        .args(["-h", "127.0.0.1", "-p", &port.to_string()])
        .args(arguments)
        .stdout(Stdio::null())
        .status()
        .await
        .expect("mosquitto_pub is installed");
    assert!(status.success(), "mosquitto_pub {arguments:?}");
}

/// A VictoriaMetrics server on a free port.
#[derive(Debug)]
pub struct Victoria {
    child: Child,
    /// Its port.
    pub port: u16,
    dir: TempDir,
    program: PathBuf,
}

impl Victoria {
    /// Starts one; `None` if it is not installed.
    pub async fn start() -> Option<Self> {
        let program = installed("victoria-metrics")?;
        let dir = TempDir::new().expect("a temporary folder");
        let port = free_port();
        let child = Self::spawn(&program, dir.path(), port);
        listening(port).await;
        Some(Self {
            child,
            port,
            dir,
            program,
        })
    }

    fn spawn(program: &Path, dir: &Path, port: u16) -> Child {
        Command::new(program)
            .arg(format!("-storageDataPath={}", dir.join("data").display()))
            .arg(format!("-httpListenAddr=127.0.0.1:{port}"))
            .arg("-retentionPeriod=100y")
            // A point that is sent twice is one point, as in InfluxDB.
            .arg("-dedup.minScrapeInterval=1ms")
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .expect("VictoriaMetrics can be started")
    }

    /// Its address.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Stops it in good order.
    pub async fn stop(&mut self) {
        if let Some(id) = self
            .child
            .id()
            .and_then(|id| rustix::process::Pid::from_raw(i32::try_from(id).ok()?))
        {
            rustix::process::kill_process(id, rustix::process::Signal::INT)
                .expect("it can be signalled");
        }
        self.child.wait().await.expect("it was started");
    }

    /// Starts it again with its data.
    pub async fn start_again(&mut self) {
        self.child = Self::spawn(&self.program, self.dir.path(), self.port);
        listening(self.port).await;
    }

    /// The stored points of a field of a device: times in milliseconds and values, by time.
    pub async fn points(&self, device: &str, metric: &str) -> Vec<(i64, f64)> {
        let url = format!("{}/api/v1/export", self.url());
        let matcher = format!("{{__name__=\"sensor_{metric}\",device=\"{device}\"}}");
        // What was just written becomes visible by a flush.
        drop(reqwest::get(format!("{}/internal/force_flush", self.url())).await);
        let mut url = reqwest::Url::parse(&url).expect("an address");
        url.query_pairs_mut().append_pair("match[]", &matcher);
        let text = reqwest::get(url)
            .await
            .expect("an answer")
            .text()
            .await
            .expect("a body");
        let mut points: Vec<(i64, f64)> = text
            .lines()
            .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok())
            .flat_map(|series| {
                let times = series["timestamps"].as_array().cloned().unwrap_or_default();
                let values = series["values"].as_array().cloned().unwrap_or_default();
                times
                    .into_iter()
                    .zip(values)
                    .filter_map(|(t, v)| Some((t.as_i64()?, v.as_f64()?)))
                    .collect::<Vec<_>>()
            })
            .collect();
        points.sort_by_key(|point| point.0);
        points
    }
}
