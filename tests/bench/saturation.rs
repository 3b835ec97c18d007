//! Readings a second from mosquitto into VictoriaMetrics with nothing lost, beside a bare loop that only counts.

use std::time::Duration;

use tokio::time::Instant;

use rumqttc::{AsyncClient, Event, MqttOptions, Packet, QoS};
use tests::{Gateway, Mosquitto, Victoria};
use tokio::sync::oneshot;

use crate::{
    publisher::{DEVICES, publish},
    rate,
};

/// 2025-11-20T12:00:00Z; each run takes its own hours, so that no point is a repeat.
const FIRST_MS: i64 = 1_763_640_000_000;

pub(crate) async fn run(messages: usize, rounds: usize) {
    println!(
        "\nsaturation: {messages} messages of two readings each, one publisher, mosquitto between"
    );
    println!(
        "{:<34} {:>12} {:>12} {:>12}  lost",
        "", "min msg/s", "median", "max"
    );
    let mut first_ms = FIRST_MS;
    for qos in [QoS::AtMostOnce, QoS::AtLeastOnce] {
        let (mut bare, mut whole, mut archived) = (Vec::new(), Vec::new(), Vec::new());
        let (mut lost_bare, mut lost) = (0, 0);
        for _ in 0..rounds {
            let (rate, missing) = count_only(qos, messages).await;
            bare.push(rate);
            lost_bare += missing;
            let Some(round) = through_the_gateway(qos, messages, first_ms).await else {
                return;
            };
            first_ms += i64::try_from(messages).unwrap_or(0) + 3_600_000;
            whole.push(round.accepted_rate);
            archived.push(round.archived_rate);
            lost += round.lost;
        }
        let name = if qos == QoS::AtMostOnce {
            "QoS 0"
        } else {
            "QoS 1"
        };
        print(&format!("{name} bare rumqttc loop"), bare, lost_bare);
        print(&format!("{name} gateway, durable"), whole, lost);
        print(
            &format!("{name} gateway, in VictoriaMetrics"),
            archived,
            lost,
        );
    }
}

fn print(name: &str, mut rates: Vec<f64>, lost: usize) {
    rates.sort_by(f64::total_cmp);
    let at = |share| crate::quantile(&rates, share);
    println!(
        "{name:<34} {:>12.0} {:>12.0} {:>12.0}  {lost}",
        at(0.0),
        at(0.5),
        at(1.0)
    );
}

async fn broker() -> Option<Mosquitto> {
    Mosquitto::start_with("max_queued_messages 0\nmax_inflight_messages 1000\n").await
}

async fn count_only(qos: QoS, messages: usize) -> (f64, usize) {
    let Some(broker) = broker().await else {
        return (f64::NAN, 0);
    };
    let mut options = MqttOptions::new("bare", "127.0.0.1", broker.port);
    options
        .set_inflight(1_000)
        .set_max_packet_size(1 << 20, 1 << 20);
    let (client, mut events) = AsyncClient::new(options, 1_000);
    client
        .subscribe("bench/#", qos)
        .await
        .expect("the request is queued");
    let (subscribed, ready) = oneshot::channel();
    let counting = tokio::spawn(async move {
        let (mut subscribed, mut count, mut last) = (Some(subscribed), 0, Instant::now());
        while count < messages {
            match tokio::time::timeout(Duration::from_secs(10), events.poll()).await {
                Ok(Ok(Event::Incoming(Packet::Publish(_)))) => {
                    count += 1;
                    last = Instant::now();
                }
                Ok(Ok(Event::Incoming(Packet::SubAck(_)))) => {
                    if let Some(subscribed) = subscribed.take() {
                        subscribed.send(()).expect("somebody waits");
                    }
                }
                Ok(Ok(_)) => {}
                Ok(Err(_)) | Err(_) => break,
            }
        }
        (count, last)
    });
    ready.await.expect("it subscribes");
    let began = Instant::now();
    publish(broker.port, qos, messages, FIRST_MS).await;
    let (count, last) = counting.await.expect("it counts");
    (rate(count, last - began), messages - count)
}

struct Round {
    accepted_rate: f64,
    archived_rate: f64,
    lost: usize,
}

async fn through_the_gateway(qos: QoS, messages: usize, first_ms: i64) -> Option<Round> {
    let (broker, victoria) = (broker().await?, Victoria::start().await?);
    let gateway = Gateway::start(&format!(
        "[influxdb]\nurl = \"{}\"\nbucket = \"b\"\n[[source]]\nname = \"bench\"\ntype = \"mqtt\"\nurl = \"mqtt://127.0.0.1:{}\"\n\
         max_waiting_messages = 1000000\nmax_waiting_size = \"256 MiB\"\n\
         [[source.mapping]]\ntopic = \"bench/{{device}}\"\ntime = \"t\"\nqos = {}\n",
        victoria.url(),
        broker.port,
        qos as u8,
    ))
    .await;
    gateway.source_is("bench", "up").await;
    let began = Instant::now();
    publish(broker.port, qos, messages, first_ms).await;
    let (mut last_count, mut last_change) = (0, Instant::now());
    let accepted = loop {
        let status = gateway.get("/api/v1/status").await;
        let row = status["account"]
            .as_array()
            .and_then(|rows| rows.iter().find(|r| r["source"] == "bench").cloned())
            .unwrap_or_default();
        let accepted = usize::try_from(row["accepted"].as_u64().unwrap_or(0)).unwrap_or(0) / 2;
        if accepted > last_count {
            (last_count, last_change) = (accepted, Instant::now());
        }
        if accepted >= messages || last_change.elapsed() > Duration::from_secs(10) {
            break accepted;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    let accepted_rate = rate(accepted, last_change - began);
    let wanted = (accepted * 2) as u64;
    let deadline = Instant::now() + Duration::from_secs(60);
    while gateway.get("/api/v1/status").await["archive"]["written"]
        .as_u64()
        .unwrap_or(0)
        < wanted
        && Instant::now() < deadline
    {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let archived_rate = rate(accepted, began.elapsed());
    let mut stored = 0;
    for device in 0..DEVICES {
        stored += victoria.points(&format!("d{device}"), "seq").await.len();
    }
    Some(Round {
        accepted_rate,
        archived_rate,
        lost: messages.saturating_sub(stored),
    })
}
