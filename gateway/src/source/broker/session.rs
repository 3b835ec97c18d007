//! The protocol state of one connection: what to do about a packet. No sockets, no clock, no waiting.
//!
//! Bounded: packet ids are 16 bits and, in MQTT 5, held to the receive maximum; subscriptions are counted; what was not
//! yet durable is counted for the connection, which stops reading when it is too much.

use std::collections::{HashMap, HashSet};

use smol_str::SmolStr;

use super::{
    packet::{Filter, Incoming, Message, Qos, Reason, Reply, SendRetained, Version},
    router::Grant,
    topic,
};

/// QoS 1 messages on their way to one subscriber that it has not acknowledged; fewer if the client wants fewer.
const MAX_WINDOW: usize = 100;

/// What was agreed at the start.
#[derive(Clone, Copy, Debug)]
pub(super) struct Terms {
    pub(super) version: Version,
    pub(super) max_subscriptions: usize,
    /// QoS 1 and 2 messages that the client may have open (MQTT 5).
    pub(super) receive_maximum: usize,
    /// QoS 1 messages that we may have open with the client.
    pub(super) client_receive_maximum: u16,
}

#[derive(Debug)]
pub(super) struct Session {
    terms: Terms,
    /// QoS 1 messages of the client that are not yet acknowledged.
    at_least_once: HashSet<u16>,
    /// QoS 2 messages of the client until their PUBREL.
    exactly_once: HashMap<u16, Phase>,
    subscriptions: HashSet<SmolStr>,
    /// Messages to the client that it has not acknowledged.
    window: HashSet<u16>,
    last_id: u16,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// On its way to the disk.
    Taken,
    /// Durable; PUBREC was sent.
    Recorded,
}

/// How a QoS 1 or 2 message is answered when it is durable, or at once in its turn if it was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) id: u16,
    pub(super) exactly_once: bool,
    pub(super) refused: Option<Reason>,
}

/// A QoS 1 or 2 message that came in; none if it was refused and only its answer has to wait its turn.
#[derive(Clone, Debug)]
pub(super) struct Taken {
    pub(super) message: Option<Message>,
    pub(super) answer: Answer,
}

/// A subscription that was granted.
#[derive(Debug)]
pub(super) struct Granted {
    pub(super) filter: SmolStr,
    pub(super) grant: Grant,
    pub(super) send_retained: bool,
}

/// What a packet asks for.
#[derive(Debug)]
pub(super) enum Effect {
    /// Nothing more to do.
    None,
    /// QoS 0: on at once.
    AtOnce(Message),
    /// To the disk, then [`Session::answer`].
    WhenDurable(Taken),
    /// A message that is not taken and needs no answer.
    Refused(Reason),
    /// To be written.
    Reply(Reply),
    /// To be entered, after the reply was written.
    Subscribe(Vec<Granted>, Reply),
    /// To be taken away, before the reply is written.
    Unsubscribe(Vec<String>, Reply),
    /// The client is leaving; with its will published or not.
    Goodbye { with_will: bool },
}

impl Session {
    pub(super) fn new(terms: Terms) -> Self {
        Self {
            terms,
            at_least_once: HashSet::new(),
            exactly_once: HashMap::new(),
            subscriptions: HashSet::new(),
            window: HashSet::new(),
            last_id: 0,
        }
    }

    /// What to do about a packet.
    ///
    /// # Errors
    ///
    /// Why the connection has to be closed.
    pub(super) fn handle(&mut self, packet: Incoming) -> Result<Effect, Reason> {
        match packet {
            Incoming::Publish {
                duplicate,
                id,
                message,
            } => self.publish(duplicate, id, message),
            Incoming::PubRel(id) => self.release(id),
            Incoming::PubAck(id) => {
                self.window.remove(&id);
                Ok(Effect::None)
            }
            Incoming::Subscribe {
                id,
                filters,
                identifier,
            } => self.subscribe(id, filters, identifier),
            Incoming::Unsubscribe { id, filters } => self.unsubscribe(id, filters),
            Incoming::Ping => Ok(Effect::Reply(Reply::Pong)),
            Incoming::Disconnect { with_will } => Ok(Effect::Goodbye { with_will }),
        }
    }

    /// The message is durable (or was refused, and it is its turn): what to tell the client.
    pub(super) fn answer(&mut self, answer: Answer) -> Reply {
        let Answer {
            id,
            exactly_once,
            refused,
        } = answer;
        if exactly_once {
            if refused.is_none() {
                self.exactly_once.insert(id, Phase::Recorded);
            }
            Reply::PubRec(id, refused)
        } else {
            if refused.is_none() {
                self.at_least_once.remove(&id);
            }
            Reply::PubAck(id, refused)
        }
    }

    /// Whether a QoS 1 message may be sent to the client now.
    pub(super) fn has_window(&self) -> bool {
        self.window.len() < MAX_WINDOW.min(self.terms.client_receive_maximum.into())
    }

    /// A packet id for a QoS 1 message; ask [`Session::has_window`] first, or there may be none.
    pub(super) fn open(&mut self) -> u16 {
        loop {
            self.last_id = self.last_id.checked_add(1).unwrap_or(1);
            if self.window.insert(self.last_id) {
                return self.last_id;
            }
        }
    }

    fn publish(&mut self, duplicate: bool, id: u16, message: Message) -> Result<Effect, Reason> {
        let refused = match topic::check_name(&message.topic) {
            Ok(()) => None,
            Err(Reason::Malformed) => return Err(Reason::Malformed),
            Err(reason) if message.qos == Qos::AtMostOnce => return Ok(Effect::Refused(reason)),
            // MQTT 3.1.1 has no word for it, and an acknowledgement would be a lie.
            Err(reason) if self.terms.version == Version::V4 => return Err(reason),
            Err(reason) => Some(reason),
        };
        let exactly_once = match message.qos {
            Qos::AtMostOnce => return Ok(Effect::AtOnce(message)),
            Qos::AtLeastOnce => false,
            Qos::ExactlyOnce => true,
        };
        if exactly_once {
            match self.exactly_once.get(&id) {
                Some(Phase::Taken) => return Ok(Effect::None),
                Some(Phase::Recorded) => return Ok(Effect::Reply(Reply::PubRec(id, None))),
                None => {}
            }
        } else if duplicate && self.at_least_once.contains(&id) {
            return Ok(Effect::None);
        }
        if refused.is_none() {
            if self.terms.version == Version::V5
                && self.at_least_once.len() + self.exactly_once.len() >= self.terms.receive_maximum
            {
                return Err(Reason::ReceiveMaximumExceeded);
            }
            if exactly_once {
                self.exactly_once.insert(id, Phase::Taken);
            } else {
                self.at_least_once.insert(id);
            }
        }
        Ok(Effect::WhenDurable(Taken {
            message: refused.is_none().then_some(message),
            answer: Answer {
                id,
                exactly_once,
                refused,
            },
        }))
    }

    fn release(&mut self, id: u16) -> Result<Effect, Reason> {
        let reason = match self.exactly_once.get(&id) {
            // A PUBREL is an answer to a PUBREC, and that was not sent.
            Some(Phase::Taken) => return Err(Reason::ProtocolError),
            Some(Phase::Recorded) => {
                self.exactly_once.remove(&id);
                None
            }
            None => Some(Reason::PacketIdNotFound),
        };
        Ok(Effect::Reply(Reply::PubComp(id, reason)))
    }

    fn subscribe(
        &mut self,
        id: u16,
        filters: Vec<Filter>,
        identifier: Option<u32>,
    ) -> Result<Effect, Reason> {
        if id == 0 {
            return Err(Reason::Malformed);
        }
        let mut granted = Vec::with_capacity(filters.len());
        let mut answers = Vec::with_capacity(filters.len());
        for filter in filters {
            let Filter {
                path,
                qos,
                no_local,
                retain_as_published,
                retained,
            } = filter;
            let is_new = !self.subscriptions.contains(&path);
            if let Err(reason) = topic::check_filter(&path) {
                answers.push(Err(reason));
                continue;
            }
            // The second bound is for one packet that repeats a filter thousands of times: each would look through
            // all retained messages.
            if (is_new && self.subscriptions.len() >= self.terms.max_subscriptions)
                || granted.len() >= self.terms.max_subscriptions
            {
                answers.push(Err(Reason::QuotaExceeded));
                continue;
            }
            let qos = qos.min(Qos::AtLeastOnce);
            answers.push(Ok(qos));
            self.subscriptions.insert(path.clone());
            granted.push(Granted {
                filter: path,
                grant: Grant {
                    qos,
                    no_local,
                    retain_as_published,
                    identifier,
                },
                send_retained: match retained {
                    SendRetained::Always => true,
                    SendRetained::IfNew => is_new,
                    SendRetained::Never => false,
                },
            });
        }
        Ok(Effect::Subscribe(granted, Reply::SubAck(id, answers)))
    }

    fn unsubscribe(&mut self, id: u16, filters: Vec<String>) -> Result<Effect, Reason> {
        if id == 0 {
            return Err(Reason::Malformed);
        }
        if filters.is_empty() {
            return Err(Reason::ProtocolError);
        }
        let existed = filters
            .iter()
            .map(|filter| self.subscriptions.remove(filter.as_str()))
            .collect();
        Ok(Effect::Unsubscribe(filters, Reply::UnsubAck(id, existed)))
    }
}
