use std::{os::unix::fs::symlink, sync::Arc};

use serde_json::{Value, json};
use tests::{
    Events, Gateway, InfluxSink, Mosquitto, WebhookSink, eventually, free_port, peers::publish,
    sinks::Refusal, workspace_binary,
};

const LATER: i64 = 1_763_640_000_000;

async fn push(gateway: &Gateway, series: &str, value: f64, at_ms: i64) {
    let (device, metric) = series.split_once('/').unwrap();
    let body = json!({ "device": device, "metric": metric, "value": value, "time": at_ms });
    let (status, answer) = gateway
        .post("/api/v1/readings", "application/json", body.to_string())
        .await;
    assert_eq!(status, 200, "{answer}");
}

fn broker_source(port: u16) -> String {
    format!(
        "[[source]]\nname = \"plant\"\ntype = \"mqtt\"\nurl = \"mqtt://127.0.0.1:{port}\"\n[[source.mapping]]\ntopic = \"n/{{device}}\"\nformat = \"number\"\nmetric = \"v\"\n"
    )
}

fn listener(port: u16, rest: &str, metric: &str) -> String {
    format!(
        "[[source]]\nname = \"door\"\ntype = \"mqtt_listener\"\nlisten = \"127.0.0.1:{port}\"\n{rest}[[source.mapping]]\ntopic = \"l/{{device}}\"\nformat = \"number\"\nmetric = \"{metric}\"\n"
    )
}

fn rule(name: &str, rest: &str) -> String {
    format!("[[rule]]\nname = \"{name}\"\nseries = \"*/temperature\"\n{rest}")
}

fn webhook(name: &str, url: &str) -> String {
    format!("[[webhook]]\nname = \"{name}\"\nurl = \"{url}\"\n")
}

/// The local ports of all connections to this port that stand, as the kernel knows them.
fn connections_to(port: u16) -> Vec<String> {
    let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
    let mut found: Vec<String> = table
        .lines()
        .filter_map(|line| {
            let columns: Vec<&str> = line.split_whitespace().collect();
            let established = *columns.get(3)? == "01";
            let there = columns.get(2)?.ends_with(&format!(":{port:04X}"));
            (established && there).then(|| columns[1].to_owned())
        })
        .collect();
    found.sort();
    found
}

async fn source(gateway: &Gateway, name: &str) -> Value {
    let status = gateway.get("/api/v1/status").await;
    let all = status["sources"].as_array().unwrap();
    all.iter().find(|s| s["name"] == name).unwrap().clone()
}

async fn config_status(gateway: &Gateway) -> Value {
    gateway.get("/api/v1/status").await["config"].clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_that_comes_and_goes_touches_no_other_connection_stream_or_window() {
    let Some(broker) = Mosquitto::start().await else {
        return;
    };
    let port = free_port();
    let (alone, both) = (
        broker_source(broker.port),
        broker_source(broker.port) + &listener(port, "", "v"),
    );
    let mut gateway = Gateway::start(&alone).await;
    gateway.source_is("plant", "up").await;
    broker.publish(&["-q", "1", "-t", "n/a", "-m", "1"]).await;
    gateway.value("a/v", |v| v == 1.0).await;
    let (before, sockets) = (source(&gateway, "plant").await, connections_to(broker.port));
    assert_eq!(sockets.len(), 1, "{sockets:?}");
    push(&gateway, "w/x", 1.0, LATER).await;
    let mut events = Events::open(&gateway, "").await;
    assert_eq!(events.next().await.unwrap().kind, "snapshot");

    assert_eq!(gateway.reload(&both).await, "applied");
    gateway.source_is("door", "up").await;
    publish(port, &["-q", "1", "-t", "l/b", "-m", "2"]).await;
    gateway.value("b/v", |v| v == 2.0).await;
    assert_eq!(gateway.reload(&alone).await, "applied");
    gateway.source_is("door", "removed").await;
    assert!(
        tokio::net::TcpStream::connect(("127.0.0.1", port))
            .await
            .is_err(),
        "the port of a removed listener is closed"
    );
    // Its row stays as long as the process, and goes on when it comes back.
    let row = gateway.account("door", |row| row["accepted"] == 1).await;
    assert_eq!(row["removed"], true);
    assert_eq!(gateway.reload(&both).await, "applied");
    gateway.source_is("door", "up").await;
    publish(port, &["-q", "1", "-t", "l/b", "-m", "3"]).await;
    let row = gateway.account("door", |row| row["accepted"] == 2).await;
    assert_eq!(row["removed"], false);

    broker.publish(&["-q", "1", "-t", "n/a", "-m", "4"]).await;
    gateway.value("a/v", |v| v == 4.0).await;
    push(&gateway, "w/x", 3.0, LATER + 1).await;
    gateway.value("w/x", |v| v == 3.0).await;
    let after = source(&gateway, "plant").await;
    assert_eq!(
        (&after["connects"], &after["since_ms"]),
        (&before["connects"], &before["since_ms"])
    );
    assert_eq!(connections_to(broker.port), sockets);
    let windows = gateway.get("/api/v1/series/w/x/windows").await;
    assert_eq!(windows["windows"][0]["count"], 2);
    // The one stream heard it all.
    let last = |e: &tests::events::Event| {
        for kind in ["snapshot", "resume", "gap", "bye"] {
            assert_ne!(e.kind, kind, "the stream broke: {e:?}");
        }
        e.kind == "readings" && e.data["series"]["w/x"]["v"] == json!([3.0])
    };
    events.find("the last reading", last).await;
    gateway.account("plant", |row| row["accepted"] == 2).await;
    gateway.account("push", |row| row["accepted"] == 2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn other_mappings_hold_from_the_next_message_over_the_same_connections() {
    let port = free_port();
    let mut gateway = Gateway::start(&listener(port, "", "old")).await;
    // A client that stays: it hears the others' messages.
    let mut client = tokio::process::Command::new("mosquitto_sub")
        .args(["-p", &port.to_string(), "-t", "l/#", "-q", "1"])
        .stdout(std::process::Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let sockets = eventually("the client is connected", || async {
        let sockets = connections_to(port);
        (sockets.len() == 1).then_some(sockets)
    })
    .await;
    publish(port, &["-q", "1", "-t", "l/a", "-m", "1"]).await;
    gateway.value("a/old", |v| v == 1.0).await;

    assert_eq!(gateway.reload(&listener(port, "", "new")).await, "applied");
    publish(port, &["-q", "1", "-t", "l/a", "-m", "2"]).await;
    gateway.value("a/new", |v| v == 2.0).await;
    assert_eq!(source(&gateway, "door").await["connects"], 1);
    assert!(connections_to(port).contains(&sockets[0]));
    assert_eq!(client.try_wait().unwrap(), None, "the client was sent away");

    // Units and ranges too.
    let strict = format!(
        "{}[[metric]]\nname = \"new\"\nunit = \"Cel\"\nmax = 10\n",
        listener(port, "", "new")
    );
    assert_eq!(gateway.reload(&strict).await, "applied");
    publish(port, &["-q", "1", "-t", "l/a", "-m", "11"]).await;
    gateway
        .account("door", |row| row["rejected"]["out_of_range"] == 1)
        .await;
    assert!(connections_to(port).contains(&sockets[0]));

    // Another bound of the listener: it is set up anew, but the port is never closed.
    let narrow = listener(port, "max_connections = 7\n", "new");
    assert_eq!(gateway.reload(&narrow).await, "applied");
    publish(port, &["-q", "1", "-t", "l/a", "-m", "4"]).await;
    gateway.value("a/new", |v| v == 4.0).await;
    gateway.account("door", |row| row["accepted"] == 3).await;
}

async fn alert(gateway: &Gateway, rule: &str, wanted: &str) -> Value {
    eventually(&format!("the alert of {rule} is {wanted}"), || async {
        let alerts = gateway.get("/api/v1/alerts?state=all").await;
        let all = alerts["alerts"].as_array()?;
        all.iter()
            .find(|a| a["rule"] == rule && a["state"] == wanted)
            .cloned()
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn rules_that_ask_the_same_go_on_and_the_alerts_of_the_others_end_with_the_reason() {
    let hook = WebhookSink::start().await;
    let slow = rule("slow", "above = 80\nfor = \"60s\"\n");
    let (gone, other) = (rule("gone", "above = 70\n"), rule("other", "above = 60\n"));
    let hooks = webhook("ops", &hook.url());
    let mut gateway = Gateway::start(&format!("{slow}{gone}{other}{hooks}")).await;
    push(&gateway, "boiler/temperature", 90.0, LATER).await;
    let pending = alert(&gateway, "slow", "pending").await;
    alert(&gateway, "gone", "firing").await;
    let firing = alert(&gateway, "other", "firing").await;

    // One rule goes, one asks something else, one comes, one has new words.
    let reworded = format!("{slow}summary = \"call the plumber\"\n");
    let changed = rule("other", "above = 85\n");
    let new = rule("new", "above = 50\n");
    let config = format!("{new}{reworded}{changed}{hooks}");
    assert_eq!(gateway.reload(&config).await, "applied");
    let ended = alert(&gateway, "gone", "resolved").await;
    assert!(
        ended["summary"]
            .as_str()
            .unwrap()
            .contains("its rule was removed"),
        "{ended}"
    );
    let ended = alert(&gateway, "other", "resolved").await;
    assert_eq!(ended["id"], firing["id"]);
    assert!(
        ended["summary"]
            .as_str()
            .unwrap()
            .contains("its rule was changed"),
        "{ended}"
    );
    let still = alert(&gateway, "slow", "pending").await;
    assert_eq!(still["id"], pending["id"]);
    assert_eq!(still["began_ms"], pending["began_ms"]);

    // The hold runs on from where it was; the new rule and the changed one judge the next reading.
    push(&gateway, "boiler/temperature", 91.0, LATER + 61_000).await;
    let fired = alert(&gateway, "slow", "firing").await;
    assert_eq!(fired["id"], pending["id"]);
    alert(&gateway, "new", "firing").await;
    let again = alert(&gateway, "other", "firing").await;
    assert_ne!(again["id"], firing["id"]);
    let rules = gateway.get("/api/v1/rules").await;
    let names: Vec<_> = rules["rules"]
        .as_array()
        .unwrap()
        .iter()
        .map(|r| r["name"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(names, ["new", "slow", "other"]);
    // Each change was told once: gone and other fired and ended, then slow, new and other fired.
    eventually("all of it is told", || async {
        (hook.accepted().len() >= 7).then_some(())
    })
    .await;
    let ids: std::collections::BTreeSet<String> = hook
        .headers()
        .iter()
        .map(|h| h["webhook-id"].to_str().unwrap().to_owned())
        .collect();
    assert_eq!((ids.len(), hook.accepted().len()), (7, 7));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_webhook_that_is_being_retried_goes_on_and_one_that_comes_back_gets_what_waited() {
    let (hook, second) = (WebhookSink::start().await, WebhookSink::start().await);
    hook.refuse((0..3).map(|_| Refusal::status(503)));
    let hot = rule("hot", "above = 80\n");
    let ops = webhook("ops", &hook.url());
    let mut gateway = Gateway::start(&format!("{hot}{ops}")).await;
    push(&gateway, "boiler/temperature", 90.0, LATER).await;
    eventually("it was tried", || async {
        (hook.tries() >= 1).then_some(())
    })
    .await;
    let with_second = format!("{hot}{ops}{}", webhook("second", &second.url()));
    assert_eq!(gateway.reload(&with_second).await, "applied");
    eventually("it arrives", || async {
        (!hook.accepted().is_empty()).then_some(())
    })
    .await;
    // The second hears of what comes, not of what was.
    push(&gateway, "boiler/temperature", 60.0, LATER + 1_000).await;
    eventually("both hear of the end", || async {
        (hook.accepted().len() == 2 && second.accepted().len() == 1).then_some(())
    })
    .await;
    assert_eq!(hook.tries(), 3 + 2);

    // What waits for a webhook that is taken out stays, and goes to the new address when it is back.
    hook.refuse((0..100).map(|_| Refusal::status(503)));
    push(&gateway, "boiler/temperature", 95.0, LATER + 2_000).await;
    eventually("it was tried", || async {
        (hook.tries() > 5).then_some(())
    })
    .await;
    assert_eq!(gateway.reload(&hot).await, "applied");
    assert_eq!(gateway.get("/api/v1/status").await["webhooks"], json!([]));
    assert!(
        gateway.log().contains("no longer in the config"),
        "{}",
        gateway.log()
    );
    let third = WebhookSink::start().await;
    let moved = format!("{hot}{}", webhook("ops", &third.url()));
    assert_eq!(gateway.reload(&moved).await, "applied");
    eventually("what waited arrives", || async {
        (third.accepted().len() == 1).then_some(())
    })
    .await;
    assert_eq!(third.accepted()[0]["event"], "firing");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_file_changes_nothing_and_says_every_fault_with_its_place() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let good = rule("hot", "above = 80\n");
    let mut gateway = Gateway::start(&good).await;
    let mut events = Events::open(&gateway, "").await;
    assert_eq!(events.next().await.unwrap().kind, "snapshot");
    let rules = gateway.get("/api/v1/rules").await;

    let bad = "sight = \"x\"\n[[rule]]\nname = \"cold\"\nseries = \"*/temperature\"\nabove = \"much\"\n[[source]]\nname = \"s\"\ntype = \"serial\"\n";
    assert_eq!(gateway.reload(bad).await, "refused");
    let status = config_status(&gateway).await;
    let faults: Vec<String> = status["last_error"]["faults"]
        .as_array()
        .unwrap()
        .iter()
        .map(|f| f.as_str().unwrap().to_owned())
        .collect();
    // The first line is the one that the harness puts before.
    for (place, word) in [("2:1", "sight"), ("6:9", "above"), ("7:1", "device")] {
        let found = faults
            .iter()
            .any(|f| f.contains(&format!("gateway.toml:{place}:")) && f.contains(word));
        assert!(found, "no fault at {place} about {word}: {faults:#?}");
    }
    // As `gateway check` says them, and in the log too.
    let check = std::process::Command::new(workspace_binary("gateway"))
        .arg("check")
        .arg(gateway.dir.path().join("gateway.toml"))
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&check.stderr).into_owned();
    let log = gateway.log();
    for fault in &faults {
        assert!(said.contains(fault.as_str()), "{fault} is not in:\n{said}");
        let quoted = serde_json::to_string(fault).unwrap();
        assert!(log.contains(&quoted), "{fault} is not in:\n{log}");
    }
    assert_eq!(said.matches("gateway.toml:").count(), faults.len());
    assert_eq!(gateway.get("/api/v1/rules").await, rules);
    events
        .find("the page is told", |e| {
            e.kind == "status"
                && e.data["key"] == "config"
                && e.data["value"]["last_error"]["faults"].as_array().is_some()
        })
        .await;

    // What only shows when it is tried changes nothing either.
    let port = taken.local_addr().unwrap().port();
    let clash = listener(port, "", "v") + &rule("cold", "below = 2\n");
    assert_eq!(gateway.reload(&clash).await, "refused");
    let status = config_status(&gateway).await;
    assert!(
        status["last_error"]["faults"][0]
            .as_str()
            .unwrap()
            .contains(&port.to_string()),
        "{status}"
    );
    assert_eq!(gateway.get("/api/v1/rules").await, rules);

    assert_eq!(gateway.reload(&good).await, "unchanged");
    assert_eq!(config_status(&gateway).await["last_error"], Value::Null);
    assert_eq!(gateway.reloads().await["refused"], 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_only_a_restart_can_change_is_named_and_the_rest_is_applied() {
    let mut gateway = Gateway::start("").await;
    let asked = "[store]\nmemory_per_series = \"8 KiB\"\nlateness = \"5s\"\n[journal]\nkeep = \"8 MiB\"\n[push]\nenabled = false\n[[device]]\nid = \"boiler\"\nname = \"Boiler\"\nlabels = { floor = \"0\" }\n";
    push(&gateway, "boiler/t", 1.0, LATER).await;
    assert_eq!(gateway.reload(asked).await, "applied");
    let status = config_status(&gateway).await;
    assert_eq!(
        status["restart_needed"],
        json!(["push.enabled", "journal", "store.memory_per_series"])
    );
    assert_eq!(status["reloads"], 1);
    assert!(status["file"].as_str().unwrap().ends_with("gateway.toml"));
    let devices = gateway.get("/api/v1/devices").await;
    assert_eq!(devices["devices"][0]["name"], "Boiler");
    push(&gateway, "boiler/t", 2.0, LATER + 1).await;
    // Back as it was: no restart is needed any more.
    assert_eq!(gateway.reload("").await, "applied");
    assert_eq!(config_status(&gateway).await["restart_needed"], json!([]));
    let devices = gateway.get("/api/v1/devices").await;
    assert_eq!(devices["devices"][0]["name"], "boiler");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_archive_goes_on_where_it_was_when_it_is_changed_taken_out_and_put_back() {
    let influx = InfluxSink::start().await;
    let archive = |measurement: &str| {
        format!(
            "[influxdb]\nurl = \"{}\"\norg = \"o\"\nbucket = \"b\"\nlinger = \"0s\"\nmeasurement = \"{measurement}\"\n",
            influx.url()
        )
    };
    let mut gateway = Gateway::start("").await;
    push(&gateway, "a/v", 1.0, LATER).await;
    let lines = |n: usize| {
        let influx = influx.clone();
        async move {
            eventually(&format!("{n} lines are stored"), || async {
                (influx.lines().len() >= n).then_some(())
            })
            .await;
            assert_eq!(influx.lines().len(), n, "{:#?}", influx.lines());
        }
    };
    // One that is new begins with what the journal keeps.
    assert_eq!(gateway.reload(&archive("one")).await, "applied");
    lines(1).await;
    assert_eq!(gateway.reload(&archive("two")).await, "applied");
    push(&gateway, "a/v", 2.0, LATER + 1).await;
    lines(2).await;
    assert_eq!(gateway.reload("").await, "applied");
    push(&gateway, "a/v", 3.0, LATER + 2).await;
    let status = gateway.get("/api/v1/status").await;
    assert_eq!(status["archive"]["state"], "disabled");
    // With the name of a site, which is a tag.
    let sited = format!("site = \"hill\"\n{}", archive("two"));
    assert_eq!(gateway.reload(&sited).await, "applied");
    lines(3).await;
    let stored = influx.lines();
    assert!(stored[0].starts_with("one,device=a v=1"), "{stored:?}");
    assert!(stored[1].starts_with("two,device=a v=2"), "{stored:?}");
    assert!(
        stored[2].starts_with("two,device=a,site=hill v=3"),
        "{stored:?}"
    );
    assert_eq!(influx.faults(), Vec::<String>::new());
    assert_eq!(gateway.get("/api/v1/status").await["archive"]["written"], 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watched_file_is_applied_when_it_is_renamed_over_and_when_its_symlink_is_swapped() {
    let watched = |rest: &str| format!("watch_config = true\n{rest}");
    let port = free_port();
    let source = format!(
        "[[source]]\nname = \"door\"\ntype = \"mqtt_listener\"\nlisten = \"127.0.0.1:{port}\"\nmappings_file = \"maps/door.toml\"\n[[source.users]]\nname = \"u\"\npassword_file = \"maps/password\"\n"
    );
    let dir = Arc::new(tempfile::tempdir().unwrap());
    // As Kubernetes mounts it: what is named is a link into a folder that is a link.
    for (folder, metric) in [("v1", "old"), ("v2", "new")] {
        let folder = dir.path().join(folder);
        std::fs::create_dir(&folder).unwrap();
        std::fs::write(
            folder.join("door.toml"),
            format!("[[mapping]]\ntopic = \"l/{{device}}\"\nformat = \"number\"\nmetric = \"{metric}\"\n"),
        )
        .unwrap();
        std::fs::write(folder.join("password"), format!("{metric}-word\n")).unwrap();
    }
    let maps = dir.path().join("maps");
    symlink("v1", &maps).unwrap();
    let say = |password: &'static str, value: &'static str| async move {
        publish(
            port,
            &[
                "-u", "u", "-P", password, "-q", "1", "-t", "l/a", "-m", value,
            ],
        )
        .await;
    };
    let mut gateway = Gateway::start_in(Arc::clone(&dir), &watched(&source)).await;
    say("old-word", "1").await;
    gateway.value("a/old", |v| v == 1.0).await;

    // A rename over the file.
    let before = gateway.reloads().await;
    gateway.write_config(&watched(&format!(
        "{source}{}",
        rule("hot", "above = 80\n")
    )));
    assert_eq!(gateway.reloaded(&before).await, "applied");
    assert_eq!(
        gateway.get("/api/v1/rules").await["rules"][0]["name"],
        "hot"
    );

    // A swapped link: the mappings and the password are others.
    let before = gateway.reloads().await;
    let fresh = dir.path().join("maps.new");
    symlink("v2", &fresh).unwrap();
    std::fs::rename(&fresh, &maps).unwrap();
    assert_eq!(gateway.reloaded(&before).await, "applied");
    say("new-word", "2").await;
    gateway.value("a/new", |v| v == 2.0).await;

    // A bad one is told once, not every two seconds; and the next good one is taken.
    let before = gateway.reloads().await;
    gateway.write_config(&watched("[[rule]]\n"));
    assert_eq!(gateway.reloaded(&before).await, "refused");
    let before = gateway.reloads().await;
    gateway.write_config(&watched(&source));
    assert_eq!(gateway.reloaded(&before).await, "applied");
    assert_eq!(gateway.reloads().await["refused"], 1);
    assert_eq!(gateway.get("/api/v1/rules").await["rules"], json!([]));
    gateway.account("door", |row| row["accepted"] == 2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_demo_has_no_file_to_read_again_and_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let mut demo = tokio::process::Command::new(workspace_binary("gateway"))
        .args([
            "demo",
            "--listen",
            "127.0.0.1:0",
            "--mqtt",
            "127.0.0.1:0",
            "--data-dir",
        ])
        .arg(dir.path())
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut out = tokio::io::BufReader::new(demo.stdout.take().unwrap());
    let mut err = tokio::io::BufReader::new(demo.stderr.take().unwrap());
    let mut first = String::new();
    tests::within(
        "it introduces itself",
        tokio::io::AsyncBufReadExt::read_line(&mut out, &mut first),
    )
    .await
    .unwrap();
    let pid = i32::try_from(demo.id().unwrap()).unwrap();
    let signal = |signal| {
        rustix::process::kill_process(rustix::process::Pid::from_raw(pid).unwrap(), signal)
            .unwrap();
    };
    signal(rustix::process::Signal::HUP);
    tests::within("it says that there is no file", async {
        let mut line = String::new();
        while !line.contains("SIGHUP") {
            line.clear();
            let read = tokio::io::AsyncBufReadExt::read_line(&mut err, &mut line).await;
            assert!(read.unwrap() > 0, "the demo ended");
        }
    })
    .await;
    signal(rustix::process::Signal::TERM);
    let status = tests::within("it stops", demo.wait()).await.unwrap();
    assert!(status.success());
}

/// Sends over three ways, numbers every reading, and keeps a ledger.
fn scenario(broker: u16, listener: u16, http: u16) -> String {
    let device = |id: &str, transport: &str| {
        format!(
            "[[device]]\nid = \"{id}\"\n{transport}\nformat = \"json\"\ntime = \"epoch_ms\"\nsequence = true\ninterval = \"10ms\"\n\
             signal = [{{ metric = \"v\", shape = \"counter\", amplitude = 1 }}]\n"
        )
    };
    let mqtt =
        |port: u16| format!("mqtt = {{ port = {port}, topic = \"sim/{{device}}\", qos = 1 }}");
    let http = format!("http = {{ url = \"http://127.0.0.1:{http}/api/v1/readings\" }}");
    format!(
        "seed = 5\nduration = \"1h\"\n{}{}{}",
        device("m", &mqtt(broker)),
        device("l", &mqtt(listener)),
        device("h", &http)
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_reloads_under_load_lose_and_repeat_nothing() {
    let Some(broker) = Mosquitto::start().await else {
        return;
    };
    let (first, second) = (WebhookSink::start().await, WebhookSink::start().await);
    let (port, http) = (free_port(), free_port());
    let plant = |keep_alive: u32, ignore: &str| {
        format!(
            "[[source]]\nname = \"plant\"\ntype = \"mqtt\"\nurl = \"mqtt://127.0.0.1:{}\"\nkeep_alive = \"{keep_alive}s\"\n[[source.mapping]]\ntopic = \"sim/{{device}}\"\ntime = \"time\"\nignore = [\"{ignore}\"]\n",
            broker.port
        )
    };
    let door = format!(
        "[[source]]\nname = \"door\"\ntype = \"mqtt_listener\"\nlisten = \"127.0.0.1:{port}\"\n[[source.mapping]]\ntopic = \"sim/{{device}}\"\ntime = \"time\"\n"
    );
    let rising =
        |above: u32| format!("[[rule]]\nname = \"rising\"\nseries = \"*/seq\"\nabove = {above}\n");
    let ops = |sink: &WebhookSink| webhook("ops", &sink.url());
    // Each step is one change from the step before: a source comes, a mapping, a rule, a webhook, a connection, a source goes.
    let step = |n: u32| {
        let at = |from: u32| n % 6 >= from;
        let mut config = plant(
            if at(4) { 31 } else { 30 },
            if at(1) { "nothing" } else { "none" },
        );
        if at(0) && !at(5) {
            config += &door;
        }
        config + &rising(if at(2) { 20 } else { 10 }) + &ops(if at(3) { &first } else { &second })
    };
    let dir = Arc::new(tempfile::tempdir().unwrap());
    let mut gateway = Gateway::start_at(dir, &step(5), http).await;
    gateway.source_is("plant", "up").await;
    let (file, ledger) = (
        gateway.dir.path().join("scenario.toml"),
        gateway.dir.path().join("ledger.jsonl"),
    );
    std::fs::write(&file, scenario(broker.port, port, http)).unwrap();
    let simulator = workspace_binary("sensor-sim");
    let mut running = tokio::process::Command::new(&simulator)
        .arg("run")
        .arg(&file)
        .arg("--ledger")
        .arg(&ledger)
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut events = Events::open(&gateway, "types=snapshot").await;
    assert_eq!(events.next().await.unwrap().kind, "snapshot");
    for n in 0..100 {
        // Readings flow between any two.
        let before = gateway.account_sum("accepted").await;
        eventually("readings flow", || async {
            (gateway.account_sum("accepted").await > before).then_some(())
        })
        .await;
        assert_eq!(gateway.reload(&step(n)).await, "applied", "reload {n}");
    }
    // All that was sent to the listener finds it there at the end.
    assert_eq!(gateway.reload(&step(102)).await, "applied");
    gateway.source_is("door", "up").await;
    gateway.source_is("plant", "up").await;
    for series in ["m/seq", "l/seq", "h/seq"] {
        let now = gateway.value(series, |_| true).await["v"].as_f64().unwrap();
        gateway
            .value(series, |v| v.as_f64().is_some_and(|v| v > now))
            .await;
    }
    let id = i32::try_from(running.id().unwrap()).unwrap();
    rustix::process::kill_process(
        rustix::process::Pid::from_raw(id).unwrap(),
        rustix::process::Signal::TERM,
    )
    .unwrap();
    assert!(
        tests::within("the simulator ends", running.wait())
            .await
            .unwrap()
            .success()
    );
    let verify = || async {
        let verified = tokio::process::Command::new(&simulator)
            .arg("verify")
            .arg(&ledger)
            .arg("--gateway")
            .arg(gateway.url(""))
            .output()
            .await
            .unwrap();
        let said = String::from_utf8_lossy(&verified.stdout).into_owned();
        (verified.status.success(), said)
    };
    // What the broker still holds comes in time; what is lost never does.
    let (_, said) = eventually("the ledger is found again", || async {
        let verdict = verify().await;
        println!("{}", verdict.1);
        verdict.0.then_some(verdict)
    })
    .await;
    println!("{said}");
    for source in ["plant", "door", "push"] {
        let row = gateway
            .account(source, |row| row["accepted"].as_u64() > Some(100))
            .await;
        println!("{row}");
        assert_eq!(row["rejected"], json!({}), "{row}");
        assert_eq!(row["dropped"]["queue_full"], 0, "{row}");
    }
    assert_eq!(gateway.reloads().await["applied"], 101);
    // Every alert once, to whichever address was in force.
    let ids: Vec<String> = [&first, &second]
        .into_iter()
        .flat_map(WebhookSink::headers)
        .map(|h| h["webhook-id"].to_str().unwrap().to_owned())
        .collect();
    let different: std::collections::BTreeSet<&String> = ids.iter().collect();
    assert_eq!(different.len(), ids.len(), "a delivery was made twice");
    assert!(ids.len() >= 6, "{ids:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn listeners_swap_ports_and_names_and_no_port_is_given_twice() {
    let (left, right) = (free_port(), free_port());
    let named = |name: &str, port: u16| {
        listener(port, "", name).replace("name = \"door\"", &format!("name = \"{name}\""))
    };
    let at = |a: u16, b: u16| named("a", a) + &named("b", b);
    let mut gateway = Gateway::start(&at(left, right)).await;
    publish(left, &["-q", "1", "-t", "l/d", "-m", "1"]).await;
    gateway.value("d/a", |v| v == 1.0).await;
    assert_eq!(gateway.reload(&at(right, left)).await, "applied");
    publish(left, &["-q", "1", "-t", "l/d", "-m", "2"]).await;
    gateway.value("d/b", |v| v == 2.0).await;
    publish(right, &["-q", "1", "-t", "l/d", "-m", "3"]).await;
    gateway.value("d/a", |v| v == 3.0).await;
    // Another name for what is there: the port goes with it.
    let renamed = named("c", right) + &named("b", left);
    assert_eq!(gateway.reload(&renamed).await, "applied");
    publish(right, &["-q", "1", "-t", "l/d", "-m", "4"]).await;
    gateway.value("d/c", |v| v == 4.0).await;
    gateway.source_is("a", "removed").await;
    // Two on one port is nothing that a reload may leave half done.
    let both = named("c", right) + &named("b", right);
    assert_eq!(gateway.reload(&both).await, "refused");
    publish(left, &["-q", "1", "-t", "l/d", "-m", "5"]).await;
    gateway.value("d/b", |v| v == 5.0).await;
    for source in ["a", "b", "c"] {
        gateway.account(source, |row| row["accepted"] != 0).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_storm_of_signals_ends_with_the_last_config() {
    let port = free_port();
    let mut gateway = Gateway::start("").await;
    for n in 0..40 {
        let source = if n % 2 == 0 {
            listener(port, "", "v")
        } else {
            String::new()
        };
        gateway.write_config(&(source + &rule(&format!("r{n}"), "above = 1\n")));
        gateway.signal(rustix::process::Signal::HUP);
    }
    let gateway = &gateway;
    eventually("the last one is in force", || async move {
        let rules = gateway.get("/api/v1/rules").await;
        (rules["rules"][0]["name"] == "r39").then_some(())
    })
    .await;
    assert_eq!(gateway.reloads().await["refused"], 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_in_the_middle_of_a_reload_is_a_good_one() {
    for _ in 0..5 {
        let port = free_port();
        let mut gateway = Gateway::start(&listener(port, "", "v")).await;
        push(&gateway, "a/v", 1.0, LATER).await;
        gateway.write_config(&listener(port, "max_connections = 7\n", "w"));
        gateway.signal(rustix::process::Signal::HUP);
        gateway.signal(rustix::process::Signal::TERM);
        let (status, stopped) = gateway.stop_waiting().await;
        assert!(status.success(), "{status}");
        let gateway = stopped.start().await;
        gateway.value("a/v", |v| v == 1.0).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn more_names_of_sources_than_a_process_keeps_rows_for_are_refused() {
    let mut gateway = Gateway::start("").await;
    let many: String = (0..1_024)
        .map(|n| {
            format!("[[source]]\nname = \"s{n}\"\ntype = \"serial\"\ndevice = \"/nowhere/{n}\"\n")
        })
        .collect();
    assert_eq!(gateway.reload(&many).await, "refused");
    let fault = config_status(&gateway).await["last_error"]["faults"][0].clone();
    assert!(fault.as_str().unwrap().contains("1024"), "{fault}");
    let status = gateway.get("/api/v1/status").await;
    assert_eq!(status["sources"].as_array().unwrap().len(), 1);
}
