use influxdb_line_protocol::{FieldValue, parse_lines};
use proptest::prelude::*;

use super::*;
use crate::{
    journal::Position,
    model::{Batch, SeriesKey},
};

fn reading(series: &str, value: Value, time: i64) -> Reading {
    let series = SeriesKey::parse(series).unwrap();
    let (time, received) = (Timestamp(time), Timestamp(time));
    Reading {
        series,
        value,
        unit: None,
        quality: Quality::Good,
        time,
        received,
        retained: false,
    }
}

fn encode(readings: Vec<Reading>, devices: &[DeviceConfig]) -> String {
    let batch = Batch {
        source: SourceName("plant".into()),
        peer: None,
        readings,
        ..Batch::default()
    };
    let mut lines = Lines::default();
    let mut encoder = Encoder::new(
        &super::super::tests::config("http://h"),
        devices,
        Some(String::from("cellar")),
    );
    encoder.encode(
        &Entry {
            position: Position(1),
            batches: vec![batch],
        },
        &mut lines,
    );
    assert_eq!(
        lines.body(&(0..lines.len()).collect::<Vec<_>>()),
        lines.text
    );
    String::from_utf8(lines.text).unwrap()
}

#[test]
fn one_line_per_device_and_time_with_a_field_per_metric() {
    let device = DeviceConfig {
        id: "boiler 1".into(),
        labels: BTreeMap::from([(String::from("room"), String::from("a=b"))]),
        ..DeviceConfig::default()
    };
    let mut uncertain = reading("boiler 1/p,h", Value::Int(7), 5);
    uncertain.quality = Quality::Uncertain;
    let text = encode(
        vec![
            reading("boiler 1/temperature", Value::Float(21.5), 5),
            uncertain,
            reading("boiler 1/state", Value::Text("say \"hi\" \\".into()), 6),
            reading("other/on", Value::Bool(true), 6),
        ],
        &[device],
    );
    assert_eq!(
        text,
        "sensor,device=boiler\\ 1,room=a\\=b,site=cellar temperature=21.5,p\\,h=7,p\\,h_quality=\"uncertain\" 5\n\
         sensor,device=boiler\\ 1,room=a\\=b,site=cellar state=\"say \\\"hi\\\" \\\\\" 6\n\
         sensor,device=other,site=cellar on=true 6\n"
    );
}

#[test]
fn retained_values_are_no_points_and_the_same_metric_twice_is_two_lines() {
    let mut retained = reading("a/t", Value::Int(1), 5);
    retained.retained = true;
    let text = encode(
        vec![
            retained,
            reading("a/t", Value::Int(2), 5),
            reading("a/t", Value::Int(3), 5),
        ],
        &[],
    );
    assert_eq!(
        text,
        "sensor,device=a,site=cellar t=2 5\nsensor,device=a,site=cellar t=3 5\n"
    );
}

#[test]
fn captured_points_are_escaped_as_their_vectors_say() {
    let path = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../shared/data/influx/line_protocol_encode.jsonl"
    );
    let Ok(vectors) = std::fs::read_to_string(path) else {
        println!("skipped: {path} is not there");
        return;
    };
    let mut decided = 0;
    for vector in vectors
        .lines()
        .map(|l| serde_json::from_str::<serde_json::Value>(l).unwrap())
    {
        let Some(expected) = vector["line_text"].as_str() else {
            continue;
        };
        let point = &vector["point"];
        let mut line = Vec::new();
        write_escaped(&mut line, point["name"].as_str().unwrap(), b", ");
        for tag in point["tags"].as_array().unwrap() {
            line.push(b',');
            write_escaped(&mut line, tag["key"].as_str().unwrap(), b",= ");
            line.push(b'=');
            write_escaped(&mut line, tag["value"].as_str().unwrap(), b",= ");
        }
        let fields = point["fields"].as_array().unwrap();
        // Unsigned and binary values do not exist here; integers are written as floats.
        if fields.iter().any(|f| {
            f["value"]["uint"].is_number()
                || f["value"]["string"].is_null() && f["value"]["string_hex"].is_string()
        }) {
            continue;
        }
        for (i, field) in fields.iter().enumerate() {
            line.push(if i == 0 { b' ' } else { b',' });
            write_escaped(&mut line, field["key"].as_str().unwrap(), b",= ");
            line.push(b'=');
            let value = &field["value"];
            if let Some(int) = value["int"].as_i64() {
                write_value(&mut line, &Value::Int(int));
                line.push(b'i');
            } else if let Some(float) = value["float"].as_f64() {
                write_value(&mut line, &Value::Float(float));
            } else if let Some(flag) = value["bool"].as_bool() {
                write_value(&mut line, &Value::Bool(flag));
            } else if let Some(text) = value["string"].as_str() {
                write_value(&mut line, &Value::Text(text.into()));
            }
        }
        write_time(&mut line, Timestamp(point["time"].as_i64().unwrap()));
        let line = String::from_utf8(line).unwrap();
        // Floats may be written in several ways: compare what a parser reads.
        let read = |text: &str| {
            parse_lines(text)
                .map(|l| format!("{l:?}"))
                .collect::<Vec<_>>()
        };
        assert_eq!(read(&line), read(expected), "{line}{expected}");
        decided += 1;
    }
    assert!(decided >= 60, "only {decided} vectors were usable");
}

proptest! {
    #[test]
    fn whatever_is_encoded_parses_back_to_one_point(device in "[^/\\\\\u{0}-\u{1f}]{1,20}", metric in "[^/\\\\\u{0}-\u{1f}]{1,20}", text in "[^\u{0}-\u{1f}]{0,20}", number in proptest::num::f64::NORMAL) {
        let series = SeriesKey { device: DeviceId(device.as_str().into()), metric: crate::model::Metric(metric.as_str().into()) };
        for value in [Value::Float(number), Value::Text(text.as_str().into())] {
            let mut one = reading("a/b", value.clone(), 42);
            one.series = series.clone();
            let line = encode(vec![one], &[]);
            let parsed: Vec<_> = parse_lines(&line).collect::<Result<_, _>>().map_err(|e| TestCaseError::fail(format!("{line}: {e}")))?;
            prop_assert_eq!(parsed.len(), 1, "{}", line);
            prop_assert_eq!(parsed[0].timestamp, Some(42));
            prop_assert!(parsed[0].series.tag_set.iter().flatten().any(|(k, v)| k.as_str() == "device" && v.as_str() == device), "{}", line);
            let (key, field) = &parsed[0].field_set[0];
            prop_assert_eq!(key.as_str(), metric.as_str());
            match (field, value) {
                (FieldValue::F64(f), Value::Float(n)) => prop_assert_eq!(*f, n),
                (FieldValue::String(s), Value::Text(t)) => prop_assert_eq!(s.as_str(), t.as_str()),
                other => prop_assert!(false, "{:?}", other),
            }
        }
    }
}
