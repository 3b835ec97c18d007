//! What the demo costs: size of the binary, memory after a while.

use std::{process::Stdio, time::Duration};

use tests::{eventually, free_port, workspace_binary};
use tokio::process::Command;

pub(crate) async fn run(time: Duration) {
    let binary = workspace_binary("gateway");
    let bytes = std::fs::metadata(&binary).map(|m| m.len()).unwrap_or(0);
    let port = free_port();
    let mut demo = Command::new(&binary)
        .args(["demo", "--listen", &format!("127.0.0.1:{port}")])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .expect("the demo starts");
    let url = format!("http://127.0.0.1:{port}/readyz");
    eventually("the demo is ready", || async {
        reqwest::get(&url).await.ok().filter(|r| r.status() == 200)
    })
    .await;
    tokio::time::sleep(time).await;
    let status = std::fs::read_to_string(format!("/proc/{}/status", demo.id().unwrap_or(0)))
        .unwrap_or_default();
    let field = |name: &str| {
        status
            .lines()
            .find_map(|l| l.strip_prefix(name))
            .map_or("?", str::trim)
            .to_owned()
    };
    println!(
        "\ndemo: binary {:.1} MB, after {} s: RSS {}, peak {}",
        megabytes(bytes),
        time.as_secs(),
        field("VmRSS:"),
        field("VmHWM:")
    );
    demo.kill().await.expect("it can be ended");
}

#[expect(clippy::cast_precision_loss, reason = "a size for people")]
fn megabytes(bytes: u64) -> f64 {
    bytes as f64 / 1e6
}
