//! `gateway check`: all mistakes at once, or one line that says what the config gives, after what looks like a slip.

use std::{
    cell::RefCell,
    path::{Path, PathBuf},
};

use foldhash::quality::FixedState;

use super::Failure;
use crate::config::{self, Config, Files, Mistakes, Surroundings};

/// A config as it was read, and from what: a watch must know the files also when they can't be used.
pub(super) struct Loaded {
    pub(super) config: Result<Config, Faults>,
    pub(super) files: Files,
}

/// Why a config can't be used.
pub(super) enum Faults {
    /// The file itself.
    File(String),
    /// What is in it.
    Mistakes(Mistakes),
}

impl Faults {
    /// Each on a line of its own, with its place.
    pub(super) fn lines(&self) -> Vec<String> {
        match self {
            Self::File(fault) => vec![fault.clone()],
            Self::Mistakes(mistakes) => mistakes
                .0
                .iter()
                .map(|m| format!("{}:{}:{}: {}", m.file, m.line, m.column, m.message))
                .collect(),
        }
    }
}

/// Tells whether a file holds what it held; nothing can be read out of it.
fn fingerprint(bytes: &[u8]) -> u64 {
    use std::hash::BuildHasher as _;
    FixedState::default().hash_one(bytes)
}

/// The files as they are now.
pub(super) fn look(files: impl Iterator<Item = PathBuf>) -> Files {
    files
        .map(|file| {
            let seen = std::fs::read(&file).ok().map(|bytes| fingerprint(&bytes));
            (file, seen)
        })
        .collect()
}

/// Reads the config file and all that it names.
pub(super) fn read(file: &Path) -> Loaded {
    let files = RefCell::new(Files::new());
    let read = |path: &Path| {
        let bytes = std::fs::read(path);
        let seen = bytes.as_ref().ok().map(|bytes| fingerprint(bytes));
        files.borrow_mut().insert(path.to_owned(), seen);
        bytes
    };
    let mut config = parse(file, &read);
    let files = files.into_inner();
    if let Ok(config) = &mut config {
        config.files.clone_from(&files);
    }
    Loaded { config, files }
}

fn parse(file: &Path, read: &dyn Fn(&Path) -> std::io::Result<Vec<u8>>) -> Result<Config, Faults> {
    let shown = file.display().to_string();
    let bytes = read(file)
        .map_err(|error| Faults::File(format!("cannot read the config {shown}: {error}")))?;
    let text = String::from_utf8(bytes).map_err(|error| {
        let good = &error.as_bytes()[..error.utf8_error().valid_up_to()];
        let good = String::from_utf8_lossy(good);
        let line = good.matches('\n').count() + 1;
        let column = good.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
        Faults::File(format!(
            "{shown}:{line}:{column}: this character is not UTF-8: save the file in UTF-8, as TOML demands"
        ))
    })?;
    let around = Surroundings {
        folder: file.parent().unwrap_or(Path::new("")),
        read_file: &|path| {
            String::from_utf8(read(path)?).map_err(|_| {
                std::io::Error::new(std::io::ErrorKind::InvalidData, "it is not UTF-8 text")
            })
        },
        environment: &|name| std::env::var(name).ok(),
    };
    let config = config::parse(&shown, &text, &around).map_err(Faults::Mistakes)?;
    Ok(Config {
        file: Some(shown),
        ..config
    })
}

/// Reads the config file as `run` does.
pub(super) fn load(file: &Path) -> Result<Config, Failure> {
    read(file).config.map_err(|faults| {
        Failure::Config(match faults {
            Faults::File(fault) => fault,
            Faults::Mistakes(mistakes) => mistakes.to_string(),
        })
    })
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
