//! The tables of the config that are one thing each: `[journal]`, `[store]`, `[influxdb]`, …

use std::{path::PathBuf, time::Duration};

use smol_str::SmolStr;

use super::{
    Log, Surroundings, pattern,
    reader::{Table, did_you_mean},
    scalar::Size,
    secret,
};
use crate::{
    archive, backoff, engine, history,
    journal::{self, Rhythm},
    live,
    model::Unit,
    normalise::{self, Calibration, MetricConfig},
    store::{DeviceConfig, WindowSpec},
};

impl Table<'_> {
    /// A duration between bounds in whole seconds.
    pub(super) fn set_within_seconds(
        &mut self,
        key: &'static str,
        target: &mut Duration,
        min: u64,
        max: u64,
    ) {
        if let Some(placed) = self.placed::<Duration>(key) {
            if (Duration::from_secs(min)..=Duration::from_secs(max)).contains(&placed.value) {
                *target = placed.value;
            } else {
                let message = format!(
                    "`{key}` in {} must be between \"{min}s\" and \"{max}s\"",
                    self.name
                );
                self.report(placed.span, message);
            }
        }
    }

    /// As [`Table::set_size`], for what lies in memory.
    pub(super) fn set_bytes(&mut self, key: &'static str, target: &mut usize, min: u64, max: u64) {
        let mut bytes = *target as u64;
        self.set_size(key, &mut bytes, min, max);
        *target = usize::try_from(bytes).unwrap_or(*target);
    }

    /// The path of a file that is needed later; that it can't be read is said now.
    pub(super) fn readable(
        &mut self,
        key: &'static str,
        around: &Surroundings<'_>,
    ) -> Option<PathBuf> {
        let file = self.placed::<PathBuf>(key)?;
        let path = around.beside_config(&file.value);
        if let Err(error) = (around.read_file)(&path) {
            self.report(
                file.span,
                format!("cannot read {}: {error}", path.display()),
            );
        }
        Some(path)
    }

    fn set_size(&mut self, key: &'static str, target: &mut u64, min: u64, max: u64) {
        if let Some(placed) = self.placed::<Size>(key) {
            if (min..=max).contains(&placed.value.0) {
                *target = placed.value.0;
            } else {
                let message = format!(
                    "`{key}` in {} must be between {min} and {max} bytes, found {}",
                    self.name, placed.value.0
                );
                self.report(placed.span, message);
            }
        }
    }
}

const LEVELS: [&str; 6] = ["error", "warn", "info", "debug", "trace", "off"];
/// Bytes of what people should know of a device.
const MOST_NOTE_BYTES: usize = 1_000;
/// Metrics that a device can be expected to send.
const MOST_EXPECTED: usize = 100;

pub(super) fn log(table: Option<Table<'_>>, log: &mut Log) {
    let Some(mut table) = table else { return };
    if let Some(level) = table.placed::<String>("level") {
        // A lone word that is no level would be taken for the name of a module, and everything else fall silent.
        let slip = level.value.split(',').map(str::trim).find(|word| {
            !word.contains(['=', ':', '['])
                && !LEVELS.iter().any(|level| level.eq_ignore_ascii_case(word))
        });
        match (tracing_subscriber::EnvFilter::try_new(&level.value), slip) {
            (Ok(_), None) => log.level = level.value,
            (Ok(_), Some(word)) => table.report(
                level.span,
                format!(
                    "`level` must be error, warn, info, debug or trace, found \"{word}\"{}",
                    did_you_mean(word, LEVELS.into_iter())
                ),
            ),
            (Err(_), _) => table.report(
                level.span,
                format!("`level` must be error, warn, info, debug or trace, or directives such as \"info,gateway::source=debug\", found \"{}\"", level.value),
            ),
        }
    }
    log.json = table
        .choice("format", &[("text", false), ("json", true)])
        .unwrap_or(log.json);
    table.finish();
}

pub(super) fn journal(table: Option<Table<'_>>, journal: &mut journal::Config) {
    let Some(mut table) = table else { return };
    table.set_size(
        "segment_size",
        &mut journal.segment_bytes,
        64 << 10,
        64 << 20,
    );
    table.set_size("max_size", &mut journal.max_bytes, 1 << 20, 1 << 40);
    table.set_size("keep", &mut journal.keep_bytes, 0, 1 << 40);
    if let Some(prompt) = table.placed::<Rhythm>("commit_prompt") {
        if matches!(prompt.value, Rhythm::Fixed(apart) if apart > Duration::from_secs(2)) {
            table.report(prompt.span, "`commit_prompt` in [journal] is \"auto\" or at most \"2s\": senders wait that long for their acknowledgement");
        } else {
            journal.commit_prompt = prompt.value;
        }
    }
    if let Some(patient) = table.placed::<Duration>("commit_patient") {
        if patient.value <= Duration::from_secs(60) {
            journal.commit_patient = patient.value;
        } else {
            table.report(patient.span, "`commit_patient` in [journal] is at most \"60s\": so much is lost with the power, and so late it is seen");
        }
    }
    table.set_within_seconds("note_every", &mut journal.note_every, 0, 3_600);
    if journal.max_bytes < 4 * journal.segment_bytes {
        table.report(
            table.span(),
            "`max_size` in [journal] must be at least four times `segment_size`",
        );
    }
    if journal.keep_bytes > journal.max_bytes {
        journal.keep_bytes = journal.max_bytes;
        if table.has("keep") {
            table.report(
                table.span(),
                "`keep` in [journal] must not be more than `max_size`",
            );
        }
    }
    table.finish();
}

/// Of the card.
pub(super) fn endurance(table: Option<Table<'_>>) -> Option<u64> {
    let mut table = table?;
    let mut endurance = 0;
    // From a gigabyte to a hundred petabytes: else it is a slip of the unit.
    table.set_size(
        "endurance",
        &mut endurance,
        1_000_000_000,
        100_000_000_000_000_000,
    );
    table.finish();
    (endurance > 0).then_some(endurance)
}

pub(super) fn store(
    table: Option<Table<'_>>,
    engine: &mut engine::Config,
    normalise: &mut normalise::Config,
) {
    let Some(mut table) = table else { return };
    let store = &mut engine.store;
    table.set_bytes(
        "memory_per_series",
        &mut store.bytes_per_series,
        1 << 10,
        64 << 20,
    );
    table.set_count("max_series", &mut store.max_series, 1, 1_000_000);
    normalise.max_series = store.max_series;
    table.set("lateness", &mut store.lateness);
    table.set_count("kept_windows", &mut store.kept_windows, 1, 100_000);
    table.set("max_future", &mut normalise.max_future);
    normalise.restamp_future = table
        .choice("beyond_max_future", &[("reject", false), ("restamp", true)])
        .unwrap_or(normalise.restamp_future);
    table.set("judge_within", &mut engine.judge_within);
    table.set("drop_repeats", &mut normalise.drop_repeats);
    table.finish();
}

pub(super) fn window(mut table: Table<'_>) -> Option<WindowSpec> {
    let every = table.required_placed::<Duration>("every");
    let over = table.placed::<Duration>("over");
    let every = every?;
    let spec = WindowSpec {
        every: every.value,
        over: over.as_ref().map_or(every.value, |o| o.value),
    };
    let whole = |d: Duration| d >= Duration::from_secs(1) && d.subsec_nanos() == 0;
    let message = if !whole(spec.every) || !whole(spec.over) {
        Some("windows are whole seconds, at least \"1s\"")
    } else if !spec.over.as_secs().is_multiple_of(spec.every.as_secs()) {
        Some("`over` must be a multiple of `every`")
    } else if spec.over.as_secs() / spec.every.as_secs() > 1_000 {
        Some("`over` must be at most 1000 times `every`: each step is kept in memory")
    } else {
        None
    };
    if let Some(message) = message {
        table.report(over.map_or(every.span, |o| o.span), message);
    }
    table.finish();
    message.is_none().then_some(spec)
}

pub(super) fn live(table: Option<Table<'_>>, live: &mut live::Config, engine: &mut engine::Config) {
    let Some(mut table) = table else { return };
    if let Some(tick) = table.placed::<Duration>("tick") {
        if (Duration::from_millis(50)..=Duration::from_millis(250)).contains(&tick.value) {
            engine.tick = tick.value;
        } else {
            table.report(
                tick.span,
                "`tick` in [live] must be between \"50ms\" and \"250ms\"",
            );
        }
    }
    live.enabled = table.optional("enabled").unwrap_or(live.enabled);
    table.set_within_seconds("beat", &mut live.beat, 1, 15);
    table.set_count("max_clients", &mut live.max_clients, 1, 100_000);
    table.set_bytes("replay", &mut live.replay_bytes, 64 << 10, 1 << 30);
    table.finish();
}

pub(super) fn history(table: Option<Table<'_>>) -> Option<history::Config> {
    let mut history = history::Config::default();
    let Some(mut table) = table else {
        return Some(history);
    };
    let enabled = table.optional("enabled").unwrap_or(true);
    table.set_within_seconds(
        "retention",
        &mut history.retention,
        3_600,
        100 * 365 * 86_400,
    );
    table.set_size("max_size", &mut history.max_bytes, 1 << 20, 1 << 42);
    table.set_within_seconds("flush_every", &mut history.flush_every, 1, 3_600);
    table.finish();
    enabled.then_some(history)
}

/// A unit that is understood; any other is reported.
pub(super) fn unit(table: &mut Table<'_>) -> Option<Unit> {
    let unit = table.placed::<SmolStr>("unit")?;
    if !normalise::unit::is_known(&unit.value) {
        let message = format!(
            "\"{0}\" is no unit that is known here: use its UCUM code, such as \"Cel\", \"%\", \"hPa\", \"kW.h\", or \"{{{0}}}\" for a unit of your own",
            unit.value
        );
        table.report(unit.span, message);
    }
    Some(Unit(unit.value))
}

pub(super) fn metric(mut table: Table<'_>) -> Option<MetricConfig> {
    let name = table.required_placed::<SmolStr>("name");
    if let Some(name) = &name {
        pattern::check_side(&table, name, "a metric");
    }
    let unit = unit(&mut table);
    let min = table.optional("min");
    let max = table.placed::<f64>("max");
    if let (Some(min), Some(max)) = (min, &max)
        && max.value < min
    {
        table.report(
            max.span.clone(),
            format!("`max` must not be below `min` ({min})"),
        );
    }
    table.finish();
    Some(MetricConfig {
        metric: name?.value,
        unit,
        min,
        max: max.map(|m| m.value),
    })
}

pub(super) fn calibration(mut table: Table<'_>) -> Option<Calibration> {
    let series = table.required_placed::<SmolStr>("series");
    if let Some(series) = &series {
        pattern::check_series(&table, series);
    }
    let mut calibration = Calibration {
        series: SmolStr::default(),
        gain: 1.0,
        offset: 0.0,
        table: Vec::new(),
    };
    table.set("gain", &mut calibration.gain);
    if calibration.gain == 0.0 {
        table.report(
            table.span_of("gain"),
            "`gain` must not be 0: every value would become the offset; without a gain it is 1",
        );
    }
    table.set("offset", &mut calibration.offset);
    if let Some(rows) = table.placed::<Vec<(f64, f64)>>("table") {
        if rows.value.len() < 2 || !rows.value.is_sorted_by(|a, b| a.0 < b.0) {
            table.report(
                rows.span,
                "`table` needs at least two rows [measured, true], ascending by measured",
            );
        } else {
            calibration.table = rows.value;
        }
    }
    table.finish();
    calibration.series = series?.value;
    Some(calibration)
}

pub(super) fn device(mut table: Table<'_>) -> Option<DeviceConfig> {
    let id = table.required_placed::<SmolStr>("id");
    if let Some(id) = &id
        && (id.value.is_empty() || id.value.contains('/'))
    {
        table.report(id.span.clone(), "a device id is not empty and has no `/`");
    }
    let device = DeviceConfig {
        id: id.map(|p| p.value).unwrap_or_default(),
        name: table.optional("name"),
        site: table.optional("site"),
        labels: table.texts("labels"),
        expect: expected(&mut table),
        interval: interval(&mut table),
        note: note(&mut table),
        version: 0,
    };
    table.finish();
    (!device.id.is_empty()).then_some(device)
}

/// What people should know of a device.
fn note(table: &mut Table<'_>) -> Option<String> {
    let note = table.placed::<String>("note")?;
    if note.value.len() > MOST_NOTE_BYTES {
        let message = format!("`note` has at most {MOST_NOTE_BYTES} bytes");
        table.report(note.span, message);
        return None;
    }
    Some(note.value)
}

/// Metrics, by their names.
fn expected(table: &mut Table<'_>) -> Vec<SmolStr> {
    let Some(names) = table.placed::<Vec<SmolStr>>("expect") else {
        return Vec::new();
    };
    let no_name = |name: &SmolStr| name.is_empty() || name.contains(['/', '*', '?']);
    if names.value.len() > MOST_EXPECTED || names.value.iter().any(no_name) {
        table.report(
            names.span,
            format!(
                "`expect` is a list of at most {MOST_EXPECTED} names of metrics, such as \"temperature\", without `/`, `*` and `?`"
            ),
        );
        return Vec::new();
    }
    names.value
}

fn interval(table: &mut Table<'_>) -> Option<Duration> {
    let mut interval = Duration::ZERO;
    table.set_within_seconds("interval", &mut interval, 1, 31 * 86_400);
    (!interval.is_zero()).then_some(interval)
}

pub(super) fn influxdb(mut table: Table<'_>, around: &Surroundings<'_>) -> Option<archive::Config> {
    let url = table.required_placed::<String>("url");
    if let Some(url) = &url {
        super::check_http_url(&table, "url", url);
    }
    let org = table.optional("org").unwrap_or_default();
    let bucket = table.required::<String>("bucket");
    let token = secret::read(&mut table, around, "token");
    let mut archive = archive::Config {
        url: url.map(|u| u.value).unwrap_or_default(),
        org,
        bucket: bucket.unwrap_or_default(),
        token,
        ca_file: table.readable("ca_file", around),
        measurement: String::from("sensor"),
        measurements: std::collections::BTreeMap::new(),
        batch_lines: 5_000,
        timeout: Duration::from_secs(30),
        linger: Duration::from_secs(1),
        backfill_rate: 20_000,
        backoff: backoff::Config {
            initial: Duration::from_secs(1),
            max: Duration::from_secs(60),
        },
    };
    table.set("measurement", &mut archive.measurement);
    table.set_count("batch_lines", &mut archive.batch_lines, 1, 100_000);
    table.set_within_seconds("timeout", &mut archive.timeout, 1, 600);
    table.set_within_seconds("linger", &mut archive.linger, 0, 60);
    table.set_count("backfill_rate", &mut archive.backfill_rate, 1, 10_000_000);
    table.finish();
    Some(archive)
}
