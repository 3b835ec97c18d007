//! How far apart commits are, by who waits for them; pure. Of all in a group the most urgent decides:
//!
//! | who | with a fixed `commit_prompt` | by itself |
//! |---|---|---|
//! | [`Urgency::Prompt`] | so long, or until nothing comes any more | [`PROMPT`], likewise |
//! | [`Urgency::Steady`] | as prompt | [`WATCHED`] while somebody looks, else [`UNWATCHED`]; at once when it holds its sender back (`pace.rs`) |
//! | [`Urgency::Patient`] | `commit_patient` | `commit_patient` |
//!
//! What is [`News`] to a rule makes a group go at once that would gather for longer than [`WATCHED`], as long as the allowance reaches.

use std::time::Duration;

use crate::model::News;
#[cfg(doc)]
use crate::model::Urgency;

/// When nothing came for this share of `commit_prompt`, those who wait may have sent all that they may have under way: the
/// group is committed early.
const QUIET_SHARE: u32 = 4;
/// Between two commits when the rhythm is chosen here: for who does nothing else until it is answered.
const PROMPT: Duration = Duration::from_millis(2);
/// The same for who goes on meanwhile, while somebody looks: with what follows, a live event is less than 100 ms old.
pub(super) const WATCHED: Duration = Duration::from_millis(75);
/// While nobody looks: as long as what nobody waits for.
pub(super) const UNWATCHED: Duration = Duration::from_secs(1);
/// How long acknowledgements gather.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Rhythm {
    /// Soon for who does nothing else until it is answered; longer for who goes on sending meanwhile: 75 ms while somebody looks
    /// ([`super::Journal::set_watched`]), else 1 s, and not at all when that would hold it up.
    #[default]
    Auto,
    /// So long for all.
    Fixed(Duration),
}

/// Who is in the group under way.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Group {
    pub(super) prompt: bool,
    pub(super) steady: bool,
    /// Not yet asked for more speed.
    pub(super) news: News,
}

/// The least time between two commits.
pub(super) fn apart(prompt: Rhythm, patient: Duration, group: Group, watched: bool) -> Duration {
    match (prompt, group) {
        (Rhythm::Fixed(apart), group) if group.prompt || group.steady => apart,
        (Rhythm::Auto, Group { prompt: true, .. }) => PROMPT,
        (Rhythm::Auto, Group { steady: true, .. }) => {
            let longest = if watched { WATCHED } else { UNWATCHED };
            longest.min(patient)
        }
        _ => patient,
    }
}

/// After how long without anything new the group goes, since those who wait for it may have sent all that they may.
pub(super) fn quiet(prompt: Rhythm, group: Group) -> Option<Duration> {
    match prompt {
        Rhythm::Fixed(apart) if group.prompt || group.steady => Some(apart / QUIET_SHARE),
        Rhythm::Auto if group.prompt => Some(PROMPT / QUIET_SHARE),
        _ => None,
    }
}
