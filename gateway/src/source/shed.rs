//! A queue for senders that can't be made to wait: when it is full the oldest goes, and is counted.
//!
//! Bounded in items and bytes. One side pushes without ever waiting, the other takes all that is there.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use prometheus_client::metrics::counter::Counter;
use tokio::sync::Notify;

use super::Frame;

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
    // std: held for a push or a swap, never over an await.
    state: Mutex<State>,
    filled: Notify,
}

#[derive(Debug, Default)]
struct State {
    frames: VecDeque<Frame>,
    bytes: usize,
    closed: bool,
}

impl Shed {
    /// An empty queue that counts what it drops in `dropped`.
    #[must_use]
    pub fn new(config: Config, dropped: Counter) -> Self {
        Self {
            shared: Arc::new(Shared {
                config,
                dropped,
                state: Mutex::default(),
                filled: Notify::new(),
            }),
        }
    }

    /// Adds a frame at once; drops the oldest ones if there is no room.
    pub fn push(&self, frame: Frame) {
        let mut state = self.state();
        state.bytes += size(&frame);
        state.frames.push_back(frame);
        while state.frames.len() > self.shared.config.max_frames
            || state.bytes > self.shared.config.max_bytes
        {
            let Some(oldest) = state.frames.pop_front() else {
                break;
            };
            state.bytes -= size(&oldest);
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
                    return Some(taken);
                }
                if state.closed {
                    return None;
                }
            }
            self.shared.filled.notified().await;
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.shared
            .state
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
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
}
