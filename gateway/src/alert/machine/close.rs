//! A person ends an alert whose condition is still true.

use super::{Machine, Moment, Which};
use crate::alert::{AlertState, Closing, StillClosed, Transition, identity, slot::Slot};

impl Machine {
    /// Ends a firing alert; whether there is one by this id. Until its condition was clear once, its rule raises no other one on this
    /// series. `out` and [`Machine::take_closings`] say what is to be written down.
    pub fn close(
        &mut self,
        id: &str,
        by: &str,
        comment: &str,
        now: Moment,
        out: &mut Vec<Transition>,
    ) -> bool {
        let words = match comment {
            "" => format!("closed by {by}"),
            comment => format!("closed by {by}: {comment}"),
        };
        let Some((series, slot)) = self.firing(id) else {
            return false;
        };
        let before = out.len();
        let mut closed = None;
        self.look(
            series,
            Which::One(slot),
            now,
            out,
            |slot, around, _, out| {
                closed = slot.close(&words, around, now.clock, out);
            },
        );
        self.closings.extend(closed.map(|alert| Closing::Closed {
            alert: Box::new(alert),
            by: by.to_owned(),
            comment: comment.to_owned(),
        }));
        self.follow(before, now, out);
        true
    }

    /// Where the firing alert by this id is.
    fn firing(&self, id: &str) -> Option<(u32, u32)> {
        (0..).zip(&self.series).find_map(|(series, watched)| {
            let slots = (0..).zip(&watched.as_ref()?.slots);
            let fires = |slot: &Slot| {
                let alert = slot.active.as_ref().map(|active| &active.alert);
                alert.is_some_and(|alert| alert.id == id && alert.state == AlertState::Firing)
            };
            let found = slots.into_iter().find(|(_, slot)| fires(slot));
            found.map(|(slot, _)| (series, slot))
        })
    }

    /// Takes up what was closed in an earlier run on a series that is watched. Where the rule asks something else by now, it may fire.
    pub fn resume_closed(&mut self, series: u32, closed: StillClosed) {
        let rules = &self.rules;
        let slots = self
            .series
            .get_mut(series as usize)
            .and_then(Option::as_mut)
            .map(|watched| &mut watched.slots);
        let slot = slots.and_then(|slots| {
            slots.iter_mut().find(|slot| {
                let asked = &rules[slot.rule as usize];
                asked.rule.name == closed.rule && identity::is_of(&closed.alert, asked.fingerprint)
            })
        });
        match slot {
            Some(slot) if slot.active.is_none() => slot.closed = true,
            _ => self.forget_closed(closed),
        }
    }

    /// It can't be taken up.
    pub fn forget_closed(&mut self, closed: StillClosed) {
        self.closings.push(closed.into());
    }

    /// What happened to closed alerts since this was last asked, in order.
    pub fn take_closings(&mut self) -> Vec<Closing> {
        std::mem::take(&mut self.closings)
    }
}
