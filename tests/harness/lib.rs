//! What system tests share: real gateways, real peers, and waiting for a state with a deadline.
//!
//! Everything binds to loopback on free ports, lives in a temporary folder, and is ended when its value is dropped.

pub mod disk;
pub mod door;
pub mod events;
mod fake_clock;
pub mod gateway;
pub mod moody;
pub mod nab;
pub mod onslaught;
mod peer;
pub mod peers;
pub mod receivers;
pub mod serial;
pub mod sinks;
pub mod wait;

pub use self::{
    disk::Disk,
    door::{Door, Way},
    events::{Event, Events},
    fake_clock::FakeClock,
    gateway::{Gateway, Starting, free_port, workspace_binary},
    moody::MoodySink,
    peer::installed,
    peers::{Mosquitto, Victoria},
    receivers::{Alertmanager, MailServer},
    serial::Line,
    sinks::{HangingSink, InfluxSink, WebhookSink},
    wait::{DEADLINE, eventually, within},
};

use std::path::{Path, PathBuf};

/// The top of the repository.
#[must_use]
pub fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .unwrap_or_else(|| Path::new("."))
}

/// A file of the captures beside the repository; `None` (and a line that says so) where they are not there.
#[must_use]
pub fn capture(path: &str) -> Option<PathBuf> {
    let file = repository().join("../shared/data").join(path);
    if file.exists() {
        return Some(file);
    }
    println!("skipped: the capture {path} is not there");
    None
}
