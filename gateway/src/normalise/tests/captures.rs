//! Captures of real devices through the sample mappings in `config/mappings`: each required reading comes out, nothing
//! comes out of what holds none, and no unit is made up.

use std::{collections::HashMap, fs, path::PathBuf};

use serde::Deserialize;
use smol_str::SmolStr;

use super::{NOW, stage};
use crate::{
    decode::{
        Mapping,
        mapping::{FieldRule, Format, TimeFormat},
        time,
        topic::filter_of,
    },
    model::{Metric, Reading, Timestamp, Unit, Value},
    normalise::{Config, Normaliser, Outcome, unit},
    source::Frame,
};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    mapping: Vec<Table>,
}

/// The keys that the samples use.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    topic: SmolStr,
    format: Option<String>,
    #[serde(default)]
    device: SmolStr,
    metric: Option<SmolStr>,
    #[serde(default)]
    fields: Vec<FieldTable>,
    flatten: Option<bool>,
    #[serde(default)]
    ignore: Vec<SmolStr>,
    time: Option<SmolStr>,
    time_format: Option<String>,
    #[serde(default)]
    skip: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FieldTable {
    path: SmolStr,
    metric: Option<SmolStr>,
    unit: Option<SmolStr>,
    unit_path: Option<SmolStr>,
}

#[derive(Deserialize)]
struct Message {
    id: String,
    topic: String,
    payload_text: String,
    #[serde(default)]
    retain: bool,
}

#[derive(Deserialize)]
struct Expected {
    id: String,
    expect: String,
    #[serde(default)]
    readings: Vec<Wanted>,
}

#[derive(Deserialize)]
struct Wanted {
    metric: String,
    value: serde_json::Value,
    unit: Option<String>,
    time: Option<String>,
    required: bool,
}

/// How a set came out.
#[derive(Debug, Default)]
struct Score {
    messages: usize,
    required: usize,
    found: usize,
    unit_right: usize,
    time_right: usize,
    optional: usize,
    optional_found: usize,
    /// Readings that the expected file does not list.
    unlisted: usize,
    rejected: usize,
    wrong: Vec<String>,
}

fn sample(name: &str) -> Vec<Mapping> {
    let path = format!(
        "{}/../config/mappings/{name}.toml",
        env!("CARGO_MANIFEST_DIR")
    );
    let file: File = toml::from_str(&fs::read_to_string(path).unwrap()).unwrap();
    file.mapping
        .into_iter()
        .map(|table| Mapping {
            topic: table.topic,
            format: match table.format.as_deref() {
                None | Some("json") => Format::Json,
                Some("number") => Format::Number,
                Some(other) => panic!("format {other} is not used in samples"),
            },
            device: table.device,
            metric: table.metric.unwrap_or_else(|| "{path}".into()),
            flatten: table.flatten.unwrap_or(table.fields.is_empty()),
            fields: table
                .fields
                .into_iter()
                .map(|field| {
                    let unit = field.unit.map(Unit);
                    assert!(
                        unit.as_ref()
                            .is_none_or(|u| unit::resolve(&u.0).as_ref() == Some(u)),
                        "{unit:?} is not a UCUM code"
                    );
                    FieldRule {
                        path: field.path,
                        metric: field.metric.map(Metric),
                        unit,
                        unit_path: field.unit_path,
                    }
                })
                .collect(),
            ignore: table.ignore,
            time_path: table.time,
            time_format: match table.time_format.as_deref() {
                None => TimeFormat::Auto,
                Some("s") => TimeFormat::EpochSeconds,
                Some(other) => panic!("time_format {other} is not used in samples"),
            },
            skip: table.skip,
            ..Mapping::default()
        })
        .collect()
}

fn lines<T: for<'de> Deserialize<'de>>(name: &str) -> Option<Vec<T>> {
    let path: PathBuf = [env!("CARGO_MANIFEST_DIR"), "../../shared/data/mqtt", name]
        .iter()
        .collect();
    let text = fs::read_to_string(path).ok()?;
    Some(
        text.lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect(),
    )
}

/// `emeters[0].power` is `emeters.0.power` here; a mapping may put more in front.
fn is_for(reading: &Reading, wanted: &Wanted) -> bool {
    let path = wanted.metric.replace('[', ".").replace(']', "");
    let metric = reading.series.metric.0.as_str();
    metric
        .strip_suffix(path.as_str())
        .is_some_and(|before| before.is_empty() || before.ends_with('.'))
}

fn value_is(reading: &Reading, wanted: &serde_json::Value, factor: f64, offset: f64) -> bool {
    match (&reading.value, wanted) {
        (Value::Bool(a), serde_json::Value::Bool(b)) => a == b,
        (Value::Text(a), serde_json::Value::String(b)) => a == b,
        (value, serde_json::Value::Number(b)) => {
            let (a, b) = (
                value.as_f64().unwrap(),
                b.as_f64().unwrap() * factor + offset,
            );
            (a - b).abs() <= 1e-6 * b.abs()
        }
        _ => false,
    }
}

fn run(set: &str, stage: &mut Normaliser) -> Option<Score> {
    let messages: Vec<Message> = lines(&format!("{set}.jsonl"))?;
    let expected: Vec<Expected> = lines(&format!("{set}.expected.jsonl"))?;
    let expected: HashMap<_, _> = expected.into_iter().map(|e| (e.id.clone(), e)).collect();
    let mut score = Score::default();
    for message in messages {
        let wanted = &expected[&message.id];
        let mut outcome = Outcome::default();
        let frame = Frame {
            topic: message.topic.as_str().into(),
            payload: message.payload_text.into(),
            arrived: NOW,
            retained: message.retain,
        };
        stage.frame(0, &frame, Some(frame.arrived), &mut outcome);
        score.messages += 1;
        score.message(&message.id, wanted, outcome);
    }
    println!("{set}: {score:?}");
    Some(score)
}

impl Score {
    fn message(&mut self, id: &str, wanted: &Expected, outcome: Outcome) {
        let rejected = !outcome.rejects.is_empty();
        self.rejected += usize::from(rejected);
        let refusal_wanted = wanted.expect.starts_with("reject");
        if rejected != refusal_wanted {
            self.wrong.push(format!("{id}: {:?}", outcome.rejects));
        }
        if wanted.expect != "readings" && !outcome.readings.is_empty() {
            self.wrong.push(format!(
                "{id}: holds no readings, gave {:?}",
                outcome.readings
            ));
        }
        let mut left = outcome.readings;
        for reading in &wanted.readings {
            let (all, found) = if reading.required {
                (&mut self.required, &mut self.found)
            } else {
                (&mut self.optional, &mut self.optional_found)
            };
            *all += 1;
            // The longest metric is the most specific: `bat.value` before `value`.
            let Some(at) = left.iter().position(|r| is_for(r, reading)) else {
                if reading.required {
                    self.wrong
                        .push(format!("{id}: {} is missing", reading.metric));
                }
                continue;
            };
            let got = left.remove(at);
            let unit = reading.unit.as_deref().and_then(|u| match u {
                "" => Some(Unit("1".into())),
                said => unit::resolve(said),
            });
            let conversion = match (&unit, &got.unit) {
                (Some(said), Some(unit)) => unit::conversion(said, unit),
                (None, Some(_)) => None,
                (_, None) => Some(unit::Conversion {
                    scale: 1.0,
                    offset: 0.0,
                }),
            };
            let arrival_or = reading
                .time
                .as_deref()
                .and_then(|t| time::from_text(t, TimeFormat::Rfc3339, None).unwrap())
                .unwrap_or(NOW);
            let right =
                conversion.is_some_and(|c| value_is(&got, &reading.value, c.scale, c.offset));
            if right && got.time == arrival_or {
                *found += 1;
            } else {
                self.wrong
                    .push(format!("{id}: {} is {got:?}", reading.metric));
            }
            if reading.required {
                self.unit_right += usize::from(got.unit.is_some() == unit.is_some());
                self.time_right += usize::from(got.time == arrival_or);
            }
        }
        self.unlisted += left.len();
    }

    /// All that is required, nothing wrong, all units and times right.
    fn assert_full(&self, required: usize) {
        assert!(self.wrong.is_empty(), "{:#?}", self.wrong);
        let all = (self.required, self.found, self.unit_right, self.time_right);
        assert_eq!(all, (required, required, required, required));
        assert_eq!(self.unlisted, 0);
    }
}

fn stage_of(names: &[&str], drop_repeats: bool) -> Normaliser {
    stage(
        Config {
            drop_repeats,
            ..Config::default()
        },
        names.iter().flat_map(|name| sample(name)).collect(),
    )
}

fn required_come_out(set: &str, mapping: &str, required: usize) {
    match run(set, &mut stage_of(&[mapping], false)) {
        Some(score) => score.assert_full(required),
        None => println!("skipped: no {set} beside the repository"),
    }
}

#[test]
fn tasmota_messages_give_the_required_readings() {
    required_come_out("tasmota_iobroker", "tasmota", 17);
}

#[test]
fn shelly_messages_give_the_required_readings() {
    required_come_out("shelly_status", "shelly", 293);
}

#[test]
fn zigbee2mqtt_messages_give_the_required_readings() {
    required_come_out("zigbee2mqtt_luligu", "zigbee2mqtt", 1269);
}

/// Single messages of several makers; those that the samples are for.
#[test]
fn assorted_messages_give_the_required_readings() {
    let Some(messages) = lines::<Message>("assorted.jsonl") else {
        println!("skipped: no assorted messages beside the repository");
        return;
    };
    let expected: Vec<Expected> = lines("assorted.expected.jsonl").unwrap();
    let mut stage = stage_of(&["tasmota", "shelly", "zigbee2mqtt"], false);
    let mut score = Score::default();
    for (message, wanted) in messages.into_iter().zip(&expected) {
        if !message.topic.starts_with("zigbee2mqtt/") && !message.topic.starts_with("shellies/") {
            continue;
        }
        let mut outcome = Outcome::default();
        let frame = Frame {
            topic: message.topic.as_str().into(),
            payload: message.payload_text.into(),
            arrived: NOW,
            retained: false,
        };
        stage.frame(0, &frame, Some(frame.arrived), &mut outcome);
        score.messages += 1;
        score.message(&message.id, wanted, outcome);
    }
    println!("assorted: {score:?}");
    score.assert_full(4);
}

#[test]
fn repeats_in_a_capture_lose_no_point() {
    let points = |drop_repeats| {
        let mut stage = stage_of(&["zigbee2mqtt"], drop_repeats);
        let messages: Vec<Message> = lines("zigbee2mqtt_luligu.jsonl")?;
        let mut points: Vec<(String, Timestamp, String)> = Vec::new();
        let mut outcome = Outcome::default();
        for message in messages {
            let frame = Frame {
                topic: message.topic.as_str().into(),
                payload: message.payload_text.into(),
                arrived: NOW,
                retained: false,
            };
            stage.frame(0, &frame, Some(frame.arrived), &mut outcome);
        }
        for r in &outcome.readings {
            points.push((r.series.to_string(), r.time, format!("{:?}", r.value)));
        }
        points.sort();
        let all = points.len();
        points.dedup();
        Some((points, all, outcome.duplicates))
    };
    let (Some((all, raw, none)), Some((kept, left, dropped))) = (points(false), points(true))
    else {
        println!("skipped: no captures beside the repository");
        return;
    };
    println!("{raw} readings, {dropped} of them repeats");
    assert_eq!(all, kept, "each point is there once with and without");
    assert_eq!((none, left + dropped), (0, raw));
    assert!(dropped > 0);
}

#[test]
fn the_samples_name_what_to_subscribe_to() {
    for (name, wanted) in [
        ("tasmota", "tele/#"),
        ("shelly", "+/status/+"),
        ("zigbee2mqtt", "zigbee2mqtt/#"),
    ] {
        let filters: Vec<_> = sample(name)
            .iter()
            .map(|m| filter_of(&m.topic).unwrap())
            .collect();
        assert!(filters.iter().any(|f| f == wanted), "{filters:?}");
    }
}
