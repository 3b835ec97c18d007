//! The life of the process: log, config, build, say where it is, wait for the stop, drain with a deadline.

use std::path::Path;

use anyhow::Context as _;
use tokio_util::sync::CancellationToken;

use super::{Failure, check, log};
use crate::{
    app::{self, App},
    clock::Clock,
    config::Config,
    shutdown,
};

pub(super) fn run(file: &Path) -> Result<(), Failure> {
    let config = check::load(file)?;
    log::init(&config.log);
    for doubt in &config.doubts {
        let place = format!("{}:{}:{}", doubt.file, doubt.line, doubt.column);
        tracing::warn!(%place, doubt = %doubt.message, "the config may have a slip");
    }
    runtime()?.block_on(async {
        let stop = CancellationToken::new();
        live(config, stop, |app| {
            for (source, address) in &app.listeners {
                tracing::info!(source = %source.0, %address, "MQTT devices can connect");
            }
            tracing::info!(page = %format!("http://{}", app.http_address), "ready");
            std::future::ready(())
        })
        .await
    })
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
/// the signal and the stop, when the gateway still takes everything.
pub(super) async fn live<F: Future<Output = ()>>(
    config: Config,
    stop: CancellationToken,
    started: impl FnOnce(&App) -> F,
) -> Result<(), Failure> {
    let stop_within = config.stop_within;
    // From the beginning: a signal during the start stops in order as well, once the start is through.
    let signals = shutdown::Signals::listen().context("cannot listen for signals")?;
    let app = app::start(config, Clock::system())
        .await
        .context("the gateway cannot start")?;
    let before_stop = started(&app);
    signals.wait(stop).await;
    before_stop.await;
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
