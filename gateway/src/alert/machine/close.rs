//! A person ends an alert whose condition is still true.

use super::{Machine, Moment};
use crate::alert::{Closing, StillClosed, Transition, identity};

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
        for watched in self.series.iter_mut().flatten() {
            let key = &watched.key;
            let closed = watched
                .slots
                .iter_mut()
                .find_map(|slot| slot.close(id, &words, now.clock, key, out));
            if let Some(alert) = closed {
                self.counts.firing -= 1;
                self.closings.push(Closing::Closed {
                    alert: Box::new(alert),
                    by: by.to_owned(),
                    comment: comment.to_owned(),
                });
                return true;
            }
        }
        false
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
