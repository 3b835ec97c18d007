//! The door between sources and the gateway: bounded in bytes and in deliveries.
//!
//! Full means waiting: [`Intake::deliver`] returns when there is room. Nothing is dropped here; who can't
//! wait puts a [`super::shed::Shed`] before it.

use std::sync::Arc;

use prometheus_client::metrics::gauge::Gauge;
use thiserror::Error;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};

use super::Frame;
use crate::{
    model::{Presence, SourceName, Urgency},
    rejects::Reject,
};

/// Deliveries that may wait for decoding, over all sources.
pub const MAX_DELIVERIES: usize = 64;
/// Payload bytes on their way between a source and the disk, over all sources.
pub const MAX_IN_FLIGHT_BYTES: usize = 16 * 1024 * 1024;
/// What a frame costs beside its payload.
const FRAME_OVERHEAD_BYTES: usize = 128;

/// The gateway is stopping and takes nothing more. What was not answered is not durable: don't acknowledge it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("the gateway is stopping")]
pub struct Stopped;

/// What became of a delivery. It comes only after everything accepted in it is on disk.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Receipt {
    /// Readings now durable.
    pub accepted: usize,
    /// Readings that were there already.
    pub duplicates: usize,
    /// Records that could not be used.
    pub rejected: usize,
    /// The first few of them (at most 20), for senders that can be told; `record` counts within the frame.
    pub rejects: Vec<Reject>,
}

/// So many messages or readings are on their way, until this is dropped.
#[derive(Debug)]
pub struct Held {
    waiting: Gauge,
    count: i64,
}

impl Held {
    /// Adds `count` to `waiting` and takes them off again when dropped.
    #[must_use]
    pub fn new(waiting: &Gauge, count: usize) -> Self {
        let count = i64::try_from(count).unwrap_or(i64::MAX);
        waiting.inc_by(count);
        Self {
            waiting: waiting.clone(),
            count,
        }
    }

    /// So many more.
    #[must_use]
    pub fn and(mut self, count: usize) -> Self {
        let count = i64::try_from(count).unwrap_or(i64::MAX);
        self.waiting.inc_by(count);
        self.count += count;
        self
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.waiting.dec_by(self.count);
    }
}

/// Frames on their way to the journal.
#[derive(Debug)]
pub struct Delivery {
    /// Who delivers: an index into the sources that the ingest task was built with.
    pub source: usize,
    /// The client that sent all of `frames`, where the source knows one.
    pub peer: Option<smol_str::SmolStr>,
    /// In the order of arrival.
    pub frames: Vec<Frame>,
    /// Whether the sender waits for `done`.
    pub urgency: Urgency,
    /// Connections that came or went, after `frames`.
    pub presence: Vec<Presence>,
    /// Resolved when durable; dropped unresolved when the gateway stops before that.
    pub done: oneshot::Sender<Receipt>,
    /// Room in the in-flight budget; given back when the delivery is durable.
    pub room: OwnedSemaphorePermit,
    /// The frames as the account counts what waits; let go of once they are decoded.
    pub held: Held,
}

/// A source's end of the door. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Intake {
    source: usize,
    name: SourceName,
    deliveries: mpsc::Sender<Delivery>,
    room: Arc<Semaphore>,
    waiting: Gauge,
}

/// The door itself, before it is handed out: one [`Intake`] a source, one receiver for the ingest task.
#[derive(Debug)]
pub struct Door {
    deliveries: mpsc::Sender<Delivery>,
    room: Arc<Semaphore>,
}

impl Door {
    /// A door and the end where deliveries come out.
    #[must_use]
    pub fn new() -> (Self, mpsc::Receiver<Delivery>) {
        let (deliveries, out) = mpsc::channel(MAX_DELIVERIES);
        (
            Self {
                deliveries,
                room: Arc::new(Semaphore::new(MAX_IN_FLIGHT_BYTES)),
            },
            out,
        )
    }

    /// The end for the source at `index` in the ingest task's list.
    #[must_use]
    pub fn intake(&self, index: usize, name: SourceName) -> Intake {
        Intake {
            source: index,
            name,
            deliveries: self.deliveries.clone(),
            room: Arc::clone(&self.room),
            waiting: Gauge::default(),
        }
    }

    /// Takes all the room, until what it gives is dropped.
    #[cfg(test)]
    pub(super) fn fill(&self) -> OwnedSemaphorePermit {
        let all = u32::try_from(MAX_IN_FLIGHT_BYTES).unwrap();
        Arc::clone(&self.room).try_acquire_many_owned(all).unwrap()
    }
}

impl Intake {
    /// Counts what is on its way through this end in `waiting`.
    #[must_use]
    pub fn counting(self, waiting: Gauge) -> Self {
        Self { waiting, ..self }
    }

    /// The name of the source that holds this end.
    #[must_use]
    pub const fn source(&self) -> &SourceName {
        &self.name
    }

    /// Hands frames over, waiting for room. The receiver resolves when everything accepted in them is durable.
    ///
    /// `taken` is called at the moment when the gateway has them, with the gauge of what waits: it counts them as received
    /// if they are not yet, and says what holds them from then on. Until then they are the caller's.
    ///
    /// Cancel-safe: a dropped call has delivered nothing and has not called `taken`.
    ///
    /// # Errors
    ///
    /// [`Stopped`] when the gateway takes nothing more.
    pub async fn deliver(
        &self,
        urgency: Urgency,
        peer: Option<smol_str::SmolStr>,
        frames: Vec<Frame>,
        presence: Vec<Presence>,
        taken: impl FnOnce(&Gauge) -> Held + Send,
    ) -> Result<oneshot::Receiver<Receipt>, Stopped> {
        let bytes: usize = frames
            .iter()
            .map(|f| f.payload.len() + f.topic.len() + FRAME_OVERHEAD_BYTES)
            .sum();
        let cost = u32::try_from(bytes.min(MAX_IN_FLIGHT_BYTES)).unwrap_or(u32::MAX);
        let room = Arc::clone(&self.room)
            .acquire_many_owned(cost)
            .await
            .map_err(|_| Stopped)?;
        let place = self.deliveries.reserve().await.map_err(|_| Stopped)?;
        let (done, receipt) = oneshot::channel();
        place.send(Delivery {
            source: self.source,
            peer,
            frames,
            urgency,
            presence,
            done,
            room,
            held: taken(&self.waiting),
        });
        Ok(receipt)
    }
}
