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

use super::{Frame, Intake, Stopped, intake::Held};
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

    /// Waits until something is there and takes at most `max` frames, oldest first. `None` when closed and empty. The frames
    /// count as waiting, and with the [`Claim`] as dropped, until it is [`Claim::kept`].
    ///
    /// Cancel-safe. One taker only.
    pub async fn take(&self, max: usize) -> Option<(Vec<Frame>, Claim)> {
        loop {
            {
                let mut state = self.state();
                if !state.frames.is_empty() {
                    let n = state.frames.len().min(max);
                    let taken: Vec<Frame> = state.frames.drain(..n).collect();
                    state.bytes -= taken.iter().map(size).sum::<usize>();
                    let claim = Claim {
                        held: Held::new(&self.shared.waiting, n),
                        count: n as u64,
                        dropped: self.shared.dropped.clone(),
                    };
                    self.shared.left(n);
                    return Some((taken, claim));
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
        self.shared.give_up()
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
            let Some((frames, claim)) = self.take(MAX_BATCH).await else {
                break;
            };
            // Nobody waits for these; but a whole batch of them means that the queue itself does.
            let urgency = if frames.len() < MAX_BATCH {
                Urgency::Patient
            } else {
                Urgency::Prompt
            };
            let receipt = intake
                .deliver(urgency, None, frames, Vec::new(), |_| claim.kept())
                .await?;
            outstanding.push_back(receipt);
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

    fn state(&self) -> MutexGuard<'_, State> {
        self.shared.state()
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn left(&self, count: usize) {
        let count = i64::try_from(count).unwrap_or(i64::MAX);
        self.waiting.dec_by(count);
    }

    fn give_up(&self) -> usize {
        let mut state = self.state();
        let lost = state.frames.len();
        state.frames.clear();
        state.bytes = 0;
        state.given_up = true;
        self.left(lost);
        self.dropped.inc_by(lost as u64);
        lost
    }
}

impl Drop for Shared {
    /// A source that is aborted asks nobody: what it leaves behind is counted all the same.
    fn drop(&mut self) {
        self.give_up();
    }
}

/// Frames that were taken from a [`Shed`] and that nobody has yet. Dropped, they count as dropped.
#[derive(Debug)]
#[must_use]
pub struct Claim {
    held: Held,
    count: u64,
    dropped: Counter,
}

impl Claim {
    /// Somebody has them: gives what counts them as waiting from here on.
    pub fn kept(mut self) -> Held {
        self.count = 0;
        std::mem::replace(&mut self.held, Held::new(&Gauge::default(), 0))
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        self.dropped.inc_by(self.count);
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
        let (taken, _claim) = shed.take(10).await.unwrap();
        assert_eq!(
            taken.iter().map(|f| &f.payload[..]).collect::<Vec<_>>(),
            [b"b", b"c"]
        );
        assert_eq!(dropped.get(), 1);
        assert!(shed.take(10).await.is_none());
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
        let (taken, _claim) = shed.take(10).await.unwrap();
        assert_eq!((taken.len(), dropped.get()), (1, 1));
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
        let (taken, _claim) = shed.take(10).await.unwrap();
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
    async fn what_an_aborted_source_leaves_behind_is_counted_as_dropped_and_waits_no_more() {
        let (dropped, waiting) = (Counter::default(), Gauge::default());
        let shed = Shed::counting(Config::default(), dropped.clone(), waiting.clone());
        let (door, _out) = crate::source::intake::Door::new();
        let intake = door
            .intake(0, crate::model::SourceName("s".into()))
            .counting(waiting.clone());
        let _full = door.fill();
        let forwarding = tokio::spawn({
            let shed = shed.clone();
            async move { shed.forward(&intake).await }
        });
        shed.push(frame("a"));
        shed.push(frame("b"));
        while !shed.state().frames.is_empty() {
            tokio::task::yield_now().await;
        }
        assert_eq!((waiting.get(), dropped.get()), (2, 0), "before the door");
        shed.push(frame("c"));
        assert_eq!((waiting.get(), dropped.get()), (3, 0));
        forwarding.abort();
        assert!(forwarding.await.unwrap_err().is_cancelled());
        assert_eq!((waiting.get(), dropped.get()), (1, 2), "one in the queue");
        drop(shed);
        assert_eq!((waiting.get(), dropped.get()), (0, 3));
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
