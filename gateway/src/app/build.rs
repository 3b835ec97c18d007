//! From a config to a running gateway, back to front.

use std::sync::Arc;

use prometheus_client::registry::Registry;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use super::{
    App, StartError, attention, bind, dashboards,
    heartbeats::Beating,
    made,
    outlets::{Outlets, recipients, set_routes},
    pass_on, reload,
    replay::{self, Earlier},
    rules,
    sources::{Sources, Surroundings, kind_name, mappings_of, prepare},
    telling::past,
    web,
};
use crate::{
    archive::{self, DeadLetters},
    cause,
    clock::{self, Clock},
    config::{Config, PUSH_SOURCE},
    damage::SetAside,
    disk,
    engine::{self, Booting, Ends, Remember},
    files,
    heartbeat::Heartbeats,
    history::{self, History},
    http, ingest,
    ingest::Account,
    journal::{self, Journal, Position},
    live::{self, Hub},
    metrics,
    model::SourceName,
    normalise::{Normaliser, SourceMappings},
    notify::{Links, Signer},
    rejects::Rejects,
    shutdown::Parts,
    source::{broker, intake::Door, push, status::SourceMetrics},
    state::{self, JournalAtStart, State, Thing},
    store::Point,
    wear::Meter,
};

/// Records between journal and engine; full makes the journal's writer wait.
const MAX_COMMITTED: usize = 64;
/// Updates between engine and hub; full makes the engine conflate.
const MAX_UPDATES: usize = 256;
/// Records of the journal's end that are looked at for live clients that come back.
const MAX_RECENT_RECORDS: u64 = 16_384;
/// Decisions between engine and state; full makes the engine wait.
const MAX_DECIDED: usize = 64;
/// HTTP connections beside those of live clients: as many as are left by default.
const OTHER_CONNECTIONS: usize = 524;

/// Starts a gateway. Returns when its sources run.
///
/// # Errors
///
/// [`StartError`]; nothing goes on running then, apart from what ends by itself because its input is gone.
pub async fn start(config: Config, clock: Clock) -> Result<App, StartError> {
    let http_listener = bind(config.http.listen, "HTTP").await?;
    let http_address = http_listener.local_addr().unwrap_or(config.http.listen);
    let limit = files::raise_limit();
    let mut prepared = Vec::new();
    for source in &config.sources {
        prepared.push(prepare(source, None).await?);
    }
    let dir = &config.data_dir;
    std::fs::create_dir_all(dir).map_err(|source| StartError::DataDir {
        path: dir.clone(),
        source,
    })?;

    let started = clock.now();
    let mut registry = Registry::default();
    metrics::register_process(&mut registry, started);
    let set_aside = SetAside::new(dir, &mut registry);
    let rejects = Rejects::new(&mut registry);
    let source_metrics = SourceMetrics::new(&mut registry);
    let listener_metrics = broker::Metrics::new(&mut registry);
    let reload_metrics = reload::Metrics::new(&mut registry);
    let front = Parts::default();
    let http_stop = CancellationToken::new();
    let clock_watch = clock::watch(clock.clone(), &mut registry, http_stop.clone());

    // What was decided, and the journal with its replay into an engine that does not run yet.
    let told = recipients(&config.webhooks);
    let state = match State::open(dir, &told, clock.clone(), &mut registry) {
        Err(error) if error.is_full_disk() && journal::release_reserve(&dir.join("journal")) => {
            tracing::error!(path = %dir.display(), "the disk is full: the room that was held back is used to start; make room");
            State::open(dir, &told, clock.clone(), &mut registry)?
        }
        other => other?,
    };
    let own = made::Own::read(&state).await?;
    let file = Box::new(config);
    let made::Laid { config, entries } = made::lay_over(&file, &own);
    if !own.webhooks.is_empty()
        && let Err(error) = state.set_recipients(recipients(&config.webhooks)).await
    {
        tracing::warn!(error = %cause::chain(&error), "cannot tell what waits for webhooks that are gone");
    }
    let dir = &config.data_dir;
    let (committed_in, committed) = mpsc::channel(MAX_COMMITTED);
    let journal_is_new = !journal::is_there(&dir.join("journal"));
    let (journal, recovery) = Journal::open(
        config.journal.clone(),
        &dir.join("journal"),
        committed_in,
        &mut registry,
    )?;
    tracing::debug!(?recovery, "the journal is open");
    let resumption = state.resumption().await?;
    let own_rules = state.made(Thing::Rule).await?;
    let all_rules = rules::merge(&config, &own_rules);
    let history = match config.history {
        None => None,
        Some(history) => Some(History::open(history, dir, &mut registry, clock.clone())?),
    };
    // Rules and history must not take new records for old ones when the journal's directory was deleted.
    let stored = history.as_ref().map(History::position).unwrap_or_default();
    let noted = resumption.evaluated.max(stored);
    journal.number_after(noted);
    let (newest, next) = journal.newest_and_next();
    let at_start = JournalAtStart {
        newest,
        next,
        noted,
        is_new: journal_is_new,
    };
    let beginning = match state.begin_run(at_start).await {
        Ok(beginning) => Some(beginning),
        Err(error) => {
            tracing::error!(error = %cause::chain(&error), "the start cannot be written down: browsers that come back begin anew");
            None
        }
    };
    let (active, evaluated) = (resumption.alerts.clone(), resumption.evaluated);
    let max_series = config.engine.store.max_series;
    let inventory = match state.inventory(journal.oldest(), max_series).await {
        Ok(inventory) => inventory,
        Err(error) => {
            tracing::warn!(error = %cause::chain(&error), "the inventory cannot be read: the whole journal is, instead");
            None
        }
    };
    let listed = inventory.as_ref().map(|inventory| inventory.position);
    let mut all_sources: Vec<SourceMappings> = config.sources.iter().map(mappings_of).collect();
    if config.push {
        all_sources.push(SourceMappings {
            name: SourceName(PUSH_SOURCE.into()),
            mappings: push::mappings(),
        });
    }
    let normaliser = Normaliser::new(config.normalise.clone(), all_sources.clone());
    let with_rules = engine::Config {
        rules: all_rules.rules.clone(),
        ..config.engine.clone()
    };
    let learns = with_rules.rules.iter().any(|rule| rule.condition.learns());
    let mut booting = Booting::new(with_rules, resumption, clock.clone());
    let runs = beginning.iter().flat_map(|beginning| &beginning.runs);
    // What can't fit into its bytes need not be made first.
    let most = config.live.replay_bytes / size_of::<Point>();
    let recent = Position(newest.0.saturating_sub(MAX_RECENT_RECORDS));
    booting.remember(Remember {
        after: recent.max(journal.before_newest(most as u64)),
        newest,
        bytes: config.live.replay_bytes,
        breaks: runs.map(|run| (run.journal, run.next)).collect(),
    });
    let mut archives = Vec::new();
    if history.is_some() {
        archives.push((history::CURSOR, Some(stored)));
    }
    // Held until its owner has asked for it too.
    let archived = config.archive.is_some().then(|| {
        archives.push((archive::CURSOR, None));
        journal.cursor(archive::CURSOR)
    });
    for (name, _) in &archives {
        journal.tallies().open(name);
    }
    let earlier = Earlier {
        archives,
        evaluated,
        inventory,
        max_series,
        learns,
    };
    let (normaliser, mut booting) =
        replay::replay(journal.clone(), earlier, normaliser, booting).await?;
    drop(archived);
    let epoch = beginning.as_ref().map(|beginning| beginning.epoch);
    let past = past(beginning, booting.devices(), booting.recent(), active);

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
        past,
        updates,
        clock.clone(),
        http_stop.clone(),
        &mut registry,
    );
    let engine_part = front.register("engine");
    let ends = Ends {
        committed,
        updates: updates_in.clone(),
        decided: decided_in,
    };
    set_routes(&state, &config).await;
    attention::tell(&hub, &state, http_stop.clone()).await?;
    attention::watched(&hub, &journal);
    let (engine, engine_task) = booting.start(ends, &mut registry);
    let state_part = front.register("state");
    let state_stop = CancellationToken::new();
    let writing_down = state::write_down(
        decided,
        state.clone(),
        epoch,
        updates_in,
        state_stop.clone(),
    );
    let state_task = tokio::spawn(writing_down);
    let writers = disk::Writers {
        journal: journal.clone(),
        state: state.clone(),
        history: history.clone(),
    };
    tokio::spawn(disk::watch(writers.clone(), engine.clone()));
    let heartbeats = Heartbeats::new(&mut registry);
    let mut beating = Beating::new(
        engine.clone(),
        writers,
        clock.clone(),
        heartbeats.clone(),
        http_stop.clone(),
    );
    let beats = beating.prepare(&config.heartbeats)?;
    tokio::spawn(state::keep_inventory(
        state.clone(),
        engine.clone(),
        journal.clone(),
        listed,
        http_stop.clone(),
    ));
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
    // Not with the late ones: deliveries that go on look at the clock themselves.
    let (part, stop) = (front.register("silences"), http_stop.clone());
    let following = state.clone();
    tokio::spawn(async move {
        following.follow_clock(stop).await;
        drop(part);
    });
    let (part, stop) = (front.register("groups"), http_stop.clone());
    let following = state.clone();
    tokio::spawn(async move {
        following.follow_groups(stop).await;
        drop(part);
    });
    let archive_metrics = archive::Metrics::new(journal.clone(), &mut registry);
    let signer = Signer::new(&state.signing_key().await.map_err(|_| StartError::Random)?);
    let letters = DeadLetters::new(dir, clock.clone(), &mut registry);
    let links = Links::new(config.http.public_url.as_deref(), Some(signer.clone()));
    let mut outlets = Outlets::new(
        state.clone(),
        journal.clone(),
        archive_metrics,
        letters.clone(),
        links.clone(),
        clock.clone(),
    );
    let mut written = Vec::from(journal.writes());
    written.push(("state", state.writes()));
    written.extend(
        history
            .as_ref()
            .map(|history| ("history", history.writes())),
    );
    let meter = Meter::new(config.card.clone(), dir, written, &mut registry);
    tokio::spawn(meter.clone().run(outlets.stop.clone()));
    for webhook in &config.webhooks {
        match outlets.prepare_webhook(webhook) {
            Ok(notifier) => outlets.begin_webhook(&webhook.name, notifier),
            // Only what a person can change in the file keeps the gateway from starting.
            Err(error) if own.webhooks.iter().any(|made| made.id == webhook.name) => {
                tracing::error!(webhook = %webhook.name, error = %cause::chain(&error), "a webhook that a person made cannot be used");
            }
            Err(error) => return Err(error),
        }
    }
    if let Some(history) = history.clone() {
        let (part, stop) = (outlets.parts.register("history"), outlets.stop.clone());
        let running = history.run(journal.cursor(history::CURSOR), stop);
        tokio::spawn(async move {
            running.await;
            drop(part);
        });
    }
    let archiver = outlets.prepare_archive(&config)?;
    outlets.change_archive(archiver).await;
    let archive = outlets.archive_status();
    pass_on(hub.clone(), String::from("archive"), archive.clone());

    // The way in: the door, ingest behind it, HTTP and the sources before it.
    let (door, deliveries) = Door::new();
    let (changes, changed) = mpsc::channel(ingest::MAX_CHANGES);
    let account = Account::new([], rejects.clone(), &mut registry);
    let outlook = engine.outlook();
    let ingest = tokio::spawn(ingest::run(
        normaliser,
        deliveries,
        changed,
        journal.clone(),
        account.clone(),
        clock.clone(),
        move |readings| outlook.news(readings),
    ));
    let mut sources = Sources::new(Surroundings {
        door,
        changes,
        account: account.clone(),
        rejects: rejects.clone(),
        metrics: source_metrics,
        listener_metrics,
        clock: clock.clone(),
        hub: hub.clone(),
        engine: engine.clone(),
        data_dir: config.data_dir.clone(),
    });
    // In the order in which the normaliser numbers them.
    for source in &config.sources {
        sources.seat(&source.name, kind_name(&source.kind));
    }
    let push = config.push.then(|| sources.push());

    let (ready, readiness) = watch::channel(http::Readiness::NotReady(String::from("starting")));
    let configured = watch::Sender::new(http::Configured {
        sources: sources.statuses().into(),
        rules: all_rules.entries.clone().into(),
        webhooks: config.webhooks.clone().into(),
        made: entries.clone().into(),
        config: http::ConfigStatus {
            file: config.file.clone(),
            loaded_at: started.to_rfc3339(),
            ..http::ConfigStatus::default()
        },
    });
    let (asking, asked) = http::Rules::new(&mut registry);
    let around = rules::Around {
        engine: engine.clone(),
        state: state.clone(),
        hub: hub.clone(),
        configured: configured.clone(),
    };
    let rules = rules::Desk::start(
        around,
        config.clone(),
        own_rules,
        all_rules,
        asked,
        &mut registry,
    );
    let tls = web::tls(&config.http, http_address, dir, &clock)?;
    if let Some(tls) = &tls {
        let renewing = web::keep_renewed(tls.clone(), clock.clone(), http_stop.clone());
        tokio::spawn(renewing);
    }
    let login = if config.http.login {
        let login = web::login_config(&config.http, http_address);
        let (state, stop) = (state.clone(), http_stop.clone());
        http::Login::start(login, state, clock.clone(), &mut registry, stop).await?
    } else {
        http::Login::off()
    };
    let (desks, asked, saved) = http::Desks::new();
    dashboards::start(state.clone(), hub.clone(), saved);
    let parts = http::Parts {
        login,
        rules: asking,
        desks,
        engine: engine.clone(),
        state: state.clone(),
        history: history.clone(),
        journal: journal.clone(),
        set_aside,
        rejects: rejects.clone(),
        account,
        archive,
        letters,
        heartbeats,
        signer,
        configured: configured.subscribe(),
        links,
        disk: meter,
        clock: clock.clone(),
        started,
        ready: readiness,
    };
    let http_metrics = http::Metrics::new(&mut registry);
    let sockets = live::websocket::Sockets::new(hub.clone());
    let mut fragments = vec![
        live::sse::router(hub.clone()),
        sockets.router(),
        metrics::router(Arc::new(registry)),
    ];
    if let Some((intake, reporter)) = push {
        let config = push::Config::default();
        fragments.push(push::router(config, intake, reporter, rejects));
    }
    // Every live client has a connection, and others need some beside them.
    let most = http::Config::default()
        .max_connections
        .max(config.live.max_clients.saturating_add(OTHER_CONNECTIONS));
    let http_config = http::Config {
        hosts: config.http.allowed_hosts.clone(),
        origins: config.http.allowed_origins.clone(),
        max_connections: most.min(files::share(limit)),
        ..http::Config::default()
    };
    if http_config.max_connections < most {
        tracing::warn!(
            limit,
            http = http_config.max_connections,
            "the system allows few open files, so that fewer connections are taken; raise the limit (`ulimit -n`, LimitNOFILE=)"
        );
    }
    let router = http::router(&http_config, http_address, parts, fragments);
    sockets.speak_to(router.clone());
    let (part, stop) = (sources.parts.register("sockets"), http_stop.clone());
    tokio::spawn(async move {
        stop.cancelled().await;
        sockets.ended().await;
        drop(part);
    });
    let (part, stop) = (sources.parts.register("HTTP"), http_stop.clone());
    let spoken = tls.clone();
    tokio::spawn(async move {
        let config = &http_config;
        http::serve(http_listener, router, config, spoken, http_metrics, stop).await;
        drop(part);
    });

    let mut listeners = Vec::new();
    for (source, prepared) in config.sources.iter().zip(prepared) {
        if let Some(address) = sources.start(source, prepared) {
            listeners.push((source.name.clone(), address));
        }
    }
    tokio::spawn(clock_watch);
    beating.change(beats, &front);
    ready.send_replace(http::Readiness::Ready);
    let app = App {
        tls,
        http_address,
        listeners,
        config,
        file,
        own,
        asked,
        engine,
        configured,
        reload_metrics,
        clock,
        ready,
        http_stop,
        state_stop,
        sources,
        outlets,
        beating,
        rules,
        state,
        hub,
        history,
        front,
        ingest,
        journal,
    };
    app.tell_config();
    Ok(app)
}
