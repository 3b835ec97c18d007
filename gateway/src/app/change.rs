//! The difference of two configs: what must be touched to get from one to the other, and what only a restart can do. Pure.

use std::path::PathBuf;

use crate::{
    config::{Config, Http, Log, SourceConfig, SourceKind},
    engine, live,
    model::SourceName,
    store::{self, DeviceConfig},
};

/// What changed, as far as it can be applied while the gateway runs.
#[derive(Debug, Default)]
pub(super) struct Difference {
    /// Sources that are there no more.
    pub(super) removed: Vec<SourceName>,
    /// Sources whose connection is another one: stopped and started.
    pub(super) replaced: Vec<SourceConfig>,
    /// Sources that are new.
    pub(super) added: Vec<SourceConfig>,
    /// Sources with other mappings over the same connection.
    pub(super) remapped: Vec<SourceConfig>,
    /// Units, ranges, calibrations, the cap on series.
    pub(super) normalise: bool,
    /// Rules, devices, site, cap, lateness, tick.
    pub(super) engine: bool,
    /// Names of webhooks that are there no more, or other than they were.
    pub(super) webhooks_ended: Vec<String>,
    /// Names of webhooks that are new, or other than they were.
    pub(super) webhooks_begun: Vec<String>,
    /// Dead-man's switches outside.
    pub(super) heartbeats: bool,
    /// Routes and inhibitions.
    pub(super) routes: bool,
    /// `InfluxDB`, or what its lines are made with.
    pub(super) archive: bool,
    /// Retention, size, flush interval of the history.
    pub(super) history: bool,
    /// The site.
    pub(super) site: bool,
    /// Whether there are live streams.
    pub(super) live: bool,
    /// What belongs to nobody here: the log level, the time for stopping, whether the file is watched.
    pub(super) rest: bool,
    /// Settings that hold only after a restart.
    pub(super) restart_needed: Vec<&'static str>,
}

impl Difference {
    /// Whether anything is to be done now.
    pub(super) fn is_empty(&self) -> bool {
        self.removed.is_empty()
            && self.replaced.is_empty()
            && self.added.is_empty()
            && self.remapped.is_empty()
            && self.webhooks_ended.is_empty()
            && self.webhooks_begun.is_empty()
            && !(self.normalise
                || self.heartbeats
                || self.engine
                || self.routes
                || self.archive
                || self.history
                || self.site
                || self.live
                || self.rest)
    }

    /// In words, for the log.
    pub(super) fn words(&self) -> String {
        let of = |sources: &[SourceConfig]| -> Vec<String> {
            sources.iter().map(|s| s.name.0.to_string()).collect()
        };
        let named = [
            (
                "sources removed",
                self.removed.iter().map(|n| n.0.to_string()).collect(),
            ),
            ("sources started anew", of(&self.replaced)),
            ("sources added", of(&self.added)),
            ("sources with other mappings", of(&self.remapped)),
            ("webhooks ended", self.webhooks_ended.clone()),
            ("webhooks begun", self.webhooks_begun.clone()),
        ];
        let parts = [
            ("units, ranges or calibrations", self.normalise),
            ("rules, devices or store", self.engine),
            ("heartbeats", self.heartbeats),
            ("routes", self.routes),
            ("InfluxDB", self.archive),
            ("history", self.history),
            ("site", self.site),
            ("live streams", self.live),
            ("settings of the process", self.rest),
        ];
        let named = named
            .into_iter()
            .filter(|(_, names)| !names.is_empty())
            .map(|(what, names)| format!("{what}: {}", names.join(", ")));
        let parts = parts
            .into_iter()
            .filter(|(_, changed)| *changed)
            .map(|(what, _)| what.to_owned());
        named.chain(parts).collect::<Vec<_>>().join("; ")
    }

    /// What must be done to get from `old`, which is in force, to `new`.
    pub(super) fn between(old: &Config, new: &Config) -> Self {
        every_setting_has_its_place(new);
        let mut difference = Self {
            normalise: old.normalise != new.normalise,
            routes: old.routing != new.routing,
            site: old.site != new.site,
            live: old.live.enabled != new.live.enabled,
            heartbeats: old.heartbeats != new.heartbeats,
            history: old.history.is_some() && new.history.is_some() && old.history != new.history,
            rest: (&old.log.level, old.stop_within, old.watch)
                != (&new.log.level, new.stop_within, new.watch),
            restart_needed: restart_needed(old, new),
            ..Self::default()
        };
        let (before, after) = (&old.engine, &new.engine);
        difference.engine = difference.site
            || before.rules != after.rules
            || before.devices != after.devices
            || before.sources != after.sources
            || before.tick != after.tick
            || before.judge_within != after.judge_within
            || before.store.max_series != after.store.max_series
            || before.store.lateness != after.store.lateness;
        difference.archive = old.archive != new.archive
            || new.archive.is_some()
                && (difference.site
                    || !archived(&before.devices).eq(archived(&after.devices))
                    || new
                        .archive
                        .as_ref()
                        .is_some_and(|archive| other_contents(old, new, archive.ca_file.iter())));
        difference.sources(old, new);
        for webhook in &old.webhooks {
            if !new.webhooks.contains(webhook) {
                difference.webhooks_ended.push(webhook.name.to_string());
            }
        }
        for webhook in &new.webhooks {
            if !old.webhooks.contains(webhook) {
                difference.webhooks_begun.push(webhook.name.to_string());
            }
        }
        difference
    }

    fn sources(&mut self, old: &Config, new: &Config) {
        for source in &old.sources {
            if new.sources.iter().all(|s| s.name != source.name) {
                self.removed.push(source.name.clone());
            }
        }
        for source in &new.sources {
            let Some(before) = old.sources.iter().find(|s| s.name == source.name) else {
                self.added.push(source.clone());
                continue;
            };
            if before.kind != source.kind || other_contents(old, new, certificates(&source.kind)) {
                self.replaced.push(source.clone());
            } else if before.mappings != source.mappings {
                self.remapped.push(source.clone());
            }
        }
    }
}

/// A setting that comes to one of these must be compared in [`Difference::between`] or in [`restart_needed`], and kept by
/// [`in_force`] in the second case: without that a change of it would be taken and do nothing. What is compared as a whole is not
/// listed.
fn every_setting_has_its_place(config: &Config) {
    let Config {
        file: _,
        site: _,
        data_dir: _,
        stop_within: _,
        watch: _,
        log: Log { level: _, json: _ },
        http:
            Http {
                listen: _,
                login: _,
                session_lasts: _,
                tls: _,
                allowed_hosts: _,
                allowed_origins: _,
                public_url: _,
            },
        push: _,
        journal: _,
        card: _,
        normalise: _,
        engine:
            engine::Config {
                store:
                    store::Config {
                        bytes_per_series: _,
                        max_series: _,
                        windows: _,
                        lateness: _,
                        kept_windows: _,
                        site: _,
                    },
                rules: _,
                devices: _,
                sources: _,
                judge_within: _,
                tick: _,
            },
        live:
            live::Config {
                enabled: _,
                max_clients: _,
                replay_bytes: _,
                // Not in the file.
                client_queue: _,
                beat: _,
                site: _,
            },
        history: _,
        archive: _,
        sources: _,
        webhooks: _,
        heartbeats: _,
        // As `engine.rules`, and their places, which `rules.rs` tells.
        rules: _,
        written_webhooks: _,
        written_devices: _,
        routing: _,
        files: _,
        doubts: _,
    } = config;
}

/// What the archive knows of devices: what else is said of them does not touch it.
fn archived(devices: &[DeviceConfig]) -> impl Iterator<Item = DeviceConfig> {
    devices.iter().map(|device| DeviceConfig {
        expect: Vec::new(),
        interval: None,
        note: None,
        version: 0,
        ..device.clone()
    })
}

/// The files that a connection reads for itself when it begins.
fn certificates(kind: &SourceKind) -> impl Iterator<Item = &PathBuf> {
    let tls = match kind {
        SourceKind::Mqtt(mqtt) => mqtt.tls.as_ref(),
        SourceKind::Serial(_) | SourceKind::Listener(_) => None,
    };
    tls.into_iter().flat_map(|tls| {
        [&tls.ca_file, &tls.certificate_file, &tls.key_file]
            .into_iter()
            .flatten()
    })
}

/// Whether what is in one of these files is not what it was.
fn other_contents<'a>(
    old: &Config,
    new: &Config,
    mut files: impl Iterator<Item = &'a PathBuf>,
) -> bool {
    files.any(|file| old.files.get(file) != new.files.get(file))
}

/// The settings that something is built on which lives as long as the process.
fn restart_needed(old: &Config, new: &Config) -> Vec<&'static str> {
    let (before, after) = (&old.engine.store, &new.engine.store);
    [
        ("data_dir", old.data_dir != new.data_dir),
        ("log.format", old.log.json != new.log.json),
        ("http.listen", old.http.listen != new.http.listen),
        ("http.tls", old.http.tls != new.http.tls),
        ("http.login", old.http.login != new.http.login),
        (
            "http.session_lasts",
            old.http.session_lasts != new.http.session_lasts,
        ),
        (
            "http.allowed_hosts",
            old.http.allowed_hosts != new.http.allowed_hosts,
        ),
        (
            "http.allowed_origins",
            old.http.allowed_origins != new.http.allowed_origins,
        ),
        (
            "http.public_url",
            old.http.public_url != new.http.public_url,
        ),
        ("push.enabled", old.push != new.push),
        ("journal", old.journal != new.journal),
        ("disk", old.card != new.card),
        (
            "store.memory_per_series",
            before.bytes_per_series != after.bytes_per_series,
        ),
        (
            "store.kept_windows",
            before.kept_windows != after.kept_windows,
        ),
        ("window", before.windows != after.windows),
        (
            "live",
            (old.live.beat, old.live.max_clients, old.live.replay_bytes)
                != (new.live.beat, new.live.max_clients, new.live.replay_bytes),
        ),
        (
            "history.enabled",
            old.history.is_some() != new.history.is_some(),
        ),
    ]
    .into_iter()
    .filter_map(|(setting, changed)| changed.then_some(setting))
    .collect()
}

/// `new` as it is in force without a restart: what needs one stays as it was.
pub(super) fn in_force(old: &Config, new: Config) -> Config {
    let mut config = new;
    config.data_dir.clone_from(&old.data_dir);
    config.log.json = old.log.json;
    config.http.clone_from(&old.http);
    config.push = old.push;
    config.journal.clone_from(&old.journal);
    config.card.clone_from(&old.card);
    let (kept, store) = (&old.engine.store, &mut config.engine.store);
    store.bytes_per_series = kept.bytes_per_series;
    store.kept_windows = kept.kept_windows;
    store.windows.clone_from(&kept.windows);
    let enabled = config.live.enabled;
    config.live.clone_from(&old.live);
    config.live.enabled = enabled;
    if config.history.is_some() != old.history.is_some() {
        config.history.clone_from(&old.history);
    }
    config
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::{Surroundings, parse};

    fn config(text: &str) -> Config {
        let around = Surroundings {
            folder: Path::new(""),
            // Good as a secret and as a file of mappings.
            read_file: &|_| Ok(String::from("# secret")),
            environment: &|name| Some(name.to_owned()),
        };
        parse("gateway.toml", text, &around).unwrap()
    }

    const FULL: &str = include_str!("../../../config/full.toml");

    #[test]
    fn the_same_config_is_no_difference() {
        let difference = Difference::between(&config(FULL), &config(FULL));
        assert!(difference.is_empty() && difference.restart_needed.is_empty());
    }

    /// One line of the full example after the other is changed, and exactly one thing follows from it.
    #[test]
    fn each_change_touches_what_it_is_about_and_nothing_else() {
        for (from, to, touched) in [
            (
                "baud_rate = 9600",
                "baud_rate = 19200",
                "sources started anew: bench",
            ),
            (
                "keep_alive = \"30s\"",
                "keep_alive = \"31s\"",
                "sources started anew: plant",
            ),
            (
                "max_retained = 10000",
                "max_retained = 10",
                "sources started anew: listener",
            ),
            (
                "separators = \";\"",
                "separators = \"|\"",
                "sources with other mappings: plant",
            ),
            ("measurement = \"bench\"", "measurement = \"b\"", "InfluxDB"),
            ("batch_lines = 5000", "batch_lines = 50", "InfluxDB"),
            (
                "offset = -0.4",
                "offset = -0.5",
                "units, ranges or calibrations",
            ),
            ("clear = 28", "clear = 27", "rules, devices or store"),
            (
                "lateness = \"30s\"",
                "lateness = \"31s\"",
                "rules, devices or store",
            ),
            (
                "down_for = \"1m\"",
                "down_for = \"2m\"",
                "rules, devices or store",
            ),
            (
                "tick = \"75ms\"",
                "tick = \"80ms\"",
                "rules, devices or store",
            ),
            (
                "[live]\n# false: who asks for a live stream is told to stop for good.\nenabled = true",
                "[live]\nenabled = false",
                "live streams",
            ),
            ("retention = \"365d\"", "retention = \"364d\"", "history"),
            (
                "send_resolved = true",
                "send_resolved = false",
                "webhooks ended: ops; webhooks begun: ops",
            ),
            ("group_wait = \"10s\"", "group_wait = \"20s\"", "routes"),
            (
                "level = \"info\"",
                "level = \"warn\"",
                "settings of the process",
            ),
            (
                "stop_within = \"15s\"",
                "stop_within = \"16s\"",
                "settings of the process",
            ),
            (
                "name = \"Boiler in the cellar\"",
                "name = \"Boiler\"",
                "rules, devices or store; InfluxDB",
            ),
            (
                "site = \"greenhouse\"\ndata",
                "site = \"hill\"\ndata",
                "rules, devices or store; InfluxDB; site",
            ),
            (
                "max_series = 10000",
                "max_series = 9000",
                "units, ranges or calibrations; rules, devices or store",
            ),
        ] {
            let full = if from.contains("\ndata") {
                FULL.replacen(
                    "# Where journal, alerts and history live. Relative to this file.\n",
                    "",
                    1,
                )
            } else {
                FULL.to_owned()
            };
            assert!(full.contains(from), "the full example has no {from}");
            let changed = full.replacen(from, to, 1);
            let difference = Difference::between(&config(&full), &config(&changed));
            assert_eq!(difference.words(), touched, "{from}");
            assert!(!difference.is_empty());
            assert_eq!(difference.restart_needed, Vec::<&str>::new(), "{from}");
        }
    }

    #[test]
    fn what_only_a_restart_can_change_is_named_and_stays_as_it_was() {
        for (from, to, setting) in [
            (
                "data_dir = \"gateway-data\"",
                "data_dir = \"d\"",
                "data_dir",
            ),
            ("format = \"text\"", "format = \"json\"", "log.format"),
            ("127.0.0.1:8080", "127.0.0.1:8081", "http.listen"),
            ("login = \"off\"", "login = \"on\"", "http.login"),
            (
                "login = \"off\"",
                "login = \"off\"\ntls = \"self-signed\"",
                "http.tls",
            ),
            (
                "session_lasts = \"30d\"",
                "session_lasts = \"1d\"",
                "http.session_lasts",
            ),
            (
                "allowed_hosts = []",
                "allowed_hosts = [\"a.example\"]",
                "http.allowed_hosts",
            ),
            (
                "allowed_origins = []",
                "allowed_origins = [\"https://a.example\"]",
                "http.allowed_origins",
            ),
            (
                "[push]\nenabled = true",
                "[push]\nenabled = false",
                "push.enabled",
            ),
            (
                "commit_prompt = \"auto\"",
                "commit_prompt = \"3ms\"",
                "journal",
            ),
            (
                "memory_per_series = \"16 KiB\"",
                "memory_per_series = \"8 KiB\"",
                "store.memory_per_series",
            ),
            (
                "kept_windows = 60",
                "kept_windows = 61",
                "store.kept_windows",
            ),
            ("every = \"1h\"", "every = \"2h\"", "window"),
            ("beat = \"5s\"", "beat = \"6s\"", "live"),
            (
                "[history]\nenabled = true",
                "[history]\nenabled = false",
                "history.enabled",
            ),
        ] {
            assert!(FULL.contains(from), "the full example has no {from}");
            let (old, new) = (config(FULL), config(&FULL.replacen(from, to, 1)));
            let difference = Difference::between(&old, &new);
            assert_eq!(difference.restart_needed, [setting]);
            assert!(difference.is_empty(), "{from}: {}", difference.words());
            let kept = in_force(&old, new);
            assert_eq!(
                Difference::between(&old, &kept).restart_needed,
                Vec::<&str>::new()
            );
        }
    }

    #[test]
    fn a_certificate_or_secret_with_other_contents_is_a_change() {
        let with = |secret: &'static str, print: u64| {
            let around = Surroundings {
                folder: Path::new(""),
                read_file: &|_| Ok(String::from(secret)),
                environment: &|_| None,
            };
            let text = "[[source]]\nname = \"s\"\ntype = \"mqtt\"\nurl = \"mqtts://h\"\nca_file = \"ca.pem\"\npassword_file = \"p\"\n[[source.mapping]]\ntopic = \"t\"\n";
            let mut config = parse("gateway.toml", text, &around).unwrap();
            config.files.insert(PathBuf::from("ca.pem"), Some(print));
            config
        };
        let replaced = |old, new| Difference::between(&old, &new).replaced.len();
        assert_eq!(replaced(with("a", 1), with("a", 1)), 0);
        assert_eq!(replaced(with("a", 1), with("a", 2)), 1);
        assert_eq!(replaced(with("a", 1), with("b", 1)), 1);
    }
}
