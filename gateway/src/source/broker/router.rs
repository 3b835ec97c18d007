//! Who listens to what, and the last retained message of each topic.
//!
//! One short lock around a tree of filters; publishing takes it once for everything that one read brought.
//! Retained messages are bounded in number and bytes: one more is refused (counted; the message itself is taken). They
//! live in memory only: after a restart a device has to say them again.

use std::{
    collections::{HashMap, hash_map::Entry},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

use bytes::Bytes;
use prometheus_client::metrics::{counter::Counter, gauge::Gauge};
use smol_str::SmolStr;
use tokio::time::Instant;

use super::{
    outbox::{Outbox, Parcel},
    packet::{Message, Qos},
    topic,
};

/// Names one connection for as long as the listener runs.
pub(super) type ConnectionKey = u64;

/// What a subscription was granted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Grant {
    pub(super) qos: Qos,
    pub(super) no_local: bool,
    pub(super) retain_as_published: bool,
    pub(super) identifier: Option<u32>,
}

/// The bounds of the retained table, and what counts it.
#[derive(Clone, Debug)]
pub(super) struct Retention {
    pub(super) max_topics: usize,
    pub(super) max_bytes: usize,
    pub(super) kept: Gauge,
    pub(super) refused: Counter,
}

#[derive(Debug)]
pub(super) struct Router {
    retention: Retention,
    /// So that publishing without any listener takes no lock.
    subscriptions: AtomicUsize,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    connections: HashMap<ConnectionKey, Connection>,
    filters: Node,
    retained: HashMap<SmolStr, Retained>,
    retained_bytes: usize,
    found: Vec<(ConnectionKey, Grant)>,
}

#[derive(Debug)]
struct Connection {
    outbox: Arc<Outbox>,
    filters: Vec<SmolStr>,
}

#[derive(Debug)]
struct Retained {
    message: Arc<Message>,
    until: Option<Instant>,
}

/// One level of the filters; `+` is a level like any other, since no topic contains it.
#[derive(Debug, Default)]
struct Node {
    next: HashMap<SmolStr, Node>,
    /// Filters that end here.
    here: Vec<(ConnectionKey, Grant)>,
    /// Filters that end here with `#`.
    below: Vec<(ConnectionKey, Grant)>,
}

impl Router {
    pub(super) fn new(retention: Retention) -> Self {
        Self {
            retention,
            subscriptions: AtomicUsize::new(0),
            state: Mutex::default(),
        }
    }

    /// A connection that may subscribe.
    pub(super) fn join(&self, key: ConnectionKey, outbox: Arc<Outbox>) {
        self.state().connections.insert(
            key,
            Connection {
                outbox,
                filters: Vec::new(),
            },
        );
    }

    /// The connection is gone, and its subscriptions with it.
    pub(super) fn leave(&self, key: ConnectionKey) {
        let mut state = self.state();
        let Some(connection) = state.connections.remove(&key) else {
            return;
        };
        for filter in connection.filters {
            state.filters.remove(&filter, key);
            self.subscriptions.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// Adds a valid filter, or replaces what it was granted.
    pub(super) fn subscribe(&self, key: ConnectionKey, filter: &SmolStr, grant: Grant) {
        let mut state = self.state();
        if !state.connections.contains_key(&key) {
            return;
        }
        if state.filters.insert(filter, key, grant) {
            self.subscriptions.fetch_add(1, Ordering::Relaxed);
            if let Some(connection) = state.connections.get_mut(&key) {
                connection.filters.push(filter.clone());
            }
        }
    }

    /// Takes a filter away.
    pub(super) fn unsubscribe(&self, key: ConnectionKey, filter: &str) {
        let mut state = self.state();
        if state.filters.remove(filter, key) {
            self.subscriptions.fetch_sub(1, Ordering::Relaxed);
        }
        if let Some(connection) = state.connections.get_mut(&key) {
            connection.filters.retain(|own| own != filter);
        }
    }

    /// Passes messages of connection `from` to all who listen, and keeps the retained ones.
    pub(super) fn publish<'a>(
        &self,
        from: ConnectionKey,
        messages: impl Iterator<Item = &'a Message>,
    ) {
        let mut locked = None;
        for message in messages {
            if !message.retain && self.subscriptions.load(Ordering::Relaxed) == 0 {
                continue;
            }
            let state = locked.get_or_insert_with(|| self.state());
            if message.retain {
                state.retain(message, &self.retention);
            }
            state.fan_out(from, message);
        }
    }

    /// The topics with a retained message that `filter` takes.
    pub(super) fn retained_topics(&self, filter: &str) -> Vec<SmolStr> {
        let state = self.state();
        if !filter.contains(['+', '#']) {
            return state
                .retained
                .get_key_value(filter)
                .map(|(topic, _)| topic.clone())
                .into_iter()
                .collect();
        }
        state
            .retained
            .keys()
            .filter(|topic| topic::matches(filter, topic))
            .cloned()
            .collect()
    }

    /// The retained message of a topic, if it has one that is not too old.
    pub(super) fn retained(&self, topic: &SmolStr) -> Option<Arc<Message>> {
        let mut state = self.state();
        let retained = state.retained.get(topic)?;
        if retained.until.is_some_and(|until| until <= Instant::now()) {
            state.forget(topic, &self.retention);
            return None;
        }
        Some(Arc::clone(&retained.message))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn retain(&mut self, message: &Message, retention: &Retention) {
        let before = self
            .retained
            .get(&message.topic)
            .map_or(0, |retained| retained_size(&retained.message));
        if message.payload.is_empty() {
            self.forget(&message.topic, retention);
            return;
        }
        let bytes = self.retained_bytes - before + retained_size(message);
        let is_new = before == 0;
        if bytes > retention.max_bytes || (is_new && self.retained.len() >= retention.max_topics) {
            if retention.refused.inc() == 0 {
                tracing::warn!(
                    topics = self.retained.len(),
                    bytes = self.retained_bytes,
                    "the table of retained MQTT messages is full; raise max_retained if it is the number of topics"
                );
            }
            return;
        }
        self.retained_bytes = bytes;
        let until = message.expiry.map(|expiry| Instant::now() + expiry);
        // Its own copy: a large payload may be a slice of a read buffer.
        let message = Arc::new(Message {
            payload: Bytes::copy_from_slice(&message.payload),
            ..message.clone()
        });
        self.retained
            .insert(message.topic.clone(), Retained { message, until });
        self.show(retention);
    }

    fn forget(&mut self, topic: &SmolStr, retention: &Retention) {
        if let Some(retained) = self.retained.remove(topic) {
            self.retained_bytes -= retained_size(&retained.message);
            self.show(retention);
        }
    }

    fn show(&self, retention: &Retention) {
        retention
            .kept
            .set(i64::try_from(self.retained.len()).unwrap_or(i64::MAX));
    }

    fn fan_out(&mut self, from: ConnectionKey, message: &Message) {
        self.found.clear();
        self.filters.find(&message.topic, &mut self.found);
        self.found
            .retain(|(key, grant)| *key != from || !grant.no_local);
        if self.found.is_empty() {
            return;
        }
        // Overlapping filters of one connection bring the message once, at the highest QoS (3.3.4).
        self.found.sort_unstable_by_key(|(key, _)| *key);
        let message = Arc::new(message.clone());
        for grants in self.found.chunk_by(|a, b| a.0 == b.0) {
            let Some(connection) = self.connections.get(&grants[0].0) else {
                continue;
            };
            let granted = grants
                .iter()
                .map(|(_, grant)| grant.qos)
                .max()
                .unwrap_or(Qos::AtMostOnce);
            connection.outbox.push(Parcel {
                qos: granted.min(message.qos),
                retain: message.retain && grants.iter().any(|(_, grant)| grant.retain_as_published),
                identifiers: grants
                    .iter()
                    .filter_map(|(_, grant)| grant.identifier)
                    .collect(),
                message: Arc::clone(&message),
            });
        }
    }
}

impl Node {
    /// Says whether it was not there.
    fn insert(&mut self, filter: &str, key: ConnectionKey, grant: Grant) -> bool {
        let (level, rest) = split(filter);
        let list = match (level, rest) {
            ("#", None) => &mut self.below,
            (level, Some(rest)) => {
                return self
                    .next
                    .entry(level.into())
                    .or_default()
                    .insert(rest, key, grant);
            }
            (level, None) => &mut self.next.entry(level.into()).or_default().here,
        };
        if let Some(there) = list.iter_mut().find(|(own, _)| *own == key) {
            there.1 = grant;
            return false;
        }
        list.push((key, grant));
        true
    }

    /// Says whether it was there. Levels that nobody needs go with it.
    fn remove(&mut self, filter: &str, key: ConnectionKey) -> bool {
        let (level, rest) = split(filter);
        if (level, rest) == ("#", None) {
            return take(&mut self.below, key);
        }
        let Entry::Occupied(mut entry) = self.next.entry(level.into()) else {
            return false;
        };
        let node = entry.get_mut();
        let removed = match rest {
            Some(rest) => node.remove(rest, key),
            None => take(&mut node.here, key),
        };
        if node.next.is_empty() && node.here.is_empty() && node.below.is_empty() {
            entry.remove();
        }
        removed
    }

    /// Collects who listens to `topic`.
    fn find(&self, topic: &str, found: &mut Vec<(ConnectionKey, Grant)>) {
        if topic.starts_with('$') {
            // The server's own topics are not for wildcards on the first level (4.7.2).
            let (level, rest) = split(topic);
            if let Some(node) = self.next.get(level) {
                node.descend(rest, found);
            }
        } else {
            self.descend(Some(topic), found);
        }
    }

    fn descend(&self, topic: Option<&str>, found: &mut Vec<(ConnectionKey, Grant)>) {
        found.extend_from_slice(&self.below);
        let Some(topic) = topic else {
            found.extend_from_slice(&self.here);
            return;
        };
        let (level, rest) = split(topic);
        for level in [level, "+"] {
            if let Some(node) = self.next.get(level) {
                node.descend(rest, found);
            }
        }
    }
}

fn take(list: &mut Vec<(ConnectionKey, Grant)>, key: ConnectionKey) -> bool {
    let before = list.len();
    list.retain(|(own, _)| *own != key);
    list.len() != before
}

fn split(path: &str) -> (&str, Option<&str>) {
    path.split_once('/')
        .map_or((path, None), |(level, rest)| (level, Some(rest)))
}

/// Never 0.
fn retained_size(message: &Message) -> usize {
    128 + 2 * message.topic.len() + message.payload.len() + message.properties.len()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;

    const PLAIN: Grant = Grant {
        qos: Qos::AtLeastOnce,
        no_local: false,
        retain_as_published: false,
        identifier: None,
    };

    fn router(max_topics: usize, max_bytes: usize) -> Router {
        Router::new(Retention {
            max_topics,
            max_bytes,
            kept: Gauge::default(),
            refused: Counter::default(),
        })
    }

    fn message(topic: &str, payload: &'static str, retain: bool) -> Message {
        Message {
            topic: topic.into(),
            payload: payload.into(),
            qos: Qos::ExactlyOnce,
            retain,
            properties: Bytes::new(),
            expiry: None,
        }
    }

    fn listen(router: &Router, key: ConnectionKey, filter: &str, grant: Grant) -> Arc<Outbox> {
        let outbox = Arc::new(Outbox::new(1 << 20, Counter::default()));
        router.join(key, Arc::clone(&outbox));
        router.subscribe(key, &filter.into(), grant);
        outbox
    }

    #[test]
    fn overlapping_filters_of_one_connection_bring_a_message_once() {
        let router = router(10, 1000);
        let outbox = listen(
            &router,
            1,
            "a/#",
            Grant {
                qos: Qos::AtMostOnce,
                identifier: Some(7),
                ..PLAIN
            },
        );
        let other = Grant {
            identifier: Some(8),
            ..PLAIN
        };
        router.subscribe(1, &"a/+".into(), other);
        router.publish(2, [message("a/b", "x", false)].iter());
        let parcel = outbox.pop(true).unwrap();
        assert_eq!(parcel.qos, Qos::AtLeastOnce);
        let mut identifiers = parcel.identifiers;
        identifiers.sort_unstable();
        assert_eq!(identifiers, [7, 8]);
        assert!(outbox.pop(true).is_none());
    }

    #[test]
    fn no_local_keeps_own_messages_away() {
        let router = router(10, 1000);
        let grant = Grant {
            no_local: true,
            ..PLAIN
        };
        let outbox = listen(&router, 1, "#", grant);
        router.publish(1, [message("a", "x", false)].iter());
        assert!(outbox.pop(true).is_none());
        router.publish(2, [message("a", "x", false)].iter());
        assert!(outbox.pop(true).is_some());
    }

    #[test]
    fn retained_messages_are_replaced_bounded_and_deleted_by_an_empty_one() {
        let router = router(2, 1 << 20);
        router.publish(
            1,
            [
                message("a", "1", true),
                message("a", "2", true),
                message("b", "1", true),
                message("c", "1", true),
            ]
            .iter(),
        );
        assert_eq!(&router.retained(&"a".into()).unwrap().payload[..], b"2");
        assert!(router.retained(&"c".into()).is_none());
        assert_eq!(router.retention.refused.get(), 1);
        assert_eq!(router.retention.kept.get(), 2);
        router.publish(1, [message("a", "", true), message("c", "1", true)].iter());
        assert!(router.retained(&"a".into()).is_none());
        assert!(router.retained(&"c".into()).is_some());
        let mut topics = router.retained_topics("+");
        topics.sort();
        assert_eq!(topics, ["b", "c"]);
    }

    #[test]
    fn retained_bytes_are_bounded_too() {
        let router = router(100, 300);
        router.publish(1, [message("a", "1", true), message("b", "1", true)].iter());
        router.publish(1, [message("c", "1", true)].iter());
        assert_eq!(router.retention.kept.get(), 2);
        assert_eq!(router.retention.refused.get(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn an_expired_retained_message_is_gone() {
        let router = router(10, 1000);
        let short = Message {
            expiry: Some(Duration::from_secs(5)),
            ..message("a", "1", true)
        };
        router.publish(1, [short].iter());
        assert!(router.retained(&"a".into()).is_some());
        tokio::time::advance(Duration::from_secs(6)).await;
        assert!(router.retained(&"a".into()).is_none());
        assert_eq!(router.retention.kept.get(), 0);
    }

    #[test]
    fn a_connection_that_leaves_takes_its_filters_along() {
        let router = router(10, 1000);
        let outbox = listen(&router, 1, "a/+/c", PLAIN);
        router.leave(1);
        assert_eq!(router.subscriptions.load(Ordering::Relaxed), 0);
        assert!(router.state().filters.next.is_empty());
        router.publish(2, [message("a/b/c", "x", false)].iter());
        assert!(outbox.pop(true).is_none());
    }

    fn level() -> impl Strategy<Value = String> {
        prop::sample::select(vec!["a", "b", "", "$x", "é"]).prop_map(String::from)
    }

    proptest! {
        /// The tree and the plain comparison of one filter with one topic are two readings of section 4.7.
        #[test]
        fn the_tree_finds_exactly_what_matches(
            topic in prop::collection::vec(level(), 1..5),
            filters in prop::collection::vec(prop::collection::vec(
                prop_oneof![level(), Just(String::from("+"))], 1..5), 1..8),
            hashes in prop::collection::vec(any::<bool>(), 8),
        ) {
            let topic = topic.join("/");
            let mut tree = Node::default();
            let filters: Vec<String> = filters.iter().zip(hashes)
                .map(|(levels, hash)| levels.join("/") + if hash { "/#" } else { "" })
                .collect();
            for (key, filter) in filters.iter().enumerate() {
                tree.insert(filter, key as u64, PLAIN);
            }
            let mut found = Vec::new();
            tree.find(&topic, &mut found);
            let mut found: Vec<_> = found.into_iter().map(|(key, _)| key).collect();
            found.sort_unstable();
            let expected: Vec<_> = filters.iter().enumerate()
                .filter(|(_, filter)| topic::matches(filter, &topic))
                .map(|(key, _)| key as u64)
                .collect();
            prop_assert_eq!(found, expected);
            for (key, filter) in filters.iter().enumerate() {
                prop_assert!(tree.remove(filter, key as u64));
            }
            prop_assert!(tree.next.is_empty());
        }
    }
}
