//! What a source says about itself: whether its link stands, since when, and what went wrong last.

use std::sync::{
    Arc,
    atomic::{AtomicI64, Ordering::Relaxed},
};

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::Registry,
};
use serde::Serialize;
use tokio::sync::watch;

use crate::{
    clock::Clock,
    model::{SourceName, Timestamp},
};

/// How a source's link stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum LinkState {
    /// Not tried yet, or trying for the first time.
    #[default]
    Connecting,
    /// Readings can come in.
    Up,
    /// Lost or refused; it is tried again.
    Down,
    /// Ended with the gateway.
    Stopped,
    /// Ended because it was taken out of the config.
    Removed,
}

/// A source as the status page shows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SourceStatus {
    /// The configured name.
    pub name: SourceName,
    /// `serial`, `mqtt`, `mqtt_listener` or `push`.
    pub kind: &'static str,
    /// How the link stands.
    pub state: LinkState,
    /// Since when it stands so, epoch milliseconds.
    pub since_ms: i64,
    /// In words: the address when up, the error and its remedy when down.
    pub detail: String,
    /// How often the link came up.
    pub connects: u64,
    /// When the last message came, epoch milliseconds; null: none yet.
    pub last_message_ms: LastMessage,
}

/// When the last message came. Clones share it, so that a message costs no change of the status.
#[derive(Clone, Debug)]
pub struct LastMessage(Arc<AtomicI64>);

impl LastMessage {
    const NEVER: i64 = i64::MIN;

    /// Epoch milliseconds.
    #[must_use]
    pub fn get(&self) -> Option<i64> {
        Some(self.0.load(Relaxed)).filter(|at| *at != Self::NEVER)
    }
}

impl Default for LastMessage {
    fn default() -> Self {
        Self(Arc::new(AtomicI64::new(Self::NEVER)))
    }
}

impl PartialEq for LastMessage {
    fn eq(&self, other: &Self) -> bool {
        self.get() == other.get()
    }
}

impl Eq for LastMessage {}

impl Serialize for LastMessage {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.get().serialize(serializer)
    }
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct SourceLabel {
    source: String,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct DropLabels {
    source: String,
    reason: &'static str,
}

/// The counters that every source feeds, as families over all sources.
#[derive(Clone, Debug)]
pub struct SourceMetrics {
    messages: Family<SourceLabel, Counter>,
    bytes: Family<SourceLabel, Counter>,
    dropped: Family<DropLabels, Counter>,
    connects: Family<SourceLabel, Counter>,
    pauses: Family<SourceLabel, Counter>,
    redelivered: Family<SourceLabel, Counter>,
    /// Not registered: the account shows it.
    waiting: Family<SourceLabel, Gauge>,
}

/// A source's own end: it reports its link and counts its messages. Cheap to clone.
#[derive(Clone, Debug)]
pub struct StatusReporter {
    clock: Clock,
    status: Arc<watch::Sender<SourceStatus>>,
    last_message: LastMessage,
    /// Messages that came in, dropped ones included.
    pub messages: Counter,
    /// Their payload bytes.
    pub bytes: Counter,
    /// Messages of those who can't wait that were dropped: the queue was full, or the gateway stopped first.
    pub dropped_queue_full: Counter,
    /// How often reading from a connection paused, because as much as may be was on its way to the disk.
    pub pauses: Counter,
    /// Messages that a broker sent again and that were recognised; in no other figure.
    pub redelivered: Counter,
    /// What came in and is not yet durable, refused, dropped or known as a repeat: messages until they are decoded, then
    /// readings. Whoever holds them counts them.
    pub waiting: Gauge,
    connects: Counter,
}

impl SourceMetrics {
    /// Registers `gateway_messages_total`, `gateway_message_bytes_total`, `gateway_messages_dropped_total`,
    /// `gateway_messages_redelivered_total`, `gateway_source_connects_total` and `gateway_source_pauses_total`.
    #[must_use]
    pub fn new(registry: &mut Registry) -> Self {
        let metrics = Self {
            messages: Family::default(),
            bytes: Family::default(),
            dropped: Family::default(),
            connects: Family::default(),
            pauses: Family::default(),
            redelivered: Family::default(),
            waiting: Family::default(),
        };
        registry.register(
            "gateway_messages",
            "Messages received",
            metrics.messages.clone(),
        );
        registry.register(
            "gateway_message_bytes",
            "Payload bytes received",
            metrics.bytes.clone(),
        );
        registry.register(
            "gateway_messages_dropped",
            "Messages dropped before they were decoded",
            metrics.dropped.clone(),
        );
        registry.register(
            "gateway_source_connects",
            "How often a source's link came up",
            metrics.connects.clone(),
        );
        registry.register(
            "gateway_source_pauses",
            "How often reading from a connection paused until the disk was further",
            metrics.pauses.clone(),
        );
        registry.register(
            "gateway_messages_redelivered",
            "Messages that a broker sent again, recognised and not taken twice",
            metrics.redelivered.clone(),
        );
        metrics
    }

    /// The reporter of one source, and where others watch it.
    #[must_use]
    pub fn reporter(
        &self,
        name: SourceName,
        kind: &'static str,
        clock: Clock,
    ) -> (StatusReporter, watch::Receiver<SourceStatus>) {
        let label = SourceLabel {
            source: name.0.to_string(),
        };
        let drops = DropLabels {
            source: name.0.to_string(),
            reason: "queue_full",
        };
        let status = SourceStatus {
            name,
            kind,
            state: LinkState::Connecting,
            since_ms: clock.now().as_millis(),
            detail: String::new(),
            connects: 0,
            last_message_ms: LastMessage::default(),
        };
        let last_message = status.last_message_ms.clone();
        let (sender, receiver) = watch::channel(status);
        let reporter = StatusReporter {
            clock,
            status: Arc::new(sender),
            last_message,
            messages: self.messages.get_or_create(&label).clone(),
            bytes: self.bytes.get_or_create(&label).clone(),
            dropped_queue_full: self.dropped.get_or_create(&drops).clone(),
            pauses: self.pauses.get_or_create(&label).clone(),
            redelivered: self.redelivered.get_or_create(&label).clone(),
            waiting: self.waiting.get_or_create(&label).clone(),
            connects: self.connects.get_or_create(&label).clone(),
        };
        (reporter, receiver)
    }
}

impl StatusReporter {
    /// The link came up. `detail` says to what: a path, an address.
    pub fn up(&self, detail: impl Into<String>) {
        self.connects.inc();
        self.change(LinkState::Up, detail.into());
    }

    /// The link stands as it did, but there is something new to say about it: a refused subscription, say.
    pub fn note(&self, detail: impl Into<String>) {
        let detail = detail.into();
        self.status.send_if_modified(|status| {
            let changed = status.detail != detail;
            status.detail = detail;
            changed
        });
    }

    /// The link is lost or refused. Says whether that is news: log it only then.
    pub fn down(&self, detail: impl Into<String>) -> bool {
        self.change(LinkState::Down, detail.into())
    }

    /// A source of this name begins (again), perhaps of another kind than before.
    pub fn begins(&self, kind: &'static str) {
        self.status.send_modify(|status| status.kind = kind);
        self.change(LinkState::Connecting, String::new());
    }

    /// The source ended because it was taken out of the config.
    pub fn removed(&self) {
        self.change(LinkState::Removed, String::new());
    }

    /// The source ended with the gateway.
    pub fn stopped(&self) {
        self.change(LinkState::Stopped, String::new());
    }

    /// One message came in.
    pub fn received(&self, payload_bytes: usize) {
        self.received_many(1, payload_bytes);
    }

    /// So many messages came in, with so many bytes of payload together.
    pub fn received_many(&self, messages: usize, payload_bytes: usize) {
        self.messages.inc_by(messages as u64);
        self.bytes.inc_by(payload_bytes as u64);
        let now = self.clock.now().as_millis();
        self.last_message.0.store(now, Relaxed);
    }

    /// The arrival time for frames.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    fn change(&self, state: LinkState, detail: String) -> bool {
        let now = self.clock.now().as_millis();
        let mut news = false;
        self.status.send_if_modified(|status| {
            news = status.state != state;
            let changed = news || status.detail != detail;
            if news {
                status.since_ms = now;
                status.connects += u64::from(state == LinkState::Up);
            }
            status.state = state;
            status.detail = detail;
            changed
        });
        news
    }
}
