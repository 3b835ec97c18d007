//! Real receivers of alerts: Prometheus Alertmanager, and a mail server (aiosmtpd).

use std::{path::PathBuf, process::Stdio};

use rustix::process::Signal;
use serde_json::Value;
use tempfile::TempDir;
use tokio::process::{Child, Command};

use crate::{
    gateway::free_port,
    peer::{Peer, installed, listening},
};

/// Debian's Prometheus Alertmanager on a free port. It forgets all alerts when it ends.
#[derive(Debug)]
pub struct Alertmanager {
    peer: Peer,
}

impl Alertmanager {
    /// Starts one that tells nobody; `None` if it is not installed.
    pub async fn start() -> Option<Self> {
        let peer = Peer::start("prometheus-alertmanager", |dir, port| {
            let file = dir.join("config.yml");
            let nobody = "route:\n  receiver: nobody\nreceivers:\n  - name: nobody\n";
            std::fs::write(&file, nobody).expect("the config can be written");
            vec![
                format!("--config.file={}", file.display()),
                format!("--storage.path={}", dir.join("data").display()),
                format!("--web.listen-address=127.0.0.1:{port}"),
                String::from("--cluster.listen-address="),
            ]
        });
        Some(Self { peer: peer.await? })
    }

    /// Kills it and starts it again on the same port: it knows no alert then.
    pub async fn restart(&mut self) {
        self.peer.stop(Signal::KILL).await;
        self.peer.start_again().await;
    }

    /// Its address for the config.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.peer.port())
    }

    /// The alerts that fire, as its API tells them; none while it does not answer.
    pub async fn alerts(&self) -> Option<Vec<Value>> {
        let answer = reqwest::get(format!("{}/api/v2/alerts", self.url())).await;
        answer.ok()?.json().await.ok()
    }
}

/// The user that the mail server lets in, and the password.
pub const MAIL_LOGIN: (&str, &str) = ("gateway", "hunter2");

/// Arguments: port, folder of the mails, certificate, key, and answers to give to the next recipients, with `|` between.
const MAIL_SERVER: &str = r#"
import asyncio, ssl, sys
from aiosmtpd.controller import Controller
from aiosmtpd.handlers import Mailbox
from aiosmtpd.smtp import AuthResult, LoginPassword

port, folder, certificate, key, answers = sys.argv[1:6]
answers = [answer for answer in answers.split("|") if answer]

class Handler(Mailbox):
    async def handle_RCPT(self, server, session, envelope, address, options):
        if answers:
            return answers.pop(0)
        envelope.rcpt_tos.append(address)
        return "250 OK"

def authenticate(server, session, envelope, mechanism, data):
    right = isinstance(data, LoginPassword) and (data.login, data.password) == (b"gateway", b"hunter2")
    return AuthResult(success=right, handled=right)

context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(certificate, key)
controller = Controller(
    Handler(folder), hostname="127.0.0.1", port=int(port), tls_context=context, require_starttls=True,
    authenticator=authenticate, auth_required=True,
)
controller.start()
asyncio.new_event_loop().run_forever()
"#;

/// A mail server that wants STARTTLS and a login, and keeps what it gets.
#[derive(Debug)]
pub struct MailServer {
    _child: Child,
    /// Its port.
    pub port: u16,
    dir: TempDir,
}

impl MailServer {
    /// Starts one that answers so to the first recipients (such as `451 not now`); `None` if aiosmtpd is not installed.
    pub async fn start(answers: &[&str]) -> Option<Self> {
        let python = installed("python3")?;
        installed("aiosmtpd")?;
        let dir = TempDir::new().expect("a temporary folder");
        let path = |name: &str| dir.path().join(name);
        let made = std::process::Command::new("openssl")
            .args([
                "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2",
            ])
            .args([
                "-subj",
                "/CN=localhost",
                "-addext",
                "subjectAltName=DNS:localhost",
            ])
            // Not an authority of its own, which no server may be.
            .args(["-addext", "basicConstraints=critical,CA:FALSE"])
            .arg("-keyout")
            .arg(path("key.pem"))
            .arg("-out")
            .arg(path("ca.pem"))
            .stderr(Stdio::null())
            .status();
        assert!(made.is_ok_and(|s| s.success()), "a certificate");
        let port = free_port();
        let child = Command::new(python)
            .args(["-c", MAIL_SERVER, &port.to_string()])
            .args([path("mails"), path("ca.pem"), path("key.pem")])
            .arg(answers.join("|"))
            .kill_on_drop(true)
            .spawn()
            .expect("python3 can be started");
        listening(port).await;
        Some(Self {
            _child: child,
            port,
            dir,
        })
    }

    /// The certificate that it is to be trusted by.
    #[must_use]
    pub fn ca_file(&self) -> PathBuf {
        self.dir.path().join("ca.pem")
    }

    /// The mails so far, as they came, the oldest first.
    #[must_use]
    pub fn mails(&self) -> Vec<String> {
        let Ok(folder) = std::fs::read_dir(self.dir.path().join("mails/new")) else {
            return Vec::new();
        };
        let mut files: Vec<PathBuf> = folder.flatten().map(|entry| entry.path()).collect();
        files.sort_by_key(|file| file.metadata().and_then(|m| m.modified()).ok());
        files
            .iter()
            .filter_map(|file| std::fs::read_to_string(file).ok())
            .collect()
    }
}
