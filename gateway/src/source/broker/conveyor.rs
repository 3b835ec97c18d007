//! What one connection has on its way to the disk, in order.
//!
//! Everything that came while a delivery was waiting for room goes with the next one, so that batches grow with the load;
//! any number of deliveries may be under way. QoS 0 goes through a [`Shed`] (drops its oldest, counted); QoS 1 and 2 are
//! bounded because the connection stops reading while [`Conveyor::is_full`].

use std::{
    collections::VecDeque,
    future::Future,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
};

use futures_util::FutureExt;
use prometheus_client::metrics::gauge::Gauge;
use smol_str::SmolStr;
use tokio::sync::oneshot;

use super::{
    super::{Frame, Intake, Receipt, StatusReporter, Stopped, intake::Held, shed::Shed},
    packet::Message,
    session::Taken,
};
use crate::model::{Presence, Timestamp, Urgency};

pub(super) struct Conveyor {
    intake: Intake,
    status: StatusReporter,
    peer: SmolStr,
    bounds: Bounds,
    shed: Shed,
    shed_has_some: bool,
    presence: Vec<Presence>,
    waiting: Batch,
    delivering: Option<Delivering>,
    in_flight: VecDeque<InFlight>,
    /// QoS 1 and 2 messages in `waiting`, `delivering` and `in_flight`.
    undurable: usize,
    undurable_bytes: usize,
}

/// QoS 1 and 2 bytes of all connections on their way to the disk, above which those that have more than their share pause.
const MAX_TOGETHER: usize = 32 << 20;
/// What each connection may have on its way whatever the others have.
const SHARE: usize = 16 << 10;

/// When reading has to pause.
#[derive(Clone, Debug)]
pub(super) struct Bounds {
    pub(super) messages: usize,
    pub(super) bytes: usize,
    /// The bytes of all connections together.
    pub(super) together: Arc<AtomicUsize>,
}

#[derive(Default)]
struct Batch {
    frames: Vec<Frame>,
    taken: Vec<Taken>,
}

type Delivered = Result<oneshot::Receiver<Receipt>, Stopped>;

struct Delivering {
    future: Pin<Box<dyn Future<Output = Delivered> + Send>>,
    taken: Vec<Taken>,
}

struct InFlight {
    /// None: only refusals, nothing to wait for.
    receipt: Option<oneshot::Receiver<Receipt>>,
    taken: Vec<Taken>,
}

impl Conveyor {
    pub(super) fn new(
        intake: Intake,
        status: StatusReporter,
        peer: SmolStr,
        bounds: Bounds,
        shed: Shed,
    ) -> Self {
        Self {
            intake,
            status,
            peer,
            bounds,
            shed,
            shed_has_some: false,
            presence: Vec::new(),
            waiting: Batch::default(),
            delivering: None,
            in_flight: VecDeque::new(),
            undurable: 0,
            undurable_bytes: 0,
        }
    }

    /// A message that nobody waits for.
    pub(super) fn push_at_once(&mut self, message: &Message, arrived: Timestamp) {
        self.status.received(message.payload.len());
        self.shed.push(frame(message, arrived));
        self.shed_has_some = true;
    }

    /// A message whose sender waits.
    pub(super) fn push(&mut self, taken: Taken, arrived: Timestamp) {
        self.undurable += 1;
        let bytes = size(&taken);
        self.undurable_bytes += bytes;
        self.bounds.together.fetch_add(bytes, Relaxed);
        if let Some(message) = &taken.message {
            self.waiting.frames.push(frame(message, arrived));
        }
        self.waiting.taken.push(taken);
    }

    /// The connection came or went; goes with the next delivery, after its messages.
    pub(super) fn push_presence(&mut self, presence: Presence) {
        self.presence.push(presence);
    }

    /// Whether so much is under way that the client has to wait.
    pub(super) fn is_full(&self) -> bool {
        self.undurable >= self.bounds.messages
            || self.undurable_bytes >= self.bounds.bytes
            || (self.undurable_bytes > SHARE && self.bounds.together.load(Relaxed) > MAX_TOGETHER)
    }

    /// Whether nothing is under way.
    pub(super) fn is_idle(&self) -> bool {
        self.delivering.is_none()
            && self.in_flight.is_empty()
            && self.waiting.taken.is_empty()
            && self.presence.is_empty()
            && !self.shed_has_some
    }

    /// Moves things on until the oldest QoS 1 and 2 messages under way are durable, and returns them.
    ///
    /// Cancel-safe. Never resolves while there are none, but may return empty when deliveries of other kinds went out.
    ///
    /// # Errors
    ///
    /// [`Stopped`] when the gateway takes nothing more: what is under way is not to be acknowledged.
    pub(super) async fn settled(&mut self) -> Result<Vec<Taken>, Stopped> {
        self.start();
        tokio::select! {
            biased;
            receipt = receipt_of(self.in_flight.front_mut()) => {
                let taken = self.in_flight.pop_front().map(|done| done.taken).unwrap_or_default();
                self.undurable -= taken.len();
                let bytes = taken.iter().map(size).sum::<usize>();
                self.undurable_bytes -= bytes;
                self.bounds.together.fetch_sub(bytes, Relaxed);
                receipt.map_err(|_| Stopped)?;
                Ok(taken)
            }
            delivered = delivery_of(self.delivering.as_mut()) => {
                self.delivered(delivered)?;
                Ok(Vec::new())
            }
        }
    }

    /// Gives up what is under way. QoS 0 messages that the gateway did not take are counted as dropped.
    pub(super) fn abandon(&mut self) {
        self.shed.give_up();
        self.delivering = None;
    }

    /// Hands on what is waiting, unless something is being handed on already.
    fn start(&mut self) {
        if self.delivering.is_some() {
            return;
        }
        let Batch { mut frames, taken } = std::mem::take(&mut self.waiting);
        let mut at_once = None;
        if std::mem::take(&mut self.shed_has_some)
            && let Some(Some((shed, claim))) = self.shed.take(usize::MAX).now_or_never()
        {
            at_once = Some(claim);
            frames.extend(shed);
        }
        let presence = std::mem::take(&mut self.presence);
        if frames.is_empty() && presence.is_empty() {
            if !taken.is_empty() {
                self.in_flight.push_back(InFlight {
                    receipt: None,
                    taken,
                });
            }
            return;
        }
        let (intake, status) = (self.intake.clone(), self.status.clone());
        let peer = Some(self.peer.clone());
        let (mut messages, mut bytes) = (0, 0);
        for message in taken.iter().filter_map(|taken| taken.message.as_ref()) {
            messages += 1;
            bytes += message.payload.len();
        }
        let urgency = if taken.is_empty() {
            Urgency::Patient
        } else {
            Urgency::Steady {
                messages: u32::try_from(messages).unwrap_or(u32::MAX),
            }
        };
        self.delivering = Some(Delivering {
            future: Box::pin(async move {
                let taken = |waiting: &Gauge| {
                    // QoS 0 was counted when it came; these count once the gateway has them, since before that the client
                    // still does.
                    if messages > 0 {
                        status.received_many(messages, bytes);
                    }
                    match at_once {
                        Some(claim) => claim.kept().and(messages),
                        None => Held::new(waiting, messages),
                    }
                };
                intake.deliver(urgency, peer, frames, presence, taken).await
            }),
            taken,
        });
    }

    fn delivered(&mut self, delivered: Delivered) -> Result<(), Stopped> {
        let Some(Delivering { taken, .. }) = self.delivering.take() else {
            return Ok(());
        };
        let receipt = delivered?;
        if !taken.is_empty() {
            self.in_flight.push_back(InFlight {
                receipt: Some(receipt),
                taken,
            });
        }
        Ok(())
    }
}

impl Drop for Conveyor {
    fn drop(&mut self) {
        self.bounds
            .together
            .fetch_sub(self.undurable_bytes, Relaxed);
    }
}

async fn receipt_of(oldest: Option<&mut InFlight>) -> Result<(), oneshot::error::RecvError> {
    match oldest {
        Some(InFlight {
            receipt: Some(receipt),
            ..
        }) => receipt.await.map(|_| ()),
        Some(InFlight { receipt: None, .. }) => Ok(()),
        None => std::future::pending().await,
    }
}

async fn delivery_of(delivering: Option<&mut Delivering>) -> Delivered {
    match delivering {
        Some(delivering) => delivering.future.as_mut().await,
        None => std::future::pending().await,
    }
}

fn frame(message: &Message, arrived: Timestamp) -> Frame {
    Frame {
        topic: message.topic.clone(),
        payload: message.payload.clone(),
        arrived,
        // The flag of a device's own message asks to keep it; it is a fresh reading all the same.
        retained: false,
    }
}

fn size(taken: &Taken) -> usize {
    taken
        .message
        .as_ref()
        .map_or(0, |message| message.topic.len() + message.payload.len())
}

#[cfg(test)]
mod tests {
    use prometheus_client::registry::Registry;

    use super::*;
    use crate::{
        clock::Clock,
        model::SourceName,
        source::{
            broker::{packet::Qos, session::Answer},
            intake::Door,
            shed,
            status::SourceMetrics,
        },
    };

    fn taken(bytes: usize) -> Taken {
        Taken {
            message: Some(Message {
                topic: "t".into(),
                payload: vec![0; bytes].into(),
                qos: Qos::AtLeastOnce,
                retain: false,
                expiry: None,
                properties: bytes::Bytes::new(),
            }),
            answer: Answer {
                id: 1,
                exactly_once: false,
                refused: None,
            },
        }
    }

    #[test]
    fn connections_together_have_a_bound_and_each_has_its_share() {
        let (door, _out) = Door::new();
        let name = SourceName("l".into());
        let (status, _) = SourceMetrics::new(&mut Registry::default()).reporter(
            name.clone(),
            "mqtt_listener",
            Clock::system(),
        );
        let together = Arc::new(AtomicUsize::new(0));
        let conveyor = || {
            Conveyor::new(
                door.intake(0, name.clone()),
                status.clone(),
                "c".into(),
                Bounds {
                    messages: 1000,
                    bytes: 64 << 20,
                    together: Arc::clone(&together),
                },
                Shed::new(shed::Config::default(), status.dropped_queue_full.clone()),
            )
        };
        let (mut big, mut small) = (conveyor(), conveyor());
        big.push(taken(MAX_TOGETHER), Timestamp(0));
        small.push(taken(SHARE - 1), Timestamp(0));
        assert!(big.is_full() && !small.is_full());
        small.push(taken(2), Timestamp(0));
        assert!(small.is_full());
        drop(big);
        assert!(!small.is_full());
        drop(small);
        assert_eq!(together.load(Relaxed), 0);
    }

    #[test]
    fn before_the_door_a_message_waits_with_its_client_and_one_that_nobody_waits_for_is_held_or_dropped()
     {
        let (door, mut out) = Door::new();
        let name = SourceName("l".into());
        let (status, _) = SourceMetrics::new(&mut Registry::default()).reporter(
            name.clone(),
            "mqtt_listener",
            Clock::system(),
        );
        let conveyor = || {
            Conveyor::new(
                door.intake(0, name.clone())
                    .counting(status.waiting.clone()),
                status.clone(),
                "c".into(),
                Bounds {
                    messages: 1000,
                    bytes: 64 << 20,
                    together: Arc::default(),
                },
                Shed::counting(
                    shed::Config::default(),
                    status.dropped_queue_full.clone(),
                    status.waiting.clone(),
                ),
            )
        };
        let figures = || {
            (
                status.messages.get(),
                status.waiting.get(),
                status.dropped_queue_full.get(),
            )
        };
        let full = door.fill();
        let mut gone = conveyor();
        gone.push(taken(1), Timestamp(0));
        let unasked = taken(1).message.unwrap();
        gone.push_at_once(&unasked, Timestamp(0));
        assert!(gone.settled().now_or_never().is_none());
        assert_eq!(figures(), (1, 1, 0));
        gone.push_at_once(&unasked, Timestamp(0));
        assert_eq!(figures(), (2, 2, 0));
        drop(gone);
        assert_eq!(figures(), (2, 0, 2));

        let mut taken_up = conveyor();
        taken_up.push(taken(1), Timestamp(0));
        assert!(taken_up.settled().now_or_never().is_none());
        assert_eq!(figures(), (2, 0, 2));
        drop(full);
        assert!(taken_up.settled().now_or_never().unwrap().is_ok());
        assert_eq!(figures(), (3, 1, 2));
        drop(out.try_recv().unwrap());
        assert_eq!(figures(), (3, 0, 2));
    }
}
