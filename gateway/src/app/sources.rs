//! The ways in as named tasks that can be started and stopped one by one.
//!
//! Each name has one seat for as long as the process lives: its number in deliveries, its row of the account, its status.
//! A source that is taken out of the config leaves its seat empty; one of the same name sits down there again.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use tokio::{
    net::TcpListener,
    sync::{mpsc, watch},
    task::JoinHandle,
};
use tokio_util::sync::CancellationToken;

use super::{StartError, bind, listen_error, pass_on, tell_link};
use crate::{
    clock::Clock,
    config::{PUSH_SOURCE, SourceConfig, SourceKind},
    engine::Engine,
    files,
    ingest::{Account, Change},
    live::Hub,
    model::SourceName,
    normalise::SourceMappings,
    rejects::Rejects,
    shutdown::Parts,
    source::{
        Intake, SourceStatus, StatusReporter, broker, intake::Door, mqtt, serial,
        status::SourceMetrics,
    },
};

/// Names of sources over the life of a process. Each has a row of the account and a line of each metric, which stay.
pub(super) const MAX_SEATS: usize = 1_024;
/// How long a source that is taken away may take to deliver and acknowledge what it has; its own limits are shorter.
const STOP_WITHIN: Duration = Duration::from_secs(10);

/// All sources, and what they are built with.
#[derive(Debug)]
pub(super) struct Sources {
    seats: Vec<Seat>,
    pub(super) around: Surroundings,
    /// Of all that run; a stopping gateway waits for them.
    pub(super) parts: Parts,
    /// Stops them all.
    pub(super) stop: CancellationToken,
}

/// The place of a name.
#[derive(Debug)]
struct Seat {
    name: SourceName,
    reporter: StatusReporter,
    status: watch::Receiver<SourceStatus>,
    running: Option<Running>,
}

#[derive(Debug)]
struct Running {
    stop: CancellationToken,
    task: JoinHandle<()>,
    /// The address that was asked for and a handle to its socket: a listener that is only set up anew keeps its port, and
    /// clients that knock meanwhile are let in afterwards.
    socket: Option<(SocketAddr, std::net::TcpListener)>,
}

/// A source with all that can fail behind it, ready to be started.
#[derive(Debug)]
pub(super) enum Prepared {
    Serial(serial::Config),
    Mqtt(mqtt::Config),
    /// With a second handle to its socket.
    Listener(broker::Config, TcpListener, std::net::TcpListener),
}

/// What runs on a seat.
enum Kind {
    Serial(serial::Config),
    Mqtt(mqtt::Config),
    Listener(broker::Config, TcpListener),
}

/// What [`Sources`] is built with.
#[derive(Debug)]
pub(super) struct Surroundings {
    pub(super) door: Door,
    pub(super) changes: mpsc::Sender<Change>,
    pub(super) account: Account,
    pub(super) rejects: Rejects,
    pub(super) metrics: SourceMetrics,
    pub(super) listener_metrics: broker::Metrics,
    pub(super) clock: Clock,
    pub(super) hub: Hub,
    pub(super) engine: Engine,
    pub(super) data_dir: PathBuf,
}

impl Sources {
    /// Nobody sits yet.
    pub(super) fn new(around: Surroundings) -> Self {
        Self {
            seats: Vec::new(),
            around,
            parts: Parts::default(),
            stop: CancellationToken::new(),
        }
    }

    /// How each stands, in the order of the seats.
    pub(super) fn statuses(&self) -> Vec<watch::Receiver<SourceStatus>> {
        self.seats.iter().map(|seat| seat.status.clone()).collect()
    }

    /// Whether all these names find a seat.
    pub(super) fn have_room_for(&self, sources: &[SourceConfig]) -> bool {
        let new = sources
            .iter()
            .filter(|source| self.find(&source.name).is_none())
            .count();
        self.seats.len() + new <= MAX_SEATS
    }

    /// The seat of this name, and whether it is a new one.
    pub(super) fn seat(&mut self, name: &SourceName, kind: &'static str) -> (usize, bool) {
        if let Some(number) = self.find(name) {
            return (number, false);
        }
        let (reporter, status) =
            self.around
                .metrics
                .reporter(name.clone(), kind, self.around.clock.clone());
        self.around.account.add(name.clone(), reporter.clone());
        pass_on(
            self.around.hub.clone(),
            format!("source/{}", name.0),
            status.clone(),
        );
        tell_link(self.around.engine.clone(), status.clone());
        self.seats.push(Seat {
            name: name.clone(),
            reporter,
            status,
            running: None,
        });
        (self.seats.len() - 1, true)
    }

    /// What HTTP push delivers with, and reports to.
    pub(super) fn push(&mut self) -> (Intake, StatusReporter) {
        let name = SourceName(PUSH_SOURCE.into());
        let (number, _) = self.seat(&name, "push");
        (
            self.intake(number, name),
            self.seats[number].reporter.clone(),
        )
    }

    /// As [`prepare`]; the port of a source in `leaving` is taken over.
    pub(super) async fn prepare(
        &self,
        source: &SourceConfig,
        leaving: &mut Vec<SourceName>,
    ) -> Result<Prepared, StartError> {
        let old = leaving.iter().enumerate().find_map(|(at, name)| {
            let running = self.seats[self.find(name)?].running.as_ref()?;
            let (address, socket) = running.socket.as_ref()?;
            let same = matches!(&source.kind, SourceKind::Listener(new) if new.listen == *address);
            same.then_some((at, socket))
        });
        let prepared = prepare(source, old.map(|(_, socket)| socket)).await;
        if let Some((at, _)) = old {
            // Each port goes to one: a second one that wants it must hear that it is taken.
            leaving.swap_remove(at);
        }
        prepared
    }

    /// Starts a source on its seat. What goes wrong with its connection from now on is its own business. Gives the address of
    /// a listener.
    pub(super) fn start(
        &mut self,
        source: &SourceConfig,
        prepared: Prepared,
    ) -> Option<SocketAddr> {
        let kind = kind_name(&source.kind);
        let (number, _) = self.seat(&source.name, kind);
        let reporter = self.seats[number].reporter.clone();
        reporter.begins(kind);
        self.around.account.set_removed(number, false);
        let part = self.parts.register(format!("source {}", source.name.0));
        let stop = self.stop.child_token();
        let stopped = stop.clone();
        let intake = self.intake(number, source.name.clone());
        let (rejects, metrics) = (
            self.around.rejects.clone(),
            self.around.listener_metrics.clone(),
        );
        let (running, socket) = match prepared {
            Prepared::Listener(config, listener, held) => {
                let asked = config.listen;
                (Kind::Listener(config, listener), Some((asked, held)))
            }
            Prepared::Serial(config) => (Kind::Serial(config), None),
            Prepared::Mqtt(mut config) => {
                let file = format!("mqtt/{}.json", source.name.0);
                config.session_file = Some(self.around.data_dir.join(file));
                (Kind::Mqtt(config), None)
            }
        };
        let bound = socket.as_ref().and_then(|(_, held)| held.local_addr().ok());
        let task = tokio::spawn(async move {
            let status = reporter.clone();
            match running {
                Kind::Serial(config) => {
                    serial::run(config, intake, rejects, status, stopped).await;
                }
                Kind::Mqtt(config) => {
                    mqtt::run(config, intake, rejects, status, stopped).await;
                }
                Kind::Listener(config, listener) => {
                    broker::run(config, listener, intake, rejects, status, metrics, stopped).await;
                }
            }
            reporter.stopped();
            drop(part);
        });
        self.seats[number].running = Some(Running { stop, task, socket });
        bound
    }

    /// Stops these, all at the same time: each delivers what it has, acknowledges what is durable and says goodbye. `gone`:
    /// those that don't come back.
    pub(super) async fn end(&mut self, names: &[SourceName], gone: &[SourceName]) {
        let mut ending = Vec::new();
        for name in names {
            let Some(number) = self.find(name) else {
                continue;
            };
            if let Some(running) = self.seats[number].running.take() {
                running.stop.cancel();
                ending.push((number, running));
            }
        }
        let until = tokio::time::Instant::now() + STOP_WITHIN;
        for (number, mut running) in ending {
            if tokio::time::timeout_at(until, &mut running.task)
                .await
                .is_err()
            {
                // What it had not acknowledged comes again; the rest is counted as dropped.
                running.task.abort();
                tracing::warn!(source = %self.seats[number].name.0, "the source did not end in time");
            }
            let seat = &self.seats[number];
            if gone.contains(&seat.name) {
                seat.reporter.removed();
                self.around.account.set_removed(number, true);
            }
        }
    }

    /// Tells ingest how the messages of a source become readings from now on.
    pub(super) async fn map(&mut self, source: &SourceConfig) {
        let (number, _) = self.seat(&source.name, kind_name(&source.kind));
        // A closed channel means that the gateway ends.
        drop(
            self.around
                .changes
                .send(Change::Mappings(number, mappings_of(source)))
                .await,
        );
    }

    /// Before the gateway stops: nobody may knock at the ports any more.
    pub(super) fn close_ports(&mut self) {
        for running in self.seats.iter_mut().filter_map(|s| s.running.as_mut()) {
            running.socket = None;
        }
    }

    fn intake(&self, number: usize, name: SourceName) -> Intake {
        let waiting = self.seats[number].reporter.waiting.clone();
        self.around.door.intake(number, name).counting(waiting)
    }

    fn find(&self, name: &SourceName) -> Option<usize> {
        self.seats.iter().position(|seat| seat.name == *name)
    }
}

/// Does all that can fail for a source: binds the port of a listener, unless there is a `socket` for it already.
pub(super) async fn prepare(
    source: &SourceConfig,
    socket: Option<&std::net::TcpListener>,
) -> Result<Prepared, StartError> {
    let config = match &source.kind {
        SourceKind::Serial(config) => return Ok(Prepared::Serial(config.clone())),
        SourceKind::Mqtt(config) => return Ok(Prepared::Mqtt(config.clone())),
        SourceKind::Listener(config) => config,
    };
    let held = match socket {
        Some(socket) => socket.try_clone(),
        None => bind(config.listen, &source.name.0).await?.into_std(),
    };
    let both = held.and_then(|held| {
        let listener = held.try_clone().and_then(TcpListener::from_std)?;
        Ok((listener, held))
    });
    let (listener, held) =
        both.map_err(|error| listen_error(config.listen, &source.name.0, error))?;
    let config = broker::Config {
        max_connections: config.max_connections.min(files::share(files::limit())),
        ..config.clone()
    };
    Ok(Prepared::Listener(config, listener, held))
}

pub(super) fn mappings_of(source: &SourceConfig) -> SourceMappings {
    SourceMappings {
        name: source.name.clone(),
        mappings: source.mappings.clone(),
    }
}

pub(super) const fn kind_name(kind: &SourceKind) -> &'static str {
    match kind {
        SourceKind::Serial(_) => "serial",
        SourceKind::Mqtt(_) => "mqtt",
        SourceKind::Listener(_) => "mqtt_listener",
    }
}
