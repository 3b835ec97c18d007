//! The one task that polls: takes what the broker sends, pauses when too much is on its way, writes acknowledgements.

use std::{collections::VecDeque, hash::BuildHasher, pin::pin, time::Duration};

use tokio::{
    sync::mpsc,
    time::{Instant, sleep, sleep_until, timeout_at},
};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use super::{
    Config, Subscription,
    disk::{Item, Settled},
    filters::Filters,
    link::{Event, Link, Message, Requests},
    trouble::Trouble,
    unacked::{Ack, Arrival, Unacked},
};
use crate::{
    backoff::Backoff,
    model::SourceName,
    rejects::{Reason, Reject, Rejects},
    source::{Frame, StatusReporter, shed::Shed},
};

/// Payload bytes of QoS 1 and 2 on their way to the disk before reading from the broker pauses.
const MAX_UNACKNOWLEDGED_BYTES: usize = 16 * 1024 * 1024;
/// What a message weighs beside its payload and topic.
const MESSAGE_OVERHEAD_BYTES: usize = 128;
/// A connection that stood this long was a good one: the next outage is a new one.
const GOOD_AFTER: Duration = Duration::from_secs(10);
/// So many short connections in a row that the broker closed look like two clients with one id.
const SUSPICIOUS: u32 = 3;
/// In a pause the ping goes out this long after the event loop's own timer is over, so that a poll for it finds it due.
const PING_SLACK: Duration = Duration::from_millis(50);
/// A link that says nothing for two keep-alives and this is stuck.
const SILENCE_SLACK: Duration = Duration::from_secs(20);
/// A pause in reading that lasts this long is named in the status.
const LONG_PAUSE: Duration = Duration::from_secs(2);
/// On stop, what is on its way gets this long to become durable.
pub(super) const STOP_AFTER: Duration = Duration::from_secs(5);

/// How staying connected ended.
enum End {
    Stopping,
    Lost(Trouble),
}

/// The state that outlives a connection.
pub(super) struct Session<'a> {
    pub(super) config: &'a Config,
    pub(super) source: &'a SourceName,
    pub(super) rejects: &'a Rejects,
    pub(super) status: &'a StatusReporter,
    /// Where QoS 0 goes.
    pub(super) queue: &'a Shed,
    /// Where QoS 1 and 2 go.
    pub(super) to_disk: mpsc::Sender<Vec<Item>>,
    /// Those that are settled, in order. Closed when all are, or when the gateway takes nothing more.
    pub(super) settled: mpsc::Receiver<Vec<Settled>>,
    pub(super) requests: Requests,
    pub(super) books: Books,
    pub(super) filters: Filters,
}

/// What is on its way, and what is to be written.
pub(super) struct Books {
    unacked: Unacked,
    hasher: foldhash::fast::RandomState,
    /// Taken from this poll's events, not yet handed over.
    gathered: Vec<Item>,
    /// On their way to the disk, those of lost connections too.
    messages: usize,
    bytes: usize,
    /// May be written, in this order.
    ready: VecDeque<Ack>,
    /// Requested from the link and not yet on the wire.
    requested: usize,
    connected_at: Option<Instant>,
    /// MQTT 5, while reading pauses: a ping is due, which only a poll can send.
    ping_due: bool,
    /// When the last ping went out, or the connection was made.
    pinged_at: Instant,
    /// The disk side has ended.
    disk_gone: bool,
    /// Since when reading pauses.
    paused_at: Option<Instant>,
    /// The subscriptions that the broker refused last.
    refused: Vec<String>,
    /// Why the last connections were short, while that looks like a fight over the session.
    contested: Option<String>,
}

impl Default for Books {
    fn default() -> Self {
        Self {
            unacked: Unacked::default(),
            hasher: foldhash::fast::RandomState::default(),
            gathered: Vec::new(),
            messages: 0,
            bytes: 0,
            ready: VecDeque::new(),
            requested: 0,
            connected_at: None,
            ping_due: false,
            pinged_at: Instant::now(),
            disk_gone: false,
            paused_at: None,
            refused: Vec::new(),
            contested: None,
        }
    }
}

impl Session<'_> {
    /// Connects, stays connected, connects again, until `stop`; then acknowledges what becomes durable in time.
    pub(super) async fn run(mut self, mut link: Link, stop: &CancellationToken) {
        let mut backoff = Backoff::new(self.config.backoff);
        let mut closed_early = 0;
        let mut reported = false;
        loop {
            let mut trouble = match self.stay_connected(&mut link, stop).await {
                End::Stopping => break,
                End::Lost(trouble) => trouble,
            };
            self.after_loss(&mut link);
            let stood = self.books.connected_at.take().map(|at| at.elapsed());
            if stood.is_some_and(|stood| stood >= self.good_after()) {
                backoff.reset();
                closed_early = 0;
                reported = false;
            } else if stood.is_some() && matches!(trouble, Trouble::Closed | Trouble::TakenOver) {
                closed_early += 1;
                if closed_early >= SUSPICIOUS && matches!(trouble, Trouble::Closed) {
                    trouble = Trouble::ClosedAgain;
                }
            }
            let contested = matches!(trouble, Trouble::ClosedAgain | Trouble::TakenOver);
            let problem = name_trouble(trouble, self.config).await;
            self.books.contested = contested.then(|| problem.clone());
            self.status.down(format!("{}: {problem}", self.address()));
            if !reported {
                reported = true;
                warn!(source = %self.source.0, broker = %self.address(), %problem, "no connection to the broker, trying again");
            }
            let again_at = Instant::now() + backoff.next_wait();
            loop {
                tokio::select! {
                    () = stop.cancelled() => break,
                    () = sleep_until(again_at) => break,
                    settled = self.settled.recv(), if !self.books.disk_gone => self.take_settled(settled),
                }
            }
            if stop.is_cancelled() {
                break;
            }
        }
        self.finish(link).await;
    }

    /// Polls until the connection is lost or the gateway stops.
    async fn stay_connected(&mut self, link: &mut Link, stop: &CancellationToken) -> End {
        let mut stopped = pin!(stop.cancelled());
        loop {
            while let Some(event) = link.buffered() {
                self.on_event(event);
            }
            self.hand_over();
            while let Ok(settled) = self.settled.try_recv() {
                self.take_settled(Some(settled));
            }
            if let Err(trouble) = self.write_acks(link).await {
                return End::Lost(trouble);
            }
            if self.is_flooded() {
                return End::Lost(Trouble::Flooded);
            }
            let long_at = self.note_pause();
            if self.must_pause() {
                let ping_at = self.books.pinged_at + link.keep_alive() + PING_SLACK;
                tokio::select! {
                    () = &mut stopped => return End::Stopping,
                    settled = self.settled.recv(), if !self.books.disk_gone => self.take_settled(settled),
                    () = sleep_until(ping_at) => {
                        if let Err(trouble) = link.write_ping().await {
                            return End::Lost(trouble);
                        }
                        self.on_pinged();
                        self.books.ping_due = !link.writes_directly();
                    }
                    () = sleep_until(long_at), if Instant::now() < long_at => {}
                }
                link.forgive_ping();
                continue;
            }
            // A live link says something at least once each keep-alive, if only its own ping.
            let silence = link.keep_alive() * 2 + SILENCE_SLACK;
            let polled = {
                let mut poll = pin!(link.poll());
                let mut silent = pin!(sleep(silence));
                loop {
                    tokio::select! {
                        biased;
                        () = &mut stopped => return End::Stopping,
                        polled = &mut poll => break polled,
                        settled = self.settled.recv(), if !self.books.disk_gone => {
                            self.take_settled(settled);
                            self.request_acks();
                        }
                        () = &mut silent => return End::Lost(Trouble::TimedOut),
                    }
                }
            };
            match polled {
                Ok(event) => self.on_event(event),
                Err(trouble) => return End::Lost(trouble),
            }
        }
    }

    fn on_event(&mut self, event: Event) {
        match event {
            Event::Connected { session_present } => self.on_connected(session_present),
            Event::Message(message) => self.on_message(message),
            Event::Subscribed(results) => self.on_subscribed(&results),
            Event::Released(id) => self.books.unacked.released(id),
            Event::Acknowledged => {
                self.books.requested = self.books.requested.saturating_sub(1);
            }
            Event::Pinged => self.on_pinged(),
            Event::PingAnswered => self.books.unacked.ping_answered(),
            Event::Unsubscribed => self.filters.confirmed(),
            Event::Disconnected | Event::Other => {}
        }
    }

    fn on_pinged(&mut self) {
        let good_after = self.good_after();
        let books = &mut self.books;
        books.unacked.pinged(books.ready.len() + books.requested);
        books.pinged_at = Instant::now();
        books.ping_due = false;
        let good = books
            .connected_at
            .is_some_and(|at| at.elapsed() >= good_after);
        if good && books.contested.take().is_some() {
            self.status.note(self.detail());
        }
    }

    /// How long a connection must stand to count as a good one. While the session is fought over, each side leaves the
    /// other alone for as long as its longest wait: only what lasts longer shows that the fight is over.
    fn good_after(&self) -> Duration {
        match self.books.contested {
            None => GOOD_AFTER,
            Some(_) => GOOD_AFTER.max(self.config.backoff.max * 2),
        }
    }

    fn on_connected(&mut self, session_present: bool) {
        self.books.unacked.connected(session_present);
        self.books.connected_at = Some(Instant::now());
        self.books.pinged_at = Instant::now();
        // With every connection, the session present or not: a broker that lost its memory says nothing of it, and one
        // that kept it does nothing twice.
        let valid: Vec<Subscription> = self
            .config
            .subscriptions
            .iter()
            .filter(|s| is_valid(s))
            .cloned()
            .collect();
        if !valid.is_empty() && !self.requests.subscribe(&valid) {
            warn!(source = %self.source.0, "the subscriptions could not be sent");
        }
        for filter in self.filters.connected() {
            info!(source = %self.source.0, %filter, "unsubscribing from what is not in the config any more");
            if !self.requests.unsubscribe(filter) {
                warn!(source = %self.source.0, %filter, "it could not be sent");
            }
        }
        self.status.up(self.standing());
        debug!(source = %self.source.0, session_present, "connected");
    }

    fn on_subscribed(&mut self, results: &[Result<(), String>]) {
        let (valid, invalid): (Vec<_>, Vec<_>) =
            self.config.subscriptions.iter().partition(|s| is_valid(s));
        let refused: Vec<String> = valid
            .iter()
            .zip(results)
            .filter_map(|(s, result)| Some((s, result.as_ref().err()?)))
            .map(|(s, reason)| format!("{} ({reason})", s.filter))
            .chain(
                invalid
                    .iter()
                    .map(|s| format!("{} (not a valid filter)", s.filter)),
            )
            .collect();
        if refused.is_empty() && self.books.contested.is_none() {
            info!(source = %self.source.0, broker = %self.address(), "subscribed");
        } else if !refused.is_empty() {
            let list = refused.join(", ");
            if refused != self.books.refused {
                warn!(source = %self.source.0, refused = %list, "the broker refused subscriptions");
            }
        }
        self.books.refused = refused;
        self.status.note(self.detail());
    }

    fn on_message(&mut self, message: Message) {
        let books = &mut self.books;
        let Some(guarantee) = message.guarantee else {
            if let Some(frame) = self.frame(message) {
                self.status.received(frame.payload.len());
                self.queue.push(frame);
            }
            return;
        };
        let content = books.hasher.hash_one((&message.topic, &message.payload));
        let ticket = match books
            .unacked
            .arrived(message.id, guarantee, content, message.again)
        {
            Arrival::New(ticket) => ticket,
            known => {
                self.status.redelivered.inc();
                if let Arrival::Durable(ack) = known {
                    books.ready.push_back(ack);
                }
                return;
            }
        };
        let bytes = message.payload.len()
            + message.topic.as_ref().map_or(0, |topic| topic.len())
            + MESSAGE_OVERHEAD_BYTES;
        books.messages += 1;
        books.bytes += bytes;
        let settled = Settled { ticket, bytes };
        let frame = self.frame(message);
        self.books.gathered.push(Item { settled, frame });
    }

    /// Makes a message a frame, or a reject, which is counted.
    fn frame(&self, message: Message) -> Option<Frame> {
        let arrived = self.status.now();
        let size = message.payload.len();
        let refused = match &message.topic {
            None => Some((Reason::NotUtf8, String::from("the topic is not UTF-8"))),
            Some(_) if size > self.config.max_packet_bytes => Some((
                Reason::TooLarge,
                format!(
                    "{size} bytes are more than the {} that are taken",
                    self.config.max_packet_bytes
                ),
            )),
            Some(_) => None,
        };
        let topic = message.topic.unwrap_or_default();
        if let Some((reason, detail)) = refused {
            self.status.received(size);
            let reject = Reject {
                reason,
                detail,
                record: 0,
            };
            self.rejects
                .record(self.source, &topic, &message.payload, arrived, reject);
            return None;
        }
        Some(Frame {
            topic,
            payload: message.payload,
            arrived,
            retained: message.retained,
        })
    }

    /// Hands over what was gathered. Never waits: the channel has room for more than can be on its way.
    fn hand_over(&mut self) {
        if self.books.gathered.is_empty() {
            return;
        }
        let gathered = std::mem::take(&mut self.books.gathered);
        // Closed: the gateway takes nothing more. The broker is not answered, and keeps the messages.
        if self.to_disk.try_send(gathered).is_err() && !self.books.disk_gone {
            self.books.disk_gone = true;
            warn!(source = %self.source.0, "the gateway takes no more messages; the broker keeps them");
        }
    }

    fn take_settled(&mut self, settled: Option<Vec<Settled>>) {
        let Some(settled) = settled else {
            self.books.disk_gone = true;
            return;
        };
        let books = &mut self.books;
        for Settled { ticket, bytes } in settled {
            books.messages -= 1;
            books.bytes -= bytes;
            books.ready.extend(books.unacked.durable(ticket));
        }
    }

    /// Between polls: writes what may be written, many in one flush where the link can. Where it can't, a poll for each
    /// is needed that may read more instead: so not while there is too much already.
    async fn write_acks(&mut self, link: &mut Link) -> Result<(), Trouble> {
        if !link.writes_directly() {
            if !self.is_full() {
                self.request_acks();
            }
        } else if self.books.requested == 0 && !self.books.ready.is_empty() {
            return link.write(self.books.ready.drain(..)).await;
        }
        Ok(())
    }

    /// While a poll is under way. Where acknowledgements can be written directly it requests only the first, which ends
    /// the poll; the others follow it at once, still in order.
    fn request_acks(&mut self) {
        if self.books.connected_at.is_none() {
            return;
        }
        let at_most = match self.requests {
            Requests::V4(_) => 1,
            Requests::V5(_) => usize::MAX,
        };
        while self.books.requested < at_most
            && let Some(ack) = self.books.ready.pop_front()
        {
            if !self.requests.acknowledge(ack) {
                self.books.ready.push_front(ack);
                return;
            }
            self.books.requested += 1;
        }
    }

    /// Whether as much is on its way to the disk as may be.
    fn is_full(&self) -> bool {
        self.books.messages >= self.config.max_unacknowledged.max(1)
            || self.books.bytes >= MAX_UNACKNOWLEDGED_BYTES
    }

    /// Whether reading pauses. What becomes durable ends the pause; the connection is kept alive meanwhile. MQTT 3.1.1
    /// goes on acknowledging and writes its pings; MQTT 5 must poll for a ping, and may read a little more with it.
    /// A request of MQTT 3.1.1 that is already under way (one at most) is let out first.
    fn must_pause(&self) -> bool {
        let waiting = matches!(self.requests, Requests::V4(_)) && self.books.requested > 0;
        self.is_full() && self.books.connected_at.is_some() && !waiting && !self.books.ping_due
    }

    /// Keeps account of pauses: each is counted, and a long one is in the status until it ends. Returns when the one that
    /// goes on, if any, is a long one.
    fn note_pause(&mut self) -> Instant {
        let now = Instant::now();
        if !self.is_full() {
            if self
                .books
                .paused_at
                .take()
                .is_some_and(|at| now >= at + LONG_PAUSE)
            {
                self.status.note(self.detail());
            }
            return now;
        }
        if self.books.paused_at.is_none() {
            self.status.pauses.inc();
        }
        let long_at = *self.books.paused_at.get_or_insert(now) + LONG_PAUSE;
        if now >= long_at {
            self.status.note(format!(
                "{}; reading pauses: {} messages wait for the disk",
                self.detail(),
                self.books.messages
            ));
        }
        long_at
    }

    /// The last bound, for a broker that sends much more with each poll for a ping. Not met in practice.
    fn is_flooded(&self) -> bool {
        self.books.messages > self.config.max_unacknowledged + usize::from(u16::MAX)
            || self.books.bytes > 4 * MAX_UNACKNOWLEDGED_BYTES
    }

    /// What arrived on the lost connection is still delivered; nothing of it is acknowledged before it comes again.
    fn after_loss(&mut self, link: &mut Link) {
        while let Some(event) = link.buffered() {
            if let Event::Message(message) = event {
                self.on_message(message);
            }
        }
        self.hand_over();
        link.forget();
        self.books.unacked.lost();
        self.books.ready.clear();
        self.books.requested = 0;
        self.books.ping_due = false;
        self.books.paused_at = None;
    }

    /// The gateway stops: reads no more, waits for what is on its way, acknowledges it and says goodbye.
    async fn finish(mut self, mut link: Link) {
        let deadline = Instant::now() + STOP_AFTER;
        while let Some(event) = link.buffered() {
            self.on_event(event);
        }
        self.hand_over();
        let Self {
            settled,
            to_disk,
            books,
            requests,
            source,
            ..
        } = &mut self;
        // Letting go of our end lets the disk side end once everything is durable.
        let (closed, _) = mpsc::channel(1);
        drop(std::mem::replace(to_disk, closed));
        let connected = books.connected_at.is_some();
        let goodbye = async {
            while let Some(batch) = settled.recv().await {
                for done in batch {
                    books.ready.extend(books.unacked.durable(done.ticket));
                }
                if connected && link.writes_directly() && books.requested == 0 {
                    link.write(books.ready.drain(..)).await?;
                }
            }
            if !connected {
                return Ok(());
            }
            if link.writes_directly() && books.requested == 0 {
                link.write(books.ready.drain(..)).await?;
                return link.write_disconnect().await;
            }
            // Requests are worked off in order: all acknowledgements are on the wire before the goodbye.
            let asked = books.ready.drain(..).all(|ack| requests.acknowledge(ack));
            if asked && requests.disconnect() {
                while !matches!(link.poll().await?, Event::Disconnected) {}
            }
            Ok::<_, Trouble>(())
        };
        match timeout_at(deadline, goodbye).await {
            Ok(Ok(())) => {}
            Ok(Err(trouble)) => {
                debug!(source = %source.0, problem = %trouble.in_full(), "the goodbye did not reach the broker");
            }
            Err(_) => {
                warn!(source = %source.0, "messages were not on disk in time; the broker keeps them and sends them again");
            }
        }
    }

    /// What there is to say at the start of a connection.
    fn standing(&self) -> String {
        match &self.books.contested {
            None => self.address(),
            Some(problem) => format!("{}; before: {problem}", self.address()),
        }
    }

    /// What there is to say once the broker has answered the subscriptions.
    fn detail(&self) -> String {
        if self.books.refused.is_empty() {
            return self.standing();
        }
        format!(
            "{}; the broker refused these subscriptions: {}; check its access rules",
            self.address(),
            self.books.refused.join(", ")
        )
    }

    fn address(&self) -> String {
        format!("{}:{}", self.config.host, self.config.port)
    }
}

fn is_valid(subscription: &Subscription) -> bool {
    rumqttc::valid_filter(&subscription.filter)
}

/// The trouble in words. An unknown name has no error kind of its own, so the name is asked for once more.
async fn name_trouble(trouble: Trouble, config: &Config) -> String {
    if let Trouble::Io(error) = &trouble
        && error.raw_os_error().is_none()
        && tokio::net::lookup_host((config.host.as_str(), config.port))
            .await
            .is_err()
    {
        return Trouble::NameNotFound.in_full();
    }
    trouble.in_full()
}
