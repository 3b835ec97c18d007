use std::collections::BTreeMap;

use super::*;
use crate::{
    alert::{AlertState, Condition, Latest, Life, Of, Rule, Severity, View},
    model::{Quality, Reading, SeriesKey, Timestamp, Value},
    store::Sample,
};

const SECOND: i64 = 1_000_000_000;
const START: i64 = 1_800_000_000;

fn rule(series: &str, silence: u64) -> Rule {
    Rule {
        name: format!("silent {series}").into(),
        series: series.into(),
        matching: BTreeMap::new(),
        condition: Condition::NoDataFor {
            silence: Duration::from_secs(silence),
        },
        hold: Duration::ZERO,
        severity: Severity::Warning,
        summary: String::new(),
        webhooks: Vec::new(),
        labels: BTreeMap::new(),
        life: Life::default(),
    }
}

fn at(second: u64) -> Moment {
    Moment {
        clock: Timestamp((START + i64::try_from(second).unwrap()) * SECOND),
        uptime: Duration::from_secs(second),
    }
}

/// Sensors `s0/t`, `s1/t` and so on, each its own device, on the source `plant`.
struct Plant {
    machine: Machine,
    now: u64,
    said: Vec<String>,
}

struct Nothing;

impl View for Nothing {
    fn first_number(&self, _: Timestamp, _: Timestamp) -> Option<f64> {
        None
    }

    fn samples(&self, _: &Of, _: Timestamp, _: Timestamp, _: impl FnMut(Sample)) {}

    fn latest(&self, _: &Of) -> Option<Latest> {
        None
    }
}

fn key(sensor: u32) -> SeriesKey {
    SeriesKey::parse(&format!("s{sensor}/t")).unwrap()
}

impl Plant {
    fn new(rules: Vec<Rule>, sensors: u32) -> Self {
        let mut plant = Self {
            machine: Machine::new(rules, 1_000),
            now: 0,
            said: Vec::new(),
        };
        let source = plant.machine.source("plant");
        for sensor in 0..sensors {
            plant
                .machine
                .watch(sensor, &key(sensor), &BTreeMap::new(), at(0));
            plant.machine.place(sensor, sensor, Duration::ZERO);
            plant.machine.belongs(sensor, source);
        }
        plant.awaits(&["plant"]);
        plant
    }

    fn awaits(&mut self, names: &[&str]) {
        let all = names.iter().map(|name| Awaited {
            name: (*name).into(),
            down_for: Duration::from_secs(60),
        });
        let mut out = Vec::new();
        self.machine
            .await_sources(all.collect(), at(self.now), &mut out);
        self.say(out);
    }

    fn say(&mut self, out: Vec<Transition>) {
        for transition in out {
            let state = match transition.alert.state {
                AlertState::Firing => "fires",
                AlertState::Resolved => "ends",
                other => panic!("{other:?}"),
            };
            let said = format!("{} {} {state}", self.now, transition.alert.series);
            self.said.push(said);
        }
    }

    /// Lets the time pass, a second at a time.
    fn until(&mut self, second: u64) {
        while self.now < second {
            self.now += 1;
            let mut out = Vec::new();
            self.machine.tick(at(self.now), &mut out);
            self.say(out);
        }
    }

    fn speaks(&mut self, sensor: u32) {
        let moment = at(self.now);
        let source = self.machine.source("plant");
        let reading = Reading {
            series: key(sensor),
            value: Value::Float(1.0),
            unit: None,
            quality: Quality::Good,
            time: moment.clock,
            received: moment.clock,
            retained: false,
        };
        let mut out = Vec::new();
        self.machine
            .observe(sensor, &reading, true, moment, &Nothing, &mut out);
        self.machine.source_spoke(source, moment);
        self.machine.tick(moment, &mut out);
        self.say(out);
    }

    /// These speak every second up to this one.
    fn all_speak_until(&mut self, sensors: std::ops::Range<u32>, second: u64) {
        while self.now < second {
            self.until(self.now + 1);
            for sensor in sensors.clone() {
                self.speaks(sensor);
            }
        }
    }

    fn link(&mut self, down: Option<&str>) {
        let mut out = Vec::new();
        self.machine
            .link("plant", down.map(String::from), at(self.now));
        self.machine.tick(at(self.now), &mut out);
        self.say(out);
    }

    fn said(&mut self) -> Vec<String> {
        std::mem::take(&mut self.said)
    }
}

#[test]
fn one_sensor_of_many_that_stops_has_its_own_alert_in_time() {
    let mut plant = Plant::new(vec![rule("*/t", 10)], 5);
    plant.all_speak_until(0..5, 20);
    plant.all_speak_until(0..4, 40);
    assert_eq!(plant.said(), ["30 s4/t fires"]);
    plant.all_speak_until(0..5, 41);
    assert_eq!(plant.said(), ["41 s4/t ends"]);
}

#[test]
fn sensors_that_stop_together_are_one_alert_though_they_spoke_one_after_the_other() {
    let mut plant = Plant::new(vec![rule("*/t", 10)], 4);
    for second in 1..=20 {
        plant.until(second);
        plant.speaks(u32::try_from(second % 4).unwrap());
    }
    plant.until(100);
    assert_eq!(plant.said(), ["30 gateway/plant fires"]);
    // Back, all but one: that one is told once its time has passed anew.
    plant.all_speak_until(0..3, 120);
    assert_eq!(plant.said(), ["101 gateway/plant ends", "111 s3/t fires"]);
}

#[test]
fn a_link_that_is_down_explains_the_silence_of_its_series_and_is_told_even_without_any() {
    let mut plant = Plant::new(vec![rule("*/t", 10)], 3);
    plant.all_speak_until(0..3, 20);
    plant.link(Some("connection refused"));
    plant.until(90);
    assert_eq!(plant.said(), ["30 gateway/plant fires"]);
    let said = plant
        .machine
        .source_alerts()
        .next()
        .unwrap()
        .summary
        .clone();
    assert!(said.contains("connection refused"), "{said}");
    plant.link(None);
    assert_eq!(plant.said(), Vec::<String>::new(), "its series are overdue");
    plant.all_speak_until(0..3, 91);
    assert_eq!(plant.said(), ["91 gateway/plant ends"]);

    let mut empty = Plant::new(Vec::new(), 0);
    empty.link(Some("no such device"));
    empty.until(59);
    empty.link(Some("still none"));
    assert_eq!(empty.said(), Vec::<String>::new());
    empty.until(100);
    assert_eq!(empty.said(), ["60 gateway/plant fires"]);
    empty.link(None);
    assert_eq!(empty.said(), ["100 gateway/plant ends"]);
}

#[test]
fn a_link_that_comes_and_goes_does_not_put_the_silence_off() {
    let mut plant = Plant::new(vec![rule("*/t", 60)], 3);
    plant.all_speak_until(0..3, 5);
    for second in 1..=6 {
        plant.link(Some("lost"));
        plant.until(5 + second * 10 - 5);
        plant.link(None);
        plant.until(5 + second * 10);
    }
    plant.until(70);
    assert_eq!(plant.said(), ["65 gateway/plant fires"]);
}

#[test]
fn a_sensor_alone_on_its_source_and_one_that_is_slower_than_the_others_speak_for_themselves() {
    let mut plant = Plant::new(vec![rule("*/t", 10)], 1);
    plant.all_speak_until(0..1, 5);
    plant.until(30);
    assert_eq!(plant.said(), ["15 s0/t fires"]);

    // `s1` speaks once an hour: its silence proves nothing about the source.
    let mut plant = Plant::new(vec![rule("s0/t", 10), rule("s1/t", 3_600)], 2);
    plant.all_speak_until(0..2, 5);
    plant.until(60);
    assert_eq!(plant.said(), ["15 s0/t fires"]);
}

#[test]
fn an_alert_about_a_source_is_taken_up_and_ends_with_data_or_with_its_source() {
    let mut plant = Plant::new(vec![rule("*/t", 10)], 2);
    plant.until(10);
    assert_eq!(plant.said(), ["10 gateway/plant fires"]);
    let alert = plant.machine.source_alerts().next().unwrap().clone();

    let mut next = Plant::new(vec![rule("*/t", 10)], 2);
    next.machine.resume_source(alert.clone()).unwrap();
    for sensor in 0..2 {
        next.machine
            .heard_before(sensor, Some(Duration::from_secs(500)), at(0));
    }
    next.link(Some("not yet"));
    next.link(None);
    next.until(100);
    assert_eq!(next.said(), Vec::<String>::new(), "it goes on");
    next.speaks(0);
    assert_eq!(next.said(), ["100 gateway/plant ends"]);

    let mut other = Plant::new(vec![rule("*/t", 10)], 0);
    other.machine.resume_source(alert).unwrap();
    other.awaits(&["elsewhere"]);
    assert_eq!(other.said(), ["0 gateway/plant ends"]);
}

#[test]
fn a_stop_before_a_restart_is_told_in_time_and_a_long_one_leaves_a_fair_chance() {
    // Heard so many seconds before the start, of ten minutes; then told at.
    for (ago, told) in [(540, 60), (595, 30), (90_000, 30)] {
        let mut plant = Plant::new(vec![rule("*/t", 600)], 2);
        let source = plant.machine.source("plant");
        let ago = Some(Duration::from_secs(ago));
        plant.machine.heard_before(0, ago, at(0));
        plant.machine.source_spoke_before(source, ago, at(0));
        plant.all_speak_until(1..2, 100);
        assert_eq!(plant.said(), [format!("{told} s0/t fires")]);
    }
    let mut all = Plant::new(vec![rule("*/t", 600)], 5);
    let source = all.machine.source("plant");
    for sensor in 0..5 {
        let ago = Some(Duration::from_secs(540 + u64::from(sensor)));
        all.machine.heard_before(sensor, ago, at(0));
        all.machine.source_spoke_before(source, ago, at(0));
    }
    all.until(200);
    assert_eq!(all.said(), ["60 gateway/plant fires"]);
}

#[test]
fn the_interval_of_a_device_lengthens_the_wait_and_the_words_say_what_never_came() {
    let mut plant = Plant::new(vec![rule("*/t", 10)], 2);
    plant.machine.place(1, 1, Duration::from_secs(20));
    plant.all_speak_until(0..2, 5);
    plant.all_speak_until(0..1, 100);
    assert_eq!(plant.said(), ["65 s1/t fires"]);
    let said = &plant.machine.alerts().next().unwrap().summary;
    assert!(!said.contains("never"), "{said}");

    let mut never = Plant::new(vec![rule("*/t", 10)], 1);
    never.awaits(&[]);
    never.until(10);
    assert_eq!(never.said(), ["10 s0/t fires"]);
    let said = &never.machine.alerts().next().unwrap().summary;
    assert!(said.ends_with("(never received)"), "{said}");
}

#[test]
fn a_silence_that_is_held_back_is_nobodys_and_counts_from_when_it_is_let_go() {
    let on = Rule {
        name: "on".into(),
        condition: Condition::Above {
            limit: 0.5,
            clear: 0.5,
        },
        ..rule("s0/t", 10)
    };
    let mut silent = rule("*/t", 10);
    silent.life.depends_on = vec!["on".into()];
    let mut plant = Plant::new(vec![silent.clone(), on], 2);
    plant.all_speak_until(0..2, 5);
    assert_eq!(plant.said(), ["1 s0/t fires"]);
    plant.until(60);
    assert_eq!(plant.said(), ["15 s1/t fires"], "one waits, not two");
    assert_eq!(plant.machine.set_rules(vec![silent], at(60)).len(), 1);
    plant.until(100);
    assert_eq!(plant.said(), ["70 s0/t fires"]);
}

#[test]
fn a_silence_that_a_person_closed_accuses_no_source() {
    let mut plant = Plant::new(vec![rule("*/t", 10)], 2);
    plant.all_speak_until(0..2, 5);
    plant.all_speak_until(0..1, 20);
    let id = plant.machine.alerts().next().unwrap().id.to_string();
    let mut out = Vec::new();
    assert!(plant.machine.close(&id, "ann", "", at(20), &mut out));
    plant.until(60);
    assert_eq!(plant.said(), ["15 s1/t fires", "30 s0/t fires"]);
}
