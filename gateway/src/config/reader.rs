//! Reading TOML tables key by key, so that every mistake is found in one go: unknown keys (with the nearest known
//! one), wrong types, missing keys, values out of bounds, each with its place.

use std::{collections::BTreeMap, fmt::Display, ops::Range};

use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

use super::{mistake::Reporter, scalar::Scalar};

/// A table being read. Each key asked for is a known key; [`Table::finish`] reports the rest.
pub(super) struct Table<'a> {
    pub(super) reporter: &'a Reporter,
    /// As a person would call it: `[http]`, `[[source]] "plant"`.
    pub(super) name: String,
    entries: &'a DeTable<'a>,
    span: Range<usize>,
    known: Vec<&'static str>,
}

/// A value and where it stands, for checks that come after reading.
#[derive(Clone, Debug)]
pub(super) struct Placed<T> {
    pub(super) value: T,
    pub(super) span: Range<usize>,
}

impl<'a> Table<'a> {
    pub(super) fn new(
        reporter: &'a Reporter,
        name: impl Into<String>,
        table: &'a DeTable<'a>,
        span: Range<usize>,
    ) -> Self {
        Self {
            reporter,
            name: name.into(),
            entries: table,
            span,
            known: Vec::new(),
        }
    }

    fn entry(&mut self, key: &'static str) -> Option<&'a Spanned<DeValue<'a>>> {
        self.known.push(key);
        self.entries.get(key)
    }

    /// Whether a text in quotes is written there.
    pub(super) fn is_text(&self, key: &str) -> bool {
        let entry = self.entries.get(key);
        entry.is_some_and(|entry| entry.get_ref().as_str().is_some())
    }

    /// Makes a key known without reading it; whether it is written.
    pub(super) fn know(&mut self, key: &'static str) -> bool {
        self.entry(key).is_some()
    }

    /// Where the table stands, for mistakes about it as a whole.
    pub(super) fn span(&self) -> Range<usize> {
        self.span.clone()
    }

    /// The line on which it begins, from 1.
    pub(super) fn line(&self) -> usize {
        self.reporter.line_of(&self.span)
    }

    /// All that is written in it.
    pub(super) const fn entries(&self) -> &'a DeTable<'a> {
        self.entries
    }

    /// Whether the key is written, whatever its value.
    pub(super) fn has(&self, key: &str) -> bool {
        self.entries.contains_key(key)
    }

    /// Where the value of a key stands; where it is missing, the table.
    pub(super) fn span_of(&self, key: &str) -> Range<usize> {
        self.entries.get(key).map_or(self.span(), Spanned::span)
    }

    pub(super) fn report(&self, span: Range<usize>, message: impl Into<String>) {
        self.reporter.report(span, message);
    }

    /// A key that must be there is not.
    pub(super) fn report_missing(&self, key: &'static str, message: impl Into<String>) {
        self.reporter.report_missing(self.span(), key, message);
    }

    pub(super) fn doubt(&self, span: Range<usize>, message: impl Into<String>) {
        self.reporter.doubt(span, message);
    }

    /// The value with its place; `None` when absent or wrong (then it is reported).
    pub(super) fn placed<T: Scalar>(&mut self, key: &'static str) -> Option<Placed<T>> {
        let entry = self.entry(key)?;
        match T::read(entry.get_ref()) {
            Ok(value) => Some(Placed {
                value,
                span: entry.span(),
            }),
            Err(message) => {
                self.report(entry.span(), format!("`{key}` in {}: {message}", self.name));
                None
            }
        }
    }

    pub(super) fn optional<T: Scalar>(&mut self, key: &'static str) -> Option<T> {
        self.placed(key).map(|p| p.value)
    }

    /// Overwrites `target` if the key is there and right.
    pub(super) fn set<T: Scalar>(&mut self, key: &'static str, target: &mut T) {
        if let Some(value) = self.optional(key) {
            *target = value;
        }
    }

    /// As [`Table::set`], for a value that must lie in a range.
    pub(super) fn set_within<T: Scalar + PartialOrd + Display>(
        &mut self,
        key: &'static str,
        target: &mut T,
        range: std::ops::RangeInclusive<T>,
    ) {
        if let Some(placed) = self.placed::<T>(key) {
            if range.contains(&placed.value) {
                *target = placed.value;
            } else {
                let (name, from, to) = (&self.name, range.start(), range.end());
                self.report(
                    placed.span,
                    format!(
                        "`{key}` in {name} must be between {from} and {to}, found {}",
                        placed.value
                    ),
                );
            }
        }
    }

    /// A whole number within bounds, in the type that the program uses.
    pub(super) fn set_number<T: TryFrom<i64> + Copy + Into<u64>>(
        &mut self,
        key: &'static str,
        target: &mut T,
        min: i64,
        max: i64,
    ) {
        let mut number = i64::try_from((*target).into()).unwrap_or(i64::MAX);
        self.set_within(key, &mut number, min..=max);
        if let Ok(number) = T::try_from(number) {
            *target = number;
        }
    }

    /// As [`Table::set_number`], for counts.
    pub(super) fn set_count(&mut self, key: &'static str, target: &mut usize, min: i64, max: i64) {
        let mut number = *target as u64;
        self.set_number(key, &mut number, min, max);
        *target = usize::try_from(number).unwrap_or(*target);
    }

    pub(super) fn required<T: Scalar>(&mut self, key: &'static str) -> Option<T> {
        self.required_placed(key).map(|p| p.value)
    }

    pub(super) fn required_placed<T: Scalar>(&mut self, key: &'static str) -> Option<Placed<T>> {
        if !self.has(key) {
            self.known.push(key);
            let message = format!("{} needs `{key}`", self.name);
            self.reporter.report_missing(self.span(), key, message);
            return None;
        }
        self.placed(key)
    }

    /// One of a few words.
    pub(super) fn choice<T: Copy>(
        &mut self,
        key: &'static str,
        choices: &[(&'static str, T)],
    ) -> Option<T> {
        let placed = self.placed::<String>(key)?;
        let found = choices
            .iter()
            .find(|(word, _)| *word == placed.value)
            .map(|(_, choice)| *choice);
        if found.is_none() {
            let words: Vec<&str> = choices.iter().map(|(word, _)| *word).collect();
            let mean = did_you_mean(&placed.value, words.iter().copied());
            let all = words
                .iter()
                .map(|w| format!("\"{w}\""))
                .collect::<Vec<_>>()
                .join(", ");
            self.report(
                placed.span,
                format!(
                    "`{key}` in {} must be one of {all}, found \"{}\"{mean}",
                    self.name, placed.value
                ),
            );
        }
        found
    }

    /// A table of texts: `labels = { room = "cold store" }`.
    pub(super) fn texts(&mut self, key: &'static str) -> BTreeMap<String, String> {
        let Some(entry) = self.entry(key) else {
            return BTreeMap::new();
        };
        let Some(table) = entry.get_ref().as_table() else {
            self.report(
                entry.span(),
                format!(
                    "`{key}` in {}: expected a table such as {{ name = \"text\" }}",
                    self.name
                ),
            );
            return BTreeMap::new();
        };
        let mut texts = BTreeMap::new();
        for (name, value) in table {
            if let Some(text) = value.get_ref().as_str() {
                texts.insert(name.get_ref().to_string(), text.to_owned());
            } else {
                self.report(
                    value.span(),
                    format!(
                        "`{key}.{}` in {}: expected text in quotes",
                        name.get_ref(),
                        self.name
                    ),
                );
            }
        }
        texts
    }

    /// A sub-table, if it is there.
    pub(super) fn table(&mut self, key: &'static str) -> Option<Table<'a>> {
        let entry = self.entry(key)?;
        let Some(table) = entry.get_ref().as_table() else {
            self.report(
                entry.span(),
                format!("`{key}` must be a table: write [{key}]"),
            );
            return None;
        };
        Some(Table::new(
            self.reporter,
            format!("[{key}]"),
            table,
            entry.span(),
        ))
    }

    /// One table or an array of them (`key = {…}` or `key = [{…}]`); empty when absent.
    pub(super) fn one_or_more_tables(&mut self, key: &'static str) -> Vec<Table<'a>> {
        let one = self.entries.get(key).map(Spanned::get_ref);
        if one.is_some_and(|value| value.as_table().is_some()) {
            self.table(key).into_iter().collect()
        } else {
            self.tables(key)
        }
    }

    /// An array of tables (`[[key]]` or `key = [{…}]`); empty when absent.
    pub(super) fn tables(&mut self, key: &'static str) -> Vec<Table<'a>> {
        let Some(entry) = self.entry(key) else {
            return Vec::new();
        };
        let Some(array) = entry.get_ref().as_array() else {
            self.report(
                entry.span(),
                format!("`{key}` must be a list of tables: write [[{key}]]"),
            );
            return Vec::new();
        };
        let mut tables = Vec::new();
        for item in array {
            if let Some(table) = item.get_ref().as_table() {
                tables.push(Table::new(
                    self.reporter,
                    format!("[[{key}]]"),
                    table,
                    item.span(),
                ));
            } else {
                self.report(item.span(), format!("`{key}` must hold tables"));
            }
        }
        tables
    }

    /// Reports every key that nobody asked for, with the nearest known one.
    pub(super) fn finish(self) {
        for (key, _) in self.entries {
            let written = key.get_ref().as_ref();
            if !self.known.contains(&written) {
                let mean = did_you_mean(written, self.known.iter().copied());
                self.report(
                    key.span(),
                    format!("unknown key `{written}` in {}{mean}", self.name),
                );
            }
        }
    }
}

/// `; did you mean …?` for the nearest candidate, if one is near.
pub(super) fn did_you_mean<'c>(written: &str, candidates: impl Iterator<Item = &'c str>) -> String {
    candidates
        .map(|candidate| {
            (
                strsim::jaro_winkler(&written.to_lowercase(), &candidate.to_lowercase()),
                candidate,
            )
        })
        .filter(|(likeness, _)| *likeness > 0.75)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map_or_else(String::new, |(_, candidate)| {
            format!("; did you mean `{candidate}`?")
        })
}
