//! One serial port (tokio-serial): opened exclusively, read line by line, opened again whenever it is lost.
//!
//! - The device that is plugged out is noticed at once (a read of nothing, or an I/O error), and its file is closed
//!   before anything else: while somebody holds it, the kernel gives the returning device another name.
//! - It is opened again by the configured path, so a link such as `/dev/serial/by-id/…` is followed anew each time.
//! - An outage is logged once; while it lasts, the status says what is wrong and what to do. So with a port that comes and goes
//!   again and again: it counts as one outage until a connection has stood for a while.
//! - A port that stands but says nothing is `up`; after [`Config::silent_after`] the status says since when it is silent.
//! - Serial devices can't wait: lines go through a [`shed::Shed`], which drops its oldest when the gateway is behind.
//! - Lines are stamped with the time at which their last byte can have been on the wire, so that lines which a busy machine
//!   reads all at once keep their order and distance, and none has the time of another.
//! - A half line that was pending when the port was lost is a reject: it is counted, never delivered.
//!
//! It writes nothing to the port and knows no formats.

use std::{
    fs, io,
    os::unix::fs::{FileTypeExt, MetadataExt},
    path::{Path, PathBuf},
    time::Duration,
};

use bytes::Bytes;
use smol_str::SmolStr;
use tokio::{
    io::AsyncReadExt,
    time::{Instant, sleep},
};
use tokio_serial::{DataBits, ErrorKind, SerialPortType, SerialStream, StopBits};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::{
    Frame, Intake, StatusReporter,
    framing::{Framer, Piece},
    shed,
};
use crate::{
    backoff::Backoff,
    model::Timestamp,
    rejects::{Reason, Reject, Rejects},
};

/// Bytes taken in one read: a good deal more than a port brings between two wake-ups.
const READ_BYTES: usize = 8 * 1024;
/// A port that stood this long was a good one: the next outage is a new one.
const GOOD_AFTER: Duration = Duration::from_secs(10);
/// Of a port that comes and goes within [`GOOD_AFTER`], so many openings are logged.
const TOLD_OPENS: u32 = 3;

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
    /// How long nothing may come before the status calls the port silent. Default 1 min.
    pub silent_after: Duration,
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

/// A serial port of this machine, for `gateway ports`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PortInfo {
    /// The device file, such as `/dev/ttyUSB0`.
    pub device: PathBuf,
    /// The links under `/dev/serial/by-id` that lead to it: names that stay the same.
    pub by_id: Vec<PathBuf>,
    /// What is known of the USB device behind it.
    pub usb: Option<UsbInfo>,
}

/// A USB device, as it describes itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UsbInfo {
    /// Vendor id.
    pub vendor_id: u16,
    /// Product id.
    pub product_id: u16,
    /// Who made it.
    pub manufacturer: Option<String>,
    /// What it calls itself.
    pub product: Option<String>,
    /// Its serial number.
    pub serial_number: Option<String>,
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
            silent_after: Duration::from_secs(60),
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
    rejects: Rejects,
    status: StatusReporter,
    stop: CancellationToken,
) {
    let queue = shed::Shed::counting(
        config.queue,
        status.dropped_queue_full.clone(),
        status.waiting.clone(),
    );
    let port = Port {
        config: &config,
        intake: &intake,
        rejects: &rejects,
        status: &status,
        queue: &queue,
    };
    let reading = async {
        port.keep_reading(&stop).await;
        queue.close();
    };
    let ((), forwarded) = tokio::join!(reading, queue.forward(&intake));
    if forwarded.is_err() {
        info!(source = %intake.source().0, "the gateway stopped before the last lines were on disk");
    }
    status.stopped();
}

struct Port<'a> {
    config: &'a Config,
    intake: &'a Intake,
    rejects: &'a Rejects,
    status: &'a StatusReporter,
    queue: &'a shed::Shed,
}

impl Port<'_> {
    async fn keep_reading(&self, stop: &CancellationToken) {
        let mut backoff = Backoff::new(self.config.backoff);
        let mut reported = false;
        let mut opens = 0;
        while !stop.is_cancelled() {
            let trouble = match open(self.config) {
                Ok(stream) => {
                    let at = address(&self.config.device);
                    opens += 1;
                    if opens <= TOLD_OPENS {
                        info!(source = %self.intake.source().0, device = %at, "serial port opened");
                    }
                    self.status.up(at);
                    let opened = Instant::now();
                    let lost = self.read(stream, stop).await;
                    // A port that opens and fails, or has a loose contact, must not be opened in a tight loop.
                    if opened.elapsed() >= GOOD_AFTER {
                        backoff.reset();
                        reported = false;
                        opens = 0;
                    }
                    let Some(lost) = lost else { return };
                    format!("{}: {lost}", self.config.device.display())
                }
                Err(error) => explain(&error, &self.config.device),
            };
            self.status.down(trouble.as_str());
            if !std::mem::replace(&mut reported, true) {
                warn!(source = %self.intake.source().0, problem = %trouble, "serial port is not readable, trying again");
            }
            tokio::select! {
                () = stop.cancelled() => return,
                () = sleep(backoff.next_wait()) => {}
            }
        }
    }

    /// Reads until the port is lost (says how) or the gateway stops. Owns the stream: on return it is closed.
    async fn read(
        &self,
        mut stream: SerialStream,
        stop: &CancellationToken,
    ) -> Option<&'static str> {
        let mut framer = Framer::new(self.config.max_line_bytes);
        let mut wire = Wire::new(self.config);
        let mut buffer = vec![0; READ_BYTES];
        let mut heard_at = self.status.now();
        let mut silent = false;
        let lost = loop {
            let read = tokio::select! {
                biased;
                () = stop.cancelled() => break None,
                read = stream.read(&mut buffer) => read,
                () = sleep(self.config.silent_after), if !silent => {
                    silent = true;
                    self.status.note(format!(
                        "{}; silent since {}: check the device's power and cable, and `baud_rate`",
                        address(&self.config.device),
                        heard_at.to_rfc3339(),
                    ));
                    continue;
                }
            };
            match read {
                Ok(n) if n > 0 => {
                    heard_at = self.status.now();
                    if std::mem::take(&mut silent) {
                        self.status.note(address(&self.config.device));
                    }
                    let mut after = n;
                    for part in buffer[..n].split_inclusive(|byte| *byte == b'\n') {
                        after -= part.len();
                        let arrived = wire.stamp(self.status.now(), after);
                        framer.push(part, |piece| match piece {
                            Piece::Line(line) => {
                                self.status.received(line.len());
                                self.queue.push(Frame {
                                    topic: SmolStr::default(),
                                    payload: Bytes::copy_from_slice(line),
                                    arrived,
                                    retained: false,
                                });
                            }
                            Piece::TooLong(head) => self.reject(
                                head,
                                Reason::TooLong,
                                format!(
                                    "the line is longer than {} bytes",
                                    self.config.max_line_bytes
                                ),
                            ),
                        });
                    }
                }
                // The kernel answers reads of a hung-up port with nothing, again and again, or with EIO.
                Ok(_) => break Some("unplugged; reading goes on when it is back"),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error)
                    if error.raw_os_error() == Some(rustix::io::Errno::IO.raw_os_error()) =>
                {
                    break Some("unplugged; reading goes on when it is back");
                }
                Err(_) => break Some("reading failed; it will be opened again"),
            }
        };
        drop(stream);
        if let Some(half) = framer.finish() {
            let detail = format!(
                "half a line ({} bytes) when the port was closed",
                half.len()
            );
            self.reject(&half, Reason::Malformed, detail);
        }
        lost
    }

    fn reject(&self, bytes: &[u8], reason: Reason, detail: String) {
        self.status.received(bytes.len());
        self.rejects.record(
            self.intake.source(),
            "",
            bytes,
            self.status.now(),
            Reject {
                reason,
                detail,
                record: 0,
            },
        );
    }
}

/// When lines were on the wire. A busy machine reads many lines at once: with one time for all of them, archives would take
/// the readings of a series for one point and keep the last.
#[derive(Debug)]
struct Wire {
    byte: Duration,
    last: Timestamp,
}

impl Wire {
    fn new(config: &Config) -> Self {
        // A start bit before each byte.
        let bits = 1
            + u32::from(config.data_bits)
            + u32::from(config.parity != Parity::None)
            + u32::from(config.stop_bits);
        Self {
            byte: Duration::from_secs(1) * bits / config.baud_rate.max(1),
            last: Timestamp(i64::MIN),
        }
    }

    /// The end of a line that was read at `now` with `after` bytes behind it: at least the time before `now` that these took,
    /// and after every line before it, unless the clock was put back.
    fn stamp(&mut self, now: Timestamp, after: usize) -> Timestamp {
        let behind = self.byte.as_nanos().saturating_mul(after as u128);
        let on_wire = now
            .0
            .saturating_sub(i64::try_from(behind).unwrap_or(i64::MAX));
        self.last = Timestamp(if self.last > now {
            on_wire
        } else {
            on_wire.max(self.last.0.saturating_add(1))
        });
        self.last
    }
}

/// The serial ports of this machine, by device file. Empty where the system shows none.
#[must_use]
pub fn ports() -> Vec<PortInfo> {
    // The listing panics where the folder is missing, as in some containers.
    if !Path::new("/sys/class/tty").is_dir() {
        return Vec::new();
    }
    let links = links_by_id(Path::new("/dev/serial/by-id"));
    let mut ports: Vec<PortInfo> = tokio_serial::available_ports()
        .unwrap_or_default()
        .into_iter()
        .map(|port| {
            let device = PathBuf::from(port.port_name);
            let by_id = links
                .iter()
                .filter(|(_, target)| *target == device)
                .map(|(link, _)| link.clone())
                .collect();
            let usb = match port.port_type {
                SerialPortType::UsbPort(usb) => Some(UsbInfo {
                    vendor_id: usb.vid,
                    product_id: usb.pid,
                    manufacturer: usb.manufacturer,
                    product: usb.product,
                    serial_number: usb.serial_number,
                }),
                SerialPortType::PciPort
                | SerialPortType::BluetoothPort
                | SerialPortType::Unknown => None,
            };
            PortInfo { device, by_id, usb }
        })
        .collect();
    ports.sort_by(|a, b| a.device.cmp(&b.device));
    ports
}

/// The links in a folder and where each leads; broken ones and an absent folder give nothing.
fn links_by_id(folder: &Path) -> Vec<(PathBuf, PathBuf)> {
    let Ok(entries) = fs::read_dir(folder) else {
        return Vec::new();
    };
    let mut links: Vec<_> = entries
        .flatten()
        .filter_map(|entry| Some((entry.path(), fs::canonicalize(entry.path()).ok()?)))
        .collect();
    links.sort();
    links
}

fn open(config: &Config) -> tokio_serial::Result<SerialStream> {
    let path = config.device.to_str().ok_or_else(|| {
        tokio_serial::Error::new(ErrorKind::InvalidInput, "its path is not UTF-8")
    })?;
    let builder = tokio_serial::new(path, config.baud_rate)
        .data_bits(match config.data_bits {
            5 => DataBits::Five,
            6 => DataBits::Six,
            7 => DataBits::Seven,
            _ => DataBits::Eight,
        })
        .parity(match config.parity {
            Parity::None => tokio_serial::Parity::None,
            Parity::Odd => tokio_serial::Parity::Odd,
            Parity::Even => tokio_serial::Parity::Even,
        })
        .stop_bits(if config.stop_bits == 2 {
            StopBits::Two
        } else {
            StopBits::One
        })
        .exclusive(true);
    SerialStream::open(&builder)
}

/// The device as configured, and what it leads to if it is a link.
fn address(device: &Path) -> String {
    match fs::canonicalize(device) {
        Ok(target) if target != device => format!("{} → {}", device.display(), target.display()),
        _ => device.display().to_string(),
    }
}

/// Why a port can't be opened, and what a person can do about it.
fn explain(error: &tokio_serial::Error, device: &Path) -> String {
    let at = device.display();
    match error.kind() {
        ErrorKind::Io(io::ErrorKind::NotFound) => {
            format!(
                "{at}: no such device; plug it in, or run `gateway ports` to see those that are there"
            )
        }
        ErrorKind::Io(io::ErrorKind::PermissionDenied) => {
            let group = owning_group(device).unwrap_or_else(|| String::from("dialout"));
            format!(
                "{at}: permission denied; add the gateway's user to the group `{group}` (`usermod -aG {group} USER`) \
                 and start it again"
            )
        }
        ErrorKind::NoDevice => {
            format!("{at}: another program has it open; stop that one (`fuser {at}` names it)")
        }
        _ if error.description.contains("typewriter") || !is_character_device(device) => {
            format!(
                "{at}: this is not a serial port; run `gateway ports` to see those that are there"
            )
        }
        _ => format!("{at}: {error}"),
    }
}

/// Whether it can be a port at all; what can't be looked at may be one.
fn is_character_device(device: &Path) -> bool {
    fs::metadata(device).map_or(true, |found| found.file_type().is_char_device())
}

/// The name of the group that a device file belongs to, from `/etc/group`.
fn owning_group(device: &Path) -> Option<String> {
    let gid = fs::metadata(device).ok()?.gid().to_string();
    let groups = fs::read_to_string("/etc/group").ok()?;
    groups.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)? == gid && gid != "0").then(|| name.to_owned())
    })
}

#[cfg(test)]
mod tests;
