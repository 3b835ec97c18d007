//! Patterns over series as people write them: what can never match, or is never asked, is a mistake.

use std::ops::Range;

use smol_str::SmolStr;

use super::{
    Config,
    reader::{Placed, Table},
};
use crate::{decode::Format, glob};

/// So alike are a word and its misspelling (Jaro-Winkler); `temperature` and `temprature` have 0.97.
const NEARLY: f64 = 0.92;

/// A pattern over `device/metric`: one slash, something on both sides.
pub(super) fn check_series(table: &Table<'_>, pattern: &Placed<SmolStr>) {
    let text = &pattern.value;
    let sides: Vec<&str> = text.split('/').collect();
    if sides.len() != 2 || sides.contains(&"") {
        let message = format!(
            "`series` is a pattern over device/metric, such as \"*/temperature\" or \"freezer-1/*\", found \"{text}\""
        );
        table.report(pattern.span.clone(), message);
    }
    check_wildcards(table, pattern);
}

/// A pattern over one side of it.
pub(super) fn check_side(table: &Table<'_>, pattern: &Placed<SmolStr>, what: &str) {
    if pattern.value.is_empty() || pattern.value.contains('/') {
        let message = format!(
            "{what} is a name or a pattern such as \"*temperature\", without `/`, found \"{}\"",
            pattern.value
        );
        table.report(pattern.span.clone(), message);
    }
    check_wildcards(table, pattern);
}

fn check_wildcards(table: &Table<'_>, pattern: &Placed<SmolStr>) {
    if let Some(c) = pattern.value.chars().find(|c| "[]{}".contains(*c)) {
        let message = format!(
            "`{c}` has no meaning in a pattern: there are `*` for any characters and `?` for one, neither crosses the `/`; for more write one entry each"
        );
        table.report(pattern.span.clone(), message);
    }
}

/// Of entries where the first that matches is used: those that are never reached.
pub(super) fn report_covered(table: &Table<'_>, entries: &[(SmolStr, Range<usize>)]) {
    for (at, (pattern, place)) in entries.iter().enumerate() {
        let covers = |before: &SmolStr| {
            before == pattern
                || (!(before.contains('?') && pattern.contains('*'))
                    && glob::matches(before, pattern))
        };
        if let Some((before, _)) = entries[..at].iter().find(|(before, _)| covers(before)) {
            let message = if before == pattern {
                format!("\"{pattern}\" is there twice: only the first is used")
            } else {
                format!(
                    "\"{pattern}\" is never used: \"{before}\" comes before it and takes the same; put the narrower one first"
                )
            };
            table.report(place.clone(), message);
        }
    }
}

/// Whether a side of a rule's series is nearly, but not quite, a metric or device that the config names. Devices introduce
/// themselves, so this is only a doubt.
pub(super) fn doubt_series(table: &Table<'_>, series: &Placed<SmolStr>, config: &Config) {
    let Some((device, metric)) = series.value.split_once('/') else {
        return;
    };
    let mappings = || config.sources.iter().flat_map(|source| &source.mappings);
    let mut metrics: Vec<&str> = Vec::new();
    metrics.extend(config.normalise.metrics.iter().map(|m| m.metric.as_str()));
    for mapping in mappings() {
        metrics.push(&mapping.metric);
        for field in &mapping.fields {
            metrics.push(field.metric.as_ref().map_or(&field.path, |m| &m.0));
        }
        if let Format::Csv(csv) = &mapping.format {
            metrics.extend(csv.columns.iter().map(SmolStr::as_str));
        }
    }
    let mut devices: Vec<&str> = mappings().map(|m| m.device.as_str()).collect();
    devices.extend(config.engine.devices.iter().map(|d| d.id.as_str()));
    for (what, side, known) in [("metric", metric, metrics), ("device", device, devices)] {
        if let Some(near) = nearly(side, &known) {
            table.doubt(
                series.span.clone(),
                format!("the config names no {what} \"{side}\"; did you mean \"{near}\"?"),
            );
        }
    }
}

fn nearly<'k>(side: &str, known: &[&'k str]) -> Option<&'k str> {
    if side.contains(['*', '?']) || known.iter().any(|k| glob::matches(k, side)) {
        return None;
    }
    known
        .iter()
        .filter(|k| !k.contains(['*', '?', '{']))
        // boiler-1 and boiler-2 are two of a kind, no slip.
        .filter(|k| letters(k) != letters(side))
        .map(|k| (strsim::jaro_winkler(side, k), *k))
        .filter(|(likeness, _)| *likeness > NEARLY)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, k)| k)
}

fn letters(name: &str) -> String {
    name.trim_end_matches(|c: char| c.is_ascii_digit() || "-_.".contains(c))
        .to_owned()
}
