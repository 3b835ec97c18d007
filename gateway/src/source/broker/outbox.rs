//! What waits for one subscriber.
//!
//! Bounded in bytes. When it is full, a QoS 0 message that comes is dropped and counted
//! (`gateway_listener_outgoing_dropped_total`); at QoS 1 nothing may be lost in silence, so the connection is closed
//! with the reason "quota exceeded" and the client knows that it has a gap.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use prometheus_client::metrics::counter::Counter;
use tokio::sync::Notify;

use super::packet::{Message, Qos};

/// What a message costs beside its topic, payload and properties.
const OVERHEAD_BYTES: usize = 64;

/// A message on its way to one subscriber.
#[derive(Clone, Debug)]
pub(super) struct Parcel {
    pub(super) message: Arc<Message>,
    /// The lower of what was published and what was granted.
    pub(super) qos: Qos,
    /// The flag as it is sent.
    pub(super) retain: bool,
    /// Of the subscriptions that match (MQTT 5).
    pub(super) identifiers: Vec<u32>,
}

#[derive(Debug)]
pub(super) struct Outbox {
    max_bytes: usize,
    dropped: Counter,
    // std: held for a push or a pop, never over an await.
    state: Mutex<State>,
    filled: Notify,
}

#[derive(Debug, Default)]
struct State {
    parcels: VecDeque<Parcel>,
    bytes: usize,
    overflowed: bool,
}

impl Outbox {
    pub(super) fn new(max_bytes: usize, dropped: Counter) -> Self {
        Self {
            max_bytes,
            dropped,
            state: Mutex::default(),
            filled: Notify::new(),
        }
    }

    /// Adds a message at once, or does what the module says when there is no room. One message always has room.
    pub(super) fn push(&self, parcel: Parcel) {
        let mut state = self.state();
        let size = size(&parcel);
        if !state.parcels.is_empty() && state.bytes + size > self.max_bytes {
            if parcel.qos == Qos::AtMostOnce {
                self.dropped.inc();
                return;
            }
            state.overflowed = true;
        } else {
            state.bytes += size;
            state.parcels.push_back(parcel);
        }
        drop(state);
        self.filled.notify_one();
    }

    /// The oldest message, unless it is above QoS 0 and `at_least_once` says that none may be sent now.
    pub(super) fn pop(&self, at_least_once: bool) -> Option<Parcel> {
        let mut state = self.state();
        if !at_least_once && state.parcels.front()?.qos != Qos::AtMostOnce {
            return None;
        }
        let parcel = state.parcels.pop_front()?;
        state.bytes -= size(&parcel);
        Some(parcel)
    }

    /// Whether a QoS 1 message found no room: the connection must be closed.
    pub(super) fn has_overflowed(&self) -> bool {
        self.state().overflowed
    }

    /// Waits for the next push. Cancel-safe; one waiter only.
    pub(super) async fn filled(&self) {
        self.filled.notified().await;
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn size(parcel: &Parcel) -> usize {
    let message = &parcel.message;
    OVERHEAD_BYTES + message.topic.len() + message.payload.len() + message.properties.len()
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn parcel(qos: Qos, payload: &'static [u8]) -> Parcel {
        Parcel {
            message: Arc::new(Message {
                topic: "t".into(),
                payload: Bytes::from_static(payload),
                qos,
                retain: false,
                properties: Bytes::new(),
                expiry: None,
            }),
            qos,
            retain: false,
            identifiers: Vec::new(),
        }
    }

    #[test]
    fn a_full_outbox_drops_the_newest_at_qos_0_and_counts_it() {
        let dropped = Counter::default();
        let outbox = Outbox::new(150, dropped.clone());
        for payload in [b"a", b"b", b"c"] {
            outbox.push(parcel(Qos::AtMostOnce, payload));
        }
        assert_eq!(dropped.get(), 1);
        assert!(!outbox.has_overflowed());
        assert_eq!(&outbox.pop(true).unwrap().message.payload[..], b"a");
        assert_eq!(&outbox.pop(true).unwrap().message.payload[..], b"b");
        assert!(outbox.pop(true).is_none());
    }

    #[test]
    fn a_full_outbox_says_so_at_qos_1() {
        let outbox = Outbox::new(100, Counter::default());
        outbox.push(parcel(Qos::AtLeastOnce, b"a"));
        assert!(!outbox.has_overflowed());
        outbox.push(parcel(Qos::AtLeastOnce, b"b"));
        assert!(outbox.has_overflowed());
    }
}
