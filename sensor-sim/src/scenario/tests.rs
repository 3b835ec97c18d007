use std::path::Path;

use proptest::prelude::*;

use super::*;
use crate::plan::Plan;

const DEMO: &str = include_str!("../../../config/scenarios/demo.toml");
const FAULTS: &str = include_str!("../../../config/scenarios/faults.toml");

const SMALL: &str = r#"
[[device]]
id = "a"
serial = {}
format = "json"
interval = "1s"
signal = [{ metric = "t" }]
"#;

fn mistakes(text: &str) -> Vec<(usize, usize, String)> {
    Scenario::parse(text)
        .expect_err("it is wrong")
        .mistakes
        .into_iter()
        .map(|m| (m.line, m.column, m.message))
        .collect()
}

#[test]
fn the_demo_in_toml_is_the_demo_of_the_library() {
    assert_eq!(
        Scenario::parse(DEMO).unwrap(),
        Scenario::demo(1883, Path::new("serial"))
    );
}

#[test]
fn the_scenario_of_faults_has_every_fault_transport_and_format() {
    let scenario = Scenario::parse(FAULTS).unwrap();
    let mut kinds: Vec<_> = scenario
        .devices
        .iter()
        .flat_map(|d| d.faults.iter().map(|f| f.kind))
        .collect();
    kinds.sort_by_key(|kind| format!("{kind:?}"));
    kinds.dedup();
    assert_eq!(kinds.len(), 10, "{kinds:?}");
    let formats: std::collections::HashSet<_> = scenario
        .devices
        .iter()
        .map(|d| format!("{:?}", d.format))
        .collect();
    assert_eq!(formats.len(), 5, "{formats:?}");
}

#[test]
fn what_is_left_out_is_the_documented_default() {
    let scenario = Scenario::parse(SMALL).unwrap();
    let mut device = Device::new(
        "a",
        Transport::Serial(Serial { link: None }),
        Format::Json,
        Duration::from_secs(1),
    );
    device.signals = vec![Signal::new("t", None, Shape::Constant)];
    assert_eq!(
        scenario,
        Scenario {
            seed: 1,
            duration: None,
            devices: vec![device]
        }
    );
}

#[test]
fn an_unknown_key_is_named_with_its_place() {
    let found = mistakes(&SMALL.replace("interval", "intervall"));
    assert_eq!((found[0].0, found[0].1), (6, 1));
    assert!(found[0].2.contains("intervall"), "{found:?}");
}

#[test]
fn a_value_out_of_range_is_named_with_its_place() {
    let found = mistakes(&SMALL.replace("\"1s\"", "\"1 fortnight\""));
    assert_eq!((found[0].0, found[0].1), (6, 12));
    assert!(found[0].2.contains("not a time span"), "{found:?}");
    let found = mistakes(&SMALL.replace("\"t\"", "\"t\", noise = -1.0"));
    assert_eq!(found[0].0, 7, "{found:?}");
    let found = mistakes(&SMALL.replace("\"t\"", "\"t\", offset = nan"));
    assert_eq!(found[0].0, 7, "{found:?}");
}

#[test]
fn mistakes_in_meaning_are_told_all_at_once() {
    let text = r#"
[[device]]
id = "a/b"
serial = {}
mqtt = {}
format = "json"
signal = [{ metric = "t" }, { metric = "t" }]
fault = [{ kind = "clock_jump", probability = 0.5 }]

[[device]]
id = "c"
http.url = "ftp://x"
format = "csv"
rate = 0
signal = []
fault = [{ kind = "spike", metric = "t", every = "1s", probability = 0.1 }]
"#;
    let found = mistakes(text);
    let lines: Vec<usize> = found.iter().map(|m| m.0).collect();
    for line in [3, 2, 7, 8, 12, 14, 10, 16] {
        assert!(lines.contains(&line), "line {line} in {found:?}");
    }
}

#[test]
fn what_does_not_fit_together_is_refused() {
    for (change, what) in [
        (
            "format = \"number\"\ntime = \"epoch_ms\"",
            "carries no time",
        ),
        ("format = \"number\"\nsequence = true", "`{metric}`"),
        (
            "format = \"line_protocol\"\ntime = \"rfc3339\"",
            "whole numbers",
        ),
        ("format = \"json\"\nheader = true", "csv"),
    ] {
        let found = mistakes(&SMALL.replace("format = \"json\"", change));
        assert!(
            found.iter().any(|m| m.2.contains(what)),
            "{change}: {found:?}"
        );
    }
}

#[test]
fn time_spans_are_read_as_documented() {
    for (text, millis) in [
        ("250ms", 250),
        ("1.5s", 1_500),
        ("2m", 120_000),
        ("1h", 3_600_000),
    ] {
        assert_eq!(parse_span(text), Ok(Duration::from_millis(millis)));
    }
    for text in ["", "5", "s", "-1s", "1e3s", "366d", "1 s", "1..2s"] {
        assert!(parse_span(text).is_err(), "{text}");
    }
}

fn try_it(text: &str) {
    if let Ok(scenario) = Scenario::parse(text) {
        for index in 0..scenario.devices.len().min(5) {
            let plan = Plan::new(&scenario, index, i64::MAX - 5).unwrap();
            assert!(plan.take(20).count() <= 20);
        }
    }
}

proptest! {
    #[test]
    fn no_text_makes_it_panic(text in ".{0,400}") {
        try_it(&text);
    }

    #[test]
    fn no_change_of_a_good_text_makes_it_panic(
        at in 0..FAULTS.len(),
        remove in 0_usize..30,
        insert in "[-a-z0-9.=\"\\[\\]{} \n]{0,12}",
    ) {
        let floor = |at: usize| (0..=at.min(FAULTS.len())).rev().find(|i| FAULTS.is_char_boundary(*i)).unwrap();
        let text = format!("{}{insert}{}", &FAULTS[..floor(at)], &FAULTS[floor(at + remove)..]);
        try_it(&text);
    }

    #[test]
    fn no_extreme_value_makes_a_plan_panic(
        offset in -1e15..1e15_f64,
        amplitude in -1e15..1e15_f64,
        decimals in 0..=9_u8,
        interval in 1_u64..31_000_000_000,
        shape in prop::sample::select(vec!["constant", "sine", "random_walk", "saw", "square", "daily_curve", "counter"]),
        kind in prop::sample::select(vec!["number", "integer", "boolean"]),
        time in prop::sample::select(vec!["none", "rfc3339", "epoch_s", "epoch_ms", "epoch_us", "epoch_ns"]),
    ) {
        try_it(&format!(r#"
            [[device]]
            id = "a"
            serial = {{}}
            format = "json"
            interval = "{interval}ms"
            time = "{time}"
            signal = [{{ metric = "t", shape = "{shape}", kind = "{kind}", offset = {offset:?}, amplitude = {amplitude:?}, decimals = {decimals}, noise = 1e15 }}]
            fault = [
              {{ kind = "stuck", probability = 0.5, for = "365d" }},
              {{ kind = "drift", every = "1us", for = "1us", magnitude = 1e15 }},
              {{ kind = "reorder", probability = 0.5, depth = 100 }},
            ]
        "#));
    }
}
