//! Each encoder against a small parser that was written from the specification alone.

use std::collections::BTreeMap;

use proptest::prelude::*;
use serde_json::Value as Json;

use super::*;

const NO_TIME: Time<'static> = Time {
    key: "time",
    ns: 0,
    form: TimeForm::None,
};

fn at(form: TimeForm) -> Time<'static> {
    Time {
        key: "time",
        ns: 1_767_225_600_123_456_789,
        form,
    }
}

fn field<'a>(name: &'a str, value: &'a Value) -> Field<'a> {
    Field {
        name,
        value,
        decimals: 2,
    }
}

fn written(encode: impl FnOnce(&mut String)) -> String {
    let mut out = String::new();
    encode(&mut out);
    out
}

#[test]
fn each_format_writes_what_its_page_says() {
    let temperature = Value::Float(21.5);
    let count = Value::Int(7);
    let open = Value::Bool(true);
    let text = Value::Text(String::from("say \"hi\", a=b\\"));
    let fields = [
        field("temperature", &temperature),
        field("count", &count),
        field("open", &open),
        field("note", &text),
    ];
    assert_eq!(
        written(|out| json(out, at(TimeForm::EpochMs), &fields)),
        r#"{"time":1767225600123,"temperature":21.50,"count":7,"open":true,"note":"say \"hi\", a=b\\"}"#
    );
    assert_eq!(
        written(|out| readings_json(out, "d", at(TimeForm::Rfc3339), &fields[..1])),
        r#"{"device":"d","time":"2026-01-01T00:00:00.123456789Z","values":{"temperature":21.50}}"#
    );
    assert_eq!(
        written(|out| readings_json(out, "d", NO_TIME, &fields[..1])),
        r#"{"device":"d","values":{"temperature":21.50}}"#
    );
    assert_eq!(written(|out| number(out, fields[0])), "21.50");
    assert_eq!(
        written(|out| csv(out, true, at(TimeForm::EpochS), &fields)),
        "time,temperature,count,open,note\n1767225600.123,21.50,7,true,\"say \"\"hi\"\", a=b\\\""
    );
    assert_eq!(
        written(|out| key_value(out, at(TimeForm::EpochUs), &fields[..3])),
        "time=1767225600123456,temperature=21.50,count=7,open=true"
    );
    assert_eq!(
        written(|out| line_protocol(
            out,
            "a b",
            &[("device", "x,y=z")],
            at(TimeForm::EpochNs),
            &fields
        )),
        r#"a\ b,device=x\,y\=z temperature=21.50,count=7i,open=true,note="say \"hi\", a=b\\" 1767225600123456789"#
    );
}

#[test]
fn nan_is_written_as_broken_devices_write_it() {
    let nan = Value::Float(f64::NAN);
    let fields = [field("t", &nan)];
    assert_eq!(written(|out| json(out, NO_TIME, &fields)), r#"{"t":NaN}"#);
    assert_eq!(written(|out| number(out, fields[0])), "nan");
    assert_eq!(written(|out| key_value(out, NO_TIME, &fields)), "t=nan");
}

#[test]
fn times_before_1970_keep_their_sign() {
    let time = |ns, form| time_text(Time { key: "t", ns, form });
    assert_eq!(time(-1_500_000_000, TimeForm::EpochS), "-1.500");
    assert_eq!(time(-1_000_000, TimeForm::EpochMs), "-1");
    assert_eq!(
        time(-1_500_000_000, TimeForm::Rfc3339),
        "1969-12-31T23:59:58.5Z"
    );
}

/// A cell at a time: quotes, doubled quotes, commas (RFC 4180, section 2).
fn read_csv(line: &str) -> Vec<String> {
    let mut cells = vec![String::new()];
    let mut quoted = false;
    let mut rest = line.chars().peekable();
    while let Some(c) = rest.next() {
        match c {
            '"' if quoted && rest.peek() == Some(&'"') => {
                rest.next();
                cells.last_mut().unwrap().push('"');
            }
            '"' => quoted = !quoted,
            ',' if !quoted => cells.push(String::new()),
            c => cells.last_mut().unwrap().push(c),
        }
    }
    assert!(!quoted);
    cells
}

/// Cuts at the first `end` that is neither escaped nor within quotes; escapes stay in.
fn until<'a>(text: &'a str, ends: &[char]) -> (&'a str, &'a str) {
    let mut escaped = false;
    let mut quoted = false;
    for (index, c) in text.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => quoted = !quoted,
            c if !quoted && ends.contains(&c) => return text.split_at(index),
            _ => {}
        }
    }
    (text, "")
}

fn unescaped(text: &str, special: &[char]) -> String {
    let mut out = String::new();
    let mut rest = text.chars().peekable();
    while let Some(c) = rest.next() {
        match rest.peek() {
            Some(next) if c == '\\' && special.contains(next) => {}
            _ => {
                out.push(c);
                if c == '\\' {
                    continue;
                }
                continue;
            }
        }
        out.push(rest.next().unwrap());
    }
    out
}

struct Line {
    measurement: String,
    tags: BTreeMap<String, String>,
    fields: BTreeMap<String, String>,
    time: String,
}

/// InfluxDB's line protocol reference, "Special characters".
fn read_line(line: &str) -> Line {
    let key = |text: &str| unescaped(text, &[',', '=', ' ']);
    let (measurement, mut rest) = until(line, &[',', ' ']);
    let mut tags = BTreeMap::new();
    while let Some(tag) = rest.strip_prefix(',') {
        let (name, value) = until(tag, &['=']);
        let (value, after) = until(&value[1..], &[',', ' ']);
        tags.insert(key(name), key(value));
        rest = after;
    }
    let mut fields = BTreeMap::new();
    rest = &rest[1..];
    loop {
        let (name, value) = until(rest, &['=']);
        let (value, after) = until(&value[1..], &[',', ' ']);
        let value = match value.strip_prefix('"') {
            Some(text) => format!(
                "\"{}",
                unescaped(text.strip_suffix('"').unwrap(), &['"', '\\'])
            ),
            None => value.to_owned(),
        };
        fields.insert(key(name), value);
        match after.strip_prefix(',') {
            Some(more) => rest = more,
            None => {
                rest = after;
                break;
            }
        }
    }
    Line {
        measurement: unescaped(measurement, &[',', ' ']),
        tags,
        fields,
        time: rest.trim_start().to_owned(),
    }
}

/// Names as scenarios allow them, but for quotes: they are nothing special in a name, which the small parser does not know.
fn name() -> impl Strategy<Value = String> {
    "[a-zA-Zäß,= _.:-][a-zA-Zäß,= _.:0-9-]{0,12}"
}

proptest! {
    #[test]
    fn json_comes_out_as_it_went_in(name in name(), text in "\\PC{0,30}", int: i64, float in -1e12..1e12_f64) {
        prop_assume!(!["int", "float"].contains(&name.as_str()));
        let values = [Value::Text(text.clone()), Value::Int(int), Value::Float(float)];
        let fields = [field(&name, &values[0]), field("int", &values[1]), field("float", &values[2])];
        let json: Json = serde_json::from_str(&written(|out| json(out, NO_TIME, &fields))).unwrap();
        prop_assert_eq!(json[&name].as_str(), Some(text.as_str()));
        prop_assert_eq!(json["int"].as_i64(), Some(int));
        prop_assert!((json["float"].as_f64().unwrap() - float).abs() <= 0.006);
    }

    #[test]
    fn csv_comes_out_as_it_went_in(first in "[^\r\n]{0,30}", second in "[^\r\n]{0,30}") {
        let values = [Value::Text(first.clone()), Value::Text(second.clone())];
        let line = written(|out| csv(out, false, NO_TIME, &[field("a", &values[0]), field("b", &values[1])]));
        prop_assert_eq!(read_csv(&line), vec![first, second]);
    }

    #[test]
    fn line_protocol_comes_out_as_it_went_in(
        measurement in name(), tag in name(), tag_value in name(), first in name(), text in "[^\r\n]{0,30}", int: i64,
    ) {
        prop_assume!(first != "int");
        let values = [Value::Text(text.clone()), Value::Int(int)];
        let line = written(|out| line_protocol(
            out,
            &measurement,
            &[(&tag, &tag_value)],
            at(TimeForm::EpochNs),
            &[field(&first, &values[0]), field("int", &values[1])],
        ));
        let read = read_line(&line);
        prop_assert_eq!(read.measurement, measurement);
        prop_assert_eq!(read.tags, BTreeMap::from([(tag, tag_value)]));
        prop_assert_eq!(&read.fields[&first], &format!("\"{text}"));
        prop_assert_eq!(&read.fields["int"], &format!("{int}i"));
        prop_assert_eq!(read.time, "1767225600123456789");
    }
}

/// The vectors of InfluxData's own encoder.
#[test]
fn line_protocol_is_encoded_as_influxdata_does() {
    let path = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../shared/data/influx/line_protocol_encode.jsonl"
    );
    let Ok(vectors) = std::fs::read_to_string(path) else {
        println!("skipped: {path} is not there");
        return;
    };
    let mut checked = 0;
    for vector in vectors
        .lines()
        .map(|line| serde_json::from_str::<Json>(line).unwrap())
    {
        let (Some(expected), true) = (
            vector["line_text"].as_str(),
            vector["precision"] == "1ns" && vector["error_upstream"].is_null(),
        ) else {
            continue;
        };
        let point = &vector["point"];
        let values: Option<Vec<(String, Value)>> = point["fields"]
            .as_array()
            .unwrap()
            .iter()
            .map(|field| {
                let value = &field["value"];
                let value = if let Some(text) = value["string"].as_str() {
                    Value::Text(text.to_owned())
                } else if let Some(int) = value["int"].as_i64() {
                    Value::Int(int)
                } else if let Some(b) = value["bool"].as_bool() {
                    Value::Bool(b)
                } else {
                    // Floats are sent with fixed decimals here, unsigned integers not at all.
                    let float = value["float"]
                        .as_f64()
                        .filter(|f| f.fract() == 0.0 && f.abs() < 1e6)?;
                    Value::Float(float)
                };
                Some((field["key"].as_str()?.to_owned(), value))
            })
            .collect();
        let (Some(values), Some(ns)) = (values, point["time"].as_i64()) else {
            continue;
        };
        let fields: Vec<Field<'_>> = values
            .iter()
            .map(|(name, value)| Field {
                name,
                value,
                decimals: 0,
            })
            .collect();
        let tags: Vec<(&str, &str)> = point["tags"]
            .as_array()
            .unwrap()
            .iter()
            .map(|tag| (tag["key"].as_str().unwrap(), tag["value"].as_str().unwrap()))
            .collect();
        let time = Time {
            key: "",
            ns,
            form: TimeForm::EpochNs,
        };
        let line = written(|out| {
            line_protocol(out, point["name"].as_str().unwrap(), &tags, time, &fields);
        });
        assert_eq!(line, expected, "{}", vector["key"]);
        checked += 1;
    }
    println!("{checked} vectors checked");
    assert!(checked >= 20, "only {checked} vectors fit");
}
