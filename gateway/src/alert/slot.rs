//! One rule on one series: its alert, if there is one, and when to look at it again. The machine says when; this is what happens.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BinaryHeap},
    time::Duration,
};

use crate::{
    alert::{
        Alert, AlertState, Condition, Counts, Moment, Rule, Transition, Troubles,
        anomaly::Score,
        condition::{Memory, Verdict, nanos, score, sentence},
        heard::Heard,
        identity,
    },
    model::{SeriesKey, Timestamp, Unit, Value},
};

/// Began twice within this, an alert gets the next free nanosecond as its beginning: two alerts never share an id.
const SAME_BEGINNING: i64 = 1_000_000;

/// One rule on one series.
#[derive(Debug)]
pub(super) struct Slot {
    pub(super) rule: u32,
    /// When its timer comes. Timers of other times are left over and mean nothing.
    pub(super) timer: Option<Duration>,
    last_began: Option<Timestamp>,
    pub(super) active: Option<Box<Active>>,
    /// What its condition remembers of the series; none before the first reading, and for most conditions.
    pub(super) memory: Option<Box<Memory>>,
}

/// A pending or firing alert.
#[derive(Debug)]
pub(super) struct Active {
    pub(super) alert: Alert,
    began: Timestamp,
    /// Measured time and arrival of the newest reading that kept it true.
    pub(super) newest: Timestamp,
    arrived: Duration,
    /// Whether the newest reading was fresh enough that waiting after it counts.
    fresh: bool,
}

/// The parts that a change of one slot needs beside the slot.
pub(super) struct Around<'a> {
    pub(super) asked: &'a Asked,
    pub(super) key: &'a SeriesKey,
    pub(super) labels: &'a BTreeMap<String, String>,
    pub(super) counts: &'a mut Counts,
    pub(super) max_alerts: usize,
    /// How unusual the newest reading was, if the condition learns what is usual.
    pub(super) score: Option<Score>,
    /// Nothing ever came of this series.
    pub(super) never: bool,
}

/// What caused a change.
#[derive(Clone, Copy)]
pub(super) struct Cause<'a> {
    pub(super) at: Timestamp,
    pub(super) value: Option<&'a Value>,
    pub(super) unit: Option<&'a Unit>,
}

/// A rule with what is made of it once.
#[derive(Debug)]
pub(super) struct Asked {
    pub(super) rule: Rule,
    pub(super) fingerprint: u32,
    pub(super) undecided: Troubles,
}

/// When to look at a slot again. It may have nothing to do by then.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Timer {
    pub(super) at: Duration,
    pub(super) series: u32,
    pub(super) slot: u32,
}

impl Slot {
    /// Nothing yet.
    pub(super) const fn new(rule: u32) -> Self {
        Self {
            rule,
            timer: None,
            last_began: None,
            active: None,
            memory: None,
        }
    }

    /// Takes up a pending or firing alert of an earlier run.
    pub(super) fn resume(&mut self, alert: Alert, condition: &Condition, now: Moment) {
        let began = Timestamp::from_millis(alert.began_ms);
        self.last_began = Some(began);
        self.active = Some(Box::new(Active {
            alert,
            began,
            newest: began,
            arrived: now.uptime,
            // Waiting counts only once the replay has shown how fresh the newest reading is; silence needs no reading.
            fresh: matches!(condition, Condition::NoDataFor { .. }),
        }));
    }

    /// A value said something.
    pub(super) fn judged(
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

    /// The time that was waited for is there; `false` if an alert should begin and there are too many.
    pub(super) fn waited(
        &mut self,
        around: &mut Around<'_>,
        now: Moment,
        out: &mut Vec<Transition>,
    ) -> bool {
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
    pub(super) fn end(
        &mut self,
        around: &mut Around<'_>,
        cause: Cause<'_>,
        out: &mut Vec<Transition>,
    ) {
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

    /// The clock that stamps the readings jumped.
    pub(super) fn clock_jumped(&mut self, key: &SeriesKey, by: i64, out: &mut Vec<Transition>) {
        let Some(active) = &mut self.active else {
            return;
        };
        active.began = Timestamp(active.began.0.saturating_add(by));
        active.newest = Timestamp(active.newest.0.saturating_add(by));
        // Who was told of a beginning was told once; what is pending begins, by the clock as it is now, when it did.
        if active.alert.state == AlertState::Pending {
            active.alert.began_ms = active.began.as_millis();
            out.push(active.transition(key, active.newest));
        }
    }

    /// When waiting alone changes this slot.
    pub(super) fn due(&self, rule: &Rule, heard: &Heard) -> Option<Duration> {
        match (&self.active, &rule.condition) {
            (None, Condition::NoDataFor { silence }) => Some(heard.deadline(*silence)),
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
    pub(super) fn time(
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
    pub(super) fn kept_true(&mut self, time: Timestamp, hold: Duration, now: Moment) {
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
        if around.never {
            self.alert.summary.push_str(" (never received)");
        }
        if let Some(found) = around.score {
            let found = score(found, cause.unit);
            self.alert.summary = format!("{} ({found})", self.alert.summary);
        }
    }

    fn transition(&self, series: &SeriesKey, at: Timestamp) -> Transition {
        Transition {
            alert: self.alert.clone(),
            series: series.clone(),
            at,
        }
    }
}
