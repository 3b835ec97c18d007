//! Which QoS 1 and 2 messages of the broker wait for an acknowledgement, over reconnections. Pure.
//!
//! A packet id means something within one session only, and the same id comes again for another message as soon as
//! it was acknowledged. So each message gets a [`Ticket`] of its own, and what becomes durable is acknowledged by its
//! ticket: an acknowledgement is written only if the broker sent *this* message on *this* connection and still waits.
//!
//! - The connection is lost, the session stays: what was on its way to the disk is remembered. The broker sends it
//!   again with the same id (MQTT 3.1.1 and 5, section 4.4); it is recognised by id and content, not delivered a
//!   second time, and acknowledged once the first delivery is durable.
//! - A PUBACK can be lost with the connection that it was written to. So a QoS 1 message that was acknowledged is remembered
//!   until the broker shows that it has the PUBACK: it answers a ping that was sent after it, it uses the id for another
//!   message, or it does not send the message again on the next connection. Sent again before that, it is acknowledged
//!   again and not delivered again. One thing can't be told apart: a broker that gives an id away again at once, and
//!   sends the same bytes on the same topic just when the connection breaks; such a message is taken for the old one.
//! - The session is lost: everything is forgotten. What is on its way still reaches the disk; nobody waits for it.
//! - QoS 2: a message is known from its first PUBLISH to the PUBREL, so it is delivered once however often it is sent.
//!   PUBREC goes out when it is durable; rumqttc answers PUBREL by itself.

use std::collections::HashMap;

/// How the broker wants to be answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Guarantee {
    /// QoS 1: PUBACK.
    AtLeastOnce,
    /// QoS 2: PUBREC.
    ExactlyOnce,
}

/// An acknowledgement that may be written to the connection that is open now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ack {
    /// The packet id.
    pub(super) id: u16,
    /// Which packet it is.
    pub(super) guarantee: Guarantee,
}

/// One message, told apart from every other one of this run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ticket {
    id: u16,
    serial: u64,
}

/// What to do with a message that arrived.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Arrival {
    /// Deliver it; say [`Unacked::durable`] with the ticket when it is.
    New(Ticket),
    /// Sent again, and on its way to the disk already; nothing to do.
    OnItsWay,
    /// Sent again, and durable already: acknowledge it at once.
    Durable(Ack),
}

#[derive(Debug)]
struct Entry {
    serial: u64,
    guarantee: Guarantee,
    content: u64,
    /// On which connection the broker sent it last.
    connection: u64,
    durable: bool,
    /// Which acknowledgement it got last, counted from 1; 0: none yet. Not kept for QoS 2, which has its PUBREL.
    acknowledged: u64,
}

/// The table; at most 65 535 entries, one for each packet id.
#[derive(Debug, Default)]
pub(super) struct Unacked {
    entries: HashMap<u16, Entry, foldhash::fast::RandomState>,
    connection: u64,
    /// The number of the last connection that stood.
    stood: u64,
    serials: u64,
    /// QoS 1 acknowledgements given out so far.
    acknowledgements: u64,
    /// Those of them that were on the wire before the last ping.
    before_ping: u64,
}

impl Unacked {
    /// The connection is gone: what becomes durable from here on can't be acknowledged on it.
    pub(super) fn lost(&mut self) {
        self.connection += 1;
    }

    /// A new connection stands. Whether the broker kept the session decides about what was open.
    pub(super) fn connected(&mut self, session_present: bool) {
        self.connection += 1;
        let last = std::mem::replace(&mut self.stood, self.connection);
        if session_present {
            // What the broker did not send again on the last connection was settled with it.
            self.entries
                .retain(|_, entry| entry.acknowledged == 0 || entry.connection == last);
        } else {
            self.entries.clear();
        }
        self.before_ping = 0;
    }

    /// A ping is on the wire, behind all acknowledgements of this connection but the last `unwritten`.
    pub(super) fn pinged(&mut self, unwritten: usize) {
        self.before_ping = self.acknowledgements.saturating_sub(unwritten as u64);
    }

    /// The broker answered the ping: it has every acknowledgement that was written before it.
    pub(super) fn ping_answered(&mut self) {
        let (connection, before) = (self.connection, self.before_ping);
        self.entries.retain(|_, entry| {
            entry.acknowledged == 0 || entry.acknowledged > before || entry.connection != connection
        });
    }

    /// A message came. `again` is its DUP flag, `content` a hash of topic and payload.
    pub(super) fn arrived(
        &mut self,
        id: u16,
        guarantee: Guarantee,
        content: u64,
        again: bool,
    ) -> Arrival {
        if let Some(entry) = self.entries.get_mut(&id)
            && again
            && entry.guarantee == guarantee
            && entry.content == content
        {
            entry.connection = self.connection;
            if !entry.durable {
                return Arrival::OnItsWay;
            }
            if guarantee == Guarantee::AtLeastOnce {
                self.acknowledgements += 1;
                entry.acknowledged = self.acknowledgements;
            }
            return Arrival::Durable(Ack { id, guarantee });
        }
        // A known id with other content: the broker gave up on the old message. Its ticket is void from here on.
        self.serials += 1;
        let serial = self.serials;
        self.entries.insert(
            id,
            Entry {
                serial,
                guarantee,
                content,
                connection: self.connection,
                durable: false,
                acknowledged: 0,
            },
        );
        Arrival::New(Ticket { id, serial })
    }

    /// What was in the message is on disk. The acknowledgement, if the broker waits for it on this connection.
    pub(super) fn durable(&mut self, ticket: Ticket) -> Option<Ack> {
        let entry = self.entries.get_mut(&ticket.id)?;
        if entry.serial != ticket.serial || entry.acknowledged > 0 {
            return None;
        }
        entry.durable = true;
        let guarantee = entry.guarantee;
        if entry.connection != self.connection {
            // The broker will send it again, and is answered then.
            return None;
        }
        if guarantee == Guarantee::AtLeastOnce {
            self.acknowledgements += 1;
            entry.acknowledged = self.acknowledgements;
        }
        Some(Ack {
            id: ticket.id,
            guarantee,
        })
    }

    /// The broker released a QoS 2 message (PUBREL): its id is free.
    pub(super) fn released(&mut self, id: u16) {
        if let Some(entry) = self.entries.get(&id)
            && entry.guarantee == Guarantee::ExactlyOnce
            && entry.durable
        {
            self.entries.remove(&id);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, HashSet, VecDeque};

    use proptest::prelude::*;

    use super::*;

    const PUBACK: Guarantee = Guarantee::AtLeastOnce;
    const PUBREC: Guarantee = Guarantee::ExactlyOnce;

    fn connected() -> Unacked {
        let mut unacked = Unacked::default();
        unacked.connected(false);
        unacked
    }

    fn new(arrival: Arrival) -> Ticket {
        let Arrival::New(ticket) = arrival else {
            panic!("{arrival:?} is not new");
        };
        ticket
    }

    #[test]
    fn a_message_is_acknowledged_once_and_only_when_durable() {
        let mut unacked = connected();
        let ticket = new(unacked.arrived(1, PUBACK, 7, false));
        let ack = Ack {
            id: 1,
            guarantee: PUBACK,
        };
        assert_eq!(unacked.durable(ticket), Some(ack));
        assert_eq!(unacked.durable(ticket), None);
    }

    #[test]
    fn after_a_lost_connection_nothing_is_acknowledged_before_the_broker_sends_it_again() {
        let mut unacked = connected();
        let first = new(unacked.arrived(1, PUBACK, 7, false));
        let second = new(unacked.arrived(2, PUBACK, 8, false));
        unacked.lost();
        assert_eq!(
            unacked.durable(first),
            None,
            "stale, while there is no connection"
        );
        unacked.connected(true);
        assert_eq!(unacked.durable(first), None, "stale");
        assert_eq!(
            unacked.arrived(1, PUBACK, 7, true),
            Arrival::Durable(Ack {
                id: 1,
                guarantee: PUBACK
            })
        );
        assert_eq!(unacked.arrived(2, PUBACK, 8, true), Arrival::OnItsWay);
        assert!(unacked.durable(second).is_some());
    }

    #[test]
    fn a_lost_session_voids_old_tickets_even_when_ids_come_again() {
        let mut unacked = connected();
        let old = new(unacked.arrived(1, PUBACK, 7, false));
        unacked.connected(false);
        let other = new(unacked.arrived(1, PUBACK, 9, false));
        assert_eq!(
            unacked.durable(old),
            None,
            "the other message is not durable"
        );
        assert!(unacked.durable(other).is_some());
    }

    #[test]
    fn an_id_that_comes_with_other_content_is_another_message() {
        let mut unacked = connected();
        let old = new(unacked.arrived(1, PUBACK, 7, false));
        unacked.connected(true);
        let other = new(unacked.arrived(1, PUBACK, 8, true));
        assert_eq!(unacked.durable(old), None);
        assert!(unacked.durable(other).is_some());
    }

    #[test]
    fn exactly_once_is_known_until_it_is_released() {
        let mut unacked = connected();
        let ticket = new(unacked.arrived(3, PUBREC, 7, false));
        let rec = Ack {
            id: 3,
            guarantee: PUBREC,
        };
        assert_eq!(unacked.durable(ticket), Some(rec));
        // The PUBREC was lost with the connection: the same message again, answered but not delivered again.
        unacked.connected(true);
        assert_eq!(unacked.arrived(3, PUBREC, 7, true), Arrival::Durable(rec));
        unacked.released(3);
        new(unacked.arrived(3, PUBREC, 7, true));
    }

    #[test]
    fn a_message_whose_acknowledgement_was_lost_is_acknowledged_again_and_not_delivered_again() {
        let mut unacked = connected();
        let ticket = new(unacked.arrived(1, PUBACK, 7, false));
        let ack = unacked.durable(ticket).unwrap();
        unacked.lost();
        unacked.connected(true);
        assert_eq!(unacked.arrived(1, PUBACK, 7, true), Arrival::Durable(ack));
        // That one was lost, too.
        unacked.lost();
        unacked.connected(true);
        assert_eq!(unacked.arrived(1, PUBACK, 7, true), Arrival::Durable(ack));
    }

    #[test]
    fn an_acknowledgement_that_the_broker_has_is_forgotten() {
        // Shown by a ping that was answered: the second acknowledgement was not written before it.
        let mut unacked = connected();
        for (id, content) in [(1, 7), (2, 8)] {
            let ticket = new(unacked.arrived(id, PUBACK, content, false));
            unacked.durable(ticket).unwrap();
        }
        unacked.pinged(1);
        unacked.ping_answered();
        unacked.lost();
        unacked.connected(true);
        new(unacked.arrived(1, PUBACK, 7, true));
        assert!(matches!(
            unacked.arrived(2, PUBACK, 8, true),
            Arrival::Durable(_)
        ));

        // By a connection on which it did not come again.
        let mut unacked = connected();
        let ticket = new(unacked.arrived(1, PUBACK, 7, false));
        unacked.durable(ticket).unwrap();
        for _ in 0..2 {
            unacked.lost();
            unacked.connected(true);
        }
        new(unacked.arrived(1, PUBACK, 7, true));

        // By the id's use for another message.
        let mut unacked = connected();
        for _ in 0..2 {
            let ticket = new(unacked.arrived(1, PUBACK, 7, false));
            assert!(unacked.durable(ticket).is_some());
        }
    }

    /// A broker and a disk, as the table sees them. Contents are all different.
    #[derive(Default)]
    struct World {
        unacked: Unacked,
        up: bool,
        /// The broker did not hear something that was written to this connection.
        deaf: bool,
        /// What the broker waits for, by packet id.
        open: BTreeMap<u16, (u64, Guarantee)>,
        on_the_way: VecDeque<(Ticket, u64)>,
        durable: HashSet<u64>,
        sent: u64,
    }

    impl World {
        fn send(&mut self, guarantee: Guarantee) {
            let Some(id) = (1..=4).find(|id| self.up && !self.open.contains_key(id)) else {
                return;
            };
            self.sent += 1;
            self.open.insert(id, (self.sent, guarantee));
            let ticket = new(self.unacked.arrived(id, guarantee, self.sent, false));
            self.on_the_way.push_back((ticket, self.sent));
        }

        fn make_durable(&mut self, heard: bool) {
            if let Some((ticket, content)) = self.on_the_way.pop_front() {
                self.durable.insert(content);
                if let Some(ack) = self.unacked.durable(ticket) {
                    self.acknowledge(ack, heard);
                }
            }
        }

        /// The law: only what is durable is acknowledged.
        fn acknowledge(&mut self, ack: Ack, heard: bool) {
            let (content, guarantee) = self.open[&ack.id];
            assert_eq!(guarantee, ack.guarantee);
            assert!(self.durable.contains(&content), "lost if the power fails");
            self.deaf |= !heard;
            if heard {
                self.open.remove(&ack.id);
                if guarantee == Guarantee::ExactlyOnce {
                    self.unacked.released(ack.id);
                }
            }
        }

        fn reconnect(&mut self, session_present: bool, heard: bool) {
            self.unacked.lost();
            self.unacked.connected(session_present);
            self.up = true;
            self.deaf = false;
            if !session_present {
                self.open.clear();
            }
            for (id, (content, guarantee)) in self.open.clone() {
                match self.unacked.arrived(id, guarantee, content, true) {
                    Arrival::New(_) => panic!("delivered twice"),
                    Arrival::OnItsWay => {}
                    Arrival::Durable(ack) => self.acknowledge(ack, heard),
                }
            }
        }
    }

    proptest! {
        #[test]
        fn nothing_is_acknowledged_that_is_not_durable_nor_delivered_twice_and_nothing_waits_for_ever(
            steps in prop::collection::vec((0_u8..10, any::<bool>()), 0..200),
        ) {
            let mut world = World::default();
            world.reconnect(false, true);
            for (step, flag) in steps {
                match step {
                    0..3 => world.send(if flag { PUBACK } else { PUBREC }),
                    3..6 => world.make_durable(flag),
                    6 => world.reconnect(flag, true),
                    7 => world.reconnect(true, flag),
                    8 => {
                        world.unacked.lost();
                        world.up = false;
                    }
                    _ if world.up && !world.deaf => {
                        world.unacked.pinged(0);
                        world.unacked.ping_answered();
                    }
                    _ => {}
                }
            }
            world.reconnect(true, true);
            while !world.on_the_way.is_empty() {
                world.make_durable(true);
            }
            prop_assert!(world.open.is_empty());
        }
    }
}
