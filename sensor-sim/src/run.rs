//! Runs a scenario: one task a device, which follows its plan, sends by its link and enters what became of it.

use std::{
    sync::{Arc, atomic::AtomicU64},
    time::Duration,
};

use serde::Serialize;
use tokio::{
    task::JoinSet,
    time::{Instant, interval},
};
use tokio_util::sync::CancellationToken;

use crate::{
    clock,
    ledger::{Ledger, LedgerError},
    plan::{Action, Plan},
    scenario::Scenario,
    transport::{Account, Link, Tally, TransportError},
};

/// For the acknowledgements that are still missing at the end.
const PATIENCE: Duration = Duration::from_secs(5);
const FLUSH_EVERY: Duration = Duration::from_secs(1);

/// What became of a run.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Summary {
    /// In the order of the scenario.
    pub devices: Vec<DeviceSummary>,
}

/// What became of the messages of one device.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct DeviceSummary {
    /// Its id.
    pub device: String,
    /// `serial`, `mqtt` or `http`.
    pub transport: &'static str,
    /// The counts.
    #[serde(flatten)]
    pub tally: Tally,
}

/// Why a run ended before its time.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// A link can't work.
    #[error("the device {device} can't send")]
    Link {
        /// Whose.
        device: String,
        /// Why.
        source: TransportError,
    },
    /// The ledger can't be written.
    #[error("the run can't be accounted for")]
    Ledger(#[from] LedgerError),
    /// A task died; a bug.
    #[error("a task died")]
    Died(#[from] tokio::task::JoinError),
}

/// Runs the scenario until its end or until `stop`, and a little longer for acknowledgements that are still missing.
/// A broker or server that is away is waited for. All pseudo-terminals and their links are there when this is first polled
/// to its first wait.
///
/// # Errors
///
/// When a link can't work at all, or the ledger can't be written; the other devices are stopped.
pub async fn run(
    scenario: Scenario,
    stop: CancellationToken,
    ledger: Option<Ledger>,
) -> Result<Summary, RunError> {
    // Only this run, should it end by itself or by an error.
    let stop = stop.child_token();
    let _stop_all = stop.clone().drop_guard();
    let start_ns = clock::now_ns();
    let start = Instant::now();
    let ids = Arc::new(AtomicU64::new(0));
    let mut accounts = Vec::with_capacity(scenario.devices.len());
    let mut tasks = JoinSet::new();
    for (index, device) in scenario.devices.iter().enumerate() {
        let account = Account::new(device, ledger.clone(), Arc::clone(&ids));
        let failed = |source| RunError::Link {
            device: device.id.clone(),
            source,
        };
        let link = Link::open(device, account.clone()).map_err(failed)?;
        accounts.push(account);
        // The index is in range, so there is a plan.
        if let Some(plan) = Plan::new(&scenario, index, start_ns) {
            let stop = stop.clone();
            let id = device.id.clone();
            tasks.spawn(async move {
                Box::pin(follow(plan, link, start, stop))
                    .await
                    .map_err(|source| RunError::Link { device: id, source })
            });
        }
    }
    let mut flush = interval(FLUSH_EVERY);
    loop {
        tokio::select! {
            ended = tasks.join_next() => match ended {
                None => break,
                Some(ended) => ended??,
            },
            _ = flush.tick() => flushed(ledger.as_ref())?,
        }
    }
    flushed(ledger.as_ref())?;
    let devices = scenario
        .devices
        .iter()
        .zip(&accounts)
        .map(|(device, account)| DeviceSummary {
            device: device.id.clone(),
            transport: device.transport.name(),
            tally: account.tally(),
        })
        .collect();
    Ok(Summary { devices })
}

fn flushed(ledger: Option<&Ledger>) -> Result<(), LedgerError> {
    ledger.map_or(Ok(()), Ledger::flush)
}

async fn follow(
    plan: Plan,
    mut link: Link,
    start: Instant,
    stop: CancellationToken,
) -> Result<(), TransportError> {
    for tick in plan {
        let act = async {
            link.wait_until(start + tick.at).await?;
            for action in tick.actions {
                match action {
                    Action::Send(message) => link.send(message).await?,
                    Action::Disconnect(lasts) => link.disconnect(lasts).await?,
                }
            }
            Ok::<_, TransportError>(())
        };
        tokio::select! {
            biased;
            () = stop.cancelled() => break,
            done = act => done?,
        }
    }
    link.finish(PATIENCE).await
}

#[cfg(test)]
mod tests;
