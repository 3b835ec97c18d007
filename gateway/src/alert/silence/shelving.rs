//! Shelving: one alert that is a nuisance is put aside by a person for a bounded time, as ISA-18.2 has it. It is a silence of exactly its
//! rule and series, marked as such, so that everything that holds of silences holds of it.

use std::time::Duration;

use serde::Serialize;
use smol_str::SmolStr;

use super::{Draft, Matcher, Silence};
use crate::{alert::Alert, model::Timestamp};

/// An alert is put aside for so long at most.
pub const MAX_SHELF: Duration = Duration::from_secs(24 * 3_600);

/// Who put an alert aside, and until when, as it is shown.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Shelved<'a> {
    /// The id of the silence.
    pub silence: &'a str,
    /// Who.
    pub by: &'a str,
    /// Why. May be empty.
    pub comment: &'a str,
    /// When it comes back, epoch milliseconds.
    pub until_ms: i64,
}

impl Silence {
    /// One that puts this alert aside from `now` on, for `span`. Name and comment are checked.
    #[must_use]
    pub fn shelving(
        id: SmolStr,
        alert: &Alert,
        (by, comment): (String, String),
        now: Timestamp,
        span: Duration,
    ) -> Self {
        let span = i64::try_from(span.min(MAX_SHELF).as_nanos()).unwrap_or(i64::MAX);
        let draft = Draft {
            matchers: exactly(alert),
            starts: Some(now),
            ends: Timestamp(now.0.saturating_add(span)),
            by,
            comment,
            repeat: None,
        };
        Self {
            shelving: true,
            ..Self::new(id, draft, now)
        }
    }

    /// Whether it was made to put this alert aside.
    #[must_use]
    pub fn shelves(&self, alert: &Alert) -> bool {
        self.shelving && self.holds(alert.facts())
    }

    pub(super) fn as_shelf(&self) -> Shelved<'_> {
        Shelved {
            silence: &self.id,
            by: &self.created_by,
            comment: &self.comment,
            until_ms: self.ends.as_millis(),
        }
    }
}

fn exactly(alert: &Alert) -> Vec<Matcher> {
    [("rule", &alert.rule), ("series", &alert.series)]
        .map(|(name, value)| Matcher {
            name: name.to_owned(),
            value: value.to_string(),
            glob: false,
        })
        .into()
}
