//! `[[mapping]]` tables: how messages become readings. They stand in a source, or in a file of their own
//! that a source names with `mappings_file`.

use std::ops::Range;

use smol_str::SmolStr;

use super::{
    reader::{Placed, Table},
    section,
};
use crate::{
    decode::{
        Format, Mapping,
        mapping::{Csv, FieldRule, KeyValue, TimeFormat},
    },
    model::Metric,
};

/// A mapping with what only an MQTT subscription needs, and where it stands.
#[derive(Debug)]
pub(super) struct Written {
    pub(super) mapping: Mapping,
    pub(super) qos: Option<u8>,
    pub(super) topic: Option<Placed<String>>,
    pub(super) span: Range<usize>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum FormatName {
    Json,
    Number,
    Csv,
    KeyValue,
    LineProtocol,
    Readings,
}

const FORMATS: &[(&str, FormatName)] = &[
    ("json", FormatName::Json),
    ("number", FormatName::Number),
    ("csv", FormatName::Csv),
    ("key_value", FormatName::KeyValue),
    ("line_protocol", FormatName::LineProtocol),
    ("readings", FormatName::Readings),
];

/// Keys that one format alone has, and its name.
const KEYS_OF_FORMATS: [(&str, &str, FormatName); 5] = [
    ("columns", "csv", FormatName::Csv),
    ("delimiter", "csv", FormatName::Csv),
    ("separators", "key_value", FormatName::KeyValue),
    ("assign", "key_value", FormatName::KeyValue),
    ("precision", "line_protocol", FormatName::LineProtocol),
];

const TIME_FORMATS: &[(&str, TimeFormat)] = &[
    ("auto", TimeFormat::Auto),
    ("s", TimeFormat::EpochSeconds),
    ("ms", TimeFormat::EpochMillis),
    ("us", TimeFormat::EpochMicros),
    ("ns", TimeFormat::EpochNanos),
    ("rfc3339", TimeFormat::Rfc3339),
];

/// Reads one `[[mapping]]`.
pub(super) fn read(mut table: Table<'_>) -> Written {
    let span = table.span();
    let mut mapping = Mapping::default();
    let topic = table.placed::<String>("topic");
    if let Some(topic) = &topic {
        mapping.topic = topic.value.as_str().into();
    }
    mapping.format = format(&mut table);
    table.set("device", &mut mapping.device);
    table.set("metric", &mut mapping.metric);
    for field in table.tables("fields") {
        mapping.fields.extend(field_rule(field));
    }
    mapping.flatten = table
        .optional("flatten")
        .unwrap_or(mapping.fields.is_empty());
    table.set("text", &mut mapping.text);
    table.set("ignore", &mut mapping.ignore);
    mapping.time_path = table.optional("time");
    if let Some(format) = table.choice("time_format", TIME_FORMATS) {
        mapping.time_format = format;
    }
    if table.has("local_offset_minutes") {
        let mut offset = 0_i64;
        table.set_within("local_offset_minutes", &mut offset, -14 * 60..=14 * 60);
        mapping.local_offset_minutes = i32::try_from(offset).ok();
    }
    table.set("skip", &mut mapping.skip);
    table.set("retained_is_new", &mut mapping.retained_is_new);
    let qos = table.has("qos").then(|| {
        let mut qos = 1_u8;
        table.set_number("qos", &mut qos, 0, 2);
        qos
    });
    for (key, message) in mapping.check() {
        table.report(
            table.span_of(key),
            format!("`{key}` in {}: {message}", table.name),
        );
    }
    table.finish();
    Written {
        mapping,
        qos,
        topic,
        span,
    }
}

fn format(table: &mut Table<'_>) -> Format {
    let name = if table.has("format") {
        table.choice("format", FORMATS)
    } else {
        table.know("format");
        Some(FormatName::Json)
    };
    match name {
        Some(name) => refuse_keys_of_others(table, name),
        // Which of these it may have is not known: naming them would mislead.
        None => KEYS_OF_FORMATS.iter().for_each(|(key, ..)| {
            table.know(key);
        }),
    }
    let separator = |table: &mut Table<'_>, key: &'static str, target: &mut u8| {
        if let Some(placed) = table.placed::<String>(key) {
            if let [byte] = placed.value.as_bytes() {
                *target = *byte;
            } else {
                table.report(
                    placed.span,
                    format!(
                        "`{key}` must be one ASCII character, found \"{}\"",
                        placed.value
                    ),
                );
            }
        }
    };
    match name.unwrap_or(FormatName::Json) {
        FormatName::Json => Format::Json,
        FormatName::Number => Format::Number,
        FormatName::Readings => Format::Readings,
        FormatName::Csv => {
            let mut csv = Csv::default();
            table.set("columns", &mut csv.columns);
            separator(table, "delimiter", &mut csv.delimiter);
            Format::Csv(csv)
        }
        FormatName::KeyValue => {
            let mut pairs = KeyValue::default();
            if let Some(separators) = table.optional::<String>("separators") {
                pairs.separators = separators.into_bytes();
            }
            separator(table, "assign", &mut pairs.assign);
            Format::KeyValue(pairs)
        }
        FormatName::LineProtocol => {
            let precisions = &TIME_FORMATS[1..5];
            Format::LineProtocol {
                precision: table
                    .choice("precision", precisions)
                    .unwrap_or(TimeFormat::EpochNanos),
            }
        }
    }
}

/// A key that only another format knows, told as such: the likely slip is a forgotten `format`.
fn refuse_keys_of_others(table: &mut Table<'_>, format: FormatName) {
    for (key, owner, of) in KEYS_OF_FORMATS {
        if of != format && table.know(key) {
            let message = format!("`{key}` goes with format = \"{owner}\"");
            table.report(table.span_of(key), message);
        }
    }
}

fn field_rule(mut table: Table<'_>) -> Option<FieldRule> {
    let path = table.required::<SmolStr>("path");
    let metric = table.optional::<SmolStr>("metric").map(Metric);
    let unit = section::unit(&mut table);
    let unit_path = table.optional("unit_path");
    table.finish();
    Some(FieldRule {
        path: path?,
        metric,
        unit,
        unit_path,
    })
}
