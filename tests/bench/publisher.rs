//! A publisher that costs as little as can be: ready-made packets over a plain socket.

use bytes::BytesMut;
use rumqttc::{
    QoS,
    mqttbytes::v4::{Connect, Publish},
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

/// Messages on their way at QoS 1.
const WINDOW: usize = 1_000;
/// Devices that the messages are spread over.
pub(crate) const DEVICES: usize = 50;

/// Publishes `messages` numbered readings, each with its own time, to `bench/d<i>`; at QoS 1 until all are acknowledged.
pub(crate) async fn publish(port: u16, qos: QoS, messages: usize, first_ms: i64) {
    let mut socket = TcpStream::connect(("127.0.0.1", port))
        .await
        .expect("the broker");
    socket.set_nodelay(true).expect("nodelay");
    let mut out = BytesMut::new();
    Connect::new("bench-publisher")
        .write(&mut out)
        .expect("CONNECT");
    socket.write_all(&out).await.expect("the broker reads");
    let mut connack = [0; 4];
    socket.read_exact(&mut connack).await.expect("CONNACK");
    let (mut reader, mut writer) = socket.into_split();
    let mut acknowledged_bytes = 0;
    let mut answers = vec![0; 64 * 1024];
    let mut sent = 0;
    while sent < messages {
        out.clear();
        let room = if qos == QoS::AtMostOnce {
            500
        } else {
            (WINDOW + acknowledged_bytes / 4)
                .saturating_sub(sent)
                .min(500)
        };
        for _ in 0..room.min(messages - sent) {
            let topic = format!("bench/d{}", sent % DEVICES);
            let time = first_ms + i64::try_from(sent).unwrap_or(i64::MAX);
            let mut publish = Publish::new(
                topic,
                qos,
                format!("{{\"t\":{time},\"seq\":{sent},\"temperature\":21.37}}"),
            );
            publish.pkid = u16::try_from(sent % 60_000 + 1).unwrap_or(1);
            publish.write(&mut out).expect("PUBLISH");
            sent += 1;
        }
        writer.write_all(&out).await.expect("the broker reads");
        if qos != QoS::AtMostOnce && sent >= WINDOW + acknowledged_bytes / 4 {
            acknowledged_bytes += reader.read(&mut answers).await.expect("PUBACKs");
        }
    }
    while qos != QoS::AtMostOnce && acknowledged_bytes / 4 < messages {
        acknowledged_bytes += reader.read(&mut answers).await.expect("PUBACKs");
    }
    // DISCONNECT
    writer
        .write_all(&[0xe0, 0])
        .await
        .expect("the broker reads");
}
