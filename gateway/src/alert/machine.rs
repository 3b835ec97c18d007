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
//! - No-data runs on the time since the process started ([`Moment::uptime`]), so that a wall clock that jumps neither fires nor resolves;
//!   the deadline is counted from the last arrival, and from the start of the process for what was known before.
//! - Ids are made from rule, series and time of beginning: evaluated again after a crash, the same readings make the same alerts.
//!
//! Bounds: one small slot for each pair of rule and matching series, made when the series is first seen; at most `max_alerts` alerts at once,
//! more are counted and begin when there is room and the condition is still true; at most two timers a slot, and a few.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BinaryHeap},
    time::Duration,
};

use crate::{
    alert::{
        Alert, AlertState, Condition, Rule, Transition,
        condition::{Verdict, judge, nanos, sentence},
        glob, identity,
    },
    model::{Quality, Reading, SeriesKey, Timestamp, Unit, Value},
};

/// Began twice within this, an alert gets the next free nanosecond as its beginning: two alerts never share an id.
const SAME_BEGINNING: i64 = 1_000_000;
/// A silence that found no room for its alert asks again after this.
const ASK_AGAIN: Duration = Duration::from_secs(1);
/// So many timers may be left over beyond one a slot.
const SPARE_TIMERS: usize = 64;
/// No silence is shorter.
const SHORTEST_SILENCE: Duration = Duration::from_millis(1);

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
}

/// A rule with what is made of it once.
#[derive(Debug)]
struct Asked {
    rule: Rule,
    fingerprint: u32,
}

/// When to look at a slot again. It may have nothing to do by then.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Timer {
    at: Duration,
    series: u32,
    slot: u32,
}

/// A series that at least one rule is about.
#[derive(Debug)]
struct Watched {
    key: SeriesKey,
    labels: BTreeMap<String, String>,
    last_arrival: Duration,
    slots: Box<[Slot]>,
}

/// One rule on one series.
#[derive(Debug)]
struct Slot {
    rule: u32,
    /// When its timer comes. Timers of other times are left over and mean nothing.
    timer: Option<Duration>,
    last_began: Option<Timestamp>,
    active: Option<Box<Active>>,
}

/// A pending or firing alert.
#[derive(Debug)]
struct Active {
    alert: Alert,
    began: Timestamp,
    /// Measured time and arrival of the newest reading that kept it true.
    newest: Timestamp,
    arrived: Duration,
    /// Whether the newest reading was fresh enough that waiting after it counts.
    fresh: bool,
}

/// The parts that a change of one slot needs beside the slot.
struct Around<'a> {
    asked: &'a Asked,
    key: &'a SeriesKey,
    labels: &'a BTreeMap<String, String>,
    counts: &'a mut Counts,
    max_alerts: usize,
}

/// What caused a change.
#[derive(Clone, Copy)]
struct Cause<'a> {
    at: Timestamp,
    value: Option<&'a Value>,
    unit: Option<&'a Unit>,
}

impl Machine {
    /// With these rules and no series yet. Of rules with one name only the first is taken (the config refuses the others).
    #[must_use]
    pub fn new(rules: Vec<Rule>, max_alerts: usize) -> Self {
        let mut asked: Vec<Asked> = Vec::with_capacity(rules.len());
        for rule in rules {
            if asked.iter().all(|before| before.rule.name != rule.name) {
                let fingerprint = identity::fingerprint(&rule);
                asked.push(Asked { rule, fingerprint });
            }
        }
        Self {
            rules: asked,
            max_alerts,
            series: Vec::new(),
            slots: 0,
            timers: BinaryHeap::new(),
            counts: Counts::default(),
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
            .filter(|(_, asked)| glob::matches(&asked.rule.series, &name))
            .map(|(rule, _)| Slot {
                rule,
                timer: None,
                last_began: None,
                active: None,
            })
            .collect();
        if slots.is_empty() {
            return;
        }
        self.slots += slots.len();
        let watched = self.series[at].insert(Box::new(Watched {
            key: key.clone(),
            labels: labels.clone(),
            last_arrival: now.uptime,
            slots,
        }));
        for (slot_index, slot) in (0..).zip(&mut watched.slots) {
            let rule = &self.rules[slot.rule as usize].rule;
            let due = slot.due(rule, watched.last_arrival);
            slot.time(due, series, slot_index, &mut self.timers);
        }
    }

    /// Takes up an alert of an earlier run on a series that is watched.
    ///
    /// # Errors
    ///
    /// Why it can't go on, for people; then [`lapse`] ends it.
    pub fn resume(&mut self, series: u32, alert: Alert, now: Moment) -> Result<(), Lapsed> {
        let asked = |name: &str| self.rules.iter().position(|asked| asked.rule.name == name);
        let Some(rule) = asked(&alert.rule) else {
            return Err(Lapsed(alert, "its rule was removed"));
        };
        if !identity::is_of(&alert.id, self.rules[rule].fingerprint) {
            return Err(Lapsed(alert, "its rule was changed"));
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
            return Err(Lapsed(alert, "its rule is no longer about this series"));
        };
        if slot.active.is_some() {
            return Err(Lapsed(alert, "there is another one for the same"));
        }
        match alert.state {
            AlertState::Pending => self.counts.pending += 1,
            AlertState::Firing => self.counts.firing += 1,
            AlertState::Resolved | AlertState::Cancelled => return Ok(()),
        }
        let began = Timestamp::from_millis(alert.began_ms);
        slot.last_began = Some(began);
        slot.active = Some(Box::new(Active {
            // Waiting counts only once the replay has shown how fresh the newest reading is; silence needs no reading.
            fresh: matches!(self.rules[rule].rule.condition, Condition::NoDataFor { .. }),
            alert,
            began,
            newest: began,
            arrived: now.uptime,
        }));
        let due = slot.due(&self.rules[rule].rule, now.uptime);
        slot.time(due, series, index, &mut self.timers);
        Ok(())
    }

    /// Takes one reading of a watched series. `in_order`: it is the newest of its series by measured time. `earliest` gives the first
    /// number of the series in a span of measured time, both ends included. Adds to `out` what changed.
    pub fn observe(
        &mut self,
        series: u32,
        reading: &Reading,
        in_order: bool,
        now: Moment,
        earliest: impl Fn(Timestamp, Timestamp) -> Option<f64>,
        out: &mut Vec<Transition>,
    ) {
        let Some(watched) = heard(&mut self.series, series, reading, now) else {
            return;
        };
        let Watched {
            key,
            labels,
            last_arrival,
            slots,
        } = watched;
        let cause = Cause {
            at: reading.time,
            value: Some(&reading.value),
            unit: reading.unit.as_ref(),
        };
        for (index, slot) in (0..).zip(slots.iter_mut()) {
            let asked = &self.rules[slot.rule as usize];
            let mut around = Around {
                asked,
                key,
                labels,
                counts: &mut self.counts,
                max_alerts: self.max_alerts,
            };
            if let Condition::NoDataFor { .. } = asked.rule.condition {
                let again = Cause {
                    at: now.clock,
                    ..cause
                };
                slot.end(&mut around, again, out);
            } else if in_order {
                let verdict = judge(
                    &asked.rule.condition,
                    &reading.value,
                    reading.time,
                    &earliest,
                );
                slot.judged(verdict, &mut around, cause, now, out);
            } else {
                continue;
            }
            let due = slot.due(&asked.rule, *last_arrival);
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
            if let Some(active) = &mut slot.active
                && !matches!(rule.condition, Condition::NoDataFor { .. })
                && reading.time >= active.newest
            {
                active.kept_true(reading.time, rule.hold, now);
                let due = slot.due(rule, now.uptime);
                slot.time(due, series, index, &mut self.timers);
            }
        }
        self.drop_stale_timers();
    }

    /// When [`Machine::tick`] has something to look at, by [`Moment::uptime`].
    #[must_use]
    pub fn next_timer(&self) -> Option<Duration> {
        self.timers.peek().map(|timer| timer.0.at)
    }

    /// Does what is due by now. Adds to `out` what changed.
    pub fn tick(&mut self, now: Moment, out: &mut Vec<Transition>) {
        while let Some(Reverse(timer)) = self.timers.peek().copied()
            && timer.at <= now.uptime
        {
            self.timers.pop();
            let Some(Some(watched)) = self.series.get_mut(timer.series as usize) else {
                continue;
            };
            let Watched {
                key,
                labels,
                last_arrival,
                slots,
            } = &mut **watched;
            let slot = &mut slots[timer.slot as usize];
            if slot.timer != Some(timer.at) {
                continue;
            }
            slot.timer = None;
            let asked = &self.rules[slot.rule as usize];
            if slot
                .due(&asked.rule, *last_arrival)
                .is_some_and(|due| due <= now.uptime)
            {
                let mut around = Around {
                    asked,
                    key,
                    labels,
                    counts: &mut self.counts,
                    max_alerts: self.max_alerts,
                };
                if !slot.waited(&mut around, now, out) {
                    let again = Some(now.uptime.saturating_add(ASK_AGAIN));
                    slot.time(again, timer.series, timer.slot, &mut self.timers);
                    continue;
                }
            }
            let due = slot.due(&asked.rule, *last_arrival);
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
    watched.last_arrival = now.uptime;
    Some(watched)
}

/// An alert that cannot go on, and why.
#[derive(Clone, Debug, PartialEq)]
pub struct Lapsed(pub Alert, pub &'static str);

/// Ends an alert that lapsed; its summary says why.
#[must_use]
pub fn lapse(Lapsed(mut alert, why): Lapsed, series: SeriesKey, at: Timestamp) -> Transition {
    alert.state = match alert.state {
        AlertState::Firing | AlertState::Resolved => AlertState::Resolved,
        AlertState::Pending | AlertState::Cancelled => AlertState::Cancelled,
    };
    alert.resolved_ms = Some(at.as_millis());
    alert.summary = format!(
        "{} (ended at the start of the gateway: {why})",
        alert.summary
    );
    Transition { alert, series, at }
}

impl Slot {
    /// A value said something.
    fn judged(
        &mut self,
        verdict: Verdict,
        around: &mut Around<'_>,
        cause: Cause<'_>,
        now: Moment,
        out: &mut Vec<Transition>,
    ) {
        let hold = around.asked.rule.hold;
        if let Some(active) = &self.active
            && active.alert.state == AlertState::Pending
            && cause.at.0.saturating_add(SAME_BEGINNING) < active.began.0
        {
            // The time of the series was taken back: what seemed to begin in the future did not.
            self.end(around, cause, out);
        }
        match (verdict, &mut self.active) {
            (Verdict::True, None) => {
                self.begin(around, cause, now, out);
            }
            (Verdict::True | Verdict::Between, Some(active)) => {
                active.kept_true(cause.at, hold, now);
                if active.alert.state == AlertState::Pending && active.held() >= nanos(hold) {
                    active.fire(around, cause, out);
                }
            }
            (Verdict::Clear, Some(_)) => self.end(around, cause, out),
            (Verdict::Clear | Verdict::Between, None) | (Verdict::Nothing, _) => {}
        }
    }

    /// What was waited for is there; `false` if an alert should begin and there are too many.
    fn waited(&mut self, around: &mut Around<'_>, now: Moment, out: &mut Vec<Transition>) -> bool {
        let silent = matches!(around.asked.rule.condition, Condition::NoDataFor { .. });
        match &mut self.active {
            None => {
                let cause = Cause {
                    at: now.clock,
                    value: None,
                    unit: None,
                };
                self.begin(around, cause, now, out)
            }
            Some(active) => {
                let at = if silent {
                    now.clock
                } else {
                    Timestamp(active.began.0.saturating_add(nanos(around.asked.rule.hold)))
                };
                active.fire_at(around, at, out);
                true
            }
        }
    }

    fn begin(
        &mut self,
        around: &mut Around<'_>,
        cause: Cause<'_>,
        now: Moment,
        out: &mut Vec<Transition>,
    ) -> bool {
        if around.counts.pending + around.counts.firing >= around.max_alerts {
            around.counts.refused += 1;
            return false;
        }
        let rule = &around.asked.rule;
        let began = match self.last_began {
            Some(last) if (0..SAME_BEGINNING).contains(&(last.0.saturating_sub(cause.at.0))) => {
                Timestamp(last.0.saturating_add(1))
            }
            _ => cause.at,
        };
        self.last_began = Some(began);
        let series = around.key.to_string();
        let mut labels = around.labels.clone();
        labels.extend(rule.labels.clone());
        let mut active = Box::new(Active {
            alert: Alert {
                id: identity::id(around.asked.fingerprint, &rule.name, &series, began),
                rule: rule.name.clone(),
                series: series.into(),
                state: AlertState::Pending,
                severity: rule.severity,
                summary: String::new(),
                value: None,
                unit: None,
                labels,
                began_ms: began.as_millis(),
                fired_ms: None,
                resolved_ms: None,
                webhooks: rule.webhooks.clone(),
            },
            began,
            newest: cause.at,
            arrived: now.uptime,
            fresh: false,
        });
        active.kept_true(cause.at, rule.hold, now);
        around.counts.pending += 1;
        if rule.hold.is_zero() {
            active.fire(around, cause, out);
        } else {
            active.say(around, cause);
            out.push(active.transition(around.key, cause.at));
        }
        self.active = Some(active);
        true
    }

    /// It is over, if it was.
    fn end(&mut self, around: &mut Around<'_>, cause: Cause<'_>, out: &mut Vec<Transition>) {
        let Some(mut active) = self.active.take() else {
            return;
        };
        if active.alert.state == AlertState::Firing {
            around.counts.firing -= 1;
            active.alert.state = AlertState::Resolved;
        } else {
            around.counts.pending -= 1;
            active.alert.state = AlertState::Cancelled;
        }
        active.alert.resolved_ms = Some(cause.at.as_millis());
        active.alert.value = cause.value.cloned();
        active.alert.unit = cause.unit.map(|unit| unit.0.clone());
        out.push(active.transition(around.key, cause.at));
    }

    /// When waiting alone changes this slot.
    fn due(&self, rule: &Rule, last_arrival: Duration) -> Option<Duration> {
        match (&self.active, rule.condition) {
            (None, Condition::NoDataFor { silence }) => {
                Some(last_arrival.saturating_add(silence.max(SHORTEST_SILENCE)))
            }
            (Some(active), _) if active.alert.state == AlertState::Pending && active.fresh => {
                let held = u64::try_from(active.held()).unwrap_or(0);
                let rest = rule.hold.saturating_sub(Duration::from_nanos(held));
                Some(active.arrived.saturating_add(rest))
            }
            _ => None,
        }
    }

    /// Sets the timer, if one is needed and none comes by then. A timer that comes too early looks again: so a reading that only
    /// puts the time off costs nothing.
    fn time(
        &mut self,
        due: Option<Duration>,
        series: u32,
        slot: u32,
        timers: &mut BinaryHeap<Reverse<Timer>>,
    ) {
        if let Some(at) = due
            && self.timer.is_none_or(|timer| at < timer)
        {
            self.timer = Some(at);
            timers.push(Reverse(Timer { at, series, slot }));
        }
    }
}

impl Active {
    /// A reading left it true.
    fn kept_true(&mut self, time: Timestamp, hold: Duration, now: Moment) {
        self.newest = time;
        self.arrived = now.uptime;
        self.fresh = now.clock.0.saturating_sub(time.0) <= nanos(hold);
    }

    /// For how long readings show it true, in nanoseconds.
    const fn held(&self) -> i64 {
        self.newest.0.saturating_sub(self.began.0)
    }

    fn fire(&mut self, around: &mut Around<'_>, cause: Cause<'_>, out: &mut Vec<Transition>) {
        self.say(around, cause);
        self.fire_at(around, cause.at, out);
    }

    fn fire_at(&mut self, around: &mut Around<'_>, at: Timestamp, out: &mut Vec<Transition>) {
        around.counts.pending -= 1;
        around.counts.firing += 1;
        self.alert.state = AlertState::Firing;
        self.alert.fired_ms = Some(at.as_millis());
        out.push(self.transition(around.key, at));
    }

    fn say(&mut self, around: &Around<'_>, cause: Cause<'_>) {
        let rule = &around.asked.rule;
        self.alert.value = cause.value.cloned();
        self.alert.unit = cause.unit.map(|unit| unit.0.clone());
        self.alert.summary = if rule.summary.is_empty() {
            sentence(&rule.condition, around.key, cause.value, cause.unit)
        } else {
            rule.summary.clone()
        };
    }

    fn transition(&self, series: &SeriesKey, at: Timestamp) -> Transition {
        Transition {
            alert: self.alert.clone(),
            series: series.clone(),
            at,
        }
    }
}

#[cfg(test)]
mod tests;
