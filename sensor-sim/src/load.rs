//! Numbered MQTT messages as fast as they go, or at a rate: bounded in count and time.
//!
//! Device `load-<n>` publishes `{"time":<epoch ns>,"seq":<n>}` on `load/load-<n>`; `seq` counts from 1 without a gap and the
//! time never repeats, so a ledger of it can be verified to the last reading. Topics are shared out over the
//! connections. A connection that breaks ends its part of the load: a load test that hides a reconnect would lie.

use std::{
    net::IpAddr,
    path::PathBuf,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use serde::Serialize;
use tokio::{
    sync::Notify,
    task::JoinSet,
    time::{Instant, sleep_until, timeout},
};

use crate::{
    clock,
    ledger::{Entry, Ledger, LedgerError, Sent},
    plan::{Expect, Message, Reading},
    scenario::{Qos, Scenario, Version},
    signal::Value,
    transport::session::{self, Events, Heard, Peer, Publisher, SessionError},
};

/// More connections are refused.
pub const MAX_CONNECTIONS: u32 = 10_000;
/// How many latencies are kept for the percentiles, over all connections: an even sample beyond that.
const SAMPLES: u64 = 200_000;
/// For the last acknowledgements.
const PATIENCE: Duration = Duration::from_secs(10);

/// What to send, and where to.
#[derive(Clone, Debug)]
pub struct Config {
    /// Name or address of the broker.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// 1 to [`MAX_CONNECTIONS`].
    pub connections: u32,
    /// At least one a connection; fewer are raised to that.
    pub topics: u32,
    /// Quality of service.
    pub qos: Qos,
    /// Protocol version.
    pub version: Version,
    /// In all.
    pub messages: u64,
    /// Messages a second in all. `None`: as fast as they go.
    pub rate: Option<f64>,
    /// No message is sent later than this.
    pub max_time: Duration,
    /// Unacknowledged messages of one connection; at quality 2 at most 20.
    pub in_flight: u16,
    /// Allows a broker that is not on this machine.
    pub allow_remote: bool,
    /// Keeps a ledger here.
    pub ledger: Option<PathBuf>,
}

/// What came of it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Outcome {
    /// Messages that went out.
    pub sent: u64,
    /// Messages that were acknowledged; 0 at quality 0.
    pub acknowledged: u64,
    /// Messages that the broker refused.
    pub refused: u64,
    /// Connections that broke.
    pub broken_connections: u64,
    /// From the first message until the last acknowledgement (or the last message, at quality 0).
    pub seconds: f64,
    /// Acknowledged (at quality 0: sent) messages a second.
    pub rate: f64,
    /// From publishing to the acknowledgement, in milliseconds. Absent at quality 0.
    pub ack_latency_ms: Option<Latency>,
}

/// Percentiles, in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Latency {
    /// Half were quicker.
    pub p50: f64,
    /// 99 of 100 were quicker.
    pub p99: f64,
    /// The slowest of the sample.
    pub max: f64,
}

/// Why there was no load.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The broker's name is not known.
    #[error("can't find {host}")]
    Unknown {
        /// The name.
        host: String,
        /// Why.
        source: std::io::Error,
    },
    /// A broker on another machine, without leave.
    #[error("{0} is not on this machine: say --allow-remote if you may load it")]
    Remote(IpAddr),
    /// Out of bounds.
    #[error("{0}")]
    Bounds(&'static str),
    /// The ledger can't be written.
    #[error("the load can't be accounted for")]
    Ledger(#[from] LedgerError),
    /// No connection could be made.
    #[error("can't connect")]
    Connect(#[source] SessionError),
    /// A task died; a bug.
    #[error("a task died")]
    Died(#[from] tokio::task::JoinError),
}

struct Shared {
    config: Config,
    ledger: Option<Ledger>,
    ids: AtomicU64,
    sent: AtomicU64,
    acknowledged: AtomicU64,
    refused: AtomicU64,
    broken: AtomicU64,
    latencies: Mutex<Vec<f64>>,
    last: Mutex<Instant>,
}

/// The messages of one connection that are on their way.
#[derive(Default)]
struct Way {
    queued: std::collections::VecDeque<(u64, Instant)>,
    in_flight: std::collections::HashMap<u16, (u64, Instant)>,
    out: u64,
    settled: u64,
}

/// One connection's share.
struct Share {
    publisher: Publisher,
    topics: Vec<u32>,
    messages: u64,
    gap: Option<Duration>,
}

/// Sends the load and waits for the acknowledgements.
///
/// # Errors
///
/// When it is out of bounds, or can't connect, or the ledger can't be written. Lost messages are in the outcome.
pub async fn load(config: Config) -> Result<Outcome, LoadError> {
    check(&config).await?;
    let ledger = config
        .ledger
        .as_deref()
        .map(|path| Ledger::open(path, 0))
        .transpose()?;
    let connections = config.connections;
    let topics = config.topics.max(connections);
    let mut opened = Vec::new();
    for number in 0..connections {
        let (publisher, mut events) = session::open(&Peer {
            host: config.host.clone(),
            port: config.port,
            client_id: format!("load-{}-{number}", std::process::id()),
            login: None,
            version: config.version,
            in_flight: session::window(config.qos, config.in_flight),
        });
        events.next().await.map_err(LoadError::Connect)?;
        let share = |whole: u64| {
            let (each, rest) = (
                whole / u64::from(connections),
                whole % u64::from(connections),
            );
            each + u64::from(u64::from(number) < rest)
        };
        let share = Share {
            publisher,
            topics: (number..topics)
                .step_by(usize::try_from(connections).unwrap_or(1))
                .collect(),
            messages: share(config.messages),
            gap: config
                .rate
                .and_then(|rate| Duration::try_from_secs_f64(f64::from(connections) / rate).ok()),
        };
        opened.push((share, events));
    }
    let start = Instant::now();
    let shared = Arc::new(Shared {
        config,
        ledger,
        ids: AtomicU64::new(0),
        sent: AtomicU64::new(0),
        acknowledged: AtomicU64::new(0),
        refused: AtomicU64::new(0),
        broken: AtomicU64::new(0),
        latencies: Mutex::default(),
        last: Mutex::new(start),
    });
    let mut tasks = JoinSet::new();
    for (share, events) in opened {
        let shared = Arc::clone(&shared);
        tasks.spawn(async move { Box::pin(carry(share, events, &shared, start)).await });
    }
    while let Some(ended) = tasks.join_next().await {
        ended??;
    }
    if let Some(ledger) = &shared.ledger {
        ledger.flush()?;
    }
    Ok(shared.outcome(start))
}

async fn check(config: &Config) -> Result<(), LoadError> {
    if !(1..=MAX_CONNECTIONS).contains(&config.connections) {
        return Err(LoadError::Bounds("1 to 10000 connections"));
    }
    if config.topics > 1_000_000 || config.messages > 100_000_000 {
        return Err(LoadError::Bounds(
            "at most 1 million topics and 100 million messages",
        ));
    }
    if config.rate.is_some_and(|rate| !(rate > 0.0 && rate <= 1e7)) {
        return Err(LoadError::Bounds(
            "a rate lies above 0 and below 10 million",
        ));
    }
    let addresses = tokio::net::lookup_host((config.host.as_str(), config.port))
        .await
        .map_err(|source| LoadError::Unknown {
            host: config.host.clone(),
            source,
        })?;
    for address in addresses {
        if !config.allow_remote && !address.ip().is_loopback() {
            return Err(LoadError::Remote(address.ip()));
        }
    }
    Ok(())
}

/// One connection: sends its share and hears the acknowledgements.
async fn carry(
    share: Share,
    mut events: Events,
    shared: &Shared,
    start: Instant,
) -> Result<(), LoadError> {
    let way = Mutex::new(Way::default());
    let progress = Notify::new();
    let acknowledges = shared.config.qos != Qos::AtMostOnce;
    let listen = async {
        loop {
            let heard = match events.next().await {
                Ok(heard) => heard,
                Err(error) => {
                    tracing::warn!(%error, "a connection broke");
                    return Ok(());
                }
            };
            let mut way = way.lock().unwrap_or_else(PoisonError::into_inner);
            match heard {
                Heard::WentOut(pkid) => {
                    way.out += 1;
                    shared.sent.fetch_add(1, Ordering::Relaxed);
                    if let Some(queued) = way.queued.pop_front()
                        && acknowledges
                    {
                        way.in_flight.insert(pkid, queued);
                    } else {
                        way.settled += 1;
                        shared.note_end();
                    }
                }
                Heard::Acknowledged(pkid) => {
                    if let Some((id, since)) = way.in_flight.remove(&pkid) {
                        way.settled += 1;
                        shared.acknowledged(id, since)?;
                    }
                }
                Heard::Refused(pkid, answer) => {
                    if let Some((id, _)) = way.in_flight.remove(&pkid) {
                        way.settled += 1;
                        shared.refused(id, answer)?;
                    }
                }
                _ => continue,
            }
            drop(way);
            progress.notify_one();
        }
    };
    let settled = |count: u64| way.lock().unwrap_or_else(PoisonError::into_inner).settled >= count;
    let send = async {
        let count = send(&share, shared, &way, start).await?;
        let all = async {
            loop {
                let more = progress.notified();
                if settled(count) {
                    break;
                }
                more.await;
            }
        };
        // What is not settled by then is missing from the outcome, which is the message.
        let _ = timeout(PATIENCE, all).await;
        Ok::<(), LoadError>(())
    };
    tokio::select! {
        ended = listen => {
            shared.broken.fetch_add(1, Ordering::Relaxed);
            ended
        }
        sent = send => sent,
    }
}

/// Returns how many were queued.
async fn send(
    share: &Share,
    shared: &Shared,
    way: &Mutex<Way>,
    start: Instant,
) -> Result<u64, LoadError> {
    let mut last_ns = 0;
    let mut queued = 0;
    let mut counts = vec![0_i64; share.topics.len()];
    for number in 0..share.messages {
        if let Some(gap) = share.gap {
            sleep_until(start + gap.mul_f64(to_float(number))).await;
        }
        if start.elapsed() >= shared.config.max_time {
            break;
        }
        let turn = usize::try_from(number).unwrap_or(0) % share.topics.len().max(1);
        let (Some(topic), Some(count)) = (share.topics.get(turn), counts.get_mut(turn)) else {
            break;
        };
        *count += 1;
        last_ns = clock::now_ns().max(last_ns + 1);
        let payload = format!("{{\"time\":{last_ns},\"seq\":{count}}}");
        let id = shared.ids.fetch_add(1, Ordering::Relaxed);
        let device = format!("load-{topic}");
        let payload = Bytes::from(payload);
        if let Some(ledger) = &shared.ledger {
            let message = Message {
                metric: None,
                payload: payload.clone(),
                time: Some(last_ns),
                readings: vec![Reading {
                    metric: Scenario::SEQUENCE_METRIC.to_owned(),
                    value: Some(Value::Int(*count)),
                    expect: Expect::Stored,
                }],
                copy: false,
                expect: Expect::Stored,
            };
            ledger.enter(&Entry::Sent(Sent::new(
                id, last_ns, &device, "mqtt", &message,
            )))?;
        }
        way.lock()
            .unwrap_or_else(PoisonError::into_inner)
            .queued
            .push_back((id, Instant::now()));
        let topic = format!("load/{device}");
        if share
            .publisher
            .publish(&topic, shared.config.qos, false, payload)
            .await
            .is_err()
        {
            break;
        }
        queued += 1;
    }
    Ok(queued)
}

impl Shared {
    fn acknowledged(&self, id: u64, since: Instant) -> Result<(), LedgerError> {
        let count = self.acknowledged.fetch_add(1, Ordering::Relaxed);
        let every = (self.config.messages / SAMPLES).max(1);
        if count.is_multiple_of(every) {
            self.latencies
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .push(since.elapsed().as_secs_f64() * 1e3);
        }
        self.note_end();
        self.ledger.as_ref().map_or(Ok(()), |ledger| {
            ledger.enter(&Entry::Ack {
                id,
                at: clock::now_ns(),
            })
        })
    }

    fn refused(&self, id: u64, answer: String) -> Result<(), LedgerError> {
        self.refused.fetch_add(1, Ordering::Relaxed);
        self.ledger.as_ref().map_or(Ok(()), |ledger| {
            ledger.enter(&Entry::Refused {
                id,
                at: clock::now_ns(),
                answer,
            })
        })
    }

    fn note_end(&self) {
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }

    fn outcome(&self, start: Instant) -> Outcome {
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        let mut sample = self
            .latencies
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        sample.sort_by(f64::total_cmp);
        let at = |share: usize| {
            sample.get((sample.len() * share / 100).min(sample.len().saturating_sub(1)))
        };
        let ack_latency_ms = match (at(50), at(99), sample.last()) {
            (Some(p50), Some(p99), Some(max)) => Some(Latency {
                p50: *p50,
                p99: *p99,
                max: *max,
            }),
            _ => None,
        };
        let end = *self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let seconds = (end - start).as_secs_f64();
        let done = if self.config.qos == Qos::AtMostOnce {
            read(&self.sent)
        } else {
            read(&self.acknowledged)
        };
        Outcome {
            sent: read(&self.sent),
            acknowledged: read(&self.acknowledged),
            refused: read(&self.refused),
            broken_connections: read(&self.broken),
            seconds,
            rate: if seconds > 0.0 {
                to_float(done) / seconds
            } else {
                0.0
            },
            ack_latency_ms,
        }
    }
}

#[expect(
    clippy::cast_precision_loss,
    reason = "counts of messages stay far below 2^53"
)]
const fn to_float(count: u64) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ledger, peers::Broker};

    fn config(port: u16, qos: Qos, version: Version) -> Config {
        Config {
            host: String::from("127.0.0.1"),
            port,
            connections: 3,
            topics: 5,
            qos,
            version,
            messages: 1_000,
            rate: None,
            max_time: Duration::from_secs(30),
            in_flight: 100,
            allow_remote: false,
            ledger: None,
        }
    }

    #[tokio::test]
    async fn every_message_of_a_load_is_numbered_and_acknowledged() {
        let Some(broker) = Broker::start().await else {
            return;
        };
        let folder = tempfile::tempdir().unwrap();
        for (qos, version) in [
            (Qos::AtLeastOnce, Version::V3),
            (Qos::AtLeastOnce, Version::V5),
            (Qos::ExactlyOnce, Version::V3),
            (Qos::ExactlyOnce, Version::V5),
        ] {
            let path = folder.path().join(format!("{qos:?}{version:?}"));
            let mut config = config(broker.port, qos, version);
            config.ledger = Some(path.clone());
            let outcome = load(config).await.unwrap();
            assert_eq!((outcome.sent, outcome.acknowledged), (1_000, 1_000));
            assert_eq!(outcome.broken_connections, 0);
            assert!(outcome.ack_latency_ms.is_some_and(|l| l.p50 <= l.p99));
            let mut numbers = std::collections::BTreeMap::<String, Vec<i64>>::new();
            let mut acknowledged = 0;
            ledger::read(&path, |entry| match entry {
                Entry::Sent(sent) => {
                    if let Some(Value::Int(n)) = sent.readings[0].value {
                        numbers.entry(sent.device).or_default().push(n);
                    }
                }
                Entry::Ack { .. } => acknowledged += 1,
                _ => {}
            })
            .unwrap();
            assert_eq!(acknowledged, 1_000);
            assert_eq!(numbers.len(), 5);
            for (device, numbers) in numbers {
                let expected: Vec<i64> = (1..=numbers.len() as i64).collect();
                assert_eq!(numbers, expected, "{device}");
            }
        }
    }

    #[tokio::test]
    async fn a_load_ends_at_its_time_and_keeps_its_rate() {
        let Some(broker) = Broker::start().await else {
            return;
        };
        let mut config = config(broker.port, Qos::AtMostOnce, Version::V3);
        config.rate = Some(200.0);
        config.max_time = Duration::from_millis(500);
        let outcome = load(config).await.unwrap();
        assert!((50..=110).contains(&outcome.sent), "{outcome:?}");
        assert_eq!(outcome.ack_latency_ms, None);
    }

    #[tokio::test]
    async fn another_machine_is_not_loaded_without_leave() {
        let mut config = config(1_883, Qos::AtLeastOnce, Version::V3);
        // TEST-NET-1 of RFC 5737: nobody's.
        config.host = String::from("192.0.2.1");
        assert!(matches!(load(config).await, Err(LoadError::Remote(_))));
    }
}
