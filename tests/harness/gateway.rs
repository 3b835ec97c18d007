//! A real gateway process.

use std::{
    collections::BTreeMap,
    ffi::OsString,
    net::{SocketAddr, TcpListener},
    path::PathBuf,
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

use crate::{
    fake_clock::FakeClock,
    wait::{eventually, within},
};

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
    /// The port of the page as the config says it.
    port: u16,
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

/// A gateway that may not be ready yet. Killed when dropped.
#[derive(Debug)]
pub struct Starting {
    child: Child,
    dir: Arc<TempDir>,
    config: String,
    port: u16,
    said: watch::Receiver<Said>,
    log: Arc<Mutex<Vec<String>>>,
}

impl Starting {
    /// Waits until it is ready.
    ///
    /// # Errors
    ///
    /// Its log, when it ends before.
    pub async fn ready(mut self) -> Result<Gateway, String> {
        let waiting = self.said.wait_for(|s| s.ready.is_some() || s.ended);
        let said = within("the gateway gets ready", async move {
            waiting.await.map(|s| s.clone()).ok()
        })
        .await;
        let said = said.unwrap_or_default();
        let Some(address) = said.ready else {
            return Err(self.log.lock().expect("the log").join("\n"));
        };
        Ok(Gateway {
            child: self.child,
            dir: self.dir,
            config: self.config,
            port: self.port,
            address,
            listeners: said.listeners,
            log: self.log,
            client: reqwest::Client::builder().build().expect("a client"),
        })
    }

    /// Ends it without a goodbye. `Err` with its log, if it had ended by itself.
    ///
    /// # Panics
    ///
    /// When it can't be killed.
    pub async fn kill(mut self) -> Result<String, String> {
        let ended = self.child.try_wait().expect("it was started");
        self.child.kill().await.expect("it can be killed");
        // All that it said: its end of the pipe is closed.
        drop(self.said.wait_for(|s| s.ended).await);
        let log = self.log.lock().expect("the log").join("\n");
        if ended.is_some() { Err(log) } else { Ok(log) }
    }
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
        let started = Self::launch(dir, config, port).ready().await;
        started.unwrap_or_else(|log| panic!("the gateway did not start:\n{log}"))
    }

    /// As [`Gateway::start_at`], without waiting until it is ready.
    ///
    /// # Panics
    ///
    /// When there is no such program, or the config can't be written.
    #[must_use]
    pub fn launch(dir: Arc<TempDir>, config: &str, port: u16) -> Starting {
        Self::launch_under(&[], Vec::new(), dir, config, port)
    }

    /// As [`Gateway::start_in`], on a machine whose clock is that one.
    ///
    /// # Panics
    ///
    /// When it does not get ready; its log is shown.
    pub async fn start_under(clock: &FakeClock, dir: Arc<TempDir>, config: &str) -> Self {
        let starting = Self::launch_under(&[], clock.environment(), dir, config, 0);
        let started = starting.ready().await;
        started.unwrap_or_else(|log| panic!("the gateway did not start:\n{log}"))
    }

    /// As [`Gateway::start`], on a system that allows so many open files.
    ///
    /// # Panics
    ///
    /// When it does not get ready; its log is shown.
    pub async fn start_limited(config: &str, files: u64) -> Self {
        let limit = format!("--nofile={files}:{files}");
        let dir = Arc::new(TempDir::new().expect("a temporary folder"));
        let starting = Self::launch_under(&["prlimit", &limit], Vec::new(), dir, config, 0);
        let started = starting.ready().await;
        started.unwrap_or_else(|log| panic!("the gateway did not start:\n{log}"))
    }

    /// As [`Gateway::launch`], by a program that becomes it, with more in its environment.
    fn launch_under(
        by: &[&str],
        environment: Vec<(&'static str, OsString)>,
        dir: Arc<TempDir>,
        config: &str,
        port: u16,
    ) -> Starting {
        drop(rustls::crypto::ring::default_provider().install_default());
        let file = dir.path().join("gateway.toml");
        std::fs::write(&file, whole(config, port)).expect("the config can be written");
        let gateway = workspace_binary("gateway");
        let mut command = match by.split_first() {
            None => Command::new(gateway),
            Some((program, arguments)) => {
                let mut command = Command::new(program);
                command.args(arguments).arg(gateway);
                command
            }
        };
        let mut child = command
            .arg("run")
            .arg("--config")
            .arg(&file)
            .env_remove("RUST_LOG")
            .envs(environment)
            .stderr(Stdio::piped())
            .stdout(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .expect("the gateway can be started");
        let log = Arc::new(Mutex::new(Vec::new()));
        let said = follow(&mut child, Arc::clone(&log));
        Starting {
            child,
            dir,
            config: config.to_owned(),
            port,
            said,
            log,
        }
    }

    /// Puts another config in the place of the one that it runs with, as editors do that rename over a file. It is not told.
    ///
    /// # Panics
    ///
    /// When it can't be written.
    pub fn write_config(&mut self, config: &str) {
        self.config = config.to_owned();
        let (new, file) = (
            self.dir.path().join("gateway.toml.new"),
            self.dir.path().join("gateway.toml"),
        );
        std::fs::write(&new, whole(config, self.port)).expect("the config can be written");
        std::fs::rename(new, file).expect("it can be renamed");
    }

    /// As [`Gateway::write_config`], then SIGHUP. Says what came of it: `applied`, `unchanged` or `refused`.
    pub async fn reload(&mut self, config: &str) -> String {
        let before = self.reloads().await;
        self.write_config(config);
        self.signal(rustix::process::Signal::HUP);
        self.reloaded(&before).await
    }

    /// Waits until the config was read once more than `before` says, and tells what came of it.
    pub async fn reloaded(&self, before: &BTreeMap<String, u64>) -> String {
        eventually("the config is read again", || async {
            let now = self.reloads().await;
            now.into_iter()
                .find(|(result, count)| before.get(result) < Some(count))
                .map(|(result, _)| result)
        })
        .await
    }

    /// How often the config was read again, by what came of it.
    pub async fn reloads(&self) -> BTreeMap<String, u64> {
        let metrics = self
            .client
            .get(self.url("/metrics"))
            .send()
            .await
            .expect("an answer")
            .text()
            .await
            .expect("a body");
        metrics
            .lines()
            .filter_map(|line| {
                let rest = line.strip_prefix("gateway_config_reloads_total{result=\"")?;
                let (result, count) = rest.split_once("\"} ")?;
                Some((result.to_owned(), count.parse().ok()?))
            })
            .collect()
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

    /// A line of `/proc/PID/status` in bytes: `VmRSS`, `VmHWM`.
    ///
    /// # Panics
    ///
    /// When it does not run.
    #[must_use]
    pub fn memory(&self, line: &str) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid()))
            .expect("the gateway runs");
        let kib = status.lines().find_map(|l| {
            let rest = l.strip_prefix(line)?.strip_prefix(':')?;
            rest.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()
        });
        kib.expect("a figure in kB") * 1024
    }

    /// The value of a metric with its labels as `/metrics` writes it, such as `gateway_x_total{a="b"}`; 0 if it is not there.
    ///
    /// # Panics
    ///
    /// When there is no answer.
    pub async fn metric(&self, name: &str) -> f64 {
        let answer = self.client.get(self.url("/metrics")).send().await;
        let text = answer.expect("an answer").text().await.expect("a body");
        text.lines()
            .find_map(|l| l.strip_prefix(name)?.strip_prefix(' ')?.parse().ok())
            .unwrap_or(0.0)
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

    /// A full address on it.
    #[must_use]
    pub fn url(&self, path: &str) -> String {
        let scheme = if self.config.contains("\ntls = ") {
            "https"
        } else {
            "http"
        };
        format!("{scheme}://{}{path}", self.address)
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

    /// A figure of the account over all sources.
    pub async fn account_sum(&self, figure: &str) -> u64 {
        let status = self.get("/api/v1/status").await;
        let rows = status["account"].as_array().expect("rows");
        rows.iter().filter_map(|row| row[figure].as_u64()).sum()
    }

    /// The account row of a source, once nothing waits before the disk any more and `wanted` likes it. Asserts that the rows of
    /// all sources balance, up to each archive.
    pub async fn account(&self, source: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        let wanted = &wanted;
        let row = self.row(source, wanted).await;
        self.balances().await;
        row
    }

    /// As [`Gateway::account`], once all archives have everything that was accepted too.
    pub async fn account_archived(&self, source: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        let is_archived = |row: &Value| {
            let archives = row["archives"].as_array();
            archives.is_some_and(|all| all.iter().all(|archive| archive["waiting"] == 0))
        };
        self.account(source, |row| is_archived(row) && wanted(row))
            .await
    }

    /// Asserts that nothing that any source sent is unaccounted for.
    async fn balances(&self) {
        let account = self.get("/api/v1/account").await;
        assert_eq!(
            account["balanced"], true,
            "the account does not balance: {account:#}"
        );
    }

    async fn row(&self, source: &str, wanted: &impl Fn(&Value) -> bool) -> Value {
        let row = eventually(
            &format!("the account of {source} is as wanted"),
            || async move {
                let account = self.get("/api/v1/account").await;
                let row = account["sources"]
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
        assert_eq!(row["difference"], 0, "the account does not balance: {row}");
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

/// A config with what every test needs around it.
/// Tests send fixed times, which grow old: unless its `[store]` says otherwise, a gateway judges readings of any age.
fn whole(config: &str, port: u16) -> String {
    let store = if config.contains("[store]") {
        ""
    } else {
        "[store]\njudge_within = \"36500d\"\n"
    };
    let http = format!("[http]\nlisten = \"127.0.0.1:{port}\"\n");
    let config = if config.contains("[http]\n") {
        config.replace("[http]\n", &http)
    } else {
        format!("{config}\n{http}")
    };
    format!("data_dir = \"data\"\n{config}\n{store}[log]\nlevel = \"info\"\nformat = \"json\"\n")
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
                        .and_then(|p| p.split_once("://"))
                        .map(|(_, address)| address)
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
