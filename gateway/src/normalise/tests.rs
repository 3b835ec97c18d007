//! Behaviour of the stage as a whole, laws over any bytes, and the captures of real devices.

use bytes::Bytes;
use proptest::prelude::*;

use super::*;
use crate::{
    decode::mapping::{Csv, FieldRule, Format, KeyValue, TimeFormat},
    model::{Metric, Quality, Timestamp, Value},
};

mod captures;

/// 2026-11-20T12:00:00Z.
const NOW: Timestamp = Timestamp(1_795_176_000_000_000_000);

fn stage(config: Config, mappings: Vec<Mapping>) -> Normaliser {
    let wrong: Vec<_> = mappings.iter().flat_map(Mapping::check).collect();
    assert!(wrong.is_empty(), "{wrong:?}");
    assert!(config.check().is_empty(), "{:?}", config.check());
    Normaliser::new(
        config,
        vec![SourceMappings {
            name: SourceName("farm".into()),
            mappings,
        }],
    )
}

fn frame(topic: &str, payload: &str) -> Frame {
    Frame {
        topic: topic.into(),
        payload: Bytes::copy_from_slice(payload.as_bytes()),
        arrived: NOW,
        retained: false,
    }
}

#[test]
fn other_mappings_and_settings_hold_from_the_next_frame_and_repeats_are_still_known() {
    let timed = |topic: &str| Mapping {
        time_path: Some("time".into()),
        ..json(topic)
    };
    let mut stage = stage(Config::default(), vec![timed("s/{device}")]);
    let message = frame("s/d", r#"{"t": 20, "time": 1795175000}"#);
    let take = |stage: &mut Normaliser, message: &Frame| {
        let mut outcome = Outcome::default();
        stage.frame(0, message, Some(message.arrived), &mut outcome);
        (outcome.readings.len(), outcome.duplicates, outcome.rejects)
    };
    assert_eq!(take(&mut stage, &message), (1, 0, vec![]));
    stage.reconfigure(Config {
        metrics: vec![MetricConfig {
            metric: "t".into(),
            unit: None,
            min: None,
            max: Some(30.0),
        }],
        ..Config::default()
    });
    assert_eq!(take(&mut stage, &message), (0, 1, vec![]), "a repeat");
    let hot = frame("s/d", r#"{"t": 31, "time": 1795175001}"#);
    assert_eq!(take(&mut stage, &hot).2[0].reason, Reason::OutOfRange);

    let mappings = vec![timed("other/{device}")];
    let name = SourceName("farm".into());
    stage.set_source(0, SourceMappings { name, mappings });
    assert_eq!(take(&mut stage, &message).2[0].reason, Reason::NoMapping);
    let again = frame("other/d", r#"{"t": 20, "time": 1795175000}"#);
    assert_eq!(take(&mut stage, &again), (0, 1, vec![]), "still a repeat");
}

fn json(topic: &str) -> Mapping {
    Mapping {
        topic: topic.into(),
        ..Mapping::default()
    }
}

fn give(stage: &mut Normaliser, topic: &str, payload: &str) -> Outcome {
    let mut outcome = Outcome::default();
    let frame = frame(topic, payload);
    stage.frame(0, &frame, Some(frame.arrived), &mut outcome);
    outcome
}

fn ids(outcome: &Outcome) -> Vec<String> {
    outcome
        .readings
        .iter()
        .map(|r| r.series.to_string())
        .collect()
}

fn reasons(outcome: &Outcome) -> Vec<Reason> {
    outcome.rejects.iter().map(|r| r.reason).collect()
}

fn metric(name: &str, unit: Option<&str>) -> MetricConfig {
    MetricConfig {
        metric: name.into(),
        unit: unit.map(|u| Unit(u.into())),
        min: None,
        max: None,
    }
}

#[test]
fn the_first_mapping_whose_topic_matches_is_used() {
    let mut stage = stage(
        Config::default(),
        vec![
            Mapping {
                skip: true,
                ..json("plant/+/status")
            },
            json("plant/{device}/+"),
        ],
    );
    assert_eq!(
        ids(&give(&mut stage, "plant/p1/data", r#"{"t":1}"#)),
        ["p1/t"]
    );
    let skipped = give(&mut stage, "plant/p1/status", r#"{"t":1}"#);
    assert!(skipped.readings.is_empty() && skipped.rejects.is_empty());
    assert_eq!(
        reasons(&give(&mut stage, "other", "{}")),
        [Reason::NoMapping]
    );
}

#[test]
fn device_and_metric_come_from_topic_payload_and_source() {
    let mut stage = stage(
        Config::default(),
        vec![
            Mapping {
                device: "{site}.{field:node.id|field:host|source}".into(),
                metric: "{kind}_{path}".into(),
                fields: vec![FieldRule {
                    path: "ports.*.v".into(),
                    metric: Some(Metric("port{1}/{kind}".into())),
                    ..FieldRule::default()
                }],
                flatten: true,
                ignore: vec!["node.**".into()],
                ..json("a/{site}/{kind}/{rest...}")
            },
            json(""),
        ],
    );
    let found = give(
        &mut stage,
        "a/north/air/x/y",
        r#"{"node":{"id":7},"ports":[{"v":1},{"v":true}],"h":0.5}"#,
    );
    assert_eq!(
        ids(&found),
        ["north.7/port0.air", "north.7/port1.air", "north.7/air_h"]
    );
    assert_eq!(
        ids(&give(&mut stage, "a/north/air", r#"{"h":1}"#)),
        ["north.farm/air_h"]
    );
    assert_eq!(ids(&give(&mut stage, "", r#"{"h":1}"#)), ["farm/h"]);
}

#[test]
fn slashes_become_dots_and_what_is_no_name_is_refused() {
    let mut stage = stage(
        Config::default(),
        vec![Mapping {
            device: "{field:id}".into(),
            ..json("")
        }],
    );
    assert_eq!(
        ids(&give(&mut stage, "", r#"{"id":"a/b","x/y":1}"#)),
        ["a.b/x.y"]
    );
    for payload in [
        r#"{"x":1}"#,
        r#"{"id":"","x":1}"#,
        r#"{"id":"a\u0007","x":1}"#,
        r#"{"id":"a","x\n":1}"#,
        r#"{"id":"a","":1}"#,
        &format!(r#"{{"id":"{}","x":1}}"#, "a".repeat(129)),
        &format!(r#"{{"id":"a","{}":1}}"#, "x".repeat(129)),
    ] {
        let found = give(&mut stage, "", payload);
        assert_eq!(reasons(&found), [Reason::NoIdentity], "{payload}");
        assert!(found.readings.is_empty());
    }
}

#[test]
fn values_are_converted_to_the_canonical_unit() {
    let mut stage = stage(
        Config {
            metrics: vec![metric("*temperature", Some("°C")), metric("p", Some("hPa"))],
            ..Config::default()
        },
        vec![Mapping {
            fields: vec![
                FieldRule {
                    path: "temperature".into(),
                    unit: Some(Unit("F".into())),
                    ..FieldRule::default()
                },
                FieldRule {
                    path: "p".into(),
                    unit_path: Some("p_unit".into()),
                    ..FieldRule::default()
                },
            ],
            ..json("{device}")
        }],
    );
    let found = give(
        &mut stage,
        "d",
        r#"{"temperature":68,"p":750.0,"p_unit":"mmHg","air_temperature":20}"#,
    );
    let read: Vec<_> = found
        .readings
        .iter()
        .map(|r| {
            (
                r.series.metric.0.as_str(),
                r.value.as_f64().unwrap(),
                r.unit.as_ref().unwrap().0.as_str(),
            )
        })
        .collect();
    assert_eq!(read.len(), 3, "{found:?}");
    assert!((read[0].1 - 20.0).abs() < 1e-9 && read[0].2 == "Cel");
    assert!((read[1].1 - 999.917_9).abs() < 1e-3 && read[1].2 == "hPa");
    assert_eq!(read[2], ("air_temperature", 20.0, "Cel"));
    assert_eq!(
        found.readings[2].value,
        Value::Int(20),
        "an integer stays exact"
    );
    let wrong = give(&mut stage, "d", r#"{"p":1,"p_unit":"V"}"#);
    assert_eq!(reasons(&wrong), [Reason::UnitMismatch]);
    let bad = give(&mut stage, "d", r#"{"temperature":"warm"}"#);
    assert_eq!(reasons(&bad), [Reason::WrongType]);
    assert_eq!(
        give(&mut stage, "d", r#"{"temperature":"68"}"#)
            .readings
            .len(),
        1
    );
}

#[test]
fn calibration_comes_before_the_unit_and_the_range_after_it() {
    let mut stage = stage(
        Config {
            metrics: vec![MetricConfig {
                min: Some(0.0),
                max: Some(5.0),
                ..metric("u", Some("V"))
            }],
            calibrations: vec![Calibration {
                series: "d/u".into(),
                gain: 1.0,
                offset: 100.0,
                table: vec![(0.0, 0.0), (4000.0, 4200.0)],
            }],
            ..Config::default()
        },
        vec![Mapping {
            fields: vec![FieldRule {
                path: "u".into(),
                unit: Some(Unit("mV".into())),
                ..FieldRule::default()
            }],
            ..json("{device}")
        }],
    );
    let found = give(&mut stage, "d", r#"{"u":2000}"#);
    assert_eq!(found.readings[0].value, Value::Float(2.2));
    assert_eq!(found.readings[0].quality, Quality::Good);
    assert_eq!(
        give(&mut stage, "d", r#"{"u":4100}"#).readings[0].quality,
        Quality::Uncertain
    );
    assert_eq!(
        reasons(&give(&mut stage, "d", r#"{"u":4800}"#)),
        [Reason::OutOfRange]
    );
    assert_eq!(
        reasons(&give(&mut stage, "d", r#"{"u":-101}"#)),
        [Reason::OutOfRange]
    );
}

#[test]
fn what_is_not_finite_is_refused_and_its_neighbours_are_not() {
    let mut stage = stage(
        Config::default(),
        vec![
            Mapping {
                format: Format::Csv(Csv {
                    columns: vec!["a".into(), "b".into()],
                    ..Csv::default()
                }),
                ..json("csv")
            },
            Mapping {
                format: Format::Number,
                ..json("number")
            },
            json("json"),
        ],
    );
    let found = give(&mut stage, "csv", "nan,1\n2,-inf\n");
    assert_eq!(reasons(&found), [Reason::NotFinite; 2]);
    assert_eq!(found.rejects[1].record, 1);
    assert_eq!(ids(&found), ["farm/b", "farm/a"]);
    assert_eq!(
        reasons(&give(&mut stage, "number", "NaN")),
        [Reason::NotFinite]
    );
    assert_eq!(
        reasons(&give(&mut stage, "json", r#"{"a":1e999,"b":1}"#)),
        [Reason::NotFinite]
    );
    let found = give(
        &mut stage,
        "json",
        r#"[{"a":1},{"a":-1e400},{"a":nan},{"a":3}]"#,
    );
    assert_eq!(reasons(&found), [Reason::NotFinite, Reason::Malformed]);
    assert_eq!(found.readings.len(), 2);
}

#[test]
fn the_time_is_the_payloads_or_the_arrival() {
    let timed = |topic: &str, time_format, local| Mapping {
        time_path: Some("at".into()),
        time_format,
        local_offset_minutes: local,
        ..json(topic)
    };
    let mut stage = stage(
        Config {
            drop_repeats: false,
            ..Config::default()
        },
        vec![
            timed("auto", TimeFormat::Auto, None),
            timed("strict", TimeFormat::Rfc3339, None),
            timed("local", TimeFormat::Auto, Some(120)),
        ],
    );
    let at = |outcome: &Outcome| outcome.readings.first().map(|r| r.time.to_rfc3339());
    let wanted = Some("2024-11-23T14:14:06Z".to_string());
    for written in [
        "1732371246",
        "1732371246000",
        "1732371246000000",
        "1732371246000000000",
        "1732371246.0",
        "\"2024-11-23T15:14:06+01:00\"",
        "\"2024-11-23 14:14:06Z\"",
        "\"1732371246\"",
    ] {
        let found = give(&mut stage, "auto", &format!(r#"{{"at":{written},"v":1}}"#));
        assert_eq!(at(&found), wanted, "{written}");
        assert_eq!(ids(&found), ["farm/v"], "the time itself is no reading");
    }
    for written in ["\"2024-11-23T14:14:06\"", "0", "null", "\"\""] {
        let found = give(&mut stage, "auto", &format!(r#"{{"at":{written},"v":1}}"#));
        assert_eq!(found.readings[0].time, NOW, "{written}");
    }
    let found = give(&mut stage, "local", r#"{"at":"2024-11-23T16:14:06","v":1}"#);
    assert_eq!(at(&found), wanted);
    for (topic, written) in [
        ("auto", "\"yesterday\""),
        ("auto", "true"),
        ("auto", "1e300"),
        ("auto", "\"9999-01-01T00:00:00Z\""),
        ("strict", "\"2024-11-23T14:14:06\""),
        ("strict", "1732371246"),
        ("auto", "1796000000"),
    ] {
        let found = give(&mut stage, topic, &format!(r#"{{"at":{written},"v":1}}"#));
        assert_eq!(reasons(&found), [Reason::BadTime], "{written}");
        assert!(found.readings.is_empty());
    }
}

#[test]
fn a_clock_that_was_never_set_knows_no_future() {
    let mapping = Mapping {
        time_path: Some("at".into()),
        ..json("")
    };
    let mut stage = stage(Config::default(), vec![mapping]);
    let mut boot = frame("", r#"[{"v":1},{"at":1732371246,"v":2}]"#);
    boot.arrived = Timestamp(1_000_000_000);
    let mut outcome = Outcome::default();
    stage.frame(0, &boot, None, &mut outcome);
    let times: Vec<_> = outcome
        .readings
        .iter()
        .map(|r| r.time.as_millis())
        .collect();
    assert_eq!(times, [1_000, 1_732_371_246_000], "{outcome:?}");
}

#[test]
fn a_clock_that_was_put_back_by_mistake_refuses_no_right_time() {
    let mapping = Mapping {
        time_path: Some("at".into()),
        ..json("")
    };
    let mut stage = stage(Config::default(), vec![mapping]);
    let right = Timestamp::from_millis(1_732_371_246_000);
    let mut frame = frame("", r#"{"at":1732371246,"v":2}"#);
    frame.arrived = Timestamp(right.0 - 14 * 86_400_000_000_000);
    for (latest, taken) in [(right, 1), (frame.arrived, 0)] {
        let mut outcome = Outcome::default();
        stage.frame(0, &frame, Some(latest), &mut outcome);
        assert_eq!(outcome.readings.len(), taken, "{outcome:?}");
    }
}

#[test]
fn a_time_beyond_belief_gives_way_to_the_arrival_where_the_config_says_so() {
    let config = Config {
        restamp_future: true,
        ..Config::default()
    };
    let mapping = Mapping {
        time_path: Some("at".into()),
        ..json("")
    };
    let mut stage = stage(config, vec![mapping]);
    let mut frame = frame("", r#"[{"at":1732371246,"v":2},{"at":1731000000,"v":2}]"#);
    frame.arrived = Timestamp::from_millis(1_731_000_000_000);
    let mut outcome = Outcome::default();
    stage.frame(0, &frame, Some(frame.arrived), &mut outcome);
    let found: Vec<_> = outcome
        .readings
        .iter()
        .map(|r| (r.time, r.quality))
        .collect();
    let arrived = frame.arrived;
    assert_eq!(
        found,
        [(arrived, Quality::Uncertain), (arrived, Quality::Good)]
    );
}

#[test]
fn a_repeat_is_known_by_the_payloads_time_alone() {
    let mut stage = stage(
        Config::default(),
        vec![Mapping {
            time_path: Some("at".into()),
            ..json("")
        }],
    );
    let first = give(&mut stage, "", r#"{"at":1732371246,"v":1}"#);
    assert_eq!((first.readings.len(), first.duplicates), (1, 0));
    let again = give(&mut stage, "", r#"{"at":1732371246,"v":1}"#);
    assert_eq!((again.readings.len(), again.duplicates), (0, 1));
    assert_eq!(
        give(&mut stage, "", r#"{"at":1732371246,"v":2}"#)
            .readings
            .len(),
        1
    );
    assert_eq!(
        give(&mut stage, "", r#"{"at":1732371247,"v":1}"#)
            .readings
            .len(),
        1
    );
    for _ in 0..2 {
        assert_eq!(give(&mut stage, "", r#"{"v":1}"#).readings.len(), 1);
    }
    for later in 0..REMEMBERED_READINGS {
        give(
            &mut stage,
            "",
            &format!(r#"{{"at":{},"v":1}}"#, 1_732_372_000 + later),
        );
    }
    let forgotten = give(&mut stage, "", r#"{"at":1732371246,"v":1}"#);
    assert_eq!(forgotten.duplicates, 0, "the memory is bounded");
}

#[test]
fn the_cap_on_series_holds_and_survives_a_restart() {
    let config = Config {
        max_series: 2,
        ..Config::default()
    };
    let mapping = Mapping {
        time_path: Some("at".into()),
        ..json("")
    };
    let mut before = stage(config.clone(), vec![mapping.clone()]);
    let found = give(&mut before, "", r#"{"at":1732371246,"a":1,"b":2,"c":3}"#);
    assert_eq!(ids(&found), ["farm/a", "farm/b"]);
    assert_eq!(reasons(&found), [Reason::TooManySeries]);
    let mut after = stage(config, vec![mapping]);
    for reading in &found.readings {
        after.remember(reading);
    }
    let again = give(&mut after, "", r#"{"at":1732371246,"c":3,"b":2,"a":5}"#);
    assert_eq!(reasons(&again), [Reason::TooManySeries]);
    assert_eq!(
        (ids(&again), again.duplicates),
        (vec!["farm/a".to_string()], 1)
    );
}

#[test]
fn a_retained_message_is_marked_unless_it_counts_as_new() {
    let mut stage = stage(
        Config::default(),
        vec![
            json("old"),
            Mapping {
                retained_is_new: true,
                ..json("new")
            },
        ],
    );
    for (topic, retained) in [("old", true), ("new", false)] {
        let mut outcome = Outcome::default();
        stage.frame(
            0,
            &Frame {
                retained: true,
                ..frame(topic, r#"{"v":1}"#)
            },
            Some(Timestamp(0)),
            &mut outcome,
        );
        assert_eq!(outcome.readings[0].retained, retained);
    }
}

#[test]
fn texts_are_short() {
    let mut stage = stage(
        Config::default(),
        vec![Mapping {
            text: true,
            ..json("")
        }],
    );
    let found = give(&mut stage, "", r#"{"s":"open"}"#);
    assert_eq!(found.readings[0].value, Value::Text("open".into()));
    let found = give(&mut stage, "", &format!(r#"{{"s":"{}"}}"#, "x".repeat(257)));
    assert_eq!(reasons(&found), [Reason::WrongType]);
}

#[test]
fn pushed_readings_and_lines_name_their_devices() {
    let mut stage = stage(
        Config::default(),
        vec![
            Mapping {
                format: Format::Readings,
                ..json("readings")
            },
            Mapping {
                format: Format::LineProtocol {
                    precision: TimeFormat::EpochNanos,
                },
                device: "{field:tag.device|field:tag.host|source}".into(),
                metric: "{field:measurement}.{path}".into(),
                ..json("write")
            },
        ],
    );
    let found = give(
        &mut stage,
        "readings",
        r#"[{"device":"d","metric":"t","value":1.5,"unit":"°C","time":"2024-11-23T14:14:06Z"},
            {"metric":"t","value":1},
            {"device":"d","values":{"a":1,"b":null,"c":true}}]"#,
    );
    assert_eq!(ids(&found), ["d/t", "d/a", "d/c"]);
    assert_eq!(found.readings[0].unit, Some(Unit("Cel".into())));
    assert_eq!(reasons(&found), [Reason::NoIdentity]);
    assert_eq!(found.rejects[0].record, 1);
    let found = give(
        &mut stage,
        "write",
        "cpu,host=h1 idle=3i 1732371246000000000\nbad\nair,device=d t=1",
    );
    assert_eq!(ids(&found), ["h1/cpu.idle", "d/air.t"]);
    assert_eq!(reasons(&found), [Reason::Malformed]);
    assert_eq!(found.rejects[0].record, 1);
}

#[test]
fn lines_that_differ_in_measurement_or_tags_are_different_series() {
    let mut stage = stage(
        Config::default(),
        vec![Mapping {
            format: Format::LineProtocol {
                precision: TimeFormat::EpochNanos,
            },
            device: "{field:tag.device|field:tag.host|field:measurement}".into(),
            metric: "{series}".into(),
            ..json("")
        }],
    );
    let found = give(
        &mut stage,
        "",
        "cpu,host=pi,cpu=cpu0 idle=98\ncpu,host=pi,cpu=cpu1 idle=97\nmem,host=pi used=40\ndisk,host=pi,path=/ used=50\n\
         air,device=mast,site=field t=4\nair,device=mast,level=10m t=5\nwater level=2\nwater,well=deep level=3",
    );
    assert_eq!(
        ids(&found),
        [
            "pi/cpu.cpu0.idle",
            "pi/cpu.cpu1.idle",
            "pi/mem.used",
            "pi/disk...used",
            "mast/t",
            "mast/10m.t",
            "water/level",
            "water/deep.level"
        ]
    );
}

#[test]
fn memories_of_topics_and_paths_are_bounded() {
    let mut stage = stage(
        Config {
            max_series: 10,
            ..Config::default()
        },
        vec![json("{device}")],
    );
    for n in 0..10_000 {
        give(&mut stage, &format!("t{n}"), &format!(r#"{{"p{n}":1}}"#));
    }
    let (topics, plans) = stage.sources[0].memory();
    assert!(
        topics <= 4096 && plans <= 4096,
        "{topics} topics, {plans} plans"
    );
    assert_eq!(ids(&give(&mut stage, "t3", r#"{"p3":1}"#)), ["t3/p3"]);
}

fn any_format() -> impl Strategy<Value = Format> {
    prop_oneof![
        Just(Format::Json),
        Just(Format::Number),
        Just(Format::Readings),
        Just(Format::KeyValue(KeyValue::default())),
        Just(Format::KeyValue(KeyValue {
            separators: vec![b'|'],
            assign: b':'
        })),
        Just(Format::Csv(Csv::default())),
        Just(Format::Csv(Csv {
            columns: vec!["a".into(), "".into(), "t".into()],
            delimiter: b';'
        })),
        Just(Format::LineProtocol {
            precision: TimeFormat::EpochNanos
        }),
        Just(Format::LineProtocol {
            precision: TimeFormat::EpochSeconds
        }),
        Just(Format::LineProtocol {
            precision: TimeFormat::Auto
        }),
    ]
}

/// Bytes that look like one of the formats more often than chance would have it.
fn any_payload() -> impl Strategy<Value = Vec<u8>> {
    let pieces = prop::collection::vec(
        prop_oneof![
            prop::sample::select(vec![
                "{",
                "}",
                "[",
                "]",
                "\"",
                ":",
                ",",
                " ",
                "\n",
                "\r\n",
                "\\",
                "=",
                ";",
                "|",
                "t",
                "a",
                "nan",
                "null",
                "true",
                "1",
                "-2.5",
                "1e999",
                "9223372036854775808",
                "i",
                "u",
                "\"a\":",
                "{\"device\":\"d\",",
                "\"values\":{",
                "\"time\":",
                "cpu,host=h v=1 ",
                "#",
                "\u{feff}",
                "°C",
                "1732371246",
            ])
            .prop_map(|s| s.as_bytes().to_vec()),
            prop::collection::vec(any::<u8>(), 0..4),
        ],
        0..40,
    );
    prop_oneof![
        pieces.prop_map(|p| p.concat()),
        prop::collection::vec(any::<u8>(), 0..200),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1500))]

    #[test]
    fn any_bytes_in_any_format_give_sound_readings_or_rejects(
        format in any_format(),
        payload in any_payload(),
        topic in "[a-c$/+#]{0,8}",
        text in any::<bool>(),
        trusted in any::<bool>(),
        arrived in any::<i64>(),
    ) {
        let mut stage = Normaliser::new(
            Config {
                metrics: vec![metric("a", Some("Cel")), metric("*", None)],
                max_series: 20,
                ..Config::default()
            },
            vec![SourceMappings {
                name: SourceName("s".into()),
                mappings: vec![
                    Mapping {
                        format: format.clone(),
                        text,
                        time_path: Some("t".into()),
                        fields: vec![FieldRule { path: "*.a".into(), metric: Some(Metric("{1}".into())), unit_path: Some("u".into()), ..FieldRule::default() }],
                        flatten: true,
                        ..json("{device}/{rest...}")
                    },
                    Mapping { format, ..json("") },
                ],
            }],
        );
        let frame = Frame { topic: topic.into(), payload: payload.into(), arrived: Timestamp(arrived), retained: false };
        let mut outcome = Outcome::default();
        for source in [0, 0, 7] {
            stage.frame(source, &frame, trusted.then_some(frame.arrived), &mut outcome);
        }
        for reading in &outcome.readings {
            let (device, metric) = (&reading.series.device.0, &reading.series.metric.0);
            prop_assert!(!device.is_empty() && device.len() <= MAX_NAME_BYTES && !device.contains('/'));
            prop_assert!(!metric.is_empty() && metric.len() <= MAX_NAME_BYTES && !metric.contains('/'));
            match &reading.value {
                Value::Float(f) => prop_assert!(f.is_finite()),
                Value::Text(t) => prop_assert!(t.len() <= MAX_TEXT_BYTES),
                Value::Int(_) | Value::Bool(_) => {}
            }
        }
        prop_assert!(!outcome.rejects.is_empty(), "source 7 is unknown");
    }

    #[test]
    fn a_broken_line_costs_only_itself(
        lines in prop::collection::vec(prop_oneof![
            Just(("m,k=v a=1", true)), Just(("m b=2i 5", true)), Just(("m", false)), Just(("m a=", false)),
            Just(("m,k= a=1", false)), Just(("m a=1 x", false)), Just(("m a=\"x", false)), Just((",a=1", false)),
        ], 0..30)
    ) {
        let payload = lines.iter().map(|(l, _)| *l).collect::<Vec<_>>().join("\n");
        let good = lines.iter().filter(|(_, good)| *good).count();
        let mut stage = stage(
            Config { drop_repeats: false, ..Config::default() },
            vec![Mapping { format: Format::LineProtocol { precision: TimeFormat::EpochNanos }, ..json("") }],
        );
        let outcome = give(&mut stage, "", &payload);
        prop_assert_eq!(outcome.readings.len(), good);
        prop_assert_eq!(outcome.rejects.len(), lines.len() - good);
    }
}

#[test]
fn a_record_of_very_many_fields_is_one_reject_and_its_neighbour_is_taken() {
    let mut stage = stage(Config::default(), crate::source::push::mappings());
    let fields = |n: usize| {
        let fields: Vec<String> = (0..n).map(|i| format!("f{i}=1")).collect();
        fields.join(",")
    };
    // Its two labels count as well.
    let lines = format!(
        "m,device=a {}\nm,device=b {}\n",
        fields(MAX_FIELDS - 1),
        fields(MAX_FIELDS - 2)
    );
    let outcome = give(&mut stage, "/api/v2/write/ns", &lines);
    assert_eq!(reasons(&outcome), [Reason::TooLarge]);
    assert_eq!(outcome.readings.len(), MAX_FIELDS - 2);
}
