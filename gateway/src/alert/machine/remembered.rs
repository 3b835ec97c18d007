//! What conditions remember of series, to be written down and given back after a restart.

use smol_str::SmolStr;

use super::Machine;
use crate::{alert::condition::Memory, model::SeriesKey};

/// What the condition of one rule remembers of one series.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Remembered {
    /// The rule's name.
    pub rule: SmolStr,
    /// What the rule asked.
    pub fingerprint: u32,
    /// Of which series.
    pub series: SeriesKey,
    /// In the condition's own layout, 4 KiB at most.
    pub bytes: Vec<u8>,
}

/// What was to be given back is not as we write it: the condition begins anew, with what it is fed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unreadable;

impl Machine {
    /// What conditions remember of a series now; most remember nothing.
    pub fn remembered(&self, series: u32) -> impl Iterator<Item = Remembered> {
        let watched = self.series.get(series as usize).and_then(Option::as_deref);
        watched.into_iter().flat_map(|watched| {
            watched.slots.iter().filter_map(|slot| {
                let asked = &self.rules[slot.rule as usize];
                Some(Remembered {
                    rule: asked.rule.name.clone(),
                    fingerprint: asked.fingerprint,
                    series: watched.key.clone(),
                    bytes: slot.memory.as_ref()?.to_bytes(),
                })
            })
        })
    }

    /// Gives a condition back what it remembered, in place of what it was fed since. Nothing happens when its rule is gone, asks
    /// something else now or is no longer about the series.
    ///
    /// # Errors
    ///
    /// [`Unreadable`]; nothing happens then either.
    pub fn give_back(&mut self, series: u32, remembered: &Remembered) -> Result<(), Unreadable> {
        let watched = self.series.get_mut(series as usize);
        for slot in watched.into_iter().flatten().flat_map(|w| &mut w.slots) {
            let asked = &self.rules[slot.rule as usize];
            if asked.rule.name == remembered.rule && asked.fingerprint == remembered.fingerprint {
                let memory = Memory::from_bytes(&remembered.bytes, &asked.rule.condition);
                slot.memory = Some(Box::new(memory.ok_or(Unreadable)?));
            }
        }
        self.time_anew(series);
        Ok(())
    }
}
