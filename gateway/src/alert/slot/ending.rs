//! How the alert of one rule on one series ends: as its condition says, by hand, or because it fired for long enough.

use crate::{
    alert::{
        Alert, AlertState, Cause, Change, Closing, Marks, Moment, Transition,
        active::is_silence,
        condition,
        record::Memory,
        slot::{Around, Seen, Slot},
    },
    model::Timestamp,
};

impl Slot {
    /// It is over, if it was.
    pub(in crate::alert) fn end(
        &mut self,
        around: &mut Around<'_>,
        seen: Seen<'_>,
        out: &mut Vec<Transition>,
    ) {
        let Some(mut active) = self.active.take() else {
            return;
        };
        let change = if active.alert.state == AlertState::Firing {
            around.counts.firing -= 1;
            active.alert.state = AlertState::Resolved;
            let past = self.past.get_or_insert_default();
            past.ended = Some(seen.at);
            if active.is_flapping() {
                past.fires.clear();
            }
            Change::Resolved
        } else {
            around.counts.pending -= 1;
            active.alert.state = AlertState::Cancelled;
            Change::Cancelled
        };
        active.alert.resolved_ms = Some(seen.at.as_millis());
        if seen.value.is_some() {
            active.note(seen);
        }
        active.alert.marks = Marks::default();
        self.past.get_or_insert_default().place = around.place;
        let memory = Memory::of(self, around.asked.fingerprint);
        out.push(active.transition(change, memory, around, seen));
    }

    /// It fired for as long as its rule lets it.
    pub(super) fn expire(
        &mut self,
        around: &mut Around<'_>,
        now: Moment,
        out: &mut Vec<Transition>,
    ) {
        let rule = &around.asked.rule;
        let Some(active) = &mut self.active else {
            return;
        };
        let at = if is_silence(rule) {
            None
        } else {
            active.expires_at(&rule.life)
        };
        let at = at.unwrap_or(now.clock).max(active.phase.fired);
        let after = condition::span(rule.life.resolve_after);
        around.closings.push(Closing::Expired {
            alert: Box::new(active.alert.clone()),
            after: after.clone(),
        });
        let words = format!(" (ended by itself: it fired for {after})");
        active.alert.summary.push_str(&words);
        // What is clear already may begin anew.
        self.closed = !active.phase.clear;
        if !self.closed {
            around.closings.push(Closing::cleared(rule, around.key));
        }
        self.end(around, Seen::nothing(at, Cause::Expiry), out);
    }

    /// A person ends what fires here: gives the alert as it was.
    pub(in crate::alert) fn close(
        &mut self,
        words: &str,
        around: &mut Around<'_>,
        at: Timestamp,
        out: &mut Vec<Transition>,
    ) -> Option<Alert> {
        let active = self.active.as_mut()?;
        let before = active.alert.clone();
        active.alert.summary = format!("{} ({words})", before.summary);
        // Not before it fired, should the clock not be set.
        let fired = before.fired_ms.map(Timestamp::from_millis);
        let at = fired.map_or(at, |fired| at.max(fired));
        self.closed = true;
        self.end(around, Seen::nothing(at, Cause::Person), out);
        Some(before)
    }
}
