//! `GET /api/v1/account`: for each source where everything that came in is found again, up to each archive.

use axum::{Json, Router, extract::State, response::IntoResponse, routing::get};
use serde::Serialize;
use serde_json::json;

use super::{Api, Parts};
use crate::{archive, history, ingest::AccountRow, model::SourceName};

/// How often, and how long apart, the figures are read before a difference is believed.
const LOOKS: u32 = 20;
const BETWEEN_LOOKS: std::time::Duration = std::time::Duration::from_millis(10);

pub(super) fn router() -> Router<Api> {
    Router::new().route("/api/v1/account", get(account))
}

/// A source's line, with what each archive did with its readings.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Line {
    #[serde(flatten)]
    pub(super) row: AccountRow,
    archives: Vec<ArchiveLine>,
}

/// `accepted + carried_over = archived + waiting + refused + dropped`, counted by who archives, refuses and drops. While an archive
/// is behind the journal, what is missing counts as waiting; at the journal's end nothing may be missing.
#[derive(Clone, Debug, Serialize)]
struct ArchiveLine {
    archive: &'static str,
    /// In the journal at the start and not known to be archived.
    carried_over: u64,
    archived: u64,
    waiting: i64,
    /// For good: dead letters.
    refused: u64,
    /// At the journal's byte limit.
    dropped: u64,
    /// `None`: not known until the next start, as the archive was begun in the middle.
    difference: Option<i64>,
}

impl Line {
    fn balances(&self) -> bool {
        self.row.difference == 0
            && self
                .archives
                .iter()
                .all(|line| line.difference.is_none_or(|n| n == 0))
    }
}

async fn account(State(api): State<Api>) -> impl IntoResponse {
    let lines = lines(&api.parts).await;
    let balanced = lines.iter().all(Line::balances);
    Json(json!({"balanced": balanced, "sources": lines}))
}

/// All lines, looked at again until each balances, for at most a fifth of a second: the figures are read one after the other, and
/// readings may flow meanwhile.
pub(super) async fn lines(parts: &Parts) -> Vec<Line> {
    let mut lines = now(parts);
    for _ in 1..LOOKS {
        if lines.iter().all(Line::balances) {
            break;
        }
        tokio::time::sleep(BETWEEN_LOOKS).await;
        for fresh in now(parts) {
            match lines.iter_mut().find(|l| l.row.source == fresh.row.source) {
                Some(line) if !line.balances() => *line = fresh,
                Some(_) => {}
                None => lines.push(fresh),
            }
        }
    }
    lines
}

fn now(parts: &Parts) -> Vec<Line> {
    let mut archives = Vec::new();
    if parts.history.is_some() {
        archives.push(history::CURSOR);
    }
    if parts.archive.borrow().state != "disabled" {
        archives.push(archive::CURSOR);
    }
    // No archive has these, wherever it is.
    let awaiting_clock = parts.journal.status().awaiting_clock;
    let books: Vec<_> = archives
        .into_iter()
        // The lag before the counts: what is archived in between must not look lost.
        .map(|name| {
            (
                name,
                {
                    let backlog = parts.journal.backlog(name);
                    backlog.fresh.records + backlog.behind.records + awaiting_clock
                },
                parts.journal.tallies().of(name),
            )
        })
        .collect();
    let mut rows = parts.account.rows();
    let carried: Vec<SourceName> = books
        .iter()
        .flat_map(|(_, _, books)| books.iter().flat_map(|books| books.keys().cloned()))
        .collect();
    for source in carried {
        // Of a source that was in an earlier config.
        if rows.iter().all(|row| row.source != source) {
            rows.push(AccountRow {
                source,
                removed: true,
                ..AccountRow::default()
            });
        }
    }
    rows.into_iter()
        .map(|row| {
            let archives = books
                .iter()
                .map(|(archive, lag, books)| {
                    let tally = books
                        .as_ref()
                        .map(|books| books.get(&row.source).copied().unwrap_or_default());
                    let known = tally.is_some();
                    let tally = tally.unwrap_or_default();
                    let signed = |n: u64| i64::try_from(n).unwrap_or(i64::MAX);
                    let missing = signed(row.accepted + tally.carried_over)
                        - signed(tally.archived + tally.refused + tally.dropped);
                    let (waiting, difference) = if *lag > 0 && missing > 0 {
                        (missing, 0)
                    } else {
                        (0, missing)
                    };
                    ArchiveLine {
                        archive,
                        carried_over: tally.carried_over,
                        archived: tally.archived,
                        waiting,
                        refused: tally.refused,
                        dropped: tally.dropped,
                        difference: known.then_some(difference),
                    }
                })
                .collect();
            Line { row, archives }
        })
        .collect()
}
