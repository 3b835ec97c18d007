//! What earlier runs left, into the engine and the normaliser's memory.
//!
//! Replayed is the end of the journal only: what rings and windows are promised to have (`keep`), what rules have not evaluated, and
//! what waits for the clock. Of everything before that the newest reading of each series and what conditions remember are enough, and the
//! inventory has both; how much of it the archives have yet to do is counted from the ends of the segments. So a start takes as long as
//! `keep` takes, however long InfluxDB was away. Without an inventory (the state file was lost, or is of a version before it), and without
//! what conditions remember where a rule learns what is usual, all of the journal is replayed.
//!
//! Two threads: one reads, decodes and fills the normaliser's memory, the other applies to the engine. Between them are
//! [`MAX_READ`] records at most, of about 1 MiB each.

use crate::{
    app::StartError,
    engine::{Booting, Inventory},
    journal::{Entry, Journal, Position},
    normalise::Normaliser,
};

/// Records between the two threads; full makes the reader wait.
const MAX_READ: usize = 16;

/// What is known of earlier runs.
pub(super) struct Earlier {
    /// The archives, and how far they are; none: as far as their cursors.
    pub(super) archives: Vec<(&'static str, Option<Position>)>,
    /// Rules were evaluated up to here.
    pub(super) evaluated: Position,
    /// The series as they were written down last.
    pub(super) inventory: Option<Inventory>,
    /// Series at most.
    pub(super) max_series: usize,
    /// Whether a rule learns from all that there is.
    pub(super) learns: bool,
}

/// Makes engine and normaliser as they were, and opens the archives' accounts.
pub(super) async fn replay(
    journal: Journal,
    earlier: Earlier,
    normaliser: Normaliser,
    booting: Booting,
) -> Result<(Normaliser, Booting), StartError> {
    let replayed =
        tokio::task::spawn_blocking(move || blocking(&journal, earlier, normaliser, booting));
    replayed.await.map_err(|_| StartError::Replay)
}

fn blocking(
    journal: &Journal,
    earlier: Earlier,
    mut normaliser: Normaliser,
    mut booting: Booting,
) -> (Normaliser, Booting) {
    journal.take_stock(&earlier.archives);
    let (from, mut series) = match earlier.inventory {
        None => (Position(0), Vec::new()),
        Some(inventory) => {
            let from = journal
                .kept_from()
                .min(earlier.evaluated)
                .min(inventory.position)
                .min(journal.awaits_clock_from().unwrap_or(inventory.position));
            let unlearned = earlier.learns && !inventory.remembers_all;
            booting.give_back(inventory.position, inventory.remembered);
            (if unlearned { Position(0) } else { from }, inventory.series)
        }
    };
    // The newest first, in case the cap was lowered; what the replay brings has its place for sure.
    series.sort_unstable_by_key(|known| std::cmp::Reverse(known.position));
    let replayed = series.partition_point(|known| known.position > from);
    let room = earlier.max_series.saturating_sub(replayed);
    for known in series.iter().skip(replayed).take(room) {
        normaliser.remember(&known.reading);
        booting.know(known);
    }
    let mut booting = std::thread::scope(|scope| {
        let (read, entries) = std::sync::mpsc::sync_channel::<Entry>(MAX_READ);
        let applying = scope.spawn(move || {
            for entry in entries {
                booting.replay(&entry);
            }
            booting
        });
        journal.replay(from, &mut |entry| {
            for reading in entry.batches.iter().flat_map(|batch| &batch.readings) {
                normaliser.remember(reading);
            }
            // Refused only when the other thread died; that shows when it is joined.
            drop(read.send(entry));
        });
        drop(read);
        applying.join()
    })
    .unwrap_or_else(|died| std::panic::resume_unwind(died));
    // Their records are damaged.
    for known in series.iter().take(replayed) {
        if !booting.knows(&known.reading.series) {
            normaliser.remember(&known.reading);
            booting.know(known);
        }
    }
    (normaliser, booting)
}
