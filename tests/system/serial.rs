//! Serial ports that are pulled, renamed, flooded, silent, noisy or broken: each costs its own readings alone, and says so.

use std::{
    io::Write as _,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use rustix::pty::OpenptFlags;
use serde_json::{Value, json};
use tests::{Gateway, Line, eventually, peers};

fn port(name: &str, device: &Path, more: &str) -> String {
    format!(
        "[[source]]\nname = \"{name}\"\ntype = \"serial\"\ndevice = \"{}\"\n{more}\n[[source.mapping]]\nformat = \"key_value\"\n",
        device.display()
    )
}

/// A source beside the one that is in trouble.
const NEIGHBOUR: &str = "[[source]]\nname = \"l\"\ntype = \"mqtt_listener\"\nlisten = \"127.0.0.1:0\"\n\
                         [[source.mapping]]\ntopic = \"n/{device}\"\nformat = \"number\"\nmetric = \"v\"\n";

async fn detail(gateway: &Gateway, name: &str) -> Value {
    let status = gateway.get("/api/v1/status").await;
    let mut sources = status["sources"].as_array().unwrap().iter();
    sources.find(|s| s["name"] == name).unwrap().clone()
}

async fn says(gateway: &Gateway, name: &str, words: &str) -> Value {
    eventually(&format!("{name} says \"{words}\""), || async {
        let source = detail(gateway, name).await;
        source["detail"].as_str()?.contains(words).then_some(source)
    })
    .await
}

/// The neighbour takes a reading as if nothing were.
async fn neighbour_takes(gateway: &Gateway, value: f64) {
    let port = gateway.listeners[0].port();
    peers::publish(port, &["-q", "1", "-t", "n/d", "-m", &value.to_string()]).await;
    gateway.value("d/v", |v| *v == value).await;
    gateway
        .account("l", |row| row["accepted"] == row["received"])
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_pulled_in_mid_line_and_back_under_another_name_loses_half_a_line_and_says_so() {
    if tests::installed("mosquitto_pub").is_none() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let link = dir.path().join("usb-sensor-if00");
    let mut line = Line::plug_in(&link);
    let first = std::fs::canonicalize(&link).unwrap();
    let gateway = Gateway::start(&format!("{}{NEIGHBOUR}", port("s", &link, ""))).await;
    gateway.source_is("s", "up").await;
    assert!(says(&gateway, "s", first.to_str().unwrap()).await["detail"].is_string());
    line.send("t=1\nt=2\nt=");
    gateway.value("s/t", |v| v == 2.0).await;
    // Something else takes the old name meanwhile.
    line.unplug();
    says(&gateway, "s", "unplugged").await;
    let other = dir.path().join("other");
    let _taken = Line::plug_in(&other);
    neighbour_takes(&gateway, 1.0).await;
    line.plug_in_again();
    // A line of another test may have left the old name to it meanwhile.
    let mut others = Vec::new();
    while std::fs::canonicalize(&link).unwrap() == first {
        line.unplug();
        others.push(Line::plug_in(&dir.path().join(others.len().to_string())));
        line.plug_in_again();
    }
    let second = std::fs::canonicalize(&link).unwrap();
    says(&gateway, "s", second.to_str().unwrap()).await;
    line.send("t=3\n");
    gateway.value("s/t", |v| v == 3.0).await;
    let row = gateway.account("s", |row| row["accepted"] == 3).await;
    assert_eq!(row["rejected"], json!({ "malformed": 1 }), "{row}");
    let rejects = gateway.get("/api/v1/rejects").await;
    assert_eq!(rejects["rejects"][0]["payload"], "t=");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_that_comes_and_goes_all_the_time_is_told_once() {
    let dir = tempfile::tempdir().unwrap();
    let link = dir.path().join("loose");
    let mut line = Line::plug_in(&link);
    let gateway = Gateway::start(&port("s", &link, "")).await;
    for i in 1..=4 {
        gateway.source_is("s", "up").await;
        line.send(format!("t={i}\n"));
        gateway.value("s/t", |v| *v == i).await;
        line.unplug();
        gateway.source_is("s", "down").await;
        line.plug_in_again();
    }
    gateway.source_is("s", "up").await;
    let warnings = gateway.log().matches("\"level\":\"WARN\"").count();
    assert_eq!(warnings, 1, "{}", gateway.log());
    gateway.account("s", |row| row["accepted"] == 4).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_flooded_at_full_speed_drops_its_oldest_and_harms_nobody() {
    if tests::installed("mosquitto_pub").is_none() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let link = dir.path().join("flood");
    let line = Line::plug_in(&link);
    // Few may wait, so that a slow machine drops some and a fast one at least stays in its bounds.
    let config = port("s", &link, "max_waiting_messages = 200");
    let gateway = Gateway::start(&format!("{config}{NEIGHBOUR}")).await;
    gateway.source_is("s", "up").await;
    let (stop, sent) = (
        Arc::new(AtomicBool::new(false)),
        Arc::new(AtomicU64::new(0)),
    );
    let flooding = std::thread::spawn({
        let (stop, sent) = (Arc::clone(&stop), Arc::clone(&sent));
        let mut master = line.master();
        move || {
            while !stop.load(Ordering::SeqCst) {
                let n = sent.load(Ordering::SeqCst);
                let lines: String = (n..n + 100).map(|i| format!("t={i}\n")).collect();
                master.write_all(lines.as_bytes()).unwrap();
                sent.store(n + 100, Ordering::SeqCst);
            }
        }
    });
    for i in 1..=10 {
        neighbour_takes(&gateway, f64::from(i)).await;
    }
    eventually("a flood came", || async {
        (sent.load(Ordering::SeqCst) > 20_000).then_some(())
    })
    .await;
    stop.store(true, Ordering::SeqCst);
    flooding.join().unwrap();
    let sent = sent.load(Ordering::SeqCst);
    // The newest is there whatever was dropped, and every line is in the account.
    gateway.value("s/t", |v| *v == sent - 1).await;
    let row = gateway.account("s", |row| row["received"] == sent).await;
    assert_eq!(row["rejected"], json!({}), "{row}");
    assert_eq!(
        row["accepted"].as_u64().unwrap() + row["dropped"]["queue_full"].as_u64().unwrap(),
        sent
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_silent_port_is_up_and_says_since_when_it_is_silent() {
    let dir = tempfile::tempdir().unwrap();
    let link = dir.path().join("silent");
    let mut line = Line::plug_in(&link);
    let gateway = Gateway::start(&port("s", &link, "silent_after = \"1s\"")).await;
    let source = says(&gateway, "s", "silent since 20").await;
    assert_eq!(
        (&source["state"], &source["last_message_ms"]),
        (&json!("up"), &json!(null))
    );
    line.send("t=1\n");
    gateway.value("s/t", |v| v == 1.0).await;
    let source = says(&gateway, "s", "silent since 20").await;
    assert!(
        source["last_message_ms"].as_i64() > Some(1_700_000_000_000),
        "{source}"
    );
    line.send("t=2\n");
    eventually("it is not silent any more", || async {
        let source = detail(&gateway, "s").await;
        (!source["detail"].as_str()?.contains("silent since")).then_some(())
    })
    .await;
    gateway.account("s", |row| row["accepted"] == 2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn binary_garbage_is_rejects_and_the_next_line_is_taken() {
    if tests::installed("mosquitto_pub").is_none() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let link = dir.path().join("noise");
    let mut line = Line::plug_in(&link);
    let gateway = Gateway::start(&format!("{}{NEIGHBOUR}", port("s", &link, ""))).await;
    gateway.source_is("s", "up").await;
    // The same noise every time; control characters among it mean nothing to a port in raw mode.
    let mut state = 7_u32;
    let noise: Vec<u8> = std::iter::repeat_with(|| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    })
    .take(200_000)
    .collect();
    line.send(&noise);
    neighbour_takes(&gateway, 1.0).await;
    line.send("\nt=42\n");
    gateway.value("s/t", |v| v == 42.0).await;
    let row = gateway
        .account("s", |row| {
            row["rejected"].as_object().is_some_and(|r| !r.is_empty())
        })
        .await;
    assert!(row["received"].as_u64() > Some(100), "{row}");
    let status = gateway.get("/api/v1/status").await;
    assert!(
        gateway.log().lines().count() < 50,
        "noise must not fill the log: {status}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_serial_port_is_told_and_used_as_soon_as_it_is_one() {
    if tests::installed("mosquitto_pub").is_none() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    std::fs::write(at("file"), "t=1\n").unwrap();
    std::fs::create_dir(at("folder")).unwrap();
    std::os::unix::fs::symlink("/dev/full", at("full")).unwrap();
    std::os::unix::fs::symlink("/dev/null", at("null")).unwrap();
    // A terminal that is there and answers with EIO: it was never unlocked.
    let locked = rustix::pty::openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
    rustix::pty::grantpt(&locked).unwrap();
    let tty = rustix::pty::ptsname(&locked, Vec::new()).unwrap();
    std::os::unix::fs::symlink(tty.to_str().unwrap(), at("failing")).unwrap();
    let cases = [
        ("file", "not a serial port"),
        ("folder", "not a serial port"),
        ("full", "not a serial port"),
        ("null", "not a serial port"),
        ("failing", "/failing: "),
        ("absent", "no such device; plug it in"),
    ];
    let config: String = cases
        .iter()
        .map(|(name, _)| port(name, &at(name), ""))
        .collect();
    let gateway = Gateway::start(&format!("{config}{NEIGHBOUR}")).await;
    for (name, words) in cases {
        let source = says(&gateway, name, words).await;
        assert_eq!(source["state"], "down", "{source}");
        let told = format!("\"source\":\"{name}\"");
        let warnings = gateway
            .log()
            .lines()
            .filter(|l| l.contains("WARN") && l.contains(&told))
            .count();
        assert_eq!(warnings, 1, "{name}: {}", gateway.log());
    }
    neighbour_takes(&gateway, 1.0).await;
    // Held until the end: the number of a terminal that is gone is given to the next one, and an old link would lead there.
    let mut lines = Vec::new();
    for (name, _) in cases {
        drop(std::fs::remove_file(at(name)));
        drop(std::fs::remove_dir(at(name)));
        let mut line = Line::plug_in(&at(name));
        gateway.source_is(name, "up").await;
        line.send("t=5\n");
        gateway.value(&format!("{name}/t"), |v| v == 5.0).await;
        gateway.account(name, |row| row["accepted"] == 1).await;
        lines.push(line);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_that_another_program_holds_is_told_and_taken_when_it_is_free() {
    use tokio_serial::SerialPortBuilderExt as _;
    let dir = tempfile::tempdir().unwrap();
    let link = dir.path().join("held");
    let mut line = Line::plug_in(&link);
    let holder = tokio_serial::new(link.to_str().unwrap(), 9_600)
        .open_native_async()
        .unwrap();
    let gateway = Gateway::start(&port("s", &link, "")).await;
    // Root may open what is held exclusively; then there is nothing to tell.
    if rustix::process::geteuid().is_root() {
        println!("skipped: root is not kept out of a port that another program holds");
    } else {
        says(&gateway, "s", "another program has it open").await;
    }
    drop(holder);
    gateway.source_is("s", "up").await;
    line.send("t=1\n");
    gateway.value("s/t", |v| v == 1.0).await;
    gateway.account("s", |row| row["accepted"] == 1).await;
}
