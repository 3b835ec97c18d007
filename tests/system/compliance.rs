//! What every source must do, one row a source.

use tests::{Gateway, Line, Mosquitto, eventually, peers};

/// A way to send one payload to the gateway.
enum Sender {
    Serial(Line),
    Mqtt(Box<Mosquitto>),
    Listener(u16),
    Push,
}

impl Sender {
    async fn send(&mut self, gateway: &Gateway, payload: &str) {
        match self {
            Self::Serial(line) => line.send(format!("{payload}\n")),
            Self::Mqtt(broker) => {
                broker
                    .publish(&["-q", "1", "-t", "c/d", "-m", payload])
                    .await
            }
            Self::Listener(port) => {
                peers::publish(*port, &["-q", "1", "-t", "c/d", "-m", payload]).await
            }
            Self::Push => drop(
                gateway
                    .post("/api/v1/readings", "application/json", payload.to_owned())
                    .await,
            ),
        }
    }
}

/// Good readings are counted and seen, a bad one is a reject with its bytes, the link is shown, the account balances, and
/// SIGTERM ends it with nothing lost.
async fn complies(
    name: &str,
    kind: &str,
    gateway: Gateway,
    mut sender: Sender,
    payload: impl Fn(i64) -> String,
) {
    let (name, gateway_ref) = (name.to_owned(), &gateway);
    eventually(&format!("{name} is up"), || async {
        let status = gateway_ref.get("/api/v1/status").await;
        let source = status["sources"]
            .as_array()?
            .iter()
            .find(|s| s["name"] == name.as_str())?
            .clone();
        assert_eq!(source["kind"], kind);
        (source["state"] == "up"
            && source["connects"].as_u64() >= Some(1)
            && !source["detail"].as_str()?.is_empty())
        .then_some(())
    })
    .await;
    for i in 1..=3 {
        sender.send(&gateway, &payload(i)).await;
    }
    sender.send(&gateway, "}this is no JSON{").await;
    sender.send(&gateway, &payload(4)).await;
    gateway.value("d/v", |v| v == 4.0).await;
    let row = gateway
        .account(&name, |row| {
            row["accepted"] == 4 && row["rejected"]["malformed"] == 1
        })
        .await;
    assert_eq!(row["received"], 5);
    let rejects = gateway.get("/api/v1/rejects").await;
    let reject = rejects["rejects"]
        .as_array()
        .unwrap()
        .iter()
        .find(|r| r["source"] == name.as_str())
        .expect("a sample")
        .clone();
    assert_eq!(
        (reject["payload"].as_str(), reject["reason"].as_str()),
        (Some("}this is no JSON{"), Some("malformed"))
    );
    let metrics = reqwest::get(gateway.url("/metrics"))
        .await
        .unwrap()
        .text()
        .await
        .unwrap();
    for counter in [
        "gateway_messages_total",
        "gateway_message_bytes_total",
        "gateway_source_connects_total",
        "gateway_readings_accepted_total",
    ] {
        let label = format!("{counter}{{source=\"{name}\"}} ");
        let value: f64 = metrics
            .lines()
            .find_map(|l| l.strip_prefix(&label))
            .unwrap_or_else(|| panic!("{label} is not there"))
            .parse()
            .unwrap();
        assert!(value >= 1.0, "{label}");
    }
    let sum = |counter: &str| -> f64 {
        let of_source = format!("source=\"{name}\"");
        let lines = metrics.lines().filter(|l| {
            l.strip_prefix(counter)
                .is_some_and(|rest| rest.starts_with('{') && rest.contains(&of_source))
        });
        lines
            .filter_map(|l| l.rsplit(' ').next()?.parse::<f64>().ok())
            .sum()
    };
    assert_eq!(
        sum("gateway_readings_received_total"),
        sum("gateway_readings_accepted_total")
            + sum("gateway_readings_duplicates_total")
            + sum("gateway_rejected_total")
            + sum("gateway_messages_dropped_total")
            + sum("gateway_readings_waiting"),
        "the metrics do not balance:\n{metrics}"
    );
    sender.send(&gateway, &payload(5)).await;
    gateway.value("d/v", |v| v == 5.0).await;
    let (status, stopped) = gateway.stop().await;
    assert!(status.success());
    stopped.start().await.value("d/v", |v| v == 5.0).await;
}

fn json(i: i64) -> String {
    format!("{{\"v\": {i}}}")
}

#[tokio::test(flavor = "multi_thread")]
async fn the_serial_source_complies() {
    let dir = tempfile::tempdir().unwrap();
    let link = dir.path().join("port");
    let line = Line::plug_in(&link);
    let config = format!(
        "[[source]]\nname = \"s\"\ntype = \"serial\"\ndevice = \"{}\"\n[[source.mapping]]\ndevice = \"d\"\n",
        link.display()
    );
    complies(
        "s",
        "serial",
        Gateway::start(&config).await,
        Sender::Serial(line),
        json,
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_mqtt_source_complies_in_both_versions() {
    for version in ["3.1.1", "5"] {
        let Some(broker) = Mosquitto::start().await else {
            return;
        };
        let config = format!(
            "[[source]]\nname = \"m\"\ntype = \"mqtt\"\nurl = \"mqtt://127.0.0.1:{}\"\nversion = \"{version}\"\n[[source.mapping]]\ntopic = \"c/{{device}}\"\n",
            broker.port
        );
        complies(
            "m",
            "mqtt",
            Gateway::start(&config).await,
            Sender::Mqtt(Box::new(broker)),
            json,
        )
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_embedded_listener_complies() {
    if tests::installed("mosquitto_pub").is_none() {
        return;
    }
    let config = "[[source]]\nname = \"l\"\ntype = \"mqtt_listener\"\nlisten = \"127.0.0.1:0\"\n[[source.mapping]]\ntopic = \"c/{device}\"\n";
    let gateway = Gateway::start(config).await;
    let port = gateway.listeners[0].port();
    complies("l", "mqtt_listener", gateway, Sender::Listener(port), json).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn http_push_complies() {
    let payload = |i: i64| format!("{{\"device\": \"d\", \"metric\": \"v\", \"value\": {i}}}");
    complies(
        "push",
        "push",
        Gateway::start("").await,
        Sender::Push,
        payload,
    )
    .await;
}
