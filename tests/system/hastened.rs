use std::time::Duration;

use rumqttc::{AsyncClient, MqttOptions, QoS};
use tests::{Gateway, Line, WebhookSink, eventually, free_port};
use tokio::time::{Instant, sleep};

const HASTENED: &str = "gateway_journal_hastened_total";
const NOT_HASTENED: &str = "gateway_journal_not_hastened_total";

/// A listener with a rule about temperatures; everything else is as by default.
fn config(port: u16, webhook: &WebhookSink) -> String {
    format!(
        "[[source]]\nname = \"l\"\ntype = \"mqtt_listener\"\nlisten = \"127.0.0.1:{port}\"\n[[source.mapping]]\ntopic = \"t/{{device}}\"\n\
         format = \"number\"\nmetric = \"temperature\"\n[[rule]]\nname = \"hot\"\nseries = \"*/temperature\"\nabove = 80\nclear = 70\n\
         [[webhook]]\nname = \"ops\"\nurl = \"{}\"\n",
        webhook.url()
    )
}

struct Sensor {
    client: AsyncClient,
    qos: QoS,
    sent: u64,
}

impl Sensor {
    fn connect(port: u16, qos: QoS) -> Self {
        let (client, mut polled) =
            AsyncClient::new(MqttOptions::new("sensor", "127.0.0.1", port), 100);
        tokio::spawn(async move { while polled.poll().await.is_ok() {} });
        Self {
            client,
            qos,
            sent: 0,
        }
    }

    async fn send(&mut self, device: &str, value: &str) {
        let topic = format!("t/{device}");
        let published = self.client.publish(topic, self.qos, false, value).await;
        published.expect("the request is queued");
        self.sent += 1;
    }
}

/// Whether the webhook heard of this device.
fn told(webhook: &WebhookSink, device: &str) -> bool {
    let series = format!("{device}/temperature");
    webhook.accepted().iter().any(|it| it["series"] == series)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_fires_a_rule_is_committed_soon_though_all_else_gathers() {
    for qos in [QoS::AtMostOnce, QoS::AtLeastOnce] {
        let webhook = WebhookSink::start().await;
        let port = free_port();
        let gateway = Gateway::start(&config(port, &webhook)).await;
        let mut sensor = Sensor::connect(port, qos);
        for _ in 0..30 {
            sensor.send("boiler", "60").await;
            sleep(Duration::from_millis(20)).await;
        }
        gateway
            .account("l", |row| row["accepted"] == sensor.sent)
            .await;
        assert_eq!(gateway.metric(HASTENED).await, 0.0, "nothing is new");
        // On a slow machine each may come after a pause, and go at once anyway.
        let began = Instant::now();
        while gateway.metric(HASTENED).await == 0.0 {
            assert!(began.elapsed() < Duration::from_secs(30), "none was");
            for value in ["60", "61", "90"] {
                sensor.send("boiler", value).await;
            }
        }
        eventually("the webhook hears of it", async || {
            told(&webhook, "boiler").then_some(())
        })
        .await;
        let sent = sensor.sent;
        gateway.account("l", |row| row["accepted"] == sent).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_comes_by_a_serial_line_and_fires_a_rule_is_committed_soon() {
    let webhook = WebhookSink::start().await;
    let dir = tempfile::tempdir().unwrap();
    let link = dir.path().join("tty");
    let mut line = Line::plug_in(&link);
    let gateway = Gateway::start(&format!(
        "{}[[source]]\nname = \"bench\"\ntype = \"serial\"\ndevice = \"{}\"\n[[source.mapping]]\nformat = \"key_value\"\ndevice = \"bench\"\n",
        config(free_port(), &webhook),
        link.display()
    ))
    .await;
    gateway.source_is("bench", "up").await;
    let (mut sent, began) = (0, Instant::now());
    while gateway.metric(HASTENED).await == 0.0 {
        assert!(began.elapsed() < Duration::from_secs(30), "none was");
        for value in [60, 61, 90] {
            line.send(format!("temperature={value}\n"));
            sent += 1;
        }
    }
    eventually("the webhook hears of it", async || {
        told(&webhook, "bench").then_some(())
    })
    .await;
    gateway
        .account("bench", |row| row["accepted"] == sent)
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_value_that_swings_over_its_limit_all_the_time_wears_no_card_out_and_delays_no_other() {
    let webhook = WebhookSink::start().await;
    let port = free_port();
    let gateway = Gateway::start(&config(port, &webhook)).await;
    let mut sensor = Sensor::connect(port, QoS::AtLeastOnce);
    let began = Instant::now();
    while gateway.metric(NOT_HASTENED).await == 0.0 {
        assert!(began.elapsed() < Duration::from_secs(90), "no end of it");
        for _ in 0..20 {
            sensor.send("swings", "90").await;
            sensor.send("swings", "60").await;
            // Each of both may be a commit of its own.
            sleep(Duration::from_millis(3)).await;
        }
    }
    let hastened = gateway.metric(HASTENED).await;
    let refilled = began.elapsed().as_secs_f64() / 10.0 + 1.0;
    assert!(hastened <= 301.0 + refilled, "{hastened} is too many");
    // Which the machine may make wait so long that it goes at once anyway: the next, then.
    let mut quiet = 0;
    while gateway.metric(HASTENED).await <= hastened + refilled {
        assert!(quiet < 1_000, "none of those that were quiet was hastened");
        quiet += 1;
        let device = format!("quiet-{quiet}");
        sensor.send(&device, "60").await;
        gateway
            .value(&format!("{device}/temperature"), |value| *value == 60.0)
            .await;
        for value in ["60", "61", "90"] {
            sensor.send(&device, value).await;
        }
    }
    let sent = sensor.sent;
    gateway.account("l", |row| row["accepted"] == sent).await;
}
