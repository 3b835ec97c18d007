//! Writes down what the engine decided, and tells browsers of it. A decision waits until it is written: alerts are never dropped. While
//! the file refuses, at most [`MAX_WAITING_HERE`] decisions wait here, more in the channel, and then the engine; the alert about the
//! disk itself is delivered from memory.
//!
//! Browsers hear of a change once it is durable, under its number. While the file refuses they hear of it at once without one, and once
//! more when it is written.

use std::{collections::VecDeque, time::Duration};

use tokio::{sync::mpsc, time::sleep};
use tokio_util::sync::CancellationToken;

use super::{State, StateError};
use crate::{
    backoff::{self, Backoff},
    cause,
    engine::{Decided, Update},
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

/// A decision that is not written down yet.
struct Waiting {
    decision: Decided,
    /// Browsers have heard of it without its numbers.
    told: bool,
}

/// Until the engine has ended and all is written. When `stop` comes and the file still refuses, it tries once more and ends:
/// after the next start the rules run again over what was not written down. `epoch` is that of the run's beginning, if it could be
/// written down; `updates` goes to the live hub.
pub async fn write_down(
    mut decided: mpsc::Receiver<Decided>,
    state: State,
    mut epoch: Option<u64>,
    updates: mpsc::Sender<Update>,
    stop: CancellationToken,
) {
    let mut backoff = Backoff::new(RETRY);
    let mut waiting: VecDeque<Waiting> = VecDeque::new();
    let mut open = true;
    loop {
        let Some(first) = waiting.front() else {
            match decided.recv().await {
                Some(decision) if open => waiting.push_back(Waiting::new(decision)),
                _ => return,
            }
            continue;
        };
        let stopping = stop.is_cancelled();
        let recording = state.record(first.decision.clone());
        tokio::pin!(recording);
        let recorded = loop {
            tokio::select! {
                recorded = &mut recording => break recorded,
                // A disk that hangs says nothing.
                () = sleep(SLOW) => tell_unwritten(&mut waiting, &state, &updates).await,
                next = decided.recv(), if open && waiting.len() < MAX_WAITING_HERE => match next {
                    Some(decision) => waiting.push_back(Waiting::new(decision)),
                    None => open = false,
                },
            }
        };
        match recorded {
            Ok(recorded) => {
                if backoff.failures() > 0 {
                    tracing::warn!("alerts can be written down again");
                }
                backoff.reset();
                if epoch.is_some() && epoch != recorded.epoch {
                    epoch = None;
                    tell(&updates, Update::StateLost).await;
                }
                if let Some(written) = waiting.pop_front() {
                    tell_alerts(&updates, &written.decision, Some(recorded.first)).await;
                }
                continue;
            }
            Err(StateError::Closed) => return,
            Err(error) if backoff.failures() == 0 => {
                tracing::error!(error = %cause::chain(&error), "alerts cannot be written down; trying again");
            }
            Err(_) => {}
        }
        tell_unwritten(&mut waiting, &state, &updates).await;
        if stopping {
            let changes: usize = waiting.iter().map(|w| w.decision.transitions.len()).sum();
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
                        waiting.push_back(Waiting::new(decision));
                        tell_unwritten(&mut waiting, &state, &updates).await;
                    }
                    None => open = false,
                },
            }
        }
    }
}

impl Waiting {
    const fn new(decision: Decided) -> Self {
        Self {
            decision,
            told: false,
        }
    }
}

/// Of what can't be written down now, browsers hear once, and webhooks of the gateway's own alert.
async fn tell_unwritten(
    waiting: &mut VecDeque<Waiting>,
    state: &State,
    updates: &mpsc::Sender<Update>,
) {
    for Waiting { decision, told } in waiting {
        state.deliver_from_memory(decision);
        if !std::mem::replace(told, true) {
            tell_alerts(updates, decision, None).await;
        }
    }
}

async fn tell_alerts(updates: &mpsc::Sender<Update>, decision: &Decided, first: Option<u64>) {
    for (transition, nth) in decision.transitions.iter().zip(0..) {
        let update = Update::Alert {
            alert: transition.alert.clone(),
            number: first.map(|first| first + nth),
        };
        tell(updates, update).await;
    }
}

/// The hub outlives all who tell it something, unless it died: then nobody hears, and that was logged.
async fn tell(updates: &mpsc::Sender<Update>, update: Update) {
    if updates.send(update).await.is_err() {
        tracing::debug!("the live hub is gone");
    }
}
