//! From the session to the disk and back: delivers QoS 1 and 2 messages in order and says which are durable, in order.
//!
//! Two small tasks beside the one that polls, so that neither a full gateway nor a slow disk ever holds up the poll.
//! [`keep`] gathers what has come, hands it over (waiting for room), and goes on while earlier deliveries are
//! still being written; [`settle`] waits for their receipts one after the other. They end when the session lets go of
//! its end and everything is durable, or when the gateway takes nothing more: then nothing is acknowledged any more.
//!
//! Queues: `Item`s are bounded by the session, which stops reading (`max_unacknowledged`, and bytes); deliveries
//! on their way by [`OUTSTANDING`]; settled batches by [`SETTLED`]: full means waiting, nothing is dropped.

use prometheus_client::metrics::gauge::Gauge;
use tokio::sync::{mpsc, oneshot};

use super::unacked::Ticket;
use crate::{
    model::Urgency,
    source::{Frame, Intake, Receipt, StatusReporter, Stopped, intake::Held},
};

/// Deliveries on their way to the disk: as many as come one by one while a commit gathers.
pub(super) const OUTSTANDING: usize = 1024;
/// Settled batches that wait for the session to write their acknowledgements.
pub(super) const SETTLED: usize = 8;
/// Messages in one delivery at most.
const MAX_BATCH: usize = 1024;

/// One message on its way.
#[derive(Debug)]
pub(super) struct Item {
    pub(super) settled: Settled,
    /// `None` if it was a reject: it is only acknowledged, in its turn.
    pub(super) frame: Option<Frame>,
}

/// One message that needs nothing more: what was in it is durable, or was refused and counted.
#[derive(Clone, Copy, Debug)]
pub(super) struct Settled {
    pub(super) ticket: Ticket,
    /// What it weighed in the session's books.
    pub(super) bytes: usize,
}

/// A delivery whose receipt is awaited; without one there was nothing to write.
type Outstanding = (Vec<Settled>, Option<oneshot::Receiver<Receipt>>);

/// Starts both tasks: where messages go in, where settled ones come out.
pub(super) fn start(
    intake: Intake,
    status: StatusReporter,
    capacity: usize,
    tasks: &mut tokio::task::JoinSet<()>,
) -> (mpsc::Sender<Vec<Item>>, mpsc::Receiver<Vec<Settled>>) {
    let (items_in, items) = mpsc::channel(capacity);
    let (outstanding_in, outstanding) = mpsc::channel(OUTSTANDING);
    let (settled_in, settled) = mpsc::channel(SETTLED);
    tasks.spawn(async move {
        // Stopped: the session sees that its end is closed, and what was not settled is not acknowledged.
        if keep(items, intake, status, outstanding_in).await.is_err() {
            tracing::debug!("the gateway takes no more messages");
        }
    });
    tasks.spawn(settle(outstanding, settled_in));
    (items_in, settled)
}

async fn keep(
    mut items: mpsc::Receiver<Vec<Item>>,
    intake: Intake,
    status: StatusReporter,
    outstanding: mpsc::Sender<Outstanding>,
) -> Result<(), Stopped> {
    while let Some(mut batch) = items.recv().await {
        while batch.len() < MAX_BATCH {
            let Ok(more) = items.try_recv() else { break };
            batch.extend(more);
        }
        let mut settled = Vec::with_capacity(batch.len());
        let mut frames = Vec::with_capacity(batch.len());
        for item in batch {
            settled.push(item.settled);
            frames.extend(item.frame);
        }
        let receipt = if frames.is_empty() {
            None
        } else {
            let messages = frames.len();
            let urgency = Urgency::Steady {
                messages: u32::try_from(messages).unwrap_or(u32::MAX),
            };
            let bytes = frames.iter().map(|frame| frame.payload.len()).sum();
            let taken = |waiting: &Gauge| {
                // Counted once the gateway has them: before that the broker does, and sends them again.
                status.received_many(messages, bytes);
                Held::new(waiting, messages)
            };
            let delivered = intake.deliver(urgency, None, frames, Vec::new(), taken);
            Some(delivered.await?)
        };
        outstanding
            .send((settled, receipt))
            .await
            .map_err(|_| Stopped)?;
    }
    Ok(())
}

async fn settle(mut outstanding: mpsc::Receiver<Outstanding>, done: mpsc::Sender<Vec<Settled>>) {
    while let Some((settled, receipt)) = outstanding.recv().await {
        let durable = match receipt {
            None => true,
            Some(receipt) => receipt.await.is_ok(),
        };
        if !durable || done.send(settled).await.is_err() {
            return;
        }
    }
}
