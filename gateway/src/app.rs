//! The one file that knows everybody. It builds the gateway back to front, so that nothing arrives before there is
//! somebody to take it, and stops it front to back, so that everything taken is carried through.
//!
//! Starting: sockets are bound first, then state, journal, engine (with the journal's replay), hub, notifiers,
//! archives, ingest, HTTP, and last the sources. Stopping: sources, HTTP, then each stage ends because its input
//! ended; archives and webhooks get a short time and go on after the next start.

use std::{io, net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};

use prometheus_client::registry::Registry;
use thiserror::Error;
use tokio::{
    net::TcpListener,
    sync::{mpsc, watch},
    task::JoinHandle,
    time::Instant,
};
use tokio_util::sync::CancellationToken;

use crate::{
    archive::{Archiver, influx},
    backoff::{self, Backoff},
    cause,
    clock::Clock,
    config::{Config, PUSH_SOURCE, SourceConfig, SourceKind},
    engine::{Booting, Decided, Ends},
    history::{History, HistoryError},
    http, ingest,
    ingest::Account,
    journal::{self, Journal},
    live::{self, Hub},
    metrics,
    model::SourceName,
    normalise::{Normaliser, SourceMappings},
    notify::{Notifier, NotifyError},
    rejects::Rejects,
    shutdown::Parts,
    source::{
        SourceStatus, StatusReporter, broker, intake::Door, mqtt, push, serial,
        status::SourceMetrics,
    },
    state::{Recipient, State, StateError},
};

/// Records between journal and engine; full makes the journal's writer wait.
const MAX_COMMITTED: usize = 64;
/// Updates between engine and hub; full makes the engine conflate.
const MAX_UPDATES: usize = 256;
/// Decisions between engine and state; full makes the engine wait.
const MAX_DECIDED: usize = 64;
/// How long archives and webhooks may go on when everything before them has ended.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// Why the gateway can't start. Each says what to do.
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
    /// Where the embedded MQTT listeners are, by source.
    pub listeners: Vec<(SourceName, SocketAddr)>,
    ready: watch::Sender<http::Readiness>,
    sources_stop: CancellationToken,
    http_stop: CancellationToken,
    late_stop: CancellationToken,
    sources: Parts,
    front: Parts,
    late: Parts,
    ingest: JoinHandle<()>,
    journal: Journal,
}

/// A source, bound and ready to be started.
enum Prepared {
    Serial(serial::Config),
    Mqtt(mqtt::Config),
    Listener(broker::Config, TcpListener),
}

/// Starts a gateway. Returns when its sources run.
///
/// # Errors
///
/// [`StartError`]; nothing goes on running then, apart from what ends by itself because its input is gone.
pub async fn start(config: Config, clock: Clock) -> Result<App, StartError> {
    let http_listener = bind(config.http.listen, "HTTP").await?;
    let http_address = http_listener.local_addr().unwrap_or(config.http.listen);
    let mut prepared = Vec::new();
    let mut listeners = Vec::new();
    for source in &config.sources {
        prepared.push(match &source.kind {
            SourceKind::Serial(config) => Prepared::Serial(config.clone()),
            SourceKind::Mqtt(mqtt) => Prepared::Mqtt(mqtt::Config {
                session_file: Some(config.data_dir.join(format!("mqtt/{}.json", source.name.0))),
                ..mqtt.clone()
            }),
            SourceKind::Listener(config) => {
                let listener = bind(config.listen, &source.name.0).await?;
                listeners.push((
                    source.name.clone(),
                    listener.local_addr().unwrap_or(config.listen),
                ));
                Prepared::Listener(config.clone(), listener)
            }
        });
    }
    let dir = &config.data_dir;
    std::fs::create_dir_all(dir).map_err(|source| StartError::DataDir {
        path: dir.clone(),
        source,
    })?;

    let started = clock.now();
    let mut registry = Registry::default();
    metrics::register_process(&mut registry, started);
    let rejects = Rejects::new(&mut registry);
    let source_metrics = SourceMetrics::new(&mut registry);
    let listener_metrics = broker::Metrics::new(&mut registry);
    let (sources, front, late) = (Parts::default(), Parts::default(), Parts::default());
    let late_stop = CancellationToken::new();
    let http_stop = CancellationToken::new();

    // What was decided, and the journal with its replay into an engine that does not run yet.
    let recipients: Vec<Recipient> = config
        .webhooks
        .iter()
        .map(|w| Recipient {
            name: w.name.clone(),
            send_resolved: w.send_resolved,
        })
        .collect();
    let state = match State::open(dir, &recipients, clock.clone(), &mut registry) {
        Err(error) if error.is_full_disk() && journal::release_reserve(&dir.join("journal")) => {
            tracing::error!(path = %dir.display(), "the disk is full: the room that was held back is used to start; make room");
            State::open(dir, &recipients, clock.clone(), &mut registry)?
        }
        other => other?,
    };
    let (committed_in, committed) = mpsc::channel(MAX_COMMITTED);
    let (journal, recovery) = Journal::open(
        config.journal.clone(),
        &dir.join("journal"),
        committed_in,
        &mut registry,
    )?;
    tracing::debug!(?recovery, "the journal is open");
    let resumption = state.resumption().await?;
    let history = match config.history.clone() {
        None => None,
        Some(history) => Some(History::open(history, dir, &mut registry)?),
    };
    // Rules and history must not take new records for old ones when the journal's directory was deleted.
    let stored = history.as_ref().map(History::position).unwrap_or_default();
    journal.number_after(resumption.evaluated.max(stored));
    let mut all_sources: Vec<SourceMappings> = config.sources.iter().map(mappings_of).collect();
    if config.push {
        all_sources.push(SourceMappings {
            name: SourceName(PUSH_SOURCE.into()),
            mappings: push::mappings(),
        });
    }
    let normaliser = Normaliser::new(config.normalise.clone(), all_sources.clone());
    let booting = Booting::new(config.engine.clone(), resumption, clock.clone());
    let (normaliser, booting) = replay(journal.clone(), normaliser, booting).await?;

    // Everything behind the journal.
    let (updates_in, updates) = mpsc::channel(MAX_UPDATES);
    let (decided_in, decided) = mpsc::channel(MAX_DECIDED);
    let hub_part = front.register("live");
    let live_config = live::Config {
        site: config.site.clone(),
        ..config.live.clone()
    };
    let (hub, hub_task) = Hub::start(
        live_config,
        updates,
        clock.clone(),
        http_stop.clone(),
        &mut registry,
    );
    let engine_part = front.register("engine");
    let ends = Ends {
        committed,
        updates: updates_in,
        decided: decided_in,
    };
    let (engine, engine_task) = booting.start(ends, &mut registry);
    let state_part = front.register("state");
    let state_task = tokio::spawn(write_down(decided, state.clone()));
    for (part, task) in [
        (hub_part, hub_task),
        (engine_part, engine_task),
        (state_part, state_task),
    ] {
        tokio::spawn(async move {
            if task.await.is_err() {
                tracing::error!("a part of the gateway died");
            }
            drop(part);
        });
    }
    for webhook in &config.webhooks {
        let part = late.register(format!("webhook {}", webhook.name));
        let notifier = Notifier::new(webhook.clone(), state.clone(), clock.clone())?;
        let stop = late_stop.clone();
        tokio::spawn(async move {
            notifier.run(stop).await;
            drop(part);
        });
    }
    if let Some(history) = history.clone() {
        let (part, stop) = (late.register("history"), late_stop.clone());
        let running = history.run(journal.cursor("history"), stop);
        tokio::spawn(async move {
            running.await;
            drop(part);
        });
    }
    let archive = match config.archive.clone() {
        None => watch::Sender::new(crate::archive::ArchiveStatus {
            state: "disabled",
            ..Default::default()
        })
        .subscribe(),
        Some(archive) => {
            let (archiver, status) = Archiver::new(
                archive,
                &config.engine.devices,
                config.site.clone(),
                journal.clone(),
                &mut registry,
            )?;
            let (part, stop) = (late.register("archive"), late_stop.clone());
            tokio::spawn(async move {
                archiver.run(stop).await;
                drop(part);
            });
            status
        }
    };

    // The way in: the door, ingest behind it, HTTP and the sources before it.
    let (door, deliveries) = Door::new();
    let mut reporters: Vec<(SourceName, StatusReporter)> = Vec::new();
    let mut statuses: Vec<watch::Receiver<SourceStatus>> = Vec::new();
    for (index, source) in all_sources.iter().enumerate() {
        let kind = config
            .sources
            .get(index)
            .map_or("push", |s| kind_name(&s.kind));
        let (reporter, status) = source_metrics.reporter(source.name.clone(), kind, clock.clone());
        reporters.push((source.name.clone(), reporter));
        statuses.push(status);
    }
    let account = Account::new(reporters.iter().cloned(), rejects.clone(), &mut registry);
    let ingest = tokio::spawn(ingest::run(
        normaliser,
        deliveries,
        journal.clone(),
        account.clone(),
        clock.clone(),
    ));
    tell_hub(&hub, &statuses, archive.clone());

    let (ready, readiness) = watch::channel(http::Readiness::NotReady(String::from("starting")));
    let parts = http::Parts {
        engine,
        state,
        history,
        journal: journal.clone(),
        rejects: rejects.clone(),
        account,
        sources: statuses,
        archive,
        rules: config.engine.rules.clone().into(),
        webhooks: config.webhooks.clone().into(),
        clock: clock.clone(),
        started,
        ready: readiness,
    };
    let mut fragments = vec![live::sse::router(hub), metrics::router(Arc::new(registry))];
    if config.push {
        let index = all_sources.len() - 1;
        let (name, reporter) = reporters[index].clone();
        let intake = door.intake(index, name);
        fragments.push(push::router(
            push::Config::default(),
            intake,
            reporter,
            rejects.clone(),
        ));
    }
    let http_config = http::Config {
        hosts: config.http.allowed_hosts.clone(),
        ..http::Config::default()
    };
    let router = http::router(&http_config, http_address, parts, fragments);
    let (part, stop) = (sources.register("HTTP"), http_stop.clone());
    tokio::spawn(async move {
        http::serve(http_listener, router, &http_config, stop).await;
        drop(part);
    });

    let sources_stop = CancellationToken::new();
    for (index, source) in prepared.into_iter().enumerate() {
        let (name, reporter) = reporters[index].clone();
        let (part, stop) = (
            sources.register(format!("source {}", name.0)),
            sources_stop.clone(),
        );
        let intake = door.intake(index, name);
        let (rejects, metrics) = (rejects.clone(), listener_metrics.clone());
        tokio::spawn(async move {
            match source {
                Prepared::Serial(config) => {
                    serial::run(config, intake, rejects, reporter.clone(), stop).await
                }
                Prepared::Mqtt(config) => {
                    mqtt::run(config, intake, rejects, reporter.clone(), stop).await
                }
                Prepared::Listener(config, listener) => {
                    broker::run(
                        config,
                        listener,
                        intake,
                        rejects,
                        reporter.clone(),
                        metrics,
                        stop,
                    )
                    .await;
                }
            }
            reporter.stopped();
            drop(part);
        });
    }
    ready.send_replace(http::Readiness::Ready);
    Ok(App {
        http_address,
        listeners,
        ready,
        sources_stop,
        http_stop,
        late_stop,
        sources,
        front,
        late,
        ingest,
        journal,
    })
}

impl App {
    /// Stops front to back within `deadline`. What was acknowledged is durable whatever happens here.
    ///
    /// # Errors
    ///
    /// The names of the parts that had not ended in time.
    pub async fn stop(self, deadline: Duration) -> Result<(), Vec<String>> {
        let until = Instant::now() + deadline;
        let left = || until.saturating_duration_since(Instant::now());
        let mut late = Vec::new();
        self.ready
            .send_replace(http::Readiness::NotReady(String::from("stopping")));
        // Sources first: they deliver and acknowledge what they have. Pushes under way are answered.
        self.sources_stop.cancel();
        self.http_stop.cancel();
        late.extend(
            self.sources
                .ended_within(left().mul_f64(0.6))
                .await
                .err()
                .unwrap_or_default(),
        );
        // With the last source its end of the door is gone, and ingest ends by itself.
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
        late.extend(
            self.front
                .ended_within(left())
                .await
                .err()
                .unwrap_or_default(),
        );
        // Archives read to the journal's end; who needs longer goes on after the next start.
        drop(self.late.ended_within(left().min(LAST_WORDS)).await);
        self.late_stop.cancel();
        late.extend(
            self.late
                .ended_within(left().max(Duration::from_millis(500)))
                .await
                .err()
                .unwrap_or_default(),
        );
        if late.is_empty() { Ok(()) } else { Err(late) }
    }
}

async fn bind(address: SocketAddr, what: &str) -> Result<TcpListener, StartError> {
    TcpListener::bind(address)
        .await
        .map_err(|source| StartError::Listen {
            address,
            what: what.to_owned(),
            source,
        })
}

fn mappings_of(source: &SourceConfig) -> SourceMappings {
    SourceMappings {
        name: source.name.clone(),
        mappings: source.mappings.clone(),
    }
}

const fn kind_name(kind: &SourceKind) -> &'static str {
    match kind {
        SourceKind::Serial(_) => "serial",
        SourceKind::Mqtt(_) => "mqtt",
        SourceKind::Listener(_) => "mqtt_listener",
    }
}

/// Reads the kept journal into the engine and the normaliser's memory.
async fn replay(
    journal: Journal,
    mut normaliser: Normaliser,
    mut booting: Booting,
) -> Result<(Normaliser, Booting), StartError> {
    let replayed = tokio::task::spawn_blocking(move || {
        journal.replay(&mut |entry| {
            for reading in entry.batches.iter().flat_map(|b| &b.readings) {
                normaliser.remember(reading);
            }
            booting.replay(&entry);
        });
        (normaliser, booting)
    });
    replayed.await.map_err(|_| StartError::Replay)
}

/// Writes what the engine decided. A decision waits until it is written: alerts are never dropped.
async fn write_down(mut decided: mpsc::Receiver<Decided>, state: State) {
    let mut backoff = Backoff::new(backoff::Config::default());
    while let Some(decision) = decided.recv().await {
        while let Err(error) = state.record(decision.clone()).await {
            if matches!(error, StateError::Closed) {
                return;
            }
            if backoff.failures() == 0 {
                tracing::error!(error = %cause::chain(&error), "alerts cannot be written down; trying again");
            }
            tokio::time::sleep(backoff.next_wait()).await;
        }
        backoff.reset();
    }
}

/// Passes every change of a source's link and of the archive to the browsers.
fn tell_hub(
    hub: &Hub,
    sources: &[watch::Receiver<SourceStatus>],
    archive: watch::Receiver<crate::archive::ArchiveStatus>,
) {
    for source in sources {
        let key = format!("source/{}", source.borrow().name.0);
        pass_on(hub.clone(), key, source.clone());
    }
    pass_on(hub.clone(), String::from("archive"), archive);
}

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
