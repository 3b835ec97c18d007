//! From a reading to its alert at the webhook: with nothing else to do, and beside 10 000 readings a second.
//!
//! A probe crosses its rule's limit and, after its alert arrived, goes back. It is sent over MQTT at QoS 1 to the embedded listener, as a sensor
//! would, and as an HTTP push. The time is that from just before the send until the receiver has the whole request.

use std::time::Duration;

use rumqttc::{AsyncClient, MqttOptions, QoS};
use tests::{Gateway, WebhookSink, eventually, free_port};
use tokio::time::{Instant, sleep};

/// Readings in a batch of the load, and batches a second.
const BATCH: usize = 500;
const BATCHES_A_SECOND: u64 = 20;
/// Between probes, so that each finds the gateway at rest again.
const PAUSE: Duration = Duration::from_millis(150);

pub(crate) async fn run(time: Duration) {
    println!("\nwebhook: reading sent to alert delivered\n");
    println!(
        "| readings/s beside | sent by | probes | p50 ms | p99 ms | max ms |\n|---|---|---|---|---|---|"
    );
    for loaded in [false, true] {
        for mqtt in [true, false] {
            probe(time, loaded, mqtt).await;
        }
    }
}

async fn probe(time: Duration, loaded: bool, mqtt: bool) {
    let sink = WebhookSink::start().await;
    let port = free_port();
    let gateway = Gateway::start(&format!(
        "[[source]]\nname = \"l\"\ntype = \"mqtt_listener\"\nlisten = \"127.0.0.1:{port}\"\n[[source.mapping]]\ntopic = \"t/{{device}}\"\n\
         format = \"number\"\nmetric = \"temperature\"\n[[rule]]\nname = \"hot\"\nseries = \"probe/temperature\"\nabove = 80\nclear = 70\n\
         [[webhook]]\nname = \"ops\"\nurl = \"{}\"\n",
        sink.url()
    ))
    .await;
    let (client, mut polled) = AsyncClient::new(MqttOptions::new("probe", "127.0.0.1", port), 100);
    let polling = tokio::spawn(async move { while polled.poll().await.is_ok() {} });
    let load = loaded.then(|| tokio::spawn(push_all_the_time(gateway.url("/api/v2/write"))));
    let until = Instant::now() + time;
    let mut delays_ms = Vec::new();
    let mut hot = true;
    while Instant::now() < until {
        sleep(PAUSE).await;
        let before = sink.tries();
        let value = if hot { "90" } else { "60" };
        hot = !hot;
        let sent = Instant::now();
        if mqtt {
            let publish = client.publish("t/probe", QoS::AtLeastOnce, false, value);
            publish.await.expect("the request is queued");
        } else {
            let body =
                format!("{{\"device\":\"probe\",\"metric\":\"temperature\",\"value\":{value}}}");
            let push = gateway.post("/api/v1/readings", "application/json", body);
            assert_eq!(push.await.0, 200);
        }
        let arrived = async || {
            while sink.tries() == before {
                sleep(Duration::from_millis(1)).await;
            }
            Some(Instant::now())
        };
        let arrived = eventually("the alert is delivered", arrived).await;
        delays_ms.push((arrived - sent).as_secs_f64() * 1_000.0);
    }
    if let Some(load) = load {
        load.abort();
    }
    polling.abort();
    delays_ms.sort_by(f64::total_cmp);
    let at = |share| crate::quantile(&delays_ms, share);
    println!(
        "| {} | {} | {} | {:.1} | {:.1} | {:.1} |",
        if loaded { "10 000" } else { "none" },
        if mqtt { "MQTT, QoS 1" } else { "HTTP push" },
        delays_ms.len(),
        at(0.5),
        at(0.99),
        at(1.0)
    );
}

/// Line protocol without times, 10 000 readings a second of 500 devices.
async fn push_all_the_time(url: String) {
    let client = reqwest::Client::new();
    let mut ticks = tokio::time::interval(Duration::from_millis(1_000 / BATCHES_A_SECOND));
    for round in 0_u64.. {
        ticks.tick().await;
        let lines: String = (0..BATCH)
            .map(|device| format!("m,device=d{device} v={round}\n"))
            .collect();
        let answer = client.post(&url).body(lines).send().await;
        assert!(
            answer.expect("an answer").status().is_success(),
            "the load is taken"
        );
    }
}
