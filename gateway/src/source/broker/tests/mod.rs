//! The listener on real sockets: scripted clients for what must be exact, Mosquitto's and rumqttc's for what must be usual.
//! The tests play the ingest task: they hold the other end of the door.

mod clients;
mod fuzz;
mod protocol;

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use prometheus_client::{encoding::text, registry::Registry};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::{mpsc, watch},
    task::JoinHandle,
};
use tokio_util::sync::CancellationToken;

use super::{
    super::{
        Frame, LinkState, SourceStatus,
        intake::{Delivery, Door, Receipt},
        status::SourceMetrics,
    },
    Config, Metrics,
    packet::Version,
    run,
};
use crate::{
    clock::Clock,
    model::{Presence, SourceName},
    rejects::Rejects,
};

const WITHIN: Duration = Duration::from_secs(20);

/// A running listener; the test holds the door.
struct Listener {
    address: SocketAddr,
    deliveries: mpsc::Receiver<Delivery>,
    status: watch::Receiver<SourceStatus>,
    rejects: Rejects,
    registry: Registry,
    stop: CancellationToken,
    running: JoinHandle<()>,
}

impl Listener {
    async fn start(config: Config) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let mut registry = Registry::default();
        let metrics = Metrics::new(&mut registry);
        let name = SourceName("listener".into());
        let (reporter, status) = SourceMetrics::new(&mut registry).reporter(
            name.clone(),
            "mqtt_listener",
            Clock::system(),
        );
        let rejects = Rejects::new(&mut registry);
        let (door, deliveries) = Door::new();
        let stop = CancellationToken::new();
        let running = tokio::spawn(run(
            config,
            listener,
            door.intake(0, name),
            rejects.clone(),
            reporter,
            metrics,
            stop.clone(),
        ));
        Self {
            address,
            deliveries,
            status,
            rejects,
            registry,
            stop,
            running,
        }
    }

    /// The next delivery, unanswered.
    async fn delivery(&mut self) -> Delivery {
        within(self.deliveries.recv()).await.unwrap()
    }

    /// The next delivery with frames, unanswered; presence before it is answered.
    async fn frames(&mut self) -> Delivery {
        loop {
            let delivery = self.delivery().await;
            if !delivery.frames.is_empty() {
                return delivery;
            }
            accept(delivery);
        }
    }

    /// From now on everything is durable at once, and remembered.
    fn accept_all(self) -> Accepting {
        let seen = Arc::new(Mutex::new(Seen::default()));
        let (changed, watch) = watch::channel(());
        let mut deliveries = self.deliveries;
        let into = Arc::clone(&seen);
        tokio::spawn(async move {
            while let Some(mut delivery) = deliveries.recv().await {
                let peer = delivery.peer.clone().unwrap_or_default().to_string();
                {
                    let mut seen = into.lock().unwrap();
                    let frames = std::mem::take(&mut delivery.frames);
                    seen.frames
                        .extend(frames.into_iter().map(|frame| (peer.clone(), frame)));
                    seen.presence.append(&mut delivery.presence);
                }
                accept(delivery);
                changed.send_replace(());
            }
        });
        Accepting {
            address: self.address,
            seen,
            changed: watch,
            registry: self.registry,
        }
    }

    fn metric(&self, line: &str) -> u64 {
        metric(&self.registry, line)
    }
}

#[derive(Default)]
struct Seen {
    frames: Vec<(String, Frame)>,
    presence: Vec<Presence>,
}

struct Accepting {
    address: SocketAddr,
    seen: Arc<Mutex<Seen>>,
    changed: watch::Receiver<()>,
    registry: Registry,
}

impl Accepting {
    /// Waits until what was seen satisfies `is`.
    async fn until(&mut self, is: impl Fn(&Seen) -> bool) {
        within(async {
            while !is(&self.seen.lock().unwrap()) {
                self.changed.changed().await.unwrap();
            }
        })
        .await;
    }

    /// Waits until a metric has this value. Polled: metrics can't be waited for.
    async fn until_metric(&self, line: &str, value: u64) {
        within(async {
            while metric(&self.registry, line) != value {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        })
        .await;
    }
}

fn accept(delivery: Delivery) {
    let receipt = Receipt {
        accepted: delivery.frames.len(),
        ..Receipt::default()
    };
    // The listener does not wait for QoS 0.
    let _not_waited_for = delivery.done.send(receipt);
}

/// The value of the metric whose text is `line`, labels included; 0 if it is not there yet.
fn metric(registry: &Registry, line: &str) -> u64 {
    let mut all = String::new();
    text::encode(&mut all, registry).unwrap();
    all.lines()
        .find_map(|found| found.strip_prefix(line)?.trim().parse().ok())
        .unwrap_or(0)
}

async fn within<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(WITHIN, what)
        .await
        .expect("did not happen in time")
}

/// A client that says exactly what the test says.
struct Raw {
    stream: TcpStream,
    version: Version,
}

impl Raw {
    /// Connects, and takes the CONNACK.
    async fn connect(address: SocketAddr, version: Version, id: &str) -> Self {
        let (raw, connack) = Self::greet(address, version, &connect(version, id, 60)).await;
        assert_eq!(connack.get(3), Some(&0), "{connack:x?}");
        raw
    }

    /// Sends a CONNECT and returns the answer.
    async fn greet(address: SocketAddr, version: Version, connect: &[u8]) -> (Self, Vec<u8>) {
        let stream = TcpStream::connect(address).await.unwrap();
        stream.set_nodelay(true).unwrap();
        let mut raw = Self { stream, version };
        raw.send(connect).await;
        let connack = raw.packet().await;
        (raw, connack)
    }

    async fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).await.unwrap();
    }

    async fn publish(&mut self, topic: &str, qos: u8, id: u16, payload: &str) {
        let packet = publish(self.version, topic, qos, id, payload.as_bytes());
        self.send(&packet).await;
    }

    /// What was sent before has been read when this returns.
    async fn ping(&mut self) {
        self.send(&[0xC0, 0]).await;
        assert_eq!(self.packet().await, [0xD0, 0]);
    }

    async fn subscribe(&mut self, id: u16, filter: &str, options: u8) -> Vec<u8> {
        let mut body = id.to_be_bytes().to_vec();
        if self.version == Version::V5 {
            body.push(0);
        }
        string(&mut body, filter);
        body.push(options);
        self.send(&packet(0x82, &body)).await;
        self.packet().await
    }

    /// The next packet; empty at the end of the connection.
    async fn packet(&mut self) -> Vec<u8> {
        within(async {
            let mut packet = Vec::new();
            let mut shift = 0;
            let mut remaining = 0usize;
            let Ok(head) = self.stream.read_u8().await else {
                return packet;
            };
            packet.push(head);
            loop {
                let byte = self.stream.read_u8().await.unwrap();
                packet.push(byte);
                remaining |= usize::from(byte & 0x7F) << shift;
                shift += 7;
                if byte & 0x80 == 0 {
                    break;
                }
            }
            let header = packet.len();
            packet.resize(header + remaining, 0);
            self.stream.read_exact(&mut packet[header..]).await.unwrap();
            packet
        })
        .await
    }

    /// Whether nothing comes for a moment.
    async fn is_silent(&self) -> bool {
        let mut byte = [0];
        tokio::time::timeout(Duration::from_millis(100), self.stream.peek(&mut byte))
            .await
            .is_err()
    }
}

fn connect(version: Version, id: &str, keep_alive: u16) -> Vec<u8> {
    connect_with(version, id, keep_alive, 0x02, &[])
}

/// `rest` is what follows the client id: will, user, password.
fn connect_with(version: Version, id: &str, keep_alive: u16, flags: u8, rest: &[u8]) -> Vec<u8> {
    let mut body = vec![0, 4, b'M', b'Q', b'T', b'T'];
    body.push(if version == Version::V5 { 5 } else { 4 });
    body.push(flags);
    body.extend(keep_alive.to_be_bytes());
    if version == Version::V5 {
        body.push(0);
    }
    string(&mut body, id);
    body.extend(rest);
    packet(0x10, &body)
}

fn publish(version: Version, topic: &str, qos: u8, id: u16, payload: &[u8]) -> Vec<u8> {
    let mut body = Vec::new();
    string(&mut body, topic);
    if qos > 0 {
        body.extend(id.to_be_bytes());
    }
    if version == Version::V5 {
        body.push(0);
    }
    body.extend(payload);
    packet(0x30 | qos << 1, &body)
}

fn string(into: &mut Vec<u8>, text: &str) {
    into.extend(u16::try_from(text.len()).unwrap().to_be_bytes());
    into.extend(text.as_bytes());
}

fn packet(head: u8, body: &[u8]) -> Vec<u8> {
    let mut packet = vec![head];
    let mut len = body.len();
    loop {
        let low = (len & 0x7F) as u8;
        len >>= 7;
        packet.push(if len == 0 { low } else { low | 0x80 });
        if len == 0 {
            break;
        }
    }
    packet.extend(body);
    packet
}
