//! From publish to the event in a browser's stream, at 100 readings a second through mosquitto at QoS 1.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rumqttc::{AsyncClient, MqttOptions, QoS};
use tests::{Events, Gateway, Mosquitto};

pub(crate) async fn run(time: Duration) {
    let Some(broker) = Mosquitto::start().await else {
        return;
    };
    let gateway = Gateway::start(&format!(
        "[[source]]\nname = \"bench\"\ntype = \"mqtt\"\nurl = \"mqtt://127.0.0.1:{}\"\n[[source.mapping]]\ntopic = \"bench/{{device}}\"\nformat = \"number\"\nmetric = \"sent_us\"\n",
        broker.port
    ))
    .await;
    let mut events = Events::open(&gateway, "types=snapshot,readings").await;
    let (client, mut polled) =
        AsyncClient::new(MqttOptions::new("bench", "127.0.0.1", broker.port), 100);
    tokio::spawn(async move { while polled.poll().await.is_ok() {} });
    let publishing = tokio::spawn(async move {
        let mut ticks = tokio::time::interval(Duration::from_millis(10));
        for i in 0..time.as_millis() / 10 {
            ticks.tick().await;
            let topic = format!("bench/d{}", i % 10);
            client
                .publish(topic, QoS::AtLeastOnce, false, now_us().to_string())
                .await
                .expect("the request is queued");
        }
    });
    let mut delays_ms = Vec::new();
    while !publishing.is_finished() {
        let event = events.next().await.expect("the stream goes on");
        let now = now_us();
        let series = event.data["series"]
            .as_object()
            .cloned()
            .unwrap_or_default();
        for value in series
            .values()
            .filter_map(|s| s["v"].as_array())
            .flatten()
            .filter_map(serde_json::Value::as_f64)
        {
            #[expect(
                clippy::cast_precision_loss,
                reason = "microseconds since 1970 are exact in a float until 2255"
            )]
            delays_ms.push((now as f64 - value) / 1_000.0);
        }
    }
    delays_ms.sort_by(f64::total_cmp);
    println!(
        "\nlatency: publish to SSE event at 100 readings/s, QoS 1, {} readings",
        delays_ms.len()
    );
    let at = |share| crate::quantile(&delays_ms, share);
    println!(
        "p50 {:.1} ms   p99 {:.1} ms   max {:.1} ms",
        at(0.5),
        at(0.99),
        at(1.0)
    );
}

#[expect(
    clippy::disallowed_methods,
    reason = "this program is no part of the gateway"
)]
fn now_us() -> u64 {
    u64::try_from(
        SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default()
            .as_micros(),
    )
    .unwrap_or(0)
}
