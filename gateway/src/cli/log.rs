//! Logs to stderr by tracing-subscriber, as text for people or JSON for machines. The level can be changed while it runs.

use std::io::IsTerminal as _;

use tracing_subscriber::EnvFilter;

use crate::config::Log;

/// Changes what is logged.
pub(super) struct Level(Box<dyn Fn(EnvFilter) + Send + Sync>);

impl Level {
    /// Logs at this level from now on, unless `RUST_LOG` says something.
    pub(super) fn set(&self, log: &Log) {
        (self.0)(filter(log));
    }
}

/// `RUST_LOG` wins over the config, for a quick look.
fn filter(log: &Log) -> EnvFilter {
    EnvFilter::try_from_default_env()
        .or_else(|_| EnvFilter::try_new(&log.level))
        .unwrap_or_else(|_| EnvFilter::new("info"))
}

/// Switches logging on for the rest of the process.
pub(super) fn init(log: &Log) -> Level {
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter(log))
        .with_writer(std::io::stderr);
    // try_init fails when logging is on already, which only tests do; reload fails with it.
    if log.json {
        let builder = builder.json().flatten_event(true).with_filter_reloading();
        let handle = builder.reload_handle();
        let _ = builder.try_init();
        Level(Box::new(move |filter| drop(handle.reload(filter))))
    } else {
        let builder = builder
            .with_ansi(std::io::stderr().is_terminal())
            .with_filter_reloading();
        let handle = builder.reload_handle();
        let _ = builder.try_init();
        Level(Box::new(move |filter| drop(handle.reload(filter))))
    }
}
