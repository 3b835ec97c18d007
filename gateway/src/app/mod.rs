//! The one room that knows everybody. It builds the gateway back to front, so that nothing arrives before there is
//! somebody to take it, changes parts of it while it runs, and stops it front to back, so that everything taken is carried
//! through.
//!
//! | file | job |
//! |---|---|
//! | `build` | from a config to a running gateway |
//! | `attention` | what people do about alerts, to the browsers; whether anybody looks, to the journal |
//! | `sources` | the ways in as named tasks, started and stopped one by one |
//! | `telling` | what browsers may have missed of earlier runs |
//! | `made` | devices and webhooks of people, laid over the config |
//! | `dashboards` | the desk of saved views |
//! | `outlets` | webhooks and archive, ended and begun one by one |
//! | `heartbeats` | beats to dead-man's switches outside, begun and ended together |
//! | `change` | the difference of two configs; pure |
//! | `replay` | what earlier runs left, into engine and normaliser |
//! | `reload` | that difference, applied |
//! | `rules` | the rules of the config and of people as one list |
//!
//! Starting: sockets are bound first, then state, journal, engine (with the journal's replay), hub, notifiers,
//! archives, ingest, HTTP, and last the sources. Stopping: sources, HTTP, then each stage ends because its input
//! ended; archives and webhooks get a short time and go on after the next start.

mod attention;
mod build;
mod change;
mod dashboards;
mod heartbeats;
mod made;
mod outlets;
mod reload;
mod replay;
mod rules;
mod sources;
mod telling;
mod web;

use std::{io, net::SocketAddr, path::PathBuf, time::Duration};

use thiserror::Error;
use tokio::{
    net::TcpListener,
    sync::{mpsc, watch},
    task::JoinHandle,
    time::Instant,
};
use tokio_util::sync::CancellationToken;

pub use self::build::start;
use self::{heartbeats::Beating, outlets::Outlets, sources::Sources};
use crate::{
    archive::influx,
    clock::Clock,
    config::Config,
    engine::Engine,
    history::{History, HistoryError},
    http,
    journal::{self, Journal},
    live::Hub,
    model::SourceName,
    notify::NotifyError,
    shutdown::Parts,
    source::{SourceStatus, status::LinkState},
    state::{State, StateError},
    tls::{Tls, TlsError},
};

/// How long archives and webhooks may go on when everything before them has ended.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// Why the gateway can't start, or a changed config can't be used. Each says what to do.
#[derive(Debug, Error)]
pub enum StartError {
    /// An address is taken or not ours.
    #[error("cannot listen on {address} for {what}: {}", listen_remedy(.source))]
    Listen {
        /// Which address.
        address: SocketAddr,
        /// `HTTP`, or the source's name.
        what: String,
        /// Why.
        source: io::Error,
    },
    /// The data directory can't be made.
    #[error("cannot use the data directory {}: choose another `data_dir`, or give this user the right to write there", .path.display())]
    DataDir {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// See [`journal::OpenError`].
    #[error(transparent)]
    Journal(#[from] journal::OpenError),
    /// See [`StateError`].
    #[error(transparent)]
    State(#[from] StateError),
    /// See [`HistoryError`].
    #[error(transparent)]
    History(#[from] HistoryError),
    /// See [`influx::ClientError`].
    #[error(transparent)]
    Archive(#[from] influx::ClientError),
    /// See [`NotifyError`].
    #[error(transparent)]
    Notify(#[from] NotifyError),
    /// The HTTP client of a heartbeat can't be built from its settings.
    #[error("cannot prepare the heartbeat \"{name}\"")]
    Heartbeat {
        /// Which.
        name: String,
        /// Why.
        source: reqwest::Error,
    },
    /// See [`sources::MAX_SEATS`].
    #[error(
        "there were more than {} names of sources since the start: restart the gateway",
        sources::MAX_SEATS
    )]
    TooManySources,
    /// See [`TlsError`].
    #[error(
        "the certificate of the page cannot be used: put it right, or leave `tls` in [http] out"
    )]
    Tls(#[from] TlsError),
    /// The system gives no random numbers.
    #[error("the system gives no random numbers for a key: is /dev/urandom there?")]
    Random,
    /// The replay died; the journal was not changed.
    #[error("the replay of the journal did not finish")]
    Replay,
}

fn listen_remedy(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::AddrInUse => {
            "another program uses this port: stop it, or configure another port"
        }
        io::ErrorKind::PermissionDenied => {
            "ports below 1024 need special rights: configure a higher port"
        }
        io::ErrorKind::AddrNotAvailable => "this machine does not have this address",
        _ => "the system refuses",
    }
}

/// A running gateway.
#[derive(Debug)]
pub struct App {
    /// Where the page is.
    pub http_address: SocketAddr,
    tls: Option<Tls>,
    /// Where the embedded MQTT listeners were at the start, by source.
    pub listeners: Vec<(SourceName, SocketAddr)>,
    /// What is in force: that of the file, with what people made laid over it.
    config: Config,
    /// What the file says.
    file: Box<Config>,
    own: made::Own,
    /// Changes of devices and webhooks that people ask for.
    asked: mpsc::Receiver<http::MadeRequest>,
    engine: Engine,
    configured: watch::Sender<http::Configured>,
    reload_metrics: reload::Metrics,
    clock: Clock,
    ready: watch::Sender<http::Readiness>,
    http_stop: CancellationToken,
    state_stop: CancellationToken,
    sources: Sources,
    outlets: Outlets,
    beating: Beating,
    rules: rules::Desk,
    state: State,
    hub: Hub,
    history: Option<History>,
    front: Parts,
    ingest: JoinHandle<()>,
    journal: Journal,
}

impl App {
    /// The address of the page, as a browser takes it.
    #[must_use]
    pub fn page(&self) -> String {
        let scheme = if self.tls.is_some() { "https" } else { "http" };
        format!("{scheme}://{}", self.http_address)
    }

    /// How long stopping may take, by the config in force.
    #[must_use]
    pub const fn stop_within(&self) -> Duration {
        self.config.stop_within
    }

    /// Whether the config in force wants its file watched.
    #[must_use]
    pub const fn watches_config(&self) -> bool {
        self.config.watch
    }

    /// Stops front to back within `deadline`. What was acknowledged is durable whatever happens here.
    ///
    /// # Errors
    ///
    /// The names of the parts that had not ended in time.
    pub async fn stop(mut self, deadline: Duration) -> Result<(), Vec<String>> {
        let until = Instant::now() + deadline;
        let left = || until.saturating_duration_since(Instant::now());
        let mut late = Vec::new();
        self.ready
            .send_replace(http::Readiness::NotReady(String::from("stopping")));
        // Who stops waits for what it delivered.
        self.journal.hurry();
        // Sources first: they deliver and acknowledge what they have. Pushes under way are answered.
        self.sources.close_ports();
        self.sources.stop.cancel();
        self.http_stop.cancel();
        late.extend(
            self.sources
                .parts
                .ended_within(left().mul_f64(0.6))
                .await
                .err()
                .unwrap_or_default(),
        );
        // With the last end of the door gone, ingest ends by itself.
        drop(self.sources);
        if tokio::time::timeout(left().mul_f64(0.5), self.ingest)
            .await
            .is_err()
        {
            late.push(String::from("ingest"));
        }
        if tokio::time::timeout(left(), self.journal.close())
            .await
            .is_err()
        {
            late.push(String::from("journal"));
        }
        // What a disk that refuses keeps from being written down would only wait for the deadline.
        self.state_stop.cancel();
        late.extend(
            self.front
                .ended_within(left())
                .await
                .err()
                .unwrap_or_default(),
        );
        // Archives read to the journal's end; who needs longer goes on after the next start.
        drop(
            self.outlets
                .parts
                .ended_within(left().min(LAST_WORDS))
                .await,
        );
        self.outlets.stop.cancel();
        late.extend(
            self.outlets
                .parts
                .ended_within(left().max(Duration::from_millis(500)))
                .await
                .err()
                .unwrap_or_default(),
        );
        // A disk that hangs is not waited for: the log is as good.
        let left = left().max(Duration::from_millis(500));
        let folded = tokio::time::timeout(left, self.state.fold_log()).await;
        if folded.is_err() {
            tracing::debug!("the log of the state file stays beside it: the disk is slow");
        }
        if late.is_empty() { Ok(()) } else { Err(late) }
    }
}

async fn bind(address: SocketAddr, what: &str) -> Result<TcpListener, StartError> {
    TcpListener::bind(address)
        .await
        .map_err(|source| listen_error(address, what, source))
}

fn listen_error(address: SocketAddr, what: &str, source: io::Error) -> StartError {
    StartError::Listen {
        address,
        what: what.to_owned(),
        source,
    }
}

/// Tells the engine how the link of a source stands, until one of both has ended.
fn tell_link(engine: Engine, mut watched: watch::Receiver<SourceStatus>) {
    tokio::spawn(async move {
        loop {
            let status = watched.borrow_and_update().clone();
            let down = match status.state {
                LinkState::Up | LinkState::Stopped | LinkState::Removed => None,
                LinkState::Connecting if status.detail.is_empty() => {
                    Some(String::from("it is not connected yet"))
                }
                LinkState::Connecting | LinkState::Down => Some(status.detail),
            };
            // A gateway that stops has not lost its sources.
            if status.state != LinkState::Stopped && engine.link(status.name.0, down).await.is_err()
            {
                return;
            }
            if watched.changed().await.is_err() {
                return;
            }
        }
    });
}

/// Says every change of a status to the browsers.
fn pass_on<T: serde::Serialize + Clone + Send + Sync + 'static>(
    hub: Hub,
    key: String,
    mut watched: watch::Receiver<T>,
) {
    tokio::spawn(async move {
        loop {
            let status = watched.borrow_and_update().clone();
            match serde_json::to_value(&status) {
                Ok(value) => hub.status(&key, value),
                Err(error) => tracing::error!(%error, key, "a status cannot be encoded"),
            }
            if watched.changed().await.is_err() {
                return;
            }
        }
    });
}
