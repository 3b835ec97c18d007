use std::path::Path;

use super::*;

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
    assert_eq!(config.webhooks[0].token.as_ref().unwrap().0, "hunter2");
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
    let found = mistakes(
        "[http]\nlisten = \"0.0.0.0:8080\"\n[[source]]\nname = \"m\"\ntype = \"mqtt_listener\"\nlisten = \"[::]:1883\"\n",
    );
    assert_eq!(found.iter().map(|m| m.0).collect::<Vec<_>>(), [2, 6]);
    assert!(parse_text("[http]\nlisten = \"0.0.0.0:8080\"\nwithout_login = true\n").is_ok());
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
