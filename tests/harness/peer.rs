//! A server of the system as a process of its own: on a free port, with a folder that outlives it.

use std::{
    path::{Path, PathBuf},
    process::Stdio,
};

use rustix::process::{Pid, Signal, kill_process};
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

/// The running server. It is killed when this is dropped.
#[derive(Debug)]
pub(crate) struct Peer {
    child: Child,
    port: u16,
    dir: TempDir,
    program: PathBuf,
    arguments: Vec<String>,
}

impl Peer {
    /// Starts one and waits until it listens; `None` if it is not installed. `prepare` writes what it needs into its folder, and says with
    /// which arguments it runs.
    pub(crate) async fn start(
        program: &str,
        prepare: impl FnOnce(&Path, u16) -> Vec<String>,
    ) -> Option<Self> {
        let program = installed(program)?;
        let dir = TempDir::new().expect("a temporary folder");
        let port = free_port();
        let arguments = prepare(dir.path(), port);
        let child = spawn(&program, &arguments);
        listening(port).await;
        Some(Self {
            child,
            port,
            dir,
            program,
            arguments,
        })
    }

    pub(crate) const fn port(&self) -> u16 {
        self.port
    }

    pub(crate) fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Signals it and waits until it has ended.
    pub(crate) async fn stop(&mut self, signal: Signal) {
        let id = self.child.id().and_then(|id| i32::try_from(id).ok());
        if let Some(id) = id.and_then(Pid::from_raw) {
            kill_process(id, signal).expect("it can be signalled");
        }
        self.child.wait().await.expect("it was started");
    }

    /// Starts it again on the same port, in the same folder.
    pub(crate) async fn start_again(&mut self) {
        self.child = spawn(&self.program, &self.arguments);
        listening(self.port).await;
    }
}

fn spawn(program: &Path, arguments: &[String]) -> Child {
    Command::new(program)
        .args(arguments)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .expect("what is installed can be started")
}
