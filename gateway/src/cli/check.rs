//! `gateway check`: all mistakes at once, or one line that says what the config gives, after what looks like a slip.

use std::path::Path;

use super::Failure;
use crate::config::{self, Config, Surroundings};

/// Reads the config file as `run` does.
pub(super) fn load(file: &Path) -> Result<Config, Failure> {
    let shown = file.display().to_string();
    let bytes = std::fs::read(file)
        .map_err(|error| Failure::Config(format!("cannot read the config {shown}: {error}")))?;
    let text = String::from_utf8(bytes).map_err(|error| {
        let good = &error.as_bytes()[..error.utf8_error().valid_up_to()];
        let good = String::from_utf8_lossy(good);
        let line = good.matches('\n').count() + 1;
        let column = good.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
        Failure::Config(format!(
            "{shown}:{line}:{column}: this character is not UTF-8: save the file in UTF-8, as TOML demands"
        ))
    })?;
    let around = Surroundings {
        folder: file.parent().unwrap_or(Path::new("")),
        read_file: &|path| std::fs::read_to_string(path),
        environment: &|name| std::env::var(name).ok(),
    };
    config::parse(&shown, &text, &around).map_err(|mistakes| Failure::Config(mistakes.to_string()))
}

pub(super) fn check(file: &Path) -> Result<(), Failure> {
    let config = load(file)?;
    let count = |n: usize, what: &str| format!("{n} {what}{}", if n == 1 { "" } else { "s" });
    for doubt in &config.doubts {
        eprintln!("{doubt}\n");
    }
    println!(
        "{} is right: {}, {}, {}, archive {}, page on http://{}",
        file.display(),
        count(config.sources.len() + usize::from(config.push), "source"),
        count(config.engine.rules.len(), "rule"),
        count(config.webhooks.len(), "webhook"),
        config.archive.as_ref().map_or_else(
            || String::from("embedded"),
            |a| format!("InfluxDB at {}", a.url)
        ),
        config.http.listen,
    );
    Ok(())
}
