//! The one task between sources and journal: it takes deliveries in their order through decode and normalise,
//! hands what was accepted to the journal, and answers the source when that is durable.
//!
//! It never blocks for long: a journal that can't write makes [`Journal::submit`] wait, which fills the door and so
//! makes the sources wait or shed. It keeps the account: nothing comes in that is not found in it again.
//! Whether a rule would make something of a batch is a question that it is handed; the answer only decides how soon that is committed.

mod account;
mod stamper;

use std::{sync::atomic::Ordering::Relaxed, time::Duration};

use tokio::sync::mpsc;

pub use self::account::{Account, AccountRow};
use self::stamper::Stamper;
use crate::{
    clock::Clock,
    journal::Journal,
    model::{Batch, News, Reading, Stamps},
    normalise::{self, Normaliser, Outcome, SourceMappings},
    source::{Delivery, Receipt, intake::Held},
};

/// Rejects that a receipt names one by one.
const MAX_NAMED_REJECTS: usize = 20;

/// How often it is asked whether the clock is set, while readings wait for that.
const ASK_CLOCK_EVERY: Duration = Duration::from_secs(1);

/// Another config while readings flow. It holds for every delivery that is taken after it.
#[derive(Clone, Debug)]
pub enum Change {
    /// The mappings of the source with this number; the next free number is a new source.
    Mappings(usize, SourceMappings),
    /// What holds for all readings.
    Settings(normalise::Config),
}

/// Changes that may wait for the ingest task; one more waits for room.
pub const MAX_CHANGES: usize = 64;

/// Takes deliveries until every source has let go of the door, then ends. What the journal no longer takes is left
/// unanswered, and so unacknowledged. A change goes before the deliveries that wait. `news` says whether an alert would begin or end with
/// one of the readings; it is asked once a delivery, in order, and must answer at once.
pub async fn run(
    mut normaliser: Normaliser,
    mut deliveries: mpsc::Receiver<Delivery>,
    mut changes: mpsc::Receiver<Change>,
    journal: Journal,
    account: Account,
    clock: Clock,
    news: impl Fn(&[Reading]) -> News + Send,
) {
    let mut stamper = Stamper::new(clock.clone());
    let mut outcome = Outcome::default();
    loop {
        let delivery = tokio::select! {
            biased;
            Some(change) = changes.recv() => {
                match change {
                    Change::Mappings(number, mappings) => normaliser.set_source(number, mappings),
                    Change::Settings(settings) => normaliser.reconfigure(settings),
                }
                continue;
            }
            delivery = deliveries.recv() => match delivery {
                Some(delivery) => delivery,
                None => return,
            },
            () = tokio::time::sleep(ASK_CLOCK_EVERY), if stamper.is_due(&journal) => {
                if stamper.restamp(&journal).await.is_err() {
                    return;
                }
                continue;
            }
        };
        let Some(source) = account.source(delivery.source) else {
            continue;
        };
        let latest = clock.latest();
        let mut receipt = Receipt::default();
        for frame in &delivery.frames {
            outcome.rejects.clear();
            normaliser.frame(delivery.source, frame, latest, &mut outcome);
            receipt.rejected += outcome.rejects.len();
            for reject in outcome.rejects.drain(..) {
                if receipt.rejects.len() < MAX_NAMED_REJECTS {
                    receipt.rejects.push(reject.clone());
                }
                account.rejects().record(
                    &source.name,
                    &frame.topic,
                    &frame.payload,
                    frame.arrived,
                    reject,
                );
            }
        }
        let readings = std::mem::take(&mut outcome.readings);
        receipt.duplicates = std::mem::take(&mut outcome.duplicates);
        let retained = readings.iter().filter(|r| r.retained).count();
        receipt.accepted = readings.len() - retained;
        // Each frame was counted as one message when it came; from here on it counts as the readings that it holds.
        source.unpacked(
            delivery.frames.len(),
            receipt.accepted + receipt.duplicates + receipt.rejected,
        );
        source
            .duplicates
            .fetch_add(receipt.duplicates as u64, Relaxed);
        source.retained.fetch_add(retained as u64, Relaxed);
        let held = Held::new(source.waiting(), receipt.accepted);
        drop(delivery.held);

        let stamps = if readings.is_empty() {
            Stamps::Set
        } else {
            stamper.stamps(delivery.frames.iter().map(|frame| frame.arrived))
        };
        // What came before the clock was set goes before what came after.
        if stamper::are_set(stamps) && stamper.restamp(&journal).await.is_err() {
            tracing::warn!("the journal is closed: the last deliveries stay unacknowledged");
            return;
        }
        // Rules see nothing that was stamped by a clock that is not set.
        let news = match stamper::are_set(stamps) {
            true => news(&readings),
            false => News::None,
        };
        let batch = Batch {
            stamps,
            source: source.name.clone(),
            peer: delivery.peer,
            readings,
            presence: delivery.presence,
        };
        let (done, room, urgency) = (delivery.done, delivery.room, delivery.urgency);
        let on_durable = Box::new(move |_| {
            source.accepted.fetch_add(receipt.accepted as u64, Relaxed);
            drop(held);
            // A sender that no longer waits for its answer has lost nothing: the readings are durable.
            drop(done.send(receipt));
            drop(room);
        });
        let submitted = journal.submit_as(urgency, news, batch, on_durable);
        if submitted.await.is_err() {
            tracing::warn!("the journal is closed: the last deliveries stay unacknowledged");
            return;
        }
    }
}
