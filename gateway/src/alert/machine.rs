//! The state machine of every alert: one per rule and series at most.
//!
//! ```text
//!          true              true for `hold`, and it is time          clear for `keep_firing_for`
//!   none ────────► pending ──────────────────────────────────► firing ────────────────────────────► resolved
//!     │               └──── clear, or data again ──► cancelled  │  ▲                                     ▲
//!     │                                                   clear ▼  │ true again                          │
//!     └──────────── true, and nothing to wait for ───────────► firing ───────────────────────────────────┘
//! ```
//!
//! What holds:
//!
//! - Judged is what a series measured last: readings behind it, bad ones and retained ones neither begin nor end anything.
//! - A condition with a separate `clear` stays as it was between `clear` and `limit`, while pending as while firing, true or clear.
//! - All waits run on measured time ([`super::active`]): for `hold`, until hours come or `min_off` is over while pending; for
//!   `keep_firing_for`, `min_on` and the calm of a flapping alert while firing.
//! - A person may end what fires ([`Machine::close`]), and so does the time that a rule sets (`resolve_after`): then nothing begins until
//!   the condition, or silence, was over once.
//! - A clock that jumps takes what waits with it ([`Machine::clock_jumped`]).
//! - No-data runs on the time since the process started ([`Moment::uptime`]), so that a wall clock that jumps neither fires nor resolves;
//!   the deadline is counted from the last arrival, also from one in an earlier run (`heard.rs`). Whose silence it is, the series' or
//!   its source's: `machine/silence.rs`.
//! - Silence ends no alert: one that fires is marked stale, until something is received.
//! - While a rule fires for a device, those that depend on it raise nothing for this device: what is pending comes to nothing, what fires
//!   stays. Afterwards the next reading begins them anew, and silence counts from then.
//! - Ids are made from rule, series and time of beginning: evaluated again after a crash, the same readings make the same alerts.
//!
//! Bounds: one small slot for each pair of rule and matching series, made when the series is first seen; at most `max_alerts` alerts at once,
//! more are counted and begin when there is room and the condition is still true; at most two timers a slot, and a few.

mod change;
mod close;
mod counts;
mod foretell;
mod remembered;
mod resume;
mod silence;

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BinaryHeap, HashMap, HashSet},
    time::Duration,
};

use smol_str::SmolStr;

pub use self::{
    counts::{Counts, Moment, Troubles},
    remembered::{Remembered, Unreadable},
    resume::{Lapsed, lapse},
};
use crate::{
    alert::{
        Alert, Cause, Change, Closing, Memory, Rule, Transition, View,
        active::is_silence,
        condition::{Look, Verdict},
        dependence::{Standing, ranks},
        heard::Heard,
        identity,
        links::Links,
        record::Place,
        slot::{Around, Asked, Seen, Slot, Timer},
    },
    model::{DeviceId, Quality, Reading, SeriesKey},
};

/// A silence that found no room for its alert asks again after this.
const ASK_AGAIN: Duration = Duration::from_secs(1);
/// What is due again at once is looked at no sooner than this.
const NEXT_LOOK: Duration = Duration::from_millis(1);
/// So many timers may be left over beyond one a slot.
const SPARE_TIMERS: usize = 64;

/// All rules on all series. Series are named by small numbers, given from 0 up.
#[derive(Debug)]
pub struct Machine {
    rules: Vec<Asked>,
    /// Rules that others depend on.
    depended_on: HashSet<SmolStr>,
    max_alerts: usize,
    series: Vec<Option<Box<Watched>>>,
    by_device: HashMap<DeviceId, Vec<u32>>,
    /// How many slots there are in all.
    slots: usize,
    timers: BinaryHeap<Reverse<Timer>>,
    counts: Counts,
    links: Links,
    /// What happened to closed alerts and was not handed on yet.
    closings: Vec<Closing>,
    standing: Standing,
    place: Place,
    /// What earlier runs remembered of series that are not seen yet, by rule and series.
    remembered: HashMap<(SmolStr, SmolStr), Memory>,
}

/// A series that at least one rule is about.
#[derive(Debug)]
struct Watched {
    key: SeriesKey,
    labels: BTreeMap<String, String>,
    heard: Heard,
    /// When rules that depend on others were last free to see it again.
    released: Duration,
    /// Those whose rules others depend on come first.
    slots: Box<[Slot]>,
}

impl Watched {
    /// From when on silence counts for a rule.
    fn heard(&self, rule: &Rule) -> Heard {
        if rule.life.depends_on.is_empty() {
            self.heard
        } else {
            self.heard.since(self.released)
        }
    }
}

/// Which slots of a series to look at.
#[derive(Clone, Copy)]
enum Which {
    All,
    /// That of this timer.
    One(u32),
}

impl Machine {
    /// With these rules and no series yet. Of rules with one name only the first is taken (the config refuses the others).
    #[must_use]
    pub fn new(rules: Vec<Rule>, max_alerts: usize) -> Self {
        let rules = asked(rules);
        Self {
            depended_on: depended_on(&rules),
            rules,
            max_alerts,
            series: Vec::new(),
            by_device: HashMap::new(),
            slots: 0,
            timers: BinaryHeap::new(),
            counts: Counts::default(),
            links: Links::default(),
            closings: Vec::new(),
            standing: Standing::default(),
            place: Place::default(),
            remembered: HashMap::new(),
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
        let mut slots = new_slots(&self.rules, &name, labels, |_| None);
        if slots.is_empty() {
            return;
        }
        for slot in &mut slots {
            self.recollect(slot, &name);
        }
        self.slots += slots.len();
        let watched = self.series[at].insert(Box::new(Watched {
            key: key.clone(),
            labels: labels.clone(),
            heard: Heard::never(now.uptime),
            released: Duration::ZERO,
            slots,
        }));
        for (slot_index, slot) in (0..).zip(&mut watched.slots) {
            let rule = &self.rules[slot.rule as usize].rule;
            let due = slot.due(rule, watched.heard);
            slot.time(due, series, slot_index, &mut self.timers);
        }
        self.by_device
            .entry(key.device.clone())
            .or_default()
            .push(series);
    }

    /// The readings that come now are of the journal's record with this number.
    pub const fn begin_record(&mut self, number: u64) {
        if number != self.place.0 {
            self.place = Place(number, 0);
        }
    }

    /// What comes now is the next of the record, a reading or a jump of the clock, whether or not a rule is about it.
    pub const fn next_of_record(&mut self) {
        self.place.1 = self.place.1.saturating_add(1);
    }

    /// Whether a rule is about this series.
    #[must_use]
    pub fn watches(&self, series: u32) -> bool {
        let watched = self.series.get(series as usize);
        watched.is_some_and(Option::is_some)
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
        if !self.heard(series, reading, now) {
            return;
        }
        let seen = Seen {
            at: reading.time,
            value: Some(&reading.value),
            unit: reading.unit.as_ref(),
            cause: Cause::Reading,
        };
        let before = out.len();
        let look = Look::new(view, reading.time);
        self.look(series, Which::All, now, out, |slot, around, _, out| {
            let told = out.len();
            let was_stale = slot.take_stale();
            let rule = &around.asked.rule;
            if in_order {
                slot.arrived(rule, reading.received);
            }
            if slot.closed {
                let verdict = match is_silence(rule) {
                    true => Verdict::Clear,
                    false if in_order => slot.judge(reading, around, &look),
                    false => Verdict::Nothing,
                };
                if verdict == Verdict::Clear {
                    slot.closed = false;
                    let cleared = Closing::cleared(rule, around.key);
                    around.closings.push(cleared);
                }
            } else if is_silence(rule) {
                let again = Seen {
                    at: now.clock,
                    ..seen
                };
                slot.judged(Verdict::Clear, around, again, now, out);
            } else if in_order {
                let verdict = slot.judge(reading, around, &look);
                slot.judged(verdict, around, seen, now, out);
            }
            if was_stale && out.len() == told {
                slot.heard_again(around, now, out);
            }
        });
        self.follow(before, now, out);
        self.drop_left_over_timers();
    }

    /// Throws timers away that mean nothing, when there are many. A burst of buffered readings brings a time forward again and again.
    fn drop_left_over_timers(&mut self) {
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

    /// Data came of a watched series, but can't be judged: it keeps silence from being noticed, and nothing else.
    pub fn hear(&mut self, series: u32, reading: &Reading, now: Moment) {
        self.heard(series, reading, now);
    }

    /// The clock that stamps the readings of this series jumped by so many nanoseconds: what waits goes with it, so that the
    /// jump counts neither as time for which the condition held nor against it. Adds to `out` what is to be written down.
    pub fn clock_jumped(&mut self, series: u32, by: i64, now: Moment, out: &mut Vec<Transition>) {
        self.look(series, Which::All, now, out, |slot, around, _, out| {
            if let Some(memory) = &mut slot.memory {
                memory.clock_jumped(by);
            }
            if !is_silence(&around.asked.rule) {
                slot.clock_jumped(around, by, out);
            }
        });
    }

    /// As [`Machine::clock_jumped`], when an earlier run has done it: what conditions remember goes now, and what was last written down
    /// before.
    pub fn recall_clock_jump(&mut self, series: u32, by: i64) {
        let watched = self.series.get_mut(series as usize);
        for slot in watched.into_iter().flatten().flat_map(|w| &mut w.slots) {
            if let Some(memory) = &mut slot.memory {
                memory.clock_jumped(by);
            }
            if !is_silence(&self.rules[slot.rule as usize].rule) {
                slot.recall_clock_jump(by, self.place);
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
        loop {
            let mut due = Vec::new();
            while let Some(Reverse(timer)) = self.timers.peek().copied()
                && timer.at <= now.uptime
            {
                self.timers.pop();
                due.extend(self.rank(timer).map(|rank| (rank, timer)));
            }
            if due.is_empty() {
                return;
            }
            // Of what is due at one moment, those that others depend on come first.
            due.sort_unstable();
            for (_, timer) in due {
                self.timer(timer, now, out);
            }
        }
    }

    /// The rank of the rule that a timer is for; none if it means nothing any more.
    fn rank(&self, timer: Timer) -> Option<u8> {
        let watched = self.series.get(timer.series as usize)?.as_ref()?;
        let slot = watched.slots.get(timer.slot as usize)?;
        (slot.timer == Some(timer.at)).then(|| self.rules[slot.rule as usize].rank)
    }

    fn timer(&mut self, timer: Timer, now: Moment, out: &mut Vec<Transition>) {
        if self.rank(timer).is_none() || self.holds_back(timer, now, out) {
            return;
        }
        let before = out.len();
        let mut refused = false;
        let which = Which::One(timer.slot);
        self.look(timer.series, which, now, out, |slot, around, heard, out| {
            slot.timer = None;
            let due = slot.due(&around.asked.rule, heard);
            if due.is_some_and(|due| due <= now.uptime) {
                refused = !slot.waited(around, now, heard, out);
            }
        });
        if refused
            && let Some(Some(watched)) = self.series.get_mut(timer.series as usize)
            && let Some(slot) = watched.slots.get_mut(timer.slot as usize)
        {
            slot.timer = None;
            let again = Some(now.uptime.saturating_add(ASK_AGAIN));
            slot.time(again, timer.series, timer.slot, &mut self.timers);
        }
        self.follow(before, now, out);
    }

    /// Lets `look` change slots of a series, one after the other; sets their timers anew and notes which rules fire for the device. `look`
    /// also gets from when on silence counts. [`Machine::follow`] does what follows for others.
    fn look(
        &mut self,
        series: u32,
        which: Which,
        now: Moment,
        out: &mut Vec<Transition>,
        mut look: impl FnMut(&mut Slot, &mut Around<'_>, Heard, &mut Vec<Transition>),
    ) {
        let Some(Some(watched)) = self.series.get_mut(series as usize) else {
            return;
        };
        let mut slots = std::mem::take(&mut watched.slots);
        for (index, slot) in (0..).zip(&mut slots) {
            if matches!(which, Which::One(one) if one != index) {
                continue;
            }
            let asked = &self.rules[slot.rule as usize];
            let heard = watched.heard(&asked.rule);
            let before = out.len();
            let mut around = Around {
                held_back: self.standing.holds_back(&asked.rule, &watched.key.device),
                asked,
                key: &watched.key,
                labels: &watched.labels,
                counts: &mut self.counts,
                max_alerts: self.max_alerts,
                place: self.place,
                score: slot.score(),
                usual: slot.usual(),
                undecided: None,
                closings: Vec::new(),
                never: heard.never,
            };
            let held_back = around.held_back;
            look(slot, &mut around, heard, out);
            let undecided = around.undecided.take();
            self.closings.append(&mut around.closings);
            for told in out.iter().skip(before) {
                match told.alert.marks.change {
                    Some(Change::Fired) => {
                        self.standing.begins(&told.alert.rule, &told.series.device);
                    }
                    Some(Change::Resolved) => {
                        self.standing.ends(&told.alert.rule, &told.series.device);
                    }
                    _ => {}
                }
            }
            if let Some(why) = undecided {
                self.counts.undecided += 1;
                let asked = &mut self.rules[slot.rule as usize];
                asked.undecided.note(&watched.key, why);
            }
            let rule = &self.rules[slot.rule as usize].rule;
            // A silence that is held back is looked at again when it is let go.
            if held_back && slot.active.is_none() {
                continue;
            }
            let due = slot.due(rule, heard);
            let due = due.map(|due| due.max(now.uptime.saturating_add(NEXT_LOOK)));
            slot.time(due, series, index, &mut self.timers);
        }
        watched.slots = slots;
    }

    /// Does what changes of some alerts, from this place in `out` on, mean for others.
    fn follow(&mut self, from: usize, now: Moment, out: &mut Vec<Transition>) {
        let mut at = from;
        while let Some(told) = out.get(at) {
            at += 1;
            let fires = match told.alert.marks.change {
                Some(Change::Fired) => true,
                Some(Change::Resolved) => false,
                _ => continue,
            };
            let (rule, key) = (told.alert.rule.clone(), told.series.clone());
            if fires && told.alert.marks.cause == Some(Cause::Silence) {
                self.went_silent(&key, now, out);
            }
            if self.depended_on.contains(&rule) {
                self.stands_back(&key.device, fires, now, out);
            }
        }
    }

    /// What else fires on a series that is silent may no longer be so.
    fn went_silent(&mut self, key: &SeriesKey, now: Moment, out: &mut Vec<Transition>) {
        for series in self.of_device(&key.device) {
            let watched = self.series.get(series as usize).and_then(Option::as_ref);
            if watched.is_some_and(|watched| watched.key == *key) {
                self.look(series, Which::All, now, out, |slot, around, _, out| {
                    let life = &around.asked.rule.life;
                    if !is_silence(&around.asked.rule) && !life.stale_after.is_zero() {
                        slot.went_stale(around, now, out);
                    }
                });
            }
        }
    }

    /// A rule begins or ceases to fire for a device: those that depend on it stand back, or are free again.
    fn stands_back(
        &mut self,
        device: &DeviceId,
        fires: bool,
        now: Moment,
        out: &mut Vec<Transition>,
    ) {
        for series in self.of_device(device) {
            if !fires && let Some(Some(watched)) = self.series.get_mut(series as usize) {
                watched.released = now.uptime;
            }
            self.look(series, Which::All, now, out, |slot, around, _, out| {
                slot.stands_back(around, Seen::nothing(now.clock, Cause::Dependence), out);
            });
        }
    }

    fn of_device(&self, device: &DeviceId) -> Vec<u32> {
        self.by_device.get(device).cloned().unwrap_or_default()
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

    /// Whether a rule is about this series and the reading is data; it is noted as arrived.
    fn heard(&mut self, series: u32, reading: &Reading, now: Moment) -> bool {
        if reading.retained || reading.quality == Quality::Bad {
            return false;
        }
        match self.series.get_mut(series as usize) {
            Some(Some(watched)) => {
                watched.heard.now(now.uptime);
                true
            }
            _ => false,
        }
    }
}

/// The rules with what is made of them once.
fn asked(rules: Vec<Rule>) -> Vec<Asked> {
    let mut names = HashSet::with_capacity(rules.len());
    let rules: Vec<Rule> = rules
        .into_iter()
        .filter(|rule| names.insert(rule.name.clone()))
        .collect();
    let ranks = ranks(&rules);
    rules
        .into_iter()
        .zip(ranks)
        .map(|(rule, rank)| Asked {
            fingerprint: identity::fingerprint(&rule),
            version: identity::version(&rule),
            rule,
            rank,
            undecided: Troubles::default(),
        })
        .collect()
}

fn depended_on(rules: &[Asked]) -> HashSet<SmolStr> {
    rules
        .iter()
        .flat_map(|asked| asked.rule.life.depends_on.iter().cloned())
        .collect()
}

/// A slot for each rule about a series: the one that `kept` has for it, or a new one.
fn new_slots(
    rules: &[Asked],
    series: &str,
    labels: &BTreeMap<String, String>,
    mut kept: impl FnMut(u32) -> Option<Slot>,
) -> Box<[Slot]> {
    let mut slots: Vec<Slot> = (0..)
        .zip(rules)
        .filter(|(_, asked)| asked.rule.is_about(series, labels))
        .map(|(rule, _)| kept(rule).unwrap_or_else(|| Slot::new(rule)))
        .collect();
    slots.sort_by_key(|slot| rules[slot.rule as usize].rank);
    slots.into_boxed_slice()
}

#[cfg(test)]
mod tests;
