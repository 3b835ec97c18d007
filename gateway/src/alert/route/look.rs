//! What a group has to say at a moment, and when it must be looked at again. All times are of a clock that never jumps.
//!
//! What each webhook was told of each alert is part of the group ([`Member::told`]), so that looking twice says nothing twice, and so that
//! a look that comes late, or after a restart, says what is left to say.
//!
//! - A webhook hears of an alert that fires once, and of its end once, if it heard of the beginning.
//! - Silenced and inhibited alerts are left out; they come when they still fire and nothing holds them any more. The end of an alert that a
//!   webhook heard of waits for the silence and not for the inhibition: no incident stays open because of what explains it.
//! - Changes wait for the group's `gate`; reminders and escalations have their own times, and none once somebody acknowledged.
//! - An alert that is over before anybody was told of it is never told.

use std::time::Duration;

use smol_str::SmolStr;

use super::Route;

/// Alerts of one message at most: with more, several messages of one moment.
pub const MAX_TOLD_AT_ONCE: usize = 2_000;

/// An alert in a group.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Member {
    /// It does not fire any more.
    pub is_over: bool,
    /// An active silence matches it.
    pub silenced: bool,
    /// Another alert explains it.
    pub inhibited: bool,
    /// Somebody takes care of it.
    pub acknowledged: bool,
    /// The webhooks that its rule names; empty: all.
    pub named: Vec<SmolStr>,
    /// The webhooks that heard that it fires, and not that it is over.
    pub told: Vec<SmolStr>,
    /// When it could first be told, from which escalation counts.
    pub since: Option<Duration>,
    /// When anybody was told last.
    pub said: Option<Duration>,
    /// Steps of the escalation that are done.
    pub steps: usize,
}

/// Why a message is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// Something in the group changed.
    Change,
    /// It fires still.
    Repeat,
    /// Nobody acknowledged in time.
    Escalation,
}

/// A message to be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Planned {
    /// To whom.
    pub webhook: SmolStr,
    /// Why.
    pub why: Why,
    /// Of which members, by index; at least one, at most [`MAX_TOLD_AT_ONCE`].
    pub alerts: Vec<usize>,
    /// How many are in the other messages of the same moment.
    pub more: u64,
    /// How many of the group fire then, as far as this webhook knows.
    pub firing: u64,
}

/// What came of a look.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Look {
    /// In the order in which they go out.
    pub messages: Vec<Planned>,
    /// Members that are done with, by index.
    pub gone: Vec<usize>,
    /// How many of these nobody was told of.
    pub untold: u64,
    /// When to look again, if nothing changes before; none: not by time.
    pub due: Option<Duration>,
    /// Something was left out because of a silence or an inhibition.
    pub held: bool,
    /// Whether changes could be told: what waited has waited.
    pub opened: bool,
}

impl Member {
    fn hears(&self, webhook: &SmolStr) -> bool {
        self.named.is_empty() || self.named.contains(webhook)
    }

    const fn is_held(&self) -> bool {
        self.silenced || self.inhibited
    }

    /// Fires, and nobody takes care of it.
    const fn is_open(&self) -> bool {
        !self.is_over && !self.is_held() && !self.acknowledged
    }

    fn now_told(&mut self, webhook: &SmolStr) {
        if !self.told.contains(webhook) {
            self.told.push(webhook.clone());
        }
    }

    /// When the next step of this route is due, if one is left and nobody takes care.
    #[must_use]
    pub fn escalates(&self, route: &Route) -> Option<Duration> {
        let step = route.escalate.get(self.steps)?;
        let since = self.since.filter(|_| self.is_open())?;
        Some(since.saturating_add(step.after))
    }
}

/// Looks at a group at `now`. `hears_end` says of a webhook whether it is told of ends; none: there is no such webhook. Before `gate` no
/// change is told; it is moved when one was. The members are as they are after the messages.
#[must_use]
pub fn look(
    route: &Route,
    hears_end: impl Fn(&str) -> Option<bool>,
    members: &mut [Member],
    gate: &mut Duration,
    now: Duration,
) -> Look {
    let mut look = Look {
        opened: now >= *gate,
        ..Look::default()
    };
    for member in members.iter_mut() {
        let is_over = member.is_over;
        member
            .told
            .retain(|webhook| hears_end(webhook).is_some_and(|hears| hears || !is_over));
        look.held |= if is_over {
            member.silenced && !member.told.is_empty()
        } else {
            member.is_held()
        };
    }
    let mut said = Vec::new();
    changes(route, &hears_end, members, gate, now, &mut look, &mut said);
    escalations(route, &hears_end, members, now, &mut said);
    repeats(route, members, now, &mut said);
    for (index, member) in members.iter().enumerate() {
        if member.is_over && member.told.is_empty() {
            look.gone.push(index);
            look.untold += u64::from(member.since.is_none());
        }
    }
    for (webhook, why, alerts) in said {
        let firing = members
            .iter()
            .filter(|m| !m.is_over && m.told.contains(&webhook))
            .count() as u64;
        for part in alerts.chunks(MAX_TOLD_AT_ONCE) {
            look.messages.push(Planned {
                webhook: webhook.clone(),
                why,
                alerts: part.to_vec(),
                more: (alerts.len() - part.len()) as u64,
                firing,
            });
        }
    }
    let next = members
        .iter()
        .flat_map(|member| [member.escalates(route), repeats_at(route, member)])
        .flatten();
    look.due = look.due.into_iter().chain(next).min();
    if look.gone.len() == members.len() {
        // The group itself stays that long, so that what comes next keeps its distance from what was told.
        look.due = Some(*gate);
    }
    look
}

type Said = Vec<(SmolStr, Why, Vec<usize>)>;

/// Whether a webhook is to hear that a member changed.
fn is_news(route: &Route, member: &Member, webhook: &SmolStr) -> bool {
    if member.is_over {
        return !member.silenced && member.told.contains(webhook);
    }
    !member.is_held()
        && route.webhooks.contains(webhook)
        && member.hears(webhook)
        && !member.told.contains(webhook)
}

fn changes(
    route: &Route,
    hears_end: &impl Fn(&str) -> Option<bool>,
    members: &mut [Member],
    gate: &mut Duration,
    now: Duration,
    look: &mut Look,
    said: &mut Said,
) {
    // Who left the route, or was told by an escalation, hears of ends.
    let mut webhooks: Vec<SmolStr> = Vec::new();
    let told = members.iter().flat_map(|member| &member.told);
    for webhook in route.webhooks.iter().chain(told) {
        if !webhooks.contains(webhook) && hears_end(webhook).is_some() {
            webhooks.push(webhook.clone());
        }
    }
    let begins = |member: &Member| !member.is_over && !member.is_held() && member.since.is_none();
    let any = members.iter().any(begins)
        || webhooks
            .iter()
            .any(|webhook| members.iter().any(|m| is_news(route, m, webhook)));
    if !any {
        return;
    }
    if !look.opened {
        look.due = Some(*gate);
        return;
    }
    for webhook in &webhooks {
        let news: Vec<usize> = (0..members.len())
            .filter(|at| is_news(route, &members[*at], webhook))
            .collect();
        for at in &news {
            let member = &mut members[*at];
            if member.is_over {
                member.told.retain(|told| told != webhook);
            } else {
                member.told.push(webhook.clone());
                member.said = Some(now);
            }
        }
        if !news.is_empty() {
            said.push((webhook.clone(), Why::Change, news));
            *gate = now.saturating_add(route.group_interval);
        }
    }
    for member in members.iter_mut().filter(|member| begins(member)) {
        member.since = Some(now);
    }
}

fn escalations(
    route: &Route,
    hears_end: &impl Fn(&str) -> Option<bool>,
    members: &mut [Member],
    now: Duration,
    said: &mut Said,
) {
    for (nth, step) in route.escalate.iter().enumerate() {
        let due: Vec<usize> = (0..members.len())
            .filter(|at| {
                let member = &members[*at];
                member.steps == nth && member.escalates(route).is_some_and(|at| at <= now)
            })
            .collect();
        for at in &due {
            members[*at].steps += 1;
        }
        if due.is_empty() {
            continue;
        }
        for webhook in step.webhooks.iter().filter(|w| hears_end(w).is_some()) {
            for at in &due {
                members[*at].now_told(webhook);
                members[*at].said = Some(now);
            }
            said.push((webhook.clone(), Why::Escalation, due.clone()));
        }
    }
}

fn repeats_at(route: &Route, member: &Member) -> Option<Duration> {
    let wanted = !route.repeat_interval.is_zero() && member.is_open() && !member.told.is_empty();
    let said = member.said.filter(|_| wanted)?;
    Some(said.saturating_add(route.repeat_interval))
}

/// When one is due all are told again that were not told just now, so that a group keeps to one rhythm.
fn repeats(route: &Route, members: &mut [Member], now: Duration, said: &mut Said) {
    let is_due = |member: &Member| repeats_at(route, member).is_some_and(|at| at <= now);
    if !members.iter().any(is_due) {
        return;
    }
    let again: Vec<usize> = (0..members.len())
        .filter(|at| {
            let member = &members[*at];
            repeats_at(route, member).is_some() && member.said != Some(now)
        })
        .collect();
    let mut webhooks: Vec<SmolStr> = Vec::new();
    for at in &again {
        for webhook in &members[*at].told {
            if !webhooks.contains(webhook) {
                webhooks.push(webhook.clone());
            }
        }
        members[*at].said = Some(now);
    }
    for webhook in webhooks {
        let of: Vec<usize> = again
            .iter()
            .copied()
            .filter(|at| members[*at].told.contains(&webhook))
            .collect();
        said.push((webhook, Why::Repeat, of));
    }
}
