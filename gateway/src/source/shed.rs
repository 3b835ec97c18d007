//! A queue for senders that can't be made to wait: when it is full the oldest goes, and is counted.
//!
//! Bounded in items and bytes; one message always has room, however large. One side pushes without ever waiting, the
//! other takes all that is there.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use prometheus_client::metrics::{counter::Counter, gauge::Gauge};
use tokio::{
    sync::{Notify, oneshot::error::TryRecvError},
    time::{Instant, sleep_until},
};

use super::{Frame, Intake, Stopped};
use crate::model::Urgency;

/// Deliveries of one [`Shed::forward`] that may be on their way to the disk; the queue behind them gathers.
const MAX_OUTSTANDING: usize = 32;
/// Frames in one delivery at most.
const MAX_BATCH: usize = 1024;
/// Dense traffic is delivered this often at most: waking the stages behind costs more than decoding. The more deliveries are
/// on their way, the longer: all [`MAX_OUTSTANDING`] together last for a second of patience. A frame that comes after a
/// pause is not held back.
const GATHER: Duration = Duration::from_millis(2);

/// How much may wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Config {
    /// Frames at most. Default 20 000.
    pub max_frames: usize,
    /// Bytes of payload and topic at most. Default 4 MiB.
    pub max_bytes: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            max_frames: 20_000,
            max_bytes: 4 * 1024 * 1024,
        }
    }
}

/// The queue; clones share it.
#[derive(Clone, Debug)]
pub struct Shed {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    config: Config,
    dropped: Counter,
    waiting: Gauge,
    // std: held for a push or a swap, never over an await.
    state: Mutex<State>,
    filled: Notify,
}

#[derive(Debug, Default)]
struct State {
    frames: VecDeque<Frame>,
    bytes: usize,
    closed: bool,
    /// Nobody takes anything any more.
    given_up: bool,
}

impl Shed {
    /// An empty queue that counts what it drops in `dropped`.
    #[must_use]
    pub fn new(config: Config, dropped: Counter) -> Self {
        Self::counting(config, dropped, Gauge::default())
    }

    /// As [`Shed::new`]; what is in it is also in `waiting`.
    #[must_use]
    pub fn counting(config: Config, dropped: Counter, waiting: Gauge) -> Self {
        Self {
            shared: Arc::new(Shared {
                config,
                dropped,
                waiting,
                state: Mutex::default(),
                filled: Notify::new(),
            }),
        }
    }

    /// Adds a frame at once; drops the oldest ones if there is no room.
    pub fn push(&self, frame: Frame) {
        let mut state = self.state();
        if state.given_up {
            self.shared.dropped.inc();
            return;
        }
        state.bytes += size(&frame);
        state.frames.push_back(frame);
        self.shared.waiting.inc();
        while state.frames.len() > self.shared.config.max_frames
            || (state.bytes > self.shared.config.max_bytes && state.frames.len() > 1)
        {
            let Some(oldest) = state.frames.pop_front() else {
                break;
            };
            state.bytes -= size(&oldest);
            self.shared.waiting.dec();
            self.shared.dropped.inc();
        }
        drop(state);
        self.shared.filled.notify_one();
    }

    /// No more pushes will come: [`Shed::take`] empties the queue and then ends.
    pub fn close(&self) {
        self.state().closed = true;
        self.shared.filled.notify_one();
    }

    /// Waits until something is there and takes at most `max` frames, oldest first. `None` when closed and empty.
    ///
    /// Cancel-safe. One taker only.
    pub async fn take(&self, max: usize) -> Option<Vec<Frame>> {
        loop {
            {
                let mut state = self.state();
                if !state.frames.is_empty() {
                    let n = state.frames.len().min(max);
                    let taken: Vec<Frame> = state.frames.drain(..n).collect();
                    state.bytes -= taken.iter().map(size).sum::<usize>();
                    self.left(taken.len());
                    return Some(taken);
                }
                if state.closed {
                    return None;
                }
            }
            self.shared.filled.notified().await;
        }
    }

    /// Takes everything through to `intake`, in batches and in order, until the queue is closed and empty and the last
    /// delivery is on disk. The one taker of this queue.
    ///
    /// # Errors
    ///
    /// [`Stopped`] when the gateway takes nothing more; what is here, and what is pushed from then on, is dropped and
    /// counted.
    pub async fn forward(&self, intake: &Intake) -> Result<(), Stopped> {
        let forwarded = self.forward_all(intake).await;
        if forwarded.is_err() {
            self.give_up();
        }
        forwarded
    }

    /// Drops and counts what is here, and everything pushed from now on. Says how many were here.
    pub fn give_up(&self) -> usize {
        let mut state = self.state();
        let lost = state.frames.len();
        state.frames.clear();
        state.bytes = 0;
        state.given_up = true;
        self.left(lost);
        self.shared.dropped.inc_by(lost as u64);
        lost
    }

    async fn forward_all(&self, intake: &Intake) -> Result<(), Stopped> {
        let mut outstanding = VecDeque::with_capacity(MAX_OUTSTANDING);
        let mut not_before = Instant::now();
        loop {
            if outstanding.len() == MAX_OUTSTANDING
                && let Some(oldest) = outstanding.pop_front()
            {
                settled(oldest).await?;
            }
            sleep_until(not_before).await;
            let Some(frames) = self.take(MAX_BATCH).await else {
                break;
            };
            let taken = frames.len() as u64;
            // Nobody waits for these; but a whole batch of them means that the queue itself does.
            let urgency = if frames.len() < MAX_BATCH {
                Urgency::Patient
            } else {
                Urgency::Prompt
            };
            let receipt = intake.deliver_as(urgency, None, frames, Vec::new()).await;
            if receipt.is_err() {
                self.shared.dropped.inc_by(taken);
            }
            outstanding.push_back(receipt?);
            while let Some(oldest) = outstanding.front_mut() {
                match oldest.try_recv() {
                    Ok(_) => drop(outstanding.pop_front()),
                    Err(TryRecvError::Empty) => break,
                    Err(TryRecvError::Closed) => return Err(Stopped),
                }
            }
            let gather = GATHER * u32::try_from(outstanding.len()).unwrap_or(u32::MAX).max(1);
            not_before = Instant::now() + gather;
        }
        for receipt in outstanding {
            settled(receipt).await?;
        }
        Ok(())
    }

    fn left(&self, count: usize) {
        let count = i64::try_from(count).unwrap_or(i64::MAX);
        self.shared.waiting.dec_by(count);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.shared
            .state
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// Waits until a delivery is durable. Nobody is told: these senders can't hear it.
async fn settled(receipt: tokio::sync::oneshot::Receiver<super::Receipt>) -> Result<(), Stopped> {
    receipt.await.map(|_| ()).map_err(|_| Stopped)
}

fn size(frame: &Frame) -> usize {
    frame.payload.len() + frame.topic.len()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Timestamp;

    fn frame(text: &'static str) -> Frame {
        Frame {
            topic: "t".into(),
            payload: text.into(),
            arrived: Timestamp(0),
            retained: false,
        }
    }

    #[tokio::test]
    async fn a_full_queue_drops_its_oldest_and_counts_them() {
        let dropped = Counter::default();
        let shed = Shed::new(
            Config {
                max_frames: 2,
                max_bytes: 100,
            },
            dropped.clone(),
        );
        for text in ["a", "b", "c"] {
            shed.push(frame(text));
        }
        shed.close();
        let taken = shed.take(10).await.unwrap();
        assert_eq!(
            taken.iter().map(|f| &f.payload[..]).collect::<Vec<_>>(),
            [b"b", b"c"]
        );
        assert_eq!(dropped.get(), 1);
        assert_eq!(shed.take(10).await, None);
    }

    #[tokio::test]
    async fn bytes_are_bounded_too() {
        let dropped = Counter::default();
        let shed = Shed::new(
            Config {
                max_frames: 100,
                max_bytes: 10,
            },
            dropped.clone(),
        );
        shed.push(frame("12345678"));
        shed.push(frame("12345678"));
        assert_eq!(shed.take(10).await.unwrap().len(), 1);
        assert_eq!(dropped.get(), 1);
    }

    #[tokio::test]
    async fn a_message_over_the_bound_in_bytes_has_room_when_it_is_alone() {
        let dropped = Counter::default();
        let config = Config {
            max_frames: 100,
            max_bytes: 10,
        };
        let shed = Shed::new(config, dropped.clone());
        shed.push(frame("longer than ten bytes"));
        assert_eq!(dropped.get(), 0);
        shed.push(frame("longer than ten bytes, too"));
        assert_eq!(dropped.get(), 1);
        let taken = shed.take(10).await.unwrap();
        assert_eq!(taken, [frame("longer than ten bytes, too")]);
    }

    #[tokio::test]
    async fn what_a_stopped_gateway_did_not_take_is_counted_as_dropped() {
        let dropped = Counter::default();
        let shed = Shed::new(Config::default(), dropped.clone());
        let (door, out) = crate::source::intake::Door::new();
        let intake = door.intake(0, crate::model::SourceName("s".into()));
        drop(out);
        shed.push(frame("a"));
        shed.push(frame("b"));
        assert_eq!(shed.forward(&intake).await, Err(Stopped));
        assert_eq!(dropped.get(), 2);
        shed.push(frame("c"));
        assert_eq!(dropped.get(), 3);
    }

    #[tokio::test(start_paused = true)]
    async fn forwarding_keeps_the_order_bounds_what_is_on_its_way_and_ends_when_all_is_durable() {
        let shed = Shed::new(Config::default(), Counter::default());
        let (door, mut out) = crate::source::intake::Door::new();
        let intake = door.intake(0, crate::model::SourceName("s".into()));
        let forwarding = tokio::spawn({
            let shed = shed.clone();
            async move { shed.forward(&intake).await }
        });
        let mut held = Vec::new();
        for _ in 0..MAX_OUTSTANDING {
            shed.push(frame("a"));
            let delivery = out.recv().await.unwrap();
            assert_eq!(delivery.urgency, Urgency::Patient);
            held.push(delivery);
        }
        shed.push(frame("e"));
        shed.push(frame("f"));
        let none = tokio::time::timeout(Duration::from_secs(60), out.recv()).await;
        assert!(none.is_err(), "more deliveries on their way than allowed");
        let oldest = held.remove(0);
        assert_eq!(oldest.frames, [frame("a")]);
        oldest.done.send(crate::source::Receipt::default()).unwrap();
        let gathered = out.recv().await.unwrap();
        assert_eq!(gathered.frames, [frame("e"), frame("f")]);
        shed.close();
        assert!(!forwarding.is_finished());
        for delivery in held.into_iter().chain([gathered]) {
            delivery
                .done
                .send(crate::source::Receipt::default())
                .unwrap();
        }
        assert_eq!(forwarding.await.unwrap(), Ok(()));
    }
}
