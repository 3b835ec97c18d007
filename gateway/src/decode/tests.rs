//! What each format makes of its payloads, and the line-protocol vectors.

use std::fs;

use proptest::prelude::*;
use serde_json::Value as Json;

use super::{
    mapping::{Csv, FieldRule, KeyValue, TimeFormat},
    *,
};
use crate::model::Metric;

/// Records as `path=value` texts, and the reasons of the faults.
fn read(format: &Format, payload: &[u8]) -> (Vec<Vec<String>>, Vec<Reason>) {
    let mut out = Decoded::default();
    decode(format, payload, None, &mut out);
    (
        out.records()
            .iter()
            .map(|record| out.fields(record).iter().map(|f| show(&out, f)).collect())
            .collect(),
        out.faults().iter().map(|f| f.reason).collect(),
    )
}

fn show(out: &Decoded, field: &Field) -> String {
    let path = out.text(field.path);
    match field.value {
        Scalar::Bool(b) => format!("{path}={b}"),
        Scalar::Int(i) => format!("{path}={i}"),
        Scalar::Float(f) => format!("{path}={f:?}"),
        Scalar::Text(t) => format!("{path}={:?}", out.text(t)),
    }
}

#[track_caller]
fn gives(format: &Format, payload: &str, records: &[&[&str]], faults: &[Reason]) {
    let (found, reasons) = read(format, payload.as_bytes());
    assert_eq!(found, records, "{payload}");
    assert_eq!(reasons, faults, "{payload}");
}

#[test]
fn json_of_any_shape_becomes_paths() {
    gives(
        &Format::Json,
        r#"{"a":1,"b":{"c":[2.5,{"d":true}],"e":null},"f":"x\"y"}"#,
        &[&["a=1", "b.c.0=2.5", "b.c.1.d=true", "f=\"x\\\"y\""]],
        &[],
    );
    gives(&Format::Json, " 21.5 ", &[&["value=21.5"]], &[]);
    gives(&Format::Json, "\u{feff}true", &[&["value=true"]], &[]);
    gives(&Format::Json, "null", &[], &[]);
    gives(
        &Format::Json,
        r#"[{"a":1},2,[3,4],"s",null,{"b":5}]"#,
        &[
            &["a=1"],
            &["1=2"],
            &["2.0=3", "2.1=4"],
            &["3=\"s\""],
            &["b=5"],
        ],
        &[],
    );
    gives(
        &Format::Json,
        r#"{"a":1,"a":2,"big":18446744073709551615,"neg":-9223372036854775808}"#,
        &[&[
            "a=1",
            "a=2",
            "big=1.8446744073709552e19",
            "neg=-9223372036854775808",
        ]],
        &[],
    );
}

#[test]
fn what_is_not_json_is_refused_and_elements_are_refused_alone() {
    let malformed = [Reason::Malformed];
    for payload in [
        "",
        "{",
        "nan",
        r#"{"a":1,"b":nan}"#,
        r#"{"a":1}x"#,
        r#""Time":"x"}"#,
        "{'a':1}",
        "01",
    ] {
        gives(&Format::Json, payload, &[], &malformed);
    }
    gives(&Format::Json, r#"{"a":1e400}"#, &[], &[Reason::NotFinite]);
    gives(
        &Format::Json,
        r#"[{"a":"],"},{"a":nan},{"b":1e999},5] "#,
        &[&["a=\"],\""], &["3=5"]],
        &[Reason::Malformed, Reason::NotFinite],
    );
    gives(&Format::Json, "[1,21", &[&["0=1"]], &malformed);
    gives(&Format::Json, r#"[{"a":1}] x"#, &[&["a=1"]], &malformed);
    assert_eq!(
        read(&Format::Json, b"{\"a\":\"\xff\"}").1,
        [Reason::NotUtf8]
    );
}

#[test]
fn deep_and_long_json_is_bounded() {
    let deep = format!("{}1{}", "[".repeat(40), "]".repeat(40));
    assert_eq!(read(&Format::Json, deep.as_bytes()).1, [Reason::Malformed]);
    let very_deep = "[{\"a\":".repeat(100_000);
    assert_eq!(
        read(&Format::Json, very_deep.as_bytes()).1,
        [Reason::Malformed]
    );
    let long = format!(r#"{{"{}":1,"b":2}}"#, "k".repeat(300));
    gives(&Format::Json, &long, &[&["b=2"]], &[Reason::TooLong]);
    let wide = format!("[{}1]", "1,".repeat(MAX_ITEMS + 10));
    let (records, reasons) = read(&Format::Json, wide.as_bytes());
    assert_eq!(
        (records.len(), reasons),
        (MAX_ITEMS, vec![Reason::TooLarge])
    );
}

#[test]
fn a_huge_message_does_not_keep_its_room() {
    let mut out = Decoded::default();
    decode(
        &Format::Json,
        format!("[{}1]", "1,".repeat(MAX_ITEMS)).as_bytes(),
        None,
        &mut out,
    );
    decode(&Format::Json, b"1", None, &mut out);
    assert!(out.fields.capacity() <= KEPT_ITEMS && out.text.capacity() <= KEPT_TEXT);
    assert_eq!(out.records().len(), 1);
}

#[test]
fn faults_beyond_the_first_are_only_counted() {
    let mut out = Decoded::default();
    decode(
        &Format::LineProtocol {
            precision: TimeFormat::EpochNanos,
        },
        "x\n".repeat(1_000).as_bytes(),
        None,
        &mut out,
    );
    assert_eq!(out.faults().len(), 1_000);
    assert!(!out.faults()[0].detail.is_empty() && out.faults()[999].detail.is_empty());
    assert_eq!(out.faults()[999].record, 999);
}

#[test]
fn a_number_is_a_number_or_on_or_off() {
    for (payload, field) in [
        ("42.39", "value=42.39"),
        (" -7\r\n", "value=-7"),
        ("ON", "value=true"),
        ("off", "value=false"),
        ("True", "value=true"),
        ("1e3", "value=1000.0"),
        ("nan", "value=NaN"),
        ("5\0", "value=5"),
    ] {
        gives(&Format::Number, payload, &[&[field]], &[]);
    }
    for payload in ["", "12 V", "0x10", "someTopic", "1_000"] {
        gives(&Format::Number, payload, &[], &[Reason::Malformed]);
    }
    assert_eq!(read(&Format::Number, &[0xff]).1, [Reason::NotUtf8]);
}

fn columns(names: &[&str]) -> Format {
    Format::Csv(Csv {
        columns: names.iter().map(|n| (*n).into()).collect(),
        delimiter: b',',
    })
}

#[test]
fn csv_lines_are_records_and_a_bad_one_is_alone() {
    gives(
        &columns(&["t", "", "s"]),
        "t,,s\r\n21.5,skipped,open\r\n1,2\r\n,x,on\r\n\r\n3,,\"a,b\"",
        &[
            &["t=21.5", "s=\"open\""],
            &["s=true"],
            &["t=3", "s=\"a,b\""],
        ],
        &[Reason::Malformed],
    );
    gives(
        &columns(&[]),
        "a,b\n1,2\n3,4\n",
        &[&["a=1", "b=2"], &["a=3", "b=4"]],
        &[],
    );
    let (records, faults) = read(&columns(&["a"]), b"1\n\xff\n3");
    assert_eq!((records.len(), faults), (2, vec![Reason::NotUtf8]));
}

#[test]
fn key_value_pairs_are_read_one_by_one() {
    let pairs = Format::KeyValue(KeyValue::default());
    gives(
        &pairs,
        "T=21.5, H=40;door=open\nx= 3",
        &[&["T=21.5", "H=40", "door=\"open\"", "x=3"]],
        &[],
    );
    gives(
        &pairs,
        "T=21.5 junk =4 y= z=1",
        &[&["T=21.5", "z=1"]],
        &[Reason::Malformed; 3],
    );
    let colon = Format::KeyValue(KeyValue {
        separators: vec![b'|'],
        assign: b':',
    });
    gives(&colon, "T: 21.5|H:40", &[&["T=21.5", "H=40"]], &[]);
}

#[test]
fn pushed_readings_in_both_forms() {
    gives(
        &Format::Readings,
        r#"[{"device":"d","metric":"t","value":1},{"device":"d","values":{"a":1,"b":"x"},"note":{"c":2}},
            {"device":"d"},{"device":1,"values":{"a":1}},{"device":"d","value":1},{"device":"d","metric":"m"},
            {"device":"d","metric":"t","value":1,"time":"noon"},3]"#,
        &[&["t=1"], &["a=1", "b=\"x\""]],
        &[
            Reason::Malformed,
            Reason::NoIdentity,
            Reason::NoIdentity,
            Reason::Malformed,
            Reason::BadTime,
            Reason::NoIdentity,
        ],
    );
}

#[test]
fn topics_match_by_level_and_give_filters() {
    use topic::{Captures, PatternError, TopicPattern, filter_of};
    for (pattern, filter, topic, captures) in [
        ("", "#", "any/thing", Some(vec![])),
        (
            "tele/{device}/SENSOR",
            "tele/+/SENSOR",
            "tele/x/SENSOR",
            Some(vec!["x"]),
        ),
        (
            "tele/{device}/SENSOR",
            "tele/+/SENSOR",
            "tele/x/y/SENSOR",
            None,
        ),
        (
            "tele/{d...}/SENSOR",
            "tele/#",
            "tele/x/y/SENSOR",
            Some(vec!["x/y"]),
        ),
        ("tele/{d...}/SENSOR", "tele/#", "tele/SENSOR", None),
        ("a/{rest...}", "a/#", "a", Some(vec![""])),
        ("a/{rest...}", "a/#", "a/b/c", Some(vec!["b/c"])),
        ("a/#", "a/#", "b", None),
        ("+/{m}", "+/+", "x/y", Some(vec!["y"])),
        ("/{u}/{m}", "/+/+", "/box/t", Some(vec!["box", "t"])),
        ("{d}", "+", "a/b", None),
        ("{all...}", "#", "$SYS/x", None),
        ("$SYS/{x}", "$SYS/+", "$SYS/load", Some(vec!["load"])),
    ] {
        assert_eq!(filter_of(pattern).unwrap(), filter);
        let mut found = Captures::new();
        let matched = TopicPattern::parse(pattern)
            .unwrap()
            .matches(topic, &mut found);
        let texts = matched.then(|| found.into_iter().map(|r| &topic[r]).collect::<Vec<_>>());
        assert_eq!(texts, captures, "{pattern} on {topic}");
    }
    for (pattern, error) in [
        ("a/#/b", PatternError::HashNotLast),
        ("a{b}", PatternError::BadLevel("a{b}".into())),
        ("{a...}/{b...}", PatternError::TwoRests),
        ("{a}/{a}", PatternError::NamedTwice("a".into())),
        ("{source}", PatternError::Reserved("source".into())),
    ] {
        assert_eq!(filter_of(pattern), Err(error));
    }
}

#[test]
fn a_mapping_names_all_its_mistakes() {
    let mapping = Mapping {
        topic: "a/{x}/#/b".into(),
        device: "{nobody".into(),
        metric: "{1}".into(),
        fields: vec![
            FieldRule {
                path: "a.**.b".into(),
                ..FieldRule::default()
            },
            FieldRule {
                path: "a.*".into(),
                metric: Some(Metric("{2}".into())),
                ..FieldRule::default()
            },
        ],
        ignore: vec!["".into()],
        format: Format::KeyValue(KeyValue {
            separators: vec![b'='],
            assign: b'=',
        }),
        local_offset_minutes: Some(9_999),
        ..Mapping::default()
    };
    let keys: Vec<_> = mapping.check().into_iter().map(|(key, _)| key).collect();
    assert_eq!(
        keys,
        [
            "topic",
            "device",
            "metric",
            "fields",
            "fields",
            "ignore",
            "local_offset_minutes",
            "assign"
        ]
    );
    assert!(Mapping::default().check().is_empty());
}

fn vectors(name: &str) -> Option<Vec<Json>> {
    let path = format!(
        "{}/../../shared/data/influx/{name}",
        env!("CARGO_MANIFEST_DIR")
    );
    let text = fs::read_to_string(path).ok()?;
    Some(
        text.lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect(),
    )
}

fn line_bytes(vector: &Json) -> Vec<u8> {
    match vector["line_hex"].as_str() {
        Some(hex) => (0..hex.len())
            .step_by(2)
            .map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap())
            .collect(),
        None => vector["line_text"].as_str().unwrap().as_bytes().to_vec(),
    }
}

fn precision(vector: &Json) -> TimeFormat {
    match vector["precision"].as_str().unwrap() {
        "1ns" => TimeFormat::EpochNanos,
        "1µs" => TimeFormat::EpochMicros,
        "1ms" => TimeFormat::EpochMillis,
        "1s" => TimeFormat::EpochSeconds,
        other => panic!("precision {other}"),
    }
}

/// Equal but for the last bit, which the reader of the vectors does not keep.
fn near(a: f64, b: f64) -> bool {
    a == b || (a - b).abs() <= b.abs() * f64::EPSILON
}

/// Whether a record is the point of a vector.
fn is_point(out: &Decoded, record: &Record, point: &Json, default_time: i64) -> bool {
    let at = match record.time {
        RecordTime::At(at) => at.0,
        RecordTime::Unsaid => default_time,
    };
    let mut labels = Vec::new();
    let mut fields = Vec::new();
    for field in out.fields(record) {
        let path = out.text(field.path).to_string();
        match (field.role, field.value) {
            (Role::Label, Scalar::Text(text)) => labels.push((path, out.text(text).to_string())),
            (Role::Label, _) => return false,
            (Role::Value, value) => fields.push((path, value)),
        }
    }
    let mut wanted = vec![(
        "measurement".to_string(),
        point["name"].as_str().unwrap().to_string(),
    )];
    for tag in point["tags"].as_array().unwrap() {
        wanted.push((
            format!("tag.{}", tag["key"].as_str().unwrap()),
            tag["value"].as_str().unwrap().into(),
        ));
    }
    labels.sort();
    wanted.sort();
    let same_fields = point["fields"].as_array().unwrap();
    labels == wanted
        && Some(at) == point["time"].as_i64()
        && fields.len() == same_fields.len()
        && fields
            .iter()
            .zip(same_fields)
            .all(|((name, value), wanted)| {
                let said = &wanted["value"];
                let same = match *value {
                    Scalar::Bool(b) => said["bool"] == b,
                    Scalar::Int(i) => {
                        said["int"].as_i64() == Some(i) || said["uint"].as_i64() == Some(i)
                    }
                    Scalar::Float(f) => said["float"]
                        .as_f64()
                        .or(said["uint"].as_f64())
                        .is_some_and(|w| near(f, w)),
                    Scalar::Text(t) => said["string"] == out.text(t),
                };
                same && wanted["key"] == name.as_str()
            })
}

#[test]
fn all_valid_line_protocol_vectors_give_their_points() {
    let Some(vectors) = vectors("line_protocol_valid.jsonl") else {
        println!("skipped: no vectors beside the repository");
        return;
    };
    let mut out = Decoded::default();
    let wrong: Vec<_> = vectors
        .iter()
        .filter(|vector| {
            let format = Format::LineProtocol {
                precision: precision(vector),
            };
            decode(&format, &line_bytes(vector), None, &mut out);
            let points = vector["points"].as_array().unwrap();
            // What stands in for a missing time is cut to the precision there.
            let step = time::epoch(1, precision(vector)).unwrap().0;
            let default_time = vector["default_time_ns"].as_i64().unwrap() / step * step;
            !(out.faults().is_empty()
                && out.records().len() == points.len()
                && out
                    .records()
                    .iter()
                    .zip(points)
                    .all(|(r, p)| is_point(&out, r, p, default_time)))
        })
        .map(|vector| (vector["line_text"].clone(), vector["points"].clone()))
        .collect();
    println!(
        "valid: {} of {}",
        vectors.len() - wrong.len(),
        vectors.len()
    );
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn all_invalid_line_protocol_vectors_are_refused() {
    let Some(vectors) = vectors("line_protocol_invalid.jsonl") else {
        println!("skipped: no vectors beside the repository");
        return;
    };
    let mut out = Decoded::default();
    let wrong: Vec<_> = vectors
        .iter()
        .filter(|vector| {
            let format = Format::LineProtocol {
                precision: precision(vector),
            };
            decode(&format, &line_bytes(vector), None, &mut out);
            out.faults().is_empty()
        })
        .map(|vector| {
            (
                String::from_utf8_lossy(&line_bytes(vector)).into_owned(),
                vector["error_upstream"].clone(),
            )
        })
        .collect();
    println!(
        "invalid: {} of {}",
        vectors.len() - wrong.len(),
        vectors.len()
    );
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn lines_as_telegraf_and_influxdb_write_them_are_read_whole() {
    let format = Format::LineProtocol {
        precision: TimeFormat::EpochNanos,
    };
    for (name, records) in [
        ("air_and_water.lp", 12),
        ("telegraf_metrics_first300.lp", 300),
    ] {
        let path = format!(
            "{}/../../shared/data/influx/{name}",
            env!("CARGO_MANIFEST_DIR")
        );
        let Ok(lines) = fs::read(path) else {
            println!("skipped: no {name} beside the repository");
            continue;
        };
        let mut out = Decoded::default();
        decode(&format, &lines, None, &mut out);
        assert_eq!(out.faults(), [], "{name}");
        assert_eq!(out.records().len(), records, "{name}");
    }
}

#[test]
fn a_line_that_is_not_finite_says_so_and_a_string_that_is_not_closed_costs_one_line() {
    let lines = Format::LineProtocol {
        precision: TimeFormat::EpochSeconds,
    };
    gives(
        &lines,
        "m a=1e400\nm a=NaN\nm a=\"x\nm b=2 5\n# note\n\nm c=\"a\nb\" 5\nm d=4u 99999999999",
        &[
            &["measurement=\"m\"", "b=2.0"],
            &["measurement=\"m\"", "c=\"a\\nb\""],
        ],
        &[
            Reason::NotFinite,
            Reason::NotFinite,
            Reason::Malformed,
            Reason::BadTime,
        ],
    );
}

proptest! {
    #[test]
    fn csv_without_quotes_reads_as_the_full_reader_does(lines in prop::collection::vec("[a-c0-9,. ]{0,8}", 0..6)) {
        let payload = lines.join("\n");
        let format = columns(&["a", "b", "c"]);
        let plain = read(&format, payload.as_bytes());
        // One quoted cell at the end makes the same payload go through the reader.
        let (mut records, faults) = read(&format, format!("{payload}\n\"9\",9,9").as_bytes());
        prop_assert_eq!(records.pop(), Some(vec!["a=9".to_string(), "b=9".into(), "c=9".into()]));
        prop_assert_eq!(plain, (records, faults));
    }

    #[test]
    fn json_of_any_shape_keeps_each_number(values in prop::collection::vec(any::<i64>(), 1..20), depth in 0_usize..20) {
        let mut payload = serde_json::to_string(&values).unwrap();
        for _ in 0..depth {
            payload = format!(r#"{{"k":{payload}}}"#);
        }
        let (records, faults) = read(&Format::Json, payload.as_bytes());
        prop_assert!(faults.is_empty());
        let found: Vec<_> = records.into_iter().flatten().map(|f| f.split('=').next_back().unwrap().parse::<i64>().unwrap()).collect();
        prop_assert_eq!(found, values);
    }

    #[test]
    fn times_read_back_as_they_were_written(seconds in -9_000_000_000_i64..9_000_000_000, micros in 0_i64..1_000_000) {
        let at = crate::model::Timestamp(seconds * 1_000_000_000 + micros * 1_000);
        prop_assert_eq!(time::from_text(&at.to_rfc3339(), TimeFormat::Auto, None), Ok(Some(at)));
        if at.0 != 0 {
            prop_assert_eq!(time::from_int(at.0, TimeFormat::EpochNanos), Ok(Some(at)));
            prop_assert_eq!(time::from_int(at.0 / 1_000, TimeFormat::EpochMicros), Ok(Some(at)));
        }
    }
}
