//! Debian's own servers as peers: mosquitto, VictoriaMetrics.

use std::process::Stdio;

use rustix::process::Signal;
use tokio::process::Command;

use crate::peer::Peer;

/// A mosquitto broker on a free port.
#[derive(Debug)]
pub struct Mosquitto {
    peer: Peer,
    /// Its port.
    pub port: u16,
}

impl Mosquitto {
    /// Starts one that keeps sessions and retained messages on disk; `None` if it is not installed.
    pub async fn start() -> Option<Self> {
        Self::start_with("max_queued_messages 100000\n").await
    }

    /// As [`Mosquitto::start`], with further lines in its config.
    pub async fn start_with(lines: &str) -> Option<Self> {
        let peer = Peer::start("mosquitto", |dir, port| {
            let config = format!(
                "listener {port} 127.0.0.1\nallow_anonymous true\npersistence true\npersistence_location {}/\nlog_type error\nuser root\n{lines}",
                dir.display()
            );
            let file = dir.join("mosquitto.conf");
            std::fs::write(&file, config).expect("the config can be written");
            vec![String::from("-c"), file.display().to_string()]
        });
        let peer = peer.await?;
        Some(Self {
            port: peer.port(),
            peer,
        })
    }

    /// Stops it in good order, so that it writes its sessions down.
    pub async fn stop(&mut self) {
        self.peer.stop(Signal::TERM).await;
    }

    /// Deletes what it has written down: sessions and retained messages. It must be stopped.
    pub fn forget(&self) {
        drop(std::fs::remove_file(self.peer.dir().join("mosquitto.db")));
    }

    /// Starts it again on the same port with what it had written down.
    pub async fn start_again(&mut self) {
        self.peer.start_again().await;
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
    peer: Peer,
    /// Its port.
    pub port: u16,
}

impl Victoria {
    /// Starts one; `None` if it is not installed.
    pub async fn start() -> Option<Self> {
        let peer = Peer::start("victoria-metrics", |dir, port| {
            vec![
                format!("-storageDataPath={}", dir.join("data").display()),
                format!("-httpListenAddr=127.0.0.1:{port}"),
                String::from("-retentionPeriod=100y"),
                // A point that is sent twice is one point, as in InfluxDB.
                String::from("-dedup.minScrapeInterval=1ms"),
            ]
        });
        let peer = peer.await?;
        Some(Self {
            port: peer.port(),
            peer,
        })
    }

    /// Its address.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Stops it in good order.
    pub async fn stop(&mut self) {
        self.peer.stop(Signal::INT).await;
    }

    /// Starts it again with its data.
    pub async fn start_again(&mut self) {
        self.peer.start_again().await;
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
