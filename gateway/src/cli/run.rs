//! The life of the process: log, config, build, say where it is, apply a changed config when asked to (SIGHUP, or a watched
//! file), wait for the stop, drain with a deadline.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use tokio_util::sync::CancellationToken;

use super::{Failure, check, log, watch::Watch};
use crate::{
    app::{self, App},
    clock::Clock,
    config::Config,
    shutdown,
};

/// Where a changed config is found, and what it may change of the process itself.
pub(super) struct Reloads {
    pub(super) file: PathBuf,
    pub(super) level: log::Level,
}

pub(super) fn run(file: &Path) -> Result<(), Failure> {
    let config = check::load(file)?;
    let level = log::init(&config.log);
    say_doubts(&config);
    let reloads = Reloads {
        file: file.to_owned(),
        level,
    };
    runtime()?.block_on(async {
        let stop = CancellationToken::new();
        live(config, Some(reloads), stop, |app| {
            for (source, address) in &app.listeners {
                tracing::info!(source = %source.0, %address, "MQTT devices can connect");
            }
            tracing::info!(page = %app.page(), "ready");
            std::future::ready(())
        })
        .await
    })
}

fn say_doubts(config: &Config) {
    for doubt in &config.doubts {
        let place = format!("{}:{}:{}", doubt.file, doubt.line, doubt.column);
        tracing::warn!(%place, doubt = %doubt.message, "the config may have a slip");
    }
}

/// One runtime for everything; the journal and the state have a thread each besides.
pub(super) fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    // Who installed a provider before us installed this one: nothing else is linked.
    let _ = rustls::crypto::ring::default_provider().install_default();
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("cannot start the runtime")
}

/// From the start to the end of a gateway. `started` is told once it runs; what it gives back is waited for between
/// the signal and the stop, when the gateway still takes everything. Without `reloads` a SIGHUP does nothing.
pub(super) async fn live<F: Future<Output = ()>>(
    config: Config,
    reloads: Option<Reloads>,
    stop: CancellationToken,
    started: impl FnOnce(&App) -> F,
) -> Result<(), Failure> {
    // From the beginning: a signal during the start stops in order as well, once the start is through.
    let signals = shutdown::Signals::listen().context("cannot listen for signals")?;
    let mut hangups = shutdown::Hangups::listen().context("cannot listen for signals")?;
    let mut watch = Watch::new(config.files.clone());
    // Large, and needed once.
    let mut app = Box::pin(app::start(config, Clock::system()))
        .await
        .context("the gateway cannot start")?;
    let before_stop = started(&app);
    let stopped = signals.wait(stop);
    tokio::pin!(stopped);
    loop {
        let why = tokio::select! {
            () = &mut stopped => break,
            () = hangups.next() => "SIGHUP",
            () = watch.changed(), if app.watches_config() => "a watched file changed",
            request = app.asked() => {
                tokio::select! {
                    () = &mut stopped => break,
                    () = Box::pin(app.answer(request)) => {}
                }
                continue;
            }
        };
        let Some(reloads) = &reloads else {
            tracing::warn!("SIGHUP: there is no config file to read again");
            continue;
        };
        tracing::info!(why, file = %reloads.file.display(), "reading the config again");
        // One after the other; what is asked for meanwhile comes after. A stop does not wait for it.
        tokio::select! {
            () = &mut stopped => break,
            () = Box::pin(reload(&mut app, reloads, &mut watch)) => {}
        }
    }
    before_stop.await;
    let stop_within = app.stop_within();
    match app.stop(stop_within).await {
        Ok(()) => {
            tracing::info!("stopped");
            Ok(())
        }
        Err(late) => Err(anyhow::anyhow!(
            "not everything ended within {stop_within:?}: {}",
            late.join(", ")
        )
        .into()),
    }
}

async fn reload(app: &mut App, reloads: &Reloads, watch: &mut Watch) {
    let file = reloads.file.clone();
    // It fails only when the runtime ends.
    let Ok(loaded) = tokio::task::spawn_blocking(move || check::read(&file)).await else {
        return;
    };
    *watch = Watch::new(loaded.files);
    match loaded.config {
        Err(faults) => app.refuse(faults.lines()),
        Ok(config) => {
            say_doubts(&config);
            let log = config.log.clone();
            if app.reload(config).await {
                reloads.level.set(&log);
            }
        }
    }
}
