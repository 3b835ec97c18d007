//! Brokers that go away, forget, limit, refuse and repeat: ingest goes on by itself, nothing acknowledged is lost, nothing is
//! stored twice.

use std::{
    path::Path,
    process::Stdio,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use serde_json::Value;
use tests::{Gateway, Mosquitto, eventually, within, workspace_binary};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    process::Command,
    time::Instant,
};
use tokio_util::sync::CancellationToken;

fn source(port: u16, more: &str, mappings: &str) -> String {
    format!(
        "[[source]]\nname = \"plant\"\ntype = \"mqtt\"\nurl = \"mqtt://127.0.0.1:{port}\"\n{more}\n{mappings}"
    )
}

/// A number a message, stamped on arrival.
const NUMBERS: &str =
    "[[source.mapping]]\ntopic = \"n/{device}\"\nformat = \"number\"\nmetric = \"v\"\n";

/// The values of a series that the gateway holds, by time.
async fn values(gateway: &Gateway, series: &str) -> Vec<f64> {
    let path = format!("/api/v1/series/{series}/points?from=0&to=4000000000000&points=5000");
    let points = gateway.get(&path).await;
    let values = points["v"].as_array().cloned().unwrap_or_default();
    values.iter().filter_map(Value::as_f64).collect()
}

/// What the status says of the source.
async fn detail(gateway: &Gateway) -> (String, String, u64) {
    let status = gateway.get("/api/v1/status").await;
    let source = &status["sources"][0];
    (
        source["state"].as_str().unwrap_or_default().to_owned(),
        source["detail"].as_str().unwrap_or_default().to_owned(),
        source["connects"].as_u64().unwrap_or_default(),
    )
}

/// Up comes with the connection; what is published before the broker has the subscription is not for us.
async fn subscribed(gateway: &Gateway) {
    gateway.source_is("plant", "up").await;
    eventually("the broker has the subscription", || async {
        gateway
            .log()
            .contains("\"message\":\"subscribed\"")
            .then_some(())
    })
    .await;
}

async fn says(gateway: &Gateway, words: &str) {
    eventually(&format!("the status says \"{words}\""), || async {
        detail(gateway).await.1.contains(words).then_some(())
    })
    .await;
}

/// Simulated devices at QoS 1 through `port`: one whose readings carry their time and one whose readings are stamped on
/// arrival. Both number their readings.
fn scenario(folder: &Path, port: u16, seconds: u32) {
    let mut text = format!("seed = 6\nduration = \"{seconds}s\"\n");
    for (device, time) in [("timed", "epoch_ms"), ("stamped", "none")] {
        text += &format!(
            "[[device]]\nid = \"{device}\"\nmqtt = {{ port = {port}, topic = \"sim/{{device}}\", qos = 1 }}\nformat = \"json\"\n\
             time = \"{time}\"\nsequence = true\ninterval = \"10ms\"\n\
             signal = [{{ metric = \"power\", shape = \"constant\", offset = 1 }}]\n"
        );
    }
    std::fs::write(folder.join("scenario.toml"), text).unwrap();
}

fn simulator(folder: &Path) -> Command {
    let mut command = Command::new(workspace_binary("sensor-sim"));
    command
        .current_dir(folder)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true);
    command
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_restarts_loses_and_repeats_nothing_at_an_in_flight_limit_of_1_and_of_20() {
    for (limit, version) in [(1, "3.1.1"), (20, "3.1.1"), (20, "5")] {
        let settings = format!("max_inflight_messages {limit}\nmax_queued_messages 100000\n");
        let Some(mut broker) = Mosquitto::start_with(&settings).await else {
            return;
        };
        let config = source(
            broker.port,
            &format!("version = \"{version}\""),
            "[[source.mapping]]\ntopic = \"sim/{device}\"\ntime = \"time\"\n",
        );
        let gateway = Gateway::start(&config).await;
        subscribed(&gateway).await;
        let folder = tempfile::tempdir().unwrap();
        scenario(folder.path(), broker.port, 4);
        let sending = simulator(folder.path())
            .args(["run", "scenario.toml", "--ledger", "ledger"])
            .spawn()
            .unwrap();
        for wanted in [100, 300] {
            eventually("readings come", || async {
                let status = gateway.get("/api/v1/status").await;
                (status["sources"][0]["accepted"].as_u64()? >= wanted).then_some(())
            })
            .await;
            broker.stop().await;
            gateway.source_is("plant", "down").await;
            broker.start_again().await;
            gateway.source_is("plant", "up").await;
        }
        assert!(sending.wait_with_output().await.unwrap().status.success());
        let report: Value = eventually("everything is found again", || async {
            let verified = simulator(folder.path())
                .args(["verify", "ledger", "--gateway", &gateway.url("")])
                .output()
                .await
                .unwrap();
            let report: Value = serde_json::from_slice(&verified.stdout).ok()?;
            let missing = |device: &str| report["devices"][device]["missing"] != 0;
            (!missing("timed") && !missing("stamped")).then_some(report)
        })
        .await;
        assert_eq!(report["ok"], true, "limit {limit}, {version}: {report}");
        gateway
            .account("plant", |row| row["accepted"].as_u64() > Some(600))
            .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_comes_late_goes_away_and_forgets_everything_is_used_as_soon_as_it_is_there()
{
    let Some(mut broker) = Mosquitto::start().await else {
        return;
    };
    broker.stop().await;
    let gateway = Gateway::start(&source(broker.port, "", NUMBERS)).await;
    says(&gateway, "nothing listens there").await;
    broker.start_again().await;
    gateway.source_is("plant", "up").await;
    broker.publish(&["-q", "1", "-t", "n/d", "-m", "1"]).await;
    gateway.value("d/v", |v| v == 1.0).await;
    broker.stop().await;
    broker.forget();
    gateway.source_is("plant", "down").await;
    broker.start_again().await;
    // It knows nothing of us: what comes before we have subscribed again is not for us.
    eventually("ingest goes on", || async {
        broker.publish(&["-q", "1", "-t", "n/d", "-m", "2"]).await;
        let series = gateway.get("/api/v1/series").await;
        (series["series"][0]["v"] == 2.0).then_some(())
    })
    .await;
    gateway
        .account("plant", |row| row["accepted"].as_u64() >= Some(2))
        .await;
}

/// Between a broker and its clients: passes everything on, until what goes to the broker is swallowed, and cuts.
struct Wire {
    port: u16,
    deaf: Arc<AtomicBool>,
    cut: Arc<std::sync::Mutex<CancellationToken>>,
}

impl Wire {
    async fn to(broker: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let wire = Self {
            port: listener.local_addr().unwrap().port(),
            deaf: Arc::default(),
            cut: Arc::default(),
        };
        let (deaf, cut) = (Arc::clone(&wire.deaf), Arc::clone(&wire.cut));
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let token = cut.lock().unwrap().clone();
                let deaf = Arc::clone(&deaf);
                tokio::spawn(token.run_until_cancelled_owned(pass_on(client, broker, deaf)));
            }
        });
        wire
    }

    /// Ends what is connected; the next connection is heard again.
    fn cut(&self) {
        self.deaf.store(false, Ordering::SeqCst);
        std::mem::take(&mut *self.cut.lock().unwrap()).cancel();
    }
}

async fn pass_on(client: TcpStream, broker: u16, deaf: Arc<AtomicBool>) {
    let Ok(server) = TcpStream::connect(("127.0.0.1", broker)).await else {
        return;
    };
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    let up = async move {
        let mut bytes = vec![0; 65_536];
        while let Ok(n @ 1..) = from_client.read(&mut bytes).await {
            if !deaf.load(Ordering::SeqCst) && to_server.write_all(&bytes[..n]).await.is_err() {
                break;
            }
        }
    };
    tokio::select! {
        () = up => {}
        _ = tokio::io::copy(&mut from_server, &mut to_client) => {}
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_whose_acknowledgement_was_lost_are_not_stored_twice() {
    for version in ["3.1.1", "5"] {
        let Some(broker) = Mosquitto::start().await else {
            return;
        };
        let wire = Wire::to(broker.port).await;
        let more = format!("version = \"{version}\"");
        let gateway = Gateway::start(&source(wire.port, &more, NUMBERS)).await;
        subscribed(&gateway).await;
        broker.publish(&["-q", "1", "-t", "n/d", "-m", "0"]).await;
        gateway.value("d/v", |v| v == 0.0).await;
        wire.deaf.store(true, Ordering::SeqCst);
        for i in 1..=5 {
            broker
                .publish(&["-q", "1", "-t", "n/d", "-m", &i.to_string()])
                .await;
        }
        gateway.account("plant", |row| row["accepted"] == 6).await;
        wire.cut();
        eventually("they are recognised", || async {
            let metrics = reqwest::get(gateway.url("/metrics")).await.ok()?;
            let again = "gateway_messages_redelivered_total{source=\"plant\"} 5";
            metrics.text().await.ok()?.contains(again).then_some(())
        })
        .await;
        // All five ids are free again at the broker: more than it may have open goes through.
        for i in 6..=40 {
            broker
                .publish(&["-q", "1", "-t", "n/d", "-m", &i.to_string()])
                .await;
        }
        gateway.value("d/v", |v| v == 40.0).await;
        let expected: Vec<f64> = (0..=40).map(f64::from).collect();
        assert_eq!(values(&gateway, "d/v").await, expected);
        gateway.account("plant", |row| row["accepted"] == 41).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_killed_gateway_had_not_acknowledged_is_stored_once_if_it_carries_its_time() {
    let Some(broker) = Mosquitto::start().await else {
        return;
    };
    let wire = Wire::to(broker.port).await;
    let mapping = "[[source.mapping]]\ntopic = \"n/{device}\"\ntime = \"t\"\n";
    let gateway = Gateway::start(&source(wire.port, "", mapping)).await;
    subscribed(&gateway).await;
    wire.deaf.store(true, Ordering::SeqCst);
    for i in 1..=5 {
        let message = format!(
            "{{\"t\": {}, \"v\": {i}}}",
            1_763_640_000_000_i64 + i * 1000
        );
        broker
            .publish(&["-q", "1", "-t", "n/d", "-m", &message])
            .await;
    }
    gateway.account("plant", |row| row["accepted"] == 5).await;
    let stopped = gateway.kill().await;
    wire.cut();
    let gateway = stopped.start().await;
    gateway.account("plant", |row| row["duplicates"] == 5).await;
    assert_eq!(values(&gateway, "d/v").await, [1.0, 2.0, 3.0, 4.0, 5.0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_gateways_with_one_client_id_say_so_and_do_not_fight_at_full_speed() {
    let Some(broker) = Mosquitto::start().await else {
        return;
    };
    let config = source(broker.port, "client_id = \"same\"", NUMBERS);
    let one = Gateway::start(&config).await;
    let two = Gateway::start(&config).await;
    let began = Instant::now();
    says(&one, "give each its own `client_id`").await;
    says(&two, "give each its own `client_id`").await;
    // The waits grow from half a second: n connections take at least 2^(n-3) of them.
    for gateway in [&one, &two] {
        let (_, _, connects) = detail(gateway).await;
        let halves = began.elapsed().as_millis() / 250 + 8;
        assert!(
            u128::from(connects.saturating_sub(3)) <= u128::from(halves.ilog2()) + 1,
            "{connects} connections within {:?}",
            began.elapsed()
        );
    }
    // What comes meanwhile reaches one of them.
    broker.publish(&["-q", "1", "-t", "n/d", "-m", "7"]).await;
    eventually("one of them has it", || async {
        for gateway in [&one, &two] {
            let series = gateway.get("/api/v1/series").await;
            if series["series"][0]["v"] == 7.0 {
                return Some(());
            }
        }
        None
    })
    .await;
    // And with the other gone, all is well by itself.
    let (status, _) = two.stop().await;
    assert!(status.success());
    one.source_is("plant", "up").await;
    broker.publish(&["-q", "1", "-t", "n/d", "-m", "8"]).await;
    one.value("d/v", |v| v == 8.0).await;
    one.account("plant", |row| row["accepted"].as_u64() >= Some(1))
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_subscription_that_the_broker_refuses_is_named_and_costs_only_itself() {
    let plugin = ["x86_64", "aarch64", "arm"].iter().find_map(|cpu| {
        let suffix = if *cpu == "arm" { "gnueabihf" } else { "gnu" };
        let path = format!("/usr/lib/{cpu}-linux-{suffix}/mosquitto_dynamic_security.so");
        Path::new(&path).exists().then_some(path)
    });
    let Some(plugin) = plugin else {
        println!("skipped: mosquitto's plugin for access rules is not installed");
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let rules = folder.path().join("rules.json");
    let allowed = r#"{"defaultACLAccess": {"publishClientSend": true, "publishClientReceive": true, "subscribe": false,
        "unsubscribe": true}, "clients": [], "anonymousGroup": "all", "groups": [{"groupname": "all", "clients": [],
        "roles": [{"rolename": "r", "priority": 0}]}], "roles": [{"rolename": "r", "acls": [{"acltype":
        "subscribePattern", "topic": "n/#", "priority": 0, "allow": true}]}]}"#;
    std::fs::write(&rules, allowed).unwrap();
    let settings = format!(
        "plugin {plugin}\nplugin_opt_config_file {}\n",
        rules.display()
    );
    for version in ["3.1.1", "5"] {
        let Some(broker) = Mosquitto::start_with(&settings).await else {
            return;
        };
        let more = format!("version = \"{version}\"");
        let mappings = format!(
            "[[source.mapping]]\ntopic = \"secret/{{device}}\"\nformat = \"number\"\nmetric = \"v\"\n{NUMBERS}"
        );
        let gateway = Gateway::start(&source(broker.port, &more, &mappings)).await;
        says(&gateway, "refused these subscriptions: secret/+").await;
        says(&gateway, "check its access rules").await;
        gateway.source_is("plant", "up").await;
        broker.publish(&["-q", "1", "-t", "n/d", "-m", "1"]).await;
        gateway.value("d/v", |v| v == 1.0).await;
        let warnings = gateway.log().matches("refused subscriptions").count();
        assert_eq!(warnings, 1, "{}", gateway.log());
        gateway.account("plant", |row| row["accepted"] == 1).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn packets_that_are_too_large_are_rejects_or_named_and_ingest_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let (large, huge) = (folder.path().join("large"), folder.path().join("huge"));
    std::fs::write(&large, vec![b'1'; 2 << 20]).unwrap();
    std::fs::write(&huge, vec![b'1'; 17 << 20]).unwrap();
    let (large, huge) = (large.to_str().unwrap(), huge.to_str().unwrap());
    for version in ["3.1.1", "5"] {
        let Some(broker) = Mosquitto::start().await else {
            return;
        };
        let more = format!("version = \"{version}\"");
        let gateway = Gateway::start(&source(broker.port, &more, NUMBERS)).await;
        subscribed(&gateway).await;
        broker.publish(&["-q", "1", "-t", "n/d", "-f", large]).await;
        broker.publish(&["-q", "1", "-t", "n/d", "-m", "1"]).await;
        gateway.value("d/v", |v| v == 1.0).await;
        gateway
            .account("plant", |row| row["rejected"]["too_large"] == 1)
            .await;
        broker.publish(&["-q", "0", "-t", "n/d", "-f", huge]).await;
        if version == "3.1.1" {
            // It costs the connection, which comes back when the back-off is over: up to a minute, too long for a test.
            says(&gateway, "is larger than 16777216 bytes").await;
            continue;
        }
        // Over 5 the broker was told, and does not send it at all.
        broker.publish(&["-q", "1", "-t", "n/d", "-m", "2"]).await;
        gateway.value("d/v", |v| v == 2.0).await;
        gateway.source_is("plant", "up").await;
        gateway
            .account("plant", |row| {
                row["accepted"] == 2 && row["rejected"]["too_large"] == 1
            })
            .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_limit_of_the_broker_on_sizes_costs_nothing_but_what_is_over_it() {
    let Some(broker) =
        Mosquitto::start_with("message_size_limit 1000\nmax_packet_size 2000\n").await
    else {
        return;
    };
    for version in ["3.1.1", "5"] {
        let more = format!("version = \"{version}\"\nclient_id = \"over-{version}\"");
        let gateway = Gateway::start(&source(broker.port, &more, NUMBERS)).await;
        subscribed(&gateway).await;
        broker.publish(&["-q", "1", "-t", "n/d", "-m", "1"]).await;
        gateway.value("d/v", |v| v == 1.0).await;
        gateway.account("plant", |row| row["accepted"] == 1).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_filter_that_left_the_config_brings_nothing_any_more() {
    for version in ["3.1.1", "5"] {
        let Some(broker) = Mosquitto::start().await else {
            return;
        };
        let more = format!("version = \"{version}\"");
        let old =
            "[[source.mapping]]\ntopic = \"old/{device}\"\nformat = \"number\"\nmetric = \"v\"\n";
        let both = source(broker.port, &more, &format!("{NUMBERS}{old}"));
        let gateway = Gateway::start(&both).await;
        subscribed(&gateway).await;
        broker.publish(&["-q", "1", "-t", "old/d", "-m", "1"]).await;
        gateway.value("d/v", |v| v == 1.0).await;
        let (status, stopped) = gateway.stop().await;
        assert!(status.success());
        let gateway = stopped
            .start_with(&source(broker.port, &more, NUMBERS))
            .await;
        let written = gateway.dir.path().join("data/mqtt/plant.json");
        eventually("the broker has confirmed the end of old/+", || async {
            let text = std::fs::read_to_string(&written).ok()?;
            (!text.contains("old/+")).then_some(())
        })
        .await;
        broker.publish(&["-q", "1", "-t", "old/d", "-m", "2"]).await;
        broker.publish(&["-q", "1", "-t", "n/d", "-m", "3"]).await;
        gateway.value("d/v", |v| v == 3.0).await;
        let row = gateway.account("plant", |row| row["accepted"] == 1).await;
        assert_eq!(row["rejected"], serde_json::json!({}), "{row}");
        assert!(gateway.log().contains("unsubscribing"), "{}", gateway.log());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_restarts_again_and_again_is_not_waited_for_longer_and_longer() {
    let Some(mut broker) = Mosquitto::start().await else {
        return;
    };
    let gateway = Gateway::start(&source(broker.port, "", NUMBERS)).await;
    for i in 1..=2 {
        gateway.source_is("plant", "up").await;
        // Longer than a connection must stand to count as a good one.
        tokio::time::sleep(Duration::from_secs(11)).await;
        broker.stop().await;
        gateway.source_is("plant", "down").await;
        let away = Instant::now();
        broker.start_again().await;
        broker
            .publish(&["-q", "1", "-t", "n/d", "-m", &i.to_string()])
            .await;
        gateway.value("d/v", |v| *v == i).await;
        assert!(away.elapsed() < Duration::from_secs(30));
    }
    let lost = gateway.log().matches("no connection to the broker").count();
    assert_eq!(lost, 2, "each outage is told once:\n{}", gateway.log());
    gateway.account("plant", |row| row["accepted"] == 2).await;
}

/// Publishes numbers to `n/d` at QoS 1, as fast as the broker takes them.
async fn publish_many(port: u16, count: u32) {
    let mut options = rumqttc::MqttOptions::new("many", "127.0.0.1", port);
    options.set_inflight(20);
    let (client, mut polled) = rumqttc::AsyncClient::new(options, 100);
    let polling = tokio::spawn(async move {
        let mut acknowledged = 0;
        while acknowledged < count {
            if let Ok(rumqttc::Event::Incoming(rumqttc::Packet::PubAck(_))) = polled.poll().await {
                acknowledged += 1;
            }
        }
    });
    for i in 0..count {
        client
            .publish("n/d", rumqttc::QoS::AtLeastOnce, false, i.to_string())
            .await
            .unwrap();
    }
    within("the broker has all", polling).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_that_gathers_does_not_hold_up_a_broker_with_an_in_flight_limit() {
    // Waiting out each commit it would take more than a minute.
    for (limit, count) in [(1, 100), (20, 2_000)] {
        let settings = format!("max_inflight_messages {limit}\nmax_queued_messages 100000\n");
        let Some(broker) = Mosquitto::start_with(&settings).await else {
            return;
        };
        let gateway = Gateway::start(&source(broker.port, "version = \"3.1.1\"", NUMBERS)).await;
        subscribed(&gateway).await;
        publish_many(broker.port, count).await;
        gateway
            .account("plant", |row| row["accepted"] == count)
            .await;
    }
}
