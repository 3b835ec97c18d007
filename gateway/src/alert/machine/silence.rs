//! Whose silence it is: that of one series, or that of the whole source that it is on.
//!
//! A series that is due, on a source that is configured, has no alert of its own
//!
//! - while the alert about its source fires; and when that is over, not before its deadline has passed once more from then on;
//! - when the source's link is down: then the alert about the source begins;
//! - when nothing at all came from the source since (or not long after) the series' own last reading, and another series is, or is
//!   nearly, due too: then the alert about the source begins as soon as the source has been silent for as long as the series may be.
//!
//! "Not long after" is half of what the series may be silent for: sensors on one port speak one after the other, and the first to be due
//! must not be told as broken when all of them are cut off. So its own alert comes at most by that half later, and only where no other
//! sensor speaks meanwhile.

use std::time::Duration;

use super::{Machine, Moment};
use crate::alert::{Alert, Awaited, Transition, heard::Heard, slot::Timer};

/// How often a series whose source is silent is looked at.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

impl Machine {
    /// Says which sources there are. Alerts about others end.
    pub fn await_sources(&mut self, all: Vec<Awaited>, now: Moment, out: &mut Vec<Transition>) {
        self.links.await_these(all, now, out);
    }

    /// Takes up an alert about a source of an earlier run.
    ///
    /// # Errors
    ///
    /// One that is not about a source.
    pub fn resume_source(&mut self, alert: Alert) -> Result<(), Box<Alert>> {
        self.links.resume(alert)
    }

    /// The number of a source, for [`Machine::source_spoke`].
    pub fn source(&mut self, name: &str) -> u32 {
        self.links.number(name)
    }

    /// A series is one of this device, which sends every `interval` (zero: it does not say).
    pub fn place(&mut self, series: u32, device: u32, interval: Duration) {
        self.links.place(series, device);
        let Some(Some(watched)) = self.series.get_mut(series as usize) else {
            return;
        };
        if std::mem::replace(&mut watched.heard.interval, interval) == interval {
            return;
        }
        self.time_anew(series);
    }

    /// The timers of a series anew: what they wait for is due at another time.
    pub(super) fn time_anew(&mut self, series: u32) {
        let Some(Some(watched)) = self.series.get_mut(series as usize) else {
            return;
        };
        for at in 0..watched.slots.len() {
            let rule = &self.rules[watched.slots[at].rule as usize].rule;
            let heard = watched.heard(rule);
            let slot = &mut watched.slots[at];
            let due = slot.due(rule, heard);
            let index = u32::try_from(at).unwrap_or(u32::MAX);
            slot.time(due, series, index, &mut self.timers);
        }
    }

    /// A device is on this source.
    pub fn belongs(&mut self, device: u32, source: u32) {
        self.links.belongs(device, source);
    }

    /// Data came from this source just now.
    pub fn source_spoke(&mut self, source: u32, now: Moment) {
        self.links.spoke(source, now.uptime);
    }

    /// Data came from this source in an earlier run.
    pub fn source_spoke_before(&mut self, source: u32, ago: Option<Duration>, now: Moment) {
        if let Some(link) = self.links.get_mut(source) {
            link.heard.earlier(now.uptime, ago);
        }
    }

    /// A series was heard of in an earlier run, so long ago; `None`: nobody knows.
    pub fn heard_before(&mut self, series: u32, ago: Option<Duration>, now: Moment) {
        let Some(Some(watched)) = self.series.get_mut(series as usize) else {
            return;
        };
        // The replay hands on readings as if they came now.
        let mut heard = Heard::never(now.uptime);
        heard.interval = watched.heard.interval;
        heard.earlier(now.uptime, ago);
        watched.heard = heard;
        self.time_anew(series);
    }

    /// The link of a source is down, with the reason, or up. What follows comes with the next [`Machine::tick`].
    pub fn link(&mut self, name: &str, down: Option<String>, now: Moment) {
        let source = self.links.number(name);
        self.links.stands(source, down, now.uptime);
    }

    /// The alerts about sources that fire.
    pub fn source_alerts(&self) -> impl Iterator<Item = &Alert> {
        self.links.alerts()
    }

    /// Begins and ends alerts about sources.
    pub(super) fn settle(&mut self, now: Moment, out: &mut Vec<Transition>) {
        let mut links = std::mem::take(&mut self.links);
        links.settle(
            now,
            |links, source| {
                self.silences().any(|(series, silence, heard, _)| {
                    links.of(series) == Some(source) && heard.is_overdue(silence, now.uptime)
                })
            },
            out,
        );
        self.links = links;
    }

    /// Whether the timer of a silence is put off because it is the source's, or may be. Then it is set anew.
    pub(super) fn holds_back(
        &mut self,
        timer: Timer,
        now: Moment,
        out: &mut Vec<Transition>,
    ) -> bool {
        let Some(again) = self.look_again(timer, now, out) else {
            return false;
        };
        if let Some(Some(watched)) = self.series.get_mut(timer.series as usize) {
            let slot = &mut watched.slots[timer.slot as usize];
            slot.timer = None;
            slot.time(Some(again), timer.series, timer.slot, &mut self.timers);
        }
        true
    }

    fn look_again(
        &mut self,
        timer: Timer,
        now: Moment,
        out: &mut Vec<Transition>,
    ) -> Option<Duration> {
        let watched = self.series.get(timer.series as usize)?.as_deref()?;
        let slot = &watched.slots[timer.slot as usize];
        let rule = &self.rules[slot.rule as usize].rule;
        let heard = watched.heard(rule);
        let silence = slot.silence(rule, heard)?;
        let patience = heard.patience(silence);
        let waits = slot.active.is_none() && !slot.closed && slot.timer == Some(timer.at);
        if !waits
            || self.standing.holds_back(rule, &watched.key.device)
            || heard.deadline(silence) > now.uptime
        {
            return None;
        }
        let source = self.links.of(timer.series)?;
        let link = self.links.get_mut(source).filter(|l| l.is_awaited())?;
        let later = now.uptime.saturating_add(LOOK_AGAIN);
        if link.fires() {
            return Some(later);
        }
        let fair = link.back.saturating_add(patience);
        if !link.back.is_zero() && now.uptime < fair {
            return Some(fair);
        }
        if link.down.is_some() {
            let problem = link.down_in_words();
            link.fail(problem, now, out);
            return Some(later);
        }
        let spoke_since = link.heard.moment() - heard.moment();
        if spoke_since > i128::try_from(patience.as_nanos() / 2).unwrap_or(i128::MAX) {
            return None;
        }
        let silent = link.heard.deadline(patience);
        if now.uptime < silent {
            return Some(silent.min(later));
        }
        let nearly = now.uptime.saturating_add(patience / 2);
        let waiting = self
            .silences()
            .filter(|(series, silence, heard, fires)| {
                !fires
                    && heard.deadline(*silence) <= nearly
                    && self.links.of(*series) == Some(source)
            })
            .map(|(series, ..)| series)
            .fold((0, NOBODY), |(count, last), series| {
                (count + usize::from(series != last), series)
            })
            .0;
        if waiting < 2 {
            return None;
        }
        let link = self.links.get_mut(source)?;
        let problem = format!(
            "Nothing came from source \"{}\" for {} s: {waiting} series are waited for",
            link.name,
            patience.as_secs()
        );
        link.fail(problem, now, out);
        Some(later)
    }

    /// Each pair of a series and a rule that waits for it: how long, when it was heard, and whether that alert is there already. Not
    /// those that a person closed or that are held back by a rule that they depend on.
    fn silences(&self) -> impl Iterator<Item = (u32, Duration, Heard, bool)> {
        let (rules, standing) = (&self.rules, &self.standing);
        (0..)
            .zip(&self.series)
            .filter_map(|(series, watched)| Some((series, watched.as_deref()?)))
            .flat_map(move |(series, watched)| {
                watched.slots.iter().filter_map(move |slot| {
                    let rule = &rules[slot.rule as usize].rule;
                    let heard = watched.heard(rule);
                    let silence = slot.silence(rule, heard)?;
                    if slot.closed || standing.holds_back(rule, &watched.key.device) {
                        return None;
                    }
                    Some((series, silence, heard, slot.active.is_some()))
                })
            })
    }
}

/// No series has this number.
const NOBODY: u32 = u32::MAX;

#[cfg(test)]
mod tests;
