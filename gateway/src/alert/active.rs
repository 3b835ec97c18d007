//! An alert under way: what its phase allows next, and when waiting alone brings it about: pure arithmetic on measured time. And what is
//! said of it when it changes.
//!
//! What holds for each wait: readings may show that it is over; when none comes, the rest of it must pass since the arrival of the newest
//! one; and that counts only if this one was measured no longer before it arrived than the whole wait, so that yesterday's readings, sent
//! today, change nothing by waiting.

use std::time::Duration;

use super::{
    Alert, AlertState, Change, Life, Memory, Moment, Rule, Transition,
    condition::{self, Verdict, nanos, sentence},
    heard::{FAIR_CHANCE, Heard},
    record::{Past, Phase, Place},
    slot::{Around, Seen},
};
use crate::model::Timestamp;

/// A pending or firing alert.
#[derive(Debug)]
pub(super) struct Active {
    pub(super) alert: Alert,
    pub(super) phase: Phase,
    /// Measured time of the newest reading that was judged, and when it arrived.
    pub(super) newest: Timestamp,
    arrived: Duration,
    /// How old the newest reading was when it arrived.
    lag: i64,
    /// The same as far as anybody knows, also of what an earlier run judged; for [`Active::expires_in`].
    age: i64,
}

impl Active {
    /// Begun by what was measured then.
    pub(super) const fn new(alert: Alert, began: Timestamp, now: Moment) -> Self {
        Self {
            alert,
            phase: Phase {
                began,
                fired: began,
                since: began,
                clear: false,
                place: Place(0, 0),
            },
            newest: began,
            arrived: now.uptime,
            lag: now.clock.0.saturating_sub(began.0),
            age: now.clock.0.saturating_sub(began.0),
        }
    }

    /// Of an earlier run. Waiting counts only once the replay has shown how old the newest reading is; silence needs no reading.
    pub(super) fn resumed(alert: Alert, phase: Phase, rule: &Rule, now: Moment) -> Self {
        Self {
            alert,
            phase,
            newest: phase.since,
            arrived: now.uptime,
            lag: if is_silence(rule) { 0 } else { i64::MAX },
            age: if now.clock.is_set() && phase.since.is_set() {
                now.clock.0.saturating_sub(phase.since.0)
            } else {
                0
            },
        }
    }

    /// What a condition about values makes of this moment: the time of the reading. Silence runs on the time since the process
    /// started, whatever the clock says.
    pub(super) fn elapsed(&self, now: Moment) -> Timestamp {
        after(self.newest, now.uptime.saturating_sub(self.arrived))
    }

    /// A reading was judged.
    pub(super) fn see(&mut self, time: Timestamp, lag: i64, now: Moment) {
        self.newest = time;
        self.arrived = now.uptime;
        (self.lag, self.age) = (lag, lag);
        if self.alert.state == AlertState::Firing {
            // The time of the series may have been taken back: no wait ends in a future that was none.
            self.phase.since = self.phase.since.min(time);
            self.phase.fired = self.phase.fired.min(time);
        }
    }

    /// A reading that an earlier run judged. What is up to the last record is in it already, and only says how old the newest one is.
    /// So is each turn of the condition but for those of an alert that flaps: what a condition looks back on may not be there yet.
    pub(super) fn recall(&mut self, verdict: Verdict, time: Timestamp, place: Place, now: Moment) {
        let lag = now.clock.0.saturating_sub(time.0);
        // An earlier version of the gateway wrote down only times.
        let is_known = if self.phase.place == Place::default() {
            time < self.newest
        } else {
            place <= self.phase.place
        };
        if is_known {
            if self.phase.place != Place::default() {
                (self.newest, self.arrived) = (time, now.uptime);
                (self.lag, self.age) = (lag, lag);
            }
            return;
        }
        if verdict == Verdict::Nothing {
            return;
        }
        self.see(time, lag, now);
        if self.alert.state == AlertState::Firing && self.is_flapping() {
            self.turn(verdict, time);
        }
    }

    /// What a verdict makes of a firing alert; whether its condition changed.
    pub(super) fn turn(&mut self, verdict: Verdict, time: Timestamp) -> bool {
        let clear = match verdict {
            Verdict::True => false,
            Verdict::Clear => true,
            Verdict::Between | Verdict::Nothing => self.phase.clear,
        };
        let changed = clear != self.phase.clear;
        if changed {
            self.phase.clear = clear;
            self.phase.since = time;
            self.alert.marks.clear_since_ms = clear.then(|| time.as_millis());
        }
        changed
    }

    pub(super) const fn is_flapping(&self) -> bool {
        self.alert.marks.flapping_since_ms.is_some()
    }

    /// Whether a reading of its newest time fires a pending alert.
    pub(super) fn may_fire(&self, rule: &Rule, past: &Past) -> bool {
        self.newest >= self.earliest(rule, past) && rule.life.during.is_open(self.newest)
    }

    /// When a pending alert fires if nothing else comes; `None`: never.
    pub(super) fn fires_at(&self, rule: &Rule, past: &Past) -> Option<Timestamp> {
        let earliest = self.earliest(rule, past).max(self.newest);
        rule.life.during.next(earliest)
    }

    fn earliest(&self, rule: &Rule, past: &Past) -> Timestamp {
        let held = after(self.phase.began, rule.hold);
        match past.ended {
            // Not of a time that was taken back.
            Some(ended)
                if ended.0.saturating_sub(self.phase.began.0) <= nanos(rule.life.min_off) =>
            {
                held.max(after(ended, rule.life.min_off))
            }
            _ => held,
        }
    }

    /// When a firing alert whose condition is over is over itself.
    pub(super) fn over_at(&self, life: &Life) -> Timestamp {
        let keep = if self.is_flapping() {
            life.keep_firing_for.max(life.calm())
        } else {
            life.keep_firing_for
        };
        after(self.phase.since, keep).max(after(self.phase.fired, life.min_on))
    }

    /// Whether the readings show that it is over.
    pub(super) fn is_over(&self, life: &Life) -> bool {
        self.phase.clear && self.newest >= self.over_at(life)
    }

    /// When it has fired for as long as its rule lets it.
    pub(super) fn expires_at(&self, life: &Life) -> Option<Timestamp> {
        let fires = self.alert.state == AlertState::Firing && !life.resolve_after.is_zero();
        fires.then(|| after(self.phase.fired, life.resolve_after))
    }

    /// Whether the readings show that it has.
    pub(super) fn is_expired(&self, life: &Life) -> bool {
        self.expires_at(life).is_some_and(|at| self.newest >= at)
    }

    /// When waiting shows that it has. Unlike other waits this one counts how old the newest reading is already, also after a restart: no
    /// reading may come any more, and reboots must not keep the alert firing. What came late, or waits for a gateway that was off, gets the
    /// time in which the rest of it comes.
    pub(super) fn expires_in(&self, life: &Life) -> Option<Duration> {
        let until = self.expires_at(life)?;
        let age = self.age.max(0);
        let rest = until.0.saturating_sub(self.newest.0).saturating_sub(age);
        let rest = Duration::from_nanos(u64::try_from(rest).unwrap_or(0));
        let least = if age > nanos(FAIR_CHANCE) {
            FAIR_CHANCE.min(life.resolve_after)
        } else {
            Duration::ZERO
        };
        Some(self.arrived.saturating_add(rest.max(least)))
    }

    /// When it calms if its condition stays true.
    fn calm_at(&self, life: &Life) -> Timestamp {
        after(self.phase.since, life.calm())
    }

    /// Whether the readings show that it flaps no more, and is true.
    pub(super) fn is_calm(&self, life: &Life) -> bool {
        self.is_flapping() && !self.phase.clear && self.newest >= self.calm_at(life)
    }

    /// When waiting ends a firing alert.
    pub(super) fn ends_in(&self, life: &Life) -> Option<Duration> {
        self.phase
            .clear
            .then(|| self.when(self.over_at(life), self.phase.since))
            .flatten()
    }

    /// When waiting shows that it flaps no more.
    pub(super) fn calms_in(&self, life: &Life) -> Option<Duration> {
        (self.is_flapping() && !self.phase.clear)
            .then(|| self.when(self.calm_at(life), self.phase.since))
            .flatten()
    }

    /// When it is to be marked stale; `heard`: the last arrival.
    pub(super) fn stales_in(&self, rule: &Rule, heard: Heard) -> Option<Duration> {
        let after = rule.life.stale_after;
        let unmarked = self.alert.marks.stale_since_ms.is_none();
        (unmarked && !after.is_zero() && !is_silence(rule)).then(|| heard.after(after))
    }

    /// When silence that was over is there again.
    pub(super) fn silent_again_in(
        &self,
        heard: Heard,
        silence: Option<Duration>,
    ) -> Option<Duration> {
        silence
            .filter(|_| self.phase.clear)
            .map(|silence| heard.deadline(silence))
    }

    /// When waiting alone changes it. `silence`: what its condition waits for, if it does.
    pub(super) fn due(
        &self,
        rule: &Rule,
        past: &Past,
        heard: Heard,
        silence: Option<Duration>,
    ) -> Option<Duration> {
        if self.alert.state == AlertState::Pending {
            let fires_at = self.fires_at(rule, past)?;
            return self.when(fires_at, self.phase.began);
        }
        [
            self.ends_in(&rule.life),
            self.calms_in(&rule.life),
            self.expires_in(&rule.life),
            self.stales_in(rule, heard),
            self.silent_again_in(heard, silence),
        ]
        .into_iter()
        .flatten()
        .min()
    }

    /// When it is `until` if no reading comes, of a wait that began at `from`.
    fn when(&self, until: Timestamp, from: Timestamp) -> Option<Duration> {
        if self.lag > until.0.saturating_sub(from.0) {
            return None;
        }
        let rest = u64::try_from(until.0.saturating_sub(self.newest.0)).unwrap_or(0);
        Some(self.arrived.saturating_add(Duration::from_nanos(rest)))
    }

    /// The wait that was thought to end now goes on from here: the clock said otherwise meanwhile.
    pub(super) const fn wait_on(&mut self, now: Moment) {
        self.newest = now.clock;
        self.arrived = now.uptime;
        self.age = 0;
    }

    /// The clock that stamps the readings jumped.
    pub(super) fn shift(&mut self, by: i64) {
        self.phase.shift(by);
        self.newest = Timestamp(self.newest.0.saturating_add(by));
        if self.phase.clear {
            self.alert.marks.clear_since_ms = Some(self.phase.since.as_millis());
        }
    }

    pub(super) fn note(&mut self, seen: Seen<'_>) {
        self.alert.value = seen.value.cloned();
        self.alert.unit = seen.unit.map(|unit| unit.0.clone());
    }

    pub(super) fn say(&mut self, around: &Around<'_>, seen: Seen<'_>) {
        let rule = &around.asked.rule;
        self.note(seen);
        self.alert.summary = if rule.summary.is_empty() {
            sentence(&rule.condition, around.key, seen.value, seen.unit)
        } else {
            rule.summary.clone()
        };
        if let Some(usual) = around.usual {
            let often = condition::span(usual.gap);
            let words = format!(" (it usually comes at least every {often})");
            self.alert.summary.push_str(&words);
        }
        if around.never {
            self.alert.summary.push_str(" (never received)");
        }
        if let Some(found) = around.score {
            let found = condition::score(found, seen.unit);
            self.alert.summary = format!("{} ({found})", self.alert.summary);
        }
    }

    /// Says until when it is pending, if it is for another reason than that it must last.
    pub(super) fn note_wait(&mut self, rule: &Rule, past: &Past) {
        let held = self.phase.began.0.saturating_add(nanos(rule.hold));
        self.alert.marks.waits_until_ms = self
            .fires_at(rule, past)
            .filter(|at| at.0 > held)
            .map(Timestamp::as_millis);
    }

    pub(super) fn transition(
        &mut self,
        change: Change,
        memory: Memory,
        around: &Around<'_>,
        seen: Seen<'_>,
    ) -> Transition {
        let marks = &mut self.alert.marks;
        marks.change = Some(change);
        marks.cause = Some(seen.cause);
        marks.rule_version = around.asked.version.clone();
        Transition {
            alert: self.alert.clone(),
            series: around.key.clone(),
            at: seen.at,
            memory: Some(Box::new(memory)),
        }
    }
}

pub(super) fn is_silence(rule: &Rule) -> bool {
    rule.condition.is_silence()
}

fn after(time: Timestamp, span: Duration) -> Timestamp {
    Timestamp(time.0.saturating_add(nanos(span)))
}
