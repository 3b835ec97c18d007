//! Readings to bytes, one function a format: pure.
//!
//! Written from the specifications alone (RFC 8259, RFC 4180, InfluxDB's line protocol page), so that this is a second
//! reading of each format beside the gateway's. Every function appends to `out` and adds no line end.
//!
//! NaN is written as broken devices write it: `NaN` in JSON (which is no JSON) and line protocol, `nan` elsewhere.

use std::fmt::Write as _;

use crate::{scenario::TimeForm, signal::Value};

/// One field of a record.
#[derive(Clone, Copy, Debug)]
pub struct Field<'a> {
    /// Its name.
    pub name: &'a str,
    /// What it says.
    pub value: &'a Value,
    /// With how many decimals a float is written.
    pub decimals: u8,
}

/// A time and how to write it.
#[derive(Clone, Copy, Debug)]
pub struct Time<'a> {
    /// Its name in the record.
    pub key: &'a str,
    /// Nanoseconds since the epoch.
    pub ns: i64,
    /// How it is written; [`TimeForm::None`] leaves it out.
    pub form: TimeForm,
}

/// `{"time":…,"a":1}`.
pub fn json(out: &mut String, time: Time<'_>, fields: &[Field<'_>]) {
    out.push('{');
    let mut first = json_time(out, time);
    json_fields(out, &mut first, fields);
    out.push('}');
}

/// `{"device":…,"time":…,"values":{"a":1}}`, as the gateway takes it by HTTP.
pub fn readings_json(out: &mut String, device: &str, time: Time<'_>, fields: &[Field<'_>]) {
    out.push_str("{\"device\":");
    json_text(out, device);
    out.push(',');
    if !json_time(out, time) {
        out.push(',');
    }
    out.push_str("\"values\":{");
    json_fields(out, &mut true, fields);
    out.push_str("}}");
}

/// The bare value.
pub fn number(out: &mut String, field: Field<'_>) {
    plain(out, field, "nan");
}

/// `time,a,b` in one line, after a line of names if `header`.
pub fn csv(out: &mut String, header: bool, time: Time<'_>, fields: &[Field<'_>]) {
    let mut parts: Vec<String> = Vec::with_capacity(fields.len() + 1);
    if header {
        if time.form != TimeForm::None {
            parts.push(csv_cell(time.key));
        }
        parts.extend(fields.iter().map(|field| csv_cell(field.name)));
        out.push_str(&parts.join(","));
        out.push('\n');
        parts.clear();
    }
    if time.form != TimeForm::None {
        parts.push(time_text(time));
    }
    parts.extend(fields.iter().map(|field| {
        let mut cell = String::new();
        plain(&mut cell, *field, "nan");
        csv_cell(&cell)
    }));
    out.push_str(&parts.join(","));
}

/// `time=…,a=1,b=2`.
pub fn key_value(out: &mut String, time: Time<'_>, fields: &[Field<'_>]) {
    let mut first = true;
    if time.form != TimeForm::None {
        out.push_str(time.key);
        out.push('=');
        out.push_str(&time_text(time));
        first = false;
    }
    for field in fields {
        if !std::mem::take(&mut first) {
            out.push(',');
        }
        out.push_str(field.name);
        out.push('=');
        plain(out, *field, "nan");
    }
}

/// `measurement,tag=x a=1,b="text" 1700000000000000000`. Tags are written in the given order; InfluxDB asks for them
/// sorted by name for speed, not for meaning. No time is written for [`TimeForm::None`] and the text forms.
pub fn line_protocol(
    out: &mut String,
    measurement: &str,
    tags: &[(&str, &str)],
    time: Time<'_>,
    fields: &[Field<'_>],
) {
    escaped(out, measurement, &[',', ' ']);
    for (name, value) in tags {
        out.push(',');
        escaped(out, name, &[',', '=', ' ']);
        out.push('=');
        escaped(out, value, &[',', '=', ' ']);
    }
    for (index, field) in fields.iter().enumerate() {
        out.push(if index == 0 { ' ' } else { ',' });
        escaped(out, field.name, &[',', '=', ' ']);
        out.push('=');
        match field.value {
            Value::Text(text) => {
                out.push('"');
                escaped(out, text, &['"', '\\']);
                out.push('"');
            }
            Value::Int(int) => write_out(out, format_args!("{int}i")),
            Value::Bool(_) | Value::Float(_) => plain(out, *field, "NaN"),
        }
    }
    if matches!(
        time.form,
        TimeForm::EpochMs | TimeForm::EpochUs | TimeForm::EpochNs
    ) {
        out.push(' ');
        out.push_str(&time_text(time));
    }
}

/// Whether nothing was written, and so a following field needs no comma.
fn json_time(out: &mut String, time: Time<'_>) -> bool {
    match time.form {
        TimeForm::None => return true,
        TimeForm::Rfc3339 => {
            json_text(out, time.key);
            out.push(':');
            json_text(out, &time_text(time));
        }
        _ => {
            json_text(out, time.key);
            out.push(':');
            out.push_str(&time_text(time));
        }
    }
    false
}

fn json_fields(out: &mut String, first: &mut bool, fields: &[Field<'_>]) {
    for field in fields {
        if !std::mem::take(first) {
            out.push(',');
        }
        json_text(out, field.name);
        out.push(':');
        match field.value {
            Value::Text(text) => json_text(out, text),
            _ => plain(out, *field, "NaN"),
        }
    }
}

fn json_text(out: &mut String, text: &str) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if c < ' ' => write_out(out, format_args!("\\u{:04x}", u32::from(c))),
            c => out.push(c),
        }
    }
    out.push('"');
}

fn csv_cell(text: &str) -> String {
    if text.contains([',', '"', '\n', '\r']) {
        format!("\"{}\"", text.replace('"', "\"\""))
    } else {
        text.to_owned()
    }
}

fn escaped(out: &mut String, text: &str, special: &[char]) {
    for c in text.chars() {
        if special.contains(&c) {
            out.push('\\');
        }
        out.push(c);
    }
}

fn plain(out: &mut String, field: Field<'_>, not_a_number: &str) {
    match field.value {
        Value::Bool(b) => out.push_str(if *b { "true" } else { "false" }),
        Value::Int(int) => write_out(out, format_args!("{int}")),
        Value::Float(float) if !float.is_finite() => out.push_str(not_a_number),
        Value::Float(float) => {
            write_out(out, format_args!("{float:.*}", usize::from(field.decimals)));
        }
        Value::Text(text) => out.push_str(text),
    }
}

fn time_text(time: Time<'_>) -> String {
    let ns = time.ns;
    match time.form {
        TimeForm::None => String::new(),
        TimeForm::Rfc3339 => jiff::Timestamp::from_nanosecond(i128::from(ns))
            .map_or_else(|_| String::from("invalid"), |time| time.to_string()),
        TimeForm::EpochS => {
            let millis = ns.div_euclid(1_000_000);
            let sign = if millis < 0 { "-" } else { "" };
            let millis = millis.unsigned_abs();
            format!("{sign}{}.{:03}", millis / 1_000, millis % 1_000)
        }
        TimeForm::EpochMs => ns.div_euclid(1_000_000).to_string(),
        TimeForm::EpochUs => ns.div_euclid(1_000).to_string(),
        TimeForm::EpochNs => ns.to_string(),
    }
}

fn write_out(out: &mut String, what: std::fmt::Arguments<'_>) {
    // Writing to a String can't fail.
    let _ = out.write_fmt(what);
}

#[cfg(test)]
mod tests;
