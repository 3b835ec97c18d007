//! A real gateway process.

use std::{
    net::{SocketAddr, TcpListener},
    path::{Path, PathBuf},
    process::{ExitStatus, Stdio},
    sync::{Arc, Mutex, OnceLock},
};

use serde_json::Value;
use tempfile::TempDir;
use tokio::{
    io::{AsyncBufReadExt as _, BufReader},
    process::{Child, Command},
    sync::watch,
};

use crate::wait::{eventually, within};

/// A port that was free a moment ago.
///
/// # Panics
///
/// When the machine has none.
#[must_use]
pub fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0")
        .and_then(|l| l.local_addr())
        .expect("a free port")
        .port()
}

/// The path of a binary of this workspace. In tests it is built once a run; a benchmark finds the one beside itself.
///
/// # Panics
///
/// When it does not build.
#[must_use]
pub fn workspace_binary(name: &str) -> PathBuf {
    static BUILT: OnceLock<()> = OnceLock::new();
    let here = std::env::current_exe().expect("the path of this program");
    let folder = here.parent().expect("a folder");
    if !folder.ends_with("deps") {
        return folder.join(name);
    }
    BUILT.get_or_init(|| {
        let cargo = option_env!("CARGO").unwrap_or("cargo");
        let mut build = std::process::Command::new(cargo);
        build
            // The same packages and features as the tests, so that nothing is compiled twice.
            .args(["build", "--quiet", "--workspace", "--all-targets"])
            .current_dir(crate::repository());
        // What cargo tells this test about itself: ring's build script watches it, and would build everything anew, here
        // and in the next cargo after this.
        for (name, _) in std::env::vars_os() {
            let told = ["CARGO_PKG_", "CARGO_MANIFEST_"];
            if name
                .to_str()
                .is_some_and(|name| told.iter().any(|start| name.starts_with(start)))
            {
                build.env_remove(&name);
            }
        }
        let built = build.status();
        assert!(
            built.is_ok_and(|s| s.success()),
            "the binaries do not build"
        );
    });
    folder.parent().expect("a target folder").join(name)
}

/// A running gateway with a folder of its own. Killed when dropped.
#[derive(Debug)]
pub struct Gateway {
    child: Child,
    /// Its folder: config and data.
    pub dir: Arc<TempDir>,
    config: String,
    /// Where the page is.
    pub address: SocketAddr,
    /// Where its listeners are, in the order of the config.
    pub listeners: Vec<SocketAddr>,
    log: Arc<Mutex<Vec<String>>>,
    client: reqwest::Client,
}

#[derive(Clone, Debug, Default)]
struct Said {
    ready: Option<SocketAddr>,
    listeners: Vec<SocketAddr>,
    ended: bool,
}

impl Gateway {
    /// Starts a gateway with this config; `data_dir`, `[log]` and `[http]` are added. Returns when it is ready.
    pub async fn start(config: &str) -> Self {
        let dir = TempDir::new().expect("a temporary folder");
        Self::start_in(Arc::new(dir), config).await
    }

    /// As [`Gateway::start`], in a folder that is there already.
    ///
    /// # Panics
    ///
    /// When it does not get ready; its log is shown.
    pub async fn start_in(dir: Arc<TempDir>, config: &str) -> Self {
        Self::start_at(dir, config, 0).await
    }

    /// As [`Gateway::start_in`], with the page on this port (0: a free one).
    ///
    /// # Panics
    ///
    /// When it does not get ready; its log is shown.
    pub async fn start_at(dir: Arc<TempDir>, config: &str, port: u16) -> Self {
        drop(rustls::crypto::ring::default_provider().install_default());
        let file = write_config(dir.path(), config, port);
        let mut child = Command::new(workspace_binary("gateway"))
            .arg("run")
            .arg("--config")
            .arg(&file)
            .env_remove("RUST_LOG")
            .stderr(Stdio::piped())
            .stdout(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .expect("the gateway can be started");
        let log = Arc::new(Mutex::new(Vec::new()));
        let mut said = follow(&mut child, Arc::clone(&log));
        let waiting = said.wait_for(|s| s.ready.is_some() || s.ended);
        let said = within("the gateway gets ready", async move {
            waiting.await.map(|s| s.clone()).ok()
        })
        .await;
        let said = said.unwrap_or_default();
        let Some(address) = said.ready else {
            panic!(
                "the gateway did not start:\n{}",
                log.lock().expect("the log").join("\n")
            );
        };
        let client = reqwest::Client::builder().build().expect("a client");
        Self {
            child,
            dir,
            config: config.to_owned(),
            address,
            listeners: said.listeners,
            log,
            client,
        }
    }

    /// Ends it as a power cut would, without a goodbye.
    pub async fn kill(mut self) -> Stopped {
        self.child.kill().await.expect("it can be killed");
        Stopped {
            dir: Arc::clone(&self.dir),
            config: self.config.clone(),
        }
    }

    /// Asks it to stop (SIGTERM) and waits until it has.
    pub async fn stop(self) -> (ExitStatus, Stopped) {
        self.signal(rustix::process::Signal::TERM);
        self.stop_waiting().await
    }

    /// Waits for the end of one that was asked to stop.
    pub async fn stop_waiting(mut self) -> (ExitStatus, Stopped) {
        let status = within("the gateway stops", self.child.wait())
            .await
            .expect("it was started");
        (
            status,
            Stopped {
                dir: Arc::clone(&self.dir),
                config: self.config.clone(),
            },
        )
    }

    /// Sends a signal.
    pub fn signal(&self, signal: rustix::process::Signal) {
        let id = self
            .child
            .id()
            .and_then(|id| rustix::process::Pid::from_raw(i32::try_from(id).ok()?));
        rustix::process::kill_process(id.expect("it runs"), signal).expect("it can be signalled");
    }

    /// The process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id().unwrap_or_default()
    }

    /// Everything it has logged so far.
    #[must_use]
    pub fn log(&self) -> String {
        self.log.lock().expect("the log").join("\n")
    }

    /// How many lines it has logged so far.
    #[must_use]
    pub fn log_lines(&self) -> usize {
        self.log.lock().expect("the log").len()
    }

    /// Writes another config over its own; it applies when the gateway is told so.
    pub fn configure(&self, config: &str) {
        write_config(self.dir.path(), config, self.address.port());
    }

    /// A full address on it.
    #[must_use]
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// `GET`, which must answer 200 with JSON.
    pub async fn get(&self, path: &str) -> Value {
        let response = self
            .client
            .get(self.url(path))
            .send()
            .await
            .expect("an answer");
        assert_eq!(response.status(), 200, "GET {path}");
        response.json().await.expect("JSON")
    }

    /// `POST` of a text; gives status and body.
    pub async fn post(
        &self,
        path: &str,
        content_type: &str,
        body: impl Into<reqwest::Body>,
    ) -> (u16, String) {
        let request = self
            .client
            .post(self.url(path))
            .header("content-type", content_type)
            .body(body);
        let response = request.send().await.expect("an answer");
        (
            response.status().as_u16(),
            response.text().await.expect("a body"),
        )
    }

    /// Waits until a source's link stands so: `up`, `down`.
    pub async fn source_is(&self, name: &str, state: &str) {
        eventually(&format!("the source {name} is {state}"), || async move {
            let status = self.get("/api/v1/status").await;
            let is_so = |s: &Value| s["name"] == name && s["state"] == state;
            status["sources"]
                .as_array()?
                .iter()
                .any(is_so)
                .then_some(())
        })
        .await;
    }

    /// The newest value of a series once there is one that `wanted` likes.
    pub async fn value(&self, series: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        let wanted = &wanted;
        eventually(&format!("{series} has the wanted value"), || async move {
            let all = self.get("/api/v1/series").await;
            let found = all["series"]
                .as_array()?
                .iter()
                .find(|s| s["id"] == series)?
                .clone();
            wanted(&found["v"]).then_some(found)
        })
        .await
    }

    /// The account row of a source, once nothing waits any more and `wanted` likes it. Asserts that it balances.
    pub async fn account(&self, source: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        let wanted = &wanted;
        let row = eventually(
            &format!("the account of {source} is as wanted"),
            || async move {
                let status = self.get("/api/v1/status").await;
                let row = status["account"]
                    .as_array()?
                    .iter()
                    .find(|r| r["source"] == source)?
                    .clone();
                (row["waiting"] == 0 && wanted(&row)).then_some(row)
            },
        )
        .await;
        let sum = |map: &Value| {
            map.as_object()
                .map_or(0, |m| m.values().filter_map(Value::as_u64).sum::<u64>())
        };
        let number = |key: &str| row[key].as_u64().unwrap_or_default();
        let found_again = number("accepted")
            + number("duplicates")
            + number("waiting")
            + sum(&row["rejected"])
            + sum(&row["dropped"]);
        assert_eq!(
            number("received"),
            found_again,
            "the account does not balance: {row}"
        );
        row
    }
}

/// A gateway that ended, with its folder.
#[derive(Debug)]
pub struct Stopped {
    /// Its folder.
    pub dir: Arc<TempDir>,
    config: String,
}

impl Stopped {
    /// Starts it again with the same config and data.
    pub async fn start(self) -> Gateway {
        let config = self.config.clone();
        Gateway::start_in(self.dir, &config).await
    }

    /// As [`Stopped::start`], with the page on this port.
    pub async fn start_at(self, port: u16) -> Gateway {
        let config = self.config.clone();
        Gateway::start_at(self.dir, &config, port).await
    }

    /// Starts it again with the same data and another config.
    pub async fn start_with(self, config: &str) -> Gateway {
        Gateway::start_in(self.dir, config).await
    }
}

fn write_config(dir: &Path, config: &str, port: u16) -> PathBuf {
    let file = dir.join("gateway.toml");
    let head = "data_dir = \"data\"\n";
    let tail = format!(
        "\n[log]\nlevel = \"info\"\nformat = \"json\"\n[http]\nlisten = \"127.0.0.1:{port}\"\n"
    );
    std::fs::write(&file, format!("{head}{config}{tail}")).expect("the config can be written");
    file
}

fn follow(child: &mut Child, log: Arc<Mutex<Vec<String>>>) -> watch::Receiver<Said> {
    let (said, watched) = watch::channel(Said::default());
    let stderr = child.stderr.take().expect("stderr is piped");
    tokio::spawn(async move {
        let mut lines = BufReader::new(stderr).lines();
        while let Ok(Some(line)) = lines.next_line().await {
            let entry: Value = serde_json::from_str(&line).unwrap_or_default();
            said.send_modify(|said| match entry["message"].as_str() {
                Some("ready") => {
                    said.ready = entry["page"]
                        .as_str()
                        .and_then(|p| p.strip_prefix("http://"))
                        .and_then(|a| a.parse().ok());
                }
                Some("MQTT devices can connect") => said.listeners.extend(
                    entry["address"]
                        .as_str()
                        .and_then(|a| a.parse::<SocketAddr>().ok()),
                ),
                _ => {}
            });
            log.lock().expect("the log").push(line);
        }
        said.send_modify(|said| said.ended = true);
    });
    watched
}
