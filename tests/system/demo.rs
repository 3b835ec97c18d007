use std::{path::PathBuf, process::Stdio, time::Duration};

use tests::{eventually, within, workspace_binary};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, BufReader},
    process::{Child, ChildStdout, Command},
    time::Instant,
};

/// Far more than an end takes, far less than the deadlines that a part which hangs would run into.
const AT_ONCE: Duration = Duration::from_secs(4);

struct Demo {
    child: Child,
    /// Kept open: a program whose output nobody takes ends differently.
    _said: BufReader<ChildStdout>,
    page: String,
    serial: PathBuf,
}

/// As somebody starts it who has the usual ports in use or not.
async fn start() -> Demo {
    let mut child = Command::new(workspace_binary("gateway"))
        .args(["demo", "--listen", "127.0.0.1:0"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut said = BufReader::new(child.stdout.take().unwrap());
    let (mut page, mut serial, mut line) = (None, None, String::new());
    while !line.contains("Stop with Ctrl-C") {
        line.clear();
        let read = within("the demo's introduction", said.read_line(&mut line)).await;
        assert_ne!(read.unwrap(), 0, "the demo ended");
        if let Some(rest) = line.trim().strip_prefix("Page ") {
            page = Some(rest.trim().to_owned());
        } else if let Some(rest) = line.trim().strip_prefix("Serial ") {
            serial = Some(PathBuf::from(rest.trim()));
        }
    }
    Demo {
        child,
        _said: said,
        page: page.unwrap(),
        serial: serial.unwrap(),
    }
}

impl Demo {
    /// Until all twelve devices have sent something.
    async fn all_there(&self) {
        eventually("all devices of the demo", async || {
            let answer = reqwest::get(format!("{}/api/v1/status", self.page))
                .await
                .ok()?;
            let status: serde_json::Value = answer.json().await.ok()?;
            (status["engine"]["devices"] == 12).then_some(())
        })
        .await;
    }

    async fn interrupt(mut self) {
        let pid = self.child.id().unwrap().to_string();
        let asked = Instant::now();
        let kill = Command::new("kill").args(["-INT", &pid]).status().await;
        assert!(kill.unwrap().success());
        let ended = within("the end of the demo", self.child.wait()).await;
        let took = asked.elapsed();
        let mut complaints = String::new();
        let mut stderr = self.child.stderr.take().unwrap();
        stderr.read_to_string(&mut complaints).await.unwrap();
        assert!(ended.unwrap().success(), "{complaints}");
        assert_eq!(complaints, "");
        assert!(took < AT_ONCE, "it took {took:?}");
        assert!(!self.serial.exists(), "its folder is still there");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_demos_run_side_by_side_and_end_at_once_without_a_word() {
    drop(rustls::crypto::ring::default_provider().install_default());
    let (first, second) = (start().await, start().await);
    assert_ne!(first.page, second.page);
    first.all_there().await;
    second.all_there().await;
    // Somebody who watches must not hold up the end.
    let watching = reqwest::get(format!("{}/events", first.page))
        .await
        .unwrap();
    first.interrupt().await;
    assert!(within("the last event", watching.text()).await.is_ok());
    second.interrupt().await;
}
