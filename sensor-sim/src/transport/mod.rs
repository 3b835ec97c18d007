//! Carries messages: a pseudo-terminal, a broker, an HTTP server. Each link counts what became of them and enters it in the
//! ledger, and knows nothing of signals and faults.

pub mod http;
pub mod mqtt;
pub mod serial;
pub mod session;

use std::{
    io,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use serde::Serialize;
use tokio::time::{Instant, sleep_until};

use crate::{
    clock,
    ledger::{Entry, Ledger, LedgerError, Sent},
    plan::Message,
    scenario::{Device, Transport},
};

/// A message with its id in the ledger.
#[derive(Clone, Debug)]
pub struct Parcel {
    /// Unique within the run.
    pub id: u64,
    /// What is to be sent.
    pub message: Message,
}

/// What became of the messages of one device. Cheap to clone; all clones count together.
#[derive(Clone, Debug)]
pub struct Account {
    device: Arc<str>,
    transport: &'static str,
    ledger: Option<Ledger>,
    ids: Arc<AtomicU64>,
    counts: Arc<Counts>,
}

#[derive(Debug, Default)]
struct Counts {
    sent: AtomicU64,
    again: AtomicU64,
    acknowledged: AtomicU64,
    refused: AtomicU64,
    unsent: AtomicU64,
}

/// The counts of one device.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Tally {
    /// Messages handed to the transport.
    pub sent: u64,
    /// Hand-overs beyond the first of each.
    pub again: u64,
    /// Messages acknowledged by the other side.
    pub acknowledged: u64,
    /// Messages that the other side refused for good.
    pub refused: u64,
    /// Messages that could not be sent and were not kept: nobody had the serial port open or read it, or the
    /// broker was away and the quality of service is 0.
    pub unsent: u64,
}

/// The connection of one device.
#[derive(Debug)]
pub enum Link {
    /// See [`serial`].
    Serial(serial::SerialLink),
    /// See [`mqtt`].
    Mqtt(mqtt::MqttLink),
    /// See [`http`].
    Http(http::HttpLink),
}

/// Why a link can't work. A broker or server that is away is none of these: that is waited for.
#[derive(Debug, thiserror::Error)]
pub enum TransportError {
    /// No pseudo-terminal is to be had: `/dev/pts` is missing or full.
    #[error("can't make a pseudo-terminal")]
    Pty(#[source] io::Error),
    /// The link of a pseudo-terminal can't be made.
    #[error("can't put a link to the pseudo-terminal at {}", path.display())]
    SerialLink {
        /// Where.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Something else than a symbolic link is in the place of the link.
    #[error("{} exists and is no symbolic link: move it away", .0.display())]
    Occupied(PathBuf),
    /// The HTTP client can't be set up.
    #[error("can't set up the http client")]
    Http(#[source] reqwest::Error),
    /// The ledger can't be written.
    #[error("the run can't be accounted for")]
    Ledger(#[from] LedgerError),
    /// The task of the connection died; a bug.
    #[error("the task of the connection died")]
    Died(#[source] Option<tokio::task::JoinError>),
}

impl Account {
    /// Of one device; ids are shared by all devices of a run.
    #[must_use]
    pub fn new(device: &Device, ledger: Option<Ledger>, ids: Arc<AtomicU64>) -> Self {
        Self {
            device: device.id.as_str().into(),
            transport: device.transport.name(),
            ledger,
            ids,
            counts: Arc::default(),
        }
    }

    /// Gives the message its id.
    #[must_use]
    pub fn parcel(&self, message: Message) -> Parcel {
        Parcel {
            id: self.ids.fetch_add(1, Ordering::Relaxed),
            message,
        }
    }

    /// Handed over for the first time.
    ///
    /// # Errors
    ///
    /// When the ledger can't be written; the same holds for the others.
    pub fn sent(&self, parcel: &Parcel) -> Result<(), LedgerError> {
        self.counts.sent.fetch_add(1, Ordering::Relaxed);
        self.enter(|at| {
            Entry::Sent(Sent::new(
                parcel.id,
                at,
                &self.device,
                self.transport,
                &parcel.message,
            ))
        })
    }

    /// Handed over again.
    ///
    /// # Errors
    ///
    /// When the ledger can't be written.
    pub fn again(&self, id: u64) -> Result<(), LedgerError> {
        self.counts.again.fetch_add(1, Ordering::Relaxed);
        self.enter(|at| Entry::Again { id, at })
    }

    /// Acknowledged.
    ///
    /// # Errors
    ///
    /// When the ledger can't be written.
    pub fn acknowledged(&self, id: u64) -> Result<(), LedgerError> {
        self.counts.acknowledged.fetch_add(1, Ordering::Relaxed);
        self.enter(|at| Entry::Ack { id, at })
    }

    /// Refused for good.
    ///
    /// # Errors
    ///
    /// When the ledger can't be written.
    pub fn refused(&self, id: u64, answer: &str) -> Result<(), LedgerError> {
        self.counts.refused.fetch_add(1, Ordering::Relaxed);
        let answer: String = answer.chars().take(200).collect();
        self.enter(|at| Entry::Refused { id, at, answer })
    }

    /// Could not be sent and was not kept.
    pub fn unsent(&self) {
        self.counts.unsent.fetch_add(1, Ordering::Relaxed);
    }

    /// How it stands.
    #[must_use]
    pub fn tally(&self) -> Tally {
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        Tally {
            sent: read(&self.counts.sent),
            again: read(&self.counts.again),
            acknowledged: read(&self.counts.acknowledged),
            refused: read(&self.counts.refused),
            unsent: read(&self.counts.unsent),
        }
    }

    fn enter(&self, entry: impl FnOnce(i64) -> Entry) -> Result<(), LedgerError> {
        self.ledger
            .as_ref()
            .map_or(Ok(()), |ledger| ledger.enter(&entry(clock::now_ns())))
    }
}

impl Link {
    /// Opens the connection of a device, or begins to.
    ///
    /// # Errors
    ///
    /// When it can't work at all.
    pub fn open(device: &Device, account: Account) -> Result<Self, TransportError> {
        Ok(match &device.transport {
            Transport::Serial(serial) => {
                Self::Serial(serial::SerialLink::open(serial.clone(), account)?)
            }
            Transport::Mqtt(mqtt) => {
                Self::Mqtt(mqtt::MqttLink::open(&device.id, mqtt.clone(), account))
            }
            Transport::Http(http) => {
                Self::Http(http::HttpLink::open(http, device.format, account)?)
            }
        })
    }

    /// Sends a message. Returns when it is on its way (MQTT, serial) or answered (HTTP); waits while those who can keep
    /// messages have no more room.
    ///
    /// # Errors
    ///
    /// When the link is broken for good.
    pub async fn send(&mut self, message: Message) -> Result<(), TransportError> {
        match self {
            Self::Serial(link) => link.send(message).await,
            Self::Mqtt(link) => link.send(message).await,
            Self::Http(link) => link.send(message).await,
        }
    }

    /// Breaks the connection for so long.
    ///
    /// # Errors
    ///
    /// When the link is broken for good.
    pub async fn disconnect(&mut self, lasts: Duration) -> Result<(), TransportError> {
        match self {
            Self::Serial(link) => link.unplug(lasts).await,
            Self::Mqtt(link) => return link.disconnect(lasts).await,
            Self::Http(link) => link.disconnect(lasts),
        }
        Ok(())
    }

    /// Waits, and does meanwhile what is due: plugs an unplugged port in again.
    ///
    /// # Errors
    ///
    /// When the link is broken for good.
    pub async fn wait_until(&mut self, deadline: Instant) -> Result<(), TransportError> {
        if let Self::Serial(link) = self {
            link.plug_in_before(deadline).await?;
        }
        sleep_until(deadline).await;
        Ok(())
    }

    /// Says goodbye, once everything is acknowledged or `patience` has run out.
    ///
    /// # Errors
    ///
    /// When the ledger could not be written.
    pub async fn finish(self, patience: Duration) -> Result<(), TransportError> {
        match self {
            Self::Mqtt(link) => link.finish(patience).await,
            Self::Serial(mut link) => {
                link.finish().await;
                Ok(())
            }
            Self::Http(_) => Ok(()),
        }
    }
}

impl Transport {
    /// `serial`, `mqtt` or `http`.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Serial(_) => "serial",
            Self::Mqtt(_) => "mqtt",
            Self::Http(_) => "http",
        }
    }
}
