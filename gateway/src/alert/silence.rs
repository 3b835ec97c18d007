//! Silences: intervals of the wall clock in which deliveries about matching alerts are held back.
//!
//! Pure: what a silence matches, where it is in its life, and what it does with a delivery. The clock, the file and the
//! deliveries themselves are the caller's.
//!
//! A silence moves forward only: `planned` → `active` → `ended`, and one that recurs `planned` ⇄ `active` until it ends ([`Repeat`]). A clock that is set back takes nothing back, and one that was
//! never set moves nothing at all ([`SilenceState::at`]).

mod repeat;
mod shelving;

use std::{
    collections::{BTreeMap, HashMap},
    fmt,
};

use serde::{Deserialize, Serialize};
use smol_str::SmolStr;
use thiserror::Error;

use crate::{
    alert::{
        Alert, AlertState, Severity,
        route::{Routed, Standing},
    },
    glob,
    model::Timestamp,
};

pub use self::{
    repeat::Repeat,
    shelving::{MAX_SHELF, Shelved},
};

/// Matchers of one silence at most.
pub const MAX_MATCHERS: usize = 16;
/// Bytes of a matcher's name or value at most.
pub const MAX_MATCHER_BYTES: usize = 256;
/// Bytes of a person's name at most.
pub const MAX_NAME_BYTES: usize = 100;
/// Bytes of a comment at most.
pub const MAX_COMMENT_BYTES: usize = 1_000;

/// What a matcher looks at, apart from labels.
const SUBJECTS: [&str; 5] = ["rule", "series", "device", "site", "severity"];
/// Before the name of any other label.
const LABEL: &str = "label.";

/// One condition on an alert.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Matcher {
    /// `rule`, `series`, `device`, `site`, `severity`, or `label.` and the name of a label.
    pub name: String,
    /// What it must be.
    pub value: String,
    /// Whether `value` is a pattern, with `*` and `?` as in [`glob`]. Default no.
    #[serde(default)]
    pub glob: bool,
}

/// What a person asks for: a new silence, or a changed one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Draft {
    /// All must match.
    pub matchers: Vec<Matcher>,
    /// When it begins; none: at once.
    pub starts: Option<Timestamp>,
    /// When it ends.
    pub ends: Timestamp,
    /// Who asks.
    pub by: String,
    /// Why. May be empty.
    pub comment: String,
    /// Only at these hours; none: all the time.
    pub repeat: Option<Repeat>,
}

/// Where a silence is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SilenceState {
    /// Its time is to come.
    Planned,
    /// It holds deliveries back.
    Active,
    /// Its time is over, or somebody ended it.
    Ended,
}

/// A silence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Silence {
    /// Stable; letters, digits and `-`.
    pub id: SmolStr,
    /// Counts what people changed, from 1: for `If-Match`. Time alone does not raise it.
    pub version: u64,
    /// Where it is in its life.
    pub state: SilenceState,
    /// All must match.
    pub matchers: Vec<Matcher>,
    /// When it begins.
    pub starts: Timestamp,
    /// When it ends, or was ended.
    pub ends: Timestamp,
    /// Who made it.
    pub created_by: String,
    /// When it was made.
    pub created: Timestamp,
    /// Who changed it last, if anybody did.
    pub changed_by: Option<String>,
    /// When it was changed last.
    pub changed: Option<Timestamp>,
    /// Why.
    pub comment: String,
    /// It puts one alert aside ([`Silence::shelving`]). Changed by a person otherwise than that, it is a silence like any other.
    pub shelving: bool,
    /// Only at these hours; none: all the time.
    pub repeat: Option<Repeat>,
    /// Of one that recurs: when that next begins or ends. None: that is not known yet.
    pub turns: Option<Timestamp>,
}

/// Who takes care of an alert.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Acknowledgement {
    /// Who.
    pub by: String,
    /// What they said. May be empty.
    pub comment: String,
    /// When, epoch milliseconds.
    pub at_ms: i64,
}

impl fmt::Display for Acknowledgement {
    /// `by Ada at 2026-11-20T09:00:00Z: opens the vents`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let at = Timestamp::from_millis(self.at_ms).to_rfc3339();
        write!(f, "by {} at {at}", self.by)?;
        if self.comment.is_empty() {
            return Ok(());
        }
        write!(f, ": {}", self.comment)
    }
}

/// An alert with what people did about it, as it is shown.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Attended<'a> {
    /// The alert.
    #[serde(flatten)]
    pub alert: &'a Alert,
    /// Who takes care of it, if anybody does.
    pub acknowledged: Option<&'a Acknowledgement>,
    /// The active silences that match it, by id; none once it is over.
    pub silenced_by: Vec<SmolStr>,
    /// Who put it aside, if anybody did; that silence is among those of `silenced_by`.
    pub shelved: Option<Shelved<'a>>,
    /// What routes make of it.
    #[serde(flatten)]
    pub standing: Standing<'a>,
}

/// What people did: silences, and acknowledgements by the id of their alert.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Attention {
    /// All that are not over, and the last ones that are.
    pub silences: Vec<Silence>,
    /// Those of alerts that fire, and of the last ones that did.
    pub acknowledged: HashMap<SmolStr, Acknowledgement>,
    /// What routes make of alerts.
    pub routed: Routed,
}

/// What matchers see of an alert.
#[derive(Clone, Copy, Debug)]
pub struct Facts<'a> {
    /// The rule's name.
    pub rule: &'a str,
    /// `device/metric`.
    pub series: &'a str,
    /// How bad it is.
    pub severity: Severity,
    /// With `device` and `site`.
    pub labels: &'a BTreeMap<String, String>,
}

/// Why a draft can't be taken. Each says what to do.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum DraftError {
    /// It would match everything.
    #[error(
        "a silence needs matchers; to silence everything say {{\"name\": \"series\", \"value\": \"*/*\", \"glob\": true}}"
    )]
    NoMatchers,
    /// Too many.
    #[error("a silence has at most {MAX_MATCHERS} matchers")]
    TooManyMatchers,
    /// A name that means nothing.
    #[error(
        "unknown matcher {0:?}: use rule, series, device, site, severity, or label. and the name of a label"
    )]
    UnknownName(String),
    /// Empty or too long.
    #[error("the name and the value of a matcher have 1 to {MAX_MATCHER_BYTES} bytes")]
    MatcherLength,
    /// No such severity.
    #[error("a severity is info, warning or critical, not {0:?}")]
    UnknownSeverity(String),
    /// It would be over at once.
    #[error("ends_at must be later than starts_at and than now")]
    NoTime,
    /// See [`person`].
    #[error("{0} must have 1 to {MAX_NAME_BYTES} bytes and be one line: say who you are")]
    Name(&'static str),
    /// See [`Repeat`].
    #[error("a repeat has days (mon, tue, wed, thu, fri, sat, sun) and from and to as in 08:00")]
    Hours,
    /// See [`remark`].
    #[error("a comment has at most {MAX_COMMENT_BYTES} bytes")]
    Comment,
}

/// A person's name as it is kept: trimmed. `field` is what the person wrote it into.
///
/// # Errors
///
/// When it is empty, too long, or more than a line.
pub fn person(field: &'static str, name: &str) -> Result<String, DraftError> {
    let name = name.trim();
    let fine =
        !name.is_empty() && name.len() <= MAX_NAME_BYTES && !name.chars().any(char::is_control);
    fine.then(|| name.to_owned()).ok_or(DraftError::Name(field))
}

/// A comment as it is kept: trimmed.
///
/// # Errors
///
/// When it is too long.
pub fn remark(comment: &str) -> Result<String, DraftError> {
    let comment = comment.trim();
    (comment.len() <= MAX_COMMENT_BYTES)
        .then(|| comment.to_owned())
        .ok_or(DraftError::Comment)
}

/// Whether matchers know this name.
#[must_use]
pub fn is_subject(name: &str) -> bool {
    let label = name.strip_prefix(LABEL);
    SUBJECTS.contains(&name) || label.is_some_and(|label| !label.is_empty())
}

impl<'a> Facts<'a> {
    /// What a matcher of this name looks at; none where the alert has no such thing.
    #[must_use]
    pub fn subject(self, name: &str) -> Option<&'a str> {
        let label = |name: &str| self.labels.get(name).map(String::as_str);
        match name {
            "rule" => Some(self.rule),
            "series" => Some(self.series),
            "severity" => Some(match self.severity {
                Severity::Info => "info",
                Severity::Warning => "warning",
                Severity::Critical => "critical",
            }),
            "device" => self.series.rsplit_once('/').map(|(device, _)| device),
            "site" => label("site"),
            name => name.strip_prefix(LABEL).and_then(label),
        }
    }
}

impl Matcher {
    /// Checks what a person wrote.
    ///
    /// # Errors
    ///
    /// [`DraftError`]
    pub fn check(&self) -> Result<(), DraftError> {
        let fits = |text: &str| (1..=MAX_MATCHER_BYTES).contains(&text.len());
        if !fits(&self.name) || !fits(&self.value) {
            return Err(DraftError::MatcherLength);
        }
        if !is_subject(&self.name) {
            return Err(DraftError::UnknownName(self.name.clone()));
        }
        let severity = || ["info", "warning", "critical"].contains(&self.value.as_str());
        if self.name == "severity" && !self.glob && !severity() {
            return Err(DraftError::UnknownSeverity(self.value.clone()));
        }
        Ok(())
    }

    /// Whether it is true of an alert. What the alert does not have matches nothing.
    #[must_use]
    pub fn matches(&self, facts: Facts<'_>) -> bool {
        let is = facts.subject(&self.name);
        is.is_some_and(|is| {
            if self.glob {
                glob::matches(&self.value, is)
            } else {
                self.value == is
            }
        })
    }
}

impl Draft {
    /// Checks what a person wrote, at `now`.
    ///
    /// # Errors
    ///
    /// [`DraftError`]
    pub fn check(mut self, now: Timestamp, by: &'static str) -> Result<Self, DraftError> {
        if self.matchers.is_empty() {
            return Err(DraftError::NoMatchers);
        }
        if self.matchers.len() > MAX_MATCHERS {
            return Err(DraftError::TooManyMatchers);
        }
        self.matchers.iter().try_for_each(Matcher::check)?;
        self.repeat.iter().try_for_each(Repeat::check)?;
        if self.ends <= now || self.starts.is_some_and(|starts| starts >= self.ends) {
            return Err(DraftError::NoTime);
        }
        self.by = person(by, &self.by)?;
        self.comment = remark(&self.comment)?;
        Ok(self)
    }
}

impl SilenceState {
    /// Where an interval is at `now`, for one that was here before. Forward only; while the clock is not known to be set,
    /// nothing moves.
    #[must_use]
    pub fn at(
        self,
        starts: Timestamp,
        ends: Timestamp,
        now: Timestamp,
        clock_is_set: bool,
    ) -> Self {
        if !clock_is_set {
            return self;
        }
        let by_clock = if now >= ends {
            Self::Ended
        } else if now >= starts {
            Self::Active
        } else {
            Self::Planned
        };
        self.max(by_clock)
    }
}

impl Silence {
    /// A new one.
    #[must_use]
    pub fn new(id: SmolStr, draft: Draft, now: Timestamp) -> Self {
        let starts = draft.starts.unwrap_or(now);
        Self {
            id,
            version: 1,
            state: match draft.repeat {
                Some(_) => SilenceState::Planned,
                None => begun(starts, now),
            },
            matchers: draft.matchers,
            starts,
            ends: draft.ends,
            created_by: draft.by,
            created: now,
            changed_by: None,
            changed: None,
            comment: draft.comment,
            shelving: false,
            repeat: draft.repeat,
            turns: None,
        }
    }

    /// As a person wants it from now on. Without a start it keeps the one that it has. One that is moved to a later start is
    /// planned again.
    #[must_use]
    pub fn change(&self, draft: Draft, now: Timestamp) -> Self {
        let starts = draft.starts.unwrap_or(self.starts);
        Self {
            version: self.version + 1,
            state: if draft.repeat.is_some() {
                SilenceState::Planned
            } else if starts == self.starts && self.repeat.is_none() {
                self.state
            } else {
                begun(starts, now)
            },
            matchers: draft.matchers,
            starts,
            ends: draft.ends,
            changed_by: Some(draft.by),
            changed: Some(now),
            comment: draft.comment,
            shelving: false,
            repeat: draft.repeat,
            turns: None,
            ..self.clone()
        }
    }

    /// Ended by a person, before its time.
    #[must_use]
    pub fn end(&self, by: String, now: Timestamp) -> Self {
        Self {
            version: self.version + 1,
            state: SilenceState::Ended,
            starts: self.starts.min(now),
            ends: now,
            changed_by: Some(by),
            changed: Some(now),
            ..self.clone()
        }
    }

    /// When it next changes by time alone.
    #[must_use]
    pub const fn edge(&self) -> Option<Timestamp> {
        match self.state {
            SilenceState::Planned | SilenceState::Active if self.turns.is_some() => self.turns,
            SilenceState::Planned => Some(self.starts),
            SilenceState::Active => Some(self.ends),
            SilenceState::Ended => None,
        }
    }

    /// Whether it holds deliveries about such an alert back now.
    #[must_use]
    pub fn holds(&self, facts: Facts<'_>) -> bool {
        self.state == SilenceState::Active && self.matchers.iter().all(|m| m.matches(facts))
    }
}

fn begun(starts: Timestamp, now: Timestamp) -> SilenceState {
    if now >= starts {
        SilenceState::Active
    } else {
        SilenceState::Planned
    }
}

impl Alert {
    /// What matchers see of it.
    #[must_use]
    pub fn facts(&self) -> Facts<'_> {
        Facts {
            rule: &self.rule,
            series: &self.series,
            severity: self.severity,
            labels: &self.labels,
        }
    }
}

impl Attention {
    /// An alert with what people did about it. Silences are asked only while it is not over.
    #[must_use]
    pub fn to<'a>(&'a self, alert: &'a Alert) -> Attended<'a> {
        let open = matches!(alert.state, AlertState::Pending | AlertState::Firing);
        let holding: Vec<_> = self
            .silences
            .iter()
            .filter(|silence| open && silence.holds(alert.facts()))
            .collect();
        let shelf = holding.iter().find(|silence| silence.shelving);
        let acknowledged = self.acknowledged.get(&alert.id);
        let standing = self.routed.standing(alert);
        Attended {
            alert,
            acknowledged,
            silenced_by: holding.iter().map(|silence| silence.id.clone()).collect(),
            shelved: shelf.map(|silence| silence.as_shelf()),
            standing: Standing {
                escalates_ms: standing.escalates_ms.filter(|_| acknowledged.is_none()),
                ..standing
            },
        }
    }
}

/// Whether the delivery that an alert fires, still held when the alert is over, is withdrawn rather than told together with the
/// end. `offered`: it stood in the queue before it was held, so that a try may have reached the receiver; `hears_end`: the receiver
/// is told of ends.
#[must_use]
pub const fn is_withdrawn(offered: bool, hears_end: bool) -> bool {
    // Who may have heard of the beginning must hear of the end, and both go out in their order.
    !(offered && hears_end)
}

/// As REST and live events have it: times both as RFC 3339 and as epoch milliseconds.
#[derive(Debug, Serialize)]
struct Shown<'a> {
    id: &'a str,
    version: u64,
    state: SilenceState,
    matchers: &'a [Matcher],
    starts_at: String,
    starts_ms: i64,
    ends_at: String,
    ends_ms: i64,
    created_by: &'a str,
    created_ms: i64,
    changed_by: Option<&'a str>,
    changed_ms: Option<i64>,
    comment: &'a str,
    shelving: bool,
    repeat: Option<&'a Repeat>,
}

impl Serialize for Silence {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        Shown {
            id: &self.id,
            version: self.version,
            state: self.state,
            matchers: &self.matchers,
            starts_at: self.starts.to_rfc3339(),
            starts_ms: self.starts.as_millis(),
            ends_at: self.ends.to_rfc3339(),
            ends_ms: self.ends.as_millis(),
            created_by: &self.created_by,
            created_ms: self.created.as_millis(),
            changed_by: self.changed_by.as_deref(),
            changed_ms: self.changed.map(Timestamp::as_millis),
            comment: &self.comment,
            shelving: self.shelving,
            repeat: self.repeat.as_ref(),
        }
        .serialize(serializer)
    }
}

#[cfg(test)]
mod tests;
