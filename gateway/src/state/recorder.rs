//! Writes down what the engine decided. A decision waits until it is written: alerts are never dropped. While the file refuses, at most
//! [`MAX_WAITING_HERE`] decisions wait here, more in the channel, and then the engine; the alert about the disk itself is
//! delivered from memory.

use std::{collections::VecDeque, time::Duration};

use tokio::{sync::mpsc, time::sleep};
use tokio_util::sync::CancellationToken;

use super::{State, StateError};
use crate::{
    backoff::{self, Backoff},
    cause,
    engine::Decided,
};

/// Decisions that wait here while the file refuses.
const MAX_WAITING_HERE: usize = 64;
/// A decision that takes longer to write is treated as one that can't be written.
const SLOW: Duration = Duration::from_secs(3);
/// Short: when there is room again, alerts must not wait.
const RETRY: backoff::Config = backoff::Config {
    initial: Duration::from_millis(200),
    max: Duration::from_secs(2),
};

/// Until the engine has ended and all is written. When `stop` comes and the file still refuses, it tries once more and ends:
/// after the next start the rules run again over what was not written down.
pub async fn write_down(
    mut decided: mpsc::Receiver<Decided>,
    state: State,
    stop: CancellationToken,
) {
    let mut backoff = Backoff::new(RETRY);
    let mut waiting: VecDeque<Decided> = VecDeque::new();
    let mut open = true;
    loop {
        let Some(first) = waiting.front() else {
            match decided.recv().await {
                Some(decision) if open => waiting.push_back(decision),
                _ => return,
            }
            continue;
        };
        let stopping = stop.is_cancelled();
        let recording = state.record(first.clone());
        tokio::pin!(recording);
        let recorded = loop {
            tokio::select! {
                recorded = &mut recording => break recorded,
                // A disk that hangs says nothing.
                () = sleep(SLOW) => waiting.iter().for_each(|d| state.deliver_from_memory(d)),
                next = decided.recv(), if open && waiting.len() < MAX_WAITING_HERE => match next {
                    Some(decision) => waiting.push_back(decision),
                    None => open = false,
                },
            }
        };
        match recorded {
            Ok(()) => {
                if backoff.failures() > 0 {
                    tracing::warn!("alerts can be written down again");
                }
                backoff.reset();
                waiting.pop_front();
                continue;
            }
            Err(StateError::Closed) => return,
            Err(error) if backoff.failures() == 0 => {
                tracing::error!(error = %cause::chain(&error), "alerts cannot be written down; trying again");
            }
            Err(_) => {}
        }
        for decision in &waiting {
            state.deliver_from_memory(decision);
        }
        if stopping {
            let changes: usize = waiting.iter().map(|d| d.transitions.len()).sum();
            tracing::error!(
                changes,
                "changes of alerts are not written down; the rules run again over their readings at the next start"
            );
            return;
        }
        let retry = sleep(backoff.next_wait());
        tokio::pin!(retry);
        loop {
            tokio::select! {
                () = &mut retry => break,
                () = stop.cancelled() => break,
                next = decided.recv(), if open && waiting.len() < MAX_WAITING_HERE => match next {
                    Some(decision) => {
                        state.deliver_from_memory(&decision);
                        waiting.push_back(decision);
                    }
                    None => open = false,
                },
            }
        }
    }
}
