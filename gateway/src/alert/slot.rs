//! One rule on one series: its alert, if there is one, and when to look at it again. The machine says when; this is what happens.

mod ending;

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BinaryHeap},
    time::Duration,
};

use crate::{
    alert::{
        Alert, AlertState, Cause, Change, Closing, Condition, Counts, Marks, Moment, Rule,
        Transition, Troubles, View,
        active::{Active, is_silence},
        anomaly::Score,
        condition::{self, Look, Undecided, Verdict, judge},
        heard::Heard,
        identity,
        record::{Memory, Past, Phase, Place},
    },
    model::{Reading, SeriesKey, Timestamp, Unit, Value},
};

/// Began twice within this, an alert gets the next free nanosecond as its beginning: two alerts never share an id.
const SAME_BEGINNING: i64 = 1_000_000;

/// One rule on one series.
#[derive(Debug)]
pub(super) struct Slot {
    pub(super) rule: u32,
    /// When its timer comes. Timers of other times are left over and mean nothing.
    pub(super) timer: Option<Duration>,
    pub(super) past: Option<Box<Past>>,
    pub(super) active: Option<Box<Active>>,
    /// What its condition remembers of the series; none before the first reading, and for most conditions.
    pub(super) memory: Option<Box<condition::Memory>>,
    /// A person closed its alert, or it expired, and its condition was not clear since.
    pub(super) closed: bool,
}

/// The parts that a change of one slot needs beside the slot.
pub(super) struct Around<'a> {
    pub(super) asked: &'a Asked,
    pub(super) key: &'a SeriesKey,
    pub(super) labels: &'a BTreeMap<String, String>,
    pub(super) counts: &'a mut Counts,
    pub(super) max_alerts: usize,
    /// The reading that is looked at, or was last.
    pub(super) place: Place,
    /// A rule that this one depends on fires for the same device.
    pub(super) held_back: bool,
    /// How unusual the newest reading was, if the condition learns what is usual.
    pub(super) score: Option<Score>,
    /// How often something usually comes, if the condition learns that.
    pub(super) usual: Option<condition::Usual>,
    /// Nothing ever came of this series.
    pub(super) never: bool,
    /// Why the condition could not be decided, if so.
    pub(super) undecided: Option<Undecided>,
    /// What happened to alerts that end while their condition is true.
    pub(super) closings: Vec<Closing>,
}

/// What is seen of a series at a moment.
#[derive(Clone, Copy)]
pub(super) struct Seen<'a> {
    pub(super) at: Timestamp,
    pub(super) value: Option<&'a Value>,
    pub(super) unit: Option<&'a Unit>,
    pub(super) cause: Cause,
}

/// A rule with what is made of it once.
#[derive(Debug)]
pub(super) struct Asked {
    pub(super) rule: Rule,
    pub(super) fingerprint: u32,
    pub(super) version: smol_str::SmolStr,
    /// How many rules stand one on another below it.
    pub(super) rank: u8,
    pub(super) undecided: Troubles,
}

/// When to look at a slot again. It may have nothing to do by then.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Timer {
    pub(super) at: Duration,
    pub(super) series: u32,
    pub(super) slot: u32,
}

impl Seen<'_> {
    /// No reading, only time.
    pub(super) const fn nothing(at: Timestamp, cause: Cause) -> Self {
        Seen {
            at,
            value: None,
            unit: None,
            cause,
        }
    }
}

impl Slot {
    /// Nothing yet.
    pub(super) const fn new(rule: u32) -> Self {
        Self {
            rule,
            timer: None,
            past: None,
            active: None,
            memory: None,
            closed: false,
        }
    }

    /// Takes up a pending or firing alert of an earlier run. `phase`: where it stood, if that is known.
    pub(super) fn resume(&mut self, alert: Alert, phase: Option<Phase>, rule: &Rule, now: Moment) {
        let phase = phase.unwrap_or_else(|| Phase::of(&alert));
        self.past.get_or_insert_default().began = Some(phase.began);
        self.active = Some(Box::new(Active::resumed(alert, phase, rule, now)));
    }

    /// What a reading says to the condition.
    pub(super) fn judge(
        &mut self,
        reading: &Reading,
        around: &mut Around<'_>,
        look: &Look<'_, impl View>,
    ) -> Verdict {
        let condition = &around.asked.rule.condition;
        let verdict = judge(condition, &mut self.memory, &reading.value, look);
        around.score = self.score();
        verdict.unwrap_or_else(|why| {
            around.undecided = Some(why);
            Verdict::Nothing
        })
    }

    /// How unusual the newest reading was, if the condition learns what is usual.
    pub(super) fn score(&self) -> Option<Score> {
        self.memory.as_ref().and_then(|memory| memory.score())
    }

    /// A value said something.
    pub(super) fn judged(
        &mut self,
        verdict: Verdict,
        around: &mut Around<'_>,
        seen: Seen<'_>,
        now: Moment,
        out: &mut Vec<Transition>,
    ) {
        if verdict == Verdict::Nothing {
            return;
        }
        if let Some(active) = &self.active
            && active.alert.state == AlertState::Pending
            && seen.at.0.saturating_add(SAME_BEGINNING) < active.phase.began.0
        {
            // The time of the series was taken back: what seemed to begin in the future did not.
            self.end(around, seen, out);
        }
        if self.stands_back(
            around,
            Seen {
                cause: Cause::Dependence,
                ..seen
            },
            out,
        ) {
            return;
        }
        match (&self.active, verdict) {
            (None, Verdict::True) if !around.held_back => {
                self.begin(around, seen, now, out);
            }
            (None, _) => {}
            (Some(active), Verdict::Clear) if active.alert.state == AlertState::Pending => {
                self.end(around, seen, out);
            }
            (Some(active), _) => {
                let (time, lag) = if is_silence(&around.asked.rule) {
                    (active.elapsed(now), 0)
                } else {
                    (seen.at, now.clock.0.saturating_sub(seen.at.0))
                };
                self.goes_on(verdict, (time, lag), around, seen, now, out);
            }
        }
    }

    /// What is pending comes to nothing while a rule fires that this one depends on; whether that was so.
    pub(super) fn stands_back(
        &mut self,
        around: &mut Around<'_>,
        seen: Seen<'_>,
        out: &mut Vec<Transition>,
    ) -> bool {
        let pending = self
            .active
            .as_ref()
            .is_some_and(|active| active.alert.state == AlertState::Pending);
        let stands_back = pending && around.held_back;
        if stands_back {
            self.end(around, seen, out);
        }
        stands_back
    }

    /// There is an alert, and what was seen does not simply end it.
    fn goes_on(
        &mut self,
        verdict: Verdict,
        (time, lag): (Timestamp, i64),
        around: &mut Around<'_>,
        seen: Seen<'_>,
        now: Moment,
        out: &mut Vec<Transition>,
    ) {
        let rule = &around.asked.rule;
        let Some(active) = &mut self.active else {
            return;
        };
        active.see(time, lag, now);
        if active.alert.state == AlertState::Pending {
            if active.may_fire(rule, self.past.get_or_insert_default()) {
                active.say(around, seen);
                self.fire(around, seen, out);
            }
            return;
        }
        let turned = active.turn(verdict, time);
        if active.is_over(&rule.life) {
            self.end(around, seen, out);
        } else if active.is_expired(&rule.life) {
            self.expire(around, now, out);
        } else if active.is_calm(&rule.life) {
            self.calm(around, seen, out);
        } else if turned && !active.is_flapping() {
            let change = if active.phase.clear {
                active.note(seen);
                Change::Cleared
            } else {
                active.say(around, seen);
                Change::TrueAgain
            };
            self.tell(change, around, seen, out);
        }
    }

    /// A reading that an earlier run judged, and counted if it could not be: it changes nothing that was said, but waits go on from it.
    pub(super) fn recalled(
        &mut self,
        reading: &Reading,
        place: Place,
        now: Moment,
        rule: &Rule,
        look: &Look<'_, impl View>,
    ) {
        let (value, time) = (&reading.value, reading.time);
        self.arrived(rule, reading.received);
        match &mut self.active {
            Some(active) if !is_silence(rule) => {
                let verdict = judge(&rule.condition, &mut self.memory, value, look);
                active.recall(verdict.unwrap_or(Verdict::Nothing), time, place, now);
            }
            _ => condition::recall(&rule.condition, &mut self.memory, value, time),
        }
    }

    /// The time that was waited for is there; `false` if an alert should begin and there are too many.
    pub(super) fn waited(
        &mut self,
        around: &mut Around<'_>,
        now: Moment,
        heard: Heard,
        out: &mut Vec<Transition>,
    ) -> bool {
        let rule = &around.asked.rule;
        let silent = is_silence(rule);
        let silence = self.silence(rule, heard);
        if self.stands_back(around, Seen::nothing(now.clock, Cause::Dependence), out) {
            return true;
        }
        let Some(active) = &mut self.active else {
            let silence = Seen::nothing(now.clock, Cause::Silence);
            return around.held_back || self.begin(around, silence, now, out);
        };
        if active.alert.state == AlertState::Pending {
            let past = self.past.get_or_insert_default();
            let (at, cause) = match active.fires_at(rule, past) {
                Some(at) if !silent => (at, Cause::Waiting),
                _ => (now.clock, Cause::Silence),
            };
            if rule.life.during.is_open(at) {
                self.fire(around, Seen::nothing(at, cause), out);
            } else {
                active.wait_on(now);
            }
            return true;
        }
        let is_due = |due: Option<Duration>| due.is_some_and(|due| due <= now.uptime);
        if is_due(active.silent_again_in(heard, silence)) {
            active.see(active.elapsed(now), 0, now);
            active.turn(Verdict::True, active.newest);
            if !active.is_flapping() {
                let silence = Seen::nothing(now.clock, Cause::Silence);
                self.tell(Change::TrueAgain, around, silence, out);
            }
        } else if is_due(active.ends_in(&rule.life)) {
            let at = if silent {
                now.clock
            } else {
                active.over_at(&rule.life)
            };
            self.end(around, Seen::nothing(at, Cause::Waiting), out);
        } else if is_due(active.expires_in(&rule.life)) {
            self.expire(around, now, out);
        } else if is_due(active.calms_in(&rule.life)) {
            self.calm(around, Seen::nothing(now.clock, Cause::Waiting), out);
        }
        let stales = self.active.as_ref().map(|a| a.stales_in(rule, heard));
        if is_due(stales.flatten()) {
            self.went_stale(around, now, out);
        }
        true
    }

    fn begin(
        &mut self,
        around: &mut Around<'_>,
        seen: Seen<'_>,
        now: Moment,
        out: &mut Vec<Transition>,
    ) -> bool {
        if around.counts.pending + around.counts.firing >= around.max_alerts {
            around.counts.refused += 1;
            return false;
        }
        let rule = &around.asked.rule;
        let past = self.past.get_or_insert_default();
        let began = match past.began {
            Some(last) if (0..SAME_BEGINNING).contains(&(last.0.saturating_sub(seen.at.0))) => {
                Timestamp(last.0.saturating_add(1))
            }
            _ => seen.at,
        };
        past.began = Some(began);
        let series = around.key.to_string();
        let mut labels = around.labels.clone();
        labels.extend(rule.labels.clone());
        let alert = Alert {
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
            marks: Marks::default(),
        };
        let mut active = Box::new(Active::new(alert, began, now));
        active.say(around, seen);
        around.counts.pending += 1;
        let fires = active.may_fire(rule, past);
        active.note_wait(rule, past);
        self.active = Some(active);
        if fires {
            self.fire(around, seen, out);
        } else {
            self.tell(Change::Began, around, seen, out);
        }
        true
    }

    fn fire(&mut self, around: &mut Around<'_>, seen: Seen<'_>, out: &mut Vec<Transition>) {
        let Some(active) = &mut self.active else {
            return;
        };
        around.counts.pending -= 1;
        around.counts.firing += 1;
        active.alert.state = AlertState::Firing;
        active.alert.fired_ms = Some(seen.at.as_millis());
        active.alert.marks.waits_until_ms = None;
        active.phase.fired = seen.at;
        if let Some(flapping) = around.asked.rule.life.flapping {
            let past = self.past.get_or_insert_default();
            if past.fires_too_often(seen.at, flapping) {
                active.alert.marks.flapping_since_ms = Some(seen.at.as_millis());
                active.alert.summary.push_str(&flapping.words());
            }
        }
        self.tell(Change::Fired, around, seen, out);
    }

    /// It flaps no more, and is true.
    fn calm(&mut self, around: &Around<'_>, seen: Seen<'_>, out: &mut Vec<Transition>) {
        if let Some(active) = &mut self.active {
            active.alert.marks.flapping_since_ms = None;
            if let Some(words) = active.alert.summary.rfind(super::flapping::WORDS) {
                active.alert.summary.truncate(words);
            }
            self.past.get_or_insert_default().fires.clear();
            self.tell(Change::Calmed, around, seen, out);
        }
    }

    /// Nothing was received for too long.
    pub(super) fn went_stale(
        &mut self,
        around: &Around<'_>,
        now: Moment,
        out: &mut Vec<Transition>,
    ) {
        if let Some(active) = &mut self.active
            && active.alert.state == AlertState::Firing
            && active.alert.marks.stale_since_ms.is_none()
        {
            active.alert.marks.stale_since_ms = Some(active.newest.as_millis());
            let silence = Seen::nothing(now.clock, Cause::Silence);
            self.tell(Change::WentStale, around, silence, out);
        }
    }

    /// Takes the mark away; whether there was one.
    pub(super) fn take_stale(&mut self) -> bool {
        let marks = self
            .active
            .as_mut()
            .map(|active| &mut active.alert.marks.stale_since_ms);
        marks.is_some_and(|stale| stale.take().is_some())
    }

    /// Something was received again.
    pub(super) fn heard_again(
        &mut self,
        around: &Around<'_>,
        now: Moment,
        out: &mut Vec<Transition>,
    ) {
        let again = Seen::nothing(now.clock, Cause::Reading);
        self.tell(Change::HeardAgain, around, again, out);
    }

    /// The clock that stamps the readings jumped.
    pub(super) fn clock_jumped(&mut self, around: &Around<'_>, by: i64, out: &mut Vec<Transition>) {
        if let Some(past) = &mut self.past {
            past.shift(by);
        }
        let Some(active) = &mut self.active else {
            return;
        };
        active.shift(by);
        // Who was told of a beginning was told once; what waits does so, by the clock as it is now, from when it began to.
        let pending = active.alert.state == AlertState::Pending;
        if pending {
            active.alert.began_ms = active.phase.began.as_millis();
            active.note_wait(&around.asked.rule, self.past.get_or_insert_default());
        }
        let expires = active.expires_at(&around.asked.rule.life).is_some();
        if pending || active.phase.clear || active.is_flapping() || expires {
            let seen = Seen::nothing(active.newest, Cause::Clock);
            self.tell(Change::Moved, around, seen, out);
        }
    }

    /// The clock jumped in an earlier run. What was written down since has gone with it.
    pub(super) fn recall_clock_jump(&mut self, by: i64, place: Place) {
        let before = |written: Place| written != Place::default() && written < place;
        if let Some(past) = &mut self.past
            && before(past.place)
        {
            past.shift(by);
        }
        if let Some(active) = &mut self.active
            && before(active.phase.place)
        {
            active.shift(by);
        }
    }

    /// When waiting alone changes this slot. `heard`: when something was received last.
    pub(super) fn due(&self, rule: &Rule, heard: Heard) -> Option<Duration> {
        if self.closed {
            return None;
        }
        let silence = self.silence(rule, heard);
        match &self.active {
            None => silence.map(|silence| heard.deadline(silence)),
            Some(active) => {
                let none = Past::default();
                let past = self.past.as_deref().unwrap_or(&none);
                active.due(rule, past, heard, silence)
            }
        }
    }

    /// For how long nothing may be received, but for what the device says itself ([`Heard::patience`]); none: the condition is not
    /// about silence, or it is not known yet how long is too long.
    pub(super) fn silence(&self, rule: &Rule, heard: Heard) -> Option<Duration> {
        match rule.condition {
            Condition::NoDataFor { silence } => Some(silence),
            Condition::Overdue => match self.usual() {
                Some(usual) => Some(usual.patience),
                None if heard.interval.is_zero() => None,
                None => Some(Duration::ZERO),
            },
            _ => None,
        }
    }

    /// How often something usually comes, if the condition learns that and has.
    pub(super) fn usual(&self) -> Option<condition::Usual> {
        self.memory.as_ref().and_then(|memory| memory.usual())
    }

    /// Something was received, in order.
    pub(super) fn arrived(&mut self, rule: &Rule, at: Timestamp) {
        condition::arrived(&rule.condition, &mut self.memory, at);
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

    /// One durable record of what happened to the alert under way.
    fn tell(
        &mut self,
        change: Change,
        around: &Around<'_>,
        seen: Seen<'_>,
        out: &mut Vec<Transition>,
    ) {
        if let Some(active) = &mut self.active {
            active.phase.place = around.place;
        }
        self.past.get_or_insert_default().place = around.place;
        let memory = Memory::of(self, around.asked.fingerprint);
        if let Some(active) = &mut self.active {
            out.push(active.transition(change, memory, around, seen));
        }
    }
}
