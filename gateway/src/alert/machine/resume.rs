//! Going on where an earlier run was: its alerts and memories are taken up, and the readings that it judged are recalled.

use smol_str::SmolStr;

use super::{Machine, Moment, Which};
use crate::{
    alert::{
        Alert, AlertState, Cause, Change, Memory, Transition, View, condition::Look, identity,
        slot::Slot,
    },
    model::{Reading, SeriesKey, Timestamp},
};

/// An alert that cannot go on, and why.
#[derive(Clone, Debug, PartialEq)]
pub struct Lapsed(pub Box<Alert>, pub &'static str);

impl Machine {
    /// Takes up what rules remembered of series, before these are watched: by rule and series.
    pub fn remember(&mut self, memories: impl IntoIterator<Item = (SmolStr, SmolStr, Memory)>) {
        let keyed = memories
            .into_iter()
            .map(|(rule, series, memory)| ((rule, series), memory));
        self.remembered.extend(keyed);
    }

    /// Gives a new slot what its rule remembered of this series, if it asked the same.
    pub(super) fn recollect(&mut self, slot: &mut Slot, series: &str) {
        if self.remembered.is_empty() {
            return;
        }
        let asked = &self.rules[slot.rule as usize];
        let key = (asked.rule.name.clone(), SmolStr::from(series));
        if let Some(memory) = self.remembered.get(&key)
            && memory.question == asked.fingerprint
        {
            slot.past = Some(Box::new(memory.past.clone()));
            // Where an alert under way stood is asked for when that is taken up.
            if !memory.is_open() {
                self.remembered.remove(&key);
            }
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
            return Err(Lapsed(Box::new(alert), "its rule was removed"));
        };
        let asked = &self.rules[rule];
        if !identity::is_of(&alert.id, asked.fingerprint) {
            return Err(Lapsed(Box::new(alert), "its rule was changed"));
        }
        let watched = self
            .series
            .get_mut(series as usize)
            .and_then(Option::as_deref_mut);
        let Some((watched, (index, slot))) = watched.and_then(|watched| {
            let heard = watched.heard(&asked.rule);
            let slot = (0..)
                .zip(watched.slots.iter_mut())
                .find(|(_, slot)| slot.rule as usize == rule)?;
            Some(((&watched.key, heard), slot))
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
            AlertState::Firing => {
                self.counts.firing += 1;
                self.standing.begins(&alert.rule, &watched.0.device);
            }
            AlertState::Resolved | AlertState::Cancelled => return Ok(()),
        }
        let phase = self
            .remembered
            .remove(&(alert.rule.clone(), alert.series.clone()))
            .filter(|memory| memory.question == asked.fingerprint)
            .and_then(|memory| memory.phase)
            // Of this alert, not of one before it.
            .filter(|phase| phase.began.as_millis() == alert.began_ms);
        slot.resume(alert, phase, &asked.rule, now);
        let due = slot.due(&asked.rule, watched.1);
        slot.time(due, series, index, &mut self.timers);
        Ok(())
    }

    /// Takes a reading that was evaluated by an earlier run: it changes nothing that was said, but what waits goes on from it, and
    /// conditions remember it. As [`Machine::observe`] otherwise.
    pub fn recall(
        &mut self,
        series: u32,
        reading: &Reading,
        in_order: bool,
        now: Moment,
        view: &impl View,
    ) {
        if !self.heard(series, reading, now) || !in_order {
            return;
        }
        let (mut nothing, place) = (Vec::new(), self.place);
        let look = Look::new(view, reading.time);
        self.look(
            series,
            Which::All,
            now,
            &mut nothing,
            |slot, around, _, _| {
                slot.recalled(reading, place, now, &around.asked.rule, &look);
            },
        );
        self.drop_left_over_timers();
    }
}

/// Ends an alert that lapsed; its summary says why.
#[must_use]
pub fn lapse(Lapsed(mut alert, why): Lapsed, series: SeriesKey, at: Timestamp) -> Transition {
    (alert.state, alert.marks.change) = match alert.state {
        AlertState::Firing | AlertState::Resolved => (AlertState::Resolved, Some(Change::Resolved)),
        AlertState::Pending | AlertState::Cancelled => {
            (AlertState::Cancelled, Some(Change::Cancelled))
        }
    };
    alert.marks.cause = Some(Cause::Rule);
    alert.marks.clear_since_ms = None;
    alert.marks.stale_since_ms = None;
    alert.marks.flapping_since_ms = None;
    alert.marks.waits_until_ms = None;
    alert.resolved_ms = Some(at.as_millis());
    alert.summary = format!("{} (ended: {why})", alert.summary);
    Transition {
        alert: *alert,
        series,
        at,
        memory: None,
    }
}
