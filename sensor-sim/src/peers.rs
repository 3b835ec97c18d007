//! Real peers for the tests of this crate: mosquitto and VictoriaMetrics, where they are installed.

use std::{
    process::{Child, Command, Stdio},
    time::Duration,
};

use tokio::{
    net::TcpStream,
    time::{sleep, timeout},
};

const DEADLINE: Duration = Duration::from_secs(20);

/// Looks until it is there, at most 20 s.
pub(crate) async fn until<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let poll = async {
        loop {
            if let Some(found) = look().await {
                return found;
            }
            sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(DEADLINE, poll)
        .await
        .unwrap_or_else(|_| panic!("{what} did not happen"))
}

fn free_port() -> u16 {
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    free.local_addr().unwrap().port()
}

/// mosquitto on a free port; ends with the test.
pub(crate) struct Broker {
    child: Child,
    pub(crate) port: u16,
    _folder: tempfile::TempDir,
}

impl Broker {
    pub(crate) async fn start() -> Option<Self> {
        Self::start_at(free_port()).await
    }

    pub(crate) async fn start_at(port: u16) -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let config = folder.path().join("mosquitto.conf");
        std::fs::write(
            &config,
            format!("listener {port} 127.0.0.1\nallow_anonymous true\nmax_queued_messages 0\n"),
        )
        .unwrap();
        let child = ["mosquitto", "/usr/sbin/mosquitto"]
            .iter()
            .find_map(|program| {
                Command::new(program)
                    .arg("-c")
                    .arg(&config)
                    .stdout(Stdio::null())
                    .stderr(Stdio::null())
                    .spawn()
                    .ok()
            });
        let Some(child) = child else {
            println!("skipped: mosquitto is not installed");
            return None;
        };
        let broker = Self {
            child,
            port,
            _folder: folder,
        };
        until("mosquitto", async || {
            TcpStream::connect(("127.0.0.1", port)).await.ok()
        })
        .await;
        Some(broker)
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        // Nothing can be done if it is already dead.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// VictoriaMetrics on a free port, in which a point written twice is one point; ends with the test.
pub(crate) struct Victoria {
    child: Child,
    pub(crate) url: String,
    _folder: tempfile::TempDir,
}

impl Victoria {
    pub(crate) async fn start() -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let port = free_port();
        let child = Command::new("victoria-metrics")
            .arg(format!("-httpListenAddr=127.0.0.1:{port}"))
            .arg(format!("-storageDataPath={}", folder.path().display()))
            .args(["-dedup.minScrapeInterval=1ms", "-retentionPeriod=100y"])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        let Ok(child) = child else {
            println!("skipped: victoria-metrics is not installed");
            return None;
        };
        let victoria = Self {
            child,
            url: format!("http://127.0.0.1:{port}"),
            _folder: folder,
        };
        until("victoria-metrics", async || {
            TcpStream::connect(("127.0.0.1", port)).await.ok()
        })
        .await;
        Some(victoria)
    }

    /// Makes what was written visible to queries at once.
    pub(crate) async fn flush(&self) {
        let client = crate::transport::http::client().unwrap();
        let answer = client.get(format!("{}/internal/force_flush", self.url));
        assert!(answer.send().await.unwrap().status().is_success());
    }
}

impl Drop for Victoria {
    fn drop(&mut self) {
        // Nothing can be done if it is already dead.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
