//! `gateway webhook test`: sends a test to one webhook of a config and shows the real answer. It needs no gateway that runs, and leaves one that
//! does alone.

use std::path::Path;

use anyhow::Context as _;

use super::{Failure, check, run};
use crate::{
    clock::Clock,
    notify::{self, Links},
};

/// Exit 0 when the receiver took it, 1 when not.
pub(super) fn test(name: &str, file: &Path) -> Result<(), Failure> {
    let config = check::load(file)?;
    let Some(webhook) = config.webhooks.iter().find(|webhook| webhook.name == name) else {
        let names: Vec<&str> = config.webhooks.iter().map(|w| w.name.as_str()).collect();
        let known = if names.is_empty() {
            String::from("it has none")
        } else {
            format!("it has {}", names.join(", "))
        };
        return Err(Failure::Config(format!(
            "{} has no webhook named \"{name}\": {known}",
            file.display()
        )));
    };
    let links = Links::new(config.http.public_url.as_deref(), None);
    let trial = run::runtime()?
        .block_on(notify::trial(webhook, links, Clock::system()))
        .context("the test cannot be sent")?;
    println!(
        "{} ({}, {}): {} after {} ms",
        trial.webhook,
        trial.kind,
        webhook.to.shown(),
        trial.status.as_deref().unwrap_or("no answer"),
        trial.took_ms,
    );
    if !trial.body.is_empty() {
        println!("{}", trial.body);
    }
    match trial.error {
        None => Ok(()),
        Some(error) => Err(anyhow::anyhow!("the test was not delivered: {error}").into()),
    }
}
