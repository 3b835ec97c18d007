//! Watches whether the disk takes what must be written, and raises the alert `disk` while it does not: the journal (nothing is
//! acknowledged meanwhile), the state (alerts and deliveries wait in memory), the history (the journal keeps its readings).
//!
//! The alert goes the ordinary way: to the page at once, to webhooks from the outbox. While the outbox itself can't be
//! written, this one alert is delivered from memory (see `state/urgent.rs`). It ends when everything was in order for
//! [`QUIET`], so that a disk that works now and then doesn't make a storm of it.

use std::time::Duration;

use tokio::time::Instant;

use crate::{engine::Engine, history::History, journal::Journal, state::State};

/// How often it looks.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// So long nothing may be wrong before the alert ends.
const QUIET: Duration = Duration::from_secs(3);

/// What writes to the disk.
#[derive(Clone, Debug)]
pub struct Writers {
    /// Readings.
    pub journal: Journal,
    /// Alerts and deliveries.
    pub state: State,
    /// Points, if they are kept.
    pub history: Option<History>,
}

impl Writers {
    /// What is wrong, for people; `None`: nothing.
    #[must_use]
    pub fn problem(&self) -> Option<String> {
        let journal = self.journal.failing().map(|why| {
            format!("Readings cannot be written, and none is acknowledged until they can: {why}")
        });
        let state = self.state.failing().map(|why| {
            format!("Alerts and deliveries cannot be written and wait in memory: {why}")
        });
        let history = self
            .history
            .as_ref()
            .and_then(|history| history.status().failing)
            .map(|why| {
                format!("The history cannot be written; the journal keeps its readings: {why}")
            });
        let all: Vec<String> = [journal, state, history].into_iter().flatten().collect();
        (!all.is_empty()).then(|| all.join(". "))
    }
}

/// Looks until the engine has ended.
pub async fn watch(writers: Writers, engine: Engine) {
    let mut wrong_at: Option<Instant> = Some(Instant::now());
    loop {
        let problem = writers.problem();
        let now = Instant::now();
        if problem.is_some() {
            wrong_at = Some(now);
        }
        let over = wrong_at.is_some_and(|at| now.duration_since(at) >= QUIET);
        if problem.is_some() || over {
            if over {
                wrong_at = None;
            }
            if engine.disk(problem).await.is_err() {
                return;
            }
        }
        tokio::time::sleep(LOOK_EVERY).await;
        if engine.has_ended() {
            return;
        }
    }
}
