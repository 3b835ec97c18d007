use super::*;

const START: i64 = 1_767_225_600_000_000_000;
const FAULTS: &str = include_str!("../../../config/scenarios/faults.toml");

fn scenario(device: &str) -> Scenario {
    Scenario::parse(&format!(
        "duration = \"10s\"\n[[device]]\nid = \"d\"\nserial = {{}}\ninterval = \"1s\"\n{device}"
    ))
    .unwrap()
}

fn ticks(scenario: &Scenario, index: usize) -> Vec<Tick> {
    Plan::new(scenario, index, START).unwrap().collect()
}

fn messages(scenario: &Scenario) -> Vec<Message> {
    ticks(scenario, 0)
        .into_iter()
        .flat_map(|tick| tick.actions)
        .filter_map(|action| match action {
            Action::Send(message) => Some(message),
            Action::Disconnect(_) => None,
        })
        .collect()
}

fn texts(scenario: &Scenario) -> Vec<String> {
    messages(scenario)
        .iter()
        .map(|m| String::from_utf8_lossy(&m.payload).into_owned())
        .collect()
}

const COUNTER: &str =
    "format = \"number\"\nsignal = [{ metric = \"n\", shape = \"counter\", decimals = 0 }]\n";

#[test]
fn the_same_seed_gives_the_same_bytes_and_another_seed_others() {
    let scenario = Scenario::parse(FAULTS).unwrap();
    let mut other = scenario.clone();
    other.seed += 1;
    for index in 0..scenario.devices.len() {
        let once = ticks(&scenario, index);
        assert!(once.iter().any(|tick| !tick.actions.is_empty()));
        assert_eq!(once, ticks(&scenario, index));
        assert_ne!(once, ticks(&other, index), "{}", scenario.devices[index].id);
    }
}

#[test]
fn another_device_or_fault_leaves_the_values_as_they_were() {
    let alone = scenario("format = \"json\"\nsignal = [{ metric = \"n\", noise = 1.0 }]");
    let with_fault = scenario(
        "format = \"json\"\nsignal = [{ metric = \"n\", noise = 1.0 }]\nfault = [{ kind = \"duplicate\", probability = 1.0 }]",
    );
    let once: Vec<_> = messages(&with_fault)
        .into_iter()
        .filter(|m| !m.copy)
        .collect();
    assert_eq!(once, messages(&alone));
}

#[test]
fn a_run_ends_at_its_duration() {
    assert_eq!(
        texts(&scenario(COUNTER)),
        ["0", "1", "2", "3", "4", "5", "6", "7", "8", "9"]
    );
}

#[test]
fn each_fault_does_to_the_messages_what_it_is_named_for() {
    let with = |fault: &str| texts(&scenario(&format!("{COUNTER}fault = [{{ {fault} }}]")));
    assert_eq!(
        with("kind = \"drop_out\", every = \"4s\", for = \"2s\""),
        ["0", "1", "2", "3", "6", "7"]
    );
    assert_eq!(
        with("kind = \"spike\", every = \"4s\", magnitude = 100"),
        ["0", "1", "2", "3", "104", "5", "6", "7", "108", "9"]
    );
    assert_eq!(
        with("kind = \"stuck\", every = \"3s\", for = \"3s\", times = 1"),
        ["0", "1", "2", "3", "3", "3", "6", "7", "8", "9"]
    );
    assert_eq!(
        with("kind = \"drift\", every = \"4s\", for = \"2s\", magnitude = 10, times = 1"),
        ["0", "1", "2", "3", "4", "10", "6", "7", "8", "9"]
    );
    assert_eq!(
        with("kind = \"duplicate\", every = \"8s\""),
        ["0", "1", "2", "3", "4", "5", "6", "7", "8", "8", "9"]
    );
    assert_eq!(
        with("kind = \"reorder\", every = \"7s\", depth = 2"),
        ["0", "1", "2", "3", "4", "5", "6", "8", "9", "7"]
    );
    assert_eq!(
        with("kind = \"reorder\", every = \"9s\", depth = 5"),
        ["0", "1", "2", "3", "4", "5", "6", "7", "8", "9"],
        "what is still held back at the end goes out then"
    );
    assert_eq!(
        with("kind = \"not_a_number\", every = \"9s\""),
        ["0", "1", "2", "3", "4", "5", "6", "7", "8", "nan"]
    );
}

#[test]
fn a_disconnect_is_asked_for_once() {
    let scenario = scenario(&format!(
        "{COUNTER}fault = [{{ kind = \"disconnect\", every = \"4s\", for = \"2s\", times = 1 }}]"
    ));
    let asked: Vec<_> = ticks(&scenario, 0)
        .into_iter()
        .flat_map(|tick| {
            tick.actions
                .into_iter()
                .map(move |action| (tick.at, action))
        })
        .filter(|(_, action)| matches!(action, Action::Disconnect(_)))
        .collect();
    assert_eq!(
        asked,
        [(
            Duration::from_secs(4),
            Action::Disconnect(Duration::from_secs(2))
        )]
    );
}

#[test]
fn garbage_is_no_text_and_has_no_line_end() {
    let scenario = scenario(&format!(
        "{COUNTER}fault = [{{ kind = \"garbage\", probability = 1.0 }}]"
    ));
    for message in messages(&scenario) {
        assert!(std::str::from_utf8(&message.payload).is_err());
        assert!(message.payload.iter().all(|byte| *byte >= 0x80));
        assert_eq!(message.expect, Expect::Rejected);
        assert!(message.readings.is_empty());
    }
}

#[test]
fn a_nan_makes_its_json_neighbours_uncertain_and_its_csv_neighbours_not() {
    let with = |format: &str| {
        let scenario = scenario(&format!(
            "format = \"{format}\"\nsequence = true\nsignal = [{{ metric = \"n\" }}]\nfault = [{{ kind = \"not_a_number\", probability = 1.0 }}]"
        ));
        let first = messages(&scenario).remove(0);
        (first.readings[0].expect, first.readings[1].expect)
    };
    assert_eq!(with("json"), (Expect::Rejected, Expect::Either));
    assert_eq!(with("csv"), (Expect::Rejected, Expect::Stored));
}

#[test]
fn the_ledgers_time_is_the_payloads_and_jumps_with_the_clock() {
    let scenario = scenario(
        "format = \"json\"\ntime = \"epoch_s\"\nsignal = [{ metric = \"n\" }]\nfault = [{ kind = \"clock_jump\", jump = \"-2h\", every = \"9s\" }]",
    );
    let all = messages(&scenario);
    assert_eq!(
        all[0].payload,
        r#"{"time":1767225600.000,"n":0.00}"#.as_bytes()
    );
    assert_eq!(all[0].time, Some(START));
    assert_eq!(all[9].time, Some(START + 9_000_000_000 - 7_200_000_000_000));
    assert_eq!(
        all[9].payload,
        r#"{"time":1767218409.000,"n":0.00}"#.as_bytes()
    );
}
