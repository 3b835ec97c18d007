//! From the durable state to the live hub: changes of alerts once they are written down, and what earlier runs said.

use tokio::sync::mpsc;

use crate::{
    alert::Alert,
    backoff::{self, Backoff},
    cause,
    engine::{Decided, Recent, Update},
    live,
    state::{Beginning, State, StateError},
};

/// Writes what the engine decided. A decision waits until it is written: alerts are never dropped.
/// Browsers hear of it then, under its number; while it can't be written they hear of it at once, and once more later.
pub(super) async fn write_down(
    mut decided: mpsc::Receiver<Decided>,
    state: State,
    mut epoch: Option<u64>,
    updates: mpsc::Sender<Update>,
) {
    let mut backoff = Backoff::new(backoff::Config::default());
    while let Some(decision) = decided.recv().await {
        let recorded = loop {
            match state.record(decision.clone()).await {
                Ok(recorded) => break recorded,
                Err(StateError::Closed) => return,
                Err(error) => {
                    if backoff.failures() == 0 {
                        tracing::error!(error = %cause::chain(&error), "alerts cannot be written down; trying again");
                        tell_alerts(&updates, &decision, None).await;
                    }
                    tokio::time::sleep(backoff.next_wait()).await;
                }
            }
        };
        backoff.reset();
        if epoch.is_some() && epoch != recorded.epoch {
            epoch = None;
            tell(&updates, Update::StateLost).await;
        }
        tell_alerts(&updates, &decision, Some(recorded.first)).await;
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

/// What live clients of earlier runs may have missed. Without a beginning no id of theirs is understood.
pub(super) fn past(beginning: Option<Beginning>, recent: Recent, active: Vec<Alert>) -> live::Past {
    let Some(beginning) = beginning else {
        return live::Past {
            epoch: fastrand::u64(..),
            recent,
            active,
            ..live::Past::default()
        };
    };
    let runs = beginning.runs.iter().zip(beginning.runs.iter().skip(1));
    let last = beginning.runs.last();
    live::Past {
        epoch: beginning.epoch,
        run: last.map_or(0, |run| run.run),
        runs: runs
            .map(|(run, after)| live::EarlierRun {
                run: run.run,
                journal: after.journal,
                alerts: after.told,
            })
            .collect(),
        recent,
        newest_change: last.map_or(0, |run| run.told),
        changes: beginning
            .told
            .into_iter()
            .map(|told| live::Change {
                number: told.number,
                position: told.position,
                alert: told.alert,
            })
            .collect(),
        active,
        ended: beginning.ended,
    }
}
