//! What the person wrote (strict TOML) becomes what the program uses, checked as a whole: every mistake is
//! reported at once with file, line and column, and the nearest known word.
//!
//! Reading has no side effects: files and environment come in through [`Surroundings`]. Each module owns its
//! own `Config` struct and defaults; this room only fills them in. `config/full.toml` shows every key.

mod condition;
mod entry_json;
mod heartbeats;
mod life;
mod mapping;
mod mistake;
mod pattern;
mod reader;
mod route;
mod rule;
mod scalar;
mod secret;
mod section;
mod source;
mod template;
mod web;
mod webhook;

use std::{
    collections::{BTreeMap, HashSet},
    path::{Path, PathBuf},
    time::Duration,
};

use smol_str::SmolStr;
use toml::de::DeTable;

pub use self::{
    entry_json::{Body, KeyFault, Written, read_device, read_rule, read_webhook},
    life::dependence_fault,
    mistake::{Mistake, Mistakes},
    source::{SourceConfig, SourceKind},
    web::{Certificate, Http},
};
use self::{
    mistake::{Reporter, report_syntax},
    reader::{Placed, Table, did_you_mean},
};
use crate::{
    alert::{Awaited, route::Routing},
    archive, engine, heartbeat, history, journal, live, normalise,
    notify::{self, WebhookConfig},
    wear::card,
};

/// The name of the source that HTTP push is.
pub const PUSH_SOURCE: &str = "push";
/// What names of sources and webhooks may look like.
const NAME_RULE: &str = "a name has 1 to 64 letters, digits, `-`, `_` or `.`";

/// What the program uses.
#[derive(Clone, Debug)]
pub struct Config {
    /// The file, as the person named it; none for a config that is in no file.
    pub file: Option<String>,
    /// Where this gateway is; becomes the tag and label `site` of devices that have none of their own.
    pub site: Option<String>,
    /// Where journal, state and history live.
    pub data_dir: PathBuf,
    /// How long stopping may take. Default 15 s.
    pub stop_within: Duration,
    /// Whether a changed file is applied without being asked (SIGHUP). Default false.
    pub watch: bool,
    /// What is logged.
    pub log: Log,
    /// The web server.
    pub http: Http,
    /// Whether `POST` of readings is offered. Default true.
    pub push: bool,
    /// The durable log.
    pub journal: journal::Config,
    /// The card that all is written to.
    pub card: card::Config,
    /// What holds for all readings.
    pub normalise: normalise::Config,
    /// Store, windows, rules, devices.
    pub engine: engine::Config,
    /// The live stream.
    pub live: live::Config,
    /// The embedded archive; `None` when switched off.
    pub history: Option<history::Config>,
    /// `InfluxDB`; `None` when not configured.
    pub archive: Option<archive::Config>,
    /// The ways in.
    pub sources: Vec<SourceConfig>,
    /// Where alerts go.
    pub webhooks: Vec<WebhookConfig>,
    /// Dead-man's switches outside that hear of the gateway as long as it works.
    pub heartbeats: Vec<heartbeat::Config>,
    /// The rules of `engine` as they are written, in the same order.
    pub rules: Vec<Written>,
    /// The webhooks as they are written, in the same order; of people's nothing.
    pub written_webhooks: Vec<Written>,
    /// The devices of `engine` as they are written; of people's nothing.
    pub written_devices: Vec<Written>,
    /// Which alerts go where, put together how.
    pub routing: Routing,
    /// The files that it was read from, and what was in them: certificates too, which are read again only by who uses them.
    pub files: Files,
    /// What is not wrong but looks like a slip, such as a rule on a metric that is nearly one that the config names.
    pub doubts: Vec<Mistake>,
}

/// Files by path, with a fingerprint of what was in them; none where they could not be read.
pub type Files = BTreeMap<PathBuf, Option<u64>>;

/// What is logged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Log {
    /// `error`, `warn`, `info`, `debug`, `trace`, or directives such as `info,gateway::source=debug`. Default `info`.
    pub level: String,
    /// One JSON object a line instead of text.
    pub json: bool,
}

/// What reading a config may look at outside the text.
#[derive(Clone, Copy)]
pub struct Surroundings<'a> {
    /// The folder of the config: relative paths start there.
    pub folder: &'a Path,
    /// Reads a text file.
    pub read_file: &'a dyn Fn(&Path) -> std::io::Result<String>,
    /// An environment variable.
    pub environment: &'a dyn Fn(&str) -> Option<String>,
}

impl std::fmt::Debug for Surroundings<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Surroundings")
            .field("folder", &self.folder)
            .finish_non_exhaustive()
    }
}

impl Surroundings<'_> {
    fn beside_config(&self, path: &Path) -> PathBuf {
        self.folder.join(path)
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            file: None,
            site: None,
            data_dir: PathBuf::from("gateway-data"),
            stop_within: Duration::from_secs(15),
            watch: false,
            log: Log {
                level: String::from("info"),
                json: false,
            },
            http: Http::default(),
            push: true,
            journal: journal::Config::default(),
            card: card::Config::default(),
            normalise: normalise::Config::default(),
            engine: engine::Config::default(),
            live: live::Config::default(),
            history: Some(history::Config::default()),
            archive: None,
            sources: Vec::new(),
            webhooks: Vec::new(),
            heartbeats: Vec::new(),
            rules: Vec::new(),
            written_webhooks: Vec::new(),
            written_devices: Vec::new(),
            routing: Routing::default(),
            files: Files::new(),
            doubts: Vec::new(),
        }
    }
}

/// Reads a config. `file` is how the person named it.
///
/// # Errors
///
/// All mistakes, in order.
pub fn parse(file: &str, text: &str, around: &Surroundings<'_>) -> Result<Config, Mistakes> {
    let reporter = Reporter::new(file, text);
    let (root, errors) = DeTable::parse_recoverable(text);
    report_syntax(&reporter, &errors);
    let mut config = read(
        Table::new(&reporter, "the config", root.get_ref(), 0..0),
        around,
    );
    let mistakes = reporter.mistakes();
    if mistakes.is_empty() {
        config.doubts = reporter.doubts();
        Ok(config)
    } else {
        Err(Mistakes(mistakes))
    }
}

fn read(mut root: Table<'_>, around: &Surroundings<'_>) -> Config {
    let mut config = Config {
        site: root.optional("site"),
        ..Config::default()
    };
    if let Some(dir) = root.optional::<PathBuf>("data_dir") {
        config.data_dir = around.beside_config(&dir);
    }
    root.set_within_seconds("stop_within", &mut config.stop_within, 1, 300);
    root.set("watch_config", &mut config.watch);
    section::log(root.table("log"), &mut config.log);
    web::read(root.table("http"), around, &mut config.http);
    if let Some(mut push) = root.table("push") {
        push.set("enabled", &mut config.push);
        push.finish();
    }
    section::journal(root.table("journal"), &mut config.journal);
    config.card.endurance = section::endurance(root.table("disk"));
    section::store(
        root.table("store"),
        &mut config.engine,
        &mut config.normalise,
    );
    let windows = root.tables("window");
    if !windows.is_empty() {
        config.engine.store.windows.clear();
    }
    for table in windows {
        let place = table.span();
        let Some(window) = section::window(table) else {
            continue;
        };
        if config.engine.store.windows.contains(&window) {
            root.report(place, "this window is there twice");
        } else {
            config.engine.store.windows.push(window);
        }
    }
    section::live(root.table("live"), &mut config.live, &mut config.engine);
    config.history = section::history(root.table("history"));
    readings(&mut root, &mut config);
    config.engine.store.site.clone_from(&config.site);
    let sources = root.tables("source");
    let places: Vec<_> = sources.iter().map(Table::span).collect();
    for (table, span) in sources.into_iter().zip(places) {
        let Some(source) = source::read(table, around) else {
            continue;
        };
        if config.sources.iter().any(|s| s.name == source.name) {
            root.report(
                span,
                format!("there are two sources named \"{}\"", source.name.0),
            );
        }
        config.sources.push(source);
    }
    let push = Awaited {
        name: PUSH_SOURCE.into(),
        down_for: source::DOWN_FOR,
    };
    let awaited = config.sources.iter().map(|source| Awaited {
        name: source.name.0.clone(),
        down_for: source.down_for,
    });
    config.engine.sources = awaited.chain([push]).collect();
    config.archive = root
        .table("influxdb")
        .and_then(|t| section::influxdb(t, around));
    if let Some(archive) = &mut config.archive {
        for source in &config.sources {
            if let Some(measurement) = &source.measurement {
                archive
                    .measurements
                    .insert(source.name.0.to_string(), measurement.clone());
            }
        }
    }
    alerts(&mut root, around, &mut config);
    root.finish();
    config
}

/// What metrics, series and devices are.
fn readings(root: &mut Table<'_>, config: &mut Config) {
    let mut patterns = Vec::new();
    for table in root.tables("metric") {
        let place = table.span_of("name");
        if let Some(metric) = section::metric(table) {
            patterns.push((metric.metric.clone(), place));
            config.normalise.metrics.push(metric);
        }
    }
    pattern::report_covered(root, &patterns);
    patterns.clear();
    for table in root.tables("calibration") {
        let place = table.span_of("series");
        if let Some(calibration) = section::calibration(table) {
            patterns.push((calibration.series.clone(), place));
            config.normalise.calibrations.push(calibration);
        }
    }
    pattern::report_covered(root, &patterns);
    for table in root.tables("device") {
        let place = table.span_of("id");
        let (line, body) = (table.line(), entry_json::body_of(table.entries()));
        let Some(device) = section::device(table) else {
            continue;
        };
        if config.engine.devices.iter().any(|d| d.id == device.id) {
            root.report(
                place,
                format!("there are two devices with the id \"{}\"", device.id),
            );
        }
        config.written_devices.push(Written {
            name: device.id.clone(),
            line,
            body,
        });
        config.engine.devices.push(device);
    }
}

fn alerts(root: &mut Table<'_>, around: &Surroundings<'_>, config: &mut Config) {
    for (heartbeat, name) in root
        .tables("heartbeat")
        .into_iter()
        .filter_map(|table| heartbeats::read(table, around))
    {
        if config.heartbeats.iter().any(|h| h.name == heartbeat.name) {
            root.report(
                name.span,
                format!("there are two heartbeats named \"{}\"", name.value),
            );
        }
        config.heartbeats.push(heartbeat);
    }
    for table in root.tables("webhook") {
        let (line, body) = (table.line(), entry_json::body_of(table.entries()));
        let Some((webhook, name)) = webhook::read(table, around) else {
            continue;
        };
        if config.webhooks.iter().any(|w| w.name == webhook.name) {
            root.report(
                name.span,
                format!("there are two webhooks named \"{}\"", name.value),
            );
        }
        config.written_webhooks.push(Written {
            name: webhook.name.clone(),
            line,
            body,
        });
        config.webhooks.push(webhook);
    }
    config.routing = route::read(root, &config.webhooks);
    let depending = rules(root, config);
    life::check_dependence(root, &config.engine.rules, &depending);
}

/// The rules, against what the config has besides. Gives back what each depends on: that is checked when all rules are read.
fn rules(root: &mut Table<'_>, config: &mut Config) -> Vec<(SmolStr, life::DependsOn)> {
    let before = config.engine.rules.iter();
    let mut names: HashSet<_> = before.map(|rule| rule.name.clone()).collect();
    let mut depending = Vec::new();
    for table in root.tables("rule") {
        let (line, body) = (table.line(), entry_json::body_of(table.entries()));
        let Some(written) = rule::read(table) else {
            continue;
        };
        if !names.insert(written.rule.name.clone()) {
            root.report(
                written.name.span,
                format!("there are two rules named \"{}\"", written.name.value),
            );
        }
        if let Some(Placed { value, span }) = written.webhooks {
            for unknown in value
                .iter()
                .filter(|name| !config.webhooks.iter().any(|w| w.name == **name))
            {
                let mean = did_you_mean(unknown, config.webhooks.iter().map(|w| w.name.as_str()));
                root.report(
                    span.clone(),
                    format!("there is no webhook named \"{unknown}\"{mean}"),
                );
            }
        }
        pattern::doubt_series(root, &written.series, config);
        depending.push((written.rule.name.clone(), written.depends_on));
        config.rules.push(Written {
            name: written.rule.name.clone(),
            line,
            body,
        });
        config.engine.rules.push(written.rule);
    }
    depending
}

fn is_name(text: &str) -> bool {
    (1..=64).contains(&text.len())
        && text
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c))
}

fn check_http_url(table: &Table<'_>, key: &str, url: &Placed<String>) {
    let usable = reqwest::Url::parse(&url.value)
        .is_ok_and(|u| matches!(u.scheme(), "http" | "https") && u.has_host());
    if !usable {
        let message = format!(
            "`{key}` in {} must be a full address such as \"https://host/path\", found \"{}\"",
            table.name, url.value
        );
        table.report(url.span.clone(), message);
    }
}

/// Alerts and beats go to no address that none of their receivers has.
fn check_outside(table: &Table<'_>, url: &Placed<String>) {
    if let Ok(parsed) = reqwest::Url::parse(&url.value)
        && let Err(refused) = notify::check_url(&parsed)
    {
        table.report(url.span.clone(), refused.to_string());
    }
}

#[cfg(test)]
mod tests;
