//! Who is held back by waiting for its acknowledgement; pure.
//!
//! A commit that waits longer takes more messages along and spares the card. It costs nothing as long as senders go on meanwhile.
//! One that may have only so many messages under way (mosquitto: 20) stops instead, and its rate falls to that many a commit.
//! No protocol tells that limit to the receiver, so it is learned: **who falls silent while it waits, and speaks as soon as it
//! is answered, was held back**, and what it had under way is its limit. Seen twice in a row, its groups go as soon as they hold
//! so many messages.
//!
//! A limit may be raised or may have been mistaken: now and then a full group waits a little longer. More that comes in that
//! time unlearns the limit; if nothing comes, the next trial is twice as many commits away.
//!
//! Bounded: at most [`MAX_SENDERS`] senders and those of the group under way are known. With one more, the others are forgotten, and learned
//! again. It does not look at bytes, and does not know how long a commit may wait at most.

#[cfg(test)]
mod tests;

use std::{collections::HashMap, time::Duration};

use smol_str::SmolStr;
use tokio::time::Instant;

use crate::model::SourceName;

/// Senders that are remembered between commits.
pub(super) const MAX_SENDERS: usize = 1024;
/// A shorter silence says nothing.
const SILENCE: Duration = Duration::from_millis(5);
/// So many times longer than between its messages is who was held back silent, and as long is a limit put to the trial in commits.
const TIMES: u32 = 4;
/// The first trial of a limit comes after so many full groups, the last at this distance.
const TRIALS: (u32, u32) = (32, 1024);

/// One that has its messages acknowledged: a connection of ours, or a client of a listener.
pub(super) type Sender = (SourceName, Option<SmolStr>);

/// What is known of all senders.
#[derive(Debug, Default)]
pub(super) struct Pace {
    senders: HashMap<Sender, Known>,
    /// Whose messages are in the group under way.
    group: Vec<Sender>,
    /// When the group is to go for somebody's sake.
    due: Option<Instant>,
    /// Commits so far.
    commits: u64,
    answered: Option<Instant>,
    /// From the commit before the last to the last.
    cycle: Duration,
}

#[derive(Debug, Default)]
struct Known {
    /// Messages in the group under way.
    under_way: u64,
    /// Its first and its last in the group.
    spoke: Option<(Instant, Instant)>,
    /// Of the group before: its commit, messages in it, how long it was silent before the commit; zero if it was no longer silent
    /// than usual.
    before: Option<(u64, u64, Duration)>,
    /// It was held back once at so many.
    suspected: Option<u64>,
    limit: Option<Limit>,
}

#[derive(Debug)]
struct Limit {
    messages: u64,
    /// Full groups until the next trial, and from there to the one after it.
    trial_in: u32,
    trial_after: u32,
    /// The trial under way.
    trial: Option<Duration>,
}

impl Pace {
    /// So many messages came. `unanswered`: they were sent before the last commit was answered, and say nothing of what the answer
    /// did.
    pub(super) fn came(&mut self, sender: Sender, messages: u64, unanswered: bool, now: Instant) {
        if self.senders.len() >= MAX_SENDERS && !self.senders.contains_key(&sender) {
            self.senders.retain(|_, known| known.under_way > 0);
        }
        let (commits, cycle) = (self.commits, self.cycle);
        let took = self.answered.map(|at| now.saturating_duration_since(at));
        let known = self.senders.entry(sender.clone()).or_default();
        if known.under_way == 0 {
            let held_at = match (known.before.take(), took) {
                (Some((commit, under_way, silent)), Some(took)) => {
                    (commit == commits && !unanswered && silent >= SILENCE && silent >= took)
                        .then_some(under_way)
                }
                _ => None,
            };
            known.suspect(held_at);
            self.group.push(sender);
        }
        known.under_way += messages;
        known.spoke = Some((known.spoke.map_or(now, |(first, _)| first), now));
        let under_way = known.under_way;
        if let Some(limit) = &mut known.limit
            && limit.trial.is_none()
            && under_way >= limit.messages
        {
            let trial = (limit.trial_in == 0).then_some(cycle * TIMES);
            limit.trial = trial;
            let due = now + trial.unwrap_or_default();
            self.due = Some(self.due.map_or(due, |other| other.min(due)));
        }
    }

    /// When the group must go, because somebody in it may send no more; `None`: everybody goes on.
    pub(super) const fn due(&self) -> Option<Instant> {
        self.due
    }

    /// The group was committed: the writing began and ended then, and now the senders are answered.
    pub(super) fn committed(&mut self, began: Instant, ended: Instant) {
        self.commits += 1;
        if let Some(answered) = self.answered {
            self.cycle = ended.saturating_duration_since(answered);
        }
        self.answered = Some(ended);
        self.due = None;
        for sender in self.group.drain(..) {
            let Some(known) = self.senders.get_mut(&sender) else {
                continue;
            };
            let under_way = std::mem::take(&mut known.under_way);
            let Some((first, last)) = known.spoke.take() else {
                continue;
            };
            let silent = began.saturating_duration_since(last);
            let between = u32::try_from(under_way.saturating_sub(1)).unwrap_or(u32::MAX);
            let usual = last.saturating_duration_since(first) / between.max(1);
            let unusual = silent >= usual * TIMES;
            let held_for = if unusual { silent } else { Duration::ZERO };
            known.before = Some((self.commits, under_way, held_for));
            known.judge(under_way, silent);
        }
    }
}

impl Known {
    fn suspect(&mut self, held_at: Option<u64>) {
        if self.limit.is_some() {
            return;
        }
        let before = std::mem::replace(&mut self.suspected, held_at);
        if let (Some(before), Some(now)) = (before, held_at) {
            self.suspected = None;
            self.limit = Some(Limit {
                messages: before.min(now),
                trial_in: TRIALS.0,
                trial_after: TRIALS.0,
                trial: None,
            });
        }
    }

    /// What a committed group says of the limit.
    fn judge(&mut self, under_way: u64, silent: Duration) {
        let Some(limit) = &mut self.limit else { return };
        if under_way < limit.messages {
            return;
        }
        let Some(trial) = limit.trial.take() else {
            limit.trial_in = limit.trial_in.saturating_sub(1);
            return;
        };
        if silent * 2 >= trial {
            limit.messages = under_way;
            limit.trial_after = (limit.trial_after * 2).min(TRIALS.1);
            limit.trial_in = limit.trial_after;
        } else {
            self.limit = None;
        }
    }
}
