//! What the machine holds of series, for who must guess what a reading would change.

use super::Machine;
use crate::alert::{
    AlertState,
    foresight::{Foresight, Holds},
    slot::Slot,
};

impl Machine {
    /// Says it of all series, and which rules there are.
    pub fn foretell_all(&self, foresight: &mut Foresight) {
        foresight.set_rules(self.rules.iter().map(|asked| &asked.rule));
        for series in 0..u32::try_from(self.series.len()).unwrap_or(u32::MAX) {
            self.foretell(series, foresight);
        }
    }

    /// Says it of one series: after it came to be known, and when one of its alerts changed.
    pub fn foretell(&self, series: u32, foresight: &mut Foresight) {
        if let Some(Some(watched)) = self.series.get(series as usize) {
            let slots = watched.slots.iter();
            let held = slots.map(|slot| (slot.rule, holds(slot)));
            foresight.set(&watched.key, held);
        }
    }
}

fn holds(slot: &Slot) -> Holds {
    match &slot.active {
        Some(active) if active.phase.clear => Holds::No,
        Some(active) if active.alert.state == AlertState::Pending => Holds::Seen,
        Some(_) => Holds::Fires,
        None if slot.closed => Holds::Fires,
        None => Holds::No,
    }
}
