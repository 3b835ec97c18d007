//! Patterns over series as people write them: what can never match, or is never asked, is a mistake.

use std::ops::Range;

use smol_str::SmolStr;

use super::reader::{Placed, Table};
use crate::glob;

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
