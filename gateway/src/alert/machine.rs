//! The state machine of every alert: one per rule and series at most.
//!
//! ```text
//!          true                 true for `hold`            clear, or data again
//!   none ────────► pending ──────────────────────► firing ─────────────────────► resolved
//!     │               └──── clear, or data again ──► cancelled                       ▲
//!     └─────────────── true, and `hold` is zero ───► firing ─────────────────────────┘
//! ```
//!
//! What holds:
//!
//! - Judged is what a series measured last: readings behind it, bad ones and retained ones neither begin nor end anything.
//! - A condition with a separate `clear` stays as it was between `clear` and `limit`, while pending as while firing.
//! - `hold` runs on measured time: a reading at or past `began + hold` fires. When no further reading comes, the rest of `hold` must
//!   pass since the arrival of the newest one; that counts only if it was measured no longer than `hold` before it arrived, so that
//!   yesterday's readings, sent today, fire nothing by waiting.
//! - A clock that jumps takes what is pending with it ([`Machine::clock_jumped`]).
//! - No-data runs on the time since the process started ([`Moment::uptime`]), so that a wall clock that jumps neither fires nor resolves;
//!   the deadline is counted from the last arrival, also from one in an earlier run (`heard.rs`). Whose silence it is, the series' or
//!   its source's: `machine/silence.rs`.
//! - Ids are made from rule, series and time of beginning: evaluated again after a crash, the same readings make the same alerts.
//!
//! Bounds: one small slot for each pair of rule and matching series, made when the series is first seen; at most `max_alerts` alerts at once,
//! more are counted and begin when there is room and the condition is still true; at most two timers a slot, and a few.

mod change;
mod silence;

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BinaryHeap, HashSet},
    time::Duration,
};

use crate::{
    alert::{
        Alert, AlertState, Condition, Rule, Transition, View,
        condition::{Undecided, Verdict, judge, recall},
        heard::Heard,
        identity,
        links::Links,
        slot::{Around, Asked, Cause, Slot, Timer},
    },
    model::{Quality, Reading, SeriesKey, Timestamp},
};

/// A silence that found no room for its alert asks again after this.
const ASK_AGAIN: Duration = Duration::from_secs(1);
/// So many timers may be left over beyond one a slot.
const SPARE_TIMERS: usize = 64;

/// Now, by both clocks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Moment {
    /// The wall clock, for stamps. It may jump.
    pub clock: Timestamp,
    /// How long the process runs, for waiting. It never jumps.
    pub uptime: Duration,
}

/// How many alerts there are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Pending now.
    pub pending: usize,
    /// Firing now.
    pub firing: usize,
    /// Alerts that did not begin because there were too many.
    pub refused: u64,
    /// Readings of which a condition could not be decided.
    pub undecided: u64,
}

/// How often a rule could not be decided, and the last time.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Troubles {
    /// Readings, since the start or since the rules were last changed.
    pub times: u64,
    last: Option<(SeriesKey, Undecided)>,
}

impl Troubles {
    fn note(&mut self, series: &SeriesKey, why: Undecided) {
        self.times += 1;
        self.last = Some((series.clone(), why));
    }

    /// The last time, for people: `boiler/temperature: setpoint has no value that can be used`.
    #[must_use]
    pub fn last(&self) -> Option<String> {
        let (series, why) = self.last.as_ref()?;
        Some(format!("{series}: {why}"))
    }
}

/// All rules on all series. Series are named by small numbers, given from 0 up.
#[derive(Debug)]
pub struct Machine {
    rules: Vec<Asked>,
    max_alerts: usize,
    series: Vec<Option<Box<Watched>>>,
    /// How many slots there are in all.
    slots: usize,
    timers: BinaryHeap<Reverse<Timer>>,
    counts: Counts,
    links: Links,
}

/// A series that at least one rule is about.
#[derive(Debug)]
struct Watched {
    key: SeriesKey,
    labels: BTreeMap<String, String>,
    heard: Heard,
    slots: Box<[Slot]>,
}

impl Machine {
    /// With these rules and no series yet. Of rules with one name only the first is taken (the config refuses the others).
    #[must_use]
    pub fn new(rules: Vec<Rule>, max_alerts: usize) -> Self {
        Self {
            rules: asked(rules),
            max_alerts,
            series: Vec::new(),
            slots: 0,
            timers: BinaryHeap::new(),
            counts: Counts::default(),
            links: Links::default(),
        }
    }

    /// A series is known from now on: matches the rules to it, once. `labels` are those of its device, `site` and `device`.
    pub fn watch(
        &mut self,
        series: u32,
        key: &SeriesKey,
        labels: &BTreeMap<String, String>,
        now: Moment,
    ) {
        let at = series as usize;
        if self.series.len() <= at {
            self.series.resize_with(at + 1, || None);
        }
        if self.series[at].is_some() {
            return;
        }
        let name = key.to_string();
        let slots: Box<[Slot]> = (0..)
            .zip(&self.rules)
            .filter(|(_, asked)| asked.rule.is_about(&name, labels))
            .map(|(rule, _)| Slot::new(rule))
            .collect();
        if slots.is_empty() {
            return;
        }
        self.slots += slots.len();
        let watched = self.series[at].insert(Box::new(Watched {
            key: key.clone(),
            labels: labels.clone(),
            heard: Heard::never(now.uptime),
            slots,
        }));
        for (slot_index, slot) in (0..).zip(&mut watched.slots) {
            let rule = &self.rules[slot.rule as usize].rule;
            let due = slot.due(rule, &watched.heard);
            slot.time(due, series, slot_index, &mut self.timers);
        }
    }

    /// Whether a rule is about this series.
    #[must_use]
    pub fn watches(&self, series: u32) -> bool {
        let watched = self.series.get(series as usize);
        watched.is_some_and(Option::is_some)
    }

    /// Takes up an alert of an earlier run on a series that is watched.
    ///
    /// # Errors
    ///
    /// Why it can't go on, for people; then [`lapse`] ends it.
    pub fn resume(&mut self, series: u32, alert: Alert, now: Moment) -> Result<(), Lapsed> {
        let asked = |name: &str| self.rules.iter().position(|asked| asked.rule.name == name);
        let Some(rule) = asked(&alert.rule) else {
            return Err(Lapsed(Box::new(alert), "its rule was removed"));
        };
        if !identity::is_of(&alert.id, self.rules[rule].fingerprint) {
            return Err(Lapsed(Box::new(alert), "its rule was changed"));
        }
        let watched = self
            .series
            .get_mut(series as usize)
            .and_then(Option::as_mut);
        let slots = watched.map(|watched| &mut watched.slots);
        let Some((index, slot)) = slots.and_then(|slots| {
            (0..)
                .zip(slots.iter_mut())
                .find(|(_, slot)| slot.rule as usize == rule)
        }) else {
            return Err(Lapsed(
                Box::new(alert),
                "its rule is no longer about this series",
            ));
        };
        if slot.active.is_some() {
            return Err(Lapsed(Box::new(alert), "there is another one for the same"));
        }
        match alert.state {
            AlertState::Pending => self.counts.pending += 1,
            AlertState::Firing => self.counts.firing += 1,
            AlertState::Resolved | AlertState::Cancelled => return Ok(()),
        }
        slot.resume(alert, &self.rules[rule].rule.condition, now);
        let due = slot.due(&self.rules[rule].rule, &Heard::never(now.uptime));
        slot.time(due, series, index, &mut self.timers);
        Ok(())
    }

    /// Takes one reading of a watched series. `in_order`: it is the newest of its series by measured time, and the view holds it
    /// already. Adds to `out` what changed.
    pub fn observe(
        &mut self,
        series: u32,
        reading: &Reading,
        in_order: bool,
        now: Moment,
        view: &impl View,
        out: &mut Vec<Transition>,
    ) {
        let Some(watched) = heard(&mut self.series, series, reading, now) else {
            return;
        };
        let Watched {
            key,
            labels,
            heard,
            slots,
        } = watched;
        let cause = Cause {
            at: reading.time,
            value: Some(&reading.value),
            unit: reading.unit.as_ref(),
        };
        for (index, slot) in (0..).zip(slots.iter_mut()) {
            let rule = &mut self.rules[slot.rule as usize];
            let verdict = if in_order {
                let (condition, memory) = (&rule.rule.condition, &mut slot.memory);
                judge(condition, memory, &reading.value, reading.time, view)
            } else {
                Ok(Verdict::Nothing)
            };
            let verdict = verdict.unwrap_or_else(|why| {
                self.counts.undecided += 1;
                rule.undecided.note(key, why);
                Verdict::Nothing
            });
            let asked = &*rule;
            let mut around = Around {
                asked,
                key,
                labels,
                counts: &mut self.counts,
                max_alerts: self.max_alerts,
                score: slot.memory.as_ref().and_then(|memory| memory.score()),
                never: false,
            };
            if let Condition::NoDataFor { .. } = asked.rule.condition {
                let again = Cause {
                    at: now.clock,
                    ..cause
                };
                slot.end(&mut around, again, out);
            } else if in_order {
                slot.judged(verdict, &mut around, cause, now, out);
            } else {
                continue;
            }
            let due = slot.due(&asked.rule, heard);
            slot.time(due, series, index, &mut self.timers);
        }
        self.drop_stale_timers();
    }

    /// Throws timers away that mean nothing, when there are many. A burst of buffered readings brings a time forward again and again.
    fn drop_stale_timers(&mut self) {
        if self.timers.len() <= 2 * self.slots + SPARE_TIMERS {
            return;
        }
        let all = &self.series;
        self.timers.retain(|Reverse(timer)| {
            all[timer.series as usize]
                .as_ref()
                .is_some_and(|watched| watched.slots[timer.slot as usize].timer == Some(timer.at))
        });
    }

    /// Takes a reading that was evaluated by an earlier run: it changes no state, but what is pending goes on from it.
    pub fn recall(&mut self, series: u32, reading: &Reading, in_order: bool, now: Moment) {
        let Some(watched) = heard(&mut self.series, series, reading, now) else {
            return;
        };
        if !in_order {
            return;
        }
        for (index, slot) in (0..).zip(watched.slots.iter_mut()) {
            let rule = &self.rules[slot.rule as usize].rule;
            recall(
                &rule.condition,
                &mut slot.memory,
                &reading.value,
                reading.time,
            );
            if let Some(active) = &mut slot.active
                && !matches!(rule.condition, Condition::NoDataFor { .. })
                && reading.time >= active.newest
            {
                active.kept_true(reading.time, rule.hold, now);
                let due = slot.due(rule, &watched.heard);
                slot.time(due, series, index, &mut self.timers);
            }
        }
        self.drop_stale_timers();
    }

    /// Data came of a watched series, but can't be judged: it keeps silence from being noticed, and nothing else.
    pub fn hear(&mut self, series: u32, reading: &Reading, now: Moment) {
        heard(&mut self.series, series, reading, now);
    }

    /// The clock that stamps the readings of this series jumped by so many nanoseconds: what is pending goes with it, so that the
    /// jump counts neither as time for which the condition held nor against it. Adds to `out` what is to be written down.
    pub fn clock_jumped(&mut self, series: u32, by: i64, out: &mut Vec<Transition>) {
        let Some(Some(watched)) = self.series.get_mut(series as usize) else {
            return;
        };
        let Watched { key, slots, .. } = &mut **watched;
        for slot in slots.iter_mut() {
            if let Some(memory) = &mut slot.memory {
                memory.clock_jumped(by);
            }
            let condition = &self.rules[slot.rule as usize].rule.condition;
            if !matches!(condition, Condition::NoDataFor { .. }) {
                slot.clock_jumped(key, by, out);
            }
        }
    }

    /// As [`Machine::clock_jumped`], when an earlier run has taken the alerts along: only what conditions remember goes now.
    pub fn recall_clock_jump(&mut self, series: u32, by: i64) {
        let watched = self.series.get_mut(series as usize);
        for slot in watched.into_iter().flatten().flat_map(|w| &mut w.slots) {
            if let Some(memory) = &mut slot.memory {
                memory.clock_jumped(by);
            }
        }
    }

    /// Rules that could not always be decided, in their order.
    pub fn undecided(&self) -> impl Iterator<Item = (&Rule, &Troubles)> {
        self.rules
            .iter()
            .filter(|asked| asked.undecided.times > 0)
            .map(|asked| (&asked.rule, &asked.undecided))
    }

    /// When [`Machine::tick`] has something to look at, by [`Moment::uptime`].
    #[must_use]
    pub fn next_timer(&self) -> Option<Duration> {
        let timer = self.timers.peek().map(|timer| timer.0.at);
        timer.into_iter().chain(self.links.next()).min()
    }

    /// Does what is due by now. Adds to `out` what changed.
    pub fn tick(&mut self, now: Moment, out: &mut Vec<Transition>) {
        self.settle(now, out);
        while let Some(Reverse(timer)) = self.timers.peek().copied()
            && timer.at <= now.uptime
        {
            self.timers.pop();
            if self.holds_back(timer, now, out) {
                continue;
            }
            let Some(Some(watched)) = self.series.get_mut(timer.series as usize) else {
                continue;
            };
            let Watched {
                key,
                labels,
                heard,
                slots,
            } = &mut **watched;
            let slot = &mut slots[timer.slot as usize];
            if slot.timer != Some(timer.at) {
                continue;
            }
            slot.timer = None;
            let asked = &self.rules[slot.rule as usize];
            if slot
                .due(&asked.rule, heard)
                .is_some_and(|due| due <= now.uptime)
            {
                let mut around = Around {
                    asked,
                    key,
                    labels,
                    counts: &mut self.counts,
                    max_alerts: self.max_alerts,
                    score: slot.memory.as_ref().and_then(|memory| memory.score()),
                    never: heard.never,
                };
                if !slot.waited(&mut around, now, out) {
                    let again = Some(now.uptime.saturating_add(ASK_AGAIN));
                    slot.time(again, timer.series, timer.slot, &mut self.timers);
                    continue;
                }
            }
            let due = slot.due(&asked.rule, heard);
            slot.time(due, timer.series, timer.slot, &mut self.timers);
        }
    }

    /// All alerts, pending and firing.
    pub fn alerts(&self) -> impl Iterator<Item = &Alert> {
        self.series
            .iter()
            .flatten()
            .flat_map(|watched| &watched.slots)
            .filter_map(|slot| slot.active.as_ref().map(|active| &active.alert))
    }

    /// How many there are.
    #[must_use]
    pub const fn counts(&self) -> Counts {
        self.counts
    }
}

/// The rules with what is made of them once.
fn asked(rules: Vec<Rule>) -> Vec<Asked> {
    let mut names = HashSet::with_capacity(rules.len());
    let mut asked: Vec<Asked> = Vec::with_capacity(rules.len());
    for rule in rules {
        if names.insert(rule.name.clone()) {
            let fingerprint = identity::fingerprint(&rule);
            asked.push(Asked {
                rule,
                fingerprint,
                undecided: Troubles::default(),
            });
        }
    }
    asked
}

/// The series that a reading is about, if a rule is and the reading is data; it is noted as arrived.
fn heard<'a>(
    all: &'a mut [Option<Box<Watched>>],
    series: u32,
    reading: &Reading,
    now: Moment,
) -> Option<&'a mut Watched> {
    if reading.retained || reading.quality == Quality::Bad {
        return None;
    }
    let watched = all.get_mut(series as usize)?.as_deref_mut()?;
    watched.heard.now(now.uptime);
    Some(watched)
}

/// An alert that cannot go on, and why.
#[derive(Clone, Debug, PartialEq)]
pub struct Lapsed(pub Box<Alert>, pub &'static str);

/// Ends an alert that lapsed; its summary says why.
#[must_use]
pub fn lapse(Lapsed(mut alert, why): Lapsed, series: SeriesKey, at: Timestamp) -> Transition {
    alert.state = match alert.state {
        AlertState::Firing | AlertState::Resolved => AlertState::Resolved,
        AlertState::Pending | AlertState::Cancelled => AlertState::Cancelled,
    };
    alert.resolved_ms = Some(at.as_millis());
    alert.summary = format!("{} (ended: {why})", alert.summary);
    Transition {
        alert: *alert,
        series,
        at,
    }
}

#[cfg(test)]
mod tests;
