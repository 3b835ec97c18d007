//! Which rules fire for which device, so that others can stand back.

use std::collections::HashMap;

use smol_str::SmolStr;

use super::Rule;
use crate::model::DeviceId;

/// How many alerts fire of each rule for each device. As many entries as alerts at most.
#[derive(Debug, Default)]
pub(super) struct Standing(HashMap<(SmolStr, DeviceId), usize>);

impl Standing {
    /// Whether a rule that `rule` depends on fires for this device.
    pub(super) fn holds_back(&self, rule: &Rule, device: &DeviceId) -> bool {
        let on = &rule.life.depends_on;
        !on.is_empty()
            && on
                .iter()
                .any(|on| self.0.contains_key(&(on.clone(), device.clone())))
    }

    /// One more fires; whether it is the first.
    pub(super) fn begins(&mut self, rule: &SmolStr, device: &DeviceId) -> bool {
        let firing = self.0.entry((rule.clone(), device.clone())).or_default();
        *firing += 1;
        *firing == 1
    }

    /// One is over; whether it was the last.
    pub(super) fn ends(&mut self, rule: &SmolStr, device: &DeviceId) -> bool {
        let key = (rule.clone(), device.clone());
        match self.0.get_mut(&key) {
            Some(firing) if *firing > 1 => {
                *firing -= 1;
                false
            }
            Some(_) => self.0.remove(&key).is_some(),
            None => false,
        }
    }
}

/// For each rule how many rules stand one on another below it. Rules that go round in a ring, which the config refuses, end somewhere.
pub(super) fn ranks(rules: &[Rule]) -> Vec<u8> {
    let mut ranks = vec![0_u8; rules.len()];
    let at: HashMap<&SmolStr, usize> = rules.iter().map(|rule| &rule.name).zip(0..).collect();
    for _ in 0..u8::MAX {
        let mut changed = false;
        for (rule, index) in rules.iter().zip(0..) {
            let below = rule.life.depends_on.iter().filter_map(|on| at.get(on));
            let rank = below.map(|on| ranks[*on].saturating_add(1)).max();
            if let Some(rank) = rank.filter(|rank| *rank > ranks[index]) {
                ranks[index] = rank;
                changed = true;
            }
        }
        if !changed {
            break;
        }
    }
    ranks
}
