//! Other rules while alerts are under way: what asks the same goes on, the rest ends with the reason.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::{Lapsed, Machine, Moment, asked, depended_on, new_slots};
use crate::{
    alert::{Alert, AlertState, Closing, Counts, Rule, dependence::Standing, slot::Slot},
    model::{DeviceId, SeriesKey},
};

impl Machine {
    /// Takes these rules instead of those before. A rule that asks the same under the same name keeps its alerts, whatever its
    /// words, labels and webhooks are now: they hold for its next alert. The alerts of all others are given back, to be ended
    /// by [`super::lapse`]; a condition that is still true begins anew with the next reading.
    ///
    /// A new rule about silence counts from the last arrival where that is known. Series that no rule was about before are
    /// found by [`Machine::watch`], which the caller calls for all series.
    pub fn set_rules(&mut self, rules: Vec<Rule>, now: Moment) -> Vec<(SeriesKey, Lapsed)> {
        let before = std::mem::replace(&mut self.rules, asked(rules));
        self.depended_on = depended_on(&self.rules);
        // Where the rules are now that ask what they asked; the others say why they end.
        let names: HashMap<&str, (u32, u32)> = (0..)
            .zip(&self.rules)
            .map(|(at, new)| (new.rule.name.as_str(), (at, new.fingerprint)))
            .collect();
        let fate: Vec<Result<u32, &'static str>> = before
            .iter()
            .map(|old| match names.get(old.rule.name.as_str()) {
                Some((at, fingerprint)) if *fingerprint == old.fingerprint => Ok(*at),
                Some(_) => Err("its rule was changed"),
                None => Err("its rule was removed"),
            })
            .collect();
        let mut lapsed = Vec::new();
        let mut released = HashSet::new();
        self.timers.clear();
        self.slots = 0;
        for watched in self.series.iter_mut().flatten() {
            let mut kept: HashMap<u32, Slot> = HashMap::new();
            for mut slot in std::mem::take(&mut watched.slots) {
                match fate.get(slot.rule as usize) {
                    Some(Ok(rule)) => {
                        slot.rule = *rule;
                        slot.timer = None;
                        kept.insert(*rule, slot);
                    }
                    Some(Err(why)) => {
                        if slot.closed {
                            let rule = &before[slot.rule as usize].rule;
                            self.closings.push(Closing::cleared(rule, &watched.key));
                        }
                        if let Some(active) = slot.active {
                            let device = &watched.key.device;
                            let (counts, standing) = (&mut self.counts, &mut self.standing);
                            if leave(counts, standing, device, &active.alert) {
                                released.insert(device.clone());
                            }
                            lapsed.push((watched.key.clone(), Lapsed(Box::new(active.alert), why)));
                        }
                    }
                    None => {}
                }
            }
            let name = watched.key.to_string();
            watched.slots = new_slots(&self.rules, &name, &watched.labels, |rule| {
                kept.remove(&rule)
            });
            // A device with other labels may not be chosen any more.
            for slot in kept.into_values() {
                if slot.closed {
                    let rule = &self.rules[slot.rule as usize].rule;
                    self.closings.push(Closing::cleared(rule, &watched.key));
                }
                let Some(active) = slot.active else { continue };
                let device = &watched.key.device;
                let (counts, standing) = (&mut self.counts, &mut self.standing);
                if leave(counts, standing, device, &active.alert) {
                    released.insert(device.clone());
                }
                let why = "its rule is no longer about this series";
                lapsed.push((watched.key.clone(), Lapsed(Box::new(active.alert), why)));
            }
            self.slots += watched.slots.len();
        }
        for (series, watched) in (0..).zip(&mut self.series) {
            let Some(watched) = watched else { continue };
            if released.contains(&watched.key.device) {
                watched.released = now.uptime;
            }
            for index in 0..watched.slots.len() {
                let rule = &self.rules[watched.slots[index].rule as usize].rule;
                let heard = watched.heard(rule);
                let slot = &mut watched.slots[index];
                let due = slot.due(rule, heard);
                let due = due.map(|due| due.max(now.uptime));
                let index = u32::try_from(index).unwrap_or(u32::MAX);
                slot.time(due, series, index, &mut self.timers);
            }
        }
        lapsed
    }

    /// The labels that the next alerts of a series carry; those under way keep theirs. Which rules are about it is looked at again by
    /// [`Machine::set_rules`].
    pub fn relabel(&mut self, series: u32, labels: BTreeMap<String, String>) {
        if let Some(Some(watched)) = self.series.get_mut(series as usize) {
            watched.labels = labels;
        }
    }
}

/// An alert is no longer one of the machine's. Whether those that depend on its rule are free again for its device.
fn leave(counts: &mut Counts, standing: &mut Standing, device: &DeviceId, alert: &Alert) -> bool {
    if alert.state == AlertState::Firing {
        counts.firing -= 1;
        standing.ends(&alert.rule, device)
    } else {
        counts.pending -= 1;
        false
    }
}
