use std::path::Path;

use super::*;
use crate::{
    alert::{Condition, Counted, Direction, Expression, Of, Side},
    model::{Metric, SeriesKey, Value},
};

pub(super) fn parse_text(text: &str) -> Result<Config, Mistakes> {
    let around = Surroundings {
        folder: Path::new("/etc/gateway"),
        read_file: &|path| match path.to_str() {
            Some("/etc/gateway/token") => Ok(String::from("s3cret\n")),
            Some("/etc/gateway/tasmota.toml") => Ok(String::from(
                "[[mapping]]\ntopic = \"tele/{device}/SENSOR\"\nfromat = \"json\"\n",
            )),
            _ => Err(std::io::Error::from(std::io::ErrorKind::NotFound)),
        },
        environment: &|name| (name == "PW").then(|| String::from("hunter2")),
    };
    parse("gateway.toml", text, &around)
}

pub(super) fn mistakes(text: &str) -> Vec<(usize, usize, String)> {
    parse_text(text)
        .unwrap_err()
        .0
        .into_iter()
        .map(|m| (m.line, m.column, m.message))
        .collect()
}

#[test]
fn an_empty_config_is_the_defaults() {
    let config = parse_text("").unwrap();
    assert_eq!(config.http.listen.port(), 8080);
    assert!(config.http.listen.ip().is_loopback());
    assert!(config.history.is_some() && config.archive.is_none() && config.push);
}

#[test]
fn every_mistake_is_reported_at_once_with_its_place_and_the_nearest_word() {
    let found = mistakes(
        "[http]\nlisen = \"127.0.0.1:80\"\n\n[journal]\nmax_size = \"lots\"\n\n[[source]]\nname = \"plant\"\ntype = \"seriall\"\n\n\
         [[rule]]\nname = \"hot\"\nseries = \"temperature\"\nabove = 30\nclear = 31\n",
    );
    let lines: Vec<usize> = found.iter().map(|m| m.0).collect();
    assert_eq!(lines, [2, 5, 9, 13, 15]);
    assert!(found[0].2.contains("did you mean `listen`?"), "{found:?}");
    assert!(
        found[1].2.contains("64 MiB") && found[1].2.contains("\"lots\""),
        "{found:?}"
    );
    assert!(found[2].2.contains("did you mean `serial`?"), "{found:?}");
    assert!(found[3].2.contains("*/temperature"), "{found:?}");
    assert!(
        found[4].2.contains("must not be above the limit"),
        "{found:?}"
    );
}

#[test]
fn broken_toml_is_told_with_its_place_beside_other_mistakes() {
    let found = mistakes("[http\nlisten = 5\n\n[jornal]\n");
    assert_eq!(found[0].0, 1, "{found:?}");
    assert!(
        found
            .iter()
            .any(|m| m.2.contains("did you mean `journal`?")),
        "{found:?}"
    );
}

#[test]
fn a_mistake_shows_its_line_with_a_caret_under_it() {
    let text = parse_text("site = \"ä\"\n[log]\nformat = \"xml\"\n")
        .unwrap_err()
        .to_string();
    assert!(text.contains("gateway.toml:3:10: "), "{text}");
    assert!(
        text.contains("  3 | format = \"xml\"\n    |          ^^^^^\n"),
        "{text}"
    );
    assert!(text.ends_with("1 mistake in the config"), "{text}");
}

#[test]
fn secrets_come_from_files_and_the_environment_and_are_not_printed() {
    let text = "[influxdb]\nurl = \"http://localhost:8086\"\nbucket = \"b\"\ntoken_file = \"token\"\n\
                [[webhook]]\nname = \"ops\"\nurl = \"https://ops.example/hook\"\ntoken_env = \"PW\"\n";
    let config = parse_text(text).unwrap();
    assert_eq!(
        config.archive.as_ref().unwrap().token.as_ref().unwrap().0,
        "s3cret"
    );
    let crate::notify::Destination::Http(endpoint, _) = &config.webhooks[0].to else {
        panic!("{config:?}");
    };
    assert_eq!(endpoint.token.as_ref().unwrap().0, "hunter2");
    let printed = format!("{config:?}");
    assert!(
        !printed.contains("s3cret") && !printed.contains("hunter2"),
        "{printed}"
    );

    let found =
        mistakes("[influxdb]\nurl = \"http://localhost:8086\"\nbucket = \"b\"\ntoken = \"oops\"\n");
    assert!(found[0].2.contains("token_file"), "{found:?}");
    let found =
        mistakes("[influxdb]\nurl = \"localhost:8086\"\nbucket = \"b\"\ntoken_file = \"gone\"\n");
    assert_eq!(found.len(), 2, "{found:?}");
}

#[test]
fn listening_to_the_world_without_a_login_must_be_said_out_loud() {
    let found =
        mistakes("[[source]]\nname = \"m\"\ntype = \"mqtt_listener\"\nlisten = \"[::]:1883\"\n");
    assert_eq!(found.iter().map(|m| m.0).collect::<Vec<_>>(), [4]);
    let login = |text: &str| parse_text(&format!("[http]\n{text}\n")).unwrap().http.login;
    let world = "listen = \"0.0.0.0:8080\"";
    assert!(login(world), "it is on unless somebody says otherwise");
    assert!(login(&format!("{world}\nwithout_login = false")));
    assert!(!login(&format!("{world}\nlogin = \"off\"")));
    assert!(!login(&format!("{world}\nwithout_login = true")));
    assert!(!login("listen = \"127.0.0.1:8080\""));
    assert!(login("login = \"on\""));
    assert!(!parse_text("").unwrap().http.login);
    let found = mistakes("[http]\nlogin = \"offf\"\n");
    assert_eq!((found[0].0, found[0].1), (2, 9), "{found:?}");
    assert!(found[0].2.contains("did you mean `off`"), "{found:?}");
    let found = mistakes("[http]\nlogin = \"off\"\nwithout_login = true\n");
    assert_eq!((found.len(), found[0].0), (1, 3), "{found:?}");
}

#[test]
fn passwords_that_cross_the_network_as_they_are_are_a_doubt() {
    let doubts = |text: &str| {
        parse_text(&format!("[http]\n{text}\n"))
            .unwrap()
            .doubts
            .len()
    };
    assert_eq!(doubts("listen = \"0.0.0.0:8080\""), 1);
    assert_eq!(
        doubts("listen = \"0.0.0.0:8080\"\npublic_url = \"https://a.example\""),
        0
    );
    assert_eq!(doubts("listen = \"0.0.0.0:8080\"\nlogin = \"off\""), 0);
    assert_eq!(doubts("login = \"on\""), 0);
}

#[test]
fn a_certificate_is_made_or_given_and_what_is_wrong_with_it_has_its_place() {
    let tls = |text: &str| parse_text(&format!("[http]\n{text}\n")).unwrap().http.tls;
    assert_eq!(tls("login = \"on\""), None);
    assert_eq!(tls("tls = \"self-signed\""), Some(Certificate::SelfSigned));
    let found = mistakes("[http]\ntls = \"selfsigned\"\n");
    assert_eq!((found[0].0, found[0].1), (2, 7), "{found:?}");
    assert!(
        found[0].2.contains("did you mean `self-signed`"),
        "{found:?}"
    );
    let found = mistakes("[http]\ntls = { cert = \"gone.pem\" }\n");
    assert_eq!(found.len(), 2, "{found:?}");
    assert!(
        found.iter().any(|m| m.2.contains("needs `key`")),
        "{found:?}"
    );
    assert!(found.iter().any(|m| m.2.contains("gone.pem")), "{found:?}");
    let found = mistakes("[http]\ntls = true\n");
    assert_eq!(found.len(), 1, "{found:?}");
}

#[test]
fn mappings_in_a_file_of_their_own_are_checked_there() {
    let text = "[[source]]\nname = \"m\"\ntype = \"mqtt\"\nurl = \"mqtt://localhost\"\nmappings_file = \"tasmota.toml\"\n";
    let error = parse_text(text).unwrap_err();
    assert_eq!(error.0.len(), 1, "{error}");
    assert_eq!(error.0[0].file, "/etc/gateway/tasmota.toml");
    assert_eq!(error.0[0].line, 3);
    assert!(error.0[0].message.contains("did you mean `format`?"));
}

#[test]
fn names_must_be_told_apart_and_exist() {
    let rule = "[[rule]]\nname = \"hot\"\nseries = \"*/t\"\nabove = 1\nwebhooks = [\"opps\"]\n";
    let found = mistakes(&format!(
        "[[webhook]]\nname = \"ops\"\nurl = \"http://h/x\"\n{rule}{rule}"
    ));
    assert!(
        found
            .iter()
            .any(|m| m.2.contains("two rules named \"hot\"")),
        "{found:?}"
    );
    assert!(
        found.iter().any(|m| m.2.contains("did you mean `ops`?")),
        "{found:?}"
    );
}

#[test]
fn a_rule_has_exactly_one_condition() {
    let found = mistakes(
        "[[rule]]\nname = \"a\"\nseries = \"*/t\"\n[[rule]]\nname = \"b\"\nseries = \"*/t\"\nabove = 1\nno_data_for = \"5m\"\n",
    );
    assert!(
        found[0].2.contains("none is given") && found[1].2.contains("more than one"),
        "{found:?}"
    );
}

#[test]
fn a_level_that_is_no_level_is_a_mistake_and_no_filter() {
    let found = mistakes("[log]\nlevel = \"inof\"\n");
    assert!(found[0].2.contains("did you mean `info`?"), "{found:?}");
    assert!(parse_text("[log]\nlevel = \"warn,gateway::source=debug\"\n").is_ok());
}

#[test]
fn patterns_that_can_not_match_are_mistakes() {
    for (series, slip) in [
        ("a/b/c", "device/metric"),
        ("/", "device/metric"),
        ("*/", "device/metric"),
        ("*/[ab]", "no meaning in a pattern"),
        ("{a,b}/x", "no meaning in a pattern"),
    ] {
        let rule = format!("[[rule]]\nname = \"a\"\nseries = \"{series}\"\nabove = 1\n");
        let found = mistakes(&rule);
        assert!(found[0].0 == 3 && found[0].2.contains(slip), "{found:?}");
        let calibration = format!("[[calibration]]\nseries = \"{series}\"\noffset = 1\n");
        assert_eq!(mistakes(&calibration)[0].0, 2);
    }
    let found = mistakes("[[metric]]\nname = \"boiler/temperature\"\n");
    assert!(found[0].2.contains("without `/`"), "{found:?}");
}

#[test]
fn what_is_there_twice_or_never_reached_is_a_mistake() {
    let found = mistakes(
        "[[window]]\nevery = \"1m\"\n[[window]]\nevery = \"60s\"\n\
         [[metric]]\nname = \"*temperature\"\n[[metric]]\nname = \"air_temperature\"\n\
         [[calibration]]\nseries = \"a/b\"\noffset = 1\n[[calibration]]\nseries = \"a/b\"\ngain = 0\n\
         [[device]]\nid = \"a\"\n[[device]]\nid = \"a\"\n",
    );
    let lines: Vec<usize> = found.iter().map(|m| m.0).collect();
    assert_eq!(lines, [3, 8, 13, 14, 18], "{found:?}");
    assert!(found[1].2.contains("narrower one first"), "{found:?}");
    let narrow_first =
        "[[metric]]\nname = \"air_temperature\"\n[[metric]]\nname = \"*temperature\"\n";
    assert!(parse_text(narrow_first).is_ok());
}

#[test]
fn a_serial_line_has_no_topics_and_no_header() {
    let found = mistakes(
        "[[source]]\nname = \"s\"\ntype = \"serial\"\ndevice = \"/dev/ttyUSB0\"\n\
         [[source.mapping]]\nformat = \"csv\"\n[[source.mapping]]\ntopic = \"x/{device}\"\n",
    );
    assert!(
        found[0].0 == 5 && found[0].2.contains("columns ="),
        "{found:?}"
    );
    assert!(
        found[1].0 == 8 && found[1].2.contains("no topics"),
        "{found:?}"
    );
}

#[test]
fn mistakes_of_a_mapping_stand_at_their_key_and_know_their_format() {
    let found = mistakes(
        "[[source]]\nname = \"l\"\ntype = \"mqtt_listener\"\n[[source.mapping]]\ntopic = \"a/{dev}\"\n\
         device = \"{device}\"\ncolumns = [\"a\"]\n\
         fields = [{ path = \"a.*\", metric = \"{2}\" }, { path = \"b\", unit = \"wat\" }]\n",
    );
    let places: Vec<_> = found.iter().map(|m| (m.0, m.1)).collect();
    assert_eq!(places, [(6, 10), (7, 11), (8, 10), (8, 66)], "{found:?}");
    assert!(
        found[1].2.contains("goes with format = \"csv\""),
        "{found:?}"
    );
    assert!(found[2].2.contains("the path has 1 `*`"), "{found:?}");
    assert!(found[3].2.contains("{wat}"), "{found:?}");
}

#[test]
fn what_would_be_found_out_only_at_the_start_is_found_now() {
    let found = mistakes(
        "[http]\nallowed_hosts = [\"https://sensors.example.org\"]\n\
         [influxdb]\nurl = \"http://localhost:8086\"\nbucket = \"b\"\nca_file = \"gone.pem\"\n\
         [[webhook]]\nname = \"ops\"\nurl = \"http://h/x\"\nheaders = { \"x y\" = \"a\" }\n\
         [[source]]\nname = \"l\"\ntype = \"mqtt_listener\"\nmax_packet_size = 12\n\
         users = [{ name = \"a\", password_env = \"PW\" }, { name = \"a\", password_env = \"PW\" }]\n",
    );
    let lines: Vec<usize> = found.iter().map(|m| m.0).collect();
    assert_eq!(lines, [2, 6, 10, 14, 15], "{found:?}");
}

#[test]
fn a_rule_on_nearly_a_known_metric_is_a_doubt_and_no_mistake() {
    let config = |series: &str| {
        parse_text(&format!(
            "[[metric]]\nname = \"temperature\"\n[[device]]\nid = \"boiler-1\"\n\
             [[rule]]\nname = \"hot\"\nseries = \"{series}\"\nabove = 1\n"
        ))
        .unwrap()
    };
    let doubts = config("boilr-1/temprature").doubts;
    assert_eq!(doubts.len(), 2, "{doubts:?}");
    assert_eq!((doubts[0].line, doubts[0].column), (7, 10));
    assert!(doubts[0].message.contains("did you mean \"temperature\"?"));
    assert!(doubts[1].message.contains("did you mean \"boiler-1\"?"));
    for fine in [
        "*/temperature",
        "boiler-2/humidity",
        "boiler-1/temp*",
        "pump/flow",
    ] {
        assert!(config(fine).doubts.is_empty(), "{fine}");
    }
}

/// The conditions of rules that are written so.
fn conditions(lines: &[&str]) -> Vec<Condition> {
    let rules: String = lines
        .iter()
        .enumerate()
        .map(|(at, line)| format!("[[rule]]\nname = \"{at}\"\nseries = \"*/t\"\n{line}\n"))
        .collect();
    let config = parse_text(&rules).unwrap_or_else(|mistakes| panic!("{mistakes}"));
    let rules = config.engine.rules.into_iter();
    rules.map(|rule| rule.condition).collect()
}

#[test]
fn each_condition_is_read_with_its_defaults() {
    let found = conditions(&[
        "outside = [2, 8]",
        "inside = [2, 8]\nclear = [1, 9]",
        "equals = \"error\"",
        "not_equals = [true, 3, 1.5, \"ok\"]",
        "rate_above = 2\nper = \"1m\"\nover = \"5m\"\ndirection = \"rising\"",
        "deviation_above = 3\nover = \"1h\"",
        "below_percentile = 5\nover = \"1h\"\nleast = 100\nby = 0.5\nclear = 10",
        "above_metric = \"setpoint\"\nby = 2\nclear_by = 1\nmax_age = \"5m\"",
        "below_series = \"boiler/return\"",
        "stuck_for = \"1h\"",
        "equals = true\nmore_than = 5\nover = \"1h\"\ncounted = \"beginnings\"",
        "when = \"value > 3 and mean('5m') > 2\"\nclear_when = \"value < 2\"",
        "anomaly = \"low\"",
        "anomaly = \"medium\"",
        "anomaly = \"high\"",
        "anomaly_above = 0.8",
    ]);
    let span = Duration::from_secs;
    let duration = |text: &str| (text == "5m").then_some(span(300));
    let expression = |text| Expression::compile(text, &duration).unwrap();
    let expected = [
        Condition::Outside {
            range: (2.0, 8.0),
            clear: (2.0, 8.0),
        },
        Condition::Inside {
            range: (2.0, 8.0),
            clear: (1.0, 9.0),
        },
        Condition::Equals {
            values: vec![Value::Text("error".into())],
            wanted: true,
        },
        Condition::Equals {
            values: vec![
                Value::Bool(true),
                Value::Int(3),
                Value::Float(1.5),
                Value::Text("ok".into()),
            ],
            wanted: false,
        },
        Condition::Rate {
            limit: 2.0,
            clear: 2.0,
            per: span(60),
            over: span(300),
            direction: Direction::Up,
        },
        Condition::Deviation {
            limit: 3.0,
            clear: 3.0,
            over: span(3600),
            least: 10,
            by: 0.0,
            direction: Direction::Either,
        },
        Condition::Percentile {
            side: Side::Below,
            limit: 5.0,
            clear: 10.0,
            over: span(3600),
            least: 100,
            by: 0.5,
        },
        Condition::Versus {
            side: Side::Above,
            other: Of::Metric(Metric("setpoint".into())),
            by: 2.0,
            clear_by: 1.0,
            max_age: Some(span(300)),
        },
        Condition::Versus {
            side: Side::Below,
            other: Of::Series(SeriesKey::parse("boiler/return").unwrap()),
            by: 0.0,
            clear_by: 0.0,
            max_age: None,
        },
        Condition::Stuck {
            span: span(3600),
            tolerance: 0.0,
            least: 3,
        },
        Condition::Count {
            each: Box::new(Condition::Equals {
                values: vec![Value::Bool(true)],
                wanted: true,
            }),
            more_than: 5,
            over: span(3600),
            counted: Counted::Beginnings,
        },
        Condition::When {
            when: expression("value > 3 and mean('5m') > 2"),
            clear: Some(expression("value < 2")),
        },
        Condition::Unusual { limit: 0.65 },
        Condition::Unusual { limit: 0.5 },
        Condition::Unusual { limit: 0.35 },
        Condition::Unusual { limit: 0.8 },
    ];
    assert_eq!(found, expected);
}

#[test]
fn mistakes_of_a_condition_stand_at_their_key_and_say_what_to_do() {
    for (condition, line, column, part) in [
        ("outside = [8, 2]", 4, 11, "must not be above the second"),
        ("outside = 8", 4, 11, "list"),
        (
            "outside = [2, 8]\nclear = [1, 8]",
            5,
            9,
            "must lie within [2, 8]",
        ),
        ("inside = [2, 8]\nclear = [3, 9]", 5, 9, "must hold [2, 8]"),
        ("inside = [2, 8]\nclear = 3", 5, 9, "list"),
        ("above = 3\nclear = [1, 2]", 5, 9, "a number"),
        (
            "above = 3\nper = \"1m\"",
            5,
            7,
            "`per` goes with `rate_above`, not with `above`",
        ),
        (
            "above = 3\nover = \"1m\"",
            5,
            8,
            "only together with `more_than`",
        ),
        ("above = 3\nmore_than = 5", 1, 1, "needs `over`"),
        (
            "above = 3\nmore_than = 0\nover = \"1m\"",
            5,
            13,
            "between 1 and 499",
        ),
        (
            "above = 3\nmore_than = 2\nover = \"1m\"\ncounted = \"reading\"",
            7,
            11,
            "did you mean `readings`?",
        ),
        (
            "no_data_for = \"1m\"\nmore_than = 3",
            5,
            13,
            "goes with `above`",
        ),
        ("no_data_for = \"10ms\"", 4, 15, "at least \"1s\""),
        ("no_data_for = \"often\"", 4, 15, "or \"auto\""),
        ("no_data_for = 5", 4, 15, "or \"auto\""),
        ("change_above = 3", 1, 1, "needs `over`"),
        ("change_above = 0\nover = \"1m\"", 4, 16, "more than 0"),
        (
            "rate_above = -1\nper = \"1m\"\nover = \"1m\"",
            4,
            14,
            "`direction`",
        ),
        ("rate_above = 1\nover = \"1m\"", 1, 1, "needs `per`"),
        (
            "rate_above = 1\nper = \"1m\"\nover = \"1m\"\nclear = 2",
            7,
            9,
            "between 0 and the limit of 1",
        ),
        (
            "rate_above = 1\nper = \"1m\"\nover = \"1m\"\ndirection = \"above\"",
            7,
            13,
            "\"rising\"",
        ),
        (
            "deviation_above = 3\nover = \"1m\"\nleast = 1",
            6,
            9,
            "between 2 and",
        ),
        (
            "above_percentile = 101\nover = \"1m\"",
            4,
            20,
            "between 0 and 100",
        ),
        (
            "below_percentile = 5\nover = \"1m\"\nclear = 4",
            6,
            9,
            "must not be below 5",
        ),
        ("above_metric = \"a/b\"", 4, 16, "without `/`"),
        (
            "above_metric = \"*\"",
            4,
            16,
            "one metric of the same device",
        ),
        ("above_series = \"setpoint\"", 4, 16, "`above_metric`"),
        (
            "above_metric = \"a\"\nclear_by = 1",
            5,
            12,
            "must not be above `by`",
        ),
        (
            "stuck_for = \"1h\"\ntolerance = -1",
            5,
            13,
            "must not be below 0",
        ),
        ("anomaly = \"hihg\"", 4, 11, "did you mean `high`?"),
        ("anomaly_above = 1.0", 4, 17, "below 1, found 1"),
        ("anomaly_above = 0", 4, 17, "above 0"),
        ("anomaly = \"low\"\nclear = 3", 5, 9, "not with `anomaly`"),
        ("equals = []", 4, 10, "at least one value"),
        ("equals = [[1]]", 4, 10, "true, false, a number or a text"),
        (
            "when = \"value > 3 and vaule < 9\"",
            4,
            23,
            "did you mean `value`?",
        ),
        (
            "when = '''\nvalue > 3\nand mena(\"5m\") < 9'''",
            6,
            5,
            "did you mean `mean`?",
        ),
        (
            "when = \"value > mean(\\\"5 apples\\\")\"",
            4,
            8,
            "a time of at least",
        ),
        (
            "when = \"value > 3\"\nclear_when = \"value <\"",
            5,
            15,
            "no expression",
        ),
        (
            "above = 3\nmatch = { site = \"\" }",
            5,
            9,
            "names of labels",
        ),
        ("above = 3\nmatch = { site = 3 }", 5, 18, "text in quotes"),
        ("abvoe = 3", 1, 1, "none is given"),
    ] {
        let text = format!("[[rule]]\nname = \"a\"\nseries = \"*/t\"\n{condition}\n");
        let found = mistakes(&text);
        let is_it = |(l, c, message): &(usize, usize, String)| {
            (*l, *c) == (line, column) && message.contains(part)
        };
        assert!(found.iter().any(is_it), "{condition}: {found:?}");
    }
}

#[test]
fn a_rule_chooses_by_pattern_by_label_or_by_both() {
    let rule = |choice: &str| format!("[[rule]]\nname = \"a\"\n{choice}\nabove = 1\n");
    let chosen = |choice: &str| {
        let rule = parse_text(&rule(choice)).unwrap().engine.rules.remove(0);
        (rule.series.to_string(), rule.matching)
    };
    let north = BTreeMap::from([(String::from("site"), String::from("north"))]);
    assert_eq!(
        chosen("match = { site = \"north\" }"),
        (String::from("*/*"), north.clone())
    );
    assert_eq!(
        chosen("series = \"*/t\"\nmatch = { site = \"north\" }"),
        (String::from("*/t"), north)
    );
    let found = mistakes(&rule(""));
    assert!(found[0].2.contains("needs `series`"), "{found:?}");
}

#[test]
fn what_a_device_must_send_and_how_long_a_link_may_be_down_is_checked() {
    for (device, column, words) in [
        ("expect = [\"a/b\"]", 10, "names of metrics"),
        ("expect = [\"temp*\"]", 10, "names of metrics"),
        ("interval = \"0s\"", 12, "between"),
        ("intervall = \"1m\"", 1, "did you mean `interval`"),
    ] {
        let text = format!("[[device]]\nid = \"a\"\n{device}\n");
        let found = mistakes(&text);
        assert_eq!((found[0].0, found[0].1), (3, column), "{found:?}");
        assert!(found[0].2.contains(words), "{found:?}");
    }
    let text = "[[device]]\nid = \"a\"\nexpect = [\"t\"]\ninterval = \"30s\"\n\
                [[source]]\nname = \"l\"\ntype = \"mqtt_listener\"\ndown_for = \"5m\"\n";
    let engine = parse_text(text).unwrap().engine;
    assert_eq!(engine.devices[0].expect, ["t"]);
    assert_eq!(engine.devices[0].interval, Some(Duration::from_secs(30)));
    let sources: Vec<_> = engine
        .sources
        .iter()
        .map(|s| (s.name.as_str(), s.down_for.as_secs()))
        .collect();
    assert_eq!(sources, [("l", 300), ("push", 60)]);
}

#[test]
fn an_origin_is_written_as_browsers_write_it_and_what_is_none_is_refused() {
    for (text, written) in [
        ("https://Dash.Example.org", Some("https://dash.example.org")),
        (
            "https://dash.example.org:443/",
            Some("https://dash.example.org"),
        ),
        ("http://10.0.0.7:3000", Some("http://10.0.0.7:3000")),
        ("*", None),
        ("https://*.example.org", None),
        ("null", None),
        ("dash.example.org", None),
        ("https://dash.example.org/page", None),
        ("https://dash.example.org?x", None),
        ("https://user@dash.example.org", None),
        ("file:///tmp", None),
    ] {
        assert_eq!(super::web::origin(text).as_deref(), written, "{text}");
    }
}
